//! strongSwan: one `swanctl.conf`.
//!
//! [The reference](https://docs.strongswan.org/docs/latest/swanctl/swanctlConf.html). Proposals are written in the same
//! words as ours, which are strongSwan's.

use super::document::PSK_PLACEHOLDER;
use super::{
    Address, Child, Document, Draft, End, Psk, RenderError, Start, Target, View, hexadecimal, quotable,
};
use crate::config::Proof;
use crate::pki::Identity;
use crate::policy::Proposal;
use crate::wire::ike::registry::IdType;

const TARGET: Target = Target::Strongswan;

/// Packets that may arrive late. strongSwan's own default, 32, is too few for a sender with several queues.
const REPLAY_WINDOW: u32 = 1024;

pub(super) fn render(view: &View) -> Result<Vec<Document>, RenderError> {
    let mut draft = Draft::new(TARGET, "#");
    let name = &view.connection;
    draft.line("connections {");
    draft.indented(1, format!("{name} {{"));
    connection(view, &mut draft)?;
    draft.indented(1, "}");
    draft.line("}");
    let secret = secrets(view, &mut draft)?;
    draft.note(format!(
        "Load it with: swanctl --load-all. Packets above {} octets do not fit the tunnel: let TCP know by \
         `charon.plugins.kernel-netlink.mss = {}` in strongswan.conf, or by an nftables rule that clamps the MSS.",
        view.inner_mtu, view.mss
    ));
    let file = format!("{name}.conf");
    let place = format!("/etc/swanctl/conf.d/{file}");
    Ok(vec![draft.finish(view, &file, &place, secret)])
}

fn connection(view: &View, draft: &mut Draft) -> Result<(), RenderError> {
    let mut set = |key: &str, value: &str| draft.indented(2, format!("{key} = {value}"));
    set("version", "2");
    set("remote_addrs", &view.remote.address.to_string());
    if (view.remote.ike_port, view.remote.natt_port) != (500, 4500) {
        // From 4500 every packet has the marker that a port other than 500 expects.
        set("local_port", "4500");
        set("remote_port", &view.remote.natt_port.to_string());
    }
    set("proposals", &proposals(&view.ike));
    set("encap", "yes");
    set("fragmentation", "yes");
    set("rekey_time", &format!("{}s", view.ike_lifetime.as_secs()));
    if let Some(delay) = view.dpd {
        set("dpd_delay", &format!("{}s", delay.as_secs().max(1)));
    }
    if view.local_initiates() {
        set("keyingtries", "0");
    }
    set("unique", "replace");
    if view.local.proof == Proof::Certificate {
        set("send_cert", "always");
    }
    end("local", &view.local, view, draft)?;
    end("remote", &view.remote, view, draft)?;
    draft.indented(2, "children {");
    for child in &view.children {
        draft.indented(3, format!("{} {{", child.name));
        child_sa(child, view, draft);
        draft.indented(3, "}");
    }
    draft.indented(2, "}");
    if (view.local.ike_port, view.local.natt_port) != (500, 4500) {
        draft.note(format!(
            "The Skybridge endpoint looks for this end at the UDP ports {} and {}: set charon.port and \
             charon.port_nat_t in strongswan.conf, unless a NAT translates them.",
            view.local.ike_port, view.local.natt_port
        ));
    }
    Ok(())
}

fn end(section: &str, end: &End, view: &View, draft: &mut Draft) -> Result<(), RenderError> {
    draft.indented(2, format!("{section} {{"));
    draft.indented(3, format!("auth = {}", if end.proof == Proof::Psk { "psk" } else { "pubkey" }));
    if let Some(id) = &end.id {
        if id.kind == IdType::DER_ASN1_DN {
            draft.indented(3, format!("# {}", id.to_string().replace(char::is_control, " ")));
        }
        draft.indented(3, format!("id = \"{}\"", identity(id)?));
    }
    if end.proof == Proof::Certificate {
        if section == "local" {
            let peer = &view.peer;
            draft.indented(3, format!("certs = {peer}.pem"));
            draft.note(format!(
                "Put this end's certificate into /etc/swanctl/x509/{peer}.pem and its key into \
                 /etc/swanctl/private/{peer}.pem."
            ));
        } else {
            draft.indented(3, "cacerts = skybridge-ca.pem");
            draft.note(
                "Put the certificate of the CA that issued the Skybridge endpoint's certificate into \
                 /etc/swanctl/x509ca/skybridge-ca.pem.",
            );
        }
    }
    draft.indented(2, "}");
    Ok(())
}

fn child_sa(child: &Child, view: &View, draft: &mut Draft) {
    let list =
        |set: &crate::policy::SelectorSet| set.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let mut set = |key: &str, value: &str| draft.indented(4, format!("{key} = {value}"));
    set("local_ts", &list(&child.local));
    set("remote_ts", &list(&child.remote));
    set("esp_proposals", &esp_proposals(&child.esp));
    match child.start {
        Start::Wait => set("start_action", "none"),
        Start::Trap => set("start_action", "trap"),
        Start::Connect => {
            set("start_action", "start");
            set("close_action", "start");
        }
    }
    if view.dpd.is_some() {
        set("dpd_action", if child.start == Start::Connect { "restart" } else { "clear" });
    }
    if let Some(time) = child.lifetime.rekey_time {
        set("rekey_time", &format!("{}s", time.as_secs()));
    }
    if let Some(bytes) = child.lifetime.rekey_bytes {
        set("rekey_bytes", &bytes.to_string());
    }
    if let Some(packets) = child.lifetime.rekey_packets {
        set("rekey_packets", &packets.to_string());
    }
    set("replay_window", &REPLAY_WINDOW.to_string());
}

fn secrets(view: &View, draft: &mut Draft) -> Result<bool, RenderError> {
    let psk = match (view.local.proof, view.remote.proof) {
        (Proof::Certificate, Proof::Certificate) => return Ok(false),
        (Proof::Psk, Proof::Psk) if !view.same_psk => {
            return Err(RenderError::Unsupported {
                target: TARGET,
                what: "use one pre-shared key for each direction".to_owned(),
                instead: "write auth = { psk_file = \"…\" } for both ends".to_owned(),
            });
        }
        (Proof::Psk, _) => view.local.psk.as_ref(),
        (_, Proof::Psk) => view.remote.psk.as_ref(),
    };
    draft.line("secrets {");
    draft.indented(1, format!("ike-{} {{", view.connection));
    for (key, end) in [("id-local", &view.local), ("id-remote", &view.remote)] {
        if let Some(id) = &end.id {
            draft.indented(2, format!("{key} = \"{}\"", identity(id)?));
        }
    }
    let written = match psk {
        Some(psk) => written(psk),
        None => {
            draft.note(format!("Replace {PSK_PLACEHOLDER} by the pre-shared key."));
            format!("\"{PSK_PLACEHOLDER}\"")
        }
    };
    draft.indented(2, format!("secret = {written}"));
    draft.indented(1, "}");
    draft.line("}");
    Ok(psk.is_some())
}

/// A key as it is, or in hexadecimal where strongSwan would read it as something else.
fn written(psk: &Psk) -> String {
    let literal = psk.text().filter(|text| !text.starts_with("0x") && !text.starts_with("0s"));
    match literal.and_then(|text| quotable(TARGET, "the key", text).ok()) {
        Some(text) => format!("\"{text}\""),
        None => format!("0x{}", psk.hexadecimal()),
    }
}

fn proposals(list: &[Proposal]) -> String {
    list.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// ESP proposals; with extended sequence numbers only where we insist on them, since strongSwan takes what it prefers and
/// its userspace ESP then has no such thing.
fn esp_proposals(list: &[Proposal]) -> String {
    let word = |proposal: &Proposal| {
        let text = proposal.to_string();
        match proposal.esn().contains(&false) {
            true => text.replace("-noesn", "").replace("-esn", ""),
            false => text,
        }
    };
    list.iter().map(word).collect::<Vec<_>>().join(",")
}

/// An identity with its type said, so that nothing is guessed. Distinguished names and key IDs are written by their
/// octets: spellings of one name are many.
fn identity(id: &Identity) -> Result<String, RenderError> {
    let what = "an identity";
    let bare = |prefix: &str| {
        let text = String::from_utf8_lossy(&id.data);
        quotable(TARGET, what, &text).map(|text| format!("{prefix}{text}"))
    };
    match id.kind {
        IdType::IPV4_ADDR | IdType::IPV6_ADDR => {
            Ok(id.as_ip().map_or_else(|| id.to_string(), |address| Address::Known(address).to_string()))
        }
        IdType::FQDN => bare("fqdn:"),
        IdType::RFC822_ADDR => bare("email:"),
        IdType::DER_ASN1_DN => Ok(format!("asn1dn:#{}", hexadecimal(&id.data))),
        IdType::KEY_ID => Ok(format!("keyid:#{}", hexadecimal(&id.data))),
        _ => Err(RenderError::Unsupported {
            target: TARGET,
            what: format!("have the identity {id}"),
            instead: "use a host name, an address or a distinguished name".to_owned(),
        }),
    }
}
