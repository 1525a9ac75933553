use super::*;
use std::net::IpAddr;
use std::time::Duration;

fn cluster(lab: &Lab, body: &str) -> Cluster {
    let config = lab.good(&format!("[clusters.prod]\n{body}"));
    config.cluster("prod").unwrap().clone()
}

/// The codes of what is found, with all that is said.
fn found(lab: &Lab, text: &str) -> Vec<(Severity, &'static str, String)> {
    let list = match lab.load(text) {
        Err(found) => found.iter().cloned().collect(),
        Ok(config) => config.warnings,
    };
    list.into_iter().map(|one| (one.severity, one.code, one.to_string())).collect()
}

fn refused(body: &str, code: &str, part: &str) {
    let lab = Lab::new();
    let text = format!("[clusters.prod]\n{body}\n");
    let found = found(&lab, &text);
    let hit = found
        .iter()
        .any(|(severity, found, said)| (*severity, *found) == (Severity::Error, code) && said.contains(part));
    assert!(hit, "{text}\nwanted {code} with {part:?}, found {found:#?}");
}

#[test]
fn a_cluster_needs_no_more_than_a_source() {
    let lab = Lab::new();
    let prod = cluster(&lab, "objects = \"./services.yaml\"");
    assert_eq!(
        prod,
        Cluster {
            name: "prod".to_owned(),
            service_cidrs: vec![],
            pod_cidrs: vec![],
            nodes: vec![],
            services: ServiceMode::Translate,
            source: Some(ClusterSource::Objects(lab.base().join("./services.yaml"))),
            zone: None,
            ping: true,
            internal_local: InternalLocal::Cluster,
            stale_after: Duration::from_secs(600),
            connections: 262_144,
        }
    );
}

#[test]
fn every_key_of_a_cluster_is_taken() {
    let lab = Lab::new();
    lab.write("kubeconfig", "", 0o600);
    let prod = cluster(
        &lab,
        r#"service_cidrs = ["172.16.0.0/16", "fd00:172:16::/112"]
           pod_cidrs = ["10.0.2.0/24"]
           nodes = ["10.0.1.11", "fd00::11"]
           services = "translate-and-masquerade"
           kubernetes = { kubeconfig = "./kubeconfig", context = "prod" }
           zone = "zone-a"
           ping = false
           internal_local = "refuse"
           stale_after = "1h"
           connections = 1000000"#,
    );
    let nets = |list: &[ipnet::IpNet]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(nets(&prod.service_cidrs), ["172.16.0.0/16", "fd00:172:16::/112"]);
    assert_eq!(nets(&prod.pod_cidrs), ["10.0.2.0/24"]);
    assert_eq!(prod.nodes, ["10.0.1.11".parse::<IpAddr>().unwrap(), "fd00::11".parse().unwrap()]);
    assert_eq!(prod.services, ServiceMode::TranslateAndMasquerade);
    let kubeconfig = Some(lab.base().join("./kubeconfig"));
    assert_eq!(prod.source, Some(ClusterSource::Kubernetes { kubeconfig, context: Some("prod".to_owned()) }));
    assert_eq!((prod.zone.as_deref(), prod.ping), (Some("zone-a"), false));
    assert_eq!(prod.internal_local, InternalLocal::Refuse);
    assert_eq!((prod.stale_after, prod.connections), (Duration::from_secs(3600), 1_000_000));
}

#[test]
fn within_a_cluster_the_api_needs_no_kubeconfig() {
    let prod = cluster(&Lab::new(), "kubernetes = { in_cluster = true }");
    assert_eq!(prod.source, Some(ClusterSource::Kubernetes { kubeconfig: None, context: None }));
}

#[test]
fn who_only_routes_needs_no_source() {
    let prod = cluster(&Lab::new(), "services = \"route\"\nservice_cidrs = [\"172.16.0.0/16\"]");
    assert_eq!((prod.services, prod.source), (ServiceMode::Route, None));
}

#[test]
fn a_cluster_without_sense_is_refused() {
    let both = "objects = \"./x\"\nkubernetes = { in_cluster = true }";
    refused("", "missing-key", "kubectl get services,endpointslices -A -o yaml");
    refused("services = \"translate-and-masquerade\"", "missing-key", "services = \"route\"");
    refused(both, "contradiction", "both `kubernetes` and `objects`");
    refused("kubernetes = {}", "missing-key", "in_cluster = true");
    refused("kubernetes = { in_cluster = false }", "missing-key", "kubeconfig");
    refused("kubernetes = { in_cluster = true, kubeconfig = \"./x\" }", "contradiction", "in a Pod");
    refused("kubernetes = { in_cluster = true, context = \"x\" }", "contradiction", "leave it out");
    refused("kubernetes = { kubeconfig = \"./x\", context = \"\" }", "bad-name", "get-contexts");
    refused("kubernetes = { kubconfig = \"./x\" }", "unknown-key", "did you mean `kubeconfig`");
    refused("objects = \"\"", "bad-path", "write a file's path");
    refused("service = \"route\"", "unknown-key", "did you mean `services`");
    refused("services = \"translated\"", "unknown-word", "did you mean \"translate\"");
}

#[test]
fn values_of_a_cluster_without_sense_are_refused() {
    let with =
        |line: &str, code: &str, part: &str| refused(&format!("objects = \"./x\"\n{line}"), code, part);
    with("service_cidrs = [\"172.16.0.1/16\"]", "bad-address", "write \"172.16.0.0/16\"");
    with("service_cidrs = [\"0.0.0.0/0\"]", "bad-address", "/8 and longer");
    with("service_cidrs = [\"fc00::/7\"]", "bad-address", "/32 and longer");
    with("service_cidrs = [\"127.0.0.0/8\"]", "bad-address", "that hosts can have");
    with("service_cidrs = [\"::ffff:10.0.0.0/112\"]", "bad-address", "that hosts can have");
    with("service_cidrs = [\"prod\"]", "bad-address", "write a prefix");
    with("service_cidrs = \"172.16.0.0/16\"", "wrong-type", "put it in brackets");
    with("service_cidrs = []", "out-of-range", "leave it out");
    with("service_cidrs = [\"172.16.0.0/16\", \"172.16.0.0/16\"]", "overlap", "listed twice");
    with("service_cidrs = [\"172.16.0.0/16\", \"172.16.4.0/24\"]", "overlap", "smaller one");
    with("service_cidrs = [\"10.96.0.0/12\"]\npod_cidrs = [\"10.0.0.0/8\"]", "overlap", "Pods' own ranges");
    with("nodes = [\"node1\"]", "bad-address", "kubectl get nodes -o wide");
    with("nodes = [\"10.0.0.1\", \"10.0.0.1\"]", "overlap", "listed twice");
    with("nodes = [\"127.0.0.1\"]", "bad-address", "InternalIP");
    with("zone = \"\"", "bad-name", "topology.kubernetes.io/zone");
    with("zone = \"a b\"", "bad-name", "topology.kubernetes.io/zone");
    with("stale_after = \"1s\"", "out-of-range", "at least 10s");
    with("connections = 12", "out-of-range", "4096 to 16777216");
    with("internal_local = \"local\"", "unknown-word", "\"refuse\"");
    let lab = Lab::new();
    let list: Vec<String> = (0..65).map(|n| format!("\"10.{n}.0.0/16\"")).collect();
    let text = format!("[clusters.prod]\nobjects = \"./x\"\npod_cidrs = [{}]\n", list.join(", "));
    assert!(lab.bad(&text).to_string().contains("more than 64 entries"));
    assert!(lab.bad("[clusters.\"a b\"]\nobjects = \"./x\"\n").to_string().contains("bad-name"));
}

#[test]
fn two_clusters_cannot_have_the_same_service_addresses() {
    let lab = Lab::new();
    let text = r#"
[clusters.one]
objects = "./one.yaml"
service_cidrs = ["10.96.0.0/12"]
[clusters.two]
objects = "./two.yaml"
service_cidrs = ["172.16.0.0/16", "10.100.0.0/16"]
"#;
    let refused = lab.bad(text);
    let error = refused.iter().find(|one| one.code == "overlap").unwrap();
    assert_eq!((error.line, error.column), (7, 35));
    assert!(error.message.contains("10.100.0.0/16 would belong to `two`"), "{error}");
    lab.good(&text.replace("10.100.0.0/16", "10.112.0.0/16"));
}

#[test]
fn services_that_no_peer_can_ask_for_are_told() {
    let lab = Lab::new();
    let with = |range: &str| {
        let text = format!("{PEER}[clusters.prod]\nobjects = \"./x\"\nservice_cidrs = [\"{range}\"]\n");
        found(&lab, &text)
    };
    assert!(with("172.16.0.0/16").is_empty());
    assert!(with("172.16.9.0/24").is_empty());
    let warnings = with("10.96.0.0/12");
    assert!(
        matches!(&warnings[..], [(Severity::Warning, "unreachable-services", said)] if said.contains("`local`"))
    );
}

#[test]
fn a_kubeconfig_that_is_not_there_is_told() {
    let lab = Lab::new();
    let text = format!("{PEER}[clusters.prod]\nkubernetes = {{ kubeconfig = \"./none\" }}\n");
    let found = found(&lab, &text);
    assert!(matches!(&found[..], [(Severity::Warning, "missing-file", _)]), "{found:?}");
}

mod references {
    use std::net::IpAddr;

    use super::*;
    use crate::config::{Discovered, Part, Reference};

    const TEXT: &str = "[peers.office]\nremote = \"any\"\nlocal_id = \"a.example\"\nremote_id = \"b.example\"\n\
        auth = { psk_file = \"office.psk\" }\n[peers.office.children.lan]\nlocal = LOCAL\nremote = [\"192.168.10.0/24\"]\n\
        [clusters.prod]\nobjects = \"services.yaml\"\n";

    fn told() -> BTreeMap<String, Discovered> {
        let nets = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let prod = Discovered {
            services: nets(&["172.16.0.0/16", "fd00:172:16::/112"]),
            pods: nets(&["10.0.2.0/24"]),
            nodes: nets(&["10.0.1.11/32"]),
        };
        BTreeMap::from([("prod".to_owned(), prod)])
    }

    fn loaded(
        local: &str,
        more: &str,
        discovered: BTreeMap<String, Discovered>,
    ) -> Result<Config, Diagnostics> {
        let lab = Lab::new();
        lab.write("skybridge.toml", TEXT.replace("LOCAL", local) + more, 0o600);
        load(&Inputs {
            file: lab.base().join("skybridge.toml"),
            environment: Vec::new(),
            unix_now: NOW,
            discovered,
        })
    }

    fn local(config: &Config) -> Vec<String> {
        config.peers[0]
            .ike
            .children
            .iter()
            .flat_map(|child| child.local.iter())
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_clusters_ranges_stand_in_selectors_as_it_told_them_of_the_families_that_the_peer_has() {
        let config = loaded("[\"cluster:prod/services\", \"cluster:prod/pods\"]", "", told()).unwrap();
        assert_eq!(local(&config), ["172.16.0.0/16", "10.0.2.0/24"]);
        let parts: Vec<_> = config.discovering.iter().map(|one| (one.cluster.as_str(), one.part)).collect();
        assert_eq!(parts, [("prod", Part::Services), ("prod", Part::Pods)]);
    }

    #[test]
    fn what_is_configured_goes_before_what_was_told() {
        let config = loaded("[\"cluster:prod/pods\"]", "pod_cidrs = [\"10.9.0.0/16\"]\n", told()).unwrap();
        assert_eq!(local(&config), ["10.9.0.0/16"]);
        assert!(config.discovering.is_empty());
    }

    #[test]
    fn a_child_waits_until_its_cluster_has_told() {
        let config = loaded("[\"cluster:prod/pods\"]", "", BTreeMap::new()).unwrap();
        assert!(config.peers[0].ike.children.is_empty());
        assert!(config.warnings.iter().any(|warning| warning.code == "not-yet-known"));
        assert_eq!(config.discovering, [Reference { cluster: "prod".to_owned(), part: Part::Pods }]);
    }

    #[test]
    fn a_reference_to_nothing_is_an_error_that_says_what_there_is() {
        for (local, said) in [
            ("[\"cluster:test/pods\"]", "the clusters are: prod"),
            ("[\"cluster:prod/pod\"]", "cluster:prod/pods"),
            ("[\"cluster:prod\"]", "cluster:prod/services"),
        ] {
            let errors = loaded(local, "", told()).unwrap_err().to_string();
            assert!(errors.contains(said), "{errors}");
        }
    }

    #[test]
    fn what_a_cluster_told_is_a_change_of_the_peers_that_refer_to_it() {
        let text = "[\"10.9.0.0/16\", \"cluster:prod/pods\"]";
        let (before, after) = (loaded(text, "", BTreeMap::new()).unwrap(), loaded(text, "", told()).unwrap());
        assert_eq!(before.diff(&after).changed.len(), 1);
        assert!(after.diff(&after).is_empty());
    }

    #[test]
    fn more_selectors_than_can_be_negotiated_are_an_error() {
        let mut many = told();
        let nodes =
            (0..300_u32).map(|number| IpAddr::from(std::net::Ipv4Addr::from(0x0a00_0100 + number)).into());
        many.get_mut("prod").unwrap().nodes = nodes.collect();
        let errors = loaded("[\"cluster:prod/nodes\"]", "", many).unwrap_err().to_string();
        assert!(errors.contains("300 selectors"), "{errors}");
    }
}
