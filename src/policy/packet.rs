//! What policy knows of one packet: addresses, protocol and ports.

use std::fmt;
use std::net::IpAddr;

use super::selector::{PortRange, TrafficSelector};

/// ICMP, whose type and code stand where other protocols have ports.
pub const ICMP: u8 = 1;
/// TCP.
pub const TCP: u8 = 6;
/// UDP.
pub const UDP: u8 = 17;
/// ICMP for IPv6.
pub const ICMPV6: u8 = 58;
/// The IPv6 mobility header, which has one selector (its type) as well.
pub const MOBILITY: u8 = 135;

/// The selectors of one packet.
///
/// For ICMP, ICMPv6 and mobility headers `src_port` is type × 256 + code and `dst_port` is `None`. A port is
/// also `None` where the packet does not show it (a later fragment, an encrypted header, a protocol without
/// ports): the standard's [`OPAQUE`](https://www.rfc-editor.org/rfc/rfc4301#section-4.4.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PacketSummary {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// IP protocol number of the next layer.
    pub protocol: u8,
    /// Source port, or ICMP type × 256 + code.
    pub src_port: Option<u16>,
    /// Destination port.
    pub dst_port: Option<u16>,
}

/// Whether `protocol` has one selector, which only its sender's side is compared with
/// ([RFC 4301 4.4.1.1](https://www.rfc-editor.org/rfc/rfc4301#section-4.4.1.1)).
pub(crate) fn has_one_selector(protocol: u8) -> bool {
    matches!(protocol, ICMP | ICMPV6 | MOBILITY)
}

impl PacketSummary {
    /// The packet as a pair of traffic selectors (source, destination): what an initiator puts first in TSi
    /// and TSr so that the responder's narrowing includes it
    /// ([RFC 7296 2.9](https://www.rfc-editor.org/rfc/rfc7296#section-2.9)).
    pub fn to_selectors(&self) -> (TrafficSelector, TrafficSelector) {
        let side = |address, port: Option<u16>| {
            let ports = port.map_or(PortRange::ANY, |port| PortRange::from_bounds(port, port));
            TrafficSelector::of_host(address, self.protocol, ports)
        };
        (side(self.src, self.src_port), side(self.dst, self.dst_port))
    }

    /// The same flow in the other direction.
    pub fn reversed(&self) -> Self {
        let one = has_one_selector(self.protocol);
        Self {
            src: self.dst,
            dst: self.src,
            protocol: self.protocol,
            src_port: if one { self.src_port } else { self.dst_port },
            dst_port: if one { None } else { self.src_port },
        }
    }
}

impl fmt::Display for PacketSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.protocol {
            ICMP => "icmp".to_owned(),
            ICMPV6 => "icmpv6".to_owned(),
            TCP => "tcp".to_owned(),
            UDP => "udp".to_owned(),
            other => format!("protocol {other}"),
        };
        let side = |address: IpAddr, port: Option<u16>| match (address, port) {
            (address, None) => address.to_string(),
            (IpAddr::V4(address), Some(port)) => format!("{address}:{port}"),
            (IpAddr::V6(address), Some(port)) => format!("[{address}]:{port}"),
        };
        if has_one_selector(self.protocol) {
            write!(f, "{name}")?;
            if let Some(selector) = self.src_port {
                write!(f, " type {} code {}", selector >> 8, selector & 0xff)?;
            }
            return write!(f, " {} → {}", self.src, self.dst);
        }
        write!(f, "{name} {} → {}", side(self.src, self.src_port), side(self.dst, self.dst_port))
    }
}
