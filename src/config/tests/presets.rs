use super::*;
use crate::config::check::PRESETS;
use crate::ike::config::StartPolicy;

/// A peer with a preset and nothing that is not needed.
fn peer(preset: &str) -> String {
    format!(
        r#"[peers.gateway]
preset = "{preset}"
remote = "203.0.113.7"
local_id = "198.51.100.7"
auth = {{ psk_file = "./gateway.psk" }}
[peers.gateway.children.net]
local = ["192.168.10.0/24"]
remote = ["10.0.0.0/16"]
"#
    )
}

fn lab() -> Lab {
    let lab = Lab::new();
    lab.write("gateway.psk", "Plain_letters.2026", 0o600);
    lab
}

#[test]
fn every_preset_loads_without_a_word() {
    for preset in &PRESETS {
        let config = lab().good(&peer(preset.word));
        assert!(config.warnings.is_empty(), "{}: {:?}", preset.word, config.warnings);
        let ike = &config.peers[0].ike;
        assert_eq!(ike.ike.len(), 1);
        let expected = if preset.connect { StartPolicy::Connect } else { StartPolicy::Wait };
        assert_eq!(ike.children[0].start, expected, "{}", preset.word);
    }
}

#[test]
fn what_is_written_goes_before_the_preset() {
    let text = peer("azure").replace(
        "remote = \"203",
        "ike = [\"aes128-sha256-modp2048\"]\nstart = \"wait\"\nlifetimes = { child = \"1h\" }\ndpd = { delay = \"off\" }\n\
         clamp_mss = \"off\"\nremote = \"203",
    );
    let config = lab().good(&text);
    let peer = &config.peers[0];
    assert_eq!(peer.ike.ike[0].to_string(), "aes128-sha256-prfsha256-modp2048");
    assert_eq!(peer.ike.children[0].start, StartPolicy::Wait);
    assert_eq!(peer.ike.timing.dpd_delay, None);
    assert_eq!(peer.clamp_mss, ClampMss::Off);
    let lifetime = peer.ike.children[0].lifetime;
    assert_eq!(lifetime.rekey_time, Some(std::time::Duration::from_secs(3600)));
    assert_eq!(lifetime.rekey_bytes, Some(80 << 30));
}

#[test]
fn the_documentation_has_every_value_of_every_preset() {
    let documentation =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md")).unwrap();
    for preset in &PRESETS {
        let cell = |value: Option<&str>| value.map_or(String::new(), |value| format!("`{value}` "));
        let size = match (preset.mtu, preset.clamp_mss) {
            (Some(mtu), None) => format!("`mtu = {mtu}` "),
            (None, Some(mss)) => format!("`clamp_mss = {mss}` "),
            _ => String::new(),
        };
        let row = format!(
            "| `{}` | `{}` | `{}` | `{}` | `{}` | {}| `{}` | {}| {size}|",
            preset.word,
            preset.ike,
            preset.esp,
            preset.ike_lifetime,
            preset.child_lifetime,
            cell(preset.child_bytes),
            preset.dpd,
            cell(preset.connect.then_some("connect")),
        );
        assert!(documentation.contains(&row), "docs/configuration.md lacks\n{row}");
    }
}

#[test]
fn a_key_that_aws_refuses_is_an_error() {
    for key in
        ["0123456789abcdef", "has a blank in it", "dash-is-not-taken", "semicolon;too", &"x".repeat(65)]
    {
        let lab = lab();
        lab.write("gateway.psk", key, 0o600);
        let found = lab.bad(&peer("aws")).to_string();
        assert!(found.contains("refuses this pre-shared key"), "{found}");
        assert!(!found.contains(key), "{found}");
    }
}

#[test]
fn a_name_where_the_gateway_has_an_address_is_told() {
    for preset in ["aws", "azure", "gcp"] {
        let named = peer(preset).replace("auth =", "remote_id = \"vpn.example.com\"\nauth =");
        assert!(lab().bad(&named).to_string().contains("calls itself by its address"), "{preset}");
        let config = lab().good(&peer(preset).replace("\"198.51.100.7\"", "\"cloud.example.com\""));
        assert!(config.warnings.iter().any(|warning| warning.code == "preset"), "{preset}");
    }
    lab().good(&peer("alibaba").replace("auth =", "remote_id = \"vpn.example.com\"\nauth ="));
}

#[test]
fn proposals_that_the_gateway_does_not_know_are_an_error() {
    let with = |key: &str, value: &str| {
        peer("aws").replace("remote = \"203", &format!("{key} = [\"{value}\"]\nremote = \"203"))
    };
    for text in [with("ike", "aes256gcm16-prfsha256-x25519"), with("esp", "chacha20poly1305-ecp384")] {
        let found = lab().bad(&text).to_string();
        assert!(found.contains("knows none of these proposals"), "{found}");
    }
    lab().good(&with("ike", "aes256gcm16-prfsha256-x25519-modp2048"));
}

#[test]
fn several_pairs_are_told_where_the_gateway_makes_one_child_sa_each() {
    for preset in &PRESETS {
        let text = peer(preset.word).replace("\"10.0.0.0/16\"", "\"10.0.0.0/16\", \"10.2.0.0/16\"");
        let told = !lab().good(&text).warnings.is_empty();
        assert_eq!(told, matches!(preset.word, "aws" | "cisco" | "mikrotik"), "{}", preset.word);
    }
}

#[test]
fn a_description_needs_no_secret_no_user_and_no_group() {
    let lab = Lab::new();
    let text = PEER.replace("./office.psk", "/nowhere/key");
    let text = format!("[endpoint]\nuser = \"no-such-user\"\ncontrol_group = \"no-such-group\"\n{text}");
    lab.write("skybridge.toml", &text, 0o644);
    let inputs = Inputs {
        file: lab.base().join("skybridge.toml"),
        environment: Vec::new(),
        unix_now: NOW,
        discovered: BTreeMap::new(),
    };
    let described = describe(&inputs).unwrap_or_else(|found| panic!("{found}"));
    let peer = &described.peers()[0];
    assert_eq!(peer.proofs, Proofs { local: Proof::Psk, remote: Proof::Psk, same_psk: true });
    let found = load(&inputs).unwrap_err().to_string();
    assert!(found.contains("does not exist") && found.contains("no such user"), "{found}");
}
