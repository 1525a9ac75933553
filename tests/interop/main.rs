//! Skybridge against strongSwan: both real daemons, in network namespaces, in each role.
//!
//! The process enters namespaces of its own before any thread exists; each case then has hosts of its own, so
//! that cases run side by side. A whole run compares its results with `docs/interoperability.md`, or writes that
//! file with `SKYBRIDGE_WRITE_DOCS=1`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub)]

mod cases;
mod certificates;
mod libreswan;
mod report;
mod strongswan;
mod vici;
mod world;

use std::{process::ExitCode, sync::Arc};

use libtest_mimic::{Arguments, Failed, Trial};
use skybridge::lab::{Entry, enter};

use cases::Case;
use report::Report;
use world::{Role, World};

/// Cases that run side by side: most of a case's time is waiting.
const SIDE_BY_SIDE: usize = 6;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    let report = Arc::new(Report::default());
    let cases = cases::all();
    // Listing needs no namespaces.
    if arguments.list {
        return libtest_mimic::run(&arguments, trials(&cases, &report)).exit_code();
    }
    match enter() {
        // The namespaces end with the process.
        Ok(Entry::Inside(_)) => {}
        Ok(Entry::Outside(status)) => return status,
        Err(error) => {
            eprintln!("the interoperability tests cannot run: {error}");
            return ExitCode::FAILURE;
        }
    }
    arguments.test_threads = arguments.test_threads.or(Some(SIDE_BY_SIDE));
    let conclusion = libtest_mimic::run(&arguments, trials(&cases, &report));
    let whole = conclusion.num_filtered_out == 0 && conclusion.num_ignored == 0;
    if whole && let Err(error) = report.publish(&cases) {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}

fn trials(cases: &[Case], report: &Arc<Report>) -> Vec<Trial> {
    let mut trials = Vec::new();
    for case in cases {
        for &role in case.roles {
            let (case, report) = (*case, Arc::clone(report));
            let word = if role == Role::Initiator { "initiator" } else { "responder" };
            trials.push(Trial::test(format!("{}_as_{word}", case.name), move || {
                run(&case, role, &report).map_err(Failed::from)
            }));
        }
    }
    let report = Arc::clone(report);
    trials.push(Trial::test("libreswan_reads_what_peer_config_writes", move || {
        let version = libreswan::check().map_err(|error| Failed::from(error.to_string()))?;
        report.read_by_libreswan(version);
        Ok(())
    }));
    trials
}

fn run(case: &Case, role: Role, report: &Report) -> Result<(), String> {
    let mut world = World::build(case.name, role, (case.setup)(role)).map_err(|error| error.to_string())?;
    let result = (case.run)(&mut world);
    report.version(world.swan.version());
    result.map_err(|error| format!("{error}\n{}", world.words()))?;
    report.pass(case.name, role);
    Ok(())
}
