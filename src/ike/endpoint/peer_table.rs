//! All configured peers, which of them want something, and when the next one does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use crate::ike::config::{PeerName, RemoteAddress};
use crate::ike::roster::Roster;

use super::peers::Peer;

#[derive(Debug)]
struct Slot {
    peer: Peer,
    /// The deadline as it stands in the index.
    indexed: Option<Instant>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct PeerTable {
    slots: BTreeMap<PeerName, Slot>,
    deadlines: BTreeSet<(Instant, PeerName)>,
    /// Something of theirs changed since the last [`Self::index`].
    stirred: BTreeSet<PeerName>,
    /// To be looked at when time passes next.
    awaiting: BTreeSet<PeerName>,
    roster: Option<Arc<Roster>>,
}

impl PeerTable {
    pub(super) fn new(peers: impl IntoIterator<Item = Peer>) -> Self {
        let mut table = Self::default();
        peers.into_iter().for_each(|peer| table.insert(peer));
        table
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn names(&self) -> Vec<PeerName> {
        self.slots.keys().cloned().collect()
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Peer> {
        self.slots.values().map(|slot| &slot.peer)
    }

    pub(super) fn contains(&self, name: &PeerName) -> bool {
        self.slots.contains_key(name)
    }

    /// A peer, to be changed in whatever way but its configuration and addresses.
    pub(super) fn get_mut(&mut self, name: &PeerName) -> Option<&mut Peer> {
        self.stir(name);
        self.slots.get_mut(name).map(|slot| &mut slot.peer)
    }

    /// A peer, to be changed in whatever way.
    pub(super) fn redefine(&mut self, name: &PeerName) -> Option<&mut Peer> {
        self.roster = None;
        self.get_mut(name)
    }

    /// Adds or replaces a peer.
    pub(super) fn insert(&mut self, peer: Peer) {
        let name = peer.config.name.clone();
        self.remove(&name);
        self.stirred.insert(name.clone());
        self.slots.insert(name, Slot { peer, indexed: None });
    }

    pub(super) fn remove(&mut self, name: &PeerName) {
        self.roster = None;
        if let Some(at) = self.slots.remove(name).and_then(|slot| slot.indexed) {
            self.deadlines.remove(&(at, name.clone()));
        }
    }

    /// Something happened that may concern a peer.
    pub(super) fn stir(&mut self, name: &PeerName) {
        if !self.stirred.contains(name) && self.slots.contains_key(name) {
            self.stirred.insert(name.clone());
        }
    }

    /// Peers for which something happened that calls for action; they are told once.
    pub(super) fn take_touched(&mut self) -> Vec<PeerName> {
        let mut touched = Vec::new();
        for name in &self.stirred {
            if let Some(slot) = self.slots.get_mut(name)
                && std::mem::take(&mut slot.peer.touched)
            {
                touched.push(name.clone());
            }
        }
        touched
    }

    /// Brings the deadlines up to date. The peers concerned are looked at once more when time passes.
    pub(super) fn index(&mut self) {
        let changed = self.refresh();
        self.awaiting.extend(changed);
    }

    /// Brings the deadlines up to date after the peers of [`Self::take_due`] were looked at.
    pub(super) fn settle(&mut self) {
        self.refresh();
    }

    fn refresh(&mut self) -> Vec<PeerName> {
        let mut changed = Vec::new();
        for name in std::mem::take(&mut self.stirred) {
            let Some(slot) = self.slots.get_mut(&name) else { continue };
            let deadline = slot.peer.deadline().map(|(at, _)| at);
            if slot.indexed != deadline {
                if let Some(at) = slot.indexed {
                    self.deadlines.remove(&(at, name.clone()));
                }
                self.deadlines.extend(deadline.map(|at| (at, name.clone())));
                slot.indexed = deadline;
            }
            if slot.peer.touched {
                self.stirred.insert(name.clone());
            }
            changed.push(name);
        }
        changed
    }

    /// Peers whose time has come, and those that were concerned by anything since they were looked at last; in
    /// order of name.
    pub(super) fn take_due(&mut self, now: Instant) -> BTreeSet<PeerName> {
        let mut due = std::mem::take(&mut self.awaiting);
        due.extend(self.deadlines.iter().take_while(|(at, _)| *at <= now).map(|(_, name)| name.clone()));
        due
    }

    /// The earliest deadline.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Everybody who may knock.
    pub(super) fn roster(&mut self) -> Arc<Roster> {
        let Self { slots, roster, .. } = self;
        let make = || {
            let members = slots.values().map(|slot| {
                let addresses = match &slot.peer.config.remote {
                    RemoteAddress::Any => Vec::new(),
                    RemoteAddress::Addresses(addresses) => addresses.clone(),
                    RemoteAddress::Name(_) => slot.peer.addresses.clone(),
                };
                (Arc::clone(&slot.peer.config), addresses)
            });
            Arc::new(Roster::new(members))
        };
        Arc::clone(roster.get_or_insert_with(make))
    }
}

#[cfg(test)]
impl PeerTable {
    /// What is wrong with the deadlines, compared with asking every peer.
    pub(super) fn complaint(&self) -> Option<String> {
        let asked: BTreeSet<_> = self
            .values()
            .filter_map(|peer| peer.deadline().map(|(at, _)| (at, peer.config.name.clone())))
            .collect();
        (asked != self.deadlines).then(|| format!("{asked:?} is indexed as {:?}", self.deadlines))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ike::config::{LocalAuth, PeerConfig, RemoteAuth};
    use crate::pki::{Identity, IdentityPattern};

    fn peer(number: u64) -> Peer {
        Peer::new(Arc::new(PeerConfig::new(
            PeerName::from(format!("peer{number:05}")),
            RemoteAddress::Name("vpn.example.com".to_owned()),
            Identity::parse("a.example.com").unwrap(),
            IdentityPattern::Any,
            LocalAuth::Psk(Vec::new()),
            RemoteAuth::Psk(Vec::new()),
        )))
    }

    /// Ten thousand peers with a deadline each, in an order that has nothing to do with their names.
    fn ten_thousand(start: Instant) -> PeerTable {
        let mut table = PeerTable::new((0..10_000).map(peer));
        for (name, number) in table.names().iter().zip(0_u64..) {
            let at = start + Duration::from_millis(1 + number * 7_919 % 10_000);
            table.get_mut(name).unwrap().next_attempt = Some(at);
        }
        table.take_touched();
        table.index();
        table.take_due(start);
        table
    }

    #[test]
    fn the_next_timeout_is_the_earliest_of_ten_thousand() {
        let start = Instant::now();
        let mut table = ten_thousand(start);
        for millis in 1..=10_000 {
            let at = start + Duration::from_millis(millis);
            assert_eq!(table.next_deadline(), Some(at));
            let due = table.take_due(at);
            assert_eq!(due.len(), 1);
            for name in due {
                table.get_mut(&name).unwrap().next_attempt = None;
            }
            table.settle();
        }
        assert_eq!((table.next_deadline(), table.complaint()), (None, None));
    }

    #[test]
    fn a_peer_that_was_stirred_is_looked_at_once_more_and_not_for_ever() {
        let start = Instant::now();
        let mut table = ten_thousand(start);
        assert!(table.take_due(start).is_empty());
        let name = PeerName::from("peer00042");
        table.stir(&name);
        table.index();
        assert_eq!(table.take_due(start), BTreeSet::from([name.clone()]));
        table.get_mut(&name);
        table.settle();
        assert!(table.take_due(start).is_empty());
    }

    #[test]
    fn a_removed_peer_leaves_no_deadline() {
        let start = Instant::now();
        let mut table = ten_thousand(start);
        for name in table.names().iter().skip(1) {
            table.remove(name);
        }
        table.index();
        assert_eq!((table.len(), table.deadlines.len(), table.complaint()), (1, 1, None));
    }
}
