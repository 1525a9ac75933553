//! One Child SA pair as the IKE SA knows it, from installation to the end of its lingering.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::crypto::{ChildKeys, EspSuite};
use crate::ike::config::{ChildConfig, ChildLifetime, ChildName};
use crate::ike::context::Context;
use crate::ike::event::{ChildInstall, ChildSaId, DownReason, Event, KeyLog, Limits};
use crate::policy::SelectorSet;

use super::{Core, Established};

/// Before the end that made a redundant Child SA deletes it; the other end waits ten times as long.
const REDUNDANT: Duration = Duration::from_secs(3);
/// Before a Child SA whose settings changed is deleted although nothing has come of its successor.
const RENEWAL: Duration = Duration::from_secs(10);
/// Before it is deleted once its successor is there: peers may drop at once what is still on its way.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

/// How a Child SA stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChildPhase {
    /// In use.
    Live,
    /// It has a successor, or is to get one with other settings; the end that makes that deletes this one, or we do
    /// at `close_by`.
    Replaced,
    /// We are going to delete it, or have sent the Delete.
    Deleting,
    /// Both ends know that it is over; it still receives until `close_by`.
    Lingering,
}

/// A Child SA.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) id: ChildSaId,
    pub(crate) name: ChildName,
    pub(crate) suite: EspSuite,
    pub(crate) inbound_spi: u32,
    pub(crate) outbound_spi: u32,
    pub(crate) local_ts: SelectorSet,
    pub(crate) remote_ts: SelectorSet,
    pub(crate) phase: ChildPhase,
    pub(crate) outbound_active: bool,
    pub(crate) installed: Instant,
    pub(crate) soft: Option<Instant>,
    pub(crate) hard: Option<Instant>,
    /// When a replaced one is deleted by us after all, or a lingering one is removed.
    pub(crate) close_by: Option<Instant>,
    pub(crate) close_reason: DownReason,
    /// The lower nonce of the exchange that made it.
    pub(crate) lowest: Vec<u8>,
    /// Whether we initiated that exchange.
    pub(crate) initiator: bool,
    /// Packets go out on it once one has come in.
    pub(crate) awaits_inbound: bool,
}

impl Child {
    pub(crate) fn is_live(&self) -> bool {
        self.phase == ChildPhase::Live
    }
}

/// What an exchange has negotiated.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) config: ChildConfig,
    pub(crate) suite: EspSuite,
    pub(crate) inbound_spi: u32,
    pub(crate) outbound_spi: u32,
    pub(crate) keys: ChildKeys,
    /// Whether we initiated the exchange.
    pub(crate) initiator: bool,
    pub(crate) local_ts: SelectorSet,
    pub(crate) remote_ts: SelectorSet,
    pub(crate) lowest: Vec<u8>,
    pub(crate) replaces: Option<ChildSaId>,
    pub(crate) outbound_active: bool,
}

fn jittered(ctx: &mut Context<'_>, limit: Option<u64>, jitter: f64) -> Option<u64> {
    let limit = limit?;
    let mut octets = [0; 2];
    ctx.random.fill(&mut octets);
    let share = jitter.clamp(0.0, 0.9) * f64::from(u16::from_be_bytes(octets)) / f64::from(u16::MAX);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of the limit"
    )]
    let off = (limit as f64 * share) as u64;
    Some(limit.saturating_sub(off))
}

impl Established {
    /// Installs a Child SA and tells the caller; its keys leave this layer.
    pub(crate) fn install(&mut self, core: &Core, ctx: &mut Context<'_>, mut made: Made) -> ChildSaId {
        made.local_ts = made.local_ts.shared_with(&made.config.local);
        made.remote_ts = made.remote_ts.shared_with(&made.config.remote);
        let id = ctx.registry.child_id();
        let now = ctx.now.mono;
        let lifetime: ChildLifetime = made.config.lifetime;
        let soft = lifetime
            .rekey_time
            .map(|span| now + span - ctx.jitter(span.mul_f64(lifetime.jitter.clamp(0.0, 0.9))));
        let hard = lifetime.hard_time.map(|span| now + span);
        let limits = Limits {
            soft_bytes: jittered(ctx, lifetime.rekey_bytes, lifetime.jitter),
            hard_bytes: lifetime.hard_bytes,
            soft_packets: jittered(ctx, lifetime.rekey_packets, lifetime.jitter),
            hard_packets: lifetime.hard_packets,
        };
        let (outbound_keys, inbound_keys) = if made.initiator {
            (made.keys.initiator_to_responder, made.keys.responder_to_initiator)
        } else {
            (made.keys.responder_to_initiator, made.keys.initiator_to_responder)
        };
        if ctx.settings.key_log {
            for (spi, keys, inbound) in
                [(made.inbound_spi, &inbound_keys, true), (made.outbound_spi, &outbound_keys, false)]
            {
                let (here, there) = (core.path.local, Some(core.path.remote.ip()));
                let (source, destination) = if inbound { (there, here) } else { (here, there) };
                ctx.event(Event::KeyLog(KeyLog::Esp {
                    source,
                    destination,
                    spi,
                    encryption: keys.encryption.clone(),
                    integrity: keys.integrity.clone(),
                    suite: made.suite,
                }));
            }
        }
        let child = Child {
            id,
            name: made.config.name.clone(),
            suite: made.suite,
            inbound_spi: made.inbound_spi,
            outbound_spi: made.outbound_spi,
            local_ts: made.local_ts.clone(),
            remote_ts: made.remote_ts.clone(),
            phase: ChildPhase::Live,
            outbound_active: made.outbound_active,
            installed: now,
            soft,
            hard,
            close_by: None,
            close_reason: DownReason::Replaced,
            lowest: made.lowest,
            initiator: made.initiator,
            awaits_inbound: !made.outbound_active,
        };
        if made.outbound_active {
            self.take_outbound(&made.config.name);
        }
        self.children.insert(id, child);
        ctx.counters.child_installed += 1;
        ctx.event(Event::ChildInstalled(Box::new(ChildInstall {
            id,
            peer: self.peer.name.clone(),
            child: made.config.name,
            ike: core.id,
            suite: made.suite,
            inbound_spi: made.inbound_spi,
            outbound_spi: made.outbound_spi,
            inbound_keys,
            outbound_keys,
            local_ts: made.local_ts,
            remote_ts: made.remote_ts,
            local: core.path.local,
            remote: core.path.remote,
            initiator: made.initiator,
            outbound_active: made.outbound_active,
            replaces: made.replaces,
            limits,
        })));
        id
    }

    fn take_outbound(&mut self, name: &ChildName) {
        for child in self.children.values_mut().filter(|child| child.name == *name) {
            child.outbound_active = false;
        }
    }

    /// Packets now go out on this Child SA.
    pub(crate) fn activate(&mut self, ctx: &mut Context<'_>, id: ChildSaId) {
        let Some(child) = self.children.get(&id) else { return };
        if child.outbound_active {
            return;
        }
        let name = child.name.clone();
        self.take_outbound(&name);
        if let Some(child) = self.children.get_mut(&id) {
            child.outbound_active = true;
        }
        ctx.event(Event::OutboundActivated { child: id });
    }

    /// The first packet came in on a Child SA.
    pub(crate) fn first_inbound(&mut self, ctx: &mut Context<'_>, id: ChildSaId) {
        if let Some(child) =
            self.children.get_mut(&id).filter(|child| child.is_live() && child.awaits_inbound)
        {
            child.awaits_inbound = false;
            self.activate(ctx, id);
        }
    }

    /// Of two live Child SAs of one name, which exchanges of different kinds can make when they cross, the one
    /// with the lowest nonce goes, deleted by the end that made it.
    pub(crate) fn thin_out(&mut self, ctx: &mut Context<'_>) {
        let name = match &self.outstanding {
            Some(super::Outstanding::Child(pending)) => Some(pending.config.name.clone()),
            _ => None,
        };
        let live: Vec<&Child> = self
            .children
            .values()
            .filter(|child| child.is_live() && Some(&child.name) != name.as_ref())
            .collect();
        let mut losers: Vec<(ChildSaId, bool)> = Vec::new();
        for child in &live {
            let beaten = live
                .iter()
                .any(|other| other.id != child.id && other.name == child.name && other.lowest > child.lowest);
            if beaten {
                losers.push((child.id, child.initiator));
            }
        }
        for (id, ours) in losers {
            if let Some(child) = self.children.get_mut(&id) {
                child.phase = ChildPhase::Replaced;
                child.close_by = Some(ctx.now.mono + if ours { REDUNDANT } else { REDUNDANT * 10 });
                child.close_reason = DownReason::Redundant;
            }
            self.hand_over(ctx, id);
        }
    }

    /// Before a Child SA ends: unless another one of its name sends already, the youngest live one does.
    fn hand_over(&mut self, ctx: &mut Context<'_>, id: ChildSaId) {
        let Some(child) = self.children.get(&id) else { return };
        let siblings =
            || self.children.values().rev().filter(|other| other.id != id && other.name == child.name);
        if siblings().any(|other| other.outbound_active) {
            return;
        }
        if let Some(heir) = siblings().find(|other| other.is_live()).map(|heir| heir.id) {
            self.activate(ctx, heir);
        }
    }

    /// The peer deletes the only live Child SA of its name: the youngest that was to make room for it is not
    /// replaced after all.
    pub(crate) fn revive_sibling(&mut self, id: ChildSaId) {
        let Some(child) = self.children.get(&id).filter(|child| child.is_live()) else { return };
        let name = child.name.clone();
        let mut siblings =
            self.children.values_mut().rev().filter(|other| other.id != id && other.name == name);
        let heir = siblings.find(|other| {
            matches!(other.phase, ChildPhase::Live | ChildPhase::Replaced)
                && other.close_reason != DownReason::Reconfigured
        });
        if let Some(heir) = heir.filter(|heir| !heir.is_live()) {
            heir.phase = ChildPhase::Live;
            heir.close_by = None;
        }
    }

    /// Removes a Child SA at once.
    pub(crate) fn remove_child(&mut self, ctx: &mut Context<'_>, id: ChildSaId, reason: DownReason) {
        self.hand_over(ctx, id);
        if let Some(child) = self.children.remove(&id) {
            ctx.registry.free_child_spi(child.inbound_spi);
            ctx.event(Event::ChildRemoved { child: id, reason });
        }
    }

    /// Both ends know that the Child SA is over. One with a live sibling still receives for a while.
    pub(crate) fn finish_child(&mut self, ctx: &mut Context<'_>, id: ChildSaId, reason: DownReason) {
        self.hand_over(ctx, id);
        let Some(child) = self.children.get(&id) else { return };
        let replaced =
            self.children.values().any(|other| other.id != id && other.name == child.name && other.is_live());
        if !replaced || reason == DownReason::Redundant {
            self.remove_child(ctx, id, reason);
        } else if let Some(child) = self.children.get_mut(&id) {
            child.phase = ChildPhase::Lingering;
            child.close_by = Some(ctx.now.mono + self.peer.timing.linger);
            child.close_reason = DownReason::Replaced;
        }
    }

    /// Plans to make children of these names anew with the settings that they have now. The old ones carry on until
    /// that is done or has failed: nothing between them is lost.
    pub(crate) fn renew_children(&mut self, ctx: &Context<'_>, chosen: impl Fn(&ChildName) -> bool) {
        if self.phase != super::Phase::Live {
            return self.close_children(chosen, &DownReason::Reconfigured);
        }
        let mut names = BTreeSet::new();
        for child in self.children.values_mut().filter(|child| chosen(&child.name)) {
            if matches!(child.phase, ChildPhase::Live | ChildPhase::Replaced) {
                if child.is_live() {
                    names.insert(child.name.clone());
                }
                child.phase = ChildPhase::Replaced;
                child.close_by = Some(ctx.now.mono + RENEWAL);
                child.close_reason = DownReason::Reconfigured;
            }
        }
        for name in names {
            self.want(super::Task::CreateChild { name, packet: None });
        }
    }

    /// The successor of what [`Self::renew_children`] left is there, or will not come: the old ones go.
    pub(crate) fn close_renewed(&mut self, ctx: &Context<'_>, name: &ChildName, succeeded: bool) {
        let mut doomed = Vec::new();
        for child in self.children.values_mut().filter(|child| child.name == *name) {
            if child.phase == ChildPhase::Replaced && child.close_reason == DownReason::Reconfigured {
                if succeeded {
                    child.close_by = Some(ctx.now.mono + ON_ITS_WAY);
                } else {
                    child.phase = ChildPhase::Deleting;
                    doomed.push(child.id);
                }
            }
        }
        for id in doomed {
            self.want(super::Task::DeleteChild(id));
        }
    }

    /// Plans to delete children of these names.
    pub(crate) fn close_children(&mut self, chosen: impl Fn(&ChildName) -> bool, reason: &DownReason) {
        let mut doomed = Vec::new();
        for child in self.children.values_mut().filter(|child| chosen(&child.name)) {
            if matches!(child.phase, ChildPhase::Live | ChildPhase::Replaced) {
                child.phase = ChildPhase::Deleting;
                child.close_reason = reason.clone();
                doomed.push(child.id);
            }
        }
        for id in doomed {
            self.want(super::Task::DeleteChild(id));
        }
        self.wanted
            .retain(|plan| !matches!(&plan.task, super::Task::CreateChild { name, .. } if chosen(name)));
    }
}
