//! The packets inside the tunnel: checked looks at IPv4, IPv6 and transport headers, small edits with
//! the checksums kept right, and the ICMP errors that a tunnel endpoint owes their senders.
//!
//! No function allocates but those that build ICMP errors. Payloads are not looked at, and IPv4 header
//! checksums are not verified on parsing: the kernel does so where it hands packets over.

pub mod checksum;
pub mod icmp;
mod ipv4;
mod ipv6;
pub mod sighting;
pub mod tcp;
pub mod udp;

use std::net::IpAddr;

pub use sighting::Sighting;
use thiserror::Error;

/// Numbers of the protocols that are looked into.
pub mod protocol {
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// DCCP.
    pub const DCCP: u8 = 33;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
    /// SCTP.
    pub const SCTP: u8 = 132;
    /// UDP-Lite.
    pub const UDP_LITE: u8 = 136;
}

/// The IP version of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IpVersion {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// The ECN field ([RFC 3168](https://www.rfc-editor.org/rfc/rfc3168#section-5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Ecn {
    /// Not ECN-capable.
    NotEct = 0,
    /// ECN-capable, ECT(1).
    Ect1 = 1,
    /// ECN-capable, ECT(0).
    Ect0 = 2,
    /// Congestion experienced.
    Ce = 3,
}

impl Ecn {
    /// The two low bits of a TOS or traffic class octet.
    pub fn from_bits(octet: u8) -> Self {
        match octet & 3 {
            0 => Self::NotEct,
            1 => Self::Ect1,
            2 => Self::Ect0,
            _ => Self::Ce,
        }
    }
}

/// Which part of a datagram a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fragment {
    /// All of it.
    Whole,
    /// The first fragment, with the transport header.
    First,
    /// A later fragment, at this octet offset; ports are not in it.
    Later(u32),
}

/// Why an inner packet is malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum InvalidPacket {
    /// Empty, or neither IPv4 nor IPv6.
    #[error("not an IP packet")]
    Version,
    /// The header, or an extension header, reaches past the end.
    #[error("truncated header")]
    Truncated,
    /// A header length below the minimum.
    #[error("bad header length")]
    HeaderLength,
    /// The packet's length field says more than there is, or less than its header.
    #[error("bad total length")]
    TotalLength,
    /// Ports, or ICMP type and code, are cut off.
    #[error("truncated transport header")]
    TruncatedTransport,
    /// More IPv6 extension headers than are followed.
    #[error("too many extension headers")]
    TooManyExtensionHeaders,
}

/// What the headers of an inner packet say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InnerPacket {
    /// IP version.
    pub version: IpVersion,
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// The upper protocol, IPv6 extension headers skipped. In a later fragment of IPv6 it is what the
    /// fragment header names.
    pub protocol: u8,
    /// Source and destination port of TCP, UDP, SCTP, DCCP and UDP-Lite; `None` in later fragments.
    pub ports: Option<(u16, u16)>,
    /// ICMP or ICMPv6 type and code; `None` in later fragments.
    pub icmp: Option<(u8, u8)>,
    /// Differentiated services code point, 6 bits.
    pub dscp: u8,
    /// ECN field.
    pub ecn: Ecn,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// IPv4's don't fragment; true for IPv6, whose routers never fragment.
    pub dont_fragment: bool,
    /// Octets of the packet; the slice may have more (traffic flow confidentiality padding).
    pub total_len: usize,
    /// Octets before the upper protocol's header.
    pub header_len: usize,
    /// Which part of a datagram it is.
    pub fragment: Fragment,
}

impl InnerPacket {
    /// Parses the packet at the start of `octets`.
    ///
    /// # Errors
    /// See [`InvalidPacket`].
    #[inline]
    pub fn parse(octets: &[u8]) -> Result<Self, InvalidPacket> {
        match octets.first().map(|first| first >> 4) {
            Some(4) => ipv4::parse(octets),
            Some(6) => ipv6::parse(octets),
            _ => Err(InvalidPacket::Version),
        }
    }

    /// Reads ports or ICMP type from the upper protocol's octets, where the fragment holds them.
    #[inline]
    fn with_transport(mut self, upper: &[u8]) -> Result<Self, InvalidPacket> {
        if matches!(self.fragment, Fragment::Later(_)) {
            return Ok(self);
        }
        match self.protocol {
            protocol::TCP | protocol::UDP | protocol::SCTP | protocol::DCCP | protocol::UDP_LITE => {
                let [a, b, c, d, ..] = *upper else { return Err(InvalidPacket::TruncatedTransport) };
                self.ports = Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])));
            }
            protocol::ICMP | protocol::ICMPV6 => {
                let [kind, code, ..] = *upper else { return Err(InvalidPacket::TruncatedTransport) };
                self.icmp = Some((kind, code));
            }
            _ => {}
        }
        Ok(self)
    }
}

/// Sets the DSCP (6 bits) of the packet, IPv4 header checksum included. Does nothing to what is not IP.
pub fn set_dscp(packet: &mut [u8], dscp: u8) {
    edit_traffic_class(packet, |class| dscp << 2 | class & 3);
}

/// Sets the ECN field of the packet, IPv4 header checksum included. Does nothing to what is not IP.
pub fn set_ecn(packet: &mut [u8], ecn: Ecn) {
    edit_traffic_class(packet, |class| class & !3 | ecn as u8);
}

/// The TOS or traffic class octet, if it is an IP packet.
pub fn traffic_class(packet: &[u8]) -> Option<u8> {
    match packet {
        [first, tos, ..] if first >> 4 == 4 => Some(*tos),
        [first, second, ..] if first >> 4 == 6 => Some(first << 4 | second >> 4),
        _ => None,
    }
}

fn edit_traffic_class(packet: &mut [u8], edit: impl Fn(u8) -> u8) {
    let Some(class) = traffic_class(packet) else { return };
    match packet {
        [first, tos, ..] if *first >> 4 == 4 => {
            let (first, new) = (*first, edit(class));
            *tos = new;
            if let Some(field) = packet.get_mut(10..).and_then(|rest| rest.first_chunk_mut::<2>()) {
                let old = u16::from_be_bytes([first, class]);
                let sum = checksum::update(u16::from_be_bytes(*field), old, u16::from_be_bytes([first, new]));
                *field = sum.to_be_bytes();
            }
        }
        [first, second, ..] => {
            let new = edit(class);
            *first = *first & 0xf0 | new >> 4;
            *second = *second & 0x0f | new << 4;
        }
        _ => {}
    }
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
