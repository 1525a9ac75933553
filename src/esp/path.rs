//! Where a peer's packets go. A path belongs to the peer and is shared by its SAs, so that a moved peer
//! or a new path MTU changes no SA and needs no new snapshot.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use arc_swap::ArcSwap;

/// A path as it is at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathState {
    /// The address our datagrams leave from; `None` lets the kernel choose.
    pub local: Option<IpAddr>,
    /// The peer's address and NAT traversal port.
    pub remote: SocketAddr,
    /// The largest outer IP packet that the path carries, in octets.
    pub outer_mtu: u16,
}

/// The shared, changeable path to one peer.
#[derive(Debug)]
pub struct Path {
    state: ArcSwap<PathState>,
    moved_reported: AtomicU64,
    too_big_reported: AtomicU64,
}

/// The least time between two reports of the same kind about one path.
const REPORT_INTERVAL_MILLIS: u64 = 1_000;

impl Path {
    /// A path in this state.
    pub fn new(state: PathState) -> Arc<Self> {
        Arc::new(Self {
            state: ArcSwap::from_pointee(state),
            moved_reported: AtomicU64::new(0),
            too_big_reported: AtomicU64::new(0),
        })
    }

    /// The state now.
    pub fn get(&self) -> PathState {
        **self.state.load()
    }

    /// Changes the addresses and keeps the MTU.
    pub fn set_addresses(&self, local: Option<IpAddr>, remote: SocketAddr) {
        self.state.rcu(|state| PathState { local, remote, ..**state });
    }

    /// Changes the outer MTU and keeps the addresses.
    pub fn set_outer_mtu(&self, outer_mtu: u16) {
        self.state.rcu(|state| PathState { outer_mtu, ..**state });
    }

    /// Whether a moved peer may be reported at `now` (milliseconds); true at most once a second.
    pub fn may_report_moved(&self, now: u64) -> bool {
        once_per_interval(&self.moved_reported, now)
    }

    /// Whether a datagram that was too big may be reported at `now`; true at most once a second.
    pub fn may_report_too_big(&self, now: u64) -> bool {
        once_per_interval(&self.too_big_reported, now)
    }
}

fn once_per_interval(last: &AtomicU64, now: u64) -> bool {
    let before = last.load(Relaxed);
    if before != 0 && now.saturating_sub(before) < REPORT_INTERVAL_MILLIS {
        return false;
    }
    last.compare_exchange(before, now.max(1), Relaxed, Relaxed).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_sa_sees_a_changed_path_at_once() {
        let path =
            Path::new(PathState { local: None, remote: "192.0.2.1:4500".parse().unwrap(), outer_mtu: 1500 });
        let seen_by_sa = Arc::clone(&path);
        path.set_addresses(Some("198.51.100.7".parse().unwrap()), "192.0.2.1:61000".parse().unwrap());
        path.set_outer_mtu(1492);
        let state = seen_by_sa.get();
        assert_eq!(state.remote.port(), 61_000);
        assert_eq!(state.local, Some("198.51.100.7".parse().unwrap()));
        assert_eq!(state.outer_mtu, 1492);
    }

    #[test]
    fn a_moved_peer_is_reported_at_most_once_a_second() {
        let path =
            Path::new(PathState { local: None, remote: "192.0.2.1:4500".parse().unwrap(), outer_mtu: 1500 });
        assert!(path.may_report_moved(5));
        assert!(!path.may_report_moved(900));
        assert!(path.may_report_moved(1_005));
    }
}
