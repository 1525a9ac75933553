//! Sysctls: set where needed, recorded before, put back after.
//!
//! Switching forwarding changes other values along: every interface's own switch, and
//! `accept_redirects`; those are recorded too. Files below `/proc/sys/net` show the network namespace
//! of the thread that opens them, so everything here is synchronous and stays on the caller's thread.

use std::fs;
use std::path::PathBuf;

use super::state::{Changed, Record, StateDir};
use super::{Finding, Report, Severity, SystemError};

pub(super) const FORWARD_V4: &str = "net/ipv4/ip_forward";
pub(super) const FORWARD_V6: &str = "net/ipv6/conf/all/forwarding";

/// A value that is needed, and what the kernel changes along with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Needed {
    pub(super) path: String,
    pub(super) value: String,
    pub(super) why: &'static str,
    pub(super) along: Vec<String>,
    /// Whether it belongs to our own device and is gone with it.
    pub(super) own: bool,
}

impl Needed {
    pub(super) fn new(path: impl Into<String>, value: &str, why: &'static str) -> Self {
        Self { path: path.into(), value: value.into(), why, along: Vec::new(), own: false }
    }
}

fn file(path: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(path)
}

/// The value without white space around it.
pub(super) fn read(path: &str) -> Option<String> {
    fs::read_to_string(file(path)).ok().map(|value| value.trim().to_owned())
}

/// The value as a number.
pub(super) fn number(path: &str) -> Option<i64> {
    read(path)?.parse().ok()
}

fn write(path: &str, value: &str) -> std::io::Result<()> {
    fs::write(file(path), value)
}

/// IPv4 forwarding.
pub(super) fn forward_v4() -> Needed {
    let mut along = per_interface("net/ipv4/conf", "forwarding");
    along.push("net/ipv4/conf/all/accept_redirects".into());
    Needed { along, ..Needed::new(FORWARD_V4, "1", "IPv4 packets are forwarded to and from the tunnel") }
}

/// IPv6 forwarding, after router advertisements are kept alive on interfaces that live by them.
pub(super) fn forward_v6(advertised: &[String]) -> Vec<Needed> {
    let mut needed: Vec<Needed> = advertised
        .iter()
        .map(|name| format!("net/ipv6/conf/{name}/accept_ra"))
        .filter(|path| number(path).is_some_and(|value| value == 1))
        .map(|path| Needed::new(path, "2", "router advertisements are accepted although IPv6 is forwarded"))
        .collect();
    needed.push(Needed {
        along: per_interface("net/ipv6/conf", "forwarding"),
        ..Needed::new(FORWARD_V6, "1", "IPv6 packets are forwarded to and from the tunnel")
    });
    needed
}

/// Loose reverse path checks on the TUN where the machine's rule would be strict: the kernel takes
/// the larger of the interface's value and the one of `all`.
pub(super) fn rp_filter(tun: &str) -> Option<Needed> {
    let path = format!("net/ipv4/conf/{tun}/rp_filter");
    let own = number(&path)?;
    let all = number("net/ipv4/conf/all/rp_filter").unwrap_or(0);
    (own.max(all) == 1).then(|| Needed {
        own: true,
        ..Needed::new(path, "2", "packets from the tunnel may have sources whose way back is another one")
    })
}

fn per_interface(dir: &str, leaf: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(file(dir)) else { return Vec::new() };
    let mut paths: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name != "all")
        .map(|name| format!("{dir}/{name}/{leaf}"))
        .collect();
    paths.sort();
    paths
}

/// Sets what is needed and puts back what no longer is.
pub(super) fn reconcile(
    needed: &[Needed],
    record: &mut Record,
    state: &StateDir,
    report: &mut Report,
) -> Result<(), SystemError> {
    for need in needed {
        ensure(need, record, state, report)?;
    }
    let stale: Vec<Changed> = record
        .sysctls
        .iter()
        .filter(|entry| {
            entry.set.is_some()
                && !needed.iter().any(|need| need.path == entry.path)
                // Once set, these stay as long as IPv6 is forwarded.
                && !(entry.path.ends_with("/accept_ra") && needed.iter().any(|need| need.path == FORWARD_V6))
        })
        .cloned()
        .collect();
    if !stale.is_empty() {
        put_back(&stale, record, report);
        state.save(record)?;
    }
    Ok(())
}

/// Sets one value of our own device, without a record.
pub(super) fn set_own(path: &str, value: &str) {
    if read(path).is_some_and(|now| now != value)
        && let Err(error) = write(path, value)
    {
        tracing::debug!(sysctl = path, value, %error, "not set");
    }
}

fn ensure(
    need: &Needed,
    record: &mut Record,
    state: &StateDir,
    report: &mut Report,
) -> Result<(), SystemError> {
    let Some(before) = read(&need.path) else {
        report.findings.push(refused(need, "it does not exist"));
        return Ok(());
    };
    // Switches are on with any value but 0.
    if before == need.value || (need.value == "1" && before.parse::<i64>().is_ok_and(|now| now != 0)) {
        return Ok(());
    }
    if !need.own && !record.sysctls.iter().any(|entry| entry.path == need.path) {
        for path in &need.along {
            if record.sysctls.iter().any(|entry| entry.path == *path) {
                continue;
            }
            if let Some(before) = read(path) {
                record.sysctls.push(Changed { path: path.clone(), before, set: None });
            }
        }
        record.sysctls.push(Changed {
            path: need.path.clone(),
            before: before.clone(),
            set: Some(need.value.clone()),
        });
        state.save(record)?;
    }
    match write(&need.path, &need.value) {
        Ok(()) => {
            tracing::debug!(sysctl = %need.path, before = %before, value = %need.value, why = need.why, "set");
            report.sysctls.push(format!("{} = {}", need.path.replace('/', "."), need.value));
        }
        // In a sandbox udev sets those of our device from sysctl.d, a moment after us; inspection tells if it does not.
        Err(error) if need.own => tracing::debug!(sysctl = %need.path, %error, "left to sysctl.d"),
        Err(error) => report.findings.push(refused(need, &error.to_string())),
    }
    Ok(())
}

fn refused(need: &Needed, reason: &str) -> Finding {
    let name = need.path.replace('/', ".");
    Finding {
        code: "sysctl",
        severity: Severity::Error,
        what: format!("{name} is not {} and could not be set: {reason}", need.value),
        where_: format!("/proc/sys/{}", need.path),
        remedy: format!(
            "It is needed so that {}. Put `{name} = {}` into /etc/sysctl.d/60-skybridge.conf and run \
             `sysctl --system`.",
            need.why, need.value
        ),
    }
}

/// Puts everything in the record back.
pub(super) fn restore_all(record: &mut Record, report: &mut Report) {
    let all: Vec<Changed> = record.sysctls.iter().filter(|entry| entry.set.is_some()).cloned().collect();
    put_back(&all, record, report);
    // Whatever is left was changed along with something that is back already.
    let along = std::mem::take(&mut record.sysctls);
    for entry in &along {
        put_back_along(entry, report);
    }
}

fn put_back(entries: &[Changed], record: &mut Record, report: &mut Report) {
    for entry in entries.iter().rev() {
        record.sysctls.retain(|have| have.path != entry.path);
        match read(&entry.path) {
            // The interface is gone, or somebody else has set it since.
            None => {}
            Some(now) if Some(&now) != entry.set.as_ref() => {}
            Some(_) => match write(&entry.path, &entry.before) {
                Ok(()) => report.sysctls.push(format!("{} = {}", entry.path.replace('/', "."), entry.before)),
                Err(error) => report.findings.push(Finding {
                    code: "sysctl",
                    severity: Severity::Warning,
                    what: format!("{} could not be put back: {error}", entry.path.replace('/', ".")),
                    where_: format!("/proc/sys/{}", entry.path),
                    remedy: format!("Set it to {} if that is still wanted.", entry.before),
                }),
            },
        }
        let family = match entry.path.as_str() {
            FORWARD_V4 => "net/ipv4/",
            FORWARD_V6 => "net/ipv6/",
            _ => continue,
        };
        let (along, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut record.sysctls)
            .into_iter()
            .partition(|have| have.set.is_none() && have.path.starts_with(family));
        record.sysctls = rest;
        for side in &along {
            put_back_along(side, report);
        }
    }
}

fn put_back_along(entry: &Changed, report: &mut Report) {
    if read(&entry.path).is_some_and(|now| now != entry.before) && write(&entry.path, &entry.before).is_ok() {
        report.sysctls.push(format!("{} = {}", entry.path.replace('/', "."), entry.before));
    }
}
