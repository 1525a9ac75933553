//! From the desired state and what the kernel has to the routes to add and remove. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::netlink::{Address, MAIN_TABLE, Route, RouteKind};
use super::{
    BLOCK_METRIC, Desired, EXCEPTION_METRIC, Finding, ROUTE_PROTOCOL, Severity, TUNNEL_METRIC, TunnelRoute,
};

/// The protocol number of routes that the kernel makes for its own addresses.
const PROTOCOL_KERNEL: u8 = 2;

/// What a plan is made from.
pub(super) struct View<'a> {
    pub(super) desired: &'a Desired,
    /// The TUN's index; `None` while it does not exist.
    pub(super) tun: Option<u32>,
    /// All routes of the main table, ours too.
    pub(super) routes: &'a [Route],
    pub(super) addresses: &'a [Address],
}

/// Routes to change, in the order in which it is safe: every addition before any removal, blocks
/// first among the additions and last among the removals. A block inside of a wider tunnel route, which has a
/// block itself, is the other way round: nothing is to meet it without its tunnel route.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The whole set that should be there.
    pub(super) wanted: Vec<Route>,
    /// Additions; `true`: replaces one of ours.
    pub(super) add: Vec<(Route, bool)>,
    pub(super) remove: Vec<Route>,
    pub(super) findings: Vec<Finding>,
}

pub(super) fn plan(view: &View<'_>) -> Plan {
    let mut findings = Vec::new();
    let (ours, foreign): (Vec<&Route>, Vec<&Route>) =
        view.routes.iter().partition(|route| route.protocol == ROUTE_PROTOCOL);

    let mut blocks = Vec::new();
    let mut tunnels = Vec::new();
    let mut prefixes = BTreeSet::new();
    let pieces: BTreeMap<IpNet, &TunnelRoute> = view
        .desired
        .routes
        .iter()
        .flat_map(|route| {
            split(route.prefix.trunc(), &foreign, &mut findings).into_iter().map(move |piece| (piece, route))
        })
        .collect();
    for (prefix, route) in pieces {
        prefixes.insert(prefix);
        blocks.push(unreachable(prefix, BLOCK_METRIC));
        if let Some(tun) = view.tun {
            let underlay: Vec<u32> = foreign
                .iter()
                .filter(|route| route.prefix.prefix_len() == 0)
                .filter_map(|route| route.oif)
                .collect();
            tunnels.push(Route {
                prefix,
                metric: TUNNEL_METRIC,
                kind: RouteKind::Unicast,
                table: MAIN_TABLE,
                protocol: ROUTE_PROTOCOL,
                oif: Some(tun),
                gateway: None,
                source: source_hint(prefix, &route.local, tun, &underlay, view.addresses),
                mtu: route.mtu,
                advmss: route.advmss,
            });
        }
    }
    let exceptions = exceptions(view, &prefixes, &foreign, &mut findings);

    let wanted: Vec<Route> = blocks.into_iter().chain(exceptions).chain(tunnels).collect();
    let mut plan = Plan { findings, ..Plan::default() };
    let mut ours_at: BTreeMap<_, Vec<&Route>> = BTreeMap::new();
    for have in &ours {
        ours_at.entry(place(have)).or_default().push(have);
    }
    for route in &wanted {
        let there = ours_at.get(&place(route));
        if !there.is_some_and(|there| there.contains(&route)) {
            plan.add.push((route.clone(), there.is_some()));
        }
    }
    let places: BTreeSet<_> = wanted.iter().map(place).collect();
    plan.remove =
        ours.iter().filter(|have| !places.contains(&place(have))).map(|have| (*have).clone()).collect();
    plan.add.sort_by_cached_key(|(route, _)| is_block(route) && is_inside(route, ours.iter().copied()));
    plan.remove.sort_by_cached_key(|route| match is_block(route) {
        true if is_inside(route, wanted.iter()) => 0,
        false => 1,
        true => 2,
    });
    plan.wanted = wanted;
    plan
}

fn is_block(route: &Route) -> bool {
    route.kind == RouteKind::Unreachable
}

/// Whether packets to the route's prefix take a wider tunnel route of these where there is none of their own.
fn is_inside<'a>(route: &Route, mut routes: impl Iterator<Item = &'a Route>) -> bool {
    routes.any(|wide| {
        !is_block(wide)
            && wide.metric == TUNNEL_METRIC
            && wide.prefix != route.prefix
            && wide.prefix.contains(&route.prefix)
    })
}

fn place(route: &Route) -> (IpNet, u32) {
    (route.prefix, route.metric)
}

pub(super) fn unreachable(prefix: IpNet, metric: u32) -> Route {
    Route {
        prefix,
        metric,
        kind: RouteKind::Unreachable,
        table: MAIN_TABLE,
        protocol: ROUTE_PROTOCOL,
        oif: None,
        gateway: None,
        source: None,
        mtu: None,
        advmss: None,
    }
}

/// The prefix itself, or its halves where another route to the very same prefix would win.
fn split(prefix: IpNet, foreign: &[&Route], findings: &mut Vec<Finding>) -> Vec<IpNet> {
    let rival = foreign.iter().find(|route| route.prefix == prefix && route.metric <= BLOCK_METRIC);
    if let Some(rival) = rival.filter(|rival| rival.protocol == PROTOCOL_KERNEL) {
        findings.push(Finding {
            code: "route-connected",
            severity: Severity::Error,
            what: format!("{prefix} should go into the tunnel but is directly connected here"),
            where_: rival.oif.map_or_else(|| "main table".into(), |oif| format!("interface index {oif}")),
            remedy:
                "Traffic to it stays on the link. Remove the prefix from the tunnel's selectors or routes, \
                     or renumber one of the networks."
                    .into(),
        });
        return vec![prefix];
    }
    if prefix.prefix_len() > 0 && rival.is_none() {
        return vec![prefix];
    }
    if let Some(rival) = rival.filter(|_| prefix.prefix_len() > 0) {
        findings.push(Finding {
            code: "route-rival",
            severity: Severity::Warning,
            what: format!("another program has a route to {prefix} with metric {}", rival.metric),
            where_: format!("main routing table, protocol {}", rival.protocol),
            remedy:
                "The tunnel's route stands as its two halves, so that it wins. Remove the other route if it \
                     is not wanted."
                    .into(),
        });
    }
    let halves: Vec<IpNet> = match prefix {
        IpNet::V4(net) => net
            .subnets(net.prefix_len().saturating_add(1).min(32))
            .map(|subnets| subnets.map(|net: Ipv4Net| IpNet::V4(net)).collect())
            .unwrap_or_default(),
        IpNet::V6(net) => net
            .subnets(net.prefix_len().saturating_add(1).min(128))
            .map(|subnets| subnets.map(|net: Ipv6Net| IpNet::V6(net)).collect())
            .unwrap_or_default(),
    };
    if halves.is_empty() { vec![prefix] } else { halves }
}

/// An own address inside of the local selectors: from the narrowest selector, rather on the TUN,
/// rather not on the interface of the default route.
fn source_hint(
    prefix: IpNet,
    local: &[IpNet],
    tun: u32,
    underlay: &[u32],
    addresses: &[Address],
) -> Option<IpAddr> {
    addresses
        .iter()
        .filter(|own| own.usable && own.address.is_ipv4() == prefix.addr().is_ipv4())
        .filter_map(|own| {
            let width = local.iter().filter(|net| net.contains(&own.address)).map(IpNet::prefix_len).max()?;
            Some((own, width))
        })
        .min_by_key(|(own, width)| {
            (
                std::cmp::Reverse(*width),
                own.index != tun,
                underlay.contains(&own.index),
                own.temporary,
                own.index,
                own.address,
            )
        })
        .map(|(own, _)| own.address)
}

/// One host route for each peer that a tunnel prefix would swallow: by the way packets would take
/// if there were no tunnel, or unreachable while there is none, but never into the tunnel.
fn exceptions(
    view: &View<'_>,
    prefixes: &BTreeSet<IpNet>,
    foreign: &[&Route],
    findings: &mut Vec<Finding>,
) -> Vec<Route> {
    let peers: BTreeSet<IpAddr> = view.desired.peers.iter().copied().collect();
    let lengths: BTreeSet<u8> = prefixes.iter().map(IpNet::prefix_len).collect();
    let mut out = Vec::new();
    for peer in peers {
        if view.addresses.iter().any(|own| own.address == peer) {
            continue;
        }
        let covers = |len: &&u8| IpNet::new(peer, **len).is_ok_and(|net| prefixes.contains(&net.trunc()));
        let Some(covered) = lengths.iter().rev().find(covers).copied() else { continue };
        let best = foreign
            .iter()
            .filter(|route| route.prefix.contains(&peer) && route.oif.is_none_or(|oif| Some(oif) != view.tun))
            .min_by_key(|route| (std::cmp::Reverse(route.prefix.prefix_len()), route.metric));
        if best.is_some_and(|route| route.prefix.prefix_len() > covered) {
            continue;
        }
        let host = IpNet::from(peer);
        match best.filter(|route| route.kind == RouteKind::Unicast && route.oif.is_some()) {
            Some(way) => out.push(Route {
                prefix: host,
                metric: EXCEPTION_METRIC,
                kind: RouteKind::Unicast,
                table: MAIN_TABLE,
                protocol: ROUTE_PROTOCOL,
                oif: way.oif,
                gateway: way.gateway,
                source: way.source,
                mtu: way.mtu,
                advmss: None,
            }),
            None => {
                findings.push(Finding {
                    code: "no-underlay",
                    severity: Severity::Error,
                    what: format!("no route leads to the peer {peer} outside of the tunnel"),
                    where_: "main routing table".into(),
                    remedy:
                        "Until there is one, packets to the peer are refused so that they do not loop into \
                             the tunnel. Check the uplink and its default route."
                            .into(),
                });
                out.push(unreachable(host, EXCEPTION_METRIC));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests;
