//! Everything about a namespace that a daemon could leave behind, as sorted lines of text.
//!
//! Only what stays the same while nobody changes it is listed: no counters, ages or caches.

use std::{collections::BTreeSet, fs, path::Path};

use futures_util::TryStreamExt;
use rtnetlink::{
    IpVersion, RouteMessageBuilder,
    packet_route::{address::AddressAttribute, link::LinkAttribute, link::LinkFlags, route::RouteAttribute},
};

use super::{LabError, link::route_address, namespace::Namespace};

/// Sysctls that change by themselves.
const VOLATILE: [&str; 3] =
    ["net/netfilter/nf_conntrack_count", "net/ipv4/route/flush", "net/ipv6/route/flush"];

/// The state of a namespace at one moment: one line a link, address, route, rule, line of the
/// nftables rule set, and sysctl.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dump {
    lines: BTreeSet<String>,
}

impl Dump {
    /// Takes a dump of links, addresses, routes of every table, rules, nftables and sysctls.
    ///
    /// # Errors
    /// Netlink, `nft` or `/proc` fail.
    pub fn take(namespace: &Namespace) -> Result<Self, LabError> {
        let mut lines = namespace.netlink(async |handle| {
            let mut lines = BTreeSet::new();
            let names = links(&handle, &mut lines).await?;
            addresses(&handle, &names, &mut lines).await?;
            routes(&handle, &names, &mut lines).await?;
            rules(&handle, &mut lines).await?;
            Ok(lines)
        })?;
        let rules = namespace.nft_list()?;
        // Equal lines of different tables are kept apart by their number.
        lines.extend(rules.lines().enumerate().map(|(number, line)| format!("nftables {number:04} {line}")));
        namespace.run(|| {
            sysctls(Path::new("/proc/sys/net"), &mut lines);
            Ok(())
        })?;
        Ok(Self { lines })
    }

    /// How many lines there are.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether nothing was found at all.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// What `later` has and this has not (`+`), and the other way round (`-`); empty if both are equal.
    pub fn difference(&self, later: &Self) -> Vec<String> {
        let gone = self.lines.difference(&later.lines).map(|line| format!("- {line}"));
        let new = later.lines.difference(&self.lines).map(|line| format!("+ {line}"));
        gone.chain(new).collect()
    }

    /// The lines that contain `part`.
    pub fn matching<'a>(&'a self, part: &'a str) -> impl Iterator<Item = &'a str> {
        self.lines.iter().map(String::as_str).filter(move |line| line.contains(part))
    }
}

type Names = std::collections::BTreeMap<u32, String>;

async fn links(handle: &rtnetlink::Handle, lines: &mut BTreeSet<String>) -> Result<Names, LabError> {
    let mut names = Names::new();
    let mut found = handle.link().get().execute();
    while let Some(link) = found.try_next().await.map_err(LabError::netlink("list links"))? {
        let (mut name, mut facts) = (String::new(), Vec::new());
        for attribute in &link.attributes {
            match attribute {
                LinkAttribute::IfName(text) => name.clone_from(text),
                LinkAttribute::Mtu(_)
                | LinkAttribute::Address(_)
                | LinkAttribute::TxQueueLen(_)
                | LinkAttribute::Controller(_)
                | LinkAttribute::LinkInfo(_)
                | LinkAttribute::Qdisc(_)
                | LinkAttribute::IfAlias(_)
                | LinkAttribute::Promiscuity(_)
                | LinkAttribute::GsoMaxSegs(_)
                | LinkAttribute::Xdp(_) => facts.push(format!("{attribute:?}")),
                _ => {}
            }
        }
        facts.sort();
        let up = link.header.flags.contains(LinkFlags::Up);
        lines.insert(format!("link {name} up={up} {}", facts.join(" ")));
        names.insert(link.header.index, name);
    }
    Ok(names)
}

fn name_of(names: &Names, index: u32) -> String {
    names.get(&index).cloned().unwrap_or_else(|| format!("#{index}"))
}

async fn addresses(
    handle: &rtnetlink::Handle,
    names: &Names,
    lines: &mut BTreeSet<String>,
) -> Result<(), LabError> {
    let mut found = handle.address().get().execute();
    while let Some(address) = found.try_next().await.map_err(LabError::netlink("list addresses"))? {
        let mut facts: Vec<String> = address
            .attributes
            .iter()
            .filter(|attribute| !matches!(attribute, AddressAttribute::CacheInfo(_)))
            .map(|attribute| format!("{attribute:?}"))
            .collect();
        facts.sort();
        let header = &address.header;
        let link = name_of(names, header.index);
        lines.insert(format!("address {link} /{} {:?} {}", header.prefix_len, header.scope, facts.join(" ")));
    }
    Ok(())
}

async fn routes(
    handle: &rtnetlink::Handle,
    names: &Names,
    lines: &mut BTreeSet<String>,
) -> Result<(), LabError> {
    let families = [
        RouteMessageBuilder::<std::net::Ipv4Addr>::new().build(),
        RouteMessageBuilder::<std::net::Ipv6Addr>::new().build(),
    ];
    for family in families {
        let found = handle.route().get(family).execute();
        let mut found = std::pin::pin!(found);
        while let Some(route) = found.try_next().await.map_err(LabError::netlink("list routes"))? {
            let mut facts = Vec::new();
            for attribute in &route.attributes {
                facts.push(match attribute {
                    RouteAttribute::CacheInfo(_) | RouteAttribute::Expires(_) => continue,
                    RouteAttribute::Oif(index) => format!("dev {}", name_of(names, *index)),
                    RouteAttribute::Gateway(address) => format!("via {:?}", route_address(address)),
                    other => format!("{other:?}"),
                });
            }
            facts.sort();
            let header = &route.header;
            lines.insert(format!(
                "route {:?} /{} table {} {:?} {:?} {:?} {}",
                header.kind,
                header.destination_prefix_length,
                header.table,
                header.protocol,
                header.scope,
                header.address_family,
                facts.join(" ")
            ));
        }
    }
    Ok(())
}

async fn rules(handle: &rtnetlink::Handle, lines: &mut BTreeSet<String>) -> Result<(), LabError> {
    for version in [IpVersion::V4, IpVersion::V6] {
        let found = handle.rule().get(version).execute();
        let mut found = std::pin::pin!(found);
        while let Some(rule) = found.try_next().await.map_err(LabError::netlink("list rules"))? {
            lines.insert(format!("rule {:?} {:?}", rule.header, rule.attributes));
        }
    }
    Ok(())
}

fn sysctls(folder: &Path, lines: &mut BTreeSet<String>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            sysctls(&path, lines);
            continue;
        }
        let Some(name) = path.to_str().and_then(|path| path.strip_prefix("/proc/sys/")) else { continue };
        if VOLATILE.contains(&name) {
            continue;
        }
        // Some may only be written, or have no value yet.
        if let Ok(value) = fs::read_to_string(&path) {
            lines.insert(format!("sysctl {name} = {}", value.trim()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dump(lines: &[&str]) -> Dump {
        Dump { lines: lines.iter().map(|line| (*line).to_owned()).collect() }
    }

    #[test]
    fn a_difference_names_what_came_and_what_went() {
        let (before, after) = (dump(&["link a", "link b"]), dump(&["link b", "route c"]));
        assert_eq!(before.difference(&after), ["- link a", "+ route c"]);
        assert!(before.difference(&before).is_empty());
    }
}
