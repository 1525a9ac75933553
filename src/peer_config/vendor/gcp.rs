//! Google Cloud Classic VPN: commands of its command line.
//!
//! HA VPN needs BGP, which Skybridge does not speak; Classic VPN with static routes does without. All networks are in
//! one Child SA, over IPv4.

use super::ends::{Auth, KeyRule, auth, expect_its_address, key, known_by_address, preset, usual_ports};
use super::names::{
    CBC128, CBC192, CBC256, EspWords, GCM128, GCM192, GCM256, IkeWords, Named, Names, SHA256, SHA384, SHA512,
    only,
};
use super::networks::{ALL_IN_ONE, comma, ipv4_only, is_any, only_child, prefixes};
use super::shell::{command, must_set, word};
use crate::crypto::{Cipher, Group, Integrity, Prf};
use crate::peer_config::{Document, Draft, RenderError, Target, View};

const TARGET: Target = Target::Gcp;

pub(in crate::peer_config) const DOCUMENTATION: &str = "Google's \"Create a Classic VPN gateway using static routing\" and \"Supported IKE ciphers\", and the reference of \
     `gcloud compute`";

const CIPHERS: Named<Cipher> = &[
    (GCM256, "AES-GCM-16-256"),
    (GCM192, "AES-GCM-16-192"),
    (GCM128, "AES-GCM-16-128"),
    (CBC256, "AES-CBC-256"),
    (CBC192, "AES-CBC-192"),
    (CBC128, "AES-CBC-128"),
];
const INTEGRITY: Named<Integrity> =
    &[(SHA256, "HMAC-SHA2-256-128"), (SHA384, "HMAC-SHA2-384-192"), (SHA512, "HMAC-SHA2-512-256")];
const GROUPS: Named<Group> = &[
    (Group::Ecp256, "Group-19"),
    (Group::Ecp384, "Group-20"),
    (Group::Ecp521, "Group-21"),
    (Group::Modp2048, "Group-14"),
    (Group::Modp3072, "Group-15"),
    (Group::Modp4096, "Group-16"),
];

static NAMES: Names = Names {
    target: TARGET,
    ike_ciphers: CIPHERS,
    ike_integrity: INTEGRITY,
    prfs: &[
        (Prf::HmacSha256, "PRF-HMAC-SHA2-256"),
        (Prf::HmacSha384, "PRF-HMAC-SHA2-384"),
        (Prf::HmacSha512, "PRF-HMAC-SHA2-512"),
    ],
    groups: GROUPS,
    prf_follows: false,
    esp_ciphers: CIPHERS,
    esp_integrity: INTEGRITY,
    pfs: GROUPS,
    without_pfs: false,
    such_as: ("aes256gcm16-prfsha384-ecp384", "aes256gcm16-ecp384"),
};

const KEY: KeyRule = KeyRule {
    letters: |c| matches!(c, ' '..='~'),
    length: 1..=512,
    leading_zero: true,
    says: "printable ASCII characters",
};

pub(in crate::peer_config) fn render(view: &View) -> Result<Vec<Document>, RenderError> {
    usual_ports(TARGET, view)?;
    let Auth::Psk(psk) = auth(TARGET, view, false)? else { return Ok(Vec::new()) };
    let address = known_by_address(TARGET, view)?;
    let child = only_child(TARGET, view, ALL_IN_ONE)?;
    let theirs = prefixes(TARGET, &child.name, &child.local)?;
    let ours = prefixes(TARGET, &child.name, &child.remote)?;
    ipv4_only(TARGET, &theirs)?;
    ipv4_only(TARGET, &ours)?;
    let any = ours.iter().any(is_any);
    let mut draft = Draft::new(TARGET, "#");
    preset(TARGET, view, &mut draft);
    let key = key(TARGET, psk, &KEY, &mut draft)?;
    let (ike, esp) = (NAMES.ike(view)?, NAMES.esp_of_all(view)?);
    draft.line("set -eu");
    must_set(&mut draft, "GCP_REGION", "the region of the gateway");
    must_set(&mut draft, "GCP_NETWORK", "the name of the VPC network");
    match any {
        true => must_set(
            &mut draft,
            "NETWORKS",
            "the networks behind the Skybridge endpoint with blanks between them",
        ),
        false => {
            let all: Vec<_> = ours.iter().map(ToString::to_string).collect();
            draft.line(format!("NETWORKS={}", word(all.join(" "))));
        }
    }
    gateway(view, &mut draft);
    command(
        &mut draft,
        "gcloud compute vpn-tunnels create",
        &[
            format!("{} --region=\"$GCP_REGION\" --target-vpn-gateway={0}", view.connection),
            format!("--peer-address={} --ike-version=2", word(address.to_string())),
            format!("--shared-secret={}", word(&key)),
            format!("--local-traffic-selector={}", word(comma(&theirs))),
            format!("--remote-traffic-selector={}", word(comma(&ours))),
        ],
    );
    routes(view, &mut draft);
    notes(view, &ike, &esp, &mut draft);
    let file = format!("{}-gcp.sh", view.connection);
    Ok(vec![draft.finish(
        view,
        &file,
        "a shell with the Google Cloud CLI, in the right project",
        psk.is_some(),
    )])
}

fn gateway(view: &View, draft: &mut Draft) {
    let name = &view.connection;
    draft.line(format!("gcloud compute addresses create {name} --region=\"$GCP_REGION\""));
    command(
        draft,
        &format!("address=$(gcloud compute addresses describe {name} --region=\"$GCP_REGION\""),
        &["--format='value(address)')".to_owned()],
    );
    command(
        draft,
        &format!("gcloud compute target-vpn-gateways create {name}"),
        &["--network=\"$GCP_NETWORK\" --region=\"$GCP_REGION\"".to_owned()],
    );
    for (rule, protocol) in [
        ("esp", "--ip-protocol=ESP"),
        ("udp500", "--ip-protocol=UDP --ports=500"),
        ("udp4500", "--ip-protocol=UDP --ports=4500"),
    ] {
        command(
            draft,
            &format!("gcloud compute forwarding-rules create {name}-{rule}"),
            &[
                format!("--region=\"$GCP_REGION\" --target-vpn-gateway={name}"),
                format!("--address=\"$address\" {protocol}"),
            ],
        );
    }
}

fn routes(view: &View, draft: &mut Draft) {
    let name = &view.connection;
    draft.line("number=0");
    draft.line("for network in $NETWORKS; do");
    draft.line("    number=$((number + 1))");
    draft.line(format!("    gcloud compute routes create \"{name}-$number\" \\"));
    draft.line("        --network=\"$GCP_NETWORK\" --destination-range=\"$network\" \\");
    draft.line(format!("        --next-hop-vpn-tunnel={name} --next-hop-vpn-tunnel-region=\"$GCP_REGION\""));
    draft.line("done");
    draft.line("echo \"The address of the gateway: $address\"");
}

fn notes(view: &View, ike: &IkeWords, esp: &EspWords, draft: &mut Draft) {
    draft.note(
        "This is Classic VPN with static routes. HA VPN cannot be used: it needs BGP, which Skybridge does not speak.",
    );
    let mut words = vec![ike.cipher];
    words.extend(ike.integrity);
    words.extend([ike.prf, ike.group]);
    let mut child = vec![esp.cipher];
    child.extend(esp.integrity);
    child.extend(esp.pfs);
    draft.note(format!(
        "Cloud VPN knows the offered suites as {} and {}; nothing has to be set for them there.",
        words.join(", "),
        child.join(", ")
    ));
    if let Some(note) = only(view, ike, esp) {
        draft.note(note);
    }
    expect_its_address(view, draft);
    draft.note("A firewall rule of the VPC network must admit the networks behind the Skybridge endpoint.");
}
