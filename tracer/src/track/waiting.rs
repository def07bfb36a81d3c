//! Connections whose socket is closed and whose mini-socket lives on, or may.

use std::net::Ipv6Addr;

use hashlink::LinkedHashMap;

use super::entry::Entry;
use super::linger::Closed;
use crate::event::Endpoint;

/// Without news of a mini-socket for so long, no more are to be expected: its timer was set to a minute at
/// most, and fires some seconds late.
const GIVE_UP_NS: u64 = 75_000_000_000;
/// Both ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ends {
    netns: Option<u32>,
    local: (Ipv6Addr, u16),
    remote: (Ipv6Addr, u16),
}

impl Ends {
    pub(super) fn new(netns: Option<u32>, local: &Endpoint, remote: &Endpoint) -> Self {
        Self {
            netns,
            local: (local.mapped_addr(), local.port),
            remote: (remote.mapped_addr(), remote.port),
        }
    }

    pub(super) fn of(entry: &Entry) -> Self {
        Self::new(entry.netns, &entry.local, &entry.remote)
    }
}

/// One that waits.
pub(super) struct Followed {
    pub(super) closed: Closed,
    /// When there was last news of it.
    pub(super) news_ns: u64,
}

#[derive(Default)]
pub(super) struct Waiting {
    /// By the address of the mini-socket, the one with the latest news at the end.
    by_mini: LinkedHashMap<u64, Followed>,
    /// Those whose mini-socket is not known by its address.
    by_ends: LinkedHashMap<Ends, Followed>,
}

impl Waiting {
    pub(super) fn len(&self) -> usize {
        self.by_mini.len() + self.by_ends.len()
    }

    /// Whether there are any whose mini-socket is not known by its address.
    pub(super) fn is_by_ends(&self) -> bool {
        !self.by_ends.is_empty()
    }

    /// Follows the mini-socket at an address. Returns the one that had it before: its end was not seen.
    pub(super) fn add_mini(&mut self, mini: u64, closed: Closed, now_ns: u64) -> Option<Closed> {
        let before = self.by_mini.remove(&mini);
        self.by_mini.insert(mini, Followed::new(closed, now_ns));
        before.map(|followed| followed.closed)
    }

    /// Follows what has these ends. Returns the one that had them before: it is over.
    pub(super) fn add_ends(&mut self, ends: Ends, closed: Closed) -> Option<Closed> {
        let before = self.by_ends.remove(&ends);
        let now_ns = closed.at_ns;
        self.by_ends.insert(ends, Followed::new(closed, now_ns));
        before.map(|followed| followed.closed)
    }

    pub(super) fn get_mini(&self, mini: u64) -> Option<&Closed> {
        self.by_mini.get(&mini).map(|followed| &followed.closed)
    }

    pub(super) fn get_ends(&self, ends: &Ends) -> Option<&Closed> {
        self.by_ends.get(ends).map(|followed| &followed.closed)
    }

    /// There is news of a mini-socket.
    pub(super) fn news_of_mini(&mut self, mini: u64, now_ns: u64) -> Option<&mut Closed> {
        let followed = self.by_mini.to_back(&mini)?;
        followed.news_ns = now_ns;
        Some(&mut followed.closed)
    }

    /// There is news of what has these ends.
    pub(super) fn news_of_ends(&mut self, ends: &Ends, now_ns: u64) -> Option<&mut Closed> {
        let followed = self.by_ends.to_back(ends)?;
        followed.news_ns = now_ns;
        Some(&mut followed.closed)
    }

    pub(super) fn remove_mini(&mut self, mini: u64) -> Option<Closed> {
        self.by_mini.remove(&mini).map(|followed| followed.closed)
    }

    pub(super) fn remove_ends(&mut self, ends: &Ends) -> Option<Closed> {
        self.by_ends.remove(ends).map(|followed| followed.closed)
    }

    /// One of which no more news is to be expected.
    pub(super) fn pop_over(&mut self, now_ns: u64) -> Option<Closed> {
        fn is_over<K>(front: Option<(&K, &Followed)>, now_ns: u64) -> bool {
            front.is_some_and(|(_, followed)| now_ns.saturating_sub(followed.news_ns) >= GIVE_UP_NS)
        }
        if is_over(self.by_mini.front(), now_ns) {
            return self
                .by_mini
                .pop_front()
                .map(|(_, followed)| followed.closed);
        }
        is_over(self.by_ends.front(), now_ns)
            .then(|| self.by_ends.pop_front())?
            .map(|(_, followed)| followed.closed)
    }

    /// The one without news for longest, more or less.
    pub(super) fn pop(&mut self) -> Option<Closed> {
        let mini = self.by_mini.pop_front().map(|(_, followed)| followed);
        mini.or_else(|| self.by_ends.pop_front().map(|(_, followed)| followed))
            .map(|followed| followed.closed)
    }
}

impl Followed {
    fn new(closed: Closed, now_ns: u64) -> Self {
        Self {
            closed,
            news_ns: now_ns,
        }
    }
}
