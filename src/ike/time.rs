//! The time of a call: the protocol core reads no clock.

use std::time::Instant;

/// What the caller's clocks say. Every `handle_*` takes it.
///
/// `mono` drives every timer; `unix` is consulted only for the validity of certificates, so that a
/// wall clock in 1970 or 2038 cannot hurt a PSK tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The monotonic clock.
    pub mono: Instant,
    /// Seconds since the Unix epoch.
    pub unix: i64,
}

impl Now {
    /// Joins the two readings.
    #[must_use]
    pub fn new(mono: Instant, unix: i64) -> Self {
        Self { mono, unix }
    }
}
