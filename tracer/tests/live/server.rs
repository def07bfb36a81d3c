//! A real server under real clients: nginx, driven by wrk and curl.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::compare;
use crate::harness::Verdict;
use crate::lives::{self, Life};
use crate::netns::Namespace;
use crate::oracle::Oracle;
use crate::scope::Scope;
use crate::servers::{PAGE_BYTES, Server, spawn_in};
use crate::tools;
use crate::tracer::{Tracer, Transition};

pub(crate) const NAME: &str = "server::nginx_under_wrk_and_curl";

const SCOPE: Scope = Scope(200);
/// Room for a few hundred thousand events on each CPU.
const BUFFER_KIB: u32 = 64 * 1024;
/// What one run must have seen at least.
const CONNECTIONS: usize = 4_000;
const CURLS: usize = 20;

pub(crate) fn run() -> Result<Verdict> {
    for tool in ["nginx", "wrk", "curl"] {
        tools::find(tool)?;
    }
    let namespace = Namespace::new()?;
    let oracle = Oracle::start(&SCOPE.ports(), BUFFER_KIB)?;
    let ports = SCOPE.ports();
    let range = format!("{}-{}", ports.start, ports.end - 1);
    let tracer = Tracer::start(&["--port", &range])?;

    let nginx = Server::nginx(&namespace, &[place()])?;
    let workers = nginx.children()?;
    let mut clients = drive(&namespace)?;
    clients.extend(ask_by_curl(&namespace)?);
    let master = nginx.stop()?;

    let output = tracer.stop()?;
    let records = oracle.finish()?;
    output.ensure_complete()?;
    compare::ensure_equal(&records, &output.transitions)?;
    compare::ensure_consistent(&output.transitions)?;

    let lives = lives::lives(&output.transitions)?;
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for life in &lives {
        let role = life.role()?;
        *seen.entry(role).or_default() += 1;
        owner_is_right(life, role, master, &workers, &clients)?;
    }
    let of = |role| seen.get(role).copied().unwrap_or_default();
    ensure!(
        of("client") >= CONNECTIONS && of("server") >= CONNECTIONS && of("listener") == 1,
        "too few were seen: {seen:?}"
    );
    ensure!(of("unknown") == 0, "some have no beginning: {seen:?}");
    Ok(Verdict::Passed)
}

/// Accepted connections belong to the worker that accepted them, the others to who opened them.
fn owner_is_right(
    life: &Life<Transition>,
    role: &str,
    master: u32,
    workers: &BTreeSet<u32>,
    clients: &BTreeMap<u32, String>,
) -> Result<()> {
    let last = life.steps.last().context("a life without a step")?;
    let pid = last.pid.context("a connection without an owner")?;
    let comm = last.comm.as_deref().unwrap_or_default();
    let right = match role {
        "server" => last.owner_source == "accept" && workers.contains(&pid) && comm == "nginx",
        "listener" => last.owner_source == "listen" && pid == master && comm == "nginx",
        _ => {
            last.owner_source == "connect" && clients.get(&pid).is_some_and(|client| client == comm)
        }
    };
    ensure!(right, "a wrong owner: {last:?}");
    Ok(())
}

fn place() -> SocketAddr {
    (SCOPE.loopback(1), SCOPE.port(0)).into()
}

/// Thousands of connections, with and without keep-alive. Returns the clients' process ids and names.
fn drive(namespace: &Namespace) -> Result<BTreeMap<u32, String>> {
    /// Milliseconds between the requests of a connection: as fast as it can would measure, not test.
    const PAUSE: &str = "function delay() return 20 end\n";
    let script = std::env::temp_dir().join(format!("tracer-live-wrk-{}.lua", std::process::id()));
    fs::write(&script, PAUSE)?;
    let url = format!("http://{}/page", place());
    let mut clients = BTreeMap::new();
    for arguments in [
        ["-c", "40", "-d", "3", "-H", "Connection: close"],
        ["-c", "40", "-d", "1", "-H", "Connection: keep-alive"],
    ] {
        let child = spawn_in(
            namespace,
            Command::new(tools::find("wrk")?)
                .args(["-t", "2"])
                .args(arguments)
                .arg("-s")
                .arg(&script)
                .arg(&url)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped()),
        )?;
        clients.insert(child.id(), "wrk".to_owned());
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "wrk failed: {output:?}");
    }
    fs::remove_file(&script)?;
    Ok(clients)
}

fn ask_by_curl(namespace: &Namespace) -> Result<BTreeMap<u32, String>> {
    let url = format!("http://{}/page", place());
    let mut clients = BTreeMap::new();
    for _ in 0..CURLS {
        let child = spawn_in(
            namespace,
            Command::new(tools::find("curl")?)
                .args(["--silent", "--fail", &url])
                .stdin(Stdio::null())
                .stdout(Stdio::piped()),
        )?;
        clients.insert(child.id(), "curl".to_owned());
        let output = child.wait_with_output()?;
        ensure!(
            output.status.success() && output.stdout.len() == PAGE_BYTES,
            "curl failed: {output:?}"
        );
    }
    Ok(clients)
}
