//! A program started by the lab: watched, killed and reaped, always by its own process ID.

use std::{
    process::{Command, ExitStatus},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::LabError;

/// A running program. Dropping it kills and reaps it.
#[derive(Debug)]
pub struct Child {
    name: String,
    child: std::process::Child,
}

impl Child {
    pub(super) fn spawn(name: String, command: &mut Command) -> Result<Self, LabError> {
        let child = command
            .spawn()
            .map_err(|source| LabError::Program { program: name.clone(), reason: source.to_string() })?;
        Ok(Self { name, child })
    }

    /// The process ID inside the lab.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// The program has ended and was reaped.
    pub fn signal(&self, signal: Signal) -> Result<(), LabError> {
        let pid = i32::try_from(self.child.id()).map_err(|_| LabError::check("process ID out of range"))?;
        kill(Pid::from_raw(pid), signal).map_err(LabError::errno(format!("signal {}", self.name)))
    }

    /// The exit status, if the program has ended.
    ///
    /// # Errors
    /// The kernel does not know the program any more.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, LabError> {
        self.child.try_wait().map_err(LabError::io(format!("wait for {}", self.name)))
    }

    /// Waits for the program to end by itself.
    ///
    /// # Errors
    /// It is still running after `patience`.
    pub fn wait(&mut self, patience: Duration) -> Result<ExitStatus, LabError> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                let what = format!("{} ends", self.name);
                return Err(LabError::Deadline { what, seconds: patience.as_secs() });
            }
            std::thread::sleep(super::wait::POLL);
        }
    }

    /// Ends the program at once, as `kill -9` does, and reaps it.
    ///
    /// # Errors
    /// The kernel does not know the program any more.
    pub fn kill(&mut self) -> Result<ExitStatus, LabError> {
        self.child.kill().map_err(LabError::io(format!("kill {}", self.name)))?;
        self.child.wait().map_err(LabError::io(format!("reap {}", self.name)))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
