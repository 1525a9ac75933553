//! The types that `GET /v1/services` answers with. Their JSON form is stable: fields are added, not renamed.

use serde::{Deserialize, Serialize};

/// The clusters behind this endpoint and their Services.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Services {
    /// One entry a configured cluster, in the order of their names.
    pub clusters: Vec<ClusterStatus>,
    /// The table that translates, if a cluster wants one.
    pub table: Option<TableStatus>,
    /// The kernel's connection tracking, where it could be read.
    pub connections: Option<Connections>,
    /// Headers that the workers could not hand to the fault detector for want of room, since the start.
    pub sightings_lost: u64,
}

/// One cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// Name in the configuration.
    pub name: String,
    /// `translate`, `translate-and-masquerade` or `route`.
    pub mode: String,
    /// Where its objects come from: the API server's address or the file; none if nowhere.
    pub source: Option<String>,
    /// Whether everything wanted has been read at least once.
    pub synced: bool,
    /// Seconds since the source last showed that the state is current.
    pub age_seconds: Option<u64>,
    /// What is wrong with the source and what to do; the last state is kept meanwhile.
    pub problem: Option<String>,
    /// Ranges of cluster addresses, configured or discovered.
    pub service_cidrs: Vec<String>,
    /// Pod ranges, configured or discovered.
    pub pod_cidrs: Vec<String>,
    /// Addresses of the nodes, configured or discovered.
    pub nodes: Vec<String>,
    /// Its Services, by namespace and name.
    pub services: Vec<ServiceStatus>,
}

/// One Service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its cluster addresses.
    pub addresses: Vec<String>,
    /// `cluster-ip`, `headless` or `external-name`.
    pub kind: String,
    /// Its ports and who answers there.
    pub ports: Vec<ServicePortStatus>,
    /// `ok`, `failing`, `no-endpoints`, `unused` (nobody has connected yet), `headless`, `external-name`, `left-out` (not
    /// translated, see `fault`) or `refused-here` (its `internalTrafficPolicy` is `Local`).
    pub state: String,
    /// What keeps it from being answered.
    pub fault: Option<Fault>,
    /// How long the last connect took, SYN to SYN-ACK, in milliseconds.
    pub last_connect_ms: Option<f64>,
    /// Seconds since then.
    pub last_connect_seconds_ago: Option<u64>,
    /// Median of the connects seen since the start, in milliseconds.
    pub connect_p50_ms: Option<f64>,
    /// Their 99th percentile, in milliseconds.
    pub connect_p99_ms: Option<f64>,
    /// Connects that were answered since the start.
    pub answered: u64,
    /// Connects that were not.
    pub unanswered: u64,
    /// Connects that were refused.
    pub refused: u64,
}

/// A port of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServicePortStatus {
    /// Its name, empty if it has none.
    pub name: String,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// Its number.
    pub port: u16,
    /// Who answers new connections.
    pub endpoints: Vec<EndpointStatus>,
}

/// An endpoint of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointStatus {
    /// Address and port.
    pub address: String,
    /// The node it is on.
    pub node: Option<String>,
    /// The Pod's name.
    pub pod: Option<String>,
}

/// What keeps a Service from being answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Stable name.
    pub code: String,
    /// `certain` or `probable`.
    pub certainty: String,
    /// What was found.
    pub what: String,
    /// What it was concluded from.
    pub evidence: Vec<String>,
    /// What to do: alternatives on a line each.
    pub action: String,
}

/// The table that translates.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TableStatus {
    /// Whether the kernel has it as it should be.
    pub loaded: bool,
    /// Cluster addresses and ports in it.
    pub frontends: u64,
    /// Endpoints in it.
    pub endpoints: u64,
    /// How long the last change took, in milliseconds.
    pub last_change_ms: Option<f64>,
    /// How often somebody had removed or changed it and it was loaded again.
    pub restored: u64,
    /// Why it is not as it should be, and what to do.
    pub problem: Option<String>,
}

/// The kernel's connection tracking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    /// Entries in use.
    pub count: u64,
    /// The most that it takes.
    pub max: u64,
}
