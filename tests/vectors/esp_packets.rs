//! Whole ESP packets and an IKEv2 SK payload, as laid out by the standards that define the ciphers.

use skybridge::crypto::{Cipher, CipherKey, Integrity};

use crate::{cases, seal_and_open};

#[test]
fn packets_of_the_standards_seal_and_open_octet_for_octet() {
    let cases = cases(include_str!("esp_packets.txt"));
    assert_eq!(cases.len(), 14 + 2 + 4);
    for case in cases {
        let name = case.text("case");
        let cipher: Cipher = case.text("cipher").parse().unwrap();
        let integrity = if cipher.is_aead() { None } else { Some(Integrity::HmacSha256_128) };
        let integrity_key = vec![3; integrity.map_or(0, Integrity::key_len)];
        let key = CipherKey::new(cipher, integrity, &case.octets("key"), &integrity_key).unwrap();
        let (sealed, icv) =
            seal_and_open(&key, &case.octets("iv"), &case.octets("head"), &[], &case.octets("plain"));
        assert_eq!(sealed, case.octets("sealed"), "{name}");
        if cipher.is_aead() {
            assert_eq!(icv, case.octets("icv"), "{name}");
        }
    }
}
