//! The loop of a worker: take from each side, carry it to the other, and wait only if there was nothing.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::{
    DataPlaneConfig, ReportSink,
    batch::Batch,
    core::{Core, add},
    delivery::Delivery,
    device::{TunDevice, TunError, UdpBatch, UdpDevice},
    outbound::Turn,
    poll::{Polling, Sleeper, Spinner, Wakes},
};
use crate::{
    crypto::Random,
    esp::{DataCounters, Report, Snapshot},
};

/// Reads from the TUN device, and octets from either side, before the other side has its turn. Several
/// super-packets, because what one train cannot take goes on in the next.
const TURN_READS: usize = 64;
const TURN_OCTETS: usize = 4 * 65_536;
/// Entries of a receive batch: single datagrams, or trains.
const RECEIVE_BATCH: usize = 33;
/// No UDP datagram is longer. A little more, so that the slots do not compete for the same cache lines.
const RECEIVE_SLOT: usize = 65_536 + 320;
/// The longest packet with whatever the device puts before it.
const TUN_BUFFER: usize = 65_536 + 64;
/// Octets of a datagram that is no train.
const SHORT: usize = 2_048;
/// While packets wait for a tunnel, the snapshot is looked at this often.
const HELD_POLL: Duration = Duration::from_millis(20);
/// How long a TUN device that gives errors is left alone, and how often a lost one is reported.
const TUN_RETRY_MILLIS: u64 = 1_000;

/// How others reach a running worker.
pub(super) struct Control {
    event: EventFd,
    /// Set whenever one of the others changed.
    attention: AtomicBool,
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
            attention: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            new_tun: Mutex::new(None),
        })
    }

    pub(super) fn wake(&self) {
        // Fails only when the counter is full, and then the worker is awake. Before the flag, so that who sees
        // the flag can empty the counter.
        let _ = self.event.write(1);
        self.attention.store(true, Ordering::Release);
    }

    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// Makes it good for another run.
    pub(super) fn reset(&self) {
        self.stopping.store(false, Ordering::SeqCst);
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
    udp: Box<dyn UdpDevice>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    delivery: Delivery,
    from_tun: Box<[u8]>,
    from_udp: UdpBatch,
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
            udp,
            snapshot,
            delivery: Delivery::new(tun, Arc::clone(&counters)),
            from_tun: vec![0; TUN_BUFFER].into_boxed_slice(),
            from_udp: Batch::new(RECEIVE_BATCH, RECEIVE_SLOT),
            core: Core::new(&config, reports, counters, random),
            config,
            tun_rest_until: 0,
            tun_gone_reported: None,
        }
    }

    /// Gives the worker another TUN device.
    pub fn set_tun(&mut self, tun: Box<dyn TunDevice>) {
        self.delivery.set_tun(Some(tun));
        self.tun_rest_until = 0;
        self.tun_gone_reported = None;
    }

    /// Carries what is there on each side, up to a bound and without waiting, and tells whether there was
    /// anything. `now` is in milliseconds of the configured clock.
    pub fn turn(&mut self, now: u64) -> bool {
        self.core.sights.refresh();
        let from_tun = self.outbound(now);
        let from_udp = self.inbound(now);
        self.report_lost_tun(now);
        from_tun || from_udp
    }

    /// As [`Worker::turn`], with the side first that ended a sleep: asking the other one would only make the
    /// packet wait.
    fn turn_from(&mut self, now: u64, peers_first: bool) -> bool {
        let first = peers_first && self.inbound(now);
        self.turn(now) || first
    }

    fn outbound(&mut self, now: u64) -> bool {
        let snapshot = self.snapshot.load();
        let mut turn = Turn { snapshot: &snapshot, udp: &mut *self.udp, now };
        self.core.retry_held(&mut turn);
        let (mut reads, mut packets, mut octets) = (0, 0, 0);
        while reads < TURN_READS && octets < TURN_OCTETS {
            let Some(tun) = self.delivery.tun().filter(|_| now >= self.tun_rest_until) else { break };
            match tun.receive(&mut self.from_tun) {
                Ok(Some(received)) => {
                    let Some(packet) = self.from_tun.get_mut(received.range) else { continue };
                    reads += 1;
                    octets += packet.len();
                    packets += self.core.take_packet(&mut turn, packet, received.offload);
                }
                Ok(None) | Err(TunError::Full) => break,
                Err(TunError::Gone) => {
                    self.delivery.set_tun(None);
                    break;
                }
                Err(TunError::Down | TunError::Other(_)) => {
                    self.tun_rest_until = now + TUN_RETRY_MILLIS;
                    break;
                }
            }
        }
        add(&self.core.counters.tun_received, packets as u64);
        self.core.flush(&mut *self.udp, now);
        packets > 0
    }

    fn inbound(&mut self, now: u64) -> bool {
        let (mut datagrams, mut octets, mut reads) = (0, 0, 0);
        while octets < TURN_OCTETS {
            self.from_udp.clear();
            self.udp.receive(&mut self.from_udp);
            if self.from_udp.is_empty() {
                break;
            }
            // After receiving: a peer may use an SA as soon as it was told of it, which is after it was
            // published.
            let snapshot = self.snapshot.load();
            for (train, meta) in self.from_udp.iter_mut() {
                octets += train.len();
                reads += 1;
                datagrams +=
                    meta.segment_size.map_or(1, |size| train.len().div_ceil(usize::from(size).max(1)));
                self.core.take_datagrams(&snapshot, train, meta, now, &mut self.delivery);
            }
            // A short one is most often all there is; asking again would only show that.
            if octets < self.from_udp.len() * SHORT && !self.from_udp.is_full() {
                break;
            }
        }
        if datagrams > 0 {
            add(&self.core.counters.udp_received, datagrams as u64);
            add(&self.core.counters.udp_reads, reads);
            for degraded in self.delivery.flush() {
                self.core.report(Report::Degraded(degraded));
            }
        }
        if !self.core.answers.is_empty() {
            for (answer, ()) in self.core.answers.iter_mut() {
                self.delivery.answer(answer);
            }
            self.core.answers.clear();
        }
        datagrams > 0
    }

    fn report_lost_tun(&mut self, now: u64) {
        if self.delivery.tun().is_some() {
            return;
        }
        let due = self.tun_gone_reported.is_none_or(|last| now.saturating_sub(last) >= TUN_RETRY_MILLIS);
        if due {
            self.tun_gone_reported = Some(now);
            self.core.report(Report::TunGone);
        }
    }

    /// Changes what is done before sleeping, from the next run on.
    pub(super) fn set_polling(&mut self, polling: Polling) {
        self.config.polling = polling;
    }

    /// Works until it is told to stop, and gives itself back with its devices and everything that waits.
    pub(super) fn run(mut self, control: &Control) -> (Self, io::Result<()>) {
        let result = self.work(control);
        (self, result)
    }

    fn work(&mut self, control: &Control) -> io::Result<()> {
        let sleeper = Sleeper::new()?;
        sleeper.add(control.event.as_fd(), Wakes::Control)?;
        for fd in self.udp.poll_fds() {
            sleeper.add(fd, Wakes::Peers)?;
        }
        let mut spinner = Spinner::new(self.config.polling);
        let mut watched = None;
        let mut peers_first = false;
        loop {
            if control.attention.swap(false, Ordering::Acquire) {
                // Empty if something else woke the worker.
                let _ = control.event.read();
                if control.stopping.load(Ordering::SeqCst) {
                    return Ok(());
                }
                if let Some(tun) = control.take_tun() {
                    self.set_tun(tun);
                    watched = None;
                }
            }
            if self.turn_from(self.config.now(), std::mem::take(&mut peers_first)) {
                spinner.worked();
            } else if spinner.may_sleep() {
                self.watch_tun(&sleeper, &mut watched);
                peers_first = sleeper.sleep(self.longest_sleep());
            } else {
                std::thread::yield_now();
            }
        }
    }

    /// Has the sleep end when the TUN device is readable, unless it gave errors and rests.
    fn watch_tun(&mut self, sleeper: &Sleeper, watched: &mut Option<i32>) {
        let rests = self.config.now() < self.tun_rest_until;
        let Some(fd) = self.delivery.tun().map(|tun| tun.poll_fd()) else {
            *watched = None;
            return;
        };
        if rests {
            sleeper.remove(fd);
            *watched = None;
        } else if *watched != Some(fd.as_raw_fd()) && sleeper.add(fd, Wakes::Tun).is_ok() {
            *watched = Some(fd.as_raw_fd());
        }
    }

    fn longest_sleep(&mut self) -> Option<Duration> {
        if !self.core.held.is_empty() {
            return Some(HELD_POLL);
        }
        let troubled = self.delivery.tun().is_none() || self.config.now() < self.tun_rest_until;
        troubled.then_some(Duration::from_millis(TUN_RETRY_MILLIS))
    }
}
