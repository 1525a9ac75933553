//! What each row of the demo measures. A check returns its detail in words, or why it failed.

use std::time::{Duration, Instant};

use super::world::{World, parse};
use crate::{
    control::RekeyTarget,
    lab::{
        Daemon, LabError, Namespace,
        capture::Seen,
        dump::Dump,
        losses::Losses,
        topology::{CLIENT, CLIENT6, POD, POD6},
        traffic::{datagram, http, ping as icmp, stream::Stream},
        wait::until,
    },
};

/// How long anything may take that needs no more than a few round trips.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a tunnel may take to come back after a daemon was killed.
const RECOVERY: Duration = Duration::from_secs(60);
/// The size of the files fetched, in octets.
const FILE: u64 = 64 << 20;
/// Numbered datagrams a second.
const RATE: u32 = 10_000;
/// Their size, in octets of payload.
const SIZE: usize = 200;

type Detail = Result<String, LabError>;

/// Starts both daemons and waits until the office reaches the Pod.
pub(super) fn tunnel_up(world: &mut World) -> Detail {
    let begun = Instant::now();
    world.cloud.start()?;
    world.office.start()?;
    world.office.wait_up("cloud", PATIENCE)?;
    world.cloud.wait_up("office", PATIENCE)?;
    icmp::until_answered(&world.lab.client, parse(POD)?, PATIENCE)?;
    let took = begun.elapsed();
    let suite = world.office.peer("cloud")?.ike.map(|ike| ike.suite).unwrap_or_default();
    Ok(format!("{} ms from starting both daemons; {suite}", took.as_millis()))
}

/// Echo requests from the office and from the Pod, over IPv4 and IPv6.
pub(super) fn ping(world: &mut World) -> Detail {
    const COUNT: u32 = 20;
    let mut details = Vec::new();
    for (from, to, name) in [
        (&world.lab.client, POD, "to the Pod"),
        (&world.lab.pod, CLIENT, "back"),
        (&world.lab.client, POD6, "to the Pod over IPv6"),
        (&world.lab.pod, CLIENT6, "back"),
    ] {
        let mut total = Duration::ZERO;
        for _ in 0..COUNT {
            let answer = icmp::once(from, parse(to)?, 56, Duration::from_secs(2))?;
            total += answer.map_err(|why| LabError::check(format!("{} to {to}: {why}", from.name())))?;
        }
        details.push(format!("{:.2} ms {name}", (total / COUNT).as_secs_f64() * 1e3));
    }
    Ok(details.join(", "))
}

/// A file served by the Pod.
pub(super) fn file_to_office(world: &mut World) -> Detail {
    file(&world.lab.client, &world.lab.pod, POD, 1)
}

/// A file served by a machine in the office.
pub(super) fn file_to_pod(world: &mut World) -> Detail {
    file(&world.lab.pod, &world.lab.client, CLIENT, 2)
}

fn file(client: &Namespace, server: &Namespace, address: &str, seed: u64) -> Detail {
    let server = http::Server::start(server, http::any_port(parse(address)?), seed)?;
    let fetched = http::fetch(client, server.address(), FILE, PATIENCE)?;
    let expected = http::sha256(seed, FILE);
    if fetched.length != FILE || fetched.sha256 != expected {
        return Err(LabError::check(format!(
            "{} octets with SHA-256 {} instead of {FILE} with {expected}",
            fetched.length, fetched.sha256
        )));
    }
    let short: String = expected.chars().take(16).collect();
    let speed = fetched.length as f64 * 8.0 / fetched.took.as_secs_f64();
    Ok(format!("SHA-256 {short}… at both ends, {:.1} s, {}", fetched.took.as_secs_f64(), bits(speed)))
}

/// Datagrams that just fit, by one more octet do not, and by far do not.
pub(super) fn datagrams(world: &mut World) -> Detail {
    let echo = datagram::Echo::start(&world.lab.pod, parse(POD)?)?;
    let echo6 = datagram::Echo::start(&world.lab.pod, parse(POD6)?)?;
    let mtu = datagram::path_mtu(&world.lab.client, echo.address(), 1_500)?;
    if mtu >= 1_500 {
        return Err(LabError::check(format!(
            "a path MTU of {mtu} leaves no room for ESP: nobody told the client"
        )));
    }
    for length in [mtu - 28, mtu - 27, 4_000, 16_000] {
        datagram::exchange(&world.lab.client, echo.address(), length, PATIENCE)?;
    }
    for length in [1_200, 1_452, 4_000] {
        datagram::exchange(&world.lab.client, echo6.address(), length, PATIENCE)?;
    }
    Ok(format!("inner MTU {mtu}, told by ICMP; up to 16,000 octets there and back, IPv4 and IPv6"))
}

/// New keys from both sides under a stream from the office.
pub(super) fn rekey_to_pod(world: &mut World) -> Detail {
    rekey(world, &world.lab.client, &world.lab.pod, POD)
}

/// New keys from both sides under a stream to the office.
pub(super) fn rekey_to_office(world: &mut World) -> Detail {
    rekey(world, &world.lab.pod, &world.lab.client, CLIENT)
}

fn rekey(world: &World, from: &Namespace, to: &Namespace, address: &str) -> Detail {
    let World { office, cloud, lab, .. } = world;
    let losses = || Losses::count(lab.namespaces(), [office, cloud]);
    let before = losses()?;
    let stream = Stream::start(from, to, parse(address)?, RATE, SIZE)?;
    let flows = |goal: u64| {
        until("numbered datagrams arrive", PATIENCE, || {
            let received = stream.received();
            Ok(if received >= goal { Ok(()) } else { Err(format!("{received} arrived")) })
        })
    };
    let mut rekeys = 0;
    for (daemon, peer) in [(office, "cloud"), (cloud, "office")] {
        for what in [RekeyTarget::Children, RekeyTarget::Ike, RekeyTarget::All] {
            flows(stream.received() + u64::from(RATE) / 4)?;
            daemon.rekey(peer, &what, PATIENCE)?;
            rekeys += 1;
        }
    }
    // Old SAs are closed while the stream goes on, too.
    flows(stream.received() + u64::from(RATE))?;
    let report = stream.stop()?;
    if report.lost() > 0 {
        return Err(LabError::check(format!(
            "{} of {} lost ({} refused by the sender's kernel), longest gap {} ms; counted: {}",
            report.lost(),
            report.sent,
            report.refused,
            report.longest_gap.as_millis(),
            losses()?.since(&before).join(", ")
        )));
    }
    if report.rate() < f64::from(RATE) * 0.95 {
        return Err(LabError::check(format!("only {:.0} packets/s could be sent", report.rate())));
    }
    Ok(format!(
        "{rekeys} rekeys from both sides, {} packets at {:.0}/s, none lost, longest gap {:.1} ms",
        report.sent,
        report.rate(),
        report.longest_gap.as_secs_f64() * 1e3
    ))
}

/// What the tap in the internet saw up to now.
pub(super) fn wire(world: &mut World) -> Detail {
    let seen = world.stop_wire_tap().ok_or_else(|| LabError::check("the tap was stopped before"))?;
    clean("internet carrier0", &seen)?;
    if seen.esp == 0 || seen.ike == 0 {
        return Err(LabError::check(format!("no tunnel on the wire: {} ESP, {} IKE", seen.esp, seen.ike)));
    }
    Ok(format!("{} ESP and {} IKE packets, no inner octet in clear", seen.esp, seen.ike))
}

/// What the lasting taps saw from before the daemons' start until now.
pub(super) fn no_clear_packet(world: &mut World) -> Detail {
    let mut places = Vec::new();
    for (name, seen) in world.guards() {
        clean(name, &seen)?;
        places.push(name.to_owned());
    }
    Ok(format!("none at {}", places.join(", ")))
}

fn clean(place: &str, seen: &Seen) -> Result<(), LabError> {
    if seen.clear == 0 && seen.other == 0 {
        return Ok(());
    }
    Err(LabError::check(format!(
        "{place}: {} in clear, {} unknown: {}",
        seen.clear,
        seen.other,
        seen.samples.join("; ")
    )))
}

/// One TCP connection each way, beside what plain routing reached.
pub(super) fn throughput(world: &mut World) -> Detail {
    world.stop_wire_tap();
    let (plain, tunnel) = (world.plain, world.speed()?);
    let line = |name: &str, tunnel: f64, plain: f64| {
        format!("{name} {} of {} ({:.0} %)", bits(tunnel), bits(plain), 100.0 * tunnel / plain)
    };
    let lines = [
        line("to the Pod", tunnel.to_pod, plain.to_pod),
        line("to the office", tunnel.to_office, plain.to_office),
    ];
    Ok(lines.join(", "))
}

/// The cloud's daemon dies and its service manager starts it again.
pub(super) fn cloud_killed(world: &mut World) -> Detail {
    killed(&mut world.cloud, &world.lab.client, &world.lab.pod, POD)
}

/// The office's daemon dies and its service manager starts it again.
pub(super) fn office_killed(world: &mut World) -> Detail {
    killed(&mut world.office, &world.lab.client, &world.lab.pod, POD)
}

fn killed(daemon: &mut Daemon, from: &Namespace, to: &Namespace, address: &str) -> Detail {
    // Traffic goes on all the time, so that a gap in the protection would show.
    let stream = Stream::start(from, to, parse(address)?, 500, SIZE)?;
    let back = Stream::start(to, from, parse(CLIENT)?, 500, SIZE)?;
    daemon.kill()?;
    let silent = icmp::once(from, parse(address)?, 56, Duration::from_millis(500))?;
    if silent.is_ok() {
        return Err(LabError::check("a ping was answered without a daemon"));
    }
    let begun = Instant::now();
    daemon.start()?;
    icmp::until_answered(from, parse(address)?, RECOVERY)?;
    let took = begun.elapsed();
    let (sent, returned) = (stream.received(), back.received());
    until("traffic flows both ways again", PATIENCE, || {
        let flows = stream.received() > sent && back.received() > returned;
        Ok(if flows { Ok(()) } else { Err("one way only".to_owned()) })
    })?;
    daemon.alive()?;
    stream.stop()?;
    back.stop()?;
    Ok(format!("traffic again {:.1} s after its start", took.as_secs_f64()))
}

/// Stops both daemons, cleans up, and compares both namespaces with what they were.
pub(super) fn left_behind(world: &mut World) -> Detail {
    world.stop_guards();
    for daemon in [&mut world.office, &mut world.cloud] {
        daemon.stop()?;
        daemon.cleanup()?;
    }
    let (mut lines, mut left) = (0, Vec::new());
    for (namespace, before) in world.before() {
        let after = Dump::take(namespace)?;
        lines += after.len();
        left.extend(
            before.difference(&after).into_iter().map(|line| format!("{}: {line}", namespace.name())),
        );
    }
    if left.is_empty() {
        return Ok(format!(
            "{lines} lines of links, addresses, routes, rules, nftables and sysctls are equal"
        ));
    }
    let more = left.len().saturating_sub(12);
    left.truncate(12);
    Err(LabError::check(format!(
        "{}{}",
        left.join("\n"),
        if more > 0 { format!("\nand {more} more") } else { String::new() }
    )))
}

/// Bits a second as people read them.
fn bits(speed: f64) -> String {
    if speed >= 1e9 { format!("{:.2} Gbit/s", speed / 1e9) } else { format!("{:.0} Mbit/s", speed / 1e6) }
}
