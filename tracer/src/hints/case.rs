//! What a rule is asked about, and the questions it asks.

use crate::diagnose::Diagnosis;
use crate::state::State;
use crate::track::{Backoff, Connection, OwnerSource, Role};

/// A connection in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stay {
    /// The state.
    pub state: State,
    /// When it was entered (`CLOCK_MONOTONIC`, ns), or first seen in it.
    pub since_ns: u64,
    /// Nanoseconds from then on.
    pub lasted_ns: u64,
    /// It was in the state before `since_ns`, or is so still.
    pub is_minimum: bool,
    /// It was in the state before `since_ns`.
    pub began_before: bool,
    /// It has left the state.
    pub is_over: bool,
}

/// A connection, what is known of it, and the stay in question.
pub(super) struct Case<'a> {
    pub(super) conn: &'a Connection,
    pub(super) diagnosis: &'a Diagnosis,
    pub(super) stay: Option<Stay>,
}

impl Case<'_> {
    /// The last retransmissions of data or FIN.
    pub(super) fn backoff(&self) -> Option<Backoff> {
        self.conn.evidence.backoff
    }

    /// Retransmissions of the present run, if the last was made in the stay in question.
    pub(super) fn resent_in_stay(&self) -> Option<u32> {
        let (stay, backoff) = (self.stay?, self.backoff()?);
        (backoff.last_ns >= stay.since_ns).then_some(backoff.count)
    }

    /// Known not to have sent anything again in the stay in question.
    pub(super) fn nothing_resent_in_stay(&self) -> bool {
        self.diagnosis.retransmits.is_some() && self.resent_in_stay().is_none()
    }

    /// It came out of a listener, and the process that accepted it is not known.
    pub(super) fn is_not_accepted(&self) -> bool {
        self.conn.role == Role::Server && self.conn.owner.source == OwnerSource::Listener
    }

    /// The state that it is in, or was in last before `CLOSED`.
    pub(super) fn last_state(&self) -> Option<State> {
        self.conn
            .steps
            .iter()
            .rev()
            .map(|step| step.state)
            .find(|state| *state != State::Closed)
    }
}
