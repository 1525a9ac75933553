//! The event loop: owns the engine, feeds it, and carries out what it says.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use super::expiry::Told;
use super::ike_port::IkePort;
use super::keylog::KeyLogFiles;
use super::parts::{Parts, open_tun};
use super::pause::Pause;
use super::service::StatusLine;
use super::{DaemonError, Options, desired, journal, service};
use crate::cluster::Clusters;
use crate::config::{self, Config};
use crate::control::api::Failure;
use crate::crypto::SystemRandom;
use crate::dataplane::{DataPlane, IkeSender, Sightings};
use crate::engine::{DEFAULT_OUTER_MTU, Engine, EngineConfig, Event, PeerSettings};
use crate::esp::{ClampMss, Report, Snapshot, Treatment};
use crate::ike::{self, Command, Datagram, DownReason, Now, PeerName, TransmitKind};
use crate::system::{self, Desired, Finding, System, TrafficSample, TrafficWatch, Underlay};

/// Reports taken in one turn, so that the timers keep their time.
const REPORTS_A_TURN: usize = 256;

/// How often the machine is inspected for what eats packets.
const INSPECTION: Duration = Duration::from_secs(60);

/// How often the kernel's counters are compared with ours.
const OBSERVATION: Duration = Duration::from_secs(10);

/// How long peers get to answer our deletes when we stop.
const FAREWELL: Duration = Duration::from_secs(2);

/// The least time between two attempts to make a lost tunnel device again.
const TUN_RETRY: Duration = Duration::from_secs(1);

/// How long a name server may take.
const RESOLVE_PATIENCE: Duration = Duration::from_secs(10);

/// Why and how often a peer did not come up.
#[derive(Clone, Debug)]
pub(super) struct LastFailure {
    at: Instant,
    count: u64,
    reason: String,
}

impl LastFailure {
    pub(super) fn reason(&self) -> &str {
        &self.reason
    }

    pub(super) fn show(&self) -> Failure {
        Failure { seconds_ago: self.at.elapsed().as_secs(), count: self.count, reason: self.reason.clone() }
    }
}

/// What background work reports back to the loop.
enum Fetched {
    Addresses(PeerName, Vec<IpAddr>),
    Inspected(Vec<Finding>),
    Underlay(PeerName, Underlay),
    Reconciled(Result<system::Report, system::SystemError>),
}

/// Everything the loop owns.
pub(super) struct Daemon {
    pub(super) options: Options,
    pub(super) config: Config,
    pub(super) engine: Engine,
    pub(super) dataplane: DataPlane,
    pub(super) started: Instant,
    pub(super) failures: BTreeMap<PeerName, LastFailure>,
    pub(super) findings: Vec<Finding>,
    standing: Vec<Finding>,
    inspected: Vec<Finding>,
    observed: Vec<Finding>,
    pub(super) of_clusters: Vec<Finding>,
    traffic_watch: TrafficWatch,
    pub(super) told: Told,
    pub(super) clusters: Clusters,
    pub(super) sightings: Sightings,
    sightings_lost: u64,
    /// What clusters told of their ranges.
    pub(super) discovered: BTreeMap<String, config::Discovered>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    ike_port: IkePort,
    natt: IkeSender,
    system: System,
    keylog: Option<KeyLogFiles>,
    fetched: mpsc::UnboundedSender<Fetched>,
    wanted: Desired,
    reconciling: Option<JoinHandle<()>>,
    reconcile_pause: Pause,
    status_line: StatusLine,
    tun_lost: Option<Instant>,
    send_failures: BTreeMap<IpAddr, Instant>,
}

/// Runs the daemon with a loaded configuration until it is told to stop.
pub(super) async fn run(options: Options, config: Config) -> Result<(), DaemonError> {
    for warning in &config.warnings {
        warn!("{warning}");
    }
    let started = Instant::now();
    let parts = Parts::open(&config, started).await?;
    let engine_config = EngineConfig {
        settings: config.endpoint.ike.clone(),
        peers: peer_settings(&config),
        replay_window: config.endpoint.replay_window,
        epoch: started,
    };
    let engine = Engine::new(engine_config, Box::new(SystemRandom::new()?), now());
    let (fetched, mut fetches) = mpsc::unbounded_channel();
    let Parts { mut reports, mut system_events, mut cluster_events, mut requests, control, .. } = parts;
    let mut daemon = Daemon {
        wanted: desired::desired(&config, &engine),
        options,
        config,
        engine,
        dataplane: parts.dataplane,
        started,
        failures: BTreeMap::new(),
        findings: Vec::new(),
        standing: Vec::new(),
        inspected: Vec::new(),
        observed: Vec::new(),
        of_clusters: Vec::new(),
        traffic_watch: TrafficWatch::new(),
        told: Told::default(),
        clusters: parts.clusters,
        sightings: parts.sightings,
        sightings_lost: 0,
        discovered: BTreeMap::new(),
        snapshot: parts.snapshot,
        ike_port: parts.ike_port,
        natt: parts.natt,
        system: parts.system,
        keylog: parts.keylog,
        fetched,
        reconciling: None,
        reconcile_pause: Pause::default(),
        status_line: StatusLine::default(),
        tun_lost: None,
        send_failures: BTreeMap::new(),
    };
    daemon.first_reconcile().await?;

    let io = DaemonError::io;
    let mut hangup = signal(SignalKind::hangup()).map_err(io("cannot catch SIGHUP"))?;
    let mut terminate = signal(SignalKind::terminate()).map_err(io("cannot catch SIGTERM"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(io("cannot catch SIGINT"))?;
    let mut inspection = tokio::time::interval(INSPECTION);
    let mut watchdog = tokio::time::interval(service::watchdog_interval().unwrap_or(INSPECTION));
    let mut observation = tokio::time::interval(OBSERVATION);
    inspection.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    observation.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    info!(
        name = daemon.config.endpoint.name,
        device = daemon.config.endpoint.device,
        peers = daemon.config.peers.len(),
        workers = daemon.dataplane.workers(),
        offloads = %daemon.dataplane.offloads(),
        "skybridge {} is up",
        env!("CARGO_PKG_VERSION")
    );
    service::ready();

    daemon.engine.handle_timeout(daemon.now());
    loop {
        daemon.flush();
        let deadline = daemon.engine.poll_timeout();
        tokio::select! {
            Some(report) = reports.recv() => daemon.take_reports(report, &mut reports),
            ready = daemon.ike_port.ready() => match ready {
                Ok(()) => daemon.receive_ike(),
                Err(error) => warn!("UDP port {}: {error}", daemon.config.endpoint.ike.ike_port),
            },
            () = sleep_until(deadline) => daemon.engine.handle_timeout(daemon.now()),
            () = sleep_until(daemon.reconcile_pause.due()) => daemon.reconcile_if_changed(),
            () = sleep_until(daemon.status_line.due()) => daemon.tell_status(),
            Some(request) = requests.recv() => daemon.take_request(request),
            Some(event) = system_events.recv() => daemon.take_system_event(event),
            Some(event) = cluster_events.recv() => daemon.take_cluster_event(event),
            Some(fetched) = fetches.recv() => daemon.take_fetched(fetched),
            _ = inspection.tick() => {
                daemon.inspect();
                daemon.warn_of_expiry();
            }
            _ = observation.tick() => daemon.observe(),
            _ = watchdog.tick() => {
                service::alive();
                daemon.tell_status();
            }
            _ = hangup.recv() => {
                let _ = daemon.reload();
            }
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    info!("stopping");
    service::stopping();
    control.abort();
    daemon.say_farewell(&mut reports).await;
    daemon.stop().await
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

pub(super) fn now() -> Now {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Now::new(Instant::now(), i64::try_from(since_epoch).unwrap_or(i64::MAX))
}

/// The peers as the engine takes them.
pub(super) fn peer_settings(config: &Config) -> Vec<PeerSettings> {
    config
        .peers
        .iter()
        .map(|peer| PeerSettings {
            ike: peer.ike.clone(),
            treatment: Treatment {
                max_inner_mtu: peer.mtu,
                clamp_mss: match peer.clamp_mss {
                    config::ClampMss::Auto => ClampMss::Auto,
                    config::ClampMss::Off => ClampMss::Off,
                    config::ClampMss::To(octets) => ClampMss::To(octets),
                },
                copy_dscp: peer.copy_dscp,
                copy_ecn: peer.copy_ecn,
            },
            outer_mtu: DEFAULT_OUTER_MTU,
        })
        .collect()
}

impl Daemon {
    pub(super) fn now(&self) -> Now {
        now()
    }

    /// Carries out what the engine says until it is silent.
    fn flush(&mut self) {
        let (mut changed, mut news) = (false, false);
        // The workers know a new SA before the peer can learn of it: its first packet may overtake
        // anything else we do.
        if let Some(snapshot) = self.engine.poll_snapshot() {
            self.snapshot.store(snapshot);
            self.dataplane.wake();
            changed = true;
        }
        while let Some(transmit) = self.engine.poll_transmit() {
            self.send(&transmit);
        }
        while let Some(event) = self.engine.poll_event() {
            journal::engine_event(&event);
            changed |= self.take_engine_event(event);
            news = true;
        }
        if news {
            self.tell_status();
        }
        if changed {
            self.reconcile_if_changed();
        }
    }

    fn tell_status(&mut self) {
        let mut line = std::mem::take(&mut self.status_line);
        line.tell(|| self.summary());
        self.status_line = line;
    }

    fn send(&mut self, transmit: &ike::Transmit) {
        let ike::Transmit { local, remote, encapsulated, kind, octets, dont_fragment } = transmit;
        let (local, remote, dont_fragment) = (*local, *remote, *dont_fragment);
        let sent = match kind {
            TransmitKind::Keepalive => self.natt.send_keepalive(local, remote),
            TransmitKind::Ike if *encapsulated => self.natt.send(local, remote, octets, dont_fragment),
            TransmitKind::Ike => self.ike_port.send(local, remote, octets, dont_fragment),
        };
        if let Err(error) = sent {
            self.sending_failed(remote, &error);
        }
    }

    /// Says that sending fails, once a minute a peer: retransmission tries again anyway.
    fn sending_failed(&mut self, remote: SocketAddr, error: &std::io::Error) {
        let before = self.send_failures.insert(remote.ip(), Instant::now());
        if before.is_none_or(|before| before.elapsed() >= INSPECTION) {
            warn!(%remote, "cannot send: {error}");
            if let Some(peer) = self.engine.endpoint().peer_at(remote.ip()) {
                let reason =
                    format!("cannot send to {}: {error}; `ip route get {0}` shows the way", remote.ip());
                self.failed(peer, reason);
            }
        }
        if self.send_failures.len() > 1000 {
            self.send_failures.clear();
        }
    }

    /// Acts on an event; tells whether routes may have to change.
    fn take_engine_event(&mut self, event: Event) -> bool {
        match event {
            Event::ChildUp(up) => {
                self.failures.remove(&up.peer);
                self.look_up_underlay(up.peer, up.peer_address.ip());
                true
            }
            Event::ChildDown { .. } => true,
            Event::ChildUnusable { peer, reason, .. } => {
                self.failed(peer, format!("the negotiated keys cannot be used: {reason}"));
                false
            }
            Event::OuterTooBig { remote, .. } => {
                if let Some(peer) = self.engine.peer_at(remote) {
                    self.look_up_underlay(peer, remote.ip());
                }
                false
            }
            Event::TunGone => {
                self.restore_tun();
                false
            }
            Event::Degraded(_) => false,
            Event::Ike(event) => self.take_ike_event(event),
        }
    }

    fn take_ike_event(&mut self, event: ike::Event) -> bool {
        match event {
            ike::Event::Refused { peer: Some(peer), reason, .. } => self.failed(peer, reason),
            ike::Event::IkeDown { peer, reason, .. } => match reason {
                DownReason::PeerDead => {
                    self.failed(
                        peer,
                        "the peer does not answer: check that it runs, its address, and that \
                        UDP 500 and 4500 pass the firewalls between"
                            .to_owned(),
                    );
                }
                DownReason::Failed(reason) => self.failed(peer, reason),
                _ => {}
            },
            ike::Event::Resolve { peer, name } => self.resolve(peer, name),
            ike::Event::KeyLog(keys) => {
                if let Some(Err(error)) = self.keylog.as_mut().map(|log| log.write(&keys)) {
                    warn!("cannot write key tables: {error}");
                }
            }
            ike::Event::PathChanged { .. } | ike::Event::PathMtu { .. } => return true,
            _ => {}
        }
        false
    }

    fn failed(&mut self, peer: PeerName, reason: String) {
        let count = self.failures.get(&peer).map_or(0, |failure| failure.count) + 1;
        self.failures.insert(peer, LastFailure { at: Instant::now(), count, reason });
    }

    fn resolve(&self, peer: PeerName, name: String) {
        let fetched = self.fetched.clone();
        tokio::spawn(async move {
            let looked_up =
                tokio::time::timeout(RESOLVE_PATIENCE, tokio::net::lookup_host((name.as_str(), 0)));
            let addresses = match looked_up.await {
                Ok(Ok(found)) => found.map(|address| address.ip()).collect(),
                Ok(Err(error)) => {
                    warn!(%peer, name, "the peer's name does not resolve: {error}");
                    Vec::new()
                }
                Err(_) => {
                    warn!(%peer, name, "the name server does not answer");
                    Vec::new()
                }
            };
            let _ = fetched.send(Fetched::Addresses(peer, addresses));
        });
    }

    fn look_up_underlay(&self, peer: PeerName, remote: IpAddr) {
        let (system, fetched) = (self.system.clone(), self.fetched.clone());
        tokio::spawn(async move {
            if let Ok(underlay) = system.underlay(remote).await {
                let _ = fetched.send(Fetched::Underlay(peer, underlay));
            }
        });
    }

    fn inspect(&self) {
        let (system, fetched) = (self.system.clone(), self.fetched.clone());
        tokio::spawn(async move {
            let _ = fetched.send(Fetched::Inspected(system.inspect().await));
        });
    }

    fn take_fetched(&mut self, fetched: Fetched) {
        match fetched {
            Fetched::Addresses(peer, addresses) => {
                if addresses.is_empty() {
                    self.failed(
                        peer.clone(),
                        "the peer's name does not resolve: check DNS and `remote`".to_owned(),
                    );
                }
                let _ = self.engine.handle_command(now(), Command::PeerAddresses { peer, addresses });
            }
            Fetched::Inspected(findings) => {
                self.inspected = findings;
                self.gather_findings();
            }
            Fetched::Underlay(peer, underlay) => {
                let mtu = u16::try_from(underlay.mtu).unwrap_or(u16::MAX);
                if self.engine.set_interface_mtu(&peer, mtu) {
                    self.reconcile_if_changed();
                }
            }
            Fetched::Reconciled(outcome) => {
                self.reconciling = None;
                self.reconcile_pause.done();
                match outcome {
                    Ok(report) => {
                        journal::report(&report);
                        self.standing = report.findings;
                        self.gather_findings();
                    }
                    Err(error) => error!("routes and settings could not be made right: {error}"),
                }
                self.reconcile_if_changed();
            }
        }
    }

    async fn first_reconcile(&mut self) -> Result<(), DaemonError> {
        let report = self.system.reconcile(self.wanted.clone()).await?;
        journal::report(&report);
        self.standing = report.findings;
        self.gather_findings();
        Ok(())
    }

    /// Compares the kernel's counters with ours: packets that we hand over and nobody gets.
    fn observe(&mut self) {
        use std::sync::atomic::Ordering::Relaxed;
        let counters = self.dataplane.counters();
        let sample = TrafficSample {
            to_kernel: counters.tun_writes.load(Relaxed),
            outer_sent: counters.udp_writes.load(Relaxed),
            outer_received: counters.udp_reads.load(Relaxed),
        };
        let lost = counters.sightings_lost.load(Relaxed);
        if lost != self.sightings_lost {
            self.sightings_lost = lost;
            self.clusters.sightings_lost();
        }
        self.observed = self.traffic_watch.observe(sample);
        self.gather_findings();
    }

    /// Joins what all kinds of looking found, worst first; a new finding goes to the log.
    pub(super) fn gather_findings(&mut self) {
        let mut findings: Vec<Finding> = Vec::new();
        let found = [&self.standing, &self.inspected, &self.observed, &self.of_clusters];
        for finding in found.into_iter().flatten() {
            if !findings.iter().any(|known| known.code == finding.code && known.where_ == finding.where_) {
                findings.push(finding.clone());
            }
        }
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        for finding in &findings {
            if !self.findings.iter().any(|known| known.code == finding.code && known.where_ == finding.where_)
            {
                warn!("{finding}");
            }
        }
        self.findings = findings;
    }

    /// Brings the machine to what is desired now, in a task, one at a time.
    pub(super) fn reconcile_if_changed(&mut self) {
        if !self.reconcile_pause.is_over() || self.reconciling.is_some() {
            return;
        }
        self.reconcile_pause.begin();
        let wanted = desired::desired(&self.config, &self.engine);
        if wanted == self.wanted {
            self.reconcile_pause.done();
            return;
        }
        self.wanted = wanted.clone();
        let (system, fetched) = (self.system.clone(), self.fetched.clone());
        self.reconciling = Some(tokio::spawn(async move {
            let _ = fetched.send(Fetched::Reconciled(system.reconcile(wanted).await));
        }));
    }

    fn restore_tun(&mut self) {
        if self.tun_lost.is_some_and(|at| at.elapsed() < TUN_RETRY) {
            return;
        }
        self.tun_lost = Some(Instant::now());
        match open_tun(&self.config.endpoint, self.dataplane.workers()) {
            Ok(queues) => {
                self.dataplane.replace_tun(queues);
                let (system, fetched, wanted) =
                    (self.system.clone(), self.fetched.clone(), self.wanted.clone());
                self.reconciling = Some(tokio::spawn(async move {
                    let _ = fetched.send(Fetched::Reconciled(system.reconcile(wanted).await));
                }));
            }
            Err(error) => error!("{error}"),
        }
    }

    fn take_reports(&mut self, first: Report, reports: &mut mpsc::Receiver<Report>) {
        self.engine.handle_report(now(), first);
        for _ in 1..REPORTS_A_TURN {
            let Ok(report) = reports.try_recv() else { break };
            self.engine.handle_report(now(), report);
        }
    }

    fn receive_ike(&mut self) {
        let Self { ike_port, engine, .. } = self;
        ike_port.receive(|local, remote, octets| {
            engine.handle_datagram(now(), Datagram { local, remote, octets, encapsulated: false });
        });
    }

    fn take_system_event(&mut self, event: system::Event) {
        match event {
            system::Event::RouteRestored { route } => {
                warn!("a route of ours had been removed and is back: {route}")
            }
            system::Event::TunMissing { name } => {
                warn!("the tunnel device {name} is gone");
                self.restore_tun();
            }
            system::Event::TunRestored { name, what } => {
                warn!("{name} had been changed and is right again: {what}")
            }
            system::Event::AddressesChanged { addresses } => {
                let addresses: Vec<_> = addresses.into_iter().map(|address| address.address).collect();
                info!(?addresses, "this machine's addresses changed");
                let _ = self.engine.handle_command(now(), Command::LocalAddressesChanged { addresses });
            }
            system::Event::UnderlayChanged { peer, underlay } => {
                info!(%peer, ?underlay, "the way to the peer changed");
                if let Some(underlay) = underlay {
                    let mtu = u16::try_from(underlay.mtu).unwrap_or(u16::MAX);
                    // A peer may be where no configuration says, found by name or having come by itself.
                    let mut names = self.engine.peers_to(peer);
                    let configured = self.config.peers.iter().filter(|config| {
                        desired::configured(config).contains(&peer) && !names.contains(&config.ike.name)
                    });
                    let configured: Vec<_> = configured.map(|config| config.ike.name.clone()).collect();
                    names.extend(configured);
                    let mut changed = false;
                    for name in names {
                        changed |= self.engine.set_interface_mtu(&name, mtu);
                    }
                    if changed {
                        self.reconcile_if_changed();
                    }
                }
            }
            system::Event::Resynced => {
                info!("the kernel dropped notifications: everything was compared again")
            }
            system::Event::Finding(finding) => {
                if !self.standing.contains(&finding) {
                    self.standing.push(finding);
                }
                self.gather_findings();
            }
        }
    }

    /// Tells the peers that we stop, and gives them a moment to answer.
    async fn say_farewell(&mut self, reports: &mut mpsc::Receiver<Report>) {
        let _ = self.engine.handle_command(now(), Command::Shutdown);
        let until = Instant::now() + FAREWELL;
        loop {
            self.flush();
            if self.engine.endpoint().is_idle() || Instant::now() >= until {
                return;
            }
            let next = self.engine.poll_timeout().map_or(until, |at| at.min(until));
            tokio::select! {
                Some(report) = reports.recv() => self.take_reports(report, reports),
                Ok(()) = self.ike_port.ready() => self.receive_ike(),
                () = sleep_until(Some(next)) => self.engine.handle_timeout(now()),
            }
        }
    }

    /// Takes back what was changed in the system.
    async fn stop(self) -> Result<(), DaemonError> {
        if let Some(task) = self.reconciling {
            let _ = task.await;
        }
        self.clusters.stop().await;
        let when_stopped = match self.config.endpoint.when_stopped {
            config::WhenStopped::Block => system::WhenStopped::Block,
            config::WhenStopped::Clear => system::WhenStopped::Clear,
        };
        let report = self.system.stop(when_stopped).await?;
        journal::report(&report);
        self.dataplane.stop().map_err(DaemonError::io("the data plane failed"))?;
        let _ = std::fs::remove_file(&self.config.endpoint.control_socket);
        info!("stopped");
        Ok(())
    }
}
