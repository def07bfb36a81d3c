//! Finds connections that are stuck while they still are.
//!
//! Constant work: a connection that enters a state worth watching is put at the end of one list, one that
//! leaves it is taken out, and whoever is at the front is due first, because the time allowed is the
//! same for all. What is due is to be compared with what the tracker knows by then.
//!
//! Bounded: no more than [`MAX_WAITING`] are watched at once; those beyond are counted.
//!
//! Known gap: a transition that a filter held back comes late, and its connection is then told of no
//! sooner than those that were put in the list before it.

use std::collections::HashMap;

use hashlink::LinkedHashMap;

use super::case::{Case, Stay};
use super::crowds::Crowds;
use super::{Limits, Told, is_watched, rules};
use crate::diagnose::{Diagnosis, Sources, diagnose};
use crate::event::{Endpoint, Protocol};
use crate::state::State;
use crate::track::{
    ConnId, Connection, Ending, HalfOpenConnection, Mini, MiniEnd, Role, Transition,
};

/// Connections watched at once: of the young ones only, since one that was told of is watched no more.
pub(super) const MAX_WAITING: usize = 1 << 18;
/// Half-open connections remembered as told of.
const MAX_HALF_OPEN: usize = 4096;
/// Retransmissions in a row that make a run. Fewer can look like one by chance.
const SHORTEST_RUN: u32 = 5;

/// Watches the selected connections.
pub struct Watch {
    after_ns: u64,
    /// The one that is due first at the front.
    waiting: LinkedHashMap<ConnId, Waiting>,
    /// Open connections that were told of.
    told: HashMap<ConnId, ToldOf>,
    /// Half-open connections that were told of, and when; the last ones.
    half_open: LinkedHashMap<Ends, u64>,
    crowds: Crowds,
    /// When transitions were last lost.
    lost_ns: Option<u64>,
    /// When evidence was last lost, which tells of mini-sockets.
    lost_evidence_ns: Option<u64>,
    unwatched: u64,
}

#[derive(Default)]
struct ToldOf {
    /// By which rules: one bit each.
    rules: u32,
    /// The process that leaks it.
    leaked_by: Option<u32>,
}

type Ends = (Option<u32>, Endpoint, Endpoint);

struct Waiting {
    at: At,
    state: State,
    since_ns: u64,
    is_minimum: bool,
}

/// Where the tracker knows a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    /// By the address of its socket.
    Socket(u64),
    /// By its ends: it was there before the trace, and nothing was heard of it since.
    Listed(Box<(Option<u32>, Endpoint, Endpoint)>),
    /// By the address of the mini-socket that goes on with it.
    Mini(u64),
}

/// A connection that has been in a state for long, unless the tracker knows better.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Where to look.
    pub at: At,
    /// Its identity.
    pub conn: ConnId,
    state: State,
    since_ns: u64,
    is_minimum: bool,
}

impl Watch {
    /// `after_ns`: how long a connection may be in a state, in nanoseconds. `limits`: those of the machine,
    /// as far as they are known.
    pub fn new(after_ns: u64, limits: Limits) -> Self {
        Self {
            after_ns,
            waiting: LinkedHashMap::new(),
            told: HashMap::new(),
            half_open: LinkedHashMap::new(),
            crowds: Crowds::new(limits),
            lost_ns: None,
            lost_evidence_ns: None,
            unwatched: 0,
        }
    }

    /// Takes in a transition of a selected connection; `conn` is as it is after it.
    pub fn transition(&mut self, conn: &Connection, transition: &Transition) {
        let event = &transition.event;
        if event.from != event.to {
            self.no_leak(conn.id);
            if event.from == State::FinWait2
                && let Some(mini) = orphan(conn)
                && mini.address != 0
            {
                // Only its socket is closed: it is due when it was.
                if let Some(waiting) = self.waiting.get_mut(&conn.id) {
                    waiting.at = At::Mini(mini.address);
                }
                return;
            }
            self.enter(conn, event.to, event.mono_ns, false);
        } else if conn.steps.len() == 2 && !conn.from_birth {
            // The first that is seen of it, and it was in the state before.
            self.enter(conn, event.to, event.mono_ns, true);
        }
    }

    /// A selected connection was found in a state that it may have been in for any time.
    pub fn found(&mut self, conn: &Connection, now_ns: u64) {
        if let Some(last) = conn.steps.last() {
            let since_ns = last.since_ns.unwrap_or(now_ns);
            self.enter(conn, last.state, since_ns, last.since_ns.is_none());
        }
    }

    fn enter(&mut self, conn: &Connection, state: State, since_ns: u64, is_minimum: bool) {
        // In any case: what is there is over.
        self.waiting.remove(&conn.id);
        let worth = conn.protocol == Protocol::Tcp && conn.role != Role::Listener;
        if !worth || !is_watched(state) {
            return;
        }
        if self.waiting.len() >= MAX_WAITING {
            self.unwatched = self.unwatched.saturating_add(1);
            return;
        }
        let at = if conn.sk == 0 {
            At::Listed(Box::new((conn.netns, conn.local, conn.remote)))
        } else {
            At::Socket(conn.sk)
        };
        let waiting = Waiting {
            at,
            state,
            since_ns,
            is_minimum,
        };
        self.waiting.insert(conn.id, waiting);
    }

    /// Nothing more will come of a connection.
    pub fn ended(&mut self, conn: &Connection) {
        self.no_leak(conn.id);
        self.told.remove(&conn.id);
        self.waiting.remove(&conn.id);
    }

    fn no_leak(&mut self, conn: ConnId) {
        let told = self.told.get_mut(&conn);
        if let Some(pid) = told.and_then(|told| told.leaked_by.take()) {
            self.crowds.leaks_no_more(pid);
        }
    }

    /// What the end of a connection says about many of them.
    pub fn count_end(
        &mut self,
        conn: &Connection,
        ending: Ending,
        diagnosis: &Diagnosis,
    ) -> Vec<Told> {
        self.crowds.ended(conn, ending, diagnosis)
    }

    /// The SYN-ACK of a half-open connection was sent again. It counts as stuck after the third time, or
    /// when it is known to have been half-open for the time allowed.
    pub fn half_open(&mut self, half_open: &HalfOpenConnection) -> Vec<Told> {
        let since_ns = half_open.born_ns.unwrap_or(half_open.first_ns);
        let lasted_ns = half_open.last_ns.saturating_sub(since_ns);
        let ends = (half_open.netns, half_open.local, half_open.remote);
        let is_new = self
            .half_open
            .get(&ends)
            .is_none_or(|told_ns| half_open.first_ns > *told_ns);
        let is_stuck = half_open.retransmits >= 3 || lasted_ns >= self.after_ns;
        if !is_new || !is_stuck {
            return Vec::new();
        }
        if self.half_open.len() >= MAX_HALF_OPEN {
            self.half_open.pop_front();
        }
        self.half_open.insert(ends, half_open.last_ns);
        let (by_itself, of_many) = self.crowds.half_open(half_open);
        let of_one = rules::half_open(half_open)
            .filter(|_| by_itself)
            .map(|hint| Told {
                hint,
                mono_ns: half_open.last_ns,
                conn: None,
                netns: half_open.netns,
                family: None,
                protocol: Protocol::Tcp,
                role: Role::Server,
                owner: half_open.owner,
                local: Some(half_open.local),
                remote: Some(half_open.remote),
                stay: Some(Stay {
                    state: State::SynReceived,
                    since_ns,
                    lasted_ns,
                    is_minimum: true,
                    began_before: half_open.born_ns.is_none(),
                    is_over: false,
                }),
                count: None,
                limit: None,
            });
        of_one.into_iter().chain(of_many).collect()
    }

    /// Transitions were lost.
    pub fn lost(&mut self, now_ns: u64) {
        self.lost_ns = Some(now_ns);
    }

    /// Evidence was lost.
    pub fn lost_evidence(&mut self, now_ns: u64) {
        self.lost_evidence_ns = Some(now_ns);
    }

    /// The kernel, asked at `now_ns`, still had a connection whose socket is closed. The hints about it if it
    /// was in `FIN_WAIT_2` for long by then: nothing else tells of those that are known by asking.
    pub fn answered(&mut self, conn: &Connection, sources: &Sources, now_ns: u64) -> Vec<Told> {
        if orphan(conn).is_none() {
            return Vec::new();
        }
        let steps = || conn.steps.iter().rev();
        let entered = steps().find(|step| step.state == State::FinWait2);
        let since_ns = entered.and_then(|step| step.since_ns);
        let closed_ns = steps().next().and_then(|closed| closed.since_ns);
        let Some(first_ns) = since_ns.or(closed_ns) else {
            return Vec::new();
        };
        if now_ns.saturating_sub(first_ns) < self.after_ns {
            return Vec::new();
        }
        let due = Due {
            at: At::Socket(conn.sk),
            conn: conn.id,
            state: State::FinWait2,
            since_ns: first_ns,
            is_minimum: since_ns.is_none(),
        };
        self.stuck(&due, conn, sources, now_ns)
    }

    /// The next connection whose time is over at `now_ns`.
    pub fn due(&mut self, now_ns: u64) -> Option<Due> {
        let (_, first) = self.waiting.front()?;
        if now_ns.saturating_sub(first.since_ns) < self.after_ns {
            return None;
        }
        let (conn, first) = self.waiting.pop_front()?;
        Some(Due {
            at: first.at,
            conn,
            state: first.state,
            since_ns: first.since_ns,
            is_minimum: first.is_minimum,
        })
    }

    /// The hints about a connection that was [due](Self::due), `conn` being what the tracker has under the
    /// address of its socket. None if it has moved on.
    pub fn stuck(
        &mut self,
        due: &Due,
        conn: &Connection,
        sources: &Sources,
        now_ns: u64,
    ) -> Vec<Told> {
        let mini = orphan(conn);
        let state = match mini {
            Some(mini) => Some(mini.state),
            None => conn.steps.last().map(|last| last.state),
        };
        if conn.id != due.conn || state != Some(due.state) {
            return Vec::new();
        }
        let stay = Stay {
            state: due.state,
            since_ns: due.since_ns,
            lasted_ns: now_ns.saturating_sub(due.since_ns),
            is_minimum: true,
            began_before: due.is_minimum,
            is_over: false,
        };
        let diagnosis = diagnose(conn, Ending::StillOpen, sources);
        let case = Case {
            conn,
            diagnosis: &diagnosis,
            stay: Some(stay),
        };
        let mut told: Vec<Told> = rules::of_stay(due.state)
            .filter(|rule| !self.was_told(conn.id, rule.name))
            .filter_map(|rule| rule.hint(&case))
            .map(|hint| Told::about(conn, hint, Some(stay), now_ns))
            .collect();
        // What was asked for is there, whatever was lost.
        let lost_ns = match mini {
            Some(mini) if mini.polled => None,
            Some(_) => self.lost_ns.max(self.lost_evidence_ns),
            None => self.lost_ns,
        };
        let is_certain = lost_ns.is_none_or(|lost_ns| lost_ns < due.since_ns);
        for told in &mut told {
            self.note(conn.id, told.hint.name);
            if !is_certain {
                told.hint
                    .text
                    .push_str("; events were lost, it may have moved on");
            }
        }
        if due.state == State::CloseWait && !told.is_empty() {
            told.extend(self.leak(conn, due.since_ns, now_ns));
        }
        told
    }

    /// A segment of a selected connection was sent again. The hint, once, when its retransmissions have
    /// been coming in one run for long.
    pub fn retransmitted(&mut self, conn: &Connection, sources: &Sources) -> Option<Told> {
        let run = conn.evidence.backoff?;
        let state = conn.steps.last()?.state;
        if conn.protocol != Protocol::Tcp
            || !matches!(state, State::Established | State::CloseWait)
            || run.count < SHORTEST_RUN
            || run.last_ns.saturating_sub(run.first_ns) < self.after_ns
            || self.was_told(conn.id, rules::DATA_UNACKNOWLEDGED)
        {
            return None;
        }
        let diagnosis = diagnose(conn, Ending::StillOpen, sources);
        let hint = rules::named(rules::DATA_UNACKNOWLEDGED)?.hint(&Case {
            conn,
            diagnosis: &diagnosis,
            stay: None,
        })?;
        self.note(conn.id, hint.name);
        Some(Told::about(conn, hint, None, run.last_ns))
    }

    fn leak(&mut self, conn: &Connection, since_ns: u64, now_ns: u64) -> Option<Told> {
        self.told.entry(conn.id).or_default().leaked_by = conn.owner.pid;
        let (mut many, all_since_ns) = self.crowds.leaks(conn, since_ns, self.after_ns, now_ns)?;
        if self.lost_ns.is_some_and(|lost_ns| lost_ns >= all_since_ns) {
            many.hint
                .text
                .push_str("; events were lost, some may have moved on");
        }
        Some(many)
    }

    fn was_told(&self, conn: ConnId, name: &str) -> bool {
        self.told
            .get(&conn)
            .is_some_and(|told| told.rules & rules::bit(name) != 0)
    }

    fn note(&mut self, conn: ConnId, name: &str) {
        self.told.entry(conn).or_default().rules |= rules::bit(name);
    }

    /// Stays, and groups of connections, that were not watched because there were too many at once.
    pub fn unwatched(&self) -> u64 {
        self.unwatched.saturating_add(self.crowds.forgotten)
    }
}

/// What goes on in `FIN_WAIT_2` with a connection whose socket is closed.
fn orphan(conn: &Connection) -> Option<Mini> {
    let is_closed = conn
        .steps
        .last()
        .is_some_and(|last| last.state == State::Closed);
    let mini = conn.evidence.after.mini()?;
    (is_closed && mini.state == State::FinWait2 && mini.end == MiniEnd::NotSeen).then_some(mini)
}
