//! The worker's thread, over real sockets on the loopback interface.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, sync_channel},
    },
    time::Duration,
};

use arc_swap::ArcSwap;

use super::doubles::{TunEnd, protect};
use crate::{
    dataplane::{DataPlane, DataPlaneConfig, IkeSender, IpsecSockets, SocketOptions},
    esp::{
        Limits, Path, PathState, Report, Snapshot,
        fixture::{GCM, inbound, outbound_with, selectors, udp},
    },
};

const PATIENCE: Duration = Duration::from_secs(30);

struct End {
    plane: DataPlane,
    tun: TunEnd,
    path: Arc<Path>,
    sockets: Arc<IpsecSockets>,
    reports: Receiver<Report>,
    port: u16,
}

fn end() -> End {
    let sockets =
        Arc::new(IpsecSockets::open(&["0.0.0.0".parse().unwrap()], 0, SocketOptions::default()).unwrap());
    let port = sockets.iter().next().unwrap().bound().port();
    let path = Path::new(PathState { local: None, remote: "127.0.0.1:9".parse().unwrap(), outer_mtu: 1_500 });
    let everything = selectors(&["0.0.0.0/0"], &["0.0.0.0/0"]);
    let sa = outbound_with(GCM, Arc::clone(&path), Limits::default());
    let snapshot =
        Snapshot::new(1, [Arc::new(inbound(GCM))], vec![protect(everything, Some(Arc::new(sa)), false)]);
    let tun = TunEnd::default();
    let (sink, reports) = sync_channel(64);
    let plane = DataPlane::start(
        DataPlaneConfig::default(),
        [(tun.device(), Arc::clone(&sockets))],
        &Arc::new(ArcSwap::from_pointee(snapshot)),
        &sink,
    )
    .unwrap();
    End { plane, tun, path, sockets, reports, port }
}

#[test]
fn two_data_planes_carry_packets_and_ike_to_each_other_and_stop() {
    let (one, two) = (end(), end());
    let (address_one, address_two) = ("127.0.0.31".parse().unwrap(), "127.0.0.32".parse().unwrap());
    one.path.set_addresses(Some(address_one), (address_two, two.port).into());
    two.path.set_addresses(Some(address_two), (address_one, one.port).into());

    let packet = udp("10.1.0.1", "10.2.0.1", (1, 2), 700);
    one.tun.send(packet.clone());
    let first = two.reports.recv_timeout(PATIENCE).unwrap();
    assert!(matches!(first, Report::FirstInbound { .. }), "{first:?}");

    let message = vec![9; 60];
    IkeSender::new(Arc::clone(&two.sockets))
        .send(Some(address_two), (address_one, one.port).into(), &message, true)
        .unwrap();
    let ike = one.reports.recv_timeout(PATIENCE).unwrap();
    let expected = Report::Ike {
        local: (address_one, one.port).into(),
        remote: (address_two, two.port).into(),
        octets: message,
    };
    assert_eq!(ike, expected);

    for end in [&one, &two] {
        assert!(end.plane.is_running());
        end.plane.stop().unwrap();
        assert!(!end.plane.is_running());
        end.plane.stop().unwrap();
    }
    assert_eq!(two.tun.from_worker.lock().unwrap().pop_front(), Some(packet));
    assert_eq!(two.plane.counters().drops.total(), 0);
}

#[test]
fn a_new_tun_device_is_taken_while_the_worker_runs() {
    use crate::dataplane::device::TunError;
    let one = end();
    *one.tun.receive_fault.lock().unwrap() = Some(|| TunError::Gone);
    one.plane.wake();
    assert_eq!(one.reports.recv_timeout(PATIENCE).unwrap(), Report::TunGone);
    let two = end();
    one.path.set_addresses(None, ("127.0.0.1".parse::<std::net::IpAddr>().unwrap(), two.port).into());
    let tun = TunEnd::default();
    one.plane.replace_tun([tun.device()]);
    tun.send(udp("10.1.0.1", "10.2.0.1", (1, 2), 7));
    let seen = two.reports.recv_timeout(PATIENCE).unwrap();
    assert!(matches!(seen, Report::FirstInbound { .. }), "{seen:?}");
}

#[test]
fn a_worker_that_is_started_again_goes_on_where_it_was() {
    use crate::dataplane::Polling;
    let (one, two) = (end(), end());
    one.path.set_addresses(None, ("127.0.0.1".parse::<std::net::IpAddr>().unwrap(), two.port).into());
    let packets: Vec<_> = (0..30).map(|len| udp("10.1.0.1", "10.2.0.1", (1, 2), len)).collect();
    for (packet, polling) in packets.iter().zip([Polling::Off, Polling::default()].into_iter().cycle()) {
        one.tun.send(packet.clone());
        one.plane.restart(polling).unwrap();
        two.plane.restart(polling).unwrap();
        assert!(one.plane.is_running());
    }
    let first = two.reports.recv_timeout(PATIENCE).unwrap();
    assert!(matches!(first, Report::FirstInbound { .. }), "{first:?}");
    let begun = std::time::Instant::now();
    while two.tun.from_worker.lock().unwrap().len() < packets.len() && begun.elapsed() < PATIENCE {
        std::thread::yield_now();
    }
    one.plane.stop().unwrap();
    two.plane.stop().unwrap();
    let arrived: Vec<_> = two.tun.from_worker.lock().unwrap().drain(..).collect();
    assert_eq!(arrived, packets);
}
