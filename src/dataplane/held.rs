//! Packets that wait for the tunnel they raise. A few, for a short time: enough for the first packet of
//! a connection not to be lost.

use std::{collections::VecDeque, sync::Arc};

/// Packets in all.
const MAX_PACKETS: usize = 64;
/// Packets for one Child SA.
const MAX_PACKETS_OF_ONE: usize = 16;

/// A packet that waits.
#[derive(Debug)]
pub(super) struct HeldPacket {
    /// The IP packet.
    pub(super) octets: Vec<u8>,
    /// Since when, in milliseconds.
    pub(super) since: u64,
    /// Peer and child it waits for.
    pub(super) waits_for: (Arc<str>, Arc<str>),
}

/// All that wait, the oldest first.
#[derive(Debug, Default)]
pub(super) struct HeldPackets(VecDeque<HeldPacket>);

impl HeldPackets {
    /// Keeps a packet; gives it up and returns false if there is no room.
    pub(super) fn hold(&mut self, packet: HeldPacket) -> bool {
        let same = self.0.iter().filter(|held| held.waits_for == packet.waits_for).count();
        let room = self.0.len() < MAX_PACKETS && same < MAX_PACKETS_OF_ONE;
        if room {
            self.0.push_back(packet);
        }
        room
    }

    /// Takes everything out, to be tried again.
    pub(super) fn take(&mut self) -> VecDeque<HeldPacket> {
        std::mem::take(&mut self.0)
    }

    /// Takes out the oldest packet if it waited since `since` or longer.
    pub(super) fn take_expired(&mut self, since: u64) -> Option<HeldPacket> {
        self.0.pop_front_if(|packet| packet.since <= since)
    }

    /// Whether none waits.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
