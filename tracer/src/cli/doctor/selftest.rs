//! One loopback connection, and whether every step of it arrives.

use std::io::{self, Read as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::batch::Batch;
use crate::decode::decode;
use crate::kernel::Kernel;
use crate::state::State;
use crate::track::{
    Connection, Ending, OwnerSource, Role, Sink, Tracker, TrackerConfig, Transition,
};

const PATIENCE: Duration = Duration::from_secs(2);

/// A listener on loopback with a port of its own.
pub(super) struct Loopback {
    listener: TcpListener,
    addr: SocketAddr,
}

impl Loopback {
    pub(super) fn port(&self) -> u16 {
        self.addr.port()
    }
}

pub(super) fn listen() -> io::Result<Loopback> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .or_else(|_| TcpListener::bind((Ipv6Addr::LOCALHOST, 0)))?;
    let addr = listener.local_addr()?;
    Ok(Loopback { listener, addr })
}

/// What is to arrive: the client closes first.
const CLIENT: [State; 6] = [
    State::Closed,
    State::SynSent,
    State::Established,
    State::FinWait1,
    State::FinWait2,
    State::Closed,
];
const SERVER: [State; 6] = [
    State::Listen,
    State::SynReceived,
    State::Established,
    State::CloseWait,
    State::LastAck,
    State::Closed,
];

/// Connects, closes, and waits for the events; true if everything was recognised. The error says what did
/// not work.
pub(super) fn run(
    kernel: &mut Kernel,
    loopback: io::Result<Loopback>,
) -> Result<(bool, String), String> {
    let loopback = loopback.map_err(|error| format!("cannot listen on loopback: {error}"))?;
    let started = Instant::now();
    connect_and_close(&loopback)
        .map_err(|error| format!("cannot connect over loopback (is `lo` up?): {error}"))?;

    let mut seen = Seen {
        port: loopback.port(),
        ..Seen::default()
    };
    let mut tracker = Tracker::new(TrackerConfig {
        max_connections: 1024,
        ..TrackerConfig::default()
    });
    let mut batch = Batch::default();
    while !seen.complete() && started.elapsed() < PATIENCE {
        batch.clear();
        kernel.fill(&mut batch, 4096);
        for event in batch.iter().filter_map(|record| decode(record).ok()) {
            tracker.handle(&event, &mut seen);
        }
        if batch.is_empty() {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    if !seen.complete() {
        return Err(format!(
            "of a loopback connection {} of {} transitions arrived within {PATIENCE:?}",
            seen.client.len().saturating_sub(1) + seen.server.len().saturating_sub(1),
            CLIENT.len() + SERVER.len() - 2,
        ));
    }
    let accepted = if seen.accepted {
        "the accepting process was recognised"
    } else {
        "the accepting process was not recognised"
    };
    let detail = format!(
        "all {} transitions of a loopback connection arrived; {accepted}",
        CLIENT.len() + SERVER.len() - 2
    );
    Ok((seen.accepted, detail))
}

fn connect_and_close(loopback: &Loopback) -> io::Result<()> {
    let client = TcpStream::connect_timeout(&loopback.addr, PATIENCE)?;
    let (mut server, _) = loopback.listener.accept()?;
    drop(client);
    server.set_read_timeout(Some(PATIENCE))?;
    match server.read_exact(&mut [0]) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        read => read,
    }
}

/// States of both ends, in order.
#[derive(Default)]
struct Seen {
    port: u16,
    client: Vec<State>,
    server: Vec<State>,
    accepted: bool,
}

impl Seen {
    fn complete(&self) -> bool {
        self.client == CLIENT && self.server == SERVER
    }
}

impl Sink for Seen {
    fn transition(&mut self, conn: &Connection, transition: &Transition) {
        let states = match conn.role {
            Role::Client if conn.remote.port == self.port => &mut self.client,
            Role::Server if conn.local.port == self.port => &mut self.server,
            Role::Client | Role::Server | Role::Listener | Role::Both | Role::Unknown => return,
        };
        if states.is_empty() {
            states.push(transition.event.from);
        }
        states.push(transition.event.to);
        self.accepted |= conn.owner.source == OwnerSource::Accept;
    }

    fn ended(&mut self, _: &Connection, _: Ending) {}
}
