//! What the service manager is told: ready, reloading, stopping, a status line, and that we live.

use std::time::Duration;

use sd_notify::NotifyState;

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

/// The line that `systemctl status` shows.
pub(super) fn status(line: &str) {
    tell(&[NotifyState::Status(line)]);
}

fn tell(states: &[NotifyState<'_>]) {
    // Without a service manager there is nobody to tell.
    let _ = sd_notify::notify(states);
}
