//! From rtnetlink's messages to this layer's values.

use std::net::IpAddr;

use ipnet::IpNet;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteType, RouteVia,
};

use super::{Address, Link, Lookup, Route, RouteKind};

pub(super) fn link(message: &LinkMessage) -> Link {
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        up: message.header.flags.contains(LinkFlags::Up),
        loopback: message.header.flags.contains(LinkFlags::Loopback),
        mtu: 0,
        kind: None,
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::LinkInfo(infos) => {
                link.kind = infos.iter().find_map(|info| match info {
                    LinkInfo::Kind(kind) => Some(kind.to_string()),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    link
}

pub(super) fn address(message: &AddressMessage) -> Option<Address> {
    let mut local = None;
    let mut remote = None;
    let mut flags = AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()));
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(address) => local = Some(*address),
            AddressAttribute::Address(address) => remote = Some(*address),
            AddressAttribute::Flags(all) => flags = *all,
            _ => {}
        }
    }
    let reachable = matches!(message.header.scope, AddressScope::Universe | AddressScope::Site);
    let unusable = AddressFlags::Tentative | AddressFlags::Dadfailed;
    let optimistic = flags.contains(AddressFlags::Optimistic);
    Some(Address {
        index: message.header.index,
        address: local.or(remote)?,
        prefix_len: message.header.prefix_len,
        usable: reachable && (!flags.intersects(unusable) || optimistic),
        temporary: flags.contains(AddressFlags::Deprecated)
            || (message.header.family == AddressFamily::Inet6 && flags.contains(AddressFlags::Secondary)),
    })
}

fn plain(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}

fn hop(attributes: &[RouteAttribute]) -> Option<IpAddr> {
    attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(address) => plain(address),
        RouteAttribute::Via(RouteVia::Inet(address)) => Some(IpAddr::V4(*address)),
        RouteAttribute::Via(RouteVia::Inet6(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    })
}

/// `None` for what is no IP unicast-table route: multicast families, cached clones.
pub(super) fn route(message: &RouteMessage) -> Option<Route> {
    let unspecified = match message.header.address_family {
        AddressFamily::Inet => IpAddr::from([0u8; 4]),
        AddressFamily::Inet6 => IpAddr::from([0u8; 16]),
        _ => return None,
    };
    let mut destination = unspecified;
    let mut found = Route {
        prefix: IpNet::from(unspecified),
        metric: 0,
        kind: match message.header.kind {
            RouteType::Unicast => RouteKind::Unicast,
            RouteType::Unreachable => RouteKind::Unreachable,
            other => RouteKind::Other(u8::from(other)),
        },
        table: u32::from(message.header.table),
        protocol: u8::from(message.header.protocol),
        oif: None,
        gateway: hop(&message.attributes),
        source: None,
        mtu: None,
        advmss: None,
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => destination = plain(address)?,
            RouteAttribute::Priority(metric) => found.metric = *metric,
            RouteAttribute::Table(table) => found.table = *table,
            RouteAttribute::Oif(index) => found.oif = Some(*index),
            RouteAttribute::PrefSource(address) => found.source = plain(address),
            RouteAttribute::Metrics(metrics) => {
                for metric in metrics {
                    match metric {
                        RouteMetric::Mtu(mtu) => found.mtu = Some(*mtu),
                        RouteMetric::Advmss(advmss) => found.advmss = Some(*advmss),
                        _ => {}
                    }
                }
            }
            RouteAttribute::MultiPath(hops) => {
                if let Some(first) = hops.first() {
                    found.oif = Some(first.interface_index);
                    found.gateway = hop(&first.attributes);
                }
            }
            _ => {}
        }
    }
    if found.kind != RouteKind::Unicast {
        found.oif = None;
    }
    found.prefix = IpNet::new(destination, message.header.destination_prefix_length).ok()?.trunc();
    Some(found)
}

/// `None` if the answer says that the destination cannot be reached.
pub(super) fn lookup(message: &RouteMessage) -> Option<Lookup> {
    if !matches!(message.header.kind, RouteType::Unicast | RouteType::Local) {
        return None;
    }
    let found = route(message)?;
    let oif = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    })?;
    Some(Lookup { oif, gateway: found.gateway, source: found.source, mtu: found.mtu.filter(|mtu| *mtu > 0) })
}
