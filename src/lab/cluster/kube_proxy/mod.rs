//! What kube-proxy makes of the Services on a node, in its two shapes, with and without a way to know local traffic.
//!
//! The rules behave as those of Kubernetes 1.36. They are written anew whenever something changes; that is slower
//! than what kube-proxy does and looks the same to packets.

mod iptables;
mod nftables;

use super::{
    services::{Catalogue, Port, Service},
    vpc::Host,
};
use crate::lab::{
    LabError, Namespace,
    namespace::system_program,
    topology::{PODS, PODS6},
};

/// How kube-proxy is built.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Proxy {
    /// `mode: iptables`.
    #[default]
    Iptables,
    /// The same, with each cluster address also an address of the node, as `mode: ipvs` has them.
    IptablesLocalAddresses,
    /// `mode: nftables`.
    Nftables,
}

/// What kube-proxy masquerades.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Masquerade {
    /// Nothing but a Pod that reaches itself: neither `masqueradeAll` nor a way to know local traffic is set.
    #[default]
    None,
    /// `masqueradeAll: true`.
    All,
    /// `detectLocalMode: ClusterCIDR` with the Pods' ranges.
    ClusterCidr,
}

/// One address family's part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

impl Family {
    const BOTH: [Self; 2] = [Self::V4, Self::V6];

    fn pods(self) -> &'static str {
        match self {
            Self::V4 => PODS,
            Self::V6 => PODS6,
        }
    }

    /// A host's address.
    fn of(self, host: Host) -> &'static str {
        let [v4, v6] = host.addresses();
        match self {
            Self::V4 => v4,
            Self::V6 => v6,
        }
    }

    /// Address and port as destinations of a translation are written.
    fn destination(self, host: Host, port: u16) -> String {
        match self {
            Self::V4 => format!("{}:{port}", self.of(host)),
            Self::V6 => format!("[{}]:{port}", self.of(host)),
        }
    }
}

/// A cluster address and port, and who answers there.
#[derive(Debug)]
struct Frontend<'a> {
    service: &'a Service,
    port: &'a Port,
    /// In the family at hand.
    address: String,
    /// A name that chains can have.
    chain: String,
    /// Who may answer on this node, with the port there.
    backends: Vec<(Host, u16)>,
    /// Whether there are others, on other nodes, that may not.
    elsewhere: bool,
}

fn frontends<'a>(catalogue: &'a Catalogue, family: Family, node: &str) -> Vec<Frontend<'a>> {
    let mut found = Vec::new();
    for service in &catalogue.0 {
        let mut addresses = service.addresses().into_iter();
        let address = addresses.find(|address| address.is_ipv4() == (family == Family::V4));
        let Some(address) = address else { continue };
        for port in &service.ports {
            let all: Vec<(Host, u16)> =
                service.usable().into_iter().filter_map(|host| Some((host, port.at(host)?))).collect();
            let backends: Vec<(Host, u16)> =
                all.iter().copied().filter(|(host, _)| !service.local || host.node() == node).collect();
            let elsewhere = backends.is_empty() && !all.is_empty();
            let chain = match port.name {
                "" => service.name.to_owned(),
                name => format!("{}-{name}", service.name),
            };
            found.push(Frontend { service, port, address: address.to_string(), chain, backends, elsewhere });
        }
    }
    found
}

/// Writes a node's rules anew. Connections of before keep their translation.
pub(super) fn set(
    node: &Namespace,
    proxy: Proxy,
    masquerade: Masquerade,
    catalogue: &Catalogue,
) -> Result<(), LabError> {
    local_addresses(node, catalogue, proxy == Proxy::IptablesLocalAddresses)?;
    let mut rules = nftables::CLEAR.to_owned();
    if proxy == Proxy::Nftables {
        for family in Family::BOTH {
            rules += &nftables::rules(family, masquerade, &frontends(catalogue, family, node.name()));
        }
        clear_iptables(node)?;
        return node.nft(&rules);
    }
    node.nft(&rules)?;
    for family in Family::BOTH {
        let frontends = frontends(catalogue, family, node.name());
        let local = proxy == Proxy::IptablesLocalAddresses;
        restore(node, family, &iptables::rules(family, masquerade, local, &frontends))?;
    }
    Ok(())
}

fn clear_iptables(node: &Namespace) -> Result<(), LabError> {
    // Only where such rules were written before: the programs need not be there otherwise.
    let listed = node.nft_list()?;
    if listed.contains("KUBE-SERVICES") {
        for family in Family::BOTH {
            restore(node, family, iptables::CLEAR)?;
        }
    }
    Ok(())
}

fn restore(node: &Namespace, family: Family, text: &str) -> Result<(), LabError> {
    let program = match family {
        Family::V4 => "iptables-nft-restore",
        Family::V6 => "ip6tables-nft-restore",
    };
    node.output(system_program(program), text).map(drop)
}

fn local_addresses(node: &Namespace, catalogue: &Catalogue, wanted: bool) -> Result<(), LabError> {
    for address in catalogue.0.iter().flat_map(Service::addresses) {
        let whole = format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 });
        // It may be as wanted already.
        let _ = if wanted { node.add_address("lo", &whole) } else { node.remove_address("lo", &whole) };
    }
    Ok(())
}
