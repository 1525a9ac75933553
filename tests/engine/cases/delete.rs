//! Deletes of Child and IKE SAs, one-sided and crossing (RFC 7296 section 1.4.1).

use skybridge::ike::{Command, DownReason};
use skybridge::wire::ike::registry::ExchangeType;

use crate::net::{Action, Select};
use crate::pair::{A, B, Plan};

const DELETE: Select = Select::Request(ExchangeType::INFORMATIONAL);
const DELETED: Select = Select::Response(ExchangeType::INFORMATIONAL);

#[test]
fn a_deleted_child_is_gone_at_both_ends_and_the_others_stay() {
    for host in [A, B] {
        let mut pair = Plan::new(2).up();
        pair.down(host, Some(0));
        pair.seconds(1);
        let left: Vec<_> = pair.ike_sa(host).children.iter().map(|child| child.child.to_string()).collect();
        assert_eq!(left, ["net1"]);
        pair.raise(host, Some(0));
        pair.assert_healthy();
    }
}

#[test]
fn both_ends_delete_the_same_child_at_once() {
    let mut pair = Plan::new(2).up();
    pair.down(A, Some(0));
    pair.down(B, Some(0));
    pair.seconds(10);
    for host in [A, B] {
        assert_eq!(pair.hosts[host].collisions().child_delete_met_delete, 1);
        assert_eq!(pair.ike_sa(host).children.len(), 1);
        assert_eq!(pair.ike_sa(host).pending, 0);
    }
    pair.raise(B, Some(0));
    pair.raise(A, Some(0));
    pair.assert_healthy();
}

#[test]
fn crossing_child_deletes_survive_loss() {
    for host in [A, B] {
        for select in [DELETE, DELETED] {
            let mut pair = Plan::new(1).up();
            pair.rule(host, select, Action::Drop, 2);
            pair.down(A, Some(0));
            pair.down(B, Some(0));
            pair.seconds(20);
            assert!(pair.ike_sa(A).children.is_empty() && pair.ike_sa(B).children.is_empty());
            pair.raise(B, Some(0));
            pair.raise(A, Some(0));
            pair.assert_healthy();
        }
    }
}

#[test]
fn deletes_of_different_children_cross_without_harm() {
    let mut pair = Plan::new(2).up();
    pair.down(A, Some(0));
    pair.down(B, Some(1));
    pair.seconds(10);
    for host in [A, B] {
        assert_eq!(pair.hosts[host].collisions().child_delete_met_delete, 0);
    }
    pair.raise(A, Some(0));
    pair.raise(B, Some(1));
    pair.assert_healthy();
}

#[test]
fn a_deleted_ike_sa_takes_its_children_along_and_connect_brings_it_back() {
    // B lets it go; A is to be connected, and is so again without a person.
    let mut pair = Plan::new(2).up();
    let before = pair.ike_spis(A);
    pair.down(B, None);
    pair.millis(100);
    assert_eq!(pair.hosts[A].ike_down, [DownReason::DeletedByPeer]);
    assert_eq!(pair.hosts[B].ike_down, [DownReason::Requested]);
    assert!(pair.hosts[A].engine.sad().is_empty() && pair.hosts[B].engine.sad().is_empty());
    pair.seconds(60);
    pair.assert_healthy();
    assert_ne!(pair.ike_spis(A), before);
}

#[test]
fn both_ends_delete_the_ike_sa_at_once() {
    let mut pair = Plan::new(1).up();
    pair.down(A, None);
    pair.down(B, None);
    pair.seconds(40);
    for host in [A, B] {
        assert_eq!(pair.hosts[host].collisions().ike_delete_met_delete, 1);
        assert!(pair.status_of(host).ike_sas.is_empty());
        assert_eq!(pair.hosts[host].engine.endpoint().sa_count(), 0);
    }
    pair.raise(A, None);
    pair.assert_healthy();
}

#[test]
fn a_lost_delete_of_the_ike_sa_is_sent_again_until_answered() {
    for (select, from) in [(DELETE, A), (DELETED, B)] {
        let mut pair = Plan::new(1).up();
        pair.rule(from, select, Action::Drop, 3);
        pair.down(A, None);
        pair.seconds(60);
        assert_eq!(pair.hosts[B].ike_down, [DownReason::DeletedByPeer]);
        assert_eq!(pair.hosts[A].engine.endpoint().sa_count(), 0);
        assert_eq!(pair.hosts[B].engine.endpoint().sa_count(), 0);
    }
}

#[test]
fn a_child_delete_crosses_an_ike_delete() {
    for (one, other) in [(A, B), (B, A)] {
        let mut pair = Plan::new(2).up();
        pair.down(one, None);
        pair.down(other, Some(1));
        pair.seconds(40);
        assert!(pair.hosts[A].engine.sad().is_empty() || one == B);
        pair.raise(other, None);
        pair.raise(one, None);
        pair.seconds(60);
        pair.assert_healthy();
    }
}

#[test]
fn shutdown_tells_the_peer_and_is_complete_when_it_answers() {
    for host in [A, B] {
        let mut pair = Plan::new(1).up();
        pair.command(host, Command::Shutdown).unwrap();
        assert!(!pair.hosts[host].engine.endpoint().is_idle());
        pair.millis(100);
        assert!(pair.hosts[host].engine.endpoint().is_idle());
        assert_eq!(pair.hosts[1 - host].ike_down, [DownReason::DeletedByPeer]);
        let peer = pair.peer(host);
        assert!(pair.command(host, Command::RekeyIke { peer }).is_err());
    }
}
