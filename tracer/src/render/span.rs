//! What can be said of how long the states of a connection lasted.
//!
//! A diagnosis tells what is known of each state. Where that is only the stay of the socket, which is a
//! part of the connection's (see [`super::unseen`]), or where the trace ended first, it is a minimum.

use super::unseen;
use crate::diagnose::{Diagnosis, SpanEvidence, StateSpan};
use crate::state::State;
use crate::track::{Connection, Ending};

/// A state and how long it lasted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// As diagnosed.
    pub(crate) known: StateSpan,
    /// What its duration is worth.
    pub(crate) lasted: Lasted,
}

/// How long a state lasted, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lasted {
    /// From its beginning to its end.
    Exactly(u64),
    /// Longer than this, or as long.
    AtLeast(u64),
    /// Its beginning or its end is not known.
    NotKnown,
    /// The connection is over: there is nothing to measure.
    Over,
}

impl Lasted {
    pub(crate) fn ns(self) -> Option<u64> {
        match self {
            Self::Exactly(ns) | Self::AtLeast(ns) => Some(ns),
            Self::NotKnown | Self::Over => None,
        }
    }
}

impl Span {
    /// When it ended, or until when it is known to have lasted.
    pub(crate) fn until_ns(&self) -> Option<u64> {
        self.known.since_ns?.checked_add(self.lasted.ns()?)
    }

    pub(crate) fn is_inferred(&self) -> bool {
        self.known.evidence == SpanEvidence::Inferred
    }
}

/// The states of a connection in order.
pub(crate) fn spans(
    conn: &Connection,
    diagnosis: &Diagnosis,
    ending: Ending,
    now_ns: u64,
) -> Vec<Span> {
    let states = diagnosis.states.iter();
    let nexts = states.clone().skip(1).map(Some).chain([None]);
    states
        .zip(nexts)
        .map(|(&known, next)| Span {
            known,
            lasted: lasted(conn, &known, next, ending, now_ns),
        })
        .collect()
}

fn lasted(
    conn: &Connection,
    known: &StateSpan,
    next: Option<&StateSpan>,
    ending: Ending,
    now_ns: u64,
) -> Lasted {
    let now_ns = next.is_none().then_some(now_ns);
    let cut_off_ns = now_ns.filter(|_| conn.is_cut_off(ending));
    // Where it is known when the connection went on, the socket was there until then.
    let has_end =
        known.state == State::FinWait2 && next.is_some_and(|next| next.since_ns.is_some());
    let part_ns = part_seen(conn, known).filter(|_| !has_end);
    match known.duration_ns {
        Some(ns) if cut_off_ns.is_some() || part_ns == Some(ns) || known.is_minimum => {
            Lasted::AtLeast(ns)
        }
        Some(ns) => Lasted::Exactly(ns),
        None if now_ns.is_some() && ending == Ending::Closed && known.state == State::Closed => {
            Lasted::Over
        }
        None if known.evidence == SpanEvidence::Inferred => Lasted::NotKnown,
        None => cut_off_ns
            .and_then(|now_ns| Some(now_ns.saturating_sub(known.since_ns?)))
            .or(part_ns)
            .map_or(Lasted::NotKnown, Lasted::AtLeast),
    }
}

/// How long the socket was in the state, where the connection was in it for longer.
fn part_seen(conn: &Connection, known: &StateSpan) -> Option<u64> {
    let since_ns = known.since_ns?;
    let mut stays = conn.steps.iter().zip(conn.steps.iter().skip(1));
    let (_, next) = stays
        .find(|(step, _)| step.state == known.state && step.since_ns == Some(since_ns))
        .filter(|(step, next)| {
            let after = conn.evidence.after;
            unseen::is_minimum(after, conn.role, conn.protocol, step.state, next.state)
        })?;
    next.since_ns?.checked_sub(since_ns)
}
