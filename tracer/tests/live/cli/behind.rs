//! A reader that does not read: what comes waits in memory, and what nobody takes in the end is counted.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::SCOPE;
use super::stopping::blow;
use crate::compare::{Inconclusive, threads_of_init};
use crate::harness::Verdict;
use crate::netns::Namespace;
use crate::oracle::{Oracle, Record};
use crate::{stage, tracer};

const BUFFER_KIB: u32 = 96 * 1024;
/// Makes several times what pipe and queue hold, and what the ring does.
const BLOWN: Duration = Duration::from_secs(3);
/// Cannot be read from.
const OUTPUT: i32 = 5;

/// A tracer whose output nobody reads yet.
struct Unread {
    child: Child,
    stdout: BufReader<ChildStdout>,
    stderr: JoinHandle<String>,
}

/// What became of it.
struct Told {
    code: Option<i32>,
    transitions: usize,
    lost: Option<usize>,
    stderr: String,
}

impl Unread {
    fn start(namespace: &Namespace, arguments: &[&str]) -> Result<Self> {
        let mut child = Command::new(tracer::binary())
            .args(["-o", "jsonl", "--no-snapshot"])
            .args(["--netns", &namespace.inode().to_string()])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut stdout = BufReader::new(child.stdout.take().context("no pipe")?);
        let stderr = tracer::collect(child.stderr.take().context("no pipe")?);
        stdout.read_line(&mut String::new())?;
        Ok(Self {
            child,
            stdout,
            stderr,
        })
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    /// Reads all of it.
    fn read(mut self) -> Result<Told> {
        let mut told = Told {
            code: None,
            transitions: 0,
            lost: None,
            stderr: String::new(),
        };
        for line in self.stdout.lines() {
            let line: Value = serde_json::from_str(&line?)?;
            match line.get("type").and_then(Value::as_str) {
                Some("transition") => told.transitions += 1,
                Some("end") => {
                    let lost = line.pointer("/lost/total").and_then(Value::as_u64);
                    let lost = lost.context("no count of losses")?;
                    told.lost = Some(usize::try_from(lost)?);
                }
                _ => {}
            }
        }
        told.code = self.child.wait()?.code();
        told.stderr = self.stderr.join().unwrap_or_default();
        Ok(told)
    }
}

/// Nobody reads while more happens than the ring could hold: it is all there when somebody does.
pub(super) fn a_late_reader_misses_nothing() -> Result<Verdict> {
    let (records, told) = late(&["--ring-size", "1M"])?;
    ensure!(told.code == Some(0), "{:?}: {}", told.code, told.stderr);
    ensure!(
        told.lost == Some(0),
        "{:?} lost of {}",
        told.lost,
        records.len()
    );
    ensure_all(&records, &told)
}

/// Likewise with little memory for what waits: each is told or counted.
pub(super) fn beyond_the_backlog_it_is_counted() -> Result<Verdict> {
    let (records, told) = late(&["--ring-size", "64K", "--backlog", "1M"])?;
    ensure!(told.code == Some(0), "{:?}: {}", told.code, told.stderr);
    ensure!(told.lost > Some(0), "nothing was lost: it does not test");
    ensure!(told.stderr.contains("could not keep up"), "{}", told.stderr);
    ensure_all(&records, &told)
}

fn late(arguments: &[&str]) -> Result<(Vec<Record>, Told)> {
    let namespace = Namespace::new()?;
    let oracle = Oracle::start(&SCOPE.ports(), BUFFER_KIB)?;
    let unread = Unread::start(&namespace, arguments)?;
    namespace.run(|| blow(BLOWN))?;
    stage::await_open_sockets(&namespace, 0)?;
    unread.signal(Signal::INT)?;
    let told = unread.read()?;
    Ok((oracle.finish()?, told))
}

fn ensure_all(records: &[Record], told: &Told) -> Result<Verdict> {
    let found = told.transitions + told.lost.unwrap_or(0);
    let agent = threads_of_init();
    let withheld = records.iter().filter(|record| agent.contains(&record.task));
    let missing = records.len().checked_sub(found);
    if missing.is_some_and(|missing| missing > 0 && missing <= withheld.count()) {
        return Err(Inconclusive("process 1 was the current task".to_owned()).into());
    }
    ensure!(
        missing == Some(0),
        "{} told, {:?} lost of {}",
        told.transitions,
        told.lost,
        records.len()
    );
    Ok(Verdict::Passed)
}

/// A second signal ends it though nobody reads, at once; the first one after a pause. Both say what was lost.
pub(super) fn it_ends_though_nobody_reads() -> Result<Verdict> {
    const PATIENCE: Duration = Duration::from_secs(8);
    for signals in [1, 2] {
        let namespace = Namespace::new()?;
        let mut unread = Unread::start(&namespace, &["--ring-size", "64K"])?;
        namespace.run(|| blow(BLOWN))?;
        let start = Instant::now();
        for _ in 0..signals {
            unread.signal(Signal::INT)?;
            thread::sleep(Duration::from_millis(100));
        }
        let code = loop {
            if let Some(status) = unread.child.try_wait()? {
                break status.code();
            }
            ensure!(
                start.elapsed() < PATIENCE,
                "{signals} signals do not end it"
            );
            thread::sleep(Duration::from_millis(10));
        };
        let stderr = unread.stderr.join().unwrap_or_default();
        ensure!(code == Some(OUTPUT), "{code:?}: {stderr}");
        ensure!(stderr.contains("could not keep up"), "{stderr}");
    }
    Ok(Verdict::Passed)
}
