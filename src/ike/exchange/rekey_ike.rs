//! CREATE_CHILD_SA for the IKE SA itself
//! ([RFC 7296 sections 1.3.2](https://www.rfc-editor.org/rfc/rfc7296#section-1.3.2) and
//! [2.18](https://www.rfc-editor.org/rfc/rfc7296#section-2.18)). The children move to the surviving IKE SA,
//! whose message IDs start at zero.

use std::sync::Arc;
use std::time::Duration;

use crate::crypto::{Group, IkeKeys, IkeSuite, KeyExchange, SharedSecret};
use crate::ike::channel::Channel;
use crate::ike::contents::Contents;
use crate::ike::context::{Context, Effect};
use crate::ike::event::{DownReason, IkeSaId};
use crate::ike::rekey::{Answer, Busy, Verdict, answer_ike_rekey, lower, verdict};
use crate::ike::sa::{Birth, Core, Established, IkeSa, Outstanding, Phase, Rival, State, Task, log_keys};
use crate::ike::timer::WakeReason;
use crate::ike::window::Window;
use crate::policy::{Selection, offer, select_ike_with, verify_ike};
use crate::wire::ike::registry::{ExchangeType, GroupId, NotifyType};
use crate::wire::ike::{IkeSpi, Notify, Payload, ProposalBody};

use super::auth::refused;
use super::negotiate::Refusal;

const MAX_RETRIES: u8 = 4;
const TEMPORARY: Duration = Duration::from_millis(500);
const REFUSED: Duration = Duration::from_secs(10);
/// How long the old IKE SA waits for the peer's Delete.
const AWAIT_DELETE: Duration = Duration::from_secs(30);

/// Our request to rekey the IKE SA, as its response needs it.
pub(crate) struct PendingRekey {
    pub(crate) id: IkeSaId,
    pub(crate) spi: IkeSpi,
    nonce: Vec<u8>,
    ke: Box<dyn KeyExchange>,
    offered: Vec<ProposalBody>,
    retries: u8,
    postponed: u32,
    /// The IKE SA that the peer made by its rekey meanwhile.
    pub(crate) rival: Option<Rival<IkeSaId>>,
}

impl std::fmt::Debug for PendingRekey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PendingRekey({})", self.spi)
    }
}

fn spi_of(body: &ProposalBody) -> Option<IkeSpi> {
    <[u8; 8]>::try_from(body.spi.as_slice()).ok().map(IkeSpi).filter(|spi| !spi.is_zero())
}

impl Established {
    /// Starts to rekey the IKE SA.
    pub(crate) fn send_rekey_ike(&mut self, core: &Core, ctx: &mut Context<'_>, postponed: u32) {
        let group = self.suite.group;
        self.send_rekey(core, ctx, group, 0, postponed);
    }

    fn send_rekey(&mut self, core: &Core, ctx: &mut Context<'_>, group: Group, retries: u8, postponed: u32) {
        let Ok(ke) = ctx.random.key_exchange(group) else { return };
        let id = ctx.registry.ike_id();
        let spi = ctx.registry.ike_spi(ctx.random, id);
        let nonce = ctx.nonce();
        let offered = offer(&self.peer.ike, &spi.0);
        let payloads = [
            Payload::SecurityAssociation(offered.clone()),
            Payload::Nonce(nonce.clone()),
            Payload::KeyExchange { group: group.id(), data: ke.public_value().to_vec() },
        ];
        let pending = PendingRekey { id, spi, nonce, ke, offered, retries, postponed, rival: None };
        self.request(
            core,
            ctx,
            ExchangeType::CREATE_CHILD_SA,
            &payloads,
            Outstanding::Rekey(Box::new(pending)),
        );
    }

    /// The response to our request.
    pub(crate) fn rekey_answered(
        &mut self,
        core: &mut Core,
        ctx: &mut Context<'_>,
        pending: PendingRekey,
        contents: &Contents,
    ) {
        if let Some(error) = contents.error() {
            ctx.registry.ike_spis.remove(&pending.spi);
            let error = error.clone();
            return self.rekey_refused(core, ctx, pending, &error);
        }
        let (spi, postponed, rival) = (pending.spi, pending.postponed, pending.rival.clone());
        match self.accept_rekey(core, ctx, pending, contents) {
            Ok(new) => self.settle_rekey(core, ctx, new, rival),
            Err(reason) => {
                ctx.registry.ike_spis.remove(&spi);
                refused(ctx, core, Some(&self.peer), &format!("rekeying the IKE SA: {reason}"));
                self.postpone(ctx, Task::RekeyIke, postponed, REFUSED);
            }
        }
    }

    fn accept_rekey(
        &mut self,
        core: &Core,
        ctx: &mut Context<'_>,
        pending: PendingRekey,
        contents: &Contents,
    ) -> Result<IkeSa, String> {
        let answer = contents.sa.as_deref().ok_or("the response has no SA payload")?;
        let suite = verify_ike(&pending.offered, answer).map_err(|error| error.to_string())?;
        let peer_spi = answer.first().and_then(spi_of).ok_or("the response has no usable SPI")?;
        let nonce = contents.nonce.as_ref().ok_or("the response has no nonce")?;
        let (group, public) = contents.ke.as_ref().ok_or("the response has no KE payload")?;
        if *group != suite.group.id() || suite.group != pending.ke.group() {
            return Err(format!("the peer chose group {} without a fitting KE payload", suite.group));
        }
        let shared = pending.ke.agree(public).map_err(|error| error.to_string())?;
        let spis = (pending.spi, peer_spi);
        let birth = NewSa {
            id: pending.id,
            suite,
            spis,
            initiator: true,
            nonces: (&pending.nonce, nonce),
            shared: &shared,
        };
        self.make_sa(core, ctx, birth)
    }

    fn make_sa(&self, core: &Core, ctx: &mut Context<'_>, new: NewSa<'_>) -> Result<IkeSa, String> {
        let (ni, nr) = new.nonces;
        let (spi_i, spi_r) = new.spis;
        let keys =
            IkeKeys::derive_rekey(&new.suite, self.suite.prf, &self.sk_d, new.shared, ni, nr, spi_i, spi_r)
                .map_err(|error| error.to_string())?;
        let mut channel = Channel::new(&new.suite, &keys, new.spis, new.initiator, Window::default())
            .map_err(|error| error.to_string())?;
        channel.fragmentation = self.channel.fragmentation;
        channel.kin = self.channel.kin;
        log_keys(ctx, new.suite, &keys, spi_i, spi_r);
        let birth = Birth {
            channel,
            suite: new.suite,
            sk_d: keys.sk_d,
            peer: Arc::clone(&self.peer),
            remote_id: self.remote_id.clone(),
            remote_not_after: self.remote_not_after,
            lowest: lower(ni, nr),
            origin: self.origin.clone(),
            confirmed: new.initiator,
        };
        let mut established = Established::new(ctx, birth);
        established.mtu = self.mtu.clone();
        if !new.initiator {
            established.predecessor = Some(core.id);
            established.timers.set(WakeReason::Task, ctx.now.mono + AWAIT_DELETE);
        }
        let (local_spi, remote_spi) = if new.initiator { (spi_i, spi_r) } else { (spi_r, spi_i) };
        let core = Core {
            id: new.id,
            local_spi,
            remote_spi,
            initiator: new.initiator,
            path: core.path,
            peer: core.peer.clone(),
            started: core.started,
            announced: false,
            ended: None,
            auth_refused: false,
        };
        Ok(IkeSa { core, state: State::Established(Box::new(established)) })
    }

    fn settle_rekey(
        &mut self,
        core: &Core,
        ctx: &mut Context<'_>,
        new: IkeSa,
        rival: Option<Rival<IkeSaId>>,
    ) {
        let id = new.core.id;
        let ours = new.established().map(|established| established.lowest.clone()).unwrap_or_default();
        ctx.effects.push(Effect::Spawn(Box::new(new)));
        match rival.map(|rival| (verdict(&ours, &rival.lowest), rival.id)) {
            Some((Verdict::Lost, rival)) => {
                ctx.collisions.ike_rekey_lost += 1;
                ctx.effects.push(Effect::CloseRedundant(id));
                self.replaced_by(core, ctx, rival, false);
            }
            won_over => {
                if let Some((_, rival)) = won_over {
                    ctx.collisions.ike_rekey_won += 1;
                    ctx.effects.push(Effect::Retire(rival));
                }
                let estate = self.estate();
                ctx.effects.push(Effect::Inherit { from: core.id, to: id, initiator: true, estate });
                self.phase = Phase::Replaced(id);
                self.want(Task::DeleteIke(DownReason::Replaced));
            }
        }
    }

    /// The peer's rekey counts: children move, and the peer closes this one.
    pub(crate) fn replaced_by(&mut self, core: &Core, ctx: &mut Context<'_>, new: IkeSaId, initiator: bool) {
        let estate = self.estate();
        ctx.effects.push(Effect::Inherit { from: core.id, to: new, initiator, estate });
        self.phase = Phase::Replaced(new);
        self.timers.set(WakeReason::GiveUp, ctx.now.mono + AWAIT_DELETE);
    }

    fn rekey_refused(&mut self, core: &Core, ctx: &mut Context<'_>, pending: PendingRekey, error: &Notify) {
        if let Some(rival) = pending.rival {
            // The peer has rekeyed it and does not want ours any more.
            ctx.collisions.ike_rekey_met_delete += 1;
            return self.replaced_by(core, ctx, rival.id, false);
        }
        match error.kind {
            NotifyType::TEMPORARY_FAILURE => {
                ctx.collisions.temporary_failure_received += 1;
                self.postpone(ctx, Task::RekeyIke, pending.postponed, TEMPORARY);
            }
            NotifyType::INVALID_KE_PAYLOAD if pending.retries < MAX_RETRIES => {
                let group = <[u8; 2]>::try_from(error.data.as_slice())
                    .ok()
                    .and_then(|id| Group::from_id(GroupId(u16::from_be_bytes(id))));
                match group
                    .filter(|group| self.peer.ike.iter().any(|proposal| proposal.groups().contains(group)))
                {
                    Some(group) => {
                        ctx.collisions.invalid_ke_received += 1;
                        self.send_rekey(core, ctx, group, pending.retries + 1, pending.postponed);
                    }
                    None => self.postpone(ctx, Task::RekeyIke, pending.postponed, REFUSED),
                }
            }
            kind => {
                refused(
                    ctx,
                    core,
                    Some(&self.peer),
                    &format!("the peer refused to rekey the IKE SA: {kind}"),
                );
                self.postpone(ctx, Task::RekeyIke, pending.postponed, REFUSED);
            }
        }
    }

    /// The peer asks to rekey the IKE SA.
    pub(crate) fn handle_ike_rekey(&mut self, core: &Core, ctx: &mut Context<'_>, contents: &Contents) {
        match self.agree_rekey(core, ctx, contents) {
            Ok((new, payloads)) => {
                self.respond(core, ctx, ExchangeType::CREATE_CHILD_SA, &payloads);
                let id = new.core.id;
                let lowest =
                    new.established().map(|established| established.lowest.clone()).unwrap_or_default();
                ctx.effects.push(Effect::Spawn(Box::new(new)));
                match &mut self.outstanding {
                    Some(Outstanding::Rekey(pending)) => {
                        if let Some(before) = pending.rival.replace(Rival { id, lowest }) {
                            ctx.effects.push(Effect::Retire(before.id));
                        }
                    }
                    _ => self.replaced_by(core, ctx, id, false),
                }
            }
            Err(refusal) => {
                if !refusal.reason.is_empty() {
                    refused(ctx, core, Some(&self.peer), &refusal.reason);
                }
                self.respond(core, ctx, ExchangeType::CREATE_CHILD_SA, &[Payload::Notify(refusal.notify)]);
            }
        }
    }

    fn agree_rekey(
        &mut self,
        core: &Core,
        ctx: &mut Context<'_>,
        contents: &Contents,
    ) -> Result<(IkeSa, Vec<Payload>), Refusal> {
        let busy = self.busy();
        if answer_ike_rekey(busy) != Answer::AsUsual {
            match busy {
                Busy::Child => ctx.collisions.ike_rekey_met_child_exchange += 1,
                _ => ctx.collisions.ike_delete_met_rekey += 1,
            }
            return Err(Refusal::new(NotifyType::TEMPORARY_FAILURE, ""));
        }
        let syntax = |what: &str| {
            Refusal::new(NotifyType::INVALID_SYNTAX, format!("the IKE rekey request has no {what}"))
        };
        let proposals = contents.sa.as_deref().ok_or_else(|| syntax("SA payload"))?;
        let ni = contents.nonce.as_ref().ok_or_else(|| syntax("nonce"))?;
        let (sent, public) = contents.ke.as_ref().ok_or_else(|| syntax("KE payload"))?;
        let selection = Selection { sent_group: Group::from_id(*sent), ..Selection::default() };
        let selected = select_ike_with(&self.peer.ike, proposals, selection).map_err(|none| {
            Refusal::new(NotifyType::NO_PROPOSAL_CHOSEN, format!("rekeying the IKE SA: {none}"))
        })?;
        let suite: IkeSuite = selected.suite;
        let peer_spi = proposals
            .iter()
            .find(|body| body.number == selected.number)
            .and_then(spi_of)
            .ok_or_else(|| syntax("usable SPI"))?;
        if *sent != suite.group.id() {
            let notify =
                Notify::new(NotifyType::INVALID_KE_PAYLOAD, suite.group.id().0.to_be_bytes().to_vec());
            return Err(Refusal { notify, reason: String::new() });
        }
        let internal = |error: crate::crypto::CryptoError| {
            Refusal::new(NotifyType::NO_PROPOSAL_CHOSEN, error.to_string())
        };
        let ke = ctx.random.key_exchange(suite.group).map_err(internal)?;
        let own_public = ke.public_value().to_vec();
        let shared =
            ke.agree(public).map_err(|error| Refusal::new(NotifyType::INVALID_SYNTAX, error.to_string()))?;
        let nr = ctx.nonce();
        let id = ctx.registry.ike_id();
        let spi = ctx.registry.ike_spi(ctx.random, id);
        let new =
            NewSa { id, suite, spis: (peer_spi, spi), initiator: false, nonces: (ni, &nr), shared: &shared };
        let sa = self
            .make_sa(core, ctx, new)
            .map_err(|reason| Refusal::new(NotifyType::NO_PROPOSAL_CHOSEN, reason))?;
        let payloads = vec![
            Payload::SecurityAssociation(vec![selected.answer(spi.0.to_vec())]),
            Payload::Nonce(nr.clone()),
            Payload::KeyExchange { group: suite.group.id(), data: own_public },
        ];
        Ok((sa, payloads))
    }
}

struct NewSa<'a> {
    id: IkeSaId,
    suite: IkeSuite,
    /// Of the initiator and the responder of this exchange.
    spis: (IkeSpi, IkeSpi),
    initiator: bool,
    nonces: (&'a Vec<u8>, &'a Vec<u8>),
    shared: &'a SharedSecret,
}
