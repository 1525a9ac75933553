//! A daemon in a namespace: the real executable, its files, and the ways to start, stop, kill and ask it.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::Write,
    os::unix::{
        fs::{OpenOptionsExt, PermissionsExt},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use nix::sys::signal::Signal;

use super::{Child, LabError, namespace::Namespace, site, wait::until};
use crate::control::{
    Action, RekeyTarget,
    api::{ChildStatus, PeerState, PeerStatus, Status},
    client::{Client, ClientError},
    services::Services,
};

/// Where the endpoints keep their files; inside the lab's own `/run`.
const FOLDER: &str = "/run/skybridge-lab";

/// How long a daemon may take to answer its first question, and to stop.
const PATIENCE: Duration = Duration::from_secs(20);

/// An endpoint's daemon. Dropping it kills the process and leaves the namespace as it is.
#[derive(Debug)]
pub struct Daemon {
    namespace: Namespace,
    program: PathBuf,
    folder: PathBuf,
    child: Option<Child>,
}

impl Daemon {
    /// Prepares a daemon that runs `program` in a namespace, without starting it. `files` gets the folder
    /// where the endpoint's files will be.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn prepare(
        namespace: &Namespace,
        program: &Path,
        files: impl FnOnce(&str) -> Vec<site::File>,
    ) -> Result<Self, LabError> {
        let folder = PathBuf::from(FOLDER).join(namespace.name());
        // Whatever an earlier lab of this process left there.
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).map_err(LabError::io(format!("make {}", folder.display())))?;
        fs::set_permissions(&folder, Permissions::from_mode(0o755))
            .map_err(LabError::io("open the folder"))?;
        let daemon = Self { namespace: namespace.clone(), program: program.to_owned(), folder, child: None };
        daemon.write(files)?;
        Ok(daemon)
    }

    /// Writes the endpoint's files anew; a running daemon reads them at its next reload.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn write(&self, files: impl FnOnce(&str) -> Vec<site::File>) -> Result<(), LabError> {
        for (name, text) in files(&self.folder.display().to_string()) {
            let path = self.folder.join(name);
            let step = || format!("write {}", path.display());
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&path)
                .map_err(LabError::io(step()))?;
            file.write_all(text.as_bytes()).map_err(LabError::io(step()))?;
        }
        Ok(())
    }

    /// The namespace it belongs to.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Its configuration file.
    pub fn config(&self) -> PathBuf {
        self.folder.join("skybridge.toml")
    }

    /// Its control socket.
    pub fn control(&self) -> PathBuf {
        self.folder.join("control.sock")
    }

    /// The file that holds everything it wrote.
    pub fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// The last lines it wrote.
    pub fn last_words(&self, lines: usize) -> String {
        let text = fs::read_to_string(self.log()).unwrap_or_default();
        let all: Vec<&str> = text.lines().collect();
        all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
    }

    /// Its process ID, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Starts it, without waiting for anything.
    ///
    /// # Errors
    /// It runs already, or cannot be started.
    pub fn start(&mut self) -> Result<(), LabError> {
        if self.child.is_some() {
            return Err(LabError::check(format!("the daemon in {} runs already", self.namespace.name())));
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log())
            .map_err(LabError::io("open the daemon's log"))?;
        let errors = log.try_clone().map_err(LabError::io("open the daemon's log"))?;
        let mut command = self.command(&["run", "--config"]);
        command.arg(self.config()).stdin(std::process::Stdio::null()).stdout(log).stderr(errors);
        self.child = Some(self.namespace.spawn(command)?);
        Ok(())
    }

    /// Starts it and waits until it answers on its control socket.
    ///
    /// # Errors
    /// It ends, or does not answer in time: with its last words.
    pub fn start_and_wait(&mut self) -> Result<(), LabError> {
        self.start()?;
        let what = format!("the daemon in {} answers", self.namespace.name());
        until(&what, PATIENCE, || {
            self.alive()?;
            Ok(self.status().map(drop).map_err(|error| error.to_string()))
        })
    }

    /// Fails with its last words if it does not run.
    ///
    /// # Errors
    /// It does not run.
    pub fn alive(&mut self) -> Result<(), LabError> {
        let ended = match &mut self.child {
            Some(child) => child.ended()?.map(|status| status.to_string()),
            None => Some("not started".to_owned()),
        };
        match ended {
            None => Ok(()),
            Some(why) => Err(LabError::Program {
                program: format!("the daemon in {}", self.namespace.name()),
                reason: format!("{why}\n{}", self.last_words(20)),
            }),
        }
    }

    /// Ends it as a service manager does, and waits until it is gone.
    ///
    /// # Errors
    /// It does not run, does not stop in time, or stops with a failure.
    pub fn stop(&mut self) -> Result<(), LabError> {
        self.alive()?;
        let Some(mut child) = self.child.take() else { return Ok(()) };
        child.signal(Signal::SIGTERM)?;
        let status = child.wait(PATIENCE)?;
        if status.success() {
            return Ok(());
        }
        let program = format!("the daemon in {}", self.namespace.name());
        Err(LabError::Program { program, reason: format!("{status}\n{}", self.last_words(20)) })
    }

    /// Ends it as `kill -9` does.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(&mut self) -> Result<(), LabError> {
        self.alive()?;
        match self.child.take() {
            Some(mut child) => child.kill().map(drop),
            None => Ok(()),
        }
    }

    /// Removes what outlives a stopped daemon, as package removal does.
    ///
    /// # Errors
    /// The command fails.
    pub fn cleanup(&self) -> Result<String, LabError> {
        let mut command = self.command(&["cleanup", "--config"]);
        command.arg(self.config());
        self.namespace.output(command, "")
    }

    /// Runs `skybridge` with these arguments and the daemon's control socket.
    ///
    /// # Errors
    /// The command fails: with what it wrote.
    pub fn cli(&self, arguments: &[&str]) -> Result<String, LabError> {
        let mut command = self.command(arguments);
        command.arg("--control").arg(self.control());
        self.namespace.output(command, "")
    }

    /// Its whole status.
    ///
    /// # Errors
    /// It does not answer.
    pub fn status(&self) -> Result<Status, LabError> {
        self.ask(async |client| client.status().await)
    }

    /// Its clusters and their Services.
    ///
    /// # Errors
    /// It does not answer.
    pub fn services(&self) -> Result<Services, LabError> {
        self.ask(async |client| client.services().await)
    }

    /// The status of one peer.
    ///
    /// # Errors
    /// It does not answer, or has no such peer.
    pub fn peer(&self, name: &str) -> Result<PeerStatus, LabError> {
        let found = self.status()?.peers.into_iter().find(|peer| peer.name == name);
        found.ok_or_else(|| LabError::check(format!("{} has no peer {name}", self.namespace.name())))
    }

    /// The status of one child of a peer.
    ///
    /// # Errors
    /// It does not answer, or has no such child.
    pub fn child(&self, peer: &str, child: &str) -> Result<ChildStatus, LabError> {
        let found = self.peer(peer)?.children.into_iter().find(|found| found.name == child);
        found.ok_or_else(|| LabError::check(format!("{} has no child {peer}/{child}", self.namespace.name())))
    }

    /// Waits until a peer and all its children are up.
    ///
    /// # Errors
    /// They are not in time, or the daemon ended: with its last words.
    pub fn wait_up(&mut self, peer: &str, patience: Duration) -> Result<(), LabError> {
        let what = format!("{} has {peer} up", self.namespace.name());
        until(&what, patience, || {
            self.alive()?;
            Ok(match self.peer(peer) {
                Ok(status) if is_up(&status) => Ok(()),
                Ok(status) => Err(in_words(&status)),
                Err(error) => Err(error.to_string()),
            })
        })
    }

    /// Asks for new keys of an IKE SA or a Child SA, and waits until they are there.
    ///
    /// # Errors
    /// The daemon refuses, or goes on with the old keys.
    pub fn rekey(&self, peer: &str, what: &RekeyTarget, patience: Duration) -> Result<(), LabError> {
        let before = Keys::of(&self.peer(peer)?);
        self.act(&Action::Rekey { peer: peer.to_owned(), what: what.clone() })?;
        until(&format!("{} has new keys for {peer}", self.namespace.name()), patience, || {
            let status = self.peer(peer)?;
            let now = Keys::of(&status);
            let fresh = is_up(&status) && now.replaced(&before, what);
            Ok(if fresh { Ok(()) } else { Err(format!("{}; {now:?}", in_words(&status))) })
        })
    }

    /// Asks the daemon to do something.
    ///
    /// # Errors
    /// It does not answer, or refuses.
    pub fn act(&self, action: &Action) -> Result<String, LabError> {
        self.ask(async |client| client.act(action).await).map(|done| done.message)
    }

    /// The program, ready to be given more arguments, with no configuration but its file.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg0("skybridge");
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("SKYBRIDGE_") {
                command.env_remove(name);
            }
        }
        command.args(arguments).env("NO_COLOR", "1");
        command
    }

    fn ask<T>(&self, question: impl AsyncFnOnce(&Client) -> Result<T, ClientError>) -> Result<T, LabError> {
        let client = Client::new(self.control());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(LabError::io("start a runtime"))?;
        runtime
            .block_on(question(&client))
            .map_err(|error| LabError::check(format!("the daemon in {}: {error}", self.namespace.name())))
    }
}

/// Whether a peer and every child of it is up.
pub fn is_up(peer: &PeerStatus) -> bool {
    peer.state == PeerState::Up && !peer.children.is_empty() && peer.children.iter().all(|child| child.up)
}

fn in_words(peer: &PeerStatus) -> String {
    let children: Vec<String> = peer
        .children
        .iter()
        .map(|child| format!("{} {}", child.name, if child.up { "up" } else { "down" }))
        .collect();
    let failure = peer.last_failure.as_ref().map(|failure| format!("; last failure: {}", failure.reason));
    format!("{} {}, {}{}", peer.name, peer.state.as_str(), children.join(", "), failure.unwrap_or_default())
}

/// What identifies the keys in use with a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    ike: Option<(String, String)>,
    children: Vec<(String, Option<String>, Option<String>)>,
}

impl Keys {
    /// The keys that a status tells of.
    pub fn of(peer: &PeerStatus) -> Self {
        let ike = peer.ike.as_ref().map(|ike| (ike.initiator_spi.clone(), ike.responder_spi.clone()));
        let children = peer.children.iter();
        let children =
            children.map(|child| (child.name.clone(), child.spi_in.clone(), child.spi_out.clone()));
        Self { ike, children: children.collect() }
    }

    /// Whether everything that a rekey of `what` replaces differs from `before`.
    fn replaced(&self, before: &Self, what: &RekeyTarget) -> bool {
        let ike = self.ike != before.ike;
        let child = |name: Option<&str>| {
            let chosen = |keys: &Self| -> Vec<_> {
                keys.children
                    .iter()
                    .filter(|(own, ..)| name.is_none_or(|name| name == own))
                    .cloned()
                    .collect()
            };
            let (now, then) = (chosen(self), chosen(before));
            !now.is_empty()
                && now.iter().all(|(own, spi_in, spi_out)| {
                    then.iter().all(|(name, old_in, old_out)| {
                        name != own || (old_in != spi_in && old_out != spi_out)
                    })
                })
        };
        match what {
            RekeyTarget::Ike => ike,
            RekeyTarget::Children => child(None),
            RekeyTarget::Child(name) => child(Some(name)),
            RekeyTarget::All => ike && child(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(ike: &str, lan: &str) -> Keys {
        let spi = |text: &str| Some(text.to_owned());
        Keys {
            ike: Some((ike.to_owned(), ike.to_owned())),
            children: vec![("lan".to_owned(), spi(lan), spi(lan))],
        }
    }

    #[test]
    fn a_rekey_is_done_when_what_was_asked_for_has_changed() {
        let before = keys("1", "1");
        assert!(keys("2", "1").replaced(&before, &RekeyTarget::Ike));
        assert!(!keys("2", "1").replaced(&before, &RekeyTarget::All));
        assert!(!keys("2", "1").replaced(&before, &RekeyTarget::Children));
        assert!(keys("1", "2").replaced(&before, &RekeyTarget::Child("lan".to_owned())));
        assert!(!keys("1", "2").replaced(&before, &RekeyTarget::Child("other".to_owned())));
        assert!(keys("2", "2").replaced(&before, &RekeyTarget::All));
    }
}
