//! The path outside of the tunnel: own addresses, and how a peer is reached.

use std::net::IpAddr;

use super::SystemError;
use super::netlink::{Link, Netlink};

/// How packets to a peer leave the machine.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Underlay {
    /// Name of the interface.
    pub interface: String,
    /// Its index.
    pub index: u32,
    /// The address the kernel sends from.
    pub source: Option<IpAddr>,
    /// Next hop; `None` if the peer is on the link.
    pub gateway: Option<IpAddr>,
    /// Octets of an outer IP packet: the route's MTU if it has one, else the interface's.
    pub mtu: u32,
}

/// One address of the machine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct LocalAddress {
    /// The address.
    pub address: IpAddr,
    /// Length of its prefix.
    pub prefix_len: u8,
    /// Name of the interface that has it.
    pub interface: String,
    /// The interface's index.
    pub index: u32,
}

/// The kernel's path toward `peer`; `None` if there is none.
pub(super) async fn find(
    netlink: &Netlink,
    links: &[Link],
    peer: IpAddr,
) -> Result<Option<Underlay>, SystemError> {
    let Some(found) = netlink.lookup(peer).await? else { return Ok(None) };
    let Some(link) = links.iter().find(|link| link.index == found.oif) else { return Ok(None) };
    Ok(Some(Underlay {
        interface: link.name.clone(),
        index: link.index,
        source: found.source,
        gateway: found.gateway,
        mtu: found.mtu.unwrap_or(link.mtu),
    }))
}

/// Own addresses that a peer could see: not of `tun`, not of the loopback device's own ranges.
pub(super) async fn local_addresses(netlink: &Netlink, tun: &str) -> Result<Vec<LocalAddress>, SystemError> {
    let links = netlink.links().await?;
    let mut out: Vec<LocalAddress> = netlink
        .addresses()
        .await?
        .into_iter()
        .filter(|own| own.usable && !own.address.is_loopback())
        .filter_map(|own| {
            let link = links.iter().find(|link| link.index == own.index && link.name != tun && link.up)?;
            Some(LocalAddress {
                address: own.address,
                prefix_len: own.prefix_len,
                interface: link.name.clone(),
                index: own.index,
            })
        })
        .collect();
    out.sort();
    Ok(out)
}
