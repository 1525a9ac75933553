use super::super::key::{KeyKind, PrivateKey};
use super::super::local::LocalCertificate;
use super::super::testing::{Counting, NOW};
use super::super::trust::TrustStore;
use super::*;

fn id(text: &str) -> Identity {
    Identity::parse(text).unwrap()
}

fn ca(key: NewKey) -> (Issued, Ca) {
    let issued = create_ca("Example: office, 1", key, 3650, NOW, &mut Counting::default()).unwrap();
    let ca = Ca::load(&issued.certificate, &issued.key).unwrap();
    (issued, ca)
}

fn local(issued: &Issued) -> LocalCertificate {
    let key = PrivateKey::from_file(issued.key.as_bytes(), None).unwrap();
    LocalCertificate::new(issued.certificate.as_bytes(), key).unwrap()
}

#[test]
fn an_issued_certificate_is_believed_for_each_identity_and_signs() {
    let identities = [id("gw.example.com"), id("192.0.2.1"), id("2001:db8::1"), id("admin@example.com")];
    for (kind, key) in [
        (KeyKind::EcdsaP256, NewKey::EcdsaP256),
        (KeyKind::EcdsaP384, NewKey::EcdsaP384),
        (KeyKind::Ed25519, NewKey::Ed25519),
    ] {
        let (root, ca) = ca(key);
        let mut store = TrustStore::new();
        store.add_anchors(root.certificate.as_bytes()).unwrap();
        let issued = ca.issue_endpoint(&identities, key, 365, NOW, &mut Counting::default()).unwrap();
        let local = local(&issued);
        assert_eq!(local.key_kind(), kind);
        for identity in &identities {
            let presented: Vec<_> = local.chain().iter().map(Vec::as_slice).collect();
            let peer = store.verify_peer(&presented, identity, NOW).unwrap();
            let policy = super::super::SignaturePolicy::default();
            let (method, data) = local.sign_auth(Some(&policy.announced), b"octets").unwrap();
            peer.verify_auth(method, &data, b"octets", &policy).unwrap();
        }
        assert!(store.verify_peer(&[&local.chain()[0]], &id("other.example.com"), NOW).is_err());
    }
}

#[test]
fn a_distinguished_name_becomes_the_subject() {
    let (root, ca) = ca(NewKey::EcdsaP256);
    let mut store = TrustStore::new();
    store.add_anchors(root.certificate.as_bytes()).unwrap();
    let name = id("C=CH, O=Example\\, Inc., CN=gw");
    let issued = ca
        .issue_endpoint(std::slice::from_ref(&name), NewKey::EcdsaP256, 1, NOW, &mut Counting::default())
        .unwrap();
    let local = local(&issued);
    assert_eq!(local.info().subject_identity(), name);
    store.verify_peer(&[&local.chain()[0]], &name, NOW).unwrap();
}

#[test]
fn serial_numbers_differ_and_validity_ends_with_the_ca() {
    let (_, ca) = ca(NewKey::EcdsaP256);
    let mut random = Counting::default();
    let mut make =
        || ca.issue_endpoint(&[id("a.example.com")], NewKey::EcdsaP256, 9999, NOW, &mut random).unwrap();
    let (first, second) = (local(&make()), local(&make()));
    assert_ne!(first.info().serial(), second.info().serial());
    assert_eq!(first.not_after(), ca.info().not_after());
    assert!(first.not_before() < NOW);
}

#[test]
fn renewal_keeps_key_and_names() {
    let (_, ca) = ca(NewKey::EcdsaP256);
    let mut random = Counting::default();
    let identities = [id("a.example.com"), id("192.0.2.7")];
    let old = ca.issue_endpoint(&identities, NewKey::EcdsaP256, 10, NOW, &mut random).unwrap();
    let later = NOW + 9 * DAY;
    let renewed = ca.renew_endpoint(&old.certificate, &old.key, 10, later, &mut random).unwrap();
    let renewed = local(&Issued { certificate: renewed, key: old.key.clone() });
    assert_eq!(renewed.not_after(), later + 10 * DAY);
    assert_eq!(renewed.info().names(), local(&old).info().names());
    assert_ne!(renewed.info().serial(), local(&old).info().serial());
    let other = ca.issue_endpoint(&identities, NewKey::EcdsaP256, 10, NOW, &mut random).unwrap();
    assert!(matches!(
        ca.renew_endpoint(&old.certificate, &other.key, 10, later, &mut random),
        Err(PkiError::KeyMismatch { .. })
    ));
}

#[test]
fn a_crl_revokes_and_grows() {
    let (root, ca) = ca(NewKey::EcdsaP256);
    let mut random = Counting::default();
    let mut make =
        |name: &str| ca.issue_endpoint(&[id(name)], NewKey::EcdsaP256, 10, NOW, &mut random).unwrap();
    let (good, bad) = (make("good.example.com"), make("bad.example.com"));
    let empty = ca.write_crl(&[], 1, 30, NOW).unwrap();
    assert_eq!(read_crl(&empty).unwrap(), (Vec::new(), 1));
    let entry = Revocation::of(&bad.certificate, NOW - 5).unwrap();
    let crl = ca.write_crl(std::slice::from_ref(&entry), 2, 30, NOW).unwrap();
    assert_eq!(read_crl(&crl).unwrap(), (vec![entry], 2));
    let mut store = TrustStore::new();
    store.add_anchors(root.certificate.as_bytes()).unwrap();
    store.add_crls(crl.as_bytes()).unwrap();
    store.verify_peer(&[&local(&good).chain()[0]], &id("good.example.com"), NOW).unwrap();
    let error = store.verify_peer(&[&local(&bad).chain()[0]], &id("bad.example.com"), NOW).unwrap_err();
    assert!(matches!(error, PkiError::Revoked { on: Some(on), .. } if on == NOW - 5), "{error}");
}

#[test]
fn what_cannot_be_issued_says_why() {
    let (root, ca) = ca(NewKey::EcdsaP256);
    let mut random = Counting::default();
    let mut issue = |identities: &[Identity], days, now| {
        ca.issue_endpoint(identities, NewKey::EcdsaP256, days, now, &mut random).unwrap_err().to_string()
    };
    assert!(issue(&[], 1, NOW).contains("no identity"));
    assert!(issue(&[id("a.example.com")], 0, NOW).contains("one day"));
    assert!(issue(&[id("keyid:00")], 1, NOW).contains("cannot be proved"));
    assert!(issue(&[id("CN=a, CN=b")], 1, NOW).contains("at most once"));
    assert!(issue(&[id("CN=a+O=b")], 1, NOW).contains("multi-valued"));
    assert!(issue(&[id("CN=a"), id("CN=b")], 1, NOW).contains("does not name"));
    assert!(issue(&[id("a.example.com")], 1, NOW + 4000 * DAY).contains("expired"));
    let endpoint = ca
        .issue_endpoint(&[id("a.example.com")], NewKey::EcdsaP256, 1, NOW, &mut Counting::default())
        .unwrap();
    assert!(matches!(Ca::load(&endpoint.certificate, &endpoint.key), Err(PkiError::IssuerNotCa { .. })));
    assert!(matches!(Ca::load(&root.certificate, &endpoint.key), Err(PkiError::KeyMismatch { .. })));
    assert!(Ca::load("", "").is_err());
    assert!(create_ca("x", NewKey::Ed25519, u32::MAX, NOW, &mut Counting::default()).is_err());
    assert!("rsa".parse::<NewKey>().is_err());
    assert_eq!("ed25519".parse::<NewKey>().unwrap(), NewKey::Ed25519);
}

#[test]
fn keys_are_not_shown_by_debug() {
    let (issued, ca) = ca(NewKey::EcdsaP256);
    assert!(!format!("{issued:?}{ca:?}").contains("PRIVATE"));
}

#[test]
fn a_random_psk_is_32_octets_as_base64() {
    struct Fixed;
    impl Random for Fixed {
        fn fill(&mut self, out: &mut [u8]) {
            for (index, octet) in out.iter_mut().enumerate() {
                *octet = u8::try_from(index * 8).unwrap();
            }
        }
        fn key_exchange(
            &mut self,
            _: crate::crypto::Group,
        ) -> Result<Box<dyn crate::crypto::KeyExchange>, crate::crypto::CryptoError> {
            Err(crate::crypto::CryptoError::Random)
        }
    }
    assert_eq!(random_psk(&mut Fixed).as_str(), "AAgQGCAoMDhASFBYYGhweICIkJigqLC4wMjQ2ODo8Pg=");
    assert_ne!(*random_psk(&mut Counting::default()), *random_psk(&mut Fixed));
}
