//! A decrypted payload chain sorted by meaning. Pure, so that it can be fuzzed with any octets.

use crate::wire::ike::registry::{AuthMethod, CertEncoding, GroupId, NotifyType, PayloadType, ProtocolId};
use crate::wire::ike::{Identification, Notify, Payload, ProposalBody, WireTs, decode_chain};
use crate::wire::{DecodeError, DecodeErrorKind};

/// The payloads of one message, each kind in its place, in order within a kind.
#[derive(Debug, Default)]
pub struct Contents {
    /// SA.
    pub sa: Option<Vec<ProposalBody>>,
    /// KE.
    pub ke: Option<(GroupId, Vec<u8>)>,
    /// Nonce.
    pub nonce: Option<Vec<u8>>,
    /// IDi.
    pub id_initiator: Option<Identification>,
    /// IDr.
    pub id_responder: Option<Identification>,
    /// CERT.
    pub certificates: Vec<(CertEncoding, Vec<u8>)>,
    /// CERTREQ.
    pub certificate_requests: Vec<(CertEncoding, Vec<u8>)>,
    /// AUTH.
    pub auth: Option<(AuthMethod, Vec<u8>)>,
    /// TSi.
    pub ts_initiator: Option<Vec<WireTs>>,
    /// TSr.
    pub ts_responder: Option<Vec<WireTs>>,
    /// N.
    pub notifies: Vec<Notify>,
    /// D.
    pub deletes: Vec<(ProtocolId, Vec<Vec<u8>>)>,
    /// V.
    pub vendors: Vec<Vec<u8>>,
}

/// Why a chain has no meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContentsError {
    /// It does not decode.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A payload that may come once came twice.
    #[error("more than one {0} payload")]
    Duplicate(PayloadType),
}

impl ContentsError {
    /// The error notify that answers a request with such contents.
    #[must_use]
    pub fn notify(&self) -> Notify {
        match self {
            Self::Decode(DecodeError { kind: DecodeErrorKind::UnsupportedCritical(kind), .. }) => {
                Notify::new(NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, vec![kind.0])
            }
            Self::Decode(_) | Self::Duplicate(_) => Notify::new(NotifyType::INVALID_SYNTAX, Vec::new()),
        }
    }
}

impl Contents {
    /// Decodes and sorts the inside of an SK payload.
    ///
    /// # Errors
    /// When it does not decode, or when a payload that may come once came twice.
    pub fn parse(first: PayloadType, plaintext: &[u8]) -> Result<Self, ContentsError> {
        Self::sort(decode_chain(first, plaintext)?)
    }

    /// Sorts payloads.
    ///
    /// # Errors
    /// When a payload that may come once came twice.
    pub fn sort(payloads: Vec<Payload>) -> Result<Self, ContentsError> {
        let mut contents = Self::default();
        for payload in payloads {
            let kind = payload.kind();
            let twice = match payload {
                Payload::SecurityAssociation(sa) => contents.sa.replace(sa).is_some(),
                Payload::KeyExchange { group, data } => contents.ke.replace((group, data)).is_some(),
                Payload::Nonce(nonce) => contents.nonce.replace(nonce).is_some(),
                Payload::IdInitiator(id) => contents.id_initiator.replace(id).is_some(),
                Payload::IdResponder(id) => contents.id_responder.replace(id).is_some(),
                Payload::Authentication { method, data } => contents.auth.replace((method, data)).is_some(),
                Payload::TsInitiator(ts) => contents.ts_initiator.replace(ts).is_some(),
                Payload::TsResponder(ts) => contents.ts_responder.replace(ts).is_some(),
                Payload::Certificate { encoding, data } => {
                    contents.certificates.push((encoding, data));
                    false
                }
                Payload::CertificateRequest { encoding, authorities } => {
                    contents.certificate_requests.push((encoding, authorities));
                    false
                }
                Payload::Notify(notify) => {
                    contents.notifies.push(notify);
                    false
                }
                Payload::Delete { protocol, spis } => {
                    contents.deletes.push((protocol, spis));
                    false
                }
                Payload::VendorId(vendor) => {
                    contents.vendors.push(vendor);
                    false
                }
                Payload::Configuration { .. }
                | Payload::Eap(_)
                | Payload::Encrypted(_)
                | Payload::EncryptedFragment { .. }
                | Payload::Unknown { .. } => false,
            };
            if twice {
                return Err(ContentsError::Duplicate(kind));
            }
        }
        Ok(contents)
    }

    /// The first notification of that type.
    #[must_use]
    pub fn notify(&self, kind: NotifyType) -> Option<&Notify> {
        self.notifies.iter().find(|notify| notify.kind == kind)
    }

    /// Whether there is a notification of that type.
    #[must_use]
    pub fn has(&self, kind: NotifyType) -> bool {
        self.notify(kind).is_some()
    }

    /// Whether the IKE SA itself is deleted.
    #[must_use]
    pub fn closes_ike_sa(&self) -> bool {
        self.deletes.iter().any(|(protocol, _)| *protocol == ProtocolId::IKE)
    }

    /// The first error notification; in a response it means failure, whether its type is known or not
    /// ([RFC 7296 section 3.10.1](https://www.rfc-editor.org/rfc/rfc7296#section-3.10.1)).
    #[must_use]
    pub fn error(&self) -> Option<&Notify> {
        self.notifies.iter().find(|notify| notify.kind.is_error())
    }
}
