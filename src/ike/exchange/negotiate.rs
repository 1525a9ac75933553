//! What a Child SA is agreed on, without any state: the same for IKE_AUTH and CREATE_CHILD_SA.

use crate::crypto::{EspSuite, Group};
use crate::ike::config::{ChildConfig, PeerConfig};
use crate::ike::contents::Contents;
use crate::ike::sa::Child;
use crate::policy::{PacketSummary, Pfs, SelectedEsp, SelectorSet, accept_answer, narrow, select_esp_with};
use crate::policy::{Preference, Selection, choose, verify_esp};
use crate::wire::ike::registry::{NotifyType, ProtocolId};
use crate::wire::ike::{Notify, Payload, ProposalBody};

/// Why the responder refuses a Child SA: what the peer is told, what the operator reads.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) notify: Notify,
    pub(crate) reason: String,
}

impl Refusal {
    pub(crate) fn new(kind: NotifyType, reason: impl Into<String>) -> Self {
        Self { notify: Notify::new(kind, Vec::new()), reason: reason.into() }
    }
}

/// What the responder agrees to.
#[derive(Debug)]
pub(crate) struct Agreement {
    pub(crate) config: ChildConfig,
    pub(crate) selected: SelectedEsp,
    pub(crate) peer_spi: u32,
    pub(crate) local_ts: SelectorSet,
    pub(crate) remote_ts: SelectorSet,
    /// Another configured child would take some of what narrowing has cut off.
    pub(crate) more: bool,
}

fn spi_of(proposals: &[ProposalBody], number: u8) -> Option<u32> {
    let body = proposals.iter().find(|body| body.number == number)?;
    <[u8; 4]>::try_from(body.spi.as_slice()).ok().map(u32::from_be_bytes).filter(|spi| *spi > 255)
}

/// Responder: chooses child, suite and selectors. A rekey keeps the child and must cover what it carried.
pub(crate) fn respond(
    peer: &PeerConfig,
    contents: &Contents,
    rekeyed: Option<&Child>,
    first: bool,
) -> Result<Agreement, Refusal> {
    let syntax = |what: &str| Refusal::new(NotifyType::INVALID_SYNTAX, format!("the request has no {what}"));
    let proposals = contents.sa.as_deref().ok_or_else(|| syntax("SA payload"))?;
    let asked_remote =
        SelectorSet::from_wire(contents.ts_initiator.as_deref().ok_or_else(|| syntax("TSi payload"))?);
    let asked_local =
        SelectorSet::from_wire(contents.ts_responder.as_deref().ok_or_else(|| syntax("TSr payload"))?);
    let (config, narrowed) = match rekeyed {
        Some(old) => {
            let config = peer.child(&old.name).ok_or_else(|| {
                Refusal::new(NotifyType::TS_UNACCEPTABLE, "the child is no longer configured")
            })?;
            let narrowed = narrow(&old.local_ts, &old.remote_ts, &asked_local, &asked_remote)
                .map_err(|error| Refusal::new(NotifyType::TS_UNACCEPTABLE, error.to_string()))?;
            (config, narrowed)
        }
        None => {
            let policies = peer.children.iter().map(|child| (&child.local, &child.remote));
            let (index, narrowed) = choose(policies, &asked_local, &asked_remote).ok_or_else(|| {
                let ours = peer.children.iter().map(|child| format!("{} ↔ {}", child.local, child.remote)).collect::<Vec<_>>().join("; ");
                Refusal::new(
                    NotifyType::TS_UNACCEPTABLE,
                    format!("no traffic selectors in common (ours ↔ the peer's)\n  ours: {ours}\n  theirs: {asked_local} ↔ {asked_remote}"),
                )
            })?;
            let config = peer
                .children
                .get(index)
                .ok_or_else(|| Refusal::new(NotifyType::TS_UNACCEPTABLE, "no such child"))?;
            (config, narrowed)
        }
    };
    let pfs = if first { Pfs::FirstChild } else { Pfs::Optional };
    let sent_group = contents.ke.as_ref().and_then(|(group, _)| Group::from_id(*group));
    let selection = Selection { preference: Preference::Own, sent_group };
    let selected = select_esp_with(&config.esp, proposals, pfs, selection).map_err(|none| {
        Refusal::new(NotifyType::NO_PROPOSAL_CHOSEN, format!("child {}: {none}", config.name))
    })?;
    let peer_spi = spi_of(proposals, selected.number).ok_or_else(|| syntax("usable SPI"))?;
    let more = !narrowed.whole && rekeyed.is_none() && leaves_more(peer, config, &asked_local, &asked_remote);
    Ok(Agreement {
        config: config.clone(),
        selected,
        peer_spi,
        local_ts: narrowed.local,
        remote_ts: narrowed.remote,
        more,
    })
}

/// Whether children other than the chosen one have a part of the request.
fn leaves_more(
    peer: &PeerConfig,
    chosen: &ChildConfig,
    asked_local: &SelectorSet,
    asked_remote: &SelectorSet,
) -> bool {
    let mut others = peer.children.iter().filter(|child| child.name != chosen.name);
    others.any(|child| narrow(&child.local, &child.remote, asked_local, asked_remote).is_ok())
}

/// What the initiator got.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) suite: EspSuite,
    pub(crate) peer_spi: u32,
    pub(crate) local_ts: SelectorSet,
    pub(crate) remote_ts: SelectorSet,
}

/// Initiator: checks the responder's choice against the offer.
pub(crate) fn accept(
    offered: &[ProposalBody],
    local: &SelectorSet,
    remote: &SelectorSet,
    contents: &Contents,
) -> Result<Answer, String> {
    let proposals = contents.sa.as_deref().ok_or("the response has no SA payload")?;
    let suite = verify_esp(offered, proposals).map_err(|error| error.to_string())?;
    let peer_spi = proposals
        .first()
        .and_then(|body| spi_of(proposals, body.number))
        .ok_or("the response has no usable SPI")?;
    let answered_local =
        SelectorSet::from_wire(contents.ts_initiator.as_deref().ok_or("the response has no TSi payload")?);
    let answered_remote =
        SelectorSet::from_wire(contents.ts_responder.as_deref().ok_or("the response has no TSr payload")?);
    let narrowed =
        accept_answer(local, remote, &answered_local, &answered_remote).map_err(|error| error.to_string())?;
    Ok(Answer { suite, peer_spi, local_ts: narrowed.local, remote_ts: narrowed.remote })
}

/// TSi and TSr with the packet that raised the tunnel in front
/// ([RFC 7296 section 2.9](https://www.rfc-editor.org/rfc/rfc7296#section-2.9)).
pub(crate) fn selectors_with_hint(
    config: &ChildConfig,
    packet: Option<&PacketSummary>,
) -> (SelectorSet, SelectorSet) {
    let Some(packet) = packet else { return (config.local.clone(), config.remote.clone()) };
    let (source, destination) = packet.to_selectors();
    if !config.local.includes(&source) || !config.remote.includes(&destination) {
        return (config.local.clone(), config.remote.clone());
    }
    let front = |first, rest: &SelectorSet| std::iter::once(first).chain(rest.iter().copied()).collect();
    (front(source, &config.local), front(destination, &config.remote))
}

/// SA, whatever comes between, TSi and TSr of the responder's answer, and whether another Child SA could carry
/// more ([RFC 7296 section 2.9](https://www.rfc-editor.org/rfc/rfc7296#section-2.9)).
pub(crate) fn answer_payloads(agreement: &Agreement, spi: u32, between: Vec<Payload>) -> Vec<Payload> {
    let mut payloads = vec![Payload::SecurityAssociation(vec![agreement.selected.answer(spi)])];
    payloads.extend(between);
    payloads.push(Payload::TsInitiator(agreement.remote_ts.to_wire()));
    payloads.push(Payload::TsResponder(agreement.local_ts.to_wire()));
    if agreement.more {
        payloads.push(Payload::Notify(Notify::new(NotifyType::ADDITIONAL_TS_POSSIBLE, Vec::new())));
    }
    payloads
}

/// The SPI in a REKEY_SA notification: the sender's inbound SPI, so our outbound one.
pub(crate) fn rekeyed_spi(contents: &Contents) -> Option<Result<u32, Refusal>> {
    let notify = contents.notify(NotifyType::REKEY_SA)?;
    let spi = <[u8; 4]>::try_from(notify.spi.as_slice()).ok().map(u32::from_be_bytes);
    Some(match spi {
        Some(spi) if notify.protocol == ProtocolId::ESP => Ok(spi),
        _ => Err(Refusal::new(NotifyType::INVALID_SYNTAX, "REKEY_SA with a wrong protocol or SPI")),
    })
}
