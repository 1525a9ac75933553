//! What each product can do of what we can, and what is said where it cannot.

use super::{
    EVERY, PAIRS, PLAIN, SEVERAL, TARGETS, seen, seen_with_key, statements, with_children, with_ids, written,
};
use crate::crypto::{Cipher, Group, Integrity, Prf};
use crate::peer_config::{Address, Options, RenderError, Target, testing::view_with};

fn error(target: Target, config: &str) -> String {
    match written(target, &seen(config)) {
        Ok(document) => panic!("{target} wrote it:\n{}", document.text),
        Err(error) => error.to_string(),
    }
}

fn text(target: Target, config: &str) -> String {
    written(target, &seen(config)).unwrap_or_else(|error| panic!("{target}: {error}")).text
}

#[test]
fn every_target_can_do_a_plain_tunnel_and_says_that_it_was_not_run() {
    for target in TARGETS {
        let document = written(target, &seen(PLAIN)).unwrap();
        let head = document.text.lines().take(6).collect::<Vec<_>>().join(" ");
        assert!(head.contains("NOT TESTED on a device: compared with "), "{target}: {head}");
        assert!(!document.secret && document.text.contains("PUT-THE-PRE-SHARED-KEY-HERE"), "{target}");
    }
}

#[test]
fn a_suite_that_a_product_has_no_name_for_is_passed_over() {
    let config = PLAIN
        .replace("\"aes256gcm16-prfsha384-ecp384\"", "\"chacha20poly1305-prfsha256-x25519\"")
        .replace("\"aes256gcm16-ecp384\"", "\"chacha20poly1305-x25519\"");
    assert!(text(Target::Fortigate, &config).contains("set proposal chacha20poly1305-prfsha256"));
    assert!(
        text(Target::Cisco, &config)
            .contains(" encryption aes-cbc-256\n integrity sha256\n prf sha256\n group 14\n")
    );
    assert!(text(Target::Azure, &config).contains("--dh-group DHGroup14"));
}

#[test]
fn without_a_common_suite_it_says_what_to_add() {
    let config = PLAIN.replace(
        "\"aes256gcm16-prfsha384-ecp384\", \"aes256-sha256-modp2048\"",
        "\"aes256gcm8-prfsha512-x25519\"",
    );
    for target in TARGETS.into_iter().filter(|target| *target != Target::Vyos) {
        let said = error(target, &config);
        assert!(said.contains("knows none of the IKE suites of `branch`"), "{target}: {said}");
        assert!(said.contains("such as \"aes256"), "{target}: {said}");
    }
}

#[test]
fn what_is_suggested_is_known_to_the_product() {
    for target in TARGETS {
        let none = PLAIN
            .replace(
                "\"aes256gcm16-prfsha384-ecp384\", \"aes256-sha256-modp2048\"",
                "\"chacha20poly1305-prfsha512-x25519\"",
            )
            .replace("\"aes256gcm16-ecp384\", \"aes256-sha256-modp2048\"", "\"chacha20poly1305\"");
        let mut config = none.clone();
        for _ in 0..2 {
            let Err(RenderError::NoSuite { kind, such_as, .. }) = written(target, &seen(&config)) else {
                continue;
            };
            let key = if kind == crate::policy::ProposalKind::Ike { "ike = [" } else { "esp = [" };
            config = config.replace(key, &format!("{key}\"{such_as}\", "));
        }
        assert!(written(target, &seen(&config)).is_ok(), "{target}: {config}");
    }
}

#[test]
fn extended_sequence_numbers_alone_are_for_none_of_them() {
    let config =
        PLAIN.replace("aes256gcm16-ecp384\", \"aes256-sha256-modp2048\"", "aes256gcm16-ecp384-esn\"");
    assert!(config.contains("-esn"));
    for target in TARGETS {
        assert!(error(target, &config).contains("ESP suites"), "{target}");
    }
}

#[test]
fn several_networks_in_a_child_are_for_those_that_carry_them_in_one_child_sa() {
    let config = with_children(SEVERAL);
    for target in [Target::Vyos, Target::Opnsense, Target::Gcp, Target::Alibaba] {
        let text = text(target, &config);
        assert!(text.contains("192.168.20.0/24") && text.contains("10.0.2.0/24"), "{target}");
    }
    for target in [Target::Cisco, Target::Fortigate, Target::Mikrotik, Target::Azure] {
        assert!(error(target, &config).contains("[peers.branch.children.lan-2]"), "{target}");
    }
    assert!(error(Target::Aws, &config).contains("local = [\"0.0.0.0/0\"]"));
}

#[test]
fn a_child_for_each_pair_is_for_those_that_make_a_child_sa_for_each() {
    let config = with_children(PAIRS);
    for target in
        [Target::Cisco, Target::Fortigate, Target::Mikrotik, Target::Vyos, Target::Opnsense, Target::Azure]
    {
        let text = text(target, &config);
        assert!(text.contains("172.16.0.0") && text.contains("10.0.2.0"), "{target}");
    }
    for target in [Target::Aws, Target::Gcp, Target::Alibaba] {
        assert!(error(target, &config).contains("the 2 children of `branch`"), "{target}");
    }
    for target in [Target::Gcp, Target::Alibaba] {
        assert!(error(target, &config).contains("into one child"), "{target}");
    }
}

#[test]
fn azure_negotiates_every_pair_or_none() {
    let three = with_children(
        "[peers.branch.children.a]\nlocal = [\"172.16.0.0/16\"]\nremote = [\"192.168.10.0/24\"]\n\
         [peers.branch.children.b]\nlocal = [\"10.0.2.0/24\"]\nremote = [\"192.168.10.0/24\"]\n\
         [peers.branch.children.c]\nlocal = [\"10.0.2.0/24\"]\nremote = [\"192.168.20.0/24\"]\n",
    );
    assert!(error(Target::Azure, &three).contains("a child for every pair"));
}

#[test]
fn every_address_needs_a_tunnel_interface() {
    let config = with_children(EVERY);
    assert!(text(Target::Vyos, &config).contains("vti bind 'vti100'"));
    let cisco = text(Target::Cisco, &config);
    assert!(!cisco.contains("tunnel protection ipsec policy") && cisco.contains("ipsec profile"));
    assert!(error(Target::Mikrotik, &config).contains("no tunnel interface"));
    for target in [Target::Aws, Target::Azure, Target::Gcp, Target::Alibaba] {
        assert!(text(target, &config).contains("${NETWORKS:?"), "{target}");
    }
    assert!(!text(Target::Azure, &config).contains("use-policy-based-traffic-selectors"));
}

#[test]
fn azure_and_google_know_us_by_our_public_address_only() {
    let config = with_ids("cloud.example.com", "198.51.100.7");
    for target in [Target::Azure, Target::Gcp] {
        assert!(error(target, &config).contains("set local_id = \"203.0.113.10\""), "{target}");
    }
    assert!(text(Target::Aws, &config).contains("local_id = \"203.0.113.10\""));
}

#[test]
fn our_address_must_be_known_where_it_is_dialled() {
    let nowhere = with_ids("cloud.example.com", "198.51.100.7")
        .replace("local_address = \"203.0.113.10\"\n", "")
        .replace("\"wait\"", "\"connect\"");
    for target in [Target::Cisco, Target::Aws, Target::Azure, Target::Gcp, Target::Alibaba] {
        assert!(error(target, &nowhere).contains("--address"), "{target}");
    }
    assert!(text(Target::Fortigate, &nowhere).contains("set type dynamic"));
    assert!(text(Target::Mikrotik, &nowhere).contains("address=0.0.0.0/0 exchange-mode=ike2"));
    let by_name =
        Options { address: Some(Address::Name("vpn.example.com".to_owned())), ..Options::default() };
    let view = view_with(PLAIN, &by_name);
    let forti = written(Target::Fortigate, &view).unwrap().text;
    assert!(forti.contains("set type ddns") && forti.contains("set remotegw-ddns \"vpn.example.com\""));
    assert!(written(Target::Cisco, &view).is_err());
}

#[test]
fn other_ports_are_refused() {
    let config = PLAIN.replace("start = ", "remote_natt_port = 14500\nstart = ");
    for target in TARGETS {
        assert!(error(target, &config).contains("500 and 4500"), "{target}");
    }
}

#[test]
fn protocols_ports_and_ranges_are_refused() {
    for selector in ["172.16.0.0/16[tcp/443]", "172.16.0.1-172.16.0.9"] {
        let config = PLAIN.replace("172.16.0.0/16", selector);
        for target in TARGETS {
            let said = error(target, &config);
            assert!(said.contains("child `lan`") && said.contains(selector), "{target}: {said}");
        }
    }
}

#[test]
fn who_waits_and_who_connects() {
    let connects = |config: &str| {
        [
            text(Target::Vyos, config).contains("connection-type 'initiate'"),
            text(Target::Fortigate, config).contains("set auto-negotiate enable"),
            text(Target::Mikrotik, config).contains("passive=no"),
            text(Target::Opnsense, config).contains("\"start_action\": \"start\""),
            text(Target::Aws, config).contains("\"StartupAction\": \"start\""),
            text(Target::Alibaba, config).contains("--EffectImmediately true"),
        ]
    };
    assert_eq!(connects(PLAIN), [true; 6]);
    assert_eq!(connects(&PLAIN.replace("\"wait\"", "\"connect\"")), [false; 6]);
}

#[test]
fn lifetimes_stay_within_what_the_product_takes() {
    let config = PLAIN.replace("start = ", "lifetimes = { ike = \"10d\", child = \"5d\" }\nstart = ");
    assert!(text(Target::Cisco, &config).contains(" lifetime 86400\n"));
    let aws = text(Target::Aws, &config);
    assert!(
        aws.contains("\"Phase1LifetimeSeconds\": 28800") && aws.contains("\"Phase2LifetimeSeconds\": 3600")
    );
    let config = PLAIN.replace("start = ", "lifetimes = { ike = \"10m\", child = \"5m\" }\nstart = ");
    let aws = text(Target::Aws, &config);
    assert!(aws.contains("\"Phase1LifetimeSeconds\": 900") && aws.contains("\"Phase2LifetimeSeconds\": 900"));
    assert!(text(Target::Azure, &config).contains("--sa-lifetime 300"));
}

#[test]
fn the_one_suite_is_named_where_the_peer_would_choose() {
    for target in [Target::Aws, Target::Gcp] {
        let told = text(target, PLAIN).split_whitespace().collect::<Vec<_>>().join(" ").replace("# ", "");
        assert!(
            told.contains(
                "ike = [\"aes256gcm16-prfsha384-ecp384\"] and esp = [\"aes256gcm16-ecp384-noesn\"]"
            ),
            "{told}"
        );
        let one = PLAIN
            .replace(", \"aes256-sha256-modp2048\"]\nesp", "]\nesp")
            .replace("aes256gcm16-ecp384\", \"aes256-sha256-modp2048\"", "aes256gcm16-ecp384-noesn\"");
        assert!(!text(target, &one).contains("offer this one suite"), "{target}");
    }
}

#[test]
fn pre_shared_keys_that_a_product_refuses_are_told_not_written() {
    let refused = [
        (Target::Aws, "has-a-hyphen-in-it"),
        (Target::Aws, "0begins.with.zero"),
        (Target::Cisco, "has a blank in it"),
        (Target::Vyos, "has'a'quote.in.it"),
        (Target::Opnsense, "0begins.with.zero"),
        (Target::Alibaba, "has a blank in it"),
    ];
    for (target, key) in refused {
        let said = written(target, &seen_with_key(PLAIN, key)).unwrap_err().to_string();
        assert!(said.contains("this pre-shared key") && !said.contains(key), "{target}: {said}");
    }
}

#[test]
fn certificates_are_for_devices() {
    // What is read of a configuration without secrets does not need the files.
    let config = with_ids("cloud.example.com", "branch.example.com").replace(
        "auth = { psk_file = \"office.psk\" }",
        "auth = { certificate = \"cloud.pem\", key = \"cloud.key\", ca = [\"ca.pem\"] }",
    );
    assert!(text(Target::Cisco, &config).contains(" authentication remote rsa-sig\n"));
    assert!(text(Target::Fortigate, &config).contains("set authmethod signature"));
    assert!(text(Target::Mikrotik, &config).contains("auth-method=digital-signature"));
    assert!(text(Target::Vyos, &config).contains("authentication mode 'x509'"));
    for target in super::SCRIPTS {
        assert!(error(target, &config).contains("psk_file"), "{target}");
    }
}

#[test]
fn every_algorithm_of_ours_has_at_most_one_name_and_vyos_has_all_ciphers() {
    for cipher in Cipher::ALL {
        let integrity = if cipher.is_aead() { String::new() } else { "-sha512".to_owned() };
        for (group, prf) in Group::ALL.into_iter().zip(Prf::ALL.into_iter().cycle()) {
            let config = PLAIN
                .replace(
                    "\"aes256gcm16-prfsha384-ecp384\", \"aes256-sha256-modp2048\"",
                    &format!("\"{cipher}{integrity}-{prf}-{group}\""),
                )
                .replace(
                    "\"aes256gcm16-ecp384\", \"aes256-sha256-modp2048\"",
                    &format!("\"{cipher}{integrity}-{group}\""),
                );
            let document = written(Target::Vyos, &seen(&config)).unwrap();
            let number = group.id().0;
            let statements = statements(&document).join("\n");
            assert!(statements.contains(&format!("dh-group '{number}'")), "{statements}");
            assert!(statements.contains(&format!("pfs 'dh-group{number}'")), "{statements}");
            assert!(statements.contains(&format!("prf '{prf}'")), "{statements}");
        }
    }
    assert_eq!(Integrity::ALL.len(), 3);
}

#[test]
fn with_its_preset_a_product_has_all_that_we_offer() {
    for target in [
        Target::Cisco,
        Target::Fortigate,
        Target::Mikrotik,
        Target::Aws,
        Target::Azure,
        Target::Gcp,
        Target::Alibaba,
    ] {
        let written: String = PLAIN
            .lines()
            .filter(|line| !line.starts_with(['i', 'e', 's']))
            .fold(String::new(), |text, line| text + line + "\n");
        let config = written.replace("[peers.branch]\n", &format!("[peers.branch]\npreset = \"{target}\"\n"));
        let text = text(target, &config);
        assert!(!text.contains("offer this one suite"), "{target}: {text}");
    }
}
