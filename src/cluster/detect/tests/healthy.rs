use super::*;

fn all_well(mode: ServiceMode) -> World {
    World::new(mode, |_, _| OK)
}

#[test]
fn healthy_traffic_gives_no_event_no_probe_and_leaves_nothing_behind() {
    for mode in [ServiceMode::Route, ServiceMode::Translate, ServiceMode::TranslateAndMasquerade] {
        let mut world = all_well(mode);
        for to in [NGINX, MYSQL, BOTH].repeat(20) {
            world.connect(to);
        }
        for _ in 0..20 {
            let client = world.client();
            world.see(world.udp(Way::FromTunnel, client, end(DNS)));
            world.seconds(0.002);
            world.see(world.udp(Way::IntoTunnel, end(DNS), client));
        }
        world.seconds(200.0);
        assert!(world.events.is_empty() && world.probes.is_empty(), "{mode:?}");
        for to in [NGINX, MYSQL, BOTH, DNS] {
            let health = world.state(to);
            assert_eq!((health.state, health.answered, health.unanswered), (State::Ok, 20, 0), "{to}");
        }
        assert_eq!(world.state(EMPTY).state, State::Unknown);
        assert_eq!(world.state(MYSQL).last_connect.unwrap().1, Duration::from_millis(1));
        assert!(world.state(DNS).p50.unwrap() > Duration::from_micros(1_700));
        assert_eq!(world.detector.footprint(), (0, 4));
        assert_eq!(world.detector.poll_timeout(), None);
    }
}

#[test]
fn a_slow_pod_is_not_a_fault() {
    let mut world = World::new(ServiceMode::Route, |_, _| ProbeOutcome::TimedOut);
    for _ in 0..10 {
        let client = world.client();
        world.syn(client, MYSQL);
        world.seconds(1.0);
        world.syn(client, MYSQL);
        world.seconds(0.2);
        world.syn_ack(end(MYSQL), client);
        world.syn_ack(end(MYSQL), client);
    }
    world.seconds(100.0);
    assert!(world.events.is_empty() && world.probes.is_empty());
    let health = world.state(MYSQL);
    assert_eq!((health.answered, health.unanswered), (10, 0));
    assert_eq!(health.last_connect.unwrap().1, Duration::from_millis(1_200));
}

#[test]
fn a_very_slow_pod_is_not_judged_by_what_came_before_its_answer() {
    let mut detector_waits = World::new(ServiceMode::Route, |_, _| ProbeOutcome::NotTried);
    let world = &mut detector_waits;
    let client = world.client();
    world.syn(client, MYSQL);
    world.seconds(1.0);
    world.syn(client, MYSQL);
    world.seconds(2.0);
    world.syn(client, MYSQL);
    let probes: Vec<Probe> = {
        world.now += Duration::from_secs(2);
        std::iter::from_fn(|| world.detector.poll(world.now))
            .filter_map(|action| match action {
                Action::Probe(probe) => Some(probe),
                _ => None,
            })
            .collect()
    };
    assert!(!probes.is_empty());
    world.syn_ack(end(MYSQL), client);
    for probe in probes {
        let outcome = if probe.to == end(MYSQL) { ProbeOutcome::TimedOut } else { OK };
        world.detector.probed(world.now, &ProbeResult { id: probe.id, outcome });
    }
    world.seconds(100.0);
    assert!(world.events.is_empty());
    assert_eq!((world.state(MYSQL).answered, world.state(MYSQL).unanswered), (1, 0));
}

#[test]
fn a_client_that_went_away_is_not_a_fault() {
    let mut world = World::new(ServiceMode::Route, |_, _| ProbeOutcome::TimedOut);
    for _ in 0..10 {
        let client = world.client();
        world.syn(client, MYSQL);
        world.see(world.tcp(Way::FromTunnel, client, end(MYSQL), Segment::Reset, (isn(client), 0)));
        world.seconds(10.0);
    }
    assert!(world.events.is_empty() && world.probes.is_empty());
}

#[test]
fn one_lost_syn_is_not_a_fault() {
    let mut world = World::routed_without_fix();
    for _ in 0..5 {
        world.connect(MYSQL);
        let client = world.client();
        world.syn(client, MYSQL);
        world.seconds(120.0);
    }
    assert!(world.events.is_empty() && world.probes.is_empty());
}

#[test]
fn a_short_outage_is_not_taken_for_lost_replies() {
    let mut world = all_well(ServiceMode::Translate);
    world.connect_in_vain(MYSQL);
    assert!(!world.probes.is_empty());
    (0..30).for_each(|_| {
        world.connect(MYSQL);
        world.seconds(1.0);
    });
    assert!(world.events.is_empty());
}

/// Clients whose connects are refused at once.
fn refused(world: &mut World, clients: usize) {
    for _ in 0..clients {
        let client = world.client();
        world.syn(client, MYSQL);
        world.seconds(0.001);
        world.reset(end(MYSQL), client);
        world.seconds(0.3);
    }
}

#[test]
fn a_pod_that_restarts_in_place_is_not_taken_for_a_refusal_on_the_way() {
    for mode in [ServiceMode::Route, ServiceMode::Translate] {
        let mut world = all_well(mode);
        for _ in 0..3 {
            refused(&mut world, 2);
            world.seconds(5.0);
            assert!(!world.probes.is_empty());
            (0..30).for_each(|_| {
                world.connect(MYSQL);
                world.seconds(1.0);
            });
        }
        // And once nobody comes for a while.
        refused(&mut world, 3);
        world.seconds(100.0);
        assert!(world.events.is_empty(), "{:?}", world.codes());
    }
}

#[test]
fn lost_sightings_accuse_nobody() {
    let mut world = World::routed_without_fix();
    for _ in 0..100 {
        let client = world.client();
        world.syn(client, MYSQL);
        world.syn(client, MYSQL);
        world.seconds(1.0);
        world.detector.sightings_lost();
    }
    world.seconds(100.0);
    assert!(world.events.is_empty() && world.probes.is_empty());
}

#[test]
fn a_client_of_a_pod_and_of_its_service_gets_both_answers() {
    let mut world = all_well(ServiceMode::Route);
    for _ in 0..5 {
        let (client, pod) = (world.client(), end("10.0.2.22:53"));
        world.see(world.udp(Way::FromTunnel, client, end(DNS)));
        world.see(world.udp(Way::FromTunnel, client, pod));
        world.see(world.udp(Way::IntoTunnel, pod, client));
        world.see(world.udp(Way::IntoTunnel, end(DNS), client));
        // The same by TCP: each with its own number.
        let pod = end("10.0.2.22:3306");
        world.syn(client, MYSQL);
        let direct = world.tcp(Way::FromTunnel, client, pod, Segment::Syn, (5, 0));
        world.see(direct);
        let answer = world.tcp(Way::IntoTunnel, pod, client, Segment::SynAck, (9, 6));
        world.see(answer);
        world.syn_ack(end(MYSQL), client);
    }
    world.seconds(100.0);
    assert!(world.events.is_empty() && world.probes.is_empty());
}

#[test]
fn tracing_the_route_is_no_loop() {
    let mut world = all_well(ServiceMode::Route);
    for port in [80, 9_999] {
        for ttl in 1..20 {
            let (client, to) = (world.client(), SocketAddr::new(end(NGINX).ip(), port));
            let syn =
                Sighting { ttl, ..world.tcp(Way::FromTunnel, client, to, Segment::Syn, (isn(client), 0)) };
            world.see(syn);
            world.see(world.error(Way::IntoTunnel, NODE1, ErrorKind::TimeExceeded, 6, client, to));
        }
    }
    assert!(world.events.is_empty());
}

#[test]
fn a_scan_takes_no_memory_and_drives_nothing_out() {
    let mut world = all_well(ServiceMode::Route);
    let client = world.client();
    world.syn(client, MYSQL);
    for address in 0..250u8 {
        for port in (1..4_000).step_by(7) {
            let to = SocketAddr::new([172, 16, 0, address].into(), port);
            let from = SocketAddr::new([192, 168, 10, 66].into(), 1_024 + port);
            let syn = world.tcp(Way::FromTunnel, from, to, Segment::Syn, (u32::from(port), 0));
            world.detector.sighted(&syn);
        }
    }
    assert!(world.detector.footprint() <= (8, 5), "{:?}", world.detector.footprint());
    world.seconds(0.001);
    world.syn_ack(end(MYSQL), client);
    assert_eq!(world.state(MYSQL).answered, 1);
}

#[test]
fn pods_that_open_connections_themselves_are_not_looked_at() {
    let mut world = all_well(ServiceMode::Translate);
    let (pod, office) = (end("10.0.2.21:45000"), end("192.168.10.10:443"));
    for _ in 0..5 {
        world.see(world.tcp(Way::IntoTunnel, pod, office, Segment::Syn, (1, 0)));
        world.seconds(1.0);
    }
    world.see(world.tcp(Way::FromTunnel, office, pod, Segment::SynAck, (1, 2)));
    world.see(world.udp(Way::IntoTunnel, end("10.0.2.22:53"), office));
    world.seconds(100.0);
    assert!(world.events.is_empty());
    assert_eq!(world.detector.footprint(), (0, 0));
}
