//! Who listens where: the owner a connection has until it is accepted.
//!
//! Only what cannot mislead is kept. A listener whose namespace or port is not known is left out, and
//! after a loss of events all are forgotten, because one of them may be gone or have got a rival.
//!
//! The latest that were closed are kept for a while: the kernel resets what waits in their queues.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::hash_map::{Entry as Slot, HashMap};

use super::ConnId;
use super::entry::Entry;
use crate::event::{Endpoint, Family, Process, Protocol, Task};

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
    id: ConnId,
    family: Family,
    protocol: Protocol,
    addr: IpAddr,
    owner: Option<ListenerOwner>,
}

/// Whom a listener belongs to.
#[derive(Clone)]
pub(super) enum ListenerOwner {
    /// The process that called `listen`.
    Task(Task),
    /// Those that hold it, by process id.
    Holders(Arc<Vec<Process>>),
}

impl ListenerOwner {
    fn pids(&self) -> impl Iterator<Item = u32> {
        let (task, holders) = match self {
            Self::Task(task) => (Some(task.pid), None),
            Self::Holders(holders) => (None, Some(holders)),
        };
        let holders = holders.into_iter().flat_map(|holders| holders.iter());
        task.into_iter().chain(holders.map(|process| process.pid))
    }
}

impl Listeners {
    /// A listener was born or found.
    pub(super) fn add(&mut self, listener: &Entry, owner: Option<ListenerOwner>) {
        if let Some(key) = key(listener) {
            self.by_port.entry(key).or_default().push(Listening {
                id: listener.id,
                family: listener.family,
                protocol: listener.protocol,
                addr: listener.local.wire_addr(),
                owner,
            });
        }
    }

    /// A listener is gone.
    pub(super) fn remove(&mut self, listener: &Entry) {
        let Some(key) = key(listener) else { return };
        if let Slot::Occupied(mut slot) = self.by_port.entry(key) {
            slot.get_mut().retain(|other| other.id != listener.id);
            if slot.get().is_empty() {
                slot.remove();
            }
        }
    }

    /// Which of the listeners at the end of `listener` is whose is not known any more.
    pub(super) fn disown(&mut self, listener: &Entry) {
        let Some(key) = key(listener) else { return };
        let addr = listener.local.wire_addr();
        for other in self.by_port.get_mut(&key).into_iter().flatten() {
            if other.addr == addr && other.protocol == listener.protocol {
                other.owner = None;
            }
        }
    }

    /// Whether connections to an end come to a listener, of this family of socket if one is given.
    pub(super) fn serves(
        &self,
        netns: Option<u32>,
        protocol: Protocol,
        end: &Endpoint,
        family: Option<Family>,
    ) -> bool {
        let Some(netns) = netns else { return false };
        let addr = end.wire_addr();
        let at_port = self.by_port.get(&(netns, end.port));
        at_port.into_iter().flatten().any(|listener| {
            listener.protocol == protocol
                && family.is_none_or(|family| family == listener.family)
                && (listener.addr == addr || listener.addr.is_unspecified())
        })
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

    /// The owner of the listener that `child` came out of, where there is but one it can be.
    ///
    /// A child is a clone of its listener, so it has the same family of socket and the same protocol;
    /// a listener bound to the very address comes before a wildcard. Before Linux 6.15 the address of a
    /// newborn child is still that of its listener, which may be the wildcard.
    pub(super) fn owner_of(&self, child: &Entry) -> Option<ListenerOwner> {
        let addr = child.local.wire_addr();
        let mut specific = Candidates::None;
        let mut wildcard = Candidates::None;
        for listener in self.by_port.get(&key(child)?)? {
            if listener.family != child.family || listener.protocol != child.protocol {
                continue;
            }
            if listener.addr == addr {
                specific.add(listener.owner.as_ref());
            } else if listener.addr.is_unspecified() {
                wildcard.add(listener.owner.as_ref());
            }
        }
        match (specific, wildcard) {
            (Candidates::One(owner), _) | (Candidates::None, Candidates::One(owner)) => {
                Some(owner.clone())
            }
            (Candidates::Unclear | Candidates::None, _) => None,
        }
    }
}

fn key(entry: &Entry) -> Option<(u32, u16)> {
    (entry.local.port != 0).then_some((entry.netns?, entry.local.port))
}

#[derive(Clone, Copy)]
enum Candidates<'a> {
    None,
    One(&'a ListenerOwner),
    /// Of several processes, or of an unknown one.
    Unclear,
}

impl<'a> Candidates<'a> {
    fn add(&mut self, owner: Option<&'a ListenerOwner>) {
        *self = match (*self, owner) {
            (Self::None, Some(owner)) => Self::One(owner),
            (Self::One(first), Some(owner)) if first.pids().eq(owner.pids()) => Self::One(first),
            _ => Self::Unclear,
        };
    }
}
