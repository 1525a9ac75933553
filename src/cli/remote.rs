//! Commands that ask the running daemon to act: `up`, `down`, `rekey`, `reload`.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;

use super::ControlArgs;
use super::output::{answer, block_on, failed, wrong};
use crate::control::api::{ApiErrorKind, PeerState, PeerStatus};
use crate::control::client::{Client, ClientError};
use crate::control::{Action, RekeyTarget};

/// How often `up` looks whether the tunnel is up.
const LOOK: Duration = Duration::from_millis(100);

/// A peer, or one of its children.
#[derive(Debug, Args)]
pub(super) struct PeerArgs {
    /// Name of the peer in the configuration
    peer: String,
    /// Name of one child of it; all where absent
    child: Option<String>,
    #[command(flatten)]
    control: ControlArgs,
}

/// Arguments of `skybridge up`.
#[derive(Debug, Args)]
pub(super) struct UpArgs {
    #[command(flatten)]
    target: PeerArgs,
    /// Seconds to wait until the tunnel is up; 0 returns at once
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    timeout: u64,
}

/// Arguments of `skybridge rekey`.
#[derive(Debug, Args)]
pub(super) struct RekeyArgs {
    /// Name of the peer in the configuration
    peer: String,
    /// Only this child
    #[arg(conflicts_with_all = ["ike", "children"])]
    child: Option<String>,
    /// Only the IKE SA
    #[arg(long)]
    ike: bool,
    /// Only the Child SAs
    #[arg(long)]
    children: bool,
    #[command(flatten)]
    control: ControlArgs,
}

pub(super) fn down(args: PeerArgs) -> ExitCode {
    act(&args.control, &Action::Down { peer: args.peer, child: args.child })
}

pub(super) fn rekey(args: RekeyArgs) -> ExitCode {
    let what = match (args.child, args.ike, args.children) {
        (Some(child), ..) => RekeyTarget::Child(child),
        (None, true, false) => RekeyTarget::Ike,
        (None, false, true) => RekeyTarget::Children,
        _ => RekeyTarget::All,
    };
    act(&args.control, &Action::Rekey { peer: args.peer, what })
}

pub(super) fn reload(args: ControlArgs) -> ExitCode {
    act(&args, &Action::Reload)
}

fn act(control: &ControlArgs, action: &Action) -> ExitCode {
    let client = Client::new(&control.control);
    match block_on(client.act(action)) {
        Ok(Ok(done)) => answer(&done.message),
        Ok(Err(ClientError::Refused(error))) if error.kind == ApiErrorKind::Config => wrong(error),
        Ok(Err(error)) => failed(error),
        Err(error) => failed(error),
    }
}

pub(super) fn up(args: UpArgs) -> ExitCode {
    let UpArgs { target: PeerArgs { peer, child, control }, timeout } = args;
    let client = Client::new(&control.control);
    let outcome = block_on(async {
        let before =
            peer_status(&client, &peer).await?.and_then(|p| p.last_failure.map(|f| f.count)).unwrap_or(0);
        let done = client.act(&Action::Up { peer: peer.clone(), child: child.clone() }).await?;
        if timeout == 0 {
            return Ok(Ok(done.message));
        }
        wait_until_up(&client, &peer, child.as_deref(), before, Duration::from_secs(timeout)).await
    });
    let outcome: std::io::Result<Result<Result<String, String>, ClientError>> = outcome;
    match outcome {
        Ok(Ok(Ok(message))) => answer(&message),
        Ok(Ok(Err(reason))) => failed(reason),
        Ok(Err(error)) => failed(error),
        Err(error) => failed(error),
    }
}

async fn peer_status(client: &Client, peer: &str) -> Result<Option<PeerStatus>, ClientError> {
    Ok(client.status().await?.peers.into_iter().find(|p| p.name == peer))
}

/// Looks at the status until the tunnel is up, a new failure is reported or time is over.
async fn wait_until_up(
    client: &Client,
    peer: &str,
    child: Option<&str>,
    failures_before: u64,
    patience: Duration,
) -> Result<Result<String, String>, ClientError> {
    let begun = Instant::now();
    loop {
        let Some(status) = peer_status(client, peer).await? else {
            return Ok(Err(format!("peer {peer} is no longer configured")));
        };
        let children_up =
            status.children.iter().filter(|c| child.is_none_or(|name| c.name == name)).all(|c| c.up);
        let what = child.map_or_else(|| peer.to_owned(), |child| format!("{peer}/{child}"));
        if status.state == PeerState::Up && children_up {
            return Ok(Ok(format!("{what} is up after {} ms", begun.elapsed().as_millis())));
        }
        if let Some(failure) = status.last_failure.filter(|f| f.count > failures_before) {
            return Ok(Err(format!("{what} did not come up: {}", failure.reason)));
        }
        if begun.elapsed() >= patience {
            let (state, cause) = match status.state {
                PeerState::Up => ("down, although its peer is up", ""),
                state => (state.as_str(), "no answer from the peer is the usual cause; "),
            };
            return Ok(Err(format!(
                "{what} is still {state} after {} s: {cause}see `skybridge status {peer}`",
                patience.as_secs()
            )));
        }
        tokio::time::sleep(LOOK).await;
    }
}
