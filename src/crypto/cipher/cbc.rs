//! AES-CBC with HMAC, encrypt-then-MAC: nothing is decrypted before its MAC was verified, so padding
//! tells an attacker nothing.

use aes::{
    Aes128, Aes192, Aes256,
    cipher::{
        Array, BlockCipherDecrypt, BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt, BlockSizeUser,
        InnerIvInit, KeyInit, consts::U16,
    },
};
use cbc::{Decryptor, Encryptor};
use ring::hmac;
use subtle::ConstantTimeEq;

use super::super::{CryptoError, Integrity};

const BLOCK_LEN: usize = 16;

pub(super) struct CbcHmac {
    aes: Aes,
    mac: hmac::Key,
}

enum Aes {
    Bits128(Aes128),
    Bits192(Aes192),
    Bits256(Aes256),
}

impl CbcHmac {
    pub(super) fn new(
        integrity: Integrity,
        encryption_key: &[u8],
        integrity_key: &[u8],
    ) -> Result<Self, CryptoError> {
        let aes = match encryption_key.len() {
            16 => Aes128::new_from_slice(encryption_key).map(Aes::Bits128),
            24 => Aes192::new_from_slice(encryption_key).map(Aes::Bits192),
            _ => Aes256::new_from_slice(encryption_key).map(Aes::Bits256),
        }
        .map_err(|_| CryptoError::Suite("no AES with this key length"))?;
        let algorithm = match integrity {
            Integrity::HmacSha256_128 => hmac::HMAC_SHA256,
            Integrity::HmacSha384_192 => hmac::HMAC_SHA384,
            Integrity::HmacSha512_256 => hmac::HMAC_SHA512,
        };
        Ok(Self { aes, mac: hmac::Key::new(algorithm, integrity_key) })
    }

    pub(super) fn seal(
        &self,
        iv: &[u8],
        aad: &[u8],
        trailer: &[u8],
        data: &mut [u8],
        icv_out: &mut [u8],
    ) -> Result<(), CryptoError> {
        let iv = checked_iv(iv, data)?;
        match &self.aes {
            Aes::Bits128(aes) => encrypt(aes, iv, data),
            Aes::Bits192(aes) => encrypt(aes, iv, data),
            Aes::Bits256(aes) => encrypt(aes, iv, data),
        }
        let tag = self.mac(&[aad, iv, data, trailer]);
        let tag = tag.as_ref().get(..icv_out.len()).ok_or(CryptoError::Length("the ICV"))?;
        icv_out.copy_from_slice(tag);
        Ok(())
    }

    pub(super) fn open(
        &self,
        iv: &[u8],
        aad: &[u8],
        trailer: &[u8],
        data: &mut [u8],
        icv: &[u8],
    ) -> Result<(), CryptoError> {
        let iv = checked_iv(iv, data)?;
        let tag = self.mac(&[aad, iv, data, trailer]);
        let tag = tag.as_ref().get(..icv.len()).ok_or(CryptoError::Length("the ICV"))?;
        if !bool::from(tag.ct_eq(icv)) {
            return Err(CryptoError::Integrity);
        }
        match &self.aes {
            Aes::Bits128(aes) => decrypt(aes, iv, data),
            Aes::Bits192(aes) => decrypt(aes, iv, data),
            Aes::Bits256(aes) => decrypt(aes, iv, data),
        }
        Ok(())
    }

    fn mac(&self, parts: &[&[u8]]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.mac);
        for part in parts {
            context.update(part);
        }
        context.sign()
    }
}

fn checked_iv<'a>(iv: &'a [u8], data: &[u8]) -> Result<&'a [u8; BLOCK_LEN], CryptoError> {
    if !data.len().is_multiple_of(BLOCK_LEN) {
        return Err(CryptoError::Length("the data: no whole number of blocks"));
    }
    iv.try_into().map_err(|_| CryptoError::Length("the initialisation vector"))
}

fn encrypt<C>(aes: &C, iv: &[u8; BLOCK_LEN], data: &mut [u8])
where
    C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16>,
{
    let (blocks, _) = Array::<u8, U16>::slice_as_chunks_mut(data);
    Encryptor::inner_iv_init(aes, iv.into()).encrypt_blocks(blocks);
}

fn decrypt<C>(aes: &C, iv: &[u8; BLOCK_LEN], data: &mut [u8])
where
    C: BlockCipherDecrypt + BlockSizeUser<BlockSize = U16>,
{
    let (blocks, _) = Array::<u8, U16>::slice_as_chunks_mut(data);
    Decryptor::inner_iv_init(aes, iv.into()).decrypt_blocks(blocks);
}
