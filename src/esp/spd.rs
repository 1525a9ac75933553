//! The SPD as workers search it: groups of entries in order, most of which one SPD shares with the next.
//!
//! With thousands of tunnels nearly nothing changes between two snapshots. So a copy of an [`Spd`] shares its parts
//! with the original, and [`Spd::replace`] makes new only the part in which a group lies.

use std::{net::IpAddr, sync::Arc};

use super::{
    OutboundSa, SaSelectors,
    prefix_index::{PrefixIndex, PrefixIndexBuilder},
};
use crate::policy::PacketSummary;

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

/// Groups that are copied together when one of them changes.
const PART: usize = 64;

type Group = Arc<[SpdEntry]>;

#[derive(Debug, Default)]
struct Index {
    v4: PrefixIndex<u32>,
    v6: PrefixIndex<u128>,
}

impl Index {
    fn new<'a>(groups: impl Iterator<Item = &'a Group>) -> Self {
        let mut v4 = PrefixIndexBuilder::default();
        let mut v6 = PrefixIndexBuilder::default();
        for (number, group) in groups.enumerate() {
            for selector in group.iter().flat_map(|entry| entry.selectors.remote.iter()) {
                match (selector.start(), selector.end()) {
                    (IpAddr::V4(first), IpAddr::V4(last))
                        if v4.insert_range(first.to_bits(), last.to_bits(), number) => {}
                    (IpAddr::V6(first), IpAddr::V6(last))
                        if v6.insert_range(first.to_bits(), last.to_bits(), number) => {}
                    _ => {
                        for prefix in selector.to_prefixes() {
                            match prefix.network() {
                                IpAddr::V4(network) => {
                                    v4.insert(prefix.prefix_len(), network.to_bits(), number)
                                }
                                IpAddr::V6(network) => {
                                    v6.insert(prefix.prefix_len(), network.to_bits(), number)
                                }
                            }
                        }
                    }
                }
            }
        }
        Self { v4: v4.build(), v6: v6.build() }
    }
}

/// Entries in order of precedence, in groups; a copy costs little and shares all.
#[derive(Debug, Clone, Default)]
pub struct Spd {
    parts: Vec<Arc<Vec<Group>>>,
    index: Arc<Index>,
}

impl Spd {
    /// The entries of these groups, one group after the other. The last entry of a group is to select whatever
    /// [`Spd::replace`] may put before it: then a replacement is cheap.
    pub fn new(groups: impl IntoIterator<Item = Vec<SpdEntry>>) -> Self {
        let groups: Vec<Group> = groups.into_iter().map(Group::from).collect();
        let index = Arc::new(Index::new(groups.iter()));
        let parts = groups.chunks(PART).map(|part| Arc::new(part.to_vec())).collect();
        Self { parts, index }
    }

    /// Puts other entries into a group. Their number may differ; one after the last changes nothing.
    pub fn replace(&mut self, group: usize, entries: Vec<SpdEntry>) {
        let Some(place) = self.parts.get_mut(group / PART).map(Arc::make_mut) else { return };
        let Some(place) = place.get_mut(group % PART) else { return };
        let found_by = place.last().map(|last| last.selectors.remote.clone());
        let findable = entries.last().map(|last| &last.selectors.remote) == found_by.as_ref()
            && found_by.is_some_and(|all| {
                entries
                    .iter()
                    .all(|entry| entry.selectors.remote == all || entry.selectors.remote.is_subset_of(&all))
            });
        *place = entries.into();
        if !findable {
            self.index = Arc::new(Index::new(self.groups()));
        }
    }

    fn groups(&self) -> impl Iterator<Item = &Group> {
        self.parts.iter().flat_map(|part| part.iter())
    }

    /// How many groups there are.
    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| part.len()).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// All entries in order.
    pub fn iter(&self) -> impl Iterator<Item = &SpdEntry> {
        self.groups().flat_map(|group| group.iter())
    }

    fn group(&self, number: usize) -> Option<&Group> {
        self.parts.get(number / PART)?.get(number % PART)
    }

    /// The entry with this number, as [`Spd::first`] gives it.
    pub fn get(&self, number: u64) -> Option<&SpdEntry> {
        self.group((number & u64::from(u32::MAX)) as usize)?.get((number >> 32) as usize)
    }

    /// The first entry that matches a packet of this side, with its number: that of its group, and in the upper
    /// half its place in the group.
    pub fn first(&self, packet: &PacketSummary) -> Option<(u64, &SpdEntry)> {
        let fits = |number: usize| {
            self.group(number)
                .is_some_and(|group| group.iter().any(|entry| entry.selectors.covers_outbound(packet)))
        };
        let number = match packet.dst {
            IpAddr::V4(address) => self.index.v4.first(address.to_bits(), fits),
            IpAddr::V6(address) => self.index.v6.first(address.to_bits(), fits),
        }?;
        let mut entries = self.group(number)?.iter().enumerate();
        let (place, entry) = entries.find(|(_, entry)| entry.selectors.covers_outbound(packet))?;
        Some(((place as u64) << 32 | number as u64, entry))
    }
}

#[cfg(test)]
#[path = "spd/tests.rs"]
mod tests;
