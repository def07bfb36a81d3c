//! The load: short loopback connections whose state transitions can be counted beforehand.
//!
//! The client closes first, the server reads to the end and closes: five transitions on each side. With
//! crossing threads the server's half runs elsewhere than the client's, so that transitions interrupt each
//! other.

use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Args;
use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Socket, Type};

/// Transitions of one connection, both sides together.
pub(super) const PER_CONNECTION: u64 = 10;
/// Transitions of a listener's life.
const PER_LISTENER: u64 = 2;
/// First port listened on.
pub(super) const PORTS: std::ops::Range<u16> = 20_000..20_000 + PORTS_USED;
const PORTS_USED: u16 = 4;
/// Addresses that a client thread connects from, so that ports in `TIME_WAIT` do not run out.
const SOURCES: u32 = 200;
/// How far a client may run ahead of the thread that accepts.
const AHEAD: u32 = 256;

/// How the storm blows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Args)]
pub(crate) struct StormArgs {
    /// Connections in all
    #[arg(long)]
    connections: u32,
    /// Connections a second in all; as fast as possible if left out
    #[arg(long)]
    rate: Option<u32>,
    /// Accept in threads of their own
    #[arg(long)]
    crossing: bool,
}

impl StormArgs {
    /// Connections a second, where they are paced.
    pub(super) fn rate(&self) -> Option<u32> {
        self.rate
    }
}

/// A storm with its name.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub(super) name: String,
    pub(super) arguments: StormArgs,
}

impl Load {
    /// Two threads, each both sides of its connections.
    pub(super) fn fast(connections: u32) -> Self {
        Self {
            name: "fast".to_owned(),
            arguments: StormArgs {
                connections,
                rate: None,
                crossing: false,
            },
        }
    }

    /// One thread connects, another accepts.
    pub(super) fn crossing(connections: u32) -> Self {
        Self {
            name: "crossing".to_owned(),
            arguments: StormArgs {
                connections,
                rate: None,
                crossing: true,
            },
        }
    }

    /// At a fixed rate, for two seconds.
    pub(super) fn paced(rate: u32) -> Self {
        Self {
            name: format!("{rate} conn/s"),
            arguments: StormArgs {
                connections: rate.saturating_mul(2),
                rate: Some(rate),
                crossing: false,
            },
        }
    }

    /// For the command line of `cargo xtask storm`.
    pub(super) fn command_line(&self) -> Vec<String> {
        let mut line = vec![
            "storm".to_owned(),
            format!("--connections={}", self.arguments.connections),
        ];
        line.extend(self.arguments.rate.map(|rate| format!("--rate={rate}")));
        line.extend(self.arguments.crossing.then(|| "--crossing".to_owned()));
        line
    }
}

/// What a storm did.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Storm {
    pub(super) connections: u32,
    /// State transitions of all its sockets.
    pub(super) transitions: u64,
    /// Processor time of the process, kernel included, for each connection.
    pub(super) cpu_ns_per_connection: f64,
    pub(super) connections_per_second: f64,
}

/// Blows, and prints what it did as JSON.
pub(crate) fn main(arguments: &StormArgs) -> Result<()> {
    println!("{}", serde_json::to_string(&blow(arguments)?)?);
    Ok(())
}

fn blow(arguments: &StormArgs) -> Result<Storm> {
    let threads: u16 = if arguments.crossing { 1 } else { 2 };
    let listeners = PORTS
        .step_by(usize::from(PORTS_USED / 2))
        .take(usize::from(threads))
        .map(listen)
        .collect::<Result<Vec<_>>>()
        .context("cannot listen on loopback")?;
    let each = arguments.connections / u32::from(threads);
    let pace = arguments
        .rate
        .map(|rate| Duration::from_secs(1) * u32::from(threads) / rate.max(1));
    let cpu_before = cpu_ns()?;
    let start = Instant::now();
    let done = thread::scope(|scope| {
        let clients: Vec<_> = (1..)
            .zip(&listeners)
            .map(|(number, listener)| {
                scope.spawn(move || client(number, listener, each, pace, arguments.crossing))
            })
            .collect();
        clients
            .into_iter()
            .map(|client| client.join().unwrap_or_else(|_| Ok(0)))
            .sum::<Result<u32>>()
    })?;
    let wall = start.elapsed();
    let cpu = cpu_ns()? - cpu_before;
    // The last connections end in softirqs.
    thread::sleep(Duration::from_millis(50));
    drop(listeners);
    thread::sleep(Duration::from_millis(20));
    Ok(Storm {
        connections: done,
        transitions: u64::from(done) * PER_CONNECTION + u64::from(threads) * PER_LISTENER,
        cpu_ns_per_connection: cpu / f64::from(done.max(1)),
        connections_per_second: f64::from(done) / wall.as_secs_f64(),
    })
}

/// With a queue that holds all that a client may be ahead, or SYNs would be dropped and sent again.
fn listen(port: u16) -> Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    socket.listen(i32::try_from(4 * AHEAD)?)?;
    Ok(socket.into())
}

fn client(
    number: u8,
    listener: &TcpListener,
    count: u32,
    pace: Option<Duration>,
    crossing: bool,
) -> Result<u32> {
    let server = listener.local_addr()?;
    let accepted = AtomicU32::new(0);
    thread::scope(|scope| {
        if crossing {
            scope.spawn(|| {
                while accepted.load(Ordering::Relaxed) < count && serve(listener).is_ok() {
                    accepted.fetch_add(1, Ordering::Release);
                }
            });
        }
        let start = Instant::now();
        for index in 0..count {
            if let Some(pace) = pace {
                thread::sleep((pace * index).saturating_sub(start.elapsed()));
            }
            let stream = connect(number, index, server)?;
            if crossing {
                drop(stream);
                while index >= AHEAD + accepted.load(Ordering::Acquire) {
                    thread::sleep(Duration::from_micros(100));
                }
            } else {
                let (peer, _) = listener.accept()?;
                drop(stream);
                finish(peer);
            }
        }
        Ok(count)
    })
}

fn connect(thread: u8, index: u32, server: SocketAddr) -> Result<TcpStream> {
    let host = u8::try_from(index % SOURCES).unwrap_or_default() + 1;
    let source = SocketAddr::from((Ipv4Addr::new(127, 1, thread, host), 0));
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&source.into())?;
    socket.connect(&server.into())?;
    Ok(socket.into())
}

fn serve(listener: &TcpListener) -> std::io::Result<()> {
    finish(listener.accept()?.0);
    Ok(())
}

fn finish(mut peer: TcpStream) {
    let mut bytes = [0; 64];
    while matches!(peer.read(&mut bytes), Ok(1..)) {}
}

fn cpu_ns() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    Ok(super::measure::cpu_ns(&usage))
}
