//! The TUN device of the kernel, one queue of it a worker: with the offloads that the kernel has, or with
//! none.
//!
//! With offloads a read gives what the kernel would have cut into many packets, and a write takes as much.
//! The device is only opened here. Its addresses, routes, MTU and link state belong to the system layer.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
};

use tun_rs::{DeviceBuilder, Layer, SyncDevice};

use super::{
    batch::{Offload, Segmentation},
    device::{Offers, TUN_HEADROOM, TunDevice, TunError, TunReceived},
    vnet::{self, VNET_HEADER_LEN},
};

/// Packets that may wait to be read: the kernel's 500 are less than a burst of small ones.
const QUEUE_LEN: u32 = 2_000;

/// One queue of a TUN device.
pub struct KernelTun {
    device: SyncDevice,
    offers: Offers,
    /// Whether packets carry a header of ten octets.
    vnet: bool,
}

impl std::fmt::Debug for KernelTun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KernelTun")
            .field("name", &self.device.name().ok())
            .field("offers", &self.offers)
            .finish_non_exhaustive()
    }
}

impl KernelTun {
    /// Makes the device of this name in the network namespace of the calling thread, or opens it if it is
    /// there and persistent, and gives its queues. It stays as it is: a new one is down and has no address.
    ///
    /// With `offload` the kernel hands over TCP super-packets, and UDP ones if it can (Linux 6.2).
    ///
    /// # Errors
    /// Those of opening `/dev/net/tun`: no such file, or no permission without CAP_NET_ADMIN.
    pub fn open(name: &str, queues: usize, offload: bool) -> io::Result<Vec<Self>> {
        let first = DeviceBuilder::new()
            .name(name)
            .layer(Layer::L3)
            .offload(offload)
            .multi_queue(queues > 1)
            .inherit_enable_state()
            .build_sync()?;
        // A shorter queue only costs packets under bursts.
        let _ = first.set_tx_queue_len(QUEUE_LEN);
        let mut devices = Vec::with_capacity(queues.max(1));
        for _ in 1..queues {
            devices.push(first.try_clone()?);
        }
        devices.insert(0, first);
        devices
            .into_iter()
            .map(|device| {
                device.set_nonblocking(true)?;
                let offers = Offers { tcp: offload && device.tcp_gso(), udp: offload && device.udp_gso() };
                Ok(Self { device, offers, vnet: offload })
            })
            .collect()
    }

    /// The device's name.
    ///
    /// # Errors
    /// If the device is gone.
    pub fn name(&self) -> io::Result<String> {
        self.device.name()
    }

    /// The device's interface index.
    ///
    /// # Errors
    /// If the device is gone.
    pub fn index(&self) -> io::Result<u32> {
        self.device.if_index()
    }
}

impl TunDevice for KernelTun {
    fn receive(&mut self, buffer: &mut [u8]) -> Result<Option<TunReceived>, TunError> {
        loop {
            let len = match self.device.recv(buffer) {
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            if !self.vnet {
                return Ok(Some(TunReceived { range: 0..len, offload: Offload::default() }));
            }
            let Some(header) = buffer.first_chunk::<VNET_HEADER_LEN>().filter(|_| len > VNET_HEADER_LEN)
            else {
                continue;
            };
            let unknown = Offload { segmentation: Segmentation::Unknown, ..Offload::default() };
            let offload = vnet::decode(header).unwrap_or(unknown);
            return Ok(Some(TunReceived { range: VNET_HEADER_LEN..len, offload }));
        }
    }

    fn transmit(&mut self, buffer: &mut [u8], offload: Offload) -> Result<(), TunError> {
        let start = if self.vnet { TUN_HEADROOM - VNET_HEADER_LEN } else { TUN_HEADROOM };
        let octets = buffer.get_mut(start..).unwrap_or_default();
        if self.vnet
            && let Some(header) = octets.first_chunk_mut::<VNET_HEADER_LEN>()
        {
            *header = vnet::encode(&offload);
        }
        loop {
            match self.device.send(octets) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn offers(&self) -> Offers {
        self.offers
    }

    fn poll_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}
