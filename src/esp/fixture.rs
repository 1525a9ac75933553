//! SAs and packets for the tests of this layer and of the data plane.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use super::{
    ChildId, InboundConfig, InboundSa, Limits, OutboundConfig, OutboundSa, Path, PathState, SaSelectors,
    Treatment,
};
use crate::{
    crypto::{Cipher, DirectionKeys, EspSuite, Integrity, Secret},
    policy::{SelectorSet, TrafficSelector},
    wire::{
        esp::{EspHeader, padding_len, write_trailer},
        ip::checksum,
    },
};

pub(crate) const SPI: u32 = 0xc0ff_ee01;
pub(crate) const GCM: EspSuite = EspSuite {
    cipher: Cipher::AesGcm { key_bits: 256, icv_len: 16 },
    integrity: None,
    group: None,
    esn: false,
};
pub(crate) const GCM_ESN: EspSuite = EspSuite { esn: true, ..GCM };

/// Every suite, with and without extended sequence numbers.
pub(crate) fn suites() -> Vec<EspSuite> {
    let mut suites = Vec::new();
    for cipher in Cipher::ALL {
        for integrity in Integrity::ALL {
            let integrity = Some(integrity).filter(|_| !cipher.is_aead());
            for esn in [false, true] {
                let suite = EspSuite { cipher, integrity, group: None, esn };
                if !suites.contains(&suite) {
                    suites.push(suite);
                }
            }
        }
    }
    suites
}

pub(crate) fn keys(suite: &EspSuite) -> DirectionKeys {
    let octets = |len: usize, from: u8| -> Vec<u8> { (0..len).map(|n| from.wrapping_add(n as u8)).collect() };
    DirectionKeys {
        encryption: Secret::from_slice(&octets(suite.cipher.key_len(), 0x10)),
        integrity: Secret::from_slice(&octets(suite.integrity.map_or(0, Integrity::key_len), 0x80)),
    }
}

pub(crate) fn path() -> Arc<Path> {
    Path::new(PathState { local: None, remote: "198.51.100.7:4500".parse().unwrap(), outer_mtu: 1_500 })
}

pub(crate) fn selectors(local: &[&str], remote: &[&str]) -> SaSelectors {
    let set =
        |texts: &[&str]| SelectorSet::new(texts.iter().map(|text| TrafficSelector::parse(text).unwrap()));
    SaSelectors { local: set(local), remote: set(remote) }
}

/// 10.1.0.0/16 and fd01::/16 here, 10.2.0.0/16 and fd02::/16 there.
pub(crate) fn nets() -> SaSelectors {
    selectors(&["10.1.0.0/16", "fd01::/16"], &["10.2.0.0/16", "fd02::/16"])
}

pub(crate) fn everything() -> SaSelectors {
    selectors(&["0.0.0.0/0", "::/0"], &["0.0.0.0/0", "::/0"])
}

pub(crate) fn outbound_with(suite: EspSuite, path: Arc<Path>, limits: Limits) -> OutboundSa {
    OutboundSa::new(OutboundConfig {
        child: ChildId(7),
        spi: SPI,
        suite,
        keys: &keys(&suite),
        path,
        limits,
        treatment: Treatment::default(),
    })
    .unwrap()
}

pub(crate) fn outbound(suite: EspSuite) -> OutboundSa {
    outbound_with(suite, path(), Limits::default())
}

pub(crate) fn inbound_with(suite: EspSuite, selectors: SaSelectors, limits: Limits) -> InboundSa {
    InboundSa::new(InboundConfig {
        child: ChildId(7),
        spi: SPI,
        suite,
        keys: &keys(&suite),
        path: path(),
        limits,
        selectors,
        replay_window: 4_096,
        treatment: Treatment::default(),
    })
    .unwrap()
}

pub(crate) fn inbound(suite: EspSuite) -> InboundSa {
    inbound_with(suite, everything(), Limits::default())
}

/// Seals a packet with the next sequence number.
pub(crate) fn seal(sa: &OutboundSa, inner: &[u8]) -> Vec<u8> {
    let sequence = sa.reserve(1, inner.len() as u64).unwrap().sequences.start;
    seal_as(sa, sequence, if inner.first().map(|first| first >> 4) == Some(6) { 41 } else { 4 }, inner)
}

pub(crate) fn seal_as(sa: &OutboundSa, sequence: u64, next_header: u8, inner: &[u8]) -> Vec<u8> {
    let mut out = vec![0; sa.sealed_len(inner.len())];
    let len = sa.seal(sequence, next_header, inner, &[0x5c; 16], 1, &mut out).unwrap();
    assert_eq!(len, out.len());
    out
}

/// Seals any plaintext, trailer included, without extended sequence numbers.
pub(crate) fn seal_plaintext(suite: &EspSuite, sequence: u32, plaintext: &[u8]) -> Vec<u8> {
    let key = keys(suite).cipher(suite).unwrap();
    let header = EspHeader { spi: SPI, sequence }.to_octets();
    let iv = vec![0x21; key.iv_len()];
    let (mut data, mut icv) = (plaintext.to_vec(), vec![0; key.icv_len()]);
    key.seal(&iv, &header, &[], &mut data, &mut icv).unwrap();
    [&header[..], &iv, &data, &icv].concat()
}

/// A correct plaintext around a payload, with `tfc` octets of traffic flow confidentiality padding.
pub(crate) fn plaintext(payload: &[u8], tfc: usize, next_header: u8) -> Vec<u8> {
    let mut plaintext = payload.to_vec();
    plaintext.resize(payload.len() + tfc, 0xee);
    let start = plaintext.len();
    plaintext.resize(start + padding_len(start, 16) + 2, 0);
    assert!(write_trailer(&mut plaintext[start..], next_header));
    plaintext
}

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
