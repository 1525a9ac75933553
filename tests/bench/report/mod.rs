//! The results for readers: tables on the terminal and in Markdown, JSON, and a chart.

mod chart;
mod page;
mod tables;
mod targets;

use std::{collections::BTreeMap, fs, io, path::Path};

use serde::Serialize;

pub use tables::Table;

use crate::{
    machine::Machine,
    products::Product,
    results::{Results, Spread},
};

/// A run and everything that is told of it.
pub struct Report {
    pub machine: Machine,
    /// Products with their versions, or why they are missing.
    pub products: Vec<(Product, Result<String, String>)>,
    pub rounds: usize,
    pub seconds: f64,
    pub results: Results,
}

#[derive(Serialize)]
struct Median<'a> {
    product: &'a str,
    offload: bool,
    load: &'a str,
    figure: &'a str,
    #[serde(flatten)]
    spread: Spread,
}

impl Report {
    /// The products that were measured.
    fn measured(&self) -> impl Iterator<Item = Product> {
        self.products.iter().filter(|(_, state)| state.is_ok()).map(|(product, _)| *product)
    }

    fn get(&self, product: Product, load: &str, figure: &str) -> Option<Spread> {
        self.results.spread(product.name(), true, load, figure)
    }

    /// Prints every table.
    pub fn print(&self) {
        for table in tables::all(self).into_iter().filter(|table| !table.rows.is_empty()) {
            println!("\n{}", table.terminal());
        }
        println!("\n{}", targets::table(self, None).terminal());
        if let Some(why) = self.results.disturbed() {
            println!("\nSomebody else used this machine: {why}.");
        }
    }

    /// Writes the page, the JSON and the chart into a folder.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        let ike = page::ike(folder);
        fs::write(folder.join("performance.json"), self.json(ike.as_ref())?)?;
        fs::write(folder.join("performance.svg"), chart::draw(self))?;
        fs::write(folder.join("performance.md"), page::fill(self, ike.as_ref()))
    }

    fn json(&self, ike: Option<&serde_json::Value>) -> io::Result<String> {
        let products: BTreeMap<&str, serde_json::Value> = self
            .products
            .iter()
            .map(|(product, state)| {
                let state = match state {
                    Ok(version) => serde_json::json!({ "title": product.title(), "version": version }),
                    Err(why) => serde_json::json!({ "title": product.title(), "missing": why }),
                };
                (product.name(), state)
            })
            .collect();
        let medians: Vec<Median<'_>> = self
            .results
            .spreads()
            .into_iter()
            .map(|((product, offload, load, figure), spread)| Median {
                product,
                offload,
                load,
                figure,
                spread,
            })
            .collect();
        let whole = serde_json::json!({
            "machine": self.machine,
            "products": products,
            "rounds": self.rounds,
            "seconds": self.seconds,
            "inner_mtu": skybridge::lab::path::INNER_MTU,
            "targets": targets::all(self, ike),
            "drift": self.results.drifts,
            "disturbed": self.results.disturbed(),
            "failures": self.results.failures,
            "ike": ike,
        });
        let text = serde_json::to_string_pretty(&whole).map_err(io::Error::other)?;
        // The long lists have a line for each entry.
        let (medians, samples) = (lines(&medians)?, lines(&self.results.samples)?);
        let open = text.trim_end().trim_end_matches('}').trim_end();
        Ok(format!("{open},\n  \"medians\": [\n{medians}\n  ],\n  \"samples\": [\n{samples}\n  ]\n}}\n"))
    }
}

fn lines(entries: &[impl Serialize]) -> io::Result<String> {
    let lines: Result<Vec<String>, _> = entries.iter().map(serde_json::to_string).collect();
    Ok(format!("    {}", lines.map_err(io::Error::other)?.join(",\n    ")))
}
