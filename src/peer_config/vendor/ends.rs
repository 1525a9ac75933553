//! How the ends find each other, who they are and how they prove it, as far as products have in common.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::config::Proof;
use crate::peer_config::document::PSK_PLACEHOLDER;
use crate::peer_config::{Address, Draft, End, Psk, RenderError, Target, View, plain};
use crate::wire::ike::registry::IdType;

/// How both ends prove who they are.
#[derive(Debug, Clone, Copy)]
pub(super) enum Auth<'a> {
    /// With this pre-shared key, if secrets were asked for.
    Psk(Option<&'a Psk>),
    /// With certificates.
    Certificates,
}

/// An identity of the kinds that every product has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Id {
    Host(String),
    Mail(String),
    Address(IpAddr),
}

impl Id {
    /// As it is written everywhere: of letters, digits and `. _ - : @ / +`.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Host(text) | Self::Mail(text) => text.clone(),
            Self::Address(address) => address.to_string(),
        }
    }
}

fn unsupported(target: Target, what: impl Into<String>, instead: impl Into<String>) -> RenderError {
    RenderError::Unsupported { target, what: what.into(), instead: instead.into() }
}

/// How both ends prove who they are, where it is by one pre-shared key or, if the product is configured with such
/// from a command line, by certificates.
pub(super) fn auth(target: Target, view: &View, certificates: bool) -> Result<Auth<'_>, RenderError> {
    match (view.local.proof, view.remote.proof) {
        (Proof::Psk, Proof::Psk) if view.same_psk => Ok(Auth::Psk(view.local.psk.as_ref())),
        (Proof::Certificate, Proof::Certificate) if certificates => Ok(Auth::Certificates),
        _ => Err(unsupported(
            target,
            "be configured from here for this way of authentication",
            if certificates {
                "let both ends use the same pre-shared key, or both a certificate: auth = { … } instead of local_auth \
                 and remote_auth"
            } else {
                "let both ends use the same pre-shared key: auth = { psk_file = \"…\" }"
            },
        )),
    }
}

/// The identity of an end; `whose` begins a sentence about it.
pub(super) fn id(target: Target, whose: &'static str, end: &End) -> Result<Id, RenderError> {
    let kinds = "a host name, a mail address or an IP address";
    let Some(id) = &end.id else {
        return Err(unsupported(
            target,
            "be told who it is while any of several identities is accepted",
            format!("set remote_id to {kinds}"),
        ));
    };
    let text = || String::from_utf8_lossy(&id.data).into_owned();
    match id.kind {
        IdType::FQDN => plain(target, whose, &text()).map(|text| Id::Host(text.to_owned())),
        IdType::RFC822_ADDR => plain(target, whose, &text()).map(|text| Id::Mail(text.to_owned())),
        _ => match id.as_ip() {
            Some(address) => Ok(Id::Address(address)),
            None => Err(unsupported(
                target,
                format!("be configured from here with the identity {id}"),
                format!("use {kinds}"),
            )),
        },
    }
}

/// Our address, which the product must know.
pub(super) fn our_address(target: Target, view: &View) -> Result<IpAddr, RenderError> {
    view.remote.address.ip().ok_or_else(|| {
        unsupported(
            target,
            "connect to, or wait for, a peer whose address it does not know",
            "give --address ADDRESS, our address as the other end sees it",
        )
    })
}

/// Our address, for products that know IPv4 only.
pub(super) fn our_ipv4(target: Target, view: &View) -> Result<Ipv4Addr, RenderError> {
    match our_address(target, view)? {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(address) => Err(unsupported(
            target,
            format!("reach {address}"),
            "give --address and our public IPv4 address".to_owned(),
        )),
    }
}

/// Only the ports 500 and 4500 are known to most products.
pub(super) fn usual_ports(target: Target, view: &View) -> Result<(), RenderError> {
    let ports = |end: &End| (end.ike_port, end.natt_port);
    match (ports(&view.local), ports(&view.remote)) {
        ((500, 4500), (500, 4500)) => Ok(()),
        _ => Err(unsupported(
            target,
            "use other UDP ports than 500 and 4500",
            "leave ike_port, natt_port, remote_ike_port and remote_natt_port at their defaults",
        )),
    }
}

/// A cloud that knows its peers by their public IPv4 address alone: our identity must be that.
pub(super) fn known_by_address(target: Target, view: &View) -> Result<Ipv4Addr, RenderError> {
    let address = our_ipv4(target, view)?;
    match view.remote.id.as_ref().and_then(|id| id.as_ip()) {
        Some(id) if id == IpAddr::V4(address) => Ok(address),
        _ => Err(unsupported(
            target,
            format!("know this endpoint by another identity than its public address {address}"),
            format!("set local_id = \"{address}\" for this peer"),
        )),
    }
}

/// Names the preset with which our side suits the product.
pub(super) fn preset(target: Target, view: &View, draft: &mut Draft) {
    draft.note(format!(
        "On the Skybridge endpoint, preset = \"{target}\" under [peers.{}] chooses suites and times that suit it.",
        view.peer
    ));
}

/// What to set here for a cloud that calls itself by its own public address, unless it is set so.
pub(super) fn expect_its_address(view: &View, draft: &mut Draft) {
    let told = (view.local.address.ip(), view.local.id.as_ref().and_then(|id| id.as_ip()));
    if !matches!(told, (Some(address), Some(id)) if address == id) {
        draft.note(
            "The other end calls itself by its public address: on the Skybridge endpoint set both remote and remote_id \
             to the address that is printed at the end.",
        );
    }
}

/// Which pre-shared keys a product takes.
pub(super) struct KeyRule {
    pub(super) letters: fn(char) -> bool,
    pub(super) length: RangeInclusive<usize>,
    /// Whether a leading `0x` would make it hexadecimal, or a leading `0` is refused.
    pub(super) leading_zero: bool,
    /// In words.
    pub(super) says: &'static str,
}

/// Letters and digits, and what means nothing special in any command line.
pub(super) fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._-:@/+=".contains(c)
}

/// The pre-shared key as text, or what stands for it.
pub(super) fn key(
    target: Target,
    psk: Option<&Psk>,
    rule: &KeyRule,
    draft: &mut Draft,
) -> Result<String, RenderError> {
    let Some(psk) = psk else {
        draft.note(format!("Replace {PSK_PLACEHOLDER} by the pre-shared key: {}.", rule.says));
        return Ok(PSK_PLACEHOLDER.to_owned());
    };
    let fits = |text: &&str| {
        text.chars().all(rule.letters)
            && rule.length.contains(&text.len())
            && (rule.leading_zero || !text.starts_with('0'))
    };
    psk.text().filter(fits).map(ToOwned::to_owned).ok_or_else(|| {
        unsupported(
            target,
            "be given this pre-shared key",
            format!("use one of {}, such as `skybridge genkey psk | tr -d +/=` prints", rule.says),
        )
    })
}

/// The key where the product reads hexadecimal digits behind `0x`: as text if that is harmless.
pub(super) fn key_or_hexadecimal(psk: Option<&Psk>, draft: &mut Draft) -> String {
    let Some(psk) = psk else {
        draft.note(format!("Replace {PSK_PLACEHOLDER} by the pre-shared key."));
        return PSK_PLACEHOLDER.to_owned();
    };
    let harmless = |text: &&str| text.chars().all(is_plain) && !text.starts_with("0x");
    match psk.text().filter(harmless) {
        Some(text) => text.to_owned(),
        None => format!("0x{}", psk.hexadecimal()),
    }
}

/// Whole seconds within what a product takes.
pub(super) fn seconds(time: Duration, bounds: RangeInclusive<u64>) -> u64 {
    time.as_secs().clamp(*bounds.start(), *bounds.end())
}

/// The address that is written for an end without a certain one.
pub(super) fn is_unknown(address: &Address) -> bool {
    *address == Address::Any
}
