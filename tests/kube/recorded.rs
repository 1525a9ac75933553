//! What a real API server sent, and one that behaves so.

use std::{collections::BTreeMap, fs, path::PathBuf, sync::Arc};

use serde_json::{Value, json};
use skybridge::cluster::{
    decode::{self, Oddities},
    model::Inventory,
};

/// A kind of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Services,
    Slices,
    Nodes,
    Cidrs,
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::Services, Self::Slices, Self::Nodes, Self::Cidrs];

    pub fn plural(self) -> &'static str {
        match self {
            Self::Services => "services",
            Self::Slices => "endpointslices",
            Self::Nodes => "nodes",
            Self::Cidrs => "servicecidrs",
        }
    }

    pub fn path(self) -> &'static str {
        match self {
            Self::Services => "/api/v1/services",
            Self::Slices => "/apis/discovery.k8s.io/v1/endpointslices",
            Self::Nodes => "/api/v1/nodes",
            Self::Cidrs => "/apis/networking.k8s.io/v1/servicecidrs",
        }
    }

    fn name(self) -> (&'static str, &'static str) {
        match self {
            Self::Services => ("Service", "v1"),
            Self::Slices => ("EndpointSlice", "discovery.k8s.io/v1"),
            Self::Nodes => ("Node", "v1"),
            Self::Cidrs => ("ServiceCIDR", "networking.k8s.io/v1"),
        }
    }
}

/// The version of the list that the recorded watches begin with.
pub const BEGIN: u64 = 347;
/// A version after all that was recorded.
pub const END: u64 = 420;

fn transcript(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/kube/transcripts").join(name)
}

/// A file of the recorded data that other tests use too.
pub fn data(name: &str) -> String {
    fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/kube").join(name)).unwrap()
}

/// The response of a recorded exchange, octet by octet.
pub fn response(name: &str) -> Vec<u8> {
    let file = fs::read(transcript(name)).unwrap();
    let end = file.windows(4).position(|octets| octets == b"\r\n\r\n").expect("a request");
    file[end + 4..].to_vec()
}

/// The lines of a recorded watch.
pub fn lines(name: &str) -> Vec<String> {
    let file = fs::read_to_string(transcript(name)).unwrap();
    let entries = file.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    entries.filter_map(|entry| entry["line"].as_str().map(str::to_owned)).collect()
}

type Name = (String, String);

fn name_of(object: &Value) -> Name {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    (text("namespace"), text("name"))
}

fn version_of(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// The objects of one kind at first, and what became of them.
#[derive(Debug, Clone, Default)]
pub struct History {
    objects: BTreeMap<Name, Value>,
    /// Version, type and object of each change, in order.
    pub events: Vec<(u64, String, Value)>,
}

impl History {
    fn recorded(kind: Kind) -> Self {
        let list: Value = serde_json::from_str(&data(&format!("list-{}.json", kind.plural()))).unwrap();
        let (name, version) = kind.name();
        let mut history = Self::default();
        for item in list["items"].as_array().unwrap() {
            let mut object = item.clone();
            object["kind"] = json!(name);
            object["apiVersion"] = json!(version);
            history.objects.insert(name_of(&object), object);
        }
        for line in lines(&format!("watch-{}.jsonl", kind.plural())) {
            let event: Value = serde_json::from_str(&line).unwrap();
            if event["type"] != "BOOKMARK" {
                let kind = event["type"].as_str().unwrap().to_owned();
                history.events.push((version_of(&event["object"]), kind, event["object"].clone()));
            }
        }
        history
    }

    /// Objects as they were at a version.
    pub fn at(&self, version: u64) -> BTreeMap<Name, Value> {
        let mut objects = self.objects.clone();
        for (_, kind, object) in self.events.iter().take_while(|(at, _, _)| *at <= version) {
            match kind.as_str() {
                "DELETED" => objects.remove(&name_of(object)),
                _ => objects.insert(name_of(object), object.clone()),
            };
        }
        objects
    }

    /// Lines of the changes after one version and up to another.
    pub fn between(&self, after: u64, until: u64) -> Vec<(u64, String)> {
        let wanted = self.events.iter().filter(|(at, _, _)| *at > after && *at <= until);
        wanted.map(|(at, kind, object)| (*at, json!({"type": kind, "object": object}).to_string())).collect()
    }

    /// Adds an object that exists from the beginning.
    pub fn add(&mut self, object: Value) {
        self.objects.insert(name_of(&object), object);
    }
}

/// All kinds.
#[derive(Debug, Clone)]
pub struct World(pub BTreeMap<Kind, History>);

impl World {
    /// As recorded.
    pub fn recorded() -> Self {
        Self(Kind::ALL.into_iter().map(|kind| (kind, History::recorded(kind))).collect())
    }

    /// A list as the API sends it, from the `skip`th object on.
    pub fn list(&self, kind: Kind, version: u64, skip: usize, limit: usize) -> Value {
        let objects = self.0[&kind].at(version);
        let rest = objects.len().saturating_sub(skip + limit);
        let items: Vec<Value> = objects.into_values().skip(skip).take(limit).collect();
        let (name, group) = kind.name();
        let mut metadata = json!({"resourceVersion": version.to_string()});
        if rest > 0 {
            metadata["continue"] = json!(format!("{version}:{}", skip + limit));
            metadata["remainingItemCount"] = json!(rest);
        }
        json!({"kind": format!("{name}List"), "apiVersion": group, "metadata": metadata, "items": items})
    }

    /// A bookmark.
    pub fn bookmark(kind: Kind, version: u64, ends_initial: bool) -> String {
        let (name, group) = kind.name();
        let mut metadata = json!({"resourceVersion": version.to_string()});
        if ends_initial {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = json!({"kind": name, "apiVersion": group, "metadata": metadata});
        json!({"type": "BOOKMARK", "object": object}).to_string()
    }

    /// What should be known at a version.
    pub fn inventory(&self, version: u64) -> Inventory {
        inventory(Kind::ALL.into_iter().flat_map(|kind| self.0[&kind].at(version).into_values()))
    }
}

/// What should be known of some objects.
pub fn inventory(objects: impl Iterator<Item = Value>) -> Inventory {
    let mut inventory = Inventory::default();
    let mut odd = Oddities::default();
    for object in objects {
        match object["kind"].as_str().unwrap() {
            "Service" => {
                if let Some(service) = decode::service(&serde_json::from_value(object).unwrap(), &mut odd) {
                    inventory.services.insert(service.id.clone(), Arc::new(service));
                }
            }
            "EndpointSlice" => {
                if let Some(slice) = decode::slice(&serde_json::from_value(object).unwrap(), &mut odd) {
                    inventory.slices.insert(slice.id.clone(), Arc::new(slice));
                }
            }
            "Node" => {
                let node = decode::node(&serde_json::from_value(object).unwrap(), &mut odd).unwrap();
                inventory.nodes.insert(node.name.clone(), Arc::new(node));
            }
            _ => inventory
                .service_cidrs
                .extend(decode::service_cidr(&serde_json::from_value(object).unwrap(), &mut odd)),
        }
    }
    inventory.service_cidrs.sort();
    assert!(odd.is_empty(), "{odd}");
    inventory
}
