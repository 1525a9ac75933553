//! The ESP header and trailer ([RFC 4303 section 2](https://www.rfc-editor.org/rfc/rfc4303#section-2)).
//! Nothing here encrypts; the trailer is looked at after opening and written before sealing.

use super::error::{DecodeError, DecodeErrorKind};

/// Octets of SPI and sequence number.
pub const HEADER_LEN: usize = 8;

/// Octets of pad length and next header.
pub const TRAILER_LEN: usize = 2;

/// Next header of an IPv4 packet in tunnel mode.
pub const NEXT_HEADER_IPV4: u8 = 4;
/// Next header of an IPv6 packet in tunnel mode.
pub const NEXT_HEADER_IPV6: u8 = 41;
/// Next header of a dummy packet, dropped after authentication
/// ([RFC 4303 section 2.6](https://www.rfc-editor.org/rfc/rfc4303#section-2.6)).
pub const NEXT_HEADER_NONE: u8 = 59;

/// The padding octets, as far as they can go.
const PADDING: [u8; 255] = {
    let mut padding = [0; 255];
    let mut value = 1;
    while value <= 255 {
        padding[value - 1] = value as u8;
        value += 1;
    }
    padding
};

/// The cleartext start of an ESP packet.
///
/// ```text
/// 0                               32                              64
/// | SPI                           | sequence number (low 32 bits) | IV, ciphertext, ICV …
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EspHeader {
    /// The receiver's SPI.
    pub spi: u32,
    /// The low 32 bits of the sequence number.
    pub sequence: u32,
}

impl EspHeader {
    /// Splits an ESP packet into its header and what follows (IV, ciphertext, ICV).
    ///
    /// # Errors
    /// `Truncated` if there are fewer than [`HEADER_LEN`] octets.
    pub fn split(packet: &[u8]) -> Result<(Self, &[u8]), DecodeError> {
        match packet {
            [a, b, c, d, e, f, g, h, rest @ ..] => Ok((
                Self {
                    spi: u32::from_be_bytes([*a, *b, *c, *d]),
                    sequence: u32::from_be_bytes([*e, *f, *g, *h]),
                },
                rest,
            )),
            _ => {
                let kind = DecodeErrorKind::Truncated { needed: HEADER_LEN, available: packet.len() };
                Err(DecodeError::new(0, kind))
            }
        }
    }

    /// The header's octets.
    pub fn to_octets(self) -> [u8; HEADER_LEN] {
        (u64::from(self.spi) << 32 | u64::from(self.sequence)).to_be_bytes()
    }
}

/// How many padding octets a payload of `payload_len` octets needs so that it, padding and trailer end
/// on a multiple of `align`: the cipher's block, at least 4 octets
/// ([RFC 4303 section 2.4](https://www.rfc-editor.org/rfc/rfc4303#section-2.4)).
pub const fn padding_len(payload_len: usize, align: usize) -> usize {
    let align = if align < 4 { 4 } else { align };
    (align - (payload_len + TRAILER_LEN) % align) % align
}

/// Writes padding, pad length and next header over all of `room`, which follows the payload and has
/// [`padding_len`] + [`TRAILER_LEN`] octets. Returns false, with `room` untouched, if its length
/// cannot be that of a trailer (2 to 257 octets).
#[must_use]
#[inline]
pub fn write_trailer(room: &mut [u8], next_header: u8) -> bool {
    let Some((padding, [pad_len, next])) = room.split_last_chunk_mut::<TRAILER_LEN>() else {
        return false;
    };
    let (Ok(len), Some(pattern)) = (u8::try_from(padding.len()), PADDING.get(..padding.len())) else {
        return false;
    };
    padding.copy_from_slice(pattern);
    *pad_len = len;
    *next = next_header;
    true
}

/// Checks the trailer of an opened ESP plaintext. Returns the payload's octets, traffic flow
/// confidentiality padding included, and the next header.
///
/// # Errors
/// `Truncated` if there is no trailer; `BadLength` if the pad length exceeds what is there;
/// `BadPadding` if the padding is not 1, 2, 3, ….
#[inline]
pub fn split_trailer(plaintext: &[u8]) -> Result<(&[u8], u8), DecodeError> {
    let Some((rest, [pad_len, next_header])) = plaintext.split_last_chunk::<TRAILER_LEN>() else {
        let kind = DecodeErrorKind::Truncated { needed: TRAILER_LEN, available: plaintext.len() };
        return Err(DecodeError::new(0, kind));
    };
    let length = usize::from(*pad_len);
    let split = rest.len().checked_sub(length).and_then(|at| rest.split_at_checked(at));
    let Some((payload, padding)) = split else {
        return Err(DecodeError::new(rest.len(), DecodeErrorKind::BadLength { what: "ESP padding", length }));
    };
    if length != 0 && PADDING.get(..length) != Some(padding) {
        return Err(DecodeError::new(payload.len(), DecodeErrorKind::BadPadding));
    }
    Ok((payload, *next_header))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_header_is_spi_and_sequence() {
        let packet = [0xde, 0xad, 0xbe, 0xef, 0, 0, 0, 7, 0x55];
        let (header, rest) = EspHeader::split(&packet).unwrap();
        assert_eq!(header, EspHeader { spi: 0xdead_beef, sequence: 7 });
        assert_eq!(rest, [0x55]);
        assert_eq!(header.to_octets(), packet[..8]);
    }

    #[test]
    fn a_packet_shorter_than_its_header_is_truncated() {
        for len in 0..HEADER_LEN {
            let error = EspHeader::split(&[1; 8][..len]).unwrap_err();
            assert_eq!(error.kind, DecodeErrorKind::Truncated { needed: 8, available: len });
        }
    }

    #[test]
    fn padding_counts_up_from_one() {
        let mut room = [0; 7];
        assert!(write_trailer(&mut room, NEXT_HEADER_IPV4));
        assert_eq!(room, [1, 2, 3, 4, 5, 5, 4]);
    }

    #[test]
    fn room_that_no_trailer_fills_is_refused() {
        assert!(!write_trailer(&mut [0; 1], 4));
        assert!(write_trailer(&mut [0; 257], 4));
        assert!(!write_trailer(&mut [0; 258], 4));
    }

    #[test]
    fn padding_other_than_one_two_three_is_rejected() {
        let error = split_trailer(&[9, 9, 1, 3, 2, 4]).unwrap_err();
        assert_eq!(error, DecodeError { offset: 2, kind: DecodeErrorKind::BadPadding });
    }

    #[test]
    fn a_pad_length_beyond_the_payload_is_rejected() {
        let error = split_trailer(&[1, 2, 3, 4]).unwrap_err();
        assert_eq!(error.kind, DecodeErrorKind::BadLength { what: "ESP padding", length: 3 });
        assert!(split_trailer(&[0]).is_err());
        assert_eq!(split_trailer(&[0, 59]), Ok((&[][..], NEXT_HEADER_NONE)));
    }

    proptest! {
        #[test]
        fn a_written_trailer_splits_off_again(payload in prop::collection::vec(any::<u8>(), 0..200), align in 1usize..=32, next in any::<u8>()) {
            let padding = padding_len(payload.len(), align);
            let mut plaintext = payload.clone();
            plaintext.resize(payload.len() + padding + TRAILER_LEN, 0xee);
            prop_assert!(write_trailer(&mut plaintext[payload.len()..], next));
            prop_assert_eq!(plaintext.len() % align.max(4), 0);
            prop_assert_eq!(split_trailer(&plaintext), Ok((&payload[..], next)));
        }

        #[test]
        fn no_octets_make_the_trailer_panic(octets in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok((payload, _)) = split_trailer(&octets) {
                prop_assert!(payload.len() + TRAILER_LEN <= octets.len());
            }
            let _ = EspHeader::split(&octets);
        }
    }
}
