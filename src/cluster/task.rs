//! Joins the parts: sources to plans, plans to the table and the detector, and all of it to whoever asks.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};

use super::{
    conntrack::Usage,
    detect::{Action, Detector, Health, ProbeResult, Verdict, Watched},
    keeper::{Keeper, Order, TableState},
    kubernetes::{self, KubernetesSettings},
    model::{Observation, SourceHealth},
    objects,
    plan::Plan,
    probe::Prober,
    select::{self, LeftOut, Ranges, Scope},
    table::{Mode, TableSettings, Wanted, WantedCluster},
    trouble::{self, Trouble},
};
use crate::{
    config::{self, ClusterSource, ServiceMode},
    wire::ip::Sighting,
};

/// How often age and room are looked at.
const LOOK: Duration = Duration::from_secs(5);

/// How long translation waits for clusters that nothing has been read from, before the others begin without them. What
/// a killed daemon left in the kernel goes on meanwhile.
const FIRST_READ: Duration = Duration::from_secs(15);

/// How long one run of `nft` may take.
const NFT_PATIENCE: Duration = Duration::from_secs(30);

/// Observations that wait to be taken; each is a whole state, so more would be of no use.
const OBSERVATIONS: usize = 16;
const COMMANDS: usize = 16;
const PROBE_RESULTS: usize = 64;

/// Sightings taken in one turn.
const SIGHTINGS_A_TURN: usize = 1024;
const EVENTS: usize = 64;

/// What the daemon is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Everything that is wrong now.
    Troubles(Vec<Trouble>),
    /// The ranges of a cluster are known, or others.
    Ranges {
        /// The cluster's name.
        cluster: String,
        /// Its ranges and nodes.
        ranges: Ranges,
    },
    /// A Service fails, or fails otherwise than before.
    Failing(Arc<Verdict>),
    /// A Service answers again.
    Recovered(Arc<Verdict>),
}

/// One cluster as it is now.
#[derive(Debug, Clone)]
pub struct ClusterReport {
    /// Its configuration.
    pub config: config::Cluster,
    /// What its source last said; none if it has no source.
    pub observation: Option<Observation>,
    /// Ranges and nodes, configured or discovered.
    pub ranges: Ranges,
    /// What is translated, or would be.
    pub plan: Arc<Plan>,
}

/// All clusters as they are now.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// By name.
    pub clusters: Vec<ClusterReport>,
    /// The table, where a cluster wants one.
    pub table: Option<TableState>,
    /// The kernel's connection tracking.
    pub connections: Option<Usage>,
    /// How each Service port fares, as its connections show.
    pub health: Vec<Health>,
}

#[derive(Debug)]
enum Command {
    Configure(Vec<config::Cluster>),
    Report(oneshot::Sender<Report>),
    SightingsLost,
    Stop(oneshot::Sender<()>),
}

/// The task's handle. If every handle is dropped the task ends and leaves the table as it is.
#[derive(Debug, Clone)]
pub struct Clusters {
    commands: mpsc::Sender<Command>,
}

impl Clusters {
    /// Starts the task for these clusters; `device` is the tunnel device, and `sightings` are the headers that its
    /// workers copy.
    #[must_use]
    pub fn start(
        device: &str,
        clusters: Vec<config::Cluster>,
        sightings: mpsc::Receiver<Sighting>,
    ) -> (Self, mpsc::Receiver<Event>) {
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let (events, told) = mpsc::channel(EVENTS);
        let settings = TableSettings { device: device.to_owned(), nft: None, patience: NFT_PATIENCE };
        let task = Task::new(Keeper::start(settings), events);
        tokio::spawn(task.run(clusters, inbox, sightings));
        (Self { commands }, told)
    }

    /// Follows these clusters from now on; what is unchanged goes on undisturbed.
    pub async fn configure(&self, clusters: Vec<config::Cluster>) {
        let _ = self.commands.send(Command::Configure(clusters)).await;
    }

    /// Everything as it is now; none if the task is gone.
    pub async fn report(&self) -> Option<Report> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(Command::Report(answer)).await.ok()?;
        answered.await.ok()
    }

    /// Says that the workers could not hand over every sighting.
    pub fn sightings_lost(&self) {
        let _ = self.commands.try_send(Command::SightingsLost);
    }

    /// Removes the table and ends the task.
    pub async fn stop(&self) {
        let (done, ended) = oneshot::channel();
        if self.commands.send(Command::Stop(done)).await.is_ok() {
            let _ = ended.await;
        }
    }
}

/// One cluster.
#[derive(Debug)]
struct Followed {
    config: config::Cluster,
    observation: Option<Observation>,
    ranges: Ranges,
    plan: Arc<Plan>,
    left_out: Vec<LeftOut>,
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
    fn health(&self) -> Option<&SourceHealth> {
        self.observation.as_ref().map(|observation| &observation.health)
    }

    fn synced(&self) -> bool {
        self.health().is_some_and(|health| health.synced)
    }

    fn translates(&self) -> bool {
        self.config.services != ServiceMode::Route
    }
}

struct Task {
    followed: BTreeMap<String, Followed>,
    observations: mpsc::Sender<(String, Observation)>,
    observed: Option<mpsc::Receiver<(String, Observation)>>,
    keeper: Keeper,
    table: watch::Receiver<TableState>,
    events: mpsc::Sender<Event>,
    troubles: Vec<Trouble>,
    usage: Option<Usage>,
    detector: Detector,
    prober: Prober,
    probed: Option<mpsc::Receiver<ProbeResult>>,
    /// When clusters are no longer waited for.
    patient_until: tokio::time::Instant,
    waiting: bool,
}

impl Task {
    fn new(keeper: Keeper, events: mpsc::Sender<Event>) -> Self {
        let (observations, observed) = mpsc::channel(OBSERVATIONS);
        let (probe_results, probed) = mpsc::channel(PROBE_RESULTS);
        let table = keeper.state();
        Self {
            followed: BTreeMap::new(),
            observations,
            observed: Some(observed),
            keeper,
            table,
            events,
            troubles: Vec::new(),
            usage: None,
            detector: Detector::new(),
            prober: Prober::new(probe_results),
            probed: Some(probed),
            patient_until: tokio::time::Instant::now() + FIRST_READ,
            waiting: false,
        }
    }

    async fn run(
        mut self,
        clusters: Vec<config::Cluster>,
        mut inbox: mpsc::Receiver<Command>,
        mut sightings: mpsc::Receiver<Sighting>,
    ) {
        let (Some(mut observed), Some(mut probed)) = (self.observed.take(), self.probed.take()) else {
            return;
        };
        let mut batch = Vec::with_capacity(SIGHTINGS_A_TURN);
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.configure(clusters);
        loop {
            tokio::select! {
                command = inbox.recv() => match command {
                    None => return,
                    Some(Command::Configure(clusters)) => {
                        self.patient_until = tokio::time::Instant::now() + FIRST_READ;
                        self.configure(clusters);
                    }
                    Some(Command::Report(answer)) => {
                        let _ = answer.send(self.report());
                    }
                    Some(Command::SightingsLost) => self.detector.sightings_lost(),
                    Some(Command::Stop(done)) => {
                        self.followed.clear();
                        self.keeper.stop().await;
                        let _ = done.send(());
                        return;
                    }
                },
                Some((name, observation)) = observed.recv() => self.observe(&name, observation),
                seen = sightings.recv_many(&mut batch, SIGHTINGS_A_TURN), if !sightings.is_closed() || !sightings.is_empty() => {
                    tracing::trace!(seen, "sightings");
                    batch.drain(..).for_each(|sighting| self.detector.sighted(&sighting));
                }
                Some(result) = probed.recv() => self.detector.probed(Instant::now(), &result),
                Ok(()) = self.table.changed() => {}
                () = at(self.detector.poll_timeout()) => {}
                () = tokio::time::sleep_until(self.patient_until), if self.waiting => self.order(),
                _ = look.tick() => self.usage = self.look_at_connections(),
            }
            self.detect();
            self.tell();
        }
    }

    /// Does what the detector asks for.
    fn detect(&mut self) {
        while let Some(action) = self.detector.poll(Instant::now()) {
            match action {
                Action::Probe(probe) => self.prober.start(probe),
                Action::Event(verdict) => self.send(Event::Failing(verdict)),
                Action::Recovered(verdict) => self.send(Event::Recovered(verdict)),
            }
        }
    }

    /// Tells the detector what there is.
    fn watch_over(&mut self) {
        let watched = self.followed.values().map(|cluster| Watched {
            name: cluster.config.name.as_str().into(),
            mode: cluster.config.services,
            plan: cluster.plan.clone(),
            pod_cidrs: [&cluster.ranges.pods[..], &cluster.ranges.seen_pods].concat(),
            nodes: nodes(cluster),
        });
        let watched = watched.collect();
        self.detector.set_plan(Instant::now(), watched);
    }

    fn configure(&mut self, clusters: Vec<config::Cluster>) {
        self.followed.retain(|_, known| clusters.contains(&known.config));
        for config in clusters {
            if self.followed.contains_key(&config.name) {
                continue;
            }
            let name = config.name.clone();
            let follower = config.source.as_ref().map(|source| self.follow(&name, source));
            let mut new = Followed {
                config,
                observation: None,
                ranges: Ranges::default(),
                plan: Arc::new(Plan::default()),
                left_out: Vec::new(),
                follower,
            };
            work_out(&mut new);
            self.followed.insert(name, new);
        }
        self.usage = self.look_at_connections();
        self.watch_over();
        self.order();
    }

    fn follow(&self, name: &str, source: &ClusterSource) -> JoinHandle<()> {
        let mut source = match source {
            ClusterSource::Objects(path) => objects::watch(path.clone()),
            ClusterSource::Kubernetes { kubeconfig, context } => {
                kubernetes::watch(KubernetesSettings::new(kubeconfig.clone(), context.clone()))
            }
        };
        let (name, observations) = (name.to_owned(), self.observations.clone());
        tokio::spawn(async move {
            loop {
                let observation = source.borrow_and_update().clone();
                if observations.send((name.clone(), observation)).await.is_err()
                    || source.changed().await.is_err()
                {
                    return;
                }
            }
        })
    }

    fn observe(&mut self, name: &str, observation: Observation) {
        let Some(known) = self.followed.get_mut(name) else { return };
        let same = known.observation.as_ref().is_some_and(|old| {
            Arc::ptr_eq(&old.inventory, &observation.inventory)
                && old.health.synced == observation.health.synced
        });
        known.observation = Some(observation);
        if same {
            return;
        }
        let before = known.ranges.clone();
        work_out(known);
        if known.ranges != before {
            let event = Event::Ranges { cluster: name.to_owned(), ranges: told_ranges(known) };
            self.send(event);
        }
        self.watch_over();
        self.order();
    }

    /// Tells the keeper what is wanted, once it is known well enough.
    fn order(&mut self) {
        let translating = || self.followed.values().filter(|cluster| cluster.translates());
        self.waiting = translating().any(|cluster| !cluster.synced())
            && tokio::time::Instant::now() < self.patient_until;
        if self.waiting {
            return;
        }
        let clusters: Vec<_> = translating()
            .filter(|cluster| cluster.synced())
            .map(|cluster| WantedCluster {
                name: cluster.config.name.clone(),
                mode: mode(cluster.config.services),
                ping: cluster.config.ping,
                direct: direct(&cluster.ranges),
                plan: cluster.plan.clone(),
            })
            .collect();
        let connections = translating().map(|cluster| cluster.config.connections).max().unwrap_or(0);
        // A cluster whose source was never heard wants no table that refuses everything.
        let order = Order { wanted: Wanted { clusters }, connections };
        self.keeper.order((!order.wanted.clusters.is_empty()).then_some(order));
    }

    fn look_at_connections(&self) -> Option<Usage> {
        self.followed.values().any(Followed::translates).then(Usage::read).flatten()
    }

    fn report(&self) -> Report {
        let clusters = self.followed.values().map(|cluster| ClusterReport {
            config: cluster.config.clone(),
            observation: cluster.observation.clone(),
            ranges: cluster.ranges.clone(),
            plan: cluster.plan.clone(),
        });
        Report {
            clusters: clusters.collect(),
            table: self.followed.values().any(Followed::translates).then(|| self.table.borrow().clone()),
            connections: self.usage,
            health: self.detector.services(),
        }
    }

    /// Tells the daemon what is wrong, whenever that changes.
    fn tell(&mut self) {
        let mut troubles = Vec::new();
        for cluster in self.followed.values() {
            let health = cluster.health();
            troubles.extend(
                health.and_then(|health| trouble::of_source(&cluster.config, health, SystemTime::now())),
            );
            if cluster.translates() {
                troubles.extend(trouble::of_left_out(&cluster.config.name, &cluster.left_out));
            }
        }
        troubles
            .extend(self.table.borrow_and_update().problems.iter().map(|problem| trouble::of_table(problem)));
        troubles.extend(self.usage.as_ref().and_then(trouble::of_connections));
        if troubles != self.troubles {
            self.troubles.clone_from(&troubles);
            self.send(Event::Troubles(troubles));
        }
    }

    fn send(&self, event: Event) {
        if self.events.try_send(event).is_err() {
            tracing::warn!("an event about clusters was dropped: the daemon is busy");
        }
    }
}

async fn at(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when.into()).await,
        None => std::future::pending().await,
    }
}

/// Names and addresses of a cluster's nodes; those that are only configured have their address for a name.
fn nodes(cluster: &Followed) -> Vec<(String, IpAddr)> {
    let known = cluster.observation.iter().flat_map(|observation| observation.inventory.nodes.values());
    let mut nodes: Vec<_> =
        known.flat_map(|node| node.addresses.iter().map(|address| (node.name.clone(), *address))).collect();
    for address in &cluster.config.nodes {
        if !nodes.iter().any(|(_, known)| known == address) {
            nodes.push((address.to_string(), *address));
        }
    }
    nodes
}

/// The ranges that selectors may be made of. A Service's own address is none: the next Service has another.
fn told_ranges(cluster: &Followed) -> Ranges {
    let mut ranges = cluster.ranges.clone();
    if cluster.config.service_cidrs.is_empty() {
        let inventory = cluster.observation.as_ref().map(|observation| &observation.inventory);
        ranges.services = inventory.map(|inventory| inventory.service_cidrs.clone()).unwrap_or_default();
    }
    ranges
}

fn work_out(cluster: &mut Followed) {
    let config = &cluster.config;
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
    let inventory =
        cluster.observation.as_ref().map(|observation| observation.inventory.clone()).unwrap_or_default();
    let (plan, left_out) = select::choose(&inventory, &scope);
    (cluster.plan, cluster.left_out) = (Arc::new(plan), left_out);
    cluster.ranges = select::ranges(&inventory, &configured);
}

fn mode(services: ServiceMode) -> Mode {
    match services {
        ServiceMode::Translate => Mode::Translate,
        ServiceMode::TranslateAndMasquerade => Mode::TranslateAndMasquerade,
        ServiceMode::Route => Mode::Route,
    }
}

/// What is reached in a cluster without a Service.
fn direct(ranges: &Ranges) -> Vec<ipnet::IpNet> {
    ranges.pods.iter().copied().chain(ranges.nodes.iter().copied().map(ipnet::IpNet::from)).collect()
}
