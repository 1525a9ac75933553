//! Tables of medians.

use std::fmt::Write;

use super::Report;
use crate::{products::Product, results::Spread};

/// A table with its heading.
pub struct Table {
    pub title: String,
    pub head: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

impl Table {
    pub fn terminal(&self) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::presets::UTF8_BORDERS_ONLY);
        table.set_header(self.head.clone());
        for row in &self.rows {
            table.add_row(row.clone());
        }
        format!("{}\n{table}", self.title)
    }

    pub fn markdown(&self) -> String {
        let mut text = String::new();
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        text += &line(&self.head);
        let rule: Vec<String> =
            (0..self.head.len()).map(|column| if column == 0 { "---" } else { "--:" }.to_owned()).collect();
        text += &line(&rule);
        for row in &self.rows {
            text += &line(row);
        }
        text
    }
}

/// Every table, in the order of the page.
pub fn all(report: &Report) -> Vec<Table> {
    vec![
        throughput(report),
        cost(report),
        fixed(report),
        highest(report),
        latency(report),
        memory(report),
        single(report),
    ]
}

const WAYS: [(&str, &str); 9] = [
    ("tcp1", "1 there"),
    ("tcp1-back", "1 back"),
    ("tcp1-both", "1 both"),
    ("tcp4", "4 there"),
    ("tcp4-back", "4 back"),
    ("tcp4-both", "4 both"),
    ("tcp16", "16 there"),
    ("tcp16-back", "16 back"),
    ("tcp16-both", "16 both"),
];

/// A table without the rows and columns in which nothing was measured.
fn table(report: &Report, title: &str, head: &[&str], row: impl Fn(Product) -> Vec<Option<String>>) -> Table {
    let rows: Vec<(Product, Vec<Option<String>>)> = report
        .measured()
        .map(|product| (product, row(product)))
        .filter(|(_, cells)| cells.iter().any(Option::is_some))
        .collect();
    let kept = |column: usize| rows.iter().any(|(_, cells)| matches!(cells.get(column), Some(Some(_))));
    let names =
        head.iter().enumerate().filter(|(column, _)| kept(*column)).map(|(_, name)| (*name).to_owned());
    let head = std::iter::once(String::new()).chain(names).collect();
    let texts = rows.iter().map(|(product, cells)| {
        let cells = cells.iter().enumerate().filter(|(column, _)| kept(*column));
        let cells = cells.map(|(_, cell)| cell.clone().unwrap_or_else(|| "–".to_owned()));
        std::iter::once(product.title().to_owned()).chain(cells).collect()
    });
    Table { title: title.to_owned(), head, rows: texts.collect() }
}

/// A median and its spread in a unit, with so many digits behind the point.
pub fn cell(spread: Option<Spread>, unit: f64, digits: usize) -> Option<String> {
    let spread = spread?;
    let mut text = format!("{:.digits$}", spread.median / unit);
    if spread.count > 1 {
        let _ = write!(text, " ({:.digits$}–{:.digits$})", spread.min / unit, spread.max / unit);
    }
    Some(text)
}

pub fn throughput(report: &Report) -> Table {
    table(report, "TCP, Gbit/s by number of streams each way", &WAYS.map(|(_, title)| title), |product| {
        WAYS.map(|(load, _)| cell(report.get(product, load, "bits"), 1e9, 2)).to_vec()
    })
}

pub fn cost(report: &Report) -> Table {
    let loads = ["tcp1", "tcp4", "tcp16", "tcp1-both"];
    let head = [
        "1 there, daemons",
        "machine",
        "4 there, daemons",
        "machine",
        "16 there, daemons",
        "machine",
        "1 both, daemons",
        "machine",
    ];
    table(report, "TCP, CPU-seconds per GB", &head, |product| {
        let daemons =
            |load: &str| (product != Product::Plain).then(|| report.get(product, load, "cpu_gb")).flatten();
        let both = |load| [cell(daemons(load), 1.0, 2), cell(report.get(product, load, "system_gb"), 1.0, 2)];
        loads.iter().flat_map(|load| both(load)).collect()
    })
}

pub fn fixed(report: &Report) -> Table {
    let load = "udp64-150k";
    let head =
        ["offered k/s", "delivered k/s", "lost %", "reordered", "CPU-s per million, daemons", "machine"];
    table(report, "UDP, 150,000 datagrams/s of 64 octets offered", &head, |product| {
        let get = |figure| report.get(product, load, figure);
        let daemons = (product != Product::Plain).then(|| get("cpu_mpkt")).flatten();
        vec![
            cell(get("offered"), 1e3, 1),
            cell(get("packets"), 1e3, 1),
            cell(get("lost"), 0.01, 3),
            cell(get("reordered"), 1.0, 0),
            cell(daemons, 1.0, 2),
            cell(get("system_mpkt"), 1.0, 2),
        ]
    })
}

pub fn highest(report: &Report) -> Table {
    let loads = ["udp64", "udp512", "udp1300", "udp1300-merged"];
    let head = [
        "64 octets, k/s",
        "CPU-s per million",
        "512 octets, k/s",
        "CPU-s per million",
        "1300 octets, k/s",
        "CPU-s per million",
        "1300 merged, k/s",
        "CPU-s per million",
    ];
    table(report, "UDP, the highest rate with less than 0.1 % lost", &head, |product| {
        let daemons =
            |load: &str| (product != Product::Plain).then(|| report.get(product, load, "cpu_mpkt")).flatten();
        let both = |load| [cell(report.get(product, load, "packets"), 1e3, 0), cell(daemons(load), 1.0, 2)];
        loads.iter().flat_map(|load| both(load)).collect()
    })
}

pub fn latency(report: &Report) -> Table {
    let head = ["idle: average", "p50", "p99", "beside TCP: average", "p50", "p99"];
    table(report, "Ping, ms", &head, |product| {
        let figures =
            |load| ["average", "p50", "p99"].map(|figure| cell(report.get(product, load, figure), 1e-3, 3));
        ["ping-idle", "ping-loaded"].into_iter().flat_map(figures).collect()
    })
}

pub fn memory(report: &Report) -> Table {
    let head = ["idle, MiB", "at most, MiB", "start to first packet, s"];
    table(report, "Resident memory of the larger daemon, and start", &head, |product| {
        let get = |figure| report.get(product, "process", figure);
        vec![
            cell(get("idle"), 1_048_576.0, 1),
            cell(get("peak"), 1_048_576.0, 1),
            cell(get("first_packet"), 1.0, 3),
        ]
    })
}

pub fn single(report: &Report) -> Table {
    let loads = ["tcp1", "tcp1-back", "tcp4"];
    let head = [
        "1 there, Gbit/s",
        "CPU-s per GB",
        "1 back, Gbit/s",
        "CPU-s per GB",
        "4 there, Gbit/s",
        "CPU-s per GB",
    ];
    table(report, "TCP over a wire without segmentation offload", &head, |product| {
        let get = |load, figure| report.results.spread(product.name(), false, load, figure);
        let daemons = |load| (product != Product::Plain).then(|| get(load, "cpu_gb")).flatten();
        let both = |load| [cell(get(load, "bits"), 1e9, 2), cell(daemons(load), 1.0, 2)];
        loads.into_iter().flat_map(both).collect()
    })
}
