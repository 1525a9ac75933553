//! Every dependency that is built into the program has a permissive licence.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::process::Command;

/// SPDX identifiers that may be combined freely with Apache-2.0 OR MIT.
const PERMISSIVE: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Whether an SPDX expression can be satisfied by permissive licences alone. `AND` binds tighter
/// than `OR`; a slash is the old spelling of `OR`.
fn permissive(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ");
    let expression = expression.trim();
    if let Some((left, right)) = split(expression, " OR ") {
        return permissive(left) || permissive(right);
    }
    if let Some((left, right)) = split(expression, " AND ") {
        return permissive(left) && permissive(right);
    }
    match expression.strip_prefix('(').and_then(|e| e.strip_suffix(')')) {
        Some(inner) => permissive(inner),
        None => PERMISSIVE.contains(&expression),
    }
}

/// Splits at the first `operator` outside of parentheses.
fn split<'a>(text: &'a str, operator: &str) -> Option<(&'a str, &'a str)> {
    text.match_indices(operator).find_map(|(at, _)| {
        let (left, right) = (&text[..at], &text[at + operator.len()..]);
        (left.matches('(').count() == left.matches(')').count()).then_some((left, right))
    })
}

#[test]
fn expressions_are_understood() {
    assert!(permissive("MIT OR Apache-2.0"));
    assert!(permissive("MIT/Apache-2.0"));
    assert!(permissive("GPL-3.0-only OR (ISC AND MIT)"));
    assert!(permissive("(MIT OR Apache-2.0) AND Unicode-3.0"));
    assert!(!permissive("MIT AND GPL-2.0-only"));
    assert!(!permissive("LGPL-2.1-or-later"));
    assert!(!permissive(""));
}

#[test]
fn every_dependency_is_permissive() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--format-version=1", "--filter-platform=x86_64-unknown-linux-gnu"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 100, "cargo metadata lists only {} packages", packages.len());
    let bad: Vec<String> = packages
        .iter()
        .filter(|package| !permissive(package["license"].as_str().unwrap_or_default()))
        .map(|package| format!("{} {}: {}", package["name"], package["version"], package["license"]))
        .collect();
    assert!(bad.is_empty(), "not permissive:\n{}", bad.join("\n"));
}
