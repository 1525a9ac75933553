//! What a cluster says of itself: Services, EndpointSlices, Nodes and ranges, without what nobody here asks for.
//!
//! Values only. They come from the Kubernetes API or from a file with the same objects, and both make the same of
//! the same object.

use std::{
    collections::BTreeMap,
    fmt,
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use ipnet::IpNet;

/// A Service's namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceId {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for ServiceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A transport protocol that Services know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// As nftables and Kubernetes (in small letters) write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }

    /// The number in IP headers.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What kind of address a Service has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceKind {
    /// One or two addresses of the Service ranges (also of types `NodePort` and `LoadBalancer`).
    ClusterIp,
    /// None: its name resolves to the Pods.
    Headless,
    /// None: its name is another's.
    ExternalName,
}

/// Which endpoints `trafficDistribution` prefers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distribution {
    /// Those of the sender's zone (`PreferClose` and `PreferSameZone`).
    SameZone,
    /// Those of the sender's node, then of its zone (`PreferSameNode`).
    SameNode,
}

/// A Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its namespace and name.
    pub id: ServiceId,
    /// What kind of address it has.
    pub kind: ServiceKind,
    /// Its cluster addresses, of one family or both; none unless `kind` is [`ServiceKind::ClusterIp`].
    pub cluster_ips: Vec<IpAddr>,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// How long a client stays with one endpoint (`sessionAffinity: ClientIP`).
    pub affinity: Option<Duration>,
    /// Whether `internalTrafficPolicy` is `Local`.
    pub internal_local: bool,
    /// Its `trafficDistribution`.
    pub distribution: Option<Distribution>,
}

/// A port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// Its name, empty if it is the only one. Slices refer to it.
    pub name: String,
    /// Its protocol.
    pub protocol: Protocol,
    /// The port at the cluster address.
    pub port: u16,
}

/// An EndpointSlice: some of the endpoints of a Service, all with the same ports and of the same address family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    /// Namespace and name of the slice.
    pub id: SliceId,
    /// The Service it says it belongs to.
    pub service: Option<ServiceId>,
    /// Ports at each endpoint, by the names that the Service gives them.
    pub ports: Vec<SlicePort>,
    /// The endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// Namespace and name of an EndpointSlice.
pub type SliceId = (String, String);

/// A port of a slice's endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlicePort {
    /// The Service port's name.
    pub name: String,
    /// Its protocol.
    pub protocol: Protocol,
    /// The port at the endpoint; none means all ports, which no Service translates.
    pub port: Option<u16>,
}

/// An endpoint of a slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its addresses; the first counts, as for kube-proxy.
    pub addresses: Vec<IpAddr>,
    /// Whether it takes new connections. Unknown counts as true, as the API says.
    pub ready: bool,
    /// Whether it answers, although it may be terminating. Unknown counts as `ready`.
    pub serving: bool,
    /// Whether it is being stopped.
    pub terminating: bool,
    /// The node it is on.
    pub node: Option<String>,
    /// The zone it is in.
    pub zone: Option<String>,
    /// Zones that shall use it (`hints.forZones`).
    pub zone_hints: Vec<String>,
    /// Nodes that shall use it (`hints.forNodes`).
    pub node_hints: Vec<String>,
    /// The Pod's name, if it is a Pod.
    pub pod: Option<String>,
}

/// A Node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its `InternalIP` addresses.
    pub addresses: Vec<IpAddr>,
    /// Its Pod ranges, where the cluster gives them out by node.
    pub pod_cidrs: Vec<IpNet>,
    /// Its zone.
    pub zone: Option<String>,
    /// Whether its condition `Ready` is true.
    pub ready: bool,
}

/// Everything that is known of a cluster. Cheap to clone: objects are shared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Services by name.
    pub services: BTreeMap<ServiceId, Arc<Service>>,
    /// EndpointSlices by name.
    pub slices: BTreeMap<SliceId, Arc<Slice>>,
    /// Nodes by name.
    pub nodes: BTreeMap<String, Arc<Node>>,
    /// Ranges of cluster addresses (`ServiceCIDR` objects); empty where the API does not serve them.
    pub service_cidrs: Vec<IpNet>,
}

/// How a source of objects fares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceHealth {
    /// What it is, for the operator: the server's address or the file's path.
    pub source: String,
    /// Whether everything wanted has been read at least once.
    pub synced: bool,
    /// When the source last showed that it is alive and the inventory current.
    pub current_at: Option<SystemTime>,
    /// What is wrong now and what to do; the last state is kept meanwhile.
    pub problem: Option<String>,
}

/// What a source publishes at each change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// Everything known.
    pub inventory: Arc<Inventory>,
    /// How well it is known.
    pub health: SourceHealth,
}
