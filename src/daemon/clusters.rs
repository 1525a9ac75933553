//! What the clusters' task says and is asked, in the words of the daemon and of the control API.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::oneshot;

use super::core::Daemon;
use crate::cluster::detect::{Evidence, Health, State, Verdict};
use crate::cluster::model::{Service, ServiceId, ServiceKind};
use crate::cluster::plan::{Backend, Frontend, Plan};
use crate::cluster::select::Ranges;
use crate::cluster::{ClusterReport, Event, Report, TableState, Trouble};
use crate::config::{self, Discovered, InternalLocal};
use crate::control::services::{
    ClusterStatus, Connections, EndpointStatus, Fault, ServicePortStatus, ServiceStatus, Services,
    TableStatus,
};
use crate::system::{Finding, Severity};

impl Daemon {
    /// Acts on what the clusters' task says.
    pub(super) fn take_cluster_event(&mut self, event: Event) {
        match event {
            Event::Troubles(troubles) => {
                self.of_clusters = troubles.into_iter().map(finding).collect();
                self.gather_findings();
            }
            Event::Failing(verdict) => tracing::warn!(
                code = verdict.code.as_str(),
                certainty = verdict.certainty.as_str(),
                "Service {verdict}"
            ),
            Event::Recovered(verdict) => tracing::info!("Service {} answers again", verdict.subject),
            Event::Ranges { cluster, ranges } => self.take_ranges(cluster, ranges),
        }
    }

    /// Takes up what a cluster told of its ranges, in the selectors that refer to them too.
    fn take_ranges(&mut self, cluster: String, ranges: Ranges) {
        let nodes = ranges.nodes.into_iter().map(ipnet::IpNet::from).collect();
        let told = Discovered { services: ranges.services, pods: ranges.pods, nodes };
        if self.discovered.get(&cluster) == Some(&told) {
            return;
        }
        tracing::info!(
            cluster,
            services = texts(&told.services).join(" "),
            pods = texts(&told.pods).join(" "),
            "ranges"
        );
        let before = self.discovered.insert(cluster.clone(), told.clone()).unwrap_or_default();
        let wanted = self.config.discovering.iter().filter(|reference| reference.cluster == cluster);
        if wanted.into_iter().any(|reference| before.part(reference.part) != told.part(reference.part)) {
            let _ = self.reload();
        }
    }

    /// Has the clusters followed as they are configured now.
    pub(super) fn configure_clusters(&self, clusters: Vec<config::Cluster>) {
        self.sightings.switch(!clusters.is_empty());
        self.clusters.configure(clusters);
    }

    /// Answers without holding up the loop: a large cluster has thousands of Services.
    pub(super) fn report_services(&self, reply: oneshot::Sender<Services>) {
        let task = self.clusters.clone();
        let lost = self.dataplane.counters().sightings_lost.load(Relaxed);
        tokio::spawn(async move {
            let report = task.report().await.unwrap_or_default();
            let now = Now { wall: SystemTime::now(), mono: Instant::now() };
            let _ = reply.send(Services { sightings_lost: lost, ..services(&report, now) });
        });
    }
}

fn finding(trouble: Trouble) -> Finding {
    Finding {
        code: trouble.code,
        severity: if trouble.severe { Severity::Error } else { Severity::Warning },
        what: trouble.what,
        where_: trouble.where_,
        remedy: trouble.remedy,
    }
}

/// Both clocks, since objects have the one and packets the other.
#[derive(Clone, Copy)]
struct Now {
    wall: SystemTime,
    mono: Instant,
}

fn services(report: &Report, now: Now) -> Services {
    let mut health: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for one in &report.health {
        if let Some(service) = &one.subject.service {
            health.entry((&*one.subject.cluster, service)).or_default().push(one);
        }
    }
    Services {
        clusters: report.clusters.iter().map(|cluster| cluster_status(cluster, &health, now)).collect(),
        table: report.table.as_ref().map(table_status),
        connections: report.connections.map(|usage| Connections { count: usage.count, max: usage.max }),
        sightings_lost: 0,
    }
}

/// How the ports of each Service of each cluster fare.
type HealthByService<'a> = BTreeMap<(&'a str, &'a ServiceId), Vec<&'a Health>>;

fn table_status(table: &TableState) -> TableStatus {
    TableStatus {
        loaded: table.loaded,
        frontends: table.frontends as u64,
        endpoints: table.endpoints as u64,
        last_change_ms: table.last_change.map(|took| took.as_secs_f64() * 1e3),
        restored: table.restored,
        problem: table.failure.clone().or_else(|| table.limit.clone()),
    }
}

fn texts<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(T::to_string).collect()
}

fn cluster_status(cluster: &ClusterReport, health_of: &HealthByService<'_>, now: Now) -> ClusterStatus {
    let health = cluster.observation.as_ref().map(|observation| &observation.health);
    let age = health.and_then(|health| now.wall.duration_since(health.current_at?).ok());
    let frontends = by_service(&cluster.plan);
    let known = cluster.observation.iter().flat_map(|observation| observation.inventory.services.values());
    ClusterStatus {
        name: cluster.config.name.clone(),
        mode: cluster.config.services.as_str().to_owned(),
        source: health.map(|health| health.source.clone()),
        synced: health.is_some_and(|health| health.synced),
        age_seconds: age.map(|age| age.as_secs()),
        problem: health.and_then(|health| health.problem.clone()),
        service_cidrs: texts(&cluster.ranges.services),
        pod_cidrs: texts(&cluster.ranges.pods),
        nodes: texts(&cluster.ranges.nodes),
        services: known
            .map(|service| {
                let frontends = frontends.get(&service.id).map_or(&[][..], Vec::as_slice);
                let health = health_of.get(&(cluster.config.name.as_str(), &service.id));
                let status = service_status(service, frontends, health.map_or(&[], Vec::as_slice), now);
                not_here(status, service, cluster)
            })
            .collect(),
    }
}

fn service_status(service: &Service, frontends: &[&Frontend], health: &[&Health], now: Now) -> ServiceStatus {
    let ports: Vec<_> = service
        .ports
        .iter()
        .map(|port| {
            let same = frontends.iter().filter(|one| one.port == port.port && one.protocol == port.protocol);
            ServicePortStatus {
                name: port.name.clone(),
                protocol: port.protocol.to_string(),
                port: port.port,
                endpoints: same.flat_map(|one| &one.backends).map(endpoint).collect(),
            }
        })
        .collect();
    let failing = health.iter().find_map(|one| match &one.state {
        State::Failing(verdict) => Some(verdict),
        State::Unknown | State::Ok => None,
    });
    let (kind, state) = match service.kind {
        ServiceKind::Headless => ("headless", "headless"),
        ServiceKind::ExternalName => ("external-name", "external-name"),
        ServiceKind::ClusterIp => ("cluster-ip", state(&ports, health, failing.is_some())),
    };
    let last = health.iter().filter_map(|one| one.last_connect).max();
    let busiest = health.iter().max_by_key(|one| one.answered);
    let total = |count: fn(&Health) -> u64| health.iter().map(|one| count(one)).sum();
    ServiceStatus {
        namespace: service.id.namespace.clone(),
        name: service.id.name.clone(),
        addresses: texts(&service.cluster_ips),
        kind: kind.to_owned(),
        ports,
        state: state.to_owned(),
        fault: failing.map(|verdict| fault(verdict)),
        last_connect_ms: last.map(|(_, took)| milliseconds(took)),
        last_connect_seconds_ago: last.map(|(at, _)| now.mono.saturating_duration_since(at).as_secs()),
        connect_p50_ms: busiest.and_then(|one| one.p50).map(milliseconds),
        connect_p99_ms: busiest.and_then(|one| one.p99).map(milliseconds),
        answered: total(|one| one.answered),
        unanswered: total(|one| one.unanswered),
        refused: total(|one| one.refused),
    }
}

/// Services that this endpoint does not translate, with the reason.
fn not_here(status: ServiceStatus, service: &Service, cluster: &ClusterReport) -> ServiceStatus {
    let fault = |code: &str, what: String, action: &str| Fault {
        code: code.to_owned(),
        certainty: "certain".to_owned(),
        what,
        evidence: Vec::new(),
        action: action.to_owned(),
    };
    if service.internal_local && cluster.config.internal_local == InternalLocal::Refuse {
        let what = "its internalTrafficPolicy is Local, and this endpoint is on no node".to_owned();
        let fault = fault("internal-local", what, "set internal_local = \"cluster\" to use every endpoint");
        return ServiceStatus { state: "refused-here".to_owned(), fault: Some(fault), ..status };
    }
    match cluster.left_out.iter().find(|one| one.service == service.id && one.port.is_none()) {
        Some(left_out) => {
            let fault = fault("left-out", left_out.to_string(), "until then it is not translated");
            ServiceStatus { state: "left-out".to_owned(), fault: Some(fault), ..status }
        }
        None => status,
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn state(ports: &[ServicePortStatus], health: &[&Health], failing: bool) -> &'static str {
    if ports.iter().all(|port| port.endpoints.is_empty()) {
        "no-endpoints"
    } else if failing {
        "failing"
    } else if health.iter().any(|one| one.state == State::Ok) {
        "ok"
    } else {
        "unused"
    }
}

fn fault(verdict: &Verdict) -> Fault {
    Fault {
        code: verdict.code.to_string(),
        certainty: verdict.certainty.as_str().to_owned(),
        what: verdict.summary.clone(),
        evidence: evidence(&verdict.evidence),
        action: action(&verdict.advice),
    }
}

/// The alternatives as one text.
fn action(advice: &[String]) -> String {
    match advice {
        [only] => only.clone(),
        several => {
            let lettered =
                several.iter().zip('a'..='z').map(|(advice, letter)| format!("({letter}) {advice}"));
            lettered.collect::<Vec<_>>().join("\n  ")
        }
    }
}

fn evidence(of: &Evidence) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line =
        |name: &str, value: Option<String>| lines.extend(value.map(|value| format!("{name} {value}")));
    line("client", of.client.map(|client| client.to_string()));
    let place = |name: &Option<String>, word: &str| {
        name.as_ref().map(|name| format!(" {word} {name}")).unwrap_or_default()
    };
    line(
        "endpoint",
        of.endpoint.map(|endpoint| format!("{endpoint}{}{}", place(&of.pod, "Pod"), place(&of.node, "on"))),
    );
    line("requests go to node", of.routed_node.clone());
    line("reported by", of.reporter.as_ref().map(IpAddr::to_string));
    line(
        "connects",
        (of.answered + of.failed > 0).then(|| format!("{} answered, {} failed", of.answered, of.failed)),
    );
    let probes = |(answered, all): (u32, u32)| (all > 0).then(|| format!("{answered} of {all} answered"));
    line("probes of the Service:", probes(of.service_probes));
    line("probes of endpoints:", probes(of.endpoint_probes));
    lines
}

fn by_service(plan: &Plan) -> BTreeMap<&ServiceId, Vec<&Frontend>> {
    let mut sorted: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for frontend in &plan.frontends {
        sorted.entry(&frontend.service).or_default().push(frontend);
    }
    sorted
}

fn endpoint(backend: &Backend) -> EndpointStatus {
    EndpointStatus {
        address: std::net::SocketAddr::new(backend.address, backend.port).to_string(),
        node: backend.node.clone(),
        pod: backend.pod.clone(),
    }
}
