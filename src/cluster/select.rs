//! Which endpoints may answer for which cluster address and port.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{model::Inventory, plan::Plan};
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

/// Ranges and nodes that the cluster itself tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranges {
    /// Ranges of cluster addresses.
    pub services: Vec<IpNet>,
    /// Ranges of Pod addresses.
    pub pods: Vec<IpNet>,
    /// The nodes' addresses.
    pub nodes: Vec<IpAddr>,
}

/// What shall be translated.
#[must_use]
pub fn plan(_inventory: &Inventory, scope: &Scope) -> Plan {
    Plan { service_cidrs: scope.service_cidrs.clone(), frontends: Vec::new() }
}

/// Ranges and nodes: the configured ones, else those that the cluster tells.
#[must_use]
pub fn ranges(_inventory: &Inventory, configured: &Ranges) -> Ranges {
    configured.clone()
}
