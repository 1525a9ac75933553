//! Fragmentation of IPv4 packets before encryption
//! ([RFC 791 section 2.3](https://www.rfc-editor.org/rfc/rfc791#section-2.3)).

use crate::wire::ip::{InnerPacket, IpVersion, checksum};

const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET_MASK: u16 = 0x1fff;
const MIN_HEADER_LEN: usize = 20;

/// Cuts the packet into fragments of at most `mtu` octets and gives each to `emit`. A packet that is a
/// fragment itself is cut further. Returns false, with nothing emitted, if the packet is not IPv4 or the MTU
/// leaves no room.
pub(super) fn fragment(
    packet: &[u8],
    view: &InnerPacket,
    mtu: usize,
    scratch: &mut Vec<u8>,
    mut emit: impl FnMut(&mut [u8]),
) -> bool {
    let header_len = packet.first().map_or(0, |first| usize::from(first & 0xf) * 4);
    let room = mtu.saturating_sub(header_len) / 8 * 8;
    let (Some(header), Some(payload), Some(&[.., high, low])) =
        (packet.get(..header_len), packet.get(header_len..view.total_len), packet.first_chunk::<8>())
    else {
        return false;
    };
    if view.version != IpVersion::V4 || room == 0 || header_len < MIN_HEADER_LEN {
        return false;
    }
    let field = u16::from_be_bytes([high, low]);
    let chunks = payload.len().div_ceil(room);
    for (index, chunk) in payload.chunks(room).enumerate() {
        let last = index + 1 == chunks;
        let offset = (field & OFFSET_MASK) + (index * room / 8) as u16;
        let more = if last { field & MORE_FRAGMENTS } else { MORE_FRAGMENTS };
        scratch.clear();
        if index == 0 {
            scratch.extend_from_slice(header);
        } else {
            copied_header(header, scratch);
        }
        let total_len = (scratch.len() + chunk.len()) as u16;
        scratch.extend_from_slice(chunk);
        if let Some(fields) = scratch.first_chunk_mut::<8>() {
            [fields[2], fields[3]] = total_len.to_be_bytes();
            [fields[6], fields[7]] = (more | offset & OFFSET_MASK).to_be_bytes();
        }
        checksum::fill_ipv4_header(scratch);
        emit(scratch);
    }
    true
}

/// The header of a later fragment: only options with the copy flag are in it, padded with end-of-list.
fn copied_header(header: &[u8], out: &mut Vec<u8>) {
    let (fixed, mut options) = header.split_at_checked(MIN_HEADER_LEN).unwrap_or((header, &[]));
    out.extend_from_slice(fixed);
    while let [kind, after @ ..] = options {
        let len = match (kind, after) {
            (0, _) => break,
            (1, _) => 1,
            (_, [len, ..]) if usize::from(*len) >= 2 => usize::from(*len),
            _ => break,
        };
        let Some((option, rest)) = options.split_at_checked(len) else { break };
        if kind & 0x80 != 0 {
            out.extend_from_slice(option);
        }
        options = rest;
    }
    while !out.len().is_multiple_of(4) {
        out.push(0);
    }
    let words = (out.len() / 4) as u8;
    if let Some(first) = out.first_mut() {
        *first = 0x40 | words;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(options: &[u8], payload: usize, flags_and_offset: u16) -> Vec<u8> {
        let header_len = 20 + options.len();
        let mut packet = vec![
            0x40 | (header_len / 4) as u8,
            0,
            0,
            0,
            0xab,
            0xcd,
            0,
            0,
            64,
            17,
            0,
            0,
            10,
            0,
            0,
            1,
            10,
            0,
            0,
            2,
        ];
        packet.extend_from_slice(options);
        packet.extend((0..payload).map(|n| n as u8));
        let len = packet.len() as u16;
        packet[2..4].copy_from_slice(&len.to_be_bytes());
        packet[6..8].copy_from_slice(&flags_and_offset.to_be_bytes());
        checksum::fill_ipv4_header(&mut packet);
        packet
    }

    fn cut(packet: &[u8], mtu: usize) -> Vec<Vec<u8>> {
        let mut fragments = Vec::new();
        let view = InnerPacket::parse(packet).unwrap();
        assert!(fragment(packet, &view, mtu, &mut Vec::new(), |octets| fragments.push(octets.to_vec())));
        fragments
    }

    /// Puts fragments together again as a receiver does.
    fn join(fragments: &[Vec<u8>]) -> Vec<u8> {
        let mut payload = vec![];
        for fragment in fragments {
            assert!(checksum::ipv4_header_is_valid(fragment));
            let header_len = usize::from(fragment[0] & 0xf) * 4;
            let field = u16::from_be_bytes([fragment[6], fragment[7]]);
            let offset = usize::from(field & OFFSET_MASK) * 8;
            assert_eq!(usize::from(u16::from_be_bytes([fragment[2], fragment[3]])), fragment.len());
            payload.resize(payload.len().max(offset + fragment.len() - header_len), 0);
            payload[offset..offset + fragment.len() - header_len].copy_from_slice(&fragment[header_len..]);
        }
        payload
    }

    #[test]
    fn fragments_fit_and_join_to_the_packet() {
        for payload in [8usize, 100, 1_400, 4_000] {
            for mtu in [68usize, 577, 1_438] {
                let whole = packet(&[], payload, 0);
                let fragments = cut(&whole, mtu);
                assert!(fragments.iter().all(|fragment| fragment.len() <= mtu));
                assert_eq!(join(&fragments), whole[20..]);
                let more: Vec<_> = fragments.iter().map(|fragment| fragment[6] & 0x20 != 0).collect();
                assert_eq!(more.iter().filter(|more| !**more).count(), 1);
                assert_eq!(more.last(), Some(&false));
            }
        }
    }

    #[test]
    fn a_fragment_in_the_middle_stays_one_and_keeps_its_place() {
        let middle = packet(&[], 96, MORE_FRAGMENTS | 10);
        let fragments = cut(&middle, 68);
        let fields: Vec<_> =
            fragments.iter().map(|fragment| u16::from_be_bytes([fragment[6], fragment[7]])).collect();
        assert_eq!(fields, [MORE_FRAGMENTS | 10, MORE_FRAGMENTS | 16]);
    }

    #[test]
    fn only_options_with_the_copy_flag_are_in_later_fragments() {
        // Record route (7, not copied) and router alert (148, copied).
        let whole = packet(&[7, 7, 4, 0, 0, 0, 0, 1, 148, 4, 0, 0], 100, 0);
        let fragments = cut(&whole, 80);
        assert_eq!(fragments[0][..2], whole[..2]);
        assert_eq!(fragments[1][0], 0x46);
        assert_eq!(fragments[1][20..24], [148, 4, 0, 0]);
    }

    #[test]
    fn an_mtu_without_room_cuts_nothing() {
        let whole = packet(&[], 100, 0);
        let view = InnerPacket::parse(&whole).unwrap();
        assert!(!fragment(&whole, &view, 27, &mut Vec::new(), |_| panic!("no room")));
    }
}
