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
        if let Some(counter) = self.0.get(reason.index()) {
            counter.fetch_add(1, Relaxed);
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
    /// Adds a carried packet of `octets` inner octets at `now` (see [`SaCounters::last_used`]) and gives
    /// the totals of packets and octets.
    pub(crate) fn carried(&self, octets: u64, now: u64) -> (u64, u64) {
        self.used(now);
        (self.packets.fetch_add(1, Relaxed) + 1, self.octets.fetch_add(octets, Relaxed) + octets)
    }

    pub(crate) fn dummy(&self) {
        self.dummies.fetch_add(1, Relaxed);
    }

    pub(crate) fn used(&self, now: u64) {
        self.last_used.fetch_max(now.max(1), Relaxed);
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

/// The counts of a whole data plane. Read it while the workers run.
#[derive(Debug, Default)]
pub struct DataCounters {
    /// Drops by reason.
    pub drops: DropCounters,
    /// Packets read from the TUN device.
    pub tun_received: AtomicU64,
    /// Packets written to the TUN device, answers (ICMP) included.
    pub tun_sent: AtomicU64,
    /// Datagrams read from the UDP sockets.
    pub udp_received: AtomicU64,
    /// Datagrams written to the UDP sockets by the workers.
    pub udp_sent: AtomicU64,
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
}

impl DataCounters {
    /// Every counter but the drops, by its stable name.
    pub fn named(&self) -> [(&'static str, u64); 13] {
        [
            ("tun_received", self.tun_received.load(Relaxed)),
            ("tun_sent", self.tun_sent.load(Relaxed)),
            ("udp_received", self.udp_received.load(Relaxed)),
            ("udp_sent", self.udp_sent.load(Relaxed)),
            ("keepalives", self.keepalives.load(Relaxed)),
            ("ike_datagrams", self.ike_datagrams.load(Relaxed)),
            ("dummies", self.dummies.load(Relaxed)),
            ("fragmented", self.fragmented.load(Relaxed)),
            ("mss_clamped", self.mss_clamped.load(Relaxed)),
            ("icmp_sent", self.icmp_sent.load(Relaxed)),
            ("icmp_suppressed", self.icmp_suppressed.load(Relaxed)),
            ("acquired", self.acquired.load(Relaxed)),
            ("reports_lost", self.reports_lost.load(Relaxed)),
        ]
    }
}
