//! Single datagrams of a chosen size, there and back.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use nix::sys::socket::{getsockopt, sockopt};

use super::marked;
use crate::lab::{
    LabError,
    namespace::{Namespace, joined},
};

/// Returns every datagram to whoever sent it, until dropped.
#[derive(Debug)]
pub struct Echo {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<(), LabError>>>,
}

impl Echo {
    /// Serves on `address` in a namespace, at a port of the kernel's choice.
    ///
    /// # Errors
    /// No socket can be opened.
    pub fn start(namespace: &Namespace, address: IpAddr) -> Result<Self, LabError> {
        let socket = namespace.run(|| {
            let socket =
                UdpSocket::bind(SocketAddr::new(address, 0)).map_err(LabError::io("open a UDP socket"))?;
            socket
                .set_read_timeout(Some(Duration::from_millis(50)))
                .map_err(LabError::io("set a timeout"))?;
            Ok(socket)
        })?;
        let address = socket.local_addr().map_err(LabError::io("ask for a port"))?;
        let stop = Arc::new(AtomicBool::new(false));
        let halt = Arc::clone(&stop);
        let thread = namespace.thread(move || {
            let mut buffer = vec![0_u8; 65_536];
            while !halt.load(Ordering::Acquire) {
                if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    // A refused answer shows as a missing one.
                    let _ = socket.send_to(buffer.get(..length).unwrap_or_default(), from);
                }
            }
            Ok(())
        })?;
        Ok(Self { address, stop, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = joined(thread);
        }
    }
}

/// Sends a datagram of `length` octets from a namespace to an [`Echo`] until it comes back whole.
/// Returns how often it had to be sent.
///
/// Datagrams carry "don't fragment" up to the path MTU that the kernel knows, and are fragmented at
/// the source above it, so a router's "too big" costs the first try and helps the next.
///
/// # Errors
/// It did not come back in time, or came back changed.
pub fn exchange(
    namespace: &Namespace,
    to: SocketAddr,
    length: usize,
    patience: Duration,
) -> Result<u32, LabError> {
    namespace.run(|| {
        let socket = client(to)?;
        let payload = marked(length);
        let mut buffer = vec![0_u8; 65_536];
        let deadline = Instant::now() + patience;
        let mut tries = 0;
        let mut seen = "nothing".to_owned();
        while Instant::now() < deadline {
            tries += 1;
            // "Message too long" reports an MTU learned from the last try.
            if let Err(error) = socket.send(&payload) {
                seen = error.to_string();
                std::thread::sleep(Duration::from_millis(5));
                continue;
            }
            match socket.recv(&mut buffer) {
                Ok(count) if buffer.get(..count) == Some(payload.as_slice()) => return Ok(tries),
                Ok(count) => {
                    return Err(LabError::check(format!("{length} octets came back as {count} others")));
                }
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                }
                Err(error) => seen = error.to_string(),
            }
        }
        let what = format!("{length} octets go to {to} and come back; last seen: {seen}");
        Err(LabError::Deadline { what, seconds: patience.as_secs() })
    })
}

/// The path MTU towards `to` as the namespace's kernel knows it, after probing with a datagram that fills the
/// first link. IPv4 only.
///
/// # Errors
/// The kernel does not say.
pub fn path_mtu(namespace: &Namespace, to: SocketAddr, first_link: usize) -> Result<usize, LabError> {
    // The probe itself need not return: the router's answer is what counts.
    let _ = exchange(namespace, to, first_link.saturating_sub(28), Duration::from_secs(5));
    namespace.run(|| {
        let socket = client(to)?;
        let mtu = getsockopt(&socket, sockopt::IpMtu).map_err(LabError::errno("ask for the path MTU"))?;
        usize::try_from(mtu).map_err(|_| LabError::check("a negative path MTU"))
    })
}

fn client(to: SocketAddr) -> Result<UdpSocket, LabError> {
    let any: SocketAddr = if to.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).map_err(LabError::io("open a UDP socket"))?;
    socket.connect(to).map_err(LabError::io(format!("route to {to}")))?;
    socket.set_read_timeout(Some(Duration::from_millis(400))).map_err(LabError::io("set a timeout"))?;
    Ok(socket)
}
