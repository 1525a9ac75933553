//! Certificates for this layer's tests: a CA, an intermediate and endpoints with any one thing wrong.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use time::OffsetDateTime;

use super::key::PrivateKey;
use super::trust::TrustStore;
use crate::crypto::{CryptoError, Group, KeyExchange, Random};

/// The time of all these tests: 15 January 2027.
pub(super) const NOW: i64 = 1_800_000_000;
pub(super) const DAY: i64 = 86_400;

pub(super) fn at(unix: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(unix).unwrap()
}

/// A file of tests/data/pki.
macro_rules! data {
    ($name:literal) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/pki/", $name)).as_slice()
    };
}
pub(super) use data;

/// A certificate with its key.
pub(super) struct Made {
    pub(super) params: CertificateParams,
    pub(super) key: KeyPair,
    pub(super) der: Vec<u8>,
    pub(super) pem: String,
}

impl Made {
    pub(super) fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }

    pub(super) fn private_key(&self) -> PrivateKey {
        PrivateKey::from_file(self.key.serialize_pem().as_bytes(), None).unwrap()
    }
}

pub(super) fn base(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Example");
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = at(NOW - 10 * DAY);
    params.not_after = at(NOW + 100 * DAY);
    params
}

pub(super) fn ca_params(name: &str) -> CertificateParams {
    let mut params = base(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

pub(super) fn leaf_params(dns: &str) -> CertificateParams {
    let mut params = base(dns);
    params.subject_alt_names = vec![SanType::DnsName(dns.try_into().unwrap())];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 5, 5, 7, 3, 17])];
    params
}

pub(super) fn self_signed(params: CertificateParams) -> Made {
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    Made { params, key, der: certificate.der().to_vec(), pem: certificate.pem() }
}

pub(super) fn signed_with(params: CertificateParams, key: KeyPair, issuer: &Made) -> Made {
    let certificate = params.signed_by(&key, &issuer.issuer()).unwrap();
    Made { params, key, der: certificate.der().to_vec(), pem: certificate.pem() }
}

pub(super) fn signed(params: CertificateParams, issuer: &Made) -> Made {
    signed_with(params, KeyPair::generate().unwrap(), issuer)
}

/// A store that trusts one CA.
pub(super) fn trusting(ca: &Made) -> TrustStore {
    let mut store = TrustStore::new();
    store.add_anchors(ca.pem.as_bytes()).unwrap();
    store
}

/// Octets that count up; no key exchange.
#[derive(Default)]
pub(super) struct Counting(u8);

impl Random for Counting {
    fn fill(&mut self, out: &mut [u8]) {
        for octet in out {
            self.0 = self.0.wrapping_add(37);
            *octet = self.0;
        }
    }

    fn key_exchange(&mut self, _: Group) -> Result<Box<dyn KeyExchange>, CryptoError> {
        Err(CryptoError::Random)
    }
}
