use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Tcp { way: bool, client: u8, other: usize, kind: u8, number: u8, refused: bool, ttl: u8 },
    Udp { way: bool, client: u8, other: usize, refused: bool },
    Error { way: bool, client: u8, other: usize, kind: u8, tcp: bool },
    Wait(u16),
    Replan(u8),
    Lost,
}

fn step() -> impl Strategy<Value = Step> {
    let other = 0usize..10;
    prop_oneof![
        8 => (any::<bool>(), 0u8..6, other.clone(), 0u8..3, 0u8..3, prop::bool::weighted(0.05), any::<u8>())
            .prop_map(|(way, client, other, kind, number, refused, ttl)| Step::Tcp {
                way, client, other, kind, number, refused, ttl
            }),
        2 => (any::<bool>(), 0u8..6, other.clone(), prop::bool::weighted(0.05))
            .prop_map(|(way, client, other, refused)| Step::Udp { way, client, other, refused }),
        2 => (any::<bool>(), 0u8..6, other, 0u8..4, any::<bool>())
            .prop_map(|(way, client, other, kind, tcp)| Step::Error { way, client, other, kind, tcp }),
        4 => (0u16..9_000).prop_map(Step::Wait),
        1 => (0u8..4).prop_map(Step::Replan),
        1 => Just(Step::Lost),
    ]
}

const OTHERS: [&str; 10] = [
    NGINX,
    MYSQL,
    BOTH,
    EMPTY,
    DNS,
    "10.0.2.21:8080",
    "10.0.2.22:3306",
    "10.0.2.22:53",
    "172.16.0.33:99",
    "172.16.9.9:1",
];

/// No event repeats the one before it of the same Service, unless that one was taken back in between.
fn check_events(seen: &mut Vec<(ServiceId, Code)>, action: &Action) {
    match action {
        Action::Event(verdict) => {
            if let Some(service) = &verdict.subject.service {
                let told = (service.clone(), verdict.code);
                assert!(!verdict.summary.is_empty() && !verdict.advice.is_empty());
                let last = seen.iter().rposition(|(of, _)| of == service);
                let repeated = last.is_some_and(|at| seen[at] == told);
                // A Service's other ports may fail otherwise; then words alternate.
                if repeated && service.name != "mysql" {
                    panic!("told twice: {told:?}");
                }
                seen.push(told);
            }
        }
        Action::Recovered(verdict) => seen.retain(|(of, _)| Some(of) != verdict.subject.service.as_ref()),
        Action::Probe(_) => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_seen_memory_is_bounded_and_nothing_is_told_twice(
        steps in prop::collection::vec(step(), 1..150),
        outcomes in prop::collection::vec(0u8..5, 1..20),
    ) {
        let mut world = World::new(ServiceMode::Route, |_, _| OK);
        let mut mode = Some(ServiceMode::Route);
        let mut told = Vec::new();
        let mut probes = 0usize;
        for step in steps {
            match step {
                Step::Tcp { way, client, other, kind, number, refused, ttl } => {
                    let kind = [Segment::Syn, Segment::SynAck, Segment::Reset][usize::from(kind)];
                    let (client, other) = (SocketAddr::new([192, 168, 10, 10].into(), u16::from(client)), end(OTHERS[other]));
                    let (from, to) = if way { (client, other) } else { (other, client) };
                    let numbers = (u32::from(number), u32::from(number).wrapping_add(1));
                    let way = if way { Way::FromTunnel } else { Way::IntoTunnel };
                    let sighting = Sighting { refused, ttl, ..world.tcp(way, from, to, kind, numbers) };
                    world.detector.sighted(&sighting);
                }
                Step::Udp { way, client, other, refused } => {
                    let (client, other) = (SocketAddr::new([192, 168, 10, 10].into(), u16::from(client)), end(OTHERS[other]));
                    let (from, to) = if way { (client, other) } else { (other, client) };
                    let way = if way { Way::FromTunnel } else { Way::IntoTunnel };
                    let sighting = Sighting { refused, ..world.udp(way, from, to) };
                    world.detector.sighted(&sighting);
                }
                Step::Error { way, client, other, kind, tcp } => {
                    let kinds = [ErrorKind::PortUnreachable, ErrorKind::HostUnreachable, ErrorKind::Prohibited, ErrorKind::TimeExceeded];
                    let (client, other) = (SocketAddr::new([192, 168, 10, 10].into(), u16::from(client)), end(OTHERS[other]));
                    let protocol = if tcp { 6 } else { 17 };
                    let kind = kinds[usize::from(kind)];
                    let sighting = if way {
                        world.error(Way::FromTunnel, "192.168.10.10", kind, protocol, other, client)
                    } else {
                        world.error(Way::IntoTunnel, NODE1, kind, protocol, client, other)
                    };
                    world.detector.sighted(&sighting);
                }
                Step::Wait(millis) => world.now += Duration::from_millis(u64::from(millis)),
                Step::Replan(kind) => {
                    let before = mode;
                    mode = match kind {
                        1 => None,
                        3 => Some(ServiceMode::Translate),
                        _ => Some(ServiceMode::Route),
                    };
                    world.detector.set_plan(world.now, mode.map(watched).into_iter().collect());
                    // Another way of reaching Services starts anew, there and back.
                    if mode != before {
                        told.clear();
                    }
                }
                Step::Lost => world.detector.sightings_lost(),
            }
            let mut actions = 0;
            while let Some(action) = world.detector.poll(world.now) {
                actions += 1;
                prop_assert!(actions < 1_000);
                if let Action::Probe(probe) = action {
                    let outcome = match outcomes[probes % outcomes.len()] {
                        0 => OK,
                        1 => ProbeOutcome::Refused,
                        2 => ProbeOutcome::TimedOut,
                        3 => ProbeOutcome::Unreachable,
                        _ => ProbeOutcome::NotTried,
                    };
                    probes += 1;
                    world.detector.probed(world.now, &ProbeResult { id: probe.id, outcome });
                } else {
                    if world.detector.services().is_empty() {
                        told.clear();
                    }
                    check_events(&mut told, &action);
                }
            }
            let (connections, tracked) = world.detector.footprint();
            prop_assert!(connections <= 6 * 10 * 2 && tracked <= 5 + 10);
        }
    }
}

#[test]
fn connections_under_way_are_bounded() {
    let mut world = World::routed_without_fix();
    for n in 0..100_000u32 {
        let client = SocketAddr::new([192, 168, (n >> 16) as u8, 9].into(), n as u16);
        let syn = world.tcp(Way::FromTunnel, client, end(MYSQL), Segment::Syn, (n, 0));
        world.detector.sighted(&syn);
    }
    assert_eq!(world.detector.footprint(), (CONNECTIONS, 1));
    world.seconds(200.0);
    assert_eq!(world.detector.footprint(), (0, 1));
}
