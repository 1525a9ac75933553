//! How large an inner packet may be.

use crate::{
    crypto::EspSuite,
    wire::{
        esp::{HEADER_LEN, TRAILER_LEN},
        ip::udp,
    },
};

const IPV4_HEADER_LEN: usize = 20;
const IPV6_HEADER_LEN: usize = 40;

/// Ciphertext is a multiple of this: the cipher's block, and at least four octets
/// ([RFC 4303 section 2.4](https://www.rfc-editor.org/rfc/rfc4303#section-2.4)).
pub(crate) fn alignment(suite: &EspSuite) -> usize {
    suite.cipher.block_len().max(4)
}

/// The length of the ESP packet (without UDP and IP headers) around `inner_len` octets.
///
/// ```text
/// SPI and sequence number 8 | IV | inner + padding + 2, rounded up to the alignment | ICV
/// ```
pub fn sealed_len(inner_len: usize, suite: &EspSuite) -> usize {
    let ciphertext = (inner_len + TRAILER_LEN).next_multiple_of(alignment(suite));
    HEADER_LEN + suite.cipher.iv_len() + ciphertext + suite.icv_len()
}

/// The length of the outer IP packet around an ESP packet in UDP.
pub fn outer_len(esp_len: usize, ipv6_outer: bool) -> usize {
    esp_len + udp::HEADER_LEN + if ipv6_outer { IPV6_HEADER_LEN } else { IPV4_HEADER_LEN }
}

/// The largest inner packet whose outer packet is not longer than `outer_mtu`.
///
/// From the outer MTU go 20 octets (IPv4) or 40 (IPv6), 8 of UDP, 8 of ESP header, the IV and the ICV; what
/// is left is rounded down to the alignment, and 2 octets of ESP trailer go. With AES-GCM-16 over IPv4 and
/// 1500 octets: 1500 − 20 − 8 − 8 − 8 − 16 = 1440, less 2 is 1438. Zero if nothing fits.
pub fn inner_mtu(outer_mtu: u16, suite: &EspSuite, ipv6_outer: bool) -> u16 {
    let fixed = outer_len(HEADER_LEN + suite.cipher.iv_len() + suite.icv_len(), ipv6_outer);
    let room = usize::from(outer_mtu).saturating_sub(fixed);
    let align = alignment(suite);
    let ciphertext = room - room % align;
    u16::try_from(ciphertext.saturating_sub(TRAILER_LEN)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{Cipher, Integrity};

    fn suite(cipher: Cipher, integrity: Option<Integrity>) -> EspSuite {
        EspSuite { cipher, integrity, group: None, esn: false }
    }

    #[test]
    fn known_interfaces_give_known_inner_mtus() {
        let gcm = suite(Cipher::AesGcm { key_bits: 256, icv_len: 16 }, None);
        let cbc = suite(Cipher::AesCbc { key_bits: 256 }, Some(Integrity::HmacSha256_128));
        assert_eq!(inner_mtu(1500, &gcm, false), 1438);
        assert_eq!(inner_mtu(1492, &gcm, false), 1430);
        assert_eq!(inner_mtu(1500, &gcm, true), 1418);
        assert_eq!(inner_mtu(1500, &cbc, false), 1422);
        assert_eq!(inner_mtu(40, &gcm, true), 0);
    }

    #[test]
    fn the_inner_mtu_is_the_largest_that_fits() {
        for cipher in Cipher::ALL {
            for integrity in Integrity::ALL {
                let suite = suite(cipher, Some(integrity).filter(|_| !cipher.is_aead()));
                for outer in 600..=1600u16 {
                    for ipv6 in [false, true] {
                        let inner = usize::from(inner_mtu(outer, &suite, ipv6));
                        assert!(outer_len(sealed_len(inner, &suite), ipv6) <= usize::from(outer));
                        assert!(outer_len(sealed_len(inner + 1, &suite), ipv6) > usize::from(outer));
                    }
                }
            }
        }
    }
}
