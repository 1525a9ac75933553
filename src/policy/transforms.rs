//! Proposals as they stand in an SA payload
//! ([RFC 7296 3.3](https://www.rfc-editor.org/rfc/rfc7296#section-3.3)), read and written.

use super::proposal::{Proposal, ProposalKind};
use crate::crypto::{Cipher, Group, Integrity, Prf};
use crate::wire::ike::registry::{
    EncryptionId, GroupId, IntegrityId, PrfId, ProtocolId, SequenceNumbersId, TransformType,
};
use crate::wire::ike::{ProposalBody, Transform};

/// Whether a transform has no attribute but a key length, the only one that is defined.
pub(super) fn key_length_is_only_attribute(transform: &Transform) -> bool {
    match transform.attributes.as_slice() {
        [] => true,
        [_] => transform.key_length().is_some(),
        _ => false,
    }
}

pub(super) fn protocol_of(kind: ProposalKind) -> ProtocolId {
    match kind {
        ProposalKind::Ike => ProtocolId::IKE,
        ProposalKind::Esp => ProtocolId::ESP,
    }
}

pub(super) fn cipher_transform(cipher: Cipher) -> Transform {
    match cipher.key_length_attribute() {
        None => Transform::new(TransformType::ENCRYPTION, cipher.id().0),
        Some(bits) => Transform::with_key_length(TransformType::ENCRYPTION, cipher.id().0, bits),
    }
}

pub(super) fn integrity_transform(integrity: Integrity) -> Transform {
    Transform::new(TransformType::INTEGRITY, integrity.id().0)
}

pub(super) fn prf_transform(prf: Prf) -> Transform {
    Transform::new(TransformType::PRF, prf.id().0)
}

pub(super) fn group_transform(group: Group) -> Transform {
    Transform::new(TransformType::KEY_EXCHANGE, group.id().0)
}

pub(super) fn esn_transform(esn: bool) -> Transform {
    Transform::new(TransformType::SEQUENCE_NUMBERS, u16::from(esn))
}

impl Proposal {
    /// The proposal as it is offered, under a number (from 1) and with the sender's SPI: empty for an IKE SA's
    /// first exchange, 8 octets for its rekey, 4 for ESP.
    pub fn to_body(&self, number: u8, spi: Vec<u8>) -> ProposalBody {
        let transforms = (self.ciphers().iter().map(|cipher| cipher_transform(*cipher)))
            .chain(self.integrity().iter().map(|integrity| integrity_transform(*integrity)))
            .chain(self.prfs().iter().map(|prf| prf_transform(*prf)))
            .chain(self.groups().iter().map(|group| group_transform(*group)))
            .chain(self.esn().iter().map(|esn| esn_transform(*esn)))
            .collect();
        ProposalBody { number, protocol: protocol_of(self.kind()), spi, transforms }
    }
}

/// An SA payload's proposals, numbered from 1 and at most 255, all with the same SPI. Proposals that are equal
/// (several differ only in their groups, and those are left out of IKE_AUTH) are offered once.
pub fn offer<'a>(proposals: impl IntoIterator<Item = &'a Proposal>, spi: &[u8]) -> Vec<ProposalBody> {
    let mut different: Vec<&Proposal> = Vec::new();
    for proposal in proposals {
        if !different.contains(&proposal) {
            different.push(proposal);
        }
    }
    (1u8..=255).zip(different).map(|(number, proposal)| proposal.to_body(number, spi.to_vec())).collect()
}

/// One proposal of a peer, sorted by what we know of it. Algorithms that are not supported are left out.
pub(super) struct Offered {
    pub(super) ciphers: Vec<Cipher>,
    pub(super) integrity: Vec<Integrity>,
    pub(super) prfs: Vec<Prf>,
    pub(super) groups: Vec<Group>,
    pub(super) esn: Vec<bool>,
    pub(super) has_integrity: bool,
    pub(super) has_no_integrity: bool,
    pub(super) has_groups: bool,
    pub(super) has_no_group: bool,
    pub(super) has_esn: bool,
}

impl Offered {
    /// `None` if the proposal cannot be accepted whatever we have: another protocol, or a transform type that is
    /// unknown or does not belong there ([RFC 7296 3.3.6](https://www.rfc-editor.org/rfc/rfc7296#section-3.3.6)).
    pub(super) fn read(kind: ProposalKind, body: &ProposalBody) -> Option<Self> {
        if body.protocol != protocol_of(kind) {
            return None;
        }
        let mut offered = Self {
            ciphers: Vec::new(),
            integrity: Vec::new(),
            prfs: Vec::new(),
            groups: Vec::new(),
            esn: Vec::new(),
            has_integrity: false,
            has_no_integrity: false,
            has_groups: false,
            has_no_group: false,
            has_esn: false,
        };
        for transform in &body.transforms {
            let usable = key_length_is_only_attribute(transform);
            let fixed = usable && transform.attributes.is_empty();
            match transform.kind {
                TransformType::ENCRYPTION => {
                    let cipher = Cipher::from_transform(EncryptionId(transform.id), transform.key_length());
                    offered.ciphers.extend(cipher.filter(|_| usable));
                }
                TransformType::PRF if kind == ProposalKind::Ike => {
                    offered.prfs.extend(Prf::from_id(PrfId(transform.id)).filter(|_| fixed));
                }
                TransformType::INTEGRITY => {
                    if transform.id == 0 {
                        offered.has_no_integrity = true;
                    } else {
                        offered.has_integrity = true;
                        offered
                            .integrity
                            .extend(Integrity::from_id(IntegrityId(transform.id)).filter(|_| fixed));
                    }
                }
                TransformType::KEY_EXCHANGE => {
                    if transform.id == 0 {
                        offered.has_no_group = true;
                    } else {
                        offered.has_groups = true;
                        offered.groups.extend(Group::from_id(GroupId(transform.id)).filter(|_| fixed));
                    }
                }
                TransformType::SEQUENCE_NUMBERS if kind == ProposalKind::Esp => {
                    offered.has_esn = true;
                    match transform.id {
                        0 if fixed => offered.esn.push(false),
                        1 if fixed => offered.esn.push(true),
                        _ => {}
                    }
                }
                _ => return None,
            }
        }
        if !offered.has_esn {
            offered.esn.push(false);
        }
        Some(offered)
    }
}

/// A peer's proposal in the words of ours; what has no word here is shown by its name or number.
pub fn describe(body: &ProposalBody) -> String {
    let mut words: Vec<String> = body.transforms.iter().map(describe_transform).collect();
    words.dedup();
    if words.is_empty() {
        words.push("(empty)".to_owned());
    }
    words.join("-")
}

fn describe_transform(transform: &Transform) -> String {
    let id = transform.id;
    let with_length = |name: String| match transform.key_length() {
        Some(bits) => format!("{name}/{bits}"),
        None => name,
    };
    match transform.kind {
        TransformType::ENCRYPTION => match Cipher::from_transform(EncryptionId(id), transform.key_length()) {
            Some(cipher) => cipher.to_string(),
            None => match id {
                3 => "3des".to_owned(),
                11 => "null".to_owned(),
                _ => with_length(EncryptionId(id).to_string()),
            },
        },
        TransformType::PRF => match (Prf::from_id(PrfId(id)), id) {
            (Some(prf), _) => prf.to_string(),
            (None, 1) => "prfmd5".to_owned(),
            (None, 2) => "prfsha1".to_owned(),
            _ => PrfId(id).to_string(),
        },
        TransformType::INTEGRITY => match (Integrity::from_id(IntegrityId(id)), id) {
            (Some(integrity), _) => integrity.to_string(),
            (None, 0) => "nointegrity".to_owned(),
            (None, 1) => "md5".to_owned(),
            (None, 2) => "sha1".to_owned(),
            _ => IntegrityId(id).to_string(),
        },
        TransformType::KEY_EXCHANGE => match (Group::from_id(GroupId(id)), id) {
            (Some(group), _) => group.to_string(),
            (None, 0) => "nogroup".to_owned(),
            (None, 1) => "modp768".to_owned(),
            (None, 2) => "modp1024".to_owned(),
            (None, 5) => "modp1536".to_owned(),
            (None, 17) => "modp6144".to_owned(),
            (None, 18) => "modp8192".to_owned(),
            _ => GroupId(id).to_string(),
        },
        TransformType::SEQUENCE_NUMBERS => match id {
            0 => "noesn".to_owned(),
            1 => "esn".to_owned(),
            _ => SequenceNumbersId(id).to_string(),
        },
        other => format!("{other}:{id}"),
    }
}
