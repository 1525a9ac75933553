//! One traffic selector: a protocol, a port range and an address range
//! ([RFC 7296 3.13.1](https://www.rfc-editor.org/rfc/rfc7296#section-3.13.1)).
//!
//! A selector is a product of three sets, so its algebra is that of boxes. It says nothing of direction:
//! which end it describes is known by the set it stands in.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::packet::{ICMP, ICMPV6, MOBILITY, TCP, UDP};

/// A range of ports, or of ICMP type × 256 + code.
///
/// [`PortRange::ANY`] includes packets whose ports cannot be seen, every other range but
/// [`PortRange::OPAQUE`] does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PortRange {
    /// First port.
    pub start: u16,
    /// Last port, included.
    pub end: u16,
}

/// Where unseen ports stand in the algebra: one past the last port.
const OPAQUE_POSITION: u32 = 0x1_0000;

impl PortRange {
    /// Every port, and packets without visible ports.
    pub const ANY: Self = Self { start: 0, end: u16::MAX };
    /// Only packets whose ports cannot be seen (start 65535, end 0 on the wire).
    pub const OPAQUE: Self = Self { start: u16::MAX, end: 0 };

    /// The range between two ports in whichever order, never [`PortRange::OPAQUE`].
    pub fn from_bounds(one: u16, other: u16) -> Self {
        Self { start: one.min(other), end: one.max(other) }
    }

    /// Whether it restricts nothing.
    pub fn is_any(self) -> bool {
        self == Self::ANY
    }

    /// Whether it admits only packets without visible ports.
    pub fn is_opaque(self) -> bool {
        self == Self::OPAQUE
    }

    /// Whether a packet with this port (`None`: not visible) is inside.
    pub fn contains(self, port: Option<u16>) -> bool {
        match port {
            None => self.is_any() || self.is_opaque(),
            Some(port) => self.start <= port && port <= self.end,
        }
    }

    pub(crate) fn span(self) -> (u32, u32) {
        if self.is_opaque() {
            (OPAQUE_POSITION, OPAQUE_POSITION)
        } else if self.is_any() {
            (0, OPAQUE_POSITION)
        } else {
            (u32::from(self.start), u32::from(self.end))
        }
    }

    fn intersect(self, other: Self) -> Option<Self> {
        if self.is_any() {
            return Some(other);
        }
        if other.is_any() || self == other {
            return Some(self);
        }
        if self.is_opaque() || other.is_opaque() {
            return None;
        }
        let (start, end) = (self.start.max(other.start), self.end.min(other.end));
        (start <= end).then_some(Self { start, end })
    }
}

/// Why something is not a traffic selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SelectorError {
    /// The address part is no address, prefix or range.
    #[error("`{0}` is not an address, a prefix such as 10.0.0.0/8, or a range such as 10.0.0.1-10.0.0.9")]
    Address(String),
    /// A prefix with bits set behind its length.
    #[error("`{written}` has bits set behind its prefix length; write `{meant}`")]
    HostBits {
        /// As written.
        written: String,
        /// The network it lies in.
        meant: String,
    },
    /// The last address is before the first, or of another family.
    #[error("the range {0}-{1} does not run from a lower to a higher address of one family")]
    Range(IpAddr, IpAddr),
    /// The protocol part is unknown.
    #[error("`{0}` is not a protocol; write tcp, udp, icmp, icmpv6, sctp, or a number from 1 to 255")]
    Protocol(String),
    /// The port part is unknown.
    #[error("`{0}` is not a port, a range such as 8000-8099, `opaque`, or for ICMP `type` or `type/code`")]
    Port(String),
    /// Ports without a protocol that has them.
    #[error("ports need a protocol that has them, such as [tcp/443]; protocol {0} has none")]
    PortsWithoutProtocol(u8),
    /// ICMP over the wrong family.
    #[error("{0} does not run over the address family of {1}")]
    Family(&'static str, IpAddr),
    /// The bracket is not closed, or something follows it.
    #[error(
        "`{0}`: write the protocol and ports in one pair of brackets at the end, such as 10.0.0.0/8[tcp/443]"
    )]
    Brackets(String),
}

/// One traffic selector. The first and last address are of one family and in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TrafficSelector {
    protocol: u8,
    ports: PortRange,
    start: IpAddr,
    end: IpAddr,
}

pub(crate) fn to_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

pub(crate) fn from_bits(like: IpAddr, bits: u128) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(bits).unwrap_or(u32::MAX))),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(bits)),
    }
}

impl TrafficSelector {
    /// A selector of `protocol` (0: any), `ports` and the addresses from `start` to `end`.
    ///
    /// # Errors
    /// [`SelectorError::Range`] if the addresses are of two families or out of order.
    pub fn new(protocol: u8, ports: PortRange, start: IpAddr, end: IpAddr) -> Result<Self, SelectorError> {
        if start.is_ipv4() != end.is_ipv4() || start > end {
            return Err(SelectorError::Range(start, end));
        }
        Ok(Self { protocol, ports, start, end })
    }

    /// Every protocol and port of a prefix.
    pub fn from_prefix(prefix: IpNet) -> Self {
        Self { protocol: 0, ports: PortRange::ANY, start: prefix.network(), end: prefix.broadcast() }
    }

    /// One host, with a protocol (0: any) and ports.
    pub fn of_host(address: IpAddr, protocol: u8, ports: PortRange) -> Self {
        Self { protocol, ports, start: address, end: address }
    }

    /// IP protocol number, 0 for any.
    pub fn protocol(&self) -> u8 {
        self.protocol
    }

    /// Ports, or ICMP type × 256 + code.
    pub fn ports(&self) -> PortRange {
        self.ports
    }

    /// First address.
    pub fn start(&self) -> IpAddr {
        self.start
    }

    /// Last address, included.
    pub fn end(&self) -> IpAddr {
        self.end
    }

    /// Whether it is of IPv4.
    pub fn is_ipv4(&self) -> bool {
        self.start.is_ipv4()
    }

    /// Whether it admits every address of its family.
    pub fn is_every_address(&self) -> bool {
        let last = if self.is_ipv4() { u128::from(u32::MAX) } else { u128::MAX };
        to_bits(self.start) == 0 && to_bits(self.end) == last
    }

    /// Whether one end of a packet is inside: its address, protocol and port (`None`: not visible).
    pub fn contains(&self, address: IpAddr, protocol: u8, port: Option<u16>) -> bool {
        self.contains_address(address)
            && (self.protocol == 0 || self.protocol == protocol)
            && self.ports.contains(port)
    }

    /// Whether an address is inside, whatever the protocol.
    pub fn contains_address(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.is_ipv4() && self.start <= address && address <= self.end
    }

    /// What both admit.
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        if self.is_ipv4() != other.is_ipv4() {
            return None;
        }
        let protocol = match (self.protocol, other.protocol) {
            (0, other) => other,
            (own, 0) => own,
            (own, other) if own == other => own,
            _ => return None,
        };
        let ports = self.ports.intersect(other.ports)?;
        let (start, end) = (self.start.max(other.start), self.end.min(other.end));
        (start <= end).then_some(Self { protocol, ports, start, end })
    }

    /// Whether `other` admits everything this admits.
    pub fn is_subset_of(&self, other: &Self) -> bool {
        self.intersect(other) == Some(*self)
    }

    /// The fewest prefixes that cover exactly the addresses from start to end, in order.
    pub fn to_prefixes(&self) -> Vec<IpNet> {
        let width: u32 = if self.is_ipv4() { 32 } else { 128 };
        let (mut next, last) = (to_bits(self.start), to_bits(self.end));
        let mut prefixes = Vec::new();
        loop {
            let aligned = next.trailing_zeros().min(width);
            let room = match (last - next).checked_add(1) {
                None => width,
                Some(count) => count.ilog2(),
            };
            let host_bits = aligned.min(room).min(width);
            let length = u8::try_from(width - host_bits).unwrap_or(0);
            let net = match from_bits(self.start, next) {
                IpAddr::V4(address) => Ipv4Net::new(address, length).map(IpNet::V4),
                IpAddr::V6(address) => Ipv6Net::new(address, length).map(IpNet::V6),
            };
            prefixes.extend(net);
            let step = 1u128.checked_shl(host_bits);
            match step.and_then(|step| next.checked_add(step)) {
                Some(following) if following <= last => next = following,
                _ => return prefixes,
            }
        }
    }

    /// Reads `10.0.0.0/8`, `10.0.0.1`, `10.0.0.1-10.0.0.9` or `fd00::/8`, each optionally followed by
    /// `[protocol]` or `[protocol/port]`: `[tcp/443]`, `[udp/8000-8099]`, `[icmp/8/0]`, `[sctp]`, `[47]`.
    ///
    /// # Errors
    /// A [`SelectorError`] that names the part it did not understand.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let text = text.trim();
        let (addresses, rest) = match text.split_once('[') {
            None => (text, None),
            Some((addresses, rest)) => {
                let inner = rest.strip_suffix(']').filter(|inner| !inner.contains(['[', ']']));
                (addresses.trim_end(), Some(inner.ok_or_else(|| SelectorError::Brackets(text.to_owned()))?))
            }
        };
        let (start, end) = parse_addresses(addresses)?;
        let (protocol, ports) = match rest {
            None => (0, PortRange::ANY),
            Some(rest) => parse_next_layer(rest, start)?,
        };
        Self::new(protocol, ports, start, end)
    }
}

fn parse_addresses(text: &str) -> Result<(IpAddr, IpAddr), SelectorError> {
    let unknown = || SelectorError::Address(text.to_owned());
    if let Some((start, end)) = text.split_once('-') {
        let start: IpAddr = start.trim().parse().map_err(|_| unknown())?;
        let end: IpAddr = end.trim().parse().map_err(|_| unknown())?;
        return Ok((start, end));
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok((address, address));
    }
    let net: IpNet = text.parse().map_err(|_| unknown())?;
    if net.addr() != net.network() {
        return Err(SelectorError::HostBits { written: text.to_owned(), meant: net.trunc().to_string() });
    }
    Ok((net.network(), net.broadcast()))
}

fn parse_next_layer(text: &str, address: IpAddr) -> Result<(u8, PortRange), SelectorError> {
    let (name, ports) = match text.split_once('/') {
        None => (text.trim(), None),
        Some((name, ports)) => (name.trim(), Some(ports.trim())),
    };
    let protocol = match name.to_ascii_lowercase().as_str() {
        "any" => 0,
        "icmp" => ICMP,
        "icmpv6" | "icmp6" | "ipv6-icmp" => ICMPV6,
        "tcp" => TCP,
        "udp" => UDP,
        "gre" => 47,
        "esp" => 50,
        "sctp" => 132,
        "udplite" => 136,
        number => match number.parse::<u8>() {
            Ok(number) if number != 0 => number,
            _ => return Err(SelectorError::Protocol(name.to_owned())),
        },
    };
    if protocol == ICMP && !address.is_ipv4() {
        return Err(SelectorError::Family("icmp", address));
    }
    if protocol == ICMPV6 && address.is_ipv4() {
        return Err(SelectorError::Family("icmpv6", address));
    }
    let Some(ports) = ports.filter(|ports| !matches!(*ports, "any" | "*")) else {
        return Ok((protocol, PortRange::ANY));
    };
    if ports.eq_ignore_ascii_case("opaque") {
        return Ok((protocol, PortRange::OPAQUE));
    }
    let unknown = || SelectorError::Port(ports.to_owned());
    match protocol {
        TCP | UDP | 132 | 136 => {
            let (start, end) = ports.split_once('-').unwrap_or((ports, ports));
            let start: u16 = start.trim().parse().map_err(|_| unknown())?;
            let end: u16 = end.trim().parse().map_err(|_| unknown())?;
            if start > end {
                return Err(unknown());
            }
            Ok((protocol, PortRange { start, end }))
        }
        ICMP | ICMPV6 => {
            let (kind, code) = match ports.split_once('/') {
                None => (ports, None),
                Some((kind, code)) => (kind, Some(code)),
            };
            let kind: u8 = kind.trim().parse().map_err(|_| unknown())?;
            let base = u16::from(kind) << 8;
            match code {
                None => Ok((protocol, PortRange { start: base, end: base | 0xff })),
                Some(code) => {
                    let code: u8 = code.trim().parse().map_err(|_| unknown())?;
                    let value = base | u16::from(code);
                    Ok((protocol, PortRange { start: value, end: value }))
                }
            }
        }
        MOBILITY => {
            let kind: u8 = ports.parse().map_err(|_| unknown())?;
            let base = u16::from(kind) << 8;
            Ok((protocol, PortRange { start: base, end: base | 0xff }))
        }
        other => Err(SelectorError::PortsWithoutProtocol(other)),
    }
}

impl std::str::FromStr for TrafficSelector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl From<IpNet> for TrafficSelector {
    fn from(prefix: IpNet) -> Self {
        Self::from_prefix(prefix)
    }
}

/// As [`TrafficSelector::parse`] reads it: a prefix where the range is one.
impl fmt::Display for TrafficSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_prefixes().as_slice() {
            [one] => write!(f, "{one}")?,
            _ => write!(f, "{}-{}", self.start, self.end)?,
        }
        if self.protocol == 0 && self.ports.is_any() {
            return Ok(());
        }
        match self.protocol {
            0 => f.write_str("[any")?,
            ICMP => f.write_str("[icmp")?,
            TCP => f.write_str("[tcp")?,
            UDP => f.write_str("[udp")?,
            ICMPV6 => f.write_str("[icmpv6")?,
            132 => f.write_str("[sctp")?,
            other => write!(f, "[{other}")?,
        }
        let PortRange { start, end } = self.ports;
        if self.ports.is_any() {
            return f.write_str("]");
        }
        if self.ports.is_opaque() {
            return f.write_str("/opaque]");
        }
        match self.protocol {
            ICMP | ICMPV6 | MOBILITY if start & 0xff == 0 && end == start | 0xff => {
                write!(f, "/{}]", start >> 8)
            }
            ICMP | ICMPV6 if start == end => write!(f, "/{}/{}]", start >> 8, start & 0xff),
            _ if start == end => write!(f, "/{start}]"),
            _ => write!(f, "/{start}-{end}]"),
        }
    }
}

#[cfg(test)]
mod tests;
