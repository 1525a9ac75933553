use super::*;

const TUN: u32 = 7;
const WAN: u32 = 2;

fn desired(prefixes: &[&str], peers: &[&str]) -> Desired {
    Desired {
        tun: "sky0".into(),
        routes: prefixes
            .iter()
            .map(|prefix| TunnelRoute {
                prefix: prefix.parse().unwrap(),
                mtu: None,
                advmss: None,
                local: Vec::new(),
            })
            .collect(),
        peers: peers.iter().map(|peer| peer.parse().unwrap()).collect(),
        ..Desired::default()
    }
}

fn foreign(prefix: &str, metric: u32, protocol: u8, gateway: Option<&str>) -> Route {
    Route {
        protocol,
        oif: Some(WAN),
        gateway: gateway.map(|hop| hop.parse().unwrap()),
        kind: RouteKind::Unicast,
        ..unreachable(prefix.parse().unwrap(), metric)
    }
}

fn made(desired: &Desired, routes: &[Route]) -> Plan {
    plan(&View { desired, tun: Some(TUN), routes, addresses: &[] })
}

fn texts(routes: &[Route]) -> Vec<String> {
    routes.iter().map(|route| route.describe(|_| None)).collect()
}

#[test]
fn additions_begin_with_the_blocks_and_removals_end_with_them() {
    let wanted = desired(&["10.7.0.0/16"], &[]);
    let old = made(&desired(&["10.8.0.0/16"], &[]), &[]).wanted;
    let plan = made(&wanted, &old);
    let added: Vec<Route> = plan.add.iter().map(|(route, _)| route.clone()).collect();
    assert_eq!(texts(&added), ["unreachable 10.7.0.0/16 metric 60", "10.7.0.0/16 dev if7 metric 50"]);
    assert_eq!(texts(&plan.remove), ["10.8.0.0/16 dev if7 metric 50", "unreachable 10.8.0.0/16 metric 60"]);
}

#[test]
fn no_packet_of_a_network_that_becomes_narrower_or_wider_meets_a_block() {
    let wide = made(&desired(&["10.7.0.0/16"], &[]), &[]).wanted;
    let narrower = made(&desired(&["10.7.1.0/24"], &[]), &wide);
    let added: Vec<Route> = narrower.add.iter().map(|(route, _)| route.clone()).collect();
    assert_eq!(texts(&added), ["10.7.1.0/24 dev if7 metric 50", "unreachable 10.7.1.0/24 metric 60"]);
    assert_eq!(
        texts(&narrower.remove),
        ["10.7.0.0/16 dev if7 metric 50", "unreachable 10.7.0.0/16 metric 60"]
    );
    let wider = made(&desired(&["10.7.0.0/16"], &[]), &narrower.wanted);
    let added: Vec<Route> = wider.add.iter().map(|(route, _)| route.clone()).collect();
    assert_eq!(texts(&added), ["unreachable 10.7.0.0/16 metric 60", "10.7.0.0/16 dev if7 metric 50"]);
    assert_eq!(texts(&wider.remove), ["unreachable 10.7.1.0/24 metric 60", "10.7.1.0/24 dev if7 metric 50"]);
}

#[test]
fn what_is_there_is_left_alone() {
    let wanted = desired(&["10.7.0.0/16", "0.0.0.0/0", "fd00::/8"], &["203.0.113.9"]);
    let mut there = vec![foreign("0.0.0.0/0", 0, 4, Some("198.51.100.1"))];
    let first = made(&wanted, &there);
    there.extend(first.wanted);
    let second = made(&wanted, &there);
    assert!(second.add.is_empty() && second.remove.is_empty(), "{second:?}");
}

#[test]
fn routes_of_others_are_never_removed() {
    let there = [foreign("10.8.0.0/16", 50, 4, None), foreign("10.7.0.0/16", 60, 186, None)];
    assert!(made(&desired(&["10.9.0.0/16"], &[]), &there).remove.is_empty());
}

#[test]
fn a_route_of_the_widest_prefix_is_two_halves_and_a_host_route_stays_whole() {
    let plan = made(&desired(&["::/0", "192.0.2.1/32"], &[]), &[foreign("192.0.2.1/32", 0, 4, None)]);
    let tunnels: Vec<String> =
        plan.wanted.iter().filter(|r| r.kind == RouteKind::Unicast).map(|r| r.prefix.to_string()).collect();
    assert_eq!(tunnels, ["192.0.2.1/32", "::/1", "8000::/1"]);
}

#[test]
fn a_directly_connected_network_is_not_taken_away() {
    let plan = made(&desired(&["192.168.10.0/24"], &[]), &[foreign("192.168.10.0/24", 0, 2, None)]);
    assert_eq!(plan.findings[0].code, "route-connected");
    assert!(plan.wanted.iter().all(|route| route.prefix == "192.168.10.0/24".parse().unwrap()));
}

#[test]
fn a_peer_behind_a_blackhole_is_not_sent_through_it() {
    let blackhole = Route { kind: RouteKind::Other(6), oif: None, ..foreign("203.0.113.0/25", 0, 4, None) };
    let default = foreign("0.0.0.0/0", 0, 4, Some("198.51.100.1"));
    let plan = made(&desired(&["203.0.113.9/32"], &["203.0.113.9"]), &[blackhole, default]);
    assert!(texts(&plan.wanted).contains(&"unreachable 203.0.113.9/32 metric 40".into()));
    assert_eq!(plan.findings[0].code, "no-underlay");
}

#[test]
fn the_source_is_from_the_narrowest_selector_and_not_the_uplinks() {
    let own = |index, address: &str| Address {
        index,
        address: address.parse().unwrap(),
        prefix_len: 24,
        usable: true,
        temporary: false,
    };
    let addresses = [own(WAN, "10.1.0.2"), own(3, "10.2.0.1"), own(4, "10.3.0.1")];
    let hint = |local: &[&str]| {
        let local: Vec<IpNet> = local.iter().map(|net| net.parse().unwrap()).collect();
        source_hint("10.7.0.0/16".parse().unwrap(), &local, TUN, &[WAN], &addresses).map(|a| a.to_string())
    };
    assert_eq!(hint(&["10.0.0.0/8"]).as_deref(), Some("10.2.0.1"));
    assert_eq!(hint(&["10.0.0.0/8", "10.3.0.0/16"]).as_deref(), Some("10.3.0.1"));
    assert_eq!(hint(&["10.1.0.0/16"]).as_deref(), Some("10.1.0.2"));
    assert_eq!(hint(&["172.16.0.0/12", "fd00::/8"]), None);
}
