//! The two sides a worker stands between, as traits: the TUN device and the UDP sockets. Real ones are in
//! [`super::tun`] and [`super::udp`]; tests use doubles in memory.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    ops::Range,
    os::fd::BorrowedFd,
};

use super::batch::{Batch, Offload};
use crate::esp::Degraded;

/// Datagrams from the UDP sockets.
pub type UdpBatch = Batch<Received>;

/// Octets before a packet that goes to the TUN device, for the device's own header.
pub const TUN_HEADROOM: usize = 16;

/// Which super-packets a TUN device takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offers {
    /// TCP over IPv4 and IPv6 (TSO).
    pub tcp: bool,
    /// UDP datagrams (USO).
    pub udp: bool,
}

/// A packet from the TUN device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunReceived {
    /// Where the IP packet lies in the buffer.
    pub range: Range<usize>,
    /// What is left for its receiver to do.
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

impl Destination {
    /// The same for single datagrams.
    #[must_use]
    pub fn without_segments(self) -> Self {
        Self { segment_size: None, ..self }
    }
}

impl<'a> Datagram<'a> {
    /// The datagrams that it stands for.
    pub fn pieces(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        self.octets.chunks(self.to.segment_size.map_or(usize::MAX, |size| usize::from(size).max(1)))
    }

    /// How many datagrams it stands for.
    pub fn packets(&self) -> usize {
        self.pieces().len().max(1)
    }
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
    /// Reads one packet or super-packet into `buffer` and tells where it lies; `None` if none is left.
    ///
    /// # Errors
    /// What the device says instead of a packet.
    fn receive(&mut self, buffer: &mut [u8]) -> Result<Option<TunReceived>, TunError>;

    /// Writes one packet or super-packet, which starts after [`TUN_HEADROOM`] octets of `buffer` that are
    /// the device's own.
    ///
    /// # Errors
    /// Why it was not taken.
    fn transmit(&mut self, buffer: &mut [u8], offload: Offload) -> Result<(), TunError>;

    /// Which super-packets may be written.
    fn offers(&self) -> Offers;

    /// Readable when packets are there.
    fn poll_fd(&self) -> BorrowedFd<'_>;
}

/// The side of the peers. Nothing blocks.
pub trait UdpDevice: Send {
    /// Adds datagrams to the batch until it is full or none is left.
    fn receive(&mut self, batch: &mut UdpBatch);

    /// Sends the datagrams, those to one peer in order, and tells which were not taken: by index, and how
    /// many of those that the datagram stands for.
    fn transmit(
        &mut self,
        datagrams: &mut dyn Iterator<Item = Datagram<'_>>,
        refused: &mut dyn FnMut(usize, usize, UdpError),
    );

    /// Readable when datagrams are there.
    fn poll_fds(&self) -> Vec<BorrowedFd<'_>>;

    /// What turned out not to work since the last time this was asked, if anything.
    fn take_degraded(&mut self) -> Option<Degraded> {
        None
    }
}
