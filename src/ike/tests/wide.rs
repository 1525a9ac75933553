//! Cookies, groups, fragments, identities, refusals.

use std::sync::Arc;
use std::time::Duration;

use super::pair::*;
use crate::ike::*;
use crate::pki::issue::{Ca, NewKey, create_ca};
use crate::pki::{Identity, IdentityPattern, LocalCertificate, PrivateKey, SignaturePolicy, TrustStore};
use crate::policy::Proposal;
use crate::wire::ike::registry::{ExchangeType, NotifyType};
use crate::wire::ike::{Message, Notify, Payload};

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn demanding() -> EndpointSettings {
    EndpointSettings { cookie_threshold: 0, ..EndpointSettings::default() }
}

#[test]
fn a_demanded_cookie_is_sent_first_and_nothing_is_kept_before() {
    let (a, b) = configs();
    let mut pair =
        Pair::of(node(A, 1, EndpointSettings::default(), vec![a]), node(B, 2, demanding(), vec![b]));
    pair.run(secs(2));
    pair.assert_converged(1);
    assert_eq!(pair.b.endpoint.counters().cookies_sent, 1);
    let second = Message::decode(&pair.a.sent[1].octets).unwrap();
    assert!(matches!(&second.payloads[0], Payload::Notify(Notify { kind: NotifyType::COOKIE, .. })));
}

#[test]
fn cookie_and_invalid_ke_together_converge() {
    for threshold in [0, 30] {
        let (mut a, mut b) = configs();
        a.ike = vec![Proposal::parse_ike("aes256gcm16-prfsha384-x25519-ecp256").unwrap()];
        b.ike = vec![Proposal::parse_ike("aes256gcm16-prfsha384-ecp256").unwrap()];
        let settings = EndpointSettings { cookie_threshold: threshold, ..EndpointSettings::default() };
        let mut pair =
            Pair::of(node(A, 1, EndpointSettings::default(), vec![a]), node(B, 2, settings, vec![b]));
        pair.run(secs(2));
        pair.assert_converged(1);
        assert_eq!(pair.a.endpoint.counters().invalid_ke_received, 1);
        assert_eq!(pair.status(Side::A).ike_sas[0].suite.as_deref(), Some("aes256gcm16-prfsha384-ecp256"));
    }
}

#[test]
fn a_cookie_of_another_address_is_not_accepted() {
    let (a, b) = configs();
    let mut pair =
        Pair::of(node(A, 1, EndpointSettings::default(), vec![a]), node(B, 2, demanding(), vec![b]));
    pair.run(Duration::from_millis(25));
    let (_, mut flight) = pair.link.pop_first().unwrap();
    assert!(flight.is(ExchangeType::IKE_SA_INIT, false));
    let from = flight.from;
    flight.from = "203.0.113.9:500".parse().unwrap();
    pair.deliver(&flight);
    assert_eq!((pair.b.endpoint.counters().bad_cookie, pair.b.endpoint.half_open()), (1, 0));
    flight.from = from;
    pair.deliver(&flight);
    assert_eq!((pair.b.endpoint.counters().bad_cookie, pair.b.endpoint.half_open()), (1, 1));
}

#[test]
fn half_open_sas_of_one_address_are_limited_and_time_out() {
    let (a, b) = configs();
    let mut pair = Pair::new(a, b);
    pair.run(Duration::from_millis(5));
    let (_, first) = pair.link.pop_first().unwrap();
    for number in 0..50 {
        let mut flight = first.clone();
        flight.transmit.octets[7] = number;
        pair.deliver(&flight);
    }
    assert_eq!(pair.b.endpoint.half_open(), 3);
    assert_eq!(pair.b.endpoint.counters().cookies_sent, 47);
    pair.filter = Box::new(|_| None);
    pair.run(secs(60));
    assert_eq!(pair.b.endpoint.half_open(), 0);
    assert_eq!(pair.b.endpoint.sa_count(), 0);
}

#[test]
fn a_retransmitted_request_is_the_same_octets_and_gets_the_same_octets() {
    let mut pair = Pair::established();
    let mut lost = 0;
    pair.filter = Box::new(move |flight| {
        let lose = flight.is(ExchangeType::CREATE_CHILD_SA, true) && lost < 2;
        lost += u8::from(lose);
        (!lose).then_some(LATENCY)
    });
    let (a, b) = (pair.a.sent.len(), pair.b.sent.len());
    pair.rekey_child(Side::A);
    pair.run(secs(30));
    pair.assert_converged(1);
    assert_eq!(pair.a.sent[a].octets, pair.a.sent[a + 1].octets);
    assert_eq!(pair.a.sent[a].octets, pair.a.sent[a + 2].octets);
    assert_eq!(pair.b.sent[b].octets, pair.b.sent[b + 1].octets);
    assert_eq!(pair.b.sent[b].octets, pair.b.sent[b + 2].octets);
    assert_eq!(pair.b.endpoint.counters().retransmit_answered, 2);
}

#[test]
fn a_wrong_psk_is_refused_in_words_at_both_ends_and_tried_again_with_back_off() {
    let (a, mut b) = configs();
    b.local_auth = LocalAuth::Psk(vec![psk("other")]);
    b.remote_auth = RemoteAuth::Psk(vec![psk("other")]);
    let mut pair = Pair::new(a, b);
    pair.run(secs(200));
    assert!(pair.a.children.is_empty() && pair.b.children.is_empty());
    assert!(pair.refusals(Side::A)[0].contains("AUTHENTICATION_FAILED"), "{:?}", pair.refusals(Side::A));
    assert!(pair.refusals(Side::B)[0].contains("pre-shared key"), "{:?}", pair.refusals(Side::B));
    let attempts = pair.a.endpoint.counters().attempts;
    assert!((5..14).contains(&attempts), "{attempts}");
}

#[test]
fn an_old_and_a_new_psk_are_accepted_together_in_any_order() {
    for (ours, theirs) in [
        (vec!["new", "old"], vec!["old"]),
        (vec!["old"], vec!["new", "old"]),
        (vec!["new", "old"], vec!["old", "new"]),
    ] {
        let (mut a, mut b) = configs();
        let keys = |texts: &[&str]| texts.iter().map(|text| psk(text)).collect::<Vec<_>>();
        a.local_auth = LocalAuth::Psk(keys(&ours));
        a.remote_auth = RemoteAuth::Psk(keys(&ours));
        b.local_auth = LocalAuth::Psk(keys(&theirs));
        b.remote_auth = RemoteAuth::Psk(keys(&theirs));
        let mut pair = Pair::new(a, b);
        pair.run(secs(20));
        pair.assert_converged(1);
    }
}

#[test]
fn a_wrong_identity_is_named() {
    let (a, mut b) = configs();
    b.remote_id = IdentityPattern::parse("c.example.com").unwrap();
    let mut pair = Pair::new(a, b);
    pair.run(secs(3));
    assert!(pair.refusals(Side::B)[0].contains("a.example.com"), "{:?}", pair.refusals(Side::B));
    assert!(pair.children(Side::A) == 0);
}

#[test]
fn an_initiator_that_rejects_the_responder_says_so_and_leaves_no_ghost() {
    let (mut a, b) = configs();
    a.remote_auth = RemoteAuth::Psk(vec![psk("not theirs")]);
    let mut pair = Pair::new(a, b);
    pair.run(Duration::from_millis(500));
    assert_eq!(pair.ike_sas(Side::B), 0);
    assert!(pair.b.children.is_empty());
    let told = |event: &Event| matches!(event, Event::IkeDown { reason: DownReason::Failed(text), .. } if text.contains("AUTHENTICATION_FAILED"));
    assert!(pair.b.events.iter().any(told));
}

#[test]
fn no_common_proposal_shows_both_sides() {
    let (a, mut b) = configs();
    b.ike = vec![Proposal::parse_ike("aes128-sha256-modp2048").unwrap()];
    let mut pair = Pair::new(a, b);
    pair.run(secs(3));
    let text = &pair.refusals(Side::B)[0];
    assert!(text.contains("aes256gcm16-prfsha384-x25519") && text.contains("aes128-sha256"), "{text}");
    assert!(pair.refusals(Side::A)[0].contains("NO_PROPOSAL_CHOSEN"));
}

#[test]
fn a_refused_child_leaves_the_ike_sa_up() {
    let (a, mut b) = configs();
    b.children = vec![child("lan", "10.99.0.0/16", "10.1.0.0/16")];
    let mut pair = Pair::new(a, b);
    pair.run(secs(2));
    assert_eq!((pair.ike_sas(Side::A), pair.ike_sas(Side::B)), (1, 1));
    assert_eq!(pair.children(Side::A), 0);
    assert!(
        pair.refusals(Side::A).iter().any(|text| text.contains("TS_UNACCEPTABLE")),
        "{:?}",
        pair.refusals(Side::A)
    );
    assert!(pair.refusals(Side::B)[0].contains("10.99.0.0/16"));
}

#[test]
fn selectors_are_narrowed_and_a_rekey_keeps_them() {
    let (a, mut b) = configs();
    b.children = vec![child("lan", "10.2.4.0/24", "10.1.0.0/16")];
    let mut pair = Pair::up(a, b);
    assert_eq!(pair.a.children.values().next().unwrap().remote_ts.to_string(), "10.2.4.0/24");
    for side in [Side::A, Side::B] {
        pair.rekey_child(side);
        pair.run(secs(20));
        pair.assert_converged(1);
        assert_eq!(pair.a.children.values().next().unwrap().remote_ts.to_string(), "10.2.4.0/24");
    }
}

#[test]
fn a_peer_without_pfs_is_accepted_and_one_with_another_group_tries_again() {
    let (mut a, mut b) = configs();
    a.children[0].esp = vec![Proposal::parse_esp("aes256gcm16").unwrap()];
    let mut pair = Pair::up(a.clone(), b.clone());
    pair.rekey_child(Side::A);
    pair.run(secs(20));
    pair.assert_converged(1);
    a.children[0].esp = vec![Proposal::parse_esp("aes256gcm16-x25519-ecp384").unwrap()];
    b.children[0].esp = vec![Proposal::parse_esp("aes256gcm16-ecp384").unwrap()];
    let mut pair = Pair::up(a, b);
    pair.rekey_child(Side::A);
    pair.run(secs(20));
    pair.assert_converged(1);
    assert_eq!(pair.a.endpoint.collisions().invalid_ke_received, 1);
    assert_eq!(
        pair.a.children.values().next().unwrap().suite.to_string().replace("-esn", ""),
        "aes256gcm16-ecp384"
    );
}

#[test]
fn several_children_come_up_and_a_trap_waits_for_its_packet() {
    let (mut a, mut b) = configs();
    a.children.push(child("dmz", "10.3.0.0/16", "10.4.0.0/16"));
    b.children.push(child("dmz", "10.4.0.0/16", "10.3.0.0/16"));
    a.children[1].start = StartPolicy::Trap;
    let mut pair = Pair::up(a, b);
    pair.run(secs(5));
    pair.assert_converged(1);
    let packet = crate::policy::PacketSummary {
        src: "10.3.0.1".parse().unwrap(),
        dst: "10.4.0.1".parse().unwrap(),
        protocol: 6,
        src_port: Some(1000),
        dst_port: Some(80),
    };
    pair.command(Side::A, Command::Acquire { peer: "b".into(), child: "dmz".into(), packet });
    pair.run(secs(2));
    pair.assert_converged(2);
}

struct Pki {
    ca: Ca,
    trust: Arc<TrustStore>,
}

fn pki(key: NewKey) -> Pki {
    let mut random = crate::crypto::SystemRandom::new().unwrap();
    let issued = create_ca("Test CA", key, 3650, 1_789_000_000, &mut random).unwrap();
    let mut trust = TrustStore::new();
    trust.add_anchors(issued.certificate.as_bytes()).unwrap();
    Pki { ca: Ca::load(&issued.certificate, &issued.key).unwrap(), trust: Arc::new(trust) }
}

impl Pki {
    fn local(&self, name: &str, key: NewKey, days: u32, at: i64) -> LocalAuth {
        let mut random = crate::crypto::SystemRandom::new().unwrap();
        let issued =
            self.ca.issue_endpoint(&[Identity::parse(name).unwrap()], key, days, at, &mut random).unwrap();
        let key = PrivateKey::from_file(issued.key.as_bytes(), None).unwrap();
        LocalAuth::Certificate(Arc::new(LocalCertificate::new(issued.certificate.as_bytes(), key).unwrap()))
    }

    fn remote(&self) -> RemoteAuth {
        RemoteAuth::Certificate { trust: Arc::clone(&self.trust), policy: SignaturePolicy::default() }
    }
}

#[test]
fn certificates_of_each_kind_authenticate_and_each_way_on_its_own() {
    for key in [NewKey::EcdsaP256, NewKey::EcdsaP384, NewKey::Ed25519] {
        let pki = pki(NewKey::EcdsaP256);
        let (mut a, mut b) = configs();
        a.local_auth = pki.local("a.example.com", key, 100, 1_789_900_000);
        b.remote_auth = pki.remote();
        let mut pair = Pair::up(a.clone(), b.clone());
        pair.run(secs(1));
        pair.assert_converged(1);
        b.local_auth = pki.local("b.example.com", key, 100, 1_789_900_000);
        a.remote_auth = pki.remote();
        let pair = Pair::up(a, b);
        assert!(pair.status(Side::A).local_certificate_not_after.is_some());
        assert!(pair.status(Side::A).remote_certificate_not_after.is_some());
    }
}

#[test]
fn an_expired_certificate_and_one_for_another_name_are_refused_in_words() {
    let pki = pki(NewKey::EcdsaP256);
    let (mut a, mut b) = configs();
    b.remote_auth = pki.remote();
    a.local_auth = pki.local("a.example.com", NewKey::EcdsaP256, 1, 1_789_100_000);
    let mut pair = Pair::new(a.clone(), b.clone());
    pair.run(secs(1));
    assert!(pair.refusals(Side::B)[0].contains("expired"), "{:?}", pair.refusals(Side::B));
    a.local_auth = pki.local("c.example.com", NewKey::EcdsaP256, 100, 1_789_900_000);
    let mut pair = Pair::new(a, b);
    pair.run(secs(1));
    assert!(pair.refusals(Side::B)[0].contains("a.example.com"), "{:?}", pair.refusals(Side::B));
    assert!(pair.children(Side::A) + pair.children(Side::B) == 0);
}

#[test]
fn large_messages_travel_in_fragments_whichever_are_lost() {
    let pki = pki(NewKey::EcdsaP256);
    let (mut a, mut b) = configs();
    a.local_auth = pki.local("a.example.com", NewKey::EcdsaP256, 100, 1_789_900_000);
    b.local_auth = pki.local("b.example.com", NewKey::EcdsaP256, 100, 1_789_900_000);
    a.remote_auth = pki.remote();
    b.remote_auth = pki.remote();
    a.fragment_size = 400;
    b.fragment_size = 400;
    for lost in 0..6 {
        let mut pair = Pair::new(a.clone(), b.clone());
        let mut seen = 0;
        pair.filter = Box::new(move |flight| {
            let auth = flight.header().exchange == ExchangeType::IKE_AUTH;
            seen += i32::from(auth);
            (!auth || seen != lost + 1).then_some(LATENCY)
        });
        pair.run(secs(5));
        pair.assert_converged(1);
        let largest = pair
            .a
            .sent
            .iter()
            .filter(|transmit| transmit.encapsulated)
            .map(|transmit| transmit.octets.len())
            .max();
        assert!(largest.unwrap() + 52 <= 400, "{largest:?}");
    }
}

#[test]
fn both_connecting_at_once_keep_the_same_one() {
    for nonces in [[9, 1], [1, 9]] {
        let (a, mut b) = configs();
        b.children[0].start = StartPolicy::Connect;
        let mut pair = Pair::new(a, b);
        pair.nonces(Side::A, &nonces[..1]);
        pair.nonces(Side::B, &nonces[1..]);
        pair.run(secs(60));
        pair.assert_converged(1);
    }
}
