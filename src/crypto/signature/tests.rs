//! Keys and signatures under `testdata` were made by the `openssl` program; the signed message is
//! `skybridge` everywhere.

use super::*;

const MESSAGE: &[u8] = b"skybridge";
const STRICT: Legacy = Legacy { rsa_sha1: false, rsa_1024: false };
const RSA_2048: &[u8] = include_bytes!("testdata/rsa2048.p8.der");

fn key(der: &[u8]) -> SigningKey {
    SigningKey::from_pkcs8(der).unwrap()
}

fn ecdsa(curve: Curve, digest: Digest, form: EcdsaForm) -> Scheme {
    Scheme::Ecdsa { curve, digest, form }
}

#[test]
fn every_key_signs_what_verifies_and_no_other_message_does() {
    let rsa = key(RSA_2048);
    let p256 = key(include_bytes!("testdata/p256.p8.der"));
    let p384 = key(include_bytes!("testdata/p384.p8.der"));
    let ed25519 = key(include_bytes!("testdata/ed25519.p8.der"));
    let mut cases = vec![(&ed25519, Scheme::Ed25519, 64..=64)];
    for digest in [Digest::Sha256, Digest::Sha384, Digest::Sha512] {
        cases.push((&rsa, Scheme::RsaPkcs1(digest), 256..=256));
        cases.push((&rsa, Scheme::RsaPss(digest), 256..=256));
    }
    cases.push((&p256, ecdsa(Curve::P256, Digest::Sha256, EcdsaForm::Fixed), 64..=64));
    cases.push((&p256, ecdsa(Curve::P256, Digest::Sha256, EcdsaForm::Asn1), 66..=72));
    cases.push((&p384, ecdsa(Curve::P384, Digest::Sha384, EcdsaForm::Fixed), 96..=96));
    cases.push((&p384, ecdsa(Curve::P384, Digest::Sha384, EcdsaForm::Asn1), 98..=104));
    for (key, scheme, lengths) in cases {
        let mut signature = key.sign(scheme, MESSAGE).unwrap();
        assert!(lengths.contains(&signature.len()), "{scheme:?}: {}", signature.len());
        assert_eq!(verify(scheme, key.public_key(), MESSAGE, &signature, STRICT), Ok(()), "{scheme:?}");
        let other = verify(scheme, key.public_key(), b"skybridge2", &signature, STRICT);
        assert_eq!(other, Err(CryptoError::Signature), "{scheme:?}");
        let last = signature.len() - 1;
        signature[last] ^= 1;
        let damaged = verify(scheme, key.public_key(), MESSAGE, &signature, STRICT);
        assert_eq!(damaged, Err(CryptoError::Signature), "{scheme:?}");
        let empty = verify(scheme, key.public_key(), MESSAGE, &[], STRICT);
        assert_eq!(empty, Err(CryptoError::Signature), "{scheme:?}");
        let zero = verify(scheme, key.public_key(), MESSAGE, &vec![0; signature.len()], STRICT);
        assert_eq!(zero, Err(CryptoError::Signature), "{scheme:?}");
    }
}

#[test]
fn signatures_of_openssl_verify_and_pkcs1_comes_out_identical() {
    let rsa = key(RSA_2048);
    let pkcs1 = include_bytes!("testdata/rsa2048.sha256.sig");
    let scheme = Scheme::RsaPkcs1(Digest::Sha256);
    assert_eq!(verify(scheme, rsa.public_key(), MESSAGE, pkcs1, STRICT), Ok(()));
    assert_eq!(rsa.sign(scheme, MESSAGE).unwrap(), pkcs1);
    let pss = include_bytes!("testdata/rsa2048.pss512.sig");
    assert_eq!(verify(Scheme::RsaPss(Digest::Sha512), rsa.public_key(), MESSAGE, pss, STRICT), Ok(()));
    let wrong_hash = verify(Scheme::RsaPss(Digest::Sha384), rsa.public_key(), MESSAGE, pss, STRICT);
    assert_eq!(wrong_hash, Err(CryptoError::Signature));
}

#[test]
fn rsa_over_sha1_verifies_only_by_opt_in_and_never_signs() {
    let rsa = key(RSA_2048);
    let scheme = Scheme::RsaPkcs1(Digest::Sha1);
    let signature = include_bytes!("testdata/rsa2048.sha1.sig");
    let strict = verify(scheme, rsa.public_key(), MESSAGE, signature, STRICT);
    assert!(matches!(strict, Err(CryptoError::Scheme(_))));
    let legacy = Legacy { rsa_sha1: true, ..STRICT };
    assert_eq!(verify(scheme, rsa.public_key(), MESSAGE, signature, legacy), Ok(()));
    assert!(matches!(rsa.sign(scheme, MESSAGE), Err(CryptoError::Scheme(_))));
    let pss = verify(Scheme::RsaPss(Digest::Sha1), rsa.public_key(), MESSAGE, signature, legacy);
    assert!(matches!(pss, Err(CryptoError::Scheme(_))));
}

#[test]
fn rsa_below_2048_bits_verifies_only_by_opt_in_and_never_signs() {
    let public = include_bytes!("testdata/rsa1024.pub.der");
    let signature = include_bytes!("testdata/rsa1024.sha256.sig");
    let scheme = Scheme::RsaPkcs1(Digest::Sha256);
    assert_eq!(verify(scheme, public, MESSAGE, signature, STRICT), Err(CryptoError::Signature));
    let legacy = Legacy { rsa_1024: true, ..STRICT };
    assert_eq!(verify(scheme, public, MESSAGE, signature, legacy), Ok(()));
    let refused = SigningKey::from_pkcs8(include_bytes!("testdata/rsa1024.p8.der")).unwrap_err();
    assert_eq!(refused.to_string(), "private key rejected: an RSA key must have at least 2048 bits");
}

#[test]
fn pkcs1_and_sec1_give_the_same_keys_as_pkcs8() {
    let pkcs1 = SigningKey::from_pkcs1(include_bytes!("testdata/rsa2048.pkcs1.der")).unwrap();
    assert_eq!(pkcs1.public_key(), key(RSA_2048).public_key());
    assert_eq!(pkcs1.algorithm().to_string(), "RSA 2048");
    let pairs: [(&[u8], &[u8], KeyAlgorithm); 2] = [
        (
            include_bytes!("testdata/p256.sec1.der"),
            include_bytes!("testdata/p256.p8.der"),
            KeyAlgorithm::EcdsaP256,
        ),
        (
            include_bytes!("testdata/p384.sec1.der"),
            include_bytes!("testdata/p384.p8.der"),
            KeyAlgorithm::EcdsaP384,
        ),
    ];
    for (sec1, pkcs8, algorithm) in pairs {
        let sec1 = SigningKey::from_sec1(sec1).unwrap();
        assert_eq!(sec1.algorithm(), algorithm);
        assert_eq!(sec1.public_key(), key(pkcs8).public_key());
    }
}

#[test]
fn unusable_private_keys_are_refused_with_the_reason() {
    let reason = |der: &[u8]| SigningKey::from_pkcs8(der).unwrap_err().to_string();
    assert!(reason(include_bytes!("testdata/p521.p8.der")).contains("1.3.132.0.35 is not P-256 or P-384"));
    assert!(
        reason(include_bytes!("testdata/ed448.p8.der")).contains("1.3.101.113 is not RSA, ECDSA or Ed25519")
    );
    assert!(reason(b"not a key").contains("not PKCS#8"));
    for len in 0..RSA_2048.len() {
        assert!(SigningKey::from_pkcs8(&RSA_2048[..len]).is_err());
    }
}

#[test]
fn a_key_does_not_sign_for_another_scheme() {
    let p256 = key(include_bytes!("testdata/p256.p8.der"));
    for scheme in [
        ecdsa(Curve::P384, Digest::Sha384, EcdsaForm::Fixed),
        ecdsa(Curve::P256, Digest::Sha384, EcdsaForm::Asn1),
        Scheme::Ed25519,
        Scheme::RsaPkcs1(Digest::Sha256),
    ] {
        assert!(matches!(p256.sign(scheme, MESSAGE), Err(CryptoError::Scheme(_))), "{scheme:?}");
    }
}

#[test]
fn schemes_without_an_implementation_say_so() {
    for scheme in [
        ecdsa(Curve::P256, Digest::Sha384, EcdsaForm::Fixed),
        ecdsa(Curve::P256, Digest::Sha512, EcdsaForm::Asn1),
        ecdsa(Curve::P384, Digest::Sha1, EcdsaForm::Asn1),
        ecdsa(Curve::P521, Digest::Sha256, EcdsaForm::Asn1),
    ] {
        let refused = verify(scheme, &[4; 65], MESSAGE, &[0; 64], Legacy { rsa_sha1: true, rsa_1024: true });
        assert!(matches!(refused, Err(CryptoError::Scheme(_))), "{scheme:?}");
    }
}

#[test]
fn debug_shows_the_algorithm_only() {
    assert_eq!(format!("{:?}", key(RSA_2048)), "SigningKey(RSA 2048)");
}
