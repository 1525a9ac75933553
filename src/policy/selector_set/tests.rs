use super::*;
use proptest::prelude::*;
use std::collections::HashSet;
use std::net::Ipv4Addr;

fn set(texts: &[&str]) -> SelectorSet {
    texts.iter().map(|text| TrafficSelector::parse(text).unwrap()).collect()
}

/// Every point of a small world: 12 addresses of two families, three protocols, ports 0 to 5, 65535 and unseen ones.
fn world() -> Vec<(IpAddr, u8, Option<u16>)> {
    let v4 = (0..10u32).map(|n| IpAddr::V4(Ipv4Addr::from_bits(n)));
    let v6 = (0..2u128).map(|n| IpAddr::V6(std::net::Ipv6Addr::from_bits(n)));
    let ports: Vec<Option<u16>> = (0..6).map(Some).chain([Some(u16::MAX), None]).collect();
    let mut points = Vec::new();
    for address in v4.chain(v6) {
        for protocol in [1, 6, 17] {
            points.extend(ports.iter().map(|port| (address, protocol, *port)));
        }
    }
    points
}

fn model(set: &SelectorSet) -> HashSet<(IpAddr, u8, Option<u16>)> {
    world().into_iter().filter(|(address, protocol, port)| set.contains(*address, *protocol, *port)).collect()
}

fn any_selector() -> impl Strategy<Value = TrafficSelector> {
    let ports = prop_oneof![
        Just(PortRange::ANY),
        Just(PortRange::OPAQUE),
        (0u16..6, 0u16..6).prop_map(|(a, b)| PortRange::from_bounds(a, b)),
    ];
    let v4 = (0u32..10, 0u32..10).prop_map(|(a, b)| {
        (IpAddr::V4(Ipv4Addr::from_bits(a.min(b))), IpAddr::V4(Ipv4Addr::from_bits(a.max(b))))
    });
    let v6 = (0u128..2).prop_map(|n| {
        let address = IpAddr::V6(std::net::Ipv6Addr::from_bits(n));
        (address, address)
    });
    let addresses = prop_oneof![4 => v4, 1 => v6];
    (prop_oneof![Just(0u8), Just(1), Just(6), Just(17)], ports, addresses).prop_map(
        |(protocol, ports, (start, end))| TrafficSelector::new(protocol, ports, start, end).unwrap(),
    )
}

fn any_set() -> impl Strategy<Value = SelectorSet> {
    prop::collection::vec(any_selector(), 0..6).prop_map(SelectorSet::new)
}

proptest! {
    #[test]
    fn the_intersection_is_that_of_the_model(a in any_set(), b in any_set()) {
        let both: HashSet<_> = model(&a).intersection(&model(&b)).copied().collect();
        prop_assert_eq!(model(&a.intersect(&b)), both);
        prop_assert_eq!(a.overlaps(&b), !a.intersect(&b).is_empty());
    }

    #[test]
    fn the_intersection_is_inside_both(a in any_set(), b in any_set()) {
        let both = a.intersect(&b);
        prop_assert!(both.is_subset_of(&a));
        prop_assert!(both.is_subset_of(&b));
    }

    #[test]
    fn no_selector_of_an_intersection_is_inside_another(a in any_set(), b in any_set()) {
        let both = a.intersect(&b);
        for (i, one) in both.iter().enumerate() {
            for (j, other) in both.iter().enumerate() {
                prop_assert!(i == j || !one.is_subset_of(other));
            }
        }
    }

    #[test]
    fn a_subset_is_one_in_the_model_too(a in any_set(), b in any_set()) {
        if a.is_subset_of(&b) {
            prop_assert!(model(&a).is_subset(&model(&b)));
        }
    }

    #[test]
    fn a_union_includes_what_its_parts_cover_only_together(parts in prop::collection::vec(any_selector(), 1..5)) {
        let union = SelectorSet::new(parts.clone());
        for part in &parts {
            prop_assert!(union.includes(part));
        }
        // Split each part at an address; the halves together still include it.
        let halves = SelectorSet::new(parts.iter().flat_map(|part| {
            let (low, high) = (to_bits(part.start()), to_bits(part.end()));
            let middle = low + (high - low) / 2;
            let at = |bits| super::super::selector::from_bits(part.start(), bits);
            let make = |a, b| TrafficSelector::new(part.protocol(), part.ports(), at(a), at(b)).ok();
            [make(low, middle), (middle < high).then(|| make(middle + 1, high)).flatten()].into_iter().flatten()
        }));
        prop_assert!(halves.is_equivalent_to(&union));
    }

    #[test]
    fn what_is_no_subset_has_a_point_outside(a in any_selector(), b in any_set()) {
        // Ports and protocols of the small world do not show every difference: compare addresses and visible ports.
        let restricted = TrafficSelector::new(6, PortRange::from_bounds(2, 4), a.start(), a.end()).unwrap();
        let outside = world().into_iter().any(|(address, protocol, port)| {
            restricted.contains(address, protocol, port) && !b.contains(address, protocol, port)
        });
        prop_assert_eq!(b.includes(&restricted), !outside);
    }

    #[test]
    fn the_wire_form_reads_back(a in any_set()) {
        prop_assert_eq!(SelectorSet::from_wire(&a.to_wire()), a);
    }

    #[test]
    fn prefixes_of_a_set_cover_exactly_its_addresses(a in any_set()) {
        let prefixes = a.to_prefixes();
        for (address, _, _) in world() {
            let covering = prefixes.iter().filter(|net| net.contains(&address)).count();
            prop_assert_eq!(covering, usize::from(a.contains_address(address)));
        }
    }
}

#[test]
fn neighbours_together_include_what_spans_them() {
    let halves = set(&["10.0.0.0/25", "10.0.0.128/25"]);
    assert!(set(&["10.0.0.0/24"]).is_subset_of(&halves));
    assert!(!set(&["10.0.0.0/23"]).is_subset_of(&halves));
    assert_eq!(halves.to_prefixes(), ["10.0.0.0/24".parse().unwrap()]);
}

#[test]
fn port_ranges_together_are_not_any_port() {
    let ports = set(&["10.0.0.0/8[tcp/0-1000]", "10.0.0.0/8[tcp/1001-65535]"]);
    assert!(!set(&["10.0.0.0/8[tcp]"]).is_subset_of(&ports), "packets with invisible ports are missing");
    let with_opaque =
        set(&["10.0.0.0/8[tcp/0-1000]", "10.0.0.0/8[tcp/1001-65535]", "10.0.0.0/8[tcp/opaque]"]);
    assert!(set(&["10.0.0.0/8[tcp]"]).is_subset_of(&with_opaque));
}

#[test]
fn adjacent_families_do_not_merge() {
    let sets = set(&["255.255.255.255", "::/128"]);
    assert_eq!(sets.to_prefixes().len(), 2);
}

#[test]
fn icmp_is_compared_with_the_senders_side_only() {
    let local = set(&["10.0.0.0/8[icmp/8]"]);
    let remote = set(&["192.168.0.0/16[icmp/0]"]);
    let request = PacketSummary {
        src: "10.0.0.1".parse().unwrap(),
        dst: "192.168.0.1".parse().unwrap(),
        protocol: 1,
        src_port: Some(0x0800),
        dst_port: None,
    };
    assert!(local.covers(&remote, &request));
    let reply = PacketSummary { src: request.dst, dst: request.src, src_port: Some(0), ..request };
    assert!(remote.covers(&local, &reply));
    assert!(!remote.covers(&local, &PacketSummary { src_port: Some(0x0800), ..reply }));
}

#[test]
fn a_later_fragment_passes_only_selectors_of_any_port() {
    let fragment = PacketSummary {
        src: "10.0.0.1".parse().unwrap(),
        dst: "192.168.0.1".parse().unwrap(),
        protocol: 17,
        src_port: None,
        dst_port: None,
    };
    assert!(set(&["10.0.0.0/8[udp]"]).covers(&set(&["192.168.0.0/16"]), &fragment));
    assert!(!set(&["10.0.0.0/8"]).covers(&set(&["192.168.0.0/16[udp/53]"]), &fragment));
}

#[test]
fn a_request_of_many_selectors_stays_bounded() {
    let many = SelectorSet::new((0..255u32).map(|n| {
        TrafficSelector::of_host(
            IpAddr::V4(Ipv4Addr::from_bits(n * 3)),
            (n % 200) as u8,
            PortRange::from_bounds(n as u16, n as u16 + 9),
        )
    }));
    assert!(many.intersect(&many).len() <= 255);
    assert!(!set(&["0.0.0.0/0"]).is_subset_of(&many));
}

#[test]
fn unknown_and_disordered_selectors_admit_nothing() {
    use crate::wire::ike::WireTs;
    use crate::wire::ike::registry::TsType;
    let zero = Ipv4Addr::UNSPECIFIED;
    let bad =
        |start_port, end_port, start, end| WireTs::Ipv4 { protocol: 6, start_port, end_port, start, end };
    let wire = [
        WireTs::Unknown { kind: TsType(10), protocol: 0, body: vec![1, 2] },
        bad(0, 65535, Ipv4Addr::new(2, 0, 0, 0), Ipv4Addr::new(1, 0, 0, 0)),
        bad(9, 3, zero, zero),
    ];
    assert!(SelectorSet::from_wire(&wire).is_empty());
    assert_eq!(SelectorSet::from_wire(&[bad(65535, 0, zero, zero)]).to_string(), "0.0.0.0/32[tcp/opaque]");
}

#[test]
fn equal_sets_share_their_selectors_and_different_ones_do_not() {
    let set = |text: &str| SelectorSet::of_prefixes([text.parse().unwrap()]);
    let (one, same, other) = (set("10.0.0.0/8"), set("10.0.0.0/8"), set("10.0.0.0/9"));
    assert_eq!(same.shared_with(&one).as_slice().as_ptr(), one.as_slice().as_ptr());
    assert_eq!(other.clone().shared_with(&one), other);
}
