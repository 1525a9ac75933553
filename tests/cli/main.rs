//! The command line as an operator meets it: what each command prints, where, and its exit status.
//!
//! The real executable is run, and daemons in network namespaces where a command needs one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, dead_code)]

mod arguments;
mod check;
mod daemon;
mod genkey;
#[path = "../lab/pair.rs"]
mod pair;
mod program;
mod tunnel;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use skybridge::lab::{Entered, Entry, LabError, enter};

type Test = (&'static str, fn(&Entered) -> Result<(), LabError>);

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    if arguments.list {
        return libtest_mimic::run(&arguments, trials(None)).exit_code();
    }
    let inside: &'static Entered = match enter() {
        Ok(Entry::Inside(inside)) => Box::leak(Box::new(inside)),
        Ok(Entry::Outside(status)) => return status,
        Err(error) => {
            eprintln!("the tests of the command line cannot run: {error}");
            return ExitCode::FAILURE;
        }
    };
    // Daemons of different tests would meet in namespaces of the same names.
    arguments.test_threads = Some(1);
    libtest_mimic::run(&arguments, trials(Some(inside))).exit_code()
}

fn trials(inside: Option<&'static Entered>) -> Vec<Trial> {
    let all: Vec<Test> =
        [arguments::TESTS, check::TESTS, genkey::TESTS, daemon::TESTS, tunnel::TESTS].concat();
    all.into_iter()
        .map(|(name, test)| {
            Trial::test(name, move || {
                let inside = inside.ok_or("not inside namespaces of our own")?;
                test(inside).map_err(|error| Failed::from(error.to_string()))
            })
        })
        .collect()
}

/// Fails with `what` unless it holds.
fn ensure(holds: bool, what: impl Into<String>) -> Result<(), LabError> {
    if holds { Ok(()) } else { Err(LabError::check(what)) }
}
