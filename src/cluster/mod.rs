//! The cluster behind this endpoint: which Services it has, where their endpoints are, how packets to them are
//! translated, and what keeps them from being answered.
//!
//! ```text
//! Kubernetes API ─┐
//!                 ├─→ Inventory ─→ select ─→ Plan ─→ table (nftables) ─→ kernel
//! file of objects ┘                            └──→ detect ←── headers from the workers, probes
//! ```
//!
//! [`model`] holds what a cluster says of itself, [`plan`] what shall be translated. Sources fill the first, `select`
//! turns it into the second, and the table carries it into the kernel. What this layer does not do: it opens no
//! tunnel, makes no routes and reads no configuration file.

pub mod conntrack;
pub mod decode;
pub mod detect;
mod followed;
mod keeper;
pub mod kubernetes;
pub mod model;
pub mod objects;
pub mod plan;
pub mod probe;
pub mod select;
pub mod slots;
pub mod table;
pub mod task;
mod trouble;

pub use keeper::TableState;
pub use task::{ClusterReport, Clusters, Event, Report};
pub use trouble::Trouble;
