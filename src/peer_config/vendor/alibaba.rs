//! Alibaba Cloud VPN Gateway: commands of its command line.
//!
//! A gateway made today has connections of two tunnels, an older one of one; the script can do either. All networks
//! are in one Child SA, which IKEv2 allows there.

use serde_json::json;

use super::ends::{Auth, KeyRule, auth, expect_its_address, id, key, our_ipv4, preset, seconds, usual_ports};
use super::names::{
    CBC128, CBC192, CBC256, EspWords, IkeWords, Named, Names, PRF_BY_HASH, SHA256, SHA384, SHA512,
};
use super::networks::{ALL_IN_ONE, comma, ipv4_only, is_any, only_child, prefixes};
use super::shell::{command, json, must_set, word};
use crate::crypto::{Cipher, Group, Integrity};
use crate::peer_config::{Document, Draft, RenderError, Target, View};

const TARGET: Target = Target::Alibaba;

pub(in crate::peer_config) const DOCUMENTATION: &str = "Alibaba Cloud's API reference of VPN Gateway (CreateCustomerGateway, CreateVpnConnection, CreateVpnRouteEntry)";

const CIPHERS: Named<Cipher> = &[(CBC256, "aes256"), (CBC192, "aes192"), (CBC128, "aes")];
const INTEGRITY: Named<Integrity> = &[(SHA256, "sha256"), (SHA384, "sha384"), (SHA512, "sha512")];
const GROUPS: Named<Group> = &[(Group::Modp2048, "group14")];

static NAMES: Names = Names {
    target: TARGET,
    ike_ciphers: CIPHERS,
    ike_integrity: INTEGRITY,
    prfs: PRF_BY_HASH,
    groups: GROUPS,
    prf_follows: true,
    esp_ciphers: CIPHERS,
    esp_integrity: INTEGRITY,
    pfs: GROUPS,
    without_pfs: true,
    such_as: ("aes256-sha256-modp2048", "aes256-sha256-modp2048"),
};

const KEY: KeyRule = KeyRule {
    letters: |c| c.is_ascii_alphanumeric() || "~!`@#$%^&*()_-+={}[]|;:\",.<>/?\\".contains(c),
    length: 1..=100,
    leading_zero: true,
    says: "1 to 100 letters, digits and ~!`@#$%^&*()_-+={}[]|;:\",.<>/? or a backslash",
};

/// What all parts of the command have in common.
struct Connection<'a> {
    view: &'a View,
    ike: IkeWords,
    esp: EspWords,
    key: String,
    /// What it calls itself, if not by the tunnel's own address.
    local_id: Option<String>,
    remote_id: String,
    subnets: [String; 2],
}

pub(in crate::peer_config) fn render(view: &View) -> Result<Vec<Document>, RenderError> {
    usual_ports(TARGET, view)?;
    let Auth::Psk(psk) = auth(TARGET, view, false)? else { return Ok(Vec::new()) };
    let address = our_ipv4(TARGET, view)?;
    let child = only_child(TARGET, view, ALL_IN_ONE)?;
    let theirs = prefixes(TARGET, &child.name, &child.local)?;
    let ours = prefixes(TARGET, &child.name, &child.remote)?;
    ipv4_only(TARGET, &theirs)?;
    ipv4_only(TARGET, &ours)?;
    let any = ours.iter().any(is_any);
    let mut draft = Draft::new(TARGET, "#");
    preset(TARGET, view, &mut draft);
    let local = id(TARGET, "this end's identity", &view.local)?;
    let by_address = view.local.id.as_ref().is_some_and(|id| id.as_ip().is_some());
    let connection = Connection {
        view,
        ike: NAMES.ike(view)?,
        esp: NAMES.esp_of_all(view)?,
        key: key(TARGET, psk, &KEY, &mut draft)?,
        local_id: (!by_address).then(|| local.text()),
        remote_id: id(TARGET, "our identity", &view.remote)?.text(),
        subnets: [comma(&theirs), comma(&ours)],
    };
    draft.line("set -eu");
    must_set(&mut draft, "ALIBABA_REGION", "the region, such as cn-hangzhou");
    must_set(&mut draft, "ALIBABA_GATEWAY", "the VPN gateway (vpn-...)");
    if any {
        must_set(
            &mut draft,
            "NETWORKS",
            "the networks behind the Skybridge endpoint with blanks between them",
        );
    }
    draft.line("field() { sed -n \"s/.*\\\"$1\\\": *\\\"\\([^\\\"]*\\)\\\".*/\\1/p\"; }");
    command(
        &mut draft,
        "customer=$(aliyun vpc CreateCustomerGateway",
        &[
            format!("--RegionId \"$ALIBABA_REGION\" --Name {}", view.connection),
            format!("--IpAddress {} | field CustomerGatewayId)", word(address.to_string())),
        ],
    );
    draft.line(": \"${customer:?no customer gateway was made}\"");
    draft.line("if [ \"${ALIBABA_TUNNELS:-2}\" = 2 ]; then");
    two_tunnels(&connection, &mut draft);
    draft.line("else");
    one_tunnel(&connection, &mut draft);
    draft.line("fi");
    draft.line(": \"${connection:?no connection was made}\"");
    if any {
        routes(&mut draft);
    }
    command(
        &mut draft,
        "aliyun vpc DescribeVpnConnection",
        &["--RegionId \"$ALIBABA_REGION\" --VpnConnectionId \"$connection\"".to_owned()],
    );
    notes(view, by_address, &mut draft);
    let file = format!("{}-alibaba.sh", view.connection);
    Ok(vec![draft.finish(view, &file, "a shell with the Alibaba Cloud CLI", psk.is_some())])
}

impl Connection<'_> {
    fn common(&self) -> Vec<String> {
        let [theirs, ours] = &self.subnets;
        vec![
            "--RegionId \"$ALIBABA_REGION\" --VpnGatewayId \"$ALIBABA_GATEWAY\"".to_owned(),
            format!("--Name {} --AutoConfigRoute true", self.view.connection),
            format!("--LocalSubnet {} --RemoteSubnet {}", word(theirs), word(ours)),
            format!("--EffectImmediately {}", self.view.local_initiates()),
        ]
    }

    fn ike_lifetime(&self) -> u64 {
        seconds(self.view.ike_lifetime, 60..=86_400)
    }

    fn child_lifetime(&self) -> u64 {
        let time = self.view.children.iter().filter_map(|child| child.lifetime.rekey_time).min();
        time.map_or(86_400, |time| seconds(time, 60..=86_400))
    }

    fn integrity(&self) -> (&'static str, &'static str) {
        (self.ike.integrity.unwrap_or_default(), self.esp.integrity.unwrap_or_default())
    }

    fn pfs(&self) -> &'static str {
        self.esp.pfs.unwrap_or("disabled")
    }
}

fn two_tunnels(connection: &Connection<'_>, draft: &mut Draft) {
    let mut options = connection.common();
    let (ike_integrity, esp_integrity) = connection.integrity();
    for (number, role) in [(1, "master"), (2, "slave")] {
        let prefix = format!("--TunnelOptionsSpecification.{number}");
        let mut set = |key: &str, value: String| options.push(format!("{prefix}.{key} {value}"));
        set("CustomerGatewayId", "\"$customer\"".to_owned());
        set("Role", role.to_owned());
        set("EnableDpd", connection.view.dpd.is_some().to_string());
        set("EnableNatTraversal", true.to_string());
        set("TunnelIkeConfig.IkeVersion", "ikev2".to_owned());
        set("TunnelIkeConfig.IkeEncAlg", connection.ike.cipher.to_owned());
        set("TunnelIkeConfig.IkeAuthAlg", ike_integrity.to_owned());
        set("TunnelIkeConfig.IkePfs", connection.ike.group.to_owned());
        set("TunnelIkeConfig.IkeLifetime", connection.ike_lifetime().to_string());
        if let Some(id) = &connection.local_id {
            set("TunnelIkeConfig.LocalId", word(id).to_string());
        }
        set("TunnelIkeConfig.RemoteId", word(&connection.remote_id).to_string());
        set("TunnelIkeConfig.Psk", word(&connection.key).to_string());
        set("TunnelIpsecConfig.IpsecEncAlg", connection.esp.cipher.to_owned());
        set("TunnelIpsecConfig.IpsecAuthAlg", esp_integrity.to_owned());
        set("TunnelIpsecConfig.IpsecPfs", connection.pfs().to_owned());
        set("TunnelIpsecConfig.IpsecLifetime", connection.child_lifetime().to_string());
    }
    options.push("| field VpnConnectionId)".to_owned());
    command(draft, "connection=$(aliyun vpc CreateVpnConnection", &options);
}

fn one_tunnel(connection: &Connection<'_>, draft: &mut Draft) {
    let (ike_integrity, esp_integrity) = connection.integrity();
    let mut ike = json!({
        "IkeVersion": "ikev2",
        "IkeEncAlg": connection.ike.cipher,
        "IkeAuthAlg": ike_integrity,
        "IkePfs": connection.ike.group,
        "IkeLifetime": connection.ike_lifetime(),
        "RemoteId": connection.remote_id,
        "Psk": connection.key,
    });
    if let (Some(id), Some(fields)) = (&connection.local_id, ike.as_object_mut()) {
        fields.insert("LocalId".to_owned(), json!(id));
    }
    json(draft, "ike", &ike);
    json(
        draft,
        "ipsec",
        &json!({
            "IpsecEncAlg": connection.esp.cipher,
            "IpsecAuthAlg": esp_integrity,
            "IpsecPfs": connection.pfs(),
            "IpsecLifetime": connection.child_lifetime(),
        }),
    );
    let mut options = connection.common();
    options.push("--CustomerGatewayId \"$customer\"".to_owned());
    options.push(format!("--EnableDpd {} --EnableNatTraversal true", connection.view.dpd.is_some()));
    options.push("--IkeConfig \"$ike\" --IpsecConfig \"$ipsec\"".to_owned());
    options.push("| field VpnConnectionId)".to_owned());
    command(draft, "connection=$(aliyun vpc CreateVpnConnection", &options);
}

fn routes(draft: &mut Draft) {
    draft.line("for network in $NETWORKS; do");
    draft.line("    aliyun vpc CreateVpnRouteEntry --RegionId \"$ALIBABA_REGION\" \\");
    draft.line("        --VpnGatewayId \"$ALIBABA_GATEWAY\" --NextHop \"$connection\" \\");
    draft.line("        --RouteDest \"$network\" --Weight 100 --PublishVpc true");
    draft.line("done");
}

fn notes(view: &View, by_address: bool, draft: &mut Draft) {
    draft.note("For a gateway whose connections have a single tunnel, run it with ALIBABA_TUNNELS=1.");
    if by_address {
        expect_its_address(view, draft);
    }
    draft.note(
        "Of the two tunnels one peer of ours uses one. To change over, set remote (and remote_id, if it is an address) to \
         the other tunnel's address and reload.",
    );
}
