//! Runs `nft`: from fixed folders, without a shell, with its rules on standard input, bounded in time and output.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::Command,
};

use super::TableError;

const FOLDERS: [&str; 6] =
    ["/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin", "/run/current-system/sw/bin"];
/// What is read of its output; a listing without elements has some ten thousand octets.
const LARGEST: u64 = 64 << 20;
/// Octets of rules in one transaction where a large one is not taken; they take about twice as many in netlink.
const PART: usize = 48 << 10;
/// What is kept of its complaints.
const SAID: u64 = 4096;

/// The program, and how long one run may take.
#[derive(Debug, Clone)]
pub(super) struct Nft {
    pub(super) program: Option<PathBuf>,
    pub(super) patience: Duration,
}

impl Nft {
    /// Loads rules in one transaction.
    pub(super) async fn load(&self, rules: &str) -> Result<(), TableError> {
        self.run(&["-f", "-"], rules).await.map(drop)
    }

    /// Loads rules in one transaction if the kernel takes so many at once, and in several otherwise, in their order.
    /// How many: within a user namespace the socket's buffer has a limit of its own.
    pub(super) async fn load_large(&self, rules: &str) -> Result<u32, TableError> {
        match self.load(rules).await {
            Err(TableError::Refused { said }) if said.contains("Message too long") => {}
            done => return done.map(|()| 1),
        }
        let mut transactions = 0;
        for part in parts(rules, PART) {
            self.load(part).await?;
            transactions += 1;
        }
        Ok(transactions)
    }

    /// Asks the kernel whether it would take the rules, and changes nothing.
    pub(super) async fn check(&self, rules: &str) -> Result<(), TableError> {
        self.run(&["-c", "-f", "-"], rules).await.map(drop)
    }

    /// Its output; [`TableError::Refused`] if it ends with an error.
    pub(super) async fn run(&self, arguments: &[&str], rules: &str) -> Result<String, TableError> {
        let program = match &self.program {
            Some(program) => program.clone(),
            None => FOLDERS
                .iter()
                .map(|folder| Path::new(folder).join("nft"))
                .find(|path| path.is_file())
                .ok_or(TableError::NotInstalled)?,
        };
        let failed = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::NotFound => TableError::NotInstalled,
            _ => TableError::Run { program: program.clone(), source },
        };
        let mut child = Command::new(&program)
            .args(arguments)
            .env_clear()
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let work = async {
            let write = async {
                if let Some(mut stdin) = stdin {
                    // A program that ends early says why on its standard error.
                    let _ = stdin.write_all(rules.as_bytes()).await;
                }
            };
            let ((), out, said) = tokio::join!(write, text(stdout, LARGEST), text(stderr, SAID));
            Ok((child.wait().await?, out?, said?))
        };
        let (status, out, said) = match tokio::time::timeout(self.patience, work).await {
            Ok(done) => done.map_err(failed)?,
            Err(_) => return Err(TableError::TimedOut(self.patience)),
        };
        if status.success() {
            return Ok(out);
        }
        let said = if said.trim().is_empty() { status.to_string() } else { brief(&said) };
        if said.contains("Operation not permitted") || said.contains("must be root") {
            return Err(TableError::NotPermitted { said });
        }
        Err(TableError::Refused { said })
    }
}

/// What it says, up to so many octets; the rest is read and forgotten, so that the program can end.
async fn text(from: Option<impl AsyncRead + Unpin>, most: u64) -> std::io::Result<String> {
    let Some(mut from) = from else { return Ok(String::new()) };
    let mut octets = Vec::new();
    (&mut from).take(most).read_to_end(&mut octets).await?;
    tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    Ok(String::from_utf8_lossy(&octets).into_owned())
}

/// Whole commands, together of about `most` octets. A command's further lines begin with a tabulator.
fn parts(rules: &str, most: usize) -> Vec<&str> {
    let ends = rules.match_indices('\n').map(|(at, _)| at + 1).filter(|end| !rules[*end..].starts_with('\t'));
    let (mut parts, mut start) = (Vec::new(), 0);
    for end in ends {
        if end - start >= most || end == rules.len() {
            parts.push(&rules[start..end]);
            start = end;
        }
    }
    parts.extend(rules.get(start..).filter(|rest| !rest.is_empty()));
    parts
}

/// The first complaint, in one line.
fn brief(said: &str) -> String {
    let mut line: String = said
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .unwrap_or_default()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(300)
        .collect();
    if let Some(at) = line.find("Error: ") {
        line.drain(..at + "Error: ".len());
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(name: &str) -> Nft {
        Nft { program: Some(name.into()), patience: Duration::from_secs(10) }
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_told_as_such() {
        let error = program("/nowhere/nft").check("").await.unwrap_err();
        assert!(error.to_string().contains("install the package nftables"), "{error}");
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_stopped() {
        let mut folder = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut folder, b"#!/bin/sh\nexec sleep 1000\n").unwrap();
        let path = folder.into_temp_path();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        let nft = Nft { program: Some(path.to_path_buf()), patience: Duration::from_millis(50) };
        assert!(matches!(nft.check("").await, Err(TableError::TimedOut(_))));
    }

    #[test]
    fn parts_are_whole_commands_in_their_order() {
        let rules = "add a {\n\t1,\n\t2 }\nadd b\nadd c\n";
        assert_eq!(parts(rules, 1), ["add a {\n\t1,\n\t2 }\n", "add b\n", "add c\n"]);
        assert_eq!(parts(rules, 1000), [rules]);
        assert_eq!(parts(rules, 20).concat(), rules);
        assert_eq!(parts("", 1), [""; 0]);
    }

    #[test]
    fn the_first_complaint_is_told_in_one_line() {
        let said =
            "/dev/stdin:3:1-9: Error: Could not process rule: No such file or directory\nadd rule\n^^^\n";
        assert_eq!(brief(said), "Could not process rule: No such file or directory");
    }
}
