//! What both directions of a worker share: reports, counters, the batch to be sent and the answers to inner
//! senders.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::{
    DataPlaneConfig, ReportSink,
    batch::Batch,
    device::{Datagram, TUN_HEADROOM, UdpDevice, UdpError},
    held::HeldPackets,
    outbox::{Outbox, Train},
    rate::RateLimit,
    sights::Sights,
};
use crate::{
    crypto::Random,
    esp::{DataCounters, DropReason, FlowCache, IvPool, OpenedTrain, Report, outer_len},
    wire::ip::{
        InnerPacket,
        icmp::{self, IcmpError},
    },
};

/// ICMP errors in one turn at most.
const ANSWER_BATCH: usize = 64;
const ANSWER_SLOT: usize = TUN_HEADROOM + 1_280;
/// No IP packet is longer.
const PACKET: usize = 65_535;
/// The least time between two reports of the same kind that are about nobody in particular.
const REPORT_INTERVAL_MILLIS: u64 = 1_000;

/// The state of a worker apart from its devices.
pub(super) struct Core {
    pub(super) counters: Arc<DataCounters>,
    pub(super) random: Box<dyn Random>,
    pub(super) ivs: IvPool,
    pub(super) flows: FlowCache,
    pub(super) held: HeldPackets,
    /// Sealed packets not yet sent.
    pub(super) outbox: Outbox,
    /// What the train at hand held.
    pub(super) opened: OpenedTrain,
    /// ICMP errors not yet written to the TUN device, each behind its headroom.
    pub(super) answers: Batch<()>,
    /// A fragment.
    pub(super) scratch: Vec<u8>,
    /// One packet of a super-packet that does not go as such.
    pub(super) piece: Box<[u8]>,
    /// When the engine was last asked for a tunnel, by SPD entry of this generation.
    pub(super) acquires: HashMap<u64, u64>,
    pub(super) generation: u64,
    pub(super) hold_millis: u64,
    /// Headers that are copied.
    pub(super) sights: Sights,
    reports: Box<dyn ReportSink>,
    too_big: RateLimit,
    unreachable: RateLimit,
    icmp_scratch: Vec<u8>,
    unknown_spi_reported: Option<u64>,
}

impl Core {
    pub(super) fn new(
        config: &DataPlaneConfig,
        reports: Box<dyn ReportSink>,
        counters: Arc<DataCounters>,
        random: Box<dyn Random>,
    ) -> Self {
        Self {
            counters,
            random,
            ivs: IvPool::new(),
            flows: FlowCache::new(),
            held: HeldPackets::default(),
            outbox: Outbox::new(),
            opened: OpenedTrain::new(),
            answers: Batch::new(ANSWER_BATCH, ANSWER_SLOT),
            scratch: Vec::new(),
            piece: vec![0; PACKET].into_boxed_slice(),
            acquires: HashMap::new(),
            generation: 0,
            hold_millis: u64::try_from(config.hold.as_millis()).unwrap_or(u64::MAX),
            sights: Sights::new(config.sightings.clone()),
            reports,
            too_big: RateLimit::new(config.icmp_per_second),
            unreachable: RateLimit::new(config.icmp_per_second),
            icmp_scratch: Vec::with_capacity(ANSWER_SLOT),
            unknown_spi_reported: None,
        }
    }

    /// Hands a report to the engine; false if the queue is full.
    pub(super) fn report(&self, report: Report) -> bool {
        let taken = self.reports.try_report(report);
        if !taken {
            add(&self.counters.reports_lost, 1);
        }
        taken
    }

    /// As [`Core::report`], for IKE messages, whose loss is a drop.
    pub(super) fn hand_over_ike(&self, report: Report) {
        if self.reports.try_report(report) {
            add(&self.counters.ike_datagrams, 1);
        } else {
            self.counters.drops.add(DropReason::IkeQueueFull);
        }
    }

    /// Whether an unknown SPI may be reported now.
    pub(super) fn may_report_unknown_spi(&mut self, now: u64) -> bool {
        let due =
            self.unknown_spi_reported.is_none_or(|last| now.saturating_sub(last) >= REPORT_INTERVAL_MILLIS);
        if due {
            self.unknown_spi_reported = Some(now);
        }
        due
    }

    /// Whether the engine may be asked (again) for the tunnel of this SPD entry.
    pub(super) fn may_acquire(&mut self, entry: u64, now: u64) -> bool {
        let last = self.acquires.get(&entry);
        let due = last.is_none_or(|last| now.saturating_sub(*last) >= REPORT_INTERVAL_MILLIS);
        if due {
            self.acquires.insert(entry, now);
        }
        due
    }

    /// Tells the sender of `packet` about the error, if that is allowed and the rate permits. The error
    /// comes from the packet's own destination: an address of this host as source would be refused by the
    /// kernel, and any other could be outside the tunnel.
    pub(super) fn answer(&mut self, packet: &[u8], view: &InnerPacket, error: IcmpError, now: u64) {
        let limit = match error {
            IcmpError::TooBig(_) => &mut self.too_big,
            IcmpError::Unreachable(_) | IcmpError::TimeExceeded => &mut self.unreachable,
        };
        let built = icmp::write_error(packet, view.dst, error, &mut self.icmp_scratch);
        if !built || !limit.allow(now) {
            add(&self.counters.icmp_suppressed, 1);
            return;
        }
        let octets = &self.icmp_scratch;
        let added = self.answers.push(|slot| {
            let len = TUN_HEADROOM + octets.len();
            slot.get_mut(TUN_HEADROOM..len).ok_or(())?.copy_from_slice(octets);
            Ok::<_, ()>((len, ()))
        });
        let counter =
            if added == Ok(true) { &self.counters.icmp_sent } else { &self.counters.icmp_suppressed };
        add(counter, 1);
    }

    /// Sends everything that is sealed.
    pub(super) fn flush(&mut self, udp: &mut dyn UdpDevice, now: u64) {
        if self.outbox.is_empty() {
            return;
        }
        let packets: usize = self.outbox.trains().iter().map(Train::packets).sum();
        let mut lost = 0;
        udp.transmit(&mut self.outbox.datagrams(), &mut |index, count, error| {
            lost += count;
            let train = self.outbox.trains().get(index);
            let datagram = self.outbox.datagrams().nth(index);
            if let (Some(train), Some(datagram)) = (train, datagram) {
                self.refused(train, &datagram, count, &error, now);
            }
        });
        add(&self.counters.udp_sent, packets.saturating_sub(lost) as u64);
        add(&self.counters.udp_writes, self.outbox.trains().len() as u64);
        self.outbox.clear();
        if let Some(degraded) = udp.take_degraded() {
            self.report(Report::Degraded(degraded));
        }
    }

    fn refused(&self, train: &Train, datagram: &Datagram<'_>, count: usize, error: &UdpError, now: u64) {
        let reason = match error {
            UdpError::TooBig => DropReason::UdpTooBig,
            UdpError::Unreachable => DropReason::PeerUnreachable,
            UdpError::Full => DropReason::UdpQueueFull,
            UdpError::Forbidden => DropReason::UdpForbidden,
            UdpError::NoSocket => DropReason::NoSocket,
            UdpError::Other(_) => DropReason::UdpRefused,
        };
        self.counters.drops.add_many(reason, count as u64);
        train.sa.counters().drops.add_many(reason, count as u64);
        if reason == DropReason::UdpTooBig && train.sa.path().may_report_too_big(now) {
            let longest = datagram.pieces().map(<[u8]>::len).max().unwrap_or(0);
            self.report(Report::OuterTooBig {
                child: train.sa.child(),
                local: datagram.to.local,
                remote: datagram.to.remote,
                outer_len: outer_len(longest, datagram.to.remote.is_ipv6()),
            });
        }
    }
}

pub(super) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Relaxed);
}
