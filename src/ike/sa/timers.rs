//! What an IKE SA does when time passes.

use std::time::{Duration, Instant};

use crate::ike::config::MtuProbe;
use crate::ike::context::Context;
use crate::ike::event::{DownReason, Event};
use crate::ike::retransmit::Expired;
use crate::ike::timer::WakeReason;

use super::child::ChildPhase;
use super::established::{Established, Outstanding, Phase};
use super::tasks::Task;
use super::{Core, IkeSa, State};

/// Hints are believed at most this often.
const HINT_INTERVAL: Duration = Duration::from_secs(10);

/// The search for the largest packet that passes.
#[derive(Clone, Debug, Default)]
pub(crate) struct MtuSearch {
    /// The last result.
    pub(crate) known: Option<u16>,
    bounds: Option<(u16, u16)>,
    /// Whether the largest size was tried a second time: under load a single probe is easily lost, and what
    /// it would take from the MTU is missed until the next search.
    repeated: bool,
    again: Option<u16>,
}

impl MtuSearch {
    /// Sizes closer than this count as equal.
    const GRAIN: u16 = 8;

    /// The next size to try; `None` when the search is over.
    fn next(&mut self, limits: MtuProbe) -> Option<u16> {
        if let Some(size) = self.again.take() {
            return Some(size);
        }
        match self.bounds {
            None => {
                self.repeated = false;
                self.bounds = Some((limits.smallest, limits.largest));
                Some(limits.largest).filter(|largest| *largest > limits.smallest)
            }
            Some((low, high)) if high.saturating_sub(low) >= Self::GRAIN => {
                Some(low + (high - low).div_ceil(2))
            }
            Some(_) => None,
        }
    }

    fn result(&mut self, size: u16, passed: bool) {
        if let Some((low, high)) = &mut self.bounds {
            if passed {
                *low = size.max(*low);
                *high = (*high).max(*low);
            } else if size == *high && !self.repeated {
                self.repeated = true;
                self.again = Some(size);
            } else {
                *high = size.saturating_sub(1).max(*low);
            }
        }
    }

    fn finish(&mut self) -> Option<u16> {
        self.known = self.bounds.take().map(|(low, _)| low);
        self.known
    }
}

/// All reasons of [`Established::timers`].
const REASONS: &[WakeReason] = &[
    WakeReason::GiveUp,
    WakeReason::DeadPeerDetection,
    WakeReason::Keepalive,
    WakeReason::RekeyIke,
    WakeReason::ExpireIke,
    WakeReason::Task,
    WakeReason::PathMtu,
    WakeReason::Duplicate,
];

impl IkeSa {
    /// When this SA wants to be woken, and why.
    pub(crate) fn deadline(&self) -> Option<(Instant, WakeReason)> {
        match &self.state {
            State::Starting(starting) => Some((starting.due(), WakeReason::Retransmit)),
            State::Authenticating(state) => state.due().map(|at| (at, WakeReason::Retransmit)),
            State::HalfOpen(state) => Some((state.until, WakeReason::GiveUp)),
            State::Established(established) => established.deadline(),
            State::Closed(tombstone) => Some((tombstone.until, WakeReason::GiveUp)),
            State::Gone => None,
        }
    }

    /// Time has passed.
    pub(crate) fn expire(&mut self, ctx: &mut Context<'_>) {
        let now = ctx.now.mono;
        if self.deadline().is_none_or(|(at, _)| at > now) {
            return;
        }
        let state = std::mem::replace(&mut self.state, State::Gone);
        self.state = match state {
            State::Starting(starting) => starting.expire(&mut self.core, ctx),
            State::Authenticating(state) => state.expire(&mut self.core, ctx),
            State::HalfOpen(_) => {
                ctx.counters.half_open_expired += 1;
                State::Gone
            }
            State::Established(established) => established.expire(&mut self.core, ctx),
            State::Closed(_) | State::Gone => State::Gone,
        };
    }
}

impl Established {
    fn deadline(&self) -> Option<(Instant, WakeReason)> {
        let request =
            self.channel.window.outbound().map(|outbound| (outbound.schedule.due(), WakeReason::Retransmit));
        let children = self.children.values().flat_map(|child| {
            let limits = if child.is_live() { [child.soft, child.hard] } else { [None, child.hard] };
            limits.into_iter().chain([child.close_by]).flatten().map(|at| (at, WakeReason::Child))
        });
        let plans = self.wanted.iter().filter(|_| request.is_none() && self.confirmed);
        let plans = plans.filter_map(|plan| plan.not_before).map(|at| (at, WakeReason::Task));
        let reasons =
            if self.phase == Phase::Live { REASONS } else { &[WakeReason::GiveUp, WakeReason::Task] };
        self.timers.next(reasons).into_iter().chain(request).chain(children).chain(plans).min()
    }

    fn expire(mut self: Box<Self>, core: &mut Core, ctx: &mut Context<'_>) -> State {
        let now = ctx.now.mono;
        self.channel.tidy(now);
        if self.timers.fired(WakeReason::GiveUp, now) {
            self.drop_outstanding(ctx);
            self.drop_children(ctx, &DownReason::Replaced);
            return State::Gone;
        }
        if let Some(outbound) = self.channel.window.outbound_mut()
            && outbound.schedule.due() <= now
        {
            match outbound.schedule.expire(now) {
                Expired::Again => {
                    if let Some(fallback) = outbound.fallback.take() {
                        outbound.packets = fallback;
                        outbound.dont_fragment = false;
                    }
                    ctx.counters.retransmits += 1;
                    core.send(ctx, &outbound.packets, outbound.dont_fragment);
                    self.last_sent = now;
                }
                Expired::GiveUp => return self.peer_dead(core, ctx),
            }
        }
        if self.phase == Phase::Live {
            self.expire_live(core, ctx);
        }
        self.expire_children(ctx);
        if self.timers.fired(WakeReason::Task, now) {
            self.confirmed = true;
        }
        self.pump(core, ctx);
        State::Established(self)
    }

    fn expire_live(&mut self, core: &mut Core, ctx: &mut Context<'_>) {
        let now = ctx.now.mono;
        if self.timers.fired(WakeReason::ExpireIke, now) {
            self.want(Task::DeleteIke(DownReason::Expired));
        }
        if self.timers.fired(WakeReason::RekeyIke, now)
            || (self.channel.window.exhausted()
                && !self.wanted.iter().any(|plan| plan.task == Task::RekeyIke))
        {
            self.want(Task::RekeyIke);
        }
        if self.timers.fired(WakeReason::Duplicate, now) {
            self.want(Task::DeleteIke(DownReason::Redundant));
        }
        if self.timers.fired(WakeReason::DeadPeerDetection, now)
            && let Some(delay) = self.peer.timing.dpd_delay
        {
            let due = self.last_heard + delay;
            if due > now {
                self.timers.set(WakeReason::DeadPeerDetection, due);
            } else {
                if self.outstanding.is_none() {
                    self.want(Task::Probe);
                }
                self.timers.set(WakeReason::DeadPeerDetection, now + delay);
            }
        }
        if self.timers.fired(WakeReason::Keepalive, now) {
            let due = self.last_sent + self.peer.timing.keepalive;
            if due <= now && core.path.nat.local {
                ctx.counters.keepalives_sent += 1;
                ctx.transmit(core.path.keepalive());
                self.last_sent = now;
            }
            self.timers.set(
                WakeReason::Keepalive,
                due.max(now + self.peer.timing.keepalive.min(Duration::from_secs(1))),
            );
            if due <= now {
                self.timers.set(WakeReason::Keepalive, now + self.peer.timing.keepalive);
            }
        }
        if self.timers.fired(WakeReason::PathMtu, now) {
            self.next_mtu_step(core, ctx);
        }
    }

    fn expire_children(&mut self, ctx: &mut Context<'_>) {
        let now = ctx.now.mono;
        for id in self.children.keys().copied().collect::<Vec<_>>() {
            let Some(child) = self.children.get_mut(&id) else { continue };
            let close = child.close_by.is_some_and(|at| at <= now);
            let hard = child.hard.is_some_and(|at| at <= now);
            let soft = child.is_live() && child.soft.is_some_and(|at| at <= now);
            if soft {
                child.soft = None;
            }
            if child.phase == ChildPhase::Lingering && (close || hard) {
                let reason = child.close_reason.clone();
                self.remove_child(ctx, id, reason);
            } else if hard {
                self.expire_child(ctx, id);
            } else if close {
                child.close_by = None;
                self.want(Task::DeleteChild(id));
            } else if soft {
                self.want(Task::RekeyChild(id));
            }
        }
    }

    /// A hard limit: nothing is carried any more, and the peer is told.
    pub(crate) fn expire_child(&mut self, ctx: &mut Context<'_>, id: crate::ike::ChildSaId) {
        let Some(spi) = self.children.get(&id).map(|child| child.inbound_spi) else { return };
        self.remove_child(ctx, id, DownReason::Expired);
        if self.phase == Phase::Live {
            self.want(Task::DeleteSpi(spi));
        }
    }

    fn peer_dead(mut self: Box<Self>, core: &mut Core, ctx: &mut Context<'_>) -> State {
        ctx.counters.request_timeouts += 1;
        if let Some(Outstanding::Rekey(pending)) = &self.outstanding
            && let Some(rival) = &pending.rival
        {
            ctx.effects.push(crate::ike::context::Effect::Retire(rival.id));
        }
        self.drop_outstanding(ctx);
        self.drop_children(ctx, &DownReason::PeerDead);
        core.announce_end(ctx, DownReason::PeerDead);
        State::Gone
    }

    /// Probes at once, quickly, because the peer or the path is suspected to be gone.
    pub(crate) fn probe_urgently(&mut self, core: &mut Core, ctx: &mut Context<'_>) {
        self.urgent = true;
        if let Some(outbound) = self.channel.window.outbound_mut() {
            let now = ctx.now.mono;
            outbound.schedule = crate::ike::retransmit::Schedule::urgent(now, &self.peer.timing);
            outbound.schedule.hurry(now);
        } else {
            self.want(Task::Probe);
        }
        self.pump(core, ctx);
    }

    /// An unauthenticated hint that something is wrong: at most a probe, and not often.
    pub(crate) fn hint(&mut self, core: &mut Core, ctx: &mut Context<'_>) {
        let now = ctx.now.mono;
        if self.phase != Phase::Live || self.last_hint.is_some_and(|at| now < at + HINT_INTERVAL) {
            ctx.counters.hints_limited += 1;
            return;
        }
        self.last_hint = Some(now);
        ctx.counters.hint_probes += 1;
        if self.outstanding.is_none() {
            self.probe_urgently(core, ctx);
        }
    }

    fn next_mtu_step(&mut self, core: &Core, ctx: &mut Context<'_>) {
        let Some(limits) = self.peer.timing.mtu_probe else { return };
        // Over IPv6 a probe that does not fit can only be taken back by fragments, and some peers drop those.
        let recoverable = core.path.remote.is_ipv4() || self.channel.kin;
        if !self.channel.fragmentation || !recoverable {
            return;
        }
        match self.mtu.next(limits) {
            Some(size) => self.want(Task::MtuProbe(size)),
            None => {
                let before = self.mtu.known;
                let found = self.mtu.finish();
                if let Some(outer_mtu) = found.filter(|_| before != found) {
                    ctx.event(Event::PathMtu { ike: core.id, peer: self.peer.name.clone(), outer_mtu });
                }
                self.timers.set(WakeReason::PathMtu, ctx.now.mono + limits.interval);
            }
        }
    }

    /// A probe came back, whole or in fragments.
    pub(crate) fn mtu_result(&mut self, core: &Core, ctx: &mut Context<'_>, size: u16, passed: bool) {
        self.mtu.result(size, passed);
        self.next_mtu_step(core, ctx);
    }
}
