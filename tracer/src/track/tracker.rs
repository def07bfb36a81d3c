//! The tracker itself: which life an event belongs to, and who is told.

use std::net::IpAddr;

use hashlink::LinkedHashMap;
use hashlink::linked_hash_map::{Entry as Slot, RawEntryMut};

use super::entry::{Entry, Losses, Move, is_birth};
use super::half_open::HalfOpen;
use super::linger::{Closed, Lingering};
use super::listeners::Listeners;
use super::places::Places;
use super::recent::RecentlyClosed;
use super::stray::Stray;
use super::{
    ConnId, Connection, Ending, Gathered, HalfOpenConnection, Owner, OwnerProcess, OwnerSource,
    Role, Sink, Transition,
};
use crate::event::{
    AcceptEvent, Endpoint, Event, Evidence, EvidenceEvent, Family, Protocol, StateEvent,
};
use crate::filter::{Filter, Known, Verdict};
use crate::state::{State, legality};

/// Listeners passed over at most to find a connection to forget.
const SPARED: usize = 256;

/// How to track.
#[derive(Clone, Debug)]
pub struct TrackerConfig {
    /// Sockets tracked at once, at least 1. Those that are closed and wait for late evidence give way
    /// first; then the one that was silent for longest is forgotten, listeners after all others. Each
    /// takes some 256 bytes, as much again once something happened to it beside its state changes, and
    /// up to 2 kB while a filter waits to learn more of it.
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
    /// Pieces of evidence beside the state changes.
    pub evidence: u64,
    /// Pieces of these about a socket that was not tracked.
    pub evidence_unmatched: u64,
    /// Half-open connections whose SYN-ACK was sent again, and that were not seen to complete.
    pub half_open_lost: u64,
}

/// Turns events into connections and transitions.
pub struct Tracker {
    max_connections: usize,
    /// By socket address, the one touched last at the end.
    sockets: LinkedHashMap<u64, Entry>,
    next_id: u64,
    closed: RecentlyClosed,
    /// Closed, but not told yet that they ended.
    lingering: Lingering,
    stray: Stray,
    teller: Teller,
}

/// All but the map of sockets, so that an entry can be worked on in its place.
struct Teller {
    filter: Filter,
    listeners: Listeners,
    half_open: HalfOpen,
    places: Places,
    lost: Losses,
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
            lingering: Lingering::default(),
            stray: Stray::default(),
            teller: Teller {
                filter: config.filter,
                listeners: Listeners::default(),
                half_open: HalfOpen::default(),
                places: Places::default(),
                lost: Losses::default(),
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
            Event::Evidence(event) => self.handle_evidence(event),
            Event::Place(event) => self.teller.places.learn(event),
        }
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

    /// Tells the ends of connections that were closed long enough ago for all evidence to be here.
    ///
    /// All events before `now_ns` must have been handled, and all losses told: an end that is told here
    /// comes with its verdict.
    pub fn handle_timeout(&mut self, now_ns: u64, sink: &mut (impl Sink + ?Sized)) {
        while let Some(closed) = self.lingering.pop_over(now_ns) {
            self.teller.end_closed(&closed, sink);
        }
        self.teller.stats.half_open_lost += self.teller.half_open.expire(now_ns);
    }

    /// Ends all that is left: what is closed in the order of closing, then what is open in the order of
    /// identity. `now_ns` is when the trace stopped.
    pub fn finish(&mut self, now_ns: u64, sink: &mut (impl Sink + ?Sized)) {
        while let Some(closed) = self.lingering.pop() {
            self.teller.end_closed(&closed, sink);
        }
        let mut open: Vec<(u64, Entry)> = self.sockets.drain().collect();
        open.sort_unstable_by_key(|(_, entry)| entry.id);
        for (sk, entry) in open {
            self.teller.end(sk, &entry, Ending::StillOpen, now_ns, sink);
        }
    }

    /// What is known at `now_ns` of the selected connection or listener that has the socket at `sk`, if it
    /// is open.
    pub fn look(&mut self, sk: u64, now_ns: u64) -> Option<&Connection> {
        let entry = self.sockets.get(&sk)?;
        if entry.verdict != Verdict::Yes {
            return None;
        }
        let teller = &mut self.teller;
        entry.describe(&mut teller.conn, sk, now_ns, teller.lost);
        Some(&teller.conn)
    }

    /// What is known of the half-open connection that evidence is about, if the filter selects it.
    pub fn half_open(&self, event: &EvidenceEvent) -> Option<HalfOpenConnection> {
        let Evidence::SynAckRetransmit {
            netns,
            local,
            remote,
        } = event.what
        else {
            return None;
        };
        let listener = self.sockets.get(&event.sk);
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
            owner: listener.map_or(Verdict::Undecided, Entry::owner_verdict),
        };
        let teller = &self.teller;
        let (retransmits, first_ns, last_ns) = teller.half_open.get(netns, &local, &remote)?;
        (teller.filter.verdict(&known) == Verdict::Yes).then_some(HalfOpenConnection {
            netns,
            local,
            remote,
            owner: listener.map_or(Owner::UNKNOWN, |listener| listener.owner.as_listener()),
            retransmits,
            first_ns,
            last_ns,
        })
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
        self.teller.half_open.watching(event.mono_ns);

        if let Some(closed) = self.lingering.remove(event.sk) {
            self.teller.end_closed(&closed, sink);
        }
        if let Slot::Occupied(mut slot) = self.sockets.entry(event.sk) {
            if slot.get().continues_with(event) {
                slot.to_back();
                self.teller.advance(slot.get_mut(), event, sink);
                if event.to == State::Closed {
                    let entry = slot.remove();
                    self.close(entry, event, sink);
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
        self.make_room(event, sink);
        if !is_birth(event) {
            for evidence in self.stray.of(event.sk, event.mono_ns) {
                entry.note_before(evidence, event.from);
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
        if self.tracked() < self.max_connections {
            self.lingering.add(closed);
        } else {
            closed.entry.cut_short();
            self.teller.end_closed(&closed, sink);
        }
    }

    /// Sockets that take memory.
    fn tracked(&self) -> usize {
        self.sockets.len() + self.lingering.len()
    }

    /// Makes room for the life that starts with `event`, of what is closed before what is open.
    fn make_room(&mut self, event: &StateEvent, sink: &mut (impl Sink + ?Sized)) {
        if self.tracked() < self.max_connections {
            return;
        }
        if let Some(mut closed) = self.lingering.pop() {
            if !closed.is_over(event.mono_ns) {
                closed.entry.cut_short();
            }
            self.teller.end_closed(&closed, sink);
        } else if event.to != State::Closed {
            self.age_out(event.mono_ns, sink);
        }
    }

    /// Makes room for one. Listeners are silent by nature, and owners are derived from them; and where a
    /// filter is set, most of what is tracked are strangers' first transitions, whose others the kernel
    /// left out. So listeners and connections that are told of get another turn while there is anything
    /// else.
    fn age_out(&mut self, now_ns: u64, sink: &mut (impl Sink + ?Sized)) {
        let filtered = self.teller.filter != Filter::default();
        for _ in 0..self.sockets.len().min(SPARED) {
            match self.sockets.front_entry() {
                Some(mut oldest)
                    if oldest.get().role == Role::Listener
                        || filtered && oldest.get().verdict == Verdict::Yes =>
                {
                    oldest.to_back();
                }
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
        } else if let Some(closed) = self.lingering.get_mut(event.sk)
            && matches!(closed.entry.role, Role::Server | Role::Unknown)
            && closed.entry.owner.source != OwnerSource::Accept
        {
            // Reset in the queue, and handed out all the same.
            self.teller.accept(&mut closed.entry, event, sink);
            return;
        }
        self.teller.stats.accepts_unmatched += 1;
    }

    fn handle_evidence(&mut self, event: &EvidenceEvent) {
        let stats = &mut self.teller.stats;
        stats.evidence += 1;
        let half_open = &mut self.teller.half_open;
        half_open.watching(event.mono_ns);
        if let Evidence::SynAckRetransmit {
            netns,
            local,
            remote,
        } = &event.what
        {
            // With TCP fast open it is the socket of the connection that sends it.
            if let Some(entry) = self.sockets.get_mut(&event.sk)
                && entry.role == Role::Server
            {
                entry.note(event);
                return;
            }
            let lost = half_open.retransmitted(*netns, local, remote, event.mono_ns);
            stats.half_open_lost += lost;
        } else if let Some(entry) = self.sockets.get_mut(&event.sk) {
            entry.note(event);
        } else if let Some(closed) = self.lingering.get_mut(event.sk) {
            closed.entry.note(event);
        } else {
            stats.evidence_unmatched += 1;
            if event.what != Evidence::Retransmit {
                self.stray.remember(event);
            }
        }
    }
}

impl Teller {
    /// Takes a transition into its life and tells or holds it.
    fn advance(&mut self, entry: &mut Entry, event: &StateEvent, sink: &mut (impl Sink + ?Sized)) {
        let transition = entry.advance(event, self.lost);
        self.take_half_open(entry, event);
        self.find_owner(entry, &transition);
        entry.decide(&self.filter);
        match entry.verdict {
            Verdict::Yes => {
                self.deliver_held(entry, sink);
                entry.describe(&mut self.conn, event.sk, event.mono_ns, self.lost);
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
        entry.offer_owner(
            &event.task,
            OwnerSource::Accept,
            &mut self.places,
            &self.filter,
        );
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
                entry.offer_owner(task, source, &mut self.places, &self.filter);
            }
        }
        match (event.from, event.to) {
            (State::Closed, State::Listen) => self.listeners.add(event.sk, entry, event.task),
            // Older kernels give the child its addresses after the first transition only.
            (State::Listen | State::SynReceived, _)
                if entry.role == Role::Server && entry.owner.source == OwnerSource::Unknown =>
            {
                if let Some(task) = self.listeners.owner_of(entry) {
                    entry.offer_owner(&task, OwnerSource::Listener, &mut self.places, &self.filter);
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
                self.lost,
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

    /// A child that got its socket takes over what was counted while it had none. Older kernels give it
    /// its addresses with the second transition only.
    fn take_half_open(&mut self, entry: &mut Entry, event: &StateEvent) {
        let completes = matches!(event.to, State::SynReceived | State::Established);
        if entry.role != Role::Server || !completes || entry.remote.port == 0 {
            return;
        }
        entry.synacks_counted = self.half_open.covers(event.mono_ns);
        let taken = self
            .half_open
            .take(entry.netns, &entry.local, &entry.remote, event.mono_ns);
        if let Some(retransmits) = taken {
            let count = &mut entry.evidence_mut().synack_retransmits;
            *count = count.saturating_add(retransmits);
        }
    }

    /// The socket was closed; the end is told later.
    fn closed(&mut self, entry: &mut Entry, event: &StateEvent) {
        if entry.role == Role::Listener {
            self.listeners.remove(event.sk, entry);
            self.listeners.closed(entry, event.mono_ns);
        } else if entry.role == Role::Server
            && entry.owner.source != OwnerSource::Accept
            && self.listeners.closed_before(entry, event.mono_ns)
        {
            entry.evidence_mut().listener_closed = true;
        }
    }

    fn end_closed(&mut self, closed: &Closed, sink: &mut (impl Sink + ?Sized)) {
        self.end(closed.sk, &closed.entry, Ending::Closed, closed.at_ns, sink);
    }

    fn end(
        &mut self,
        sk: u64,
        entry: &Entry,
        ending: Ending,
        now_ns: u64,
        sink: &mut (impl Sink + ?Sized),
    ) {
        if entry.role == Role::Listener && ending != Ending::Closed {
            self.listeners.remove(sk, entry);
        }
        match entry.verdict {
            Verdict::Yes => {
                entry.describe(&mut self.conn, sk, now_ns, self.lost);
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
        owner: Owner::UNKNOWN,
        owner_process: OwnerProcess::default(),
        steps: Vec::new(),
        from_birth: false,
        has_gap: false,
        as_of_ns: 0,
        evidence: Gathered::default(),
    }
}
