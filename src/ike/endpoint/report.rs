//! Status and counters.

use std::net::IpAddr;

use crate::ike::config::{LocalAuth, PeerName};
use crate::ike::sa::{Child, ChildPhase, IkeSa, Outstanding, Phase, State};
use crate::ike::status::{
    ChildState, ChildStatus, CollisionStats, IkeCounters, IkeSaState, IkeSaStatus, PeerStatus,
};
use crate::ike::time::Now;
use crate::ike::timer::WakeReason;

use super::Endpoint;

impl Endpoint {
    /// All configured peers with their SAs, in order of name.
    #[must_use]
    pub fn status(&self, now: Now) -> Vec<PeerStatus> {
        self.peers
            .values()
            .map(|peer| {
                let sas: Vec<&IkeSa> = self
                    .sas
                    .of_peer(&peer.config.name)
                    .filter(|sa| !matches!(sa.state, State::Closed(_) | State::Gone))
                    .collect();
                PeerStatus {
                    peer: peer.config.name.clone(),
                    start: peer.config.children.first().map(|child| child.start).unwrap_or_default(),
                    attempts: peer.attempts,
                    next_attempt: peer.next_attempt.map(|at| at.saturating_duration_since(now.mono)),
                    last_error: peer.last_error.clone(),
                    held_down: peer.held,
                    local_certificate_not_after: match &peer.config.local_auth {
                        LocalAuth::Certificate(certificate) => Some(certificate.not_after()),
                        LocalAuth::Psk(_) => None,
                    },
                    remote_certificate_not_after: sas
                        .iter()
                        .filter_map(|sa| sa.established()?.remote_not_after)
                        .min(),
                    ike_sas: sas.into_iter().map(|sa| ike_status(sa, now)).collect(),
                }
            })
            .collect()
    }

    /// A peer with an IKE SA, made or under way, to this address.
    #[must_use]
    pub fn peer_at(&self, remote: IpAddr) -> Option<PeerName> {
        let mut there = self.sas.values().filter(|sa| sa.core.path.remote.ip() == remote);
        there.find_map(|sa| Some(sa.core.peer.as_ref()?.name.clone()))
    }

    /// Collisions so far.
    #[must_use]
    pub fn collisions(&self) -> CollisionStats {
        self.collisions
    }

    /// Counters so far.
    #[must_use]
    pub fn counters(&self) -> IkeCounters {
        self.counters
    }

    /// IKE SAs that are half-open.
    #[must_use]
    pub fn half_open(&self) -> usize {
        self.half_open.len()
    }

    /// Whether nothing is left that a peer has to be told or asked, so that a shutdown is complete.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.sas.values().all(|sa| matches!(sa.state, State::Closed(_) | State::Gone | State::HalfOpen(_)))
    }

    /// All SAs that are held in memory, closed ones that still answer included.
    #[must_use]
    pub fn sa_count(&self) -> usize {
        self.sas.len()
    }
}

fn ike_status(sa: &IkeSa, now: Now) -> IkeSaStatus {
    let established = sa.established();
    let state = match established {
        None => IkeSaState::Connecting,
        Some(established) => match (established.phase, &established.outstanding) {
            (Phase::Live, Some(Outstanding::Rekey(_))) => IkeSaState::Rekeying,
            (Phase::Live, _) => IkeSaState::Established,
            (Phase::Replaced(_) | Phase::Closing, _) => IkeSaState::Closing,
        },
    };
    let rekeying = match established.and_then(|established| established.outstanding.as_ref()) {
        Some(Outstanding::Child(pending)) => pending.old,
        _ => None,
    };
    IkeSaStatus {
        id: sa.core.id,
        state,
        initiator: sa.core.initiator,
        initiator_spi: sa.core.initiator_spi().0,
        responder_spi: sa.core.responder_spi().0,
        local: sa.core.path.local,
        remote: sa.core.path.remote,
        local_id: established.map(|established| established.peer.local_id.to_string()),
        remote_id: established.map(|established| established.remote_id.to_string()),
        suite: established.map(|established| established.suite.to_string()),
        local_behind_nat: sa.core.path.nat.local,
        remote_behind_nat: sa.core.path.nat.remote,
        age: established.map(|established| now.mono.saturating_duration_since(established.since)),
        rekey_in: established
            .and_then(|established| established.timers.get(WakeReason::RekeyIke))
            .map(|at| at.saturating_duration_since(now.mono)),
        last_heard: established.map(|established| now.mono.saturating_duration_since(established.last_heard)),
        outer_mtu: established.and_then(|established| established.mtu.known),
        children: established
            .map(|established| {
                established
                    .children
                    .values()
                    .map(|child| child_status(child, rekeying == Some(child.id), now))
                    .collect()
            })
            .unwrap_or_default(),
        pending: established.map_or(0, |established| {
            usize::from(established.outstanding.is_some())
                + established.wanted.len()
                + established.channel.pending_fragments()
        }),
    }
}

fn child_status(child: &Child, rekeying: bool, now: Now) -> ChildStatus {
    ChildStatus {
        id: child.id,
        child: child.name.clone(),
        state: match child.phase {
            ChildPhase::Live if rekeying => ChildState::Rekeying,
            ChildPhase::Live => ChildState::Established,
            ChildPhase::Replaced | ChildPhase::Deleting => ChildState::Closing,
            ChildPhase::Lingering => ChildState::Lingering,
        },
        inbound_spi: child.inbound_spi,
        outbound_spi: child.outbound_spi,
        suite: child.suite.to_string(),
        local_ts: child.local_ts.clone(),
        remote_ts: child.remote_ts.clone(),
        age: now.mono.saturating_duration_since(child.installed),
        rekey_in: child.soft.map(|at| at.saturating_duration_since(now.mono)),
        outbound_active: child.outbound_active,
    }
}
