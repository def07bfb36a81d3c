//! How long states last, against the packets of the same run.
//!
//! Two namespaces, a cable that can be held up, and a capture at each end. From the packets alone follows
//! when each end entered each state (RFC 9293, figure 5); tracer must say the same to within a millisecond.

use std::net::{SocketAddr, SocketAddrV4};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use socket2::{Domain, SockRef, Socket};

use crate::capture::{Capture, Packet};
use crate::compare::{self, Inconclusive};
use crate::harness::{Results, Verdict};
use crate::netns::{Cable, Namespace, Side};
use crate::outcome::Means;
use crate::scope::Scope;
use crate::stage;
use crate::tracer::{Connection, Output, Span, Tracer};

const PREFIX: &str = "packets::";
const SCOPE: Scope = Scope(203);
const PORT: u16 = 0;
/// That the client binds to, so that it can connect from there again.
const CLIENT_PORT: u16 = 1;

/// How far tracer may be off.
const TOLERANCE_NS: i64 = 1_000_000;
/// What every application waits for, so that no state is over at once.
const PAUSE: Duration = Duration::from_millis(40);
/// Until the kernel has been asked what became of a connection, where it is asked.
const ASKED: Duration = Duration::from_millis(400);
/// The first SYN-ACK is sent again after a second.
const SYN_ACK_AGAIN: Duration = Duration::from_millis(1_300);

/// A connection, how it is closed, and what must be known of it.
struct Case {
    name: &'static str,
    play: fn(&Network<'_>) -> Result<()>,
    /// States of each end, in order, whose duration is known without functions of the kernel.
    client: &'static [&'static str],
    server: &'static [&'static str],
    /// With them these as well.
    unseen: &'static [(&'static str, &'static str)],
}

const CASES: &[Case] = &[
    Case {
        name: "client_closes_first",
        play: client_closes_first,
        client: &["SYN_SENT", "ESTABLISHED", "FIN_WAIT_1", "FIN_WAIT_2"],
        server: &["SYN_RECEIVED", "ESTABLISHED", "CLOSE_WAIT", "LAST_ACK"],
        unseen: &[],
    },
    Case {
        name: "server_closes_first",
        play: server_closes_first,
        client: &["SYN_SENT", "ESTABLISHED", "CLOSE_WAIT", "LAST_ACK"],
        server: &["SYN_RECEIVED", "ESTABLISHED", "FIN_WAIT_1"],
        unseen: &[("server", "FIN_WAIT_2"), ("server", "TIME_WAIT")],
    },
    Case {
        name: "syn_ack_is_sent_again",
        play: syn_ack_is_sent_again,
        client: &["SYN_SENT", "ESTABLISHED", "FIN_WAIT_1", "FIN_WAIT_2"],
        server: &["ESTABLISHED", "CLOSE_WAIT", "LAST_ACK"],
        unseen: &[("server", "SYN_RECEIVED")],
    },
];

pub(crate) fn names() -> Vec<String> {
    CASES
        .iter()
        .map(|case| format!("{PREFIX}{}", case.name))
        .collect()
}

pub(crate) fn run(wanted: &[String]) -> Results {
    let cases = CASES.iter();
    cases
        .map(|case| (format!("{PREFIX}{}", case.name), case))
        .filter(|(name, _)| wanted.contains(name))
        .map(|(name, case)| (name, try_case(case)))
        .collect()
}

fn try_case(case: &Case) -> Result<Verdict> {
    let [left, right] = [Namespace::new()?, Namespace::new()?];
    let addrs = [SCOPE.wire(0, 1), SCOPE.wire(0, 2)];
    let network = Network {
        cable: Cable::lay(["left", "right"], [&left, &right], addrs)?,
        ends: [&left, &right],
    };
    let ports = SCOPE.ports();
    let range = format!("{}-{}", ports.start, ports.end - 1);
    let tracer = Tracer::start(&["--port", &range])?;
    let captures = [Capture::start(&left)?, Capture::start(&right)?];
    (case.play)(&network)?;
    let [at_client, at_server] = captures.map(Capture::finish);
    let output = tracer.stop()?;
    output.ensure_complete()?;

    let means = Means::of(&output)?;
    let server_place = SocketAddrV4::new(SCOPE.wire(0, 2), SCOPE.port(PORT));
    for (role, packets, known) in [
        ("client", at_client?, case.client),
        ("server", at_server?, case.server),
    ] {
        let line = connection(&output, role)?;
        let local = if role == "client" {
            SocketAddrV4::new(SCOPE.wire(0, 1), line.local.port)
        } else {
            server_place
        };
        let states = states_by_packets(&packets, local)?;
        let unseen = case.unseen.iter().filter(|(of, _)| *of == role);
        let unseen = unseen.map(|(_, state)| *state);
        let known: Vec<_> = known
            .iter()
            .copied()
            .chain(unseen.filter(|_| means.mini_sockets))
            .collect();
        durations_agree(line, &states, &known)?;
    }
    Ok(Verdict::Passed)
}

/// The first connection of that role.
fn connection<'a>(output: &'a Output, role: &str) -> Result<&'a Connection> {
    let lines = output.connections.iter().filter(|line| line.role == role);
    // In the order of their beginning: the one that has its port again may end before it.
    lines
        .min_by_key(|line| line.conn.as_str().and_then(|conn| conn.parse::<u64>().ok()))
        .with_context(|| format!("no connection of a {role}"))
}

/// Fails unless these states lasted as long as the packets say, and all others whose duration is told: to within what
/// is said of their beginning and their end where the kernel was only asked.
fn durations_agree(line: &Connection, states: &[(&str, i64)], known: &[&str]) -> Result<()> {
    for ((state, begin_ns), (_, end_ns)) in states.iter().zip(states.iter().skip(1)) {
        let by_packets_ns = end_ns - begin_ns;
        let is_another = |span: &&Span| span.state != *state;
        let mut spans = line.states.iter().skip_while(is_another);
        let (span, next) = (spans.next(), spans.next());
        let lasted = span.filter(|span| !span.duration_is_minimum);
        let Some(by_tracer_ns) = lasted.and_then(|span| span.duration_ns) else {
            ensure!(
                !known.contains(state),
                "how long {state} lasted is not told: {line:?}"
            );
            continue;
        };
        let by_tracer_ns = i64::try_from(by_tracer_ns)?;
        let off_ns = (by_tracer_ns - by_packets_ns).abs();
        let bounds = [span, next].into_iter().flatten();
        let within_ns: u64 = bounds.filter_map(|span| span.within_ns).sum();
        if off_ns > TOLERANCE_NS + i64::try_from(within_ns)? {
            let what = format!(
                "{state} lasted {by_tracer_ns} ns to within {within_ns} ns, by the packets {by_packets_ns} ns: {line:?}"
            );
            // An emulated machine can stand still between a packet and what follows from it.
            if compare::is_emulated() {
                return Err(Inconclusive(what).into());
            }
            bail!(what);
        }
    }
    for state in known {
        ensure!(
            states.iter().any(|(other, _)| other == state),
            "the packets tell nothing of {state}: {states:?}"
        );
    }
    Ok(())
}

/// When this end entered each state of its first connection, by nothing but the packets that it sent and
/// received. The last is the end of the one before it.
fn states_by_packets(packets: &[Packet], local: SocketAddrV4) -> Result<Vec<(&'static str, i64)>> {
    let first = |what: &str, after_ns: i64, is: &dyn Fn(&Packet) -> bool| -> Result<Packet> {
        let mut packets = packets.iter();
        packets
            .find(|packet| packet.wall_ns >= after_ns && is(packet))
            .copied()
            .with_context(|| format!("no {what} among the packets"))
    };
    let sent = |packet: &Packet| packet.from == local;
    let received = |packet: &Packet| packet.to == local;
    let ours = |packet: &Packet| sent(packet) || received(packet);

    let syn = first("SYN", 0, &|packet| {
        ours(packet) && packet.is_syn() && !packet.is_ack()
    })?;
    let syn_ack = first("SYN-ACK", syn.wall_ns, &|packet| {
        packet.is_syn() && packet.acknowledges(&syn)
    })?;
    let mut states = if sent(&syn) {
        vec![("SYN_SENT", syn.wall_ns), ("ESTABLISHED", syn_ack.wall_ns)]
    } else {
        let ack = first("final ACK", syn_ack.wall_ns, &|packet| {
            packet.acknowledges(&syn_ack)
        })?;
        vec![("SYN_RECEIVED", syn.wall_ns), ("ESTABLISHED", ack.wall_ns)]
    };
    let our_fin = first("FIN of ours", 0, &|packet| sent(packet) && packet.is_fin())?;
    let acked = first("ACK of our FIN", our_fin.wall_ns, &|packet| {
        packet.acknowledges(&our_fin)
    })?;
    let their_fin = first("FIN of the peer", 0, &|packet| {
        received(packet) && packet.is_fin()
    })?;
    if their_fin.wall_ns < our_fin.wall_ns {
        states.extend([
            ("CLOSE_WAIT", their_fin.wall_ns),
            ("LAST_ACK", our_fin.wall_ns),
            ("CLOSED", acked.wall_ns),
        ]);
    } else {
        states.extend([
            ("FIN_WAIT_1", our_fin.wall_ns),
            ("FIN_WAIT_2", acked.wall_ns),
            ("TIME_WAIT", their_fin.wall_ns),
        ]);
        // A new connection between the same ends is what ends it before its time.
        let again = first("second SYN", their_fin.wall_ns, &|packet| {
            received(packet) && packet.is_syn()
        });
        states.extend(again.ok().map(|again| ("CLOSED", again.wall_ns)));
    }
    Ok(states)
}

/// Client at the first end of a cable, server at the second.
struct Network<'a> {
    cable: Cable<'a>,
    ends: [&'a Namespace; 2],
}

impl Network<'_> {
    fn listen(&self) -> Result<std::net::TcpListener> {
        let place = SocketAddr::from((SCOPE.wire(0, 2), SCOPE.port(PORT)));
        let [_, right] = self.ends;
        right.run(|| stage::listen(place))
    }

    /// A connection whose handshake takes a while, because the SYN-ACK is held up.
    fn connect(&self, listener: &std::net::TcpListener) -> Result<[std::net::TcpStream; 2]> {
        let [left, _] = self.ends;
        let from = SocketAddr::from((SCOPE.wire(0, 1), SCOPE.port(CLIENT_PORT)));
        let socket = left.run(|| -> Result<Socket> {
            let socket = stage::socket(Domain::IPV4)?;
            socket.set_reuse_address(true)?;
            socket.bind(&from.into())?;
            Ok(socket)
        })?;
        self.cable.hold(Side::Second)?;
        socket.connect(&listener.local_addr()?.into())?;
        self.cable.unhold(Side::Second)?;
        let server = stage::accept(listener)?;
        Ok([stage::patient(socket.into())?, server])
    }

    /// A connection whose first SYN-ACKs do not arrive.
    fn connect_late(&self, listener: &std::net::TcpListener) -> Result<[std::net::TcpStream; 2]> {
        let [left, _] = self.ends;
        let socket = left.run(|| stage::socket(Domain::IPV4))?;
        self.cable.cut(Side::Second)?;
        stage::start_connect(&socket, listener.local_addr()?)?;
        thread::sleep(SYN_ACK_AGAIN);
        self.cable.mend(Side::Second)?;
        stage::await_writable(&socket)?;
        socket.set_nonblocking(false)?;
        let server = stage::accept(listener)?;
        Ok([stage::patient(socket.into())?, server])
    }

    /// The first closes, the second somewhat later; every FIN waits for its ACK for a while.
    fn close(
        &self,
        (first, first_side): (std::net::TcpStream, Side),
        (second, second_side): (std::net::TcpStream, Side),
        half: bool,
    ) -> Result<()> {
        thread::sleep(PAUSE);
        self.cable.hold(second_side)?;
        let waits = if half {
            first.shutdown(std::net::Shutdown::Write)?;
            Some(first)
        } else {
            drop(first);
            None
        };
        stage::read_to_end(&second)?;
        // Else the ACK might wait for the other FIN.
        SockRef::from(&second).set_tcp_quickack(true)?;
        self.cable.await_through(second_side)?;
        self.cable.unhold(second_side)?;
        thread::sleep(PAUSE);
        self.cable.hold(first_side)?;
        drop(second);
        self.cable.await_through(first_side)?;
        self.cable.unhold(first_side)?;
        drop(waits);
        Ok(())
    }
}

/// The client's application waits for the end, so that its socket is there until then.
fn client_closes_first(network: &Network<'_>) -> Result<()> {
    let listener = network.listen()?;
    let [client, server] = network.connect(&listener)?;
    network.close((client, Side::First), (server, Side::Second), true)
}

/// Half-open for a second and more.
fn syn_ack_is_sent_again(network: &Network<'_>) -> Result<()> {
    let listener = network.listen()?;
    let [client, server] = network.connect_late(&listener)?;
    network.close((client, Side::First), (server, Side::Second), true)
}

/// The server's application is gone at once. A second connection between the same ends takes the place
/// of the first in `TIME_WAIT`.
fn server_closes_first(network: &Network<'_>) -> Result<()> {
    let listener = network.listen()?;
    let [client, server] = network.connect(&listener)?;
    network.close((server, Side::Second), (client, Side::First), false)?;
    thread::sleep(ASKED);
    let [client, server] = network.connect(&listener)?;
    stage::close_in_order(client, server)
}
