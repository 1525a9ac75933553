//! The world without a tunnel behaves as the outside does, and the instruments measure it.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    time::Duration,
};

use skybridge::lab::{
    Entered, Lab, LabError,
    capture::{Clear, Scope, Tap},
    dump::Dump,
    nat,
    topology::{CLIENT, CLOUD, CLOUD_PUBLIC, CLOUD6, EDGE6, OFFICE, OFFICE_PUBLIC, POD, PODS},
    traffic::{datagram, http, ping, stream::Stream, tcp},
    wait::until,
};

use socket2::{Domain, Protocol, Socket, Type};

use crate::{Test, ensure};

pub(crate) const TESTS: &[Test] = &[
    ("underlay::the_office_reaches_the_cloud_through_both_nats", through_both_nats),
    ("underlay::ipv6_is_routed_and_not_translated", ipv6_is_routed),
    ("underlay::without_a_tunnel_the_office_does_not_reach_a_pod", no_way_without_tunnel),
    ("underlay::a_nat_that_forgets_gives_a_new_port", rebinding),
    ("underlay::loss_loses_some_and_not_all", loss),
    ("underlay::plain_routes_carry_traffic_and_leave_nothing_behind", plain_routes),
    ("underlay::a_tap_sees_clear_traffic_and_only_on_its_link", tap),
    ("underlay::a_dump_names_what_was_left_behind", dump),
    ("underlay::a_smaller_link_is_told_by_icmp_unless_swallowed", smaller_link),
    ("underlay::a_stateful_vpc_drops_a_reply_without_request", stateful_vpc),
];

const PATIENCE: Duration = Duration::from_secs(10);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Sends one datagram from the edge to the cloud and back; returns who the cloud saw.
fn knock(lab: &Lab, edge: &UdpSocket) -> Result<SocketAddr, LabError> {
    let cloud = lab.cloud.run(|| UdpSocket::bind((CLOUD, 4500)).map_err(LabError::io("bind")))?;
    for socket in [&cloud, edge] {
        socket.set_read_timeout(Some(PATIENCE)).map_err(LabError::io("timeout"))?;
    }
    edge.send_to(b"hello", (CLOUD_PUBLIC, 4500)).map_err(LabError::io("send"))?;
    let mut buffer = [0; 64];
    let (_, from) = cloud.recv_from(&mut buffer).map_err(LabError::io("receive in the cloud"))?;
    cloud.send_to(b"welcome", from).map_err(LabError::io("reply"))?;
    let (count, from_cloud) = edge.recv_from(&mut buffer).map_err(LabError::io("receive at the edge"))?;
    ensure(&buffer[..count] == b"welcome", "another answer")?;
    ensure(from_cloud.ip() == ip(CLOUD_PUBLIC), format!("the edge saw {from_cloud}"))?;
    Ok(from)
}

fn edge_socket(lab: &Lab) -> Result<UdpSocket, LabError> {
    lab.edge.run(|| UdpSocket::bind(("100.64.0.2", 4500)).map_err(LabError::io("bind")))
}

fn through_both_nats(inside: &Entered) -> Result<(), LabError> {
    let lab = Lab::build(inside)?;
    let seen = knock(&lab, &edge_socket(&lab)?)?;
    ensure(seen.ip() == ip(OFFICE_PUBLIC), format!("the cloud saw {seen}"))
}

fn ipv6_is_routed(inside: &Entered) -> Result<(), LabError> {
    let lab = Lab::build(inside)?;
    ping::until_answered(&lab.edge, ip(CLOUD6), PATIENCE)?;
    ping::until_answered(&lab.cloud, ip(EDGE6), PATIENCE).map(drop)
}

fn no_way_without_tunnel(inside: &Entered) -> Result<(), LabError> {
    let lab = Lab::build(inside)?;
    lab.edge.sysctl("net/ipv4/ip_forward", "1")?;
    let answer = ping::once(&lab.client, ip(POD), 56, Duration::from_millis(500))?;
    ensure(answer.is_err(), "a Pod answered")
}

fn rebinding(inside: &Entered) -> Result<(), LabError> {
    let lab = Lab::build(inside)?;
    let edge = edge_socket(&lab)?;
    lab.carrier.nft(&nat::masquerade("inet0", Some((20_000, 20_999))))?;
    let first = knock(&lab, &edge)?;
    ensure(knock(&lab, &edge)? == first, "the NAT changed the port by itself")?;
    lab.carrier.nft(&nat::masquerade("inet0", Some((30_000, 30_999))))?;
    nat::forget_connections(&lab.carrier)?;
    let second = knock(&lab, &edge)?;
    ensure((20_000..21_000).contains(&first.port()), format!("first {first}"))?;
    ensure((30_000..31_000).contains(&second.port()), format!("second {second}"))
}

fn loss(inside: &Entered) -> Result<(), LabError> {
    let lab = Lab::build(inside)?;
    lab.add_plain_routes()?;
    lab.internet.nft(&nat::loss(30))?;
    let stream = Stream::start(&lab.client, &lab.pod, ip(POD), 2_000, 100)?;
    until("1,000 datagrams arrive", PATIENCE, || {
        Ok(if stream.received() > 1_000 { Ok(()) } else { Err(stream.received().to_string()) })
    })?;
    let report = stream.stop()?;
    ensure(report.lost() > 0, format!("none was lost: {report:?}"))?;
    lab.internet.nft(nat::CLEAR)?;
    let stream = Stream::start(&lab.client, &lab.pod, ip(POD), 2_000, 100)?;
    until("500 datagrams arrive", PATIENCE, || {
        Ok(if stream.received() > 500 { Ok(()) } else { Err(stream.received().to_string()) })
    })?;
    let report = stream.stop()?;
    ensure(report.lost() == 0, format!("some were lost: {report:?}"))
}

fn plain_routes(inside: &Entered) -> Result<(), LabError> {
    const LENGTH: u64 = 3 << 20;
    let lab = Lab::build(inside)?;
    let before = lab.namespaces().map(Dump::take);
    lab.add_plain_routes()?;
    ping::until_answered(&lab.client, ip(POD), PATIENCE)?;
    ping::until_answered(&lab.pod, ip(CLIENT), PATIENCE)?;
    let server = http::Server::start(&lab.pod, http::any_port(ip(POD)), 7)?;
    let fetched = http::fetch(&lab.client, server.address(), LENGTH, PATIENCE)?;
    ensure(fetched.length == LENGTH, format!("{} octets", fetched.length))?;
    ensure(fetched.sha256 == http::sha256(7, LENGTH), "another digest")?;
    let speed = tcp::throughput(&lab.client, &lab.pod, ip(POD), Duration::from_millis(500))?;
    ensure(speed > 1e6, format!("{speed} bit/s"))?;
    let echo = datagram::Echo::start(&lab.pod, ip(POD))?;
    for length in [1, 1_472, 1_473, 8_000] {
        datagram::exchange(&lab.client, echo.address(), length, PATIENCE)?;
    }
    lab.remove_plain_routes()?;
    for (namespace, before) in lab.namespaces().into_iter().zip(before) {
        let left = before?.difference(&Dump::take(namespace)?);
        ensure(left.is_empty(), format!("{}: {left:?}", namespace.name()))?;
    }
    Ok(())
}

fn tap(inside: &Entered) -> Result<(), LabError> {
    let lab = Lab::build(inside)?;
    lab.add_plain_routes()?;
    for scope in [Scope::Everything, Scope::ExceptTunnel] {
        let on = |link| Tap::start(&lab.internet, link, scope, Clear::Anything, &[PODS, OFFICE]);
        let (carrier, branch) = (on("carrier0")?, on("branch0")?);
        ping::until_answered(&lab.client, ip(POD), PATIENCE)?;
        knock(&lab, &edge_socket(&lab)?)?;
        let seen = carrier.stop();
        ensure(seen.clear >= 2, format!("{scope:?}: {seen:?}"))?;
        let seen = branch.stop();
        ensure(seen.clear + seen.other == 0, format!("another link: {seen:?}"))?;
    }
    Ok(())
}

fn dump(inside: &Entered) -> Result<(), LabError> {
    let lab = Lab::build(inside)?;
    let before = Dump::take(&lab.edge)?;
    ensure(before.len() > 100, format!("only {} lines", before.len()))?;
    ensure(before.difference(&Dump::take(&lab.edge)?).is_empty(), "a dump differs from itself")?;
    lab.edge.route(PODS, "100.64.0.1")?;
    lab.edge.add_address("lan0", "192.0.2.77/32")?;
    lab.edge.sysctl("net/ipv4/conf/wan0/rp_filter", "2")?;
    lab.edge.nft("table inet left_behind {\n}\n")?;
    let found = before.difference(&Dump::take(&lab.edge)?).join("\n");
    for part in ["+ route", "+ address lan0 /32", "+ sysctl net/ipv4/conf/wan0/rp_filter = 2", "left_behind"]
    {
        ensure(found.contains(part), format!("{part} is not in:\n{found}"))?;
    }
    Ok(())
}

fn smaller_link(inside: &Entered) -> Result<(), LabError> {
    let lab = Lab::build(inside)?;
    lab.add_plain_routes()?;
    lab.internet.set_mtu("cloud0", 1_300)?;
    lab.igw.set_mtu("inet0", 1_300)?;
    let echo = datagram::Echo::start(&lab.pod, ip(POD))?;
    // The router's own address must be let through the office's routes to be heard.
    let mtu = datagram::path_mtu(&lab.client, echo.address(), 1_500)?;
    ensure(mtu == 1_300, format!("path MTU {mtu}"))?;
    for router in [&lab.internet, &lab.igw] {
        router.nft(nat::SWALLOW_TOO_BIG)?;
    }
    let silent = datagram::exchange(&lab.edge, echo.address(), 1_400, Duration::from_secs(1));
    ensure(silent.is_err(), "a packet larger than the link came through")
}

/// An echo reply that nobody asked for, from the Pod to the office.
fn orphan(lab: &Lab) -> Result<(), LabError> {
    lab.pod.run(|| {
        let socket =
            Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).map_err(LabError::io("socket"))?;
        let reply = [0, 0, 0xff, 0xfe, 0, 0, 0, 1];
        socket.send_to(&reply, &SocketAddr::new(ip(CLIENT), 0).into()).map_err(LabError::io("send"))?;
        Ok(())
    })
}

fn stateful_vpc(inside: &Entered) -> Result<(), LabError> {
    let lab = Lab::build(inside)?;
    lab.add_plain_routes()?;
    let outside = || Tap::start(&lab.igw, "vpc0", Scope::Everything, Clear::Anything, &[PODS]);
    let (tap, seen) = (outside()?, "the orphan reply is seen outside");
    orphan(&lab)?;
    until(seen, PATIENCE, || {
        Ok(if tap.seen().clear == 1 { Ok(()) } else { Err(format!("{:?}", tap.seen())) })
    })?;
    lab.make_vpc_stateful()?;
    let tap = outside()?;
    orphan(&lab)?;
    // Asked for, and sent later: once its reply is through, the orphan has had its chance.
    ping::until_answered(&lab.client, ip(POD), PATIENCE)?;
    let clear = tap.stop().clear;
    ensure(clear == 2, format!("{clear} packets, not one request and its reply"))
}
