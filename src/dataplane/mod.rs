//! Threads that move packets between the TUN device and the UDP sockets.
//!
//! A worker takes packets from both sides, looks them up in the engine's snapshot, seals or opens them and
//! hands them to the other side, run to completion on a plain thread. What it cannot carry it counts
//! under one [`DropReason`](crate::esp::DropReason); what the engine must know it reports over one bounded
//! queue. It never logs, never waits for the engine and never stops because of a packet.
//!
//! A system call costs as much as the work on many packets, so packets travel as super-packets wherever the
//! kernel takes and gives them: up to 64 KiB of one flow read from the TUN device at once, sealed as a train of
//! equal datagrams that is sent at once, received at once, and joined again to one write. Where an offload
//! is missing, the same worker carries packet by packet. It sets no address, route or link state.

pub mod batch;
pub mod coalesce;
mod control_message;
mod core;
mod delivery;
pub mod device;
mod fragment;
mod held;
pub mod ike_sender;
mod inbound;
mod outbound;
mod outbox;
mod poll;
mod rate;
pub mod segment;
mod sights;
pub mod socket;
pub mod tun;
pub mod udp;
pub mod vnet;
mod worker;

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;

pub use self::{
    device::{Offers, TunDevice, UdpDevice},
    ike_sender::IkeSender,
    poll::Polling,
    sights::Sightings,
    socket::{IpsecSocket, IpsecSockets, SocketOptions},
    tun::KernelTun,
    udp::KernelUdp,
    worker::Worker,
};
use crate::{
    crypto::SystemRandom,
    esp::{DataCounters, Report, Snapshot},
};

/// Settings of a data plane.
#[derive(Debug, Clone)]
pub struct DataPlaneConfig {
    /// The zero of every time in milliseconds that SAs and paths keep.
    pub epoch: Instant,
    /// How long a packet may wait for a tunnel that it raises (`trap`); zero for not at all.
    pub hold: Duration,
    /// ICMP errors a second, for each of "too big" and "unreachable".
    pub icmp_per_second: u32,
    /// Whether the sockets' segmentation offloads are used where the kernel has them.
    pub offload: bool,
    /// What a worker does before it sleeps.
    pub polling: Polling,
    /// Where headers are copied to that tell whether connections come to be.
    pub sightings: Option<Sightings>,
}

impl Default for DataPlaneConfig {
    fn default() -> Self {
        Self {
            epoch: Instant::now(),
            hold: Duration::from_secs(5),
            icmp_per_second: 100,
            offload: true,
            polling: Polling::default(),
            sightings: None,
        }
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

/// A running data plane: workers that know nothing of each other. It stops when dropped.
#[derive(Debug)]
pub struct DataPlane {
    workers: Vec<Running>,
    offloads: Offloads,
}

/// Which offloads the kernel has and a data plane uses, as found at start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offloads {
    /// Super-packets from and to the TUN device.
    pub tun: Offers,
    /// Trains of datagrams are sent as one (`UDP_SEGMENT`).
    pub send: bool,
    /// Trains of datagrams are received as one (`UDP_GRO`).
    pub receive: bool,
}

impl std::fmt::Display for Offloads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let known = [
            ("TSO", self.tun.tcp),
            ("USO", self.tun.udp),
            ("UDP_SEGMENT", self.send),
            ("UDP_GRO", self.receive),
        ];
        let used: Vec<_> = known.iter().filter(|(_, used)| *used).map(|(name, _)| *name).collect();
        f.write_str(if used.is_empty() { "none".to_owned() } else { used.join(" ") }.as_str())
    }
}

/// A worker's thread, which gives the worker back.
type Thread = JoinHandle<(Worker, io::Result<()>)>;

#[derive(Debug)]
struct Running {
    control: Arc<worker::Control>,
    counters: Arc<DataCounters>,
    thread: Mutex<Option<Thread>>,
}

impl DataPlane {
    /// Starts a worker for each queue of the TUN device, each with sockets of its own.
    ///
    /// # Errors
    /// If a thread or its event descriptor cannot be made, or the system has no randomness.
    pub fn start(
        config: DataPlaneConfig,
        ends: impl IntoIterator<Item = (Box<dyn TunDevice>, Arc<IpsecSockets>)>,
        snapshot: &Arc<ArcSwap<Snapshot>>,
        reports: &(impl ReportSink + Clone + 'static),
    ) -> io::Result<Self> {
        let mut plane = Self { workers: Vec::new(), offloads: Offloads::default() };
        for (index, (tun, sockets)) in ends.into_iter().enumerate() {
            let udp =
                if config.offload { KernelUdp::with_offload(sockets) } else { KernelUdp::plain(sockets) };
            let (send, receive) = udp.offloads();
            plane.offloads = Offloads { tun: tun.offers(), send, receive };
            let counters = Arc::new(DataCounters::default());
            let control = Arc::new(worker::Control::new()?);
            let worker = Worker::new(
                config.clone(),
                Some(tun),
                Box::new(udp),
                Arc::clone(snapshot),
                Box::new(reports.clone()),
                Arc::clone(&counters),
                Box::new(SystemRandom::new().map_err(io::Error::other)?),
            );
            let running = Running { control, counters, thread: Mutex::new(None) };
            running.start(index, worker)?;
            plane.workers.push(running);
        }
        Ok(plane)
    }

    /// The counts of all workers together, as they are now.
    pub fn counters(&self) -> DataCounters {
        DataCounters::sum(self.workers.iter().map(|worker| &*worker.counters))
    }

    /// The offloads in use, as found at start.
    pub fn offloads(&self) -> Offloads {
        self.offloads
    }

    /// Workers, one a queue of the TUN device.
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// Gives the workers the queues of a new TUN device, after [`Report::TunGone`].
    pub fn replace_tun(&self, tuns: impl IntoIterator<Item = Box<dyn TunDevice>>) {
        for (worker, tun) in self.workers.iter().zip(tuns) {
            worker.control.replace_tun(tun);
        }
    }

    /// Wakes the workers, so that they look at a new snapshot at once even without a packet.
    pub fn wake(&self) {
        self.workers.iter().for_each(|worker| worker.control.wake());
    }

    /// Stops each worker and starts it again with other polling. Its devices stay open, so that packets wait
    /// for it meanwhile and none is lost.
    ///
    /// # Errors
    /// If a worker had failed or panicked, or cannot be started.
    pub fn restart(&self, polling: Polling) -> io::Result<()> {
        for (index, running) in self.workers.iter().enumerate() {
            running.control.stop();
            let Some(mut worker) = running.join()? else { continue };
            running.control.reset();
            worker.set_polling(polling);
            running.start(index, worker)?;
        }
        Ok(())
    }

    /// Whether all workers still run.
    pub fn is_running(&self) -> bool {
        self.workers.iter().all(|worker| worker.thread().as_ref().is_some_and(|thread| !thread.is_finished()))
    }

    /// Stops the workers and waits until they are gone; the TUN device is closed then. Does nothing the
    /// second time.
    ///
    /// # Errors
    /// If a worker had failed or panicked.
    pub fn stop(&self) -> io::Result<()> {
        self.workers.iter().for_each(|worker| worker.control.stop());
        let mut result = Ok(());
        for worker in &self.workers {
            if let Err(error) = worker.join() {
                result = Err(error);
            }
        }
        result
    }
}

impl Running {
    fn start(&self, index: usize, worker: Worker) -> io::Result<()> {
        let control = Arc::clone(&self.control);
        let thread = std::thread::Builder::new()
            .name(format!("skybridge-{index}"))
            .spawn(move || worker.run(&control))?;
        *self.thread() = Some(thread);
        Ok(())
    }

    /// Waits until the thread has ended; `None` if none was running.
    fn join(&self) -> io::Result<Option<Worker>> {
        let Some(thread) = self.thread().take() else { return Ok(None) };
        let (worker, result) =
            thread.join().map_err(|_| io::Error::other("a worker of the data plane panicked"))?;
        result.map(|()| Some(worker))
    }

    fn thread(&self) -> MutexGuard<'_, Option<Thread>> {
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
