//! Which suites of ours a product knows.

use super::Target;
use super::error::RenderError;
use super::view::{Child, View};
use crate::crypto::{EspSuite, IkeSuite};
use crate::policy::{Proposal, ProposalKind};

/// Every IKE suite that the proposals admit, in the order in which we prefer them.
pub fn ike_suites(proposals: &[Proposal]) -> impl Iterator<Item = IkeSuite> {
    proposals.iter().flat_map(|proposal| {
        integrities(proposal).flat_map(move |(cipher, integrity)| {
            let prf_of = move |prf| proposal.groups().iter().map(move |group| (prf, *group));
            proposal.prfs().iter().flat_map(move |prf| prf_of(*prf)).map(move |(prf, group)| IkeSuite {
                cipher,
                integrity,
                prf,
                group,
            })
        })
    })
}

/// Every ESP suite that the proposals admit, in the order in which we prefer them.
pub fn esp_suites(proposals: &[Proposal]) -> impl Iterator<Item = EspSuite> {
    proposals.iter().flat_map(|proposal| {
        let groups: Vec<_> = match proposal.groups() {
            [] => vec![None],
            groups => groups.iter().copied().map(Some).collect(),
        };
        integrities(proposal).flat_map(move |(cipher, integrity)| {
            groups.clone().into_iter().flat_map(move |group| {
                proposal.esn().iter().map(move |esn| EspSuite { cipher, integrity, group, esn: *esn })
            })
        })
    })
}

fn integrities(
    proposal: &Proposal,
) -> impl Iterator<Item = (crate::crypto::Cipher, Option<crate::crypto::Integrity>)> {
    let integrity: Vec<_> = match proposal.integrity() {
        [] => vec![None],
        integrity => integrity.iter().copied().map(Some).collect(),
    };
    proposal
        .ciphers()
        .iter()
        .flat_map(move |cipher| integrity.clone().into_iter().map(move |integrity| (*cipher, integrity)))
}

/// The first IKE suite that a product can do.
///
/// # Errors
/// [`RenderError::NoSuite`], with `such_as` as what to add.
pub fn first_ike(
    view: &View,
    target: Target,
    such_as: &'static str,
    can: impl Fn(&IkeSuite) -> bool,
) -> Result<IkeSuite, RenderError> {
    ike_suites(&view.ike).find(|suite| can(suite)).ok_or_else(|| RenderError::NoSuite {
        target,
        kind: ProposalKind::Ike,
        at: view.peer.clone(),
        such_as,
    })
}

/// The first ESP suite of a child that a product can do.
///
/// # Errors
/// [`RenderError::NoSuite`], with `such_as` as what to add.
pub fn first_esp(
    view: &View,
    child: &Child,
    target: Target,
    such_as: &'static str,
    can: impl Fn(&EspSuite) -> bool,
) -> Result<EspSuite, RenderError> {
    esp_suites(&child.esp).find(|suite| can(suite)).ok_or_else(|| RenderError::NoSuite {
        target,
        kind: ProposalKind::Esp,
        at: format!("{}/{}", view.peer, child.name),
        such_as,
    })
}
