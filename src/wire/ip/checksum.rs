//! The Internet checksum: in full ([RFC 1071](https://www.rfc-editor.org/rfc/rfc1071)) and by difference
//! ([RFC 1624](https://www.rfc-editor.org/rfc/rfc1624)).

use std::net::IpAddr;

use super::{Fragment, InnerPacket, protocol};

/// A ones' complement sum being gathered. Every part added but the last must have an even length.
///
/// It is a sum of words in this machine's order, which the ones' complement sum does not depend on: the
/// octets of the result are swapped where those of the words were.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sum(u64);

impl Sum {
    /// Nothing summed.
    pub fn new() -> Self {
        Self(0)
    }

    /// Adds octets; an odd last one counts as the high half of a word.
    #[must_use]
    #[inline]
    pub fn plus(self, octets: &[u8]) -> Self {
        self.plus_native(sum_native(octets))
    }

    /// Adds a word.
    #[must_use]
    #[inline]
    pub fn plus_word(self, word: u16) -> Self {
        self.plus_native(u64::from(word.to_be()))
    }

    /// Adds words of 8 octets, each read in this machine's order.
    #[must_use]
    #[inline]
    pub fn plus_words<const N: usize>(self, words: [u64; N]) -> Self {
        words.into_iter().fold(self, Self::plus_native)
    }

    /// Adds another sum.
    #[must_use]
    #[inline]
    pub fn plus_sum(self, other: Self) -> Self {
        self.plus_native(other.0)
    }

    #[inline]
    fn plus_native(self, other: u64) -> Self {
        let (sum, carry) = self.0.overflowing_add(other);
        Self(sum + u64::from(carry))
    }

    /// Adds the pseudo-header of TCP, UDP or ICMPv6.
    #[must_use]
    pub fn plus_pseudo_header(self, src: IpAddr, dst: IpAddr, protocol: u8, len: u32) -> Self {
        let addresses = match (src, dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => self.plus(&src.octets()).plus(&dst.octets()),
            (IpAddr::V6(src), IpAddr::V6(dst)) => self.plus(&src.octets()).plus(&dst.octets()),
            _ => self,
        };
        addresses.plus(&len.to_be_bytes()).plus(&[0, protocol])
    }

    /// The sum in 16 bits, not complemented.
    #[inline]
    pub fn folded(self) -> u16 {
        let sum = (self.0 & 0xffff_ffff) + (self.0 >> 32);
        let sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        u16::from_be(sum as u16)
    }

    /// The checksum: the complement of the sum.
    #[inline]
    pub fn finish(self) -> u16 {
        !self.folded()
    }
}

/// Words of 8 octets, each cut in halves so that nothing carries: the lower halves' sum is what the whole
/// words' sum lacks of the upper ones'. This is the form that compilers turn into vector code of any width.
#[inline]
fn sum_native(octets: &[u8]) -> u64 {
    let (words, rest) = octets.as_chunks::<8>();
    let (mut whole, mut upper) = (0u64, 0u64);
    for word in words {
        let word = u64::from_ne_bytes(*word);
        whole = whole.wrapping_add(word);
        upper = upper.wrapping_add(word >> 32);
    }
    let mut sum = whole.wrapping_sub(upper << 32).wrapping_add(upper);
    let (words, rest) = rest.as_chunks::<4>();
    for word in words {
        sum = sum.wrapping_add(u64::from(u32::from_ne_bytes(*word)));
    }
    let (words, rest) = rest.as_chunks::<2>();
    for word in words {
        sum = sum.wrapping_add(u64::from(u16::from_ne_bytes(*word)));
    }
    match rest {
        [last] => sum.wrapping_add(u64::from(u16::from_ne_bytes([*last, 0]))),
        _ => sum,
    }
}

/// The checksum of `octets`; zero over octets that hold their correct checksum.
pub fn checksum(octets: &[u8]) -> u16 {
    Sum::new().plus(octets).finish()
}

/// `checksum` after the word `old` that it covers became `new`
/// ([RFC 1624 section 3](https://www.rfc-editor.org/rfc/rfc1624#section-3), equation 3). UDP's zero,
/// "no checksum", is the caller's to leave alone.
pub fn update(checksum: u16, old: u16, new: u16) -> u16 {
    let mut sum = u32::from(!checksum) + u32::from(!old) + u32::from(new);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}

/// Fills in the checksum of an IPv4 header; does nothing if `packet` does not start with a whole one.
pub fn fill_ipv4_header(packet: &mut [u8]) {
    let len = ipv4_header_len(packet);
    let Some(header) = packet.get_mut(..len) else { return };
    put(header, 10, 0);
    let sum = checksum(header);
    put(header, 10, sum);
}

/// Whether the checksum of the IPv4 header at the start of `packet` is right.
pub fn ipv4_header_is_valid(packet: &[u8]) -> bool {
    let len = ipv4_header_len(packet);
    packet.get(..len).is_some_and(|header| len >= 20 && checksum(header) == 0)
}

fn ipv4_header_len(packet: &[u8]) -> usize {
    match packet.first() {
        Some(first) if first >> 4 == 4 => usize::from(first & 0x0f) * 4,
        _ => 0,
    }
}

/// Fills in the TCP, UDP, ICMP or ICMPv6 checksum of a packet that is not a fragment. Returns whether
/// there was one to fill in.
pub fn fill_transport(packet: &mut [u8]) -> bool {
    let Some((view, at)) = transport_checksum(packet) else { return false };
    let Some(upper) = packet.get_mut(view.header_len..view.total_len) else { return false };
    put(upper, at, 0);
    let sum = transport_sum(&view, upper).finish();
    put(upper, at, if sum == 0 && view.protocol == protocol::UDP { 0xffff } else { sum });
    true
}

/// Whether the TCP, UDP, ICMP or ICMPv6 checksum of a packet that is not a fragment is right; `None`
/// where there is none to verify, as with IPv4 UDP's zero.
pub fn transport_is_valid(packet: &[u8]) -> Option<bool> {
    let (view, at) = transport_checksum(packet)?;
    let upper = packet.get(view.header_len..view.total_len)?;
    if view.protocol == protocol::UDP && view.src.is_ipv4() && upper.get(at..at + 2)? == [0, 0] {
        return None;
    }
    Some(transport_sum(&view, upper).finish() == 0)
}

/// Completes a checksum left to offloading: the field, `offset` octets after `start`, holds the
/// pseudo-header's sum, and the checksum covers everything from `start`. Returns false, with the
/// packet untouched, if they do not lie within it.
#[must_use]
pub fn complete_partial(packet: &mut [u8], start: usize, offset: usize) -> bool {
    let Some(covered) = packet.get_mut(start..) else { return false };
    if offset.checked_add(2).is_none_or(|end| end > covered.len()) {
        return false;
    }
    let sum = checksum(covered);
    put(covered, offset, if sum == 0 { 0xffff } else { sum });
    true
}

/// Copies `from` to `to`, which must be of the same length, and sums it. Nothing is done otherwise.
///
/// One after the other is as fast as both in one loop, which copies in smaller pieces.
#[inline]
pub fn copy_and_sum(from: &[u8], to: &mut [u8]) -> Sum {
    if from.len() != to.len() {
        return Sum::new();
    }
    let sum = Sum::new().plus(from);
    to.copy_from_slice(from);
    sum
}

fn transport_checksum(packet: &[u8]) -> Option<(InnerPacket, usize)> {
    let view = InnerPacket::parse(packet).ok()?;
    let at = match (view.fragment, view.protocol) {
        (Fragment::Whole, protocol::TCP) => 16,
        (Fragment::Whole, protocol::UDP) => 6,
        (Fragment::Whole, protocol::ICMP) if view.src.is_ipv4() => 2,
        (Fragment::Whole, protocol::ICMPV6) if view.src.is_ipv6() => 2,
        _ => return None,
    };
    (view.total_len - view.header_len >= at + 2).then_some((view, at))
}

fn transport_sum(view: &InnerPacket, upper: &[u8]) -> Sum {
    let sum = match view.protocol {
        protocol::ICMP => Sum::new(),
        _ => Sum::new().plus_pseudo_header(view.src, view.dst, view.protocol, upper.len() as u32),
    };
    sum.plus(upper)
}

fn put(octets: &mut [u8], at: usize, value: u16) {
    if let Some(field) = octets.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<2>()) {
        *field = value.to_be_bytes();
    }
}
