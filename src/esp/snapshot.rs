//! What workers look packets up in: the SAD by SPI and the SPD in order. A snapshot never changes; the
//! engine makes a new one over the same SAs and swaps it whole, so no counter and no window is lost.

use std::sync::Arc;

use super::{
    DropReason, InboundSa,
    spd::{Spd, SpdEntry},
    spi_table::SpiTable,
    summary::{answered_by_error, summarize},
};
use crate::wire::ip::InnerPacket;

/// SAD and SPD at one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    generation: u64,
    inbound: SpiTable,
    spd: Spd,
}

impl Snapshot {
    /// A snapshot of these SAs and, in order of precedence, these entries. Of two SAs with one SPI the
    /// later one stays.
    pub fn new(
        generation: u64,
        inbound: impl IntoIterator<Item = Arc<InboundSa>>,
        spd: Vec<SpdEntry>,
    ) -> Self {
        let spd = Spd::new(spd.into_iter().map(|entry| vec![entry]));
        Self::of(generation, inbound.into_iter().collect(), spd)
    }

    /// A snapshot of a SAD and an SPD, which share what did not change with those of other snapshots.
    pub fn of(generation: u64, inbound: SpiTable, spd: Spd) -> Self {
        Self { generation, inbound, spd }
    }

    /// Counts up with every snapshot of one engine.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The SA with this SPI of ours.
    pub fn inbound(&self, spi: u32) -> Option<&Arc<InboundSa>> {
        self.inbound.get(spi)
    }

    /// Every inbound SA, in no order.
    pub fn inbound_sas(&self) -> impl Iterator<Item = &Arc<InboundSa>> {
        self.inbound.iter()
    }

    /// The SPD.
    pub fn spd(&self) -> &Spd {
        &self.spd
    }

    /// The first SPD entry that matches a packet of this side, with its number. `octets` is the whole
    /// packet, in which an ICMP error quotes the one it complains about.
    ///
    /// # Errors
    /// [`DropReason::NoPolicy`] if none matches.
    pub fn outbound(&self, packet: &InnerPacket, octets: &[u8]) -> Result<(u64, &SpdEntry), DropReason> {
        self.spd
            .first(&summarize(packet))
            .or_else(|| self.spd.first(&answered_by_error(packet, octets)?))
            .ok_or(DropReason::NoPolicy)
    }
}

#[cfg(test)]
#[path = "snapshot/tests.rs"]
mod tests;
