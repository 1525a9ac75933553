//! The endpoint: all peers, all IKE SAs, and the way from a datagram to its SA.

mod commands;
mod duplicates;
mod half_open;
mod initial;
mod notices;
mod peer_table;
mod peers;
mod report;
mod table;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::crypto::Random;
use crate::wire::ike::registry::{ExchangeType, NotifyType, PayloadType};
use crate::wire::ike::{Flags, HEADER_LEN, Header, Message, Notify, Payload};
use crate::wire::{DecodeError, DecodeErrorKind};

use super::config::{EndpointSettings, PeerConfig};
use super::context::{Context, Effect, Outbox, Registry};
use super::cookie::CookieJar;
use super::event::{Datagram, DownReason, Event, IkeSaId, Transmit};
use super::sa::{Estate, IkeSa, Phase, State, Task};
use super::status::{CollisionStats, IkeCounters};
use super::time::Now;
use super::timer::WakeReason;

use half_open::HalfOpenTable;
use peer_table::PeerTable;
use peers::Peer;
use table::SaTable;

/// How long a redundant IKE SA that the peer ought to close is kept.
const RETIRE: Duration = Duration::from_secs(30);

/// Answers to messages outside any SA, limited to a number in each second.
#[derive(Debug, Default)]
struct Limiter {
    second: Option<Instant>,
    spent: u32,
}

impl Limiter {
    fn allow(&mut self, now: Instant, per_second: u32) -> bool {
        if self.second.is_none_or(|at| now.saturating_duration_since(at) >= Duration::from_secs(1)) {
            self.second = Some(now);
            self.spent = 0;
        }
        self.spent = self.spent.saturating_add(1);
        self.spent <= per_second
    }
}

/// An IKEv2 endpoint. See the [module](super) for the order of calls.
pub struct Endpoint {
    settings: EndpointSettings,
    peers: PeerTable,
    sas: SaTable,
    half_open: HalfOpenTable,
    registry: Registry,
    cookies: CookieJar,
    out: Outbox,
    random: Box<dyn Random>,
    counters: IkeCounters,
    collisions: CollisionStats,
    limiter: Limiter,
    shutting_down: bool,
    /// The message just handled has to be handled again.
    claimed: bool,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Endpoint({} peers, {} IKE SAs)", self.peers.len(), self.sas.len())
    }
}

impl Endpoint {
    /// An endpoint with these peers. Nothing happens before the first call of [`Self::handle_timeout`].
    #[must_use]
    pub fn new(settings: EndpointSettings, peers: Vec<PeerConfig>, random: Box<dyn Random>) -> Self {
        Self {
            settings,
            peers: PeerTable::new(peers.into_iter().map(|config| Peer::new(Arc::new(config)))),
            sas: SaTable::default(),
            half_open: HalfOpenTable::default(),
            registry: Registry::default(),
            cookies: CookieJar::default(),
            out: Outbox::default(),
            random,
            counters: IkeCounters::default(),
            collisions: CollisionStats::default(),
            limiter: Limiter::default(),
            shutting_down: false,
            claimed: false,
        }
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.out.transmits.pop_front()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.out.events.pop_front()
    }

    /// When [`Self::handle_timeout`] is to be called next, and why. An instant in the past means at once.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, WakeReason)> {
        let peers = self.peers.next_deadline().filter(|_| !self.shutting_down);
        let peers = peers.map(|at| (at, WakeReason::Connect));
        self.sas.next_deadline().into_iter().chain(peers).min()
    }

    /// Handles an IKE message.
    pub fn handle_datagram(&mut self, now: Now, datagram: Datagram<'_>) {
        self.counters.datagrams += 1;
        let octets = datagram.octets;
        let Ok(header) = Header::peek(octets) else {
            self.counters.malformed += 1;
            return;
        };
        if let Err(DecodeError { kind: DecodeErrorKind::UnsupportedMajorVersion(_), .. }) =
            Header::decode(octets)
        {
            self.counters.bad_version += 1;
            if !header.flags.response && octets.len() >= HEADER_LEN {
                self.answer_unauthenticated(
                    now,
                    &datagram,
                    &header,
                    NotifyType::INVALID_MAJOR_VERSION,
                    vec![2],
                );
            }
            return;
        }
        let message = match Message::decode(octets) {
            Ok(message) => message,
            Err(error) => {
                if let DecodeErrorKind::UnsupportedCritical(kind) = error.kind {
                    self.counters.unsupported_critical += 1;
                    if header.exchange == ExchangeType::IKE_SA_INIT && !header.flags.response {
                        let data = vec![kind.0];
                        self.answer_unauthenticated(
                            now,
                            &datagram,
                            &header,
                            NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD,
                            data,
                        );
                    }
                } else {
                    self.counters.malformed += 1;
                }
                return;
            }
        };
        if let Some(spi) = notices::invalid_spi(&message) {
            self.take_unknown_spi_notice(now, &datagram, spi);
            return;
        }
        let local_spi = if header.flags.initiator { header.responder_spi } else { header.initiator_spi };
        if header.exchange == ExchangeType::IKE_SA_INIT && header.flags.initiator {
            self.handle_init_request(now, &datagram, message);
            return;
        }
        let owner = self.registry.ike_spis.get(&local_spi).copied().filter(|id| self.sas.contains(*id));
        let Some(id) = owner else {
            self.counters.unknown_spi += 1;
            if !header.flags.response && header.exchange != ExchangeType::IKE_SA_INIT {
                self.answer_unauthenticated(now, &datagram, &header, NotifyType::INVALID_IKE_SPI, Vec::new());
            }
            return;
        };
        self.with_sa(now, id, |sa, ctx| dispatch(sa, ctx, &datagram, message));
        if std::mem::take(&mut self.claimed)
            && let Ok(again) = Message::decode(octets)
        {
            self.with_sa(now, id, |sa, ctx| dispatch(sa, ctx, &datagram, again));
        }
        self.settle(now);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Now) {
        for id in self.sas.due(now.mono) {
            self.with_sa(now, id, |sa, ctx| sa.expire(ctx));
        }
        self.settle(now);
        for name in self.peers.take_due(now.mono) {
            self.reconcile(now, &name);
        }
        self.peers.settle();
    }

    /// Runs `handler` on one SA and then what it leaves to do.
    fn with_sa<T>(
        &mut self,
        now: Now,
        id: IkeSaId,
        handler: impl FnOnce(&mut IkeSa, &mut Context<'_>) -> T,
    ) -> Option<T> {
        let mut sa = self.sas.take(id)?;
        let was_half_open = matches!(sa.state, State::HalfOpen(_) | State::Closed(_));
        let mut effects = Vec::new();
        let mut ctx = Context {
            now,
            settings: &self.settings,
            random: &mut *self.random,
            out: &mut self.out,
            counters: &mut self.counters,
            collisions: &mut self.collisions,
            registry: &mut self.registry,
            effects: &mut effects,
        };
        let result = handler(&mut sa, &mut ctx);
        // One that failed to authenticate counts until it is forgotten, or failing would be free of charge.
        if was_half_open && !matches!(sa.state, State::HalfOpen(_) | State::Closed(_)) {
            self.half_open.remove(id);
        }
        self.after(now, sa);
        for effect in effects {
            self.apply(now, effect);
        }
        Some(result)
    }

    /// Keeps an SA, or forgets it where it is over.
    fn after(&mut self, now: Now, mut sa: IkeSa) {
        if let Some(peer) = &sa.core.peer {
            self.peers.stir(&peer.name);
        }
        if let Some(established) = sa.established_mut() {
            for (child, reason) in std::mem::take(&mut established.child_failures) {
                if let Some(peer) = self.peers.get_mut(&established.peer.name) {
                    peer.child_failed(now, &mut *self.random, child, reason);
                }
            }
        }
        if let Some(reason) = sa.core.ended.take() {
            self.ended(now, &sa, &reason);
        }
        if matches!(sa.state, State::Gone) {
            self.registry.ike_spis.remove(&sa.core.local_spi);
            self.sas.remove(sa.core.id);
        } else {
            self.sas.put(sa);
        }
    }

    fn apply(&mut self, now: Now, effect: Effect) {
        match effect {
            Effect::Spawn(sa) => self.sas.put(*sa),
            Effect::Claim { from, to } => {
                self.claimed = true;
                self.with_sa(now, from, |sa, ctx| {
                    if let State::Established(old) = &mut sa.state
                        && old.phase == Phase::Live
                    {
                        ctx.collisions.ike_rekey_met_delete += 1;
                        old.drop_outstanding(ctx);
                        old.replaced_by(&sa.core, ctx, to, false);
                    }
                });
            }
            Effect::Inherit { from, to, initiator, estate } => {
                self.inherit(now, (from, to), initiator, *estate)
            }
            Effect::Confirm(id) => {
                self.with_sa(now, id, |sa, ctx| {
                    if let State::Established(established) = &mut sa.state {
                        established.confirmed = true;
                        established.pump(&mut sa.core, ctx);
                    }
                });
            }
            Effect::Retire(id) => {
                self.sas.edit(id, |sa| {
                    if let State::Established(established) = &mut sa.state {
                        established.phase = Phase::Closing;
                        established.timers.set(WakeReason::GiveUp, now.mono + RETIRE);
                    }
                });
            }
            Effect::CloseRedundant(id) => {
                self.with_sa(now, id, |sa, ctx| {
                    if let State::Established(established) = &mut sa.state {
                        established.want(Task::DeleteIke(DownReason::Redundant));
                        established.pump(&mut sa.core, ctx);
                    }
                });
            }
            Effect::Authenticated(id) => self.authenticated(now, id),
        }
    }

    /// Children and plans move from an IKE SA to the one that replaced it, or to that one's successor. Where
    /// the peer has closed that one meanwhile, it is all over.
    fn inherit(&mut self, now: Now, (from, mut to): (IkeSaId, IkeSaId), initiator: bool, estate: Estate) {
        let heir = loop {
            match self.sas.get(to).and_then(|sa| Some((sa.core.path, sa.established()?.phase))) {
                Some((path, Phase::Live)) => break Some(path),
                Some((_, Phase::Replaced(next))) => to = next,
                Some((_, Phase::Closing)) | None => break None,
            }
        };
        let Some(path) = heir else {
            for child in estate.into_children() {
                self.registry.free_child_spi(child.inbound_spi);
                self.out
                    .events
                    .push_back(Event::ChildRemoved { child: child.id, reason: DownReason::IkeSaClosed });
            }
            self.with_sa(now, from, |sa, ctx| sa.core.announce_end(ctx, DownReason::DeletedByPeer));
            return;
        };
        let (mut announced, mut moved, mut peer) = (false, false, None);
        self.sas.edit(from, |old| {
            announced = std::mem::take(&mut old.core.announced);
            moved = old.core.path != path;
            peer = old.core.peer.clone();
        });
        if let (Some(peer), true) = (peer, announced) {
            self.counters.ike_rekeyed += 1;
            self.out.events.push_back(Event::IkeRekeyed {
                peer: peer.name.clone(),
                old: from,
                new: to,
                initiator,
            });
        }
        self.with_sa(now, to, |sa, ctx| {
            sa.core.announced |= announced;
            if let State::Established(established) = &mut sa.state {
                established.inherit(estate);
                if moved {
                    established.path_changed(&sa.core, ctx);
                }
                established.pump(&mut sa.core, ctx);
            }
        });
    }

    /// After any input: raises what is configured to be up and is not.
    fn settle(&mut self, now: Now) {
        self.spare_survivors();
        for name in self.peers.take_touched() {
            self.reconcile(now, &name);
        }
        self.peers.index();
    }

    /// Answers a message that belongs to no SA; unprotected, so that the receiver takes it as a hint at most
    /// ([RFC 7296 section 1.5](https://www.rfc-editor.org/rfc/rfc7296#section-1.5)).
    fn answer_unauthenticated(
        &mut self,
        now: Now,
        datagram: &Datagram<'_>,
        header: &Header,
        kind: NotifyType,
        data: Vec<u8>,
    ) {
        if !self.limiter.allow(now.mono, self.settings.unauthenticated_answers_per_second) {
            self.counters.unauthenticated_answers_limited += 1;
            return;
        }
        self.counters.unauthenticated_answers += 1;
        self.answer(datagram, header, &[Payload::Notify(Notify::new(kind, data))]);
    }

    /// Sends an unprotected response to where a request came from.
    fn answer(&mut self, datagram: &Datagram<'_>, header: &Header, payloads: &[Payload]) {
        let flags = Flags { initiator: !header.flags.initiator, version: false, response: true };
        let header = Header::new(
            header.initiator_spi,
            header.responder_spi,
            header.exchange,
            flags,
            header.message_id,
        );
        let octets = Message { header, payloads: payloads.to_vec() }.encode();
        self.out.transmits.push_back(reply(datagram, octets));
    }
}

#[cfg(test)]
impl Endpoint {
    /// As if that many requests had gone each way on every IKE SA.
    pub(crate) fn jump_message_ids(&mut self, to: u32) {
        for established in self.sas.values_mut().filter_map(IkeSa::established_mut) {
            established.channel.window.jump(to);
        }
    }

    /// What the indices say else than looking at every SA and every peer does.
    pub(crate) fn index_complaint(&self) -> Option<String> {
        self.sas.complaint().or_else(|| self.peers.complaint())
    }
}

/// A datagram back to where one came from, from the address that it was sent to.
fn reply(datagram: &Datagram<'_>, octets: Vec<u8>) -> Transmit {
    Transmit {
        local: Some(datagram.local.ip()).filter(|local| !local.is_unspecified()),
        remote: datagram.remote,
        encapsulated: datagram.encapsulated,
        kind: super::event::TransmitKind::Ike,
        octets,
        dont_fragment: false,
    }
}

/// Whether a message holds nothing that is protected.
fn is_clear(message: &Message) -> bool {
    let last = message.payloads.last().map(Payload::kind);
    !matches!(last, Some(PayloadType::ENCRYPTED | PayloadType::ENCRYPTED_FRAGMENT))
}

fn dispatch(sa: &mut IkeSa, ctx: &mut Context<'_>, datagram: &Datagram<'_>, message: Message) {
    match &mut sa.state {
        State::Starting(_) if message.header.flags.response => {
            let State::Starting(starting) = std::mem::replace(&mut sa.state, State::Gone) else { return };
            sa.state = starting.handle(&mut sa.core, ctx, datagram, message);
        }
        State::Established(established) if is_clear(&message) => {
            // INVALID_IKE_SPI and the like: anybody can send them.
            established.hint(&mut sa.core, ctx);
        }
        _ if is_clear(&message) => ctx.counters.unexpected_response += 1,
        _ => sa.handle(ctx, datagram, message),
    }
}
