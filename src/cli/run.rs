//! `skybridge run` and `skybridge cleanup`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::DEFAULT_CONFIG;
use super::output::{answer, failed, wrong};
use crate::config::{self, Inputs};
use crate::daemon::{self, DaemonError, Options};

/// Arguments of `skybridge run`.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// The configuration file; conf.d/*.toml beside it is read as well
    #[arg(long, short, value_name = "FILE", env = "SKYBRIDGE_CONFIG", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
}

/// Arguments of `skybridge cleanup`.
#[derive(Debug, Args)]
pub(super) struct CleanupArgs {
    /// The configuration file, for the state folder; a missing or broken one means the default folder
    #[arg(long, short, value_name = "FILE", env = "SKYBRIDGE_CONFIG", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    /// The state folder, if it is not the configuration's
    #[arg(long, value_name = "FOLDER")]
    state_dir: Option<PathBuf>,
}

pub(super) fn run(args: RunArgs) -> ExitCode {
    match daemon::run(&Options { config: args.config }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(DaemonError::Config(errors)) => {
            eprintln!("{errors}");
            wrong("the configuration has errors: nothing was started")
        }
        Err(error) => failed(error),
    }
}

pub(super) fn cleanup(args: &CleanupArgs) -> ExitCode {
    let state_dir = args.state_dir.clone().unwrap_or_else(|| {
        if let Ok(config) = config::load(&Inputs::from_process(&args.config)) {
            return config.endpoint.state_dir;
        }
        let usual = crate::system::Options::default().state_dir;
        eprintln!(
            "skybridge: {} is missing or has errors: taking the usual state folder {}; another is given with --state-dir",
            args.config.display(),
            usual.display()
        );
        usual
    });
    match daemon::cleanup(state_dir) {
        Ok(report) if report.is_unchanged() => answer("nothing was left to remove"),
        Ok(report) => {
            let removed = report.removed.iter().map(|route| format!("removed route {route}"));
            let sysctls = report.sysctls.iter().map(|sysctl| format!("put back sysctl {sysctl}"));
            let lines: Vec<_> = removed.chain(sysctls).chain(report.other.iter().cloned()).collect();
            answer(&lines.join("\n"))
        }
        Err(error) => failed(error),
    }
}
