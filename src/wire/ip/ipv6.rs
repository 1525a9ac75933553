//! The IPv6 header and its extension headers ([RFC 8200](https://www.rfc-editor.org/rfc/rfc8200#section-3)).

use std::net::Ipv6Addr;

use super::{Ecn, Fragment, InnerPacket, InvalidPacket, IpVersion};

/// Octets of the fixed header.
pub(super) const HEADER_LEN: usize = 40;

/// Extension headers followed; a packet with more is malformed to us, as it is to most routers.
const MAX_EXTENSION_HEADERS: usize = 8;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;

pub(super) fn parse(octets: &[u8]) -> Result<InnerPacket, InvalidPacket> {
    let header = octets.first_chunk::<HEADER_LEN>().ok_or(InvalidPacket::Truncated)?;
    let [first, second, _, _, len_0, len_1, next_header, ttl, addresses @ ..] = *header;
    let (src, dst) = addresses.split_at(16);
    let address = |octets: &[u8]| {
        octets.first_chunk::<16>().map(|octets| Ipv6Addr::from(*octets)).ok_or(InvalidPacket::Truncated)
    };
    let total_len = HEADER_LEN + usize::from(u16::from_be_bytes([len_0, len_1]));
    let packet = octets.get(..total_len).ok_or(InvalidPacket::TotalLength)?;
    let (protocol, header_len, fragment) = walk(packet, next_header)?;
    let class = first << 4 | second >> 4;
    let view = InnerPacket {
        version: IpVersion::V6,
        src: address(src)?.into(),
        dst: address(dst)?.into(),
        protocol,
        ports: None,
        icmp: None,
        dscp: class >> 2,
        ecn: Ecn::from_bits(class),
        ttl,
        dont_fragment: true,
        total_len,
        header_len,
        fragment,
    };
    view.with_transport(packet.get(header_len..).unwrap_or_default())
}

/// Skips the extension headers: upper protocol, its offset, and the fragment's place.
fn walk(packet: &[u8], next_header: u8) -> Result<(u8, usize, Fragment), InvalidPacket> {
    let mut next_header = next_header;
    let mut offset = HEADER_LEN;
    let mut fragment = Fragment::Whole;
    for _ in 0..=MAX_EXTENSION_HEADERS {
        let rest = packet.get(offset..).ok_or(InvalidPacket::Truncated)?;
        match next_header {
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => {
                let [next, len, ..] = *rest else { return Err(InvalidPacket::Truncated) };
                next_header = next;
                offset += (usize::from(len) + 1) * 8;
            }
            FRAGMENT => {
                let [next, _, high, low, ..] = *rest else { return Err(InvalidPacket::Truncated) };
                let field = u16::from_be_bytes([high, low]);
                next_header = next;
                offset += 8;
                if field & !7 != 0 {
                    let later = Fragment::Later(u32::from(field & !7));
                    return if offset <= packet.len() {
                        Ok((next, offset, later))
                    } else {
                        Err(InvalidPacket::Truncated)
                    };
                }
                if field & 1 != 0 {
                    fragment = Fragment::First;
                }
            }
            upper => return Ok((upper, offset, fragment)),
        }
    }
    Err(InvalidPacket::TooManyExtensionHeaders)
}
