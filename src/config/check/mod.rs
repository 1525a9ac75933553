//! From the merged file to checked runtime types. Every check goes on after an error, so that all are shown.

mod auth;
mod child;
mod cluster;
mod cross;
mod endpoint;
mod peer;
mod preset;
mod reference;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use super::diagnostic::{Diagnostic, Severity, build};
use super::file::ConfigFile;
use super::secrets::{Refusal, Vault};
use super::source::{At, Layers};
use super::types::{Cluster, Discovered, Endpoint, Peer};
use super::units;
pub(crate) use peer::is_host_name;
#[cfg(test)]
pub(crate) use preset::PRESETS;
pub(crate) use reference::References;

/// What the checks share: where things stand, and what was found wrong so far.
pub(crate) struct Context<'a> {
    pub(crate) layers: &'a Layers,
    pub(crate) vault: Vault,
    pub(crate) unix_now: i64,
    pub(crate) references: References,
    pub(crate) out: Vec<Diagnostic>,
}

impl Context<'_> {
    fn report(
        &mut self,
        severity: Severity,
        at: &At,
        code: &'static str,
        message: impl fmt::Display,
        hint: impl Into<Option<String>>,
    ) {
        let place = self.layers.locate(at);
        self.out.push(build(self.layers, severity, code, place.as_ref(), message.to_string(), hint.into()));
    }

    fn error(
        &mut self,
        at: &At,
        code: &'static str,
        message: impl fmt::Display,
        hint: impl Into<Option<String>>,
    ) {
        self.report(Severity::Error, at, code, message, hint);
    }

    fn warning(
        &mut self,
        at: &At,
        code: &'static str,
        message: impl fmt::Display,
        hint: impl Into<Option<String>>,
    ) {
        self.report(Severity::Warning, at, code, message, hint);
    }

    /// An error at a key, not at its value.
    fn error_at_key(
        &mut self,
        at: &At,
        code: &'static str,
        message: impl fmt::Display,
        hint: impl Into<Option<String>>,
    ) {
        let place = self.layers.locate_key(at);
        self.out.push(build(
            self.layers,
            Severity::Error,
            code,
            place.as_ref(),
            message.to_string(),
            hint.into(),
        ));
    }

    /// An error at a part of a string.
    fn error_within(
        &mut self,
        at: &At,
        text: &str,
        part: Range<usize>,
        code: &'static str,
        message: impl fmt::Display,
        hint: Option<String>,
    ) {
        let place = self.layers.locate_within(at, text, part);
        self.out.push(build(self.layers, Severity::Error, code, place.as_ref(), message.to_string(), hint));
    }

    fn refused(&mut self, at: &At, refusal: Refusal) {
        self.error(at, refusal.code, refusal.message, refusal.hint);
    }

    /// A duration within bounds, or the default.
    fn duration(&mut self, at: &At, text: Option<&str>, least: Duration, default: Duration) -> Duration {
        let Some(text) = text else {
            return default;
        };
        match units::duration(text) {
            Ok(duration) if duration >= least => duration,
            Ok(_) => {
                self.error(
                    at,
                    "out-of-range",
                    format!("`{at}` is too short"),
                    format!("write at least {least:?}"),
                );
                default
            }
            Err(hint) => {
                self.error(at, "bad-duration", format!("`{at}` is not a duration"), hint);
                default
            }
        }
    }

    /// A size within bounds.
    fn size(&mut self, at: &At, text: Option<&str>, least: u64) -> Option<u64> {
        match units::size(text?) {
            Ok(size) if size >= least => Some(size),
            Ok(_) => {
                self.error(
                    at,
                    "out-of-range",
                    format!("`{at}` is too small"),
                    format!("write at least {least} octets"),
                );
                None
            }
            Err(hint) => {
                self.error(at, "bad-size", format!("`{at}` is not a size"), hint);
                None
            }
        }
    }

    /// A number within bounds, or the default.
    fn number<T: PartialOrd + fmt::Display + Copy>(
        &mut self,
        at: &At,
        number: Option<T>,
        bounds: (T, T),
        default: T,
    ) -> T {
        match number {
            None => default,
            Some(number) if bounds.0 <= number && number <= bounds.1 => number,
            Some(_) => {
                let hint = format!("write a number from {} to {}", bounds.0, bounds.1);
                self.error(at, "out-of-range", format!("`{at}` is out of range"), hint);
                default
            }
        }
    }
}

/// A name of a peer, child or cluster: what is safe in logs, file names and environment variables.
fn is_name(name: &str) -> bool {
    (1..=32).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

/// Checks everything. What is returned is whole only if no error was reported.
pub(crate) fn check(
    file: ConfigFile,
    discovered: &BTreeMap<String, Discovered>,
    context: &mut Context<'_>,
) -> (Endpoint, Vec<Peer>, Vec<Cluster>) {
    let ConfigFile { endpoint, peers, clusters } = file;
    let endpoint = endpoint::check(endpoint.unwrap_or_default(), context);
    let clusters = cluster::check_all(clusters.unwrap_or_default(), context);
    context.references = References::new(&clusters, discovered);
    let mut checked = Vec::new();
    for (name, peer) in peers.unwrap_or_default() {
        checked.extend(peer::check(&name, peer, context));
    }
    if checked.is_empty() && context.out.iter().all(|found| found.severity != Severity::Error) {
        context.warning(
            &At::root(),
            "no-peers",
            "no peer is configured",
            "add a table [peers.NAME]".to_owned(),
        );
    }
    cross::check(&checked, context);
    cluster::check_reachable(&clusters, &checked, context);
    (endpoint, checked, clusters)
}
