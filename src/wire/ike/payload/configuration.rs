//! Configuration payload ([RFC 7296 section 3.15](https://www.rfc-editor.org/rfc/rfc7296#section-3.15)).

use crate::wire::ike::registry::{ConfigurationAttributeType, ConfigurationType};
use crate::wire::{DecodeError, Reader, Writer};

/// One configuration attribute; the value's layout depends on the type and is not looked at here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigurationAttribute {
    /// The type, 15 bits.
    pub kind: ConfigurationAttributeType,
    /// The value, possibly empty.
    pub value: Vec<u8>,
}

pub(super) fn decode(
    reader: &mut Reader<'_>,
) -> Result<(ConfigurationType, Vec<ConfigurationAttribute>), DecodeError> {
    let kind = ConfigurationType(reader.u8()?);
    reader.take(3)?;
    let mut attributes = Vec::new();
    while !reader.is_empty() {
        let kind = ConfigurationAttributeType(reader.u16()? & 0x7fff);
        let len = reader.u16()?;
        attributes.push(ConfigurationAttribute { kind, value: reader.take(len.into())?.to_vec() });
    }
    Ok((kind, attributes))
}

pub(super) fn encode(kind: ConfigurationType, attributes: &[ConfigurationAttribute], writer: &mut Writer) {
    writer.u8(kind.0);
    writer.zeros(3);
    for attribute in attributes {
        writer.u16(attribute.kind.0 & 0x7fff);
        let len = u16::try_from(attribute.value.len()).unwrap_or(u16::MAX);
        writer.u16(len);
        writer.slice(attribute.value.get(..usize::from(len)).unwrap_or_default());
    }
}
