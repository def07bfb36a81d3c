//! What a socket tells of itself when it is closed, against what `ss` read of it just before.

use std::collections::HashMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::fs::{Uid, fchown};
use serde_json::Value;
use socket2::SockRef;

use crate::harness::{RunOne, Suite, Verdict};
use crate::netns::Namespace;
use crate::scenarios::Impossible;
use crate::scope::Scope;
use crate::stage;
use crate::tools;
use crate::tracer::{Connection, Output, Tracer};

const SCOPE: Scope = Scope(222);
const USER: u32 = 12_345;
/// All data is acknowledged by then (`TCP_DELACK_MAX` is 200 ms).
const DELAYED_ACKNOWLEDGMENT: Duration = Duration::from_millis(300);

pub(crate) fn suites() -> impl Iterator<Item = Suite> {
    let all: [(&str, RunOne); 1] = [("sockets::as_ss_tells", as_ss_tells)];
    all.into_iter().map(|(name, run)| Suite::One(name, run))
}

/// One socket in the words of `ss`: those of the form `NAME:VALUE`.
struct Listed(HashMap<String, String>);

impl Listed {
    /// Zeros are left out by `ss`.
    fn number(&self, name: &str) -> Result<u64> {
        self.0.get(name).map_or(Ok(0), |text| {
            text.parse()
                .with_context(|| format!("`ss` says {name}:{text}"))
        })
    }

    fn cgroup(&self) -> Option<&str> {
        self.0
            .get("cgroup")
            .map(String::as_str)
            .filter(|path| path.starts_with('/'))
    }
}

/// Both ends of the only connection, by their local ports.
fn listed(namespace: &Namespace) -> Result<HashMap<u16, Listed>> {
    let ss = tools::find("ss")?;
    let output = namespace.run(|| {
        let mut command = Command::new(&ss);
        command.args(["-H", "-O", "-n", "-t", "-i", "-e", "--cgroup"]);
        command.output().context("cannot run ss")
    })?;
    let text = String::from_utf8(output.stdout)?;
    ensure!(
        output.status.success() && text.lines().count() == 2,
        "ss: {text}"
    );
    text.lines()
        .map(|line| {
            let local = line.split_whitespace().nth(3).context("no local address")?;
            let local: SocketAddr = local.parse().with_context(|| format!("ss: {line}"))?;
            let words = line.split_whitespace().skip(5);
            let pairs = words.filter_map(|word| word.split_once(':'));
            let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
            Ok((local.port(), Listed(pairs.collect())))
        })
        .collect()
}

/// A connection of which tracer saw nothing but the end, in a softirq or a `close` that resets: it
/// knows no process, and the socket alone tells whose it was.
fn as_ss_tells() -> Result<Verdict> {
    let namespace = Namespace::new()?;
    let place = SocketAddr::from((SCOPE.loopback(1), SCOPE.port(0)));
    let (listener, mut client, mut server) = namespace.run(|| stage::pair_at(place))?;
    let client_port = client.local_addr()?.port();
    fchown(&client, Some(Uid::from_raw(USER)), None)?;
    for length in [100, 2000, 1] {
        client.write_all(&vec![0; length])?;
        server.read_exact(&mut vec![0; length])?;
    }
    server.write_all(&[0; 10])?;
    client.read_exact(&mut [0; 10])?;

    let tracer = Tracer::start(&["--no-snapshot", "--port", &place.port().to_string()])?;
    thread::sleep(DELAYED_ACKNOWLEDGMENT);
    let before = listed(&namespace)?;
    SockRef::from(&client).set_linger(Some(Duration::ZERO))?;
    drop(client);
    // The reset has come.
    ensure!(server.read(&mut [0]).is_err(), "no reset");
    drop((listener, server));
    let output = tracer.stop()?;
    ensure_told(&output)?;

    let of = |port: u16| -> Result<(&Connection, &Listed)> {
        let mut lines = output.connections.iter();
        let line = lines.find(|line| line.local.port == port && line.role != "listener");
        Ok((
            line.with_context(|| format!("no connection at {port}"))?,
            before.get(&port).context("not in the list of ss")?,
        ))
    };
    let (line, listed) = of(client_port)?;
    ensure!(line.pid.is_none(), "who made it was not seen: {line:?}");
    ensure!(listed.number("uid")? == u64::from(USER), "no other user");
    // Its reset is sent after it is closed.
    ensure_same(line, listed, 0)?;
    let (line, listed) = of(place.port())?;
    // The reset has come before it is closed.
    ensure_same(line, listed, 1)?;
    Ok(Verdict::Passed)
}

/// On this kernel it can be told at all.
fn ensure_told(output: &Output) -> Result<()> {
    output.ensure_complete()?;
    let missing = output
        .session
        .get("missing_fields")
        .and_then(Value::as_array);
    let names = missing.into_iter().flatten().filter_map(|field| {
        let (name, reason) = (field.get("name")?.as_str()?, field.get("reason")?.as_str()?);
        let is_ours = ["counts", "socket_uid", "segments", "congestion_state"].contains(&name);
        is_ours.then(|| format!("{name}: {reason}"))
    });
    let names: Vec<_> = names.collect();
    if names.is_empty() {
        Ok(())
    } else {
        Err(Impossible(names.join(", ")).into())
    }
}

fn ensure_same(line: &Connection, listed: &Listed, received_since: u64) -> Result<()> {
    let told = [
        line.segments_sent,
        line.segments_received,
        line.data_segments_sent,
        line.data_segments_received,
        line.socket_uid,
    ];
    let expected = [
        listed.number("segs_out")?,
        listed.number("segs_in")? + received_since,
        listed.number("data_segs_out")?,
        listed.number("data_segs_in")?,
        listed.number("uid")?,
    ];
    ensure!(told == expected.map(Some), "{told:?} is not {expected:?}");
    ensure!(
        line.congestion_state.as_deref() == Some("open"),
        "congestion control was in trouble on the loopback: {line:?}"
    );
    if let (Some(told), Some(listed)) = (&line.socket_cgroup, listed.cgroup()) {
        ensure!(told == listed, "{told} is not {listed}");
    }
    // Where it can be looked up at all it must be.
    let is_only_hierarchy = fs::read_to_string("/proc/self/cgroup")?
        .lines()
        .all(|line| line.starts_with("0::"));
    ensure!(
        !is_only_hierarchy || line.socket_cgroup.as_deref() == listed.cgroup(),
        "the cgroup is not known: {line:?}"
    );
    Ok(())
}
