//! Packets of one flow merged into super-packets by the rules of the kernel's generic receive offload.
//!
//! It changes nothing that [`Segments`](super::segment::Segments) would not undo, never reorders a flow and
//! never loses a packet. It decides by headers and checksums only; whether a packet may go to this network at
//! all was decided before.

use super::batch::Offload;

/// Octets before a packet that goes to the TUN device, for the device's own header.
pub const TUN_HEADROOM: usize = 16;

/// Which super-packets the TUN device takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offers {
    /// TCP over IPv4 and IPv6 (TSO).
    pub tcp: bool,
    /// UDP datagrams (USO).
    pub udp: bool,
}

/// What is to be written to the TUN device.
#[derive(Debug)]
pub struct Merged<'a> {
    /// [`TUN_HEADROOM`] octets that are free for use, and the packet.
    pub buffer: &'a mut [u8],
    /// What is left for the kernel to do.
    pub offload: Offload,
    /// How many packets were merged.
    pub packets: u32,
    /// The tag that all of them were pushed with.
    pub tag: u32,
}

/// Merges packets of several flows at once.
#[derive(Debug)]
pub struct Coalescer {
    _offers: Offers,
}

impl Coalescer {
    /// A coalescer that follows `flows` flows at once; all its memory is allocated here.
    pub fn new(flows: usize, offers: Offers) -> Self {
        let _ = flows;
        Self { _offers: offers }
    }

    /// Takes a packet, [`TUN_HEADROOM`] octets before it. What can be merged is kept until it is complete, no
    /// more fits, another flow needs the room, or [`Coalescer::flush`]; what cannot is emitted here, after
    /// everything of its flow that is kept. Packets with different tags are not merged.
    pub fn push(&mut self, buffer: &mut [u8], tag: u32, emit: &mut impl FnMut(Merged<'_>)) {
        emit(Merged { buffer, offload: Offload::default(), packets: 1, tag });
    }

    /// Emits everything that is kept, the oldest flow first.
    pub fn flush(&mut self, emit: &mut impl FnMut(Merged<'_>)) {
        let _ = emit;
    }
}
