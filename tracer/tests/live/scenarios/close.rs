//! Ways to end a connection.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Result, ensure};
use socket2::SockRef;

use super::{
    CLIENT_FIRST, CLIENT_RESET, CLIENT_RESET_STATES, CLIENT_SECOND, CLIENT_WAS_RESET, Expected,
    LISTENER, RESET, RESET_UNREAD, SERVER_FIRST, SERVER_RESET, SERVER_RESET_STATES, SERVER_SECOND,
    SERVER_WAS_RESET, Scenario, WAS_RESET, client, server,
};
use crate::netns::{Cable, Namespace, Side};
use crate::stage::{self, Stage};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "client_closes_first",
        play: client_closes_first,
        sockets: &[LISTENER, CLIENT_FIRST, SERVER_SECOND],
    },
    Scenario {
        name: "server_closes_first",
        play: server_closes_first,
        sockets: &[LISTENER, CLIENT_SECOND, SERVER_FIRST],
    },
    Scenario {
        name: "half_close_by_client",
        play: half_close_by_client,
        sockets: &[
            LISTENER,
            CLIENT_FIRST.bytes(0, 18),
            SERVER_SECOND.bytes(18, 0),
        ],
    },
    Scenario {
        name: "half_close_by_server",
        play: half_close_by_server,
        sockets: &[
            LISTENER,
            CLIENT_SECOND.bytes(18, 0),
            SERVER_FIRST.bytes(0, 18),
        ],
    },
    Scenario {
        name: "shutdown_twice_then_close",
        play: shutdown_twice_then_close,
        sockets: &[LISTENER, CLIENT_FIRST, SERVER_SECOND],
    },
    Scenario {
        name: "linger_zero_by_client",
        play: linger_zero_by_client,
        sockets: &[
            LISTENER,
            CLIENT_RESET.ends(RESET, CLIENT_RESET_STATES),
            SERVER_WAS_RESET,
        ],
    },
    Scenario {
        name: "linger_zero_by_server",
        play: linger_zero_by_server,
        sockets: &[
            LISTENER,
            CLIENT_WAS_RESET,
            SERVER_RESET.ends(RESET, SERVER_RESET_STATES),
        ],
    },
    Scenario {
        name: "close_with_unread_data",
        play: close_with_unread_data,
        sockets: &[
            LISTENER,
            CLIENT_RESET
                .ends(RESET_UNREAD, CLIENT_RESET_STATES)
                .bytes(0, 10),
            SERVER_WAS_RESET.bytes(10, 0),
        ],
    },
    // The peer of the reset has only a mini-socket left, which is silent about it.
    Scenario {
        name: "close_with_data_and_end_unread",
        play: close_with_data_and_end_unread,
        sockets: &[
            LISTENER,
            CLIENT_RESET_IN_MINI_SOCKET.bytes(10, 0),
            SERVER_CLOSED_UNREAD.bytes(0, 10),
        ],
    },
    Scenario {
        name: "end_unread_and_its_answer_lost",
        play: end_unread_and_its_answer_lost,
        sockets: &[
            LISTENER,
            client("CLOSED SYN_SENT ESTABLISHED FIN_WAIT_1 CLOSED")
                .ends(
                    "reset_by_peer local",
                    "SYN_SENT ESTABLISHED FIN_WAIT_1 CLOSED",
                )
                .bytes(10, 0)
                .resent(&["data"]),
            SERVER_CLOSED_UNREAD.bytes(0, 10),
        ],
    },
    Scenario {
        name: "data_after_the_peer_closed",
        play: data_after_the_peer_closed,
        sockets: &[
            LISTENER,
            // What is left of it goes with the reset.
            CLIENT_FIRST.ends(
                "closed local",
                "SYN_SENT ESTABLISHED FIN_WAIT_1 FIN_WAIT_2 ?TIME_WAIT ~CLOSED",
            ),
            SERVER_CLOSED_TOO_LATE,
        ],
    },
    Scenario {
        name: "data_after_the_peer_shut_down",
        play: data_after_the_peer_shut_down,
        sockets: &[
            LISTENER,
            client("CLOSED SYN_SENT ESTABLISHED FIN_WAIT_1 FIN_WAIT_2 CLOSED").ends(
                "reset_by_us local TCP_ABORT_ON_DATA",
                "SYN_SENT ESTABLISHED FIN_WAIT_1 FIN_WAIT_2 CLOSED",
            ),
            SERVER_CLOSED_TOO_LATE,
        ],
    },
    Scenario {
        name: "simultaneous_close",
        play: simultaneous_close,
        sockets: &[
            LISTENER,
            CLIENT_AT_ONCE,
            server("LISTEN SYN_RECEIVED ESTABLISHED FIN_WAIT_1 CLOSING CLOSED").ends(
                "closed both",
                "~SYN_RECEIVED ESTABLISHED FIN_WAIT_1 CLOSING ~TIME_WAIT ~CLOSED",
            ),
        ],
    },
    Scenario {
        name: "simultaneous_close_seen_by_one",
        play: simultaneous_close_seen_by_one,
        sockets: &[LISTENER, CLIENT_AT_ONCE.resent(&["data"]), SERVER_FIRST],
    },
    Scenario {
        name: "listener_closed_with_children_queued",
        play: listener_closed_with_children_queued,
        sockets: &[
            LISTENER,
            CLIENT_WAS_RESET.times(3),
            SERVER_RESET
                .owned("listener:main")
                .ends("accept_queue_lost local TCP_STATE", SERVER_RESET_STATES)
                .times(3),
        ],
    },
    Scenario {
        name: "client_gone_before_accept",
        play: client_gone_before_accept,
        sockets: &[LISTENER, CLIENT_FIRST, SERVER_SECOND],
    },
    Scenario {
        name: "listener_shut_down_and_listening_again",
        play: listener_shut_down_and_listening_again,
        sockets: &[LISTENER.times(2), CLIENT_FIRST, SERVER_SECOND],
    },
    Scenario {
        name: "no_answer_to_data",
        play: no_answer_to_data,
        sockets: &[
            LISTENER,
            CLIENT_RESET
                .ends("aborted", CLIENT_RESET_STATES)
                .bytes(4, 0)
                .resent(&["data"]),
            SERVER_RESET
                .ends("aborted", SERVER_RESET_STATES)
                .bytes(4, 0)
                .resent(&["data"]),
        ],
    },
    Scenario {
        name: "no_answer_to_the_end",
        play: no_answer_to_the_end,
        sockets: &[
            LISTENER,
            client("CLOSED SYN_SENT ESTABLISHED FIN_WAIT_1 CLOSED")
                .ends("aborted local", "SYN_SENT ESTABLISHED FIN_WAIT_1 CLOSED")
                .resent(&["data"]),
            SERVER_RESET.ends(RESET, SERVER_RESET_STATES),
        ],
    },
];

/// The peer has closed in order, which is left unread with what came before.
const SERVER_CLOSED_UNREAD: Expected = server("LISTEN SYN_RECEIVED ESTABLISHED CLOSE_WAIT CLOSED")
    .ends(
        "reset_by_us remote TCP_ABORT_ON_CLOSE",
        "~SYN_RECEIVED ESTABLISHED CLOSE_WAIT CLOSED",
    );
/// Closed in order, but its mini-socket in `FIN_WAIT_2` is ended by a reset, so that no `TIME_WAIT` follows.
const CLIENT_RESET_IN_MINI_SOCKET: Expected = CLIENT_FIRST.ends(
    "closed local",
    "SYN_SENT ESTABLISHED FIN_WAIT_1 FIN_WAIT_2 ?TIME_WAIT ~CLOSED",
);
/// It still had something to say.
const SERVER_CLOSED_TOO_LATE: Expected =
    server("LISTEN SYN_RECEIVED ESTABLISHED CLOSE_WAIT CLOSED")
        .ends(WAS_RESET, "~SYN_RECEIVED ESTABLISHED CLOSE_WAIT CLOSED")
        .bytes(8, 0);
const CLIENT_AT_ONCE: Expected = client("CLOSED SYN_SENT ESTABLISHED FIN_WAIT_1 CLOSING CLOSED")
    .ends(
        "closed both",
        "SYN_SENT ESTABLISHED FIN_WAIT_1 CLOSING ~TIME_WAIT ~CLOSED",
    );

fn client_closes_first(stage: &Stage) -> Result<()> {
    let (_listener, client, server) = stage.pair()?;
    stage::close_in_order(client, server)
}

fn server_closes_first(stage: &Stage) -> Result<()> {
    let (_listener, client, server) = stage.pair()?;
    stage::close_in_order(server, client)
}

fn half_close_by_client(stage: &Stage) -> Result<()> {
    let (_listener, client, server) = stage.pair()?;
    half_close(client, server)
}

fn half_close_by_server(stage: &Stage) -> Result<()> {
    let (_listener, client, server) = stage.pair()?;
    half_close(server, client)
}

/// Data still flows against the direction that was shut down.
fn half_close(first: TcpStream, mut second: TcpStream) -> Result<()> {
    first.shutdown(Shutdown::Write)?;
    stage::read_to_end(&second)?;
    for _ in 0..3 {
        second.write_all(b"answer")?;
        (&first).read_exact(&mut [0; 6])?;
    }
    stage::close_in_order(second, first)
}

/// What `shutdown` did, `close` does not do again.
fn shutdown_twice_then_close(stage: &Stage) -> Result<()> {
    let (_listener, client, server) = stage.pair()?;
    client.shutdown(Shutdown::Read)?;
    client.shutdown(Shutdown::Write)?;
    client.shutdown(Shutdown::Both)?;
    stage::read_to_end(&server)?;
    server.shutdown(Shutdown::Both)?;
    drop(server);
    drop(client);
    Ok(())
}

fn linger_zero_by_client(stage: &Stage) -> Result<()> {
    let (_listener, client, server) = stage.pair()?;
    reset(client, &server)
}

fn linger_zero_by_server(stage: &Stage) -> Result<()> {
    let (_listener, client, server) = stage.pair()?;
    reset(server, &client)
}

fn reset(first: TcpStream, second: &TcpStream) -> Result<()> {
    SockRef::from(&first).set_linger(Some(Duration::ZERO))?;
    drop(first);
    stage::read_to_reset(second)
}

fn close_with_unread_data(stage: &Stage) -> Result<()> {
    let (_listener, client, mut server) = stage.pair()?;
    server.write_all(b"never read")?;
    stage::await_data(&client)?;
    drop(client);
    stage::read_to_reset(&server)
}

/// The peer has said all and knows that it arrived; the reset comes too late to hurt it.
fn close_with_data_and_end_unread(stage: &Stage) -> Result<()> {
    const LISTENER_AND_SERVER: usize = 2;
    let (_listener, mut client, server) = stage.pair()?;
    client.write_all(b"never read")?;
    drop(client);
    stage::await_open_sockets(stage.home(), LISTENER_AND_SERVER)?;
    drop(server);
    Ok(())
}

/// The peer says its last once more, to a socket that is gone, and is answered with a reset.
fn end_unread_and_its_answer_lost(stage: &Stage) -> Result<()> {
    let other = stage.namespace()?;
    let (cable, _listener, mut client, server) = over_cable(stage, &other)?;
    cable.cut(Side::Second)?;
    client.write_all(b"never read")?;
    drop(client);
    stage::await_data(&server)?;
    drop(server);
    cable.mend(Side::Second)
}

/// Answered with a reset by the mini-socket that is left of the peer.
fn data_after_the_peer_closed(stage: &Stage) -> Result<()> {
    const LISTENER_AND_SERVER: usize = 2;
    let (_listener, client, mut server) = stage.pair()?;
    drop(client);
    stage::read_to_end(&server)?;
    stage::await_open_sockets(stage.home(), LISTENER_AND_SERVER)?;
    server.write_all(b"too late")?;
    let again = server.write_all(b"later still");
    ensure!(again.is_err(), "written to nobody");
    Ok(())
}

/// Answered with a reset by the peer's socket, which is still there.
fn data_after_the_peer_shut_down(stage: &Stage) -> Result<()> {
    let (_listener, client, mut server) = stage.pair()?;
    client.shutdown(Shutdown::Both)?;
    stage::read_to_end(&server)?;
    server.write_all(b"too late")?;
    let again = server.write_all(b"later still");
    ensure!(again.is_err(), "written to nobody");
    Ok(())
}

/// A connection over a cable: client at the first end, server at the second.
fn over_cable<'a>(
    stage: &'a Stage,
    other: &'a Namespace,
) -> Result<(Cable<'a>, std::net::TcpListener, TcpStream, TcpStream)> {
    let addrs = [stage.wire(0, 1), stage.wire(0, 2)];
    let cable = Cable::lay(["left", "right"], [stage.home(), other], addrs)?;
    let place = SocketAddr::from((stage.wire(0, 2), stage.port(0)));
    let listener = other.run(|| stage::listen(place))?;
    let client = stage::connect(place)?;
    let server = stage::accept(&listener)?;
    Ok((cable, listener, client, server))
}

/// Both ends are on their way before either arrives.
fn simultaneous_close(stage: &Stage) -> Result<()> {
    const LISTENER_ALONE: usize = 1;
    let other = stage.namespace()?;
    let (cable, _listener, client, server) = over_cable(stage, &other)?;
    cable.hold_both()?;
    drop(client);
    drop(server);
    stage::await_open_sockets(stage.home(), 0)?;
    stage::await_open_sockets(&other, LISTENER_ALONE)?;
    cable.unhold_both()
}

/// One end is lost; the other reaches a socket that waits for an answer to its own.
fn simultaneous_close_seen_by_one(stage: &Stage) -> Result<()> {
    let other = stage.namespace()?;
    let (cable, _listener, client, server) = over_cable(stage, &other)?;
    cable.cut(Side::First)?;
    drop(client);
    drop(server);
    cable.mend(Side::First)
}

fn listener_closed_with_children_queued(stage: &Stage) -> Result<()> {
    let listener = stage::listen(stage.place())?;
    let clients = [
        stage::connect(stage.place())?,
        stage::connect(stage.place())?,
        stage::connect(stage.place())?,
    ];
    drop(listener);
    clients.iter().try_for_each(stage::read_to_reset)
}

/// The connection is half over when it is accepted.
fn client_gone_before_accept(stage: &Stage) -> Result<()> {
    let listener = stage::listen(stage.place())?;
    drop(stage::connect(stage.place())?);
    let server = stage::accept(&listener)?;
    stage::read_to_end(&server)?;
    Ok(())
}

/// `shutdown` on a listener closes it for good, yet the socket can listen again.
fn listener_shut_down_and_listening_again(stage: &Stage) -> Result<()> {
    let listener = stage::listen(stage.place())?;
    rustix::net::shutdown(&listener, rustix::net::Shutdown::Read)?;
    rustix::net::listen(&listener, 16)?;
    let client = stage::connect(stage.place())?;
    let server = stage::accept(&listener)?;
    stage::close_in_order(client, server)
}

const SHORT: Duration = Duration::from_millis(300);

/// The network fails with data on its way; both give up, each by its own timer.
fn no_answer_to_data(stage: &Stage) -> Result<()> {
    let other = stage.namespace()?;
    let (cable, _listener, mut client, mut server) = over_cable(stage, &other)?;
    for stream in [&client, &server] {
        SockRef::from(stream).set_tcp_user_timeout(Some(SHORT))?;
    }
    cable.cut(Side::First)?;
    cable.cut(Side::Second)?;
    client.write_all(b"lost")?;
    server.write_all(b"lost")?;
    for stream in [&mut client, &mut server] {
        let error = stream.read(&mut [0]).err().map(|error| error.kind());
        ensure!(
            error == Some(std::io::ErrorKind::TimedOut),
            "a lost connection did not time out: {error:?}"
        );
    }
    Ok(())
}

/// The network fails before the end is sent; the other side never hears of it.
fn no_answer_to_the_end(stage: &Stage) -> Result<()> {
    let other = stage.namespace()?;
    let (cable, _listener, client, server) = over_cable(stage, &other)?;
    SockRef::from(&client).set_tcp_user_timeout(Some(SHORT))?;
    cable.cut(Side::First)?;
    cable.cut(Side::Second)?;
    drop(client);
    stage::await_open_sockets(stage.home(), 0)?;
    SockRef::from(&server).set_linger(Some(Duration::ZERO))?;
    drop(server);
    Ok(())
}
