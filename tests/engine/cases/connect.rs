//! How tunnels come up, or do not: both ends at once, cookies, groups, limits, restarts, authentication.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use skybridge::crypto::{Secret, SystemRandom};
use skybridge::engine::Event;
use skybridge::ike::{self, Command, LocalAuth, RemoteAddress, RemoteAuth, StartPolicy};
use skybridge::pki::issue::{Ca, NewKey, create_ca};
use skybridge::pki::{Identity, IdentityPattern, LocalCertificate, PrivateKey, SignaturePolicy, TrustStore};
use skybridge::wire::ike::registry::ExchangeType;

use crate::net::{Action, Packet, Select};
use crate::pair::{A, ADDRESS_A, ADDRESS_B, B, Pair, Plan, child_name, esp, ike, inner, selectors};
use crate::sim::UNIX_START;

const INIT: Select = Select::Request(ExchangeType::IKE_SA_INIT);
const INIT_ANSWER: Select = Select::Response(ExchangeType::IKE_SA_INIT);
const AUTH: Select = Select::Request(ExchangeType::IKE_AUTH);
const AUTH_ANSWER: Select = Select::Response(ExchangeType::IKE_AUTH);

fn both_connect(children: usize) -> Plan {
    Plan::new(children).start_policy(B, StartPolicy::Connect)
}

#[test]
fn several_children_come_up_by_either_end() {
    Plan::new(5).up();
    Plan::new(5).start_policy(A, StartPolicy::Wait).start_policy(B, StartPolicy::Connect).up();
}

#[test]
fn both_ends_connecting_at_once_keep_the_same_ike_sa() {
    for seed in 1..9 {
        let mut pair = both_connect(2).seed(seed).build();
        pair.start();
        pair.seconds(30);
        pair.assert_healthy();
        let stats = [A, B].map(|host| pair.hosts[host].collisions());
        assert_eq!(stats[A].simultaneous_initiation_won, stats[B].simultaneous_initiation_lost);
        assert_eq!(stats[B].simultaneous_initiation_won, stats[A].simultaneous_initiation_lost);
    }
}

#[test]
fn both_ends_connecting_at_once_survive_loss_of_every_message() {
    for host in [A, B] {
        for select in [INIT, INIT_ANSWER, AUTH, AUTH_ANSWER] {
            for late in [false, true] {
                let mut pair = both_connect(1).build();
                match late {
                    false => pair.rule(host, select, Action::Drop, 2),
                    true => pair.rule(host, select, Action::Delay(Duration::from_millis(700)), 2),
                }
                pair.start();
                pair.seconds(40);
                pair.assert_healthy();
            }
        }
    }
}

#[test]
fn each_lost_message_of_the_start_is_sent_again() {
    for (from, select) in [(A, INIT), (B, INIT_ANSWER), (A, AUTH), (B, AUTH_ANSWER)] {
        let mut pair = Plan::new(1).build();
        pair.rule(from, select, Action::Drop, 3);
        pair.start();
        pair.seconds(30);
        pair.assert_healthy();
        assert!(pair.hosts[A].counters().retransmits >= 3);
    }
}

#[test]
fn a_restarted_end_says_initial_contact_and_the_old_sas_go() {
    for host in [A, B] {
        let mut pair = both_connect(1).up();
        pair.seconds(30);
        pair.crash(host);
        pair.seconds(3);
        let other = 1 - host;
        assert!(
            pair.hosts[other].ike_down.contains(&ike::DownReason::InitialContact),
            "{:?}",
            pair.hosts[other].ike_down
        );
        pair.assert_healthy();
    }
}

#[test]
fn a_restarted_responder_is_found_out_and_connected_to_again() {
    let mut pair = Plan::new(1).up();
    pair.crash(B);
    assert!(pair.hosts[B].engine.sad().is_empty());
    // DPD, or the packets that B cannot read, make A see it.
    pair.seconds(60);
    pair.assert_healthy();
}

#[test]
fn a_restarted_initiator_connects_at_once() {
    let mut pair = Plan::new(1).up();
    pair.crash(A);
    pair.seconds(2);
    assert!(pair.probe_traffic().is_none());
    pair.assert_healthy();
}

#[test]
fn both_ends_restart_at_once() {
    let mut pair = both_connect(2).up();
    pair.crash(A);
    pair.crash(B);
    pair.seconds(30);
    pair.assert_healthy();
}

/// B demands a cookie from the first request on.
fn suspicious(plan: Plan) -> Plan {
    plan.with(B, |end| {
        end.settings.cookie_threshold = 0;
        end.settings.cookie_threshold_per_address = 0;
    })
}

#[test]
fn a_cookie_is_demanded_and_obeyed_without_anything_kept_before() {
    let mut pair = suspicious(Plan::new(1)).build();
    pair.hold(A, INIT);
    pair.start();
    pair.release();
    pair.millis(25);
    assert_eq!(pair.hosts[B].engine.endpoint().sa_count(), 0, "no state before a cookie has come back");
    assert_eq!(pair.hosts[B].script.lock().unwrap().key_exchanges, 0, "no key exchange either");
    pair.seconds(5);
    pair.assert_healthy();
    assert_eq!(pair.hosts[B].counters().cookies_sent, 1);
    assert_eq!(pair.hosts[A].counters().cookies_received, 1);
}

#[test]
fn cookie_and_invalid_ke_converge_in_either_order() {
    let picky = |plan: Plan| {
        plan.with(A, |end| end.peer.ike = ike("aes128gcm16-prfsha256-x25519-ecp256"))
            .with(B, |end| end.peer.ike = ike("aes128gcm16-prfsha256-ecp256"))
    };
    // Cookie first, as the threshold stands.
    let mut pair = picky(suspicious(Plan::new(1))).up();
    assert_eq!(
        (pair.hosts[A].counters().cookies_received, pair.hosts[A].counters().invalid_ke_received),
        (1, 1)
    );
    pair.assert_healthy();
    // INVALID_KE first: the threshold is reached by somebody else's half-open SAs in between.
    let plan = picky(Plan::new(1)).with(B, |end| end.settings.cookie_threshold = 1);
    let mut pair = plan.build();
    pair.net.log = Some(Vec::new());
    pair.hold(B, INIT_ANSWER);
    pair.start();
    pair.millis(30);
    let stranger = strangers_request(&pair, "198.51.100.9");
    let at = pair.now;
    pair.net.inject(at, stranger);
    pair.millis(10);
    assert_eq!(pair.hosts[B].engine.endpoint().half_open(), 1);
    pair.release();
    pair.seconds(5);
    assert_eq!(
        (pair.hosts[A].counters().cookies_received, pair.hosts[A].counters().invalid_ke_received),
        (1, 1)
    );
    pair.seconds(60);
    pair.assert_healthy();
}

#[test]
fn invalid_ke_and_cookie_demands_that_come_twice_do_no_harm() {
    let plan = suspicious(Plan::new(1))
        .with(A, |end| end.peer.ike = ike("aes128gcm16-prfsha256-x25519-ecp256"))
        .with(B, |end| end.peer.ike = ike("aes128gcm16-prfsha256-ecp256"));
    let mut pair = plan.build();
    pair.rule(B, INIT_ANSWER, Action::Duplicate(Duration::from_millis(50)), usize::MAX);
    // The answer that counts comes only after the first retransmission.
    pair.net.rules.push(crate::net::Rule { from: A, select: INIT, action: Action::Drop, skip: 2, count: 1 });
    pair.start();
    pair.seconds(4);
    assert!(pair.probe_traffic().is_none());
    assert_eq!(pair.hosts[A].counters().attempts, 1);
    assert_eq!(
        (pair.hosts[A].counters().cookies_received, pair.hosts[A].counters().invalid_ke_received),
        (1, 1)
    );
}

/// An IKE_SA_INIT request as A's, of somebody else and with a group that B takes.
fn strangers_request(pair: &Pair, from: &str) -> Packet {
    let mut plan = Plan::new(1)
        .seed(99)
        .with(A, |end| end.peer.ike = pair.hosts[B].setup.peers[0].ike.ike.clone())
        .build();
    plan.net.log = Some(Vec::new());
    plan.start();
    let (_, mut packet) = plan.net.log.take().unwrap().remove(0);
    packet.src.set_ip(from.parse().unwrap());
    packet
}

/// The same request with other initiator SPIs.
fn flood(pair: &mut Pair, packet: &Packet, from: IpAddr, count: u16) {
    for number in 1..=count {
        let mut packet = packet.clone();
        packet.src.set_ip(from);
        packet.octets[..2].copy_from_slice(&number.to_be_bytes());
        let at = pair.now;
        pair.net.inject(at, packet);
    }
    pair.millis(1);
}

#[test]
fn half_open_sas_of_one_address_are_limited_and_others_still_come_in() {
    let mut pair = Plan::new(1)
        .with(B, |end| {
            end.settings.cookie_threshold = usize::MAX;
            end.settings.cookie_threshold_per_address = usize::MAX;
        })
        .build();
    let packet = strangers_request(&pair, "198.51.100.9");
    flood(&mut pair, &packet, "198.51.100.9".parse().unwrap(), 100);
    assert_eq!(pair.hosts[B].engine.endpoint().half_open(), 5);
    assert_eq!(pair.hosts[B].counters().half_open_dropped, 95);
    pair.start();
    pair.seconds(5);
    assert!(pair.probe_traffic().is_none());
    pair.seconds(60);
    assert_eq!(pair.hosts[B].counters().half_open_expired, 5);
    pair.assert_healthy();
}

#[test]
fn half_open_sas_over_all_addresses_are_limited() {
    let mut pair = Plan::new(1)
        .with(B, |end| {
            end.settings.cookie_threshold = usize::MAX;
            end.settings.block_threshold = 40;
        })
        .build();
    let packet = strangers_request(&pair, "198.51.100.9");
    for last in 1..=100_u8 {
        flood(&mut pair, &packet, IpAddr::from([198, 51, 100, last]), 1);
    }
    assert_eq!(pair.hosts[B].engine.endpoint().half_open(), 40);
    pair.seconds(31);
    assert_eq!(pair.hosts[B].engine.endpoint().half_open(), 0);
    pair.start();
    pair.seconds(5);
    pair.assert_healthy();
}

#[test]
fn a_flood_without_cookies_keeps_no_state() {
    let mut pair = Plan::new(1).build();
    let packet = strangers_request(&pair, "198.51.100.9");
    for last in 1..=250_u8 {
        flood(&mut pair, &packet, IpAddr::from([198, 51, 100, last]), 1);
    }
    assert_eq!(pair.hosts[B].engine.endpoint().half_open(), 30);
    assert_eq!(pair.hosts[B].counters().cookies_sent, 220);
    pair.start();
    pair.seconds(5);
    assert!(pair.probe_traffic().is_none(), "who returns the cookie comes in");
    assert_eq!(pair.hosts[A].counters().cookies_received, 1);
}

#[test]
fn blocked_udp_is_retried_with_capped_back_off_until_it_passes() {
    let mut pair = Plan::new(1).build();
    pair.net.links[A].up = false;
    pair.start();
    pair.seconds(1800);
    let attempts = pair.hosts[A].counters().attempts;
    assert!((8..200).contains(&attempts), "{attempts} attempts in half an hour");
    pair.net.links[A].up = true;
    // The longest wait between two attempts, with jitter.
    pair.seconds(100);
    pair.assert_healthy();
}

#[test]
fn a_path_that_swallows_one_direction_recovers_too() {
    let mut pair = Plan::new(1).up();
    pair.net.links[B].up = false;
    pair.seconds(300);
    pair.net.links[B].up = true;
    pair.seconds(150);
    pair.assert_healthy();
}

#[test]
fn port_500_filtered_is_no_obstacle_to_an_encapsulated_start() {
    let mut pair = Plan::new(1).with(A, |end| end.peer.start_encapsulated = true).build();
    for host in [A, B] {
        pair.rule(host, Select::Plain, Action::Drop, usize::MAX);
    }
    pair.start();
    pair.seconds(5);
    pair.assert_healthy();
}

#[test]
fn custom_ports_work() {
    let mut pair = Plan::new(1)
        .with(A, |end| {
            end.peer.remote_ike_port = 10_500;
            end.peer.remote_natt_port = 14_500;
        })
        .with(B, |end| {
            end.settings.ike_port = 10_500;
            end.settings.natt_port = 14_500;
        })
        .up();
    pair.rekey_ike(B);
    pair.seconds(5);
    pair.assert_healthy();
}

#[test]
fn ports_after_the_start_are_those_of_nat_traversal() {
    let mut pair = Plan::new(1).build();
    pair.net.log = Some(Vec::new());
    pair.start();
    pair.seconds(5);
    pair.assert_healthy();
    for (_, packet) in pair.net.log.take().unwrap() {
        let init = is_init(&packet);
        assert_eq!(packet.dst.port(), if init { 500 } else { 4500 }, "{:?}", packet.kind());
    }
}

fn is_init(packet: &Packet) -> bool {
    matches!(packet.kind(), crate::net::Kind::Ike { exchange, .. } if exchange == ExchangeType::IKE_SA_INIT.0)
}

#[test]
fn the_first_packet_raises_a_trap() {
    let mut pair = Plan::new(2).start_policy(A, StartPolicy::Trap).build();
    pair.start();
    pair.seconds(30);
    assert!(pair.status_of(A).ike_sas.is_empty());
    pair.send_inner(A, inner(A, 1), inner(B, 1));
    pair.seconds(2);
    assert_eq!(pair.ike_sa(A).children.len(), 1, "only the child that was asked for");
    pair.send_inner(A, inner(A, 0), inner(B, 0));
    pair.seconds(2);
    pair.assert_healthy();
}

#[test]
fn a_waiting_end_never_begins() {
    let mut pair = Plan::new(1).start_policy(A, StartPolicy::Wait).build();
    pair.start();
    pair.seconds(600);
    assert_eq!(pair.hosts[A].counters().attempts + pair.hosts[B].counters().attempts, 0);
}

#[test]
fn a_peer_that_may_be_anywhere_can_only_be_waited_for() {
    let mut pair = Plan::new(1).with(B, |end| end.peer.remote = RemoteAddress::Any).build();
    let peer = pair.peer(B);
    assert!(pair.command(B, Command::Up { peer, child: None }).is_err());
    pair.start();
    pair.seconds(5);
    pair.assert_healthy();
}

#[test]
fn a_name_is_resolved_again_for_every_attempt() {
    let mut pair = Plan::new(1).with(A, |end| end.peer.remote = RemoteAddress::Name("b.test".into())).build();
    let asked = |pair: &Pair| {
        pair.hosts[A]
            .events
            .iter()
            .filter(|(_, event)| matches!(event, Event::Ike(ike::Event::Resolve { .. })))
            .count()
    };
    pair.start();
    assert_eq!(asked(&pair), 1);
    let peer = pair.peer(A);
    // Somewhere else first.
    pair.command(
        A,
        Command::PeerAddresses { peer: peer.clone(), addresses: vec!["198.51.100.77".parse().unwrap()] },
    )
    .unwrap();
    for _ in 0..600 {
        pair.seconds(1);
        if asked(&pair) == 2 {
            break;
        }
    }
    assert_eq!(asked(&pair), 2);
    pair.command(A, Command::PeerAddresses { peer, addresses: vec![ADDRESS_B.parse().unwrap()] }).unwrap();
    pair.seconds(5);
    assert!(pair.probe_traffic().is_none());
}

#[test]
fn the_responder_narrows_and_both_ends_use_the_narrower_selectors() {
    let plan = Plan::new(1)
        .with(A, |end| {
            end.peer.children[0].local = selectors("10.1.0.0/16 172.16.0.0/24");
            end.peer.children[0].remote = selectors("10.2.0.0/16");
        })
        .with(B, |end| end.peer.children[0].remote = selectors("10.1.0.0/24"));
    let mut pair = plan.up();
    for (host, other) in [(A, B), (B, A)] {
        let child = &pair.ike_sa(host).children[0];
        let mirror = &pair.ike_sa(other).children[0];
        assert!(child.local_ts.is_equivalent_to(&mirror.remote_ts));
    }
    assert!(pair.ike_sa(A).children[0].local_ts.is_equivalent_to(&selectors("10.1.0.0/24")));
    let outside = pair.send_inner(A, "10.1.9.1".parse().unwrap(), inner(B, 0));
    pair.seconds(1);
    assert!(!pair.delivered(outside));
    pair.rekey_child(A, 0);
    pair.seconds(10);
    assert!(
        pair.ike_sa(A).children[0].local_ts.is_equivalent_to(&selectors("10.1.0.0/24")),
        "a rekey keeps them"
    );
    pair.assert_healthy();
}

#[test]
fn a_child_that_the_peer_does_not_want_leaves_the_ike_sa_up() {
    let mut pair = Plan::new(2).with(B, |end| end.peer.children.truncate(1)).build();
    pair.start();
    pair.seconds(20);
    assert_eq!(pair.ike_sa(A).children.len(), 1);
    assert!(
        pair.hosts[A].refusals.iter().any(|reason| reason.contains("TS_UNACCEPTABLE")),
        "{:?}",
        pair.hosts[A].refusals
    );
    // The first child goes into IKE_AUTH; that it is refused does not refuse the IKE SA.
    let mut pair = Plan::new(2).with(B, |end| drop(end.peer.children.remove(0))).build();
    pair.start();
    pair.seconds(20);
    assert_eq!(pair.ike_sa(A).children.len(), 1);
    assert_eq!(pair.ike_sa(A).children[0].child, child_name(1));
}

#[test]
fn without_a_common_esp_proposal_the_ike_sa_stays_and_the_reason_shows_both() {
    let mut pair =
        Plan::new(1).with(B, |end| end.peer.children[0].esp = esp("chacha20poly1305-x25519")).build();
    pair.start();
    pair.seconds(20);
    assert!(pair.ike_sa(A).children.is_empty());
    let refusals = pair.hosts[B].refusals.join("\n");
    assert!(refusals.contains("chacha20poly1305") && refusals.contains("aes128gcm16"), "{refusals}");
}

/// What the tunnel's two ends say when it does not come up.
fn refused(plan: &Plan) -> [String; 2] {
    let mut pair = plan.build();
    pair.start();
    pair.seconds(20);
    for host in [A, B] {
        assert!(pair.hosts[host].engine.sad().is_empty());
        assert!(pair.status_of(host).ike_sas.iter().all(|sa| sa.state != ike::IkeSaState::Established));
    }
    let texts = [A, B].map(|host| {
        let reasons = pair.hosts[host].refusals.iter().cloned();
        reasons.chain(pair.status_of(host).last_error).collect::<Vec<_>>().join("\n")
    });
    // It keeps trying, with back-off, and nothing piles up.
    pair.seconds(600);
    assert!(pair.hosts[A].counters().attempts < 120, "{}", pair.hosts[A].counters().attempts);
    assert!(pair.hosts[A].engine.endpoint().sa_count() + pair.hosts[B].engine.endpoint().sa_count() < 12);
    texts
}

#[test]
fn no_common_ike_proposal_shows_both() {
    let [a, b] =
        refused(&Plan::new(1).with(B, |end| end.peer.ike = ike("chacha20poly1305-prfsha512-ecp384")));
    assert!(b.contains("chacha20poly1305") && b.contains("aes128gcm16"), "{b}");
    assert!(a.contains("NO_PROPOSAL_CHOSEN"), "{a}");
}

#[test]
fn a_wrong_psk_is_named() {
    let wrong = || vec![Secret::from_slice(b"wrong")];
    let [a, b] = refused(&Plan::new(1).with(B, |end| {
        end.peer.local_auth = LocalAuth::Psk(wrong());
        end.peer.remote_auth = RemoteAuth::Psk(wrong());
    }));
    assert!(a.contains("AUTHENTICATION_FAILED"), "{a}");
    assert!(b.to_lowercase().contains("pre-shared key") || b.to_lowercase().contains("psk"), "{b}");
}

#[test]
fn a_responder_with_a_wrong_psk_is_told_and_keeps_nothing() {
    // B accepts A, but proves itself with another key: the initiator must say so.
    let plan = Plan::new(1)
        .with(A, |end| end.peer.remote_auth = RemoteAuth::Psk(vec![Secret::from_slice(b"another")]));
    let [a, b] = refused(&plan);
    assert!(!a.is_empty() && !b.is_empty(), "{a} / {b}");
}

#[test]
fn a_wrong_identity_is_named() {
    let [_, b] =
        refused(&Plan::new(1).with(A, |end| end.peer.local_id = Identity::parse("mallory.test").unwrap()));
    assert!(b.contains("mallory.test"), "{b}");
    // The initiator asks for somebody else.
    let [_, b] = refused(
        &Plan::new(1).with(A, |end| end.peer.remote_id = IdentityPattern::parse("carol.test").unwrap()),
    );
    assert!(b.contains("carol.test"), "{b}");
}

#[test]
fn the_old_and_the_new_psk_are_accepted_together() {
    let secrets =
        |names: &[&str]| names.iter().map(|name| Secret::from_slice(name.as_bytes())).collect::<Vec<_>>();
    for (a, b) in
        [(["new", "old"], vec!["old"]), (["new", "old"], vec!["new", "old"]), (["old", "new"], vec!["new"])]
    {
        let mut pair = Plan::new(1)
            .with(A, |end| {
                end.peer.local_auth = LocalAuth::Psk(secrets(&a));
                end.peer.remote_auth = RemoteAuth::Psk(secrets(&a));
            })
            .with(B, |end| {
                end.peer.local_auth = LocalAuth::Psk(secrets(&b));
                end.peer.remote_auth = RemoteAuth::Psk(secrets(&b));
            })
            .build();
        pair.start();
        pair.seconds(30);
        pair.assert_healthy();
    }
}

struct Certificates {
    ca: Ca,
    anchor: String,
}

impl Certificates {
    fn new() -> Self {
        let mut random = SystemRandom::new().unwrap();
        let ca = create_ca("Test CA", NewKey::EcdsaP256, 365, UNIX_START, &mut random).unwrap();
        Self { anchor: ca.certificate.clone(), ca: Ca::load(&ca.certificate, &ca.key).unwrap() }
    }

    fn end(&self, name: &str, days: u32) -> LocalAuth {
        let mut random = SystemRandom::new().unwrap();
        let identity = Identity::parse(name).unwrap();
        let issued =
            self.ca.issue_endpoint(&[identity], NewKey::Ed25519, days, UNIX_START, &mut random).unwrap();
        let key = PrivateKey::from_file(issued.key.as_bytes(), None).unwrap();
        LocalAuth::Certificate(Arc::new(LocalCertificate::new(issued.certificate.as_bytes(), key).unwrap()))
    }

    fn trust(&self) -> RemoteAuth {
        let mut trust = TrustStore::new();
        trust.add_anchors(self.anchor.as_bytes()).unwrap();
        RemoteAuth::Certificate { trust: Arc::new(trust), policy: SignaturePolicy::default() }
    }

    fn plan(&self) -> Plan {
        Plan::new(1)
            .with(A, |end| end.peer.local_auth = self.end("a.test", 90))
            .with(B, |end| end.peer.local_auth = self.end("b.test", 90))
            .both(|end| end.peer.remote_auth = self.trust())
    }
}

#[test]
fn certificates_authenticate_both_ends_and_rekeys_need_none() {
    let mut pair = Certificates::new().plan().up();
    pair.rekey_ike(A);
    pair.rekey_child(B, 0);
    pair.seconds(5);
    pair.assert_healthy();
    assert!(pair.status_of(A).remote_certificate_not_after.is_some());
}

#[test]
fn one_end_may_use_a_certificate_and_the_other_a_psk() {
    let certificates = Certificates::new();
    let psk = || Secret::from_slice(b"secret");
    Plan::new(1)
        .with(A, |end| {
            end.peer.local_auth = certificates.end("a.test", 90);
            end.peer.remote_auth = RemoteAuth::Psk(vec![psk()]);
        })
        .with(B, |end| {
            end.peer.local_auth = LocalAuth::Psk(vec![psk()]);
            end.peer.remote_auth = certificates.trust();
        })
        .up();
}

#[test]
fn a_certificate_of_another_authority_is_refused() {
    let (ours, theirs) = (Certificates::new(), Certificates::new());
    let [_, b] = refused(&ours.plan().with(A, |end| end.peer.local_auth = theirs.end("a.test", 90)));
    assert!(!b.is_empty());
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    let certificates = Certificates::new();
    let [_, b] =
        refused(&certificates.plan().with(A, |end| end.peer.local_auth = certificates.end("c.test", 90)));
    assert!(b.contains("a.test") || b.contains("c.test"), "{b}");
}

#[test]
fn an_expired_certificate_is_refused_when_its_time_comes_and_not_before() {
    let certificates = Certificates::new();
    let plan = certificates.plan().with(A, |end| end.peer.local_auth = certificates.end("a.test", 1));
    let mut pair = plan.up();
    // The day passes on the wall clock of both engines.
    pair.seconds(2 * 86_400);
    assert!(pair.probe_traffic().is_none(), "an established tunnel is not cut");
    pair.crash(A);
    pair.seconds(30);
    assert!(pair.hosts[B].refusals.join("\n").contains("expired"), "{:?}", pair.hosts[B].refusals);
}

#[test]
fn nothing_is_sent_before_the_snapshot_with_the_new_sa_is_taken() {
    let mut pair = Plan::new(2).build();
    let addresses = [ADDRESS_A, ADDRESS_B].map(|text| text.parse::<IpAddr>().unwrap());
    let now = pair.clock();
    let (mut turn, mut known, mut held) = (A, [0, 0], 0);
    pair.hosts[A].engine.handle_timeout(now);
    loop {
        let engine = &mut pair.hosts[turn].engine;
        let mut sent: Vec<_> = engine.poll_transmit().into_iter().collect();
        if let Some(snapshot) = engine.poll_snapshot() {
            assert!(sent.is_empty(), "the peer could use what the workers do not know");
            known[turn] = snapshot.inbound_sas().count();
            held += 1;
        }
        sent.extend(std::iter::from_fn(|| engine.poll_transmit()));
        assert_eq!(known[turn], engine.sad().len());
        if sent.is_empty() {
            break;
        }
        let other = 1 - turn;
        for transmit in sent {
            let port = if transmit.encapsulated { 4500 } else { 500 };
            let datagram = ike::Datagram {
                local: (addresses[other], port).into(),
                remote: (addresses[turn], port).into(),
                octets: &transmit.octets,
                encapsulated: transmit.encapsulated,
            };
            pair.hosts[other].engine.handle_datagram(now, datagram);
        }
        turn = other;
    }
    assert_eq!(known, [2, 2]);
    assert!(held >= 4, "the first of either side, and one for its SAs");
}
