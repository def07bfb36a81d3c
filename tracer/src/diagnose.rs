//! Why a connection ended as it did.
//!
//! Pure: a connection with its evidence in, a verdict out. Where the evidence does not tell, the verdict
//! is [`Verdict::Unknown`].

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
