//! The kernel's UDP sockets: whole trains of datagrams a system call by `UDP_SEGMENT` and `UDP_GRO`, or
//! batches by `sendmmsg` and `recvmmsg` where the kernel, the way out or the operator refuses those.

use std::{
    io::{self, IoSlice, IoSliceMut},
    net::{IpAddr, SocketAddr},
    os::fd::BorrowedFd,
    sync::Arc,
};

use nix::{
    cmsg_space,
    errno::Errno,
    sys::socket::{
        ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrStorage, recvmmsg,
        recvmsg, sendmmsg, setsockopt, sockopt,
    },
};
use socket2::{MsgHdr, SockAddr, SockRef};

use super::{
    control_message::ControlBuffer,
    device::{Datagram, Destination, Received, UdpBatch, UdpDevice, UdpError},
    socket::{IpsecSocket, IpsecSockets},
};
use crate::esp::Degraded;

/// Datagrams in one system call.
const PER_CALL: usize = 32;
/// What is as long as this came as a train, behind which more of its kind are expected.
const LONG: usize = 8_192;
/// From so many short datagrams in a row on they are received together.
const MANY: usize = 4;
/// A socket that had nothing so often in a row is silent, and while others are busy asked as seldom.
const SILENT: u32 = 32;
/// Peers towards which trains are known not to pass; with more of them, no train is sent at all.
const MAX_REFUSED: usize = 64;

/// The sockets of a worker.
#[derive(Debug)]
pub struct KernelUdp {
    sockets: Arc<IpsecSockets>,
    /// The socket that is read first, so that a busy one does not starve the others.
    next: usize,
    /// Whether the kernel may join what it received.
    joins: bool,
    /// Whether trains are sent as such.
    trains: bool,
    /// Peers to which trains are not sent: their way out cannot cut them.
    refused: Vec<IpAddr>,
    degraded: Option<Degraded>,
    control: Vec<u8>,
    /// How often in a row each socket had nothing.
    silent: Vec<u32>,
    turns: u32,
    /// Short datagrams that came in the receive before.
    short: usize,
}

impl KernelUdp {
    /// A device over these sockets without segmentation offload. Others may send through them as well.
    pub fn plain(sockets: Arc<IpsecSockets>) -> Self {
        Self {
            silent: vec![0; sockets.iter().len()],
            turns: 0,
            short: 0,
            sockets,
            next: 0,
            joins: false,
            trains: false,
            refused: Vec::new(),
            degraded: None,
            control: cmsg_space!(libc::in6_pktinfo, i32, i32, i32),
        }
    }

    /// A device with the segmentation offloads that the kernel has: sending since Linux 4.18, receiving
    /// since 5.0.
    pub fn with_offload(sockets: Arc<IpsecSockets>) -> Self {
        let every =
            |set: &dyn Fn(&IpsecSocket) -> nix::Result<()>| sockets.iter().all(|socket| set(socket).is_ok());
        let joins = every(&|socket| setsockopt(&socket.fd(), sockopt::UdpGroSegment, &true));
        // A segment size of zero changes nothing, but an old kernel does not know the option.
        let trains = every(&|socket| setsockopt(&socket.fd(), sockopt::UdpGsoSegment, &0));
        Self { joins, trains, refused: Vec::with_capacity(MAX_REFUSED), ..Self::plain(sockets) }
    }

    /// Whether trains of datagrams are sent, and received, as one.
    pub fn offloads(&self) -> (bool, bool) {
        (self.trains, self.joins)
    }

    /// Receives from one socket and tells whether there was anything.
    fn receive_from(&mut self, index: usize, batch: &mut UdpBatch) -> bool {
        let Some(socket) = self.sockets.get(index) else { return false };
        let before = batch.len();
        // One by one while trains come, or few; together where many short ones come.
        let mut singly = self.joins && self.short < MANY;
        while !batch.is_full() {
            if singly {
                match receive_one(socket, &mut self.control, batch) {
                    // A long one is better worked on while its octets are in the cache.
                    Ok(Some(len)) if len >= LONG => break,
                    Ok(Some(_)) => singly = batch.len() - before < MANY,
                    Ok(None) | Err(_) => break,
                }
            } else if receive_many(socket, batch).unwrap_or(0) < PER_CALL {
                break;
            }
        }
        self.short = batch.len() - before;
        batch.len() > before
    }

    /// Sends a train as one; gives false if it has to be sent in pieces.
    fn send_train(&mut self, datagram: &Datagram<'_>) -> Result<bool, UdpError> {
        let to = datagram.to;
        if to.segment_size.is_some() && (!self.trains || self.refused.contains(&to.remote.ip())) {
            return Ok(false);
        }
        let Some(socket) = choose(&self.sockets, &to) else { return Err(UdpError::NoSocket) };
        match send_one(socket, &to, datagram.octets) {
            Ok(()) => Ok(true),
            // The pieces will show what is wrong.
            Err(error) if to.segment_size.is_some() && may_be_the_train(&error) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn transmit_one(&mut self, datagram: &Datagram<'_>, refused: &mut dyn FnMut(usize, UdpError)) {
        let as_one = if datagram.to.dont_fragment { self.send_train(datagram) } else { Ok(false) };
        match as_one {
            Ok(true) => {}
            Err(error) => refused(datagram.packets(), error),
            Ok(false) => {
                let mut failed = false;
                send_group(&self.sockets, std::slice::from_ref(datagram), &mut |_, error| {
                    failed = true;
                    refused(1, error);
                });
                if !failed && datagram.to.segment_size.is_some() {
                    self.distrust_trains(datagram.to.remote.ip());
                }
            }
        }
    }

    /// The pieces of a train went where the train did not.
    fn distrust_trains(&mut self, remote: IpAddr) {
        if self.refused.contains(&remote) || !self.trains {
            return;
        }
        if self.refused.len() < MAX_REFUSED {
            self.refused.push(remote);
        } else {
            self.trains = false;
        }
        self.degraded = Some(Degraded::TrainsToPeer(remote));
    }
}

impl UdpDevice for KernelUdp {
    fn receive(&mut self, batch: &mut UdpBatch) {
        let count = self.sockets.iter().len();
        self.turns = self.turns.wrapping_add(1);
        let before = batch.len();
        // While another socket is busy, one that has long been silent is asked only now and then.
        for asks_silent in [false, true] {
            if asks_silent && batch.len() > before && !self.turns.is_multiple_of(SILENT) {
                break;
            }
            for turn in 0..count {
                let index = (self.next + turn) % count;
                let silent = self.silent.get(index).copied().unwrap_or(0);
                if batch.is_full() || (silent >= SILENT) != asks_silent {
                    continue;
                }
                let silent = if self.receive_from(index, batch) { 0 } else { silent.saturating_add(1) };
                if let Some(count) = self.silent.get_mut(index) {
                    *count = silent;
                }
            }
        }
        self.next = (self.next + 1) % count.max(1);
    }

    fn transmit(
        &mut self,
        datagrams: &mut dyn Iterator<Item = Datagram<'_>>,
        refused: &mut dyn FnMut(usize, usize, UdpError),
    ) {
        if self.trains {
            for (index, datagram) in datagrams.enumerate() {
                self.transmit_one(&datagram, &mut |count, error| refused(index, count, error));
            }
            return;
        }
        // Without trains, neighbours to one destination are at least sent by one call.
        let datagrams: Vec<_> = datagrams.collect();
        let mut start = 0;
        for group in datagrams.chunk_by(|one, other| one.to.without_segments() == other.to.without_segments())
        {
            let first = start;
            start += group.len();
            send_group(&self.sockets, group, &mut |index, error| refused(first + index, 1, error));
        }
    }

    fn poll_fds(&self) -> Vec<BorrowedFd<'_>> {
        self.sockets.iter().map(IpsecSocket::fd).collect()
    }

    fn take_degraded(&mut self) -> Option<Degraded> {
        self.degraded.take()
    }
}

/// Receives one datagram or train and gives its length.
fn receive_one(
    socket: &IpsecSocket,
    control: &mut [u8],
    batch: &mut UdpBatch,
) -> Result<Option<usize>, Errno> {
    let mut length = None;
    let bound = socket.bound();
    batch.push(|slot| {
        let mut slices = [IoSliceMut::new(slot)];
        let message: RecvMsg<'_, '_, SockaddrStorage> =
            recvmsg(socket.raw_fd(), &mut slices, Some(control), MsgFlags::MSG_DONTWAIT)?;
        let meta = read(&message, bound).ok_or(Errno::EAFNOSUPPORT)?;
        length = Some(message.bytes);
        Ok::<_, Errno>((message.bytes, meta))
    })?;
    Ok(length)
}

/// Receives what is there, at most [`PER_CALL`] datagrams, and gives their number.
fn receive_many(socket: &IpsecSocket, batch: &mut UdpBatch) -> Result<usize, Errno> {
    let control = cmsg_space!(libc::in6_pktinfo, i32, i32, i32);
    // Headers cannot be used twice: the kernel leaves its own lengths in them.
    let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(PER_CALL, Some(control));
    let mut slices: Vec<[IoSliceMut<'_>; 1]> =
        batch.free_slots().take(PER_CALL).map(|slot| [IoSliceMut::new(slot)]).collect();
    let results = recvmmsg(socket.raw_fd(), &mut headers, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None)?;
    let mut received = Vec::with_capacity(PER_CALL);
    for message in results {
        let Some(meta) = read(&message, socket.bound()) else { continue };
        received.push((message.bytes, meta));
    }
    let count = received.len();
    batch.fill(received);
    Ok(count)
}

fn read(message: &RecvMsg<'_, '_, SockaddrStorage>, bound: SocketAddr) -> Option<Received> {
    let mut meta = Received {
        local: bound,
        remote: message.address.as_ref().and_then(to_std)?,
        tos: 0,
        segment_size: None,
        truncated: message.flags.contains(MsgFlags::MSG_TRUNC),
    };
    for control in message.cmsgs().into_iter().flatten() {
        match control {
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                meta.local.set_ip(IpAddr::from(info.ipi_spec_dst.s_addr.to_ne_bytes()));
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                meta.local.set_ip(IpAddr::from(info.ipi6_addr.s6_addr));
            }
            ControlMessageOwned::Ipv4Tos(tos) => meta.tos = tos,
            ControlMessageOwned::Ipv6TClass(class) => meta.tos = (class & 0xff) as u8,
            ControlMessageOwned::UdpGroSegments(size) => meta.segment_size = u16::try_from(size).ok(),
            _ => {}
        }
    }
    Some(meta)
}

/// Sends one datagram or train in one call, without allocating.
fn send_one(socket: &IpsecSocket, to: &Destination, octets: &[u8]) -> io::Result<()> {
    let address = SockAddr::from(to.remote);
    let buffers = [IoSlice::new(octets)];
    let mut control = ControlBuffer::default();
    control.source(to.local.filter(|local| local.is_ipv4() == socket.bound().is_ipv4()));
    control.tos(to.tos, socket.bound().is_ipv4());
    control.segment(to.segment_size);
    let message = MsgHdr::new().with_addr(&address).with_buffers(&buffers).with_control(control.octets());
    loop {
        match SockRef::from(&socket.fd()).sendmsg(&message, libc::MSG_DONTWAIT) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whether an error may be about the train and not about its packets: the way out cannot cut it (EIO), its
/// packets are longer than the route's MTU or the kernel knows no trains (EMSGSIZE, EINVAL, EOPNOTSUPP), or a
/// firewall takes it for one long packet (EPERM).
fn may_be_the_train(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EIO | libc::EINVAL | libc::EMSGSIZE | libc::EOPNOTSUPP | libc::EPERM)
    )
}

fn choose<'s>(sockets: &'s IpsecSockets, to: &Destination) -> Option<&'s IpsecSocket> {
    sockets.choose(to.local, to.remote).and_then(|index| sockets.get(index))
}

fn to_std(address: &SockaddrStorage) -> Option<SocketAddr> {
    match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
        (Some(v4), _) => Some(SocketAddr::from((v4.ip(), v4.port()))),
        (None, Some(v6)) => {
            Some(std::net::SocketAddrV6::new(v6.ip(), v6.port(), v6.flowinfo(), v6.scope_id()).into())
        }
        (None, None) => None,
    }
}

/// Sends datagrams that all go to the same destination in the same way.
pub(crate) fn send_group(
    sockets: &IpsecSockets,
    group: &[Datagram<'_>],
    refused: &mut dyn FnMut(usize, UdpError),
) {
    let Some(to) = group.first().map(|datagram| datagram.to) else { return };
    let Some(socket) = choose(sockets, &to) else {
        for (index, datagram) in group.iter().enumerate() {
            (0..datagram.packets()).for_each(|_| refused(index, UdpError::NoSocket));
        }
        return;
    };
    if to.dont_fragment {
        send_all(socket, to, group, refused);
    } else {
        socket.while_fragmenting(|| send_all(socket, to, group, refused));
    }
}

fn send_all(
    socket: &IpsecSocket,
    to: Destination,
    group: &[Datagram<'_>],
    refused: &mut dyn FnMut(usize, UdpError),
) {
    // A datagram that stands for several is sent as several.
    let pieces: Vec<(usize, &[u8])> = group
        .iter()
        .enumerate()
        .flat_map(|(index, datagram)| datagram.pieces().map(move |piece| (index, piece)))
        .collect();
    for pieces in pieces.chunks(PER_CALL) {
        let mut rest = pieces;
        while let Some(((index, _), behind)) = rest.split_first() {
            match send_some(socket, to, rest) {
                Ok(sent) => rest = rest.get(sent.max(1)..).unwrap_or_default(),
                Err(Errno::EINTR) => {}
                Err(error) => {
                    refused(*index, io::Error::from(error).into());
                    rest = behind;
                }
            }
        }
    }
}

/// Sends the first pieces in one call and gives how many went.
fn send_some(socket: &IpsecSocket, to: Destination, pieces: &[(usize, &[u8])]) -> Result<usize, Errno> {
    let v4;
    let v6;
    let class = i32::from(to.tos);
    let mut control: Vec<ControlMessage<'_>> = Vec::with_capacity(2);
    let mut space = 0;
    match to.local {
        Some(IpAddr::V4(local)) if socket.bound().is_ipv4() => {
            v4 = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(local.octets()) },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            control.push(ControlMessage::Ipv4PacketInfo(&v4));
            space += cmsg_space!(libc::in_pktinfo).len();
        }
        Some(IpAddr::V6(local)) if socket.bound().is_ipv6() => {
            v6 = libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: local.octets() }, ipi6_ifindex: 0 };
            control.push(ControlMessage::Ipv6PacketInfo(&v6));
            space += cmsg_space!(libc::in6_pktinfo).len();
        }
        _ => {}
    }
    if to.tos != 0 {
        if socket.bound().is_ipv4() {
            control.push(ControlMessage::Ipv4Tos(&to.tos));
            space += cmsg_space!(u8).len();
        } else {
            control.push(ControlMessage::Ipv6TClass(&class));
            space += cmsg_space!(i32).len();
        }
    }
    let slices: Vec<[IoSlice<'_>; 1]> = pieces.iter().map(|(_, piece)| [IoSlice::new(piece)]).collect();
    let addresses = vec![Some(SockaddrStorage::from(to.remote)); pieces.len()];
    // The space must be exact: the kernel refuses an empty control message at the end.
    let space = (space > 0).then(|| vec![0; space]);
    let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(pieces.len(), space);
    let sent =
        sendmmsg(socket.raw_fd(), &mut headers, slices.iter(), &addresses, &control, MsgFlags::MSG_DONTWAIT)?;
    Ok(sent.count())
}

#[cfg(test)]
#[path = "udp/tests.rs"]
mod tests;
