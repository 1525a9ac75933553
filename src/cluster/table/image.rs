//! What shall be in the table, as values: pure, comparable, and cheap to derive from what is wanted.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{Mode, Wanted, WantedCluster};
use crate::cluster::{model::Protocol, plan::Frontend, slots};

/// A cluster address and port.
pub(super) type Key = (IpAddr, Protocol, u16);
/// An endpoint's address and port.
pub(super) type Target = (IpAddr, u16);

/// The longest time that a client stays with one endpoint, as the API permits: a day.
const LONGEST: u64 = 86_400;

/// What stands behind a cluster address and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Front {
    /// Its endpoints, in order and each once.
    pub(super) targets: Arc<[Target]>,
    /// For each slot the endpoint's place among `targets`.
    pub(super) owners: Arc<[u32]>,
    /// For how many seconds a client stays with one endpoint.
    pub(super) sticky: Option<u32>,
}

impl Front {
    fn new(frontend: &Frontend, former: Option<&Self>) -> Self {
        let mut targets: Vec<Target> = frontend
            .backends
            .iter()
            .map(|backend| (backend.address, backend.port))
            // An endpoint of the other family cannot be reached from this address.
            .filter(|(address, port)| address.is_ipv4() == frontend.vip.is_ipv4() && *port != 0)
            .collect();
        targets.sort_unstable();
        targets.dedup();
        let sticky = frontend.affinity.map(|time| time.as_secs().clamp(1, LONGEST) as u32);
        match former.filter(|former| *former.targets == *targets) {
            Some(former) => Self { sticky, ..former.clone() },
            None => {
                let owners = slots::assign(&targets, slots::class(targets.len()));
                Self { targets: targets.into(), owners: owners.into(), sticky }
            }
        }
    }

    /// The endpoint of each slot.
    pub(super) fn by_slot(&self) -> impl Iterator<Item = Target> + '_ {
        self.owners.iter().filter_map(|owner| self.targets.get(*owner as usize).copied())
    }
}

/// What rules are made from; small, and rarely changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Frame {
    /// The tunnel device.
    pub(super) device: String,
    /// Where whatever has no Service is refused.
    pub(super) ranges: Vec<IpNet>,
    /// Cluster addresses' ranges whose connections are hidden behind this machine's address.
    pub(super) hidden_services: Vec<IpNet>,
    /// Other ranges whose connections are hidden.
    pub(super) hidden: Vec<IpNet>,
    /// Times that clients stay with an endpoint, in seconds.
    pub(super) sticky: BTreeSet<u32>,
}

/// Everything that shall be in the table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) frame: Frame,
    pub(super) fronts: BTreeMap<Key, Front>,
    /// Cluster addresses that answer echo requests, and this machine's address that does it for them.
    pub(super) answering: BTreeMap<IpAddr, IpAddr>,
    /// Addresses of endpoints.
    pub(super) endpoints: BTreeSet<IpAddr>,
}

impl Image {
    /// Derives it; `former` saves what did not change from being computed again. `own` finds this machine's address
    /// toward another.
    pub(super) fn new(
        device: &str,
        wanted: &Wanted,
        former: Option<&Self>,
        own: impl Fn(IpAddr) -> Option<IpAddr>,
    ) -> Self {
        let mut image =
            Self { frame: Frame { device: device.to_owned(), ..Frame::default() }, ..Self::default() };
        for cluster in wanted.clusters.iter().filter(|cluster| cluster.mode != Mode::Route) {
            image.add(cluster, former);
        }
        image.endpoints =
            image.fronts.values().flat_map(|front| front.targets.iter().map(|target| target.0)).collect();
        let frame = &mut image.frame;
        frame.sticky = image.fronts.values().filter_map(|front| front.sticky).collect();
        for nets in [&mut frame.ranges, &mut frame.hidden_services, &mut frame.hidden] {
            *nets = merged(nets);
        }
        image.answer(former, own);
        image
    }

    /// Fills in which address of this machine answers. Where no route leads to an endpoint, it stays the one before.
    fn answer(&mut self, former: Option<&Self>, own: impl Fn(IpAddr) -> Option<IpAddr>) {
        for v4 in [true, false] {
            let toward = self.endpoints.iter().find(|address| address.is_ipv4() == v4).copied();
            let found = toward.and_then(&own).filter(|own| !own.is_loopback() && !own.is_unspecified());
            let before =
                || former?.answering.iter().find(|(vip, _)| vip.is_ipv4() == v4).map(|(_, own)| *own);
            match found.or_else(before) {
                Some(own) => {
                    self.answering
                        .iter_mut()
                        .filter(|(vip, _)| vip.is_ipv4() == v4)
                        .for_each(|(_, by)| *by = own);
                }
                None => self.answering.retain(|vip, _| vip.is_ipv4() != v4),
            }
        }
    }

    fn add(&mut self, cluster: &WantedCluster, former: Option<&Self>) {
        let plan = &cluster.plan;
        self.frame.ranges.extend(&plan.service_cidrs);
        let hide = cluster.mode == Mode::TranslateAndMasquerade;
        if hide {
            self.frame.hidden_services.extend(&plan.service_cidrs);
            self.frame.hidden.extend(&cluster.direct);
        }
        for frontend in &plan.frontends {
            let key = (frontend.vip, frontend.protocol, frontend.port);
            if self.fronts.contains_key(&key) || frontend.port == 0 {
                continue;
            }
            let front = Front::new(frontend, former.and_then(|former| former.fronts.get(&key)));
            if cluster.ping && !front.targets.is_empty() {
                self.answering.insert(frontend.vip, frontend.vip);
            }
            self.fronts.insert(key, front);
            if !plan.service_cidrs.iter().any(|net| net.contains(&frontend.vip)) {
                self.frame.ranges.push(frontend.vip.into());
                if hide {
                    self.frame.hidden_services.push(frontend.vip.into());
                }
            }
        }
    }
}

/// The same addresses in as few ranges as can be.
fn merged(nets: &[IpNet]) -> Vec<IpNet> {
    let (mut v4, mut v6): (Vec<Ipv4Net>, Vec<Ipv6Net>) = (Vec::new(), Vec::new());
    for net in nets {
        match net {
            IpNet::V4(net) => v4.push(net.trunc()),
            IpNet::V6(net) => v6.push(net.trunc()),
        }
    }
    let v4 = Ipv4Net::aggregate(&v4).into_iter().map(IpNet::V4);
    v4.chain(Ipv6Net::aggregate(&v6).into_iter().map(IpNet::V6)).collect()
}
