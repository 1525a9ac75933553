//! More than one routing table: rules, routes in a table, bridges and proxies for neighbours, by netlink.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::{
    LinkBridge, LinkUnspec, RouteMessageBuilder,
    packet_route::{
        neighbour::NeighbourFlags,
        route::{RouteAttribute, RouteMessage, RouteMetric, RouteScope, RouteType},
        rule::RuleAction,
    },
};

use super::{
    LabError,
    link::{link_index, parse_net},
    namespace::Namespace,
};

/// The table that is asked where no rule says otherwise.
pub const MAIN: u32 = 254;

/// Where a route leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hop<'a> {
    /// To a router.
    Via(&'a str),
    /// To a router that is on this link.
    ViaOn(&'a str, &'a str),
    /// To whoever owns the address, on this link.
    Link(&'a str),
    /// Nowhere, in silence.
    Nowhere,
}

/// Which packets a rule is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chosen<'a> {
    /// Those that came in by this link, of both families.
    CameBy(&'a str),
    /// Those from this prefix.
    From(&'a str),
    /// Those to this prefix.
    To(&'a str),
}

impl Namespace {
    /// Adds or replaces a route to `to` (a prefix, or `default` and `default6`) in a table.
    ///
    /// # Errors
    /// `to` is no prefix, or where it leads to is not there.
    pub fn route_in(&self, table: u32, to: &str, hop: Hop<'_>) -> Result<(), LabError> {
        let net = parse_net(to)?;
        let step = format!("route {to} in table {table} of {}", self.name());
        let bad = || LabError::check(format!("{step}: {hop:?} is of another family"));
        self.netlink(async |handle| {
            let mut route = RouteMessageBuilder::<IpAddr>::new()
                .destination_prefix(net.network(), net.prefix_len())
                .map_err(|_| bad())?
                .table_id(table);
            if let Hop::Via(via) | Hop::ViaOn(via, _) = hop {
                let via: IpAddr = via.parse().map_err(|_| bad())?;
                route = route.gateway(via).map_err(|_| bad())?;
            }
            if let Hop::Link(link) | Hop::ViaOn(_, link) = hop {
                route = route.output_interface(link_index(&handle, link).await?);
            }
            let route = match hop {
                Hop::Link(_) => route.scope(RouteScope::Link),
                Hop::Nowhere => route.kind(RouteType::BlackHole),
                Hop::Via(_) | Hop::ViaOn(..) => route,
            };
            handle.route().add(route.build()).replace().execute().await.map_err(LabError::netlink(&step))
        })
    }

    /// Lets only packets up to `mtu` octets pass by the route to `to` that leaves by a link; whoever forwards a larger
    /// one that may not be fragmented tells its sender.
    ///
    /// # Errors
    /// `to` is no prefix, or there is no such link.
    pub fn narrow(&self, to: &str, link: &str, mtu: u32) -> Result<(), LabError> {
        /// The first metric is the MTU; locked, it holds for forwarding, too.
        const LOCKED: u32 = 1 << 2;
        let net = parse_net(to)?;
        let step = format!("narrow the route {to} of {}", self.name());
        self.netlink(async |handle| {
            let mut route = RouteMessageBuilder::<IpAddr>::new()
                .destination_prefix(net.network(), net.prefix_len())
                .map_err(|_| LabError::check(&step))?
                .output_interface(link_index(&handle, link).await?)
                .table_id(MAIN);
            if net.addr().is_ipv4() {
                route = route.scope(RouteScope::Link);
            }
            let mut message = route.build();
            let metrics = vec![RouteMetric::Lock(LOCKED), RouteMetric::Mtu(mtu)];
            message.attributes.push(RouteAttribute::Metrics(metrics));
            handle.route().add(message).replace().execute().await.map_err(LabError::netlink(&step))
        })
    }

    /// Empties a table, both families.
    ///
    /// # Errors
    /// Netlink fails.
    pub fn clear_table(&self, table: u32) -> Result<(), LabError> {
        let step = format!("empty table {table} of {}", self.name());
        let families =
            [RouteMessageBuilder::<Ipv4Addr>::new().build(), RouteMessageBuilder::<Ipv6Addr>::new().build()];
        self.netlink(async |handle| {
            for family in families {
                let routes = handle.route().get(family).execute();
                let routes: Vec<RouteMessage> =
                    routes.try_collect().await.map_err(LabError::netlink(&step))?;
                for route in routes.into_iter().filter(|route| is_in(route, table)) {
                    handle.route().del(route).execute().await.map_err(LabError::netlink(&step))?;
                }
            }
            Ok(())
        })
    }

    /// Sends chosen packets to a table; rules are asked in the order of their priority.
    ///
    /// # Errors
    /// There is such a rule already, or a prefix is none.
    pub fn rule(&self, priority: u32, chosen: Chosen<'_>, table: u32) -> Result<(), LabError> {
        let step = format!("send packets {chosen:?} to table {table} in {}", self.name());
        let net = match chosen {
            Chosen::CameBy(_) => None,
            Chosen::From(net) | Chosen::To(net) => Some(parse_net(net)?),
        };
        self.netlink(async |handle| {
            let new = || handle.rule().add().table_id(table).priority(priority).action(RuleAction::ToTable);
            let from = matches!(chosen, Chosen::From(_));
            let added = match (chosen, net) {
                (Chosen::CameBy(link), _) => match new().v4().input_interface(link).execute().await {
                    Ok(()) => new().v6().input_interface(link).execute().await,
                    failed => failed,
                },
                (_, Some(IpNet::V4(net))) => {
                    let (address, length) = (net.network(), net.prefix_len());
                    let rule = new().v4();
                    let rule = if from {
                        rule.source_prefix(address, length)
                    } else {
                        rule.destination_prefix(address, length)
                    };
                    rule.execute().await
                }
                (_, Some(IpNet::V6(net))) => {
                    let (address, length) = (net.network(), net.prefix_len());
                    let rule = new().v6();
                    let rule = if from {
                        rule.source_prefix(address, length)
                    } else {
                        rule.destination_prefix(address, length)
                    };
                    rule.execute().await
                }
                (_, None) => Ok(()),
            };
            added.map_err(LabError::netlink(&step))
        })
    }

    /// Makes a bridge with addresses of its own and brings it up.
    ///
    /// # Errors
    /// The name is taken, or an address is none.
    pub fn bridge(&self, link: &str, addresses: &[&str]) -> Result<(), LabError> {
        let step = format!("make bridge {link} in {}", self.name());
        self.netlink(async |handle| {
            let bridge = LinkBridge::new(link).build();
            handle.link().add(bridge).execute().await.map_err(LabError::netlink(step))
        })?;
        self.set_up(link)?;
        addresses.iter().try_for_each(|address| self.add_address(link, address))
    }

    /// Puts a link into a bridge.
    ///
    /// # Errors
    /// There is no such link or bridge.
    pub fn join_bridge(&self, link: &str, bridge: &str) -> Result<(), LabError> {
        let step = format!("put {link} into bridge {bridge} in {}", self.name());
        self.netlink(async |handle| {
            let index = link_index(&handle, bridge).await?;
            let message = LinkUnspec::new_with_name(link).controller(index).build();
            handle.link().set(message).execute().await.map_err(LabError::netlink(step))
        })
    }

    /// Answers on a link for an IPv6 address that is somewhere behind.
    ///
    /// # Errors
    /// There is no such link.
    pub fn stand_in(&self, link: &str, address: IpAddr) -> Result<(), LabError> {
        let step = format!("stand in for {address} on {link} of {}", self.name());
        self.netlink(async |handle| {
            let index = link_index(&handle, link).await?;
            let request = handle.neighbours().add(index, address).flags(NeighbourFlags::Proxy);
            request.execute().await.map_err(LabError::netlink(step))
        })
    }
}

fn is_in(route: &RouteMessage, table: u32) -> bool {
    route.attributes.contains(&RouteAttribute::Table(table)) || u32::from(route.header.table) == table
}
