//! What the cloud endpoint says of Services that do not answer, each way that a cluster is set wrongly, and that it
//! says nothing where all is well.

use std::{collections::BTreeMap, time::Duration};

use skybridge::{
    control::services::{Fault, ServiceStatus},
    lab::cluster::{Fabric, Masquerade, Operator, Proxy, ServiceRoute, services::Target},
};

use super::*;

pub(super) const TESTS: &[Test] = &[
    ("cluster::each_way_that_a_cluster_is_set_wrongly_has_its_verdict", routed),
    ("cluster::where_all_is_well_no_service_is_accused", well),
    ("cluster::what_keeps_translated_services_from_answering_is_told", translated),
];

/// How long a client tries: three SYNs.
const TRIES: Duration = Duration::from_millis(3_400);
/// How long a verdict may take: silence, probes, and for some a second look.
const VERDICT: Duration = Duration::from_secs(60);
/// Visits to a Service with a Pod on each node.
const MANY: usize = 24;

type Verdicts = [(&'static str, &'static str)];

const PATH: &str = "service-path";
const PAST: &str = "untranslated-reply";

fn routed(inside: &Entered) -> Result<(), LabError> {
    let scenario = Scenario::default();
    let probed = [("mysql", PATH), ("both", PATH), ("dns", PAST), ("empty", "no-endpoints")];
    let passed = [("mysql", PAST), ("both", PAST), ("dns", PAST), ("empty", "no-endpoints")];
    let rows: [(&str, Scenario, &Verdicts); 6] = [
        ("iptables, nothing masqueraded", scenario, &probed),
        (
            "the VPC passes replies without a request",
            Scenario { fabric: Fabric { stateful: false, ..Fabric::default() }, ..scenario },
            &passed,
        ),
        (
            "cluster addresses are the node's own",
            Scenario { proxy: Proxy::IptablesLocalAddresses, ..scenario },
            &probed,
        ),
        (
            "every route table has the Services' range",
            Scenario {
                fabric: Fabric { service_route: ServiceRoute::Everywhere, ..Fabric::default() },
                ..scenario
            },
            &probed,
        ),
        ("nftables, nothing masqueraded", Scenario { proxy: Proxy::Nftables, ..scenario }, &probed),
        (
            "the cloud endpoint masquerades, and no more",
            Scenario { operator: Operator::Snat, ..scenario },
            &[("mysql", PATH), ("both", PATH), ("empty", "no-endpoints")],
        ),
    ];
    let mut joined = Joined::up_with(inside, scenario, "route")?;
    for (name, scenario, verdicts) in rows {
        joined.cluster.set(scenario)?;
        joined.forget_verdicts()?;
        let found = joined.verdicts(verdicts).map_err(|error| LabError::check(format!("{name}: {error}")))?;
        println!("{name}:");
        for (service, fault) in &found {
            println!(
                "  {service}: {} ({}): {} {:?}",
                fault.code, fault.certainty, fault.what, fault.evidence
            );
        }
        let mysql = found.get("mysql").ok_or_else(|| LabError::check("no verdict on mysql"))?;
        let text = format!("{} {} {:?}", mysql.what, mysql.action, mysql.evidence);
        for part in ["node1", "node2", "services = \"translate\"", "clusterCIDR", "masqueradeAll"] {
            ensure(text.contains(part), format!("{name}: {part} is missing in {text}"))?;
        }
    }
    Ok(())
}

fn well(inside: &Entered) -> Result<(), LabError> {
    let scenario = Scenario::default();
    let mut joined = Joined::up_with(inside, scenario, "route")?;
    let cidr = Masquerade::ClusterCidr;
    let unrouted = Fabric { service_route: ServiceRoute::Nowhere, office_route: false, ..Fabric::default() };
    for scenario in [
        Scenario { masquerade: Masquerade::All, ..scenario },
        Scenario { proxy: Proxy::Nftables, masquerade: Masquerade::All, ..scenario },
        Scenario { masquerade: cidr, ..scenario },
        Scenario { proxy: Proxy::Nftables, masquerade: cidr, ..scenario },
        Scenario { operator: Operator::Dnat, ..scenario },
        Scenario { operator: Operator::DnatAndSnat, fabric: unrouted, ..scenario },
    ] {
        joined.cluster.set(scenario)?;
        joined.forget_verdicts()?;
        joined.all_well().map_err(|error| LabError::check(format!("{scenario:?}: {error}")))?;
    }
    Ok(())
}

fn translated(inside: &Entered) -> Result<(), LabError> {
    let fabric = Fabric { service_route: ServiceRoute::Nowhere, ..Fabric::default() };
    let scenario = Scenario { fabric, ..Scenario::default() };
    let mut joined = Joined::up_with(inside, scenario, "translate")?;
    joined.wait_translated()?;
    joined.forget_verdicts()?;
    joined.wait_translated()?;
    joined.all_well()?;

    joined.cluster.change(|catalogue| {
        let Some(nginx) = catalogue.get_mut("nginx") else { return };
        nginx.ports.iter_mut().for_each(|port| port.target = Target::Number(8_888));
    })?;
    joined.verdicts(&[("nginx", "endpoint-refuses"), ("empty", "no-endpoints")])?;

    let fabric = Fabric { office_route: false, ..fabric };
    joined.forget_verdicts()?;
    joined.cluster.set(Scenario { fabric, ..scenario })?;
    let found = joined.verdicts(&[("mysql", "replies-lost")])?;
    let text = found.get("mysql").map(|fault| fault.action.clone()).unwrap_or_default();
    for part in ["VPC route", "security group", "source/destination check", "translate-and-masquerade"] {
        ensure(text.contains(part), format!("{part} is missing in {text}"))?;
    }
    Ok(())
}

impl Joined {
    /// Starts the cloud endpoint anew, which knows nothing then.
    fn forget_verdicts(&mut self) -> Result<(), LabError> {
        self.cloud.stop()?;
        self.cloud.start_and_wait()?;
        self.office.wait_up("cloud", PATIENCE)?;
        self.cloud.wait_up("office", PATIENCE)?;
        self.reach_nodes()?;
        until("the cluster is read", PATIENCE, || {
            let synced = self.cloud.services()?.clusters.iter().all(|cluster| cluster.synced);
            Ok(if synced { Ok(()) } else { Err("not synced".to_owned()) })
        })
    }

    fn statuses(&self) -> Result<BTreeMap<String, ServiceStatus>, LabError> {
        let services = self.cloud.services()?.clusters.into_iter().flat_map(|cluster| cluster.services);
        Ok(services.map(|service| (service.name.clone(), service)).collect())
    }

    fn faults(&self) -> Result<BTreeMap<String, Fault>, LabError> {
        Ok(self.statuses()?.into_iter().filter_map(|(name, status)| Some((name, status.fault?))).collect())
    }

    /// Has clients come until exactly these Services are at fault, for these reasons.
    fn verdicts(&self, wanted: &Verdicts) -> Result<BTreeMap<String, Fault>, LabError> {
        let wanted: BTreeMap<&str, &str> = wanted.iter().copied().collect();
        let tcp = |name: &str| self.cluster.service(name, false).map(Visit::tcp);
        let mut visits = vec![Visit::udp(self.cluster.service("dns", false)?); 3];
        for name in ["nginx", "mysql", "empty"] {
            visits.extend([tcp(name)?; 3]);
        }
        visits.extend(vec![tcp("both")?; MANY]);
        let deadline = std::time::Instant::now() + VERDICT;
        loop {
            visit::all(&self.cluster.underlay.client, &visits, TRIES)?;
            let found = self.faults()?;
            let told: BTreeMap<&str, &str> =
                found.iter().map(|(name, fault)| (name.as_str(), fault.code.as_str())).collect();
            let all = wanted.iter().all(|(name, code)| told.get(name) == Some(code));
            if all {
                return Ok(found);
            }
            let why = || format!("wanted {wanted:?}, told {found:#?}\n{}", self.last_words());
            ensure(std::time::Instant::now() < deadline, why())?;
        }
    }

    /// Clients come and are served, and nothing is said of any Service but the one without endpoints.
    fn all_well(&self) -> Result<(), LabError> {
        let tcp = |name: &str| self.cluster.service(name, false).map(Visit::tcp);
        let mut visits = vec![Visit::udp(self.cluster.service("dns", false)?); 3];
        for name in ["nginx", "mysql", "both"] {
            visits.extend([tcp(name)?; 8]);
        }
        let outcomes = visit::all(&self.cluster.underlay.client, &visits, PATIENCE)?;
        let failed = outcomes.iter().find(|outcome| outcome.answer().is_none());
        ensure(failed.is_none(), format!("{failed:?}\n{}", self.last_words()))?;
        until("the visits are counted", PATIENCE, || {
            let statuses = self.statuses()?;
            let counted = |name: &str| statuses.get(name).map_or(0, |status| status.answered);
            let enough =
                ["nginx", "mysql", "both"].iter().all(|name| counted(name) >= 8) && counted("dns") >= 3;
            Ok(if enough { Ok(()) } else { Err(format!("{statuses:#?}")) })
        })?;
        for name in ["nginx", "mysql", "both", "dns"] {
            let statuses = self.statuses()?;
            let status = statuses.get(name).ok_or_else(|| LabError::check(format!("{name} is missing")))?;
            ensure(
                status.fault.is_none() && status.state == "ok" && status.unanswered == 0,
                format!("{status:#?}\n{}", self.last_words()),
            )?;
            ensure(status.last_connect_ms.is_some_and(|took| took > 0.0), format!("{status:#?}"))?;
        }
        Ok(())
    }
}
