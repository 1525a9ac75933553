//! The system layer against a real kernel, in network namespaces of its own: as root, and in a user
//! namespace otherwise (or when `SKYBRIDGE_TEST_USERNS` is set).
//!
//! `main` enters new namespaces while it is the only thread; each test then runs on a thread with a
//! further network namespace, so nothing here touches the host's network.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod cleanup;
mod firewall;
mod net;
mod peers;
mod routes;
mod sysctls;
mod watch;

use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Failed, Trial};

const USERNS: &str = "SKYBRIDGE_TEST_USERNS";

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // One at a time: a program started by one test would hold another's TUN open until its exec.
    arguments.test_threads = Some(1);
    let nested = std::env::var_os(USERNS).is_some();
    if !arguments.list {
        net::enter(nested);
    }
    let mut trials = Vec::new();
    for tests in [routes::TESTS, watch::TESTS, cleanup::TESTS, sysctls::TESTS, peers::TESTS, firewall::TESTS]
    {
        trials.extend(tests.iter().map(|(name, test)| {
            let test = *test;
            Trial::test(*name, move || net::isolated(test))
        }));
    }
    if !nested {
        trials.push(Trial::test("all_of_this_holds_in_a_user_namespace_with_one_id", in_user_namespace));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn in_user_namespace() -> Result<(), Failed> {
    let output = Command::new(std::env::current_exe()?).env(USERNS, "1").output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
        .into())
}
