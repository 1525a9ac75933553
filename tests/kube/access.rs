//! Credentials: those that are right, those that are not, and those that change.

use std::{fs, time::Duration};

use k8s_openapi::api::rbac::v1::ClusterRole;
use serde_json::Value;
use skybridge::cluster::kubernetes::{self, KubernetesSettings};

use crate::{
    recorded::{BEGIN, Kind, World},
    server::{Api, Ask, Reply, Seen, settings},
};

fn follow(settings: KubernetesSettings) -> Seen {
    Seen(kubernetes::watch(settings))
}

/// Follows the server with another kubeconfig.
fn with(api: &Api, kubeconfig: &str) -> Seen {
    fs::write(api.file("other"), kubeconfig).unwrap();
    follow(settings(&api.file("other")))
}

#[tokio::test]
async fn a_token_that_is_replaced_is_used() {
    let api = Api::start().await;
    for kind in Kind::ALL {
        api.next(kind, Ask::Stream, Reply::Ends);
        api.next(kind, Ask::Watch, Reply::Ends);
    }
    let mut seen = api.watch();
    seen.until_known(&api.inventory(BEGIN)).await;
    api.set_token("token-2");
    let mut api = api;
    api.down().await;
    api.up().await;
    let told = seen.until_told(&["401", "appliance/kubernetes/rbac.yaml"]).await;
    assert_eq!(*told.inventory, api.inventory(BEGIN));
    fs::write(api.file("token"), "token-2").unwrap();
    seen.until_known(&api.inventory(BEGIN)).await;
}

#[tokio::test]
async fn a_token_is_read_before_each_request_and_the_last_one_stays_if_its_file_goes() {
    let api = Api::start().await;
    // Watches that end at once and properly, so that there are requests, all on living connections.
    api.always_all(&Reply::Live);
    api.always(Kind::Services, Ask::Watch, Reply::Lines(vec![World::bookmark(Kind::Services, BEGIN, false)]));
    api.next(Kind::Services, Ask::Stream, Reply::Ends);
    let mut seen = api.watch();
    seen.until_known(&api.inventory(BEGIN)).await;
    fs::write(api.file("token"), "token-2").unwrap();
    api.set_token("token-2");
    let asked = api.asked().len();
    api.until_asked("more", |all| all.len() > asked + 5).await;
    seen.until_known(&api.inventory(BEGIN)).await;
    fs::remove_file(api.file("token")).unwrap();
    let asked = api.asked().len();
    api.until_asked("more", |all| all.len() > asked + 5).await;
    seen.until_known(&api.inventory(BEGIN)).await;
}

#[tokio::test]
async fn a_kubeconfig_that_is_replaced_is_used() {
    let api = Api::start().await;
    api.set_token("token-9");
    let mut seen = with(&api, &api.kubeconfig("certificate-authority: ca.pem", "token: token-8"));
    let told = seen.until_told(&["does not accept the credentials (401)"]).await;
    assert!(!told.health.problem.unwrap().contains("token-8"));
    fs::write(api.file("other"), api.kubeconfig("certificate-authority: ca.pem", "token: token-9")).unwrap();
    seen.until_known(&api.inventory(BEGIN)).await;
}

#[tokio::test]
async fn a_permission_that_is_missing_is_told_and_used_once_it_is_there() {
    let api = Api::start().await;
    api.always(Kind::Services, Ask::Stream, Reply::Recorded("403-watch-services-before-binding.http"));
    api.always(Kind::Slices, Ask::Stream, Reply::Recorded("403-list-endpointslices-before-binding.http"));
    let mut seen = api.watch();
    let told = seen
        .until_told(&[
            "services, endpointslices: ",
            "cannot watch resource \"services\"",
            "kubectl apply -f appliance/kubernetes/rbac.yaml",
        ])
        .await;
    assert!(!told.health.synced);
    for kind in [Kind::Services, Kind::Slices] {
        api.always(kind, Ask::Stream, Reply::Live);
    }
    seen.until_known(&api.inventory(BEGIN)).await;
}

#[tokio::test]
async fn a_server_that_has_just_started_and_forbids_what_is_allowed_is_asked_again() {
    let api = Api::start().await;
    for kind in Kind::ALL {
        for _ in 0..3 {
            api.next(kind, Ask::Stream, Reply::Recorded("startup-403-list-services.http"));
        }
    }
    api.watch().until_known(&api.inventory(BEGIN)).await;
}

#[tokio::test]
async fn another_certificate_authority_is_told() {
    let (api, other) = (Api::start().await, Api::start().await);
    fs::copy(other.file("ca.pem"), api.file("other-ca.pem")).unwrap();
    let mut seen = with(&api, &api.kubeconfig("certificate-authority: other-ca.pem", "token: token-1"));
    seen.until_told(&["TLS with https://127.0.0.1:", "certificate authority in the kubeconfig"]).await;
    assert!(api.asked().is_empty(), "nothing is said to a server that is not trusted");
}

#[tokio::test]
async fn a_certificate_for_another_name_is_told() {
    let api = Api::start().await;
    let cluster = "certificate-authority: ca.pem\n    tls-server-name: kubernetes.example";
    let mut seen = with(&api, &api.kubeconfig(cluster, "token: token-1"));
    seen.until_told(&["TLS with https://127.0.0.1:", "tls-server-name"]).await;
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_is_told() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ =
                tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let api = Api::start().await;
    let text = api.kubeconfig("certificate-authority: ca.pem", "token: token-1");
    let server = text.lines().find(|line| line.contains("server:")).unwrap();
    let mut seen = with(&api, &text.replace(server, &format!("    server: https://127.0.0.1:{port}")));
    seen.until_told(&[&format!("https://127.0.0.1:{port}"), "TLS"]).await;
    serving.abort();
}

#[tokio::test]
async fn a_kubeconfig_that_is_missing_is_told_and_read_once_it_is_there() {
    let api = Api::start().await;
    let mut seen = follow(settings(&api.file("later")));
    let told = seen.until_told(&["the kubeconfig", "later cannot be read: No such file"]).await;
    assert!(told.health.source.ends_with("later"));
    fs::copy(api.file("kubeconfig"), api.file("later")).unwrap();
    seen.until_known(&api.inventory(BEGIN)).await;
}

#[tokio::test]
async fn a_folder_is_no_kubeconfig() {
    let api = Api::start().await;
    follow(settings(&api.file(""))).until_told(&["it is no file"]).await;
}

#[tokio::test]
async fn a_context_that_is_missing_is_told_with_those_that_exist() {
    let api = Api::start().await;
    let mut wanted = api.settings();
    wanted.context = Some(String::from("elsewhere"));
    follow(wanted).until_told(&["has no context \"elsewhere\"; it has main"]).await;
    let text =
        api.kubeconfig("certificate-authority: ca.pem", "token: t").replace("current-context: main\n", "");
    with(&api, &text).until_told(&["has no current-context; set `context` to one of main"]).await;
    let mut wanted = settings(&api.file("other"));
    fs::write(api.file("other"), text.replace("token: t", "token: token-1")).unwrap();
    wanted.context = Some(String::from("main"));
    follow(wanted).until_known(&api.inventory(BEGIN)).await;
}

#[tokio::test]
async fn what_an_appliance_does_not_do_is_told() {
    let api = Api::start().await;
    let ca = "certificate-authority: ca.pem";
    let exec =
        "exec: {apiVersion: client.authentication.k8s.io/v1, command: /bin/false, interactiveMode: Never}";
    with(&api, &api.kubeconfig(ca, exec)).until_told(&["uses `exec`, which is not supported"]).await;
    let provider = "auth-provider: {name: gcp, config: {cmd-path: /bin/false}}";
    with(&api, &api.kubeconfig(ca, provider)).until_told(&["uses `auth-provider`"]).await;
    let proxy = format!("{ca}\n    proxy-url: http://127.0.0.1:1");
    with(&api, &api.kubeconfig(&proxy, "token: token-1")).until_told(&["uses `proxy-url`"]).await;
    assert!(api.asked().is_empty());
}

#[tokio::test]
async fn credentials_that_cannot_be_read_are_told() {
    let api = Api::start().await;
    let ca = "certificate-authority: ca.pem";
    with(&api, &api.kubeconfig(ca, "tokenFile: nowhere")).until_told(&["nowhere cannot be read"]).await;
    with(&api, &api.kubeconfig("certificate-authority: nowhere.pem", "token: t"))
        .until_told(&["nowhere.pem"])
        .await;
    fs::write(api.file("bad.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    with(&api, &api.kubeconfig("certificate-authority: bad.pem", "token: t"))
        .until_told(&["the credentials cannot be used"])
        .await;
    with(&api, &api.kubeconfig(ca, "token: t").replace("https://127.0.0.1", "http://192.0.2.1"))
        .until_told(&["does not begin with https://"])
        .await;
}

#[tokio::test]
async fn a_kubeconfig_that_is_not_understood_is_told_without_its_text() {
    let api = Api::start().await;
    let broken = "apiVersion: v1\nkind: Config\nusers:\n- name: a\n  user: {token: very-secret, token: [}\n";
    let told = with(&api, broken).until_told(&["is not understood: it is no kubeconfig"]).await;
    assert!(!format!("{told:?}").contains("very-secret"));
}

#[tokio::test]
async fn outside_of_a_pod_a_pods_credentials_are_missing() {
    let mut wanted = KubernetesSettings::new(None, None);
    wanted.timing.gather = Duration::from_millis(1);
    follow(wanted).until_told(&["no credentials of a Pod here", "set `kubeconfig`"]).await;
}

#[test]
fn the_manifest_permits_what_is_asked_for_and_nothing_else() {
    let text =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/appliance/kubernetes/rbac.yaml")).unwrap();
    let objects: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    let find = |kind: &str| objects.iter().find(|object| object["kind"] == kind).unwrap();
    let role: ClusterRole = serde_json::from_value(find("ClusterRole").clone()).unwrap();
    let mut permitted = Vec::new();
    for rule in role.rules.unwrap() {
        assert_eq!(rule.verbs, ["list", "watch"]);
        assert_eq!((rule.resource_names, rule.non_resource_urls), (None, None));
        for (group, resource) in rule.api_groups.unwrap().iter().zip(rule.resources.unwrap()) {
            let api = if group.is_empty() { String::from("/api/v1") } else { format!("/apis/{group}/v1") };
            permitted.push(format!("{api}/{resource}"));
        }
    }
    permitted.sort();
    let mut asked = Kind::ALL.map(|kind| kind.path().to_owned());
    asked.sort();
    assert_eq!(permitted, asked);
    let account = &find("ServiceAccount")["metadata"];
    assert_eq!(find("ClusterRoleBinding")["subjects"][0]["name"], account["name"]);
    assert_eq!(find("ClusterRoleBinding")["subjects"][0]["namespace"], account["namespace"]);
    assert_eq!(
        find("Secret")["metadata"]["annotations"]["kubernetes.io/service-account.name"],
        account["name"]
    );
}
