//! IKEv2 ([RFC 7296](https://www.rfc-editor.org/rfc/rfc7296)), both roles, as a pure state machine.
//!
//! An [`Endpoint`] is fed datagrams, commands and the time, and gives datagrams, events and its next
//! deadline back. It owns no socket, reads no clock, draws no randomness but through
//! [`crate::crypto::Random`], and logs nothing: what happened comes out as [`Event`]s and counters.
//!
//! Order of calls: any `handle_*`, then `poll_transmit` and `poll_event` until both are empty, then
//! `poll_timeout` for the time of the next `handle_timeout`.
//!
//! It does not carry ESP: a negotiated Child SA leaves by [`Event::ChildInstalled`] with its keys.

mod auth;
mod channel;
pub mod config;
pub mod contents;
mod context;
mod cookie;
mod endpoint;
pub mod event;
mod exchange;
mod fragment;
mod nat;
mod rekey;
mod retransmit;
mod roster;
mod sa;
pub mod status;
pub mod time;
mod timer;
mod window;

pub use config::{
    ChildConfig, ChildLifetime, ChildName, EndpointSettings, IkeLifetime, Lifetimes, LocalAuth, MtuProbe,
    PeerConfig, PeerName, RemoteAddress, RemoteAuth, StartPolicy, Timing,
};
pub use endpoint::Endpoint;
pub use event::{
    ChildInstall, ChildSaId, Command, CommandError, Datagram, DownReason, Event, IkeSaId, KeyLog, Limits,
    Transmit, TransmitKind,
};
pub use status::{ChildState, ChildStatus, CollisionStats, IkeCounters, IkeSaState, IkeSaStatus, PeerStatus};
pub use time::Now;
pub use timer::WakeReason;

#[cfg(test)]
mod tests;
