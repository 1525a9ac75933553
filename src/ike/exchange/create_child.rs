//! CREATE_CHILD_SA for Child SAs, new and rekeyed
//! ([RFC 7296 sections 1.3.1 and 1.3.3](https://www.rfc-editor.org/rfc/rfc7296#section-1.3)), with everything
//! that can cross it ([section 2.8.1](https://www.rfc-editor.org/rfc/rfc7296#section-2.8.1)).

use std::time::Duration;

use crate::crypto::{ChildKeys, Group, KeyExchange, SharedSecret};
use crate::ike::config::{ChildConfig, ChildName};
use crate::ike::contents::Contents;
use crate::ike::context::Context;
use crate::ike::event::{ChildSaId, DownReason};
use crate::ike::rekey::{Answer, Busy, Target, Verdict, answer_child, lower, verdict};
use crate::ike::sa::{Child, ChildPhase, Core, Established, Made, Outstanding, Rival, Task};
use crate::policy::{PacketSummary, SelectorSet, offer, single_pair};
use crate::wire::ike::registry::{ExchangeType, GroupId, NotifyType, ProtocolId};
use crate::wire::ike::{Notify, Payload, ProposalBody};

use super::auth::{describe_child, refused};
use super::negotiate::{self, Refusal};

/// Tries of one exchange with other groups or selectors.
const MAX_RETRIES: u8 = 4;
/// First wait after TEMPORARY_FAILURE.
const TEMPORARY: Duration = Duration::from_millis(500);
/// First wait after NO_ADDITIONAL_SAS or another refusal.
const REFUSED: Duration = Duration::from_secs(10);
/// How long the end that did not rekey waits for the Delete of the old Child SA.
const AWAIT_DELETE: Duration = Duration::from_secs(30);

/// Our request for a Child SA, as its response needs it.
pub(crate) struct PendingChild {
    pub(crate) config: ChildConfig,
    /// The Child SA that is rekeyed.
    pub(crate) old: Option<ChildSaId>,
    pub(crate) inbound_spi: u32,
    packet: Option<PacketSummary>,
    nonce: Vec<u8>,
    ke: Option<Box<dyn KeyExchange>>,
    offered: Vec<ProposalBody>,
    local_ts: SelectorSet,
    remote_ts: SelectorSet,
    retries: u8,
    postponed: u32,
    /// What the peer made of the same child meanwhile.
    pub(crate) rival: Option<Rival<ChildSaId>>,
    /// The peer deleted the old Child SA meanwhile.
    pub(crate) old_deleted: bool,
    /// Unknown SPIs that the peer deleted meanwhile; one may be that of the response on its way.
    pub(crate) deleted: Vec<u32>,
}

impl std::fmt::Debug for PendingChild {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PendingChild({} {:08x})", self.config.name, self.inbound_spi)
    }
}

struct Request {
    config: ChildConfig,
    old: Option<ChildSaId>,
    packet: Option<PacketSummary>,
    group: Option<Group>,
    selectors: (SelectorSet, SelectorSet),
    retries: u8,
    postponed: u32,
}

fn notify(kind: NotifyType) -> Payload {
    Payload::Notify(Notify::new(kind, Vec::new()))
}

impl Established {
    /// Starts to create a configured Child SA.
    pub(crate) fn send_create_child(
        &mut self,
        core: &Core,
        ctx: &mut Context<'_>,
        name: ChildName,
        packet: Option<PacketSummary>,
        postponed: u32,
    ) {
        let Some(config) = self.peer.child(&name).cloned() else { return };
        let selectors = negotiate::selectors_with_hint(&config, packet.as_ref());
        let group = first_group(&config);
        self.send_child(
            core,
            ctx,
            Request { config, old: None, packet, group, selectors, retries: 0, postponed },
        );
    }

    /// Starts to rekey a Child SA; its narrowed selectors are proposed.
    pub(crate) fn send_rekey_child(
        &mut self,
        core: &Core,
        ctx: &mut Context<'_>,
        id: ChildSaId,
        postponed: u32,
    ) {
        let Some(old) = self.children.get(&id) else { return };
        let Some(config) = self.peer.child(&old.name).cloned() else { return };
        let selectors = (old.local_ts.clone(), old.remote_ts.clone());
        let group = old.suite.group.or_else(|| first_group(&config));
        self.send_child(
            core,
            ctx,
            Request { config, old: Some(id), packet: None, group, selectors, retries: 0, postponed },
        );
    }

    fn send_child(&mut self, core: &Core, ctx: &mut Context<'_>, request: Request) {
        let ke = match request.group.map(|group| ctx.random.key_exchange(group)).transpose() {
            Ok(ke) => ke,
            Err(error) => return refused(ctx, core, Some(&self.peer), &error.to_string()),
        };
        let inbound_spi = ctx.registry.child_spi(ctx.random);
        let nonce = ctx.nonce();
        let offered = offer(&request.config.esp, &inbound_spi.to_be_bytes());
        let mut payloads = Vec::new();
        if let Some(old) = request.old.and_then(|id| self.children.get(&id)) {
            payloads.push(Payload::Notify(Notify::about_esp(NotifyType::REKEY_SA, old.inbound_spi)));
        }
        payloads.push(Payload::SecurityAssociation(offered.clone()));
        payloads.push(Payload::Nonce(nonce.clone()));
        if let Some(ke) = &ke {
            payloads.push(Payload::KeyExchange { group: ke.group().id(), data: ke.public_value().to_vec() });
        }
        let (local_ts, remote_ts) = request.selectors;
        payloads.push(Payload::TsInitiator(local_ts.to_wire()));
        payloads.push(Payload::TsResponder(remote_ts.to_wire()));
        let pending = PendingChild {
            config: request.config,
            old: request.old,
            inbound_spi,
            packet: request.packet,
            nonce,
            ke,
            offered,
            local_ts,
            remote_ts,
            retries: request.retries,
            postponed: request.postponed,
            rival: None,
            old_deleted: false,
            deleted: Vec::new(),
        };
        self.request(
            core,
            ctx,
            ExchangeType::CREATE_CHILD_SA,
            &payloads,
            Outstanding::Child(Box::new(pending)),
        );
    }

    /// The response to our request for a Child SA.
    pub(crate) fn child_answered(
        &mut self,
        core: &Core,
        ctx: &mut Context<'_>,
        pending: PendingChild,
        contents: &Contents,
    ) {
        if let Some(error) = contents.error() {
            ctx.registry.free_child_spi(pending.inbound_spi);
            let error = error.clone();
            return self.child_refused(core, ctx, pending, &error);
        }
        let spi = pending.inbound_spi;
        let (config, old, replaced_by_peer) = (pending.config.clone(), pending.old, pending.rival.clone());
        let deleted = pending.deleted.clone();
        match accept_child(self, pending, contents) {
            Ok(Accepted { made, .. }) if deleted.contains(&made.outbound_spi) => {
                // Deleted by the peer before its response came here.
                ctx.registry.free_child_spi(spi);
                match (old, replaced_by_peer) {
                    (Some(old), Some(_)) => self.await_delete(ctx, old),
                    (Some(old), None) => self.want(Task::DeleteChild(old)),
                    (None, _) => {}
                }
            }
            Ok(Accepted { made, rival }) => self.settle_child(core, ctx, made, rival),
            Err(reason) => {
                // The peer has made it; it must be told to forget it.
                ctx.counters.child_refused += 1;
                self.want(Task::DeleteSpi(spi));
                refused(
                    ctx,
                    core,
                    Some(&self.peer),
                    &format!("child {}: {reason}\n  {}", config.name, describe_child(&config)),
                );
                if let (Some(old), Some(_)) = (old, &replaced_by_peer) {
                    self.await_delete(ctx, old);
                } else if let Some(old) = old {
                    // Fail closed: a rekey that came out differently is begun anew.
                    if let Some(child) = self.children.get_mut(&old) {
                        child.phase = ChildPhase::Deleting;
                        child.close_reason = DownReason::Failed(reason);
                    }
                    self.want(Task::DeleteChild(old));
                }
                self.child_failed(ctx, config.name, "the response was not acceptable".to_owned());
            }
        }
    }

    fn settle_child(
        &mut self,
        core: &Core,
        ctx: &mut Context<'_>,
        mut made: Made,
        rival: Option<Rival<ChildSaId>>,
    ) {
        let old = made.replaces.filter(|old| self.children.contains_key(old));
        let outcome = rival.as_ref().map(|rival| verdict(&made.lowest, &rival.lowest));
        match (made.replaces.is_some(), outcome) {
            (true, Some(Verdict::Won)) => ctx.collisions.child_rekey_won += 1,
            (true, Some(Verdict::Lost)) => ctx.collisions.child_rekey_lost += 1,
            (false, Some(Verdict::Won)) => ctx.collisions.child_create_won += 1,
            (false, Some(Verdict::Lost)) => ctx.collisions.child_create_lost += 1,
            (_, None) => {}
        }
        if outcome == Some(Verdict::Lost) {
            // Never installed here: the peer sends nothing on it before we do.
            self.want(Task::DeleteSpi(made.inbound_spi));
            if let Some(old) = old {
                self.await_delete(ctx, old);
            }
            return;
        }
        made.replaces = old;
        if let Some(child) = rival.and_then(|rival| self.children.get_mut(&rival.id)) {
            child.phase = ChildPhase::Replaced;
            child.close_by = Some(ctx.now.mono + AWAIT_DELETE);
            child.close_reason = DownReason::Redundant;
        }
        let name = made.config.name.clone();
        let current = self.peer.child(&name) == Some(&made.config);
        self.install(core, ctx, made);
        if let Some(old) = old {
            if let Some(child) = self.children.get_mut(&old) {
                child.phase = ChildPhase::Deleting;
                child.close_reason = DownReason::Replaced;
            }
            self.want(Task::DeleteChild(old));
        }
        if current {
            self.close_renewed(ctx, &name, true);
        } else if self.peer.child(&name).is_some() {
            // The configuration changed while the request was under way.
            self.renew_children(ctx, |other| *other == name);
        } else {
            self.close_children(|other| *other == name, &DownReason::Reconfigured);
        }
    }

    /// A child could not be made: whoever wants it tries again, and what it was to take over from ends.
    fn child_failed(&mut self, ctx: &Context<'_>, name: ChildName, reason: String) {
        self.close_renewed(ctx, &name, false);
        self.child_failures.push((name, reason));
    }

    /// The peer has replaced this one and will delete it; we do if it does not.
    fn await_delete(&mut self, ctx: &Context<'_>, old: ChildSaId) {
        if let Some(child) = self.children.get_mut(&old).filter(|child| child.is_live()) {
            child.phase = ChildPhase::Replaced;
            child.close_by = Some(ctx.now.mono + AWAIT_DELETE);
            child.close_reason = DownReason::Replaced;
        }
    }

    fn child_refused(&mut self, core: &Core, ctx: &mut Context<'_>, pending: PendingChild, error: &Notify) {
        let obsolete = pending.rival.is_some()
            || pending.old_deleted
            || pending.old.is_some_and(|old| !self.children.contains_key(&old));
        if obsolete {
            // The peer has rekeyed or deleted it itself; what it answers to ours no longer matters.
            if error.kind == NotifyType::CHILD_SA_NOT_FOUND {
                ctx.collisions.child_rekey_answered_not_found += 1;
            }
            if let (Some(old), true) = (pending.old, pending.rival.is_some()) {
                self.await_delete(ctx, old);
            }
            return;
        }
        let again = |old: Option<ChildSaId>| match old {
            Some(old) => Task::RekeyChild(old),
            None => Task::CreateChild { name: pending.config.name.clone(), packet: pending.packet },
        };
        match error.kind {
            NotifyType::TEMPORARY_FAILURE => {
                ctx.collisions.temporary_failure_received += 1;
                self.postpone(ctx, again(pending.old), pending.postponed, TEMPORARY);
            }
            NotifyType::INVALID_KE_PAYLOAD if pending.retries < MAX_RETRIES => {
                let group = <[u8; 2]>::try_from(error.data.as_slice())
                    .ok()
                    .and_then(|id| Group::from_id(GroupId(u16::from_be_bytes(id))));
                let group = group.filter(|group| {
                    pending.config.esp.iter().any(|proposal| proposal.groups().contains(group))
                });
                if group.is_some() {
                    ctx.collisions.invalid_ke_received += 1;
                    let selectors = (pending.local_ts, pending.remote_ts);
                    let retry = Request {
                        config: pending.config,
                        old: pending.old,
                        packet: pending.packet,
                        group,
                        selectors,
                        retries: pending.retries + 1,
                        postponed: pending.postponed,
                    };
                    self.send_child(core, ctx, retry);
                } else {
                    refused(
                        ctx,
                        core,
                        Some(&self.peer),
                        &format!(
                            "child {}: the peer wants a group that is not in our offer\n  {}",
                            pending.config.name,
                            describe_child(&pending.config)
                        ),
                    );
                    self.postpone(ctx, again(pending.old), pending.postponed, REFUSED);
                }
            }
            NotifyType::SINGLE_PAIR_REQUIRED if pending.retries < MAX_RETRIES && pending.old.is_none() => {
                let hint = pending.packet.as_ref().map(PacketSummary::to_selectors);
                if let Some(selectors) = single_pair(&pending.config.local, &pending.config.remote, hint) {
                    let group = first_group(&pending.config);
                    let retry = Request {
                        config: pending.config,
                        old: None,
                        packet: pending.packet,
                        group,
                        selectors,
                        retries: pending.retries + 1,
                        postponed: pending.postponed,
                    };
                    self.send_child(core, ctx, retry);
                }
            }
            NotifyType::CHILD_SA_NOT_FOUND => {
                ctx.collisions.child_rekey_answered_not_found += 1;
                if let Some(old) = pending.old {
                    self.remove_child(ctx, old, DownReason::DeletedByPeer);
                }
                self.want(Task::CreateChild { name: pending.config.name, packet: None });
            }
            kind => {
                ctx.counters.child_refused += 1;
                let reason = format!(
                    "child {}: the peer refused it: {kind}\n  {}",
                    pending.config.name,
                    describe_child(&pending.config)
                );
                refused(ctx, core, Some(&self.peer), &reason);
                match pending.old {
                    Some(old) => self.postpone(ctx, Task::RekeyChild(old), pending.postponed, REFUSED),
                    None => self.child_failed(ctx, pending.config.name, kind.to_string()),
                }
            }
        }
    }

    /// The peer asks for a Child SA.
    pub(crate) fn handle_child_request(&mut self, core: &Core, ctx: &mut Context<'_>, contents: &Contents) {
        match self.agree_child(core, ctx, contents) {
            Ok((made, payloads)) => {
                self.respond(core, ctx, ExchangeType::CREATE_CHILD_SA, &payloads);
                self.install_for_peer(core, ctx, made);
            }
            Err(refusal) => {
                if !matches!(
                    refusal.notify.kind,
                    NotifyType::TEMPORARY_FAILURE
                        | NotifyType::CHILD_SA_NOT_FOUND
                        | NotifyType::INVALID_KE_PAYLOAD
                ) {
                    ctx.counters.child_refused += 1;
                    refused(ctx, core, Some(&self.peer), &refusal.reason);
                }
                self.respond(core, ctx, ExchangeType::CREATE_CHILD_SA, &[Payload::Notify(refusal.notify)]);
            }
        }
    }

    fn target(&self, spi: Option<u32>) -> (Target, Option<ChildSaId>) {
        let Some(spi) = spi else { return (Target::New, None) };
        match self.child_by_outbound(spi) {
            Some(child) if matches!(child.phase, ChildPhase::Deleting | ChildPhase::Lingering) => {
                (Target::Closing, Some(child.id))
            }
            Some(child) => (Target::Live, Some(child.id)),
            // It may be the one that our own request has made and whose response is still on its way.
            None if matches!(self.outstanding, Some(Outstanding::Child(_))) => (Target::Closing, None),
            None => (Target::Unknown, None),
        }
    }

    fn agree_child(
        &mut self,
        core: &Core,
        ctx: &mut Context<'_>,
        contents: &Contents,
    ) -> Result<(Made, Vec<Payload>), Refusal> {
        let spi = negotiate::rekeyed_spi(contents).transpose()?;
        let (target, old) = self.target(spi);
        match answer_child(self.busy(), target) {
            Answer::AsUsual => {}
            Answer::TemporaryFailure => {
                if self.busy() == Busy::RekeyIke {
                    ctx.collisions.child_exchange_met_ike_rekey += 1;
                } else if target == Target::Closing {
                    ctx.collisions.child_delete_met_rekey += 1;
                }
                return Err(Refusal::new(NotifyType::TEMPORARY_FAILURE, "crossed by an exchange of ours"));
            }
            Answer::ChildNotFound => {
                ctx.collisions.child_rekey_of_unknown += 1;
                let notify = Notify::about_esp(NotifyType::CHILD_SA_NOT_FOUND, spi.unwrap_or_default());
                return Err(Refusal {
                    notify,
                    reason: "the peer rekeys a Child SA that we do not have".to_owned(),
                });
            }
        }
        let rekeyed: Option<&Child> = old.and_then(|id| self.children.get(&id));
        let nonce = contents
            .nonce
            .clone()
            .ok_or_else(|| Refusal::new(NotifyType::INVALID_SYNTAX, "the request has no nonce"))?;
        let agreement = negotiate::respond(&self.peer, contents, rekeyed, false)?;
        let suite = agreement.selected.suite;
        let mut public_value = None;
        let shared = match (suite.group, &contents.ke) {
            (None, _) => None,
            (Some(group), Some((sent, public))) if group.id() == *sent => {
                let ke = ctx
                    .random
                    .key_exchange(group)
                    .map_err(|error| Refusal::new(NotifyType::NO_PROPOSAL_CHOSEN, error.to_string()))?;
                public_value =
                    Some(Payload::KeyExchange { group: group.id(), data: ke.public_value().to_vec() });
                Some(
                    ke.agree(public)
                        .map_err(|error| Refusal::new(NotifyType::INVALID_SYNTAX, error.to_string()))?,
                )
            }
            (Some(group), _) => {
                let notify = Notify::new(NotifyType::INVALID_KE_PAYLOAD, group.id().0.to_be_bytes().to_vec());
                return Err(Refusal { notify, reason: String::new() });
            }
        };
        let own_nonce = ctx.nonce();
        let keys = ChildKeys::derive(self.suite.prf, &self.sk_d, &suite, shared.as_ref(), &nonce, &own_nonce)
            .map_err(|error| Refusal::new(NotifyType::NO_PROPOSAL_CHOSEN, error.to_string()))?;
        let inbound_spi = ctx.registry.child_spi(ctx.random);
        let between = std::iter::once(Payload::Nonce(own_nonce.clone())).chain(public_value).collect();
        let payloads = negotiate::answer_payloads(&agreement, inbound_spi, between);
        let _ = core;
        // The peer knows it once our response is there; until then packets go on where they go already.
        let sending =
            self.children.values().any(|child| child.name == agreement.config.name && child.outbound_active);
        let made = Made {
            config: agreement.config,
            suite,
            inbound_spi,
            outbound_spi: agreement.peer_spi,
            keys,
            initiator: false,
            local_ts: agreement.local_ts,
            remote_ts: agreement.remote_ts,
            lowest: lower(&nonce, &own_nonce),
            replaces: old,
            outbound_active: !sending,
        };
        Ok((made, payloads))
    }

    /// Installs what the peer asked for, and notes what it crosses or replaces.
    fn install_for_peer(&mut self, core: &Core, ctx: &mut Context<'_>, made: Made) {
        let (name, lowest, old) = (made.config.name.clone(), made.lowest.clone(), made.replaces);
        let siblings: Vec<ChildSaId> = self
            .children
            .values()
            .filter(|child| child.name == name && child.is_live())
            .map(|child| child.id)
            .collect();
        let id = self.install(core, ctx, made);
        if let Some(Outstanding::Child(pending)) = &mut self.outstanding
            && pending.config.name == name
            && pending.old == old
        {
            pending.rival = Some(Rival { id, lowest });
            return;
        }
        // A rekey replaces its target; a second Child SA of the same name replaces the first.
        let replaced = match old {
            Some(old) => vec![old],
            None => siblings,
        };
        for old in replaced {
            self.await_delete(ctx, old);
        }
    }
}

struct Accepted {
    made: Made,
    rival: Option<Rival<ChildSaId>>,
}

fn accept_child(
    established: &Established,
    pending: PendingChild,
    contents: &Contents,
) -> Result<Accepted, String> {
    let answer = negotiate::accept(&pending.offered, &pending.local_ts, &pending.remote_ts, contents)?;
    if pending.old.is_some()
        && !(answer.local_ts.is_equivalent_to(&pending.local_ts)
            && answer.remote_ts.is_equivalent_to(&pending.remote_ts))
    {
        return Err(format!(
            "the peer changed the selectors in a rekey, to {} ↔ {}",
            answer.local_ts, answer.remote_ts
        ));
    }
    let nonce = contents.nonce.as_ref().ok_or("the response has no nonce")?;
    let shared: Option<SharedSecret> = match (answer.suite.group, pending.ke, &contents.ke) {
        (None, _, _) => None,
        (Some(group), Some(ke), Some((sent, public))) if ke.group() == group && group.id() == *sent => {
            Some(ke.agree(public).map_err(|error| error.to_string())?)
        }
        (Some(group), _, _) => {
            return Err(format!("the peer chose group {group} without a fitting KE payload"));
        }
    };
    let keys = ChildKeys::derive(
        established.suite.prf,
        &established.sk_d,
        &answer.suite,
        shared.as_ref(),
        &pending.nonce,
        nonce,
    )
    .map_err(|error| error.to_string())?;
    let made = Made {
        config: pending.config,
        suite: answer.suite,
        inbound_spi: pending.inbound_spi,
        outbound_spi: answer.peer_spi,
        keys,
        initiator: true,
        local_ts: answer.local_ts,
        remote_ts: answer.remote_ts,
        lowest: lower(&pending.nonce, nonce),
        replaces: pending.old,
        outbound_active: true,
    };
    Ok(Accepted { made, rival: pending.rival })
}

fn first_group(config: &ChildConfig) -> Option<Group> {
    config.esp.iter().flat_map(|proposal| proposal.groups()).next().copied()
}

impl Established {
    /// CREATE_CHILD_SA as responder: which of its three kinds it is.
    pub(crate) fn handle_create_child(&mut self, core: &mut Core, ctx: &mut Context<'_>, contents: Contents) {
        let for_ike = contents
            .sa
            .as_ref()
            .and_then(|sa| sa.first())
            .is_some_and(|first| first.protocol == ProtocolId::IKE);
        if for_ike && contents.ts_initiator.is_none() {
            self.handle_ike_rekey(core, ctx, &contents);
        } else if contents.sa.is_some() {
            self.handle_child_request(core, ctx, &contents);
        } else {
            self.respond(core, ctx, ExchangeType::CREATE_CHILD_SA, &[notify(NotifyType::INVALID_SYNTAX)]);
        }
    }
}
