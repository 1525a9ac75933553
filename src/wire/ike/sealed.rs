//! Room for an SK or SKF payload at the end of a message, to be sealed in place.

use super::header::Header;
use super::message::{finish_message, write_chain};
use super::payload::Payload;
use super::registry::PayloadType;
use crate::wire::{DecodeError, DecodeErrorKind, Writer};

/// What the cipher needs around the plaintext, in octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealLayout {
    /// The IV before the ciphertext.
    pub iv_len: usize,
    /// The ICV after the ciphertext.
    pub icv_len: usize,
    /// Plaintext, padding and pad length together are a multiple of it; 1 for AEAD ciphers.
    pub block_len: usize,
}

impl SealLayout {
    /// Octets that a plaintext of `len` octets takes as IV, padded ciphertext and ICV.
    pub fn sealed_len(&self, len: usize) -> usize {
        self.iv_len + len + self.padding(len) + 1 + self.icv_len
    }

    fn padding(&self, len: usize) -> usize {
        let block = self.block_len.clamp(1, 256);
        (block - (len + 1) % block) % block
    }
}

/// A message whose last payload, SK or SKF, holds its plaintext in clear, padded, between room for IV
/// and ICV. [`Sealable::parts`] gives the pieces to seal; [`Sealable::into_octets`] the message.
#[derive(Debug)]
pub struct Sealable {
    octets: Vec<u8>,
    body_offset: usize,
    layout: SealLayout,
}

/// The pieces of a message to be sealed.
#[derive(Debug)]
pub struct SealParts<'a> {
    /// The associated data: everything before the IV.
    pub aad: &'a [u8],
    /// To be filled with the IV.
    pub iv: &'a mut [u8],
    /// Plaintext, padding and pad length; to be encrypted in place.
    pub data: &'a mut [u8],
    /// To be filled with the ICV.
    pub icv: &'a mut [u8],
}

impl Sealable {
    /// Lays out a message with `outer` payloads in clear and the chain `plaintext`, whose first payload
    /// is of type `first`, in an SK payload, or in an SKF payload where `fragment` tells its number and
    /// the total. `header`'s next payload and length are computed.
    ///
    /// A later fragment's next payload is zero as
    /// [RFC 7383 section 2.5](https://www.rfc-editor.org/rfc/rfc7383#section-2.5) demands, whatever
    /// `first` says. The plaintext must fit one payload (65,535 octets).
    pub fn new(
        header: &Header,
        outer: &[Payload],
        first: PayloadType,
        plaintext: &[u8],
        fragment: Option<(u16, u16)>,
        layout: SealLayout,
    ) -> Self {
        let kind = match fragment {
            None => PayloadType::ENCRYPTED,
            Some(_) => PayloadType::ENCRYPTED_FRAGMENT,
        };
        let mut writer = Writer::new();
        header.write(&mut writer);
        let first_outer = write_chain(outer, kind, &mut writer);
        writer.u8(match fragment {
            Some((2.., _)) => PayloadType::NONE.0,
            _ => first.0,
        });
        writer.u8(0);
        let mut body = writer.length_prefixed(2);
        if let Some((number, total)) = fragment {
            body.u16(number);
            body.u16(total);
        }
        let body_offset = body.len();
        let padding = layout.padding(plaintext.len());
        body.zeros(layout.iv_len);
        body.slice(plaintext);
        body.zeros(padding);
        body.u8(u8::try_from(padding).unwrap_or(u8::MAX));
        body.zeros(layout.icv_len);
        drop(body);
        finish_message(&mut writer, first_outer);
        Self { octets: writer.into_octets(), body_offset, layout }
    }

    /// The pieces to seal.
    pub fn parts(&mut self) -> SealParts<'_> {
        let body_offset = self.body_offset.min(self.octets.len());
        let (aad, rest) = self.octets.split_at_mut(body_offset);
        let iv_len = self.layout.iv_len.min(rest.len());
        let (iv, rest) = rest.split_at_mut(iv_len);
        let data_len = rest.len().saturating_sub(self.layout.icv_len);
        let (data, icv) = rest.split_at_mut(data_len);
        SealParts { aad, iv, data, icv }
    }

    /// The message, sealed by now.
    pub fn into_octets(self) -> Vec<u8> {
        self.octets
    }
}

/// Takes padding and pad length off an opened SK or SKF plaintext.
///
/// # Errors
/// `Truncated` if it is empty, `BadLength` if the pad length exceeds what is there.
pub fn strip_padding(plaintext: &[u8]) -> Result<&[u8], DecodeError> {
    let truncated = DecodeError::new(0, DecodeErrorKind::Truncated { needed: 1, available: 0 });
    let (pad_len, rest) = plaintext.split_last().ok_or(truncated)?;
    let length = usize::from(*pad_len);
    let bad = DecodeError::new(rest.len(), DecodeErrorKind::BadLength { what: "padding", length });
    rest.len().checked_sub(length).and_then(|len| rest.get(..len)).ok_or(bad)
}
