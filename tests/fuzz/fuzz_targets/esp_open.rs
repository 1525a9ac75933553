//! The way in of an ESP packet: as it comes from the network, and behind decryption, with any plaintext
//! under a good ICV. What comes out must be an IP packet that the selectors allow.
#![no_main]

use libfuzzer_sys::fuzz_target;
use skybridge::crypto::{Cipher, DirectionKeys, EspSuite, Secret};
use skybridge::esp::{ChildId, InboundConfig, InboundSa, Limits, Path, PathState, SaSelectors, Treatment};
use skybridge::policy::{SelectorSet, TrafficSelector};
use skybridge::wire::esp::EspHeader;
use skybridge::wire::ip::{Ecn, InnerPacket};

const SPI: u32 = 0xc0ff_ee01;

fuzz_target!(|octets: &[u8]| {
    let Some((&choice, octets)) = octets.split_first() else { return };
    let suite = EspSuite {
        cipher: Cipher::AesGcm { key_bits: 128, icv_len: 16 },
        integrity: None,
        group: None,
        esn: choice & 1 != 0,
    };
    let keys = DirectionKeys { encryption: Secret::from_slice(&[7; 20]), integrity: Secret::empty() };
    let set = |texts: [&str; 2]| SelectorSet::new(texts.map(|text| TrafficSelector::parse(text).unwrap()));
    let sa = InboundSa::new(InboundConfig {
        child: ChildId(1),
        spi: SPI,
        suite,
        keys: &keys,
        path: Path::new(PathState { local: None, remote: ([192, 0, 2, 1], 4500).into(), outer_mtu: 1500 }),
        limits: Limits::default(),
        selectors: SaSelectors {
            local: set(["10.1.0.0/16[udp/53]", "fd01::/16"]),
            remote: set(["10.2.0.0/16", "fd02::/16"]),
        },
        replay_window: 64,
        treatment: Treatment::default(),
    })
    .unwrap();
    let outer = Ecn::from_bits(choice >> 1);

    let mut packet = octets.to_vec();
    assert!(sa.open(&mut packet, outer, 1).is_err(), "a forged packet was opened");
    assert_eq!(sa.highest_sequence(), 0);

    let key = keys.cipher(&suite).unwrap();
    let header = EspHeader { spi: SPI, sequence: 1 }.to_octets();
    let aad = if suite.esn {
        [&SPI.to_be_bytes()[..], &[0, 0, 0, 0, 0, 0, 0, 1]].concat()
    } else {
        header.to_vec()
    };
    let (iv, mut data, mut icv) = ([3; 8], octets.to_vec(), [0; 16]);
    key.seal(&iv, &aad, &[], &mut data, &mut icv).unwrap();
    let mut packet = [&header[..], &iv, &data, &icv].concat();
    if let Ok(opened) = sa.open(&mut packet, outer, 1) {
        assert_eq!((opened.sequence, opened.highest), (1, true));
        if let Some(range) = opened.inner {
            let inner = &packet[range];
            assert_eq!(InnerPacket::parse(inner).unwrap().total_len, inner.len());
        }
        assert!(sa.open(&mut packet.clone(), outer, 1).is_err(), "a packet was opened twice");
    }
});
