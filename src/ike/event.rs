//! What goes into the endpoint and what comes out of it, besides datagrams.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use crate::crypto::{DirectionKeys, EspSuite, Secret};
use crate::policy::{PacketSummary, SelectorSet};

use super::config::{ChildName, EndpointSettings, PeerConfig, PeerName};

/// An IKE SA within one [`super::Endpoint`]; never reused, means nothing to the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IkeSaId(pub u64);

/// A Child SA pair within one [`super::Endpoint`]; never reused, means nothing to the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChildSaId(pub u64);

impl fmt::Display for IkeSaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ike#{}", self.0)
    }
}

impl fmt::Display for ChildSaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "child#{}", self.0)
    }
}

/// An IKE message as it came from a socket.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// The address and port it was sent to.
    pub local: SocketAddr,
    /// The address and port it came from.
    pub remote: SocketAddr,
    /// The IKE message, without the non-ESP marker.
    pub octets: &'a [u8],
    /// Whether it came with the non-ESP marker, on the NAT-T socket.
    pub encapsulated: bool,
}

/// What a [`Transmit`] carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransmitKind {
    /// An IKE message. The sender adds the non-ESP marker where `encapsulated` is set.
    Ike,
    /// A NAT keepalive: the single octet 0xFF, sent from the NAT-T socket without any marker.
    Keepalive,
}

/// A datagram to send.
#[derive(Clone, PartialEq, Eq)]
pub struct Transmit {
    /// The source address; `None` leaves it to the routing table.
    pub local: Option<IpAddr>,
    /// Where it goes.
    pub remote: SocketAddr,
    /// Whether it goes through the NAT-T socket.
    pub encapsulated: bool,
    /// An IKE message or a keepalive.
    pub kind: TransmitKind,
    /// The UDP payload, without the non-ESP marker.
    pub octets: Vec<u8>,
    /// Whether the IP packet must not be fragmented (path MTU probes).
    pub dont_fragment: bool,
}

impl fmt::Debug for Transmit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Transmit({:?} {} octets to {}{})",
            self.kind,
            self.octets.len(),
            self.remote,
            if self.encapsulated { " (NAT-T)" } else { "" }
        )
    }
}

/// What the caller may ask for or report.
#[derive(Clone, Debug)]
pub enum Command {
    /// Raise a peer's tunnel, or one of its children, and keep it up.
    Up {
        /// The peer.
        peer: PeerName,
        /// One child, or all of them.
        child: Option<ChildName>,
    },
    /// Close a peer's tunnel or one child, and leave it down until `Up` (or the peer raises it).
    Down {
        /// The peer.
        peer: PeerName,
        /// One child, or the whole tunnel.
        child: Option<ChildName>,
    },
    /// Rekey the peer's IKE SA now.
    RekeyIke {
        /// The peer.
        peer: PeerName,
    },
    /// Rekey a Child SA now.
    RekeyChild {
        /// The peer.
        peer: PeerName,
        /// The child.
        child: ChildName,
    },
    /// A packet matched a child that has no SA.
    Acquire {
        /// The peer.
        peer: PeerName,
        /// The child.
        child: ChildName,
        /// The packet, which goes into the first selectors of the offer.
        packet: PacketSummary,
    },
    /// The answer to [`Event::Resolve`]; an empty list means that the name did not resolve.
    PeerAddresses {
        /// The peer.
        peer: PeerName,
        /// What its name resolved to, best first.
        addresses: Vec<IpAddr>,
    },
    /// This machine's addresses changed.
    LocalAddressesChanged {
        /// All addresses that it has now.
        addresses: Vec<IpAddr>,
    },
    /// New configuration. Peers that are gone or changed are torn down, the others stay.
    Reconfigure {
        /// The whole endpoint's settings, or `None` to keep them.
        settings: Option<EndpointSettings>,
        /// All peers.
        peers: Vec<PeerConfig>,
    },
    /// Close everything, telling the peers, and start nothing any more.
    Shutdown,
    /// What the data plane saw on a Child SA, told at least every few seconds while packets flow.
    Traffic {
        /// The Child SA.
        child: ChildSaId,
        /// When the last authenticated packet arrived.
        last_inbound: Option<Instant>,
        /// When the last packet was sent.
        last_outbound: Option<Instant>,
    },
    /// The data plane reached a soft limit of a Child SA: it is rekeyed.
    SoftLimit {
        /// The Child SA.
        child: ChildSaId,
    },
    /// The data plane reached a hard limit of a Child SA: it is closed.
    HardLimit {
        /// The Child SA.
        child: ChildSaId,
    },
    /// The first authenticated packet arrived on a Child SA.
    FirstInbound {
        /// The Child SA.
        child: ChildSaId,
    },
    /// An ESP packet came for an SPI that we do not have.
    UnknownSpi {
        /// The SPI.
        spi: u32,
        /// Where it arrived.
        local: SocketAddr,
        /// Where it came from.
        remote: SocketAddr,
    },
    /// An authenticated packet with the highest sequence number so far came from another address.
    PeerMoved {
        /// The Child SA.
        child: ChildSaId,
        /// Where it arrived.
        local: SocketAddr,
        /// Where it came from.
        remote: SocketAddr,
    },
}

/// Why a command was not obeyed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// No such peer.
    #[error("no peer is named {0}")]
    UnknownPeer(PeerName),
    /// No such child.
    #[error("peer {0} has no child named {1}")]
    UnknownChild(PeerName, ChildName),
    /// We cannot initiate to a peer whose address we do not know.
    #[error("peer {0} has no address to connect to (remote = \"any\"): it has to initiate")]
    NoAddress(PeerName),
    /// The tunnel is down.
    #[error("peer {0} is not up")]
    NotEstablished(PeerName),
    /// The child is down.
    #[error("child {1} of peer {0} is not up")]
    ChildNotEstablished(PeerName, ChildName),
    /// A report about a Child SA that is gone; harmless.
    #[error("no such Child SA: {0}")]
    UnknownChildSa(ChildSaId),
    /// After [`Command::Shutdown`].
    #[error("the endpoint is shutting down")]
    ShuttingDown,
}

/// Why an IKE SA or a Child SA ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DownReason {
    /// A command asked for it.
    Requested,
    /// The peer deleted it.
    DeletedByPeer,
    /// The peer did not answer.
    PeerDead,
    /// A newer SA took its place.
    Replaced,
    /// It was one of two that a collision had made.
    Redundant,
    /// A hard limit.
    Expired,
    /// The peer said that it has started afresh (INITIAL_CONTACT).
    InitialContact,
    /// The configuration changed.
    Reconfigured,
    /// The IKE SA above it ended.
    IkeSaClosed,
    /// Negotiation or authentication failed; the text is for the operator.
    Failed(String),
}

impl fmt::Display for DownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Requested => "requested",
            Self::DeletedByPeer => "deleted by the peer",
            Self::PeerDead => "the peer does not answer",
            Self::Replaced => "replaced by a newer one",
            Self::Redundant => "redundant after a collision",
            Self::Expired => "reached its hard limit",
            Self::InitialContact => "the peer started afresh",
            Self::Reconfigured => "the configuration changed",
            Self::IkeSaClosed => "its IKE SA was closed",
            Self::Failed(reason) => reason,
        })
    }
}

/// Limits that the data plane counts. Both directions are counted on their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Octets after which a soft limit is reported.
    pub soft_bytes: Option<u64>,
    /// Octets after which nothing is carried.
    pub hard_bytes: Option<u64>,
    /// Packets after which a soft limit is reported.
    pub soft_packets: Option<u64>,
    /// Packets after which nothing is carried.
    pub hard_packets: Option<u64>,
}

/// A negotiated Child SA pair with its keys. Moves once, to whoever installs it.
#[derive(Debug)]
pub struct ChildInstall {
    /// Names the pair in commands and events.
    pub id: ChildSaId,
    /// The peer.
    pub peer: PeerName,
    /// The configured child.
    pub child: ChildName,
    /// The IKE SA that made it.
    pub ike: IkeSaId,
    /// Algorithms.
    pub suite: EspSuite,
    /// Our SPI, in packets to us.
    pub inbound_spi: u32,
    /// The peer's SPI, in packets to it.
    pub outbound_spi: u32,
    /// Keys of packets to us.
    pub inbound_keys: DirectionKeys,
    /// Keys of packets to the peer.
    pub outbound_keys: DirectionKeys,
    /// Our side's selectors, narrowed.
    pub local_ts: SelectorSet,
    /// The peer's side's selectors, narrowed.
    pub remote_ts: SelectorSet,
    /// Source address of the UDP packets; `None` leaves it to the routing table.
    pub local: Option<IpAddr>,
    /// Where the UDP packets go.
    pub remote: SocketAddr,
    /// Whether we initiated the exchange that made it.
    pub initiator: bool,
    /// Whether packets go out on it at once. If not, wait for [`Event::OutboundActivated`].
    pub outbound_active: bool,
    /// The Child SA whose traffic it takes over.
    pub replaces: Option<ChildSaId>,
    /// Limits that the data plane counts.
    pub limits: Limits,
}

/// One line of Wireshark's key tables.
pub enum KeyLog {
    /// A row of `ikev2_decryption_table`.
    Ike {
        /// Initiator's SPI.
        initiator_spi: [u8; 8],
        /// Responder's SPI.
        responder_spi: [u8; 8],
        /// SK_ei, with its salt.
        sk_ei: Secret,
        /// SK_er, with its salt.
        sk_er: Secret,
        /// SK_ai; empty with an AEAD.
        sk_ai: Secret,
        /// SK_ar; empty with an AEAD.
        sk_ar: Secret,
        /// The suite, from which the table's algorithm names follow.
        suite: crate::crypto::IkeSuite,
    },
    /// A row of `esp_sa`, for one direction.
    Esp {
        /// Source address of the UDP packets, where known.
        source: Option<IpAddr>,
        /// Destination address of the UDP packets, where known.
        destination: Option<IpAddr>,
        /// SPI.
        spi: u32,
        /// Encryption key, with its salt.
        encryption: Secret,
        /// Integrity key; empty with an AEAD.
        integrity: Secret,
        /// The suite.
        suite: EspSuite,
    },
}

impl fmt::Debug for KeyLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ike { .. } => "KeyLog::Ike(..)",
            Self::Esp { .. } => "KeyLog::Esp(..)",
        })
    }
}

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// An IKE SA was authenticated.
    IkeUp {
        /// The SA.
        ike: IkeSaId,
        /// The peer.
        peer: PeerName,
        /// The peer's identity as it proved it.
        identity: String,
        /// Algorithms, as strongSwan writes them.
        suite: String,
        /// Whether we initiated.
        initiator: bool,
        /// Our address, where known.
        local: Option<IpAddr>,
        /// The peer's address.
        remote: SocketAddr,
    },
    /// An IKE SA was replaced by rekeying; its children moved.
    IkeRekeyed {
        /// The peer.
        peer: PeerName,
        /// The SA that ends.
        old: IkeSaId,
        /// The SA that the children moved to.
        new: IkeSaId,
        /// Whether our exchange won.
        initiator: bool,
    },
    /// An IKE SA ended. Its children were removed before, unless they moved.
    IkeDown {
        /// The SA.
        ike: IkeSaId,
        /// The peer.
        peer: PeerName,
        /// Why.
        reason: DownReason,
    },
    /// A Child SA is to be installed, inbound at once.
    ChildInstalled(Box<ChildInstall>),
    /// Packets now go out on this Child SA and no longer on the one that it replaces.
    OutboundActivated {
        /// The Child SA.
        child: ChildSaId,
    },
    /// A Child SA is to be removed, both directions.
    ChildRemoved {
        /// The Child SA.
        child: ChildSaId,
        /// Why.
        reason: DownReason,
    },
    /// The addresses of an IKE SA and all its children changed.
    PathChanged {
        /// The SA.
        ike: IkeSaId,
        /// Our address; `None` leaves it to the routing table.
        local: Option<IpAddr>,
        /// The peer's address.
        remote: SocketAddr,
        /// All Child SAs that move with it.
        children: Vec<ChildSaId>,
    },
    /// The largest outer IP packet that reaches the peer was measured.
    PathMtu {
        /// The SA.
        ike: IkeSaId,
        /// The peer.
        peer: PeerName,
        /// Octets, IP header included.
        outer_mtu: u16,
    },
    /// A negotiation was refused, by us or by the peer, or an attempt to connect was never answered.
    Refused {
        /// The peer, where known.
        peer: Option<PeerName>,
        /// Its address.
        remote: SocketAddr,
        /// What, why, and both proposals where they did not match.
        reason: String,
    },
    /// A connection attempt starts.
    Connecting {
        /// The peer.
        peer: PeerName,
        /// Where to.
        remote: SocketAddr,
        /// Attempts since the tunnel was last up, starting with 1.
        attempt: u32,
    },
    /// A name has to be resolved; answer with [`Command::PeerAddresses`].
    Resolve {
        /// The peer.
        peer: PeerName,
        /// The name.
        name: String,
    },
    /// Keys for Wireshark; only with [`EndpointSettings::key_log`].
    KeyLog(KeyLog),
}
