//! FortiGate: statements of the FortiOS command line.
//!
//! Route-based: an IPsec interface, one phase 2 for each child, a route and a blackhole for each network, and the two
//! firewall policies without which FortiOS forwards nothing.

use std::net::IpAddr;

use ipnet::IpNet;

use super::ends::{Auth, Id, auth, id, is_unknown, key_or_hexadecimal, preset, seconds, usual_ports};
use super::names::{
    CBC128, CBC192, CBC256, EspWords, GCM128, GCM256, IkeWords, Names, PRF_BY_HASH, SHA256, SHA384, SHA512,
};
use super::networks::{Pair, is_any, pairs, with_mask};
use crate::crypto::{Cipher, Group};
use crate::peer_config::{Address, Child, Document, Draft, RenderError, Start, Target, View, plain};

const TARGET: Target = Target::Fortigate;

pub(in crate::peer_config) const DOCUMENTATION: &str = "the \"FortiOS 7.4 CLI Reference\" (vpn ipsec phase1-interface and phase2-interface, router static, firewall policy)";

const GROUPS: super::names::Named<Group> = &[
    (Group::Curve25519, "31"),
    (Group::Ecp256, "19"),
    (Group::Ecp384, "20"),
    (Group::Ecp521, "21"),
    (Group::Modp2048, "14"),
    (Group::Modp3072, "15"),
    (Group::Modp4096, "16"),
];

static NAMES: Names = Names {
    target: TARGET,
    ike_ciphers: &[
        (GCM256, "aes256gcm"),
        (GCM128, "aes128gcm"),
        (Cipher::ChaCha20Poly1305, "chacha20poly1305"),
        (CBC256, "aes256"),
        (CBC192, "aes192"),
        (CBC128, "aes128"),
    ],
    ike_integrity: &[(SHA256, "sha256"), (SHA384, "sha384"), (SHA512, "sha512")],
    prfs: PRF_BY_HASH,
    groups: GROUPS,
    prf_follows: true,
    esp_ciphers: &[
        (GCM256, "aes256gcm"),
        (GCM128, "aes128gcm"),
        (Cipher::ChaCha20Poly1305, "chacha20poly1305"),
        (CBC256, "aes256"),
        (CBC192, "aes192"),
        (CBC128, "aes128"),
    ],
    esp_integrity: &[(SHA256, "sha256"), (SHA384, "sha384"), (SHA512, "sha512")],
    pfs: GROUPS,
    without_pfs: true,
    such_as: ("aes256gcm16-prfsha384-ecp384", "aes256gcm16-ecp384"),
};

/// The longest name of an IPsec interface.
const LONGEST_INTERFACE: usize = 15;
/// The longest name of a phase 2, and of a firewall policy.
const LONGEST_NAME: usize = 35;
const OUTSIDE: &str = "wan1";
const INSIDE: &str = "internal";
const CERTIFICATE: &str = "THIS-FORTIGATE";

pub(in crate::peer_config) fn render(view: &View) -> Result<Vec<Document>, RenderError> {
    usual_ports(TARGET, view)?;
    let auth = auth(TARGET, view, true)?;
    let pairs = pairs(TARGET, view)?;
    let interface = cut(&view.connection, LONGEST_INTERFACE);
    let mut draft = Draft::new(TARGET, "#");
    preset(TARGET, view, &mut draft);
    phase1(view, auth, interface, &mut draft)?;
    phase2(view, interface, &pairs, &mut draft)?;
    routes(interface, &pairs, &mut draft);
    policies(view, interface, &pairs, &mut draft);
    draft.note(format!(
        "Replace {OUTSIDE} by the interface towards the Internet and {INSIDE} by the one towards this end's networks; \
         move the policies to where they are met."
    ));
    let secret = matches!(auth, Auth::Psk(Some(_)));
    let file = format!("{}.fortios", view.connection);
    Ok(vec![draft.finish(view, &file, "the command line (CLI), in the right VDOM", secret)])
}

fn cut(name: &str, longest: usize) -> &str {
    // Names are ASCII: the view's are made so, and those of children are checked so.
    name.get(..longest).unwrap_or(name).trim_end_matches('-')
}

fn set(draft: &mut Draft, depth: usize, key: &str, value: &str) {
    draft.line(format!("{:1$}set {key} {value}", "", 4 * depth));
}

fn phase1_proposal(words: &IkeWords) -> String {
    match words.integrity {
        Some(integrity) => format!("{}-{integrity}", words.cipher),
        None => format!("{}-prf{}", words.cipher, words.prf),
    }
}

fn phase2_proposal(words: &EspWords) -> String {
    match words.integrity {
        Some(integrity) => format!("{}-{integrity}", words.cipher),
        None => words.cipher.to_owned(),
    }
}

fn phase1(view: &View, auth: Auth<'_>, interface: &str, draft: &mut Draft) -> Result<(), RenderError> {
    let words = NAMES.ike(view)?;
    let local = id(TARGET, "this end's identity", &view.local)?;
    let remote = id(TARGET, "our identity", &view.remote)?;
    draft.line("config vpn ipsec phase1-interface");
    draft.line(format!("    edit \"{interface}\""));
    gateway(view, draft)?;
    set(draft, 2, "interface", &format!("\"{OUTSIDE}\""));
    set(draft, 2, "ike-version", "2");
    set(draft, 2, "proposal", &phase1_proposal(&words));
    set(draft, 2, "dhgrp", words.group);
    set(draft, 2, "keylife", &seconds(view.ike_lifetime, 120..=172_800).to_string());
    let kind = match local {
        Id::Host(_) => "fqdn",
        Id::Mail(_) => "user-fqdn",
        Id::Address(_) => "address",
    };
    set(draft, 2, "localid-type", kind);
    set(draft, 2, "localid", &format!("\"{}\"", local.text()));
    set(draft, 2, "net-device", "disable");
    set(draft, 2, "nattraversal", "enable");
    set(draft, 2, "fragmentation", "enable");
    match view.dpd {
        Some(delay) => {
            set(draft, 2, "dpd", "on-idle");
            set(draft, 2, "dpd-retryinterval", &seconds(delay, 1..=3600).to_string());
            set(draft, 2, "dpd-retrycount", "3");
        }
        None => set(draft, 2, "dpd", "disable"),
    }
    match auth {
        Auth::Psk(psk) => {
            set(draft, 2, "authmethod", "psk");
            let key = key_or_hexadecimal(psk, draft);
            set(draft, 2, "psksecret", &format!("\"{key}\""));
            set(draft, 2, "peertype", "one");
            set(draft, 2, "peerid", &format!("\"{}\"", remote.text()));
        }
        Auth::Certificates => {
            set(draft, 2, "authmethod", "signature");
            set(draft, 2, "digital-signature-auth", "enable");
            set(draft, 2, "rsa-signature-format", "pss");
            set(draft, 2, "certificate", &format!("\"{CERTIFICATE}\""));
            set(draft, 2, "peertype", "any");
            draft.note(format!(
                "Replace {CERTIFICATE} by the name of this FortiGate's certificate, import the CA of the Skybridge \
                 endpoint's, and name the peer: config user peer, then set peertype peer and set peer NAME. Until then \
                 every certificate of an imported CA is accepted."
            ));
        }
    }
    draft.line("    next");
    draft.line("end");
    Ok(())
}

fn gateway(view: &View, draft: &mut Draft) -> Result<(), RenderError> {
    match &view.remote.address {
        Address::Known(IpAddr::V4(address)) => {
            set(draft, 2, "type", "static");
            set(draft, 2, "remote-gw", &address.to_string());
        }
        Address::Known(IpAddr::V6(address)) => {
            set(draft, 2, "type", "static");
            set(draft, 2, "ip-version", "6");
            set(draft, 2, "remote-gw6", &address.to_string());
        }
        Address::Name(name) => {
            let name = plain(TARGET, "our host name", name)?;
            set(draft, 2, "type", "ddns");
            set(draft, 2, "remotegw-ddns", &format!("\"{name}\""));
        }
        Address::Any => set(draft, 2, "type", "dynamic"),
    }
    Ok(())
}

fn phase2(
    view: &View,
    interface: &str,
    pairs: &[(&Child, Pair)],
    draft: &mut Draft,
) -> Result<(), RenderError> {
    draft.line("config vpn ipsec phase2-interface");
    for (child, pair) in pairs {
        let words = NAMES.esp(view, child)?;
        let name = format!("{interface}-{}", child.name);
        draft.line(format!("    edit \"{}\"", cut(&name, LONGEST_NAME)));
        set(draft, 2, "phase1name", &format!("\"{interface}\""));
        set(draft, 2, "proposal", &phase2_proposal(&words));
        match words.pfs {
            Some(group) => {
                set(draft, 2, "pfs", "enable");
                set(draft, 2, "dhgrp", group);
            }
            None => set(draft, 2, "pfs", "disable"),
        }
        set(draft, 2, "replay", "enable");
        if let Some(time) = child.lifetime.rekey_time {
            set(draft, 2, "keylife-type", "seconds");
            set(draft, 2, "keylifeseconds", &seconds(time, 120..=172_800).to_string());
        }
        let starts = child.start == Start::Connect && !is_unknown(&view.remote.address);
        set(draft, 2, "auto-negotiate", if starts { "enable" } else { "disable" });
        for (side, network) in [("src", pair.local), ("dst", pair.remote)] {
            match network {
                IpNet::V4(network) => {
                    set(draft, 2, &format!("{side}-addr-type"), "subnet");
                    set(draft, 2, &format!("{side}-subnet"), &with_mask(&network));
                }
                IpNet::V6(network) => {
                    set(draft, 2, &format!("{side}-addr-type"), "subnet6");
                    set(draft, 2, &format!("{side}-subnet6"), &network.to_string());
                }
            }
        }
        draft.line("    next");
    }
    draft.line("end");
    Ok(())
}

fn routes(interface: &str, pairs: &[(&Child, Pair)], draft: &mut Draft) {
    if pairs.iter().any(|(_, pair)| is_any(&pair.remote)) {
        draft.note(
            "A route for every address goes into the tunnel: replace it by routes to the networks behind the Skybridge \
             endpoint, or see that the endpoint itself is still reached.",
        );
    }
    for ipv4 in [true, false] {
        let mut networks: Vec<IpNet> =
            pairs.iter().map(|(_, pair)| pair.remote).filter(|net| net.addr().is_ipv4() == ipv4).collect();
        networks.dedup();
        if networks.is_empty() {
            continue;
        }
        draft.line(if ipv4 { "config router static" } else { "config router static6" });
        for network in networks {
            let written = match network {
                IpNet::V4(network) => with_mask(&network),
                IpNet::V6(network) => network.to_string(),
            };
            draft.line("    edit 0");
            set(draft, 2, "dst", &written);
            set(draft, 2, "device", &format!("\"{interface}\""));
            draft.line("    next");
            if !is_any(&network) {
                // Without the tunnel its traffic must not leave for the Internet.
                draft.line("    edit 0");
                set(draft, 2, "dst", &written);
                set(draft, 2, "blackhole", "enable");
                set(draft, 2, "distance", "254");
                draft.line("    next");
            }
        }
        draft.line("end");
    }
}

fn policies(view: &View, interface: &str, pairs: &[(&Child, Pair)], draft: &mut Draft) {
    let ipv6 = pairs.iter().any(|(_, pair)| !pair.is_ipv4());
    let ipv4 = pairs.iter().any(|(_, pair)| pair.is_ipv4());
    let mss = if ipv6 { view.mss.saturating_sub(20) } else { view.mss };
    draft.line("config firewall policy");
    for (suffix, from, to) in [("out", INSIDE, interface), ("in", interface, INSIDE)] {
        draft.line("    edit 0");
        set(draft, 2, "name", &format!("\"{interface}-{suffix}\""));
        set(draft, 2, "srcintf", &format!("\"{from}\""));
        set(draft, 2, "dstintf", &format!("\"{to}\""));
        set(draft, 2, "action", "accept");
        if ipv4 {
            set(draft, 2, "srcaddr", "\"all\"");
            set(draft, 2, "dstaddr", "\"all\"");
        }
        if ipv6 {
            set(draft, 2, "srcaddr6", "\"all\"");
            set(draft, 2, "dstaddr6", "\"all\"");
        }
        set(draft, 2, "schedule", "\"always\"");
        set(draft, 2, "service", "\"ALL\"");
        set(draft, 2, "tcp-mss-sender", &mss.to_string());
        set(draft, 2, "tcp-mss-receiver", &mss.to_string());
        draft.line("    next");
    }
    draft.line("end");
}
