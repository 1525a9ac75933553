//! What a correct peer may do and this end must bear: unknown notifications, versions, windows, selectors.

use std::time::Duration;

use super::pair::*;
use super::tap::*;
use crate::ike::*;
use crate::policy::SelectorSet;
use crate::wire::ike::registry::{ExchangeType, NotifyType, PayloadType, TsType};
use crate::wire::ike::{Message, Notify, Payload, WireTs};

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn set(text: &str) -> SelectorSet {
    SelectorSet::of_prefixes(text.split(',').map(|prefix| prefix.parse().unwrap()))
}

#[test]
fn an_unknown_error_in_a_response_is_a_failure_and_the_old_sa_carries_on() {
    let (mut pair, tap) = tapped_up();
    let old = *pair.a.children.keys().next().unwrap();
    pair.rekey_child(Side::A);
    pair.run(Duration::from_millis(12));
    tap.alter(on_link(&mut pair, ExchangeType::CREATE_CHILD_SA, true), |payloads| {
        *payloads = vec![notify(NotifyType(9999))];
    });
    pair.run(secs(1));
    assert!(pair.refusals(Side::A)[0].contains("9999"), "{:?}", pair.refusals(Side::A));
    assert_eq!(pair.a.active["lan"], old);
    pair.run(secs(200));
    pair.assert_converged(1);
}

#[test]
fn unknown_notifies_in_a_request_are_ignored_errors_too() {
    let (a, b) = configs();
    let (mut pair, tap) = at_auth(a, b);
    tap.alter(on_link(&mut pair, ExchangeType::IKE_AUTH, false), |payloads| {
        for kind in [1, 40, 9999, 12_345, 16_383, 16_384, 30_000, 40_960, 65_535] {
            payloads.push(Payload::Notify(Notify::new(NotifyType(kind), vec![1, 2, 3])));
        }
        payloads.push(Payload::VendorId(b"somebody".to_vec()));
    });
    pair.run(secs(1));
    pair.assert_converged(1);
    let status = [NotifyType(9999), NotifyType(12_345), NotifyType(40_000)].map(notify);
    let answers = tap.ask(&mut pair, ExchangeType::INFORMATIONAL, 2, &status);
    assert_eq!(tap.open(&answers[0]), []);
    assert_eq!((pair.ike_sas(Side::B), pair.children(Side::B)), (1, 1));
}

#[test]
fn unknown_status_notifies_in_responses_are_ignored() {
    let (a, b) = configs();
    let (mut pair, tap) = at_auth(a, b);
    pair.run(Duration::from_millis(10));
    tap.alter(on_link(&mut pair, ExchangeType::IKE_AUTH, true), |payloads| {
        payloads.insert(0, notify(NotifyType(16_999)));
        payloads.push(notify(NotifyType(50_000)));
    });
    pair.run(secs(1));
    pair.assert_converged(1);
}

#[test]
fn unknown_payloads_are_skipped_unless_they_are_critical() {
    let (mut pair, tap) = tapped_up();
    let unknown = |critical| Payload::Unknown { kind: PayloadType(200), critical, body: vec![1, 2, 3] };
    let answers = tap.ask(&mut pair, ExchangeType::INFORMATIONAL, 2, &[unknown(false)]);
    assert_eq!(tap.open(&answers[0]), []);
    let answers = tap.ask(&mut pair, ExchangeType::INFORMATIONAL, 3, &[unknown(true)]);
    let expected = Notify::new(NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, vec![200]);
    assert_eq!(tap.open(&answers[0]), [Payload::Notify(expected)]);
    assert_eq!((pair.ike_sas(Side::B), pair.children(Side::B)), (1, 1));
}

#[test]
fn the_same_selector_twice_is_one_and_two_payloads_of_a_kind_are_an_error() {
    let (a, b) = configs();
    let (mut pair, tap) = at_auth(a, b);
    tap.alter(on_link(&mut pair, ExchangeType::IKE_AUTH, false), |payloads| {
        for payload in payloads {
            if let Payload::TsInitiator(ts) | Payload::TsResponder(ts) = payload {
                let again = ts.clone();
                ts.extend(again.clone());
                ts.push(WireTs::Unknown { kind: TsType(10), protocol: 0, body: vec![0; 8] });
                ts.extend(again);
            }
        }
    });
    pair.run(secs(1));
    pair.assert_converged(1);
    assert_eq!(pair.b.children.values().next().unwrap().remote_ts.to_string(), "10.1.0.0/16");

    let (a, b) = configs();
    let (mut pair, tap) = at_auth(a, b);
    tap.alter(on_link(&mut pair, ExchangeType::IKE_AUTH, false), |payloads| {
        let ts = payloads.iter().find(|payload| payload.kind() == PayloadType::TS_INITIATOR).cloned();
        payloads.extend(ts);
    });
    pair.run(Duration::from_millis(7));
    assert_eq!(tap.notifies(&pair.b.sent.last().unwrap().octets), [NotifyType::INVALID_SYNTAX]);
    assert!(pair.refusals(Side::B)[0].contains("more than one TSi"), "{:?}", pair.refusals(Side::B));
}

#[test]
fn invalid_major_version_is_answered_with_the_version_we_speak() {
    let mut pair = Pair::established();
    let mut octets = pair.a.sent[0].octets.clone();
    octets[17] = 0x35;
    inject(&mut pair, octets.clone());
    let answer = Message::decode(&pair.b.sent.last().unwrap().octets).unwrap();
    assert_eq!((answer.header.version.major, answer.header.version.minor), (2, 0));
    assert!(answer.header.flags.response && !answer.header.flags.initiator);
    assert_eq!(answer.header.initiator_spi.0, octets[..8]);
    assert_eq!(answer.payloads, [Payload::Notify(Notify::new(NotifyType::INVALID_MAJOR_VERSION, vec![2]))]);
    // A response is never answered: two ends would do so for ever.
    let before = pair.b.sent.len();
    octets[19] |= 0x20;
    inject(&mut pair, octets);
    assert_eq!(pair.b.sent.len(), before);
}

#[test]
fn a_higher_minor_version_is_answered_as_ours() {
    let (a, b) = configs();
    let mut pair = Pair::new(a, b);
    pair.run(Duration::from_millis(5));
    let (_, mut flight) = pair.link.pop_first().unwrap();
    flight.transmit.octets[17] = 0x2f;
    pair.deliver(&flight);
    assert_eq!(pair.b.endpoint.half_open(), 1);
    let version = Message::decode(&pair.b.sent[0].octets).unwrap().header.version;
    assert_eq!((version.major, version.minor), (2, 0));
}

#[test]
fn a_rekey_answered_with_other_selectors_fails_closed_and_is_begun_anew() {
    for (tsi, tsr) in [
        ("10.1.0.0/16", "10.0.0.0/8"),
        ("0.0.0.0/0", "10.2.0.0/16"),
        ("10.1.0.0/16", "10.2.4.0/24"),
        ("10.1.7.0/24", "10.2.0.0/16"),
        ("10.1.0.0/16", "10.2.0.0/16,10.9.0.0/16"),
    ] {
        let (mut pair, tap) = tapped_up();
        let old = *pair.a.children.keys().next().unwrap();
        pair.rekey_child(Side::A);
        pair.run(Duration::from_millis(12));
        tap.alter(on_link(&mut pair, ExchangeType::CREATE_CHILD_SA, true), |payloads| {
            for payload in payloads {
                match payload {
                    Payload::TsInitiator(ts) => *ts = set(tsi).to_wire(),
                    Payload::TsResponder(ts) => *ts = set(tsr).to_wire(),
                    _ => {}
                }
            }
        });
        pair.run(Duration::from_millis(9));
        assert!(pair.a.children.values().all(|child| child.id == old), "nothing of it is installed");
        assert_eq!(pair.refusals(Side::A).len(), 1, "{tsi} {tsr}");
        pair.run(secs(100));
        pair.assert_converged(1);
        assert!(!pair.a.children.contains_key(&old));
        assert_eq!(pair.a.children.values().next().unwrap().remote_ts.to_string(), "10.2.0.0/16");
    }
}

#[test]
fn a_wider_answer_to_a_first_child_is_not_installed_and_the_peer_is_told() {
    let (a, b) = configs();
    let (mut pair, tap) = at_auth(a, b);
    pair.run(Duration::from_millis(10));
    tap.alter(on_link(&mut pair, ExchangeType::IKE_AUTH, true), |payloads| {
        for payload in payloads {
            if let Payload::TsResponder(ts) = payload {
                *ts = set("0.0.0.0/0").to_wire();
            }
        }
    });
    pair.run(Duration::from_millis(35));
    assert_eq!((pair.a.children.len(), pair.b.children.len()), (0, 0));
    assert_eq!((pair.ike_sas(Side::A), pair.ike_sas(Side::B)), (1, 1));
    pair.run(secs(60));
    pair.assert_converged(1);
}

#[test]
fn requests_ahead_of_the_window_are_dropped_and_answered_when_they_come_again() {
    let (mut pair, tap) = tapped_up();
    let ahead = tap.seal(true, ExchangeType::INFORMATIONAL, 3, false, &[]);
    let before = pair.b.sent.len();
    inject(&mut pair, ahead.clone());
    assert_eq!(pair.b.sent.len(), before);
    let counters = pair.b.endpoint.counters();
    assert_eq!(counters.out_of_window, 1);
    assert_eq!((counters.malformed, counters.bad_integrity, counters.bad_plaintext), (0, 0, 0));
    assert_eq!(tap.ask(&mut pair, ExchangeType::INFORMATIONAL, 2, &[]).len(), 1);
    inject(&mut pair, ahead);
    let answer = pair.b.sent.last().unwrap().octets.clone();
    assert_eq!(Message::decode(&answer).unwrap().header.message_id, 3);
    assert_eq!(pair.b.sent.len(), before + 2);
    // One behind the last is not answered any more either.
    assert_eq!(tap.ask(&mut pair, ExchangeType::INFORMATIONAL, 2, &[]).len(), 0);
    assert_eq!(pair.b.endpoint.counters().out_of_window, 2);
}

#[test]
fn an_ike_sa_is_rekeyed_before_its_message_ids_run_out() {
    let mut pair = Pair::established();
    for side in [Side::A, Side::B] {
        pair.node(side).endpoint.jump_message_ids(u32::MAX - 30);
    }
    pair.run(secs(1200));
    pair.assert_converged(1);
    let rekeyed = |event: &Event| matches!(event, Event::IkeRekeyed { .. });
    assert!(pair.a.events.iter().any(rekeyed), "{:?}", pair.a.events);
    let down = |event: &Event| matches!(event, Event::IkeDown { .. });
    assert!(!pair.a.events.iter().any(down), "{:?}", pair.a.events);
}

#[test]
fn an_ike_sa_whose_message_ids_have_run_out_is_replaced() {
    for side in [Side::A, Side::B] {
        let mut pair = Pair::established();
        for side in [Side::A, Side::B] {
            pair.node(side).endpoint.jump_message_ids(u32::MAX - 1);
        }
        pair.rekey_child(side);
        pair.run(secs(5));
        let largest = |node: &Node| {
            node.sent
                .iter()
                .filter(|sent| sent.kind == TransmitKind::Ike)
                .map(|sent| Message::decode(&sent.octets).unwrap().header.message_id)
                .max()
        };
        assert_eq!(largest(pair.node(side)), Some(u32::MAX - 1), "the last one is for the Delete");
        pair.run(secs(120));
        pair.assert_converged(1);
    }
}

#[test]
fn narrowing_that_leaves_more_to_ask_for_says_so() {
    for (more, expected) in [(true, vec![NotifyType::ADDITIONAL_TS_POSSIBLE]), (false, vec![])] {
        let (mut a, mut b) = configs();
        a.children = vec![child("lan", "10.1.0.0/16", "10.2.0.0/16,10.3.0.0/16")];
        a.children[0].start = StartPolicy::Connect;
        if more {
            b.children.push(child("dmz", "10.3.0.0/16", "10.1.0.0/16"));
        }
        let (mut pair, tap) = at_auth(a, b);
        pair.run(Duration::from_millis(10));
        let answer = on_link(&mut pair, ExchangeType::IKE_AUTH, true).transmit.octets.clone();
        assert_eq!(tap.notifies(&answer), expected);
        pair.run(secs(1));
        pair.assert_converged(1);
        assert_eq!(pair.a.children.values().next().unwrap().remote_ts.to_string(), "10.2.0.0/16");
    }
}
