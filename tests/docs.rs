//! The documents name only what exists.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Every function under `src` and `tests` that is marked as a test.
fn tests() -> BTreeSet<String> {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    sources(&root().join("tests"), &mut files);
    let mut names = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(file).unwrap();
        let mut marked = false;
        for line in text.lines().map(str::trim) {
            if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                marked = true;
            } else if let Some(rest) =
                line.strip_prefix("fn ").or_else(|| line.strip_prefix("async fn ")).filter(|_| marked)
            {
                names.insert(rest.split(['(', '<']).next().unwrap().to_owned());
                marked = false;
            }
        }
        // Those that a macro makes of a property.
        if text.contains("proptest!") {
            let functions = text.lines().filter_map(|line| line.trim().strip_prefix("fn "));
            names.extend(functions.map(|rest| rest.split(['(', '<']).next().unwrap().to_owned()));
        }
    }
    names
}

fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next())
}

#[test]
fn the_rfc_coverage_names_only_modules_and_tests_that_exist() {
    let text = read("docs/rfc-coverage.md");
    let tests = tests();
    let mut missing = Vec::new();
    let mut rows = 0;
    for row in text.lines().filter(|line| line.contains('`')) {
        let cells: Vec<&str> = row.split('|').collect();
        for path in quoted(row).filter(|word| word.contains('/')) {
            if !root().join(path).exists() {
                missing.push(path.to_owned());
            }
        }
        if let [_, _, _, modules, proofs, _] = cells[..] {
            rows += 1;
            assert!(quoted(modules).count() > 0 && quoted(proofs).count() > 0, "an empty cell: {row}");
            missing.extend(quoted(proofs).filter(|name| !tests.contains(*name)).map(str::to_owned));
        }
    }
    assert!(rows > 50, "{rows}");
    assert!(missing.is_empty(), "docs/rfc-coverage.md names what does not exist: {missing:#?}");
}

#[test]
fn links_between_the_documents_lead_somewhere() {
    let mut documents = vec![PathBuf::from("README.md")];
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "md") {
            documents.push(path.strip_prefix(root()).unwrap().to_owned());
        }
    }
    let mut checked = 0;
    let mut broken = Vec::new();
    for document in documents {
        let text = read(document.to_str().unwrap());
        let folder = root().join(document.parent().unwrap());
        for link in links(&text).filter(|link| !link.is_empty() && !link.contains("://")) {
            checked += 1;
            if !folder.join(link).exists() {
                broken.push(format!("{}: {link}", document.display()));
            }
        }
    }
    assert!(checked >= 5, "{checked}");
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_verdict_of_the_fault_detector_is_explained() {
    let text = read("docs/kubernetes.md");
    for code in skybridge::cluster::detect::Code::ALL {
        assert!(text.contains(&format!("| `{code}` |")), "docs/kubernetes.md has no row for {code}");
    }
}
