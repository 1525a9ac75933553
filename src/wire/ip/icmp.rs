//! ICMP errors about inner packets, to be sent back to their senders
//! ([RFC 792](https://www.rfc-editor.org/rfc/rfc792), [RFC 4443](https://www.rfc-editor.org/rfc/rfc4443)).
//!
//! Nothing is built that [RFC 1122 section 3.2.2](https://www.rfc-editor.org/rfc/rfc1122#section-3.2.2)
//! or [RFC 4443 section 2.4](https://www.rfc-editor.org/rfc/rfc4443#section-2.4) forbids: no error about
//! an ICMP error, a later fragment, a packet to a multicast or broadcast address or from an address that
//! names no single host. Limiting the rate is the caller's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::checksum::{Sum, checksum};
use super::{Fragment, InnerPacket, ipv4, ipv6, protocol};

/// The most octets of an IPv4 error ([RFC 1812 section 4.3.2.3](https://www.rfc-editor.org/rfc/rfc1812#section-4.3.2.3)).
const MAX_V4_LEN: usize = 576;
/// The most octets of an IPv6 error: the minimum MTU.
const MAX_V6_LEN: usize = 1280;
const TTL: u8 = 64;
/// Network control, as routers send errors ([RFC 1812 section 4.3.2.5](https://www.rfc-editor.org/rfc/rfc1812#section-4.3.2.5)).
const TOS: u8 = 0xc0;

/// What is wrong with the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IcmpError {
    /// It is larger than this MTU, in octets: "fragmentation needed" or "packet too big".
    TooBig(u16),
    /// It cannot be delivered.
    Unreachable(Unreachable),
    /// Its time to live ran out on the way.
    TimeExceeded,
}

/// Why a destination is unreachable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreachable {
    /// There is no route.
    Network,
    /// The host does not answer.
    Host,
    /// Policy forbids it.
    AdministrativelyProhibited,
    /// Nothing listens at the port.
    Port,
}

/// "Fragmentation needed and DF set" with the next hop's MTU
/// ([RFC 1191](https://www.rfc-editor.org/rfc/rfc1191#section-4)) about the IPv4 packet `offender`.
pub fn fragmentation_needed(offender: &[u8], from: Ipv4Addr, mtu: u16) -> Option<Vec<u8>> {
    error(offender, from.into(), IcmpError::TooBig(mtu))
}

/// "Packet too big" with the next hop's MTU about the IPv6 packet `offender`.
pub fn packet_too_big(offender: &[u8], from: Ipv6Addr, mtu: u16) -> Option<Vec<u8>> {
    error(offender, from.into(), IcmpError::TooBig(mtu))
}

/// "Destination unreachable" about `offender`.
pub fn destination_unreachable(offender: &[u8], from: IpAddr, why: Unreachable) -> Option<Vec<u8>> {
    error(offender, from, IcmpError::Unreachable(why))
}

/// "Time exceeded in transit" about `offender`.
pub fn time_exceeded(offender: &[u8], from: IpAddr) -> Option<Vec<u8>> {
    error(offender, from, IcmpError::TimeExceeded)
}

/// A whole IP packet from `from` to the sender of `offender` that tells it of `error`; `None` where
/// none may be sent, or `from` is of the other IP version.
pub fn error(offender: &[u8], from: IpAddr, error: IcmpError) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    write_error(offender, from, error, &mut out).then_some(out)
}

/// [`error()`] into `out`, which is cleared first; returns whether there is something to send.
pub fn write_error(offender: &[u8], from: IpAddr, error: IcmpError, out: &mut Vec<u8>) -> bool {
    out.clear();
    let Ok(view) = InnerPacket::parse(offender) else { return false };
    let Some(quoted) = offender.get(..view.total_len) else { return false };
    if !may_be_told(&view, error) {
        return false;
    }
    match (from, view.src) {
        (IpAddr::V4(from), IpAddr::V4(to)) => write_v4(quoted, from, to, error, out),
        (IpAddr::V6(from), IpAddr::V6(to)) => write_v6(quoted, from, to, error, out),
        _ => return false,
    }
    true
}

fn may_be_told(view: &InnerPacket, error: IcmpError) -> bool {
    if matches!(view.fragment, Fragment::Later(_)) {
        return false;
    }
    match (view.src, view.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let about_error =
                view.protocol == protocol::ICMP && matches!(view.icmp, Some((3 | 4 | 5 | 11 | 12, _)));
            let one_host = src.octets()[0] != 0 && src.octets()[0] < 224 && !src.is_loopback();
            one_host && !about_error && !dst.is_multicast() && !dst.is_broadcast()
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let about_error =
                view.protocol == protocol::ICMPV6 && matches!(view.icmp, Some((0..=127 | 137, _)));
            let one_host = !src.is_unspecified() && !src.is_multicast() && !src.is_loopback();
            // Path MTU discovery works for multicast too (RFC 4443 section 2.4 (e.3)).
            let multicast = dst.is_multicast() && !matches!(error, IcmpError::TooBig(_));
            one_host && !about_error && !multicast
        }
        _ => false,
    }
}

fn write_v4(offender: &[u8], from: Ipv4Addr, to: Ipv4Addr, error: IcmpError, out: &mut Vec<u8>) {
    let (kind, code, mtu) = match error {
        IcmpError::TooBig(mtu) => (3, 4, mtu),
        IcmpError::Unreachable(Unreachable::Network) => (3, 0, 0),
        IcmpError::Unreachable(Unreachable::Host) => (3, 1, 0),
        IcmpError::Unreachable(Unreachable::Port) => (3, 3, 0),
        IcmpError::Unreachable(Unreachable::AdministrativelyProhibited) => (3, 13, 0),
        IcmpError::TimeExceeded => (11, 0, 0),
    };
    let quoted = quote(offender, MAX_V4_LEN - ipv4::HEADER_LEN - 8);
    let total_len = (ipv4::HEADER_LEN + 8 + quoted.len()) as u16;
    let mut header = [0; ipv4::HEADER_LEN];
    let [first, tos, len_0, len_1, _, _, _, _, ttl, proto, sum_0, sum_1, addresses @ ..] = &mut header;
    (*first, *tos, *ttl, *proto) = (0x45, TOS, TTL, protocol::ICMP);
    [*len_0, *len_1] = total_len.to_be_bytes();
    let (source, destination) = addresses.split_at_mut(4);
    source.copy_from_slice(&from.octets());
    destination.copy_from_slice(&to.octets());
    (*sum_0, *sum_1) = (0, 0);
    let [sum_0, sum_1] = checksum(&header).to_be_bytes();
    (header[10], header[11]) = (sum_0, sum_1);
    let [mtu_0, mtu_1] = mtu.to_be_bytes();
    let mut icmp = [kind, code, 0, 0, 0, 0, mtu_0, mtu_1];
    [icmp[2], icmp[3]] = Sum::new().plus(&icmp).plus(quoted).finish().to_be_bytes();
    out.extend_from_slice(&header);
    out.extend_from_slice(&icmp);
    out.extend_from_slice(quoted);
}

fn write_v6(offender: &[u8], from: Ipv6Addr, to: Ipv6Addr, error: IcmpError, out: &mut Vec<u8>) {
    let (kind, code, mtu) = match error {
        IcmpError::TooBig(mtu) => (2, 0, u32::from(mtu)),
        IcmpError::Unreachable(Unreachable::Network) => (1, 0, 0),
        IcmpError::Unreachable(Unreachable::AdministrativelyProhibited) => (1, 1, 0),
        IcmpError::Unreachable(Unreachable::Host) => (1, 3, 0),
        IcmpError::Unreachable(Unreachable::Port) => (1, 4, 0),
        IcmpError::TimeExceeded => (3, 0, 0),
    };
    let quoted = quote(offender, MAX_V6_LEN - ipv6::HEADER_LEN - 8);
    let len = 8 + quoted.len();
    let [mtu_0, mtu_1, mtu_2, mtu_3] = mtu.to_be_bytes();
    let mut icmp = [kind, code, 0, 0, mtu_0, mtu_1, mtu_2, mtu_3];
    let pseudo = Sum::new().plus_pseudo_header(from.into(), to.into(), protocol::ICMPV6, len as u32);
    [icmp[2], icmp[3]] = pseudo.plus(&icmp).plus(quoted).finish().to_be_bytes();
    out.extend_from_slice(&[0x60, 0, 0, 0]);
    out.extend_from_slice(&(len as u16).to_be_bytes());
    out.extend_from_slice(&[protocol::ICMPV6, TTL]);
    out.extend_from_slice(&from.octets());
    out.extend_from_slice(&to.octets());
    out.extend_from_slice(&icmp);
    out.extend_from_slice(quoted);
}

fn quote(offender: &[u8], max: usize) -> &[u8] {
    offender.get(..max).unwrap_or(offender)
}
