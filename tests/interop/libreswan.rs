//! What `skybridge peer-config --for libreswan` writes, read by libreswan's own checkers.
//!
//! No daemon is run: its package and strongSwan's exclude each other, so that only its programs are here, unpacked by
//! `tests/setup.sh test`. `addconn --checkconfig` reports an error and still succeeds, and says nothing about algorithms;
//! so its words count, and each `ike=` and `esp=` goes to `algparse` as well.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Configurations of ours: what stands in the peer's table, and the children.
const CASES: &[(&str, &str, &str)] = &[
    (
        "defaults",
        "remote = \"198.51.100.7\"\nlocal_id = \"cloud.example.com\"\nremote_id = \"office.example.com\"",
        "[peers.office.children.lan]\nlocal = [\"172.16.0.0/16\"]\nremote = [\"192.168.10.0/24\"]\n\
         [peers.office.children.pods]\nlocal = [\"10.0.2.0/24\"]\nremote = [\"192.168.10.0/24\"]",
    ),
    (
        "gcm",
        "remote = \"198.51.100.7\"\nlocal_id = \"203.0.113.10\"\nremote_id = \"admin@example.com\"\nstart = \"connect\"\n\
         ike = [\"aes256gcm12-aes128gcm8-prfsha384-ecp384\", \"chacha20poly1305-prfsha512-x25519\"]\n\
         esp = [\"aes256gcm16-x25519-esn\", \"aes128gcm12-esn\"]\nlifetimes = { ike = \"2d\", child = \"30s\" }",
        "[peers.office.children.web]\nlocal = [\"172.16.0.1[tcp/443]\"]\nremote = [\"192.168.10.0/24[tcp]\"]",
    ),
    (
        "cbc",
        "remote = \"2001:db8::7\"\nlocal_id = \"C=CH, O=Example, CN=cloud\"\nremote_id = \"keyid:0a1b2c\"\nstart = \"trap\"\n\
         ike = [\"aes256-aes128-sha512-sha256-modp4096\"]\nesp = [\"aes192-sha384-sha256-noesn\"]\ndpd = { delay = \"off\" }",
        "[peers.office.children.v6]\nlocal = [\"fd00:1::/64\"]\nremote = [\"fd00:2::/64\"]\n\
         [peers.office.children.ping]\nlocal = [\"10.1.0.0/16[icmp]\"]\nremote = [\"10.2.0.0/16[icmp/8/0]\"]",
    ),
];

const PSK: &str = "between \"two\" ends";

/// Every configuration passes. Gives the version of libreswan.
pub fn check() -> Result<String, Failure> {
    let programs = programs()?;
    for (name, peer, children) in CASES {
        for (auth, secret) in [("auth = { psk_file = \"psk\" }", true), (CERTIFICATES, false)] {
            let folder = Path::new("/run/libreswan-lab").join(format!("{name}-{secret}"));
            write(
                &folder,
                &format!("[endpoint]\nname = \"cloud\"\n[peers.office]\n{peer}\n{auth}\n{children}\n"),
            )?;
            let text = fs::read_to_string(folder.join("out/cloud.conf"))?;
            let told = format!("{name}\n{text}");
            reads(&programs, &folder.join("out/cloud.conf")).map_err(|error| format!("{error}\n{told}"))?;
            algorithms(&programs, &text).map_err(|error| format!("{error}\n{told}"))?;
            if fs::exists(folder.join("out/cloud.secrets"))? != secret {
                return Err(format!("{name}: a file with a key for whoever has none, or none").into());
            }
        }
    }
    // A checker that finds nothing would prove nothing.
    let wrong = Path::new("/run/libreswan-lab/wrong.conf");
    fs::write(wrong, "conn t\n  left=%defaultroute\n  right=192.0.2.1\n  leftsubnet=nonsense\n  auto=add\n")?;
    if reads(&programs, wrong).is_ok() || algorithms(&programs, "esp=aes_gcm256-dh31").is_ok() {
        return Err("libreswan's checkers accept what is wrong".into());
    }
    version(&programs)
}

const CERTIFICATES: &str = "auth = { certificate = \"own.pem\", key = \"own.key\", ca = [\"ca.pem\"] }";

fn programs() -> Result<PathBuf, Failure> {
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/libreswan/usr/libexec/ipsec");
    let found = [unpacked, PathBuf::from("/usr/libexec/ipsec")];
    let found = found.into_iter().find(|folder| folder.join("addconn").exists());
    found.ok_or_else(|| "libreswan's programs are missing: run tests/setup.sh test".into())
}

/// Our configuration, and what is made of it in `out`.
fn write(folder: &Path, config: &str) -> Result<(), Failure> {
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder)?;
    fs::write(folder.join("skybridge.toml"), config)?;
    fs::write(folder.join("psk"), PSK)?;
    std::os::unix::fs::chown(folder.join("psk"), None, None)?;
    fs::set_permissions(folder.join("psk"), std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_skybridge"));
    command.args(["peer-config", "office", "--for", "libreswan", "--address", "203.0.113.10", "--out"]);
    command.arg(folder.join("out")).arg("--config").arg(folder.join("skybridge.toml"));
    let output = command.output()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{config}\n{}", String::from_utf8_lossy(&output.stderr)).into()),
    }
}

fn run(programs: &Path, program: &str, arguments: &[&str]) -> Result<(bool, String), Failure> {
    let output = Command::new(programs.join(program)).args(arguments).output()?;
    let said = [output.stdout, output.stderr].concat();
    Ok((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
}

/// `addconn --checkconfig` has nothing to say, and `readwriteconf` writes every connection again.
fn reads(programs: &Path, file: &Path) -> Result<(), Failure> {
    let path = file.display().to_string();
    let (well, said) = run(programs, "addconn", &["--config", &path, "--checkconfig"])?;
    if !well || !said.trim().is_empty() {
        return Err(format!("addconn: {said}").into());
    }
    let (well, said) = run(programs, "readwriteconf", &["--config", &path])?;
    let text = fs::read_to_string(file)?;
    let connections = |text: &str| text.lines().filter(|line| line.starts_with("conn ")).count();
    if !well || said.contains("ignoring") || connections(&said) != connections(&text) {
        return Err(format!("readwriteconf: {said}").into());
    }
    Ok(())
}

fn algorithms(programs: &Path, text: &str) -> Result<(), Failure> {
    for line in
        text.lines().map(str::trim).filter(|line| line.starts_with("ike=") || line.starts_with("esp="))
    {
        let (well, said) = run(programs, "algparse", &["-v2", "-pfs=yes", line])?;
        if !well || said.contains("ERROR") || said.contains("ignoring") {
            return Err(format!("algparse: {said}").into());
        }
    }
    Ok(())
}

/// As its command says.
fn version(programs: &Path) -> Result<String, Failure> {
    let (_, said) = run(programs, "../../sbin/ipsec", &["--version"])?;
    let word = said.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    Ok(word.ok_or_else(|| format!("ipsec --version says {said}"))?.to_owned())
}
