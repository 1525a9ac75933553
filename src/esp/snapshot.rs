//! What workers look packets up in: the SAD by SPI and the SPD in order. A snapshot never changes; the
//! engine makes a new one over the same SAs and swaps it whole, so no counter and no window is lost.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use super::{
    DropReason, InboundSa, OutboundSa, SaSelectors,
    prefix_index::{KeyHash, PrefixIndex, PrefixIndexBuilder},
    summary::{answered_by_error, summarize},
};
use crate::{policy::PacketSummary, wire::ip::InnerPacket};

/// What the SPD says about matching packets of this side.
#[derive(Debug, Clone)]
pub enum SpdAction {
    /// They leave through this SA only.
    Protect {
        /// The SA; `None` while there is none.
        outbound: Option<Arc<OutboundSa>>,
        /// Whether the first packet raises the tunnel and may wait for it.
        trap: bool,
    },
    /// They are none of the tunnel's business.
    Bypass,
    /// They go nowhere.
    Discard,
}

/// One entry of the SPD.
#[derive(Debug, Clone)]
pub struct SpdEntry {
    /// The peer's name in the configuration.
    pub peer: Arc<str>,
    /// The Child SA's name in the configuration.
    pub child: Arc<str>,
    /// Which packets it is about.
    pub selectors: SaSelectors,
    /// What happens to them.
    pub action: SpdAction,
}

/// SAD and SPD at one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    generation: u64,
    inbound: HashMap<u32, Arc<InboundSa>, KeyHash>,
    spd: Vec<SpdEntry>,
    v4: PrefixIndex<u32>,
    v6: PrefixIndex<u128>,
}

impl Snapshot {
    /// A snapshot of these SAs and, in order of precedence, these entries. Of two SAs with one SPI the
    /// later one stays.
    pub fn new(
        generation: u64,
        inbound: impl IntoIterator<Item = Arc<InboundSa>>,
        spd: Vec<SpdEntry>,
    ) -> Self {
        let mut v4 = PrefixIndexBuilder::with_capacity(spd.len());
        let mut v6 = PrefixIndexBuilder::default();
        for (index, entry) in spd.iter().enumerate() {
            for selector in entry.selectors.remote.iter() {
                match (selector.start(), selector.end()) {
                    (IpAddr::V4(first), IpAddr::V4(last))
                        if v4.insert_range(first.to_bits(), last.to_bits(), index) => {}
                    (IpAddr::V6(first), IpAddr::V6(last))
                        if v6.insert_range(first.to_bits(), last.to_bits(), index) => {}
                    _ => {
                        for prefix in selector.to_prefixes() {
                            match prefix.network() {
                                IpAddr::V4(network) => {
                                    v4.insert(prefix.prefix_len(), network.to_bits(), index)
                                }
                                IpAddr::V6(network) => {
                                    v6.insert(prefix.prefix_len(), network.to_bits(), index)
                                }
                            }
                        }
                    }
                }
            }
        }
        let (v4, v6) = (v4.build(), v6.build());
        let inbound = inbound.into_iter().map(|sa| (sa.spi(), sa)).collect();
        Self { generation, inbound, spd, v4, v6 }
    }

    /// Counts up with every snapshot of one engine.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The SA with this SPI of ours.
    pub fn inbound(&self, spi: u32) -> Option<&Arc<InboundSa>> {
        self.inbound.get(&spi)
    }

    /// Every inbound SA, in no order.
    pub fn inbound_sas(&self) -> impl Iterator<Item = &Arc<InboundSa>> {
        self.inbound.values()
    }

    /// The SPD in order.
    pub fn spd(&self) -> &[SpdEntry] {
        &self.spd
    }

    /// The first SPD entry that matches a packet of this side, with its index. `octets` is the whole
    /// packet, in which an ICMP error quotes the one it complains about.
    ///
    /// # Errors
    /// [`DropReason::NoPolicy`] if none matches.
    pub fn outbound(&self, packet: &InnerPacket, octets: &[u8]) -> Result<(usize, &SpdEntry), DropReason> {
        self.lookup(&summarize(packet))
            .or_else(|| self.lookup(&answered_by_error(packet, octets)?))
            .ok_or(DropReason::NoPolicy)
    }

    fn lookup(&self, packet: &PacketSummary) -> Option<(usize, &SpdEntry)> {
        let fits =
            |index: usize| self.spd.get(index).is_some_and(|entry| entry.selectors.covers_outbound(packet));
        let index = match packet.dst {
            IpAddr::V4(address) => self.v4.first(address.to_bits(), fits),
            IpAddr::V6(address) => self.v6.first(address.to_bits(), fits),
        }?;
        Some((index, self.spd.get(index)?))
    }
}

#[cfg(test)]
#[path = "snapshot/tests.rs"]
mod tests;
