//! The IPv4 header ([RFC 791](https://www.rfc-editor.org/rfc/rfc791#section-3.1)).

use std::net::Ipv4Addr;

use super::{Ecn, Fragment, InnerPacket, InvalidPacket, IpVersion};

/// Octets of a header without options.
pub(super) const HEADER_LEN: usize = 20;

const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;

#[inline]
pub(super) fn parse(octets: &[u8]) -> Result<InnerPacket, InvalidPacket> {
    let header = octets.first_chunk::<HEADER_LEN>().ok_or(InvalidPacket::Truncated)?;
    let [first, tos, len_0, len_1, _, _, frag_0, frag_1, ttl, protocol, _, _, addresses @ ..] = *header;
    let [s0, s1, s2, s3, d0, d1, d2, d3] = addresses;
    let header_len = usize::from(first & 0x0f) * 4;
    if header_len < HEADER_LEN {
        return Err(InvalidPacket::HeaderLength);
    }
    let total_len = usize::from(u16::from_be_bytes([len_0, len_1]));
    if total_len < header_len || total_len > octets.len() {
        return Err(InvalidPacket::TotalLength);
    }
    let flags = u16::from_be_bytes([frag_0, frag_1]);
    let fragment = match (flags & OFFSET, flags & MORE_FRAGMENTS) {
        (0, 0) => Fragment::Whole,
        (0, _) => Fragment::First,
        (offset, _) => Fragment::Later(u32::from(offset) * 8),
    };
    let packet = InnerPacket {
        version: IpVersion::V4,
        src: Ipv4Addr::new(s0, s1, s2, s3).into(),
        dst: Ipv4Addr::new(d0, d1, d2, d3).into(),
        protocol,
        ports: None,
        icmp: None,
        dscp: tos >> 2,
        ecn: Ecn::from_bits(tos),
        ttl,
        dont_fragment: flags & DONT_FRAGMENT != 0,
        total_len,
        header_len,
        fragment,
    };
    packet.with_transport(octets.get(header_len..total_len).unwrap_or_default())
}
