//! What is known of a cluster while its API, or the way to it, fails.

use std::time::Duration;

use serde_json::json;
use skybridge::cluster::kubernetes::{self, KubernetesSettings};

use crate::{
    recorded::{self, BEGIN, END, Kind},
    server::{Api, Ask, Reply, Seen},
};

fn with(api: &Api, change: impl FnOnce(&mut KubernetesSettings)) -> Seen {
    let mut settings = api.settings();
    change(&mut settings);
    Seen(kubernetes::watch(settings))
}

#[tokio::test]
async fn a_watch_cut_anywhere_goes_on_where_it_was() {
    let api = Api::start().await;
    let mut seen = api.watch();
    seen.until_known(&api.inventory(BEGIN)).await;
    // Within the head, within sizes of chunks, within lines, between them.
    for kind in Kind::ALL {
        for at in (1..6000).step_by(97) {
            api.next(kind, Ask::Watch, Reply::Cut(at));
        }
    }
    api.advance(END);
    // The open watches end so that the cut ones begin.
    let mut api = api;
    api.down().await;
    api.up().await;
    seen.until_known(&api.inventory(END)).await;
}

#[tokio::test]
async fn a_list_cut_anywhere_is_read_again() {
    for ask in [Ask::Stream, Ask::List] {
        let api = Api::start().await;
        for kind in Kind::ALL {
            if ask == Ask::List {
                api.always(kind, Ask::Stream, Reply::Recorded("422-stream-without-match.http"));
            }
            for at in (0..8000).step_by(541) {
                api.next(kind, ask, Reply::Cut(at));
            }
        }
        api.watch().until_known(&api.inventory(BEGIN)).await;
    }
}

#[tokio::test]
async fn answers_octet_by_octet_are_read() {
    let api = Api::start().await;
    api.always_all(&Reply::Pieces(1));
    let mut seen = api.watch();
    seen.until_known(&api.inventory(BEGIN)).await;
    api.advance(END);
    seen.until_known(&api.inventory(END)).await;
}

#[tokio::test]
async fn pieces_of_any_size_are_read() {
    for size in [2, 3, 7, 64, 1000, 4097] {
        let api = Api::start().await;
        api.always_all(&Reply::Pieces(size));
        let mut seen = api.watch();
        seen.until_known(&api.inventory(BEGIN)).await;
        api.advance(END);
        seen.until_known(&api.inventory(END)).await;
    }
}

#[tokio::test]
async fn an_expired_version_within_a_watch_leads_to_a_list_and_the_old_state_stays_meanwhile() {
    let api = Api::start().await;
    let mut seen = api.watch();
    seen.until_known(&api.inventory(BEGIN)).await;
    let mut gates = Vec::new();
    for kind in Kind::ALL {
        let (gate, reply) = Reply::gated();
        api.next(kind, Ask::Stream, reply);
        gates.push(gate);
    }
    api.compact(END);
    let mut api = api;
    api.down().await;
    api.advance(END);
    api.up().await;
    for kind in Kind::ALL {
        api.until_asked_times(kind, Ask::Stream, 2).await;
    }
    let meanwhile = seen.0.borrow().clone();
    assert!(meanwhile.health.synced);
    assert_eq!(*meanwhile.inventory, api.inventory(BEGIN));
    gates.iter().for_each(|gate| {
        gate.send_replace(true);
    });
    seen.until_known(&api.inventory(END)).await;
}

#[tokio::test]
async fn an_expired_version_at_a_watchs_beginning_leads_to_a_list() {
    for answer in ["410-list-services-exact-old-rv.http", "watch-services-compacted-410.http"] {
        let api = Api::start().await;
        api.next(Kind::Services, Ask::Stream, Reply::Ends);
        api.next(Kind::Services, Ask::Watch, Reply::Recorded(answer));
        let mut seen = api.watch();
        api.until_asked_times(Kind::Services, Ask::Stream, 2).await;
        api.advance(END);
        seen.until_known(&api.inventory(END)).await;
    }
}

#[tokio::test]
async fn an_error_within_a_watch_leads_to_a_list() {
    for code in [403, 410, 429, 500, 504] {
        let api = Api::start().await;
        let status = json!({"kind": "Status", "status": "Failure", "message": "storage is (re)initializing", "code": code});
        let error = json!({"type": "ERROR", "object": status}).to_string();
        api.next(Kind::Slices, Ask::Stream, Reply::Ends);
        api.next(Kind::Slices, Ask::Watch, Reply::Lines(vec![error]));
        let mut seen = api.watch();
        api.until_asked_times(Kind::Slices, Ask::Stream, 2).await;
        api.advance(END);
        seen.until_known(&api.inventory(END)).await;
    }
}

#[tokio::test]
async fn what_is_no_event_leads_to_another_try_and_is_told() {
    let api = Api::start().await;
    api.next(Kind::Services, Ask::Stream, Reply::Lines(vec![String::from("<html>Welcome</html>")]));
    api.next(
        Kind::Services,
        Ask::Stream,
        Reply::Lines(vec![String::from(r#"{"type":"SURPRISE","object":{}}"#)]),
    );
    let (gate, reply) = Reply::gated();
    api.next(Kind::Services, Ask::Stream, reply);
    let mut seen = api.watch();
    seen.until_told(&["services: ", "no answer of the Kubernetes API", "SURPRISE"]).await;
    gate.send_replace(true);
    seen.until_known(&api.inventory(BEGIN)).await;
}

#[tokio::test]
async fn a_connection_that_died_silently_is_noticed() {
    let api = Api::start().await;
    for kind in Kind::ALL {
        // After what exists, and within an event.
        api.next(kind, Ask::Stream, Reply::Ends);
        api.next(kind, Ask::Watch, Reply::Stall(300));
    }
    api.always_all(&Reply::Bookmarks);
    let mut seen = with(&api, |settings| settings.timing.silence = Duration::from_millis(700));
    for kind in Kind::ALL {
        api.until_asked_times(kind, Ask::Watch, 1).await;
    }
    api.advance(END);
    seen.until_known(&api.inventory(END)).await;
    for kind in Kind::ALL {
        api.until_asked_times(kind, Ask::Stream, 2).await;
    }
}

#[tokio::test]
async fn a_server_that_takes_connections_and_says_nothing_is_told() {
    let api = Api::start().await;
    api.always_all(&Reply::Nothing);
    let mut seen = with(&api, |settings| {
        settings.timing.connect = Duration::from_millis(200);
        settings.timing.request = Duration::from_millis(200);
    });
    let told =
        seen.until_told(&["services, endpointslices, nodes, servicecidrs: ", "says nothing for 0.4 s"]).await;
    assert!(!told.health.synced);
    api.always_all(&Reply::Live);
    seen.until_known(&api.inventory(BEGIN)).await;
}

#[tokio::test]
async fn a_list_that_stalls_is_read_again() {
    let api = Api::start().await;
    for kind in Kind::ALL {
        api.next(kind, Ask::Stream, Reply::Stall(1000));
        api.next(kind, Ask::List, Reply::Stall(700));
    }
    let mut seen = with(&api, |settings| settings.timing.request = Duration::from_millis(500));
    seen.until_known(&api.inventory(BEGIN)).await;
}

#[tokio::test]
async fn without_bookmarks_lists_show_that_the_state_is_current() {
    let api = Api::start().await;
    let mut seen = with(&api, |settings| settings.timing.silence = Duration::from_millis(300));
    let first = seen.until_known(&api.inventory(BEGIN)).await.health.current_at;
    seen.until("a later time", |seen| seen.health.current_at > first && seen.health.problem.is_none()).await;
    api.until_asked_times(Kind::Services, Ask::Stream, 2).await;
}

#[tokio::test]
async fn bookmarks_show_that_the_state_is_current_and_move_the_version() {
    let api = Api::start().await;
    api.always_all(&Reply::Bookmarks);
    let mut seen = api.watch();
    let first = seen.until_known(&api.inventory(BEGIN)).await.health.current_at;
    // The only change to ranges is taken back: what counts is the bookmark after it.
    api.advance(END);
    seen.until("a later time", |seen| seen.health.current_at > first).await;
    seen.until_known(&api.inventory(END)).await;
    let mut api = api;
    api.down().await;
    api.compact(END);
    api.up().await;
    for kind in Kind::ALL {
        api.until_asked("a watch from the bookmark's version on", |asked| {
            asked.iter().any(|path| {
                path.starts_with(kind.path()) && path.contains(&format!("resourceVersion={END}&"))
            })
        })
        .await;
    }
    assert!(
        api.asked().iter().filter(|path| path.contains("sendInitialEvents")).count() == 4,
        "nothing is listed again"
    );
}

#[tokio::test]
async fn while_the_api_is_away_the_last_state_stays_and_its_age_is_told() {
    let mut api = Api::start().await;
    let mut seen = api.watch();
    let before = seen.until_known(&api.inventory(BEGIN)).await;
    api.down().await;
    let away = seen
        .until_told(&["services, endpointslices, nodes, servicecidrs: ", "cannot be reached", "refused"])
        .await;
    assert!(away.health.synced);
    assert_eq!(away.inventory, before.inventory);
    assert_eq!(away.health.current_at, before.health.current_at);
    // What vanishes meanwhile is gone afterwards, although no event ever says so.
    api.advance(END);
    api.compact(END);
    api.up().await;
    let after = seen.until_known(&api.inventory(END)).await;
    assert!(after.health.current_at > before.health.current_at);
    let gone = |slice: &(String, String)| slice.1 == "web2-l8m4c";
    assert!(before.inventory.slices.keys().any(gone));
    assert!(!after.inventory.slices.keys().any(gone));
}

#[tokio::test]
async fn an_api_that_is_away_at_the_beginning_is_waited_for() {
    let mut api = Api::start().await;
    api.down().await;
    let mut seen = api.watch();
    let told = seen.until_told(&["cannot be reached"]).await;
    assert!(!told.health.synced);
    api.up().await;
    seen.until_known(&api.inventory(BEGIN)).await;
}

#[tokio::test]
async fn a_server_that_shuts_down_or_is_killed_is_followed_again() {
    for (recording, end) in [("watch-server-shutdown.http", "460"), ("watch-server-killed.http", "516")] {
        let api = Api::start().await;
        api.next(Kind::Slices, Ask::Stream, Reply::Ends);
        api.next(Kind::Slices, Ask::Watch, Reply::Recorded(recording));
        let mut seen = api.watch();
        seen.until("the first list", |seen| seen.health.synced).await;
        api.until_asked_times(Kind::Slices, Ask::Watch, 2).await;
        let asked = api.asked();
        let last = asked.iter().rfind(|path| path.contains("endpointslices?watch=true")).unwrap();
        let version: u32 =
            last.split("resourceVersion=").nth(1).unwrap().split('&').next().unwrap().parse().unwrap();
        assert!(version >= end.parse().unwrap(), "{last}");
    }
}

#[tokio::test]
async fn a_version_that_the_api_does_not_have_yet_leads_to_a_list() {
    // As after its storage was restored from an older copy: the API answers and says nothing.
    let api = Api::start().await;
    assert!(recorded::lines("watch-services-future-rv.jsonl").is_empty());
    api.next(Kind::Services, Ask::Stream, Reply::Ends);
    api.next(Kind::Services, Ask::Watch, Reply::Lines(Vec::new()));
    let mut seen = api.watch();
    api.until_asked_times(Kind::Services, Ask::Stream, 2).await;
    seen.until_known(&api.inventory(BEGIN)).await;
}

#[tokio::test]
async fn storage_that_is_gone_is_told_and_the_state_stays() {
    let api = Api::start().await;
    let mut seen = with(&api, |settings| {
        settings.timing.silence = Duration::from_millis(300);
        settings.timing.request = Duration::from_millis(500);
    });
    seen.until("the first list", |seen| seen.health.synced).await;
    // Watches are silent, as are streaming lists; lists end with a timeout of the server.
    for kind in Kind::ALL {
        api.always(kind, Ask::Stream, Reply::Open(recorded::lines("stream-services-storage-gone.jsonl")));
        api.always(kind, Ask::List, Reply::Recorded("504-list-services-storage-gone.http"));
        api.always(kind, Ask::Watch, Reply::Open(recorded::lines("watch-storage-gone.jsonl")));
    }
    let told = seen
        .until_told(&["answers 504: Timeout: request did not complete within the allotted timeout"])
        .await;
    assert_eq!(*told.inventory, api.inventory(BEGIN));
    api.always_all(&Reply::Bookmarks);
    seen.until_known(&api.inventory(BEGIN)).await;
}

#[tokio::test]
async fn nodes_and_ranges_may_be_forbidden() {
    let api = Api::start().await;
    let forbidden = Reply::Recorded("403-list-services-before-binding.http");
    for kind in [Kind::Nodes, Kind::Cidrs] {
        api.always(kind, Ask::Stream, forbidden.clone());
    }
    let mut seen = api.watch();
    let told = seen.until("the rest", |seen| seen.health.synced && seen.health.problem.is_some()).await;
    assert_eq!(told.inventory.services, api.inventory(BEGIN).services);
    assert!(told.inventory.nodes.is_empty());
    let problem = told.health.problem.unwrap();
    assert!(problem.starts_with("nodes: https://127.0.0.1:"), "{problem}");
    assert!(
        problem.contains("403") && problem.contains("kubectl apply -f appliance/kubernetes/rbac.yaml"),
        "{problem}"
    );
    api.always(Kind::Nodes, Ask::Stream, Reply::Live);
    seen.until("nodes", |seen| seen.inventory.nodes.len() == 2 && seen.health.problem.is_none()).await;
}

#[tokio::test]
async fn a_cluster_without_range_objects_is_a_whole_one() {
    let api = Api::start().await;
    for ask in [Ask::Stream, Ask::List] {
        api.always(Kind::Cidrs, ask, Reply::Recorded("404-discovery-v1beta1.http"));
    }
    let mut expected = api.inventory(BEGIN);
    expected.service_cidrs.clear();
    api.watch().until_known(&expected).await;
}

#[tokio::test]
async fn a_server_that_is_no_kubernetes_api_is_told() {
    let api = Api::start().await;
    for kind in Kind::ALL {
        for ask in [Ask::Stream, Ask::List] {
            api.always(kind, ask, Reply::Recorded("404-discovery-v1beta1.http"));
        }
    }
    let told = api.watch().until_told(&["does not serve this (404)"]).await;
    assert!(!told.health.synced);
}
