use super::super::testing::data;
use super::*;

fn load(octets: &[u8]) -> Result<PrivateKey, PkiError> {
    PrivateKey::from_file(octets, None)
}

#[test]
fn every_form_that_openssl_writes_is_read() {
    let rsa = KeyKind::Rsa { bits: 2048 };
    for (octets, kind) in [
        (data!("rsa.key"), rsa),
        (data!("rsa-pkcs1.key"), rsa),
        (data!("rsa-exponent-3.key"), rsa),
        (data!("p256.key"), KeyKind::EcdsaP256),
        (data!("p256-sec1.key"), KeyKind::EcdsaP256),
        (data!("p256.key.der"), KeyKind::EcdsaP256),
        (data!("p384.key"), KeyKind::EcdsaP384),
        (data!("p384-sec1.key"), KeyKind::EcdsaP384),
        (data!("ed25519.key"), KeyKind::Ed25519),
    ] {
        let result = load(octets);
        // A small public exponent is refused by the library that signs.
        match result {
            Ok(key) => assert_eq!(key.kind(), kind),
            Err(error) => assert!(
                octets == data!("rsa-exponent-3.key") && matches!(error, PkiError::UnsupportedKey { .. }),
                "{error}"
            ),
        }
    }
}

#[test]
fn an_encrypted_key_needs_its_passphrase() {
    for (octets, kind) in [
        (data!("rsa-encrypted.key"), KeyKind::Rsa { bits: 2048 }),
        (data!("p256-encrypted.key"), KeyKind::EcdsaP256),
        (data!("ed25519-encrypted.key"), KeyKind::Ed25519),
    ] {
        assert_eq!(PrivateKey::from_file(octets, Some(b"secret")).unwrap().kind(), kind);
        assert_eq!(load(octets).unwrap_err(), PkiError::PassphraseNeeded);
        assert!(matches!(
            PrivateKey::from_file(octets, Some(b"wrong")).unwrap_err(),
            PkiError::PassphraseWrong | PkiError::UnsupportedKey { .. }
        ));
    }
    let error = PrivateKey::from_file(data!("rsa-traditional-encrypted.key"), Some(b"secret")).unwrap_err();
    assert!(error.to_string().contains("openssl pkcs8"), "{error}");
}

#[test]
fn the_same_key_signs_alike_in_every_form() {
    let from = |octets| load(octets).unwrap().sign(Scheme::RsaPkcs1(Hash::Sha256), b"x").unwrap();
    assert_eq!(from(data!("rsa.key")), from(data!("rsa-pkcs1.key")));
}

#[test]
fn unusable_keys_are_refused_with_a_reason() {
    for (octets, part) in [
        (data!("rsa-short.key"), "2048"),
        (data!("p521.key"), "P-384"),
        (data!("rsa.pem"), "no private key"),
        (b"nonsense".as_slice(), "no private key"),
        (b"".as_slice(), "no private key"),
        (b"\x30\x00".as_slice(), "PKCS#8"),
    ] {
        let error = load(octets).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    let large = vec![b'x'; MAX_KEY_FILE + 1];
    assert!(matches!(load(&large), Err(PkiError::TooLarge { .. })));
}

#[test]
fn truncated_and_damaged_key_files_never_panic() {
    for file in [data!("p256.key"), data!("ed25519.key"), data!("p256-sec1.key")] {
        let der = pem::parse_many(file).unwrap().pop().unwrap();
        for length in 0..der.contents().len() {
            let cut = pem::encode(&pem::Pem::new(der.tag(), &der.contents()[..length]));
            assert!(load(cut.as_bytes()).is_err());
            assert!(load(&der.contents()[..length]).is_err());
        }
    }
}

#[test]
fn debug_shows_the_kind_alone() {
    assert_eq!(format!("{:?}", load(data!("p256.key")).unwrap()), "PrivateKey(ECDSA P-256)");
}
