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
mod rings;

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

/// A life of a socket, from its first transition to CLOSED, and what tracer must tell of it as a whole.
#[derive(Clone, Copy)]
pub(crate) struct Expected {
    /// How many live like this.
    pub(crate) times: usize,
    pub(crate) role: &'static str,
    pub(crate) family: &'static str,
    pub(crate) protocol: &'static str,
    /// Documented names of the states that the tracepoint reports, in order.
    pub(crate) path: &'static str,
    /// The owners shown from first to last, each as `source:actor`. `~`: no system call tells of it, so that
    /// more is needed to see it.
    pub(crate) owner: &'static str,
    /// The verdict, then which side closed first, then the kernel's reason for a reset that this side
    /// sent, as far as there are any.
    pub(crate) end: &'static str,
    /// The states of the connection. `~`: the connection goes through it without a socket that the
    /// tracepoint tells of, so that more is needed to observe it. `?`: it does not, but who cannot observe
    /// that infers that it does, as most do.
    pub(crate) states: &'static str,
    /// Payload bytes sent and received.
    pub(crate) bytes: [u64; 2],
    /// What must have been sent again at least once: `SYN`, `SYN-ACK`, `data`.
    pub(crate) resent: &'static [&'static str],
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
            end: "",
            states: "",
            bytes: [0, 0],
            resent: &[],
        }
    }

    const fn ends(self, end: &'static str, states: &'static str) -> Self {
        Self {
            end,
            states,
            ..self
        }
    }

    const fn owned(self, owner: &'static str) -> Self {
        Self { owner, ..self }
    }

    const fn times(self, times: usize) -> Self {
        Self { times, ..self }
    }

    const fn bytes(self, sent: u64, received: u64) -> Self {
        Self {
            bytes: [sent, received],
            ..self
        }
    }

    const fn resent(self, resent: &'static [&'static str]) -> Self {
        Self { resent, ..self }
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

/// Both connected to each other at once; the scenario's own process did.
const fn both(path: &'static str) -> Expected {
    Expected::new("both", "connect:main", path)
}

/// Listened by the scenario's own process, and closed in the end.
const LISTENER: Expected = Expected::new("listener", "listen:main", "CLOSED LISTEN CLOSED")
    .ends("listener", "LISTEN CLOSED");

/// The side that closes first.
const CLIENT_FIRST: Expected = client("CLOSED SYN_SENT ESTABLISHED FIN_WAIT_1 FIN_WAIT_2 CLOSED")
    .ends(
        "closed local",
        "SYN_SENT ESTABLISHED FIN_WAIT_1 FIN_WAIT_2 ~TIME_WAIT ~CLOSED",
    );
const SERVER_FIRST: Expected =
    server("LISTEN SYN_RECEIVED ESTABLISHED FIN_WAIT_1 FIN_WAIT_2 CLOSED").ends(
        "closed local",
        "~SYN_RECEIVED ESTABLISHED FIN_WAIT_1 FIN_WAIT_2 ~TIME_WAIT ~CLOSED",
    );
/// The side that closes when it has seen the end.
const CLIENT_SECOND: Expected = client("CLOSED SYN_SENT ESTABLISHED CLOSE_WAIT LAST_ACK CLOSED")
    .ends(
        "closed remote",
        "SYN_SENT ESTABLISHED CLOSE_WAIT LAST_ACK CLOSED",
    );
const SERVER_SECOND: Expected =
    server("LISTEN SYN_RECEIVED ESTABLISHED CLOSE_WAIT LAST_ACK CLOSED").ends(
        "closed remote",
        "~SYN_RECEIVED ESTABLISHED CLOSE_WAIT LAST_ACK CLOSED",
    );
/// Ended by a reset; `ends` says whose.
const CLIENT_RESET: Expected = client("CLOSED SYN_SENT ESTABLISHED CLOSED");
const CLIENT_WAS_RESET: Expected = CLIENT_RESET.ends(WAS_RESET, CLIENT_RESET_STATES);
const CLIENT_RESET_STATES: &str = "SYN_SENT ESTABLISHED CLOSED";
const SERVER_RESET: Expected = server("LISTEN SYN_RECEIVED ESTABLISHED CLOSED");
const SERVER_WAS_RESET: Expected = SERVER_RESET.ends(WAS_RESET, SERVER_RESET_STATES);
const SERVER_RESET_STATES: &str = "~SYN_RECEIVED ESTABLISHED CLOSED";
const WAS_RESET: &str = "reset_by_peer remote";
/// By `close` with `SO_LINGER` 0, or `connect` with `AF_UNSPEC`.
const RESET: &str = "reset_by_us local TCP_STATE";
/// By `close` with something unread.
const RESET_UNREAD: &str = "reset_by_us local TCP_ABORT_ON_CLOSE";
/// Never established; `ends` says why.
const NEVER_CONNECTED: Expected = client("CLOSED SYN_SENT CLOSED");
const NEVER_CONNECTED_STATES: &str = "SYN_SENT CLOSED";

const fn never_connected(end: &'static str) -> Expected {
    NEVER_CONNECTED.ends(end, NEVER_CONNECTED_STATES)
}

/// All of them. A scenario's place decides its addresses.
pub(crate) fn all() -> impl Iterator<Item = &'static Scenario> {
    [
        open::SCENARIOS,
        close::SCENARIOS,
        failures::SCENARIOS,
        families::SCENARIOS,
        mptcp::SCENARIOS,
        processes::SCENARIOS,
        rings::SCENARIOS,
    ]
    .into_iter()
    .flatten()
}
