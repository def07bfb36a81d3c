//! What is gathered of a connection beside its states: the ground that a verdict stands on.
//!
//! Most connections have nothing but what the socket had counted when it was established, so an open
//! one keeps that alone in its place, and the rest in a box that is made when something happens.

use super::mini::{After, Mini};
use crate::event::{AtClose, Counts, Evidence, EvidenceEvent};
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
    /// What else its socket was then. TCP only.
    pub at_close: Option<AtClose>,
    /// Retransmissions seen in `SYN_SENT`.
    pub syn_retransmits: u32,
    /// Retransmissions of its SYN-ACK seen, before it had a socket or in `SYN_RECEIVED`.
    pub synack_retransmits: u32,
    /// Its handshake cannot have begun before its SYN-ACKs could be counted.
    pub synacks_counted: bool,
    /// When its SYN arrived (`CLOCK_MONOTONIC`, ns), if that was seen: a server's, which has no socket before
    /// the handshake is complete.
    pub half_open_ns: Option<u64>,
    /// It was found half-open by asking the kernel.
    pub half_open_polled: bool,
    /// What the kernel went on with when the socket was closed.
    pub after: After,
    /// Retransmissions seen in any later state.
    pub retransmits: u32,
    /// The last run of these.
    pub backoff: Option<Backoff>,
    /// The kernel handled a reset as one of the peer's.
    pub reset_received: bool,
    /// The reset sent nearest to its end.
    pub reset_sent: Option<ResetSent>,
    /// The last error the application was told of.
    pub error: Option<SocketError>,
    /// The last error that did not end it; 0 for none.
    pub soft_error: u32,
    /// The kernel told it of an error while it waited for an answer to its SYN, without saying which. That is
    /// what an ICMP message does which comes while `connect` holds the socket: its error is stored after the
    /// report (`tcp_v4_err`), and gone once the application reads it with `SO_ERROR`. Where the message itself could be
    /// read, [`Self::soft_error`] holds it.
    pub syn_error_told: bool,
    /// It was there before the trace, and nobody had accepted it then: an established connection of a listener
    /// that no file led to.
    pub queued_when_listed: bool,
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

/// Retransmissions whose intervals double, as they do while the kernel's timer repeats a segment and
/// nothing is acknowledged; an acknowledgment begins the intervals anew (`tcp_retransmit_timer`). Two
/// that follow each other in any other way begin a new run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// First of the run (`CLOCK_MONOTONIC`, ns).
    pub first_ns: u64,
    /// Last of the run, which is the last seen at all.
    pub last_ns: u64,
    /// How many, 1 or more.
    pub count: u32,
    /// Between the last two.
    interval_ns: u64,
}

impl Backoff {
    /// `TCP_RTO_MAX`: intervals double no further.
    const LONGEST_NS: u64 = 120_000_000_000;

    fn first(mono_ns: u64) -> Self {
        Self {
            first_ns: mono_ns,
            last_ns: mono_ns,
            count: 1,
            interval_ns: 0,
        }
    }

    /// With one more retransmission.
    fn then(self, mono_ns: u64) -> Self {
        let interval_ns = mono_ns.saturating_sub(self.last_ns);
        let goes_on = self.count == 1 || self.is_followed_by(interval_ns);
        Self {
            first_ns: if goes_on { self.first_ns } else { self.last_ns },
            last_ns: mono_ns,
            count: if goes_on {
                self.count.saturating_add(1)
            } else {
                2
            },
            interval_ns,
        }
    }

    /// The kernel's timers are up to an eighth late.
    fn is_followed_by(self, interval_ns: u64) -> bool {
        let expected_ns = self.interval_ns.saturating_mul(2).min(Self::LONGEST_NS);
        let late_ns = expected_ns / 6;
        interval_ns.abs_diff(expected_ns) <= late_ns
    }
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
            Evidence::Retransmit { .. } => {
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
                    | State::Unknown(_) => {
                        self.backoff = Some(match self.backoff {
                            Some(run) => run.then(mono_ns),
                            None => Backoff::first(mono_ns),
                        });
                        &mut self.retransmits
                    }
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
                self.syn_error_told |= state == State::SynSent && error == 0;
            }
            Evidence::SynAckRetransmit { .. } => {
                self.synack_retransmits = self.synack_retransmits.saturating_add(1);
            }
            Evidence::HandedOver { state } => {
                self.after = After::Mini(Mini::born(0, state, mono_ns));
            }
            Evidence::MiniBorn { mini, state } => {
                self.after = After::Mini(Mini::born(mini, state, mono_ns));
            }
            // Not about the socket, or not told of it afterwards.
            Evidence::RequestBorn { .. }
            | Evidence::Destroyed
            | Evidence::MiniTimer { .. }
            | Evidence::MiniEnd { .. } => {}
        }
    }
}
