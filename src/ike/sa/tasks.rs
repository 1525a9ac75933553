//! What an IKE SA still has to do, and which of it is next once no request is under way.

use std::time::{Duration, Instant};

use crate::ike::config::ChildName;
use crate::ike::context::Context;
use crate::ike::event::{ChildSaId, DownReason};
use crate::policy::PacketSummary;

use super::Core;
use super::child::ChildPhase;
use super::established::{Established, Phase};

/// One thing to do, by one request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Task {
    /// Close the IKE SA.
    DeleteIke(DownReason),
    /// See whether the peer lives.
    Probe,
    /// Delete a Child SA.
    DeleteChild(ChildSaId),
    /// Delete a Child SA that was never installed here, by our inbound SPI.
    DeleteSpi(u32),
    /// Rekey a Child SA.
    RekeyChild(ChildSaId),
    /// Rekey the IKE SA.
    RekeyIke,
    /// Create a Child SA.
    CreateChild { name: ChildName, packet: Option<PacketSummary> },
    /// Measure the path.
    MtuProbe(u16),
}

impl Task {
    fn rank(&self) -> u8 {
        match self {
            Self::DeleteIke(_) => 0,
            Self::Probe => 1,
            Self::DeleteChild(_) | Self::DeleteSpi(_) => 2,
            Self::RekeyChild(_) => 3,
            Self::RekeyIke => 4,
            Self::CreateChild { .. } => 5,
            Self::MtuProbe(_) => 6,
        }
    }

    /// Whether `other` is the same errand.
    fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::CreateChild { name: one, .. }, Self::CreateChild { name: two, .. }) => one == two,
            (Self::DeleteIke(_), Self::DeleteIke(_)) | (Self::MtuProbe(_), Self::MtuProbe(_)) => true,
            _ => self == other,
        }
    }
}

/// A task with the earliest time to start it and the number of times it was postponed.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) task: Task,
    pub(crate) not_before: Option<Instant>,
    pub(crate) postponed: u32,
}

impl Established {
    /// Plans a task, unless the same one is planned already.
    pub(crate) fn want(&mut self, task: Task) {
        if !self.wanted.iter().any(|plan| plan.task.same(&task)) {
            self.wanted.push(Plan { task, not_before: None, postponed: 0 });
        }
    }

    /// Plans a task that could not be done now, later each time and never at the same time as the peer.
    pub(crate) fn postpone(&mut self, ctx: &mut Context<'_>, task: Task, postponed: u32, least: Duration) {
        let span = least.saturating_mul(1 << postponed.min(5));
        let at = ctx.now.mono + span + ctx.jitter(span);
        self.wanted.retain(|plan| !plan.task.same(&task));
        self.wanted.push(Plan { task, not_before: Some(at), postponed: postponed + 1 });
    }

    /// Removes plans that have become pointless.
    fn weed(&mut self) {
        if self.channel.window.spent() {
            self.wanted.retain(|plan| matches!(plan.task, Task::DeleteIke(_)));
            if self.phase == Phase::Live {
                self.want(Task::DeleteIke(DownReason::Expired));
            }
        }
        let children = &self.children;
        let live = self.phase == Phase::Live;
        self.wanted.retain(|plan| match &plan.task {
            Task::DeleteIke(_) | Task::Probe => true,
            Task::DeleteChild(id) => {
                children.get(id).is_some_and(|child| child.phase != ChildPhase::Lingering)
            }
            Task::RekeyChild(id) => live && children.get(id).is_some_and(super::child::Child::is_live),
            Task::CreateChild { name, .. } => {
                live && !children.values().any(|child| child.name == *name && child.is_live())
            }
            Task::RekeyIke | Task::MtuProbe(_) => live,
            Task::DeleteSpi(_) => true,
        });
    }

    /// Starts the next task if no request is under way.
    pub(crate) fn pump(&mut self, core: &mut Core, ctx: &mut Context<'_>) {
        if self.channel.window.outbound().is_none() {
            self.outstanding = None;
        }
        while self.outstanding.is_none() && self.confirmed {
            self.weed();
            self.thin_out(ctx);
            let now = ctx.now.mono;
            let ready = |plan: &Plan| plan.not_before.is_none_or(|at| at <= now);
            let next = self
                .wanted
                .iter()
                .enumerate()
                .filter(|(_, plan)| ready(plan))
                .min_by_key(|(_, plan)| plan.task.rank());
            let Some((index, _)) = next else { return };
            let plan = self.wanted.remove(index);
            self.start(core, ctx, plan);
        }
    }

    fn start(&mut self, core: &mut Core, ctx: &mut Context<'_>, plan: Plan) {
        match plan.task {
            Task::DeleteIke(reason) => self.send_delete_ike(core, ctx, reason),
            Task::Probe => self.send_probe(core, ctx),
            Task::DeleteChild(id) => self.send_delete_child(core, ctx, id),
            Task::DeleteSpi(spi) => self.send_delete_spi(core, ctx, spi),
            Task::RekeyChild(id) => self.send_rekey_child(core, ctx, id, plan.postponed),
            Task::RekeyIke => self.send_rekey_ike(core, ctx, plan.postponed),
            Task::CreateChild { name, packet } => {
                self.send_create_child(core, ctx, name, packet, plan.postponed)
            }
            Task::MtuProbe(size) => self.send_mtu_probe(core, ctx, size),
        }
    }
}
