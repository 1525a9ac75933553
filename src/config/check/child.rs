//! `[peers.NAME.children.CHILD]`.

use std::time::Duration;

use ipnet::IpNet;

use super::reference::Meaning;
use super::{Context, is_name};
use crate::config::file::{ChildFile, ChildLifetimesFile, StartFile};
use crate::config::source::At;
use crate::config::types::ChildRoutes;
use crate::ike::config::{ChildConfig, ChildLifetime, ChildName, StartPolicy};
use crate::policy::{Proposal, ProposalError, SelectorError, SelectorSet, TrafficSelector};

/// A traffic selector payload counts its selectors in one octet.
const MOST_SELECTORS: usize = 255;

/// What a child takes from its peer where it says nothing itself.
pub(super) struct Inherited<'a> {
    pub(super) esp: &'a [Proposal],
    pub(super) start: StartPolicy,
    pub(super) lifetime: ChildLifetime,
    pub(super) remote_is_any: bool,
}

pub(super) fn start_of(start: StartFile) -> StartPolicy {
    match start {
        StartFile::Wait => StartPolicy::Wait,
        StartFile::Connect => StartPolicy::Connect,
        StartFile::Trap => StartPolicy::Trap,
    }
}

pub(super) fn check(
    name: &str,
    file: ChildFile,
    at: &At,
    inherited: &Inherited<'_>,
    context: &mut Context<'_>,
) -> (ChildConfig, ChildRoutes) {
    let ChildFile { local, remote, routes, esp, pfs, start, lifetimes } = file;
    if !is_name(name) {
        let hint = "use up to 32 letters, digits, `-` and `_`".to_owned();
        context.error_at_key(at, "bad-name", "this cannot be a child's name", hint);
    }
    let by_reference = local.iter().flatten().any(|text| text.starts_with("cluster:"));
    let mut remote = selectors(remote, "remote", &[], at, context);
    let families: Vec<bool> = remote.iter().map(TrafficSelector::is_ipv4).collect();
    let local = selectors(local, "local", &families, at, context);
    if by_reference && !local.is_empty() {
        // Which families a cluster has cannot be known beforehand.
        let answered = |one: &&TrafficSelector| local.iter().any(|local| local.is_ipv4() == one.is_ipv4());
        remote = SelectorSet::new(remote.iter().filter(answered).copied());
    }
    check_families(&local, &remote, at, context);
    let mut esp = match esp {
        None => inherited.esp.to_vec(),
        Some(texts) => {
            proposals(&texts, &at.key("esp"), Proposal::parse_esp, || Proposal::default_esp(true), context)
        }
    };
    if pfs == Some(true) && !esp.is_empty() && esp.iter().all(|proposal| proposal.groups().is_empty()) {
        let hint = "add a group to an ESP proposal, such as aes256gcm16-x25519".to_owned();
        context.error(
            &at.key("pfs"),
            "contradiction",
            "`pfs` is on and no ESP proposal names a key exchange group",
            hint,
        );
    }
    if pfs == Some(false) {
        esp = esp.iter().map(Proposal::without_groups).collect();
    }
    let start = match start.map(start_of) {
        Some(start) if start != StartPolicy::Wait && inherited.remote_is_any => {
            let hint = "write \"wait\", or give the peer's address or name".to_owned();
            context.error(
                &at.key("start"),
                "contradiction",
                "a peer that may be anywhere cannot be connected to",
                hint,
            );
            StartPolicy::Wait
        }
        Some(start) => start,
        None => inherited.start,
    };
    let lifetime = lifetime(lifetimes.unwrap_or_default(), inherited.lifetime, &at.key("lifetimes"), context);
    let name = ChildName::from(name);
    let routes = check_routes(routes, &remote, at, name.clone(), context);
    (ChildConfig { name, local, remote, esp, start, lifetime }, routes)
}

/// The selectors of a list. A cluster's ranges are taken as far as they are of one of the `families`, of which true is
/// IPv4; none where no cluster can be meant.
fn selectors(
    texts: Option<Vec<String>>,
    key: &str,
    families: &[bool],
    child_at: &At,
    context: &mut Context<'_>,
) -> SelectorSet {
    let at = child_at.key(key);
    let Some(texts) = texts.filter(|texts| !texts.is_empty()) else {
        let hint = format!("add {key} = [\"10.0.0.0/16\"]");
        context.error(
            if context.layers.locate_key(&at).is_some() { &at } else { child_at },
            "missing-key",
            format!("`{child_at}` has no `{key}` selectors"),
            hint,
        );
        return SelectorSet::default();
    };
    if texts.len() > MOST_SELECTORS {
        context.error(
            &at,
            "out-of-range",
            format!("`{at}` has more than 255 selectors"),
            "use larger prefixes".to_owned(),
        );
        return SelectorSet::default();
    }
    let mut found: Vec<TrafficSelector> = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        if let Some(reference) = text.strip_prefix("cluster:") {
            let ranges = cluster_ranges(reference, key, &at.index(index), context);
            for selector in ranges.into_iter().map(TrafficSelector::from) {
                if families.contains(&selector.is_ipv4()) && !found.contains(&selector) {
                    found.push(selector);
                }
            }
            continue;
        }
        match TrafficSelector::parse(text) {
            Ok(selector) if found.contains(&selector) => {
                context.error(
                    &at.index(index),
                    "overlap",
                    format!("{selector} is listed twice"),
                    "leave one out".to_owned(),
                );
            }
            Ok(selector) => found.push(selector),
            Err(error) => {
                let hint = match &error {
                    SelectorError::HostBits { meant, .. } => Some(format!("write \"{meant}\"")),
                    _ => None,
                };
                context.error(&at.index(index), "bad-selector", error, hint);
            }
        }
    }
    if found.len() > MOST_SELECTORS {
        let message = format!(
            "`{at}` has {} selectors with what the cluster told, and 255 can be negotiated",
            found.len()
        );
        context.error(
            &at,
            "out-of-range",
            message,
            "set pod_cidrs or nodes in the cluster's table, or write prefixes".to_owned(),
        );
    }
    SelectorSet::new(found)
}

/// What a reference to a cluster stands for; nothing while the cluster has not told.
fn cluster_ranges(reference: &str, key: &str, at: &At, context: &mut Context<'_>) -> Vec<IpNet> {
    if key != "local" {
        let hint = "write the prefixes".to_owned();
        context.error(
            at,
            "bad-selector",
            "a cluster is behind this endpoint and can stand in `local` only",
            hint,
        );
        return Vec::new();
    }
    match context.references.resolve(reference) {
        Ok(Meaning::Ranges(ranges)) => ranges,
        Ok(Meaning::NotYet) => {
            let message = format!("cluster:{reference} is not known before the cluster has told it");
            let hint = "it is taken up as soon as it is known; a file of objects and clusters before Kubernetes 1.33 have \
                        no ServiceCIDR: set service_cidrs then"
                .to_owned();
            context.warning(at, "not-yet-known", message, hint);
            Vec::new()
        }
        Err((message, hint)) => {
            context.error(at, "bad-selector", message, hint);
            Vec::new()
        }
    }
}

fn check_families(local: &SelectorSet, remote: &SelectorSet, at: &At, context: &mut Context<'_>) {
    let has = |set: &SelectorSet, ipv4| set.iter().any(|selector| selector.is_ipv4() == ipv4);
    if local.is_empty() || remote.is_empty() {
        return;
    }
    for (ipv4, family) in [(true, "IPv4"), (false, "IPv6")] {
        let (key, lacking) = match (has(local, ipv4), has(remote, ipv4)) {
            (true, false) => ("local", "remote"),
            (false, true) => ("remote", "local"),
            _ => continue,
        };
        let hint = format!("add an {family} selector to `{lacking}`, or leave it out of `{key}`");
        context.error(
            &at.key(key),
            "contradiction",
            format!("`{key}` has {family} selectors and `{lacking}` has none"),
            hint,
        );
    }
}

/// Proposals of a list, in which `default` stands for the built-in ones.
pub(super) fn proposals(
    texts: &[String],
    at: &At,
    parse: fn(&str) -> Result<Proposal, ProposalError>,
    defaults: impl Fn() -> Vec<Proposal>,
    context: &mut Context<'_>,
) -> Vec<Proposal> {
    let mut found: Vec<Proposal> = Vec::new();
    if texts.is_empty() {
        context.error(
            at,
            "bad-proposal",
            format!("`{at}` is empty"),
            "leave it out, or write [\"default\"]".to_owned(),
        );
    }
    for (index, text) in texts.iter().enumerate() {
        let at = at.index(index);
        if text == "default" {
            found.extend(defaults());
            continue;
        }
        match parse(text) {
            Ok(proposal) if found.contains(&proposal) => {
                context.error(
                    &at,
                    "bad-proposal",
                    "this proposal is listed twice",
                    "leave one out".to_owned(),
                );
            }
            Ok(proposal) => found.push(proposal),
            Err(error) => {
                context.error_within(&at, text, error.span, "bad-proposal", error.message, error.hint)
            }
        }
    }
    found
}

/// The hard limit behind a soft one.
pub(super) fn hard_time(soft: Duration) -> Duration {
    soft.saturating_add((soft / 10).max(Duration::from_secs(30)))
}

fn hard_count(soft: u64) -> u64 {
    soft.saturating_add(soft / 10).max(soft.saturating_add(1))
}

pub(super) fn lifetime(
    file: ChildLifetimesFile,
    base: ChildLifetime,
    at: &At,
    context: &mut Context<'_>,
) -> ChildLifetime {
    let ChildLifetimesFile { time, bytes, packets } = file;
    limits(base, (at.key("time"), time), (at.key("bytes"), bytes), (at.key("packets"), packets), context)
}

/// The limits of a Child SA over those that hold otherwise.
pub(super) fn limits(
    mut base: ChildLifetime,
    time: (At, Option<String>),
    bytes: (At, Option<String>),
    packets: (At, Option<u64>),
    context: &mut Context<'_>,
) -> ChildLifetime {
    if let (at, Some(time)) = time {
        let soft = context.duration(&at, Some(&time), Duration::from_secs(2), Duration::from_secs(3600));
        base.rekey_time = Some(soft);
        base.hard_time = Some(hard_time(soft));
    }
    if let Some(soft) = context.size(&bytes.0, bytes.1.as_deref(), 65_536) {
        base.rekey_bytes = Some(soft);
        base.hard_bytes = Some(hard_count(soft));
    }
    if let (at, Some(packets)) = packets {
        let soft = context.number(&at, Some(packets), (100, u64::MAX / 2), 1 << 32);
        base.rekey_packets = Some(soft);
        base.hard_packets = Some(hard_count(soft));
    }
    base
}

fn check_routes(
    routes: Option<Vec<String>>,
    remote: &SelectorSet,
    child_at: &At,
    child: ChildName,
    context: &mut Context<'_>,
) -> ChildRoutes {
    let at = child_at.key("routes");
    let Some(routes) = routes else {
        if remote.has_every_address() {
            let hint = "add routes = [\"…\"] with the prefixes behind the peer, or routes = [\"0.0.0.0/0\"] if all traffic is meant".to_owned();
            context.error(
                &child_at.key("remote"),
                "missing-routes",
                "selectors for every address need explicit routes",
                hint,
            );
        }
        return ChildRoutes { child, prefixes: remote.to_prefixes(), explicit: false };
    };
    let mut prefixes: Vec<IpNet> = Vec::new();
    for (index, text) in routes.iter().enumerate() {
        let at = at.index(index);
        let parsed = match TrafficSelector::parse(text) {
            Ok(selector) if selector.protocol() == 0 => Ok(selector.to_prefixes()),
            Ok(_) => Err("a route has no protocol or ports".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        match parsed {
            Err(message) => context.error(
                &at,
                "bad-selector",
                message,
                "write a prefix such as \"10.0.0.0/16\"".to_owned(),
            ),
            Ok(nets) => {
                for net in nets {
                    let inside = SelectorSet::of_prefixes([net]);
                    let covered = SelectorSet::of_prefixes(remote.to_prefixes());
                    if !inside.is_subset_of(&covered) {
                        let message = format!(
                            "{net} is routed into the tunnel and not inside of the `remote` selectors: its packets would be dropped"
                        );
                        context.error(
                            &at,
                            "route-outside",
                            message,
                            "add it to `remote`, or leave it out".to_owned(),
                        );
                    } else if prefixes.contains(&net) {
                        context.error(
                            &at,
                            "overlap",
                            format!("{net} is listed twice"),
                            "leave one out".to_owned(),
                        );
                    } else {
                        prefixes.push(net);
                    }
                }
            }
        }
    }
    ChildRoutes { child, prefixes, explicit: true }
}
