//! The payloads: one type each, its body's decoder and encoder. Generic headers belong to
//! [`message`](super::Message).

mod configuration;
mod encrypted;
mod identification;
mod notify;
mod security_association;
mod traffic_selector;

pub use configuration::ConfigurationAttribute;
pub use encrypted::{EncryptedBody, OpenParts};
pub use identification::Identification;
pub use notify::Notify;
pub use security_association::{Attribute, AttributeValue, ProposalBody, Transform};
pub use traffic_selector::WireTs;

use super::registry::{AuthMethod, CertEncoding, ConfigurationType, GroupId, PayloadType, ProtocolId};
use crate::wire::{DecodeError, DecodeErrorKind, Reader, Writer};

/// One payload of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// Proposals offered, or the one chosen.
    SecurityAssociation(Vec<ProposalBody>),
    /// A public value.
    KeyExchange {
        /// The key exchange method.
        group: GroupId,
        /// The public value, unchecked.
        data: Vec<u8>,
    },
    /// Who the initiator is.
    IdInitiator(Identification),
    /// Who the responder is, or should be.
    IdResponder(Identification),
    /// A certificate, CRL or the like.
    Certificate {
        /// How `data` is encoded.
        encoding: CertEncoding,
        /// The certificate, unchecked.
        data: Vec<u8>,
    },
    /// Which certificates are wanted.
    CertificateRequest {
        /// The encoding wanted.
        encoding: CertEncoding,
        /// For X.509, SHA-1 hashes of authorities' public keys, 20 octets each, one after another.
        authorities: Vec<u8>,
    },
    /// Proof of identity.
    Authentication {
        /// How `data` was computed.
        method: AuthMethod,
        /// Signature or MAC.
        data: Vec<u8>,
    },
    /// A nonce of 16 to 256 octets.
    Nonce(Vec<u8>),
    /// A notification.
    Notify(Notify),
    /// SAs that the sender has deleted.
    Delete {
        /// The SAs' protocol.
        protocol: ProtocolId,
        /// The sender's inbound SPIs, of equal length; empty for the IKE SA itself.
        spis: Vec<Vec<u8>>,
    },
    /// What the sender's implementation is.
    VendorId(Vec<u8>),
    /// Traffic selectors of the initiator's side.
    TsInitiator(Vec<WireTs>),
    /// Traffic selectors of the responder's side.
    TsResponder(Vec<WireTs>),
    /// SK: encrypted payloads.
    Encrypted(EncryptedBody),
    /// SKF: one fragment of encrypted payloads ([RFC 7383](https://www.rfc-editor.org/rfc/rfc7383#section-2.5)).
    EncryptedFragment {
        /// Which fragment, counted from 1.
        number: u16,
        /// Of how many.
        total: u16,
        /// The fragment.
        body: EncryptedBody,
    },
    /// CP: configuration.
    Configuration {
        /// Request, reply, set or acknowledgement.
        kind: ConfigurationType,
        /// The attributes.
        attributes: Vec<ConfigurationAttribute>,
    },
    /// EAP, undecoded.
    Eap(Vec<u8>),
    /// A payload of a type that is not known here. Decoding yields it only without the critical bit.
    Unknown {
        /// The type.
        kind: PayloadType,
        /// The critical bit.
        critical: bool,
        /// The body, without the generic header.
        body: Vec<u8>,
    },
}

impl Payload {
    /// The type in the preceding header.
    pub fn kind(&self) -> PayloadType {
        match self {
            Self::SecurityAssociation(_) => PayloadType::SECURITY_ASSOCIATION,
            Self::KeyExchange { .. } => PayloadType::KEY_EXCHANGE,
            Self::IdInitiator(_) => PayloadType::ID_INITIATOR,
            Self::IdResponder(_) => PayloadType::ID_RESPONDER,
            Self::Certificate { .. } => PayloadType::CERTIFICATE,
            Self::CertificateRequest { .. } => PayloadType::CERTIFICATE_REQUEST,
            Self::Authentication { .. } => PayloadType::AUTHENTICATION,
            Self::Nonce(_) => PayloadType::NONCE,
            Self::Notify(_) => PayloadType::NOTIFY,
            Self::Delete { .. } => PayloadType::DELETE,
            Self::VendorId(_) => PayloadType::VENDOR_ID,
            Self::TsInitiator(_) => PayloadType::TS_INITIATOR,
            Self::TsResponder(_) => PayloadType::TS_RESPONDER,
            Self::Encrypted(_) => PayloadType::ENCRYPTED,
            Self::EncryptedFragment { .. } => PayloadType::ENCRYPTED_FRAGMENT,
            Self::Configuration { .. } => PayloadType::CONFIGURATION,
            Self::Eap(_) => PayloadType::EAP,
            Self::Unknown { kind, .. } => *kind,
        }
    }

    /// Decodes a payload's body; `None` for a type that is not known here.
    pub(super) fn decode_body(
        kind: PayloadType,
        inner_next: PayloadType,
        header_offset: usize,
        reader: &mut Reader<'_>,
    ) -> Result<Option<Self>, DecodeError> {
        Ok(Some(match kind {
            PayloadType::SECURITY_ASSOCIATION => {
                Self::SecurityAssociation(security_association::decode(reader)?)
            }
            PayloadType::KEY_EXCHANGE => {
                let group = GroupId(reader.u16()?);
                reader.u16()?;
                Self::KeyExchange { group, data: reader.rest().to_vec() }
            }
            PayloadType::ID_INITIATOR => Self::IdInitiator(Identification::decode(reader)?),
            PayloadType::ID_RESPONDER => Self::IdResponder(Identification::decode(reader)?),
            PayloadType::CERTIFICATE => {
                Self::Certificate { encoding: CertEncoding(reader.u8()?), data: reader.rest().to_vec() }
            }
            PayloadType::CERTIFICATE_REQUEST => Self::CertificateRequest {
                encoding: CertEncoding(reader.u8()?),
                authorities: reader.rest().to_vec(),
            },
            PayloadType::AUTHENTICATION => {
                let method = AuthMethod(reader.u8()?);
                reader.take(3)?;
                Self::Authentication { method, data: reader.rest().to_vec() }
            }
            PayloadType::NONCE => match reader.left() {
                16..=256 => Self::Nonce(reader.rest().to_vec()),
                length => return Err(reader.error(DecodeErrorKind::BadLength { what: "nonce", length })),
            },
            PayloadType::NOTIFY => Self::Notify(Notify::decode(reader)?),
            PayloadType::DELETE => {
                let (protocol, spis) = notify::decode_delete(reader)?;
                Self::Delete { protocol, spis }
            }
            PayloadType::VENDOR_ID => Self::VendorId(reader.rest().to_vec()),
            PayloadType::TS_INITIATOR => Self::TsInitiator(traffic_selector::decode(reader)?),
            PayloadType::TS_RESPONDER => Self::TsResponder(traffic_selector::decode(reader)?),
            PayloadType::ENCRYPTED => {
                Self::Encrypted(EncryptedBody::decode(reader, header_offset, inner_next))
            }
            PayloadType::ENCRYPTED_FRAGMENT => {
                let (number, total) = encrypted::decode_fragment_header(reader)?;
                let body = EncryptedBody::decode(reader, header_offset, inner_next);
                Self::EncryptedFragment { number, total, body }
            }
            PayloadType::CONFIGURATION => {
                let (kind, attributes) = configuration::decode(reader)?;
                Self::Configuration { kind, attributes }
            }
            PayloadType::EAP => Self::Eap(reader.rest().to_vec()),
            _ => return Ok(None),
        }))
    }

    pub(super) fn encode_body(&self, writer: &mut Writer) {
        match self {
            Self::SecurityAssociation(proposals) => security_association::encode(proposals, writer),
            Self::KeyExchange { group, data } => {
                writer.u16(group.0);
                writer.u16(0);
                writer.slice(data);
            }
            Self::IdInitiator(id) | Self::IdResponder(id) => writer.slice(&id.body()),
            Self::Certificate { encoding, data } => {
                writer.u8(encoding.0);
                writer.slice(data);
            }
            Self::CertificateRequest { encoding, authorities } => {
                writer.u8(encoding.0);
                writer.slice(authorities);
            }
            Self::Authentication { method, data } => {
                writer.u8(method.0);
                writer.zeros(3);
                writer.slice(data);
            }
            Self::Nonce(octets) | Self::VendorId(octets) | Self::Eap(octets) => writer.slice(octets),
            Self::Notify(notify) => notify.encode(writer),
            Self::Delete { protocol, spis } => notify::encode_delete(*protocol, spis, writer),
            Self::TsInitiator(selectors) | Self::TsResponder(selectors) => {
                traffic_selector::encode(selectors, writer);
            }
            Self::Encrypted(body) => writer.slice(&body.body),
            Self::EncryptedFragment { number, total, body } => {
                writer.u16(*number);
                writer.u16(*total);
                writer.slice(&body.body);
            }
            Self::Configuration { kind, attributes } => configuration::encode(*kind, attributes, writer),
            Self::Unknown { body, .. } => writer.slice(body),
        }
    }
}
