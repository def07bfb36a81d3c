//! What sockets can live through, each story with the states it must show.
//!
//! A scenario is a function that makes the sockets do it, and a table, written down beforehand, of
//! the sockets that must be seen: role, path through the states, owner. Nothing more and nothing
//! less may be seen.

mod close;
mod failures;
mod families;
mod mptcp;
mod open;
mod processes;

use std::fmt;

use anyhow::Result;

use crate::stage::Stage;

/// One story.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// Fails with [`Impossible`] where the kernel or the machine lacks what it takes.
    pub(crate) play: fn(&Stage) -> Result<()>,
    pub(crate) sockets: &'static [Expected],
}

/// What a scenario or test needs is not here.
#[derive(Debug)]
pub(crate) struct Impossible(pub(crate) String);

impl fmt::Display for Impossible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Impossible {}

/// A life of a socket: from its first transition to CLOSED.
#[derive(Clone, Copy)]
pub(crate) struct Expected {
    /// How many live like this.
    pub(crate) times: usize,
    pub(crate) role: &'static str,
    pub(crate) family: &'static str,
    pub(crate) protocol: &'static str,
    /// Documented names of the states, in order.
    pub(crate) path: &'static str,
    /// The owners shown from first to last, each as `source:actor`.
    pub(crate) owner: &'static str,
}

impl Expected {
    const fn new(role: &'static str, owner: &'static str, path: &'static str) -> Self {
        Self {
            times: 1,
            role,
            family: "inet",
            protocol: "tcp",
            path,
            owner,
        }
    }

    const fn owned(self, owner: &'static str) -> Self {
        Self { owner, ..self }
    }

    const fn times(self, times: usize) -> Self {
        Self { times, ..self }
    }

    const fn v6(self) -> Self {
        Self {
            family: "inet6",
            ..self
        }
    }

    const fn mptcp(self) -> Self {
        Self {
            protocol: "mptcp",
            ..self
        }
    }
}

/// Connected by the scenario's own process.
const fn client(path: &'static str) -> Expected {
    Expected::new("client", "connect:main", path)
}

/// Accepted by the scenario's own process, which listened as well.
const fn server(path: &'static str) -> Expected {
    Expected::new("server", "listener:main accept:main", path)
}

/// Listened by the scenario's own process, and closed in the end.
const LISTENER: Expected = Expected::new("listener", "listen:main", "CLOSED LISTEN CLOSED");

/// The side that closes first.
const CLIENT_FIRST: Expected = client("CLOSED SYN_SENT ESTABLISHED FIN_WAIT_1 FIN_WAIT_2 CLOSED");
const SERVER_FIRST: Expected =
    server("LISTEN SYN_RECEIVED ESTABLISHED FIN_WAIT_1 FIN_WAIT_2 CLOSED");
/// The side that closes when it has seen the end.
const CLIENT_SECOND: Expected = client("CLOSED SYN_SENT ESTABLISHED CLOSE_WAIT LAST_ACK CLOSED");
const SERVER_SECOND: Expected =
    server("LISTEN SYN_RECEIVED ESTABLISHED CLOSE_WAIT LAST_ACK CLOSED");
/// Ended by a reset, whoever sent it.
const CLIENT_RESET: Expected = client("CLOSED SYN_SENT ESTABLISHED CLOSED");
const SERVER_RESET: Expected = server("LISTEN SYN_RECEIVED ESTABLISHED CLOSED");
/// Never established.
const NEVER_CONNECTED: Expected = client("CLOSED SYN_SENT CLOSED");

/// All of them. A scenario's place decides its addresses.
pub(crate) fn all() -> impl Iterator<Item = &'static Scenario> {
    [
        open::SCENARIOS,
        close::SCENARIOS,
        failures::SCENARIOS,
        families::SCENARIOS,
        mptcp::SCENARIOS,
        processes::SCENARIOS,
    ]
    .into_iter()
    .flatten()
}
