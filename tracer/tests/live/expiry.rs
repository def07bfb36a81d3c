//! `TIME_WAIT` to its end, as long as it really takes: a minute. The kernel's own table of sockets says when it
//! begins and when it is over.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::harness::Verdict;
use crate::netns::Namespace;
use crate::outcome::Means;
use crate::scenarios::Impossible;
use crate::scope::Scope;
use crate::stage;
use crate::tracer::Tracer;

pub(crate) const NAME: &str = "expiry::time_wait";

const SCOPE: Scope = Scope(219);
/// `TCP_TIMEWAIT_LEN`, a constant of the kernel.
const TIME_WAIT: Duration = Duration::from_mins(1);
/// A timer of a minute is late by up to 512 ticks: two seconds with 250 ticks a second, five with 100.
const LATE: Duration = Duration::from_secs(6);
/// Between two looks at the kernel's table, and what a busy emulator adds to that.
const LOOK: Duration = Duration::from_millis(5);
const SLACK: Duration = Duration::from_millis(250);
/// `TCP_TIME_WAIT`, as the table spells it.
const STATE: &str = "06";

pub(crate) fn run() -> Result<Verdict> {
    let namespace = Namespace::new()?;
    let port = SCOPE.port(0);
    let tracer = Tracer::start(&["--port", &port.to_string(), "--time-wait", "wait"])?;
    let place = (SCOPE.loopback(1), port).into();
    let by_table = namespace.run(|| {
        let (_listener, client, server) = stage::pair_at(place)?;
        stage::close_in_order(client, server)?;
        let began = await_time_wait(true, Duration::from_secs(5))?;
        let over = await_time_wait(false, TIME_WAIT + LATE)?;
        Ok(over - began)
    })?;
    let output = tracer.stop()?;
    output.ensure_complete()?;
    if !Means::of(&output)?.mini_sockets {
        return Err(Impossible("functions of the kernel cannot be listened to".to_owned()).into());
    }

    let mut lines = output.connections.iter();
    let line = lines
        .find(|line| line.role == "client")
        .context("no connection of a client")?;
    let mut spans = line.states.iter();
    let span = spans
        .find(|span| span.state == "TIME_WAIT")
        .with_context(|| format!("no TIME_WAIT: {line:?}"))?;
    let lasted = Duration::from_nanos(span.duration_ns.context("no duration")?);
    ensure!(
        span.evidence == "observed" && !span.duration_is_minimum,
        "not seen to its end: {span:?}"
    );
    ensure!(
        lasted.abs_diff(by_table) < SLACK,
        "TIME_WAIT lasted {lasted:?}, by the kernel's table {by_table:?}"
    );
    // By a tick the clock of the timers can be ahead.
    ensure!(
        lasted + Duration::from_millis(10) >= TIME_WAIT && lasted < TIME_WAIT + LATE,
        "TIME_WAIT lasted {lasted:?}"
    );
    let ended = output.continued.iter().any(|step| {
        (step.from.as_str(), step.to.as_str()) == ("TIME_WAIT", "CLOSED")
            && step.conn == line.conn
            && step.in_state_ns == span.duration_ns
    });
    ensure!(ended, "its end is not told: {:?}", output.continued);
    Ok(Verdict::Passed)
}

/// Waits until there is a connection in `TIME_WAIT` in this namespace, or none any more.
fn await_time_wait(wanted: bool, limit: Duration) -> Result<Instant> {
    let deadline = Instant::now() + limit;
    loop {
        let table = fs::read_to_string("/proc/thread-self/net/tcp")?;
        let now = Instant::now();
        let mut states = table
            .lines()
            .filter_map(|line| line.split_whitespace().nth(3));
        if states.any(|state| state == STATE) == wanted {
            return Ok(now);
        }
        if now > deadline {
            bail!("TIME_WAIT does not begin, or does not end: {table}");
        }
        thread::sleep(LOOK);
    }
}
