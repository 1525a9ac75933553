//! What is trusted for one peer: CAs, intermediates, revocation lists, and pinned certificates.

use rustls_pki_types::{CertificateDer, TrustAnchor};
use webpki::{CertRevocationList, OwnedCertRevocationList};
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use super::auth::{self, SignaturePolicy};
use super::binding;
use super::certificate::{
    CERTIFICATE_LABELS, CRL_LABELS, CertificateInfo, MAX_CERTIFICATE, blocks, name_text,
};
use super::error::{PkiError, Role};
use super::identity::{Identity, escape};
use super::key::KeyKind;
use super::local::ExpiryWarning;
use super::path;
use super::public_key::PublicKey;
use crate::crypto::hash::authority_hash;
use crate::wire::ike::registry::AuthMethod;

/// The most certificates that are read from a peer's message.
pub const MAX_PRESENTED: usize = 16;

/// The largest CRL that is accepted, in octets of DER.
pub const MAX_CRL: usize = 8 * 1024 * 1024;

/// How much of a path the CRLs must cover, once there are any. With no CRL configured nothing is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RevocationPolicy {
    /// The peer's own certificate must be covered; intermediates are checked where a CRL covers them.
    #[default]
    EndEntity,
    /// Every certificate of the path but the anchor must be covered.
    Chain,
    /// Certificates are checked where a CRL covers them.
    WhereCovered,
}

#[derive(Debug, Clone)]
pub(super) struct Anchor {
    pub(super) info: CertificateInfo,
    pub(super) anchor: TrustAnchor<'static>,
}

#[derive(Debug)]
pub(super) struct Crl {
    pub(super) list: CertRevocationList<'static>,
    pub(super) issuer: String,
    pub(super) this_update: i64,
    pub(super) next_update: Option<i64>,
}

/// Everything that decides whether a peer's certificate is believed. Filled at configuration, then read
/// alone; it fetches nothing.
#[derive(Debug, Default)]
pub struct TrustStore {
    pub(super) anchors: Vec<Anchor>,
    pub(super) intermediates: Vec<CertificateInfo>,
    pub(super) crls: Vec<Crl>,
    pinned: Vec<CertificateInfo>,
    pub(super) revocation: RevocationPolicy,
}

impl TrustStore {
    /// A store that trusts nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing is trusted: neither a CA nor a pinned certificate.
    pub fn is_empty(&self) -> bool {
        self.anchors.is_empty() && self.pinned.is_empty()
    }

    /// Adds the CA certificates of a file (PEM or DER) as trust anchors. They need not be self-signed.
    ///
    /// # Errors
    /// Parse errors; [`PkiError::IssuerNotCa`] for a certificate that is no CA.
    pub fn add_anchors(&mut self, file: &[u8]) -> Result<(), PkiError> {
        for info in certificates(file)? {
            if !info.is_ca || !info.cert_sign {
                return Err(PkiError::IssuerNotCa { subject: info.subject() });
            }
            let der = CertificateDer::from_slice(&info.der);
            let anchor = webpki::anchor_from_trusted_cert(&der).map_err(|error| PkiError::Malformed {
                what: "CA certificate",
                reason: format!("{error:?}"),
            })?;
            self.anchors.push(Anchor { anchor: anchor.to_owned(), info });
        }
        Ok(())
    }

    /// Adds intermediate certificates that peers may leave out. They are not trusted by themselves.
    ///
    /// # Errors
    /// Parse errors.
    pub fn add_intermediates(&mut self, file: &[u8]) -> Result<(), PkiError> {
        self.intermediates.extend(certificates(file)?);
        Ok(())
    }

    /// Adds the CRLs of a file (PEM or DER). Their signatures are checked when they are used.
    ///
    /// # Errors
    /// Parse errors; delta and indirect CRLs are not supported.
    pub fn add_crls(&mut self, file: &[u8]) -> Result<(), PkiError> {
        for der in blocks(file, CRL_LABELS, "CRL")? {
            self.crls.push(crl(&der)?);
        }
        self.crls.sort_by_key(|crl| std::cmp::Reverse(crl.this_update));
        Ok(())
    }

    /// Pins the certificates of a file: a peer that presents exactly one of them, or presents none and claims
    /// an identity that one of them names, is believed without any CA.
    ///
    /// # Errors
    /// Parse errors.
    pub fn add_pinned(&mut self, file: &[u8]) -> Result<(), PkiError> {
        for info in certificates(file)? {
            info.public_key()?;
            self.pinned.push(info);
        }
        Ok(())
    }

    /// Chooses how much the CRLs must cover.
    pub fn set_revocation(&mut self, policy: RevocationPolicy) {
        self.revocation = policy;
    }

    /// SHA-1 of each anchor's and pinned certificate's SubjectPublicKeyInfo, the content of a CERTREQ payload
    /// ([RFC 7296 section 3.7](https://www.rfc-editor.org/rfc/rfc7296#section-3.7)), without repetition.
    pub fn authority_hashes(&self) -> Vec<[u8; 20]> {
        let infos = self.anchors.iter().map(|anchor| &anchor.info).chain(&self.pinned);
        let mut hashes: Vec<[u8; 20]> = Vec::new();
        for hash in infos.map(|info| authority_hash(&info.spki)) {
            if !hashes.contains(&hash) {
                hashes.push(hash);
            }
        }
        hashes
    }

    /// The configured certificates and CRLs that expire soon or have expired.
    pub fn expiry_warnings(&self, unix_now: i64) -> Vec<ExpiryWarning> {
        let anchors = self.anchors.iter().map(|anchor| &anchor.info);
        let certificates = anchors
            .chain(&self.intermediates)
            .chain(&self.pinned)
            .filter_map(|info| ExpiryWarning::check(&info.subject(), info.not_after, unix_now));
        let crls = self.crls.iter().filter_map(|crl| {
            // A CRL lives for days: only its last day and its end are worth a warning.
            let warning =
                ExpiryWarning::check(&format!("the CRL of {}", crl.issuer), crl.next_update?, unix_now)?;
            (warning.threshold_days <= 1).then_some(warning)
        });
        certificates.chain(crls).collect()
    }

    /// Judges the certificates a peer presented (DER, its own first) for the identity it claims.
    ///
    /// A pinned certificate must match exactly, be in its validity, allow signatures and name the identity.
    /// Any other must have a path to an anchor: signatures, validity, CA flags and path lengths, key usage and
    /// extended key usage, name constraints and revocation
    /// ([RFC 5280 section 6](https://www.rfc-editor.org/rfc/rfc5280#section-6)), then name the identity
    /// ([RFC 4945 section 3.1](https://www.rfc-editor.org/rfc/rfc4945#section-3.1)).
    ///
    /// # Errors
    /// [`PkiError`] with the first reason found, in words for the operator.
    pub fn verify_peer(
        &self,
        presented: &[&[u8]],
        identity: &Identity,
        unix_now: i64,
    ) -> Result<PeerCertificate, PkiError> {
        if presented.len() > MAX_PRESENTED {
            let actual = presented.len();
            return Err(PkiError::TooLarge { what: "certificate list", actual, limit: MAX_PRESENTED });
        }
        let Some((leaf, others)) = presented.split_first() else {
            return self.verify_unpresented(identity, unix_now);
        };
        if let Some(large) = presented.iter().find(|der| der.len() > MAX_CERTIFICATE) {
            return Err(PkiError::TooLarge {
                what: "certificate",
                actual: large.len(),
                limit: MAX_CERTIFICATE,
            });
        }
        let leaf = CertificateInfo::parse(leaf)?;
        if self.pinned.iter().any(|pinned| pinned.der == leaf.der) {
            return verified_pin(leaf, identity, unix_now);
        }
        let key = leaf.public_key()?.clone();
        let not_after = path::validate(self, &leaf, others, unix_now)?;
        binding::check(&leaf, identity)?;
        Ok(PeerCertificate { key, not_after, leaf })
    }

    fn verify_unpresented(&self, identity: &Identity, unix_now: i64) -> Result<PeerCertificate, PkiError> {
        let mut named =
            self.pinned.iter().filter(|pinned| binding::check(pinned, identity).is_ok()).peekable();
        if named.peek().is_none() {
            return Err(PkiError::NoCertificate { identity: identity.to_string() });
        }
        let mut result = Err(PkiError::NoCertificate { identity: identity.to_string() });
        for pinned in named {
            result = verified_pin(pinned.clone(), identity, unix_now);
            if result.is_ok() {
                break;
            }
        }
        result
    }
}

fn verified_pin(leaf: CertificateInfo, identity: &Identity, now: i64) -> Result<PeerCertificate, PkiError> {
    leaf.check_validity(Role::EndEntity, now)?;
    if !leaf.digital_signature {
        return Err(PkiError::KeyUsage { subject: leaf.subject() });
    }
    binding::check(&leaf, identity)?;
    Ok(PeerCertificate { key: leaf.public_key()?.clone(), not_after: leaf.not_after, leaf })
}

fn certificates(file: &[u8]) -> Result<Vec<CertificateInfo>, PkiError> {
    blocks(file, CERTIFICATE_LABELS, "certificate")?.iter().map(|der| CertificateInfo::parse(der)).collect()
}

fn crl(der: &[u8]) -> Result<Crl, PkiError> {
    if der.len() > MAX_CRL {
        return Err(PkiError::TooLarge { what: "CRL", actual: der.len(), limit: MAX_CRL });
    }
    let malformed = |reason: String| PkiError::Malformed { what: "CRL", reason: escape(reason.as_bytes()) };
    let list = OwnedCertRevocationList::from_der(der).map_err(|error| malformed(format!("{error:?}")))?;
    let (rest, parsed) =
        CertificateRevocationList::from_der(der).map_err(|error| malformed(error.to_string()))?;
    if !rest.is_empty() {
        return Err(malformed("octets follow the CRL".to_owned()));
    }
    Ok(Crl {
        list: list.into(),
        issuer: name_text(parsed.issuer().as_raw()),
        this_update: parsed.last_update().timestamp(),
        next_update: parsed.next_update().map(|at| at.timestamp()),
    })
}

/// A peer's certificate that was found good for its identity: what its AUTH payload is checked with.
#[derive(Debug, Clone)]
pub struct PeerCertificate {
    leaf: CertificateInfo,
    key: PublicKey,
    not_after: i64,
}

impl PeerCertificate {
    /// Checks the peer's AUTH payload over `octets` (the signed octets of [RFC 7296 section
    /// 2.15](https://www.rfc-editor.org/rfc/rfc7296#section-2.15)).
    ///
    /// # Errors
    /// [`PkiError`] unless the method, algorithm, hash and key fit each other and `policy`, and the signature
    /// is right.
    pub fn verify_auth(
        &self,
        method: AuthMethod,
        data: &[u8],
        octets: &[u8],
        policy: &SignaturePolicy,
    ) -> Result<(), PkiError> {
        auth::verify(&self.key, &self.leaf.subject(), method, data, octets, policy)
    }

    /// The earliest end of validity in the path, Unix seconds.
    pub fn not_after(&self) -> i64 {
        self.not_after
    }

    /// What the certificate says.
    pub fn info(&self) -> &CertificateInfo {
        &self.leaf
    }

    /// The kind of its key.
    pub fn key_kind(&self) -> KeyKind {
        self.key.kind
    }

    /// The warning that is due before the path expires.
    pub fn expiry_warning(&self, unix_now: i64) -> Option<ExpiryWarning> {
        ExpiryWarning::check(&self.leaf.subject(), self.not_after, unix_now)
    }
}

#[cfg(test)]
mod tests;
