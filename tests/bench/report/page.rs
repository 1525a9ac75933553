//! docs/performance.md: the template with the tables of a run in it.

use std::{fmt::Write, fs, path::Path};

use super::{Report, tables, targets};
use crate::results::Drift;

/// What people wrote; a line with nothing but `{{name}}` stands for a part of the results.
const TEMPLATE: &str = include_str!("../performance.md");

/// Where the measurements of IKE leave their results.
const IKE: &str = "performance-ike.json";

/// What was measured of IKE, if it was.
pub fn ike(folder: &Path) -> Option<serde_json::Value> {
    serde_json::from_str(&fs::read_to_string(folder.join(IKE)).ok()?).ok()
}

pub fn fill(report: &Report, ike: Option<&serde_json::Value>) -> String {
    let mut page = String::new();
    for line in TEMPLATE.lines() {
        let name = line.strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}"));
        match name {
            Some(name) => page += part(report, ike, name).trim_end(),
            None => page += line,
        }
        page.push('\n');
    }
    page
}

fn part(report: &Report, ike: Option<&serde_json::Value>, name: &str) -> String {
    match name {
        "machine" => machine(report),
        "products" => products(report),
        "targets" => targets::table(report).markdown(),
        "throughput" => tables::throughput(report).markdown(),
        "cost" => tables::cost(report).markdown(),
        "fixed" => tables::fixed(report).markdown(),
        "highest" => tables::highest(report).markdown(),
        "latency" => tables::latency(report).markdown(),
        "memory" => tables::memory(report).markdown(),
        "single" => tables::single(report).markdown(),
        "drift" => drift(report),
        "ike" => ike.map_or_else(|| "Not measured in this run.".to_owned(), handshakes),
        other => format!("(no part is called {other})"),
    }
}

fn machine(report: &Report) -> String {
    let machine = &report.machine;
    let mut text = String::from("| | |\n|---|---|\n");
    let mut row = |name: &str, value: String| {
        let _ = writeln!(text, "| {name} | {value} |");
    };
    row("Processor", format!("{}, {} cores shared by everything", machine.processor, machine.cores));
    row("Memory", format!("{:.0} GiB", machine.memory as f64 / 1_073_741_824.0));
    row("System", format!("{}, Linux {}", machine.system, machine.kernel));
    row("Compiler", machine.compiler.clone());
    row("Commit", machine.commit.clone());
    row("Day", machine.day.clone());
    row("Run", format!("{} rounds, {} s for each load", report.rounds, report.seconds));
    row("Inner MTU", skybridge::lab::path::INNER_MTU.to_string());
    row("`net.core.rmem_max`", machine.socket_buffer.to_string());
    text
}

fn products(report: &Report) -> String {
    let mut text = String::from("| | version |\n|---|---|\n");
    for (product, state) in &report.products {
        let state = match state {
            Ok(version) => version.clone(),
            Err(why) => format!("left out: {why}"),
        };
        let _ = writeln!(text, "| {} | {state} |", product.title());
    }
    for failure in &report.results.failures {
        let _ = write!(text, "\nFailed: {}\n", failure.lines().next().unwrap_or_default());
    }
    text
}

fn drift(report: &Report) -> String {
    let mut text = String::from("| round | before, GB/s | after, GB/s | |\n|--:|--:|--:|--:|\n");
    for (round, Drift { before, after }) in (1..).zip(&report.results.drifts) {
        let change = (after / before - 1.0) * 100.0;
        let _ = writeln!(text, "| {round} | {:.2} | {:.2} | {change:+.1} % |", before / 1e9, after / 1e9);
    }
    text
}

/// Rows of what, value and target, as the file holds them.
fn handshakes(ike: &serde_json::Value) -> String {
    let mut text = String::from("| | this run | target |\n|---|--:|--:|\n");
    let word = |row: &serde_json::Value, name: &str| {
        row.get(name).and_then(|v| v.as_str()).unwrap_or("–").to_owned()
    };
    for row in ike.get("rows").and_then(|rows| rows.as_array()).into_iter().flatten() {
        let _ =
            writeln!(text, "| {} | {} | {} |", word(row, "what"), word(row, "value"), word(row, "target"));
    }
    text
}
