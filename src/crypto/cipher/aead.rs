//! AEADs. The nonce is the SA's salt and the packet's eight-octet IV
//! ([RFC 4106 section 4](https://www.rfc-editor.org/rfc/rfc4106#section-4),
//! [RFC 7634 section 2](https://www.rfc-editor.org/rfc/rfc7634#section-2)).

use aes_gcm::{
    AeadInOut, AesGcm, KeyInit, Nonce, Tag,
    aead::{
        consts::{U8, U12, U16},
        inout::InOutBuf,
    },
};
use ring::aead as ring_aead;

use super::super::{Cipher, CryptoError, suite::SALT_LEN};

pub(super) struct Aead {
    salt: [u8; SALT_LEN],
    key: Key,
}

enum Key {
    Ring(Box<ring_aead::LessSafeKey>),
    Gcm(Box<dyn DetachedAead>),
}

/// The instances of `aes-gcm` differ in type; this makes them one.
trait DetachedAead: Send + Sync {
    fn seal(&self, nonce: &[u8; 12], aad: &[u8], data: &mut [u8], icv: &mut [u8]) -> Option<()>;
    fn open(&self, nonce: &[u8; 12], aad: &[u8], data: &mut [u8], icv: &[u8]) -> Option<()>;
}

impl<K> DetachedAead for K
where
    K: AeadInOut<NonceSize = U12> + Send + Sync,
{
    fn seal(&self, nonce: &[u8; 12], aad: &[u8], data: &mut [u8], icv: &mut [u8]) -> Option<()> {
        let nonce: &Nonce<U12> = nonce.into();
        let tag = self.encrypt_inout_detached(nonce, aad, InOutBuf::from(data)).ok()?;
        if icv.len() != tag.len() {
            return None;
        }
        icv.copy_from_slice(&tag);
        Some(())
    }

    fn open(&self, nonce: &[u8; 12], aad: &[u8], data: &mut [u8], icv: &[u8]) -> Option<()> {
        let nonce: &Nonce<U12> = nonce.into();
        let tag: &Tag<K::TagSize> = icv.try_into().ok()?;
        self.decrypt_inout_detached(nonce, aad, InOutBuf::from(data), tag).ok()
    }
}

impl Aead {
    pub(super) fn new(cipher: Cipher, key: &[u8], salt: [u8; SALT_LEN]) -> Result<Self, CryptoError> {
        use aes::{Aes128, Aes192, Aes256};
        let key = match cipher {
            Cipher::AesGcm { key_bits: 128, icv_len: 16 } => ring_key(&ring_aead::AES_128_GCM, key),
            Cipher::AesGcm { key_bits: 256, icv_len: 16 } => ring_key(&ring_aead::AES_256_GCM, key),
            Cipher::ChaCha20Poly1305 => ring_key(&ring_aead::CHACHA20_POLY1305, key),
            Cipher::AesGcm { key_bits: 128, icv_len: 8 } => gcm_key::<AesGcm<Aes128, U12, U8>>(key),
            Cipher::AesGcm { key_bits: 192, icv_len: 8 } => gcm_key::<AesGcm<Aes192, U12, U8>>(key),
            Cipher::AesGcm { key_bits: 256, icv_len: 8 } => gcm_key::<AesGcm<Aes256, U12, U8>>(key),
            Cipher::AesGcm { key_bits: 128, icv_len: 12 } => gcm_key::<AesGcm<Aes128, U12, U12>>(key),
            Cipher::AesGcm { key_bits: 192, icv_len: 12 } => gcm_key::<AesGcm<Aes192, U12, U12>>(key),
            Cipher::AesGcm { key_bits: 256, icv_len: 12 } => gcm_key::<AesGcm<Aes256, U12, U12>>(key),
            Cipher::AesGcm { key_bits: 192, icv_len: 16 } => gcm_key::<AesGcm<Aes192, U12, U16>>(key),
            Cipher::AesGcm { .. } | Cipher::AesCbc { .. } => None,
        };
        let key = key.ok_or(CryptoError::Suite("no AEAD with this key and ICV length"))?;
        Ok(Self { salt, key })
    }

    pub(super) fn seal(
        &self,
        iv: &[u8],
        aad: &[u8],
        data: &mut [u8],
        icv_out: &mut [u8],
    ) -> Result<(), CryptoError> {
        let nonce = self.nonce(iv)?;
        match &self.key {
            Key::Ring(key) => {
                let nonce = ring_aead::Nonce::assume_unique_for_key(nonce);
                let tag = key
                    .seal_in_place_separate_tag(nonce, ring_aead::Aad::from(aad), data)
                    .map_err(|_| CryptoError::Length("the data"))?;
                icv_out.copy_from_slice(tag.as_ref());
                Ok(())
            }
            Key::Gcm(key) => key.seal(&nonce, aad, data, icv_out).ok_or(CryptoError::Length("the data")),
        }
    }

    pub(super) fn open(&self, iv: &[u8], aad: &[u8], data: &mut [u8], icv: &[u8]) -> Result<(), CryptoError> {
        let nonce = self.nonce(iv)?;
        match &self.key {
            Key::Ring(key) => {
                let nonce = ring_aead::Nonce::assume_unique_for_key(nonce);
                let tag = icv.try_into().map_err(|_| CryptoError::Length("the ICV"))?;
                key.open_in_place_separate_tag(nonce, ring_aead::Aad::from(aad), tag, data, 0..)
                    .map(|_| ())
                    .map_err(|_| CryptoError::Integrity)
            }
            Key::Gcm(key) => key.open(&nonce, aad, data, icv).ok_or(CryptoError::Integrity),
        }
    }

    fn nonce(&self, iv: &[u8]) -> Result<[u8; 12], CryptoError> {
        let mut nonce = [0; 12];
        let (salt, counter) = nonce.split_at_mut(SALT_LEN);
        salt.copy_from_slice(&self.salt);
        if iv.len() != counter.len() {
            return Err(CryptoError::Length("the initialisation vector"));
        }
        counter.copy_from_slice(iv);
        Ok(nonce)
    }
}

fn ring_key(algorithm: &'static ring_aead::Algorithm, key: &[u8]) -> Option<Key> {
    let key = ring_aead::UnboundKey::new(algorithm, key).ok()?;
    Some(Key::Ring(Box::new(ring_aead::LessSafeKey::new(key))))
}

fn gcm_key<K: DetachedAead + KeyInit + 'static>(key: &[u8]) -> Option<Key> {
    Some(Key::Gcm(Box::new(K::new_from_slice(key).ok()?)))
}
