//! In the guest: a storm of loopback connections under one run of tracer and under ftrace, and whether
//! both saw the same.
//!
//! The connections are opened and closed by several threads on both CPUs, so that transitions in process
//! context are interrupted by others: what the kernel does with a program that would run inside itself
//! differs from release to release.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::Read as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use super::guest::wait;

const TRACEFS: &str = "/sys/kernel/tracing";
const THREADS: u8 = 4;
const ROUNDS: usize = 150;
const PATIENCE: Duration = Duration::from_mins(1);

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Storm {
    /// Transitions that ftrace recorded.
    pub(super) by_kernel: u64,
    /// Transitions that tracer printed.
    pub(super) by_tracer: u64,
    /// Transitions that tracer counted as lost.
    pub(super) lost: u64,
    /// Transitions of which the twin program told.
    pub(super) recovered: u64,
    /// Whether tracer said that it does not know all losses.
    pub(super) losses_unknown: bool,
    /// Transitions that one has and the other has not, each with how often, kernel less tracer.
    pub(super) differences: BTreeMap<String, i64>,
    /// Transitions that do not start in the state where the one before of that connection ended.
    pub(super) broken_chains: u64,
}

impl Storm {
    /// All that happened is printed, or said to be lost, or may be lost as tracer said; nothing is
    /// printed that did not happen.
    pub(super) fn is_true(&self) -> bool {
        let unseen: i64 = self.differences.values().sum();
        self.by_tracer > 0
            && self.differences.values().all(|count| *count > 0)
            && (i64::try_from(self.lost).is_ok_and(|lost| lost == unseen) || self.losses_unknown)
            && (self.broken_chains == 0 || unseen > 0)
    }
}

/// Runs it with `--hook HOOK` and prints the result as JSON.
pub(crate) fn main(hook: &str) -> Result<()> {
    let oracle = Oracle::start()?;
    let output = "/tmp/storm.jsonl";
    let mut tracer = Command::new("tracer")
        .args(["--hook", hook, "-o", "jsonl"])
        .stdout(File::create(output)?)
        .stdin(Stdio::null())
        .spawn()?;
    let ready = Instant::now();
    while fs::metadata(output)?.len() == 0 {
        ensure!(ready.elapsed() < PATIENCE, "tracer does not begin");
        if let Some(status) = tracer.try_wait()? {
            bail!("tracer ended: {status}");
        }
        thread::sleep(Duration::from_millis(20));
    }
    // Both CPUs pass packets to each other by interrupt, instead of each handling its own when it is
    // done: only then is a transition interrupted by others.
    fs::write("/sys/class/net/lo/queues/rx-0/rps_cpus", "3")?;
    blow()?;
    let pid = i32::try_from(tracer.id()).ok().and_then(Pid::from_raw);
    kill_process(pid.context("no process")?, Signal::TERM)?;
    let status = wait(&mut tracer, PATIENCE)?.context("tracer does not end")?;
    ensure!(status.success(), "tracer ended: {status}");
    let storm = compare(&oracle.finish()?, &fs::read_to_string(output)?)?;
    println!("{}", serde_json::to_string(&storm)?);
    ensure!(storm.is_true(), "tracer and the kernel's record differ");
    Ok(())
}

/// Each thread connects to a listener of its own; both ends close at their own pace.
fn blow() -> Result<()> {
    thread::scope(|scope| {
        let threads: Vec<_> = (1..=THREADS)
            .map(|number| {
                scope.spawn(move || -> Result<()> {
                    let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 0, number), 0))?;
                    let address = listener.local_addr()?;
                    let server = thread::spawn(move || {
                        for client in listener.incoming().take(ROUNDS) {
                            drop(client);
                        }
                    });
                    for _ in 0..ROUNDS {
                        let mut client = TcpStream::connect(address)?;
                        // Until the other side has closed, or not: both orders are to occur.
                        client.set_read_timeout(Some(Duration::from_millis(1)))?;
                        let _ = client.read(&mut [0]);
                    }
                    server.join().ok().context("the server panicked")?;
                    Ok(())
                })
            })
            .collect();
        for thread in threads {
            thread.join().ok().context("a client panicked")??;
        }
        Ok(())
    })
}

/// An instance of ftrace with the tracepoint switched on.
struct Oracle(&'static str);

impl Oracle {
    const EVENT: &str = "events/sock/inet_sock_set_state/enable";

    fn start() -> Result<Self> {
        let folder = "/sys/kernel/tracing/instances/storm";
        ensure!(
            Path::new(TRACEFS).join("instances").exists(),
            "tracefs is not mounted"
        );
        fs::create_dir_all(folder)?;
        let oracle = Self(folder);
        oracle.set("buffer_size_kb", "8192")?;
        oracle.set("trace", "")?;
        oracle.set(Self::EVENT, "1")?;
        Ok(oracle)
    }

    fn set(&self, name: &str, value: &str) -> Result<()> {
        fs::write(format!("{}/{name}", self.0), value).with_context(|| format!("cannot set {name}"))
    }

    fn finish(self) -> Result<String> {
        self.set(Self::EVENT, "0")?;
        Ok(fs::read_to_string(format!("{}/trace", self.0))?)
    }
}

/// `local port FROM->TO`, with the names of the kernel.
type Counts = BTreeMap<String, i64>;

fn compare(trace: &str, lines: &str) -> Result<Storm> {
    let mut differences = Counts::new();
    let mut by_kernel = 0;
    for line in trace
        .lines()
        .filter(|line| line.contains("inet_sock_set_state:"))
    {
        let field = |name: &str| -> Result<&str> {
            line.split(' ')
                .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
                .with_context(|| format!("no {name} in: {line}"))
        };
        by_kernel += 1;
        *differences
            .entry(format!(
                "{} {}->{}",
                field("sport")?,
                field("oldstate")?,
                field("newstate")?
            ))
            .or_default() += 1;
    }
    let mut storm = Storm {
        by_kernel,
        by_tracer: 0,
        lost: 0,
        recovered: 0,
        losses_unknown: false,
        differences: Counts::new(),
        broken_chains: 0,
    };
    let mut states = HashMap::new();
    for line in lines.lines() {
        match serde_json::from_str(line).with_context(|| format!("cannot understand {line}"))? {
            Line::Transition(transition) => {
                storm.by_tracer += 1;
                storm.recovered += u64::from(transition.recovered);
                let before = states.insert(transition.conn.clone(), transition.to.clone());
                storm.broken_chains += u64::from(before.is_some_and(|to| to != transition.from));
                *differences.entry(transition.key()).or_default() -= 1;
            }
            Line::Session { missing_fields } => {
                storm.losses_unknown = missing_fields
                    .iter()
                    .any(|field| field.name == "lost.reentry");
            }
            Line::End { lost } => storm.lost = lost.total,
            Line::Other => {}
        }
    }
    differences.retain(|_, count| *count != 0);
    storm.differences = differences;
    Ok(storm)
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Line {
    Session {
        missing_fields: Vec<Missing>,
    },
    Transition(Transition),
    End {
        lost: Lost,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Missing {
    name: String,
}

#[derive(Deserialize)]
struct Lost {
    total: u64,
}

#[derive(Deserialize)]
struct Transition {
    conn: String,
    local: Local,
    #[serde(rename = "kernel_from")]
    from: String,
    #[serde(rename = "kernel_to")]
    to: String,
    recovered: bool,
}

#[derive(Deserialize)]
struct Local {
    port: u16,
}

impl Transition {
    fn key(&self) -> String {
        format!("{} {}->{}", self.local.port, self.from, self.to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "# tracer: nop\n\
        storm-1 [000] ..... 1.0: inet_sock_set_state: family=AF_INET protocol=IPPROTO_TCP sport=0 \
        dport=80 saddr=0.0.0.0 oldstate=TCP_CLOSE newstate=TCP_SYN_SENT\n\
        storm-1 [000] ..... 1.0: inet_sock_set_state: family=AF_INET protocol=IPPROTO_TCP sport=9 \
        dport=80 saddr=0.0.0.0 oldstate=TCP_SYN_SENT newstate=TCP_CLOSE\n";

    fn line(port: u16, from: &str, to: &str) -> String {
        format!(
            "{{\"type\":\"transition\",\"conn\":\"1\",\"local\":{{\"port\":{port}}},\
             \"kernel_from\":\"{from}\",\"kernel_to\":\"{to}\",\"recovered\":false}}\n"
        )
    }

    fn storm(lines: &str, missing: &str, lost: u64) -> Storm {
        let session = format!("{{\"type\":\"session\",\"missing_fields\":[{missing}]}}\n");
        let end = format!("{{\"type\":\"end\",\"lost\":{{\"total\":{lost}}}}}\n");
        compare(TRACE, &(session + lines + &end)).unwrap()
    }

    #[test]
    fn all_there() {
        let lines = line(0, "TCP_CLOSE", "TCP_SYN_SENT") + &line(9, "TCP_SYN_SENT", "TCP_CLOSE");
        let storm = storm(&lines, "", 0);
        assert!(storm.is_true(), "{storm:?}");
        assert_eq!((storm.by_kernel, storm.by_tracer), (2, 2));
    }

    #[test]
    fn a_loss_must_be_told() {
        let lines = line(0, "TCP_CLOSE", "TCP_SYN_SENT");
        assert!(!storm(&lines, "", 0).is_true());
        assert!(storm(&lines, "", 1).is_true());
        assert!(!storm(&lines, "", 2).is_true());
        assert!(storm(&lines, "{\"name\":\"lost.reentry\"}", 0).is_true());
    }

    #[test]
    fn an_invention_is_found() {
        let lines = line(0, "TCP_CLOSE", "TCP_SYN_SENT")
            + &line(9, "TCP_SYN_SENT", "TCP_CLOSE")
            + &line(9, "TCP_SYN_SENT", "TCP_CLOSE");
        let storm = storm(&lines, "", 0);
        assert!(!storm.is_true());
        assert_eq!(storm.broken_chains, 1);
    }
}
