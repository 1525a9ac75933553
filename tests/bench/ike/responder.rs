//! The measured process: one responder with thousands of peers, and nothing else in it.

use std::hint::black_box;
use std::io::{BufReader, BufWriter, stdin, stdout};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use skybridge::engine::Engine;
use skybridge::esp::Snapshot;
use skybridge::ike::{Datagram, Now, Transmit};
use skybridge::wire::ip::InnerPacket;

use crate::measure::{cpu, resident, timed, us};
use crate::pipe::{Order, write_answers, write_text};
use crate::world::{self, Auth, Credentials, at};

struct Responder {
    engine: Engine,
    snapshot: Arc<Snapshot>,
    start: Instant,
    now: Now,
    /// CPU time of the engine but for publications.
    spent: Duration,
    publishing: Duration,
    publications: u64,
    wakeups: u64,
}

impl Responder {
    fn publish(&mut self) {
        let before = cpu();
        if let Some(snapshot) = self.engine.poll_snapshot() {
            // As the daemon does: the old one is freed by whoever held it last.
            self.snapshot = snapshot;
            self.publishing += cpu() - before;
            self.publications += 1;
        }
    }

    fn drain(&mut self, transmits: &mut Vec<Transmit>) {
        self.publish();
        let engine = &mut self.engine;
        timed(&mut self.spent, || {
            transmits.extend(std::iter::from_fn(|| engine.poll_transmit()));
            while engine.poll_event().is_some() {}
        });
    }

    fn datagram(&mut self, from: usize, encapsulated: bool, octets: &[u8]) -> Vec<Transmit> {
        let port = if encapsulated { 4500 } else { 500 };
        let (local, remote) = ((world::RESPONDER, port).into(), (world::address(from), port).into());
        let (engine, now) = (&mut self.engine, self.now);
        timed(&mut self.spent, || {
            engine.handle_datagram(now, Datagram { local, remote, octets, encapsulated });
            black_box(engine.poll_timeout());
        });
        let mut transmits = Vec::new();
        self.drain(&mut transmits);
        transmits
    }

    /// Lets time pass as the daemon does: it sleeps until the next deadline and not longer.
    fn time(&mut self, micros: u64) -> Vec<Transmit> {
        let until = at(self.start, Duration::from_micros(micros));
        let mut transmits = Vec::new();
        loop {
            let engine = &mut self.engine;
            let next = timed(&mut self.spent, || engine.poll_timeout());
            let Some(due) = next.filter(|due| *due <= until.mono) else { break };
            self.now.mono = due.max(self.now.mono);
            let now = self.now;
            timed(&mut self.spent, || engine.handle_timeout(now));
            self.wakeups += 1;
            self.drain(&mut transmits);
        }
        self.now = until;
        transmits
    }

    fn figures(&mut self) -> String {
        self.publish();
        let counters = self.engine.endpoint().counters();
        let mut asked = Duration::ZERO;
        let now = self.now;
        let peers = timed(&mut asked, || self.engine.endpoint().status(now).len());
        let text = json!({
            "resident": resident("self"),
            "tunnels": self.engine.sad().len(),
            "peers": peers,
            "status_us": us(asked),
            "cpu_us": us(self.spent),
            "publishing_us": us(self.publishing),
            "publications": self.publications,
            "wakeups": self.wakeups,
            "dpd_sent": counters.dpd_sent,
            "retransmits": counters.retransmits,
        });
        (self.spent, self.publishing) = (Duration::ZERO, Duration::ZERO);
        (self.publications, self.wakeups) = (0, 0);
        text.to_string()
    }

    /// Nanoseconds of one lookup in the SAD and in the SPD, over random tunnels.
    fn lookups(&mut self, tunnels: usize) -> String {
        self.publish();
        const LOOKUPS: usize = 200_000;
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 33).unwrap()
        };
        let spis: Vec<u32> = self.snapshot.inbound_sas().map(|sa| sa.spi()).collect();
        let wanted: Vec<u32> = (0..LOOKUPS).map(|_| spis[next() % spis.len()]).collect();
        let before = cpu();
        let found = wanted.iter().filter(|spi| black_box(self.snapshot.inbound(**spi)).is_some()).count();
        let sad = cpu() - before;
        assert_eq!(found, LOOKUPS, "an SPI is missing");
        let packets: Vec<Vec<u8>> = (0..LOOKUPS).map(|_| packet(next() % tunnels)).collect();
        let parsed: Vec<InnerPacket> =
            packets.iter().map(|octets| InnerPacket::parse(octets).unwrap()).collect();
        let before = cpu();
        let found = parsed
            .iter()
            .zip(&packets)
            .filter(|(packet, octets)| black_box(self.snapshot.outbound(packet, octets)).is_ok())
            .count();
        let spd = cpu() - before;
        assert_eq!(found, LOOKUPS, "a packet has no policy");
        let each = |time: Duration| time.as_secs_f64() * 1e9 / LOOKUPS as f64;
        json!({ "sad_ns": each(sad), "spd_ns": each(spd) }).to_string()
    }
}

/// A UDP packet from the responder's side to a network behind an initiator.
fn packet(index: usize) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 172, 16, 0, 9];
    let mut to = world::network(index).octets();
    to[3] = 77;
    packet.extend(to);
    packet.extend([0x30, 0x39, 0x30, 0x39, 0, 8, 0, 0]);
    packet
}

/// Serves the generator until it closes the pipe.
pub fn run(peers: usize) {
    let start = Instant::now();
    let now = at(start, Duration::ZERO);
    let mut responder = Responder {
        engine: world::hub(&Credentials::new(Auth::Psk), peers, now),
        snapshot: Arc::default(),
        start,
        now,
        spent: Duration::ZERO,
        publishing: Duration::ZERO,
        publications: 0,
        wakeups: 0,
    };
    responder.engine.handle_timeout(now);
    responder.drain(&mut Vec::new());
    let (mut input, mut output) = (BufReader::new(stdin().lock()), BufWriter::new(stdout().lock()));
    while let Some(order) = Order::read(&mut input) {
        match order {
            Order::Datagram { from, encapsulated, octets } => {
                write_answers(&mut output, &responder.datagram(from, encapsulated, &octets));
            }
            Order::Time(micros) => write_answers(&mut output, &responder.time(micros)),
            Order::Figures => write_text(&mut output, &responder.figures()),
            Order::Lookups(tunnels) => write_text(&mut output, &responder.lookups(tunnels)),
        }
    }
}
