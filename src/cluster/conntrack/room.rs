//! Room for the connections: the kernel's limit, raised where it is too low.

use std::{fs, io};

const MAX: &str = "/proc/sys/net/netfilter/nf_conntrack_max";

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
        /// The value; 0 if it cannot be read.
        max: u64,
        /// For the operator.
        why: String,
    },
}

/// Sees to it that so many connections may be known; never lowers the value. The kernel tracks connections once a
/// table needs it: call it after the first [`super::super::table::Table::apply`].
#[must_use]
pub fn make_room(connections: u32) -> Room {
    let wanted = u64::from(connections);
    let max = match read() {
        Ok(max) => max,
        Err(error) => return refused(0, wanted, &error),
    };
    // The kernel takes 0 for no limit.
    if max >= wanted || max == 0 {
        return Room::Enough { max };
    }
    match fs::write(MAX, wanted.to_string()).and_then(|()| read()) {
        Ok(now) if now >= wanted => Room::Raised { before: max, now },
        // In another network namespace than the machine's own the value can be read, not written.
        Ok(now) => refused(now, wanted, &io::ErrorKind::PermissionDenied.into()),
        Err(error) => refused(max, wanted, &error),
    }
}

fn refused(max: u64, wanted: u64, error: &io::Error) -> Room {
    let why = format!(
        "net.netfilter.nf_conntrack_max is {max} where {wanted} are wanted, and could not be raised: {error}. Put \
         `net.netfilter.nf_conntrack_max = {wanted}` into /etc/sysctl.d/60-skybridge.conf, `nf_conntrack` into \
         /etc/modules-load.d/skybridge.conf (or the value is lost at boot) and run `sysctl --system`; or lower `connections`."
    );
    Room::Refused { max, why }
}

/// Puts back what [`make_room`] raised, unless somebody else has changed it since.
///
/// # Errors
/// The kernel refuses it.
pub fn put_back(room: &Room) -> io::Result<()> {
    match room {
        Room::Raised { before, now } if read()? == *now => fs::write(MAX, before.to_string()),
        _ => Ok(()),
    }
}

fn read() -> io::Result<u64> {
    fs::read_to_string(MAX)?.trim().parse().map_err(|_| io::ErrorKind::InvalidData.into())
}
