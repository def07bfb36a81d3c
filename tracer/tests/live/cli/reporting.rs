//! `tracer report` writes a page of what happened.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{Running, port, talk};
use crate::harness::Verdict;
use crate::netns::Namespace;

/// Connections made, each with its listener: three sockets.
const TALKS: u64 = 5;

pub(super) fn a_page_holds_what_happened() -> Result<Verdict> {
    let namespace = Namespace::new()?;
    let report = Running::start(&["report", "--port", &port()], "recording")?;
    for _ in 0..TALKS {
        talk(&namespace)?;
    }
    let page = report.interrupt()?;

    ensure!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
    let (_, rest) = page.split_once("id=\"data\">").context("no data")?;
    let (data, _) = rest.split_once("</script>").context("no end of the data")?;
    let data: Value = serde_json::from_str(data)?;
    let list = |name| {
        data.get(name)
            .and_then(Value::as_array)
            .context("no such list")
    };
    let rows = list("rows")?.len();
    ensure!(rows as u64 == 3 * TALKS, "{rows} rows");
    let edges = list("edges")?;
    for (from, to) in [
        ("CLOSED", "SYN_SENT"),
        ("LISTEN", "SYN_RECEIVED"),
        ("SYN_SENT", "ESTABLISHED"),
        ("LAST_ACK", "CLOSED"),
    ] {
        let edge = edges
            .iter()
            .find(|edge| edge["from"] == from && edge["to"] == to);
        let count = edge.and_then(|edge| edge["count"].as_u64());
        ensure!(count == Some(TALKS), "{count:?} of {from} -> {to}");
    }
    Ok(Verdict::Passed)
}
