//! Notify and Delete payloads ([RFC 7296 sections 3.10](https://www.rfc-editor.org/rfc/rfc7296#section-3.10)
//! and [3.11](https://www.rfc-editor.org/rfc/rfc7296#section-3.11)).

use crate::wire::ike::registry::{NotifyType, ProtocolId};
use crate::wire::{DecodeError, DecodeErrorKind, Reader, Writer};

/// A notification: an error or a status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notify {
    /// The protocol of the SA meant; `NONE` if the notification is not about a Child SA.
    pub protocol: ProtocolId,
    /// The SPI of the SA meant; empty if none, at most 255 octets.
    pub spi: Vec<u8>,
    /// What is notified.
    pub kind: NotifyType,
    /// Data that belongs to the type.
    pub data: Vec<u8>,
}

impl Notify {
    /// A notification about no Child SA.
    pub fn new(kind: NotifyType, data: impl Into<Vec<u8>>) -> Self {
        Self { protocol: ProtocolId::NONE, spi: Vec::new(), kind, data: data.into() }
    }

    /// A notification about the ESP SA with this SPI, without data.
    pub fn about_esp(kind: NotifyType, spi: u32) -> Self {
        Self { protocol: ProtocolId::ESP, spi: spi.to_be_bytes().to_vec(), kind, data: Vec::new() }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let protocol = ProtocolId(reader.u8()?);
        let spi_len = reader.u8()?;
        let kind = NotifyType(reader.u16()?);
        let spi = reader.take(spi_len.into())?.to_vec();
        Ok(Self { protocol, spi, kind, data: reader.rest().to_vec() })
    }

    pub(super) fn encode(&self, writer: &mut Writer) {
        let spi_len = u8::try_from(self.spi.len()).unwrap_or(u8::MAX);
        writer.u8(self.protocol.0);
        writer.u8(spi_len);
        writer.u16(self.kind.0);
        writer.slice(self.spi.get(..usize::from(spi_len)).unwrap_or_default());
        writer.slice(&self.data);
    }
}

pub(super) fn decode_delete(reader: &mut Reader<'_>) -> Result<(ProtocolId, Vec<Vec<u8>>), DecodeError> {
    let protocol = ProtocolId(reader.u8()?);
    let spi_len = usize::from(reader.u8()?);
    let count = usize::from(reader.u16()?);
    if spi_len == 0 && count > 0 {
        return Err(reader.error(DecodeErrorKind::BadLength { what: "SPI in a delete", length: 0 }));
    }
    let octets = reader.take(spi_len * count)?;
    let spis = if spi_len == 0 { Vec::new() } else { octets.chunks(spi_len).map(<[u8]>::to_vec).collect() };
    Ok((protocol, spis))
}

/// SPIs whose length differs from the first one's have no encoding and are left out.
pub(super) fn encode_delete(protocol: ProtocolId, spis: &[Vec<u8>], writer: &mut Writer) {
    let spi_len = spis.first().map_or(0, Vec::len);
    let spis: Vec<_> = spis.iter().filter(|spi| spi.len() == spi_len && spi_len > 0).collect();
    writer.u8(protocol.0);
    writer.u8(u8::try_from(spi_len).unwrap_or(u8::MAX));
    writer.u16(u16::try_from(spis.len()).unwrap_or(u16::MAX));
    spis.into_iter().for_each(|spi| writer.slice(spi));
}
