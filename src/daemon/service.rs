//! What the service manager is told: ready, reloading, stopping, a status line, and that we live.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use super::pause::Pause;

/// What is quoted of a reason at most; the whole is in `skybridge status`.
const LONGEST_REASON: usize = 160;

/// Half of the watchdog's patience, where the service manager has one.
pub(super) fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|patience| patience / 2)
}

/// The parts are up.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// A reload begins; [`ready`] ends it.
pub(super) fn reloading() {
    tell(&[NotifyState::Reloading]);
}

/// The end begins.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// We are alive.
pub(super) fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// The line that `systemctl status` shows: told when it changes, and not for each of a thousand tunnels.
#[derive(Debug, Default)]
pub(super) struct StatusLine {
    pause: Pause,
    told: String,
}

impl StatusLine {
    /// Tells the line that `summary` makes, now or when [`StatusLine::due`] says.
    pub(super) fn tell(&mut self, summary: impl FnOnce() -> String) {
        if !self.pause.is_over() {
            return;
        }
        self.pause.begin();
        let line = summary();
        if line != self.told {
            tell(&[NotifyState::Status(&line)]);
            self.told = line;
        }
        self.pause.done();
    }

    /// When it is to be told again, if somebody wanted to too soon.
    pub(super) fn due(&self) -> Option<Instant> {
        self.pause.due()
    }
}

/// How the peers are, in one line: how many are up, why the others are not, and whether the machine has faults.
pub(super) fn summary(up: usize, peers: usize, failures: &[(&str, &str)], findings: usize) -> String {
    if peers == 0 {
        return "no peer is configured".to_owned();
    }
    let mut line = format!("{up} of {peers} peers up");
    if let Some((peer, reason)) = failures.first() {
        let first = reason.lines().next().unwrap_or_default();
        let short: String = first.chars().take(LONGEST_REASON).collect();
        let cut = if short.len() < first.len() { "…" } else { "" };
        line.push_str(&format!("; {peer}: {short}{cut}"));
        if failures.len() > 1 {
            line.push_str(&format!(" (and {} more)", failures.len() - 1));
        }
    }
    if findings > 0 {
        let noun = if findings == 1 { "finding" } else { "findings" };
        line.push_str(&format!("; {findings} {noun}, see `skybridge status`"));
    }
    line
}

fn tell(states: &[NotifyState<'_>]) {
    // Without a service manager there is nobody to tell.
    let _ = sd_notify::notify(states);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_who_is_down_and_why() {
        assert_eq!(summary(0, 0, &[], 0), "no peer is configured");
        assert_eq!(summary(2, 2, &[], 0), "2 of 2 peers up");
        let failures =
            [("office", "authentication failed\nfurther lines"), ("lab", "the peer does not answer")];
        assert_eq!(
            summary(1, 3, &failures, 1),
            "1 of 3 peers up; office: authentication failed (and 1 more); 1 finding, see `skybridge status`"
        );
        let long = "x".repeat(500);
        let line = summary(0, 1, &[("office", &long)], 2);
        assert!(line.chars().count() < 250 && line.contains("x…; 2 findings"), "{line}");
    }

    #[test]
    fn a_line_that_did_not_change_is_not_told_again() {
        let mut line = StatusLine::default();
        line.tell(|| "first".to_owned());
        assert!(line.due().is_none());
        line.tell(|| panic!("too soon"));
        assert!(line.due().is_some_and(|due| due > Instant::now()) && line.told == "first");
    }
}
