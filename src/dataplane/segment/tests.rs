//! Against a splitter that builds every packet from nothing.

use proptest::prelude::*;

use super::*;

/// The fields of a flow's packets, and the payload of several of them.
#[derive(Debug, Clone)]
pub(in crate::dataplane) struct Sample {
    pub(in crate::dataplane) v6: bool,
    pub(in crate::dataplane) udp: bool,
    /// IPv4 options, or what follows the first two octets of an IPv6 destination options header.
    pub(in crate::dataplane) ip_options: Vec<u8>,
    pub(in crate::dataplane) tos: u8,
    pub(in crate::dataplane) ttl: u8,
    pub(in crate::dataplane) dont_fragment: bool,
    pub(in crate::dataplane) id: u16,
    pub(in crate::dataplane) label: u32,
    /// The last octet of the source address.
    pub(in crate::dataplane) host: u8,
    pub(in crate::dataplane) ports: [u16; 2],
    pub(in crate::dataplane) sequence: u32,
    pub(in crate::dataplane) ack: u32,
    pub(in crate::dataplane) flags: u8,
    pub(in crate::dataplane) window: u16,
    pub(in crate::dataplane) tcp_options: Vec<u8>,
    pub(in crate::dataplane) payload: Vec<u8>,
    pub(in crate::dataplane) segment_size: u16,
}

impl Sample {
    pub(in crate::dataplane) fn tcp4() -> Self {
        Self {
            v6: false,
            udp: false,
            ip_options: vec![],
            tos: 0,
            ttl: 64,
            dont_fragment: true,
            id: 1,
            label: 0,
            host: 1,
            ports: [40_000, 443],
            sequence: 1000,
            ack: 2000,
            flags: 0x10,
            window: 500,
            tcp_options: vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2],
            payload: (0..3500u16).map(|n| n as u8).collect(),
            segment_size: 1000,
        }
    }

    pub(in crate::dataplane) fn udp4() -> Self {
        Self { udp: true, ..Self::tcp4() }
    }

    fn transport(&self) -> usize {
        match (self.v6, self.ip_options.len()) {
            (false, options) => 20 + options,
            (true, 0) => 40,
            (true, options) => 40 + 2 + options,
        }
    }

    pub(in crate::dataplane) fn offload(&self) -> Offload {
        let segmentation = match (self.udp, self.v6) {
            (true, _) => Segmentation::Udp,
            (false, false) => Segmentation::TcpV4,
            (false, true) => Segmentation::TcpV6,
        };
        let start = self.transport() as u16;
        let offset = if self.udp { 6 } else { 16 };
        let checksum = Some(PartialChecksum { start, offset });
        Offload { segmentation, segment_size: self.segment_size, header_len: 7, checksum }
    }

    /// The packet of `payload`, the `index`th of the flow; `sequence` octets went before.
    pub(in crate::dataplane) fn packet(
        &self,
        index: usize,
        sequence: usize,
        flags: u8,
        payload: &[u8],
        whole_checksum: bool,
    ) -> Vec<u8> {
        let protocol: u8 = if self.udp { 17 } else { 6 };
        let mut upper = Vec::new();
        upper.extend(self.ports[0].to_be_bytes());
        upper.extend(self.ports[1].to_be_bytes());
        let at = if self.udp {
            upper.extend((8 + payload.len() as u16).to_be_bytes());
            upper.extend([0, 0]);
            6
        } else {
            upper.extend(self.sequence.wrapping_add(sequence as u32).to_be_bytes());
            upper.extend(self.ack.to_be_bytes());
            upper.extend([(20 + self.tcp_options.len() as u8) / 4 << 4, flags]);
            upper.extend(self.window.to_be_bytes());
            upper.extend([0; 4]);
            upper.extend(&self.tcp_options);
            16
        };
        upper.extend(payload);

        let mut src = vec![10, 1, 0, self.host];
        let mut dst = vec![192, 168, 200, 7];
        if self.v6 {
            src = [&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &[self.host]].concat();
            dst = vec![0xfd, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
        }
        let len = (upper.len() as u32).to_be_bytes();
        let pseudo = [&src[..], &dst, &len, &[0, 0, 0, protocol]].concat();
        let sum = if whole_checksum {
            let sum = !words(&[&pseudo[..], &upper].concat());
            if sum == 0 && self.udp { 0xffff } else { sum }
        } else {
            words(&pseudo)
        };
        upper[at..at + 2].copy_from_slice(&sum.to_be_bytes());

        let mut packet = Vec::new();
        if self.v6 {
            let mut extension = Vec::new();
            if !self.ip_options.is_empty() {
                extension = vec![protocol, ((self.ip_options.len() + 2) / 8 - 1) as u8];
                extension.extend(&self.ip_options);
            }
            let first = 6 << 28 | u32::from(self.tos) << 20 | self.label;
            packet.extend(first.to_be_bytes());
            packet.extend(((extension.len() + upper.len()) as u16).to_be_bytes());
            packet.extend([if extension.is_empty() { protocol } else { 60 }, self.ttl]);
            packet.extend([src, dst].concat());
            packet.extend(extension);
        } else {
            let header_len = 20 + self.ip_options.len();
            packet.extend([0x40 | (header_len / 4) as u8, self.tos]);
            packet.extend(((header_len + upper.len()) as u16).to_be_bytes());
            packet.extend(self.id.wrapping_add(index as u16).to_be_bytes());
            packet.extend([if self.dont_fragment { 0x40 } else { 0 }, 0, self.ttl, protocol, 0, 0]);
            packet.extend([src, dst].concat());
            packet.extend(&self.ip_options);
            let sum = !words(&packet);
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        packet.extend(upper);
        packet
    }

    /// As a kernel hands it over.
    pub(in crate::dataplane) fn whole(&self) -> Vec<u8> {
        self.packet(0, 0, self.flags, &self.payload, false)
    }

    /// What it stands for, each packet built on its own.
    pub(in crate::dataplane) fn packets(&self) -> Vec<Vec<u8>> {
        let size = usize::from(self.segment_size);
        let count = self.payload.len().div_ceil(size).max(1);
        let build = |index: usize| {
            let payload = &self.payload[index * size..self.payload.len().min((index + 1) * size)];
            let mut flags = self.flags;
            if index > 0 {
                flags &= 0x7f;
            }
            if index < count - 1 {
                flags &= !0x09;
            }
            self.packet(index, index * size, flags, payload, true)
        };
        (0..count).map(build).collect()
    }
}

/// The ones' complement sum, a word at a time.
fn words(octets: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in octets.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        if sum > 0xffff {
            sum -= 0xffff;
        }
    }
    sum as u16
}

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

pub(in crate::dataplane) fn samples() -> impl Strategy<Value = Sample> {
    let kind = (any::<bool>(), any::<bool>(), 0..4usize, any::<u8>(), any::<u8>(), any::<bool>());
    let id = prop_oneof![any::<u16>(), 0xfff0..=0xffffu16];
    let sequence = prop_oneof![any::<u32>(), 0xffff_0000..=u32::MAX];
    let flags = prop_oneof![Just(0x10u8), Just(0x18), Just(0x11), Just(0xd8), Just(0x59), any::<u8>()];
    let tcp = (sequence, any::<u32>(), flags, any::<u16>(), 0..=10usize);
    let payload = (1..1500u16, 1..60usize, any::<u8>(), any::<u64>());
    (kind, id, 0..0x10_0000u32, any::<[u16; 2]>(), tcp, payload).prop_map(
        |(kind, id, label, ports, tcp, payload)| {
            let (v6, udp, options, tos, ttl, dont_fragment) = kind;
            let (sequence, ack, flags, window, tcp_options) = tcp;
            let (segment_size, count, rest, seed) = payload;
            let mut random = seed | 1;
            let mut octets = |len: usize| -> Vec<u8> {
                let next = |_| {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    random as u8
                };
                (0..len).map(next).collect()
            };
            let most = 65_535 - 40 - 32 - 60;
            let len =
                usize::from(segment_size) * (count - 1) + 1 + usize::from(rest) % usize::from(segment_size);
            let ip_options = match (v6, options) {
                (_, 0) => vec![],
                (false, options) => octets(options * 4),
                (true, options) => [&[1, (options * 8 - 4) as u8][..], &vec![0; options * 8 - 4]].concat(),
            };
            Sample {
                v6,
                udp,
                ip_options,
                tos,
                ttl,
                dont_fragment,
                id,
                label,
                host: 1,
                ports,
                sequence,
                ack,
                flags,
                window,
                tcp_options: octets(tcp_options * 4),
                payload: octets(len.min(most)),
                segment_size,
            }
        },
    )
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
