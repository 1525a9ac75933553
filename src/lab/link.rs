//! Links, addresses and routes of a [`Namespace`], by netlink.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::{
    Handle, LinkUnspec, LinkVeth, RouteMessageBuilder,
    packet_route::{address::AddressHeaderFlags, route::RouteMessage, rule::RuleAction},
};

use super::{
    LabError,
    namespace::{Namespace, system_program},
};

/// One end of a wire: a link's name and its addresses.
#[derive(Debug, Clone, Copy)]
pub struct End<'a> {
    /// Where it is.
    pub namespace: &'a Namespace,
    /// The link's name there.
    pub link: &'a str,
    /// Addresses with their prefix lengths, such as `10.0.0.1/24`.
    pub addresses: &'a [&'a str],
}

/// Joins two namespaces by a virtual Ethernet pair and brings both ends up.
///
/// # Errors
/// A name is taken or an address is not one.
pub fn wire(near: End<'_>, far: End<'_>) -> Result<(), LabError> {
    let what = format!("join {} and {}", near.namespace.name(), far.namespace.name());
    let (near_name, target) = (near.link.to_owned(), far.namespace.fd());
    // The peer gets its final name on the other side, where it cannot clash.
    let passing = format!("{}x", near.link);
    near.namespace.netlink(async |handle| {
        let pair = LinkVeth::new(&near_name, &passing).build();
        handle.link().add(pair).execute().await.map_err(LabError::netlink(&what))?;
        let moved = LinkUnspec::new_with_name(&passing).setns_by_fd(target).build();
        handle.link().set(moved).execute().await.map_err(LabError::netlink(&what))
    })?;
    let far_name = far.link.to_owned();
    far.namespace.netlink(async |handle| {
        let index = link_index(&handle, &passing).await?;
        let renamed = LinkUnspec::new_with_index(index).name(far_name).build();
        handle.link().set(renamed).execute().await.map_err(LabError::netlink(&what))
    })?;
    for end in [near, far] {
        end.namespace.set_up(end.link)?;
        for address in end.addresses {
            end.namespace.add_address(end.link, address)?;
        }
    }
    Ok(())
}

impl Namespace {
    /// Brings a link up.
    ///
    /// # Errors
    /// There is no such link.
    pub fn set_up(&self, link: &str) -> Result<(), LabError> {
        self.change_link(link, |message| message.up())
    }

    /// Takes a link down; its routes go with it.
    ///
    /// # Errors
    /// There is no such link.
    pub fn set_down(&self, link: &str) -> Result<(), LabError> {
        self.change_link(link, |message| message.down())
    }

    /// Sets a link's MTU, in octets.
    ///
    /// # Errors
    /// There is no such link, or it cannot have this MTU.
    pub fn set_mtu(&self, link: &str, mtu: u32) -> Result<(), LabError> {
        self.change_link(link, |message| message.mtu(mtu))
    }

    /// Sets how many packets a link may queue.
    ///
    /// # Errors
    /// There is no such link.
    pub fn set_queue_length(&self, link: &str, packets: u32) -> Result<(), LabError> {
        self.change_link(link, |message| message.txqueuelen(packets))
    }

    /// Deletes a link.
    ///
    /// # Errors
    /// There is no such link.
    pub fn delete_link(&self, link: &str) -> Result<(), LabError> {
        let step = format!("delete link {link} in {}", self.name());
        self.netlink(async |handle| {
            let index = link_index(&handle, link).await?;
            handle.link().del(index).execute().await.map_err(LabError::netlink(step))
        })
    }

    /// Turns features of a link's driver on or off, such as `tso` or `tx-udp-segmentation`, by `ethtool`.
    ///
    /// # Errors
    /// `ethtool` is not installed or refuses.
    pub fn set_features(&self, link: &str, features: &[&str], on: bool) -> Result<(), LabError> {
        let mut command = system_program("ethtool");
        command.args(["-K", link]);
        for feature in features {
            command.args([*feature, if on { "on" } else { "off" }]);
        }
        self.output(command, "").map(drop)
    }

    /// Sends what comes in by some links out by `link`, without a router: for whoever has to see all of it.
    /// What comes in by `link` takes the usual routes. IPv4 only.
    ///
    /// # Errors
    /// There is no such link, or it is down.
    pub fn divert(&self, from: &[&str], link: &str) -> Result<(), LabError> {
        const TABLE: u32 = 100;
        let step = format!("divert what {} forwards to {link}", self.name());
        self.netlink(async |handle| {
            let index = link_index(&handle, link).await?;
            let route =
                RouteMessageBuilder::<Ipv4Addr>::new().output_interface(index).table_id(TABLE).build();
            handle.route().add(route).execute().await.map_err(LabError::netlink(&step))?;
            for from in from {
                let rule = handle.rule().add().v4().input_interface(*from).table_id(TABLE).priority(TABLE);
                let rule = rule.action(RuleAction::ToTable);
                rule.execute().await.map_err(LabError::netlink(&step))?;
            }
            Ok(())
        })
    }

    fn change_link(
        &self,
        link: &str,
        change: impl FnOnce(
            rtnetlink::LinkMessageBuilder<LinkUnspec>,
        ) -> rtnetlink::LinkMessageBuilder<LinkUnspec>
        + Send,
    ) -> Result<(), LabError> {
        let message = change(LinkUnspec::new_with_name(link)).build();
        let step = format!("change link {link} in {}", self.name());
        self.netlink(async |handle| {
            handle.link().set(message).execute().await.map_err(LabError::netlink(step))
        })
    }

    /// Adds an address with its prefix length to a link.
    ///
    /// # Errors
    /// It is not an address, is there already, or there is no such link.
    pub fn add_address(&self, link: &str, address: &str) -> Result<(), LabError> {
        let net = parse_net(address)?;
        let step = format!("add {address} to {link} in {}", self.name());
        self.netlink(async |handle| {
            let index = link_index(&handle, link).await?;
            let mut request = handle.address().add(index, net.addr(), net.prefix_len());
            if net.addr().is_ipv6() {
                // Where duplicates are not looked for, the kernel still finds out later, and meanwhile refuses its use.
                request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
            }
            request.execute().await.map_err(LabError::netlink(step))
        })
    }

    /// Takes an address off a link; routes through it go with it.
    ///
    /// # Errors
    /// It is not there.
    pub fn remove_address(&self, link: &str, address: &str) -> Result<(), LabError> {
        let net = parse_net(address)?;
        let step = format!("remove {address} from {link} in {}", self.name());
        self.netlink(async |handle| {
            let index = link_index(&handle, link).await?;
            let found = handle.address().get().set_link_index_filter(index).set_address_filter(net.addr());
            let message = found.execute().try_next().await.map_err(LabError::netlink(&step))?;
            let message = message.ok_or_else(|| LabError::check(format!("{step}: it is not there")))?;
            handle.address().del(message).execute().await.map_err(LabError::netlink(step))
        })
    }

    /// Adds or replaces a route to `to` (a prefix, or `default` and `default6`) through a router.
    ///
    /// # Errors
    /// The router is not reachable on any link.
    pub fn route(&self, to: &str, via: &str) -> Result<(), LabError> {
        let message = route_message(to, Some(via))?;
        let step = format!("route {to} via {via} in {}", self.name());
        self.netlink(async |handle| {
            handle.route().add(message).replace().execute().await.map_err(LabError::netlink(step))
        })
    }

    /// Adds a route to a prefix that leaves by a link without a router.
    ///
    /// # Errors
    /// `to` is no prefix, there is no such link, or it is down.
    pub fn route_by_link(&self, to: &str, link: &str) -> Result<(), LabError> {
        let net = parse_net(to)?;
        let step = format!("route {to} by {link} in {}", self.name());
        self.netlink(async |handle| {
            let index = link_index(&handle, link).await?;
            let message = match net {
                IpNet::V4(net) => RouteMessageBuilder::<Ipv4Addr>::new()
                    .destination_prefix(net.network(), net.prefix_len())
                    .output_interface(index)
                    .build(),
                IpNet::V6(net) => RouteMessageBuilder::<Ipv6Addr>::new()
                    .destination_prefix(net.network(), net.prefix_len())
                    .output_interface(index)
                    .build(),
            };
            handle.route().add(message).execute().await.map_err(LabError::netlink(step))
        })
    }

    /// Removes the route to `to` that goes through a router.
    ///
    /// # Errors
    /// There is none.
    pub fn remove_route(&self, to: &str, via: &str) -> Result<(), LabError> {
        let message = route_message(to, Some(via))?;
        let step = format!("remove the route {to} via {via} in {}", self.name());
        self.netlink(async |handle| {
            handle.route().del(message).execute().await.map_err(LabError::netlink(step))
        })
    }

    /// Removes the route to `to` that leaves by `link`, as somebody else on the machine might. Returns
    /// whether there was one.
    ///
    /// # Errors
    /// `to` is no prefix, there is no such link, or netlink fails otherwise.
    pub fn remove_device_route(&self, to: &str, link: &str) -> Result<bool, LabError> {
        let message = self.device_route(to, link)?;
        let Some(message) = message else { return Ok(false) };
        let step = format!("remove the route {to} in {}", self.name());
        self.netlink(async |handle| {
            handle.route().del(message).execute().await.map_err(LabError::netlink(step))
        })?;
        Ok(true)
    }

    /// Whether there is a route to exactly `to` that leaves by `link`.
    ///
    /// # Errors
    /// `to` is no prefix, there is no such link, or netlink fails otherwise.
    pub fn has_device_route(&self, to: &str, link: &str) -> Result<bool, LabError> {
        self.device_route(to, link).map(|route| route.is_some())
    }

    fn device_route(&self, to: &str, link: &str) -> Result<Option<RouteMessage>, LabError> {
        use rtnetlink::packet_route::route::RouteAttribute;
        let net = parse_net(to)?;
        let family = match net {
            IpNet::V4(_) => RouteMessageBuilder::<Ipv4Addr>::new().build(),
            IpNet::V6(_) => RouteMessageBuilder::<Ipv6Addr>::new().build(),
        };
        self.netlink(async |handle| {
            let index = link_index(&handle, link).await?;
            let routes = handle.route().get(family).execute();
            let mut routes = std::pin::pin!(routes);
            while let Some(route) = routes.try_next().await.map_err(LabError::netlink("list routes"))? {
                let there = route.attributes.iter().any(|attribute| match attribute {
                    RouteAttribute::Destination(address) => route_address(address) == Some(net.network()),
                    _ => false,
                });
                let leaves = route.attributes.contains(&RouteAttribute::Oif(index));
                if there && leaves && route.header.destination_prefix_length == net.prefix_len() {
                    return Ok(Some(route));
                }
            }
            Ok(None)
        })
    }
}

/// The interface index of a link.
///
/// # Errors
/// There is no such link.
pub(super) async fn link_index(handle: &Handle, link: &str) -> Result<u32, LabError> {
    let step = || format!("find link {link}");
    let found = handle.link().get().match_name(link.to_owned()).execute().try_next().await;
    let message = found.map_err(LabError::netlink(step()))?;
    message.map(|message| message.header.index).ok_or_else(|| LabError::check(format!("{}: none", step())))
}

pub(super) fn route_address(address: &rtnetlink::packet_route::route::RouteAddress) -> Option<IpAddr> {
    use rtnetlink::packet_route::route::RouteAddress;
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}

pub(super) fn parse_net(text: &str) -> Result<IpNet, LabError> {
    let text = match text {
        "default" => "0.0.0.0/0",
        "default6" => "::/0",
        other => other,
    };
    text.parse().map_err(|_| LabError::check(format!("not an address with a prefix length: {text}")))
}

fn route_message(to: &str, via: Option<&str>) -> Result<RouteMessage, LabError> {
    let net = parse_net(to)?;
    let via: Option<IpAddr> = via
        .map(|via| via.parse().map_err(|_| LabError::check(format!("not an address: {via}"))))
        .transpose()?;
    match (net, via) {
        (IpNet::V4(net), Some(IpAddr::V4(via))) => Ok(RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(net.network(), net.prefix_len())
            .gateway(via)
            .build()),
        (IpNet::V6(net), Some(IpAddr::V6(via))) => Ok(RouteMessageBuilder::<Ipv6Addr>::new()
            .destination_prefix(net.network(), net.prefix_len())
            .gateway(via)
            .build()),
        _ => Err(LabError::check(format!("a route to {to} needs a router of the same family"))),
    }
}
