//! INFORMATIONAL ([RFC 7296 section 1.4](https://www.rfc-editor.org/rfc/rfc7296#section-1.4)): Delete with its
//! crossings, liveness, the initiator's notice of failed authentication, path MTU probes.

use crate::ike::channel::Cut;
use crate::ike::contents::Contents;
use crate::ike::context::{Context, Effect};
use crate::ike::event::{ChildSaId, DownReason};
use crate::ike::retransmit::Schedule;
use crate::ike::sa::{ChildPhase, Core, Established, Outstanding, Phase, State};
use crate::ike::window::Outbound;
use crate::wire::ike::registry::{ExchangeType, NotifyType, ProtocolId};
use crate::wire::ike::{Notify, Payload};

/// A private status notification ([RFC 7296 section 3.10.1](https://www.rfc-editor.org/rfc/rfc7296#section-3.10.1)),
/// which every receiver ignores; fills path MTU probes.
const FILLER: NotifyType = NotifyType(49_263);

impl Established {
    /// Closes the IKE SA. The children are gone at once, so that nothing is sent into a void.
    pub(crate) fn send_delete_ike(&mut self, core: &mut Core, ctx: &mut Context<'_>, reason: DownReason) {
        if self.phase == Phase::Live {
            self.phase = Phase::Closing;
            self.drop_children(ctx, &DownReason::IkeSaClosed);
            core.announce_end(ctx, reason);
        }
        let payloads = [Payload::Delete { protocol: ProtocolId::IKE, spis: Vec::new() }];
        self.request(core, ctx, ExchangeType::INFORMATIONAL, &payloads, Outstanding::DeleteIke);
    }

    /// Asks for a sign of life.
    pub(crate) fn send_probe(&mut self, core: &Core, ctx: &mut Context<'_>) {
        ctx.counters.dpd_sent += 1;
        self.request(core, ctx, ExchangeType::INFORMATIONAL, &[], Outstanding::Probe);
    }

    /// Deletes a Child SA; it still receives until the response.
    pub(crate) fn send_delete_child(&mut self, core: &Core, ctx: &mut Context<'_>, id: ChildSaId) {
        let Some(child) = self.children.get_mut(&id) else { return };
        child.phase = ChildPhase::Deleting;
        let spi = child.inbound_spi.to_be_bytes().to_vec();
        let payloads = [Payload::Delete { protocol: ProtocolId::ESP, spis: vec![spi] }];
        self.request(
            core,
            ctx,
            ExchangeType::INFORMATIONAL,
            &payloads,
            Outstanding::DeleteChildren(vec![id]),
        );
    }

    /// Deletes a Child SA that was never installed here.
    pub(crate) fn send_delete_spi(&mut self, core: &Core, ctx: &mut Context<'_>, spi: u32) {
        let payloads =
            [Payload::Delete { protocol: ProtocolId::ESP, spis: vec![spi.to_be_bytes().to_vec()] }];
        self.request(core, ctx, ExchangeType::INFORMATIONAL, &payloads, Outstanding::DeleteSpi(spi));
    }

    /// Sends a request in one unfragmentable packet of `size` octets, outer IP header included. If it gets
    /// lost, the same request goes out in small fragments
    /// ([RFC 7383 section 2.5.2](https://www.rfc-editor.org/rfc/rfc7383#section-2.5.2)), and once more whole, for
    /// IP to fragment: a strongSwan built with mediation drops an INFORMATIONAL request that begins with SKF.
    pub(crate) fn send_mtu_probe(&mut self, core: &Core, ctx: &mut Context<'_>, size: u16) {
        let Some(payload) = self.filler(core, size) else { return };
        let id = self.channel.window.next_id();
        let exchange = ExchangeType::INFORMATIONAL;
        let whole =
            self.channel.encode(exchange, id, false, std::slice::from_ref(&payload), Cut::Whole, ctx.random);
        let small = Cut::Fragments(self.peer.fragment_size);
        let parts =
            self.channel.encode(exchange, id, false, std::slice::from_ref(&payload), small, ctx.random);
        let (Ok(packets), Ok(mut fallback)) = (whole, parts) else { return };
        fallback.extend_from_slice(&packets);
        core.send(ctx, &packets, true);
        self.last_sent = ctx.now.mono;
        let schedule = Schedule::new(ctx.now.mono, &self.peer.timing);
        self.channel.window.sent(Outbound {
            id,
            packets,
            schedule,
            dont_fragment: true,
            fallback: Some(fallback),
        });
        self.outstanding = Some(Outstanding::MtuProbe(size));
    }

    fn filler(&self, core: &Core, size: u16) -> Option<Payload> {
        let ip = if core.path.remote.is_ipv4() { 20 } else { 40 };
        let around = ip + 8 + if core.path.encapsulated { 4 } else { 0 };
        let room = usize::from(size).checked_sub(around + 28 + 4)?;
        let layout = self.channel.layout();
        // Generic and notify headers take eight octets of the plaintext.
        let plain = (8..room).rev().find(|len| layout.sealed_len(*len) <= room)?;
        Some(Payload::Notify(Notify::new(FILLER, vec![0; plain.checked_sub(8)?])))
    }

    /// The peer's INFORMATIONAL request.
    pub(crate) fn handle_informational(
        mut self: Box<Self>,
        core: &mut Core,
        ctx: &mut Context<'_>,
        contents: Contents,
    ) -> State {
        let exchange = ExchangeType::INFORMATIONAL;
        let disbelieved = contents.has(NotifyType::AUTHENTICATION_FAILED);
        if disbelieved || contents.closes_ike_sa() {
            self.respond(core, ctx, exchange, &[]);
            let reason = if disbelieved {
                DownReason::Failed(format!(
                    "the peer does not believe that we are {} (AUTHENTICATION_FAILED): compare identity and credentials",
                    self.peer.local_id
                ))
            } else {
                DownReason::DeletedByPeer
            };
            return self.deleted_by_peer(core, ctx, reason);
        }
        let mut answer = Vec::new();
        for (protocol, spis) in &contents.deletes {
            if *protocol == ProtocolId::ESP {
                answer.extend(spis.iter().filter_map(|spi| self.child_deleted_by_peer(ctx, spi)));
            }
        }
        let payloads = match answer.is_empty() {
            true => Vec::new(),
            false => vec![Payload::Delete { protocol: ProtocolId::ESP, spis: answer }],
        };
        self.respond(core, ctx, exchange, &payloads);
        State::Established(self)
    }

    fn deleted_by_peer(
        mut self: Box<Self>,
        core: &mut Core,
        ctx: &mut Context<'_>,
        reason: DownReason,
    ) -> State {
        match (self.phase, &self.outstanding) {
            (Phase::Live, Some(Outstanding::Rekey(pending))) => {
                ctx.collisions.ike_rekey_met_delete += 1;
                if let Some(rival) = pending.rival.clone() {
                    self.replaced_by(core, ctx, rival.id, false);
                    ctx.effects.push(Effect::Confirm(rival.id));
                }
            }
            (Phase::Replaced(new), outstanding) => {
                if matches!(outstanding, Some(Outstanding::DeleteIke)) {
                    ctx.collisions.ike_delete_met_delete += 1;
                }
                ctx.effects.push(Effect::Confirm(new));
            }
            (Phase::Closing, Some(Outstanding::DeleteIke)) => ctx.collisions.ike_delete_met_delete += 1,
            _ => {}
        }
        self.drop_outstanding(ctx);
        if !matches!(self.phase, Phase::Replaced(_)) {
            self.drop_children(ctx, &reason);
            core.announce_end(ctx, reason);
        }
        self.bury(ctx)
    }

    /// Handles one SPI of the peer's Delete; gives our SPI for the answer unless both ends deleted at once
    /// ([RFC 7296 section 1.4.1](https://www.rfc-editor.org/rfc/rfc7296#section-1.4.1)).
    fn child_deleted_by_peer(&mut self, ctx: &mut Context<'_>, spi: &[u8]) -> Option<Vec<u8>> {
        let spi = u32::from_be_bytes(<[u8; 4]>::try_from(spi).ok()?);
        let Some(child) = self.child_by_outbound(spi) else {
            if let Some(Outstanding::Child(pending)) = &mut self.outstanding
                && pending.deleted.len() < 16
            {
                pending.deleted.push(spi);
            }
            return None;
        };
        let (id, inbound, phase) = (child.id, child.inbound_spi, child.phase);
        let reason = match child.phase {
            ChildPhase::Live => DownReason::DeletedByPeer,
            ChildPhase::Lingering => return None,
            ChildPhase::Replaced | ChildPhase::Deleting => child.close_reason.clone(),
        };
        let mut crossed = false;
        match &mut self.outstanding {
            Some(Outstanding::Child(pending)) if pending.old == Some(id) => {
                ctx.collisions.child_rekey_met_delete += 1;
                pending.old_deleted = true;
            }
            Some(Outstanding::DeleteChildren(ids)) if ids.contains(&id) => {
                ctx.collisions.child_delete_met_delete += 1;
                crossed = true;
            }
            Some(Outstanding::Rekey(_)) => ctx.collisions.child_delete_met_ike_rekey += 1,
            _ => {}
        }
        debug_assert!(!crossed || phase == ChildPhase::Deleting);
        self.revive_sibling(id);
        self.finish_child(ctx, id, reason);
        (!crossed).then(|| inbound.to_be_bytes().to_vec())
    }

    /// A response that decrypts but does not parse: the exchange has failed, the SA is not to be trusted
    /// ([RFC 7296 section 2.21.3](https://www.rfc-editor.org/rfc/rfc7296#section-2.21.3)).
    pub(crate) fn response_unusable(mut self: Box<Self>, core: &mut Core, ctx: &mut Context<'_>) -> State {
        self.drop_outstanding(ctx);
        let reason = DownReason::Failed("the peer's response is malformed".to_owned());
        self.drop_children(ctx, &reason);
        core.announce_end(ctx, reason);
        self.bury(ctx)
    }

    /// The response to whatever request was under way.
    pub(crate) fn handle_response(
        mut self: Box<Self>,
        core: &mut Core,
        ctx: &mut Context<'_>,
        outbound: Option<Outbound>,
        contents: Contents,
    ) -> State {
        self.urgent = false;
        match self.outstanding.take() {
            Some(Outstanding::Child(pending)) => self.child_answered(core, ctx, *pending, &contents),
            Some(Outstanding::Rekey(pending)) => self.rekey_answered(core, ctx, *pending, &contents),
            Some(Outstanding::DeleteChildren(ids)) => {
                for id in ids {
                    let reason = self.children.get(&id).map(|child| child.close_reason.clone());
                    self.finish_child(ctx, id, reason.unwrap_or(DownReason::Requested));
                }
            }
            Some(Outstanding::DeleteSpi(spi)) => ctx.registry.free_child_spi(spi),
            Some(Outstanding::DeleteIke) => return self.bury(ctx),
            Some(Outstanding::MtuProbe(size)) => {
                let passed = outbound.is_some_and(|outbound| outbound.fallback.is_some());
                self.mtu_result(core, ctx, size, passed);
            }
            Some(Outstanding::Probe) | None => {}
        }
        self.pump(core, ctx);
        State::Established(self)
    }
}
