//! Encrypted messages on their way in: authenticity first, then freshness, then meaning.

use crate::ike::channel::Channel;
use crate::ike::channel::{OpenError, Opened};
use crate::ike::contents::Contents;
use crate::ike::context::Context;
use crate::ike::event::Datagram;
use crate::ike::fragment::Outcome;
use crate::ike::window::Slot;
use crate::wire::ike::registry::{ExchangeType, PayloadType};
use crate::wire::ike::{Header, Message, Payload};

use super::established::Established;
use super::{Core, IkeSa, State, Tombstone};

/// An authentic and fresh message, whole.
pub(crate) struct Fresh {
    pub(crate) header: Header,
    pub(crate) first: PayloadType,
    pub(crate) plaintext: Vec<u8>,
}

/// What an encrypted message turned out to be.
pub(crate) enum Received {
    /// To be handled.
    Fresh(Fresh),
    /// An authentic part of a fresh message; more is to come.
    Partial,
    /// The last request again: its response is to be sent again.
    Repeat,
    /// Of no use, and counted.
    Nothing,
}

/// Opens a message and classifies it by its ID.
pub(crate) fn receive(
    channel: &mut Channel,
    core: &Core,
    ctx: &mut Context<'_>,
    octets: &[u8],
    message: Message,
) -> Received {
    let header = message.header;
    if header.flags.initiator == core.initiator
        || header.initiator_spi != channel.initiator_spi()
        || header.responder_spi != channel.responder_spi()
    {
        ctx.counters.unknown_spi += 1;
        return Received::Nothing;
    }
    let response = header.flags.response;
    let slot = if response {
        if channel.window.awaits(header.message_id) { Slot::Fresh } else { Slot::Outside }
    } else {
        channel.window.classify(header.message_id)
    };
    if slot == Slot::Outside {
        if response {
            ctx.counters.unexpected_response += 1;
        } else {
            ctx.counters.out_of_window += 1;
        }
        return Received::Nothing;
    }
    let opened = match channel.open(octets, message) {
        Ok(opened) => opened,
        Err(error) => {
            match error {
                OpenError::Integrity => ctx.counters.bad_integrity += 1,
                OpenError::Malformed => ctx.counters.malformed += 1,
            }
            return Received::Nothing;
        }
    };
    if slot == Slot::Repeat {
        return match opened {
            Opened::Fragment(fragment) if fragment.number != 1 => Received::Nothing,
            _ => Received::Repeat,
        };
    }
    match opened {
        Opened::Whole(first, plaintext) => {
            channel.drop_fragments(response);
            Received::Fresh(Fresh { header, first, plaintext })
        }
        Opened::Fragment(fragment) => {
            match channel.reassemble(ctx.now.mono, response, header.message_id, fragment) {
                Outcome::Complete(first, plaintext) => Received::Fresh(Fresh { header, first, plaintext }),
                Outcome::Kept => Received::Partial,
                Outcome::Ignored => {
                    ctx.counters.duplicate_fragment += 1;
                    Received::Nothing
                }
                Outcome::Rejected => {
                    ctx.counters.bad_fragment += 1;
                    Received::Nothing
                }
            }
        }
    }
}

/// Sends the kept response again, from and to where the request came.
pub(crate) fn repeat(channel: &Channel, core: &Core, ctx: &mut Context<'_>, datagram: &Datagram<'_>) {
    ctx.counters.retransmit_answered += 1;
    let mut path = core.path;
    path.remote = datagram.remote;
    path.encapsulated = datagram.encapsulated;
    for packet in channel.window.response().unwrap_or_default() {
        ctx.transmit(path.transmit(packet.clone(), false));
    }
}

impl IkeSa {
    /// Handles an encrypted message.
    pub(crate) fn handle(&mut self, ctx: &mut Context<'_>, datagram: &Datagram<'_>, message: Message) {
        let state = std::mem::replace(&mut self.state, State::Gone);
        self.state = match state {
            State::Authenticating(state) => state.handle(&mut self.core, ctx, datagram, message),
            State::HalfOpen(state) => state.handle(&mut self.core, ctx, datagram, message),
            State::Established(state) => state.handle(&mut self.core, ctx, datagram, message),
            State::Closed(mut tombstone) => {
                if let Received::Repeat =
                    receive(&mut tombstone.channel, &self.core, ctx, datagram.octets, message)
                {
                    repeat(&tombstone.channel, &self.core, ctx, datagram);
                }
                State::Closed(tombstone)
            }
            other @ (State::Starting(_) | State::Gone) => {
                ctx.counters.unexpected_response += 1;
                other
            }
        };
    }
}

impl Established {
    fn handle(
        mut self: Box<Self>,
        core: &mut Core,
        ctx: &mut Context<'_>,
        datagram: &Datagram<'_>,
        message: Message,
    ) -> State {
        let fresh = match receive(&mut self.channel, core, ctx, datagram.octets, message) {
            Received::Fresh(fresh) => fresh,
            Received::Partial => {
                self.heard(core, ctx, datagram);
                return State::Established(self);
            }
            Received::Repeat => {
                self.last_heard = ctx.now.mono;
                repeat(&self.channel, core, ctx, datagram);
                return State::Established(self);
            }
            Received::Nothing => return State::Established(self),
        };
        self.heard(core, ctx, datagram);
        let contents = Contents::parse(fresh.first, &fresh.plaintext);
        if fresh.header.flags.response {
            let outbound = self.channel.window.settle();
            let Ok(contents) = contents else {
                ctx.counters.bad_plaintext += 1;
                return self.response_unusable(core, ctx);
            };
            return self.handle_response(core, ctx, outbound, contents);
        }
        if let (Some(old), Ok(contents)) = (self.predecessor, &contents)
            && !contents.closes_ike_sa()
        {
            // The peer works with this IKE SA, so it has decided; the children are fetched, then this comes again.
            self.predecessor = None;
            ctx.effects.push(crate::ike::context::Effect::Claim { from: old, to: core.id });
            return State::Established(self);
        }
        match contents {
            Ok(contents) => self.handle_request(core, ctx, fresh.header.exchange, contents),
            Err(error) => {
                ctx.counters.bad_plaintext += 1;
                self.respond(core, ctx, fresh.header.exchange, &[Payload::Notify(error.notify())]);
                State::Established(self)
            }
        }
    }

    /// Something authentic and fresh came: the peer lives, and it is where this came from.
    fn heard(&mut self, core: &mut Core, ctx: &mut Context<'_>, datagram: &Datagram<'_>) {
        self.last_heard = ctx.now.mono;
        self.confirmed = true;
        let moved = core.path.nat.remote && core.path.remote != datagram.remote;
        let answered_from = core.path.local.is_some_and(|local| local != datagram.local.ip())
            && !datagram.local.ip().is_unspecified();
        if moved || answered_from {
            if moved {
                core.path.remote = datagram.remote;
                core.path.encapsulated = datagram.encapsulated;
                ctx.counters.peer_moved += 1;
            }
            if answered_from && self.peer.local_address.is_none() {
                core.path.local = Some(datagram.local.ip());
            }
            self.path_changed(core, ctx);
        }
    }

    fn handle_request(
        mut self: Box<Self>,
        core: &mut Core,
        ctx: &mut Context<'_>,
        exchange: ExchangeType,
        contents: Contents,
    ) -> State {
        match exchange {
            ExchangeType::CREATE_CHILD_SA => {
                self.handle_create_child(core, ctx, contents);
                State::Established(self)
            }
            ExchangeType::INFORMATIONAL => self.handle_informational(core, ctx, contents),
            _ => {
                ctx.counters.bad_exchange += 1;
                let notify = crate::wire::ike::Notify::new(
                    crate::wire::ike::registry::NotifyType::INVALID_SYNTAX,
                    Vec::new(),
                );
                self.respond(core, ctx, exchange, &[Payload::Notify(notify)]);
                State::Established(self)
            }
        }
    }

    /// Leaves a tombstone that answers the last request again.
    pub(crate) fn bury(self: Box<Self>, ctx: &Context<'_>) -> State {
        let timing = &self.peer.timing;
        let until =
            ctx.now.mono + timing.retransmit_cap.saturating_mul(2).max(std::time::Duration::from_secs(30));
        State::Closed(Box::new(Tombstone { channel: self.channel, until }))
    }
}
