use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

#[test]
fn an_ipv4_udp_packet() {
    let mut packet = ipv4(protocol::UDP, 0x4000, &udp(b"hello"));
    packet[1] = 0xb9;
    let view = InnerPacket::parse(&packet).unwrap();
    let expected = InnerPacket {
        version: IpVersion::V4,
        src: SRC_4.into(),
        dst: DST_4.into(),
        protocol: 17,
        ports: Some((4096, 53)),
        icmp: None,
        dscp: 46,
        ecn: Ecn::Ect1,
        ttl: 64,
        dont_fragment: true,
        total_len: 33,
        header_len: 20,
        fragment: Fragment::Whole,
    };
    assert_eq!(view, expected);
    assert_eq!(udp::payload(&packet, &view), Some(&b"hello"[..]));
}

#[test]
fn an_ipv6_tcp_packet() {
    let mut packet = ipv6(protocol::TCP, &tcp(0x12, &[], b""));
    (packet[0], packet[1]) = (0x6b, 0x9f);
    let view = InnerPacket::parse(&packet).unwrap();
    assert_eq!((view.version, view.protocol), (IpVersion::V6, 6));
    assert_eq!((view.src, view.dst), (SRC_6.into(), DST_6.into()));
    assert_eq!((view.dscp, view.ecn), (46, Ecn::Ect1));
    assert_eq!(view.ports, Some((0xc000, 443)));
    assert_eq!((view.header_len, view.total_len), (40, 60));
    assert_eq!(tcp::flags(&packet, &view), Some(0x12));
}

#[test]
fn padding_after_the_packet_is_not_part_of_it() {
    for packet in [ipv4(protocol::UDP, 0, &udp(b"x")), ipv6(protocol::UDP, &udp(b"x"))] {
        let mut padded = packet.clone();
        padded.extend([0; 77]);
        assert_eq!(InnerPacket::parse(&padded).unwrap().total_len, packet.len());
    }
}

#[test]
fn every_truncation_is_an_error() {
    let with_options = {
        let mut packet = ipv4(protocol::UDP, 0, &udp(b"abcd"));
        packet[0] = 0x46;
        packet
    };
    let extended = ipv6(0, &[&[17, 0, 0, 0, 0, 0, 0, 0][..], &udp(b"abcd")].concat());
    for packet in [with_options, ipv6(protocol::ICMPV6, &[128, 0, 0, 0]), extended] {
        assert!(InnerPacket::parse(&packet).is_ok());
        for len in 0..packet.len() {
            assert!(InnerPacket::parse(&packet[..len]).is_err(), "{len}");
        }
    }
}

#[test]
fn impossible_ipv4_lengths_are_errors() {
    let good = ipv4(protocol::UDP, 0, &udp(b""));
    let with = |at: usize, value: u8| {
        let mut packet = good.clone();
        packet[at] = value;
        InnerPacket::parse(&packet)
    };
    assert_eq!(with(0, 0x44), Err(InvalidPacket::HeaderLength));
    assert_eq!(with(0, 0x48), Err(InvalidPacket::TotalLength));
    assert_eq!(with(3, 19), Err(InvalidPacket::TotalLength));
    assert_eq!(with(3, 29), Err(InvalidPacket::TotalLength));
    assert_eq!(with(3, 23), Err(InvalidPacket::TruncatedTransport));
    assert_eq!(with(0, 0x55), Err(InvalidPacket::Version));
    assert_eq!(InnerPacket::parse(&[]), Err(InvalidPacket::Version));
}

#[test]
fn ipv4_fragments_are_told_apart() {
    let parse = |flags, upper: &[u8]| InnerPacket::parse(&ipv4(protocol::UDP, flags, upper));
    let first = parse(0x2000, &udp(b"")).unwrap();
    assert_eq!((first.fragment, first.ports), (Fragment::First, Some((4096, 53))));
    let later = parse(0x2001, &[1, 2]).unwrap();
    assert_eq!((later.fragment, later.ports), (Fragment::Later(8), None));
    let last = parse(0x1fff, &[1, 2]).unwrap();
    assert_eq!(last.fragment, Fragment::Later(65_528));
    assert_eq!(parse(0x2000, &[1, 2, 3]), Err(InvalidPacket::TruncatedTransport));
}

#[test]
fn ipv6_extension_headers_are_skipped() {
    let hop_by_hop = [43, 0, 1, 4, 0, 0, 0, 0];
    let routing = [60, 1, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let destination = [6, 0, 1, 4, 0, 0, 0, 0];
    let packet = ipv6(0, &[&hop_by_hop[..], &routing, &destination, &tcp(2, &[], b"")].concat());
    let view = InnerPacket::parse(&packet).unwrap();
    assert_eq!((view.protocol, view.header_len, view.ports), (6, 72, Some((0xc000, 443))));
}

#[test]
fn ipv6_fragments_are_told_apart() {
    let fragment = |field: u16, upper: &[u8]| {
        let [high, low] = field.to_be_bytes();
        let packet = ipv6(44, &[&[17, 0, high, low, 0, 0, 0, 1][..], upper].concat());
        InnerPacket::parse(&packet)
    };
    let atomic = fragment(0, &udp(b"")).unwrap();
    assert_eq!((atomic.fragment, atomic.ports), (Fragment::Whole, Some((4096, 53))));
    let first = fragment(1, &udp(b"")).unwrap();
    assert_eq!((first.fragment, first.ports), (Fragment::First, Some((4096, 53))));
    let later = fragment(8 | 1, &[9]).unwrap();
    assert_eq!((later.fragment, later.ports, later.protocol), (Fragment::Later(8), None, 17));
}

#[test]
fn the_chain_of_extension_headers_is_bounded() {
    let chain = |count: usize| {
        let mut rest: Vec<u8> = [60, 0, 1, 4, 0, 0, 0, 0].repeat(count);
        rest[count * 8 - 8] = protocol::UDP;
        rest.extend(udp(b""));
        InnerPacket::parse(&ipv6(60, &rest))
    };
    assert_eq!(chain(8).unwrap().header_len, 104);
    assert_eq!(chain(9), Err(InvalidPacket::TooManyExtensionHeaders));
}

#[test]
fn an_extension_header_beyond_the_packet_is_an_error() {
    assert_eq!(InnerPacket::parse(&ipv6(0, &[17, 9, 0, 0, 0, 0, 0, 0])), Err(InvalidPacket::Truncated));
    assert_eq!(InnerPacket::parse(&ipv6(60, &[17])), Err(InvalidPacket::Truncated));
    assert_eq!(InnerPacket::parse(&ipv6(44, &[17, 0, 0, 8, 1])), Err(InvalidPacket::Truncated));
}

#[test]
fn icmp_shows_type_and_code_and_other_protocols_nothing() {
    let echo = InnerPacket::parse(&ipv4(protocol::ICMP, 0, &[8, 1])).unwrap();
    assert_eq!((echo.icmp, echo.ports), (Some((8, 1)), None));
    let echo = InnerPacket::parse(&ipv6(protocol::ICMPV6, &[128, 2])).unwrap();
    assert_eq!(echo.icmp, Some((128, 2)));
    let gre = InnerPacket::parse(&ipv4(47, 0, &[])).unwrap();
    assert_eq!((gre.icmp, gre.ports, gre.protocol), (None, None, 47));
}

#[test]
fn a_wrong_udp_length_yields_no_payload() {
    let mut packet = ipv4(protocol::UDP, 0, &udp(b"abc"));
    let view = InnerPacket::parse(&packet).unwrap();
    packet[25] = 12;
    assert_eq!(udp::payload(&packet, &view), None);
    packet[25] = 7;
    assert_eq!(udp::payload(&packet, &view), None);
}

fn packet_like() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![Just(0x45u8), Just(0x46), Just(0x60), any::<u8>()];
    let protocol =
        prop_oneof![Just(6u8), Just(17), Just(1), Just(58), Just(0), Just(44), Just(60), any::<u8>()];
    (first, protocol, vec(any::<u8>(), 0..120), any::<bool>()).prop_map(
        |(first, protocol, mut octets, right_len)| {
            let len = octets.len();
            for (at, value) in [(0, first), (if first >> 4 == 4 { 9 } else { 6 }, protocol)] {
                if let Some(octet) = octets.get_mut(at) {
                    *octet = value;
                }
            }
            if right_len && len >= 40 {
                let (at, value) = if first >> 4 == 4 { (2, len) } else { (4, len - 40) };
                octets[at..at + 2].copy_from_slice(&u16::try_from(value).unwrap().to_be_bytes());
            }
            octets
        },
    )
}

proptest! {
    #[test]
    fn no_octets_do_harm(octets in packet_like(), at in any::<prop::sample::Index>()) {
        let from = if octets.first().is_some_and(|first| first >> 4 == 6) { SRC_6.into() } else { SRC_4.into() };
        let view = InnerPacket::parse(&octets);
        for error in [icmp::IcmpError::TooBig(1300), icmp::IcmpError::TimeExceeded] {
            if let Some(reply) = icmp::error(&octets, from, error) {
                let view = view.unwrap();
                prop_assert_eq!(InnerPacket::parse(&reply).unwrap().dst, view.src);
                prop_assert_eq!(checksum::transport_is_valid(&reply), Some(true));
            }
        }
        if let Ok(view) = view {
            prop_assert!(view.header_len <= view.total_len && view.total_len <= octets.len());
            let _ = (tcp::flags(&octets, &view), udp::payload(&octets, &view));
        }
        let mut edited = octets.clone();
        tcp::clamp_mss(&mut edited, 500);
        set_dscp(&mut edited, 63);
        set_ecn(&mut edited, Ecn::Ce);
        checksum::fill_transport(&mut edited);
        checksum::fill_ipv4_header(&mut edited);
        let _ = checksum::transport_is_valid(&edited);
        let start = at.index(octets.len() + 1);
        let _ = checksum::complete_partial(&mut edited, start, 16);
        prop_assert_eq!(edited.len(), octets.len());
    }
}
