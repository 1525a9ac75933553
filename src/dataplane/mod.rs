//! Threads that move packets between the TUN device and the UDP sockets.
//!
//! A worker takes batches of packets from both sides, looks them up in the engine's snapshot, seals or opens
//! them and hands them to the other side, run to completion on a plain thread. What it cannot carry it counts
//! under one [`DropReason`](crate::esp::DropReason); what the engine must know it reports over one bounded
//! queue. It never logs, never waits for the engine and never stops because of a packet.
//!
//! The interface ([`batch`], [`device`]) is made for super-packets and offloads; this implementation
//! uses none of them and stays the reference for one that does. It sets no address, route or link state.

pub mod batch;
pub mod coalesce;
mod core;
pub mod device;
mod fragment;
mod held;
pub mod ike_sender;
mod inbound;
mod outbound;
mod rate;
pub mod segment;
pub mod socket;
pub mod tun;
pub mod udp;
mod worker;

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;

pub use self::{
    device::{TunDevice, UdpDevice},
    ike_sender::IkeSender,
    socket::{IpsecSocket, IpsecSockets, SocketOptions},
    tun::PlainTun,
    udp::PlainUdp,
    worker::Worker,
};
use crate::{
    crypto::SystemRandom,
    esp::{DataCounters, Report, Snapshot},
};

/// Settings of a data plane.
#[derive(Debug, Clone, Copy)]
pub struct DataPlaneConfig {
    /// The zero of every time in milliseconds that SAs and paths keep.
    pub epoch: Instant,
    /// How long a packet may wait for a tunnel that it raises (`trap`); zero for not at all.
    pub hold: Duration,
    /// ICMP errors a second, for each of "too big" and "unreachable".
    pub icmp_per_second: u32,
}

impl Default for DataPlaneConfig {
    fn default() -> Self {
        Self { epoch: Instant::now(), hold: Duration::from_secs(5), icmp_per_second: 100 }
    }
}

impl DataPlaneConfig {
    /// The time of a millisecond value of this data plane's clock.
    pub fn instant(&self, millis: u64) -> Instant {
        self.epoch + Duration::from_millis(millis)
    }

    /// Now, in milliseconds of this data plane's clock; never 0.
    pub fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
    }
}

/// Where reports go. It must not block.
pub trait ReportSink: Send {
    /// Hands over a report; gives it up and returns false if there is no room.
    fn try_report(&self, report: Report) -> bool;
}

impl ReportSink for tokio::sync::mpsc::Sender<Report> {
    fn try_report(&self, report: Report) -> bool {
        self.try_send(report).is_ok()
    }
}

impl ReportSink for std::sync::mpsc::SyncSender<Report> {
    fn try_report(&self, report: Report) -> bool {
        self.try_send(report).is_ok()
    }
}

/// A running data plane. It stops when dropped.
#[derive(Debug)]
pub struct DataPlane {
    control: Arc<worker::Control>,
    counters: Arc<DataCounters>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl DataPlane {
    /// Starts a worker between the TUN device and the sockets.
    ///
    /// # Errors
    /// If the thread or its event descriptor cannot be made, or the system has no randomness.
    pub fn start(
        config: DataPlaneConfig,
        tun: Box<dyn TunDevice>,
        sockets: Arc<IpsecSockets>,
        snapshot: Arc<ArcSwap<Snapshot>>,
        reports: impl ReportSink + 'static,
    ) -> io::Result<Self> {
        let counters = Arc::new(DataCounters::default());
        let control = Arc::new(worker::Control::new()?);
        let random = SystemRandom::new().map_err(io::Error::other)?;
        let worker = Worker::new(
            config,
            Some(tun),
            Box::new(PlainUdp::new(sockets)),
            snapshot,
            Box::new(reports),
            Arc::clone(&counters),
            Box::new(random),
        );
        let thread = {
            let control = Arc::clone(&control);
            std::thread::Builder::new()
                .name("skybridge-data".to_owned())
                .spawn(move || worker.run(&control))?
        };
        Ok(Self { control, counters, thread: Mutex::new(Some(thread)) })
    }

    /// The counters, which the worker goes on adding to.
    pub fn counters(&self) -> &Arc<DataCounters> {
        &self.counters
    }

    /// Gives the worker a new TUN device, after [`Report::TunGone`].
    pub fn replace_tun(&self, tun: Box<dyn TunDevice>) {
        self.control.replace_tun(tun);
    }

    /// Wakes the worker, so that it looks at a new snapshot at once even without a packet.
    pub fn wake(&self) {
        self.control.wake();
    }

    /// Whether the worker still runs.
    pub fn is_running(&self) -> bool {
        self.thread().as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Stops the worker and waits until it is gone; the TUN device is closed then. Does nothing the second
    /// time.
    ///
    /// # Errors
    /// If the worker had panicked.
    pub fn stop(&self) -> io::Result<()> {
        self.control.stop();
        match self.thread().take().map(JoinHandle::join) {
            Some(Err(_)) => Err(io::Error::other("the data plane's worker panicked")),
            Some(Ok(())) | None => Ok(()),
        }
    }

    fn thread(&self) -> std::sync::MutexGuard<'_, Option<JoinHandle<()>>> {
        self.thread.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for DataPlane {
    fn drop(&mut self) {
        // A panic of the worker was seen by whoever watches `is_running`.
        let _ = self.stop();
    }
}

#[cfg(test)]
mod tests;
