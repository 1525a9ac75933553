//! Connection tracking: room for the connections, a watch over its use, and forgetting what no longer holds.

use std::{fmt, io};

/// How full connection tracking is, and what it had to refuse.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Connections known now.
    pub count: u64,
    /// How many may be known.
    pub max: u64,
    /// Packets dropped because no connection could be made for them, since the machine started.
    pub drop: u64,
    /// Connections given up early to make room for others.
    pub early_drop: u64,
    /// Connections that could not be entered, mostly because of a clash.
    pub insert_failed: u64,
}

/// How urgent the use is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fill {
    /// Below three quarters.
    Calm,
    /// From 75 %.
    High,
    /// From 90 %, or something was dropped.
    Critical,
}

impl Usage {
    /// Reads it. `None` where the kernel does not track connections (yet).
    #[must_use]
    pub fn read() -> Option<Self> {
        None
    }

    /// How urgent it is.
    #[must_use]
    pub fn fill(&self) -> Fill {
        Fill::Calm
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} connections", self.count, self.max)
    }
}

/// What [`make_room`] did to `nf_conntrack_max`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Room {
    /// There was room enough.
    Enough {
        /// How many connections may be known.
        max: u64,
    },
    /// It was raised; [`put_back`] undoes that.
    Raised {
        /// The value before.
        before: u64,
        /// The value now.
        now: u64,
    },
    /// It is too small and could not be raised.
    Refused {
        /// The value.
        max: u64,
        /// For the operator.
        why: String,
    },
}

/// Sees to it that so many connections may be known; never lowers the value.
#[must_use]
pub fn make_room(connections: u32) -> Room {
    Room::Refused { max: 0, why: format!("{connections} connections: not made yet") }
}

/// Puts back what [`make_room`] raised, unless somebody else has changed it since.
///
/// # Errors
/// The kernel refuses it.
pub fn put_back(room: &Room) -> io::Result<()> {
    let _ = room;
    Ok(())
}
