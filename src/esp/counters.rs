//! Counters that workers add to and everybody may read at any time: relaxed atomics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::DropReason;

/// Drops by reason.
#[derive(Debug)]
pub struct DropCounters([AtomicU64; DropReason::COUNT]);

impl Default for DropCounters {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl DropCounters {
    /// Adds one drop.
    pub fn add(&self, reason: DropReason) {
        self.add_many(reason, 1);
    }

    /// Adds so many drops.
    pub fn add_many(&self, reason: DropReason, count: u64) {
        if let Some(counter) = self.0.get(reason.index()) {
            counter.fetch_add(count, Relaxed);
        }
    }

    /// Adds all that `other` has counted.
    pub fn add_all(&self, other: &Self) {
        for (counter, more) in self.0.iter().zip(&other.0) {
            let more = more.load(Relaxed);
            if more != 0 {
                counter.fetch_add(more, Relaxed);
            }
        }
    }

    /// The drops for this reason so far.
    pub fn get(&self, reason: DropReason) -> u64 {
        self.0.get(reason.index()).map_or(0, |counter| counter.load(Relaxed))
    }

    /// The drops for all reasons together.
    pub fn total(&self) -> u64 {
        self.0.iter().map(|counter| counter.load(Relaxed)).sum()
    }

    /// Reasons with at least one drop, in the order of [`DropReason::ALL`].
    pub fn nonzero(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.iter().map(|reason| (*reason, self.get(*reason))).filter(|(_, count)| *count > 0)
    }
}

/// What one SA has carried in its direction.
#[derive(Debug, Default)]
pub struct SaCounters {
    packets: AtomicU64,
    octets: AtomicU64,
    dummies: AtomicU64,
    last_used: AtomicU64,
    /// What was dropped on this SA.
    pub drops: DropCounters,
}

impl SaCounters {
    /// Adds carried packets of `octets` inner octets together at `now` (see [`SaCounters::last_used`]).
    pub(crate) fn carried(&self, packets: u64, octets: u64, now: u64) {
        self.used(now);
        self.packets.fetch_add(packets, Relaxed);
        self.octets.fetch_add(octets, Relaxed);
    }

    pub(crate) fn dummies_received(&self, packets: u64) {
        self.dummies.fetch_add(packets, Relaxed);
    }

    pub(crate) fn used(&self, now: u64) {
        let now = now.max(1);
        if self.last_used.load(Relaxed) < now {
            self.last_used.fetch_max(now, Relaxed);
        }
    }

    /// Packets carried.
    pub fn packets(&self) -> u64 {
        self.packets.load(Relaxed)
    }

    /// Inner octets carried.
    pub fn octets(&self) -> u64 {
        self.octets.load(Relaxed)
    }

    /// Dummy packets received (next header 59).
    pub fn dummies(&self) -> u64 {
        self.dummies.load(Relaxed)
    }

    /// When an authenticated packet was last received or a packet last sealed: milliseconds of the clock
    /// the caller passes in, `None` if never.
    pub fn last_used(&self) -> Option<u64> {
        Some(self.last_used.load(Relaxed)).filter(|millis| *millis != 0)
    }
}

/// The counts of a data plane, or of one of its workers. Read it while the workers run.
///
/// Each worker adds to its own, so that no cache line goes from core to core; a reader sums them into a
/// fresh one by [`DataCounters::add_all`].
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct DataCounters {
    /// Drops by reason.
    pub drops: DropCounters,
    /// Packets read from the TUN device.
    pub tun_received: AtomicU64,
    /// Packets written to the TUN device, answers (ICMP) included.
    pub tun_sent: AtomicU64,
    /// Writes to the TUN device; one may hold several packets.
    pub tun_writes: AtomicU64,
    /// Datagrams read from the UDP sockets.
    pub udp_received: AtomicU64,
    /// Datagrams and trains of them that the UDP sockets gave.
    pub udp_reads: AtomicU64,
    /// Datagrams written to the UDP sockets by the workers.
    pub udp_sent: AtomicU64,
    /// Datagrams and trains of them handed to the UDP sockets.
    pub udp_writes: AtomicU64,
    /// NAT keepalives received: one octet 0xFF.
    pub keepalives: AtomicU64,
    /// IKE datagrams handed to the engine.
    pub ike_datagrams: AtomicU64,
    /// ESP dummy packets received.
    pub dummies: AtomicU64,
    /// IPv4 packets that were fragmented before encryption.
    pub fragmented: AtomicU64,
    /// SYN and SYN-ACK segments whose MSS was lowered.
    pub mss_clamped: AtomicU64,
    /// ICMP errors sent to inner senders.
    pub icmp_sent: AtomicU64,
    /// ICMP errors not sent because of the rate limit or because none may be sent for such a packet.
    pub icmp_suppressed: AtomicU64,
    /// Packets that had to wait for a tunnel and were carried when it came up.
    pub acquired: AtomicU64,
    /// Reports to the engine that were lost because the queue was full; each is repeated later.
    pub reports_lost: AtomicU64,
    /// Packets whose headers were copied for the fault detector.
    pub sightings: AtomicU64,
    /// Headers for the fault detector that were lost because there were too many.
    pub sightings_lost: AtomicU64,
    /// Headers of UDP datagrams that the fault detector was not told of because so many flows began at once.
    pub sightings_held_back: AtomicU64,
}

impl DataCounters {
    /// Adds all that `other` has counted.
    pub fn add_all(&self, other: &Self) {
        self.drops.add_all(&other.drops);
        for (counter, more) in self.counters().into_iter().zip(other.counters()) {
            counter.fetch_add(more.load(Relaxed), Relaxed);
        }
    }

    /// The sum of several workers' counts.
    pub fn sum<'a>(workers: impl IntoIterator<Item = &'a Self>) -> Self {
        let total = Self::default();
        for worker in workers {
            total.add_all(worker);
        }
        total
    }

    /// Every counter but the drops, by its stable name.
    pub fn named(&self) -> [(&'static str, u64); NAMES.len()] {
        let counters = self.counters();
        std::array::from_fn(|at| {
            let name = NAMES.get(at).copied().unwrap_or_default();
            (name, counters.get(at).map_or(0, |counter| counter.load(Relaxed)))
        })
    }

    /// In the order of [`NAMES`].
    fn counters(&self) -> [&AtomicU64; NAMES.len()] {
        [
            &self.tun_received,
            &self.tun_sent,
            &self.tun_writes,
            &self.udp_received,
            &self.udp_reads,
            &self.udp_sent,
            &self.udp_writes,
            &self.keepalives,
            &self.ike_datagrams,
            &self.dummies,
            &self.fragmented,
            &self.mss_clamped,
            &self.icmp_sent,
            &self.icmp_suppressed,
            &self.acquired,
            &self.reports_lost,
            &self.sightings,
            &self.sightings_lost,
            &self.sightings_held_back,
        ]
    }
}

const NAMES: [&str; 19] = [
    "tun_received",
    "tun_sent",
    "tun_writes",
    "udp_received",
    "udp_reads",
    "udp_sent",
    "udp_writes",
    "keepalives",
    "ike_datagrams",
    "dummies",
    "fragmented",
    "mss_clamped",
    "icmp_sent",
    "icmp_suppressed",
    "acquired",
    "reports_lost",
    "sightings",
    "sightings_lost",
    "sightings_held_back",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_workers_has_every_count_of_each() {
        let workers = [DataCounters::default(), DataCounters::default()];
        for (at, worker) in workers.iter().enumerate() {
            let base = 100 * at as u64 + 1;
            for (counter, value) in worker.counters().into_iter().zip(base..) {
                counter.store(value, Relaxed);
            }
            worker.drops.add(DropReason::Runt);
        }
        workers[1].drops.add(DropReason::NoSa);
        let sum = DataCounters::sum(&workers);
        for (at, (_, value)) in sum.named().into_iter().enumerate() {
            assert_eq!(value, 102 + 2 * at as u64);
        }
        assert_eq!(sum.drops.get(DropReason::Runt), 2);
        assert_eq!(sum.drops.get(DropReason::NoSa), 1);
        assert_eq!(sum.drops.total(), 3);
    }

    #[test]
    fn names_stand_with_their_counters() {
        let counters = DataCounters::default();
        counters.tun_received.store(1, Relaxed);
        counters.reports_lost.store(2, Relaxed);
        counters.icmp_sent.store(3, Relaxed);
        let named = counters.named();
        for expected in [("tun_received", 1), ("reports_lost", 2), ("icmp_sent", 3), ("dummies", 0)] {
            assert!(named.contains(&expected), "{expected:?}");
        }
    }
}
