//! The configuration file as it is written: one structure for the reader, the JSON Schema and the documentation.
//!
//! Everything is optional here, since several files and the environment are laid over each other before it is
//! known what is missing. Meaning is given by `check`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

/// Skybridge's configuration.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Skybridge configuration")]
pub(crate) struct ConfigFile {
    /// This machine.
    pub(crate) endpoint: Option<EndpointFile>,
    /// One table a peer, by its name.
    pub(crate) peers: Option<BTreeMap<String, PeerFile>>,
    /// One table a cluster behind this endpoint, by its name.
    pub(crate) clusters: Option<BTreeMap<String, ClusterFile>>,
}

/// This machine.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EndpointFile {
    /// Name of this endpoint in status and logs. The host's name by default.
    pub(crate) name: Option<String>,
    /// Addresses to listen at. Default: every IPv4 and IPv6 address.
    pub(crate) listen: Option<Vec<String>>,
    /// UDP port of IKE. Default 500.
    pub(crate) ike_port: Option<u16>,
    /// UDP port of IKE and ESP behind NAT. Default 4500.
    pub(crate) natt_port: Option<u16>,
    /// Name of the TUN device. Default `skybridge0`.
    pub(crate) device: Option<String>,
    /// MTU of the TUN device: `"auto"` (from the outer interface and the suites) or octets from 576 to 9000.
    pub(crate) mtu: Option<NumberOrWord>,
    /// User to run as once the privileged work is done. Default: stay as started.
    pub(crate) user: Option<String>,
    /// Directory for what must outlive a restart. Default `/var/lib/skybridge`.
    pub(crate) state_dir: Option<String>,
    /// Path of the control socket. Default `/run/skybridge/control.sock`.
    pub(crate) control_socket: Option<String>,
    /// Group whose members may use the control socket, beside root.
    pub(crate) control_group: Option<String>,
    /// Packets that may arrive late: a power of two from 64 to 65536. Default 4096.
    pub(crate) replay_window: Option<u32>,
    /// What becomes of the tunnels' traffic while the daemon is stopped. Default `block`.
    pub(crate) when_stopped: Option<WhenStoppedFile>,
    /// Set forwarding and rp_filter where the tunnel needs it, and put them back. Default true.
    pub(crate) manage_sysctls: Option<bool>,
    /// Half-open IKE SAs above which a COOKIE is demanded. Default 30.
    pub(crate) cookie_threshold: Option<u32>,
    /// Half-open IKE SAs of one address above which a COOKIE is demanded. Default 3.
    pub(crate) cookie_threshold_per_address: Option<u32>,
    /// Half-open IKE SAs above which new ones are dropped. Default 1000.
    pub(crate) block_threshold: Option<u32>,
    /// Half-open IKE SAs of one address above which new ones are dropped. Default 5.
    pub(crate) block_threshold_per_address: Option<u32>,
    /// How long a half-open IKE SA is kept. Default `30s`.
    pub(crate) half_open_timeout: Option<String>,
    /// How packets are moved.
    pub(crate) dataplane: Option<DataPlaneFile>,
    /// Logging.
    pub(crate) log: Option<LogFile>,
}

/// How packets are moved.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DataPlaneFile {
    /// Threads that move packets: `"auto"` (one on two processors, then one for every two up to four) or 1 to 64.
    pub(crate) workers: Option<NumberOrWord>,
    /// Use the segmentation offloads that the kernel has. Default true.
    pub(crate) offload: Option<bool>,
    /// What a worker does before it sleeps. Default `adaptive`.
    pub(crate) polling: Option<PollingFile>,
    /// How long it polls. Default `50us`, with low latency `1s`.
    pub(crate) busy_poll: Option<String>,
}

/// What a worker does before it sleeps.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PollingFile {
    /// Polls while packets come in quick succession.
    Adaptive,
    /// Sleeps at once.
    Off,
    /// Polls after every packet: the lowest latency, at the price of the processor.
    LowLatency,
}

/// What becomes of the tunnels' traffic while the daemon is stopped.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum WhenStoppedFile {
    /// Unreachable routes stay, so that nothing leaves in clear.
    Block,
    /// Every route goes.
    Clear,
}

/// Logging.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogFile {
    /// `error`, `warn`, `info`, `debug`, `trace`, or filters such as `info,skybridge::ike=debug`. Default `info`.
    pub(crate) level: Option<String>,
    /// How lines are written. Default `text`.
    pub(crate) format: Option<LogFormatFile>,
    /// Directory for key tables that Wireshark reads. Whoever has them can read the traffic. Default: off.
    pub(crate) keylog: Option<String>,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormatFile {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// One peer.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PeerFile {
    /// What the peer is, for defaults that suit it; every key written here goes before them.
    pub(crate) preset: Option<PresetFile>,
    /// Where the peer is: an address, a host name, or `any`; several addresses are tried in turn.
    pub(crate) remote: Option<OneOrMany>,
    /// The peer's UDP port of IKE. Default 500.
    pub(crate) remote_ike_port: Option<u16>,
    /// The peer's UDP port of IKE and ESP behind NAT. Default 4500.
    pub(crate) remote_natt_port: Option<u16>,
    /// Begin at `remote_natt_port` at once, where port 500 is filtered. Default false.
    pub(crate) start_encapsulated: Option<bool>,
    /// Address to speak from. Default: as the route says.
    pub(crate) local_address: Option<String>,
    /// Who we are: a host name, mail address, address, distinguished name or `keyid:HEX`.
    pub(crate) local_id: Option<String>,
    /// Who the peer must be, `*.example.com` or `any` (with certificates only).
    pub(crate) remote_id: Option<String>,
    /// How both sides prove who they are.
    pub(crate) auth: Option<AuthFile>,
    /// How we prove who we are, where it is another way than the peer's.
    pub(crate) local_auth: Option<LocalAuthFile>,
    /// How the peer proves who it is, where it is another way than ours.
    pub(crate) remote_auth: Option<RemoteAuthFile>,
    /// IKE proposals, the preferred one first; `default` stands for the built-in ones.
    pub(crate) ike: Option<Vec<String>>,
    /// ESP proposals of every child that has none of its own.
    pub(crate) esp: Option<Vec<String>>,
    /// When the tunnel is raised. Default `wait`.
    pub(crate) start: Option<StartFile>,
    /// Detection of dead peers.
    pub(crate) dpd: Option<DpdFile>,
    /// When keys are renewed.
    pub(crate) lifetimes: Option<PeerLifetimesFile>,
    /// Repetition of unanswered requests.
    pub(crate) retransmit: Option<RetransmitFile>,
    /// Waits between attempts to connect.
    pub(crate) retry: Option<RetryFile>,
    /// Idle time after which a NAT keepalive is sent. Default `20s`.
    pub(crate) keepalive: Option<String>,
    /// Octets of the largest IP packet with an IKE message before it is fragmented. Default 1280.
    pub(crate) fragment_size: Option<u16>,
    /// Inner MTU: `"auto"` or octets from 576 to 9000.
    pub(crate) mtu: Option<NumberOrWord>,
    /// Probe how large packets to the peer may be. Default true.
    pub(crate) probe_mtu: Option<bool>,
    /// TCP segment size in SYN packets: `"auto"`, `"off"`, or octets from 216 to 8960. Default `"auto"`.
    pub(crate) clamp_mss: Option<NumberOrWord>,
    /// Copy the DSCP of inner packets to the outer header. Default true.
    pub(crate) copy_dscp: Option<bool>,
    /// Carry congestion marks (ECN) across the tunnel. Default true.
    pub(crate) copy_ecn: Option<bool>,
    /// Child SAs, by their names.
    pub(crate) children: Option<BTreeMap<String, ChildFile>>,
}

/// Gateways whose ways are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PresetFile {
    /// AWS Site-to-Site VPN.
    Aws,
    /// Azure VPN gateway.
    Azure,
    /// Google Cloud VPN.
    Gcp,
    /// Alibaba Cloud VPN gateway.
    Alibaba,
    /// Cisco IOS XE.
    Cisco,
    /// FortiGate.
    Fortigate,
    /// MikroTik RouterOS.
    Mikrotik,
}

/// When a tunnel is raised.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StartFile {
    /// By the peer.
    Wait,
    /// At once, and again for ever.
    Connect,
    /// By the first matching packet.
    Trap,
}

/// How both sides prove who they are: by one pre-shared key, or by certificates.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuthFile {
    /// File with the pre-shared key.
    pub(crate) psk_file: Option<String>,
    /// Files with the current pre-shared key and those that are accepted too.
    pub(crate) psk_files: Option<Vec<String>>,
    /// File with our certificate, and intermediate CAs behind it.
    pub(crate) certificate: Option<String>,
    /// File with our certificate's private key.
    pub(crate) key: Option<String>,
    /// File with the passphrase of an encrypted private key.
    pub(crate) key_passphrase_file: Option<String>,
    /// Padding of RSA signatures. Default `pss`.
    pub(crate) rsa_padding: Option<RsaPaddingFile>,
    /// Files with CA certificates that vouch for the peer.
    pub(crate) ca: Option<Vec<String>>,
    /// Files with intermediate CA certificates that the peer may leave out.
    pub(crate) intermediates: Option<Vec<String>>,
    /// Files with certificate revocation lists.
    pub(crate) crl: Option<Vec<String>>,
    /// How much of the peer's chain the revocation lists must cover. Default `end-entity`.
    pub(crate) revocation: Option<RevocationFile>,
    /// Files with certificates of the peer that are accepted as they are.
    pub(crate) peer_certificate: Option<OneOrMany>,
    /// Accept SHA-1 signatures from a peer that knows no better. Default false.
    pub(crate) allow_sha1_signatures: Option<bool>,
}

/// How we prove who we are.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LocalAuthFile {
    /// File with the pre-shared key.
    pub(crate) psk_file: Option<String>,
    /// Files with the pre-shared key to use and those to try next.
    pub(crate) psk_files: Option<Vec<String>>,
    /// File with our certificate, and intermediate CAs behind it.
    pub(crate) certificate: Option<String>,
    /// File with our certificate's private key.
    pub(crate) key: Option<String>,
    /// File with the passphrase of an encrypted private key.
    pub(crate) key_passphrase_file: Option<String>,
    /// Padding of RSA signatures. Default `pss`.
    pub(crate) rsa_padding: Option<RsaPaddingFile>,
}

/// How the peer proves who it is.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RemoteAuthFile {
    /// File with the pre-shared key.
    pub(crate) psk_file: Option<String>,
    /// Files with pre-shared keys, any of which is accepted.
    pub(crate) psk_files: Option<Vec<String>>,
    /// Files with CA certificates that vouch for the peer.
    pub(crate) ca: Option<Vec<String>>,
    /// Files with intermediate CA certificates that the peer may leave out.
    pub(crate) intermediates: Option<Vec<String>>,
    /// Files with certificate revocation lists.
    pub(crate) crl: Option<Vec<String>>,
    /// How much of the peer's chain the revocation lists must cover. Default `end-entity`.
    pub(crate) revocation: Option<RevocationFile>,
    /// Files with certificates of the peer that are accepted as they are.
    pub(crate) peer_certificate: Option<OneOrMany>,
    /// Accept SHA-1 signatures from a peer that knows no better. Default false.
    pub(crate) allow_sha1_signatures: Option<bool>,
}

/// Padding of RSA signatures.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RsaPaddingFile {
    /// RSASSA-PSS.
    Pss,
    /// RSASSA-PKCS1-v1_5, for peers that know nothing else.
    Pkcs1,
}

/// How much of a chain the revocation lists must cover.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RevocationFile {
    /// The peer's own certificate.
    EndEntity,
    /// Every certificate but the trusted CA.
    Chain,
    /// What a list happens to cover.
    WhereCovered,
}

/// Detection of dead peers.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DpdFile {
    /// Silence after which the peer is asked, or `off`. Default `20s`.
    pub(crate) delay: Option<String>,
}

/// When a peer's keys are renewed.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PeerLifetimesFile {
    /// Age at which the IKE SA is rekeyed. Default `4h`.
    pub(crate) ike: Option<String>,
    /// Age at which a Child SA is rekeyed. Default `1h`.
    pub(crate) child: Option<String>,
    /// Octets in one direction after which a Child SA is rekeyed, such as `100GiB`.
    pub(crate) child_bytes: Option<String>,
    /// Packets in one direction after which a Child SA is rekeyed.
    pub(crate) child_packets: Option<u64>,
    /// Per cent of each limit that is taken off at random, so that the ends do not rekey together. Default 10.
    pub(crate) jitter: Option<u8>,
}

/// When a Child SA's keys are renewed.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChildLifetimesFile {
    /// Age at which it is rekeyed.
    pub(crate) time: Option<String>,
    /// Octets in one direction after which it is rekeyed, such as `100GiB`.
    pub(crate) bytes: Option<String>,
    /// Packets in one direction after which it is rekeyed.
    pub(crate) packets: Option<u64>,
}

/// Repetition of unanswered requests.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RetransmitFile {
    /// Wait before the first repetition. Default `1s`.
    pub(crate) base: Option<String>,
    /// Growth of the wait, from 1.0 to 4.0. Default 1.8.
    pub(crate) factor: Option<f64>,
    /// The longest wait. Default `15s`.
    pub(crate) cap: Option<String>,
    /// Repetitions before the peer counts as dead, from 1 to 20. Default 5.
    pub(crate) tries: Option<u32>,
}

/// Waits between attempts to connect.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RetryFile {
    /// The first wait, which then doubles. Default `1s`.
    pub(crate) base: Option<String>,
    /// The longest wait. Default `60s`.
    pub(crate) cap: Option<String>,
}

/// One Child SA.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChildFile {
    /// What lies behind this endpoint: prefixes, addresses or ranges, each with an optional `[protocol/port]`, or `cluster:NAME/services`, `/pods`, `/nodes`.
    pub(crate) local: Option<Vec<String>>,
    /// What lies behind the peer.
    pub(crate) remote: Option<Vec<String>>,
    /// Prefixes that are routed into the tunnel. Default: the remote selectors' addresses.
    pub(crate) routes: Option<Vec<String>>,
    /// ESP proposals. Default: the peer's.
    pub(crate) esp: Option<Vec<String>>,
    /// Offer a fresh key exchange at each rekey, as the ESP proposals say. Default true.
    pub(crate) pfs: Option<bool>,
    /// When it is raised. Default: as the peer.
    pub(crate) start: Option<StartFile>,
    /// When its keys are renewed. Default: as the peer says.
    pub(crate) lifetimes: Option<ChildLifetimesFile>,
}

/// A Kubernetes cluster behind this endpoint.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClusterFile {
    /// How its Services are reached. Default `translate`.
    pub(crate) services: Option<ServicesFile>,
    /// The Kubernetes API, which says where Services and endpoints are.
    pub(crate) kubernetes: Option<KubernetesFile>,
    /// Instead: file with what `kubectl get services,endpointslices -A -o yaml` prints; it is watched for change.
    pub(crate) objects: Option<String>,
    /// Ranges of its Services' addresses. Default: as the cluster says.
    pub(crate) service_cidrs: Option<Vec<String>>,
    /// Ranges of its Pods' addresses. Default: as the cluster's nodes say.
    pub(crate) pod_cidrs: Option<Vec<String>>,
    /// Addresses of its nodes. Default: as the cluster says.
    pub(crate) nodes: Option<Vec<String>>,
    /// The zone that this endpoint is in, for Services that prefer endpoints nearby.
    pub(crate) zone: Option<String>,
    /// Answer ping to a Service's address while it has a ready endpoint. Default true.
    pub(crate) ping: Option<bool>,
    /// What to do with Services whose `internalTrafficPolicy` is `Local`. Default `cluster`.
    pub(crate) internal_local: Option<InternalLocalFile>,
    /// Age at which what is known of the cluster counts as old. Default `10m`.
    pub(crate) stale_after: Option<String>,
    /// Connections that are tracked at most, from 4096 to 16777216. Default 262144.
    pub(crate) connections: Option<u32>,
}

/// How Services are reached.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ServicesFile {
    /// Translated here to one of their endpoints; the client's address is kept.
    Translate,
    /// Likewise, behind this machine's own address: no route back to the office is needed.
    TranslateAndMasquerade,
    /// Routed to the nodes as they are.
    Route,
}

/// How to reach the Kubernetes API.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct KubernetesFile {
    /// File with the server's address, its CA and our credentials.
    pub(crate) kubeconfig: Option<String>,
    /// Which of the kubeconfig's contexts. Default: its current one.
    pub(crate) context: Option<String>,
    /// Use the ServiceAccount of the Pod that this runs in. Default false.
    pub(crate) in_cluster: Option<bool>,
}

/// What to do with Services that want to be served on the sender's node.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum InternalLocalFile {
    /// Take every endpoint, as for other Services.
    Cluster,
    /// Refuse connections: there is no Pod of theirs on this machine.
    Refuse,
}

/// A number, or a word that stands for one.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum NumberOrWord {
    /// The number.
    Number(u32),
    /// The word.
    Word(String),
}

/// One text, or a list of them.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum OneOrMany {
    /// One.
    One(String),
    /// A list.
    Many(Vec<String>),
}

impl OneOrMany {
    /// The texts, each with its index if it stands in a list.
    pub(crate) fn texts(&self) -> Vec<(Option<usize>, &str)> {
        match self {
            Self::One(text) => vec![(None, text)],
            Self::Many(texts) => {
                texts.iter().enumerate().map(|(index, text)| (Some(index), text.as_str())).collect()
            }
        }
    }
}
