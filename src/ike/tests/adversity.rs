//! Restarts, moves, forged hints, bad input, reconfiguration, path MTU.

use std::net::SocketAddr;
use std::time::Duration;

use super::pair::*;
use crate::ike::*;
use crate::policy::SelectorSet;
use crate::wire::ike::registry::{ExchangeType, NotifyType, ProtocolId};
use crate::wire::ike::{Flags, Header, IkeSpi, Message, Notify, Payload};

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn restart(pair: &mut Pair, side: Side, config: PeerConfig) {
    let fresh = node(if side == Side::A { A } else { B }, 77, EndpointSettings::default(), vec![config]);
    *pair.node(side) = fresh;
}

#[test]
fn either_end_killed_comes_back_without_a_person() {
    let (a, b) = configs();
    for side in [Side::A, Side::B] {
        let mut pair = Pair::up(a.clone(), b.clone());
        restart(&mut pair, side, if side == Side::A { a.clone() } else { b.clone() });
        pair.run(secs(120));
        pair.assert_converged(1);
    }
}

#[test]
fn initial_contact_ends_what_the_restarted_peer_has_lost_at_once() {
    let (a, b) = configs();
    let mut pair = Pair::up(a.clone(), b);
    restart(&mut pair, Side::A, a);
    pair.run(secs(1));
    pair.assert_converged(1);
    let replaced = |event: &Event| matches!(event, Event::IkeDown { reason: DownReason::InitialContact, .. });
    assert!(pair.b.events.iter().any(replaced));
}

#[test]
fn a_dead_peer_is_noticed_and_connected_to_for_ever() {
    let mut pair = Pair::established();
    pair.filter = Box::new(|_| None);
    pair.run(secs(600));
    assert!(pair.a.children.is_empty() && pair.b.children.is_empty());
    assert!(pair.a.endpoint.counters().attempts > 4);
    pair.filter = Box::new(|_| Some(LATENCY));
    pair.run(secs(100));
    pair.assert_converged(1);
}

#[test]
fn forged_notifies_in_clear_never_close_an_sa_and_probe_seldom() {
    let mut pair = Pair::established();
    let status = pair.status(Side::A).ike_sas[0].clone();
    for kind in [NotifyType::INVALID_IKE_SPI, NotifyType::AUTHENTICATION_FAILED, NotifyType::INVALID_SYNTAX] {
        for id in 0..20 {
            let flags = Flags { initiator: false, version: false, response: true };
            let (i, r) = (IkeSpi(status.initiator_spi), IkeSpi(status.responder_spi));
            let header = Header::new(i, r, ExchangeType::INFORMATIONAL, flags, id);
            let payloads = vec![
                Payload::Notify(Notify::new(kind, Vec::new())),
                Payload::Delete { protocol: ProtocolId::IKE, spis: vec![] },
            ];
            forge(&mut pair, Side::A, Message { header, payloads }.encode());
        }
    }
    pair.run(secs(3));
    pair.assert_converged(1);
    assert_eq!(pair.a.endpoint.counters().hint_probes, 1);
    assert_eq!(pair.a.endpoint.counters().hints_limited, 59);
}

fn forge(pair: &mut Pair, to: Side, octets: Vec<u8>) {
    let remote: SocketAddr = "203.0.113.66:4500".parse().unwrap();
    let transmit = Transmit {
        local: None,
        remote,
        encapsulated: true,
        kind: TransmitKind::Ike,
        octets,
        dont_fragment: false,
    };
    pair.deliver(&Flight { to, from: remote, transmit });
}

#[test]
fn truncated_and_changed_datagrams_change_nothing_and_are_counted() {
    let mut pair = Pair::established();
    let samples: Vec<Vec<u8>> = pair.a.sent.iter().map(|transmit| transmit.octets.clone()).collect();
    let mut handed = 0;
    for sample in &samples {
        for at in 0..sample.len() {
            forge(&mut pair, Side::B, sample[..at].to_vec());
            let mut changed = sample.clone();
            changed[at] ^= 0x55;
            if changed[18] != 34 {
                forge(&mut pair, Side::B, changed);
                handed += 1;
            }
            handed += 1;
        }
    }
    assert!(pair.b.endpoint.counters().datagrams >= handed);
    pair.run(secs(60));
    pair.assert_converged(1);
}

#[test]
fn another_major_version_and_unknown_spis_are_answered_but_not_often() {
    let mut pair = Pair::established();
    let before = pair.b.sent.len();
    let mut octets = pair.a.sent[0].octets.clone();
    octets[17] = 0x30;
    for _ in 0..100 {
        forge(&mut pair, Side::B, octets.clone());
    }
    assert_eq!(pair.b.sent.len() - before, 10);
    assert_eq!(pair.b.endpoint.counters().bad_version, 100);
    assert_eq!(pair.b.endpoint.counters().unauthenticated_answers_limited, 90);
}

#[test]
fn a_responder_spi_in_the_first_request_is_dropped() {
    let mut pair = Pair::established();
    let mut octets = pair.a.sent[0].octets.clone();
    octets[8] = 1;
    let before = pair.b.sent.len();
    forge(&mut pair, Side::B, octets);
    assert_eq!(pair.b.endpoint.counters().bad_init, 1);
    assert_eq!(pair.b.sent.len(), before);
}

#[test]
fn nothing_but_ike_auth_works_before_authentication() {
    // CVE-2014-2338: rekeying an IKE SA that nobody has authenticated.
    let (a, b) = configs();
    let mut pair = Pair::new(a, b);
    let mut changed = false;
    pair.filter = Box::new(|flight| (!flight.is(ExchangeType::IKE_AUTH, false)).then_some(LATENCY));
    pair.run(Duration::from_millis(100));
    assert_eq!(pair.b.endpoint.half_open(), 1);
    let mut octets = pair.a.sent.last().unwrap().octets.clone();
    octets[18] = 36;
    forge(&mut pair, Side::B, octets);
    changed |= pair.b.endpoint.counters().bad_integrity == 1;
    assert!(changed, "the exchange type is authenticated");
    assert_eq!(pair.ike_sas(Side::B), 0);
}

#[test]
fn a_peer_behind_a_nat_is_followed_when_its_mapping_changes() {
    let (a, b) = configs();
    let mut pair = Pair::new(a, b);
    pair.a.nat = Some("203.0.113.1:20000".parse().unwrap());
    pair.run(secs(2));
    pair.assert_converged(1);
    assert!(pair.status(Side::A).ike_sas[0].local_behind_nat);
    pair.a.nat = Some("203.0.113.2:30000".parse().unwrap());
    pair.rekey_child(Side::A);
    pair.run(secs(20));
    pair.assert_converged(1);
    assert_eq!(pair.status(Side::B).ike_sas[0].remote, "203.0.113.2:30000".parse().unwrap());
    assert!(pair.b.events.iter().any(|event| matches!(event, Event::PathChanged { .. })));
}

#[test]
fn keepalives_are_sent_only_from_behind_a_nat_and_only_when_idle() {
    let (mut a, mut b) = configs();
    a.timing.dpd_delay = None;
    b.timing.dpd_delay = None;
    let mut pair = Pair::new(a, b);
    pair.a.nat = Some("203.0.113.1:20000".parse().unwrap());
    pair.run(secs(100));
    assert!(
        (4..=5).contains(&pair.a.endpoint.counters().keepalives_sent),
        "{}",
        pair.a.endpoint.counters().keepalives_sent
    );
    assert_eq!(pair.b.endpoint.counters().keepalives_sent, 0);
    let keepalive = pair.a.sent.iter().find(|transmit| transmit.kind == TransmitKind::Keepalive).unwrap();
    assert_eq!(keepalive.octets, [0xff]);
}

#[test]
fn a_new_local_address_is_shown_to_the_peer_at_once() {
    let mut pair = Pair::established();
    pair.a.address = "192.0.2.77".parse().unwrap();
    let addresses = vec![pair.a.address];
    pair.command(Side::A, Command::LocalAddressesChanged { addresses });
    pair.run(secs(1));
    pair.assert_converged(1);
    assert_eq!(pair.status(Side::B).ike_sas[0].remote, "192.0.2.77:4500".parse().unwrap());
}

#[test]
fn a_reload_keeps_what_did_not_change() {
    let (mut a, b) = configs();
    let mut pair = Pair::up(a.clone(), b);
    let before = *pair.a.children.keys().next().unwrap();
    a.timing.dpd_delay = Some(secs(33));
    a.children.push(child("dmz", "10.3.0.0/16", "10.4.0.0/16"));
    pair.command(Side::A, Command::Reconfigure { settings: None, peers: vec![a.clone()] });
    pair.run(secs(2));
    pair.assert_converged(1);
    assert_eq!(before, *pair.a.children.keys().next().unwrap());
    a.children[0].remote = SelectorSet::of_prefixes(["10.2.1.0/24".parse().unwrap()]);
    pair.command(Side::A, Command::Reconfigure { settings: None, peers: vec![a.clone()] });
    pair.run(secs(20));
    pair.assert_converged(1);
    assert_ne!(before, *pair.a.children.keys().next().unwrap());
    pair.command(Side::A, Command::Reconfigure { settings: None, peers: vec![] });
    pair.run(secs(60));
    assert_eq!(pair.ike_sas(Side::B), 0);
}

fn networks(text: &str) -> SelectorSet {
    SelectorSet::of_prefixes(text.split(',').map(|prefix| prefix.parse().unwrap()))
}

/// Reloads with `config` and lets 20 seconds pass, in which both ends always have a Child SA to send on.
fn reload_without_a_gap(pair: &mut Pair, changes: &[(Side, &PeerConfig)]) {
    for (side, config) in changes {
        pair.command(*side, Command::Reconfigure { settings: None, peers: vec![(*config).clone()] });
    }
    for step in 0..2_000 {
        pair.run(Duration::from_millis(if step < 1_900 { 1 } else { 181 }));
        assert!(pair.a.active.contains_key("lan") && pair.b.active.contains_key("lan"), "step {step}");
    }
    pair.assert_converged(1);
}

#[test]
fn a_child_with_other_networks_is_made_before_the_old_one_goes() {
    let (mut a, mut b) = configs();
    let mut pair = Pair::up(a.clone(), b.clone());
    b.children[0].local = networks("10.2.0.0/16,10.5.0.0/16");
    reload_without_a_gap(&mut pair, &[(Side::B, &b)]);
    assert_eq!(pair.a.children.values().next().unwrap().remote_ts, networks("10.2.0.0/16"));
    a.children[0].remote = networks("10.2.0.0/16,10.5.0.0/16");
    reload_without_a_gap(&mut pair, &[(Side::A, &a)]);
    assert_eq!(pair.b.children.values().next().unwrap().local_ts, networks("10.2.0.0/16,10.5.0.0/16"));
    a.children[0].remote = networks("10.2.1.0/24");
    b.children[0].local = networks("10.2.1.0/24");
    reload_without_a_gap(&mut pair, &[(Side::A, &a), (Side::B, &b)]);
    assert_eq!(pair.a.children.values().next().unwrap().remote_ts, networks("10.2.1.0/24"));
    assert_eq!(pair.b.children.values().next().unwrap().local_ts, networks("10.2.1.0/24"));
}

#[test]
fn a_child_that_changes_during_its_rekey_ends_up_as_it_was_changed() {
    for first in [1, 5, 15, 25, 35] {
        let (mut a, b) = configs();
        let mut pair = Pair::up(a.clone(), b);
        pair.command(Side::A, Command::RekeyChild { peer: "b".into(), child: "lan".into() });
        pair.run(Duration::from_millis(first));
        a.children[0].remote = networks("10.2.1.0/24");
        reload_without_a_gap(&mut pair, &[(Side::A, &a)]);
        assert_eq!(pair.b.children.values().next().unwrap().local_ts, networks("10.2.1.0/24"));
    }
}

#[test]
fn a_changed_child_that_the_peer_refuses_ends_at_once() {
    let (mut a, b) = configs();
    let mut pair = Pair::up(a.clone(), b);
    a.children[0].remote = networks("10.9.0.0/16");
    pair.command(Side::A, Command::Reconfigure { settings: None, peers: vec![a] });
    pair.run(secs(1));
    assert!(pair.a.children.is_empty() && pair.b.children.is_empty());
    assert_eq!((pair.ike_sas(Side::A), pair.ike_sas(Side::B)), (1, 1));
}

#[test]
fn the_path_mtu_is_found_by_probes_that_fall_back_to_fragments() {
    for largest in [1500_usize, 1492, 1400, 1310] {
        let (mut a, b) = configs();
        a.timing.mtu_probe = Some(MtuProbe::default());
        let mut pair = Pair::new(a, b);
        pair.filter = Box::new(move |flight| {
            let size = flight.transmit.octets.len() + 28 + if flight.transmit.encapsulated { 4 } else { 0 };
            (size <= largest || !flight.transmit.dont_fragment).then_some(LATENCY)
        });
        pair.run(secs(30));
        pair.assert_converged(1);
        let found = pair.a.events.iter().find_map(|event| match event {
            Event::PathMtu { outer_mtu, .. } => Some(usize::from(*outer_mtu)),
            _ => None,
        });
        assert!(
            found.is_some_and(|found| found <= largest && found + 8 >= largest),
            "{found:?} of {largest}"
        );
    }
}

#[test]
fn one_lost_probe_does_not_make_the_path_mtu_smaller() {
    let (mut a, b) = configs();
    a.timing.mtu_probe = Some(MtuProbe::default());
    let mut pair = Pair::new(a, b);
    let mut lost = false;
    pair.filter = Box::new(move |flight| {
        let probe = flight.transmit.dont_fragment && flight.transmit.octets.len() > 1_400;
        let loses = probe && !lost;
        lost |= probe;
        (!loses).then_some(LATENCY)
    });
    pair.run(secs(30));
    let found = pair.a.events.iter().find_map(|event| match event {
        Event::PathMtu { outer_mtu, .. } => Some(*outer_mtu),
        _ => None,
    });
    assert_eq!(found, Some(1500));
}

#[test]
fn a_name_is_resolved_before_each_attempt() {
    let (mut a, b) = configs();
    a.remote = RemoteAddress::Name("cloud.example.com".to_owned());
    let mut pair = Pair::new(a, b);
    pair.run(secs(1));
    assert!(pair.a.events.iter().any(|event| matches!(event, Event::Resolve { .. })));
    pair.command(Side::A, Command::PeerAddresses { peer: "b".into(), addresses: vec![B.parse().unwrap()] });
    pair.run(secs(2));
    pair.assert_converged(1);
}

#[test]
fn keys_are_logged_only_when_the_operator_asks() {
    let (a, b) = configs();
    let settings = EndpointSettings { key_log: true, ..EndpointSettings::default() };
    let mut pair = Pair::of(node(A, 1, settings, vec![a]), node(B, 2, EndpointSettings::default(), vec![b]));
    pair.run(secs(1));
    let logged = |node: &Node| node.events.iter().filter(|event| matches!(event, Event::KeyLog(_))).count();
    assert_eq!((logged(&pair.a), logged(&pair.b)), (3, 0));
}

#[test]
fn a_first_message_without_a_mandatory_payload_is_answered_and_forgotten() {
    let mut pair = Pair::established();
    let first = Message::decode(&pair.a.sent[0].octets).unwrap();
    for leave_out in 0..3 {
        let mut message = first.clone();
        message.header.initiator_spi = IkeSpi([7; 8]);
        message.payloads.remove(leave_out);
        forge(&mut pair, Side::B, message.encode());
    }
    assert_eq!(pair.b.endpoint.half_open(), 0);
    assert_eq!(pair.b.endpoint.counters().malformed, 3);
}
