//! Ways to get connected.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use socket2::{Domain, SockAddr, Socket};

use super::{
    CLIENT_FIRST, CLIENT_RESET, CLIENT_RESET_STATES, CLIENT_SECOND, Expected, LISTENER, RESET,
    SERVER_FIRST, SERVER_SECOND, SERVER_WAS_RESET, Scenario, both, never_connected, server,
};
use crate::netns::{Cable, Side};
use crate::stage::{self, Stage};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "bound_client_port",
        play: bound_client_port,
        sockets: &[LISTENER, CLIENT_FIRST, SERVER_SECOND],
    },
    Scenario {
        name: "nonblocking_connect",
        play: nonblocking_connect,
        sockets: &[LISTENER, CLIENT_FIRST, SERVER_SECOND],
    },
    Scenario {
        name: "connect_again_after_disconnect",
        play: connect_again_after_disconnect,
        sockets: &[
            LISTENER,
            CLIENT_RESET.ends(RESET, CLIENT_RESET_STATES),
            SERVER_WAS_RESET,
            CLIENT_FIRST,
            SERVER_SECOND,
        ],
    },
    Scenario {
        name: "connect_again_after_refusal",
        play: connect_again_after_refusal,
        sockets: &[
            LISTENER,
            never_connected("refused remote"),
            CLIENT_FIRST,
            SERVER_SECOND,
        ],
    },
    Scenario {
        name: "connect_to_itself",
        play: connect_to_itself,
        sockets: &[
            both("CLOSED SYN_SENT SYN_RECEIVED ESTABLISHED FIN_WAIT_1 CLOSING CLOSED").ends(
                "closed both",
                "SYN_SENT SYN_RECEIVED ESTABLISHED FIN_WAIT_1 CLOSING ~TIME_WAIT ~CLOSED",
            ),
        ],
    },
    Scenario {
        name: "simultaneous_open",
        play: simultaneous_open,
        sockets: &[
            BOTH_FIRST,
            both("CLOSED SYN_SENT SYN_RECEIVED ESTABLISHED CLOSE_WAIT LAST_ACK CLOSED").ends(
                "closed remote",
                "SYN_SENT SYN_RECEIVED ESTABLISHED CLOSE_WAIT LAST_ACK CLOSED",
            ),
        ],
    },
    Scenario {
        name: "simultaneous_open_seen_by_one",
        play: simultaneous_open_seen_by_one,
        sockets: &[BOTH_FIRST, CLIENT_SECOND],
    },
    Scenario {
        name: "fast_open_closed_before_established",
        play: fast_open,
        sockets: &[
            LISTENER,
            CLIENT_SECOND.bytes(8, 0),
            server("LISTEN SYN_RECEIVED FIN_WAIT_1 FIN_WAIT_2 CLOSED")
                .ends(
                    "closed local",
                    "SYN_RECEIVED FIN_WAIT_1 FIN_WAIT_2 ~TIME_WAIT ~CLOSED",
                )
                .bytes(0, 8)
                .resent(&["SYN-ACK", "data"]),
        ],
    },
    Scenario {
        name: "many_in_a_row",
        play: many_in_a_row,
        sockets: &[
            LISTENER,
            CLIENT_FIRST.times(MANY / 2),
            SERVER_SECOND.times(MANY / 2),
            CLIENT_SECOND.times(MANY / 2),
            SERVER_FIRST.times(MANY / 2),
        ],
    },
];

const BOTH_FIRST: Expected =
    both("CLOSED SYN_SENT SYN_RECEIVED ESTABLISHED FIN_WAIT_1 FIN_WAIT_2 CLOSED").ends(
        "closed local",
        "SYN_SENT SYN_RECEIVED ESTABLISHED FIN_WAIT_1 FIN_WAIT_2 ~TIME_WAIT ~CLOSED",
    );

fn bound_client_port(stage: &Stage) -> Result<()> {
    let listener = stage::listen(stage.place())?;
    let socket = stage::socket(Domain::IPV4)?;
    socket.bind(&SocketAddr::from((stage.loopback(2), stage.port(1))).into())?;
    socket.connect(&stage.place().into())?;
    let client = stage::patient(socket.into())?;
    let server = stage::accept(&listener)?;
    stage::close_in_order(client, server)?;
    Ok(())
}

fn nonblocking_connect(stage: &Stage) -> Result<()> {
    let listener = stage::listen(stage.place())?;
    let socket = stage::socket(Domain::IPV4)?;
    stage::start_connect(&socket, stage.place())?;
    stage::await_writable(&socket)?;
    let server = stage::accept(&listener)?;
    stage::close_in_order(socket.into(), server)?;
    Ok(())
}

/// `connect` with `AF_UNSPEC` resets the connection and leaves a socket that can be used again.
fn connect_again_after_disconnect(stage: &Stage) -> Result<()> {
    let listener = stage::listen(stage.place())?;
    let socket = stage::socket(Domain::IPV4)?;
    socket.connect(&stage.place().into())?;
    let first = stage::accept(&listener)?;
    rustix::net::connect_unspec(&socket)?;
    stage::read_to_reset(&first)?;
    drop(first);

    socket.connect(&stage.place().into())?;
    let second = stage::accept(&listener)?;
    stage::close_in_order(socket.into(), second)?;
    Ok(())
}

fn connect_again_after_refusal(stage: &Stage) -> Result<()> {
    let socket = stage::socket(Domain::IPV4)?;
    let refused = socket.connect(&stage.place().into());
    ensure!(
        refused.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused),
        "connected to nobody"
    );
    let listener = stage::listen(stage.place())?;
    socket.connect(&stage.place().into())?;
    let server = stage::accept(&listener)?;
    stage::close_in_order(socket.into(), server)?;
    Ok(())
}

/// A SYN that comes back to the socket which sent it is a simultaneous open with itself.
fn connect_to_itself(stage: &Stage) -> Result<()> {
    let socket = stage::socket(Domain::IPV4)?;
    let place = SockAddr::from(stage.place());
    socket.bind(&place)?;
    socket.connect(&place)?;
    drop(socket);
    Ok(())
}

/// Both SYNs are on their way before either arrives.
fn simultaneous_open(stage: &Stage) -> Result<()> {
    let other = stage.namespace()?;
    let addrs = [stage.wire(0, 1), stage.wire(0, 2)];
    let cable = Cable::lay(["left", "right"], [stage.home(), &other], addrs)?;
    let [(left, left_place), (right, right_place)] = bound_pair(stage, &other)?;

    cable.hold_both()?;
    stage::start_connect(&left, right_place)?;
    stage::start_connect(&right, left_place)?;
    stage::await_writable(&left)?;
    stage::await_writable(&right)?;
    cable.unhold_both()?;
    close_pair(left, right)?;
    Ok(())
}

/// One SYN is lost; the other reaches a socket that is connecting to its sender.
fn simultaneous_open_seen_by_one(stage: &Stage) -> Result<()> {
    let other = stage.namespace()?;
    let addrs = [stage.wire(0, 1), stage.wire(0, 2)];
    let cable = Cable::lay(["left", "right"], [stage.home(), &other], addrs)?;
    let [(left, left_place), (right, right_place)] = bound_pair(stage, &other)?;

    cable.cut(Side::First)?;
    stage::start_connect(&left, right_place)?;
    stage::start_connect(&right, left_place)?;
    std::thread::sleep(Duration::from_millis(20));
    cable.mend(Side::First)?;
    stage::await_writable(&left)?;
    stage::await_writable(&right)?;
    close_pair(left, right)?;
    Ok(())
}

/// A socket bound at each end of a cable, and where it is.
fn bound_pair(stage: &Stage, other: &crate::netns::Namespace) -> Result<[(Socket, SocketAddr); 2]> {
    let bound = |place: SocketAddr| -> Result<(Socket, SocketAddr)> {
        let socket = stage::socket(Domain::IPV4)?;
        socket.bind(&place.into())?;
        Ok((socket, place))
    };
    let right = (stage.wire(0, 2), stage.port(2)).into();
    Ok([
        bound((stage.wire(0, 1), stage.port(1)).into())?,
        other.run(|| bound(right))?,
    ])
}

fn close_pair(first: Socket, second: Socket) -> Result<()> {
    first.set_nonblocking(false)?;
    second.set_nonblocking(false)?;
    stage::close_in_order(first.into(), stage::patient(second.into())?)
}

/// TCP fast open: the SYN carries data, so the server can answer and close while it is still in
/// `SYN_RECEIVED`.
fn fast_open(stage: &Stage) -> Result<()> {
    /// Client and server, no cookies, all listeners.
    const ALWAYS: &str = "1543";
    const MSG_FASTOPEN: i32 = 0x2000_0000;
    let other = stage.namespace()?;
    let addrs = [stage.wire(0, 1), stage.wire(0, 2)];
    let cable = Cable::lay(["left", "right"], [stage.home(), &other], addrs)?;
    stage.home().sysctl("ipv4/tcp_fastopen", ALWAYS)?;
    other.sysctl("ipv4/tcp_fastopen", ALWAYS)?;
    let place = SocketAddr::from((stage.wire(0, 2), stage.port(0)));
    let listener = other.run(|| stage::listen(place))?;

    let socket = stage::socket(Domain::IPV4)?;
    socket.set_nonblocking(true)?;
    // What the server sends is lost for now: the client cannot end the handshake.
    cable.cut(Side::Second)?;
    let sent = socket.send_to_with_flags(b"question", &place.into(), MSG_FASTOPEN);
    ensure!(
        sent.is_ok() || sent.is_err_and(|error| error.raw_os_error() == Some(115)),
        "no fast open"
    );
    let server = stage::accept(&listener)?;
    stage::await_data(&server)?;
    std::io::copy(&mut std::io::Read::take(&server, 8), &mut std::io::sink())?;
    drop(server);
    cable.mend(Side::Second)?;
    stage::await_writable(&socket)?;
    socket.set_nonblocking(false)?;
    let client = stage::patient(socket.into())?;
    stage::read_to_end(&client)?;
    drop(client);
    Ok(())
}

const MANY: usize = 400;

/// One after the other, so that the kernel uses the same memory, and soon the same ports, again.
fn many_in_a_row(stage: &Stage) -> Result<()> {
    stage
        .home()
        .sysctl("ipv4/ip_local_port_range", "40000 40299")?;
    let listener = stage::listen(stage.place())?;
    for round in 0..MANY {
        let client = stage::connect(stage.place())?;
        let server = stage::accept(&listener)?;
        if round % 2 == 0 {
            stage::close_in_order(client, server)?;
        } else {
            stage::close_in_order(server, client)?;
        }
    }
    Ok(())
}
