//! The tracker itself: which life an event belongs to, and who is told.

use std::net::IpAddr;

use hashlink::LinkedHashMap;
use hashlink::linked_hash_map::{Entry as Slot, RawEntryMut};

use super::entry::{Entry, Losses, Move, is_birth};
use super::follow::Following;
use super::half_open::HalfOpen;
use super::linger::{Closed, Lingering};
use super::listeners::{ListenerOwner, Listeners};
use super::mini::{After, MiniEnd, MiniSight, TimeWait};
use super::places::Places;
use super::recent::RecentlyClosed;
use super::snapshot::Snapshot;
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
    pub(super) sockets: LinkedHashMap<u64, Entry>,
    /// Those that were there before the trace, and of which no event has come.
    pub(super) snapshot: Snapshot,
    pub(super) next_id: u64,
    closed: RecentlyClosed,
    /// Closed, but not told yet that they ended.
    pub(super) lingering: Lingering,
    pub(super) following: Following,
    stray: Stray,
    pub(super) teller: Teller,
}

/// All but the map of sockets, so that an entry can be worked on in its place.
pub(super) struct Teller {
    pub(super) filter: Filter,
    pub(super) listeners: Listeners,
    pub(super) half_open: HalfOpen,
    pub(super) places: Places,
    pub(super) lost: Losses,
    pub(super) stats: Stats,
    /// The births of mini-sockets are seen.
    sees_minis: bool,
    /// Filled in anew for each call of the sink.
    pub(super) conn: Connection,
}

impl Tracker {
    /// A tracker that has seen nothing.
    pub fn new(config: TrackerConfig) -> Self {
        Self {
            max_connections: config.max_connections.max(1),
            sockets: LinkedHashMap::new(),
            snapshot: Snapshot::default(),
            next_id: 1,
            closed: RecentlyClosed::new(),
            lingering: Lingering::default(),
            following: Following::new(config.time_wait, config.minis),
            stray: Stray::default(),
            teller: Teller {
                filter: config.filter,
                listeners: Listeners::default(),
                half_open: HalfOpen::default(),
                places: Places::default(),
                lost: Losses::default(),
                stats: Stats::default(),
                sees_minis: config.minis.births,
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
            Event::Evidence(event) => self.handle_evidence(event, sink),
            Event::Polled(event) => self.handle_polled(event, sink),
            Event::Place(event) => self.teller.places.learn(event),
            Event::Socket(event) => self.handle_socket(event, sink),
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
            self.end_half_open(&pending, Ending::NeverCompleted, now_ns, sink);
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
            self.end_half_open(&pending, Ending::StillOpen, now_ns, sink);
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
            owner: listener.map_or(Verdict::Undecided, |listener| {
                listener.owner_verdict(&self.teller.filter)
            }),
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

        if let Some(closed) = self.lingering.remove(event.sk) {
            self.settle(closed, sink);
        }
        if let Slot::Occupied(mut slot) = self.sockets.entry(event.sk) {
            if slot.get().continues_with(event) {
                slot.to_back();
                let entry = slot.get_mut();
                Self::match_listed(&mut self.snapshot, &mut self.teller, entry, event, sink);
                self.teller.advance(entry, event, sink);
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
        let oldest = self.sockets.pop_front();
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
            && match self.sockets.get(&event.sk) {
                Some(entry) => entry.repeated_by(event),
                None => self.closed.repeated_by(event),
            }
    }

    fn handle_accept(&mut self, event: &AcceptEvent, sink: &mut (impl Sink + ?Sized)) {
        self.teller.stats.accepts += 1;
        if let RawEntryMut::Occupied(mut slot) = self.sockets.raw_entry_mut().from_key(&event.sk) {
            if slot.get().can_be_accepted(event) {
                slot.to_back();
                self.teller.accept(slot.get_mut(), event, sink);
                return;
            }
        } else if let Some(closed) = self.lingering.get_mut(event.sk)
            && closed.entry.can_be_accepted(event)
        {
            // Reset in the queue, and handed out all the same.
            self.teller.accept(&mut closed.entry, event, sink);
            return;
        }
        self.teller.stats.accepts_unmatched += 1;
        self.snapshot.remember_accept(event.sk, event.task);
    }

    fn handle_evidence(&mut self, event: &EvidenceEvent, sink: &mut (impl Sink + ?Sized)) {
        self.teller.stats.evidence += 1;
        self.teller.half_open.watching(event.mono_ns);
        match &event.what {
            Evidence::SynAckRetransmit {
                netns,
                local,
                remote,
            } => {
                // With TCP fast open it is the socket of the connection that sends it.
                if let Some(entry) = self.sockets.get_mut(&event.sk)
                    && entry.role == Role::Server
                {
                    entry.note(event);
                    return;
                }
                let half_open = &mut self.teller.half_open;
                let dropped = half_open.retransmitted(*netns, local, remote, event.mono_ns);
                self.teller.stats.half_open_dropped += u64::from(dropped.is_some());
            }
            Evidence::RequestBorn {
                netns,
                local,
                remote,
            } => {
                let half_open = &mut self.teller.half_open;
                let dropped = half_open.born(*netns, local, remote, event.mono_ns);
                self.teller.stats.half_open_dropped += u64::from(dropped.is_some());
            }
            Evidence::MiniTimer { state } => {
                let (mini, now_ns) = (event.sk, event.mono_ns);
                self.news_of_mini(mini, now_ns, |mini| mini.rearm(*state, now_ns), sink);
            }
            Evidence::MiniEnd { state } => {
                let (mini, now_ns) = (event.sk, event.mono_ns);
                self.news_of_mini(mini, now_ns, |mini| mini.ended(*state, now_ns), sink);
            }
            Evidence::Destroyed => {
                if let Some(entry) = self.sockets.remove(&event.sk) {
                    self.teller
                        .end(event.sk, &entry, Ending::EndUnseen, event.mono_ns, sink);
                }
            }
            Evidence::MiniBorn { mini, .. } => {
                self.mini_born(*mini, event.sk, sink);
                self.note(event);
            }
            Evidence::Retransmit
            | Evidence::ResetReceived
            | Evidence::ResetSent { .. }
            | Evidence::SocketError { .. }
            | Evidence::HandedOver { .. } => self.note(event),
        }
    }

    /// Evidence of a socket.
    fn note(&mut self, event: &EvidenceEvent) {
        if let Some(entry) = self.sockets.get_mut(&event.sk) {
            entry.note(event);
        } else if let Some(closed) = self.lingering.get_mut(event.sk) {
            closed.entry.note(event);
        } else {
            self.teller.stats.evidence_unmatched += 1;
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
        if event.to == State::Closed
            && self.sees_minis
            && entry.after() == After::NotKnown
            && entry.may_go_on()
            && entry.is_complete(self.lost)
        {
            // It would have been born by now.
            entry.evidence_mut().after = After::Nothing;
        }
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
        self.decide(entry, sink);
    }

    /// Asks the filter once more, of what has become known beside a transition.
    pub(super) fn decide(&mut self, entry: &mut Entry, sink: &mut (impl Sink + ?Sized)) {
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
            (State::Closed, State::Listen) => {
                self.listeners
                    .add(entry, event.task.map(ListenerOwner::Task));
            }
            // Older kernels give the child its addresses after the first transition only.
            (State::Listen | State::SynReceived, _)
                if entry.role == Role::Server && entry.owner.source == OwnerSource::Unknown =>
            {
                self.offer_listener_owner(entry);
            }
            _ => {}
        }
    }

    /// Takes the owner of its listener, until somebody accepts it.
    pub(super) fn offer_listener_owner(&mut self, entry: &mut Entry) {
        let (source, filter) = (OwnerSource::Listener, &self.filter);
        match self.listeners.owner_of(entry) {
            Some(ListenerOwner::Task(task)) => {
                entry.offer_owner(&task, source, &mut self.places, filter);
            }
            Some(ListenerOwner::Holders(holders)) => entry.offer_owners(&holders, source, filter),
            None => {}
        }
    }

    fn deliver_held(&mut self, entry: &mut Entry, sink: &mut (impl Sink + ?Sized)) {
        for transition in &entry.take_held() {
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
                since_listed: transition.since_listed,
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
        entry.synacks_counted |= self.half_open.covers(event.mono_ns);
        let taken = self
            .half_open
            .take(entry.netns, &entry.local, &entry.remote, event.mono_ns);
        if let Some(taken) = taken {
            entry.take_over(&taken);
        }
    }

    /// The socket was closed; the end is told later.
    fn closed(&mut self, entry: &mut Entry, event: &StateEvent) {
        if entry.role == Role::Listener {
            self.listeners.remove(entry);
            self.listeners.closed(entry, event.mono_ns);
            self.half_open.listener_closed(entry.netns, &entry.local);
        } else if entry.role == Role::Server
            && entry.owner.source != OwnerSource::Accept
            && self.listeners.closed_before(entry, event.mono_ns)
        {
            entry.evidence_mut().listener_closed = true;
        }
    }

    /// As of the end of its mini-socket, where that is known.
    pub(super) fn end_closed(&mut self, closed: &Closed, sink: &mut (impl Sink + ?Sized)) {
        let as_of_ns = match closed.entry.after() {
            After::Mini(mini) => match mini.end {
                MiniEnd::At(end_ns) => end_ns.max(closed.at_ns),
                MiniEnd::NotSeen | MiniEnd::Gone => mini.seen_ns.max(closed.at_ns),
            },
            After::NotKnown | After::Nothing => closed.at_ns,
        };
        self.end(closed.sk, &closed.entry, Ending::Closed, as_of_ns, sink);
    }

    pub(super) fn end(
        &mut self,
        sk: u64,
        entry: &Entry,
        ending: Ending,
        now_ns: u64,
        sink: &mut (impl Sink + ?Sized),
    ) {
        if entry.role == Role::Listener && ending != Ending::Closed {
            self.listeners.remove(entry);
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
        holders: None,
        steps: Vec::new(),
        from_birth: false,
        has_gap: false,
        listed_ns: None,
        as_of_ns: 0,
        evidence: Gathered::default(),
    }
}
