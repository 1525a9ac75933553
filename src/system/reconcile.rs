//! The machine as it is against the machine as it is desired.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::{mpsc, watch};

use super::netlink::{Address, Link, MAIN_TABLE, Netlink, Route, RouteKind};
use super::plan::{self, View};
use super::state::{Record, StateDir};
use super::sysctl::{self, Needed};
use super::underlay;
use super::{
    Desired, EXCEPTION_METRIC, Event, Finding, LocalAddress, ROUTE_PROTOCOL, Report, Severity, SystemError,
    Underlay, WhenStopped,
};

/// The protocol number of routes learned by router advertisements.
const PROTOCOL_RA: u8 = 9;

/// How often routes are listed again while a link's routes are going away, and how long between.
const TRIES: u32 = 3;
const SETTLE: Duration = Duration::from_millis(20);

/// Which peers' paths are looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// Only those that nobody knows: whoever desires something else moves no path by that.
    New,
    /// All, since something moved.
    Again,
}

/// The routes that were last made, by what tells them apart.
#[derive(Clone, Debug, Default)]
pub(super) struct Applied(BTreeMap<(IpNet, u32), Route>);

impl Applied {
    fn new(routes: Vec<Route>) -> Self {
        Self(routes.into_iter().map(|route| ((route.prefix, route.metric), route)).collect())
    }

    fn iter(&self) -> impl Iterator<Item = &Route> {
        self.0.values()
    }

    /// Whether this very route is among them.
    pub(super) fn has(&self, route: &Route) -> bool {
        self.0.get(&(route.prefix, route.metric)) == Some(route)
    }

    /// Whether one of them has the place of `route`.
    pub(super) fn has_place(&self, route: &Route) -> bool {
        self.0.contains_key(&(route.prefix, route.metric))
    }

    /// Whether one of them has this prefix.
    pub(super) fn has_prefix(&self, prefix: IpNet) -> bool {
        self.0.range((prefix, 0)..=(prefix, u32::MAX)).next().is_some()
    }
}

/// Owns the record and remembers what was last seen.
pub(super) struct Machine {
    netlink: Netlink,
    state: StateDir,
    record: Record,
    events: mpsc::Sender<Event>,
    shared: watch::Sender<Desired>,
    desired: Option<Desired>,
    applied: Applied,
    links: Vec<Link>,
    addresses: Vec<LocalAddress>,
    underlays: BTreeMap<IpAddr, Option<Underlay>>,
    tun_missing: bool,
    findings: Vec<Finding>,
}

impl Machine {
    pub(super) async fn new(
        netlink: Netlink,
        state: StateDir,
        events: mpsc::Sender<Event>,
        shared: watch::Sender<Desired>,
    ) -> Result<Self, SystemError> {
        let (record, _) = state.load()?;
        let addresses = underlay::local_addresses(&netlink, "").await?;
        let links = netlink.links().await?;
        Ok(Self {
            netlink,
            state,
            record,
            events,
            shared,
            desired: None,
            applied: Applied::default(),
            links,
            addresses,
            underlays: BTreeMap::new(),
            tun_missing: false,
            findings: Vec::new(),
        })
    }

    pub(super) fn desired(&self) -> Option<&Desired> {
        self.desired.as_ref()
    }

    pub(super) fn applied(&self) -> &Applied {
        &self.applied
    }

    /// Whether a device appeared, went, or changed in what matters here.
    pub(super) fn link_moved(&self, link: &Link, gone: bool) -> bool {
        let known = self.links.iter().find(|have| have.index == link.index);
        if gone { known.is_some() } else { known != Some(link) && !link.name.is_empty() }
    }

    /// An event that nobody has read for long is dropped: what it tells is in the next status too.
    pub(super) fn tell(&self, event: Event) {
        if let Err(error) = self.events.try_send(event) {
            tracing::warn!(%error, "an event of the system watch was dropped");
        }
    }

    pub(super) async fn set(&mut self, desired: Desired) -> Result<Report, SystemError> {
        check_name(&desired.tun)?;
        if self.desired.as_ref().map(|old| &old.tun) != Some(&desired.tun) {
            self.tun_missing = false;
        }
        let _ = self.shared.send_replace(desired.clone());
        self.desired = Some(desired);
        let report = self.apply(Look::New).await?;
        self.findings.clone_from(&report.findings);
        if self.tun_missing {
            let name = self.desired.as_ref().map(|desired| desired.tun.clone()).unwrap_or_default();
            return Err(SystemError::NoTun(name));
        }
        Ok(report)
    }

    /// After a notification or by the clock: puts right and tells.
    pub(super) async fn again(&mut self) {
        if self.desired.is_none() {
            return;
        }
        let before = self.applied.clone();
        let missing_before = self.tun_missing;
        let report = match self.apply(Look::Again).await {
            Ok(report) => report,
            Err(error) => {
                tracing::error!(%error, "the system could not be put right");
                self.tell(Event::Finding(Finding {
                    code: "reconcile-failed",
                    severity: Severity::Error,
                    what: error.to_string(),
                    where_: "netlink".into(),
                    remedy: "It is tried again at the next change and every poll interval.".into(),
                }));
                return;
            }
        };
        let name = self.desired.as_ref().map(|desired| desired.tun.clone()).unwrap_or_default();
        if self.tun_missing && !missing_before {
            self.tell(Event::TunMissing { name });
        } else {
            for what in &report.other {
                self.tell(Event::TunRestored { name: name.clone(), what: what.clone() });
            }
            let names = self.names();
            let describe = |route: &Route| route.describe(|index| names.get(&index).cloned());
            if !report.added.is_empty() {
                let known: BTreeSet<String> = before.iter().map(describe).collect();
                for route in report.added.iter().filter(|route| known.contains(*route)) {
                    self.tell(Event::RouteRestored { route: route.clone() });
                }
            }
        }
        for finding in report.findings.iter().filter(|finding| !self.findings.contains(finding)) {
            self.tell(Event::Finding(finding.clone()));
        }
        self.findings = report.findings;
    }

    fn names(&self) -> BTreeMap<u32, String> {
        self.links.iter().map(|link| (link.index, link.name.clone())).collect()
    }

    async fn apply(&mut self, look: Look) -> Result<Report, SystemError> {
        let Some(desired) = self.desired.clone() else { return Ok(Report::default()) };
        let mut report = Report::default();
        if self.record.tun.as_deref() != Some(desired.tun.as_str()) {
            self.record.tun = Some(desired.tun.clone());
            self.state.save(&self.record)?;
        }
        let links = self.netlink.links().await?;
        let tun = links.iter().find(|link| link.name == desired.tun).cloned();
        self.links = links;
        self.tun_missing = tun.is_none();

        let v6 = desired.forwarding && desired.routes.iter().any(|route| route.prefix.addr().is_ipv6());
        let learned =
            if v6 { self.netlink.routes(Some(PROTOCOL_RA), Some(MAIN_TABLE)).await? } else { Vec::new() };
        let needed = self.needed_sysctls(&desired, tun.as_ref(), &learned);
        sysctl::reconcile(&needed, &mut self.record, &self.state, &mut report)?;

        let mut addresses = self.netlink.addresses().await?;
        if let Some(tun) = &tun
            && self.tune_link(&desired, tun, &addresses, &mut report).await?
        {
            addresses = self.netlink.addresses().await?;
            self.links = self.netlink.links().await?;
        }
        let mut tries = 0;
        loop {
            tries += 1;
            let routes = self.netlink.routes(None, Some(MAIN_TABLE)).await?;
            let plan = plan::plan(&View {
                desired: &desired,
                tun: tun.as_ref().map(|tun| tun.index),
                routes: &routes,
                addresses: &addresses,
            });
            let changed = self.change_routes(plan.add, plan.remove, &mut report).await;
            self.applied = Applied::new(plan.wanted);
            let paths = self.find_underlays(&desired, look).await?;
            // The kernel tells of a link that goes before it takes the link's routes away, and of those it does
            // not tell: a peer behind our own device is a sign that the list was too old.
            let swallowed =
                |path: &Option<Underlay>| path.as_ref().is_some_and(|path| path.interface == desired.tun);
            if look == Look::Again && tries < TRIES && changed.is_ok() && paths.values().any(swallowed) {
                tokio::time::sleep(SETTLE).await;
                continue;
            }
            report.findings.extend(plan.findings);
            self.tell_underlays(paths);
            return changed.map(|()| report);
        }
    }

    async fn change_routes(
        &self,
        add: Vec<(Route, bool)>,
        remove: Vec<Route>,
        report: &mut Report,
    ) -> Result<(), SystemError> {
        let names = self.names();
        let describe = |route: &Route| route.describe(|index| names.get(&index).cloned());
        let mut first_error = None;
        for (route, replaces) in add {
            match self.netlink.add_route(&route, replaces).await {
                Ok(true) => report.added.push(describe(&route)),
                Ok(false) => report.findings.push(Finding {
                    code: "route-taken",
                    severity: Severity::Error,
                    what: format!("another program's route has the place of `{}`", describe(&route)),
                    where_: "main routing table".into(),
                    remedy: format!(
                        "Give that route to {} another metric than {}.",
                        route.prefix, route.metric
                    ),
                }),
                Err(error) => {
                    tracing::warn!(%error, "route not added");
                    first_error.get_or_insert(error);
                }
            }
        }
        for route in remove {
            match self.netlink.delete_route(&route).await {
                Ok(()) => report.removed.push(describe(&route)),
                Err(error) => {
                    tracing::warn!(%error, "route not removed");
                    first_error.get_or_insert(error);
                }
            }
        }
        first_error.map_or(Ok(()), Err)
    }

    fn needed_sysctls(&self, desired: &Desired, tun: Option<&Link>, routes: &[Route]) -> Vec<Needed> {
        let mut needed = Vec::new();
        let has = |v4: bool| desired.routes.iter().any(|route| route.prefix.addr().is_ipv4() == v4);
        if desired.forwarding && has(true) {
            needed.push(sysctl::forward_v4());
        }
        if desired.forwarding && has(false) {
            let advertised: Vec<String> = self
                .links
                .iter()
                .filter(|link| {
                    routes.iter().any(|route| route.protocol == PROTOCOL_RA && route.oif == Some(link.index))
                })
                .map(|link| link.name.clone())
                .collect();
            needed.extend(sysctl::forward_v6(&advertised));
        }
        if let Some(tun) = tun {
            needed.extend(sysctl::rp_filter(&tun.name));
        }
        needed
    }

    /// `true` if something was changed.
    async fn tune_link(
        &self,
        desired: &Desired,
        tun: &Link,
        addresses: &[Address],
        report: &mut Report,
    ) -> Result<bool, SystemError> {
        let before = report.other.len();
        if desired.mtu != 0 && tun.mtu != desired.mtu {
            self.netlink.set_mtu(tun.index, desired.mtu).await?;
            report.other.push(format!("{}: MTU {}", tun.name, desired.mtu));
        }
        if !tun.up {
            // No link-local address: the device carries only what the selectors say.
            sysctl::set_own(&format!("net/ipv6/conf/{}/addr_gen_mode", tun.name), "1");
            self.netlink.set_up(tun.index).await?;
            report.other.push(format!("{}: up", tun.name));
        }
        let on_tun: Vec<IpNet> = addresses
            .iter()
            .filter(|have| have.index == tun.index)
            .filter_map(|have| IpNet::new(have.address, have.prefix_len).ok())
            .collect();
        for wanted in desired.tun_addresses.iter().filter(|wanted| !on_tun.contains(wanted)) {
            self.netlink.add_address(tun.index, *wanted).await?;
            report.other.push(format!("{}: address {wanted}", tun.name));
        }
        for extra in
            on_tun.iter().filter(|have| !desired.tun_addresses.contains(have) && !is_link_local(have.addr()))
        {
            self.netlink.delete_address(tun.index, *extra).await?;
            report.other.push(format!("{}: address {extra} removed", tun.name));
        }
        Ok(report.other.len() > before)
    }

    async fn find_underlays(
        &self,
        desired: &Desired,
        look: Look,
    ) -> Result<BTreeMap<IpAddr, Option<Underlay>>, SystemError> {
        let mut now = BTreeMap::new();
        for peer in &desired.peers {
            if look == Look::New
                && let Some(known) = self.underlays.get(peer)
            {
                now.insert(*peer, known.clone());
                continue;
            }
            now.insert(*peer, underlay::find(&self.netlink, &self.links, *peer).await?);
        }
        Ok(now)
    }

    fn tell_underlays(&mut self, now: BTreeMap<IpAddr, Option<Underlay>>) {
        for (peer, path) in &now {
            if self.underlays.get(peer).is_some_and(|before| before != path) {
                self.tell(Event::UnderlayChanged { peer: *peer, underlay: path.clone() });
            }
        }
        self.underlays = now;
    }

    /// Tells of the own addresses if they are others than last time.
    pub(super) async fn report_addresses(&mut self) {
        let tun = self.desired.as_ref().map(|desired| desired.tun.clone()).unwrap_or_default();
        match underlay::local_addresses(&self.netlink, &tun).await {
            Ok(addresses) if addresses != self.addresses => {
                self.addresses.clone_from(&addresses);
                self.tell(Event::AddressesChanged { addresses });
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "own addresses could not be listed"),
        }
    }

    pub(super) async fn stop(&mut self, when_stopped: WhenStopped) -> Result<Report, SystemError> {
        self.desired = None;
        self.links = self.netlink.links().await?;
        let keep = |route: &Route| {
            when_stopped == WhenStopped::Block
                && route.kind == RouteKind::Unreachable
                && route.metric != EXCEPTION_METRIC
        };
        let ours = self.netlink.routes(Some(ROUTE_PROTOCOL), None).await?;
        let remove = in_removal_order(ours.into_iter().filter(|route| !keep(route)).collect());
        let mut report = Report::default();
        let removed = self.change_routes(Vec::new(), remove, &mut report).await;
        sysctl::restore_all(&mut self.record, &mut report);
        self.record.tun = None;
        self.state.save(&self.record)?;
        removed.map(|()| report)
    }
}

fn in_removal_order(mut routes: Vec<Route>) -> Vec<Route> {
    routes.sort_by_key(|route| route.kind == RouteKind::Unreachable);
    routes
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

fn check_name(name: &str) -> Result<(), SystemError> {
    let fine = (1..=15).contains(&name.len())
        && name != "."
        && name != ".."
        && name.bytes().all(|octet| octet.is_ascii_graphic() && !matches!(octet, b'/' | b':' | b'%'));
    if fine { Ok(()) } else { Err(SystemError::BadName(name.to_owned())) }
}

/// Everything of ours away, whoever left it; the record and the lock too.
pub(super) async fn clean(netlink: &Netlink, state: StateDir) -> Result<Report, SystemError> {
    let mut report = Report::default();
    let (mut record, _) = state.load()?;
    let links = netlink.links().await?;
    let name_of = |index: u32| links.iter().find(|link| link.index == index).map(|link| link.name.clone());
    for route in in_removal_order(netlink.routes(Some(ROUTE_PROTOCOL), None).await?) {
        netlink.delete_route(&route).await?;
        report.removed.push(route.describe(name_of));
    }
    if let Some(name) = record.tun.take()
        && let Some(link) = links.iter().find(|link| link.name == name && link.kind.as_deref() == Some("tun"))
    {
        netlink.delete_link(link.index).await?;
        report.other.push(format!("{name}: removed"));
    }
    sysctl::restore_all(&mut record, &mut report);
    state.save(&record)?;
    state.remove();
    Ok(report)
}
