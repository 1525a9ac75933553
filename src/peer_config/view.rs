//! A tunnel as its other end sees it.
//!
//! `local` is the machine that will load what is written, `remote` is this endpoint.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use super::Target;
use super::choice::esp_suites;
use super::error::{RenderError, ViewError};
use crate::config::{ClampMss, Endpoint, Peer, Proof};
use crate::crypto::Secret;
use crate::esp::inner_mtu;
use crate::ike::config::{ChildConfig, ChildLifetime, LocalAuth, RemoteAddress, RemoteAuth, StartPolicy};
use crate::pki::{Identity, IdentityPattern};
use crate::policy::{Proposal, SelectorSet, TrafficSelector};
use ipnet::IpNet;

/// The outer MTU that is reckoned with.
const OUTER_MTU: u16 = 1500;

/// IPv4 and TCP headers without options.
const HEADERS: u16 = 40;

/// Where an end is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// At this address.
    Known(IpAddr),
    /// At what this name resolves to.
    Name(String),
    /// Anywhere, or not known here.
    Any,
}

impl Address {
    /// The address, if it is a certain one.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Known(address) => Some(*address),
            Self::Name(_) | Self::Any => None,
        }
    }
}

/// When the other end raises a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Never: we do.
    Wait,
    /// At once, and again for ever.
    Connect,
    /// By its first packet, as we by ours.
    Trap,
}

/// A pre-shared key that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Psk(Secret);

impl Psk {
    /// The key as text, if it is printable ASCII without blanks at its ends.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        let text = std::str::from_utf8(self.0.expose()).ok()?;
        (text.chars().all(|c| matches!(c, ' '..='~')) && text.trim() == text).then_some(text)
    }

    /// The key's octets in hexadecimal, without a prefix.
    #[must_use]
    pub fn hexadecimal(&self) -> String {
        super::text::hexadecimal(self.0.expose())
    }
}

/// One end of the tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Where the other one finds it.
    pub address: Address,
    /// What it calls itself; `None` if we accept several identities.
    pub id: Option<Identity>,
    /// How it proves that.
    pub proof: Proof,
    /// The pre-shared key it proves that with, only if secrets were asked for.
    pub psk: Option<Psk>,
    /// Its UDP port of IKE.
    pub ike_port: u16,
    /// Its UDP port of IKE and ESP behind NAT. ESP is always sent in UDP.
    pub natt_port: u16,
}

/// One Child SA.
#[derive(Debug, Clone, PartialEq)]
pub struct Child {
    /// Its name in our configuration: letters, digits, `-`, `_`.
    pub name: String,
    /// What lies behind the other end.
    pub local: SelectorSet,
    /// What lies behind us.
    pub remote: SelectorSet,
    /// What the other end routes into the tunnel.
    pub routes: Vec<IpNet>,
    /// ESP proposals, the preferred one first. Groups in them mean PFS.
    pub esp: Vec<Proposal>,
    /// When the other end raises it.
    pub start: Start,
    /// When we rekey it. The ends do not negotiate that; each rekeys by its own limits.
    pub lifetime: ChildLifetime,
}

impl Child {
    /// Every pair of a selector of the other end and one of ours that can belong together.
    #[must_use]
    pub fn pairs(&self) -> Vec<(TrafficSelector, TrafficSelector)> {
        let with = |local: TrafficSelector| {
            self.remote
                .iter()
                .filter(move |remote| remote.is_ipv4() == local.is_ipv4())
                .map(move |remote| (local, *remote))
        };
        self.local.iter().flat_map(|local| with(*local)).collect()
    }

    /// This child as one child a pair, as it is written in our configuration.
    fn split(&self, peer: &str) -> String {
        let table = |(index, (local, remote)): (usize, (TrafficSelector, TrafficSelector))| {
            let suffix = if index == 0 { String::new() } else { format!("-{}", index + 1) };
            let name = &self.name;
            format!("[peers.{peer}.children.{name}{suffix}]\nlocal = [\"{remote}\"]\nremote = [\"{local}\"]")
        };
        self.pairs().into_iter().enumerate().map(table).collect::<Vec<_>>().join("\n")
    }
}

/// What is not in the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Our address or name as the other end sees it.
    pub address: Option<Address>,
    /// Whether pre-shared keys are written. The peer must have been read with its secrets.
    pub with_secrets: bool,
}

/// The tunnel from the other end. Everything is resolved; nothing of ours is left as "default".
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// Our endpoint's name, free text of at most 64 printable characters.
    pub endpoint: String,
    /// What we call the other end: letters, digits, `-`, `_`.
    pub peer: String,
    /// A name for the connection there: our endpoint's, of lower-case letters, digits and `-`, at most 24.
    pub connection: String,
    /// The other end.
    pub local: End,
    /// This endpoint.
    pub remote: End,
    /// Whether both ends use one and the same pre-shared key.
    pub same_psk: bool,
    /// IKE proposals, the preferred one first.
    pub ike: Vec<Proposal>,
    /// When we rekey the IKE SA.
    pub ike_lifetime: Duration,
    /// Silence after which we ask whether the peer is alive; `None` if never.
    pub dpd: Option<Duration>,
    /// How long it then takes us to give up.
    pub dpd_timeout: Duration,
    /// The Child SAs, at least one.
    pub children: Vec<Child>,
    /// The largest packet inside of the tunnel, with an outer path of 1500 octets and the suite that takes most room.
    pub inner_mtu: u16,
    /// The TCP segment size over IPv4 that fits it; over IPv6 it is 20 octets less.
    pub mss: u16,
    /// What whoever loads the configuration must know, whatever the product.
    pub notes: Vec<String>,
}

impl View {
    /// Turns a peer round.
    ///
    /// # Errors
    /// What the configuration does not say and the other end must know.
    pub fn new(endpoint: &Endpoint, peer: &Peer, options: &Options) -> Result<Self, ViewError> {
        let ike = &peer.ike;
        let name = ike.name.as_str().to_owned();
        if let Some(child) = peer.waiting.first() {
            return Err(ViewError::Waiting { child: child.as_str().to_owned() });
        }
        if ike.children.is_empty() {
            return Err(ViewError::NoChildren { peer: name });
        }
        let mut notes = Vec::new();
        let local_address = match &ike.remote {
            RemoteAddress::Any => Address::Any,
            RemoteAddress::Name(name) => Address::Name(name.clone()),
            RemoteAddress::Addresses(addresses) => {
                if addresses.len() > 1 {
                    let all: Vec<_> = addresses.iter().map(IpAddr::to_string).collect();
                    notes.push(format!(
                        "This end has several addresses ({}); the first one is written.",
                        all.join(", ")
                    ));
                }
                addresses.first().copied().map_or(Address::Any, Address::Known)
            }
        };
        let remote_address = options
            .address
            .clone()
            .unwrap_or_else(|| own_address(endpoint, peer, &local_address, &mut notes));
        let known = remote_address != Address::Any;
        let children: Vec<Child> = ike.children.iter().map(|child| turn_round(child, known)).collect();
        if !known && children.iter().any(|child| child.start == Start::Connect) {
            return Err(ViewError::NoAddress { peer: name });
        }
        let id = match &ike.remote_id {
            IdentityPattern::Exact(id) => Some(id.clone()),
            IdentityPattern::Any => {
                notes.push("This end may call itself what its certificate says.".to_owned());
                None
            }
            IdentityPattern::Subdomain(domain) => {
                notes.push(format!("This end must call itself by a host name within {domain}."));
                None
            }
        };
        let psk = |keys: Option<&Vec<Secret>>| {
            options.with_secrets.then(|| keys?.first().cloned().map(Psk)).flatten()
        };
        let ours = match &ike.local_auth {
            LocalAuth::Psk(keys) => psk(Some(keys)),
            LocalAuth::Certificate(_) => None,
        };
        let theirs = match &ike.remote_auth {
            RemoteAuth::Psk(keys) => psk(Some(keys)),
            RemoteAuth::Certificate { .. } => None,
        };
        let over_ipv6 = |address: &Address| address.ip().is_some_and(|address| address.is_ipv6());
        let ipv6 = over_ipv6(&local_address) || over_ipv6(&remote_address);
        let fits = children.iter().flat_map(|child| esp_suites(&child.esp));
        let computed = fits.map(|suite| inner_mtu(OUTER_MTU, &suite, ipv6)).min();
        let inner_mtu = [peer.mtu, endpoint.mtu, computed].into_iter().flatten().min().unwrap_or(1280);
        let mss = match peer.clamp_mss {
            ClampMss::To(mss) => mss.min(inner_mtu.saturating_sub(HEADERS)),
            ClampMss::Auto | ClampMss::Off => inner_mtu.saturating_sub(HEADERS),
        };
        Ok(Self {
            endpoint: endpoint.name.clone(),
            connection: connection_name(&endpoint.name),
            peer: name,
            local: End {
                address: local_address,
                id,
                proof: peer.proofs.remote,
                psk: theirs,
                ike_port: ike.remote_ike_port,
                natt_port: ike.remote_natt_port,
            },
            remote: End {
                address: remote_address,
                id: Some(ike.local_id.clone()),
                proof: peer.proofs.local,
                psk: ours,
                ike_port: endpoint.ike.ike_port,
                natt_port: endpoint.ike.natt_port,
            },
            same_psk: peer.proofs.same_psk,
            ike: ike.ike.clone(),
            ike_lifetime: ike.ike_lifetime.rekey,
            dpd: ike.timing.dpd_delay,
            dpd_timeout: give_up_after(&ike.timing),
            children,
            inner_mtu,
            mss,
            notes,
        })
    }

    /// Each child with its one pair of selectors, for products that make one Child SA for each pair.
    ///
    /// # Errors
    /// [`RenderError::ManyPairs`] for a child that has several: it would come to the other end's Child SAs and ours
    /// taking each other's place.
    pub fn one_pair_each(
        &self,
        target: Target,
    ) -> Result<Vec<(&Child, TrafficSelector, TrafficSelector)>, RenderError> {
        let pair = |child| match Child::pairs(child).as_slice() {
            [(local, remote)] => Ok((child, *local, *remote)),
            _ => Err(RenderError::ManyPairs {
                target,
                child: child.name.clone(),
                split: child.split(&self.peer),
            }),
        };
        self.children.iter().map(pair).collect()
    }

    /// Whether the other end connects, by itself or by its first packet.
    #[must_use]
    pub fn local_initiates(&self) -> bool {
        self.children.iter().any(|child| child.start != Start::Wait)
    }
}

/// Our address as the configuration tells it: one that is no private one, if there is.
fn own_address(endpoint: &Endpoint, peer: &Peer, far: &Address, notes: &mut Vec<String>) -> Address {
    let family = |address: &IpAddr| far.ip().is_none_or(|far| far.is_ipv4() == address.is_ipv4());
    let listen = match endpoint.listen.as_slice() {
        [one] if !one.is_unspecified() => Some(*one),
        _ => None,
    };
    let told = [peer.ike.local_address, listen, peer.ike.local_id.as_ip()].into_iter().flatten();
    let told: Vec<IpAddr> = told.filter(family).collect();
    let Some(address) = told.iter().find(|address| !is_private(**address)).or(told.first()) else {
        return Address::Any;
    };
    if is_private(*address) && !far.ip().is_some_and(is_private) {
        notes.push(format!(
            "{address} is a private address: if a NAT stands before the Skybridge endpoint, write this again with \
             --address and the address that the NAT has."
        ));
    }
    Address::Known(*address)
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            v4.is_private() || v4.is_loopback() || v4.is_link_local() || in_shared_space(v4.octets())
        }
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_loopback() || v6.is_unicast_link_local(),
    }
}

/// Addresses that carriers use behind their NAT, 100.64.0.0/10.
fn in_shared_space(octets: [u8; 4]) -> bool {
    octets[0] == 100 && octets[1] & 0xc0 == 64
}

fn turn_round(child: &ChildConfig, our_address_is_known: bool) -> Child {
    let start = match child.start {
        StartPolicy::Connect => Start::Wait,
        StartPolicy::Wait => Start::Connect,
        StartPolicy::Trap if our_address_is_known => Start::Trap,
        StartPolicy::Trap => Start::Wait,
    };
    Child {
        name: child.name.as_str().to_owned(),
        local: child.remote.clone(),
        remote: child.local.clone(),
        routes: child.local.to_prefixes(),
        esp: child.esp.clone(),
        start,
        lifetime: child.lifetime,
    }
}

/// The time from a probe to the end of hope.
fn give_up_after(timing: &crate::ike::config::Timing) -> Duration {
    let mut wait = timing.retransmit_base;
    let mut total = Duration::ZERO;
    for _ in 0..=timing.retransmit_tries {
        total = total.saturating_add(wait.min(timing.retransmit_cap));
        wait = wait.mul_f64(timing.retransmit_factor.clamp(1.0, 4.0)).min(timing.retransmit_cap);
    }
    total
}

fn connection_name(endpoint: &str) -> String {
    let mut name = String::new();
    for c in endpoint.chars().map(|c| c.to_ascii_lowercase()) {
        match c {
            'a'..='z' | '0'..='9' => name.push(c),
            _ if name.ends_with('-') || name.is_empty() => {}
            _ => name.push('-'),
        }
        if name.len() == 24 {
            break;
        }
    }
    match name.trim_end_matches('-') {
        "" => "skybridge".to_owned(),
        name if name.starts_with(|c: char| c.is_ascii_digit()) => format!("s{name}"),
        name => name.to_owned(),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(address) => address.fmt(f),
            Self::Name(name) => f.write_str(name),
            Self::Any => f.write_str("%any"),
        }
    }
}
