//! Certificates of every kind through IKE_AUTH, revocation, initiators that ask for nobody.

use std::sync::Arc;
use std::time::Duration;

use super::pair::*;
use super::tap::*;
use crate::ike::*;
use crate::pki::issue::{Ca, NewKey, Revocation, create_ca};
use crate::pki::{
    Identity, IdentityPattern, LocalCertificate, PrivateKey, RsaPadding, SignaturePolicy, TrustStore,
};
use crate::wire::ike::Payload;
use crate::wire::ike::registry::{AuthMethod, ExchangeType, NotifyType, PayloadType};

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(super) struct Pki {
    ca: Ca,
    root: String,
    trust: Arc<TrustStore>,
}

pub(super) fn pki() -> Pki {
    let mut random = crate::crypto::SystemRandom::new().unwrap();
    let issued = create_ca("Test CA", NewKey::EcdsaP256, 3650, 1_789_000_000, &mut random).unwrap();
    let ca = Ca::load(&issued.certificate, &issued.key).unwrap();
    let root = issued.certificate.clone();
    let mut trust = TrustStore::new();
    trust.add_anchors(root.as_bytes()).unwrap();
    Pki { ca, root, trust: Arc::new(trust) }
}

impl Pki {
    fn issue(&self, name: &str) -> (String, LocalAuth) {
        let mut random = crate::crypto::SystemRandom::new().unwrap();
        let id = Identity::parse(name).unwrap();
        let issued =
            self.ca.issue_endpoint(&[id], NewKey::EcdsaP256, 100, 1_789_900_000, &mut random).unwrap();
        let key = PrivateKey::from_file(issued.key.as_bytes(), None).unwrap();
        let local = LocalCertificate::new(issued.certificate.as_bytes(), key).unwrap();
        (issued.certificate.clone(), LocalAuth::Certificate(Arc::new(local)))
    }

    pub(super) fn local(&self, name: &str) -> LocalAuth {
        self.issue(name).1
    }

    pub(super) fn remote(&self) -> RemoteAuth {
        RemoteAuth::Certificate { trust: Arc::clone(&self.trust), policy: SignaturePolicy::default() }
    }
}

fn file(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/data/pki/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// After the files of `tests/data/pki` were made.
const LATER: i64 = 1_800_000_000;

#[test]
fn rsa_authenticates_by_pss_and_by_pkcs1() {
    let mut trust = TrustStore::new();
    trust.add_anchors(&file("rsa-ca.pem")).unwrap();
    let trust = Arc::new(trust);
    for (padding, oid_end) in [(RsaPadding::Pss, 10), (RsaPadding::Pkcs1, 13)] {
        let (mut a, mut b) = configs();
        let key = PrivateKey::from_file(&file("rsa.key"), None).unwrap();
        let local = LocalCertificate::new(&file("rsa.pem"), key).unwrap().with_rsa_padding(padding);
        a.local_id = Identity::parse("rsa.example.com").unwrap();
        a.local_auth = LocalAuth::Certificate(Arc::new(local));
        a.fragment_size = 4000;
        b.remote_id = IdentityPattern::parse("rsa.example.com").unwrap();
        b.remote_auth = RemoteAuth::Certificate { trust: trust.clone(), policy: SignaturePolicy::default() };
        let mut pair = tapped(a, b);
        pair.now.unix = LATER;
        pair.run(Duration::from_millis(25));
        let sent = Tap::of(&pair.a).open(&on_link(&mut pair, ExchangeType::IKE_AUTH, false).transmit.octets);
        let auth = sent.iter().find_map(|payload| match payload {
            Payload::Authentication { method, data } => Some((*method, data.clone())),
            _ => None,
        });
        let (method, data) = auth.unwrap();
        assert_eq!(method, AuthMethod::DIGITAL_SIGNATURE);
        // rsassaPss is 1.2.840.113549.1.1.10; PKCS #1 with SHA-2 ends in 11, 12 or 13.
        let oid = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
        let at = data.windows(8).position(|window| window == oid).unwrap();
        assert!(data[at + 8] == oid_end || (oid_end == 13 && (11..=13).contains(&data[at + 8])));
        pair.run(secs(2));
        pair.assert_converged(1);
        assert!(pair.status(Side::B).remote_certificate_not_after.is_some());
    }
}

#[test]
fn a_revoked_certificate_is_refused_in_words_and_another_one_is_not() {
    let pki = pki();
    let (certificate, revoked) = pki.issue("a.example.com");
    let entry = Revocation::of(&certificate, 1_789_950_000).unwrap();
    let crl = pki.ca.write_crl(&[entry], 1, 30, 1_789_990_000).unwrap();
    let mut trust = TrustStore::new();
    trust.add_anchors(pki.root.as_bytes()).unwrap();
    trust.add_crls(crl.as_bytes()).unwrap();
    let trust = Arc::new(trust);
    let (mut a, mut b) = configs();
    b.remote_auth = RemoteAuth::Certificate { trust, policy: SignaturePolicy::default() };
    a.local_auth = revoked;
    let mut pair = Pair::new(a.clone(), b.clone());
    pair.run(secs(3));
    assert!(pair.refusals(Side::B)[0].contains("revoked"), "{:?}", pair.refusals(Side::B));
    assert_eq!(pair.a.children.len() + pair.b.children.len(), 0);
    assert!(pair.refusals(Side::A)[0].contains("AUTHENTICATION_FAILED"));
    a.local_auth = pki.local("a.example.com");
    Pair::up(a, b).assert_converged(1);
}

#[test]
fn an_initiator_that_asks_for_nobody_is_served_by_its_own_identity() {
    let (mut a, b) = configs();
    a.remote_id = IdentityPattern::Any;
    let mut other = peer("other", "192.0.2.9", "other.example.com", "c.example.com");
    other.remote_auth = RemoteAuth::Psk(vec![psk("another")]);
    other.local_auth = LocalAuth::Psk(vec![psk("another")]);
    let settings = EndpointSettings { key_log: true, ..EndpointSettings::default() };
    let a = node(A, 1, settings, vec![a]);
    let mut pair = Pair::of(a, node(B, 2, EndpointSettings::default(), vec![b, other]));
    pair.run(Duration::from_millis(25));
    let tap = Tap::of(&pair.a);
    let sent = tap.open(&on_link(&mut pair, ExchangeType::IKE_AUTH, false).transmit.octets);
    assert!(sent.iter().all(|payload| payload.kind() != PayloadType::ID_RESPONDER));
    pair.run(secs(2));
    pair.assert_converged(1);
}

#[test]
fn an_initiator_that_asks_for_somebody_else_is_refused() {
    let (mut a, b) = configs();
    a.remote_id = IdentityPattern::parse("elsewhere.example.com").unwrap();
    let mut pair = Pair::new(a, b);
    pair.run(secs(1));
    assert!(pair.refusals(Side::B)[0].contains("elsewhere.example.com"), "{:?}", pair.refusals(Side::B));
    assert_eq!(pair.b.children.len(), 0);
}

#[test]
fn certificate_requests_and_chains_of_junk_do_not_matter() {
    let pki = pki();
    let (mut a, mut b) = configs();
    a.local_auth = pki.local("a.example.com");
    b.remote_auth = pki.remote();
    let (mut pair, tap) = at_auth(a, b);
    tap.alter(on_link(&mut pair, ExchangeType::IKE_AUTH, false), |payloads| {
        let encoding = crate::wire::ike::registry::CertEncoding(4);
        for junk in [vec![], vec![0x30], vec![0xff; 2000]] {
            payloads.push(Payload::Certificate { encoding, data: junk.clone() });
            payloads.push(Payload::CertificateRequest { encoding, authorities: junk });
        }
        payloads.push(notify(NotifyType(12_345)));
        payloads.push(Payload::VendorId(vec![7; 16]));
    });
    pair.run(secs(1));
    assert_eq!(pair.children(Side::B), 1, "{:?}", pair.refusals(Side::B));
}
