//! Identification payload ([RFC 7296 section 3.5](https://www.rfc-editor.org/rfc/rfc7296#section-3.5)).

use crate::wire::ike::registry::IdType;
use crate::wire::{DecodeError, Reader};

/// An identity as it is on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identification {
    /// The type of identity.
    pub kind: IdType,
    /// Sent as zero, ignored, but kept as received since AUTH covers it.
    pub reserved: [u8; 3],
    /// The identity.
    pub data: Vec<u8>,
}

impl Identification {
    /// An identity with reserved octets of zero.
    pub fn new(kind: IdType, data: Vec<u8>) -> Self {
        Self { kind, reserved: [0; 3], data }
    }

    /// The payload without its generic header: what AUTH covers
    /// ([RFC 7296 section 2.15](https://www.rfc-editor.org/rfc/rfc7296#section-2.15)).
    pub fn body(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(4 + self.data.len());
        body.push(self.kind.0);
        body.extend_from_slice(&self.reserved);
        body.extend_from_slice(&self.data);
        body
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let kind = IdType(reader.u8()?);
        Ok(Self { kind, reserved: reader.array()?, data: reader.rest().to_vec() })
    }
}
