//! Rekeying of Child SAs: one-sided, crossing, with lost and delayed messages (RFC 7296 sections 2.8 and 2.25.1).

use std::time::Duration;

use skybridge::esp::{ChildId, Report};
use skybridge::ike::Command;
use skybridge::wire::ike::registry::ExchangeType;

use crate::net::{Action, Select};
use crate::pair::{A, B, Pair, Plan, child_name, esp};

const REQUEST: Select = Select::Request(ExchangeType::CREATE_CHILD_SA);
const RESPONSE: Select = Select::Response(ExchangeType::CREATE_CHILD_SA);
const DELETE: Select = Select::Request(ExchangeType::INFORMATIONAL);
const DELETED: Select = Select::Response(ExchangeType::INFORMATIONAL);

/// Packets each way while something happens, and until long after it.
fn under_traffic(pair: &mut Pair, happens: impl FnOnce(&mut Pair)) {
    let mut numbers = pair.run_with_traffic(Duration::from_millis(500), Duration::from_millis(10));
    happens(pair);
    numbers.extend(pair.run_with_traffic(Duration::from_secs(60), Duration::from_millis(50)));
    pair.assert_none_lost(&numbers);
    pair.assert_healthy();
}

/// Every child of both ends has another SPI than before.
fn assert_renewed(pair: &Pair, before: &[(u32, u32)]) {
    let after = pair.child_spis(A);
    assert_eq!(after.len(), before.len());
    for (old, new) in before.iter().zip(&after) {
        assert!(old.0 != new.0 && old.1 != new.1, "{old:x?} {new:x?}");
    }
}

fn won_and_lost(pair: &Pair) -> [(u64, u64); 2] {
    [A, B].map(|host| {
        let stats = pair.hosts[host].collisions();
        (stats.child_rekey_won, stats.child_rekey_lost)
    })
}

#[test]
fn a_pair_comes_up_and_carries_traffic() {
    let mut pair = Plan::new(1).up();
    let numbers = pair.run_with_traffic(Duration::from_secs(2), Duration::from_millis(50));
    pair.assert_none_lost(&numbers);
}

#[test]
fn either_end_rekeys_without_losing_a_packet() {
    for host in [A, B] {
        let mut pair = Plan::new(1).up();
        let before = pair.child_spis(A);
        under_traffic(&mut pair, |pair| pair.rekey_child(host, 0));
        assert_renewed(&pair, &before);
    }
}

#[test]
fn twenty_rekeys_in_a_row_lose_no_packet() {
    let mut pair = Plan::new(1).up();
    let mut numbers = Vec::new();
    for turn in 0..20 {
        pair.rekey_child(turn % 2, 0);
        numbers.extend(pair.run_with_traffic(Duration::from_millis(300), Duration::from_millis(10)));
    }
    pair.assert_none_lost(&numbers);
    pair.assert_healthy();
}

#[test]
fn the_responder_of_a_rekey_sends_on_the_old_sa_until_the_new_one_is_used() {
    let mut pair = Plan::new(1).up();
    let old = pair.child_spis(B)[0].1;
    // The response is lost, so that A cannot receive on the new SA yet.
    pair.rule(B, RESPONSE, Action::Drop, 1);
    pair.net.log = Some(Vec::new());
    pair.rekey_child(A, 0);
    pair.millis(200);
    let number = pair.exchange(0)[1];
    pair.millis(200);
    assert!(pair.delivered(number));
    let sent = pair.net.log.as_ref().unwrap().iter().filter(|(_, packet)| packet.sender == B);
    assert!(
        sent.filter_map(|(_, packet)| packet.octets.first_chunk::<4>())
            .any(|spi| u32::from_be_bytes(*spi) == old)
    );
    pair.assert_healthy();
}

/// Both ends rekey at the same moment; the first octets of the nonces that each end draws, its request's
/// first and then its response's, decide.
fn both_rekey(
    a: [u8; 2],
    b: [u8; 2],
    hinder: impl FnOnce(&mut Pair),
    resume: impl FnOnce(&mut Pair),
) -> Pair {
    let mut pair = Plan::new(1).up();
    let before = pair.child_spis(A);
    under_traffic(&mut pair, |pair| {
        pair.force_nonces(A, &a);
        pair.force_nonces(B, &b);
        hinder(pair);
        pair.rekey_child(A, 0);
        pair.rekey_child(B, 0);
        pair.millis(400);
        resume(pair);
    });
    assert_renewed(&pair, &before);
    pair
}

/// Nonces by the place of the lowest one: A's request, B's response to it, B's request, A's response to it.
const ORDERS: [([u8; 2], [u8; 2], usize); 4] =
    [([1, 90], [50, 91], A), ([50, 90], [51, 1], A), ([50, 90], [1, 91], B), ([50, 1], [51, 91], B)];

#[test]
fn of_two_crossing_rekeys_the_one_with_the_lowest_of_four_nonces_is_closed_by_its_creator() {
    for (a, b, loser) in ORDERS {
        let pair = both_rekey(a, b, |_| (), |_| ());
        let mut expected = [(1, 0), (1, 0)];
        expected[loser] = (0, 1);
        assert_eq!(won_and_lost(&pair), expected, "{a:?} {b:?}");
    }
}

#[test]
fn crossing_rekeys_survive_a_lost_response_of_either_end() {
    for (a, b, loser) in ORDERS {
        for silent in [A, B] {
            let pair = both_rekey(a, b, |pair| pair.rule(silent, RESPONSE, Action::Drop, 2), |_| ());
            let counts = won_and_lost(&pair);
            assert_eq!(counts[loser].0, 0, "{a:?} {b:?} {silent}: {counts:?}");
            assert_eq!(counts[1 - loser].1, 0, "{a:?} {b:?} {silent}: {counts:?}");
        }
    }
}

#[test]
fn crossing_rekeys_survive_a_late_response_of_either_end() {
    for (a, b, _) in ORDERS {
        for late in [A, B] {
            both_rekey(a, b, |pair| pair.hold(late, RESPONSE), Pair::release);
        }
    }
}

#[test]
fn crossing_rekeys_survive_a_request_that_comes_after_the_other_exchange_is_over() {
    for (a, b, _) in ORDERS {
        for late in [A, B] {
            let pair = both_rekey(a, b, |pair| pair.hold(late, REQUEST), Pair::release);
            // The late request finds its target deleted or being deleted.
            let refused = pair.hosts[1 - late].collisions();
            assert!(
                refused.child_delete_met_rekey + refused.child_rekey_of_unknown > 0,
                "{a:?} {b:?} {late}: {refused:?}"
            );
        }
    }
}

#[test]
fn crossing_rekeys_survive_lost_requests() {
    for (a, b, _) in ORDERS {
        for lost in [A, B] {
            both_rekey(a, b, |pair| pair.rule(lost, REQUEST, Action::Drop, 2), |_| ());
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
fn crossing_rekeys_survive_doubled_datagrams() {
    for (a, b, _) in ORDERS {
        let hinder = |pair: &mut Pair| {
            for host in [A, B] {
                pair.rule(host, Select::Ike, Action::Duplicate(Duration::from_millis(35)), usize::MAX);
            }
        };
        both_rekey(a, b, hinder, |pair| pair.net.rules.clear());
    }
}

#[test]
fn several_children_rekeyed_by_both_ends_at_once_all_stay() {
    let mut pair = Plan::new(3).up();
    let before = pair.child_spis(A);
    under_traffic(&mut pair, |pair| {
        for child in 0..3 {
            pair.rekey_child(A, child);
            pair.rekey_child(B, 2 - child);
        }
    });
    assert_renewed(&pair, &before);
}

/// B only takes P-256; A begins with X25519.
fn picky() -> Plan {
    Plan::new(1)
        .with(A, |end| end.peer.children[0].esp = esp("aes128gcm16-x25519-ecp256"))
        .with(B, |end| end.peer.children[0].esp = esp("aes128gcm16-ecp256"))
}

#[test]
fn invalid_ke_in_a_rekey_is_answered_with_the_other_group() {
    let mut pair = picky().up();
    let before = pair.child_spis(A);
    under_traffic(&mut pair, |pair| pair.rekey_child(A, 0));
    assert_renewed(&pair, &before);
    assert_eq!(pair.hosts[A].collisions().invalid_ke_received, 1);
    // The group is known now.
    pair.rekey_child(A, 0);
    pair.assert_healthy();
    assert_eq!(pair.hosts[A].collisions().invalid_ke_received, 1);
}

#[test]
fn crossing_rekeys_of_which_one_meets_invalid_ke_leave_one_sa() {
    let mut retries = 0;
    for (a, b, _) in ORDERS {
        for late in [None, Some((A, RESPONSE)), Some((B, RESPONSE)), Some((B, REQUEST))] {
            let mut pair = picky().up();
            let before = pair.child_spis(A);
            under_traffic(&mut pair, |pair| {
                pair.force_nonces(A, &a);
                pair.force_nonces(B, &b);
                if let Some((late, select)) = late {
                    pair.hold(late, select);
                }
                pair.rekey_child(A, 0);
                pair.rekey_child(B, 0);
                // INVALID_KE_PAYLOAD has come to A, and its second request is on the way.
                pair.millis(50);
                pair.release();
            });
            assert_renewed(&pair, &before);
            retries += pair.hosts[A].collisions().invalid_ke_received;
        }
    }
    // Where B's rekey came through meanwhile, A has no reason to try again.
    assert!((1..16).contains(&retries), "{retries}");
}

#[test]
fn a_rekey_request_that_crosses_the_delete_is_refused_and_given_up() {
    // A deletes, B rekeys; both requests are on the wire together.
    for (deleter, rekeyer) in [(A, B), (B, A)] {
        let mut pair = Plan::new(1).up();
        pair.down(deleter, Some(0));
        pair.rekey_child(rekeyer, 0);
        pair.seconds(20);
        assert_eq!(pair.hosts[deleter].collisions().child_delete_met_rekey, 1);
        assert_eq!(pair.hosts[rekeyer].collisions().child_rekey_met_delete, 1);
        for host in [A, B] {
            // A's `connect` child may be made again by A alone.
            assert!(
                pair.ike_sa(host).children.is_empty() || deleter == B,
                "{:#?}",
                pair.ike_sa(host).children
            );
        }
        pair.raise(deleter, Some(0));
        pair.assert_healthy();
    }
}

#[test]
fn a_rekey_request_that_comes_before_the_delete_was_sent_ends_in_nothing_or_one_sa() {
    // The deleter first sees the rekey, then is told to delete what the rekey has made.
    let mut pair = Plan::new(1).up();
    pair.rekey_child(B, 0);
    pair.millis(21);
    pair.down(A, Some(0));
    pair.seconds(20);
    assert!(pair.ike_sa(A).children.is_empty() && pair.ike_sa(B).children.is_empty());
    pair.raise(A, Some(0));
    pair.assert_healthy();
}

#[test]
fn a_rekey_whose_delete_is_late_is_not_disturbed_by_it() {
    let mut pair = Plan::new(1).up();
    pair.hold(A, DELETE);
    under_traffic(&mut pair, |pair| {
        pair.down(A, Some(0));
        pair.millis(100);
        pair.rekey_child(B, 0);
        pair.millis(500);
        pair.raise(A, Some(0));
        pair.millis(100);
        pair.release();
        pair.seconds(3);
    });
}

#[test]
fn a_rekey_of_an_sa_that_the_peer_lost_is_refused_and_the_child_made_anew() {
    for (forgetful, rekeyer) in [(B, A), (A, B)] {
        let mut pair = Plan::new(1).up();
        // The hard limit removes the SA at once; its Delete is held back.
        pair.hold(forgetful, DELETE);
        let child = pair.ike_sa(forgetful).children[0].clone();
        pair.report(forgetful, Report::HardLimit { child: ChildId(child.id.0), spi: child.inbound_spi });
        pair.rekey_child(rekeyer, 0);
        pair.millis(300);
        pair.release();
        assert_eq!(pair.hosts[forgetful].collisions().child_rekey_of_unknown, 1);
        assert_eq!(pair.hosts[rekeyer].collisions().child_rekey_answered_not_found, 1);
        pair.assert_healthy();
    }
}

#[test]
fn a_soft_limit_of_the_data_path_rekeys_once_although_both_ends_report_it() {
    let mut pair = Plan::new(1).up();
    let before = pair.child_spis(A);
    under_traffic(&mut pair, |pair| {
        for host in [A, B] {
            let child = pair.ike_sa(host).children[0].clone();
            pair.report(host, Report::SoftLimit { child: ChildId(child.id.0), spi: child.inbound_spi });
        }
    });
    assert_renewed(&pair, &before);
}

#[test]
fn a_rekey_may_not_change_the_selectors() {
    // B narrows more after a reload than it did before; A fails closed and makes the child anew.
    let mut pair = Plan::new(1).up();
    let mut setup = pair.hosts[B].setup.clone();
    setup.peers[0].ike.children[0].local = crate::pair::selectors("10.2.0.0/25");
    let now = pair.clock();
    pair.hosts[B].engine.reconfigure(now, None, setup.peers.clone()).unwrap();
    pair.pump(B);
    pair.seconds(20);
    let peer = pair.peer(A);
    let _ = pair.command(A, Command::RekeyChild { peer, child: child_name(0) });
    pair.seconds(20);
    let children = pair.ike_sa(A).children;
    assert_eq!(children.len(), 1);
    assert_eq!(children[0].remote_ts.to_string(), crate::pair::selectors("10.2.0.0/25").to_string());
}

#[test]
fn a_child_made_twice_of_which_the_newer_one_is_deleted_still_sends() {
    // A's request for the child is late; B makes it meanwhile. Whichever is given up, both ends still send.
    for seed in 0..12 {
        let mut pair = Plan::new(2).seed(seed).up();
        pair.down(A, Some(0));
        pair.seconds(10);
        pair.hold(A, REQUEST);
        pair.raise(A, Some(0));
        pair.raise(B, Some(0));
        pair.millis(500);
        pair.rekey_child(B, 0);
        pair.millis(5);
        pair.release();
        pair.seconds(60);
        pair.assert_healthy();
    }
}
