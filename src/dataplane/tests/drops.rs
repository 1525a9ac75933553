//! Every reason to drop a packet can be reached, counts once, and nothing else counts.

use super::doubles::{Bench, entry, open, pair, protect, received, up};
use crate::{
    dataplane::{
        batch::{Offload, Segmentation},
        device::{Received, TunError, UdpError},
    },
    esp::{
        DropReason, Limits, Snapshot, SpdAction,
        fixture::{
            DONT_FRAGMENT, GCM, fragment_field, inbound_with, nets, outbound, outbound_with, path, plaintext,
            seal, seal_as, seal_plaintext, selectors, udp,
        },
    },
    wire::ip::{Ecn, set_ecn},
};

fn ours(len: usize) -> Vec<u8> {
    udp("10.1.0.1", "10.2.0.1", (1_000, 2_000), len)
}

fn theirs() -> Vec<u8> {
    udp("10.2.0.1", "10.1.0.1", (1_000, 2_000), 40)
}

fn esp(sequence: u64) -> Vec<u8> {
    seal_as(&outbound(GCM), sequence, 4, &theirs())
}

fn other_io() -> std::io::Error {
    std::io::Error::from_raw_os_error(libc::EDOM)
}

/// Brings about one drop for this reason.
fn provoke(reason: DropReason) -> Bench {
    let mut bench = Bench::new(pair());
    let refuse_udp = |fault| {
        let mut bench = Bench::new(pair());
        *bench.udp.transmit_fault.lock().unwrap() = Some(fault);
        bench.inside(ours(10));
        bench
    };
    let refuse_tun = |fault| {
        let mut bench = Bench::new(pair());
        *bench.tun.transmit_fault.lock().unwrap() = Some(fault);
        bench.outside(esp(1));
        bench
    };
    let policy = |action| {
        let mut bench = Bench::new(Snapshot::new(1, [], vec![entry(nets(), action)]));
        bench.inside(ours(10));
        bench
    };
    match reason {
        DropReason::Runt => bench.outside(vec![0; 3]),
        DropReason::DatagramTruncated => {
            bench.outside_as(esp(1), Received { truncated: true, ..received() });
        }
        DropReason::ReservedSpi => bench.outside(vec![0, 0, 0, 9, 0, 0, 0, 1]),
        DropReason::UnknownSpi => bench.outside(vec![0xaa; 60]),
        DropReason::IkeQueueFull => {
            bench = Bench::with_room(pair(), 0);
            bench.outside(vec![0; 40]);
        }
        DropReason::SequenceZero => bench.outside(esp(0)),
        DropReason::Replayed => (0..2).for_each(|_| bench.outside(esp(5))),
        DropReason::ReplayTooOld => {
            [100_000, 1].into_iter().for_each(|sequence| bench.outside(esp(sequence)))
        }
        DropReason::CiphertextLength => bench.outside(esp(1)[..41].to_vec()),
        DropReason::AuthenticationFailed => {
            let mut forged = esp(1);
            forged[20] ^= 1;
            bench.outside(forged);
        }
        DropReason::BadPadding => bench.outside(seal_plaintext(&GCM, 1, &[1, 2, 9, 4])),
        DropReason::UnknownNextHeader => bench.outside(seal_plaintext(&GCM, 1, &plaintext(&theirs(), 0, 6))),
        DropReason::InnerMalformed => bench.outside(seal_plaintext(&GCM, 1, &plaintext(&[0x45; 8], 0, 4))),
        DropReason::InnerSelectorMismatch => {
            bench.outside(seal(&outbound(GCM), &udp("10.3.0.1", "10.1.0.1", (1, 2), 3)));
        }
        DropReason::InnerFragmentWithoutPorts => {
            let web = selectors(&["10.1.0.0/16[udp/53]"], &["10.2.0.0/16"]);
            bench = Bench::new(up(inbound_with(GCM, web, Limits::default()), outbound(GCM)));
            bench.outside(seal(&outbound(GCM), &fragment_field(theirs(), 4)));
        }
        DropReason::EcnIllegal => bench.outside_as(esp(1), Received { tos: 3, ..received() }),
        DropReason::InboundHardLimit => {
            let limits = Limits { hard_packets: Some(1), ..Limits::default() };
            bench = Bench::new(up(inbound_with(GCM, nets(), limits), outbound(GCM)));
            [1, 2].into_iter().for_each(|sequence| bench.outside(esp(sequence)));
        }
        DropReason::TunQueueFull => bench = refuse_tun(|| TunError::Full),
        DropReason::TunGone => bench = refuse_tun(|| TunError::Gone),
        DropReason::TunRefused => bench = refuse_tun(|| TunError::Other(other_io())),
        DropReason::OutboundMalformed => bench.inside(vec![0x45; 7]),
        DropReason::UnsupportedOffload => {
            let offload = Offload { segmentation: Segmentation::TcpV4, ..Offload::default() };
            bench.tun.to_worker.lock().unwrap().push_back((ours(10), offload));
            bench.turn();
        }
        DropReason::NotUnicast => bench.inside(udp("10.1.0.1", "224.0.0.251", (5_353, 5_353), 10)),
        DropReason::NoPolicy => bench.inside(udp("10.1.0.1", "10.9.0.1", (1, 2), 10)),
        DropReason::PolicyDiscard => bench = policy(SpdAction::Discard),
        DropReason::PolicyBypass => bench = policy(SpdAction::Bypass),
        DropReason::TunnelLoop => {
            let all = selectors(&["0.0.0.0/0"], &["0.0.0.0/0"]);
            bench = Bench::new(Snapshot::new(1, [], vec![protect(all, Some(outbound(GCM).into()), false)]));
            bench.inside(udp("192.0.2.10", "198.51.100.7", (4_500, 4_500), 100));
        }
        DropReason::NoSa => bench = policy(SpdAction::Protect { outbound: None, trap: false }),
        DropReason::AcquireTimeout => {
            bench = policy(SpdAction::Protect { outbound: None, trap: true });
            bench.now += 5_000;
            bench.turn();
        }
        DropReason::AcquireQueueFull => {
            bench = policy(SpdAction::Protect { outbound: None, trap: true });
            (0..16).for_each(|_| bench.inside(ours(10)));
        }
        DropReason::TooBigIpv4 => bench.inside(fragment_field(ours(1_411), DONT_FRAGMENT)),
        DropReason::TooBigIpv6 => bench.inside(udp("fd01::1", "fd02::1", (1, 2), 1_391)),
        DropReason::CannotFragment => {
            let tiny = path();
            tiny.set_outer_mtu(60);
            let sa = outbound_with(GCM, tiny, Limits::default());
            bench = Bench::new(Snapshot::new(1, [], vec![protect(nets(), Some(sa.into()), false)]));
            bench.inside(ours(10));
        }
        DropReason::OutboundHardLimit => {
            let limits = Limits { hard_packets: Some(1), ..Limits::default() };
            let sa = outbound_with(GCM, path(), limits);
            bench = Bench::new(Snapshot::new(1, [], vec![protect(nets(), Some(sa.into()), false)]));
            (0..2).for_each(|_| bench.inside(ours(10)));
        }
        DropReason::SealFailed => {
            // No snapshot holds an SA that cannot seal; the counter is for the impossible.
            let sa = outbound(GCM);
            let failed = sa.seal(1, 4, &theirs(), &[0; 16], 1, &mut [0; 9]).unwrap_err();
            bench.counters.drops.add(failed);
        }
        DropReason::NoSocket => bench = refuse_udp(|| UdpError::NoSocket),
        DropReason::UdpTooBig => bench = refuse_udp(|| UdpError::TooBig),
        DropReason::PeerUnreachable => bench = refuse_udp(|| UdpError::Unreachable),
        DropReason::UdpQueueFull => bench = refuse_udp(|| UdpError::Full),
        DropReason::UdpForbidden => bench = refuse_udp(|| UdpError::Forbidden),
        DropReason::UdpRefused => bench = refuse_udp(|| UdpError::Other(other_io())),
    }
    bench
}

#[test]
fn every_drop_counts_once_under_its_reason() {
    for reason in DropReason::ALL {
        let bench = provoke(*reason);
        assert_eq!(bench.drops(), [(*reason, 1)]);
    }
}

#[test]
fn drops_of_an_sa_count_there_as_well() {
    for reason in [DropReason::Replayed, DropReason::TunQueueFull, DropReason::InnerMalformed] {
        let bench = provoke(reason);
        let snapshot = bench.snapshot.load();
        let sa = snapshot.inbound_sas().next().unwrap();
        assert_eq!(sa.counters().drops.get(reason), 1, "{reason}");
    }
    for reason in [DropReason::TooBigIpv4, DropReason::UdpTooBig, DropReason::OutboundHardLimit] {
        let bench = provoke(reason);
        let snapshot = bench.snapshot.load();
        let SpdAction::Protect { outbound: Some(sa), .. } = &snapshot.spd().get(0).unwrap().action else {
            panic!("no SA")
        };
        assert_eq!(sa.counters().drops.get(reason), 1, "{reason}");
    }
}

#[test]
fn traffic_goes_on_after_every_drop() {
    let mut bench = Bench::new(pair());
    for (sequence, damage) in (1..200u64).zip((0..).step_by(3)) {
        let mut bad = esp(sequence);
        let at = damage % bad.len();
        bad[at] ^= 0x40;
        bench.outside(bad);
        bench.outside(esp(sequence));
        bench.inside(ours(10));
    }
    assert_eq!(bench.delivered(), vec![theirs(); 199]);
    assert_eq!(open(bench.sent()), vec![ours(10); 199]);
    assert_eq!(bench.counters.drops.total(), 199);
}

#[test]
fn a_congestion_mark_on_a_capable_packet_is_delivered() {
    let mut bench = Bench::new(pair());
    let mut capable = theirs();
    set_ecn(&mut capable, Ecn::Ect0);
    bench.outside_as(seal(&outbound(GCM), &capable), Received { tos: 3, ..received() });
    set_ecn(&mut capable, Ecn::Ce);
    assert_eq!(bench.delivered(), [capable]);
}
