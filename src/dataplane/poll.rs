//! How a worker waits: it asks its devices again for a while before it sleeps, because a sleeping thread
//! is woken tens of microseconds late.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// Descriptors that are looked at in one wait.
const EVENTS: usize = 8;
/// A pause this many times as long as the polling is still taken for dense traffic: most of it is the time
/// that waking up takes.
const DENSE: u32 = 4;

/// What a worker does before it sleeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Polling {
    /// It sleeps at once.
    Off,
    /// While packets come in quick succession it asks for this long, and not after a lone packet.
    Adaptive(Duration),
    /// After every packet it asks for this long: the lowest latency, at the price of the processor.
    LowLatency(Duration),
}

impl Default for Polling {
    fn default() -> Self {
        Self::Adaptive(Duration::from_micros(50))
    }
}

/// Decides between asking again and sleeping.
#[derive(Debug)]
pub(super) struct Spinner {
    polling: Polling,
    idle_since: Option<Instant>,
    dense: bool,
}

impl Spinner {
    pub(super) fn new(polling: Polling) -> Self {
        Self { polling, idle_since: None, dense: false }
    }

    /// After a turn that carried something.
    pub(super) fn worked(&mut self) {
        let Some(since) = self.idle_since.take() else { return };
        if let Polling::Adaptive(limit) = self.polling {
            self.dense = since.elapsed() < limit * DENSE;
        }
    }

    /// After a turn that carried nothing: whether to sleep now.
    pub(super) fn may_sleep(&mut self) -> bool {
        let limit = match self.polling {
            Polling::Off => return true,
            Polling::Adaptive(_) if !self.dense => Duration::ZERO,
            Polling::Adaptive(limit) | Polling::LowLatency(limit) => limit,
        };
        let since = *self.idle_since.get_or_insert_with(Instant::now);
        since.elapsed() >= limit
    }
}

/// What a descriptor belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wakes {
    /// The worker's own control.
    Control,
    /// The TUN device.
    Tun,
    /// The sockets.
    Peers,
}

/// Descriptors to sleep on.
#[derive(Debug)]
pub(super) struct Sleeper {
    epoll: Epoll,
}

impl Sleeper {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)? })
    }

    /// Wakes when this is readable, which is of this kind.
    pub(super) fn add(&self, fd: BorrowedFd<'_>, kind: Wakes) -> io::Result<()> {
        Ok(self.epoll.add(fd.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, kind as u64))?)
    }

    /// No longer wakes when this is readable. Nothing happens if it was not added.
    pub(super) fn remove(&self, fd: BorrowedFd<'_>) {
        let _ = self.epoll.delete(fd.as_fd());
    }

    /// Sleeps until something is readable, at most for `limit`, and tells whether only the peers' side is.
    pub(super) fn sleep(&self, limit: Option<Duration>) -> bool {
        let timeout = limit
            .map_or(EpollTimeout::NONE, |limit| EpollTimeout::try_from(limit).unwrap_or(EpollTimeout::MAX));
        let mut events = [EpollEvent::empty(); EVENTS];
        // An interrupted or failed wait is as good as a short one: the devices are asked in any case.
        let ready = self.epoll.wait(&mut events, timeout).unwrap_or(0);
        let mut ready = events.iter().take(ready);
        ready.len() > 0 && ready.all(|event| event.data() == Wakes::Peers as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_polling_it_sleeps_at_once() {
        let mut spinner = Spinner::new(Polling::Off);
        spinner.worked();
        assert!(spinner.may_sleep());
    }

    #[test]
    fn a_lone_packet_is_no_reason_to_poll_unless_latency_is_all_that_counts() {
        let long = Duration::from_secs(3_600);
        let mut adaptive = Spinner::new(Polling::Adaptive(long));
        assert!(adaptive.may_sleep());
        adaptive.worked();
        // The pause was shorter than the limit, so more is expected.
        assert!(!adaptive.may_sleep());
        let mut eager = Spinner::new(Polling::LowLatency(long));
        eager.worked();
        assert!(!eager.may_sleep());
    }

    #[test]
    fn polling_ends() {
        let mut spinner = Spinner::new(Polling::LowLatency(Duration::ZERO));
        spinner.worked();
        assert!(spinner.may_sleep());
    }
}
