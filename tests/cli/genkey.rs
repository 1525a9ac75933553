//! `skybridge genkey`: keys, a small CA, and nothing overwritten.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use skybridge::lab::{Entered, LabError};

use crate::program::skybridge_in;
use crate::{Test, ensure};

pub(crate) const TESTS: &[Test] = &[
    ("genkey::a_psk_is_256_random_bits_and_a_good_key_file", psk),
    ("genkey::a_ca_issues_renews_and_revokes", ca),
    ("genkey::nothing_is_overwritten", overwrite),
    ("genkey::a_refusal_names_the_file_or_the_argument", refusals),
];

fn mode(folder: &Path, name: &str) -> u32 {
    fs::metadata(folder.join(name)).unwrap().permissions().mode() & 0o777
}

fn psk(_: &Entered) -> Result<(), LabError> {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let keys = [skybridge_in(folder, &["genkey", "psk"])?, skybridge_in(folder, &["genkey", "psk"])?];
    for key in &keys {
        key.answers(&[])?;
        ensure(
            key.stdout.trim_end().len() == 44 && key.stdout.ends_with("=\n"),
            format!("no base64 of 32 octets\n{key}"),
        )?;
    }
    ensure(keys[0].stdout != keys[1].stdout, "the same key twice")?;
    skybridge_in(folder, &["genkey", "psk", "--out", "office.psk"])?.answers(&["wrote office.psk"])?;
    ensure(mode(folder, "office.psk") == 0o600, "the key file is open")?;
    let (ca, key) = ("./office.psk", fs::read_to_string(folder.join("office.psk")).unwrap());
    fs::write(folder.join("skybridge.toml"), crate::check::PEER.replace("./key", ca)).unwrap();
    let said = skybridge_in(folder, &["check", "--config", "skybridge.toml"])?;
    said.answers(&["1 peer, "])?;
    ensure(!said.stdout.contains(key.trim()), "the key is shown")
}

fn make_ca(folder: &Path) -> Result<(), LabError> {
    skybridge_in(folder, &["genkey", "ca", "--name", "Example VPN CA", "--out", "ca"])?.answers(&[
        "wrote ca/ca.pem and ca/ca.key",
        "give ca.pem to every endpoint",
        "keep ca.key off them",
    ])
}

fn ca(_: &Entered) -> Result<(), LabError> {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    make_ca(folder)?;
    ensure(mode(folder, "ca/ca.key") == 0o600, "the CA's key is open")?;
    for kind in ["ecdsa-p256", "ecdsa-p384", "ed25519"] {
        skybridge_in(
            folder,
            &[
                "genkey",
                "endpoint",
                "--ca",
                "ca",
                "--id",
                "a.example.com",
                "--id",
                "192.0.2.1",
                "--out",
                kind,
                "--key-type",
                kind,
            ],
        )?
        .answers(&[&format!("wrote {kind}.pem and {kind}.key")])?;
        ensure(mode(folder, &format!("{kind}.key")) == 0o600, "the key is open")?;
    }
    let before = fs::read(folder.join("ed25519.pem")).unwrap();
    skybridge_in(
        folder,
        &["genkey", "renew", "--ca", "ca", "--certificate", "ed25519.pem", "--key", "ed25519.key"],
    )?
    .answers(&["renewed ed25519.pem", "skybridge reload"])?;
    ensure(before != fs::read(folder.join("ed25519.pem")).unwrap(), "the same certificate")?;
    skybridge_in(folder, &["genkey", "revoke", "--ca", "ca", "ecdsa-p256.pem"])?
        .answers(&["wrote ca/crl.pem with 1 revoked", "within 30 days"])?;
    skybridge_in(folder, &["genkey", "revoke", "--ca", "ca", "ecdsa-p384.pem", "--days", "7"])?
        .answers(&["with 2 revoked", "within 7 days"])?;
    skybridge_in(folder, &["genkey", "revoke", "--ca", "ca"])?.answers(&["with 2 revoked"])
}

fn overwrite(_: &Entered) -> Result<(), LabError> {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    make_ca(folder)?;
    fs::write(folder.join("one.key"), "precious").unwrap();
    fs::write(folder.join("two.pem"), "precious").unwrap();
    fs::create_dir(folder.join("half")).unwrap();
    fs::write(folder.join("half/ca.pem"), "precious").unwrap();
    let kept = "exists and is not overwritten: move it away first";
    skybridge_in(folder, &["genkey", "ca", "--name", "Other", "--out", "ca"])?.fails(&["ca/ca.", kept])?;
    skybridge_in(folder, &["genkey", "ca", "--name", "Other", "--out", "half"])?
        .fails(&["half/ca.pem", kept])?;
    skybridge_in(folder, &["genkey", "psk", "--out", "one.key"])?.fails(&["one.key", kept])?;
    for name in ["one", "two"] {
        skybridge_in(folder, &["genkey", "endpoint", "--ca", "ca", "--id", "a.example.com", "--out", name])?
            .fails(&[name, kept])?;
    }
    ensure(fs::read(folder.join("one.key")).unwrap() == b"precious", "overwritten")?;
    ensure(fs::read(folder.join("two.pem")).unwrap() == b"precious", "overwritten")?;
    ensure(
        !folder.join("two.key").exists() && !folder.join("half/ca.key").exists(),
        "a key without its certificate",
    )
}

fn refusals(_: &Entered) -> Result<(), LabError> {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    make_ca(folder)?;
    fs::write(folder.join("junk.pem"), "junk").unwrap();
    let endpoint = |id: &str, extra: &[&str]| {
        skybridge_in(
            folder,
            &[&["genkey", "endpoint", "--ca", "ca", "--id", id, "--out", "x"], extra].concat(),
        )
    };
    skybridge_in(folder, &["genkey", "endpoint", "--ca", "none", "--id", "a.example.com", "--out", "x"])?
        .fails(&["none/ca.pem does not exist"])?;
    endpoint("two words", &[])?.fails(&["--id \"two words\"", "host name"])?;
    endpoint("a.example.com", &["--days", "0"])?.fails(&["at least one day"])?;
    endpoint("a.example.com", &["--key-type", "rsa"])?.refuses(&["'rsa'", "ecdsa-p256", "ed25519"])?;
    skybridge_in(folder, &["genkey", "psk", "--out", "no/such/folder"])?
        .fails(&["no/such/folder", "folder does not exist"])?;
    skybridge_in(folder, &["genkey", "ca", "--name", "", "--out", "empty"])?.fails(&["CA \"\"", "empty"])?;
    skybridge_in(folder, &["genkey", "revoke", "--ca", "ca", "junk.pem"])?.fails(&["junk.pem: ", "PEM"])?;
    skybridge_in(folder, &["genkey", "revoke", "--ca", "ca", "none.pem"])?
        .fails(&["none.pem does not exist"])?;
    endpoint("a.example.com", &[])?.answers(&["wrote x.pem and x.key"])?;
    let renew = |certificate: &str, key: &str| {
        skybridge_in(folder, &["genkey", "renew", "--ca", "ca", "--certificate", certificate, "--key", key])
    };
    renew("x.pem", "ca/ca.key")?.fails(&["x.pem: ", "does not belong"])?;
    renew("junk.pem", "x.key")?.fails(&["junk.pem: ", "PEM"])
}
