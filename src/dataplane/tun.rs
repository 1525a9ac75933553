//! The TUN device of the kernel: plain packets, one a system call, no virtio header.
//!
//! The device is only opened here. Its addresses, routes, MTU and link state belong to the system layer.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
};

use tun_rs::{DeviceBuilder, Layer, SyncDevice};

use super::{
    batch::Offload,
    device::{TunBatch, TunDevice, TunError, TunPacket},
};

/// A TUN device without offloads.
pub struct PlainTun {
    device: SyncDevice,
}

impl std::fmt::Debug for PlainTun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PlainTun").field("name", &self.device.name().ok()).finish_non_exhaustive()
    }
}

impl PlainTun {
    /// Makes the device of this name in the network namespace of the calling thread, or opens it if it is
    /// there and persistent. It stays as it is: a new one is down and has no address.
    ///
    /// # Errors
    /// Those of opening `/dev/net/tun`: no such file, or no permission without CAP_NET_ADMIN.
    pub fn open(name: &str) -> io::Result<Self> {
        let device = DeviceBuilder::new()
            .name(name)
            .layer(Layer::L3)
            .offload(false)
            .inherit_enable_state()
            .build_sync()?;
        device.set_nonblocking(true)?;
        Ok(Self { device })
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

impl TunDevice for PlainTun {
    fn receive(&mut self, batch: &mut TunBatch) -> Result<(), TunError> {
        let before = batch.len();
        while !batch.is_full() {
            let received = batch.push(|slot| self.device.recv(slot).map(|len| (len, Offload::default())));
            match received {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if batch.len() == before => return Err(error.into()),
                Err(_) => break,
            }
        }
        Ok(())
    }

    fn transmit(&mut self, packets: &[TunPacket<'_>], refused: &mut dyn FnMut(usize, TunError)) {
        for (index, packet) in packets.iter().enumerate() {
            loop {
                match self.device.send(packet.octets) {
                    Ok(_) => break,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => {
                        refused(index, error.into());
                        break;
                    }
                }
            }
        }
    }

    fn poll_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}
