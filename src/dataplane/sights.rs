//! Headers that workers copy for who wants to know whether connections come to be.
//!
//! Off, which is the normal case without a cluster, all of it is one test a packet. On, TCP packets cost a test of flags
//! that were read anyway, and UDP datagrams one look into a small table of recent flows. Nothing is allocated or waited
//! for, and what the queue does not take is counted and forgotten.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Instant,
};

use tokio::sync::mpsc;

use super::{core::add, rate::RateLimit};
use crate::{
    esp::{DataCounters, flow_hash, summarize},
    policy::PacketSummary,
    wire::ip::{
        InnerPacket, Sighting, protocol,
        sighting::{Sighted, Way},
    },
};

/// Places for recent UDP flows, two in each; a power of two.
const PLACES: usize = 512;
/// A datagram of a remembered flow is seen again after this long.
const AGAIN_MILLIS: u64 = 30_000;
/// UDP flows a second that a worker tells of at most.
const DATAGRAMS_PER_SECOND: u32 = 1_000;

/// Where the workers' sightings go, and the switch for all of them. Clones are the same.
#[derive(Debug, Clone)]
pub struct Sightings {
    on: Arc<AtomicBool>,
    sender: mpsc::Sender<Sighting>,
}

impl Sightings {
    /// A queue of this length, switched off. What does not fit is counted as `sightings_lost`, and
    /// datagrams above the worker's rate as `sightings_held_back`.
    #[must_use]
    pub fn channel(room: usize) -> (Self, mpsc::Receiver<Sighting>) {
        let (sender, receiver) = mpsc::channel(room.max(1));
        (Self { on: Arc::default(), sender }, receiver)
    }

    /// Switches it on or off, from the workers' next turns on.
    pub fn switch(&self, on: bool) {
        self.on.store(on, Relaxed);
    }
}

/// A worker's part.
pub(super) struct Sights {
    to: Option<Sightings>,
    on: bool,
    recent: Box<[[Option<Recent>; 2]]>,
    datagrams: RateLimit,
}

#[derive(Debug, Clone, Copy)]
struct Recent {
    flow: PacketSummary,
    seen: u64,
}

impl Sights {
    pub(super) fn new(to: Option<Sightings>) -> Self {
        let recent = if to.is_some() { vec![[None; 2]; PLACES] } else { Vec::new() };
        Self {
            to,
            on: false,
            recent: recent.into_boxed_slice(),
            datagrams: RateLimit::new(DATAGRAMS_PER_SECOND),
        }
    }

    /// Looks at the switch; once a turn is enough.
    #[inline]
    pub(super) fn refresh(&mut self) {
        if let Some(to) = &self.to {
            self.on = to.on.load(Relaxed);
        }
    }

    /// Whether anything is looked at.
    #[inline]
    pub(super) fn on(&self) -> bool {
        self.on
    }

    /// Looks at a packet. `now` is in milliseconds of the worker's clock.
    pub(super) fn look(
        &mut self,
        way: Way,
        refused: bool,
        octets: &[u8],
        view: &InnerPacket,
        now: u64,
        counters: &DataCounters,
    ) {
        if view.protocol == protocol::UDP && !self.is_news(view, now) {
            return;
        }
        let Some(to) = &self.to else { return };
        let Some(sighting) = Sighting::of(Instant::now(), way, octets, view) else { return };
        let sighting = if refused { sighting.refused() } else { sighting };
        let counter = if matches!(sighting.what, Sighted::Udp { .. }) && !self.datagrams.allow(now) {
            // Not lost: nobody who waits for an answer by TCP has to begin anew for it.
            &counters.sightings_held_back
        } else if to.sender.try_send(sighting).is_ok() {
            &counters.sightings
        } else {
            &counters.sightings_lost
        };
        add(counter, 1);
    }

    /// Whether no datagram of this flow was seen for a while. A flow has two places, of which the one that was used
    /// longer ago is given away, so that two flows on one place do not drive each other out by turns.
    fn is_news(&mut self, view: &InnerPacket, now: u64) -> bool {
        let flow = summarize(view);
        let place = (flow_hash(&flow) >> (u64::BITS - PLACES.ilog2())) as usize;
        let Some(slots) = self.recent.get_mut(place) else { return false };
        let known = slots.iter().flatten().find(|recent| recent.flow == flow);
        if known.is_some_and(|recent| now.saturating_sub(recent.seen) < AGAIN_MILLIS) {
            return false;
        }
        let same = slots.iter().position(|slot| slot.is_some_and(|recent| recent.flow == flow));
        let [first, second] = slots;
        let older = match same {
            Some(0) => first,
            Some(_) => second,
            None if first.map(|recent| recent.seen) <= second.map(|recent| recent.seen) => first,
            None => second,
        };
        *older = Some(Recent { flow, seen: now });
        true
    }
}
