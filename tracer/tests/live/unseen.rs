//! What connections go through without a socket of their own, against `/proc/net/tcp`, read again and
//! again: in mini-sockets and half-open.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::time::{ClockId, clock_gettime};
use socket2::Domain;

use crate::compare;
use crate::harness::{RunOne, Suite, Verdict};
use crate::netns::{Cable, Namespace, Side};
use crate::oracle::{Oracle, Recording};
use crate::outcome::Means;
use crate::scenarios::Impossible;
use crate::scope::Scope;
use crate::stage;
use crate::tracer::{Connection, Output, Span, Tracer};

const SCOPE: Scope = Scope(223);
/// Between two looks at the kernel's table.
const LOOK: Duration = Duration::from_millis(20);
/// For threads that get no turn on a busy machine.
const SLACK_NS: u64 = 150_000_000;
const BUFFER_KIB: u32 = 1024;
/// The kernel's timers are late by an eighth at most.
const LONGEST_TIME_WAIT: Duration = Duration::from_secs(69);

/// How many are given up for another, each within less than it takes until the kernel is asked.
const NAMESPACES: usize = 10;
const REPLACED_WITHIN: Duration = Duration::from_millis(90);

/// Kernel numbers of states, as the table has them.
const SYN_RECV: u8 = 3;
const FIN_WAIT_2: u8 = 5;
const TIME_WAIT: u8 = 6;

pub(crate) fn suites() -> impl Iterator<Item = Suite> {
    let all: [(&str, RunOne); 7] = [
        ("unseen::time_wait_until_it_ends", time_wait),
        ("unseen::late_data", late_data),
        ("unseen::ends_used_again_at_once", used_again),
        ("unseen::namespace_gone_at_once", namespace_gone_at_once),
        ("unseen::half_open", half_open),
        ("unseen::namespace_that_is_gone", namespace_gone),
        ("unseen::namespace_that_is_another", namespace_replaced),
    ];
    all.into_iter().map(|(name, run)| Suite::One(name, run))
}

/// When the kernel's table had a socket in a state: for the first and the last time.
#[derive(Clone, Copy, Debug)]
struct Seen {
    first_ns: u64,
    last_ns: u64,
    /// The looks before and after, when it had not, in nanoseconds.
    absent_at: [u64; 2],
}

/// By local port, remote port and state.
type Table = BTreeMap<(u16, u16, u8), Seen>;

/// Reads the table of a namespace until it has no mini-socket and no half-open connection any more.
fn watch(namespace: &Namespace, most: Duration) -> Result<Table> {
    let deadline = Instant::now() + most;
    namespace.run(|| {
        let mut table = Table::new();
        let mut before_ns = 0;
        loop {
            ensure!(Instant::now() < deadline, "they do not end: {table:?}");
            let mut left = false;
            for file in ["tcp", "tcp6"] {
                let text = std::fs::read_to_string(format!("/proc/thread-self/net/{file}"))?;
                let now_ns = mono_ns();
                for key in text.lines().skip(1).filter_map(entry) {
                    left |= [SYN_RECV, FIN_WAIT_2, TIME_WAIT].contains(&key.2);
                    let first = Seen {
                        first_ns: now_ns,
                        last_ns: now_ns,
                        absent_at: [before_ns, u64::MAX],
                    };
                    table.entry(key).or_insert(first).last_ns = now_ns;
                }
            }
            let looked_ns = mono_ns();
            for seen in table.values_mut().filter(|seen| seen.last_ns < before_ns) {
                let [_, after_ns] = &mut seen.absent_at;
                *after_ns = looked_ns.min(*after_ns);
            }
            before_ns = looked_ns;
            if !left && !table.is_empty() {
                break;
            }
            thread::sleep(LOOK);
        }
        Ok(table)
    })
}

fn entry(line: &str) -> Option<(u16, u16, u8)> {
    let mut words = line.split_whitespace().skip(1);
    let mut port = || u16::from_str_radix(words.next()?.rsplit_once(':')?.1, 16).ok();
    let (local, remote) = (port()?, port()?);
    let state = u8::from_str_radix(words.next()?, 16).ok()?;
    Some((local, remote, state))
}

fn mono_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let ns = i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec);
    u64::try_from(ns).unwrap_or_default()
}

/// Fails unless `changed_ns`, which may be off by `within_ns`, is when the table changed.
fn ensure_at(changed_ns: u64, within_ns: Option<u64>, from_ns: u64, to_ns: u64) -> Result<()> {
    let within_ns = within_ns.unwrap_or(0);
    ensure!(
        changed_ns + SLACK_NS + within_ns >= from_ns && changed_ns <= to_ns + SLACK_NS + within_ns,
        "at {changed_ns} within {within_ns}, but between {from_ns} and {to_ns}"
    );
    Ok(())
}

/// The line of the connection that has these ports.
fn connection(output: &Output, local: u16, remote: u16) -> Result<&Connection> {
    let is = |line: &&Connection| line.local.port == local && line.remote.port == remote;
    let mut found = output.connections.iter().filter(is);
    let one = found.next().context("a connection without its line")?;
    ensure!(found.next().is_none(), "two lines of one connection");
    Ok(one)
}

fn span<'a>(line: &'a Connection, state: &str) -> Result<&'a Span> {
    let found = line.states.iter().find(|span| span.state == state);
    found.with_context(|| format!("no {state} in {line:?}"))
}

/// Fails unless what is told of a mini-socket is what the table had.
fn ensure_mini(output: &Output, table: &Table, local: u16, remote: u16) -> Result<()> {
    let line = connection(output, local, remote)?;
    let of = |state: u8| table.get(&(local, remote, state)).copied();
    let evidence = if output.is_function_attached("inet_twsk_kill") {
        "observed"
    } else {
        "polled"
    };
    let steps: Vec<_> = output
        .continued
        .iter()
        .filter(|step| step.conn == line.conn)
        .collect();
    let last = steps.last().context("no end")?;
    ensure!(last.to == "CLOSED" && last.evidence == evidence, "{last:?}");
    let left = if last.from == "TIME_WAIT" {
        of(TIME_WAIT)
    } else {
        of(FIN_WAIT_2)
    };
    let left = left.with_context(|| format!("never in {}", last.from))?;
    let gap_ns = u64::try_from(LOOK.as_nanos())?;
    ensure_at(
        last.mono_ns,
        last.within_ns,
        left.last_ns,
        left.last_ns + gap_ns,
    )?;
    if let [first, _] = steps.as_slice() {
        ensure!(
            first.to == "TIME_WAIT" && first.evidence == evidence,
            "{first:?}"
        );
        let entered = of(TIME_WAIT).context("never in TIME_WAIT")?;
        let before_ns = entered.first_ns.saturating_sub(gap_ns);
        ensure_at(first.mono_ns, first.within_ns, before_ns, entered.first_ns)?;
    }
    if last.from == "TIME_WAIT" {
        let time_wait = span(line, "TIME_WAIT")?;
        ensure!(time_wait.evidence == evidence, "{line:?}");
        let lasted_ns = time_wait.duration_ns.context("no length")?;
        let seen_ns = left.last_ns - left.first_ns;
        let within_ns = last.within_ns.unwrap_or(0) + SLACK_NS;
        ensure!(
            lasted_ns.abs_diff(seen_ns) <= within_ns + gap_ns,
            "{line:?}"
        );
        ensure!(!time_wait.duration_is_minimum, "{line:?}");
    }
    ensure!(line.verdict == "closed", "{line:?}");
    Ok(())
}

fn time_wait() -> Result<Verdict> {
    let namespace = Namespace::new()?;
    namespace.sysctl("ipv4/tcp_fin_timeout", "2")?;
    let v4 = SocketAddr::from((SCOPE.loopback(1), SCOPE.port(0)));
    let v6 = SocketAddr::from((SCOPE.v6(1), SCOPE.port(1)));
    namespace.loopback_address(v6.ip())?;
    // An IPv6 socket that talks IPv4.
    let mapped = SocketAddr::from((SCOPE.loopback(1).to_ipv6_mapped(), SCOPE.port(2)));
    let inode = namespace.inode().to_string();
    let tracer = Tracer::start(&["--netns", &inode, "--time-wait", "wait"])?;
    let (table, ports) = thread::scope(|scope| -> Result<_> {
        let mut ports = Vec::new();
        let mut pairs = namespace.run(|| {
            let places = [v4, v6, mapped, v4, v4];
            let pair = |place: SocketAddr| -> Result<(TcpStream, TcpStream)> {
                let (_, client, server) = stage::pair_at(place)?;
                Ok((client, server))
            };
            places.map(pair).into_iter().collect::<Result<Vec<_>>>()
        })?;
        for (client, _) in &pairs {
            ports.push((client.local_addr()?.port(), client.peer_addr()?.port()));
        }
        let watching = scope.spawn(|| watch(&namespace, LONGEST_TIME_WAIT));
        let late = pairs.split_off(3);
        for (client, server) in pairs {
            stage::close_in_order(client, server)?;
        }
        // The server closes a second later, or not before the kernel has given up.
        let servers: Vec<_> = late
            .into_iter()
            .map(|(client, server)| {
                drop(client);
                server
            })
            .collect();
        let [in_time, too_late] = servers.try_into().ok().context("two are left")?;
        thread::sleep(Duration::from_secs(1));
        drop(in_time);
        let table = watching.join().ok().context("a thread failed")??;
        drop(too_late);
        Ok((table, ports))
    })?;
    // Until the last end can have been found.
    thread::sleep(Duration::from_millis(500));
    let output = tracer.stop()?;
    output.ensure_complete()?;
    for (local, remote) in &ports {
        ensure_mini(&output, &table, *local, *remote)
            .with_context(|| format!("{local} to {remote}: {:?}", output.continued))?;
    }
    let (local, remote) = *ports.last().context("no connection")?;
    let given_up = connection(&output, local, remote)?;
    ensure!(span(given_up, "TIME_WAIT").is_err(), "{given_up:?}");
    let changes: Vec<_> = output
        .continued
        .iter()
        .map(|step| step.from.as_str())
        .collect();
    ensure!(
        changes.iter().filter(|from| **from == "TIME_WAIT").count() == 4,
        "{changes:?}"
    );
    Ok(Verdict::Passed)
}

/// Data that comes for a closed socket ends its mini-socket in `FIN_WAIT_2`: no `TIME_WAIT` follows.
fn late_data() -> Result<Verdict> {
    let namespace = Namespace::new()?;
    let place = SocketAddr::from((SCOPE.loopback(1), SCOPE.port(4)));
    let tracer = Tracer::start(&["--netns", &namespace.inode().to_string()])?;
    let (_listener, client, mut server) = namespace.run(|| stage::pair_at(place))?;
    let local = client.local_addr()?.port();
    drop(client);
    stage::read_to_end(&server)?;
    server.write_all(b"too late")?;
    // Until it has been asked for.
    thread::sleep(Duration::from_millis(500));
    let output = tracer.stop()?;
    output.ensure_complete()?;
    let means = Means::of(&output)?;
    if !means.mini_sockets && !means.polled {
        return Err(Impossible("nothing tells of mini-sockets".to_owned()).into());
    }
    let line = connection(&output, local, place.port())?;
    ensure!(span(line, "TIME_WAIT").is_err(), "{line:?}");
    Ok(Verdict::Passed)
}

/// A new connection takes over what is left of one before the kernel was ever asked for that.
fn used_again() -> Result<Verdict> {
    let namespace = Namespace::new()?;
    let place = SocketAddr::from((SCOPE.loopback(1), SCOPE.port(6)));
    let from = SocketAddr::from((SCOPE.loopback(2), SCOPE.port(7)));
    let inode = namespace.inode().to_string();
    let tracer = Tracer::start(&["--netns", &inode, "--time-wait", "wait"])?;
    let taken_over_within = namespace.run(|| {
        let listener = stage::listen(place)?;
        let connect = || -> Result<_> {
            let socket = stage::socket(Domain::IPV4)?;
            socket.set_reuse_address(true)?;
            socket.bind(&from.into())?;
            socket.connect(&place.into())?;
            Ok((TcpStream::from(socket), stage::accept(&listener)?))
        };
        let (client, server) = connect()?;
        stage::close_in_order(client, server)?;
        let closed = Instant::now();
        let (client, server) = connect()?;
        let taken_over_within = closed.elapsed();
        // This one is not to be in TIME_WAIT.
        stage::close_in_order(server, client)?;
        Ok(taken_over_within)
    })?;
    thread::sleep(Duration::from_millis(500));
    let output = tracer.stop()?;
    output.ensure_complete()?;
    let is = |line: &&Connection| {
        line.local.port == from.port() && line.closed_by.as_deref() == Some("local")
    };
    let line = output.connections.iter().find(is).context("no line")?;
    ensure!(line.verdict == "closed", "{line:?}");
    ensure!(
        line.states.iter().all(|span| span.expected_ns.is_none()),
        "taken over within {taken_over_within:?}: {line:?}"
    );
    if !output.is_function_attached("inet_twsk_kill") {
        let closed = span(line, "CLOSED")?;
        let within_ns = closed.within_ns.context("an end at an exact time")?;
        ensure!(within_ns < 100_000_000, "{line:?}");
        ensure!(closed.start.is_some(), "{line:?}");
    }
    Ok(Verdict::Passed)
}

/// A namespace that ends before the kernel was ever asked for what is in it.
fn namespace_gone_at_once() -> Result<Verdict> {
    let place = SocketAddr::from((SCOPE.loopback(1), SCOPE.port(8)));
    let port = place.port().to_string();
    let tracer = Tracer::start(&["--port", &port, "--time-wait", "wait"])?;
    let namespace = Namespace::new()?;
    let (_, client, server) = namespace.run(|| stage::pair_at(place))?;
    let local = client.local_addr()?.port();
    stage::close_in_order(client, server)?;
    drop(namespace);
    thread::sleep(Duration::from_millis(500));
    let output = tracer.stop()?;
    output.ensure_complete()?;
    let line = connection(&output, local, place.port())?;
    ensure!(
        line.states.iter().all(|span| span.expected_ns.is_none()),
        "{line:?}"
    );
    if !output.is_function_attached("inet_twsk_kill") {
        let time_wait = span(line, "TIME_WAIT")?;
        ensure!(time_wait.duration_ns.is_none(), "{line:?}");
    }
    Ok(Verdict::Passed)
}

/// One handshake is completed after some seconds, another one never.
fn half_open() -> Result<Verdict> {
    let (here, there) = (Namespace::new()?, Namespace::new()?);
    there.sysctl("ipv4/tcp_synack_retries", "2")?;
    let addrs = [SCOPE.wire(0, 1), SCOPE.wire(0, 2)];
    let cable = Cable::lay(["left", "right"], [&here, &there], addrs)?;
    let place = SocketAddr::from((SCOPE.wire(0, 2), SCOPE.port(0)));
    let oracle = Oracle::start(&SCOPE.ports(), BUFFER_KIB)?;
    let tracer = Tracer::start(&["--netns", &there.inode().to_string()])?;
    let listener = there.run(|| stage::listen(place))?;
    let connect = || {
        here.run(|| {
            let socket = stage::socket(Domain::IPV4)?;
            stage::start_connect(&socket, place)?;
            Ok(socket)
        })
    };
    cable.cut(Side::Second)?;
    let began_ns = mono_ns();
    let (given_up, kept) = (connect()?, connect()?);
    let port = |socket: &socket2::Socket| -> Result<u16> {
        let addr = socket.local_addr()?.as_socket().context("no address")?;
        Ok(addr.port())
    };
    let (given_up_port, kept_port) = (port(&given_up)?, port(&kept)?);
    let table = thread::scope(|scope| -> Result<_> {
        let watching = scope.spawn(|| watch(&there, Duration::from_secs(20)));
        thread::sleep(Duration::from_millis(1500));
        // Nobody sends the SYN again, and nobody would answer the SYN-ACK.
        drop(given_up);
        thread::sleep(Duration::from_millis(700));
        cable.mend(Side::Second)?;
        stage::await_writable(&kept)?;
        watching.join().ok().context("a thread failed")?
    })?;
    thread::sleep(Duration::from_millis(1700));
    let output = tracer.stop()?;
    let Recording {
        mut records,
        resent,
    } = oracle.finish_all()?;
    drop((listener, kept));
    output.ensure_complete()?;
    // Those of the clients are in the other namespace.
    records.retain(|record| record.local == (place.ip(), place.port()));
    compare::ensure_equal(&records, &output.transitions)?;
    compare::ensure_not_withheld(&resent)?;
    let evidence = if output.is_function_attached("inet_csk_reqsk_queue_hash_add") {
        "observed"
    } else {
        "polled"
    };
    for remote in [kept_port, given_up_port] {
        let seen = table
            .get(&(place.port(), remote, SYN_RECV))
            .with_context(|| format!("{remote} was never half-open"))?;
        let line = connection(&output, place.port(), remote)?;
        let span = span(line, "SYN_RECEIVED")?;
        ensure!(span.evidence == evidence, "{line:?}");
        let lasted_ns = span.duration_ns.context("no length")?;
        // Asked for once a second.
        let within_ns = if evidence == "polled" && remote == given_up_port {
            1_100_000_000
        } else {
            50_000_000
        };
        // The table is looked at less often where much else is done.
        let at_least_ns = seen.last_ns - seen.first_ns;
        let [before_ns, after_ns] = seen.absent_at;
        let at_most_ns = after_ns - before_ns.max(began_ns);
        ensure!(
            lasted_ns + within_ns + SLACK_NS >= at_least_ns && lasted_ns <= at_most_ns + SLACK_NS,
            "{seen:?} {line:?}"
        );
    }
    Ok(Verdict::Passed)
}

/// It ends with all that is in it; nothing is invented, and nothing waited for.
fn namespace_gone() -> Result<Verdict> {
    let namespace = Namespace::new()?;
    let place = SocketAddr::from((SCOPE.loopback(1), SCOPE.port(3)));
    let port = place.port().to_string();
    let tracer = Tracer::start(&["--port", &port, "--time-wait", "wait", "--duration", "9s"])?;
    let (_, client, server) = namespace.run(|| stage::pair_at(place))?;
    let local = client.local_addr()?.port();
    stage::close_in_order(client, server)?;
    thread::sleep(Duration::from_millis(1500));
    drop(namespace);
    let output = tracer.wait()?;
    output.ensure_complete()?;
    let line = connection(&output, local, place.port())?;
    let time_wait = span(line, "TIME_WAIT")?;
    if output.is_function_attached("inet_twsk_kill") {
        ensure!(time_wait.evidence == "observed", "{line:?}");
        return Ok(Verdict::Passed);
    }
    ensure!(time_wait.evidence == "polled", "{line:?}");
    ensure!(
        time_wait.duration_is_minimum && time_wait.expected_ns.is_none(),
        "{line:?}"
    );
    let asked_ns = time_wait.duration_ns.context("no length")?;
    ensure!((50_000_000..2_000_000_000).contains(&asked_ns), "{line:?}");
    Ok(Verdict::Passed)
}

/// Another namespace has the number of the one that is gone, and nothing in it. That says nothing of what was in the
/// first.
fn namespace_replaced() -> Result<Verdict> {
    let place = SocketAddr::from((SCOPE.loopback(1), SCOPE.port(5)));
    let tracer = Tracer::start(&["--port", &place.port().to_string()])?;
    let mut replaced = 0;
    for _ in 0..NAMESPACES {
        let namespace = Namespace::new()?;
        let (_, client, server) = namespace.run(|| stage::pair_at(place))?;
        stage::close_in_order(client, server)?;
        let inode = namespace.inode();
        drop(namespace);
        let deadline = Instant::now() + REPLACED_WITHIN;
        let mut others = Vec::new();
        while Instant::now() < deadline {
            let other = Namespace::new()?;
            let is_it = other.inode() == inode;
            others.push(other);
            if is_it {
                replaced += 1;
                // Until it has been asked.
                thread::sleep(Duration::from_millis(300));
                break;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
    let output = tracer.stop()?;
    output.ensure_complete()?;
    // With functions its end is known, and not waited for.
    let is_told = output.is_function_attached("inet_twsk_kill");
    let clients = output
        .connections
        .iter()
        .filter(|line| line.role == "client");
    for line in clients {
        let time_wait = span(line, "TIME_WAIT")?;
        ensure!(
            line.verdict == "closed" && (is_told || time_wait.expected_ns.is_none()),
            "{replaced} replaced: {line:?}"
        );
    }
    ensure!(replaced > 0, "the kernel gives no number again");
    Ok(Verdict::Passed)
}
