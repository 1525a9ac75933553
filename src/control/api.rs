//! The types that travel over the control socket. Their JSON form is stable: fields are added, not
//! renamed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The state of the whole daemon.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the running program.
    pub version: String,
    /// The endpoint's name from the configuration.
    pub name: String,
    /// Process id.
    pub pid: u32,
    /// Seconds since the daemon started.
    pub uptime_seconds: u64,
    /// Path of the configuration file.
    pub config: String,
    /// Name of the tunnel device.
    pub device: String,
    /// One entry a configured peer, in the order of their names.
    pub peers: Vec<PeerStatus>,
    /// What is wrong on this machine and what to do, worst first.
    pub findings: Vec<Finding>,
    /// Packets dropped since the start, by reason; reasons with none are absent.
    pub drops: BTreeMap<String, u64>,
    /// IKE datagrams refused since the start, by reason; reasons with none are absent.
    pub refused: BTreeMap<String, u64>,
    /// Packets and octets that crossed the tunnel device.
    pub traffic: Traffic,
}

/// Packets and octets, each way, seen from this endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Packets received from the peer and delivered.
    pub packets_in: u64,
    /// Inner octets received from the peer and delivered.
    pub bytes_in: u64,
    /// Packets sent to the peer.
    pub packets_out: u64,
    /// Inner octets sent to the peer.
    pub bytes_out: u64,
}

/// Whether a peer's tunnel carries traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerState {
    /// The IKE SA is established.
    Up,
    /// Negotiation is under way or waits for its next try.
    Connecting,
    /// Nothing is under way: the peer must begin, or traffic, or `skybridge up`.
    #[default]
    Down,
}

impl PeerState {
    /// The word that the table and the JSON show.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Connecting => "connecting",
            Self::Down => "down",
        }
    }
}

/// The state of one peer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Name in the configuration.
    pub name: String,
    /// Whether the IKE SA is up.
    pub state: PeerState,
    /// `wait`, `connect` or `trap`.
    pub start: String,
    /// The peer's address and port, once known.
    pub remote: Option<String>,
    /// Our address that the peer is reached from, once known.
    pub local: Option<String>,
    /// The identity that the peer proved.
    pub remote_id: Option<String>,
    /// The IKE SA, while there is one.
    pub ike: Option<IkeStatus>,
    /// Every configured child, up or not.
    pub children: Vec<ChildStatus>,
    /// The largest outer packet known to reach the peer.
    pub path_mtu: Option<u16>,
    /// The largest inner packet that fits.
    pub inner_mtu: Option<u16>,
    /// Why the last attempt failed, until one succeeds.
    pub last_failure: Option<Failure>,
    /// Things to look after before they break, such as certificates that expire soon.
    pub warnings: Vec<String>,
}

/// An established IKE SA.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct IkeStatus {
    /// Initiator's SPI, hexadecimal.
    pub initiator_spi: String,
    /// Responder's SPI, hexadecimal.
    pub responder_spi: String,
    /// The suite, as `aes256gcm16-prfsha384-x25519`.
    pub suite: String,
    /// `initiator` or `responder`.
    pub role: String,
    /// Seconds since it was established.
    pub age_seconds: u64,
    /// Seconds until it is rekeyed.
    pub rekey_in_seconds: Option<u64>,
    /// Where NAT was found: `none`, `here`, `peer` or `both`.
    pub nat: String,
}

/// One configured child of a peer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ChildStatus {
    /// Name in the configuration.
    pub name: String,
    /// Whether a Child SA is installed.
    pub up: bool,
    /// Selectors on our side: as negotiated while up, as configured otherwise.
    pub local: Vec<String>,
    /// Selectors on the peer's side.
    pub remote: Vec<String>,
    /// The suite, as `aes256gcm16`.
    pub suite: Option<String>,
    /// SPI of what we receive, hexadecimal.
    pub spi_in: Option<String>,
    /// SPI of what we send, hexadecimal.
    pub spi_out: Option<String>,
    /// Seconds since it was installed.
    pub age_seconds: Option<u64>,
    /// Seconds until it is rekeyed by time.
    pub rekey_in_seconds: Option<u64>,
    /// Traffic of the SAs in use now.
    pub traffic: Traffic,
    /// Seconds since a packet arrived from the peer.
    pub last_in_seconds: Option<u64>,
}

/// Why an attempt failed, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Seconds since it failed.
    pub seconds_ago: u64,
    /// How many attempts have failed in a row.
    pub count: u64,
    /// The reason, in words for the operator.
    pub reason: String,
}

/// Something on this machine that keeps or will keep packets from arriving.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Stable name.
    pub code: String,
    /// `error` or `warning`.
    pub severity: String,
    /// What is wrong and where.
    pub what: String,
    /// What to do.
    pub action: String,
}

/// An action was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// What was done, for the operator.
    pub message: String,
}

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// The kind, which decides the HTTP status.
    pub kind: ApiErrorKind,
    /// What, where and what to do.
    pub message: String,
}

/// Kinds of [`ApiError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ApiErrorKind {
    /// No such peer or child.
    NotFound,
    /// The request makes no sense as written.
    BadRequest,
    /// The caller may not use the socket.
    Forbidden,
    /// The configuration has errors; the running one is kept.
    Config,
    /// It cannot be done in the present state.
    Conflict,
    /// The daemon is stopping or did not answer.
    Unavailable,
}

impl ApiError {
    /// An error of `kind` with the operator's text.
    pub fn new(kind: ApiErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}
