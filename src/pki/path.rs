//! Certificate path validation: rustls-webpki builds and checks the path, this file adds what it leaves to
//! its caller (validity of the anchor, key usage, how much the CRLs must cover) and turns its errors into
//! words.

use std::cell::RefCell;
use std::time::Duration;

use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{
    CertRevocationList, EndEntityCert, Error, ExpirationPolicy, ExtendedKeyUsageValidator, KeyPurposeId,
    KeyPurposeIdIter, KeyUsage, RequiredEkuNotFoundContext, RevocationCheckDepth, RevocationOptions,
    RevocationOptionsBuilder, RevocationReason, UnknownStatusPolicy, VerifiedPath,
};

use super::certificate::CertificateInfo;
use super::der::{SEQUENCE, encode, single};
use super::error::{PkiError, Role};
use super::trust::{RevocationPolicy, TrustStore};

/// id-kp-ipsecIKE ([RFC 4945 section 5.1.3.12](https://www.rfc-editor.org/rfc/rfc4945#section-5.1.3.12)).
const IPSEC_IKE: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x11];
/// iKEIntermediate, which older tools set.
const IKE_INTERMEDIATE: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x08, 0x02, 0x02];
const SERVER_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01];
const CLIENT_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02];
const ANY_EXTENDED: &[u8] = &[0x55, 0x1d, 0x25, 0x00];

/// Accepts a certificate without extended key usage, or with one that allows IKE.
struct IkeUsage;

impl ExtendedKeyUsageValidator for IkeUsage {
    fn validate(&self, purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), Error> {
        let accepted =
            [IPSEC_IKE, IKE_INTERMEDIATE, SERVER_AUTH, CLIENT_AUTH, ANY_EXTENDED].map(KeyPurposeId::new);
        let mut present = Vec::new();
        for purpose in purposes {
            let purpose = purpose?;
            if accepted.contains(&purpose) {
                return Ok(());
            }
            present.push(purpose.to_decoded_oid());
        }
        if present.is_empty() {
            return Ok(());
        }
        let required = KeyUsage::required_if_present(IPSEC_IKE);
        Err(Error::RequiredEkuNotFoundContext(RequiredEkuNotFoundContext { required, present }))
    }
}

/// Validates `leaf` with what the peer sent beside it; returns the earliest end of validity in the path.
pub(super) fn validate(
    store: &TrustStore,
    leaf: &CertificateInfo,
    sent: &[&[u8]],
    now: i64,
) -> Result<i64, PkiError> {
    leaf.check_validity(Role::EndEntity, now)?;
    if !leaf.digital_signature {
        return Err(PkiError::KeyUsage { subject: leaf.subject() });
    }
    let der = CertificateDer::from_slice(&leaf.der);
    let end_entity = EndEntityCert::try_from(&der).map_err(|error| Check::words(store, leaf, &[], error))?;
    let intermediates: Vec<CertificateDer<'_>> = sent
        .iter()
        .copied()
        .chain(store.intermediates.iter().map(|info| info.der.as_slice()))
        .map(CertificateDer::from_slice)
        .collect();
    let anchors: Vec<TrustAnchor<'_>> = store.anchors.iter().map(|anchor| anchor.anchor.clone()).collect();
    let check = Check { store, leaf, now, intermediates: &intermediates, anchors: &anchors };
    let lists: Vec<&CertRevocationList<'_>> = store.crls.iter().map(|crl| &crl.list).collect();
    let options = |depth, unknown| {
        RevocationOptionsBuilder::new(&lists).ok().map(|builder| {
            builder
                .with_depth(depth)
                .with_status_policy(unknown)
                .with_expiration_policy(ExpirationPolicy::Enforce)
                .build()
        })
    };
    use RevocationCheckDepth::{Chain, EndEntity};
    use UnknownStatusPolicy::{Allow, Deny};
    match store.revocation {
        RevocationPolicy::Chain => check.run(&end_entity, options(Chain, Deny)),
        RevocationPolicy::WhereCovered => check.run(&end_entity, options(Chain, Allow)),
        RevocationPolicy::EndEntity => {
            if !lists.is_empty() {
                check.run(&end_entity, options(EndEntity, Deny))?;
            }
            check.run(&end_entity, options(Chain, Allow))
        }
    }
}

struct Check<'a> {
    store: &'a TrustStore,
    leaf: &'a CertificateInfo,
    now: i64,
    intermediates: &'a [CertificateDer<'a>],
    anchors: &'a [TrustAnchor<'a>],
}

impl Check<'_> {
    fn run(
        &self,
        end_entity: &EndEntityCert<'_>,
        revocation: Option<RevocationOptions<'_>>,
    ) -> Result<i64, PkiError> {
        let own_reason = RefCell::new(None);
        let not_after = RefCell::new(self.leaf.not_after);
        let extra = |path: &VerifiedPath<'_>| match self.extra(path) {
            Ok(end) => {
                not_after.replace(end);
                Ok(())
            }
            Err(reason) => {
                own_reason.replace(Some(reason));
                Err(Error::UnknownIssuer)
            }
        };
        let time = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(self.now).unwrap_or(0)));
        let result = end_entity.verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            self.anchors,
            self.intermediates,
            time,
            IkeUsage,
            revocation,
            Some(&extra),
        );
        match (result, own_reason.into_inner()) {
            (Ok(_), _) => Ok(not_after.into_inner()),
            (Err(_), Some(reason)) => Err(reason),
            (Err(error), None) => Err(Self::words(self.store, self.leaf, self.intermediates, error)),
        }
    }

    /// What webpki leaves to its caller, on a path that is otherwise good.
    fn extra(&self, path: &VerifiedPath<'_>) -> Result<i64, PkiError> {
        let subject = || self.leaf.subject();
        let mut not_after = self.leaf.not_after;
        let mut below: u32 = 0;
        for certificate in path.intermediate_certificates() {
            let info = CertificateInfo::parse(&certificate.der())?;
            if !info.is_ca || !info.cert_sign {
                return Err(PkiError::IssuerNotCa { subject: subject() });
            }
            not_after = not_after.min(info.not_after);
            below += 1;
        }
        let used = path.anchor();
        let mut reason = PkiError::UnknownIssuer { subject: subject(), issuer: self.leaf.issuer() };
        for anchor in self.store.anchors.iter().filter(|anchor| anchor.anchor == *used) {
            if let Err(error) = anchor.info.check_validity(Role::Anchor, self.now) {
                reason = error;
            } else if anchor.info.path_length.is_some_and(|limit| below > limit) {
                reason = PkiError::PathTooLong { subject: subject() };
            } else {
                return Ok(not_after.min(anchor.info.not_after));
            }
        }
        Err(reason)
    }

    fn words(
        store: &TrustStore,
        leaf: &CertificateInfo,
        intermediates: &[CertificateDer<'_>],
        error: Error,
    ) -> PkiError {
        let subject = leaf.subject();
        let others = || intermediates.iter().filter_map(|der| CertificateInfo::parse(der).ok());
        let crl_issuer = || store.crls.first().map(|crl| crl.issuer.clone()).unwrap_or_default();
        let unusable = |reason| PkiError::CrlUnusable { issuer: crl_issuer(), reason };
        match error {
            Error::CertExpired { not_after, .. } => {
                let not_after = seconds(not_after);
                let which = others().find(|info| info.not_after == not_after).unwrap_or_else(|| leaf.clone());
                PkiError::Expired { role: role(&which, leaf), subject: which.subject(), not_after }
            }
            Error::CertNotValidYet { time, not_before } => {
                let not_before = seconds(not_before);
                let which =
                    others().find(|info| info.not_before == not_before).unwrap_or_else(|| leaf.clone());
                let role = role(&which, leaf);
                PkiError::NotYetValid { role, subject: which.subject(), not_before, now: seconds(time) }
            }
            Error::CertRevoked => revoked(store, leaf, others()),
            Error::CrlExpired { next_update, .. } => {
                let next_update = seconds(next_update);
                let crl = store.crls.iter().find(|crl| crl.next_update == Some(next_update));
                let issuer = crl.map_or_else(crl_issuer, |crl| crl.issuer.clone());
                PkiError::CrlExpired { issuer, next_update }
            }
            Error::UnknownRevocationStatus => {
                let uncovered = std::iter::once(leaf.clone())
                    .chain(others())
                    .find(|info| !store.crls.iter().any(|crl| issued_by(info, crl.list.issuer())))
                    .unwrap_or_else(|| leaf.clone());
                PkiError::RevocationUnknown { subject: uncovered.subject(), issuer: uncovered.issuer() }
            }
            Error::InvalidCrlSignatureForPublicKey => unusable("its signature is wrong"),
            Error::IssuerNotCrlSigner => unusable("its issuer may not sign CRLs (no cRLSign)"),
            Error::UnsupportedCrlSignatureAlgorithmContext(_)
            | Error::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(_) => {
                unusable("it is signed with an unsupported algorithm")
            }
            Error::UnknownIssuer if leaf.is_self_issued() => PkiError::SelfSigned { subject },
            Error::UnknownIssuer => {
                // Name the certificate at which the path ends, not always the leaf.
                let mut end = leaf.clone();
                for _ in 0..intermediates.len() {
                    match others().find(|info| info.subject_der == end.issuer_der && !info.is_self_issued()) {
                        Some(next) => end = next,
                        None => break,
                    }
                }
                PkiError::UnknownIssuer { subject: end.subject(), issuer: end.issuer() }
            }
            Error::InvalidSignatureForPublicKey
            | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
                PkiError::BadPathSignature { subject }
            }
            Error::CaUsedAsEndEntity => PkiError::CaAsEndEntity { subject },
            Error::EndEntityUsedAsCa => PkiError::IssuerNotCa { subject },
            Error::PathLenConstraintViolated | Error::MaximumPathDepthExceeded => {
                PkiError::PathTooLong { subject }
            }
            Error::NameConstraintViolation => PkiError::NameConstraint { subject },
            Error::RequiredEkuNotFoundContext(context) => {
                let purpose =
                    |oid: &Vec<usize>| oid.iter().map(usize::to_string).collect::<Vec<_>>().join(".");
                let present = context.present.iter().take(8).map(purpose).collect::<Vec<_>>().join(", ");
                PkiError::ExtendedKeyUsage { subject, present }
            }
            Error::UnsupportedSignatureAlgorithmContext(_) => {
                let reason = "a certificate in its path is signed with an unsupported algorithm \
                              (SHA-2 with RSA, ECDSA or Ed25519 is accepted)";
                PkiError::PathInvalid { subject, reason: reason.to_owned() }
            }
            Error::UnsupportedCriticalExtension => {
                let reason =
                    "it, or a CA in its path, has a critical extension that is not supported".to_owned();
                PkiError::PathInvalid { subject, reason }
            }
            other => PkiError::PathInvalid { subject, reason: format!("{other:?}") },
        }
    }
}

fn role(which: &CertificateInfo, leaf: &CertificateInfo) -> Role {
    if which.der == leaf.der { Role::EndEntity } else { Role::Intermediate }
}

fn seconds(time: UnixTime) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

/// webpki gives a CRL's issuer as the Name's content octets.
fn issued_by(info: &CertificateInfo, crl_issuer: &[u8]) -> bool {
    single(&info.issuer_der, SEQUENCE).is_ok_and(|name| name.content == crl_issuer)
        || info.issuer_der == encode(SEQUENCE, crl_issuer)
}

fn revoked(
    store: &TrustStore,
    leaf: &CertificateInfo,
    others: impl Iterator<Item = CertificateInfo>,
) -> PkiError {
    for info in std::iter::once(leaf.clone()).chain(others) {
        for crl in store.crls.iter().filter(|crl| issued_by(&info, crl.list.issuer())) {
            if let Ok(Some(entry)) = crl.list.find_serial(&info.serial) {
                return PkiError::Revoked {
                    role: role(&info, leaf),
                    subject: info.subject(),
                    on: Some(seconds(entry.revocation_date)),
                    reason: entry.reason_code.and_then(reason_text),
                };
            }
        }
    }
    PkiError::Revoked { role: Role::EndEntity, subject: leaf.subject(), on: None, reason: None }
}

fn reason_text(reason: RevocationReason) -> Option<&'static str> {
    match reason {
        RevocationReason::KeyCompromise => Some("key compromise"),
        RevocationReason::CaCompromise => Some("CA compromise"),
        RevocationReason::AffiliationChanged => Some("affiliation changed"),
        RevocationReason::Superseded => Some("superseded"),
        RevocationReason::CessationOfOperation => Some("cessation of operation"),
        RevocationReason::CertificateHold => Some("on hold"),
        RevocationReason::PrivilegeWithdrawn => Some("privilege withdrawn"),
        RevocationReason::AaCompromise => Some("attribute authority compromise"),
        _ => None,
    }
}
