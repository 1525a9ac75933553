//! What is translated, and to whom.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use skybridge::{
    cluster::{model::Protocol, table::Mode},
    lab::LabError,
};

use crate::{
    inside::Test,
    world::{
        CLIENT, CLIENT6, Flow, SILENT, World, ask, ensure, frontend, ip, pod, same, tcp, udp, vip, wanted,
    },
};

pub(crate) const TESTS: &[Test] = &[
    ("a_service_answers_from_an_endpoint_and_sees_the_client", |_| answers()),
    ("three_endpoints_share_connections_evenly", |_| even()),
    ("masquerade_hides_services_and_pods_behind_the_appliance", |_| masquerade()),
    ("one_client_port_to_two_services_with_one_endpoint_is_two_connections", |_| clash()),
    ("a_datagram_in_fragments_is_translated", |_| fragments()),
    ("a_packet_from_the_vpc_is_not_translated", |_| from_vpc()),
    ("the_appliance_itself_reaches_services", |_| from_gate()),
    ("two_appliances_send_a_flow_to_the_same_endpoint", |_| alike()),
    ("a_flow_in_its_middle_goes_on_at_the_same_endpoint_after_connections_are_forgotten", |_| middle()),
    ("a_service_in_route_mode_is_left_alone", |_| route()),
];

fn answers() -> Result<(), LabError> {
    let mut world = World::new()?;
    let mut frontends = Vec::new();
    for v4 in [true, false] {
        frontends.push(frontend(vip(1, v4), Protocol::Tcp, 80, &[21], 8080));
        frontends.push(frontend(vip(2, v4), Protocol::Tcp, 80, &[21, 22], 8080));
        frontends.push(frontend(vip(3, v4), Protocol::Udp, 53, &[23, 24], 5353));
    }
    world.apply(&wanted(Mode::Translate, frontends))?;
    for v4 in [true, false] {
        let client = if v4 { CLIENT } else { CLIENT6 };
        same(&world.tcp(vip(1, v4), 80)?, &format!("{} {client}", pod(21, v4)))?;
        let two = [21, 22].map(|n| format!("{} {client}", pod(n, v4)));
        ensure(two.contains(&world.tcp(vip(2, v4), 80)?), "neither endpoint")?;
        let socket = world.udp(vip(3, v4), 53)?;
        let two = [23, 24].map(|n| format!("{} {client}", pod(n, v4)));
        let said = world.ask(&socket, 10);
        ensure(two.contains(&said), format!("neither endpoint: {said}"))?;
    }
    Ok(())
}

/// How many of the connections from these ports each Pod took.
pub(crate) fn shares(
    world: &World,
    to: SocketAddr,
    ports: std::ops::Range<u16>,
) -> Result<BTreeMap<String, usize>, LabError> {
    let from = if to.is_ipv4() { CLIENT } else { CLIENT6 };
    world.client.run(|| {
        let mut shares = BTreeMap::new();
        for port in ports {
            let said = Flow::open(SocketAddr::new(ip(from), port), to).said();
            let pod = said.split(' ').next().unwrap_or_default().to_owned();
            *shares.entry(pod).or_default() += 1;
        }
        Ok(shares)
    })
}

fn even() -> Result<(), LabError> {
    let mut world = World::new()?;
    let frontends =
        vec![tcp(1, &[21, 22, 23]), frontend(vip(1, false), Protocol::Tcp, 80, &[21, 22, 23], 8080)];
    world.apply(&wanted(Mode::Translate, frontends))?;
    for v4 in [true, false] {
        let shares = shares(&world, SocketAddr::new(vip(1, v4), 80), 20_000..20_900)?;
        println!("900 connections: {shares:?}");
        // Five standard deviations of a fair choice, and the ports are always the same.
        ensure(
            shares.len() == 3 && shares.values().all(|share| (230..=370).contains(share)),
            format!("uneven: {shares:?}"),
        )?;
    }
    Ok(())
}

fn masquerade() -> Result<(), LabError> {
    let mut world = World::new()?;
    // The VPC knows no way to the office.
    world.pods.remove_route("0.0.0.0/0", "10.0.2.1")?;
    world.pods.remove_route("::/0", "fd00:2::1")?;
    let frontends =
        vec![tcp(1, &[21, 22]), frontend(vip(1, false), Protocol::Tcp, 80, &[21], 8080), udp(1, &[21])];
    world.apply(&wanted(Mode::TranslateAndMasquerade, frontends))?;
    for (v4, own) in [(true, "10.0.2.1"), (false, "fd00:2::1")] {
        let said = world.tcp(vip(1, v4), 80)?;
        ensure(said.ends_with(&format!(" {own}")), format!("a Service: {said}"))?;
        same(&world.tcp(pod(22, v4), 8080)?, &format!("{} {own}", pod(22, v4)))?;
    }
    let socket = world.udp(vip(1, true), 53)?;
    same(&world.ask(&socket, 10), "10.0.2.21 10.0.2.1")
}

fn clash() -> Result<(), LabError> {
    let mut world = World::new()?;
    world.apply(&wanted(Mode::Translate, vec![tcp(1, &[21]), tcp(2, &[21])]))?;
    let from = SocketAddr::new(ip(CLIENT), 33_333);
    let targets = [(vip(1, true), 80), (vip(2, true), 80), (pod(21, true), 8080)];
    let mut flows = Vec::new();
    for to in targets {
        flows.push(world.flow(from, to.into())?);
    }
    for flow in &mut flows {
        same(&flow.said(), "10.0.2.21 192.168.10.10")?;
        ensure(flow.lives(), "a connection ended")?;
    }
    Ok(())
}

fn fragments() -> Result<(), LabError> {
    let mut world = World::new()?;
    let frontends = vec![udp(1, &[21]), frontend(vip(1, false), Protocol::Udp, 53, &[21], 5353)];
    world.apply(&wanted(Mode::Translate, frontends))?;
    for (v4, client) in [(true, CLIENT), (false, CLIENT6)] {
        let socket = world.udp(vip(1, v4), 53)?;
        same(&world.ask(&socket, 6000), &format!("{} {client}", pod(21, v4)))?;
    }
    Ok(())
}

fn from_vpc() -> Result<(), LabError> {
    let mut world = World::new()?;
    let silent = frontend(vip(1, true), Protocol::Tcp, SILENT, &[21], 8080);
    world.apply(&wanted(Mode::Translate, vec![silent]))?;
    let to = SocketAddr::new(vip(1, true), SILENT);
    let from_pod = world.pods.run(|| Ok(Flow::open(SocketAddr::new(pod(22, true), 0), to).said()))?;
    same(&from_pod, "silence")?;
    same(&world.tcp(vip(1, true), SILENT)?, "10.0.2.21 192.168.10.10")
}

fn from_gate() -> Result<(), LabError> {
    let mut world = World::new()?;
    let frontends = vec![tcp(1, &[21, 22]), tcp(2, &[]), udp(1, &[22])];
    world.apply(&wanted(Mode::Translate, frontends))?;
    let (good, none, unknown) = world.gate.run(|| {
        let open =
            |n| Flow::open(SocketAddr::new(ip("10.0.2.1"), 0), SocketAddr::new(vip(n, true), 80)).said();
        Ok((open(1), open(2), open(3)))
    })?;
    ensure(["10.0.2.21 10.0.2.1", "10.0.2.22 10.0.2.1"].contains(&good.as_str()), good)?;
    same(&none, "refused")?;
    same(&unknown, "refused")?;
    let said = world.gate.run(|| {
        let socket = std::net::UdpSocket::bind("10.0.2.1:0").unwrap();
        socket.set_read_timeout(Some(crate::world::SOON)).unwrap();
        socket.connect((vip(1, true), 53)).unwrap();
        let good = ask(&socket, 10);
        socket.connect((vip(1, true), 54)).unwrap();
        Ok((good, ask(&socket, 10)))
    })?;
    ensure(said == ("10.0.2.22 10.0.2.1".into(), "not permitted".into()), format!("{said:?}"))
}

fn alike() -> Result<(), LabError> {
    let mut frontends = vec![
        tcp(1, &[21, 22, 23]),
        tcp(2, &[21, 22, 23, 24]),
        frontend(vip(1, false), Protocol::Tcp, 80, &[21, 22, 23], 8080),
    ];
    let mut chosen: Vec<Vec<String>> = Vec::new();
    for _ in 0..2 {
        let mut world = World::new()?;
        world.apply(&wanted(Mode::Translate, frontends.clone()))?;
        let list = world.client.run(|| {
            let open = |to: IpAddr, port| {
                let from = if to.is_ipv4() { CLIENT } else { CLIENT6 };
                Flow::open(SocketAddr::new(ip(from), port), SocketAddr::new(to, 80)).said()
            };
            let targets = [vip(1, true), vip(2, true), vip(1, false)];
            Ok((21_000..21_040).flat_map(|port| targets.map(|to| open(to, port))).collect())
        })?;
        chosen.push(list);
        // The other one is told in another order.
        frontends.iter_mut().for_each(|frontend| frontend.backends.reverse());
    }
    ensure(chosen[0] == chosen[1], "two appliances chose differently")
}

fn middle() -> Result<(), LabError> {
    let mut world = World::new()?;
    world.apply(&wanted(Mode::Translate, vec![tcp(1, &[21, 22, 23])]))?;
    let mut flows: Vec<Flow> = Vec::new();
    for port in 24_000..24_012 {
        flows.push(world.flow(SocketAddr::new(ip(CLIENT), port), SocketAddr::new(vip(1, true), 80))?);
    }
    skybridge::lab::nat::forget_connections(&world.gate)?;
    ensure(flows.iter_mut().all(Flow::lives), "a connection ended")
}

fn route() -> Result<(), LabError> {
    let mut world = World::new()?;
    world.apply(&wanted(Mode::Translate, vec![tcp(1, &[21])]))?;
    world.apply(&wanted(Mode::Route, vec![tcp(1, &[21])]))?;
    same(&world.list()?, "")
}
