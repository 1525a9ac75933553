//! The public key in a certificate: which kind it is, and whether it is strong enough.

use super::der::{self, BadDer, Reader};
use super::key::KeyKind;

const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
const P521: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x23];

/// Smallest and largest RSA modulus, in bits.
const RSA_BITS: std::ops::RangeInclusive<u16> = 2048..=8192;

/// A public key as the signature verifiers take it: the BIT STRING's octets of the SubjectPublicKeyInfo
/// (RSAPublicKey DER, uncompressed point, or 32 octets).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PublicKey {
    pub(super) kind: KeyKind,
    pub(super) octets: Vec<u8>,
}

impl PublicKey {
    /// Reads a SubjectPublicKeyInfo strictly; the error says why the key is not accepted.
    pub(super) fn from_spki(spki: &[u8]) -> Result<Self, String> {
        let (algorithm, parameters, octets) =
            parts(spki).map_err(|BadDer| "malformed SubjectPublicKeyInfo".to_owned())?;
        let kind = match algorithm {
            RSA_ENCRYPTION => {
                if parameters != Some(&[der::NULL, 0][..]) {
                    return Err("RSA key with parameters".to_owned());
                }
                KeyKind::Rsa { bits: rsa_bits(octets)? }
            }
            EC_PUBLIC_KEY => {
                let curve = parameters.and_then(|parameters| der::single(parameters, der::OID).ok());
                let (kind, field) = match curve.map(|curve| curve.content) {
                    Some(P256) => (KeyKind::EcdsaP256, 32),
                    Some(P384) => (KeyKind::EcdsaP384, 48),
                    Some(P521) => (KeyKind::EcdsaP521, 66),
                    _ => return Err("elliptic curve other than P-256, P-384 or P-521".to_owned()),
                };
                if octets.first() != Some(&4) || octets.len() != 1 + 2 * field {
                    return Err("elliptic curve point of a wrong form".to_owned());
                }
                kind
            }
            ED25519 => {
                if parameters.is_some() || octets.len() != 32 {
                    return Err("malformed Ed25519 key".to_owned());
                }
                KeyKind::Ed25519
            }
            other => {
                let name = der::dotted_oid(other).unwrap_or_default();
                return Err(format!("key algorithm {name}: use RSA, ECDSA or Ed25519"));
            }
        };
        Ok(Self { kind, octets: octets.to_vec() })
    }
}

type Parts<'a> = (&'a [u8], Option<&'a [u8]>, &'a [u8]);

fn parts(spki: &[u8]) -> Result<Parts<'_>, BadDer> {
    let mut outer = Reader::new(der::single(spki, der::SEQUENCE)?.content);
    let mut algorithm = Reader::new(outer.expect(der::SEQUENCE)?.content);
    let bits = outer.expect(der::BIT_STRING)?.content;
    outer.finish()?;
    let oid = algorithm.expect(der::OID)?.content;
    let parameters = if algorithm.is_empty() { None } else { Some(algorithm.any()?.whole) };
    algorithm.finish()?;
    match bits.split_first() {
        Some((0, octets)) => Ok((oid, parameters, octets)),
        _ => Err(BadDer),
    }
}

fn rsa_bits(key: &[u8]) -> Result<u16, String> {
    let numbers = || -> Result<(&[u8], &[u8]), BadDer> {
        let mut reader = Reader::new(der::single(key, der::SEQUENCE)?.content);
        let modulus = reader.expect(der::INTEGER)?.content;
        let exponent = reader.expect(der::INTEGER)?.content;
        reader.finish()?;
        Ok((unsigned(modulus)?, unsigned(exponent)?))
    };
    let (modulus, exponent) = numbers().map_err(|BadDer| "malformed RSA key".to_owned())?;
    let leading = modulus.first().map_or(8, |octet| octet.leading_zeros());
    let bits = u16::try_from(modulus.len() * 8)
        .unwrap_or(u16::MAX)
        .saturating_sub(u16::try_from(leading).unwrap_or(0));
    if !RSA_BITS.contains(&bits) {
        return Err(format!(
            "RSA key of {bits} bits: {} to {} are accepted",
            RSA_BITS.start(),
            RSA_BITS.end()
        ));
    }
    let small = matches!(exponent, [] | [0..=2]);
    if small || exponent.len() > 4 || exponent.last().is_some_and(|octet| octet & 1 == 0) {
        return Err("RSA key with an unacceptable public exponent: use 65537".to_owned());
    }
    if modulus.last().is_some_and(|octet| octet & 1 == 0) {
        return Err("RSA key with an even modulus".to_owned());
    }
    Ok(bits)
}

/// The magnitude of a minimally encoded, non-negative INTEGER.
fn unsigned(content: &[u8]) -> Result<&[u8], BadDer> {
    match content {
        [] | [0x80..=0xff, ..] => Err(BadDer),
        [0] => Ok(&[]),
        [0, rest @ ..] if rest.first().is_some_and(|octet| *octet >= 0x80) => Ok(rest),
        [0, ..] => Err(BadDer),
        _ => Ok(content),
    }
}
