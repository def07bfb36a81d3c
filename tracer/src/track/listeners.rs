//! Who listens where: the owner a connection has until it is accepted.
//!
//! Only what cannot mislead is kept. A listener whose namespace or port is not known is left out, and
//! after a loss of events all are forgotten, because one of them may be gone or have got a rival.
//!
//! The latest that were closed are kept for a while: the kernel resets what waits in their queues.

use std::collections::hash_map::Entry as Slot;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use super::entry::Entry;
use crate::event::{Family, Protocol, Task};

/// Closed listeners kept.
const MAX_CLOSED: usize = 64;
/// More than the kernel takes to reset a full queue.
const CLOSING_NS: u64 = 1_000_000_000;

#[derive(Default)]
pub(super) struct Listeners {
    by_port: HashMap<(u32, u16), Vec<Listening>>,
    /// In the order of closing.
    closed: VecDeque<ClosedListener>,
}

struct ClosedListener {
    key: (u32, u16),
    family: Family,
    addr: IpAddr,
    closed_ns: u64,
}

struct Listening {
    sk: u64,
    family: Family,
    protocol: Protocol,
    addr: IpAddr,
    task: Option<Task>,
}

impl Listeners {
    /// A listener was born; `task` called `listen`.
    pub(super) fn add(&mut self, sk: u64, listener: &Entry, task: Option<Task>) {
        if let Some(key) = key(listener) {
            self.by_port.entry(key).or_default().push(Listening {
                sk,
                family: listener.family,
                protocol: listener.protocol,
                addr: listener.local.wire_addr(),
                task,
            });
        }
    }

    /// A listener is gone.
    pub(super) fn remove(&mut self, sk: u64, listener: &Entry) {
        let Some(key) = key(listener) else { return };
        if let Slot::Occupied(mut slot) = self.by_port.entry(key) {
            slot.get_mut().retain(|other| other.sk != sk);
            if slot.get().is_empty() {
                slot.remove();
            }
        }
    }

    /// A listener was closed, one that was there before the trace as well.
    pub(super) fn closed(&mut self, listener: &Entry, closed_ns: u64) {
        let Some(key) = key(listener) else { return };
        if self.closed.len() >= MAX_CLOSED {
            self.closed.pop_front();
        }
        self.closed.push_back(ClosedListener {
            key,
            family: listener.family,
            addr: listener.local.wire_addr(),
            closed_ns,
        });
    }

    /// Whether a listener that `child` can have come from was closed shortly before `now_ns`.
    pub(super) fn closed_before(&self, child: &Entry, now_ns: u64) -> bool {
        let Some(key) = key(child) else { return false };
        let addr = child.local.wire_addr();
        self.closed.iter().any(|listener| {
            listener.key == key
                && listener.family == child.family
                && (listener.addr == addr || listener.addr.is_unspecified())
                && now_ns
                    .checked_sub(listener.closed_ns)
                    .is_some_and(|ns| ns <= CLOSING_NS)
        })
    }

    /// What is known may no longer be true.
    pub(super) fn forget_all(&mut self) {
        self.by_port.clear();
    }

    /// The process of the listener that `child` came out of, where there is but one it can be.
    ///
    /// A child is a clone of its listener, so it has the same family of socket and the same protocol;
    /// a listener bound to the very address comes before a wildcard. Before Linux 6.15 the address of a
    /// newborn child is still that of its listener, which may be the wildcard.
    pub(super) fn owner_of(&self, child: &Entry) -> Option<Task> {
        let addr = child.local.wire_addr();
        let mut specific = Candidates::None;
        let mut wildcard = Candidates::None;
        for listener in self.by_port.get(&key(child)?)? {
            if listener.family != child.family || listener.protocol != child.protocol {
                continue;
            }
            if listener.addr == addr {
                specific.add(listener.task);
            } else if listener.addr.is_unspecified() {
                wildcard.add(listener.task);
            }
        }
        match (specific, wildcard) {
            (Candidates::One(task), _) | (Candidates::None, Candidates::One(task)) => Some(task),
            (Candidates::Unclear | Candidates::None, _) => None,
        }
    }
}

fn key(entry: &Entry) -> Option<(u32, u16)> {
    (entry.local.port != 0).then_some((entry.netns?, entry.local.port))
}

#[derive(Clone, Copy)]
enum Candidates {
    None,
    One(Task),
    /// Of several processes, or of an unknown one.
    Unclear,
}

impl Candidates {
    fn add(&mut self, task: Option<Task>) {
        *self = match (*self, task) {
            (Self::None, Some(task)) => Self::One(task),
            (Self::One(first), Some(task)) if first.pid == task.pid => Self::One(first),
            _ => Self::Unclear,
        };
    }
}
