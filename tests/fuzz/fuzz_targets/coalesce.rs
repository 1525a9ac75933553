//! Packets from the tunnel, to be merged: the first octet chooses slots and offers, then each packet with two
//! octets of length before it, whose upper bits ask for checksums to be made right, the packet before to be
//! followed up and a flush. What is merged splits into what was pushed, and no flow is reordered.
#![no_main]

use libfuzzer_sys::fuzz_target;
use skybridge::dataplane::batch::Offload;
use skybridge::dataplane::coalesce::{Coalescer, Merged};
use skybridge::dataplane::device::{Offers, TUN_HEADROOM};
use skybridge::dataplane::segment::Segments;
use skybridge::wire::ip::{Fragment, InnerPacket, checksum, protocol};

const REPAIR: u16 = 0x8000;
const FOLLOW: u16 = 0x4000;
const FLUSH: u16 = 0x2000;

fuzz_target!(|octets: &[u8]| {
    let Some((&choice, mut rest)) = octets.split_first() else { return };
    let offers = Offers { tcp: choice & 1 != 0, udp: choice & 2 != 0 };
    let mut coalescer = Coalescer::new(usize::from(choice >> 2 & 3), offers);
    let (mut pushed, mut seen): (Vec<Vec<u8>>, Vec<Vec<u8>>) = (vec![], vec![]);
    while let Some((head, after)) = rest.split_first_chunk::<2>() {
        let head = u16::from_be_bytes(*head);
        let (given, after) = after.split_at(after.len().min(usize::from(head & 0x3ff)));
        rest = after;
        let mut packet = given.to_vec();
        if head & FOLLOW != 0
            && let Some(last) = pushed.last()
        {
            packet = follow(last);
        }
        if head & REPAIR != 0 {
            checksum::fill_ipv4_header(&mut packet);
            checksum::fill_transport(&mut packet);
        }
        let mut buffer = [&[0; TUN_HEADROOM][..], &packet].concat();
        pushed.push(packet);
        coalescer.push(&mut buffer, 0, &mut |merged| take(&mut seen, &merged));
        if head & FLUSH != 0 {
            coalescer.flush(&mut |merged| take(&mut seen, &merged));
        }
    }
    coalescer.flush(&mut |merged| take(&mut seen, &merged));
    // Stable: the packets of a flow keep their order.
    pushed.sort_by_key(|packet| flow(packet));
    seen.sort_by_key(|packet| flow(packet));
    let comparable = |packets: Vec<Vec<u8>>| packets.into_iter().map(comparable).collect::<Vec<_>>();
    assert_eq!(comparable(seen), comparable(pushed));
});

fn take(seen: &mut Vec<Vec<u8>>, merged: &Merged<'_>) {
    let octets = &merged.buffer[TUN_HEADROOM..];
    if merged.packets == 1 {
        assert_eq!(merged.offload, Offload::default());
        return seen.push(octets.to_vec());
    }
    let segments = Segments::parse(octets, merged.offload).expect("what is merged can be cut");
    assert_eq!(segments.count(), merged.packets as usize);
    for index in 0..segments.count() {
        let mut packet = vec![0; segments.packet_len(index)];
        segments.write(index, &mut packet);
        seen.push(packet);
    }
}

/// The packet that would come next in its flow.
fn follow(packet: &[u8]) -> Vec<u8> {
    let mut next = packet.to_vec();
    let Ok(view) = InnerPacket::parse(packet) else { return next };
    if view.src.is_ipv4() {
        let id = u16::from_be_bytes([next[4], next[5]]).wrapping_add(1);
        next[4..6].copy_from_slice(&id.to_be_bytes());
    }
    let at = view.header_len;
    if view.protocol == protocol::TCP && view.fragment == Fragment::Whole && view.total_len >= at + 20 {
        let headers = at + usize::from(packet[at + 12] >> 4) * 4;
        let payload = view.total_len.saturating_sub(headers) as u32;
        let field = next[at + 4..].first_chunk_mut::<4>().expect("a TCP header");
        *field = u32::from_be_bytes(*field).wrapping_add(payload).to_be_bytes();
    }
    next
}

/// Where a packet must keep its place: its flow, or what lies between its addresses.
fn flow(packet: &[u8]) -> Vec<u8> {
    let Ok(view) = InnerPacket::parse(packet) else { return packet.to_vec() };
    let plain = if view.src.is_ipv4() { 20 } else { 40 };
    let whole = view.fragment == Fragment::Whole && view.header_len == plain;
    if whole && matches!(view.protocol, protocol::TCP | protocol::UDP) {
        return format!("{} {} {} {:?}", view.src, view.dst, view.protocol, view.ports).into_bytes();
    }
    packet.to_vec()
}

/// Without the identification of packets that can never be fragmented, which may change.
fn comparable(mut packet: Vec<u8>) -> Vec<u8> {
    if let [0x45, _, _, _, id_0, id_1, 0x40, 0, _, 6 | 17, sum_0, sum_1, ..] = &mut packet[..] {
        [*id_0, *id_1, *sum_0, *sum_1] = [0; 4];
    }
    packet
}
