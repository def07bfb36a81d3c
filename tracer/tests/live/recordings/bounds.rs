//! Recordings in several files, and within bounds.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{LATELY_NS, TRANSITIONS, before, oracle, pause_before, talk, told_before, with};
use crate::compare;
use crate::harness::Verdict;
use crate::netns::Namespace;
use crate::oracle::Record;
use crate::recorder::{Recorder, Scratch, run_well};
use crate::stage;
use crate::tracer::{Output, Tracer};

const KIB: u64 = 1024;
/// For as long as the disk, the machine and others need.
const PATIENCE: Duration = Duration::from_mins(1);

fn sizes(scratch: &Scratch) -> Result<Vec<u64>> {
    let mut sizes = Vec::new();
    for path in scratch.paths()? {
        // It may be gone by now.
        if let Ok(metadata) = std::fs::metadata(path) {
            sizes.push(metadata.len());
        }
    }
    Ok(sizes)
}

/// The number of a file in its set.
fn number(name: &str) -> Result<u32> {
    let digits = name.split('.').nth(1).context("no number")?;
    Ok(digits.parse()?)
}

/// Records while connections are made until `enough`, and ends it.
fn record_until(
    scratch: &Scratch,
    arguments: &[&str],
    mut enough: impl FnMut(&Scratch) -> Result<bool>,
) -> Result<(Vec<Record>, String)> {
    let namespace = Namespace::new()?;
    let oracle = oracle()?;
    let recorder = Recorder::start(&scratch.path("s.tracer"), &with(arguments))?;
    let deadline = Instant::now() + PATIENCE;
    while !enough(scratch)? {
        ensure!(Instant::now() < deadline, "it is never enough");
        for _ in 0..20 {
            talk(&namespace)?;
        }
    }
    stage::await_open_sockets(&namespace, 0)?;
    let stderr = recorder.stop()?;
    Ok((oracle.finish()?, stderr))
}

fn replay(files: &[PathBuf]) -> Result<Output> {
    let output = Tracer::replay(files, &[""; 0])?.wait()?;
    output.ensure_complete()?;
    Ok(output)
}

fn events_of(end: &Value) -> Result<u64> {
    let events = end.get("events").and_then(Value::as_u64);
    events.context("no count of events")
}

/// Together the files tell what the kernel recorded, each event once; each can be read alone.
fn ensure_seamless(scratch: &Scratch, records: &[Record]) -> Result<()> {
    let mut files = scratch.paths()?;
    let together = replay(&files)?;
    compare::ensure_equal(records, &together.transitions)?;
    let events = events_of(&together.end)?;
    let mut alone = 0;
    for file in &files {
        let part = replay(std::slice::from_ref(file))?;
        alone += events_of(&part.end)?;
        compare::ensure_part(records, &part.transitions)?;
    }
    ensure!(events == alone, "{alone} in the files, not {events}");

    // In any order, and through every command.
    let in_order = run_well(&["replay", "-o", "jsonl"], &files)?;
    let summary = run_well(&["summary", "-o", "jsonl"], &files)?;
    files.reverse();
    ensure!(in_order == run_well(&["replay", "-o", "jsonl"], &files)?);
    ensure!(summary == run_well(&["summary", "-o", "jsonl"], &files)?);
    ensure!(in_order == run_well(&["export", "--format", "jsonl"], &files)?);
    let end = summary.split(|byte| *byte == b'\n').rev().nth(1);
    let end: Value = serde_json::from_slice(end.context("no line")?)?;
    ensure!(events_of(&end)? == events, "{end}");
    let page = String::from_utf8(run_well(&["report"], &files)?)?;
    ensure!(page.ends_with("</html>\n"));
    Ok(())
}

pub(super) fn by_size() -> Result<Verdict> {
    const FILES: usize = 4;
    let scratch = Scratch::new()?;
    let (records, _) = record_until(&scratch, &["--rotate-size", "64K"], |scratch| {
        Ok(scratch.names()?.len() >= FILES)
    })?;
    let sizes = sizes(&scratch)?;
    let (_, full) = sizes.split_last().context("no file")?;
    // A block more at most, and the end of the file.
    let bounds = 64 * KIB..192 * KIB;
    ensure!(full.iter().all(|size| bounds.contains(size)), "{sizes:?}");
    ensure_seamless(&scratch, &records)?;
    Ok(Verdict::Passed)
}

pub(super) fn by_time() -> Result<Verdict> {
    const FILES: usize = 5;
    let scratch = Scratch::new()?;
    let start = Instant::now();
    let (records, _) = record_until(&scratch, &["--rotate-time", "500ms"], |scratch| {
        Ok(scratch.names()?.len() >= FILES)
    })?;
    let took = start.elapsed();
    ensure!(took >= Duration::from_secs(2), "{FILES} files in {took:?}");
    ensure_seamless(&scratch, &records)?;
    Ok(Verdict::Passed)
}

pub(super) fn keep() -> Result<Verdict> {
    const REORDERED: u64 = 100_000_000;
    let scratch = Scratch::new()?;
    let arguments = ["--rotate-time", "300ms", "--keep", "3"];
    let mut most = 0;
    let (records, stderr) = record_until(&scratch, &arguments, |scratch| {
        let names = scratch.names()?;
        most = most.max(names.len());
        let last = names.last().context("no file")?;
        Ok(number(last)? >= 7)
    })?;
    // For a moment there is the next one as well.
    ensure!(most <= 4, "{most} files");
    let names = scratch.names()?;
    let numbers = names.iter().map(|name| number(name));
    let numbers: Vec<u32> = numbers.collect::<Result<_>>()?;
    let first = numbers.first().copied().context("no file")?;
    ensure!(numbers == [first, first + 1, first + 2], "{names:?}");
    ensure!(stderr.contains("oldest files were removed"), "{stderr}");
    let replay = replay(&scratch.paths()?)?;
    let begin = replay.transitions.iter().map(|line| line.mono_ns).min();
    let begin = begin.context("nothing is left")?;
    let begin = pause_before(&records, begin + REORDERED + LATELY_NS)?;
    let mut after = records.clone();
    after.retain(|record| record.mono_ns >= begin);
    let mut late = replay.transitions.clone();
    late.retain(|line| line.mono_ns >= begin);
    compare::ensure_equal(&after, &late)?;
    compare::ensure_part(
        &before(&records, begin),
        &told_before(&replay.transitions, begin),
    )?;
    ensure!(late.len() < records.len(), "the test does not test");
    let missing = records.len() - replay.transitions.len();
    ensure!(
        replay.stderr.contains(&format!("{missing} transitions")),
        "{missing} transitions are missing, and it does not say so: {}",
        replay.stderr
    );
    Ok(Verdict::Passed)
}

/// One file that may not grow: recording ends, and says so.
pub(super) fn max_size() -> Result<Verdict> {
    const REORDERED: u64 = 100_000_000;
    const MOST: u64 = 96 * KIB;
    let namespace = Namespace::new()?;
    let scratch = Scratch::new()?;
    let file = scratch.path("s.tracer");
    let oracle = oracle()?;
    let mut recorder = Recorder::start(&file, &with(&["--max-size", "96K"]))?;
    let deadline = Instant::now() + PATIENCE;
    while recorder.runs()? {
        ensure!(Instant::now() < deadline, "it never ends");
        talk(&namespace)?;
    }
    let ended = recorder.wait()?;
    ended.ensure_success()?;
    ensure!(ended.stderr.contains("--max-size was reached"), "{ended:?}");
    let size = std::fs::metadata(&file)?.len();
    ensure!((MOST / 2..=MOST).contains(&size), "{size} bytes");
    let records = oracle.finish()?;
    let replay = replay(&[file])?;
    ensure!(!replay.stderr.contains("no end"), "{}", replay.stderr);
    let last = replay.transitions.iter().map(|line| line.mono_ns).max();
    let last_ns = last.context("nothing was recorded")?;
    let safe_ns = pause_before(&records, last_ns - REORDERED)?;
    compare::ensure_equal(
        &before(&records, safe_ns),
        &told_before(&replay.transitions, safe_ns),
    )?;
    ensure!(
        ended.stderr.contains(&format!(
            ", {} of them of transitions: ",
            replay.transitions.len()
        )),
        "{} are in it: {}",
        replay.transitions.len(),
        ended.stderr
    );
    Ok(Verdict::Passed)
}

/// All files together may not grow: the oldest give way, also where only time would begin a new one.
pub(super) fn max_size_of_many() -> Result<Verdict> {
    const MOST: u64 = 512 * KIB;
    for arguments in [
        ["--rotate-size", "64K", "--max-size", "512K"],
        ["--rotate-time", "1h", "--max-size", "512K"],
    ] {
        let scratch = Scratch::new()?;
        let (mut most, mut written) = (0, 0);
        let (records, _) = record_until(&scratch, &arguments, |scratch| {
            let sizes = sizes(scratch)?;
            most = most.max(sizes.iter().sum());
            let names = scratch.names()?;
            written = number(names.last().context("no file")?)?;
            // Until some must have been removed.
            Ok(!names.iter().any(|name| name == "s.000002.tracer") && written > 2)
        })?;
        ensure!(
            (MOST / 2..=MOST).contains(&most),
            "{arguments:?}: {most} bytes"
        );
        let replay = replay(&scratch.paths()?)?;
        compare::ensure_part(&records, &replay.transitions)?;
        ensure!(replay.transitions.len() > TRANSITIONS, "{arguments:?}");
    }
    Ok(Verdict::Passed)
}
