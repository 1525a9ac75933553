//! The IKE benchmark: handshakes a second and their cost on either side beside the bare primitives; memory,
//! handshake rate, DPD load, publication and lookup cost with thousands of established tunnels on one responder.
//!
//! Two engines exchange datagrams in memory, without sockets, so that the figures are those of the protocol.
//! Where memory or load of one side is measured, the other side lives in another process. Times are CPU times of
//! the thread: other programs disturb them less than they disturb a clock.
//!
//! `cargo bench --bench ike -- [--quick] [--tunnels N,N,…] [--daemon N] [--json FILE]`
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    unreachable_pub
)]

#[path = "ike/daemon.rs"]
mod daemon;
#[path = "ike/handshakes.rs"]
mod handshakes;
#[path = "ike/measure.rs"]
mod measure;
#[path = "ike/pipe.rs"]
mod pipe;
#[path = "ike/primitives.rs"]
mod primitives;
#[path = "ike/responder.rs"]
mod responder;
#[path = "ike/tunnels.rs"]
mod tunnels;
#[path = "ike/world.rs"]
mod world;

use std::process::ExitCode;

use serde_json::json;
use skybridge::lab::{Entry, enter};

/// The argument that makes this program the measured responder.
pub const RESPONDER: &str = "--responder";

struct Arguments {
    quick: bool,
    tunnels: Option<Vec<usize>>,
    /// Tunnels on the real daemon; 0 leaves it out.
    daemon: Option<usize>,
    json: Option<std::path::PathBuf>,
}

fn arguments() -> Arguments {
    let mut found = Arguments { quick: false, tunnels: None, daemon: None, json: None };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--quick" => found.quick = true,
            "--json" => found.json = Some(words.next().expect("--json needs a file").into()),
            "--tunnels" => {
                let list = words.next().expect("--tunnels needs numbers");
                found.tunnels = Some(list.split(',').map(|n| n.parse().expect("a number")).collect());
            }
            "--daemon" => {
                let count = words.next().expect("--daemon needs a number");
                found.daemon = Some(count.parse().expect("a number"));
            }
            // Cargo adds it.
            "--bench" => {}
            other => panic!("unknown argument {other}: [--quick] [--tunnels N,N] [--daemon N] [--json FILE]"),
        }
    }
    found
}

fn main() -> ExitCode {
    if let Some(peers) = std::env::args().skip_while(|word| word != RESPONDER).nth(1) {
        responder::run(peers.parse().expect("a number of peers"));
        return ExitCode::SUCCESS;
    }
    let arguments = arguments();
    // Before any thread: the kernel lets only a single-threaded process enter a user namespace.
    let inside = match enter() {
        Ok(Entry::Inside(inside)) => Some(inside),
        Ok(Entry::Outside(status)) => return status,
        Err(error) => {
            println!("without the daemon, which needs namespaces: {error}");
            None
        }
    };
    let rounds = if arguments.quick { 60 } else { 400 };
    let primitives = primitives::measure(rounds);
    let handshakes: Vec<_> =
        world::Auth::ALL.into_iter().map(|auth| handshakes::measure(auth, rounds)).collect();
    handshakes::print(&handshakes, &primitives);
    let counts = arguments.tunnels.unwrap_or(if arguments.quick { vec![1000] } else { vec![1000, 10_000] });
    let tunnels: Vec<_> = counts
        .into_iter()
        .filter(|count| *count > 0)
        .map(|count| tunnels::measure(count, arguments.quick))
        .collect();
    if !tunnels.is_empty() {
        tunnels::print(&tunnels);
    }
    let wanted = arguments.daemon.unwrap_or(if arguments.quick { 1000 } else { 10_000 });
    let daemon = inside.filter(|_| wanted > 0).map(|inside| daemon::measure(&inside, wanted)).transpose();
    let (daemon, failure) = match daemon {
        Ok(daemon) => (daemon, None),
        Err(error) => (None, Some(error)),
    };
    daemon.iter().for_each(daemon::print);
    if let Some(path) = arguments.json {
        let report = json!({
            "primitives_us": primitives.json(),
            "handshakes": handshakes.iter().map(handshakes::Figures::json).collect::<Vec<_>>(),
            "daemon": daemon.as_ref().map(daemon::Figures::json),
            "tunnels": tunnels.iter().map(tunnels::Figures::json).collect::<Vec<_>>(),
        });
        std::fs::write(&path, format!("{report:#}\n"))
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        println!("written to {}", path.display());
    }
    match failure {
        None => ExitCode::SUCCESS,
        Some(error) => {
            println!("the daemon could not be measured: {error}");
            ExitCode::FAILURE
        }
    }
}
