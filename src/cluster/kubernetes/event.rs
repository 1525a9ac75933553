//! Events of a watch and pages of a list, as the API writes them.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::{
    kind::{Decoded, Kind, full_name},
    problem::Refusal,
};

/// An event of a watch.
pub(super) enum Event<K: Kind> {
    /// An object was added or changed.
    Put {
        /// The object.
        object: Decoded<K>,
        /// The version that this event leads to.
        version: Option<String>,
    },
    /// An object was removed.
    Removed {
        /// Namespace and name, for messages.
        name: String,
        /// The object's key.
        key: K::Key,
        /// The version that this event leads to.
        version: Option<String>,
    },
    /// Nothing has changed up to a version.
    Bookmark {
        /// The version.
        version: Option<String>,
        /// Whether it ends the objects that existed when the watch began.
        ends_initial: bool,
    },
    /// The watch has failed and ends.
    Error(Refusal),
}

#[derive(Deserialize)]
struct Head {
    #[serde(rename = "type")]
    kind: String,
    object: Partial,
}

/// What every object has.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Partial {
    metadata: Option<Meta>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Meta {
    name: Option<String>,
    namespace: Option<String>,
    resource_version: Option<String>,
    annotations: Option<Annotations>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Annotations {
    #[serde(rename = "k8s.io/initial-events-end")]
    initial_events_end: Option<String>,
}

#[derive(Deserialize)]
struct With<T> {
    object: T,
}

impl Meta {
    fn names(&self) -> (&str, &str) {
        (self.namespace.as_deref().unwrap_or_default(), self.name.as_deref().unwrap_or_default())
    }
}

/// Reads one line of a watch.
///
/// # Errors
/// What is wrong if the line is no event at all. An object within that is not understood is none.
pub(super) fn event<K: Kind>(line: &[u8]) -> Result<Event<K>, String> {
    // An object is read twice, first without what is in it, so that its name is known even if it is not understood.
    let head: Head =
        serde_json::from_slice(line).map_err(|error| format!("an event is not understood: {error}"))?;
    let meta = head.object.metadata.unwrap_or_default();
    let (namespace, name) = meta.names();
    let version = meta.resource_version.clone().filter(|version| !version.is_empty());
    match head.kind.as_str() {
        "ADDED" | "MODIFIED" => {
            let object: Option<With<K::Object>> = serde_json::from_slice(line).ok();
            let object = Decoded::new(namespace, name, object.as_ref().map(|with| &with.object));
            Ok(Event::Put { object, version })
        }
        "DELETED" => {
            Ok(Event::Removed { name: full_name(namespace, name), key: K::key(namespace, name), version })
        }
        "BOOKMARK" => {
            let ends_initial = meta
                .annotations
                .as_ref()
                .is_some_and(|all| all.initial_events_end.as_deref() == Some("true"));
            Ok(Event::Bookmark { version, ends_initial })
        }
        "ERROR" => {
            let status: Result<With<kube::core::Status>, _> = serde_json::from_slice(line);
            Ok(Event::Error(match status {
                Ok(status) => Refusal::from_status(500, &status.object),
                Err(_) => Refusal::from_body(500, line),
            }))
        }
        other => Err(format!("an event has the type {}", super::problem::readable(other))),
    }
}

/// A page of a list.
pub(super) struct Page<K: Kind> {
    /// Its objects.
    pub(super) items: Vec<Decoded<K>>,
    /// The version of the whole list.
    pub(super) version: String,
    /// Where the next page begins; none after the last.
    pub(super) next: Option<String>,
}

#[derive(Deserialize)]
#[serde(bound = "")]
struct List<K: Kind> {
    metadata: ListMeta,
    items: Option<Vec<Item<K>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMeta {
    resource_version: Option<String>,
    #[serde(rename = "continue")]
    next: Option<String>,
}

struct Item<K: Kind>(Decoded<K>);

impl<'de, K: Kind> Deserialize<'de> for Item<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Any object at all, and only then the one that it should be: one that is not understood spoils no list.
        let value = Value::deserialize(deserializer)?;
        let text = |field: &str| value.pointer(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
        let object = K::Object::deserialize(value).ok();
        Ok(Self(Decoded::new(&namespace, &name, object.as_ref())))
    }
}

/// Reads a page of a list.
///
/// # Errors
/// What is wrong if it is no list.
pub(super) fn page<K: Kind>(body: &[u8]) -> Result<Page<K>, String> {
    let list: List<K> =
        serde_json::from_slice(body).map_err(|error| format!("a list is not understood: {error}"))?;
    let version = list.metadata.resource_version.filter(|version| !version.is_empty());
    Ok(Page {
        items: list.items.unwrap_or_default().into_iter().map(|Item(object)| object).collect(),
        version: version.ok_or("a list has no resourceVersion")?,
        next: list.metadata.next.filter(|next| !next.is_empty()),
    })
}

#[cfg(test)]
mod tests;
