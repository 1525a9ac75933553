//! Two endpoints, a virtual clock, and a link between them that does what a test says.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::crypto::{CryptoError, Group, KeyExchange, Random, Secret, exchange};
use crate::ike::*;
use crate::pki::{Identity, IdentityPattern};
use crate::policy::{Proposal, SelectorSet};
use crate::wire::ike::Header;
use crate::wire::ike::registry::ExchangeType;

/// Reproducible octets; the first octets of coming nonces can be set.
pub(super) struct Script {
    state: u64,
    nonces: Arc<Mutex<VecDeque<u8>>>,
}

impl Script {
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn octets(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            let octets = self.next().to_be_bytes();
            chunk.copy_from_slice(&octets[..chunk.len()]);
        }
    }
}

impl Random for Script {
    fn fill(&mut self, out: &mut [u8]) {
        self.octets(out);
        if out.len() == 32
            && let Some(first) = self.nonces.lock().unwrap().pop_front()
        {
            out[0] = first;
        }
    }

    fn key_exchange(&mut self, group: Group) -> Result<Box<dyn KeyExchange>, CryptoError> {
        exchange::generate(group, &mut |out: &mut [u8]| self.octets(out))
    }
}

pub(super) struct Node {
    pub(super) endpoint: Endpoint,
    pub(super) address: IpAddr,
    pub(super) nonces: Arc<Mutex<VecDeque<u8>>>,
    pub(super) events: Vec<Event>,
    pub(super) children: BTreeMap<ChildSaId, ChildInstall>,
    pub(super) active: BTreeMap<String, ChildSaId>,
    pub(super) sent: Vec<Transmit>,
    /// What this node's datagrams look like behind its NAT.
    pub(super) nat: Option<SocketAddr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    A,
    B,
}

impl Side {
    pub(super) fn other(self) -> Self {
        if self == Self::A { Self::B } else { Self::A }
    }

    /// The name of the peer that this side is configured with.
    pub(super) fn peer(self) -> PeerName {
        if self == Self::A { "b" } else { "a" }.into()
    }
}

/// A datagram on the link.
#[derive(Clone, Debug)]
pub(super) struct Flight {
    pub(super) to: Side,
    pub(super) from: SocketAddr,
    pub(super) transmit: Transmit,
}

impl Flight {
    pub(super) fn header(&self) -> Header {
        Header::peek(&self.transmit.octets).unwrap()
    }

    pub(super) fn is(&self, exchange: ExchangeType, response: bool) -> bool {
        self.transmit.kind == TransmitKind::Ike
            && self.header().exchange == exchange
            && self.header().flags.response == response
    }
}

pub(super) type Filter = Box<dyn FnMut(&Flight) -> Option<Duration>>;

pub(super) struct Pair {
    pub(super) now: Now,
    pub(super) a: Node,
    pub(super) b: Node,
    pub(super) link: BTreeMap<(Instant, u64), Flight>,
    sequence: u64,
    /// Decides each datagram's delay; `None` loses it.
    pub(super) filter: Filter,
}

pub(super) const A: &str = "192.0.2.1";
pub(super) const B: &str = "198.51.100.1";
pub(super) const LATENCY: Duration = Duration::from_millis(10);

pub(super) fn child(name: &str, local: &str, remote: &str) -> ChildConfig {
    let set = |text: &str| SelectorSet::of_prefixes(text.split(',').map(|prefix| prefix.parse().unwrap()));
    ChildConfig {
        name: name.into(),
        local: set(local),
        remote: set(remote),
        esp: vec![Proposal::parse_esp("aes256gcm16-x25519").unwrap()],
        start: StartPolicy::Wait,
        lifetime: ChildLifetime::default(),
    }
}

pub(super) fn psk(text: &str) -> Secret {
    Secret::from_slice(text.as_bytes())
}

pub(super) fn peer(name: &str, remote: &str, local_id: &str, remote_id: &str) -> PeerConfig {
    let key = || vec![psk("correct horse battery staple")];
    let mut peer = PeerConfig::new(
        name.into(),
        RemoteAddress::Addresses(vec![remote.parse().unwrap()]),
        Identity::parse(local_id).unwrap(),
        IdentityPattern::parse(remote_id).unwrap(),
        LocalAuth::Psk(key()),
        RemoteAuth::Psk(key()),
    );
    peer.ike = vec![Proposal::parse_ike("aes256gcm16-prfsha384-x25519").unwrap()];
    peer
}

/// A connects to B, which waits.
pub(super) fn configs() -> (PeerConfig, PeerConfig) {
    let mut a = peer("b", B, "a.example.com", "b.example.com");
    a.children = vec![child("lan", "10.1.0.0/16", "10.2.0.0/16")];
    a.children[0].start = StartPolicy::Connect;
    let mut b = peer("a", A, "b.example.com", "a.example.com");
    b.children = vec![child("lan", "10.2.0.0/16", "10.1.0.0/16")];
    (a, b)
}

pub(super) fn node(address: &str, seed: u64, settings: EndpointSettings, peers: Vec<PeerConfig>) -> Node {
    let nonces = Arc::new(Mutex::new(VecDeque::new()));
    let random = Script { state: seed, nonces: nonces.clone() };
    Node {
        endpoint: Endpoint::new(settings, peers, Box::new(random)),
        address: address.parse().unwrap(),
        nonces,
        events: Vec::new(),
        children: BTreeMap::new(),
        active: BTreeMap::new(),
        sent: Vec::new(),
        nat: None,
    }
}

impl Node {
    pub(super) fn drain(&mut self) -> Vec<Transmit> {
        assert_eq!(self.endpoint.index_complaint(), None);
        let mut transmits = Vec::new();
        while let Some(transmit) = self.endpoint.poll_transmit() {
            self.sent.push(transmit.clone());
            transmits.push(transmit);
        }
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                Event::ChildInstalled(install) => {
                    if install.outbound_active {
                        self.active.insert(install.child.to_string(), install.id);
                    }
                    self.children.insert(install.id, *install);
                    continue;
                }
                Event::OutboundActivated { child } => {
                    let name = self.children[&child].child.to_string();
                    self.active.insert(name, child);
                }
                Event::ChildRemoved { child, .. } => {
                    assert!(self.children.remove(&child).is_some(), "{child} was never installed");
                    self.active.retain(|_, active| *active != child);
                }
                _ => {}
            }
            self.events.push(event);
        }
        transmits
    }
}

impl Pair {
    pub(super) fn new(a: PeerConfig, b: PeerConfig) -> Self {
        let settings = EndpointSettings::default;
        Self::of(node(A, 1, settings(), vec![a]), node(B, 2, settings(), vec![b]))
    }

    pub(super) fn of(a: Node, b: Node) -> Self {
        let now = Now::new(Instant::now(), 1_790_000_000);
        Self { now, a, b, link: BTreeMap::new(), sequence: 0, filter: Box::new(|_| Some(LATENCY)) }
    }

    /// Both configured, connected, with the child up.
    pub(super) fn established() -> Self {
        let (a, b) = configs();
        Self::up(a, b)
    }

    pub(super) fn up(a: PeerConfig, b: PeerConfig) -> Self {
        let mut pair = Self::new(a, b);
        pair.run(Duration::from_secs(2));
        assert_eq!(pair.children(Side::A), 1, "{:#?} {:#?}", pair.a.events, pair.b.events);
        assert_eq!(pair.children(Side::B), 1);
        pair
    }

    pub(super) fn node(&mut self, side: Side) -> &mut Node {
        match side {
            Side::A => &mut self.a,
            Side::B => &mut self.b,
        }
    }

    pub(super) fn command(&mut self, side: Side, command: Command) {
        let now = self.now;
        self.node(side).endpoint.handle_command(now, command).unwrap();
        self.drain();
    }

    pub(super) fn rekey_child(&mut self, side: Side) {
        self.command(side, Command::RekeyChild { peer: side.peer(), child: "lan".into() });
    }

    pub(super) fn rekey_ike(&mut self, side: Side) {
        self.command(side, Command::RekeyIke { peer: side.peer() });
    }

    /// Sets the first octets of the coming nonces.
    pub(super) fn nonces(&mut self, side: Side, first: &[u8]) {
        self.node(side).nonces.lock().unwrap().extend(first);
    }

    pub(super) fn drain(&mut self) {
        for side in [Side::A, Side::B] {
            let node = self.node(side);
            let (address, nat) = (node.address, node.nat);
            for transmit in node.drain() {
                let port = if transmit.encapsulated { 4500 } else { 500 };
                let source = SocketAddr::new(transmit.local.unwrap_or(address), port);
                let from = nat.map_or(source, |mut nat| {
                    nat.set_port(nat.port() + u16::from(!transmit.encapsulated));
                    nat
                });
                let flight = Flight { to: side.other(), from, transmit };
                if let Some(delay) = (self.filter)(&flight) {
                    self.sequence += 1;
                    self.link.insert((self.now.mono + delay, self.sequence), flight);
                }
            }
        }
    }

    /// Hands one datagram over.
    pub(super) fn deliver(&mut self, flight: &Flight) {
        let now = self.now;
        let node = self.node(flight.to);
        if flight.transmit.kind == TransmitKind::Keepalive {
            return;
        }
        let port = if flight.transmit.encapsulated { 4500 } else { 500 };
        let datagram = Datagram {
            local: SocketAddr::new(node.address, port),
            remote: flight.from,
            octets: &flight.transmit.octets,
            encapsulated: flight.transmit.encapsulated,
        };
        node.endpoint.handle_datagram(now, datagram);
        self.drain();
    }

    /// Lets the link and the timers run for a while.
    pub(super) fn run(&mut self, span: Duration) {
        let end = self.now.mono + span;
        for side in [Side::A, Side::B] {
            let now = self.now;
            self.node(side).endpoint.handle_timeout(now);
        }
        self.drain();
        self.traffic();
        let mut idle = 0;
        loop {
            let next_flight = self.link.keys().next().map(|(at, _)| *at);
            let timers = [&self.a, &self.b].map(|node| node.endpoint.poll_timeout().map(|(at, _)| at));
            let next = [next_flight, timers[0], timers[1]].into_iter().flatten().min();
            let Some(at) = next.filter(|at| *at <= end) else { break };
            idle = if at <= self.now.mono { idle + 1 } else { 0 };
            let wakes = (self.a.endpoint.poll_timeout(), self.b.endpoint.poll_timeout());
            assert!(idle < 1000, "the endpoints spin: {wakes:?} at {:?}", self.now.mono);
            self.advance(at);
            if next_flight == Some(at)
                && let Some((_, flight)) = self.link.pop_first()
            {
                self.deliver(&flight);
            }
            for side in [Side::A, Side::B] {
                let now = self.now;
                let node = self.node(side);
                if node.endpoint.poll_timeout().is_some_and(|(at, _)| at <= now.mono) {
                    node.endpoint.handle_timeout(now);
                }
            }
            self.drain();
            self.traffic();
        }
        self.advance(end);
    }

    fn advance(&mut self, to: Instant) {
        if to > self.now.mono {
            self.now.unix += i64::try_from((to - self.now.mono).as_secs()).unwrap();
            self.now.mono = to;
        }
    }

    /// Packets flow on whatever is active: the other end reports the first one on each SA.
    fn traffic(&mut self) {
        for side in [Side::A, Side::B] {
            let node = self.node(side);
            let spis: Vec<u32> =
                node.active.values().filter_map(|id| Some(node.children.get(id)?.outbound_spi)).collect();
            let now = self.now;
            let other = self.node(side.other());
            for spi in spis {
                let id = other.children.values().find(|child| child.inbound_spi == spi).map(|child| child.id);
                if let Some(id) = id {
                    let _ = other.endpoint.handle_command(now, Command::FirstInbound { child: id });
                }
            }
        }
        self.drain();
    }

    pub(super) fn status(&self, side: Side) -> PeerStatus {
        let node = match side {
            Side::A => &self.a,
            Side::B => &self.b,
        };
        node.endpoint.status(self.now).remove(0)
    }

    /// Established children, lingering ones not counted.
    pub(super) fn children(&self, side: Side) -> usize {
        let live = |child: &&ChildStatus| child.state == ChildState::Established;
        self.status(side).ike_sas.iter().map(|sa| sa.children.iter().filter(live).count()).sum()
    }

    pub(super) fn ike_sas(&self, side: Side) -> usize {
        self.status(side).ike_sas.len()
    }

    pub(super) fn summary(&self) -> String {
        let mut text = String::new();
        for side in [Side::A, Side::B] {
            for sa in self.status(side).ike_sas {
                let (id, state, spi) = (sa.id, sa.state, u64::from_be_bytes(sa.initiator_spi));
                text += &format!(
                    "SUM {side:?} {id} {state:?} {spi:016x} age {:?} pending {}\n",
                    sa.age, sa.pending
                );
                for child in sa.children {
                    let (id, name, state) = (child.id, child.child, child.state);
                    let spis = (child.inbound_spi, child.outbound_spi);
                    text += &format!(
                        "SUM    {id} {name} {state:?} {:08x}/{:08x} active {} age {:?}\n",
                        spis.0, spis.1, child.outbound_active, child.age
                    );
                }
            }
        }
        text
    }

    /// One IKE SA, the children in pairs with equal keys, packets go out on what the other end has, and
    /// nothing is left over.
    pub(super) fn assert_converged(&mut self, children: usize) {
        for side in [Side::A, Side::B] {
            let status = self.status(side);
            assert_eq!(status.ike_sas.len(), 1, "{side:?}\n{}", self.summary());
            assert_eq!(self.children(side), children, "{side:?}\n{}", self.summary());
            assert_eq!(status.ike_sas[0].children.len(), children, "{side:?}\n{}", self.summary());
            assert_eq!(status.ike_sas[0].pending, 0, "{side:?}\n{}", self.summary());
            let active = status.ike_sas[0].children.iter().all(|child| child.outbound_active);
            assert!(active, "{side:?}\n{}", self.summary());
        }
        let (a, b) = (self.status(Side::A).ike_sas[0].clone(), self.status(Side::B).ike_sas[0].clone());
        assert_eq!((a.initiator_spi, a.responder_spi), (b.initiator_spi, b.responder_spi));
        assert_eq!(self.a.children.len(), children);
        assert_eq!(self.b.children.len(), children);
        for ours in self.a.children.values() {
            let theirs =
                self.b.children.values().find(|theirs| theirs.inbound_spi == ours.outbound_spi).unwrap();
            assert_eq!(ours.inbound_spi, theirs.outbound_spi);
            assert_eq!(ours.inbound_keys, theirs.outbound_keys);
            assert_eq!(ours.outbound_keys, theirs.inbound_keys);
            assert_eq!(ours.suite, theirs.suite);
            assert_eq!(ours.local_ts, theirs.remote_ts);
            assert_eq!(ours.remote_ts, theirs.local_ts);
        }
    }

    pub(super) fn refusals(&self, side: Side) -> Vec<String> {
        let node = match side {
            Side::A => &self.a,
            Side::B => &self.b,
        };
        let refused = |event: &Event| match event {
            Event::Refused { reason, .. } => Some(reason.clone()),
            _ => None,
        };
        node.events.iter().filter_map(refused).collect()
    }
}
