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
        "targets" => targets::table(report, ike).markdown(),
        "throughput" => tables::throughput(report).markdown(),
        "cost" => tables::cost(report).markdown(),
        "fixed" => tables::fixed(report).markdown(),
        "highest" => tables::highest(report).markdown(),
        "latency" => tables::latency(report).markdown(),
        "memory" => tables::memory(report).markdown(),
        "single" => tables::single(report).markdown(),
        "drift" => drift(report),
        "disturbed" => report.results.disturbed().map_or_else(String::new, |why| {
            format!("> **Somebody else used this machine during the run**: {why}. Take no figure for more than a hint.")
        }),
        "ike" => ike.map_or_else(
            || {
                "Not measured. `cargo bench --bench ike -- --json docs/performance-ike.json` measures it."
                    .to_owned()
            },
            handshakes,
        ),
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
    row("Run", format!("rounds: {}, seconds for each load: {}", report.rounds, report.seconds));
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

/// Every list of measurements as a table, its keys as columns; a single measurement is a list of one.
fn handshakes(ike: &serde_json::Value) -> String {
    let mut text = String::new();
    let parts = [
        ("handshakes", "A handshake: CPU time of either side, two engines in memory."),
        ("daemon", "The daemon as responder over UDP."),
        ("tunnels", "Many tunnels at one responder, without sockets."),
        ("primitives_us", "The primitives alone, in microseconds."),
    ];
    for (key, words) in parts {
        let rows: Vec<&serde_json::Map<String, serde_json::Value>> = match ike.get(key) {
            Some(serde_json::Value::Array(rows)) => rows.iter().filter_map(|row| row.as_object()).collect(),
            Some(serde_json::Value::Object(row)) => vec![row],
            _ => continue,
        };
        let Some(first) = rows.first() else { continue };
        let names: Vec<&String> = first.keys().collect();
        // A line for each figure reads better than a table of a dozen columns.
        let title = ["auth", "tunnels"].into_iter().find(|name| first.contains_key(*name));
        let cell = |row: &serde_json::Map<String, serde_json::Value>, name: &str| match row.get(name) {
            Some(serde_json::Value::String(word)) => word.clone(),
            Some(value) => value.to_string(),
            None => "–".to_owned(),
        };
        let _ = write!(text, "{words}\n\n| {} |", title.unwrap_or_default());
        for row in &rows {
            let _ =
                write!(text, " {} |", title.map_or_else(|| "this run".to_owned(), |title| cell(row, title)));
        }
        let _ = writeln!(text, "\n|---|{}", "--:|".repeat(rows.len()));
        for name in names.into_iter().filter(|name| Some(name.as_str()) != title) {
            let cells: Vec<String> = rows.iter().map(|row| cell(row, name)).collect();
            let _ = writeln!(text, "| {} | {} |", name.replace('_', " "), cells.join(" | "));
        }
        text.push('\n');
    }
    text
}
