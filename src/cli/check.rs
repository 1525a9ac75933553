//! `skybridge check`: the configuration and what it refers to, without touching the system.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::DEFAULT_CONFIG;
use super::output::{answer, counted, failed, wrong};
use crate::config::{self, Inputs};

/// Arguments of `skybridge check`.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// The configuration file; conf.d/*.toml beside it is read as well
    #[arg(long, short, value_name = "FILE", env = "SKYBRIDGE_CONFIG", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    /// Print the JSON Schema of the configuration instead
    #[arg(long)]
    schema: bool,
}

pub(super) fn check(args: &CheckArgs) -> ExitCode {
    if args.schema {
        return match serde_json::to_string_pretty(&config::json_schema()) {
            Ok(text) => answer(&text),
            Err(error) => failed(error),
        };
    }
    match config::load(&Inputs::from_process(&args.config)) {
        Ok(config) => {
            for warning in &config.warnings {
                eprintln!("{warning}");
            }
            let children: usize = config.peers.iter().map(|peer| peer.ike.children.len()).sum();
            answer(&format!(
                "{} is usable: {}, {}, {}",
                args.config.display(),
                counted(config.peers.len(), "peer", "peers"),
                counted(children, "child", "children"),
                counted(config.warnings.len(), "warning", "warnings"),
            ))
        }
        Err(errors) => {
            eprintln!("{errors}");
            wrong(format!("{} is not usable", args.config.display()))
        }
    }
}
