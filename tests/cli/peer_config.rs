//! `skybridge peer-config`: what it needs, what it writes and where, and what it refuses.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use skybridge::lab::{Entered, LabError};
use skybridge::peer_config::Target;

use crate::program::{Said, skybridge_in};
use crate::{Test, ensure};

pub(crate) const TESTS: &[Test] = &[
    ("peer_config::every_target_answers_without_secrets", every_target),
    ("peer_config::a_key_is_written_only_if_asked_for", with_secrets),
    ("peer_config::the_other_end_must_learn_where_we_are", address),
    ("peer_config::ranges_of_a_cluster_can_be_told", ranges),
    ("peer_config::several_files_are_written_into_a_folder_and_never_over_others", folder),
    ("peer_config::what_a_product_cannot_do_is_said_with_what_to_write", several_pairs),
    ("peer_config::unknown_peers_targets_and_texts_are_refused", refusals),
];

const KEY: &str = "only_for.this_TEST2026";

/// What every product can do.
const PLAIN: &str = r#"[endpoint]
name = "cloud"
user = "nobody-of-this-name"
[peers.office]
remote = "198.51.100.7"
local_id = "203.0.113.10"
auth = { psk_file = "key" }
ike = ["aes256-sha256-modp2048"]
esp = ["aes256-sha256-modp2048"]
[peers.office.children.lan]
local = ["172.16.0.0/16"]
remote = ["192.168.10.0/24"]
"#;

fn place(text: &str) -> Result<tempfile::TempDir, LabError> {
    let folder = tempfile::tempdir().map_err(LabError::io("make a folder"))?;
    fs::write(folder.path().join("skybridge.toml"), text).map_err(LabError::io("write a file"))?;
    Ok(folder)
}

fn run(folder: &Path, target: &str, more: &[&str]) -> Result<Said, LabError> {
    let fixed = ["peer-config", "office", "--for", target, "--config", "skybridge.toml"];
    skybridge_in(folder, &[&fixed, more].concat())
}

fn write_key(folder: &Path) -> Result<(), LabError> {
    let path = folder.join("key");
    fs::write(&path, format!("{KEY}\n")).map_err(LabError::io("write a file"))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(LabError::io("close a file"))
}

/// Neither the key nor the service's user exists here.
fn every_target(_: &Entered) -> Result<(), LabError> {
    let folder = place(PLAIN)?;
    for target in Target::ALL {
        run(folder.path(), target.word(), &[])?
            .answers(&[target.product(), "peer `office` of Skybridge endpoint `cloud`"])?;
    }
    Ok(())
}

fn with_secrets(_: &Entered) -> Result<(), LabError> {
    let folder = place(&PLAIN.replace("user = \"nobody-of-this-name\"\n", ""))?;
    let said = run(folder.path(), "strongswan", &["--with-secrets"])?;
    said.refuses(&["does not exist", "skybridge.toml is not usable"])?;
    write_key(folder.path())?;
    for target in Target::ALL {
        let said = run(folder.path(), target.word(), &["--with-secrets"])?;
        ensure(said.status == Some(0) && said.stdout.contains(KEY), format!("{target}\n{said}"))?;
        ensure(said.stderr.contains("keep it from others") && !said.stderr.contains(KEY), said.to_string())?;
        let said = run(folder.path(), target.word(), &[])?;
        ensure(said.status == Some(0) && !said.stdout.contains(KEY), format!("{target}\n{said}"))?;
    }
    Ok(())
}

fn address(_: &Entered) -> Result<(), LabError> {
    let named = PLAIN.replace("\"203.0.113.10\"", "\"cloud.example.com\"");
    let folder = place(&named)?;
    run(folder.path(), "strongswan", &[])?.refuses(&["`office` connects to us", "--address ADDRESS"])?;
    let more = ["--address", "203.0.113.99"];
    run(folder.path(), "strongswan", &more)?.answers(&["remote_addrs = 203.0.113.99\n"])?;
    let more = ["--address", "vpn.example.com"];
    run(folder.path(), "strongswan", &more)?.answers(&["remote_addrs = vpn.example.com\n"])?;
    let connecting = place(&named.replace("auth =", "start = \"connect\"\nauth ="))?;
    run(connecting.path(), "strongswan", &[])?
        .answers(&["remote_addrs = %any\n", "start_action = none\n"])?;
    let private = place(&named.replace("auth =", "local_address = \"10.0.0.4\"\nauth ="))?;
    run(private.path(), "strongswan", &[])?
        .answers(&["remote_addrs = 10.0.0.4\n", "10.0.0.4 is a private address"])
}

fn ranges(_: &Entered) -> Result<(), LabError> {
    let text = PLAIN.replace("\"172.16.0.0/16\"", "\"cluster:prod/services\"");
    let folder = place(&(text + "[clusters.prod]\nobjects = \"objects.yaml\"\n"))?;
    let said = run(folder.path(), "strongswan", &[])?;
    said.refuses(&["refers to a cluster whose ranges are not configured", "--range"])?;
    let more = ["--range", "prod/services=172.20.0.0/16", "--range", "prod/services=172.21.0.0/16"];
    run(folder.path(), "strongswan", &more)?.answers(&["remote_ts = 172.20.0.0/16,172.21.0.0/16\n"])
}

fn folder(_: &Entered) -> Result<(), LabError> {
    let folder = place(&PLAIN.replace("user = \"nobody-of-this-name\"\n", ""))?;
    write_key(folder.path())?;
    run(folder.path(), "libreswan", &[])?.answers(&[
        "# ==== cloud.conf ====\n",
        "# ==== cloud.secrets ====\n",
        "PUT-THE-PRE-SHARED-KEY-HERE",
    ])?;
    let more = ["--with-secrets", "--out", "there"];
    let said = run(folder.path(), "libreswan", &more)?;
    ensure(said.status == Some(0), said.to_string())?;
    ensure(!said.stdout.contains(KEY) && said.stdout.contains("wrote there/cloud.conf"), said.to_string())?;
    let mode = |name: &str| {
        let meta = fs::metadata(folder.path().join("there").join(name)).map_err(LabError::io("look"))?;
        Ok::<_, LabError>(meta.permissions().mode() & 0o777)
    };
    ensure(mode("cloud.secrets")? == 0o600, "a secret is open")?;
    ensure(mode("cloud.conf")? & 0o400 != 0, "no file")?;
    let again = run(folder.path(), "libreswan", &["--out", "there"])?;
    again.fails(&["there/cloud.conf exists and is not overwritten"])
}

fn several_pairs(_: &Entered) -> Result<(), LabError> {
    let folder = place(&PLAIN.replace("\"172.16.0.0/16\"", "\"172.16.0.0/16\", \"10.0.2.0/24\""))?;
    let said = run(folder.path(), "libreswan", &[])?;
    ensure(said.status == Some(1) && said.stdout.is_empty(), said.to_string())?;
    let hint = said.stderr.split_once("in our configuration:\n").map(|(_, hint)| hint.to_owned());
    let hint = hint.ok_or_else(|| LabError::check(said.to_string()))?;
    let head = PLAIN.split("[peers.office.children").next().unwrap_or_default();
    let split = place(&format!("{head}{hint}"))?;
    run(split.path(), "libreswan", &[])?.answers(&["conn cloud-lan\n", "conn cloud-lan-2\n"])
}

fn refusals(_: &Entered) -> Result<(), LabError> {
    let folder = place(PLAIN)?;
    let fixed = ["peer-config", "offcie", "--for", "strongswan", "--config", "skybridge.toml"];
    skybridge_in(folder.path(), &fixed)?.refuses(&["no peer `offcie`", "the peers are: office"])?;
    run(folder.path(), "netscreen", &[])?.refuses(&["'netscreen'", "strongswan", "libreswan"])?;
    run(folder.path(), "strongswan", &["--address", "not an address"])?
        .refuses(&["an address or a host name"])?;
    run(folder.path(), "strongswan", &["--range", "prod=10.0.0.0/8"])?
        .refuses(&["CLUSTER/services=PREFIX"])?;
    skybridge_in(folder.path(), &["peer-config", "office"])?.refuses(&["--for <TARGET>"])?;
    let quoting = place(&PLAIN.replace("\"203.0.113.10\"", "\"a\\\"b@example.com\""))?;
    run(quoting.path(), "strongswan", &["--address", "203.0.113.10"])?.fails(&["cannot be written"])
}
