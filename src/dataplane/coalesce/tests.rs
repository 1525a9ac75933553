//! Whatever is merged splits into what was pushed.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::{
    dataplane::segment::tests::{Sample, samples, split},
    wire::ip::checksum,
};

const ALL: Offers = Offers { tcp: true, udp: true };

/// An emitted packet.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    octets: Vec<u8>,
    offload: Offload,
    packets: u32,
    tag: u32,
}

impl Seen {
    fn packets(&self) -> Vec<Vec<u8>> {
        let packets = match self.packets {
            1 => {
                assert_eq!(self.offload, Offload::default());
                vec![self.octets.clone()]
            }
            _ => split(&self.octets, self.offload),
        };
        assert_eq!(packets.len(), self.packets as usize);
        packets
    }
}

struct Under {
    coalescer: Coalescer,
    seen: Vec<Seen>,
}

impl Under {
    fn new(flows: usize, offers: Offers) -> Self {
        Self { coalescer: Coalescer::new(flows, offers), seen: vec![] }
    }

    fn push(&mut self, packet: &[u8], tag: u32) {
        let mut buffer = [&[0xee; TUN_HEADROOM][..], packet].concat();
        let seen = &mut self.seen;
        self.coalescer.push(&mut buffer, tag, &mut |merged| take(seen, merged));
    }

    fn flush(&mut self) {
        let seen = &mut self.seen;
        self.coalescer.flush(&mut |merged| take(seen, merged));
    }

    fn packets(&self) -> Vec<Vec<u8>> {
        self.seen.iter().flat_map(Seen::packets).collect()
    }

    fn counts(&self) -> Vec<u32> {
        self.seen.iter().map(|seen| seen.packets).collect()
    }
}

fn take(seen: &mut Vec<Seen>, merged: Merged<'_>) {
    let octets = merged.buffer[TUN_HEADROOM..].to_vec();
    // A device writes its header there.
    merged.buffer[..TUN_HEADROOM].fill(0xdd);
    seen.push(Seen { octets, offload: merged.offload, packets: merged.packets, tag: merged.tag });
}

/// What becomes of these packets in this order.
fn run(packets: &[Vec<u8>]) -> Under {
    let mut under = Under::new(4, ALL);
    for packet in packets {
        under.push(packet, 0);
    }
    under.flush();
    assert_eq!(under.packets(), packets);
    under
}

fn mergeable(sample: Sample) -> Sample {
    let flags = sample.flags & 0x49 | 0x10;
    Sample { ip_options: vec![], flags, ..sample }
}

proptest! {
    #[test]
    fn packets_of_one_flow_come_back_as_they_went(sample in samples()) {
        run(&sample.packets());
    }

    #[test]
    fn a_super_packet_cut_and_merged_is_itself(sample in samples()) {
        let sample = mergeable(sample);
        let packets = sample.packets();
        let limit = if sample.udp { 64 } else { 128 };
        prop_assume!(packets.len() <= limit);
        let under = run(&packets);
        if packets.len() > 1 {
            let header_len = (sample.whole().len() - sample.payload.len()) as u16;
            let offload = Offload { header_len, ..sample.offload() };
            let expected = Seen { octets: sample.whole(), offload, packets: packets.len() as u32, tag: 0 };
            prop_assert_eq!(&under.seen, &[expected]);
        }
    }

    #[test]
    fn flows_with_loss_duplicates_and_reordering_stay_in_order(
        samples in proptest::collection::vec(samples(), 1..16),
        slots in 1..20usize,
        mut moves in proptest::collection::vec((any::<u16>(), 0..40u8), 0..600),
        flush_every in 1..200usize,
    ) {
        let mut queues: Vec<Vec<Vec<u8>>> = samples
            .into_iter()
            .enumerate()
            .map(|(flow, sample)| {
                // Half of them plain, or hardly two would ever follow one another.
                let sample = if flow % 2 == 0 { mergeable(sample) } else { sample };
                let ports = [flow as u16, 9];
                let mut packets = Sample { ports, host: (flow % 3) as u8, ..sample }.packets();
                packets.reverse();
                packets
            })
            .collect();
        let rest: usize = queues.iter().map(Vec::len).sum();
        moves.extend((0..rest as u16).map(|n| (n / 5, 20)));
        let mut under = Under::new(slots, ALL);
        let mut pushed: HashMap<Vec<u8>, Vec<Vec<u8>>> = HashMap::new();
        let mut total = 0;
        for (step, (pick, fate)) in moves.into_iter().enumerate() {
            let open: Vec<usize> = (0..queues.len()).filter(|queue| !queues[*queue].is_empty()).collect();
            let Some(queue) = open.get(usize::from(pick) % open.len().max(1)) else { break };
            let queue = &mut queues[*queue];
            let len = queue.len();
            match fate {
                0 => drop(queue.pop()),
                1 => queue.push(queue[len - 1].clone()),
                2 if len > 1 => queue.swap(len - 1, len - 2),
                // One octet wrong, in the header or behind it: the shortest datagram has 28.
                3 => queue[len - 1][27] ^= 1,
                _ => {
                    let packet = queue.pop().unwrap();
                    under.push(&packet, 0);
                    pushed.entry(flow_of(&packet)).or_default().push(comparable(packet));
                    total += 1;
                }
            }
            if step % flush_every == 0 {
                under.flush();
            }
        }
        under.flush();
        let mut come: HashMap<Vec<u8>, Vec<Vec<u8>>> = HashMap::new();
        let out = under.packets();
        prop_assert_eq!(out.len(), total);
        for packet in out {
            come.entry(flow_of(&packet)).or_default().push(comparable(packet));
        }
        prop_assert_eq!(come, pushed);
    }

    #[test]
    fn no_octets_make_it_panic_and_none_are_lost(
        packets in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..100), 0..20),
        firsts in proptest::collection::vec(prop_oneof![Just(0x45u8), Just(0x60), any::<u8>()], 20),
    ) {
        let packets: Vec<Vec<u8>> = packets
            .into_iter()
            .zip(firsts)
            .map(|(mut packet, first)| {
                let len = packet.len() as u16;
                if let [octet, _, a, b, ..] = &mut packet[..] {
                    *octet = first;
                    [*a, *b] = len.to_be_bytes();
                }
                packet
            })
            .collect();
        let mut under = Under::new(2, ALL);
        for packet in &packets {
            under.push(packet, 0);
        }
        under.flush();
        let (mut out, mut packets) = (under.packets(), packets);
        out.sort();
        packets.sort();
        prop_assert_eq!(out, packets);
    }
}

/// A duplicate of a datagram that can never be fragmented may get the next identification.
fn comparable(mut packet: Vec<u8>) -> Vec<u8> {
    if let [0x45, _, _, _, id_0, id_1, 0x40, _, _, 17, sum_0, sum_1, ..] = &mut packet[..] {
        [*id_0, *id_1, *sum_0, *sum_1] = [0; 4];
    }
    packet
}

/// Protocol, addresses and ports where they would be without options.
fn flow_of(packet: &[u8]) -> Vec<u8> {
    match packet[0] {
        first if first >> 4 == 4 => {
            let upper = usize::from(first & 15) * 4;
            [&packet[9..10], &packet[12..20], &packet[upper..upper + 4]].concat()
        }
        _ => {
            let upper = if packet[6] == 60 { 40 + (usize::from(packet[41]) + 1) * 8 } else { 40 };
            [&packet[8..40], &packet[upper..upper + 4]].concat()
        }
    }
}

/// Two packets of 1000 octets and then one that `edit` made different; which runs that makes.
fn third(edit: impl Fn(&mut Vec<u8>)) -> Vec<u32> {
    let sample = Sample { payload: vec![5; 4000], ..Sample::tcp4() };
    let mut packets = sample.packets();
    edit(&mut packets[2]);
    checksum::fill_ipv4_header(&mut packets[2]);
    checksum::fill_transport(&mut packets[2]);
    run(&packets).counts()
}

#[test]
fn a_run_ends_where_a_header_differs() {
    assert_eq!(third(|_| ()), [4]);
    // DSCP, ECN, identification, don't fragment, time to live; ack, ECE, AE, window, urgent pointer, an option.
    for at in [1, 5, 8, 28 + 3, 35, 39, 51] {
        let edited = third(|packet| packet[at] ^= 1);
        assert!(matches!(edited[..], [2, 1, 1]), "{at}: {edited:?}");
    }
    assert_eq!(third(|packet| packet[33] |= 0x40), [2, 1, 1]);
    assert_eq!(third(|packet| packet[32] |= 1), [2, 1, 1]);
    assert_eq!(third(|packet| packet[6] = 0), [2, 1, 1]);
    assert_eq!(third(|packet| packet[27] ^= 1), [2, 1, 1]);
}

#[test]
fn push_and_fin_end_a_run_and_begin_none() {
    for flag in [0x08, 0x01] {
        assert_eq!(third(|packet| packet[33] |= flag), [3, 1]);
        let sample = Sample { flags: 0x10 | flag, payload: vec![1; 500], ..Sample::tcp4() };
        assert_eq!(run(&[sample.packets(), sample.packets()].concat()).counts(), [1, 1]);
    }
}

#[test]
fn syn_rst_urg_and_cwr_go_alone() {
    for flag in [0x02, 0x04, 0x20, 0x80] {
        assert_eq!(third(|packet| packet[33] |= flag), [2, 1, 1]);
    }
    assert_eq!(third(|packet| packet[33] &= !0x10), [2, 1, 1]);
}

#[test]
fn a_pure_acknowledgement_stays_between_the_data() {
    let sample = Sample { payload: vec![3; 4000], ..Sample::tcp4() };
    let mut packets = sample.packets();
    packets.insert(2, sample.packet(2, 2000, 0x10, &[], true));
    assert_eq!(run(&packets).counts(), [2, 1, 2]);
}

#[test]
fn a_bad_checksum_is_passed_on_as_it_is_and_in_order() {
    for at in [0, 1, 2, 3] {
        let sample = Sample { payload: vec![3; 4000], ..Sample::tcp4() };
        let mut packets = sample.packets();
        packets[at][60] ^= 1;
        let expected: &[u32] = match at {
            0 => &[1, 3],
            1 => &[1, 1, 2],
            2 => &[2, 1, 1],
            _ => &[3, 1],
        };
        assert_eq!(run(&packets).counts(), expected);
        packets[at][60] ^= 1;
        packets[at][10] ^= 1;
        assert_eq!(run(&packets).counts(), expected);
    }
}

#[test]
fn a_longer_packet_begins_a_new_run_and_a_shorter_one_ends_it() {
    let datagrams = |lens: &[usize]| {
        let sample = Sample::udp4();
        let build = |(index, len): (usize, &usize)| sample.packet(index, 0, 0, &vec![9; *len], true);
        lens.iter().enumerate().map(build).collect::<Vec<_>>()
    };
    assert_eq!(run(&datagrams(&[100, 100, 50, 50, 50, 60])).counts(), [3, 2, 1]);
    assert_eq!(run(&datagrams(&[100, 101, 101, 0, 0, 101])).counts(), [1, 2, 1, 1, 1]);
    assert_eq!(run(&datagrams(&[1; 150])).counts(), [64, 64, 22]);
    assert_eq!(run(&datagrams(&[1400; 60])).counts(), [46, 14]);
}

#[test]
fn tcp_runs_hold_at_most_128_segments() {
    let sample = Sample { payload: vec![3; 300], segment_size: 1, ..Sample::tcp4() };
    assert_eq!(run(&sample.packets()).counts(), [128, 128, 44]);
}

#[test]
fn a_datagram_without_checksum_goes_alone() {
    let sample = Sample { payload: vec![3; 4000], ..Sample::udp4() };
    let mut packets = sample.packets();
    packets[1][26..28].fill(0);
    assert_eq!(run(&packets).counts(), [1, 1, 2]);
}

#[test]
fn identifications_that_stand_still_merge_where_nothing_can_fragment() {
    let counts = |dont_fragment, ids: [u16; 4]| {
        let sample = Sample { dont_fragment, ..Sample::udp4() };
        let mut under = Under::new(1, ALL);
        for id in ids {
            under.push(&Sample { id, ..sample.clone() }.packet(0, 0, 0, &[1; 64], true), 0);
        }
        under.flush();
        let split = under.packets();
        assert_eq!(split.len(), 4);
        assert!(split.iter().all(|packet| packet[28..] == [1; 64]));
        under.counts()
    };
    assert_eq!(counts(true, [0; 4]), [4]);
    assert_eq!(counts(false, [0; 4]), [1, 1, 1, 1]);
    assert_eq!(counts(true, [0, 0, 1, 2]), [2, 2]);
    assert_eq!(counts(true, [0, 1, 1, 2]), [2, 2]);
    assert_eq!(counts(false, [0xfffe, 0xffff, 0, 1]), [4]);
}

#[test]
fn what_shares_no_flow_but_addresses_comes_after_them() {
    let sample = Sample { payload: vec![3; 2000], ..Sample::tcp4() };
    let packets = sample.packets();
    let mut fragment = Sample::udp4().packet(9, 0, 0, &[1; 100], true);
    fragment[6] = 0x20;
    checksum::fill_ipv4_header(&mut fragment);
    let options = Sample { ip_options: vec![1; 4], ..sample.clone() }.packet(2, 2000, 0x10, &[1; 10], true);
    let mut echo = fragment.clone();
    echo[9] = 1;
    for odd in [fragment, options, echo] {
        assert_eq!(run(&[packets.clone(), vec![odd.clone()]].concat()).counts(), [2, 1]);
        let elsewhere = Sample { host: 2, ..sample.clone() }.packets();
        let mut under = Under::new(4, ALL);
        for packet in elsewhere.iter().chain([&odd]) {
            under.push(packet, 0);
        }
        assert_eq!(under.counts(), [1]);
    }
}

#[test]
fn only_what_the_device_takes_is_merged() {
    let mixed = [Sample::tcp4().packets(), Sample::udp4().packets()].concat();
    for (offers, counts) in [
        (Offers { tcp: true, udp: false }, vec![4, 1, 1, 1, 1]),
        (Offers { tcp: false, udp: true }, vec![1, 1, 1, 1, 4]),
        (Offers::default(), vec![1; 8]),
    ] {
        let mut under = Under::new(4, offers);
        for packet in &mixed {
            under.push(packet, 0);
        }
        under.flush();
        assert_eq!(under.counts(), counts);
        assert_eq!(under.packets(), mixed);
    }
}

#[test]
fn tags_are_kept_apart_and_handed_back() {
    let packets = Sample::tcp4().packets();
    let mut under = Under::new(4, ALL);
    for (packet, tag) in packets.iter().zip([7, 7, 8, 8]) {
        under.push(packet, tag);
    }
    under.flush();
    let seen: Vec<_> = under.seen.iter().map(|seen| (seen.packets, seen.tag)).collect();
    assert_eq!(seen, [(2, 7), (2, 8)]);
}

#[test]
fn the_oldest_run_makes_room_and_flush_keeps_the_order() {
    let flows: Vec<Vec<Vec<u8>>> = (0..3)
        .map(|flow| Sample { ports: [flow, 1], payload: vec![1; 3000], ..Sample::tcp4() }.packets())
        .collect();
    let mut under = Under::new(2, ALL);
    for (flow, packet) in [(0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (2, 1)] {
        under.push(&flows[flow][packet], 0);
    }
    under.flush();
    let ports: Vec<u8> = under.seen.iter().map(|seen| seen.octets[21]).collect();
    assert_eq!((ports, under.counts()), (vec![0, 1, 2], vec![2, 2, 2]));
    under.flush();
    assert_eq!(under.seen.len(), 3);
}

#[test]
fn an_ipv6_packet_longer_than_a_run_passes() {
    let sample = Sample { v6: true, payload: vec![7; 65_500], segment_size: 65_500, ..Sample::tcp4() };
    run(&[sample.packets(), sample.packets()].concat());
}
