//! Opening a train: several ESP packets of one SA that lie one behind the other. Locks and counters cost
//! once a train here, not once a packet.
//!
//! A packet is judged as if those before it had come alone and before it. Their sequence numbers are not
//! committed yet when it is checked, so it is checked against the window that is there once they are. That
//! foresight fails where one of them turns out to be forged; the rest of the train then starts anew.

use super::{
    DropReason, InboundSa, Opened, Refused,
    inbound::{Inside, Remembered},
    replay::Freshness,
};
use crate::wire::ip::Ecn;

/// Packets worked at once; a longer train is worked in parts.
const CHUNK: usize = 128;
/// Packets worked at once when the last ones were not all the peer's.
const AFTER_FORGERY: usize = 4;

/// What came out of a train, packet by packet; reused, so that nothing is allocated once it has grown.
///
/// Ranges are relative to the buffer given to [`InboundSa::open_train`].
#[derive(Debug, Default)]
pub struct OpenedTrain {
    results: Vec<Result<Opened, Refused>>,
    chunk: Vec<Judged>,
}

/// A packet on its way through the checks: its sequence number, or why it is refused.
type Judged = Result<(u64, Freshness), Refused>;

impl OpenedTrain {
    /// With room for the longest train that the kernel makes.
    pub fn new() -> Self {
        Self { results: Vec::with_capacity(CHUNK), chunk: Vec::with_capacity(CHUNK) }
    }

    /// Packets in the train.
    pub fn len(&self) -> usize {
        self.results.len()
    }

    /// Whether the train had no packet.
    pub fn is_empty(&self) -> bool {
        self.results.is_empty()
    }

    /// One result a packet, in the order of the train.
    pub fn iter(&self) -> std::slice::Iter<'_, Result<Opened, Refused>> {
        self.results.iter()
    }
}

impl<'a> IntoIterator for &'a OpenedTrain {
    type Item = &'a Result<Opened, Refused>;
    type IntoIter = std::slice::Iter<'a, Result<Opened, Refused>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl InboundSa {
    /// Opens the ESP packets of this SA that lie in `buffer` one behind the other, each `segment` octets
    /// long but for the last, which may be shorter. What comes out in `opened` is what
    /// [`InboundSa::open`] would have given for one after the other.
    pub fn open_train(
        &self,
        buffer: &mut [u8],
        segment: usize,
        outer_ecn: Ecn,
        now: u64,
        opened: &mut OpenedTrain,
    ) {
        let segment = segment.max(1);
        opened.results.clear();
        let mut remembered = None;
        let mut start = 0;
        let mut width = CHUNK;
        while let Some(rest) = buffer.get_mut(start..).filter(|rest| !rest.is_empty()) {
            let end = rest.len().min(segment.saturating_mul(width));
            let Some(part) = rest.get_mut(..end) else { return };
            self.judge(part, segment, &mut opened.chunk);
            let forged = self.decrypt(part, segment, &mut opened.chunk);
            // Work on packets behind a forgery is lost, so that after one they are taken by the few.
            width = if forged { AFTER_FORGERY } else { CHUNK };
            self.commit(&mut opened.chunk);
            let first = opened.results.len();
            let context = Context { start, segment, outer_ecn, now };
            let total = self.look_inside(part, &context, &mut remembered, opened);
            self.account_train(&total, now, opened.results.get_mut(first..).unwrap_or_default());
            start = start.saturating_add(opened.chunk.len().saturating_mul(segment));
        }
    }

    /// Sequence numbers and the replay check of all packets.
    fn judge(&self, part: &[u8], segment: usize, chunk: &mut Vec<Judged>) {
        chunk.clear();
        let replay = self.replay();
        let mut highest = replay.highest();
        chunk.extend(part.chunks(segment).map(|packet| {
            let sequence = self
                .low_sequence(packet)
                .and_then(
                    |low| if self.is_esn() { replay.recover_ahead(low, highest) } else { Ok(low.into()) },
                )
                .and_then(|sequence| replay.check_ahead(sequence, highest).map(|()| sequence))
                .map_err(|reason| Refused { reason, authentic: false })?;
            let freshness = if sequence > highest { Freshness::Highest } else { Freshness::Late };
            highest = highest.max(sequence);
            Ok((sequence, freshness))
        }));
    }

    /// Opens in place; stops behind the first forgery, and tells whether there was one.
    fn decrypt(&self, part: &mut [u8], segment: usize, chunk: &mut Vec<Judged>) -> bool {
        let mut done = 0;
        for (packet, judged) in part.chunks_mut(segment).zip(chunk.iter()) {
            let Ok((sequence, _)) = judged else {
                done += 1;
                continue;
            };
            if self.decrypt_one(packet, *sequence).is_err() {
                break;
            }
            done += 1;
        }
        let Some((before, [forged, ..])) = chunk.split_at_mut_checked(done) else { return false };
        if let Ok((sequence, _)) = *forged {
            let again = before.iter().flatten().any(|(earlier, _)| *earlier == sequence);
            let reason = if again { DropReason::Replayed } else { DropReason::AuthenticationFailed };
            *forged = Err(Refused { reason, authentic: false });
        }
        chunk.truncate(done + 1);
        true
    }

    fn commit(&self, chunk: &mut [Judged]) {
        let mut replay = self.replay();
        for judged in chunk {
            if let Ok((sequence, freshness)) = judged {
                match replay.commit(*sequence) {
                    Ok(fresh) => *freshness = fresh,
                    Err(reason) => *judged = Err(Refused { reason, authentic: false }),
                }
            }
        }
    }

    /// Checks the inner packets, and counts all but those that the limits are about.
    fn look_inside(
        &self,
        part: &mut [u8],
        context: &Context,
        remembered: &mut Remembered,
        opened: &mut OpenedTrain,
    ) -> Total {
        let mut total = Total::default();
        let (mut authentic, mut dummies) = (false, 0);
        let mut start = context.start;
        for (packet, judged) in part.chunks_mut(context.segment).zip(&opened.chunk) {
            let result = judged.and_then(|(sequence, freshness)| {
                authentic = true;
                let first = self.is_first();
                match self.check_inside(packet, context.outer_ecn, remembered) {
                    Ok(inside) => Ok((inside, sequence, freshness, first)),
                    Err(reason) => {
                        self.forget_first(first);
                        Err(Refused { reason, authentic: true })
                    }
                }
            });
            opened.results.push(match result {
                Ok((inside, sequence, freshness, first)) => {
                    match &inside {
                        Some(Inside { range, .. }) => total.add(range.len() as u64),
                        None => dummies += 1,
                    }
                    Ok(Opened {
                        inner: inside.as_ref().map(|it| start + it.range.start..start + it.range.end),
                        facts: inside.map(|it| it.facts),
                        sequence,
                        highest: freshness == Freshness::Highest,
                        first,
                        soft_limit: false,
                    })
                }
                Err(refused) => {
                    self.counters().drops.add(refused.reason);
                    Err(refused)
                }
            });
            start += context.segment;
        }
        if authentic {
            self.counters().used(context.now);
        }
        if dummies > 0 {
            self.counters().dummies_received(dummies);
        }
        total
    }

    /// Counts the accepted packets against the limits.
    fn account_train(&self, total: &Total, now: u64, results: &mut [Result<Opened, Refused>]) {
        if total.packets == 0 {
            return;
        }
        let (packets, octets) = self.accept(total.packets, total.octets);
        let mut carried = Total { ..*total };
        if self.is_limit_near(packets + total.packets, octets + total.octets) {
            carried = Total::default();
            let mut sum = Total { packets, octets };
            for result in results {
                let Ok(Opened { inner: Some(inner), soft_limit, .. }) = result else { continue };
                let len = inner.len() as u64;
                sum.add(len);
                match self.judge_limits(sum.packets, sum.octets) {
                    Ok(soft) => {
                        *soft_limit = soft;
                        carried.add(len);
                    }
                    Err(reason) => {
                        self.counters().drops.add(reason);
                        *result = Err(Refused { reason, authentic: true });
                    }
                }
            }
        }
        if carried.packets > 0 {
            self.counters().carried(carried.packets, carried.octets, now);
        }
    }
}

/// Where a part of a train lies and how it came.
struct Context {
    start: usize,
    segment: usize,
    outer_ecn: Ecn,
    now: u64,
}

/// Packets and inner octets.
#[derive(Default)]
struct Total {
    packets: u64,
    octets: u64,
}

impl Total {
    fn add(&mut self, octets: u64) {
        self.packets += 1;
        self.octets += octets;
    }
}

#[cfg(test)]
#[path = "train/tests.rs"]
mod tests;
