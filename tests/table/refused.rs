//! What is refused, how fast and by whom.

use std::{
    net::{IpAddr, UdpSocket},
    time::Duration,
};

use skybridge::{
    cluster::{model::Protocol, table::Mode},
    lab::{LabError, traffic::ping},
};
use socket2::{Domain, Socket, Type};

use crate::{
    inside::Test,
    world::{SOON, World, ensure, frontend, same, tcp, vip, wanted},
};

pub(crate) const TESTS: &[Test] = &[
    ("a_service_without_endpoints_is_refused_at_once", |_| no_endpoints()),
    ("a_port_or_address_without_a_service_is_refused_at_once", |_| no_service()),
    ("what_refuses_a_datagram_says_so_as_the_cluster_address", |_| refusal_source()),
    ("what_a_pod_refuses_comes_from_the_cluster_address", |_| pod_refuses()),
    ("a_packet_too_long_for_the_vpc_is_told_with_the_cluster_address", |_| too_long()),
    ("a_cluster_address_answers_an_echo_while_its_service_has_an_endpoint", |_| echo()),
    ("an_echo_is_refused_where_the_configuration_says_so", |_| no_echo()),
];

fn no_endpoints() -> Result<(), LabError> {
    let mut world = World::new()?;
    let mut frontends = Vec::new();
    for v4 in [true, false] {
        frontends.push(frontend(vip(1, v4), Protocol::Tcp, 80, &[], 8080));
        frontends.push(frontend(vip(1, v4), Protocol::Udp, 53, &[], 5353));
    }
    world.apply(&wanted(Mode::Translate, frontends))?;
    for v4 in [true, false] {
        same(&world.tcp(vip(1, v4), 80)?, "refused")?;
        let socket = world.udp(vip(1, v4), 53)?;
        same(&world.ask(&socket, 10), "refused")?;
    }
    Ok(())
}

fn no_service() -> Result<(), LabError> {
    let mut world = World::new()?;
    let frontends = vec![tcp(1, &[21]), frontend(vip(1, false), Protocol::Tcp, 80, &[21], 8080)];
    world.apply(&wanted(Mode::Translate, frontends))?;
    for v4 in [true, false] {
        for n in [1, 99] {
            same(&world.tcp(vip(n, v4), 81)?, "refused")?;
            let socket = world.udp(vip(n, v4), 53)?;
            same(&world.ask(&socket, 10), "refused")?;
        }
    }
    Ok(())
}

/// An ICMP error: from whom, type and code, and where the packet in it was sent.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    from: IpAddr,
    kind: (u8, u8),
    about: (IpAddr, u16),
}

/// The next ICMP error that comes to the client after `act`.
fn told(world: &World, v4: bool, act: impl FnOnce() + Send) -> Result<Told, LabError> {
    world.client.run(|| {
        let (domain, protocol) = if v4 {
            (Domain::IPV4, socket2::Protocol::ICMPV4)
        } else {
            (Domain::IPV6, socket2::Protocol::ICMPV6)
        };
        let socket =
            Socket::new(domain, Type::RAW, Some(protocol)).map_err(LabError::io("open a raw socket"))?;
        socket.set_read_timeout(Some(SOON)).map_err(LabError::io("set a timeout"))?;
        let socket: UdpSocket = socket.into();
        act();
        loop {
            let mut octets = [0; 2048];
            let (_, from) = socket.recv_from(&mut octets).map_err(LabError::io("wait for an ICMP error"))?;
            let from = from.ip();
            // IPv4 sockets give the IP header as well.
            let icmp = if v4 { &octets[usize::from(octets[0] & 15) * 4..] } else { &octets[..] };
            let kind = (icmp[0], icmp[1]);
            if (v4 && kind.0 != 3) || (!v4 && ![1, 2].contains(&kind.0)) {
                continue;
            }
            let inner = &icmp[8..];
            let (to, ports): (IpAddr, &[u8]) = if v4 {
                (
                    <[u8; 4]>::try_from(&inner[16..20]).unwrap().into(),
                    &inner[usize::from(inner[0] & 15) * 4..],
                )
            } else {
                (<[u8; 16]>::try_from(&inner[24..40]).unwrap().into(), &inner[40..])
            };
            return Ok(Told { from, kind, about: (to, u16::from_be_bytes([ports[2], ports[3]])) });
        }
    })
}

fn refusal_source() -> Result<(), LabError> {
    let mut world = World::new()?;
    let frontends = [true, false].map(|v4| frontend(vip(1, v4), Protocol::Udp, 53, &[], 5353)).to_vec();
    world.apply(&wanted(Mode::Translate, frontends))?;
    for (v4, kind) in [(true, (3, 3)), (false, (1, 4))] {
        for (n, port) in [(1, 53), (1, 54), (9, 53)] {
            let to = vip(n, v4);
            let socket = world.udp(to, port)?;
            let told = told(&world, v4, || drop(socket.send(b"x")))?;
            ensure(told == Told { from: to, kind, about: (to, port) }, format!("{told:?}"))?;
        }
    }
    Ok(())
}

fn pod_refuses() -> Result<(), LabError> {
    let mut world = World::new()?;
    let frontends = [true, false].map(|v4| frontend(vip(1, v4), Protocol::Udp, 53, &[21], 9999)).to_vec();
    world.apply(&wanted(Mode::Translate, frontends))?;
    for (v4, kind) in [(true, (3, 3)), (false, (1, 4))] {
        let to = vip(1, v4);
        let socket = world.udp(to, 53)?;
        let told = told(&world, v4, || drop(socket.send(b"x")))?;
        ensure(told == Told { from: to, kind, about: (to, 53) }, format!("{told:?}"))?;
    }
    Ok(())
}

fn too_long() -> Result<(), LabError> {
    let mut world = World::new()?;
    let frontends = [true, false].map(|v4| frontend(vip(1, v4), Protocol::Udp, 53, &[21], 5353)).to_vec();
    world.apply(&wanted(Mode::Translate, frontends))?;
    world.gate.set_mtu("vpc0", 1300)?;
    for (v4, kind) in [(true, (3, 4)), (false, (2, 0))] {
        let to = vip(1, v4);
        let socket = world.udp(to, 53)?;
        // IPv4 sockets set "do not fragment" as long as the path is not known to be narrower.
        let told = told(&world, v4, || drop(socket.send(&[0; 1400])))?;
        ensure(told == Told { from: to, kind, about: (to, 53) }, format!("{told:?}"))?;
    }
    Ok(())
}

const AT_ONCE: Duration = Duration::from_secs(5);

fn echo() -> Result<(), LabError> {
    let mut world = World::new()?;
    let frontends =
        |pods: &[u8]| [true, false].map(|v4| frontend(vip(1, v4), Protocol::Tcp, 80, pods, 8080)).to_vec();
    world.apply(&wanted(Mode::Translate, frontends(&[21])))?;
    for v4 in [true, false] {
        let answer = ping::once(&world.client, vip(1, v4), 56, AT_ONCE)?;
        ensure(answer.is_ok(), format!("{answer:?}"))?;
    }
    world.apply(&wanted(Mode::Translate, frontends(&[])))?;
    refused_echo(&world)
}

/// Host unreachable, from the cluster address: with a Service without endpoints and with none.
fn refused_echo(world: &World) -> Result<(), LabError> {
    for (v4, kind) in [(true, (3, 1)), (false, (1, 3))] {
        for n in [1, 9] {
            let to = vip(n, v4);
            let pinged = world.client.clone();
            let told = told(world, v4, || drop(ping::once(&pinged, to, 56, Duration::from_millis(1))))?;
            ensure((told.from, told.kind, told.about.0) == (to, kind, to), format!("{told:?}"))?;
        }
    }
    Ok(())
}

fn no_echo() -> Result<(), LabError> {
    let mut world = World::new()?;
    let frontends = [true, false].map(|v4| frontend(vip(1, v4), Protocol::Tcp, 80, &[21], 8080)).to_vec();
    let mut wanted = wanted(Mode::Translate, frontends);
    wanted.clusters[0].ping = false;
    world.apply(&wanted)?;
    refused_echo(&world)
}
