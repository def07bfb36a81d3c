//! What is made of a recording is what would have been made live.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{SOCKETS, TRANSITIONS, happenings, oracle, ports, talk, with};
use crate::compare;
use crate::harness::Verdict;
use crate::netns::Namespace;
use crate::recorder::{Recorder, Scratch, run_well};
use crate::stage;
use crate::tracer::{self, Tracer};

/// Of each format, what is replayed is byte by byte what was shown beside the recording; and that is what
/// the kernel recorded.
pub(super) fn replay_is_the_live_view() -> Result<Verdict> {
    const FORMATS: [&str; 4] = ["text", "jsonl", "csv", "timeline"];
    let namespace = Namespace::new()?;
    let scratch = Scratch::new()?;
    let file = |format: &str| scratch.path(&format!("{format}.tracer"));
    let shown = |format: &str| scratch.path(&format!("{format}.shown"));
    let oracle = oracle()?;
    let mut recorders = Vec::new();
    for format in FORMATS {
        let view = File::create(shown(format))?;
        let recorder = Recorder::start_with(&file(format), &with(&["--tee", format]), |command| {
            command.stdout(view);
        })?;
        recorders.push(recorder);
    }
    for _ in 0..5 {
        happenings(&namespace)?;
    }
    let open = namespace.run(|| stage::pair_at(super::place()))?;
    for recorder in recorders {
        recorder.stop()?;
    }
    let records = oracle.finish()?;
    drop(open);
    for format in FORMATS {
        let replayed = run_well(&["replay", "-o", format], &[file(format)])?;
        let live = std::fs::read(shown(format))?;
        ensure!(
            live.len() > 1000,
            "{format}: hardly anything was shown: {}",
            String::from_utf8_lossy(&live)
        );
        ensure!(
            replayed == live,
            "{format}: shown live:\n{}\nreplayed:\n{}",
            String::from_utf8_lossy(&live),
            String::from_utf8_lossy(&replayed)
        );
    }
    let replay = Tracer::replay(&[file("text")], &[""; 0])?.wait()?;
    replay.ensure_complete()?;
    compare::ensure_equal(&records, &replay.transitions)?;
    Ok(Verdict::Passed)
}

/// With a ring buffer that is far too small: the loss is told in the same place, and all is told or lost.
pub(super) fn losses() -> Result<Verdict> {
    const BURST: usize = 400;
    let namespace = Namespace::new()?;
    let scratch = Scratch::new()?;
    let (file, shown) = (scratch.path("s.tracer"), scratch.path("shown"));
    let oracle = oracle()?;
    let view = File::create(&shown)?;
    let arguments = with(&["--tee", "jsonl", "--ring-size", "64K"]);
    let recorder = Recorder::start_with(&file, &arguments, |command| {
        command.stdout(view);
    })?;
    talk(&namespace)?;
    thread::sleep(Duration::from_millis(300));
    recorder.signal(Signal::STOP)?;
    for _ in 0..BURST {
        talk(&namespace)?;
    }
    recorder.signal(Signal::CONT)?;
    thread::sleep(Duration::from_millis(300));
    talk(&namespace)?;
    stage::await_open_sockets(&namespace, 0)?;
    let stderr = recorder.stop()?;
    let records = oracle.finish()?;
    ensure!(records.len() == (BURST + 2) * TRANSITIONS);
    let replayed = run_well(&["replay", "-o", "jsonl"], std::slice::from_ref(&file))?;
    ensure!(
        replayed == std::fs::read(&shown)?,
        "the replay says something else than the live view"
    );
    let lines: Vec<Value> = replayed
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(serde_json::from_slice)
        .collect::<Result<_, _>>()?;
    let is = |line: &Value, kind: &str| line["type"] == kind;
    let at = lines.iter().position(|line| is(line, "lost"));
    let at = at.context("no loss is told: the test does not test")?;
    let (first, last) = lines.split_at(at);
    for (part, lines) in [("before", first), ("after", last)] {
        let told = lines.iter().filter(|line| is(line, "transition")).count();
        ensure!(told >= TRANSITIONS, "{told} transitions {part} the loss");
    }
    let replay = Tracer::replay(&[file], &[""; 0])?.wait()?;
    let lost = usize::try_from(replay.lost("total")?)?;
    let (told, all) = (replay.transitions.len(), records.len());
    // That a process accepted is an event as well.
    ensure!(
        (all..=all + BURST + 2).contains(&(told + lost)),
        "{told} told, {lost} lost, but there were {all}"
    );
    ensure!(stderr.contains(&lost.to_string()), "hidden: {stderr}");
    compare::ensure_part(&records, &replay.transitions)?;
    Ok(Verdict::Passed)
}

/// An export of a file is its replay, and holds what a live one does.
pub(super) fn exports() -> Result<Verdict> {
    let namespace = Namespace::new()?;
    let scratch = Scratch::new()?;
    let (file, live) = (scratch.path("s.tracer"), scratch.path("live.csv"));
    let oracle = oracle()?;
    let recorder = Recorder::start(&file, &ports())?;
    let mut export = Command::new(tracer::binary())
        .args(["export", "--format", "csv", "-o"])
        .arg(&live)
        .args(ports())
        .stderr(Stdio::piped())
        .spawn()?;
    await_word(&mut export, "exporting")?;
    for _ in 0..5 {
        happenings(&namespace)?;
    }
    stage::await_open_sockets(&namespace, 0)?;
    kill_process(Pid::from_child(&export), Signal::INT)?;
    ensure!(export.wait()?.success());
    recorder.stop()?;
    let records = oracle.finish()?;
    let files = [file];
    for format in ["jsonl", "csv"] {
        let target = scratch.path(format);
        let target = target.to_str().context("a path")?;
        run_well(&["export", "--format", format, "-o", target], &files)?;
        ensure!(
            std::fs::read(target)? == run_well(&["replay", "-o", format], &files)?,
            "{format} is exported and replayed differently"
        );
    }
    let trace = run_well(&["export", "--format", "perfetto"], &files)?;
    ensure!(trace.len() > 1000, "an empty trace");

    // What does not depend on when whose program ran.
    let rows = |text: &str| -> Vec<String> {
        let mut rows: Vec<_> = text
            .lines()
            .map(|row| row.split(',').collect::<Vec<_>>())
            .filter(|row| row.first() == Some(&"transition"))
            .map(|row| {
                [4, 9, 10, 12, 13, 14, 15]
                    .map(|at| *row.get(at).unwrap_or(&"?"))
                    .join(",")
            })
            .collect();
        rows.sort();
        rows
    };
    let exported = rows(&std::fs::read_to_string(scratch.path("csv"))?);
    ensure!(exported.len() == records.len(), "{} rows", exported.len());
    ensure!(
        exported == rows(&std::fs::read_to_string(&live)?),
        "the live export holds something else"
    );
    Ok(Verdict::Passed)
}

pub(super) fn summaries() -> Result<Verdict> {
    let namespace = Namespace::new()?;
    let scratch = Scratch::new()?;
    let file = scratch.path("s.tracer");
    let recorder = Recorder::start(&file, &ports())?;
    let mut summary = Command::new(tracer::binary())
        .args(["summary", "-o", "jsonl"])
        .args(ports())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    await_word(&mut summary, "counting")?;
    for _ in 0..5 {
        happenings(&namespace)?;
    }
    stage::await_open_sockets(&namespace, 0)?;
    kill_process(Pid::from_child(&summary), Signal::INT)?;
    let live = summary.wait_with_output()?;
    ensure!(live.status.success(), "{live:?}");
    recorder.stop()?;
    let counts = |bytes: &[u8]| -> Result<Vec<String>> {
        let mut counts = Vec::new();
        for line in String::from_utf8_lossy(bytes).lines() {
            let line: Value = serde_json::from_str(line)?;
            let of = |names: &[&str]| {
                let values = names.iter().filter_map(|name| line.get(*name));
                let values = values.map(Value::to_string);
                values.collect::<Vec<_>>().join(" ")
            };
            counts.push(match line.get("type").and_then(Value::as_str) {
                Some("edge") => of(&["type", "from", "to", "count", "unexpected"]),
                Some("remote") => of(&["type", "addr", "connections", "failed", "verdicts"]),
                Some("port") => of(&["type", "port", "connections", "failed", "verdicts"]),
                Some("process") => of(&["type", "comm", "connections", "failed", "verdicts"]),
                Some("reset") => of(&["type", "direction", "reason", "state", "count"]),
                Some("end") => of(&["type", "events", "verdicts", "lost"]),
                _ => continue,
            });
        }
        counts.sort();
        Ok(counts)
    };
    let files = [file];
    let whole = run_well(&["summary", "-o", "jsonl"], &files)?;
    intervals(&whole, &files)?;
    let (live, file) = (counts(&live.stdout)?, counts(&whole)?);
    ensure!(live.len() > 15, "{live:#?}");
    ensure!(live == file, "live: {live:#?}\nof the file: {file:#?}");
    Ok(Verdict::Passed)
}

/// With --every, the summary of the session is the same, and that of the intervals comes to it but for what is
/// open at the end.
fn intervals(whole: &[u8], files: &[PathBuf]) -> Result<()> {
    let arguments = ["summary", "-o", "jsonl", "--every", "20ms"];
    let told = String::from_utf8(run_well(&arguments, files)?)?;
    let whole = String::from_utf8_lossy(whole);
    let at = told.rfind("{\"type\":\"summary\"").context("no summary")?;
    let (before, session) = told.split_at(at);
    ensure!(whole.ends_with(session), "the session's: {session}");
    let shown = |text: &str| -> Result<(usize, u64)> {
        let (mut summaries, mut shown) = (0, 0);
        for line in text.lines() {
            let line: Value = serde_json::from_str(line)?;
            if line.get("type").and_then(Value::as_str) == Some("summary") {
                summaries += 1;
                shown += line.get("shown").and_then(Value::as_u64).context("none")?;
            }
        }
        Ok((summaries, shown))
    };
    let ((intervals, in_intervals), (_, in_all)) = (shown(before)?, shown(session)?);
    ensure!(
        intervals > 1,
        "{intervals} intervals: the test does not test"
    );
    ensure!(
        in_intervals <= in_all && in_intervals > in_all / 2,
        "{in_intervals} transitions in the intervals, {in_all} in all"
    );
    Ok(())
}

pub(super) fn report() -> Result<Verdict> {
    const TALKS: usize = 4;
    let namespace = Namespace::new()?;
    let scratch = Scratch::new()?;
    let file = scratch.path("s.tracer");
    let recorder = Recorder::start(&file, &ports())?;
    for _ in 0..TALKS {
        talk(&namespace)?;
    }
    recorder.stop()?;
    let page = run_well(&["report"], &[file])?;
    let page = String::from_utf8(page)?;
    ensure!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
    let (_, rest) = page.split_once("id=\"data\">").context("no data")?;
    let (data, _) = rest.split_once("</script>").context("no end of the data")?;
    let data: Value = serde_json::from_str(data)?;
    let rows = data.get("rows").and_then(Value::as_array).map(Vec::len);
    ensure!(rows == Some(SOCKETS * TALKS), "{rows:?} rows");
    Ok(Verdict::Passed)
}

/// Whoever follows a recording sees what happens within about its 200 ms, across files, until it ends.
pub(super) fn follow() -> Result<Verdict> {
    const LATEST: Duration = Duration::from_secs(1);
    const TALKS: usize = 60;
    let namespace = Namespace::new()?;
    let scratch = Scratch::new()?;
    let oracle = oracle()?;
    let rotating = with(&["--rotate-time", "400ms"]);
    let recorder = Recorder::start(&scratch.path("s.tracer"), &rotating)?;
    let mut replay = Tracer::replay(&[scratch.path("s.000001.tracer")], &["--follow"])?;
    for _ in 0..TALKS {
        talk(&namespace)?;
        thread::sleep(Duration::from_millis(30));
    }
    stage::await_open_sockets(&namespace, 0)?;
    ensure!(replay.is_running()?, "it ended before the recording");
    recorder.stop()?;
    let parts = scratch.names()?.len();
    ensure!(parts >= 4, "{parts} files: the test does not test");
    let output = replay.wait()?;
    output.ensure_complete()?;
    for (line, arrival_ns) in output.transitions.iter().zip(&output.arrivals_ns) {
        let late = Duration::from_nanos(arrival_ns.saturating_sub(line.mono_ns));
        ensure!(late < LATEST, "a line came {late:?} late: {line:?}");
    }
    compare::ensure_equal(&oracle.finish()?, &output.transitions)?;
    Ok(Verdict::Passed)
}

/// Waits until a command says it on its standard error; the rest is not wanted.
pub(super) fn await_word(child: &mut Child, word: &'static str) -> Result<()> {
    let mut stderr = BufReader::new(child.stderr.take().context("no pipe")?);
    let (sender, said) = channel();
    thread::spawn(move || {
        let mut line = String::new();
        while !line.contains(word) && stderr.read_line(&mut line).is_ok_and(|read| read > 0) {}
        let _ = sender.send(line.contains(word));
        let _ = stderr.read_to_string(&mut line);
    });
    let said = said.recv_timeout(Duration::from_secs(40));
    ensure!(said == Ok(true), "it does not say {word}");
    Ok(())
}
