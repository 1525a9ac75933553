//! Security Association payload: proposals, transforms, attributes
//! ([RFC 7296 section 3.3](https://www.rfc-editor.org/rfc/rfc7296#section-3.3)).

use crate::wire::ike::registry::{AttributeType, ProtocolId, TransformType};
use crate::wire::{DecodeError, DecodeErrorKind, Reader, Writer};

const MORE_PROPOSALS: u8 = 2;
const MORE_TRANSFORMS: u8 = 3;
const SHORT_ATTRIBUTE: u16 = 0x8000;

/// A proposal as it is on the wire; what it means is policy's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProposalBody {
    /// The number that the response echoes.
    pub number: u8,
    /// What SA is proposed.
    pub protocol: ProtocolId,
    /// The sender's SPI; empty in IKE_SA_INIT, at most 255 octets.
    pub spi: Vec<u8>,
    /// At most 255 transforms.
    pub transforms: Vec<Transform>,
}

/// One choice within a proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transform {
    /// What is chosen.
    pub kind: TransformType,
    /// The choice, a number in the registry of `kind`.
    pub id: u16,
    /// Attributes of the choice.
    pub attributes: Vec<Attribute>,
}

/// An attribute of a transform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// The type, 15 bits.
    pub kind: AttributeType,
    /// The value.
    pub value: AttributeValue,
}

/// The value of a transform attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttributeValue {
    /// Two octets.
    Short(u16),
    /// Octets with a length field.
    Long(Vec<u8>),
}

impl Transform {
    /// A transform without attributes.
    pub fn new(kind: TransformType, id: u16) -> Self {
        Self { kind, id, attributes: Vec::new() }
    }

    /// A transform with a key length in bits.
    pub fn with_key_length(kind: TransformType, id: u16, bits: u16) -> Self {
        let key_length = Attribute { kind: AttributeType::KEY_LENGTH, value: AttributeValue::Short(bits) };
        Self { kind, id, attributes: vec![key_length] }
    }

    /// The key length in bits, if the attribute is there.
    pub fn key_length(&self) -> Option<u16> {
        self.attributes.iter().find_map(|attribute| match (attribute.kind, &attribute.value) {
            (AttributeType::KEY_LENGTH, AttributeValue::Short(bits)) => Some(*bits),
            _ => None,
        })
    }
}

pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Vec<ProposalBody>, DecodeError> {
    let mut proposals = Vec::new();
    loop {
        let (more, mut fields) = substructure(reader, "proposal", MORE_PROPOSALS)?;
        proposals.push(decode_proposal(&mut fields)?);
        fields.finish()?;
        if !more {
            return Ok(proposals);
        }
    }
}

fn decode_proposal(reader: &mut Reader<'_>) -> Result<ProposalBody, DecodeError> {
    let number = reader.u8()?;
    let protocol = ProtocolId(reader.u8()?);
    let spi_len = reader.u8()?;
    let count_at = reader.offset();
    let count = reader.u8()?;
    let spi = reader.take(spi_len.into())?.to_vec();
    let mut transforms = Vec::new();
    let mut more = !reader.is_empty();
    while more {
        let mut fields;
        (more, fields) = substructure(reader, "transform", MORE_TRANSFORMS)?;
        transforms.push(decode_transform(&mut fields)?);
        fields.finish()?;
    }
    if transforms.len() != usize::from(count) {
        let kind = DecodeErrorKind::BadValue { what: "number of transforms", value: count.into() };
        return Err(DecodeError::new(count_at, kind));
    }
    Ok(ProposalBody { number, protocol, spi, transforms })
}

fn decode_transform(reader: &mut Reader<'_>) -> Result<Transform, DecodeError> {
    let kind = TransformType(reader.u8()?);
    reader.u8()?;
    let id = reader.u16()?;
    let mut attributes = Vec::new();
    while !reader.is_empty() {
        let kind = reader.u16()?;
        let value = reader.u16()?;
        let value = match kind & SHORT_ATTRIBUTE {
            0 => AttributeValue::Long(reader.take(value.into())?.to_vec()),
            _ => AttributeValue::Short(value),
        };
        attributes.push(Attribute { kind: AttributeType(kind & !SHORT_ATTRIBUTE), value });
    }
    Ok(Transform { kind, id, attributes })
}

/// Opens a proposal or transform: "more" octet, reserved octet, length. Returns whether another follows.
fn substructure<'a>(
    reader: &mut Reader<'a>,
    what: &'static str,
    more: u8,
) -> Result<(bool, Reader<'a>), DecodeError> {
    let start = reader.offset();
    let last = reader.u8()?;
    if last != 0 && last != more {
        return Err(DecodeError::new(start, DecodeErrorKind::BadValue { what, value: last.into() }));
    }
    reader.u8()?;
    let length = usize::from(reader.u16()?);
    let Some(len) = length.checked_sub(4) else {
        return Err(DecodeError::new(start + 2, DecodeErrorKind::BadLength { what, length }));
    };
    Ok((last == more, reader.sub(len)?))
}

pub(super) fn encode(proposals: &[ProposalBody], writer: &mut Writer) {
    for (index, proposal) in proposals.iter().enumerate() {
        let spi_len = u8::try_from(proposal.spi.len()).unwrap_or(u8::MAX);
        let count = u8::try_from(proposal.transforms.len()).unwrap_or(u8::MAX);
        writer.u8(if index + 1 < proposals.len() { MORE_PROPOSALS } else { 0 });
        writer.u8(0);
        let mut fields = writer.length_prefixed(2);
        fields.u8(proposal.number);
        fields.u8(proposal.protocol.0);
        fields.u8(spi_len);
        fields.u8(count);
        fields.slice(proposal.spi.get(..usize::from(spi_len)).unwrap_or_default());
        let transforms = proposal.transforms.get(..usize::from(count)).unwrap_or_default();
        for (index, transform) in transforms.iter().enumerate() {
            encode_transform(transform, index + 1 == transforms.len(), &mut fields);
        }
    }
}

fn encode_transform(transform: &Transform, last: bool, writer: &mut Writer) {
    writer.u8(if last { 0 } else { MORE_TRANSFORMS });
    writer.u8(0);
    let mut fields = writer.length_prefixed(2);
    fields.u8(transform.kind.0);
    fields.u8(0);
    fields.u16(transform.id);
    for attribute in &transform.attributes {
        match &attribute.value {
            AttributeValue::Short(value) => {
                fields.u16(attribute.kind.0 | SHORT_ATTRIBUTE);
                fields.u16(*value);
            }
            AttributeValue::Long(value) => {
                fields.u16(attribute.kind.0 & !SHORT_ATTRIBUTE);
                let len = u16::try_from(value.len()).unwrap_or(u16::MAX);
                fields.u16(len);
                fields.slice(value.get(..usize::from(len)).unwrap_or_default());
            }
        }
    }
}
