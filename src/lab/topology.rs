//! The made-up world: an office behind a carrier's NAT, a cloud behind a 1:1 NAT.
//!
//! ```text
//! client ─ edge ──── carrier ─ internet ─ igw ─ vpc ─ cloud
//!                     (NAT)       │      (1:1)   └─ node ─ pod
//!                               branch
//! ```
//!
//! IPv4 is translated twice, as outside; IPv6 is not translated, only routed, so it also serves where
//! both ends must be reachable. Routes to the office lead through the cloud endpoint inside the VPC,
//! as a cloud's route table would have them.

use super::{
    LabError,
    enter::Entered,
    link::{End, wire},
    namespace::Namespace,
    nat,
};

/// The office network.
pub const OFFICE: &str = "192.168.10.0/24";
/// The office network, IPv6.
pub const OFFICE6: &str = "fd00:10::/64";
/// A machine in the office.
pub const CLIENT: &str = "192.168.10.10";
/// The same machine, IPv6.
pub const CLIENT6: &str = "fd00:10::10";
/// The office endpoint's address behind the carrier's NAT.
pub const EDGE: &str = "100.64.0.2";
/// The office endpoint's IPv6 address.
pub const EDGE6: &str = "2001:db8:1::2";
/// What the internet sees of the office.
pub const OFFICE_PUBLIC: &str = "198.51.100.2";
/// The cloud endpoint as the internet sees it.
pub const CLOUD_PUBLIC: &str = "203.0.113.10";
/// The cloud endpoint's own address.
pub const CLOUD: &str = "10.0.3.10";
/// The cloud endpoint's IPv6 address.
pub const CLOUD6: &str = "2001:db8:c:3::10";
/// The nodes' subnet.
pub const NODES: &str = "10.0.1.0/24";
/// The nodes' subnet, IPv6.
pub const NODES6: &str = "fd00:c:1::/64";
/// The Pods' subnet.
pub const PODS: &str = "10.0.2.0/24";
/// The Pods' subnet, IPv6.
pub const PODS6: &str = "fd00:c:2::/64";
/// A Pod.
pub const POD: &str = "10.0.2.21";
/// The same Pod, IPv6.
pub const POD6: &str = "fd00:c:2::21";
/// A second site's endpoint, without NAT.
pub const BRANCH: &str = "192.0.2.2";
/// The second site's network.
pub const BRANCH_NET: &str = "192.168.20.0/24";
/// A machine in the second site's network: the endpoint itself.
pub const BRANCH_HOST: &str = "192.168.20.1";

/// The world, built and running. It vanishes when this and every process inside is gone.
#[derive(Debug)]
pub struct Lab {
    /// A machine in the office, `192.168.10.10`.
    pub client: Namespace,
    /// The office endpoint; `lan0` to the office, `wan0` to the carrier.
    pub edge: Namespace,
    /// The carrier's NAT; `cpe0` to the office, `inet0` to the internet.
    pub carrier: Namespace,
    /// A router of the internet; `carrier0`, `cloud0` and `branch0`.
    pub internet: Namespace,
    /// The cloud's 1:1 NAT; `inet0` to the internet, `vpc0` inside.
    pub igw: Namespace,
    /// The VPC's router; `igw0`, `cloud0` and `node0`.
    pub vpc: Namespace,
    /// The cloud endpoint; `eth0`.
    pub cloud: Namespace,
    /// A node; `eth0` to the VPC and `pod0` to its Pod.
    pub node: Namespace,
    /// A Pod; `eth0`, `10.0.2.21`.
    pub pod: Namespace,
    /// The second site's endpoint; `wan0`, and `lan0` as a stub.
    pub branch: Namespace,
}

/// What every world has: the office, the way to the cloud, and the cloud endpoint in its subnet.
#[derive(Debug)]
pub struct Underlay {
    /// A machine in the office, `192.168.10.10`.
    pub client: Namespace,
    /// The office endpoint; `lan0` to the office, `wan0` to the carrier.
    pub edge: Namespace,
    /// The carrier's NAT; `cpe0` to the office, `inet0` to the internet.
    pub carrier: Namespace,
    /// A router of the internet; `carrier0` and `cloud0`.
    pub internet: Namespace,
    /// The cloud's 1:1 NAT; `inet0` to the internet, `vpc0` inside.
    pub igw: Namespace,
    /// The VPC's router; `igw0` and `cloud0`.
    pub vpc: Namespace,
    /// The cloud endpoint; `eth0`.
    pub cloud: Namespace,
}

impl Underlay {
    /// Builds it. The VPC's router knows the way out and the cloud endpoint's subnet, nothing else.
    ///
    /// # Errors
    /// The kernel or `nft` refuse a step.
    pub fn build(_inside: &Entered) -> Result<Self, LabError> {
        let underlay = Self {
            client: Namespace::create("client")?,
            edge: Namespace::create("edge")?,
            carrier: Namespace::create("carrier")?,
            internet: Namespace::create("internet")?,
            igw: Namespace::create("igw")?,
            vpc: Namespace::create("vpc")?,
            cloud: Namespace::create("cloud")?,
        };
        // The endpoints are left for the daemon to set; everybody else routes by trade.
        for router in [&underlay.carrier, &underlay.internet, &underlay.igw, &underlay.vpc] {
            router.make_router()?;
        }
        underlay.join()?;
        underlay.route()?;
        underlay.carrier.nft(&nat::masquerade("inet0", None))?;
        underlay.igw.nft(&nat::one_to_one("inet0", CLOUD_PUBLIC, CLOUD))?;
        Ok(underlay)
    }

    fn join(&self) -> Result<(), LabError> {
        wire(
            end(&self.client, "eth0", &["192.168.10.10/24", "fd00:10::10/64"]),
            end(&self.edge, "lan0", &["192.168.10.1/24", "fd00:10::1/64"]),
        )?;
        wire(
            end(&self.edge, "wan0", &["100.64.0.2/24", "2001:db8:1::2/64"]),
            end(&self.carrier, "cpe0", &["100.64.0.1/24", "2001:db8:1::1/64"]),
        )?;
        wire(
            end(&self.carrier, "inet0", &["198.51.100.2/24", "2001:db8:2::2/64"]),
            end(&self.internet, "carrier0", &["198.51.100.1/24", "2001:db8:2::1/64"]),
        )?;
        wire(
            end(&self.internet, "cloud0", &["203.0.113.1/24", "2001:db8:3::1/64"]),
            end(&self.igw, "inet0", &["203.0.113.10/24", "2001:db8:3::2/64"]),
        )?;
        wire(
            end(&self.igw, "vpc0", &["10.0.255.2/30", "2001:db8:c:ff::2/64"]),
            end(&self.vpc, "igw0", &["10.0.255.1/30", "2001:db8:c:ff::1/64"]),
        )?;
        wire(
            end(&self.vpc, "cloud0", &["10.0.3.1/24", "2001:db8:c:3::1/64"]),
            end(&self.cloud, "eth0", &["10.0.3.10/24", "2001:db8:c:3::10/64"]),
        )
    }

    fn route(&self) -> Result<(), LabError> {
        default_routes(&self.client, "192.168.10.1", "fd00:10::1")?;
        default_routes(&self.edge, "100.64.0.1", "2001:db8:1::1")?;
        default_routes(&self.carrier, "198.51.100.1", "2001:db8:2::1")?;
        self.internet.route("2001:db8:1::/64", "2001:db8:2::2")?;
        self.internet.route("2001:db8:c::/48", "2001:db8:3::2")?;
        default_routes(&self.igw, "203.0.113.1", "2001:db8:3::1")?;
        self.igw.route("10.0.0.0/16", "10.0.255.1")?;
        self.igw.route("2001:db8:c::/48", "2001:db8:c:ff::1")?;
        default_routes(&self.vpc, "10.0.255.2", "2001:db8:c:ff::2")?;
        default_routes(&self.cloud, "10.0.3.1", "2001:db8:c:3::1")
    }

    /// Every namespace.
    pub fn namespaces(&self) -> [&Namespace; 7] {
        [&self.client, &self.edge, &self.carrier, &self.internet, &self.igw, &self.vpc, &self.cloud]
    }
}

/// An end of a wire.
pub(super) fn end<'a>(namespace: &'a Namespace, link: &'a str, addresses: &'a [&'a str]) -> End<'a> {
    End { namespace, link, addresses }
}

/// Routes everything else of both families through a router each.
pub(super) fn default_routes(namespace: &Namespace, via: &str, via6: &str) -> Result<(), LabError> {
    namespace.route("default", via)?;
    namespace.route("default6", via6)
}

impl Lab {
    /// Builds the world.
    ///
    /// # Errors
    /// The kernel or `nft` refuse a step.
    pub fn build(inside: &Entered) -> Result<Self, LabError> {
        let Underlay { client, edge, carrier, internet, igw, vpc, cloud } = Underlay::build(inside)?;
        let node = Namespace::create("node")?;
        let pod = Namespace::create("pod")?;
        let branch = Namespace::create("branch")?;
        let lab = Self { client, edge, carrier, internet, igw, vpc, cloud, node, pod, branch };
        lab.node.make_router()?;
        lab.join()?;
        lab.route()?;
        Ok(lab)
    }

    fn join(&self) -> Result<(), LabError> {
        wire(
            end(&self.internet, "branch0", &["192.0.2.1/24"]),
            end(&self.branch, "wan0", &["192.0.2.2/24"]),
        )?;
        wire(
            end(&self.vpc, "node0", &["10.0.1.1/24", "fd00:c:1::1/64"]),
            end(&self.node, "eth0", &["10.0.1.11/24", "fd00:c:1::11/64"]),
        )?;
        wire(
            end(&self.node, "pod0", &["10.0.2.1/24", "fd00:c:2::1/64"]),
            end(&self.pod, "eth0", &["10.0.2.21/24", "fd00:c:2::21/64"]),
        )?;
        self.branch.add_address("lo", "192.168.20.1/32")
    }

    fn route(&self) -> Result<(), LabError> {
        self.branch.route("default", "192.0.2.1")?;
        self.vpc.route(PODS, "10.0.1.11")?;
        self.vpc.route(PODS6, "fd00:c:1::11")?;
        default_routes(&self.node, "10.0.1.1", "fd00:c:1::1")?;
        default_routes(&self.pod, "10.0.2.1", "fd00:c:2::1")?;
        for office in [OFFICE, BRANCH_NET] {
            self.vpc.route(office, CLOUD)?;
        }
        self.vpc.route(OFFICE6, CLOUD6)
    }

    /// Makes the VPC drop replies that had no request, as a cloud's fabric does.
    ///
    /// # Errors
    /// `nft` refuses.
    pub fn make_vpc_stateful(&self) -> Result<(), LabError> {
        make_stateful(&self.vpc)
    }

    /// Routes office and Pods to each other without a tunnel, along the very same links, to measure
    /// what routing alone reaches. [`Lab::remove_plain_routes`] undoes it.
    ///
    /// # Errors
    /// Netlink refuses.
    pub fn add_plain_routes(&self) -> Result<(), LabError> {
        for (namespace, via) in
            [(&self.edge, "100.64.0.1"), (&self.carrier, "198.51.100.1"), (&self.internet, CLOUD_PUBLIC)]
        {
            namespace.route(PODS, via)?;
        }
        self.internet.route(OFFICE, OFFICE_PUBLIC)?;
        self.carrier.route(OFFICE, EDGE)?;
        // Through the cloud endpoint, which hands it back to the VPC's router on the same link.
        self.vpc.route(OFFICE, "10.0.255.2")?;
        self.edge.sysctl("net/ipv4/ip_forward", "1")
    }

    /// Undoes [`Lab::add_plain_routes`].
    ///
    /// # Errors
    /// Netlink refuses.
    pub fn remove_plain_routes(&self) -> Result<(), LabError> {
        for (namespace, via) in
            [(&self.edge, "100.64.0.1"), (&self.carrier, "198.51.100.1"), (&self.internet, CLOUD_PUBLIC)]
        {
            namespace.remove_route(PODS, via)?;
        }
        self.internet.remove_route(OFFICE, OFFICE_PUBLIC)?;
        self.carrier.remove_route(OFFICE, EDGE)?;
        self.vpc.route(OFFICE, CLOUD)?;
        self.edge.sysctl("net/ipv4/ip_forward", "0")
    }

    /// Every namespace.
    pub fn namespaces(&self) -> [&Namespace; 10] {
        [
            &self.client,
            &self.edge,
            &self.carrier,
            &self.internet,
            &self.igw,
            &self.vpc,
            &self.cloud,
            &self.node,
            &self.pod,
            &self.branch,
        ]
    }
}

/// Makes a router drop replies that had no request; if it does already, it does so without a break.
pub(super) fn make_stateful(router: &Namespace) -> Result<(), LabError> {
    router.sysctl("net/netfilter/nf_conntrack_tcp_loose", "0")?;
    router.nft(
        "table inet fabric {}\ndelete table inet fabric\ntable inet fabric {\n  chain forward {\n    type filter hook forward priority 0;\n    \
         ct state invalid drop\n  }\n}\n",
    )
}
