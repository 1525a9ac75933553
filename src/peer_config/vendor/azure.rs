//! Azure VPN Gateway: commands of the Azure command line.
//!
//! A route-based gateway with a policy of its own, since Azure's default offers group 2 alone. With
//! `UsePolicyBasedTrafficSelectors` it negotiates every pair of an address prefix of ours and of the virtual network.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::ends::{
    Auth, KeyRule, auth, expect_its_address, key, known_by_address, preset, seconds, usual_ports,
};
use super::names::{
    CBC128, CBC192, CBC256, EspWords, GCM128, GCM192, GCM256, IkeWords, Names, PRF_BY_HASH, SHA256, SHA384,
};
use super::networks::{Pair, ipv4_only, pairs};
use super::shell::{command, must_set, word};
use crate::crypto::Group;
use crate::peer_config::{Child, Document, Draft, RenderError, Target, View};

const TARGET: Target = Target::Azure;

pub(in crate::peer_config) const DOCUMENTATION: &str = "Microsoft's \"IPsec/IKE policy for S2S VPN and VNet-to-VNet connections\" and the reference of `az network`";

/// Of IKE only AES-CBC: which PRF goes with GCM there is not documented.
static NAMES: Names = Names {
    target: TARGET,
    ike_ciphers: &[(CBC256, "AES256"), (CBC192, "AES192"), (CBC128, "AES128")],
    ike_integrity: &[(SHA256, "SHA256"), (SHA384, "SHA384")],
    prfs: PRF_BY_HASH,
    groups: &[(Group::Ecp256, "ECP256"), (Group::Ecp384, "ECP384"), (Group::Modp2048, "DHGroup14")],
    prf_follows: true,
    esp_ciphers: &[
        (GCM256, "GCMAES256"),
        (GCM192, "GCMAES192"),
        (GCM128, "GCMAES128"),
        (CBC256, "AES256"),
        (CBC192, "AES192"),
        (CBC128, "AES128"),
    ],
    esp_integrity: &[(SHA256, "SHA256")],
    pfs: &[(Group::Ecp256, "ECP256"), (Group::Ecp384, "ECP384"), (Group::Modp2048, "PFS2048")],
    without_pfs: true,
    such_as: ("aes256-sha384-ecp384", "aes256gcm16-ecp384"),
};

const KEY: KeyRule = KeyRule {
    letters: |c| matches!(c, ' '..='~'),
    length: 1..=128,
    leading_zero: true,
    says: "1 to 128 printable ASCII characters",
};

/// Azure's own limit of data in a Child SA, in KiB.
const DEFAULT_KILOBYTES: u64 = 102_400_000;

pub(in crate::peer_config) fn render(view: &View) -> Result<Vec<Document>, RenderError> {
    usual_ports(TARGET, view)?;
    let Auth::Psk(psk) = auth(TARGET, view, false)? else { return Ok(Vec::new()) };
    let address = known_by_address(TARGET, view)?;
    let pairs = pairs(TARGET, view)?;
    let any = pairs.iter().any(|(_, pair)| pair.is_any());
    let (ours, theirs) = both_sides(&pairs)?;
    let mut draft = Draft::new(TARGET, "#");
    preset(TARGET, view, &mut draft);
    let key = key(TARGET, psk, &KEY, &mut draft)?;
    let (ike, esp) = (NAMES.ike(view)?, NAMES.esp_of_all(view)?);
    draft.line("set -eu");
    must_set(&mut draft, "AZURE_GROUP", "the resource group of the VPN gateway");
    must_set(
        &mut draft,
        "AZURE_GATEWAY",
        "the name of the virtual network gateway, route-based and not Basic",
    );
    let name = &view.connection;
    let prefixes = if any {
        must_set(
            &mut draft,
            "NETWORKS",
            "the networks behind the Skybridge endpoint with blanks between them",
        );
        "$NETWORKS".to_owned()
    } else {
        ours.iter().map(|network| word(network.to_string()).to_string()).collect::<Vec<_>>().join(" ")
    };
    command(
        &mut draft,
        "az network local-gateway create",
        &[
            format!("--resource-group \"$AZURE_GROUP\" --name {name}"),
            format!("--gateway-ip-address {}", word(address.to_string())),
            format!("--local-address-prefixes {prefixes}"),
        ],
    );
    let mut options = vec![
        format!("--resource-group \"$AZURE_GROUP\" --name {name}"),
        format!("--vnet-gateway1 \"$AZURE_GATEWAY\" --local-gateway2 {name}"),
        format!("--shared-key {}", word(&key)),
    ];
    if !any {
        options.push("--use-policy-based-traffic-selectors true".to_owned());
    }
    command(&mut draft, "az network vpn-connection create", &options);
    policy(view, &ike, &esp, &mut draft);
    command(
        &mut draft,
        "az network vnet-gateway show",
        &[
            "--resource-group \"$AZURE_GROUP\" --name \"$AZURE_GATEWAY\"".to_owned(),
            "--query 'bgpSettings.bgpPeeringAddresses[].tunnelIpAddresses[]' --output tsv".to_owned(),
        ],
    );
    notes(view, any, &theirs, &mut draft);
    let file = format!("{name}-azure.sh");
    Ok(vec![draft.finish(view, &file, "a shell with the Azure CLI, logged in", psk.is_some())])
}

/// The networks behind us and those of the virtual network; every pair of them must be a child.
fn both_sides(pairs: &[(&Child, Pair)]) -> Result<(Vec<IpNet>, Vec<IpNet>), RenderError> {
    let ours: BTreeSet<IpNet> = pairs.iter().map(|(_, pair)| pair.remote).collect();
    let theirs: BTreeSet<IpNet> = pairs.iter().map(|(_, pair)| pair.local).collect();
    let (ours, theirs): (Vec<_>, Vec<_>) = (ours.into_iter().collect(), theirs.into_iter().collect());
    ipv4_only(TARGET, &ours)?;
    ipv4_only(TARGET, &theirs)?;
    if ours.len() * theirs.len() != pairs.len() {
        return Err(RenderError::Unsupported {
            target: TARGET,
            what: "leave out pairs of networks: it negotiates each of ours with each of the virtual network".to_owned(),
            instead: "write a child for every pair, or one child with local = [\"0.0.0.0/0\"], remote = [\"0.0.0.0/0\"] \
                      and in `routes` the virtual network"
                .to_owned(),
        });
    }
    Ok((ours, theirs))
}

fn policy(view: &View, ike: &IkeWords, esp: &EspWords, draft: &mut Draft) {
    let time = view.children.iter().filter_map(|child| child.lifetime.rekey_time).min();
    let octets = view.children.iter().filter_map(|child| child.lifetime.rekey_bytes).min();
    let kilobytes = octets.map_or(DEFAULT_KILOBYTES, |octets| (octets / 1024).clamp(1024, 2_147_483_647));
    command(
        draft,
        "az network vpn-connection ipsec-policy add",
        &[
            format!("--resource-group \"$AZURE_GROUP\" --connection-name {}", view.connection),
            format!("--ike-encryption {}", ike.cipher),
            format!("--ike-integrity {}", ike.integrity.unwrap_or(ike.cipher)),
            format!("--dh-group {}", ike.group),
            format!("--ipsec-encryption {}", esp.cipher),
            // Of GCM the same word stands for both.
            format!("--ipsec-integrity {}", esp.integrity.unwrap_or(esp.cipher)),
            format!("--pfs-group {}", esp.pfs.unwrap_or("None")),
            format!("--sa-lifetime {}", time.map_or(27_000, |time| seconds(time, 300..=172_799))),
            format!("--sa-max-size {kilobytes}"),
        ],
    );
}

fn notes(view: &View, any: bool, theirs: &[IpNet], draft: &mut Draft) {
    expect_its_address(view, draft);
    if !any {
        let theirs: Vec<_> = theirs.iter().map(ToString::to_string).collect();
        draft.note(format!(
            "The address space of the virtual network must be exactly {}, or Azure asks for other pairs.",
            theirs.join(", ")
        ));
    }
    draft.note("Azure renews the IKE SA after 28800 seconds whatever is configured.");
}
