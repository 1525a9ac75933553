//! `skybridge demo`: hands over to the lab.

use std::process::ExitCode;

use clap::Args;

use crate::lab::demo::{self, Options};

/// Arguments of `skybridge demo`.
#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Leave the simulated network up after the checks, until Ctrl-C
    #[arg(long)]
    keep: bool,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Only measure throughput beside plain routing, for longer
    #[arg(long, conflicts_with = "keep")]
    bench: bool,
}

pub(super) fn demo(args: &DemoArgs) -> ExitCode {
    if args.bench {
        return demo::bench(args.json);
    }
    demo::run(Options { keep: args.keep, json: args.json })
}
