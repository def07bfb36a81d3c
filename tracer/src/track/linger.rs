//! Connections that are closed and wait for what the kernel reports of them afterwards.
//!
//! A reset is sent just after the state change that it belongs to, and the application is told of an
//! error after it as well: microseconds later, within the same call or softirq.

use hashlink::LinkedHashMap;

use super::entry::Entry;

/// How long to wait: the kernel's call may be interrupted, and the reader of the clock may be late.
pub(super) const LINGER_NS: u64 = 20_000_000;

#[derive(Default)]
pub(super) struct Lingering {
    /// The one closed last at the end.
    by_sk: LinkedHashMap<u64, Closed>,
}

pub(super) struct Closed {
    pub(super) sk: u64,
    pub(super) entry: Entry,
    /// When it was closed.
    pub(super) at_ns: u64,
}

impl Closed {
    /// Whether nothing more is to be expected.
    pub(super) fn is_over(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.at_ns) >= LINGER_NS
    }
}

impl Lingering {
    /// There is none under this address.
    pub(super) fn add(&mut self, closed: Closed) {
        self.by_sk.insert(closed.sk, closed);
    }

    pub(super) fn get_mut(&mut self, sk: u64) -> Option<&mut Closed> {
        self.by_sk.get_mut(&sk)
    }

    pub(super) fn remove(&mut self, sk: u64) -> Option<Closed> {
        self.by_sk.remove(&sk)
    }

    /// The one closed first, if nothing more is to be expected of it.
    pub(super) fn pop_over(&mut self, now_ns: u64) -> Option<Closed> {
        self.by_sk
            .front()
            .is_some_and(|(_, closed)| closed.is_over(now_ns))
            .then(|| self.pop())?
    }

    /// The one closed first.
    pub(super) fn pop(&mut self) -> Option<Closed> {
        self.by_sk.pop_front().map(|(_, closed)| closed)
    }

    pub(super) fn len(&self) -> usize {
        self.by_sk.len()
    }
}
