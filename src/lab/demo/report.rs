//! The rows of the demo, as a table or as JSON.
#![allow(clippy::print_stdout)]

use std::time::{Duration, Instant};

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use crate::lab::LabError;

use super::{progress::Progress, services::Line};

/// One row of the table.
#[derive(Debug, Serialize)]
struct Row {
    check: &'static str,
    passed: bool,
    detail: String,
    seconds: f64,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Report {
    rows: Vec<Row>,
    services: Vec<Line>,
}

impl Report {
    /// Does one check and keeps its row; returns whether it passed.
    pub(super) fn run(
        &mut self,
        progress: &Progress,
        total: usize,
        check: &'static str,
        measure: impl FnOnce() -> Result<String, LabError>,
    ) -> bool {
        progress.say(&format!("[{}/{total}] {check}", self.rows.len() + 1));
        let begun = Instant::now();
        let outcome = measure();
        let passed = outcome.is_ok();
        let detail = outcome.unwrap_or_else(|error| error.to_string());
        progress.note(&format!("{} {check}: {detail}", if passed { "ok  " } else { "FAIL" }));
        self.rows.push(Row { check, passed, detail, seconds: begun.elapsed().as_secs_f64() });
        passed
    }

    /// Keeps a row for a check that could not be tried, which counts as failed.
    pub(super) fn skip(&mut self, check: &'static str) {
        let detail = "not tried: there is no tunnel".to_owned();
        self.rows.push(Row { check, passed: false, detail, seconds: 0.0 });
    }

    /// Keeps what the Services answered.
    pub(super) fn services(&mut self, lines: Vec<Line>) {
        self.services = lines;
    }

    /// Whether every row passed.
    pub(super) fn passed(&self) -> bool {
        self.rows.iter().all(|row| row.passed)
    }

    /// Prints everything on standard output.
    pub(super) fn print(&self, json: bool, took: Duration) {
        if json {
            let document = serde_json::json!({
                "passed": self.passed(),
                "seconds": took.as_secs_f64(),
                "rows": self.rows,
                "services": self.services,
            });
            println!("{document:#}");
            return;
        }
        println!("{}", self.table());
        if !self.services.is_empty() {
            println!(
                "what the office gets of the cluster's Services, and the client's address that the Pod saw:"
            );
            println!("{}", self.services_table());
        }
        let failed = self.rows.iter().filter(|row| !row.passed).count();
        let verdict = if failed == 0 { "every row passed".to_owned() } else { format!("{failed} failed") };
        println!("{} rows in {:.0} s: {verdict}", self.rows.len(), took.as_secs_f64());
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(["", "check", "measured"]);
        for row in &self.rows {
            table.add_row([if row.passed { "ok" } else { "FAIL" }, row.check, &row.detail]);
        }
        table
    }

    fn services_table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
        let names = self.services.first().map(|line| line.answers.iter().map(|(name, _)| name.as_str()));
        table.set_header(std::iter::once("").chain(names.into_iter().flatten()));
        for line in &self.services {
            let answers = line.answers.iter().map(|(_, answer)| answer.as_str());
            table.add_row(std::iter::once(line.scenario).chain(answers));
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_was_not_tried_fails_the_demo() {
        let mut report = Report::default();
        assert!(report.passed());
        report.skip("ping");
        assert!(!report.passed());
        assert!(report.table().to_string().contains("FAIL"));
    }
}
