//! OPNsense 23.1 and later: a shell script that fills "VPN: IPsec: Connections" through its REST API.
//!
//! Every object is set under an identifier made of the peer's name, so that the script may be run again. The bodies are
//! the fields of the web interface by the names that the published model gives them.

use serde_json::{Map, Value, json};

use super::ends::{Auth, KeyRule, auth, id, key, usual_ports};
use super::names::{
    CBC128, CBC192, CBC256, EspWords, GCM128, GCM192, GCM256, IkeWords, Named, Names, PRF_BY_HASH, SHA256,
    SHA384, SHA512,
};
use super::networks::{EVERY_ADDRESS, comma, is_any, only_child, prefixes};
use super::shell::{json, must_set};
use crate::crypto::hash::sha256;
use crate::crypto::{Cipher, Group};
use crate::peer_config::{Address, Child, Document, Draft, RenderError, Start, Target, View, plain};

const TARGET: Target = Target::Opnsense;

pub(in crate::peer_config) const DOCUMENTATION: &str = "the OPNsense documentation (VPN, IPsec; development, API, ipsec) and the published model of its IPsec connections";

const CIPHERS: Named<Cipher> = &[
    (GCM256, "aes256gcm16"),
    (GCM192, "aes192gcm16"),
    (GCM128, "aes128gcm16"),
    (CBC256, "aes256"),
    (CBC192, "aes192"),
    (CBC128, "aes128"),
];

const GROUPS: Named<Group> = &[
    (Group::Curve25519, "x25519"),
    (Group::Ecp256, "ecp256"),
    (Group::Ecp384, "ecp384"),
    (Group::Ecp521, "ecp521"),
    (Group::Modp2048, "modp2048"),
    (Group::Modp3072, "modp3072"),
    (Group::Modp4096, "modp4096"),
];

/// Proposals are picked from a list, in which nearly none is without a group.
static NAMES: Names = Names {
    target: TARGET,
    ike_ciphers: CIPHERS,
    ike_integrity: &[(SHA256, "sha256"), (SHA384, "sha384"), (SHA512, "sha512")],
    prfs: PRF_BY_HASH,
    groups: GROUPS,
    prf_follows: true,
    esp_ciphers: CIPHERS,
    esp_integrity: &[(SHA256, "sha256"), (SHA384, "sha384"), (SHA512, "sha512")],
    pfs: GROUPS,
    without_pfs: false,
    such_as: ("aes256gcm16-prfsha384-ecp384", "aes256gcm16-ecp384"),
};

const KEY: KeyRule = KeyRule {
    letters: |c| matches!(c, ' '..='~'),
    length: 1..=512,
    leading_zero: false,
    says: "printable ASCII that does not begin with 0",
};

pub(in crate::peer_config) fn render(view: &View) -> Result<Vec<Document>, RenderError> {
    usual_ports(TARGET, view)?;
    let Auth::Psk(psk) = auth(TARGET, view, false)? else { return Ok(Vec::new()) };
    let any =
        view.children.iter().any(|child| child.local.has_every_address() && child.remote.has_every_address());
    if any {
        only_child(TARGET, view, EVERY_ADDRESS)?;
    }
    let mut draft = Draft::new(TARGET, "#");
    draft.line("set -eu");
    must_set(&mut draft, "OPNSENSE", "the address of the web interface, such as https://192.168.10.1");
    draft.line("put() {");
    draft.line("    answer=$(printf '%s' \"$body\" |");
    draft.line("        curl --fail-with-body --silent --show-error --netrc --data @- \\");
    draft.line("            --header 'Content-Type: application/json' \"$OPNSENSE/api/ipsec/$1\")");
    draft.line("    echo \"$1: $answer\"");
    // What does not pass its checks is told in an answer that is no HTTP error.
    draft.line("    case $answer in *'\"failed\"'*) exit 1 ;; esac");
    draft.line("}");
    let (local, remote) = (
        id(TARGET, "this end's identity", &view.local)?.text(),
        id(TARGET, "our identity", &view.remote)?.text(),
    );
    for (whose, id) in [("this end's identity", &local), ("our identity", &remote)] {
        if id.contains(['/', '+']) {
            return Err(RenderError::Unwritable { target: TARGET, what: whose, text: id.clone() });
        }
    }
    let key = key(TARGET, psk, &KEY, &mut draft)?;
    let pre_shared = json!({ "ident": local, "remote_ident": remote, "keyType": "PSK", "Key": key });
    put(&mut draft, view, "pre_shared_keys/setItem", "preSharedKey", "key", pre_shared);
    let connection = identifier(view, "connection");
    put(&mut draft, view, "connections/setConnection", "connection", "connection", connection_fields(view)?);
    for (side, end) in [("local", &local), ("remote", &remote)] {
        let fields =
            json!({ "enabled": "1", "connection": connection, "round": "0", "auth": "psk", "id": end });
        let command = if side == "local" { "connections/setLocal" } else { "connections/setRemote" };
        put(&mut draft, view, command, side, side, fields);
    }
    for (index, child) in view.children.iter().enumerate() {
        let fields = child_fields(view, child, &connection, any)?;
        put(&mut draft, view, "connections/setChild", "child", &format!("child {index}"), fields);
    }
    draft.line("body='{}'");
    draft.line("put service/reconfigure");
    notes(view, any, &mut draft);
    let secret = psk.is_some();
    let file = format!("{}-opnsense.sh", view.connection);
    Ok(vec![draft.finish(view, &file, "a shell on a machine that reaches the web interface", secret)])
}

fn put(draft: &mut Draft, view: &View, command: &str, model: &str, role: &str, fields: Value) {
    let mut body = Map::new();
    body.insert(model.to_owned(), fields);
    json(draft, "body", &Value::Object(body));
    draft.line(format!("put {command}/{}", identifier(view, role)));
}

/// An identifier that is the same each time: a UUID of version 8 made of the peer's names and the object's role.
fn identifier(view: &View, role: &str) -> String {
    let names = [view.endpoint.as_bytes(), b"/", view.peer.as_bytes(), b"/", role.as_bytes()];
    let digest = sha256(&names);
    let hexadecimal: String = digest.iter().take(16).map(|octet| format!("{octet:02x}")).collect();
    let part = |from: usize, to: usize| hexadecimal.get(from..to).unwrap_or_default();
    format!("{}-{}-8{}-a{}-{}", part(0, 8), part(8, 12), part(13, 16), part(17, 20), part(20, 32))
}

fn ike_proposal(words: &IkeWords) -> String {
    format!("{}-{}-{}", words.cipher, words.integrity.unwrap_or(words.prf), words.group)
}

fn esp_proposal(words: &EspWords) -> String {
    [Some(words.cipher), words.integrity, words.pfs].into_iter().flatten().collect::<Vec<_>>().join("-")
}

fn connection_fields(view: &View) -> Result<Value, RenderError> {
    let address = match &view.remote.address {
        Address::Known(address) => address.to_string(),
        Address::Name(name) => plain(TARGET, "our host name", name)?.to_owned(),
        Address::Any => String::new(),
    };
    let dpd = view.dpd.map(|delay| delay.as_secs().max(1).to_string());
    let tries = if view.local_initiates() { "0" } else { "" };
    Ok(json!({
        "enabled": "1",
        "proposals": ike_proposal(&NAMES.ike(view)?),
        "unique": "replace",
        "version": "2",
        "mobike": "0",
        "local_addrs": "",
        "remote_addrs": address,
        "encap": "1",
        "rekey_time": view.ike_lifetime.as_secs().min(500_000).to_string(),
        "dpd_delay": dpd.unwrap_or_default(),
        "keyingtries": tries,
        "description": view.connection,
    }))
}

fn child_fields(view: &View, child: &Child, connection: &str, any: bool) -> Result<Value, RenderError> {
    let again = child.start == Start::Connect;
    let start = match child.start {
        Start::Wait => "none",
        Start::Connect => "start",
        Start::Trap => "trap",
    };
    let rekey = child.lifetime.rekey_time.map_or(0, |time| time.as_secs().min(500_000));
    let mut fields = json!({
        "enabled": "1",
        "connection": connection,
        "esp_proposals": esp_proposal(&NAMES.esp(view, child)?),
        "start_action": start,
        "close_action": if again { "start" } else { "none" },
        "dpd_action": if again { "start" } else { "clear" },
        "mode": "tunnel",
        "policies": if any { "0" } else { "1" },
        "local_ts": comma(&prefixes(TARGET, &child.name, &child.local)?),
        "remote_ts": comma(&prefixes(TARGET, &child.name, &child.remote)?),
        "rekey_time": rekey.to_string(),
        "description": child.name,
    });
    if any && let Some(fields) = fields.as_object_mut() {
        fields.insert("reqid".to_owned(), Value::from("100"));
    }
    Ok(fields)
}

fn notes(view: &View, any: bool, draft: &mut Draft) {
    draft.note(
        "Put an API key into ~/.netrc (machine HOST login KEY password SECRET; mode 0600). Then enable IPsec under \"VPN: \
         IPsec: Connections\", and allow UDP 500 and 4500 on WAN and the tunnel's traffic on the interface IPsec.",
    );
    if any || view.children.iter().any(prefixes_are_any) {
        draft.note(
            "Selectors for every address need a route-based tunnel: add a device under \"VPN: IPsec: Virtual Tunnel \
             Interfaces\" with reqid 100, a gateway on it, and routes to the networks behind the Skybridge endpoint.",
        );
    }
    draft.note(format!(
        "Packets above {} octets do not fit the tunnel: set Max MSS {} for the interface IPsec under \"Firewall: Settings: \
         Normalization\".",
        view.inner_mtu, view.mss
    ));
}

fn prefixes_are_any(child: &Child) -> bool {
    child.remote.to_prefixes().iter().any(is_any)
}
