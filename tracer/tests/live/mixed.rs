//! Ten thousand connections of many kinds with real servers, and not one verdict that is not what was done.
//!
//! nginx, haproxy before it, and redis; half of the clients use IPv6. Some connections are aborted by
//! design and some are refused, in known numbers: all others closed in order, and must be said to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::SocketAddr;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};

use crate::compare;
use crate::crowd::{Errand, Job};
use crate::harness::Verdict;
use crate::lives;
use crate::netns::Namespace;
use crate::oracle::Oracle;
use crate::outcome::Told;
use crate::scope::Scope;
use crate::servers::Server;
use crate::stage::{self, Actor};
use crate::tools;
use crate::tracer::{Connection, Tracer};

pub(crate) const NAME: &str = "server::ten_thousand_mixed_connections";

const SCOPE: Scope = Scope(202);
/// Room for all events on each CPU.
const BUFFER_KIB: u32 = 64 * 1024;

/// For all of them: the tests' own build of tracer is slow, and the clients wait for nobody.
const RING: &str = "64M";

/// Ports of the servers; nobody listens on the last.
const NGINX: u16 = 0;
const HAPROXY: u16 = 1;
const REDIS: u16 = 2;
const NOBODY: u16 = 3;

/// What clients do at which port, how often over each of IPv4 and IPv6.
const WORK: [(u16, Errand, usize); 9] = [
    (NGINX, Errand::Short, 1200),
    (NGINX, Errand::KeepAlive, 400),
    (NGINX, Errand::HalfClose, 600),
    (NGINX, Errand::Abort, 250),
    (HAPROXY, Errand::Short, 800),
    (HAPROXY, Errand::KeepAlive, 200),
    (REDIS, Errand::Ping, 500),
    (REDIS, Errand::Quit, 500),
    (NOBODY, Errand::Refused, 550),
];

/// Who has a socket of which kind, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Outcome {
    role: String,
    /// `source:comm`
    owner: String,
    /// The port of the server.
    port: u16,
    verdict: String,
    closed_by: Option<String>,
}

type Tally = BTreeMap<Outcome, usize>;

pub(crate) fn run() -> Result<Verdict> {
    for tool in ["nginx", "haproxy", "redis-server"] {
        tools::find(tool)?;
    }
    let namespace = Namespace::new()?;
    namespace.loopback_address(SCOPE.v6(1).into())?;
    let oracle = Oracle::start(&SCOPE.ports(), BUFFER_KIB)?;
    let ports = SCOPE.ports();
    let range = format!("{}-{}", ports.start, ports.end - 1);
    let tracer = Tracer::start(&["--port", &range, "--ring-size", RING])?;

    let [v4, _] = places(NGINX);
    let nginx = Server::nginx(&namespace, &places(NGINX))?;
    let haproxy = Server::haproxy(&namespace, &places(HAPROXY), v4)?;
    let redis = Server::redis(&namespace, &places(REDIS))?;
    let workers = nginx.children()?;
    let jobs: Vec<_> = WORK
        .iter()
        .flat_map(|&(port, errand, times)| {
            places(port).map(|place| {
                Job {
                    errand,
                    place,
                    times,
                }
                .to_string()
            })
        })
        .collect();
    let crowd = namespace.run(|| Actor::start("crowd", "crowd", &jobs, Stdio::null()))?;
    let crowd_pid = crowd.pid();
    crowd.finish()?;
    let pids = BTreeMap::from([
        ("live-crowd", BTreeSet::from([crowd_pid])),
        ("haproxy", BTreeSet::from([haproxy.pid()])),
        ("redis-server", BTreeSet::from([redis.pid()])),
        ("nginx", workers.into_iter().chain([nginx.pid()]).collect()),
    ]);
    let master = nginx.pid();
    for server in [haproxy, redis, nginx] {
        server.stop()?;
    }
    stage::await_open_sockets(&namespace, 0)?;

    let output = tracer.stop()?;
    let records = oracle.finish()?;
    output.ensure_complete()?;
    compare::ensure_equal(&records, &output.transitions)?;
    compare::ensure_consistent(&output.transitions)?;
    let told = Told::new(&output)?;
    told.ensure_none_besides(&output.transitions)?;
    let mut seen = Tally::new();
    for life in lives::lives(&output.transitions)? {
        let line = told.of(&life)?;
        owner_is_right(line, &pids, master)?;
        *seen.entry(outcome(line)).or_default() += 1;
    }
    ensure_same(&expected(), &seen)?;
    totals_are_right(&output.end, &seen)?;
    Ok(Verdict::Passed)
}

fn places(port: u16) -> [SocketAddr; 2] {
    let port = SCOPE.port(port);
    [(SCOPE.loopback(1), port).into(), (SCOPE.v6(1), port).into()]
}

fn outcome(line: &Connection) -> Outcome {
    let server = if line.role == "client" {
        line.remote.port
    } else {
        line.local.port
    };
    Outcome {
        role: line.role.clone(),
        owner: format!(
            "{}:{}",
            line.owner_source,
            line.comm.as_deref().unwrap_or_default()
        ),
        port: server,
        verdict: line.verdict.clone(),
        closed_by: line.closed_by.clone(),
    }
}

/// The process is one of those with that command; only the master of nginx listens, only its workers
/// accept.
fn owner_is_right(
    line: &Connection,
    pids: &BTreeMap<&str, BTreeSet<u32>>,
    master: u32,
) -> Result<()> {
    let comm = line.comm.as_deref().context("no owner")?;
    let pid = line.pid.context("no owner")?;
    let of_comm = pids.get(comm).is_some_and(|pids| pids.contains(&pid));
    let is_master = comm != "nginx" || (pid == master) == (line.role == "listener");
    ensure!(of_comm && is_master, "a wrong owner: {line:?}");
    Ok(())
}

/// What was done, socket by socket.
fn expected() -> Tally {
    let mut tally = Tally::new();
    let mut add = |role: &str, owner: &str, port, verdict: &str, closed_by: Option<&str>, times| {
        if times > 0 {
            let outcome = Outcome {
                role: role.to_owned(),
                owner: owner.to_owned(),
                port: SCOPE.port(port),
                verdict: verdict.to_owned(),
                closed_by: closed_by.map(str::to_owned),
            };
            *tally.entry(outcome).or_default() += times;
        }
    };
    for (port, comm) in [
        (NGINX, "nginx"),
        (HAPROXY, "haproxy"),
        (REDIS, "redis-server"),
    ] {
        add(
            "listener",
            &format!("listen:{comm}"),
            port,
            "listener",
            None,
            2,
        );
    }
    let (local, remote) = (Some("local"), Some("remote"));
    for (port, errand, times) in WORK {
        let times = 2 * times;
        let client = "connect:live-crowd";
        let (verdict, first, at_server, second) = match errand {
            Errand::Short | Errand::Quit => ("closed", remote, "closed", local),
            Errand::KeepAlive | Errand::HalfClose | Errand::Ping => {
                ("closed", local, "closed", remote)
            }
            Errand::Abort => ("reset_by_us", local, "reset_by_peer", remote),
            Errand::Refused => {
                add("client", client, port, "refused", remote, times);
                continue;
            }
        };
        add("client", client, port, verdict, first, times);
        let server = match port {
            HAPROXY => "accept:haproxy",
            REDIS => "accept:redis-server",
            _ => "accept:nginx",
        };
        add("server", server, port, at_server, second, times);
        if port == HAPROXY {
            // What one side does haproxy does to the other.
            add("client", "connect:haproxy", NGINX, verdict, first, times);
            add("server", "accept:nginx", NGINX, at_server, second, times);
        }
    }
    tally
}

fn ensure_same(expected: &Tally, seen: &Tally) -> Result<()> {
    let mut report = String::new();
    for outcome in expected.keys().chain(seen.keys()).collect::<BTreeSet<_>>() {
        let [wanted, found] =
            [expected, seen].map(|tally| tally.get(outcome).copied().unwrap_or_default());
        if wanted != found {
            writeln!(report, "  {wanted} done, {found} told: {outcome:?}")?;
        }
    }
    ensure!(report.is_empty(), "not what was done:\n{report}");
    Ok(())
}

/// The sums in the last line are those of the lines before it.
fn totals_are_right(end: &serde_json::Value, seen: &Tally) -> Result<()> {
    let verdicts = end.get("verdicts").and_then(serde_json::Value::as_object);
    for (verdict, count) in verdicts.context("no verdicts in the end")? {
        let told: usize = seen
            .iter()
            .filter(|(outcome, _)| outcome.verdict == *verdict)
            .map(|(_, times)| times)
            .sum();
        ensure!(
            count.as_u64() == Some(told.try_into()?),
            "{count} {verdict} in the end, {told} before it"
        );
    }
    Ok(())
}
