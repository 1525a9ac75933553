//! A token bucket over the worker's clock.

/// Allows so many events a second, and half a second's worth at once.
#[derive(Debug)]
pub(super) struct RateLimit {
    per_second: u64,
    /// In thousandths of an event.
    tokens: u64,
    last: u64,
}

impl RateLimit {
    /// A full bucket.
    pub(super) fn new(per_second: u32) -> Self {
        let per_second = u64::from(per_second);
        Self { per_second, tokens: Self::burst(per_second), last: 0 }
    }

    /// Whether an event may happen at `now` (milliseconds).
    pub(super) fn allow(&mut self, now: u64) -> bool {
        let earned = now.saturating_sub(self.last).saturating_mul(self.per_second);
        self.last = self.last.max(now);
        self.tokens = self.tokens.saturating_add(earned).min(Self::burst(self.per_second));
        match self.tokens.checked_sub(1_000) {
            Some(rest) => {
                self.tokens = rest;
                true
            }
            None => false,
        }
    }

    fn burst(per_second: u64) -> u64 {
        if per_second == 0 { 0 } else { (per_second * 500).max(1_000) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let mut limit = RateLimit::new(10);
        assert_eq!((0..20).filter(|_| limit.allow(1)).count(), 5);
        assert_eq!((0..20).filter(|_| limit.allow(201)).count(), 2);
        assert_eq!((0..20).filter(|_| limit.allow(60_000)).count(), 5);
        assert!(!RateLimit::new(0).allow(1_000_000));
    }
}
