//! Why octets could not be decoded, and where.

use thiserror::Error;

use super::ike::registry::PayloadType;

/// A decoding failure: what was wrong, and at which octet.
///
/// The offset counts from the start of the slice given to the decoder (the whole datagram for a
/// message, the decrypted chain for the inside of an SK payload).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{kind} (at octet {offset})")]
pub struct DecodeError {
    /// Octets from the start of the decoded slice.
    pub offset: usize,
    /// What was wrong.
    pub kind: DecodeErrorKind,
}

impl DecodeError {
    /// An error at `offset`.
    pub fn new(offset: usize, kind: DecodeErrorKind) -> Self {
        Self { offset, kind }
    }
}

/// What was wrong with the octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// A field reaches past the end of what holds it.
    #[error("truncated: {needed} octets needed, {available} left")]
    Truncated {
        /// Octets that the field takes.
        needed: usize,
        /// Octets that were left.
        available: usize,
    },
    /// Octets are left over after the last field.
    #[error("{0} trailing octets")]
    TrailingOctets(usize),
    /// The header's length differs from the datagram's.
    #[error("header says {declared} octets, datagram has {actual}")]
    LengthMismatch {
        /// The length field.
        declared: usize,
        /// The octets received.
        actual: usize,
    },
    /// A length field holds a value that its structure cannot have.
    #[error("bad length {length} of {what}")]
    BadLength {
        /// The structure.
        what: &'static str,
        /// The length, in octets.
        length: usize,
    },
    /// A field other than a length holds a value that it must not have.
    #[error("bad {what}: {value}")]
    BadValue {
        /// The field.
        what: &'static str,
        /// What it held.
        value: u32,
    },
    /// The message is of another major version; answered by INVALID_MAJOR_VERSION
    /// ([RFC 7296 section 2.5](https://www.rfc-editor.org/rfc/rfc7296#section-2.5)).
    #[error("major version {0} is not supported")]
    UnsupportedMajorVersion(u8),
    /// A payload of an unknown type has its critical bit set; answered by
    /// UNSUPPORTED_CRITICAL_PAYLOAD with this type as data.
    #[error("unknown payload type {} is marked critical", .0.0)]
    UnsupportedCritical(PayloadType),
    /// More payloads than [`MAX_PAYLOADS`](super::ike::MAX_PAYLOADS).
    #[error("more than {0} payloads")]
    TooManyPayloads(usize),
    /// More octets than [`MAX_MESSAGE_LEN`](super::ike::MAX_MESSAGE_LEN).
    #[error("{0} octets is more than a message may have")]
    TooLarge(usize),
    /// An SK or SKF payload inside another one.
    #[error("{0} payload inside an encrypted payload")]
    NestedEncrypted(PayloadType),
    /// ESP padding is not 1, 2, 3, …
    #[error("bad ESP padding")]
    BadPadding,
}
