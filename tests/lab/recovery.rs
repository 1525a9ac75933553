//! Killed, restarted, and both at once: the tunnel is back without a person.

use skybridge::lab::{
    Daemon, Entered, LabError, Outer, Plan, topology::CLIENT, traffic::stream::Stream, wait::until,
};

use crate::pair::{PATIENCE, Pair, RECOVERY, flows, ip};
use crate::{Test, ensure};

pub(crate) const TESTS: &[Test] = &[
    ("recovery::a_killed_cloud_daemon_comes_back", cloud_killed),
    ("recovery::a_killed_office_daemon_comes_back", office_killed),
    ("recovery::restarting_the_cloud_and_then_the_office_restores_the_tunnel", cloud_first),
    ("recovery::restarting_the_office_and_then_the_cloud_restores_the_tunnel", office_first),
    ("recovery::both_connecting_at_once_end_with_one_ike_sa", both_connect),
    ("recovery::a_peer_that_starts_late_is_found", late),
];

fn killed(pair: &mut Pair, choose: fn(&mut Pair) -> &mut Daemon) -> Result<(), LabError> {
    let guard = pair.guard()?;
    let stream = pair.stream(200)?;
    let back = Stream::start(&pair.lab.pod, &pair.lab.client, ip(CLIENT), 200, 200)?;
    flows(&stream, 100, PATIENCE)?;
    choose(pair).kill()?;
    choose(pair).start_and_wait()?;
    flows(&stream, 200, RECOVERY)?;
    flows(&back, 200, RECOVERY)?;
    stream.stop()?;
    back.stop()?;
    pair.wait_up(RECOVERY)?;
    guard.saw_nothing()
}

fn cloud_killed(inside: &Entered) -> Result<(), LabError> {
    killed(&mut Pair::up(inside, &Plan::default())?, |pair| &mut pair.cloud)
}

fn office_killed(inside: &Entered) -> Result<(), LabError> {
    killed(&mut Pair::up(inside, &Plan::default())?, |pair| &mut pair.office)
}

fn cloud_first(inside: &Entered) -> Result<(), LabError> {
    let mut pair = Pair::up(inside, &Plan::default())?;
    pair.cloud.stop()?;
    pair.office.stop()?;
    pair.cloud.start_and_wait()?;
    pair.office.start_and_wait()?;
    pair.wait_up(RECOVERY)
}

fn office_first(inside: &Entered) -> Result<(), LabError> {
    let mut pair = Pair::up(inside, &Plan::default())?;
    pair.office.stop()?;
    pair.cloud.stop()?;
    pair.office.start_and_wait()?;
    pair.cloud.start_and_wait()?;
    pair.wait_up(RECOVERY)
}

fn both_connect(inside: &Entered) -> Result<(), LabError> {
    let plan = Plan { outer: Outer::V6, cloud_start: "connect", ..Plan::default() };
    let mut pair = Pair::prepare(inside, &plan)?;
    for _ in 0..3 {
        pair.cloud.start()?;
        pair.office.start()?;
        pair.wait_up(RECOVERY)?;
        until("both ends speak of one IKE SA", PATIENCE, || {
            let [office, cloud] = pair.ike()?;
            Ok(if office.is_some() && office == cloud {
                Ok(())
            } else {
                Err(format!("{office:?}, {cloud:?}"))
            })
        })?;
        let stream = pair.stream(500)?;
        flows(&stream, 500, PATIENCE)?;
        stream.stop()?;
        pair.office.kill()?;
        pair.cloud.kill()?;
    }
    Ok(())
}

fn late(inside: &Entered) -> Result<(), LabError> {
    let mut pair = Pair::prepare(inside, &Plan::default())?;
    pair.office.start_and_wait()?;
    until("the office has tried in vain", RECOVERY, || {
        let failure = pair.office.peer("cloud")?.last_failure;
        Ok(failure.map(drop).ok_or_else(|| "no failure yet".to_owned()))
    })?;
    ensure(pair.office.peer("cloud")?.ike.is_none(), "an IKE SA with nobody")?;
    pair.cloud.start_and_wait()?;
    pair.wait_up(RECOVERY)
}
