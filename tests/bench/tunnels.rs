//! Tunnels beside each other on one path: client – gateway – wire – gateway – server in network namespaces.
//!
//! ```text
//! make bench                                                    everything; writes docs/performance.*
//! cargo bench --bench tunnels                                   the same, without installing peers
//! cargo bench --bench tunnels -- --quick --only plain,skybridge --loads tcp1,udp64-150k,ping-idle
//! cargo bench --bench tunnels -- --list
//! ```
//!
//! Only a whole run writes the documents; with `--quick`, `--only` or `--loads` everything is printed only, unless
//! `--write` is given. Products take turns within each round, so that what happens to the machine happens to all of
//! them. `SKYLAB_PROGRAM` names another executable of Skybridge than the one cargo built; `SKYBRIDGE_BENCH_TOOLS` a
//! folder with other products' programs.
#![allow(clippy::print_stdout, missing_docs, unreachable_pub)]

mod drift;
mod loads;
mod machine;
mod products;
mod report;
mod results;
mod streams;
#[path = "../interop/strongswan.rs"]
#[allow(dead_code)]
mod strongswan;
#[path = "../interop/vici.rs"]
#[allow(dead_code)]
mod vici;

use std::{path::Path as FilePath, process::ExitCode, time::Duration};

use clap::Parser;
use skybridge::lab::{Entered, Entry, LabError, enter, path::Path, usage::Usage};

use loads::{Figures, Load, Way};
use machine::Machine;
use products::{Product, Tools};
use report::Report;
use results::{Drift, Results, Sample};

/// Measures tunnels beside each other in network namespaces.
#[derive(Debug, Parser)]
#[command(name = "tunnels")]
struct Options {
    /// One short round
    #[arg(long)]
    quick: bool,
    /// Products to measure, separated by commas; all that are installed otherwise
    #[arg(long, value_delimiter = ',', value_name = "PRODUCT")]
    only: Vec<String>,
    /// Loads to put on them, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "LOAD")]
    loads: Vec<String>,
    /// Rounds
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds for each load
    #[arg(long)]
    seconds: Option<f64>,
    /// Leave out the wire without segmentation offload
    #[arg(long)]
    only_offload: bool,
    /// List products and loads and measure nothing
    #[arg(long)]
    list: bool,
    /// Write docs/performance.* whatever was measured
    #[arg(long)]
    write: bool,
    /// What cargo adds
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some((products::FORWARD, rest)) =
        arguments.split_first().map(|(first, rest)| (first.as_str(), rest))
    {
        return products::forward(rest);
    }
    if arguments.is_empty() {
        // As `cargo test --all-targets` starts it.
        println!("measures nothing unless started by `cargo bench` or with arguments (see --help)");
        return ExitCode::SUCCESS;
    }
    let options = Options::parse();
    if options.list {
        list(&Tools::find());
        return ExitCode::SUCCESS;
    }
    let inside = match enter() {
        Ok(Entry::Inside(inside)) => inside,
        Ok(Entry::Outside(status)) => return status,
        Err(error) => {
            eprintln!("the benchmark cannot run: {error}");
            return ExitCode::FAILURE;
        }
    };
    let whole = !options.quick && options.only.is_empty() && options.loads.is_empty();
    match measure(&inside, &options) {
        Ok(report) => {
            report.print();
            if !whole && !options.write {
                return ExitCode::SUCCESS;
            }
            let folder = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("docs");
            match report.write(&folder) {
                Ok(()) => {
                    println!("\nwritten: docs/performance.md, docs/performance.json, docs/performance.svg");
                    ExitCode::SUCCESS
                }
                Err(error) => {
                    eprintln!("docs/performance.*: {error}");
                    ExitCode::FAILURE
                }
            }
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn list(tools: &Tools) {
    println!("Products:");
    for product in Product::ALL {
        let state = product.probe(tools).unwrap_or_else(|why| format!("left out: {why}"));
        println!("  {:<22} {}, {state}", product.name(), product.title());
    }
    let names: Vec<String> = Load::ALL.iter().map(|load| load.name()).collect();
    println!("Loads:\n  {}", names.join(" "));
}

/// Loads for the wire without segmentation offload.
const SINGLE: [Load; 3] = [Load::Tcp(1, Way::There), Load::Tcp(1, Way::Back), Load::Tcp(4, Way::There)];

fn chosen<T: Copy>(all: &[T], name: impl Fn(T) -> String, wanted: &[String]) -> Result<Vec<T>, LabError> {
    for want in wanted {
        if !all.iter().any(|one| name(*one) == *want) {
            return Err(LabError::check(format!("there is no {want}; see --list")));
        }
    }
    Ok(all.iter().copied().filter(|one| wanted.is_empty() || wanted.contains(&name(*one))).collect())
}

fn measure(inside: &Entered, options: &Options) -> Result<Report, LabError> {
    let machine = Machine::here();
    println!(
        "{}, {} cores, Linux {}, commit {}",
        machine.processor, machine.cores, machine.kernel, machine.commit
    );
    let tools = Tools::find();
    let products = chosen(&Product::ALL, |product| product.name().to_owned(), &options.only)?;
    let loads = chosen(&Load::ALL, Load::name, &options.loads)?;
    let rounds = options.rounds.unwrap_or(if options.quick { 1 } else { 3 });
    let seconds = options.seconds.unwrap_or(if options.quick { 1.0 } else { 1.5 });
    let time = Duration::from_secs_f64(seconds.clamp(0.1, 600.0));
    let products: Vec<_> = products.into_iter().map(|product| (product, product.probe(&tools))).collect();
    for (product, state) in &products {
        match state {
            Ok(version) => println!("{:<24} {version}", product.title()),
            Err(why) => println!("{:<24} left out: {why}", product.title()),
        }
    }
    let present: Vec<Product> =
        products.iter().filter(|(_, state)| state.is_ok()).map(|(product, _)| *product).collect();
    let mut results = Results::default();
    for round in 1..=rounds {
        let before = drift::seal_rate();
        for offload in [true, false] {
            if !offload && options.only_offload {
                continue;
            }
            for product in &present {
                let loads = loads_of(*product, offload, &loads);
                if loads.is_empty() {
                    continue;
                }
                if let Err(error) = one(inside, &tools, *product, offload, &loads, round, time, &mut results)
                {
                    println!("round {round} {}: FAILED: {error}", product.name());
                    results.failures.push(format!("round {round}, {}: {error}", product.title()));
                }
            }
        }
        let after = drift::seal_rate();
        println!(
            "round {round}: a fixed AES-256-GCM loop did {:.2} GB/s before and {:.2} GB/s after ({:+.1} %)",
            before / 1e9,
            after / 1e9,
            (after / before - 1.0) * 100.0
        );
        results.drifts.push(Drift { before, after });
    }
    Ok(Report { machine, products, rounds, seconds, results })
}

/// What makes sense for a product, of the loads wanted.
fn loads_of(product: Product, offload: bool, wanted: &[Load]) -> Vec<Load> {
    let fits = |load: &Load| match (product, offload) {
        (Product::SkybridgeLowLatency, true) => matches!(load, Load::PingIdle | Load::PingLoaded),
        (Product::SkybridgeLowLatency | Product::Forwarder, false) => false,
        (_, true) => true,
        (_, false) => SINGLE.contains(load),
    };
    wanted.iter().copied().filter(fits).collect()
}

#[allow(clippy::too_many_arguments)]
fn one(
    inside: &Entered,
    tools: &Tools,
    product: Product,
    offload: bool,
    loads: &[Load],
    round: usize,
    time: Duration,
    results: &mut Results,
) -> Result<(), LabError> {
    let path = Path::build(inside)?;
    if !offload {
        path.without_offload()?;
    }
    let running = product.start(&path, tools)?;
    let mut memory = Figures::new();
    for pid in &running.daemons {
        let resident = Usage::of(*pid)?.resident as f64;
        memory.entry("idle".to_owned()).and_modify(|most| *most = most.max(resident)).or_insert(resident);
    }
    if let Some(first) = running.first_packet {
        memory.insert("first_packet".to_owned(), first.as_secs_f64());
        println!("round {round} {:<22} {:<14} {:.3} s", product.name(), "first packet", first.as_secs_f64());
    }
    let wire = if offload { "" } else { " (wire without offload)" };
    for load in loads {
        let hint =
            results.spread(product.name(), offload, &load.name(), "offered").map(|spread| spread.median);
        let mut figures = load
            .run(&path, &running, time, hint)
            .map_err(|error| LabError::check(format!("{}: {error}\n{}", load.name(), running.words())))?;
        println!(
            "round {round} {:<22} {:<14} {}{wire}",
            product.name(),
            load.name(),
            load.headline(&figures)
        );
        figures.values_mut().for_each(|value| *value = significant(*value));
        results.samples.push(Sample { product: product.name(), offload, load: load.name(), round, figures });
    }
    for pid in &running.daemons {
        let peak = Usage::of(*pid)?.peak as f64;
        memory.entry("peak".to_owned()).and_modify(|most| *most = most.max(peak)).or_insert(peak);
    }
    if !memory.is_empty() {
        if let (Some(idle), Some(peak)) = (memory.get("idle"), memory.get("peak")) {
            let (idle, peak) = (idle / 1048576.0, peak / 1048576.0);
            println!(
                "round {round} {:<22} {:<14} {idle:.1} MiB idle, {peak:.1} MiB at most",
                product.name(),
                "memory"
            );
        }
        let load = "process".to_owned();
        results.samples.push(Sample { product: product.name(), offload, load, round, figures: memory });
    }
    Ok(())
}

/// With six digits; nothing here is known better.
fn significant(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value)
}
