//! IKE_AUTH ([RFC 7296 section 1.2](https://www.rfc-editor.org/rfc/rfc7296#section-1.2)) with the first Child SA.
//!
//! A refused Child SA leaves the IKE SA up; a refused identity closes it, and the peer is told
//! ([section 2.21.2](https://www.rfc-editor.org/rfc/rfc7296#section-2.21.2)).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::crypto::{ChildKeys, Secret};
use crate::ike::auth::{self, Claim, Proven};
use crate::ike::channel::{Channel, Cut};
use crate::ike::config::{ChildConfig, PeerConfig};
use crate::ike::contents::Contents;
use crate::ike::context::{Context, Effect};
use crate::ike::event::{Datagram, DownReason, Event};
use crate::ike::retransmit::{Expired, Schedule};
use crate::ike::roster::Roster;
use crate::ike::sa::{Birth, Core, Established, Made, Origin, Received, State, Tombstone, receive, repeat};
use crate::ike::window::Outbound;
use crate::pki::Identity;
use crate::policy::{PacketSummary, SelectorSet, offer};
use crate::wire::ike::registry::{ExchangeType, NotifyType, ProtocolId};
use crate::wire::ike::{Identification, Message, Notify, Payload, ProposalBody};

use super::init::Agreed;
use super::negotiate::{self, Refusal};

/// Octets of a peer's identity.
const MAX_IDENTITY: usize = 1024;

/// What an attempt is to bring.
#[derive(Clone, Debug)]
pub(crate) struct Intention {
    /// The child that goes into IKE_AUTH.
    pub(crate) child: Option<ChildConfig>,
    /// The packet that raised it.
    pub(crate) packet: Option<PacketSummary>,
    /// Whether no other IKE SA with the peer exists on our side.
    pub(crate) initial_contact: bool,
    /// How often authentication has failed before; selects the pre-shared key.
    pub(crate) refusals: usize,
}

#[derive(Debug)]
struct FirstChild {
    config: ChildConfig,
    inbound_spi: u32,
    offered: Vec<ProposalBody>,
    local_ts: SelectorSet,
    remote_ts: SelectorSet,
}

/// Initiator: IKE_AUTH is out.
#[derive(Debug)]
pub(crate) struct Authenticating {
    peer: Arc<PeerConfig>,
    channel: Channel,
    agreed: Agreed,
    child: Option<FirstChild>,
}

impl Authenticating {
    /// IKE_SA_INIT is over: sends IKE_AUTH.
    pub(crate) fn begin(
        core: &mut Core,
        ctx: &mut Context<'_>,
        peer: Arc<PeerConfig>,
        plan: Intention,
        mut channel: Channel,
        agreed: Agreed,
    ) -> State {
        let local_id = id_to_send(&peer);
        let id = Identification::new(local_id.kind, local_id.data);
        let body = id.body();
        let claim = Claim {
            prf: agreed.suite.prf,
            sk_p: &agreed.keys.sk_pi,
            message: &agreed.request,
            nonce: &agreed.nr,
            id: &body,
        };
        let psk = auth::own_psk(&peer.local_auth, plan.refusals);
        let proof = match auth::prove(&peer.local_auth, &psk, agreed.peer_hashes.as_deref(), claim) {
            Ok(proof) => proof,
            Err(reason) => {
                refused(ctx, core, Some(&peer), &reason);
                core.ended = Some(DownReason::Failed(reason));
                return State::Gone;
            }
        };
        let mut payloads = vec![Payload::IdInitiator(id)];
        if let Some(remote) = peer.remote_id.exact() {
            payloads.push(Payload::IdResponder(Identification::new(remote.kind, remote.data.clone())));
        }
        payloads.extend(auth::certificate_request([&*peer]));
        payloads.extend(proof);
        if plan.initial_contact {
            payloads.push(Payload::Notify(Notify::new(NotifyType::INITIAL_CONTACT, Vec::new())));
        }
        let child = plan.child.map(|config| {
            let inbound_spi = ctx.registry.child_spi(ctx.random);
            let bare: Vec<_> = config.esp.iter().map(crate::policy::Proposal::without_groups).collect();
            let offered = offer(&bare, &inbound_spi.to_be_bytes());
            let (local_ts, remote_ts) = negotiate::selectors_with_hint(&config, plan.packet.as_ref());
            payloads.push(Payload::SecurityAssociation(offered.clone()));
            payloads.push(Payload::TsInitiator(local_ts.to_wire()));
            payloads.push(Payload::TsResponder(remote_ts.to_wire()));
            FirstChild { config, inbound_spi, offered, local_ts, remote_ts }
        });
        let cut = Cut::At(peer.fragment_size);
        let packets =
            channel.encode(ExchangeType::IKE_AUTH, 1, false, &payloads, cut, ctx.random).unwrap_or_default();
        core.send(ctx, &packets, false);
        let schedule = Schedule::new(ctx.now.mono, &peer.timing);
        channel.window.sent(Outbound { id: 1, packets, schedule, dont_fragment: false, fallback: None });
        State::Authenticating(Box::new(Self { peer, channel, agreed, child }))
    }

    pub(crate) fn due(&self) -> Option<Instant> {
        self.channel.window.outbound().map(|outbound| outbound.schedule.due())
    }

    /// A retransmission is due.
    pub(crate) fn expire(mut self: Box<Self>, core: &mut Core, ctx: &mut Context<'_>) -> State {
        let now = ctx.now.mono;
        let again = self
            .channel
            .window
            .outbound_mut()
            .is_some_and(|outbound| outbound.schedule.expire(now) == Expired::Again);
        if again {
            ctx.counters.retransmits += 1;
            if let Some(outbound) = self.channel.window.outbound() {
                core.send(ctx, &outbound.packets, false);
            }
            return State::Authenticating(self);
        }
        ctx.counters.request_timeouts += 1;
        self.abandon(ctx);
        let reason = format!("{} does not answer IKE_AUTH", core.path.remote);
        ctx.event(Event::Refused {
            peer: Some(self.peer.name.clone()),
            remote: core.path.remote,
            reason: reason.clone(),
        });
        core.ended = Some(DownReason::Failed(reason));
        State::Gone
    }

    /// Gives back what the attempt holds.
    pub(crate) fn abandon(&self, ctx: &mut Context<'_>) {
        if let Some(child) = &self.child {
            ctx.registry.free_child_spi(child.inbound_spi);
        }
    }

    /// Handles an encrypted message.
    pub(crate) fn handle(
        mut self: Box<Self>,
        core: &mut Core,
        ctx: &mut Context<'_>,
        datagram: &Datagram<'_>,
        message: Message,
    ) -> State {
        let fresh = match receive(&mut self.channel, core, ctx, datagram.octets, message) {
            Received::Fresh(fresh)
                if fresh.header.exchange == ExchangeType::IKE_AUTH && fresh.header.flags.response =>
            {
                fresh
            }
            Received::Fresh(_) => {
                ctx.counters.bad_exchange += 1;
                return State::Authenticating(self);
            }
            Received::Partial | Received::Repeat | Received::Nothing => return State::Authenticating(self),
        };
        self.channel.window.settle();
        let contents = match Contents::parse(fresh.first, &fresh.plaintext) {
            Ok(contents) => contents,
            Err(error) => {
                return self.reject(
                    core,
                    ctx,
                    format!("the peer's IKE_AUTH response is unusable: {error}"),
                    false,
                );
            }
        };
        if contents.auth.is_none()
            && let Some(error) = contents.error()
        {
            let reason = refusal_text(&self.peer, error);
            self.abandon(ctx);
            refused(ctx, core, Some(&self.peer), &reason);
            core.auth_refused = error.kind == NotifyType::AUTHENTICATION_FAILED;
            core.ended = Some(DownReason::Failed(reason));
            return State::Gone;
        }
        match self.verify(ctx, &contents) {
            Ok((id, proven)) => self.establish(core, ctx, &contents, id, proven),
            Err(reason) => {
                ctx.counters.authentication_failed += 1;
                self.reject(core, ctx, reason, true)
            }
        }
    }

    fn verify(&self, ctx: &Context<'_>, contents: &Contents) -> Result<(Identity, Proven), String> {
        let payload =
            contents.id_responder.as_ref().ok_or("the peer's IKE_AUTH response has no IDr payload")?;
        let id = identity(payload)?;
        if !self.peer.remote_id.matches(&id) {
            return Err(format!(
                "the peer says it is {id}, but {} is configured",
                describe_pattern(&self.peer)
            ));
        }
        let body = payload.body();
        let agreed = &self.agreed;
        let claim = Claim {
            prf: agreed.suite.prf,
            sk_p: &agreed.keys.sk_pr,
            message: &agreed.response,
            nonce: &agreed.ni,
            id: &body,
        };
        auth::verify(&self.peer, &id, contents, claim, ctx.now.unix).map(|proven| (id, proven))
    }

    /// Tells the peer that it is not believed, and gives up.
    fn reject(
        mut self: Box<Self>,
        core: &mut Core,
        ctx: &mut Context<'_>,
        reason: String,
        authentication: bool,
    ) -> State {
        self.abandon(ctx);
        refused(ctx, core, Some(&self.peer), &reason);
        let kind =
            if authentication { NotifyType::AUTHENTICATION_FAILED } else { NotifyType::INVALID_SYNTAX };
        let payloads = [
            Payload::Notify(Notify::new(kind, Vec::new())),
            Payload::Delete { protocol: ProtocolId::IKE, spis: Vec::new() },
        ];
        let id = self.channel.window.next_id();
        let packets = self
            .channel
            .encode(ExchangeType::INFORMATIONAL, id, false, &payloads, Cut::Whole, ctx.random)
            .unwrap_or_default();
        core.send(ctx, &packets, false);
        core.ended = Some(DownReason::Failed(reason));
        State::Gone
    }

    fn establish(
        self: Box<Self>,
        core: &mut Core,
        ctx: &mut Context<'_>,
        contents: &Contents,
        id: Identity,
        proven: Proven,
    ) -> State {
        let Self { peer, channel, agreed, child, .. } = *self;
        let mut established = become_established(core, ctx, peer, channel, &agreed, id, &proven);
        if let Some(child) = child {
            let answer = match contents.error() {
                Some(error) => Err(format!("the peer refused it: {}", error.kind)),
                None => negotiate::accept(&child.offered, &child.local_ts, &child.remote_ts, contents),
            };
            let made = answer.and_then(|answer| {
                let keys = ChildKeys::derive(
                    agreed.suite.prf,
                    &agreed.keys.sk_d,
                    &answer.suite,
                    None,
                    &agreed.ni,
                    &agreed.nr,
                )
                .map_err(|error| error.to_string())?;
                Ok(Made {
                    config: child.config.clone(),
                    suite: answer.suite,
                    inbound_spi: child.inbound_spi,
                    outbound_spi: answer.peer_spi,
                    keys,
                    initiator: true,
                    local_ts: answer.local_ts,
                    remote_ts: answer.remote_ts,
                    lowest: agreed.lowest(),
                    replaces: None,
                    outbound_active: true,
                })
            });
            match made {
                Ok(made) => {
                    established.install(core, ctx, made);
                }
                Err(reason) => {
                    ctx.counters.child_refused += 1;
                    let refused_by_peer = contents.error().is_some();
                    refused(
                        ctx,
                        core,
                        Some(&established.peer),
                        &format!(
                            "child {}: {reason}\n  {}",
                            child.config.name,
                            describe_child(&child.config)
                        ),
                    );
                    if refused_by_peer {
                        ctx.registry.free_child_spi(child.inbound_spi);
                    } else {
                        // The peer has it: it must be told to forget it.
                        established.want(crate::ike::sa::Task::DeleteSpi(child.inbound_spi));
                    }
                    established.child_failures.push((child.config.name, reason));
                }
            }
        }
        established.pump(core, ctx);
        State::Established(Box::new(established))
    }
}

/// Responder: IKE_SA_INIT is answered, IKE_AUTH awaited.
#[derive(Debug)]
pub(crate) struct HalfOpen {
    pub(crate) channel: Channel,
    pub(crate) agreed: Agreed,
    /// The peers that it may turn out to be.
    pub(crate) roster: Arc<Roster>,
    /// Where it began.
    pub(crate) from: IpAddr,
    pub(crate) until: Instant,
}

impl HalfOpen {
    /// Handles an encrypted message.
    pub(crate) fn handle(
        mut self: Box<Self>,
        core: &mut Core,
        ctx: &mut Context<'_>,
        datagram: &Datagram<'_>,
        message: Message,
    ) -> State {
        let fresh = match receive(&mut self.channel, core, ctx, datagram.octets, message) {
            Received::Fresh(fresh) => fresh,
            Received::Repeat => {
                repeat(&self.channel, core, ctx, datagram);
                return State::HalfOpen(self);
            }
            Received::Partial | Received::Nothing => return State::HalfOpen(self),
        };
        core.path.remote = datagram.remote;
        core.path.encapsulated = datagram.encapsulated;
        if !datagram.local.ip().is_unspecified() {
            core.path.local = Some(datagram.local.ip());
        }
        if fresh.header.exchange != ExchangeType::IKE_AUTH {
            // Nothing but IKE_AUTH may happen on an IKE SA that nobody has authenticated.
            ctx.counters.bad_exchange += 1;
            return self.refuse(
                core,
                ctx,
                fresh.header.exchange,
                None,
                Notify::new(NotifyType::INVALID_SYNTAX, Vec::new()),
                "an exchange before authentication".to_owned(),
            );
        }
        let contents = match Contents::parse(fresh.first, &fresh.plaintext) {
            Ok(contents) => contents,
            Err(error) => {
                ctx.counters.bad_plaintext += 1;
                let reason = format!("the IKE_AUTH request is unusable: {error}");
                return self.refuse(core, ctx, ExchangeType::IKE_AUTH, None, error.notify(), reason);
            }
        };
        match self.verify(core, ctx, &contents) {
            Ok((peer, id, proven, local_psk)) => {
                self.establish(core, ctx, &contents, peer, id, proven, &local_psk)
            }
            Err((peer, reason)) => {
                ctx.counters.authentication_failed += 1;
                let notify = Notify::new(NotifyType::AUTHENTICATION_FAILED, Vec::new());
                self.refuse(core, ctx, ExchangeType::IKE_AUTH, peer, notify, reason)
            }
        }
    }

    #[expect(clippy::type_complexity, reason = "everything that IKE_AUTH proves")]
    fn verify(
        &self,
        core: &Core,
        ctx: &Context<'_>,
        contents: &Contents,
    ) -> Result<(Arc<PeerConfig>, Identity, Proven, Secret), (Option<Arc<PeerConfig>>, String)> {
        let payload = contents
            .id_initiator
            .as_ref()
            .ok_or((None, "the IKE_AUTH request has no IDi payload".to_owned()))?;
        let id = identity(payload).map_err(|reason| (None, reason))?;
        let asked = contents.id_responder.as_ref().map(identity).transpose();
        let asked = asked.map_err(|reason| (None, reason))?;
        let body = payload.body();
        let agreed = &self.agreed;
        let claim = Claim {
            prf: agreed.suite.prf,
            sk_p: &agreed.keys.sk_pi,
            message: &agreed.request,
            nonce: &agreed.nr,
            id: &body,
        };
        let mut failure: Option<(Option<Arc<PeerConfig>>, String)> = None;
        for peer in self.roster.claimants(self.from, &id) {
            if let Some(asked) =
                asked.as_ref().filter(|asked| !asked.matches(&peer.local_id) && !peer.local_id.matches(asked))
            {
                failure.get_or_insert((
                    Some(peer.clone()),
                    format!("{id} asks for {asked}, but we are {} for this peer (local_id)", peer.local_id),
                ));
                continue;
            }
            if !suite_is_acceptable(peer, &agreed.suite) {
                let ours = peer.ike.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                failure.get_or_insert((
                    Some(peer.clone()),
                    format!("{id} negotiated {}, but the peer is configured for {ours}", agreed.suite),
                ));
                continue;
            }
            match auth::verify(peer, &id, contents, claim, ctx.now.unix) {
                Ok(proven) => {
                    let psk = auth::answering_psk(&peer.local_auth, &proven);
                    return Ok((peer.clone(), id, proven, psk));
                }
                Err(reason) => failure = Some((Some(peer.clone()), reason)),
            }
        }
        Err(failure.unwrap_or_else(|| {
            (None, format!("no peer is configured for the identity {id} (from {})", core.path.remote))
        }))
    }

    fn refuse(
        mut self: Box<Self>,
        core: &mut Core,
        ctx: &mut Context<'_>,
        exchange: ExchangeType,
        peer: Option<Arc<PeerConfig>>,
        notify: Notify,
        reason: String,
    ) -> State {
        refused(ctx, core, peer.as_deref(), &reason);
        let id = self.channel.window.expected();
        let packets = self
            .channel
            .encode(exchange, id, true, &[Payload::Notify(notify)], Cut::Whole, ctx.random)
            .unwrap_or_default();
        core.send(ctx, &packets, false);
        self.channel.window.answered(packets);
        core.ended = Some(DownReason::Failed(reason));
        State::Closed(Box::new(Tombstone {
            channel: self.channel,
            until: ctx.now.mono + ctx.settings.half_open_timeout / 2,
        }))
    }

    #[expect(clippy::too_many_arguments, reason = "everything that IKE_AUTH proves")]
    fn establish(
        self: Box<Self>,
        core: &mut Core,
        ctx: &mut Context<'_>,
        contents: &Contents,
        peer: Arc<PeerConfig>,
        id: Identity,
        proven: Proven,
        psk: &Secret,
    ) -> State {
        let local_id = id_to_send(&peer);
        let payload = Identification::new(local_id.kind, local_id.data);
        let body = payload.body();
        let agreed = &self.agreed;
        let claim = Claim {
            prf: agreed.suite.prf,
            sk_p: &agreed.keys.sk_pr,
            message: &agreed.response,
            nonce: &agreed.ni,
            id: &body,
        };
        let proof = match auth::prove(&peer.local_auth, psk, agreed.peer_hashes.as_deref(), claim) {
            Ok(proof) => proof,
            Err(reason) => {
                let notify = Notify::new(NotifyType::AUTHENTICATION_FAILED, Vec::new());
                return self.refuse(core, ctx, ExchangeType::IKE_AUTH, Some(peer), notify, reason);
            }
        };
        let Self { channel, agreed, .. } = *self;
        core.peer = Some(peer.clone());
        let mut payloads = vec![Payload::IdResponder(payload)];
        payloads.extend(proof);
        let mut established = become_established(core, ctx, peer, channel, &agreed, id, &proven);
        established.initial_contact = contents.has(NotifyType::INITIAL_CONTACT);
        if contents.sa.is_some() || contents.ts_initiator.is_some() {
            match first_child(&established, ctx, &agreed, contents) {
                Ok((made, answer)) => {
                    payloads.extend(answer);
                    established.respond(core, ctx, ExchangeType::IKE_AUTH, &payloads);
                    established.install(core, ctx, made);
                    return State::Established(Box::new(established));
                }
                Err(refusal) => {
                    ctx.counters.child_refused += 1;
                    refused(ctx, core, Some(&established.peer), &refusal.reason);
                    payloads.push(Payload::Notify(refusal.notify));
                }
            }
        }
        established.respond(core, ctx, ExchangeType::IKE_AUTH, &payloads);
        State::Established(Box::new(established))
    }
}

fn first_child(
    established: &Established,
    ctx: &mut Context<'_>,
    agreed: &Agreed,
    contents: &Contents,
) -> Result<(Made, Vec<Payload>), Refusal> {
    let agreement = negotiate::respond(&established.peer, contents, None, true)?;
    let keys = ChildKeys::derive(
        agreed.suite.prf,
        &agreed.keys.sk_d,
        &agreement.selected.suite,
        None,
        &agreed.ni,
        &agreed.nr,
    )
    .map_err(|error| Refusal::new(NotifyType::NO_PROPOSAL_CHOSEN, error.to_string()))?;
    let inbound_spi = ctx.registry.child_spi(ctx.random);
    let answer = negotiate::answer_payloads(&agreement, inbound_spi, Vec::new());
    let made = Made {
        config: agreement.config,
        suite: agreement.selected.suite,
        inbound_spi,
        outbound_spi: agreement.peer_spi,
        keys,
        initiator: false,
        local_ts: agreement.local_ts,
        remote_ts: agreement.remote_ts,
        lowest: agreed.lowest(),
        replaces: None,
        outbound_active: true,
    };
    Ok((made, answer))
}

fn become_established(
    core: &mut Core,
    ctx: &mut Context<'_>,
    peer: Arc<PeerConfig>,
    channel: Channel,
    agreed: &Agreed,
    id: Identity,
    proven: &Proven,
) -> Established {
    ctx.counters.ike_established += 1;
    core.announced = true;
    ctx.event(Event::IkeUp {
        ike: core.id,
        peer: peer.name.clone(),
        identity: id.to_string(),
        suite: agreed.suite.to_string(),
        initiator: core.initiator,
        local: core.path.local,
        remote: core.path.remote,
    });
    ctx.effects.push(Effect::Authenticated(core.id));
    let birth = Birth {
        channel,
        suite: agreed.suite,
        sk_d: agreed.keys.sk_d.clone(),
        peer,
        remote_id: id,
        remote_not_after: proven.not_after,
        lowest: agreed.lowest(),
        origin: Origin { lowest: agreed.lowest(), since: ctx.now.mono, initiator: core.initiator },
        confirmed: true,
    };
    Established::new(ctx, birth)
}

/// What a peer says about itself. One of a length that nobody configures would only fill the log.
fn identity(payload: &Identification) -> Result<Identity, String> {
    if payload.data.len() > MAX_IDENTITY {
        return Err(format!("the peer's identity of {} octets is too long", payload.data.len()));
    }
    Ok(Identity::new(payload.kind, payload.data.clone()))
}

fn id_to_send(peer: &PeerConfig) -> Identity {
    match &peer.local_auth {
        crate::ike::LocalAuth::Certificate(certificate) => certificate.identity_to_send(&peer.local_id),
        crate::ike::LocalAuth::Psk(_) => peer.local_id.clone(),
    }
}

fn suite_is_acceptable(peer: &PeerConfig, suite: &crate::crypto::IkeSuite) -> bool {
    peer.ike.iter().any(|proposal| {
        let integrity = match suite.integrity {
            Some(integrity) => proposal.integrity().contains(&integrity),
            None => proposal.integrity().is_empty(),
        };
        integrity
            && proposal.ciphers().contains(&suite.cipher)
            && proposal.prfs().contains(&suite.prf)
            && proposal.groups().contains(&suite.group)
    })
}

fn describe_pattern(peer: &PeerConfig) -> String {
    peer.remote_id.exact().map_or_else(|| format!("{:?}", peer.remote_id), ToString::to_string)
}

pub(crate) fn describe_child(config: &ChildConfig) -> String {
    let esp = config.esp.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    format!("we offered {} ↔ {} with {esp}", config.local, config.remote)
}

fn refusal_text(peer: &PeerConfig, error: &Notify) -> String {
    match error.kind {
        NotifyType::AUTHENTICATION_FAILED => format!(
            "the peer refused our authentication as {} (AUTHENTICATION_FAILED): compare local_id and the key or certificate with the peer's configuration",
            peer.local_id
        ),
        kind => format!("the peer refused IKE_AUTH: {kind}"),
    }
}

pub(crate) fn refused(ctx: &mut Context<'_>, core: &Core, peer: Option<&PeerConfig>, reason: &str) {
    ctx.event(Event::Refused {
        peer: peer.map(|peer| peer.name.clone()),
        remote: core.path.remote,
        reason: reason.to_owned(),
    });
}
