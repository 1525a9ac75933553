//! SAs and packets for the tests of this layer and of the data plane.

use std::sync::Arc;

use super::{
    ChildId, InboundConfig, InboundSa, Limits, OutboundConfig, OutboundSa, Path, PathState, SaSelectors,
    Treatment,
};
pub(crate) use crate::wire::ip::fixture::{DONT_FRAGMENT, fragment_field, ip, syn, udp};
use crate::{
    crypto::{Cipher, DirectionKeys, EspSuite, Integrity, Secret},
    policy::{SelectorSet, TrafficSelector},
    wire::esp::{EspHeader, padding_len, write_trailer},
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
