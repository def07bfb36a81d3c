//! What a run comes to in numbers: for `tracer summary` and for the report.
//!
//! Pure: transitions and ends of connections in, sums out. Memory is bounded however long the run:
//! durations go into histograms ([`Durations`]), keys into [`Ranking`]s that put the small ones together
//! when there are too many, single connections into lists of the [`Longest`]. What is not named one by
//! one is still in the sums.

mod durations;
mod held;
mod longest;
mod ranking;
mod reset;
mod share;

use std::net::IpAddr;

use crate::diagnose::{Diagnosis, SpanEvidence};
use crate::event::{Comm, Endpoint};
use crate::render::span::{Lasted, Span, spans};
use crate::render::unseen;
use crate::session::Verdicts;
use crate::state::State;
use crate::track::{ConnId, Connection, Ending, Legality, Owner, Role, Transition};

pub use durations::Durations;
pub use held::{Held, LONG_HELD_NS, Process};
pub use longest::Longest;
pub use ranking::{Others, Ranked, Ranking, Sum};
pub use reset::{Count, Reset};
pub use share::{Share, ShareBy, service_port};

/// Keys that a [`Ranking`] keeps one by one.
pub const KEYS: usize = 10_000;
/// Pairs of states that are told apart: the kernel has far fewer transitions.
const EDGES: usize = 256;
/// States that are told apart, of which the kernel has 13.
const STATES: usize = 64;

/// All that is counted.
#[derive(Clone, Debug)]
pub struct Stats {
    /// Transitions, from one state to another.
    pub edges: Ranking<(State, State), Edge>,
    /// Time in each state, of connections that are over or forgotten or still open. No listeners.
    pub states: Ranking<State, StateTimes>,
    /// What became of all connections and listeners.
    pub verdicts: Verdicts,
    /// Connections by the peer's address, a v4-mapped one as IPv4.
    pub remotes: Ranking<IpAddr, Share>,
    /// Connections by the port they are to ([`service_port`]).
    pub ports: Ranking<Option<u16>, Share>,
    /// Connections by the command name of their process; `None` where no owner is known.
    pub processes: Ranking<Option<Comm>, Share>,
    /// Handshakes that were completed: the time until then.
    pub handshakes: Longest<Handshake>,
    /// Resets that ended a connection or kept it from being one.
    pub resets: Ranking<Reset, Count>,
    /// Connections known to have been in `CLOSE_WAIT` when the run ended or they were forgotten.
    pub held: Ranking<Process, Held>,
    /// Connections by how many segments were sent again.
    pub retransmits: Longest<Retransmitting>,
}

/// One kind of transition.
#[derive(Clone, Debug, Default)]
pub struct Edge {
    /// How many.
    pub count: u64,
    /// Of these, unknown to both the RFC and Linux ([`Legality::Unexpected`]).
    pub unexpected: u64,
    /// Time in the state left, where the socket was in it for as long as the connection.
    pub exact: Durations,
    /// Where the connection was in it for longer.
    pub minimum: Durations,
}

impl Sum for Edge {
    const MEASURES: usize = 1;

    fn weight(&self, _measure: usize) -> u64 {
        self.count
    }

    fn add(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.unexpected = self.unexpected.saturating_add(other.unexpected);
        self.exact.add_all(&other.exact);
        self.minimum.add_all(&other.minimum);
    }
}

/// How long a state lasted, apart by what is known of it.
#[derive(Clone, Debug, Default)]
pub struct StateTimes {
    /// Reported by the kernel, from its beginning to its end.
    pub measured: Durations,
    /// Inferred from other measurements, or seen by asking at intervals.
    pub estimated: Durations,
    /// It lasted longer than this: a part was out of sight, or the trace ended first.
    pub minimum: Durations,
    /// Its beginning or its end is not known.
    pub unknown: u64,
}

impl Sum for StateTimes {
    const MEASURES: usize = 1;

    fn weight(&self, _measure: usize) -> u64 {
        let known = self.measured.count() + self.estimated.count() + self.minimum.count();
        known.saturating_add(self.unknown)
    }

    fn add(&mut self, other: &Self) {
        self.measured.add_all(&other.measured);
        self.estimated.add_all(&other.estimated);
        self.minimum.add_all(&other.minimum);
        self.unknown = self.unknown.saturating_add(other.unknown);
    }
}

/// One handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// Whose.
    pub who: Who,
    /// Inferred from the round trip, not measured.
    pub is_estimate: bool,
    /// SYNs of a client or SYN-ACKs of a server sent again.
    pub retransmits: Option<u32>,
}

/// What one connection had to send again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retransmitting {
    /// Which.
    pub who: Who,
    /// SYNs.
    pub syn: Option<u32>,
    /// SYN-ACKs.
    pub synack: Option<u32>,
    /// Data and FINs.
    pub data: Option<u32>,
}

/// A connection, as far as a row names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Who {
    /// Its identity.
    pub id: ConnId,
    /// Its part.
    pub role: Role,
    /// This side.
    pub local: Endpoint,
    /// The other side.
    pub remote: Endpoint,
    /// Its process.
    pub owner: Owner,
}

impl Who {
    fn is(conn: &Connection) -> Self {
        Self {
            id: conn.id,
            role: conn.role,
            local: conn.local,
            remote: conn.remote,
            owner: conn.owner,
        }
    }
}

impl Stats {
    /// Nothing counted yet. `rows` is how many of the longest and the most are kept.
    pub fn new(rows: usize) -> Self {
        Self {
            edges: Ranking::new(EDGES),
            states: Ranking::new(STATES),
            verdicts: Verdicts::default(),
            remotes: Ranking::new(KEYS),
            ports: Ranking::new(KEYS),
            processes: Ranking::new(KEYS),
            handshakes: Longest::new(rows),
            resets: Ranking::new(KEYS),
            held: Ranking::new(KEYS),
            retransmits: Longest::new(rows),
        }
    }

    /// Counts a transition; `conn` is as it is after it.
    pub fn transition(&mut self, conn: &Connection, transition: &Transition) {
        let event = &transition.event;
        let edge = self.edges.entry((event.from, event.to));
        edge.count = edge.count.saturating_add(1);
        edge.unexpected += u64::from(transition.legality == Legality::Unexpected);
        if let Some(ns) = transition.in_state_ns {
            if unseen::is_minimum(
                conn.evidence.after,
                conn.role,
                event.protocol,
                event.from,
                event.to,
            ) {
                edge.minimum.add(ns);
            } else {
                edge.exact.add(ns);
            }
        }
    }

    /// Counts a connection or listener of which nothing more will come; `now_ns` is when that was found.
    pub fn ended(&mut self, conn: &Connection, diagnosis: &Diagnosis, ending: Ending, now_ns: u64) {
        self.verdicts.add(diagnosis.verdict);
        if conn.role == Role::Listener {
            return;
        }
        let process = Process::of(conn);
        self.remotes
            .entry(conn.remote.wire_addr())
            .add_connection(diagnosis);
        self.ports
            .entry(service_port(conn))
            .add_connection(diagnosis);
        self.processes.entry(process.comm).add_connection(diagnosis);
        if let Some(reset) = Reset::of(conn, diagnosis) {
            self.resets.entry(reset).0 += 1;
        }

        let spans = spans(conn, diagnosis, ending, now_ns);
        for span in &spans {
            self.time_in_state(span);
        }
        self.handshake(conn, diagnosis, &spans);
        if let Some(last) = spans.last()
            && last.known.state == State::CloseWait
            && conn.is_cut_off(ending)
        {
            let since_known = last.known.since_ns.is_some();
            let held = self.held.entry(process);
            held.add_one(last.lasted.ns(), since_known);
        }
        let (again, _) = share::retransmits(diagnosis);
        if again > 0 {
            self.retransmits.offer(again, || Retransmitting {
                who: Who::is(conn),
                syn: diagnosis.syn_retransmits,
                synack: diagnosis.synack_retransmits,
                data: diagnosis.retransmits,
            });
        }
    }

    fn time_in_state(&mut self, span: &Span) {
        if span.lasted == Lasted::Over || matches!(span.known.state, State::Closed | State::Listen)
        {
            return;
        }
        let times = self.states.entry(span.known.state);
        match (span.lasted, span.known.evidence) {
            (Lasted::Exactly(ns), SpanEvidence::Observed) => times.measured.add(ns),
            (Lasted::Exactly(ns), SpanEvidence::Polled | SpanEvidence::Inferred) => {
                times.estimated.add(ns);
            }
            (Lasted::AtLeast(ns), _) => times.minimum.add(ns),
            (Lasted::NotKnown | Lasted::Over, _) => times.unknown += 1,
        }
    }

    /// A handshake that led to `ESTABLISHED`, if its time is known.
    fn handshake(&mut self, conn: &Connection, diagnosis: &Diagnosis, spans: &[Span]) {
        let [first, second, ..] = spans else { return };
        let Lasted::Exactly(ns) = first.lasted else {
            return;
        };
        if second.known.state != State::Established {
            return;
        }
        let retransmits = match (conn.role, first.known.state) {
            (Role::Client, State::SynSent) => diagnosis.syn_retransmits,
            (Role::Server, State::SynReceived) => diagnosis.synack_retransmits,
            _ => return,
        };
        self.handshakes.offer(ns, || Handshake {
            who: Who::is(conn),
            is_estimate: first.known.evidence != SpanEvidence::Observed,
            retransmits,
        });
    }
}
