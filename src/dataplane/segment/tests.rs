//! Against a splitter that builds every packet from nothing.

use proptest::prelude::*;

pub(in crate::dataplane) use self::sample::{Sample, samples};
use super::*;

mod sample;

/// What `Segments` makes of a super-packet.
pub(in crate::dataplane) fn split(octets: &[u8], offload: Offload) -> Vec<Vec<u8>> {
    let segments = Segments::parse(octets, offload).unwrap();
    let write = |index| {
        let mut out = vec![0xaa; segments.packet_len(index)];
        segments.write(index, &mut out);
        assert!(out.len() <= segments.max_packet_len());
        out
    };
    (0..segments.count()).map(write).collect()
}

proptest! {
    #[test]
    fn every_packet_is_what_a_slow_splitter_makes_of_it(sample in samples()) {
        let made = split(&sample.whole(), sample.offload());
        prop_assert_eq!(made, sample.packets());
    }

    #[test]
    fn the_checksum_need_not_be_left_to_offloading(sample in samples()) {
        let whole = sample.packet(0, 0, sample.flags, &sample.payload, true);
        let offload = Offload { checksum: None, ..sample.offload() };
        prop_assert_eq!(split(&whole, offload), sample.packets());
    }

    #[test]
    fn one_packet_s_checksum_is_completed(sample in samples()) {
        let mut packet = sample.whole();
        prop_assert!(complete_checksum(&mut packet, sample.offload().checksum.unwrap()));
        let mut expected = sample.packet(0, 0, sample.flags, &sample.payload, true);
        let at = sample.transport() + 16;
        if !sample.udp && expected[at..at + 2] == [0, 0] {
            // The kernel writes the other zero.
            expected[at..at + 2].fill(0xff);
        }
        prop_assert_eq!(packet, expected);
    }

    #[test]
    fn no_octets_make_it_panic(
        octets in proptest::collection::vec(any::<u8>(), 0..200),
        segmentation in 0..4u8,
        size in any::<u16>(),
        start in 0..80u16,
        offset in any::<u16>(),
    ) {
        arbitrary(octets, segmentation, size, start, offset);
    }

    #[test]
    fn no_damage_makes_it_panic(
        sample in samples(),
        damage in proptest::collection::vec((0..80usize, any::<u8>()), 1..4),
        cut in 0..200usize,
        size in 0..4u16,
    ) {
        let mut octets = sample.whole();
        octets.truncate(octets.len().min(cut + 20));
        for (at, value) in damage {
            if let Some(octet) = octets.get_mut(at) {
                *octet = value;
            }
        }
        let len = (octets.len() as u16).to_be_bytes();
        if let Some(field) = octets.get_mut(2..4) {
            field.copy_from_slice(&len);
        }
        for segmentation in 0..4 {
            arbitrary(octets.clone(), segmentation, size, 20, 16);
        }
    }
}

fn arbitrary(mut octets: Vec<u8>, segmentation: u8, segment_size: u16, start: u16, offset: u16) {
    let segmentation = match segmentation {
        0 => Segmentation::None,
        1 => Segmentation::TcpV4,
        2 => Segmentation::TcpV6,
        _ => Segmentation::Udp,
    };
    let offload = Offload { segmentation, segment_size, header_len: offset, checksum: None };
    if let Ok(segments) = Segments::parse(&octets, offload) {
        for index in 0..segments.count() {
            let mut out = vec![0; segments.packet_len(index)];
            segments.write(index, &mut out);
            assert_eq!(InnerPacket::parse(&out).unwrap().total_len, out.len());
            assert_eq!(checksum::transport_is_valid(&out), Some(true));
        }
    }
    let _ = complete_checksum(&mut octets, PartialChecksum { start, offset });
}

#[test]
fn a_segment_size_beyond_the_payload_gives_one_packet() {
    for payload in [0, 1, 999, 1000] {
        let sample = Sample { payload: vec![7; payload], flags: 0xd9, ..Sample::tcp4() };
        let segments = split(&sample.whole(), sample.offload());
        assert_eq!(segments, [sample.packet(0, 0, 0xd9, &sample.payload, true)]);
    }
}

#[test]
fn each_oddity_has_its_error() {
    let sample = Sample::tcp4();
    let (whole, offload) = (sample.whole(), sample.offload());
    let error = |octets: &[u8], offload| Segments::parse(octets, offload).unwrap_err();
    let edited = |at: usize, value: u8| {
        let mut octets = whole.clone();
        octets[at] = value;
        error(&octets, offload)
    };
    assert_eq!(error(&whole, Offload::default()), SegmentError::NotSegmented);
    assert_eq!(error(&whole, Offload { segment_size: 0, ..offload }), SegmentError::SegmentSize);
    for segmentation in [Segmentation::TcpV6, Segmentation::Udp] {
        assert_eq!(error(&whole, Offload { segmentation, ..offload }), SegmentError::Protocol);
    }
    for (start, offset) in [(24, 16), (20, 6), (0, 16), (u16::MAX, u16::MAX)] {
        let checksum = Some(PartialChecksum { start, offset });
        assert_eq!(error(&whole, Offload { checksum, ..offload }), SegmentError::Checksum);
    }
    assert_eq!(error(&[], offload), SegmentError::Ip(InvalidPacket::Version));
    assert_eq!(error(&whole[..100], offload), SegmentError::Ip(InvalidPacket::TotalLength));
    assert_eq!(error(&[&whole[..], &[0]].concat(), offload), SegmentError::Length);
    assert_eq!(edited(6, 0x20), SegmentError::Length);
    assert_eq!(edited(9, 17), SegmentError::Protocol);
    assert_eq!(edited(32, 0x40), SegmentError::Transport);
    let udp = Sample::udp4();
    let mut octets = udp.whole();
    octets[25] ^= 1;
    assert_eq!(error(&octets, udp.offload()), SegmentError::Length);
    let bare = Sample { payload: vec![], tcp_options: vec![0; 4], ..Sample::tcp4() };
    let mut octets = bare.whole();
    octets[32] = 0xf0;
    assert_eq!(error(&octets, bare.offload()), SegmentError::Transport);
}

#[test]
fn a_buffer_of_another_length_is_zeroed() {
    let sample = Sample::tcp4();
    let whole = sample.whole();
    let segments = Segments::parse(&whole, sample.offload()).unwrap();
    assert_eq!((segments.count(), segments.packet_len(4), segments.packet_len(usize::MAX)), (4, 0, 0));
    for (index, len) in [(0, 100), (3, segments.max_packet_len()), (4, 1052), (usize::MAX, 8)] {
        let mut out = vec![0xaa; len];
        segments.write(index, &mut out);
        assert_eq!(out, vec![0; len]);
    }
}

#[test]
fn a_checksum_in_a_tunnelled_packet_is_completed_and_sctp_s_refused() {
    let inner = Sample { payload: vec![1, 2, 3], ..Sample::tcp4() };
    let vxlan = [&[8, 0, 0, 0, 0, 0, 1, 0][..], &[0; 12], &[8, 0], &inner.whole()].concat();
    let outer = Sample { payload: vxlan, ..Sample::udp4() };
    let mut packet = outer.packet(0, 0, 0, &outer.payload, true);
    packet[26..28].fill(0);
    let start = 28 + 22 + 20;
    assert!(complete_checksum(&mut packet, PartialChecksum { start, offset: 16 }));
    assert_eq!(packet[28 + 22..], inner.packet(0, 0, inner.flags, &inner.payload, true));

    let before = packet.clone();
    let refused = [(19, 16), (20, u16::MAX), (u16::MAX, 0), (packet.len() as u16, 0)];
    for (start, offset) in refused {
        assert!(!complete_checksum(&mut packet, PartialChecksum { start, offset }));
    }
    assert_eq!(packet, before);
    packet[9] = 132;
    assert!(!complete_checksum(&mut packet, PartialChecksum { start: 20, offset: 8 }));
}
