//! libreswan: one file with the connections, and one with the key where there is one.
//!
//! [The reference](https://libreswan.org/man/ipsec.conf.5.html). `left` is the machine that loads it. libreswan makes one
//! Child SA for each connection; those between the same ends share an IKE SA.

use std::time::Duration;

use super::document::PSK_PLACEHOLDER;
use super::{Address, Child, Document, Draft, Psk, RenderError, Start, Target, View, hexadecimal, quotable};
use crate::config::Proof;
use crate::crypto::{Cipher, Group, Integrity, Prf};
use crate::pki::Identity;
use crate::policy::{PortRange, Proposal, ProposalKind, TrafficSelector};
use crate::wire::ike::registry::IdType;

const TARGET: Target = Target::Libreswan;

/// No key lives longer there, in seconds.
const LONGEST: u64 = 86_400;

/// Packets that may arrive late. Some of ours come from several queues.
const REPLAY_WINDOW: u32 = 1024;

pub(super) fn render(view: &View) -> Result<Vec<Document>, RenderError> {
    let pairs = view.one_pair_each(TARGET)?;
    let mut draft = Draft::new(TARGET, "#");
    let name = &view.connection;
    shared(view, &mut draft)?;
    for (child, local, remote) in pairs {
        draft.line("");
        connection(child, (&local, &remote), view, &mut draft)?;
    }
    let file = format!("{name}.conf");
    draft.note(format!(
        "Load it with: ipsec auto --add NAME for each connection ({}), or restart the service.",
        view.children.iter().map(|child| format!("{name}-{}", child.name)).collect::<Vec<_>>().join(", ")
    ));
    let mut documents = vec![draft.finish(view, &file, &format!("/etc/ipsec.d/{file}"), false)];
    documents.extend(secrets(view)?);
    Ok(documents)
}

/// What all connections have in common; it is not loaded itself.
fn shared(view: &View, draft: &mut Draft) -> Result<(), RenderError> {
    draft.line(format!("conn {}", view.connection));
    draft.indented(2, "ikev2=insist");
    draft.indented(2, "left=%defaultroute");
    draft.indented(2, format!("right={}", view.remote.address));
    for (side, end) in [("left", &view.local), ("right", &view.remote)] {
        let id = end.id.as_ref().map_or(Ok("%fromcert".to_owned()), identity)?;
        draft.indented(2, format!("{side}id={id}"));
        if end.natt_port != 4500 || end.ike_port != 500 {
            draft.indented(2, format!("{side}ikeport={}", end.natt_port));
        }
    }
    match (view.local.proof, view.remote.proof) {
        (Proof::Psk, Proof::Psk) if view.same_psk => draft.indented(2, "authby=secret"),
        (Proof::Certificate, Proof::Certificate) => certificates(view, draft),
        _ => {
            return Err(RenderError::Unsupported {
                target: TARGET,
                what: "prove itself by other means than we do".to_owned(),
                instead: "write one `auth` for both ends".to_owned(),
            });
        }
    }
    draft.indented(2, format!("ike={}", ike(view)?));
    draft.indented(2, "encapsulation=yes");
    draft.indented(2, "fragmentation=yes");
    draft.indented(2, "mobike=no");
    let ike_life = life(view.ike_lifetime);
    let children = view.children.iter().filter_map(|child| child.lifetime.rekey_time).map(life);
    let shortest = children.chain([ike_life]).min().unwrap_or(LONGEST);
    draft.indented(2, format!("ikelifetime={ike_life}s"));
    // As much again is added at random.
    draft.indented(2, format!("rekeymargin={}s", (shortest / 10).clamp(1, 540)));
    draft.indented(2, "rekeyfuzz=100%");
    draft.indented(2, "keyingtries=%forever");
    if let Some(delay) = view.dpd {
        draft.indented(2, format!("dpddelay={}s", delay.as_secs().max(1)));
        draft.indented(2, format!("dpdtimeout={}s", (delay + view.dpd_timeout).as_secs().max(2)));
    }
    Ok(())
}

fn certificates(view: &View, draft: &mut Draft) {
    draft.indented(2, "authby=ecdsa,rsa-sha2");
    draft.indented(2, format!("leftcert={}", view.peer));
    draft.indented(2, "leftsendcert=always");
    draft.indented(2, "leftrsasigkey=%cert");
    draft.indented(2, "rightrsasigkey=%cert");
    draft.indented(2, "rightca=%same");
    draft.note(format!(
        "Import this end's certificate and key under the nickname {}, with the CA that issued both certificates: \
         ipsec import {0}.p12. libreswan 4 has no Ed25519.",
        view.peer
    ));
}

fn connection(
    child: &Child,
    (local, remote): (&TrafficSelector, &TrafficSelector),
    view: &View,
    draft: &mut Draft,
) -> Result<(), RenderError> {
    draft.line(format!("conn {}-{}", view.connection, child.name));
    draft.indented(2, format!("also={}", view.connection));
    for (side, selector) in [("left", local), ("right", remote)] {
        let prefixes = selector.to_prefixes();
        let [prefix] = prefixes.as_slice() else {
            return Err(RenderError::Unsupported {
                target: TARGET,
                what: format!("have the range {selector}, which is no prefix"),
                instead: "write prefixes".to_owned(),
            });
        };
        draft.indented(2, format!("{side}subnet={prefix}"));
    }
    if local.protocol() != 0 || remote.protocol() != 0 {
        draft.indented(2, format!("leftprotoport={}", protocol(local)?));
        draft.indented(2, format!("rightprotoport={}", protocol(remote)?));
    }
    let (esp, pfs) = esp(view, child)?;
    draft.indented(2, format!("esp={esp}"));
    draft.indented(2, format!("pfs={}", if pfs { "yes" } else { "no" }));
    let offers = |esn: bool| child.esp.iter().any(|proposal| proposal.esn().contains(&esn));
    let esn = match (offers(true), offers(false)) {
        (true, true) => "either",
        (true, false) => "yes",
        _ => "no",
    };
    draft.indented(2, format!("esn={esn}"));
    if let Some(time) = child.lifetime.rekey_time {
        draft.indented(2, format!("salifetime={}s", life(time)));
    }
    draft.indented(2, format!("replay-window={REPLAY_WINDOW}"));
    draft.indented(2, format!("mtu={}", view.inner_mtu));
    let (auto, action) = match child.start {
        Start::Wait => ("add", "clear"),
        Start::Connect => ("start", "restart"),
        Start::Trap => ("ondemand", "hold"),
    };
    if view.dpd.is_some() {
        draft.indented(2, format!("dpdaction={action}"));
    }
    draft.indented(2, format!("auto={auto}"));
    Ok(())
}

fn life(wanted: Duration) -> u64 {
    wanted.as_secs().min(LONGEST)
}

fn secrets(view: &View) -> Result<Option<Document>, RenderError> {
    if view.local.proof != Proof::Psk {
        return Ok(None);
    }
    let mut draft = Draft::new(TARGET, "#");
    let mut owners = Vec::new();
    for end in [&view.local, &view.remote] {
        owners.push(end.id.as_ref().map_or(Ok("%any".to_owned()), identity)?);
    }
    let key = match &view.remote.psk {
        Some(psk) => written(psk),
        None => {
            draft.note(format!("Replace {PSK_PLACEHOLDER} by the pre-shared key."));
            format!("\"{PSK_PLACEHOLDER}\"")
        }
    };
    draft.line(format!("{} : PSK {key}", owners.join(" ")));
    draft.note("Only root may read this file: chmod 0600. Load it with: ipsec auto --rereadsecrets");
    let file = format!("{}.secrets", view.connection);
    let place = format!("/etc/ipsec.d/{file}");
    Ok(Some(draft.finish(view, &file, &place, view.remote.psk.is_some())))
}

fn written(psk: &Psk) -> String {
    match psk.text().and_then(|text| quotable(TARGET, "the key", text).ok()) {
        Some(text) => format!("\"{text}\""),
        None => format!("0x{}", psk.hexadecimal()),
    }
}

/// IKE proposals. A cipher that needs an integrity algorithm goes only with the PRF of the same hash.
fn ike(view: &View) -> Result<String, RenderError> {
    let mut written = Vec::new();
    for proposal in &view.ike {
        let hashes: Vec<Vec<&str>> = match proposal.integrity() {
            [] => vec![proposal.prfs().iter().map(|prf| hash_of(*prf)).collect()],
            integrity => integrity
                .iter()
                .map(|integrity| integrity.default_prf())
                .filter(|prf| proposal.prfs().contains(prf))
                .map(|prf| vec![hash_of(prf)])
                .collect(),
        };
        for hash in hashes {
            written.push(format!("{}-{};{}", ciphers(proposal), hash.join("+"), groups(proposal)));
        }
    }
    if written.is_empty() {
        return Err(RenderError::NoSuite {
            target: TARGET,
            kind: ProposalKind::Ike,
            at: view.peer.clone(),
            such_as: "aes256gcm16-prfsha384-x25519",
        });
    }
    Ok(written.join(","))
}

/// ESP proposals, and whether any of them has a fresh key exchange. Where one has, all must say whether they do.
fn esp(view: &View, child: &Child) -> Result<(String, bool), RenderError> {
    let pfs = child.esp.iter().any(|proposal| !proposal.groups().is_empty());
    let mut written = Vec::new();
    for proposal in &child.esp {
        let integrity: Vec<&str> = proposal.integrity().iter().map(|integrity| hmac(*integrity)).collect();
        let mut text = ciphers(proposal);
        text += "-";
        text += &if integrity.is_empty() { "none".to_owned() } else { integrity.join("+") };
        match (pfs, proposal.groups().is_empty()) {
            (false, _) => {}
            (true, true) => text += "-none",
            (true, false) => text += &format!("-{}", groups(proposal)),
        }
        written.push(text);
    }
    if written.is_empty() {
        return Err(RenderError::NoSuite {
            target: TARGET,
            kind: ProposalKind::Esp,
            at: format!("{}/{}", view.peer, child.name),
            such_as: "aes256gcm16-x25519",
        });
    }
    Ok((written.join(","), pfs))
}

fn ciphers(proposal: &Proposal) -> String {
    let word = |cipher: &Cipher| match cipher {
        Cipher::AesGcm { key_bits, icv_len: 8 } => format!("aes_gcm_a{key_bits}"),
        Cipher::AesGcm { key_bits, icv_len: 12 } => format!("aes_gcm_b{key_bits}"),
        Cipher::AesGcm { key_bits, .. } => format!("aes_gcm{key_bits}"),
        Cipher::ChaCha20Poly1305 => "chacha20_poly1305".to_owned(),
        Cipher::AesCbc { key_bits } => format!("aes{key_bits}"),
    };
    proposal.ciphers().iter().map(word).collect::<Vec<_>>().join("+")
}

fn groups(proposal: &Proposal) -> String {
    let word = |group: &Group| format!("dh{}", group.id().0);
    proposal.groups().iter().map(word).collect::<Vec<_>>().join("+")
}

fn hash_of(prf: Prf) -> &'static str {
    match prf {
        Prf::HmacSha256 => "sha2_256",
        Prf::HmacSha384 => "sha2_384",
        Prf::HmacSha512 => "sha2_512",
    }
}

fn hmac(integrity: Integrity) -> &'static str {
    hash_of(integrity.default_prf())
}

/// `protocol/port`; of ICMP the port is type × 256 + code.
fn protocol(selector: &TrafficSelector) -> Result<String, RenderError> {
    let (number, PortRange { start, end }) = (selector.protocol(), selector.ports());
    match selector.ports() {
        _ if number == 0 => Ok("%any".to_owned()),
        ports if ports.is_any() => Ok(format!("{number}/%any")),
        _ if start == end => Ok(format!("{number}/{start}")),
        _ => Err(RenderError::Unsupported {
            target: TARGET,
            what: format!("have the ports of {selector}"),
            instead: "write one port, or none".to_owned(),
        }),
    }
}

/// An identity as `leftid` has it and as it stands in front of a secret.
fn identity(id: &Identity) -> Result<String, RenderError> {
    let text = String::from_utf8_lossy(&id.data);
    match id.kind {
        IdType::IPV4_ADDR | IdType::IPV6_ADDR => {
            Ok(id.as_ip().map_or_else(|| id.to_string(), |address| Address::Known(address).to_string()))
        }
        IdType::FQDN => Ok(format!("@{}", super::plain(TARGET, "an identity", &text)?)),
        IdType::RFC822_ADDR => Ok(super::plain(TARGET, "an identity", &text)?.to_owned()),
        IdType::DER_ASN1_DN => Ok(format!("\"{}\"", quotable(TARGET, "an identity", &id.to_string())?)),
        IdType::KEY_ID => Ok(format!("@#0x{}", hexadecimal(&id.data))),
        _ => Err(RenderError::Unsupported {
            target: TARGET,
            what: format!("have the identity {id}"),
            instead: "use a host name, an address or a distinguished name".to_owned(),
        }),
    }
}
