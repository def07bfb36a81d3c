//! Hints about real connections that are stuck, and none about those that are not.

use std::io::Write;
use std::net::{Shutdown, SocketAddr};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use socket2::Domain;

use crate::harness::{RunOne, Suite, Verdict};
use crate::netns::{Cable, Namespace, Side};
use crate::scope::Scope;
use crate::servers::{PAGE_BYTES, Server};
use crate::stage;
use crate::tools;
use crate::tracer::{Output, Tracer};

const SCOPE: Scope = Scope(217);
/// `--stuck`, and long enough for it.
const STUCK: &str = "1s";
const LONG: Duration = Duration::from_millis(1_300);

pub(crate) fn suites() -> impl Iterator<Item = Suite> {
    let all: [(&str, RunOne); 10] = [
        ("hints::leak_of_close_wait", leak),
        ("hints::leak_older_than_the_trace", older_leak),
        ("hints::peer_that_does_not_close", peer_does_not_close),
        ("hints::firewall_that_drops", firewall_drops),
        ("hints::peer_that_is_gone", peer_is_gone),
        ("hints::way_back_that_is_cut", no_way_back),
        ("hints::service_that_is_down", service_is_down),
        ("hints::churn_at_nginx", churn_at_nginx),
        ("hints::ports_in_time_wait", ports_in_time_wait),
        ("hints::none_without_a_reason", nothing_wrong),
    ];
    all.into_iter().map(|(name, run)| Suite::One(name, run))
}

fn place() -> SocketAddr {
    (SCOPE.loopback(1), SCOPE.port(0)).into()
}

fn tracer() -> Result<Tracer> {
    tracer_after(STUCK)
}

fn tracer_after(stuck: &str) -> Result<Tracer> {
    let port = place().port().to_string();
    Tracer::start(&["--port", &port, "--stuck", stuck])
}

/// Fails unless these are the hints: name, role and state of each, in any order.
fn ensure_hints(output: &Output, expected: &[(&str, &str, &str)]) -> Result<()> {
    let text = |hint: &Value, field: &str| {
        let value = hint.get(field).and_then(Value::as_str);
        value.unwrap_or_default().to_owned()
    };
    let mut found: Vec<_> = output
        .hints
        .iter()
        .map(|hint| (text(hint, "name"), text(hint, "role"), text(hint, "state")))
        .collect();
    let mut expected: Vec<_> = expected
        .iter()
        .map(|(name, role, state)| {
            let owned = |text: &&str| (*text).to_owned();
            (owned(name), owned(role), owned(state))
        })
        .collect();
    found.sort_unstable();
    expected.sort_unstable();
    ensure!(found == expected, "{found:?}, but not {expected:?}");
    let told = output.end.get("hints").and_then(Value::as_u64);
    ensure!(told == Some(u64::try_from(found.len())?), "{}", output.end);
    Ok(())
}

/// A server that forgets to close what its client has closed.
fn leak() -> Result<Verdict> {
    let namespace = Namespace::new()?;
    let tracer = tracer()?;
    namespace.run(|| {
        let (listener, client, server) = stage::pair_at(place())?;
        drop(client);
        thread::sleep(LONG);
        drop(server);
        drop(listener);
        Ok(())
    })?;
    let output = tracer.stop()?;
    output.ensure_complete()?;
    ensure_hints(&output, &[("close_wait", "server", "CLOSE_WAIT")])?;
    let hint = output.hints.first();
    let number = |field: &str| hint.and_then(|hint| hint.get(field)?.as_u64());
    ensure!(number("pid") == Some(u64::from(std::process::id())));
    let lasted = number("in_state_ns").map(Duration::from_nanos);
    let on_time = lasted.is_some_and(|lasted| {
        lasted >= Duration::from_secs(1) && lasted < Duration::from_millis(1_200)
    });
    ensure!(on_time, "told after {lasted:?}");
    Ok(Verdict::Passed)
}

/// The same, when the trace begins after it; nothing happens any more.
fn older_leak() -> Result<Verdict> {
    let namespace = Namespace::new()?;
    let (listener, client, server) = namespace.run(|| stage::pair_at(place()))?;
    client.shutdown(Shutdown::Write)?;
    stage::read_to_end(&server)?;
    let tracer = tracer()?;
    thread::sleep(LONG);
    let output = tracer.stop()?;
    drop((listener, client, server));
    output.ensure_complete()?;
    ensure_hints(
        &output,
        &[
            ("close_wait", "server", "CLOSE_WAIT"),
            ("fin_wait_2", "unknown", "FIN_WAIT_2"),
        ],
    )?;
    for hint in &output.hints {
        let pid = hint.get("pid").and_then(Value::as_u64);
        ensure!(pid == Some(u64::from(std::process::id())), "{hint}");
    }
    Ok(Verdict::Passed)
}

/// The client has said that it is done, and waits for the server's last word.
fn peer_does_not_close() -> Result<Verdict> {
    let namespace = Namespace::new()?;
    let tracer = tracer()?;
    namespace.run(|| {
        let (_listener, client, server) = stage::pair_at(place())?;
        client.shutdown(Shutdown::Write)?;
        thread::sleep(LONG);
        drop(server);
        Ok(())
    })?;
    let output = tracer.stop()?;
    output.ensure_complete()?;
    ensure_hints(
        &output,
        &[
            ("close_wait", "server", "CLOSE_WAIT"),
            ("fin_wait_2", "client", "FIN_WAIT_2"),
        ],
    )?;
    Ok(Verdict::Passed)
}

fn firewall_drops() -> Result<Verdict> {
    let namespace = Namespace::new()?;
    // Some time after the first retransmission.
    let tracer = tracer_after("2s")?;
    let local = namespace.run(|| {
        tools::drop_at_port(place().port())?;
        let socket = stage::socket(Domain::IPV4)?;
        stage::start_connect(&socket, place())?;
        thread::sleep(2 * LONG + LONG / 2);
        let local = socket.local_addr()?.as_socket();
        local.context("no local address")
    })?;
    let output = tracer.stop()?;
    output.ensure_complete()?;
    ensure_hints(&output, &[("syn_unanswered", "client", "SYN_SENT")])?;
    let check = output
        .hints
        .first()
        .and_then(|hint| hint.get("check")?.as_str());
    let expected = format!(
        "tcpdump -ni any host {} and port {}",
        place().ip(),
        place().port()
    );
    ensure!(check == Some(&expected), "{check:?}, not {expected}");
    // The kernel chose it after it told of the connect.
    let hint = output.hints.first();
    let hinted = hint.and_then(|hint| hint.pointer("/local/port")?.as_u64());
    let line = output.connections.first().map(|line| line.local.port);
    let ports = (hinted, line);
    let expected = (Some(local.port().into()), Some(local.port()));
    ensure!(ports == expected, "{ports:?}, not {expected:?}");
    Ok(Verdict::Passed)
}

/// Behind a cut cable one connection has sent data, one has closed, and one is idle.
fn peer_is_gone() -> Result<Verdict> {
    let (here, there) = (Namespace::new()?, Namespace::new()?);
    let addrs = [SCOPE.wire(0, 1), SCOPE.wire(0, 2)];
    let cable = Cable::lay(["left", "right"], [&here, &there], addrs)?;
    let place = SocketAddr::from((SCOPE.wire(0, 2), SCOPE.port(0)));
    let tracer = tracer()?;
    let listener = there.run(|| stage::listen(place))?;
    let clients = here.run(|| {
        (0..3)
            .map(|_| stage::connect(place))
            .collect::<Result<Vec<_>>>()
    })?;
    let servers = (0..3)
        .map(|_| stage::accept(&listener))
        .collect::<Result<Vec<_>>>()?;
    cable.cut(Side::First)?;
    let mut clients = clients.into_iter();
    let mut sends = clients.next().context("no client")?;
    sends.write_all(b"data")?;
    drop(clients.next());
    // Five retransmissions, the first after 200 ms and each after twice the time of the one before.
    thread::sleep(Duration::from_secs(8));
    let output = tracer.stop()?;
    drop((sends, clients, servers));
    output.ensure_complete()?;
    ensure_hints(
        &output,
        &[
            ("data_unacknowledged", "client", ""),
            ("fin_unacknowledged", "client", "FIN_WAIT_1"),
        ],
    )?;
    Ok(Verdict::Passed)
}

/// The SYN arrives, the answer does not.
fn no_way_back() -> Result<Verdict> {
    let (here, there) = (Namespace::new()?, Namespace::new()?);
    let addrs = [SCOPE.wire(0, 1), SCOPE.wire(0, 2)];
    let cable = Cable::lay(["left", "right"], [&here, &there], addrs)?;
    cable.cut(Side::Second)?;
    let place = SocketAddr::from((SCOPE.wire(0, 2), SCOPE.port(0)));
    let tracer = tracer()?;
    let listener = there.run(|| stage::listen(place))?;
    let socket = here.run(|| {
        let socket = stage::socket(Domain::IPV4)?;
        stage::start_connect(&socket, place)?;
        Ok(socket)
    })?;
    thread::sleep(4 * LONG);
    let output = tracer.stop()?;
    drop((listener, socket));
    output.ensure_complete()?;
    ensure_hints(
        &output,
        &[
            ("handshake_incomplete", "server", "SYN_RECEIVED"),
            ("syn_unanswered", "client", "SYN_SENT"),
        ],
    )?;
    let half_open = output.hints.iter().find(|hint| {
        let role = hint.get("role").and_then(Value::as_str);
        role == Some("server")
    });
    let pid = half_open.and_then(|hint| hint.get("pid")?.as_u64());
    ensure!(pid == Some(u64::from(std::process::id())), "{half_open:?}");
    Ok(Verdict::Passed)
}

fn service_is_down() -> Result<Verdict> {
    let namespace = Namespace::new()?;
    let tracer = tracer()?;
    namespace.run(|| {
        for _ in 0..12 {
            ensure!(stage::connect(place()).is_err(), "somebody listens");
        }
        Ok(())
    })?;
    let output = tracer.stop()?;
    output.ensure_complete()?;
    ensure_hints(&output, &[("refused_often", "client", "")])?;
    Ok(Verdict::Passed)
}

/// A client that opens a connection for each request.
fn churn_at_nginx() -> Result<Verdict> {
    const REQUESTS: usize = 1_100;
    tools::find("nginx")?;
    let namespace = Namespace::new()?;
    let tracer = tracer()?;
    let nginx = Server::nginx(&namespace, &[place()])?;
    namespace.run(|| {
        for _ in 0..REQUESTS {
            let mut client = stage::connect(place())?;
            client.write_all(b"GET /page HTTP/1.0\r\n\r\n")?;
            let answer = stage::read_to_end(&client)?;
            ensure!(answer.len() > PAGE_BYTES, "a short answer");
        }
        Ok(())
    })?;
    nginx.stop()?;
    let output = tracer.stop()?;
    output.ensure_complete()?;
    ensure_hints(&output, &[("churn", "client", ""), ("churn", "server", "")])?;
    Ok(Verdict::Passed)
}

/// A client that closes first, until many ports are taken. How many there are is not known: they are
/// those of another network namespace than tracer's.
fn ports_in_time_wait() -> Result<Verdict> {
    const CONNECTIONS: usize = 10_100;
    let namespace = Namespace::new()?;
    let port = place().port().to_string();
    // A tracer built for debugging falls behind.
    let tracer = Tracer::start(&["--port", &port, "--stuck", STUCK, "--ring-size", "64M"])?;
    namespace.run(|| {
        let listener = stage::listen(place())?;
        for _ in 0..CONNECTIONS {
            let client = stage::connect(place())?;
            stage::close_in_order(client, stage::accept(&listener)?)?;
        }
        Ok(())
    })?;
    let output = tracer.stop()?;
    output.ensure_complete()?;
    ensure_hints(
        &output,
        &[
            ("churn", "client", ""),
            ("churn", "server", ""),
            ("time_wait_many", "client", ""),
        ],
    )?;
    Ok(Verdict::Passed)
}

/// Connections that are in use, idle, or closed in time.
fn nothing_wrong() -> Result<Verdict> {
    let namespace = Namespace::new()?;
    let tracer = tracer()?;
    namespace.run(|| {
        let (listener, client, server) = stage::pair_at(place())?;
        for _ in 0..20 {
            let client = stage::connect(place())?;
            stage::close_in_order(client, stage::accept(&listener)?)?;
        }
        thread::sleep(LONG);
        stage::close_in_order(client, server)?;
        drop(listener);
        thread::sleep(LONG);
        Ok(())
    })?;
    let output = tracer.stop()?;
    output.ensure_complete()?;
    ensure_hints(&output, &[])?;
    Ok(Verdict::Passed)
}
