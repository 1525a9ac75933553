//! The command line: arguments in, exit status out.
//!
//! Exit status 0 means done, 1 that it failed, 2 that the arguments or the configuration are wrong.
//! Answers go to standard output; everything else goes to standard error. A command whose answer is
//! read by programs takes `--json`.
#![allow(clippy::print_stdout)]

mod check;
mod demo;
mod genkey;
mod man;
mod output;
mod peer_config;
mod remote;
mod run;
mod services;
mod status;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

/// Where the configuration is looked for unless told otherwise.
pub const DEFAULT_CONFIG: &str = "/etc/skybridge/skybridge.toml";

/// Where the daemon listens for commands unless told otherwise.
pub const DEFAULT_CONTROL: &str = "/run/skybridge/control.sock";

/// Joins an office LAN and a Kubernetes cluster's VPC by IPsec.
#[derive(Debug, Parser)]
#[command(name = "skybridge", version, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon in the foreground
    Run(run::RunArgs),
    /// Check a configuration without touching the system
    Check(check::CheckArgs),
    /// Show peers, tunnels, traffic and what is wrong
    Status(status::StatusArgs),
    /// Show the cluster's Services, who answers them and what is wrong
    Services(services::ServicesArgs),
    /// Bring up a peer or one of its children, and wait until it is up
    Up(remote::UpArgs),
    /// Close a peer or one of its children
    Down(remote::PeerArgs),
    /// Replace the keys of a peer
    Rekey(remote::RekeyArgs),
    /// Read the configuration again and apply what changed
    Reload(ControlArgs),
    /// Remove everything a daemon left in the system, the blocking routes included
    Cleanup(run::CleanupArgs),
    /// Make a pre-shared key, or a small CA and certificates
    Genkey(genkey::GenkeyArgs),
    /// Print the configuration of a peer that is not Skybridge
    PeerConfig(peer_config::PeerConfigArgs),
    /// Run two daemons in a simulated office and cloud, and check what they do
    Demo(demo::DemoArgs),
    /// Print shell completions
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages
    Man(man::ManArgs),
}

/// How to reach the running daemon.
#[derive(Clone, Debug, Args)]
pub struct ControlArgs {
    /// The daemon's control socket
    #[arg(long, value_name = "SOCKET", env = "SKYBRIDGE_CONTROL", default_value = DEFAULT_CONTROL)]
    control: PathBuf,
}

/// Parses the arguments, runs the command and gives its exit status.
///
/// To be called before any thread exists: `demo` enters namespaces of its own.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let status = if error.use_stderr() { 2 } else { 0 };
            let _ = error.print();
            return ExitCode::from(status);
        }
    };
    match cli.command {
        Command::Run(args) => run::run(args),
        Command::Check(args) => check::check(&args),
        Command::Cleanup(args) => run::cleanup(&args),
        Command::Status(args) => status::status(args),
        Command::Services(args) => services::services(args),
        Command::Up(args) => remote::up(args),
        Command::Down(args) => remote::down(args),
        Command::Rekey(args) => remote::rekey(args),
        Command::Reload(args) => remote::reload(args),
        Command::Genkey(args) => genkey::genkey(args),
        Command::PeerConfig(args) => peer_config::peer_config(&args),
        Command::Demo(args) => demo::demo(&args),
        Command::Completions { shell } => {
            // Into memory: the generator panics where it cannot write.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "skybridge", &mut script);
            output::answer(&String::from_utf8_lossy(&script))
        }
        Command::Man(args) => man::man(&args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_argument_definitions_are_consistent() {
        Cli::command().debug_assert();
    }
}
