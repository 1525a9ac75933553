//! The SAD: every Child SA with both halves, the path of its peer, and what dead SAs had carried.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{esp_id, esp_limits};
use crate::crypto::CryptoError;
use crate::esp::{
    InboundConfig, InboundSa, OutboundConfig, OutboundSa, Path, PathState, SaSelectors, SpiTable, Treatment,
};
use crate::ike::{ChildInstall, ChildName, ChildSaId, PeerName};

/// What a configured child has carried since the start, over all its SAs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChildTraffic {
    /// Packets received and accepted.
    pub packets_in: u64,
    /// Inner octets received and accepted.
    pub octets_in: u64,
    /// Packets sent.
    pub packets_out: u64,
    /// Inner octets sent.
    pub octets_out: u64,
}

impl ChildTraffic {
    fn add(&mut self, inbound: &InboundSa, outbound: &OutboundSa) {
        self.packets_in += inbound.counters().packets();
        self.octets_in += inbound.counters().octets();
        self.packets_out += outbound.counters().packets();
        self.octets_out += outbound.counters().octets();
    }
}

/// One Child SA.
#[derive(Debug)]
struct Entry {
    peer: PeerName,
    child: ChildName,
    inbound: Arc<InboundSa>,
    outbound: Arc<OutboundSa>,
    selectors: SaSelectors,
    /// Whether packets go out on it.
    active: bool,
    replaces: Option<ChildSaId>,
    path: Arc<Path>,
    /// When packets last came in and went out, as far as IKE was told.
    told: (Option<u64>, Option<u64>),
}

/// What is known of the MTU towards a peer.
#[derive(Clone, Copy, Debug)]
struct PeerMtu {
    interface: u16,
    measured: Option<u16>,
}

impl PeerMtu {
    fn outer(self) -> u16 {
        self.measured.map_or(self.interface, |measured| measured.min(self.interface))
    }
}

/// When a Child SA last received and last sent, by the engine's clock.
pub(super) type LastUsed = (ChildSaId, Option<Instant>, Option<Instant>);

/// All Child SAs.
#[derive(Debug)]
pub struct Sad {
    replay_window: u32,
    entries: BTreeMap<ChildSaId, Entry>,
    inbound: SpiTable,
    of_peer: BTreeMap<PeerName, BTreeSet<ChildSaId>>,
    mtus: BTreeMap<PeerName, PeerMtu>,
    retired: BTreeMap<(PeerName, ChildName), ChildTraffic>,
}

impl Sad {
    pub(super) fn new(replay_window: u32) -> Self {
        Self {
            replay_window,
            entries: BTreeMap::new(),
            inbound: SpiTable::default(),
            of_peer: BTreeMap::new(),
            mtus: BTreeMap::new(),
            retired: BTreeMap::new(),
        }
    }

    /// A peer's Child SAs, oldest first.
    fn entries_of(&self, peer: &PeerName) -> impl DoubleEndedIterator<Item = &Entry> {
        self.of_peer.get(peer).into_iter().flatten().filter_map(|id| self.entries.get(id))
    }

    /// Whether there is no Child SA.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many Child SAs there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn install(
        &mut self,
        install: ChildInstall,
        interface_mtu: u16,
        treatment: Treatment,
    ) -> Result<(), CryptoError> {
        let mtu = self
            .mtus
            .entry(install.peer.clone())
            .or_insert(PeerMtu { interface: interface_mtu, measured: None });
        let state = PathState { local: install.local, remote: install.remote, outer_mtu: mtu.outer() };
        let path = self
            .entries_of(&install.peer)
            .find(|entry| entry.path.get() == state)
            .map_or_else(|| Path::new(state), |entry| Arc::clone(&entry.path));
        let selectors = SaSelectors { local: install.local_ts, remote: install.remote_ts };
        let child = esp_id(install.id);
        let limits = esp_limits(install.limits);
        let inbound = InboundSa::new(InboundConfig {
            child,
            spi: install.inbound_spi,
            suite: install.suite,
            keys: &install.inbound_keys,
            path: Arc::clone(&path),
            limits,
            selectors: selectors.clone(),
            replay_window: self.replay_window,
            treatment,
        })?;
        let outbound = OutboundSa::new(OutboundConfig {
            child,
            spi: install.outbound_spi,
            suite: install.suite,
            keys: &install.outbound_keys,
            path: Arc::clone(&path),
            limits,
            treatment,
        })?;
        let entry = Entry {
            peer: install.peer,
            child: install.child,
            inbound: Arc::new(inbound),
            outbound: Arc::new(outbound),
            selectors,
            active: false,
            replaces: install.replaces,
            path,
            told: (None, None),
        };
        self.of_peer.entry(entry.peer.clone()).or_default().insert(install.id);
        self.inbound.insert(Arc::clone(&entry.inbound));
        self.entries.insert(install.id, entry);
        if install.outbound_active {
            self.activate(install.id);
        }
        Ok(())
    }

    /// Sends on `id` from now on, and no longer on what it replaces. Gives the peer whose entries change by that.
    pub(super) fn activate(&mut self, id: ChildSaId) -> Option<PeerName> {
        let entry = self.entries.get_mut(&id)?;
        entry.active = true;
        let peer = entry.peer.clone();
        if let Some(old) = entry.replaces.and_then(|old| self.entries.get_mut(&old)) {
            old.active = false;
        }
        Some(peer)
    }

    /// Removes a Child SA; gives its peer and name.
    pub(super) fn remove(&mut self, id: ChildSaId) -> Option<(PeerName, ChildName)> {
        let entry = self.entries.remove(&id)?;
        self.inbound.remove(&entry.inbound);
        let name = (entry.peer, entry.child);
        self.retired.entry(name.clone()).or_default().add(&entry.inbound, &entry.outbound);
        if let Some(ids) = self.of_peer.get_mut(&name.0) {
            ids.remove(&id);
            if ids.is_empty() {
                self.of_peer.remove(&name.0);
                self.mtus.remove(&name.0);
            }
        }
        Some(name)
    }

    /// Every inbound half.
    pub(super) fn inbound(&self) -> SpiTable {
        self.inbound.clone()
    }

    /// The outbound halves that carry a child's packets, newest first.
    pub(super) fn outbound_of(
        &self,
        peer: &PeerName,
        child: &ChildName,
    ) -> impl Iterator<Item = (SaSelectors, Arc<OutboundSa>)> {
        self.entries_of(peer)
            .rev()
            .filter(move |entry| entry.active && entry.child == *child)
            .map(|entry| (entry.selectors.clone(), Arc::clone(&entry.outbound)))
    }

    pub(super) fn set_path(&mut self, children: &[ChildSaId], local: Option<IpAddr>, remote: SocketAddr) {
        for entry in children.iter().filter_map(|child| self.entries.get(child)) {
            entry.path.set_addresses(local, remote);
        }
    }

    pub(super) fn set_measured_mtu(&mut self, peer: &PeerName, outer_mtu: u16) {
        self.change_mtu(peer, |mtu| mtu.measured = Some(outer_mtu));
    }

    pub(super) fn set_interface_mtu(&mut self, peer: &PeerName, outer_mtu: u16) {
        self.change_mtu(peer, |mtu| mtu.interface = outer_mtu);
    }

    fn change_mtu(&mut self, peer: &PeerName, change: impl FnOnce(&mut PeerMtu)) {
        let Some(mtu) = self.mtus.get_mut(peer) else { return };
        change(mtu);
        let outer = mtu.outer();
        for entry in self.entries_of(peer) {
            entry.path.set_outer_mtu(outer);
        }
    }

    /// The outer and inner MTU in use towards `peer`.
    pub(super) fn mtu(&self, peer: &PeerName) -> Option<(u16, u16)> {
        let entry = self.entries_of(peer).next_back()?;
        Some((entry.path.get().outer_mtu, entry.outbound.inner_mtu()))
    }

    pub(super) fn peer_at(&self, remote: SocketAddr) -> Option<PeerName> {
        let entry = self.entries.values().find(|entry| entry.path.get().remote == remote)?;
        Some(entry.peer.clone())
    }

    pub(super) fn peers_to(&self, remote: IpAddr) -> Vec<PeerName> {
        let there = self.entries.values().filter(|entry| entry.path.get().remote.ip() == remote);
        let mut peers: Vec<_> = there.map(|entry| entry.peer.clone()).collect();
        peers.sort_unstable();
        peers.dedup();
        peers
    }

    pub(super) fn remotes(&self) -> Vec<IpAddr> {
        let mut remotes: Vec<_> = self.entries.values().map(|entry| entry.path.get().remote.ip()).collect();
        remotes.sort_unstable();
        remotes.dedup();
        remotes
    }

    /// The Child SAs that received or sent since this was asked last.
    pub(super) fn take_used(&mut self, epoch: Instant) -> Vec<LastUsed> {
        let at = |millis: Option<u64>| millis.map(|millis| epoch + Duration::from_millis(millis));
        let mut used = Vec::new();
        for (id, entry) in &mut self.entries {
            let now = (entry.inbound.counters().last_used(), entry.outbound.counters().last_used());
            if entry.told != now {
                entry.told = now;
                used.push((*id, at(now.0), at(now.1)));
            }
        }
        used
    }

    /// When a packet last arrived for a child: milliseconds of the data path's clock.
    pub fn last_inbound(&self, peer: &PeerName, child: &ChildName) -> Option<u64> {
        self.entries_of(peer)
            .filter(|entry| entry.child == *child)
            .filter_map(|entry| entry.inbound.counters().last_used())
            .max()
    }

    /// What a configured child has carried, dead SAs included.
    pub fn traffic(&self, peer: &PeerName, child: &ChildName) -> ChildTraffic {
        let mut traffic = self.retired.get(&(peer.clone(), child.clone())).copied().unwrap_or_default();
        for entry in self.entries_of(peer).filter(|entry| entry.child == *child) {
            traffic.add(&entry.inbound, &entry.outbound);
        }
        traffic
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{Cipher, DirectionKeys, EspSuite, Secret};
    use crate::ike::{IkeSaId, Limits};
    use crate::policy::SelectorSet;

    fn install(number: u32) -> ChildInstall {
        let suite = EspSuite {
            cipher: Cipher::AesGcm { key_bits: 128, icv_len: 16 },
            integrity: None,
            group: None,
            esn: false,
        };
        let keys = || DirectionKeys { encryption: Secret::from_slice(&[7; 20]), integrity: Secret::empty() };
        let net = |text: String| SelectorSet::of_prefixes([text.parse().unwrap()]);
        ChildInstall {
            id: ChildSaId(number.into()),
            peer: PeerName::from(format!("site{}", number / 2)),
            child: ChildName::from(if number.is_multiple_of(2) { "lan" } else { "voice" }),
            ike: IkeSaId(1),
            suite,
            inbound_spi: 1000 + number,
            outbound_spi: 2000 + number,
            inbound_keys: keys(),
            outbound_keys: keys(),
            local_ts: net("172.16.0.0/16".to_owned()),
            remote_ts: net(format!("10.{}.{}.0/24", number / 256, number % 256)),
            local: None,
            remote: SocketAddr::from(([192, 0, 2, 1], 4500)),
            initiator: false,
            outbound_active: true,
            replaces: None,
            limits: Limits::default(),
        }
    }

    fn sad(children: u32) -> Sad {
        let mut sad = Sad::new(64);
        for number in 0..children {
            sad.install(install(number), 1500, Treatment::default()).unwrap();
        }
        sad
    }

    #[test]
    fn a_childs_sas_are_found_among_those_of_its_peer_alone() {
        let sad = sad(200);
        let (peer, child) = (PeerName::from("site42"), ChildName::from("voice"));
        let found: Vec<u32> = sad.outbound_of(&peer, &child).map(|(_, outbound)| outbound.spi()).collect();
        assert_eq!(found, [2085]);
        assert_eq!(sad.outbound_of(&PeerName::from("nobody"), &child).count(), 0);
    }

    #[test]
    fn children_of_one_peer_share_a_path_and_its_mtu_lives_as_long_as_one_of_them() {
        let mut sad = sad(4);
        let peer = PeerName::from("site1");
        let paths: Vec<_> = sad.entries_of(&peer).map(|entry| Arc::clone(&entry.path)).collect();
        assert!(Arc::ptr_eq(&paths[0], &paths[1]));
        sad.set_measured_mtu(&peer, 1400);
        assert_eq!(sad.mtu(&peer).map(|(outer, _)| outer), Some(1400));
        assert_eq!(sad.mtu(&PeerName::from("site0")).map(|(outer, _)| outer), Some(1500));
        sad.remove(ChildSaId(2));
        assert_eq!(sad.mtu(&peer).map(|(outer, _)| outer), Some(1400));
        sad.remove(ChildSaId(3));
        assert_eq!((sad.mtu(&peer), sad.of_peer.len(), sad.mtus.len()), (None, 1, 1));
    }

    #[test]
    fn only_children_that_carried_packets_since_are_told_to_ike() {
        let mut sad = sad(100);
        let epoch = Instant::now();
        assert!(sad.take_used(epoch).is_empty());
        let outbound = Arc::clone(&sad.entries[&ChildSaId(17)].outbound);
        outbound.count_sealed(1, 100, 250);
        let at = epoch + Duration::from_millis(250);
        assert_eq!(sad.take_used(epoch), [(ChildSaId(17), None, Some(at))]);
        assert!(sad.take_used(epoch).is_empty());
    }
}
