//! Who holds the UDP ports of IKE.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::system::{Finding, Severity};

/// Processes looked at to name a socket's owner.
const MOST_PROCESSES: usize = 4096;

pub(super) fn inspect(ports: [u16; 2]) -> Vec<Finding> {
    let own = sockets_of(Path::new("/proc/self/fd"));
    let mut findings = Vec::new();
    let mut seen = BTreeSet::new();
    for table in ["udp", "udp6"] {
        let text = fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap_or_default();
        for (port, inode) in text.lines().skip(1).filter_map(parse_line) {
            if !ports.contains(&port) || own.contains(&inode) || !seen.insert(inode) {
                continue;
            }
            let holder = owner(inode).unwrap_or_else(|| "another process".into());
            findings.push(Finding {
                code: "port-taken",
                severity: Severity::Error,
                what: format!("UDP port {port} is held by {holder}"),
                where_: format!("UDP port {port}"),
                remedy: "Stop that program (another IKE daemon?), or configure other ports.".into(),
            });
        }
    }
    findings
}

/// Local port and inode of a line of `/proc/net/udp`.
fn parse_line(line: &str) -> Option<(u16, u64)> {
    let mut fields = line.split_whitespace();
    let (_, port) = fields.nth(1)?.rsplit_once(':')?;
    Some((u16::from_str_radix(port, 16).ok()?, fields.nth(7)?.parse().ok()?))
}

fn sockets_of(dir: &Path) -> BTreeSet<u64> {
    let Ok(entries) = fs::read_dir(dir) else { return BTreeSet::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let target = fs::read_link(entry.path()).ok()?;
            target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
        })
        .collect()
}

fn owner(inode: u64) -> Option<String> {
    let processes = fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        Some((pid, entry.path()))
    });
    for (pid, path) in processes.take(MOST_PROCESSES) {
        if sockets_of(&path.join("fd")).contains(&inode) {
            let name = fs::read_to_string(path.join("comm")).unwrap_or_default();
            return Some(format!("{} (process {pid})", name.trim()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_socket_table_gives_port_and_inode() {
        let line = "  614: 00000000:1194 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 5179 2 \
                    00000000f1e5a0b1 0";
        assert_eq!(parse_line(line), Some((4500, 5179)));
        assert_eq!(parse_line("  sl  local_address"), None);
        assert_eq!(parse_line(""), None);
    }
}
