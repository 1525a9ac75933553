//! Finds out from copied headers which Services do not answer, and why.
//!
//! Pure: time comes in with each call, probes and events go out as values. Memory is bounded: connections under way
//! by number, oldest going first; Services by the clusters' own lists, never by what clients send. One event is given
//! for each Service port, and another only when the verdict changes or after it had recovered.
//!
//! What it can tell, and from what:
//!
//! | Evidence | Verdict |
//! |---|---|
//! | SYN-ACK from a Pod that acknowledges a SYN to the Service, or a Pod's datagram that the client refuses | `untranslated-reply` |
//! | SYNs unanswered, probes of the Service unanswered, probes of its endpoints answered | `service-path`, `not-translated` |
//! | SYNs unanswered, and probes of the endpoints too | `endpoint-unreachable` |
//! | SYNs unanswered, all probes answered | `replies-lost` |
//! | RST or port unreachable | `no-endpoints`, `endpoint-refuses`, `refused-on-the-way` |
//! | time exceeded, host unreachable, prohibited | `routing-loop`, `no-route`, `prohibited` |
//! | our own policy refuses | `outside-selectors` |
//!
//! Pings are not looked at: that a Service's address answers them says nothing about the Service. A UDP Service cannot be
//! probed by connecting, so one that stays silent gets no verdict.

mod advice;
mod connections;
mod judge;
mod latency;
mod seen;
mod tracked;
mod verdict;

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use ipnet::IpNet;

pub use self::verdict::{
    Action, Certainty, Code, Evidence, Health, Probe, ProbeOutcome, ProbeResult, State, Subject, Verdict,
};
use self::{
    connections::Connections,
    judge::{Case, judge},
    tracked::{Round, Tally, Tracked, WINDOW},
};
use super::{
    model::Protocol,
    plan::{Backend, Frontend, Plan},
};
use crate::config::ServiceMode;

/// Connections under way that are remembered.
const CONNECTIONS: usize = 16_384;
/// Service ports that are tracked although no plan names them.
const UNPLANNED: usize = 256;
/// Rounds of probes at the same time.
const ROUNDS: usize = 8;
/// Endpoints probed in one round.
const ENDPOINTS: usize = 6;
/// Connects to the Service in one round where it chooses among several endpoints: so many that one which answers only
/// through some of them is unlikely to look well.
const SERVICE_PROBES: usize = 12;
const SERVICE_PROBES_ALONE: usize = 2;
/// A round whose results do not come is given up.
const ROUND_PATIENCE: Duration = Duration::from_secs(30);
/// Between rounds: after one that gave a verdict, and after one that did not.
const REST: Duration = Duration::from_secs(60);
const SHORT_REST: Duration = Duration::from_secs(5);
/// How often connections are looked through.
const TICK: Duration = Duration::from_secs(1);

/// What the detector must know of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// How its Services are reached.
    pub mode: ServiceMode,
    /// Its Services and their endpoints, also where they are not translated here; service ranges alone if nobody
    /// says more.
    pub plan: Arc<Plan>,
    /// Ranges of its Pods' addresses, as far as they are known.
    pub pod_cidrs: Vec<IpNet>,
    /// Names and addresses of its nodes, as far as they are known.
    pub nodes: Vec<(String, IpAddr)>,
}

impl Watched {
    /// Whether nobody says which Services there are.
    fn is_unplanned(&self) -> bool {
        self.plan.frontends.is_empty()
    }
}

/// A Service port by its address.
pub(crate) type End = (SocketAddr, Protocol);

/// The detector.
#[derive(Debug)]
pub struct Detector {
    clusters: Vec<Watched>,
    /// Cluster and place in its plan.
    index: HashMap<End, (usize, usize)>,
    /// Addresses of the plans' Services, with the last packet to a port that none of them has.
    addresses: HashMap<IpAddr, Option<seen::Stray>>,
    /// Endpoints of UDP Services.
    datagram_endpoints: HashMap<SocketAddr, ()>,
    connections: Connections,
    tracked: HashMap<End, Tracked>,
    unplanned: usize,
    probes: HashMap<u64, (End, Target)>,
    next_probe: u64,
    actions: VecDeque<Action>,
    next_tick: Option<Instant>,
}

/// What a probe connects to.
#[derive(Debug, Clone, Copy)]
enum Target {
    Service,
    Endpoint(SocketAddr),
}

impl Default for Detector {
    fn default() -> Self {
        Self::new()
    }
}

impl Detector {
    /// One that knows no cluster.
    #[must_use]
    pub fn new() -> Self {
        Self {
            clusters: Vec::new(),
            index: HashMap::new(),
            addresses: HashMap::new(),
            datagram_endpoints: HashMap::new(),
            connections: Connections::new(CONNECTIONS),
            tracked: HashMap::new(),
            unplanned: 0,
            probes: HashMap::new(),
            next_probe: 0,
            actions: VecDeque::new(),
            next_tick: None,
        }
    }

    /// Sets the clusters anew. What is known of Service ports that stay is kept, unless the way they are reached
    /// changes.
    pub fn set_plan(&mut self, now: Instant, clusters: Vec<Watched>) {
        let same_way = |subject: &Subject| {
            let mode = |clusters: &[Watched]| {
                clusters.iter().find(|cluster| cluster.name == subject.cluster).map(|cluster| cluster.mode)
            };
            mode(&self.clusters) == mode(&clusters)
        };
        let kept_ways: HashMap<Arc<str>, bool> = self
            .tracked
            .values()
            .map(|tracked| (Arc::clone(&tracked.subject.cluster), same_way(&tracked.subject)))
            .collect();
        self.clusters = clusters;
        self.index_plans();
        let index = &self.index;
        let clusters = &self.clusters;
        let mut unplanned = 0;
        self.tracked.retain(|end, tracked| {
            let cluster = &tracked.subject.cluster;
            if !kept_ways.get(cluster).copied().unwrap_or(false) {
                return false;
            }
            let Some((at, frontend)) = index.get(end) else {
                let stays = tracked.subject.service.is_none()
                    && clusters.iter().any(|known| known.name == *cluster && known.is_unplanned());
                unplanned += usize::from(stays);
                return stays;
            };
            let planned =
                clusters.get(*at).and_then(|cluster| Some((cluster, cluster.plan.frontends.get(*frontend)?)));
            planned.is_some_and(|(known, planned)| {
                tracked.subject.service = Some(planned.service.clone());
                known.name == *cluster
            })
        });
        self.unplanned = unplanned;
        let (tracked, endpoints) = (&self.tracked, &self.datagram_endpoints);
        self.connections.retain(|flow, _| {
            let end = (flow.to, flow.protocol);
            tracked.contains_key(&end) || flow.protocol == Protocol::Udp && endpoints.contains_key(&flow.to)
        });
        self.probes.retain(|_, (end, _)| tracked.contains_key(end));
        self.end_of_no_endpoints(now);
    }

    fn index_plans(&mut self) {
        self.index.clear();
        self.addresses.clear();
        self.datagram_endpoints.clear();
        for (at, cluster) in self.clusters.iter().enumerate() {
            for (place, frontend) in cluster.plan.frontends.iter().enumerate() {
                let end = (SocketAddr::new(frontend.vip, frontend.port), frontend.protocol);
                self.index.entry(end).or_insert((at, place));
                self.addresses.entry(frontend.vip).or_insert(None);
                if frontend.protocol == Protocol::Udp {
                    let endpoints = frontend.backends.iter();
                    self.datagram_endpoints.extend(endpoints.map(|backend| (address_of(backend), ())));
                }
            }
        }
    }

    /// Services that had no endpoint and now have one are no longer at fault for it.
    fn end_of_no_endpoints(&mut self, _now: Instant) {
        let mut over = Vec::new();
        for (end, tracked) in &self.tracked {
            let State::Failing(verdict) = &tracked.state else { continue };
            let has_endpoints = self.frontend(end).is_some_and(|(_, frontend)| !frontend.backends.is_empty());
            if verdict.code == Code::NoEndpoints && has_endpoints {
                over.push(*end);
            }
        }
        over.into_iter().for_each(|end| self.recovered(&end, State::Unknown));
    }

    /// Says that sightings were lost: connections under way may have been answered unseen, and are forgotten.
    pub fn sightings_lost(&mut self) {
        self.connections.clear();
        for tracked in self.tracked.values_mut() {
            (tracked.silent, tracked.silent_syns, tracked.silent_retried) = (0, 0, 0);
        }
    }

    /// Takes the result of a probe that [`Detector::poll`] asked for.
    pub fn probed(&mut self, now: Instant, result: &ProbeResult) {
        let Some((end, target)) = self.probes.remove(&result.id) else { return };
        let Some(tracked) = self.tracked.get_mut(&end) else { return };
        let Some(round) = &mut tracked.round else { return };
        match target {
            Target::Service => round.service.push(result.outcome),
            Target::Endpoint(endpoint) => round.endpoints.push((endpoint, result.outcome)),
        }
        round.open = round.open.saturating_sub(1);
        if round.open == 0 {
            self.conclude(now, &end);
        }
    }

    /// What is to be done next; call it until it gives nothing, after every call of another method and at
    /// [`Detector::poll_timeout`].
    pub fn poll(&mut self, now: Instant) -> Option<Action> {
        if self.next_tick.is_some_and(|due| due <= now) {
            self.tick(now);
        }
        self.actions.pop_front()
    }

    /// When to poll again without being told anything.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next_tick
    }

    /// How each Service port fares, in the order of the clusters and their plans; behind them ports that no plan names.
    #[must_use]
    pub fn services(&self) -> Vec<Health> {
        let planned = self.clusters.iter().flat_map(|cluster| {
            cluster.plan.frontends.iter().map(|frontend| {
                let end = (SocketAddr::new(frontend.vip, frontend.port), frontend.protocol);
                match self.tracked.get(&end) {
                    Some(tracked) => tracked.health(),
                    None => Tracked::new(subject_of(cluster, frontend)).health(),
                }
            })
        });
        let mut others: Vec<_> = self
            .tracked
            .iter()
            .filter(|(end, _)| !self.index.contains_key(end))
            .map(|(_, tracked)| tracked.health())
            .collect();
        others.sort_by(|a, b| a.subject.cmp(&b.subject));
        planned.chain(others).collect()
    }

    /// Connections and Service ports that take memory.
    #[must_use]
    pub fn footprint(&self) -> (usize, usize) {
        (self.connections.len(), self.tracked.len())
    }

    fn frontend(&self, end: &End) -> Option<(&Watched, &Frontend)> {
        let (cluster, place) = self.index.get(end)?;
        let cluster = self.clusters.get(*cluster)?;
        Some((cluster, cluster.plan.frontends.get(*place)?))
    }

    /// Makes sure that there will be a tick.
    fn wind(&mut self, now: Instant) {
        self.next_tick.get_or_insert(now + TICK);
    }

    /// Looks through what is under way.
    fn tick(&mut self, now: Instant) {
        self.find_silent(now);
        let due: Vec<End> =
            self.tracked.iter().filter(|(_, tracked)| tracked.needs_ticks()).map(|(end, _)| *end).collect();
        for end in due {
            self.look_after(now, &end);
        }
        let busy = !self.connections.is_empty() || self.tracked.values().any(Tracked::needs_ticks);
        self.next_tick = busy.then(|| now + TICK);
    }

    fn look_after(&mut self, now: Instant, end: &End) {
        let Some(tracked) = self.tracked.get_mut(end) else { return };
        if let Some(round) = &tracked.round {
            if now.saturating_duration_since(round.began) > ROUND_PATIENCE {
                self.probes.retain(|_, (of, _)| of != end);
                self.conclude(now, end);
            }
            return;
        }
        tracked.forget_old(now);
        if let State::Failing(verdict) = &tracked.state {
            let mixed = verdict.evidence.answered > 0;
            if verdict.code != Code::NoEndpoints && tracked.has_recovered(now, mixed) {
                self.recovered(end, State::Ok);
                return;
            }
            let is_planned = self.index.contains_key(end);
            if !is_planned && tracked.quiet_for(now).is_none_or(|quiet| quiet > 10 * WINDOW) {
                self.tracked.remove(end);
                self.unplanned = self.unplanned.saturating_sub(1);
                return;
            }
        }
        self.investigate(now, end);
    }

    /// Starts a round of probes if there is reason to.
    fn investigate(&mut self, now: Instant, end: &End) {
        let Some(tracked) = self.tracked.get(end) else { return };
        let settled = match &tracked.state {
            State::Failing(verdict) => verdict.certainty == Certainty::Certain,
            State::Unknown | State::Ok => false,
        };
        let suspect = tracked.is_suspect() || tracked.refusals >= 2;
        let rests = tracked.next_round.is_some_and(|due| now < due);
        let recent = tracked.quiet_for(now).is_some_and(|quiet| quiet <= WINDOW);
        if settled || !suspect || rests || !recent || tracked.round.is_some() || end.1 != Protocol::Tcp {
            return;
        }
        let rounds = self.tracked.values().filter(|tracked| tracked.round.is_some()).count();
        let Some((cluster, frontend)) = self.frontend(end) else { return };
        if frontend.backends.is_empty() {
            self.settle(now, end, Code::NoEndpoints, Certainty::Certain, None);
            return;
        }
        if rounds >= ROUNDS {
            return;
        }
        let to_service = match (frontend.backends.len(), cluster.mode) {
            (1, _) => SERVICE_PROBES_ALONE,
            (_, ServiceMode::Route) => SERVICE_PROBES,
            _ => SERVICE_PROBES / 3,
        };
        let endpoints = some_of(&frontend.backends, tracked.rounds);
        let targets: Vec<Target> = std::iter::repeat_n(Target::Service, to_service)
            .chain(endpoints.into_iter().map(Target::Endpoint))
            .collect();
        let Some(tracked) = self.tracked.get_mut(end) else { return };
        tracked.rounds = tracked.rounds.wrapping_add(1);
        tracked.round =
            Some(Round { began: now, open: targets.len(), service: Vec::new(), endpoints: Vec::new() });
        for target in targets {
            let id = self.next_probe;
            self.next_probe += 1;
            self.probes.insert(id, (*end, target));
            let to = match target {
                Target::Service => end.0,
                Target::Endpoint(endpoint) => endpoint,
            };
            self.actions.push_back(Action::Probe(Probe { id, to }));
        }
    }

    /// The results of a round are in.
    fn conclude(&mut self, now: Instant, end: &End) {
        let Some((cluster, frontend)) = self.frontend(end) else { return };
        let mode = cluster.mode;
        let one_sided = frontend.affinity.is_some() && frontend.backends.len() > 1;
        let others = self.others_answer(end);
        let Some(tracked) = self.tracked.get_mut(end) else { return };
        let Some(round) = tracked.round.take() else { return };
        tracked.next_round = Some(now + SHORT_REST);
        let refused = tracked.refusals >= 2;
        // Answered after all: slow, not silent.
        if !refused && !tracked.is_suspect() {
            return;
        }
        let case = Case {
            mode,
            service: Tally::of(round.service.iter().copied()),
            endpoints: Tally::of(round.endpoints.iter().map(|(_, outcome)| *outcome)),
            refused,
            total_failure: tracked.ratio().0 == 0,
            one_sided,
            others,
        };
        let Some((code, certainty)) = judge(&case) else {
            if refused {
                tracked.refusals = 0;
            }
            return;
        };
        // All is well now: it may have been a short outage. Only clients who fail even after that show that it was not.
        if code == Code::RepliesLost && !tracked.failed_after_well(now) {
            return;
        }
        let well = case.service.all_answered() && case.endpoints.all_answered();
        if code == Code::Refused && well && !tracked.refused_after_well(now) {
            tracked.refusals = 0;
            return;
        }
        tracked.next_round = Some(now + REST);
        self.settle(now, end, code, certainty, Some((&round, &case)));
    }

    /// Whether clients reach another Service of the same cluster; none if nobody tried.
    fn others_answer(&self, end: &End) -> Option<bool> {
        let own = &self.tracked.get(end)?.subject;
        let others = self.tracked.values().filter(|one| {
            one.subject.cluster == own.cluster
                && (one.subject.service != own.service || own.service.is_none())
        });
        let tried: Vec<bool> =
            others.filter(|one| one.answered + one.unanswered > 0).map(|one| one.answered > 0).collect();
        (!tried.is_empty()).then(|| tried.contains(&true))
    }

    /// Sets the verdict of a Service port, and tells it if it is new.
    fn settle(
        &mut self,
        now: Instant,
        end: &End,
        code: Code,
        certainty: Certainty,
        probes: Option<(&Round, &Case)>,
    ) {
        let Some(tracked) = self.tracked.get(end) else { return };
        let mut evidence = tracked.evidence();
        if let Some((round, case)) = probes {
            evidence.service_probes = (case.service.answered, case.service.total());
            evidence.endpoint_probes = (case.endpoints.answered, case.endpoints.total());
            let bad = |outcome: &ProbeOutcome| !matches!(outcome, ProbeOutcome::Answered(_));
            let wants_bad = matches!(code, Code::EndpointUnreachable | Code::EndpointRefuses);
            let one = round.endpoints.iter().find(|(_, outcome)| bad(outcome) == wants_bad);
            evidence.endpoint = one.map(|(endpoint, _)| *endpoint);
        }
        self.settle_with(now, end, code, certainty, evidence);
    }

    fn settle_with(
        &mut self,
        now: Instant,
        end: &End,
        code: Code,
        certainty: Certainty,
        mut evidence: Evidence,
    ) {
        self.wind(now);
        let Some(tracked) = self.tracked.get_mut(end) else { return };
        if tracked.is_settled(now, code, certainty) {
            return;
        }
        let subject = tracked.subject.clone();
        let before = match &tracked.state {
            State::Failing(verdict) => Some((verdict.code, verdict.certainty)),
            State::Unknown | State::Ok => None,
        };
        let certainty = match before {
            Some((before, sure)) if before == code => certainty.max(sure),
            _ => certainty,
        };
        let planned = self.frontend(end);
        let cluster = self.clusters.iter().find(|cluster| cluster.name == subject.cluster);
        let Some(cluster) = cluster else { return };
        let backends = planned.map_or(&[][..], |(_, frontend)| &frontend.backends[..]);
        if let Some(endpoint) = evidence.endpoint
            && let Some(backend) = find(backends, endpoint)
        {
            evidence.pod = backend.pod.clone();
            evidence.node = backend.node.clone();
        }
        if cluster.mode == ServiceMode::Route && matches!(code, Code::ServicePath | Code::UntranslatedReply) {
            let answers_past = evidence.node.as_deref().filter(|_| code == Code::UntranslatedReply);
            evidence.routed_node = self.routed_node(cluster, (end, code, &evidence), answers_past);
            // The endpoint to be shown is one whose answers do not come back.
            if code == Code::ServicePath
                && let Some(far) = backends.iter().find(|backend| {
                    backend.node.is_some()
                        && evidence.routed_node.is_some()
                        && backend.node != evidence.routed_node
                })
            {
                evidence.endpoint = Some(address_of(far));
                (evidence.pod, evidence.node) = (far.pod.clone(), far.node.clone());
            }
        }
        let local_of = evidence.routed_node.as_ref().map(|node| {
            let local = backends.iter().filter(|backend| backend.node.as_ref() == Some(node)).count();
            (local, backends.len())
        });
        let context = advice::Context {
            subject: &subject,
            evidence: &evidence,
            mode: cluster.mode,
            pod_cidrs: &cluster.pod_cidrs,
            local_of: local_of.filter(|(local, _)| *local > 0),
        };
        let (summary, advice) = advice::words(code, &context);
        let verdict = Arc::new(Verdict { subject, code, certainty, evidence, summary, advice });
        let is_told = before.map(|(code, _)| code) == Some(code) || self.is_told_of_service(end, &verdict);
        if let Some(tracked) = self.tracked.get_mut(end) {
            tracked.state = State::Failing(Arc::clone(&verdict));
        }
        if !is_told {
            self.actions.push_back(Action::Event(verdict));
        }
    }

    /// Whether another port or address of the same Service already fails in the same way.
    fn is_told_of_service(&self, end: &End, verdict: &Verdict) -> bool {
        let Verdict { subject: Subject { cluster, service: Some(service), .. }, code, .. } = verdict else {
            return false;
        };
        self.tracked.iter().any(|(other, tracked)| {
            other != end
                && tracked.subject.service.as_ref() == Some(service)
                && tracked.subject.cluster == *cluster
                && matches!(&tracked.state, State::Failing(theirs) if theirs.code == *code)
        })
    }

    fn recovered(&mut self, end: &End, state: State) {
        let Some(tracked) = self.tracked.get_mut(end) else { return };
        let State::Failing(verdict) = &tracked.state else { return };
        let verdict = Arc::clone(verdict);
        tracked.clear_failure(state);
        if !self.is_told_of_service(end, &verdict) {
            self.actions.push_back(Action::Recovered(verdict));
        }
    }

    /// The node that requests to Services are routed to, if what answers and what does not leaves only one.
    fn routed_node(
        &self,
        cluster: &Watched,
        at_hand: (&End, Code, &Evidence),
        not: Option<&str>,
    ) -> Option<String> {
        let backends = cluster.plan.frontends.iter().flat_map(|frontend| &frontend.backends);
        let mut candidates: BTreeSet<&str> = backends.filter_map(|backend| backend.node.as_deref()).collect();
        candidates.retain(|name| Some(*name) != not);
        // It may be a node without any endpoint, unless some Service answers.
        let mut answers = false;
        for (end, tracked) in &self.tracked {
            let Some((of, frontend)) = self.frontend(end) else { continue };
            if of.name != cluster.name || frontend.backends.is_empty() {
                continue;
            }
            let has =
                |name: &str| frontend.backends.iter().any(|backend| backend.node.as_deref() == Some(name));
            let (answered, failed) = tracked.ratio();
            let told = if end == at_hand.0 {
                Some((at_hand.1, at_hand.2))
            } else {
                tracked.state.verdict().map(|verdict| (verdict.code, &verdict.evidence))
            };
            match told {
                None if tracked.answered >= 2 && failed == 0 => {
                    answers = true;
                    candidates.retain(|name| has(name));
                }
                Some((Code::ServicePath | Code::UntranslatedReply, evidence)) => {
                    let unanswered_probes = matches!(evidence.service_probes, (0, 2..));
                    if answered > 0 || evidence.answered > 0 || evidence.service_probes.0 > 0 {
                        answers = true;
                        candidates.retain(|name| has(name));
                    } else if failed >= 2 || evidence.failed >= 2 || unanswered_probes {
                        candidates.retain(|name| !has(name));
                    }
                }
                _ => {}
            }
        }
        let mut candidates = candidates.into_iter().filter(|_| answers);
        match (candidates.next(), candidates.next()) {
            (Some(only), None) => Some(only.to_owned()),
            _ => None,
        }
    }
}

impl Tracked {
    /// Whether something about it depends on time.
    fn needs_ticks(&self) -> bool {
        self.round.is_some()
            || self.silent > 0
            || self.refusals > 0
            || matches!(self.state, State::Failing(_))
    }
}

fn subject_of(cluster: &Watched, frontend: &Frontend) -> Subject {
    Subject {
        cluster: Arc::clone(&cluster.name),
        service: Some(frontend.service.clone()),
        vip: frontend.vip,
        port: frontend.port,
        protocol: frontend.protocol,
    }
}

fn address_of(backend: &Backend) -> SocketAddr {
    SocketAddr::new(backend.address, backend.port)
}

fn find(backends: &[Backend], endpoint: SocketAddr) -> Option<&Backend> {
    backends
        .iter()
        .find(|backend| address_of(backend) == endpoint)
        .or_else(|| backends.iter().find(|backend| backend.address == endpoint.ip()))
}

/// Some endpoints to probe, others in each round: first one of each node, since it is nodes that they differ by.
fn some_of(backends: &[Backend], round: usize) -> Vec<SocketAddr> {
    let len = backends.len().max(1);
    let turned = || backends.iter().cycle().skip(round * ENDPOINTS % len).take(backends.len());
    let mut chosen: Vec<&Backend> = Vec::new();
    for backend in turned() {
        if chosen.len() < ENDPOINTS && !chosen.iter().any(|other| other.node == backend.node) {
            chosen.push(backend);
        }
    }
    for backend in turned() {
        if chosen.len() < ENDPOINTS && !chosen.contains(&backend) {
            chosen.push(backend);
        }
    }
    chosen.into_iter().map(address_of).collect()
}

#[cfg(test)]
mod tests;
