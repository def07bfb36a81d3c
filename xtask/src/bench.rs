//! What tracing costs the machine that is traced, beside the tools that do the same job.
//!
//! A storm of loopback connections runs without and with a tracer in turn, and only ratios and differences
//! within one round are compared: the machine is noisy, and so is the storm. Every figure is a median over
//! the rounds, shown with its range.

mod delay;
mod figures;
mod growth;
mod measure;
mod plot;
mod report;
pub(crate) mod storm;
mod tracers;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, ValueEnum};

use figures::{Round, Series};
use measure::Bench;
use report::Measured;
use storm::Load;
use tracers::Tracer;

const DOCUMENT: &str = "docs/benchmarks.md";
const RATES_PLOT: &str = "docs/benchmarks-rate.svg";
const GROWTH_PLOT: &str = "docs/benchmarks-growth.svg";
/// Starts and stops.
const DELAYS: usize = 15;
/// Connections a second at which the growth of the cost is measured.
const RATES: [u32; 4] = [100, 1000, 3000, 10_000];
/// Pairs of runs at each of them, at most.
const PACED_ROUNDS: usize = 2;

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// As many connections as the machine can make
    Storms,
    /// Connections at fixed rates
    Rates,
    /// How long it takes to start and to stop
    Delays,
    /// Decoding and tracking by themselves
    Core,
}

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
    /// Leave out a part; may be repeated
    #[arg(long, value_name = "PART")]
    skip: Vec<Part>,
    /// Write what was found into docs/benchmarks.md
    #[arg(long, conflicts_with_all = ["only", "skip"])]
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
    let measures = |part| !arguments.skip.contains(&part);
    let mut storms = Vec::new();
    for load in [
        Load::fast(arguments.connections),
        Load::crossing(arguments.connections),
    ] {
        if measures(Part::Storms) {
            storms.extend(rounds(&bench, &installed, &load, arguments.rounds)?);
        }
    }
    let mut rates = Vec::new();
    if measures(Part::Rates) {
        for rate in RATES {
            let ours: Vec<&Tracer> = installed.iter().copied().filter(|one| one.ours).collect();
            let load = Load::paced(rate);
            rates.extend(rounds(
                &bench,
                &ours,
                &load,
                arguments.rounds.min(PACED_ROUNDS),
            )?);
        }
    }
    let measured = Measured {
        storms,
        rates,
        delays: measures(Part::Delays)
            .then(|| delay::measure(&bench, &tracer, DELAYS))
            .transpose()?,
        growth: measures(Part::Core)
            .then(|| growth::measure(root))
            .transpose()?,
        absent,
    };
    let text = report::markdown(&measured)?;
    println!("\n{text}");
    if arguments.write {
        fs::write(root.join(DOCUMENT), &text)?;
        fs::write(root.join(RATES_PLOT), plot::rates(&measured.rates))?;
        if let Some(growth) = &measured.growth {
            fs::write(root.join(GROWTH_PLOT), plot::growth(&growth.points))?;
        }
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
        if tracer.ours && load.arguments.rate().is_none() {
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
