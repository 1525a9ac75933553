//! One log line an SA change, and the reason for every refusal.

use tracing::{info, warn};

use crate::engine::{ChildUp, Event};
use crate::esp::Degraded;
use crate::ike::{self, DownReason};
use crate::system;

/// Writes what happened to the log.
pub(super) fn engine_event(event: &Event) {
    match event {
        Event::Ike(event) => ike_event(event),
        Event::ChildUp(up) => child_up(up),
        Event::ChildDown { id, peer, child, reason } => match reason {
            DownReason::Replaced | DownReason::Redundant => {
                info!(%peer, %child, %id, "Child SA removed: {reason}");
            }
            _ => warn!(%peer, %child, %id, "Child SA down: {reason}"),
        },
        Event::ChildUnusable { peer, child, reason } => {
            warn!(%peer, %child, "Child SA negotiated but unusable: {reason}");
        }
        Event::OuterTooBig { remote, outer_len } => {
            warn!(%remote, outer_len, "the interface does not carry packets of this size: looking at its MTU again");
        }
        Event::Degraded(Degraded::TrainsToPeer(remote)) => warn!(
            %remote,
            "the interface towards this peer does not cut UDP trains (no checksum offload?): \
             sending datagram by datagram, which is several times slower"
        ),
        Event::Degraded(Degraded::TcpToTun) => {
            warn!("the tunnel device refused a TCP super-packet: writing packet by packet from now on");
        }
        Event::Degraded(Degraded::UdpToTun) => {
            warn!("the tunnel device refused a UDP super-packet: writing UDP packet by packet from now on");
        }
        Event::TunGone => warn!("the tunnel device is gone: making it again"),
    }
}

fn child_up(up: &ChildUp) {
    let selectors =
        |set: &crate::policy::SelectorSet| set.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    info!(
        peer = %up.peer,
        child = %up.child,
        id = %up.id,
        spi_in = format_args!("{:08x}", up.inbound_spi),
        spi_out = format_args!("{:08x}", up.outbound_spi),
        suite = %up.suite,
        local = selectors(&up.local),
        remote = selectors(&up.remote),
        via = %up.peer_address,
        "Child SA {}",
        if up.replaces.is_some() { "rekeyed" } else { "up" },
    );
}

fn ike_event(event: &ike::Event) {
    match event {
        ike::Event::Connecting { peer, remote, attempt } => info!(%peer, %remote, attempt, "connecting"),
        ike::Event::IkeUp { ike, peer, identity, suite, initiator, remote, .. } => {
            info!(%peer, %ike, identity, suite, initiator, %remote, "IKE SA up");
        }
        ike::Event::IkeRekeyed { peer, old, new, .. } => info!(%peer, %old, %new, "IKE SA rekeyed"),
        ike::Event::IkeDown { ike, peer, reason } => match reason {
            DownReason::Replaced | DownReason::Redundant => info!(%peer, %ike, "IKE SA removed: {reason}"),
            _ => warn!(%peer, %ike, "IKE SA down: {reason}"),
        },
        ike::Event::PathChanged { ike, local, remote, .. } => {
            info!(%ike, ?local, %remote, "the peer is now reached another way");
        }
        ike::Event::PathMtu { peer, outer_mtu, .. } => info!(%peer, outer_mtu, "path MTU measured"),
        ike::Event::Refused { peer, remote, reason } => {
            let peer = peer.as_ref().map_or("-", |peer| peer.as_str());
            warn!(peer, %remote, "refused: {reason}");
        }
        ike::Event::Resolve { .. }
        | ike::Event::KeyLog(_)
        | ike::Event::ChildInstalled(_)
        | ike::Event::OutboundActivated { .. }
        | ike::Event::ChildRemoved { .. } => {}
    }
}

/// Writes what was changed in the system to the log.
pub(super) fn report(report: &system::Report) {
    routes("added", &report.added);
    routes("removed", &report.removed);
    for sysctl in &report.sysctls {
        info!("sysctl {sysctl}");
    }
    for other in &report.other {
        info!("{other}");
    }
}

/// Routes that are named one by one; thousands would only bury everything else.
const MOST_ROUTES: usize = 200;

fn routes(what: &str, routes: &[String]) {
    for route in routes.iter().take(MOST_ROUTES) {
        info!("route {what}: {route}");
    }
    let more = routes.len().saturating_sub(MOST_ROUTES);
    if more > 0 {
        info!("routes {what}: {more} more, see `ip route show proto {}`", system::ROUTE_PROTOCOL);
    }
}
