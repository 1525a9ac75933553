//! Two hosts, A and B, that are each other's peer; how they are configured, and what a healthy pair is.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use skybridge::crypto::Secret;
use skybridge::engine::PeerSettings;
use skybridge::esp::Treatment;
use skybridge::ike::{
    ChildConfig, ChildLifetime, ChildName, ChildState, Command, CommandError, EndpointSettings, IkeLifetime,
    IkeSaState, IkeSaStatus, LocalAuth, PeerConfig, PeerName, PeerStatus, RemoteAddress, RemoteAuth,
    StartPolicy, Timing,
};
use skybridge::pki::{Identity, IdentityPattern};
use skybridge::policy::{Proposal, SelectorSet};

use crate::host::Setup;
use crate::net::{Action, Rule, Select};
use crate::sim::Sim;

pub const A: usize = 0;
pub const B: usize = 1;

pub const ADDRESS_A: &str = "192.0.2.1";
pub const ADDRESS_B: &str = "203.0.113.1";

/// One end's configuration.
#[derive(Clone)]
pub struct End {
    pub peer: PeerConfig,
    pub settings: EndpointSettings,
}

/// Both ends' configuration; change it before [`Plan::build`].
#[derive(Clone)]
pub struct Plan {
    pub ends: [End; 2],
    pub addresses: [IpAddr; 2],
    pub seed: u64,
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub fn ike(text: &str) -> Vec<Proposal> {
    text.split(' ').map(|one| Proposal::parse_ike(one).unwrap()).collect()
}

pub fn esp(text: &str) -> Vec<Proposal> {
    text.split(' ').map(|one| Proposal::parse_esp(one).unwrap()).collect()
}

pub fn selectors(text: &str) -> SelectorSet {
    SelectorSet::of_prefixes(text.split(' ').map(|one| one.parse().unwrap()))
}

/// The inner address of a host on the `child`th network.
pub fn inner(host: usize, child: usize) -> Ipv4Addr {
    let side = if host == A { 1 } else { 2 };
    Ipv4Addr::new(10, side, u8::try_from(child).unwrap(), 1)
}

pub fn child_name(child: usize) -> ChildName {
    ChildName::from(format!("net{child}"))
}

/// Lifetimes so long that nothing is rekeyed unasked.
pub fn no_limits() -> ChildLifetime {
    ChildLifetime {
        rekey_time: None,
        hard_time: None,
        rekey_bytes: None,
        hard_bytes: None,
        rekey_packets: None,
        hard_packets: None,
        jitter: 0.0,
    }
}

impl Plan {
    /// PSK, one fast suite, A connects, B waits.
    pub fn new(children: usize) -> Self {
        let end = |host: usize, start: StartPolicy| {
            let names = ["a.test", "b.test"];
            let (local, remote) = if host == A { (A, B) } else { (B, A) };
            let addresses = [ADDRESS_A, ADDRESS_B];
            let secret = || Secret::from_slice(b"correct horse battery staple");
            let mut peer = PeerConfig::new(
                PeerName::from(if host == A { "b" } else { "a" }),
                RemoteAddress::Addresses(vec![ip(addresses[remote])]),
                Identity::parse(names[local]).unwrap(),
                IdentityPattern::parse(names[remote]).unwrap(),
                LocalAuth::Psk(vec![secret()]),
                RemoteAuth::Psk(vec![secret()]),
            );
            peer.ike = ike("aes128gcm16-prfsha256-x25519");
            peer.ike_lifetime = IkeLifetime {
                rekey: Duration::from_secs(1_000_000),
                hard: Duration::from_secs(2_000_000),
                jitter: 0.0,
            };
            peer.timing = Timing { mtu_probe: None, ..Timing::default() };
            peer.children = (0..children)
                .map(|child| ChildConfig {
                    name: child_name(child),
                    local: selectors(&format!("10.{}.{child}.0/24", local + 1)),
                    remote: selectors(&format!("10.{}.{child}.0/24", remote + 1)),
                    esp: esp("aes128gcm16-x25519"),
                    start,
                    lifetime: no_limits(),
                })
                .collect();
            End { peer, settings: EndpointSettings { key_log: true, ..EndpointSettings::default() } }
        };
        Self {
            ends: [end(A, StartPolicy::Connect), end(B, StartPolicy::Wait)],
            addresses: [ip(ADDRESS_A), ip(ADDRESS_B)],
            seed: 1,
        }
    }

    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Changes one end.
    pub fn with(mut self, host: usize, change: impl FnOnce(&mut End)) -> Self {
        change(&mut self.ends[host]);
        self
    }

    /// Changes both ends.
    pub fn both(mut self, change: impl Fn(&mut End)) -> Self {
        self.ends.iter_mut().for_each(change);
        self
    }

    pub fn start_policy(self, host: usize, start: StartPolicy) -> Self {
        self.with(host, |end| end.peer.children.iter_mut().for_each(|child| child.start = start))
    }

    pub fn setup(&self, host: usize) -> Setup {
        let end = &self.ends[host];
        Setup {
            settings: end.settings.clone(),
            peers: vec![PeerSettings {
                ike: end.peer.clone(),
                treatment: Treatment::default(),
                outer_mtu: 1500,
            }],
            seed: self.seed.wrapping_mul(2).wrapping_add(host as u64).wrapping_mul(0x9e37_79b9),
        }
    }

    pub fn build(&self) -> Pair {
        let hosts = vec![("A", self.addresses[A], self.setup(A)), ("B", self.addresses[B], self.setup(B))];
        Pair { sim: Sim::new(self.seed, hosts), children: self.ends[A].peer.children.len(), renewing: false }
    }

    /// Builds, connects and proves that traffic passes.
    pub fn up(&self) -> Pair {
        let mut pair = self.build();
        pair.start();
        pair.seconds(5);
        pair.assert_healthy();
        pair
    }
}

/// A running pair.
pub struct Pair {
    pub sim: Sim,
    pub children: usize,
    /// IKE SAs are rekeyed so often that one that was closed always still answers.
    pub renewing: bool,
}

impl Deref for Pair {
    type Target = Sim;

    fn deref(&self) -> &Sim {
        &self.sim
    }
}

impl DerefMut for Pair {
    fn deref_mut(&mut self) -> &mut Sim {
        &mut self.sim
    }
}

impl Pair {
    /// Changes the configuration of a host; one that is shutting down takes it up when it starts again.
    pub(crate) fn reload(&mut self, host: usize, change: impl FnOnce(&mut Setup)) {
        change(&mut self.hosts[host].setup);
        let (now, peers) = (self.clock(), self.hosts[host].setup.peers.clone());
        let outcome = self.hosts[host].engine.reconfigure(now, None, peers);
        assert!(matches!(outcome, Ok(()) | Err(CommandError::ShuttingDown)), "{outcome:?}");
        self.pump(host);
    }

    pub fn status_of(&self, host: usize) -> PeerStatus {
        self.hosts[host].status(self.clock()).remove(0)
    }

    /// The one IKE SA of a host.
    pub fn ike_sa(&self, host: usize) -> IkeSaStatus {
        let mut status = self.status_of(host);
        assert_eq!(status.ike_sas.len(), 1, "{} has {:#?}", self.hosts[host].name, status.ike_sas);
        status.ike_sas.remove(0)
    }

    pub fn ike_spis(&self, host: usize) -> ([u8; 8], [u8; 8]) {
        let sa = self.ike_sa(host);
        (sa.initiator_spi, sa.responder_spi)
    }

    /// Our and the peer's SPI of a host's live Child SAs, in order of their names.
    pub fn child_spis(&self, host: usize) -> Vec<(u32, u32)> {
        let mut children: Vec<_> = self
            .ike_sa(host)
            .children
            .into_iter()
            .filter(|child| child.state == ChildState::Established)
            .collect();
        children.sort_by(|one, two| one.child.cmp(&two.child));
        children.into_iter().map(|child| (child.inbound_spi, child.outbound_spi)).collect()
    }

    pub fn rekey_ike(&mut self, host: usize) {
        let peer = self.peer(host);
        self.command(host, Command::RekeyIke { peer }).unwrap();
    }

    pub fn rekey_child(&mut self, host: usize, child: usize) {
        let peer = self.peer(host);
        self.command(host, Command::RekeyChild { peer, child: child_name(child) }).unwrap();
    }

    /// Takes one child or everything down.
    pub fn down(&mut self, host: usize, child: Option<usize>) {
        let peer = self.peer(host);
        self.command(host, Command::Down { peer, child: child.map(child_name) }).unwrap();
    }

    /// Raises one child or everything.
    pub fn raise(&mut self, host: usize, child: Option<usize>) {
        let peer = self.peer(host);
        self.command(host, Command::Up { peer, child: child.map(child_name) }).unwrap();
    }

    /// The next nonces of a host begin with these octets.
    pub fn force_nonces(&mut self, host: usize, first_octets: &[u8]) {
        self.hosts[host].script.lock().unwrap().nonces = first_octets.iter().copied().collect();
    }

    pub fn rule(&mut self, from: usize, select: Select, action: Action, count: usize) {
        self.net.rules.push(Rule { from, select, action, skip: 0, count });
    }

    pub fn hold(&mut self, from: usize, select: Select) {
        self.rule(from, select, Action::Hold, usize::MAX);
    }

    /// No rules any more, and everything that was held goes its way.
    pub fn release(&mut self) {
        self.net.rules.clear();
        let now = self.now;
        self.net.release(now);
    }

    /// Sends a packet each way on a child.
    pub fn exchange(&mut self, child: usize) -> [u64; 2] {
        [A, B].map(|host| {
            let to = 1 - host;
            self.send_inner(host, inner(host, child), inner(to, child))
        })
    }

    /// Runs for `span` with a packet each way on every child each `every`; gives their numbers.
    pub fn run_with_traffic(&mut self, span: Duration, every: Duration) -> Vec<u64> {
        let end = self.now + span;
        let mut numbers = Vec::new();
        while self.now < end {
            for child in 0..self.children {
                numbers.extend(self.exchange(child));
            }
            self.run_for(every);
        }
        self.seconds(1);
        numbers
    }

    pub fn lost_of(&self, numbers: &[u64]) -> Vec<u64> {
        numbers.iter().copied().filter(|number| !self.delivered(*number)).collect()
    }

    pub fn assert_none_lost(&self, numbers: &[u64]) {
        let lost = self.lost_of(numbers);
        assert!(
            lost.is_empty(),
            "{} of {} packets lost: {lost:?}; drops {:?} {:?}; unsendable {} {}",
            lost.len(),
            numbers.len(),
            self.hosts[A].drops,
            self.hosts[B].drops,
            self.hosts[A].unsendable,
            self.hosts[B].unsendable
        );
    }

    /// What is wrong with the state of both ends; traffic is not tried.
    pub fn complaint(&self) -> Option<String> {
        let now = self.clock();
        let mut sas = Vec::new();
        for host in &self.hosts[..2] {
            let name = host.name;
            let status = host.status(now).remove(0);
            let [sa] = status.ike_sas.as_slice() else {
                return Some(format!("{name} has {} IKE SAs: {:#?}", status.ike_sas.len(), status));
            };
            if sa.state != IkeSaState::Established {
                return Some(format!("{name}'s IKE SA is {:?}", sa.state));
            }
            if sa.pending != 0 {
                return Some(format!("{name}'s IKE SA has {} pending: {sa:#?}", sa.pending));
            }
            let endpoint = host.engine.endpoint();
            if endpoint.half_open() != 0 || endpoint.sa_count() > 1 && !self.renewing {
                return Some(format!(
                    "{name} holds {} half-open, {} in all",
                    endpoint.half_open(),
                    endpoint.sa_count()
                ));
            }
            let names: BTreeSet<_> = sa.children.iter().map(|child| child.child.clone()).collect();
            let wanted: BTreeSet<_> = (0..self.children).map(child_name).collect();
            if names != wanted || sa.children.len() != self.children {
                return Some(format!("{name} has other children than configured: {:#?}", sa.children));
            }
            if let Some(child) = sa
                .children
                .iter()
                .find(|child| child.state != ChildState::Established || !child.outbound_active)
            {
                return Some(format!("{name}'s child is not in use: {child:#?}"));
            }
            if host.engine.sad().len() != self.children {
                return Some(format!("{name}'s SAD has {} SAs", host.engine.sad().len()));
            }
            if status.next_attempt.is_some() {
                return Some(format!("{name} still plans to connect"));
            }
            sas.push(sa.clone());
        }
        let spis = |sa: &IkeSaStatus| (sa.initiator_spi, sa.responder_spi);
        if spis(&sas[0]) != spis(&sas[1]) {
            return Some(format!("different IKE SAs: {:x?} {:x?}", spis(&sas[0]), spis(&sas[1])));
        }
        if sas[0].initiator == sas[1].initiator {
            return Some("both ends have the same role".to_owned());
        }
        let pairs = |sa: &IkeSaStatus, swap: bool| {
            let pair = |child: &skybridge::ike::ChildStatus| match swap {
                false => (child.child.clone(), child.inbound_spi, child.outbound_spi),
                true => (child.child.clone(), child.outbound_spi, child.inbound_spi),
            };
            sa.children.iter().map(pair).collect::<BTreeSet<_>>()
        };
        if pairs(&sas[0], false) != pairs(&sas[1], true) {
            return Some(format!(
                "different Child SAs: {:x?} {:x?}",
                pairs(&sas[0], false),
                pairs(&sas[1], true)
            ));
        }
        let [a, b] = [&self.hosts[A].keys, &self.hosts[B].keys];
        let ike = spis(&sas[0]);
        if !a.ike.contains_key(&ike) || a.ike.get(&ike) != b.ike.get(&ike) {
            return Some("the IKE keys differ".to_owned());
        }
        for (_, inbound, outbound) in pairs(&sas[0], false) {
            for spi in [inbound, outbound] {
                if !a.esp.contains_key(&spi) || a.esp.get(&spi) != b.esp.get(&spi) {
                    return Some(format!("the keys of {spi:08x} differ"));
                }
            }
        }
        None
    }

    /// Sends a packet each way on every child; tells what did not arrive.
    pub fn probe_traffic(&mut self) -> Option<String> {
        let mut numbers = Vec::new();
        for child in 0..self.children {
            numbers.extend(self.exchange(child));
        }
        self.seconds(2);
        let lost = self.lost_of(&numbers);
        (!lost.is_empty()).then(|| {
            format!(
                "{} of {} test packets did not pass: {:?} {:?}",
                lost.len(),
                numbers.len(),
                self.hosts[A].drops,
                self.hosts[B].drops
            )
        })
    }

    /// Nothing lingers, both ends agree, traffic passes. Waits for lingering SAs first.
    pub fn assert_healthy(&mut self) {
        self.run_while_healthy_not(Duration::from_secs(120));
        if let Some(complaint) = self.complaint() {
            panic!("after {:?}: {complaint}", self.now);
        }
        if let Some(complaint) = self.probe_traffic() {
            panic!("after {:?}: {complaint}", self.now);
        }
    }

    /// Runs until the pair is healthy, at most for `span`.
    pub fn run_while_healthy_not(&mut self, span: Duration) -> bool {
        let end = self.now + span;
        while self.complaint().is_some() {
            if self.now >= end {
                return false;
            }
            self.run_for(Duration::from_millis(500));
        }
        true
    }
}
