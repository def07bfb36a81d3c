//! `tracer summary` counts what happened.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{Running, place, port, talk};
use crate::harness::Verdict;
use crate::netns::Namespace;
use crate::stage;

/// Connections made, each with its listener.
const TALKS: u64 = 7;

pub(super) fn counts_are_those_of_what_happened() -> Result<Verdict> {
    let namespace = Namespace::new()?;
    let arguments = ["summary", "-o", "jsonl", "--port", &port()];
    let summary = Running::start(&arguments, "counting")?;
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
    let text = summary.interrupt()?;

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
