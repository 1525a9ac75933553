//! A lab with a daemon at each end.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use skybridge::lab::{
    Daemon, Entered, Lab, LabError, Namespace, Plan,
    capture::{Clear, Scope, Tap},
    topology::{CLIENT, CLIENT6, OFFICE, OFFICE6, POD, POD6, PODS, PODS6},
    traffic::{ping, stream::Stream},
    wait::until,
};

use crate::ensure;

/// Names another executable than the one cargo built.
pub(crate) const PROGRAM: &str = "SKYLAB_PROGRAM";

/// For whatever takes a few round trips.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// For whatever needs the peer to be found dead first.
pub(crate) const RECOVERY: Duration = Duration::from_secs(60);

pub(crate) fn program() -> PathBuf {
    std::env::var_os(PROGRAM).map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_skybridge")), PathBuf::from)
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// An office and a cloud endpoint. The daemons come first, so that they end before their world.
pub(crate) struct Pair {
    pub(crate) office: Daemon,
    pub(crate) cloud: Daemon,
    pub(crate) lab: Lab,
}

impl Pair {
    /// Builds the world and both daemons' files, and starts neither.
    pub(crate) fn prepare(inside: &Entered, plan: &Plan) -> Result<Self, LabError> {
        let lab = Lab::build(inside)?;
        lab.make_vpc_stateful()?;
        let office = Daemon::prepare(&lab.edge, &program(), |folder| plan.office(folder))?;
        let cloud = Daemon::prepare(&lab.cloud, &program(), |folder| plan.cloud(folder))?;
        Ok(Self { office, cloud, lab })
    }

    /// As [`Pair::prepare`], with both daemons started and the tunnel up.
    pub(crate) fn up(inside: &Entered, plan: &Plan) -> Result<Self, LabError> {
        let mut pair = Self::prepare(inside, plan)?;
        pair.cloud.start_and_wait()?;
        pair.office.start_and_wait()?;
        pair.wait_up(PATIENCE)?;
        Ok(pair)
    }

    /// Waits until both ends say that every tunnel is up and traffic passes both ways.
    pub(crate) fn wait_up(&mut self, patience: Duration) -> Result<(), LabError> {
        self.office.wait_up("cloud", patience)?;
        self.cloud.wait_up("office", patience)?;
        self.reach(patience)
    }

    /// Waits until the office reaches the Pod and the other way round, over IPv4 and IPv6.
    pub(crate) fn reach(&self, patience: Duration) -> Result<(), LabError> {
        for (from, to) in [
            (&self.lab.client, POD),
            (&self.lab.pod, CLIENT),
            (&self.lab.client, POD6),
            (&self.lab.pod, CLIENT6),
        ] {
            ping::until_answered(from, ip(to), patience)
                .map_err(|error| LabError::check(format!("{error}\n{}", self.last_words())))?;
        }
        Ok(())
    }

    pub(crate) fn last_words(&self) -> String {
        let (office, cloud) = (self.office.last_words(15), self.cloud.last_words(15));
        format!("--- office:\n{office}\n--- cloud:\n{cloud}")
    }

    /// The IKE SA's SPIs at both ends; equal where both speak of the same.
    pub(crate) fn ike(&self) -> Result<[Option<(String, String)>; 2], LabError> {
        let spis = |daemon: &Daemon, peer: &str| -> Result<_, LabError> {
            Ok(daemon.peer(peer)?.ike.map(|ike| (ike.initiator_spi, ike.responder_spi)))
        };
        Ok([spis(&self.office, "cloud")?, spis(&self.cloud, "office")?])
    }

    /// A stream from the office to the Pod.
    pub(crate) fn stream(&self, rate: u32) -> Result<Stream, LabError> {
        Stream::start(&self.lab.client, &self.lab.pod, ip(POD), rate, 200)
    }

    /// Taps wherever protected traffic must not be seen.
    pub(crate) fn guard(&self) -> Result<Guard, LabError> {
        let protected = [OFFICE, OFFICE6, PODS, PODS6];
        let outside = |namespace: &Namespace, link| {
            Tap::start(namespace, link, Scope::ExceptTunnel, Clear::Anything, &protected)
        };
        let inside =
            Tap::start(&self.lab.cloud, "eth0", Scope::ExceptTunnel, Clear::SentTo, &[OFFICE, OFFICE6])?;
        Ok(Guard(vec![outside(&self.lab.edge, "wan0")?, outside(&self.lab.internet, "carrier0")?, inside]))
    }
}

/// Taps that must see nothing in clear.
pub(crate) struct Guard(Vec<Tap>);

impl Guard {
    pub(crate) fn saw_nothing(self) -> Result<(), LabError> {
        for tap in self.0 {
            let name = tap.name().to_owned();
            let seen = tap.stop();
            ensure(seen.clear == 0, format!("{name}: {seen:?}"))?;
        }
        Ok(())
    }
}

/// Waits until so many more datagrams of a stream have arrived.
pub(crate) fn flows(stream: &Stream, more: u64, patience: Duration) -> Result<(), LabError> {
    let goal = stream.received() + more;
    until(&format!("{more} more datagrams arrive"), patience, || {
        let left = goal.saturating_sub(stream.received());
        Ok(if left == 0 { Ok(()) } else { Err(format!("{left} to go")) })
    })
}
