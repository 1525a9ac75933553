//! How the packets of a suite are laid out and what of them is authenticated, worked out once an SA.

use super::mtu::alignment;
use crate::{
    crypto::EspSuite,
    wire::esp::{HEADER_LEN, TRAILER_LEN},
};

/// The lengths of a suite's packets.
///
/// ```text
/// SPI and sequence number 8 | IV | payload, padding, 2: a multiple of the alignment | ICV
/// ```
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    pub(super) iv_len: usize,
    pub(super) icv_len: usize,
    /// The alignment, a power of two, less one.
    mask: usize,
    pub(super) aead: bool,
    pub(super) esn: bool,
}

impl Layout {
    pub(super) fn of(suite: &EspSuite) -> Self {
        Self {
            iv_len: suite.cipher.iv_len(),
            icv_len: suite.icv_len(),
            mask: alignment(suite) - 1,
            aead: suite.cipher.is_aead(),
            esn: suite.esn,
        }
    }

    /// Octets of the packet around as many of an inner packet.
    #[inline]
    pub(super) fn sealed_len(&self, inner_len: usize) -> usize {
        self.start() + ((inner_len + TRAILER_LEN + self.mask) & !self.mask) + self.icv_len
    }

    /// Octets before the ciphertext.
    #[inline]
    pub(super) fn start(&self) -> usize {
        HEADER_LEN + self.iv_len
    }

    /// Octets of ciphertext in a packet of this length; `None` if no packet has this length.
    #[inline]
    pub(super) fn ciphertext_in(&self, packet_len: usize) -> Option<usize> {
        packet_len
            .checked_sub(self.start() + self.icv_len)
            .filter(|ciphertext| *ciphertext > 0 && ciphertext & self.mask == 0)
    }

    /// Cuts a packet into header, IV, ciphertext and ICV.
    #[inline]
    pub(super) fn cut<'p>(&self, packet: &'p mut [u8]) -> Option<Parts<'p>> {
        let ciphertext = self.ciphertext_in(packet.len())?;
        let (header, rest) = packet.split_first_chunk_mut::<HEADER_LEN>()?;
        let (iv, rest) = rest.split_at_mut_checked(self.iv_len)?;
        let (data, icv) = rest.split_at_mut_checked(ciphertext)?;
        Some(Parts { header, iv, data, icv })
    }

    /// What of a packet is authenticated besides IV and ciphertext.
    #[inline]
    pub(super) fn authenticated(&self, spi: u32, sequence: u64) -> AuthenticatedData {
        let [s0, s1, s2, s3] = spi.to_be_bytes();
        let [h0, h1, h2, h3, l0, l1, l2, l3] = sequence.to_be_bytes();
        let wide = self.esn && self.aead;
        AuthenticatedData {
            octets: if wide {
                [s0, s1, s2, s3, h0, h1, h2, h3, l0, l1, l2, l3]
            } else {
                [s0, s1, s2, s3, l0, l1, l2, l3, 0, 0, 0, 0]
            },
            aad_len: if wide { 12 } else { HEADER_LEN },
            trailer: [h0, h1, h2, h3],
            trailer_len: if self.esn && !self.aead { 4 } else { 0 },
        }
    }
}

/// A packet cut into its parts.
pub(super) struct Parts<'p> {
    pub(super) header: &'p mut [u8; HEADER_LEN],
    pub(super) iv: &'p mut [u8],
    pub(super) data: &'p mut [u8],
    pub(super) icv: &'p mut [u8],
}

/// What is authenticated besides IV and ciphertext. With extended sequence numbers an AEAD takes SPI, high
/// and low half ([RFC 4106 section 5](https://www.rfc-editor.org/rfc/rfc4106#section-5)), whereas a MAC takes
/// the high half after the ciphertext
/// ([RFC 4303 section 2.2.1](https://www.rfc-editor.org/rfc/rfc4303#section-2.2.1)).
pub(super) struct AuthenticatedData {
    octets: [u8; 12],
    aad_len: usize,
    trailer: [u8; 4],
    trailer_len: usize,
}

impl AuthenticatedData {
    #[inline]
    pub(super) fn aad(&self) -> &[u8] {
        self.octets.get(..self.aad_len).unwrap_or_default()
    }

    #[inline]
    pub(super) fn trailer(&self) -> &[u8] {
        self.trailer.get(..self.trailer_len).unwrap_or_default()
    }
}
