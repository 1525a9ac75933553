//! Opens what the daemon runs on: sockets, tunnel device, data plane, system, control socket.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::DaemonError;
use super::ike_port::IkePort;
use super::keylog::KeyLogFiles;
use crate::config::Config;
use crate::control::{self, server};
use crate::dataplane::{DataPlane, DataPlaneConfig, IkeSender, IpsecSockets, PlainTun, SocketOptions};
use crate::esp::{Report, Snapshot};
use crate::system::{self, System};

/// Reports that may wait for the engine; more are counted and repeated by the workers.
const REPORTS: usize = 4096;

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
        let sockets = IpsecSockets::open(&endpoint.listen, natt, SocketOptions::default())
            .map_err(|source| DaemonError::Port { port: natt, source })?;
        let sockets = Arc::new(sockets);
        let tun = open_tun(&endpoint.device)?;
        let snapshot = Arc::new(ArcSwap::from_pointee(Snapshot::default()));
        let (report_sender, reports) = mpsc::channel(REPORTS);
        let settings = DataPlaneConfig { epoch, ..DataPlaneConfig::default() };
        let dataplane = DataPlane::start(
            settings,
            Box::new(tun),
            Arc::clone(&sockets),
            Arc::clone(&snapshot),
            report_sender,
        )
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
        let control = tokio::spawn(server::serve(listener, endpoint.control_group.clone(), sender));
        Ok(Self {
            ike_port,
            natt: IkeSender::new(sockets),
            dataplane,
            snapshot,
            reports,
            system,
            system_events,
            requests,
            control,
            keylog,
        })
    }
}

/// Makes the tunnel device.
pub(super) fn open_tun(name: &str) -> Result<PlainTun, DaemonError> {
    PlainTun::open(name).map_err(|source| DaemonError::Tun { name: name.to_owned(), source })
}
