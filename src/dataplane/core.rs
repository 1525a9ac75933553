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
    batch::{Batch, Offload},
    device::{Datagram, Destination, UdpDevice, UdpError},
    held::HeldPackets,
    rate::RateLimit,
};
use crate::{
    crypto::Random,
    esp::{DataCounters, DropReason, OutboundSa, Report, outer_len},
    wire::ip::{
        InnerPacket,
        icmp::{self, IcmpError},
    },
};

/// Datagrams sent together at most.
const SEND_BATCH: usize = 64;
/// An IP packet has at most 65,535 octets; sealing adds less than a hundred.
const SEND_SLOT: usize = 65_536 + 128;
/// ICMP errors in one turn at most.
const ANSWER_BATCH: usize = 64;
const ANSWER_SLOT: usize = 1_280;
/// The least time between two reports of the same kind that are about nobody in particular.
const REPORT_INTERVAL_MILLIS: u64 = 1_000;

/// A sealed packet's way.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) to: Destination,
    pub(super) sa: Arc<OutboundSa>,
}

/// The state of a worker apart from its devices.
pub(super) struct Core {
    pub(super) counters: Arc<DataCounters>,
    pub(super) random: Box<dyn Random>,
    pub(super) held: HeldPackets,
    /// Sealed packets not yet sent.
    pub(super) sealed: Batch<Sealed>,
    /// ICMP errors not yet written to the TUN device.
    pub(super) answers: Batch<Offload>,
    pub(super) scratch: Vec<u8>,
    /// When the engine was last asked for a tunnel, by SPD entry of this generation.
    pub(super) acquires: HashMap<usize, u64>,
    pub(super) generation: u64,
    pub(super) hold_millis: u64,
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
            held: HeldPackets::default(),
            sealed: Batch::new(SEND_BATCH, SEND_SLOT),
            answers: Batch::new(ANSWER_BATCH, ANSWER_SLOT),
            scratch: Vec::new(),
            acquires: HashMap::new(),
            generation: 0,
            hold_millis: u64::try_from(config.hold.as_millis()).unwrap_or(u64::MAX),
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
    pub(super) fn may_acquire(&mut self, entry: usize, now: u64) -> bool {
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
            let room = slot.get_mut(..octets.len()).ok_or(())?;
            room.copy_from_slice(octets);
            Ok::<_, ()>((octets.len(), Offload::default()))
        });
        let counter =
            if added == Ok(true) { &self.counters.icmp_sent } else { &self.counters.icmp_suppressed };
        add(counter, 1);
    }

    /// Sends everything that is sealed.
    pub(super) fn flush(&mut self, udp: &mut dyn UdpDevice, now: u64) {
        if self.sealed.is_empty() {
            return;
        }
        let batch: Vec<(&Sealed, Datagram<'_>)> =
            self.sealed.iter().map(|(octets, sealed)| (sealed, Datagram { octets, to: sealed.to })).collect();
        let datagrams: Vec<Datagram<'_>> = batch.iter().map(|(_, datagram)| *datagram).collect();
        let mut refused = 0;
        udp.transmit(&datagrams, &mut |index, error| {
            refused += 1;
            let Some((sealed, datagram)) = batch.get(index) else { return };
            self.refused(sealed, datagram, &error, now);
        });
        add(&self.counters.udp_sent, (datagrams.len() as u64).saturating_sub(refused));
        drop(batch);
        self.sealed.clear();
    }

    fn refused(&self, sealed: &Sealed, datagram: &Datagram<'_>, error: &UdpError, now: u64) {
        let reason = match error {
            UdpError::TooBig => DropReason::UdpTooBig,
            UdpError::Unreachable => DropReason::PeerUnreachable,
            UdpError::Full => DropReason::UdpQueueFull,
            UdpError::Forbidden => DropReason::UdpForbidden,
            UdpError::NoSocket => DropReason::NoSocket,
            UdpError::Other(_) => DropReason::UdpRefused,
        };
        self.counters.drops.add(reason);
        sealed.sa.counters().drops.add(reason);
        if reason == DropReason::UdpTooBig && sealed.sa.path().may_report_too_big(now) {
            self.report(Report::OuterTooBig {
                child: sealed.sa.child(),
                local: sealed.to.local,
                remote: sealed.to.remote,
                outer_len: outer_len(datagram.octets.len(), sealed.to.remote.is_ipv6()),
            });
        }
    }
}

pub(super) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Relaxed);
}
