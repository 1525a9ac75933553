//! How long connects take, in buckets of an eighth of a power of two: some 800 octets, however many there are.

use std::time::Duration;

/// Buckets of one power of two.
const PARTS: u64 = 8;
/// From 1 µs to beyond a minute.
const BUCKETS: usize = 26 * PARTS as usize;

/// A histogram of times.
#[derive(Debug, Clone)]
pub(super) struct Latency {
    counts: Box<[u32; BUCKETS]>,
    total: u64,
}

impl Default for Latency {
    fn default() -> Self {
        Self { counts: Box::new([0; BUCKETS]), total: 0 }
    }
}

impl Latency {
    pub(super) fn add(&mut self, took: Duration) {
        if let Some(count) = self.counts.get_mut(bucket(took)) {
            *count = count.saturating_add(1);
            self.total += 1;
        }
    }

    /// The time that this share of the connects, in hundredths, did not exceed: the middle of its bucket.
    pub(super) fn quantile(&self, hundredths: u64) -> Option<Duration> {
        let wanted = (self.total * hundredths).div_ceil(100).max(1);
        let mut seen = 0;
        let at = self.counts.iter().position(|count| {
            seen += u64::from(*count);
            seen >= wanted
        })?;
        Some(Duration::from_micros((lower(at) + lower(at + 1)) / 2))
    }
}

fn bucket(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    if micros < PARTS {
        return micros as usize;
    }
    let shift = u64::from(micros.ilog2() - PARTS.ilog2());
    let at = (shift + 1) * PARTS + ((micros >> shift) - PARTS);
    usize::try_from(at).unwrap_or(usize::MAX).min(BUCKETS - 1)
}

/// The least time of a bucket, in microseconds.
fn lower(bucket: usize) -> u64 {
    let (power, part) = (bucket as u64 / PARTS, bucket as u64 % PARTS);
    if power == 0 { part } else { (PARTS + part) << (power - 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_its_bucket_and_quantiles_are_near() {
        for micros in (0..5_000).chain((5_000..60_000_000).step_by(77_777)) {
            let at = bucket(Duration::from_micros(micros));
            assert!(lower(at) <= micros && micros < lower(at + 1), "{micros} in {at}");
        }
        let mut latency = Latency::default();
        assert_eq!(latency.quantile(50), None);
        (1..=1_000).for_each(|n| latency.add(Duration::from_micros(n * 10)));
        let near = |found: Duration, micros: f64| (found.as_micros() as f64 / micros - 1.0).abs() < 0.1;
        assert!(near(latency.quantile(50).unwrap(), 5_000.0));
        assert!(near(latency.quantile(99).unwrap(), 9_900.0));
        latency.add(Duration::MAX);
        assert!(latency.quantile(100).unwrap() > Duration::from_secs(60));
    }
}
