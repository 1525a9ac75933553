//! A super-packet as the TUN device hands it over: ten octets of virtio header, then the packet. Every packet
//! cut from it is valid, and together they hold its payload. A single packet's checksum is completed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use skybridge::dataplane::batch::{Offload, PartialChecksum, Segmentation};
use skybridge::dataplane::segment::{Segments, complete_checksum};
use skybridge::wire::ip::{InnerPacket, checksum};

fuzz_target!(|octets: &[u8]| {
    let Some(([flags, kind, h0, h1, g0, g1, s0, s1, o0, o1], octets)) = octets.split_first_chunk() else {
        return;
    };
    let partial =
        PartialChecksum { start: u16::from_le_bytes([*s0, *s1]), offset: u16::from_le_bytes([*o0, *o1]) };
    let offload = Offload {
        segmentation: match kind {
            1 => Segmentation::TcpV4,
            4 => Segmentation::TcpV6,
            5 => Segmentation::Udp,
            _ => Segmentation::None,
        },
        segment_size: u16::from_le_bytes([*g0, *g1]),
        header_len: u16::from_le_bytes([*h0, *h1]),
        checksum: (flags & 1 != 0).then_some(partial),
    };
    let mut single = octets.to_vec();
    if !complete_checksum(&mut single, partial) {
        assert_eq!(single, octets);
    }
    let Ok(segments) = Segments::parse(octets, offload) else { return };
    let mut payload = Vec::new();
    let mut headers = 0;
    for index in 0..segments.count() {
        let mut packet = vec![0xaa; segments.packet_len(index)];
        assert!(packet.len() <= segments.max_packet_len());
        segments.write(index, &mut packet);
        let view = InnerPacket::parse(&packet).expect("what is cut is a packet");
        assert_eq!(view.total_len, packet.len());
        assert_eq!(checksum::transport_is_valid(&packet), Some(true));
        assert!(view.src.is_ipv6() || checksum::ipv4_header_is_valid(&packet));
        headers = view.header_len
            + if offload.segmentation == Segmentation::Udp {
                8
            } else {
                usize::from(packet[view.header_len + 12] >> 4) * 4
            };
        payload.extend_from_slice(&packet[headers..]);
    }
    assert_eq!(payload, octets[headers..]);
});
