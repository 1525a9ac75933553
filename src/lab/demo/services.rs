//! From the office to a cluster's Services: routed to a node, and translated here.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use serde::Serialize;

use super::{progress::Progress, report::Report};
use crate::lab::{
    Daemon, Entered, LabError,
    cluster::{Cluster, Fabric, Host, Masquerade, Proxy, Scenario, ServiceRoute, at},
    topology::{CLIENT, CLOUD},
    traffic::{
        ping,
        visit::{self, Outcome, Visit},
    },
    wait::until,
};

/// How long anything may take that needs no more than a few round trips.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a visit is tried that may find nobody: the second try of a TCP client comes after one second.
const GIVEN_UP: Duration = Duration::from_millis(1_500);
/// Visits to the Service that has a Pod on each node.
const VISITS: usize = 12;

/// One way to bring Services to the office, and what must come of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scene {
    name: &'static str,
    /// The cluster's `services` at the cloud endpoint.
    services: &'static str,
    masquerade: Masquerade,
    service_route: ServiceRoute,
    office_route: bool,
    /// Whether every Service with an endpoint must answer.
    all_answer: bool,
    /// As whom Pods see the office.
    seen_as: SeenAs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SeenAs {
    Client,
    Node,
    Endpoint,
}

/// What is shown, in this order.
pub(super) const SCENES: &[Scene] = &[
    Scene {
        name: "Services routed to node1, kube-proxy as it comes: half of it fails",
        services: "route",
        masquerade: Masquerade::None,
        service_route: ServiceRoute::FromEndpoint,
        office_route: true,
        all_answer: false,
        seen_as: SeenAs::Client,
    },
    Scene {
        name: "Services routed to node1, kube-proxy with clusterCIDR",
        services: "route",
        masquerade: Masquerade::ClusterCidr,
        service_route: ServiceRoute::FromEndpoint,
        office_route: true,
        all_answer: true,
        seen_as: SeenAs::Node,
    },
    Scene {
        name: "Services translated here, kube-proxy as it comes",
        services: "translate",
        masquerade: Masquerade::None,
        service_route: ServiceRoute::FromEndpoint,
        office_route: true,
        all_answer: true,
        seen_as: SeenAs::Client,
    },
    Scene {
        name: "Services translated and masqueraded here, no route in the VPC",
        services: "translate-and-masquerade",
        masquerade: Masquerade::None,
        service_route: ServiceRoute::Nowhere,
        office_route: false,
        all_answer: true,
        seen_as: SeenAs::Endpoint,
    },
];

/// What one scene showed.
#[derive(Debug, Serialize)]
pub(super) struct Line {
    pub(super) scenario: &'static str,
    /// By Service, in words.
    pub(super) answers: Vec<(String, String)>,
}

/// The world, the daemon that is told how to treat Services, and the other.
#[derive(Debug)]
struct Stage {
    cloud: Daemon,
    office: Daemon,
    cluster: Cluster,
}

/// Shows every scene as a row of the report and a line of its table of Services.
pub(super) fn perform(
    inside: &Entered,
    program: &Path,
    progress: &Progress,
    total: usize,
    scenes: &[Scene],
    report: &mut Report,
) {
    let mut stage = None;
    let joined = report.run(progress, total, "an office and a cluster joined", || {
        let (built, took) =
            Stage::build(inside, program, scenes.first().map_or("route", |first| first.services))?;
        stage = Some(built);
        Ok(format!("2 nodes, 2 Pods; {} ms from starting both daemons", took.as_millis()))
    });
    let mut lines = Vec::new();
    for scene in scenes {
        match &mut stage {
            Some(stage) if joined => {
                report.run(progress, total, scene.name, || stage.show(*scene, &mut lines));
            }
            _ => report.skip(scene.name),
        }
    }
    report.services(lines);
}

impl Stage {
    fn build(inside: &Entered, program: &Path, services: &'static str) -> Result<(Self, Duration), LabError> {
        // The shape of kube-proxy that needs no other program than the demo does.
        let scenario = Scenario { proxy: Proxy::Nftables, ..Scenario::default() };
        let cluster = Cluster::build(inside, scenario)?;
        let plan = Cluster::plan();
        let office = Daemon::prepare(&cluster.underlay.edge, program, |folder| plan.office(folder))?;
        let plan = cluster.plan_with(services);
        let cloud = Daemon::prepare(&cluster.underlay.cloud, program, |folder| plan.cloud(folder))?;
        let mut stage = Self { cloud, office, cluster };
        let begun = Instant::now();
        stage.office.start()?;
        stage.start()?;
        Ok((stage, begun.elapsed()))
    }

    /// Starts the cloud's daemon and waits until the office reaches a node.
    fn start(&mut self) -> Result<(), LabError> {
        self.cloud.start()?;
        self.cloud.wait_up("office", PATIENCE)?;
        self.office.wait_up("cloud", PATIENCE)?;
        let [node, _] = Host::Node1.addresses();
        ping::until_answered(&self.cluster.underlay.client, super::world::parse(node)?, PATIENCE).map(drop)
    }

    fn show(&mut self, scene: Scene, lines: &mut Vec<Line>) -> Result<String, LabError> {
        let fabric = Fabric {
            service_route: scene.service_route,
            office_route: scene.office_route,
            ..Fabric::default()
        };
        let masquerade = scene.masquerade;
        self.cluster.set(Scenario { proxy: Proxy::Nftables, masquerade, fabric, ..Scenario::default() })?;
        // A verdict stays for a minute after the last failure; a new daemon knows none.
        let plan = self.cluster.plan_with(scene.services);
        self.cloud.write(|folder| plan.cloud(folder))?;
        self.cloud.stop()?;
        self.start()?;
        if scene.services != "route" {
            self.wait_translated()?;
        }
        let survey = self.survey()?;
        let verdicts = self.verdicts(scene.all_answer);
        let said = verdicts.as_ref().map_or_else(ToString::to_string, Clone::clone);
        lines.push(survey.line(scene.name, said));
        let detail = survey.check(scene)?;
        Ok(format!("{detail}; the cloud endpoint says: {}", verdicts?))
    }

    /// What the cloud endpoint says of the Services that were visited, as soon as it is what it should be: nothing where
    /// all answer, and something of those that do not where not.
    fn verdicts(&self, all_answer: bool) -> Result<String, LabError> {
        let visits =
            ["mysql", "both", "both", "both"].map(|name| self.cluster.service(name, false).map(Visit::tcp));
        let mut visits: Vec<Visit> = visits.into_iter().collect::<Result<_, _>>()?;
        visits.push(Visit::udp(self.cluster.service("dns", false)?));
        until("the cloud endpoint has its verdicts", PATIENCE, || {
            let services = self.cloud.services()?.clusters.into_iter().flat_map(|cluster| cluster.services);
            let failing: Vec<_> = services
                .filter(|service| ["nginx", "mysql", "both", "dns"].contains(&service.name.as_str()))
                .filter_map(|service| Some((service.name, service.fault?)))
                .collect();
            let words: Vec<String> = failing
                .iter()
                .map(|(name, fault)| format!("{name}: {}, {}", fault.code, fault.certainty))
                .collect();
            let has = |name: &str| failing.iter().any(|(own, _)| own == name);
            let done =
                if all_answer { failing.is_empty() } else { has("mysql") && has("dns") && !has("nginx") };
            if done {
                return Ok(Ok(if words.is_empty() { "no fault".to_owned() } else { words.join("; ") }));
            }
            visit::all(&self.cluster.underlay.client, &visits, GIVEN_UP)?;
            Ok(Err(words.join("; ")))
        })
    }

    /// Waits until a Service answers that routing alone does not bring.
    fn wait_translated(&self) -> Result<(), LabError> {
        let to = self.cluster.service("mysql", false)?;
        until("mysql answers", PATIENCE, || {
            let outcome = visit::once(&self.cluster.underlay.client, Visit::tcp(to), GIVEN_UP)?;
            Ok(if outcome.answer().is_some() { Ok(()) } else { Err(outcome.to_string()) })
        })
    }

    fn survey(&self) -> Result<Survey, LabError> {
        let office = &self.cluster.underlay.client;
        let to = |name: &str| self.cluster.service(name, false);
        let mut visits = vec![
            Visit::tcp(to("nginx")?),
            Visit::tcp(to("mysql")?),
            Visit::udp(to("dns")?),
            Visit::tcp(to("empty")?),
            Visit::tcp(at(Host::Pod2, 3_306, false)?),
        ];
        visits.extend(vec![Visit::tcp(to("both")?); VISITS]);
        let echo = to("nginx")?.ip();
        let (mut outcomes, ping) = thread::scope(|scope| {
            let ping = scope.spawn(|| ping::once(office, echo, 56, GIVEN_UP));
            let outcomes = visit::all(office, &visits, GIVEN_UP);
            (outcomes, ping.join().unwrap_or_else(|cause| std::panic::resume_unwind(cause)))
        });
        let both = outcomes.as_mut().map(|all| all.split_off(5)).unwrap_or_default();
        let single = outcomes?;
        let [nginx, mysql, dns, empty, pod] =
            <[Outcome; 5]>::try_from(single).map_err(|_| LabError::check("a visit without an outcome"))?;
        let ping = ping?.map_or_else(|why| why, |_| "reply".to_owned());
        Ok(Survey { nginx, mysql, dns, empty, pod, both, ping })
    }
}

/// What the office got.
#[derive(Debug)]
struct Survey {
    nginx: Outcome,
    mysql: Outcome,
    dns: Outcome,
    empty: Outcome,
    pod: Outcome,
    both: Vec<Outcome>,
    ping: String,
}

impl Survey {
    fn answered(&self) -> usize {
        self.both.iter().filter(|outcome| outcome.answer().is_some()).count()
    }

    fn line(&self, scenario: &'static str, verdicts: String) -> Line {
        let answers = [
            ("nginx on node1", self.nginx.to_string()),
            ("mysql on node2", self.mysql.to_string()),
            ("on both nodes", format!("{} of {VISITS}", self.answered())),
            ("DNS on node2, UDP", self.dns.to_string()),
            ("no endpoints", self.empty.to_string()),
            ("mysql's Pod itself", self.pod.to_string()),
            ("ping", self.ping.clone()),
            ("verdict", verdicts),
        ];
        Line { scenario, answers: answers.into_iter().map(|(name, said)| (name.to_owned(), said)).collect() }
    }

    /// What is wrong with it, if anything; else the row's detail.
    fn check(&self, scene: Scene) -> Result<String, LabError> {
        let answered = self.answered();
        let good = |outcome: &Outcome| {
            outcome.answer().is_some_and(|answer| scene.seen_as.fits(&answer.saw.to_string()))
        };
        let mut wrong = Vec::new();
        for (name, outcome) in [("nginx", &self.nginx), ("mysql", &self.mysql), ("DNS", &self.dns)] {
            let expected = if name == "nginx" || scene.all_answer {
                good(outcome)
            } else {
                *outcome == Outcome::Silence
            };
            if !expected {
                wrong.push(format!("{name}: {outcome}"));
            }
        }
        if self.empty != Outcome::Refused {
            wrong.push(format!("no endpoints: {}", self.empty));
        }
        if self.pod.answer().is_none() {
            wrong.push(format!("mysql's Pod itself: {}", self.pod));
        }
        if scene.all_answer && answered != VISITS {
            wrong.push(format!("{answered} of {VISITS} visits to Pods on both nodes"));
        }
        if !wrong.is_empty() {
            return Err(LabError::check(wrong.join("; ")));
        }
        if scene.all_answer {
            return Ok(format!("every Service answers; Pods see {}", scene.seen_as.name()));
        }
        Ok(format!("mysql and DNS do not answer, {answered} of {VISITS} visits to Pods on both nodes do"))
    }
}

impl SeenAs {
    fn fits(self, saw: &str) -> bool {
        match self {
            Self::Client => saw == CLIENT,
            Self::Node => Host::Node1.all_addresses().contains(&saw),
            Self::Endpoint => saw == CLOUD,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Client => "the client's own address",
            Self::Node => "node1's address",
            Self::Endpoint => "the cloud endpoint's address",
        }
    }
}
