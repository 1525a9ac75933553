//! Running the executable and judging what it said.

use std::fmt;
use std::path::Path;
use std::process::{Command, Stdio};

use skybridge::lab::{Daemon, LabError, forget_stage};

use crate::ensure;
use crate::pair::program;

/// What a command did.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    arguments: String,
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { arguments, status, stdout, stderr } = self;
        write!(f, "skybridge {arguments}: status {status:?}\n--- stdout:\n{stdout}\n--- stderr:\n{stderr}")
    }
}

impl Said {
    /// It succeeded, wrote nothing but its answer, and the answer holds all of `parts`.
    pub(crate) fn answers(&self, parts: &[&str]) -> Result<(), LabError> {
        ensure(self.status == Some(0) && self.stderr.is_empty(), format!("not a clean success\n{self}"))?;
        self.holds(&self.stdout, parts)
    }

    /// It failed with exit status 1, without an answer, and told one line that holds all of `parts`.
    pub(crate) fn fails(&self, parts: &[&str]) -> Result<(), LabError> {
        ensure(self.status == Some(1) && self.stdout.is_empty(), format!("not a clean failure\n{self}"))?;
        ensure(
            self.stderr.starts_with("skybridge: "),
            format!("the failure does not say who speaks\n{self}"),
        )?;
        ensure(self.stderr.trim_end().lines().count() == 1, format!("more than one line\n{self}"))?;
        self.holds(&self.stderr, parts)
    }

    /// It refused its arguments or its configuration with exit status 2.
    pub(crate) fn refuses(&self, parts: &[&str]) -> Result<(), LabError> {
        ensure(self.status == Some(2) && self.stdout.is_empty(), format!("not a clean refusal\n{self}"))?;
        self.holds(&self.stderr, parts)
    }

    fn holds(&self, text: &str, parts: &[&str]) -> Result<(), LabError> {
        ensure(!self.stderr.contains("panicked"), format!("a panic\n{self}"))?;
        for part in parts {
            ensure(text.contains(part), format!("{part:?} is missing\n{self}"))?;
        }
        Ok(())
    }
}

/// The executable without any setting of the environment.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SKYBRIDGE_") {
            command.env_remove(name);
        }
    }
    forget_stage(&mut command);
    command.args(arguments).env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub(crate) fn finish(mut command: Command) -> Result<Said, LabError> {
    let arguments: Vec<_> = command.get_args().map(|a| a.to_string_lossy().into_owned()).collect();
    let output = command.output().map_err(LabError::io("run the executable"))?;
    Ok(Said {
        arguments: arguments.join(" "),
        status: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

pub(crate) fn skybridge(arguments: &[&str]) -> Result<Said, LabError> {
    finish(command(arguments))
}

/// In a folder, so that paths are short.
pub(crate) fn skybridge_in(folder: &Path, arguments: &[&str]) -> Result<Said, LabError> {
    let mut command = command(arguments);
    command.current_dir(folder);
    finish(command)
}

/// Where a daemon runs, with its control socket.
pub(crate) fn ask(daemon: &Daemon, arguments: &[&str]) -> Result<Said, LabError> {
    let mut command = command(arguments);
    command.arg("--control").arg(daemon.control());
    daemon.namespace().run(|| finish(command))
}
