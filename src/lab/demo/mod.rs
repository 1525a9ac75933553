//! `skybridge demo`: two real daemons join a made-up office and cloud, and a table shows what held.

use std::process::ExitCode;

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
    let _ = options;
    ExitCode::FAILURE
}
