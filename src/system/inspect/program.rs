//! Runs a listing program: from fixed directories, without a shell, bounded in time and output.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::Command;

const DIRECTORIES: [&str; 6] =
    ["/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin", "/run/current-system/sw/bin"];
const TIMEOUT: Duration = Duration::from_secs(5);
const LARGEST: u64 = 16 << 20;

/// Its standard output; `Err` with a reason for the operator.
pub(super) async fn output(name: &str, arguments: &[&str]) -> Result<Vec<u8>, String> {
    let Some(path) = DIRECTORIES.iter().map(|dir| Path::new(dir).join(name)).find(|path| path.is_file())
    else {
        return Err(format!("{name} is not installed"));
    };
    let mut child = Command::new(path)
        .args(arguments)
        .env_clear()
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("{name}: {error}"))?;
    let Some(stdout) = child.stdout.take() else { return Err(format!("{name}: no output")) };
    let work = async {
        let mut octets = Vec::new();
        stdout.take(LARGEST).read_to_end(&mut octets).await.map_err(|error| format!("{name}: {error}"))?;
        if octets.len() as u64 >= LARGEST {
            return Err(format!("{name}: more than {LARGEST} octets of rules"));
        }
        let status = child.wait().await.map_err(|error| format!("{name}: {error}"))?;
        if status.success() { Ok(octets) } else { Err(format!("{name} ended with {status}")) }
    };
    tokio::time::timeout(TIMEOUT, work).await.map_err(|_| format!("{name} did not end in time"))?
}
