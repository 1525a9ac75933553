//! The sending half of a Child SA: reserves sequence numbers and seals packets.

use std::{
    fmt,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use super::{
    ChildId, DropReason, Limits, Path, PathState, SaCounters, Treatment, layout::Layout, mtu::inner_mtu,
};
use crate::{
    crypto::{CipherKey, CryptoError, DirectionKeys, EspSuite},
    wire::esp::{EspHeader, write_trailer},
};

/// What an outbound SA is made of.
#[derive(Debug)]
pub struct OutboundConfig<'a> {
    /// The Child SA it belongs to.
    pub child: ChildId,
    /// The peer's SPI.
    pub spi: u32,
    /// The suite.
    pub suite: EspSuite,
    /// The keys of this direction.
    pub keys: &'a DirectionKeys,
    /// Where the packets go.
    pub path: Arc<Path>,
    /// How much it may carry.
    pub limits: Limits,
    /// What else is done to the packets.
    pub treatment: Treatment,
}

/// Sequence numbers that belong to one caller alone, and what reserving them brought about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// The numbers, one a packet.
    pub sequences: Range<u64>,
    /// Whether this reservation reached the soft limit: true once in an SA's life.
    pub soft_limit: bool,
}

/// The sending half of a Child SA. Shared between snapshots and workers; its state is atomic.
pub struct OutboundSa {
    child: ChildId,
    spi: u32,
    suite: EspSuite,
    layout: Layout,
    key: CipherKey,
    path: Arc<Path>,
    limits: Limits,
    treatment: Treatment,
    next_sequence: AtomicU64,
    reserved_octets: AtomicU64,
    soft_reported: AtomicBool,
    hard_reported: AtomicBool,
    counters: SaCounters,
}

impl OutboundSa {
    /// An SA that has sent nothing.
    ///
    /// # Errors
    /// If the keys do not fit the suite.
    pub fn new(config: OutboundConfig<'_>) -> Result<Self, CryptoError> {
        Ok(Self {
            child: config.child,
            spi: config.spi,
            suite: config.suite,
            layout: Layout::of(&config.suite),
            key: config.keys.cipher(&config.suite)?,
            path: config.path,
            limits: config.limits,
            treatment: config.treatment,
            next_sequence: AtomicU64::new(1),
            reserved_octets: AtomicU64::new(0),
            soft_reported: AtomicBool::new(false),
            hard_reported: AtomicBool::new(false),
            counters: SaCounters::default(),
        })
    }

    /// The same SA after `last_sequence` was used, as when it is taken over with its keys.
    #[must_use]
    pub fn continuing(mut self, last_sequence: u64) -> Self {
        self.next_sequence = AtomicU64::new(last_sequence.saturating_add(1));
        self
    }

    /// The Child SA it belongs to.
    pub fn child(&self) -> ChildId {
        self.child
    }

    /// The peer's SPI.
    pub fn spi(&self) -> u32 {
        self.spi
    }

    /// The suite.
    pub fn suite(&self) -> &EspSuite {
        &self.suite
    }

    /// Where the packets go.
    pub fn path(&self) -> &Arc<Path> {
        &self.path
    }

    /// What it has carried.
    pub fn counters(&self) -> &SaCounters {
        &self.counters
    }

    /// The last sequence number handed out, 0 before the first.
    pub fn last_sequence(&self) -> u64 {
        self.next_sequence.load(Relaxed).saturating_sub(1)
    }

    /// What else is done to the packets.
    pub fn treatment(&self) -> &Treatment {
        &self.treatment
    }

    /// The largest inner packet that goes through now.
    pub fn inner_mtu(&self) -> u16 {
        self.inner_mtu_over(&self.path.get())
    }

    /// The largest inner packet that goes through over a path in this state.
    pub fn inner_mtu_over(&self, path: &PathState) -> u16 {
        self.treatment.bound(inner_mtu(path.outer_mtu, &self.suite, path.remote.is_ipv6()))
    }

    /// The length of the ESP packet around `inner_len` octets.
    pub fn sealed_len(&self, inner_len: usize) -> usize {
        self.layout.sealed_len(inner_len)
    }

    /// Whether [`OutboundSa::seal`] uses the random octets it is given (CBC) or not (AEAD).
    pub fn needs_random_iv(&self) -> bool {
        !self.layout.aead
    }

    /// Reserves sequence numbers for `packets` packets of `octets` inner octets together. Either all are
    /// reserved or none; a number is never handed out twice and never past the hard limit.
    ///
    /// # Errors
    /// [`DropReason::OutboundHardLimit`] if the SA may not carry as much.
    pub fn reserve(&self, packets: u64, octets: u64) -> Result<Reservation, DropReason> {
        let last = self.limits.last_sequence(self.suite.esn);
        let hard_octets = self.limits.hard_octets.unwrap_or(u64::MAX);
        let before = self
            .reserved_octets
            .fetch_update(Relaxed, Relaxed, |used| used.checked_add(octets).filter(|sum| *sum <= hard_octets))
            .map_err(|_| DropReason::OutboundHardLimit)?;
        let first = self
            .next_sequence
            .fetch_update(Relaxed, Relaxed, |next| next.checked_add(packets).filter(|end| *end - 1 <= last))
            .map_err(|_| {
                self.reserved_octets.fetch_sub(octets, Relaxed);
                DropReason::OutboundHardLimit
            })?;
        let sequences = first..first + packets;
        let soft = self.limits.soft_reached(self.suite.esn, sequences.end - 1, before + octets);
        Ok(Reservation { sequences, soft_limit: soft && !self.soft_reported.swap(true, Relaxed) })
    }

    /// True once in an SA's life: the first time it is asked after a hard limit was met.
    pub fn first_hard_limit(&self) -> bool {
        !self.hard_reported.swap(true, Relaxed)
    }

    /// Makes the limits reportable again, after a report was lost.
    pub fn report_again(&self) {
        self.soft_reported.store(false, Relaxed);
        self.hard_reported.store(false, Relaxed);
    }

    /// Seals `inner` as an ESP packet at the start of `out`, counts it, and gives its length: see
    /// [`OutboundSa::seal_with`]. `now` is in milliseconds of the caller's clock.
    ///
    /// # Errors
    /// Those of [`OutboundSa::seal_with`].
    pub fn seal(
        &self,
        sequence: u64,
        next_header: u8,
        inner: &[u8],
        random: &[u8; 16],
        now: u64,
        out: &mut [u8],
    ) -> Result<usize, DropReason> {
        let total = self.seal_with(sequence, next_header, inner.len(), random, out, |room| {
            room.copy_from_slice(inner);
        })?;
        self.count_sealed(1, inner.len() as u64, now);
        Ok(total)
    }

    /// Writes an ESP packet around `inner_len` octets at the start of `out`, seals it there and gives its
    /// length. `write` fills the inner packet's place, which holds anything before. Nothing is counted:
    /// call [`OutboundSa::count_sealed`] once for a whole batch.
    ///
    /// ```text
    /// SPI | sequence | IV | inner_len octets by `write` | padding, pad length, next header | ICV
    /// ```
    ///
    /// `sequence` comes from [`OutboundSa::reserve`] and must be used once. For an AEAD it is the IV as
    /// well ([RFC 4106 section 3.1](https://www.rfc-editor.org/rfc/rfc4106#section-3.1)); for CBC the IV is
    /// `random`, which must be unpredictable.
    ///
    /// # Errors
    /// [`DropReason::SealFailed`] if `out` is shorter than [`OutboundSa::sealed_len`] or the cipher refuses.
    #[inline]
    pub fn seal_with(
        &self,
        sequence: u64,
        next_header: u8,
        inner_len: usize,
        random: &[u8; 16],
        out: &mut [u8],
        write: impl FnOnce(&mut [u8]),
    ) -> Result<usize, DropReason> {
        let total = self.layout.sealed_len(inner_len);
        let packet = out.get_mut(..total).ok_or(DropReason::SealFailed)?;
        let parts = self.layout.cut(packet).ok_or(DropReason::SealFailed)?;
        *parts.header = EspHeader { spi: self.spi, sequence: low(sequence) }.to_octets();
        let counter = sequence.to_be_bytes();
        let iv: &[u8] = if self.layout.aead { &counter } else { random };
        parts.iv.copy_from_slice(iv);
        let (body, trailer) = parts.data.split_at_mut_checked(inner_len).ok_or(DropReason::SealFailed)?;
        write(body);
        if !write_trailer(trailer, next_header) {
            return Err(DropReason::SealFailed);
        }
        let auth = self.layout.authenticated(self.spi, sequence);
        self.key
            .seal(iv, auth.aad(), auth.trailer(), parts.data, parts.icv)
            .map_err(|_| DropReason::SealFailed)?;
        Ok(total)
    }

    /// Counts what [`OutboundSa::seal_with`] sealed: `octets` are those of the inner packets together.
    pub fn count_sealed(&self, packets: u64, octets: u64, now: u64) {
        self.counters.carried(packets, octets, now);
    }
}

impl fmt::Debug for OutboundSa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboundSa")
            .field("child", &self.child)
            .field("spi", &format_args!("{:08x}", self.spi))
            .field("suite", &format_args!("{}", self.suite))
            .field("path", &self.path.get())
            .field("last_sequence", &self.last_sequence())
            .finish_non_exhaustive()
    }
}

fn low(sequence: u64) -> u32 {
    (sequence & 0xffff_ffff) as u32
}

#[cfg(test)]
#[path = "outbound/tests.rs"]
mod tests;
