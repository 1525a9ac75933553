//! The VPC behind the cloud endpoint: subnets with a route table each, two nodes and a Pod on each.
//!
//! ```text
//!            ┌ lb   10.0.3/24   cloud endpoint .10
//! igw ── vpc ┼ node 10.0.1/24   node1 .11, node2 .12
//!            └ pod  10.0.2/24   data interfaces of node1 .11 and node2 .12, pod1 .21, pod2 .22
//! ```
//!
//! A Pod leaves its node by the data interface, as where Pods have addresses of the VPC. What goes from one member of
//! a subnet to another is switched: the router does not see it.

use std::net::IpAddr;

use crate::lab::{
    LabError, Namespace, Underlay,
    link::wire,
    routing::{Chosen, Hop, MAIN},
    topology::{
        CLOUD, CLOUD6, NODES, NODES6, OFFICE, OFFICE6, PODS, PODS6, default_routes, end, make_stateful,
    },
};

use super::services::{SERVICES, SERVICES6};

/// Tables of the router, by the subnet that packets come from.
const NODE_TABLE: u32 = 101;
const POD_TABLE: u32 = 102;
const LB_TABLE: u32 = 103;
/// The table of a node for what its Pods send.
const DATA_TABLE: u32 = 100;
/// The router that a Pod knows.
const POD_ROUTER: &str = "169.254.1.1";
/// The same, IPv6.
const POD_ROUTER6: &str = "fe80::1";

/// A machine or a Pod that can answer for a Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    /// The node that the VPC routes Services to.
    Node1,
    /// The other node.
    Node2,
    /// The Pod on the first node.
    Pod1,
    /// The Pod on the second node.
    Pod2,
}

impl Host {
    /// Everybody.
    pub const ALL: [Self; 4] = [Self::Node1, Self::Node2, Self::Pod1, Self::Pod2];

    /// Its name, which is its namespace's, too.
    pub fn name(self) -> &'static str {
        match self {
            Self::Node1 => "node1",
            Self::Node2 => "node2",
            Self::Pod1 => "pod1",
            Self::Pod2 => "pod2",
        }
    }

    /// The name of the node that it is, or is on.
    pub fn node(self) -> &'static str {
        match self {
            Self::Node1 | Self::Pod1 => "node1",
            Self::Node2 | Self::Pod2 => "node2",
        }
    }

    /// Its addresses: IPv4, IPv6.
    pub fn addresses(self) -> [&'static str; 2] {
        match self {
            Self::Node1 => ["10.0.1.11", "fd00:c:1::11"],
            Self::Node2 => ["10.0.1.12", "fd00:c:1::12"],
            Self::Pod1 => ["10.0.2.21", "fd00:c:2::21"],
            Self::Pod2 => ["10.0.2.22", "fd00:c:2::22"],
        }
    }

    /// Every address that its packets may have, were they masqueraded by the node: also those of data interfaces.
    pub fn all_addresses(self) -> &'static [&'static str] {
        match self {
            Self::Node1 => &["10.0.1.11", "10.0.2.11", "fd00:c:1::11", "fd00:c:2::11"],
            Self::Node2 => &["10.0.1.12", "10.0.2.12", "fd00:c:1::12", "fd00:c:2::12"],
            Self::Pod1 => &["10.0.2.21", "fd00:c:2::21"],
            Self::Pod2 => &["10.0.2.22", "fd00:c:2::22"],
        }
    }
}

/// Who may have the Services' range in its route table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ServiceRoute {
    /// The cloud endpoint's subnet.
    #[default]
    FromEndpoint,
    /// Every subnet.
    Everywhere,
    /// None.
    Nowhere,
}

/// How the VPC is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fabric {
    /// Whether it drops replies that had no request.
    pub stateful: bool,
    /// Which route tables lead Services to the first node.
    pub service_route: ServiceRoute,
    /// Whether the nodes' and Pods' tables lead the office to the cloud endpoint.
    pub office_route: bool,
}

impl Default for Fabric {
    fn default() -> Self {
        Self { stateful: true, service_route: ServiceRoute::FromEndpoint, office_route: true }
    }
}

/// Joins nodes and Pods to the VPC.
pub(super) fn build(vpc: &Namespace, nodes: &[Namespace; 2], pods: &[Namespace; 2]) -> Result<(), LabError> {
    // Where bridges show what they switch to the router's filters, they shall not here.
    for family in ["iptables", "ip6tables"] {
        let _ = vpc.sysctl(&format!("net/bridge/bridge-nf-call-{family}"), "0");
    }
    vpc.bridge("br-node", &["10.0.1.1/24", "fd00:c:1::1/64"])?;
    vpc.bridge("br-pod", &["10.0.2.1/24", "fd00:c:2::1/64"])?;
    for (link, table) in [("br-node", NODE_TABLE), ("br-pod", POD_TABLE), ("cloud0", LB_TABLE)] {
        vpc.rule(100, Chosen::CameBy(link), table)?;
    }
    // A VPC has no way out for a range that nobody routed.
    for range in [SERVICES, SERVICES6] {
        vpc.route_in(MAIN, range, Hop::Nowhere)?;
    }
    let links = [["node1", "data1"], ["node2", "data2"]];
    let addresses = [
        [["10.0.1.11/24", "fd00:c:1::11/64"], ["10.0.2.11/24", "fd00:c:2::11/64"]],
        [["10.0.1.12/24", "fd00:c:1::12/64"], ["10.0.2.12/24", "fd00:c:2::12/64"]],
    ];
    let hosts = [Host::Pod1, Host::Pod2];
    for (((node, pod), host), (links, addresses)) in
        nodes.iter().zip(pods).zip(hosts).zip(links.into_iter().zip(addresses))
    {
        node.make_router()?;
        for (((link, near), bridge), own) in
            links.into_iter().zip(["eth0", "eth1"]).zip(["br-node", "br-pod"]).zip(addresses)
        {
            wire(end(vpc, link, &[]), end(node, near, &own))?;
            vpc.join_bridge(link, bridge)?;
        }
        default_routes(node, "10.0.1.1", "fd00:c:1::1")?;
        join_pod(node, pod, host)?;
    }
    Ok(())
}

fn join_pod(node: &Namespace, pod: &Namespace, host: Host) -> Result<(), LabError> {
    let [v4, v6] = host.addresses();
    let (whole, whole6) = (format!("{v4}/32"), format!("{v6}/128"));
    wire(end(node, "pod0", &["fe80::1/64"]), end(pod, "eth0", &[&whole, &whole6]))?;
    pod.route_in(MAIN, &format!("{POD_ROUTER}/32"), Hop::Link("eth0"))?;
    pod.route_in(MAIN, "default", Hop::Via(POD_ROUTER))?;
    pod.route_in(MAIN, "default6", Hop::ViaOn(POD_ROUTER6, "eth0"))?;
    node.route_in(MAIN, &whole, Hop::Link("pod0"))?;
    node.route_in(MAIN, &whole6, Hop::Link("pod0"))?;
    // The Pod's router and, in the VPC's subnet, the Pod have no link of their own: the node answers for them.
    for link in ["pod0", "eth1"] {
        node.sysctl(&format!("net/ipv4/conf/{link}/proxy_arp"), "1")?;
        node.sysctl(&format!("net/ipv4/neigh/{link}/proxy_delay"), "0")?;
    }
    node.sysctl("net/ipv6/conf/eth1/proxy_ndp", "1")?;
    node.sysctl("net/ipv6/neigh/eth1/proxy_delay", "0")?;
    let address: IpAddr = v6.parse().map_err(|_| LabError::check(format!("not an address: {v6}")))?;
    node.stand_in("eth1", address)?;
    for own in [&whole, &whole6] {
        node.rule(512, Chosen::To(own), MAIN)?;
        node.rule(1_024, Chosen::From(own), DATA_TABLE)?;
    }
    for (subnet, everything, router) in [(PODS, "default", "10.0.2.1"), (PODS6, "default6", "fd00:c:2::1")] {
        node.route_in(DATA_TABLE, subnet, Hop::Link("eth1"))?;
        node.route_in(DATA_TABLE, everything, Hop::ViaOn(router, "eth1"))?;
    }
    Ok(())
}

/// Sets the VPC's switches.
pub(super) fn set(underlay: &Underlay, fabric: Fabric) -> Result<(), LabError> {
    let vpc = &underlay.vpc;
    for table in [NODE_TABLE, POD_TABLE, LB_TABLE] {
        vpc.clear_table(table)?;
    }
    if fabric.office_route {
        for table in [NODE_TABLE, POD_TABLE] {
            vpc.route_in(table, OFFICE, Hop::Via(CLOUD))?;
            vpc.route_in(table, OFFICE6, Hop::Via(CLOUD6))?;
        }
    }
    let tables: &[u32] = match fabric.service_route {
        ServiceRoute::FromEndpoint => &[LB_TABLE],
        ServiceRoute::Everywhere => &[LB_TABLE, NODE_TABLE, POD_TABLE],
        ServiceRoute::Nowhere => &[],
    };
    let [node, node6] = Host::Node1.addresses();
    for table in tables {
        vpc.route_in(*table, SERVICES, Hop::Via(node))?;
        vpc.route_in(*table, SERVICES6, Hop::Via(node6))?;
    }
    if fabric.stateful {
        return make_stateful(vpc);
    }
    vpc.nft("table inet fabric {}\ndelete table inet fabric\n")?;
    vpc.sysctl("net/netfilter/nf_conntrack_tcp_loose", "1")
}

/// What the nodes' and Pods' networks are called in a tunnel's selectors, IPv4.
pub const NETWORKS: &[&str] = &[NODES, PODS, SERVICES];
/// The same, IPv6.
pub const NETWORKS6: &[&str] = &[NODES6, PODS6, SERVICES6];
