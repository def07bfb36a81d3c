//! What is gathered of a connection beside its states: the ground that a verdict stands on.
//!
//! Most connections have nothing but what the socket had counted when it was established, so an open
//! one keeps that alone in its place, and the rest in a box that is made when something happens.

use crate::event::{Counts, Evidence, EvidenceEvent};
use crate::state::State;

/// Evidence about one connection.
///
/// That something is not here means that it did not happen only where a hook would have told, and where
/// the evidence is not [incomplete](Self::incomplete).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Gathered {
    /// What its socket had counted on the way to `ESTABLISHED`. TCP only.
    pub opened: Option<Opened>,
    /// What its socket had counted on the way to `CLOSED`. TCP only.
    pub closed: Option<Counts>,
    /// Retransmissions seen in `SYN_SENT`.
    pub syn_retransmits: u32,
    /// Retransmissions of its SYN-ACK seen, before it had a socket or in `SYN_RECEIVED`.
    pub synack_retransmits: u32,
    /// Its handshake cannot have begun before its SYN-ACKs could be counted.
    pub synacks_counted: bool,
    /// Retransmissions seen in any later state.
    pub retransmits: u32,
    /// The kernel handled a reset as one of the peer's.
    pub reset_received: bool,
    /// The reset sent nearest to its end.
    pub reset_sent: Option<ResetSent>,
    /// The last error the application was told of.
    pub error: Option<SocketError>,
    /// The last error that did not end it; 0 for none.
    pub soft_error: u32,
    /// A listener that it can have come from was closed shortly before it.
    pub listener_closed: bool,
    /// Something may have happened to it that is not here: events were lost, or there was no room to
    /// wait for what comes late.
    pub incomplete: bool,
}

/// What a socket had counted on the way to `ESTABLISHED`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Round trip time of the handshake in microseconds.
    pub rtt_us: Option<u32>,
    /// SYNs sent again by a client, SYN-ACKs by a server.
    pub retransmits: u32,
}

/// A reset that this side sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResetSent {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub mono_ns: u64,
    /// The kernel's reason by its number.
    pub reason: Option<u32>,
}

/// An error that the application was told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketError {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub mono_ns: u64,
    /// Not 0.
    pub errno: u32,
}

impl Gathered {
    /// Takes in what happened to a socket in `state`.
    pub(super) fn note(&mut self, event: &EvidenceEvent, state: State) {
        let mono_ns = event.mono_ns;
        match event.what {
            Evidence::Retransmit => {
                let count = match state {
                    State::SynSent => &mut self.syn_retransmits,
                    State::SynReceived => &mut self.synack_retransmits,
                    State::Established
                    | State::FinWait1
                    | State::FinWait2
                    | State::TimeWait
                    | State::Closed
                    | State::CloseWait
                    | State::LastAck
                    | State::Listen
                    | State::Closing
                    | State::NewSynReceived
                    | State::BoundInactive
                    | State::Unknown(_) => &mut self.retransmits,
                };
                *count = count.saturating_add(1);
            }
            // A closed socket ignores resets: one that comes later ended nothing.
            Evidence::ResetReceived => self.reset_received |= state != State::Closed,
            // A listener's resets answer strangers.
            Evidence::ResetSent { .. } if state == State::Listen => {}
            Evidence::ResetSent { reason } => {
                self.reset_sent = Some(ResetSent { mono_ns, reason });
            }
            Evidence::SocketError { error, soft_error } => {
                if error != 0 {
                    self.error = Some(SocketError {
                        mono_ns,
                        errno: error,
                    });
                }
                if soft_error != 0 {
                    self.soft_error = soft_error;
                }
            }
            Evidence::SynAckRetransmit { .. } => {
                self.synack_retransmits = self.synack_retransmits.saturating_add(1);
            }
        }
    }
}
