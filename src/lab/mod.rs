//! An office and a cloud in network namespaces, for `skybridge demo`, the tests and the benchmarks.
//!
//! ```text
//! client ── edge ── carrier ── internet ── igw ── vpc ── cloud      (cloud endpoint)
//!  office  office   NAT        router      1:1    router └─ node ── pod
//!          endpoint                        NAT
//! ```
//!
//! Everything is built through netlink (and `nft` for address translation) inside namespaces that
//! belong to this process alone, as root or in an unprivileged user namespace, so nothing on the
//! host is touched and everything vanishes with the process. The daemons that run here are the real
//! executable with real configuration files; only the world around them is made up.
//!
//! This layer measures and reports. It does not configure tunnels by other means than a
//! configuration file and the command line, so that what passes here passes outside.

pub mod capture;
mod child;
pub mod cluster;
pub mod daemon;
pub mod demo;
pub mod dump;
mod enter;
mod error;
pub mod link;
pub mod losses;
pub mod namespace;
pub mod nat;
pub mod path;
pub mod relay;
pub mod routing;
pub mod site;
pub mod topology;
pub mod traffic;
pub mod usage;
pub mod wait;

pub use child::Child;
pub use daemon::Daemon;
pub use enter::{Entered, Entry, enter, forget_stage};
pub use error::LabError;
pub use namespace::Namespace;
pub use relay::Relay;
pub use site::{Outer, Plan};
pub use topology::{Lab, Underlay};
