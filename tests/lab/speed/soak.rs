//! Full load for a long time: memory flat, nothing dropped, as fast at the end as in the beginning.

use std::{
    fs,
    time::{Duration, Instant},
};

use skybridge::control::RekeyTarget;
use skybridge::lab::{Daemon, Entered, LabError, Plan, traffic::tcp::Transfer};

use super::{Load, in_order};
use crate::pair::{Pair, RECOVERY};
use crate::{Test, ensure};

pub(crate) const TESTS: &[Test] = &[("speed::a_soak_with_rekeys_leaves_memory_and_counters_flat", soak)];

/// How long a usual run lasts, and one with `SKYBRIDGE_LONG=1`.
const LASTS: [Duration; 2] = [Duration::from_secs(20), Duration::from_secs(3_600)];
/// Of that, until memory is what it will be.
const WARM_UP: u32 = 5;
/// How far memory may grow after the warm-up, in KiB.
const GROWTH: u64 = 2 << 10;
/// What the last third may carry at least, as a part of the first; judged in the long run alone.
const DRIFT: f64 = 0.75;

fn memory(daemon: &Daemon) -> Result<u64, LabError> {
    let pid = daemon.pid().ok_or_else(|| LabError::check("no process"))?;
    let text = fs::read_to_string(format!("/proc/{pid}/status")).map_err(LabError::io("read a status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.ok_or_else(|| LabError::check("no VmRSS"))
}

fn soak(inside: &Entered) -> Result<(), LabError> {
    let pair = Pair::up(inside, &Plan::default())?;
    run(&pair).map_err(|error| {
        let words = |daemon: &Daemon| {
            let log = fs::read_to_string(daemon.log()).unwrap_or_default();
            let unusual = log.lines().filter(|line| !line.contains("rekeyed") && !line.contains("removed"));
            unusual.collect::<Vec<_>>().join("\n")
        };
        let (office, cloud) = (words(&pair.office), words(&pair.cloud));
        LabError::check(format!("{error}\n--- office:\n{office}\n--- cloud:\n{cloud}"))
    })
}

fn run(pair: &Pair) -> Result<(), LabError> {
    let long = std::env::var_os("SKYBRIDGE_LONG").is_some();
    let lasts = LASTS[usize::from(long)];
    let daemons = [&pair.office, &pair.cloud];
    let memory = || -> Result<[u64; 2], LabError> { Ok([memory(daemons[0])?, memory(daemons[1])?]) };
    let load = Load::start(pair)?;
    let carried = |load: &Load| [&load.there, &load.back].map(Transfer::received).iter().sum::<u64>();
    let begun = Instant::now();
    let (mut warm, mut most, mut thirds, mut rekeys) = (None, [0; 2], Vec::new(), 0);
    let mut last = (Instant::now(), 0);
    while thirds.len() < 3 {
        let what = [RekeyTarget::Children, RekeyTarget::Ike][rekeys % 2].clone();
        pair.office.rekey("cloud", &what, RECOVERY)?;
        pair.cloud.rekey("office", &what, RECOVERY)?;
        rekeys += 1;
        load.flows(1_000)?;
        let now = memory()?;
        if warm.is_some() {
            most = [0, 1].map(|end| most[end].max(now[end]));
        } else if begun.elapsed() > lasts / WARM_UP {
            (warm, most) = (Some(now), now);
        }
        if begun.elapsed() > lasts / 3 * u32::try_from(thirds.len() + 1).unwrap_or(3) {
            let octets = carried(&load);
            thirds.push((octets - last.1) as f64 / last.0.elapsed().as_secs_f64());
            last = (Instant::now(), octets);
        }
    }
    let speeds: Vec<String> = thirds.iter().map(|speed| format!("{:.2} Gb/s", speed * 8e-9)).collect();
    let warm = warm.unwrap_or_default();
    let (reports, lost) = load.stop(pair)?;
    println!(
        "{rekeys} rekeys by each end; {speeds:?}; memory {warm:?} KiB warm, at most {most:?} KiB; losses {lost:?}"
    );
    for end in [0, 1] {
        ensure(
            most[end] <= warm[end] + GROWTH,
            format!("memory went from {} to {} KiB", warm[end], most[end]),
        )?;
    }
    for report in &reports {
        ensure(in_order(report), format!("{report:?}; {lost:?}"))?;
    }
    // A probe of the path's MTU that is late under load makes the MTU smaller, and senders are told.
    let explained = |what: &&String| what.contains("daemon too_big");
    let daemon: Vec<_> = lost.iter().filter(|what| what.contains(" daemon ") && !explained(what)).collect();
    ensure(daemon.is_empty(), format!("dropped by a daemon: {daemon:?}"))?;
    for daemon in daemons {
        let findings = daemon.status()?.findings;
        let eaten = findings.iter().find(|finding| finding.code.starts_with("eaten"));
        ensure(eaten.is_none(), format!("traffic that arrived is said to be eaten: {eaten:?}"))?;
    }
    if long {
        ensure(thirds[2] >= thirds[0] * DRIFT, format!("slower at the end: {speeds:?}"))?;
    }
    Ok(())
}
