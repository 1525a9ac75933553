//! What every handler is given besides its own state, and what it leaves for the endpoint to do.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::crypto::Random;
use crate::wire::ike::IkeSpi;

use super::config::EndpointSettings;
use super::event::{ChildSaId, Event, IkeSaId, Transmit};
use super::sa::{Estate, IkeSa};
use super::status::{CollisionStats, IkeCounters};
use super::time::Now;

/// Datagrams and events on their way out, in order.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    pub(crate) transmits: VecDeque<Transmit>,
    pub(crate) events: VecDeque<Event>,
}

/// Every name in use: SA numbers and SPIs.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    next_ike: u64,
    next_child: u64,
    pub(crate) ike_spis: BTreeMap<IkeSpi, IkeSaId>,
    child_spis: BTreeSet<u32>,
}

impl Registry {
    pub(crate) fn ike_id(&mut self) -> IkeSaId {
        self.next_ike += 1;
        IkeSaId(self.next_ike)
    }

    pub(crate) fn child_id(&mut self) -> ChildSaId {
        self.next_child += 1;
        ChildSaId(self.next_child)
    }

    /// A fresh SPI for `owner`.
    pub(crate) fn ike_spi(&mut self, random: &mut dyn Random, owner: IkeSaId) -> IkeSpi {
        loop {
            let mut spi = [0; 8];
            random.fill(&mut spi);
            // The first four octets tell IKE from ESP by the marker; keep them from looking like one.
            let spi = IkeSpi(spi);
            if spi.0.first_chunk::<4>() != Some(&[0; 4]) && !self.ike_spis.contains_key(&spi) {
                self.ike_spis.insert(spi, owner);
                return spi;
            }
        }
    }

    /// A fresh inbound ESP SPI; 0 to 255 are reserved.
    pub(crate) fn child_spi(&mut self, random: &mut dyn Random) -> u32 {
        loop {
            let mut octets = [0; 4];
            random.fill(&mut octets);
            let spi = u32::from_be_bytes(octets);
            if spi > 255 && self.child_spis.insert(spi) {
                return spi;
            }
        }
    }

    pub(crate) fn free_child_spi(&mut self, spi: u32) {
        self.child_spis.remove(&spi);
    }
}

/// What a handler of one IKE SA wants done to others.
#[derive(Debug)]
pub(crate) enum Effect {
    /// A rekey made this one.
    Spawn(Box<IkeSa>),
    /// The children and plans of `from` move to `to`.
    Inherit { from: IkeSaId, to: IkeSaId, initiator: bool, estate: Box<Estate> },
    /// The peer works with `to`, which its rekey made: our own attempt to rekey `from` is pointless.
    Claim { from: IkeSaId, to: IkeSaId },
    /// The peer has shown that it has this one.
    Confirm(IkeSaId),
    /// The peer ought to close this one; it is dropped if it does not.
    Retire(IkeSaId),
    /// Close this one, which a collision made redundant.
    CloseRedundant(IkeSaId),
    /// An IKE SA was authenticated.
    Authenticated(IkeSaId),
}

/// See the module.
pub(crate) struct Context<'a> {
    pub(crate) now: Now,
    pub(crate) settings: &'a EndpointSettings,
    pub(crate) random: &'a mut dyn Random,
    pub(crate) out: &'a mut Outbox,
    pub(crate) counters: &'a mut IkeCounters,
    pub(crate) collisions: &'a mut CollisionStats,
    pub(crate) registry: &'a mut Registry,
    pub(crate) effects: &'a mut Vec<Effect>,
}

impl Context<'_> {
    pub(crate) fn event(&mut self, event: Event) {
        self.out.events.push_back(event);
    }

    pub(crate) fn transmit(&mut self, transmit: Transmit) {
        self.out.transmits.push_back(transmit);
    }

    pub(crate) fn nonce(&mut self) -> Vec<u8> {
        let mut nonce = vec![0; 32];
        self.random.fill(&mut nonce);
        nonce
    }

    /// A share of `span` between zero and all of it.
    pub(crate) fn jitter(&mut self, span: Duration) -> Duration {
        jitter(self.random, span)
    }
}

/// A random share of `span`.
pub(crate) fn jitter(random: &mut dyn Random, span: Duration) -> Duration {
    let mut octets = [0; 4];
    random.fill(&mut octets);
    span.mul_f64(f64::from(u32::from_be_bytes(octets)) / f64::from(u32::MAX))
}
