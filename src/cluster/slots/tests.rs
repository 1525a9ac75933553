use std::{collections::BTreeMap, net::IpAddr};

use proptest::prelude::*;

use super::{CLASSES, assign, class, hash};

type Address = (IpAddr, u16);

fn endpoint(n: u32) -> Address {
    (IpAddr::from((0x0a00_0200 + n).to_be_bytes()), 8080)
}

fn several(n: u32) -> Vec<Address> {
    (0..n).map(endpoint).collect()
}

/// How many slots each endpoint has.
fn shares(endpoints: &[Address]) -> Vec<usize> {
    let slots = assign(endpoints, class(endpoints.len()));
    (0..endpoints.len()).map(|index| slots.iter().filter(|slot| **slot as usize == index).count()).collect()
}

fn by_name(endpoints: &[Address], slots: u32) -> Vec<Address> {
    assign(endpoints, slots).iter().map(|index| endpoints[*index as usize]).collect()
}

#[test]
fn each_class_is_a_multiple_of_the_one_before() {
    assert!(CLASSES.windows(2).all(|pair| pair[1] % pair[0] == 0));
}

#[test]
fn the_class_grows_with_the_endpoints() {
    assert!((1..5000).all(|n| class(n) <= class(n + 1)));
    assert_eq!(
        [0, 1, 2, 3, 4, 5, 7, 8, 52, 53, 315, 316, 100_000].map(class),
        [1, 1, 12, 12, 12, 60, 60, 420, 420, 2520, 2520, 5040, 55_440]
    );
}

#[test]
fn three_endpoints_share_exactly() {
    assert_eq!(shares(&several(3)), [4, 4, 4]);
}

#[test]
fn three_hundred_endpoints_share_within_one_slot() {
    let shares = shares(&several(300));
    assert!(shares.iter().all(|share| [8, 9].contains(share)), "{shares:?}");
}

#[test]
fn nobody_gets_slots_of_nobody() {
    assert!(assign(&[], 12).is_empty());
    assert!(assign(&several(3), 0).is_empty());
    assert_eq!(assign(&several(1), 12), [0; 12]);
}

/// A change of the hash or of the way moves every flow of a running pair of endpoints that are updated one by one.
#[test]
fn the_assignment_is_the_same_as_in_every_earlier_version() {
    assert_eq!(hash(&endpoint(1)), 3_233_063_255_551_123_613);
    assert_eq!(assign(&several(3), 12), [0, 2, 1, 2, 0, 1, 0, 2, 0, 1, 1, 2]);
}

/// The share of flows that have another endpoint, over many sets of `n` endpoints that lose one. Each number of
/// endpoints has its own class, to which the kernel scales a flow's hash.
fn moved(n: u32) -> f64 {
    let sets = if n > 100 { 2 } else { 20 };
    let shares = (0..sets).map(|set| {
        let all: Vec<Address> = (0..n).map(|index| endpoint(set * 1000 + index)).collect();
        let fewer = &all[..all.len() - 1];
        let (before, after) = (by_name(&all, class(all.len())), by_name(fewer, class(fewer.len())));
        let moved =
            (0..before.len()).filter(|slot| before[*slot] != after[slot * after.len() / before.len()]);
        moved.count() as f64 / before.len() as f64
    });
    shares.sum::<f64>() / f64::from(sets)
}

#[test]
fn few_flows_change_hands_when_an_endpoint_comes_or_goes() {
    for n in (2..31).chain([45, 52, 53, 54, 100, 315, 316]) {
        let (least, real) = (1.0 / f64::from(n), moved(n));
        println!("{n} endpoints: {least:.3} of all flows had to move, {real:.3} did");
        let more = if n <= 20 { 0.18 } else { 0.05 };
        assert!(real < least + more, "{n} endpoints: {least} of all flows had to move, {real} did");
    }
}

fn sets() -> impl Strategy<Value = Vec<Address>> {
    prop::collection::btree_set((any::<IpAddr>(), any::<u16>()), 1..60)
        .prop_map(|set| set.into_iter().collect())
}

proptest! {
    #[test]
    fn any_endpoints_share_within_one_slot(endpoints in sets()) {
        let shares = shares(&endpoints);
        let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
        prop_assert!(most - least <= 1, "{:?}", shares);
    }

    #[test]
    fn the_order_of_endpoints_does_not_matter(
        (one, other) in sets().prop_flat_map(|set| (Just(set.clone()), Just(set).prop_shuffle())),
    ) {
        let slots = class(one.len());
        prop_assert_eq!(by_name(&one, slots), by_name(&other, slots));
    }

    #[test]
    fn every_slot_has_an_owner(endpoints in sets(), slots in 1u32..600) {
        let owners: BTreeMap<u32, usize> = assign(&endpoints, slots).into_iter().fold(
            BTreeMap::new(),
            |mut map, owner| { *map.entry(owner).or_default() += 1; map },
        );
        prop_assert_eq!(owners.values().sum::<usize>(), slots as usize);
        prop_assert!(owners.keys().all(|owner| (*owner as usize) < endpoints.len()));
    }
}
