use super::super::icmp::*;
use super::*;

const FROM_4: Ipv4Addr = Ipv4Addr::new(192, 168, 10, 1);
const FROM_6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1);

fn with_addresses(mut packet: Vec<u8>, src: [u8; 4], dst: [u8; 4]) -> Vec<u8> {
    packet[12..16].copy_from_slice(&src);
    packet[16..20].copy_from_slice(&dst);
    packet
}

fn with_addresses_6(mut packet: Vec<u8>, src: Ipv6Addr, dst: Ipv6Addr) -> Vec<u8> {
    packet[8..24].copy_from_slice(&src.octets());
    packet[24..40].copy_from_slice(&dst.octets());
    packet
}

#[test]
fn fragmentation_needed_octet_by_octet() {
    let offender = ipv4(17, 0x4000, &udp(b"ab"));
    let reply = fragmentation_needed(&offender, FROM_4, 1400).unwrap();
    assert_eq!(reply[..2], [0x45, 0xc0]);
    assert_eq!(reply[2..4], [0, 58]);
    assert_eq!(reply[9], 1);
    assert_eq!(reply[12..16], FROM_4.octets());
    assert_eq!(reply[16..20], SRC_4.octets());
    assert_eq!(reply[20..22], [3, 4]);
    assert_eq!(reply[24..28], [0, 0, 0x05, 0x78]);
    assert_eq!(reply[28..], offender);
    assert_eq!(model(&reply[..20]), 0);
    assert_eq!(model(&reply[20..]), 0);
}

#[test]
fn packet_too_big_octet_by_octet() {
    let offender = ipv6(17, &udp(b"ab"));
    let reply = packet_too_big(&offender, FROM_6, 1400).unwrap();
    assert_eq!(reply[..8], [0x60, 0, 0, 0, 0, 58, 58, 64]);
    assert_eq!(reply[8..24], FROM_6.octets());
    assert_eq!(reply[24..40], SRC_6.octets());
    assert_eq!(reply[40..42], [2, 0]);
    assert_eq!(reply[44..48], [0, 0, 0x05, 0x78]);
    assert_eq!(reply[48..], offender);
    let pseudo = [&FROM_6.octets()[..], &SRC_6.octets(), &[0, 0, 0, 58, 0, 0, 0, 58], &reply[40..]].concat();
    assert_eq!(model(&pseudo), 0);
}

#[test]
fn every_reason_has_its_type_and_code() {
    use Unreachable::*;
    let v4 = ipv4(17, 0, &udp(b""));
    let v6 = ipv6(17, &udp(b""));
    let table = [
        (Network, (3, 0), (1, 0)),
        (Host, (3, 1), (1, 3)),
        (AdministrativelyProhibited, (3, 13), (1, 1)),
        (Port, (3, 3), (1, 4)),
    ];
    let icmp = |reply: Option<Vec<u8>>| InnerPacket::parse(&reply.unwrap()).unwrap().icmp.unwrap();
    for (why, code_4, code_6) in table {
        assert_eq!(icmp(destination_unreachable(&v4, FROM_4.into(), why)), code_4);
        assert_eq!(icmp(destination_unreachable(&v6, FROM_6.into(), why)), code_6);
    }
    assert_eq!(icmp(time_exceeded(&v4, FROM_4.into())), (11, 0));
    assert_eq!(icmp(time_exceeded(&v6, FROM_6.into())), (3, 0));
}

#[test]
fn the_quotation_is_bounded_and_without_padding() {
    let mut long = ipv4(17, 0x4000, &udp(&[7; 1400]));
    assert_eq!(fragmentation_needed(&long, FROM_4, 1300).unwrap().len(), 576);
    long = ipv6(17, &udp(&[7; 1400]));
    assert_eq!(packet_too_big(&long, FROM_6, 1300).unwrap().len(), 1280);
    let mut padded = ipv4(17, 0x4000, &udp(b"ab"));
    padded.extend([0; 20]);
    assert_eq!(fragmentation_needed(&padded, FROM_4, 1300).unwrap().len(), 58);
}

#[test]
fn no_error_about_an_icmp_error() {
    for kind in 0..=255 {
        let v4 = time_exceeded(&ipv4(1, 0, &[kind, 0, 0, 0]), FROM_4.into());
        assert_eq!(v4.is_none(), matches!(kind, 3 | 4 | 5 | 11 | 12), "{kind}");
        let v6 = time_exceeded(&ipv6(58, &[kind, 0, 0, 0]), FROM_6.into());
        assert_eq!(v6.is_none(), kind < 128 || kind == 137, "{kind}");
    }
    let error = time_exceeded(&ipv4(17, 0, &udp(b"")), FROM_4.into()).unwrap();
    assert_eq!(time_exceeded(&error, FROM_4.into()), None);
}

#[test]
fn no_error_about_a_later_fragment() {
    assert!(time_exceeded(&ipv4(17, 0x2000, &udp(b"")), FROM_4.into()).is_some());
    assert_eq!(time_exceeded(&ipv4(17, 0x0001, &udp(b"")), FROM_4.into()), None);
    let later = ipv6(44, &[&[17, 0, 0, 8, 0, 0, 0, 1][..], &udp(b"")].concat());
    assert_eq!(packet_too_big(&later, FROM_6, 1280), None);
}

#[test]
fn no_error_to_or_about_addresses_of_many_hosts() {
    let packet = || ipv4(17, 0, &udp(b""));
    let src = SRC_4.octets();
    for dst in [[224, 0, 0, 1], [239, 1, 2, 3], [255; 4]] {
        assert_eq!(time_exceeded(&with_addresses(packet(), src, dst), FROM_4.into()), None, "{dst:?}");
    }
    for src in [[0; 4], [127, 0, 0, 1], [224, 0, 0, 1], [240, 0, 0, 1], [255; 4]] {
        let offender = with_addresses(packet(), src, DST_4.octets());
        assert_eq!(time_exceeded(&offender, FROM_4.into()), None, "{src:?}");
    }
    let packet = || ipv6(17, &udp(b""));
    let all_nodes: Ipv6Addr = "ff02::1".parse().unwrap();
    for src in [Ipv6Addr::UNSPECIFIED, Ipv6Addr::LOCALHOST, all_nodes] {
        assert_eq!(time_exceeded(&with_addresses_6(packet(), src, DST_6), FROM_6.into()), None, "{src}");
    }
    let to_many = with_addresses_6(packet(), SRC_6, all_nodes);
    assert_eq!(time_exceeded(&to_many, FROM_6.into()), None);
    assert!(packet_too_big(&to_many, FROM_6, 1280).is_some());
}

#[test]
fn no_error_from_the_other_version_or_about_what_is_no_packet() {
    assert_eq!(time_exceeded(&ipv4(17, 0, &udp(b"")), FROM_6.into()), None);
    assert_eq!(time_exceeded(&ipv6(17, &udp(b"")), FROM_4.into()), None);
    assert_eq!(fragmentation_needed(&[0x45; 19], FROM_4, 1400), None);
}

#[test]
fn a_buffer_is_cleared_before_use() {
    let mut out = vec![1, 2, 3];
    let offender = ipv4(17, 0, &udp(b""));
    assert!(write_error(&offender, FROM_4.into(), IcmpError::TimeExceeded, &mut out));
    assert_eq!(out[0], 0x45);
    assert!(!write_error(&offender, FROM_6.into(), IcmpError::TimeExceeded, &mut out));
    assert!(out.is_empty());
}
