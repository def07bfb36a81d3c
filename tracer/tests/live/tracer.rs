//! The `tracer` command as its users run it: a process, its lines, its end.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal};
use rustix::time::{ClockId, clock_gettime};
use serde::Deserialize;
use serde_json::Value;

use crate::compare::{self, Inconclusive};

/// Loading, attaching and draining take far less, but in the middle of a storm on an emulated machine.
fn patience() -> Duration {
    Duration::from_secs(if compare::is_emulated() { 60 } else { 20 })
}

/// Kinds of programs on functions of the kernel.
const FUNCTION_HOOKS: [&str; 4] = ["fentry", "fexit", "kprobe", "kretprobe"];

/// Where the command is; built together with the tests.
pub(crate) fn binary() -> String {
    std::env::var("TRACER_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_tracer").to_owned())
}

/// `--without-functions` says that tracer is not to listen to functions of the kernel, but to ask it.
fn without_functions() -> bool {
    std::env::args().any(|argument| argument == "--without-functions")
}

/// A `transition` line.
#[derive(Clone, Debug, Deserialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are the fields of the line"
)]
pub(crate) struct Transition {
    pub(crate) ts: jiff::Timestamp,
    pub(crate) mono_ns: u64,
    pub(crate) conn: Value,
    pub(crate) sk: String,
    pub(crate) netns: Option<u32>,
    pub(crate) family: String,
    pub(crate) protocol: String,
    pub(crate) role: String,
    pub(crate) local: Endpoint,
    pub(crate) local_port_known: bool,
    pub(crate) remote: Endpoint,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) kernel_from: String,
    pub(crate) kernel_to: String,
    pub(crate) in_state_ns: Option<u64>,
    pub(crate) in_state_is_minimum: bool,
    pub(crate) pid: Option<u32>,
    pub(crate) comm: Option<String>,
    pub(crate) owner_source: String,
    pub(crate) legality: Value,
    pub(crate) after_gap: bool,
    pub(crate) recovered: bool,
    pub(crate) uid: Option<u32>,
    pub(crate) ns_pid: Option<u32>,
    pub(crate) cgroup: Option<String>,
    pub(crate) container: Value,
    pub(crate) unit: Option<String>,
}

/// A `connection` line.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Connection {
    pub(crate) ts: jiff::Timestamp,
    pub(crate) mono_ns: u64,
    pub(crate) conn: Value,
    /// None of one that was there before and had no transition.
    pub(crate) sk: Option<String>,
    pub(crate) netns: Option<u32>,
    pub(crate) family: String,
    pub(crate) protocol: String,
    pub(crate) role: String,
    pub(crate) local: Endpoint,
    pub(crate) remote: Endpoint,
    pub(crate) pid: Option<u32>,
    pub(crate) comm: Option<String>,
    pub(crate) owner_source: String,
    pub(crate) verdict: String,
    pub(crate) closed_by: Option<String>,
    pub(crate) reset_reason: Option<String>,
    pub(crate) because: Option<String>,
    pub(crate) syn_retransmits: Option<u64>,
    pub(crate) synack_retransmits: Option<u64>,
    pub(crate) retransmits: Option<u64>,
    pub(crate) bytes_sent: Option<u64>,
    pub(crate) bytes_received: Option<u64>,
    pub(crate) states: Vec<Span>,
    pub(crate) ending: String,
    pub(crate) from_birth: bool,
    pub(crate) has_gap: bool,
    pub(crate) owners: Vec<Process>,
    pub(crate) uid: Option<u32>,
    pub(crate) ns_pid: Option<u32>,
    pub(crate) cgroup: Option<String>,
    pub(crate) container: Value,
    pub(crate) unit: Option<String>,
    pub(crate) segments_sent: Option<u64>,
    pub(crate) segments_received: Option<u64>,
    pub(crate) data_segments_sent: Option<u64>,
    pub(crate) data_segments_received: Option<u64>,
    pub(crate) congestion_state: Option<String>,
    pub(crate) socket_uid: Option<u64>,
    pub(crate) socket_cgroup: Option<String>,
}

/// One of the owners of a connection.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Process {
    pub(crate) pid: u32,
}

/// A state of a `connection` line.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Span {
    pub(crate) state: String,
    pub(crate) start: Option<jiff::Timestamp>,
    pub(crate) duration_ns: Option<u64>,
    pub(crate) duration_is_minimum: bool,
    pub(crate) evidence: String,
    pub(crate) expected_ns: Option<u64>,
    pub(crate) within_ns: Option<u64>,
}

impl Connection {
    /// The wall-clock time of an instant, as this line has it: the clock may have been set since another line was
    /// written.
    pub(crate) fn wall_clock(&self, mono_ns: u64) -> Result<jiff::Timestamp> {
        let since_ns = i128::from(mono_ns) - i128::from(self.mono_ns);
        let ns = self.ts.as_nanosecond() + since_ns;
        Ok(jiff::Timestamp::from_nanosecond(ns)?)
    }
}

/// A `continued` line: a connection that goes on after its socket was closed.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Continued {
    pub(crate) mono_ns: u64,
    pub(crate) conn: Value,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) in_state_ns: Option<u64>,
    pub(crate) evidence: String,
    pub(crate) within_ns: Option<u64>,
}

/// One side of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Endpoint {
    pub(crate) addr: IpAddr,
    pub(crate) port: u16,
}

impl Transition {
    pub(crate) fn skaddr(&self) -> Result<u64> {
        let digits = self.sk.strip_prefix("0x").context("sk is no hex number")?;
        ensure!(digits.len() == 16, "sk has not 16 digits: {}", self.sk);
        Ok(u64::from_str_radix(digits, 16)?)
    }
}

/// A `lost` line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loss {
    /// Lines of transitions before it.
    pub(crate) position: usize,
    pub(crate) total: u64,
}

/// All that a run of tracer gave.
pub(crate) struct Output {
    pub(crate) session: Value,
    pub(crate) transitions: Vec<Transition>,
    pub(crate) continued: Vec<Continued>,
    pub(crate) connections: Vec<Connection>,
    /// When each of them arrived (`CLOCK_MONOTONIC`, ns).
    pub(crate) arrivals_ns: Vec<u64>,
    /// The `hint` lines.
    pub(crate) hints: Vec<Value>,
    /// The `lost` lines.
    pub(crate) losses: Vec<Loss>,
    pub(crate) end: Value,
    pub(crate) status: ExitStatus,
    pub(crate) stderr: String,
}

impl Output {
    /// Whether a hook is in use.
    pub(crate) fn is_attached(&self, hook: &str) -> bool {
        self.attached().any(|name| name == hook)
    }

    /// Whether the program for a function of the kernel is in use, however it is attached.
    pub(crate) fn is_function_attached(&self, function: &str) -> bool {
        self.attached().any(|name| {
            let kind_and_name = name.split_once(':');
            kind_and_name
                .is_some_and(|(kind, name)| FUNCTION_HOOKS.contains(&kind) && name == function)
        })
    }

    fn attached(&self) -> impl Iterator<Item = &str> {
        let hooks = self.session.get("hooks").and_then(Value::as_array);
        hooks.into_iter().flatten().filter_map(|report| {
            let text = |field: &str| report.get(field).and_then(Value::as_str);
            (text("status") == Some("attached"))
                .then(|| text("name"))
                .flatten()
        })
    }

    /// Fails unless the run ended well and lost nothing; with [`Inconclusive`] where the kernel can be blamed.
    pub(crate) fn ensure_complete(&self) -> Result<()> {
        ensure!(
            self.status.success(),
            "tracer failed: {}\n{}",
            self.status,
            self.stderr
        );
        if let Some(why) = self.what_is_missing(false)? {
            return Err(Inconclusive(why).into());
        }
        ensure!(self.lost("total")? == 0, "tracer lost events: {}", self.end);
        Ok(())
    }

    /// What is missing for no other reason than that the kernel has refused to run programs, which it counts.
    /// It does so on a busy machine, and the more often the longer the programs take, as they do on an
    /// emulated one. Evidence can be missing anywhere, and then verdicts and owners are rightly unknown;
    /// transitions only where there is no second program to the first, or where both take so long.
    pub(crate) fn what_is_missing(&self, without_twin: bool) -> Result<Option<String>> {
        let [transitions, evidence] = [self.lost("reentry")?, self.lost("evidence")?];
        let may_be = transitions == 0 || without_twin || compare::is_emulated();
        let is_all = transitions == self.lost("total")?;
        let is_missing = transitions + evidence > 0 && may_be && is_all && self.status.success();
        Ok(is_missing.then(|| {
            format!("the kernel refused {transitions} transitions, {evidence} pieces of evidence")
        }))
    }

    /// How many events were lost for a reason, or in `total`.
    pub(crate) fn lost(&self, reason: &str) -> Result<u64> {
        let lost = self.end.get("lost").and_then(|lost| lost.get(reason));
        lost.and_then(Value::as_u64)
            .with_context(|| format!("no count of lost events: {}", self.end))
    }
}

/// A running tracer that writes JSON lines; killed when dropped.
pub(crate) struct Tracer {
    child: Child,
    lines: Receiver<(u64, String)>,
    stderr: Option<JoinHandle<String>>,
    session: Value,
    /// Lines that were waited for, and those before them.
    early: Vec<(u64, String)>,
}

impl Tracer {
    /// Starts it and waits until all is attached.
    pub(crate) fn start<S: AsRef<OsStr>>(arguments: &[S]) -> Result<Self> {
        Self::launch(arguments)?.attached()
    }

    /// Starts `tracer replay` of these files.
    pub(crate) fn replay<S: AsRef<OsStr>>(files: &[PathBuf], arguments: &[S]) -> Result<Self> {
        let mut command = Command::new(binary());
        Self::of(
            command
                .args(["replay", "-o", "jsonl"])
                .args(arguments)
                .args(files),
        )
    }

    /// Starts `tracer record` with a live view beside the file.
    pub(crate) fn record<S: AsRef<OsStr>>(file: &Path, arguments: &[S]) -> Result<Self> {
        let mut command = Command::new(binary());
        command.args(["record", "--tee", "jsonl", "-o"]).arg(file);
        Self::of(command.args(arguments))
    }

    fn of(command: &mut Command) -> Result<Self> {
        Self::spawn(command)?.attached()
    }

    /// Starts it and waits for nothing.
    pub(crate) fn launch<S: AsRef<OsStr>>(arguments: &[S]) -> Result<Self> {
        let mut command = Command::new(binary());
        if without_functions() {
            command.arg("--no-functions");
        }
        Self::spawn(command.args(["-o", "jsonl"]).args(arguments))
    }

    fn spawn(command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", binary()))?;
        let stdout = child.stdout.take().context("no pipe")?;
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send((mono_ns(), line)).is_err() {
                    break;
                }
            }
        });
        let stderr = collect(child.stderr.take().context("no pipe")?);
        Ok(Self {
            child,
            lines,
            stderr: Some(stderr),
            session: Value::Null,
            early: Vec::new(),
        })
    }

    /// Waits until all is attached.
    pub(crate) fn attached(mut self) -> Result<Self> {
        match self.lines.recv_timeout(patience()) {
            Ok((_, line)) => self.session = serde_json::from_str(&line)?,
            Err(RecvTimeoutError::Timeout) => bail!("tracer does not start"),
            Err(RecvTimeoutError::Disconnected) => {
                bail!("tracer ended at once: {}", self.stderr())
            }
        }
        let kind = self.session.get("type").and_then(Value::as_str);
        ensure!(
            kind == Some("session"),
            "the first line is no session: {}",
            self.session
        );
        Ok(self)
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// When all was attached (`CLOCK_MONOTONIC`, ns).
    pub(crate) fn session_mono_ns(&self) -> Result<u64> {
        let mono_ns = self.session.get("mono_ns").and_then(Value::as_u64);
        mono_ns.context("no time in the session line")
    }

    /// Waits for a line that has this in it.
    pub(crate) fn await_line(&mut self, part: &str) -> Result<()> {
        loop {
            let line = self.lines.recv_timeout(patience());
            let line = line.with_context(|| format!("no line with {part}"))?;
            let is_it = line.1.contains(part);
            self.early.push(line);
            if is_it {
                return Ok(());
            }
        }
    }

    /// Ends it as Ctrl-C does.
    pub(crate) fn stop(self) -> Result<Output> {
        self.stop_by(Signal::INT)
    }

    pub(crate) fn stop_by(self, signal: Signal) -> Result<Output> {
        rustix::process::kill_process(self.pid(), signal)?;
        self.wait()
    }

    /// Waits for it to end by itself.
    pub(crate) fn wait(mut self) -> Result<Output> {
        let mut transitions = Vec::new();
        let mut continued = Vec::new();
        let mut connections = Vec::new();
        let mut arrivals_ns = Vec::new();
        let mut hints = Vec::new();
        let mut losses = Vec::new();
        let mut end = Value::Null;
        let mut early = std::mem::take(&mut self.early).into_iter();
        loop {
            let next = match early.next() {
                Some(line) => Ok(line),
                None => self.lines.recv_timeout(patience()),
            };
            let (arrival_ns, line) = match next {
                Ok(line) => line,
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => bail!("tracer does not end"),
            };
            ensure!(end.is_null(), "a line after the end: {line}");
            let value: Value =
                serde_json::from_str(&line).with_context(|| format!("not JSON: {line}"))?;
            match value.get("type").and_then(Value::as_str) {
                Some("transition") => {
                    let transition = serde_json::from_value(value)
                        .with_context(|| format!("not as documented: {line}"))?;
                    transitions.push(transition);
                    arrivals_ns.push(arrival_ns);
                }
                Some("continued") => {
                    let step = serde_json::from_value(value)
                        .with_context(|| format!("not as documented: {line}"))?;
                    continued.push(step);
                }
                Some("connection") => {
                    let connection = serde_json::from_value(value)
                        .with_context(|| format!("not as documented: {line}"))?;
                    connections.push(connection);
                }
                Some("end") => end = value,
                Some("hint") => hints.push(value),
                Some("lost") => {
                    let total = value.pointer("/lost/total").and_then(Value::as_u64);
                    losses.push(Loss {
                        position: transitions.len(),
                        total: total.with_context(|| format!("no total: {line}"))?,
                    });
                }
                Some("clock") => {}
                _ => bail!("a line of unknown type: {line}"),
            }
        }
        let status = self.child.wait()?;
        let stderr = self.stderr();
        ensure!(
            end.is_object(),
            "no line of type end; {status}; stderr: {stderr}"
        );
        Ok(Output {
            session: self.session.take(),
            transitions,
            continued,
            connections,
            arrivals_ns,
            hints,
            losses,
            end,
            status,
            stderr,
        })
    }

    fn stderr(&mut self) -> String {
        let text = self.stderr.take().map(JoinHandle::join);
        text.and_then(Result::ok).unwrap_or_default()
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `CLOCK_MONOTONIC`, nanoseconds.
pub(crate) fn mono_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let ns = i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec);
    u64::try_from(ns).unwrap_or_default()
}

/// Reads a pipe to its end on a thread.
pub(crate) fn collect(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
