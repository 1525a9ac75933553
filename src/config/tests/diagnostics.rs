//! Every diagnostic with its place: `⟦` marks where it must point at.

use super::*;

/// Loads a text with one mark and gives the diagnostics at the marked place.
fn at_mark(lab: &Lab, marked: &str) -> (Diagnostics, Vec<Diagnostic>) {
    let offset = marked.find('⟦').expect("a mark");
    let text = marked.replace('⟦', "");
    let before = &text[..offset];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap().chars().count() + 1;
    let found = match lab.load(&text) {
        Err(found) => found,
        Ok(config) => Diagnostics::new(config.warnings),
    };
    let here = found.iter().filter(|error| (error.line, error.column) == (line, column)).cloned().collect();
    (found, here)
}

fn check(cases: &[(&str, &str, &str)]) {
    let lab = Lab::new();
    for (marked, code, part) in cases {
        let (found, here) = at_mark(&lab, marked);
        let hit = here.iter().any(|error| {
            let hint = error.hint.as_deref().unwrap_or("");
            error.code == *code && (error.message.contains(part) || hint.contains(part))
        });
        assert!(hit, "expected {code} with {part:?} at the mark of\n{marked}\nfound\n{found}");
    }
}

/// The peer with one line replaced.
fn peer(key: &str, line: &str) -> String {
    let mut lines: Vec<String> = PEER.lines().map(str::to_owned).collect();
    match lines.iter_mut().find(|known| known.starts_with(&format!("{key} ="))) {
        Some(known) => *known = line.to_owned(),
        None => lines.insert(1, line.to_owned()),
    }
    lines.join("\n") + "\n"
}

fn peers(cases: &[(&str, &str, &str, &str)]) {
    let texts: Vec<(String, &str, &str)> =
        cases.iter().map(|(key, line, code, part)| (peer(key, line), *code, *part)).collect();
    let borrowed: Vec<(&str, &str, &str)> =
        texts.iter().map(|(text, code, part)| (text.as_str(), *code, *part)).collect();
    check(&borrowed);
}

#[test]
fn syntax_and_duplicate_keys() {
    check(&[
        ("[endpoint]\nname = ⟦\n", "syntax", ""),
        ("[endpoint]\nname = \"a\"\n⟦name = \"b\"\n", "syntax", "duplicate"),
        ("[endpoint]\nike_port = ⟦500 x\n", "syntax", ""),
        ("[endpoint]\n[peers.a]\n[⟦endpoint]\n", "syntax", "duplicate"),
    ]);
}

#[test]
fn unknown_keys_with_what_was_meant() {
    check(&[
        ("[endpoint]\n⟦nane = \"x\"\n", "unknown-key", "did you mean `name`"),
        ("[endpoint]\nlog = { ⟦levle = \"info\" }\n", "unknown-key", "did you mean `level`"),
        ("⟦endpiont = { name = \"x\" }\n", "unknown-key", "did you mean `endpoint`"),
        ("[[⟦rules]]\nfrom = []\n", "unknown-key", "not supported by this version"),
        ("[[⟦routes]]\nto = \"x\"\n", "unknown-key", "not supported by this version"),
        ("[peers.a.children.b]\n⟦zzzzzzzzzz = 1\n", "unknown-key", "known are"),
        ("[peers.a.auth]\n⟦psk = \"x\"\n", "unknown-key", "psk_file"),
        ("[peers.\"ä\"]\n⟦\"ö\" = 1\n", "unknown-key", ""),
    ]);
}

#[test]
fn wrong_types_are_never_converted() {
    check(&[
        ("[endpoint]\nike_port = ⟦\"500\"\n", "wrong-type", "an integer, not a string"),
        ("[endpoint]\nike_port = ⟦500.0\n", "wrong-type", "an integer"),
        ("[endpoint]\nname = ⟦12\n", "wrong-type", "put it in quotes"),
        ("[endpoint]\nmanage_sysctls = ⟦\"on\"\n", "wrong-type", "true or false"),
        ("[endpoint]\nmanage_sysctls = ⟦1\n", "wrong-type", "true or false"),
        ("[endpoint]\nlisten = ⟦\"0.0.0.0\"\n", "wrong-type", "brackets"),
        ("[endpoint]\nlisten = [\"0.0.0.0\", ⟦5]\n", "wrong-type", "endpoint.listen[1]"),
        ("[endpoint]\nname = ⟦2026-11-20\n", "wrong-type", "a string, not a date"),
        ("endpoint = ⟦5\n", "wrong-type", "a table"),
        ("[endpoint]\nlog = ⟦\"debug\"\n", "wrong-type", "a table"),
        ("[endpoint]\nmtu = ⟦true\n", "wrong-type", "an integer or a string"),
        ("[peers.a]\nremote = ⟦7\n", "wrong-type", "a string or an array of strings"),
        ("[peers.a]\nretransmit = { factor = ⟦\"2\" }\n", "wrong-type", "a number"),
    ]);
}

#[test]
fn words_and_ranges() {
    check(&[
        ("[endpoint]\nwhen_stopped = ⟦\"blocked\"\n", "unknown-word", "did you mean \"block\""),
        ("[endpoint]\nlog.format = ⟦\"xml\"\n", "unknown-word", "\"text\", \"json\""),
        ("[endpoint]\nlog.level = ⟦\"skybridge=loud\"\n", "unknown-word", "no log filter"),
        ("[endpoint]\nike_port = ⟦70000\n", "out-of-range", "65535"),
        ("[endpoint]\nike_port = ⟦-1\n", "out-of-range", "from 0"),
        ("[endpoint]\nike_port = ⟦99999999999999999999\n", "out-of-range", ""),
        ("[endpoint]\nike_port = ⟦0\n", "out-of-range", "from 1 to 65535"),
        ("[endpoint]\nike_port = 4500\nnatt_port = ⟦4500\n", "port-clash", "the same"),
        ("[endpoint]\nreplay_window = ⟦5000\n", "out-of-range", "write 8192"),
        ("[endpoint]\nreplay_window = ⟦32\n", "out-of-range", "from 64 to 65536"),
        ("[endpoint]\ndataplane = { workers = ⟦0 }\n", "out-of-range", "from 1 to 64"),
        ("[endpoint]\ndataplane = { workers = ⟦\"many\" }\n", "unknown-word", "write \"auto\" or"),
        ("[endpoint]\ndataplane = { busy_poll = ⟦\"2h\" }\n", "out-of-range", "at most 3600s"),
        ("[endpoint]\nmtu = ⟦100\n", "out-of-range", "from 576"),
        ("[endpoint]\nmtu = ⟦\"1400\"\n", "unknown-word", "without quotes"),
        ("[endpoint]\nblock_threshold_per_address = ⟦1\n", "out-of-range", "at least 3"),
        ("[endpoint]\nhalf_open_timeout = ⟦\"30\"\n", "bad-duration", "\"30s\""),
        ("[endpoint]\nhalf_open_timeout = ⟦\"1ms\"\n", "out-of-range", "too short"),
        ("[endpoint]\ndevice = ⟦\"a-name-that-is-too-long\"\n", "bad-name", "15"),
        ("[endpoint]\nname = ⟦\"\"\n", "bad-name", "empty"),
        ("[endpoint]\nuser = ⟦\"no-such-user-here\"\n", "unknown-user", "useradd"),
        ("[endpoint]\ncontrol_group = ⟦\"no-such-group-here\"\n", "unknown-group", "groupadd"),
        ("[endpoint]\nstate_dir = ⟦\"var\"\n", "bad-path", "absolute"),
        ("[endpoint]\nlisten = [⟦\"0.0.0.0:500\"]\n", "bad-address", "ike_port"),
        ("[endpoint]\nlisten = [\"10.0.0.1\", ⟦\"10.0.0.1\"]\n", "port-clash", "twice"),
        ("[endpoint]\nlisten = ⟦[\"0.0.0.0\", \"10.0.0.1\"]\n", "port-clash", "already"),
        ("[endpoint]\nlisten = ⟦[]\n", "out-of-range", "empty"),
        ("[endpoint]\nlog.keylog = ⟦\"/tmp/keys\"\n", "keylog-on", "whoever has them"),
    ]);
    let long = format!("[endpoint]\ncontrol_socket = ⟦\"/run/{}\"\n", "x".repeat(120));
    check(&[(&long, "bad-path", "107")]);
}

#[test]
fn proposals_point_at_the_word() {
    peers(&[
        (
            "ike",
            "ike = [\"default\", \"aes256gcm16-prfsha384-⟦x25591\"]",
            "bad-proposal",
            "did you mean x25519",
        ),
        ("ike", "ike = [\"aes256-sha256-⟦modp1024\"]", "bad-proposal", "too weak"),
        ("ike", "ike = [\"aes256-⟦sha1-modp2048\"]", "bad-proposal", "sha256"),
        ("ike", "ike = [\"⟦3des-sha256-modp2048\"]", "bad-proposal", "too short"),
        ("ike", "ike = [\"aes256gcm16-⟦sha256-x25519\"]", "bad-proposal", "prfsha256"),
        ("ike", "ike = [\"⟦aes256gcm16-x25519\"]", "bad-proposal", "no PRF"),
        ("ike", "ike = [\"⟦aes256gcm16-prfsha384\"]", "bad-proposal", "no key exchange group"),
        ("ike", "ike = [\"default\", ⟦\"\"]", "bad-proposal", "empty"),
        ("ike", "ike = ⟦[]", "bad-proposal", "empty"),
        (
            "ike",
            "ike = [\"aes256gcm16-prfsha384-x25519\", ⟦\"aes256gcm16-prfsha384-x25519\"]",
            "bad-proposal",
            "twice",
        ),
        ("esp", "esp = [\"⟦aes256\"]", "bad-proposal", "integrity"),
        ("esp", "esp = [⟦\"aes256\\u0067cm16-bad\"]", "bad-proposal", "no algorithm"),
    ]);
}

#[test]
fn peers_and_their_identities() {
    peers(&[
        ("remote", "remote = ⟦\"host name\"", "bad-address", "host name"),
        ("remote", "remote = ⟦\"0.0.0.0\"", "bad-address", "no peer can be"),
        ("remote", "remote = [\"10.0.0.1\", ⟦\"a.example.com\"]", "bad-address", "only addresses"),
        ("remote", "remote = ⟦[]", "bad-address", "empty"),
        ("local_id", "local_id = ⟦\"\"", "bad-identity", "identity"),
        ("remote_id", "remote_id = ⟦\"any\"", "contradiction", "pre-shared key"),
        ("remote_id", "remote_id = ⟦\"cloud.example.com\"", "contradiction", "the same"),
        ("local_address", "local_address = ⟦\"eth0\"", "bad-address", "not an address"),
        ("local_address", "local_address = ⟦\"fd00::1\"", "contradiction", "families"),
        ("dpd", "dpd = { delay = ⟦\"soon\" }", "bad-duration", "not a duration"),
        ("dpd", "dpd = { delay = ⟦\"1ms\" }", "out-of-range", "too short"),
        ("lifetimes", "lifetimes = { child_bytes = ⟦\"1 gig\" }", "bad-size", "GiB"),
        ("lifetimes", "lifetimes = { child_bytes = ⟦\"1KiB\" }", "out-of-range", "too small"),
        ("lifetimes", "lifetimes = { child_packets = ⟦1 }", "out-of-range", "from 100"),
        ("lifetimes", "lifetimes = { jitter = ⟦90 }", "out-of-range", "from 0 to 50"),
        ("retransmit", "retransmit = { factor = ⟦9.5 }", "out-of-range", "from 1 to 4"),
        ("retransmit", "retransmit = { base = \"10s\", cap = ⟦\"1s\" }", "out-of-range", "at least 10s"),
        ("retransmit", "retransmit = { tries = ⟦0 }", "out-of-range", "from 1 to 20"),
        ("mtu", "mtu = ⟦9999", "out-of-range", "9000"),
        ("clamp_mss", "clamp_mss = ⟦\"on\"", "unknown-word", "\"off\""),
        ("fragment_size", "fragment_size = ⟦100", "out-of-range", "576"),
        ("remote_ike_port", "remote_ike_port = ⟦4500", "port-clash", "start_encapsulated"),
    ]);
    let lines: Vec<&str> = PEER.lines().collect();
    let without = |key: &str| {
        let left: Vec<&str> =
            lines.iter().copied().filter(|line| !line.starts_with(&format!("{key} ="))).collect();
        (left.join("\n") + "\n").replacen("[peers.office]", "[peers.⟦office]", 1)
    };
    let any = PEER.replace("\"203.0.113.7\"", "\"any\"");
    check(&[
        (&without("remote"), "missing-key", "no `remote`"),
        (&without("local_id"), "missing-identity", "local_id"),
        (&without("auth"), "missing-key", "psk_file"),
        (
            &any.replace("remote_id = \"office.example.com\"\n", "").replacen(
                "peers.office]",
                "peers.⟦office]",
                1,
            ),
            "missing-identity",
            "remote_id",
        ),
        (&any.replace("\"wait\"", "⟦\"connect\""), "contradiction", "anywhere"),
        (
            &any.replace("[peers.office.children.lan]", "[peers.office.children.lan]\nstart = ⟦\"trap\""),
            "contradiction",
            "anywhere",
        ),
        ("[peers.⟦office]\nremote = \"any\"\n", "missing-key", "no children"),
        (
            &PEER
                .replace("peers.office]", "peers.⟦\"of fice\"]")
                .replace("office.children", "\"of fice\".children"),
            "bad-name",
            "32",
        ),
    ]);
}

#[test]
fn credentials() {
    peers(&[
        ("auth", "auth = { psk_file = ⟦\"./missing.psk\" }", "unreadable-file", "does not exist"),
        ("auth", "auth = { psk_file = ⟦\"./\" }", "unreadable-file", "not a regular file"),
        ("auth", "auth = { psk_file = ⟦\"credential:a/b\" }", "bad-credential", "one word"),
        (
            "auth",
            "auth = { psk_file = \"./office.psk\", ⟦psk_files = [\"./old.psk\"] }",
            "contradiction",
            "beside",
        ),
        (
            "auth",
            "auth = { psk_file = \"./office.psk\", ⟦ca = [\"./ca.pem\"] }",
            "contradiction",
            "beside a pre-shared key",
        ),
        ("auth", "auth = { psk_files = ⟦[] }", "out-of-range", "one to eight"),
        (
            "auth",
            "auth = { psk_files = [\"./office.psk\", ⟦\"./office.psk\"] }",
            "repeated-secret",
            "same key",
        ),
        ("auth", "⟦auth = { certificate = \"./c.pem\" }", "missing-key", "no `key`"),
        ("auth", "⟦auth = { }", "missing-key", "is empty"),
        (
            "auth",
            "auth = { psk_file = \"./office.psk\" }\n⟦local_auth = { psk_file = \"./office.psk\" }",
            "contradiction",
            "beside `auth`",
        ),
        (
            "auth",
            "local_auth = { psk_file = \"./office.psk\" }\n⟦remote_auth = { revocation = \"chain\" }",
            "missing-key",
            "trusts nobody",
        ),
    ]);
}

#[test]
fn certificates_and_keys() {
    let lab = Lab::new();
    let make = |names: &[&str], until: (i32, u8, u8)| {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params =
            rcgen::CertificateParams::new(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>()).unwrap();
        params.not_after = rcgen::date_time_ymd(until.0, until.1, until.2);
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    };
    let (good, good_key) = make(&["cloud.example.com"], (2040, 1, 1));
    let (soon, soon_key) = make(&["cloud.example.com"], (2026, 11, 25));
    let (past, past_key) = make(&["cloud.example.com"], (2026, 1, 1));
    for (name, text) in [("good", &good), ("soon", &soon), ("past", &past)] {
        lab.write(&format!("{name}.pem"), text, 0o644);
    }
    for (name, text) in [("good", &good_key), ("soon", &soon_key), ("past", &past_key)] {
        lab.write(&format!("{name}.key"), text, 0o600);
    }
    lab.write("open.key", &good_key, 0o644);
    lab.write("junk.pem", "no certificate", 0o644);
    let peer = |certificate: &str, key: &str, extra: &str| {
        let auth = format!("auth = {{ certificate = {certificate}, key = {key}, {extra} }}");
        PEER.replace("auth = { psk_file = \"./office.psk\" }", &auth)
    };
    let pin = "peer_certificate = \"./good.pem\"";
    for (text, code, part) in [
        (peer("\"./good.pem\"", "⟦\"./soon.key\"", pin), "key-mismatch", "does not belong"),
        (peer("\"./good.pem\"", "⟦\"./open.key\"", pin), "open-secret", "chmod"),
        (peer("\"./good.pem\"", "⟦\"./junk.pem\"", pin), "open-secret", "chmod"),
        (peer("⟦\"./junk.pem\"", "\"./good.key\"", pin), "bad-certificate", "PEM"),
        (peer("⟦\"./none.pem\"", "\"./good.key\"", pin), "unreadable-file", "does not exist"),
        (peer("⟦\"./soon.pem\"", "\"./soon.key\"", pin), "expiring", "expires within 7 days"),
        (peer("⟦\"./past.pem\"", "\"./past.key\"", pin), "expiring", "expired on"),
        (peer("\"./good.pem\"", "\"./good.key\"", "ca = [⟦\"./good.pem\"]"), "bad-certificate", ""),
        (
            peer("\"./good.pem\"", "\"./good.key\"", &format!("{pin}, crl = [⟦\"./junk.pem\"]")),
            "bad-certificate",
            "",
        ),
        (
            peer("\"./good.pem\"", "\"./good.key\"", "peer_certificate = [\"./good.pem\", ⟦\"./junk.pem\"]"),
            "bad-certificate",
            "",
        ),
        (
            peer("\"./good.pem\"", "\"./good.key\"", &format!("{pin}, allow_sha1_signatures = ⟦true")),
            "weak-signatures",
            "SHA-1",
        ),
        (
            peer("\"./good.pem\"", "\"./good.key\"", pin)
                .replace("\"cloud.example.com\"", "⟦\"other.example.com\""),
            "identity-mismatch",
            "leave `local_id` out",
        ),
    ] {
        let (found, here) = at_mark(&lab, &text);
        let hit = here.iter().any(|error| {
            error.code == code
                && (error.message.contains(part)
                    || error.hint.as_ref().is_some_and(|hint| hint.contains(part)))
        });
        assert!(hit, "expected {code} with {part:?} at the mark of\n{text}\nfound\n{found}");
    }
    let config = lab.good(
        &peer("\"./good.pem\"", "\"./good.key\"", pin).replace("local_id = \"cloud.example.com\"\n", ""),
    );
    assert_eq!(config.peers[0].certificate_not_after, Some(2_208_988_800));
}

#[test]
fn children_and_routes() {
    peers(&[
        ("local", "local = [⟦\"172.16.0.1/16\"]", "bad-selector", "172.16.0.0/16"),
        ("local", "local = [\"172.16.0.0/16\", ⟦\"172.16.0.0/16\"]", "overlap", "twice"),
        ("local", "local = [\"172.16.0.0/16\", ⟦\"10.0.0.0/8[tpc/80]\"]", "bad-selector", "tpc"),
        ("local", "local = ⟦[]", "missing-key", "no `local`"),
        ("local", "local = ⟦[\"172.16.0.0/16\", \"fd00::/64\"]", "contradiction", "IPv6"),
    ]);
    let child = |lines: &str| {
        let head: Vec<&str> = PEER.lines().take(9).collect();
        format!("{}\n{lines}\n", head.join("\n"))
    };
    let local = "local = [\"172.16.0.0/16\"]";
    let cases = [
        (child(&format!("{local}\nremote = ⟦[\"0.0.0.0/0\"]")), "missing-routes", "explicit routes"),
        (
            child(&format!("{local}\nremote = [\"192.168.0.0/16\"]\nroutes = [⟦\"10.0.0.0/8\"]")),
            "route-outside",
            "10.0.0.0/8",
        ),
        (
            child(&format!("{local}\nremote = [\"192.168.0.0/16\"]\nroutes = [⟦\"x\"]")),
            "bad-selector",
            "not an address",
        ),
        (
            child(&format!("{local}\nremote = [\"192.168.0.0/16\"]\nroutes = [⟦\"192.168.0.0/16[tcp]\"]")),
            "bad-selector",
            "no protocol",
        ),
        (
            child(&format!("{local}\nremote = [\"10.0.0.0/8\", ⟦\"203.0.113.0/24\"]")),
            "swallows-peer",
            "203.0.113.7",
        ),
        (
            child(&format!("{local}\nremote = [\"0.0.0.0/0\"]\nroutes = ⟦[\"128.0.0.0/1\"]")),
            "swallows-peer",
            "default route",
        ),
        (
            child(&format!("{local}\nremote = [\"192.168.0.0/16\"]\nesp = [\"aes256gcm16\"]\npfs = ⟦true")),
            "contradiction",
            "group",
        ),
        (
            child(&format!("{local}\nremote = [\"192.168.0.0/16\"]\nlifetimes.time = ⟦\"x\"")),
            "bad-duration",
            "",
        ),
        (
            child(&format!(
                "{local}\nremote = [\"192.168.0.0/16\"]\n[peers.office.children.two]\n{local}\nremote = [\"10.0.0.0/8\", ⟦\"192.168.10.0/24\"]"
            )),
            "overlap",
            "office.lan",
        ),
        (PEER.replace("office.children.lan]", "office.children.⟦\"a b\"]"), "bad-name", "32"),
        (
            format!(
                "{PEER}{}",
                PEER.replace("office]", "zweig]")
                    .replace("office.children", "zweig.children")
                    .replace("203.0.113.7", "203.0.113.8")
                    .replace("office.example", "zweig.example")
                    .replace("\"192.168.10.0/24\"", "⟦\"192.168.0.0/16\"")
            ),
            "overlap",
            "(skybridge.toml:11)",
        ),
        (
            format!(
                "{PEER}{}",
                PEER.replace("office]", "zweig]")
                    .replace("office.children", "zweig.children")
                    .replace("192.168.10", "192.168.11")
                    .replace("\"office.example.com\"", "⟦\"office.example.com\"")
            ),
            "same-identity",
            "told apart",
        ),
        (
            PEER.replace("[peers.office]", "[peers.office]\nmtu = ⟦1000")
                .replace("172.16.0.0/16", "fd00::/64")
                .replace("192.168.10.0/24", "fd01::/64"),
            "out-of-range",
            "1280",
        ),
    ];
    let borrowed: Vec<(&str, &str, &str)> =
        cases.iter().map(|(text, code, part)| (text.as_str(), *code, *part)).collect();
    check(&borrowed);
}

#[test]
fn all_errors_are_shown_together_and_counted() {
    let text = PEER
        .replace("x25519\"]\nesp", "modp1024\"]\nesp")
        .replace("172.16.0.0/16", "172.16.0.1/16")
        .replace("./office.psk", "./none.psk");
    let found = Lab::new().bad(&text);
    assert_eq!(found.errors(), 3, "{found}");
    assert!(found.to_string().ends_with("3 errors in the configuration"));
}

#[test]
fn a_diagnostic_is_rendered_with_file_line_column_and_hint() {
    let found = Lab::new().bad("[endpoint]\nnane = \"x\"\n");
    let text = found.to_string();
    assert!(text.starts_with("error[unknown-key]: `[endpoint]` has no key `nane`"), "{text}");
    assert!(text.contains("--> skybridge.toml:2:1"), "{text}");
    assert!(text.contains("2 | nane = "), "{text}");
    assert!(text.contains("help: did you mean `name`?"), "{text}");
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "([a-z\\[\\].=\"{}0-9 \\n,é⟦-]{0,40}|\\[endpoint\\]\\n|\\[peers.a\\]\\n|auth = |remote = |ike = \\[\"|\"\\]\\n|[0-9]{1,20}){0,8}") {
        let lab = Path::new("/nonexistent");
        let _ = load_text("fuzz.toml", &text, lab, NOW).map_err(|found| found.to_string());
    }
}
