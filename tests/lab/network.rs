//! The network between the ends: translation, loss, small links, changing addresses, IPv6.

use std::time::Duration;

use skybridge::control::RekeyTarget;
use skybridge::lab::{
    Entered, LabError, Outer, Plan,
    capture::{Clear, Scope, Tap},
    nat,
    topology::{CLIENT, OFFICE, OFFICE_PUBLIC, POD, PODS},
    traffic::{datagram, http, ping, tcp},
    wait::until,
};

use crate::pair::{PATIENCE, Pair, RECOVERY, flows, ip};
use crate::{Test, ensure};

pub(crate) const TESTS: &[Test] = &[
    ("network::the_tunnel_comes_up_through_both_nats", through_nats),
    ("network::only_ike_and_esp_are_seen_outside", only_tunnel_outside),
    ("network::a_rebound_nat_port_is_followed_within_the_same_ike_sa", rebound_port),
    ("network::a_new_public_address_is_followed_within_the_same_ike_sa", rebound_address),
    ("network::ten_per_cent_loss_stops_neither_negotiation_nor_rekey", loss),
    ("network::a_new_local_address_brings_the_tunnel_back_by_itself", local_address),
    ("network::an_interface_that_flaps_brings_the_tunnel_back_by_itself", flap),
    ("network::a_daemon_that_starts_before_any_link_is_up_connects_once_there_is_a_way", before_the_network),
    ("network::a_path_that_swallows_icmp_is_probed_and_traffic_fits", black_hole),
    ("network::datagrams_of_every_size_pass", sizes),
    ("network::ipv6_carries_the_tunnel_and_both_families_inside", over_ipv6),
    ("network::the_first_packet_raises_a_trapped_tunnel", trap),
];

fn through_nats(inside: &Entered) -> Result<(), LabError> {
    let pair = Pair::up(inside, &Plan::default())?;
    let remote = pair.cloud.peer("office")?.remote.unwrap_or_default();
    ensure(remote.starts_with(OFFICE_PUBLIC), format!("the cloud sees the office at {remote}"))
}

/// Octets of the file that goes through the tunnel.
const FILE: u64 = 4 << 20;

fn only_tunnel_outside(inside: &Entered) -> Result<(), LabError> {
    let mut pair = Pair::prepare(inside, &Plan::default())?;
    let tap =
        Tap::start(&pair.lab.internet, "carrier0", Scope::Everything, Clear::Anything, &[OFFICE, PODS])?;
    pair.cloud.start_and_wait()?;
    pair.office.start_and_wait()?;
    pair.wait_up(PATIENCE)?;
    let server = http::Server::start(&pair.lab.pod, http::any_port(ip(POD)), 3)?;
    let fetched = http::fetch(&pair.lab.client, server.address(), FILE, PATIENCE)?;
    ensure(fetched.sha256 == http::sha256(3, FILE), "another digest")?;
    let seen = tap.stop();
    ensure(seen.clear == 0 && seen.other == 0, format!("{seen:?}"))?;
    // A train of datagrams is seen as one, and is no longer than an IP packet.
    ensure(seen.esp > FILE / 65_536 && seen.ike >= 4, format!("{seen:?}"))
}

fn rebound_port(inside: &Entered) -> Result<(), LabError> {
    let mut pair = Pair::prepare(inside, &Plan::default())?;
    pair.lab.carrier.nft(&nat::masquerade("inet0", Some((20_000, 20_999))))?;
    pair.cloud.start_and_wait()?;
    pair.office.start_and_wait()?;
    pair.wait_up(PATIENCE)?;
    let before = pair.ike()?;
    let stream = pair.stream(200)?;
    flows(&stream, 100, PATIENCE)?;
    pair.lab.carrier.nft(&nat::masquerade("inet0", Some((30_000, 30_999))))?;
    nat::forget_connections(&pair.lab.carrier)?;
    flows(&stream, 200, PATIENCE)?;
    ping::until_answered(&pair.lab.pod, ip(CLIENT), PATIENCE)?;
    until("the cloud follows to the new port", PATIENCE, || {
        let remote = pair.cloud.peer("office")?.remote.unwrap_or_default();
        Ok(if remote.contains(":30") { Ok(()) } else { Err(remote) })
    })?;
    stream.stop()?;
    ensure(pair.ike()? == before, "the IKE SA was replaced")
}

fn rebound_address(inside: &Entered) -> Result<(), LabError> {
    let pair = Pair::up(inside, &Plan::default())?;
    let before = pair.ike()?;
    let stream = pair.stream(200)?;
    flows(&stream, 100, PATIENCE)?;
    pair.lab.carrier.remove_address("inet0", "198.51.100.2/24")?;
    pair.lab.carrier.add_address("inet0", "198.51.100.77/24")?;
    pair.lab.carrier.route("default", "198.51.100.1")?;
    nat::forget_connections(&pair.lab.carrier)?;
    flows(&stream, 200, PATIENCE)?;
    ping::until_answered(&pair.lab.pod, ip(CLIENT), PATIENCE)?;
    let remote = pair.cloud.peer("office")?.remote.unwrap_or_default();
    stream.stop()?;
    ensure(remote.starts_with("198.51.100.77"), format!("the cloud sees the office at {remote}"))?;
    ensure(pair.ike()? == before, "the IKE SA was replaced")
}

fn loss(inside: &Entered) -> Result<(), LabError> {
    let mut pair = Pair::prepare(inside, &Plan::default())?;
    pair.lab.internet.nft(&nat::loss(10))?;
    pair.cloud.start_and_wait()?;
    pair.office.start_and_wait()?;
    pair.wait_up(RECOVERY)?;
    for what in [RekeyTarget::Children, RekeyTarget::Ike, RekeyTarget::All] {
        pair.office.rekey("cloud", &what, RECOVERY)?;
        pair.cloud.rekey("office", &what, RECOVERY)?;
    }
    let stream = pair.stream(1_000)?;
    flows(&stream, 2_000, PATIENCE)?;
    let report = stream.stop()?;
    ensure(report.lost() > 0 && report.received * 10 > report.sent * 8, format!("{report:?}"))?;
    let transfer = tcp::Transfer::start(&pair.lab.client, &pair.lab.pod, ip(POD))?;
    until("TCP gets through the loss", RECOVERY, || {
        Ok(if transfer.received() > 0 { Ok(()) } else { Err("nothing came".to_owned()) })
    })?;
    pair.lab.internet.nft(nat::CLEAR)?;
    transfer.stop()?;
    pair.reach(PATIENCE)
}

fn local_address(inside: &Entered) -> Result<(), LabError> {
    let mut pair = Pair::up(inside, &Plan::default())?;
    let guard = pair.guard()?;
    let stream = pair.stream(200)?;
    flows(&stream, 100, PATIENCE)?;
    // As a DHCP client does when the lease goes to another address.
    pair.lab.edge.remove_address("wan0", "100.64.0.2/24")?;
    pair.lab.edge.add_address("wan0", "100.64.0.99/24")?;
    pair.lab.edge.route("default", "100.64.0.1")?;
    flows(&stream, 200, RECOVERY)?;
    stream.stop()?;
    pair.wait_up(RECOVERY)?;
    guard.saw_nothing()
}

fn flap(inside: &Entered) -> Result<(), LabError> {
    let mut pair = Pair::up(inside, &Plan::default())?;
    let stream = pair.stream(200)?;
    flows(&stream, 100, PATIENCE)?;
    pair.lab.edge.set_down("wan0")?;
    let lost = ping::once(&pair.lab.client, ip(POD), 56, Duration::from_secs(1))?;
    ensure(lost.is_err(), "a ping was answered through a link that is down")?;
    pair.lab.edge.set_up("wan0")?;
    pair.lab.edge.route("default", "100.64.0.1")?;
    flows(&stream, 200, RECOVERY)?;
    stream.stop()?;
    pair.wait_up(RECOVERY)
}

/// As at boot: no address, no route, not even the loopback link.
fn before_the_network(inside: &Entered) -> Result<(), LabError> {
    let mut pair = Pair::prepare(inside, &Plan::default())?;
    pair.cloud.start_and_wait()?;
    let (links, addresses) = (["lan0", "wan0", "lo"], ["100.64.0.2/24", "2001:db8:1::2/64"]);
    addresses.iter().try_for_each(|address| pair.lab.edge.remove_address("wan0", address))?;
    links.iter().try_for_each(|link| pair.lab.edge.set_down(link))?;
    pair.office.start_and_wait()?;
    until("the office says why it is not up", PATIENCE, || {
        let peer = pair.office.peer("cloud")?;
        Ok(peer.last_failure.map(|failure| failure.reason).ok_or_else(|| format!("{:?}", peer.state)))
    })?;
    // Links come first, then addresses, then the way out.
    for link in ["lo", "lan0", "wan0"] {
        pair.lab.edge.set_up(link)?;
    }
    pair.lab.edge.add_address("lan0", "fd00:10::1/64")?;
    addresses.iter().try_for_each(|address| pair.lab.edge.add_address("wan0", address))?;
    pair.lab.edge.route("default", "100.64.0.1")?;
    pair.wait_up(RECOVERY)
}

fn black_hole(inside: &Entered) -> Result<(), LabError> {
    let mut pair = Pair::prepare(inside, &Plan::default())?;
    for (router, link) in [(&pair.lab.internet, "cloud0"), (&pair.lab.igw, "inet0")] {
        router.set_mtu(link, 1_300)?;
        router.nft(nat::SWALLOW_TOO_BIG)?;
    }
    pair.cloud.start_and_wait()?;
    pair.office.start_and_wait()?;
    pair.wait_up(PATIENCE)?;
    until("both ends find the path's MTU", RECOVERY, || {
        let found = [pair.office.peer("cloud")?.path_mtu, pair.cloud.peer("office")?.path_mtu];
        let fits = found.iter().all(|mtu| mtu.is_some_and(|mtu| (1_200..=1_300).contains(&mtu)));
        Ok(if fits { Ok(()) } else { Err(format!("{found:?}")) })
    })?;
    for (client, server, address) in
        [(&pair.lab.client, &pair.lab.pod, POD), (&pair.lab.pod, &pair.lab.client, CLIENT)]
    {
        let files = http::Server::start(server, http::any_port(ip(address)), 5)?;
        let fetched = http::fetch(client, files.address(), 4 << 20, PATIENCE)?;
        ensure(fetched.sha256 == http::sha256(5, 4 << 20), "another digest")?;
        let echo = datagram::Echo::start(server, ip(address))?;
        datagram::exchange(client, echo.address(), 1_400, PATIENCE)?;
    }
    Ok(())
}

fn sizes(inside: &Entered) -> Result<(), LabError> {
    let pair = Pair::up(inside, &Plan::default())?;
    let echo = datagram::Echo::start(&pair.lab.pod, ip(POD))?;
    let mtu = datagram::path_mtu(&pair.lab.client, echo.address(), 1_500)?;
    ensure(mtu < 1_500, format!("the client knows a path MTU of {mtu}"))?;
    for length in (0..64).chain(mtu - 60..mtu).chain([2_000, 9_000, 40_000]) {
        datagram::exchange(&pair.lab.client, echo.address(), length, PATIENCE)?;
    }
    Ok(())
}

fn over_ipv6(inside: &Entered) -> Result<(), LabError> {
    let pair = Pair::up(inside, &Plan { outer: Outer::V6, ..Plan::default() })?;
    let server = http::Server::start(&pair.lab.pod, http::any_port(ip("fd00:c:2::21")), 9)?;
    let fetched = http::fetch(&pair.lab.client, server.address(), 4 << 20, PATIENCE)?;
    ensure(fetched.sha256 == http::sha256(9, 4 << 20), "another digest")?;
    let remote = pair.cloud.peer("office")?.remote.unwrap_or_default();
    ensure(remote.contains("2001:db8:1::2"), format!("the cloud sees the office at {remote}"))
}

fn trap(inside: &Entered) -> Result<(), LabError> {
    let mut pair = Pair::prepare(inside, &Plan { office_start: "trap", ..Plan::default() })?;
    pair.cloud.start_and_wait()?;
    pair.office.start_and_wait()?;
    let guard = pair.guard()?;
    ensure(pair.office.peer("cloud")?.ike.is_none(), "the tunnel is up without a packet")?;
    pair.reach(PATIENCE)?;
    pair.wait_up(PATIENCE)?;
    guard.saw_nothing()
}
