//! The two sides a worker stands between, as traits: the TUN device and the UDP sockets. Real ones are in
//! [`super::tun`] and [`super::udp`]; tests use doubles in memory.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::BorrowedFd,
};

use super::batch::{Batch, Offload};

/// Packets from or to the TUN device.
pub type TunBatch = Batch<Offload>;

/// Datagrams from the UDP sockets.
pub type UdpBatch = Batch<Received>;

/// A packet for the TUN device.
#[derive(Debug, Clone, Copy)]
pub struct TunPacket<'a> {
    /// The IP packet.
    pub octets: &'a [u8],
    /// What is left for the kernel to do.
    pub offload: Offload,
}

/// What is known about a received datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// The address and port it was sent to.
    pub local: SocketAddr,
    /// The address and port it came from.
    pub remote: SocketAddr,
    /// TOS or traffic class octet of the outer header.
    pub tos: u8,
    /// Octets in each but the last of several datagrams that came as one.
    pub segment_size: Option<u16>,
    /// Whether the buffer was too short for it.
    pub truncated: bool,
}

/// A datagram to be sent.
#[derive(Debug, Clone, Copy)]
pub struct Datagram<'a> {
    /// The UDP payload.
    pub octets: &'a [u8],
    /// Everything else.
    pub to: Destination,
}

/// Where and how a datagram is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Destination {
    /// The source address; `None` lets the kernel choose.
    pub local: Option<IpAddr>,
    /// The peer's address and port.
    pub remote: SocketAddr,
    /// TOS or traffic class octet of the outer header.
    pub tos: u8,
    /// Whether the outer packet must not be fragmented.
    pub dont_fragment: bool,
    /// Octets in each but the last of several datagrams that are sent as one.
    pub segment_size: Option<u16>,
}

/// Why the TUN device did not take or give a packet.
#[derive(Debug)]
pub enum TunError {
    /// The device was deleted: nothing works any more.
    Gone,
    /// The device is down: writes fail until somebody sets it up.
    Down,
    /// A queue is full.
    Full,
    /// Anything else.
    Other(io::Error),
}

/// Why a socket did not take a datagram.
#[derive(Debug)]
pub enum UdpError {
    /// Longer than the interface's MTU.
    TooBig,
    /// No route, or a source address that we no longer have.
    Unreachable,
    /// A buffer or queue is full.
    Full,
    /// A firewall of this host forbids it.
    Forbidden,
    /// No socket of the address family.
    NoSocket,
    /// Anything else.
    Other(io::Error),
}

impl From<io::Error> for UdpError {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EMSGSIZE) => Self::TooBig,
            // An IPv6 source address that is gone gives EINVAL, an IPv4 one ENETUNREACH.
            Some(
                libc::ENETUNREACH
                | libc::EHOSTUNREACH
                | libc::ENETDOWN
                | libc::EADDRNOTAVAIL
                | libc::EINVAL
                | libc::ENODEV
                | libc::ECONNREFUSED,
            ) => Self::Unreachable,
            Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => Self::Full,
            Some(libc::EPERM | libc::EACCES) => Self::Forbidden,
            _ => Self::Other(error),
        }
    }
}

impl From<io::Error> for TunError {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EBADFD | libc::EBADF | libc::ENODEV | libc::ENXIO) => Self::Gone,
            Some(libc::EIO | libc::ENETDOWN) => Self::Down,
            Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => Self::Full,
            _ => Self::Other(error),
        }
    }
}

/// The side of this gateway's network. Nothing blocks.
pub trait TunDevice: Send {
    /// Adds packets to the batch until it is full or none is left.
    ///
    /// # Errors
    /// What went wrong before the first packet; after it the packets come without an error.
    fn receive(&mut self, batch: &mut TunBatch) -> Result<(), TunError>;

    /// Writes the packets in order and tells by index which were not taken.
    fn transmit(&mut self, packets: &[TunPacket<'_>], refused: &mut dyn FnMut(usize, TunError));

    /// Readable when packets are there.
    fn poll_fd(&self) -> BorrowedFd<'_>;
}

/// The side of the peers. Nothing blocks.
pub trait UdpDevice: Send {
    /// Adds datagrams to the batch until it is full or none is left.
    fn receive(&mut self, batch: &mut UdpBatch);

    /// Sends the datagrams, those to one peer in order, and tells by index which were not taken.
    fn transmit(&mut self, datagrams: &[Datagram<'_>], refused: &mut dyn FnMut(usize, UdpError));

    /// Readable when datagrams are there.
    fn poll_fds(&self) -> Vec<BorrowedFd<'_>>;
}
