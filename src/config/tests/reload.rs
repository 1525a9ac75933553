use super::*;

fn names(list: &[crate::ike::config::PeerName]) -> Vec<&str> {
    list.iter().map(crate::ike::config::PeerName::as_str).collect()
}

fn branch() -> String {
    let text = PEER.replace("office]", "branch]").replace("office.children", "branch.children");
    text.replace("203.0.113.7", "203.0.113.8")
        .replace("office.example", "branch.example")
        .replace("192.168.10", "192.168.11")
}

#[test]
fn a_reload_tells_which_peers_changed() {
    let lab = Lab::new();
    let old = lab.good(&format!("{PEER}{}", branch()));
    assert!(old.diff(&lab.good(&format!("{PEER}{}", branch()))).is_empty());
    let new = PEER.replace("start = \"wait\"", "start = \"connect\"")
        + &branch().replace("branch]", "other]").replace("branch.children", "other.children");
    let changes = old.diff(&lab.good(&new));
    assert_eq!(names(&changes.changed), ["office"]);
    assert_eq!(names(&changes.removed), ["branch"]);
    assert_eq!(names(&changes.added), ["other"]);
    assert!(changes.unchanged.is_empty() && changes.restart.is_empty());
}

#[test]
fn a_new_key_in_the_same_file_is_a_change() {
    let lab = Lab::new();
    let old = lab.good(&format!("{PEER}{}", branch().replace("office.psk", "old.psk")));
    lab.write("office.psk", "a new key that is long enough", 0o600);
    let changes = old.diff(&lab.good(&format!("{PEER}{}", branch().replace("office.psk", "old.psk"))));
    assert_eq!((names(&changes.changed), names(&changes.unchanged)), (vec!["office"], vec!["branch"]));
}

#[test]
fn endpoint_settings_are_applied_or_take_a_restart() {
    let lab = Lab::new();
    let old = lab.good(PEER);
    let with = |line: &str| old.diff(&lab.good(&format!("[endpoint]\n{line}\n{PEER}")));
    assert_eq!(with("ike_port = 1500").restart, ["ike_port"]);
    assert_eq!(with("replay_window = 8192").restart, ["replay_window"]);
    assert_eq!(with("cookie_threshold = 7").restart, ["half-open thresholds"]);
    assert_eq!(with("dataplane = { workers = 2 }").restart, ["dataplane.workers"]);
    assert_eq!(with("dataplane = { offload = false }").restart, ["dataplane.offload"]);
    assert_eq!(with("dataplane = { polling = \"off\" }").applied, ["dataplane.polling"]);
    assert_eq!(with("log.level = \"debug\"").applied, ["log.level"]);
    assert_eq!(with("when_stopped = \"clear\"").applied, ["when_stopped"]);
}

#[test]
fn a_reload_tells_which_clusters_changed() {
    let lab = Lab::new();
    let with = |clusters: &str| lab.good(&format!("{PEER}{clusters}"));
    let old = with("[clusters.a]\nobjects = \"./a.yaml\"\n[clusters.b]\nobjects = \"./b.yaml\"\n");
    assert!(old.diff(&old.clone()).is_empty());
    let new =
        with("[clusters.b]\nobjects = \"./b.yaml\"\nping = false\n[clusters.c]\nservices = \"route\"\n");
    let changes = old.diff(&new);
    assert_eq!(changes.clusters, ["a", "b", "c"]);
    assert!(!changes.is_empty() && changes.restart.is_empty() && changes.applied.is_empty());
}
