//! Seeded random runs: both ends do everything at random times while the link loses, delays, duplicates and
//! reorders; then the link heals, and what is left must be exactly what is configured.
//!
//! `SKYBRIDGE_LONG=1` runs ten times as many seeds; `SKYBRIDGE_SEED=7` runs seed 7 alone with its trace.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use skybridge::esp::{ChildId, Report};
use skybridge::ike::{ChildLifetime, CollisionStats, Command, IkeCounters, IkeLifetime, StartPolicy};

use crate::net::{Link, Nat};
use crate::pair::{A, B, Pair, Plan, child_name, esp, ike, inner, no_limits};
use crate::random::Dice;

const SEEDS: u64 = 1_000;
const LONG_FACTOR: u64 = 10;
const THREADS: usize = 2;
/// How long the ends and the link misbehave.
const STORM: Duration = Duration::from_secs(50);
/// How long everything may take to be in order again: the longest retransmission, and a few backed-off attempts.
const CALM: Duration = Duration::from_secs(300);
/// Lines of a failing seed's trace that are printed.
const TRACE_LINES: usize = 250;

/// What many runs add up to.
#[derive(Default)]
struct Totals {
    seeds: u64,
    collisions: CollisionStats,
    counters: IkeCounters,
    lost: BTreeMap<&'static str, u64>,
    duplicated: BTreeMap<&'static str, u64>,
    longest_calm: (Duration, u64),
    failures: Vec<(u64, String, Vec<String>)>,
}

impl Totals {
    fn take(&mut self, pair: &Pair) {
        for host in &pair.hosts {
            self.collisions.add(&host.collisions());
            self.counters.add(&host.counters());
        }
        for (kind, count) in &pair.net.lost {
            *self.lost.entry(kind).or_default() += count;
        }
        for (kind, count) in &pair.net.duplicated {
            *self.duplicated.entry(kind).or_default() += count;
        }
    }
}

/// One run, from its seed alone.
struct Run {
    dice: Dice,
    pair: Pair,
    /// What is due later: the other half of an action.
    later: BTreeMap<(Duration, u64), Deed>,
    number: u64,
    natted: bool,
}

#[derive(Clone, Copy, Debug)]
enum Deed {
    RekeyChild(usize, usize),
    RekeyIke(usize),
    DownChild(usize, usize),
    UpChild(usize, usize),
    Down(usize),
    Up(usize),
    HardLimit(usize, usize),
    SoftLimit(usize, usize),
    Reload(usize, usize),
    Crash(usize),
    Stop(usize),
    Rebind,
    Blackout,
    LinkUp,
    Traffic(usize),
}

fn pick<T: Copy>(dice: &mut Dice, from: &[T]) -> T {
    from[usize::try_from(dice.below(from.len() as u64)).unwrap()]
}

impl Run {
    fn new(seed: u64, trace: bool) -> Self {
        let mut dice = Dice::new(seed.wrapping_mul(0xd6e8_feb8_6659_fd93));
        let children = pick(&mut dice, &[1, 1, 2, 3]);
        let mut plan = Plan::new(children).seed(seed);
        plan = match dice.below(4) {
            0 | 1 => plan,
            _ => plan.start_policy(B, StartPolicy::Connect),
        };
        if dice.chance(0.25) {
            // INVALID_KE_PAYLOAD in every exchange that A begins with its first group.
            plan = plan
                .with(A, |end| end.peer.ike = ike("aes128gcm16-prfsha256-x25519-ecp256"))
                .with(B, |end| end.peer.ike = ike("aes128gcm16-prfsha256-ecp256"))
                .with(A, |end| {
                    end.peer
                        .children
                        .iter_mut()
                        .for_each(|child| child.esp = esp("aes128gcm16-x25519-ecp256"))
                })
                .with(B, |end| {
                    end.peer.children.iter_mut().for_each(|child| child.esp = esp("aes128gcm16-ecp256"))
                });
        }
        let renewing = dice.chance(0.3);
        if renewing {
            let (rekey, jitter) = (15 + dice.below(10), 0.2);
            let lifetime = ChildLifetime {
                rekey_time: Some(Duration::from_secs(rekey)),
                hard_time: Some(Duration::from_secs(rekey + 10)),
                jitter,
                ..no_limits()
            };
            let rekey = 30 + dice.below(20);
            let ike = IkeLifetime {
                rekey: Duration::from_secs(rekey),
                hard: Duration::from_secs(rekey + 15),
                jitter,
            };
            plan = plan.both(|end| {
                end.peer.ike_lifetime = ike;
                end.peer.children.iter_mut().for_each(|child| child.lifetime = lifetime);
            });
        }
        if dice.chance(0.2) {
            plan = plan.both(|end| end.peer.fragment_size = 200);
        }
        if dice.chance(0.15) {
            plan = plan.both(|end| end.settings.cookie_threshold_per_address = 0);
        }
        let natted = dice.chance(0.3);
        if natted {
            plan.addresses[A] = "10.9.9.9".parse().unwrap();
        }
        let mut pair = plan.build();
        pair.renewing = renewing;
        if natted {
            // The public address is the one that B expects A at.
            pair.net.nats.push(Nat::new(
                vec![plan.addresses[A]],
                crate::pair::ADDRESS_A.parse().unwrap(),
                false,
            ));
        }
        if trace {
            pair.trace = Some(Vec::new());
        }
        for link in 0..2 {
            let latency = pick(&mut dice, &[1, 20, 20, 150]);
            let jitter = pick(&mut dice, &[0, 0, 30, 400, 3000]);
            pair.net.links[link] = Link {
                latency: Duration::from_millis(latency),
                jitter: Duration::from_millis(jitter),
                loss: pick(&mut dice, &[0.0, 0.02, 0.1, 0.3]),
                duplicate: pick(&mut dice, &[0.0, 0.05, 0.3]),
                up: true,
            };
        }
        Self { dice, pair, later: BTreeMap::new(), number: 0, natted }
    }

    fn plan(&mut self, after: Duration, deed: Deed) {
        self.number += 1;
        self.later.insert((self.pair.now + after, self.number), deed);
    }

    fn draw_for(&mut self, host: usize) -> Deed {
        let child = usize::try_from(self.dice.below(self.pair.children as u64)).unwrap();
        match self.dice.below(100) {
            0..30 => Deed::RekeyChild(host, child),
            30..48 => Deed::RekeyIke(host),
            48..52 => Deed::Reload(host, child),
            52..66 => Deed::DownChild(host, child),
            66..74 => Deed::Down(host),
            74..82 => Deed::HardLimit(host, child),
            82..86 => Deed::SoftLimit(host, child),
            86..89 => Deed::Crash(host),
            89..91 => Deed::Stop(host),
            91..94 => Deed::Rebind,
            94..96 => Deed::Blackout,
            _ => Deed::Traffic(child),
        }
    }

    /// Plans one action, or two that cross.
    fn draw(&mut self) {
        let host = usize::try_from(self.dice.below(2)).unwrap();
        let deed = self.draw_for(host);
        self.plan(Duration::ZERO, deed);
        if self.dice.chance(0.6) {
            let near = self.dice.below(pick(&mut self.dice.clone(), &[1, 40, 300]));
            let again = self.dice.chance(0.4);
            let other = match deed {
                Deed::RekeyChild(_, child) if again => Deed::RekeyChild(1 - host, child),
                Deed::RekeyIke(_) if again => Deed::RekeyIke(1 - host),
                Deed::DownChild(_, child) if again => Deed::DownChild(1 - host, child),
                Deed::Down(_) if again => Deed::Down(1 - host),
                Deed::Reload(_, child) if again => Deed::Reload(1 - host, child),
                Deed::DownChild(_, child) | Deed::HardLimit(_, child) | Deed::Reload(_, child) => {
                    Deed::RekeyChild(1 - host, child)
                }
                _ => self.draw_for(1 - host),
            };
            self.plan(Duration::from_millis(near), other);
        }
    }

    fn act(&mut self, deed: Deed) {
        let wait = Duration::from_millis(self.dice.below(3_000));
        let peer = |pair: &Pair, host: usize| pair.peer(host);
        self.pair.say(|| format!("--- {deed:?}"));
        // A command that makes no sense at the moment says so and does nothing.
        match deed {
            Deed::RekeyChild(host, child) => {
                let peer = peer(&self.pair, host);
                let _ = self.pair.command(host, Command::RekeyChild { peer, child: child_name(child) });
            }
            Deed::RekeyIke(host) => {
                let peer = peer(&self.pair, host);
                let _ = self.pair.command(host, Command::RekeyIke { peer });
            }
            Deed::DownChild(host, child) => {
                let peer = peer(&self.pair, host);
                let _ = self.pair.command(host, Command::Down { peer, child: Some(child_name(child)) });
                self.plan(wait, Deed::UpChild(host, child));
            }
            Deed::UpChild(host, child) => {
                let peer = peer(&self.pair, host);
                let _ = self.pair.command(host, Command::Up { peer, child: Some(child_name(child)) });
            }
            Deed::Down(host) => {
                let peer = peer(&self.pair, host);
                let _ = self.pair.command(host, Command::Down { peer, child: None });
                self.plan(wait, Deed::Up(host));
            }
            Deed::Up(host) => {
                let peer = peer(&self.pair, host);
                let _ = self.pair.command(host, Command::Up { peer, child: None });
            }
            Deed::HardLimit(host, child) | Deed::SoftLimit(host, child) => {
                let status = self.pair.status_of(host);
                let name = child_name(child);
                let found =
                    status.ike_sas.iter().flat_map(|sa| &sa.children).find(|found| found.child == name);
                if let Some(found) = found {
                    let (child, spi) = (ChildId(found.id.0), found.inbound_spi);
                    let hard = matches!(deed, Deed::HardLimit(..));
                    let report = if hard {
                        Report::HardLimit { child, spi }
                    } else {
                        Report::SoftLimit { child, spi }
                    };
                    self.pair.report(host, report);
                }
            }
            // Another setting, which the peer need not know of.
            Deed::Reload(host, child) => self.pair.reload(host, |setup| {
                let packets = &mut setup.peers[0].ike.children[child].lifetime.hard_packets;
                *packets = if packets.is_some() { None } else { Some(1 << 60) };
            }),
            Deed::Crash(host) => self.pair.crash(host),
            Deed::Stop(host) => {
                let _ = self.pair.command(host, Command::Shutdown);
                self.plan(wait, Deed::Crash(host));
            }
            Deed::Rebind => {
                if let Some(nat) = self.pair.net.nats.first_mut() {
                    nat.rebind(None);
                }
            }
            Deed::Blackout => {
                self.pair.net.links[self.number as usize % 2].up = false;
                let span = self.dice.below(12_000);
                self.plan(Duration::from_millis(span), Deed::LinkUp);
            }
            Deed::LinkUp => self.pair.net.links.iter_mut().for_each(|link| link.up = true),
            Deed::Traffic(child) => {
                self.pair.exchange(child);
            }
        }
    }

    fn do_what_is_due(&mut self) {
        while let Some(entry) = self.later.first_entry().filter(|entry| entry.key().0 <= self.pair.now) {
            let deed = entry.remove();
            self.act(deed);
        }
    }

    fn storm(&mut self) {
        self.pair.start();
        let mut next_draw = Duration::from_millis(self.dice.below(4_000));
        let mut next_traffic = Duration::ZERO;
        while self.pair.now < STORM {
            if self.pair.now >= next_draw {
                self.draw();
                let span = pick(&mut self.dice, &[200, 1_500, 1_500, 6_000]);
                next_draw = self.pair.now + Duration::from_millis(self.dice.below(span));
            }
            if self.pair.now >= next_traffic {
                let child = usize::try_from(self.dice.below(self.pair.children as u64)).unwrap();
                self.pair.exchange(child);
                next_traffic = self.pair.now + Duration::from_millis(50 + self.dice.below(700));
            }
            self.do_what_is_due();
            let due = self.later.first_key_value().map(|((at, _), _)| *at);
            let until = due.into_iter().chain([next_draw, next_traffic]).min().unwrap().max(self.pair.now);
            self.pair.run_until(until);
        }
        while let Some(((at, _), _)) = self.later.first_key_value() {
            let until = (*at).max(self.pair.now);
            self.pair.run_until(until);
            self.do_what_is_due();
        }
    }

    /// The link heals, and nobody does anything any more.
    fn calm(&mut self) -> Result<Duration, String> {
        self.pair.say(|| "--- the link heals".to_owned());
        self.pair.net.links.iter_mut().for_each(|link| *link = Link::default());
        let before = self.pair.now;
        if !self.pair.run_while_healthy_not(CALM) {
            return Err(self.pair.complaint().unwrap_or_default());
        }
        let calm = self.pair.now - before;
        if self.natted {
            // A mapping that was changed last is learnt from the first packet of the side behind it.
            self.pair.send_inner(A, inner(A, 0), inner(B, 0));
            self.pair.seconds(1);
        }
        if let Some(complaint) = self.pair.probe_traffic() {
            return Err(complaint);
        }
        if self.pair.renewing {
            let numbers = self.pair.run_with_traffic(Duration::from_secs(60), Duration::from_millis(400));
            let lost = self.pair.lost_of(&numbers);
            if !lost.is_empty() {
                return Err(format!(
                    "{} of {} packets lost while SAs were renewed on a good link",
                    lost.len(),
                    numbers.len()
                ));
            }
        } else {
            let spis = (self.pair.ike_spis(A), self.pair.child_spis(A));
            self.pair.seconds(60);
            if let Some(complaint) = self.pair.complaint() {
                return Err(format!("healthy, but later: {complaint}"));
            }
            if spis != (self.pair.ike_spis(A), self.pair.child_spis(A)) {
                return Err("SAs change although nobody asked".to_owned());
            }
        }
        Ok(calm)
    }
}

fn run_seed(seed: u64, trace: bool) -> (Result<Duration, String>, Option<Run>) {
    let mut run = None;
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let run = run.insert(Run::new(seed, trace));
        run.storm();
        run.calm()
    }));
    let outcome = outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default())
    });
    (outcome, run)
}

fn environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn random_runs_end_with_exactly_what_is_configured() {
    if let Some(seed) = environment("SKYBRIDGE_SEED") {
        let (outcome, run) = run_seed(seed, true);
        let run = run.unwrap();
        println!("{}", run.pair.trace.as_ref().unwrap().join("\n"));
        println!("seed {seed}, behind NAT {}, renewing {}: {outcome:?}", run.natted, run.pair.renewing);
        assert!(outcome.is_ok(), "seed {seed}: {outcome:?}");
        return;
    }
    let seeds = environment("SKYBRIDGE_SEEDS")
        .unwrap_or(SEEDS * if std::env::var("SKYBRIDGE_LONG").is_ok() { LONG_FACTOR } else { 1 });
    let started = Instant::now();
    let next = AtomicU64::new(0);
    let totals = Mutex::new(Totals::default());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    let (outcome, run) = run_seed(seed, false);
                    let mut totals = totals.lock().unwrap();
                    totals.seeds += 1;
                    if let Some(run) = &run {
                        totals.take(&run.pair);
                    }
                    match outcome {
                        Ok(calm) if calm > totals.longest_calm.0 => totals.longest_calm = (calm, seed),
                        Ok(_) => {}
                        Err(complaint) => totals.failures.push((seed, complaint, Vec::new())),
                    }
                }
            });
        }
    });
    let mut totals = totals.into_inner().unwrap();
    report(&totals, started.elapsed());
    totals.failures.sort_by_key(|(seed, ..)| *seed);
    for (seed, complaint, _) in &totals.failures {
        println!(
            "seed {seed}: {complaint}\n  again with its trace: SKYBRIDGE_SEED={seed} cargo test --test engine random_runs"
        );
    }
    if let Some((seed, ..)) = totals.failures.first() {
        let (_, run) = run_seed(*seed, true);
        let trace = run.and_then(|mut run| run.pair.trace.take()).unwrap_or_default();
        println!("the end of seed {seed}:\n{}", trace[trace.len().saturating_sub(TRACE_LINES)..].join("\n"));
    }
    let failed: Vec<u64> = totals.failures.iter().map(|(seed, ..)| *seed).collect();
    assert!(failed.is_empty(), "{} of {seeds} seeds failed: {failed:?}", failed.len());
    if seeds >= SEEDS {
        let untaken: Vec<_> =
            totals.collisions.entries().into_iter().filter(|(_, count)| *count == 0).collect();
        assert!(untaken.is_empty(), "branches never taken: {untaken:?}");
        for kind in KINDS {
            assert!(totals.lost.contains_key(kind), "no {kind} was ever lost");
            assert!(totals.duplicated.contains_key(kind), "no {kind} was ever duplicated");
        }
    }
}

const KINDS: [&str; 9] = [
    "IKE_SA_INIT request",
    "IKE_SA_INIT response",
    "IKE_AUTH request",
    "IKE_AUTH response",
    "CREATE_CHILD_SA request",
    "CREATE_CHILD_SA response",
    "INFORMATIONAL request",
    "INFORMATIONAL response",
    "ESP",
];

fn report(totals: &Totals, took: Duration) {
    println!("{} seeds in {took:.1?}", totals.seeds);
    println!("longest until all was in order: {:?} (seed {})", totals.longest_calm.0, totals.longest_calm.1);
    println!("\n{:<36} {:>10}", "collision branch", "taken");
    for (name, count) in totals.collisions.entries() {
        println!("{name:<36} {count:>10}");
    }
    println!("\n{:<36} {:>10}", "counter", "sum");
    for (name, count) in totals.counters.entries() {
        println!("{name:<36} {count:>10}");
    }
    println!("\n{:<36} {:>10} {:>10}", "datagram", "lost", "duplicated");
    for kind in KINDS {
        let count = |map: &BTreeMap<&'static str, u64>| map.get(kind).copied().unwrap_or_default();
        println!("{kind:<36} {:>10} {:>10}", count(&totals.lost), count(&totals.duplicated));
    }
}
