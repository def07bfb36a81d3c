//! Connections that were there before the trace.
//!
//! The kernel lists its sockets on request (the snapshot), but tells no addresses of them, which are all
//! that events go by. So a socket of the list waits under its namespace and its ends, which no other
//! socket has at the same time, until an event of an unknown socket has the same. A listener has no
//! other side, and several can share a port.
//!
//! Nothing may fall between the list and the events, so events are recorded from before the list is
//! read, and some sockets are in both. When the kernel looked at each is known to within `asked_ns` and
//! `seen_ns`. An event at `t` with the ends of a socket in the list means:
//!
//! | `t` | the event | so the socket in the list |
//! |---|---|---|
//! | before `asked_ns` | any | is not told by it: it may have come later |
//! | up to `seen_ns` | closes its socket | is this one, or one that came after it: its events tell all of it |
//! | up to `seen_ns` | any other | is not told by it: another one may have come within this time |
//! | later | of a socket tracked since `seen_ns` or before | is this one, and adds its owner |
//! | later | of a socket tracked since later, or born now | has ended unseen: its ends are in use again |
//! | later | of an unknown socket in mid-life | is this one, and is tracked from here on |
//!
//! When all events from before the end of the list are known, what is tracked under the same ends and had
//! no event since is the socket in the list too ([`Tracker::settle_snapshot`]). A `connect` is reported before it
//! has a local port, which its first retransmission tells; where one without waits for an answer, a socket of the
//! list in `SYN_SENT` to the same remote end may be it, and at the end of the trace as many of them are left out.
//!
//! Known gaps: the kernel walks its table bucket by bucket, and one that changes while it pauses there can
//! make it leave out a socket, which then appears with its next transition. An accept names no ends, so
//! of a connection that waited in a queue the owner is found with its next transition only. Of several
//! listeners at one port, one that is born while the list is read may be taken for another.

use std::collections::HashMap;
use std::net::Ipv6Addr;
use std::sync::Arc;

use hashlink::LinkedHashMap;

use super::entry::{Entry, is_birth};
use super::linger::LINGER_NS;
use super::listeners::{ListenerOwner, Listeners};
use super::teller::Teller;
use super::tracker::Tracker;
use super::{ConnId, Connection, Ending, OwnerSource, Role, Sink};
use crate::event::{Endpoint, Family, Protocol, SocketEvent, StateEvent, Task};
use crate::filter::Verdict;
use crate::state::State;

/// Accepts of unknown sockets kept.
const MAX_ACCEPTS: usize = 4096;

/// Sockets of the list that no event has come of.
#[derive(Default)]
pub(super) struct Snapshot {
    /// In the order of the list.
    by_ends: LinkedHashMap<Ends, Waiting>,
    /// By their own end; several of one port in the order of the list.
    listeners: HashMap<Ends, Vec<Waiting>>,
    listener_count: usize,
    /// Namespaces in the list.
    netns: Vec<Option<u32>>,
    /// When the last of the list was seen.
    until_ns: u64,
    settled: bool,
    /// Accepted sockets that are not tracked, by address.
    accepted: LinkedHashMap<u64, Task>,
    /// Some of these had to be forgotten.
    accepts_forgotten: bool,
}

/// One socket of the list.
pub(super) struct Waiting {
    entry: Entry,
    asked_ns: u64,
    seen_ns: u64,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Ends {
    netns: Option<u32>,
    protocol: Protocol,
    local: (Ipv6Addr, u16),
    remote: (Ipv6Addr, u16),
}

/// What an event says of the socket in the list that has its ends.
enum Found {
    /// It is the event's.
    Same(Waiting),
    /// It is the event's or a later one.
    Spent(Waiting),
    /// It is gone.
    Gone(Waiting),
}

const NOWHERE: (Ipv6Addr, u16) = (Ipv6Addr::UNSPECIFIED, 0);

fn end(end: &Endpoint) -> (Ipv6Addr, u16) {
    (end.mapped_addr(), end.port)
}

impl Ends {
    /// Of a connection, when both are known.
    fn of(
        netns: Option<u32>,
        protocol: Protocol,
        local: &Endpoint,
        remote: &Endpoint,
    ) -> Option<Self> {
        (local.port != 0 && remote.port != 0).then(|| Self {
            netns,
            protocol,
            local: end(local),
            remote: end(remote),
        })
    }

    fn of_listener(netns: Option<u32>, protocol: Protocol, local: &Endpoint) -> Self {
        Self {
            netns,
            protocol,
            local: end(local),
            remote: NOWHERE,
        }
    }
}

impl Waiting {
    /// What an event with its ends says of it. `tracked` is the event's socket, if it is known.
    fn found(self, event: &StateEvent, tracked: Option<&Entry>) -> Found {
        let is_new = match tracked {
            Some(entry) => !self.was_there(entry),
            None => is_birth(event),
        };
        if event.mono_ns <= self.seen_ns {
            Found::Spent(self)
        } else if is_new {
            Found::Gone(self)
        } else {
            Found::Same(self)
        }
    }

    /// Whether an event tells of it at all.
    fn is_told_by(&self, event: &StateEvent) -> bool {
        if event.to == State::Closed {
            event.mono_ns >= self.asked_ns
        } else {
            event.mono_ns > self.seen_ns
        }
    }

    /// Whether `tracked` was known when the kernel looked at this one.
    fn was_there(&self, tracked: &Entry) -> bool {
        tracked
            .first_seen_ns()
            .is_none_or(|since_ns| since_ns <= self.seen_ns)
    }
}

impl Snapshot {
    fn add(&mut self, waiting: Waiting) -> Option<Waiting> {
        let entry = &waiting.entry;
        let (netns, protocol) = (entry.netns, entry.protocol);
        if !self.netns.contains(&netns) {
            self.netns.push(netns);
        }
        self.until_ns = self.until_ns.max(waiting.seen_ns);
        if entry.role == Role::Listener {
            let ends = Ends::of_listener(netns, protocol, &entry.local);
            self.listeners.entry(ends).or_default().push(waiting);
            self.listener_count += 1;
            return None;
        }
        match Ends::of(netns, protocol, &entry.local, &entry.remote) {
            Some(ends) => self.by_ends.insert(ends, waiting),
            None => Some(waiting),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_ends.len() + self.listener_count
    }

    /// Takes out the first connection.
    pub(super) fn pop_connection(&mut self) -> Option<Entry> {
        Some(self.by_ends.pop_front()?.1.entry)
    }

    /// Takes out a listener.
    pub(super) fn pop_listener(&mut self) -> Option<Entry> {
        let ends = *self.listeners.keys().next()?;
        Some(self.remove_listener(&ends, 0)?.entry)
    }

    /// The socket in the list that has the ends of `event`, with what the event says of it. Asked for each
    /// event until the list is settled; then only where the ends of a connection become known, because no
    /// other one can have them in between.
    fn take(&mut self, event: &StateEvent, tracked: Option<&Entry>) -> Option<Found> {
        let settled = self.settled
            && tracked.is_some()
            && !matches!(event.from, State::SynSent | State::SynReceived);
        if settled || self.len() == 0 || !event.local_port_known {
            return None;
        }
        if event.to == State::Listen {
            return None;
        }
        if event.from == State::Listen && !is_birth(event) {
            let ends = self.key(event, |netns| {
                Some(Ends::of_listener(netns, event.protocol, &event.local))
            })?;
            // Another one can come at the same port.
            let waiting = self.take_listener(&ends, tracked, |waiting| {
                waiting.is_told_by(event)
                    && tracked.is_none_or(|tracked| waiting.was_there(tracked))
            })?;
            return Some(waiting.found(event, tracked));
        }
        let ends = self.key(event, |netns| {
            Ends::of(netns, event.protocol, &event.local, &event.remote)
        })?;
        let is_told = |waiting: &Waiting| waiting.is_told_by(event);
        if !self.by_ends.get(&ends).is_some_and(is_told) {
            return None;
        }
        let waiting = self.by_ends.remove(&ends)?;
        Some(waiting.found(event, tracked))
    }

    /// The key of the event, if there is a socket of it. Where the event does not tell its namespace, the
    /// one in which there is such a socket, if it is the only one.
    fn key(&self, event: &StateEvent, ends: impl Fn(Option<u32>) -> Option<Ends>) -> Option<Ends> {
        let is_there =
            |ends: &Ends| self.by_ends.contains_key(ends) || self.listeners.contains_key(ends);
        if event.netns.is_some() {
            return ends(event.netns).filter(is_there);
        }
        let mut keys = self
            .netns
            .iter()
            .filter_map(|netns| ends(*netns))
            .filter(is_there);
        let key = keys.next()?;
        keys.next().is_none().then_some(key)
    }

    /// One of the listeners at an end: one with the owner of `tracked`, else the first. The others are
    /// then nobody's that is known, if it can have been one of them.
    fn take_listener(
        &mut self,
        ends: &Ends,
        tracked: Option<&Entry>,
        suits: impl Fn(&Waiting) -> bool,
    ) -> Option<Waiting> {
        let group = self.listeners.get(ends)?;
        let of_owner = tracked.and_then(|tracked| {
            let is_his = |one: &Waiting| suits(one) && tracked.may_be_owned_as(&one.entry);
            group.iter().position(is_his)
        });
        let index = of_owner.or_else(|| group.iter().position(suits))?;
        let mut taken = self.remove_listener(ends, index)?;
        let others = self.listeners.get_mut(ends).into_iter().flatten();
        let others: Vec<&mut Waiting> = others.collect();
        let differ = |other: &&mut Waiting| !other.entry.is_owned_as(&taken.entry);
        if of_owner.is_none() && others.iter().any(differ) {
            taken.entry.disown();
            for other in others {
                other.entry.disown();
            }
        }
        Some(taken)
    }

    fn remove_listener(&mut self, ends: &Ends, index: usize) -> Option<Waiting> {
        let group = self.listeners.get_mut(ends)?;
        let taken = (index < group.len()).then(|| group.remove(index))?;
        self.listener_count -= 1;
        if group.is_empty() {
            self.listeners.remove(ends);
        }
        Some(taken)
    }

    /// An accept of a socket that is not tracked.
    pub(super) fn remember_accept(&mut self, sk: u64, task: Task) {
        if self.len() == 0 {
            return;
        }
        if self.accepted.len() >= MAX_ACCEPTS {
            self.accepted.pop_front();
            self.accepts_forgotten = true;
        }
        self.accepted.insert(sk, task);
    }

    fn take_accept(&mut self, sk: u64) -> Option<Task> {
        (!self.accepted.is_empty()).then(|| self.accepted.remove(&sk))?
    }

    /// Takes out the socket that has the ends of `entry`, of which the port has just become known.
    pub(super) fn match_port(
        &mut self,
        teller: &mut Teller,
        entry: &mut Entry,
        now_ns: u64,
        sink: &mut (impl Sink + ?Sized),
    ) {
        let ends = Ends::of(entry.netns, entry.protocol, &entry.local, &entry.remote);
        let is_told = |ends: &Ends| {
            let waiting = self.by_ends.get(ends);
            waiting.is_some_and(|waiting| now_ns > waiting.seen_ns)
        };
        let ends = ends.filter(is_told);
        let Some(waiting) = ends.and_then(|ends| self.by_ends.remove(&ends)) else {
            return;
        };
        if waiting.was_there(entry) {
            teller.merge(entry, &waiting);
        } else {
            teller.lose(&waiting, now_ns, sink);
        }
    }

    /// Takes out a socket in `SYN_SENT` that may be that of `entry`, of which the local port or the namespace is
    /// not known.
    fn take_connecting(&mut self, entry: &Entry) -> Option<Waiting> {
        let may_be = |ends: &Ends, waiting: &Waiting| {
            waiting.state == State::SynSent
                && ends.remote == end(&entry.remote)
                && ends.local.0 == entry.local.mapped_addr()
                && (entry.local.port == 0 || ends.local.1 == entry.local.port)
                && (entry.netns.is_none() || ends.netns == entry.netns)
        };
        let fits = || self.by_ends.iter().filter(|(ends, w)| may_be(ends, w));
        let of_owner = fits().find(|(_, waiting)| entry.may_be_owned_as(&waiting.entry));
        let ends = *of_owner.or_else(|| fits().next())?.0;
        self.by_ends.remove(&ends)
    }
}

impl Tracker {
    /// Takes in a socket of the list.
    pub(super) fn handle_socket(&mut self, event: &SocketEvent, sink: &mut (impl Sink + ?Sized)) {
        self.teller.stats.listed += 1;
        let mut entry = Entry::listed(ConnId(self.next_id), event, self.teller.lost);
        self.teller.place(&mut entry, event);
        entry.decide(&self.teller.filter);
        // Events of listeners are not filtered by the kernel programs.
        if entry.verdict == Verdict::No && entry.role != Role::Listener {
            return;
        }
        self.next_id += 1;
        self.teller.stats.connections += 1;
        self.make_room(event.seen_ns, true, sink);
        if entry.verdict == Verdict::Yes && entry.role != Role::Listener {
            let teller = &mut self.teller;
            entry.describe(&mut teller.conn, 0, event.seen_ns, teller.lost);
            sink.found(&teller.conn);
        }
        let replaced = self.snapshot.add(Waiting {
            entry,
            asked_ns: event.asked_ns,
            seen_ns: event.seen_ns,
            state: event.state,
        });
        self.teller.stats.connections -= u64::from(replaced.is_some());
    }

    /// What is known at `now_ns` of the selected TCP connection in the list that has these ends, if no event
    /// has come of it.
    pub fn look_listed(
        &mut self,
        netns: Option<u32>,
        local: &Endpoint,
        remote: &Endpoint,
        now_ns: u64,
    ) -> Option<&Connection> {
        let ends = Ends::of(netns, Protocol::Tcp, local, remote)?;
        let entry = &self.snapshot.by_ends.get(&ends)?.entry;
        if entry.verdict != Verdict::Yes {
            return None;
        }
        let teller = &mut self.teller;
        entry.describe(&mut teller.conn, 0, now_ns, teller.lost);
        Some(&teller.conn)
    }

    /// The life of an unknown socket that goes on, or starts, with `event`.
    pub(super) fn first_entry(
        &mut self,
        event: &StateEvent,
        sink: &mut (impl Sink + ?Sized),
    ) -> Option<Entry> {
        let accepted = self.snapshot.take_accept(event.sk);
        let waiting = match self.snapshot.take(event, None)? {
            Found::Same(waiting) => waiting,
            Found::Spent(waiting) => {
                self.teller.forget(&waiting);
                return None;
            }
            Found::Gone(waiting) => {
                self.teller.lose(&waiting, event.mono_ns, sink);
                return None;
            }
        };
        let mut entry = waiting.entry;
        self.teller.disown_rivals(&entry);
        if !entry.continues_with(event) {
            let (teller, now_ns) = (&mut self.teller, event.mono_ns);
            teller.end(0, &entry, Ending::EndUnseen, now_ns, sink);
            return None;
        }
        if self.snapshot.accepts_forgotten {
            entry.doubt_waiting();
        }
        if let Some(task) = accepted {
            entry.role = Role::Server;
            let Teller { places, filter, .. } = &mut self.teller;
            entry.offer_owner(&task, OwnerSource::Accept, places, filter);
        }
        Some(entry)
    }

    /// All events before `now_ns` are known. From the end of the list on, a socket that is tracked and in
    /// the list had its last event before the list was read.
    pub(super) fn settle_snapshot(&mut self, now_ns: u64, sink: &mut (impl Sink + ?Sized)) {
        let snapshot = &mut self.snapshot;
        let due_ns = snapshot.until_ns.saturating_add(LINGER_NS);
        if snapshot.settled || now_ns < due_ns {
            return;
        }
        snapshot.settled = true;
        if snapshot.len() == 0 {
            return;
        }
        for entry in self.sockets.values_mut() {
            let (netns, protocol) = (entry.netns, entry.protocol);
            let waiting = if entry.role == Role::Listener {
                let ends = Ends::of_listener(netns, protocol, &entry.local);
                snapshot.take_listener(&ends, Some(entry), |waiting| waiting.was_there(entry))
            } else {
                Ends::of(netns, protocol, &entry.local, &entry.remote)
                    .and_then(|ends| snapshot.by_ends.remove(&ends))
            };
            if let Some(waiting) = waiting {
                self.teller.merge(entry, &waiting);
                self.teller.decide(entry, sink);
            }
        }
    }

    /// What is left of the list when the trace ends, to be told as open.
    pub(super) fn drain_listed(&mut self, sink: &mut (impl Sink + ?Sized)) -> Vec<(u64, Entry)> {
        self.settle_snapshot(u64::MAX, sink);
        for entry in self.sockets.values() {
            if entry.is_connecting() {
                let since_ns = entry.first_seen_ns().unwrap_or_default();
                if since_ns <= self.snapshot.until_ns
                    && let Some(waiting) = self.snapshot.take_connecting(entry)
                {
                    self.teller.forget(&waiting);
                }
            }
        }
        let accepts_unknown = self.teller.stats.accepts_unmatched > 0;
        let mut left = Vec::with_capacity(self.snapshot.len());
        let snapshot = &mut self.snapshot;
        while let Some(mut entry) = snapshot
            .pop_connection()
            .or_else(|| snapshot.pop_listener())
        {
            // It may have been accepted since.
            if accepts_unknown && entry.waits_since_listed() {
                entry.doubt_waiting();
                if entry.owner.source == OwnerSource::Listener {
                    entry.disown();
                }
            }
            left.push((0, entry));
        }
        left
    }

    /// Takes a tracked socket out of the list, if it is there.
    pub(super) fn match_listed(
        snapshot: &mut Snapshot,
        teller: &mut Teller,
        entry: &mut Entry,
        event: &StateEvent,
        sink: &mut (impl Sink + ?Sized),
    ) {
        if snapshot.len() == 0 {
            return;
        }
        match snapshot.take(event, Some(entry)) {
            None => {}
            Some(Found::Same(waiting)) => teller.merge(entry, &waiting),
            Some(Found::Spent(waiting)) => teller.forget(&waiting),
            Some(Found::Gone(waiting)) => teller.lose(&waiting, event.mono_ns, sink),
        }
    }
}

impl Teller {
    /// Finds out the role of a socket of the list, and whom it belongs to. Listeners come first in it.
    fn place(&mut self, entry: &mut Entry, event: &SocketEvent) {
        let owners = (!event.owners.is_empty()).then(|| Arc::new(event.owners.clone()));
        entry.role = role(&self.listeners, event);
        if let Some(owners) = &owners {
            let Self { places, filter, .. } = self;
            entry.offer_owners(owners, OwnerSource::Snapshot, places, filter);
        }
        let queued = !event.has_file
            && entry.role == Role::Server
            && matches!(event.state, State::Established | State::CloseWait);
        if queued {
            entry.evidence_mut().queued_when_listed = true;
            self.offer_listener_owner(entry);
        }
        if entry.role == Role::Listener {
            self.listeners
                .add(entry, owners.map(ListenerOwner::Holders));
        }
    }

    /// A socket of the list is one that is tracked.
    fn merge(&mut self, entry: &mut Entry, waiting: &Waiting) {
        entry.take_owner_of(&waiting.entry);
        self.forget(waiting);
    }

    /// It is no connection of its own.
    fn forget(&mut self, waiting: &Waiting) {
        self.stats.connections -= 1;
        self.listeners.remove(&waiting.entry);
        self.disown_rivals(&waiting.entry);
    }

    /// Where it is not known which listener of a port is gone, nor is whose the others are.
    fn disown_rivals(&mut self, gone: &Entry) {
        if gone.role == Role::Listener && gone.owner.source == OwnerSource::Unknown {
            self.listeners.disown(gone);
        }
    }

    /// Its end was not seen.
    fn lose(&mut self, waiting: &Waiting, now_ns: u64, sink: &mut (impl Sink + ?Sized)) {
        self.end(0, &waiting.entry, Ending::EndUnseen, now_ns, sink);
    }
}

/// A server's end has a listener's port. Where the other end has one too, either may have connected.
fn role(listeners: &Listeners, event: &SocketEvent) -> Role {
    let listens = |end: &Endpoint, family: Option<Family>| {
        listeners.serves(event.netns, event.protocol, end, family)
    };
    if event.state == State::Listen {
        Role::Listener
    } else if event.state == State::SynSent {
        Role::Client
    } else if listens(&event.local, Some(event.family)) && !listens(&event.remote, None) {
        Role::Server
    } else {
        Role::Unknown
    }
}
