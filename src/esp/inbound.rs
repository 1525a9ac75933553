//! The receiving half of a Child SA: replay window, open, and every check that makes a packet acceptable.

use std::{
    fmt,
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use super::{
    ChildId, DropReason, Limits, Path, SaCounters, SaSelectors, Treatment, ecn,
    layout::Layout,
    mtu::inner_mtu,
    replay::{Freshness, ReplayWindow},
    summary::summarize,
};
use crate::{
    crypto::{CipherKey, CryptoError, DirectionKeys, EspSuite},
    policy::PacketSummary,
    wire::{
        esp::{HEADER_LEN, NEXT_HEADER_IPV4, NEXT_HEADER_IPV6, NEXT_HEADER_NONE, split_trailer},
        ip::{self, Ecn, Fragment, InnerPacket, IpVersion, protocol},
    },
};

/// What an inbound SA is made of.
#[derive(Debug)]
pub struct InboundConfig<'a> {
    /// The Child SA it belongs to.
    pub child: ChildId,
    /// Our SPI.
    pub spi: u32,
    /// The suite.
    pub suite: EspSuite,
    /// The keys of this direction.
    pub keys: &'a DirectionKeys,
    /// Where the peer's packets are expected from; the same as the outbound SA's.
    pub path: Arc<Path>,
    /// How much it may carry.
    pub limits: Limits,
    /// What the peer may send through it.
    pub selectors: SaSelectors,
    /// Packets in the replay window; see [`super::DEFAULT_REPLAY_WINDOW`].
    pub replay_window: u32,
    /// What else is done to the packets.
    pub treatment: Treatment,
}

/// What the checks found out about an inner packet, so that it need not be parsed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InnerFacts {
    /// IP version.
    pub version: IpVersion,
    /// The upper protocol; see [`InnerPacket::protocol`].
    pub protocol: u8,
    /// Octets before the upper protocol's header.
    pub header_len: u16,
    /// Whether it may be a SYN or SYN-ACK, whose segment size may have to be lowered.
    pub may_clamp: bool,
    /// Whether it is a TCP reset.
    pub reset: bool,
    /// Whether it is a fragment.
    pub fragment: bool,
}

impl InnerFacts {
    #[inline]
    fn new(packet: &InnerPacket, octets: &[u8]) -> Self {
        let fragment = packet.fragment != Fragment::Whole;
        let later = matches!(packet.fragment, Fragment::Later(_));
        let flags = if packet.protocol == protocol::TCP && !later {
            octets.get(packet.header_len + TCP_FLAGS).copied().unwrap_or(TCP_SYN)
        } else {
            0
        };
        Self {
            version: packet.version,
            protocol: packet.protocol,
            header_len: u16::try_from(packet.header_len).unwrap_or(u16::MAX),
            may_clamp: flags & TCP_SYN != 0,
            reset: flags & TCP_RST != 0,
            fragment,
        }
    }

    /// Whether it may be one of the packets that connections begin and fail with.
    #[inline]
    pub fn is_noteworthy(&self) -> bool {
        self.protocol != protocol::TCP || self.may_clamp || self.reset
    }
}

/// Where the flags lie in a TCP header, and those of them that are worth a look.
const TCP_FLAGS: usize = 13;
const TCP_SYN: u8 = 2;
const TCP_RST: u8 = 4;

/// Where the inner packet lies in an ESP packet, and what it is.
pub(super) struct Inside {
    pub(super) range: Range<usize>,
    pub(super) facts: InnerFacts,
}

/// The last packet that the selectors admitted.
pub(super) type Remembered = Option<PacketSummary>;

/// What was inside an authenticated packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Where the inner IP packet lies in the buffer given to [`InboundSa::open`]; `None` for a dummy.
    pub inner: Option<Range<usize>>,
    /// What the inner packet is; `None` for a dummy.
    pub facts: Option<InnerFacts>,
    /// The whole sequence number.
    pub sequence: u64,
    /// Whether the number is the highest so far: only then may the sender's address be believed.
    pub highest: bool,
    /// True for the first authenticated packet of the SA, once in its life.
    pub first: bool,
    /// True once in an SA's life: the soft limit was reached.
    pub soft_limit: bool,
}

/// A packet that was refused. What became known about it before stays useful: an authentic packet with a
/// bad inside is still a sign of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub reason: DropReason,
    /// Whether it was the peer's: authenticated and not a replay.
    pub authentic: bool,
}

/// The receiving half of a Child SA. Shared between snapshots and workers; its state is atomic but for the
/// replay window, which has a small lock of its own.
pub struct InboundSa {
    child: ChildId,
    spi: u32,
    suite: EspSuite,
    layout: Layout,
    key: CipherKey,
    path: Arc<Path>,
    limits: Limits,
    selectors: SaSelectors,
    treatment: Treatment,
    replay: Mutex<ReplayWindow>,
    accepted_packets: AtomicU64,
    accepted_octets: AtomicU64,
    first_seen: AtomicBool,
    soft_reported: AtomicBool,
    hard_reported: AtomicBool,
    counters: SaCounters,
}

impl InboundSa {
    /// An SA that has received nothing.
    ///
    /// # Errors
    /// If the keys do not fit the suite.
    pub fn new(config: InboundConfig<'_>) -> Result<Self, CryptoError> {
        Ok(Self {
            child: config.child,
            spi: config.spi,
            suite: config.suite,
            layout: Layout::of(&config.suite),
            key: config.keys.cipher(&config.suite)?,
            path: config.path,
            limits: config.limits,
            selectors: config.selectors,
            treatment: config.treatment,
            replay: Mutex::new(ReplayWindow::new(config.replay_window)),
            accepted_packets: AtomicU64::new(0),
            accepted_octets: AtomicU64::new(0),
            first_seen: AtomicBool::new(false),
            soft_reported: AtomicBool::new(false),
            hard_reported: AtomicBool::new(false),
            counters: SaCounters::default(),
        })
    }

    /// The same SA after `highest` was received, as when it is taken over with its keys. Nothing up to
    /// `highest` is accepted any more.
    #[must_use]
    pub fn continuing(self, highest: u64) -> Self {
        self.replay().continue_after(highest);
        self
    }

    /// The Child SA it belongs to.
    pub fn child(&self) -> ChildId {
        self.child
    }

    /// Our SPI.
    pub fn spi(&self) -> u32 {
        self.spi
    }

    /// The suite.
    pub fn suite(&self) -> &EspSuite {
        &self.suite
    }

    /// Where the peer's packets are expected from.
    pub fn path(&self) -> &Arc<Path> {
        &self.path
    }

    /// What it has carried.
    pub fn counters(&self) -> &SaCounters {
        &self.counters
    }

    /// The highest sequence number received and authenticated, 0 before the first.
    pub fn highest_sequence(&self) -> u64 {
        self.replay().highest()
    }

    /// What else is done to the packets.
    pub fn treatment(&self) -> &Treatment {
        &self.treatment
    }

    /// The inner MTU of the path, for MSS clamping.
    pub fn inner_mtu(&self) -> u16 {
        let path = self.path.get();
        self.treatment.bound(inner_mtu(path.outer_mtu, &self.suite, path.remote.is_ipv6()))
    }

    /// True once in an SA's life: the first time it is asked after a hard limit was met.
    pub fn first_hard_limit(&self) -> bool {
        !self.hard_reported.swap(true, Relaxed)
    }

    /// Makes the first packet and the limits reportable again, after a report was lost.
    pub fn report_again(&self) {
        self.first_seen.store(false, Relaxed);
        self.soft_reported.store(false, Relaxed);
        self.hard_reported.store(false, Relaxed);
    }

    /// Opens an ESP packet in place and checks what is inside.
    ///
    /// `packet` starts with our SPI and is overwritten; `outer_ecn` is the ECN field of the outer header;
    /// `now` is in milliseconds of the caller's clock. The order is that of
    /// [RFC 4303 section 3.4](https://www.rfc-editor.org/rfc/rfc4303#section-3.4): replay check,
    /// authentication, replay commit, padding, next header, inner packet, selectors. Traffic flow
    /// confidentiality padding behind the inner packet is accepted and cut. The ECN field of the inner
    /// packet is changed as RFC 6040 says.
    ///
    /// # Errors
    /// The one reason for which the packet is dropped; it is counted in [`InboundSa::counters`].
    pub fn open(&self, packet: &mut [u8], outer_ecn: Ecn, now: u64) -> Result<Opened, Refused> {
        let refuse = |reason, authentic| {
            self.counters.drops.add(reason);
            Refused { reason, authentic }
        };
        let sequence = self.authenticate(packet).map_err(|reason| refuse(reason, false))?;
        let freshness = self.replay().commit(sequence).map_err(|reason| refuse(reason, false))?;
        self.counters.used(now);
        let mut opened = Opened {
            inner: None,
            facts: None,
            sequence,
            highest: freshness == Freshness::Highest,
            first: self.is_first(),
            soft_limit: false,
        };
        match self.check_inside(packet, outer_ecn, &mut None) {
            Ok(Some(Inside { range, facts })) => {
                let octets = range.len() as u64;
                let before = self.accept(1, octets);
                opened.soft_limit = self
                    .judge_limits(before.0 + 1, before.1 + octets)
                    .map_err(|reason| refuse(reason, true))?;
                self.counters.carried(1, octets, now);
                (opened.inner, opened.facts) = (Some(range), Some(facts));
            }
            Ok(None) => self.counters.dummies_received(1),
            Err(reason) => {
                self.forget_first(opened.first);
                return Err(refuse(reason, true));
            }
        }
        Ok(opened)
    }

    /// Octets of an ESP packet before the inner packet.
    pub fn inner_start(&self) -> usize {
        self.layout.start()
    }

    /// Replay check and decryption; gives the sequence number.
    fn authenticate(&self, packet: &mut [u8]) -> Result<u64, DropReason> {
        let low = self.low_sequence(packet)?;
        let sequence = {
            let replay = self.replay();
            let sequence = if self.layout.esn { replay.recover(low)? } else { u64::from(low) };
            replay.check(sequence)?;
            sequence
        };
        self.decrypt_one(packet, sequence)?;
        Ok(sequence)
    }

    pub(super) fn is_esn(&self) -> bool {
        self.layout.esn
    }

    /// The low half of the sequence number of a packet whose length can be right.
    #[inline]
    pub(super) fn low_sequence(&self, packet: &[u8]) -> Result<u32, DropReason> {
        self.layout
            .ciphertext_in(packet.len())
            .and_then(|_| packet.first_chunk::<HEADER_LEN>())
            .map(|[_, _, _, _, a, b, c, d]| u32::from_be_bytes([*a, *b, *c, *d]))
            .ok_or(DropReason::CiphertextLength)
    }

    /// Opens a packet in place.
    #[inline]
    pub(super) fn decrypt_one(&self, packet: &mut [u8], sequence: u64) -> Result<(), DropReason> {
        let parts = self.layout.cut(packet).ok_or(DropReason::CiphertextLength)?;
        let auth = self.layout.authenticated(self.spi, sequence);
        self.key
            .open(parts.iv, auth.aad(), auth.trailer(), parts.data, parts.icv)
            .map_err(|_| DropReason::AuthenticationFailed)
    }

    /// Checks a decrypted packet; `None` for a dummy. Selectors that admitted the packet in `remembered`
    /// are not looked at again for one like it.
    #[inline]
    pub(super) fn check_inside(
        &self,
        packet: &mut [u8],
        outer_ecn: Ecn,
        remembered: &mut Remembered,
    ) -> Result<Option<Inside>, DropReason> {
        let start = self.layout.start();
        let end = packet.len().saturating_sub(self.layout.icv_len);
        let plaintext = packet.get_mut(start..end).ok_or(DropReason::BadPadding)?;
        let (payload, next_header) = split_trailer(plaintext).map_err(|_| DropReason::BadPadding)?;
        let version = match next_header {
            NEXT_HEADER_IPV4 => IpVersion::V4,
            NEXT_HEADER_IPV6 => IpVersion::V6,
            NEXT_HEADER_NONE => return Ok(None),
            _ => return Err(DropReason::UnknownNextHeader),
        };
        let parsed = InnerPacket::parse(payload).map_err(|_| DropReason::InnerMalformed)?;
        if parsed.version != version {
            return Err(DropReason::InnerMalformed);
        }
        let inner = plaintext.get_mut(..parsed.total_len).ok_or(DropReason::InnerMalformed)?;
        let summary = summarize(&parsed);
        if *remembered != Some(summary) {
            self.selectors.check_inbound(&parsed, inner)?;
            let plain = parsed.fragment == Fragment::Whole && parsed.icmp.is_none();
            *remembered = plain.then_some(summary);
        }
        let ecn = ecn::decapsulate(parsed.ecn, outer_ecn)?;
        if ecn != parsed.ecn {
            ip::set_ecn(inner, ecn);
        }
        let facts = InnerFacts::new(&parsed, inner);
        Ok(Some(Inside { range: start..start + parsed.total_len, facts }))
    }

    /// Whether nothing was received before; from now on something was.
    pub(super) fn is_first(&self) -> bool {
        !self.first_seen.load(Relaxed) && !self.first_seen.swap(true, Relaxed)
    }

    /// What was taken for the first packet was no good.
    pub(super) fn forget_first(&self, first: bool) {
        if first {
            self.first_seen.store(false, Relaxed);
        }
    }

    /// Counts accepted packets; gives the totals of packets and octets before them.
    pub(super) fn accept(&self, packets: u64, octets: u64) -> (u64, u64) {
        (self.accepted_packets.fetch_add(packets, Relaxed), self.accepted_octets.fetch_add(octets, Relaxed))
    }

    /// Whether a packet that makes these totals is within the limits, and whether the soft one is reached
    /// for the first time.
    pub(super) fn judge_limits(&self, packets: u64, octets: u64) -> Result<bool, DropReason> {
        if self.is_over_hard_limit(packets, octets) {
            return Err(DropReason::InboundHardLimit);
        }
        let soft = self.limits.soft_reached(self.layout.esn, packets, octets);
        Ok(soft && !self.soft_reported.swap(true, Relaxed))
    }

    /// Whether packets up to these totals have to be looked at one by one.
    pub(super) fn is_limit_near(&self, packets: u64, octets: u64) -> bool {
        self.is_over_hard_limit(packets, octets)
            || self.limits.soft_reached(self.layout.esn, packets, octets) && !self.soft_reported.load(Relaxed)
    }

    fn is_over_hard_limit(&self, packets: u64, octets: u64) -> bool {
        self.limits.hard_packets.is_some_and(|limit| packets > limit)
            || self.limits.hard_octets.is_some_and(|limit| octets > limit)
    }

    pub(super) fn replay(&self) -> MutexGuard<'_, ReplayWindow> {
        self.replay.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for InboundSa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InboundSa")
            .field("child", &self.child)
            .field("spi", &format_args!("{:08x}", self.spi))
            .field("suite", &format_args!("{}", self.suite))
            .field("path", &self.path.get())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "inbound/tests.rs"]
mod tests;
