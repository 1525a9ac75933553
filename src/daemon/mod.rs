//! The composition root: starts, joins and stops the parts; the only place that knows them all.
//!
//! [`run`] reads the configuration, gives up privileges, opens the devices and hands over to one
//! event loop (`core.rs`) that owns the engine. The packet path runs on its own threads; netlink,
//! name resolution and inspection run in tasks, so that nothing slow stands between a datagram and
//! its answer.

mod clusters;
mod core;
mod desired;
mod expiry;
mod ike_port;
mod journal;
mod keylog;
mod logging;
mod parts;
mod pause;
mod requests;
mod service;
mod status;

use std::io;
use std::path::PathBuf;

use crate::cluster::table;
use crate::config::{self, Config, Diagnostics, Inputs};
use crate::crypto::CryptoError;
use crate::system::{self, SystemError, privileges};

/// What `skybridge run` was told.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configuration file.
    pub config: PathBuf,
}

/// Why the daemon did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The configuration has errors.
    #[error("{0}")]
    Config(Diagnostics),
    /// A UDP port could not be opened.
    #[error("cannot open UDP port {port}: {}", port_advice(source))]
    Port {
        /// The port.
        port: u16,
        /// What the system said.
        source: io::Error,
    },
    /// The tunnel device could not be made.
    #[error("cannot make the tunnel device {name}: {}", tun_advice(source))]
    Tun {
        /// Its name.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// The control socket could not be opened.
    #[error("cannot open the control socket {}: {source}", path.display())]
    Control {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The key tables could not be opened.
    #[error("cannot write key tables to {}: {source}", path.display())]
    KeyLog {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The operating system refused something.
    #[error(transparent)]
    System(#[from] SystemError),
    /// There is no randomness.
    #[error("no randomness from the system: {0}")]
    Random(#[from] CryptoError),
    /// Anything else.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        source: io::Error,
    },
}

/// What is in the way of a port, and what to do about it.
fn port_advice(source: &io::Error) -> String {
    match source.kind() {
        io::ErrorKind::AddrInUse => {
            "another program has it: `ss -ulpn` shows which; stop that, or choose others by \
             endpoint.ike_port and endpoint.natt_port"
                .to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            format!("{source}; run as root or by the service unit (it needs CAP_NET_BIND_SERVICE)")
        }
        io::ErrorKind::AddrNotAvailable => "this machine has no such address: correct endpoint.listen, \
             or leave it out to listen on all"
            .to_owned(),
        _ => source.to_string(),
    }
}

/// What is in the way of the tunnel device, and what to do about it.
fn tun_advice(source: &io::Error) -> String {
    if source.kind() == io::ErrorKind::ResourceBusy {
        return "another program has it: stop that, or choose another name by endpoint.device".to_owned();
    }
    format!("{source}; it needs /dev/net/tun and CAP_NET_ADMIN (run as root or by the service unit)")
}

impl DaemonError {
    fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

/// Runs the daemon until it is told to stop. Call it before any thread is started: privileges belong
/// to threads.
///
/// # Errors
/// See [`DaemonError`]. What had been changed in the system by then is taken back, but for the
/// blocking routes.
pub fn run(options: &Options) -> Result<(), DaemonError> {
    let config = config::load(&Inputs::from_process(&options.config)).map_err(DaemonError::Config)?;
    logging::start(&config.endpoint.logging.level, config.endpoint.logging.format);
    let log_crate_messages = tracing::dispatcher::has_been_set();
    tracing::debug!(log_crate_messages, "logging is up");
    prepare_folders(&config)?;
    if let Some(user) = &config.endpoint.user {
        match privileges::drop_to(user)? {
            privileges::Dropped::To { uid, gid } => tracing::info!(user, uid, gid, "gave up root"),
            privileges::Dropped::Already => tracing::debug!(user, "started as the user to run as"),
            privileges::Dropped::Skipped(why) => tracing::warn!(user, "keeping our user: {why}"),
        }
    }
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("skybridge-ctl")
        .enable_all()
        .build()
        .map_err(DaemonError::io("cannot start the runtime"))?
        .block_on(core::run(options.clone(), config))
}

/// Makes the folders of state and control socket while there is the right to, and gives them to the
/// user that the daemon becomes.
fn prepare_folders(config: &Config) -> Result<(), DaemonError> {
    let endpoint = &config.endpoint;
    let folders = [Some(endpoint.state_dir.as_path()), endpoint.control_socket.parent()];
    for folder in folders.into_iter().flatten() {
        if folder.exists() {
            continue;
        }
        std::fs::create_dir_all(folder)
            .map_err(DaemonError::io(format!("cannot make the folder {}", folder.display())))?;
        if let Some(user) = &endpoint.user
            && let Ok(Some(user)) = nix::unistd::User::from_name(user)
        {
            nix::unistd::chown(folder, Some(user.uid), Some(user.gid)).map_err(|errno| {
                DaemonError::io(format!("cannot give {} to {}", folder.display(), user.name))(errno.into())
            })?;
        }
    }
    Ok(())
}

/// Removes everything that a daemon with this configuration left in the system.
///
/// # Errors
/// See [`DaemonError`].
pub fn cleanup(state_dir: PathBuf) -> Result<system::Report, DaemonError> {
    let options = system::Options { state_dir, ..system::Options::default() };
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(DaemonError::io("cannot start the runtime"))?
        .block_on(async {
            let mut report = system::cleanup(options).await?;
            match table::cleanup(None).await {
                Ok(true) => report.other.push("removed table inet skybridge".to_owned()),
                Ok(false) => {}
                // Without nft nothing can have been loaded.
                Err(error) => tracing::debug!("the table of Services was not looked for: {error}"),
            }
            Ok(report)
        })
}
