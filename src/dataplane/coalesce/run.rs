//! Packets of one flow that have been merged so far.

use super::{
    Merged, TUN_HEADROOM,
    packet::{Flow, LAST, MAX_LEN, Packet},
};
use crate::{
    dataplane::batch::{Offload, PartialChecksum, Segmentation},
    wire::ip::checksum,
};

/// The kernel refuses a USO packet of more (of 128 since Linux 6.9).
const MAX_DATAGRAMS: u32 = 64;
/// So that a forwarding kernel never makes thousands of packets of one.
const MAX_SEGMENTS: u32 = 128;

const TCP_CHECKSUM: usize = 16;
const UDP_CHECKSUM: usize = 6;

#[derive(Debug)]
pub(super) struct Run {
    /// Headroom and packet.
    buffer: Vec<u8>,
    /// Octets in use, the headroom among them.
    len: usize,
    flow: Flow,
    first: Option<Packet>,
    packets: u32,
    tag: u32,
    next_sequence: u32,
    /// Whether every packet has the first one's identification.
    same_id: bool,
    last_flags: u8,
}

impl Run {
    pub(super) fn new() -> Self {
        Self {
            buffer: vec![0; TUN_HEADROOM + MAX_LEN],
            len: 0,
            flow: Flow::default(),
            first: None,
            packets: 0,
            tag: 0,
            next_sequence: 0,
            same_id: false,
            last_flags: 0,
        }
    }

    /// The packet, with the first one's headers.
    pub(super) fn octets(&self) -> &[u8] {
        self.buffer.get(TUN_HEADROOM..self.len).unwrap_or_default()
    }

    #[inline]
    pub(super) fn is_of(&self, packet: &Packet) -> bool {
        self.flow.is(&packet.flow)
    }

    /// Begins a run; nothing is kept of the one before.
    #[inline]
    pub(super) fn start(&mut self, packet: &Packet, octets: &[u8], tag: u32) {
        let end = TUN_HEADROOM + octets.len();
        if let Some(room) = self.buffer.get_mut(TUN_HEADROOM..end) {
            room.copy_from_slice(octets);
        }
        self.len = end;
        self.flow = packet.flow;
        self.first = Some(*packet);
        self.packets = 1;
        self.tag = tag;
        self.next_sequence = packet.sequence.wrapping_add(packet.payload as u32);
        self.last_flags = 0;
    }

    /// Whether a packet of the same flow goes on where the run ends.
    #[inline]
    pub(super) fn takes(&self, packet: &Packet, octets: &[u8], tag: u32) -> bool {
        let Some(first) = &self.first else { return false };
        let limit = if packet.udp { MAX_DATAGRAMS } else { MAX_SEGMENTS };
        packet.joins
            && tag == self.tag
            && (packet.equal[0] ^ first.equal[0]) | (packet.equal[1] ^ first.equal[1]) == 0
            && packet.payload <= first.payload
            && (packet.udp || packet.sequence == self.next_sequence)
            && self.packets < limit
            && self.len + packet.payload <= self.buffer.len()
            && self.id_follows(packet, first)
            && self.same_options(packet, octets)
    }

    #[inline]
    fn id_follows(&self, packet: &Packet, first: &Packet) -> bool {
        let step = packet.id.wrapping_sub(first.id);
        if self.packets == 1 && packet.atomic && step == 0 {
            return true;
        }
        step == if self.packets > 1 && self.same_id { 0 } else { self.packets as u16 }
    }

    /// Header lengths are equal where this is asked.
    #[inline]
    fn same_options(&self, packet: &Packet, octets: &[u8]) -> bool {
        let fixed = packet.transport + 20;
        packet.headers <= fixed
            || self.octets().get(fixed..packet.headers) == octets.get(fixed..packet.headers)
    }

    /// Adds what [`Run::takes`] agreed to. Returns whether that was the last.
    #[inline]
    pub(super) fn append(&mut self, packet: &Packet, octets: &[u8]) -> bool {
        let end = self.len + packet.payload;
        let (Some(first), Some(room), Some(payload)) =
            (&self.first, self.buffer.get_mut(self.len..end), octets.get(packet.headers..))
        else {
            return true;
        };
        if room.len() == payload.len() {
            room.copy_from_slice(payload);
        }
        if self.packets == 1 {
            self.same_id = packet.id == first.id;
        }
        self.len = end;
        self.packets += 1;
        self.next_sequence = self.next_sequence.wrapping_add(packet.payload as u32);
        self.last_flags = packet.flags & LAST;
        packet.payload < first.payload || self.last_flags != 0
    }

    /// The run as it is to be written. A single packet is as it came.
    #[inline]
    pub(super) fn finish(&mut self) -> Merged<'_> {
        let offload = match self.first.take() {
            Some(first) if self.packets > 1 => self.finish_headers(&first).unwrap_or_default(),
            _ => Offload::default(),
        };
        self.flow = Flow::default();
        Merged {
            buffer: self.buffer.get_mut(..self.len).unwrap_or_default(),
            offload,
            packets: self.packets,
            tag: self.tag,
        }
    }

    fn finish_headers(&mut self, first: &Packet) -> Option<Offload> {
        let octets = self.buffer.get_mut(TUN_HEADROOM..self.len)?;
        let total_len = octets.len();
        let upper_len = total_len - first.transport;
        let v4 = first.transport == 20;
        if v4 {
            put(octets, 2, total_len as u16)?;
            checksum::fill_ipv4_header(octets);
        } else {
            put(octets, 4, upper_len as u16)?;
        }
        let sum = first.pseudo_header(upper_len).folded();
        let upper = octets.get_mut(first.transport..)?;
        let (segmentation, offset) = if first.udp {
            put(upper, 4, upper_len as u16)?;
            (Segmentation::Udp, UDP_CHECKSUM)
        } else {
            *upper.get_mut(13)? |= self.last_flags;
            (if v4 { Segmentation::TcpV4 } else { Segmentation::TcpV6 }, TCP_CHECKSUM)
        };
        put(upper, offset, sum)?;
        Some(Offload {
            segmentation,
            segment_size: first.payload as u16,
            header_len: first.headers as u16,
            checksum: Some(PartialChecksum { start: first.transport as u16, offset: offset as u16 }),
        })
    }
}

fn put(octets: &mut [u8], at: usize, value: u16) -> Option<()> {
    *octets.get_mut(at..)?.first_chunk_mut()? = value.to_be_bytes();
    Some(())
}
