//! What has been a vulnerability of one implementation or another, each class by name: a hostile peer, before
//! authentication and after it.

use std::time::Duration;

use super::pair::*;
use super::tap::*;
use crate::ike::*;
use crate::pki::Identity;
use crate::policy::Proposal;
use crate::wire::ike::registry::{
    AuthMethod, ExchangeType, GroupId, IdType, NotifyType, PayloadType, ProtocolId, TransformType,
};
use crate::wire::ike::{IkeSpi, Message, Notify, Payload};

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// A's first message, as it would reach B.
fn first_message(a: PeerConfig, b: PeerConfig) -> (Pair, Flight) {
    let mut pair = Pair::new(a, b);
    pair.run(Duration::from_millis(5));
    let (_, flight) = pair.link.pop_first().unwrap();
    (pair, flight)
}

fn altered(flight: &Flight, change: impl FnOnce(&mut Message)) -> Flight {
    let mut message = Message::decode(&flight.transmit.octets).unwrap();
    change(&mut message);
    let mut flight = flight.clone();
    flight.transmit.octets = message.encode();
    flight
}

#[test]
fn a_child_without_a_mandatory_payload_is_refused_and_the_ike_sa_stays() {
    // CVE-2009-1958, CVE-2023-23009: no TSi or TSr in IKE_AUTH.
    for missing in [PayloadType::SECURITY_ASSOCIATION, PayloadType::TS_INITIATOR, PayloadType::TS_RESPONDER] {
        let (a, b) = configs();
        let (mut pair, tap) = at_auth(a, b);
        tap.alter(on_link(&mut pair, ExchangeType::IKE_AUTH, false), without(missing));
        pair.run(Duration::from_millis(20));
        assert_eq!((pair.ike_sas(Side::B), pair.children(Side::B)), (1, 0), "{missing}");
        let answer = tap.notifies(&pair.b.sent.last().unwrap().octets);
        assert_eq!(answer, [NotifyType::INVALID_SYNTAX], "{missing}");
        pair.run(secs(60));
        pair.assert_converged(1);
    }
}

#[test]
fn an_ike_auth_request_without_identity_or_proof_authenticates_nobody() {
    // CVE-2024-2357, CVE-2021-45079: no credential, no AUTH.
    for missing in [PayloadType::ID_INITIATOR, PayloadType::AUTHENTICATION] {
        let (a, b) = configs();
        let (mut pair, tap) = at_auth(a, b);
        tap.alter(on_link(&mut pair, ExchangeType::IKE_AUTH, false), without(missing));
        pair.run(Duration::from_millis(7));
        assert_eq!((pair.ike_sas(Side::B), pair.b.children.len()), (0, 0), "{missing}");
        assert_eq!(pair.b.endpoint.counters().authentication_failed, 1);
        let answer = tap.notifies(&pair.b.sent.last().unwrap().octets);
        assert_eq!(answer, [NotifyType::AUTHENTICATION_FAILED]);
    }
}

#[test]
fn an_ike_auth_response_without_identity_or_proof_is_not_believed() {
    for missing in [PayloadType::ID_RESPONDER, PayloadType::AUTHENTICATION] {
        let (a, b) = configs();
        let (mut pair, tap) = at_auth(a, b);
        pair.run(Duration::from_millis(10));
        tap.alter(on_link(&mut pair, ExchangeType::IKE_AUTH, true), without(missing));
        pair.run(Duration::from_millis(7));
        assert_eq!((pair.ike_sas(Side::A), pair.a.children.len()), (0, 0), "{missing}");
        assert_eq!(pair.a.endpoint.counters().authentication_failed, 1);
        pair.run(Duration::from_millis(20));
        assert!(pair.b.children.is_empty(), "the responder was told");
    }
}

#[test]
fn create_child_sa_without_a_mandatory_payload_is_refused_and_harms_nothing() {
    // CVE-2009-1957, CVE-2016-5391 (no KE), CVE-2019-12312.
    let (mut pair, tap) = tapped_up();
    pair.rekey_child(Side::A);
    let request = tap.open(&on_link(&mut pair, ExchangeType::CREATE_CHILD_SA, false).transmit.octets);
    pair.run(secs(20));
    let mut id = Message::decode(&pair.a.sent.last().unwrap().octets).unwrap().header.message_id;
    let fresh: Vec<Payload> =
        request.into_iter().filter(|payload| payload.kind() != PayloadType::NOTIFY).collect();
    for (missing, answer) in [
        (PayloadType::SECURITY_ASSOCIATION, NotifyType::INVALID_SYNTAX),
        (PayloadType::NONCE, NotifyType::INVALID_SYNTAX),
        (PayloadType::KEY_EXCHANGE, NotifyType::INVALID_KE_PAYLOAD),
        (PayloadType::TS_INITIATOR, NotifyType::INVALID_SYNTAX),
        (PayloadType::TS_RESPONDER, NotifyType::INVALID_SYNTAX),
    ] {
        id += 1;
        let mut payloads = fresh.clone();
        without(missing)(&mut payloads);
        let answers = tap.ask(&mut pair, ExchangeType::CREATE_CHILD_SA, id, &payloads);
        assert_eq!(tap.notifies(&answers[0]), [answer], "{missing}");
    }
    let answers = tap.ask(&mut pair, ExchangeType::CREATE_CHILD_SA, id + 1, &[]);
    assert_eq!(tap.notifies(&answers[0]), [NotifyType::INVALID_SYNTAX]);
    pair.assert_converged(1);
}

#[test]
fn a_rekey_of_the_ike_sa_without_a_mandatory_payload_or_spi_is_refused() {
    let (mut pair, tap) = tapped_up();
    pair.rekey_ike(Side::A);
    let flight = on_link(&mut pair, ExchangeType::CREATE_CHILD_SA, false).clone();
    pair.link.clear();
    let request = tap.open(&flight.transmit.octets);
    let mut id = flight.header().message_id;
    for missing in [PayloadType::NONCE, PayloadType::KEY_EXCHANGE] {
        let mut payloads = request.clone();
        without(missing)(&mut payloads);
        let answers = tap.ask(&mut pair, ExchangeType::CREATE_CHILD_SA, id, &payloads);
        assert_eq!(tap.notifies(&answers[0]).len(), 1, "{missing}");
        id += 1;
    }
    for spi in [vec![], vec![0; 8], vec![1; 4], vec![1; 9]] {
        let mut payloads = request.clone();
        for payload in &mut payloads {
            if let Payload::SecurityAssociation(sa) = payload {
                sa.iter_mut().for_each(|proposal| proposal.spi = spi.clone());
            }
        }
        let answers = tap.ask(&mut pair, ExchangeType::CREATE_CHILD_SA, id, &payloads);
        assert_eq!(tap.notifies(&answers[0]).len(), 1, "{spi:?}");
        id += 1;
    }
    assert_eq!((pair.ike_sas(Side::B), pair.children(Side::B)), (1, 1));
}

#[test]
fn rekey_sa_with_a_wrong_protocol_or_spi_is_refused() {
    // CVE-2023-38710.
    let (mut pair, tap) = tapped_up();
    pair.rekey_child(Side::A);
    let flight = on_link(&mut pair, ExchangeType::CREATE_CHILD_SA, false).clone();
    pair.link.clear();
    let request = tap.open(&flight.transmit.octets);
    let spi = pair.a.children.values().next().unwrap().inbound_spi.to_be_bytes().to_vec();
    let cases = [
        (ProtocolId::AH, spi.clone()),
        (ProtocolId::IKE, spi.clone()),
        (ProtocolId::NONE, vec![]),
        (ProtocolId::ESP, vec![]),
        (ProtocolId::ESP, spi[..3].to_vec()),
        (ProtocolId::ESP, vec![9; 8]),
    ];
    for (id, (protocol, spi)) in (flight.header().message_id..).zip(cases) {
        let mut payloads = request.clone();
        for payload in &mut payloads {
            if let Payload::Notify(notify) = payload {
                (notify.protocol, notify.spi) = (protocol, spi.clone());
            }
        }
        let answers = tap.ask(&mut pair, ExchangeType::CREATE_CHILD_SA, id, &payloads);
        assert_eq!(tap.notifies(&answers[0]), [NotifyType::INVALID_SYNTAX], "{protocol} {spi:?}");
    }
    assert_eq!(pair.children(Side::B), 1);
}

#[test]
fn with_keys_but_without_authentication_only_ike_auth_is_heard() {
    // CVE-2014-2338, CVE-2015-8023: an exchange on an IKE SA that nobody has authenticated.
    for exchange in [
        ExchangeType::CREATE_CHILD_SA,
        ExchangeType::INFORMATIONAL,
        ExchangeType::IKE_INTERMEDIATE,
        ExchangeType(240),
    ] {
        let (a, b) = configs();
        let (mut pair, tap) = at_auth(a, b);
        let request = tap.open(&on_link(&mut pair, ExchangeType::IKE_AUTH, false).transmit.octets);
        let answers = tap.ask(&mut pair, exchange, 1, &request);
        assert_eq!(tap.notifies(&answers[0]), [NotifyType::INVALID_SYNTAX], "{exchange}");
        assert_eq!((pair.ike_sas(Side::B), pair.b.children.len()), (0, 0));
        assert_eq!(pair.b.endpoint.counters().bad_exchange, 1);
        // Nor does the true IKE_AUTH revive it: its message ID has been used.
        pair.run(Duration::from_millis(10));
        assert_eq!(pair.ike_sas(Side::B), 0);
    }
}

#[test]
fn public_values_that_are_zero_out_of_range_or_of_another_length_are_refused() {
    // CVE-2008-4551, CVE-2023-41913, CVE-2015-3240.
    for (group, length) in
        [("x25519", 32), ("ecp256", 64), ("ecp384", 96), ("ecp521", 132), ("modp2048", 256)]
    {
        let (mut a, mut b) = configs();
        a.ike = vec![Proposal::parse_ike(&format!("aes256gcm16-prfsha384-{group}")).unwrap()];
        b.ike = a.ike.clone();
        let (mut pair, first) = first_message(a, b);
        let mut one = vec![0; length];
        one[length - 1] = 1;
        let mut values =
            vec![vec![0; length], vec![0; length - 1], vec![0; length + 1], vec![], vec![0; 4000]];
        if group != "x25519" {
            values.extend([vec![0xff; length], one]);
        }
        for value in &values {
            let bad = altered(&first, |message| {
                for payload in &mut message.payloads {
                    if let Payload::KeyExchange { data, .. } = payload {
                        data.clone_from(value);
                    }
                }
            });
            pair.deliver(&bad);
            assert_eq!(
                (pair.b.endpoint.half_open(), pair.b.endpoint.sa_count()),
                (0, 0),
                "{group} {value:?}"
            );
        }
        assert_eq!(pair.b.endpoint.counters().malformed, values.len() as u64);
        pair.deliver(&first);
        assert_eq!(pair.b.endpoint.half_open(), 1, "{group}");
    }
}

#[test]
fn group_numbers_beyond_the_registry_are_refused() {
    // CVE-2014-9221: an internal number, 1025, came from the wire.
    let (a, b) = configs();
    let (mut pair, first) = first_message(a, b);
    for number in [0, 1, 2, 22, 1025, 32768, u16::MAX] {
        let only_ke = altered(&first, |message| {
            for payload in &mut message.payloads {
                if let Payload::KeyExchange { group, .. } = payload {
                    *group = GroupId(number);
                }
            }
        });
        pair.deliver(&only_ke);
        let both = altered(&only_ke, |message| {
            for payload in &mut message.payloads {
                if let Payload::SecurityAssociation(sa) = payload {
                    for transform in sa.iter_mut().flat_map(|proposal| &mut proposal.transforms) {
                        if transform.kind == TransformType::KEY_EXCHANGE {
                            transform.id = number;
                        }
                    }
                }
            }
        });
        pair.deliver(&both);
        assert_eq!(pair.b.endpoint.sa_count(), 0, "{number}");
    }
    assert_eq!(pair.b.endpoint.counters().invalid_ke_sent, 7);
    assert_eq!(pair.b.endpoint.counters().no_proposal_sent, 7);
}

#[test]
fn identities_of_every_impossible_length_are_refused() {
    // CVE-2013-6075, CVE-2025-9242.
    let long = |kind: u8| [vec![kind, 0, 0, 0], vec![b'a'; 30_000]].concat();
    let bodies = [
        vec![],
        vec![2],
        vec![2, 0, 0],
        vec![2, 0, 0, 0],
        vec![1, 0, 0, 0, 192, 0, 2],
        vec![1, 0, 0, 0, 192, 0, 2, 1, 1],
        vec![5, 0, 0, 0, 32, 1],
        vec![9, 0, 0, 0, 0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
        vec![9, 0, 0, 0, 0x30, 0x80],
        long(2),
        long(3),
        long(9),
        long(11),
        long(200),
    ];
    for body in bodies {
        let (a, b) = configs();
        let (mut pair, tap) = at_auth(a, b);
        tap.alter(on_link(&mut pair, ExchangeType::IKE_AUTH, false), |payloads| {
            let kind = PayloadType::ID_INITIATOR;
            payloads[0] = Payload::Unknown { kind, critical: false, body: body.clone() };
        });
        pair.run(Duration::from_millis(7));
        assert_eq!(
            (pair.ike_sas(Side::B), pair.b.children.len()),
            (0, 0),
            "{:?}",
            &body[..body.len().min(12)]
        );
        assert_eq!(pair.refusals(Side::B).len(), 1);
        assert!(
            pair.refusals(Side::B)[0].len() < 2000,
            "reasons stay readable: {}",
            pair.refusals(Side::B)[0].len()
        );
    }
}

#[test]
fn control_characters_of_a_peers_identity_are_escaped_in_reasons() {
    // CVE-2023-28771: what a peer says about itself reaches logs, terminals, scripts.
    let trick = b"a\x1b[31m\r\nok\x00\x07$(reboot)`id`\xff\xe2\x80\xae".to_vec();
    for kind in [IdType::FQDN, IdType::RFC822_ADDR, IdType::KEY_ID, IdType(99)] {
        let (mut a, b) = configs();
        a.local_id = Identity::new(kind, trick.clone());
        let mut pair = Pair::new(a, b);
        pair.run(secs(1));
        let reason = &pair.refusals(Side::B)[0];
        assert!(!reason.contains(|c: char| c.is_control() || c == '\u{202e}'), "{reason:?}");
    }
}

#[test]
fn empty_zero_and_foreign_proofs_authenticate_nobody() {
    // CVE-2012-2388, CVE-2013-2944, CVE-2018-16151: what a lenient verification lets through.
    let zeros = |length: usize| vec![0; length];
    for remote in [None, Some(super::credentials::pki())] {
        let (mut a, mut b) = configs();
        if let Some(pki) = &remote {
            a.local_auth = pki.local("a.example.com");
            b.remote_auth = pki.remote();
        }
        for method in [
            AuthMethod::SHARED_KEY,
            AuthMethod::DIGITAL_SIGNATURE,
            AuthMethod(1),
            AuthMethod(9),
            AuthMethod(10),
            AuthMethod(0),
            AuthMethod(13),
            AuthMethod(255),
        ] {
            for data in [vec![], zeros(1), zeros(48), zeros(64), zeros(96), vec![12], vec![0xff; 300]] {
                let (mut pair, tap) = at_auth(a.clone(), b.clone());
                tap.alter(on_link(&mut pair, ExchangeType::IKE_AUTH, false), |payloads| {
                    for payload in payloads {
                        if matches!(payload, Payload::Authentication { .. }) {
                            *payload = Payload::Authentication { method, data: data.clone() };
                        }
                    }
                });
                pair.run(Duration::from_millis(7));
                assert_eq!(pair.ike_sas(Side::B), 0, "{method} {data:?}");
                assert_eq!(pair.b.endpoint.counters().authentication_failed, 1, "{method} {data:?}");
            }
        }
    }
}

#[test]
fn a_hundred_thousand_malformed_first_messages_leave_nothing_behind() {
    let (a, b) = configs();
    let (mut pair, first) = first_message(a, b);
    let sample = first.transmit.octets;
    let mut state = 1_u64;
    let mut roll = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 40).unwrap()
    };
    let mut answers = 0_u64;
    for number in 0..100_000_u64 {
        let mut octets = sample.clone();
        octets[..8].copy_from_slice(&(number + 1).to_be_bytes());
        match number % 3 {
            0 => octets.truncate(28 + roll() % (octets.len() - 28)),
            1 => {
                let at = 28 + roll() % (octets.len() - 28);
                octets[at] ^= u8::try_from(1 + roll() % 255).unwrap();
            }
            _ => octets[16] = u8::try_from(roll() % 256).unwrap(),
        }
        let source = [203, 0, u8::try_from(number % 113).unwrap(), u8::try_from(number % 251).unwrap()];
        let datagram = Datagram {
            local: format!("{B}:500").parse().unwrap(),
            remote: (source, 500).into(),
            octets: &octets,
            encapsulated: false,
        };
        pair.b.endpoint.handle_datagram(pair.now, datagram);
        while pair.b.endpoint.poll_transmit().is_some() {
            answers += 1;
        }
        while pair.b.endpoint.poll_event().is_some() {}
        assert!(pair.b.endpoint.half_open() <= 30 && pair.b.endpoint.sa_count() <= 30);
    }
    let counters = pair.b.endpoint.counters();
    assert_eq!(counters.datagrams, 100_000);
    assert!(counters.malformed > 50_000, "{counters:?}");
    assert!(answers < 100_000);
    pair.filter = Box::new(|_| None);
    pair.run(secs(60));
    assert_eq!((pair.b.endpoint.half_open(), pair.b.endpoint.sa_count()), (0, 0));
}

#[test]
fn exchange_types_of_private_use_and_of_no_use_are_refused_and_harm_nothing() {
    // CVE-2015-3991: numbers that other code paths mean something by.
    let (mut pair, tap) = tapped_up();
    let kinds = [0, 1, 2, 4, 5, 33, 35, 38, 39, 43, 44, 200, 240, 255];
    for (id, kind) in (2..).zip(kinds) {
        let answers = tap.ask(&mut pair, ExchangeType(kind), id, &[]);
        assert_eq!(tap.notifies(&answers[0]), [NotifyType::INVALID_SYNTAX], "{kind}");
    }
    assert_eq!(pair.b.endpoint.counters().bad_exchange, kinds.len() as u64);
    assert_eq!((pair.ike_sas(Side::B), pair.children(Side::B)), (1, 1));
}

#[test]
fn deletes_of_what_is_not_there_are_ignored() {
    let (mut pair, tap) = tapped_up();
    let delete = |protocol, spis: Vec<Vec<u8>>| Payload::Delete { protocol, spis };
    let cases = [
        delete(ProtocolId::ESP, vec![vec![1, 2, 3, 4]; 300]),
        delete(ProtocolId::ESP, vec![]),
        delete(ProtocolId::AH, vec![vec![1, 2, 3, 4]]),
        delete(ProtocolId(77), vec![vec![1; 9]]),
        notify(NotifyType(9999)),
    ];
    for (id, payload) in (2..).zip(cases) {
        let answers = tap.ask(&mut pair, ExchangeType::INFORMATIONAL, id, std::slice::from_ref(&payload));
        assert_eq!(tap.open(&answers[0]), [], "{payload:?}");
    }
    assert_eq!((pair.ike_sas(Side::B), pair.children(Side::B)), (1, 1));
}

#[test]
fn a_public_value_of_zero_in_a_rekey_is_refused_and_the_old_sa_stays() {
    let (mut pair, tap) = tapped_up();
    pair.rekey_child(Side::A);
    tap.alter(on_link(&mut pair, ExchangeType::CREATE_CHILD_SA, false), |payloads| {
        for payload in payloads {
            if let Payload::KeyExchange { data, .. } = payload {
                data.fill(0);
            }
        }
    });
    pair.run(Duration::from_millis(15));
    assert_eq!(tap.notifies(&pair.b.sent.last().unwrap().octets), [NotifyType::INVALID_SYNTAX]);
    assert_eq!(pair.children(Side::B), 1);
    pair.run(secs(60));
    pair.assert_converged(1);
}

#[test]
fn clear_payloads_beside_the_encrypted_one_are_not_trusted() {
    let (mut pair, tap) = tapped_up();
    let octets = tap.seal(true, ExchangeType::INFORMATIONAL, 2, false, &[]);
    let mut message = Message::decode(&octets).unwrap();
    message.payloads.insert(0, Payload::Delete { protocol: ProtocolId::IKE, spis: vec![] });
    let before = pair.b.sent.len();
    inject(&mut pair, message.encode());
    assert_eq!(pair.b.sent.len(), before, "the header is authenticated");
    assert_eq!(pair.b.endpoint.counters().bad_integrity, 1);
    let clear = vec![Payload::Notify(Notify::new(NotifyType::COOKIE, vec![0; 20]))];
    message.payloads = clear;
    message.header.initiator_spi = IkeSpi([3; 8]);
    inject(&mut pair, message.encode());
    pair.run(secs(1));
    pair.assert_converged(1);
}

#[test]
fn a_forged_fragment_leaves_the_good_ones_alone() {
    let (mut a, b) = configs();
    a.fragment_size = 200;
    let mut pair = Pair::new(a, b);
    pair.run(Duration::from_millis(25));
    let mut fragments: Vec<Flight> = std::mem::take(&mut pair.link).into_values().collect();
    assert!(fragments.len() > 2 && fragments[0].is(ExchangeType::IKE_AUTH, false));
    let last = fragments.pop().unwrap();
    fragments.iter().for_each(|fragment| pair.deliver(fragment));
    for at in 28..last.transmit.octets.len() {
        let mut forged = last.clone();
        forged.transmit.octets[at] ^= 1;
        pair.deliver(&forged);
    }
    assert_eq!(pair.ike_sas(Side::B), 0);
    let counters = pair.b.endpoint.counters();
    assert!(counters.bad_integrity > 20 && counters.bad_fragment == 0, "{counters:?}");
    pair.deliver(&last);
    assert_eq!((pair.ike_sas(Side::B), pair.children(Side::B)), (1, 1));
}
