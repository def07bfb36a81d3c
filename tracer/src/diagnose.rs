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
