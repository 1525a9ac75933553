//! Super-packets cut into the packets that the kernel's own software segmentation would make of them.
//!
//! [`Segments`] checks a super-packet once and then writes any of its packets, headers adjusted and checksums
//! complete, wherever it is wanted. It allocates nothing and looks at no payload but to sum it. Which
//! super-packets may go out, and through which tunnel, is decided elsewhere.

use thiserror::Error;

use super::batch::{Offload, PartialChecksum, Segmentation};
use crate::wire::ip::{
    Fragment, InnerPacket, InvalidPacket, IpVersion,
    checksum::{self, Sum},
    protocol, tcp, udp,
};

const TCP_CHECKSUM: usize = 16;
const UDP_CHECKSUM: usize = 6;
const UDP_LENGTH: usize = 4;
const TCP_SEQUENCE: usize = 4;
const TCP_FLAGS: usize = 13;
const FIN_PSH: u8 = 0x09;
const CWR: u8 = 0x80;

/// Why a super-packet cannot be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SegmentError {
    /// The offload says that it is a single packet.
    #[error("no segmentation is asked for")]
    NotSegmented,
    /// The IP header is malformed.
    #[error("malformed IP packet: {0}")]
    Ip(#[from] InvalidPacket),
    /// A fragment, or octets behind the length that the IP or UDP header says.
    #[error("a fragment, or lengths that disagree")]
    Length,
    /// The IP version or the protocol is not that of the offload.
    #[error("another protocol than the offload says")]
    Protocol,
    /// The TCP or UDP header is cut off or its length wrong.
    #[error("malformed transport header")]
    Transport,
    /// The checksum to be completed is not that of the transport header.
    #[error("the partial checksum is not the transport header's")]
    Checksum,
    /// A segment size of zero.
    #[error("segment size of zero")]
    SegmentSize,
}

/// A super-packet, checked once.
#[derive(Debug, Clone, Copy)]
pub struct Segments<'a> {
    headers: &'a [u8],
    payload: &'a [u8],
    version: IpVersion,
    /// Octets before the transport header.
    transport: usize,
    udp: bool,
    segment_size: usize,
    count: usize,
    /// The first packet's identification, sequence number and octets with the flags.
    id: u16,
    sequence: u32,
    flags: [u8; 2],
    /// The sum of the IPv4 header without total length, identification and checksum.
    ip_sum: Sum,
    /// The sum of the pseudo-header without length, and of the transport header without what differs.
    transport_sum: Sum,
}

impl<'a> Segments<'a> {
    /// Checks a super-packet. `offload.header_len` is not looked at: to the kernel it is a hint only. The
    /// checksum in the transport header is not looked at either; every packet gets a whole new one.
    ///
    /// # Errors
    /// See [`SegmentError`]. A packet whose payload fits into one segment is not an error, but one segment.
    pub fn parse(octets: &'a [u8], offload: Offload) -> Result<Self, SegmentError> {
        let (udp, version) = match offload.segmentation {
            Segmentation::None => return Err(SegmentError::NotSegmented),
            Segmentation::TcpV4 => (false, Some(IpVersion::V4)),
            Segmentation::TcpV6 => (false, Some(IpVersion::V6)),
            Segmentation::Udp => (true, None),
            Segmentation::Unknown => return Err(SegmentError::Protocol),
        };
        let view = InnerPacket::parse(octets)?;
        if view.total_len != octets.len() || view.fragment != Fragment::Whole {
            return Err(SegmentError::Length);
        }
        let expected = if udp { protocol::UDP } else { protocol::TCP };
        if view.protocol != expected || version.is_some_and(|version| version != view.version) {
            return Err(SegmentError::Protocol);
        }
        let transport = view.header_len;
        let upper = octets.get(transport..).unwrap_or_default();
        let (header_len, checksum_at) = if udp {
            let field = field(upper, UDP_LENGTH).ok_or(SegmentError::Transport)?;
            if usize::from(field) != upper.len() {
                return Err(SegmentError::Length);
            }
            (udp::HEADER_LEN, UDP_CHECKSUM)
        } else {
            let words = upper.get(12).map(|octet| octet >> 4).ok_or(SegmentError::Transport)?;
            (usize::from(words) * 4, TCP_CHECKSUM)
        };
        let least = if udp { udp::HEADER_LEN } else { tcp::HEADER_LEN };
        if header_len < least || header_len > upper.len() {
            return Err(SegmentError::Transport);
        }
        let own = |partial: PartialChecksum| {
            usize::from(partial.start) == transport && usize::from(partial.offset) == checksum_at
        };
        if !offload.checksum.is_none_or(own) {
            return Err(SegmentError::Checksum);
        }
        let segment_size = usize::from(offload.segment_size);
        if segment_size == 0 {
            return Err(SegmentError::SegmentSize);
        }
        let (headers, payload) = octets.split_at(transport + header_len);
        let segments = Self {
            headers,
            payload,
            version: view.version,
            transport,
            udp,
            segment_size,
            count: payload.len().div_ceil(segment_size).max(1),
            id: field(headers, 4).unwrap_or_default(),
            sequence: sequence(upper),
            flags: field(upper, TCP_FLAGS - 1).unwrap_or_default().to_be_bytes(),
            ip_sum: ip_sum(headers, view.version, transport),
            transport_sum: transport_sum(headers, &view, udp),
        };
        Ok(segments)
    }

    /// How many packets it makes: at least one.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Octets of the packet at `index`; 0 past the last.
    pub fn packet_len(&self, index: usize) -> usize {
        if index >= self.count {
            return 0;
        }
        let rest = self.payload.len() - index * self.segment_size;
        self.headers.len() + rest.min(self.segment_size)
    }

    /// Octets of the longest packet.
    pub fn max_packet_len(&self) -> usize {
        self.packet_len(0)
    }

    /// Writes the packet at `index`, whole and valid. `out` must be as long as [`Segments::packet_len`] says;
    /// it is zeroed if it is not.
    #[inline]
    pub fn write(&self, index: usize, out: &mut [u8]) {
        if out.len() != self.packet_len(index) || self.write_checked(index, out).is_none() {
            out.fill(0);
        }
    }

    #[inline]
    fn write_checked(&self, index: usize, out: &mut [u8]) -> Option<()> {
        let first = index.checked_mul(self.segment_size)?;
        let total_len = out.len();
        let (headers, payload) = out.split_at_mut_checked(self.headers.len())?;
        let source = self.payload.get(first..first + payload.len())?;
        headers.copy_from_slice(self.headers);
        let sum = self.transport_sum.plus_sum(checksum::copy_and_sum(source, payload));
        let (ip, upper) = headers.split_at_mut_checked(self.transport)?;
        let upper_len = upper.len() + source.len();
        match self.version {
            IpVersion::V4 => {
                let total_len = total_len as u16;
                let id = self.id.wrapping_add(index as u16);
                put(ip, 2, total_len)?;
                put(ip, 4, id)?;
                put(ip, 10, self.ip_sum.plus_word(total_len).plus_word(id).finish())?;
            }
            IpVersion::V6 => put(ip, 4, (total_len - 40) as u16)?,
        }
        let sum = sum.plus_word(upper_len as u16);
        if self.udp {
            put(upper, UDP_LENGTH, upper_len as u16)?;
            let sum = sum.plus_word(upper_len as u16).finish();
            return put(upper, UDP_CHECKSUM, if sum == 0 { 0xffff } else { sum });
        }
        let header = upper.first_chunk_mut::<{ tcp::HEADER_LEN }>()?;
        let sequence = self.sequence.wrapping_add(first as u32);
        let [offset, mut flags] = self.flags;
        if index != 0 {
            flags &= !CWR;
        }
        if index + 1 != self.count {
            flags &= !FIN_PSH;
        }
        header[TCP_FLAGS] = flags;
        *header[TCP_SEQUENCE..].first_chunk_mut()? = sequence.to_be_bytes();
        let flags = u16::from_be_bytes([offset, flags]);
        let sum = sum.plus_word((sequence >> 16) as u16).plus_word(sequence as u16).plus_word(flags);
        put(header, TCP_CHECKSUM, sum.finish())
    }
}

/// Completes the checksum of a single packet that was left to offloading, as the kernel does in software.
/// Returns false, with the packet untouched, if the field does not lie behind the IP header and within the
/// packet, or if it is SCTP's, which is no Internet checksum.
#[must_use]
pub fn complete_checksum(packet: &mut [u8], partial: PartialChecksum) -> bool {
    let Ok(view) = InnerPacket::parse(packet) else { return false };
    let start = usize::from(partial.start);
    // Behind the outermost transport header it may be that of a packet inside, as with VXLAN.
    if start < view.header_len || view.protocol == protocol::SCTP || view.total_len != packet.len() {
        return false;
    }
    checksum::complete_partial(packet, start, usize::from(partial.offset))
}

fn ip_sum(headers: &[u8], version: IpVersion, len: usize) -> Sum {
    match (version, headers) {
        (IpVersion::V4, [a, b, _, _, _, _, rest @ ..]) => {
            let rest = rest.get(..len.saturating_sub(6)).unwrap_or_default();
            let (before, after) = rest.split_at_checked(4).unwrap_or_default();
            Sum::new().plus(&[*a, *b]).plus(before).plus(after.get(2..).unwrap_or_default())
        }
        _ => Sum::new(),
    }
}

fn transport_sum(headers: &[u8], view: &InnerPacket, udp: bool) -> Sum {
    let upper = headers.get(view.header_len..).unwrap_or_default();
    let sum = Sum::new().plus_pseudo_header(view.src, view.dst, view.protocol, 0);
    let part = |from, to| upper.get(from..to).unwrap_or_default();
    if udp {
        return sum.plus(part(0, UDP_LENGTH));
    }
    sum.plus(part(0, TCP_SEQUENCE))
        .plus(part(8, 12))
        .plus(part(14, TCP_CHECKSUM))
        .plus(part(TCP_CHECKSUM + 2, upper.len()))
}

fn sequence(upper: &[u8]) -> u32 {
    let field = upper.get(TCP_SEQUENCE..).and_then(|rest| rest.first_chunk());
    field.map_or(0, |field| u32::from_be_bytes(*field))
}

fn field(octets: &[u8], at: usize) -> Option<u16> {
    octets.get(at..)?.first_chunk().map(|field| u16::from_be_bytes(*field))
}

fn put(octets: &mut [u8], at: usize, value: u16) -> Option<()> {
    *octets.get_mut(at..)?.first_chunk_mut()? = value.to_be_bytes();
    Some(())
}

#[cfg(test)]
pub(in crate::dataplane) mod tests;
