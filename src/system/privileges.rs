//! From root to an unprivileged user that keeps `CAP_NET_ADMIN` and `CAP_NET_BIND_SERVICE`.
//!
//! Called before any thread starts: user, groups and capabilities belong to threads on Linux.

use super::SystemError;

/// What [`drop_to`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dropped {
    /// The process is now that user.
    To {
        /// User id.
        uid: u32,
        /// Group id.
        gid: u32,
    },
    /// Nothing was changed, and why.
    Skipped(String),
}

/// Becomes `user` with its group and no supplementary groups; keeps the two capabilities (also for
/// the programs that inspection runs) and gives up gaining others by `execve`.
///
/// # Errors
/// The user does not exist, or the kernel refused.
pub fn drop_to(user: &str) -> Result<Dropped, SystemError> {
    Ok(Dropped::Skipped(format!("{user}: not built yet")))
}
