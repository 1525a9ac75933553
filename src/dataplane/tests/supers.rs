//! Super-packets through a worker: they leave as trains, and trains come out as super-packets, with every
//! rule kept that holds for packets that come alone.

use std::sync::atomic::Ordering::Relaxed;

use super::doubles::{Bench, entry, open, pair, protect, received, up};
use crate::{
    dataplane::{
        batch::{Offload, PartialChecksum, Segmentation},
        device::{Offers, Received},
        segment::Segments,
    },
    esp::{
        Degraded, DropReason, Limits, Report, Snapshot, SpdAction,
        fixture::{GCM, inbound_with, nets, outbound, outbound_with, path, seal},
    },
    wire::ip::{Ecn, InnerPacket, checksum, set_ecn},
};

/// A TCP super-packet of the kernel's making, with its checksum left to be completed.
fn super_packet(from: &str, to: &str, payload: usize, segment: u16) -> (Vec<u8>, Offload) {
    let mut packet = vec![0x45, 0, 0, 0, 0x12, 0x34, 0x40, 0, 64, 6, 0, 0];
    for address in [from, to] {
        packet.extend(address.parse::<std::net::Ipv4Addr>().unwrap().octets());
    }
    packet.extend([0x9c, 0x40, 0, 80]);
    packet.extend(1_000u32.to_be_bytes());
    packet.extend([0, 0, 0, 1, 0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0]);
    packet.extend((0..payload).map(|n| (n % 251) as u8));
    let len = packet.len() as u16;
    packet[2..4].copy_from_slice(&len.to_be_bytes());
    checksum::fill_ipv4_header(&mut packet);
    let offload = Offload {
        segmentation: Segmentation::TcpV4,
        segment_size: segment,
        header_len: 40,
        checksum: Some(PartialChecksum { start: 20, offset: 16 }),
    };
    (packet, offload)
}

fn ours(payload: usize, segment: u16) -> (Vec<u8>, Offload) {
    super_packet("10.1.0.1", "10.2.0.1", payload, segment)
}

/// The packets that a super-packet stands for.
fn packets((octets, offload): &(Vec<u8>, Offload)) -> Vec<Vec<u8>> {
    let segments = Segments::parse(octets, *offload).unwrap();
    (0..segments.count())
        .map(|index| {
            let mut packet = vec![0; segments.packet_len(index)];
            segments.write(index, &mut packet);
            packet
        })
        .collect()
}

fn inside(bench: &mut Bench, (octets, offload): (Vec<u8>, Offload)) {
    bench.tun.to_worker.lock().unwrap().push_back((octets, offload));
    bench.turn();
}

/// The peer's packets as one train, as a receive with UDP_GRO gives it.
fn train(packets: &[Vec<u8>]) -> (Vec<u8>, Received) {
    let peer = outbound(GCM);
    let sealed: Vec<_> = packets.iter().map(|packet| seal(&peer, packet)).collect();
    let segment_size = Some(sealed[0].len() as u16);
    (sealed.concat(), Received { segment_size, ..received() })
}

#[test]
fn a_super_packet_leaves_as_one_train_of_whole_packets() {
    let mut bench = Bench::new(pair());
    let sent = ours(40 * 1_398 - 100, 1_398);
    inside(&mut bench, sent.clone());
    assert_eq!(bench.udp.trains.lock().unwrap().drain(..).collect::<Vec<_>>(), [40]);
    let opened = open(bench.sent());
    assert_eq!(opened, packets(&sent));
    for packet in &opened {
        assert!(packet.len() <= 1_438);
        assert_eq!(checksum::transport_is_valid(packet), Some(true));
    }
    assert_eq!(bench.counters.tun_received.load(Relaxed), 40);
    assert_eq!(bench.counters.udp_sent.load(Relaxed), 40);
    assert_eq!(bench.counters.drops.total(), 0);
}

#[test]
fn more_packets_than_a_train_takes_go_on_in_the_next() {
    let mut bench = Bench::new(pair());
    for _ in 0..2 {
        bench.tun.to_worker.lock().unwrap().push_back(ours(46 * 1_398, 1_398));
    }
    bench.turn();
    assert_eq!(bench.udp.trains.lock().unwrap().drain(..).collect::<Vec<_>>(), [44, 44, 4]);
    let expected: Vec<_> =
        [ours(46 * 1_398, 1_398), ours(46 * 1_398, 1_398)].iter().flat_map(packets).collect();
    assert_eq!(open(bench.sent()), expected);
}

#[test]
fn super_packets_with_other_marks_are_other_trains() {
    let mut bench = Bench::new(pair());
    for ecn in [Ecn::Ect0, Ecn::Ce] {
        let (mut octets, offload) = ours(3 * 1_000, 1_000);
        set_ecn(&mut octets, ecn);
        bench.tun.to_worker.lock().unwrap().push_back((octets, offload));
    }
    bench.turn();
    assert_eq!(bench.udp.trains.lock().unwrap().drain(..).collect::<Vec<_>>(), [3, 3]);
    let marks: Vec<_> = bench.sent().iter().map(|(_, to)| to.tos & 3).collect();
    assert_eq!(marks, [2, 2, 2, 3, 3, 3]);
}

#[test]
fn segments_that_do_not_fit_are_answered_as_if_they_had_come_alone() {
    let mut bench = Bench::new(pair());
    inside(&mut bench, ours(3 * 1_399, 1_399));
    assert!(bench.sent().is_empty());
    let answers = bench.delivered();
    assert_eq!(InnerPacket::parse(&answers[0]).unwrap().icmp, Some((3, 4)));
    assert_eq!(answers[0][26..28], 1_438u16.to_be_bytes());
    assert_eq!(bench.drops(), [(DropReason::TooBigIpv4, 3)]);
}

#[test]
fn a_super_packet_without_a_way_counts_each_of_its_packets() {
    let mut bench = Bench::new(Snapshot::new(1, [], vec![entry(nets(), SpdAction::Discard)]));
    inside(&mut bench, ours(5 * 1_000, 1_000));
    assert_eq!(bench.drops(), [(DropReason::PolicyDiscard, 5)]);
    assert!(bench.sent().is_empty());
}

#[test]
fn a_hard_limit_holds_for_super_packets() {
    let limits = Limits { hard_packets: Some(7), ..Limits::default() };
    let sa = outbound_with(GCM, path(), limits);
    let mut bench = Bench::new(Snapshot::new(1, [], vec![protect(nets(), Some(sa.into()), false)]));
    inside(&mut bench, ours(5 * 1_000, 1_000));
    inside(&mut bench, ours(5 * 1_000, 1_000));
    assert_eq!(bench.sent().len(), 5);
    assert_eq!(bench.drops(), [(DropReason::OutboundHardLimit, 5)]);
    assert!(matches!(bench.reported()[..], [.., Report::HardLimit { .. }]));
}

#[test]
fn a_kind_of_super_packet_that_nobody_asked_for_is_dropped() {
    let mut bench = Bench::new(pair());
    let (octets, offload) = ours(3_000, 1_000);
    inside(&mut bench, (octets, Offload { segmentation: Segmentation::Unknown, ..offload }));
    assert_eq!(bench.drops(), [(DropReason::UnsupportedOffload, 1)]);
}

#[test]
fn a_checksum_left_to_the_device_is_completed() {
    let mut bench = Bench::new(pair());
    let (octets, offload) = ours(500, 0);
    let partial = Offload { checksum: offload.checksum, ..Offload::default() };
    // The kernel puts the pseudo-header's sum there; what is there is summed with the rest.
    let mut octets = octets;
    let pseudo: u32 =
        octets[12..20].chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum::<u32>()
            + 6
            + 520;
    let pseudo = (pseudo & 0xffff) + (pseudo >> 16);
    octets[36..38].copy_from_slice(&(pseudo as u16).to_be_bytes());
    inside(&mut bench, (octets, partial));
    let [packet] = &open(bench.sent())[..] else { panic!("one packet") };
    assert_eq!(checksum::transport_is_valid(packet), Some(true));
}

fn joining(bench: &Bench) {
    *bench.tun.offers.lock().unwrap() = Offers { tcp: true, udp: true };
}

#[test]
fn a_train_comes_out_as_one_super_packet() {
    let mut bench = Bench::new(pair());
    joining(&bench);
    bench.worker.set_tun(bench.tun.device());
    let sent = super_packet("10.2.0.1", "10.1.0.1", 20 * 1_398, 1_398);
    let (octets, meta) = train(&packets(&sent));
    bench.outside_as(octets, meta);
    let written: Vec<_> = bench.tun.written.lock().unwrap().drain(..).collect();
    let [merged] = &bench.delivered()[..] else { panic!("one super-packet") };
    assert_eq!(packets(&(merged.clone(), written[0])), packets(&sent));
    assert_eq!(bench.counters.tun_sent.load(Relaxed), 20);
    assert_eq!(bench.counters.udp_received.load(Relaxed), 20);
}

#[test]
fn a_train_that_comes_again_brings_nothing() {
    let mut bench = Bench::new(pair());
    joining(&bench);
    bench.worker.set_tun(bench.tun.device());
    let (octets, meta) = train(&packets(&super_packet("10.2.0.1", "10.1.0.1", 20 * 1_398, 1_398)));
    bench.outside_as(octets.clone(), meta);
    bench.delivered();
    bench.outside_as(octets, meta);
    assert!(bench.delivered().is_empty());
    assert_eq!(bench.drops(), [(DropReason::Replayed, 20)]);
}

#[test]
fn a_device_that_refuses_super_packets_gets_packets_and_is_told_of_once() {
    let mut bench = Bench::new(pair());
    joining(&bench);
    *bench.tun.refuses_supers.lock().unwrap() = true;
    bench.worker.set_tun(bench.tun.device());
    let peer = outbound(GCM);
    let mut degraded = Vec::new();
    for round in 0..3u32 {
        let mut sent = super_packet("10.2.0.1", "10.1.0.1", 5 * 1_000, 1_000);
        sent.0[24..28].copy_from_slice(&(1_000 + round * 5_000).to_be_bytes());
        let packets = packets(&sent);
        let sealed: Vec<_> = packets.iter().map(|packet| seal(&peer, packet)).collect();
        let meta = Received { segment_size: Some(sealed[0].len() as u16), ..received() };
        bench.outside_as(sealed.concat(), meta);
        assert_eq!(bench.delivered(), packets);
        degraded.extend(bench.reported().into_iter().filter(|report| matches!(report, Report::Degraded(_))));
    }
    assert_eq!(degraded, [Report::Degraded(Degraded::TcpToTun)]);
    assert_eq!(bench.counters.tun_sent.load(Relaxed), 15);
    assert_eq!(bench.counters.drops.total(), 0);
}

#[test]
fn trains_with_forged_and_foreign_packets_lose_only_those() {
    let selectors = nets();
    let mut bench = Bench::new(up(inbound_with(GCM, selectors, Limits::default()), outbound(GCM)));
    let genuine = packets(&super_packet("10.2.0.1", "10.1.0.1", 4 * 1_000, 1_000));
    let foreign = packets(&super_packet("10.9.0.1", "10.1.0.1", 4 * 1_000, 1_000));
    let mixed = [&genuine[0], &foreign[1], &genuine[1], &genuine[2], &genuine[3]].map(Clone::clone);
    let (mut octets, meta) = train(&mixed);
    let stride = usize::from(meta.segment_size.unwrap());
    octets[3 * stride + 100] ^= 1;
    bench.outside_as(octets, meta);
    assert_eq!(bench.delivered(), [genuine[0].clone(), genuine[1].clone(), genuine[3].clone()]);
    assert_eq!(
        bench.drops(),
        [(DropReason::AuthenticationFailed, 1), (DropReason::InnerSelectorMismatch, 1)]
    );
}
