use super::*;
use crate::cluster::{
    kubernetes::{
        Limits,
        kind::{Cidrs, Nodes, Services, Slices},
    },
    model::{Endpoint, Node, Slice},
};

fn shared(objects: usize) -> Shared {
    Shared::new(String::from("here"), Limits { objects, ..Limits::default() })
}

fn slice(name: &str, endpoints: usize) -> Decoded<Slices> {
    let endpoint = |number: usize| Endpoint {
        addresses: vec![std::net::IpAddr::from([10, 0, 2, u8::try_from(number).unwrap()])],
        ready: true,
        serving: true,
        terminating: false,
        node: None,
        zone: None,
        zone_hints: Vec::new(),
        node_hints: Vec::new(),
        pod: None,
    };
    let id = (String::from("a"), name.to_owned());
    let endpoints = (0..endpoints).map(endpoint).collect();
    let model = Slice { id: id.clone(), service: None, ports: Vec::new(), endpoints };
    Decoded { key: id, name: format!("a/{name}"), model: Some(model), odd: None }
}

fn node(name: &str) -> Decoded<Nodes> {
    let model =
        Node { name: name.to_owned(), addresses: Vec::new(), pod_cidrs: Vec::new(), zone: None, ready: true };
    Decoded { key: name.to_owned(), name: name.to_owned(), model: Some(model), odd: None }
}

fn list<K: Kind>(shared: &Shared, objects: impl IntoIterator<Item = Decoded<K>>) {
    let mut gathered = Gathered::<K>::new(shared.limits.objects);
    objects.into_iter().for_each(|object| gathered.put(object));
    shared.replace(gathered);
}

fn listed(objects: usize) -> Shared {
    let shared = shared(objects);
    list::<Services>(&shared, []);
    list::<Slices>(&shared, []);
    list::<Nodes>(&shared, []);
    list::<Cidrs>(&shared, []);
    shared
}

fn endpoints(shared: &Shared) -> Vec<(String, usize)> {
    let inventory = shared.observe().inventory;
    inventory.slices.values().map(|slice| (slice.id.1.clone(), slice.endpoints.len())).collect()
}

#[test]
fn the_needed_kinds_must_be_listed_and_the_others_tried() {
    let shared = shared(100);
    list::<Slices>(&shared, [slice("x", 1)]);
    shared.trouble(Resource::Nodes, Some(Problem::NotServed { server: String::from("s") }));
    list::<Cidrs>(&shared, []);
    assert!(!shared.observe().health.synced);
    assert_eq!(shared.observe().health.current_at, None);
    assert!(endpoints(&shared).is_empty());
    list::<Services>(&shared, []);
    let seen = shared.observe();
    assert!(seen.health.synced && seen.health.current_at.is_some());
    assert_eq!(endpoints(&shared), [(String::from("x"), 1)]);
}

#[test]
fn one_that_only_fails_is_never_whole() {
    let shared = shared(100);
    list::<Slices>(&shared, []);
    for resource in [Resource::Services, Resource::Nodes, Resource::Cidrs] {
        shared.trouble(resource, Some(Problem::NotServed { server: String::from("s") }));
    }
    assert!(!shared.observe().health.synced);
}

#[test]
fn nothing_changed_is_the_same_inventory() {
    let shared = listed(100);
    list(&shared, [slice("x", 1)]);
    let before = shared.observe().inventory;
    shared.put(slice("x", 1));
    shared.current(Resource::Slices);
    list(&shared, [slice("x", 1)]);
    assert!(Arc::ptr_eq(&before, &shared.observe().inventory));
    shared.put(slice("x", 2));
    assert!(!Arc::ptr_eq(&before, &shared.observe().inventory));
}

#[test]
fn what_a_list_does_not_have_is_gone() {
    let shared = listed(100);
    list(&shared, [slice("x", 1), slice("y", 2)]);
    list(&shared, [slice("y", 2)]);
    assert_eq!(endpoints(&shared), [(String::from("y"), 2)]);
}

#[test]
fn no_more_is_kept_than_allowed_whichever_way_it_comes() {
    let shared = listed(10);
    list(&shared, [node("n1"), node("n2")]);
    // Each slice counts for itself and its endpoints.
    list(&shared, [slice("a", 3), slice("b", 3), slice("c", 3)]);
    assert_eq!(endpoints(&shared), [(String::from("a"), 3), (String::from("b"), 3)]);
    assert!(shared.observe().health.problem.unwrap().contains("some endpointslices are left out"));
    shared.put(slice("d", 0));
    assert_eq!(endpoints(&shared).len(), 2);
    // One that grows beyond leaves nothing old behind, and makes room.
    shared.put(slice("a", 4));
    assert_eq!(endpoints(&shared), [(String::from("b"), 3)]);
    shared.put(slice("d", 3));
    shared.remove::<Slices>(String::from("a/b"), &(String::from("a"), String::from("b")));
    shared.put(slice("e", 3));
    assert_eq!(endpoints(&shared), [(String::from("d"), 3), (String::from("e"), 3)]);
    list(&shared, [slice("e", 3)]);
    assert_eq!(shared.observe().health.problem, None);
}

#[test]
fn ranges_of_all_objects_are_put_together() {
    let shared = listed(100);
    let range = |name: &str, ranges: &[&str]| Decoded::<Cidrs> {
        key: name.to_owned(),
        name: name.to_owned(),
        model: Some(ranges.iter().map(|text| text.parse().unwrap()).collect()),
        odd: None,
    };
    list(
        &shared,
        [range("b", &["172.16.0.0/16", "fd00::/112"]), range("a", &["172.31.0.0/20", "172.16.0.0/16"])],
    );
    let ranges: Vec<String> =
        shared.observe().inventory.service_cidrs.iter().map(ToString::to_string).collect();
    assert_eq!(ranges, ["172.16.0.0/16", "172.31.0.0/20", "fd00::/112"]);
}

#[test]
fn odd_objects_are_told_until_they_are_well_or_gone() {
    let shared = listed(100);
    let odd =
        |name: &str| Decoded::<Slices> { model: None, odd: Some(format!("{name} is odd")), ..slice(name, 1) };
    list(&shared, [odd("x"), odd("y"), slice("z", 1)]);
    assert_eq!(shared.observe().health.problem.unwrap(), "2 endpointslices are odd: x is odd");
    shared.put(slice("x", 1));
    assert_eq!(shared.observe().health.problem.unwrap(), "1 endpointslices are odd: y is odd");
    shared.remove::<Slices>(String::from("a/y"), &(String::from("a"), String::from("y")));
    assert_eq!(shared.observe().health.problem, None);
    (0..1000).for_each(|number| shared.put(odd(&number.to_string())));
    assert!(shared.observe().health.problem.unwrap().starts_with("100 or more endpointslices are odd: "));
}
