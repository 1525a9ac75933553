use super::*;

#[test]
fn the_unfixed_node_is_found_by_probes_when_the_vpc_drops_orphans() {
    let mut world = World::routed_without_fix();
    (0..3).for_each(|_| world.connect(NGINX));
    world.connect_in_vain(MYSQL);
    world.seconds(5.0);
    assert_eq!(world.codes(), [("mysql".to_owned(), Code::ServicePath)]);
    let verdict = world.only();
    assert_eq!(verdict.certainty, Certainty::Probable);
    assert_eq!(verdict.evidence.service_probes, (0, 2));
    assert_eq!(verdict.evidence.endpoint_probes, (1, 1));
    assert_eq!(verdict.evidence.endpoint, Some(end("10.0.2.22:3306")));
    assert_eq!(verdict.evidence.node.as_deref(), Some("node2"));
    assert_eq!(verdict.evidence.routed_node.as_deref(), Some("node1"));
    let text = verdict.to_string();
    for part in [
        "shop/mysql (172.16.0.33:3306/tcp): requests go to node1",
        "pod2 at 10.0.2.22:3306 on node2",
        "(a) write `services = \"translate\"` in [clusters.prod]",
        "(b) set kube-proxy's `detectLocalMode: ClusterCIDR` and `clusterCIDR: 10.0.2.0/24`",
        "`iptables.masqueradeAll: true`",
        "`nftables.masqueradeAll: true`",
        "`bpf.lbExternalClusterIP=true`",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert_eq!(world.state(NGINX).state, State::Ok);
    assert_eq!(world.state(MYSQL).unanswered, 1);
}

#[test]
fn a_service_on_both_nodes_that_fails_at_random_is_explained() {
    let mut world = World::routed_without_fix();
    for _ in 0..2 {
        world.connect_in_vain(BOTH);
        world.connect(BOTH);
        world.connect(BOTH);
    }
    world.connect_in_vain(BOTH);
    world.seconds(10.0);
    let verdict = world.only();
    assert_eq!(verdict.code, Code::ServicePath);
    assert_eq!(verdict.evidence.service_probes, (6, 12));
    world.connect_in_vain(MYSQL);
    world.connect_in_vain(MYSQL);
    world.seconds(70.0);
    world.connect(BOTH);
    world.connect_in_vain(BOTH);
    world.seconds(70.0);
    let both = world.state(BOTH);
    let verdict = both.state.verdict().unwrap();
    assert_eq!(verdict.evidence.routed_node.as_deref(), Some("node1"));
    assert_eq!(
        world.codes(),
        [("both".to_owned(), Code::ServicePath), ("mysql".to_owned(), Code::ServicePath)]
    );
}

#[test]
fn an_orphan_syn_ack_is_certain_and_names_the_pod() {
    let mut world = World::routed_without_fix();
    (0..2).for_each(|_| world.connect(NGINX));
    for _ in 0..5 {
        let client = world.client();
        world.syn(client, MYSQL);
        world.seconds(0.001);
        world.syn_ack(end("10.0.2.22:3306"), client);
        world.seconds(1.0);
    }
    let verdict = world.only();
    assert_eq!((verdict.code, verdict.certainty), (Code::UntranslatedReply, Certainty::Certain));
    assert_eq!(verdict.evidence.pod.as_deref(), Some("pod2"));
    assert_eq!(verdict.evidence.routed_node.as_deref(), Some("node1"));
    assert!(verdict.summary.contains("answers to 192.168.10.10:40003 directly"), "{}", verdict.summary);
    assert!(world.probes.is_empty());
}

#[test]
fn an_orphan_that_our_selectors_do_not_admit_is_the_same_orphan() {
    let mut world = World::routed_without_fix();
    let client = world.client();
    world.syn(client, MYSQL);
    let numbers = (1, isn(client).wrapping_add(1));
    let orphan =
        world.tcp(Way::IntoTunnel, end("10.0.2.22:3306"), client, Segment::SynAck, numbers).refused();
    world.see(orphan);
    assert_eq!(world.only().code, Code::UntranslatedReply);
}

#[test]
fn an_orphan_is_found_where_nobody_says_which_services_there_are() {
    let mut world = World::routed_without_fix();
    let plan = Plan { service_cidrs: vec!["172.16.0.0/16".parse().unwrap()], frontends: vec![] };
    let unplanned = Watched { plan: Arc::new(plan), nodes: vec![], ..watched(ServiceMode::Route) };
    world.detector.set_plan(world.now, vec![unplanned]);
    let client = world.client();
    world.syn(client, MYSQL);
    world.syn_ack(end("10.0.2.22:3306"), client);
    let verdict = world.only();
    assert_eq!((verdict.code, &verdict.subject.service), (Code::UntranslatedReply, &None));
    assert_eq!(world.state(MYSQL).unanswered, 1);
}

#[test]
fn a_refusal_from_the_pods_own_address_is_an_orphan_too() {
    let mut world = World::routed_without_fix();
    let client = world.client();
    world.syn(client, MYSQL);
    world.reset(end("10.0.2.22:3306"), client);
    assert_eq!(world.only().code, Code::UntranslatedReply);
}

#[test]
fn probes_first_and_an_orphan_later_is_a_second_verdict() {
    let mut world = World::routed_without_fix();
    world.connect_in_vain(MYSQL);
    world.seconds(1.0);
    let client = world.client();
    world.syn(client, MYSQL);
    world.syn_ack(end("10.0.2.22:3306"), client);
    for _ in 0..4 {
        world.connect_in_vain(MYSQL);
        world.seconds(70.0);
    }
    let mysql = || "mysql".to_owned();
    assert_eq!(world.codes(), [(mysql(), Code::ServicePath), (mysql(), Code::UntranslatedReply)]);
}

#[test]
fn a_datagram_from_the_pods_address_that_the_client_refuses_is_certain() {
    let mut world = World::routed_without_fix();
    let (client, pod) = (world.client(), end("10.0.2.22:53"));
    world.see(world.udp(Way::FromTunnel, client, end(DNS)));
    world.see(world.udp(Way::IntoTunnel, pod, client));
    assert!(world.events.is_empty());
    world.see(world.error(Way::FromTunnel, "192.168.10.10", ErrorKind::PortUnreachable, 17, pod, client));
    let verdict = world.only();
    assert_eq!((verdict.code, verdict.certainty), (Code::UntranslatedReply, Certainty::Certain));
    assert_eq!(verdict.evidence.pod.as_deref(), Some("pod2"));
}

#[test]
fn datagrams_from_the_pods_address_are_enough_if_there_are_several() {
    let mut world = World::routed_without_fix();
    for _ in 0..3 {
        let client = world.client();
        world.see(world.udp(Way::FromTunnel, client, end(DNS)));
        world.see(world.udp(Way::IntoTunnel, end("10.0.2.22:53"), client));
    }
    assert_eq!((world.only().code, world.only().certainty), (Code::UntranslatedReply, Certainty::Probable));
}

#[test]
fn a_pod_that_is_down_is_not_the_service_path() {
    for mode in [ServiceMode::Route, ServiceMode::Translate, ServiceMode::TranslateAndMasquerade] {
        let mut world = World::new(mode, |_, _| ProbeOutcome::TimedOut);
        world.connect_in_vain(MYSQL);
        world.connect_in_vain(MYSQL);
        let verdict = world.only();
        assert_eq!(verdict.code, Code::EndpointUnreachable, "{mode:?}");
        assert_eq!(verdict.evidence.endpoint, Some(end("10.0.2.22:3306")));
    }
}

#[test]
fn one_dead_endpoint_of_two_is_named() {
    let dead = |to: SocketAddr, count: usize| {
        let fails = to == end("10.0.2.22:8080") || to == end(BOTH) && count.is_multiple_of(2);
        if fails { ProbeOutcome::TimedOut } else { OK }
    };
    for mode in [ServiceMode::Route, ServiceMode::Translate] {
        let mut world = World::new(mode, dead);
        world.connect_in_vain(BOTH);
        world.connect(BOTH);
        world.connect_in_vain(BOTH);
        assert_eq!(world.only().code, Code::EndpointUnreachable, "{mode:?}");
        assert_eq!(world.only().evidence.pod.as_deref(), Some("pod2"));
    }
}

#[test]
fn answers_that_only_the_office_does_not_get_are_the_vpcs() {
    let mut world = World::new(ServiceMode::Translate, |_, _| OK);
    world.connect_in_vain(MYSQL);
    assert!(world.events.is_empty(), "one round might have come after a short outage");
    for _ in 0..3 {
        world.connect_in_vain(MYSQL);
    }
    let verdict = world.only();
    assert_eq!((verdict.code, verdict.certainty), (Code::RepliesLost, Certainty::Probable));
    let text = verdict.to_string();
    for part in [
        "VPC route",
        "security group",
        "NetworkPolicies",
        "source/destination check",
        "translate-and-masquerade",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let mut world = World::new(ServiceMode::TranslateAndMasquerade, |_, _| OK);
    (0..4).for_each(|_| world.connect_in_vain(MYSQL));
    assert!(!world.only().to_string().contains("VPC route"));
}

#[test]
fn a_translation_that_does_not_lead_to_endpoints_is_our_own_fault() {
    let services = |to: SocketAddr, _: usize| {
        if to.ip().to_string().starts_with("172.16.") { ProbeOutcome::TimedOut } else { OK }
    };
    let mut world = World::new(ServiceMode::Translate, services);
    world.connect_in_vain(MYSQL);
    assert_eq!(world.only().code, Code::NotTranslated);
}

#[test]
fn a_service_without_endpoints_refuses_and_is_well_when_it_has_some() {
    for mode in [ServiceMode::Translate, ServiceMode::Route] {
        let mut world = World::new(mode, |_, _| ProbeOutcome::Refused);
        for _ in 0..3 {
            let client = world.client();
            world.syn(client, EMPTY);
            world.reset(end(EMPTY), client);
        }
        assert_eq!((world.only().code, world.only().certainty), (Code::NoEndpoints, Certainty::Certain));
        assert_eq!(world.state(EMPTY).refused, 3);
        let mut watched = watched(mode);
        let mut plan = Plan::clone(&watched.plan);
        plan.frontends[4].backends.push(backend(POD1, 80));
        watched.plan = Arc::new(plan);
        world.detector.set_plan(world.now, vec![watched]);
        world.drain();
        assert_eq!(world.recovered, [Code::NoEndpoints]);
        assert_eq!(world.state(EMPTY).state, State::Unknown);
    }
}

#[test]
fn a_port_unreachable_at_once_is_a_refusal_and_probes_tell_whose() {
    let cases = [
        (ProbeOutcome::Refused, ProbeOutcome::Refused, Code::EndpointRefuses),
        (ProbeOutcome::Refused, OK, Code::Refused),
    ];
    for (service, endpoint, code) in cases {
        let answers = move |to: SocketAddr, _: usize| if to == end(MYSQL) { service } else { endpoint };
        let mut world = World::new(ServiceMode::Route, answers);
        for _ in 0..3 {
            let client = world.client();
            world.syn(client, MYSQL);
            world.see(world.error(Way::IntoTunnel, NODE1, ErrorKind::PortUnreachable, 6, client, end(MYSQL)));
            world.seconds(1.0);
        }
        assert_eq!(world.only().code, code);
    }
}

#[test]
fn errors_on_the_way_are_told_with_their_sender() {
    let cases = [
        (ErrorKind::TimeExceeded, Code::RoutingLoop),
        (ErrorKind::HostUnreachable, Code::NoRoute),
        (ErrorKind::Prohibited, Code::Prohibited),
    ];
    for (kind, code) in cases {
        let mut world = World::routed_without_fix();
        for attempt in 0..3 {
            assert_eq!(world.events.len(), usize::from(attempt > 1));
            let client = world.client();
            world.syn(client, MYSQL);
            world.see(world.error(Way::IntoTunnel, NODE1, kind, 6, client, end(MYSQL)));
        }
        assert_eq!((world.only().code, world.only().certainty), (code, Certainty::Certain));
        assert_eq!(world.only().evidence.reporter, Some(NODE1.parse().unwrap()));
    }
}

#[test]
fn a_loop_at_a_port_that_the_service_does_not_have_is_told_for_its_service() {
    let mut world = World::routed_without_fix();
    let (client, to) = (world.client(), "172.16.0.33:8080");
    world.syn(client, to);
    world.see(world.error(Way::IntoTunnel, NODE1, ErrorKind::TimeExceeded, 6, client, end(to)));
    assert_eq!(world.codes(), [("mysql".to_owned(), Code::RoutingLoop)]);
    assert_eq!(world.only().subject.port, 8080);
    world.seconds(3_600.0);
    assert_eq!(world.detector.footprint(), (0, 0));
}

#[test]
fn our_own_policy_is_named() {
    let mut world = World::routed_without_fix();
    let client = world.client();
    world.see(world.tcp(Way::FromTunnel, client, end(MYSQL), Segment::Syn, (1, 0)).refused());
    assert_eq!(world.only().code, Code::OutsideSelectors);
    assert!(world.only().to_string().contains("172.16.0.33 and 192.168.10.10"));

    let mut world = World::routed_without_fix();
    world.syn(client, NGINX);
    let numbers = (1, isn(client).wrapping_add(1));
    world.see(world.tcp(Way::IntoTunnel, end(NGINX), client, Segment::SynAck, numbers).refused());
    assert_eq!(world.only().code, Code::OutsideSelectors);
}

#[test]
fn clients_with_little_patience_are_heard_when_they_are_many() {
    let mut world = World::routed_without_fix();
    for _ in 0..6 {
        let client = world.client();
        world.syn(client, MYSQL);
        world.seconds(0.9);
    }
    world.seconds(10.0);
    assert_eq!(world.only().code, Code::ServicePath);
}

#[test]
fn what_was_repaired_is_told_once_and_what_fails_again_is_told_again() {
    let mut world = World::routed_without_fix();
    world.connect_in_vain(MYSQL);
    world.connect(MYSQL);
    world.connect(MYSQL);
    assert!(world.recovered.is_empty(), "a while without failure is needed");
    world.seconds(90.0);
    assert_eq!(world.recovered, [Code::ServicePath]);
    assert_eq!(world.state(MYSQL).state, State::Ok);
    world.connect_in_vain(MYSQL);
    world.connect_in_vain(MYSQL);
    assert_eq!(world.events.len(), 2);
}

#[test]
fn a_service_that_answers_sometimes_stays_at_fault() {
    let mut world = World::routed_without_fix();
    world.connect_in_vain(BOTH);
    for _ in 0..40 {
        world.connect(BOTH);
        world.connect_in_vain(BOTH);
        world.connect(BOTH);
        world.seconds(30.0);
    }
    assert_eq!((world.events.len(), world.recovered.len()), (1, 0));
    assert!(matches!(world.state(BOTH).state, State::Failing(_)));
}

#[test]
fn another_way_of_reaching_services_starts_anew() {
    let mut world = World::routed_without_fix();
    world.connect_in_vain(MYSQL);
    assert_eq!(world.events.len(), 1);
    world.detector.set_plan(world.now, vec![watched(ServiceMode::Translate)]);
    assert_eq!(world.state(MYSQL).state, State::Unknown);
    world.connect(MYSQL);
    world.seconds(100.0);
    assert_eq!(world.state(MYSQL).state, State::Ok);
    assert_eq!(world.events.len(), 1);
}

#[test]
fn two_ports_of_a_service_with_one_fault_are_one_event() {
    let mut world = World::routed_without_fix();
    let mut watched = watched(ServiceMode::Route);
    let mut plan = Plan::clone(&watched.plan);
    plan.frontends.push(frontend("mysql", "172.16.0.33:33060", Protocol::Tcp, vec![backend(POD2, 33_060)]));
    watched.plan = Arc::new(plan);
    world.detector.set_plan(world.now, vec![watched]);
    for to in [MYSQL, "172.16.0.33:33060"] {
        let client = world.client();
        world.syn(client, to);
        world.syn_ack(SocketAddr::new(POD2.parse().unwrap(), end(to).port()), client);
        assert!(matches!(world.state(to).state, State::Failing(_)));
    }
    assert_eq!(world.events.len(), 1);
}

/// `both` keeps each client with one endpoint, and the probes' own is the one whose answers come back.
fn sticky() -> World {
    let mut world = World::new(ServiceMode::Route, |_, _| OK);
    let mut watched = watched(ServiceMode::Route);
    let mut plan = (*watched.plan).clone();
    let both = plan.frontends.iter_mut().find(|one| one.service.name == "both").unwrap();
    both.affinity = Some(Duration::from_secs(10_800));
    watched.plan = Arc::new(plan);
    world.detector.set_plan(world.now, vec![watched]);
    world
}

#[test]
fn probes_that_stick_to_a_good_endpoint_do_not_acquit_the_others() {
    let mut world = sticky();
    world.connect(NGINX);
    (0..4).for_each(|_| world.connect_in_vain(BOTH));
    assert_eq!(world.only().code, Code::ServicePath);
}

#[test]
fn where_probes_stick_to_one_endpoint_only_other_services_tell_whether_replies_are_lost() {
    let mut world = sticky();
    (0..4).for_each(|_| world.connect_in_vain(BOTH));
    assert!(world.events.is_empty(), "nothing else was tried: {:#?}", world.events);
    for _ in 0..4 {
        world.connect_in_vain(NGINX);
        world.connect_in_vain(BOTH);
    }
    world.seconds(70.0);
    (0..4).for_each(|_| world.connect_in_vain(BOTH));
    assert!(world.codes().iter().all(|(_, code)| *code == Code::RepliesLost), "{:?}", world.codes());
    assert!(!world.events.is_empty());
}

#[test]
fn clients_that_are_refused_even_though_all_probes_answer_are_refused_on_the_way() {
    let mut world = World::new(ServiceMode::Route, |_, _| OK);
    for _ in 0..10 {
        let client = world.client();
        world.syn(client, MYSQL);
        world.seconds(0.001);
        world.reset(end(MYSQL), client);
        world.seconds(5.0);
    }
    assert_eq!(world.only().code, Code::Refused);
}
