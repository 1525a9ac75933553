//! UDP sockets for IKE and ESP: unconnected, so that a rebound NAT and a thousand peers are the normal case,
//! with the local address told on receive and chosen on send, DF set, and TOS passed both ways.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
    sync::{Arc, Mutex, PoisonError},
};

use nix::sys::socket::{setsockopt, sockopt};
use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
};
use socket2::{Domain, Protocol, Socket, Type};

/// How sockets are opened.
#[derive(Debug, Clone, Copy)]
pub struct SocketOptions {
    /// Octets of receive and send buffer to ask for. The kernel's limit is overridden with CAP_NET_ADMIN.
    pub buffer: usize,
    /// A firewall mark for every datagram, to keep them out of policy routes; needs CAP_NET_ADMIN.
    pub mark: Option<u32>,
    /// Whether others of this process may be bound to the same address and port, to share the load.
    pub shared: bool,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self { buffer: 4 << 20, mark: None, shared: false }
    }
}

/// One bound UDP socket.
#[derive(Debug)]
pub struct IpsecSocket {
    socket: UdpSocket,
    bound: SocketAddr,
    /// Held while DF is off, because the option belongs to the whole socket.
    fragmenting: Mutex<()>,
}

impl IpsecSocket {
    /// Opens a socket at `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// Those of the system: address in use or not ours, no permission.
    pub fn open(address: SocketAddr, options: SocketOptions) -> io::Result<Self> {
        let domain = if address.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        if let Some(mark) = options.mark {
            socket.set_mark(mark)?;
        }
        if address.is_ipv4() {
            setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
            socket.set_recv_tos_v4(true)?;
        } else {
            socket.set_only_v6(true)?;
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
            socket.set_recv_tclass_v6(true)?;
        }
        if options.shared {
            socket.set_reuse_port(true)?;
        }
        set_buffers(&socket, options.buffer);
        socket.bind(&address.into())?;
        let socket = UdpSocket::from(socket);
        let bound = socket.local_addr()?;
        let opened = Self { socket, bound, fragmenting: Mutex::new(()) };
        opened.set_dont_fragment(true)?;
        Ok(opened)
    }

    /// The address and port it is bound to; the address may be unspecified.
    pub fn bound(&self) -> SocketAddr {
        self.bound
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub(crate) fn raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Runs `send` while outer packets may be fragmented. The worker's own datagrams may lose DF for that
    /// moment, which harms none: they fit.
    pub(crate) fn while_fragmenting<T>(&self, send: impl FnOnce() -> T) -> T {
        let _guard = self.fragmenting.lock().unwrap_or_else(PoisonError::into_inner);
        // If the option cannot be changed, the datagram is refused as too big, which is said there.
        let _ = self.set_dont_fragment(false);
        let result = send();
        let _ = self.set_dont_fragment(true);
        result
    }

    /// DF on every packet, and no belief in ICMP about its size: the path MTU is probed inside the tunnel.
    fn set_dont_fragment(&self, on: bool) -> io::Result<()> {
        if self.bound.is_ipv4() {
            let mode = if on { Ipv4PathMtuDiscovery::PROBE } else { Ipv4PathMtuDiscovery::DONT };
            set_ip_mtu_discover(&self.socket, mode)?;
        } else {
            let mode = if on { Ipv6PathMtuDiscovery::PROBE } else { Ipv6PathMtuDiscovery::DONT };
            set_ipv6_mtu_discover(&self.socket, mode)?;
            setsockopt(&self.socket, sockopt::Ipv6DontFrag, &on)?;
        }
        Ok(())
    }
}

/// Has the kernel choose among the sockets of one address by the SPI modulo their number: the program sees
/// the UDP payload, and one that is too short for an SPI gives 0.
fn steer_by_spi(socket: &IpsecSocket, sockets: usize) -> io::Result<()> {
    let count = u32::try_from(sockets).unwrap_or(u32::MAX);
    let step = |code: u32, k| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let mut program = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
        step(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, count),
        step(libc::BPF_RET | libc::BPF_A, 0),
    ];
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    Ok(setsockopt(&socket.socket, sockopt::AttachReusePortCbpf, &program)?)
}

fn set_buffers(socket: &Socket, octets: usize) {
    // A smaller buffer than wanted only costs packets under bursts.
    if setsockopt(socket, sockopt::RcvBufForce, &octets).is_err() {
        let _ = socket.set_recv_buffer_size(octets);
    }
    if setsockopt(socket, sockopt::SndBufForce, &octets).is_err() {
        let _ = socket.set_send_buffer_size(octets);
    }
}

/// The sockets of one port, of both address families.
#[derive(Debug)]
pub struct IpsecSockets {
    sockets: Vec<IpsecSocket>,
}

impl IpsecSockets {
    /// Opens a socket at each address. An unspecified IPv6 address on a machine without IPv6 is left out.
    ///
    /// # Errors
    /// The first address that cannot be opened, or no address at all.
    pub fn open(listen: &[IpAddr], port: u16, options: SocketOptions) -> io::Result<Self> {
        let mut sockets = Vec::with_capacity(listen.len());
        for address in listen {
            match IpsecSocket::open(SocketAddr::new(*address, port), options) {
                Ok(socket) => sockets.push(socket),
                Err(error)
                    if *address == IpAddr::from(std::net::Ipv6Addr::UNSPECIFIED)
                        && matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)) => {
                }
                Err(error) => return Err(error),
            }
        }
        if sockets.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no address to listen at"));
        }
        Ok(Self { sockets })
    }

    /// Opens sockets at each address `groups` times, so that as many workers share the load. The kernel gives
    /// all packets of one SPI to one of them, and everything that is no ESP to the first.
    ///
    /// # Errors
    /// As [`IpsecSockets::open`].
    pub fn open_groups(
        listen: &[IpAddr],
        port: u16,
        options: SocketOptions,
        groups: usize,
    ) -> io::Result<Vec<Arc<Self>>> {
        let groups = groups.max(1);
        let options = SocketOptions { shared: groups > 1, ..options };
        let opened: Vec<_> = (0..groups)
            .map(|_| Self::open(listen, port, options).map(Arc::new))
            .collect::<io::Result<_>>()?;
        if groups > 1
            && let Some(first) = opened.first()
        {
            for socket in first.iter() {
                steer_by_spi(socket, groups)?;
            }
        }
        Ok(opened)
    }

    /// Every socket.
    pub fn iter(&self) -> std::slice::Iter<'_, IpsecSocket> {
        self.sockets.iter()
    }

    /// The socket for datagrams from `local` to `remote`: bound to that address, else to every address of
    /// the family, else any of the family.
    pub(crate) fn choose(&self, local: Option<IpAddr>, remote: SocketAddr) -> Option<usize> {
        let rank = |socket: &IpsecSocket| {
            let ip = socket.bound.ip();
            if Some(ip) == local { 2 } else { u8::from(ip.is_unspecified()) }
        };
        self.sockets
            .iter()
            .enumerate()
            .filter(|(_, socket)| socket.bound.is_ipv4() == remote.is_ipv4())
            .max_by_key(|(index, socket)| (rank(socket), std::cmp::Reverse(*index)))
            .map(|(index, _)| index)
    }

    pub(crate) fn get(&self, index: usize) -> Option<&IpsecSocket> {
        self.sockets.get(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_of_the_source_address_is_preferred() {
        let open =
            |address: &str| IpsecSocket::open(address.parse().unwrap(), SocketOptions::default()).unwrap();
        let sockets =
            IpsecSockets { sockets: vec![open("127.0.0.2:0"), open("0.0.0.0:0"), open("127.0.0.3:0")] };
        let remote = "192.0.2.1:4500".parse().unwrap();
        assert_eq!(sockets.choose(Some("127.0.0.3".parse().unwrap()), remote), Some(2));
        assert_eq!(sockets.choose(Some("127.0.0.9".parse().unwrap()), remote), Some(1));
        assert_eq!(sockets.choose(None, remote), Some(1));
        assert_eq!(sockets.choose(None, "[2001:db8::1]:4500".parse().unwrap()), None);
    }
}
