//! The system layer against a real kernel, in network namespaces of its own: as root, and in a user
//! namespace otherwise (or when `SKYBRIDGE_TEST_USERNS` is set).
//!
//! `main` enters new namespaces while it is the only thread; each test then runs on a thread with a
//! further network namespace, so nothing here touches the host's network.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod cleanup;
mod firewall;
mod net;
mod offload;
mod peers;
mod routes;
mod sysctls;
mod watch;

use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Failed, Trial};

/// Makes this program drop its privileges to the named user and print its `/proc/self/status`.
const DROP: &str = "SKYBRIDGE_TEST_DROP";
/// Makes this program enter a user namespace although it is root.
const USERNS: &str = "SKYBRIDGE_TEST_USERNS";

fn main() -> ExitCode {
    if let Some(user) = std::env::var_os(DROP) {
        return dropped(user.to_str().unwrap());
    }
    let mut arguments = Arguments::from_args();
    // One at a time: a program started by one test would hold another's TUN open until its exec.
    arguments.test_threads = Some(1);
    let nested = std::env::var_os(USERNS).is_some();
    if !arguments.list {
        net::enter(nested);
    }
    let mut trials = Vec::new();
    let groups = [
        routes::TESTS,
        watch::TESTS,
        cleanup::TESTS,
        sysctls::TESTS,
        peers::TESTS,
        firewall::TESTS,
        offload::TESTS,
    ];
    for tests in groups {
        trials.extend(tests.iter().map(|(name, test)| {
            let test = *test;
            Trial::test(*name, move || net::isolated(test))
        }));
    }
    trials.push(Trial::test("a_dropped_process_keeps_two_capabilities", drops_privileges));
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

fn dropped(user: &str) -> ExitCode {
    println!("{:?}", skybridge::system::privileges::drop_to(user).unwrap());
    // A port below 1024, which takes the capability.
    println!("bound {}", std::net::UdpSocket::bind("127.0.0.1:500").is_ok());
    print!("{}", std::fs::read_to_string("/proc/self/status").unwrap());
    ExitCode::SUCCESS
}

fn drops_privileges() -> Result<(), Failed> {
    let output = Command::new(std::env::current_exe()?).env(DROP, "nobody").output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let has = |line: &str| text.lines().any(|have| have.split_whitespace().eq(line.split_whitespace()));
    let single = std::fs::read_to_string("/proc/self/uid_map")?.split_whitespace().nth(2) == Some("1");
    let expected: &[&str] = if single {
        &["Skipped(\"this user namespace has a single user id\")", "bound true"]
    } else {
        // CAP_NET_BIND_SERVICE is bit 10, CAP_NET_ADMIN bit 12.
        &[
            "bound true",
            "NoNewPrivs: 1",
            "CapEff: 0000000000001400",
            "CapPrm: 0000000000001400",
            "CapAmb: 0000000000001400",
            "CapBnd: 0000000000001400",
            "Uid: 65534 65534 65534 65534",
            "Groups:",
        ]
    };
    match expected.iter().find(|line| !has(line)) {
        Some(missing) => {
            Err(format!("no `{missing}` in:\n{text}{}", String::from_utf8_lossy(&output.stderr)).into())
        }
        None => Ok(()),
    }
}
