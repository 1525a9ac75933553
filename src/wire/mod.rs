//! Octets to types and back: IKE messages, ESP, UDP encapsulation, inner packet headers.
//!
//! The layer knows layouts, lengths and numbers of the registries, and nothing else: it holds no keys,
//! reads no clock, logs nothing and takes no decision that depends on an SA. Whatever octets come in,
//! a decoder returns a value or an error: it does not panic, and it allocates no more than a small
//! multiple of what it was given.
//!
//! - [`ike`]: the IKEv2 message codec ([RFC 7296 section 3](https://www.rfc-editor.org/rfc/rfc7296#section-3))
//! - [`esp`]: the ESP header and trailer ([RFC 4303](https://www.rfc-editor.org/rfc/rfc4303))
//! - [`udp_encap`]: what a datagram on port 4500 holds ([RFC 3948](https://www.rfc-editor.org/rfc/rfc3948))
//! - [`ip`]: the packets inside the tunnel, looked at and edited in place

mod error;
pub mod esp;
pub mod ike;
pub mod ip;
mod reader;
pub mod udp_encap;
mod writer;

pub use error::{DecodeError, DecodeErrorKind};
pub use reader::Reader;
pub use writer::{LengthPrefixed, Writer};
