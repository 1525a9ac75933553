//! `skybridge demo`: two real daemons join a made-up office and cloud, and a table shows what held.
//!
//! The daemons are this very executable. Every row is measured from outside of them: by traffic
//! between a machine in the office and a Pod, by taps on the wire, by dumps of their namespaces, and by visits from
//! the office to the Services of a cluster.

mod checks;
mod progress;
mod report;
mod services;
mod world;

use std::{
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use self::{progress::Progress, report::Report, services::Scene, world::World};
use super::{Entered, Entry, LabError, enter};

/// What the caller wants of a demo.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Leave the lab up after the checks, until interrupted.
    pub keep: bool,
    /// Print one JSON document on standard output instead of a table.
    pub json: bool,
}

/// Runs the demo. Call it before any thread is started: it enters namespaces of its own by starting
/// the program once more.
///
/// Exit status 0 if every row passed, 1 otherwise.
pub fn run(options: Options) -> ExitCode {
    start(options, ROWS, services::SCENES, Duration::from_secs(3))
}

/// As [`run`], but only brings the tunnel up and measures its throughput, for longer. No speed makes it fail.
pub fn bench(json: bool) -> ExitCode {
    start(Options { keep: false, json }, BENCH_ROWS, &[], Duration::from_secs(10))
}

fn start(options: Options, rows: &[Check], services: &[Scene], measure_for: Duration) -> ExitCode {
    match enter() {
        Ok(Entry::Outside(status)) => status,
        Ok(Entry::Inside(inside)) => perform(&inside, options, rows, services, measure_for),
        Err(error) => failed(&error),
    }
}

fn failed(error: &LabError) -> ExitCode {
    eprintln!("skybridge demo: {error}");
    ExitCode::FAILURE
}

/// One row: what is shown, and the measurement behind it, which gives the row's detail.
type Check = (&'static str, fn(&mut World) -> Result<String, LabError>);

/// Rows that make no sense without a tunnel come after the first.
const TUNNEL: Check = ("tunnel up", checks::tunnel_up);

const ROWS: &[Check] = &[
    ("ping, both ways, IPv4 and IPv6", checks::ping),
    ("64 MiB over HTTP from the Pod to the office", checks::file_to_office),
    ("64 MiB over HTTP from the office to the Pod", checks::file_to_pod),
    ("UDP as large as the MTU, and larger", checks::datagrams),
    ("new IKE and Child SA keys under 10,000 packets/s to the Pod", checks::rekey_to_pod),
    ("new IKE and Child SA keys under 10,000 packets/s to the office", checks::rekey_to_office),
    ("only IKE and ESP in UDP on the wire", checks::wire),
    ("throughput beside plain routing", checks::throughput),
    ("cloud daemon killed with -9, and back", checks::cloud_killed),
    ("office daemon killed with -9, and back", checks::office_killed),
    ("no clear packet at any moment", checks::no_clear_packet),
];

const BENCH_ROWS: &[Check] = &[("throughput beside plain routing", checks::throughput)];

fn perform(
    inside: &Entered,
    options: Options,
    rows: &[Check],
    scenes: &[Scene],
    measure_for: Duration,
) -> ExitCode {
    let begun = Instant::now();
    let progress = Progress::new(options.json);
    let mut report = Report::default();
    let total = rows.len() + 2 + if scenes.is_empty() { 0 } else { scenes.len() + 1 };
    // The daemons are started from threads of this process, so the link leads to this executable.
    let program = Path::new("/proc/self/exe");
    if !scenes.is_empty() {
        services::perform(inside, program, &progress, total, scenes, &mut report);
    }
    progress.say("building an office, the internet and a cloud, and measuring plain routing");
    let mut world = match World::build(inside, program, measure_for) {
        Ok(world) => world,
        Err(error) => {
            progress.done();
            return failed(&error);
        }
    };
    let (name, measure) = TUNNEL;
    let up = report.run(&progress, total, name, || measure(&mut world));
    for &(name, measure) in rows {
        if up {
            report.run(&progress, total, name, || measure(&mut world));
        } else {
            report.skip(name);
        }
    }
    if options.keep {
        progress.done();
        report.print(options.json, begun.elapsed());
        inside.exit_when_interrupted(u8::from(!report.passed()));
        eprint!("{}", world.how_to_look_inside(inside));
        // An interrupt ends the process, and everything in the lab with it.
        loop {
            std::thread::park();
        }
    }
    let name = "nothing left behind after stop and cleanup";
    report.run(&progress, total, name, || checks::left_behind(&mut world));
    progress.done();
    if !report.passed() {
        eprint!("{}", world.last_words());
    }
    report.print(options.json, begun.elapsed());
    if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
