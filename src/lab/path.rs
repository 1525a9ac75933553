//! The shortest world with a tunnel in it, for measurements: no NAT, no router in between.
//!
//! ```text
//! client ── near ── far ── server
//!          gateway  gateway
//! ```
//!
//! Every product measured runs on the two gateways, on the very same links.

use super::{
    LabError,
    enter::Entered,
    link::{End, wire},
    namespace::{Namespace, system_program},
};

/// The client's network.
pub const NEAR_NET: &str = "10.1.0.0/24";
/// The client.
pub const CLIENT: &str = "10.1.0.10";
/// The near gateway inside the client's network.
pub const NEAR_INSIDE: &str = "10.1.0.1";
/// The near gateway on the wire.
pub const NEAR: &str = "192.0.2.1";
/// The far gateway on the wire.
pub const FAR: &str = "192.0.2.2";
/// The far gateway inside the server's network.
pub const FAR_INSIDE: &str = "10.2.0.1";
/// The server's network.
pub const FAR_NET: &str = "10.2.0.0/24";
/// The server.
pub const SERVER: &str = "10.2.0.10";
/// The link between the gateways, at both of them.
pub const WIRE: &str = "wire0";
/// MTU of both inner networks, so that every product carries packets of the same size.
pub const INNER_MTU: u32 = 1420;

/// The world, built and running. It vanishes when this and every process inside is gone.
#[derive(Debug)]
pub struct Path {
    /// The client; `eth0`.
    pub client: Namespace,
    /// The gateway beside it; `lan0` and `wire0`.
    pub near: Namespace,
    /// The gateway beside the server; `lan0` and `wire0`.
    pub far: Namespace,
    /// The server; `eth0`.
    pub server: Namespace,
}

impl Path {
    /// Builds the world. The gateways know their own links and nothing else.
    ///
    /// # Errors
    /// The kernel refuses a step.
    pub fn build(_inside: &Entered) -> Result<Self, LabError> {
        let path = Self {
            client: Namespace::create("client")?,
            near: Namespace::create("near")?,
            far: Namespace::create("far")?,
            server: Namespace::create("server")?,
        };
        let end = |namespace, link, addresses| End { namespace, link, addresses };
        wire(end(&path.client, "eth0", &["10.1.0.10/24"]), end(&path.near, "lan0", &["10.1.0.1/24"]))?;
        wire(end(&path.near, WIRE, &["192.0.2.1/24"]), end(&path.far, WIRE, &["192.0.2.2/24"]))?;
        wire(end(&path.server, "eth0", &["10.2.0.10/24"]), end(&path.far, "lan0", &["10.2.0.1/24"]))?;
        for (namespace, link) in
            [(&path.client, "eth0"), (&path.near, "lan0"), (&path.far, "lan0"), (&path.server, "eth0")]
        {
            namespace.set_mtu(link, INNER_MTU)?;
        }
        path.client.route("default", NEAR_INSIDE)?;
        path.server.route("default", FAR_INSIDE)?;
        Ok(path)
    }

    /// Both gateways.
    pub fn gateways(&self) -> [&Namespace; 2] {
        [&self.near, &self.far]
    }

    /// Lets both gateways forward.
    ///
    /// # Errors
    /// The setting may not be written.
    pub fn forward(&self) -> Result<(), LabError> {
        self.gateways().into_iter().try_for_each(|gateway| gateway.sysctl("net/ipv4/ip_forward", "1"))
    }

    /// Routes both networks to each other without a tunnel, along the very same links.
    ///
    /// # Errors
    /// Netlink refuses.
    pub fn route_plainly(&self) -> Result<(), LabError> {
        self.forward()?;
        self.near.route(FAR_NET, FAR)?;
        self.far.route(NEAR_NET, NEAR)
    }

    /// Takes segmentation offload off both ends of the wire, as where a network card has none: every packet
    /// then crosses it alone.
    ///
    /// # Errors
    /// `ethtool` is not installed or fails.
    pub fn without_offload(&self) -> Result<(), LabError> {
        for gateway in self.gateways() {
            let mut command = system_program("ethtool");
            command.args(["-K", WIRE, "tx-udp-segmentation", "off", "tso", "off"]);
            gateway.output(command, "")?;
        }
        Ok(())
    }
}
