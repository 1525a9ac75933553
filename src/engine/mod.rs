//! One object that owns the IKE endpoint, SPD and SAD.
//!
//! Commands, datagrams and the workers' reports go in; transmits, timers, events and snapshots come
//! out. Keys that IKE negotiated become ESP security associations here and leave as a
//! [`Snapshot`] that workers read. There is no socket, clock, task or log in this layer: the daemon
//! drives it, and two engines in one test replay anything over a simulated link.
//!
//! Order of polling after each `handle_*`: [`Engine::poll_snapshot`] first, so that the workers know a
//! new inbound SA before the peer does, then [`Engine::poll_transmit`] until `None`,
//! [`Engine::poll_event`] until `None`, [`Engine::poll_timeout`].

mod event;
mod sad;
mod spd;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::crypto::Random;
use crate::esp::{self, ChildId, Report, Snapshot, Spd, Treatment};
use crate::ike::{
    self, ChildName, Command, CommandError, Datagram, Endpoint, EndpointSettings, Now, PeerConfig, PeerName,
    StartPolicy, Transmit, WakeReason,
};

pub use event::{ChildUp, Event};
pub use sad::{ChildTraffic, Sad};

/// How often the workers' counters are looked at while there is a Child SA.
const TRAFFIC_SCAN: Duration = Duration::from_secs(1);

/// The outer MTU that is assumed until the interface or a measurement says more.
pub const DEFAULT_OUTER_MTU: u16 = 1500;

/// What an engine starts with.
pub struct EngineConfig {
    /// Settings of the IKE endpoint.
    pub settings: EndpointSettings,
    /// All peers.
    pub peers: Vec<PeerSettings>,
    /// Packets in each replay window.
    pub replay_window: u32,
    /// Zero of the milliseconds that the data plane writes into counters.
    pub epoch: Instant,
}

/// A peer with what the data path needs to know of it.
#[derive(Clone, Debug)]
pub struct PeerSettings {
    /// The IKE layer's part.
    pub ike: PeerConfig,
    /// What else the data path does to its packets.
    pub treatment: Treatment,
    /// The outer MTU of the interface towards the peer.
    pub outer_mtu: u16,
}

/// The IKE endpoint with SPD and SAD.
pub struct Engine {
    endpoint: Endpoint,
    peers: BTreeMap<PeerName, PeerSettings>,
    order: Vec<PeerName>,
    sad: Sad,
    spd: Spd,
    /// The number of the first group of a peer in the SPD.
    groups: BTreeMap<PeerName, usize>,
    /// Peers whose groups are to be made anew.
    changed: BTreeSet<PeerName>,
    epoch: Instant,
    events: VecDeque<Event>,
    snapshot: Arc<Snapshot>,
    stale: bool,
    last_scan: Instant,
}

impl Engine {
    /// An engine that has done nothing yet; peers that connect do so at the first
    /// [`Engine::handle_timeout`].
    pub fn new(config: EngineConfig, random: Box<dyn Random>, now: Now) -> Self {
        let EngineConfig { settings, peers, replay_window, epoch } = config;
        let ike_peers = peers.iter().map(|peer| peer.ike.clone()).collect();
        let mut engine = Self {
            endpoint: Endpoint::new(settings, ike_peers, random),
            peers: BTreeMap::new(),
            order: Vec::new(),
            sad: Sad::new(replay_window),
            spd: Spd::default(),
            groups: BTreeMap::new(),
            changed: BTreeSet::new(),
            epoch,
            events: VecDeque::new(),
            snapshot: Arc::new(Snapshot::default()),
            stale: true,
            last_scan: now.mono,
        };
        engine.set_peers(peers);
        engine
    }

    fn set_peers(&mut self, peers: Vec<PeerSettings>) {
        self.order = peers.iter().map(|peer| peer.ike.name.clone()).collect();
        self.peers = peers.into_iter().map(|peer| (peer.ike.name.clone(), peer)).collect();
        let mut count = 0;
        self.groups.clear();
        for peer in self.order.iter().filter_map(|name| self.peers.get(name)) {
            self.groups.insert(peer.ike.name.clone(), count);
            count += peer.ike.children.len();
        }
        let in_order = self.order.iter().filter_map(|name| self.peers.get(name));
        self.spd = Spd::new(in_order.flat_map(|peer| spd::groups(peer, &self.sad)));
        self.changed.clear();
        self.stale = true;
    }

    /// Takes an IKE datagram from a socket.
    pub fn handle_datagram(&mut self, now: Now, datagram: Datagram<'_>) {
        self.endpoint.handle_datagram(now, datagram);
        self.take_events();
    }

    /// Takes a command of the operator or the system.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub fn handle_command(&mut self, now: Now, command: Command) -> Result<(), CommandError> {
        let outcome = self.endpoint.handle_command(now, command);
        self.take_events();
        outcome
    }

    /// Replaces the configuration. Peers that did not change keep their SAs.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub fn reconfigure(
        &mut self,
        now: Now,
        settings: Option<EndpointSettings>,
        peers: Vec<PeerSettings>,
    ) -> Result<(), CommandError> {
        let ike_peers = peers.iter().map(|peer| peer.ike.clone()).collect();
        let outcome = self.endpoint.handle_command(now, Command::Reconfigure { settings, peers: ike_peers });
        self.set_peers(peers);
        self.take_events();
        outcome
    }

    /// Takes a worker's report. One about an SA that is gone is harmless.
    pub fn handle_report(&mut self, now: Now, report: Report) {
        let command = match report {
            Report::Ike { local, remote, octets } => {
                let datagram = Datagram { local, remote, octets: &octets, encapsulated: true };
                return self.handle_datagram(now, datagram);
            }
            Report::Acquire { entry, generation, packet } => self.acquire(entry, generation, packet),
            Report::FirstInbound { child, .. } => Some(Command::FirstInbound { child: ike_id(child) }),
            Report::PeerMoved { child, local, remote, .. } => {
                Some(Command::PeerMoved { child: ike_id(child), local, remote })
            }
            Report::SoftLimit { child, .. } => Some(Command::SoftLimit { child: ike_id(child) }),
            Report::HardLimit { child, .. } => Some(Command::HardLimit { child: ike_id(child) }),
            Report::UnknownSpi { spi, local, remote } => Some(Command::UnknownSpi { spi, local, remote }),
            Report::OuterTooBig { remote, outer_len, .. } => {
                self.events.push_back(Event::OuterTooBig { remote, outer_len });
                None
            }
            Report::Degraded(degraded) => {
                self.events.push_back(Event::Degraded(degraded));
                None
            }
            Report::TunGone => {
                self.events.push_back(Event::TunGone);
                None
            }
        };
        if let Some(command) = command {
            // A report may come after its SA ended; there is nobody to tell.
            let _ = self.endpoint.handle_command(now, command);
        }
        self.take_events();
    }

    fn acquire(&self, entry: u64, generation: u64, packet: crate::policy::PacketSummary) -> Option<Command> {
        if generation != self.snapshot.generation() {
            return None;
        }
        let entry = self.snapshot.spd().get(entry)?;
        Some(Command::Acquire {
            peer: PeerName::from(&*entry.peer),
            child: ChildName::from(&*entry.child),
            packet,
        })
    }

    /// Lets time pass: call it at the instant that [`Engine::poll_timeout`] gave, or later.
    pub fn handle_timeout(&mut self, now: Now) {
        if now.mono >= self.last_scan + TRAFFIC_SCAN {
            self.last_scan = now.mono;
            for (child, last_inbound, last_outbound) in self.sad.take_used(self.epoch) {
                let traffic = Command::Traffic { child, last_inbound, last_outbound };
                let _ = self.endpoint.handle_command(now, traffic);
            }
        }
        self.endpoint.handle_timeout(now);
        self.take_events();
    }

    /// When [`Engine::handle_timeout`] is due next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let endpoint: Option<(Instant, WakeReason)> = self.endpoint.poll_timeout();
        let scan = (!self.sad.is_empty()).then(|| self.last_scan + TRAFFIC_SCAN);
        match (endpoint.map(|(at, _)| at), scan) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// The next datagram to send; none while a snapshot waits for [`Engine::poll_snapshot`], since what the peer
    /// learns by it may let the peer use an SA that the workers do not know yet.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        if self.stale { None } else { self.endpoint.poll_transmit() }
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// A new snapshot for the workers, if SPD or SAD changed since the last one. It costs what the changes cost,
    /// however many tunnels there are.
    pub fn poll_snapshot(&mut self) -> Option<Arc<Snapshot>> {
        if !std::mem::take(&mut self.stale) {
            return None;
        }
        for name in std::mem::take(&mut self.changed) {
            let (Some(peer), Some(first)) = (self.peers.get(&name), self.groups.get(&name)) else { continue };
            for (number, entries) in (*first..).zip(spd::groups(peer, &self.sad)) {
                self.spd.replace(number, entries);
            }
        }
        let generation = self.snapshot.generation() + 1;
        self.snapshot = Arc::new(Snapshot::of(generation, self.sad.inbound(), self.spd.clone()));
        Some(Arc::clone(&self.snapshot))
    }

    /// The IKE endpoint, to read status and counters.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The security associations, to read counters.
    pub fn sad(&self) -> &Sad {
        &self.sad
    }

    /// The configured peers in the order of the configuration.
    pub fn peers(&self) -> impl Iterator<Item = &PeerSettings> {
        self.order.iter().filter_map(|name| self.peers.get(name))
    }

    /// A configured peer.
    pub fn peer(&self, name: &PeerName) -> Option<&PeerSettings> {
        self.peers.get(name)
    }

    /// Tells the outer MTU of the interface towards a peer, which bounds what was measured. Gives whether it is
    /// another one than before.
    pub fn set_interface_mtu(&mut self, peer: &PeerName, outer_mtu: u16) -> bool {
        let Some(settings) = self.peers.get_mut(peer).filter(|settings| settings.outer_mtu != outer_mtu)
        else {
            return false;
        };
        settings.outer_mtu = outer_mtu;
        self.sad.set_interface_mtu(peer, outer_mtu);
        true
    }

    /// The outer MTU in use towards a peer with a Child SA, and the inner MTU that follows.
    pub fn mtu(&self, peer: &PeerName) -> Option<(u16, u16)> {
        self.sad.mtu(peer)
    }

    /// The peer whose SAs send to `remote`, and the children that do.
    pub fn peer_at(&self, remote: SocketAddr) -> Option<PeerName> {
        self.sad.peer_at(remote)
    }

    /// The peers whose SAs send to this address now.
    pub fn peers_to(&self, remote: IpAddr) -> Vec<PeerName> {
        self.sad.peers_to(remote)
    }

    /// Remote addresses in use now, to be kept out of the tunnel.
    pub fn remotes(&self) -> Vec<IpAddr> {
        self.sad.remotes()
    }

    /// Whether a child is to be raised by its first packet.
    pub fn is_trap(&self, peer: &PeerName, child: &ChildName) -> bool {
        let config = self.peers.get(peer).and_then(|settings| settings.ike.child(child));
        config.is_some_and(|child| child.start == StartPolicy::Trap)
    }

    /// Moves what the endpoint says into SAD, SPD and our own events.
    fn take_events(&mut self) {
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                ike::Event::ChildInstalled(install) => self.install(*install),
                ike::Event::OutboundActivated { child } => {
                    if let Some(peer) = self.sad.activate(child) {
                        self.touch(peer);
                    }
                }
                ike::Event::ChildRemoved { child, reason } => {
                    if let Some((peer, name)) = self.sad.remove(child) {
                        self.touch(peer.clone());
                        self.events.push_back(Event::ChildDown { id: child, peer, child: name, reason });
                    }
                }
                ike::Event::PathChanged { ike, local, remote, children } => {
                    self.sad.set_path(&children, local, remote);
                    self.events.push_back(Event::Ike(ike::Event::PathChanged {
                        ike,
                        local,
                        remote,
                        children,
                    }));
                }
                ike::Event::PathMtu { ike, peer, outer_mtu } => {
                    self.sad.set_measured_mtu(&peer, outer_mtu);
                    self.events.push_back(Event::Ike(ike::Event::PathMtu { ike, peer, outer_mtu }));
                }
                other => self.events.push_back(Event::Ike(other)),
            }
        }
    }

    fn install(&mut self, install: ike::ChildInstall) {
        let settings = self.peers.get(&install.peer);
        let outer_mtu = settings.map_or(DEFAULT_OUTER_MTU, |settings| settings.outer_mtu);
        let treatment = settings.map(|settings| settings.treatment).unwrap_or_default();
        let up = ChildUp::of(&install);
        self.touch(install.peer.clone());
        match self.sad.install(install, outer_mtu, treatment) {
            Ok(()) => self.events.push_back(Event::ChildUp(Box::new(up))),
            Err(reason) => {
                self.events.push_back(Event::ChildUnusable { peer: up.peer, child: up.child, reason })
            }
        }
    }

    /// The next snapshot has other SAs of this peer.
    fn touch(&mut self, peer: PeerName) {
        self.changed.insert(peer);
        self.stale = true;
    }
}

/// The data path's name for a Child SA.
fn esp_id(id: ike::ChildSaId) -> ChildId {
    ChildId(id.0)
}

/// The IKE layer's name for a Child SA.
fn ike_id(id: ChildId) -> ike::ChildSaId {
    ike::ChildSaId(id.0)
}

/// The limits as the data path takes them.
fn esp_limits(limits: ike::Limits) -> esp::Limits {
    esp::Limits {
        soft_packets: limits.soft_packets,
        soft_octets: limits.soft_bytes,
        hard_packets: limits.hard_packets,
        hard_octets: limits.hard_bytes,
    }
}
