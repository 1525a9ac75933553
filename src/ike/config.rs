//! What the IKE layer is configured with: checked runtime types, not the file's.
//!
//! The `config` layer builds these; nothing here reads a file or resolves a name.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::crypto::Secret;
use crate::pki::{Identity, IdentityPattern, LocalCertificate, SignaturePolicy, TrustStore};
use crate::policy::{Proposal, SelectorSet};

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as written.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The name as written, shared.
            #[must_use]
            pub fn shared(&self) -> Arc<str> {
                Arc::clone(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(name: &str) -> Self {
                Self(Arc::from(name))
            }
        }

        impl From<String> for $name {
            fn from(name: String) -> Self {
                Self(Arc::from(name))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    };
}

name! {
    /// A configured peer's name: the table's name under `[peers]`.
    PeerName
}
name! {
    /// A configured Child SA's name within its peer.
    ChildName
}

/// Settings of the whole endpoint, shared by all peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSettings {
    /// Our UDP port for IKE without the non-ESP marker; 500 by default.
    pub ike_port: u16,
    /// Our UDP port for IKE with marker and for ESP; 4500 by default.
    pub natt_port: u16,
    /// Half-open IKE SAs over all peers above which a COOKIE is demanded.
    pub cookie_threshold: usize,
    /// Half-open IKE SAs of one address above which a COOKIE is demanded.
    pub cookie_threshold_per_address: usize,
    /// Half-open IKE SAs of one address above which new ones are dropped.
    pub block_threshold_per_address: usize,
    /// Half-open IKE SAs over all peers above which new ones are dropped.
    pub block_threshold: usize,
    /// How long a responder waits for IKE_AUTH.
    pub half_open_timeout: Duration,
    /// Answers to messages outside any IKE SA (INVALID_IKE_SPI, INVALID_MAJOR_VERSION) per second.
    pub unauthenticated_answers_per_second: u32,
    /// Whether [`crate::ike::Event::KeyLog`] is emitted. Off unless the operator asks loudly.
    pub key_log: bool,
}

impl Default for EndpointSettings {
    fn default() -> Self {
        Self {
            ike_port: 500,
            natt_port: 4500,
            cookie_threshold: 30,
            cookie_threshold_per_address: 3,
            block_threshold_per_address: 5,
            block_threshold: 1000,
            half_open_timeout: Duration::from_secs(30),
            unauthenticated_answers_per_second: 10,
            key_log: false,
        }
    }
}

/// Where a peer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemoteAddress {
    /// Anywhere; such a peer can only be waited for.
    Any,
    /// One of these addresses, tried in turn.
    Addresses(Vec<IpAddr>),
    /// A DNS name; resolved outside by [`crate::ike::Event::Resolve`].
    Name(String),
}

/// When a peer's tunnel is raised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartPolicy {
    /// Never by us; the peer initiates.
    #[default]
    Wait,
    /// At once and again for ever.
    Connect,
    /// By the first matching packet.
    Trap,
}

/// How we prove our identity.
#[derive(Clone, Debug)]
pub enum LocalAuth {
    /// Pre-shared keys, the current one first. The first is used; an initiator whose key was
    /// refused tries the next one, a responder uses the one that the initiator used.
    Psk(Vec<Secret>),
    /// A certificate with its chain and key.
    Certificate(Arc<LocalCertificate>),
}

/// How the peer must prove its identity.
#[derive(Clone, Debug)]
pub enum RemoteAuth {
    /// Any one of these pre-shared keys.
    Psk(Vec<Secret>),
    /// A certificate that the trust store accepts for the peer's identity.
    Certificate {
        /// Trust anchors, intermediates, CRLs and pinned certificates.
        trust: Arc<TrustStore>,
        /// Which signature algorithms are good enough.
        policy: SignaturePolicy,
    },
}

/// Retransmission, liveness and retry times of one peer.
#[derive(Clone, Debug, PartialEq)]
pub struct Timing {
    /// Wait before a request's first retransmission.
    pub retransmit_base: Duration,
    /// Growth of the wait from one retransmission to the next.
    pub retransmit_factor: f64,
    /// The longest wait between two retransmissions.
    pub retransmit_cap: Duration,
    /// Retransmissions before the peer counts as dead.
    pub retransmit_tries: u32,
    /// Silence after which the peer is probed; `None` turns dead peer detection off.
    pub dpd_delay: Option<Duration>,
    /// Idle time after which a NAT keepalive is sent, if we are behind NAT.
    pub keepalive: Duration,
    /// First wait between two connection attempts; doubles up to `retry_cap`.
    pub retry_base: Duration,
    /// The longest wait between two connection attempts.
    pub retry_cap: Duration,
    /// How long a replaced Child SA still receives.
    pub linger: Duration,
    /// Path MTU probing of the outer path; `None` turns it off.
    pub mtu_probe: Option<MtuProbe>,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            retransmit_base: Duration::from_secs(1),
            retransmit_factor: 1.8,
            retransmit_cap: Duration::from_secs(15),
            retransmit_tries: 5,
            dpd_delay: Some(Duration::from_secs(20)),
            keepalive: Duration::from_secs(20),
            retry_base: Duration::from_secs(1),
            retry_cap: Duration::from_secs(60),
            linger: Duration::from_secs(5),
            mtu_probe: None,
        }
    }
}

/// Bounds and pace of path MTU probing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MtuProbe {
    /// The largest outer IP packet worth trying, normally the interface's MTU.
    pub largest: u16,
    /// The size that is taken for granted.
    pub smallest: u16,
    /// Time between two probings of an unchanged path.
    pub interval: Duration,
}

impl Default for MtuProbe {
    fn default() -> Self {
        Self { largest: 1500, smallest: 1280, interval: Duration::from_secs(600) }
    }
}

/// Life of an IKE SA.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IkeLifetime {
    /// Age at which it is rekeyed, less up to `jitter` of it.
    pub rekey: Duration,
    /// Age at which it is closed, rekeyed or not.
    pub hard: Duration,
    /// Share of `rekey` that is randomly taken off, 0.0 to 1.0.
    pub jitter: f64,
}

impl Default for IkeLifetime {
    fn default() -> Self {
        Self { rekey: Duration::from_secs(4 * 3600), hard: Duration::from_secs(4 * 3600 + 1440), jitter: 0.1 }
    }
}

/// Life of a Child SA. A limit that is `None` is not enforced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChildLifetime {
    /// Age at which it is rekeyed, less up to `jitter` of it.
    pub rekey_time: Option<Duration>,
    /// Age at which it is closed.
    pub hard_time: Option<Duration>,
    /// ESP octets in one direction at which it is rekeyed, less jitter.
    pub rekey_bytes: Option<u64>,
    /// ESP octets in one direction at which it stops working.
    pub hard_bytes: Option<u64>,
    /// Packets in one direction at which it is rekeyed, less jitter.
    pub rekey_packets: Option<u64>,
    /// Packets in one direction at which it stops working.
    pub hard_packets: Option<u64>,
    /// Share of each soft limit that is randomly taken off, 0.0 to 1.0.
    pub jitter: f64,
}

impl Default for ChildLifetime {
    fn default() -> Self {
        Self {
            rekey_time: Some(Duration::from_secs(3600)),
            hard_time: Some(Duration::from_secs(3960)),
            rekey_bytes: None,
            hard_bytes: None,
            rekey_packets: None,
            hard_packets: None,
            jitter: 0.1,
        }
    }
}

/// The lifetimes of a peer's SAs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Lifetimes {
    /// The IKE SA's.
    pub ike: IkeLifetime,
    /// Each Child SA's, unless the child says otherwise.
    pub child: ChildLifetime,
}

/// One Child SA that a peer may have.
#[derive(Clone, Debug, PartialEq)]
pub struct ChildConfig {
    /// Its name.
    pub name: ChildName,
    /// What we protect on our side.
    pub local: SelectorSet,
    /// What lies behind the peer.
    pub remote: SelectorSet,
    /// ESP proposals in order of preference.
    pub esp: Vec<Proposal>,
    /// When it is raised.
    pub start: StartPolicy,
    /// How long it lives.
    pub lifetime: ChildLifetime,
}

/// One peer.
#[derive(Clone, Debug)]
pub struct PeerConfig {
    /// Its name.
    pub name: PeerName,
    /// Where it is.
    pub remote: RemoteAddress,
    /// Its port for IKE_SA_INIT.
    pub remote_ike_port: u16,
    /// Its port for everything after the float.
    pub remote_natt_port: u16,
    /// Send even IKE_SA_INIT to `remote_natt_port` (port 500 filtered, or a custom port).
    pub start_encapsulated: bool,
    /// The source address, where it must be a certain one.
    pub local_address: Option<IpAddr>,
    /// Who we are.
    pub local_id: Identity,
    /// Who the peer must be.
    pub remote_id: IdentityPattern,
    /// How we prove it.
    pub local_auth: LocalAuth,
    /// How the peer must prove it.
    pub remote_auth: RemoteAuth,
    /// IKE proposals in order of preference.
    pub ike: Vec<Proposal>,
    /// Life of the IKE SA.
    pub ike_lifetime: IkeLifetime,
    /// Timers.
    pub timing: Timing,
    /// Largest outer IP packet of an IKE message before RFC 7383 fragments it.
    pub fragment_size: u16,
    /// The Child SAs. The first one that is wanted goes into IKE_AUTH.
    pub children: Vec<ChildConfig>,
}

impl PeerConfig {
    /// A peer with defaults for everything that has one.
    #[must_use]
    pub fn new(
        name: PeerName,
        remote: RemoteAddress,
        local_id: Identity,
        remote_id: IdentityPattern,
        local_auth: LocalAuth,
        remote_auth: RemoteAuth,
    ) -> Self {
        Self {
            name,
            remote,
            remote_ike_port: 500,
            remote_natt_port: 4500,
            start_encapsulated: false,
            local_address: None,
            local_id,
            remote_id,
            local_auth,
            remote_auth,
            ike: Vec::new(),
            ike_lifetime: IkeLifetime::default(),
            timing: Timing::default(),
            fragment_size: 1280,
            children: Vec::new(),
        }
    }

    /// The child of that name.
    #[must_use]
    pub fn child(&self, name: &ChildName) -> Option<&ChildConfig> {
        self.children.iter().find(|child| child.name == *name)
    }

    /// Whether an IKE SA that `self` negotiated stands as well under `new`.
    ///
    /// Credentials of the same kind may be renewed, and times and children may change, without
    /// touching a live IKE SA; where, who, and which algorithms may not.
    #[must_use]
    pub fn keeps_ike_sa(&self, new: &Self) -> bool {
        let same_local = match (&self.local_auth, &new.local_auth) {
            (LocalAuth::Psk(old), LocalAuth::Psk(new)) => old.iter().any(|key| new.contains(key)),
            (LocalAuth::Certificate(_), LocalAuth::Certificate(_)) => true,
            (LocalAuth::Psk(_), LocalAuth::Certificate(_))
            | (LocalAuth::Certificate(_), LocalAuth::Psk(_)) => false,
        };
        let same_remote = match (&self.remote_auth, &new.remote_auth) {
            (RemoteAuth::Psk(old), RemoteAuth::Psk(new)) => old.iter().any(|key| new.contains(key)),
            (RemoteAuth::Certificate { .. }, RemoteAuth::Certificate { .. }) => true,
            (RemoteAuth::Psk(_), RemoteAuth::Certificate { .. })
            | (RemoteAuth::Certificate { .. }, RemoteAuth::Psk(_)) => false,
        };
        same_local
            && same_remote
            && self.remote == new.remote
            && self.remote_ike_port == new.remote_ike_port
            && self.remote_natt_port == new.remote_natt_port
            && self.local_address == new.local_address
            && self.local_id == new.local_id
            && self.remote_id == new.remote_id
            && self.ike == new.ike
    }
}
