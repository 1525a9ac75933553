//! TCP: the header's fixed part, and the maximum segment size that SYN and SYN-ACK announce
//! ([RFC 9293 section 3.7.1](https://www.rfc-editor.org/rfc/rfc9293#section-3.7.1)).

use super::{Fragment, InnerPacket, IpVersion, checksum, protocol};

/// Octets of a header without options.
pub const HEADER_LEN: usize = 20;

/// The flags SYN and RST.
pub const BEGINS_OR_RESETS: u8 = 0x06;

const SYN: u8 = 0x02;
const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
const OPTION_MSS: u8 = 2;

/// How the TCP checksum of a packet stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChecksumState {
    /// Complete; an edit adjusts it.
    Complete,
    /// Only the pseudo-header is summed, the rest is left to offloading; an edit leaves it alone.
    Partial,
}

/// The flags octet (CWR, ECE, URG, ACK, PSH, RST, SYN, FIN from the high bit down) of a TCP packet;
/// `None` if it is another protocol, a later fragment, or cut off.
pub fn flags(packet: &[u8], view: &InnerPacket) -> Option<u8> {
    if view.protocol != protocol::TCP || matches!(view.fragment, Fragment::Later(_)) {
        return None;
    }
    packet.get(view.header_len..view.total_len)?.get(13).copied()
}

/// Whether a packet is a SYN or SYN-ACK.
pub fn is_syn(packet: &[u8], view: &InnerPacket) -> bool {
    flags(packet, view).is_some_and(|flags| flags & SYN != 0)
}

/// Lowers the MSS that a SYN or SYN-ACK announces to `mss` if it is higher, checksum included. Returns
/// whether the packet was changed. A packet without the option is left alone.
pub fn clamp_mss(packet: &mut [u8], mss: u16) -> bool {
    clamp_mss_with(packet, mss, ChecksumState::Complete)
}

/// [`clamp_mss`] for a packet whose checksum may have been left to offloading.
pub fn clamp_mss_with(packet: &mut [u8], mss: u16, state: ChecksumState) -> bool {
    let Ok(view) = InnerPacket::parse(packet) else { return false };
    if flags(packet, &view).is_none_or(|flags| flags & SYN == 0) {
        return false;
    }
    let Some(segment) = packet.get_mut(view.header_len..view.total_len) else { return false };
    let Some(at) = find_mss(segment) else { return false };
    let Some(field) = segment.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<2>()) else {
        return false;
    };
    let old = u16::from_be_bytes(*field);
    if old <= mss {
        return false;
    }
    *field = mss.to_be_bytes();
    if state == ChecksumState::Complete
        && let Some(sum) = segment.get_mut(16..).and_then(|rest| rest.first_chunk_mut::<2>())
    {
        // At an odd offset the value straddles two words; swapping its octets gives the same sum.
        let align = |value: u16| if at % 2 == 0 { value } else { value.swap_bytes() };
        *sum = checksum::update(u16::from_be_bytes(*sum), align(old), align(mss)).to_be_bytes();
    }
    true
}

/// The MSS for packets of at most `mtu` octets without IP and TCP options
/// ([RFC 6691](https://www.rfc-editor.org/rfc/rfc6691#section-2)).
pub fn mss_for_mtu(version: IpVersion, mtu: u16) -> u16 {
    match version {
        IpVersion::V4 => mtu.saturating_sub(40),
        IpVersion::V6 => mtu.saturating_sub(60),
    }
}

/// The offset of the MSS option's value in a segment.
fn find_mss(segment: &[u8]) -> Option<usize> {
    let header_len = usize::from(segment.get(12)? >> 4) * 4;
    let header = segment.get(..header_len)?;
    let mut at = HEADER_LEN;
    loop {
        match *header.get(at..)? {
            [OPTION_END, ..] => return None,
            [OPTION_NOP, ..] => at += 1,
            [OPTION_MSS, 4, _, _, ..] => return Some(at + 2),
            [_, len, ..] if len >= 2 => at += usize::from(len),
            _ => return None,
        }
    }
}
