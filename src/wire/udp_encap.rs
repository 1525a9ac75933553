//! What a datagram on the NAT traversal port holds
//! ([RFC 3948 section 2](https://www.rfc-editor.org/rfc/rfc3948#section-2)).

use thiserror::Error;

use super::{esp, ike};

/// Four zero octets before an IKE message, where ESP has its SPI.
pub const NON_ESP_MARKER: [u8; 4] = [0; 4];

/// The whole of a NAT keepalive.
pub const KEEPALIVE: [u8; 1] = [0xff];

/// The SPIs up to this one are reserved ([RFC 4303 section 2.1](https://www.rfc-editor.org/rfc/rfc4303#section-2.1)).
pub const LAST_RESERVED_SPI: u32 = 255;

/// A datagram of the NAT traversal port, sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encapsulated<'a> {
    /// An IKE message, marker taken off; at least as long as an IKE header.
    Ike(&'a [u8]),
    /// An ESP packet; at least as long as an ESP header.
    Esp(&'a [u8]),
    /// A NAT keepalive, to be ignored.
    Keepalive,
}

/// Why a datagram of the NAT traversal port is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EncapsulationError {
    /// Too short for what it would be.
    #[error("runt of {0} octets")]
    Runt(usize),
    /// An SPI from 1 to 255.
    #[error("reserved SPI {0}")]
    ReservedSpi(u32),
}

/// Sorts a datagram received on the NAT traversal port.
///
/// # Errors
/// `Runt` if it is too short to be anything, `ReservedSpi` for an SPI from 1 to 255.
pub fn demux(datagram: &[u8]) -> Result<Encapsulated<'_>, EncapsulationError> {
    if datagram == KEEPALIVE {
        return Ok(Encapsulated::Keepalive);
    }
    let runt = EncapsulationError::Runt(datagram.len());
    let (first, rest) = datagram.split_first_chunk::<4>().ok_or(runt)?;
    match u32::from_be_bytes(*first) {
        0 if rest.len() >= ike::HEADER_LEN => Ok(Encapsulated::Ike(rest)),
        spi @ 1..=LAST_RESERVED_SPI => Err(EncapsulationError::ReservedSpi(spi)),
        256.. if datagram.len() >= esp::HEADER_LEN => Ok(Encapsulated::Esp(datagram)),
        _ => Err(runt),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_a_single_ff_is_a_keepalive() {
        assert_eq!(demux(&[0xff]), Ok(Encapsulated::Keepalive));
        assert_eq!(demux(&[0xfe]), Err(EncapsulationError::Runt(1)));
        assert_eq!(demux(&[0xff; 2]), Err(EncapsulationError::Runt(2)));
        assert_eq!(demux(&[0xff; 8]), Ok(Encapsulated::Esp(&[0xff; 8])));
    }

    #[test]
    fn the_marker_is_taken_off_ike() {
        let mut datagram = vec![0; 4];
        datagram.extend([7; 28]);
        assert_eq!(demux(&datagram), Ok(Encapsulated::Ike(&[7; 28])));
        assert_eq!(demux(&datagram[..31]), Err(EncapsulationError::Runt(31)));
        assert_eq!(demux(&NON_ESP_MARKER), Err(EncapsulationError::Runt(4)));
    }

    #[test]
    fn spis_to_255_are_reserved() {
        assert_eq!(demux(&[0, 0, 0, 1, 9, 9, 9, 9]), Err(EncapsulationError::ReservedSpi(1)));
        assert_eq!(demux(&[0, 0, 0, 255, 9, 9, 9, 9]), Err(EncapsulationError::ReservedSpi(255)));
        let first = [0, 0, 1, 0, 9, 9, 9, 9];
        assert_eq!(demux(&first), Ok(Encapsulated::Esp(&first)));
        assert_eq!(demux(&first[..7]), Err(EncapsulationError::Runt(7)));
        assert_eq!(demux(&[]), Err(EncapsulationError::Runt(0)));
    }

    proptest! {
        #[test]
        fn any_datagram_is_sorted(octets in prop::collection::vec(any::<u8>(), 0..64)) {
            match demux(&octets) {
                Ok(Encapsulated::Ike(message)) => prop_assert_eq!(message, &octets[4..]),
                Ok(Encapsulated::Esp(packet)) => prop_assert_eq!(packet, &octets[..]),
                Ok(Encapsulated::Keepalive) | Err(_) => {}
            }
        }
    }
}
