//! Environment variables `SKYBRIDGE_*` as the uppermost layers: `SKYBRIDGE_ENDPOINT__NAME` is `endpoint.name`.
//!
//! Each becomes a text in the form of a file, so that it is checked as strictly as one and an error shows it.

use toml::de::DeValue;

use super::schema::{Wanted, wanted_at};
use super::source::Source;

const PREFIX: &str = "SKYBRIDGE_";

/// Variables that the command line takes: no settings, and no mistakes either.
const OF_THE_COMMAND_LINE: [&str; 2] = ["CONFIG", "CONTROL"];

/// The layers of the environment, in the order of their names, and names that look like a mistake.
pub(crate) fn layers(environment: &[(String, String)]) -> (Vec<Source>, Vec<String>) {
    let mut variables: Vec<(&str, &str)> = environment
        .iter()
        .filter_map(|(name, value)| Some((name.strip_prefix(PREFIX)?, value.as_str())))
        .collect();
    variables.sort_unstable();
    let (mut sources, mut ignored) = (Vec::new(), Vec::new());
    for (name, value) in variables {
        if OF_THE_COMMAND_LINE.contains(&name) {
            continue;
        }
        let full = format!("{PREFIX}{name}");
        if !name.contains("__") {
            ignored.push(full);
            continue;
        }
        let path: Vec<String> = name.split("__").map(str::to_ascii_lowercase).collect();
        let is_value = !value.contains('\n') && DeValue::parse(value).is_ok();
        let text = match wanted_at(&path) {
            Some(Wanted::Toml) if is_value => value.to_owned(),
            _ => toml::Value::String(value.to_owned()).to_string(),
        };
        let keys: Vec<String> = path.iter().map(|key| quote(key)).collect();
        sources.push(Source::parse(full, format!("{} = {text}", keys.join("."))));
    }
    (sources, ignored)
}

fn quote(key: &str) -> String {
    let bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if bare { key.to_owned() } else { toml::Value::String(key.to_owned()).to_string() }
}
