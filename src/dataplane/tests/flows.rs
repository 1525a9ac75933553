//! What a worker does with packets that it carries, and what it tells others.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use super::doubles::{Bench, TunEnd, entry, open, pair, protect, received, up};
use crate::{
    dataplane::device::{Received, TunError, UdpError},
    esp::{
        ChildId, DropReason, Limits, Report, Snapshot, SpdAction,
        fixture::{
            DONT_FRAGMENT, GCM, SPI, fragment_field, inbound_with, nets, outbound, outbound_with, path, seal,
            syn, udp,
        },
    },
    wire::ip::Ecn,
    wire::ip::{Fragment, InnerPacket, checksum, set_dscp, set_ecn},
};

const CHILD: ChildId = ChildId(7);

fn ours(len: usize) -> Vec<u8> {
    udp("10.1.0.1", "10.2.0.1", (1_000, 2_000), len)
}

fn theirs(len: usize) -> Vec<u8> {
    udp("10.2.0.1", "10.1.0.1", (1_000, 2_000), len)
}

fn trap() -> Snapshot {
    Snapshot::new(1, [], vec![entry(nets(), SpdAction::Protect { outbound: None, trap: true })])
}

#[test]
fn packets_go_both_ways_in_order() {
    let mut bench = Bench::new(pair());
    let peer = outbound(GCM);
    for len in 0..100 {
        bench.inside(ours(len));
        bench.outside(seal(&peer, &theirs(len)));
    }
    let sent = bench.sent();
    assert!(sent.iter().all(|(_, to)| to.remote == received().remote && to.dont_fragment));
    assert_eq!(open(sent), (0..100).map(ours).collect::<Vec<_>>());
    assert_eq!(bench.delivered(), (0..100).map(theirs).collect::<Vec<_>>());
    assert_eq!(bench.counters.drops.total(), 0);
    assert_eq!(bench.counters.tun_received.load(Relaxed), 100);
    assert_eq!(bench.counters.udp_sent.load(Relaxed), 100);
    assert_eq!(bench.counters.udp_received.load(Relaxed), 100);
    assert_eq!(bench.counters.tun_sent.load(Relaxed), 100);
}

#[test]
fn dscp_and_ecn_are_copied_to_the_outer_header() {
    let mut bench = Bench::new(pair());
    let mut packet = ours(10);
    set_dscp(&mut packet, 46);
    set_ecn(&mut packet, Ecn::Ect0);
    bench.inside(packet);
    assert_eq!(bench.sent()[0].1.tos, 46 << 2 | 2);
}

#[test]
fn datagrams_that_came_as_one_are_looked_at_one_by_one() {
    let mut bench = Bench::new(pair());
    let peer = outbound(GCM);
    let one = seal(&peer, &theirs(40));
    let train = [&one[..], &seal(&peer, &theirs(40)), &seal(&peer, &theirs(8))].concat();
    let meta = Received { segment_size: Some(one.len() as u16), ..received() };
    bench.outside_as(train, meta);
    assert_eq!(bench.delivered(), [theirs(40), theirs(40), theirs(8)]);
    assert_eq!(bench.counters.udp_received.load(Relaxed), 3);
}

#[test]
fn ike_messages_and_keepalives_are_sorted_out() {
    let mut bench = Bench::new(pair());
    let message: Vec<u8> = (1..=40).collect();
    bench.outside([&[0; 4], &message[..]].concat());
    bench.outside(vec![0xff]);
    let Received { local, remote, .. } = received();
    assert_eq!(bench.reported(), [Report::Ike { local, remote, octets: message }]);
    assert_eq!(bench.counters.ike_datagrams.load(Relaxed), 1);
    assert_eq!(bench.counters.keepalives.load(Relaxed), 1);
    assert_eq!(bench.counters.drops.total(), 0);
}

#[test]
fn an_oversize_ipv4_packet_with_df_is_answered_with_the_inner_mtu() {
    let mut bench = Bench::new(pair());
    let fits = fragment_field(ours(1_410), DONT_FRAGMENT);
    assert_eq!(fits.len(), 1_438);
    bench.inside(fits.clone());
    assert_eq!(open(bench.sent()), [fits]);

    let long = fragment_field(ours(1_411), DONT_FRAGMENT);
    bench.inside(long.clone());
    let [answer] = &bench.delivered()[..] else { panic!("one answer") };
    let view = InnerPacket::parse(answer).unwrap();
    assert_eq!((view.src, view.dst), ("10.2.0.1".parse().unwrap(), "10.1.0.1".parse().unwrap()));
    assert_eq!(view.icmp, Some((3, 4)));
    assert_eq!(answer[26..28], 1_438u16.to_be_bytes());
    assert_eq!(answer[28..56], long[..28]);
    assert!(checksum::ipv4_header_is_valid(answer));
    assert_eq!(checksum::transport_is_valid(answer), Some(true));
    assert!(bench.sent().is_empty());
}

#[test]
fn an_oversize_ipv6_packet_is_answered_and_one_of_1280_always_goes() {
    let mut bench = Bench::new(pair());
    bench.inside(udp("fd01::1", "fd02::1", (1, 2), 1_391));
    let [answer] = &bench.delivered()[..] else { panic!("one answer") };
    assert_eq!(InnerPacket::parse(answer).unwrap().icmp, Some((2, 0)));
    assert_eq!(answer[44..48], 1_438u32.to_be_bytes());
    assert_eq!(checksum::transport_is_valid(answer), Some(true));

    let narrow = path();
    narrow.set_outer_mtu(1_280);
    let sa = outbound_with(GCM, narrow, Limits::default());
    let mut bench = Bench::new(Snapshot::new(1, [], vec![protect(nets(), Some(sa.into()), false)]));
    bench.inside(udp("fd01::1", "fd02::1", (1, 2), 1_280 - 48));
    let sent = bench.sent();
    assert_eq!(sent.len(), 1);
    assert!(!sent[0].1.dont_fragment);
    bench.inside(udp("fd01::1", "fd02::1", (1, 2), 1_281 - 48));
    let [answer] = &bench.delivered()[..] else { panic!("one answer") };
    assert_eq!(answer[44..48], 1_280u32.to_be_bytes());
}

#[test]
fn an_oversize_ipv4_packet_without_df_is_fragmented_before_encryption() {
    let mut bench = Bench::new(pair());
    let whole = ours(4_000);
    bench.inside(whole.clone());
    let fragments = open(bench.sent());
    assert_eq!(fragments.len(), 3);
    let mut payload = Vec::new();
    for fragment in &fragments {
        assert!(fragment.len() <= 1_438);
        let view = InnerPacket::parse(fragment).unwrap();
        if let Fragment::Later(offset) = view.fragment {
            assert_eq!(offset as usize, payload.len());
        }
        payload.extend_from_slice(&fragment[20..]);
    }
    assert_eq!(payload, whole[20..]);
    assert_eq!(bench.counters.fragmented.load(Relaxed), 1);
}

#[test]
fn the_mss_is_lowered_both_ways_and_for_both_versions() {
    let mut bench = Bench::new(pair());
    let peer = outbound(GCM);
    bench.inside(syn("10.1.0.1", "10.2.0.1", 1_460));
    bench.inside(syn("fd01::1", "fd02::1", 1_440));
    bench.inside(syn("10.1.0.1", "10.2.0.1", 1_000));
    let sent = open(bench.sent());
    assert_eq!(
        sent,
        [
            syn("10.1.0.1", "10.2.0.1", 1_398),
            syn("fd01::1", "fd02::1", 1_378),
            syn("10.1.0.1", "10.2.0.1", 1_000)
        ]
    );
    bench.outside(seal(&peer, &syn("10.2.0.1", "10.1.0.1", 9_000)));
    assert_eq!(bench.delivered(), [syn("10.2.0.1", "10.1.0.1", 1_398)]);
    assert_eq!(bench.counters.mss_clamped.load(Relaxed), 3);
}

#[test]
fn without_an_sa_the_sender_is_told_and_the_engine_asked_once_a_second() {
    let mut bench = Bench::new(Snapshot::new(
        4,
        [],
        vec![entry(nets(), SpdAction::Protect { outbound: None, trap: false })],
    ));
    for _ in 0..5 {
        bench.inside(ours(10));
    }
    let answers = bench.delivered();
    assert_eq!(answers.len(), 5);
    assert!(answers.iter().all(|answer| InnerPacket::parse(answer).unwrap().icmp == Some((3, 1))));
    let packet = crate::esp::summarize(&InnerPacket::parse(&ours(10)).unwrap());
    assert_eq!(bench.reported(), [Report::Acquire { entry: 0, generation: 4, packet }]);
    bench.now += 1_000;
    bench.inside(ours(10));
    assert_eq!(bench.reported().len(), 1);
}

#[test]
fn policy_refusals_say_that_it_is_policy() {
    let mut bench = Bench::new(pair());
    bench.inside(udp("10.1.0.1", "10.9.0.1", (1, 2), 3));
    bench.inside(udp("fd01::1", "fd09::1", (1, 2), 3));
    let codes: Vec<_> =
        bench.delivered().iter().map(|answer| InnerPacket::parse(answer).unwrap().icmp).collect();
    assert_eq!(codes, [Some((3, 13)), Some((1, 1))]);
}

#[test]
fn under_trap_the_first_packets_wait_for_the_tunnel_and_are_not_lost() {
    let mut bench = Bench::new(trap());
    for len in 0..3 {
        bench.inside(ours(len));
    }
    assert!(bench.delivered().is_empty());
    assert_eq!(bench.reported().len(), 1);
    bench.now += 900;
    let sa = Arc::new(outbound(GCM));
    bench.snapshot.store(Arc::new(Snapshot::new(2, [], vec![protect(nets(), Some(sa), true)])));
    bench.turn();
    assert_eq!(open(bench.sent()), (0..3).map(ours).collect::<Vec<_>>());
    assert_eq!(bench.counters.acquired.load(Relaxed), 3);
    assert_eq!(bench.counters.drops.total(), 0);
}

#[test]
fn a_new_snapshot_without_the_tunnel_does_not_make_packets_wait_longer() {
    let mut bench = Bench::new(trap());
    bench.inside(ours(1));
    for generation in 2..6 {
        bench.now += 1_000;
        let entries = vec![entry(nets(), SpdAction::Protect { outbound: None, trap: true })];
        bench.snapshot.store(Arc::new(Snapshot::new(generation, [], entries)));
        bench.turn();
        assert!(bench.delivered().is_empty());
    }
    bench.now += 1_000;
    bench.turn();
    assert_eq!(bench.delivered().len(), 1);
    assert_eq!(bench.counters.drops.get(DropReason::AcquireTimeout), 1);
}

#[test]
fn the_first_inbound_packet_is_reported_once_and_again_if_the_report_was_lost() {
    let mut bench = Bench::new(pair());
    let peer = outbound(GCM);
    for _ in 0..3 {
        bench.outside(seal(&peer, &theirs(1)));
    }
    assert_eq!(bench.reported(), [Report::FirstInbound { child: CHILD, spi: SPI }]);

    let mut full = Bench::with_room(pair(), 1);
    full.outside([&[0; 4], &[1u8; 40][..]].concat());
    full.outside(seal(&outbound(GCM), &theirs(1)));
    assert_eq!(full.reported().len(), 1);
    assert_eq!(full.counters.reports_lost.load(Relaxed), 1);
    full.outside(seal(&outbound(GCM).continuing(1), &theirs(1)));
    assert_eq!(full.reported(), [Report::FirstInbound { child: CHILD, spi: SPI }]);
}

#[test]
fn a_moved_peer_is_reported_from_an_authentic_fresh_packet_only() {
    let mut bench = Bench::new(pair());
    let peer = outbound(GCM);
    let packets: Vec<_> = (0..5).map(|_| seal(&peer, &theirs(1))).collect();
    let moved = Received { remote: "203.0.113.9:61234".parse().unwrap(), ..received() };
    bench.outside(packets[1].clone());
    assert_eq!(bench.reported().len(), 1, "the first packet");

    bench.outside_as(vec![0xff], moved);
    bench.outside_as(packets[1].clone(), moved);
    bench.outside_as(packets[0].clone(), moved);
    let mut forged = packets[2].clone();
    forged[30] ^= 1;
    bench.outside_as(forged, moved);
    assert_eq!(bench.reported(), []);

    bench.outside_as(packets[2].clone(), moved);
    bench.outside_as(packets[3].clone(), moved);
    let Received { local, remote, .. } = moved;
    assert_eq!(bench.reported(), [Report::PeerMoved { child: CHILD, spi: SPI, local, remote }]);

    let snapshot = bench.snapshot.load_full();
    snapshot.inbound_sas().next().unwrap().path().set_addresses(Some(local.ip()), remote);
    bench.now += 5_000;
    bench.outside_as(packets[4].clone(), moved);
    assert_eq!(bench.reported(), []);
}

#[test]
fn limits_are_reported_in_both_directions() {
    let limits = Limits { soft_packets: Some(2), hard_packets: Some(3), ..Limits::default() };
    let mut bench = Bench::new(up(inbound_with(GCM, nets(), limits), outbound_with(GCM, path(), limits)));
    let (soft, hard) =
        (Report::SoftLimit { child: CHILD, spi: SPI }, Report::HardLimit { child: CHILD, spi: SPI });
    for _ in 0..6 {
        bench.inside(ours(1));
    }
    assert_eq!(bench.reported(), [soft.clone(), hard.clone()]);
    assert_eq!(bench.sent().len(), 3);
    let peer = outbound(GCM);
    for _ in 0..6 {
        bench.outside(seal(&peer, &theirs(1)));
    }
    assert_eq!(bench.reported(), [Report::FirstInbound { child: CHILD, spi: SPI }, soft, hard]);
    assert_eq!(bench.delivered().len(), 3);
}

#[test]
fn an_unknown_spi_is_hinted_at_most_once_a_second() {
    let mut bench = Bench::new(pair());
    for _ in 0..10 {
        bench.outside(vec![0xaa; 60]);
    }
    let Received { local, remote, .. } = received();
    assert_eq!(bench.reported(), [Report::UnknownSpi { spi: 0xaaaa_aaaa, local, remote }]);
}

#[test]
fn a_datagram_too_big_for_the_interface_is_reported_with_its_length() {
    let mut bench = Bench::new(pair());
    *bench.udp.transmit_fault.lock().unwrap() = Some(|| UdpError::TooBig);
    for _ in 0..3 {
        bench.inside(fragment_field(ours(1_410), DONT_FRAGMENT));
    }
    let remote = received().remote;
    assert_eq!(
        bench.reported(),
        [Report::OuterTooBig { child: CHILD, local: None, remote, outer_len: 1_500 }]
    );
}

#[test]
fn icmp_errors_are_limited_and_never_sent_about_icmp_errors() {
    let mut bench = Bench::new(Snapshot::new(1, [], vec![entry(nets(), SpdAction::Discard)]));
    for _ in 0..500 {
        bench.inside(ours(1));
    }
    assert_eq!(bench.delivered().len(), 50);
    assert_eq!(bench.counters.icmp_suppressed.load(Relaxed), 450);
    bench.now += 60_000;
    let error = crate::wire::ip::icmp::time_exceeded(&theirs(10), "10.1.0.77".parse().unwrap()).unwrap();
    bench.inside(error);
    assert!(bench.delivered().is_empty());
    assert_eq!(bench.counters.drops.get(DropReason::PolicyDiscard), 501);
}

#[test]
fn a_lost_tun_device_is_reported_and_a_new_one_carries_on() {
    let mut bench = Bench::new(pair());
    let peer = outbound(GCM);
    *bench.tun.receive_fault.lock().unwrap() = Some(|| TunError::Gone);
    bench.turn();
    bench.turn();
    assert_eq!(bench.reported(), [Report::TunGone]);
    bench.outside(seal(&peer, &theirs(1)));
    assert_eq!(bench.drops(), [(DropReason::TunGone, 1)]);
    bench.now += 1_000;
    bench.turn();
    assert!(bench.reported().contains(&Report::TunGone));

    bench.tun = TunEnd::default();
    bench.worker.set_tun(bench.tun.device());
    bench.inside(ours(1));
    bench.outside(seal(&peer, &theirs(2)));
    assert_eq!(bench.delivered(), [theirs(2)]);
    assert_eq!(open(bench.sent()), [ours(1)]);
    assert_eq!(bench.reported(), []);
}

#[test]
fn a_tun_device_that_is_down_is_left_alone_for_a_while() {
    let mut bench = Bench::new(pair());
    *bench.tun.receive_fault.lock().unwrap() = Some(|| TunError::Down);
    bench.turn();
    *bench.tun.receive_fault.lock().unwrap() = None;
    bench.inside(ours(1));
    assert!(bench.sent().is_empty());
    bench.now += 1_000;
    bench.turn();
    assert_eq!(bench.sent().len(), 1);
    assert_eq!(bench.reported(), []);
}

#[test]
fn a_batch_larger_than_the_send_queue_is_sent_whole() {
    let mut bench = Bench::new(pair());
    // Ten packets that become more fragments than one send takes.
    for _ in 0..10 {
        bench.tun.to_worker.lock().unwrap().push_back((ours(20_000), Default::default()));
    }
    (0..2).for_each(|_| bench.turn());
    let sent = open(bench.sent());
    assert_eq!(sent.len(), 10 * 20_008usize.div_ceil(1_416));
    assert_eq!(bench.counters.fragmented.load(Relaxed), 10);
}
