//! The lab with its two daemons, its taps, and what was measured before they started.

use std::{fmt::Write, net::IpAddr, path::Path, time::Duration};

use crate::lab::{
    Daemon, Entered, Lab, LabError, Namespace, Plan,
    capture::{Clear, Scope, Seen, Tap},
    dump::Dump,
    topology::{OFFICE, OFFICE6, POD, PODS, PODS6},
    traffic::{ping, tcp},
};

/// Networks whose traffic must never be seen outside.
const PROTECTED: [&str; 4] = [OFFICE, OFFICE6, PODS, PODS6];

/// Bits a second of one TCP connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Speed {
    /// From the office to the Pod.
    pub(super) to_pod: f64,
    /// From the Pod to the office.
    pub(super) to_office: f64,
}

/// Everything the checks work with.
#[derive(Debug)]
pub(super) struct World {
    /// The office endpoint's daemon.
    pub(super) office: Daemon,
    /// The cloud endpoint's daemon.
    pub(super) cloud: Daemon,
    /// What plain routing reached.
    pub(super) plain: Speed,
    /// How long one throughput measurement takes.
    pub(super) measure_for: Duration,
    /// Taps that last from before the daemons' start to their end.
    guards: Vec<Tap>,
    /// A tap on everything that leaves the office, while it runs.
    wire: Option<Tap>,
    before: Vec<(Namespace, Dump)>,
    /// Last, so that it goes after what runs inside.
    pub(super) lab: Lab,
}

impl World {
    /// Builds the lab, measures plain routing, prepares the daemons and starts the taps.
    pub(super) fn build(inside: &Entered, program: &Path, measure_for: Duration) -> Result<Self, LabError> {
        let lab = Lab::build(inside)?;
        lab.add_plain_routes()?;
        let pod: IpAddr = parse(POD)?;
        ping::until_answered(&lab.client, pod, Duration::from_secs(10))?;
        let plain = measure(&lab, measure_for)?;
        lab.remove_plain_routes()?;
        lab.make_vpc_stateful()?;
        let plan = Plan::default();
        let office = Daemon::prepare(&lab.edge, program, |folder| plan.office(folder))?;
        let cloud = Daemon::prepare(&lab.cloud, program, |folder| plan.cloud(folder))?;
        let before = [&lab.edge, &lab.cloud]
            .into_iter()
            .map(|namespace| Ok((namespace.clone(), Dump::take(namespace)?)))
            .collect::<Result<Vec<_>, LabError>>()?;
        let outside =
            |namespace, link| Tap::start(namespace, link, Scope::ExceptTunnel, Clear::Anything, &PROTECTED);
        let guards = vec![
            outside(&lab.edge, "wan0")?,
            outside(&lab.internet, "carrier0")?,
            outside(&lab.igw, "vpc0")?,
            Tap::start(&lab.cloud, "eth0", Scope::ExceptTunnel, Clear::SentTo, &[OFFICE, OFFICE6])?,
        ];
        let wire =
            Some(Tap::start(&lab.internet, "carrier0", Scope::Everything, Clear::Anything, &PROTECTED)?);
        Ok(Self { office, cloud, plain, measure_for, guards, wire, before, lab })
    }

    /// Stops the tap on everything and returns what it saw.
    pub(super) fn stop_wire_tap(&mut self) -> Option<Seen> {
        self.wire.take().map(Tap::stop)
    }

    /// What each lasting tap has seen.
    pub(super) fn guards(&self) -> impl Iterator<Item = (&str, Seen)> {
        self.guards.iter().map(|tap| (tap.name(), tap.seen()))
    }

    /// Ends the lasting taps: what follows may change links.
    pub(super) fn stop_guards(&mut self) {
        self.guards.clear();
    }

    /// The namespaces of both daemons as they were before.
    pub(super) fn before(&self) -> &[(Namespace, Dump)] {
        &self.before
    }

    /// One TCP connection each way through whatever joins office and Pod now.
    pub(super) fn speed(&self) -> Result<Speed, LabError> {
        measure(&self.lab, self.measure_for)
    }

    /// The last lines of both daemons.
    pub(super) fn last_words(&self) -> String {
        let words = |daemon: &Daemon| {
            format!(
                "\nlast lines of the daemon in {}:\n{}\n",
                daemon.namespace().name(),
                daemon.last_words(15)
            )
        };
        format!("{}{}", words(&self.office), words(&self.cloud))
    }

    /// How an operator gets a shell in the lab.
    pub(super) fn how_to_look_inside(&self, inside: &Entered) -> String {
        let pid = inside.outer_pid().map_or_else(|| "PID".to_owned(), |pid| pid.to_string());
        let user = if inside.in_user_namespace() { " --user --preserve-credentials" } else { "" };
        let mut text = String::from("\nthe lab stays up until Ctrl-C; a shell in each of its machines:\n");
        for namespace in self.lab.namespaces() {
            let name = namespace.name();
            let _ = writeln!(
                text,
                "  {name:<9} nsenter --target {pid}{user} --mount --pid nsenter --net=/run/netns/{name} bash"
            );
        }
        let _ = writeln!(text, "in edge and cloud, for example:");
        for daemon in [&self.office, &self.cloud] {
            let _ = writeln!(text, "  skybridge status --control {}", daemon.control().display());
        }
        text
    }
}

fn measure(lab: &Lab, duration: Duration) -> Result<Speed, LabError> {
    let (client, pod) = (parse(crate::lab::topology::CLIENT)?, parse(POD)?);
    Ok(Speed {
        to_pod: tcp::throughput(&lab.client, &lab.pod, pod, duration)?,
        to_office: tcp::throughput(&lab.pod, &lab.client, client, duration)?,
    })
}

/// An address of the topology.
pub(super) fn parse(address: &str) -> Result<IpAddr, LabError> {
    address.parse().map_err(|_| LabError::check(format!("not an address: {address}")))
}
