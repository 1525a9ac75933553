//! The path outside of the tunnel: own addresses, and how a peer is reached.

use std::net::IpAddr;

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
