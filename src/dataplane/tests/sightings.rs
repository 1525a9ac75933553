//! Which headers a worker copies, and what that costs those that it does not.

use std::sync::atomic::Ordering::Relaxed;

use tokio::sync::mpsc::Receiver;

use super::doubles::{Bench, entry, pair, received};
use crate::{
    dataplane::{
        DataPlaneConfig, Sightings,
        batch::{Offload, Segmentation},
        device::Received,
    },
    esp::{
        Snapshot, SpdAction,
        fixture::{GCM, ip, nets, outbound, seal, syn, udp},
    },
    wire::ip::{
        Sighting,
        icmp::{self, Unreachable},
        sighting::{Segment, Sighted, Way},
    },
};

fn bench(snapshot: Snapshot, room: usize) -> (Bench, Sightings, Receiver<Sighting>) {
    let (sightings, receiver) = Sightings::channel(room);
    sightings.switch(true);
    let config = DataPlaneConfig { sightings: Some(sightings.clone()), ..DataPlaneConfig::default() };
    (Bench::with_config(snapshot, 64, config), sightings, receiver)
}

fn seen(receiver: &mut Receiver<Sighting>) -> Vec<Sighting> {
    std::iter::from_fn(|| receiver.try_recv().ok()).collect()
}

fn tcp(from: &str, to: &str, flags: u8) -> Vec<u8> {
    ip(from, to, 6, &[0xc0, 0, 1, 0xbb, 0, 0, 0, 1, 0, 0, 0, 9, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0])
}

const HERE: &str = "10.1.0.1";
const THERE: &str = "10.2.0.1";

#[test]
fn the_segments_that_connections_begin_with_are_seen_both_ways_and_others_are_not() {
    let (mut bench, _, mut receiver) = bench(pair(), 64);
    let peer = outbound(GCM);
    for flags in [0x02, 0x10, 0x18, 0x11, 0x14] {
        bench.outside(seal(&peer, &tcp(THERE, HERE, flags)));
        bench.inside(tcp(HERE, THERE, flags | 0x10));
    }
    bench.inside(ip(HERE, THERE, 1, &[8, 0, 0, 0, 0, 0, 0, 0]));
    let of = |sighting: &Sighting| match sighting.what {
        Sighted::Tcp(seen) => (sighting.way, seen.kind, sighting.refused),
        other => panic!("{other:?}"),
    };
    let seen = seen(&mut receiver);
    assert_eq!(
        seen.iter().map(of).collect::<Vec<_>>(),
        [
            (Way::FromTunnel, Segment::Syn, false),
            (Way::IntoTunnel, Segment::SynAck, false),
            (Way::FromTunnel, Segment::Reset, false),
            (Way::IntoTunnel, Segment::Reset, false),
        ]
    );
    assert!(seen.is_sorted_by_key(|sighting| sighting.at));
    assert_eq!(bench.counters.sightings.load(Relaxed), 4);
    assert_eq!(bench.counters.sightings_lost.load(Relaxed), 0);
    assert_eq!(bench.counters.drops.total(), 0);
}

#[test]
fn errors_are_seen_both_ways() {
    let (mut bench, _, mut receiver) = bench(pair(), 64);
    let error = |from: &str, to: &str| {
        icmp::destination_unreachable(&tcp(to, from, 2), from.parse().unwrap(), Unreachable::Port).unwrap()
    };
    bench.outside(seal(&outbound(GCM), &error(THERE, HERE)));
    bench.inside(error(HERE, THERE));
    let ways: Vec<_> = seen(&mut receiver).iter().map(|sighting| sighting.way).collect();
    assert_eq!(ways, [Way::FromTunnel, Way::IntoTunnel]);
}

#[test]
fn of_a_udp_flow_the_first_datagram_is_seen_and_again_after_a_while() {
    let (mut bench, _, mut receiver) = bench(pair(), 64);
    let peer = outbound(GCM);
    for _ in 0..100 {
        bench.inside(udp(HERE, THERE, (1, 53), 10));
        bench.outside(seal(&peer, &udp(THERE, HERE, (53, 1), 10)));
        bench.now += 100;
    }
    assert_eq!(seen(&mut receiver).len(), 2);
    bench.now += 30_000;
    bench.inside(udp(HERE, THERE, (1, 53), 10));
    bench.inside(udp(HERE, THERE, (2, 53), 10));
    assert_eq!(seen(&mut receiver).len(), 2);
}

#[test]
fn a_super_packet_is_seen_once() {
    let (mut bench, _, mut receiver) = bench(pair(), 64);
    let offload = Offload { segmentation: Segmentation::Udp, segment_size: 500, ..Offload::default() };
    let octets = udp(HERE, THERE, (1, 53), 5_000);
    bench.tun.to_worker.lock().unwrap().push_back((octets, offload));
    bench.turn();
    assert_eq!(bench.sent().len(), 10);
    assert_eq!(seen(&mut receiver).len(), 1);
}

#[test]
fn a_flood_of_udp_flows_is_bounded_and_counted() {
    let (mut bench, _, mut receiver) = bench(pair(), 4_096);
    for port in 0..3_000 {
        bench.inside(udp(HERE, THERE, (port, 53), 10));
    }
    let count = seen(&mut receiver).len() as u64;
    assert!((1..=500).contains(&count), "{count}");
    assert_eq!(bench.counters.sightings.load(Relaxed), count);
    assert_eq!(bench.counters.sightings_held_back.load(Relaxed), 3_000 - count);
    // Nothing of TCP is missing for it.
    assert_eq!(bench.counters.sightings_lost.load(Relaxed), 0);
    assert_eq!(bench.sent().len(), 3_000);
}

#[test]
fn a_full_queue_loses_sightings_and_no_packet() {
    let (mut bench, _, mut receiver) = bench(pair(), 3);
    for _ in 0..10 {
        bench.inside(syn(HERE, THERE, 1_460));
    }
    assert_eq!(seen(&mut receiver).len(), 3);
    assert_eq!(bench.counters.sightings_lost.load(Relaxed), 7);
    assert_eq!(bench.sent().len(), 10);
}

#[test]
fn what_policy_refuses_is_seen_as_refused() {
    let (mut inside, _, mut receiver) = bench(pair(), 64);
    inside.inside(tcp("10.9.0.1", THERE, 0x12));
    inside.inside(tcp("10.9.0.1", THERE, 0x10));
    let discard = Snapshot::new(2, [], vec![entry(nets(), SpdAction::Discard)]);
    inside.snapshot.store(std::sync::Arc::new(discard));
    inside.inside(tcp(HERE, THERE, 0x12));
    assert_eq!(seen(&mut receiver).iter().filter(|sighting| sighting.refused).count(), 2);

    let (mut outside, _, mut receiver) = bench(pair(), 64);
    let peer = outbound(GCM);
    let sealed = [tcp(THERE, HERE, 2), tcp(THERE, "10.9.0.1", 2), tcp(THERE, HERE, 2)]
        .map(|packet| seal(&peer, &packet));
    let segment_size = Some(sealed[0].len() as u16);
    outside.outside_as(sealed.concat(), Received { segment_size, ..received() });
    let found: Vec<_> =
        seen(&mut receiver).iter().map(|sighting| (sighting.dst.to_string(), sighting.refused)).collect();
    assert_eq!(found.len(), 3);
    assert_eq!(found.iter().filter(|found| **found == ("10.9.0.1".to_owned(), true)).count(), 1);
    assert_eq!(outside.delivered().len(), 2);
}

#[test]
fn what_is_no_authentic_packet_is_not_looked_at() {
    let (mut bench, _, mut receiver) = bench(pair(), 64);
    let peer = outbound(GCM);
    let mut forged = seal(&peer, &tcp(THERE, "10.9.0.1", 2));
    if let Some(last) = forged.last_mut() {
        *last ^= 1;
    }
    bench.outside(forged);
    let good = seal(&peer, &tcp(THERE, HERE, 2));
    bench.outside(good.clone());
    bench.outside(good);
    assert_eq!(seen(&mut receiver).len(), 1);
    assert_eq!(bench.counters.drops.total(), 2);
}

#[test]
fn it_is_switched_on_and_off_while_the_worker_runs() {
    let (mut bench, sightings, mut receiver) = bench(pair(), 64);
    sightings.switch(false);
    bench.inside(syn(HERE, THERE, 1_460));
    assert!(seen(&mut receiver).is_empty());
    sightings.switch(true);
    bench.inside(syn(HERE, THERE, 1_460));
    assert_eq!(seen(&mut receiver).len(), 1);
    assert_eq!(bench.counters.sightings.load(Relaxed), 1);
}

#[test]
fn without_a_queue_nothing_is_looked_at() {
    let mut bench = Bench::new(pair());
    bench.inside(syn(HERE, THERE, 1_460));
    bench.inside(udp(HERE, THERE, (1, 2), 10));
    assert_eq!(bench.counters.sightings.load(Relaxed) + bench.counters.sightings_lost.load(Relaxed), 0);
    assert_eq!(bench.sent().len(), 2);
}
