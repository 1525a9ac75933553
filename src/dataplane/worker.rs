//! The loop of a worker: wait for either side, take a batch from each, carry it to the other.

use std::{
    io,
    os::fd::AsFd,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwap;
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::eventfd::{EfdFlags, EventFd},
};

use super::{
    DataPlaneConfig, ReportSink,
    batch::{Batch, Offload},
    core::{Core, add},
    device::{TunBatch, TunDevice, TunError, TunPacket, UdpBatch, UdpDevice},
    inbound::Ready,
    outbound::Turn,
};
use crate::{
    crypto::Random,
    esp::{DataCounters, DropReason, InboundSa, Report, Snapshot},
};

/// Packets taken from one side before the other has its turn.
const RECEIVE_BATCH: usize = 64;
/// No IP packet and no UDP datagram is longer.
const RECEIVE_SLOT: usize = 65_536;
/// While packets wait for a tunnel, the snapshot is looked at this often.
const HELD_POLL_MILLIS: u16 = 20;
/// How long a TUN device that gives errors is left alone, and how often a lost one is reported.
const TUN_RETRY_MILLIS: u64 = 1_000;

/// How others reach a running worker.
pub(super) struct Control {
    event: EventFd,
    stopping: AtomicBool,
    new_tun: Mutex<Option<Box<dyn TunDevice>>>,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").field("stopping", &self.stopping).finish_non_exhaustive()
    }
}

impl Control {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            event: EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?,
            stopping: AtomicBool::new(false),
            new_tun: Mutex::new(None),
        })
    }

    pub(super) fn wake(&self) {
        // Fails only when the counter is full, and then the worker is awake.
        let _ = self.event.write(1);
    }

    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.wake();
    }

    pub(super) fn replace_tun(&self, tun: Box<dyn TunDevice>) {
        *self.new_tun.lock().unwrap_or_else(PoisonError::into_inner) = Some(tun);
        self.wake();
    }

    fn take_tun(&self) -> Option<Box<dyn TunDevice>> {
        self.new_tun.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Moves packets between a TUN device and UDP sockets. [`Worker::turn`] does one round without waiting, so
/// that tests drive it with devices in memory; a thread runs it in a loop.
pub struct Worker {
    config: DataPlaneConfig,
    tun: Option<Box<dyn TunDevice>>,
    udp: Box<dyn UdpDevice>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    from_tun: TunBatch,
    from_udp: UdpBatch,
    ready: Vec<Ready>,
    core: Core,
    /// No reading from the TUN device before this time.
    tun_rest_until: u64,
    tun_gone_reported: Option<u64>,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Worker {
    /// A worker between these devices.
    pub fn new(
        config: DataPlaneConfig,
        tun: Option<Box<dyn TunDevice>>,
        udp: Box<dyn UdpDevice>,
        snapshot: Arc<ArcSwap<Snapshot>>,
        reports: Box<dyn ReportSink>,
        counters: Arc<DataCounters>,
        random: Box<dyn Random>,
    ) -> Self {
        Self {
            config,
            tun,
            udp,
            snapshot,
            from_tun: Batch::new(RECEIVE_BATCH, RECEIVE_SLOT),
            from_udp: Batch::new(RECEIVE_BATCH, RECEIVE_SLOT),
            ready: Vec::with_capacity(RECEIVE_BATCH),
            core: Core::new(&config, reports, counters, random),
            tun_rest_until: 0,
            tun_gone_reported: None,
        }
    }

    /// Gives the worker another TUN device.
    pub fn set_tun(&mut self, tun: Box<dyn TunDevice>) {
        self.tun = Some(tun);
        self.tun_rest_until = 0;
        self.tun_gone_reported = None;
    }

    /// Carries at most one batch from each side, without waiting. `now` is in milliseconds of the
    /// configured clock.
    pub fn turn(&mut self, now: u64) {
        let snapshot = self.snapshot.load_full();
        self.outbound(&snapshot, now);
        self.inbound(now);
        self.report_lost_tun(now);
    }

    fn outbound(&mut self, snapshot: &Snapshot, now: u64) {
        let mut turn = Turn { snapshot, udp: &mut *self.udp, now };
        self.core.retry_held(&mut turn);
        self.from_tun.clear();
        let received = match &mut self.tun {
            Some(tun) if now >= self.tun_rest_until => tun.receive(&mut self.from_tun),
            _ => Ok(()),
        };
        add(&self.core.counters.tun_received, self.from_tun.len() as u64);
        for (packet, offload) in self.from_tun.iter_mut() {
            self.core.take_packet(&mut turn, packet, *offload);
        }
        self.core.flush(&mut *self.udp, now);
        match received {
            Ok(()) | Err(TunError::Full) => {}
            Err(TunError::Gone) => self.tun = None,
            Err(TunError::Down | TunError::Other(_)) => self.tun_rest_until = now + TUN_RETRY_MILLIS,
        }
    }

    fn inbound(&mut self, now: u64) {
        self.from_udp.clear();
        self.ready.clear();
        self.udp.receive(&mut self.from_udp);
        // After receiving: a peer may use an SA as soon as it was told of it, which is after it was published.
        let snapshot = self.snapshot.load_full();
        for (index, (octets, meta)) in self.from_udp.iter_mut().enumerate() {
            let segments =
                meta.segment_size.map_or(1, |size| octets.len().div_ceil(usize::from(size).max(1)));
            add(&self.core.counters.udp_received, segments as u64);
            self.core.take_datagrams(&snapshot, octets, meta, now, |range, sa: &Arc<InboundSa>| {
                self.ready.push(Ready { index, range, sa: Arc::clone(sa) });
            });
        }
        self.write_tun();
    }

    /// Writes what was decrypted, and the answers to inner senders.
    fn write_tun(&mut self) {
        let opened = self.ready.iter().filter_map(|ready| {
            let octets = self.from_udp.get(ready.index)?.get(ready.range.clone())?;
            Some((octets, Some(&ready.sa)))
        });
        let answers = self.core.answers.iter().map(|(octets, _)| (octets, None));
        let (packets, sas): (Vec<_>, Vec<_>) = opened
            .chain(answers)
            .map(|(octets, sa)| (TunPacket { octets, offload: Offload::default() }, sa))
            .unzip();
        if packets.is_empty() {
            return;
        }
        let counters = &self.core.counters;
        let mut refused = 0;
        let mut gone = false;
        let mut refuse = |index: usize, error: TunError| {
            refused += 1;
            gone |= matches!(error, TunError::Gone);
            let reason = match error {
                TunError::Gone | TunError::Down => DropReason::TunGone,
                TunError::Full => DropReason::TunQueueFull,
                TunError::Other(_) => DropReason::TunRefused,
            };
            counters.drops.add(reason);
            if let Some(sa) = sas.get(index).copied().flatten() {
                sa.counters().drops.add(reason);
            }
        };
        match &mut self.tun {
            Some(tun) => tun.transmit(&packets, &mut refuse),
            None => (0..packets.len()).for_each(|index| refuse(index, TunError::Gone)),
        }
        add(&counters.tun_sent, (packets.len() as u64).saturating_sub(refused));
        self.core.answers.clear();
        if gone {
            self.tun = None;
        }
    }

    fn report_lost_tun(&mut self, now: u64) {
        let due = self.tun_gone_reported.is_none_or(|last| now.saturating_sub(last) >= TUN_RETRY_MILLIS);
        if self.tun.is_none() && due {
            self.tun_gone_reported = Some(now);
            self.core.report(Report::TunGone);
        }
    }

    /// Works until it is told to stop.
    pub(super) fn run(mut self, control: &Control) {
        while !control.stopping.load(Ordering::SeqCst) {
            self.wait(control);
            // Empty if something else woke the worker.
            let _ = control.event.read();
            if let Some(tun) = control.take_tun() {
                self.set_tun(tun);
            }
            self.turn(self.config.now());
        }
    }

    fn wait(&self, control: &Control) {
        let resting = self.config.now() < self.tun_rest_until;
        let mut fds = vec![PollFd::new(control.event.as_fd(), PollFlags::POLLIN)];
        if let Some(tun) = self.tun.as_ref().filter(|_| !resting) {
            fds.push(PollFd::new(tun.poll_fd(), PollFlags::POLLIN));
        }
        fds.extend(self.udp.poll_fds().into_iter().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        let timeout = if !self.core.held.is_empty() {
            PollTimeout::from(HELD_POLL_MILLIS)
        } else if resting || self.tun.is_none() {
            PollTimeout::from(TUN_RETRY_MILLIS as u16)
        } else {
            PollTimeout::NONE
        };
        // An interrupted or failed wait is as good as a short one: the devices are asked in any case.
        let _ = poll(&mut fds, timeout);
    }
}
