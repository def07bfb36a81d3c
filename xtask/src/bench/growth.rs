//! What an event costs the core, by how many connections are open: from the Criterion benchmark.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use super::figures::Spread;

/// Name of the group in `tracer/benches/core`.
const GROUP: &str = "decode and track";
/// As in `tracer/tests/memory.rs`.
const SAYS: &str = " open connections: ";

/// Cost with a number of connections open.
pub(super) struct Point {
    pub(super) open: u32,
    /// Nanoseconds for each event: the median, with its confidence interval.
    pub(super) event_ns: Spread,
}

/// The core by itself.
pub(super) struct Growth {
    pub(super) points: Vec<Point>,
    /// What `tracer/tests/memory.rs` says of its memory.
    pub(super) memory: String,
}

pub(super) fn measure(root: &Path) -> Result<Growth> {
    let benched = Command::new("cargo")
        .args(["bench", "--quiet", "--package", "tracer", "--bench", "core"])
        .args(["--", GROUP])
        .current_dir(root)
        .status()?;
    ensure!(benched.success(), "the benchmark of the core failed");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
    let folder = target.join("criterion").join(GROUP).join("open");
    let mut points = Vec::new();
    for entry in fs::read_dir(&folder)? {
        let entry = entry?;
        if let Some(open) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        {
            let event_ns = read(&entry.path().join("new"))?;
            points.push(Point { open, event_ns });
        }
    }
    points.sort_unstable_by_key(|point| point.open);
    ensure!(!points.is_empty(), "nothing in {}", folder.display());
    Ok(Growth {
        points,
        memory: memory(root)?,
    })
}

fn memory(root: &Path) -> Result<String> {
    let output = Command::new("cargo")
        .args(["test", "--quiet", "--package", "tracer", "--test", "memory"])
        .args(["--", "--nocapture"])
        .current_dir(root)
        .output()?;
    ensure!(output.status.success(), "the test of the memory failed");
    let text = String::from_utf8(output.stdout)?;
    let line = text.lines().find(|line| line.contains(SAYS));
    Ok(line.context("it does not say what it measured")?.to_owned())
}

#[derive(Deserialize)]
struct Estimates {
    median: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    point_estimate: f64,
    confidence_interval: Interval,
}

#[derive(Deserialize)]
struct Interval {
    lower_bound: f64,
    upper_bound: f64,
}

#[derive(Deserialize)]
struct Benchmark {
    throughput: Elements,
}

#[derive(Deserialize)]
struct Elements {
    #[serde(rename = "Elements")]
    elements: f64,
}

/// What Criterion left there; it times all events together.
fn read(folder: &Path) -> Result<Spread> {
    let text = |name| fs::read_to_string(folder.join(name));
    let Estimates { median } = serde_json::from_str(&text("estimates.json")?)?;
    let benchmark: Benchmark = serde_json::from_str(&text("benchmark.json")?)?;
    let events = benchmark.throughput.elements;
    Ok(Spread {
        low: median.confidence_interval.lower_bound / events,
        median: median.point_estimate / events,
        high: median.confidence_interval.upper_bound / events,
    })
}
