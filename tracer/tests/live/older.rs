//! Connections that were there before the trace, against what is known of them and the kernel's record.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::harness::{RunOne, Suite, Verdict};
use crate::lives::Step as _;
use crate::netns::Namespace;
use crate::oracle::{Oracle, Record};
use crate::scope::Scope;
use crate::stage;
use crate::tools;
use crate::tracer::{Connection, Output, Tracer, Transition};

const SCOPE: Scope = Scope(218);
/// Room for a few hundred thousand events on each CPU.
const BUFFER_KIB: u32 = 64 * 1024;
/// Connections that do nothing while the storm is about them.
const QUIET: usize = 300;
/// Starts of tracer in the middle of it.
const STARTS: usize = 5;
/// Threads that connect and close.
const STORMING: u16 = 4;

pub(crate) fn suites() -> impl Iterator<Item = Suite> {
    let all: [(&str, RunOne); 4] = [
        ("older::goes_on_with_its_owner", goes_on),
        ("older::stays_open", stays_open),
        ("older::left_out_on_request", left_out),
        ("older::in_the_middle_of_a_storm", storm),
    ];
    all.into_iter().map(|(name, run)| Suite::One(name, run))
}

fn place(number: u16) -> SocketAddr {
    (SCOPE.loopback(1), SCOPE.port(number)).into()
}

fn ports() -> String {
    let ports = SCOPE.ports();
    format!("{}-{}", ports.start, ports.end - 1)
}

fn snapshot<'a>(output: &'a Output, field: &str) -> Result<&'a Value> {
    let snapshot = output.session.get("snapshot");
    let value = snapshot.and_then(|snapshot| snapshot.get(field));
    value.with_context(|| format!("no {field} of the snapshot: {}", output.session))
}

/// The process of this test, as tracer shows it.
fn is_mine(pid: Option<u32>) -> bool {
    pid == Some(std::process::id())
}

/// The lines of the socket with these ends.
fn of(output: &Output, local: SocketAddr, remote: SocketAddr) -> Vec<&Transition> {
    let is =
        |line: &&Transition| line.local.port == local.port() && line.remote.port == remote.port();
    output.transitions.iter().filter(is).collect()
}

fn goes_on() -> Result<Verdict> {
    let namespace = Namespace::new()?;
    let (listener, client, server) = namespace.run(|| stage::pair_at(place(0)))?;
    let shared = Command::new(tools::find("sleep")?)
        .arg("60")
        .stdin(Stdio::from(OwnedFd::from(server.try_clone()?)))
        .spawn()?;
    let ends = (client.local_addr()?, place(0));

    let pid = std::process::id().to_string();
    let by_pid = Tracer::start(&["--netns", &namespace.inode().to_string(), "--pid", &pid])?;
    let tracer = Tracer::start(&["--port", &ports()])?;
    thread::sleep(Duration::from_millis(300));
    let shutdown = client.shutdown(Shutdown::Write);
    // The other holder of the server's end lets go of it.
    let mut sleep = shared;
    sleep.kill()?;
    sleep.wait()?;
    shutdown?;
    stage::read_to_end(&server)?;
    drop(server);
    stage::read_to_end(&client)?;
    drop(client);
    // A new one, out of the older listener; nobody accepts it.
    let late = namespace.run(|| stage::connect(place(0)))?;
    let late_ends = (late.local_addr()?, place(0));
    stage::await_open_sockets(&namespace, 3)?;
    drop((late, listener));
    stage::await_open_sockets(&namespace, 0)?;
    let (output, by_pid) = (tracer.stop()?, by_pid.stop()?);

    output.ensure_complete()?;
    ensure!(output.transitions.iter().all(|line| !line.after_gap));
    for (path, local, remote, role) in [
        (
            ["ESTABLISHED", "FIN_WAIT_1", "FIN_WAIT_2", "CLOSED"],
            ends.0,
            ends.1,
            "unknown",
        ),
        (
            ["ESTABLISHED", "CLOSE_WAIT", "LAST_ACK", "CLOSED"],
            ends.1,
            ends.0,
            "server",
        ),
    ] {
        let lines = of(&output, local, remote);
        let mut states = vec![lines.first().context("no line")?.from.as_str()];
        states.extend(lines.iter().map(|line| line.to.as_str()));
        ensure!(states == path, "{states:?}");
        let holders = match role {
            "server" => vec![std::process::id(), sleep.id()],
            _ => vec![std::process::id()],
        };
        let holders = sorted(holders);
        for line in &lines {
            ensure!(line.role == role, "{line:?}");
            ensure!(line.pid == holders.first().copied(), "{line:?}");
            ensure!(line.owner_source == "snapshot", "{line:?}");
        }
        let first = lines.first().context("no line")?;
        // It was there for all of the time that was waited, and for longer.
        ensure!(first.in_state_is_minimum, "{first:?}");
        ensure!(
            first.in_state_ns.is_some_and(|ns| ns >= 250_000_000),
            "{first:?}"
        );
        let connection = connection_of(&output, &first.conn)?;
        let owners: Vec<u32> = connection.owners.iter().map(|owner| owner.pid).collect();
        ensure!(owners == holders, "{owners:?}");
    }
    let born = of(&output, late_ends.1, late_ends.0);
    let first = born.first().context("the new connection is not shown")?;
    ensure!(
        first.owner_source == "listener" && is_mine(first.pid),
        "{first:?}"
    );
    ensure!(
        output.transitions.len() == by_pid.transitions.len(),
        "--pid shows {} of {}",
        by_pid.transitions.len(),
        output.transitions.len()
    );
    Ok(Verdict::Passed)
}

fn sorted(mut pids: Vec<u32>) -> Vec<u32> {
    pids.sort_unstable();
    pids
}

fn connection_of<'a>(output: &'a Output, conn: &Value) -> Result<&'a Connection> {
    let mut found = output.connections.iter().filter(|line| line.conn == *conn);
    let one = found.next().context("a connection without its line")?;
    ensure!(found.next().is_none(), "two lines of one connection");
    Ok(one)
}

fn stays_open() -> Result<Verdict> {
    let namespace = Namespace::new()?;
    let (listener, client, server) = namespace.run(|| stage::pair_at(place(0)))?;
    let waiting = namespace.run(|| stage::connect(place(0)))?;
    server.shutdown(Shutdown::Write)?;
    let output = Tracer::start(&["--netns", &namespace.inode().to_string()])?.stop()?;

    output.ensure_complete()?;
    ensure!(snapshot(&output, "sockets")? == 5, "{}", output.session);
    ensure!(snapshot(&output, "namespaces")? == 1, "{}", output.session);
    let mut seen: Vec<(String, String, String, String)> = Vec::new();
    for line in &output.connections {
        let state = line.states.first().context("no state")?;
        ensure!(line.states.len() == 1 && state.start.is_none(), "{line:?}");
        ensure!(
            state.duration_is_minimum && state.duration_ns.is_some(),
            "{line:?}"
        );
        ensure!(state.evidence == "polled" && is_mine(line.pid), "{line:?}");
        seen.push((
            line.verdict.clone(),
            line.role.clone(),
            state.state.clone(),
            line.owner_source.clone(),
        ));
    }
    seen.sort_unstable();
    let expected = [
        ("listener", "listener", "LISTEN", "snapshot"),
        ("open", "server", "ESTABLISHED", "listener"),
        ("open", "server", "FIN_WAIT_2", "snapshot"),
        ("open", "unknown", "CLOSE_WAIT", "snapshot"),
        ("open", "unknown", "ESTABLISHED", "snapshot"),
    ]
    .map(|(a, b, c, d)| (a.to_owned(), b.to_owned(), c.to_owned(), d.to_owned()));
    ensure!(seen == expected, "{seen:?}");
    drop((listener, client, server, waiting));
    Ok(Verdict::Passed)
}

fn left_out() -> Result<Verdict> {
    let namespace = Namespace::new()?;
    let (_listener, client, server) = namespace.run(|| stage::pair_at(place(0)))?;
    let tracer = Tracer::start(&["--port", &ports(), "--no-snapshot"])?;
    stage::close_in_order(client, server)?;
    let output = tracer.stop()?;
    output.ensure_complete()?;
    ensure!(snapshot(&output, "status")? == "off", "{}", output.session);
    ensure!(output.connections.len() == 2, "{:?}", output.connections);
    let first = output.transitions.first().context("no line")?;
    ensure!(
        first.in_state_ns.is_none() && is_mine(first.pid),
        "{first:?}"
    );
    Ok(Verdict::Passed)
}

/// Connections that are born and closed all the time while the list is taken, and some that stay.
fn storm() -> Result<Verdict> {
    let namespace = Namespace::new()?;
    let quiet_listener = namespace.run(|| stage::listen(place(0)))?;
    let quiet = namespace.run(|| {
        let pair = || -> Result<(TcpStream, TcpStream)> {
            let client = stage::connect(place(0))?;
            Ok((client, stage::accept(&quiet_listener)?))
        };
        (0..QUIET).map(|_| pair()).collect::<Result<Vec<_>>>()
    })?;
    let mut open = BTreeSet::new();
    for (client, server) in &quiet {
        let (client, server) = (client.local_addr()?.port(), server.local_addr()?.port());
        open.extend([(client, server), (server, client)]);
    }
    open.extend((0..=STORMING).map(|number| (place(number).port(), 0)));

    for _ in 0..STARTS {
        let oracle = Oracle::start(&SCOPE.ports(), BUFFER_KIB)?;
        let listeners = namespace.run(|| {
            let numbers = 1..=STORMING;
            numbers
                .map(|number| stage::listen(place(number)))
                .collect::<Result<Vec<_>>>()
        })?;
        let (output, attached_ns) = trace_the_storm(&namespace, &listeners)?;
        let records = oracle.finish()?;
        ensure_each_told_once(&output, &records, attached_ns, &open)?;
    }
    Ok(Verdict::Passed)
}

/// Starts tracer in the middle of a storm; yields when it was ready as well.
fn trace_the_storm(namespace: &Namespace, listeners: &[TcpListener]) -> Result<(Output, u64)> {
    let over = AtomicBool::new(false);
    let tracer = thread::scope(|scope| -> Result<Tracer> {
        let storming: Vec<_> = listeners
            .iter()
            .map(|listener| scope.spawn(|| namespace.run(|| talk_until(listener, &over))))
            .collect();
        thread::sleep(Duration::from_millis(100));
        let tracer = Tracer::start(&["--port", &ports(), "--ring-size", "64M"]);
        thread::sleep(Duration::from_millis(50));
        over.store(true, Ordering::Relaxed);
        for one in storming {
            one.join()
                .map_err(|_| anyhow::anyhow!("a thread failed"))??;
        }
        tracer
    })?;
    // What is left of the storm has its last transition.
    stage::await_open_sockets(namespace, 2 * QUIET + 1 + listeners.len())?;
    let attached_ns = tracer.session_mono_ns()?;
    Ok((tracer.stop()?, attached_ns))
}

fn talk_until(listener: &TcpListener, over: &AtomicBool) -> Result<()> {
    let place = listener.local_addr()?;
    let mut kept = Vec::new();
    let mut round = 0usize;
    while !over.load(Ordering::Relaxed) {
        let client = stage::connect(place)?;
        let server = stage::accept(listener)?;
        round += 1;
        // No faster than a tracer that is not optimized can write of it.
        thread::sleep(Duration::from_millis(1));
        // Some live a little longer than others, so that the list finds them in every state.
        kept.push((client, server));
        if kept.len() > round % 7 {
            for (client, server) in kept.drain(..) {
                let (first, second) = if round.is_multiple_of(2) {
                    (client, server)
                } else {
                    (server, client)
                };
                stage::close_in_order(first, second)?;
            }
        }
    }
    for (client, server) in kept {
        stage::close_in_order(client, server)?;
    }
    Ok(())
}

fn ensure_each_told_once(
    output: &Output,
    records: &[Record],
    attached_ns: u64,
    open: &BTreeSet<(u16, u16)>,
) -> Result<()> {
    output.ensure_complete()?;
    let listed = snapshot(output, "sockets")?.as_u64().unwrap_or_default();
    ensure!(listed >= open.len() as u64, "{}", output.session);

    // Nothing lost: the kernel's record from then on is what tracer shows, however often.
    let key = |sk: u64, from: &str, to: &str, port: u16| (sk, from.to_owned(), to.to_owned(), port);
    let mut shown: BTreeMap<_, i64> = BTreeMap::new();
    for line in output
        .transitions
        .iter()
        .filter(|line| line.mono_ns >= attached_ns)
    {
        ensure!(!line.after_gap, "after a gap: {line:?}");
        let port = line.remote.port;
        *shown
            .entry(key(
                line.skaddr()?,
                &line.kernel_from,
                &line.kernel_to,
                port,
            ))
            .or_default() += 1;
    }
    for record in records
        .iter()
        .filter(|record| record.mono_ns() >= attached_ns)
    {
        let port = record.remote.1;
        *shown
            .entry(key(record.skaddr, &record.old, &record.new, port))
            .or_default() -= 1;
    }
    // The two take their time one after the other: at the beginning one event can be on either side.
    let differ = shown.values().filter(|count| **count != 0).count();
    ensure!(differ <= 2, "{differ} transitions differ");

    // Nothing doubled: each connection has one line, and its socket's lines are in one piece.
    let mut ends = BTreeMap::new();
    for line in &output.connections {
        let before = ends.insert(line.conn.to_string(), line);
        ensure!(before.is_none(), "two lines of one connection: {line:?}");
        ensure!(line.ending != "end_unseen", "{line:?}");
    }
    let mut last: BTreeMap<u64, &Transition> = BTreeMap::new();
    for line in &output.transitions {
        ensure!(
            ends.contains_key(&line.conn.to_string()),
            "no end: {line:?}"
        );
        if let Some(before) = last.insert(line.skaddr()?, line)
            && before.to != "CLOSED"
        {
            ensure!(
                before.conn == line.conn,
                "in two pieces: {before:?} {line:?}"
            );
        }
    }

    // No ghost, and none left out: what is open at the end is what is.
    let mut left = BTreeSet::new();
    for line in output
        .connections
        .iter()
        .filter(|line| line.ending == "still_open")
    {
        let ends = (line.local.port, line.remote.port);
        ensure!(left.insert(ends), "told twice: {line:?}");
    }
    let ghosts: Vec<_> = left.difference(open).collect();
    let lost: Vec<_> = open.difference(&left).collect();
    ensure!(
        ghosts.is_empty() && lost.is_empty(),
        "open but closed: {ghosts:?}; not told: {lost:?}"
    );
    Ok(())
}
