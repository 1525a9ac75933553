//! Linux: links, addresses, routes and sysctls by netlink; what the tunnel needs from the machine
//! is reconciled, watched, put back and cleaned up here.
//!
//! [`System`] is a handle to one task that owns the netlink sockets, the last [`Desired`] state and
//! the record of changed sysctls. It compares what the kernel has with what is desired, adds before
//! it removes, and does so again whenever the kernel says that something moved.
//!
//! # Marks
//!
//! Every route carries the protocol number [`ROUTE_PROTOCOL`] (`ip route show proto 157`). Tunnel
//! routes have the metric [`TUNNEL_METRIC`], the unreachable routes behind them [`BLOCK_METRIC`],
//! host routes that keep a peer's own address out of the tunnel [`EXCEPTION_METRIC`]. Nothing
//! without this mark is ever changed or removed.
//!
//! # Fail closed
//!
//! A block stands behind every tunnel route and outlives the daemon, see [`WhenStopped`]. A tunnel
//! route for a whole address family is installed as its two halves, so that it wins over any other
//! default route whatever that one's metric is; the same is done where another program owns a route
//! to exactly the same prefix with a better metric.
//!
//! What this layer does not do: it opens no TUN device and no UDP socket (the data plane does) and
//! runs no program but `nft` and `iptables-save`, read-only, in [`System::inspect`].

mod desired;
mod error;
mod finding;
mod inspect;
mod netlink;
mod plan;
mod reconcile;
mod state;
mod sysctl;
mod task;
mod underlay;

pub mod privileges;

pub use desired::{Desired, Options, TunnelRoute, WhenStopped};
pub use error::SystemError;
pub use finding::{Finding, Severity};
pub use inspect::{TrafficSample, TrafficWatch};
pub use underlay::{LocalAddress, Underlay};

use std::net::IpAddr;

use tokio::sync::{mpsc, oneshot, watch};

use netlink::{Monitor, Netlink};
use reconcile::Machine;
use state::StateDir;
use task::Command;

/// Events that wait to be read; more are dropped and logged.
const EVENTS: usize = 256;
const COMMANDS: usize = 16;

/// The route protocol number that marks our routes; unassigned in `/etc/iproute2/rt_protos` and
/// unused by the known routing daemons (FRR 186–198, Calico 80, Cilium 33, kube-router 17).
pub const ROUTE_PROTOCOL: u8 = 157;
/// Metric of host routes that keep a peer's own address out of the tunnel.
pub const EXCEPTION_METRIC: u32 = 40;
/// Metric of routes into the tunnel device.
pub const TUNNEL_METRIC: u32 = 50;
/// Metric of the unreachable routes behind them: worse than the tunnel's, better than those of DHCP
/// clients and network managers (100 and above).
pub const BLOCK_METRIC: u32 = 60;

/// What a reconcile, a stop or a cleanup changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Routes added, as `ip route` would print them.
    pub added: Vec<String>,
    /// Routes removed.
    pub removed: Vec<String>,
    /// Sysctls written, `path = value`.
    pub sysctls: Vec<String>,
    /// Other changes: link up, MTU, addresses, a device removed.
    pub other: Vec<String>,
    /// What could not be done, or should not stay as it is.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether nothing was changed (findings do not count).
    #[must_use]
    pub fn is_unchanged(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.sysctls.is_empty() && self.other.is_empty()
    }
}

/// What the watch saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// One of our routes was gone or changed and has been put back.
    RouteRestored {
        /// The route as `ip route` would print it.
        route: String,
    },
    /// The TUN device does not exist any more: the daemon must create it again and reconcile.
    TunMissing {
        /// Its name.
        name: String,
    },
    /// The TUN device had been set down (or its MTU or address changed) and is right again.
    TunRestored {
        /// Its name.
        name: String,
        /// What was put right.
        what: String,
    },
    /// The machine's own addresses changed (debounced); the whole list, without loopback,
    /// link-local and the TUN's.
    AddressesChanged {
        /// All usable addresses.
        addresses: Vec<LocalAddress>,
    },
    /// The path toward a peer changed: interface, gateway, source or MTU. `None`: no route.
    UnderlayChanged {
        /// The peer's address, one of [`Desired::peers`].
        peer: IpAddr,
        /// The path now.
        underlay: Option<Underlay>,
    },
    /// The kernel dropped notifications (receive buffer overrun); everything was compared again.
    Resynced,
    /// Something is wrong that the operator should know of.
    Finding(Finding),
}

/// Handle to the task that keeps the machine as desired. Dropping every handle stops the task and
/// leaves everything as it is, as a crash would.
#[derive(Debug, Clone)]
pub struct System {
    netlink: Netlink,
    commands: mpsc::Sender<Command>,
    desired: watch::Receiver<Desired>,
    ports: [u16; 2],
}

impl System {
    /// Takes the state directory's lock, opens netlink in the calling thread's network namespace and
    /// starts the watch. Nothing is changed before the first [`System::reconcile`], which also
    /// adopts or removes what a killed daemon left.
    ///
    /// # Errors
    /// Another daemon holds the state directory, or netlink cannot be opened.
    pub async fn start(options: Options) -> Result<(Self, mpsc::Receiver<Event>), SystemError> {
        let state = StateDir::hold(&options.state_dir)?;
        let netlink = Netlink::open()?;
        let monitor = Monitor::open()?;
        let (event_sender, events) = mpsc::channel(EVENTS);
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let (shared, desired) = watch::channel(Desired::default());
        let machine = Machine::new(netlink.clone(), state, event_sender, shared).await?;
        tokio::spawn(task::run(machine, monitor, inbox, options.debounce, options.poll));
        Ok((Self { netlink, commands, desired, ports: options.ports }, events))
    }

    async fn ask(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<Report, SystemError>>) -> Command,
    ) -> Result<Report, SystemError> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(command(answer)).await.map_err(|_| SystemError::Stopped)?;
        answered.await.map_err(|_| SystemError::Stopped)?
    }

    /// Makes the machine as `desired`, and keeps it so. Idempotent.
    ///
    /// # Errors
    /// Netlink refused something that cannot be done without, or the TUN does not exist; whatever
    /// could be done (the blocks, for example) has been done, and is tried again later.
    pub async fn reconcile(&self, desired: Desired) -> Result<Report, SystemError> {
        self.ask(|answer| Command::Reconcile(Box::new(desired), answer)).await
    }

    /// Takes everything back but the blocks (see [`WhenStopped`]), puts the sysctls back and ends
    /// the task. The TUN itself is its owner's to close.
    ///
    /// # Errors
    /// Netlink failed.
    pub async fn stop(&self, when_stopped: WhenStopped) -> Result<Report, SystemError> {
        self.ask(|answer| Command::Stop(when_stopped, answer)).await
    }

    /// The path that packets toward `peer` take now.
    ///
    /// # Errors
    /// [`SystemError::NoRoute`] or netlink failed.
    pub async fn underlay(&self, peer: IpAddr) -> Result<Underlay, SystemError> {
        let links = self.netlink.links().await?;
        underlay::find(&self.netlink, &links, peer).await?.ok_or(SystemError::NoRoute(peer))
    }

    /// The machine's usable addresses: without loopback, link-local, tentative ones and the TUN's.
    ///
    /// # Errors
    /// Netlink failed.
    pub async fn local_addresses(&self) -> Result<Vec<LocalAddress>, SystemError> {
        let tun = self.desired.borrow().tun.clone();
        underlay::local_addresses(&self.netlink, &tun).await
    }

    /// Looks for what would eat the tunnel's packets: firewalls, rp_filter, forwarding, other
    /// IPsec, occupied ports, a wrong clock. Bounded in time; never fails, but says what could not be
    /// looked at.
    pub async fn inspect(&self) -> Vec<Finding> {
        let desired = self.desired.borrow().clone();
        inspect::inspect(&self.netlink, &desired, self.ports).await
    }
}

/// Removes everything the product ever made here: tunnel routes, blocks and exceptions by their
/// mark, a leftover TUN by the record, and puts the recorded sysctls back.
///
/// # Errors
/// A daemon is running ([`SystemError::Busy`]), or netlink failed.
pub async fn cleanup(options: Options) -> Result<Report, SystemError> {
    let state = StateDir::hold(&options.state_dir)?;
    reconcile::clean(&Netlink::open()?, state).await
}
