//! Between two reconciliations of the machine: while thousands of tunnels come up, each of them may change a route,
//! and the whole is not compared with the kernel's for every one.

use std::time::{Duration, Instant};

/// The least time from the begin of one to the begin of the next.
const LEAST: Duration = Duration::from_millis(100);
/// Work takes at most one part in so many of the time.
const SHARE: u32 = 8;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Pause {
    began: Option<Instant>,
    over: Option<Instant>,
    /// Somebody asked during the pause.
    asked: bool,
}

impl Pause {
    /// One begins now.
    pub(super) fn begin(&mut self) {
        self.begin_at(Instant::now());
    }

    fn begin_at(&mut self, now: Instant) {
        *self = Self { began: Some(now), over: Some(now + LEAST), asked: false };
    }

    /// It is done: the longer it took, the longer is the pause.
    pub(super) fn done(&mut self) {
        self.done_at(Instant::now());
    }

    fn done_at(&mut self, now: Instant) {
        if let Some(began) = self.began.take() {
            self.over = Some(began + (now.saturating_duration_since(began) * SHARE).max(LEAST));
        }
    }

    /// Whether the next may begin; if not, [`Pause::due`] tells when.
    pub(super) fn is_over(&mut self) -> bool {
        self.is_over_at(Instant::now())
    }

    fn is_over_at(&mut self, now: Instant) -> bool {
        self.asked = self.over.is_some_and(|over| now < over);
        if !self.asked {
            self.over = None;
        }
        !self.asked
    }

    /// When somebody who asked in vain is to ask again.
    pub(super) fn due(&self) -> Option<Instant> {
        self.over.filter(|_| self.asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_begins_at_once_and_the_next_after_a_pause_that_grows_with_the_work() {
        let start = Instant::now();
        let mut pause = Pause::default();
        assert!(pause.is_over_at(start) && pause.due().is_none());
        pause.begin_at(start);
        assert!(!pause.is_over_at(start + Duration::from_millis(1)));
        pause.done_at(start + Duration::from_millis(2));
        assert_eq!(pause.due(), Some(start + LEAST));
        assert!(pause.is_over_at(start + LEAST) && pause.due().is_none());
        pause.begin_at(start);
        pause.done_at(start + Duration::from_secs(1));
        assert!(pause.due().is_none(), "nobody asked");
        assert!(!pause.is_over_at(start + Duration::from_secs(7)));
        assert_eq!(pause.due(), Some(start + Duration::from_secs(8)));
    }
}
