use proptest::prelude::*;

use super::super::testing::{data, leaf_params, self_signed};
use super::super::trust::TrustStore;
use super::*;

fn der(pem: &[u8]) -> Vec<u8> {
    pem::parse(pem).unwrap().into_contents()
}

#[test]
fn the_facts_of_a_certificate_are_read() {
    let info = CertificateInfo::parse(&der(data!("rsa.pem"))).unwrap();
    assert_eq!(info.subject(), "C=CH, O=Example, CN=rsa.example.com");
    assert_eq!(info.issuer(), "C=CH, O=Example, CN=RSA test CA");
    assert_eq!(info.names(), [SubjectAltName::Dns("rsa.example.com".to_owned())]);
    assert_eq!(info.key_kind(), Some(KeyKind::Rsa { bits: 2048 }));
    assert!(!info.is_ca() && info.digital_signature && !info.cert_sign);
    let ca = CertificateInfo::parse(&der(data!("rsa-ca.pem"))).unwrap();
    assert!(ca.is_ca() && ca.is_self_issued() && ca.cert_sign && !ca.digital_signature);
}

#[test]
fn every_kind_of_key_is_told() {
    let kind = |pem: &[u8]| CertificateInfo::parse(&der(pem)).unwrap().key_kind();
    assert_eq!(kind(data!("p256.pem")), Some(KeyKind::EcdsaP256));
    assert_eq!(kind(data!("p384.pem")), Some(KeyKind::EcdsaP384));
    assert_eq!(kind(data!("p521.pem")), Some(KeyKind::EcdsaP521));
    assert_eq!(kind(data!("ed25519.pem")), Some(KeyKind::Ed25519));
    assert_eq!(kind(data!("rsa-exponent-3.pem")), Some(KeyKind::Rsa { bits: 2048 }));
}

#[test]
fn a_short_rsa_key_is_refused_with_its_size() {
    let info = CertificateInfo::parse(&der(data!("rsa-short.pem"))).unwrap();
    assert!(info.public_key().unwrap_err().to_string().contains("1024 bits"));
}

#[test]
fn rsa_keys_with_a_bad_exponent_or_modulus_are_refused() {
    let good = CertificateInfo::parse(&der(data!("rsa.pem"))).unwrap().spki;
    let exponent_at = good.len() - 3;
    assert_eq!(good[exponent_at..], [1, 0, 1]);
    PublicKey::from_spki(&good).unwrap();
    for exponent in [[0, 0, 0], [0, 0, 1], [1, 0, 0], [0x81, 0, 1], [0x7f, 0xff, 0xfe]] {
        let mut spki = good.clone();
        spki[exponent_at..].copy_from_slice(&exponent);
        assert!(PublicKey::from_spki(&spki).is_err(), "{exponent:?}");
    }
    let mut even = good.clone();
    even[exponent_at - 3] &= 0xfe;
    assert!(PublicKey::from_spki(&even).is_err());
}

#[test]
fn trailing_octets_and_size_are_checked() {
    let mut octets = der(data!("p256.pem"));
    octets.push(0);
    assert!(matches!(CertificateInfo::parse(&octets), Err(PkiError::Malformed { .. })));
    assert!(matches!(
        CertificateInfo::parse(&vec![0x30; MAX_CERTIFICATE + 1]),
        Err(PkiError::TooLarge { .. })
    ));
}

#[test]
fn a_certificate_cut_anywhere_is_refused() {
    for pem in [data!("rsa.pem"), data!("p256.pem"), data!("ed25519.pem")] {
        let octets = der(pem);
        for length in 0..octets.len() {
            assert!(CertificateInfo::parse(&octets[..length]).is_err(), "{length}");
        }
    }
}

#[test]
fn blocks_of_other_kinds_are_skipped() {
    let file = [data!("p256.key"), data!("p256.pem"), data!("p384.pem")].concat();
    assert_eq!(blocks(&file, CERTIFICATE_LABELS, "certificate").unwrap().len(), 2);
    assert!(matches!(
        blocks(data!("p256.key"), CERTIFICATE_LABELS, "certificate"),
        Err(PkiError::NothingFound { .. })
    ));
    assert!(
        blocks(b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----", CERTIFICATE_LABELS, "c")
            .is_err()
    );
}

#[test]
fn text_before_the_first_block_is_skipped() {
    let file = [b"0 s:CN=gw\n", data!("p256.pem")].concat();
    assert_eq!(blocks(&file, CERTIFICATE_LABELS, "certificate").unwrap(), [der(data!("p256.pem"))]);
}

proptest! {
    #[test]
    fn damaged_certificates_never_panic(at in any::<prop::sample::Index>(), value: u8, cut in any::<prop::sample::Index>()) {
        let mut octets = der(data!("p256.pem"));
        let index = at.index(octets.len());
        octets[index] = value;
        let _ = CertificateInfo::parse(&octets);
        octets.truncate(cut.index(octets.len()));
        let _ = CertificateInfo::parse(&octets);
    }

    #[test]
    fn files_of_any_octets_never_panic(octets: Vec<u8>) {
        let mut store = TrustStore::new();
        prop_assert!(store.add_anchors(&octets).is_err());
        prop_assert!(store.add_intermediates(&octets).is_err());
        prop_assert!(store.add_crls(&octets).is_err());
        prop_assert!(store.add_pinned(&octets).is_err());
    }

    #[test]
    fn damaged_certificates_are_never_believed(at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let made = self_signed(leaf_params("gw.example.com"));
        let mut store = TrustStore::new();
        store.add_pinned(made.pem.as_bytes()).unwrap();
        let mut octets = made.der.clone();
        let index = at.index(octets.len());
        octets[index] ^= 1 << bit;
        let identity = Identity::from_fqdn("gw.example.com");
        prop_assert!(store.verify_peer(&[&octets], &identity, super::super::testing::NOW).is_err());
    }
}
