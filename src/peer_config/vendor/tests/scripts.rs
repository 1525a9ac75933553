//! The shell scripts, run by a real shell in which the cloud's command line is replaced by a program that writes down
//! how it was called: that shows what reaches it as one word, and which options are used. What the clouds would
//! answer is not known here.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{EVERY, KEY, PAIRS, PLAIN, SCRIPTS, SEVERAL, seen, seen_with_key, with_children, written};
use crate::peer_config::{Target, View};

/// Writes its name and its words, each behind an octet of zero, and for curl what it was given to send.
const RECORDER: &str = r#"#!/bin/sh
{
    printf '%s\0' "${0##*/}" "$@"
    case $0 in *curl) printf 'body %s\0' "$(cat)" ;; esac
    printf '\0'
} >> "$RECORD"
case "$*" in
    *CreateCustomerGateway*) echo '{ "CustomerGatewayId": "cgw-1", "RequestId": "x" }' ;;
    *CreateVpnConnection*) echo '{ "VpnConnectionId": "vco-1", "RequestId": "x" }' ;;
    *create-customer-gateway*) echo cgw-2 ;;
    *create-vpn-connection\ *) echo vpn-2 ;;
    *'addresses describe'*) echo 192.0.2.1 ;;
    *) echo '{"result":"saved"}' ;;
esac
"#;

/// What has to be set.
const SETTINGS: &[(&str, &str)] = &[
    ("OPNSENSE", "https://192.168.10.1"),
    ("AWS_GATEWAY", "vgw-1"),
    ("AZURE_GROUP", "a group"),
    ("AZURE_GATEWAY", "gateway"),
    ("GCP_REGION", "europe-west6"),
    ("GCP_NETWORK", "default"),
    ("ALIBABA_REGION", "cn-hangzhou"),
    ("ALIBABA_GATEWAY", "vpn-1"),
    ("NETWORKS", "10.1.0.0/16 10.2.0.0/16"),
];

/// How the command lines were called.
type Calls = Vec<Vec<String>>;

fn run(target: Target, view: &View, settings: &[(&str, &str)]) -> (bool, Calls, String) {
    let folder = tempfile::tempdir().unwrap();
    let record = folder.path().join("record");
    fs::write(&record, "").unwrap();
    for program in ["aws", "az", "gcloud", "aliyun", "curl"] {
        let path = folder.path().join(program);
        fs::write(&path, RECORDER).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let inside = folder.path().join("work");
    fs::create_dir(&inside).unwrap();
    let script = folder.path().join("script.sh");
    fs::write(&script, written(target, view).unwrap().text).unwrap();
    let output = Command::new("sh")
        .arg(&script)
        .current_dir(&inside)
        .env_clear()
        .env("PATH", format!("{}:/usr/bin:/bin", folder.path().display()))
        .env("RECORD", &record)
        .envs(settings.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(fs::read_dir(&inside).unwrap().count(), 0, "{target} left a file");
    let text = fs::read_to_string(&record).unwrap();
    let calls = text
        .split("\0\0")
        .filter(|call| !call.is_empty())
        .map(|call| call.trim_start_matches('\0').split('\0').map(ToOwned::to_owned).collect())
        .collect();
    (output.status.success(), calls, String::from_utf8_lossy(&output.stderr).into_owned())
}

fn calls(target: Target, view: &View) -> Calls {
    let (good, calls, complaint) = run(target, view, SETTINGS);
    assert!(good && complaint.is_empty(), "{target}: {complaint}");
    assert!(!calls.is_empty(), "{target}");
    calls
}

/// The options that each command may have, from the references.
fn documented() -> BTreeMap<&'static str, &'static [&'static str]> {
    let tunnel: &[&str] = &[
        "CustomerGatewayId",
        "Role",
        "EnableDpd",
        "EnableNatTraversal",
        "TunnelIkeConfig.IkeVersion",
        "TunnelIkeConfig.IkeEncAlg",
        "TunnelIkeConfig.IkeAuthAlg",
        "TunnelIkeConfig.IkePfs",
        "TunnelIkeConfig.IkeLifetime",
        "TunnelIkeConfig.LocalId",
        "TunnelIkeConfig.RemoteId",
        "TunnelIkeConfig.Psk",
        "TunnelIpsecConfig.IpsecEncAlg",
        "TunnelIpsecConfig.IpsecAuthAlg",
        "TunnelIpsecConfig.IpsecPfs",
        "TunnelIpsecConfig.IpsecLifetime",
    ];
    BTreeMap::from([
        ("aliyun tunnel", tunnel),
        ("aliyun vpc CreateCustomerGateway", &["RegionId", "Name", "IpAddress"] as &[&str]),
        (
            "aliyun vpc CreateVpnConnection",
            &[
                "RegionId",
                "VpnGatewayId",
                "Name",
                "AutoConfigRoute",
                "LocalSubnet",
                "RemoteSubnet",
                "EffectImmediately",
                "CustomerGatewayId",
                "EnableDpd",
                "EnableNatTraversal",
                "IkeConfig",
                "IpsecConfig",
            ],
        ),
        (
            "aliyun vpc CreateVpnRouteEntry",
            &["RegionId", "VpnGatewayId", "NextHop", "RouteDest", "Weight", "PublishVpc"],
        ),
        ("aliyun vpc DescribeVpnConnection", &["RegionId", "VpnConnectionId"]),
        (
            "aws ec2 create-customer-gateway",
            &["type", "ip-address", "bgp-asn", "tag-specifications", "query", "output"],
        ),
        (
            "aws ec2 create-vpn-connection",
            &[
                "type",
                "customer-gateway-id",
                "vpn-gateway-id",
                "transit-gateway-id",
                "options",
                "tag-specifications",
                "query",
                "output",
            ],
        ),
        ("aws ec2 wait", &["vpn-connection-ids"]),
        ("aws ec2 create-vpn-connection-route", &["vpn-connection-id", "destination-cidr-block"]),
        ("aws ec2 describe-vpn-connections", &["vpn-connection-ids", "query", "output"]),
        (
            "az network local-gateway",
            &["resource-group", "name", "gateway-ip-address", "local-address-prefixes"],
        ),
        (
            "az network vpn-connection",
            &[
                "resource-group",
                "name",
                "vnet-gateway1",
                "local-gateway2",
                "shared-key",
                "use-policy-based-traffic-selectors",
                "connection-name",
                "ike-encryption",
                "ike-integrity",
                "dh-group",
                "ipsec-encryption",
                "ipsec-integrity",
                "pfs-group",
                "sa-lifetime",
                "sa-max-size",
            ],
        ),
        ("az network vnet-gateway", &["resource-group", "name", "query", "output"]),
        ("gcloud compute addresses", &["region", "format"]),
        ("gcloud compute target-vpn-gateways", &["network", "region"]),
        (
            "gcloud compute forwarding-rules",
            &["region", "target-vpn-gateway", "address", "ip-protocol", "ports"],
        ),
        (
            "gcloud compute vpn-tunnels",
            &[
                "region",
                "target-vpn-gateway",
                "peer-address",
                "ike-version",
                "shared-secret",
                "local-traffic-selector",
                "remote-traffic-selector",
            ],
        ),
        (
            "gcloud compute routes",
            &["network", "destination-range", "next-hop-vpn-tunnel", "next-hop-vpn-tunnel-region"],
        ),
        ("curl", &["fail-with-body", "silent", "show-error", "netrc", "data", "header"]),
    ])
}

fn check(target: Target, view: &View) -> Calls {
    let known = documented();
    let calls = calls(target, view);
    for call in &calls {
        let command = if call[0] == "curl" { "curl".to_owned() } else { call[..3].join(" ") };
        let options = known.get(command.as_str()).unwrap_or_else(|| panic!("{target}: {command}"));
        for word in call.iter().skip(1).filter_map(|word| word.strip_prefix("--")) {
            let name = word.split('=').next().unwrap_or(word);
            let inner = name.strip_prefix("TunnelOptionsSpecification.").and_then(|rest| rest.get(2..));
            let good = match inner {
                Some(inner) => known["aliyun tunnel"].contains(&inner),
                None => options.contains(&name),
            };
            assert!(good, "{target}: {command} --{name}");
        }
    }
    calls
}

fn value<'a>(call: &'a [String], option: &str) -> &'a str {
    let at = call.iter().position(|word| word == option).unwrap_or_else(|| panic!("{option} in {call:?}"));
    &call[at + 1]
}

fn find<'a>(calls: &'a Calls, words: &str) -> &'a [String] {
    calls
        .iter()
        .find(|call| call.join(" ").starts_with(words))
        .unwrap_or_else(|| panic!("{words} in {calls:?}"))
}

#[test]
fn every_script_uses_documented_options_only() {
    for target in SCRIPTS {
        check(target, &seen(PLAIN));
        check(target, &seen_with_key(PLAIN, KEY));
        for children in [EVERY, SEVERAL, PAIRS] {
            let view = seen(&with_children(children));
            if written(target, &view).is_ok() {
                check(target, &view);
            }
        }
    }
}

#[test]
fn nothing_is_run_before_everything_is_set() {
    for target in SCRIPTS {
        let (good, calls, complaint) = run(target, &seen(PLAIN), &[]);
        assert!(!good && calls.is_empty(), "{target}");
        assert!(complaint.contains("set it to"), "{target}: {complaint}");
    }
}

#[test]
fn a_hostile_key_arrives_as_one_word() {
    let key = "it's \"$(touch x)\"; touch y & `touch z` \\ %s {a,b} * ? #";
    let view = seen_with_key(PLAIN, key);
    let azure = calls(Target::Azure, &view);
    assert_eq!(value(find(&azure, "az network vpn-connection create"), "--shared-key"), key);
    let google = calls(Target::Gcp, &view);
    let tunnel = find(&google, "gcloud compute vpn-tunnels create");
    assert!(tunnel.contains(&format!("--shared-secret={key}")), "{tunnel:?}");
    let opnsense = calls(Target::Opnsense, &view);
    let body = find(&opnsense, "curl").last().unwrap().strip_prefix("body ").unwrap();
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["preSharedKey"]["Key"], key);
    // Alibaba Cloud takes no blanks and no single quotes.
    let key = "\"$(touch${IFS}x)\";touch>y&`touch|z`\\%s{a,b}*?#";
    let view = seen_with_key(PLAIN, key);
    let alibaba = calls(Target::Alibaba, &view);
    let call = find(&alibaba, "aliyun vpc CreateVpnConnection");
    assert_eq!(value(call, "--TunnelOptionsSpecification.1.TunnelIkeConfig.Psk"), key);
    assert_eq!(value(call, "--TunnelOptionsSpecification.2.TunnelIkeConfig.Psk"), key);
    let mut settings = SETTINGS.to_vec();
    settings.push(("ALIBABA_TUNNELS", "1"));
    let (good, single, complaint) = run(Target::Alibaba, &view, &settings);
    assert!(good, "{complaint}");
    let call = find(&single, "aliyun vpc CreateVpnConnection");
    let ike: Value = serde_json::from_str(value(call, "--IkeConfig")).unwrap();
    assert_eq!(ike["Psk"], key);
    assert_eq!(value(call, "--CustomerGatewayId"), "cgw-1");
}

#[test]
fn aws_gets_both_tunnels_with_one_algorithm_of_each_kind() {
    let calls = check(Target::Aws, &seen_with_key(PLAIN, KEY));
    let call = find(&calls, "aws ec2 create-vpn-connection ");
    assert_eq!(value(call, "--customer-gateway-id"), "cgw-2");
    assert_eq!(value(call, "--vpn-gateway-id"), "vgw-1");
    let options: Value = serde_json::from_str(value(call, "--options")).unwrap();
    assert_eq!(options["StaticRoutesOnly"], true);
    // "Local" is the customer's side.
    assert_eq!(options["LocalIpv4NetworkCidr"], "172.16.0.0/16");
    assert_eq!(options["RemoteIpv4NetworkCidr"], "192.168.10.0/24");
    let tunnels = options["TunnelOptions"].as_array().unwrap();
    assert_eq!(tunnels.len(), 2);
    let known: &[&str] = &[
        "DPDTimeoutAction",
        "DPDTimeoutSeconds",
        "IKEVersions",
        "Phase1DHGroupNumbers",
        "Phase1EncryptionAlgorithms",
        "Phase1IntegrityAlgorithms",
        "Phase1LifetimeSeconds",
        "Phase2DHGroupNumbers",
        "Phase2EncryptionAlgorithms",
        "Phase2IntegrityAlgorithms",
        "Phase2LifetimeSeconds",
        "PreSharedKey",
        "ReplayWindowSize",
        "StartupAction",
    ];
    for tunnel in tunnels {
        let tunnel = tunnel.as_object().unwrap();
        assert!(tunnel.keys().all(|key| known.contains(&key.as_str())), "{tunnel:?}");
        assert_eq!(tunnel["PreSharedKey"], KEY);
        assert_eq!(tunnel["Phase1EncryptionAlgorithms"], serde_json::json!([{ "Value": "AES256-GCM-16" }]));
        assert_eq!(tunnel["Phase1DHGroupNumbers"], serde_json::json!([{ "Value": 20 }]));
        assert_eq!(tunnel["IKEVersions"], serde_json::json!([{ "Value": "ikev2" }]));
    }
    let route = find(&calls, "aws ec2 create-vpn-connection-route");
    assert_eq!(value(route, "--destination-cidr-block"), "172.16.0.0/16");
}

#[test]
fn a_transit_gateway_gets_no_routes_of_a_virtual_private_one() {
    let mut settings = SETTINGS.to_vec();
    settings.push(("AWS_GATEWAY", "tgw-1"));
    let (good, calls, complaint) = run(Target::Aws, &seen(PLAIN), &settings);
    assert!(good, "{complaint}");
    assert_eq!(value(find(&calls, "aws ec2 create-vpn-connection "), "--transit-gateway-id"), "tgw-1");
    assert!(!calls.iter().any(|call| call[2] == "create-vpn-connection-route"));
    settings.push(("AWS_GATEWAY", "x; reboot"));
    let (good, calls, complaint) = run(Target::Aws, &seen(PLAIN), &settings);
    assert!(!good && calls.is_empty() && complaint.contains("neither"), "{complaint}");
}

#[test]
fn networks_that_are_set_become_a_route_each() {
    let view = seen(&with_children(EVERY));
    for (target, route) in [
        (Target::Aws, "aws ec2 create-vpn-connection-route"),
        (Target::Gcp, "gcloud compute routes create"),
        (Target::Alibaba, "aliyun vpc CreateVpnRouteEntry"),
    ] {
        let calls = calls(target, &view);
        assert_eq!(calls.iter().filter(|call| call.join(" ").starts_with(route)).count(), 2, "{target}");
    }
    let azure = calls(Target::Azure, &view);
    let gateway = find(&azure, "az network local-gateway create");
    assert!(gateway.ends_with(&["10.1.0.0/16".to_owned(), "10.2.0.0/16".to_owned()]), "{gateway:?}");
    assert_eq!(value(gateway, "--resource-group"), "a group");
}

#[test]
fn google_names_its_routes_apart_and_carries_all_networks_at_once() {
    let calls = check(Target::Gcp, &seen(&with_children(SEVERAL)));
    let tunnel = find(&calls, "gcloud compute vpn-tunnels create cloud");
    assert!(tunnel.contains(&"--local-traffic-selector=192.168.10.0/24,192.168.20.0/24".to_owned()));
    assert!(tunnel.contains(&"--remote-traffic-selector=172.16.0.0/16,10.0.2.0/24".to_owned()));
    let names: Vec<_> =
        calls.iter().filter(|call| call[2] == "routes").map(|call| call[4].as_str()).collect();
    assert_eq!(names, ["cloud-1", "cloud-2"]);
    let rules = calls.iter().filter(|call| call[2] == "forwarding-rules");
    assert!(rules.clone().all(|rule| rule.contains(&"--address=192.0.2.1".to_owned())));
    assert_eq!(rules.count(), 3);
}

#[test]
fn opnsense_gets_its_model_s_fields_under_the_same_identifiers_each_time() {
    let fields: &[(&str, &[&str])] = &[
        ("preSharedKey", &["ident", "remote_ident", "keyType", "Key"]),
        (
            "connection",
            &[
                "enabled",
                "proposals",
                "unique",
                "version",
                "mobike",
                "local_addrs",
                "remote_addrs",
                "encap",
                "rekey_time",
                "dpd_delay",
                "keyingtries",
                "description",
            ],
        ),
        ("local", &["enabled", "connection", "round", "auth", "id"]),
        ("remote", &["enabled", "connection", "round", "auth", "id"]),
        (
            "child",
            &[
                "enabled",
                "connection",
                "reqid",
                "esp_proposals",
                "start_action",
                "close_action",
                "dpd_action",
                "mode",
                "policies",
                "local_ts",
                "remote_ts",
                "rekey_time",
                "description",
            ],
        ),
    ];
    let view = seen(&with_children(PAIRS));
    let calls = check(Target::Opnsense, &view);
    assert_eq!(calls, check(Target::Opnsense, &view));
    let mut identifiers = Vec::new();
    for call in &calls {
        let url = call.iter().find(|word| word.starts_with("https://")).unwrap();
        let body: Value = serde_json::from_str(call.last().unwrap().strip_prefix("body ").unwrap()).unwrap();
        let Some((model, values)) = body.as_object().unwrap().iter().next() else {
            assert!(url.ends_with("/api/ipsec/service/reconfigure"), "{url}");
            continue;
        };
        let known = fields.iter().find(|(name, _)| name == model).unwrap().1;
        assert!(values.as_object().unwrap().keys().all(|key| known.contains(&key.as_str())), "{body}");
        assert!(values.as_object().unwrap().values().all(Value::is_string), "{body}");
        let identifier = url.rsplit('/').next().unwrap();
        let shape: Vec<usize> = identifier.split('-').map(str::len).collect();
        assert_eq!(shape, [8, 4, 4, 4, 12], "{identifier}");
        identifiers.push(identifier.to_owned());
    }
    let count = identifiers.len();
    identifiers.sort_unstable();
    identifiers.dedup();
    assert_eq!((identifiers.len(), count), (6, 6));
}

#[test]
fn what_opnsense_refuses_stops_the_script() {
    let document = written(Target::Opnsense, &seen(PLAIN)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let curl = folder.path().join("curl");
    fs::write(&curl, "#!/bin/sh\ncat > /dev/null\necho '{\"result\":\"failed\",\"validations\":{}}'\n")
        .unwrap();
    fs::set_permissions(&curl, fs::Permissions::from_mode(0o755)).unwrap();
    let script: &Path = &folder.path().join("script.sh");
    fs::write(script, document.text).unwrap();
    let output = Command::new("sh")
        .arg(script)
        .env("PATH", format!("{}:/usr/bin:/bin", folder.path().display()))
        .env("OPNSENSE", "https://192.168.10.1")
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 1);
}
