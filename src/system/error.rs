//! Why something could not be done to the machine.

use std::net::IpAddr;
use std::path::PathBuf;

/// Errors of this layer; each names what failed and where.
#[derive(Debug, thiserror::Error)]
pub enum SystemError {
    /// The kernel refused a netlink request.
    #[error("netlink: {what}: {reason}")]
    Netlink {
        /// What was asked for.
        what: String,
        /// The kernel's answer.
        reason: String,
    },
    /// The TUN device does not exist.
    #[error("no device {0}: it must be created before its routes")]
    NoTun(String),
    /// The kernel takes no device of such a name.
    #[error("{0:?} is no name for a device: 1 to 15 printable characters without / : %")]
    BadName(String),
    /// No route leads to the peer.
    #[error("no route to {0}")]
    NoRoute(IpAddr),
    /// Another daemon holds the state directory.
    #[error("{} is held by a running daemon: stop it first", .0.display())]
    Busy(PathBuf),
    /// A file of the state directory.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The task has ended.
    #[error("the system task has ended")]
    Stopped,
    /// Privileges could not be dropped.
    #[error("privileges: {0}")]
    Privileges(String),
}
