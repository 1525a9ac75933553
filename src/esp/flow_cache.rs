//! Which SPD entry the recent flows of one worker matched, so that the SPD is searched once a flow and
//! not once a packet.

use super::{DropReason, Snapshot, SpdEntry, summarize};
use crate::{
    policy::PacketSummary,
    wire::ip::{Fragment, InnerPacket},
};

const SLOTS: usize = 64;

/// A direct-mapped cache over [`Snapshot::outbound`], valid for one generation of the snapshot. Flows that
/// fall on one slot cost each other a search, nothing else.
#[derive(Debug, Clone)]
pub struct FlowCache {
    generation: Option<u64>,
    slots: Box<[Option<(PacketSummary, usize)>; SLOTS]>,
}

impl FlowCache {
    /// An empty cache.
    pub fn new() -> Self {
        Self { generation: None, slots: Box::new([None; SLOTS]) }
    }

    /// What [`Snapshot::outbound`] gives for the packet.
    ///
    /// # Errors
    /// Those of [`Snapshot::outbound`].
    pub fn lookup<'s>(
        &mut self,
        snapshot: &'s Snapshot,
        packet: &InnerPacket,
        octets: &[u8],
    ) -> Result<(usize, &'s SpdEntry), DropReason> {
        if packet.fragment != Fragment::Whole || packet.icmp.is_some() {
            return snapshot.outbound(packet, octets);
        }
        if self.generation != Some(snapshot.generation()) {
            self.slots.fill(None);
            self.generation = Some(snapshot.generation());
        }
        let summary = summarize(packet);
        let slot = slot_of(&summary);
        if let Some(Some((cached, index))) = self.slots.get(slot)
            && *cached == summary
            && let Some(entry) = snapshot.spd().get(*index)
        {
            return Ok((*index, entry));
        }
        let found = snapshot.outbound(packet, octets)?;
        if let Some(slot) = self.slots.get_mut(slot) {
            *slot = Some((summary, found.0));
        }
        Ok(found)
    }
}

impl Default for FlowCache {
    fn default() -> Self {
        Self::new()
    }
}

fn slot_of(packet: &PacketSummary) -> usize {
    let fold = |address| match address {
        std::net::IpAddr::V4(address) => u64::from(address.to_bits()),
        std::net::IpAddr::V6(address) => {
            let bits = address.to_bits();
            (bits >> 64) as u64 ^ (bits as u64).rotate_left(29)
        }
    };
    let ports = u64::from(packet.src_port.unwrap_or(0)) << 24
        | u64::from(packet.dst_port.unwrap_or(0)) << 8
        | u64::from(packet.protocol);
    let mixed = (fold(packet.src).rotate_left(32) ^ fold(packet.dst))
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(ports)
        .wrapping_mul(0xd6e8_feb8_6659_fd93);
    (mixed >> 58) as usize
}
