//! The table of Services against a real kernel with real packets: a client, an appliance and a few Pods, each in a
//! network namespace of its own, as root or in an unprivileged user namespace.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod change;
mod figures;
#[path = "../common/inside.rs"]
mod inside;
mod kept;
mod refused;
mod translated;
mod unprivileged;
mod world;

use std::process::ExitCode;

use inside::Test;

fn main() -> ExitCode {
    let tests: Vec<Test> =
        [translated::TESTS, refused::TESTS, change::TESTS, kept::TESTS, figures::TESTS, unprivileged::TESTS]
            .concat();
    inside::run("the tests of the table of Services", &tests)
}
