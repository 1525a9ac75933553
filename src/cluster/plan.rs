//! What shall be translated: for each cluster address and port the endpoints that may answer.

use std::{net::IpAddr, time::Duration};

use ipnet::IpNet;

use super::model::{Protocol, ServiceId};

/// A cluster address and port, and who answers there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frontend {
    /// The Service.
    pub service: ServiceId,
    /// The port's name, empty if it has none.
    pub port_name: String,
    /// The cluster address.
    pub vip: IpAddr,
    /// The port there.
    pub port: u16,
    /// The protocol.
    pub protocol: Protocol,
    /// How long a client stays with one endpoint.
    pub affinity: Option<Duration>,
    /// Who may answer new connections, in the order of address and port and without duplicates; none means that they
    /// are refused at once. All are of the cluster address's family.
    pub backends: Vec<Backend>,
}

/// An endpoint's address and port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Backend {
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// The node it is on.
    pub node: Option<String>,
    /// The Pod's name.
    pub pod: Option<String>,
}

/// All that one cluster wants translated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Ranges of cluster addresses: what lies in them and is no frontend is refused.
    pub service_cidrs: Vec<IpNet>,
    /// In the order of address, protocol and port, each once.
    pub frontends: Vec<Frontend>,
}
