use std::fs;

use super::*;
use crate::cluster::{
    model::{ServiceId, ServiceKind},
    select,
};

fn recorded(name: &str) -> String {
    let path = format!("{}/tests/data/kube/{name}", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(path).unwrap()
}

fn taken(text: &str) -> Inventory {
    let parsed = parse::parse(text.as_bytes()).unwrap_or_else(|refused| panic!("{refused:?}"));
    assert!(parsed.odd.is_empty(), "{}", parsed.odd);
    parsed.inventory
}

fn refused(text: &str) -> (Option<(u64, u64)>, String) {
    let refused = parse::parse(text.as_bytes()).unwrap_err();
    (refused.at, refused.message)
}

fn odd(text: &str) -> (Inventory, String) {
    let parsed = parse::parse(text.as_bytes()).unwrap_or_else(|refused| panic!("{refused:?}"));
    assert!(!parsed.odd.is_empty());
    (parsed.inventory, parsed.odd.to_string())
}

fn counts(inventory: &Inventory) -> (usize, usize, usize) {
    (inventory.services.len(), inventory.slices.len(), inventory.nodes.len())
}

const SMALL: &str = "apiVersion: v1
kind: Service
metadata:
  name: x
spec:
  clusterIP: 172.16.0.1
  ports:
  - port: 80
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: x-1
  labels:
    kubernetes.io/service-name: x
addressType: IPv4
endpoints:
- addresses: [10.0.0.1]
ports:
- port: 8080
";

#[test]
fn everything_that_kubectl_prints_is_taken() {
    let all = taken(&recorded("kubectl-svc-endpointslices-all.yaml"));
    assert_eq!(counts(&all), (27, 28, 0));
    let payments = taken(&recorded("kubectl-svc-endpointslices-payments.json"));
    assert_eq!(counts(&payments), (2, 3, 0));
    // The same objects, in YAML and with what kubectl hides by default.
    assert_eq!(taken(&recorded("kubectl-svc-endpointslices-payments-managed-fields.yaml")), payments);
    let (single, said) = odd(&recorded("kubectl-svc-single.yaml"));
    assert_eq!(counts(&single), (1, 0, 0));
    assert!(said.contains("no EndpointSlice"), "{said}");
    let (several, slices, nodes) = counts(&taken(&recorded("kubectl-multi-document.yaml")));
    assert!(several > 3 && slices > 3 && nodes == 0, "{several} {slices} {nodes}");
}

#[test]
fn lists_as_the_api_prints_them_are_taken_too() {
    let text =
        recorded("list-services.json") + &recorded("list-endpointslices.json") + &recorded("list-nodes.json");
    let all = taken(&(text + &recorded("list-servicecidrs.json")));
    assert_eq!(all.nodes.len(), 2);
    assert!(all.services.len() > 20 && all.slices.len() > 20);
    let ranges: Vec<String> = all.service_cidrs.iter().map(ToString::to_string).collect();
    assert_eq!(ranges, ["172.16.0.0/16", "fd00:172:16::/112"]);
}

#[test]
fn nodes_and_ranges_count_where_they_are_given() {
    let text =
        recorded("kubectl-nodes.yaml") + "---\n" + &recorded("kubectl-servicecidrs.yaml") + "---\n" + SMALL;
    let all = taken(&text);
    assert_eq!((counts(&all), all.service_cidrs.len()), ((1, 1, 2), 2));
    let beta =
        recorded("kubectl-servicecidrs.yaml").replace("networking.k8s.io/v1", "networking.k8s.io/v1beta1");
    assert_eq!(taken(&(beta + "---\n" + SMALL)).service_cidrs.len(), 2);
}

#[test]
fn the_recorded_cluster_makes_a_plan() {
    let plan =
        select::plan(&taken(&recorded("kubectl-svc-endpointslices-all.yaml")), &select::Scope::default());
    let mysql = plan.frontends.iter().find(|one| one.service.name == "mysql").unwrap();
    assert_eq!((mysql.vip, mysql.port), ("172.16.0.33".parse().unwrap(), 3307));
    assert!(mysql.backends.iter().all(|one| one.port == 3306) && !mysql.backends.is_empty());
}

#[test]
fn other_kinds_are_passed_over() {
    let text =
        format!("apiVersion: v1\nkind: Secret\ndata: {{ x: eA== }}\n---\n{SMALL}---\n---\n# nothing\n");
    assert_eq!(counts(&taken(&text)), (1, 1, 0));
    // Another group's kind of the same name is another kind.
    let text =
        format!("apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {{ name: y }}\n---\n{SMALL}");
    assert_eq!(counts(&taken(&text)), (1, 1, 0));
}

#[test]
fn a_broken_file_is_told_with_line_and_column() {
    let broken = SMALL.replace("  clusterIP: 172.16.0.1", "  clusterIP: [172.16.0.1");
    let (at, message) = refused(&broken);
    assert!(at.is_some_and(|(line, _)| (6..=8).contains(&line)), "{at:?} {message}");
    let (at, message) = refused(&SMALL.replace("  ports:\n  - port: 80", "  ports:\n - port: 80"));
    assert!(at.is_some_and(|(line, column)| (7..=8).contains(&line) && column > 0), "{at:?} {message}");
    let (at, message) = refused(&SMALL.replace("  clusterIP:", "\tclusterIP:"));
    assert!(at.is_some_and(|(line, _)| (5..=6).contains(&line)), "{at:?} {message}");
    let (at, message) = refused("{\"kind\": \"List\",\n \"items\": [}");
    assert_eq!((at, message.as_str()), (Some((2, 12)), "expected value"));
    let (_, message) = refused("No resources found");
    assert_eq!(message, "expected mapping start");
}

#[test]
fn a_file_without_sense_is_told() {
    assert!(refused("").1.contains("neither Services nor EndpointSlices"));
    assert!(refused("kind: List\nitems: []\n").1.contains("neither Services nor EndpointSlices"));
    assert!(refused("kind: List\nitems: null\n").1.contains("neither"));
    assert!(refused("name: x\n").1.contains("no `kind`"));
    assert!(parse::parse(b"kind: \xff").unwrap_err().message.contains("not UTF-8 at octet 6"));
}

#[test]
fn a_list_that_was_cut_off_is_refused_wherever_it_was_cut() {
    let whole = recorded("kubectl-svc-endpointslices-all.yaml");
    let complete = taken(&whole);
    for at in (0..whole.len()).step_by(397) {
        if let Ok(parsed) = parse::parse(&whole.as_bytes()[..at]) {
            assert_eq!(parsed.inventory, complete, "cut at {at}");
        }
    }
    let whole = recorded("kubectl-svc-endpointslices-payments.json");
    let end = whole.trim_end().len();
    for at in (0..end).step_by(61) {
        assert!(parse::parse(&whole.as_bytes()[..at]).is_err(), "cut at {at}");
    }
}

#[test]
fn an_odd_object_is_left_out_and_told_with_its_line() {
    let text = "apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Service
  metadata: { name: bad }
  spec: { clusterIP: 172.16.0.2, ports: [{ port: eighty }] }
- apiVersion: v1
  kind: Service
  metadata: { name: good }
  spec: { clusterIP: 172.16.0.3, ports: [{ port: 80 }] }
- 7
- metadata: { name: what }
- apiVersion: discovery.k8s.io/v1beta1
  kind: EndpointSlice
  metadata: { name: old }
  addressType: IPv4
  endpoints: []
";
    let (inventory, said) = odd(text);
    assert_eq!(counts(&inventory), (1, 0, 0));
    assert!(said.contains("line 4, column 3: Service bad: invalid type: string"), "{said}");
    for part in
        ["line 12, column 3: an item that is no object", "line 13", "EndpointSlice old", "no EndpointSlice"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
    let (inventory, said) = odd(&format!("{SMALL}---\n{SMALL}"));
    assert_eq!(counts(&inventory), (1, 1, 0));
    assert!(said.contains("there twice"), "{said}");
}

#[test]
fn a_file_that_grows_by_its_anchors_is_refused() {
    let mut bomb = "kind: List\na0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..12 {
        let one = format!("*a{}", n - 1);
        bomb += &format!("a{n}: &a{n} [{}]\n", [one.as_str(); 9].join(", "));
    }
    assert!(parse::parse(bomb.as_bytes()).is_err());
    let deep = format!("kind: {}{}\n", "[".repeat(20_000), "]".repeat(20_000));
    assert!(parse::parse(deep.as_bytes()).is_err());
    let deep = format!("{{\"kind\": {}{}}}\n", "[".repeat(20_000), "]".repeat(20_000));
    assert!(parse::parse(deep.as_bytes()).is_err());
    // A few anchors are nobody's harm.
    let fine = SMALL.replace("addressType: IPv4", "addressType: &a IPv4\nx: *a");
    assert_eq!(counts(&taken(&fine)), (1, 1, 0));
}

#[test]
fn a_large_cluster_is_within_the_limits() {
    let mut text = "apiVersion: v1\nkind: List\nitems:\n".to_owned();
    for n in 0..300 {
        text += &format!(
            "- apiVersion: v1\n  kind: Service\n  metadata: {{ name: s{n}, namespace: default }}\n  spec: {{ clusterIP: 172.16.{}.{}, ports: [{{ port: 80 }}] }}\n",
            n / 250,
            n % 250 + 1
        );
        text += &format!(
            "- apiVersion: discovery.k8s.io/v1\n  kind: EndpointSlice\n  metadata: {{ name: s{n}-1, labels: {{ kubernetes.io/service-name: s{n} }} }}\n  addressType: IPv4\n  ports: [{{ port: 1 }}]\n  endpoints:\n"
        );
        for m in 1..100 {
            text += &format!("  - addresses: [10.{}.{}.{m}]\n", n / 250, n % 250);
        }
    }
    assert_eq!(counts(&taken(&text)), (300, 300, 0));
}

struct Lab {
    directory: tempfile::TempDir,
    source: Source,
    now: SystemTime,
}

impl Lab {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let source = Source::new(directory.path().join("services.yaml"));
        Self { directory, source, now: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000) }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("services.yaml")
    }

    /// Renames a text into place.
    fn place(&self, text: &str) {
        let new = self.directory.path().join("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.path()).unwrap();
    }

    fn look(&mut self) -> bool {
        self.now += INTERVAL;
        self.source.look(self.now)
    }

    fn health(&self) -> &SourceHealth {
        &self.source.observation.health
    }

    fn problem(&self) -> &str {
        self.health().problem.as_deref().unwrap_or("")
    }

    fn ports(&self) -> Vec<u16> {
        let services = self.source.observation.inventory.services.values();
        services.flat_map(|one| one.ports.iter().map(|port| port.port)).collect()
    }
}

#[test]
fn a_file_that_appears_later_is_taken_then() {
    let mut lab = Lab::new();
    assert!(lab.look());
    assert!(
        lab.problem().contains("does not exist; write it with: kubectl get services"),
        "{}",
        lab.problem()
    );
    assert!(!lab.look(), "the same is told once");
    assert_eq!((lab.health().synced, lab.health().current_at), (false, None));
    lab.place(SMALL);
    assert!(lab.look());
    assert_eq!((lab.health().synced, lab.problem(), lab.ports()), (true, "", vec![80]));
    assert_eq!(lab.health().current_at, Some(lab.now));
}

#[test]
fn a_file_that_stays_is_current_and_no_news() {
    let mut lab = Lab::new();
    lab.place(SMALL);
    assert!(lab.look());
    let first = Arc::clone(&lab.source.observation.inventory);
    assert!(!lab.look());
    assert_eq!(lab.health().current_at, Some(lab.now));
    // Nor is one with the same objects, whatever else it says.
    lab.place(&format!("# written anew\n{SMALL}"));
    assert!(!lab.look());
    assert!(Arc::ptr_eq(&first, &lab.source.observation.inventory));
}

#[test]
fn a_file_renamed_into_place_is_taken_at_once() {
    let mut lab = Lab::new();
    lab.place(SMALL);
    lab.look();
    lab.place(&SMALL.replace("port: 80\n", "port: 81\n"));
    assert!(lab.look());
    assert_eq!(lab.ports(), [81]);
}

#[test]
fn a_file_that_is_being_written_is_taken_when_it_stays() {
    let mut lab = Lab::new();
    lab.place(SMALL);
    lab.look();
    fs::write(lab.path(), "apiVersion: v1\nkind: Serv").unwrap();
    assert!(!lab.look());
    fs::write(lab.path(), SMALL.replace("port: 80\n", "port: 8081\n")).unwrap();
    assert!(!lab.look());
    assert_eq!((lab.ports(), lab.problem()), (vec![80], ""));
    assert!(lab.look());
    assert_eq!(lab.ports(), [8081]);
}

#[test]
fn a_broken_file_leaves_the_last_state_and_is_told() {
    let mut lab = Lab::new();
    lab.place(SMALL);
    lab.look();
    let good = lab.now;
    lab.place(&SMALL.replace("  clusterIP: 172.16.0.1", "  clusterIP: [172.16.0.1"));
    assert!(lab.look());
    assert_eq!((lab.ports(), lab.health().synced), (vec![80], true));
    let problem = lab.problem().to_owned();
    let path = lab.path().display().to_string();
    let rest = problem.strip_prefix(&path).unwrap_or_else(|| panic!("{problem}"));
    assert!(rest.starts_with(":7:") || rest.starts_with(":6:") || rest.starts_with(":8:"), "{problem}");
    assert!(problem.contains("kubectl get services,endpointslices -A -o yaml >"), "{problem}");
    assert!(problem.ends_with("until then the last state stays in force"), "{problem}");
    assert!(!lab.look());
    assert_eq!(lab.health().current_at, Some(good), "what is in force gets older");
    lab.place(SMALL);
    assert!(lab.look());
    assert_eq!((lab.problem(), lab.health().current_at), ("", Some(lab.now)));
}

#[test]
fn a_file_that_goes_away_leaves_the_last_state_and_may_return() {
    let mut lab = Lab::new();
    lab.place(SMALL);
    lab.look();
    let away = lab.directory.path().join("away");
    fs::rename(lab.path(), &away).unwrap();
    assert!(lab.look());
    assert!(lab.problem().contains("does not exist") && lab.ports() == [80], "{}", lab.problem());
    fs::rename(away, lab.path()).unwrap();
    assert!(lab.look());
    assert_eq!(lab.problem(), "");
}

#[test]
fn a_link_that_gets_another_target_is_a_change() {
    let mut lab = Lab::new();
    let under = |name: &str| lab.directory.path().join(name);
    for (name, text) in [("one", SMALL.to_owned()), ("two", SMALL.replace("port: 80\n", "port: 82\n"))] {
        fs::create_dir(under(name)).unwrap();
        fs::write(under(name).join("services.yaml"), text).unwrap();
    }
    // As the kubelet does it with a ConfigMap: the file is a link through `..data`, which is replaced.
    std::os::unix::fs::symlink("one", under("..data")).unwrap();
    std::os::unix::fs::symlink("..data/services.yaml", lab.path()).unwrap();
    assert!(lab.source.look(lab.now));
    assert_eq!(lab.ports(), [80]);
    let next = lab.directory.path().join("..next");
    std::os::unix::fs::symlink("two", &next).unwrap();
    fs::rename(next, lab.directory.path().join("..data")).unwrap();
    assert!(lab.look());
    assert_eq!(lab.ports(), [82]);
}

#[test]
fn what_is_no_file_is_told() {
    let mut lab = Lab::new();
    fs::create_dir(lab.path()).unwrap();
    lab.look();
    assert!(lab.problem().contains("not a regular file"), "{}", lab.problem());
    fs::remove_dir(lab.path()).unwrap();
    nix::unistd::mkfifo(&lab.path(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    lab.look();
    assert!(lab.problem().contains("not a regular file"), "{}", lab.problem());
    fs::remove_file(lab.path()).unwrap();
    File::create(lab.path()).unwrap().set_len(MOST_OCTETS + 1).unwrap();
    lab.look();
    assert!(lab.problem().contains("at most 67108864 are read"), "{}", lab.problem());
}

#[test]
fn an_odd_object_is_told_while_the_rest_is_in_force() {
    let mut lab = Lab::new();
    lab.place(&SMALL.replace("172.16.0.1", "127.0.0.1"));
    assert!(lab.look());
    assert!(lab.problem().contains("Service default/x") && lab.problem().contains("is no cluster address"));
    assert_eq!((lab.health().synced, lab.ports()), (true, vec![80]));
    lab.look();
    assert_eq!(lab.health().current_at, Some(lab.now));
}

#[tokio::test]
async fn what_changes_is_published_until_nobody_listens() {
    let lab = Lab::new();
    let mut seen = watch(lab.path());
    seen.wait_for(|one| one.health.problem.is_some()).await.unwrap();
    lab.place(SMALL);
    let id = ServiceId { namespace: "default".to_owned(), name: "x".to_owned() };
    {
        let one = seen.wait_for(|one| one.health.synced).await.unwrap();
        assert_eq!(one.inventory.services[&id].kind, ServiceKind::ClusterIp);
        assert_eq!(one.health.source, lab.path().display().to_string());
    }
    let gone = seen.clone();
    drop(seen);
    lab.place(&SMALL.replace("port: 80\n", "port: 83\n"));
    let mut seen = gone;
    seen.wait_for(|one| one.inventory.services[&id].ports[0].port == 83).await.unwrap();
}

#[test]
fn the_seeds_of_the_fuzz_target_are_taken() {
    let folder = format!("{}/tests/fuzz/seeds/objects", env!("CARGO_MANIFEST_DIR"));
    let mut taken = 0;
    for seed in fs::read_dir(folder).unwrap() {
        let path = seed.unwrap().path();
        let read = read_text(&fs::read(&path).unwrap());
        let alone = path.ends_with("nodes") || path.ends_with("ranges");
        assert_eq!(read.is_err(), alone, "{}: {read:?}", path.display());
        taken += usize::from(read.is_ok());
    }
    assert!(taken >= 4);
    assert_eq!(read_text(b"kind: [x").unwrap_err(), "1:7: unclosed bracket '['");
}
