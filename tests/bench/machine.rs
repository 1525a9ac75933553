//! Where and with what was measured.

use std::{fs, process::Command};

use serde::Serialize;

/// The machine and the programs, in words.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// Processor model.
    pub processor: String,
    /// Processors that this program may use.
    pub cores: usize,
    /// Memory, in octets.
    pub memory: u64,
    /// Kernel release.
    pub kernel: String,
    /// Distribution.
    pub system: String,
    /// Compiler.
    pub compiler: String,
    /// Commit, with a `+` where files were changed since.
    pub commit: String,
    /// Day of the run.
    pub day: String,
    /// The most that an unprivileged socket may buffer, in octets.
    pub socket_buffer: u64,
}

impl Machine {
    pub fn here() -> Self {
        let cpuinfo = read("/proc/cpuinfo");
        let processor = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let meminfo = read("/proc/meminfo");
        let memory = meminfo
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse().ok());
        let system = read("/etc/os-release");
        let system = system.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
        let dirty = output("git", &["status", "--porcelain", "--untracked-files=no"]);
        let commit =
            output("git", &["rev-parse", "--short=10", "HEAD"]).unwrap_or_else(|| "unknown".to_owned());
        let day = time::OffsetDateTime::now_utc().date();
        Self {
            processor: processor.map_or("unknown", |(_, name)| name).trim().to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory: memory.unwrap_or(0_u64) * 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            system: system.unwrap_or("unknown").trim_matches('"').to_owned(),
            compiler: output("rustc", &["--version"]).unwrap_or_else(|| "unknown".to_owned()),
            commit: if dirty.is_some_and(|files| !files.is_empty()) { commit + "+" } else { commit },
            day: day.to_string(),
            socket_buffer: read("/proc/sys/net/core/rmem_max").trim().parse().unwrap_or(0),
        }
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output =
        Command::new(program).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
