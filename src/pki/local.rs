//! The endpoint's own certificate: chain, private key, and the AUTH signatures made with it.

use std::fmt;

use super::auth::{Hash, STRONG, Scheme, digital_signature_data, hash_id};
use super::binding;
use super::certificate::{CERTIFICATE_LABELS, CertificateInfo, blocks};
use super::error::{PkiError, date};
use super::identity::Identity;
use super::key::{KeyKind, PrivateKey};
use crate::wire::ike::registry::{AuthMethod, HashAlgorithmId, IdType};

/// The longest chain that is sent, the endpoint's certificate included.
pub const MAX_CHAIN: usize = 8;

/// Padding of our RSA signatures under RFC 7427.
///
/// [RFC 8247 section 3](https://www.rfc-editor.org/rfc/rfc8247#section-3) requires RSA-PSS of every
/// implementation, and strongSwan 5.9 and libreswan verify it as well as PKCS#1, so it is the default. Some
/// routers accept PKCS#1 alone; theirs is the other setting. Verification accepts both, always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RsaPadding {
    /// RSASSA-PSS with a salt as long as the hash.
    #[default]
    Pss,
    /// RSASSA-PKCS1-v1_5.
    Pkcs1,
}

/// A certificate chain, leaf first, with the leaf's private key.
#[derive(Debug, Clone)]
pub struct LocalCertificate {
    chain: Vec<Vec<u8>>,
    leaf: CertificateInfo,
    chain_not_after: i64,
    key: PrivateKey,
    kind: KeyKind,
    padding: RsaPadding,
}

impl LocalCertificate {
    /// Reads the chain (PEM with any number of certificates, or one DER certificate) and joins it with its
    /// key. The certificate that belongs to the key becomes the leaf, its issuers follow; a self-signed CA
    /// is left out, since a peer that trusts it has it.
    ///
    /// # Errors
    /// [`PkiError::KeyMismatch`] if no certificate belongs to the key; errors of parsing.
    pub fn new(certificates: &[u8], key: PrivateKey) -> Result<Self, PkiError> {
        let all = blocks(certificates, CERTIFICATE_LABELS, "certificate")?
            .iter()
            .map(|der| CertificateInfo::parse(der))
            .collect::<Result<Vec<_>, _>>()?;
        let leaf = all
            .iter()
            .find(|certificate| certificate.key.as_ref().is_ok_and(|public| key.matches(public)))
            .or_else(|| all.first().filter(|certificate| certificate.key.is_err()))
            .cloned();
        let Some(leaf) = leaf else {
            let subject = all.first().map(CertificateInfo::subject).unwrap_or_default();
            return Err(PkiError::KeyMismatch { subject });
        };
        let kind = leaf.public_key()?.kind;
        let mut chain = vec![leaf.der.clone()];
        let mut chain_not_after = leaf.not_after;
        let mut issuer = leaf.issuer_der.clone();
        let mut rest: Vec<_> = all.iter().filter(|other| !other.is_self_issued()).collect();
        while let Some(at) = rest.iter().position(|other| other.subject_der == issuer) {
            let next = rest.swap_remove(at);
            chain.push(next.der.clone());
            chain_not_after = chain_not_after.min(next.not_after);
            issuer.clone_from(&next.issuer_der);
            if chain.len() > MAX_CHAIN {
                return Err(PkiError::TooLarge {
                    what: "certificate chain",
                    actual: chain.len(),
                    limit: MAX_CHAIN,
                });
            }
        }
        Ok(Self { chain, leaf, chain_not_after, key, kind, padding: RsaPadding::default() })
    }

    /// Chooses the padding of RSA signatures.
    #[must_use]
    pub fn with_rsa_padding(mut self, padding: RsaPadding) -> Self {
        self.padding = padding;
        self
    }

    /// The chain's certificates as DER, leaf first: one CERT payload each.
    pub fn chain(&self) -> &[Vec<u8>] {
        &self.chain
    }

    /// What the leaf says.
    pub fn info(&self) -> &CertificateInfo {
        &self.leaf
    }

    /// The kind of key.
    pub fn key_kind(&self) -> KeyKind {
        self.kind
    }

    /// Begin of the leaf's validity, Unix seconds.
    pub fn not_before(&self) -> i64 {
        self.leaf.not_before
    }

    /// The earliest end of validity in the chain, Unix seconds.
    pub fn not_after(&self) -> i64 {
        self.chain_not_after
    }

    /// Whether the chain is to be warned about now.
    pub fn expiry_warning(&self, unix_now: i64) -> Option<ExpiryWarning> {
        ExpiryWarning::check(&self.leaf.subject(), self.chain_not_after, unix_now)
    }

    /// Checks that the certificate names `identity`, as the peer will.
    ///
    /// # Errors
    /// [`PkiError::IdentityMismatch`] or [`PkiError::IdentityNotCertifiable`].
    pub fn check_identity(&self, identity: &Identity) -> Result<(), PkiError> {
        binding::check(&self.leaf, identity)
    }

    /// The identity to send: a distinguished name that equals the subject is sent in the subject's own
    /// encoding, since some peers compare octets.
    pub fn identity_to_send(&self, identity: &Identity) -> Identity {
        let subject = self.leaf.subject_identity();
        if identity.kind == IdType::DER_ASN1_DN && subject.matches(identity) {
            subject
        } else {
            identity.clone()
        }
    }

    /// The identity that is used where none is configured: the subject, or the first alternative name where
    /// the subject is empty.
    pub fn default_identity(&self) -> Identity {
        default_identity(&self.leaf)
    }

    /// Signs `octets` (the signed octets of [RFC 7296 section
    /// 2.15](https://www.rfc-editor.org/rfc/rfc7296#section-2.15)) for the AUTH payload.
    ///
    /// `peer_hashes` is what the peer announced in SIGNATURE_HASH_ALGORITHMS, `None` if it announced nothing.
    /// With a usable hash the method is 14 (RFC 7427). Otherwise ECDSA keys use methods 9 and 10; RSA and
    /// Ed25519 keys have no method that is both safe and understood.
    ///
    /// # Errors
    /// [`PkiError::CannotSign`] with what to do, [`PkiError::SigningFailed`].
    pub fn sign_auth(
        &self,
        peer_hashes: Option<&[HashAlgorithmId]>,
        octets: &[u8],
    ) -> Result<(AuthMethod, Vec<u8>), PkiError> {
        let announced = peer_hashes.unwrap_or_default();
        if let Some(scheme) = self.scheme_for(announced) {
            let signature = self.key.sign(scheme, octets)?;
            let data = digital_signature_data(scheme, &signature).ok_or(PkiError::SigningFailed)?;
            return Ok((AuthMethod::DIGITAL_SIGNATURE, data));
        }
        let older = match self.kind {
            KeyKind::EcdsaP256 => Some((AuthMethod::ECDSA_256, Hash::Sha256)),
            KeyKind::EcdsaP384 => Some((AuthMethod::ECDSA_384, Hash::Sha384)),
            _ => None,
        };
        if let Some((method, hash)) = older {
            return Ok((method, self.key.sign(Scheme::EcdsaFixed(hash), octets)?));
        }
        let reason = match (self.kind, peer_hashes) {
            (KeyKind::Rsa { .. }, None) => {
                "the peer does not support digital signatures (RFC 7427), and the older RSA method needs SHA-1: \
                 enable RFC 7427 at the peer, or use an ECDSA certificate or a pre-shared key"
            }
            (KeyKind::Rsa { .. }, Some(_)) => {
                "the peer announced no hash of the SHA-2 family: enable SHA-256 signatures at the peer"
            }
            (KeyKind::Ed25519, _) => {
                "the peer does not announce Ed25519 (hash \"Identity\", RFC 8420): use an ECDSA or RSA certificate"
            }
            _ => "keys of this kind cannot sign here: use ECDSA P-256, P-384, RSA or Ed25519",
        };
        Err(PkiError::CannotSign { key: self.kind.to_string(), reason })
    }

    fn scheme_for(&self, announced: &[HashAlgorithmId]) -> Option<Scheme> {
        let scheme = match self.kind {
            KeyKind::Rsa { .. } => {
                let hash = STRONG.into_iter().find(|hash| announced.contains(&hash_id(*hash)))?;
                match self.padding {
                    RsaPadding::Pss => Scheme::RsaPss(hash),
                    RsaPadding::Pkcs1 => Scheme::RsaPkcs1(hash),
                }
            }
            KeyKind::EcdsaP256 => Scheme::Ecdsa(Hash::Sha256),
            KeyKind::EcdsaP384 => Scheme::Ecdsa(Hash::Sha384),
            KeyKind::Ed25519 => Scheme::Ed25519,
            KeyKind::EcdsaP521 => return None,
        };
        announced.contains(&scheme.hash_id()).then_some(scheme)
    }
}

/// The identity that an endpoint uses by default whose certificate file this is, its key not being at hand: the first
/// certificate is taken for its own.
///
/// # Errors
/// Errors of parsing.
pub fn certificate_identity(certificates: &[u8]) -> Result<Identity, PkiError> {
    let blocks = blocks(certificates, CERTIFICATE_LABELS, "certificate")?;
    CertificateInfo::parse(blocks.first().map_or(&[], Vec::as_slice)).map(|leaf| default_identity(&leaf))
}

fn default_identity(leaf: &CertificateInfo) -> Identity {
    use super::certificate::SubjectAltName;
    let subject = leaf.subject_identity();
    if subject.as_dn().is_some_and(|name| !name.is_empty()) {
        return subject;
    }
    let named = leaf.names.iter().find_map(|name| match name {
        SubjectAltName::Dns(dns) => Some(Identity::from_fqdn(dns)),
        SubjectAltName::Ip(address) => Some(Identity::from_ip(*address)),
        SubjectAltName::Mail(mail) => Some(Identity::new(IdType::RFC822_ADDR, mail.as_bytes())),
        SubjectAltName::Other(_) => None,
    });
    named.unwrap_or(subject)
}

/// A certificate or CRL in use expires soon, or has expired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpiryWarning {
    /// Whose validity ends.
    pub subject: String,
    /// When, Unix seconds.
    pub not_after: i64,
    /// The threshold that was passed, in days: 30, 7, 1, or 0 if it has expired. Warn once for each.
    pub threshold_days: u8,
}

/// Days before expiry at which to warn.
pub const WARNING_DAYS: [u8; 3] = [30, 7, 1];

const DAY: i64 = 86_400;

impl ExpiryWarning {
    /// The warning that is due at `unix_now`, if one is: the smallest threshold that has been passed.
    pub fn check(subject: &str, not_after: i64, unix_now: i64) -> Option<Self> {
        let left = not_after.saturating_sub(unix_now);
        let threshold_days = if left < 0 {
            0
        } else {
            WARNING_DAYS.into_iter().filter(|days| left <= i64::from(*days) * DAY).min()?
        };
        Some(Self { subject: subject.to_owned(), not_after, threshold_days })
    }

    /// The next Unix time at which [`ExpiryWarning::check`] gives another answer; `None` after expiry.
    pub fn next_change(not_after: i64, unix_now: i64) -> Option<i64> {
        WARNING_DAYS
            .into_iter()
            .map(|days| not_after.saturating_sub(i64::from(days) * DAY))
            .chain([not_after.saturating_add(1)])
            .find(|at| *at > unix_now)
    }
}

impl fmt::Display for ExpiryWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (subject, on) = (&self.subject, date(self.not_after));
        match self.threshold_days {
            0 => write!(f, "{subject} expired on {on}: renew it"),
            1 => write!(f, "{subject} expires within a day, on {on}: renew it now"),
            days => write!(f, "{subject} expires within {days} days, on {on}: renew it"),
        }
    }
}

#[cfg(test)]
mod tests;
