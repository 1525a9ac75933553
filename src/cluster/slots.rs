//! Which endpoint each slot of a Service belongs to.
//!
//! The kernel hashes a flow to a slot, and the slot names the endpoint. Slots are given out so that each endpoint has
//! as many as any other, or one more; that few change hands when an endpoint comes or goes; and that everybody who
//! knows the same endpoints gives them out alike, in whatever order they are told. Pure, and free of any state.
//!
//! The way is rendezvous hashing with room for so many: every pair of slot and endpoint has a score, and slots and
//! endpoints find each other so that no slot and endpoint both would rather have one another (a stable matching, by
//! the [Gale-Shapley algorithm](https://doi.org/10.2307/2312726)).

use std::{collections::BinaryHeap, net::IpAddr};

/// The numbers of slots that a Service may have.
///
/// Each divides by many numbers of endpoints, which then share exactly; each is a multiple of the one before.
pub const CLASSES: [u32; 7] = [1, 12, 60, 420, 2520, 5040, 55_440];

/// How many slots a Service with so many endpoints has: up to 315, so many that no endpoint gets more than an eighth
/// above another; beyond, as many as can be changed quickly.
///
/// It grows with the number of endpoints, and depends on nothing else.
#[must_use]
pub fn class(endpoints: usize) -> u32 {
    match endpoints {
        0 | 1 => 1,
        2..=4 => 12,
        5..=7 => 60,
        8..=52 => 420,
        53..=315 => 2520,
        316..=5040 => 5040,
        _ => 55_440,
    }
}

/// What decides which endpoints a slot would rather have: slots of the same number here like the same ones.
///
/// The kernel scales a flow's hash to the number of slots, so that each slot of a class is a block of neighbours in
/// each greater class. When a Service grows into the next class, flows stay where they are as far as the slots of a
/// block like what the smaller class's slot liked. But the more slots like the same, the more of them move at each
/// change within the class, and so they go their own ways one after the other with the endpoints that come.
/// Only from 5,040 endpoints to more, everything is given out anew.
fn liking(slot: u32, slots: u32, endpoints: usize) -> u64 {
    let own = u64::from(slot);
    let (coarse, first, last) = match slots {
        60 => (12, usize::MAX, usize::MAX),
        420 => (12, 8, 20),
        2520 => (420, usize::MAX, usize::MAX),
        5040 => (420, 316, 632),
        _ => return own,
    };
    // Not by what the slots like, so that neighbours part at different times.
    let leaves = first.saturating_add((mix(!own) % (last - first).max(1) as u64) as usize);
    if endpoints > leaves { own } else { own * coarse / u64::from(slots) }
}

/// Gives `slots` slots to the endpoints; each element is an index into `endpoints`. Empty if there are none.
///
/// Endpoints are expected to differ. With more endpoints than slots, some get none. Takes some ten milliseconds for 300
/// endpoints, and a few microseconds for three.
#[must_use]
pub fn assign(endpoints: &[(IpAddr, u16)], slots: u32) -> Vec<u32> {
    if endpoints.is_empty() {
        return Vec::new();
    }
    let mut bidders: Vec<Bidder> = (0u32..).zip(endpoints).map(Bidder::new).collect();
    bidders.sort_unstable_by_key(|bidder| (bidder.rank, endpoints.get(bidder.index as usize).copied()));
    let (share, longer) = (slots as usize / endpoints.len(), slots as usize % endpoints.len());
    for (place, bidder) in bidders.iter_mut().enumerate() {
        bidder.room = share + usize::from(place < longer);
    }
    let mut looking: Vec<Seeker> =
        (0..slots).rev().map(|slot| Seeker::new(slot, mix(liking(slot, slots, endpoints.len())))).collect();
    while let Some(mut seeker) = looking.pop() {
        // There is room for every slot, so that none comes to the end of the bidders.
        while let Some((place, score)) = seeker.next(&bidders) {
            let Some(bidder) = bidders.get_mut(place) else { break };
            let offer = Held { score: std::cmp::Reverse(score), seeker };
            if bidder.held.len() < bidder.room {
                bidder.held.push(offer);
                break;
            }
            let better = bidder.held.peek().is_some_and(|worst| offer < *worst);
            if better && let Some(worst) = bidder.held.pop() {
                looking.push(worst.seeker);
                bidder.held.push(offer);
                break;
            }
        }
    }
    let mut owners = vec![0; slots as usize];
    for bidder in &bidders {
        for held in &bidder.held {
            if let Some(owner) = owners.get_mut(held.seeker.slot as usize) {
                *owner = bidder.index;
            }
        }
    }
    owners
}

/// An endpoint, with the slots that it holds for now: those it likes best of the ones that came.
struct Bidder {
    index: u32,
    hash: u64,
    rank: u64,
    room: usize,
    held: BinaryHeap<Held>,
}

impl Bidder {
    fn new((index, endpoint): (u32, &(IpAddr, u16))) -> Self {
        let hash = hash(endpoint);
        Self { index, hash, rank: mix(hash), room: 0, held: BinaryHeap::new() }
    }
}

/// A slot that an endpoint holds; the greatest is the one it likes least.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Held {
    score: std::cmp::Reverse<u64>,
    seeker: Seeker,
}

/// A slot, and how far it has come on its way from the endpoint it likes best.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Seeker {
    slot: u32,
    hash: u64,
    /// Score and place of the endpoint asked last.
    asked: Option<(u64, usize)>,
}

impl Seeker {
    fn new(slot: u32, hash: u64) -> Self {
        Self { slot, hash, asked: None }
    }

    /// The place of the endpoint that it likes best of those not asked yet, and how much they like each other.
    fn next(&mut self, bidders: &[Bidder]) -> Option<(usize, u64)> {
        let next = bidders
            .iter()
            .enumerate()
            .map(|(place, bidder)| (mix(bidder.hash ^ self.hash), place))
            .filter(|offer| self.asked.is_none_or(|asked| *offer < asked))
            .max()?;
        self.asked = Some(next);
        Some((next.1, next.0))
    }
}

/// [FNV-1a](https://www.rfc-editor.org/rfc/rfc9923) of address and port, the same on every machine.
fn hash((address, port): &(IpAddr, u16)) -> u64 {
    let fold = |hash: u64, octet: &u8| (hash ^ u64::from(*octet)).wrapping_mul(0x0000_0100_0000_01b3);
    let start = 0xcbf2_9ce4_8422_2325;
    let hashed = match address {
        IpAddr::V4(address) => address.octets().iter().fold(start, fold),
        IpAddr::V6(address) => address.octets().iter().fold(start, fold),
    };
    port.to_be_bytes().iter().fold(hashed, fold)
}

/// The finaliser of SplitMix64: every bit of the result depends on every bit of the argument.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests;
