//! Two IKE SAs with one peer, and which of them stays.
//!
//! The rule, the same at both ends:
//!
//! - INITIAL_CONTACT ends every IKE SA with that identity which was established before the new one's
//!   IKE_SA_INIT arrived. (One that came up meanwhile was not known to the peer when it wrote the
//!   notification: both ends are connecting at once.)
//! - Of two IKE SAs that came up at the same time, each begun before the other was established, the one with
//!   the lowest of the four IKE_SA_INIT nonces is closed by the end that initiated it, as in
//!   [RFC 7296 section 2.8.1](https://www.rfc-editor.org/rfc/rfc7296#section-2.8.1).
//! - Otherwise the younger one replaces the older one.
//!
//! The closing waits a few seconds. A peer that on its own closes what it had when a new IKE SA comes
//! (strongSwan with `unique = replace` keeps the newest) has then acted, and one SA is left in any case.

use std::time::Duration;

use crate::ike::event::{DownReason, IkeSaId};
use crate::ike::rekey::{Verdict, verdict};
use crate::ike::sa::{IkeSa, State};
use crate::ike::time::Now;
use crate::ike::timer::WakeReason;

use super::Endpoint;

/// Before the end that initiated a superfluous IKE SA closes it.
const SETTLE: Duration = Duration::from_secs(3);
/// Before the other end does, or an older one is closed.
const FALLBACK: Duration = Duration::from_secs(12);

impl Endpoint {
    /// An IKE SA was authenticated: what becomes of others with the same peer?
    pub(super) fn authenticated(&mut self, now: Now, id: IkeSaId) {
        let newcomer = self.sas.edit(id, |sa| {
            let (started, initiator) = (sa.core.started, sa.core.initiator);
            let State::Established(new) = &mut sa.state else { return None };
            let initial_contact = std::mem::take(&mut new.initial_contact);
            let who = (new.peer.name.clone(), new.remote_id.clone(), new.origin.lowest.clone());
            Some((started, initiator, initial_contact, who))
        });
        let Some((started, initiator, initial_contact, (name, identity, lowest))) = newcomer.flatten() else {
            return;
        };
        if let Some(peer) = self.peers.get_mut(&name) {
            peer.attempts = 0;
            peer.next_attempt = None;
            peer.last_error = None;
            peer.touched = true;
        }
        let others: Vec<IkeSaId> =
            self.sas.of_peer(&name).map(|other| other.core.id).filter(|other| *other != id).collect();
        for other_id in others {
            let Some(other) = self.sas.get(other_id) else { continue };
            if matches!(other.state, State::Starting(_)) {
                // The peer was quicker; ours is not needed any more.
                let spi = other.core.local_spi;
                self.sas.remove(other_id);
                self.registry.ike_spis.remove(&spi);
                continue;
            }
            let other_started = other.core.started;
            let Some(old) = other.established().filter(|old| old.remote_id == identity) else { continue };
            let other_initiator = old.origin.initiator;
            if initial_contact && old.origin.since < started {
                self.end_silently(now, other_id, DownReason::InitialContact);
                continue;
            }
            if old.phase != crate::ike::sa::Phase::Live {
                continue;
            }
            let simultaneous =
                started <= old.origin.since && other_started <= now.mono && initiator != other_initiator;
            let (loser, ours) = if simultaneous {
                match (verdict(&lowest, &old.origin.lowest), initiator) {
                    (Verdict::Lost, _) => (id, initiator),
                    (Verdict::Won, _) => (other_id, other_initiator),
                }
            } else {
                (other_id, false)
            };
            if simultaneous {
                if ours {
                    self.collisions.simultaneous_initiation_lost += 1;
                } else {
                    self.collisions.simultaneous_initiation_won += 1;
                }
            }
            let at = now.mono + if ours { SETTLE } else { FALLBACK };
            self.sas.edit(loser, |sa| {
                if let State::Established(established) = &mut sa.state {
                    established.timers.set(WakeReason::Duplicate, at);
                }
            });
        }
    }

    /// Ends an IKE SA that the peer does not have any more.
    pub(super) fn end_silently(&mut self, now: Now, id: IkeSaId, reason: DownReason) {
        self.with_sa(now, id, |sa, ctx| {
            if let State::Established(established) = &mut sa.state {
                established.drop_outstanding(ctx);
                established.drop_children(ctx, &reason);
            }
            sa.core.announce_end(ctx, reason);
            sa.state = State::Gone;
        });
    }

    /// Spares IKE SAs that were to be closed as duplicates of one that is gone by now.
    pub(super) fn spare_survivors(&mut self) {
        let doomed: Vec<IkeSaId> = self.sas.duplicates().map(|sa| sa.core.id).collect();
        for id in doomed {
            let Some(established) = self.sas.get(id).and_then(IkeSa::established) else { continue };
            let alone = !self.sas.of_peer(&established.peer.name).any(|other| {
                other.core.id != id
                    && other.is_live()
                    && other.established().is_some_and(|live| {
                        live.remote_id == established.remote_id
                            && live.timers.get(WakeReason::Duplicate).is_none()
                    })
            });
            if alone {
                self.sas.edit(id, |sa| {
                    if let State::Established(established) = &mut sa.state {
                        established.timers.stop(WakeReason::Duplicate);
                    }
                });
            }
        }
    }
}
