//! Multipath TCP: a socket of its own above ordinary TCP subflows.

use std::io::Write;
use std::net::TcpListener;
use std::time::Duration;

use anyhow::Result;
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use super::{CLIENT_FIRST, Expected, Impossible, LISTENER, SERVER_SECOND, Scenario, server};
use crate::stage::{self, Stage};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "mptcp",
        play: both_sides,
        sockets: &[
            LISTENER,
            CLIENT_SUBFLOW,
            SERVER_SUBFLOW,
            LISTENER.mptcp(),
            CLIENT_ABOVE,
            SERVER_ABOVE,
        ],
    },
    Scenario {
        name: "mptcp_client_of_tcp_server",
        play: client_only,
        sockets: &[
            LISTENER,
            CLIENT_SUBFLOW,
            SERVER_SECOND.bytes(8, 8),
            CLIENT_ABOVE,
        ],
    },
    Scenario {
        name: "tcp_client_of_mptcp_server",
        play: server_only,
        sockets: &[
            LISTENER,
            CLIENT_SUBFLOW,
            SERVER_SECOND.bytes(8, 8),
            LISTENER.mptcp(),
        ],
    },
];

/// The socket that the application has. It is not judged: what happened is told of the subflows.
const CLIENT_ABOVE: Expected = CLIENT_FIRST.mptcp().ends(
    "unknown local",
    "SYN_SENT ESTABLISHED FIN_WAIT_1 FIN_WAIT_2 CLOSED",
);
/// The socket that the application accepts; it has no `SYN_RECEIVED` of its own.
const SERVER_ABOVE: Expected = server("LISTEN ESTABLISHED CLOSE_WAIT LAST_ACK CLOSED")
    .mptcp()
    .ends("unknown remote", "ESTABLISHED CLOSE_WAIT LAST_ACK CLOSED");
const CLIENT_SUBFLOW: Expected = CLIENT_FIRST.bytes(8, 8);
/// No call returns a subflow, but the kernel accepts it for one.
const SERVER_SUBFLOW: Expected = SERVER_SECOND
    .owned("listener:main ~accept:main")
    .bytes(8, 8);

fn socket() -> Result<Socket> {
    match Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP)) {
        Ok(socket) => Ok(socket),
        Err(error)
            if [Errno::PROTONOSUPPORT, Errno::NOPROTOOPT]
                .iter()
                .any(|lacking| error.raw_os_error() == Some(lacking.raw_os_error())) =>
        {
            Err(Impossible("this kernel has no MPTCP".to_owned()).into())
        }
        Err(error) => Err(error.into()),
    }
}

fn listen(stage: &Stage) -> Result<TcpListener> {
    let socket = socket()?;
    socket.bind(&stage.place().into())?;
    socket.listen(16)?;
    Ok(socket.into())
}

fn both_sides(stage: &Stage) -> Result<()> {
    let listener = listen(stage)?;
    talk(stage, socket()?, &listener)
}

fn client_only(stage: &Stage) -> Result<()> {
    let listener = stage::listen(stage.place())?;
    talk(stage, socket()?, &listener)
}

fn server_only(stage: &Stage) -> Result<()> {
    let listener = listen(stage)?;
    talk(stage, stage::socket(Domain::IPV4)?, &listener)
}

/// The server answers when the client's socket has got round to `FIN_WAIT_2`: it takes its time over what
/// its subflow has received, and if the server's end came in that time it would go to `CLOSING`.
fn talk(stage: &Stage, socket: Socket, listener: &TcpListener) -> Result<()> {
    const THOUGHT: Duration = Duration::from_millis(200);
    socket.connect(&stage.place().into())?;
    let mut client = stage::patient(socket.into())?;
    let mut server = stage::accept(listener)?;
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| stage::ask(&mut client));
        let question = stage::read_to_end(&server)?;
        std::thread::sleep(THOUGHT);
        server.write_all(&question)?;
        drop(server);
        asked
            .join()
            .map_err(|_| anyhow::anyhow!("a thread panicked"))?
    })
}
