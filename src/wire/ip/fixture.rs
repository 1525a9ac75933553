//! Packets for the tests of this layer and of those above.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::checksum;

/// An IP packet with this upper protocol and payload, checksums filled in.
pub(crate) fn ip(source: &str, destination: &str, protocol: u8, upper: &[u8]) -> Vec<u8> {
    let mut packet = match (source.parse().unwrap(), destination.parse().unwrap()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            ipv4_header(source, destination, protocol, upper.len())
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            ipv6_header(source, destination, protocol, upper.len())
        }
        _ => panic!("mixed families"),
    };
    packet.extend_from_slice(upper);
    checksum::fill_ipv4_header(&mut packet);
    checksum::fill_transport(&mut packet);
    packet
}

fn ipv4_header(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, len: usize) -> Vec<u8> {
    let mut header = vec![0x45, 0, 0, 0, 0x12, 0x34, 0, 0, 64, protocol, 0, 0];
    header[2..4].copy_from_slice(&((20 + len) as u16).to_be_bytes());
    header.extend(source.octets());
    header.extend(destination.octets());
    header
}

fn ipv6_header(source: Ipv6Addr, destination: Ipv6Addr, protocol: u8, len: usize) -> Vec<u8> {
    let mut header = vec![0x60, 0, 0, 0, 0, 0, protocol, 64];
    header[4..6].copy_from_slice(&(len as u16).to_be_bytes());
    header.extend(source.octets());
    header.extend(destination.octets());
    header
}

pub(crate) fn udp(source: &str, destination: &str, ports: (u16, u16), len: usize) -> Vec<u8> {
    let mut upper = Vec::new();
    upper.extend(ports.0.to_be_bytes());
    upper.extend(ports.1.to_be_bytes());
    upper.extend(((8 + len) as u16).to_be_bytes());
    upper.extend([0, 0]);
    upper.extend((0..len).map(|n| n as u8));
    ip(source, destination, 17, &upper)
}

/// A TCP SYN that announces this MSS.
pub(crate) fn syn(source: &str, destination: &str, mss: u16) -> Vec<u8> {
    let [high, low] = mss.to_be_bytes();
    let upper = [0xc0, 0, 1, 0xbb, 0, 0, 0, 1, 0, 0, 0, 0, 0x60, 2, 0xff, 0xff, 0, 0, 0, 0, 2, 4, high, low];
    ip(source, destination, 6, &upper)
}

/// Sets flags and fragment offset (in units of 8 octets) of an IPv4 packet.
pub(crate) fn fragment_field(mut packet: Vec<u8>, field: u16) -> Vec<u8> {
    packet[6..8].copy_from_slice(&field.to_be_bytes());
    checksum::fill_ipv4_header(&mut packet);
    packet
}

pub(crate) const DONT_FRAGMENT: u16 = 0x4000;
