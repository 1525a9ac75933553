//! The lab with real daemons: an office and a cloud in network namespaces.
//!
//! The process enters namespaces of its own before any thread exists, as root or by an unprivileged
//! user namespace; where neither is allowed the whole run fails and says why.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod bad_input;
mod cluster;
#[path = "../common/inside.rs"]
mod inside;
mod network;
mod pair;
mod recovery;
mod rekey;
mod speed;
mod system;
mod underlay;
mod unprivileged;

use std::process::ExitCode;

use inside::Test;
use skybridge::lab::LabError;

fn main() -> ExitCode {
    let tests: Vec<Test> = [
        underlay::TESTS,
        network::TESTS,
        rekey::TESTS,
        recovery::TESTS,
        system::TESTS,
        unprivileged::TESTS,
        bad_input::TESTS,
        &cluster::tests(),
        speed::files::TESTS,
        speed::wire::TESTS,
        speed::load::TESTS,
        speed::degrade::TESTS,
        speed::soak::TESTS,
    ]
    .concat();
    inside::run("the lab tests", &tests)
}

/// Fails with `what` unless it holds.
fn ensure(holds: bool, what: impl Into<String>) -> Result<(), LabError> {
    if holds { Ok(()) } else { Err(LabError::check(what)) }
}
