//! Enters namespaces that belong to this process alone.
//!
//! The process makes a mount, a network and a PID namespace, and a user namespace around them
//! where it may not do so directly. A PID namespace holds only processes started after it was
//! made, so the program starts itself once more as its first process; should that one die, however
//! it dies, the kernel ends everything in the lab with it.

use std::{
    fs, io,
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Command, ExitCode},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    thread,
};

use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::{
        prctl,
        signal::{SigSet, SigmaskHow, Signal, kill},
    },
    unistd::{Pid, getegid, geteuid},
};

use super::LabError;

/// Tells the second start of the program that it is inside. It must not look like a configuration
/// variable of the daemon.
const STAGE: &str = "SKYLAB_STAGE";

const USER_NAMESPACE_HINT: &str = "\n  run as root, or allow unprivileged user namespaces \
    (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone or \
    kernel.apparmor_restrict_unprivileged_userns)";

/// Which side of [`enter`] the caller is on.
#[derive(Debug)]
pub enum Entry {
    /// The caller is inside and may build a lab.
    Inside(Entered),
    /// The caller is the outer process, and the inner one has ended: leave with this status.
    Outside(ExitCode),
}

/// Proof that this process lives in namespaces of its own.
#[derive(Debug)]
pub struct Entered {
    outer_pid: Option<u32>,
    in_user_namespace: bool,
    when_interrupted: Arc<AtomicU8>,
}

impl Entered {
    /// Sets the exit status for when the operator interrupts: 130 unless set. Everything in the lab ends
    /// with this process, whatever it is doing.
    pub fn exit_when_interrupted(&self, status: u8) {
        self.when_interrupted.store(status, Ordering::Release);
    }

    /// This process's ID as the outside sees it, for the operator's `nsenter`.
    pub fn outer_pid(&self) -> Option<u32> {
        self.outer_pid
    }

    /// Whether privileges come from a user namespace rather than from real root.
    pub fn in_user_namespace(&self) -> bool {
        self.in_user_namespace
    }
}

/// Enters namespaces of our own, by starting this very program again with the same arguments.
///
/// Call it before any thread is started: the kernel lets only a single-threaded process enter a
/// user namespace.
///
/// # Errors
/// The kernel allows no namespaces, or `/run` cannot be made private.
pub fn enter() -> Result<Entry, LabError> {
    match std::env::var(STAGE) {
        Ok(stage) => inside(&stage).map(Entry::Inside),
        Err(_) => outside().map(Entry::Outside),
    }
}

/// Removes what [`enter`] told the inner process, so that a program it starts can enter anew. Programs started
/// through a [`Namespace`](super::Namespace) need it not.
pub fn forget_stage(command: &mut Command) {
    command.env_remove(STAGE);
}

fn step(step: &'static str) -> impl FnOnce(Errno) -> LabError {
    move |errno| LabError::Enter { step, source: errno.into(), hint: "" }
}

fn outside() -> Result<ExitCode, LabError> {
    let spaces = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWPID;
    let direct = if geteuid().is_root() { unshare(spaces) } else { Err(Errno::EPERM) };
    let stage = match direct {
        Ok(()) => "root",
        Err(Errno::EPERM) => {
            unshare_with_user(spaces)?;
            "user"
        }
        Err(errno) => return Err(step("unshare")(errno)),
    };
    // What the terminal or a supervisor sends must reach the inner process first, which cleans up.
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGCHLD] {
        signals.add(signal);
    }
    signals.thread_block().map_err(step("block signals"))?;
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(|| "skybridge".into());
    let mut child = Command::new("/proc/self/exe")
        .arg0(name)
        .args(arguments)
        .env(STAGE, stage)
        .spawn()
        .map_err(|source| LabError::Enter { step: "start inside", source, hint: "" })?;
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
    loop {
        match signals.wait().map_err(step("wait for a signal"))? {
            Signal::SIGCHLD => {
                let status = child.try_wait().map_err(|source| LabError::Enter {
                    step: "wait for the lab",
                    source,
                    hint: "",
                })?;
                if let Some(status) = status {
                    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
                    return Ok(ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)));
                }
            }
            signal => {
                // It may just have ended; then SIGCHLD is already pending.
                let _ = kill(pid, signal);
            }
        }
    }
}

fn unshare_with_user(spaces: CloneFlags) -> Result<(), LabError> {
    let (uid, gid) = (geteuid(), getegid());
    unshare(spaces | CloneFlags::CLONE_NEWUSER).map_err(|errno| LabError::Enter {
        step: "unshare a user namespace",
        source: errno.into(),
        hint: USER_NAMESPACE_HINT,
    })?;
    let write = |path: &str, text: String| {
        fs::write(path, text).map_err(|source| LabError::Enter {
            step: "map the user into its namespace",
            source,
            hint: USER_NAMESPACE_HINT,
        })
    };
    // Without this the kernel refuses a group map from a process without privileges outside.
    write("/proc/self/setgroups", "deny".to_owned())?;
    write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    write("/proc/self/gid_map", format!("0 {gid} 1"))
}

fn inside(stage: &str) -> Result<Entered, LabError> {
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(step("tie the lab to its parent"))?;
    nix::sys::signal::sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
        .map_err(step("unblock signals"))?;
    // Still the outer mount of /proc, where our name is the outer PID.
    let outer_pid = fs::read_link("/proc/self").ok().and_then(|path| path.to_str()?.parse().ok());
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .map_err(step("make mounts private"))?;
    let tidy = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), "/run", Some("tmpfs"), tidy, Some("mode=755")).map_err(step("mount /run"))?;
    // Where parts of /proc are masked, as in many containers, the kernel refuses a fresh one. The old
    // one still serves everything but looking up our own children.
    let _ = mount(Some("proc"), "/proc", Some("proc"), tidy | MsFlags::MS_NOEXEC, none);
    let when_interrupted = Arc::new(AtomicU8::new(130));
    watch_interrupts(Arc::clone(&when_interrupted))?;
    Ok(Entered { outer_pid, in_user_namespace: stage == "user", when_interrupted })
}

/// The kernel spares the first process of a PID namespace every signal that it has no handler for.
fn watch_interrupts(status: Arc<AtomicU8>) -> Result<(), LabError> {
    use tokio::signal::unix::{SignalKind, signal};
    let failed = |source| LabError::Enter { step: "watch for interrupts", source, hint: "" };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let watch = move || {
        runtime.block_on(async {
            let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
            let signals = kinds.map(signal);
            let [Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)] = signals else { return };
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
            std::process::exit(i32::from(status.load(Ordering::Acquire)));
        });
    };
    thread::Builder::new().name("interrupts".to_owned()).spawn(watch).map(drop).map_err(failed)
}

impl From<LabError> for io::Error {
    fn from(error: LabError) -> Self {
        Self::other(error)
    }
}
