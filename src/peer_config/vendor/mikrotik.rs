//! MikroTik RouterOS 7: commands for its terminal or an `.rsc` script.
//!
//! RouterOS has policies and no tunnel interface: each child is a policy, which is one Child SA.

use std::net::IpAddr;

use super::ends::{Auth, Id, auth, id, is_unknown, key_or_hexadecimal, preset, seconds, usual_ports};
use super::names::{
    CBC128, CBC192, CBC256, GCM128, GCM192, GCM256, Named, Names, PRF_BY_HASH, SHA256, SHA512,
};
use super::networks::{Pair, host, is_any, pairs};
use crate::crypto::Group;
use crate::peer_config::{Address, Child, Document, Draft, RenderError, Start, Target, View};

const TARGET: Target = Target::Mikrotik;

pub(in crate::peer_config) const DOCUMENTATION: &str =
    "the page \"IPsec\" of the RouterOS 7 documentation (profiles, peers, identities, proposals, policies)";

const GROUPS: Named<Group> = &[
    (Group::Ecp256, "ecp256"),
    (Group::Ecp384, "ecp384"),
    (Group::Ecp521, "ecp521"),
    (Group::Modp2048, "modp2048"),
    (Group::Modp3072, "modp3072"),
    (Group::Modp4096, "modp4096"),
];

static NAMES: Names = Names {
    target: TARGET,
    ike_ciphers: &[(CBC256, "aes-256"), (CBC192, "aes-192"), (CBC128, "aes-128")],
    ike_integrity: &[(SHA256, "sha256"), (SHA512, "sha512")],
    prfs: PRF_BY_HASH,
    groups: GROUPS,
    prf_follows: false,
    esp_ciphers: &[
        (GCM256, "aes-256-gcm"),
        (GCM192, "aes-192-gcm"),
        (GCM128, "aes-128-gcm"),
        (CBC256, "aes-256-cbc"),
        (CBC192, "aes-192-cbc"),
        (CBC128, "aes-128-cbc"),
    ],
    esp_integrity: &[(SHA256, "sha256"), (SHA512, "sha512")],
    pfs: GROUPS,
    without_pfs: true,
    such_as: ("aes256-sha256-ecp384", "aes256gcm16-ecp384"),
};

const CERTIFICATE: &str = "THIS-ROUTER";
const OTHER_CERTIFICATE: &str = "SKYBRIDGE";

pub(in crate::peer_config) fn render(view: &View) -> Result<Vec<Document>, RenderError> {
    usual_ports(TARGET, view)?;
    let auth = auth(TARGET, view, true)?;
    let pairs = pairs(TARGET, view)?;
    if let Some((child, _)) = pairs.iter().find(|(_, pair)| pair.is_any()) {
        return Err(RenderError::Unsupported {
            target: TARGET,
            what: format!(
                "leave out of a policy for every address what is not for the tunnel (child `{}`)",
                child.name
            ),
            instead: "name the networks at both ends in local and remote; RouterOS has no tunnel interface"
                .to_owned(),
        });
    }
    let mut draft = Draft::new(TARGET, "#");
    preset(TARGET, view, &mut draft);
    peer(view, &mut draft)?;
    identity(view, auth, &mut draft)?;
    policies(view, &pairs, &mut draft)?;
    firewall(view, &pairs, &mut draft);
    let secret = matches!(auth, Auth::Psk(Some(_)));
    let file = format!("{}.rsc", view.connection);
    Ok(vec![draft.finish(view, &file, "the terminal, or /import of this file", secret)])
}

fn peer(view: &View, draft: &mut Draft) -> Result<(), RenderError> {
    let name = &view.connection;
    let words = NAMES.ike(view)?;
    let hash = words.integrity.unwrap_or("sha256");
    let dpd = match view.dpd {
        Some(delay) => format!("{}s", seconds(delay, 1..=3600)),
        None => "disable-dpd".to_owned(),
    };
    draft.line("/ip ipsec profile");
    draft.line(format!(
        "add name={name} enc-algorithm={} hash-algorithm={hash} prf-algorithm={} dh-group={} lifetime={}s \
         dpd-interval={dpd} nat-traversal=yes",
        words.cipher,
        words.prf,
        words.group,
        seconds(view.ike_lifetime, 60..=864_000)
    ));
    let waits = !view.local_initiates() || is_unknown(&view.remote.address);
    let address = match &view.remote.address {
        Address::Known(address) => host(*address).to_string(),
        Address::Any => "0.0.0.0/0".to_owned(),
        Address::Name(_) => {
            return Err(RenderError::Unsupported {
                target: TARGET,
                what: "be given a host name as a peer's address from here".to_owned(),
                instead: "give --address and our IP address as the other end sees it".to_owned(),
            });
        }
    };
    draft.line("/ip ipsec peer");
    draft.line(format!(
        "add name={name} address={address} exchange-mode=ike2 profile={name} passive={} send-initial-contact=yes",
        if waits { "yes" } else { "no" }
    ));
    Ok(())
}

fn typed(id: &Id) -> String {
    match id {
        Id::Host(name) => format!("fqdn:{name}"),
        Id::Mail(name) => format!("user-fqdn:{name}"),
        Id::Address(address) => format!("address:{address}"),
    }
}

fn identity(view: &View, auth: Auth<'_>, draft: &mut Draft) -> Result<(), RenderError> {
    let name = &view.connection;
    let local = typed(&id(TARGET, "this end's identity", &view.local)?);
    let remote = typed(&id(TARGET, "our identity", &view.remote)?);
    let proof = match auth {
        Auth::Psk(psk) => {
            let key = key_or_hexadecimal(psk, draft);
            format!("auth-method=pre-shared-key secret=\"{key}\"")
        }
        Auth::Certificates => {
            draft.note(format!(
                "Replace {CERTIFICATE} and {OTHER_CERTIFICATE} by the names under /certificate of this router's \
                 certificate and the Skybridge endpoint's."
            ));
            format!(
                "auth-method=digital-signature certificate={CERTIFICATE} remote-certificate={OTHER_CERTIFICATE}"
            )
        }
    };
    draft.line("/ip ipsec identity");
    draft
        .line(format!("add peer={name} {proof} my-id=\"{local}\" remote-id=\"{remote}\" generate-policy=no"));
    Ok(())
}

fn policies(view: &View, pairs: &[(&Child, Pair)], draft: &mut Draft) -> Result<(), RenderError> {
    let name = &view.connection;
    draft.line("/ip ipsec proposal");
    for (child, _) in pairs {
        let words = NAMES.esp(view, child)?;
        let lifetime = match child.lifetime.rekey_time {
            Some(time) => format!(" lifetime={}s", seconds(time, 60..=864_000)),
            None => String::new(),
        };
        draft.line(format!(
            "add name={name}-{} enc-algorithms={} auth-algorithms={} pfs-group={}{lifetime}",
            child.name,
            words.cipher,
            words.integrity.unwrap_or("null"),
            words.pfs.unwrap_or("none"),
        ));
    }
    draft.line("/ip ipsec policy");
    for (child, pair) in pairs {
        draft.line(format!(
            "add peer={name} tunnel=yes src-address={} dst-address={} protocol=all action=encrypt level=unique \
             ipsec-protocols=esp proposal={name}-{}",
            pair.local, pair.remote, child.name
        ));
    }
    draft.note("RouterOS notices a PFS group that does not fit only when it rekeys: leave pfs-group as it is written.");
    if pairs.iter().any(|(_, pair)| is_any(&pair.remote)) {
        draft.note(
            "A policy sends every address into the tunnel, the router's own connections too: put policies with \
             action=none for what is to stay outside before it.",
        );
    }
    if pairs.iter().all(|(child, _)| child.start == Start::Trap) {
        draft.note("The tunnel is raised at once: RouterOS does not wait for the first packet.");
    }
    Ok(())
}

fn firewall(view: &View, pairs: &[(&Child, Pair)], draft: &mut Draft) {
    let name = &view.connection;
    let from = |family_is_ipv4: bool| match view.remote.address.ip() {
        Some(address) if address.is_ipv4() == family_is_ipv4 => format!(" src-address={address}"),
        _ => String::new(),
    };
    let outer_is_ipv4 = view.remote.address.ip().is_none_or(|address: IpAddr| address.is_ipv4());
    draft.line(if outer_is_ipv4 { "/ip firewall filter" } else { "/ipv6 firewall filter" });
    draft.line(format!(
        "add chain=input action=accept protocol=udp dst-port=500,4500{} comment=skybridge-{name}",
        from(outer_is_ipv4)
    ));
    for ipv4 in [true, false] {
        let of_family: Vec<_> = pairs.iter().filter(|(_, pair)| pair.is_ipv4() == ipv4).collect();
        if of_family.is_empty() {
            continue;
        }
        let (menu, mss) = if ipv4 { ("/ip", view.mss) } else { ("/ipv6", view.mss.saturating_sub(20)) };
        draft.line(format!("{menu} firewall mangle"));
        for (_, pair) in &of_family {
            for (source, destination) in [(pair.local, pair.remote), (pair.remote, pair.local)] {
                draft.line(format!(
                    "add chain=forward action=change-mss protocol=tcp tcp-flags=syn src-address={source} \
                     dst-address={destination} tcp-mss={}-65535 new-mss={mss} comment=skybridge-{name}",
                    mss.saturating_add(1)
                ));
            }
        }
        if ipv4 {
            draft.line("/ip firewall nat");
            for (_, pair) in &of_family {
                draft.line(format!(
                    "add chain=srcnat action=accept src-address={} dst-address={} comment=skybridge-{name}",
                    pair.local, pair.remote
                ));
            }
        }
        draft.line(format!("{menu} firewall filter"));
        draft.line(format!("add chain=forward action=accept ipsec-policy=in,ipsec comment=skybridge-{name}"));
        draft
            .line(format!("add chain=forward action=accept ipsec-policy=out,ipsec comment=skybridge-{name}"));
    }
    draft.note(
        "Firewall rules are added at the end: move those of the filter before the rules that drop, and the NAT rule before \
         masquerade.",
    );
}
