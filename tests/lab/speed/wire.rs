//! A wire that loses, reorders and doubles; and what is on it.

use skybridge::lab::{
    Entered, LabError, Namespace, Plan, Relay,
    relay::{Faults, Passed},
    topology::{CLIENT, POD, POD6},
    traffic::{ping, stream::Stream, tcp::Transfer},
};

use super::{FILE, drop_count, explained, file, files, in_order, losses, until_drops};
use crate::pair::{PATIENCE, Pair, flows, ip};
use crate::{Test, ensure};

pub(crate) const TESTS: &[Test] = &[
    ("speed::files_arrive_whole_over_a_wire_that_loses", loses),
    ("speed::files_arrive_whole_over_a_wire_that_reorders", reorders),
    ("speed::every_packet_that_comes_twice_is_counted_as_replayed", doubles),
    ("speed::every_packet_of_a_train_that_comes_twice_is_counted_as_replayed", doubles_trains),
    ("speed::trains_sent_again_later_are_rejected_whole_and_traffic_goes_on", repeats),
    ("speed::no_packet_on_the_wire_is_longer_than_the_mtu_asks", within_mtu),
    ("speed::files_arrive_whole_in_small_segments", small_segments),
    ("speed::flows_of_many_kinds_at_once_stay_in_order", mixed),
];

fn pair_with(inside: &Entered, faults: Faults) -> Result<(Pair, Relay), LabError> {
    let mut pair = Pair::prepare(inside, &Plan::default())?;
    let relay =
        Relay::start(&pair.lab, Faults { whole: faults.whole, seed: faults.seed, ..Faults::default() })?;
    pair.cloud.start_and_wait()?;
    pair.office.start_and_wait()?;
    pair.wait_up(PATIENCE)?;
    relay.set(faults);
    Ok((pair, relay))
}

/// Files in both directions over IPv4.
fn both_ways(pair: &Pair, length: u64) -> Result<(), LabError> {
    let (client, pod) = (&pair.lab.client, &pair.lab.pod);
    file(pod, client, POD, 7, length)?;
    file(client, pod, CLIENT, 8, length)
}

fn loses(inside: &Entered) -> Result<(), LabError> {
    let (pair, relay) = pair_with(inside, Faults { seed: 1, lost: 5, ..Faults::default() })?;
    both_ways(&pair, FILE / 2)?;
    let passed = relay.passed();
    ensure(passed.iter().all(|way| way.lost > 0), format!("nothing was lost: {passed:?}"))?;
    for daemon in [&pair.office, &pair.cloud] {
        ensure(drop_count(daemon, "replayed")? == 0, "what came once was counted as replayed")?;
    }
    Ok(())
}

fn reorders(inside: &Entered) -> Result<(), LabError> {
    for whole in [false, true] {
        let (pair, relay) = pair_with(inside, Faults { seed: 2, delayed: 50, whole, ..Faults::default() })?;
        both_ways(&pair, FILE / 2)?;
        let passed = relay.passed();
        ensure(passed.iter().all(|way| way.delayed > 0), format!("nothing was overtaken: {passed:?}"))?;
        for daemon in [&pair.office, &pair.cloud] {
            for reason in ["replayed", "replay_too_old"] {
                let count = drop_count(daemon, reason)?;
                ensure(count == 0, format!("{count} late packets were counted as {reason}"))?;
            }
        }
    }
    Ok(())
}

fn doubles(inside: &Entered) -> Result<(), LabError> {
    doubled(inside, Faults { seed: 3, doubled: 100, ..Faults::default() })
}

fn doubles_trains(inside: &Entered) -> Result<(), LabError> {
    doubled(inside, Faults { seed: 4, doubled: 100, whole: true, ..Faults::default() })
}

fn doubled(inside: &Entered, faults: Faults) -> Result<(), LabError> {
    let (pair, relay) = pair_with(inside, faults)?;
    let before = losses(&pair)?;
    both_ways(&pair, FILE)?;
    relay.set(Faults { whole: faults.whole, ..Faults::default() });
    pair.reach(PATIENCE)?;
    // Both ends are told of what still is in the relay by the time that nothing passes it.
    rejected(&pair, &relay, |way| way.doubled)?;
    let passed = relay.passed();
    ensure(passed.iter().all(|way| way.doubled > 20), format!("hardly anything came twice: {passed:?}"))?;
    if faults.whole {
        ensure(passed.iter().all(|way| way.trains > 20), format!("hardly any trains: {passed:?}"))?;
    }
    let lost = losses(&pair)?.since(&before);
    let other: Vec<_> =
        explained(lost).into_iter().filter(|what| !what.contains("daemon replayed")).collect();
    ensure(other.is_empty(), format!("more than the doubled ones was refused: {other:?}"))
}

/// Waits until both ends have counted as replayed what the relay sent once too often.
fn rejected(pair: &Pair, relay: &Relay, wanted: fn(&Passed) -> u64) -> Result<(), LabError> {
    for (daemon, way) in [(&pair.cloud, 0), (&pair.office, 1)] {
        let goal = || wanted(&relay.passed()[way]);
        until_drops(daemon, &format!("{} are counted as replayed", goal()), |drops| {
            drops.get("replayed").copied().unwrap_or(0) == goal()
        })?;
    }
    Ok(())
}

fn repeats(inside: &Entered) -> Result<(), LabError> {
    let (pair, relay) = pair_with(inside, Faults { seed: 5, whole: true, ..Faults::default() })?;
    // Few enough that the first are still within the replay window when they come again.
    both_ways(&pair, 1 << 20)?;
    let stream = pair.stream(500)?;
    flows(&stream, 100, PATIENCE)?;
    relay.repeat()?;
    relay.repeat()?;
    let repeated = relay.passed().map(|way| way.repeated);
    ensure(repeated.iter().all(|count| *count > 64), format!("repeated {repeated:?}"))?;
    rejected(&pair, &relay, |way| way.repeated)?;
    flows(&stream, 500, PATIENCE)?;
    let report = stream.stop()?;
    ensure(in_order(&report), format!("{report:?}"))?;
    both_ways(&pair, 1 << 20)
}

fn within_mtu(inside: &Entered) -> Result<(), LabError> {
    // Inside 1,300 octets at most; two of trailer make 1,302 and padding 1,304; outside of that ESP header,
    // IV and ICV of 8, 8 and 16, UDP of 8 and IPv4 of 20.
    const MTU: usize = 1_300;
    const LONGEST: usize = (MTU + 2).next_multiple_of(4) + 8 + 8 + 16 + 8 + 20;
    let mtu = || format!("mtu = {MTU}\n");
    let plan = Plan { office_extra: mtu(), cloud_extra: mtu(), ..Plan::default() };
    let mut pair = Pair::prepare(inside, &plan)?;
    let relay = Relay::start(&pair.lab, Faults { seed: 6, ..Faults::default() })?;
    pair.cloud.start_and_wait()?;
    pair.office.start_and_wait()?;
    pair.wait_up(PATIENCE)?;
    files(&pair, FILE / 4)?;
    let longest = relay.passed().map(|way| way.longest);
    ensure(longest == [LONGEST; 2], format!("{longest:?} where {LONGEST} is the longest allowed"))
}

fn small_segments(inside: &Entered) -> Result<(), LabError> {
    let clamp = || "clamp_mss = 536\n".to_owned();
    let plan = Plan { office_extra: clamp(), cloud_extra: clamp(), ..Plan::default() };
    let mut pair = Pair::prepare(inside, &plan)?;
    let relay = Relay::start(&pair.lab, Faults { seed: 7, ..Faults::default() })?;
    pair.cloud.start_and_wait()?;
    pair.office.start_and_wait()?;
    pair.wait_up(PATIENCE)?;
    files(&pair, FILE / 4)?;
    let passed = relay.passed();
    let least = FILE / 4 / 536;
    ensure(passed.iter().all(|way| way.packets > 2 * least), format!("larger segments: {passed:?}"))
}

/// Counters of segments that came too early, where nothing was lost before them.
fn out_of_order(namespace: &Namespace) -> Result<[u64; 2], LabError> {
    Ok([namespace.netstat("TcpExt", "TCPOFOQueue")?, namespace.netstat("TcpExt", "TCPSACKReorder")?])
}

fn mixed(inside: &Entered) -> Result<(), LabError> {
    let pair = Pair::up(inside, &Plan::default())?;
    let (client, pod) = (&pair.lab.client, &pair.lab.pod);
    let before = losses(&pair)?;
    let disorder = || -> Result<_, LabError> { Ok([out_of_order(client)?, out_of_order(pod)?]) };
    let disorder_before = disorder()?;
    let mut transfers = Vec::new();
    for number in 0..16 {
        let (from, to, address) = if number % 4 == 0 { (pod, client, CLIENT) } else { (client, pod, POD) };
        transfers.push(Transfer::start(from, to, ip(address))?);
    }
    let mut streams = Vec::new();
    for (rate, length) in [(1_000, 64), (500, 200), (500, 512), (500, 1_300)] {
        streams.push(Stream::start(client, pod, ip(POD), rate, length)?);
        streams.push(Stream::start(pod, client, ip(CLIENT), rate / 2, length)?);
    }
    for _ in 0..3 {
        ping::until_answered(client, ip(POD), PATIENCE)?;
        ping::until_answered(pod, ip(CLIENT), PATIENCE)?;
        ping::until_answered(client, ip(POD6), PATIENCE)?;
    }
    for stream in &streams {
        flows(stream, 500, PATIENCE)?;
    }
    let moved: Vec<u64> = transfers.iter().map(Transfer::received).collect();
    let reports = streams.into_iter().map(Stream::stop).collect::<Result<Vec<_>, _>>()?;
    for transfer in transfers {
        transfer.stop()?;
    }
    let lost = explained(losses(&pair)?.since(&before));
    ensure(moved.iter().all(|octets| *octets > 0), format!("a connection stands still: {moved:?}"))?;
    // More than the machine carries waits in the kernel's queues and is lost there, never in the tunnel.
    ensure(lost.iter().all(|what| !what.contains(" daemon ")), format!("dropped by a daemon: {lost:?}"))?;
    for report in reports {
        let orderly = report.reordered == 0 && report.duplicated == 0;
        ensure(orderly && (report.lost() == 0 || !lost.is_empty()), format!("{report:?}; {lost:?}"))?;
    }
    let disorder = disorder()?;
    let orderly = disorder == disorder_before;
    // A full queue of the kernel loses segments, and those behind it are early.
    ensure(orderly || !lost.is_empty(), format!("from {disorder_before:?} to {disorder:?} without a loss"))
}
