use super::*;
use serde_json::{Value, json};

fn recorded(name: &str) -> Vec<Value> {
    let path = format!("{}/tests/data/kube/{name}", env!("CARGO_MANIFEST_DIR"));
    let list: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let kind = list["kind"].as_str().unwrap().strip_suffix("List").unwrap().to_owned();
    let version = list["apiVersion"].clone();
    let items = list["items"].as_array().unwrap().iter().cloned();
    items
        .map(|mut item| {
            item["kind"] = json!(kind);
            item["apiVersion"] = version.clone();
            item
        })
        .collect()
}

fn proper<T>(decode: impl FnOnce(&mut Oddities) -> Option<T>) -> Option<T> {
    let mut odd = Oddities::default();
    let decoded = decode(&mut odd);
    assert!(odd.is_empty(), "{odd}");
    decoded
}

fn recorded_service(name: &str) -> Service {
    let items = recorded("list-services.json");
    let item = items.into_iter().find(|item| item["metadata"]["name"] == name).unwrap();
    proper(|odd| service(&serde_json::from_value(item).unwrap(), odd)).unwrap()
}

fn recorded_slice(service: &str) -> Slice {
    let items = recorded("list-endpointslices.json");
    let named = |item: &Value| item["metadata"]["labels"]["kubernetes.io/service-name"] == service;
    let item = items.into_iter().find(named).unwrap();
    proper(|odd| slice(&serde_json::from_value(item).unwrap(), odd)).unwrap()
}

fn made_service(spec: Value) -> (Option<Service>, Oddities) {
    let mut odd = Oddities::default();
    let object = json!({
        "kind": "Service", "apiVersion": "v1",
        "metadata": { "name": "x", "namespace": "default" }, "spec": spec,
    });
    (service(&serde_json::from_value(object).unwrap(), &mut odd), odd)
}

fn made_slice(mut object: Value) -> (Option<Slice>, Oddities) {
    let mut odd = Oddities::default();
    object["kind"] = json!("EndpointSlice");
    object["apiVersion"] = json!("discovery.k8s.io/v1");
    if object.get("metadata").is_none() {
        let labels = json!({ "kubernetes.io/service-name": "x" });
        object["metadata"] = json!({ "name": "x-1", "namespace": "default", "labels": labels });
    }
    if object.get("addressType").is_none() {
        object["addressType"] = json!("IPv4");
    }
    (slice(&serde_json::from_value(object).unwrap(), &mut odd), odd)
}

fn ips(list: &[&str]) -> Vec<IpAddr> {
    list.iter().map(|text| text.parse().unwrap()).collect()
}

fn id(namespace: &str, name: &str) -> ServiceId {
    ServiceId { namespace: namespace.to_owned(), name: name.to_owned() }
}

#[test]
fn every_recorded_object_is_taken_without_a_complaint() {
    for item in recorded("list-services.json") {
        assert!(proper(|odd| service(&serde_json::from_value(item.clone()).unwrap(), odd)).is_some());
    }
    for item in recorded("list-endpointslices.json") {
        assert!(proper(|odd| slice(&serde_json::from_value(item.clone()).unwrap(), odd)).is_some());
    }
    for item in recorded("list-nodes.json") {
        assert!(proper(|odd| node(&serde_json::from_value(item.clone()).unwrap(), odd)).is_some());
    }
}

#[test]
fn a_service_says_where_it_is() {
    let dns = recorded_service("dns");
    assert_eq!((dns.kind, dns.cluster_ips), (ServiceKind::ClusterIp, ips(&["172.16.0.10"])));
    let ports: Vec<_> = dns.ports.iter().map(|port| (port.name.as_str(), port.protocol, port.port)).collect();
    let wanted =
        [("dns", Protocol::Udp, 53), ("dns-tcp", Protocol::Tcp, 53), ("metrics", Protocol::Tcp, 9153)];
    assert_eq!(ports, wanted);
    let dual = recorded_service("dual").cluster_ips;
    assert!(dual.len() == 2 && dual[0].is_ipv4() && dual[1].is_ipv6(), "{dual:?}");
    assert!(recorded_service("six").cluster_ips[0].is_ipv6());
}

#[test]
fn what_has_no_cluster_address_says_so() {
    let headless = recorded_service("headless");
    assert_eq!((headless.kind, headless.cluster_ips), (ServiceKind::Headless, vec![]));
    let external = recorded_service("external");
    assert_eq!((external.kind, external.cluster_ips), (ServiceKind::ExternalName, vec![]));
    let (pending, odd) = made_service(json!({ "clusterIP": "" }));
    assert_eq!((pending.unwrap().cluster_ips, odd.count()), (vec![], 0));
}

#[test]
fn policies_of_a_service() {
    assert_eq!(recorded_service("affinity").affinity, Some(Duration::from_secs(600)));
    assert_eq!(recorded_service("nginx").affinity, None);
    let clients = |seconds: Value| {
        let config = json!({ "clientIP": { "timeoutSeconds": seconds } });
        let spec = json!({ "sessionAffinity": "ClientIP", "sessionAffinityConfig": config });
        made_service(spec).0.unwrap().affinity.unwrap().as_secs()
    };
    assert_eq!(clients(Value::Null), 10_800);
    assert_eq!(clients(json!(0)), 10_800);
    assert_eq!(clients(json!(-5)), 10_800);
    assert_eq!(clients(json!(2_000_000_000)), 86_400);
    assert!(recorded_service("local").internal_local && !recorded_service("nginx").internal_local);
    assert_eq!(recorded_service("close").distribution, Some(Distribution::SameZone));
    assert_eq!(recorded_service("samezone").distribution, Some(Distribution::SameZone));
    assert_eq!(recorded_service("samenode").distribution, Some(Distribution::SameNode));
    let (later, odd) = made_service(json!({ "trafficDistribution": "PreferTheMoon" }));
    assert_eq!((later.unwrap().distribution, odd.count()), (None, 0));
}

#[test]
fn a_slice_says_where_the_endpoints_are() {
    let mysql = recorded_slice("mysql");
    assert_eq!(mysql.service, Some(id("default", "mysql")));
    assert_eq!(mysql.ports, [SlicePort { name: String::new(), protocol: Protocol::Tcp, port: Some(3306) }]);
    assert_eq!(
        mysql.endpoints,
        [Endpoint {
            addresses: ips(&["10.0.2.150"]),
            ready: true,
            serving: true,
            terminating: false,
            node: Some("node2".to_owned()),
            zone: Some("zone-b".to_owned()),
            zone_hints: vec![],
            node_hints: vec![],
            pod: Some("mysql-0".to_owned()),
        }]
    );
    let near = recorded_slice("samenode");
    assert_eq!(
        (&near.endpoints[0].zone_hints[..], &near.endpoints[1].node_hints[..]),
        (&["zone-a".to_owned()][..], &["node2".to_owned()][..])
    );
}

#[test]
fn null_endpoints_and_ports_are_none() {
    let empty = recorded_slice("empty");
    assert!(empty.endpoints.is_empty() && empty.ports.is_empty());
    assert_eq!(empty.service, Some(id("default", "empty")));
}

#[test]
fn conditions_that_are_not_said_count_as_the_api_says() {
    let states = |conditions: Value| {
        let endpoints = json!([{ "addresses": ["10.0.0.1"], "conditions": conditions }]);
        let slice = made_slice(json!({ "endpoints": endpoints })).0.unwrap();
        let one = &slice.endpoints[0];
        (one.ready, one.serving, one.terminating)
    };
    assert_eq!(states(Value::Null), (true, true, false));
    assert_eq!(states(json!({})), (true, true, false));
    assert_eq!(states(json!({ "ready": false })), (false, false, false));
    assert_eq!(states(json!({ "ready": null, "serving": null, "terminating": null })), (true, true, false));
    assert_eq!(states(json!({ "ready": false, "serving": true, "terminating": true })), (false, true, true));
    assert_eq!(states(json!({ "ready": true, "serving": false })), (true, false, false));
}

#[test]
fn a_slice_of_names_is_none() {
    let endpoints = json!([{ "addresses": ["db.example.com"] }]);
    let (none, odd) = made_slice(json!({ "addressType": "FQDN", "endpoints": endpoints }));
    assert_eq!((none, odd.count()), (None, 0));
}

#[test]
fn a_node_says_its_addresses_ranges_and_zone() {
    let items = recorded("list-nodes.json");
    let one = proper(|odd| node(&serde_json::from_value(items[0].clone()).unwrap(), odd)).unwrap();
    let nets: Vec<String> = one.pod_cidrs.iter().map(ToString::to_string).collect();
    assert_eq!((one.name.as_str(), one.addresses), ("node1", ips(&["10.0.1.11", "fd00:10:1::11"])));
    assert_eq!(
        (nets, one.zone.as_deref()),
        (vec!["10.0.2.0/25".into(), "fd00:10:2:1::/80".into()], Some("zone-a"))
    );
    assert!(one.ready);
    let mut later = items[0].clone();
    later["status"]["conditions"] = json!([{ "type": "Ready", "status": "Unknown" }]);
    assert!(!node(&serde_json::from_value(later).unwrap(), &mut Oddities::default()).unwrap().ready);
}

#[test]
fn the_ranges_of_services() {
    let items = recorded("list-servicecidrs.json");
    let ranges = |item: &Value, odd: &mut Oddities| {
        let found = service_cidr(&serde_json::from_value(item.clone()).unwrap(), odd);
        found.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let mut odd = Oddities::default();
    assert_eq!(ranges(&items[0], &mut odd), ["172.16.0.0/16", "fd00:172:16::/112"]);
    assert!(odd.is_empty());
    let mut item = items[0].clone();
    item["spec"]["cidrs"] = json!(["0.0.0.0/0", "::/0", "127.0.0.0/8", "10.96.0.7/12", "10.96.0.0/12", "x"]);
    assert_eq!(ranges(&item, &mut odd), ["10.96.0.0/12"]);
    assert_eq!(odd.count(), 4);
}

#[test]
fn what_makes_no_sense_is_left_out_and_told() {
    let (x, odd) = made_service(json!({
        "clusterIPs": ["172.16.0.1", "127.0.0.1", "0.0.0.0", "224.0.0.1", "::ffff:10.0.0.1", "169.254.169.254", "no"],
        "ports": [
            { "port": 0 }, { "port": -1 }, { "port": 65536 }, { "port": 80, "protocol": "QUIC" }, { "port": 80 },
            { "port": 80 }, { "port": 81, "name": "\u{1b}[31m" },
        ],
    }));
    let x = x.unwrap();
    assert_eq!(x.cluster_ips, ips(&["172.16.0.1"]));
    assert_eq!(x.ports, [ServicePort { name: String::new(), protocol: Protocol::Tcp, port: 80 }]);
    assert_eq!(odd.count(), 6 + 5);
    let said = odd.to_string();
    assert!(said.contains("Service default/x: \"127.0.0.1\"") && said.contains("and 3 more"), "{said}");
    let (x, odd) = made_slice(json!({
        "ports": [{ "port": null }, { "port": 70000, "name": "a" }],
        "endpoints": [
            { "addresses": [] }, { "addresses": ["node.example.com"] }, { "addresses": ["127.0.0.1", "10.0.0.2"] },
        ],
    }));
    let x = x.unwrap();
    assert_eq!((x.ports.len(), x.ports[0].port), (1, None));
    assert_eq!((x.endpoints.len(), odd.count()), (1, 3));
    assert_eq!(x.endpoints[0].addresses, ips(&["10.0.0.2"]));
}

#[test]
fn what_has_no_proper_name_is_left_out() {
    for metadata in [
        json!({}),
        json!({ "name": "" }),
        json!({ "name": "a\nb" }),
        json!({ "name": "x".repeat(254) }),
        json!({ "name": "x", "namespace": "a b" }),
    ] {
        let (none, odd) = made_slice(json!({ "metadata": metadata }));
        assert_eq!((none, odd.count()), (None, 1));
    }
    let (some, odd) = made_slice(json!({ "metadata": { "name": "x" } }));
    let some = some.unwrap();
    assert_eq!((some.id, some.service), (("default".to_owned(), "x".to_owned()), None));
    assert!(odd.is_empty());
}

#[test]
fn what_one_object_takes_is_bounded() {
    let endpoints: Vec<Value> =
        (0..5000).map(|n| json!({ "addresses": [format!("10.0.{}.{}", n / 250, n % 250 + 1)] })).collect();
    let (some, odd) =
        made_slice(json!({ "endpoints": endpoints, "ports": vec![json!({ "port": 80 }); 3000] }));
    assert_eq!(some.unwrap().endpoints.len(), MOST_ENDPOINTS);
    assert_eq!(odd.count(), 2);
    assert!(odd.to_string().contains("5000 endpoints, of which the first 4096"), "{odd}");
    let addresses: Vec<String> = (1..200).map(|n| format!("10.0.0.{n}")).collect();
    let (some, _) = made_slice(json!({ "endpoints": [{ "addresses": addresses }] }));
    assert_eq!(some.unwrap().endpoints[0].addresses.len(), MOST_ADDRESSES);
    let mut odd = Oddities::default();
    (0..1000).for_each(|_| odd.note("\u{7}".repeat(10_000)));
    assert!((odd.count(), odd.texts().len()) == (1000, 8) && odd.to_string().len() < 20_000);
}
