//! The AUTH data of signature methods: algorithm identifiers, what is signed with, what is accepted.
//!
//! Method 14 ([RFC 7427](https://www.rfc-editor.org/rfc/rfc7427#section-3)) carries an AlgorithmIdentifier and the
//! signature. The identifier is compared octet for octet with the encodings listed here (parameters of RSA
//! hashes NULL or absent, as [RFC 4055](https://www.rfc-editor.org/rfc/rfc4055#section-3.1) demands; PSS with all
//! parameters explicit and a salt as long as the hash), so no lenient parser stands between the peer and
//! the verification. Methods 9, 10 and 11
//! ([RFC 4754](https://www.rfc-editor.org/rfc/rfc4754)) and, for verification alone, method 1 serve older peers.

use super::der;
use super::error::PkiError;
use super::key::KeyKind;
use super::public_key::PublicKey;
use crate::wire::ike::registry::{AuthMethod, HashAlgorithmId};

/// What a peer's signature may be made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignaturePolicy {
    /// The hashes we announced to this peer in SIGNATURE_HASH_ALGORITHMS; empty if we announced none.
    pub announced: Vec<HashAlgorithmId>,
    /// Accept SHA-1 in method 1, for peers that can do nothing else. Off by default.
    pub allow_sha1: bool,
}

/// The hashes this implementation can verify with, in the order to announce them.
pub const SUPPORTED_HASHES: &[HashAlgorithmId] = &[
    HashAlgorithmId::SHA2_256,
    HashAlgorithmId::SHA2_384,
    HashAlgorithmId::SHA2_512,
    HashAlgorithmId::IDENTITY,
];

impl Default for SignaturePolicy {
    /// All of [`SUPPORTED_HASHES`] announced, no SHA-1.
    fn default() -> Self {
        Self { announced: SUPPORTED_HASHES.to_vec(), allow_sha1: false }
    }
}

pub(super) use crate::crypto::signature::Digest as Hash;

/// The hashes of SHA-2, weakest first.
pub(super) const STRONG: [Hash; 3] = [Hash::Sha256, Hash::Sha384, Hash::Sha512];

pub(super) fn hash_id(hash: Hash) -> HashAlgorithmId {
    match hash {
        Hash::Sha1 => HashAlgorithmId::SHA1,
        Hash::Sha256 => HashAlgorithmId::SHA2_256,
        Hash::Sha384 => HashAlgorithmId::SHA2_384,
        Hash::Sha512 => HashAlgorithmId::SHA2_512,
    }
}

fn bits(hash: Hash) -> u16 {
    match hash {
        Hash::Sha1 => 1,
        Hash::Sha256 => 256,
        Hash::Sha384 => 384,
        Hash::Sha512 => 512,
    }
}

/// A signature scheme as it appears in AUTH.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    RsaPkcs1(Hash),
    RsaPss(Hash),
    /// ECDSA with the signature as an ASN.1 SEQUENCE.
    Ecdsa(Hash),
    /// ECDSA with the signature as r and s at the width of the curve.
    EcdsaFixed(Hash),
    Ed25519,
}

impl Scheme {
    pub(super) fn hash_id(self) -> HashAlgorithmId {
        match self {
            Self::RsaPkcs1(hash) | Self::RsaPss(hash) | Self::Ecdsa(hash) | Self::EcdsaFixed(hash) => {
                hash_id(hash)
            }
            Self::Ed25519 => HashAlgorithmId::IDENTITY,
        }
    }

    fn fits(self, key: KeyKind) -> bool {
        match self {
            Self::RsaPkcs1(_) | Self::RsaPss(_) => matches!(key, KeyKind::Rsa { .. }),
            Self::Ecdsa(_) | Self::EcdsaFixed(_) => key.is_ecdsa(),
            Self::Ed25519 => key == KeyKind::Ed25519,
        }
    }

    fn name(self) -> String {
        match self {
            Self::RsaPkcs1(hash) => format!("RSA PKCS#1 with SHA-{}", bits(hash)),
            Self::RsaPss(hash) => format!("RSA-PSS with SHA-{}", bits(hash)),
            Self::Ecdsa(hash) | Self::EcdsaFixed(hash) => format!("ECDSA with SHA-{}", bits(hash)),
            Self::Ed25519 => "Ed25519".to_owned(),
        }
    }

    /// The DER AlgorithmIdentifier that goes out.
    pub(super) fn algorithm_identifier(self) -> Option<Vec<u8>> {
        self.accepted_identifiers().into_iter().next()
    }

    /// Every encoding of the AlgorithmIdentifier that is accepted, the one that goes out first.
    fn accepted_identifiers(self) -> Vec<Vec<u8>> {
        let oid = |content: &[u8]| der::encode(der::OID, content);
        match self {
            Self::RsaPkcs1(hash) => {
                let Some(last) = (match hash {
                    Hash::Sha1 => None,
                    Hash::Sha256 => Some(0x0b),
                    Hash::Sha384 => Some(0x0c),
                    Hash::Sha512 => Some(0x0d),
                }) else {
                    return Vec::new();
                };
                both_null_forms(&oid(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, last]))
            }
            Self::RsaPss(hash) => pss_identifiers(hash),
            Self::Ecdsa(hash) => {
                let last = match hash {
                    Hash::Sha1 => return Vec::new(),
                    Hash::Sha256 => 0x02,
                    Hash::Sha384 => 0x03,
                    Hash::Sha512 => 0x04,
                };
                vec![der::encode(der::SEQUENCE, &oid(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, last]))]
            }
            Self::EcdsaFixed(_) => Vec::new(),
            Self::Ed25519 => vec![der::encode(der::SEQUENCE, &oid(&[0x2b, 0x65, 0x70]))],
        }
    }

    fn from_identifier(identifier: &[u8]) -> Option<Self> {
        let of = |make: fn(Hash) -> Self| STRONG.into_iter().map(make);
        of(Self::RsaPkcs1)
            .chain(of(Self::RsaPss))
            .chain(of(Self::Ecdsa))
            .chain([Self::Ed25519])
            .find(|scheme| scheme.accepted_identifiers().iter().any(|accepted| accepted == identifier))
    }
}

fn both_null_forms(oid: &[u8]) -> Vec<Vec<u8>> {
    vec![der::encode(der::SEQUENCE, &[oid, &[der::NULL, 0]].concat()), der::encode(der::SEQUENCE, oid)]
}

/// [RFC 4055 section 3.1](https://www.rfc-editor.org/rfc/rfc4055#section-3.1), hash and MGF1 hash equal. The
/// trailer field has its default value; it is left out as DER demands, and accepted where it is written
/// out, as in the example of RFC 7427 appendix A.4.3.
fn pss_identifiers(hash: Hash) -> Vec<Vec<u8>> {
    let (last, salt) = match hash {
        Hash::Sha1 => return Vec::new(),
        Hash::Sha256 => (0x01, 32),
        Hash::Sha384 => (0x02, 48),
        Hash::Sha512 => (0x03, 64),
    };
    let hash_oid = der::encode(der::OID, &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, last]);
    let mgf1 = der::encode(der::OID, &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08]);
    let pss = der::encode(der::OID, &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a]);
    let mut all = Vec::new();
    for trailer in [&[][..], &[0xa3, 3, der::INTEGER, 1, 1]] {
        for hash in both_null_forms(&hash_oid) {
            let mask = der::encode(der::SEQUENCE, &[mgf1.as_slice(), &hash].concat());
            let parameters = [
                der::encode(0xa0, &hash).as_slice(),
                &der::encode(0xa1, &mask),
                &[0xa2, 3, der::INTEGER, 1, salt],
                trailer,
            ]
            .concat();
            let parameters = der::encode(der::SEQUENCE, &parameters);
            all.push(der::encode(der::SEQUENCE, &[pss.as_slice(), &parameters].concat()));
        }
    }
    all
}

/// Builds the AUTH data of method 14.
pub(super) fn digital_signature_data(scheme: Scheme, signature: &[u8]) -> Option<Vec<u8>> {
    let identifier = scheme.algorithm_identifier()?;
    let mut data = vec![u8::try_from(identifier.len()).ok()?];
    data.extend(identifier);
    data.extend_from_slice(signature);
    Some(data)
}

/// The scheme and signature of method 14's AUTH data.
fn parse_digital_signature(data: &[u8]) -> Result<(Scheme, &[u8]), PkiError> {
    let (&length, rest) = data.split_first().ok_or(PkiError::MalformedSignature("it is empty"))?;
    let (identifier, signature) = rest
        .split_at_checked(usize::from(length))
        .ok_or(PkiError::MalformedSignature("the algorithm identifier is cut off"))?;
    let scheme = Scheme::from_identifier(identifier)
        .ok_or_else(|| PkiError::UnsupportedAlgorithm(unknown_identifier(identifier)))?;
    Ok((scheme, signature))
}

fn unknown_identifier(identifier: &[u8]) -> String {
    let oid = der::single(identifier, der::SEQUENCE)
        .and_then(|sequence| der::Reader::new(sequence.content).expect(der::OID))
        .ok()
        .and_then(|oid| der::dotted_oid(oid.content));
    match oid.as_deref() {
        None => "malformed algorithm identifier".to_owned(),
        Some("1.2.840.113549.1.1.5") => "RSA PKCS#1 with SHA-1".to_owned(),
        Some("1.2.840.10045.4.1") => "ECDSA with SHA-1".to_owned(),
        Some("1.2.840.113549.1.1.10") => {
            "RSA-PSS with other parameters than SHA-2 and a salt as long as the hash".to_owned()
        }
        Some("1.3.101.113") => "Ed448".to_owned(),
        Some(
            "1.2.840.113549.1.1.11"
            | "1.2.840.113549.1.1.12"
            | "1.2.840.113549.1.1.13"
            | "1.2.840.10045.4.3.2"
            | "1.2.840.10045.4.3.3"
            | "1.2.840.10045.4.3.4"
            | "1.3.101.112",
        ) => "a known algorithm with malformed parameters".to_owned(),
        Some(oid) => format!("algorithm {oid}"),
    }
}

/// Checks the AUTH data of a peer that holds `key`; `subject` is its certificate's, for messages.
pub(super) fn verify(
    key: &PublicKey,
    subject: &str,
    method: AuthMethod,
    data: &[u8],
    octets: &[u8],
    policy: &SignaturePolicy,
) -> Result<(), PkiError> {
    if data.is_empty() {
        return Err(PkiError::MalformedSignature("it is empty"));
    }
    let bad = || PkiError::BadSignature { subject: subject.to_owned() };
    let require = |scheme: Scheme, kind: Option<KeyKind>| {
        let fits = kind.map_or_else(|| scheme.fits(key.kind), |kind| kind == key.kind);
        if fits {
            return Ok(());
        }
        Err(PkiError::AlgorithmMismatch { algorithm: scheme.name(), key: key.kind.to_string() })
    };
    match method {
        AuthMethod::DIGITAL_SIGNATURE => {
            let (scheme, signature) = parse_digital_signature(data)?;
            if signature.is_empty() {
                return Err(PkiError::MalformedSignature("the signature is empty"));
            }
            require(scheme, None)?;
            if !policy.announced.contains(&scheme.hash_id()) {
                return Err(PkiError::HashNotAnnounced(scheme.hash_id()));
            }
            key.verify(scheme, octets, signature)?.then_some(()).ok_or_else(bad)
        }
        AuthMethod::RSA_SIGNATURE => {
            require(Scheme::RsaPkcs1(Hash::Sha256), None)?;
            let legacy = policy.allow_sha1.then_some(Hash::Sha1);
            for hash in STRONG.into_iter().chain(legacy) {
                if key.verify(Scheme::RsaPkcs1(hash), octets, data)? {
                    return Ok(());
                }
            }
            Err(bad())
        }
        AuthMethod::ECDSA_256 | AuthMethod::ECDSA_384 | AuthMethod::ECDSA_521 => {
            let (kind, hash) = match method {
                AuthMethod::ECDSA_256 => (KeyKind::EcdsaP256, Hash::Sha256),
                AuthMethod::ECDSA_384 => (KeyKind::EcdsaP384, Hash::Sha384),
                _ => (KeyKind::EcdsaP521, Hash::Sha512),
            };
            let scheme = Scheme::EcdsaFixed(hash);
            require(scheme, Some(kind))?;
            key.verify(scheme, octets, data)?.then_some(()).ok_or_else(bad)
        }
        other => Err(PkiError::UnsupportedMethod(other)),
    }
}

#[cfg(test)]
mod tests;
