//! The header that the kernel puts before a packet of a TUN device with offloads: `struct virtio_net_hdr`,
//! ten octets in host byte order.
//!
//! Only its coding is here. What it means for a packet is [`Offload`]; whether the packet agrees with it is
//! seen when the packet is cut.

use super::batch::{Offload, PartialChecksum, Segmentation};

/// Octets of the header.
pub const VNET_HEADER_LEN: usize = 10;

const NEEDS_CHECKSUM: u8 = 1;
const GSO_NONE: u8 = 0;
const GSO_TCP_V4: u8 = 1;
const GSO_TCP_V6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
/// A flag beside the kind: the first segment has CWR set.
const GSO_ECN: u8 = 0x80;

/// Reads a header; `None` for a kind of super-packet that was not asked for.
pub fn decode(header: &[u8; VNET_HEADER_LEN]) -> Option<Offload> {
    let [flags, kind, fields @ ..] = header;
    let field = |index: usize| {
        fields.chunks_exact(2).nth(index).map_or(0, |octets| {
            u16::from_ne_bytes([octets.first().copied().unwrap_or(0), octets.get(1).copied().unwrap_or(0)])
        })
    };
    let segmentation = match kind & !GSO_ECN {
        GSO_NONE => Segmentation::None,
        GSO_TCP_V4 => Segmentation::TcpV4,
        GSO_TCP_V6 => Segmentation::TcpV6,
        GSO_UDP_L4 => Segmentation::Udp,
        _ => return None,
    };
    let super_packet = segmentation != Segmentation::None;
    Some(Offload {
        segmentation,
        segment_size: if super_packet { field(1) } else { 0 },
        header_len: if super_packet { field(0) } else { 0 },
        checksum: (flags & NEEDS_CHECKSUM != 0)
            .then(|| PartialChecksum { start: field(2), offset: field(3) }),
    })
}

/// Writes the header of a packet.
pub fn encode(offload: &Offload) -> [u8; VNET_HEADER_LEN] {
    let kind = match offload.segmentation {
        Segmentation::None | Segmentation::Unknown => GSO_NONE,
        Segmentation::TcpV4 => GSO_TCP_V4,
        Segmentation::TcpV6 => GSO_TCP_V6,
        Segmentation::Udp => GSO_UDP_L4,
    };
    let flags = if offload.checksum.is_some() { NEEDS_CHECKSUM } else { 0 };
    let (start, offset) = offload.checksum.map_or((0, 0), |checksum| (checksum.start, checksum.offset));
    let [h0, h1] = offload.header_len.to_ne_bytes();
    let [s0, s1] = offload.segment_size.to_ne_bytes();
    let [c0, c1] = start.to_ne_bytes();
    let [o0, o1] = offset.to_ne_bytes();
    [flags, kind, h0, h1, s0, s1, c0, c1, o0, o1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_coding() {
        let checksum = Some(PartialChecksum { start: 20, offset: 16 });
        let plain = Offload::default();
        let one = Offload { checksum, ..plain };
        let many = |segmentation| Offload { segmentation, segment_size: 1_398, header_len: 52, checksum };
        for offload in
            [plain, one, many(Segmentation::TcpV4), many(Segmentation::TcpV6), many(Segmentation::Udp)]
        {
            assert_eq!(decode(&encode(&offload)), Some(offload));
        }
    }

    #[test]
    fn a_header_lies_as_the_kernel_lays_it() {
        let header = [1, 1 | GSO_ECN, 0, 0, 0, 0, 0, 0, 0, 0];
        let mut header = header;
        header[2..4].copy_from_slice(&52u16.to_ne_bytes());
        header[4..6].copy_from_slice(&1_398u16.to_ne_bytes());
        header[6..8].copy_from_slice(&20u16.to_ne_bytes());
        header[8..10].copy_from_slice(&16u16.to_ne_bytes());
        let offload = decode(&header).unwrap();
        assert_eq!(offload.segmentation, Segmentation::TcpV4);
        assert_eq!((offload.header_len, offload.segment_size), (52, 1_398));
        assert_eq!(offload.checksum, Some(PartialChecksum { start: 20, offset: 16 }));
    }

    #[test]
    fn an_unknown_kind_is_refused() {
        let mut header = [0; VNET_HEADER_LEN];
        header[1] = 3;
        assert_eq!(decode(&header), None);
    }
}
