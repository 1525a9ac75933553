//! `[clusters.NAME]`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::{Context, is_name};
use crate::config::file::{ClusterFile, InternalLocalFile, KubernetesFile, ServicesFile};
use crate::config::source::At;
use crate::config::types::{Cluster, ClusterSource, InternalLocal, Peer, ServiceMode};

/// What an ordinary machine tracks with ease: about 80 MiB of kernel memory.
const CONNECTIONS: u32 = 262_144;
const STALE_AFTER: Duration = Duration::from_secs(600);
/// More than clusters have, and few enough to compare each with each.
const MOST_RANGES: usize = 64;
/// As for the ranges: who has more nodes lets the cluster say them.
const MOST_NODES: usize = 1024;

/// Checks each, and that none claims another's addresses.
pub(super) fn check_all(files: BTreeMap<String, ClusterFile>, context: &mut Context<'_>) -> Vec<Cluster> {
    let clusters: Vec<Cluster> = files.into_iter().map(|(name, file)| check(name, file, context)).collect();
    for (index, cluster) in clusters.iter().enumerate() {
        for other in clusters.iter().take(index) {
            for (position, range) in cluster.service_cidrs.iter().enumerate() {
                let Some(theirs) = other.service_cidrs.iter().find(|theirs| overlap(range, theirs)) else {
                    continue;
                };
                let at = at_cluster(&cluster.name).key("service_cidrs").index(position);
                let message = format!(
                    "Services at {range} would belong to `{}`, and at {theirs} to `{}`: it could not be told which is meant",
                    cluster.name, other.name
                );
                let hint = "give each cluster Service addresses of its own, or put an endpoint before each"
                    .to_owned();
                context.error(&at, "overlap", message, hint);
            }
        }
    }
    clusters
}

/// Warns of Services that no peer can reach.
pub(super) fn check_reachable(clusters: &[Cluster], peers: &[Peer], context: &mut Context<'_>) {
    let children: Vec<_> = peers.iter().flat_map(|peer| &peer.ike.children).collect();
    if children.is_empty() {
        return;
    }
    for cluster in clusters {
        for (position, range) in cluster.service_cidrs.iter().enumerate() {
            let offered = children
                .iter()
                .any(|child| child.local.to_prefixes().iter().any(|local| overlap(local, range)));
            if !offered {
                let at = at_cluster(&cluster.name).key("service_cidrs").index(position);
                let message = format!("no peer reaches {range}: it is in no child's `local` selectors");
                let hint = format!("add \"{range}\" to `local` of [peers.NAME.children.CHILD]");
                context.warning(&at, "unreachable-services", message, hint);
            }
        }
    }
}

fn at_cluster(name: &str) -> At {
    At::root().key("clusters").key(name)
}

fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}

fn check(name: String, file: ClusterFile, context: &mut Context<'_>) -> Cluster {
    let ClusterFile {
        services,
        kubernetes,
        objects,
        service_cidrs,
        pod_cidrs,
        nodes,
        zone,
        ping,
        internal_local,
        stale_after,
        connections,
    } = file;
    let at = at_cluster(&name);
    if !is_name(&name) {
        let hint = "use up to 32 letters, digits, `-` and `_`".to_owned();
        context.error_at_key(&at, "bad-name", "this cannot be a cluster's name", hint);
    }
    let services = match services {
        None | Some(ServicesFile::Translate) => ServiceMode::Translate,
        Some(ServicesFile::TranslateAndMasquerade) => ServiceMode::TranslateAndMasquerade,
        Some(ServicesFile::Route) => ServiceMode::Route,
    };
    let service_cidrs = ranges(service_cidrs, &at.key("service_cidrs"), context);
    let pod_cidrs = ranges(pod_cidrs, &at.key("pod_cidrs"), context);
    for (position, pods) in pod_cidrs.iter().enumerate() {
        if let Some(range) = service_cidrs.iter().find(|range| overlap(range, pods)) {
            context.error(
                &at.key("pod_cidrs").index(position),
                "overlap",
                format!("{pods} has addresses of the Services' range {range}"),
                "write the Pods' own ranges; a cluster never has an address in both".to_owned(),
            );
        }
    }
    Cluster {
        source: source(kubernetes, objects, services, &at, context),
        nodes: addresses(nodes, &at.key("nodes"), context),
        zone: check_zone(zone, &at.key("zone"), context),
        ping: ping.unwrap_or(true),
        internal_local: match internal_local {
            None | Some(InternalLocalFile::Cluster) => InternalLocal::Cluster,
            Some(InternalLocalFile::Refuse) => InternalLocal::Refuse,
        },
        stale_after: context.duration(
            &at.key("stale_after"),
            stale_after.as_deref(),
            Duration::from_secs(10),
            STALE_AFTER,
        ),
        connections: context.number(&at.key("connections"), connections, (4096, 16_777_216), CONNECTIONS),
        name,
        service_cidrs,
        pod_cidrs,
        services,
    }
}

fn source(
    kubernetes: Option<KubernetesFile>,
    objects: Option<String>,
    services: ServiceMode,
    at: &At,
    context: &mut Context<'_>,
) -> Option<ClusterSource> {
    match (kubernetes, objects) {
        (Some(_), Some(_)) => {
            context.error_at_key(
                &at.key("objects"),
                "contradiction",
                format!("`{at}` has both `kubernetes` and `objects`"),
                "leave one out: the objects come from the API, or from the file".to_owned(),
            );
            None
        }
        (Some(kubernetes), None) => check_kubernetes(kubernetes, &at.key("kubernetes"), context),
        (None, Some(path)) => path_of(&path, &at.key("objects"), context).map(ClusterSource::Objects),
        (None, None) if services == ServiceMode::Route => None,
        (None, None) => {
            let hint = "add kubernetes = { kubeconfig = \"…\" }, or objects = \"FILE\" with what `kubectl get services,endpointslices -A -o yaml` prints, or write services = \"route\"";
            context.error_at_key(
                at,
                "missing-key",
                format!("`{at}` is to translate Services, and nothing says where their endpoints are"),
                hint.to_owned(),
            );
            None
        }
    }
}

fn check_kubernetes(file: KubernetesFile, at: &At, context: &mut Context<'_>) -> Option<ClusterSource> {
    let KubernetesFile { kubeconfig, context: chosen, in_cluster } = file;
    if let Some(chosen) = &chosen
        && (chosen.is_empty() || chosen.len() > 256 || chosen.chars().any(char::is_control))
    {
        let hint = "write one of the names that `kubectl config get-contexts` lists".to_owned();
        context.error(&at.key("context"), "bad-name", "this cannot be a context's name", hint);
    }
    match (kubeconfig, in_cluster.unwrap_or(false)) {
        (Some(_), true) => {
            context.error_at_key(
                &at.key("in_cluster"),
                "contradiction",
                format!("`{at}` has a kubeconfig and `in_cluster`"),
                "leave out `in_cluster` unless this runs in a Pod".to_owned(),
            );
            None
        }
        (Some(path), false) => {
            let at = at.key("kubeconfig");
            let path = path_of(&path, &at, context)?;
            if matches!(path.try_exists(), Ok(false)) {
                let hint =
                    "make one for the appliance's ServiceAccount; its rights are in docs/kubernetes.md";
                context.warning(&at, "missing-file", "there is no such kubeconfig yet", hint.to_owned());
            }
            Some(ClusterSource::Kubernetes { kubeconfig: Some(path), context: chosen })
        }
        (None, true) => {
            if chosen.is_some() {
                context.error_at_key(
                    &at.key("context"),
                    "contradiction",
                    "a context is chosen from a kubeconfig, and with `in_cluster` there is none",
                    "leave it out".to_owned(),
                );
            }
            Some(ClusterSource::Kubernetes { kubeconfig: None, context: None })
        }
        (None, false) => {
            context.error_at_key(
                at,
                "missing-key",
                format!("`{at}` does not say how to reach the API"),
                "add kubeconfig = \"FILE\", or in_cluster = true where this runs in a Pod".to_owned(),
            );
            None
        }
    }
}

fn path_of(written: &str, at: &At, context: &mut Context<'_>) -> Option<PathBuf> {
    if written.is_empty() {
        context.error(at, "bad-path", format!("`{at}` is empty"), "write a file's path".to_owned());
        return None;
    }
    match context.vault.path(written) {
        Ok((path, _)) => Some(path),
        Err(refusal) => {
            context.refused(at, refusal);
            None
        }
    }
}

fn check_zone(zone: Option<String>, at: &At, context: &mut Context<'_>) -> Option<String> {
    let zone = zone?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !(1..=63).contains(&zone.len()) || !zone.chars().all(plain) {
        let hint =
            "write it as nodes have it in their label topology.kubernetes.io/zone, such as \"eu-central-1a\"";
        context.error(at, "bad-name", "this cannot be a zone's name", hint.to_owned());
    }
    Some(zone)
}

/// Ranges of addresses of a list, none of which lies within another.
fn ranges(texts: Option<Vec<String>>, at: &At, context: &mut Context<'_>) -> Vec<IpNet> {
    let mut found: Vec<IpNet> = Vec::new();
    for (index, text) in limited(texts, MOST_RANGES, at, context).iter().enumerate() {
        let at = at.index(index);
        let Some(range) = range(text, &at, context) else {
            continue;
        };
        match found.iter().find(|other| overlap(&range, other)) {
            Some(other) if *other == range => {
                context.error(&at, "overlap", format!("{range} is listed twice"), "leave one out".to_owned());
            }
            Some(other) => {
                let message = format!("{range} and {other} overlap");
                context.error(&at, "overlap", message, "leave the smaller one out".to_owned());
            }
            None => found.push(range),
        }
    }
    found
}

fn range(text: &str, at: &At, context: &mut Context<'_>) -> Option<IpNet> {
    let Ok(range) = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)) else {
        let message = format!("`{}` is no range of addresses", text.escape_default());
        context.error(at, "bad-address", message, "write a prefix such as \"172.16.0.0/16\"".to_owned());
        return None;
    };
    if range.trunc() != range {
        let message = format!("{range} has bits set behind its prefix length");
        context.error(at, "bad-address", message, format!("write \"{}\"", range.trunc()));
        return None;
    }
    let least = if range.addr().is_ipv4() { 8 } else { 32 };
    if range.prefix_len() < least || !usable(range.addr()) {
        let message = format!("{range} cannot be a cluster's range");
        let hint = if range.prefix_len() < least {
            format!("write prefixes of /{least} and longer, as the cluster is set up with")
        } else {
            "write addresses that hosts can have".to_owned()
        };
        context.error(at, "bad-address", message, hint);
        return None;
    }
    Some(range)
}

/// Whether hosts can have it beyond their own link.
fn usable(address: IpAddr) -> bool {
    !(address.is_unspecified() || address.is_loopback() || address.is_multicast())
        && match address {
            IpAddr::V4(address) => !address.is_link_local() && !address.is_broadcast(),
            IpAddr::V6(address) => !address.is_unicast_link_local() && address.to_ipv4_mapped().is_none(),
        }
}

fn addresses(texts: Option<Vec<String>>, at: &At, context: &mut Context<'_>) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = Vec::new();
    for (index, text) in limited(texts, MOST_NODES, at, context).iter().enumerate() {
        let at = at.index(index);
        match text.parse::<IpAddr>() {
            Ok(address) if found.contains(&address) => {
                let message = format!("{address} is listed twice");
                context.error(&at, "overlap", message, "leave one out".to_owned());
            }
            Ok(address) if usable(address) => found.push(address),
            Ok(address) => {
                let hint = "write the node's InternalIP".to_owned();
                context.error(&at, "bad-address", format!("{address} cannot be a node's address"), hint);
            }
            Err(_) => {
                let message = format!("`{}` is not an address", text.escape_default());
                let hint = "write the node's InternalIP, as `kubectl get nodes -o wide` shows it".to_owned();
                context.error(&at, "bad-address", message, hint);
            }
        }
    }
    found
}

fn limited(texts: Option<Vec<String>>, most: usize, at: &At, context: &mut Context<'_>) -> Vec<String> {
    match texts {
        None => Vec::new(),
        Some(texts) if texts.is_empty() => {
            let hint = "leave it out, and the cluster is asked".to_owned();
            context.error(at, "out-of-range", format!("`{at}` is empty"), hint);
            texts
        }
        Some(texts) if texts.len() > most => {
            let hint = "write fewer, or leave it out, and the cluster is asked".to_owned();
            context.error(at, "out-of-range", format!("`{at}` has more than {most} entries"), hint);
            Vec::new()
        }
        Some(texts) => texts,
    }
}
