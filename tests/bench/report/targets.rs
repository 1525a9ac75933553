//! What was to be reached, and what was.

use serde::Serialize;

use super::{Report, Table};
use crate::products::Product;

/// A target and what this run reached.
#[derive(Debug, Clone, Serialize)]
pub struct Target {
    /// What, in words.
    pub what: &'static str,
    /// The value to reach, in words.
    pub target: String,
    /// What was reached, in words; nothing if it was not measured.
    pub reached: Option<String>,
    /// Whether that is enough.
    pub met: Option<bool>,
}

fn target(what: &'static str, target: impl Into<String>, reached: Option<(String, bool)>) -> Target {
    let (reached, met) = reached.unzip();
    Target { what, target: target.into(), reached, met }
}

/// Every target, by medians.
pub fn all(report: &Report, ike: Option<&serde_json::Value>) -> Vec<Target> {
    let own = Product::Skybridge;
    let median =
        |product, load: &str, figure: &str| report.get(product, load, figure).map(|spread| spread.median);
    let tcp = median(own, "tcp1", "bits");
    let ratio = |other: Option<f64>, least: f64, words: fn(f64, f64, f64) -> String| {
        let (own, other) = (tcp?, other?);
        Some((words(own / 1e9, own / other, other / 1e9), own / other >= least))
    };
    let at_most = |value: Option<f64>, most: f64, words: fn(f64) -> String| {
        value.map(|value| (words(value), value <= most))
    };
    let gigabits =
        |own: f64, ratio: f64, other: f64| format!("{own:.2} of {other:.2} Gbit/s ({ratio:.2} times)");
    let load = "udp64-150k";
    let fixed = median(own, load, "packets").zip(median(own, load, "offered")).zip(median(own, load, "lost"));
    let fixed = fixed.map(|((packets, offered), lost)| {
        let words =
            format!("{:.1} k/s of {:.1} k/s, {:.3} % lost", packets / 1e3, offered / 1e3, lost * 100.0);
        (words, lost == 0.0 && offered >= 149_000.0)
    });
    let ping = median(own, "ping-idle", "average");
    let compare = |value: Option<f64>, other: Option<f64>, most: f64| {
        let (value, other) = (value?, other?);
        let words =
            format!("{:.3} ms beside {:.3} ms ({:.2} times)", value * 1e3, other * 1e3, value / other);
        Some((words, value / other <= most))
    };
    let floor = median(Product::Forwarder, "ping-idle", "average");
    let low = median(Product::SkybridgeLowLatency, "ping-idle", "average");
    let mut targets = vec![
        target(
            "TCP, one stream",
            "at least half of plain routing",
            ratio(median(Product::Plain, "tcp1", "bits"), 0.5, gigabits),
        ),
        target(
            "TCP, one stream",
            "at least 10 times gotatun",
            ratio(median(Product::Gotatun, "tcp1", "bits"), 10.0, gigabits),
        ),
        target(
            "Both daemons, one TCP stream",
            "at most 1.2 CPU-seconds per GB",
            at_most(median(own, "tcp1", "cpu_gb"), 1.2, |value| format!("{value:.2}")),
        ),
        target("UDP, 64 octets", "150 k/s, none lost", fixed),
        target(
            "Both daemons, UDP at 150 k/s",
            "at most 5 CPU-seconds per million packets",
            at_most(median(own, load, "cpu_mpkt"), 5.0, |value| format!("{value:.2}")),
        ),
        target("Ping, idle, average", "at most 1.25 times the bare forwarder", compare(ping, floor, 1.25)),
        target("Ping, set for low latency", "at most half of the default", compare(low, ping, 0.5)),
        target(
            "Resident memory of a daemon, one tunnel",
            "at most 32 MB",
            at_most(median(own, "process", "peak"), 32e6, |value| format!("{:.1} MB", value / 1e6)),
        ),
    ];
    targets.extend(ike.into_iter().flat_map(of_ike));
    targets
}

/// Those that the benchmark of IKE measures.
fn of_ike(ike: &serde_json::Value) -> [Target; 2] {
    let rate = ike["daemon"]["handshakes_per_second_and_core"].as_f64();
    let many = ike["tunnels"].as_array().into_iter().flatten().chain([&ike["daemon"]]);
    let many = many.filter(|row| row["tunnels"].as_u64().is_some_and(|tunnels| tunnels >= 10_000));
    let memory = many.filter_map(|row| row["resident_octets"].as_f64()).reduce(f64::max);
    [
        target(
            "IKE handshakes as responder",
            "at least 500 a second and core",
            rate.map(|rate| (format!("{rate:.0}"), rate >= 500.0)),
        ),
        target(
            "Resident memory, 10,000 tunnels",
            "at most 300 MB",
            memory.map(|octets| (format!("{:.0} MB", octets / 1e6), octets <= 300e6)),
        ),
    ]
}

pub fn table(report: &Report, ike: Option<&serde_json::Value>) -> Table {
    let rows = all(report, ike).into_iter().map(|target| {
        let verdict = match target.met {
            Some(true) => "reached",
            Some(false) => "missed",
            None => "not measured",
        };
        let reached = target.reached.unwrap_or_else(|| "–".to_owned());
        vec![target.what.to_owned(), target.target, reached, verdict.to_owned()]
    });
    let head = ["", "target", "this run", ""].map(str::to_owned).to_vec();
    Table { title: "Targets".to_owned(), head, rows: rows.collect() }
}
