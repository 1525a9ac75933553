//! Retransmission: identical octets, fragments included, and answers from memory
//! (RFC 7296 section 2.1, RFC 7383).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use skybridge::wire::ike::registry::ExchangeType;

use crate::net::{Action, Kind, Select};
use crate::pair::{A, B, Pair, Plan};

/// Every message of a sender by its kind, with the different octets seen and how often it was sent.
fn versions(pair: &mut Pair, sender: usize) -> BTreeMap<Kind, (BTreeSet<Vec<u8>>, usize)> {
    let mut found: BTreeMap<Kind, (BTreeSet<Vec<u8>>, usize)> = BTreeMap::new();
    for (_, packet) in pair.net.log.take().unwrap().into_iter().filter(|(_, packet)| packet.sender == sender)
    {
        let entry = found.entry(packet.kind()).or_default();
        entry.0.insert(packet.octets);
        entry.1 += 1;
    }
    found
}

#[test]
fn a_request_is_sent_again_with_the_same_octets() {
    let mut pair = Plan::new(1).up();
    pair.rule(B, Select::Ike, Action::Drop, 4);
    pair.net.log = Some(Vec::new());
    pair.rekey_child(A, 0);
    pair.seconds(12);
    let sent = versions(&mut pair, A);
    let (octets, times) =
        &sent[&Kind::Ike { exchange: ExchangeType::CREATE_CHILD_SA.0, response: false, id: 2 }];
    assert_eq!((octets.len(), *times), (1, 5));
    pair.assert_healthy();
}

#[test]
fn the_waits_grow_and_are_capped() {
    let mut pair = Plan::new(1).both(|end| end.peer.timing.dpd_delay = None).up();
    pair.net.links[A].up = false;
    pair.net.log = Some(Vec::new());
    pair.rekey_child(A, 0);
    pair.seconds(60);
    let log = pair.net.log.take().unwrap();
    let at: Vec<f64> = log
        .iter()
        .filter(|(_, packet)| matches!(packet.kind(), Kind::Ike { exchange: 36, .. }))
        .map(|(at, _)| at.as_secs_f64())
        .collect();
    let waits: Vec<f64> = at.windows(2).map(|two| two[1] - two[0]).collect();
    assert_eq!(waits.len(), 5, "{waits:?}");
    for (wait, expected) in waits.iter().zip([1.0, 1.8, 3.24, 5.832, 10.4976]) {
        assert!((wait - expected).abs() < 0.01, "{waits:?}");
    }
}

#[test]
fn a_repeated_request_is_answered_from_memory_without_a_key_exchange() {
    let mut pair = Plan::new(1).up();
    pair.rekey_child(A, 0);
    pair.millis(5);
    pair.rule(B, Select::Response(ExchangeType::CREATE_CHILD_SA), Action::Drop, 3);
    pair.net.log = Some(Vec::new());
    pair.millis(20);
    let (exchanges, children) =
        (pair.hosts[B].script.lock().unwrap().key_exchanges, pair.hosts[B].engine.sad().len());
    pair.seconds(8);
    assert_eq!(pair.hosts[B].script.lock().unwrap().key_exchanges, exchanges);
    assert_eq!(pair.hosts[B].engine.sad().len(), children);
    assert_eq!(pair.hosts[B].counters().retransmit_answered, 3);
    let sent = versions(&mut pair, B);
    let (octets, times) =
        &sent[&Kind::Ike { exchange: ExchangeType::CREATE_CHILD_SA.0, response: true, id: 2 }];
    assert_eq!((octets.len(), *times), (1, 4));
    pair.assert_healthy();
}

#[test]
fn a_repeated_first_request_is_answered_from_memory() {
    let mut pair = Plan::new(1).build();
    pair.rule(B, Select::Response(ExchangeType::IKE_SA_INIT), Action::Drop, 3);
    pair.net.log = Some(Vec::new());
    pair.start();
    pair.seconds(15);
    let sent = versions(&mut pair, B);
    let (octets, times) = &sent[&Kind::Ike { exchange: ExchangeType::IKE_SA_INIT.0, response: true, id: 0 }];
    assert_eq!((octets.len(), *times), (1, 4));
    pair.assert_healthy();
    assert_eq!(pair.hosts[B].script.lock().unwrap().key_exchanges, 1);
}

/// Every encrypted message of any length goes in pieces.
fn fragmented() -> Plan {
    Plan::new(2).both(|end| end.peer.fragment_size = 200)
}

#[test]
fn fragments_are_sent_again_with_the_same_octets_and_answered_once() {
    let mut pair = fragmented().up();
    pair.net.log = Some(Vec::new());
    pair.rule(B, Select::Response(ExchangeType::CREATE_CHILD_SA), Action::Drop, 9);
    pair.rekey_ike(A);
    pair.seconds(20);
    for (sender, response) in [(A, false), (B, true)] {
        let log = pair.net.log.clone().unwrap();
        let fragments: Vec<_> = log
            .iter()
            .filter(|(_, packet)| packet.sender == sender)
            .filter(|(_, packet)| matches!(packet.kind(), Kind::Ike { exchange: 36, response: is, .. } if is == response))
            .collect();
        let different: BTreeSet<_> = fragments.iter().map(|(_, packet)| packet.octets.clone()).collect();
        assert!(different.len() > 1, "in one piece");
        assert!(fragments.len() > different.len() && fragments.len().is_multiple_of(different.len()));
    }
    pair.seconds(60);
    pair.assert_healthy();
}

#[test]
fn fragments_lost_doubled_and_out_of_order_still_make_a_message() {
    for seed in 0..12 {
        let mut pair = fragmented().seed(seed).build();
        for link in &mut pair.net.links {
            link.loss = 0.15;
            link.duplicate = 0.3;
            link.jitter = Duration::from_millis(80);
        }
        pair.start();
        pair.seconds(40);
        pair.rekey_ike(A);
        pair.rekey_child(B, 1);
        pair.seconds(40);
        pair.net.links.iter_mut().for_each(|link| *link = crate::net::Link::default());
        pair.seconds(60);
        pair.assert_healthy();
    }
}

#[test]
fn nothing_larger_than_the_configured_size_is_sent_once_keys_exist() {
    let mut pair = fragmented().build();
    pair.net.log = Some(Vec::new());
    pair.start();
    pair.seconds(5);
    pair.assert_healthy();
    for (_, packet) in pair.net.log.take().unwrap() {
        if packet.encapsulated && matches!(packet.kind(), Kind::Ike { .. }) {
            assert!(packet.octets.len() + 28 <= 200, "{} octets", packet.octets.len());
        }
    }
}
