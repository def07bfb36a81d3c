//! Events to connections: identity, role, owner, time in each state.
//!
//! Sans-IO: [`Tracker::handle`] takes an event and tells a [`Sink`] what follows from it.
//!
//! The kernel names a connection by the address of its socket, which it hands to the next connection
//! as soon as the socket is freed. So a life is bounded by evidence: it starts with a transition out of
//! `CLOSED` or, for a child, out of `LISTEN`; it ends with the one into `CLOSED`; and where an event
//! cannot belong to the life tracked (other ports, another namespace, a state that lies behind it), the
//! end was not seen and a new life starts. A duration is given only where both of its ends were seen.
//!
//! On Linux a connection is older than its socket, and outlives it. A server's is half-open before it has
//! one: it is known by its ends from its SYN on (`half_open`), and the socket takes that over. And the side
//! that closes first goes on in a mini-socket: the connection then waits for news of that (`waiting`), be
//! they from functions of the kernel or from asking it, which another part does.
//!
//! What explains a state change is often reported after it, so a connection that is closed waits a
//! moment for its evidence before its sink hears of its end ([`Tracker::handle_timeout`]).
//!
//! What was there before the trace is taken from the kernel's list of sockets, and waits there for its
//! first event (`snapshot`).
//!
//! Each socket tracked costs one compact `Entry` in a slab ordered by last touch (`sockets`); the [`Connection`] that
//! a sink is shown is filled in from it for that call.
//!
//! Known gaps: a connection whose listener shares its port with another process (`SO_REUSEPORT`) that
//! listened before the trace began is ascribed to the listener seen, until it is accepted. After a loss
//! of events an owner found before it is kept.

mod beside;
mod entry;
mod evidence;
mod follow;
mod half_open;
mod linger;
mod listeners;
mod mini;
mod places;
mod recent;
mod snapshot;
mod sockets;
mod steps;
mod stray;
mod teller;
#[cfg(test)]
pub(crate) mod tests;
mod tracker;
mod waiting;

use std::sync::Arc;

use crate::event::{Comm, Endpoint, Family, Process, Protocol, StateEvent};
use crate::place::Place;
use crate::state::State;

pub use evidence::{Backoff, Gathered, Opened, ResetSent, SocketError};
pub use half_open::HALF_OPEN_WITHIN_NS;
pub use mini::{
    After, Continued, Mini, MiniEnd, MiniSight, TIME_WAIT_NS, TIMER_SLACK_NS, TimeWait,
};
pub use sockets::GROUP as WARM_GROUP;
pub use tracker::{Stats, Tracker, TrackerConfig};

/// Identity of a connection within one run: 1, 2, 3, ... in the order of first sight. A listener has
/// one as well. Survives reuse of the socket's address and of its ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(pub u64);

/// Which part a socket plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Opened actively (`connect`).
    Client,
    /// Came out of a listener.
    Server,
    /// Listens.
    Listener,
    /// Both sides connected to each other at once (simultaneous open, RFC 9293 section 3.5).
    Both,
    /// First seen in mid-life.
    Unknown,
}

/// How an owner became known, the most certain first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OwnerSource {
    /// Accepted the socket.
    Accept,
    /// Called `connect`.
    Connect,
    /// Called `listen`.
    Listen,
    /// Held it when the trace began.
    Snapshot,
    /// Called `close` or `shutdown`.
    Close,
    /// Owns the listener this socket came from; nobody has accepted it yet.
    Listener,
    /// Not known.
    Unknown,
}

/// The process a connection belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Process id, `None` while `source` is [`OwnerSource::Unknown`].
    pub pid: Option<u32>,
    /// Command name when it became known.
    pub comm: Option<Comm>,
    /// How it became known.
    pub source: OwnerSource,
}

/// What is known of the owner's process, of the moment when it became known, beside its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnerProcess {
    /// Process id in its own pid namespace.
    pub ns_pid: Option<u32>,
    /// Real user id in the initial user namespace.
    pub uid: Option<u32>,
    /// Where it belonged.
    pub place: Option<Arc<Place>>,
}

impl Owner {
    /// Nobody is known.
    pub const UNKNOWN: Self = Self {
        pid: None,
        comm: None,
        source: OwnerSource::Unknown,
    };

    /// The same for what comes out of the listener that it owns.
    fn as_listener(self) -> Self {
        match self.source {
            OwnerSource::Unknown => self,
            OwnerSource::Accept
            | OwnerSource::Connect
            | OwnerSource::Listen
            | OwnerSource::Snapshot
            | OwnerSource::Close
            | OwnerSource::Listener => Self {
                source: OwnerSource::Listener,
                ..self
            },
        }
    }
}

/// One state of a connection's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The state.
    pub state: State,
    /// When it was entered (`CLOCK_MONOTONIC`, ns); `None` if that was before the trace or in a gap, or
    /// if events were lost before it was left, so that it may have been entered once more.
    pub since_ns: Option<u64>,
}

/// Whether transitions of a connection are missing between those that were seen, or after them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gap {
    /// None is.
    #[default]
    None,
    /// As many were lost while it was open as it takes to change its states unnoticed.
    Possible,
    /// One is, in the middle.
    Certain,
}

/// One connection (or listener) and all that is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Identity.
    pub id: ConnId,
    /// Kernel address of its socket; 0 where it never had one, and while no event told it of one that was there
    /// before the trace.
    pub sk: u64,
    /// Inode number of the network namespace.
    pub netns: Option<u32>,
    /// Address family of the socket.
    pub family: Family,
    /// Transport protocol.
    pub protocol: Protocol,
    /// This side.
    pub local: Endpoint,
    /// The other side.
    pub remote: Endpoint,
    /// Which part it plays.
    pub role: Role,
    /// Whom it belongs to.
    pub owner: Owner,
    /// More of that process.
    pub owner_process: OwnerProcess,
    /// All processes that hold it (or its listener, by the source of the owner), where they are several:
    /// by process id, the owner first.
    pub holders: Option<Arc<Vec<Process>>>,
    /// Where its socket was made, or its listener if it was accepted: known at its end alone, see
    /// [`crate::event::AtClose::cgroup_id`].
    pub socket_place: Option<Arc<Place>>,
    /// Its states in order, the present or last one at the end.
    pub steps: Vec<Step>,
    /// Seen from its first transition on.
    pub from_birth: bool,
    /// Whether transitions of it are missing.
    pub gap: Gap,
    /// Transitions were lost since its last one, which may have been of it: whether it still is in its last state is
    /// not known.
    pub in_doubt: bool,
    /// It was there before the trace: when it was seen in its first step's state
    /// (`CLOCK_MONOTONIC`, ns), which had begun before.
    pub listed_ns: Option<u64>,
    /// The time this description is of: that of the transition, or of the moment its ending was found.
    /// A state entered and not left has lasted until then, but with [`Ending::EndUnseen`] at most.
    pub as_of_ns: u64,
    /// What is known beside the states.
    pub evidence: Gathered,
}

impl Connection {
    /// It was there before the trace, and had no transition in it.
    pub fn is_unchanged(&self) -> bool {
        self.listed_ns.is_some() && self.steps.len() == 1 && !self.in_doubt
    }

    /// It was in its last state when this was told ([`Self::as_of_ns`]), and may be in it for longer.
    pub fn is_cut_off(&self, ending: Ending) -> bool {
        match ending {
            Ending::AgedOut | Ending::StillOpen | Ending::NeverCompleted => !self.in_doubt,
            Ending::Closed | Ending::EndUnseen | Ending::MayBeOver => false,
        }
    }
}

/// Whether the standards know a transition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Legality {
    /// An edge of the state diagram of RFC 9293 section 3.3.2, or an event described beside it.
    Rfc,
    /// Not in the RFC, but Linux does it; the text says why.
    Linux(&'static str),
    /// Neither: worth a look.
    Unexpected,
}

/// A connection that has no socket yet, and whose SYN-ACK was sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HalfOpenConnection {
    /// Inode number of the network namespace.
    pub netns: Option<u32>,
    /// This side.
    pub local: Endpoint,
    /// The other side.
    pub remote: Endpoint,
    /// The process that owns the listener.
    pub owner: Owner,
    /// SYN-ACKs seen that were sent again.
    pub retransmits: u32,
    /// When its SYN arrived (`CLOCK_MONOTONIC`, ns), if that was seen, or follows from the kernel's answers.
    pub born_ns: Option<u64>,
    /// When it was first heard of: no later than when the first of these SYN-ACKs was sent.
    pub first_ns: u64,
    /// When the last one was.
    pub last_ns: u64,
}

/// One state transition of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// What the kernel reported.
    pub event: StateEvent,
    /// Time spent in `event.from`; `None` where its beginning was not seen.
    pub in_state_ns: Option<u64>,
    /// `in_state_ns` counts from when the trace found it in that state: it had been there for longer.
    pub since_listed: bool,
    /// What the standards say to it.
    pub legality: Legality,
    /// The transition does not follow from the one before: something between was not seen.
    pub after_gap: bool,
}

/// How the tracker's knowledge of a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The kernel closed the socket.
    Closed,
    /// Its socket address came back as another connection: its own end was not seen.
    EndUnseen,
    /// Forgotten to stay within the bound on memory.
    AgedOut,
    /// The trace stopped while it was open.
    StillOpen,
    /// The trace stopped, and its end was not seen, but may be among the transitions that were lost since its last; or
    /// it was half-open, and nothing was heard of it when the trace stopped.
    MayBeOver,
    /// It was half-open, and the final ACK of the handshake did not come: it never had a socket.
    NeverCompleted,
}

/// Who hears what the tracker finds.
pub trait Sink {
    /// A transition of a selected connection. `conn` is as it is after the transition.
    ///
    /// One that was held until the filter could decide comes later than it happened, before any later
    /// one of its connection: `conn.steps` ends with it, while its endpoints and owner are those known
    /// by now.
    fn transition(&mut self, conn: &Connection, transition: &Transition);
    /// A selected connection was there before the trace. It may be found to be one that is known already; then
    /// nothing more comes of it under this identity.
    fn found(&mut self, _conn: &Connection) {}
    /// A selected connection changed its state after its socket was closed. Comes after all its transitions.
    fn continued(&mut self, _conn: &Connection, _change: &Continued) {}
    /// Nothing more will come of a selected connection. For one that was closed this comes a moment
    /// after its last transition, with all the evidence.
    fn ended(&mut self, conn: &Connection, ending: Ending);
}
