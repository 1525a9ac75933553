//! Encrypted and Encrypted Fragment payloads, still sealed
//! ([RFC 7296 section 3.14](https://www.rfc-editor.org/rfc/rfc7296#section-3.14),
//! [RFC 7383 section 2.5](https://www.rfc-editor.org/rfc/rfc7383#section-2.5)).

use crate::wire::ike::registry::PayloadType;
use crate::wire::{DecodeError, DecodeErrorKind, Reader};

/// What an SK or SKF payload holds, and where in the message.
///
/// The associated data is the message up to [`body_offset`](Self::body_offset): IKE header, payloads
/// before, generic header and, for SKF, the fragment's numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncryptedBody {
    /// Offset of the generic header in the message. Ignored by encoding.
    pub offset: usize,
    /// Offset of the IV, which follows the headers. Ignored by encoding.
    pub body_offset: usize,
    /// Type of the first payload inside; of SKF, meaningful in the first fragment alone.
    pub next_payload: PayloadType,
    /// IV, ciphertext and ICV.
    pub body: Vec<u8>,
}

/// The pieces of an SK or SKF body to be opened.
#[derive(Debug)]
pub struct OpenParts<'a> {
    /// The IV.
    pub iv: &'a [u8],
    /// Ciphertext, to be opened in place; then plaintext with padding and pad length.
    pub data: &'a mut [u8],
    /// The ICV.
    pub icv: &'a [u8],
}

impl EncryptedBody {
    /// A body to be encoded.
    pub fn new(next_payload: PayloadType, body: Vec<u8>) -> Self {
        Self { offset: 0, body_offset: 0, next_payload, body }
    }

    pub(super) fn decode(reader: &mut Reader<'_>, offset: usize, next_payload: PayloadType) -> Self {
        Self { offset, body_offset: reader.offset(), next_payload, body: reader.rest().to_vec() }
    }

    /// Splits the body into its pieces.
    ///
    /// # Errors
    /// `BadLength` if it is too short for IV, ICV and the one octet of pad length.
    pub fn split_mut(&mut self, iv_len: usize, icv_len: usize) -> Result<OpenParts<'_>, DecodeError> {
        let length = self.body.len();
        let too_short = DecodeError::new(
            self.body_offset,
            DecodeErrorKind::BadLength { what: "encrypted payload", length },
        );
        if length <= iv_len.saturating_add(icv_len) {
            return Err(too_short);
        }
        let (iv, rest) = self.body.split_at_mut_checked(iv_len).ok_or(too_short)?;
        let (data, icv) = rest.split_at_mut_checked(rest.len() - icv_len).ok_or(too_short)?;
        Ok(OpenParts { iv, data, icv })
    }
}

pub(super) fn decode_fragment_header(reader: &mut Reader<'_>) -> Result<(u16, u16), DecodeError> {
    let at = reader.offset();
    let number = reader.u16()?;
    let total = reader.u16()?;
    if number == 0 || number > total {
        let kind = DecodeErrorKind::BadValue { what: "fragment number", value: number.into() };
        return Err(DecodeError::new(at, kind));
    }
    Ok((number, total))
}
