//! What an operator may see: state of peers and SAs, and counters. Plain values without secrets.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::policy::SelectorSet;

use super::config::{ChildName, PeerName, StartPolicy};
use super::event::{ChildSaId, IkeSaId};

/// One configured peer.
#[derive(Clone, Debug)]
pub struct PeerStatus {
    /// Its name.
    pub peer: PeerName,
    /// When its tunnel is raised.
    pub start: StartPolicy,
    /// Its IKE SAs, oldest first; normally one.
    pub ike_sas: Vec<IkeSaStatus>,
    /// Failed attempts since it was last up.
    pub attempts: u32,
    /// Time until the next attempt.
    pub next_attempt: Option<Duration>,
    /// Why the last attempt failed or the last SA ended.
    pub last_error: Option<String>,
    /// Whether a command took it down.
    pub held_down: bool,
    /// Seconds since the epoch at which our own certificate expires.
    pub local_certificate_not_after: Option<i64>,
    /// Seconds since the epoch at which the peer's certificate expires.
    pub remote_certificate_not_after: Option<i64>,
}

/// How far an IKE SA has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IkeSaState {
    /// IKE_SA_INIT is out or answered, or IKE_AUTH is under way.
    Connecting,
    /// Authenticated.
    Established,
    /// Being rekeyed.
    Rekeying,
    /// Being closed, or replaced and waiting for the peer to close it.
    Closing,
}

/// One IKE SA.
#[derive(Clone, Debug)]
pub struct IkeSaStatus {
    /// Its number.
    pub id: IkeSaId,
    /// State.
    pub state: IkeSaState,
    /// Whether we are the original initiator.
    pub initiator: bool,
    /// Initiator's SPI.
    pub initiator_spi: [u8; 8],
    /// Responder's SPI; zero until known.
    pub responder_spi: [u8; 8],
    /// Our address, where known.
    pub local: Option<IpAddr>,
    /// The peer's.
    pub remote: SocketAddr,
    /// Who we are.
    pub local_id: Option<String>,
    /// Who the peer proved to be.
    pub remote_id: Option<String>,
    /// Algorithms.
    pub suite: Option<String>,
    /// Whether the peer sees us behind a NAT.
    pub local_behind_nat: bool,
    /// Whether the peer is behind a NAT (or says so, to force encapsulation).
    pub remote_behind_nat: bool,
    /// Time since it was established.
    pub age: Option<Duration>,
    /// Time until it is rekeyed.
    pub rekey_in: Option<Duration>,
    /// Time since an authenticated packet arrived.
    pub last_heard: Option<Duration>,
    /// Measured outer path MTU.
    pub outer_mtu: Option<u16>,
    /// Its Child SAs, oldest first.
    pub children: Vec<ChildStatus>,
    /// Requests and responses still kept in memory, fragments included (for tests of lingering state).
    pub pending: usize,
}

/// How a Child SA stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildState {
    /// In use.
    Established,
    /// Being rekeyed.
    Rekeying,
    /// Being deleted, or replaced and waiting for the peer to delete it.
    Closing,
    /// Deleted; still receives late packets.
    Lingering,
}

/// One Child SA pair.
#[derive(Clone, Debug)]
pub struct ChildStatus {
    /// Its number.
    pub id: ChildSaId,
    /// The configured child.
    pub child: ChildName,
    /// State.
    pub state: ChildState,
    /// Our SPI.
    pub inbound_spi: u32,
    /// The peer's SPI.
    pub outbound_spi: u32,
    /// Algorithms.
    pub suite: String,
    /// Our side.
    pub local_ts: SelectorSet,
    /// The peer's side.
    pub remote_ts: SelectorSet,
    /// Age.
    pub age: Duration,
    /// Time until it is rekeyed.
    pub rekey_in: Option<Duration>,
    /// Whether packets go out on it.
    pub outbound_active: bool,
}

macro_rules! counters {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: u64,)*
        }

        impl $name {
            /// Every counter with its name, in a fixed order.
            #[must_use]
            pub fn entries(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($field), self.$field),)*]
            }

            /// Adds another set of counters to this one.
            pub fn add(&mut self, other: &Self) {
                $(self.$field = self.$field.saturating_add(other.$field);)*
            }
        }
    };
}

counters! {
    /// How often each branch of RFC 7296 sections
    /// [2.8.1](https://www.rfc-editor.org/rfc/rfc7296#section-2.8.1),
    /// [2.8.2](https://www.rfc-editor.org/rfc/rfc7296#section-2.8.2) and
    /// [2.25](https://www.rfc-editor.org/rfc/rfc7296#section-2.25) was taken.
    CollisionStats {
        /// Both ends rekeyed a Child SA and our new one stayed.
        child_rekey_won,
        /// Both ends rekeyed a Child SA and we closed our new one.
        child_rekey_lost,
        /// The peer deleted the Child SA that we were rekeying.
        child_rekey_met_delete,
        /// The peer rekeyed a Child SA that we were deleting: TEMPORARY_FAILURE.
        child_delete_met_rekey,
        /// Both ends deleted the same Child SA.
        child_delete_met_delete,
        /// The peer rekeyed a Child SA that we do not have: CHILD_SA_NOT_FOUND.
        child_rekey_of_unknown,
        /// We rekeyed a Child SA that the peer did not have any more.
        child_rekey_answered_not_found,
        /// Both ends created the same Child SA and ours stayed.
        child_create_won,
        /// Both ends created the same Child SA and we closed ours.
        child_create_lost,
        /// Both ends rekeyed the IKE SA and our new one stayed.
        ike_rekey_won,
        /// Both ends rekeyed the IKE SA and we closed our new one.
        ike_rekey_lost,
        /// The peer closed the IKE SA that we were rekeying, having rekeyed it itself.
        ike_rekey_met_delete,
        /// The peer asked to rekey an IKE SA that we were closing: TEMPORARY_FAILURE.
        ike_delete_met_rekey,
        /// Both ends closed the IKE SA.
        ike_delete_met_delete,
        /// The peer asked to rekey the IKE SA while we had a Child SA exchange under way: TEMPORARY_FAILURE.
        ike_rekey_met_child_exchange,
        /// The peer asked for a Child SA while we rekeyed the IKE SA: TEMPORARY_FAILURE.
        child_exchange_met_ike_rekey,
        /// The peer deleted a Child SA while we rekeyed the IKE SA.
        child_delete_met_ike_rekey,
        /// The peer answered TEMPORARY_FAILURE and we tried again later.
        temporary_failure_received,
        /// INVALID_KE_PAYLOAD in CREATE_CHILD_SA and we tried again with the other group.
        invalid_ke_received,
        /// Both ends connected at once and our IKE SA stayed.
        simultaneous_initiation_won,
        /// Both ends connected at once and we closed our IKE SA.
        simultaneous_initiation_lost,
    }
}

counters! {
    /// What was dropped, refused, repeated or tried, by reason.
    IkeCounters {
        /// Datagrams handled.
        datagrams,
        /// Shorter than an IKE header, or lengths that do not add up.
        malformed,
        /// A major version that we do not speak.
        bad_version,
        /// An exchange type that does not fit.
        bad_exchange,
        /// SPIs of no SA of ours.
        unknown_spi,
        /// IKE_SA_INIT requests with a responder SPI, response flag or message ID that cannot be.
        bad_init,
        /// Encrypted messages whose integrity check failed.
        bad_integrity,
        /// Encrypted messages that decrypted to nonsense.
        bad_plaintext,
        /// An unknown payload marked critical.
        unsupported_critical,
        /// Message IDs outside the window.
        out_of_window,
        /// Responses to nothing.
        unexpected_response,
        /// Requests seen again and answered from memory.
        retransmit_answered,
        /// Requests of ours sent again.
        retransmits,
        /// Fragments that could not be kept: too many, too large, inconsistent.
        bad_fragment,
        /// Fragments seen twice.
        duplicate_fragment,
        /// COOKIE demands sent.
        cookies_sent,
        /// COOKIE demands obeyed.
        cookies_received,
        /// Wrong or outdated cookies.
        bad_cookie,
        /// IKE_SA_INIT requests dropped for too many half-open IKE SAs.
        half_open_dropped,
        /// Half-open IKE SAs that ran into their timeout.
        half_open_expired,
        /// INVALID_KE_PAYLOAD sent in IKE_SA_INIT.
        invalid_ke_sent,
        /// INVALID_KE_PAYLOAD obeyed in IKE_SA_INIT.
        invalid_ke_received,
        /// NO_PROPOSAL_CHOSEN sent.
        no_proposal_sent,
        /// Peers that failed authentication.
        authentication_failed,
        /// Answers to messages of no SA (INVALID_IKE_SPI, INVALID_MAJOR_VERSION).
        unauthenticated_answers,
        /// Such answers withheld by the rate limit.
        unauthenticated_answers_limited,
        /// Unauthenticated hints that led to a probe.
        hint_probes,
        /// Unauthenticated hints ignored by the rate limit.
        hints_limited,
        /// Dead peer detection requests sent.
        dpd_sent,
        /// NAT keepalives sent.
        keepalives_sent,
        /// Requests that the peer never answered.
        request_timeouts,
        /// Connection attempts.
        attempts,
        /// IKE SAs authenticated.
        ike_established,
        /// IKE SAs rekeyed.
        ike_rekeyed,
        /// Child SAs installed.
        child_installed,
        /// Child SAs refused.
        child_refused,
        /// Addresses of peers that moved.
        peer_moved,
    }
}
