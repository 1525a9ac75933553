//! How long to wait after a failure.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    time::Duration,
};

/// Waits that double from failure to failure up to a bound, and vary, so that many clients of a server that comes
/// back do not all come at once.
#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    most: Duration,
    failures: u32,
}

impl Backoff {
    /// Begins with about `first`, never longer than `most`.
    pub(super) fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, failures: 0 }
    }

    /// After a success the next failure is the first one again.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// The wait after one more failure: between half of the bound and all of it.
    pub(super) fn next(&mut self) -> Duration {
        let bound = self.first.saturating_mul(1 << self.failures.min(20)).min(self.most);
        self.failures = self.failures.saturating_add(1);
        vary(bound)
    }
}

/// Something between half of `bound` and `bound`.
pub(super) fn vary(bound: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish() % 1024;
    let share = u32::try_from(random).unwrap_or_default();
    bound / 2 + bound / 2 * share / 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_bound_and_begin_anew() {
        let (first, most) = (Duration::from_millis(500), Duration::from_secs(30));
        let mut backoff = Backoff::new(first, most);
        for failure in 0..100 {
            let bound = first.saturating_mul(1 << failure.min(10)).min(most);
            let wait = backoff.next();
            assert!(wait >= bound / 2 && wait <= bound, "{wait:?} after {failure} failures");
        }
        backoff.reset();
        assert!(backoff.next() <= first);
    }

    #[test]
    fn waits_vary() {
        let waits: std::collections::BTreeSet<_> = (0..50).map(|_| vary(Duration::from_secs(30))).collect();
        assert!(waits.len() > 10);
    }
}
