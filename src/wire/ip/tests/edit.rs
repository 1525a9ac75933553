use proptest::collection::vec;
use proptest::prelude::*;

use super::super::tcp::{ChecksumState, clamp_mss, clamp_mss_with, mss_for_mtu};
use super::*;

const SYN: u8 = 0x02;
const SYN_ACK: u8 = 0x12;
const ACK: u8 = 0x10;
const MSS_1460: [u8; 4] = [2, 4, 0x05, 0xb4];

fn summed(mut packet: Vec<u8>) -> Vec<u8> {
    assert!(checksum::fill_transport(&mut packet));
    packet
}

#[test]
fn the_checksum_of_rfc_1071s_example() {
    assert_eq!(checksum::checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
}

#[test]
fn the_update_of_rfc_1624s_example() {
    assert_eq!(checksum::update(0xdd2f, 0x5555, 0x3285), 0x0000);
}

#[test]
fn a_known_ipv4_header() {
    let mut header = [
        0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xff, 0xff, 0xc0, 0xa8, 0x00, 0x01, 0xc0,
        0xa8, 0x00, 0xc7,
    ];
    assert!(!checksum::ipv4_header_is_valid(&header));
    checksum::fill_ipv4_header(&mut header);
    assert_eq!(header[10..12], [0xb8, 0x61]);
    assert!(checksum::ipv4_header_is_valid(&header));
}

#[test]
fn mss_is_clamped_on_syn_and_syn_ack_alone() {
    for flags in [SYN, SYN_ACK, ACK, ACK | 0x08, 0x04] {
        for packet in [ipv4(6, 0, &tcp(flags, &MSS_1460, b"")), ipv6(6, &tcp(flags, &MSS_1460, b""))] {
            let mut packet = summed(packet);
            let before = packet.clone();
            let clamped = clamp_mss(&mut packet, 1360);
            assert_eq!(clamped, flags & SYN != 0);
            assert_eq!(packet == before, !clamped);
            assert_eq!(checksum::transport_is_valid(&packet), Some(true));
            let mss = if clamped { [0x05, 0x50] } else { [0x05, 0xb4] };
            assert_eq!(packet[packet.len() - 2..], mss);
        }
    }
}

#[test]
fn an_mss_that_is_low_enough_or_absent_stays() {
    let mut low = summed(ipv4(6, 0, &tcp(SYN, &MSS_1460, b"")));
    assert!(!clamp_mss(&mut low, 1460));
    let mut absent = summed(ipv4(6, 0, &tcp(SYN, &[1, 1, 4, 2], b"")));
    assert!(!clamp_mss(&mut absent, 100));
    let mut after_end = summed(ipv4(6, 0, &tcp(SYN, &[0, 1, 1, 1, 2, 4, 5, 0xb4], b"")));
    assert!(!clamp_mss(&mut after_end, 100));
    let mut in_payload = summed(ipv4(6, 0, &tcp(SYN, &[], &MSS_1460)));
    assert!(!clamp_mss(&mut in_payload, 100));
}

#[test]
fn malformed_options_end_the_search() {
    for options in [[1, 1, 1, 2], [5, 0, 2, 4], [5, 1, 2, 4], [2, 3, 5, 0xb4], [8, 200, 2, 4]] {
        let mut packet = summed(ipv4(6, 0, &tcp(SYN, &options, b"")));
        assert!(!clamp_mss(&mut packet, 100), "{options:?}");
    }
    let mut cut = ipv4(6, 0, &tcp(SYN, &MSS_1460, b"")[..22]);
    assert!(!clamp_mss(&mut cut, 100));
    let mut no_flags = ipv4(6, 0, &tcp(SYN, &[], b"")[..13]);
    assert!(!clamp_mss(&mut no_flags, 100));
}

#[test]
fn a_later_fragment_is_not_clamped() {
    let mut packet = ipv4(6, 0x0001, &tcp(SYN, &MSS_1460, b""));
    assert!(!clamp_mss(&mut packet, 100));
}

#[test]
fn a_partial_checksum_is_left_to_offloading() {
    let mut packet = ipv4(6, 0, &tcp(SYN, &MSS_1460, b"x"));
    let len = u32::try_from(packet.len() - 20).unwrap();
    let pseudo = checksum::Sum::new().plus_pseudo_header(SRC_4.into(), DST_4.into(), 6, len).folded();
    packet[36..38].copy_from_slice(&pseudo.to_be_bytes());
    assert!(clamp_mss_with(&mut packet, 1000, ChecksumState::Partial));
    assert_eq!(packet[36..38], pseudo.to_be_bytes());
    assert!(checksum::complete_partial(&mut packet, 20, 16));
    assert_eq!(checksum::transport_is_valid(&packet), Some(true));
    let before = packet.clone();
    assert!(!checksum::complete_partial(&mut packet, 200, 16));
    assert!(!checksum::complete_partial(&mut packet, 20, usize::MAX));
    assert_eq!(packet, before);
}

#[test]
fn the_mss_leaves_room_for_both_headers() {
    assert_eq!(mss_for_mtu(IpVersion::V4, 1400), 1360);
    assert_eq!(mss_for_mtu(IpVersion::V6, 1400), 1340);
    assert_eq!(mss_for_mtu(IpVersion::V6, 20), 0);
}

#[test]
fn dscp_and_ecn_are_set_independently() {
    for mut packet in [ipv4(17, 0, &udp(b"")), ipv6(17, &udp(b""))] {
        let before = InnerPacket::parse(&packet).unwrap();
        set_dscp(&mut packet, 46);
        set_ecn(&mut packet, Ecn::Ect0);
        assert_eq!(traffic_class(&packet), Some(46 << 2 | 2));
        set_ecn(&mut packet, Ecn::Ce);
        set_dscp(&mut packet, 10);
        let after = InnerPacket::parse(&packet).unwrap();
        assert_eq!(after, InnerPacket { dscp: 10, ecn: Ecn::Ce, ..before });
        if packet[0] >> 4 == 4 {
            assert!(checksum::ipv4_header_is_valid(&packet));
        } else {
            assert_eq!(packet[2..4], [0, 0]);
        }
    }
}

#[test]
fn the_flow_label_survives_a_new_traffic_class() {
    let mut packet = ipv6(17, &udp(b""));
    packet[1..4].copy_from_slice(&[0x0a, 0xbc, 0xde]);
    set_dscp(&mut packet, 63);
    assert_eq!(packet[..4], [0x6f, 0xca, 0xbc, 0xde]);
}

#[test]
fn udp_over_ipv4_may_go_without_a_checksum() {
    assert_eq!(checksum::transport_is_valid(&ipv4(17, 0, &udp(b"x"))), None);
    assert_eq!(checksum::transport_is_valid(&ipv6(17, &udp(b"x"))), Some(false));
    assert_eq!(checksum::transport_is_valid(&summed(ipv4(17, 0, &udp(b"x")))), Some(true));
}

#[test]
fn a_udp_checksum_that_comes_out_as_zero_is_sent_as_ones() {
    let mut packet = ipv4(17, 0, &udp(&[0, 0]));
    assert!(checksum::fill_transport(&mut packet));
    let sum: [u8; 2] = packet[26..28].try_into().unwrap();
    packet[28..30].copy_from_slice(&sum);
    assert!(checksum::fill_transport(&mut packet));
    assert_eq!(packet[26..28], [0xff, 0xff]);
    assert_eq!(checksum::transport_is_valid(&packet), Some(true));
}

#[test]
fn fragments_have_no_checksum_to_fill() {
    for flags in [0x2000, 0x0001] {
        assert!(!checksum::fill_transport(&mut ipv4(17, flags, &udp(b"x"))));
    }
}

proptest! {
    #[test]
    fn the_fast_sum_is_the_model(octets in vec(any::<u8>(), 0..200), split in any::<prop::sample::Index>()) {
        prop_assert_eq!(checksum::checksum(&octets), model(&octets));
        let (a, b) = octets.split_at(split.index(octets.len() + 1) & !1);
        prop_assert_eq!(checksum::Sum::new().plus(a).plus(b).finish(), model(&octets));
    }

    #[test]
    fn sums_of_ones_carry_around(len in 0usize..300) {
        let octets = vec![0xff; len];
        prop_assert_eq!(checksum::checksum(&octets), model(&octets));
    }

    #[test]
    fn an_update_is_a_new_sum(mut words in vec(any::<u16>(), 2..20), at in any::<prop::sample::Index>(), new in any::<u16>()) {
        // A non-zero word keeps the sum from being zero, which has two forms.
        words[0] |= 1;
        let octets = |words: &[u16]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
        let before = checksum::checksum(&octets(&words));
        let at = 1 + at.index(words.len() - 1);
        let old = std::mem::replace(&mut words[at], new);
        prop_assert_eq!(checksum::update(before, old, new), checksum::checksum(&octets(&words)));
    }

    #[test]
    fn clamping_keeps_the_checksum_right_at_any_alignment(nops in 0usize..5, mss in any::<u16>(), limit in any::<u16>(), payload in vec(any::<u8>(), 0..9), v6 in any::<bool>()) {
        let mut options = vec![1; nops];
        options.extend([2, 4]);
        options.extend(mss.to_be_bytes());
        options.resize(options.len().next_multiple_of(4), 0);
        let segment = tcp(SYN, &options, &payload);
        let mut packet = summed(if v6 { ipv6(6, &segment) } else { ipv4(6, 0, &segment) });
        let at = packet.len() - segment.len() + 22 + nops;
        prop_assert_eq!(clamp_mss(&mut packet, limit), mss > limit);
        prop_assert_eq!(&packet[at..at + 2], &mss.min(limit).to_be_bytes());
        prop_assert_eq!(checksum::transport_is_valid(&packet), Some(true));
    }
}
