//! All IKE SAs, and an index for each question that is asked of all of them: whose deadline is next, which
//! belong to a peer, which has a Child SA. An answer costs the same with one SA and with ten thousand.
//!
//! An SA that is handled is out of the table meanwhile; what the indices say of it is brought up to date when it
//! is put back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::ike::config::PeerName;
use crate::ike::event::{ChildSaId, IkeSaId};
use crate::ike::sa::IkeSa;
use crate::ike::timer::WakeReason;

/// What the indices hold of one SA.
#[derive(Debug, Default, PartialEq, Eq)]
struct Facets {
    deadline: Option<(Instant, WakeReason)>,
    peer: Option<PeerName>,
    /// Its Child SAs with the peer's SPIs.
    children: Vec<(ChildSaId, u32)>,
    /// Whether it is to be closed as a duplicate.
    duplicate: bool,
}

impl Facets {
    fn of(sa: &IkeSa) -> Self {
        let established = sa.established();
        Self {
            deadline: sa.deadline(),
            peer: sa.core.peer.as_ref().map(|peer| peer.name.clone()),
            children: established
                .map(|established| {
                    established.children.values().map(|child| (child.id, child.outbound_spi)).collect()
                })
                .unwrap_or_default(),
            duplicate: established
                .is_some_and(|established| established.timers.get(WakeReason::Duplicate).is_some()),
        }
    }
}

#[derive(Debug, Default)]
struct Slot {
    /// `None` while it is handled.
    sa: Option<IkeSa>,
    facets: Facets,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct SaTable {
    slots: BTreeMap<IkeSaId, Slot>,
    deadlines: BTreeSet<(Instant, WakeReason, IkeSaId)>,
    of_peer: BTreeMap<PeerName, BTreeSet<IkeSaId>>,
    owners: BTreeMap<ChildSaId, IkeSaId>,
    outbound_spis: BTreeSet<(u32, ChildSaId)>,
    duplicates: BTreeSet<IkeSaId>,
}

impl SaTable {
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn contains(&self, id: IkeSaId) -> bool {
        self.get(id).is_some()
    }

    pub(super) fn get(&self, id: IkeSaId) -> Option<&IkeSa> {
        self.slots.get(&id)?.sa.as_ref()
    }

    /// Takes an SA out to handle it. It comes back by [`Self::put`] or is forgotten by [`Self::remove`].
    pub(super) fn take(&mut self, id: IkeSaId) -> Option<IkeSa> {
        self.slots.get_mut(&id)?.sa.take()
    }

    /// Adds an SA, or puts one back.
    pub(super) fn put(&mut self, sa: IkeSa) {
        let id = sa.core.id;
        self.index(id, Facets::of(&sa));
        self.slots.entry(id).or_default().sa = Some(sa);
    }

    /// Changes an SA.
    pub(super) fn edit<T>(&mut self, id: IkeSaId, change: impl FnOnce(&mut IkeSa) -> T) -> Option<T> {
        let mut sa = self.take(id)?;
        let result = change(&mut sa);
        self.put(sa);
        Some(result)
    }

    /// Forgets an SA.
    pub(super) fn remove(&mut self, id: IkeSaId) {
        self.index(id, Facets::default());
        self.slots.remove(&id);
    }

    /// All of them, oldest first.
    pub(super) fn values(&self) -> impl DoubleEndedIterator<Item = &IkeSa> {
        self.slots.values().filter_map(|slot| slot.sa.as_ref())
    }

    pub(super) fn ids(&self) -> Vec<IkeSaId> {
        self.slots.keys().copied().collect()
    }

    /// Those with a peer, oldest first.
    pub(super) fn of_peer(&self, peer: &PeerName) -> impl DoubleEndedIterator<Item = &IkeSa> {
        self.of_peer.get(peer).into_iter().flatten().filter_map(|id| self.get(*id))
    }

    /// The one that has a Child SA.
    pub(super) fn owner(&self, child: ChildSaId) -> Option<&IkeSa> {
        self.get(*self.owners.get(&child)?)
    }

    /// Those with a Child SA whose packets carry this SPI of the peer's.
    pub(super) fn with_outbound_spi(&self, spi: u32) -> impl Iterator<Item = &IkeSa> {
        let children = self.outbound_spis.range((spi, ChildSaId(0))..=(spi, ChildSaId(u64::MAX)));
        children.filter_map(|(_, child)| self.owner(*child))
    }

    /// Those that are to be closed as duplicates.
    pub(super) fn duplicates(&self) -> impl Iterator<Item = &IkeSa> {
        self.duplicates.iter().filter_map(|id| self.get(*id))
    }

    /// The earliest deadline.
    pub(super) fn next_deadline(&self) -> Option<(Instant, WakeReason)> {
        self.deadlines.first().map(|(at, reason, _)| (*at, *reason))
    }

    /// Those whose deadline has passed, oldest SA first.
    pub(super) fn due(&self, now: Instant) -> Vec<IkeSaId> {
        let passed = self.deadlines.iter().take_while(|(at, ..)| *at <= now);
        let mut due: Vec<IkeSaId> = passed.map(|(.., id)| *id).collect();
        due.sort_unstable();
        due
    }

    fn index(&mut self, id: IkeSaId, new: Facets) {
        let slot = self.slots.entry(id).or_default();
        if slot.facets == new {
            return;
        }
        let old = std::mem::take(&mut slot.facets);
        if old.deadline != new.deadline {
            if let Some((at, reason)) = old.deadline {
                self.deadlines.remove(&(at, reason, id));
            }
            self.deadlines.extend(new.deadline.map(|(at, reason)| (at, reason, id)));
        }
        if old.peer != new.peer {
            if let Some(peer) = &old.peer
                && let Some(ids) = self.of_peer.get_mut(peer)
            {
                ids.remove(&id);
                if ids.is_empty() {
                    self.of_peer.remove(peer);
                }
            }
            if let Some(peer) = &new.peer {
                self.of_peer.entry(peer.clone()).or_default().insert(id);
            }
        }
        if old.children != new.children {
            for (child, spi) in &old.children {
                self.outbound_spis.remove(&(*spi, *child));
                // Another SA may have inherited it.
                if self.owners.get(child) == Some(&id) {
                    self.owners.remove(child);
                }
            }
            self.owners.extend(new.children.iter().map(|(child, _)| (*child, id)));
            self.outbound_spis.extend(new.children.iter().map(|(child, spi)| (*spi, *child)));
        }
        if new.duplicate {
            self.duplicates.insert(id);
        } else {
            self.duplicates.remove(&id);
        }
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.facets = new;
        }
    }
}

#[cfg(test)]
impl SaTable {
    /// Every SA, to change it in a way that no index knows of.
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut IkeSa> {
        self.slots.values_mut().filter_map(|slot| slot.sa.as_mut())
    }

    /// What is wrong with the indices, compared with looking at every SA.
    pub(super) fn complaint(&self) -> Option<String> {
        let mut fresh = Self::default();
        for slot in self.slots.values() {
            let Some(sa) = &slot.sa else { return Some("an SA was never put back".to_owned()) };
            let facets = Facets::of(sa);
            if facets != slot.facets {
                return Some(format!("{}: {facets:?} is indexed as {:?}", sa.core.id, slot.facets));
            }
            fresh.index(sa.core.id, facets);
        }
        let same = fresh.deadlines == self.deadlines
            && fresh.of_peer == self.of_peer
            && fresh.owners == self.owners
            && fresh.outbound_spis == self.outbound_spis
            && fresh.duplicates == self.duplicates;
        (!same).then(|| format!("{fresh:#?}\nought to be indexed, not\n{self:#?}"))
    }
}
