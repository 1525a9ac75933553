//! The IKEv2 message codec ([RFC 7296 section 3](https://www.rfc-editor.org/rfc/rfc7296#section-3), and
//! encrypted fragments by [RFC 7383](https://www.rfc-editor.org/rfc/rfc7383)).
//!
//! It maps whole messages and decrypted payload chains to types and back. Unknown payloads, transforms,
//! notifies and identification types survive both ways and print as numbers. It does not check what a
//! message must contain, nor decrypt: an SK or SKF body stays octets, with the offsets needed to open it.

mod header;
mod message;
pub mod payload;
pub mod registry;
mod sealed;

pub use header::{Flags, HEADER_LEN, Header, IkeSpi, Version};
pub use message::{MAX_MESSAGE_LEN, MAX_PAYLOADS, Message, decode_chain, encode_chain};
pub use payload::{
    Attribute, AttributeValue, ConfigurationAttribute, EncryptedBody, Identification, Notify, OpenParts,
    Payload, ProposalBody, Transform, WireTs,
};
pub use sealed::{SealLayout, SealParts, Sealable, strip_padding};

#[cfg(test)]
mod tests;
