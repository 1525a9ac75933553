//! From Kubernetes' objects to what is needed of them.

use ipnet::IpNet;
use k8s_openapi::api::{
    core::v1::{Node as ApiNode, Service as ApiService},
    discovery::v1::EndpointSlice as ApiSlice,
    networking::v1::ServiceCIDR as ApiServiceCidr,
};

use super::model::{Node, Service, Slice};

/// A Service; `None` if it has no name.
#[must_use]
pub fn service(_object: &ApiService) -> Option<Service> {
    None
}

/// An EndpointSlice; `None` if it has no name or addresses that are no IP addresses.
#[must_use]
pub fn slice(_object: &ApiSlice) -> Option<Slice> {
    None
}

/// A Node; `None` if it has no name.
#[must_use]
pub fn node(_object: &ApiNode) -> Option<Node> {
    None
}

/// The ranges of a ServiceCIDR object.
#[must_use]
pub fn service_cidr(_object: &ApiServiceCidr) -> Vec<IpNet> {
    Vec::new()
}
