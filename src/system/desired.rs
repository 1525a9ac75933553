//! What the daemon wants the machine to be: values only.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

/// Where the record is kept and how often things are looked at.
#[derive(Debug, Clone)]
pub struct Options {
    /// Directory of the record of changes (`system.json`) and of the lock; made if missing.
    pub state_dir: PathBuf,
    /// How long address changes are gathered before one event tells of them.
    pub debounce: Duration,
    /// How often everything is compared although the kernel reported nothing.
    pub poll: Duration,
    /// UDP ports that [`System::inspect`](super::System::inspect) asks about: IKE and NAT traversal.
    pub ports: [u16; 2],
}

impl Default for Options {
    fn default() -> Self {
        Self {
            state_dir: PathBuf::from("/var/lib/skybridge"),
            debounce: Duration::from_millis(200),
            poll: Duration::from_secs(30),
            ports: [500, 4500],
        }
    }
}

/// The whole of what is wanted; anything of ours that is not in it is removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Desired {
    /// Name of the TUN device, which the caller has made.
    pub tun: String,
    /// Addresses to put on it; usually none.
    pub tun_addresses: Vec<IpNet>,
    /// Its MTU in octets; 0 leaves it alone.
    pub mtu: u32,
    /// Prefixes that go into the tunnel.
    pub routes: Vec<TunnelRoute>,
    /// Addresses of the peers outside of the tunnel: packets to them never enter it, and their path
    /// is watched.
    pub peers: Vec<IpAddr>,
    /// Whether packets are forwarded between the tunnel and other interfaces; switched on for each
    /// address family that [`Desired::routes`] has.
    pub forwarding: bool,
}

/// One prefix that goes into the tunnel, with an unreachable route behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunnelRoute {
    /// The destination.
    pub prefix: IpNet,
    /// Route MTU in octets, if smaller than the device's.
    pub mtu: Option<u32>,
    /// TCP maximum segment size the machine itself announces on this route.
    pub advmss: Option<u32>,
    /// The local traffic selectors: an own address inside of them becomes the preferred source of
    /// packets that the machine itself sends; none if there is no such address.
    pub local: Vec<IpNet>,
}

/// What stays when the daemon stops.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WhenStopped {
    /// The unreachable routes stay, so that nothing leaves in clear (the default).
    #[default]
    Block,
    /// They go as well.
    Clear,
}
