//! What the coalescer must know of a packet: its flow, and everything that must be equal within a run.

use crate::wire::ip::{checksum::Sum, protocol, tcp, udp};

/// The longest super-packet.
pub(super) const MAX_LEN: usize = 65_535;

const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;

const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
const ECE: u8 = 0x40;

/// Flags that end a run.
pub(super) const LAST: u8 = FIN | PSH;

/// A whole TCP or UDP packet without IPv4 options and IPv6 extension headers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packet {
    /// Protocol, ports and addresses.
    pub(super) flow: Flow,
    pub(super) udp: bool,
    /// Everything else of the headers that must be equal, but for TCP options.
    pub(super) equal: [u64; 2],
    /// Octets before the transport header.
    pub(super) transport: usize,
    /// Octets before the payload.
    pub(super) headers: usize,
    pub(super) payload: usize,
    /// IPv4's identification; 0 for IPv6.
    pub(super) id: u16,
    /// Whether the identification may be that of the packet before.
    pub(super) atomic: bool,
    /// TCP's sequence number; 0 for UDP.
    pub(super) sequence: u32,
    pub(super) flags: u8,
    /// Whether it may join a run.
    pub(super) joins: bool,
    /// Whether it may be the first of a run.
    pub(super) starts: bool,
}

/// A flow in one direction.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Flow {
    /// IP version, protocol and ports: the part that differs most.
    ports: u64,
    /// In this machine's order of octets.
    addresses: [u64; 4],
}

impl Flow {
    /// Word by word: as arrays they would go through memory.
    #[inline]
    pub(super) fn is(&self, other: &Self) -> bool {
        let ([a, b, c, d], [e, f, g, h]) = (self.addresses, other.addresses);
        self.ports == other.ports && (a ^ e) | (b ^ f) | (c ^ g) | (d ^ h) == 0
    }
}

impl Packet {
    /// `None` for what belongs to no flow alone. Inlined, as are its parts, so that the fields need not go
    /// through memory: reading them back in larger pieces than they were written in takes longer than all
    /// the rest.
    #[inline(always)]
    pub(super) fn parse(octets: &[u8]) -> Option<Self> {
        let (version, protocol, transport, equal, id, atomic, addresses, sound) = match octets.first()? {
            0x45 => {
                let [_, tos, l0, l1, i0, i1, f0, f1, ttl, protocol, _, _, rest @ ..] =
                    octets.first_chunk::<IPV4_HEADER>()?;
                if usize::from(u16::from_be_bytes([*l0, *l1])) != octets.len() || f0 & 0x3f != 0 || *f1 != 0 {
                    return None;
                }
                let header = octets.first_chunk::<IPV4_HEADER>()?;
                let sound = f0 & 0x80 == 0 && Sum::new().plus(header).folded() == 0xffff;
                let equal = u64::from(u32::from_be_bytes([0, *tos, *f0, *ttl]));
                let id = u16::from_be_bytes([*i0, *i1]);
                let addresses = [u64::from_ne_bytes(*rest), 0, 0, 0];
                (4, *protocol, IPV4_HEADER, equal, id, f0 & 0x40 != 0, addresses, sound)
            }
            first if first >> 4 == 6 => {
                let header = octets.first_chunk::<IPV6_HEADER>()?;
                let [v0, v1, v2, v3, l0, l1, next, hops, rest @ ..] = header;
                if usize::from(u16::from_be_bytes([*l0, *l1])) + IPV6_HEADER != octets.len() {
                    return None;
                }
                let equal = u64::from(u32::from_be_bytes([*v0, *v1, *v2, *v3])) << 8 | u64::from(*hops);
                let (words, _) = rest.as_chunks::<8>();
                let [a, b, c, d] = *words.first_chunk::<4>()?;
                (6, *next, IPV6_HEADER, equal, 0, true, [a, b, c, d].map(u64::from_ne_bytes), true)
            }
            _ => return None,
        };
        let upper = octets.get(transport..)?;
        let [p0, p1, p2, p3, ..] = *upper else { return None };
        let ports = u64::from(u32::from_be_bytes([p0, p1, p2, p3])) << 16 | version << 8;
        let packet = Self {
            flow: Flow { ports: ports | u64::from(protocol), addresses },
            udp: protocol == protocol::UDP,
            equal: [equal, 0],
            transport,
            headers: transport + udp::HEADER_LEN,
            payload: 0,
            id,
            atomic,
            sequence: 0,
            flags: 0,
            joins: sound && octets.len() <= MAX_LEN,
            starts: false,
        };
        match protocol {
            protocol::TCP => packet.with_tcp(upper),
            protocol::UDP => packet.with_udp(upper),
            _ => None,
        }
    }

    #[inline(always)]
    fn with_tcp(mut self, upper: &[u8]) -> Option<Self> {
        let [_, _, _, _, s0, s1, s2, s3, a0, a1, a2, a3, offset, flags, w0, w1, c0, c1, u0, u1] =
            *upper.first_chunk::<{ tcp::HEADER_LEN }>()?;
        let header_len = usize::from(offset >> 4) * 4;
        if header_len < tcp::HEADER_LEN || header_len > upper.len() {
            return None;
        }
        self.headers = self.transport + header_len;
        self.payload = upper.len() - header_len;
        self.sequence = u32::from_be_bytes([s0, s1, s2, s3]);
        self.flags = flags;
        self.equal[0] |= u64::from(u16::from_be_bytes([u0, u1])) << 48;
        self.equal[1] = u64::from_be_bytes([a0, a1, a2, a3, offset, flags & !LAST, w0, w1]);
        // A checksum of 0xffff is right where 0 is, which is what it would become.
        self.joins &= flags & !(LAST | ECE) == ACK && self.payload != 0 && [c0, c1] != [0xff; 2];
        self.starts = self.joins && flags & LAST == 0;
        Some(self)
    }

    #[inline(always)]
    fn with_udp(mut self, upper: &[u8]) -> Option<Self> {
        let [_, _, _, _, l0, l1, c0, c1] = *upper.first_chunk::<{ udp::HEADER_LEN }>()?;
        self.payload = upper.len() - udp::HEADER_LEN;
        self.joins &= usize::from(u16::from_be_bytes([l0, l1])) == upper.len()
            && self.payload != 0
            && [c0, c1] != [0; 2];
        self.starts = self.joins;
        Some(self)
    }

    /// Whether the transport checksum is right.
    #[inline]
    pub(super) fn is_intact(&self, octets: &[u8]) -> bool {
        let upper = octets.get(self.transport..).unwrap_or_default();
        self.pseudo_header(upper.len()).plus(upper).folded() == 0xffff
    }

    /// The sum of the pseudo-header of `len` octets.
    #[inline]
    pub(super) fn pseudo_header(&self, len: usize) -> Sum {
        let [a, b, c, d] = self.flow.addresses;
        let protocol = if self.udp { protocol::UDP } else { protocol::TCP };
        Sum::new().plus_words([a, b, c, d]).plus_word(u16::from(protocol)).plus_word(len as u16)
    }
}

/// Whether two packets go from the same address to the same address.
pub(super) fn same_addresses(a: &[u8], b: &[u8]) -> bool {
    matches!((addresses(a), addresses(b)), (Some(a), Some(b)) if a == b)
}

fn addresses(octets: &[u8]) -> Option<&[u8]> {
    match octets.first()? >> 4 {
        4 => octets.get(12..20),
        6 => octets.get(8..40),
        _ => None,
    }
}
