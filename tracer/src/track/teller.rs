//! Which connections are told of, and what is known of them.

use super::entry::{Entry, Found, Losses, is_birth};
use super::half_open::HalfOpen;
use super::linger::Closed;
use super::listeners::{ListenerOwner, Listeners};
use super::mini::{After, MiniEnd};
use super::places::Places;
use super::tracker::Stats;
use super::{
    ConnId, Connection, Ending, Gap, Gathered, Owner, OwnerProcess, OwnerSource, Role, Sink,
    Transition,
};
use crate::event::{AcceptEvent, Endpoint, Family, Protocol, StateEvent};
use crate::filter::{Filter, Verdict};
use crate::state::{State, legality};

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

impl Teller {
    /// One that has told nothing. `sees_minis`: the births of mini-sockets are seen.
    pub(super) fn new(filter: Filter, sees_minis: bool) -> Self {
        Self {
            filter,
            listeners: Listeners::default(),
            half_open: HalfOpen::default(),
            places: Places::default(),
            lost: Losses::default(),
            stats: Stats::default(),
            sees_minis,
            conn: blank(),
        }
    }

    /// Takes a transition into its life and tells or holds it.
    pub(super) fn advance(
        &mut self,
        entry: &mut Entry,
        event: &StateEvent,
        sink: &mut (impl Sink + ?Sized),
    ) {
        let found = entry.advance(event, self.lost);
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
        self.find_owner(entry, event);
        entry.decide(&self.filter);
        match entry.verdict {
            Verdict::Yes => {
                self.deliver_held(entry, sink);
                entry.describe(&mut self.conn, event.sk, event.mono_ns, self.lost);
                self.tell(event, &found, sink);
            }
            Verdict::Undecided => {
                self.stats.held_dropped += u64::from(entry.hold(event, found));
            }
            Verdict::No => {}
        }
    }

    pub(super) fn accept(
        &mut self,
        entry: &mut Entry,
        event: &AcceptEvent,
        sink: &mut (impl Sink + ?Sized),
    ) {
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

    fn find_owner(&mut self, entry: &mut Entry, event: &StateEvent) {
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
        let source = OwnerSource::Listener;
        let Self {
            listeners,
            places,
            filter,
            ..
        } = self;
        match listeners.owner_of(entry) {
            Some(ListenerOwner::Task(task)) => {
                entry.offer_owner(&task, source, places, filter);
            }
            Some(ListenerOwner::Holders(holders)) => {
                entry.offer_owners(&holders, source, places, filter);
            }
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
            self.tell(&transition.event, &transition.found, sink);
        }
    }

    fn tell(&self, event: &StateEvent, found: &Found, sink: &mut (impl Sink + ?Sized)) {
        sink.transition(
            &self.conn,
            &Transition {
                event: *event,
                in_state_ns: found.in_state_ns,
                since_listed: found.since_listed,
                legality: legality(event.protocol, event.from, event.to),
                after_gap: found.after_gap,
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
    pub(super) fn closed(&mut self, entry: &mut Entry, event: &StateEvent) {
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
                MiniEnd::At(end_ns) | MiniEnd::Replaced(end_ns) => end_ns.max(closed.at_ns),
                MiniEnd::NotSeen | MiniEnd::NoNamespace => mini.seen_ns.max(closed.at_ns),
            },
            After::Replaced(end_ns) => end_ns.max(closed.at_ns),
            After::NotKnown | After::Nothing | After::Missing(_) | After::NoNamespace => {
                closed.at_ns
            }
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
                let at_close = self.conn.evidence.at_close;
                let cgroup_id = at_close.and_then(|at_close| at_close.cgroup_id);
                self.conn.socket_place = cgroup_id.and_then(|id| self.places.of_cgroup(id));
                let ending = if ending == Ending::StillOpen && self.conn.in_doubt {
                    Ending::MayBeOver
                } else {
                    ending
                };
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
        socket_place: None,
        steps: Vec::new(),
        from_birth: false,
        gap: Gap::None,
        in_doubt: false,
        listed_ns: None,
        as_of_ns: 0,
        evidence: Gathered::default(),
    }
}
