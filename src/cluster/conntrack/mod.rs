//! Connection tracking: room for the connections, a watch over its use, and forgetting what no longer holds.
//!
//! The kernel's own table is used as it is, with everybody else's connections in it. What is forgotten here are UDP
//! connections to cluster addresses (and echo requests), never those of others, and never TCP, which ends by itself.

mod forget;
mod netlink;
mod room;
mod usage;

pub(super) use forget::{Stale, forget};
pub use room::{Room, make_room, put_back};
pub use usage::{Fill, Usage};
