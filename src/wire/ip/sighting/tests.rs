use super::*;
use crate::wire::ip::fixture::{fragment_field, ip, syn, udp};
use crate::wire::ip::icmp::{self, Unreachable};

const CLIENT: &str = "192.168.10.10";
const SERVICE: &str = "172.16.0.33";

fn see(octets: &[u8]) -> Option<Sighting> {
    Sighting::of(Instant::now(), Way::FromTunnel, octets, &InnerPacket::parse(octets).unwrap())
}

fn segment(flags: u8, options: &[u8]) -> Vec<u8> {
    let mut upper = vec![0xc0, 0, 0x0c, 0xea, 0, 0, 1, 0, 0, 0, 2, 0, 0, flags, 0xff, 0xff, 0, 0, 0, 0];
    upper.extend(options);
    upper[12] = ((upper.len() / 4) as u8) << 4;
    ip(CLIENT, SERVICE, 6, &upper)
}

fn tcp_of(octets: &[u8]) -> TcpSighting {
    match see(octets).unwrap().what {
        Sighted::Tcp(seen) => seen,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_syn_is_seen_with_its_numbers_and_timestamps() {
    let options = [2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 7, 0, 0, 0, 9, 1, 3, 3, 7];
    let octets = segment(0xc2, &options);
    let seen = see(&octets).unwrap();
    assert_eq!(seen.ends().unwrap().0, "192.168.10.10:49152".parse().unwrap());
    assert_eq!(seen.ends().unwrap().1, "172.16.0.33:3306".parse().unwrap());
    assert_eq!((seen.ttl, seen.refused, seen.way), (64, false, Way::FromTunnel));
    let tcp = tcp_of(&octets);
    assert_eq!((tcp.kind, tcp.sequence, tcp.acknowledgment), (Segment::Syn, 0x100, 0));
    assert_eq!(tcp.timestamps, Some((7, 9)));
    assert!(seen.refused().refused);
}

#[test]
fn flags_decide_what_is_seen() {
    assert_eq!(tcp_of(&segment(0x12, &[])).kind, Segment::SynAck);
    assert_eq!(tcp_of(&segment(0x12, &[])).acknowledgment, 0x200);
    assert_eq!(tcp_of(&segment(0x14, &[])).kind, Segment::Reset);
    assert_eq!(tcp_of(&segment(0x04, &[])).acknowledgment, 0);
    assert_eq!(tcp_of(&segment(0x06, &[])).kind, Segment::Reset);
    for data_or_end in [0x10, 0x18, 0x11, 0x01, 0x00] {
        assert_eq!(see(&segment(data_or_end, &[])), None);
    }
}

#[test]
fn odd_options_give_no_timestamps_and_no_failure() {
    for options in
        [&[8, 10, 0, 0][..], &[8, 9, 1, 1], &[0, 8, 10, 0], &[3, 0, 1, 1], &[255, 255, 0, 0], &[1; 4]]
    {
        assert_eq!(tcp_of(&segment(2, options)).timestamps, None);
    }
}

#[test]
fn datagrams_are_seen_and_later_fragments_are_not() {
    let octets = udp(CLIENT, "172.16.0.10", (4_000, 53), 30);
    assert_eq!(see(&octets).unwrap().what, Sighted::Udp { src_port: 4_000, dst_port: 53 });
    assert!(see(&fragment_field(octets.clone(), 0x2000)).is_some());
    assert_eq!(see(&fragment_field(octets, 1)), None);
    assert_eq!(see(&ip(CLIENT, SERVICE, 1, &[8, 0, 0, 0, 0, 0, 0, 0])), None);
    assert_eq!(see(&ip(CLIENT, SERVICE, 132, &[0; 12])), None);
}

#[test]
fn an_error_is_seen_with_what_it_quotes() {
    let cases = [
        (
            icmp::destination_unreachable as fn(&[u8], IpAddr, Unreachable) -> Option<Vec<u8>>,
            Unreachable::Port,
        ),
        (icmp::destination_unreachable, Unreachable::Host),
        (icmp::destination_unreachable, Unreachable::Network),
        (icmp::destination_unreachable, Unreachable::AdministrativelyProhibited),
    ];
    let kinds = [
        ErrorKind::PortUnreachable,
        ErrorKind::HostUnreachable,
        ErrorKind::HostUnreachable,
        ErrorKind::Prohibited,
    ];
    for (from, offender) in
        [("10.0.1.11", syn(CLIENT, SERVICE, 1_460)), ("fd00::11", syn("fd0a::10", "fd0b::33", 1_460))]
    {
        let from: IpAddr = from.parse().unwrap();
        for ((build, why), kind) in cases.iter().zip(kinds) {
            let Sighted::Error(seen) = see(&build(&offender, from, *why).unwrap()).unwrap().what else {
                panic!("no error")
            };
            assert_eq!(seen.kind, kind);
            assert_eq!((seen.quoted.protocol, seen.quoted.ports), (6, Some((0xc000, 443))));
            assert_eq!(seen.quoted.sequence, Some(1));
        }
        let octets = icmp::time_exceeded(&offender, from).unwrap();
        let seen = see(&octets).unwrap();
        assert_eq!(seen.src, from);
        assert!(matches!(seen.what, Sighted::Error(ErrorSighting { kind: ErrorKind::TimeExceeded, .. })));
        assert_eq!(seen.ends(), None);
    }
    let too_big = icmp::fragmentation_needed(&syn(CLIENT, SERVICE, 1), "10.0.1.1".parse().unwrap(), 1_300);
    assert_eq!(see(&too_big.unwrap()), None);
}

#[test]
fn an_error_with_eight_octets_of_the_transport_header_is_enough() {
    let offender = syn(CLIENT, SERVICE, 1_460);
    let message = [&[3, 3, 0, 0, 0, 0, 0, 0][..], &offender[..28]].concat();
    let Sighted::Error(seen) = see(&ip("10.0.1.11", CLIENT, 1, &message)).unwrap().what else {
        panic!("no error")
    };
    let (src, dst) = seen.quoted.ends().unwrap();
    assert_eq!((src.to_string(), dst.to_string()), (format!("{CLIENT}:49152"), format!("{SERVICE}:443")));
    assert_eq!(seen.quoted.sequence, Some(1));
}

proptest::proptest! {
    #[test]
    fn nothing_that_parses_makes_it_fail(mut octets in proptest::collection::vec(proptest::prelude::any::<u8>(), 20..120), v6: bool, upper in 0usize..5) {
        octets[0] = if v6 { 0x60 } else { 0x45 };
        let protocols = [1, 6, 17, 58, 132];
        let len = octets.len();
        if v6 && len >= 40 {
            octets[4..6].copy_from_slice(&((len - 40) as u16).to_be_bytes());
            octets[6] = protocols[upper];
        } else {
            octets[2..4].copy_from_slice(&(len as u16).to_be_bytes());
            octets[9] = protocols[upper];
        }
        if let Ok(view) = InnerPacket::parse(&octets) {
            let _ = Sighting::of(Instant::now(), Way::IntoTunnel, &octets, &view);
        }
    }
}
