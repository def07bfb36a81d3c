//! What tracing costs the machine that is traced, beside the tools that do the same job.
//!
//! A storm of loopback connections runs without and with a tracer in turn, and only ratios and differences
//! within one round are compared: the machine is noisy, and so is the storm. Every figure is a median over
//! the rounds, shown with its range.

mod figures;
mod measure;
mod plot;
mod report;
pub(crate) mod storm;
mod tracers;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;

use figures::{Round, Series};
use measure::Bench;
use storm::Load;
use tracers::Tracer;

const DOCUMENT: &str = "docs/benchmarks.md";
const PLOT: &str = "docs/benchmarks-rate.svg";
/// Connections a second at which the growth of the cost is measured.
const RATES: [u32; 5] = [100, 300, 1000, 3000, 10_000];

#[derive(Args)]
pub(crate) struct BenchArgs {
    /// Measure only tracers whose name contains this; may be repeated
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Say which tracers there are, and whether they are installed
    #[arg(long)]
    list: bool,
    /// Pairs of runs, without and with each tracer
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Connections of each run
    #[arg(long, default_value_t = 40_000)]
    connections: u32,
    /// Leave out the runs at fixed rates
    #[arg(long)]
    no_rates: bool,
    /// Write what was found into docs/benchmarks.md
    #[arg(long, conflicts_with = "only")]
    write: bool,
}

/// Measures, prints, and writes the document where asked for.
pub(crate) fn run(arguments: &BenchArgs, root: &Path) -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "tracing needs root: sudo -E env \"PATH=$PATH\" cargo xtask bench"
    );
    ensure!(arguments.rounds > 0, "at least one round is needed");
    let tracer = build(root)?;
    let all = tracers::all(&tracer);
    if arguments.list {
        for one in &all {
            let state = one.missing().unwrap_or_else(|| "installed".to_owned());
            println!("{:<28} {state}", one.name);
        }
        return Ok(());
    }
    let wanted = |one: &&Tracer| {
        arguments.only.is_empty() || arguments.only.iter().any(|part| one.name.contains(part))
    };
    let bench = Bench::new()?;
    let mut installed = Vec::new();
    let mut absent = Vec::new();
    for one in all.iter().filter(wanted) {
        let failed = match one.missing() {
            Some(reason) => Some(reason),
            None => bench.try_out(one).err().map(|error| format!("{error:#}")),
        };
        match failed {
            None => installed.push(one),
            Some(reason) => absent.push(format!("{}: {reason}", one.name)),
        }
    }
    if installed.is_empty() {
        bail!(
            "none of the tracers asked for can be run here: {}",
            absent.join("; ")
        );
    }
    let mut series = Vec::new();
    for load in [
        Load::fast(arguments.connections),
        Load::crossing(arguments.connections),
    ] {
        series.extend(rounds(&bench, &installed, &load, arguments.rounds)?);
    }
    let mut rates = Vec::new();
    if !arguments.no_rates {
        for rate in RATES {
            let ours: Vec<&Tracer> = installed.iter().copied().filter(|one| one.ours).collect();
            let load = Load::paced(rate);
            rates.extend(rounds(&bench, &ours, &load, arguments.rounds.min(3))?);
        }
    }
    let text = report::markdown(&series, &rates, &absent)?;
    println!("\n{text}");
    if arguments.write {
        fs::write(root.join(DOCUMENT), &text)?;
        fs::write(root.join(PLOT), plot::svg(&rates))?;
    }
    Ok(())
}

/// One pair of runs for each tracer in turn, and again.
fn rounds(bench: &Bench, tracers: &[&Tracer], load: &Load, count: usize) -> Result<Vec<Series>> {
    let mut series: Vec<Series> = tracers
        .iter()
        .map(|tracer| Series::new(tracer.name, load))
        .collect();
    for number in 1..=count {
        for (tracer, series) in tracers.iter().zip(&mut series) {
            eprintln!("{}: {} of {count}: {}", load.name, number, tracer.name);
            let without = bench.storm(load)?;
            let with = bench
                .traced(tracer, load)
                .with_context(|| format!("cannot measure {}", tracer.name))?;
            series.rounds.push(Round { without, with });
        }
    }
    for (tracer, series) in tracers.iter().zip(&mut series) {
        if tracer.ours {
            series.program_ns = bench.program_ns(tracer, load)?;
        }
    }
    Ok(series)
}

/// What users run: the release build.
fn build(root: &Path) -> Result<PathBuf> {
    let built = Command::new("cargo")
        .args(["build", "--release", "--package", "tracer"])
        .current_dir(root)
        .status()?;
    ensure!(built.success(), "tracer does not build");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
    Ok(target.join("release/tracer"))
}
