//! Many tunnels on one responder. The responder is a process of its own; the initiators live in this one, keep
//! their SAs and answer probes, so that nothing of theirs is in the figures.

use std::io::{BufReader, BufWriter};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use comfy_table::{CellAlignment, Table};
use serde_json::{Value, json};
use skybridge::engine::Engine;
use skybridge::ike::Transmit;

use crate::measure::round;
use crate::pipe::{Answers, Order, read_answers, read_text};
use crate::world::{self, Auth, Credentials, at, datagram, drain};

/// Between two handshakes on the simulated clock.
const PACE: Duration = Duration::from_millis(2);
/// One step of the simulated clock while nothing but DPD happens; shorter than any retransmission.
const STEP: Duration = Duration::from_millis(200);

/// What was measured with one number of tunnels.
pub struct Figures {
    tunnels: usize,
    resident_before: f64,
    resident: f64,
    first_us: f64,
    last_us: f64,
    publication_us: f64,
    idle_ms: f64,
    probes: f64,
    wakeups: f64,
    status_ms: f64,
    sad_ns: f64,
    spd_ns: f64,
}

struct Hub {
    process: Child,
    input: BufWriter<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Hub {
    fn start(peers: usize) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args([crate::RESPONDER, &peers.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = BufWriter::new(process.stdin.take().unwrap());
        let output = BufReader::new(process.stdout.take().unwrap());
        Self { process, input, output }
    }

    fn datagram(&mut self, from: usize, transmit: &Transmit) -> Answers {
        let (encapsulated, octets) = (transmit.encapsulated, transmit.octets.clone());
        Order::Datagram { from, encapsulated, octets }.write(&mut self.input);
        read_answers(&mut self.output)
    }

    fn time(&mut self, now: Duration) -> Answers {
        Order::Time(u64::try_from(now.as_micros()).unwrap()).write(&mut self.input);
        read_answers(&mut self.output)
    }

    fn ask(&mut self, order: &Order) -> Value {
        order.write(&mut self.input);
        serde_json::from_str(&read_text(&mut self.output)).unwrap()
    }

    fn stop(mut self) {
        drop(self.input);
        self.process.wait().unwrap();
    }
}

/// The initiators and the clock that both processes share.
struct World {
    hub: Hub,
    initiators: Vec<Engine>,
    start: Instant,
    clock: Duration,
}

impl World {
    /// Carries datagrams to and fro until both sides are silent.
    fn carry(&mut self, answers: Answers) {
        let mut pending = answers;
        while let Some((to, transmit)) = pending.pop() {
            let now = at(self.start, self.clock);
            let initiator = &mut self.initiators[to];
            initiator.handle_datagram(now, datagram(&transmit, to, false));
            for transmit in drain(initiator) {
                pending.extend(self.hub.datagram(to, &transmit));
            }
        }
    }

    fn connect(&mut self, credentials: &Credentials) {
        let index = self.initiators.len();
        let now = at(self.start, self.clock);
        let mut initiator = world::initiator(credentials, Some(index), now);
        initiator.handle_timeout(now);
        let requests = drain(&mut initiator);
        self.initiators.push(initiator);
        for request in requests {
            let answers = self.hub.datagram(index, &request);
            self.carry(answers);
        }
        assert_eq!(self.initiators[index].sad().len(), 1, "tunnel {index} did not come up");
    }

    fn pass(&mut self, span: Duration) {
        self.clock += span;
        let answers = self.hub.time(self.clock);
        self.carry(answers);
    }
}

fn number(value: &Value, name: &str) -> f64 {
    value[name].as_f64().unwrap_or_else(|| panic!("no {name} in {value}"))
}

/// Brings up so many tunnels one after the other, then lets them idle.
pub fn measure(tunnels: usize, quick: bool) -> Figures {
    let credentials = Credentials::new(Auth::Psk);
    let start = Instant::now();
    let mut world = World { hub: Hub::start(tunnels), initiators: Vec::new(), start, clock: Duration::ZERO };
    let before = world.hub.ask(&Order::Figures);
    let share = (tunnels / 10).clamp(1, 500);
    let (mut first, mut last) = (Value::Null, Value::Null);
    for index in 0..tunnels {
        if index == tunnels - share {
            world.hub.ask(&Order::Figures);
        }
        world.connect(&credentials);
        world.pass(PACE);
        if index + 1 == share {
            first = world.hub.ask(&Order::Figures);
        }
        if index + 1 == tunnels {
            last = world.hub.ask(&Order::Figures);
        }
    }
    assert_eq!(number(&last, "tunnels"), tunnels as f64, "tunnels are missing");
    let lookups = world.hub.ask(&Order::Lookups(tunnels));
    // Once round, so that every probe is as far from the last as it will be.
    let idle = if quick { world::DPD } else { world::DPD * 2 };
    for _ in 0..(world::DPD.as_millis() / STEP.as_millis()) {
        world.pass(STEP);
    }
    let settled = world.hub.ask(&Order::Figures);
    for _ in 0..(idle.as_millis() / STEP.as_millis()) {
        world.pass(STEP);
    }
    let after = world.hub.ask(&Order::Figures);
    world.hub.stop();
    assert_eq!(number(&after, "tunnels"), tunnels as f64, "tunnels were lost while idle");
    let handshake = |figures: &Value| number(figures, "cpu_us") / share as f64;
    Figures {
        tunnels,
        resident_before: number(&before, "resident"),
        resident: number(&after, "resident").max(number(&last, "resident")),
        first_us: handshake(&first),
        last_us: handshake(&last),
        publication_us: number(&last, "publishing_us") / number(&last, "publications").max(1.0),
        idle_ms: (number(&after, "cpu_us") + number(&after, "publishing_us")) / 1000.0 / idle.as_secs_f64(),
        probes: (number(&after, "dpd_sent") - number(&settled, "dpd_sent")) / idle.as_secs_f64(),
        wakeups: number(&after, "wakeups") / idle.as_secs_f64(),
        status_ms: number(&after, "status_us") / 1000.0,
        sad_ns: number(&lookups, "sad_ns"),
        spd_ns: number(&lookups, "spd_ns"),
    }
}

impl Figures {
    fn per_tunnel(&self) -> f64 {
        (self.resident - self.resident_before) / self.tunnels as f64
    }

    pub fn json(&self) -> Value {
        json!({
            "tunnels": self.tunnels,
            "resident_before_octets": self.resident_before,
            "resident_octets": self.resident,
            "octets_per_tunnel": round(self.per_tunnel(), 0),
            "handshake_us_first": round(self.first_us, 1),
            "handshake_us_last": round(self.last_us, 1),
            "publication_us": round(self.publication_us, 1),
            "idle_cpu_ms_per_second": round(self.idle_ms, 3),
            "dpd_probes_per_second": round(self.probes, 1),
            "wakeups_per_second": round(self.wakeups, 1),
            "status_ms": round(self.status_ms, 2),
            "sad_lookup_ns": round(self.sad_ns, 1),
            "spd_lookup_ns": round(self.spd_ns, 1),
        })
    }

    fn row(&self) -> [String; 11] {
        let mib = |octets: f64| format!("{:.1} MB", octets / 1e6);
        [
            self.tunnels.to_string(),
            mib(self.resident),
            mib(self.resident_before),
            format!("{:.1} kB", self.per_tunnel() / 1e3),
            format!("{:.0} µs", self.first_us),
            format!("{:.0} µs", self.last_us),
            format!("{:.0} µs", self.publication_us),
            format!("{:.2} ms", self.idle_ms),
            format!("{:.0}", self.probes),
            format!("{:.1} ms", self.status_ms),
            format!("{:.0} / {:.0} ns", self.sad_ns, self.spd_ns),
        ]
    }
}

/// The table for people.
pub fn print(all: &[Figures]) {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
    table.set_header([
        "tunnels",
        "resident",
        "of it before",
        "a tunnel",
        "first handshakes",
        "last handshakes",
        "publication",
        "CPU an idle second",
        "probes/s",
        "whole status",
        "SAD / SPD lookup",
    ]);
    for figures in all {
        table.add_row(figures.row());
    }
    for column in 0..11 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    println!(
        "One responder's engine with a configured peer for each tunnel (PSK, DPD every {} s)\n{table}\n",
        world::DPD.as_secs()
    );
}
