//! From Kubernetes' objects to what is needed of them.
//!
//! Every function is total: what an object says that makes no sense is left out and told to [`Oddities`], and what
//! one object can take of memory is bounded, whatever a server or a file sends.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use ipnet::IpNet;
use k8s_openapi::{
    api::{
        core::v1::{Node as ApiNode, Service as ApiService, ServiceSpec},
        discovery::v1::{Endpoint as ApiEndpoint, EndpointSlice as ApiSlice},
        networking::v1::ServiceCIDR as ApiServiceCidr,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::model::{
    Distribution, Endpoint, Node, Protocol, Service, ServiceId, ServiceKind, ServicePort, Slice, SlicePort,
};

/// Services of a cluster that are kept: far above the 10,000 that Kubernetes is made for.
pub const MOST_SERVICES: usize = 65_536;
/// EndpointSlices of a cluster that are kept.
pub const MOST_SLICES: usize = 131_072;
/// Nodes of a cluster that are kept: far above the 5,000 that Kubernetes is made for.
pub const MOST_NODES: usize = 16_384;
/// ServiceCIDR ranges of a cluster that are kept.
pub const MOST_RANGES: usize = 64;

/// Four times of what the API server lets through.
const MOST_ENDPOINTS: usize = 4096;
const MOST_PORTS: usize = 1024;
/// Per endpoint and node; of an endpoint only the first counts.
const MOST_ADDRESSES: usize = 16;
const MOST_HINTS: usize = 32;
/// What the API server lets through as a name.
const LONGEST_NAME: usize = 253;

/// Which slices belong to which Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
const ZONE: &str = "topology.kubernetes.io/zone";
/// As the API server has it, for Services that do not say how long.
const AFFINITY: Duration = Duration::from_secs(10_800);
/// The longest that the API server lets through.
const LONGEST_AFFINITY: i32 = 86_400;

/// What was left out of objects since it made no sense: the first few in words, and how many there were.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Oddities {
    texts: Vec<String>,
    count: usize,
}

impl Oddities {
    const MOST_TEXTS: usize = 8;
    const LONGEST_TEXT: usize = 240;

    /// Notes one.
    pub fn note(&mut self, text: impl fmt::Display) {
        self.count = self.count.saturating_add(1);
        if self.texts.len() < Self::MOST_TEXTS {
            self.texts.push(printable(&text.to_string(), Self::LONGEST_TEXT));
        }
    }

    /// Adds those of another.
    pub fn absorb(&mut self, other: Self) {
        self.count = self.count.saturating_add(other.count);
        let room = Self::MOST_TEXTS.saturating_sub(self.texts.len());
        self.texts.extend(other.texts.into_iter().take(room));
    }

    /// The first few.
    #[must_use]
    pub fn texts(&self) -> &[String] {
        &self.texts
    }

    /// How many there were.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether there was none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl fmt::Display for Oddities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.texts.join("; "))?;
        match self.count - self.texts.len().min(self.count) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

/// The first characters of a text from outside, with nothing that hurts in logs and on terminals.
pub(super) fn printable(text: &str, most: usize) -> String {
    let plain = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    text.chars().take(most).map(plain).collect()
}

/// A Service; `None` if it has no proper name.
#[must_use]
pub fn service(object: &ApiService, odd: &mut Oddities) -> Option<Service> {
    let id = identity("Service", &object.metadata, odd)?;
    let empty = ServiceSpec::default();
    let spec = object.spec.as_ref().unwrap_or(&empty);
    let kind = kind(spec);
    let cluster_ips = match kind {
        ServiceKind::ClusterIp => cluster_ips(spec, &id, odd),
        ServiceKind::Headless | ServiceKind::ExternalName => Vec::new(),
    };
    let mut ports: Vec<ServicePort> = Vec::new();
    for port in limited(spec.ports.as_deref().unwrap_or_default(), MOST_PORTS, "ports", &id, odd) {
        let Some(protocol) = protocol(port.protocol.as_deref(), "Service", &id, odd) else {
            continue;
        };
        let Some(number) = port_number(port.port) else {
            odd.note(format_args!("Service {id}: {} is no port", port.port));
            continue;
        };
        let Some(name) = name_of_port(port.name.as_deref()) else {
            odd.note(format_args!("Service {id}: port {number} has no proper name"));
            continue;
        };
        let port = ServicePort { name, protocol, port: number };
        if !ports.contains(&port) {
            ports.push(port);
        }
    }
    let affinity = (spec.session_affinity.as_deref() == Some("ClientIP")).then(|| affinity(spec));
    Some(Service {
        kind,
        cluster_ips,
        ports,
        affinity,
        internal_local: spec.internal_traffic_policy.as_deref() == Some("Local"),
        distribution: match spec.traffic_distribution.as_deref() {
            Some("PreferClose" | "PreferSameZone") => Some(Distribution::SameZone),
            Some("PreferSameNode") => Some(Distribution::SameNode),
            _ => None,
        },
        id,
    })
}

fn kind(spec: &ServiceSpec) -> ServiceKind {
    if spec.type_.as_deref() == Some("ExternalName") {
        return ServiceKind::ExternalName;
    }
    let listed = spec.cluster_ips.as_deref().unwrap_or_default();
    if spec.cluster_ip.as_deref() == Some("None") || listed.iter().any(|text| text == "None") {
        return ServiceKind::Headless;
    }
    ServiceKind::ClusterIp
}

fn cluster_ips(spec: &ServiceSpec, id: &ServiceId, odd: &mut Oddities) -> Vec<IpAddr> {
    let listed = spec.cluster_ips.as_deref().unwrap_or_default();
    let single = spec.cluster_ip.as_slice();
    let texts = if listed.is_empty() { single } else { listed };
    let mut found = Vec::new();
    for text in texts.iter().filter(|text| !text.is_empty()).take(MOST_ADDRESSES) {
        match address(text) {
            Some(address) if !found.contains(&address) => found.push(address),
            Some(_) => {}
            None => odd.note(format_args!("Service {id}: {text:?} is no cluster address")),
        }
    }
    found
}

fn affinity(spec: &ServiceSpec) -> Duration {
    let config = spec.session_affinity_config.as_ref();
    let seconds = config.and_then(|config| config.client_ip.as_ref()?.timeout_seconds);
    match seconds {
        Some(seconds) if seconds > 0 => {
            Duration::from_secs(u64::from(seconds.min(LONGEST_AFFINITY).unsigned_abs()))
        }
        _ => AFFINITY,
    }
}

/// An EndpointSlice; `None` if it has no proper name, or names instead of addresses.
#[must_use]
pub fn slice(object: &ApiSlice, odd: &mut Oddities) -> Option<Slice> {
    if object.address_type == "FQDN" {
        return None;
    }
    let id = identity("EndpointSlice", &object.metadata, odd)?;
    let label = object.metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE_NAME));
    let service = label
        .filter(|name| is_name(name))
        .map(|name| ServiceId { namespace: id.namespace.clone(), name: name.clone() });
    let mut ports: Vec<SlicePort> = Vec::new();
    for port in limited(object.ports.as_deref().unwrap_or_default(), MOST_PORTS, "ports", &id, odd) {
        let Some(protocol) = protocol(port.protocol.as_deref(), "EndpointSlice", &id, odd) else {
            continue;
        };
        let number = match port.port {
            None => None,
            Some(written) => match port_number(written) {
                None => {
                    odd.note(format_args!("EndpointSlice {id}: {written} is no port"));
                    continue;
                }
                number => number,
            },
        };
        let Some(name) = name_of_port(port.name.as_deref()) else {
            odd.note(format_args!("EndpointSlice {id}: a port has no proper name"));
            continue;
        };
        let port = SlicePort { name, protocol, port: number };
        if !ports.contains(&port) {
            ports.push(port);
        }
    }
    let endpoints = limited(&object.endpoints, MOST_ENDPOINTS, "endpoints", &id, odd)
        .iter()
        .filter_map(|listed| endpoint(listed, &id, odd))
        .collect();
    Some(Slice { id: (id.namespace, id.name), service, ports, endpoints })
}

fn endpoint(object: &ApiEndpoint, slice: &ServiceId, odd: &mut Oddities) -> Option<Endpoint> {
    let mut addresses = Vec::new();
    for text in object.addresses.iter().take(MOST_ADDRESSES) {
        match address(text) {
            Some(address) => addresses.push(address),
            None => odd.note(format_args!("EndpointSlice {slice}: {text:?} is no endpoint's address")),
        }
    }
    if addresses.is_empty() {
        return None;
    }
    let conditions = object.conditions.as_ref();
    let ready = conditions.and_then(|conditions| conditions.ready).unwrap_or(true);
    let hints = object.hints.as_ref();
    let zones = hints.and_then(|hints| hints.for_zones.as_deref()).unwrap_or_default();
    let nodes = hints.and_then(|hints| hints.for_nodes.as_deref()).unwrap_or_default();
    let pod = object.target_ref.as_ref().filter(|target| target.kind.as_deref() == Some("Pod"));
    Some(Endpoint {
        addresses,
        ready,
        serving: conditions.and_then(|conditions| conditions.serving).unwrap_or(ready),
        terminating: conditions.and_then(|conditions| conditions.terminating).unwrap_or(false),
        node: name(object.node_name.as_deref()),
        zone: name(object.zone.as_deref()),
        zone_hints: zones.iter().filter_map(|zone| name(Some(&zone.name))).take(MOST_HINTS).collect(),
        node_hints: nodes.iter().filter_map(|node| name(Some(&node.name))).take(MOST_HINTS).collect(),
        pod: pod.and_then(|pod| name(pod.name.as_deref())),
    })
}

/// A Node; `None` if it has no proper name.
#[must_use]
pub fn node(object: &ApiNode, odd: &mut Oddities) -> Option<Node> {
    let Some(node_name) = name(object.metadata.name.as_deref()) else {
        odd.note("a Node has no proper name");
        return None;
    };
    let status = object.status.as_ref();
    let listed = status.and_then(|status| status.addresses.as_deref()).unwrap_or_default();
    let mut addresses = Vec::new();
    for listed in listed.iter().filter(|listed| listed.type_ == "InternalIP").take(MOST_ADDRESSES) {
        match address(&listed.address) {
            Some(address) if !addresses.contains(&address) => addresses.push(address),
            Some(_) => {}
            None => odd.note(format_args!("Node {node_name}: {:?} is no address", listed.address)),
        }
    }
    let spec = object.spec.as_ref();
    let listed = spec.and_then(|spec| spec.pod_cidrs.as_deref()).unwrap_or_default();
    let single = spec.map(|spec| spec.pod_cidr.as_slice()).unwrap_or_default();
    let mut pod_cidrs = Vec::new();
    for text in if listed.is_empty() { single } else { listed }.iter().take(MOST_ADDRESSES) {
        match range(text) {
            Some(range) if !pod_cidrs.contains(&range) => pod_cidrs.push(range),
            Some(_) => {}
            None => odd.note(format_args!("Node {node_name}: {text:?} is no range of addresses")),
        }
    }
    let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let zone = object.metadata.labels.as_ref().and_then(|labels| labels.get(ZONE));
    Some(Node {
        name: node_name,
        addresses,
        pod_cidrs,
        zone: name(zone.map(String::as_str)),
        ready: conditions.iter().any(|one| one.type_ == "Ready" && one.status == "True"),
    })
}

/// The ranges of a ServiceCIDR object.
#[must_use]
pub fn service_cidr(object: &ApiServiceCidr, odd: &mut Oddities) -> Vec<IpNet> {
    let listed = object.spec.as_ref().and_then(|spec| spec.cidrs.as_deref()).unwrap_or_default();
    let mut found = Vec::new();
    for text in listed.iter().take(MOST_RANGES) {
        match range(text) {
            Some(range) if !found.contains(&range) => found.push(range),
            Some(_) => {}
            None => odd.note(format_args!("ServiceCIDR: {text:?} is no range of addresses")),
        }
    }
    found
}

fn identity(kind: &str, metadata: &ObjectMeta, odd: &mut Oddities) -> Option<ServiceId> {
    let found = name(metadata.name.as_deref());
    // A file written by hand may leave it out, as kubectl takes it.
    let namespace = name(Some(metadata.namespace.as_deref().unwrap_or("default")));
    match (namespace, found) {
        (Some(namespace), Some(name)) => Some(ServiceId { namespace, name }),
        _ => {
            odd.note(format_args!("{kind} without a proper name: it is left out"));
            None
        }
    }
}

/// What the API server would let through, more or less: nothing that hurts in logs and on terminals.
fn is_name(text: &str) -> bool {
    (1..=LONGEST_NAME).contains(&text.len())
        && text.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-._:".contains(&octet))
}

fn name(text: Option<&str>) -> Option<String> {
    text.filter(|text| is_name(text)).map(str::to_owned)
}

/// Empty where there is none.
fn name_of_port(text: Option<&str>) -> Option<String> {
    match text {
        None | Some("") => Some(String::new()),
        text => name(text),
    }
}

fn limited<'a, T>(list: &'a [T], most: usize, what: &str, id: &ServiceId, odd: &mut Oddities) -> &'a [T] {
    match list.get(..most) {
        Some(first) if list.len() > most => {
            odd.note(format_args!("{id}: {} {what}, of which the first {most} are taken", list.len()));
            first
        }
        _ => list,
    }
}

fn protocol(written: Option<&str>, kind: &str, id: &ServiceId, odd: &mut Oddities) -> Option<Protocol> {
    match written {
        None | Some("" | "TCP") => Some(Protocol::Tcp),
        Some("UDP") => Some(Protocol::Udp),
        Some("SCTP") => Some(Protocol::Sctp),
        Some(other) => {
            odd.note(format_args!("{kind} {id}: the protocol {other:?} is not known"));
            None
        }
    }
}

fn port_number(written: i32) -> Option<u16> {
    u16::try_from(written).ok().filter(|port| *port > 0)
}

/// An address that Services and Pods can have, as the API server lets them through.
fn address(text: &str) -> Option<IpAddr> {
    text.parse().ok().filter(usable)
}

fn usable(address: &IpAddr) -> bool {
    let special = address.is_unspecified() || address.is_loopback() || address.is_multicast();
    let other = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast() || address.octets()[0] == 0,
        IpAddr::V6(address) => address.is_unicast_link_local() || is_mapped(address),
    };
    !special && !other
}

fn is_mapped(address: &Ipv6Addr) -> bool {
    address.to_ipv4_mapped().is_some()
}

/// A range that a cluster can have. Host bits, which the API server once let through, are cleared.
fn range(text: &str) -> Option<IpNet> {
    let range = text.parse::<IpNet>().ok()?.trunc();
    let least = if range.addr().is_ipv4() { 8 } else { 32 };
    (range.prefix_len() >= least && usable(&range.addr())).then_some(range)
}

#[cfg(test)]
mod tests;
