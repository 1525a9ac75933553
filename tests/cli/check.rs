//! `skybridge check`: every diagnostic that the configuration can get, with its place and what to do.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use skybridge::lab::{Entered, LabError};

use crate::program::{Said, command, finish, skybridge, skybridge_in};
use crate::{Test, ensure};

pub(crate) const TESTS: &[Test] = &[
    ("check::a_good_file_is_counted", good),
    ("check::a_missing_file_is_refused", missing),
    ("check::every_diagnostic_shows_file_line_column_and_what_to_do", every_diagnostic),
    ("check::no_diagnostic_is_without_a_case", no_gap),
    ("check::what_has_no_place_says_where_it_comes_from", without_place),
    ("check::all_errors_come_at_once_and_are_counted", all_at_once),
    ("check::a_file_of_conf_d_is_named", conf_d),
    ("check::the_schema_is_json", schema),
    ("check::no_secret_is_shown", no_secret),
];

/// A whole peer.
pub(crate) const PEER: &str = r#"[peers.office]
remote = "203.0.113.7"
local_id = "cloud.example.com"
remote_id = "office.example.com"
auth = { psk_file = "./key" }
ike = ["aes256gcm16-prfsha384-x25519"]
esp = ["aes256gcm16-x25519"]
start = "wait"
[peers.office.children.lan]
local = ["172.16.0.0/16"]
remote = ["192.168.10.0/24"]
"#;

/// A folder with credentials: keys, and certificates of a CA made by `genkey`.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Result<Self, LabError> {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write("key", "correct horse battery staple 123\n", 0o600);
        folder.write("open", "correct horse battery staple 124\n", 0o644);
        folder.write("short", "secret\n", 0o600);
        folder.write("empty", "", 0o600);
        folder.write("lines", "one\ntwo\n", 0o600);
        folder.write("junk", "junk", 0o600);
        let genkey = |arguments: &[&str]| {
            skybridge_in(folder.path(), &[&["genkey"], arguments].concat())?.answers(&[])
        };
        genkey(&["ca", "--name", "Test CA", "--out", "ca"])?;
        genkey(&["endpoint", "--ca", "ca", "--id", "cloud.example.com", "--out", "good"])?;
        genkey(&["endpoint", "--ca", "ca", "--id", "cloud.example.com", "--out", "soon", "--days", "3"])?;
        Ok(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: &str, mode: u32) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn check(&self, text: &str) -> Result<Said, LabError> {
        self.write("skybridge.toml", text, 0o644);
        skybridge_in(self.path(), &["check", "--config", "skybridge.toml"])
    }
}

fn good(_: &Entered) -> Result<(), LabError> {
    let folder = Folder::new()?;
    folder.check(PEER)?.answers(&["skybridge.toml is usable: 1 peer, 1 child, 0 warnings"])?;
    let mut set = command(&["check"]);
    set.current_dir(folder.path()).env("SKYBRIDGE_CONFIG", "skybridge.toml");
    finish(set)?.answers(&["skybridge.toml is usable: 1 peer, 1 child, 0 warnings"])
}

fn missing(_: &Entered) -> Result<(), LabError> {
    let folder = Folder::new()?;
    for command in ["check", "run"] {
        skybridge_in(folder.path(), &[command, "--config", "none.toml"])?.refuses(&[
            "error[unreadable-file]: `none.toml` does not exist",
            "help: make it",
            "--config",
            "1 error in the configuration",
        ])?;
    }
    skybridge_in(folder.path(), &["check", "--config", "."])?.refuses(&["`.` is not a regular file"])?;
    fs::write(folder.path().join("latin.toml"), b"[endpoint]\nname = \"caf\xe9\"\n").unwrap();
    skybridge_in(folder.path(), &["check", "--config", "latin.toml"])?.refuses(&["is not UTF-8 at octet 22"])
}

/// The peer with one line replaced or, if it has no such key, added.
fn with(key: &str, line: &str) -> String {
    let mut lines: Vec<&str> = PEER.lines().collect();
    match lines.iter_mut().find(|known| known.starts_with(&format!("{key} ="))) {
        Some(known) => *known = line,
        None => lines.insert(1, line),
    }
    lines.join("\n") + "\n"
}

fn certificate(certificate: &str, key: &str, extra: &str) -> String {
    with(
        "auth",
        &format!("auth = {{ certificate = {certificate}, key = {key}, ca = [\"./ca/ca.pem\"]{extra} }}"),
    )
}

fn second_peer(change: &[(&str, &str)]) -> String {
    let mut second = PEER
        .replace("office", "zweig")
        .replace("203.0.113.7", "203.0.113.8")
        .replace("192.168.10", "192.168.11");
    for (from, to) in change {
        second = second.replace(from, to);
    }
    format!("{PEER}{second}")
}

/// One case for every code: the code, a file with a mark where the diagnostic must point, and a part of
/// what it must say.
fn cases() -> Vec<(&'static str, String, &'static str)> {
    let endpoint = |line: &str| format!("[endpoint]\n{line}\n{PEER}");
    let nets = |lines: &str| {
        let head: Vec<&str> = PEER.lines().take(9).collect();
        format!("{}\n{lines}\n", head.join("\n"))
    };
    vec![
        ("syntax", endpoint("name = \"a\"\n⟦name = \"b\""), "duplicate key"),
        ("unknown-key", endpoint("⟦nane = \"x\""), "did you mean `name`?"),
        ("wrong-type", endpoint("ike_port = ⟦\"500\""), "an integer, not a string"),
        ("unknown-word", endpoint("when_stopped = ⟦\"blocked\""), "did you mean \"block\""),
        ("out-of-range", endpoint("ike_port = ⟦70000"), "65535"),
        ("port-clash", endpoint("natt_port = ⟦500"), "the same"),
        ("bad-duration", endpoint("half_open_timeout = ⟦\"30\""), "\"30s\""),
        ("bad-name", endpoint("device = ⟦\"a-name-that-is-too-long\""), "15"),
        ("bad-path", endpoint("state_dir = ⟦\"var\""), "absolute"),
        ("bad-address", endpoint("listen = [⟦\"0.0.0.0:500\"]"), "ike_port"),
        ("unknown-user", endpoint("user = ⟦\"no-such-user-here\""), "useradd"),
        ("unknown-group", endpoint("control_group = ⟦\"no-such-group-here\""), "groupadd"),
        ("keylog-on", endpoint("log.keylog = ⟦\"/tmp/keys\""), "whoever has them"),
        ("bad-proposal", with("ike", "ike = [\"aes256gcm16-prfsha384-⟦x25591\"]"), "did you mean x25519"),
        ("bad-size", with("lifetimes", "lifetimes = { child_bytes = ⟦\"1 gig\" }"), "GiB"),
        ("bad-identity", with("local_id", "local_id = ⟦\"\""), "identity"),
        ("contradiction", with("remote_id", "remote_id = ⟦\"cloud.example.com\""), "the same"),
        (
            "missing-key",
            PEER.replace("[peers.office]\nremote = \"203.0.113.7\"\n", "[peers.⟦office]\n"),
            "no `remote`",
        ),
        (
            "missing-identity",
            PEER.replace("local_id = \"cloud.example.com\"\n", "").replacen(
                "[peers.office]",
                "[peers.⟦office]",
                1,
            ),
            "local_id",
        ),
        ("unreadable-file", with("auth", "auth = { psk_file = ⟦\"./none\" }"), "does not exist"),
        ("open-secret", with("auth", "auth = { psk_file = ⟦\"./open\" }"), "run: chmod 06"),
        (
            "bad-credential",
            with("auth", "auth = { psk_file = ⟦\"credential:psk\" }"),
            "LoadCredential=psk:PATH",
        ),
        ("empty-secret", with("auth", "auth = { psk_file = ⟦\"./empty\" }"), "genkey psk"),
        ("bad-secret", with("auth", "auth = { psk_file = ⟦\"./lines\" }"), "on one line"),
        ("weak-secret", with("auth", "auth = { psk_file = ⟦\"./short\" }"), "genkey psk"),
        ("repeated-secret", with("auth", "auth = { psk_files = [\"./key\", ⟦\"./key\"] }"), "same key"),
        ("bad-key", certificate("\"./good.pem\"", "⟦\"./junk\"", ""), "key"),
        ("key-mismatch", certificate("\"./good.pem\"", "⟦\"./soon.key\"", ""), "does not belong"),
        ("bad-certificate", certificate("⟦\"./junk\"", "\"./good.key\"", ""), "PEM"),
        ("expiring", certificate("⟦\"./soon.pem\"", "\"./soon.key\"", ""), "expires within 7 days"),
        (
            "weak-signatures",
            certificate("\"./good.pem\"", "\"./good.key\"", ", allow_sha1_signatures = ⟦true"),
            "SHA-1",
        ),
        (
            "preset",
            with("remote_id", "remote_id = ⟦\"office.example.com\"\npreset = \"gcp\"")
                .replace("\"cloud.example.com\"", "\"192.0.2.1\""),
            "leave `remote_id` out",
        ),
        (
            "identity-mismatch",
            certificate("\"./good.pem\"", "\"./good.key\"", "")
                .replace("\"cloud.example.com\"", "⟦\"other.example.com\""),
            "leave `local_id` out",
        ),
        ("bad-selector", with("local", "local = [⟦\"172.16.0.1/16\"]"), "172.16.0.0/16"),
        ("missing-routes", nets("local = [\"172.16.0.0/16\"]\nremote = ⟦[\"0.0.0.0/0\"]"), "explicit routes"),
        (
            "route-outside",
            nets("local = [\"172.16.0.0/16\"]\nremote = [\"192.168.0.0/16\"]\nroutes = [⟦\"10.0.0.0/8\"]"),
            "10.0.0.0/8",
        ),
        (
            "swallows-peer",
            nets("local = [\"172.16.0.0/16\"]\nremote = [\"10.0.0.0/8\", ⟦\"203.0.113.0/24\"]"),
            "203.0.113.7",
        ),
        ("overlap", second_peer(&[("\"192.168.11.0/24\"", "⟦\"192.168.0.0/16\"")]), "(skybridge.toml:11)"),
        (
            "same-identity",
            second_peer(&[
                ("\"zweig.example.com\"", "⟦\"office.example.com\""),
                ("203.0.113.8", "203.0.113.7"),
            ]),
            "different `remote_id`s",
        ),
        (
            "missing-file",
            PEER.to_owned() + "[clusters.prod]\nkubernetes = { kubeconfig = ⟦\"none\" }\n",
            "ServiceAccount",
        ),
        (
            "unreachable-services",
            PEER.to_owned() + "[clusters.prod]\nobjects = \"s.yaml\"\nservice_cidrs = [⟦\"172.20.0.0/16\"]\n",
            "\"172.20.0.0/16\" to `local`",
        ),
        (
            "not-yet-known",
            with("local", "local = [\"172.16.0.0/16\", ⟦\"cluster:prod/pods\"]")
                + "[clusters.prod]\nobjects = \"s.yaml\"\n",
            "as soon as it is known",
        ),
    ]
}

/// Codes that belong to no place in a file; see [`without_place`].
const WITHOUT_PLACE: [&str; 2] = ["no-peers", "unknown-variable"];

/// Codes whose message says by itself what is expected.
const WITHOUT_HELP: [&str; 1] = ["syntax"];

/// The diagnostic of this code at this place, up to the next one.
fn found<'a>(said: &'a Said, code: &str, place: &str) -> Option<&'a str> {
    said.stderr.split("\n\n").find(|block| {
        let first = block.lines().next().unwrap_or_default();
        let kinds = [format!("error[{code}]: "), format!("warning[{code}]: ")];
        kinds.iter().any(|kind| first.starts_with(kind.as_str()))
            && block.lines().any(|line| line.trim() == format!("--> {place}"))
    })
}

fn every_diagnostic(_: &Entered) -> Result<(), LabError> {
    let folder = Folder::new()?;
    let mut wrong = Vec::new();
    for (code, marked, part) in cases() {
        let offset = marked.find('⟦').expect("a mark");
        let before = &marked[..offset];
        let (line, column) =
            (before.matches('\n').count() + 1, before.rsplit('\n').next().unwrap().chars().count() + 1);
        let place = format!("skybridge.toml:{line}:{column}");
        let said = folder.check(&marked.replace('⟦', ""))?;
        let warning = said.stderr.starts_with("warning");
        let status = if warning { Some(0) } else { Some(2) };
        let whole = found(&said, code, &place).is_some_and(|block| {
            let help = block.contains(" help: ") || WITHOUT_HELP.contains(&code);
            // What is a secret is not there, and the line is.
            help && block.contains(part) && block.contains(&format!("{line} | ")) && block.contains('^')
        });
        let ending = if warning { "warning" } else { "skybridge: skybridge.toml is not usable\n" };
        let ended = if warning { said.stdout.contains(ending) } else { said.stderr.ends_with(ending) };
        if !whole || !ended || said.status != status {
            wrong.push(format!("expected {code} at {place} with {part:?} of\n{marked}\n{said}"));
        }
    }
    ensure(wrong.is_empty(), wrong.join("\n=====\n"))
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("tests") {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
            files.push(path);
        }
    }
}

/// The codes that the source of the configuration layer hands to whatever reports.
fn codes_in_source() -> BTreeSet<String> {
    const REPORTING: [&str; 8] =
        ["error(", "warning(", "error_at_key(", "error_within(", "build(", "code: ", "refuse(", "report("];
    let mut files = Vec::new();
    rust_files(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/config"), &mut files);
    let mut codes = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for call in REPORTING {
            for (at, _) in text.match_indices(call) {
                // The code is the first literal of the call that is a word, and no key's name.
                let rest = text[at + call.len()..].split(';').next().unwrap_or_default();
                let mut pieces = rest.split('"');
                let mut before = pieces.next().unwrap_or_default();
                while let (Some(literal), Some(after)) = (pieces.next(), pieces.next()) {
                    let word = !literal.is_empty()
                        && literal.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
                    if word && !before.ends_with("key(") && after.trim_start().starts_with([',', '\n', '}']) {
                        codes.insert(literal.to_owned());
                        break;
                    }
                    before = after;
                }
            }
        }
    }
    codes
}

fn no_gap(_: &Entered) -> Result<(), LabError> {
    let covered: BTreeSet<String> =
        cases().iter().map(|(code, ..)| (*code).to_owned()).chain(WITHOUT_PLACE.map(str::to_owned)).collect();
    let known = codes_in_source();
    let gaps: Vec<_> = known.difference(&covered).collect();
    let gone: Vec<_> = covered.difference(&known).collect();
    ensure(known.len() > 30, format!("the source was not understood: {known:?}"))?;
    ensure(gaps.is_empty() && gone.is_empty(), format!("no case for {gaps:?}; nothing reports {gone:?}"))
}

fn without_place(_: &Entered) -> Result<(), LabError> {
    let folder = Folder::new()?;
    let said = folder.check("[endpoint]\nname = \"x\"\n")?;
    ensure(
        said.status == Some(0) && said.stdout.contains("0 peers, 0 children, 1 warning"),
        said.to_string(),
    )?;
    ensure(said.stderr.contains("warning[no-peers]: no peer is configured"), said.to_string())?;
    ensure(said.stderr.contains("help: add a table [peers.NAME]"), said.to_string())?;

    let environment = |name: &str, value: &str| {
        folder.write("skybridge.toml", PEER, 0o644);
        let mut check = command(&["check", "--config", "skybridge.toml"]);
        check.current_dir(folder.path()).env(name, value);
        finish(check)
    };
    let said = environment("SKYBRIDGE_NAME", "x")?;
    ensure(said.status == Some(0) && said.stderr.contains("warning[unknown-variable]: "), said.to_string())?;
    ensure(
        said.stderr.contains("SKYBRIDGE_NAME") && said.stderr.contains("SKYBRIDGE_ENDPOINT__NAME"),
        said.to_string(),
    )?;
    environment("SKYBRIDGE_ENDPOINT__IKE_PORT", "many")?
        .refuses(&["error[wrong-type]", "--> SKYBRIDGE_ENDPOINT__IKE_PORT:1:"])?;
    environment("SKYBRIDGE_CONTROL", "/run/other.sock")?.answers(&["0 warnings"])
}

fn all_at_once(_: &Entered) -> Result<(), LabError> {
    let folder = Folder::new()?;
    let text = PEER
        .replace("x25519\"]\nesp", "modp1024\"]\nesp")
        .replace("./key", "./none")
        .replace("172.16.0.0", "172.16.0.1");
    let said = folder.check(&text)?;
    said.refuses(&["bad-proposal", "unreadable-file", "bad-selector", "3 errors in the configuration"])?;
    // The daemon says the same, and starts nothing.
    let run = skybridge_in(folder.path(), &["run", "--config", "skybridge.toml"])?;
    run.refuses(&["3 errors in the configuration", "nothing was started"])?;
    let diagnostics = |said: &Said| said.stderr.split("skybridge: ").next().unwrap().to_owned();
    ensure(diagnostics(&said) == diagnostics(&run), format!("{said}\n{run}"))
}

fn conf_d(_: &Entered) -> Result<(), LabError> {
    let folder = Folder::new()?;
    folder.write("conf.d/10-site.toml", "\n[endpoint]\nnane = \"x\"\n", 0o644);
    folder.check(PEER)?.refuses(&["--> conf.d/10-site.toml:3:1"])
}

fn schema(_: &Entered) -> Result<(), LabError> {
    let said = skybridge(&["check", "--schema"])?;
    said.answers(&["\"peers\"", "\"endpoint\"", "\"psk_file\""])?;
    let schema: serde_json::Value =
        serde_json::from_str(&said.stdout).map_err(|error| LabError::check(error.to_string()))?;
    ensure(schema.get("properties").is_some(), "no JSON Schema")
}

fn no_secret(_: &Entered) -> Result<(), LabError> {
    let folder = Folder::new()?;
    for line in [
        "auth = { psk = \"hunter2hunter2\" }",
        "auth = { psk_file = \"hunter2hunter2\" }",
        "auth = \"hunter2hunter2\"",
        "auth = { psk_file = \"hunter2hunter2 }",
    ] {
        let said = folder.check(&with("auth", line))?;
        said.refuses(&[":5:"])?;
        ensure(!said.to_string().contains("hunter2"), said.to_string())?;
    }
    Ok(())
}
