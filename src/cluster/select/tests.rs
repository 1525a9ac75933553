mod properties;

use std::sync::Arc;

use super::*;
use crate::cluster::model::{Distribution, Node, Protocol, SlicePort};

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(super) fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

pub(super) fn id(name: &str) -> ServiceId {
    ServiceId { namespace: "default".to_owned(), name: name.to_owned() }
}

pub(super) fn service(name: &str, ips: &[&str], ports: &[(&str, u16)]) -> Service {
    let port = |(name, port): &(&str, u16)| ServicePort {
        name: (*name).to_owned(),
        protocol: Protocol::Tcp,
        port: *port,
    };
    Service {
        id: id(name),
        kind: ServiceKind::ClusterIp,
        cluster_ips: ips.iter().copied().map(ip).collect(),
        ports: ports.iter().map(port).collect(),
        affinity: None,
        internal_local: false,
        distribution: None,
    }
}

pub(super) fn endpoint(address: &str, state: &str) -> Endpoint {
    let (ready, serving, terminating) = match state {
        "ready" => (true, true, false),
        "not ready" => (false, false, false),
        "draining" => (false, true, true),
        "dying" => (false, false, true),
        other => panic!("{other}"),
    };
    Endpoint {
        addresses: vec![ip(address)],
        ready,
        serving,
        terminating,
        node: None,
        zone: None,
        zone_hints: vec![],
        node_hints: vec![],
        pod: None,
    }
}

fn hinted(address: &str, zones: &[&str]) -> Endpoint {
    let zone_hints = zones.iter().map(|zone| (*zone).to_owned()).collect();
    Endpoint { zone_hints, ..endpoint(address, "ready") }
}

pub(super) fn slice(name: &str, service: &str, ports: &[(&str, u16)], endpoints: Vec<Endpoint>) -> Slice {
    let port = |(name, port): &(&str, u16)| SlicePort {
        name: (*name).to_owned(),
        protocol: Protocol::Tcp,
        port: Some(*port),
    };
    Slice {
        id: ("default".to_owned(), name.to_owned()),
        service: Some(id(service)),
        ports: ports.iter().map(port).collect(),
        endpoints,
    }
}

pub(super) fn inventory(services: Vec<Service>, slices: Vec<Slice>) -> Inventory {
    Inventory {
        services: services.into_iter().map(|one| (one.id.clone(), Arc::new(one))).collect(),
        slices: slices.into_iter().map(|one| (one.id.clone(), Arc::new(one))).collect(),
        ..Inventory::default()
    }
}

/// What is translated, as `vip:port → endpoint endpoint`.
fn lines(plan: &Plan) -> Vec<String> {
    let line = |one: &Frontend| {
        let backends: Vec<String> =
            one.backends.iter().map(|to| format!("{}:{}", to.address, to.port)).collect();
        format!("{}:{} → {}", one.vip, one.port, backends.join(" "))
    };
    plan.frontends.iter().map(line).collect()
}

/// A Service with one port and one slice.
fn planned(endpoints: Vec<Endpoint>, scope: &Scope) -> String {
    let services = vec![service("x", &["172.16.0.1"], &[("", 80)])];
    let slices = vec![slice("x-1", "x", &[("", 8080)], endpoints)];
    lines(&plan(&inventory(services, slices), scope)).remove(0)
}

#[test]
fn ready_endpoints_are_taken() {
    let endpoints = vec![
        endpoint("10.0.0.2", "ready"),
        endpoint("10.0.0.1", "ready"),
        endpoint("10.0.0.3", "not ready"),
        endpoint("10.0.0.4", "draining"),
        endpoint("10.0.0.5", "dying"),
    ];
    assert_eq!(planned(endpoints, &Scope::default()), "172.16.0.1:80 → 10.0.0.1:8080 10.0.0.2:8080");
}

#[test]
fn without_ready_endpoints_those_that_drain_are_taken() {
    let endpoints = vec![
        endpoint("10.0.0.3", "not ready"),
        endpoint("10.0.0.4", "draining"),
        endpoint("10.0.0.5", "dying"),
    ];
    assert_eq!(planned(endpoints, &Scope::default()), "172.16.0.1:80 → 10.0.0.4:8080");
    assert_eq!(planned(vec![endpoint("10.0.0.5", "dying")], &Scope::default()), "172.16.0.1:80 → ");
    assert_eq!(planned(vec![], &Scope::default()), "172.16.0.1:80 → ");
}

#[test]
fn a_port_finds_its_endpoints_by_name_and_protocol() {
    let mut dns = service("dns", &["172.16.0.10"], &[("dns", 53), ("dns-tcp", 53), ("metrics", 9153)]);
    dns.ports[0].protocol = Protocol::Udp;
    let mut own = slice("a", "dns", &[("dns", 5353), ("dns-tcp", 5354)], vec![endpoint("10.0.0.1", "ready")]);
    own.ports[0].protocol = Protocol::Udp;
    // A port of the right name and the wrong protocol, and one that means all ports, count for nothing.
    let mut odd = slice("b", "dns", &[("dns", 1), ("metrics", 1)], vec![endpoint("10.0.0.2", "ready")]);
    odd.ports[1].port = None;
    let plan = plan(&inventory(vec![dns], vec![own, odd]), &Scope::default());
    assert_eq!(
        lines(&plan),
        ["172.16.0.10:53 → 10.0.0.1:5354", "172.16.0.10:9153 → ", "172.16.0.10:53 → 10.0.0.1:5353"]
    );
    assert_eq!(plan.frontends[2].protocol, Protocol::Udp);
}

#[test]
fn slices_are_merged_and_duplicates_removed() {
    let services = vec![service("many", &["172.16.0.1"], &[("http", 80)])];
    let slices = vec![
        slice(
            "a",
            "many",
            &[("http", 8080)],
            vec![endpoint("10.0.0.1", "ready"), endpoint("10.0.0.2", "not ready")],
        ),
        slice(
            "b",
            "many",
            &[("http", 8080)],
            vec![endpoint("10.0.0.2", "ready"), endpoint("10.0.0.3", "ready")],
        ),
        slice("c", "many", &[("http", 9090)], vec![endpoint("10.0.0.1", "ready")]),
        slice("d", "gone", &[("http", 8080)], vec![endpoint("10.0.0.9", "ready")]),
    ];
    let plan = plan(&inventory(services, slices), &Scope::default());
    assert_eq!(lines(&plan), ["172.16.0.1:80 → 10.0.0.1:8080 10.0.0.1:9090 10.0.0.2:8080 10.0.0.3:8080"]);
}

#[test]
fn each_family_has_its_own_endpoints() {
    let services = vec![service("dual", &["172.16.0.1", "fd00:172::1"], &[("", 80)])];
    let slices = vec![
        slice("a", "dual", &[("", 8080)], vec![endpoint("10.0.0.1", "draining")]),
        slice("b", "dual", &[("", 8080)], vec![endpoint("fd00:10::1", "ready")]),
    ];
    let plan = plan(&inventory(services, slices), &Scope::default());
    assert_eq!(lines(&plan), ["172.16.0.1:80 → 10.0.0.1:8080", "fd00:172::1:80 → fd00:10::1:8080"]);
}

#[test]
fn hints_count_when_every_ready_endpoint_has_them_and_one_is_for_this_zone() {
    let zone = |zone: &str| Scope { zone: Some(zone.to_owned()), ..Scope::default() };
    let both = || vec![hinted("10.0.0.1", &["a"]), hinted("10.0.0.2", &["b", "c"])];
    let all = "172.16.0.1:80 → 10.0.0.1:8080 10.0.0.2:8080";
    assert_eq!(planned(both(), &zone("a")), "172.16.0.1:80 → 10.0.0.1:8080");
    assert_eq!(planned(both(), &zone("c")), "172.16.0.1:80 → 10.0.0.2:8080");
    assert_eq!(planned(both(), &zone("d")), all);
    assert_eq!(planned(both(), &Scope::default()), all);
    assert_eq!(planned(vec![hinted("10.0.0.1", &["a"]), endpoint("10.0.0.2", "ready")], &zone("a")), all);
    // Who is not ready has no say.
    let mut with = both();
    with.push(endpoint("10.0.0.3", "not ready"));
    assert_eq!(planned(with, &zone("a")), "172.16.0.1:80 → 10.0.0.1:8080");
    // Nobody asks for zones among those that drain.
    let mut draining = both();
    draining.iter_mut().for_each(|one| (one.ready, one.terminating) = (false, true));
    assert_eq!(planned(draining, &zone("a")), all);
}

#[test]
fn hints_for_nodes_are_for_nodes() {
    let mut near = service("near", &["172.16.0.1"], &[("", 80)]);
    near.distribution = Some(Distribution::SameNode);
    let node = |mut one: Endpoint, node: &str| {
        one.node_hints = vec![node.to_owned()];
        one
    };
    let endpoints =
        vec![node(hinted("10.0.0.1", &["a"]), "node1"), node(hinted("10.0.0.2", &["b"]), "node2")];
    let all = inventory(vec![near], vec![slice("s", "near", &[("", 1)], endpoints)]);
    let scope = Scope { zone: Some("b".to_owned()), ..Scope::default() };
    assert_eq!(lines(&plan(&all, &scope)), ["172.16.0.1:80 → 10.0.0.2:1"]);
}

#[test]
fn services_for_their_own_node_are_taken_or_refused() {
    let mut local = service("local", &["172.16.0.1"], &[("", 80)]);
    local.internal_local = true;
    let all =
        inventory(vec![local], vec![slice("s", "local", &[("", 1)], vec![endpoint("10.0.0.1", "ready")])]);
    let scope = |internal_local| Scope { internal_local, ..Scope::default() };
    assert_eq!(lines(&plan(&all, &scope(InternalLocal::Cluster))), ["172.16.0.1:80 → 10.0.0.1:1"]);
    assert_eq!(lines(&plan(&all, &scope(InternalLocal::Refuse))), ["172.16.0.1:80 → "]);
}

#[test]
fn what_has_no_cluster_address_is_not_translated() {
    let kind = |name: &str, kind| Service { kind, ..service(name, &["172.16.0.9"], &[("", 80)]) };
    let services = vec![
        kind("headless", ServiceKind::Headless),
        kind("external", ServiceKind::ExternalName),
        service("pending", &[], &[("", 80)]),
    ];
    let slices = vec![slice("s", "headless", &[("", 1)], vec![endpoint("10.0.0.1", "ready")])];
    let all = inventory(services, slices);
    assert_eq!(plan(&all, &Scope::default()), Plan::default());
    assert!(choose(&all, &Scope::default()).1.is_empty());
}

#[test]
fn what_two_services_claim_is_the_first_ones() {
    let services = vec![
        service("b", &["172.16.0.1"], &[("", 80), ("other", 81)]),
        service("a", &["172.16.0.1"], &[("", 80)]),
    ];
    let slices = vec![
        slice("1", "a", &[("", 1)], vec![endpoint("10.0.0.1", "ready")]),
        slice("2", "b", &[("", 2), ("other", 3)], vec![endpoint("10.0.0.2", "ready")]),
    ];
    let all = inventory(services, slices);
    let scope = Scope::default();
    assert_eq!(lines(&plan(&all, &scope)), ["172.16.0.1:80 → 10.0.0.1:1", "172.16.0.1:81 → 10.0.0.2:3"]);
    let [one] = &choose(&all, &scope).1[..] else { panic!() };
    assert_eq!((&one.service, &one.reason), (&id("b"), &LeftOutReason::Claimed(id("a"))));
    assert!(one.to_string().starts_with("default/b at 172.16.0.1 port 80 is default/a's"), "{one}");
}

#[test]
fn what_is_outside_of_the_configured_ranges_is_left_out() {
    let services =
        vec![service("in", &["172.16.0.1"], &[("", 80)]), service("out", &["192.168.10.9"], &[("", 80)])];
    let mut all = inventory(services, vec![]);
    let scope = Scope { service_cidrs: vec![net("172.16.0.0/16")], ..Scope::default() };
    let made = plan(&all, &scope);
    assert_eq!(
        (lines(&made), made.service_cidrs),
        (vec!["172.16.0.1:80 → ".to_owned()], scope.service_cidrs.clone())
    );
    let [one] = &choose(&all, &scope).1[..] else { panic!() };
    assert_eq!((&one.service, &one.reason), (&id("out"), &LeftOutReason::OutsideRanges));
    // What the cluster itself says leaves nothing out.
    all.service_cidrs = vec![net("172.16.0.0/16"), net("172.16.3.0/24")];
    let made = plan(&all, &Scope::default());
    assert_eq!((lines(&made).len(), made.service_cidrs), (2, vec![net("172.16.0.0/16")]));
    assert!(choose(&all, &Scope::default()).1.is_empty());
}

#[test]
fn without_ranges_each_service_is_one() {
    let mut headless = service("headless", &["172.16.0.7"], &[]);
    headless.kind = ServiceKind::Headless;
    let services = vec![
        service("b", &["172.16.0.2", "fd00::2"], &[("", 80)]),
        service("a", &["172.16.0.1"], &[]),
        headless,
    ];
    let made = plan(&inventory(services, vec![]), &Scope::default());
    assert_eq!(made.service_cidrs, [net("172.16.0.1/32"), net("172.16.0.2/32"), net("fd00::2/128")]);
}

#[test]
fn a_cluster_tells_its_nodes_and_ranges() {
    let node = |name: &str, address: &str, range: &str| {
        let node = Node {
            name: name.to_owned(),
            addresses: vec![ip(address)],
            pod_cidrs: vec![net(range)],
            zone: None,
            ready: true,
        };
        (name.to_owned(), Arc::new(node))
    };
    let pod = |address: &str| Endpoint { pod: Some("p".to_owned()), ..endpoint(address, "ready") };
    let mut all = inventory(
        vec![service("a", &["172.16.0.1"], &[])],
        vec![slice(
            "s",
            "a",
            &[],
            vec![
                pod("10.0.2.1"),
                pod("10.0.7.1"),
                pod("10.0.7.9"),
                pod("10.0.1.11"),
                endpoint("192.0.2.1", "ready"),
            ],
        )],
    );
    all.nodes = [node("n1", "10.0.1.11", "10.0.2.0/25"), node("n2", "10.0.1.12", "10.0.2.128/25")].into();
    let told = ranges(&all, &Ranges::default());
    assert_eq!(
        told,
        Ranges {
            services: vec![net("172.16.0.1/32")],
            pods: vec![net("10.0.2.0/24")],
            nodes: vec![ip("10.0.1.11"), ip("10.0.1.12")],
            seen_pods: vec![net("10.0.7.0/24")],
        }
    );
    let configured = Ranges {
        services: vec![net("172.16.0.0/16")],
        pods: vec![net("10.0.0.0/21")],
        nodes: vec![ip("10.0.1.99")],
        seen_pods: vec![],
    };
    assert_eq!(ranges(&all, &configured), configured);
}

#[test]
fn seen_pods_are_few_ranges_however_many_pods_there_are() {
    let endpoints: Vec<Endpoint> = (0..2000_u32)
        .map(|n| {
            let address = IpAddr::from(std::net::Ipv4Addr::from(0x0a00_0001 + n * 65_536 / 8));
            Endpoint { addresses: vec![address], pod: Some("p".to_owned()), ..endpoint("10.0.0.1", "ready") }
        })
        .collect();
    let all = inventory(vec![], vec![slice("s", "a", &[], endpoints)]);
    let seen = ranges(&all, &Ranges::default()).seen_pods;
    assert!(seen.len() <= 32 && seen.iter().any(|net| net.contains(&ip("10.0.0.1"))), "{seen:?}");
}
