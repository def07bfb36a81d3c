//! Counts and times of all connections: bounded, however many there are.
//!
//! They are those of the documented timeline, not of the tracepoint: a state that the kernel does not
//! report is there, marked as inferred. States without a name are left out.

use std::collections::BTreeMap;

use crate::diagnose::{Diagnosis, SpanEvidence};
use crate::event::StateEvent;
use crate::render::span::{Lasted, spans};
use crate::state::State;
use crate::stats::Durations;
use crate::track::{Connection, Ending, Transition};

/// What the diagram and the histograms show.
#[derive(Debug, Default)]
pub(super) struct Stats {
    /// From one state to the next.
    pub(super) edges: BTreeMap<(State, State), Edge>,
    /// Stays in each state.
    pub(super) states: BTreeMap<State, Stays>,
    /// From the SYN of a client to `ESTABLISHED`.
    pub(super) handshakes: Times,
}

/// One transition of the documented timeline.
#[derive(Debug, Default)]
pub(super) struct Edge {
    pub(super) count: u64,
    /// Those of the count that follow from what was seen.
    pub(super) inferred: u64,
    /// Those of the inferred that nobody saw happen, at a time not known: it may be after the end of the run.
    pub(super) unseen: u64,
    /// Time in the state before.
    pub(super) before: Times,
}

/// Stays in one state.
#[derive(Debug, Default)]
pub(super) struct Stays {
    pub(super) count: u64,
    pub(super) inferred: u64,
    pub(super) polled: u64,
    /// Connections last seen in it, still open.
    pub(super) still_in: u64,
    /// Stays known from beginning to end.
    pub(super) exact: Times,
    /// Of how many only a part was seen.
    pub(super) at_least: u64,
}

impl Stats {
    /// Counts how a connection began: what it came from is in no timeline.
    pub(super) fn begin(&mut self, conn: &Connection, transition: &Transition) {
        let StateEvent { from, to, .. } = transition.event;
        let is_first = conn.from_birth && conn.steps.len() == 1;
        let is_named = |state| !matches!(state, State::Unknown(_));
        if is_first && is_named(from) && is_named(to) {
            self.edges.entry((from, to)).or_default().count += 1;
        }
    }

    /// Counts a connection at its end.
    pub(super) fn add(
        &mut self,
        conn: &Connection,
        diagnosis: &Diagnosis,
        ending: Ending,
        now_ns: u64,
    ) {
        let spans = spans(conn, diagnosis, ending, now_ns);
        let mut before: Option<(State, Option<u64>)> = None;
        for span in spans
            .iter()
            .filter(|span| !matches!(span.known.state, State::Unknown(_)))
        {
            let (state, lasted) = (span.known.state, span.lasted);
            let inferred = u64::from(span.known.evidence == SpanEvidence::Inferred);
            if let Some((from, stayed)) = before {
                let edge = self.edges.entry((from, state)).or_default();
                edge.count += 1;
                edge.inferred += inferred;
                let is_timeless = inferred > 0 && span.known.since_ns.is_none();
                edge.unseen += u64::from(is_timeless && state == State::Closed);
                if let Some(ns) = stayed {
                    edge.before.add(ns);
                    if (from, state) == (State::SynSent, State::Established) {
                        self.handshakes.add(ns);
                    }
                }
            }
            let stays = self.states.entry(state).or_default();
            stays.count += 1;
            stays.inferred += inferred;
            stays.polled += u64::from(span.known.evidence == SpanEvidence::Polled);
            match lasted {
                Lasted::Exactly(ns) => stays.exact.add(ns),
                Lasted::AtLeast(_) => stays.at_least += 1,
                Lasted::NotKnown | Lasted::Over => {}
            }
            let exactly = match lasted {
                Lasted::Exactly(ns) => Some(ns),
                Lasted::AtLeast(_) | Lasted::NotKnown | Lasted::Over => None,
            };
            before = Some((state, exactly));
        }
        if let (Ending::StillOpen, Some((state, _))) = (ending, before) {
            self.states.entry(state).or_default().still_in += 1;
        }
    }
}

/// How durations are spread.
#[derive(Debug, Default)]
pub(super) struct Times {
    /// For the quantiles.
    pub(super) all: Durations,
    /// By class of [`class`].
    pub(super) classes: BTreeMap<u32, u64>,
}

impl Times {
    fn add(&mut self, ns: u64) {
        self.all.add(ns);
        *self.classes.entry(class(ns)).or_default() += 1;
    }
}

/// Classes of a histogram people can read: from 1, 2 and 5 times a power of ten nanoseconds on, three
/// to a power; 0 is for what is below 1 ns.
fn class(ns: u64) -> u32 {
    let Some(power) = ns.checked_ilog10() else {
        return 0;
    };
    let lead = ns / 10_u64.pow(power);
    let third = u32::from(lead >= 2) + u32::from(lead >= 5);
    1 + 3 * power + third
}

/// Where a class begins, in nanoseconds.
pub(super) fn class_begin_ns(class: u32) -> u64 {
    let Some(index) = class.checked_sub(1) else {
        return 0;
    };
    let lead = [1, 2, 5].get(index as usize % 3).copied().unwrap_or(1);
    10_u64.saturating_pow(index / 3).saturating_mul(lead)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn classes_begin_at_round_numbers() {
        for (ns, begin_ns) in [
            (0, 0),
            (1, 1),
            (4, 2),
            (9, 5),
            (10, 10),
            (1_999_999, 1_000_000),
            (2_000_000, 2_000_000),
            (u64::MAX, 10_000_000_000_000_000_000),
        ] {
            assert_eq!(class_begin_ns(class(ns)), begin_ns, "{ns}");
        }
    }

    proptest! {
        #[test]
        fn a_class_holds_what_is_in_it(ns: u64) {
            let class = class(ns);
            prop_assert!(class_begin_ns(class) <= ns);
            let end = class_begin_ns(class + 1);
            prop_assert!(ns < end || end == u64::MAX || end < class_begin_ns(class));
        }
    }
}
