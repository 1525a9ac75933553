//! What is known of a cluster while its API works as it should.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use serde_json::{Value, json};

use crate::{
    recorded::{self, BEGIN, END, Kind, World, data, inventory},
    server::{Api, Ask, Reply, Seen},
};

/// A Service with an address and one port.
fn service(number: u16) -> Value {
    json!({
        "kind": "Service", "apiVersion": "v1",
        "metadata": {"name": format!("s{number}"), "namespace": "many", "resourceVersion": "300"},
        "spec": {
            "clusterIP": format!("172.16.{}.{}", number / 250, number % 250 + 1),
            "clusterIPs": [format!("172.16.{}.{}", number / 250, number % 250 + 1)],
            "ports": [{"port": 80, "protocol": "TCP", "targetPort": 8080}],
        },
    })
}

fn many(count: u16) -> World {
    let mut world = World::recorded();
    let services = world.0.get_mut(&Kind::Services).unwrap();
    (0..count).for_each(|number| services.add(service(number)));
    world
}

#[tokio::test]
async fn what_the_api_lists_is_known() {
    let api = Api::start().await;
    let seen = api.watch().until_known(&api.inventory(BEGIN)).await;
    assert_eq!(seen.inventory.services.len(), 26);
    assert_eq!(seen.inventory.slices.len(), 28);
    assert_eq!(seen.inventory.nodes.len(), 2);
    assert_eq!(seen.inventory.service_cidrs.len(), 2);
    assert!(seen.health.source.starts_with("https://127.0.0.1:"), "{}", seen.health.source);
    assert!(seen.health.current_at.is_some());
}

#[tokio::test]
async fn events_lead_to_what_is_listed_afterwards() {
    let api = Api::start().await;
    let mut seen = api.watch();
    seen.until_known(&api.inventory(BEGIN)).await;
    api.advance(END);
    let after = seen.until_known(&api.inventory(END)).await;
    // And that is what kubectl printed after the changes.
    let text = data("kubectl-svc-endpointslices-all.yaml");
    let list: Value = serde_saphyr::from_str(&text).unwrap();
    let printed = inventory(list["items"].as_array().unwrap().iter().cloned());
    assert_eq!(after.inventory.services, printed.services);
    assert_eq!(after.inventory.slices, printed.slices);
}

#[tokio::test]
async fn recorded_answers_are_read_octet_by_octet_as_they_were() {
    let api = Api::start().await;
    for kind in Kind::ALL {
        api.always(kind, Ask::Stream, Reply::Recorded("422-stream-without-match.http"));
    }
    api.next(Kind::Services, Ask::List, Reply::Recorded("list-services.http"));
    api.next(Kind::Slices, Ask::List, Reply::Recorded("list-endpointslices.http"));
    api.next(Kind::Nodes, Ask::List, Reply::Recorded("list-nodes.http"));
    api.next(Kind::Cidrs, Ask::List, Reply::Recorded("list-servicecidrs.http"));
    api.next(Kind::Services, Ask::Watch, Reply::Recorded("watch-services.http"));
    api.next(Kind::Slices, Ask::Watch, Reply::Recorded("watch-endpointslices.http"));
    let mut seen = api.watch();
    let expected = api.inventory(END);
    seen.until("the recorded end", |seen| {
        seen.inventory.services == expected.services && seen.inventory.slices == expected.slices
    })
    .await;
    api.until_asked("from the list's version on", |asked| {
        asked.iter().any(|path| {
            path.starts_with("/api/v1/services?watch=true") && path.contains("resourceVersion=327&")
        })
    })
    .await;
}

#[tokio::test]
async fn a_recorded_streaming_list_is_read_as_it_was() {
    let api = Api::start().await;
    for kind in Kind::ALL {
        let lines = recorded::lines(&format!("stream-{}.jsonl", kind.plural()));
        api.next(kind, Ask::Stream, Reply::Open(lines));
    }
    api.watch().until_known(&api.inventory(END)).await;
}

#[tokio::test]
async fn an_old_storage_is_listed_instead() {
    let api = Api::start().await;
    for kind in Kind::ALL {
        api.always(kind, Ask::Stream, Reply::Recorded("old-storage-stream-services.http"));
    }
    let mut seen = api.watch();
    seen.until_known(&api.inventory(BEGIN)).await;
    api.advance(END);
    seen.until_known(&api.inventory(END)).await;
    assert_eq!(
        api.asked().iter().filter(|path| path.contains("sendInitialEvents")).count(),
        4,
        "asked only once"
    );
    assert!(api.was_asked_for_compression());
}

#[tokio::test]
async fn a_server_that_refuses_streaming_lists_is_listed_instead() {
    for refusal in ["422-stream-without-match.http", "400-bad-resource-version.http"] {
        let api = Api::start().await;
        for kind in Kind::ALL {
            api.always(kind, Ask::Stream, Reply::Recorded(refusal));
        }
        let mut seen = api.watch();
        seen.until_known(&api.inventory(BEGIN)).await;
    }
}

#[tokio::test]
async fn a_server_that_never_says_that_this_is_all_is_listed_instead() {
    let api = Api::start().await;
    let some: Vec<String> = recorded::lines("stream-services.jsonl").into_iter().take(5).collect();
    api.always(Kind::Services, Ask::Stream, Reply::Open(some));
    let mut settings = api.settings();
    settings.timing.request = Duration::from_millis(500);
    let mut seen = Seen(skybridge::cluster::kubernetes::watch(settings));
    seen.until_known(&api.inventory(BEGIN)).await;
    api.until_asked_times(Kind::Services, Ask::List, 1).await;
}

#[tokio::test]
async fn pages_are_put_together() {
    let api = Api::start().await;
    api.always(Kind::Services, Ask::Stream, Reply::Recorded("422-stream-without-match.http"));
    for page in ["list-services-page1.http", "list-services-page2.http", "list-services-page3.http"] {
        api.next(Kind::Services, Ask::List, Reply::Recorded(page));
    }
    api.watch().until_known(&api.inventory(BEGIN)).await;
    let asked = api.asked();
    let pages: Vec<&String> =
        asked.iter().filter(|path| path.starts_with("/api/v1/services?limit=500")).collect();
    assert_eq!(pages.len(), 3);
    assert!(pages[1].ends_with(
        "&continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MzI3LCJzdGFydCI6Ii9kZWZhdWx0L2hlYWRsZXNzXHUwMDAwIn0"
    ));
}

#[tokio::test]
async fn a_list_that_expired_between_its_pages_is_read_without_pages() {
    let api = Api::start().await;
    api.always(Kind::Services, Ask::Stream, Reply::Recorded("422-stream-without-match.http"));
    api.next(Kind::Services, Ask::List, Reply::Recorded("list-services-page1.http"));
    api.next(Kind::Services, Ask::List, Reply::Recorded("410-list-services-expired-continue.http"));
    api.watch().until_known(&api.inventory(BEGIN)).await;
    assert!(api.asked().contains(&String::from("/api/v1/services")), "{:?}", api.asked());
}

#[tokio::test]
async fn compressed_lists_are_read() {
    let api = Api::start().await;
    api.always(Kind::Slices, Ask::Stream, Reply::Recorded("422-stream-without-match.http"));
    api.next(Kind::Slices, Ask::List, Reply::Recorded("list-endpointslices-large-gzip.http"));
    let seen = api.watch().until("the large slice", |seen| seen.health.synced).await;
    assert_eq!(seen.health.problem, None);
    let endpoints: usize = seen.inventory.slices.values().map(|slice| slice.endpoints.len()).sum();
    assert_eq!((seen.inventory.slices.len(), endpoints), (1, 1000));
}

#[tokio::test]
async fn a_large_slice_comes_as_one_event() {
    let api = Api::start().await;
    api.next(Kind::Slices, Ask::Watch, Reply::Recorded("watch-endpointslices-large.http"));
    api.next(Kind::Slices, Ask::Stream, Reply::Ends);
    let mut seen = api.watch();
    seen.until("1000 endpoints in a slice", |seen| {
        seen.inventory.slices.values().any(|slice| slice.endpoints.len() == 1000)
    })
    .await;
}

#[tokio::test]
async fn nothing_is_known_before_everything_is() {
    let api = Api::start().await;
    let (gate, reply) = Reply::gated();
    api.next(Kind::Slices, Ask::Stream, reply);
    let mut seen = api.watch();
    api.until_asked_times(Kind::Services, Ask::Stream, 1).await;
    let early = seen.until("a source", |seen| seen.health.source.starts_with("https://")).await;
    assert!(!early.health.synced);
    assert!(early.inventory.services.is_empty());
    assert_eq!(early.health.current_at, None);
    gate.send_replace(true);
    seen.until_known(&api.inventory(BEGIN)).await;
}

#[tokio::test]
async fn thousands_of_services_are_published_at_once() {
    let api = Api::with(many(5000)).await;
    let mut seen = api.watch();
    let mut counts = BTreeSet::new();
    seen.until("all of them", |seen| {
        counts.insert(seen.inventory.services.len());
        seen.inventory.services.len() > 5000
    })
    .await;
    assert_eq!(counts, BTreeSet::from([0, 5026]));
}

#[tokio::test]
async fn long_lists_come_in_pages() {
    let api = Api::with(many(1700)).await;
    api.always(Kind::Services, Ask::Stream, Reply::Recorded("old-storage-stream-services.http"));
    api.watch().until_known(&api.inventory(BEGIN)).await;
    let pages = api.asked().iter().filter(|path| path.starts_with("/api/v1/services?limit=500")).count();
    assert_eq!(pages, 4);
}

#[tokio::test]
async fn pages_that_are_too_large_become_smaller() {
    let api = Api::with(many(300)).await;
    api.always(Kind::Services, Ask::Stream, Reply::Recorded("old-storage-stream-services.http"));
    let mut settings = api.settings();
    settings.limits.page = 30_000;
    Seen(skybridge::cluster::kubernetes::watch(settings)).until_known(&api.inventory(BEGIN)).await;
    assert!(
        api.asked().iter().any(|path| path.starts_with("/api/v1/services?limit=31")),
        "{:?}",
        api.asked()
    );
}

#[tokio::test]
async fn an_object_larger_than_a_page_is_told() {
    let api = Api::start().await;
    api.always(Kind::Services, Ask::Stream, Reply::Recorded("old-storage-stream-services.http"));
    let mut settings = api.settings();
    settings.limits.page = 500;
    Seen(skybridge::cluster::kubernetes::watch(settings))
        .until_told(&["services: ", "a single object of more than 500 octets"])
        .await;
}

#[tokio::test]
async fn events_that_are_too_large_are_left_out_and_told() {
    let api = Api::start().await;
    let mut settings = api.settings();
    let long = "x".repeat(6000);
    settings.limits.event = 6000;
    let mut lines = recorded::lines("stream-services.jsonl");
    lines.insert(3, format!(r#"{{"type":"ADDED","object":{{"metadata":{{"name":"{long}"}}}}}}"#));
    api.next(Kind::Services, Ask::Stream, Reply::Open(lines));
    let mut seen = Seen(skybridge::cluster::kubernetes::watch(settings));
    seen.until_told(&["services of more than 6000 octets are left out"]).await;
    let told = seen.until("the rest", |seen| seen.health.synced).await;
    assert_eq!(told.inventory.services, api.inventory(END).services);
}

#[tokio::test]
async fn more_objects_than_are_kept_are_told() {
    let api = Api::with(many(200)).await;
    let mut settings = api.settings();
    settings.limits.objects = 150;
    let mut seen = Seen(skybridge::cluster::kubernetes::watch(settings));
    let told = seen.until_told(&["more objects than are kept", "services are left out"]).await;
    let inventory = told.inventory;
    let endpoints: usize = inventory.slices.values().map(|slice| slice.endpoints.len()).sum();
    assert!(inventory.services.len() + inventory.slices.len() + endpoints + inventory.nodes.len() <= 150);
}

#[tokio::test]
async fn an_odd_object_is_told_and_spoils_nothing_else() {
    for reply in [Reply::Live, Reply::Recorded("old-storage-stream-services.http")] {
        let mut world = World::recorded();
        let mut odd = service(7);
        odd["spec"]["ports"] = json!("eighty");
        world.0.get_mut(&Kind::Services).unwrap().add(odd);
        let api = Api::with(world).await;
        api.always(Kind::Services, Ask::Stream, reply);
        let mut seen = api.watch();
        let told = seen.until_told(&["1 services are odd: many/s7 is not understood"]).await;
        assert!(!told.health.problem.unwrap().contains("odd: many/s1 "));
        seen.until("all others", |seen| seen.inventory.services.len() == 26).await;
    }
}

#[tokio::test]
async fn an_object_that_becomes_odd_is_left_out_and_told_until_it_is_well_again() {
    let api = Api::start().await;
    let event = |version: u32, port: Value| {
        let mut object = service(1);
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        object["spec"]["ports"][0]["port"] = port;
        json!({"type": "MODIFIED", "object": object}).to_string()
    };
    api.next(Kind::Services, Ask::Stream, Reply::Ends);
    api.next(Kind::Services, Ask::Watch, Reply::Lines(vec![event(350, json!(80)), event(351, json!({}))]));
    let (gate, reply) = Reply::gated();
    api.next(Kind::Services, Ask::Watch, reply);
    let mut seen = api.watch();
    seen.until_told(&["many/s1 is not understood"]).await;
    let told = seen.until("all others", |seen| seen.health.synced).await;
    assert_eq!(told.inventory.services.len(), 26);
    api.until_asked_times(Kind::Services, Ask::Watch, 2).await;
    api.next(Kind::Services, Ask::Watch, Reply::Open(vec![event(352, json!(81))]));
    let mut api = api;
    api.down().await;
    api.up().await;
    drop(gate);
    seen.until("the object", |seen| seen.inventory.services.len() == 27 && seen.health.problem.is_none())
        .await;
}

#[tokio::test]
async fn what_has_not_changed_stays_the_same_object() {
    let mut api = Api::start().await;
    let mut seen = api.watch();
    let before = seen.until_known(&api.inventory(BEGIN)).await;
    api.down().await;
    api.compact(END);
    api.advance(END);
    api.up().await;
    let after = seen.until_known(&api.inventory(END)).await;
    let known = |id| before.inventory.services.get(id);
    let same = after
        .inventory
        .services
        .iter()
        .filter(|(id, new)| known(*id).is_some_and(|old| Arc::ptr_eq(old, new)));
    let equal = after.inventory.services.iter().filter(|(id, new)| known(*id) == Some(*new));
    assert_eq!(same.count(), equal.count());
}

#[tokio::test]
async fn everything_ends_when_nobody_listens() {
    let api = Api::start().await;
    let mut seen = api.watch();
    seen.until_known(&api.inventory(BEGIN)).await;
    drop(seen);
    api.until_left().await;
}
