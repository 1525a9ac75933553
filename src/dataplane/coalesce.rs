//! Packets of one flow merged into super-packets by the rules of the kernel's generic receive offload.
//!
//! [`Segments`](super::segment::Segments) would make the same packets of them again, but for the
//! identification of IPv4 packets that can never be fragmented and all have the same one, which means nothing
//! ([RFC 6864 section 4.1](https://www.rfc-editor.org/rfc/rfc6864#section-4.1)). No flow is reordered and no
//! packet lost. Headers and checksums alone decide; whether a packet may go to this network at all was decided
//! before.

mod packet;
mod run;

use self::{
    packet::{Packet, same_addresses},
    run::Run,
};
use super::{
    batch::Offload,
    device::{Offers, TUN_HEADROOM},
};

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
    offers: Offers,
    runs: Vec<Run>,
    /// Indices of the runs that hold packets, the oldest first.
    held: Vec<usize>,
    free: Vec<usize>,
}

impl Coalescer {
    /// A coalescer that follows `flows` flows at once, at least one; all its memory is allocated here.
    pub fn new(flows: usize, offers: Offers) -> Self {
        let flows = flows.max(1);
        Self {
            offers,
            runs: (0..flows).map(|_| Run::new()).collect(),
            held: Vec::with_capacity(flows),
            free: (0..flows).rev().collect(),
        }
    }

    /// Takes a packet, [`TUN_HEADROOM`] octets before it. What can be merged is kept until its run is complete,
    /// another flow needs the room, or [`Coalescer::flush`]; what cannot is emitted here, after everything of
    /// its flow that is kept. A fragment, a packet with IPv4 options or IPv6 extension headers, and one of
    /// another protocol counts to every flow between its addresses. Packets with different tags are not merged.
    #[inline]
    pub fn push(&mut self, buffer: &mut [u8], tag: u32, emit: &mut impl FnMut(Merged<'_>)) {
        let octets = buffer.get(TUN_HEADROOM..).unwrap_or_default();
        let Some(packet) = Packet::parse(octets) else {
            self.emit_between(octets, emit);
            return emit(Merged { buffer, offload: Offload::default(), packets: 1, tag });
        };
        if let Some(at) =
            self.held.iter().position(|run| self.runs.get(*run).is_some_and(|r| r.is_of(&packet)))
        {
            let run = self.held.get(at).and_then(|run| self.runs.get_mut(*run));
            if let Some(run) = run
                && run.takes(&packet, octets, tag)
                && packet.is_intact(octets)
            {
                if run.append(&packet, octets) {
                    self.emit_held(at, emit);
                }
                return;
            }
            self.emit_held(at, emit);
        }
        let offered = if packet.udp { self.offers.udp } else { self.offers.tcp };
        if !offered || !packet.starts || !packet.is_intact(octets) {
            return emit(Merged { buffer, offload: Offload::default(), packets: 1, tag });
        }
        if self.free.is_empty() {
            self.emit_held(0, emit);
        }
        if let Some(free) = self.free.pop()
            && let Some(run) = self.runs.get_mut(free)
        {
            run.start(&packet, octets, tag);
            self.held.push(free);
        }
    }

    /// Emits everything that is kept, the oldest run first.
    pub fn flush(&mut self, emit: &mut impl FnMut(Merged<'_>)) {
        for index in self.held.drain(..) {
            if let Some(run) = self.runs.get_mut(index) {
                emit(run.finish());
            }
            self.free.push(index);
        }
    }

    fn emit_held(&mut self, at: usize, emit: &mut impl FnMut(Merged<'_>)) {
        if at >= self.held.len() {
            return;
        }
        let index = self.held.remove(at);
        if let Some(run) = self.runs.get_mut(index) {
            emit(run.finish());
        }
        self.free.push(index);
    }

    #[cold]
    fn emit_between(&mut self, octets: &[u8], emit: &mut impl FnMut(Merged<'_>)) {
        while let Some(at) = self
            .held
            .iter()
            .position(|run| self.runs.get(*run).is_some_and(|run| same_addresses(run.octets(), octets)))
        {
            self.emit_held(at, emit);
        }
    }
}

#[cfg(test)]
mod tests;
