//! The layers import only downwards, and the layers below the engine stay pure.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};

/// Each layer with its rank; a file may use its own layer and layers of a lower rank.
const LAYERS: &[(&str, u8)] = &[
    ("wire", 0),
    ("crypto", 1),
    ("pki", 2),
    ("policy", 2),
    ("ike", 3),
    ("esp", 3),
    ("engine", 4),
    ("config", 5),
    ("dataplane", 6),
    ("system", 6),
    ("cluster", 6),
    ("dns", 6),
    ("control", 6),
    ("peer_config", 6),
    ("daemon", 7),
    ("lab", 8),
    ("cli", 9),
];

/// Rank of the highest pure layer.
const PURE: u8 = 4;

/// What a pure layer must not name: clocks, sockets, threads of control, files and logging.
const IMPURE: &[&str] = &[
    "Instant::now",
    "SystemTime::now",
    "std::thread",
    "std::fs",
    "std::net::UdpSocket",
    "tokio::",
    "tracing::",
    "socket2::",
    "nix::",
    "async fn",
];

/// Libraries of cryptography that only `crypto` may name.
const CRYPTOGRAPHY: &[&str] = &["ring::", "aes_gcm::", "aes::", "cbc::", "crypto_bigint::", "p521::"];

fn rank(layer: &str) -> Option<u8> {
    LAYERS.iter().find(|(name, _)| *name == layer).map(|(_, rank)| *rank)
}

fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// The layer names that `text` reaches through `crate::`, single paths and groups alike.
fn imports(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        if text[..at].ends_with('$') {
            continue;
        }
        let rest = &text[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut name = String::new();
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => found.push(std::mem::take(&mut name)),
                    c if depth == 0 => name.push(c),
                    _ => {}
                }
            }
            found.push(name);
        } else {
            found.push(rest.to_owned());
        }
    }
    found
        .iter()
        .map(|path| path.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect())
        .collect()
}

/// The source without comments and without what follows the first `#[cfg(test)]`.
fn production(text: &str) -> String {
    text.split("#[cfg(test)]")
        .next()
        .unwrap_or_default()
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn is_test_file(path: &Path) -> bool {
    path.components().any(|c| c.as_os_str() == "tests" || c.as_os_str() == "tests.rs")
        || path.file_name().is_some_and(|n| n.to_string_lossy().ends_with("_tests.rs"))
}

/// Every offence in one file of `layer`.
fn offences(layer: &str, path: &Path, text: &str) -> Vec<String> {
    let own = rank(layer).unwrap_or_else(|| panic!("src/{layer} is not a layer: add it to LAYERS"));
    let mut bad = Vec::new();
    for import in imports(text) {
        if let Some(other) = rank(&import)
            && (other > own || (other == own && import != layer))
        {
            bad.push(format!("{}: {layer} imports {import}", path.display()));
        }
    }
    if is_test_file(path) {
        return bad;
    }
    let code = production(text);
    if own <= PURE {
        for word in IMPURE {
            if code.contains(word) {
                bad.push(format!("{}: {layer} is pure but names {word}", path.display()));
            }
        }
    }
    if own < rank("config").unwrap() && layer != "crypto" {
        for word in CRYPTOGRAPHY {
            let named = code
                .match_indices(word)
                .any(|(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'));
            if named {
                bad.push(format!("{}: {layer} names {word}, which only crypto may", path.display()));
            }
        }
    }
    bad
}

#[test]
fn every_layer_imports_only_downwards_and_the_core_is_pure() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    assert!(files.len() > 14, "the source tree was not found");
    let mut bad = Vec::new();
    for file in &files {
        let inside = file.strip_prefix(&src).unwrap();
        let Some(layer) = inside.parent().and_then(|p| p.components().next()) else {
            continue;
        };
        let layer = layer.as_os_str().to_string_lossy();
        bad.extend(offences(&layer, inside, &fs::read_to_string(file).unwrap()));
    }
    assert!(bad.is_empty(), "\n{}", bad.join("\n"));
}

#[test]
fn an_upward_import_is_rejected_in_every_spelling() {
    for text in [
        "use crate::daemon::Daemon;",
        "use crate::{wire::Header, daemon};",
        "use crate::{\n    wire::{Header, Message},\n    engine,\n};",
        "let x = crate::cli::main();",
    ] {
        assert_eq!(offences("ike", Path::new("ike/x.rs"), text).len(), 1, "{text}");
    }
    assert_eq!(offences("esp", Path::new("esp/x.rs"), "use crate::ike::Endpoint;").len(), 1);
    assert!(offences("ike", Path::new("ike/x.rs"), "use crate::{wire, crypto::{Prf, Secret}};").is_empty());
}

#[test]
fn a_clock_in_the_core_is_rejected() {
    assert_eq!(offences("ike", Path::new("ike/x.rs"), "let t = Instant::now();").len(), 1);
    assert_eq!(offences("ike", Path::new("ike/x.rs"), "use ring::hmac;").len(), 1);
    assert!(offences("ike", Path::new("ike/x.rs"), "// never Instant::now here").is_empty());
    assert!(offences("daemon", Path::new("daemon/x.rs"), "let t = Instant::now();").is_empty());
}

#[test]
fn no_source_file_grows_past_what_one_reader_holds() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    let long: Vec<String> = files
        .iter()
        .filter(|file| !is_test_file(file))
        .filter_map(|file| {
            let text = fs::read_to_string(file).unwrap();
            let lines = text.split("#[cfg(test)]").next().unwrap_or_default().lines().count();
            (lines > 800).then(|| format!("{}: {lines} lines before its tests", file.display()))
        })
        .collect();
    assert!(long.is_empty(), "\n{}", long.join("\n"));
}
