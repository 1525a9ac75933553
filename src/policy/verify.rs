//! The initiator's check of what the responder chose: one of our proposals, one transform of every type that it
//! had, each exactly as offered ([RFC 7296 2.7](https://www.rfc-editor.org/rfc/rfc7296#section-2.7)).

use super::proposal::ProposalKind;
use super::transforms::{Offered, describe, protocol_of};
use crate::crypto::{EspSuite, IkeSuite};
use crate::wire::ike::registry::TransformType;
use crate::wire::ike::{ProposalBody, Transform};

/// Why a responder's choice is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChoiceError {
    /// Not exactly one proposal.
    #[error("the peer answered with {0} proposals, not with one")]
    NotOne(usize),
    /// A number or protocol that was not offered.
    #[error("the peer chose proposal {0}, which was not offered")]
    UnknownNumber(u8),
    /// A transform that the proposal of this number does not have.
    #[error("the peer chose {chosen}, which is not within what proposal {number} offered ({offered})")]
    NotOffered {
        /// The proposal's number.
        number: u8,
        /// What the peer chose.
        chosen: String,
        /// What was offered.
        offered: String,
    },
    /// No or several transforms of a type.
    #[error("the peer's choice {chosen} has not exactly one {kind}")]
    NotOneTransform {
        /// What the peer chose.
        chosen: String,
        /// The type.
        kind: TransformType,
    },
}

fn is_none(transform: &Transform) -> bool {
    transform.id == 0 && matches!(transform.kind, TransformType::INTEGRITY | TransformType::KEY_EXCHANGE)
}

/// The chosen proposal's offer, after the checks that IKE and ESP share.
fn check(
    kind: ProposalKind,
    offered: &[ProposalBody],
    answer: &[ProposalBody],
) -> Result<Offered, ChoiceError> {
    let [chosen] = answer else {
        return Err(ChoiceError::NotOne(answer.len()));
    };
    let ours = (offered.iter())
        .find(|ours| ours.number == chosen.number && ours.protocol == chosen.protocol)
        .filter(|ours| ours.protocol == protocol_of(kind))
        .ok_or(ChoiceError::UnknownNumber(chosen.number))?;
    let not_offered = || ChoiceError::NotOffered {
        number: chosen.number,
        chosen: describe(chosen),
        offered: describe(ours),
    };
    for transform in chosen.transforms.iter().filter(|transform| !is_none(transform)) {
        if !ours.transforms.contains(transform) {
            return Err(not_offered());
        }
    }
    for ours_of_kind in &ours.transforms {
        let of_kind = |transforms: &[Transform], real_only: bool| {
            transforms.iter().filter(|t| t.kind == ours_of_kind.kind && !(real_only && is_none(t))).count()
        };
        let may_lack = ours.transforms.iter().any(|t| t.kind == ours_of_kind.kind && is_none(t));
        let found = of_kind(&chosen.transforms, true);
        if found > 1 || (found == 0 && !may_lack) || of_kind(&chosen.transforms, false) > 1 {
            return Err(ChoiceError::NotOneTransform { chosen: describe(chosen), kind: ours_of_kind.kind });
        }
    }
    Offered::read(kind, chosen).ok_or_else(not_offered)
}

/// Checks a choice for an IKE SA against the proposals as they were offered.
///
/// # Errors
/// A [`ChoiceError`]: the exchange fails.
pub fn verify_ike(offered: &[ProposalBody], answer: &[ProposalBody]) -> Result<IkeSuite, ChoiceError> {
    let chosen = check(ProposalKind::Ike, offered, answer)?;
    let missing = |kind| ChoiceError::NotOneTransform { chosen: answer.iter().map(describe).collect(), kind };
    Ok(IkeSuite {
        cipher: *chosen.ciphers.first().ok_or_else(|| missing(TransformType::ENCRYPTION))?,
        integrity: chosen.integrity.first().copied(),
        prf: *chosen.prfs.first().ok_or_else(|| missing(TransformType::PRF))?,
        group: *chosen.groups.first().ok_or_else(|| missing(TransformType::KEY_EXCHANGE))?,
    })
}

/// Checks a choice for a Child SA against the proposals as they were offered. Whether a KE payload came with a
/// group is the caller's to check.
///
/// # Errors
/// A [`ChoiceError`]: the exchange fails.
pub fn verify_esp(offered: &[ProposalBody], answer: &[ProposalBody]) -> Result<EspSuite, ChoiceError> {
    let chosen = check(ProposalKind::Esp, offered, answer)?;
    let missing = |kind| ChoiceError::NotOneTransform { chosen: answer.iter().map(describe).collect(), kind };
    Ok(EspSuite {
        cipher: *chosen.ciphers.first().ok_or_else(|| missing(TransformType::ENCRYPTION))?,
        integrity: chosen.integrity.first().copied(),
        group: chosen.groups.first().copied(),
        esn: chosen.esn.first().copied().unwrap_or(false),
    })
}

#[cfg(test)]
mod tests;
