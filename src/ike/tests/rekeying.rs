//! Rekeying of both kinds, from either side and from both at once.

use std::time::Duration;

use super::pair::*;

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn spis(pair: &Pair) -> Vec<u32> {
    pair.a.children.values().map(|child| child.inbound_spi).collect()
}

#[test]
fn either_side_rekeys_a_child_and_the_old_one_lingers() {
    for side in [Side::A, Side::B] {
        let mut pair = Pair::established();
        let before = spis(&pair);
        pair.rekey_child(side);
        pair.run(secs(2));
        assert_eq!(pair.a.children.len(), 2, "the old Child SA still receives");
        pair.run(secs(10));
        pair.assert_converged(1);
        assert_ne!(before, spis(&pair));
    }
}

#[test]
fn either_side_rekeys_the_ike_sa_and_the_children_move() {
    for side in [Side::A, Side::B] {
        let mut pair = Pair::established();
        let before = (spis(&pair), pair.status(Side::A).ike_sas[0].id);
        pair.rekey_ike(side);
        pair.run(secs(60));
        pair.assert_converged(1);
        assert_eq!(before.0, spis(&pair));
        assert_ne!(before.1, pair.status(Side::A).ike_sas[0].id);
        pair.rekey_child(side);
        pair.rekey_ike(side.other());
        pair.run(secs(60));
        pair.assert_converged(1);
    }
}

#[test]
fn the_end_with_the_lowest_nonce_closes_its_new_child_when_both_rekey_at_once() {
    for (a, b, a_wins) in
        [([9, 9], [1, 9], true), ([1, 9], [9, 9], false), ([9, 1], [9, 9], true), ([9, 9], [9, 1], false)]
    {
        let mut pair = Pair::established();
        pair.nonces(Side::A, &a);
        pair.nonces(Side::B, &b);
        pair.rekey_child(Side::A);
        pair.rekey_child(Side::B);
        pair.run(secs(60));
        pair.assert_converged(1);
        let (at_a, at_b) = (pair.a.endpoint.collisions(), pair.b.endpoint.collisions());
        assert_eq!((at_a.child_rekey_won, at_b.child_rekey_lost), (u64::from(a_wins), u64::from(a_wins)));
        assert_eq!((at_a.child_rekey_lost, at_b.child_rekey_won), (u64::from(!a_wins), u64::from(!a_wins)));
    }
}

#[test]
fn the_end_with_the_lowest_nonce_closes_its_new_ike_sa_when_both_rekey_at_once() {
    for (a, b, a_wins) in
        [([9, 9], [1, 9], true), ([1, 9], [9, 9], false), ([9, 1], [9, 9], true), ([9, 9], [9, 1], false)]
    {
        let mut pair = Pair::established();
        pair.nonces(Side::A, &a);
        pair.nonces(Side::B, &b);
        pair.rekey_ike(Side::A);
        pair.rekey_ike(Side::B);
        pair.run(secs(120));
        pair.assert_converged(1);
        let (at_a, at_b) = (pair.a.endpoint.collisions(), pair.b.endpoint.collisions());
        assert_eq!((at_a.ike_rekey_won, at_b.ike_rekey_lost), (u64::from(a_wins), u64::from(a_wins)));
    }
}
