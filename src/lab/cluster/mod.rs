//! A cluster behind the cloud endpoint: a VPC, two nodes with kube-proxy's rules, Pods that answer, Services.
//!
//! The office's side is the lab's usual one. What can be set wrongly here is what is set wrongly outside: kube-proxy
//! that does not know local traffic, routes of the VPC's tables, a fabric that drops replies without a request.

pub mod kube_proxy;
pub mod objects;
pub mod operator;
pub mod server;
pub mod services;
pub mod vpc;

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

pub use self::{
    kube_proxy::{Masquerade, Proxy},
    operator::Operator,
    server::Server,
    services::{Catalogue, SERVICES, SERVICES6, Service},
    vpc::{Fabric, Host, ServiceRoute},
};
use super::{
    Entered, LabError, Namespace, Plan, Underlay, nat,
    topology::{PODS, PODS6},
};
use crate::cluster::model::Protocol;

/// Where the file of objects is; inside the lab's own `/run`.
const FOLDER: &str = "/run/skybridge-lab/cluster";

/// TCP ports that every Pod serves.
const POD_PORTS: [u16; 4] = [8_080, 8_081, 3_306, 5_353];
/// Served by what uses a node's own network.
const NODE_PORT: u16 = 9_100;

/// How everything around the daemons is set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scenario {
    /// kube-proxy's shape.
    pub proxy: Proxy,
    /// What it masquerades.
    pub masquerade: Masquerade,
    /// The VPC.
    pub fabric: Fabric,
    /// Rules on the cloud endpoint that are not the daemon's.
    pub operator: Operator,
}

/// The world with a cluster. It vanishes when this and every process inside is gone.
#[derive(Debug)]
pub struct Cluster {
    /// The office, the way to the cloud, the VPC's router and the cloud endpoint.
    pub underlay: Underlay,
    /// Both nodes: `eth0` to the VPC, `eth1` for their Pods' traffic, `pod0` to the Pod.
    pub nodes: [Namespace; 2],
    /// A Pod on each.
    pub pods: [Namespace; 2],
    servers: Vec<Server>,
    scenario: Scenario,
    catalogue: Catalogue,
}

impl Cluster {
    /// Builds the world with everything set as in `scenario`.
    ///
    /// # Errors
    /// The kernel, `nft` or `iptables` refuse a step.
    pub fn build(inside: &Entered, scenario: Scenario) -> Result<Self, LabError> {
        let underlay = Underlay::build(inside)?;
        let nodes = [Namespace::create("node1")?, Namespace::create("node2")?];
        let pods = [Namespace::create("pod1")?, Namespace::create("pod2")?];
        vpc::build(&underlay.vpc, &nodes, &pods)?;
        let mut cluster =
            Self { underlay, nodes, pods, servers: Vec::new(), scenario, catalogue: Catalogue::default() };
        for host in Host::ALL {
            cluster.serve(host)?;
        }
        cluster.set(scenario)?;
        cluster.write_objects()?;
        Ok(cluster)
    }

    fn serve(&mut self, host: Host) -> Result<(), LabError> {
        let mut at = Vec::new();
        for address in host.addresses() {
            let address = parse(address)?;
            let mut add = |protocol, port| at.push((protocol, SocketAddr::new(address, port)));
            match host {
                Host::Node1 | Host::Node2 => add(Protocol::Tcp, NODE_PORT),
                Host::Pod1 | Host::Pod2 => {
                    POD_PORTS.into_iter().for_each(|port| add(Protocol::Tcp, port));
                    add(Protocol::Udp, 5_353);
                }
            }
        }
        let server = Server::start(self.namespace(host), &at)?;
        self.servers.push(server);
        Ok(())
    }

    /// A node's or Pod's namespace.
    pub fn namespace(&self, host: Host) -> &Namespace {
        let ([node1, node2], [pod1, pod2]) = (&self.nodes, &self.pods);
        match host {
            Host::Node1 => node1,
            Host::Node2 => node2,
            Host::Pod1 => pod1,
            Host::Pod2 => pod2,
        }
    }

    /// Sets everything around the daemons anew. Connections are forgotten wherever they are tracked, except those
    /// of the NATs that the tunnel itself goes through.
    ///
    /// # Errors
    /// The kernel, `nft` or `iptables` refuse a step.
    pub fn set(&mut self, scenario: Scenario) -> Result<(), LabError> {
        self.scenario = scenario;
        vpc::set(&self.underlay, scenario.fabric)?;
        self.set_rules()?;
        self.forget_connections()
    }

    fn set_rules(&self) -> Result<(), LabError> {
        let Scenario { proxy, masquerade, operator, .. } = self.scenario;
        for node in &self.nodes {
            kube_proxy::set(node, proxy, masquerade, &self.catalogue)?;
        }
        self.underlay.cloud.nft(&operator::rules(operator, &self.catalogue))
    }

    /// Forgets the connections through the VPC's router, the nodes and the cloud endpoint.
    ///
    /// # Errors
    /// The kernel has no connection tracking by netlink.
    pub fn forget_connections(&self) -> Result<(), LabError> {
        let tracking = [&self.underlay.vpc, &self.underlay.cloud];
        tracking.into_iter().chain(&self.nodes).try_for_each(nat::forget_connections)
    }

    /// Lets the network plugin give what Pods open to the outside their node's address, or not.
    ///
    /// # Errors
    /// `nft` refuses.
    pub fn masquerade_pods(&self, on: bool) -> Result<(), LabError> {
        const CLEAR: &str = "table inet egress {}\ndelete table inet egress\n";
        let rule = |ip: &str, pods: &str, inside: &[&str]| {
            let inside = inside.join(", ");
            format!("oifname \"eth1\" {ip} saddr {pods} {ip} daddr != {{ {inside} }} masquerade\n")
        };
        // Replies are not new connections, so they keep what they have.
        let rules = format!(
            "{CLEAR}table inet egress {{\nchain post {{ type nat hook postrouting priority srcnat;\n{}{}}}\n}}\n",
            rule("ip", PODS, vpc::NETWORKS),
            rule("ip6", PODS6, vpc::NETWORKS6),
        );
        self.nodes.iter().try_for_each(|node| node.nft(if on { &rules } else { CLEAR }))
    }

    /// What the cluster offers.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// Changes what the cluster offers: the nodes' rules and the file of objects follow.
    ///
    /// # Errors
    /// The rules or the file cannot be written.
    pub fn change(&mut self, change: impl FnOnce(&mut Catalogue)) -> Result<(), LabError> {
        change(&mut self.catalogue);
        self.set_rules()?;
        self.write_objects()
    }

    /// The file of objects.
    pub fn objects(&self) -> PathBuf {
        Path::new(FOLDER).join("services.yaml")
    }

    fn write_objects(&self) -> Result<(), LabError> {
        let failed = || LabError::io("write the file of objects");
        fs::create_dir_all(FOLDER).map_err(failed())?;
        let new = Path::new(FOLDER).join(".services.yaml.new");
        fs::write(&new, objects::yaml(&self.catalogue)?).map_err(failed())?;
        fs::rename(&new, self.objects()).map_err(failed())
    }

    /// A Service's address and port, IPv4 or IPv6; the first port of those that it has.
    ///
    /// # Errors
    /// There is no such Service, or it has no such address.
    pub fn service(&self, name: &str, v6: bool) -> Result<SocketAddr, LabError> {
        let missing = || LabError::check(format!("there is no Service {name} with such an address"));
        let service = self.catalogue.get(name).ok_or_else(missing)?;
        let address = service.addresses().into_iter().find(|address| address.is_ipv6() == v6);
        let port = service.ports.first().map(|port| port.port);
        address.zip(port).map(SocketAddr::from).ok_or_else(missing)
    }

    /// A tunnel's plan whose selectors take the cluster in.
    pub fn plan() -> Plan {
        Plan { cloud_networks: vpc::NETWORKS, cloud_networks6: vpc::NETWORKS6, ..Plan::default() }
    }

    /// The same, and the cloud endpoint knows the cluster by the file of objects. `services` is the mode, as users
    /// write it.
    pub fn plan_with(&self, services: &str) -> Plan {
        let quoted = |list: &[&str]| {
            let quoted: Vec<String> = list.iter().map(|item| format!("\"{item}\"")).collect();
            quoted.join(", ")
        };
        let nodes: Vec<&str> = [Host::Node1, Host::Node2].iter().flat_map(|node| node.addresses()).collect();
        let cloud_tables = format!(
            "\n[clusters.prod]\nservices = \"{services}\"\nobjects = \"{}\"\nservice_cidrs = [{}]\n\
             pod_cidrs = [{}]\nnodes = [{}]\n",
            self.objects().display(),
            quoted(&[SERVICES, SERVICES6]),
            quoted(&[PODS, PODS6]),
            quoted(&nodes),
        );
        Plan { cloud_tables, ..Self::plan() }
    }

    /// Every namespace.
    pub fn namespaces(&self) -> Vec<&Namespace> {
        self.underlay.namespaces().into_iter().chain(&self.nodes).chain(&self.pods).collect()
    }
}

/// A host's address and a port.
///
/// # Errors
/// Never, for the addresses of [`Host`].
pub fn at(host: Host, port: u16, v6: bool) -> Result<SocketAddr, LabError> {
    let [v4, six] = host.addresses();
    Ok(SocketAddr::new(parse(if v6 { six } else { v4 })?, port))
}

fn parse(address: &str) -> Result<IpAddr, LabError> {
    address.parse().map_err(|_| LabError::check(format!("not an address: {address}")))
}
