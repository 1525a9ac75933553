//! Opens what the daemon runs on: sockets, tunnel device, data plane, system, control socket.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::DaemonError;
use super::ike_port::IkePort;
use super::keylog::KeyLogFiles;
use crate::cluster::{self, Clusters};
use crate::config::{self, Config, Endpoint};
use crate::control::{self, server};
use crate::dataplane::{
    DataPlane, DataPlaneConfig, IkeSender, IpsecSockets, KernelTun, Polling, Sightings, SocketOptions,
    TunDevice,
};
use crate::esp::{Report, Snapshot};
use crate::system::{self, System};

/// Workers that are started without being asked for.
const MOST_WORKERS: usize = 4;

/// Reports that may wait for the engine; more are counted and repeated by the workers.
const REPORTS: usize = 4096;

/// Headers that may wait for the fault detector; more are counted.
const SIGHTINGS: usize = 4096;

/// Requests that may wait on the control socket.
const REQUESTS: usize = 16;

/// How often routes and sysctls are compared although the kernel reported nothing.
const POLL: Duration = Duration::from_secs(30);

/// The open parts.
pub(super) struct Parts {
    pub(super) ike_port: IkePort,
    pub(super) natt: IkeSender,
    pub(super) dataplane: DataPlane,
    pub(super) snapshot: Arc<ArcSwap<Snapshot>>,
    pub(super) reports: mpsc::Receiver<Report>,
    pub(super) system: System,
    pub(super) system_events: mpsc::Receiver<system::Event>,
    pub(super) clusters: Clusters,
    pub(super) sightings: Sightings,
    pub(super) cluster_events: mpsc::Receiver<cluster::Event>,
    pub(super) requests: mpsc::Receiver<control::Request>,
    pub(super) control: JoinHandle<std::io::Result<()>>,
    pub(super) keylog: Option<KeyLogFiles>,
}

impl Parts {
    /// Opens everything; `epoch` is zero of the data plane's clock.
    pub(super) async fn open(config: &Config, epoch: Instant) -> Result<Self, DaemonError> {
        let endpoint = &config.endpoint;
        let listener = server::bind(&endpoint.control_socket, endpoint.control_group.as_deref())
            .map_err(|source| DaemonError::Control { path: endpoint.control_socket.clone(), source })?;
        let opened = Self::open_behind(listener, config, epoch).await;
        if opened.is_err() {
            let _ = std::fs::remove_file(&endpoint.control_socket);
        }
        opened
    }

    async fn open_behind(
        listener: UnixListener,
        config: &Config,
        epoch: Instant,
    ) -> Result<Self, DaemonError> {
        let endpoint = &config.endpoint;
        let (ike, natt) = (endpoint.ike.ike_port, endpoint.ike.natt_port);
        let (sender, requests) = mpsc::channel(REQUESTS);
        let options = system::Options {
            state_dir: endpoint.state_dir.clone(),
            poll: POLL,
            ports: [ike, natt],
            ..system::Options::default()
        };
        let (system, system_events) = System::start(options).await?;
        let ike_port =
            IkePort::open(&endpoint.listen, ike).map_err(|source| DaemonError::Port { port: ike, source })?;
        let queues = workers(&endpoint.dataplane);
        let sockets = IpsecSockets::open_groups(&endpoint.listen, natt, SocketOptions::default(), queues)
            .map_err(|source| DaemonError::Port { port: natt, source })?;
        let tuns = open_tun(endpoint, queues)?;
        let snapshot = Arc::new(ArcSwap::from_pointee(Snapshot::default()));
        let (report_sender, reports) = mpsc::channel(REPORTS);
        let (sightings, sighted) = Sightings::channel(SIGHTINGS);
        sightings.switch(!config.clusters.is_empty());
        let settings = DataPlaneConfig {
            epoch,
            sightings: Some(sightings.clone()),
            offload: endpoint.dataplane.offload,
            polling: polling(&endpoint.dataplane),
            ..DataPlaneConfig::default()
        };
        let first = sockets
            .first()
            .cloned()
            .ok_or(DaemonError::Port { port: natt, source: std::io::Error::other("no socket") })?;
        let dataplane = DataPlane::start(settings, tuns.into_iter().zip(sockets), &snapshot, &report_sender)
            .map_err(DaemonError::io("cannot start the data plane"))?;
        let keylog = match &endpoint.logging.keylog {
            Some(path) => Some(
                KeyLogFiles::open(path)
                    .map_err(|source| DaemonError::KeyLog { path: path.clone(), source })?,
            ),
            None => None,
        };
        if let Some(path) = &endpoint.logging.keylog {
            tracing::warn!(
                "KEYS ARE WRITTEN TO {}: whoever reads that folder reads all traffic; \
                 remove endpoint.log.keylog when done",
                path.display()
            );
        }
        let (clusters, cluster_events) = Clusters::start(&endpoint.device, config.clusters.clone(), sighted);
        let control = tokio::spawn(server::serve(listener, endpoint.control_group.clone(), sender));
        Ok(Self {
            ike_port,
            natt: IkeSender::new(first),
            dataplane,
            snapshot,
            reports,
            system,
            system_events,
            clusters,
            sightings,
            cluster_events,
            requests,
            control,
            keylog,
        })
    }
}

/// Makes the tunnel device with so many queues.
pub(super) fn open_tun(endpoint: &Endpoint, queues: usize) -> Result<Vec<Box<dyn TunDevice>>, DaemonError> {
    let name = &endpoint.device;
    let opened = KernelTun::open(name, queues, endpoint.dataplane.offload)
        .map_err(|source| DaemonError::Tun { name: name.to_owned(), source })?;
    Ok(opened.into_iter().map(|queue| Box::new(queue) as Box<dyn TunDevice>).collect())
}

/// What workers do before they sleep.
pub(super) fn polling(settings: &config::DataPlane) -> Polling {
    match settings.polling {
        config::Polling::Off => Polling::Off,
        config::Polling::Adaptive(time) => Polling::Adaptive(time),
        config::Polling::LowLatency(time) => Polling::LowLatency(time),
    }
}

/// How many workers there are: as configured, or one for every two processors, since the kernel and the
/// programs that the traffic is for need the others.
fn workers(settings: &config::DataPlane) -> usize {
    let chosen = || {
        let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        (processors / 2).clamp(1, MOST_WORKERS)
    };
    settings.workers.map_or_else(chosen, NonZeroUsize::get)
}
