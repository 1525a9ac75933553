//! Inner packets: parsing, edits, checksums against a plain model, ICMP errors.

mod edit;
mod errors;
mod parse;

use std::net::{Ipv4Addr, Ipv6Addr};

use super::*;

const SRC_4: Ipv4Addr = Ipv4Addr::new(192, 168, 10, 7);
const DST_4: Ipv4Addr = Ipv4Addr::new(172, 16, 3, 9);
const SRC_6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 7);
const DST_6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 9);

/// An IPv4 packet with a right header checksum. `flags` are flags and fragment offset.
fn ipv4(protocol: u8, flags: u16, upper: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0];
    packet.extend(u16::try_from(20 + upper.len()).unwrap().to_be_bytes());
    packet.extend([0x12, 0x34]);
    packet.extend(flags.to_be_bytes());
    packet.extend([64, protocol, 0, 0]);
    packet.extend(SRC_4.octets());
    packet.extend(DST_4.octets());
    checksum::fill_ipv4_header(&mut packet);
    packet.extend(upper);
    packet
}

fn ipv6(next_header: u8, rest: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
    packet.extend([next_header, 64]);
    packet.extend(SRC_6.octets());
    packet.extend(DST_6.octets());
    packet.extend(rest);
    packet
}

fn udp(payload: &[u8]) -> Vec<u8> {
    let mut datagram = vec![0x10, 0x00, 0x00, 0x35];
    datagram.extend(u16::try_from(8 + payload.len()).unwrap().to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(payload);
    datagram
}

fn tcp(flags: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
    assert_eq!(options.len() % 4, 0);
    let mut segment = vec![0xc0, 0x00, 0x01, 0xbb, 1, 2, 3, 4, 5, 6, 7, 8];
    segment.push(u8::try_from((20 + options.len()) / 4).unwrap() << 4);
    segment.push(flags);
    segment.extend([0xff, 0xff, 0, 0, 0, 0]);
    segment.extend(options);
    segment.extend(payload);
    segment
}

/// The checksum as RFC 1071 explains it, a word at a time.
fn model(octets: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in octets.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
