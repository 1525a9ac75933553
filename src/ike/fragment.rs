//! Reassembly of IKE message fragments ([RFC 7383](https://www.rfc-editor.org/rfc/rfc7383)), each of
//! them authenticated before it comes here. Caps on number, octets and time keep it flat.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::wire::ike::registry::PayloadType;

/// The most fragments of one message.
pub(crate) const MAX_FRAGMENTS: u16 = 64;
/// The most octets of one message.
pub(crate) const MAX_OCTETS: usize = 48 * 1024;
/// How long an incomplete message is kept.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(15);

/// One fragment, opened and freed of padding.
#[derive(Debug)]
pub(crate) struct Fragment {
    pub(crate) number: u16,
    pub(crate) total: u16,
    /// Meaningful in the first fragment alone.
    pub(crate) first: PayloadType,
    pub(crate) plaintext: Vec<u8>,
}

/// What became of a fragment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was the last one missing: the whole chain.
    Complete(PayloadType, Vec<u8>),
    /// Kept.
    Kept,
    /// Seen before, or of a coarser fragmentation than the one under way.
    Ignored,
    /// Too many or too large.
    Rejected,
}

#[derive(Debug)]
struct Partial {
    id: u32,
    total: u16,
    first: PayloadType,
    octets: usize,
    parts: BTreeMap<u16, Vec<u8>>,
    expires: Instant,
}

/// At most one incomplete message.
#[derive(Debug, Default)]
pub(crate) struct Reassembly(Option<Partial>);

impl Reassembly {
    pub(crate) fn insert(&mut self, now: Instant, id: u32, fragment: Fragment) -> Outcome {
        if fragment.total > MAX_FRAGMENTS || fragment.number == 0 || fragment.number > fragment.total {
            return Outcome::Rejected;
        }
        let stale = self.0.as_ref().is_none_or(|partial| {
            partial.id != id || partial.expires <= now || partial.total < fragment.total
        });
        if stale {
            self.0 = Some(Partial {
                id,
                total: fragment.total,
                first: PayloadType::NONE,
                octets: 0,
                parts: BTreeMap::new(),
                expires: now + TIMEOUT,
            });
        }
        let Some(partial) = self.0.as_mut() else { return Outcome::Rejected };
        if fragment.total < partial.total || partial.parts.contains_key(&fragment.number) {
            return Outcome::Ignored;
        }
        if partial.octets.saturating_add(fragment.plaintext.len()) > MAX_OCTETS {
            self.0 = None;
            return Outcome::Rejected;
        }
        if fragment.number == 1 {
            partial.first = fragment.first;
        }
        partial.octets += fragment.plaintext.len();
        partial.parts.insert(fragment.number, fragment.plaintext);
        if partial.parts.len() < usize::from(partial.total) {
            return Outcome::Kept;
        }
        match self.0.take() {
            Some(partial) => {
                Outcome::Complete(partial.first, partial.parts.into_values().flatten().collect())
            }
            None => Outcome::Rejected,
        }
    }

    /// Forgets what has waited too long.
    pub(crate) fn expire(&mut self, now: Instant) {
        if self.0.as_ref().is_some_and(|partial| partial.expires <= now) {
            self.0 = None;
        }
    }

    pub(crate) fn clear(&mut self) {
        self.0 = None;
    }

    pub(crate) fn pending(&self) -> usize {
        self.0.as_ref().map_or(0, |partial| partial.parts.len())
    }
}

#[cfg(test)]
mod tests;
