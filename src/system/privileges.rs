//! From root to an unprivileged user that keeps `CAP_NET_ADMIN` and `CAP_NET_BIND_SERVICE`.
//!
//! Called before any thread starts: user, groups and capabilities belong to threads on Linux. Files
//! that only root can read (keys) must be readable by the user's group from then on.

use caps::{CapSet, Capability, CapsHashSet};
use nix::unistd::{Gid, Uid, User, geteuid, setgroups, setresgid, setresuid};

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
    /// The process was that user already, as under a service manager.
    Already,
    /// Nothing was changed, and why.
    Skipped(String),
}

fn failed(what: &str) -> impl FnOnce(nix::errno::Errno) -> SystemError + use<'_> {
    move |errno| SystemError::Privileges(format!("{what}: {errno}"))
}

fn caps_failed(what: &str) -> impl FnOnce(caps::errors::CapsError) -> SystemError + use<'_> {
    move |error| SystemError::Privileges(format!("{what}: {error}"))
}

/// Becomes `user` with its group and no supplementary groups; keeps the two capabilities (also for
/// the programs that inspection runs) and gives up gaining others by `execve`.
///
/// # Errors
/// The user does not exist, or the kernel refused. After an error the process must end: it may have
/// given up some privileges and not others.
pub fn drop_to(user: &str) -> Result<Dropped, SystemError> {
    let own = geteuid();
    if !own.is_root() {
        let same = User::from_name(user).ok().flatten().is_some_and(|found| found.uid == own);
        return Ok(if same {
            Dropped::Already
        } else {
            Dropped::Skipped("not started as root, and started as another user".into())
        });
    }
    if single_id(&std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default()) {
        return Ok(Dropped::Skipped("this user namespace has a single user id".into()));
    }
    let found = User::from_name(user).map_err(failed("look the user up"))?.ok_or_else(|| {
        SystemError::Privileges(format!("there is no user {user}: create it or name another"))
    })?;
    if found.uid.is_root() {
        return Ok(Dropped::Skipped(format!("{user} is root itself")));
    }
    become_user(found.uid, found.gid)?;
    Ok(Dropped::To { uid: found.uid.as_raw(), gid: found.gid.as_raw() })
}

/// Whether a map of `/proc/self/uid_map` has no other id to become.
fn single_id(map: &str) -> bool {
    let ids: u64 = map.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok()).sum();
    ids == 1
}

fn become_user(uid: Uid, gid: Gid) -> Result<(), SystemError> {
    let keep: CapsHashSet =
        [Capability::CAP_NET_ADMIN, Capability::CAP_NET_BIND_SERVICE].into_iter().collect();
    for capability in caps::all() {
        // Without CAP_SETPCAP the bounding set stays, and no_new_privs makes up for it.
        if !keep.contains(&capability) && caps::drop(None, CapSet::Bounding, capability).is_err() {
            break;
        }
    }
    nix::sys::prctl::set_keepcaps(true).map_err(failed("keep capabilities"))?;
    setgroups(&[]).map_err(failed("give up supplementary groups"))?;
    setresgid(gid, gid, gid).map_err(failed("set the group"))?;
    setresuid(uid, uid, uid).map_err(failed("set the user"))?;
    nix::sys::prctl::set_keepcaps(false).map_err(failed("stop keeping capabilities"))?;
    caps::set(None, CapSet::Effective, &CapsHashSet::new())
        .map_err(caps_failed("clear the effective set"))?;
    caps::set(None, CapSet::Permitted, &keep).map_err(caps_failed("set the permitted set"))?;
    caps::set(None, CapSet::Inheritable, &keep).map_err(caps_failed("set the inheritable set"))?;
    caps::set(None, CapSet::Effective, &keep).map_err(caps_failed("set the effective set"))?;
    caps::set(None, CapSet::Ambient, &keep).map_err(caps_failed("set the ambient set"))?;
    nix::sys::prctl::set_no_new_privs().map_err(failed("no new privileges"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_with_one_id_has_nobody_to_become() {
        assert!(single_id("         0       1000          1\n"));
        assert!(!single_id("         0          0 4294967295\n"));
        assert!(!single_id("0 1000 1\n1 100000 65536\n"));
    }
}
