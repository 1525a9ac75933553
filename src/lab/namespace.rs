//! One network namespace, held open as a file, and work done inside it.
//!
//! A thread, not the process, enters a namespace: [`Namespace::run`] does the work on a thread of
//! its own that ends with it, so the caller never changes place.

use std::{
    fs::{self, File},
    os::fd::{AsRawFd, RawFd},
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
    thread::{self, JoinHandle},
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, setns, unshare},
};
use rtnetlink::Handle;

use super::{LabError, child::Child, enter::forget_stage};

/// Where the namespaces are mounted by name, as `ip netns` expects them.
const NAMED: &str = "/run/netns";

#[derive(Debug)]
struct Inner {
    name: &'static str,
    file: File,
}

/// A network namespace. It exists as long as a clone of this or a process inside exists.
#[derive(Debug, Clone)]
pub struct Namespace(Arc<Inner>);

impl Namespace {
    /// Makes a new namespace with its loopback up, forwarding nothing, and mounts it by name under
    /// `/run/netns` for whoever wants to look inside.
    ///
    /// # Errors
    /// The kernel refuses a namespace or a setting in it.
    pub fn create(name: &'static str) -> Result<Self, LabError> {
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || -> Result<File, LabError> {
                unshare(CloneFlags::CLONE_NEWNET).map_err(LabError::errno("unshare a network namespace"))?;
                // Addresses are used at once: nobody else is on these links who could own them.
                for key in ["all", "default"] {
                    write_sysctl(&format!("net/ipv6/conf/{key}/accept_dad"), "0")?;
                    write_sysctl(&format!("net/ipv6/conf/{key}/accept_ra"), "0")?;
                    write_sysctl(&format!("net/ipv4/conf/{key}/rp_filter"), "0")?;
                }
                let file =
                    File::open("/proc/thread-self/ns/net").map_err(LabError::io("open a namespace"))?;
                publish(name)?;
                Ok(file)
            })
            .map_err(LabError::io("start a thread"))?;
        let file = joined(thread)?;
        let namespace = Self(Arc::new(Inner { name, file }));
        namespace.set_up("lo")?;
        Ok(namespace)
    }

    /// The namespace's name in the lab.
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// The open descriptor, for netlink requests that move a link here.
    pub(super) fn fd(&self) -> RawFd {
        self.0.file.as_raw_fd()
    }

    /// Does `work` inside and waits for it.
    ///
    /// # Errors
    /// What `work` returns, or the namespace cannot be entered. A panic of `work` continues here.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T, LabError> + Send) -> Result<T, LabError> {
        thread::scope(|scope| {
            let thread = thread::Builder::new()
                .name(self.0.name.to_owned())
                .spawn_scoped(scope, || {
                    self.enter()?;
                    work()
                })
                .map_err(LabError::io("start a thread"))?;
            thread.join().unwrap_or_else(|cause| std::panic::resume_unwind(cause))
        })
    }

    /// Starts a thread inside, for work that goes on while the caller does something else.
    ///
    /// # Errors
    /// No thread can be started. That the namespace cannot be entered comes out of the thread.
    pub fn thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, LabError> + Send + 'static,
    ) -> Result<JoinHandle<Result<T, LabError>>, LabError> {
        let inside = self.clone();
        thread::Builder::new()
            .name(self.0.name.to_owned())
            .spawn(move || {
                inside.enter()?;
                work()
            })
            .map_err(LabError::io("start a thread"))
    }

    /// Starts a program inside; it is killed and reaped when the returned guard is dropped.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn spawn(&self, mut command: Command) -> Result<Child, LabError> {
        forget_stage(&mut command);
        let name = format!("{} in {}", command.get_program().to_string_lossy(), self.0.name);
        self.run(move || Child::spawn(name, &mut command))
    }

    /// Runs a program inside to its end and returns its standard output.
    ///
    /// # Errors
    /// It cannot be started, or does not succeed: then with its standard error.
    pub fn output(&self, mut command: Command, input: &str) -> Result<String, LabError> {
        forget_stage(&mut command);
        let name = format!("{} in {}", command.get_program().to_string_lossy(), self.0.name);
        self.run(move || {
            use std::io::Write;
            let failed = |source| LabError::Program { program: name.clone(), reason: format!("{source}") };
            let mut child = command
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .map_err(failed)?;
            if let Some(mut stdin) = child.stdin.take() {
                // A program that ends early says why on its standard error.
                let _ = stdin.write_all(input.as_bytes());
            }
            let output = child.wait_with_output().map_err(failed)?;
            if output.status.success() {
                return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
            }
            let said = String::from_utf8_lossy(&output.stderr);
            Err(LabError::Program {
                program: name.clone(),
                reason: format!("{}: {}", output.status, said.trim()),
            })
        })
    }

    /// Talks rtnetlink inside.
    ///
    /// # Errors
    /// What `work` returns, or no socket.
    pub fn netlink<T, F, W>(&self, work: W) -> Result<T, LabError>
    where
        T: Send,
        W: FnOnce(Handle) -> F + Send,
        F: Future<Output = Result<T, LabError>>,
    {
        self.run(|| {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(LabError::io("start a runtime"))?
                .block_on(async {
                    let (connection, handle, _) =
                        rtnetlink::new_connection().map_err(LabError::io("open a netlink socket"))?;
                    tokio::spawn(connection);
                    work(handle).await
                })
        })
    }

    /// Sets a sysctl by its path below `/proc/sys`, such as `net/ipv4/ip_forward`.
    ///
    /// # Errors
    /// It does not exist or may not be written.
    pub fn sysctl(&self, path: &str, value: &str) -> Result<(), LabError> {
        self.run(|| write_sysctl(path, value))
    }

    /// Lets it forward, both families, without telling anybody of a shorter way.
    ///
    /// # Errors
    /// A setting may not be written.
    pub fn make_router(&self) -> Result<(), LabError> {
        self.run(|| {
            for key in ["all", "default"] {
                write_sysctl(&format!("net/ipv4/conf/{key}/send_redirects"), "0")?;
            }
            write_sysctl("net/ipv4/ip_forward", "1")?;
            write_sysctl("net/ipv6/conf/all/forwarding", "1")
        })
    }

    /// Loads nftables rules from text.
    ///
    /// # Errors
    /// `nft` is not installed or refuses them.
    pub fn nft(&self, rules: &str) -> Result<(), LabError> {
        self.output(nft(["-f", "-"]), rules).map(drop)
    }

    /// The whole nftables rule set as text.
    ///
    /// # Errors
    /// `nft` is not installed or fails.
    pub fn nft_list(&self) -> Result<String, LabError> {
        self.output(nft(["-s", "list", "ruleset"]), "")
    }

    /// Reads one counter of `/proc/net/netstat`, such as `TcpExt` `TCPTimeouts`.
    ///
    /// # Errors
    /// There is no such counter.
    pub fn netstat(&self, group: &str, counter: &str) -> Result<u64, LabError> {
        self.counter("netstat", group, counter)
    }

    /// Reads one counter of `/proc/net/snmp`, such as `Tcp` `OutRsts`.
    ///
    /// # Errors
    /// There is no such counter.
    pub fn snmp(&self, group: &str, counter: &str) -> Result<u64, LabError> {
        self.counter("snmp", group, counter)
    }

    /// Reads one counter of `/proc/net/snmp6`, such as `Icmp6OutPktTooBigs`.
    ///
    /// # Errors
    /// There is no such counter.
    pub fn snmp6(&self, counter: &str) -> Result<u64, LabError> {
        let path = "/proc/thread-self/net/snmp6";
        let text = self.run(|| fs::read_to_string(path).map_err(LabError::io("read snmp6")))?;
        let value = text.lines().find_map(|line| line.strip_prefix(counter)?.trim().parse().ok());
        value.ok_or_else(|| LabError::check(format!("no counter {counter}")))
    }

    fn counter(&self, file: &str, group: &str, counter: &str) -> Result<u64, LabError> {
        let path = format!("/proc/thread-self/net/{file}");
        let text = self.run(|| fs::read_to_string(path).map_err(LabError::io(format!("read {file}"))))?;
        paired_value(&text, group, counter)
            .ok_or_else(|| LabError::check(format!("no counter {group} {counter}")))
    }

    fn enter(&self) -> Result<(), LabError> {
        setns(&self.0.file, CloneFlags::CLONE_NEWNET).map_err(LabError::errno("enter a namespace"))
    }
}

/// The `nft` program, also where `PATH` lacks the system directories.
fn nft<const N: usize>(arguments: [&str; N]) -> Command {
    let mut command = system_program("nft");
    command.args(arguments);
    command
}

/// A program of the system's administration, also where `PATH` lacks its directories.
pub(super) fn system_program(name: &str) -> Command {
    let mut command = Command::new(name);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command
}

/// Waits for a thread of [`Namespace::thread`]; a panic in it continues here.
///
/// # Errors
/// What the thread returned.
pub fn joined<T>(thread: JoinHandle<Result<T, LabError>>) -> Result<T, LabError> {
    thread.join().unwrap_or_else(|cause| std::panic::resume_unwind(cause))
}

fn write_sysctl(path: &str, value: &str) -> Result<(), LabError> {
    fs::write(format!("/proc/sys/{path}"), value).map_err(LabError::io(format!("set {path} to {value}")))
}

fn publish(name: &str) -> Result<(), LabError> {
    let step = || format!("mount the namespace {name} by name");
    let path = PathBuf::from(NAMED).join(name);
    fs::create_dir_all(NAMED).map_err(LabError::io(step()))?;
    if path.exists() {
        // A lab built earlier in this process; its namespace lives on while it is in use.
        nix::mount::umount2(&path, nix::mount::MntFlags::MNT_DETACH).map_err(LabError::errno(step()))?;
    }
    File::create(&path).map_err(LabError::io(step()))?;
    let none: Option<&str> = None;
    mount(Some("/proc/thread-self/ns/net"), &path, none, MsFlags::MS_BIND, none)
        .map_err(LabError::errno(step()))
}

/// A value of a file whose lines come as a line of names and a line of values.
pub(super) fn paired_value(text: &str, group: &str, counter: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(group)?.strip_prefix(':'));
    let (names, values) = (lines.next()?, lines.next()?);
    let position = names.split_whitespace().position(|name| name == counter)?;
    values.split_whitespace().nth(position)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::paired_value;

    #[test]
    fn a_netstat_counter_is_found_in_its_own_group() {
        let text = "TcpExt: A TCPTimeouts\nTcpExt: 3 4\nIpExt: A TCPTimeouts\nIpExt: 5 6\n";
        assert_eq!(paired_value(text, "TcpExt", "TCPTimeouts"), Some(4));
        assert_eq!(paired_value(text, "IpExt", "A"), Some(5));
        assert_eq!(paired_value(text, "IpExt", "B"), None);
        assert_eq!(paired_value(text, "MPTcpExt", "A"), None);
    }
}
