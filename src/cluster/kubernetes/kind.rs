//! The four kinds of objects that are read.

use std::{collections::BTreeMap, sync::Arc};

use ipnet::IpNet;
use k8s_openapi::api::{
    core::v1::{Node as ApiNode, Service as ApiService},
    discovery::v1::EndpointSlice as ApiSlice,
    networking::v1::ServiceCIDR as ApiServiceCidr,
};
use serde::de::DeserializeOwned;

use super::{problem::readable, state::Collected};
use crate::cluster::{
    decode::{self, Oddities},
    model::{Node, Service, ServiceId, Slice, SliceId},
};

/// A kind of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Resource {
    /// Services.
    Services,
    /// EndpointSlices.
    Slices,
    /// Nodes.
    Nodes,
    /// Service ranges.
    Cidrs,
}

impl Resource {
    /// All of them.
    pub(super) const ALL: [Self; 4] = [Self::Services, Self::Slices, Self::Nodes, Self::Cidrs];

    /// The API's name of many of them.
    pub(super) fn plural(self) -> &'static str {
        match self {
            Self::Services => "services",
            Self::Slices => "endpointslices",
            Self::Nodes => "nodes",
            Self::Cidrs => "servicecidrs",
        }
    }

    /// Where the API has them.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Services => "/api/v1/services",
            Self::Slices => "/apis/discovery.k8s.io/v1/endpointslices",
            Self::Nodes => "/api/v1/nodes",
            Self::Cidrs => "/apis/networking.k8s.io/v1/servicecidrs",
        }
    }

    /// Whether nothing can be translated without them.
    pub(super) fn is_needed(self) -> bool {
        matches!(self, Self::Services | Self::Slices)
    }
}

/// What has become of an object.
#[derive(Debug)]
pub(super) struct Decoded<K: Kind> {
    /// Its key.
    pub(super) key: K::Key,
    /// Its namespace and name, for messages.
    pub(super) name: String,
    /// What is kept of it, if anything.
    pub(super) model: Option<K::Model>,
    /// What is odd about it.
    pub(super) odd: Option<String>,
}

impl<K: Kind> Decoded<K> {
    /// Decodes an object; `None` is one that is not understood at all.
    pub(super) fn new(namespace: &str, name: &str, object: Option<&K::Object>) -> Self {
        let key = K::key(namespace, name);
        let name = full_name(namespace, name);
        let Some(object) = object else {
            let odd = Some(format!("{name} is not understood"));
            return Self { key, name, model: None, odd };
        };
        let mut odd = Oddities::default();
        let model = K::decode(object, &mut odd);
        Self { key, name, model, odd: odd.texts().first().cloned() }
    }
}

/// Namespace and name in one, for messages.
pub(super) fn full_name(namespace: &str, name: &str) -> String {
    let name = if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") };
    readable(&name)
}

/// A kind of objects as types.
pub(super) trait Kind: Send + Sync + 'static {
    /// The object as the API has it.
    type Object: DeserializeOwned + Send;
    /// By what objects are told apart.
    type Key: Ord + Clone + Send;
    /// What is kept of an object.
    type Model: PartialEq + Send + Sync;
    /// Which kind it is.
    const RESOURCE: Resource;

    /// The key of the object with this namespace and name.
    fn key(namespace: &str, name: &str) -> Self::Key;
    /// How many are kept.
    const MOST: usize;
    /// What is kept of an object, if anything; what is odd about it is noted.
    fn decode(object: &Self::Object, odd: &mut Oddities) -> Option<Self::Model>;
    /// How many objects it counts for.
    fn weight(_model: &Self::Model) -> usize {
        1
    }
    /// Where objects of this kind are collected.
    fn of(collected: &mut Collected) -> &mut BTreeMap<Self::Key, Arc<Self::Model>>;
}

/// Services.
pub(super) struct Services;

impl Kind for Services {
    type Object = ApiService;
    type Key = ServiceId;
    type Model = Service;
    const RESOURCE: Resource = Resource::Services;
    const MOST: usize = decode::MOST_SERVICES;

    fn key(namespace: &str, name: &str) -> ServiceId {
        ServiceId { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    fn decode(object: &ApiService, odd: &mut Oddities) -> Option<Service> {
        decode::service(object, odd)
    }

    fn of(collected: &mut Collected) -> &mut BTreeMap<ServiceId, Arc<Service>> {
        &mut collected.inventory.services
    }
}

/// EndpointSlices.
pub(super) struct Slices;

impl Kind for Slices {
    type Object = ApiSlice;
    type Key = SliceId;
    type Model = Slice;
    const RESOURCE: Resource = Resource::Slices;
    const MOST: usize = decode::MOST_SLICES;

    fn key(namespace: &str, name: &str) -> SliceId {
        (namespace.to_owned(), name.to_owned())
    }

    fn decode(object: &ApiSlice, odd: &mut Oddities) -> Option<Slice> {
        decode::slice(object, odd)
    }

    fn weight(slice: &Slice) -> usize {
        1 + slice.endpoints.len()
    }

    fn of(collected: &mut Collected) -> &mut BTreeMap<SliceId, Arc<Slice>> {
        &mut collected.inventory.slices
    }
}

/// Nodes.
pub(super) struct Nodes;

impl Kind for Nodes {
    type Object = ApiNode;
    type Key = String;
    type Model = Node;
    const RESOURCE: Resource = Resource::Nodes;
    const MOST: usize = decode::MOST_NODES;

    fn key(_namespace: &str, name: &str) -> String {
        name.to_owned()
    }

    fn decode(object: &ApiNode, odd: &mut Oddities) -> Option<Node> {
        decode::node(object, odd)
    }

    fn of(collected: &mut Collected) -> &mut BTreeMap<String, Arc<Node>> {
        &mut collected.inventory.nodes
    }
}

/// Service ranges.
pub(super) struct Cidrs;

impl Kind for Cidrs {
    type Object = ApiServiceCidr;
    type Key = String;
    type Model = Vec<IpNet>;
    const RESOURCE: Resource = Resource::Cidrs;
    const MOST: usize = decode::MOST_RANGES;

    fn key(_namespace: &str, name: &str) -> String {
        name.to_owned()
    }

    fn decode(object: &ApiServiceCidr, odd: &mut Oddities) -> Option<Vec<IpNet>> {
        Some(decode::service_cidr(object, odd))
    }

    fn of(collected: &mut Collected) -> &mut BTreeMap<String, Arc<Vec<IpNet>>> {
        &mut collected.cidrs
    }
}
