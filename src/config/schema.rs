//! The JSON Schema of the configuration, and the check of each layer against it: unknown keys, wrong types,
//! unknown words, numbers out of range. Nothing is converted on the way: `"500"` is no number.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use serde_json::Value as Json;

use super::diagnostic::{Diagnostic, Severity, build};
use super::file::ConfigFile;
use super::source::{Entry, Layers, Node, Place, Value};
use crate::policy::nearest_word;

static SCHEMA: LazyLock<Json> = LazyLock::new(|| schemars::schema_for!(ConfigFile).to_value());
static KEYS: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let mut keys = BTreeSet::new();
    collect_keys(&SCHEMA, &mut keys);
    keys
});

/// The JSON Schema of a configuration file.
pub fn json_schema() -> Json {
    SCHEMA.clone()
}

/// Whether any table has a key of this name.
pub(crate) fn is_known_key(key: &str) -> bool {
    KEYS.contains(key)
}

fn collect_keys(schema: &Json, keys: &mut BTreeSet<String>) {
    match schema {
        Json::Object(members) => {
            if let Some(Json::Object(properties)) = members.get("properties") {
                keys.extend(properties.keys().cloned());
            }
            members.values().for_each(|value| collect_keys(value, keys));
        }
        Json::Array(values) => values.iter().for_each(|value| collect_keys(value, keys)),
        _ => {}
    }
}

/// Follows `$ref`, and the one branch that is not `null`.
fn resolve(schema: &Json) -> &Json {
    let mut schema = schema;
    for _ in 0..16 {
        if let Some(name) = schema.get("$ref").and_then(Json::as_str) {
            match name.strip_prefix('#').and_then(|pointer| SCHEMA.pointer(pointer)) {
                Some(target) => schema = target,
                None => return schema,
            }
        } else if let [only] = branches(schema).as_slice() {
            schema = only;
        } else {
            return schema;
        }
    }
    schema
}

fn branches(schema: &Json) -> Vec<&Json> {
    let list = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Json::as_array);
    list.map(|list| list.iter().filter(|branch| !has_type(branch, "null")).collect()).unwrap_or_default()
}

fn has_type(schema: &Json, name: &str) -> bool {
    match schema.get("type") {
        Some(Json::String(one)) => one == name,
        Some(Json::Array(several)) => several.iter().any(|one| one == name),
        _ => false,
    }
}

/// The words of an enumeration.
fn words(schema: &Json) -> Option<Vec<&str>> {
    if let Some(list) = schema.get("enum").and_then(Json::as_array) {
        return Some(list.iter().filter_map(Json::as_str).collect());
    }
    let branches = branches(schema);
    let words: Vec<&str> = branches.iter().filter_map(|branch| branch.get("const")?.as_str()).collect();
    (!words.is_empty() && words.len() == branches.len()).then_some(words)
}

fn fits(schema: &Json, value: &Value) -> bool {
    let schema = resolve(schema);
    match value {
        Value::Text(_) => has_type(schema, "string") || words(schema).is_some(),
        Value::Integer(_) => has_type(schema, "integer") || has_type(schema, "number"),
        Value::Float => has_type(schema, "number"),
        Value::Boolean => has_type(schema, "boolean"),
        Value::Array(_) => has_type(schema, "array"),
        Value::Table(_) => has_type(schema, "object"),
        Value::Datetime => false,
    }
}

/// What a schema wants, in words.
fn wanted(schema: &Json) -> String {
    let schema = resolve(schema);
    if words(schema).is_some() || has_type(schema, "string") {
        return "a string".to_owned();
    }
    let several = branches(schema);
    if !several.is_empty() {
        return several.iter().map(|branch| wanted(branch)).collect::<Vec<_>>().join(" or ");
    }
    let one = [
        ("integer", "an integer"),
        ("number", "a number"),
        ("boolean", "true or false"),
        ("array", "an array"),
        ("object", "a table"),
    ];
    let name = one.iter().find(|(kind, _)| has_type(schema, kind)).map_or("something else", |(_, name)| name);
    if has_type(schema, "array")
        && schema.get("items").is_some_and(|items| has_type(resolve(items), "string"))
    {
        return "an array of strings".to_owned();
    }
    name.to_owned()
}

/// What the environment must turn a variable's text into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Taken as it is.
    Text,
    /// Read as a TOML value; a text as it is if that fails and a text would do.
    Toml,
}

/// What stands at a path of lower-case keys. `None` if there is no such key.
pub(crate) fn wanted_at(path: &[String]) -> Option<Wanted> {
    let mut schema = resolve(&SCHEMA);
    for key in path {
        let next = schema.get("properties").and_then(|properties| properties.get(key));
        let next = next.or_else(|| schema.get("additionalProperties").filter(|inner| inner.is_object()));
        schema = resolve(next?);
    }
    let text_only = fits(schema, &Value::Text(String::new())) && !fits(schema, &Value::Integer(None));
    Some(if text_only { Wanted::Text } else { Wanted::Toml })
}

/// Checks one layer.
pub(crate) fn check(layers: &Layers, source: usize, out: &mut Vec<Diagnostic>) {
    if let Some(layer) = layers.0.get(source) {
        Walk { layers, source, out }.node(&SCHEMA, &layer.root, "");
    }
}

struct Walk<'a> {
    layers: &'a Layers,
    source: usize,
    out: &'a mut Vec<Diagnostic>,
}

impl Walk<'_> {
    fn error(
        &mut self,
        code: &'static str,
        span: &std::ops::Range<usize>,
        message: String,
        hint: Option<String>,
    ) {
        let place = Place { source: self.source, span: span.clone() };
        self.out.push(build(self.layers, Severity::Error, code, Some(&place), message, hint));
    }

    fn node(&mut self, schema: &Json, node: &Node, path: &str) {
        let schema = resolve(schema);
        if let Some(words) = words(schema) {
            match &node.value {
                Value::Text(text) if words.contains(&text.as_str()) => {}
                Value::Text(text) => {
                    let near = nearest_word(&text.to_ascii_lowercase(), words.iter().copied());
                    let list = words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
                    let hint = near.map_or(format!("write one of {list}"), |word| {
                        format!("did you mean \"{word}\"? Known are {list}")
                    });
                    self.error(
                        "unknown-word",
                        &node.span,
                        format!("`{path}` does not know this word"),
                        Some(hint),
                    );
                }
                other => self.wrong_type(schema, other, node, path),
            }
            return;
        }
        let several = branches(schema);
        if !several.is_empty() {
            match several.into_iter().find(|branch| fits(branch, &node.value)) {
                Some(branch) => self.node(branch, node, path),
                None => self.wrong_type(schema, &node.value, node, path),
            }
            return;
        }
        if !fits(schema, &node.value) {
            self.wrong_type(schema, &node.value, node, path);
            return;
        }
        match &node.value {
            Value::Integer(number) => self.integer(schema, *number, node, path),
            Value::Array(nodes) => {
                if let Some(items) = schema.get("items") {
                    for (index, inner) in nodes.iter().enumerate() {
                        self.node(items, inner, &format!("{path}[{index}]"));
                    }
                }
            }
            Value::Table(entries) => self.table(schema, entries, path),
            _ => {}
        }
    }

    fn wrong_type(&mut self, schema: &Json, value: &Value, node: &Node, path: &str) {
        let wanted = wanted(schema);
        let hint = match (wanted.as_str(), value) {
            ("an array of strings", Value::Text(_)) => Some("put it in brackets: [\"…\"]".to_owned()),
            ("an integer", Value::Text(_)) => Some("leave out the quotes".to_owned()),
            ("true or false", Value::Text(_)) => Some("write true or false without quotes".to_owned()),
            ("a string", Value::Array(_) | Value::Table(_)) | ("a table", _) => None,
            ("a string", _) => Some("put it in quotes".to_owned()),
            _ => None,
        };
        let message = format!("`{path}` must be {wanted}, not {}", value.kind());
        self.error("wrong-type", &node.span, message, hint);
    }

    fn integer(&mut self, schema: &Json, number: Option<i64>, node: &Node, path: &str) {
        let bound = |name: &str| schema.get(name).and_then(|bound| bound.as_f64());
        let format = schema.get("format").and_then(Json::as_str);
        let most = bound("maximum").or(match format {
            Some("uint8") => Some(f64::from(u8::MAX)),
            Some("uint16") => Some(f64::from(u16::MAX)),
            Some("uint32") => Some(f64::from(u32::MAX)),
            _ => None,
        });
        let least = bound("minimum");
        let outside = number.is_none_or(|number| {
            let number = number as f64;
            least.is_some_and(|least| number < least) || most.is_some_and(|most| number > most)
        });
        if outside {
            let hint = match (least, most) {
                (Some(least), Some(most)) => Some(format!("write a number from {least} to {most}")),
                (Some(least), None) => Some(format!("write a number from {least}")),
                _ => None,
            };
            self.error("out-of-range", &node.span, format!("`{path}` is out of range"), hint);
        }
    }

    fn table(&mut self, schema: &Json, entries: &[Entry], path: &str) {
        let properties = schema.get("properties").and_then(Json::as_object);
        let others = schema.get("additionalProperties").filter(|inner| inner.is_object());
        for entry in entries {
            let inner = if path.is_empty() { entry.key.clone() } else { format!("{path}.{}", entry.key) };
            let known = properties.and_then(|properties| properties.get(&entry.key));
            match known.or(others) {
                Some(schema) => self.node(schema, &entry.node, &inner),
                None => {
                    let names: Vec<&str> =
                        properties.map(|p| p.keys().map(String::as_str).collect()).unwrap_or_default();
                    let (message, hint) = unknown_key(&entry.key, path, &names);
                    self.error("unknown-key", &entry.key_span, message, Some(hint));
                }
            }
        }
    }
}

fn unknown_key(key: &str, path: &str, names: &[&str]) -> (String, String) {
    let place = if path.is_empty() { "the configuration".to_owned() } else { format!("`[{path}]`") };
    if path.is_empty() && matches!(key, "routes" | "rules" | "dns") {
        return (
            format!("`{key}` is not supported by this version"),
            "leave it out; routes follow the children's remote selectors, or their `routes`".to_owned(),
        );
    }
    let secret = match key {
        "psk" | "secret" | "password" | "shared_key" | "preshared_key" => {
            Some("write the key into a file of mode 0600 and give its path as `psk_file`")
        }
        "key_passphrase" | "passphrase" => {
            Some("write it into a file of mode 0600 and give its path as `key_passphrase_file`")
        }
        _ => None,
    };
    let hint = match (secret, nearest_word(&key.to_ascii_lowercase(), names.iter().copied())) {
        (Some(hint), _) => hint.to_owned(),
        (None, Some(near)) => format!("did you mean `{near}`?"),
        (None, None) => format!("known are {}", names.join(", ")),
    };
    (format!("{place} has no key `{}`", key.escape_default()), hint)
}
