//! What the SPD and the selectors look at in a packet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{
    policy::PacketSummary,
    wire::ip::{Fragment, InnerPacket, protocol},
};

/// The selectors of a packet.
#[inline]
pub fn summarize(packet: &InnerPacket) -> PacketSummary {
    let (src_port, dst_port) = match (packet.ports, packet.icmp) {
        (Some((source, destination)), _) => (Some(source), Some(destination)),
        (None, Some((kind, code))) => (Some(u16::from_be_bytes([kind, code])), None),
        (None, None) => (None, None),
    };
    PacketSummary { src: packet.src, dst: packet.dst, protocol: packet.protocol, src_port, dst_port }
}

pub(crate) fn is_later_fragment(packet: &InnerPacket) -> bool {
    matches!(packet.fragment, Fragment::Later(_))
}

/// For an ICMP error: the packet that it quotes, turned round, so that it goes the error's own way. `None`
/// for everything else, and for an error that is not addressed to the quoted packet's sender. `octets` is
/// the whole packet.
pub(crate) fn answered_by_error(packet: &InnerPacket, octets: &[u8]) -> Option<PacketSummary> {
    let (kind, _) = packet.icmp?;
    let is_error = match packet.protocol {
        protocol::ICMP => matches!(kind, 3 | 4 | 5 | 11 | 12),
        protocol::ICMPV6 => kind < 128,
        _ => false,
    };
    if !is_error {
        return None;
    }
    // Eight octets of ICMP header come before the quotation.
    let quoted = quotation(octets.get(packet.header_len.checked_add(8)?..packet.total_len)?)?;
    (quoted.src == packet.dst).then(|| quoted.reversed())
}

/// Reads the head of a packet that may be cut off anywhere behind its ports.
fn quotation(octets: &[u8]) -> Option<PacketSummary> {
    let (src, dst, protocol, transport): (IpAddr, IpAddr, u8, Option<usize>) = match octets.first()? >> 4 {
        4 => {
            let later_fragment = u16::from_be_bytes(array(octets, 6)?) & 0x1fff != 0;
            let header_len = usize::from(octets.first()? & 0xf) * 4;
            (
                Ipv4Addr::from(array::<4>(octets, 12)?).into(),
                Ipv4Addr::from(array::<4>(octets, 16)?).into(),
                *octets.get(9)?,
                (!later_fragment).then_some(header_len),
            )
        }
        6 => {
            let (protocol, transport) = skip_extension_headers(octets)?;
            (
                Ipv6Addr::from(array::<16>(octets, 8)?).into(),
                Ipv6Addr::from(array::<16>(octets, 24)?).into(),
                protocol,
                transport,
            )
        }
        _ => return None,
    };
    let port = |at: usize| Some(u16::from_be_bytes(array(octets, at)?));
    let (src_port, dst_port) = match (transport, protocol) {
        (Some(at), protocol::TCP | protocol::UDP | protocol::SCTP | protocol::DCCP | protocol::UDP_LITE) => {
            (Some(port(at)?), Some(port(at.checked_add(2)?)?))
        }
        (Some(at), protocol::ICMP | protocol::ICMPV6) => (Some(port(at)?), None),
        _ => (None, None),
    };
    Some(PacketSummary { src, dst, protocol, src_port, dst_port })
}

fn array<const N: usize>(octets: &[u8], at: usize) -> Option<[u8; N]> {
    octets.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// The upper-layer protocol of an IPv6 packet and where it starts; `None` there for a later fragment.
fn skip_extension_headers(octets: &[u8]) -> Option<(u8, Option<usize>)> {
    let mut next = *octets.get(6)?;
    let mut at = 40usize;
    for _ in 0..8 {
        match next {
            0 | 43 | 60 => {
                next = *octets.get(at)?;
                at += (usize::from(*octets.get(at + 1)?) + 1) * 8;
            }
            44 => {
                next = *octets.get(at)?;
                if u16::from_be_bytes(array(octets, at + 2)?) & 0xfff8 != 0 {
                    return Some((next, None));
                }
                at += 8;
            }
            _ => return Some((next, Some(at))),
        }
    }
    None
}
