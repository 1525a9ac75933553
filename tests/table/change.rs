//! What a change does to connections that are there.

use std::{net::SocketAddr, time::Duration};

use skybridge::{
    cluster::{
        conntrack::{Room, Usage, make_room, put_back},
        model::Protocol,
        table::{Load, Mode},
    },
    lab::{LabError, traffic::ping},
};

use crate::{
    inside::Test,
    world::{CLIENT, CLIENT2, World, ensure, frontend, ip, same, tcp, udp, vip, wanted},
};

pub(crate) const TESTS: &[Test] = &[
    ("a_tcp_connection_goes_on_when_its_endpoint_is_no_longer_ready", |_| tcp_kept()),
    ("udp_moves_when_its_endpoint_is_gone_and_stays_while_it_is_not", |_| udp_moved()),
    ("udp_that_passed_before_the_table_was_there_is_translated_afterwards", |_| udp_adopted()),
    ("an_echo_that_goes_on_is_no_longer_answered_without_endpoints", |_| echo_ends()),
    ("a_client_with_affinity_stays_and_moves_when_its_endpoint_is_gone", |_| affinity()),
    ("affinity_ends_with_its_time", |_| affinity_ends()),
    ("a_change_is_loaded_as_its_difference", |_| difference()),
    ("connection_tracking_tells_its_use_and_is_given_room_or_says_why_not", |_| room()),
];

fn tcp_kept() -> Result<(), LabError> {
    let mut world = World::new()?;
    world.apply(&wanted(Mode::Translate, vec![tcp(1, &[21])]))?;
    let mut flow = world.flow(SocketAddr::new(ip(CLIENT), 0), (vip(1, true), 80).into())?;
    world.apply(&wanted(Mode::Translate, vec![tcp(1, &[22])]))?;
    ensure(flow.lives(), "the connection ended")?;
    same(&world.tcp(vip(1, true), 80)?, "10.0.2.22 192.168.10.10")?;
    world.apply(&wanted(Mode::Translate, vec![tcp(1, &[])]))?;
    ensure(flow.lives(), "the connection ended")?;
    same(&world.tcp(vip(1, true), 80)?, "refused")
}

fn udp_moved() -> Result<(), LabError> {
    let mut world = World::new()?;
    let frontends =
        |pods: &[u8]| [true, false].map(|v4| frontend(vip(1, v4), Protocol::Udp, 53, pods, 5353)).to_vec();
    world.apply(&wanted(Mode::Translate, frontends(&[21])))?;
    let sockets = [world.udp(vip(1, true), 53)?, world.udp(vip(1, false), 53)?];
    for socket in &sockets {
        ensure(
            world.ask(socket, 10).contains("2.21 ") || world.ask(socket, 10).contains("::21 "),
            "not the first",
        )?;
    }
    let applied = world.apply(&wanted(Mode::Translate, frontends(&[21, 22, 23])))?;
    ensure(applied.forgotten == 0, "what goes on was forgotten")?;
    for socket in &sockets {
        ensure(world.ask(socket, 10).contains("21 "), "it moved although its endpoint is there")?;
    }
    let applied = world.apply(&wanted(Mode::Translate, frontends(&[22])))?;
    ensure(applied.forgotten == 2, format!("{} were forgotten", applied.forgotten))?;
    for socket in &sockets {
        let said = world.ask(socket, 10);
        ensure(said.contains("22 "), format!("it did not move: {said}"))?;
    }
    world.apply(&wanted(Mode::Translate, vec![]))?;
    same(&world.ask(&sockets[0], 10), "refused")
}

fn udp_adopted() -> Result<(), LabError> {
    let mut world = World::new()?;
    let socket = world.udp(vip(1, true), 53)?;
    world.apply(&wanted(Mode::Translate, vec![]))?;
    world.remove()?;
    // Connections are tracked as long as anybody wants it.
    world
        .gate
        .nft("table ip other { chain a { type filter hook forward priority 0; ct state new accept; }; }")?;
    socket.send(b"x").map_err(LabError::io("send"))?;
    skybridge::lab::wait::until("the connection is known", Duration::from_secs(5), || {
        let known = world.gate.run(|| Ok(Usage::read()))?;
        Ok(match known {
            Some(usage) if usage.count > 0 => Ok(()),
            other => Err(format!("{other:?}")),
        })
    })?;
    let applied = world.apply(&wanted(Mode::Translate, vec![udp(1, &[21])]))?;
    ensure(applied.forgotten == 1, format!("{} were forgotten", applied.forgotten))?;
    same(&world.ask(&socket, 10), "10.0.2.21 192.168.10.10")
}

fn echo_ends() -> Result<(), LabError> {
    let mut world = World::new()?;
    world.apply(&wanted(Mode::Translate, vec![tcp(1, &[21])]))?;
    ping::once(&world.client, vip(1, true), 56, Duration::from_secs(5))?.map_err(LabError::check)?;
    let applied = world.apply(&wanted(Mode::Translate, vec![tcp(1, &[])]))?;
    ensure(applied.forgotten == 1, format!("{} were forgotten", applied.forgotten))
}

fn affinity() -> Result<(), LabError> {
    let mut world = World::new()?;
    let frontends = |pods: &[u8]| {
        let mut all = [true, false].map(|v4| frontend(vip(1, v4), Protocol::Tcp, 80, pods, 8080)).to_vec();
        all.push(udp(1, pods));
        all.iter_mut().for_each(|frontend| frontend.affinity = Some(Duration::from_secs(10_800)));
        all
    };
    world.apply(&wanted(Mode::Translate, frontends(&[21, 22, 23])))?;
    let who = |world: &World, from: &str, to| -> Result<String, LabError> {
        Ok(world.flow(SocketAddr::new(ip(from), 0), SocketAddr::new(to, 80))?.said())
    };
    let pod = |said: &str| said.split(' ').next().unwrap().to_owned();
    let first = pod(&who(&world, CLIENT, vip(1, true))?);
    let first6 = pod(&world.tcp(vip(1, false), 80)?);
    who(&world, CLIENT2, vip(1, true))?;
    let dns = pod(&world.ask(&world.udp(vip(1, true), 53)?, 10));
    for _ in 0..10 {
        same(&pod(&who(&world, CLIENT, vip(1, true))?), &first)?;
        same(&pod(&world.tcp(vip(1, false), 80)?), &first6)?;
        same(&pod(&world.ask(&world.udp(vip(1, true), 53)?, 10)), &dns)?;
    }
    ensure(world.list()?.matches("timeout 3h").count() >= 3, "the clients are not remembered")?;
    // With another endpoint the slots change hands, and the clients stay all the same.
    world.apply(&wanted(Mode::Translate, frontends(&[21, 22, 23, 24])))?;
    same(&pod(&who(&world, CLIENT, vip(1, true))?), &first)?;
    let last: u8 = first.rsplit('.').next().unwrap().parse().unwrap();
    let left: Vec<u8> = [21, 22, 23, 24].into_iter().filter(|n| *n != last).collect();
    world.apply(&wanted(Mode::Translate, frontends(&left)))?;
    let second = pod(&who(&world, CLIENT, vip(1, true))?);
    ensure(second != first && second.starts_with("10.0.2."), format!("{second} after {first}"))?;
    // Its old endpoint comes back, and it stays where it is now.
    world.apply(&wanted(Mode::Translate, frontends(&[21, 22, 23, 24])))?;
    same(&pod(&who(&world, CLIENT, vip(1, true))?), &second)?;
    // Switched off, on again when its endpoint is gone: nobody is sent there, and the rules are there once.
    let without = |pods: &[u8]| {
        let mut all = frontends(pods);
        all.iter_mut().for_each(|frontend| frontend.affinity = None);
        all
    };
    let last: u8 = second.rsplit('.').next().unwrap().parse().unwrap();
    let left: Vec<u8> = [21, 22, 23, 24].into_iter().filter(|n| *n != last).collect();
    world.apply(&wanted(Mode::Translate, without(&[21, 22, 23, 24])))?;
    world.apply(&wanted(Mode::Translate, without(&left)))?;
    world.apply(&wanted(Mode::Translate, frontends(&left)))?;
    let third = pod(&who(&world, CLIENT, vip(1, true))?);
    ensure(third != second && third.starts_with("10.0.2."), format!("{third} after {second}"))?;
    let rules = world.list()?.matches("update @clients4").count();
    ensure(rules == 3, format!("{rules} rules remember clients"))
}

fn affinity_ends() -> Result<(), LabError> {
    let mut world = World::new()?;
    let mut service = tcp(1, &[21, 22]);
    service.affinity = Some(Duration::from_secs(1));
    world.apply(&wanted(Mode::Translate, vec![service]))?;
    world.tcp(vip(1, true), 80)?;
    skybridge::lab::wait::until("the client is forgotten", Duration::from_secs(20), || {
        Ok(if world.list()?.contains("expires") { Err("it is remembered".to_owned()) } else { Ok(()) })
    })
}

fn difference() -> Result<(), LabError> {
    let mut world = World::silent()?;
    let before = vec![tcp(1, &[21, 22]), tcp(2, &[21]), udp(3, &[])];
    let applied = world.apply(&wanted(Mode::Translate, before.clone()))?;
    ensure(applied.load == Load::Whole, format!("{applied:?}"))?;
    let applied = world.apply(&wanted(Mode::Translate, before))?;
    ensure((applied.load, applied.elements) == (Load::Nothing, 0), format!("{applied:?}"))?;
    let applied =
        world.apply(&wanted(Mode::Translate, vec![tcp(1, &[21, 23]), tcp(2, &[21]), udp(3, &[])]))?;
    ensure(applied.load == Load::Difference, format!("{applied:?}"))?;
    // Six slots leave and six come, and one address each.
    ensure(applied.elements <= 2 * 12 + 2 && applied.told.is_empty(), format!("{applied:?}"))
}

fn room() -> Result<(), LabError> {
    let mut world = World::silent()?;
    world.apply(&wanted(Mode::Translate, vec![tcp(1, &[21])]))?;
    world.gate.run(|| {
        let usage = Usage::read().ok_or_else(|| LabError::check("no use is told"))?;
        let small = make_room(1);
        ensure(small == Room::Enough { max: usage.max }, format!("{small:?}"))?;
        let large = make_room(u32::try_from(usage.max).unwrap_or(u32::MAX - 1) + 1);
        match &large {
            Room::Raised { before, .. } => {
                ensure(*before == usage.max, format!("{large:?}"))?;
                put_back(&large).map_err(LabError::io("put the limit back"))?;
                ensure(Usage::read().map(|usage| usage.max) == Some(usage.max), "the limit was not put back")
            }
            Room::Refused { max, why } => {
                ensure(*max == usage.max && why.contains("sysctl --system"), format!("{large:?}"))
            }
            Room::Enough { .. } => Err(LabError::check(format!("{large:?}"))),
        }
    })
}
