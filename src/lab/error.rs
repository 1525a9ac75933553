//! What can go wrong while the lab is built or measured.

use std::io;

/// A failure of the lab itself, or of a step that must succeed for a check to make sense.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The kernel refused to give us namespaces of our own.
    #[error("cannot enter namespaces of our own: {step}: {source}{hint}")]
    Enter {
        /// What was being done.
        step: &'static str,
        /// What the kernel answered.
        source: io::Error,
        /// What the operator can do about it; empty, or starting with a new line.
        hint: &'static str,
    },
    /// A system call or file operation failed.
    #[error("{step}: {source}")]
    Io {
        /// What was being done.
        step: String,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A netlink request failed.
    #[error("{step}: {source}")]
    Netlink {
        /// What was being done.
        step: String,
        /// What the kernel answered.
        source: Box<rtnetlink::Error>,
    },
    /// A program that was started did not succeed.
    #[error("{program} failed: {reason}")]
    Program {
        /// The program and its purpose.
        program: String,
        /// Its exit status and what it wrote to standard error.
        reason: String,
    },
    /// A condition did not come true before its deadline.
    #[error("not within {seconds} s: {what}")]
    Deadline {
        /// The condition that was waited for, and what was last seen of it.
        what: String,
        /// The deadline, in seconds.
        seconds: u64,
    },
    /// A check found something other than what it must find.
    #[error("{0}")]
    Check(String),
}

impl LabError {
    /// An I/O failure with what was being done.
    pub fn io(step: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let step = step.into();
        move |source| Self::Io { step, source }
    }

    /// A system call failure with what was being done.
    pub fn errno(step: impl Into<String>) -> impl FnOnce(nix::errno::Errno) -> Self {
        let step = step.into();
        move |errno| Self::Io { step, source: errno.into() }
    }

    /// A netlink failure with what was being done.
    pub fn netlink(step: impl Into<String>) -> impl FnOnce(rtnetlink::Error) -> Self {
        let step = step.into();
        move |source| Self::Netlink { step, source: Box::new(source) }
    }

    /// A check that failed, in words.
    pub fn check(text: impl Into<String>) -> Self {
        Self::Check(text.into())
    }
}
