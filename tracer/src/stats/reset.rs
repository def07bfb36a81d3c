//! Resets by reason.

use super::Sum;
use crate::diagnose::{Diagnosis, Verdict};
use crate::state::State;
use crate::track::Connection;

/// Why a reset was sent, or where one arrived.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reset {
    /// This side sent it; the kernel's reason, if it gave one.
    Sent(Option<String>),
    /// The peer sent it, and it arrived in a state.
    Received(State),
}

impl Reset {
    /// The reset that ended a connection, if one did.
    pub(super) fn of(conn: &Connection, diagnosis: &Diagnosis) -> Option<Self> {
        let mut states = conn.steps.iter().rev().map(|step| step.state);
        let left = states.find(|state| *state != State::Closed);
        match diagnosis.verdict {
            Verdict::ResetByUs => Some(Self::Sent(diagnosis.reset_reason.clone())),
            Verdict::ResetByPeer | Verdict::Refused => left.map(Self::Received),
            Verdict::AcceptQueueLost
            | Verdict::Aborted
            | Verdict::Closed
            | Verdict::Cancelled
            | Verdict::TimedOut
            | Verdict::Unreachable
            | Verdict::Open
            | Verdict::Listener
            | Verdict::Unknown => diagnosis
                .reset_reason
                .clone()
                .map(|reason| Self::Sent(Some(reason))),
        }
    }
}

/// How many there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count(pub u64);

impl Sum for Count {
    const MEASURES: usize = 1;

    fn weight(&self, _measure: usize) -> u64 {
        self.0
    }

    fn add(&mut self, other: &Self) {
        self.0 = self.0.saturating_add(other.0);
    }
}
