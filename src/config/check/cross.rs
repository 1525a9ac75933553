//! Contradictions between peers and children: overlapping selectors, one identity for two peers, routes that
//! would swallow a peer's own address.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;

use super::Context;
use crate::config::source::At;
use crate::config::types::Peer;
use crate::ike::config::RemoteAddress;
use crate::policy::SelectorSet;

pub(super) fn check(peers: &[Peer], context: &mut Context<'_>) {
    overlaps(peers, context);
    identities(peers, context);
    swallowed(peers, context);
}

fn at_peer(peer: &Peer) -> At {
    At::root().key("peers").key(peer.ike.name.as_str())
}

fn place(context: &Context<'_>, at: &At) -> String {
    let found = context.layers.locate(at).and_then(|place| {
        let source = context.layers.0.get(place.source)?;
        let line = source.text.get(..place.span.start)?.matches('\n').count() + 1;
        Some(format!(" ({}:{line})", source.name))
    });
    found.unwrap_or_default()
}

/// The lowest and the highest address of a set: two sets whose spans lie apart have nothing in common.
fn span(set: &SelectorSet) -> (u128, u128) {
    let bits = |address| match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    };
    let empty = (u128::MAX, 0);
    set.iter().fold(empty, |(low, high), one| (low.min(bits(one.start())), high.max(bits(one.end()))))
}

fn overlaps(peers: &[Peer], context: &mut Context<'_>) {
    let children: Vec<_> =
        peers.iter().flat_map(|peer| peer.ike.children.iter().map(move |child| (peer, child))).collect();
    let spans: Vec<_> = children.iter().map(|(_, child)| span(&child.remote)).collect();
    for (index, ((peer, child), (low, high))) in children.iter().zip(&spans).enumerate() {
        for ((other_peer, other), (other_low, other_high)) in children.iter().zip(&spans).take(index) {
            // First what tells most of thousands of children apart, and costs least.
            if other_low > high || low > other_high || !child.remote.overlaps(&other.remote) {
                continue;
            }
            let local = child.local.intersect(&other.local);
            if local.is_empty() {
                continue;
            }
            let at = at_peer(peer).key("children").key(child.name.as_str()).key("remote");
            let clash = child.remote.iter().enumerate().find_map(|(position, selector)| {
                let common = SelectorSet::new([*selector]).intersect(&other.remote);
                let usable = common.iter().find(|remote| {
                    local.iter().any(|local| {
                        local.is_ipv4() == remote.is_ipv4()
                            && (local.protocol() == 0
                                || remote.protocol() == 0
                                || local.protocol() == remote.protocol())
                    })
                })?;
                Some((position, *usable))
            });
            if let Some((position, common)) = clash {
                let other_at = at_peer(other_peer).key("children").key(other.name.as_str());
                let message = format!(
                    "packets to {common} would belong to `{}.{}` and to `{}.{}`{} alike",
                    peer.ike.name,
                    child.name,
                    other_peer.ike.name,
                    other.name,
                    place(context, &other_at.key("remote")),
                );
                let hint = "give each a part of its own, by `local` or `remote`".to_owned();
                context.error(&at.index(position), "overlap", message, hint);
            }
        }
    }
}

fn identities(peers: &[Peer], context: &mut Context<'_>) {
    // Thousands of numbers are compared with each other sooner than the identities themselves.
    let hash = |peer: &Peer| {
        let mut hasher = DefaultHasher::new();
        format!("{:?} {:?}", peer.ike.remote_id, peer.ike.local_id).hash(&mut hasher);
        hasher.finish()
    };
    let hashes: Vec<u64> = peers.iter().map(hash).collect();
    for (index, (peer, hash)) in peers.iter().zip(&hashes).enumerate() {
        let alike = peers.iter().zip(&hashes).take(index).filter(|(_, other)| *other == hash);
        let twin = alike.map(|(other, _)| other).find(|other| {
            let apart = match (&peer.ike.remote, &other.ike.remote) {
                (RemoteAddress::Any, _) | (_, RemoteAddress::Any) => false,
                (one, other) => one != other,
            };
            !apart && peer.ike.remote_id == other.ike.remote_id && peer.ike.local_id == other.ike.local_id
        });
        if let Some(other) = twin {
            let at = at_peer(peer);
            let message = format!(
                "`{}` and `{}` have the same identities: who connects cannot be told apart",
                peer.ike.name, other.ike.name
            );
            context.error(
                &at.key("remote_id"),
                "same-identity",
                message,
                "give them different `remote_id`s".to_owned(),
            );
        }
    }
}

fn swallowed(peers: &[Peer], context: &mut Context<'_>) {
    for peer in peers {
        for routes in &peer.routes {
            let child_at = at_peer(peer).key("children").key(routes.child.as_str());
            for prefix in routes.prefixes.iter().filter(|prefix| prefix.prefix_len() > 0) {
                for target in peers {
                    let RemoteAddress::Addresses(addresses) = &target.ike.remote else {
                        continue;
                    };
                    let Some(address) = addresses.iter().find(|address| prefix.contains(*address)) else {
                        continue;
                    };
                    let at = element(&child_at, peer, routes, *address);
                    let message = format!(
                        "the route {prefix} into the tunnel would swallow {address}, where the peer `{}` itself is",
                        target.ike.name
                    );
                    let hint = "list prefixes without that address in `routes`; only a default route (0.0.0.0/0 or ::/0) may include it".to_owned();
                    context.error(&at, "swallows-peer", message, hint);
                }
            }
        }
    }
}

/// The list element that makes the route.
fn element(child_at: &At, peer: &Peer, routes: &crate::config::types::ChildRoutes, address: IpAddr) -> At {
    if routes.explicit {
        return child_at.key("routes");
    }
    let at = child_at.key("remote");
    let child = peer.ike.children.iter().find(|child| child.name == routes.child);
    let position =
        child.and_then(|child| child.remote.iter().position(|selector| selector.contains_address(address)));
    at.maybe_index(position)
}
