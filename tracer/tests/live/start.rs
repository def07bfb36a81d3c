//! The start of a run where very many sockets are there already: to list them takes a while.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Resource, Signal, getrlimit, kill_process, setrlimit};
use serde_json::Value;
use socket2::{Domain, SockAddr};

use crate::harness::{RunOne, Suite, Verdict};
use crate::netns::Namespace;
use crate::scenarios::Impossible;
use crate::scope::Scope;
use crate::stage;
use crate::tracer::{Output, Tracer, mono_ns};

const SCOPE: Scope = Scope(224);
/// Each is a descriptor and two sockets: nobody accepts it.
const CONNECTIONS: usize = 15_000;
/// Descriptors beside these.
const OTHER_FILES: u64 = 500;
/// A signal can come too late.
const ATTEMPTS: usize = 10;

pub(crate) fn suites() -> impl Iterator<Item = Suite> {
    let all: [(&str, RunOne); 3] = [
        (
            "start::nothing_is_lost_while_sockets_are_listed",
            nothing_lost,
        ),
        ("start::time_is_up_while_sockets_are_listed", time_is_up),
        ("start::interrupted_while_sockets_are_listed", interrupted),
    ];
    all.into_iter().map(|(name, run)| Suite::One(name, run))
}

/// Very many connections in a namespace of their own.
struct Crowd {
    namespace: Namespace,
    _sockets: (socket2::Socket, Vec<TcpStream>),
}

impl Crowd {
    fn new() -> Result<Self> {
        let needed = CONNECTIONS as u64 + OTHER_FILES;
        let mut limit = getrlimit(Resource::Nofile);
        if limit.maximum.is_some_and(|most| most < needed) {
            return Err(Impossible("too few files may be open".to_owned()).into());
        }
        if limit.current.is_some_and(|now| now < needed) {
            limit.current = Some(needed);
            setrlimit(Resource::Nofile, limit)?;
        }
        let namespace = Namespace::new()?;
        namespace.sysctl("core/somaxconn", "65535")?;
        let sockets = namespace.run(|| {
            let listener = stage::socket(Domain::IPV4)?;
            let place = SocketAddr::from((SCOPE.loopback(1), SCOPE.port(0)));
            listener.bind(&SockAddr::from(place))?;
            listener.listen(65_535)?;
            let clients = (0..CONNECTIONS).map(|_| stage::connect(place));
            Ok((listener, clients.collect::<Result<Vec<_>>>()?))
        })?;
        Ok(Self {
            namespace,
            _sockets: sockets,
        })
    }

    /// Arguments of a run that sees nothing else.
    fn chosen(&self) -> [String; 2] {
        ["--netns".to_owned(), self.namespace.inode().to_string()]
    }
}

/// How many sockets were listed, and what was not and why.
fn listed(output: &Output) -> Result<(usize, String)> {
    let snapshot = output.session.get("snapshot").context("no snapshot")?;
    let sockets = snapshot.get("sockets").and_then(Value::as_u64);
    let missing = snapshot.get("missing").context("no list")?;
    Ok((
        usize::try_from(sockets.context("no count")?)?,
        missing.to_string(),
    ))
}

/// The run ended in the middle of the list, and said so.
fn is_cut_off(output: &Output) -> Result<bool> {
    output.ensure_complete()?;
    let (sockets, missing) = listed(output)?;
    let cut_off = missing.contains("the run ended before all were listed");
    ensure!(
        !cut_off || sockets < 2 * CONNECTIONS,
        "{sockets} sockets, without {missing}"
    );
    let lines = output.connections.len();
    ensure!(lines == sockets, "{lines} lines of {sockets} sockets");
    Ok(cut_off)
}

fn time_is_up() -> Result<Verdict> {
    let crowd = Crowd::new()?;
    let [option, netns] = crowd.chosen();
    let output = Tracer::start(&[&option, &netns, "--duration", "1ms"])?.wait()?;
    ensure!(is_cut_off(&output)?, "not cut off: {}", output.session);
    Ok(Verdict::Passed)
}

fn interrupted() -> Result<Verdict> {
    let crowd = Crowd::new()?;
    for _ in 0..ATTEMPTS {
        let tracer = Tracer::launch(&crowd.chosen())?;
        await_listing(tracer.pid())?;
        kill_process(tracer.pid(), Signal::INT)?;
        if is_cut_off(&tracer.attached()?.wait()?)? {
            return Ok(Verdict::Passed);
        }
    }
    bail!("{ATTEMPTS} signals did not cut off the list")
}

/// Waits until the thread is there that lists the sockets.
fn await_listing(pid: Pid) -> Result<()> {
    let tasks = format!("/proc/{}/task", pid.as_raw_nonzero());
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        let mut threads = fs::read_dir(&tasks)?.flatten();
        let is_it = |name: String| name.trim() == "snapshot";
        if threads.any(|thread| fs::read_to_string(thread.path().join("comm")).is_ok_and(is_it)) {
            return Ok(());
        }
        thread::sleep(Duration::from_micros(200));
    }
    bail!("no sockets are listed")
}

/// Connections that are born all the time from before the start on.
fn nothing_lost() -> Result<Verdict> {
    let crowd = Crowd::new()?;
    let place = SocketAddr::from((SCOPE.loopback(2), SCOPE.port(1)));
    let listener = crowd.namespace.run(|| stage::listen(place))?;
    let over = AtomicBool::new(false);
    let (tracer, born) = thread::scope(|scope| {
        let talking = scope.spawn(|| crowd.namespace.run(|| talk_until(&listener, &over)));
        let tracer = Tracer::start(&crowd.chosen());
        over.store(true, Ordering::Relaxed);
        let born = talking
            .join()
            .map_err(|_| anyhow::anyhow!("a thread failed"))?;
        Ok::<_, anyhow::Error>((tracer?, born?))
    })?;
    let attached_ns = tracer.session_mono_ns()?;
    let output = tracer.stop()?;
    output.ensure_complete()?;
    let (sockets, missing) = listed(&output)?;
    ensure!(
        sockets > 2 * CONNECTIONS || missing.contains("it took too long"),
        "{sockets} sockets, without {missing}"
    );
    let mut seen = 0;
    for (port, _) in born.iter().filter(|(_, at_ns)| *at_ns >= attached_ns) {
        let is_it = |line: &&crate::tracer::Connection| {
            line.local.port == *port && line.remote.port == place.port()
        };
        let lines: Vec<_> = output.connections.iter().filter(is_it).collect();
        let [line] = *lines else {
            bail!("{} lines of the connection from port {port}", lines.len());
        };
        ensure!(line.from_birth && !line.has_gap, "{line:?}");
        seen += 1;
    }
    ensure!(seen > 0, "nothing happened while the sockets were listed");
    Ok(Verdict::Passed)
}

/// The client's port of each connection, and when it was about to be born.
fn talk_until(listener: &TcpListener, over: &AtomicBool) -> Result<Vec<(u16, u64)>> {
    let place = listener.local_addr()?;
    let mut born = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let now_ns = mono_ns();
        let client = stage::connect(place)?;
        let server = stage::accept(listener)?;
        born.push((client.local_addr()?.port(), now_ns));
        stage::close_in_order(client, server)?;
        thread::sleep(Duration::from_millis(1));
    }
    Ok(born)
}
