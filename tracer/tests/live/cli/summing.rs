//! `tracer summary` counts what happened.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{place, port, talk};
use crate::harness::Verdict;
use crate::netns::Namespace;
use crate::stage;
use crate::tracer;

/// Connections made, each with its listener.
const TALKS: u64 = 7;

pub(super) fn counts_are_those_of_what_happened() -> Result<Verdict> {
    let namespace = Namespace::new()?;
    let mut child = Command::new(tracer::binary())
        .args(["summary", "-o", "jsonl", "--port", &port()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stderr = BufReader::new(child.stderr.take().context("no pipe")?);
    let mut said = String::new();
    while !said.contains("counting") && stderr.read_line(&mut said)? > 0 {}
    for _ in 0..TALKS {
        talk(&namespace)?;
    }
    // One more that nobody listens for, and one that stays open.
    let (_listener, _client, _server) = namespace.run(|| {
        ensure!(
            std::net::TcpStream::connect(place()).is_err(),
            "somebody listens"
        );
        stage::pair_at(place())
    })?;
    kill_process(Pid::from_child(&child), Signal::INT)?;
    let mut text = String::new();
    child
        .stdout
        .take()
        .context("no pipe")?
        .read_to_string(&mut text)?;
    let status = child.wait()?;
    stderr.read_to_string(&mut said)?;
    ensure!(status.success(), "{status}: {said}");

    let lines: Vec<Value> = text
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let of_type = |kind: &'static str| lines.iter().filter(move |line| line["type"] == kind);
    let edge = |from: &str, to: &str| {
        let mut edges = of_type("edge");
        let edge = edges.find(|line| line["from"] == from && line["to"] == to);
        edge.and_then(|edge| edge["count"].as_u64())
            .unwrap_or_default()
    };
    for (from, to, count) in [
        ("CLOSED", "LISTEN", TALKS + 1),
        ("LISTEN", "CLOSED", TALKS),
        ("CLOSED", "SYN_SENT", TALKS + 2),
        ("SYN_SENT", "CLOSED", 1),
        ("SYN_SENT", "ESTABLISHED", TALKS + 1),
        ("SYN_RECEIVED", "ESTABLISHED", TALKS + 1),
        ("ESTABLISHED", "FIN_WAIT_1", TALKS),
        ("ESTABLISHED", "CLOSE_WAIT", TALKS),
        ("LAST_ACK", "CLOSED", TALKS),
    ] {
        let told = edge(from, to);
        ensure!(
            told == count,
            "{told} of {from} -> {to}, not {count}:\n{text}"
        );
    }
    let number = |line: &Value, path: &str| line.pointer(path).and_then(Value::as_u64);
    let end = lines.last().context("no line")?;
    ensure!(end["type"] == "end", "{end}");
    for (verdict, count) in [("refused", 1), ("open", 2), ("closed", 2 * TALKS)] {
        let told = number(end, &format!("/verdicts/{verdict}"));
        ensure!(told == Some(count), "{told:?} {verdict}: {end}");
    }
    for kind in ["remote", "port", "process"] {
        let of_kind = of_type(kind).filter_map(|line| number(line, "/connections"));
        let sum: u64 = of_kind.sum();
        ensure!(sum == 2 * TALKS + 3, "{sum} connections by {kind}:\n{text}");
    }
    let received = of_type("reset").find(|line| line["direction"] == "received");
    let refused = received.context("no reset")?;
    ensure!(
        refused["state"] == "SYN_SENT" && refused["count"] == 1,
        "{refused}"
    );
    Ok(Verdict::Passed)
}
