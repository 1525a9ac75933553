//! What workers look packets up in: the SAD by SPI and the SPD in order. A snapshot never changes; the
//! engine makes a new one over the same SAs and swaps it whole, so no counter and no window is lost.

use std::{collections::HashMap, hash::Hash, net::IpAddr, sync::Arc};

use super::{
    DropReason, InboundSa, OutboundSa, SaSelectors,
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
    inbound: HashMap<u32, Arc<InboundSa>>,
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
        let mut v4 = PrefixIndex::default();
        let mut v6 = PrefixIndex::default();
        for (index, entry) in spd.iter().enumerate() {
            for prefix in entry.selectors.remote.to_prefixes() {
                match prefix.network() {
                    IpAddr::V4(network) => v4.insert(prefix.prefix_len(), network.to_bits(), index),
                    IpAddr::V6(network) => v6.insert(prefix.prefix_len(), network.to_bits(), index),
                }
            }
        }
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

/// Entry numbers by remote prefix: one table a prefix length, so that the cost grows with the number of
/// different lengths and not with the number of entries.
#[derive(Debug)]
struct PrefixIndex<A>(Vec<(u8, HashMap<A, Vec<usize>>)>);

impl<A> Default for PrefixIndex<A> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

trait Address: Copy + Eq + Hash {
    fn masked(self, prefix_len: u8) -> Self;
}

impl Address for u32 {
    fn masked(self, prefix_len: u8) -> Self {
        self & Self::MAX.checked_shl(32 - u32::from(prefix_len)).unwrap_or(0)
    }
}

impl Address for u128 {
    fn masked(self, prefix_len: u8) -> Self {
        self & Self::MAX.checked_shl(128 - u32::from(prefix_len)).unwrap_or(0)
    }
}

impl<A: Address> PrefixIndex<A> {
    fn insert(&mut self, prefix_len: u8, network: A, entry: usize) {
        let at = match self.0.binary_search_by_key(&prefix_len, |(len, _)| *len) {
            Ok(at) => at,
            Err(at) => {
                self.0.insert(at, (prefix_len, HashMap::new()));
                at
            }
        };
        let Some((_, table)) = self.0.get_mut(at) else { return };
        let entries = table.entry(network.masked(prefix_len)).or_default();
        if entries.last() != Some(&entry) {
            entries.push(entry);
        }
    }

    /// The lowest entry number under a prefix of `address` that `fits`.
    fn first(&self, address: A, fits: impl Fn(usize) -> bool) -> Option<usize> {
        let mut best = None;
        for (prefix_len, table) in &self.0 {
            let Some(entries) = table.get(&address.masked(*prefix_len)) else { continue };
            let found = entries
                .iter()
                .copied()
                .take_while(|entry| best.is_none_or(|best| *entry < best))
                .find(|entry| fits(*entry));
            best = found.or(best);
        }
        best
    }
}

#[cfg(test)]
#[path = "snapshot/tests.rs"]
mod tests;
