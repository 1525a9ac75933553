//! AWS Site-to-Site VPN: commands of its command line.
//!
//! A connection has two tunnels with the same options. AWS has one Child SA in a tunnel, so that there is one pair of
//! networks or, better, every address at both ends.

use ipnet::IpNet;
use serde_json::{Map, Value, json};

use super::ends::{Auth, KeyRule, auth, expect_its_address, key, our_ipv4, preset, seconds, usual_ports};
use super::names::{
    CBC128, CBC256, EspWords, GCM128, GCM256, GROUPS_BY_NUMBER, IkeWords, Named, Names, SHA256, SHA384,
    SHA512, only,
};
use super::networks::{Pair, is_any, only_pair};
use super::shell::{command, json, must_set, word};
use crate::crypto::{Cipher, Integrity, Prf};
use crate::peer_config::{Document, Draft, RenderError, Target, View};

const TARGET: Target = Target::Aws;

pub(in crate::peer_config) const DOCUMENTATION: &str =
    "the \"AWS Site-to-Site VPN User Guide\" (tunnel options) and the AWS CLI 2 reference of `aws ec2`";

const CIPHERS: Named<Cipher> =
    &[(GCM256, "AES256-GCM-16"), (GCM128, "AES128-GCM-16"), (CBC256, "AES256"), (CBC128, "AES128")];
const INTEGRITY: Named<Integrity> = &[(SHA256, "SHA2-256"), (SHA384, "SHA2-384"), (SHA512, "SHA2-512")];

static NAMES: Names = Names {
    target: TARGET,
    ike_ciphers: CIPHERS,
    ike_integrity: INTEGRITY,
    prfs: &[(Prf::HmacSha256, "SHA2-256"), (Prf::HmacSha384, "SHA2-384"), (Prf::HmacSha512, "SHA2-512")],
    groups: GROUPS_BY_NUMBER,
    prf_follows: true,
    esp_ciphers: CIPHERS,
    esp_integrity: INTEGRITY,
    pfs: GROUPS_BY_NUMBER,
    without_pfs: false,
    such_as: ("aes256gcm16-prfsha384-ecp384", "aes256gcm16-ecp384"),
};

const KEY: KeyRule = KeyRule {
    letters: |c| c.is_ascii_alphanumeric() || c == '.' || c == '_',
    length: 8..=64,
    leading_zero: false,
    says: "8 to 64 letters, digits, `.` and `_` that do not begin with 0",
};

pub(in crate::peer_config) fn render(view: &View) -> Result<Vec<Document>, RenderError> {
    usual_ports(TARGET, view)?;
    let Auth::Psk(psk) = auth(TARGET, view, false)? else { return Ok(Vec::new()) };
    let address = our_ipv4(TARGET, view)?;
    let pair = only_pair(TARGET, view)?;
    let mut draft = Draft::new(TARGET, "#");
    preset(TARGET, view, &mut draft);
    let key = key(TARGET, psk, &KEY, &mut draft)?;
    let (ike, esp) = (NAMES.ike(view)?, NAMES.esp_of_all(view)?);
    draft.line("set -eu");
    must_set(
        &mut draft,
        "AWS_GATEWAY",
        "the virtual private gateway (vgw-...) of the VPC or a transit gateway (tgw-...)",
    );
    draft.line("case $AWS_GATEWAY in");
    draft.line("    vgw-*) kind=--vpn-gateway-id ;;");
    draft.line("    tgw-*) kind=--transit-gateway-id ;;");
    draft.line("    *) echo \"AWS_GATEWAY is neither vgw-... nor tgw-...\" >&2; exit 2 ;;");
    draft.line("esac");
    match is_any(&pair.remote) {
        true => must_set(
            &mut draft,
            "NETWORKS",
            "the networks behind the Skybridge endpoint with blanks between them",
        ),
        false => draft.line(format!("NETWORKS={}", word(pair.remote.to_string()))),
    }
    json(&mut draft, "options", &options(view, &pair, &tunnel(view, &ike, &esp, &key)));
    connection(view, address.into(), &mut draft);
    routes(&mut draft);
    notes(view, address.into(), &ike, &esp, &mut draft);
    let file = format!("{}-aws.sh", view.connection);
    let place = "a shell with the AWS CLI, in the region of the VPC";
    Ok(vec![draft.finish(view, &file, place, psk.is_some())])
}

/// The options of a tunnel. Of each kind one algorithm: of several AWS takes the weakest.
fn tunnel(view: &View, ike: &IkeWords, esp: &EspWords, key: &str) -> Value {
    let one = |name: &str| json!([{ "Value": name }]);
    let group = |name: &str| json!([{ "Value": name.parse::<u8>().unwrap_or_default() }]);
    let phase1 = seconds(view.ike_lifetime, 900..=28_800);
    let child = view.children.iter().filter_map(|child| child.lifetime.rekey_time).min();
    let phase2 = child.map_or(3600, |time| seconds(time, 900..=3600)).min(phase1.saturating_sub(1).max(900));
    let starts = view.local_initiates();
    let mut tunnel = Map::new();
    let mut set = |key: &str, value: Value| tunnel.insert(key.to_owned(), value);
    set("PreSharedKey", Value::from(key));
    set("IKEVersions", one("ikev2"));
    set("Phase1EncryptionAlgorithms", one(ike.cipher));
    // Where the cipher authenticates, this is the PRF's hash.
    set("Phase1IntegrityAlgorithms", one(ike.integrity.unwrap_or(ike.prf)));
    set("Phase1DHGroupNumbers", group(ike.group));
    set("Phase1LifetimeSeconds", Value::from(phase1));
    set("Phase2EncryptionAlgorithms", one(esp.cipher));
    if let Some(integrity) = esp.integrity {
        set("Phase2IntegrityAlgorithms", one(integrity));
    }
    if let Some(pfs) = esp.pfs {
        set("Phase2DHGroupNumbers", group(pfs));
    }
    set("Phase2LifetimeSeconds", Value::from(phase2));
    set("DPDTimeoutSeconds", Value::from(view.dpd_timeout.as_secs().clamp(30, 3600)));
    set("DPDTimeoutAction", Value::from(if starts { "restart" } else { "clear" }));
    set("StartupAction", Value::from(if starts { "start" } else { "add" }));
    set("ReplayWindowSize", Value::from(1024));
    Value::Object(tunnel)
}

fn options(view: &View, pair: &Pair, tunnel: &Value) -> Value {
    // "Local" is the customer's side there.
    let (ours, theirs, version) = match pair.remote {
        IpNet::V4(_) => ("LocalIpv4NetworkCidr", "RemoteIpv4NetworkCidr", "ipv4"),
        IpNet::V6(_) => ("LocalIpv6NetworkCidr", "RemoteIpv6NetworkCidr", "ipv6"),
    };
    let mut options = Map::new();
    options.insert("StaticRoutesOnly".to_owned(), Value::Bool(true));
    options.insert("TunnelInsideIpVersion".to_owned(), Value::from(version));
    options.insert(ours.to_owned(), Value::from(pair.remote.to_string()));
    options.insert(theirs.to_owned(), Value::from(pair.local.to_string()));
    let both = vec![tunnel.clone(); usize::from(!view.children.is_empty()) * 2];
    options.insert("TunnelOptions".to_owned(), Value::Array(both));
    Value::Object(options)
}

fn tagged(kind: &str, view: &View) -> String {
    let tag = format!("ResourceType={kind},Tags=[{{Key=Name,Value={}}}]", view.connection);
    format!("--tag-specifications {}", word(tag))
}

fn connection(view: &View, address: std::net::IpAddr, draft: &mut Draft) {
    command(
        draft,
        "customer=$(aws ec2 create-customer-gateway",
        &[
            "--type ipsec.1".to_owned(),
            format!("--ip-address {}", word(address.to_string())),
            // A number is asked for; with static routes it is not used.
            "--bgp-asn 65000".to_owned(),
            tagged("customer-gateway", view),
            "--query CustomerGateway.CustomerGatewayId --output text)".to_owned(),
        ],
    );
    command(
        draft,
        "connection=$(aws ec2 create-vpn-connection",
        &[
            "--type ipsec.1".to_owned(),
            "--customer-gateway-id \"$customer\"".to_owned(),
            "\"$kind\" \"$AWS_GATEWAY\"".to_owned(),
            "--options \"$options\"".to_owned(),
            tagged("vpn-connection", view),
            "--query VpnConnection.VpnConnectionId --output text)".to_owned(),
        ],
    );
    draft.line("aws ec2 wait vpn-connection-available --vpn-connection-ids \"$connection\"");
}

fn routes(draft: &mut Draft) {
    draft.line("if [ \"$kind\" = --vpn-gateway-id ]; then");
    draft.line("    for network in $NETWORKS; do");
    draft.line("        aws ec2 create-vpn-connection-route \\");
    draft.line("            --vpn-connection-id \"$connection\" --destination-cidr-block \"$network\"");
    draft.line("    done");
    draft.line("fi");
    draft.line("echo 'The addresses of the two tunnels:'");
    command(
        draft,
        "aws ec2 describe-vpn-connections --vpn-connection-ids \"$connection\"",
        &["--query 'VpnConnections[0].Options.TunnelOptions[].OutsideIpAddress' --output text".to_owned()],
    );
}

fn notes(view: &View, address: std::net::IpAddr, ike: &IkeWords, esp: &EspWords, draft: &mut Draft) {
    if let Some(note) = only(view, ike, esp) {
        draft.note(note);
    }
    expect_its_address(view, draft);
    if view.remote.id.as_ref().and_then(|id| id.as_ip()) != Some(address) {
        draft.note(format!(
            "AWS takes this endpoint by its public address: set local_id = \"{address}\" if it refuses the name."
        ));
    }
    draft.note(
        "Of the two tunnels one peer of ours uses one. To change over, when AWS maintains it, set remote and remote_id to \
         the other tunnel's address and reload.",
    );
    draft.note(
        "Then let the VPC's route tables learn the networks (aws ec2 enable-vgw-route-propagation), or with a transit \
         gateway add them to its route table (aws ec2 create-transit-gateway-route).",
    );
}
