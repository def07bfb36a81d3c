//! The tracker itself: which life an event belongs to, and who is told.

use std::net::IpAddr;

use super::entry::{Entry, is_birth};
use super::follow::Following;
use super::linger::{Closed, Lingering};
use super::mini::{After, MiniSight, TimeWait};
use super::recent::RecentlyClosed;
use super::snapshot::Snapshot;
use super::sockets::{self, Sockets};
use super::stray::Stray;
use super::teller::Teller;
use super::{ConnId, Connection, Ending, HalfOpenConnection, Role, Sink};
use crate::event::{Event, Evidence, EvidenceEvent, Family, StateEvent};
use crate::filter::{Filter, Known, Verdict};
use crate::state::State;

/// Listeners passed over at most to find a connection to forget.
const SPARED: usize = 256;

/// How to track.
#[derive(Clone, Debug)]
pub struct TrackerConfig {
    /// Sockets tracked at once, at least 1. Those that are closed and wait for the end of their mini-socket,
    /// or for late evidence, give way first; then the one that was silent for longest is forgotten, listeners after all others. Each
    /// takes some 256 bytes, as much again once something happened to it beside its state changes, and
    /// up to 2 kB while a filter waits to learn more of it.
    pub max_connections: usize,
    /// Which connections the sink is told of.
    pub filter: Filter,
    /// When an end is told that is followed by `TIME_WAIT`.
    pub time_wait: TimeWait,
    /// Which ways there are to hear of that.
    pub minis: MiniSight,
}

impl Default for TrackerConfig {
    /// A million sockets, no filter, and nothing but the sockets themselves.
    fn default() -> Self {
        Self {
            max_connections: 1_000_000,
            filter: Filter::default(),
            time_wait: TimeWait::default(),
            minis: MiniSight::default(),
        }
    }
}

/// What the tracker has seen, of all connections, selected or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Transitions, without those the twin repeated.
    pub events: u64,
    /// Transitions of these that only the twin recorded.
    pub recovered: u64,
    /// Transitions the twin repeated; dropped.
    pub duplicates: u64,
    /// Accepts.
    pub accepts: u64,
    /// Accepts of these whose socket was not tracked, or not as one that can be accepted; ignored.
    pub accepts_unmatched: u64,
    /// Connections and listeners.
    pub connections: u64,
    /// Sockets that were there when the trace began.
    pub listed: u64,
    /// Connections and listeners tracked now.
    pub open: u64,
    /// Connections and listeners forgotten to stay within the bound.
    pub aged_out: u64,
    /// Transitions of undecided connections that had to go because too many were held.
    pub held_dropped: u64,
    /// Connections over which the filter was still undecided at their end; left out.
    pub undecided: u64,
    /// Pieces of evidence beside the state changes.
    pub evidence: u64,
    /// Pieces of these about a socket that was not tracked.
    pub evidence_unmatched: u64,
    /// Half-open connections that were forgotten because there were too many.
    pub half_open_dropped: u64,
}

/// Turns events into connections and transitions.
pub struct Tracker {
    max_connections: usize,
    /// By socket address, the one touched last at the end.
    pub(super) sockets: Sockets<Entry>,
    /// Those that were there before the trace, and of which no event has come.
    pub(super) snapshot: Snapshot,
    pub(super) next_id: u64,
    closed: RecentlyClosed,
    /// Closed, but not told yet that they ended.
    pub(super) lingering: Lingering,
    pub(super) following: Following,
    pub(super) stray: Stray,
    pub(super) teller: Teller,
}

impl Tracker {
    /// A tracker that has seen nothing.
    pub fn new(config: TrackerConfig) -> Self {
        Self {
            max_connections: config.max_connections.clamp(1, sockets::MAX),
            sockets: Sockets::default(),
            snapshot: Snapshot::default(),
            next_id: 1,
            closed: RecentlyClosed::new(),
            lingering: Lingering::default(),
            following: Following::new(config.time_wait, config.minis),
            stray: Stray::default(),
            teller: Teller::new(config.filter, config.minis.births),
        }
    }

    /// Takes in one event and tells `sink` what follows from it. Events come in the order of the kernel's
    /// ring buffer.
    pub fn handle(&mut self, event: &Event, sink: &mut (impl Sink + ?Sized)) {
        match event {
            Event::State(event) => self.handle_state(event, sink),
            Event::Accept(event) => self.handle_accept(event, sink),
            Event::Evidence(event) => self.handle_evidence(event, sink),
            Event::Polled(event) => self.handle_polled(event, sink),
            Event::Place(event) => self.teller.places.learn(event),
            Event::Holder(event) => self.teller.places.learn_holder(event),
            Event::Socket(event) => self.handle_socket(event, sink),
        }
    }

    /// Reads what [`Self::handle`] will read for records of these sockets, so that it need not wait for memory:
    /// called for [`WARM_GROUP`](super::WARM_GROUP) of them, the waits overlap. Changes nothing.
    pub fn warm(&self, sks: impl Iterator<Item = u64>) {
        self.sockets.warm(sks);
    }

    /// Takes in how many transitions, and how many accepts and pieces of evidence, were lost since the last
    /// call.
    ///
    /// To be told before any event that happened after the loss: read the kernel's counters after the
    /// records, and handle the records after this.
    pub fn handle_loss(&mut self, transitions: u64, evidence: u64) {
        let lost = &mut self.teller.lost;
        lost.transitions = lost.transitions.saturating_add(transitions);
        lost.evidence = lost.evidence.saturating_add(evidence);
        if transitions > 0 {
            self.teller.listeners.forget_all();
        }
        if transitions > 0 || evidence > 0 {
            self.teller.half_open.forget_all();
        }
    }

    /// Tells the ends of connections that were closed long enough ago for all evidence to be here, and of
    /// those of which no more news is to be expected.
    ///
    /// All events before `now_ns` must have been handled, and all losses told: an end that is told here
    /// comes with its verdict.
    pub fn handle_timeout(&mut self, now_ns: u64, sink: &mut (impl Sink + ?Sized)) {
        self.settle_snapshot(now_ns, sink);
        while let Some(closed) = self.lingering.pop_over(now_ns) {
            self.settle(closed, sink);
        }
        while let Some(closed) = self.following.waiting.pop_over(now_ns) {
            self.teller.end_closed(&closed, sink);
        }
        for pending in self.teller.half_open.expire(now_ns) {
            self.end_half_open(&pending, Ending::NeverCompleted, sink);
        }
    }

    /// Ends all that is left: what is closed in the order of closing, what is half-open, then what is open
    /// in the order of identity. `now_ns` is when the trace stopped.
    pub fn finish(&mut self, now_ns: u64, sink: &mut (impl Sink + ?Sized)) {
        self.finish_waiting(now_ns, sink);
        while let Some(closed) = self.lingering.pop() {
            self.teller.end_closed(&closed, sink);
        }
        while let Some(pending) = self.teller.half_open.pop() {
            self.end_half_open(&pending, pending.ending_at(now_ns), sink);
        }
        let mut open = self.drain_listed(sink);
        open.extend(self.sockets.drain());
        open.sort_unstable_by_key(|(_, entry)| entry.id);
        for (sk, entry) in open {
            self.teller.end(sk, &entry, Ending::StillOpen, now_ns, sink);
        }
    }

    /// What is known at `now_ns` of the selected connection or listener that has the socket at `sk`, if it
    /// is open.
    pub fn look(&mut self, sk: u64, now_ns: u64) -> Option<&Connection> {
        let entry = self.sockets.get(sk)?;
        if entry.verdict != Verdict::Yes {
            return None;
        }
        let teller = &mut self.teller;
        entry.describe(&mut teller.conn, sk, now_ns, teller.lost);
        Some(&teller.conn)
    }

    /// What is known of the half-open connection that evidence is about, if the filter selects it.
    pub fn half_open(&mut self, event: &EvidenceEvent) -> Option<HalfOpenConnection> {
        let Evidence::SynAckRetransmit {
            netns,
            local,
            remote,
        } = event.what
        else {
            return None;
        };
        let pending = *self.teller.half_open.get(netns, &local, &remote)?;
        let (owner, owner_verdict) = if let Some(listener) = self.sockets.get(event.sk) {
            let verdict = listener.owner_verdict(&self.teller.filter);
            (listener.owner.as_listener(), verdict)
        } else {
            // Of a listener that is older than the trace only its ends are known.
            let mut entry = Entry::half_open(ConnId(0), &pending, false, self.teller.lost);
            self.teller.offer_listener_owner(&mut entry);
            (entry.owner, entry.owner_verdict(&self.teller.filter))
        };
        let family = match local.addr {
            IpAddr::V4(_) => Family::Inet,
            IpAddr::V6(_) => Family::Inet6,
        };
        let known = Known {
            netns,
            family,
            local,
            remote,
            listener: false,
            owner: owner_verdict,
        };
        (self.teller.filter.verdict(&known) == Verdict::Yes).then_some(HalfOpenConnection {
            netns,
            local,
            remote,
            owner,
            retransmits: pending.retransmits,
            born_ns: pending.born_ns,
            first_ns: pending.first_ns,
            last_ns: pending.last_ns,
        })
    }

    /// What was seen so far.
    pub fn stats(&self) -> Stats {
        Stats {
            open: (self.sockets.len() + self.snapshot.len()) as u64,
            ..self.teller.stats
        }
    }

    fn handle_state(&mut self, event: &StateEvent, sink: &mut (impl Sink + ?Sized)) {
        if event.from_twin {
            if self.is_repeated(event) {
                self.teller.stats.duplicates += 1;
                return;
            }
            self.teller.stats.recovered += 1;
        }
        self.teller.stats.events += 1;
        self.teller.half_open.watching(event.mono_ns);
        if matches!(event.to, State::SynReceived | State::Established) {
            self.ends_used_again(event, sink);
        }

        let Some(place) = self.sockets.find(event.sk) else {
            // What is tracked as open does not linger.
            if let Some(closed) = self.lingering.remove(event.sk) {
                self.settle(closed, sink);
            }
            self.begin(event, sink);
            return;
        };
        if let Some(entry) = self.sockets.at_mut(place)
            && entry.continues_with(event)
        {
            Self::match_listed(&mut self.snapshot, &mut self.teller, entry, event, sink);
            self.teller.advance(entry, event, sink);
            if event.to != State::Closed {
                self.sockets.touch(place);
            } else if let Some((_, entry)) = self.sockets.take(place) {
                self.close(entry, event, sink);
            }
            return;
        }
        if let Some((sk, entry)) = self.sockets.take(place) {
            self.teller
                .end(sk, &entry, Ending::EndUnseen, event.mono_ns, sink);
        }
        self.begin(event, sink);
    }

    /// Starts a life with its first transition, or the first that was seen of it.
    fn begin(&mut self, event: &StateEvent, sink: &mut (impl Sink + ?Sized)) {
        let mut entry = self.first_entry(event, sink).unwrap_or_else(|| {
            let id = ConnId(self.next_id);
            self.next_id += 1;
            self.teller.stats.connections += 1;
            Entry::new(id, event)
        });
        self.make_room(event.mono_ns, event.to != State::Closed, sink);
        if !is_birth(event) {
            for evidence in self.stray.of(event.sk, event.mono_ns) {
                entry.note_before(evidence, event.from);
            }
            if let After::Mini(mini) = entry.after() {
                self.following.born(mini.address, event.sk);
            }
        }
        self.teller.advance(&mut entry, event, sink);
        if event.to == State::Closed {
            self.close(entry, event, sink);
        } else {
            self.sockets.insert(event.sk, entry);
        }
    }

    /// Keeps what was closed until its evidence is complete.
    fn close(&mut self, mut entry: Entry, event: &StateEvent, sink: &mut (impl Sink + ?Sized)) {
        self.closed.remember(event);
        self.teller.closed(&mut entry, event);
        let mut closed = Closed {
            sk: event.sk,
            entry,
            at_ns: event.mono_ns,
        };
        self.teller.catch_up(&closed, sink);
        if self.tracked() < self.max_connections {
            self.following.closed(&closed);
            self.lingering.add(closed);
        } else {
            closed.entry.cut_short();
            self.settle_at_once(&closed, sink);
        }
    }

    /// Sockets that take memory.
    fn tracked(&self) -> usize {
        self.sockets.len()
            + self.lingering.len()
            + self.following.waiting.len()
            + self.snapshot.len()
    }

    /// Makes room for the life that starts, or is found, at `now_ns`, of what is closed before what is open.
    pub(super) fn make_room(&mut self, now_ns: u64, stays: bool, sink: &mut (impl Sink + ?Sized)) {
        if self.tracked() < self.max_connections {
            return;
        }
        if let Some(closed) = self.following.waiting.pop() {
            self.teller.end_closed(&closed, sink);
        } else if let Some(mut closed) = self.lingering.pop() {
            if !closed.is_over(now_ns) {
                closed.entry.cut_short();
            }
            self.settle_at_once(&closed, sink);
        } else if stays {
            self.age_out(now_ns, sink);
        }
    }

    /// Makes room for one. Listeners are silent by nature, and owners are derived from them; and where a
    /// filter is set, most of what is tracked are strangers' first transitions, whose others the kernel
    /// left out. So listeners and connections that are told of get another turn while there is anything
    /// else.
    fn age_out(&mut self, now_ns: u64, sink: &mut (impl Sink + ?Sized)) {
        if let Some(entry) = self.snapshot.pop_connection() {
            self.teller.stats.aged_out += 1;
            self.teller.end(0, &entry, Ending::AgedOut, now_ns, sink);
            return;
        }
        let filtered = self.teller.filter != Filter::default();
        for _ in 0..self.sockets.len().min(SPARED) {
            let is_spared = |entry: &Entry| {
                entry.role == Role::Listener || filtered && entry.verdict == Verdict::Yes
            };
            match self.sockets.oldest() {
                Some(place) if self.sockets.at(place).is_some_and(is_spared) => {
                    self.sockets.touch(place);
                }
                _ => break,
            }
        }
        let oldest = self.sockets.oldest();
        let oldest = oldest.and_then(|place| self.sockets.take(place));
        if let Some((sk, entry)) = oldest.or_else(|| Some((0, self.snapshot.pop_listener()?))) {
            self.teller.stats.aged_out += 1;
            if entry.role == Role::Listener {
                // It may live on and share its port with one still known.
                self.teller.listeners.forget_all();
            }
            self.teller.end(sk, &entry, Ending::AgedOut, now_ns, sink);
        }
    }

    /// Whether the twin's `event` is the last transition of its socket once more. One that leaves the
    /// state as it is cannot be told from a second one like it, so it does not count as repeated.
    fn is_repeated(&self, event: &StateEvent) -> bool {
        event.from != event.to
            && match self.sockets.get(event.sk) {
                Some(entry) => entry.repeated_by(event),
                None => self.closed.repeated_by(event),
            }
    }
}
