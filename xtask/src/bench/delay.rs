//! How long it takes until the first event is told, and how long to stop.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::figures::Spread;
use super::measure::{Bench, interrupt};
use super::storm::Load;

/// Fast enough that the first transition after all is attached comes at once.
const RATE: u32 = 2_000;
const TRANSITION: &str = "{\"type\":\"transition\"";

/// Times in milliseconds.
pub(super) struct Delays {
    /// From the start of the process to the first transition told.
    pub(super) start_ms: Spread,
    /// From SIGINT to the end of the process.
    pub(super) stop_ms: Spread,
}

/// Starts and stops the tracer while connections come and go.
pub(super) fn measure(bench: &Bench, tracer: &Path, rounds: usize) -> Result<Delays> {
    let load = Load::paced(RATE);
    let mut start = Vec::new();
    let mut stop = Vec::new();
    for _ in 0..rounds {
        let mut storm = bench.storm_command(&load)?.stdout(Stdio::null()).spawn()?;
        let times = once(tracer);
        storm.kill()?;
        storm.wait()?;
        let (to_start, to_stop) = times?;
        start.push(to_start.as_secs_f64() * 1e3);
        stop.push(to_stop.as_secs_f64() * 1e3);
    }
    Ok(Delays {
        start_ms: Spread::of(start).context("no rounds")?,
        stop_ms: Spread::of(stop).context("no rounds")?,
    })
}

fn once(tracer: &Path) -> Result<(Duration, Duration)> {
    let begin = Instant::now();
    let mut child = Command::new(tracer)
        .args(["-o", "jsonl"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut lines = BufReader::new(child.stdout.take().context("no pipe")?).lines();
    let first = lines.by_ref().find(|line| match line {
        Ok(line) => line.starts_with(TRANSITION),
        Err(_) => true,
    });
    let to_start = begin.elapsed();
    first.context("it ended before the first transition")??;
    // What is written meanwhile is to be read, or it would wait.
    let reader = std::thread::spawn(move || lines.count());
    std::thread::sleep(Duration::from_millis(300));
    let begin = Instant::now();
    interrupt(&child)?;
    let status = child.wait()?;
    let to_stop = begin.elapsed();
    ensure!(status.success(), "it ended with {status}");
    ensure!(reader.join().is_ok(), "its output cannot be read");
    Ok((to_start, to_stop))
}
