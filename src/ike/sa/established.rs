//! An authenticated IKE SA: `{window, outstanding, wanted, children}`. The outstanding request is a
//! field and not a state, so that a request of the peer that crosses it is served as ever.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use crate::crypto::{IkeKeys, IkeSuite, Secret};
use crate::ike::channel::Channel;
use crate::ike::config::PeerConfig;
use crate::ike::context::Context;
use crate::ike::event::{ChildSaId, DownReason, Event, IkeSaId, KeyLog};
use crate::ike::exchange::create_child::PendingChild;
use crate::ike::exchange::rekey_ike::PendingRekey;
use crate::ike::rekey::Busy;
use crate::ike::timer::{TimerTable, WakeReason};
use crate::pki::Identity;
use crate::wire::ike::IkeSpi;

use super::Core;
use super::child::Child;
use super::tasks::{Plan, Task};

/// What the request that is under way is about, with exactly what its response needs.
#[derive(Debug)]
pub(crate) enum Outstanding {
    /// CREATE_CHILD_SA for a new or rekeyed Child SA.
    Child(Box<PendingChild>),
    /// CREATE_CHILD_SA for the IKE SA.
    Rekey(Box<PendingRekey>),
    /// INFORMATIONAL with Delete of Child SAs.
    DeleteChildren(Vec<ChildSaId>),
    /// INFORMATIONAL with Delete of a Child SA that was never installed here.
    DeleteSpi(u32),
    /// INFORMATIONAL with Delete of the IKE SA.
    DeleteIke,
    /// Empty INFORMATIONAL.
    Probe,
    /// INFORMATIONAL with filler, in an outer packet of this size.
    MtuProbe(u16),
}

/// Where an authenticated IKE SA stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// In use.
    Live,
    /// Replaced by this one; the peer closes it, or we do after a while.
    Replaced(IkeSaId),
    /// We are closing it.
    Closing,
}

/// What the peer made of the same thing while our own exchange was under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rival<Id> {
    pub(crate) id: Id,
    /// The lower nonce of the peer's exchange.
    pub(crate) lowest: Vec<u8>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Established {
    pub(crate) channel: Channel,
    pub(crate) suite: IkeSuite,
    pub(crate) sk_d: Secret,
    pub(crate) peer: Arc<PeerConfig>,
    pub(crate) remote_id: Identity,
    pub(crate) remote_not_after: Option<i64>,
    pub(crate) children: BTreeMap<ChildSaId, Child>,
    pub(crate) outstanding: Option<Outstanding>,
    pub(crate) wanted: Vec<Plan>,
    pub(crate) timers: TimerTable,
    pub(crate) phase: Phase,
    pub(crate) since: Instant,
    pub(crate) last_heard: Instant,
    pub(crate) last_sent: Instant,
    /// The lower nonce of the exchange that made it.
    pub(crate) lowest: Vec<u8>,
    /// How the first of the IKE SAs came about of which this one is the latest by rekeying.
    pub(crate) origin: Origin,
    /// The IKE SA whose children are to come here, while a collision about that is not decided.
    pub(crate) predecessor: Option<IkeSaId>,
    /// Whether the peer has shown that it has this SA; before that, no request is sent on it.
    pub(crate) confirmed: bool,
    pub(crate) mtu: super::timers::MtuSearch,
    /// When an unauthenticated hint last led to a probe.
    pub(crate) last_hint: Option<Instant>,
    /// The probe under way is an urgent one.
    pub(crate) urgent: bool,
    /// The peer says that it has no other IKE SA with us; read once by the endpoint.
    pub(crate) initial_contact: bool,
    /// Children that could not be made, and why; read by the endpoint, which tries again later.
    pub(crate) child_failures: Vec<(crate::ike::ChildName, String)>,
}

/// What moves from an IKE SA to the one that replaces it.
#[derive(Debug)]
pub(crate) struct Estate {
    pub(crate) children: BTreeMap<ChildSaId, Child>,
    pub(crate) wanted: Vec<Plan>,
    duplicate: Option<Instant>,
}

/// How two ends came together, whatever was rekeyed since.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// The lower nonce of IKE_SA_INIT.
    pub(crate) lowest: Vec<u8>,
    /// When it was authenticated.
    pub(crate) since: Instant,
    /// Whether we initiated it.
    pub(crate) initiator: bool,
}

impl Estate {
    /// For the case that there is no heir.
    pub(crate) fn into_children(self) -> impl Iterator<Item = Child> {
        self.children.into_values()
    }
}

/// What makes an [`Established`].
pub(crate) struct Birth {
    pub(crate) channel: Channel,
    pub(crate) suite: IkeSuite,
    pub(crate) sk_d: Secret,
    pub(crate) peer: Arc<PeerConfig>,
    pub(crate) remote_id: Identity,
    pub(crate) remote_not_after: Option<i64>,
    pub(crate) lowest: Vec<u8>,
    pub(crate) origin: Origin,
    pub(crate) confirmed: bool,
}

impl Established {
    pub(crate) fn new(ctx: &mut Context<'_>, birth: Birth) -> Self {
        let now = ctx.now.mono;
        let mut timers = TimerTable::default();
        let life = birth.peer.ike_lifetime;
        let off = ctx.jitter(life.rekey.mul_f64(life.jitter.clamp(0.0, 0.9)));
        timers.set(WakeReason::RekeyIke, now + life.rekey.saturating_sub(off));
        timers.set(WakeReason::ExpireIke, now + life.hard);
        if let Some(delay) = birth.peer.timing.dpd_delay {
            timers.set(WakeReason::DeadPeerDetection, now + delay);
        }
        timers.set(WakeReason::Keepalive, now + birth.peer.timing.keepalive);
        if birth.peer.timing.mtu_probe.is_some() {
            timers.set(WakeReason::PathMtu, now);
        }
        Self {
            channel: birth.channel,
            suite: birth.suite,
            sk_d: birth.sk_d,
            peer: birth.peer,
            remote_id: birth.remote_id,
            remote_not_after: birth.remote_not_after,
            children: BTreeMap::new(),
            outstanding: None,
            wanted: Vec::new(),
            timers,
            phase: Phase::Live,
            since: now,
            last_heard: now,
            last_sent: now,
            lowest: birth.lowest,
            origin: birth.origin,
            predecessor: None,
            confirmed: birth.confirmed,
            mtu: super::timers::MtuSearch::default(),
            last_hint: None,
            urgent: false,
            initial_contact: false,
            child_failures: Vec::new(),
        }
    }

    /// Takes everything that moves to the successor. Where this IKE SA was to be closed for good, so is that.
    pub(crate) fn estate(&mut self) -> Box<Estate> {
        let (mine, mut moving): (Vec<Plan>, Vec<Plan>) =
            std::mem::take(&mut self.wanted).into_iter().partition(|plan| {
                matches!(plan.task, Task::DeleteIke(_) | Task::Probe | Task::RekeyIke | Task::MtuProbe(_))
            });
        let for_good = |plan: &&Plan| match &plan.task {
            Task::DeleteIke(reason) => !matches!(reason, DownReason::Expired | DownReason::Replaced),
            _ => false,
        };
        moving.extend(mine.iter().filter(for_good).cloned());
        self.wanted = mine;
        Box::new(Estate {
            children: std::mem::take(&mut self.children),
            wanted: moving,
            duplicate: self.timers.get(WakeReason::Duplicate),
        })
    }

    /// Receives what moves from the predecessor.
    pub(crate) fn inherit(&mut self, estate: Estate) {
        self.predecessor = None;
        self.children.extend(estate.children);
        self.wanted.extend(estate.wanted);
        if let Some(at) = estate.duplicate {
            self.timers.set(WakeReason::Duplicate, at);
        }
    }

    /// What our outstanding exchange, or the SA's phase, means for requests that cross it.
    pub(crate) fn busy(&self) -> Busy {
        if self.phase != Phase::Live {
            return Busy::CloseIke;
        }
        match self.outstanding {
            Some(Outstanding::Child(_) | Outstanding::DeleteChildren(_) | Outstanding::DeleteSpi(_)) => {
                Busy::Child
            }
            Some(Outstanding::Rekey(_)) => Busy::RekeyIke,
            Some(Outstanding::DeleteIke) => Busy::CloseIke,
            Some(Outstanding::Probe | Outstanding::MtuProbe(_)) | None => Busy::No,
        }
    }

    /// The live Child SA with this SPI of the peer's.
    pub(crate) fn child_by_outbound(&self, spi: u32) -> Option<&Child> {
        self.children.values().rev().find(|child| child.outbound_spi == spi)
    }

    /// Whether the configured child exists, is being made, or is planned.
    pub(crate) fn has_or_wants(&self, name: &crate::ike::ChildName) -> bool {
        self.children.values().any(|child| child.name == *name && child.is_live())
            || matches!(&self.outstanding, Some(Outstanding::Child(pending)) if pending.config.name == *name)
            || self
                .wanted
                .iter()
                .any(|plan| matches!(&plan.task, Task::CreateChild { name: planned, .. } if planned == name))
    }

    /// Drops all children and plans; the SA is about to end.
    pub(crate) fn drop_children(&mut self, ctx: &mut Context<'_>, reason: &DownReason) {
        for id in self.children.keys().copied().collect::<Vec<_>>() {
            self.remove_child(ctx, id, reason.clone());
        }
        self.wanted.clear();
    }

    /// Gives back what the outstanding exchange holds.
    pub(crate) fn drop_outstanding(&mut self, ctx: &mut Context<'_>) {
        match self.outstanding.take() {
            Some(Outstanding::Child(pending)) => ctx.registry.free_child_spi(pending.inbound_spi),
            Some(Outstanding::Rekey(pending)) => {
                ctx.registry.ike_spis.remove(&pending.spi);
            }
            _ => {}
        }
        self.channel.window.settle();
    }

    /// The addresses changed: the caller moves the children's packets.
    pub(crate) fn path_changed(&mut self, core: &Core, ctx: &mut Context<'_>) {
        ctx.event(Event::PathChanged {
            ike: core.id,
            local: core.path.local,
            remote: core.path.remote,
            children: self.children.keys().copied().collect(),
        });
        self.mtu = super::timers::MtuSearch::default();
        if self.peer.timing.mtu_probe.is_some() {
            self.timers.set(WakeReason::PathMtu, ctx.now.mono);
        }
    }
}

/// One row for Wireshark, if the operator asked for it.
pub(crate) fn log_keys(
    ctx: &mut Context<'_>,
    suite: IkeSuite,
    keys: &IkeKeys,
    initiator: IkeSpi,
    responder: IkeSpi,
) {
    if ctx.settings.key_log {
        ctx.event(Event::KeyLog(KeyLog::Ike {
            initiator_spi: initiator.0,
            responder_spi: responder.0,
            sk_ei: keys.sk_ei.clone(),
            sk_er: keys.sk_er.clone(),
            sk_ai: keys.sk_ai.clone(),
            sk_ar: keys.sk_ar.clone(),
            suite,
        }));
    }
}
