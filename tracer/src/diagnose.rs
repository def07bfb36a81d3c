//! Why a connection ended as it did.
//!
//! Pure: a connection with its evidence in, a verdict out. Where the evidence does not tell, the verdict
//! is [`Verdict::Unknown`].

use crate::state::State;

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
    /// An ICMP error or a missing route instead of an answer to the SYN.
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

/// What is known of a connection at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// What became of it.
    pub verdict: Verdict,
    /// Which side closed (or reset) first; `None` where unknown or not closed.
    pub closed_by: Option<ClosedBy>,
    /// The kernel's reason for a reset this side sent, by the kernel's own name
    /// (`TCP_ABORT_ON_CLOSE`).
    pub reset_reason: Option<String>,
    /// One sentence for people: why this verdict, as in "SYN sent 4 times, never answered". Begins in
    /// lower case, no period.
    pub because: String,
    /// The documented timeline: states observed and those inferred (`TIME_WAIT` after the kernel closed
    /// the socket).
    pub states: Vec<StateSpan>,
    /// SYNs sent again; `None` where the hook that tells is not attached or the trace began later.
    pub syn_retransmits: Option<u32>,
    /// SYN-ACKs sent again, likewise.
    pub synack_retransmits: Option<u32>,
    /// Segments of data and FINs sent again, likewise.
    pub retransmits: Option<u32>,
    /// Payload bytes sent.
    pub bytes_sent: Option<u64>,
    /// Payload bytes received.
    pub bytes_received: Option<u64>,
    /// Smoothed round trip time in microseconds.
    pub rtt_us: Option<u32>,
}

/// One state of the documented timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateSpan {
    /// The state.
    pub state: State,
    /// When it began (`CLOCK_MONOTONIC`, ns); `None` where that is not known.
    pub since_ns: Option<u64>,
    /// How long it lasted; `None` where that is not known, or it still lasts.
    pub duration_ns: Option<u64>,
    /// How it is known.
    pub evidence: SpanEvidence,
    /// How long it lasts by the kernel's rules, where its end is not seen: 60 s for an unseen
    /// `TIME_WAIT`.
    pub expected_ns: Option<u64>,
}

/// How a state is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanEvidence {
    /// The kernel reported it when it happened.
    Observed,
    /// Seen by asking the kernel now and then.
    Polled,
    /// It follows from what was seen.
    Inferred,
}

/// Which evidence there is to judge by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    /// Names of the kernel's reasons for a reset, by number; empty where it gives none.
    pub reset_reasons: Vec<(u32, String)>,
}
