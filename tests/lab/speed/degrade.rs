//! What breaks or shrinks under load: traffic goes on, the log says it once, a counter says how often.

use skybridge::lab::{
    Daemon, Entered, LabError, Plan,
    topology::{CLIENT, POD, PODS},
    wait::until,
};

use super::{FILE, Load, drop_count, drops, file, said};
use crate::pair::{PATIENCE, Pair, RECOVERY};
use crate::{Test, ensure};

pub(crate) const TESTS: &[Test] = &[
    ("speed::a_link_whose_checksum_offload_goes_away_under_load_loses_nothing", no_checksums),
    ("speed::a_way_out_that_refuses_trains_is_said_once_and_loses_nothing", no_trains),
    ("speed::a_tunnel_device_deleted_under_load_is_made_again", no_device),
    ("speed::a_link_that_goes_down_under_load_comes_back_with_its_trains", down),
    ("speed::a_smaller_mtu_under_load_is_followed_and_trains_go_on", smaller),
    ("speed::a_smaller_mtu_behind_a_router_is_followed_by_the_end_that_waits", smaller_behind),
];

const DEVICE: &str = "skybridge0";
const NO_TRAINS: &str = "does not cut UDP trains";

/// A firewall of the host that stops what is longer than a packet on the wire, as a train is until it is cut.
const NO_LONG_PACKETS: &str = "table inet trains {\n  chain output {\n    type filter hook output priority 0;\n    \
     meta length > 1600 drop\n  }\n}\n";

fn both_files(pair: &Pair) -> Result<(), LabError> {
    let (client, pod) = (&pair.lab.client, &pair.lab.pod);
    file(pod, client, POD, 11, FILE / 4)?;
    file(client, pod, CLIENT, 12, FILE / 4)
}

/// Until Linux 6.11 such a link refuses trains, since then the kernel cuts them.
fn no_checksums(inside: &Entered) -> Result<(), LabError> {
    let pair = Pair::up(inside, &Plan::default())?;
    let load = Load::start(&pair)?;
    load.flows(200)?;
    for (namespace, link) in [(&pair.lab.edge, "wan0"), (&pair.lab.cloud, "eth0")] {
        namespace.set_features(link, &["tx"], false)?;
    }
    load.flows(1_000)?;
    load.lost_nothing(&pair)?;
    both_files(&pair)?;
    for daemon in [&pair.office, &pair.cloud] {
        let times = said(daemon, NO_TRAINS);
        ensure(times <= 1, format!("said {times} times"))?;
    }
    Ok(())
}

fn no_trains(inside: &Entered) -> Result<(), LabError> {
    let pair = Pair::up(inside, &Plan::default())?;
    let load = Load::start(&pair)?;
    load.flows(200)?;
    for namespace in [&pair.lab.edge, &pair.lab.cloud] {
        namespace.nft(NO_LONG_PACKETS)?;
    }
    let told = |daemon: &Daemon| if said(daemon, NO_TRAINS) > 0 { Ok(()) } else { Err("nothing".to_owned()) };
    for daemon in [&pair.office, &pair.cloud] {
        until("the log says that trains do not pass", PATIENCE, || Ok(told(daemon)))?;
    }
    load.flows(500)?;
    load.lost_nothing(&pair)?;
    both_files(&pair)?;
    for daemon in [&pair.office, &pair.cloud] {
        let times = said(daemon, NO_TRAINS);
        ensure(times == 1, format!("said {times} times"))?;
    }
    Ok(())
}

fn no_device(inside: &Entered) -> Result<(), LabError> {
    let mut pair = Pair::up(inside, &Plan::default())?;
    let load = Load::start(&pair)?;
    load.flows(200)?;
    for _ in 0..2 {
        pair.lab.edge.delete_link(DEVICE)?;
        until("the office makes its device again", RECOVERY, || {
            // Meanwhile there is no such link.
            let there = pair.lab.edge.has_device_route(PODS, DEVICE).unwrap_or(false);
            Ok(if there { Ok(()) } else { Err(format!("no route into it\n{}", pair.office.last_words(20))) })
        })?;
        // Longer than the second for which the office would leave a device that is gone again alone.
        load.flows(3_000)?;
    }
    load.stop(&pair)?;
    pair.wait_up(RECOVERY)?;
    both_files(&pair)?;
    // Either the worker notices it first, or the kernel's notification comes before its next packet.
    let by_worker = said(&pair.office, "the tunnel device is gone");
    let by_kernel = said(&pair.office, &format!("the tunnel device {DEVICE} is gone"));
    let times = by_worker + by_kernel;
    ensure(times >= 2, format!("two deletions were said {times} times\n{}", pair.office.last_words(60)))?;
    let gone = drop_count(&pair.office, "tun_gone")?;
    ensure(by_worker == 0 || gone > 0, format!("no counter names the reason: {:?}", drops(&pair.office)?))
}

fn down(inside: &Entered) -> Result<(), LabError> {
    let mut pair = Pair::up(inside, &Plan::default())?;
    let load = Load::start(&pair)?;
    load.flows(200)?;
    pair.lab.edge.set_down("wan0")?;
    until("the counter names the reason", PATIENCE, || {
        let now = drops(&pair.office)?;
        Ok(if now.contains_key("peer_unreachable") { Ok(()) } else { Err(format!("{now:?}")) })
    })?;
    pair.lab.edge.set_up("wan0")?;
    pair.lab.edge.route("default", "100.64.0.1")?;
    load.flows(500)?;
    load.stop(&pair)?;
    pair.wait_up(RECOVERY)?;
    both_files(&pair)?;
    let times = said(&pair.office, NO_TRAINS);
    ensure(times == 0, "a link that was down is taken for one that cannot cut trains")
}

/// What both ends know, for whoever has to find out why traffic stands still.
fn state(pair: &Pair) -> String {
    let of = |daemon: &Daemon, peer| {
        let mtu = daemon.peer(peer).map(|peer| peer.path_mtu);
        format!("{mtu:?} {:?}", drops(daemon))
    };
    format!("{}\n{}\n{}", of(&pair.office, "cloud"), of(&pair.cloud, "office"), pair.last_words())
}

fn smaller(inside: &Entered) -> Result<(), LabError> {
    const MTU: u32 = 1_300;
    let mut pair = Pair::up(inside, &Plan::default())?;
    let load = Load::start(&pair)?;
    load.flows(200)?;
    pair.lab.edge.set_mtu("wan0", MTU)?;
    pair.lab.carrier.set_mtu("cpe0", MTU)?;
    pair.lab.cloud.set_mtu("eth0", MTU)?;
    pair.lab.vpc.set_mtu("cloud0", MTU)?;
    load.flows(500).map_err(|error| LabError::check(format!("{error}\n{}", state(&pair))))?;
    load.stop(&pair)?;
    pair.wait_up(RECOVERY)?;
    both_files(&pair)?;
    for daemon in [&pair.office, &pair.cloud] {
        let found = drops(daemon)?;
        let named = ["udp_too_big", "too_big_ipv4"].iter().any(|reason| found.contains_key(*reason));
        ensure(named, format!("no counter names the reason: {found:?}\n{}", pair.last_words()))?;
        let times = said(daemon, NO_TRAINS);
        ensure(
            times == 0,
            format!("a smaller MTU is taken for a link that cannot cut trains, {times} times"),
        )?;
        let times = said(daemon, "does not carry packets of this size");
        ensure(times <= 1, format!("a smaller MTU is said {times} times"))?;
    }
    Ok(())
}

/// The cloud learns of the router's complaint when it looks at its routes again, which may take half a minute:
/// a matter of the long run.
fn smaller_behind(inside: &Entered) -> Result<(), LabError> {
    const MTU: u32 = 1_300;
    if std::env::var_os("SKYBRIDGE_LONG").is_none() {
        return Ok(());
    }
    let mut pair = Pair::up(inside, &Plan::default())?;
    let load = Load::start(&pair)?;
    load.flows(200)?;
    pair.lab.internet.set_mtu("carrier0", MTU)?;
    pair.lab.carrier.set_mtu("inet0", MTU)?;
    until("both ends know the smaller MTU", RECOVERY, || {
        let known = [pair.office.peer("cloud")?.path_mtu, pair.cloud.peer("office")?.path_mtu];
        let fits = known.iter().all(|mtu| mtu.is_some_and(|mtu| u32::from(mtu) <= MTU));
        Ok(if fits { Ok(()) } else { Err(format!("{known:?}")) })
    })?;
    load.flows(500).map_err(|error| LabError::check(format!("{error}\n{}", state(&pair))))?;
    load.stop(&pair)?;
    pair.wait_up(RECOVERY)?;
    both_files(&pair)
}
