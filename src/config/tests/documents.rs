use super::*;
use serde_json::Value as Json;

fn repository(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn keys(schema: &Json, found: &mut Vec<String>) {
    match schema {
        Json::Object(members) => {
            if let Some(Json::Object(properties)) = members.get("properties") {
                found.extend(properties.keys().cloned());
            }
            members.values().for_each(|inner| keys(inner, found));
        }
        Json::Array(inner) => inner.iter().for_each(|inner| keys(inner, found)),
        _ => {}
    }
}

#[test]
fn every_key_of_the_schema_is_documented() {
    let documentation = repository("docs/configuration.md");
    let mut found = Vec::new();
    keys(&json_schema(), &mut found);
    assert!(found.len() > 70, "{}", found.len());
    for key in found {
        assert!(
            documentation.contains(&format!("`{key}`")),
            "docs/configuration.md does not mention `{key}`"
        );
    }
}

#[test]
fn every_property_of_the_schema_is_described() {
    fn walk(schema: &Json) {
        if let Some(Json::Object(properties)) = schema.get("properties") {
            for (key, property) in properties {
                assert!(property.get("description").is_some(), "{key}");
            }
        }
        match schema {
            Json::Object(members) => members.values().for_each(walk),
            Json::Array(inner) => inner.iter().for_each(walk),
            _ => {}
        }
    }
    walk(&json_schema());
}

#[test]
fn every_example_of_the_documentation_loads() {
    let documentation = repository("docs/configuration.md");
    let lab = Lab::new();
    lab.write("aws.psk", "Letters_and.digits2026", 0o600);
    let mut examples = 0;
    for block in documentation.split("```toml\n").skip(1) {
        let text = block.split("```").next().unwrap().replace("/etc/skybridge/", "./");
        lab.load(&text).unwrap_or_else(|found| panic!("{text}\n{found}"));
        examples += 1;
    }
    assert!(examples >= 3);
}
