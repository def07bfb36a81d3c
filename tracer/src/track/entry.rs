//! One socket's life as the tracker keeps it, under the address of the socket.

use std::sync::Arc;

use super::evidence::{Gathered, Opened};
use super::half_open::{Pending, Taken};
use super::mini::{After, Mini};
use super::places::Places;
use super::sockets::Warm;
use super::steps::Steps;
use super::{ConnId, Connection, Gap, Owner, OwnerProcess, OwnerSource, Role, Step};
use crate::event::{
    AcceptEvent, Endpoint, EvidenceEvent, Family, Process, Protocol, SocketEvent, StateEvent, Task,
};
use crate::filter::{Filter, Known, Verdict};
use crate::state::State;

/// Transitions kept of a connection that the filter cannot decide yet.
pub(super) const MAX_HELD: usize = 8;

/// Events lost in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Losses {
    pub(super) transitions: u64,
    /// Accepts and evidence.
    pub(super) evidence: u64,
}

/// Stands for a time that is not known.
const NOT_SEEN: u64 = u64::MAX;

/// Events lost below which a socket cannot have come back to the state it was in.
const SHORTEST_CYCLE: u64 = 2;

#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, and they pack"
)]
pub(super) struct Entry {
    pub(super) id: ConnId,
    pub(super) local: Endpoint,
    pub(super) remote: Endpoint,
    pub(super) netns: Option<u32>,
    pub(super) family: Family,
    pub(super) protocol: Protocol,
    pub(super) owner: Owner,
    owner_process: Option<Arc<OwnerProcess>>,
    pub(super) role: Role,
    pub(super) verdict: Verdict,
    owner_matches: bool,
    from_birth: bool,
    gap: Gap,
    steps: Steps,
    /// State left by the last transition, see [`short`].
    last_from: i8,
    /// Events lost in all when this was last touched.
    lost_before: Losses,
    /// See [`Gathered::incomplete`]; so far.
    incomplete: bool,
    /// See [`Gathered::synacks_counted`].
    pub(super) synacks_counted: bool,
    /// See [`Gathered::half_open_ns`]; [`NOT_SEEN`] for none.
    half_open_ns: u64,
    opened: Option<Opened>,
    /// All other evidence, where there is any.
    evidence: Option<Box<Gathered>>,
    /// What few connections have.
    aside: Option<Box<Aside>>,
}

#[derive(Default)]
struct Aside {
    /// Transitions that wait for the filter, in order.
    held: Vec<Move>,
    /// All that hold it, where they are several; the owner is the first.
    holders: Option<Arc<Vec<Process>>>,
}

/// One transition and what the tracker found about it.
pub(super) struct Move {
    pub(super) event: StateEvent,
    pub(super) found: Found,
}

/// What the tracker found about a transition.
#[derive(Clone, Copy)]
pub(super) struct Found {
    pub(super) in_state_ns: Option<u64>,
    pub(super) since_listed: bool,
    pub(super) after_gap: bool,
    /// Steps of the connection after it.
    steps: usize,
}

impl Entry {
    /// The life that starts, or is first seen, with `event`, which is still to be [`Self::advance`]d.
    pub(super) fn new(id: ConnId, event: &StateEvent) -> Self {
        let local = Endpoint {
            addr: event.local.addr,
            port: 0,
        };
        Self {
            from_birth: is_birth(event),
            ..Self::unknown(
                id,
                event.netns,
                event.family,
                event.protocol,
                (local, event.remote),
                event.from,
            )
        }
    }

    /// One between these ends (the local one first) that was in `state`, and nothing more known of it.
    fn unknown(
        id: ConnId,
        netns: Option<u32>,
        family: Family,
        protocol: Protocol,
        (local, remote): (Endpoint, Endpoint),
        state: State,
    ) -> Self {
        Self {
            id,
            local,
            remote,
            netns,
            family,
            protocol,
            owner: Owner::UNKNOWN,
            owner_process: None,
            role: Role::Unknown,
            verdict: Verdict::Undecided,
            owner_matches: false,
            from_birth: false,
            gap: Gap::None,
            steps: Steps::default(),
            last_from: short(state),
            lost_before: Losses::default(),
            incomplete: false,
            synacks_counted: false,
            half_open_ns: NOT_SEEN,
            opened: None,
            evidence: None,
            aside: None,
        }
    }

    /// One that never had a socket. `counted`: no repetition of its SYN-ACK was missed.
    pub(super) fn half_open(id: ConnId, pending: &Pending, counted: bool, lost: Losses) -> Self {
        let event = StateEvent {
            mono_ns: pending.born_ns.unwrap_or(pending.first_ns),
            sk: 0,
            netns: pending.netns,
            family: pending.family(),
            protocol: Protocol::Tcp,
            local: pending.local,
            remote: pending.remote,
            from: State::Listen,
            to: State::SynReceived,
            local_port_known: true,
            task: None,
            counts: None,
            at_close: None,
            from_twin: false,
        };
        let mut entry = Self::new(id, &event);
        entry.advance(&event, lost);
        entry.from_birth = pending.born_ns.is_some();
        entry.synacks_counted = counted;
        if !entry.from_birth {
            entry.steps.forget_last_time();
        }
        entry.take_over(&Taken {
            born_ns: pending.born_ns,
            polled: pending.polled,
            retransmits: pending.retransmits,
        });
        if pending.listener_closed {
            entry.evidence_mut().listener_closed = true;
        }
        entry
    }

    /// The life of a socket that was there when the kernel was asked.
    pub(super) fn listed(id: ConnId, event: &SocketEvent, lost: Losses) -> Self {
        Self {
            steps: Steps::found(event.state, event.seen_ns),
            lost_before: lost,
            ..Self::unknown(
                id,
                event.netns,
                event.family,
                event.protocol,
                (event.local, event.remote),
                event.state,
            )
        }
    }

    /// When it was first seen by an event.
    pub(super) fn first_seen_ns(&self) -> Option<u64> {
        self.steps.iter().find_map(|step| step.since_ns)
    }

    /// Whether `event` belongs to this life of the socket.
    pub(super) fn continues_with(&self, event: &StateEvent) -> bool {
        if is_birth(event)
            || self.protocol != event.protocol
            || (self.role == Role::Listener) != (event.from == State::Listen)
        {
            return false;
        }
        let same_netns = self
            .netns
            .is_none_or(|mine| event.netns.is_none_or(|other| mine == other));
        let same_port = |mine: u16, other: u16| mine == 0 || other == 0 || mine == other;
        let (mine, other) = (self.remote.wire_addr(), event.remote.wire_addr());
        let same_peer = mine.is_unspecified() || other.is_unspecified() || mine == other;
        same_netns
            && same_peer
            && same_port(self.remote.port, event.remote.port)
            && (!event.local_port_known || same_port(self.local.port, event.local.port))
            && (self.protocol != Protocol::Tcp
                || self
                    .state()
                    .is_none_or(|state| lies_ahead(state, event.from)))
    }

    /// Whether `event` is the last transition once more.
    pub(super) fn repeated_by(&self, event: &StateEvent) -> bool {
        self.last_from == short(event.from) && self.state() == Some(event.to)
    }

    /// Takes in a transition of this life.
    pub(super) fn advance(&mut self, event: &StateEvent, lost: Losses) -> Found {
        let mut in_state_ns = None;
        let mut since_listed = false;
        let mut after_gap = false;
        match self.steps.last() {
            None if self.from_birth => {}
            None => self.push(event.from, None),
            Some(last) if last.state != event.from => {
                after_gap = true;
                self.gap = Gap::Certain;
                self.push(event.from, None);
            }
            Some(last) => {
                let same_stay = self.lost_transitions(lost) < SHORTEST_CYCLE;
                if !same_stay {
                    self.gap = self.gap.max(Gap::Possible);
                }
                in_state_ns = last
                    .since_ns
                    .filter(|_| same_stay)
                    .and_then(|since_ns| event.mono_ns.checked_sub(since_ns));
                if self.steps.len() == 1 && same_stay {
                    let found_ns = self.steps.found_ns();
                    since_listed = found_ns.is_some_and(|found_ns| found_ns <= event.mono_ns);
                    if since_listed {
                        in_state_ns = found_ns.map(|found_ns| event.mono_ns - found_ns);
                    }
                }
                if in_state_ns.is_none() {
                    self.steps.forget_last_time();
                }
            }
        }
        let is_new = self.steps.len() == 0;
        self.push(event.to, Some(event.mono_ns));
        self.last_from = short(event.from);
        self.incomplete |= self.has_lost(lost) && !(is_new && self.from_birth);
        self.lost_before = lost;
        self.learn(event);
        self.count(event);
        Found {
            in_state_ns,
            since_listed,
            after_gap,
            steps: self.steps.len(),
        }
    }

    fn push(&mut self, state: State, since_ns: Option<u64>) {
        if self.steps.push(Step { state, since_ns }) {
            self.gap = Gap::Certain;
            for held in self.aside.iter_mut().flat_map(|aside| &mut aside.held) {
                held.found.steps = held.found.steps.saturating_sub(1);
            }
        }
    }

    /// Completes what is known of the endpoints and the role; what is known already is not unlearnt.
    fn learn(&mut self, event: &StateEvent) {
        if event.local_port_known && event.local.port != 0 {
            self.local.port = event.local.port;
        }
        if event.remote.port != 0 {
            self.remote.port = event.remote.port;
        }
        for (mine, other) in [
            (&mut self.local, &event.local),
            (&mut self.remote, &event.remote),
        ] {
            if !other.wire_addr().is_unspecified() || mine.wire_addr().is_unspecified() {
                mine.addr = other.addr;
            }
        }
        self.netns = self.netns.or(event.netns);
        self.family = event.family;
        self.role = match (event.from, event.to) {
            (State::Closed, State::Listen) | (State::Listen, State::Closed | State::Listen) => {
                Role::Listener
            }
            (State::Listen, _) => Role::Server,
            (State::SynSent, State::SynReceived) => Role::Both,
            (State::Closed, State::SynSent) => Role::Client,
            (State::SynSent, _) if self.role == Role::Unknown => Role::Client,
            _ => self.role,
        };
    }

    /// Keeps what the socket had counted. On an MPTCP socket the kernel's place for it holds nothing of
    /// the kind: its subflows count.
    fn count(&mut self, event: &StateEvent) {
        let Some(counts) = event.counts.filter(|_| event.protocol == Protocol::Tcp) else {
            return;
        };
        match event.to {
            State::Established => {
                self.opened = Some(Opened {
                    rtt_us: counts.rtt_us,
                    retransmits: counts.retransmits,
                });
            }
            State::Closed => {
                let evidence = self.evidence_mut();
                evidence.closed = Some(counts);
                evidence.at_close = event.at_close;
            }
            State::SynSent
            | State::SynReceived
            | State::FinWait1
            | State::FinWait2
            | State::TimeWait
            | State::CloseWait
            | State::LastAck
            | State::Listen
            | State::Closing
            | State::NewSynReceived
            | State::BoundInactive
            | State::Unknown(_) => {}
        }
    }

    /// Takes over what was seen of it while it had no socket.
    pub(super) fn take_over(&mut self, taken: &Taken) {
        if let Some(born_ns) = taken.born_ns {
            self.half_open_ns = born_ns;
            self.synacks_counted = true;
        }
        if taken.polled {
            self.evidence_mut().half_open_polled = true;
        }
        if taken.retransmits > 0 {
            let count = &mut self.evidence_mut().synack_retransmits;
            *count = count.saturating_add(taken.retransmits);
        }
    }

    /// What is known of the time after it was closed.
    pub(super) fn after(&self) -> After {
        self.evidence
            .as_ref()
            .map_or(After::NotKnown, |evidence| evidence.after)
    }

    /// Its mini-socket, where one is known.
    pub(super) fn mini_mut(&mut self) -> Option<&mut Mini> {
        match &mut self.evidence.as_mut()?.after {
            After::Mini(mini) => Some(mini),
            After::NotKnown
            | After::Nothing
            | After::Missing(_)
            | After::Replaced(_)
            | After::NoNamespace => None,
        }
    }

    /// The state that the socket left when it was closed, and since when it had been in it.
    pub(super) fn left(&self) -> Option<Step> {
        self.steps
            .iter()
            .filter(|step| step.state != State::Closed)
            .last()
    }

    /// Whether all that happened to it up to now was seen.
    pub(super) fn is_complete(&self, lost: Losses) -> bool {
        !self.incomplete && !self.has_lost(lost)
    }

    /// Whether the kernel may have gone on with it in a mini-socket: it was closed in order, as far as is
    /// known.
    pub(super) fn may_go_on(&self) -> bool {
        let in_order = |evidence: &Gathered| {
            !evidence.reset_received
                && evidence.reset_sent.is_none()
                && evidence.error.is_none()
                && evidence.closed.is_none_or(|counts| counts.error == 0)
        };
        self.went_out_of_sight() && self.evidence.as_deref().is_none_or(in_order)
    }

    /// It was closed in a state in which the kernel goes on with a connection in a mini-socket.
    pub(super) fn went_out_of_sight(&self) -> bool {
        self.protocol == Protocol::Tcp
            && self.role != Role::Listener
            && matches!(
                self.left().map(|step| step.state),
                Some(State::FinWait2 | State::Closing)
            )
    }

    /// Takes in what happened beside the state changes.
    pub(super) fn note(&mut self, event: &EvidenceEvent) {
        if let Some(state) = self.state() {
            self.evidence_mut().note(event, state);
        }
    }

    /// Takes in what happened before the first transition that was seen, which is still to be
    /// [`Self::advance`]d.
    pub(super) fn note_before(&mut self, event: &EvidenceEvent, state: State) {
        self.evidence_mut().note(event, state);
    }

    /// What was gathered beside what the open connection keeps in its place.
    pub(super) fn evidence_mut(&mut self) -> &mut Gathered {
        self.evidence.get_or_insert_default()
    }

    /// Not all that is to come of it will be seen.
    pub(super) fn cut_short(&mut self) {
        self.incomplete = true;
    }

    fn has_lost(&self, lost: Losses) -> bool {
        lost != self.lost_before
    }

    /// Since its last transition.
    fn lost_transitions(&self, lost: Losses) -> u64 {
        lost.transitions
            .saturating_sub(self.lost_before.transitions)
    }

    /// Whether it is not known if it still is in the state of its last transition.
    pub(super) fn is_in_doubt(&self, lost: Losses) -> bool {
        self.lost_transitions(lost) > 0 && self.state() != Some(State::Closed)
    }

    /// Whether this can be the socket that was accepted. Where that is only presumed it has to be one that
    /// waits for it: a child seen from its birth on, or found waiting, and not accepted yet.
    pub(super) fn can_be_accepted(&self, event: &AcceptEvent) -> bool {
        let waits = match self.role {
            Role::Server => !event.presumed || self.from_birth || self.waits_since_listed(),
            Role::Unknown => !event.presumed,
            Role::Client | Role::Listener | Role::Both => false,
        };
        waits && self.owner.source != OwnerSource::Accept
    }

    /// See [`Gathered::queued_when_listed`].
    pub(super) fn waits_since_listed(&self) -> bool {
        self.evidence
            .as_ref()
            .is_some_and(|evidence| evidence.queued_when_listed)
    }

    /// It may have been accepted since.
    pub(super) fn doubt_waiting(&mut self) {
        if let Some(evidence) = &mut self.evidence {
            evidence.queued_when_listed = false;
        }
    }

    /// Takes an owner found, if none better is known.
    pub(super) fn offer_owner(
        &mut self,
        task: &Task,
        source: OwnerSource,
        places: &mut Places,
        filter: &Filter,
    ) {
        let process = places.process(task);
        self.owner_matches |= filter.owner_matches(task.pid, &task.comm, process.place.as_deref());
        if source < self.owner.source {
            self.set_holders(None);
            self.owner = Owner {
                pid: Some(task.pid),
                comm: Some(task.comm),
                source,
            };
            self.owner_process = Some(process);
        }
    }

    /// Takes the processes that hold it, or its listener, if no better owner is known. Of several that
    /// hold a listener, any may yet accept it: they count as its owner only if all of them match.
    pub(super) fn offer_owners(
        &mut self,
        owners: &Arc<Vec<Process>>,
        source: OwnerSource,
        places: &mut Places,
        filter: &Filter,
    ) {
        let Some(first) = owners.first() else { return };
        let mut matches = owners.iter().map(|process| {
            let holder = places.holder(process.pid);
            let place = holder.as_ref().and_then(|holder| holder.place.as_deref());
            filter.owner_matches(process.pid, &process.comm, place)
        });
        self.owner_matches |= match source {
            OwnerSource::Listener => matches.all(|matches| matches),
            OwnerSource::Accept
            | OwnerSource::Connect
            | OwnerSource::Listen
            | OwnerSource::Snapshot
            | OwnerSource::Close
            | OwnerSource::Unknown => matches.any(|matches| matches),
        };
        if source < self.owner.source {
            self.set_holders((owners.len() > 1).then(|| Arc::clone(owners)));
            self.owner = Owner {
                pid: Some(first.pid),
                comm: Some(first.comm),
                source,
            };
            self.owner_process = places.holder(first.pid);
        }
    }

    /// Takes what is known of whom `listed`, the same socket, belongs to.
    pub(super) fn take_owner_of(&mut self, listed: &Self) {
        self.owner_matches |= listed.owner_matches;
        if listed.owner.source < self.owner.source {
            self.owner = listed.owner;
            self.owner_process.clone_from(&listed.owner_process);
            self.set_holders(listed.holders().cloned());
        }
        if self.role == Role::Unknown {
            self.role = listed.role;
        }
    }

    /// Whose it is turns out not to be known.
    pub(super) fn disown(&mut self) {
        self.owner = Owner::UNKNOWN;
        self.owner_process = None;
        self.set_holders(None);
    }

    fn holders(&self) -> Option<&Arc<Vec<Process>>> {
        self.aside.as_ref()?.holders.as_ref()
    }

    fn set_holders(&mut self, holders: Option<Arc<Vec<Process>>>) {
        if holders.is_some() {
            self.aside.get_or_insert_default().holders = holders;
        } else if let Some(aside) = &mut self.aside {
            aside.holders = None;
            self.tidy();
        }
    }

    /// Gives back what nothing is in.
    fn tidy(&mut self) {
        self.aside
            .take_if(|aside| aside.held.is_empty() && aside.holders.is_none());
    }

    /// Whether the same processes hold both.
    pub(super) fn is_owned_as(&self, other: &Self) -> bool {
        self.owner.pid == other.owner.pid && self.pids().eq(other.pids())
    }

    /// Whether the owner of this is one of those that hold `listed`.
    pub(super) fn may_be_owned_as(&self, listed: &Self) -> bool {
        self.owner.pid.is_some_and(|mine| {
            listed.owner.pid == Some(mine) || listed.pids().any(|pid| pid == mine)
        })
    }

    /// Of all that hold it, where they are several.
    fn pids(&self) -> impl Iterator<Item = u32> {
        let holders = self.holders().map(|holders| holders.as_slice());
        holders
            .unwrap_or_default()
            .iter()
            .map(|process| process.pid)
    }

    /// Asks the filter, unless it has decided before.
    pub(super) fn decide(&mut self, filter: &Filter) {
        if self.verdict != Verdict::Undecided {
            return;
        }
        self.verdict = filter.verdict(&Known {
            netns: self.netns,
            family: self.family,
            local: self.local,
            remote: self.remote,
            listener: self.role == Role::Listener,
            owner: self.owner_verdict(filter),
        });
        if self.verdict == Verdict::No {
            self.take_held();
        }
    }

    pub(super) fn owner_verdict(&self, filter: &Filter) -> Verdict {
        if self.owner_matches {
            return Verdict::Yes;
        }
        match self.owner.source {
            // Whoever closes comes last: no better evidence can follow.
            OwnerSource::Accept
            | OwnerSource::Connect
            | OwnerSource::Listen
            | OwnerSource::Close => Verdict::No,
            OwnerSource::Snapshot => {
                let place = self.owner_process.as_ref().map(|process| &process.place);
                let is_place_known = place.is_some_and(Option::is_some);
                if filter.asks_place() && !is_place_known {
                    Verdict::Undecided
                } else {
                    Verdict::No
                }
            }
            OwnerSource::Listener | OwnerSource::Unknown => Verdict::Undecided,
        }
    }

    /// Keeps a transition until the filter can decide. True when the oldest had to go for it.
    pub(super) fn hold(&mut self, event: &StateEvent, found: Found) -> bool {
        let moves = &mut self.aside.get_or_insert_default().held;
        let full = moves.len() >= MAX_HELD;
        if full {
            moves.remove(0);
            if let Some(first) = moves.first_mut() {
                first.found.after_gap = true;
            }
            self.gap = Gap::Certain;
        }
        moves.push(Move {
            event: *event,
            found,
        });
        full
    }

    /// The transitions that were held.
    pub(super) fn take_held(&mut self) -> Vec<Move> {
        let Some(aside) = &mut self.aside else {
            return Vec::new();
        };
        let held = std::mem::take(&mut aside.held);
        self.tidy();
        held
    }

    /// Waits for an answer to its SYN.
    pub(super) fn is_connecting(&self) -> bool {
        self.role == Role::Client && self.state() == Some(State::SynSent)
    }

    fn state(&self) -> Option<State> {
        self.steps.last().map(|step| step.state)
    }

    /// Fills in `conn` with all that is known. `lost` is the number of events lost in all.
    pub(super) fn describe(&self, conn: &mut Connection, sk: u64, as_of_ns: u64, lost: Losses) {
        conn.id = self.id;
        conn.sk = sk;
        conn.netns = self.netns;
        conn.family = self.family;
        conn.protocol = self.protocol;
        conn.local = self.local;
        conn.remote = self.remote;
        conn.role = self.role;
        conn.owner = self.owner;
        conn.owner_process = self.owner_process.as_deref().cloned().unwrap_or_default();
        conn.holders = self.holders().cloned();
        conn.socket_place = None;
        conn.listed_ns = self.steps.found_ns();
        self.steps.write_to(&mut conn.steps);
        conn.from_birth = self.from_birth;
        conn.in_doubt = self.is_in_doubt(lost);
        conn.gap = if conn.in_doubt {
            self.gap.max(Gap::Possible)
        } else {
            self.gap
        };
        conn.as_of_ns = as_of_ns;
        let evidence = &mut conn.evidence;
        *evidence = match &self.evidence {
            Some(gathered) => **gathered,
            None => Gathered::default(),
        };
        evidence.opened = self.opened;
        evidence.synacks_counted = self.synacks_counted;
        evidence.half_open_ns = (self.half_open_ns != NOT_SEEN).then_some(self.half_open_ns);
        evidence.incomplete = self.incomplete || self.has_lost(lost);
    }
}

impl Warm for Entry {
    fn warm(&self) -> u64 {
        let ports = self.local.port ^ self.remote.port;
        let first_ns = self.steps.found_ns().unwrap_or_default();
        self.id.0
            ^ self.half_open_ns
            ^ first_ns
            ^ u64::from(ports)
            ^ u64::from(self.owner.pid.unwrap_or_default())
            ^ u64::from(self.incomplete)
    }
}

impl Move {
    /// Cuts `conn` back to what it was after this transition.
    pub(super) fn cut_back(&self, conn: &mut Connection) {
        conn.steps.truncate(self.found.steps);
        conn.as_of_ns = self.event.mono_ns;
    }
}

/// The kernel number of a state in a byte; those too large for it, which TCP has none of, look alike.
fn short(state: State) -> i8 {
    i8::try_from(state.to_kernel()).unwrap_or(i8::MIN)
}

/// Whether a life starts with this transition. Out of `LISTEN` a listener can only close; anything else
/// is a new child, reported as if it had listened itself.
pub(super) fn is_birth(event: &StateEvent) -> bool {
    match event.from {
        State::Closed => true,
        State::Listen => !matches!(event.to, State::Closed | State::Listen),
        State::Established
        | State::SynSent
        | State::SynReceived
        | State::FinWait1
        | State::FinWait2
        | State::TimeWait
        | State::CloseWait
        | State::LastAck
        | State::Closing
        | State::NewSynReceived
        | State::BoundInactive
        | State::Unknown(_) => false,
    }
}

/// Whether a TCP connection in `state` can be in `later` at a later time of the same life. States that
/// are not TCP's own say nothing.
fn lies_ahead(state: State, later: State) -> bool {
    use State::{
        CloseWait, Closing, Established, FinWait1, FinWait2, LastAck, SynReceived, SynSent,
        TimeWait,
    };
    let not_tcp = |state| {
        matches!(
            state,
            State::NewSynReceived | State::BoundInactive | State::Unknown(_)
        )
    };
    state == later
        || not_tcp(state)
        || not_tcp(later)
        || match state {
            SynSent => true,
            SynReceived => later != SynSent,
            Established => !matches!(later, SynSent | SynReceived),
            FinWait1 => matches!(later, FinWait2 | Closing | TimeWait),
            FinWait2 | Closing => later == TimeWait,
            CloseWait => later == LastAck,
            TimeWait
            | LastAck
            | State::Closed
            | State::Listen
            | State::NewSynReceived
            | State::BoundInactive
            | State::Unknown(_) => false,
        }
}
