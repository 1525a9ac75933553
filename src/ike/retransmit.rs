//! When a request is sent again, and when its peer counts as dead.

use std::time::{Duration, Instant};

use super::config::Timing;

/// The times of one request's retransmissions: exponential, capped, finite.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    wait: Duration,
    factor: f64,
    cap: Duration,
    left: u32,
    due: Instant,
}

/// What an expired wait means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expired {
    /// Send the same octets again.
    Again,
    /// Enough.
    GiveUp,
}

impl Schedule {
    pub(crate) fn new(now: Instant, timing: &Timing) -> Self {
        Self {
            wait: timing.retransmit_base,
            factor: timing.retransmit_factor.max(1.0),
            cap: timing.retransmit_cap,
            left: timing.retransmit_tries,
            due: now + timing.retransmit_base,
        }
    }

    /// A quick schedule for a probe whose failure is already suspected: about five seconds in all.
    pub(crate) fn urgent(now: Instant, timing: &Timing) -> Self {
        let wait = (timing.retransmit_base / 2).min(Duration::from_millis(500));
        Self {
            wait,
            factor: 1.5,
            cap: Duration::from_secs(2),
            left: timing.retransmit_tries.min(4),
            due: now + wait,
        }
    }

    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    /// Makes the next retransmission due at once, without using up a try.
    pub(crate) fn hurry(&mut self, now: Instant) {
        self.due = now;
        self.left = self.left.saturating_add(1);
    }

    /// Called when `due` has passed.
    pub(crate) fn expire(&mut self, now: Instant) -> Expired {
        if self.left == 0 {
            return Expired::GiveUp;
        }
        self.left -= 1;
        self.wait = self.wait.mul_f64(self.factor).min(self.cap);
        self.due = now + self.wait;
        Expired::Again
    }
}
