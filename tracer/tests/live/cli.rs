//! How the command behaves: what comes out when, and how it ends.

mod behind;
mod holes;
mod places;
mod reporting;
mod stopping;
mod summing;

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::compare;
use crate::harness::{RunOne, Suite, Verdict};
use crate::netns::Namespace;
use crate::oracle::Oracle;
use crate::scope::Scope;
use crate::stage::{self, Actor};
use crate::tools;
use crate::tracer::{self, Tracer};

const SCOPE: Scope = Scope(202);
const BUFFER_KIB: u32 = 4 * 1024;
/// Transitions of one connection whose client closes first, and of its listener.
const TRANSITIONS: usize = 12;

pub(crate) fn suites() -> impl Iterator<Item = Suite> {
    let all: [(&str, RunOne); 22] = [
        ("cli::lines_come_within_100_ms", lines_come_at_once),
        ("cli::interrupt_loses_nothing", interrupt_loses_nothing),
        ("cli::terminate_ends_it_as_well", terminate_ends_it),
        ("cli::count", count),
        ("cli::duration", duration),
        ("cli::losses_are_counted", losses_are_counted),
        ("cli::stopped_for_5_s", stopping::stopped_for_5_s),
        (
            "cli::a_late_reader_misses_nothing",
            behind::a_late_reader_misses_nothing,
        ),
        (
            "cli::beyond_the_backlog_it_is_counted",
            behind::beyond_the_backlog_it_is_counted,
        ),
        (
            "cli::it_ends_though_nobody_reads",
            behind::it_ends_though_nobody_reads,
        ),
        ("cli::open_across_a_hole", holes::open_across_a_hole),
        ("cli::formats_show_the_same", formats_show_the_same),
        ("cli::summary", summing::counts_are_those_of_what_happened),
        ("cli::report", reporting::a_page_holds_what_happened),
        ("cli::head_ends_it_quietly", head_ends_it_quietly),
        ("cli::full_disk", places::full_disk),
        (
            "cli::closed_standard_streams",
            places::closed_standard_streams,
        ),
        ("cli::not_root", places::not_root),
        ("cli::escapes_in_a_command_name", escapes_in_a_command_name),
        (
            "cli::killed_leaves_nothing_attached",
            places::killed_leaves_nothing,
        ),
        ("cli::doctor", places::doctor),
        ("cli::doctor_as_json", places::doctor_as_json),
    ];
    all.into_iter().map(|(name, run)| Suite::One(name, run))
}

fn place() -> SocketAddr {
    (SCOPE.loopback(1), SCOPE.port(0)).into()
}

fn port() -> String {
    place().port().to_string()
}

/// A command that goes on until it is interrupted.
struct Running {
    child: Child,
    stderr: BufReader<ChildStderr>,
    said: String,
}

impl Running {
    /// Starts it, and waits until it says `word`.
    fn start(arguments: &[&str], word: &str) -> Result<Self> {
        let mut child = Command::new(tracer::binary())
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut stderr = BufReader::new(child.stderr.take().context("no pipe")?);
        let mut said = String::new();
        while !said.contains(word) && stderr.read_line(&mut said)? > 0 {}
        Ok(Self {
            child,
            stderr,
            said,
        })
    }

    /// Ends it as Ctrl-C does, and yields its standard output; fails if it fails.
    fn interrupt(mut self) -> Result<String> {
        kill_process(Pid::from_child(&self.child), Signal::INT)?;
        let mut text = String::new();
        let stdout = self.child.stdout.as_mut().context("no pipe")?;
        stdout.read_to_string(&mut text)?;
        let status = self.child.wait()?;
        self.stderr.read_to_string(&mut self.said)?;
        ensure!(status.success(), "{status}: {}", self.said);
        Ok(text)
    }
}

/// One connection, from `listen` to the listener's end: [`TRANSITIONS`].
fn talk(namespace: &Namespace) -> Result<()> {
    namespace.run(|| {
        let (_listener, client, server) = stage::pair_at(place())?;
        stage::close_in_order(client, server)
    })?;
    stage::await_open_sockets(namespace, 0)
}

fn lines_come_at_once() -> Result<Verdict> {
    const LATEST: Duration = Duration::from_millis(100);
    const ROUNDS: usize = 6;
    let namespace = Namespace::new()?;
    let tracer = Tracer::start(&["--port", &port()])?;
    for _ in 0..ROUNDS {
        talk(&namespace)?;
        thread::sleep(2 * LATEST);
    }
    let output = tracer.stop()?;
    output.ensure_complete()?;
    ensure!(output.transitions.len() == ROUNDS * TRANSITIONS);
    for (line, arrival_ns) in output.transitions.iter().zip(&output.arrivals_ns) {
        let late = Duration::from_nanos(arrival_ns.saturating_sub(line.mono_ns));
        ensure!(
            late < LATEST,
            "a line came {late:?} after the event: {line:?}"
        );
    }
    Ok(Verdict::Passed)
}

/// What happened until the signal is still told.
fn interrupt_loses_nothing() -> Result<Verdict> {
    const BURST: usize = 200;
    let namespace = Namespace::new()?;
    let oracle = Oracle::start(&SCOPE.ports(), BUFFER_KIB)?;
    let tracer = Tracer::start(&["--port", &port()])?;
    for _ in 0..BURST {
        talk(&namespace)?;
    }
    let output = tracer.stop()?;
    output.ensure_complete()?;
    let records = oracle.finish()?;
    ensure!(records.len() == BURST * TRANSITIONS);
    compare::ensure_equal(&records, &output.transitions)?;
    ensure_summary(&output.stderr, records.len())?;
    Ok(Verdict::Passed)
}

fn terminate_ends_it() -> Result<Verdict> {
    let namespace = Namespace::new()?;
    let tracer = Tracer::start(&["--port", &port()])?;
    talk(&namespace)?;
    let output = tracer.stop_by(Signal::TERM)?;
    output.ensure_complete()?;
    ensure!(output.transitions.len() == TRANSITIONS);
    ensure_summary(&output.stderr, TRANSITIONS)?;
    Ok(Verdict::Passed)
}

/// On stderr it stands what was seen and what was lost.
fn ensure_summary(stderr: &str, transitions: usize) -> Result<()> {
    ensure!(
        stderr.contains(&format!("{transitions} transitions")) && stderr.contains("lost"),
        "no summary on stderr: {stderr:?}"
    );
    Ok(())
}

fn count() -> Result<Verdict> {
    const COUNT: usize = 5;
    let namespace = Namespace::new()?;
    let tracer = Tracer::start(&["--port", &port(), "--count", &COUNT.to_string()])?;
    talk(&namespace)?;
    let output = tracer.wait()?;
    output.ensure_complete()?;
    ensure!(
        output.transitions.len() == COUNT,
        "{} transitions, not {COUNT}",
        output.transitions.len()
    );
    let shown = output.end.get("shown").and_then(Value::as_u64);
    ensure!(shown == Some(u64::try_from(COUNT)?), "{}", output.end);
    Ok(Verdict::Passed)
}

fn duration() -> Result<Verdict> {
    const DURATION: Duration = Duration::from_secs(1);
    let namespace = Namespace::new()?;
    let tracer = Tracer::start(&["--port", &port(), "--duration", "1s"])?;
    let start = Instant::now();
    talk(&namespace)?;
    let output = tracer.wait()?;
    let took = start.elapsed();
    output.ensure_complete()?;
    ensure!(output.transitions.len() == TRANSITIONS);
    let tolerance = Duration::from_millis(700);
    ensure!(
        took.abs_diff(DURATION) < tolerance,
        "it ended after {took:?}, not {DURATION:?}"
    );
    Ok(Verdict::Passed)
}

/// With a ring buffer that is far too small, and a tracer that does not read it, each event is either
/// told or counted as lost. That a process accepted a connection is an event as well.
fn losses_are_counted() -> Result<Verdict> {
    const BURST: usize = 400;
    let namespace = Namespace::new()?;
    let oracle = Oracle::start(&SCOPE.ports(), BUFFER_KIB)?;
    let tracer = Tracer::start(&["--port", &port(), "--ring-size", "64K"])?;
    kill_process(tracer.pid(), Signal::STOP)?;
    for _ in 0..BURST {
        talk(&namespace)?;
    }
    kill_process(tracer.pid(), Signal::CONT)?;
    let output = tracer.stop()?;
    let records = oracle.finish()?;
    ensure!(records.len() == BURST * TRANSITIONS);
    ensure!(output.status.success(), "{}", output.status);
    let lost = usize::try_from(output.lost("total")?)?;
    ensure!(lost > 0, "nothing was lost: the test does not test");
    let (told, all) = (output.transitions.len(), records.len());
    ensure!(
        (all..=all + BURST).contains(&(told + lost)),
        "{told} told, {lost} lost, but there were {all} and {BURST} accepted: {}",
        output.end
    );
    compare::ensure_part(&records, &output.transitions)?;
    ensure!(
        output.stderr.contains(&lost.to_string()),
        "the summary hides the loss: {}",
        output.stderr
    );
    Ok(Verdict::Passed)
}

/// A run in a format for people.
struct Plain {
    child: Child,
    stdout: BufReader<ChildStdout>,
    stderr: JoinHandle<String>,
    text: String,
}

impl Plain {
    /// Starts it and waits until all is attached: then the first line comes.
    fn start(format: &str) -> Result<Self> {
        let mut child = Command::new(tracer::binary())
            .args(["-o", format, "--port", &port()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut stdout = BufReader::new(child.stdout.take().context("no pipe")?);
        let stderr = tracer::collect(child.stderr.take().context("no pipe")?);
        let mut text = String::new();
        stdout.read_line(&mut text)?;
        Ok(Self {
            child,
            stdout,
            stderr,
            text,
        })
    }

    /// Ends it. What it wrote.
    fn stop(mut self) -> Result<String> {
        kill_process(Pid::from_child(&self.child), Signal::INT)?;
        self.stdout.read_to_string(&mut self.text)?;
        let status = self.child.wait()?;
        let stderr = self.stderr.join().unwrap_or_default();
        ensure!(status.success(), "{status}: {stderr}");
        Ok(self.text)
    }
}

/// Text has a line, CSV a row for each transition; CSV has a row, a timeline a block for each socket.
fn formats_show_the_same() -> Result<Verdict> {
    const COLUMNS: usize = 57;
    const SOCKETS: usize = 3;
    let namespace = Namespace::new()?;
    let text = Plain::start("text")?;
    let csv = Plain::start("csv")?;
    let timeline = Plain::start("timeline")?;
    talk(&namespace)?;

    let text = text.stop()?;
    let arrows = text.lines().filter(|line| {
        line.contains(" -> ") && !line.starts_with("TIME") && !line.starts_with('#')
    });
    // What the mini-socket goes through is no transition of a socket.
    let arrows = arrows.filter(|line| !line.contains("after the socket was closed"));
    ensure!(arrows.count() == TRANSITIONS, "text:\n{text}");

    let csv = csv.stop()?;
    let of_type = |kind: &str| csv.lines().filter(|row| row.starts_with(kind)).count();
    ensure!(
        (
            of_type("type,"),
            of_type("transition,"),
            of_type("connection,")
        ) == (1, TRANSITIONS, SOCKETS)
            && csv.lines().count() == 1 + TRANSITIONS + SOCKETS,
        "CSV:\n{csv}"
    );
    // The sentence in a row of a connection may hold commas.
    let mut plain = csv.lines().filter(|row| !row.starts_with("connection,"));
    ensure!(
        plain.all(|row| row.split(',').count() == COLUMNS),
        "CSV:\n{csv}"
    );

    let timeline = timeline.stop()?;
    for state in [
        "LISTEN",
        "SYN_SENT",
        "SYN_RECEIVED",
        "ESTABLISHED",
        "FIN_WAIT_1",
        "FIN_WAIT_2",
        "CLOSE_WAIT",
        "LAST_ACK",
    ] {
        ensure!(timeline.contains(state), "no {state}:\n{timeline}");
    }
    let blocks = timeline.lines().filter(|line| line.starts_with('#'));
    let blocks = blocks.filter(|line| line.contains(" 127.77."));
    ensure!(blocks.count() == SOCKETS, "timeline:\n{timeline}");
    Ok(Verdict::Passed)
}

/// A reader that has seen enough is no error.
fn head_ends_it_quietly() -> Result<Verdict> {
    let namespace = Namespace::new()?;
    let mut child = Command::new(tracer::binary())
        .args(["-o", "jsonl", "--port", &port()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let stderr = tracer::collect(child.stderr.take().context("no pipe")?);
    let mut lines = BufReader::new(child.stdout.take().context("no pipe")?).lines();
    lines.next().context("no session line")??;
    talk(&namespace)?;
    lines.next().context("no line")??;
    lines.next().context("no line")??;
    drop(lines);
    let status = tools::await_end(&mut child, Duration::from_secs(10), || talk(&namespace))?;
    let stderr = stderr.join().unwrap_or_default();
    ensure!(status.success(), "{status}: {stderr}");
    for word in ["error", "Error", "ipe", "annot", "panic"] {
        ensure!(!stderr.contains(word), "it complains: {stderr}");
    }
    Ok(Verdict::Passed)
}

/// A process can call itself anything; a terminal must not do what it says.
fn escapes_in_a_command_name() -> Result<Verdict> {
    let namespace = Namespace::new()?;
    let plain = Plain::start("text")?;
    let meetings = [format!("listen={}", place()), format!("meet={}", place())];
    let mut actor =
        namespace.run(|| Actor::start("\x1b[2J\n", "talk", &meetings, Stdio::piped()))?;
    actor.go()?;
    actor.await_ready()?;
    actor.finish()?;
    stage::await_open_sockets(&namespace, 0)?;
    let text = plain.stop()?;
    ensure!(!text.contains('\x1b'), "an escape character: {text:?}");
    ensure!(
        text.contains("live-\\x1b[2J\\x0a/"),
        "the name is not shown escaped: {text}"
    );
    Ok(Verdict::Passed)
}
