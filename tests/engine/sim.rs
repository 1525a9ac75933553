//! The simulation: hosts and network driven by one virtual clock, step by step.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use skybridge::esp::Report;
use skybridge::ike::{Command, CommandError, Now, PeerName, Transmit, TransmitKind};
use skybridge::wire::udp_encap::{Encapsulated, NON_ESP_MARKER, demux};

use crate::host::{Host, Setup, inner_packet};
use crate::net::{Kind, Net, Packet, kind_name};

/// The wall clock at the start: 2026-11-01.
pub const UNIX_START: i64 = 1_793_491_200;
/// An engine that wants to be woken this often at one instant will never let time pass.
const MAX_WAKES_AT_ONE_INSTANT: u32 = 200;

/// See the module.
pub struct Sim {
    pub net: Net,
    pub hosts: Vec<Host>,
    /// Since the start.
    pub now: Duration,
    base: Instant,
    wakes: u32,
    next_number: u64,
    /// Which host sent which inner packet.
    pub sent: BTreeMap<u64, usize>,
    /// What happened, readable; only if asked for.
    pub trace: Option<Vec<String>>,
}

impl Sim {
    pub fn new(seed: u64, hosts: Vec<(&'static str, IpAddr, Setup)>) -> Self {
        let base = Instant::now();
        let now = Now::new(base, UNIX_START);
        let net = Net::new(seed, hosts.len());
        let hosts = hosts
            .into_iter()
            .map(|(name, address, setup)| Host::new(name, address, setup, base, now))
            .collect();
        Self {
            net,
            hosts,
            now: Duration::ZERO,
            base,
            wakes: 0,
            next_number: 1,
            sent: BTreeMap::new(),
            trace: None,
        }
    }

    pub fn clock(&self) -> Now {
        Now::new(self.base + self.now, UNIX_START + i64::try_from(self.now.as_secs()).unwrap())
    }

    pub fn say(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>10.3} {}", self.now.as_secs_f64(), line()));
        }
    }

    /// Lets both engines do what they do at the start.
    pub fn start(&mut self) {
        for host in 0..self.hosts.len() {
            self.wake(host);
        }
    }

    fn wake(&mut self, host: usize) {
        let now = self.clock();
        self.hosts[host].engine.handle_timeout(now);
        self.pump(host);
    }

    /// Takes everything out of an engine.
    pub fn pump(&mut self, index: usize) {
        let at = self.now;
        loop {
            let mut idle = true;
            while let Some(transmit) = self.hosts[index].engine.poll_transmit() {
                idle = false;
                self.transmit(index, transmit);
            }
            while let Some(event) = self.hosts[index].engine.poll_event() {
                idle = false;
                let name = self.hosts[index].name;
                self.say(|| format!("{name} says {event:?}"));
                self.hosts[index].note(at, event);
            }
            if let Some(snapshot) = self.hosts[index].engine.poll_snapshot() {
                idle = false;
                self.hosts[index].snapshot = snapshot;
            }
            if idle {
                return;
            }
        }
    }

    fn transmit(&mut self, index: usize, transmit: Transmit) {
        let host = &self.hosts[index];
        let local = transmit.local.unwrap_or(host.address);
        if local != host.address {
            let name = host.name;
            return self.say(|| format!("{name} cannot send from {local}"));
        }
        let settings = &host.setup.settings;
        let port = if transmit.encapsulated { settings.natt_port } else { settings.ike_port };
        let octets = match (transmit.encapsulated, transmit.kind) {
            (true, TransmitKind::Ike) => [&NON_ESP_MARKER[..], &transmit.octets].concat(),
            _ => transmit.octets,
        };
        let src = SocketAddr::new(local, port);
        self.put(Packet {
            sender: index,
            src,
            dst: transmit.remote,
            octets,
            encapsulated: transmit.encapsulated,
        });
    }

    fn put(&mut self, packet: Packet) {
        let (kind, sender, dst) = (packet.kind(), packet.sender, packet.dst);
        let fate = self.net.send(self.now, packet);
        let name = self.hosts[sender].name;
        self.say(|| match kind {
            Kind::Ike { id, .. } => format!("{name} → {dst} {} {id}: {fate}", kind_name(kind)),
            Kind::Esp(spi) => format!("{name} → {dst} ESP {spi:08x}: {fate}"),
            _ => format!("{name} → {dst} {}: {fate}", kind_name(kind)),
        });
    }

    fn deliver(&mut self, packet: Packet) {
        let Some(index) = self.hosts.iter().position(|host| host.address == packet.dst.ip()) else { return };
        let kind = packet.kind();
        let name = self.hosts[index].name;
        self.say(|| format!("{name} ← {} {kind:?}", packet.src));
        let now = self.clock();
        let at = self.now;
        let host = &mut self.hosts[index];
        let (local, remote) = (packet.dst, packet.src);
        if packet.dst.port() == host.setup.settings.ike_port {
            let datagram =
                skybridge::ike::Datagram { local, remote, octets: &packet.octets, encapsulated: false };
            host.engine.handle_datagram(now, datagram);
        } else if packet.dst.port() == host.setup.settings.natt_port {
            match demux(&packet.octets) {
                Ok(Encapsulated::Ike(message)) => {
                    let report = Report::Ike { local, remote, octets: message.to_vec() };
                    host.engine.handle_report(now, report);
                }
                Ok(Encapsulated::Esp(esp)) => {
                    for report in host.open(at, local, remote, esp) {
                        host.engine.handle_report(now, report);
                    }
                }
                Ok(Encapsulated::Keepalive) => host.keepalives += 1,
                Err(_) => {}
            }
        }
        self.pump(index);
    }

    /// The time of the next thing to happen.
    pub fn next(&self) -> Option<Duration> {
        let wakes = self.hosts.iter().filter_map(|host| host.engine.poll_timeout());
        let wakes = wakes.map(|at| at.saturating_duration_since(self.base).max(self.now));
        wakes.chain(self.net.next_arrival()).min()
    }

    /// Runs until `until`; everything due then has happened.
    pub fn run_until(&mut self, until: Duration) {
        while let Some(at) = self.next().filter(|at| *at <= until) {
            self.step(at);
        }
        self.now = until;
        self.wakes = 0;
    }

    fn step(&mut self, at: Duration) {
        if at > self.now {
            self.now = at;
            self.wakes = 0;
        }
        while let Some(packet) = self.net.arrived(self.now) {
            self.deliver(packet);
        }
        for index in 0..self.hosts.len() {
            let due = self.hosts[index].engine.poll_timeout();
            if due.is_some_and(|due| due.saturating_duration_since(self.base) <= self.now) {
                self.wakes += 1;
                assert!(
                    self.wakes < MAX_WAKES_AT_ONE_INSTANT,
                    "{} spins at {:?}: {:?} {:#?}",
                    self.hosts[index].name,
                    self.now,
                    self.hosts[index].engine.endpoint().poll_timeout().map(|(_, reason)| reason),
                    self.hosts[index].status(self.clock())
                );
                self.wake(index);
            }
        }
    }

    pub fn run_for(&mut self, span: Duration) {
        self.run_until(self.now + span);
    }

    pub fn seconds(&mut self, seconds: u64) {
        self.run_for(Duration::from_secs(seconds));
    }

    pub fn millis(&mut self, millis: u64) {
        self.run_for(Duration::from_millis(millis));
    }

    pub fn command(&mut self, host: usize, command: Command) -> Result<(), CommandError> {
        let name = self.hosts[host].name;
        self.say(|| format!("{name} is told {command:?}"));
        let now = self.clock();
        let outcome = self.hosts[host].engine.handle_command(now, command);
        self.pump(host);
        outcome
    }

    pub fn report(&mut self, host: usize, report: Report) {
        let name = self.hosts[host].name;
        self.say(|| format!("{name} is reported {report:?}"));
        let now = self.clock();
        self.hosts[host].engine.handle_report(now, report);
        self.pump(host);
    }

    /// The host loses its memory and starts again.
    pub fn crash(&mut self, host: usize) {
        let name = self.hosts[host].name;
        self.say(|| format!("{name} crashes and starts again"));
        let now = self.clock();
        self.hosts[host].crash(now);
        self.wake(host);
    }

    /// An inner packet leaves a host. Gives its number; `delivered` of the other end tells the rest.
    pub fn send_inner(&mut self, host: usize, src: Ipv4Addr, dst: Ipv4Addr) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.sent.insert(number, host);
        let packet = inner_packet(src, dst, number);
        let (sealed, reports) = self.hosts[host].seal(self.now, &packet);
        if let Some((local, remote, octets)) = sealed {
            let local = local.unwrap_or(self.hosts[host].address);
            if local == self.hosts[host].address {
                let src = SocketAddr::new(local, self.hosts[host].setup.settings.natt_port);
                self.put(Packet { sender: host, src, dst: remote, octets, encapsulated: true });
            }
        }
        for report in reports {
            self.report(host, report);
        }
        number
    }

    /// Whether an inner packet has come out anywhere.
    pub fn delivered(&self, number: u64) -> bool {
        self.hosts.iter().any(|host| host.delivered.contains(&number))
    }

    /// What a command needs, for the first peer of a host.
    pub fn peer(&self, host: usize) -> PeerName {
        self.hosts[host].setup.peers[0].ike.name.clone()
    }
}
