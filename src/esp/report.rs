//! What workers tell the engine, over one bounded queue.

use std::net::{IpAddr, SocketAddr};

use crate::policy::PacketSummary;

/// The number by which the engine knows a Child SA. The data path only carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChildId(pub u64);

/// An offload that the kernel had promised and did not keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Degraded {
    /// Trains of datagrams to this peer: the interface towards it cannot cut them.
    TrainsToPeer(IpAddr),
    /// TCP super-packets to the TUN device.
    TcpToTun,
    /// UDP super-packets to the TUN device.
    UdpToTun,
}

/// One piece of news from a worker. SPIs are those of the SA that the news is about: inbound ones are
/// ours, outbound ones the peer's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// An IKE message arrived at the NAT traversal port; the non-ESP marker is already removed.
    Ike {
        /// The address and port it was sent to.
        local: SocketAddr,
        /// The address and port it came from.
        remote: SocketAddr,
        /// The IKE message.
        octets: Vec<u8>,
    },
    /// A packet needs an SA that is not there. At most one report a second for a policy entry.
    Acquire {
        /// The policy entry's number in the snapshot's SPD.
        entry: u64,
        /// The snapshot's generation.
        generation: u64,
        /// The packet that asked.
        packet: PacketSummary,
    },
    /// The first authenticated packet arrived on an inbound SA. Reported once.
    FirstInbound {
        /// The Child SA.
        child: ChildId,
        /// Our SPI.
        spi: u32,
    },
    /// An authenticated packet with the highest sequence number so far came from, or to, another address
    /// or port than the path says. At most one report a second for a path.
    PeerMoved {
        /// The Child SA.
        child: ChildId,
        /// Our SPI.
        spi: u32,
        /// The address and port it was sent to.
        local: SocketAddr,
        /// The address and port it came from.
        remote: SocketAddr,
    },
    /// An SA reached a soft limit of packets or octets: a rekey is due. Reported once an SA.
    SoftLimit {
        /// The Child SA.
        child: ChildId,
        /// The SPI of the SA in the direction that reached it.
        spi: u32,
    },
    /// An SA reached a hard limit and carries nothing more. Reported once an SA.
    HardLimit {
        /// The Child SA.
        child: ChildId,
        /// The SPI of the SA in the direction that reached it.
        spi: u32,
    },
    /// An ESP packet for an SPI that we do not have came from a peer; only a hint, since it is not
    /// authenticated. At most one report a second.
    UnknownSpi {
        /// The SPI.
        spi: u32,
        /// The address and port it was sent to.
        local: SocketAddr,
        /// The address and port it came from.
        remote: SocketAddr,
    },
    /// The interface towards a peer cannot carry datagrams of this size. At most one report a second for a
    /// path.
    OuterTooBig {
        /// The Child SA.
        child: ChildId,
        /// The address the datagram should have left from.
        local: Option<IpAddr>,
        /// The peer.
        remote: SocketAddr,
        /// Octets of the outer IP packet that did not fit.
        outer_len: usize,
    },
    /// An offload turned out not to work and is done without from now on. Reported once for each.
    Degraded(Degraded),
    /// The TUN device is gone; the data plane needs a new one. At most one report a second.
    TunGone,
}
