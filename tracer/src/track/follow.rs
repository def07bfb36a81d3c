//! What becomes of a connection while it has no socket of its own: half-open before it, in a mini-socket
//! after it.

use hashbrown::HashMap;

use super::entry::Entry;
use super::half_open::Pending;
use super::linger::Closed;
use super::mini::{After, Continued, Mini, MiniEnd, MiniSight, TIME_WAIT_NS, TimeWait};
use super::tracker::Tracker;
use super::waiting::{Ends, Waiting};
use super::{ConnId, Connection, Ending, Sink};
use crate::event::{Polled, PolledEvent, StateEvent};
use crate::filter::Verdict;
use crate::state::State;

/// Closed connections and their mini-sockets.
#[derive(Default)]
pub(super) struct Following {
    time_wait: TimeWait,
    sight: MiniSight,
    /// Those whose connection is not told of before there is news of them.
    pub(super) waiting: Waiting,
    /// By the address of a mini-socket the socket that it follows, as long as that is tracked.
    newborn: HashMap<u64, u64>,
    /// By their ends the sockets that were closed just now, and whose connections may go on.
    just_closed: HashMap<Ends, u64>,
}

impl Following {
    pub(super) fn new(time_wait: TimeWait, sight: MiniSight) -> Self {
        Self {
            time_wait,
            sight,
            ..Self::default()
        }
    }

    /// The mini-socket of a socket that is tracked.
    pub(super) fn born(&mut self, mini: u64, sk: u64) {
        self.newborn.insert(mini, sk);
    }

    /// A socket was closed, and lingers.
    pub(super) fn closed(&mut self, closed: &Closed) {
        if self.may_be_replaced(closed) {
            self.just_closed.insert(Ends::of(&closed.entry), closed.sk);
        }
    }

    /// It lingers no more.
    fn forget(&mut self, closed: &Closed) {
        if self.may_be_replaced(closed) {
            let ends = Ends::of(&closed.entry);
            if self.just_closed.get(&ends) == Some(&closed.sk) {
                self.just_closed.remove(&ends);
            }
        }
        if let After::Mini(mini) = closed.entry.after() {
            self.newborn.remove(&mini.address);
        }
    }

    /// Another connection may take its ends over without any other sign of its end.
    fn may_be_replaced(&self, closed: &Closed) -> bool {
        !self.sight.ends && closed.entry.went_out_of_sight()
    }

    /// Whether the end of the connection is to wait for news.
    fn waits_for(&self, mini: &Mini) -> bool {
        mini.end == MiniEnd::NotSeen
            && (self.time_wait == TimeWait::Wait || mini.state != State::TimeWait)
            && (self.hears_of(mini) || self.sight.polled)
    }

    fn hears_of(&self, mini: &Mini) -> bool {
        self.sight.ends && mini.address != 0
    }
}

impl Tracker {
    /// News of the mini-socket at an address.
    pub(super) fn news_of_mini(
        &mut self,
        address: u64,
        now_ns: u64,
        change: impl FnOnce(&mut Mini),
        sink: &mut (impl Sink + ?Sized),
    ) {
        if let Some(closed) = self.following.waiting.news_of_mini(address, now_ns) {
            self.teller.change_mini(closed, change, sink);
            if let After::Mini(mini) = closed.entry.after()
                && !self.following.waits_for(&mini)
                && let Some(closed) = self.following.waiting.remove_mini(address)
            {
                self.teller.end_closed(&closed, sink);
            }
            return;
        }
        let Some(sk) = self.following.newborn.get(&address) else {
            return;
        };
        if let Some(closed) = self.lingering.get_mut(*sk) {
            self.teller.change_mini(closed, change, sink);
        } else if let Some(mini) = self.sockets.get_mut(*sk).and_then(Entry::mini_mut) {
            // Its socket's last transition, on another CPU, is still to come.
            change(mini);
        }
    }

    /// What is known of the connection that goes on in the mini-socket at an address, if the filter selects
    /// it.
    pub fn look_mini(&mut self, address: u64, now_ns: u64) -> Option<&Connection> {
        let closed = match self.following.newborn.get(&address) {
            Some(sk) => &*self.lingering.get_mut(*sk)?,
            None => self.following.waiting.get_mini(address)?,
        };
        self.teller.look(closed, now_ns)
    }

    /// What is known of the connection that the kernel's answer is about, where more answers are awaited, if
    /// the filter selects it.
    pub fn look_polled(&mut self, event: &PolledEvent) -> Option<&Connection> {
        let ends = Ends::new(event.netns, &event.local, &event.remote);
        let closed = self.following.waiting.get_ends(&ends)?;
        self.teller.look(closed, event.mono_ns)
    }

    /// A mini-socket follows a socket that is tracked.
    pub(super) fn mini_born(&mut self, mini: u64, sk: u64, sink: &mut (impl Sink + ?Sized)) {
        if let Some(before) = self.following.waiting.remove_mini(mini) {
            self.teller.end_closed(&before, sink);
        }
        self.following.born(mini, sk);
    }

    /// The kernel's answer.
    pub(super) fn handle_polled(&mut self, event: &PolledEvent, sink: &mut (impl Sink + ?Sized)) {
        let ends = Ends::new(event.netns, &event.local, &event.remote);
        let now_ns = event.mono_ns;
        match event.found {
            Polled::HalfOpen { retransmits } => {
                self.teller.half_open.answered(&ends, retransmits, now_ns);
                return;
            }
            Polled::Nothing => self.teller.half_open.is_gone(&ends, event.seen_ns, now_ns),
            Polled::Mini { .. } | Polled::Another | Polled::NoNamespace | Polled::NotKnown => {}
        }
        let Some(closed) = self.following.waiting.news_of_ends(&ends, now_ns) else {
            return;
        };
        if now_ns <= closed.at_ns {
            return;
        }
        let mut goes_on = false;
        match event.found {
            Polled::Mini { state, timer_ns } => {
                let closed_ns = closed.at_ns;
                if closed.entry.mini_mut().is_none() {
                    let left = closed.entry.left().map(|left| left.state);
                    let mini = Mini::unseen(closed_ns, left == Some(State::Closing));
                    closed.entry.evidence_mut().after = After::Mini(mini);
                }
                let answer = |mini: &mut Mini| {
                    mini.answer(state, timer_ns, now_ns, event.took_ns);
                };
                self.teller.change_mini(closed, answer, sink);
                if let After::Mini(mini) = closed.entry.after() {
                    goes_on = self.following.waits_for(&mini);
                }
            }
            Polled::Nothing => {
                let seen_ns = event.seen_ns;
                // Later, nothing can be told from it: TIME_WAIT may be over.
                let is_early = now_ns.saturating_sub(closed.at_ns) < TIME_WAIT_NS;
                if is_early && seen_ns.is_none() && closed.entry.after() == After::NotKnown {
                    closed.entry.evidence_mut().after = After::Missing(now_ns);
                }
                self.teller
                    .change_mini(closed, |mini| mini.is_gone(seen_ns, now_ns), sink);
            }
            Polled::Another => self.teller.replaced(closed, now_ns, sink),
            Polled::NoNamespace => {
                if let Some(mini) = closed.entry.mini_mut() {
                    mini.end = MiniEnd::NoNamespace;
                } else {
                    closed.entry.evidence_mut().after = After::NoNamespace;
                }
            }
            Polled::NotKnown | Polled::HalfOpen { .. } => {}
        }
        if !goes_on && let Some(closed) = self.following.waiting.remove_ends(&ends) {
            self.teller.end_closed(&closed, sink);
        }
    }

    /// Two connections cannot have the same ends: what had those of the event before is over by now, though the
    /// kernel was not asked in between (RFC 9293, section 3.6.1; `tcp_twsk_unique`, `TCP_TW_SYN`).
    pub(super) fn ends_used_again(&mut self, event: &StateEvent, sink: &mut (impl Sink + ?Sized)) {
        let Following {
            waiting,
            just_closed,
            ..
        } = &mut self.following;
        if !waiting.is_by_ends() && just_closed.is_empty() {
            return;
        }
        let ends = Ends::new(event.netns, &event.local, &event.remote);
        let is_before = |closed: &Closed| closed.at_ns < event.mono_ns;
        if let Some(sk) = just_closed.get(&ends)
            && let Some(closed) = self.lingering.get_mut(*sk)
            && is_before(closed)
        {
            self.teller.replaced(closed, event.mono_ns, sink);
        }
        if waiting.get_ends(&ends).is_some_and(is_before)
            && let Some(mut closed) = waiting.remove_ends(&ends)
        {
            self.teller.replaced(&mut closed, event.mono_ns, sink);
            self.teller.end_closed(&closed, sink);
        }
    }

    /// All evidence of a closed connection is here: it ends, unless it goes on in a mini-socket of which there
    /// will be news.
    pub(super) fn settle(&mut self, closed: Closed, sink: &mut (impl Sink + ?Sized)) {
        self.following.forget(&closed);
        let after = closed.entry.after();
        let waits = closed.entry.verdict == Verdict::Yes
            && match after {
                After::Mini(mini) => self.following.waits_for(&mini),
                After::NotKnown => self.following.sight.polled && closed.entry.may_go_on(),
                After::Nothing | After::Missing(_) | After::Replaced(_) | After::NoNamespace => {
                    false
                }
            };
        if !waits {
            self.teller.end_closed(&closed, sink);
            return;
        }
        if let After::Mini(mini) = after
            && self.following.hears_of(&mini)
        {
            let waiting = &mut self.following.waiting;
            if let Some(before) = waiting.add_mini(mini.address, closed, mini.seen_ns) {
                self.teller.end_closed(&before, sink);
            }
            return;
        }
        let closed_ns = closed.at_ns;
        let ends = Ends::of(&closed.entry);
        if let Some(mut before) = self.following.waiting.add_ends(ends, closed) {
            self.teller.replaced(&mut before, closed_ns, sink);
            self.teller.end_closed(&before, sink);
        }
    }

    /// There is no room to wait for anything.
    pub(super) fn settle_at_once(&mut self, closed: &Closed, sink: &mut (impl Sink + ?Sized)) {
        self.following.forget(closed);
        self.teller.end_closed(closed, sink);
    }

    /// Ends all that wait for news, in the order of closing.
    pub(super) fn finish_waiting(&mut self, now_ns: u64, sink: &mut (impl Sink + ?Sized)) {
        let mut waiting: Vec<Closed> =
            std::iter::from_fn(|| self.following.waiting.pop()).collect();
        waiting.sort_unstable_by_key(|closed| (closed.at_ns, closed.entry.id));
        for mut closed in waiting {
            let complete = closed.entry.is_complete(self.teller.lost);
            if let Some(mini) = closed.entry.mini_mut()
                && complete
                && !mini.polled
            {
                // Its end would have been seen.
                mini.seen_ns = mini.seen_ns.max(now_ns);
            }
            self.teller.end_closed(&closed, sink);
        }
    }

    /// A connection that was half-open, and never got a socket, as far as was seen.
    pub(super) fn end_half_open(
        &mut self,
        pending: &Pending,
        ending: Ending,
        sink: &mut (impl Sink + ?Sized),
    ) {
        let id = ConnId(self.next_id);
        self.next_id += 1;
        self.teller.stats.connections += 1;
        self.teller.end_half_open(id, pending, ending, sink);
    }
}

impl super::teller::Teller {
    /// Tells what changed of a mini-socket while its socket was not closed yet.
    pub(super) fn catch_up(&mut self, closed: &Closed, sink: &mut (impl Sink + ?Sized)) {
        if let After::Mini(mini) = closed.entry.after() {
            let before = Mini {
                state: mini.first,
                end: MiniEnd::NotSeen,
                ..mini
            };
            self.tell_changes(closed, &before, &mini, sink);
        }
    }

    fn look(&mut self, closed: &Closed, now_ns: u64) -> Option<&Connection> {
        if closed.entry.verdict != Verdict::Yes {
            return None;
        }
        let lost = self.lost;
        closed
            .entry
            .describe(&mut self.conn, closed.sk, now_ns, lost);
        Some(&self.conn)
    }

    /// Another connection has its ends.
    fn replaced(&mut self, closed: &mut Closed, now_ns: u64, sink: &mut (impl Sink + ?Sized)) {
        if closed.entry.after() == After::NotKnown {
            closed.entry.evidence_mut().after = After::Replaced(now_ns);
        }
        self.change_mini(closed, |mini| mini.replaced(now_ns), sink);
    }

    fn change_mini(
        &mut self,
        closed: &mut Closed,
        change: impl FnOnce(&mut Mini),
        sink: &mut (impl Sink + ?Sized),
    ) {
        let Some(mini) = closed.entry.mini_mut() else {
            return;
        };
        let before = *mini;
        change(mini);
        let now = *mini;
        self.tell_changes(closed, &before, &now, sink);
    }

    fn tell_changes(
        &mut self,
        closed: &Closed,
        before: &Mini,
        now: &Mini,
        sink: &mut (impl Sink + ?Sized),
    ) {
        if closed.entry.verdict != Verdict::Yes {
            return;
        }
        let left = closed.entry.left();
        // Where its TIME_WAIT began with the close, the line of that has said so.
        if now.state == State::TimeWait
            && before.state != State::TimeWait
            && let Some(mono_ns) = now.time_wait_ns
            && mono_ns > closed.at_ns
        {
            let since_ns = left
                .filter(|left| left.state == State::FinWait2)
                .and_then(|left| left.since_ns);
            let change = Continued {
                mono_ns,
                from: State::FinWait2,
                to: State::TimeWait,
                in_state_ns: since_ns.and_then(|since_ns| mono_ns.checked_sub(since_ns)),
                polled_within_ns: now.polled.then_some(now.within_ns),
            };
            self.tell_continued(closed, &change, sink);
        }
        if before.end == MiniEnd::NotSeen
            && let MiniEnd::At(mono_ns) = now.end
        {
            let since_ns = if now.state == State::TimeWait {
                now.time_wait_ns
            } else {
                left.and_then(|left| left.since_ns)
            };
            let change = Continued {
                mono_ns,
                from: now.state,
                to: State::Closed,
                in_state_ns: since_ns.and_then(|since_ns| mono_ns.checked_sub(since_ns)),
                polled_within_ns: now.polled.then(|| mono_ns.saturating_sub(now.seen_ns)),
            };
            self.tell_continued(closed, &change, sink);
        }
    }

    fn tell_continued(
        &mut self,
        closed: &Closed,
        change: &Continued,
        sink: &mut (impl Sink + ?Sized),
    ) {
        let lost = self.lost;
        closed
            .entry
            .describe(&mut self.conn, closed.sk, change.mono_ns, lost);
        sink.continued(&self.conn, change);
    }

    fn end_half_open(
        &mut self,
        id: ConnId,
        pending: &Pending,
        ending: Ending,
        sink: &mut (impl Sink + ?Sized),
    ) {
        let counted = self.half_open.covers(pending.first_ns);
        let mut entry = Entry::half_open(id, pending, counted, self.lost);
        self.offer_listener_owner(&mut entry);
        entry.decide(&self.filter);
        // It is known to have been there when there was last news of it: nothing tells when a reset ends it.
        self.end(0, &entry, ending, pending.last_ns, sink);
    }
}
