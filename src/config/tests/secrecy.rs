use super::*;

const SECRET: &str = "Tr0ub4dor&3xyzzy";

#[test]
fn a_secret_in_the_wrong_place_is_never_shown() {
    let lab = Lab::new();
    let office = "auth = { psk_file = \"./office.psk\" }";
    for (line, code) in [
        (format!("auth = {{ psk = \"{SECRET}\" }}"), "unknown-key"),
        (format!("auth = {{ psk_file = \"{SECRET}\" }}"), "unreadable-file"),
        (format!("auth = {{ psk_file = \"/{SECRET}\" }}"), "unreadable-file"),
        (format!("auth = {{ psk_files = \"{SECRET}\" }}"), "wrong-type"),
        (format!("auth = {{ psk_files = [\"{SECRET}\", 7] }}"), "wrong-type"),
        (format!("auth = {{ password = \"{SECRET}\" }}"), "unknown-key"),
        (format!("auth = \"{SECRET}\""), "wrong-type"),
        (format!("{office}\npsk = \"{SECRET}\""), "unknown-key"),
        (format!("{office}\nsesame = [\"{SECRET}\"]"), "unknown-key"),
        (format!("{office}\nsesame = {{ open = \"{SECRET}\" }}"), "unknown-key"),
        (format!("auth = {{ psk = \"{SECRET} }}"), "syntax"),
        (format!("auth.psk_file = \"./office.psk\"\nmy_secret = {SECRET}"), "syntax"),
        (format!("auth.psk_file = \"./office.psk\"\npassword = '{SECRET}"), "syntax"),
        (
            format!(
                "auth = {{ psk_file = \"./office.psk\", certificate = \"c\", key_passphrase_file = \"{SECRET}\" }}"
            ),
            "contradiction",
        ),
    ] {
        let found = lab.bad(&PEER.replace(office, &line));
        assert!(found.iter().any(|error| error.code == code), "{line}: {found}");
        let shown = format!("{found} {found:?}");
        assert!(!shown.contains(SECRET), "{line}: {found}");
    }
}

#[test]
fn a_secret_from_the_environment_is_never_shown() {
    let lab = Lab::new();
    lab.write("skybridge.toml", PEER, 0o644);
    for name in [
        "SKYBRIDGE_PEERS__OFFICE__AUTH__PSK",
        "SKYBRIDGE_PEERS__OFFICE__AUTH__PSK_FILE",
        "SKYBRIDGE_PEERS__OFFICE__AUTH",
    ] {
        let found = lab.load_files(&[(name, SECRET)]).unwrap_err();
        assert!(found.to_string().contains(name), "{found}");
        assert!(!format!("{found} {found:?}").contains(SECRET), "{found}");
    }
}

#[test]
fn the_checked_configuration_shows_no_secret() {
    let lab = Lab::new();
    let shown = format!("{:?}", lab.good(PEER));
    assert!(!shown.contains(PSK) && !shown.contains("horse"));
    let octets = format!("{:?}", PSK.as_bytes());
    assert!(!shown.contains(&octets));
}

#[test]
fn paths_are_shown_where_they_are_wrong() {
    let lab = Lab::new();
    let found = lab.bad(&PEER.replace("./office.psk", "./missing.psk"));
    assert!(found.to_string().contains("psk_file = \"./missing.psk\""), "{found}");
}

#[test]
fn files_that_others_may_read_or_change_are_refused_with_the_command() {
    let lab = Lab::new();
    for (mode, hint) in
        [(0o644, "chmod 0640"), (0o606, "chmod 0600"), (0o660, "chmod 0640"), (0o777, "chmod 0640")]
    {
        lab.write("office.psk", PSK, mode);
        let found = lab.bad(PEER);
        let error = found.iter().next().unwrap();
        assert_eq!((error.code, error.line, error.column), ("open-secret", 5, 21), "{found}");
        assert!(error.hint.as_ref().unwrap().contains(hint), "{mode:o}: {found}");
    }
    for mode in [0o600, 0o400, 0o640] {
        lab.write("office.psk", PSK, mode);
        lab.good(PEER);
    }
}

#[test]
fn a_file_of_a_foreign_group_must_not_be_readable_by_it() {
    let lab = Lab::new();
    let path = lab.base().join("office.psk");
    if std::os::unix::fs::chown(&path, None, Some(12_345)).is_err() {
        return; // Only root can give a file away.
    }
    lab.write("office.psk", PSK, 0o640);
    assert!(lab.bad(PEER).to_string().contains("may be read by a group"));
}

#[test]
fn bad_keys_are_named_without_their_content() {
    let lab = Lab::new();
    for (content, code) in [
        ("", "empty-secret"),
        ("\n", "empty-secret"),
        ("one\ntwo\n", "bad-secret"),
        ("0xzz", "bad-secret"),
        ("0s!!", "bad-secret"),
    ] {
        lab.write("office.psk", content, 0o600);
        assert_eq!(lab.bad(PEER).iter().next().unwrap().code, code, "{content:?}");
    }
    lab.write("office.psk", "short", 0o600);
    let config = lab.good(PEER);
    assert_eq!(config.warnings[0].code, "weak-secret");
    assert!(!config.warnings[0].to_string().contains("\"short\""));
}
