//! Joins the parts: sources to plans, plans to the table and the detector, and all of it to whoever asks.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{MissedTickBehavior, interval},
};

use super::{
    conntrack::Usage,
    detect::{Action, Detector, Health, ProbeResult, Verdict},
    followed::{self, Followed},
    keeper::{Keeper, Order, TableState},
    model::Observation,
    plan::Plan,
    probe::Prober,
    select::{LeftOut, Ranges},
    table::{TableSettings, Wanted},
    trouble::{self, Trouble},
};
use crate::{config, wire::ip::Sighting};

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
    /// What is not translated although a Service says so.
    pub left_out: Vec<LeftOut>,
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
    Report(oneshot::Sender<Report>),
    SightingsLost,
    Stop(oneshot::Sender<()>),
}

/// The task's handle. If every handle is dropped the task ends and leaves the table as it is.
#[derive(Debug, Clone)]
pub struct Clusters {
    commands: mpsc::Sender<Command>,
    configured: Arc<watch::Sender<Vec<config::Cluster>>>,
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
        let (configured, configurations) = watch::channel(clusters);
        tokio::spawn(task.run(configurations, inbox, sightings));
        (Self { commands, configured: Arc::new(configured) }, told)
    }

    /// Follows these clusters from now on; what is known of a cluster whose source stays is kept.
    pub fn configure(&self, clusters: Vec<config::Cluster>) {
        // Not through the queue, so that the last call has the last word.
        self.configured.send_replace(clusters);
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

struct Task {
    followed: BTreeMap<String, Followed>,
    observations: mpsc::Sender<(String, Observation)>,
    observed: Option<mpsc::Receiver<(String, Observation)>>,
    keeper: Keeper,
    table: watch::Receiver<TableState>,
    events: mpsc::Sender<Event>,
    troubles: Vec<Trouble>,
    usage: Option<Usage>,
    earlier_usage: Option<Usage>,
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
            earlier_usage: None,
            detector: Detector::new(),
            prober: Prober::new(probe_results),
            probed: Some(probed),
            patient_until: tokio::time::Instant::now() + FIRST_READ,
            waiting: false,
        }
    }

    async fn run(
        mut self,
        mut configurations: watch::Receiver<Vec<config::Cluster>>,
        mut inbox: mpsc::Receiver<Command>,
        mut sightings: mpsc::Receiver<Sighting>,
    ) {
        let (Some(mut observed), Some(mut probed)) = (self.observed.take(), self.probed.take()) else {
            return;
        };
        let mut batch = Vec::with_capacity(SIGHTINGS_A_TURN);
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let clusters = configurations.borrow_and_update().clone();
        self.configure(clusters);
        loop {
            tokio::select! {
                command = inbox.recv() => match command {
                    None => return,
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
                Ok(()) = configurations.changed() => {
                    let clusters = configurations.borrow_and_update().clone();
                    self.patient_until = tokio::time::Instant::now() + FIRST_READ;
                    self.configure(clusters);
                }
                Some((name, observation)) = observed.recv() => self.observe(&name, observation),
                seen = sightings.recv_many(&mut batch, SIGHTINGS_A_TURN), if !sightings.is_closed() || !sightings.is_empty() => {
                    tracing::trace!(seen, "sightings");
                    batch.drain(..).for_each(|sighting| self.detector.sighted(&sighting));
                }
                Some(result) = probed.recv() => self.detector.probed(Instant::now(), &result),
                Ok(()) = self.table.changed() => {}
                () = at(self.detector.poll_timeout()) => {}
                () = tokio::time::sleep_until(self.patient_until), if self.waiting => self.order(),
                _ = look.tick() => self.look_at_connections(),
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
                Action::Event(verdict) => drop(self.send(Event::Failing(verdict))),
                Action::Recovered(verdict) => drop(self.send(Event::Recovered(verdict))),
            }
        }
    }

    fn configure(&mut self, clusters: Vec<config::Cluster>) {
        self.followed.retain(|name, known| {
            clusters.iter().find(|new| new.name == *name).is_some_and(|new| known.reconfigure(new))
        });
        for config in clusters {
            if !self.followed.contains_key(&config.name) {
                let name = config.name.clone();
                self.followed.insert(name, Followed::start(config, self.observations.clone()));
            }
        }
        self.look_at_connections();
        self.carry_on();
    }

    fn observe(&mut self, name: &str, observation: Observation) {
        if self.followed.get_mut(name).is_some_and(|known| known.observe(observation)) {
            self.carry_on();
        }
    }

    /// Carries what is known on to the detector and the table.
    fn carry_on(&mut self) {
        let watched = self.followed.values().map(Followed::watched).collect();
        self.detector.set_plan(Instant::now(), watched);
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
        let mut known = translating().filter(|cluster| cluster.synced()).peekable();
        if known.peek().is_none() && translating().next().is_some() {
            // Nothing is known yet: what the kernel still has of before is better than nothing.
            return;
        }
        let overlaps = followed::overlaps(self.followed.values());
        let clusters: Vec<_> = known
            .filter(|cluster| !overlaps.iter().any(|(later, ..)| *later == cluster.config.name))
            .map(Followed::wanted)
            .collect();
        let connections = translating().map(|cluster| cluster.config.connections).max().unwrap_or(0);
        let order = Order { wanted: Wanted { clusters }, connections };
        self.keeper.order((!order.wanted.clusters.is_empty()).then_some(order));
    }

    fn look_at_connections(&mut self) {
        self.earlier_usage = self.usage.take();
        if self.followed.values().any(Followed::translates) {
            self.usage = Usage::read();
        }
    }

    fn report(&self) -> Report {
        let clusters = self.followed.values().map(|cluster| ClusterReport {
            config: cluster.config.clone(),
            observation: cluster.observation.clone(),
            ranges: cluster.ranges.clone(),
            plan: cluster.plan.clone(),
            left_out: cluster.left_out.clone(),
        });
        Report {
            clusters: clusters.collect(),
            table: self.followed.values().any(Followed::translates).then(|| self.table.borrow().clone()),
            connections: self.usage,
            health: self.detector.services(),
        }
    }

    /// Tells the daemon what is wrong and which ranges there are, whenever that changes.
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
        {
            let table = self.table.borrow_and_update();
            troubles.extend(table.failure.as_deref().map(trouble::of_table));
            troubles.extend(table.limit.as_deref().map(trouble::of_limit));
        }
        let overlaps = followed::overlaps(self.followed.values());
        troubles
            .extend(overlaps.into_iter().map(|(name, range, first)| trouble::of_overlap(name, range, first)));
        let usage = self.usage.as_ref();
        troubles.extend(usage.and_then(|usage| trouble::of_connections(usage, self.earlier_usage.as_ref())));
        if troubles != self.troubles && self.send(Event::Troubles(troubles.clone())) {
            self.troubles = troubles;
        }
        let news: Vec<_> = self
            .followed
            .iter()
            .filter_map(|(name, cluster)| Some((name.clone(), cluster.ranges_to_tell()?)))
            .filter(|(name, ranges)| {
                self.followed.get(name).is_some_and(|one| one.told.as_ref() != Some(ranges))
            })
            .collect();
        for (cluster, ranges) in news {
            if self.send(Event::Ranges { cluster: cluster.clone(), ranges: ranges.clone() })
                && let Some(known) = self.followed.get_mut(&cluster)
            {
                known.told = Some(ranges);
            }
        }
    }

    /// Whether the daemon takes it; what it does not take is tried again at the next turn, but for verdicts, which
    /// `skybridge services` shows anyway.
    fn send(&self, event: Event) -> bool {
        self.events.try_send(event).is_ok()
    }
}

async fn at(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when.into()).await,
        None => std::future::pending().await,
    }
}
