use super::*;

#[test]
fn later_files_lie_over_earlier_ones_and_the_environment_over_all() {
    let lab = Lab::new();
    lab.write("skybridge.toml", format!("[endpoint]\nname = \"main\"\nike_port = 1500\n{PEER}"), 0o644);
    lab.write("conf.d/20-late.toml", "[endpoint]\nname = \"late\"\nreplay_window = 8192\n", 0o644);
    lab.write(
        "conf.d/10-early.toml",
        "[endpoint]\nname = \"early\"\nnatt_port = 14500\nlisten = [\"10.0.0.1\"]\n",
        0o644,
    );
    lab.write("conf.d/.hidden.toml", "nonsense", 0o644);
    lab.write("conf.d/readme.txt", "nonsense", 0o644);
    let config = lab.load_files(&[]).unwrap();
    assert_eq!(config.endpoint.name, "late");
    assert_eq!((config.endpoint.ike.ike_port, config.endpoint.ike.natt_port), (1500, 14500));
    assert_eq!(config.endpoint.replay_window, 8192);
    assert_eq!(config.files.len(), 3);
    let config = lab
        .load_files(&[
            ("SKYBRIDGE_ENDPOINT__NAME", "from the environment"),
            ("SKYBRIDGE_ENDPOINT__IKE_PORT", "2500"),
            ("SKYBRIDGE_ENDPOINT__LISTEN", "[\"10.0.0.9\"]"),
            ("SKYBRIDGE_PEERS__OFFICE__START", "connect"),
            ("SKYBRIDGE_PEERS__OFFICE__MTU", "1380"),
            ("SKYBRIDGE_PEERS__OFFICE__REMOTE", "198.51.100.9"),
            ("UNRELATED__NAME", "x"),
        ])
        .unwrap();
    assert_eq!(config.endpoint.name, "from the environment");
    assert_eq!(config.endpoint.ike.ike_port, 2500);
    assert_eq!(config.endpoint.listen, ["10.0.0.9".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(config.peers[0].mtu, Some(1380));
    assert!(!config.peers[0].ike.start_encapsulated);
}

#[test]
fn a_name_of_digits_from_the_environment_stays_a_name() {
    let lab = Lab::new();
    lab.write("skybridge.toml", PEER, 0o644);
    assert_eq!(lab.load_files(&[("SKYBRIDGE_ENDPOINT__NAME", "0x10")]).unwrap().endpoint.name, "0x10");
}

#[test]
fn peers_of_their_own_files_are_merged() {
    let lab = Lab::new();
    lab.write("skybridge.toml", PEER, 0o644);
    let branch = PEER.replace("office]", "branch]").replace("office.children", "branch.children");
    let branch = branch.replace("203.0.113.7", "203.0.113.8").replace("office.example", "branch.example");
    lab.write("conf.d/branch.toml", branch.replace("192.168.10", "192.168.11"), 0o644);
    let names: Vec<String> =
        lab.load_files(&[]).unwrap().peers.iter().map(|peer| peer.ike.name.to_string()).collect();
    assert_eq!(names, ["branch", "office"]);
}

#[test]
fn an_error_names_the_layer_that_has_the_last_word() {
    let lab = Lab::new();
    lab.write("skybridge.toml", PEER, 0o644);
    lab.write("conf.d/a.toml", "\n[peers.office]\nike = [\"aes256-sha1-modp2048\"]\n", 0o644);
    let found = lab.load_files(&[]).unwrap_err();
    let error = found.iter().next().unwrap();
    assert!(error.file.as_ref().unwrap().ends_with("conf.d/a.toml"));
    assert_eq!((error.line, error.column, error.code), (3, 16, "bad-proposal"));
}

#[test]
fn the_environment_is_checked_as_strictly_as_a_file() {
    let lab = Lab::new();
    lab.write("skybridge.toml", PEER, 0o644);
    let code = |name: &str, value: &str| {
        let found = lab.load_files(&[(name, value)]).unwrap_err();
        let error = found.iter().next().unwrap().clone();
        assert_eq!(error.file.as_deref(), Some(name));
        error.code
    };
    assert_eq!(code("SKYBRIDGE_ENDPOINT__IKE_PORT", "many"), "wrong-type");
    assert_eq!(code("SKYBRIDGE_ENDPOINT__IKE_PORT", "70000"), "out-of-range");
    assert_eq!(code("SKYBRIDGE_ENDPOINT__NMAE", "x"), "unknown-key");
    assert_eq!(code("SKYBRIDGE_PEERS__OFFICE__START", "now"), "unknown-word");
    assert_eq!(code("SKYBRIDGE_ENDPOINT__MANAGE_SYSCTLS", "yes"), "wrong-type");
}

#[test]
fn a_variable_that_names_nothing_is_told_of() {
    let lab = Lab::new();
    lab.write("skybridge.toml", PEER, 0o644);
    let config = lab.load_files(&[("SKYBRIDGE_NAME", "x")]).unwrap();
    assert!(config.warnings[0].message.contains("SKYBRIDGE_NAME"));
}

#[test]
fn errors_of_all_layers_come_together() {
    let lab = Lab::new();
    lab.write("skybridge.toml", "[endpoint]\nike_port = \"500\"\nnane = 1\n", 0o644);
    lab.write("conf.d/a.toml", "[endpoint\n", 0o644);
    let found = lab
        .load_files(&[("SKYBRIDGE_ENDPOINT__MTU", "big"), ("SKYBRIDGE_ENDPOINT__LISTEN", "x")])
        .unwrap_err();
    let codes: Vec<&str> = found.iter().map(|error| error.code).collect();
    assert!(
        codes.contains(&"wrong-type") && codes.contains(&"unknown-key") && codes.contains(&"syntax"),
        "{codes:?}"
    );
    assert!(found.errors() >= 4, "{found}");
}

#[test]
fn a_missing_file_is_said_so() {
    let lab = Lab::new();
    let found = lab.load_files(&[]).unwrap_err();
    assert!(found.to_string().contains("skybridge.toml` does not exist"), "{found}");
}
