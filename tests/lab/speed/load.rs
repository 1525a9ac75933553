//! Whatever happens to the tunnel under full load costs no datagram.

use skybridge::control::RekeyTarget;
use skybridge::lab::{
    Entered, LabError, Plan, nat,
    topology::{CLIENT, NODES, POD, PODS},
    traffic::tcp::Transfer,
    wait::until,
};

use super::{Load, in_order, losses};
use crate::pair::{PATIENCE, Pair, RECOVERY, flows, ip};
use crate::{Test, ensure};

pub(crate) const TESTS: &[Test] = &[
    ("speed::rekeys_from_both_ends_under_full_load_lose_nothing", rekeys),
    ("speed::rekeys_by_packets_under_full_load_lose_nothing", rekeys_by_packets),
    ("speed::a_reload_under_full_load_loses_nothing", reload),
    ("speed::another_network_under_full_load_loses_nothing", other_networks),
    ("speed::workers_restarted_by_a_reload_under_full_load_lose_nothing", restart),
    ("speed::a_rebound_nat_under_full_load_loses_nothing", rebound),
];

fn rekeys(inside: &Entered) -> Result<(), LabError> {
    let pair = Pair::up(inside, &Plan::default())?;
    let load = Load::start(&pair)?;
    for _ in 0..3 {
        for what in [RekeyTarget::Children, RekeyTarget::Ike, RekeyTarget::All] {
            pair.office.rekey("cloud", &what, RECOVERY)?;
            load.flows(200)?;
            pair.cloud.rekey("office", &what, RECOVERY)?;
            load.flows(200)?;
        }
    }
    load.lost_nothing(&pair)
}

fn rekeys_by_packets(inside: &Entered) -> Result<(), LabError> {
    let often = || "lifetimes = { child_packets = 100000 }\n".to_owned();
    let plan = Plan { office_extra: often(), cloud_extra: often(), ..Plan::default() };
    let pair = Pair::up(inside, &plan)?;
    let load = Load::start(&pair)?;
    let mut seen = Vec::new();
    until("keys are replaced because of their packets", RECOVERY, || {
        let spi = pair.office.child("cloud", "vpc")?.spi_out;
        if !seen.contains(&spi) {
            seen.push(spi);
        }
        Ok(if seen.len() > 3 { Ok(()) } else { Err(format!("{} keys", seen.len())) })
    })?;
    load.lost_nothing(&pair)
}

fn reload(inside: &Entered) -> Result<(), LabError> {
    let plan = Plan::default();
    let other = Plan { branch: true, ..Plan::default() };
    let pair = Pair::up(inside, &plan)?;
    let ike = pair.ike()?;
    let load = Load::start(&pair)?;
    for plan in [&other, &plan, &other, &plan] {
        pair.cloud.write(|folder| plan.cloud(folder))?;
        pair.cloud.cli(&["reload"])?;
        pair.office.cli(&["reload"])?;
        load.flows(500)?;
    }
    ensure(pair.ike()? == ike, "the IKE SA was replaced")?;
    load.lost_nothing(&pair)
}

/// Each end learns of the network at another time, and of its end too.
fn other_networks(inside: &Entered) -> Result<(), LabError> {
    let plan = Plan::default();
    let wider = Plan { cloud_networks: &[NODES, PODS, "10.77.0.0/16"], ..Plan::default() };
    let pair = Pair::up(inside, &plan)?;
    let ike = pair.ike()?;
    let load = Load::start(&pair)?;
    for plan in [&wider, &plan, &wider, &plan] {
        for (daemon, peer, child) in [(&pair.cloud, "office", "lan"), (&pair.office, "cloud", "vpc")] {
            let before = daemon.child(peer, child)?.spi_in;
            daemon.write(|folder| if peer == "office" { plan.cloud(folder) } else { plan.office(folder) })?;
            daemon.cli(&["reload"])?;
            until("the child is made anew", RECOVERY, || {
                let now = daemon.child(peer, child)?;
                Ok(if now.up && now.spi_in != before { Ok(()) } else { Err(format!("{now:?}")) })
            })?;
            load.flows(500)?;
        }
    }
    ensure(pair.ike()? == ike, "the IKE SA was replaced")?;
    load.lost_nothing(&pair)
}

fn restart(inside: &Entered) -> Result<(), LabError> {
    let pair = Pair::up(inside, &Plan::default())?;
    let ike = pair.ike()?;
    let load = Load::start(&pair)?;
    for polling in ["off", "low-latency", "adaptive", "off"] {
        let endpoint = format!("dataplane = {{ polling = \"{polling}\" }}\n");
        let plan = Plan { office_endpoint: endpoint.clone(), cloud_endpoint: endpoint, ..Plan::default() };
        pair.office.write(|folder| plan.office(folder))?;
        pair.cloud.write(|folder| plan.cloud(folder))?;
        pair.office.cli(&["reload"])?;
        pair.cloud.cli(&["reload"])?;
        load.flows(500)?;
    }
    ensure(pair.ike()? == ike, "the IKE SA was replaced")?;
    load.lost_nothing(&pair)
}

/// What the cloud sends to a mapping that is gone is lost at the NAT, which the cloud cannot know: so the
/// datagrams go one way only.
fn rebound(inside: &Entered) -> Result<(), LabError> {
    let mut pair = Pair::prepare(inside, &Plan::default())?;
    let range = |first: u16| nat::masquerade("inet0", Some((first, first + 999)));
    pair.lab.carrier.nft(&range(20_000))?;
    pair.cloud.start_and_wait()?;
    pair.office.start_and_wait()?;
    pair.wait_up(PATIENCE)?;
    let ike = pair.ike()?;
    let before = losses(&pair)?;
    let (client, pod) = (&pair.lab.client, &pair.lab.pod);
    let there = Transfer::start(client, pod, ip(POD))?;
    let back = Transfer::start(pod, client, ip(CLIENT))?;
    let stream = pair.stream(super::RATE)?;
    flows(&stream, 500, PATIENCE)?;
    for first in [30_000, 40_000, 50_000] {
        pair.lab.carrier.nft(&range(first))?;
        nat::forget_connections(&pair.lab.carrier)?;
        until("the cloud follows to the new port", RECOVERY, || {
            let remote = pair.cloud.peer("office")?.remote.unwrap_or_default();
            Ok(if remote.contains(&format!(":{}", first / 1_000)) { Ok(()) } else { Err(remote) })
        })?;
        let moved = [there.received(), back.received()];
        flows(&stream, 500, PATIENCE)?;
        until("TCP goes on both ways", RECOVERY, || {
            let now = [there.received(), back.received()];
            Ok(if now[0] > moved[0] && now[1] > moved[1] { Ok(()) } else { Err(format!("{now:?}")) })
        })?;
    }
    let report = stream.stop()?;
    there.stop()?;
    back.stop()?;
    let lost = losses(&pair)?.since(&before);
    ensure(pair.ike()? == ike, "the IKE SA was replaced")?;
    ensure(in_order(&report), format!("{report:?}; {lost:?}\n{}", pair.last_words()))
}
