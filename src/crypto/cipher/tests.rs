use super::*;
use crate::crypto::{Prf, prf::prf};

const AAD: &[u8] = b"aad of 8";
const TRAILER: &[u8] = &[0, 0, 0, 1];

fn suites() -> impl Iterator<Item = (Cipher, Option<Integrity>)> {
    Cipher::ALL.into_iter().flat_map(|cipher| {
        let integrities = if cipher.is_aead() { vec![None] } else { Integrity::ALL.map(Some).to_vec() };
        integrities.into_iter().map(move |integrity| (cipher, integrity))
    })
}

fn key(cipher: Cipher, integrity: Option<Integrity>) -> CipherKey {
    let encryption: Vec<u8> = (0..cipher.key_len()).map(|i| i as u8).collect();
    let integrity_key = vec![7; integrity.map_or(0, Integrity::key_len)];
    CipherKey::new(cipher, integrity, &encryption, &integrity_key).unwrap()
}

fn trailer(cipher: Cipher) -> &'static [u8] {
    if cipher.is_aead() { &[] } else { TRAILER }
}

#[test]
fn what_is_sealed_opens_and_is_not_the_plaintext() {
    for (cipher, integrity) in suites() {
        let key = key(cipher, integrity);
        for len in [0, 16, 1408] {
            let plaintext = vec![0x5a; len];
            let mut data = plaintext.clone();
            let (iv, mut icv) = (vec![9; key.iv_len()], vec![0; key.icv_len()]);
            key.seal(&iv, AAD, trailer(cipher), &mut data, &mut icv).unwrap();
            assert_ne!(icv, vec![0; key.icv_len()], "{cipher}");
            assert!(len == 0 || data != plaintext, "{cipher}");
            key.open(&iv, AAD, trailer(cipher), &mut data, &icv).unwrap();
            assert_eq!(data, plaintext, "{cipher}");
        }
    }
}

#[test]
fn a_change_of_any_input_is_detected() {
    for (cipher, integrity) in suites() {
        let key = key(cipher, integrity);
        let mut sealed = vec![0x5a; 48];
        let (iv, mut icv) = (vec![9; key.iv_len()], vec![0; key.icv_len()]);
        key.seal(&iv, AAD, trailer(cipher), &mut sealed, &mut icv).unwrap();
        let inputs = [iv, AAD.to_vec(), trailer(cipher).to_vec(), sealed, icv];
        for (which, input) in inputs.iter().enumerate() {
            for bit in 0..input.len() * 8 {
                let mut changed = inputs.clone();
                changed[which][bit / 8] ^= 1 << (bit % 8);
                let [iv, aad, trailer, mut data, icv] = changed;
                let opened = key.open(&iv, &aad, &trailer, &mut data, &icv);
                assert_eq!(opened, Err(CryptoError::Integrity), "{cipher}, input {which}, bit {bit}");
            }
        }
    }
}

#[test]
fn the_mac_of_cbc_covers_aad_iv_ciphertext_and_trailer_in_that_order() {
    let key = key(Cipher::AesCbc { key_bits: 128 }, Some(Integrity::HmacSha384_192));
    let (iv, mut data, mut icv) = ([9; 16], [0x5a; 32], [0; 24]);
    key.seal(&iv, AAD, TRAILER, &mut data, &mut icv).unwrap();
    let expected = prf(Prf::HmacSha384, &[7; 48], &[AAD, &iv, &data, TRAILER]);
    assert_eq!(icv, expected.expose()[..24]);
}

#[test]
fn cbc_decrypts_nothing_when_the_mac_is_wrong() {
    let key = key(Cipher::AesCbc { key_bits: 256 }, Some(Integrity::HmacSha256_128));
    let mut data = [3; 32];
    assert_eq!(key.open(&[1; 16], AAD, &[], &mut data, &[0; 16]), Err(CryptoError::Integrity));
    assert_eq!(data, [3; 32]);
}

#[test]
fn another_key_salt_or_integrity_key_does_not_open() {
    for (cipher, integrity) in suites() {
        let sealer = key(cipher, integrity);
        let mut sealed = vec![0x5a; 16];
        let (iv, mut icv) = (vec![9; sealer.iv_len()], vec![0; sealer.icv_len()]);
        sealer.seal(&iv, AAD, &[], &mut sealed, &mut icv).unwrap();
        let mut encryption: Vec<u8> = (0..cipher.key_len()).map(|i| i as u8).collect();
        let mut integrity_key = vec![7; integrity.map_or(0, Integrity::key_len)];
        // With CBC the MAC does not depend on the encryption key, so its other key is the one to change.
        match integrity_key.last_mut() {
            Some(octet) => *octet ^= 1,
            None => *encryption.last_mut().unwrap() ^= 1,
        }
        let opener = CipherKey::new(cipher, integrity, &encryption, &integrity_key).unwrap();
        let opened = opener.open(&iv, AAD, &[], &mut sealed, &icv);
        assert_eq!(opened, Err(CryptoError::Integrity), "{cipher}");
    }
}

#[test]
fn wrong_lengths_are_refused_and_leave_the_data_alone() {
    for (cipher, integrity) in suites() {
        let key = key(cipher, integrity);
        let (iv, mut icv, mut data) = (vec![9; key.iv_len()], vec![0; key.icv_len()], vec![1; 16]);
        let is_length = |result| matches!(result, Err(CryptoError::Length(_)));
        assert!(is_length(key.seal(&iv[1..], AAD, &[], &mut data, &mut icv)), "{cipher}");
        let mut short = vec![0; key.icv_len() - 1];
        assert!(is_length(key.seal(&iv, AAD, &[], &mut data, &mut short)), "{cipher}");
        assert!(is_length(key.open(&iv, AAD, &[], &mut data, &short)), "{cipher}");
        assert!(is_length(key.open(&iv, AAD, &[], &mut data, &[])), "{cipher}");
        if cipher.is_aead() {
            assert!(is_length(key.seal(&iv, AAD, TRAILER, &mut data, &mut icv)), "{cipher}");
            assert!(is_length(key.open(&iv, AAD, TRAILER, &mut data, &icv)), "{cipher}");
        } else {
            assert!(is_length(key.seal(&iv, AAD, &[], &mut data[1..], &mut icv)), "{cipher}");
            assert!(is_length(key.open(&iv, AAD, &[], &mut data[1..], &icv)), "{cipher}");
        }
        assert_eq!(data, vec![1; 16], "{cipher}");
    }
}

#[test]
fn keys_of_the_wrong_length_or_suite_are_refused() {
    let gcm = Cipher::AesGcm { key_bits: 128, icv_len: 16 };
    let cbc = Cipher::AesCbc { key_bits: 128 };
    let sha = Some(Integrity::HmacSha256_128);
    let too_short = CipherKey::new(gcm, None, &[0; 16], &[]).unwrap_err();
    assert_eq!(too_short.to_string(), "the aes128gcm16 key must have 20 octets, not 16");
    assert!(matches!(CipherKey::new(cbc, sha, &[0; 16], &[0; 31]), Err(CryptoError::KeyLength { .. })));
    assert!(matches!(CipherKey::new(gcm, None, &[0; 20], &[0; 32]), Err(CryptoError::KeyLength { .. })));
    assert!(matches!(CipherKey::new(gcm, sha, &[0; 20], &[0; 32]), Err(CryptoError::Suite(_))));
    assert!(matches!(CipherKey::new(cbc, None, &[0; 16], &[]), Err(CryptoError::Suite(_))));
    let odd = Cipher::AesGcm { key_bits: 160, icv_len: 16 };
    assert!(matches!(CipherKey::new(odd, None, &[0; 24], &[]), Err(CryptoError::Suite(_))));
    let odd = Cipher::AesCbc { key_bits: 160 };
    assert!(matches!(CipherKey::new(odd, sha, &[0; 20], &[0; 32]), Err(CryptoError::Suite(_))));
}

#[test]
fn esp_alignment_is_four_or_the_block() {
    assert_eq!(key(Cipher::ChaCha20Poly1305, None).esp_alignment(), 4);
    assert_eq!(key(Cipher::ChaCha20Poly1305, None).block_len(), 1);
    let cbc = key(Cipher::AesCbc { key_bits: 192 }, Some(Integrity::HmacSha384_192));
    assert_eq!((cbc.esp_alignment(), cbc.block_len(), cbc.icv_len()), (16, 16, 24));
}

#[test]
fn debug_shows_the_cipher_only() {
    assert_eq!(format!("{:?}", key(Cipher::ChaCha20Poly1305, None)), "CipherKey(chacha20poly1305)");
}
