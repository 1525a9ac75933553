//! The office and a cluster: which Services answer, and as whom their Pods see the office.

mod rows;

use std::time::Duration;

use skybridge::lab::{
    Daemon, Entered, LabError, Plan,
    cluster::{Cluster, Host, Scenario, at},
    topology::{CLIENT, CLIENT6},
    traffic::{
        ping,
        visit::{self, Outcome, Visit},
    },
};

use crate::{
    Test, ensure,
    pair::{PATIENCE, ip, program},
};

pub(crate) fn tests() -> Vec<Test> {
    [rows::TESTS].concat()
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
    /// Builds the world and joins it.
    fn up(inside: &Entered, scenario: Scenario, plan: &Plan) -> Result<Self, LabError> {
        let cluster = Cluster::build(inside, scenario)?;
        let office = Daemon::prepare(&cluster.underlay.edge, &program(), |folder| plan.office(folder))?;
        let cloud = Daemon::prepare(&cluster.underlay.cloud, &program(), |folder| plan.cloud(folder))?;
        let mut joined = Self { office, cloud, cluster };
        joined.cloud.start_and_wait()?;
        joined.office.start_and_wait()?;
        joined.office.wait_up("cloud", PATIENCE)?;
        joined.cloud.wait_up("office", PATIENCE)?;
        Ok(joined)
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
