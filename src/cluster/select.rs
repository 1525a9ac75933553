//! Which endpoints may answer for which cluster address and port: kube-proxy's rules, as they are for a machine that
//! is no node of the cluster.
//!
//! - A Service port finds its endpoints by its name and protocol, in every slice that names the Service. Several
//!   slices may have the same endpoint, which then counts once.
//! - Ready endpoints are taken; where there is none, those that are terminating and still serve.
//! - Where every ready endpoint has hints and one of them is for this zone, only those for this zone are taken.
//!   Hints for nodes are for no machine but nodes.
//! - What is outside of the configured ranges is left out, and so is what another Service has already claimed: a
//!   cluster cannot take addresses that nobody gave it. [`choose`] tells of both.
//!
//! Nothing here waits or remembers: the same inventory makes the same plan, in whatever order slices came.

use std::{cmp::Ordering, collections::HashMap, fmt, net::IpAddr};

use ipnet::IpNet;

use super::{
    model::{Endpoint, Inventory, Service, ServiceId, ServiceKind, ServicePort, Slice},
    plan::{Backend, Frontend, Plan},
};
use crate::config::InternalLocal;

/// What the choice depends on beside the cluster's objects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// The configured ranges of cluster addresses; none if the cluster is to say.
    pub service_cidrs: Vec<IpNet>,
    /// The zone that this endpoint is in.
    pub zone: Option<String>,
    /// What becomes of Services whose `internalTrafficPolicy` is `Local`.
    pub internal_local: InternalLocal,
}

/// A Service's address and port that are not translated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// The Service.
    pub service: ServiceId,
    /// The cluster address.
    pub vip: IpAddr,
    /// The port there, unless none of them is translated.
    pub port: Option<u16>,
    /// Why.
    pub reason: LeftOutReason,
}

/// Why a Service's address and port are not translated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeftOutReason {
    /// The address lies in no configured range.
    OutsideRanges,
    /// Another Service, or another of its own ports, has the same address, protocol and port.
    Claimed(ServiceId),
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, vip, port, reason } = self;
        write!(f, "{service} at {vip}")?;
        if let Some(port) = port {
            write!(f, " port {port}")?;
        }
        match reason {
            LeftOutReason::OutsideRanges => {
                f.write_str(" lies in none of the `service_cidrs`: add its range, or leave them out")
            }
            LeftOutReason::Claimed(other) => write!(f, " is {other}'s already: one of them is wrong"),
        }
    }
}

/// Ranges and nodes of a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranges {
    /// Ranges of cluster addresses.
    pub services: Vec<IpNet>,
    /// Ranges of Pod addresses.
    pub pods: Vec<IpNet>,
    /// The nodes' addresses.
    pub nodes: Vec<IpAddr>,
    /// What covers the Pods that were seen and are in none of `pods`: advice for who writes ranges, good for
    /// nothing else.
    pub seen_pods: Vec<IpNet>,
}

/// What shall be translated.
#[must_use]
pub fn plan(inventory: &Inventory, scope: &Scope) -> Plan {
    choose(inventory, scope).0
}

/// What shall be translated, and what is not although a Service has it.
#[must_use]
pub fn choose(inventory: &Inventory, scope: &Scope) -> (Plan, Vec<LeftOut>) {
    let mut out = Vec::new();
    let plan = choose_into(inventory, scope, &mut out);
    (plan, out)
}

/// Ranges and nodes: the configured ones, else those that the cluster tells.
#[must_use]
pub fn ranges(inventory: &Inventory, configured: &Ranges) -> Ranges {
    let or = |configured: &[IpNet], told: Vec<IpNet>| {
        if configured.is_empty() { told } else { configured.to_vec() }
    };
    let told = inventory.nodes.values().flat_map(|node| node.pod_cidrs.iter().copied()).collect::<Vec<_>>();
    let pods = or(&configured.pods, IpNet::aggregate(&told));
    let mut nodes: Vec<IpAddr> =
        inventory.nodes.values().flat_map(|node| node.addresses.iter().copied()).collect();
    nodes.sort_unstable();
    nodes.dedup();
    let seen_pods = seen_pods(inventory, &pods, &nodes);
    if !configured.nodes.is_empty() {
        nodes.clone_from(&configured.nodes);
    }
    Ranges { services: or(&configured.services, service_ranges(inventory)), pods, nodes, seen_pods }
}

/// What the cluster says, else each Service's address by itself.
fn service_ranges(inventory: &Inventory) -> Vec<IpNet> {
    if !inventory.service_cidrs.is_empty() {
        return IpNet::aggregate(&inventory.service_cidrs);
    }
    let mut single: Vec<IpAddr> = inventory
        .services
        .values()
        .filter(|service| service.kind == ServiceKind::ClusterIp)
        .flat_map(|service| service.cluster_ips.iter().copied())
        .collect();
    single.sort_unstable();
    single.dedup();
    single.into_iter().map(IpNet::from).collect()
}

fn seen_pods(inventory: &Inventory, known: &[IpNet], nodes: &[IpAddr]) -> Vec<IpNet> {
    const MOST: usize = 32;
    let mut seen: Vec<IpAddr> = inventory
        .slices
        .values()
        .flat_map(|slice| &slice.endpoints)
        .filter(|endpoint| endpoint.pod.is_some())
        .filter_map(|endpoint| endpoint.addresses.first().copied())
        .filter(|address| nodes.binary_search(address).is_err())
        .filter(|address| !known.iter().any(|range| range.contains(address)))
        .collect();
    seen.sort_unstable();
    seen.dedup();
    let covering = |v4: u8, v6: u8| {
        let mut nets: Vec<IpNet> = seen
            .iter()
            .filter_map(|address| IpNet::new(*address, if address.is_ipv4() { v4 } else { v6 }).ok())
            .map(|net| net.trunc())
            .collect();
        nets.dedup();
        IpNet::aggregate(&nets)
    };
    let mut found = covering(24, 64);
    for (v4, v6) in [(16, 48), (8, 32)] {
        if found.len() > MOST {
            found = covering(v4, v6);
        }
    }
    found.truncate(MOST);
    found
}

fn choose_into(inventory: &Inventory, scope: &Scope, out: &mut Vec<LeftOut>) -> Plan {
    let mut slices: HashMap<&ServiceId, Vec<&Slice>> = HashMap::with_capacity(inventory.services.len());
    for slice in inventory.slices.values() {
        if let Some(service) = &slice.service {
            slices.entry(service).or_default().push(slice);
        }
    }
    let mut frontends = Vec::with_capacity(inventory.services.len());
    for service in inventory.services.values().filter(|service| service.kind == ServiceKind::ClusterIp) {
        let own = slices.get(&service.id).map(Vec::as_slice).unwrap_or_default();
        for vip in &service.cluster_ips {
            if !scope.service_cidrs.is_empty() && !scope.service_cidrs.iter().any(|range| range.contains(vip))
            {
                out.push(LeftOut {
                    service: service.id.clone(),
                    vip: *vip,
                    port: None,
                    reason: LeftOutReason::OutsideRanges,
                });
                continue;
            }
            frontends.extend(service.ports.iter().map(|port| frontend(service, port, *vip, own, scope)));
        }
    }
    let key = |one: &Frontend| (one.vip, one.protocol, one.port);
    // The first by name keeps what two claim: no choice is right, but this one does not change.
    frontends.sort_by(|one, other| {
        let names = || (&one.service, &one.port_name).cmp(&(&other.service, &other.port_name));
        key(one).cmp(&key(other)).then_with(names)
    });
    frontends.dedup_by(|later, first| {
        let claimed = key(later) == key(first);
        if claimed {
            out.push(LeftOut {
                service: later.service.clone(),
                vip: later.vip,
                port: Some(later.port),
                reason: LeftOutReason::Claimed(first.service.clone()),
            });
        }
        claimed
    });
    let service_cidrs = match scope.service_cidrs.as_slice() {
        [] => service_ranges(inventory),
        configured => configured.to_vec(),
    };
    Plan { service_cidrs, frontends }
}

fn frontend(
    service: &Service,
    port: &ServicePort,
    vip: IpAddr,
    slices: &[&Slice],
    scope: &Scope,
) -> Frontend {
    let refused = service.internal_local && scope.internal_local == InternalLocal::Refuse;
    let backends = if refused { Vec::new() } else { backends(port, vip, slices, scope.zone.as_deref()) };
    Frontend {
        service: service.id.clone(),
        port_name: port.name.clone(),
        vip,
        port: port.port,
        protocol: port.protocol,
        affinity: service.affinity,
        backends,
    }
}

/// An endpoint at one of its ports.
#[derive(Clone, Copy)]
struct Candidate<'a> {
    address: IpAddr,
    port: u16,
    endpoint: &'a Endpoint,
}

impl Candidate<'_> {
    /// Of what several slices say of the same endpoint one is taken, and always the same: the one that answers best.
    fn preference(&self, other: &Self) -> Ordering {
        let rank =
            |one: &Self| (!one.endpoint.ready, !one.endpoint.drains(), one.endpoint.zone_hints.is_empty());
        let names = |one: &Endpoint, other: &Endpoint| {
            (&one.zone_hints, &one.node, &one.pod).cmp(&(&other.zone_hints, &other.node, &other.pod))
        };
        rank(self).cmp(&rank(other)).then_with(|| names(self.endpoint, other.endpoint))
    }
}

impl Endpoint {
    /// Whether it is taken where nothing is ready.
    fn drains(&self) -> bool {
        self.serving && self.terminating
    }
}

fn backends(port: &ServicePort, vip: IpAddr, slices: &[&Slice], zone: Option<&str>) -> Vec<Backend> {
    let mut candidates = Vec::new();
    for slice in slices {
        let same = slice.ports.iter().filter(|own| own.name == port.name && own.protocol == port.protocol);
        for port in same.filter_map(|own| own.port) {
            for endpoint in &slice.endpoints {
                let address = endpoint.addresses.first().filter(|own| own.is_ipv4() == vip.is_ipv4());
                candidates.extend(address.map(|address| Candidate { address: *address, port, endpoint }));
            }
        }
    }
    candidates.sort_by(|one, other| {
        (one.address, one.port).cmp(&(other.address, other.port)).then_with(|| one.preference(other))
    });
    candidates.dedup_by_key(|one| (one.address, one.port));
    if candidates.iter().any(|one| one.endpoint.ready) {
        candidates.retain(|one| one.endpoint.ready);
        keep_zone(&mut candidates, zone);
    } else {
        candidates.retain(|one| one.endpoint.drains());
    }
    let backend = |one: &Candidate<'_>| Backend {
        address: one.address,
        port: one.port,
        node: one.endpoint.node.clone(),
        pod: one.endpoint.pod.clone(),
    };
    candidates.iter().map(backend).collect()
}

/// Keeps those for a zone, if every one has hints and one of them is for it.
fn keep_zone(ready: &mut Vec<Candidate<'_>>, zone: Option<&str>) {
    let Some(zone) = zone else {
        return;
    };
    let hinted = ready.iter().all(|one| !one.endpoint.zone_hints.is_empty());
    let here = |one: &Candidate<'_>| one.endpoint.zone_hints.iter().any(|hint| hint == zone);
    if hinted && ready.iter().any(here) {
        ready.retain(here);
    }
}

#[cfg(test)]
mod tests;
