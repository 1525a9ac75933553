//! The timers of an IKE SA: a table indexed by an enum, so that every wake-up has a reason.

use std::time::Instant;

/// Why an endpoint wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WakeReason {
    /// A request of ours has no response yet.
    Retransmit,
    /// A half-open IKE SA, or what is left of a closed one, is given up.
    GiveUp,
    /// The peer has been silent.
    DeadPeerDetection,
    /// A NAT mapping must be kept.
    Keepalive,
    /// An IKE SA reaches its soft limit.
    RekeyIke,
    /// An IKE SA reaches its hard limit.
    ExpireIke,
    /// A Child SA reaches a limit or stops lingering.
    Child,
    /// Something postponed is tried again.
    Task,
    /// The path MTU is measured.
    PathMtu,
    /// One of two IKE SAs with the same peer is closed.
    Duplicate,
    /// A peer is connected to.
    Connect,
    /// Fragments of an incomplete message are forgotten.
    Fragments,
}

impl WakeReason {
    const COUNT: usize = 12;
}

/// One optional instant for every reason.
#[derive(Clone, Debug, Default)]
pub(crate) struct TimerTable([Option<Instant>; WakeReason::COUNT]);

impl TimerTable {
    pub(crate) fn set(&mut self, reason: WakeReason, at: Instant) {
        if let Some(slot) = self.0.get_mut(reason as usize) {
            *slot = Some(at);
        }
    }

    pub(crate) fn stop(&mut self, reason: WakeReason) {
        if let Some(slot) = self.0.get_mut(reason as usize) {
            *slot = None;
        }
    }

    pub(crate) fn get(&self, reason: WakeReason) -> Option<Instant> {
        self.0.get(reason as usize).copied().flatten()
    }

    /// Whether the timer has run out; it is stopped then.
    pub(crate) fn fired(&mut self, reason: WakeReason, now: Instant) -> bool {
        let fired = self.get(reason).is_some_and(|at| at <= now);
        if fired {
            self.stop(reason);
        }
        fired
    }

    /// The earliest of these timers.
    pub(crate) fn next(&self, reasons: &[WakeReason]) -> Option<(Instant, WakeReason)> {
        reasons.iter().filter_map(|reason| self.get(*reason).map(|at| (at, *reason))).min()
    }
}
