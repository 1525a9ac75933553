//! The fixed header of every IKE message.

use std::fmt;

use super::message::MAX_MESSAGE_LEN;
use super::registry::{ExchangeType, PayloadType};
use crate::wire::{DecodeError, DecodeErrorKind, Reader, Writer};

/// Octets of the IKE header.
pub const HEADER_LEN: usize = 28;

const FLAG_INITIATOR: u8 = 0x08;
const FLAG_VERSION: u8 = 0x10;
const FLAG_RESPONSE: u8 = 0x20;

/// One of the two SPIs that name an IKE SA; prints as 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct IkeSpi(pub [u8; 8]);

impl IkeSpi {
    /// The responder's SPI in an initiator's first message.
    pub const ZERO: Self = Self([0; 8]);

    /// Whether all octets are zero.
    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }
}

impl fmt::Display for IkeSpi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for IkeSpi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IkeSpi({self})")
    }
}

/// The protocol version: two numbers of four bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Version {
    /// Incompatible if different.
    pub major: u8,
    /// Ignored on receipt.
    pub minor: u8,
}

impl Version {
    /// IKEv2.
    pub const V2: Self = Self { major: 2, minor: 0 };
}

/// The header's flags. Reserved bits are sent as zero and ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Flags {
    /// The sender is the original initiator of the IKE SA.
    pub initiator: bool,
    /// The sender could speak a higher major version.
    pub version: bool,
    /// The message answers a request.
    pub response: bool,
}

/// The fixed header ([RFC 7296 section 3.1](https://www.rfc-editor.org/rfc/rfc7296#section-3.1)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// SPI of the original initiator.
    pub initiator_spi: IkeSpi,
    /// SPI of the original responder; zero in the first message.
    pub responder_spi: IkeSpi,
    /// Type of the first payload. [`Message::encode`](super::Message::encode) computes it.
    pub next_payload: PayloadType,
    /// Protocol version.
    pub version: Version,
    /// Exchange type.
    pub exchange: ExchangeType,
    /// Flags.
    pub flags: Flags,
    /// Matches responses to requests.
    pub message_id: u32,
    /// Octets of header and payloads. [`Message::encode`](super::Message::encode) computes it.
    pub length: u32,
}

impl Header {
    /// A version 2.0 header; `next_payload` and `length` are left to encoding.
    pub fn new(
        initiator_spi: IkeSpi,
        responder_spi: IkeSpi,
        exchange: ExchangeType,
        flags: Flags,
        message_id: u32,
    ) -> Self {
        Self {
            initiator_spi,
            responder_spi,
            next_payload: PayloadType::NONE,
            version: Version::V2,
            exchange,
            flags,
            message_id,
            length: 0,
        }
    }

    /// Reads the fields at the start of `octets` without judging version or length: enough to find the
    /// SA, and to answer a message of another major version.
    ///
    /// # Errors
    /// `Truncated` if there are fewer than [`HEADER_LEN`] octets.
    pub fn peek(octets: &[u8]) -> Result<Self, DecodeError> {
        Self::read(&mut Reader::new(octets))
    }

    /// Reads and checks the header of the datagram `octets`.
    ///
    /// # Errors
    /// `Truncated`; `UnsupportedMajorVersion`; `LengthMismatch` if the length is not the datagram's;
    /// `TooLarge`.
    pub fn decode(octets: &[u8]) -> Result<Self, DecodeError> {
        let header = Self::peek(octets)?;
        if header.version.major != Version::V2.major {
            return Err(DecodeError::new(17, DecodeErrorKind::UnsupportedMajorVersion(header.version.major)));
        }
        let declared = usize::try_from(header.length).unwrap_or(usize::MAX);
        if declared != octets.len() {
            let kind = DecodeErrorKind::LengthMismatch { declared, actual: octets.len() };
            return Err(DecodeError::new(24, kind));
        }
        if octets.len() > MAX_MESSAGE_LEN {
            return Err(DecodeError::new(24, DecodeErrorKind::TooLarge(octets.len())));
        }
        Ok(header)
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut fields = reader.sub(HEADER_LEN)?;
        let initiator_spi = IkeSpi(fields.array()?);
        let responder_spi = IkeSpi(fields.array()?);
        let next_payload = PayloadType(fields.u8()?);
        let version = fields.u8()?;
        let exchange = ExchangeType(fields.u8()?);
        let flags = fields.u8()?;
        Ok(Self {
            initiator_spi,
            responder_spi,
            next_payload,
            version: Version { major: version >> 4, minor: version & 0x0f },
            exchange,
            flags: Flags {
                initiator: flags & FLAG_INITIATOR != 0,
                version: flags & FLAG_VERSION != 0,
                response: flags & FLAG_RESPONSE != 0,
            },
            message_id: fields.u32()?,
            length: fields.u32()?,
        })
    }

    /// Appends the header as it stands.
    pub fn write(&self, writer: &mut Writer) {
        writer.slice(&self.initiator_spi.0);
        writer.slice(&self.responder_spi.0);
        writer.u8(self.next_payload.0);
        writer.u8(self.version.major << 4 | self.version.minor & 0x0f);
        writer.u8(self.exchange.0);
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        writer.u8(flag(self.flags.initiator, FLAG_INITIATOR)
            | flag(self.flags.version, FLAG_VERSION)
            | flag(self.flags.response, FLAG_RESPONSE));
        writer.u32(self.message_id);
        writer.u32(self.length);
    }
}
