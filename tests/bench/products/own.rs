//! Skybridge: the real executable with real files.

use std::{fmt::Write, time::Duration};

use skybridge::lab::{
    Daemon, LabError,
    path::{FAR, FAR_NET, INNER_MTU, NEAR, NEAR_NET, Path},
    site,
    traffic::series,
};

use super::{Life, PATIENCE, Running, Tools, server};

/// As it comes.
pub const DEFAULT: &str = "";
/// Without segmentation offload.
pub const PLAIN: &str = "\n[endpoint.dataplane]\noffload = false\n";
/// The documented setting for low latency.
pub const LOW_LATENCY: &str = "\n[endpoint.dataplane]\npolling = \"low-latency\"\n";

const DEVICE: &str = "skybridge0";
const KEY: &str = "tunnel.psk";

struct Pair {
    near: Daemon,
    far: Daemon,
}

impl Life for Pair {
    fn words(&self) -> String {
        format!("--- near:\n{}\n--- far:\n{}", self.near.last_words(15), self.far.last_words(15))
    }
}

/// Whether this executable knows these settings, and its version.
pub fn probe(tools: &Tools, more: &str) -> Result<String, String> {
    let run = |arguments: &[&str]| {
        let output = std::process::Command::new(&tools.skybridge).args(arguments).output();
        let output = output.map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if output.status.success() {
            Ok(text)
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    };
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let path = folder.path().display().to_string();
    for (name, text) in files(&path, Side::Near, more) {
        use std::os::unix::fs::OpenOptionsExt;
        let mut options = std::fs::File::options();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(folder.path().join(name));
        file.and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()))
            .map_err(|error| error.to_string())?;
    }
    run(&["check", "--config", &format!("{path}/skybridge.toml")])
        .map_err(|said| format!("it refuses the settings: {}", said.lines().next().unwrap_or_default()))?;
    let version = run(&["--version"])?;
    Ok(version.trim_start_matches("skybridge ").to_owned())
}

pub fn start(path: &Path, tools: &Tools, more: &str) -> Result<Running, LabError> {
    let far = Daemon::prepare(&path.far, &tools.skybridge, |folder| files(folder, Side::Far, more))?;
    let near = Daemon::prepare(&path.near, &tools.skybridge, |folder| files(folder, Side::Near, more))?;
    let mut pair = Pair { near, far };
    pair.far.start_and_wait()?;
    let first = std::thread::scope(|scope| {
        let interval = Duration::from_millis(2);
        let first = scope.spawn(move || series::until_first(&path.client, server(), interval, PATIENCE));
        pair.near.start()?;
        first.join().unwrap_or_else(|cause| std::panic::resume_unwind(cause))
    })?;
    pair.near.wait_up("other", PATIENCE)?;
    pair.far.wait_up("other", PATIENCE)?;
    let daemons = [pair.near.pid(), pair.far.pid()].into_iter().flatten().collect();
    let mut running = Running::new(pair, daemons).with_devices(path, DEVICE, DEVICE);
    running.first_packet = first.first;
    Ok(running)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Near,
    Far,
}

fn files(folder: &str, side: Side, more: &str) -> Vec<site::File> {
    let (name, other, remote, start, local_net, remote_net) = match side {
        Side::Near => ("near", "far", FAR, "connect", NEAR_NET, FAR_NET),
        Side::Far => ("far", "near", NEAR, "wait", FAR_NET, NEAR_NET),
    };
    let mut text = format!(
        "[endpoint]\nname = \"{name}\"\ncontrol_socket = \"{folder}/control.sock\"\nstate_dir = \"{folder}/state\"\n\
         mtu = {INNER_MTU}\n{more}"
    );
    let _ = write!(
        text,
        "\n[peers.other]\nremote = \"{remote}\"\nlocal_id = \"{name}.example.com\"\n\
         remote_id = \"{other}.example.com\"\nauth = {{ psk_file = \"{folder}/{KEY}\" }}\n\
         ike = [\"aes256gcm16-prfsha384-x25519\"]\nesp = [\"aes256gcm16-x25519\"]\nstart = \"{start}\"\n\
         \n[peers.other.children.net]\nlocal = [\"{local_net}\"]\nremote = [\"{remote_net}\"]\n"
    );
    vec![("skybridge.toml", text), (KEY, "guards nothing but a benchmark's zeroes\n".to_owned())]
}
