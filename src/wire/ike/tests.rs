//! The codec as a whole: known octets, generated messages, corrupted messages.

mod errors;
mod known_octets;
mod properties;
mod strategies;

use super::registry::*;
use super::*;

fn header(exchange: ExchangeType, message_id: u32) -> Header {
    let flags = Flags { initiator: true, ..Flags::default() };
    Header::new(IkeSpi([0x11; 8]), IkeSpi([0x22; 8]), exchange, flags, message_id)
}

fn message(payloads: Vec<Payload>) -> Message {
    Message { header: header(ExchangeType::INFORMATIONAL, 5), payloads }
}

/// `message` as decoding gives it back: with the fields that encoding computes.
fn as_decoded(message: &Message, octets: &[u8]) -> Message {
    let mut message = message.clone();
    message.header.length = octets.len().try_into().unwrap();
    message.header.next_payload = message.payloads.first().map_or(PayloadType::NONE, Payload::kind);
    let end = octets.len();
    match message.payloads.last_mut() {
        Some(Payload::Encrypted(body)) => {
            body.body_offset = end - body.body.len();
            body.offset = body.body_offset - 4;
        }
        Some(Payload::EncryptedFragment { body, .. }) => {
            body.body_offset = end - body.body.len();
            body.offset = body.body_offset - 8;
        }
        _ => {}
    }
    message
}
