//! Private keys from files: PKCS#8 (also encrypted), SEC1 and PKCS#1, in PEM or DER.

use std::fmt;
use std::sync::Arc;

use super::auth::{Hash, Scheme};
use super::certificate::is_der;
use super::error::PkiError;
use super::identity::escape;
use super::public_key::PublicKey;
use crate::crypto::CryptoError;
use crate::crypto::signature::{self, Curve, EcdsaForm, KeyAlgorithm, Legacy, SigningKey};

/// The largest key file that is accepted, in octets.
const MAX_KEY_FILE: usize = 64 * 1024;

/// The kind and size of a public or private key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// RSA.
    Rsa {
        /// Length of the modulus.
        bits: u16,
    },
    /// ECDSA on P-256.
    EcdsaP256,
    /// ECDSA on P-384.
    EcdsaP384,
    /// ECDSA on P-521; verification alone.
    EcdsaP521,
    /// Ed25519.
    Ed25519,
}

impl KeyKind {
    pub(super) fn is_ecdsa(self) -> bool {
        matches!(self, Self::EcdsaP256 | Self::EcdsaP384 | Self::EcdsaP521)
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa { bits } => write!(f, "RSA {bits}"),
            Self::EcdsaP256 => f.write_str("ECDSA P-256"),
            Self::EcdsaP384 => f.write_str("ECDSA P-384"),
            Self::EcdsaP521 => f.write_str("ECDSA P-521"),
            Self::Ed25519 => f.write_str("Ed25519"),
        }
    }
}

/// A private key, ready to sign. Clones share it; `Debug` shows its kind alone.
#[derive(Clone)]
pub struct PrivateKey {
    key: Arc<SigningKey>,
}

impl PrivateKey {
    /// Reads a private key: PEM `PRIVATE KEY`, `ENCRYPTED PRIVATE KEY` (with `passphrase`),
    /// `EC PRIVATE KEY` or `RSA PRIVATE KEY`, or the DER of any of the unencrypted ones. Other PEM blocks in
    /// the file, such as certificates or EC parameters, are skipped.
    ///
    /// # Errors
    /// [`PkiError::NothingFound`], [`PkiError::PassphraseNeeded`], [`PkiError::PassphraseWrong`],
    /// [`PkiError::UnsupportedKey`] and [`PkiError::Malformed`]. None shows a part of the key.
    pub fn from_file(octets: &[u8], passphrase: Option<&[u8]>) -> Result<Self, PkiError> {
        if octets.len() > MAX_KEY_FILE {
            return Err(PkiError::TooLarge {
                what: "private key",
                actual: octets.len(),
                limit: MAX_KEY_FILE,
            });
        }
        if is_der(octets) {
            return Self::from_der(octets);
        }
        let blocks = pem::parse_many(octets)
            .map_err(|_| PkiError::Malformed { what: "PEM", reason: "not valid PEM".to_owned() })?;
        let key = blocks.into_iter().find(|block| block.tag().ends_with("PRIVATE KEY"));
        let key = key.ok_or(PkiError::NothingFound { wanted: "private key" })?;
        let legacy_encryption = key.headers().get("Proc-Type").is_some_and(|kind| kind.contains("ENCRYPTED"));
        let (tag, der) = (key.tag().to_owned(), zeroize::Zeroizing::new(key.into_contents()));
        if legacy_encryption {
            let reason =
                "encrypted in OpenSSL's traditional form: convert it with `openssl pkcs8 -topk8`".to_owned();
            return Err(PkiError::UnsupportedKey { reason });
        }
        match tag.as_str() {
            "PRIVATE KEY" => SigningKey::from_pkcs8(&der).map(Self::from_signing_key).map_err(rejected),
            "EC PRIVATE KEY" => SigningKey::from_sec1(&der).map(Self::from_signing_key).map_err(rejected),
            "RSA PRIVATE KEY" => SigningKey::from_pkcs1(&der).map(Self::from_signing_key).map_err(rejected),
            "ENCRYPTED PRIVATE KEY" => decrypt(&der, passphrase.ok_or(PkiError::PassphraseNeeded)?),
            other => Err(PkiError::UnsupportedKey {
                reason: format!(
                    "PEM block \"{}\": convert it with `openssl pkcs8 -topk8`",
                    escape(other.as_bytes())
                ),
            }),
        }
    }

    fn from_der(der: &[u8]) -> Result<Self, PkiError> {
        SigningKey::from_pkcs8(der)
            .or_else(|pkcs8| {
                SigningKey::from_sec1(der).or_else(|_| SigningKey::from_pkcs1(der)).map_err(|_| pkcs8)
            })
            .map(Self::from_signing_key)
            .map_err(rejected)
    }

    fn from_signing_key(key: SigningKey) -> Self {
        Self { key: Arc::new(key) }
    }

    /// The kind of key.
    pub fn kind(&self) -> KeyKind {
        match self.key.algorithm() {
            KeyAlgorithm::Rsa { bits } => KeyKind::Rsa { bits: u16::try_from(bits).unwrap_or(u16::MAX) },
            KeyAlgorithm::EcdsaP256 => KeyKind::EcdsaP256,
            KeyAlgorithm::EcdsaP384 => KeyKind::EcdsaP384,
            KeyAlgorithm::Ed25519 => KeyKind::Ed25519,
        }
    }

    pub(super) fn matches(&self, public: &PublicKey) -> bool {
        std::mem::discriminant(&self.kind()) == std::mem::discriminant(&public.kind)
            && self.key.public_key() == public.octets
    }

    pub(super) fn sign(&self, scheme: Scheme, octets: &[u8]) -> Result<Vec<u8>, PkiError> {
        let scheme = raw_scheme(scheme, self.kind()).ok_or(PkiError::SigningFailed)?;
        self.key.sign(scheme, octets).map_err(|_| PkiError::SigningFailed)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.kind())
    }
}

fn decrypt(der: &[u8], passphrase: &[u8]) -> Result<PrivateKey, PkiError> {
    let wrapped = pkcs8::EncryptedPrivateKeyInfoRef::try_from(der).map_err(|_| PkiError::Malformed {
        what: "encrypted private key",
        reason: "not PKCS#8".to_owned(),
    })?;
    let plain = wrapped.decrypt(passphrase).map_err(|_| PkiError::PassphraseWrong)?;
    SigningKey::from_pkcs8(plain.as_bytes()).map(PrivateKey::from_signing_key).map_err(rejected)
}

fn rejected(error: CryptoError) -> PkiError {
    let reason = match error {
        CryptoError::PrivateKey(reason) => reason,
        other => other.to_string(),
    };
    PkiError::UnsupportedKey { reason: escape(reason.as_bytes()) }
}

/// The scheme as the cryptographic layer names it; `None` where it does not fit the key.
fn raw_scheme(scheme: Scheme, kind: KeyKind) -> Option<signature::Scheme> {
    let ecdsa = |digest: Hash, form: EcdsaForm| {
        let curve = match kind {
            KeyKind::EcdsaP256 => Curve::P256,
            KeyKind::EcdsaP384 => Curve::P384,
            KeyKind::EcdsaP521 => Curve::P521,
            KeyKind::Rsa { .. } | KeyKind::Ed25519 => return None,
        };
        Some(signature::Scheme::Ecdsa { curve, digest, form })
    };
    match scheme {
        Scheme::RsaPkcs1(digest) => Some(signature::Scheme::RsaPkcs1(digest)),
        Scheme::RsaPss(digest) => Some(signature::Scheme::RsaPss(digest)),
        Scheme::Ecdsa(digest) => ecdsa(digest, EcdsaForm::Asn1),
        Scheme::EcdsaFixed(digest) => ecdsa(digest, EcdsaForm::Fixed),
        Scheme::Ed25519 => Some(signature::Scheme::Ed25519),
    }
}

impl PublicKey {
    /// Whether the signature is right; an error if the scheme and the key do not go together here.
    pub(super) fn verify(&self, scheme: Scheme, message: &[u8], signature: &[u8]) -> Result<bool, PkiError> {
        let unsupported =
            || PkiError::UnsupportedAlgorithm(format!("{} with {}", self.kind, scheme.hash_id()));
        let raw = raw_scheme(scheme, self.kind).ok_or_else(unsupported)?;
        let legacy = Legacy { rsa_sha1: scheme == Scheme::RsaPkcs1(Hash::Sha1), rsa_1024: false };
        match signature::verify(raw, &self.octets, message, signature, legacy) {
            Ok(()) => Ok(true),
            Err(CryptoError::Scheme(_)) => Err(unsupported()),
            Err(_) => Ok(false),
        }
    }
}

#[cfg(test)]
mod tests;
