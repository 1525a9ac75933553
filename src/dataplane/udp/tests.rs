use std::net::UdpSocket;

use super::*;
use crate::dataplane::{batch::Batch, socket::SocketOptions};

fn device(address: &str) -> (KernelUdp, SocketAddr) {
    let sockets = IpsecSockets::open(&[address.parse().unwrap()], 0, SocketOptions::default()).unwrap();
    let bound = sockets.iter().next().unwrap().bound();
    (KernelUdp::plain(Arc::new(sockets)), bound)
}

/// Waits until the device has something, and receives it.
fn receive_from(device: &mut KernelUdp, batch: &mut UdpBatch) {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut fds: Vec<_> =
        device.poll_fds().into_iter().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
    poll(&mut fds, PollTimeout::from(5_000u16)).unwrap();
    drop(fds);
    device.receive(batch);
}

fn destination(local: Option<IpAddr>, remote: SocketAddr, tos: u8) -> Destination {
    Destination { local, remote, tos, dont_fragment: true, segment_size: None }
}

fn round_trip(any: &str, from: &str, to: &str) {
    let (mut sender, sender_bound) = device(any);
    let (mut receiver, receiver_bound) = device(any);
    let (from, to): (IpAddr, IpAddr) = (from.parse().unwrap(), to.parse().unwrap());
    let target = SocketAddr::new(to, receiver_bound.port());
    let payloads: Vec<Vec<u8>> = (0..100u8).map(|n| vec![n; 1 + usize::from(n)]).collect();
    let datagrams: Vec<_> = payloads
        .iter()
        .map(|octets| Datagram { octets, to: destination(Some(from), target, 0xb9) })
        .collect();
    sender.transmit(&mut datagrams.iter().copied(), &mut |index, _, error| {
        panic!("datagram {index}: {error:?}")
    });

    let mut batch = Batch::new(128, 2_048);
    while batch.len() < payloads.len() {
        receive_from(&mut receiver, &mut batch);
    }
    for ((octets, meta), sent) in batch.iter().zip(&payloads) {
        assert_eq!(octets, &sent[..]);
        assert_eq!(meta.remote, SocketAddr::new(from, sender_bound.port()));
        assert_eq!(meta.local, target);
        assert_eq!(meta.tos, 0xb9);
        assert!(!meta.truncated);
    }
}

#[test]
fn datagrams_leave_from_the_chosen_address_and_arrive_with_addresses_and_tos() {
    round_trip("0.0.0.0", "127.0.0.7", "127.0.0.9");
}

#[test]
fn the_same_holds_for_ipv6() {
    round_trip("::", "::1", "::1");
}

#[test]
fn a_datagram_without_options_is_sent_as_the_kernel_chooses() {
    let (mut sender, _) = device("0.0.0.0");
    let plain = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = destination(None, plain.local_addr().unwrap(), 0);
    sender.transmit(&mut [Datagram { octets: b"x", to }].into_iter(), &mut |_, _, error| panic!("{error:?}"));
    let mut buffer = [0; 8];
    assert_eq!(plain.recv(&mut buffer).unwrap(), 1);
}

#[test]
fn a_datagram_cut_off_by_a_short_buffer_says_so() {
    let (mut receiver, bound) = device("127.0.0.1");
    let plain = UdpSocket::bind("127.0.0.1:0").unwrap();
    plain.send_to(&[1; 100], bound).unwrap();
    let mut batch = Batch::new(4, 50);
    receive_from(&mut receiver, &mut batch);
    let (octets, meta) = batch.iter().next().unwrap();
    assert_eq!(octets.len(), 50);
    assert!(meta.truncated);
}

#[test]
fn one_refused_datagram_does_not_hold_up_the_others() {
    let (mut sender, _) = device("0.0.0.0");
    let plain = UdpSocket::bind("127.0.0.1:0").unwrap();
    let good = destination(None, plain.local_addr().unwrap(), 0);
    let not_ours = destination(Some("192.0.2.99".parse().unwrap()), plain.local_addr().unwrap(), 0);
    let no_family = destination(None, "[::1]:9".parse().unwrap(), 0);
    let datagrams = [
        Datagram { octets: b"a", to: not_ours },
        Datagram { octets: b"b", to: good },
        Datagram { octets: b"c", to: no_family },
        Datagram { octets: &[0; 65_530], to: good },
        Datagram { octets: b"e", to: good },
    ];
    let mut refused = Vec::new();
    sender.transmit(&mut datagrams.iter().copied(), &mut |index, _, error| {
        refused.push((index, format!("{error:?}")))
    });
    assert_eq!(
        refused,
        [(0, "Unreachable".to_owned()), (2, "NoSocket".to_owned()), (3, "TooBig".to_owned())]
    );
    let mut buffer = [0; 8];
    plain.recv(&mut buffer).unwrap();
    assert_eq!(buffer[0], b'b');
    plain.recv(&mut buffer).unwrap();
    assert_eq!(buffer[0], b'e');
}

#[test]
fn a_train_of_segments_is_sent_as_single_datagrams() {
    let (mut sender, _) = device("0.0.0.0");
    let plain = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = Destination { segment_size: Some(3), ..destination(None, plain.local_addr().unwrap(), 0) };
    sender.transmit(&mut [Datagram { octets: b"abcdefgh", to }].into_iter(), &mut |_, _, error| {
        panic!("{error:?}")
    });
    let mut buffer = [0; 8];
    for expected in [&b"abc"[..], b"def", b"gh"] {
        let len = plain.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..len], expected);
    }
}

#[test]
fn a_large_message_may_be_fragmented_where_df_is_not_wanted() {
    // The loopback interface has an MTU of 65,536: nothing is too long for it without UDP's own limit, so
    // this only shows that switching DF off and on leaves the socket usable.
    let (mut sender, _) = device("0.0.0.0");
    let plain = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = destination(None, plain.local_addr().unwrap(), 0);
    let large = vec![7; 60_000];
    let datagrams = [
        Datagram { octets: &large, to: Destination { dont_fragment: false, ..to } },
        Datagram { octets: b"small", to },
    ];
    sender.transmit(&mut datagrams.iter().copied(), &mut |_, _, error| panic!("{error:?}"));
    let mut buffer = vec![0; 65_536];
    assert_eq!(plain.recv(&mut buffer).unwrap(), large.len());
    assert_eq!(plain.recv(&mut buffer).unwrap(), 5);
}
