//! Forgets connections without an end of their own that would go on to an endpoint which is gone.

use std::{
    collections::{HashMap, HashSet},
    io,
    net::IpAddr,
};

use super::netlink::{Connection, Conntrack};

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

/// Connections of which only some may go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cluster) struct Stale {
    to: (IpAddr, u16),
    protocol: u8,
    keep: Vec<(IpAddr, u16)>,
}

impl Stale {
    /// UDP connections to a cluster address and port, but for those to these endpoints.
    pub(in crate::cluster) fn udp(vip: IpAddr, port: u16, keep: &[(IpAddr, u16)]) -> Self {
        Self { to: (vip, port), protocol: UDP, keep: keep.to_vec() }
    }

    /// TCP connections to a cluster address and port that began without being translated, and that nobody has answered:
    /// a repeated SYN would go the same way.
    pub(in crate::cluster) fn unanswered(vip: IpAddr, port: u16) -> Self {
        Self { to: (vip, port), protocol: TCP, keep: Vec::new() }
    }

    /// Echo requests to a cluster address.
    pub(in crate::cluster) fn echo(vip: IpAddr) -> Self {
        Self { to: (vip, 0), protocol: if vip.is_ipv4() { ICMP } else { ICMPV6 }, keep: Vec::new() }
    }
}

/// Forgets them; how many there were.
///
/// # Errors
/// The kernel does not let this process list or delete connections.
pub(in crate::cluster) async fn forget(stale: Vec<Stale>) -> io::Result<usize> {
    if stale.is_empty() {
        return Ok(0);
    }
    // The socket belongs to the network namespace of this thread, which is the caller's.
    let mut conntrack = Conntrack::open()?;
    tokio::task::spawn_blocking(move || forget_now(&mut conntrack, &stale)).await.map_err(io::Error::other)?
}

fn forget_now(conntrack: &mut Conntrack, stale: &[Stale]) -> io::Result<usize> {
    let keep: HashMap<(u8, IpAddr, u16), HashSet<(IpAddr, u16)>> = stale
        .iter()
        .map(|stale| ((stale.protocol, stale.to.0, stale.to.1), stale.keep.iter().copied().collect()))
        .collect();
    let mut forgotten = 0;
    for v4 in [true, false] {
        if !stale.iter().any(|stale| stale.to.0.is_ipv4() == v4) {
            continue;
        }
        let mut found: Vec<Connection> = Vec::new();
        conntrack.each(v4, |connection| {
            let port = if [TCP, UDP].contains(&connection.protocol) { connection.to.1 } else { 0 };
            let kept = keep.get(&(connection.protocol, connection.to.0, port));
            let goes_on =
                connection.protocol == TCP && !(connection.opening && connection.from == connection.to);
            if !goes_on && kept.is_some_and(|kept| !kept.contains(&connection.from)) {
                found.push(connection);
            }
        })?;
        for connection in found {
            forgotten += usize::from(conntrack.delete(connection)?);
        }
    }
    Ok(forgotten)
}
