//! Protection of one direction of an SA: encryption with integrity, in place, without allocation.
//!
//! The same key serves ESP and the SK payload of IKEv2; the caller lays out the packet and says what
//! is additional data. The three kinds of engine:
//!
//! | Cipher | Engine |
//! |---|---|
//! | AES-GCM-16 with 128/256 bits, ChaCha20-Poly1305 | `ring` |
//! | other AES-GCM | `aes-gcm` |
//! | AES-CBC with HMAC | `aes` and `cbc`, HMAC by `ring` |

mod aead;
mod cbc;

use std::fmt;

use self::{aead::Aead, cbc::CbcHmac};
use super::{Cipher, CryptoError, Integrity, suite::SALT_LEN};

/// The key of one direction of an SA, expanded once.
///
/// `ring` keeps its expanded keys in memory it does not wipe; the other engines wipe theirs.
pub struct CipherKey {
    cipher: Cipher,
    iv_len: usize,
    icv_len: usize,
    engine: Engine,
}

enum Engine {
    Aead(Aead),
    Cbc(Box<CbcHmac>),
}

impl CipherKey {
    /// Expands a key. `encryption_key` has [`Cipher::key_len`] octets: an AEAD's ends in its four
    /// octets of salt. `integrity_key` is empty for an AEAD and [`Integrity::key_len`] long otherwise.
    ///
    /// # Errors
    /// [`CryptoError::KeyLength`] and [`CryptoError::Suite`] when lengths or algorithms do not fit.
    pub fn new(
        cipher: Cipher,
        integrity: Option<Integrity>,
        encryption_key: &[u8],
        integrity_key: &[u8],
    ) -> Result<Self, CryptoError> {
        check_key_len(cipher.keyword(), cipher.key_len(), encryption_key)?;
        let (engine, icv_len) = match (cipher.icv_len(), integrity) {
            (Some(icv_len), None) => {
                check_key_len("integrity", 0, integrity_key)?;
                let (key, salt) = encryption_key
                    .split_last_chunk::<SALT_LEN>()
                    .ok_or(CryptoError::Suite("the key has no salt"))?;
                (Engine::Aead(Aead::new(cipher, key, *salt)?), icv_len)
            }
            (None, Some(integrity)) => {
                check_key_len(integrity.keyword(), integrity.key_len(), integrity_key)?;
                let engine = CbcHmac::new(integrity, encryption_key, integrity_key)?;
                (Engine::Cbc(Box::new(engine)), integrity.icv_len())
            }
            (Some(_), Some(_)) => {
                return Err(CryptoError::Suite("an AEAD goes without an integrity algorithm"));
            }
            (None, None) => return Err(CryptoError::Suite("AES-CBC needs an integrity algorithm")),
        };
        Ok(Self { cipher, iv_len: cipher.iv_len(), icv_len, engine })
    }

    /// The cipher.
    pub fn cipher(&self) -> Cipher {
        self.cipher
    }

    /// Octets of initialisation vector: 8 for an AEAD, 16 for CBC.
    pub fn iv_len(&self) -> usize {
        self.iv_len
    }

    /// Octets of ICV.
    pub fn icv_len(&self) -> usize {
        self.icv_len
    }

    /// Plaintext must be a multiple of this many octets: 1 for an AEAD, 16 for CBC.
    pub fn block_len(&self) -> usize {
        self.cipher.block_len()
    }

    /// What the ESP trailer must align to: 4 for an AEAD, 16 for CBC
    /// ([RFC 4303 section 2.4](https://www.rfc-editor.org/rfc/rfc4303#section-2.4)).
    pub fn esp_alignment(&self) -> usize {
        self.block_len().max(4)
    }

    /// Encrypts `data` in place and writes its ICV.
    ///
    /// With an AEAD, `iv` must never repeat under one key (a counter), `aad` is all the additional
    /// data (ESP with 64-bit sequence numbers: SPI | high | low) and `trailer` must be empty. With CBC,
    /// `iv` must be unpredictable and the ICV covers `aad | iv | ciphertext | trailer`, where `trailer`
    /// is the high half of a 64-bit sequence number.
    ///
    /// # Errors
    /// [`CryptoError::Length`] when `iv`, `trailer`, `data` or `icv_out` have the wrong length; `data`
    /// is then untouched.
    pub fn seal(
        &self,
        iv: &[u8],
        aad: &[u8],
        trailer: &[u8],
        data: &mut [u8],
        icv_out: &mut [u8],
    ) -> Result<(), CryptoError> {
        self.check_lengths(iv, icv_out.len())?;
        match &self.engine {
            Engine::Aead(engine) => {
                no_trailer(trailer)?;
                engine.seal(iv, aad, data, icv_out)
            }
            Engine::Cbc(engine) => engine.seal(iv, aad, trailer, data, icv_out),
        }
    }

    /// Checks `icv` in constant time and, if it matches, decrypts `data` in place. The arguments are
    /// those of [`Self::seal`].
    ///
    /// # Errors
    /// [`CryptoError::Integrity`] when the ICV does not match; `data` is then of no use.
    /// [`CryptoError::Length`] when a length is wrong.
    pub fn open(
        &self,
        iv: &[u8],
        aad: &[u8],
        trailer: &[u8],
        data: &mut [u8],
        icv: &[u8],
    ) -> Result<(), CryptoError> {
        self.check_lengths(iv, icv.len())?;
        match &self.engine {
            Engine::Aead(engine) => {
                no_trailer(trailer)?;
                engine.open(iv, aad, data, icv)
            }
            Engine::Cbc(engine) => engine.open(iv, aad, trailer, data, icv),
        }
    }

    fn check_lengths(&self, iv: &[u8], icv_len: usize) -> Result<(), CryptoError> {
        if iv.len() != self.iv_len {
            return Err(CryptoError::Length("the initialisation vector"));
        }
        if icv_len != self.icv_len {
            return Err(CryptoError::Length("the ICV"));
        }
        Ok(())
    }
}

impl fmt::Debug for CipherKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CipherKey({})", self.cipher)
    }
}

fn no_trailer(trailer: &[u8]) -> Result<(), CryptoError> {
    if trailer.is_empty() { Ok(()) } else { Err(CryptoError::Length("the trailer: an AEAD has none")) }
}

fn check_key_len(algorithm: &'static str, expected: usize, key: &[u8]) -> Result<(), CryptoError> {
    if key.len() == expected {
        return Ok(());
    }
    Err(CryptoError::KeyLength { algorithm, expected, actual: key.len() })
}

#[cfg(test)]
mod tests;
