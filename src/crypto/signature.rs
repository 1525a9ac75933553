//! Raw signatures: sign and verify octets. Which scheme an AUTH payload means, and whether a
//! certificate may be trusted, is decided above.
//!
//! Signing is limited to what `ring` offers: RSA of 2048 to 4096 bits with SHA-2, ECDSA P-256 with
//! SHA2-256 and P-384 with SHA2-384, Ed25519. Verification adds the mixed pairs of curve and hash,
//! P-521, and RSA up to 8192 bits; weak RSA only by explicit [`Legacy`] opt-in.

use std::fmt;

use ::p521::ecdsa::{Signature as P521Signature, VerifyingKey, signature::hazmat::PrehashVerifier};
use pkcs8::{ObjectIdentifier, PrivateKeyInfoRef};
use ring::{
    error::KeyRejected,
    rand::SystemRandom,
    signature::{self as rs, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair},
};

pub use super::hash::Digest;
use super::{CryptoError, hash};

const OID_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const OID_EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const OID_P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const OID_P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const OID_ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// A curve of ECDSA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Curve {
    /// NIST P-256.
    P256,
    /// NIST P-384.
    P384,
    /// NIST P-521, verification only.
    P521,
}

/// How an ECDSA signature is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EcdsaForm {
    /// r | s, each as long as the curve's order: AUTH methods 9, 10 and 11
    /// ([RFC 4754](https://www.rfc-editor.org/rfc/rfc4754)).
    Fixed,
    /// DER of the ASN.1 sequence: certificates and AUTH method 14
    /// ([RFC 7427](https://www.rfc-editor.org/rfc/rfc7427)).
    Asn1,
}

/// A signature algorithm with all its parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// RSASSA-PKCS1-v1_5.
    RsaPkcs1(Digest),
    /// RSASSA-PSS with MGF1 over the same hash and a salt as long as the hash.
    RsaPss(Digest),
    /// ECDSA.
    Ecdsa {
        /// The key's curve.
        curve: Curve,
        /// The hash.
        digest: Digest,
        /// How the signature is written.
        form: EcdsaForm,
    },
    /// Ed25519 ([RFC 8420](https://www.rfc-editor.org/rfc/rfc8420)).
    Ed25519,
}

/// Weaknesses that a peer's configuration explicitly allows. None by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Legacy {
    /// RSA PKCS#1 signatures over SHA-1, as AUTH method 1 of old peers.
    pub rsa_sha1: bool,
    /// RSA keys of 1024 to 2047 bits (PKCS#1 only).
    pub rsa_1024: bool,
}

/// Verifies `signature` over `message`. `public_key` is the content of the SubjectPublicKeyInfo's BIT
/// STRING: RSAPublicKey DER, an uncompressed point, or 32 octets of Ed25519.
///
/// # Errors
/// [`CryptoError::Signature`] when it does not verify, also for a malformed or too short key;
/// [`CryptoError::Scheme`] when the scheme is not supported or needs an opt-in.
pub fn verify(
    scheme: Scheme,
    public_key: &[u8],
    message: &[u8],
    signature: &[u8],
    legacy: Legacy,
) -> Result<(), CryptoError> {
    if let Scheme::Ecdsa { curve: Curve::P521, digest, form } = scheme {
        return verify_p521(digest, form, public_key, message, signature);
    }
    let algorithm = verification_algorithm(scheme, legacy)?;
    rs::UnparsedPublicKey::new(algorithm, public_key)
        .verify(message, signature)
        .map_err(|_| CryptoError::Signature)
}

fn verification_algorithm(
    scheme: Scheme,
    legacy: Legacy,
) -> Result<&'static dyn rs::VerificationAlgorithm, CryptoError> {
    use Curve::{P256, P384};
    use Digest::{Sha1, Sha256, Sha384, Sha512};
    use EcdsaForm::{Asn1, Fixed};
    Ok(match scheme {
        Scheme::RsaPkcs1(Sha1) if !legacy.rsa_sha1 => {
            return Err(CryptoError::Scheme("RSA signatures over SHA-1 are not allowed"));
        }
        Scheme::RsaPkcs1(Sha1) if legacy.rsa_1024 => &rs::RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY,
        Scheme::RsaPkcs1(Sha1) => &rs::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
        Scheme::RsaPkcs1(Sha256) if legacy.rsa_1024 => &rs::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
        Scheme::RsaPkcs1(Sha512) if legacy.rsa_1024 => &rs::RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
        Scheme::RsaPkcs1(Sha256) => &rs::RSA_PKCS1_2048_8192_SHA256,
        Scheme::RsaPkcs1(Sha384) => &rs::RSA_PKCS1_2048_8192_SHA384,
        Scheme::RsaPkcs1(Sha512) => &rs::RSA_PKCS1_2048_8192_SHA512,
        Scheme::RsaPss(Sha256) => &rs::RSA_PSS_2048_8192_SHA256,
        Scheme::RsaPss(Sha384) => &rs::RSA_PSS_2048_8192_SHA384,
        Scheme::RsaPss(Sha512) => &rs::RSA_PSS_2048_8192_SHA512,
        Scheme::Ecdsa { curve: P256, digest: Sha256, form: Fixed } => &rs::ECDSA_P256_SHA256_FIXED,
        Scheme::Ecdsa { curve: P384, digest: Sha384, form: Fixed } => &rs::ECDSA_P384_SHA384_FIXED,
        Scheme::Ecdsa { curve: P256, digest: Sha256, form: Asn1 } => &rs::ECDSA_P256_SHA256_ASN1,
        Scheme::Ecdsa { curve: P256, digest: Sha384, form: Asn1 } => &rs::ECDSA_P256_SHA384_ASN1,
        Scheme::Ecdsa { curve: P384, digest: Sha256, form: Asn1 } => &rs::ECDSA_P384_SHA256_ASN1,
        Scheme::Ecdsa { curve: P384, digest: Sha384, form: Asn1 } => &rs::ECDSA_P384_SHA384_ASN1,
        Scheme::Ed25519 => &rs::ED25519,
        Scheme::RsaPss(Sha1) | Scheme::Ecdsa { .. } => {
            return Err(CryptoError::Scheme("signatures with this hash and key are not supported"));
        }
    })
}

fn verify_p521(
    digest: Digest,
    form: EcdsaForm,
    public_key: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<(), CryptoError> {
    if digest != Digest::Sha512 {
        return Err(CryptoError::Scheme("ECDSA P-521 is implemented with SHA2-512 only"));
    }
    let key = VerifyingKey::from_sec1_bytes(public_key).map_err(|_| CryptoError::Signature)?;
    let signature = match form {
        EcdsaForm::Fixed => P521Signature::from_slice(signature),
        EcdsaForm::Asn1 => P521Signature::from_der(signature),
    }
    .map_err(|_| CryptoError::Signature)?;
    key.verify_prehash(&hash::sha512(&[message]), &signature).map_err(|_| CryptoError::Signature)
}

/// The algorithm of a private key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyAlgorithm {
    /// RSA.
    Rsa {
        /// Length of the modulus, rounded up to whole octets.
        bits: usize,
    },
    /// ECDSA over P-256.
    EcdsaP256,
    /// ECDSA over P-384.
    EcdsaP384,
    /// Ed25519.
    Ed25519,
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa { bits } => write!(f, "RSA {bits}"),
            Self::EcdsaP256 => f.write_str("ECDSA P-256"),
            Self::EcdsaP384 => f.write_str("ECDSA P-384"),
            Self::Ed25519 => f.write_str("Ed25519"),
        }
    }
}

/// A private key that signs. `ring` does not wipe the memory of its keys.
pub struct SigningKey(Inner);

enum Inner {
    Rsa(Box<RsaKeyPair>),
    /// `ring` binds a key to one form of signature, so both are kept.
    Ecdsa {
        algorithm: KeyAlgorithm,
        fixed: Box<EcdsaKeyPair>,
        asn1: Box<EcdsaKeyPair>,
    },
    Ed25519(Ed25519KeyPair),
}

impl SigningKey {
    /// Reads an unencrypted PKCS#8 key (DER). Ed25519 keys may lack the public key, as OpenSSL's do.
    ///
    /// # Errors
    /// [`CryptoError::PrivateKey`] with the reason in an operator's words.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, CryptoError> {
        let info = PrivateKeyInfoRef::try_from(der).map_err(|_| rejected("it is not PKCS#8"))?;
        match info.algorithm.oid {
            OID_RSA => RsaKeyPair::from_pkcs8(der).map_err(rsa_rejected).map(Self::rsa),
            OID_ED25519 => Ed25519KeyPair::from_pkcs8_maybe_unchecked(der)
                .map_err(key_rejected)
                .map(|key| Self(Inner::Ed25519(key))),
            OID_EC => {
                let curve = info.algorithm.parameters_oid().map_err(|_| rejected("it names no curve"))?;
                let (algorithm, fixed, asn1) = ecdsa_algorithms(curve)?;
                let load = |signing| {
                    EcdsaKeyPair::from_pkcs8(signing, der, &SystemRandom::new())
                        .map(Box::new)
                        .map_err(key_rejected)
                };
                Ok(Self(Inner::Ecdsa { algorithm, fixed: load(fixed)?, asn1: load(asn1)? }))
            }
            other => Err(rejected(format!("its algorithm {other} is not RSA, ECDSA or Ed25519"))),
        }
    }

    /// Reads an RSA key of PKCS#1 (DER, `RSA PRIVATE KEY`).
    ///
    /// # Errors
    /// [`CryptoError::PrivateKey`].
    pub fn from_pkcs1(der: &[u8]) -> Result<Self, CryptoError> {
        RsaKeyPair::from_der(der).map_err(rsa_rejected).map(Self::rsa)
    }

    /// Reads an EC key of SEC 1 (DER, `EC PRIVATE KEY`), which must name its curve and carry its
    /// public key, as all common tools write it.
    ///
    /// # Errors
    /// [`CryptoError::PrivateKey`].
    pub fn from_sec1(der: &[u8]) -> Result<Self, CryptoError> {
        let key = sec1::EcPrivateKey::try_from(der).map_err(|_| rejected("it is not SEC 1"))?;
        let curve = key.parameters.and_then(|parameters| parameters.named_curve());
        let curve = curve.ok_or_else(|| rejected("it names no curve"))?;
        let public = key.public_key.ok_or_else(|| rejected("it lacks its public key"))?;
        let (algorithm, fixed, asn1) = ecdsa_algorithms(curve)?;
        let load = |signing| {
            let random = SystemRandom::new();
            EcdsaKeyPair::from_private_key_and_public_key(signing, key.private_key, public, &random)
                .map(Box::new)
                .map_err(key_rejected)
        };
        Ok(Self(Inner::Ecdsa { algorithm, fixed: load(fixed)?, asn1: load(asn1)? }))
    }

    fn rsa(key: RsaKeyPair) -> Self {
        Self(Inner::Rsa(Box::new(key)))
    }

    /// The key's algorithm.
    pub fn algorithm(&self) -> KeyAlgorithm {
        match &self.0 {
            Inner::Rsa(key) => KeyAlgorithm::Rsa { bits: key.public().modulus_len() * 8 },
            Inner::Ecdsa { algorithm, .. } => *algorithm,
            Inner::Ed25519(_) => KeyAlgorithm::Ed25519,
        }
    }

    /// The public key in the form that [`verify`] takes; it must equal the certificate's.
    pub fn public_key(&self) -> &[u8] {
        match &self.0 {
            Inner::Rsa(key) => key.public_key().as_ref(),
            Inner::Ecdsa { fixed, .. } => fixed.public_key().as_ref(),
            Inner::Ed25519(key) => key.public_key().as_ref(),
        }
    }

    /// Signs `message`.
    ///
    /// # Errors
    /// [`CryptoError::Scheme`] when this key cannot sign with the scheme; [`CryptoError::Random`] when
    /// the random source failed.
    pub fn sign(&self, scheme: Scheme, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        match (&self.0, scheme) {
            (Inner::Rsa(key), Scheme::RsaPkcs1(_) | Scheme::RsaPss(_)) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(rsa_encoding(scheme)?, &SystemRandom::new(), message, &mut signature)
                    .map_err(|_| CryptoError::Random)?;
                Ok(signature)
            }
            (Inner::Ecdsa { algorithm, fixed, asn1 }, Scheme::Ecdsa { curve, digest, form }) => {
                let fits = matches!(
                    (algorithm, curve, digest),
                    (KeyAlgorithm::EcdsaP256, Curve::P256, Digest::Sha256)
                        | (KeyAlgorithm::EcdsaP384, Curve::P384, Digest::Sha384)
                );
                if !fits {
                    return Err(CryptoError::Scheme("the ECDSA key cannot sign with this curve and hash"));
                }
                let key = if form == EcdsaForm::Fixed { fixed } else { asn1 };
                let signature = key.sign(&SystemRandom::new(), message).map_err(|_| CryptoError::Random)?;
                Ok(signature.as_ref().to_vec())
            }
            (Inner::Ed25519(key), Scheme::Ed25519) => Ok(key.sign(message).as_ref().to_vec()),
            _ => Err(CryptoError::Scheme("the private key is of another kind than the scheme")),
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.algorithm())
    }
}

fn ecdsa_algorithms(
    curve: ObjectIdentifier,
) -> Result<(KeyAlgorithm, &'static rs::EcdsaSigningAlgorithm, &'static rs::EcdsaSigningAlgorithm), CryptoError>
{
    match curve {
        OID_P256 => Ok((
            KeyAlgorithm::EcdsaP256,
            &rs::ECDSA_P256_SHA256_FIXED_SIGNING,
            &rs::ECDSA_P256_SHA256_ASN1_SIGNING,
        )),
        OID_P384 => Ok((
            KeyAlgorithm::EcdsaP384,
            &rs::ECDSA_P384_SHA384_FIXED_SIGNING,
            &rs::ECDSA_P384_SHA384_ASN1_SIGNING,
        )),
        other => Err(rejected(format!("its curve {other} is not P-256 or P-384"))),
    }
}

fn rsa_encoding(scheme: Scheme) -> Result<&'static dyn rs::RsaEncoding, CryptoError> {
    Ok(match scheme {
        Scheme::RsaPkcs1(Digest::Sha256) => &rs::RSA_PKCS1_SHA256,
        Scheme::RsaPkcs1(Digest::Sha384) => &rs::RSA_PKCS1_SHA384,
        Scheme::RsaPkcs1(Digest::Sha512) => &rs::RSA_PKCS1_SHA512,
        Scheme::RsaPss(Digest::Sha256) => &rs::RSA_PSS_SHA256,
        Scheme::RsaPss(Digest::Sha384) => &rs::RSA_PSS_SHA384,
        Scheme::RsaPss(Digest::Sha512) => &rs::RSA_PSS_SHA512,
        _ => return Err(CryptoError::Scheme("RSA signs with SHA-2 only")),
    })
}

fn rejected(reason: impl Into<String>) -> CryptoError {
    CryptoError::PrivateKey(reason.into())
}

fn key_rejected(error: KeyRejected) -> CryptoError {
    rejected(error.to_string())
}

fn rsa_rejected(error: KeyRejected) -> CryptoError {
    match error.to_string().as_str() {
        "TooSmall" => rejected("an RSA key must have at least 2048 bits"),
        "TooLarge" => rejected("an RSA key must have at most 4096 bits"),
        other => rejected(other),
    }
}

#[cfg(test)]
mod tests;
