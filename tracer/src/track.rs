//! Events to connections: identity, role, owner, time in each state.
//!
//! Sans-IO: [`Tracker::handle`] takes an event and tells a [`Sink`] what follows from it.

use crate::event::{Comm, Endpoint, Family, Protocol, StateEvent};
use crate::state::State;

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

/// One state of a connection's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The state.
    pub state: State,
    /// When it was entered (`CLOCK_MONOTONIC`, ns); `None` if that was before the trace or in a gap.
    pub since_ns: Option<u64>,
    /// What the standards say to the transition into it; `None` if that was not seen.
    pub entered: Option<Legality>,
}

/// One connection (or listener) and all that is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Identity.
    pub id: ConnId,
    /// Kernel address of its socket.
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
    /// Its states in order, the present or last one at the end.
    pub steps: Vec<Step>,
    /// Seen from its first transition on.
    pub from_birth: bool,
    /// A transition is missing somewhere in the middle.
    pub has_gap: bool,
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

/// One state transition of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// What the kernel reported.
    pub event: StateEvent,
    /// Time spent in `event.from`; `None` where its beginning was not seen.
    pub in_state_ns: Option<u64>,
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
}

/// Who hears what the tracker finds.
pub trait Sink {
    /// A transition of a selected connection. `conn` is as it is after the transition.
    fn transition(&mut self, conn: &Connection, transition: &Transition);
    /// Nothing more will come of a selected connection.
    fn ended(&mut self, conn: &Connection, ending: Ending);
}
