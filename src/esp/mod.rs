//! Pure ESP: security associations, sequence numbers and replay, seal and open, and the index of them
//! that workers read.
//!
//! This layer turns inner IP packets into ESP packets and back
//! ([RFC 4303](https://www.rfc-editor.org/rfc/rfc4303), tunnel mode), checks every rule of the way in, and
//! says why a packet is refused. It has no socket, no thread and no clock: times are milliseconds that the
//! caller passes in. It does not know IKE; the engine makes its SAs and snapshots.

mod counters;
mod drop_reason;
pub mod ecn;
#[cfg(test)]
pub(crate) mod fixture;
mod flow_cache;
mod inbound;
mod iv_pool;
mod layout;
mod limits;
mod mtu;
mod outbound;
mod path;
mod prefix_index;
mod replay;
pub mod report;
mod selectors;
mod snapshot;
mod spd;
mod spi_table;
mod summary;
mod train;
mod treatment;

pub use counters::{DataCounters, DropCounters, SaCounters};
pub use drop_reason::{Direction, DropReason};
pub use flow_cache::FlowCache;
pub(crate) use flow_cache::flow_hash;
pub use inbound::{InboundConfig, InboundSa, InnerFacts, Opened, Refused};
pub use iv_pool::IvPool;
pub use limits::Limits;
pub use mtu::{inner_mtu, outer_len, sealed_len};
pub use outbound::{OutboundConfig, OutboundSa, Reservation};
pub use path::{Path, PathState};
pub use replay::{DEFAULT_REPLAY_WINDOW, Freshness, MAX_REPLAY_WINDOW, ReplayWindow};
pub use report::{ChildId, Degraded, Report};
pub use selectors::SaSelectors;
pub use snapshot::Snapshot;
pub use spd::{Spd, SpdAction, SpdEntry};
pub use spi_table::SpiTable;
pub use summary::summarize;
pub use train::OpenedTrain;
pub use treatment::{ClampMss, Treatment};
