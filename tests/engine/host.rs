//! One machine: an engine, the snapshot its workers would read, and a data path of a few lines that
//! reports to the engine what real workers report.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use skybridge::engine::{Engine, EngineConfig, Event, PeerSettings};
use skybridge::esp::{DropReason, Report, Snapshot, SpdAction, summarize};
use skybridge::ike::{
    self, CollisionStats, DownReason, EndpointSettings, IkeCounters, KeyLog, Now, PeerStatus,
};
use skybridge::wire::ip::{Ecn, InnerPacket};

use crate::random::{SharedScript, SimRandom};

/// An IKE SA's SPIs, the initiator's first.
pub type IkeSpis = ([u8; 8], [u8; 8]);

/// An ESP packet with the source address it is to have, if any, and its destination.
pub type Sealed = (Option<IpAddr>, SocketAddr, Vec<u8>);

/// Keys as an engine logged them.
#[derive(Default)]
pub struct Keys {
    /// By SPI: encryption and integrity key.
    pub esp: BTreeMap<u32, (Vec<u8>, Vec<u8>)>,
    /// By SPI pair: all four keys.
    pub ike: BTreeMap<IkeSpis, Vec<Vec<u8>>>,
}

/// What a host starts with, again after a restart.
#[derive(Clone)]
pub struct Setup {
    pub settings: EndpointSettings,
    pub peers: Vec<PeerSettings>,
    pub seed: u64,
}

/// See the module.
pub struct Host {
    pub name: &'static str,
    pub address: IpAddr,
    pub engine: Engine,
    pub snapshot: Arc<Snapshot>,
    pub setup: Setup,
    pub script: SharedScript,
    pub keys: Keys,
    /// Everything the engine said, but for keys, with the time.
    pub events: Vec<(Duration, Event)>,
    /// Refusals, for the operator.
    pub refusals: Vec<String>,
    /// Why SAs ended.
    pub ike_down: Vec<DownReason>,
    pub child_down: Vec<DownReason>,
    /// Inner packets that came out, by number.
    pub delivered: BTreeSet<u64>,
    /// Inner packets for which there was no SA.
    pub unsendable: u64,
    pub drops: BTreeMap<&'static str, u64>,
    pub keepalives: u64,
    restarts: u64,
    collisions_before: CollisionStats,
    counters_before: IkeCounters,
    epoch: Instant,
    acquired: BTreeMap<u64, Duration>,
}

/// An inner IPv4 packet with UDP that carries a number.
pub fn inner_packet(src: Ipv4Addr, dst: Ipv4Addr, number: u64) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 36, 0, 0, 0, 0, 64, 17, 0, 0];
    packet.extend(src.octets());
    packet.extend(dst.octets());
    let sum: u32 = packet.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap();
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet.extend([0x30, 0x39, 0x30, 0x39, 0, 16, 0, 0]);
    packet.extend(number.to_be_bytes());
    packet
}

fn number_of(inner: &[u8]) -> Option<u64> {
    inner.get(28..36).map(|octets| u64::from_be_bytes(octets.try_into().unwrap()))
}

fn engine_of(setup: &Setup, restarts: u64, script: &SharedScript, epoch: Instant, now: Now) -> Engine {
    let config = EngineConfig {
        settings: setup.settings.clone(),
        peers: setup.peers.clone(),
        replay_window: 4096,
        epoch,
    };
    let random = SimRandom::new(setup.seed.wrapping_add(restarts.wrapping_mul(0x1_0001)), Arc::clone(script));
    Engine::new(config, Box::new(random), now)
}

impl Host {
    pub fn new(name: &'static str, address: IpAddr, setup: Setup, epoch: Instant, now: Now) -> Self {
        let script = SharedScript::default();
        Self {
            name,
            address,
            engine: engine_of(&setup, 0, &script, epoch, now),
            snapshot: Arc::default(),
            setup,
            script,
            keys: Keys::default(),
            events: Vec::new(),
            refusals: Vec::new(),
            ike_down: Vec::new(),
            child_down: Vec::new(),
            delivered: BTreeSet::new(),
            unsendable: 0,
            drops: BTreeMap::new(),
            keepalives: 0,
            restarts: 0,
            collisions_before: CollisionStats::default(),
            counters_before: IkeCounters::default(),
            epoch,
            acquired: BTreeMap::new(),
        }
    }

    /// Everything in memory is gone, as after kill -9.
    pub fn crash(&mut self, now: Now) {
        self.collisions_before = self.collisions();
        self.counters_before = self.counters();
        self.restarts += 1;
        self.engine = engine_of(&self.setup, self.restarts, &self.script, self.epoch, now);
        self.snapshot = Arc::default();
        self.acquired.clear();
    }

    /// Over all restarts.
    pub fn collisions(&self) -> CollisionStats {
        let mut sum = self.collisions_before;
        sum.add(&self.engine.endpoint().collisions());
        sum
    }

    /// Over all restarts.
    pub fn counters(&self) -> IkeCounters {
        let mut sum = self.counters_before;
        sum.add(&self.engine.endpoint().counters());
        sum
    }

    pub fn status(&self, now: Now) -> Vec<PeerStatus> {
        self.engine.endpoint().status(now)
    }

    pub fn note(&mut self, at: Duration, event: Event) {
        match &event {
            Event::Ike(ike::Event::KeyLog(KeyLog::Esp { spi, encryption, integrity, .. })) => {
                let keys = (encryption.expose().to_vec(), integrity.expose().to_vec());
                self.keys.esp.insert(*spi, keys);
                return;
            }
            Event::Ike(ike::Event::KeyLog(KeyLog::Ike {
                initiator_spi,
                responder_spi,
                sk_ei,
                sk_er,
                sk_ai,
                sk_ar,
                ..
            })) => {
                let keys = [sk_ei, sk_er, sk_ai, sk_ar].map(|key| key.expose().to_vec());
                self.keys.ike.insert((*initiator_spi, *responder_spi), keys.to_vec());
                return;
            }
            Event::Ike(ike::Event::Refused { reason, .. }) => self.refusals.push(reason.clone()),
            Event::Ike(ike::Event::IkeDown { reason, .. }) => self.ike_down.push(reason.clone()),
            Event::ChildDown { reason, .. } => self.child_down.push(reason.clone()),
            _ => {}
        }
        self.events.push((at, event));
    }

    /// Seals an inner packet by the snapshot. Gives source, destination and ESP packet, and what is to be
    /// reported.
    pub fn seal(&mut self, at: Duration, packet: &[u8]) -> (Option<Sealed>, Vec<Report>) {
        let millis = millis(at);
        let view = InnerPacket::parse(packet).unwrap();
        let mut reports = Vec::new();
        let Ok((index, entry)) = self.snapshot.outbound(&view, packet) else {
            self.unsendable += 1;
            return (None, reports);
        };
        let SpdAction::Protect { outbound, .. } = &entry.action else { return (None, reports) };
        let Some(sa) = outbound else {
            self.unsendable += 1;
            let due = self.acquired.get(&index).is_none_or(|last| at >= *last + Duration::from_secs(1));
            if due {
                self.acquired.insert(index, at);
                let generation = self.snapshot.generation();
                reports.push(Report::Acquire { entry: index, generation, packet: summarize(&view) });
            }
            return (None, reports);
        };
        let reservation = match sa.reserve(1, packet.len() as u64) {
            Ok(reservation) => reservation,
            Err(reason) => {
                *self.drops.entry(reason.name()).or_default() += 1;
                if reason == DropReason::OutboundHardLimit && sa.first_hard_limit() {
                    reports.push(Report::HardLimit { child: sa.child(), spi: sa.spi() });
                }
                return (None, reports);
            }
        };
        if reservation.soft_limit {
            reports.push(Report::SoftLimit { child: sa.child(), spi: sa.spi() });
        }
        let mut out = vec![0; sa.sealed_len(packet.len())];
        let len = sa.seal(reservation.sequences.start, 4, packet, &[7; 16], millis, &mut out).unwrap();
        out.truncate(len);
        let path = sa.path().get();
        (Some((path.local, path.remote, out)), reports)
    }

    /// Opens an ESP packet by the snapshot, and reports as workers do.
    pub fn open(&mut self, at: Duration, local: SocketAddr, remote: SocketAddr, esp: &[u8]) -> Vec<Report> {
        let millis = millis(at);
        let mut reports = Vec::new();
        let mut packet = esp.to_vec();
        let spi = u32::from_be_bytes(packet.first_chunk::<4>().copied().unwrap_or_default());
        let Some(sa) = self.snapshot.inbound(spi) else {
            *self.drops.entry(DropReason::UnknownSpi.name()).or_default() += 1;
            return vec![Report::UnknownSpi { spi, local, remote }];
        };
        let opened = match sa.open(&mut packet, Ecn::from_bits(0), millis) {
            Ok(opened) => opened,
            Err(refused) => {
                *self.drops.entry(refused.reason.name()).or_default() += 1;
                if refused.reason == DropReason::InboundHardLimit && sa.first_hard_limit() {
                    reports.push(Report::HardLimit { child: sa.child(), spi });
                }
                return reports;
            }
        };
        if opened.first {
            reports.push(Report::FirstInbound { child: sa.child(), spi });
        }
        if opened.soft_limit {
            reports.push(Report::SoftLimit { child: sa.child(), spi });
        }
        let path = sa.path().get();
        let moved = remote != path.remote || path.local.is_some_and(|expected| expected != local.ip());
        if moved && opened.highest && sa.path().may_report_moved(millis) {
            reports.push(Report::PeerMoved { child: sa.child(), spi, local, remote });
        }
        if let Some(range) = opened.inner
            && let Some(number) = number_of(&packet[range])
        {
            self.delivered.insert(number);
        }
        reports
    }
}

fn millis(at: Duration) -> u64 {
    u64::try_from(at.as_millis()).unwrap()
}
