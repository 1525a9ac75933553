use super::*;
use proptest::prelude::*;

fn ts(text: &str) -> TrafficSelector {
    TrafficSelector::parse(text).unwrap()
}

#[test]
fn every_form_reads_back_as_it_prints() {
    for text in [
        "10.0.0.0/8",
        "10.0.0.1/32",
        "0.0.0.0/0",
        "::/0",
        "fd00::/8",
        "10.0.0.1-10.0.0.9",
        "10.0.0.0/8[tcp/443]",
        "10.0.0.0/8[tcp]",
        "10.0.0.0/8[udp/8000-8099]",
        "10.0.0.0/8[icmp/8]",
        "10.0.0.0/8[icmp/3/4]",
        "fd00::/8[icmpv6/128]",
        "10.0.0.0/8[47]",
        "10.0.0.0/8[sctp/5000]",
        "10.0.0.0/8[tcp/opaque]",
    ] {
        assert_eq!(ts(text).to_string(), text);
    }
    assert_eq!(ts("10.0.0.1").to_string(), "10.0.0.1/32");
    assert_eq!(ts("10.0.0.0-10.0.0.255"), ts("10.0.0.0/24"));
    assert_eq!(ts(" 10.0.0.0/8 [TCP/443] "), ts("10.0.0.0/8[tcp/443]"));
}

#[test]
fn what_is_not_a_selector_is_named() {
    let message = |text: &str| TrafficSelector::parse(text).unwrap_err().to_string();
    assert!(message("10.0.0.0/33").contains("10.0.0.0/33"));
    assert!(message("10.0.0.1/8").contains("write `10.0.0.0/8`"));
    assert!(message("10.0.0.9-10.0.0.1").contains("lower to a higher"));
    assert!(message("10.0.0.9-fd00::1").contains("one family"));
    assert!(message("10.0.0.0/8[tpc/443]").contains("`tpc` is not a protocol"));
    assert!(message("10.0.0.0/8[0]").contains("`0` is not a protocol"));
    assert!(message("10.0.0.0/8[tcp/70000]").contains("`70000` is not a port"));
    assert!(message("10.0.0.0/8[tcp/9-1]").contains("`9-1` is not a port"));
    assert!(message("10.0.0.0/8[gre/1]").contains("ports need a protocol"));
    assert!(message("10.0.0.0/8[any/1]").contains("ports need a protocol"));
    assert!(message("fd00::/8[icmp]").contains("does not run over"));
    assert!(message("10.0.0.0/8[tcp/443").contains("brackets"));
    assert!(message("10.0.0.0/8[tcp]x").contains("brackets"));
    assert!(message("").contains("not an address"));
}

#[test]
fn any_ports_include_invisible_ones_and_ranges_do_not() {
    assert!(PortRange::ANY.contains(None));
    assert!(PortRange::OPAQUE.contains(None));
    assert!(!PortRange::OPAQUE.contains(Some(0)));
    assert!(!PortRange::from_bounds(0, 65534).contains(None));
    assert_eq!(PortRange::ANY.intersect(PortRange::OPAQUE), Some(PortRange::OPAQUE));
    assert_eq!(PortRange::from_bounds(1, 9).intersect(PortRange::OPAQUE), None);
}

#[test]
fn an_icmp_selector_is_type_and_code() {
    let echo = ts("10.0.0.0/8[icmp/8]");
    assert_eq!(echo.ports(), PortRange { start: 0x0800, end: 0x08ff });
    assert!(echo.contains("10.1.2.3".parse().unwrap(), 1, Some(0x0800)));
    assert!(!echo.contains("10.1.2.3".parse().unwrap(), 1, Some(0x0000)));
}

#[test]
fn prefixes_cover_whole_families_and_single_hosts() {
    let show = |text: &str| ts(text).to_prefixes().iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(show("0.0.0.0/0"), ["0.0.0.0/0"]);
    assert_eq!(show("::/0"), ["::/0"]);
    assert_eq!(show("255.255.255.255"), ["255.255.255.255/32"]);
    assert_eq!(show("10.0.0.1-10.0.0.6"), ["10.0.0.1/32", "10.0.0.2/31", "10.0.0.4/31", "10.0.0.6/32"]);
    assert_eq!(ts("0.0.0.1-255.255.255.254").to_prefixes().len(), 62);
    assert_eq!(ts("::1-ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe").to_prefixes().len(), 254);
}

proptest! {
    #[test]
    fn prefixes_cover_exactly_the_range_with_the_fewest(a in 0u32..512, b in 0u32..512) {
        let (low, high) = (a.min(b), a.max(b));
        let at = |n: u32| IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + n));
        let prefixes = TrafficSelector::new(0, PortRange::ANY, at(low), at(high)).unwrap().to_prefixes();
        for n in 0..512u32 {
            let covering = prefixes.iter().filter(|net| net.contains(&at(n))).count();
            prop_assert_eq!(covering, usize::from(low <= n && n <= high));
        }
        let ranges: Vec<IpNet> = IpNet::aggregate(&prefixes);
        prop_assert_eq!(ranges.len(), prefixes.len());
    }

    #[test]
    fn text_never_panics_and_what_reads_reads_back(text in "[0-9a-f.:/\\[\\]-]{0,24}(\\[[a-z0-9/-]{0,12}\\])?") {
        if let Ok(selector) = TrafficSelector::parse(&text) {
            prop_assert_eq!(ts(&selector.to_string()), selector);
        }
    }
}
