//! The cluster's Services and who answers for them: one definition for the objects, the nodes' rules and the tests.

use std::net::IpAddr;

use super::vpc::Host;
use crate::cluster::model::Protocol;

/// The Services' range.
pub const SERVICES: &str = "172.16.0.0/16";
/// The Services' range, IPv6.
pub const SERVICES6: &str = "fd00:172:16::/112";

/// A Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its namespace.
    pub namespace: &'static str,
    /// Its name.
    pub name: &'static str,
    /// The last part of its cluster addresses, of both families; headless if there is none.
    pub number: Option<u8>,
    /// Its ports.
    pub ports: Vec<Port>,
    /// Who answers.
    pub endpoints: Vec<Endpoint>,
    /// Seconds that a client stays with one endpoint.
    pub affinity: Option<u32>,
    /// Whether `internalTrafficPolicy` is `Local`.
    pub local: bool,
}

/// A port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its name; empty if it is the only one and has none.
    pub name: &'static str,
    /// Its protocol.
    pub protocol: Protocol,
    /// At the cluster address.
    pub port: u16,
    /// At the endpoints.
    pub target: Target,
}

/// Which port of an endpoint is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The same at each.
    Number(u16),
    /// A port that containers declare by this name, each with its own number.
    Named(&'static str, Vec<(Host, u16)>),
}

/// Who answers for a Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// The Pod, or the node if the Pod uses its network.
    pub host: Host,
    /// Whether it takes new connections.
    pub ready: bool,
    /// Whether it is being stopped; it still answers.
    pub terminating: bool,
}

/// Everything that the cluster offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalogue(pub Vec<Service>);

impl Endpoint {
    /// A ready one.
    pub fn ready(host: Host) -> Self {
        Self { host, ready: true, terminating: false }
    }
}

impl Port {
    /// At this endpoint.
    pub fn at(&self, host: Host) -> Option<u16> {
        match &self.target {
            Target::Number(port) => Some(*port),
            Target::Named(_, ports) => ports.iter().find(|(own, _)| *own == host).map(|(_, port)| *port),
        }
    }
}

impl Service {
    /// Its cluster addresses: IPv4, then IPv6.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let parse = |text: String| text.parse().ok();
        let number = self.number.into_iter();
        number
            .flat_map(|number| [format!("172.16.0.{number}"), format!("fd00:172:16::{number}")])
            .filter_map(parse)
            .collect()
    }

    /// Who may answer new connections: the ready ones, else those that are stopping and still answer.
    pub fn usable(&self) -> Vec<Host> {
        let ready: Vec<Host> =
            self.endpoints.iter().filter(|endpoint| endpoint.ready).map(|endpoint| endpoint.host).collect();
        if !ready.is_empty() {
            return ready;
        }
        self.endpoints.iter().filter(|endpoint| endpoint.terminating).map(|endpoint| endpoint.host).collect()
    }
}

impl Catalogue {
    /// A Service by its name.
    pub fn get(&self, name: &str) -> Option<&Service> {
        self.0.iter().find(|service| service.name == name)
    }

    /// A Service by its name, to be changed.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Service> {
        self.0.iter_mut().find(|service| service.name == name)
    }
}

impl Default for Catalogue {
    fn default() -> Self {
        use Host::{Node1, Node2, Pod1, Pod2};
        let tcp =
            |port, target| Port { name: "", protocol: Protocol::Tcp, port, target: Target::Number(target) };
        let service = |name, number, ports, hosts: &[Host]| Service {
            namespace: "default",
            name,
            number,
            ports,
            endpoints: hosts.iter().copied().map(Endpoint::ready).collect(),
            affinity: None,
            local: false,
        };
        let named = |name, protocol, port, target| Port { name, protocol, port, target };
        Self(vec![
            service("nginx", Some(80), vec![tcp(80, 8080)], &[Pod1]),
            service("mysql", Some(33), vec![tcp(3306, 3306)], &[Pod2]),
            service("both", Some(88), vec![tcp(8088, 8080)], &[Pod1, Pod2]),
            service("empty", Some(99), vec![tcp(9999, 9999)], &[]),
            Service {
                namespace: "kube-system",
                ..service(
                    "dns",
                    Some(10),
                    vec![
                        named("dns", Protocol::Udp, 53, Target::Number(5353)),
                        named("dns-tcp", Protocol::Tcp, 53, Target::Number(5353)),
                    ],
                    &[Pod2],
                )
            },
            service("headless", None, vec![tcp(3306, 3306)], &[Pod2]),
            Service {
                affinity: Some(10_800),
                ..service("sticky", Some(77), vec![tcp(8077, 8080)], &[Pod1, Pod2])
            },
            service(
                "named",
                Some(66),
                vec![named(
                    "web",
                    Protocol::Tcp,
                    80,
                    Target::Named("http", vec![(Pod1, 8080), (Pod2, 8081)]),
                )],
                &[Pod1, Pod2],
            ),
            service("host", Some(91), vec![tcp(9100, 9100)], &[Node1, Node2]),
            // Two more ways to a Pod and port that others lead to.
            service("twin", Some(34), vec![tcp(3306, 3306)], &[Pod2]),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cluster_address_is_in_a_range_and_is_used_once() {
        let ranges: Vec<ipnet::IpNet> =
            [SERVICES, SERVICES6].iter().map(|text| text.parse().unwrap()).collect();
        let mut seen = std::collections::BTreeSet::new();
        for address in Catalogue::default().0.iter().flat_map(Service::addresses) {
            assert!(ranges.iter().any(|range| range.contains(&address)), "{address}");
            assert!(seen.insert(address), "{address}");
        }
        assert_eq!(seen.len(), 18);
    }

    #[test]
    fn a_stopping_endpoint_answers_only_while_none_is_ready() {
        let mut catalogue = Catalogue::default();
        let both = catalogue.get_mut("both").unwrap();
        both.endpoints[0] = Endpoint { host: Host::Pod1, ready: false, terminating: true };
        assert_eq!(both.usable(), [Host::Pod2]);
        both.endpoints.truncate(1);
        assert_eq!(both.usable(), [Host::Pod1]);
        both.endpoints.clear();
        assert!(both.usable().is_empty());
    }
}
