//! What the living end does when the other one has lost its state.

use std::time::Duration;

use super::pair::*;
use crate::ike::*;

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// B restarts without telling; A's packets then meet SPIs that nobody knows.
fn restarted() -> (Pair, u32) {
    let mut pair = Pair::established();
    let spi = pair.a.children.values().next().unwrap().outbound_spi;
    let (_, b) = configs();
    pair.b = node("192.0.2.2", 77, EndpointSettings::default(), vec![b]);
    pair.b.address = pair.a.children.values().next().unwrap().remote.ip();
    (pair, spi)
}

#[test]
fn a_notice_of_an_unknown_spi_leads_to_a_new_tunnel_long_before_dead_peer_detection() {
    let (mut pair, spi) = restarted();
    let a = pair.b.address;
    let (local, remote) =
        (std::net::SocketAddr::new(a, 4500), std::net::SocketAddr::new(pair.a.address, 4500));
    pair.command(Side::B, Command::UnknownSpi { spi, local, remote });
    pair.run(secs(10));
    pair.assert_converged(1);
    assert_eq!(pair.a.endpoint.counters().hint_probes, 1);
}

#[test]
fn a_notice_from_elsewhere_or_about_another_spi_changes_nothing() {
    for (spi_off, port) in [(1, 4500), (0, 4501)] {
        let mut pair = Pair::established();
        let spi = pair.a.children.values().next().unwrap().outbound_spi.wrapping_add(spi_off);
        let b = pair.b.address;
        let mut filter_port = Some(port);
        pair.b.nat =
            filter_port.take().filter(|port| *port != 4500).map(|port| std::net::SocketAddr::new(b, port));
        let (local, remote) =
            (std::net::SocketAddr::new(b, 4500), std::net::SocketAddr::new(pair.a.address, 4500));
        pair.command(Side::B, Command::UnknownSpi { spi, local, remote });
        pair.run(Duration::from_millis(300));
        assert_eq!(pair.a.endpoint.counters().hint_probes, 0);
        assert_eq!((pair.ike_sas(Side::A), pair.ike_sas(Side::B)), (1, 1));
    }
}

#[test]
fn a_notice_is_never_answered() {
    let mut pair = Pair::established();
    let before = pair.a.sent.len();
    let (local, remote) =
        (std::net::SocketAddr::new(pair.b.address, 4500), std::net::SocketAddr::new(pair.a.address, 4500));
    pair.command(Side::B, Command::UnknownSpi { spi: 0x1234_5678, local, remote });
    pair.run(Duration::from_millis(200));
    assert_eq!(pair.a.sent.len(), before);
}
