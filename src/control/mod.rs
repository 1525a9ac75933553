//! The daemon's API: HTTP/JSON on a Unix socket, and the client that the command line uses.
//!
//! [`api`] and [`services`] hold the types that travel, [`server`] checks who is calling and turns requests into
//! [`Request`] values for the daemon, [`client`] is the other end. Nothing here decides anything:
//! every request is answered by the daemon through the reply channel it carries.

pub mod api;
pub mod client;
pub mod server;
pub mod services;

use tokio::sync::oneshot;

use api::{ApiError, Done, Status};
use services::Services;

/// What a caller asks of the daemon, with the channel for the answer.
#[derive(Debug)]
pub enum Request {
    /// The whole state, for `skybridge status`.
    Status(oneshot::Sender<Status>),
    /// The clusters and their Services.
    Services(oneshot::Sender<Services>),
    /// Something to be done.
    Act(Action, oneshot::Sender<Result<Done, ApiError>>),
}

/// A change that a caller asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Bring up a peer, or one of its children.
    Up {
        /// Name of the peer in the configuration.
        peer: String,
        /// Name of the child; all of them where absent.
        child: Option<String>,
    },
    /// Close a peer, or one of its children. It stays down until `up`, traffic or a reload.
    Down {
        /// Name of the peer in the configuration.
        peer: String,
        /// Name of the child; the IKE SA with all of them where absent.
        child: Option<String>,
    },
    /// Replace the keys of a peer.
    Rekey {
        /// Name of the peer in the configuration.
        peer: String,
        /// What to rekey.
        what: RekeyTarget,
    },
    /// Read the configuration again and apply what changed.
    Reload,
}

/// Which SAs a rekey replaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RekeyTarget {
    /// The IKE SA.
    Ike,
    /// Every Child SA.
    Children,
    /// One Child SA by its name in the configuration.
    Child(String),
    /// The IKE SA and every Child SA.
    All,
}
