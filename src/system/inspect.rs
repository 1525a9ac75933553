//! Looks for what would eat the tunnel's packets, and says it in the operator's words.
//!
//! Reads `/proc`, asks the kernel by netlink, and runs `nft` and `iptables-save` to list rules: with
//! a bounded time and output, without a shell, never to change anything.

mod firewall;
mod host;
mod ports;
mod program;
mod traffic;
mod xfrm;

pub use traffic::{TrafficSample, TrafficWatch};

use std::net::IpAddr;

use ipnet::IpNet;

use super::netlink::{Address, Link, Netlink};
use super::{Desired, Finding, Severity, SystemError};

/// What the inspections look at, gathered once.
struct Scene<'a> {
    desired: &'a Desired,
    ports: [u16; 2],
    links: Vec<Link>,
    /// Interfaces that carry local addresses which the tunnel serves, and one uplink at least.
    inside: Vec<String>,
    /// Interfaces toward the peers.
    uplinks: Vec<(String, u32)>,
}

/// Everything that is found, worst first.
pub(super) async fn inspect(netlink: &Netlink, desired: &Desired, ports: [u16; 2]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let scene = match gather(netlink, desired, ports).await {
        Ok(scene) => scene,
        Err(error) => {
            return vec![Finding {
                code: "inspect-failed",
                severity: Severity::Warning,
                what: format!("the machine could not be inspected: {error}"),
                where_: "netlink".into(),
                remedy: "Run the command as root or with CAP_NET_ADMIN.".into(),
            }];
        }
    };
    findings.extend(firewall::inspect(&scene).await);
    findings.extend(host::inspect(&scene));
    findings.extend(ports::inspect(ports));
    findings.extend(xfrm::inspect(desired));
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}

/// Peers whose way out is looked up.
const MOST_TARGETS: usize = 100;

async fn gather<'a>(
    netlink: &Netlink,
    desired: &'a Desired,
    ports: [u16; 2],
) -> Result<Scene<'a>, SystemError> {
    let links = netlink.links().await?;
    let addresses = netlink.addresses().await?;
    let mut uplinks: Vec<(String, u32)> = Vec::new();
    let well_known: [IpAddr; 1] = [IpAddr::from([192, 0, 2, 1])];
    let targets = if desired.peers.is_empty() { &well_known[..] } else { &desired.peers[..] };
    // Thousands of peers share a few ways out.
    for peer in targets.iter().step_by(targets.len().div_ceil(MOST_TARGETS)) {
        if let Some(path) = super::underlay::find(netlink, &links, *peer).await?
            && path.interface != desired.tun
            && !uplinks.iter().any(|(name, _)| *name == path.interface)
        {
            uplinks.push((path.interface, path.mtu));
        }
    }
    let inside = inside(desired, &links, &addresses, &uplinks);
    Ok(Scene { desired, ports, links, inside, uplinks })
}

/// The interfaces of own addresses inside the local selectors; else whichever have addresses.
fn inside(
    desired: &Desired,
    links: &[Link],
    addresses: &[Address],
    uplinks: &[(String, u32)],
) -> Vec<String> {
    let served: Vec<IpNet> = desired
        .routes
        .iter()
        .flat_map(|route| &route.local)
        .filter(|net| net.prefix_len() > 0)
        .copied()
        .collect();
    let named = |pick: &dyn Fn(&Address) -> bool| -> Vec<String> {
        links
            .iter()
            .filter(|link| link.name != desired.tun && !link.loopback && link.up)
            .filter(|link| addresses.iter().any(|own| own.index == link.index && own.usable && pick(own)))
            .map(|link| link.name.clone())
            .collect()
    };
    let mut found = named(&|own| served.iter().any(|net| net.contains(&own.address)));
    if found.is_empty() {
        found = named(&|_| true);
        let others: Vec<String> =
            found.iter().filter(|name| !uplinks.iter().any(|(uplink, _)| uplink == *name)).cloned().collect();
        if !others.is_empty() {
            found = others;
        }
    }
    found
}
