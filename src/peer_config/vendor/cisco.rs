//! Cisco IOS XE: statements for its configuration mode.
//!
//! A static virtual tunnel interface. With selectors for every address it has one Child SA; with others an access list
//! says them (multi-SA VTI, IOS XE 16.12), and each line of it is a Child SA.

use std::net::IpAddr;

use ipnet::IpNet;

use super::ends::{Auth, Id, KeyRule, auth, id, is_plain, key, our_address, preset, seconds, usual_ports};
use super::names::{
    CBC128, CBC192, CBC256, GCM128, GCM192, GCM256, GROUPS_BY_NUMBER, Names, PRF_BY_HASH, SHA256, SHA384,
    SHA512,
};
use super::networks::{Pair, pairs, with_mask, with_wildcard};
use crate::crypto::Group;
use crate::peer_config::{Child, Document, Draft, RenderError, Target, View};

const TARGET: Target = Target::Cisco;

pub(in crate::peer_config) const DOCUMENTATION: &str = "the \"Security and VPN Configuration Guide, Cisco IOS XE 17.x\" (IKEv2 and FlexVPN, IPsec virtual tunnel \
     interfaces) and \"Configure Multi-SA Virtual Tunnel Interface on a Cisco IOS XE Router\"";

static NAMES: Names = Names {
    target: TARGET,
    ike_ciphers: &[
        (GCM256, "aes-gcm-256"),
        (GCM128, "aes-gcm-128"),
        (CBC256, "aes-cbc-256"),
        (CBC192, "aes-cbc-192"),
        (CBC128, "aes-cbc-128"),
    ],
    ike_integrity: &[(SHA256, "sha256"), (SHA384, "sha384"), (SHA512, "sha512")],
    prfs: PRF_BY_HASH,
    groups: GROUPS_BY_NUMBER,
    prf_follows: false,
    esp_ciphers: &[
        (GCM256, "esp-gcm 256"),
        (GCM192, "esp-gcm 192"),
        (GCM128, "esp-gcm 128"),
        (CBC256, "esp-aes 256"),
        (CBC192, "esp-aes 192"),
        (CBC128, "esp-aes"),
    ],
    esp_integrity: &[(SHA256, "esp-sha256-hmac"), (SHA384, "esp-sha384-hmac"), (SHA512, "esp-sha512-hmac")],
    pfs: &[
        (Group::Ecp256, "group19"),
        (Group::Ecp384, "group20"),
        (Group::Ecp521, "group21"),
        (Group::Modp2048, "group14"),
        (Group::Modp3072, "group15"),
        (Group::Modp4096, "group16"),
    ],
    without_pfs: true,
    such_as: ("aes256gcm16-prfsha384-ecp384", "aes256gcm16-ecp384"),
};

/// `?` asks for help and blanks end a key, so neither can be typed.
const KEY: KeyRule =
    KeyRule { letters: is_plain, length: 1..=128, leading_zero: true, says: "letters, digits and ._-:@/+=" };

/// What stands for the interface towards the Internet.
const OUTSIDE: &str = "GigabitEthernet1";
/// What stands for the certificate's trust point.
const TRUST_POINT: &str = "SKYBRIDGE";

pub(in crate::peer_config) fn render(view: &View) -> Result<Vec<Document>, RenderError> {
    usual_ports(TARGET, view)?;
    let auth = auth(TARGET, view, true)?;
    let address = our_address(TARGET, view)?;
    let (local, remote) =
        (id(TARGET, "this end's identity", &view.local)?, id(TARGET, "our identity", &view.remote)?);
    let pairs = pairs(TARGET, view)?;
    let ipv4 = one_family(&pairs)?;
    let mut draft = Draft::new(TARGET, "!");
    preset(TARGET, view, &mut draft);
    ike(view, address, auth, (&local, &remote), &mut draft)?;
    ipsec(view, &mut draft)?;
    tunnel(view, address, ipv4, &pairs, &mut draft);
    let secret = matches!(auth, Auth::Psk(Some(_)));
    let name = &view.connection;
    Ok(vec![draft.finish(view, &format!("{name}.ios"), "configuration mode (configure terminal)", secret)])
}

fn one_family(pairs: &[(&Child, Pair)]) -> Result<bool, RenderError> {
    let ipv4 = pairs.first().is_some_and(|(_, pair)| pair.is_ipv4());
    let mixed = pairs.iter().any(|(_, pair)| pair.is_ipv4() != ipv4);
    let any = pairs.iter().filter(|(_, pair)| pair.is_any()).count();
    if mixed || (any > 0 && pairs.len() > 1) {
        return Err(RenderError::Unsupported {
            target: TARGET,
            what: "have IPv4 and IPv6, or every address and others, on one tunnel interface".to_owned(),
            instead:
                "write the children of this peer for one address family, and either one for every address or \
                      some for certain networks"
                    .to_owned(),
        });
    }
    Ok(ipv4)
}

fn ike(
    view: &View,
    address: IpAddr,
    auth: Auth<'_>,
    (local, remote): (&Id, &Id),
    draft: &mut Draft,
) -> Result<(), RenderError> {
    let name = &view.connection;
    let words = NAMES.ike(view)?;
    draft.line(format!("crypto ikev2 proposal {name}"));
    draft.line(format!(" encryption {}", words.cipher));
    if let Some(integrity) = words.integrity {
        draft.line(format!(" integrity {integrity}"));
    }
    draft.line(format!(" prf {}", words.prf));
    draft.line(format!(" group {}", words.group));
    draft.line("!");
    draft.line(format!("crypto ikev2 policy {name}"));
    draft.line(format!(" proposal {name}"));
    draft.line("!");
    let method = match auth {
        Auth::Psk(psk) => {
            let key = key(TARGET, psk, &KEY, draft)?;
            draft.line(format!("crypto ikev2 keyring {name}"));
            draft.line(format!(" peer {name}"));
            draft.line(format!("  address {}", with_length(address)));
            draft.line(format!("  pre-shared-key {key}"));
            draft.line("!");
            "pre-share"
        }
        Auth::Certificates => {
            draft.note(format!(
                "Replace {TRUST_POINT} by the trust point that holds this router's certificate and the CA of the \
                 Skybridge endpoint's."
            ));
            "rsa-sig"
        }
    };
    draft.line(format!("crypto ikev2 profile {name}"));
    draft.line(format!(" match identity remote {}", matched(remote)));
    draft.line(format!(" identity local {}", own(local)));
    draft.line(format!(" authentication remote {method}"));
    draft.line(format!(" authentication local {method}"));
    match auth {
        Auth::Psk(_) => draft.line(format!(" keyring local {name}")),
        Auth::Certificates => draft.line(format!(" pki trustpoint {TRUST_POINT}")),
    }
    draft.line(format!(" lifetime {}", seconds(view.ike_lifetime, 120..=86_400)));
    if let Some(delay) = view.dpd {
        draft.line(format!(" dpd {} 5 periodic", seconds(delay, 10..=3600)));
    }
    draft.line("!");
    draft.line("crypto ikev2 fragmentation mtu 1280");
    draft.line("!");
    draft.note(
        "The proposal is written out because a policy without one of its own falls back to IOS's defaults.",
    );
    Ok(())
}

/// An address as the keyring and the profile match it.
fn with_length(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => format!("{v4} 255.255.255.255"),
        IpAddr::V6(v6) => format!("{v6}/128"),
    }
}

fn matched(id: &Id) -> String {
    match id {
        Id::Host(name) => format!("fqdn {name}"),
        Id::Mail(name) => format!("email {name}"),
        Id::Address(address) => format!("address {}", with_length(*address)),
    }
}

fn own(id: &Id) -> String {
    match id {
        Id::Host(name) => format!("fqdn {name}"),
        Id::Mail(name) => format!("email {name}"),
        Id::Address(address) => format!("address {address}"),
    }
}

fn ipsec(view: &View, draft: &mut Draft) -> Result<(), RenderError> {
    let name = &view.connection;
    let words = NAMES.esp_of_all(view)?;
    let transform = match words.integrity {
        Some(integrity) => format!("{} {integrity}", words.cipher),
        None => words.cipher.to_owned(),
    };
    draft.line(format!("crypto ipsec transform-set {name} {transform}"));
    draft.line(" mode tunnel");
    draft.line("!");
    draft.line(format!("crypto ipsec profile {name}"));
    let times = view.children.iter().filter_map(|child| child.lifetime.rekey_time).min();
    if let Some(time) = times {
        draft.line(format!(" set security-association lifetime seconds {}", seconds(time, 120..=2_592_000)));
    }
    draft.line(" set security-association lifetime kilobytes disable");
    draft.line(" set security-association replay window-size 1024");
    draft.line(format!(" set transform-set {name}"));
    if let Some(group) = words.pfs {
        draft.line(format!(" set pfs {group}"));
    }
    draft.line(format!(" set ikev2-profile {name}"));
    draft.line("!");
    Ok(())
}

fn tunnel(view: &View, address: IpAddr, ipv4: bool, pairs: &[(&Child, Pair)], draft: &mut Draft) {
    let name = &view.connection;
    let by_list = !pairs.iter().any(|(_, pair)| pair.is_any());
    let (list, family) = match ipv4 {
        true => (format!("ip access-list extended {name}"), "ipv4"),
        false => (format!("ipv6 access-list {name}"), "ipv6"),
    };
    if by_list {
        draft.line(list);
        for (child, pair) in pairs {
            draft.line(format!(" remark {}", child.name));
            draft.line(format!(" {}", permitted(pair)));
        }
        draft.line("!");
    }
    draft.line("interface Tunnel100");
    draft.line(format!(" description Skybridge {name}"));
    if ipv4 {
        draft.line(format!(" ip unnumbered {OUTSIDE}"));
        draft.line(format!(" ip mtu {}", view.inner_mtu));
        draft.line(format!(" ip tcp adjust-mss {}", view.mss));
    } else {
        draft.line(" ipv6 enable");
        draft.line(format!(" ipv6 mtu {}", view.inner_mtu.max(1280)));
        draft.line(format!(" ipv6 tcp adjust-mss {}", view.mss.saturating_sub(20)));
    }
    draft.line(format!(" tunnel source {OUTSIDE}"));
    draft.line(format!(
        " tunnel mode ipsec {}",
        match (address.is_ipv4(), ipv4) {
            (true, true) => "ipv4",
            (true, false) => "ipv4 v6-overlay",
            (false, false) => "ipv6",
            (false, true) => "ipv6 v4-overlay",
        }
    ));
    draft.line(format!(" tunnel destination {address}"));
    if by_list {
        draft.line(format!(" tunnel protection ipsec policy {family} {name}"));
    }
    draft.line(format!(" tunnel protection ipsec profile {name}"));
    draft.line("!");
    for (_, pair) in pairs {
        match pair.remote {
            IpNet::V4(remote) => draft.line(format!("ip route {} Tunnel100", with_mask(&remote))),
            IpNet::V6(remote) => draft.line(format!("ipv6 route {remote} Tunnel100")),
        }
    }
    draft.note(format!(
        "Replace {OUTSIDE} by the interface towards the Internet, and 100 in Tunnel100 where that is taken. Let UDP 500 \
         and 4500 in from {address}."
    ));
    if !by_list {
        draft.note(
            "The route sends everything into the tunnel: replace it by routes to the networks behind the Skybridge \
             endpoint.",
        );
    }
}

fn permitted(pair: &Pair) -> String {
    match (pair.local, pair.remote) {
        (IpNet::V4(local), IpNet::V4(remote)) => {
            format!("permit ip {} {}", with_wildcard(&local), with_wildcard(&remote))
        }
        (local, remote) => format!("permit ipv6 {local} {remote}"),
    }
}
