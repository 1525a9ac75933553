//! The pseudo-random function and prf+
//! ([RFC 7296 section 2.13](https://www.rfc-editor.org/rfc/rfc7296#section-2.13)).

use ring::hmac;

use super::{CryptoError, Prf, Secret};

/// `prf(key, parts[0] | parts[1] | …)`, [`Prf::output_len`] octets. HMAC takes a key of any length whole.
pub fn prf(algorithm: Prf, key: &[u8], parts: &[&[u8]]) -> Secret {
    let key = hmac::Key::new(hmac_algorithm(algorithm), key);
    Secret::from_slice(tag(&key, parts).as_ref())
}

/// `prf+(key, seed)`, `len` octets: T1 | T2 | … with T1 = prf(key, seed | 1) and
/// Tn = prf(key, Tn-1 | seed | n).
///
/// # Errors
/// [`CryptoError::TooMuchKeyMaterial`] beyond 255 blocks.
pub fn prf_plus(algorithm: Prf, key: &[u8], seed: &[&[u8]], len: usize) -> Result<Secret, CryptoError> {
    if len > 255 * algorithm.output_len() {
        return Err(CryptoError::TooMuchKeyMaterial);
    }
    let key = hmac::Key::new(hmac_algorithm(algorithm), key);
    let mut out = Vec::with_capacity(len + algorithm.output_len());
    let mut previous: Option<hmac::Tag> = None;
    for counter in 1..=u8::MAX {
        if out.len() >= len {
            break;
        }
        let mut parts = Vec::with_capacity(seed.len() + 2);
        if let Some(previous) = &previous {
            parts.push(previous.as_ref());
        }
        parts.extend_from_slice(seed);
        let counter = [counter];
        parts.push(&counter);
        let block = tag(&key, &parts);
        out.extend_from_slice(block.as_ref());
        previous = Some(block);
    }
    out.truncate(len);
    Ok(Secret::new(out))
}

fn tag(key: &hmac::Key, parts: &[&[u8]]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        context.update(part);
    }
    context.sign()
}

fn hmac_algorithm(algorithm: Prf) -> hmac::Algorithm {
    match algorithm {
        Prf::HmacSha256 => hmac::HMAC_SHA256,
        Prf::HmacSha384 => hmac::HMAC_SHA384,
        Prf::HmacSha512 => hmac::HMAC_SHA512,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prf_plus_chains_blocks_and_cuts_the_last() {
        let (key, seed) = (b"key".as_slice(), b"seed".as_slice());
        let first = prf(Prf::HmacSha256, key, &[seed, &[1]]);
        let second = prf(Prf::HmacSha256, key, &[first.expose(), seed, &[2]]);
        let out = prf_plus(Prf::HmacSha256, key, &[b"se", b"ed"], 40).unwrap();
        assert_eq!(out.expose()[..32], *first.expose());
        assert_eq!(out.expose()[32..], second.expose()[..8]);
    }

    #[test]
    fn prf_plus_ends_after_255_blocks() {
        assert_eq!(prf_plus(Prf::HmacSha256, b"key", &[], 255 * 32).unwrap().len(), 255 * 32);
        assert_eq!(
            prf_plus(Prf::HmacSha256, b"key", &[], 255 * 32 + 1),
            Err(CryptoError::TooMuchKeyMaterial)
        );
        assert!(prf_plus(Prf::HmacSha512, b"key", &[], 0).unwrap().is_empty());
    }
}
