//! What the machine should look like for a configuration and the peers as they are now.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::config::{Config, Peer};
use crate::engine::Engine;
use crate::ike::RemoteAddress;
use crate::policy::SelectorSet;
use crate::system::{Desired, TunnelRoute};

/// Device MTU where none is configured: larger than any inner MTU, since each route has its own.
const DEVICE_MTU: u32 = 1500;

/// Octets of an IPv4 and a TCP header, and of an IPv6 and a TCP header.
const IPV4_TCP: u32 = 40;
const IPV6_TCP: u32 = 60;

/// The routes, peers and settings that `config` asks for.
pub(super) fn desired(config: &Config, engine: &Engine) -> Desired {
    let mut routes = Vec::new();
    for peer in &config.peers {
        let inner_mtu = engine.mtu(&peer.ike.name).map(|(_, inner)| inner);
        let mtu = peer.mtu.into_iter().chain(inner_mtu).min().map(u32::from);
        for child in &peer.routes {
            let local = peer.ike.child(&child.child).map(|c| prefixes(&c.local)).unwrap_or_default();
            routes.extend(child.prefixes.iter().map(|prefix| TunnelRoute {
                prefix: *prefix,
                mtu,
                advmss: mtu.and_then(|mtu| advmss(mtu, prefix)),
                local: local.clone(),
            }));
        }
    }
    routes.sort_by_key(|route| route.prefix);
    routes.dedup_by_key(|route| route.prefix);
    Desired {
        tun: config.endpoint.device.clone(),
        tun_addresses: Vec::new(),
        mtu: config.endpoint.mtu.map_or(DEVICE_MTU, u32::from),
        routes,
        peers: remotes(config, engine),
        forwarding: config.endpoint.manage_sysctls,
    }
}

/// Every address a peer has or may have.
fn remotes(config: &Config, engine: &Engine) -> Vec<IpAddr> {
    let mut remotes = engine.remotes();
    remotes.extend(config.peers.iter().flat_map(configured));
    remotes.sort_unstable();
    remotes.dedup();
    remotes
}

/// The addresses that the configuration names for a peer.
pub(super) fn configured(peer: &Peer) -> Vec<IpAddr> {
    match &peer.ike.remote {
        RemoteAddress::Addresses(addresses) => addresses.clone(),
        RemoteAddress::Any | RemoteAddress::Name(_) => Vec::new(),
    }
}

fn prefixes(set: &SelectorSet) -> Vec<IpNet> {
    set.to_prefixes()
}

fn advmss(mtu: u32, prefix: &IpNet) -> Option<u32> {
    let headers = if prefix.addr().is_ipv4() { IPV4_TCP } else { IPV6_TCP };
    mtu.checked_sub(headers).filter(|mss| *mss > 0)
}
