//! IKE_SA_INIT, IKE_AUTH, liveness and closing.

use std::time::Duration;

use super::pair::*;
use crate::ike::*;
use crate::wire::ike::registry::{ExchangeType, PayloadType};

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[test]
fn two_endpoints_with_a_psk_get_an_ike_sa_and_a_child_with_equal_keys() {
    let mut pair = Pair::established();
    pair.run(secs(5));
    pair.assert_converged(1);
    assert!(pair.a.events.iter().any(|event| matches!(event, Event::IkeUp { initiator: true, .. })));
    assert!(pair.b.events.iter().any(|event| matches!(event, Event::IkeUp { initiator: false, .. })));
}

#[test]
fn everything_after_ike_sa_init_goes_to_4500_with_marker() {
    let pair = Pair::established();
    assert_eq!(pair.a.sent[0].remote.port(), 500);
    assert!(!pair.a.sent[0].encapsulated);
    assert!(pair.a.sent[1..].iter().all(|transmit| transmit.encapsulated && transmit.remote.port() == 4500));
}

#[test]
fn a_silent_peer_is_probed_and_a_heard_one_is_not() {
    let mut pair = Pair::established();
    pair.run(secs(60));
    assert!(pair.a.endpoint.counters().dpd_sent + pair.b.endpoint.counters().dpd_sent >= 1);
    let before = (pair.a.endpoint.counters().dpd_sent, pair.b.endpoint.counters().dpd_sent);
    for _ in 0..60 {
        for side in [Side::A, Side::B] {
            let child = *pair.node(side).children.keys().next().unwrap();
            let now = Some(pair.now.mono);
            pair.command(side, Command::Traffic { child, last_inbound: now, last_outbound: now });
        }
        pair.run(secs(1));
    }
    assert_eq!(before, (pair.a.endpoint.counters().dpd_sent, pair.b.endpoint.counters().dpd_sent));
}

#[test]
fn down_closes_the_tunnel_at_both_ends_and_leaves_it_down() {
    let mut pair = Pair::established();
    pair.command(Side::A, Command::Down { peer: "b".into(), child: None });
    pair.run(secs(120));
    assert_eq!((pair.ike_sas(Side::A), pair.ike_sas(Side::B)), (0, 0));
    assert!(pair.a.children.is_empty() && pair.b.children.is_empty());
    assert_eq!((pair.a.endpoint.sa_count(), pair.b.endpoint.sa_count()), (0, 0));
    pair.command(Side::A, Command::Up { peer: "b".into(), child: None });
    pair.run(secs(5));
    pair.assert_converged(1);
}

#[test]
fn a_probe_larger_than_the_path_costs_no_sa_where_the_peer_drops_informational_requests_in_fragments() {
    let (mut a, b) = configs();
    a.timing.mtu_probe = Some(MtuProbe { largest: 1500, smallest: 1280, interval: secs(600) });
    let mut pair = Pair::new(a, b);
    pair.filter = Box::new(|flight| {
        let header = flight.header();
        let fragment = header.exchange == ExchangeType::INFORMATIONAL
            && header.next_payload == PayloadType::ENCRYPTED_FRAGMENT;
        let too_big = flight.transmit.dont_fragment && flight.transmit.octets.len() + 32 > 1400;
        (!fragment && !too_big).then_some(Duration::from_millis(20))
    });
    pair.run(secs(120));
    pair.assert_converged(1);
    assert!(!pair.a.events.iter().any(|event| matches!(event, Event::IkeDown { .. })));
    let found = pair.a.events.iter().find_map(|event| match event {
        Event::PathMtu { outer_mtu, .. } => Some(*outer_mtu),
        _ => None,
    });
    assert!(found.is_some_and(|mtu| (1360..=1400).contains(&mtu)), "{found:?}");
}
