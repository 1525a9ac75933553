//! One IKE SA: its addresses, and its state as an owned value in an enum.

mod child;
mod established;
mod inbound;
mod outbound;
mod tasks;
mod timers;

use std::sync::Arc;
use std::time::Instant;

use crate::wire::ike::IkeSpi;

use super::channel::Channel;
use super::config::PeerConfig;
use super::context::Context;
use super::event::{DownReason, Event, IkeSaId};
use super::exchange::auth::{Authenticating, HalfOpen};
use super::exchange::init::Starting;
use super::nat::Path;

pub(crate) use child::{Child, ChildPhase, Made};
pub(crate) use established::{Birth, Established, Estate, Origin, Outstanding, Phase, Rival, log_keys};
pub(crate) use inbound::{Received, receive, repeat};
pub(crate) use tasks::Task;

/// What an IKE SA is besides its state.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) id: IkeSaId,
    pub(crate) local_spi: IkeSpi,
    pub(crate) remote_spi: IkeSpi,
    /// Whether we are its original initiator.
    pub(crate) initiator: bool,
    pub(crate) path: Path,
    /// Known from the beginning by an initiator, from IKE_AUTH on by a responder.
    pub(crate) peer: Option<Arc<PeerConfig>>,
    /// When its first message was sent or received.
    pub(crate) started: Instant,
    /// Whether the caller knows of it.
    pub(crate) announced: bool,
    /// Why it ended or its attempt failed; the endpoint reads it when the state is `Gone`.
    pub(crate) ended: Option<DownReason>,
    /// The peer did not believe us; another key may be tried.
    pub(crate) auth_refused: bool,
}

impl Core {
    pub(crate) fn initiator_spi(&self) -> IkeSpi {
        if self.initiator { self.local_spi } else { self.remote_spi }
    }

    pub(crate) fn responder_spi(&self) -> IkeSpi {
        if self.initiator { self.remote_spi } else { self.local_spi }
    }

    pub(crate) fn send(&self, ctx: &mut Context<'_>, packets: &[Vec<u8>], dont_fragment: bool) {
        for packet in packets {
            ctx.transmit(self.path.transmit(packet.clone(), dont_fragment));
        }
    }

    /// Tells the caller, once, that the SA is over.
    pub(crate) fn announce_end(&mut self, ctx: &mut Context<'_>, reason: DownReason) {
        if self.announced
            && let Some(peer) = &self.peer
        {
            ctx.event(Event::IkeDown { ike: self.id, peer: peer.name.clone(), reason: reason.clone() });
            self.announced = false;
        }
        self.ended.get_or_insert(reason);
    }
}

/// What is left of a closed IKE SA: enough to answer its last request once more.
#[derive(Debug)]
pub(crate) struct Tombstone {
    pub(crate) channel: Channel,
    pub(crate) until: Instant,
}

/// The life of an IKE SA.
#[derive(Debug)]
pub(crate) enum State {
    /// Initiator; IKE_SA_INIT is out.
    Starting(Box<Starting>),
    /// Initiator; IKE_AUTH is out.
    Authenticating(Box<Authenticating>),
    /// Responder; IKE_SA_INIT is answered.
    HalfOpen(Box<HalfOpen>),
    /// Authenticated.
    Established(Box<Established>),
    /// Closed.
    Closed(Box<Tombstone>),
    /// To be forgotten.
    Gone,
}

/// One IKE SA.
#[derive(Debug)]
pub(crate) struct IkeSa {
    pub(crate) core: Core,
    pub(crate) state: State,
}

impl IkeSa {
    pub(crate) fn established(&self) -> Option<&Established> {
        match &self.state {
            State::Established(established) => Some(established),
            _ => None,
        }
    }

    pub(crate) fn established_mut(&mut self) -> Option<&mut Established> {
        match &mut self.state {
            State::Established(established) => Some(established),
            _ => None,
        }
    }

    /// Established and neither replaced nor closing.
    pub(crate) fn is_live(&self) -> bool {
        self.established().is_some_and(|established| established.phase == Phase::Live)
    }

    /// On the way to be established by our initiative.
    pub(crate) fn is_connecting(&self) -> bool {
        matches!(self.state, State::Starting(_) | State::Authenticating(_))
    }
}
