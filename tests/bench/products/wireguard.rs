//! The WireGuard implementations: one program a gateway, told over its control socket what `wg` would tell it.

use std::{
    fs::File,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::{Path as FilePath, PathBuf},
    process::{Command, Stdio},
};

use skybridge::lab::{
    Child, LabError, Namespace,
    path::{FAR, FAR_NET, NEAR, NEAR_NET, Path},
    wait::until,
};
use x25519_dalek::{PublicKey, StaticSecret};

use super::{Life, PATIENCE, Running, Tools, tail};

const PORT: u16 = 51_820;
const LOGS: &str = "/run/wireguard-lab";

/// One implementation: how it is called.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    program: &'static str,
    /// Arguments that keep it in the foreground and as root; the device's name follows.
    arguments: &'static [&'static str],
}

pub const WIREGUARD_GO: Kind = Kind { program: "wireguard-go", arguments: &["-f"] };
pub const BORINGTUN: Kind =
    Kind { program: "boringtun-cli", arguments: &["--foreground", "--disable-drop-privileges"] };
pub const GOTATUN: Kind =
    Kind { program: "gotatun", arguments: &["--foreground", "--disable-drop-privileges"] };

struct Pair(#[allow(dead_code)] [Child; 2]);

impl Life for Pair {
    fn words(&self) -> String {
        let logs = ["wgnear", "wgfar"].map(|device| tail(&log(device)));
        logs.join("\n---\n")
    }
}

fn log(device: &str) -> PathBuf {
    FilePath::new(LOGS).join(device)
}

pub fn probe(tools: &Tools, kind: Kind) -> Result<String, String> {
    let program = tools.program(kind.program).ok_or("not installed")?;
    let output = Command::new(program).arg("--version").output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().next().unwrap_or_default();
    let version = line.split_whitespace().find(|word| word.contains(|c: char| c.is_ascii_digit()));
    Ok(version.unwrap_or("of unknown version").trim_start_matches('v').to_owned())
}

pub fn start(path: &Path, tools: &Tools, kind: Kind) -> Result<Running, LabError> {
    let program = tools
        .program(kind.program)
        .ok_or_else(|| LabError::check(format!("{} is not installed", kind.program)))?;
    path.forward()?;
    std::fs::create_dir_all(LOGS).map_err(LabError::io("make a folder"))?;
    let near = Side { namespace: &path.near, device: "wgnear", key: 1, other: 2, remote: FAR, net: FAR_NET };
    let far = Side { namespace: &path.far, device: "wgfar", key: 2, other: 1, remote: NEAR, net: NEAR_NET };
    let near = near.start(&program, kind)?;
    let far = far.start(&program, kind)?;
    let daemons = vec![near.id(), far.id()];
    Ok(Running::new(Pair([near, far]), daemons).with_devices(path, "wgnear", "wgfar"))
}

struct Side<'a> {
    namespace: &'a Namespace,
    device: &'a str,
    key: u8,
    other: u8,
    remote: &'a str,
    net: &'a str,
}

impl Side<'_> {
    fn start(&self, program: &FilePath, kind: Kind) -> Result<Child, LabError> {
        let output = File::create(log(self.device)).map_err(LabError::io("open a log"))?;
        let errors = output.try_clone().map_err(LabError::io("open a log"))?;
        let socket = PathBuf::from(format!("/var/run/wireguard/{}.sock", self.device));
        // One that an earlier round's daemon left when it was killed.
        let _ = std::fs::remove_file(&socket);
        let mut command = Command::new(program);
        command
            .args(kind.arguments)
            .arg(self.device)
            .env("WG_QUICK_USERSPACE_IMPLEMENTATION", "")
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors);
        let child = self.namespace.spawn(command)?;
        let settings = format!(
            "set=1\nprivate_key={}\nlisten_port={PORT}\npublic_key={}\nendpoint={}:{PORT}\n\
             replace_allowed_ips=true\nallowed_ip={}\n\n",
            hex(secret(self.key).as_bytes()),
            hex(PublicKey::from(&secret(self.other)).as_bytes()),
            self.remote,
            self.net
        );
        until(&format!("{} takes its settings", kind.program), PATIENCE, || {
            Ok(tell(&socket, &settings).map_err(|error| format!("{error}\n{}", tail(&log(self.device)))))
        })?;
        self.namespace.set_mtu(self.device, skybridge::lab::path::INNER_MTU)?;
        self.namespace.set_up(self.device)?;
        self.namespace.route_by_link(self.net, self.device)?;
        Ok(child)
    }
}

/// A key for the lab alone.
fn secret(number: u8) -> StaticSecret {
    StaticSecret::from([number; 32])
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn tell(socket: &FilePath, settings: &str) -> std::io::Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(settings.as_bytes())?;
    let mut answer = [0_u8; 256];
    let length = stream.read(&mut answer)?;
    let answer = String::from_utf8_lossy(answer.get(..length).unwrap_or_default()).into_owned();
    if answer.contains("errno=0") { Ok(()) } else { Err(std::io::Error::other(answer)) }
}
