//! One cluster that is followed: its source, what it says, and what follows from that.

use std::{net::IpAddr, sync::Arc};

use ipnet::IpNet;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

use super::{
    detect::Watched,
    kubernetes::{self, KubernetesSettings},
    model::{Observation, SourceHealth},
    objects,
    plan::Plan,
    select::{self, LeftOut, Ranges, Scope},
    table::{Mode, WantedCluster},
};
use crate::config::{self, ClusterSource, ServiceMode};

/// One cluster.
#[derive(Debug)]
pub(super) struct Followed {
    pub(super) config: config::Cluster,
    pub(super) observation: Option<Observation>,
    pub(super) ranges: Ranges,
    pub(super) plan: Arc<Plan>,
    pub(super) left_out: Vec<LeftOut>,
    /// The ranges that the daemon was told of.
    pub(super) told: Option<Ranges>,
    /// Hands over what the source says; ends the source with itself.
    follower: Option<JoinHandle<()>>,
}

impl Drop for Followed {
    fn drop(&mut self) {
        if let Some(follower) = &self.follower {
            follower.abort();
        }
    }
}

impl Followed {
    /// Starts to follow a cluster; what its source says goes there, with its name.
    pub(super) fn start(config: config::Cluster, observations: mpsc::Sender<(String, Observation)>) -> Self {
        let follower = config.source.as_ref().map(|source| {
            let source = watch(source);
            tokio::spawn(hand_over(config.name.clone(), source, observations))
        });
        let mut followed = Self {
            config,
            observation: None,
            ranges: Ranges::default(),
            plan: Arc::new(Plan::default()),
            left_out: Vec::new(),
            told: None,
            follower,
        };
        followed.work_out();
        followed
    }

    /// Goes on with another configuration and what is known, if the source is the same; whether it is.
    pub(super) fn reconfigure(&mut self, config: &config::Cluster) -> bool {
        let same = self.config.source == config.source;
        if same && self.config != *config {
            self.config = config.clone();
            self.work_out();
        }
        same
    }

    /// Takes what the source says; whether anything follows from it.
    pub(super) fn observe(&mut self, observation: Observation) -> bool {
        let same = self.observation.as_ref().is_some_and(|old| {
            Arc::ptr_eq(&old.inventory, &observation.inventory)
                && old.health.synced == observation.health.synced
        });
        self.observation = Some(observation);
        if !same {
            self.work_out();
        }
        !same
    }

    pub(super) fn health(&self) -> Option<&SourceHealth> {
        self.observation.as_ref().map(|observation| &observation.health)
    }

    pub(super) fn synced(&self) -> bool {
        self.health().is_some_and(|health| health.synced)
    }

    pub(super) fn translates(&self) -> bool {
        self.config.services != ServiceMode::Route
    }

    /// What it wants of the table.
    pub(super) fn wanted(&self) -> WantedCluster {
        WantedCluster {
            name: self.config.name.clone(),
            mode: match self.config.services {
                ServiceMode::Translate => Mode::Translate,
                ServiceMode::TranslateAndMasquerade => Mode::TranslateAndMasquerade,
                ServiceMode::Route => Mode::Route,
            },
            ping: self.config.ping,
            direct: self.direct(),
            plan: self.plan.clone(),
        }
    }

    /// What the detector must know of it.
    pub(super) fn watched(&self) -> Watched {
        Watched {
            name: self.config.name.as_str().into(),
            mode: self.config.services,
            plan: self.plan.clone(),
            pod_cidrs: [&self.ranges.pods[..], &self.ranges.seen_pods].concat(),
            nodes: self.nodes(),
        }
    }

    /// The ranges that selectors may be made of, once the source has said anything. A Service's own address is none: the
    /// next Service has another.
    pub(super) fn ranges_to_tell(&self) -> Option<Ranges> {
        let observation = self.observation.as_ref().filter(|observation| observation.health.synced)?;
        let mut ranges = self.ranges.clone();
        if self.config.service_cidrs.is_empty() {
            ranges.services.clone_from(&observation.inventory.service_cidrs);
        }
        Some(ranges)
    }

    fn work_out(&mut self) {
        let config = &self.config;
        let scope = Scope {
            service_cidrs: config.service_cidrs.clone(),
            zone: config.zone.clone(),
            internal_local: config.internal_local,
        };
        let configured = Ranges {
            services: config.service_cidrs.clone(),
            pods: config.pod_cidrs.clone(),
            nodes: config.nodes.clone(),
            ..Ranges::default()
        };
        let observation = self.observation.as_ref();
        let inventory = observation.map(|observation| observation.inventory.clone()).unwrap_or_default();
        let (plan, left_out) = select::choose(&inventory, &scope);
        self.ranges = select::ranges(&inventory, &configured);
        (self.plan, self.left_out) = (Arc::new(plan), left_out);
    }

    /// What is reached in it without a Service. Where the cluster does not say its Pods' ranges, those that its
    /// endpoints are seen in.
    fn direct(&self) -> Vec<IpNet> {
        let Ranges { pods, seen_pods, nodes, .. } = &self.ranges;
        let pods = if pods.is_empty() { seen_pods } else { pods };
        pods.iter().copied().chain(nodes.iter().copied().map(IpNet::from)).collect()
    }

    /// Names and addresses of its nodes; those that are only configured have their address for a name.
    fn nodes(&self) -> Vec<(String, IpAddr)> {
        let known = self.observation.iter().flat_map(|observation| observation.inventory.nodes.values());
        let mut nodes: Vec<_> = known
            .flat_map(|node| node.addresses.iter().map(|address| (node.name.clone(), *address)))
            .collect();
        for address in &self.config.nodes {
            if !nodes.iter().any(|(_, known)| known == address) {
                nodes.push((address.to_string(), *address));
            }
        }
        nodes
    }
}

/// Clusters that claim cluster addresses of one before them: their names, such a range, and whose it is.
pub(super) fn overlaps<'a>(clusters: impl Iterator<Item = &'a Followed>) -> Vec<(&'a str, IpNet, &'a str)> {
    let clusters: Vec<_> = clusters.collect();
    let mut found: Vec<(&str, IpNet, &str)> = Vec::new();
    for (place, later) in clusters.iter().enumerate() {
        for first in clusters.iter().take(place) {
            let theirs = &first.plan.service_cidrs;
            let shared =
                |range: &&IpNet| theirs.iter().any(|other| other.contains(*range) || range.contains(other));
            let left_out = found.iter().any(|(name, ..)| *name == first.config.name);
            if let Some(range) = later.plan.service_cidrs.iter().find(shared).filter(|_| !left_out) {
                found.push((&later.config.name, *range, &first.config.name));
                break;
            }
        }
    }
    found
}

fn watch(source: &ClusterSource) -> watch::Receiver<Observation> {
    match source {
        ClusterSource::Objects(path) => objects::watch(path.clone()),
        ClusterSource::Kubernetes { kubeconfig, context } => {
            kubernetes::watch(KubernetesSettings::new(kubeconfig.clone(), context.clone()))
        }
    }
}

async fn hand_over(
    name: String,
    mut source: watch::Receiver<Observation>,
    observations: mpsc::Sender<(String, Observation)>,
) {
    loop {
        let observation = source.borrow_and_update().clone();
        if observations.send((name.clone(), observation)).await.is_err() || source.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        cluster::model::Inventory,
        config::{Cluster, InternalLocal},
    };

    fn config(name: &str) -> Cluster {
        Cluster {
            name: name.to_owned(),
            service_cidrs: Vec::new(),
            pod_cidrs: Vec::new(),
            nodes: Vec::new(),
            services: ServiceMode::Translate,
            source: Some(ClusterSource::Objects("/nonexistent/services.yaml".into())),
            zone: None,
            ping: true,
            internal_local: InternalLocal::Cluster,
            stale_after: Duration::from_secs(600),
            connections: 4_096,
        }
    }

    fn observation(range: &str) -> Observation {
        let inventory = Inventory { service_cidrs: vec![range.parse().unwrap()], ..Inventory::default() };
        let health = SourceHealth {
            source: "https://10.0.0.1".to_owned(),
            synced: true,
            current_at: None,
            problem: None,
        };
        Observation { inventory: Arc::new(inventory), health }
    }

    fn followed(name: &str, range: &str) -> Followed {
        let (observations, _) = mpsc::channel(1);
        let mut followed = Followed::start(config(name), observations);
        assert!(followed.observe(observation(range)));
        followed
    }

    #[tokio::test]
    async fn what_is_known_of_a_cluster_survives_other_settings_and_not_another_source() {
        let mut prod = followed("prod", "172.16.0.0/16");
        let settings = Cluster { ping: false, stale_after: Duration::from_secs(60), ..config("prod") };
        assert!(prod.reconfigure(&settings));
        assert!(prod.synced() && !prod.wanted().ping);
        let ranges = Cluster { service_cidrs: vec!["172.17.0.0/16".parse().unwrap()], ..config("prod") };
        assert!(prod.reconfigure(&ranges));
        assert_eq!(prod.wanted().plan.service_cidrs, ranges.service_cidrs);
        let source = Some(ClusterSource::Objects("/nonexistent/other.yaml".into()));
        assert!(!prod.reconfigure(&Cluster { source, ..config("prod") }));
    }

    #[tokio::test]
    async fn an_observation_that_only_says_again_that_all_is_well_changes_nothing() {
        let mut prod = followed("prod", "172.16.0.0/16");
        let again = Observation { ..prod.observation.clone().unwrap() };
        assert!(!prod.observe(again));
    }

    #[tokio::test]
    async fn of_clusters_with_the_same_service_addresses_the_first_has_them() {
        let [a, b, c] = [("a", "10.96.0.0/12"), ("b", "10.100.0.0/16"), ("c", "10.100.1.0/24")]
            .map(|(n, r)| followed(n, r));
        let found = overlaps([&a, &b, &c].into_iter());
        let named: Vec<_> = found.iter().map(|(later, _, first)| (*later, *first)).collect();
        assert_eq!(named, [("b", "a"), ("c", "a")]);
        let d = followed("d", "172.16.0.0/16");
        assert!(overlaps([&a, &d].into_iter()).is_empty());
    }

    #[tokio::test]
    async fn selectors_are_made_of_ranges_that_the_source_told() {
        let (observations, _) = mpsc::channel(1);
        let mut prod = Followed::start(config("prod"), observations);
        assert_eq!(prod.ranges_to_tell(), None, "nothing has been read yet");
        prod.observe(observation("172.16.0.0/16"));
        let told = prod.ranges_to_tell().unwrap();
        assert_eq!(told.services, ["172.16.0.0/16".parse::<IpNet>().unwrap()]);
    }
}
