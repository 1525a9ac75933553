//! Why the table could not be made, in the operator's words.

use std::{path::PathBuf, time::Duration};

/// Why the table is not what is wanted; each text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// There is no `nft`.
    #[error(
        "the program nft is not installed, and Services are translated by it: install the package nftables"
    )]
    NotInstalled,
    /// The kernel does not let this process change its tables.
    #[error("nft may not change the kernel's tables: the daemon needs the capability CAP_NET_ADMIN ({said})")]
    NotPermitted {
        /// What `nft` said.
        said: String,
    },
    /// The kernel lacks something.
    #[error("this kernel cannot {what}: load the module {module}, or use a kernel that has it ({said})")]
    Unsupported {
        /// What it cannot do.
        what: &'static str,
        /// What would do it.
        module: &'static str,
        /// What `nft` said.
        said: String,
    },
    /// `nft` did not end in time.
    #[error("nft did not end within {} s and was stopped", .0.as_secs())]
    TimedOut(Duration),
    /// `nft` or the kernel refused the table.
    #[error("nft refused the table of Services: {said}")]
    Refused {
        /// What `nft` said.
        said: String,
    },
    /// `nft` could not be run.
    #[error("{}: {source}", program.display())]
    Run {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The tunnel device has a name that no rule can name.
    #[error("{0:?} is no name for a device: 1 to 15 letters, digits, dots, dashes or underscores")]
    BadDevice(String),
}
