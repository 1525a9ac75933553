//! Waiting for a condition, with a deadline.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::LabError;

/// How often a condition is looked at.
pub(super) const POLL: Duration = Duration::from_millis(20);

/// Looks at a condition until it holds. `look` returns the value it was waited for, or in words
/// what it saw instead; a failure of `look` ends the wait.
///
/// # Errors
/// The deadline passed: with what was seen last; or `look` failed.
pub fn until<T>(
    what: &str,
    patience: Duration,
    mut look: impl FnMut() -> Result<Result<T, String>, LabError>,
) -> Result<T, LabError> {
    let deadline = Instant::now() + patience;
    loop {
        let seen = match look()? {
            Ok(value) => return Ok(value),
            Err(seen) => seen,
        };
        if Instant::now() >= deadline {
            let what = format!("{what}; last seen: {seen}");
            return Err(LabError::Deadline { what, seconds: patience.as_secs() });
        }
        thread::sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_condition_that_comes_true_ends_the_wait_with_its_value() {
        let mut left = 3;
        let value = until("counting", Duration::from_secs(60), || {
            left -= 1;
            Ok(if left == 0 { Ok("done") } else { Err(left.to_string()) })
        });
        assert_eq!(value.ok(), Some("done"));
    }

    #[test]
    fn a_missed_deadline_tells_what_was_seen_last() {
        let error =
            until::<()>("the tunnel is up", Duration::ZERO, || Ok(Err("down".to_owned()))).unwrap_err();
        assert_eq!(error.to_string(), "not within 0 s: the tunnel is up; last seen: down");
    }
}
