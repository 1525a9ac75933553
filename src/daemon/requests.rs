//! What callers of the control socket and SIGHUP ask for.

use tracing::{error, info, warn};

use super::core::{Daemon, now, peer_settings};
use super::parts::polling;
use super::service;
use crate::config::{self, Inputs};
use crate::control::api::{ApiError, ApiErrorKind, Done};
use crate::control::{Action, RekeyTarget, Request};
use crate::engine::DEFAULT_OUTER_MTU;
use crate::ike::{ChildName, Command, CommandError, Now, PeerName};

impl Daemon {
    /// Answers a request.
    pub(super) fn take_request(&mut self, request: Request) {
        match request {
            Request::Status(reply) => {
                let _ = reply.send(self.status());
            }
            Request::Services(reply) => self.report_services(reply),
            Request::Act(action, reply) => {
                let outcome = self.act(action);
                let _ = reply.send(outcome);
            }
        }
    }

    fn act(&mut self, action: Action) -> Result<Done, ApiError> {
        let now = now();
        let name = |child: Option<String>| child.map(ChildName::from);
        match action {
            Action::Up { peer, child } => {
                let message = format!("bringing up {}", path(&peer, child.as_deref()));
                let command = Command::Up { peer: PeerName::from(peer), child: name(child) };
                self.engine.handle_command(now, command).map_err(refusal)?;
                Ok(Done { message })
            }
            Action::Down { peer, child } => {
                let message = {
                    let (what, words) = (path(&peer, child.as_deref()), words(&peer, child.as_deref()));
                    format!("closed {what}; it stays down until `skybridge up {words}`")
                };
                let command = Command::Down { peer: PeerName::from(peer), child: name(child) };
                self.engine.handle_command(now, command).map_err(refusal)?;
                Ok(Done { message })
            }
            Action::Rekey { peer, what } => self.rekey(now, &PeerName::from(peer), what),
            Action::Reload => self.reload(),
        }
    }

    fn rekey(&mut self, now: Now, peer: &PeerName, what: RekeyTarget) -> Result<Done, ApiError> {
        let mut rekeyed = Vec::new();
        if matches!(what, RekeyTarget::Ike | RekeyTarget::All) {
            self.engine.handle_command(now, Command::RekeyIke { peer: peer.clone() }).map_err(refusal)?;
            rekeyed.push("the IKE SA".to_owned());
        }
        let children: Vec<ChildName> = match what {
            RekeyTarget::Ike => Vec::new(),
            RekeyTarget::Child(name) => vec![ChildName::from(name)],
            RekeyTarget::Children | RekeyTarget::All => {
                let settings = self.engine.peer(peer);
                settings.map(|s| s.ike.children.iter().map(|c| c.name.clone()).collect()).unwrap_or_default()
            }
        };
        let alone = children.len() == 1;
        for child in children {
            let command = Command::RekeyChild { peer: peer.clone(), child: child.clone() };
            match self.engine.handle_command(now, command) {
                Ok(()) => rekeyed.push(format!("child {child}")),
                Err(CommandError::ChildNotEstablished(..)) if !alone => {}
                Err(error) => return Err(refusal(error)),
            }
        }
        if rekeyed.is_empty() {
            return Err(refusal(CommandError::NotEstablished(peer.clone())));
        }
        Ok(Done { message: format!("rekeying {} of {peer}", rekeyed.join(", ")) })
    }

    /// Reads the configuration again; on any error the running one stays.
    pub(super) fn reload(&mut self) -> Result<Done, ApiError> {
        service::reloading();
        let outcome = self.apply_new_config();
        match &outcome {
            Ok(done) => info!("{}", done.message),
            Err(error) => error!("{error}"),
        }
        service::ready();
        outcome
    }

    fn apply_new_config(&mut self) -> Result<Done, ApiError> {
        let inputs =
            Inputs { discovered: self.discovered.clone(), ..Inputs::from_process(&self.options.config) };
        let new = config::load(&inputs).map_err(|errors| {
            ApiError::new(
                ApiErrorKind::Config,
                format!("the configuration has errors and the running one is kept:\n{errors}"),
            )
        })?;
        for warning in &new.warnings {
            warn!("{warning}");
        }
        let changes = self.config.diff(&new);
        let message = describe(&changes);
        let mut settings = peer_settings(&new);
        for peer in &mut settings {
            let known = self.engine.peer(&peer.ike.name);
            peer.outer_mtu = known.map_or(DEFAULT_OUTER_MTU, |old| old.outer_mtu);
        }
        self.engine.reconfigure(now(), None, settings).map_err(refusal)?;
        if self.config.endpoint.dataplane.polling != new.endpoint.dataplane.polling {
            self.dataplane.restart(polling(&new.endpoint.dataplane)).map_err(|error| {
                ApiError::new(
                    ApiErrorKind::Unavailable,
                    format!("the data plane cannot be restarted: {error}"),
                )
            })?;
        }
        if !changes.clusters.is_empty() {
            self.configure_clusters(new.clusters.clone());
        }
        self.failures.retain(|name, _| new.peer(name).is_some());
        self.config = new;
        self.reconcile_if_changed();
        Ok(Done { message })
    }
}

fn path(peer: &str, child: Option<&str>) -> String {
    child.map_or_else(|| peer.to_owned(), |child| format!("{peer}/{child}"))
}

fn words(peer: &str, child: Option<&str>) -> String {
    child.map_or_else(|| peer.to_owned(), |child| format!("{peer} {child}"))
}

fn refusal(error: CommandError) -> ApiError {
    let kind = match error {
        CommandError::UnknownPeer(_) | CommandError::UnknownChild(..) | CommandError::UnknownChildSa(_) => {
            ApiErrorKind::NotFound
        }
        CommandError::ShuttingDown => ApiErrorKind::Unavailable,
        _ => ApiErrorKind::Conflict,
    };
    let advice = match &error {
        CommandError::UnknownPeer(_) => ": `skybridge status` lists them".to_owned(),
        CommandError::UnknownChild(peer, _) => format!(": `skybridge status {peer}` lists them"),
        CommandError::NotEstablished(peer) => format!(": `skybridge up {peer}` raises it"),
        CommandError::ChildNotEstablished(peer, child) => {
            format!(": `skybridge up {peer} {child}` raises it")
        }
        _ => String::new(),
    };
    ApiError::new(kind, format!("{error}{advice}"))
}

fn describe(changes: &config::Changes) -> String {
    if changes.is_empty() {
        return "reloaded: nothing changed".to_owned();
    }
    let mut parts = Vec::new();
    for (what, names) in
        [("added", &changes.added), ("removed", &changes.removed), ("changed", &changes.changed)]
    {
        if !names.is_empty() {
            let names: Vec<_> = names.iter().map(PeerName::as_str).collect();
            parts.push(format!("{what} {}", names.join(", ")));
        }
    }
    if !changes.clusters.is_empty() {
        parts.push(format!("applied clusters.{}", changes.clusters.join(", clusters.")));
    }
    if !changes.applied.is_empty() {
        parts.push(format!("applied endpoint.{}", changes.applied.join(", endpoint.")));
    }
    if !changes.restart.is_empty() {
        parts.push(format!("not before a restart: endpoint.{}", changes.restart.join(", endpoint.")));
    }
    format!("reloaded: {}", parts.join("; "))
}
