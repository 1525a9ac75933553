//! What the clusters' task says and is asked, in the words of the daemon and of the control API.

use std::collections::BTreeMap;
use std::time::SystemTime;

use tokio::sync::oneshot;

use super::core::Daemon;
use crate::cluster::model::{Service, ServiceId, ServiceKind};
use crate::cluster::plan::{Backend, Frontend, Plan};
use crate::cluster::{ClusterReport, Event, Report, TableState, Trouble};
use crate::config;
use crate::control::services::{
    ClusterStatus, Connections, EndpointStatus, ServicePortStatus, ServiceStatus, Services, TableStatus,
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
            Event::Ranges { cluster, ranges } => {
                tracing::info!(cluster, services = ?ranges.services, pods = ?ranges.pods, "ranges of the cluster");
            }
        }
    }

    /// Has the clusters followed as they are configured now.
    pub(super) fn configure_clusters(&self, clusters: Vec<config::Cluster>) {
        let task = self.clusters.clone();
        tokio::spawn(async move { task.configure(clusters).await });
    }

    /// Answers without holding up the loop: a large cluster has thousands of Services.
    pub(super) fn report_services(&self, reply: oneshot::Sender<Services>) {
        let task = self.clusters.clone();
        tokio::spawn(async move {
            let report = task.report().await.unwrap_or_default();
            let _ = reply.send(services(&report, SystemTime::now()));
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

fn services(report: &Report, now: SystemTime) -> Services {
    Services {
        clusters: report.clusters.iter().map(|cluster| cluster_status(cluster, now)).collect(),
        table: report.table.as_ref().map(table_status),
        connections: report.connections.map(|usage| Connections { count: usage.count, max: usage.max }),
        sightings_lost: 0,
    }
}

fn table_status(table: &TableState) -> TableStatus {
    TableStatus {
        loaded: table.loaded,
        frontends: table.frontends as u64,
        endpoints: table.endpoints as u64,
        last_change_ms: table.last_change.map(|took| took.as_secs_f64() * 1e3),
        restored: table.restored,
        problem: (!table.problems.is_empty()).then(|| table.problems.join("; ")),
    }
}

fn texts<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(T::to_string).collect()
}

fn cluster_status(cluster: &ClusterReport, now: SystemTime) -> ClusterStatus {
    let health = cluster.observation.as_ref().map(|observation| &observation.health);
    let age = health.and_then(|health| now.duration_since(health.current_at?).ok());
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
            .map(|service| service_status(service, frontends.get(&service.id).map_or(&[], Vec::as_slice)))
            .collect(),
    }
}

fn service_status(service: &Service, frontends: &[&Frontend]) -> ServiceStatus {
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
    let (kind, state) = match service.kind {
        ServiceKind::Headless => ("headless", "headless"),
        ServiceKind::ExternalName => ("external-name", "external-name"),
        ServiceKind::ClusterIp if ports.iter().all(|port| port.endpoints.is_empty()) => {
            ("cluster-ip", "no-endpoints")
        }
        ServiceKind::ClusterIp => ("cluster-ip", "unused"),
    };
    ServiceStatus {
        namespace: service.id.namespace.clone(),
        name: service.id.name.clone(),
        addresses: texts(&service.cluster_ips),
        kind: kind.to_owned(),
        ports,
        state: state.to_owned(),
        ..ServiceStatus::default()
    }
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
