//! The office and a cluster: which Services answer, and as whom their Pods see the office.

mod faults;
mod hazards;
mod load;
mod rows;
mod translate;

use std::time::Duration;

use skybridge::lab::{
    Daemon, Entered, LabError, Plan,
    cluster::{Cluster, Host, Scenario, at},
    topology::{CLIENT, CLIENT6},
    traffic::{
        ping,
        visit::{self, Outcome, Visit},
    },
    wait::until,
};

use crate::{
    Test, ensure,
    pair::{PATIENCE, ip, program},
};

pub(crate) fn tests() -> Vec<Test> {
    [rows::TESTS, faults::TESTS, translate::TESTS, hazards::TESTS, load::TESTS].concat()
}

/// How long a visit is tried that must find nobody: the second try of a TCP client comes after one second.
const GIVEN_UP: Duration = Duration::from_millis(1_500);

/// An office and a cluster, joined. The daemons come first, so that they end before their world.
struct Joined {
    office: Daemon,
    cloud: Daemon,
    cluster: Cluster,
}

impl Joined {
    fn prepare(cluster: Cluster, plan: &Plan) -> Result<Self, LabError> {
        let office = Daemon::prepare(&cluster.underlay.edge, &program(), |folder| plan.office(folder))?;
        let cloud = Daemon::prepare(&cluster.underlay.cloud, &program(), |folder| plan.cloud(folder))?;
        Ok(Self { office, cloud, cluster })
    }

    /// Builds the world, and both daemons' files with the cluster's Services treated as told.
    fn prepare_with(inside: &Entered, scenario: Scenario, services: &str) -> Result<Self, LabError> {
        let cluster = Cluster::build(inside, scenario)?;
        let plan = cluster.plan_with(services);
        Self::prepare(cluster, &plan)
    }

    /// Starts both daemons and waits until they are joined.
    fn start(&mut self) -> Result<(), LabError> {
        self.cloud.start_and_wait()?;
        self.office.start_and_wait()?;
        self.office.wait_up("cloud", PATIENCE)?;
        self.cloud.wait_up("office", PATIENCE)
    }

    /// Builds the world and joins it, with the cluster's Services treated as told.
    fn up_with(inside: &Entered, scenario: Scenario, services: &str) -> Result<Self, LabError> {
        let mut joined = Self::prepare_with(inside, scenario, services)?;
        joined.start()?;
        joined.reach_nodes()?;
        Ok(joined)
    }

    /// Waits until a Service answers that routing alone would not bring, over both families.
    fn wait_translated(&self) -> Result<(), LabError> {
        for v6 in [false, true] {
            until("mysql answers", PATIENCE, || {
                let outcome = self.visit("mysql", v6, GIVEN_UP)?;
                Ok(if outcome.answer().is_some() { Ok(()) } else { Err(outcome.to_string()) })
            })
            .map_err(|error| LabError::check(format!("{error}\n{}", self.last_words())))?;
        }
        Ok(())
    }

    /// Waits until the office reaches the nodes over both families.
    fn reach_nodes(&self) -> Result<(), LabError> {
        for to in Host::Node1.addresses() {
            ping::until_answered(&self.cluster.underlay.client, ip(to), PATIENCE)?;
        }
        Ok(())
    }

    fn last_words(&self) -> String {
        let (office, cloud) = (self.office.last_words(15), self.cloud.last_words(15));
        format!("--- office:\n{office}\n--- cloud:\n{cloud}")
    }

    /// A TCP visit from the office to a Service.
    fn visit(&self, service: &str, v6: bool, patience: Duration) -> Result<Outcome, LabError> {
        let to = self.cluster.service(service, v6)?;
        visit::once(&self.cluster.underlay.client, Visit::tcp(to), patience)
    }
}

/// The office's machine.
fn client(v6: bool) -> std::net::IpAddr {
    ip(if v6 { CLIENT6 } else { CLIENT })
}
