//! Selectors as the networks that most products know: prefixes, one of each end in a Child SA.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

use crate::peer_config::{Child, RenderError, Target, View};
use crate::policy::{SelectorSet, TrafficSelector};

/// The networks at both ends of a Child SA, of one address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pair {
    /// Behind the other end.
    pub(super) local: IpNet,
    /// Behind us.
    pub(super) remote: IpNet,
}

impl Pair {
    /// Whether it is every address at both ends.
    pub(super) fn is_any(&self) -> bool {
        is_any(&self.local) && is_any(&self.remote)
    }

    pub(super) fn is_ipv4(&self) -> bool {
        matches!(self.local, IpNet::V4(_))
    }
}

/// Whether it is every address.
pub(super) fn is_any(network: &IpNet) -> bool {
    network.prefix_len() == 0
}

/// A prefix as FortiOS and IOS write it: address and mask.
pub(super) fn with_mask(network: &Ipv4Net) -> String {
    format!("{} {}", network.network(), network.netmask())
}

/// A prefix as access lists of IOS write it: address and the mask's complement.
pub(super) fn with_wildcard(network: &Ipv4Net) -> String {
    match network.prefix_len() {
        0 => "any".to_owned(),
        32 => format!("host {}", network.addr()),
        _ => format!("{} {}", network.network(), network.hostmask()),
    }
}

/// The prefixes joined by a comma.
pub(super) fn comma(networks: &[IpNet]) -> String {
    networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// A selector as a prefix, where it is one and leaves protocol and ports open.
fn prefix(target: Target, child: &str, selector: &TrafficSelector) -> Result<IpNet, RenderError> {
    if selector.protocol() != 0 || !selector.ports().is_any() {
        return Err(RenderError::Unsupported {
            target,
            what: format!("be told to carry only {selector} in child `{child}`"),
            instead: "leave protocol and ports out of the selectors, and filter in a firewall".to_owned(),
        });
    }
    match selector.to_prefixes().as_slice() {
        [one] => Ok(*one),
        _ => Err(RenderError::Unsupported {
            target,
            what: format!("be told of the range {selector} in child `{child}`"),
            instead: "write prefixes".to_owned(),
        }),
    }
}

/// The selectors as prefixes, where each is one and leaves protocol and ports open.
pub(super) fn prefixes(target: Target, child: &str, set: &SelectorSet) -> Result<Vec<IpNet>, RenderError> {
    set.iter().map(|selector| prefix(target, child, selector)).collect()
}

/// The one pair of networks of each child, for products that make a Child SA for each pair.
pub(super) fn pairs(target: Target, view: &View) -> Result<Vec<(&Child, Pair)>, RenderError> {
    let as_prefixes = |(child, local, remote): (&'_ Child, TrafficSelector, TrafficSelector)| {
        let local = prefix(target, &child.name, &local)?;
        Ok(Pair { local, remote: prefix(target, &child.name, &remote)? })
    };
    let pairs = view.one_pair_each(target)?;
    pairs.into_iter().map(|pair| as_prefixes(pair).map(|made| (pair.0, made))).collect()
}

/// What to write where a tunnel is one Child SA for one pair of networks.
pub(super) const EVERY_ADDRESS: &str = "write one child: local = [\"0.0.0.0/0\"], remote = [\"0.0.0.0/0\"], and in \
                                        `routes` the networks behind the other end";

/// What to write where a tunnel is one Child SA for any number of networks.
pub(super) const ALL_IN_ONE: &str = "write the networks of all into one child";

/// The only child, for products with one Child SA in a tunnel.
pub(super) fn only_child<'a>(
    target: Target,
    view: &'a View,
    instead: &'static str,
) -> Result<&'a Child, RenderError> {
    match view.children.as_slice() {
        [child] => Ok(child),
        several => Err(RenderError::Unsupported {
            target,
            what: format!("carry the {} children of `{}` in one tunnel", several.len(), view.peer),
            instead: instead.to_owned(),
        }),
    }
}

/// The only pair of networks, for products with one Child SA for one pair in a tunnel.
pub(super) fn only_pair(target: Target, view: &View) -> Result<Pair, RenderError> {
    let child = only_child(target, view, EVERY_ADDRESS)?;
    match child.pairs().as_slice() {
        [(local, remote)] => Ok(Pair {
            local: prefix(target, &child.name, local)?,
            remote: prefix(target, &child.name, remote)?,
        }),
        _ => Err(RenderError::Unsupported {
            target,
            what: format!("carry the several networks of child `{}`", child.name),
            instead: EVERY_ADDRESS.to_owned(),
        }),
    }
}

/// IPv4 prefixes, for products that have nothing else.
pub(super) fn ipv4_only(target: Target, networks: &[IpNet]) -> Result<Vec<Ipv4Net>, RenderError> {
    networks
        .iter()
        .map(|network| match network {
            IpNet::V4(v4) => Ok(*v4),
            IpNet::V6(v6) => Err(RenderError::Unsupported {
                target,
                what: format!("carry {v6}"),
                instead: "leave IPv6 networks out of this peer's children".to_owned(),
            }),
        })
        .collect()
}

/// An address as a prefix that holds nothing else.
pub(super) fn host(address: IpAddr) -> IpNet {
    IpNet::from(address)
}
