//! Whole messages and payload chains.

use super::header::{HEADER_LEN, Header};
use super::payload::Payload;
use super::registry::PayloadType;
use crate::wire::{DecodeError, DecodeErrorKind, Reader, Writer};

/// The most payloads in one message, and in one encrypted payload. The busiest peers known send about
/// fifty certificate requests.
pub const MAX_PAYLOADS: usize = 128;

/// The most octets in one message or chain: what a UDP datagram can carry.
pub const MAX_MESSAGE_LEN: usize = 65_535;

const CRITICAL: u8 = 0x80;
/// The header fields after which the patched next payload and length stand.
const NEXT_PAYLOAD_AT: usize = 16;
const LENGTH_AT: usize = 24;

/// An IKE message. Encrypted payloads are not opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The header. Encoding computes `next_payload` and `length`.
    pub header: Header,
    /// The payloads in order. An SK or SKF payload is the last one.
    pub payloads: Vec<Payload>,
}

impl Message {
    /// Decodes a datagram (without non-ESP marker).
    ///
    /// # Errors
    /// Those of [`Header::decode`]; `Truncated`, `BadLength`, `BadValue` and `TrailingOctets` where a
    /// payload's fields do not add up; `UnsupportedCritical`; `TooManyPayloads`.
    pub fn decode(octets: &[u8]) -> Result<Self, DecodeError> {
        let header = Header::decode(octets)?;
        let mut reader = Reader::new(octets);
        reader.take(HEADER_LEN)?;
        let payloads = read_chain(header.next_payload, &mut reader, Place::Outside)?;
        reader.finish()?;
        Ok(Self { header, payloads })
    }

    /// Encodes the message; nothing is written after an SK or SKF payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        self.header.write(&mut writer);
        let first = write_chain(&self.payloads, PayloadType::NONE, &mut writer);
        finish_message(&mut writer, first);
        writer.into_octets()
    }
}

/// Decodes the payloads inside of an SK payload, padding already removed. Offsets in errors count from
/// the start of `octets`.
///
/// # Errors
/// As [`Message::decode`], and `NestedEncrypted`.
pub fn decode_chain(first: PayloadType, octets: &[u8]) -> Result<Vec<Payload>, DecodeError> {
    if octets.len() > MAX_MESSAGE_LEN {
        return Err(DecodeError::new(0, DecodeErrorKind::TooLarge(octets.len())));
    }
    let mut reader = Reader::new(octets);
    let payloads = read_chain(first, &mut reader, Place::Inside)?;
    reader.finish()?;
    Ok(payloads)
}

/// Encodes payloads for the inside of an SK payload; returns the type of the first one.
pub fn encode_chain(payloads: &[Payload]) -> (PayloadType, Vec<u8>) {
    let mut writer = Writer::new();
    let first = write_chain(payloads, PayloadType::NONE, &mut writer);
    (first, writer.into_octets())
}

pub(super) fn finish_message(writer: &mut Writer, first: PayloadType) {
    writer.patch(NEXT_PAYLOAD_AT, &[first.0]);
    let length = u32::try_from(writer.len()).unwrap_or(u32::MAX);
    writer.patch(LENGTH_AT, &length.to_be_bytes());
}

/// Writes `payloads`, the last one followed by `then`; returns the first one's type.
pub(super) fn write_chain(payloads: &[Payload], then: PayloadType, writer: &mut Writer) -> PayloadType {
    for (index, payload) in payloads.iter().enumerate() {
        let next = match payload {
            Payload::Encrypted(body) | Payload::EncryptedFragment { body, .. } => body.next_payload,
            _ => payloads.get(index + 1).map_or(then, Payload::kind),
        };
        let critical = matches!(payload, Payload::Unknown { critical: true, .. });
        writer.u8(next.0);
        writer.u8(if critical { CRITICAL } else { 0 });
        payload.encode_body(&mut writer.length_prefixed(2));
        if is_encrypted(payload.kind()) {
            break;
        }
    }
    payloads.first().map_or(then, Payload::kind)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Outside,
    Inside,
}

fn is_encrypted(kind: PayloadType) -> bool {
    matches!(kind, PayloadType::ENCRYPTED | PayloadType::ENCRYPTED_FRAGMENT)
}

fn read_chain(
    first: PayloadType,
    reader: &mut Reader<'_>,
    place: Place,
) -> Result<Vec<Payload>, DecodeError> {
    let mut payloads = Vec::new();
    let mut kind = first;
    while kind != PayloadType::NONE {
        let start = reader.offset();
        if payloads.len() == MAX_PAYLOADS {
            return Err(reader.error(DecodeErrorKind::TooManyPayloads(MAX_PAYLOADS)));
        }
        if place == Place::Inside && is_encrypted(kind) {
            return Err(reader.error(DecodeErrorKind::NestedEncrypted(kind)));
        }
        let next = PayloadType(reader.u8()?);
        let critical = reader.u8()? & CRITICAL != 0;
        let length = usize::from(reader.u16()?);
        let Some(len) = length.checked_sub(4) else {
            return Err(DecodeError::new(start + 2, DecodeErrorKind::BadLength { what: "payload", length }));
        };
        let mut body = reader.sub(len)?;
        match Payload::decode_body(kind, next, start, &mut body)? {
            Some(payload) => {
                body.finish()?;
                payloads.push(payload);
            }
            None if critical => {
                return Err(DecodeError::new(start, DecodeErrorKind::UnsupportedCritical(kind)));
            }
            None => payloads.push(Payload::Unknown { kind, critical, body: body.rest().to_vec() }),
        }
        kind = if is_encrypted(kind) { PayloadType::NONE } else { next };
    }
    Ok(payloads)
}
