//! What the headers of a packet say about whether a connection comes to be: SYN, SYN-ACK and RST, UDP datagrams, and
//! ICMP errors with the packet they quote.
//!
//! [`Sighting::of`] copies a few fields and allocates nothing. Whether a UDP datagram is the first of its flow it cannot
//! know; who calls it sees to that.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Instant,
};

use super::{Fragment, InnerPacket, protocol, tcp};

const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;
const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
const OPTION_TIMESTAMPS: u8 = 8;
const ICMP_HEADER: usize = 8;

/// The way a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Way {
    /// It came out of the tunnel, from the peer's network.
    FromTunnel,
    /// It goes into the tunnel, from this side's network.
    IntoTunnel,
}

/// A packet that was seen, by the headers that matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sighting {
    /// When.
    pub at: Instant,
    /// Which way it went.
    pub way: Way,
    /// Whether it was dropped because no policy entry admits it.
    pub refused: bool,
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// What it is.
    pub what: Sighted,
}

/// What was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sighted {
    /// A SYN, SYN-ACK or RST.
    Tcp(TcpSighting),
    /// A UDP datagram, or the first fragment of one.
    Udp {
        /// Source port.
        src_port: u16,
        /// Destination port.
        dst_port: u16,
    },
    /// An ICMP error about a packet that went the other way.
    Error(ErrorSighting),
}

/// A TCP segment without payload of interest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpSighting {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Which of the three it is.
    pub kind: Segment,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgment number; zero where the ACK flag is not set.
    pub acknowledgment: u32,
    /// TSval and TSecr, where it carries the timestamps option
    /// ([RFC 7323](https://www.rfc-editor.org/rfc/rfc7323#section-3.2)).
    pub timestamps: Option<(u32, u32)>,
}

/// A segment that begins or ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Segment {
    /// SYN.
    Syn,
    /// SYN with ACK.
    SynAck,
    /// RST, with or without ACK.
    Reset,
}

/// An ICMP or ICMPv6 error: its sender is the packet's source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorSighting {
    /// What it says.
    pub kind: ErrorKind,
    /// Type and code as they are in the packet.
    pub icmp: (u8, u8),
    /// The packet it is about.
    pub quoted: Quoted,
}

/// What an ICMP error says, for both IP versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Nobody listens at the port.
    PortUnreachable,
    /// There is no route, or the host does not answer.
    HostUnreachable,
    /// A filter forbids it.
    Prohibited,
    /// The time to live ran out on the way.
    TimeExceeded,
}

/// The start of the packet that an ICMP error quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quoted {
    /// Its source address.
    pub src: IpAddr,
    /// Its destination address.
    pub dst: IpAddr,
    /// Its upper protocol.
    pub protocol: u8,
    /// Source and destination port of TCP and UDP.
    pub ports: Option<(u16, u16)>,
    /// TCP's sequence number.
    pub sequence: Option<u32>,
}

impl Quoted {
    /// Source and destination with their ports, if it has ports.
    #[must_use]
    pub fn ends(&self) -> Option<(SocketAddr, SocketAddr)> {
        let (src, dst) = self.ports?;
        Some((SocketAddr::new(self.src, src), SocketAddr::new(self.dst, dst)))
    }
}

impl Sighting {
    /// What there is to see in a packet; `None` in most packets: TCP without SYN and RST, pings, later fragments.
    ///
    /// `view` is [`InnerPacket::parse`] of `octets`.
    #[must_use]
    pub fn of(at: Instant, way: Way, octets: &[u8], view: &InnerPacket) -> Option<Self> {
        if matches!(view.fragment, Fragment::Later(_)) {
            return None;
        }
        let what = match view.protocol {
            protocol::TCP => Sighted::Tcp(TcpSighting::of(octets.get(view.header_len..view.total_len)?)?),
            protocol::UDP => {
                let (src_port, dst_port) = view.ports?;
                Sighted::Udp { src_port, dst_port }
            }
            protocol::ICMP | protocol::ICMPV6 => {
                Sighted::Error(ErrorSighting::of(octets.get(view.header_len..view.total_len)?, view)?)
            }
            _ => return None,
        };
        Some(Self { at, way, refused: false, src: view.src, dst: view.dst, ttl: view.ttl, what })
    }

    /// The same, as of a packet that policy did not admit.
    #[must_use]
    pub fn refused(self) -> Self {
        Self { refused: true, ..self }
    }

    /// Source and destination with their ports, of TCP and UDP.
    #[must_use]
    pub fn ends(&self) -> Option<(SocketAddr, SocketAddr)> {
        let (src, dst) = match self.what {
            Sighted::Tcp(TcpSighting { src_port, dst_port, .. }) | Sighted::Udp { src_port, dst_port } => {
                (src_port, dst_port)
            }
            Sighted::Error(_) => return None,
        };
        Some((SocketAddr::new(self.src, src), SocketAddr::new(self.dst, dst)))
    }
}

impl TcpSighting {
    fn of(segment: &[u8]) -> Option<Self> {
        let header = segment.first_chunk::<{ tcp::HEADER_LEN }>()?;
        let [s0, s1, d0, d1, q0, q1, q2, q3, a0, a1, a2, a3, offset, flags, ..] = *header;
        let kind = match flags & (SYN | RST | ACK) {
            flags if flags & RST != 0 => Segment::Reset,
            flags if flags & SYN == 0 => return None,
            flags if flags & ACK != 0 => Segment::SynAck,
            _ => Segment::Syn,
        };
        let acknowledgment = if flags & ACK != 0 { u32::from_be_bytes([a0, a1, a2, a3]) } else { 0 };
        let options = segment.get(tcp::HEADER_LEN..usize::from(offset >> 4) * 4).unwrap_or_default();
        Some(Self {
            src_port: u16::from_be_bytes([s0, s1]),
            dst_port: u16::from_be_bytes([d0, d1]),
            kind,
            sequence: u32::from_be_bytes([q0, q1, q2, q3]),
            acknowledgment,
            timestamps: timestamps(options),
        })
    }
}

/// TSval and TSecr in the options of a TCP header.
fn timestamps(mut options: &[u8]) -> Option<(u32, u32)> {
    loop {
        options = match *options {
            [] | [OPTION_END, ..] => return None,
            [OPTION_NOP, ref rest @ ..] => rest,
            [OPTION_TIMESTAMPS, 10, v0, v1, v2, v3, e0, e1, e2, e3, ..] => {
                return Some((u32::from_be_bytes([v0, v1, v2, v3]), u32::from_be_bytes([e0, e1, e2, e3])));
            }
            [_, len, ..] if len >= 2 => options.get(usize::from(len)..)?,
            _ => return None,
        };
    }
}

impl ErrorSighting {
    fn of(message: &[u8], view: &InnerPacket) -> Option<Self> {
        let icmp = view.icmp?;
        let kind = match (view.protocol, icmp) {
            (protocol::ICMP, (3, 3)) | (protocol::ICMPV6, (1, 4)) => ErrorKind::PortUnreachable,
            (protocol::ICMP, (3, 9 | 10 | 13)) | (protocol::ICMPV6, (1, 1 | 5 | 6)) => ErrorKind::Prohibited,
            // Fragmentation needed is no failure.
            (protocol::ICMP, (3, code)) if code != 4 => ErrorKind::HostUnreachable,
            (protocol::ICMPV6, (1, _)) => ErrorKind::HostUnreachable,
            (protocol::ICMP, (11, 0)) | (protocol::ICMPV6, (3, 0)) => ErrorKind::TimeExceeded,
            _ => return None,
        };
        Some(Self { kind, icmp, quoted: Quoted::of(message.get(ICMP_HEADER..)?)? })
    }
}

impl Quoted {
    /// Reads a quoted packet, which may be cut off behind the first octets of its payload.
    fn of(octets: &[u8]) -> Option<Self> {
        let (src, dst, protocol, upper): (IpAddr, IpAddr, _, _) = match octets.first()? >> 4 {
            4 => {
                let header = octets.first_chunk::<20>()?;
                let [first, _, _, _, _, _, f0, f1, _, protocol, _, _, s0, s1, s2, s3, d0, d1, d2, d3] =
                    *header;
                let later = u16::from_be_bytes([f0, f1]) & 0x1fff != 0;
                let upper = octets.get(usize::from(first & 0x0f).max(5) * 4..).filter(|_| !later);
                let (src, dst) = (Ipv4Addr::new(s0, s1, s2, s3), Ipv4Addr::new(d0, d1, d2, d3));
                (src.into(), dst.into(), protocol, upper)
            }
            6 => {
                let header = octets.first_chunk::<40>()?;
                let (src, dst) = header.get(8..)?.split_first_chunk::<16>()?;
                let dst = dst.first_chunk::<16>()?;
                (Ipv6Addr::from(*src).into(), Ipv6Addr::from(*dst).into(), *header.get(6)?, octets.get(40..))
            }
            _ => return None,
        };
        let upper = upper.unwrap_or_default();
        let has_ports = matches!(protocol, protocol::TCP | protocol::UDP);
        let word = |at: usize| upper.get(at..)?.first_chunk::<2>().map(|octets| u16::from_be_bytes(*octets));
        let ports = if has_ports { word(0).zip(word(2)) } else { None };
        let sequence = match (protocol, upper.get(4..).and_then(|rest| rest.first_chunk::<4>())) {
            (protocol::TCP, Some(octets)) => Some(u32::from_be_bytes(*octets)),
            _ => None,
        };
        Some(Self { src, dst, protocol, ports, sequence })
    }
}

#[cfg(test)]
#[path = "sighting/tests.rs"]
mod tests;
