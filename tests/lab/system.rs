//! What the daemon does to its machine: routes restored, fail closed, reload, nothing left behind.

use std::time::Duration;

use skybridge::lab::{
    Daemon, Entered, LabError, Plan,
    dump::Dump,
    topology::{BRANCH_HOST, BRANCH_NET, OFFICE, POD, PODS},
    traffic::ping,
    wait::until,
};

use crate::pair::{PATIENCE, Pair, RECOVERY, flows, ip, program};
use crate::{Test, ensure};

pub(crate) const TESTS: &[Test] = &[
    ("system::a_removed_route_is_restored", route_restored),
    ("system::nothing_leaves_in_clear_while_the_daemon_is_dead", fail_closed),
    ("system::a_stopped_daemon_leaves_only_the_block", only_the_block),
    ("system::cleanup_leaves_nothing_behind", nothing_left),
    ("system::cleanup_after_kill_leaves_nothing_behind", nothing_left_after_kill),
    ("system::a_reload_keeps_other_tunnels_up", reload),
];

const DEVICE: &str = "skybridge0";

fn route_restored(inside: &Entered) -> Result<(), LabError> {
    let pair = Pair::up(inside, &Plan::default())?;
    for (namespace, net) in [(&pair.lab.edge, PODS), (&pair.lab.cloud, OFFICE)] {
        ensure(namespace.remove_device_route(net, DEVICE)?, format!("no route to {net} through {DEVICE}"))?;
        until("the route is back", PATIENCE, || {
            Ok(if namespace.has_device_route(net, DEVICE)? { Ok(()) } else { Err("gone".to_owned()) })
        })?;
    }
    pair.reach(PATIENCE)
}

fn fail_closed(inside: &Entered) -> Result<(), LabError> {
    let mut pair = Pair::up(inside, &Plan::default())?;
    let guard = pair.guard()?;
    let stream = pair.stream(1_000)?;
    flows(&stream, 500, PATIENCE)?;
    for daemon in [&mut pair.office, &mut pair.cloud] {
        daemon.kill()?;
    }
    stream.stop()?;
    // The client is told rather than left waiting. Each such answer costs the
    // kernel's allowance for this client two seconds, and the stream has used it up: hence the patience.
    until("the edge answers for the Pod", PATIENCE, || {
        let answer = ping::once(&pair.lab.client, ip(POD), 56, Duration::from_millis(2_500))?;
        Ok(match answer {
            Err(why) if why.contains("unreachable") => Ok(()),
            other => Err(format!("{other:?}")),
        })
    })?;
    ping::once(&pair.lab.pod, ip("192.168.10.10"), 56, Duration::from_millis(500))?
        .map_or(Ok(()), |_| Err(LabError::check("the Pod reached the office without a daemon")))?;
    guard.saw_nothing()
}

fn only_the_block(inside: &Entered) -> Result<(), LabError> {
    let mut pair = Pair::prepare(inside, &Plan::default())?;
    let before = Dump::take(&pair.lab.edge)?;
    pair.cloud.start_and_wait()?;
    pair.office.start_and_wait()?;
    pair.wait_up(PATIENCE)?;
    pair.office.stop()?;
    let left = before.difference(&Dump::take(&pair.lab.edge)?);
    let (block, other): (Vec<_>, Vec<_>) =
        left.into_iter().partition(|line| line.starts_with("+ route Unreachable"));
    ensure(other.is_empty(), format!("more than the block: {other:#?}"))?;
    ensure(block.len() == 3, format!("a block of {block:#?}"))
}

fn left_in(before: &[Dump; 2], pair: &Pair) -> Result<Vec<String>, LabError> {
    let mut left = before[0].difference(&Dump::take(&pair.lab.edge)?);
    left.extend(before[1].difference(&Dump::take(&pair.lab.cloud)?));
    Ok(left)
}

fn nothing_left(inside: &Entered) -> Result<(), LabError> {
    let mut pair = Pair::prepare(inside, &Plan::default())?;
    let before = [Dump::take(&pair.lab.edge)?, Dump::take(&pair.lab.cloud)?];
    pair.cloud.start_and_wait()?;
    pair.office.start_and_wait()?;
    pair.wait_up(PATIENCE)?;
    ensure(!left_in(&before, &pair)?.is_empty(), "the daemons changed nothing at all")?;
    for daemon in [&mut pair.office, &mut pair.cloud] {
        daemon.stop()?;
        daemon.cleanup()?;
    }
    let left = left_in(&before, &pair)?;
    ensure(left.is_empty(), format!("{left:#?}"))
}

fn nothing_left_after_kill(inside: &Entered) -> Result<(), LabError> {
    let mut pair = Pair::prepare(inside, &Plan::default())?;
    let before = [Dump::take(&pair.lab.edge)?, Dump::take(&pair.lab.cloud)?];
    pair.cloud.start_and_wait()?;
    pair.office.start_and_wait()?;
    pair.wait_up(PATIENCE)?;
    for daemon in [&mut pair.office, &mut pair.cloud] {
        daemon.kill()?;
        daemon.cleanup()?;
    }
    let left = left_in(&before, &pair)?;
    ensure(left.is_empty(), format!("{left:#?}"))
}

fn reload(inside: &Entered) -> Result<(), LabError> {
    let plan = Plan { branch: true, ..Plan::default() };
    let mut pair = Pair::up(inside, &plan)?;
    let mut branch = Daemon::prepare(&pair.lab.branch, &program(), |folder| plan.branch(folder))?;
    branch.start_and_wait()?;
    branch.wait_up("cloud", PATIENCE)?;
    let reach = |patience| ping::until_answered(&pair.lab.pod, ip(BRANCH_HOST), patience);
    reach(PATIENCE)?;
    let before = pair.ike()?;
    let stream = pair.stream(1_000)?;
    flows(&stream, 500, PATIENCE)?;

    pair.cloud.write(|folder| Plan::default().cloud(folder))?;
    pair.cloud.cli(&["reload"])?;
    until("the branch is gone", PATIENCE, || {
        let gone = pair.cloud.status()?.peers.iter().all(|peer| peer.name != "branch");
        let route = pair.lab.cloud.has_device_route(BRANCH_NET, DEVICE)?;
        Ok(if gone && !route { Ok(()) } else { Err(format!("peer gone: {gone}, route: {route}")) })
    })?;
    flows(&stream, 500, PATIENCE)?;

    pair.cloud.write(|folder| plan.cloud(folder))?;
    pair.cloud.cli(&["reload"])?;
    reach(RECOVERY)?;
    flows(&stream, 500, PATIENCE)?;
    let report = stream.stop()?;
    ensure(report.lost() == 0, format!("the office's traffic suffered: {report:?}"))?;
    ensure(pair.ike()? == before, "the office's IKE SA was replaced")?;

    // A broken file changes nothing.
    pair.cloud.write(|_| vec![("skybridge.toml", "[endpoint]\nnonsense = 1\n".to_owned())])?;
    ensure(pair.cloud.cli(&["reload"]).is_err(), "a broken file was accepted")?;
    pair.wait_up(PATIENCE)?;
    ensure(pair.ike()? == before, "the office's IKE SA was replaced by a failed reload")
}
