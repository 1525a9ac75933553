//! The lab with real daemons: an office and a cloud in network namespaces.
//!
//! The process enters namespaces of its own before any thread exists, as root or by an unprivileged
//! user namespace; where neither is allowed the whole run fails and says why.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod bad_input;
mod network;
mod pair;
mod recovery;
mod rekey;
mod speed;
mod system;
mod underlay;
mod unprivileged;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use skybridge::lab::{Entered, Entry, LabError, enter};

/// One test: its name, which is a fact, and what proves it.
type Test = (&'static str, fn(&Entered) -> Result<(), LabError>);

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Listing needs no namespaces.
    if arguments.list {
        return libtest_mimic::run(&arguments, trials(None)).exit_code();
    }
    let inside: &'static Entered = match enter() {
        Ok(Entry::Inside(inside)) => Box::leak(Box::new(inside)),
        Ok(Entry::Outside(status)) => return status,
        Err(error) => {
            eprintln!("the lab tests cannot run: {error}");
            return ExitCode::FAILURE;
        }
    };
    // Each test builds a world with the same names, and wants both processors.
    arguments.test_threads = Some(1);
    libtest_mimic::run(&arguments, trials(Some(inside))).exit_code()
}

fn trials(inside: Option<&'static Entered>) -> Vec<Trial> {
    let all: Vec<Test> = [
        underlay::TESTS,
        network::TESTS,
        rekey::TESTS,
        recovery::TESTS,
        system::TESTS,
        unprivileged::TESTS,
        bad_input::TESTS,
        speed::files::TESTS,
        speed::wire::TESTS,
        speed::load::TESTS,
        speed::degrade::TESTS,
        speed::soak::TESTS,
    ]
    .concat();
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
