//! The tracker itself: which life an event belongs to, and who is told.

use hashlink::LinkedHashMap;
use hashlink::linked_hash_map::{Entry as Slot, RawEntryMut};

use super::entry::{Entry, Move, is_birth};
use super::listeners::Listeners;
use super::recent::RecentlyClosed;
use super::{ConnId, Connection, Ending, Owner, OwnerSource, Role, Sink, Transition};
use crate::event::{AcceptEvent, Endpoint, Event, Family, Protocol, StateEvent};
use crate::filter::{Filter, Verdict};
use crate::state::{State, legality};

/// Listeners passed over at most to find a connection to forget.
const LISTENERS_SPARED: usize = 256;

/// How to track.
#[derive(Clone, Debug)]
pub struct TrackerConfig {
    /// Sockets tracked at once, at least 1. The one that was silent for longest is forgotten first,
    /// listeners after all others. Each takes some 256 bytes, and up to 2 kB while a filter waits to
    /// learn more of it.
    pub max_connections: usize,
    /// Which connections the sink is told of.
    pub filter: Filter,
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
    /// Connections and listeners tracked now.
    pub open: u64,
    /// Connections and listeners forgotten to stay within the bound.
    pub aged_out: u64,
    /// Transitions of undecided connections that had to go because too many were held.
    pub held_dropped: u64,
    /// Connections over which the filter was still undecided at their end; left out.
    pub undecided: u64,
}

/// Turns events into connections and transitions.
pub struct Tracker {
    max_connections: usize,
    /// By socket address, the one touched last at the end.
    sockets: LinkedHashMap<u64, Entry>,
    next_id: u64,
    closed: RecentlyClosed,
    teller: Teller,
}

/// All but the map of sockets, so that an entry can be worked on in its place.
struct Teller {
    filter: Filter,
    listeners: Listeners,
    lost: u64,
    stats: Stats,
    /// Filled in anew for each call of the sink.
    conn: Connection,
}

impl Tracker {
    /// A tracker that has seen nothing.
    pub fn new(config: TrackerConfig) -> Self {
        Self {
            max_connections: config.max_connections.max(1),
            sockets: LinkedHashMap::new(),
            next_id: 1,
            closed: RecentlyClosed::new(),
            teller: Teller {
                filter: config.filter,
                listeners: Listeners::default(),
                lost: 0,
                stats: Stats::default(),
                conn: blank(),
            },
        }
    }

    /// Takes in one event and tells `sink` what follows from it. Events come in the order of the kernel's
    /// ring buffer.
    pub fn handle(&mut self, event: &Event, sink: &mut (impl Sink + ?Sized)) {
        match event {
            Event::State(event) => self.handle_state(event, sink),
            Event::Accept(event) => self.handle_accept(event, sink),
            // Not yet part of a connection.
            Event::Evidence(_) => {}
        }
    }

    /// Takes in that `lost` events were lost since the last call, none of which is known.
    ///
    /// To be told before any event that happened after the loss: read the kernel's counters after the
    /// records, and handle the records after this.
    pub fn handle_loss(&mut self, lost: u64) {
        if lost > 0 {
            self.teller.lost = self.teller.lost.saturating_add(lost);
            self.teller.listeners.forget_all();
        }
    }

    /// Ends all that is open, in the order of identity. `now_ns` is when the trace stopped.
    pub fn finish(&mut self, now_ns: u64, sink: &mut (impl Sink + ?Sized)) {
        let mut open: Vec<(u64, Entry)> = self.sockets.drain().collect();
        open.sort_unstable_by_key(|(_, entry)| entry.id);
        for (sk, entry) in open {
            self.teller.end(sk, &entry, Ending::StillOpen, now_ns, sink);
        }
    }

    /// What was seen so far.
    pub fn stats(&self) -> Stats {
        Stats {
            open: self.sockets.len() as u64,
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

        if let Slot::Occupied(mut slot) = self.sockets.entry(event.sk) {
            if slot.get().continues_with(event) {
                slot.to_back();
                self.teller.advance(slot.get_mut(), event, sink);
                if event.to == State::Closed {
                    let entry = slot.remove();
                    self.close(&entry, event, sink);
                }
                return;
            }
            let entry = slot.remove();
            self.teller
                .end(event.sk, &entry, Ending::EndUnseen, event.mono_ns, sink);
        }
        self.begin(event, sink);
    }

    /// Starts a life with its first transition, or the first that was seen of it.
    fn begin(&mut self, event: &StateEvent, sink: &mut (impl Sink + ?Sized)) {
        let mut entry = Entry::new(ConnId(self.next_id), event);
        self.next_id += 1;
        self.teller.stats.connections += 1;
        if event.to != State::Closed && self.sockets.len() >= self.max_connections {
            self.age_out(event.mono_ns, sink);
        }
        self.teller.advance(&mut entry, event, sink);
        if event.to == State::Closed {
            self.close(&entry, event, sink);
        } else {
            self.sockets.insert(event.sk, entry);
        }
    }

    fn close(&mut self, entry: &Entry, event: &StateEvent, sink: &mut (impl Sink + ?Sized)) {
        self.closed.remember(event);
        self.teller
            .end(event.sk, entry, Ending::Closed, event.mono_ns, sink);
    }

    /// Makes room for one. Listeners are silent by nature, and owners are derived from them: each gets
    /// another turn while there is anything else.
    fn age_out(&mut self, now_ns: u64, sink: &mut (impl Sink + ?Sized)) {
        for _ in 0..self.sockets.len().min(LISTENERS_SPARED) {
            match self.sockets.front_entry() {
                Some(mut oldest) if oldest.get().role == Role::Listener => oldest.to_back(),
                _ => break,
            }
        }
        if let Some((sk, entry)) = self.sockets.pop_front() {
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
            && match self.sockets.get(&event.sk) {
                Some(entry) => entry.repeated_by(event),
                None => self.closed.repeated_by(event),
            }
    }

    fn handle_accept(&mut self, event: &AcceptEvent, sink: &mut (impl Sink + ?Sized)) {
        self.teller.stats.accepts += 1;
        if let RawEntryMut::Occupied(mut slot) = self.sockets.raw_entry_mut().from_key(&event.sk) {
            let entry = slot.get();
            if matches!(entry.role, Role::Server | Role::Unknown)
                && entry.owner.source != OwnerSource::Accept
            {
                slot.to_back();
                self.teller.accept(slot.get_mut(), event, sink);
                return;
            }
        }
        self.teller.stats.accepts_unmatched += 1;
    }
}

impl Teller {
    /// Takes a transition into its life and tells or holds it.
    fn advance(&mut self, entry: &mut Entry, event: &StateEvent, sink: &mut (impl Sink + ?Sized)) {
        let transition = entry.advance(event, self.lost);
        self.find_owner(entry, &transition);
        entry.decide(&self.filter);
        match entry.verdict {
            Verdict::Yes => {
                self.deliver_held(entry, sink);
                entry.describe(&mut self.conn, event.sk, event.mono_ns);
                self.tell(&transition, sink);
            }
            Verdict::Undecided => {
                self.stats.held_dropped += u64::from(entry.hold(transition));
            }
            Verdict::No => {}
        }
    }

    fn accept(&mut self, entry: &mut Entry, event: &AcceptEvent, sink: &mut (impl Sink + ?Sized)) {
        entry.role = Role::Server;
        entry.offer_owner(&event.task, OwnerSource::Accept, &self.filter);
        entry.decide(&self.filter);
        if entry.verdict == Verdict::Yes {
            self.deliver_held(entry, sink);
        }
    }

    fn find_owner(&mut self, entry: &mut Entry, transition: &Move) {
        let event = &transition.event;
        if let Some(task) = &event.task {
            let source = match (event.from, event.to) {
                (State::Closed, State::SynSent) => Some(OwnerSource::Connect),
                (State::Closed, State::Listen) => Some(OwnerSource::Listen),
                _ if is_birth(event) => None,
                // A kernel thread that closes runs the last `fput` of somebody else's file.
                _ => (task.kernel_thread != Some(true)).then_some(OwnerSource::Close),
            };
            if let Some(source) = source {
                entry.offer_owner(task, source, &self.filter);
            }
        }
        match (event.from, event.to) {
            (State::Closed, State::Listen) => self.listeners.add(event.sk, entry, event.task),
            // Older kernels give the child its addresses after the first transition only.
            (State::Listen | State::SynReceived, _)
                if entry.role == Role::Server && entry.owner.source == OwnerSource::Unknown =>
            {
                if let Some(task) = self.listeners.owner_of(entry) {
                    entry.offer_owner(&task, OwnerSource::Listener, &self.filter);
                }
            }
            _ => {}
        }
    }

    fn deliver_held(&mut self, entry: &mut Entry, sink: &mut (impl Sink + ?Sized)) {
        for transition in entry.take_held().iter().flat_map(|held| &held.moves) {
            entry.describe(
                &mut self.conn,
                transition.event.sk,
                transition.event.mono_ns,
            );
            transition.cut_back(&mut self.conn);
            self.tell(transition, sink);
        }
    }

    fn tell(&self, transition: &Move, sink: &mut (impl Sink + ?Sized)) {
        let event = transition.event;
        sink.transition(
            &self.conn,
            &Transition {
                event,
                in_state_ns: transition.in_state_ns,
                legality: legality(event.protocol, event.from, event.to),
                after_gap: transition.after_gap,
            },
        );
    }

    fn end(
        &mut self,
        sk: u64,
        entry: &Entry,
        ending: Ending,
        now_ns: u64,
        sink: &mut (impl Sink + ?Sized),
    ) {
        if entry.role == Role::Listener {
            self.listeners.remove(sk, entry);
        }
        match entry.verdict {
            Verdict::Yes => {
                entry.describe(&mut self.conn, sk, now_ns);
                sink.ended(&self.conn, ending);
            }
            Verdict::Undecided => self.stats.undecided += 1,
            Verdict::No => {}
        }
    }
}

/// A connection to be filled in.
fn blank() -> Connection {
    let nowhere = Endpoint {
        addr: std::net::Ipv4Addr::UNSPECIFIED.into(),
        port: 0,
    };
    Connection {
        id: ConnId(0),
        sk: 0,
        netns: None,
        family: Family::Other(0),
        protocol: Protocol::Other(0),
        local: nowhere,
        remote: nowhere,
        role: Role::Unknown,
        owner: Owner {
            pid: None,
            comm: None,
            source: OwnerSource::Unknown,
        },
        steps: Vec::new(),
        from_birth: false,
        has_gap: false,
        as_of_ns: 0,
    }
}
