//! The command line as an operator meets it: what each command prints, where, and its exit status.
//!
//! The real executable is run, and daemons in network namespaces where a command needs one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, dead_code)]

mod arguments;
mod check;
mod daemon;
mod genkey;
#[path = "../common/inside.rs"]
mod inside;
#[path = "../lab/pair.rs"]
mod pair;
mod peer_config;
mod program;
mod tunnel;

use std::process::ExitCode;

use inside::Test;
use skybridge::lab::LabError;

fn main() -> ExitCode {
    let tests: Vec<Test> =
        [arguments::TESTS, check::TESTS, genkey::TESTS, peer_config::TESTS, daemon::TESTS, tunnel::TESTS]
            .concat();
    inside::run("the tests of the command line", &tests)
}

/// Fails with `what` unless it holds.
fn ensure(holds: bool, what: impl Into<String>) -> Result<(), LabError> {
    if holds { Ok(()) } else { Err(LabError::check(what)) }
}
