//! The responder's choice among a peer's proposals
//! ([RFC 7296 2.7](https://www.rfc-editor.org/rfc/rfc7296#section-2.7)).
//!
//! Our order decides: the first of our proposals for which any of the peer's fits, and in it the first algorithm
//! of each kind that the peer offers too. With [`Preference::Peer`] the peer's order decides instead.

use std::fmt;

use super::proposal::{Proposal, ProposalKind};
use super::transforms::{self, Offered, describe};
use crate::crypto::{EspSuite, Group, IkeSuite, Integrity};
use crate::wire::ike::ProposalBody;

/// Whose order decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Preference {
    /// Ours.
    #[default]
    Own,
    /// The peer's.
    Peer,
}

/// How a choice is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Selection {
    /// Whose order decides.
    pub preference: Preference,
    /// The group of the KE payload that came along: where the proposal allows it, it is taken before the others,
    /// which saves the round trip of INVALID_KE_PAYLOAD.
    pub sent_group: Option<Group>,
}

/// Whether a Child SA takes a key exchange of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pfs {
    /// It cannot: the Child SA of IKE_AUTH. Groups are not looked at and none is answered.
    FirstChild,
    /// As the peer offers: with a group where it has one, without where it offers none or NONE beside.
    /// Peers that rekey without PFS are common. Where our own proposal has no groups, any that is
    /// implemented is welcome.
    Optional,
    /// Only with a group of ours.
    Required,
}

/// A chosen IKE proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectedIke {
    /// The peer's number of it, to be echoed.
    pub number: u8,
    /// What was chosen.
    pub suite: IkeSuite,
    answer: Proposal,
}

/// A chosen ESP proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectedEsp {
    /// The peer's number of it, to be echoed.
    pub number: u8,
    /// What was chosen.
    pub suite: EspSuite,
    answer: Proposal,
    says_esn: bool,
}

impl SelectedIke {
    /// The answer's proposal, with our SPI (empty in IKE_SA_INIT).
    pub fn answer(&self, spi: Vec<u8>) -> ProposalBody {
        self.answer.to_body(self.number, spi)
    }
}

impl SelectedEsp {
    /// The answer's proposal, with the SPI of our inbound SA.
    pub fn answer(&self, spi: u32) -> ProposalBody {
        let mut body = self.answer.to_body(self.number, spi.to_be_bytes().to_vec());
        if !self.says_esn {
            body.transforms.retain(|transform| *transform != transforms::esn_transform(false));
        }
        body
    }
}

/// Nothing in common. Displayed with both sides' proposals side by side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoProposal {
    /// What was to be chosen.
    pub kind: ProposalKind,
    /// Our proposals, in the words of the configuration.
    pub ours: Vec<String>,
    /// The peer's, in the same words.
    pub theirs: Vec<String>,
    /// Kinds of algorithms of which no two proposals have one in common.
    pub lacking: Vec<&'static str>,
}

impl std::error::Error for NoProposal {}

impl fmt::Display for NoProposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no {} proposal in common", self.kind)?;
        if !self.lacking.is_empty() {
            write!(f, " (nothing fits for: {})", self.lacking.join(", "))?;
        }
        let width = self.ours.iter().map(|text| text.chars().count()).max().unwrap_or(0).max("ours".len());
        write!(f, "\n  {:width$} | theirs", "ours")?;
        for row in 0..self.ours.len().max(self.theirs.len()) {
            let of = |side: &[String]| side.get(row).cloned().unwrap_or_default();
            let line = format!("  {:width$} | {}", of(&self.ours), of(&self.theirs));
            write!(f, "\n{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// The first that both have, by the order that decides.
fn pick<T: Copy + PartialEq>(preference: Preference, ours: &[T], theirs: &[T]) -> Option<T> {
    let (first, second) = match preference {
        Preference::Own => (ours, theirs),
        Preference::Peer => (theirs, ours),
    };
    first.iter().find(|one| second.contains(one)).copied()
}

fn pick_group(selection: Selection, ours: &[Group], theirs: &[Group]) -> Option<Group> {
    let sent = selection.sent_group.filter(|group| ours.contains(group) && theirs.contains(group));
    sent.or_else(|| pick(selection.preference, ours, theirs))
}

fn pick_integrity(selection: Selection, ours: &Proposal, theirs: &Offered) -> Option<Option<Integrity>> {
    if ours.integrity().is_empty() {
        return (!theirs.has_integrity || theirs.has_no_integrity).then_some(None);
    }
    pick(selection.preference, ours.integrity(), &theirs.integrity).map(Some)
}

/// Goes through pairs of proposals in the order that decides and takes the first for which `try_pair` finds a suite.
fn first_pair<T>(
    kind: ProposalKind,
    ours: &[Proposal],
    theirs: &[ProposalBody],
    preference: Preference,
    try_pair: impl Fn(&Proposal, &Offered) -> Option<T>,
) -> Result<(u8, T), NoProposal> {
    let offers: Vec<(u8, Offered)> =
        theirs.iter().filter_map(|body| Some((body.number, Offered::read(kind, body)?))).collect();
    let found = match preference {
        Preference::Own => ours.iter().find_map(|own| {
            offers.iter().find_map(|(number, offered)| Some((*number, try_pair(own, offered)?)))
        }),
        Preference::Peer => offers.iter().find_map(|(number, offered)| {
            ours.iter().find_map(|own| Some((*number, try_pair(own, offered)?)))
        }),
    };
    found.ok_or_else(|| NoProposal {
        kind,
        ours: ours.iter().map(ToString::to_string).collect(),
        theirs: theirs.iter().map(describe).collect(),
        lacking: lacking(kind, ours, &offers),
    })
}

fn lacking(kind: ProposalKind, ours: &[Proposal], offers: &[(u8, Offered)]) -> Vec<&'static str> {
    let any = |fits: &dyn Fn(&Proposal, &Offered) -> bool| {
        ours.iter().any(|own| offers.iter().any(|(_, offered)| fits(own, offered)))
    };
    let mut kinds = Vec::new();
    if !any(&|own, offered| pick(Preference::Own, own.ciphers(), &offered.ciphers).is_some()) {
        kinds.push("cipher");
    }
    if !any(&|own, offered| pick_integrity(Selection::default(), own, offered).is_some()) {
        kinds.push("integrity algorithm");
    }
    if kind == ProposalKind::Ike
        && !any(&|own, offered| pick(Preference::Own, own.prfs(), &offered.prfs).is_some())
    {
        kinds.push("PRF");
    }
    if !any(&|own, offered| {
        let without = kind == ProposalKind::Esp && (own.groups().is_empty() || !offered.has_groups);
        without || pick(Preference::Own, own.groups(), &offered.groups).is_some()
    }) {
        kinds.push("key exchange group");
    }
    if kind == ProposalKind::Esp
        && !any(&|own, offered| pick(Preference::Own, own.esn(), &offered.esn).is_some())
    {
        kinds.push("extended sequence numbers");
    }
    kinds
}

/// Chooses for an IKE SA, our order deciding.
///
/// # Errors
/// [`NoProposal`]: answer NO_PROPOSAL_CHOSEN.
pub fn select_ike(ours: &[Proposal], theirs: &[ProposalBody]) -> Result<SelectedIke, NoProposal> {
    select_ike_with(ours, theirs, Selection::default())
}

/// Chooses for an IKE SA.
///
/// # Errors
/// [`NoProposal`]: answer NO_PROPOSAL_CHOSEN.
pub fn select_ike_with(
    ours: &[Proposal],
    theirs: &[ProposalBody],
    selection: Selection,
) -> Result<SelectedIke, NoProposal> {
    let preference = selection.preference;
    let (number, suite) = first_pair(ProposalKind::Ike, ours, theirs, preference, |own, offered| {
        Some(IkeSuite {
            cipher: pick(preference, own.ciphers(), &offered.ciphers)?,
            integrity: pick_integrity(selection, own, offered)?,
            prf: pick(preference, own.prfs(), &offered.prfs)?,
            group: pick_group(selection, own.groups(), &offered.groups)?,
        })
    })?;
    Ok(SelectedIke { number, suite, answer: suite.into() })
}

/// Chooses for a Child SA, our order deciding.
///
/// # Errors
/// [`NoProposal`]: answer NO_PROPOSAL_CHOSEN.
pub fn select_esp(ours: &[Proposal], theirs: &[ProposalBody], pfs: Pfs) -> Result<SelectedEsp, NoProposal> {
    select_esp_with(ours, theirs, pfs, Selection::default())
}

/// Chooses for a Child SA.
///
/// # Errors
/// [`NoProposal`]: answer NO_PROPOSAL_CHOSEN.
pub fn select_esp_with(
    ours: &[Proposal],
    theirs: &[ProposalBody],
    pfs: Pfs,
    selection: Selection,
) -> Result<SelectedEsp, NoProposal> {
    let preference = selection.preference;
    let usable: Vec<ProposalBody> = theirs.iter().filter(|body| body.spi.len() == 4).cloned().collect();
    let (number, (suite, says_esn)) =
        first_pair(ProposalKind::Esp, ours, &usable, preference, |own, offered| {
            let suite = EspSuite {
                cipher: pick(preference, own.ciphers(), &offered.ciphers)?,
                integrity: pick_integrity(selection, own, offered)?,
                group: child_group(pfs, selection, own, offered)?,
                esn: pick(preference, own.esn(), &offered.esn)?,
            };
            Some((suite, offered.has_esn))
        })?;
    Ok(SelectedEsp { number, suite, answer: suite.into(), says_esn })
}

fn child_group(pfs: Pfs, selection: Selection, own: &Proposal, offered: &Offered) -> Option<Option<Group>> {
    let common = pick_group(selection, own.groups(), &offered.groups);
    match pfs {
        Pfs::FirstChild => Some(None),
        Pfs::Required => common.map(Some),
        Pfs::Optional if common.is_some() => Some(common),
        Pfs::Optional if !offered.has_groups || offered.has_no_group => Some(None),
        Pfs::Optional if own.groups().is_empty() => {
            let any = pick_group(selection, &offered.groups, &offered.groups);
            any.map(Some)
        }
        Pfs::Optional => None,
    }
}

#[cfg(test)]
mod tests;
