//! UDP port 500: IKE messages without the non-ESP marker, read by the event loop.
//!
//! Port 4500 belongs to the data plane, which hands IKE messages over as reports.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::io::Interest;
use tokio::net::UdpSocket;

use crate::dataplane::batch::Batch;
use crate::dataplane::device::UdpBatch;
use crate::dataplane::{IkeSender, IpsecSockets, KernelUdp, SocketOptions, UdpDevice};

/// Datagrams taken at once; the rest waits in the socket.
const BATCH: usize = 32;

/// Batches taken in one turn, so that a flood does not starve the rest of the daemon.
const BATCHES: usize = 4;

/// The longest datagram there is.
const LONGEST: usize = 65_535;

/// The sockets of the IKE port.
pub(super) struct IkePort {
    device: KernelUdp,
    sender: IkeSender,
    /// Second handles on the sockets, only to wait with.
    readable: Vec<UdpSocket>,
    batch: UdpBatch,
    /// Whether the last turn left datagrams in the sockets.
    more: bool,
}

impl IkePort {
    /// Opens the port on each of the addresses.
    pub(super) fn open(listen: &[IpAddr], port: u16) -> io::Result<Self> {
        let options = SocketOptions { buffer: 1 << 20, ..SocketOptions::default() };
        let sockets = Arc::new(IpsecSockets::open(listen, port, options)?);
        let device = KernelUdp::plain(Arc::clone(&sockets));
        let readable = device
            .poll_fds()
            .iter()
            .map(|fd| UdpSocket::from_std(std::net::UdpSocket::from(fd.try_clone_to_owned()?)))
            .collect::<io::Result<_>>()?;
        Ok(Self {
            device,
            sender: IkeSender::new(sockets),
            readable,
            batch: Batch::new(BATCH, LONGEST),
            more: false,
        })
    }

    /// Waits until a datagram is there; cancelling loses nothing.
    pub(super) async fn ready(&self) -> io::Result<()> {
        if self.more {
            return Ok(());
        }
        let waits = self.readable.iter().map(|socket| {
            Box::pin(async move {
                socket.readable().await?;
                // The datagrams are taken by batches elsewhere; here only the readiness is.
                let _ = socket.try_io(Interest::READABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
                Ok::<(), io::Error>(())
            })
        });
        futures_util::future::select_all(waits).await.0
    }

    /// Takes what is there and gives each datagram with its addresses to `take`.
    pub(super) fn receive(&mut self, mut take: impl FnMut(SocketAddr, SocketAddr, &[u8])) {
        self.more = true;
        for _ in 0..BATCHES {
            self.batch.clear();
            self.device.receive(&mut self.batch);
            if self.batch.is_empty() {
                self.more = false;
                return;
            }
            for (octets, meta) in self.batch.iter().filter(|(_, meta)| !meta.truncated) {
                take(meta.local, meta.remote, octets);
            }
        }
    }

    /// Sends a message as it is.
    pub(super) fn send(
        &self,
        local: Option<IpAddr>,
        remote: SocketAddr,
        octets: &[u8],
        dont_fragment: bool,
    ) -> io::Result<()> {
        self.sender.send_raw(local, remote, octets, dont_fragment)
    }
}
