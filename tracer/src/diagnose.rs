//! Why a connection ended as it did.
//!
//! Pure: a connection with its evidence in, a [`Diagnosis`] out. The verdict is that of the first rule of
//! one table ([`RULES`]) that applies. A rule may build on what was seen, and on what was not seen where
//! a hook would have told and no event was lost; else it does not apply, and the verdict is
//! [`Verdict::Unknown`] with what is certain beside it.
//!
//! The kernel's part was read in `net/ipv4` of Linux 6.12 and compared with traces of 6.18.
//!
//! Known gaps: when a network namespace is taken down, its orphaned sockets are closed without a trace
//! of it. A socket whose `connect` fails after it got a port looks like one given up. With
//! `net.ipv4.tcp_fin_timeout` above 60 s a `FIN_WAIT_2` can end in the full socket without the peer's
//! FIN. An MPTCP connection is not judged, because its evidence is at its subflows.

mod evidence;
mod numbers;
mod reset_reasons;
mod rules;
mod spans;
#[cfg(test)]
pub(crate) mod tests;

use serde::{Deserialize, Serialize};

use crate::hints::Hint;
use crate::state::State;
use crate::track::{Connection, Ending};
use evidence::Facts;

pub use reset_reasons::{RESET_REASONS, reset_reason_meaning};
pub(crate) use rules::unreachable;
pub use rules::{First, RULES, Rule};

/// What is known of a connection at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// What became of it.
    pub verdict: Verdict,
    /// Which side closed (or reset) first; `None` where unknown or not closed.
    pub closed_by: Option<ClosedBy>,
    /// The kernel's reason for a reset this side sent, by the kernel's own name; its number where the
    /// kernel does not name it.
    pub reset_reason: Option<String>,
    /// One sentence for people: why this verdict.
    pub because: String,
    /// The documented timeline: observed states and those inferred.
    pub states: Vec<StateSpan>,
    /// SYNs sent again. `None` where it could not be counted, here as in the next two.
    pub syn_retransmits: Option<u32>,
    /// SYN-ACKs sent again.
    pub synack_retransmits: Option<u32>,
    /// Segments with data or FIN sent again.
    pub retransmits: Option<u32>,
    /// Payload bytes sent, each counted once however often it was sent. `None` while open, and where
    /// the kernel's counters do not tell: with retransmissions only if all was acknowledged.
    pub bytes_sent: Option<u64>,
    /// Payload bytes received in order. `None` while open, and where the kernel's counter may or may
    /// not hold 1 for the peer's FIN.
    pub bytes_received: Option<u64>,
    /// Smoothed round trip time in microseconds: the last known.
    pub rtt_us: Option<u32>,
    /// What a person should look at. Left empty here: [`crate::hints::at_end`] knows.
    pub hints: Vec<Hint>,
}

/// One state of the documented timeline.
///
/// Where it is not known what came after the socket was closed, a `TIME_WAIT` without a beginning follows a `FIN_WAIT_2` that went on unseen for as long as the peer
/// took to close; it does not come if the peer never did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateSpan {
    /// The state.
    pub state: State,
    /// When it began (`CLOCK_MONOTONIC`, ns); `None` where unknown.
    pub since_ns: Option<u64>,
    /// How long it lasted; of a state that is not over, until the trace ended or the connection was
    /// forgotten. `None` where unknown, and for the last `CLOSED`.
    pub duration_ns: Option<u64>,
    /// `duration_ns` is only a part of it.
    pub is_minimum: bool,
    /// How it is known.
    pub evidence: SpanEvidence,
    /// How long it lasts as a rule, where its end cannot be seen, and nothing is known that may have cut it off.
    pub expected_ns: Option<u64>,
    /// How far `since_ns` may be off, where it was not observed: `TIME_WAIT` can have begun so much earlier or later, any
    /// other so much earlier.
    pub within_ns: Option<u64>,
}

/// How a state of the timeline is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanEvidence {
    /// The kernel reported it when it happened.
    Observed,
    /// The kernel was asked at intervals.
    Polled,
    /// Follows from what was observed.
    Inferred,
}

/// Judges a connection at its end.
pub fn diagnose(conn: &Connection, ending: Ending, sources: &Sources) -> Diagnosis {
    let facts = Facts::new(conn, ending, sources);
    let rule = rules::first(&facts);
    Diagnosis {
        verdict: rule.map_or(Verdict::Unknown, |rule| rule.verdict),
        closed_by: rule.and_then(|rule| rule.closed_by(&facts)),
        reset_reason: facts.reset_reason(),
        because: rule.map_or_else(|| facts.why_unknown(), |rule| (rule.because)(&facts)),
        states: spans::timeline(&facts),
        syn_retransmits: numbers::syn_retransmits(&facts),
        synack_retransmits: numbers::synack_retransmits(&facts),
        retransmits: numbers::retransmits(&facts),
        bytes_sent: numbers::bytes_sent(&facts),
        bytes_received: numbers::bytes_received(&facts),
        rtt_us: numbers::rtt_us(&facts),
        hints: Vec::new(),
    }
}

/// What became of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Still open when the trace ended.
    Open,
    /// Established and closed in order, by FIN.
    Closed,
    /// The peer answered the SYN with a reset.
    Refused,
    /// No answer to the SYN.
    TimedOut,
    /// An ICMP error instead of an answer to the SYN, or a route that went meanwhile.
    Unreachable,
    /// Given up by the application before it was established.
    Cancelled,
    /// Ended by the peer's reset.
    ResetByPeer,
    /// Ended by a reset from this side.
    ResetByUs,
    /// Ended by a timeout while established or closing: data or keepalives not acknowledged.
    Aborted,
    /// Established, but the listener closed, or had no room, before anybody accepted it.
    AcceptQueueLost,
    /// Not a connection: a listener.
    Listener,
    /// The evidence does not tell.
    Unknown,
}

impl Verdict {
    /// Whether a connection was lost, or never came to be. That includes one given up by its application,
    /// as an application is often the first to give up where a firewall drops SYNs.
    pub fn is_failure(self) -> bool {
        match self {
            Self::Refused
            | Self::TimedOut
            | Self::Unreachable
            | Self::Cancelled
            | Self::ResetByPeer
            | Self::ResetByUs
            | Self::Aborted
            | Self::AcceptQueueLost => true,
            Self::Open | Self::Closed | Self::Listener | Self::Unknown => false,
        }
    }
}

/// Which side closed first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClosedBy {
    /// This side.
    Local,
    /// The peer.
    Remote,
    /// Both at once (simultaneous close).
    Both,
}

/// Which evidence there is to judge by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each hook is there or not, on its own"
)]
pub struct Sources {
    /// `tcp:tcp_retransmit_skb`
    pub retransmit: bool,
    /// `tcp:tcp_retransmit_synack`
    pub synack_retransmit: bool,
    /// `tcp:tcp_receive_reset`
    pub reset_received: bool,
    /// `tcp:tcp_send_reset`
    pub reset_sent: bool,
    /// `sock:inet_sk_error_report`
    pub socket_error: bool,
    /// [`crate::event::Counts`] of TCP sockets.
    pub counts: bool,
    /// `syscalls:sys_exit_accept` and `sys_exit_accept4`
    pub accept: bool,
    /// Names of the kernel's reasons for a reset, by number; empty where it gives none.
    pub reset_reasons: Vec<(u32, String)>,
}
