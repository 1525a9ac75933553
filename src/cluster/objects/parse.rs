//! The text of a file of objects: YAML or JSON, lists or single objects, one document or several.
//!
//! Each object is decoded as it is read, so that a large file takes the memory of its text and of what is kept.

use std::{fmt, sync::Arc};

use k8s_openapi::api::{
    core::v1::{Node as ApiNode, Service as ApiService},
    discovery::v1::EndpointSlice as ApiSlice,
    networking::v1::ServiceCIDR as ApiServiceCidr,
};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, MapAccess, Visitor},
};
use serde_json::{Map, Value};
use serde_saphyr::Spanned;

use crate::cluster::{
    decode::{self, Oddities},
    model::{Inventory, Node, Service, Slice},
};

/// What makes a good file.
pub(super) const WRITE: &str = "kubectl get services,endpointslices -A -o yaml";

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub(super) inventory: Inventory,
    /// What was left out.
    pub(super) odd: Oddities,
}

/// Why nothing was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    /// Line and column, from 1.
    pub(super) at: Option<(u64, u64)>,
    pub(super) message: String,
}

impl Refused {
    fn whole(message: impl Into<String>) -> Self {
        Self { at: None, message: message.into() }
    }
}

impl From<&serde_saphyr::Error> for Refused {
    fn from(error: &serde_saphyr::Error) -> Self {
        // Without the lines around: whatever file this is, its text does not belong into logs.
        let error = error.without_snippet();
        let place = error.location().filter(|place| place.line() > 0);
        let text = error.to_string();
        let text = text.split("\n").next().unwrap_or_default();
        let text = place.map_or(text, |place| {
            let shown = format!(" at line {}, column {}", place.line(), place.column());
            text.strip_suffix(shown.as_str()).unwrap_or(text)
        });
        Self { at: place.map(|place| (place.line(), place.column())), message: shorten(text) }
    }
}

fn shorten(text: &str) -> String {
    let text = text.split(", set DuplicateKeyPolicy").next().unwrap_or_default();
    decode::printable(text, 300)
}

/// Reads a whole file.
pub(super) fn parse(octets: &[u8]) -> Result<Parsed, Refused> {
    let octets = octets.strip_prefix(b"\xef\xbb\xbf").unwrap_or(octets);
    if let Err(error) = std::str::from_utf8(octets) {
        return Err(Refused::whole(format!("it is not UTF-8 at octet {}", error.valid_up_to())));
    }
    let mut parsed = Parsed::default();
    if octets.iter().find(|octet| !octet.is_ascii_whitespace()) == Some(&b'{') {
        for document in serde_json::Deserializer::from_slice(octets).into_iter::<Document>() {
            let document = document.map_err(|error| Refused {
                at: (error.line() > 0).then(|| (error.line() as u64, error.column() as u64)),
                message: shorten(error.to_string().split(" at line ").next().unwrap_or_default()),
            })?;
            parsed.take(document)?;
        }
    } else {
        let mut rest = octets;
        for document in serde_saphyr::read_with_options::<_, Document>(&mut rest, options(octets.len())) {
            parsed.take(document.map_err(|error| Refused::from(&error))?)?;
        }
    }
    let inventory = &parsed.inventory;
    if inventory.services.is_empty() && inventory.slices.is_empty() {
        return Err(Refused::whole("it has neither Services nor EndpointSlices"));
    }
    if inventory.slices.is_empty() {
        parsed.odd.note("it has Services and no EndpointSlice, so that nothing can answer");
    }
    Ok(parsed)
}

/// Limits that no honest file of this size meets, and that keep one with anchors from growing.
fn options(octets: usize) -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_reader_input_bytes: Some(octets.saturating_add(1)),
            max_events: octets.saturating_add(1024).saturating_mul(2),
            max_nodes: octets.saturating_add(1024),
            max_documents: 1 << 20,
            max_total_scalar_bytes: octets.saturating_add(1024),
            max_total_comment_bytes: octets.saturating_add(1024),
            max_depth: 48,
            max_aliases: 1024,
            max_anchors: 1024,
            max_recorded_anchor_events: 1 << 16,
            max_recorded_anchor_bytes: 1 << 20,
            max_merge_keys: 1024,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 1 << 16 },
        with_snippet: false,
    }
}

impl Parsed {
    fn take(&mut self, document: Document) -> Result<(), Refused> {
        let Document { mut object, items } = document;
        let Some(kind) = object.get("kind").and_then(Value::as_str).map(str::to_owned) else {
            let message = if items.is_some() {
                "a list has no `kind`: it was cut off, or is still being written"
            } else {
                "a document has no `kind`, and is no Kubernetes object"
            };
            return Err(Refused::whole(message));
        };
        match (items, kind.strip_suffix("List")) {
            (Some(items), Some(of)) => {
                let version = object.remove("apiVersion");
                for item in items {
                    self.add(item, of, version.as_ref());
                }
            }
            _ => self.add(Item::new(object, None), "", None),
        }
        Ok(())
    }

    /// Adds an object; one without kind is what its list says.
    fn add(&mut self, item: Item, list_of: &str, version: Option<&Value>) {
        let item = match item {
            Item::Unnamed(mut object, at) if !list_of.is_empty() => {
                object.insert("kind".to_owned(), Value::String(list_of.to_owned()));
                object.extend(version.map(|version| ("apiVersion".to_owned(), version.clone())));
                Item::new(object, at)
            }
            item => item,
        };
        let inventory = &mut self.inventory;
        let (twice, odd) = match item {
            Item::Service(one, odd) => {
                (inventory.services.insert(one.id.clone(), Arc::new(*one)).is_some(), odd)
            }
            Item::Slice(one, odd) => (inventory.slices.insert(one.id.clone(), Arc::new(*one)).is_some(), odd),
            Item::Node(one, odd) => (inventory.nodes.insert(one.name.clone(), Arc::new(*one)).is_some(), odd),
            Item::Ranges(ranges, odd) => {
                for range in ranges {
                    if !inventory.service_cidrs.contains(&range)
                        && inventory.service_cidrs.len() < decode::MOST_RANGES
                    {
                        inventory.service_cidrs.push(range);
                    }
                }
                (false, odd)
            }
            Item::Other(odd) => (false, odd),
            Item::Unnamed(_, at) => {
                self.odd.note(format_args!("{}an object without `kind`", Place(at)));
                return;
            }
        };
        if twice {
            self.odd.note("an object that is there twice, of which the later counts");
        }
        self.odd.absorb(odd);
    }
}

/// A document: its keys, and the items if it is a list.
#[derive(Debug)]
struct Document {
    object: Map<String, Value>,
    items: Option<Vec<Item>>,
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(DocumentVisitor)
    }
}

struct DocumentVisitor;

impl<'de> Visitor<'de> for DocumentVisitor {
    type Value = Document;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a Kubernetes object or list")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Document, A::Error> {
        let mut document = Document { object: Map::new(), items: None };
        while let Some(key) = map.next_key::<String>()? {
            if key == "items" {
                document.items = Some(map.next_value::<Option<Vec<Item>>>()?.unwrap_or_default());
            } else {
                let value = map.next_value()?;
                document.object.insert(key, value);
            }
        }
        Ok(document)
    }
}

/// An object, decoded if it is one that counts.
#[derive(Debug)]
enum Item {
    Service(Box<Service>, Oddities),
    Slice(Box<Slice>, Oddities),
    Node(Box<Node>, Oddities),
    Ranges(Vec<ipnet::IpNet>, Oddities),
    Other(Oddities),
    Unnamed(Map<String, Value>, Option<(u64, u64)>),
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned { value, referenced, .. } = Spanned::<Value>::deserialize(deserializer)?;
        let at = (referenced.line() > 0).then(|| (referenced.line(), referenced.column()));
        Ok(match value {
            Value::Object(object) => Self::new(object, at),
            _ => {
                let mut odd = Oddities::default();
                odd.note(format_args!("{}an item that is no object", Place(at)));
                Self::Other(odd)
            }
        })
    }
}

/// A place in words, before what is there.
struct Place(Option<(u64, u64)>);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |(line, column)| write!(f, "line {line}, column {column}: "))
    }
}

impl Item {
    fn new(mut object: Map<String, Value>, at: Option<(u64, u64)>) -> Self {
        let Some(kind) = object.get("kind").and_then(Value::as_str).map(str::to_owned) else {
            return Self::Unnamed(object, at);
        };
        let version = object.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
        let group = version.rsplit_once('/').map_or("", |(group, _)| group).to_owned();
        let mut odd = Oddities::default();
        match (group.as_str(), kind.as_str()) {
            ("", "Service") => {
                object.remove("status");
                match typed::<ApiService>(object, at, &mut odd)
                    .and_then(|one| decode::service(&one, &mut odd))
                {
                    Some(one) => Self::Service(Box::new(one), odd),
                    None => Self::Other(odd),
                }
            }
            ("discovery.k8s.io", "EndpointSlice") => {
                match typed::<ApiSlice>(object, at, &mut odd).and_then(|one| decode::slice(&one, &mut odd)) {
                    Some(one) => Self::Slice(Box::new(one), odd),
                    None => Self::Other(odd),
                }
            }
            ("", "Node") => {
                match typed::<ApiNode>(object, at, &mut odd).and_then(|one| decode::node(&one, &mut odd)) {
                    Some(one) => Self::Node(Box::new(one), odd),
                    None => Self::Other(odd),
                }
            }
            ("networking.k8s.io", "ServiceCIDR") => {
                // The beta had the same shape, and clusters of its time are about.
                object.insert("apiVersion".to_owned(), Value::String("networking.k8s.io/v1".to_owned()));
                match typed::<ApiServiceCidr>(object, at, &mut odd) {
                    Some(one) => Self::Ranges(decode::service_cidr(&one, &mut odd), odd),
                    None => Self::Other(odd),
                }
            }
            _ => Self::Other(odd),
        }
    }
}

/// An object in its type, without what nobody here reads and what therefore cannot be wrong.
fn typed<T: DeserializeOwned>(
    mut object: Map<String, Value>,
    at: Option<(u64, u64)>,
    odd: &mut Oddities,
) -> Option<T> {
    let text =
        |map: &Map<String, Value>, key: &str| map.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
    let kind = text(&object, "kind");
    let mut name = String::new();
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        metadata.retain(|key, _| matches!(key.as_str(), "name" | "namespace" | "labels"));
        name = text(metadata, "name");
    }
    serde_json::from_value(Value::Object(object))
        .map_err(|error| odd.note(format_args!("{}{kind} {name}: {error}", Place(at))))
        .ok()
}
