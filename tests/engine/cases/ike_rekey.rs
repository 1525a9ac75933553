//! Rekeying of the IKE SA: one-sided, crossing with itself and with everything else
//! (RFC 7296 sections 2.8, 2.18 and 2.25.2).

use std::time::Duration;

use skybridge::ike::StartPolicy;
use skybridge::wire::ike::registry::ExchangeType;

use crate::net::{Action, Kind, Select};
use crate::pair::{A, B, Pair, Plan};

const REQUEST: Select = Select::Request(ExchangeType::CREATE_CHILD_SA);
const RESPONSE: Select = Select::Response(ExchangeType::CREATE_CHILD_SA);
const DELETE: Select = Select::Request(ExchangeType::INFORMATIONAL);
const DELETED: Select = Select::Response(ExchangeType::INFORMATIONAL);

fn under_traffic(pair: &mut Pair, happens: impl FnOnce(&mut Pair)) {
    let mut numbers = pair.run_with_traffic(Duration::from_millis(300), Duration::from_millis(10));
    happens(pair);
    numbers.extend(pair.run_with_traffic(Duration::from_secs(90), Duration::from_millis(100)));
    pair.assert_none_lost(&numbers);
    pair.assert_healthy();
}

#[test]
fn either_end_rekeys_and_the_children_move_with_their_keys() {
    for host in [A, B] {
        let mut pair = Plan::new(2).up();
        let (ike, children) = (pair.ike_spis(A), pair.child_spis(A));
        under_traffic(&mut pair, |pair| pair.rekey_ike(host));
        assert_ne!(pair.ike_spis(A), ike);
        assert_eq!(pair.child_spis(A), children, "Child SAs are untouched");
        assert!(pair.ike_sa(host).initiator, "who rekeys is the new initiator");
    }
}

#[test]
fn message_ids_of_the_new_sa_start_at_zero() {
    let mut pair = Plan::new(1).up();
    pair.rekey_ike(A);
    pair.seconds(1);
    pair.net.log = Some(Vec::new());
    pair.rekey_child(A, 0);
    pair.rekey_child(B, 0);
    pair.millis(200);
    let first: Vec<_> =
        pair.net.log.as_ref().unwrap().iter().map(|(_, packet)| packet.kind()).take(2).collect();
    for kind in first {
        assert!(matches!(kind, Kind::Ike { exchange: 36, response: false, id: 0 }), "{kind:?}");
    }
    pair.assert_healthy();
}

#[test]
fn a_child_is_rekeyed_under_keys_of_the_new_ike_sa() {
    let mut pair = Plan::new(1).up();
    under_traffic(&mut pair, |pair| {
        pair.rekey_ike(B);
        pair.millis(300);
        pair.rekey_child(A, 0);
        pair.millis(300);
        pair.rekey_ike(A);
        pair.millis(300);
        pair.rekey_child(B, 0);
    });
}

/// As for Child SAs: A's request, B's response to it, B's request, A's response to it.
const ORDERS: [([u8; 2], [u8; 2], usize); 4] =
    [([1, 90], [50, 91], A), ([50, 90], [51, 1], A), ([50, 90], [1, 91], B), ([50, 1], [51, 91], B)];

fn both_rekey(
    a: [u8; 2],
    b: [u8; 2],
    hinder: impl FnOnce(&mut Pair),
    resume: impl FnOnce(&mut Pair),
) -> Pair {
    let mut pair = Plan::new(2).up();
    let (before, children) = (pair.ike_spis(A), pair.child_spis(A));
    under_traffic(&mut pair, |pair| {
        pair.force_nonces(A, &a);
        pair.force_nonces(B, &b);
        hinder(pair);
        pair.rekey_ike(A);
        pair.rekey_ike(B);
        pair.millis(400);
        resume(pair);
    });
    assert_ne!(pair.ike_spis(A), before);
    assert_eq!(pair.child_spis(A), children);
    for host in [A, B] {
        assert!(pair.hosts[host].ike_down.is_empty(), "{:?}", pair.hosts[host].ike_down);
    }
    pair
}

#[test]
fn of_two_crossing_rekeys_the_one_with_the_lowest_of_four_nonces_is_closed_by_its_creator() {
    for (a, b, loser) in ORDERS {
        let pair = both_rekey(a, b, |_| (), |_| ());
        let stats = [A, B].map(|host| pair.hosts[host].collisions());
        assert_eq!((stats[loser].ike_rekey_lost, stats[loser].ike_rekey_won), (1, 0), "{a:?} {b:?}");
        assert_eq!((stats[1 - loser].ike_rekey_lost, stats[1 - loser].ike_rekey_won), (0, 1), "{a:?} {b:?}");
        assert!(pair.ike_sa(1 - loser).initiator);
    }
}

#[test]
fn crossing_rekeys_survive_lost_and_late_responses_of_either_end() {
    for (a, b, _) in ORDERS {
        for host in [A, B] {
            both_rekey(a, b, |pair| pair.rule(host, RESPONSE, Action::Drop, 2), |_| ());
            both_rekey(a, b, |pair| pair.hold(host, RESPONSE), Pair::release);
        }
    }
}

#[test]
fn crossing_rekeys_survive_a_late_or_lost_request_of_either_end() {
    for (a, b, _) in ORDERS {
        for host in [A, B] {
            both_rekey(a, b, |pair| pair.hold(host, REQUEST), Pair::release);
            both_rekey(a, b, |pair| pair.rule(host, REQUEST, Action::Drop, 2), |_| ());
        }
    }
}

#[test]
fn crossing_rekeys_survive_late_and_lost_deletes() {
    for (a, b, _) in ORDERS {
        for host in [A, B] {
            for select in [DELETE, DELETED] {
                both_rekey(a, b, |pair| pair.hold(host, select), Pair::release);
                both_rekey(a, b, |pair| pair.rule(host, select, Action::Drop, 2), |_| ());
            }
        }
    }
}

#[test]
fn an_ike_rekey_that_crosses_the_ike_delete_ends_with_the_delete() {
    for (deleter, rekeyer) in [(A, B), (B, A)] {
        let mut pair = Plan::new(1).up();
        pair.down(deleter, None);
        pair.rekey_ike(rekeyer);
        pair.millis(200);
        assert_eq!(pair.hosts[deleter].collisions().ike_delete_met_rekey, 1);
        assert_eq!(pair.hosts[rekeyer].collisions().ike_rekey_met_delete, 1);
        assert_eq!(pair.hosts[rekeyer].child_down.len(), 1);
        pair.raise(deleter, None);
        pair.seconds(60);
        pair.assert_healthy();
    }
}

/// A pair in which no end makes a child on its own.
fn raised_by_hand(host: usize) -> Pair {
    let mut pair = Plan::new(2).start_policy(A, StartPolicy::Wait).build();
    pair.start();
    pair.raise(host, None);
    pair.seconds(5);
    pair.assert_healthy();
    pair
}

#[test]
fn an_ike_rekey_that_crosses_a_child_rekey_or_creation_or_delete_is_put_off() {
    for name in ["rekey", "delete", "create"] {
        for host in [A, B] {
            for ike_first in [false, true] {
                let mut pair = raised_by_hand(host);
                let before = pair.ike_spis(A);
                if name == "create" {
                    pair.down(host, Some(0));
                    pair.seconds(10);
                }
                if ike_first {
                    pair.rekey_ike(1 - host);
                }
                match name {
                    "rekey" => pair.rekey_child(host, 0),
                    "delete" => pair.down(host, Some(0)),
                    _ => pair.raise(host, Some(0)),
                }
                if !ike_first {
                    pair.rekey_ike(1 - host);
                }
                pair.seconds(10);
                let (mine, other) = (pair.hosts[host].collisions(), pair.hosts[1 - host].collisions());
                assert_eq!(mine.ike_rekey_met_child_exchange, 1, "{name} {host} {ike_first}");
                assert!(other.temporary_failure_received > 0, "{name} {host} {ike_first}");
                if name == "delete" {
                    assert_eq!(other.child_delete_met_ike_rekey, 1, "{name} {host} {ike_first}");
                    pair.raise(host, Some(0));
                } else {
                    assert_eq!(other.child_exchange_met_ike_rekey, 1, "{name} {host} {ike_first}");
                    assert!(mine.temporary_failure_received > 0, "{name} {host} {ike_first}");
                }
                pair.seconds(60);
                pair.assert_healthy();
                assert_ne!(pair.ike_spis(A), before, "{name} {host} {ike_first}");
            }
        }
    }
}

#[test]
fn what_was_wanted_on_the_old_ike_sa_is_done_on_the_new_one() {
    let mut pair = Plan::new(3).up();
    let (ike, children) = (pair.ike_spis(A), pair.child_spis(A));
    under_traffic(&mut pair, |pair| {
        pair.rekey_ike(A);
        for child in 0..3 {
            pair.rekey_child(A, child);
        }
        pair.seconds(5);
    });
    assert_ne!(pair.ike_spis(A), ike);
    assert!(pair.child_spis(A).iter().zip(&children).all(|(new, old)| new != old));
}

#[test]
fn an_ike_rekey_whose_response_never_comes_ends_in_a_new_start() {
    let mut pair = Plan::new(1).up();
    pair.rule(B, RESPONSE, Action::Drop, usize::MAX);
    pair.rekey_ike(A);
    pair.seconds(70);
    pair.net.rules.clear();
    pair.seconds(60);
    pair.assert_healthy();
}

#[test]
fn the_peer_goes_down_in_the_middle_of_crossing_rekeys() {
    for host in [A, B] {
        for wait in [5, 25, 45, 65] {
            let mut pair = Plan::new(1).up();
            pair.rekey_ike(A);
            pair.rekey_ike(B);
            pair.millis(wait);
            pair.down(host, None);
            pair.seconds(40);
            // A connects again on its own, and B lets it.
            assert_eq!(pair.hosts[host].engine.sad().is_empty(), host == A, "{host} {wait}");
            pair.raise(host, None);
            pair.seconds(60);
            pair.assert_healthy();
        }
    }
}
