use proptest::{collection::vec, prelude::*};

use super::*;

const NAMES: [&str; 3] = ["a", "b", "c"];
const PORTS: [&str; 3] = ["", "http", "admin"];

fn endpoints() -> impl Strategy<Value = Endpoint> {
    let zones = prop::sample::subsequence(vec!["x", "y"], 0..=2);
    (0..6_u8, any::<bool>(), any::<[bool; 3]>(), zones, 0..3_u8).prop_map(
        |(host, six, [ready, serving, terminating], zones, node)| Endpoint {
            addresses: vec![ip(&if six {
                format!("fd00::{}", host + 1)
            } else {
                format!("10.0.0.{}", host + 1)
            })],
            ready,
            serving,
            terminating,
            node: Some(format!("node{node}")),
            zone: None,
            zone_hints: zones.into_iter().map(str::to_owned).collect(),
            node_hints: vec![],
            pod: None,
        },
    )
}

fn slices() -> impl Strategy<Value = Slice> {
    let ports = vec((0..3_usize, 1..3_u16, 0..4_u8), 0..3);
    (0..4_usize, ports, vec(endpoints(), 0..5)).prop_map(|(of, ports, endpoints)| {
        let mut made = slice("", NAMES.get(of).copied().unwrap_or("gone"), &[], endpoints);
        made.ports = ports
            .into_iter()
            .map(|(name, port, kind)| SlicePort {
                name: PORTS[name].to_owned(),
                protocol: if kind == 0 { Protocol::Udp } else { Protocol::Tcp },
                port: (kind != 1).then_some(port),
            })
            .collect();
        made
    })
}

fn services() -> impl Strategy<Value = Vec<Service>> {
    let ips = prop::sample::subsequence(vec!["172.16.0.1", "172.16.0.2", "fd00:172::1"], 0..=3);
    let ports = vec((0..3_usize, 80..83_u16), 0..3);
    vec((ips, ports, any::<bool>()), 3).prop_map(|made| {
        let named = NAMES.iter().zip(made);
        named
            .map(|(name, (ips, ports, internal_local))| {
                let ports: Vec<_> = ports.into_iter().map(|(name, port)| (PORTS[name], port)).collect();
                Service { internal_local, ..service(name, &ips, &ports) }
            })
            .collect()
    })
}

fn scopes() -> impl Strategy<Value = Scope> {
    let zone = prop::option::of(prop::sample::select(vec!["x".to_owned(), "z".to_owned()]));
    (zone, any::<bool>(), any::<bool>()).prop_map(|(zone, refuse, ranges)| Scope {
        service_cidrs: if ranges { vec![net("172.16.0.0/31")] } else { vec![] },
        zone,
        internal_local: if refuse { InternalLocal::Refuse } else { InternalLocal::Cluster },
    })
}

fn named(slices: &[Slice]) -> Vec<Slice> {
    let name =
        |(n, one): (usize, &Slice)| Slice { id: ("default".to_owned(), format!("s{n}")), ..one.clone() };
    slices.iter().enumerate().map(name).collect()
}

/// The slices that a frontend's endpoints may come from, each with the port.
fn sources<'a>(all: &'a Inventory, one: &'a Frontend) -> impl Iterator<Item = (&'a Endpoint, u16)> {
    all.slices.values().filter(|slice| slice.service.as_ref() == Some(&one.service)).flat_map(move |slice| {
        let same = |own: &&SlicePort| own.name == one.port_name && own.protocol == one.protocol;
        let ports = slice.ports.iter().filter(same).filter_map(|own| own.port);
        ports.flat_map(move |port| slice.endpoints.iter().map(move |endpoint| (endpoint, port)))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_order_of_slices_does_not_matter(
        services in services(), made in vec(slices(), 0..6), seed in any::<prop::sample::Index>(), scope in scopes(),
    ) {
        let mut other = made.clone();
        other.reverse();
        if !other.is_empty() {
            let by = seed.index(other.len());
            other.rotate_left(by);
        }
        let (one, other) = (inventory(services.clone(), named(&made)), inventory(services, named(&other)));
        prop_assert_eq!(plan(&one, &scope), plan(&other, &scope));
    }

    #[test]
    fn every_backend_comes_from_a_slice_and_may_answer(
        services in services(), made in vec(slices(), 0..6), scope in scopes(),
    ) {
        let all = inventory(services, named(&made));
        let made = plan(&all, &scope);
        for one in &made.frontends {
            let service = &all.services[&one.service];
            prop_assert!(service.cluster_ips.contains(&one.vip));
            let sources: Vec<_> = sources(&all, one)
                .filter(|(endpoint, _)| endpoint.addresses[0].is_ipv4() == one.vip.is_ipv4())
                .collect();
            let ready = sources.iter().any(|(endpoint, _)| endpoint.ready);
            for backend in &one.backends {
                let of = |(endpoint, port): &&(&Endpoint, u16)| {
                    endpoint.addresses[0] == backend.address
                        && *port == backend.port
                        && endpoint.node == backend.node
                        && if ready { endpoint.ready } else { endpoint.serving && endpoint.terminating }
                };
                prop_assert!(sources.iter().find(of).is_some(), "{:?} of {:?}", backend, sources);
            }
            let refused = service.internal_local && scope.internal_local == InternalLocal::Refuse;
            prop_assert!(!refused || one.backends.is_empty());
            prop_assert!(refused || !ready || !one.backends.is_empty());
        }
    }

    #[test]
    fn a_plan_is_in_order_and_has_everything_once(
        services in services(), made in vec(slices(), 0..6), scope in scopes(),
    ) {
        let all = inventory(services, named(&made));
        let made = plan(&all, &scope);
        prop_assert!(made.frontends.is_sorted_by_key(|one| (one.vip, one.protocol, one.port)));
        let mut keys: Vec<_> = made.frontends.iter().map(|one| (one.vip, one.protocol, one.port)).collect();
        keys.dedup();
        prop_assert_eq!(keys.len(), made.frontends.len());
        for one in &made.frontends {
            prop_assert!(one.backends.is_sorted_by(|one, other| (one.address, one.port) < (other.address, other.port)));
        }
        let claims: usize = all
            .services
            .values()
            .map(|one| one.cluster_ips.len() * one.ports.len())
            .sum();
        let left_out = choose(&all, &scope).1;
        let missing: usize = left_out
            .iter()
            .map(|one| one.port.map_or(all.services[&one.service].ports.len(), |_| 1))
            .sum();
        prop_assert_eq!(claims, made.frontends.len() + missing);
    }
}
