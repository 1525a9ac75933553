//! Explicit congestion notification through the tunnel
//! ([RFC 6040](https://www.rfc-editor.org/rfc/rfc6040)).

use super::DropReason;
use crate::wire::ip::Ecn;

/// The ECN field of the packet that leaves the tunnel, from those of the inner and outer headers
/// ([RFC 6040 section 4.2](https://www.rfc-editor.org/rfc/rfc6040#section-4.2)).
///
/// # Errors
/// [`DropReason::EcnIllegal`] if congestion was marked on a packet that cannot tell its sender.
#[inline]
pub fn decapsulate(inner: Ecn, outer: Ecn) -> Result<Ecn, DropReason> {
    match (inner, outer) {
        (Ecn::NotEct, Ecn::Ce) => Err(DropReason::EcnIllegal),
        (Ecn::NotEct, _) => Ok(Ecn::NotEct),
        (_, Ecn::Ce) | (Ecn::Ce, _) => Ok(Ecn::Ce),
        (Ecn::Ect0, Ecn::Ect1) => Ok(Ecn::Ect1),
        (inner, _) => Ok(inner),
    }
}

/// The outer traffic class or TOS octet: DSCP and ECN of the inner header, in normal mode
/// ([RFC 6040 section 4.1](https://www.rfc-editor.org/rfc/rfc6040#section-4.1)).
pub fn encapsulate(dscp: u8, ecn: Ecn) -> u8 {
    dscp << 2 | ecn as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use Ecn::{Ce, Ect0, Ect1, NotEct};

    #[test]
    fn decapsulation_follows_the_table_of_rfc_6040() {
        // Rows: inner; columns: outer Not-ECT, ECT(0), ECT(1), Ce.
        let table = [
            (NotEct, [Some(NotEct), Some(NotEct), Some(NotEct), None]),
            (Ect0, [Some(Ect0), Some(Ect0), Some(Ect1), Some(Ce)]),
            (Ect1, [Some(Ect1), Some(Ect1), Some(Ect1), Some(Ce)]),
            (Ce, [Some(Ce), Some(Ce), Some(Ce), Some(Ce)]),
        ];
        for (inner, row) in table {
            for (outer, expected) in [NotEct, Ect0, Ect1, Ce].into_iter().zip(row) {
                assert_eq!(decapsulate(inner, outer).ok(), expected, "inner {inner:?} outer {outer:?}");
            }
        }
    }

    #[test]
    fn encapsulation_copies_dscp_and_ecn() {
        assert_eq!(encapsulate(46, Ect0), 0b1011_1010);
    }
}
