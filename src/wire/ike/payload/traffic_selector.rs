//! Traffic Selector payloads ([RFC 7296 section 3.13](https://www.rfc-editor.org/rfc/rfc7296#section-3.13)).

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::wire::ike::registry::TsType;
use crate::wire::{DecodeError, DecodeErrorKind, Reader, Writer};

/// One traffic selector as it is on the wire. Ranges are inclusive and not checked for order here;
/// protocol 0 is any, ports 65535 to 0 are OPAQUE, and for ICMP the ports hold type and code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WireTs {
    /// A range of IPv4 addresses.
    Ipv4 {
        /// IP protocol, 0 for any.
        protocol: u8,
        /// First port.
        start_port: u16,
        /// Last port.
        end_port: u16,
        /// First address.
        start: Ipv4Addr,
        /// Last address.
        end: Ipv4Addr,
    },
    /// A range of IPv6 addresses.
    Ipv6 {
        /// IP protocol, 0 for any.
        protocol: u8,
        /// First port.
        start_port: u16,
        /// Last port.
        end_port: u16,
        /// First address.
        start: Ipv6Addr,
        /// Last address.
        end: Ipv6Addr,
    },
    /// A selector of a type that is not known here.
    Unknown {
        /// The type.
        kind: TsType,
        /// The octet after the type; an IP protocol in the known types.
        protocol: u8,
        /// What follows the length.
        body: Vec<u8>,
    },
}

impl WireTs {
    /// The type.
    pub fn kind(&self) -> TsType {
        match self {
            Self::Ipv4 { .. } => TsType::IPV4_ADDR_RANGE,
            Self::Ipv6 { .. } => TsType::IPV6_ADDR_RANGE,
            Self::Unknown { kind, .. } => *kind,
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let kind = TsType(reader.u8()?);
        let protocol = reader.u8()?;
        let length_at = reader.offset();
        let length = usize::from(reader.u16()?);
        let bad_length =
            DecodeError::new(length_at, DecodeErrorKind::BadLength { what: "traffic selector", length });
        let mut fields = reader.sub(length.checked_sub(4).ok_or(bad_length)?)?;
        match kind {
            TsType::IPV4_ADDR_RANGE if length == 16 => Ok(Self::Ipv4 {
                protocol,
                start_port: fields.u16()?,
                end_port: fields.u16()?,
                start: fields.array::<4>()?.into(),
                end: fields.array::<4>()?.into(),
            }),
            TsType::IPV6_ADDR_RANGE if length == 40 => Ok(Self::Ipv6 {
                protocol,
                start_port: fields.u16()?,
                end_port: fields.u16()?,
                start: fields.array::<16>()?.into(),
                end: fields.array::<16>()?.into(),
            }),
            TsType::IPV4_ADDR_RANGE | TsType::IPV6_ADDR_RANGE => Err(bad_length),
            _ => Ok(Self::Unknown { kind, protocol, body: fields.rest().to_vec() }),
        }
    }

    fn encode(&self, writer: &mut Writer) {
        writer.u8(self.kind().0);
        match self {
            Self::Ipv4 { protocol, start_port, end_port, start, end } => {
                writer.u8(*protocol);
                let mut fields = writer.length_prefixed(2);
                fields.u16(*start_port);
                fields.u16(*end_port);
                fields.slice(&start.octets());
                fields.slice(&end.octets());
            }
            Self::Ipv6 { protocol, start_port, end_port, start, end } => {
                writer.u8(*protocol);
                let mut fields = writer.length_prefixed(2);
                fields.u16(*start_port);
                fields.u16(*end_port);
                fields.slice(&start.octets());
                fields.slice(&end.octets());
            }
            Self::Unknown { protocol, body, .. } => {
                writer.u8(*protocol);
                writer.length_prefixed(2).slice(body);
            }
        }
    }
}

pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Vec<WireTs>, DecodeError> {
    let count = reader.u8()?;
    reader.take(3)?;
    (0..count).map(|_| WireTs::decode(reader)).collect()
}

pub(super) fn encode(selectors: &[WireTs], writer: &mut Writer) {
    let count = u8::try_from(selectors.len()).unwrap_or(u8::MAX);
    writer.u8(count);
    writer.zeros(3);
    selectors.iter().take(count.into()).for_each(|selector| selector.encode(writer));
}
