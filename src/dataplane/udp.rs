//! The kernel's UDP sockets in batches by `recvmmsg` and `sendmmsg`, without segmentation offload.

use std::{
    io::{IoSlice, IoSliceMut},
    net::{IpAddr, SocketAddr},
    os::fd::BorrowedFd,
    sync::Arc,
};

use nix::{
    cmsg_space,
    errno::Errno,
    sys::socket::{
        ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg,
    },
};

use super::{
    device::{Datagram, Destination, Received, UdpBatch, UdpDevice, UdpError},
    socket::{IpsecSocket, IpsecSockets},
};

/// Datagrams in one system call.
const PER_CALL: usize = 32;

/// UDP without segmentation offload.
#[derive(Debug)]
pub struct PlainUdp {
    sockets: Arc<IpsecSockets>,
    /// The socket that is read first, so that a busy one does not starve the others.
    next: usize,
}

impl PlainUdp {
    /// A device over these sockets, which others may send through as well.
    pub fn new(sockets: Arc<IpsecSockets>) -> Self {
        Self { sockets, next: 0 }
    }
}

impl UdpDevice for PlainUdp {
    fn receive(&mut self, batch: &mut UdpBatch) {
        let count = self.sockets.iter().len();
        for turn in 0..count {
            let Some(socket) = self.sockets.get((self.next + turn) % count) else { continue };
            while !batch.is_full() {
                match receive(socket, batch) {
                    Ok(received) if received == PER_CALL => {}
                    Ok(_) | Err(_) => break,
                }
            }
        }
        self.next = (self.next + 1) % count.max(1);
    }

    fn transmit(&mut self, datagrams: &[Datagram<'_>], refused: &mut dyn FnMut(usize, UdpError)) {
        let mut start = 0;
        for group in datagrams.chunk_by(|one, other| one.to == other.to) {
            let first = start;
            start += group.len();
            send_group(&self.sockets, group, &mut |index, error| refused(first + index, error));
        }
    }

    fn poll_fds(&self) -> Vec<BorrowedFd<'_>> {
        self.sockets.iter().map(IpsecSocket::fd).collect()
    }
}

/// Receives what is there, at most [`PER_CALL`] datagrams, and gives their number.
fn receive(socket: &IpsecSocket, batch: &mut UdpBatch) -> Result<usize, Errno> {
    let control = if socket.bound().is_ipv4() {
        cmsg_space!(libc::in_pktinfo, u8)
    } else {
        cmsg_space!(libc::in6_pktinfo, i32)
    };
    // Headers cannot be used twice: the kernel leaves its own lengths in them.
    let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(PER_CALL, Some(control));
    let mut slices: Vec<[IoSliceMut<'_>; 1]> =
        batch.free_slots().take(PER_CALL).map(|slot| [IoSliceMut::new(slot)]).collect();
    let results = recvmmsg(socket.raw_fd(), &mut headers, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None)?;
    let mut received = Vec::with_capacity(PER_CALL);
    for message in results {
        let Some(remote) = message.address.as_ref().and_then(to_std) else { continue };
        let mut meta = Received {
            local: socket.bound(),
            remote,
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
                _ => {}
            }
        }
        received.push((message.bytes, meta));
    }
    let count = received.len();
    batch.fill(received);
    Ok(count)
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
    let Some(socket) = sockets.choose(to.local, to.remote).and_then(|index| sockets.get(index)) else {
        (0..group.len()).for_each(|index| refused(index, UdpError::NoSocket));
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
    let segment = to.segment_size.map_or(usize::MAX, |size| usize::from(size).max(1));
    let pieces: Vec<(usize, &[u8])> = group
        .iter()
        .enumerate()
        .flat_map(|(index, datagram)| datagram.octets.chunks(segment).map(move |piece| (index, piece)))
        .collect();
    for pieces in pieces.chunks(PER_CALL) {
        let mut rest = pieces;
        while let Some(((index, _), behind)) = rest.split_first() {
            match send_some(socket, to, rest) {
                Ok(sent) => rest = rest.get(sent.max(1)..).unwrap_or_default(),
                Err(Errno::EINTR) => {}
                Err(error) => {
                    refused(*index, std::io::Error::from(error).into());
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
