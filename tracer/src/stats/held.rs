//! Who holds connections that the peer has closed.

use super::Sum;
use crate::event::Comm;
use crate::track::{Connection, OwnerSource};

/// A process, as connections are put to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Process {
    /// Its id, in the initial pid namespace.
    pub pid: Option<u32>,
    /// Its command name.
    pub comm: Option<Comm>,
    /// It owns the listener; nobody has accepted the connection.
    pub not_accepted: bool,
}

impl Process {
    /// The owner of a connection.
    pub fn of(conn: &Connection) -> Self {
        Self {
            pid: conn.owner.pid,
            comm: conn.owner.comm,
            not_accepted: conn.owner.source == OwnerSource::Listener,
        }
    }
}

/// Connections still in `CLOSE_WAIT`: the peer has closed, the process has not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// How many.
    pub connections: u64,
    /// Of these, held for [`LONG_HELD_NS`] or longer.
    pub long: u64,
    /// Of all, those of which that is not known: their beginning was not seen, and what was seen is shorter.
    pub long_unknown: u64,
    /// Of all, those held since a time that is not known.
    pub since_unknown: u64,
    /// The longest time of those that are known.
    pub longest_ns: Option<u64>,
}

/// From here on a connection in `CLOSE_WAIT` looks like one that was forgotten: 10 s, far more than a
/// process that minds its sockets takes to close one.
pub const LONG_HELD_NS: u64 = 10_000_000_000;

impl Held {
    /// Takes in one held for a time, at least; `since_known`: its beginning was seen.
    pub(super) fn add_one(&mut self, held_ns: Option<u64>, since_known: bool) {
        let is_long = held_ns.is_some_and(|ns| ns >= LONG_HELD_NS);
        let since_known = since_known && held_ns.is_some();
        self.add(&Self {
            connections: 1,
            long: u64::from(is_long),
            long_unknown: u64::from(!is_long && !since_known),
            since_unknown: u64::from(!since_known),
            longest_ns: held_ns,
        });
    }
}

impl Sum for Held {
    const MEASURES: usize = 1;

    /// Long ones first, then those whose time is not known, then the others.
    fn weight(&self, _measure: usize) -> u64 {
        const FIRST: u64 = 1 << 40;
        const SECOND: u64 = 1 << 20;
        self.long
            .saturating_mul(FIRST)
            .saturating_add(self.since_unknown.saturating_mul(SECOND))
            .saturating_add(self.connections)
    }

    fn add(&mut self, other: &Self) {
        self.connections += other.connections;
        self.long += other.long;
        self.long_unknown += other.long_unknown;
        self.since_unknown += other.since_unknown;
        self.longest_ns = self.longest_ns.max(other.longest_ns);
    }
}
