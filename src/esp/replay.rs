//! The anti-replay window: a ring of 64-bit words
//! ([RFC 6479](https://www.rfc-editor.org/rfc/rfc6479)), and recovery of the high half of extended sequence
//! numbers ([RFC 4304 appendix A](https://www.rfc-editor.org/rfc/rfc4304#appendix-A)).
//!
//! A sequence number is checked before authentication and committed only after it, so that forged packets
//! never move the window.

use super::DropReason;

const WORD_BITS: u64 = 64;

/// The window of an SA whose configuration names none, in packets.
pub const DEFAULT_REPLAY_WINDOW: u32 = 8_192;
/// Larger windows than this are cut to it.
pub const MAX_REPLAY_WINDOW: u32 = 1 << 20;

/// Where a committed sequence number stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Higher than every one before.
    Highest,
    /// New, but overtaken by a higher one.
    Late,
}

/// Which sequence numbers an SA has received.
#[derive(Debug, Clone)]
pub struct ReplayWindow {
    words: Box<[u64]>,
    mask: u64,
    window: u64,
    highest: u64,
}

impl ReplayWindow {
    /// An empty window that accepts numbers up to `packets` − 1 below the highest received; rounded up to
    /// what fills the ring.
    pub fn new(packets: u32) -> Self {
        let wanted = u64::from(packets.clamp(64, MAX_REPLAY_WINDOW));
        // One word more than the window, because the newest word is filled only in part.
        let words = (wanted.div_ceil(WORD_BITS) + 1).next_power_of_two();
        Self {
            words: vec![0; usize::try_from(words).unwrap_or(usize::MAX)].into_boxed_slice(),
            mask: words - 1,
            window: (words - 1) * WORD_BITS,
            highest: 0,
        }
    }

    /// Forgets everything and takes all numbers up to `highest` as received.
    pub fn continue_after(&mut self, highest: u64) {
        self.highest = highest;
        self.words.fill(u64::MAX);
        // Numbers above the highest share its word and are still to come.
        if let Some(word) = self.words.get_mut(((highest / WORD_BITS) & self.mask) as usize) {
            *word = u64::MAX >> (WORD_BITS - 1 - highest % WORD_BITS);
        }
    }

    /// The packets the window spans.
    pub fn size(&self) -> u64 {
        self.window
    }

    /// The highest sequence number received and authenticated, 0 before the first.
    pub fn highest(&self) -> u64 {
        self.highest
    }

    /// The whole sequence number to which `low` belongs, if extended sequence numbers are used: the one
    /// nearest to the window.
    ///
    /// # Errors
    /// [`DropReason::ReplayTooOld`] if that would lie before the first.
    pub fn recover(&self, low: u32) -> Result<u64, DropReason> {
        self.recover_ahead(low, self.highest)
    }

    /// What [`ReplayWindow::recover`] will give once `highest` is the highest number received.
    pub(super) fn recover_ahead(&self, low: u32, highest: u64) -> Result<u64, DropReason> {
        let high = highest >> 32;
        let highest_low = (highest & 0xffff_ffff) as u32;
        let window = self.window as u32;
        let bottom = highest_low.wrapping_sub(window - 1);
        let high = if highest_low >= window - 1 {
            // The window lies within one subspace; what is below its bottom belongs to the next one.
            if low >= bottom { high } else { high + 1 }
        } else if low >= bottom {
            // The window reaches back into the subspace before.
            high.checked_sub(1).ok_or(DropReason::ReplayTooOld)?
        } else {
            high
        };
        Ok(high << 32 | u64::from(low))
    }

    /// Whether the number may still be accepted. Changes nothing.
    ///
    /// # Errors
    /// [`DropReason::SequenceZero`], [`DropReason::Replayed`] or [`DropReason::ReplayTooOld`].
    pub fn check(&self, sequence: u64) -> Result<(), DropReason> {
        self.check_ahead(sequence, self.highest)
    }

    /// What [`ReplayWindow::check`] will say once `highest`, which is not below the highest now, is the
    /// highest number received, and none was received besides that is not now.
    pub(super) fn check_ahead(&self, sequence: u64, highest: u64) -> Result<(), DropReason> {
        if sequence == 0 {
            Err(DropReason::SequenceZero)
        } else if sequence > highest {
            Ok(())
        } else if highest - sequence >= self.window {
            Err(DropReason::ReplayTooOld)
        } else if sequence <= self.highest && self.word(sequence) & bit(sequence) != 0 {
            Err(DropReason::Replayed)
        } else {
            Ok(())
        }
    }

    /// Marks the number of an authenticated packet as received.
    ///
    /// # Errors
    /// As [`ReplayWindow::check`]: another packet may have come in between.
    pub fn commit(&mut self, sequence: u64) -> Result<Freshness, DropReason> {
        self.check(sequence)?;
        let freshness = if sequence > self.highest {
            let current = self.highest / WORD_BITS;
            let advance = (sequence / WORD_BITS - current).min(self.mask + 1);
            for step in 1..=advance {
                if let Some(word) = self.words.get_mut(((current + step) & self.mask) as usize) {
                    *word = 0;
                }
            }
            self.highest = sequence;
            Freshness::Highest
        } else {
            Freshness::Late
        };
        if let Some(word) = self.words.get_mut(((sequence / WORD_BITS) & self.mask) as usize) {
            *word |= bit(sequence);
        }
        Ok(freshness)
    }

    fn word(&self, sequence: u64) -> u64 {
        self.words.get(((sequence / WORD_BITS) & self.mask) as usize).copied().unwrap_or(u64::MAX)
    }
}

fn bit(sequence: u64) -> u64 {
    1 << (sequence % WORD_BITS)
}

#[cfg(test)]
#[path = "replay/tests.rs"]
mod tests;
