//! What is measured: each product started on both gateways of a fresh path, and ended with it.

mod forwarder;
mod own;
mod plain;
mod strongswan;
mod wireguard;

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use skybridge::lab::{
    LabError, Namespace,
    path::{self, SERVER},
    traffic::ping,
};

pub use forwarder::{FLAG as FORWARD, main as forward};

/// For whatever a product does before its first packet.
const PATIENCE: Duration = Duration::from_secs(30);
/// Packets that every product's TUN device may queue.
const QUEUE: u32 = 1000;

/// Something that carries packets between the two networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    /// Routing without any tunnel: the limit.
    Plain,
    /// TUN to UDP without cryptography, one packet a call: the floor of a userspace tunnel's latency.
    Forwarder,
    /// Skybridge as it comes.
    Skybridge,
    /// Skybridge without segmentation offload.
    SkybridgePlain,
    /// Skybridge set for low latency.
    SkybridgeLowLatency,
    /// wireguard-go.
    WireguardGo,
    /// Cloudflare's boringtun-cli.
    Boringtun,
    /// Mullvad's gotatun-cli.
    Gotatun,
    /// strongSwan with kernel-libipsec.
    Strongswan,
}

impl Product {
    /// All, in the order in which they are measured.
    pub const ALL: [Self; 9] = [
        Self::Plain,
        Self::Forwarder,
        Self::Skybridge,
        Self::SkybridgePlain,
        Self::SkybridgeLowLatency,
        Self::WireguardGo,
        Self::Boringtun,
        Self::Gotatun,
        Self::Strongswan,
    ];

    /// Its name on the command line and in the JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Forwarder => "forwarder",
            Self::Skybridge => "skybridge",
            Self::SkybridgePlain => "skybridge-plain",
            Self::SkybridgeLowLatency => "skybridge-low-latency",
            Self::WireguardGo => "wireguard-go",
            Self::Boringtun => "boringtun",
            Self::Gotatun => "gotatun",
            Self::Strongswan => "strongswan",
        }
    }

    /// Its name for readers.
    pub fn title(self) -> &'static str {
        match self {
            Self::Plain => "plain routing",
            Self::Forwarder => "bare forwarder",
            Self::Skybridge => "Skybridge",
            Self::SkybridgePlain => "Skybridge, offload off",
            Self::SkybridgeLowLatency => "Skybridge, low latency",
            Self::WireguardGo => "wireguard-go",
            Self::Boringtun => "boringtun-cli",
            Self::Gotatun => "gotatun-cli",
            Self::Strongswan => "strongSwan libipsec",
        }
    }

    /// Whether it can be measured here: its version, or why it cannot.
    pub fn probe(self, tools: &Tools) -> Result<String, String> {
        match self {
            Self::Plain => Ok("the kernel's".to_owned()),
            Self::Forwarder => Ok("part of this benchmark".to_owned()),
            Self::Skybridge => own::probe(tools, own::DEFAULT),
            Self::SkybridgePlain => own::probe(tools, own::PLAIN),
            Self::SkybridgeLowLatency => own::probe(tools, own::LOW_LATENCY),
            Self::WireguardGo => wireguard::probe(tools, wireguard::WIREGUARD_GO),
            Self::Boringtun => wireguard::probe(tools, wireguard::BORINGTUN),
            Self::Gotatun => wireguard::probe(tools, wireguard::GOTATUN),
            Self::Strongswan => strongswan::probe(),
        }
    }

    /// Starts it on both gateways and waits until the client reaches the server through it.
    ///
    /// # Errors
    /// It does not start, or carries nothing: with its last words.
    pub fn start(self, path: &path::Path, tools: &Tools) -> Result<Running, LabError> {
        let mut running = match self {
            Self::Plain => plain::start(path),
            Self::Forwarder => forwarder::start(path, tools),
            Self::Skybridge => own::start(path, tools, own::DEFAULT),
            Self::SkybridgePlain => own::start(path, tools, own::PLAIN),
            Self::SkybridgeLowLatency => own::start(path, tools, own::LOW_LATENCY),
            Self::WireguardGo => wireguard::start(path, tools, wireguard::WIREGUARD_GO),
            Self::Boringtun => wireguard::start(path, tools, wireguard::BORINGTUN),
            Self::Gotatun => wireguard::start(path, tools, wireguard::GOTATUN),
            Self::Strongswan => strongswan::start(path),
        }?;
        ping::until_answered(&path.client, server(), PATIENCE).map_err(|error| {
            LabError::check(format!("{} carries nothing: {error}\n{}", self.title(), running.words()))
        })?;
        for (namespace, link) in std::mem::take(&mut running.devices) {
            namespace.set_queue_length(&link, QUEUE)?;
        }
        Ok(running)
    }
}

/// A product at work. Dropping it ends its daemons.
pub struct Running {
    /// Its daemons' processes.
    pub daemons: Vec<u32>,
    /// From its start until the first packet came back, where that is measured.
    pub first_packet: Option<Duration>,
    /// TUN devices that are yet to be made equal to everybody's.
    devices: Vec<(Namespace, String)>,
    /// What keeps it alive, and what it said.
    life: Box<dyn Life>,
}

impl Running {
    fn new(life: impl Life + 'static, daemons: Vec<u32>) -> Self {
        Self { daemons, first_packet: None, devices: Vec::new(), life: Box::new(life) }
    }

    fn with_devices(mut self, path: &path::Path, near: &str, far: &str) -> Self {
        self.devices = vec![(path.near.clone(), near.to_owned()), (path.far.clone(), far.to_owned())];
        self
    }

    /// The last lines of its daemons' logs.
    pub fn words(&self) -> String {
        self.life.words()
    }
}

/// Daemons that end when this is dropped.
pub trait Life {
    /// The last lines they wrote.
    fn words(&self) -> String;
}

/// Where programs are found.
#[derive(Debug, Clone)]
pub struct Tools {
    /// Skybridge's own executable.
    pub skybridge: PathBuf,
    /// Folders to look for others in, before `PATH`.
    pub folders: Vec<PathBuf>,
}

impl Tools {
    /// The folder of `SKYBRIDGE_BENCH_TOOLS`, the one that `make bench` fills, then `PATH`.
    pub fn find() -> Self {
        let skybridge = std::env::var_os("SKYLAB_PROGRAM")
            .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_skybridge")), PathBuf::from);
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut folders = Vec::new();
        folders.extend(std::env::var_os("SKYBRIDGE_BENCH_TOOLS").map(PathBuf::from));
        folders.push(root.join("target/bench-tools/bin"));
        folders.extend(std::env::var_os("PATH").iter().flat_map(std::env::split_paths));
        folders.extend(["/usr/sbin", "/sbin"].map(PathBuf::from));
        Self { skybridge, folders }
    }

    /// A program by its name.
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        self.folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file())
    }
}

/// The server's address.
pub fn server() -> IpAddr {
    address(SERVER)
}

/// The client's address.
pub fn client() -> IpAddr {
    address(path::CLIENT)
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap_or(IpAddr::from([0, 0, 0, 0]))
}

/// The last lines of a file.
fn tail(path: &Path) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(15)..).unwrap_or_default().join("\n")
}
