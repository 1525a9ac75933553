//! The page of the configuration file: every key with its type and meaning, as the JSON Schema has them.

use std::io;

use clap_mangen::roff::{Inline, Roff, bold, italic, roman};
use serde_json::Value as Json;

/// Lets the schema of a key be found wherever it is defined.
struct Schema<'a> {
    root: &'a Json,
}

/// The page in roff.
pub(super) fn page(schema: &Json) -> io::Result<Vec<u8>> {
    let mut roff = Roff::new();
    let source = format!("skybridge {}", env!("CARGO_PKG_VERSION"));
    roff.control("TH", ["SKYBRIDGE.TOML", "5", "", source.as_str(), "Skybridge"]);
    roff.control("SH", ["NAME"]);
    roff.text([roman("skybridge.toml - configuration of the Skybridge daemon")]);
    roff.control("SH", ["DESCRIPTION"]);
    roff.text([
        italic(crate::cli::DEFAULT_CONFIG),
        roman(" is a TOML file. Over it lie "),
        italic("conf.d/*.toml"),
        roman(" beside it, in the order of their names, and over these environment variables such as "),
        bold("SKYBRIDGE_ENDPOINT__NAME"),
        roman(". Tables are merged key by key, everything else is replaced. "),
        bold("skybridge check"),
        roman(" shows what is wrong; "),
        bold("skybridge reload"),
        roman(" applies it."),
    ]);
    roff.control("PP", []);
    roff.text([
        roman("Secrets are files that the configuration names: of mode 0600, or 0640 where the group is the service's, or "),
        bold("credential:NAME"),
        roman(" for a file that systemd hands over. Durations are written as 30s, 5m or 4h, sizes as 100GiB."),
    ]);
    Schema { root: schema }.tables("", schema, &mut roff);
    roff.control("SH", ["SEE ALSO"]);
    roff.text([
        bold("skybridge"),
        roman("(1), "),
        bold("skybridge-check"),
        roman("(1), "),
        italic("/usr/share/doc/skybridge/"),
    ]);
    let mut page = Vec::new();
    roff.to_writer(&mut page)?;
    Ok(page)
}

impl<'a> Schema<'a> {
    /// Follows references, and the one branch that is not `null`.
    fn resolve(&self, mut schema: &'a Json) -> &'a Json {
        for _ in 0..16 {
            if let Some(pointer) =
                schema.get("$ref").and_then(Json::as_str).and_then(|name| name.strip_prefix('#'))
                && let Some(target) = self.root.pointer(pointer)
            {
                schema = target;
            } else if let [only] = branches(schema).as_slice() {
                schema = only;
            } else {
                break;
            }
        }
        schema
    }

    /// A section for a table, and then for each table in it.
    fn tables(&self, path: &str, schema: &'a Json, roff: &mut Roff) {
        let Some(properties) = schema.get("properties").and_then(Json::as_object) else { return };
        let mut inner = Vec::new();
        let mut titled = false;
        for (key, value) in properties {
            let resolved = self.resolve(value);
            let whole = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            if let Some(named) = resolved.get("additionalProperties").filter(|named| named.is_object()) {
                inner.push((format!("{whole}.NAME"), value, self.resolve(named)));
                continue;
            }
            if resolved.get("properties").is_some() {
                inner.push((whole, value, resolved));
                continue;
            }
            if !titled && path.is_empty() {
                roff.control("SH", ["KEYS"]);
            }
            titled = true;
            roff.control("TP", []);
            roff.text([bold(key.clone()), roman(" ("), roman(kind(resolved)), roman(")")]);
            roff.text(marked(description(value)));
            for (word, meaning) in words(resolved) {
                roff.control("br", []);
                roff.text(
                    [bold(format!("\"{word}\"")), roman(": ")]
                        .into_iter()
                        .chain(marked(meaning))
                        .collect::<Vec<_>>(),
                );
            }
        }
        for (path, value, schema) in inner {
            roff.control("SH", [format!("[{path}]").as_str()]);
            roff.text(marked(description(value)));
            self.tables(&path, schema, roff);
        }
    }
}

/// The branches of a choice, without `null`.
fn branches(schema: &Json) -> Vec<&Json> {
    let list = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Json::as_array);
    let is_null = |branch: &&Json| branch.get("type").is_some_and(|kind| kind == "null");
    list.map(|list| list.iter().filter(|branch| !is_null(branch)).collect()).unwrap_or_default()
}

/// The words of an enumeration, with what each means.
fn words(schema: &Json) -> Vec<(&str, &str)> {
    branches(schema)
        .into_iter()
        .filter_map(|branch| Some((branch.get("const")?.as_str()?, description(branch))))
        .collect()
}

fn description(schema: &Json) -> &str {
    schema.get("description").and_then(Json::as_str).unwrap_or_default()
}

/// A schema's type in words.
fn kind(schema: &Json) -> String {
    if !words(schema).is_empty() {
        return "one of the words below".to_owned();
    }
    let several = branches(schema);
    if several.len() > 1 {
        return several.into_iter().map(kind).collect::<Vec<_>>().join(" or ");
    }
    let name = match schema.get("type") {
        Some(Json::String(name)) => name.as_str(),
        Some(Json::Array(names)) => {
            names.iter().filter_map(Json::as_str).find(|name| *name != "null").unwrap_or_default()
        }
        _ => "",
    };
    match name {
        "boolean" => "true or false",
        "array" => "list of strings",
        "" => "value",
        other => other,
    }
    .to_owned()
}

/// A text with what stands in backticks in bold.
fn marked(text: &str) -> Vec<Inline> {
    let parts = text.split('`').enumerate().filter(|(_, part)| !part.is_empty());
    parts.map(|(index, part)| if index % 2 == 1 { bold(part) } else { roman(part) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_the_schema_stands_on_the_page() {
        let schema = crate::config::json_schema();
        let page = String::from_utf8(page(&schema).unwrap()).unwrap();
        let definitions = schema.get("$defs").and_then(Json::as_object).unwrap();
        let mut keys = 0;
        for (name, definition) in definitions {
            let properties = definition.get("properties").and_then(Json::as_object);
            for key in properties.into_iter().flatten().map(|(key, _)| key) {
                keys += 1;
                let term = format!("\\fB{key}\\fR (");
                let table = format!(".{key}]\"");
                let named = format!(".{key}.NAME]\n");
                let plain = format!(".{key}]\n");
                assert!(
                    [&term, &table, &named, &plain].iter().any(|form| page.contains(form.as_str())),
                    "{name}.{key} is missing\n{page}"
                );
            }
        }
        assert!(keys > 80, "{keys}");
        assert!(page.contains("kubeconfig") && page.contains("[peers.NAME.children.NAME]"));
    }
}
