use proptest::prelude::*;

use super::*;
use crate::cluster::kubernetes::kind::{Cidrs, Nodes, Services, Slices};

const WATCH: &str = include_str!("../../../../tests/kube/transcripts/watch-services.jsonl");
const LIST: &[u8] = include_bytes!("../../../../tests/data/kube/list-services.json");

fn lines() -> Vec<String> {
    let entries = WATCH.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    entries.filter_map(|entry| entry["line"].as_str().map(str::to_owned)).collect()
}

#[test]
fn recorded_events_are_understood() {
    let mut kinds = Vec::new();
    for line in lines() {
        kinds.push(match event::<Services>(line.as_bytes()).unwrap() {
            Event::Put { object, version } => {
                assert!(object.model.is_some() && object.odd.is_none() && version.is_some(), "{line}");
                "put"
            }
            Event::Removed { name, version, .. } => {
                assert!(name.starts_with("default/") && version.is_some());
                "removed"
            }
            Event::Bookmark { version, ends_initial } => {
                assert!(version.is_some() && !ends_initial);
                "bookmark"
            }
            Event::Error(refusal) => panic!("{refusal:?}"),
        });
    }
    assert_eq!(kinds.iter().filter(|kind| **kind == "put").count(), 10);
    assert_eq!(kinds.iter().filter(|kind| **kind == "removed").count(), 2);
    assert_eq!(kinds.iter().filter(|kind| **kind == "bookmark").count(), 3);
}

#[test]
fn a_bookmark_may_end_what_exists() {
    let line = br#"{"type":"BOOKMARK","object":{"kind":"Service","apiVersion":"v1","metadata":{"resourceVersion":"347",
        "annotations":{"k8s.io/initial-events-end":"true"}},"spec":{},"status":{"loadBalancer":{}}}}"#;
    let Ok(Event::Bookmark { version, ends_initial }) = event::<Services>(line) else { panic!() };
    assert_eq!((version.as_deref(), ends_initial), (Some("347"), true));
}

#[test]
fn an_error_keeps_its_code_and_words() {
    let line =
        br#"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",
        "message":"too old resource version: 327 (471)","reason":"Expired","code":410}}"#;
    let Ok(Event::Error(refusal)) = event::<Services>(line) else { panic!() };
    assert!(refusal.is_expired());
    assert_eq!(refusal.message, "too old resource version: 327 (471)");
    let Ok(Event::Error(refusal)) = event::<Services>(br#"{"type":"ERROR","object":{"code":"many"}}"#) else {
        panic!()
    };
    assert_eq!(refusal.code, 500);
}

#[test]
fn an_object_of_another_kind_is_odd() {
    let line = br#"{"type":"ADDED","object":{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{},"rows":[]}}"#;
    let Ok(Event::Put { object, version }) = event::<Services>(line) else { panic!() };
    assert!(object.model.is_none() && object.odd.is_some() && version.is_none());
}

#[test]
fn a_list_needs_a_version_and_may_be_empty() {
    let page = page::<Services>(br#"{"kind":"ServiceList","metadata":{"resourceVersion":"9"},"items":null}"#)
        .unwrap();
    assert_eq!((page.items.len(), page.version.as_str(), page.next), (0, "9", None));
    assert!(super::page::<Services>(b"{}").is_err());
    assert!(super::page::<Services>(br#"{"metadata":{},"items":[]}"#).is_err());
    assert!(super::page::<Services>(b"<html>").is_err());
}

#[test]
fn a_recorded_list_is_understood() {
    let page = page::<Services>(LIST).unwrap();
    assert_eq!((page.items.len(), page.version.as_str(), page.next), (26, "327", None));
    assert!(page.items.iter().all(|object| object.model.is_some() && object.odd.is_none()));
}

/// Octets with some of them changed.
fn changed(octets: &[u8], changes: &[(prop::sample::Index, u8)]) -> Vec<u8> {
    let mut octets = octets.to_vec();
    for (at, octet) in changes {
        let at = at.index(octets.len());
        octets[at] = *octet;
    }
    octets
}

fn all_kinds(octets: &[u8]) {
    let _ =
        (event::<Services>(octets), event::<Slices>(octets), event::<Nodes>(octets), event::<Cidrs>(octets));
    let _ = (page::<Services>(octets), page::<Slices>(octets), page::<Nodes>(octets), page::<Cidrs>(octets));
}

proptest! {
    #[test]
    fn nothing_that_is_sent_makes_it_panic(octets in prop::collection::vec(any::<u8>(), 0..200)) {
        all_kinds(&octets);
    }

    #[test]
    fn changed_events_do_not_make_it_panic(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
    ) {
        let lines = lines();
        all_kinds(&changed(which.get(&lines).as_bytes(), &changes));
    }

    #[test]
    fn changed_lists_do_not_make_it_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
    ) {
        all_kinds(&changed(LIST, &changes));
    }
}
