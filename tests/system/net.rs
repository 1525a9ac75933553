//! Namespaces, devices and dumps for these tests, by `rtnetlink` of their own.

use std::collections::BTreeSet;
use std::future::Future;
use std::net::IpAddr;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use ipnet::IpNet;
use libtest_mimic::Failed;
use nix::sched::{CloneFlags, unshare};
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use rtnetlink::{Handle, LinkUnspec, LinkVeth};
use skybridge::system::{Desired, Event, Options, System, TunnelRoute};
use tokio::sync::mpsc;

pub(crate) type Test = fn(Net) -> Pin<Box<dyn Future<Output = ()>>>;
pub(crate) const TUN: &str = "sky0";
/// Only an upper bound for a test that fails.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn enter(userns: bool) {
    let (uid, gid) = (nix::unistd::getuid(), nix::unistd::getgid());
    let spaces = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS;
    if uid.is_root() && !userns {
        unshare(spaces).expect("new namespaces");
        return;
    }
    unshare(spaces | CloneFlags::CLONE_NEWUSER)
        .expect("a user namespace: are unprivileged ones permitted here?");
    std::fs::write("/proc/self/setgroups", "deny").unwrap();
    std::fs::write("/proc/self/uid_map", format!("0 {uid} 1")).unwrap();
    std::fs::write("/proc/self/gid_map", format!("0 {gid} 1")).unwrap();
}

/// Runs one test on a thread with a network namespace of its own.
pub(crate) fn isolated(test: Test) -> Result<(), Failed> {
    let run = move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let net = Net::open().await;
            test(net).await;
        });
    };
    match std::thread::spawn(run).join() {
        Ok(()) => Ok(()),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            Err(text
                .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()))
                .unwrap_or_default()
                .into())
        }
    }
}

pub(crate) struct Net {
    pub(crate) handle: Handle,
    pub(crate) dir: tempfile::TempDir,
}

impl Net {
    pub(crate) async fn open() -> Self {
        let (connection, handle, _) = rtnetlink::new_connection().unwrap();
        tokio::spawn(connection);
        let net = Self { handle, dir: tempfile::tempdir().unwrap() };
        // No link-local addresses, which appear in their own time.
        set_sysctl("net/ipv6/conf/default/addr_gen_mode", "1");
        net.up("lo").await;
        net
    }

    pub(crate) async fn index(&self, name: &str) -> u32 {
        let mut links = self.handle.link().get().match_name(name).execute();
        links.try_next().await.unwrap().unwrap().header.index
    }

    pub(crate) async fn up(&self, name: &str) {
        let index = self.index(name).await;
        self.handle.link().change(LinkUnspec::new_with_index(index).up().build()).execute().await.unwrap();
    }

    pub(crate) async fn down(&self, name: &str) {
        let index = self.index(name).await;
        self.handle.link().change(LinkUnspec::new_with_index(index).down().build()).execute().await.unwrap();
    }

    pub(crate) async fn set_mtu(&self, name: &str, mtu: u32) {
        let index = self.index(name).await;
        self.handle
            .link()
            .change(LinkUnspec::new_with_index(index).mtu(mtu).build())
            .execute()
            .await
            .unwrap();
    }

    /// A pair `name` and `name`p, both up, with an address on the first.
    pub(crate) async fn veth(&self, name: &str, address: &str) {
        self.handle.link().add(LinkVeth::new(name, &format!("{name}p")).build()).execute().await.unwrap();
        self.up(name).await;
        self.up(&format!("{name}p")).await;
        self.address(name, address).await;
    }

    pub(crate) async fn address(&self, name: &str, address: &str) {
        let net: IpNet = address.parse().unwrap();
        let index = self.index(name).await;
        let mut request = self.handle.address().add(index, net.addr(), net.prefix_len());
        // Without duplicate address detection, IPv6 addresses are usable at once.
        request.message_mut().header.flags = rtnetlink::packet_route::address::AddressHeaderFlags::Nodad;
        request.execute().await.unwrap();
    }

    pub(crate) fn route(
        prefix: &str,
        metric: u32,
        protocol: u8,
        oif: Option<u32>,
        gateway: Option<&str>,
    ) -> RouteMessage {
        let prefix: IpNet = prefix.parse().unwrap();
        let mut message = RouteMessage::default();
        message.header.address_family =
            if prefix.addr().is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        message.header.destination_prefix_length = prefix.prefix_len();
        message.header.table = 254;
        message.header.protocol = RouteProtocol::from(protocol);
        message.header.scope = if oif.is_some() && gateway.is_none() && prefix.addr().is_ipv4() {
            RouteScope::Link
        } else {
            RouteScope::Universe
        };
        message.header.kind = RouteType::Unicast;
        message.attributes.push(RouteAttribute::Destination(RouteAddress::from(prefix.network())));
        message.attributes.push(RouteAttribute::Priority(metric));
        message.attributes.extend(oif.map(RouteAttribute::Oif));
        message.attributes.extend(
            gateway.map(|hop| RouteAttribute::Gateway(RouteAddress::from(hop.parse::<IpAddr>().unwrap()))),
        );
        message
    }

    pub(crate) async fn add_route(&self, message: RouteMessage) {
        self.handle.route().add(message).execute().await.unwrap();
    }

    pub(crate) async fn del_route(&self, message: RouteMessage) {
        self.handle.route().del(message).execute().await.unwrap();
    }

    /// Every route outside of the local table, one a line: `prefix kind proto metric dev via src`.
    pub(crate) async fn routes(&self) -> BTreeSet<String> {
        let names = self.links().await;
        let mut out = BTreeSet::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut filter = RouteMessage::default();
            filter.header.address_family = family;
            let mut routes = self.handle.route().get(filter).execute();
            while let Some(route) = routes.try_next().await.unwrap() {
                let mut destination: IpAddr =
                    if family == AddressFamily::Inet { [0u8; 4].into() } else { [0u8; 16].into() };
                let (mut metric, mut dev, mut via, mut src, mut table) =
                    (0, String::new(), String::new(), String::new(), 0);
                for attribute in &route.attributes {
                    match attribute {
                        RouteAttribute::Destination(RouteAddress::Inet(a)) => destination = (*a).into(),
                        RouteAttribute::Destination(RouteAddress::Inet6(a)) => destination = (*a).into(),
                        RouteAttribute::Priority(m) => metric = *m,
                        RouteAttribute::Table(t) => table = *t,
                        RouteAttribute::Oif(i) => {
                            dev = names
                                .iter()
                                .find(|(index, _)| index == i)
                                .map(|(_, n)| n.clone())
                                .unwrap_or_default();
                        }
                        RouteAttribute::Gateway(RouteAddress::Inet(a)) => via = format!(" via {a}"),
                        RouteAttribute::Gateway(RouteAddress::Inet6(a)) => via = format!(" via {a}"),
                        RouteAttribute::PrefSource(RouteAddress::Inet(a)) => src = format!(" src {a}"),
                        RouteAttribute::PrefSource(RouteAddress::Inet6(a)) => src = format!(" src {a}"),
                        _ => {}
                    }
                }
                if table == 255 {
                    continue;
                }
                out.insert(format!(
                    "{destination}/{} {:?} proto {} metric {metric} dev {dev}{via}{src}",
                    route.header.destination_prefix_length,
                    route.header.kind,
                    u8::from(route.header.protocol),
                ));
            }
        }
        out
    }

    pub(crate) async fn ours(&self) -> BTreeSet<String> {
        self.routes().await.into_iter().filter(|line| line.contains("proto 157 ")).collect()
    }

    pub(crate) async fn links(&self) -> Vec<(u32, String)> {
        let mut out = Vec::new();
        let mut links = self.handle.link().get().execute();
        while let Some(link) = links.try_next().await.unwrap() {
            for attribute in &link.attributes {
                if let LinkAttribute::IfName(name) = attribute {
                    out.push((link.header.index, name.clone()));
                }
            }
        }
        out
    }

    /// Links, addresses, routes, rules, nftables and every readable sysctl of this namespace.
    pub(crate) async fn dump(&self) -> BTreeSet<String> {
        let mut out = self.routes().await;
        let mut links = self.handle.link().get().execute();
        while let Some(link) = links.try_next().await.unwrap() {
            let mut line =
                format!("link {} up {}", link.header.index, link.header.flags.contains(LinkFlags::Up));
            for attribute in &link.attributes {
                match attribute {
                    LinkAttribute::IfName(name) => line.push_str(&format!(" {name}")),
                    LinkAttribute::Mtu(mtu) => line.push_str(&format!(" mtu {mtu}")),
                    _ => {}
                }
            }
            out.insert(line);
        }
        let mut addresses = self.handle.address().get().execute();
        while let Some(address) = addresses.next().await {
            let address = address.unwrap();
            let kept: Vec<_> = address
                .attributes
                .iter()
                .filter(|attribute| {
                    !matches!(attribute, rtnetlink::packet_route::address::AddressAttribute::CacheInfo(_))
                })
                .collect();
            out.insert(format!("address {:?} {kept:?}", address.header));
        }
        for family in [rtnetlink::IpVersion::V4, rtnetlink::IpVersion::V6] {
            let mut rules = self.handle.rule().get(family).execute();
            while let Some(rule) = rules.try_next().await.unwrap() {
                out.insert(format!("rule {rule:?}"));
            }
        }
        sysctl_files(Path::new("/proc/sys/net"), &mut out);
        if let Ok(output) = std::process::Command::new("nft").args(["list", "ruleset"]).output() {
            out.insert(format!("nft {}", String::from_utf8_lossy(&output.stdout)));
        }
        out
    }

    pub(crate) fn options(&self) -> Options {
        Options {
            state_dir: self.dir.path().join("state"),
            debounce: Duration::from_millis(50),
            // So long that whatever these tests see came by notification.
            poll: Duration::from_secs(3600),
            ..Options::default()
        }
    }

    pub(crate) async fn start(&self) -> (System, mpsc::Receiver<Event>) {
        System::start(self.options()).await.unwrap()
    }
}

fn sysctl_files(dir: &Path, out: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sysctl_files(&path, out);
        } else if let Ok(value) = std::fs::read_to_string(&path) {
            // Counters and values that other tests in other namespaces may move.
            let moving = ["stat_refresh", "nf_conntrack_count", "netfilter/nf_conntrack_", "core/"];
            if !moving.iter().any(|part| path.to_string_lossy().contains(part)) {
                out.insert(format!("{} = {}", path.display(), value.trim()));
            }
        }
    }
}

pub(crate) fn tun(name: &str) -> tun_rs::SyncDevice {
    tun_rs::DeviceBuilder::new().name(name).inherit_enable_state().build_sync().unwrap()
}

pub(crate) fn tunnel_route(prefix: &str) -> TunnelRoute {
    TunnelRoute { prefix: prefix.parse().unwrap(), mtu: None, advmss: None, local: Vec::new() }
}

pub(crate) fn desired(prefixes: &[&str]) -> Desired {
    Desired {
        tun: TUN.into(),
        mtu: 1400,
        routes: prefixes.iter().map(|prefix| tunnel_route(prefix)).collect(),
        ..Desired::default()
    }
}

/// Waits for an event that `pick` accepts.
pub(crate) async fn event<T>(events: &mut mpsc::Receiver<Event>, pick: impl Fn(&Event) -> Option<T>) -> T {
    let seen = std::cell::RefCell::new(Vec::new());
    let wait = async {
        loop {
            let event = events.recv().await.expect("the watch ended");
            if let Some(found) = pick(&event) {
                return found;
            }
            seen.borrow_mut().push(event);
        }
    };
    tokio::time::timeout(PATIENCE, wait)
        .await
        .unwrap_or_else(|_| panic!("no such event; seen: {:#?}", seen.borrow()))
}

pub(crate) fn sysctl(path: &str) -> String {
    std::fs::read_to_string(Path::new("/proc/sys").join(path)).unwrap().trim().to_owned()
}

pub(crate) fn set_sysctl(path: &str, value: &str) {
    std::fs::write(Path::new("/proc/sys").join(path), value).unwrap();
}
