//! Why a certificate, key or signature was refused: what, where, and what to do about it.

use time::OffsetDateTime;

use crate::wire::ike::registry::{AuthMethod, HashAlgorithmId};

/// A refusal by this layer. `Display` is meant for the operator; it holds no secret, and everything a
/// peer or a file chose is escaped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PkiError {
    /// The text holds no PEM block of a kind that was looked for.
    #[error("no {wanted} found: expected PEM (-----BEGIN ...-----) or DER")]
    NothingFound {
        /// What was looked for.
        wanted: &'static str,
    },
    /// A structure could not be parsed.
    #[error("malformed {what}: {reason}")]
    Malformed {
        /// What was parsed.
        what: &'static str,
        /// Where it broke.
        reason: String,
    },
    /// Something exceeds a size or count limit.
    #[error("{what} is too large: {actual}, at most {limit} accepted")]
    TooLarge {
        /// What was measured.
        what: &'static str,
        /// Its size or count.
        actual: usize,
        /// The limit.
        limit: usize,
    },
    /// The private key is encrypted and no passphrase was given.
    #[error("the private key is encrypted: give its passphrase, or decrypt it with `openssl pkcs8`")]
    PassphraseNeeded,
    /// The passphrase does not open the private key.
    #[error("the private key cannot be decrypted: wrong passphrase or unsupported encryption")]
    PassphraseWrong,
    /// The private key is of a kind that is not supported.
    #[error("unsupported private key: {reason}")]
    UnsupportedKey {
        /// What is not supported, and what would be.
        reason: String,
    },
    /// The private key does not belong to the certificate.
    #[error("the private key does not belong to the certificate {subject}: use the key it was issued for")]
    KeyMismatch {
        /// The certificate's subject.
        subject: String,
    },
    /// The peer sent no certificate and none is pinned for its identity.
    #[error("the peer sent no certificate, and none is pinned for its identity {identity}")]
    NoCertificate {
        /// The identity that was claimed.
        identity: String,
    },
    /// A certificate's validity is over.
    #[error("{role} {subject} expired on {}: renew it", date(*.not_after))]
    Expired {
        /// Which certificate of the path.
        role: Role,
        /// Its subject.
        subject: String,
        /// End of validity, Unix seconds.
        not_after: i64,
    },
    /// A certificate's validity has not begun.
    #[error("{role} {subject} is not valid before {}, and it is now {}: check this machine's clock",
            date(*.not_before), date(*.now))]
    NotYetValid {
        /// Which certificate of the path.
        role: Role,
        /// Its subject.
        subject: String,
        /// Begin of validity, Unix seconds.
        not_before: i64,
        /// The time of the check, Unix seconds.
        now: i64,
    },
    /// A certificate was revoked.
    #[error("{role} {subject} was revoked{}{}: the peer needs a new certificate",
            .on.map(|on| format!(" on {}", date(on))).unwrap_or_default(),
            .reason.map(|reason| format!(" ({reason})")).unwrap_or_default())]
    Revoked {
        /// Which certificate of the path.
        role: Role,
        /// Its subject.
        subject: String,
        /// Revocation date, Unix seconds, where the CRL tells.
        on: Option<i64>,
        /// The CRL's reason, where it tells.
        reason: Option<&'static str>,
    },
    /// The CRL that decides is out of date.
    #[error("the CRL of {issuer} expired on {}: install a current one (an out-of-date CRL cannot show \
             that a certificate is still good)", date(*.next_update))]
    CrlExpired {
        /// The CRL's issuer.
        issuer: String,
        /// Its nextUpdate, Unix seconds.
        next_update: i64,
    },
    /// The CRL's own signature or signer is not acceptable.
    #[error("the CRL of {issuer} is not usable: {reason}")]
    CrlUnusable {
        /// The CRL's issuer.
        issuer: String,
        /// Why.
        reason: &'static str,
    },
    /// CRLs are configured, but none covers the certificate's issuer.
    #[error("no configured CRL covers {subject}, issued by {issuer}: add that issuer's CRL")]
    RevocationUnknown {
        /// The certificate's subject.
        subject: String,
        /// Its issuer.
        issuer: String,
    },
    /// No path to a trust anchor.
    #[error(
        "{subject} was issued by {issuer}, which leads to no configured CA: add that CA, or the missing \
             intermediate certificate"
    )]
    UnknownIssuer {
        /// The certificate's subject.
        subject: String,
        /// Its issuer.
        issuer: String,
    },
    /// A self-signed certificate that is not pinned.
    #[error("{subject} is self-signed and not pinned: pin it, or have it issued by a configured CA")]
    SelfSigned {
        /// The certificate's subject.
        subject: String,
    },
    /// A certificate in the path is signed wrongly.
    #[error(
        "a signature in the certificate path of {subject} is wrong: an issuer of the same name has another key"
    )]
    BadPathSignature {
        /// The end-entity certificate's subject.
        subject: String,
    },
    /// A CA certificate stands where an end-entity certificate belongs.
    #[error("{subject} is a CA certificate and cannot authenticate a peer: issue an endpoint certificate")]
    CaAsEndEntity {
        /// Its subject.
        subject: String,
    },
    /// An issuer in the path is no CA, or may not sign certificates.
    #[error(
        "an issuer in the certificate path of {subject} may not issue certificates (no CA, or no keyCertSign)"
    )]
    IssuerNotCa {
        /// The end-entity certificate's subject.
        subject: String,
    },
    /// The path is longer than a CA permits.
    #[error("the certificate path of {subject} is longer than a CA in it permits")]
    PathTooLong {
        /// The end-entity certificate's subject.
        subject: String,
    },
    /// A name is outside what a CA may certify.
    #[error("a name in {subject} is outside the name constraints of a CA in its path")]
    NameConstraint {
        /// The end-entity certificate's subject.
        subject: String,
    },
    /// The extended key usage does not allow IKE.
    #[error(
        "the extended key usage of {subject} or its CA is for other purposes ({present}): it needs \
             ipsecIKE, serverAuth or clientAuth"
    )]
    ExtendedKeyUsage {
        /// The end-entity certificate's subject.
        subject: String,
        /// The purposes that are there.
        present: String,
    },
    /// The key usage does not allow signatures.
    #[error("the key usage of {subject} does not allow digital signatures: it needs digitalSignature")]
    KeyUsage {
        /// The certificate's subject.
        subject: String,
    },
    /// Any other failure of path validation.
    #[error("the certificate {subject} cannot be accepted: {reason}")]
    PathInvalid {
        /// The end-entity certificate's subject.
        subject: String,
        /// What the validation found.
        reason: String,
    },
    /// The certificate does not speak for the claimed identity.
    #[error("the certificate {subject} does not name the identity {identity}: it names {names}")]
    IdentityMismatch {
        /// The certificate's subject.
        subject: String,
        /// The identity that was claimed.
        identity: String,
        /// What the certificate names.
        names: String,
    },
    /// An identity of a kind that no certificate can prove.
    #[error("the identity {identity} cannot be proved by a certificate: use an address, a name or a DN")]
    IdentityNotCertifiable {
        /// The identity that was claimed.
        identity: String,
    },
    /// The public key is of a kind or size that is not accepted.
    #[error("the public key of {subject} is not accepted: {reason}")]
    UnsupportedPublicKey {
        /// The certificate's subject.
        subject: String,
        /// Why.
        reason: String,
    },
    /// The authentication method is no signature this layer knows.
    #[error("authentication method {0} is not supported with certificates")]
    UnsupportedMethod(AuthMethod),
    /// The AUTH data is not well-formed.
    #[error("malformed AUTH signature: {0}")]
    MalformedSignature(&'static str),
    /// The signature algorithm is not supported, or does not fit the certificate's key.
    #[error("the peer signed with {algorithm}, which does not fit its {key} key")]
    AlgorithmMismatch {
        /// The algorithm that was named.
        algorithm: String,
        /// The certificate's key.
        key: String,
    },
    /// The signature algorithm is unknown or refused.
    #[error("the peer signed with an unsupported algorithm: {0}")]
    UnsupportedAlgorithm(String),
    /// The hash was not among those we announced.
    #[error("the peer signed with {0}, which was not announced to it")]
    HashNotAnnounced(HashAlgorithmId),
    /// The signature does not verify.
    #[error(
        "the peer's signature is wrong: it does not hold the private key of {subject}, or the exchange was altered"
    )]
    BadSignature {
        /// The certificate's subject.
        subject: String,
    },
    /// No acceptable way to sign for this peer.
    #[error("cannot sign for this peer with the {key} key: {reason}")]
    CannotSign {
        /// Our key.
        key: String,
        /// Why, and what to do.
        reason: &'static str,
    },
    /// The library refused to make a signature.
    #[error("signing with the private key failed")]
    SigningFailed,
    /// A certificate or CRL could not be issued.
    #[error("cannot issue: {0}")]
    Issue(String),
}

/// Which certificate of a path an error speaks about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The peer's own certificate.
    EndEntity,
    /// An intermediate CA.
    Intermediate,
    /// A trust anchor.
    Anchor,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::EndEntity => "the certificate",
            Self::Intermediate => "the intermediate CA certificate",
            Self::Anchor => "the CA certificate",
        })
    }
}

/// Unix seconds as an operator reads them.
pub(super) fn date(unix: i64) -> String {
    match OffsetDateTime::from_unix_timestamp(unix) {
        Ok(at) => format!(
            "{:04}-{:02}-{:02} {:02}:{:02} UTC",
            at.year(),
            u8::from(at.month()),
            at.day(),
            at.hour(),
            at.minute()
        ),
        Err(_) => format!("Unix time {unix}"),
    }
}
