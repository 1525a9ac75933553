//! The checked configuration, as the layers above take it.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::diagnostic::Diagnostic;
use super::secrets::Fingerprint;
use crate::ike::config::{ChildName, EndpointSettings, PeerConfig, PeerName};
use crate::pki::ExpiryWarning;

/// A whole configuration that has passed every check.
#[derive(Debug, Clone)]
pub struct Config {
    /// This machine.
    pub endpoint: Endpoint,
    /// The peers by name.
    pub peers: Vec<Peer>,
    /// The clusters behind this endpoint, by name.
    pub clusters: Vec<Cluster>,
    /// Parts of clusters whose own word about their ranges is in selectors.
    pub discovering: Vec<Reference>,
    /// What somebody should look at.
    pub warnings: Vec<Diagnostic>,
    /// The files it was read from, in the order in which they lie over each other.
    pub files: Vec<PathBuf>,
}

impl Config {
    /// The peer of a name.
    pub fn peer(&self, name: &PeerName) -> Option<&Peer> {
        self.peers.iter().find(|peer| peer.ike.name == *name)
    }

    /// The cluster of a name.
    pub fn cluster(&self, name: &str) -> Option<&Cluster> {
        self.clusters.iter().find(|cluster| cluster.name == name)
    }

    /// What the IKE layer takes.
    pub fn ike_peers(&self) -> Vec<PeerConfig> {
        self.peers.iter().map(|peer| peer.ike.clone()).collect()
    }
}

/// This machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its name in status and logs.
    pub name: String,
    /// Addresses to listen at.
    pub listen: Vec<IpAddr>,
    /// Ports and thresholds of IKE.
    pub ike: EndpointSettings,
    /// Name of the TUN device.
    pub device: String,
    /// Its MTU in octets, `None` for automatic.
    pub mtu: Option<u16>,
    /// User to run as.
    pub user: Option<String>,
    /// Directory of what outlives a restart.
    pub state_dir: PathBuf,
    /// Path of the control socket.
    pub control_socket: PathBuf,
    /// Group whose members may use the control socket.
    pub control_group: Option<String>,
    /// Size of the replay window in packets, a power of two.
    pub replay_window: u32,
    /// What becomes of the tunnels' traffic while the daemon is stopped.
    pub when_stopped: WhenStopped,
    /// Whether forwarding and rp_filter are set and put back.
    pub manage_sysctls: bool,
    /// How packets are moved.
    pub dataplane: DataPlane,
    /// Logging.
    pub logging: Logging,
}

/// How packets are moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataPlane {
    /// Threads that move packets; `None` to choose by the processors.
    pub workers: Option<NonZeroUsize>,
    /// Whether segmentation offloads are used.
    pub offload: bool,
    /// What a worker does before it sleeps.
    pub polling: Polling,
}

/// What a worker does before it sleeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Polling {
    /// Sleeps at once.
    Off,
    /// Polls for this long while packets come in quick succession.
    Adaptive(Duration),
    /// Polls for this long after every packet.
    LowLatency(Duration),
}

/// What becomes of the tunnels' traffic while the daemon is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenStopped {
    /// Unreachable routes stay.
    #[default]
    Block,
    /// Every route goes.
    Clear,
}

/// Logging.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logging {
    /// Filter as `tracing-subscriber` reads it.
    pub level: String,
    /// How lines are written.
    pub format: LogFormat,
    /// Directory of Wireshark's key tables, if they are written.
    pub keylog: Option<PathBuf>,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// One peer: what IKE takes, and what the data path and the routes take.
#[derive(Debug, Clone)]
pub struct Peer {
    /// What the IKE layer takes.
    pub ike: PeerConfig,
    /// Inner MTU in octets, `None` for automatic.
    pub mtu: Option<u16>,
    /// Clamping of TCP segment sizes.
    pub clamp_mss: ClampMss,
    /// Whether DSCP is copied to the outer header.
    pub copy_dscp: bool,
    /// Whether ECN is carried across.
    pub copy_ecn: bool,
    /// The routes of each child.
    pub routes: Vec<ChildRoutes>,
    /// Children left out until their cluster has told its ranges.
    pub waiting: Vec<ChildName>,
    /// How both ends prove who they are, without the credentials.
    pub proofs: Proofs,
    /// Certificates of ours that expire soon or have expired.
    pub expiring: Vec<ExpiryWarning>,
    /// When our certificate chain expires, Unix seconds.
    pub certificate_not_after: Option<i64>,
    /// Hash of everything that was written for this peer and of its credentials, to tell whether it changed.
    pub(crate) fingerprint: Fingerprint,
}

/// How both ends of a tunnel prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proofs {
    /// How we do.
    pub local: Proof,
    /// How the peer does.
    pub remote: Proof,
    /// Whether both do with the same pre-shared key.
    pub same_psk: bool,
}

/// How one end proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// With a pre-shared key.
    Psk,
    /// With a certificate.
    Certificate,
}

/// What a configuration says but for the credentials, which were neither read nor needed: it is for explaining, and
/// cannot be run.
#[derive(Debug, Clone)]
pub struct Described(pub(super) Config);

impl Described {
    /// This machine.
    pub fn endpoint(&self) -> &Endpoint {
        &self.0.endpoint
    }

    /// The peers by name. Their keys are empty and their trust stores trust nobody.
    pub fn peers(&self) -> &[Peer] {
        &self.0.peers
    }

    /// What somebody should look at.
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.0.warnings
    }
}

/// What a cluster told of its ranges, for selectors that refer to them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Discovered {
    /// Ranges of cluster addresses.
    pub services: Vec<IpNet>,
    /// Ranges of Pod addresses.
    pub pods: Vec<IpNet>,
    /// Addresses of nodes.
    pub nodes: Vec<IpNet>,
}

impl Discovered {
    /// The ranges of a part.
    #[must_use]
    pub fn part(&self, part: Part) -> &[IpNet] {
        match part {
            Part::Services => &self.services,
            Part::Pods => &self.pods,
            Part::Nodes => &self.nodes,
        }
    }
}

/// A part of a cluster, as selectors refer to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Its Services' addresses.
    Services,
    /// Its Pods' addresses.
    Pods,
    /// Its nodes' addresses.
    Nodes,
}

/// A reference to a part of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The cluster's name.
    pub cluster: String,
    /// Which part.
    pub part: Part,
}

/// A Kubernetes cluster behind this endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// Ranges of its Services' addresses, none of them within another; none if the cluster is to say.
    pub service_cidrs: Vec<IpNet>,
    /// Ranges of its Pods' addresses; none if the cluster is to say.
    pub pod_cidrs: Vec<IpNet>,
    /// Addresses of its nodes; none if the cluster is to say.
    pub nodes: Vec<IpAddr>,
    /// How its Services are reached.
    pub services: ServiceMode,
    /// Who says where Services and endpoints are. Always there unless `services` is [`ServiceMode::Route`].
    pub source: Option<ClusterSource>,
    /// The zone that this endpoint is in.
    pub zone: Option<String>,
    /// Whether ping to a Service's address is answered while it has a ready endpoint.
    pub ping: bool,
    /// What to do with Services whose `internalTrafficPolicy` is `Local`.
    pub internal_local: InternalLocal,
    /// Age at which what is known of the cluster counts as old.
    pub stale_after: Duration,
    /// Connections that are tracked at most.
    pub connections: u32,
}

/// How a cluster's Services are reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ServiceMode {
    /// Translated here; the client's address is kept.
    #[default]
    Translate,
    /// Translated here, behind this machine's own address.
    TranslateAndMasquerade,
    /// Routed to the nodes as they are.
    Route,
}

impl ServiceMode {
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Translate => "translate",
            Self::TranslateAndMasquerade => "translate-and-masquerade",
            Self::Route => "route",
        }
    }
}

/// Who says where a cluster's Services and endpoints are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClusterSource {
    /// The Kubernetes API.
    Kubernetes {
        /// File with server, CA and credentials; `None` for the ServiceAccount of the Pod that this runs in.
        kubeconfig: Option<PathBuf>,
        /// Which of its contexts; `None` for its current one.
        context: Option<String>,
    },
    /// A file with the objects, watched for change.
    Objects(PathBuf),
}

/// What to do with Services that want to be served on the sender's node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InternalLocal {
    /// Take every endpoint.
    #[default]
    Cluster,
    /// Refuse connections.
    Refuse,
}

/// The routes of one child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildRoutes {
    /// The child.
    pub child: ChildName,
    /// Prefixes that go into the tunnel.
    pub prefixes: Vec<IpNet>,
    /// Whether they were written, or follow the remote selectors.
    pub explicit: bool,
}

/// Clamping of TCP segment sizes in SYN and SYN-ACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClampMss {
    /// To what fits the inner MTU.
    #[default]
    Auto,
    /// Never.
    Off,
    /// To at most these octets.
    To(u16),
}
