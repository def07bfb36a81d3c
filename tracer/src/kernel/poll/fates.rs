//! What is to be asked, when, and what of the answers is news. Knows no kernel and no clock.

use std::collections::HashMap;

use tracer_common::wire::{
    FLAG_DETAIL, FLAG_NETNS, Header, KIND_POLLED, KIND_STATE, KIND_SYNACK_RETRANSMIT,
    POLLED_ANOTHER, POLLED_HALF_OPEN, POLLED_MINI, POLLED_NO_NAMESPACE, POLLED_NOT_KNOWN,
    POLLED_NOTHING, PolledRecord, RequestRecord, StateRecord,
};
use zerocopy::{FromBytes as _, IntoBytes as _};

use crate::batch::Batch;
use crate::decode::netns_cookie_of;
use crate::track::{TIMER_SLACK_NS, TimeWait};

/// `IPPROTO_TCP`
const TCP: u16 = 6;
/// Kernel numbers of states.
const FIN_WAIT_2: i32 = 5;
const TIME_WAIT: i32 = 6;
const CLOSE: i32 = 7;
const CLOSING: i32 = 11;

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MILLISECOND;
/// After a socket was closed, until the first question: what tells of a reset comes meanwhile, and many
/// are asked for at once.
const FIRST_NS: u64 = 100 * MILLISECOND;
/// Between two questions for what can end, or go on, at any time.
const AGAIN_NS: u64 = SECOND;
/// For one in `TIME_WAIT`: nearly all of them stay until their timer ends it.
const TIME_WAIT_NS: u64 = 2 * SECOND;
/// For one whose timer is due. The kernel's is late by up to an eighth of the time it was set to.
const DUE_NS: u64 = 250 * MILLISECOND;
/// After this it is told again that nothing has changed, so that it is not given up.
const TELL_AGAIN_NS: u64 = 30 * SECOND;
/// The same of one in `FIN_WAIT_2`, of which a hint is given when it is known to have been there for long.
const TELL_FIN_WAIT_2_AGAIN_NS: u64 = 5 * SECOND;
/// Connections asked for at once.
const MAX: usize = 1 << 17;

/// Both ends of a connection; addresses of IPv4 are mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ends {
    pub(super) local_addr: [u8; 16],
    pub(super) remote_addr: [u8; 16],
    pub(super) local_port: u16,
    pub(super) remote_port: u16,
}

/// Which kinds of fates are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// What became of connections whose socket was closed.
    pub minis: bool,
    /// What becomes of half-open connections whose SYN-ACK was sent again.
    pub half_open: bool,
}

/// A connection that is to be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    netns: u32,
    ends: Ends,
    family: u16,
    half_open: bool,
    since_ns: u64,
    cookie: Option<u32>,
}

/// Which namespace was entered: its inode number another one can have had before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    /// The one that this process is in, and was all the time.
    Own,
    /// One with this cookie, where the kernel tells it.
    Cookie(Option<u32>),
}

/// What the kernel said of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// A mini-socket in `FIN_WAIT_2` or `TIME_WAIT`, kernel number.
    Mini { state: i32, timer_ns: u64 },
    /// A half-open connection.
    HalfOpen { retransmits: u8 },
    /// None of these, now.
    Nothing,
    /// None of these, but another connection with these ends.
    Another,
}

/// What is known of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fate {
    family: u16,
    half_open: bool,
    /// The cookie of its namespace.
    cookie: Option<u32>,
    /// The namespace that is asked is known to be that one.
    is_at_home: bool,
    /// The interface it is bound to, as the kernel said; 0 for none.
    pub(super) interface: u32,
    /// The last answer that there is something, and when that was asked for.
    known: Option<(Answer, u64)>,
    /// When the timer is due by that.
    due_ns: Option<u64>,
    /// When something was told of it last.
    told_ns: u64,
    next_ns: u64,
}

/// All that is to be asked for.
#[derive(Debug)]
pub(super) struct Fates {
    time_wait: TimeWait,
    by_netns: HashMap<u32, HashMap<Ends, Fate>>,
    count: usize,
    /// When there is something to ask next.
    next_ns: Option<u64>,
    news: Batch,
}

impl Wish {
    /// Nothing is to be asked for.
    pub fn is_empty(self) -> bool {
        !self.minis && !self.half_open
    }

    /// The connection of a record that is to be asked for from now on.
    pub(super) fn of(self, record: &[u8]) -> Option<Wanted> {
        let (header, _) = Header::read_from_prefix(record).ok()?;
        if header.flags & FLAG_NETNS == 0 {
            return None;
        }
        match header.kind {
            KIND_STATE if self.minis => {
                let (state, _) = StateRecord::read_from_prefix(record).ok()?;
                let goes_on = state.protocol == TCP
                    && state.new_state == CLOSE
                    && matches!(state.old_state, FIN_WAIT_2 | CLOSING);
                goes_on.then_some(Wanted {
                    netns: state.netns,
                    ends: Ends {
                        local_addr: state.local_addr,
                        remote_addr: state.remote_addr,
                        local_port: state.local_port,
                        remote_port: state.remote_port,
                    },
                    family: state.family,
                    half_open: false,
                    since_ns: header.mono_ns,
                    cookie: netns_cookie_of(record),
                })
            }
            KIND_SYNACK_RETRANSMIT if self.half_open => {
                let (request, _) = RequestRecord::read_from_prefix(record).ok()?;
                Some(Wanted {
                    netns: request.netns,
                    ends: Ends {
                        local_addr: request.local_addr,
                        remote_addr: request.remote_addr,
                        local_port: request.local_port,
                        remote_port: request.remote_port,
                    },
                    family: request.family,
                    half_open: true,
                    since_ns: header.mono_ns,
                    cookie: None,
                })
            }
            _ => None,
        }
    }
}

impl Identity {
    /// Whether it is the one with this cookie, if that can be told.
    fn is(self, cookie: Option<u32>) -> Option<bool> {
        match self {
            Self::Own => Some(true),
            Self::Cookie(entered) => Some(entered? == cookie?),
        }
    }
}

impl Fate {
    /// Its socket can be of this family, `AF_INET` or `AF_INET6`.
    pub(super) fn can_be(&self, family: u8, ends: &Ends) -> bool {
        // That of a half-open one is its listener's.
        let is_open = self.half_open && ends.local_addr.starts_with(&MAPPED);
        is_open || self.family == u16::from(family)
    }

    /// The kernel had something with these ends before.
    pub(super) fn is_known(&self) -> bool {
        self.known.is_some()
    }

    /// What it says of one that the kernel has nothing of, or something else with its ends. What was half-open or in a
    /// mini-socket is gone then, and with its namespace. Of what was never found it is only known where it would be.
    fn gone_by(&self, answer: Answer) -> u16 {
        if answer == Answer::Another && self.is_at_home && !self.half_open {
            POLLED_ANOTHER
        } else if self.half_open || self.is_known() || self.is_at_home {
            POLLED_NOTHING
        } else {
            POLLED_NO_NAMESPACE
        }
    }

    /// What the kernel has with its ends is not of its kind.
    fn is_another(&self, answer: Answer) -> bool {
        match answer {
            Answer::Mini { .. } => self.half_open,
            Answer::HalfOpen { .. } => !self.half_open,
            Answer::Nothing | Answer::Another => false,
        }
    }

    fn pause_ns(&self, now_ns: u64) -> u64 {
        match (self.known, self.due_ns) {
            (_, Some(due_ns)) if due_ns <= now_ns => DUE_NS,
            (Some((Answer::Mini { state, .. }, _)), Some(due_ns)) if state == TIME_WAIT => {
                TIME_WAIT_NS.min(due_ns.saturating_sub(now_ns))
            }
            (_, Some(due_ns)) => AGAIN_NS.min(due_ns.saturating_sub(now_ns)),
            (_, None) => AGAIN_NS,
        }
    }
}

/// What an IPv4 address begins with where it is written as one of IPv6.
const MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

impl Fates {
    pub(super) fn new(time_wait: TimeWait) -> Self {
        Self {
            time_wait,
            by_netns: HashMap::new(),
            count: 0,
            next_ns: None,
            news: Batch::default(),
        }
    }

    /// A connection is to be asked for, from `now_ns` on.
    pub(super) fn add(&mut self, wanted: &Wanted, now_ns: u64) {
        let Wanted {
            netns,
            ends,
            family,
            half_open,
            since_ns,
            cookie,
        } = *wanted;
        let fates = self.by_netns.entry(netns).or_default();
        if let Some(before) = fates.get_mut(&ends)
            && before.half_open
            && half_open
        {
            return;
        }
        let next_ns = since_ns.saturating_add(FIRST_NS);
        self.next_ns = Some(self.next_ns.map_or(next_ns, |next| next.min(next_ns)));
        let fate = Fate {
            family,
            half_open,
            cookie,
            is_at_home: false,
            interface: 0,
            known: None,
            due_ns: None,
            told_ns: since_ns,
            next_ns,
        };
        if fates.insert(ends, fate).is_some() {
            return;
        }
        self.count += 1;
        if self.count > MAX {
            self.give_up(netns, &ends, POLLED_NOT_KNOWN, now_ns);
        }
    }

    /// When there is something to ask next, or was to be.
    pub(super) fn next_ns(&self) -> Option<u64> {
        self.next_ns
    }

    /// To be called after each round.
    pub(super) fn plan(&mut self) {
        let all = self.by_netns.values().flat_map(HashMap::values);
        self.next_ns = all.map(|fate| fate.next_ns).min();
    }

    /// Namespaces in which there is something to ask now.
    pub(super) fn due(&self, now_ns: u64) -> Vec<u32> {
        let is_due =
            |fates: &HashMap<Ends, Fate>| fates.values().any(|fate| fate.next_ns <= now_ns);
        let due = self.by_netns.iter().filter(|(_, fates)| is_due(fates));
        due.map(|(netns, _)| *netns).collect()
    }

    /// What there is to ask now in a namespace.
    pub(super) fn due_in(&self, netns: u32, now_ns: u64) -> Vec<(Ends, Fate)> {
        let fates = self.by_netns.get(&netns).into_iter().flatten();
        fates
            .filter(|(_, fate)| fate.next_ns <= now_ns)
            .map(|(ends, fate)| (*ends, *fate))
            .collect()
    }

    /// Asks at once for all that nothing is known of, and whether what was half-open still is.
    pub(super) fn hurry(&mut self) {
        for fate in self.by_netns.values_mut().flat_map(HashMap::values_mut) {
            if fate.half_open {
                fate.told_ns = 0;
            }
            if fate.half_open || !fate.is_known() {
                fate.next_ns = 0;
            }
        }
    }

    /// A namespace was entered by its inode number. What was in another one that had it before is gone with that.
    pub(super) fn entered(&mut self, netns: u32, identity: Identity, now_ns: u64) {
        let mut gone = Vec::new();
        for (ends, fate) in self.by_netns.get_mut(&netns).into_iter().flatten() {
            let is_it = identity.is(fate.cookie);
            fate.is_at_home = is_it == Some(true);
            if is_it == Some(false) {
                gone.push(*ends);
            }
        }
        for ends in gone {
            self.give_up(netns, &ends, POLLED_NO_NAMESPACE, now_ns);
        }
    }

    /// The kernel answered a question that was asked at `asked_ns`; it did so by `seen_ns`. Returns whether
    /// it was asked for.
    pub(super) fn answered(
        &mut self,
        netns: u32,
        ends: &Ends,
        answer: Answer,
        interface: u32,
        (asked_ns, seen_ns): (u64, u64),
    ) -> bool {
        let Some(fate) = self
            .by_netns
            .get_mut(&netns)
            .and_then(|fates| fates.get_mut(ends))
        else {
            return false;
        };
        let answer = if fate.is_another(answer) {
            Answer::Another
        } else {
            answer
        };
        let mut record = fate.record(netns, ends, POLLED_NOTHING, asked_ns);
        record.took_ns = u32::try_from(seen_ns.saturating_sub(asked_ns)).unwrap_or(u32::MAX);
        let due_ns;
        match answer {
            Answer::Mini { state, timer_ns } => {
                record.found = POLLED_MINI;
                record.header.flags |= FLAG_DETAIL;
                record.state = u32::try_from(state).unwrap_or_default();
                record.timer_ns = timer_ns;
                due_ns = Some(asked_ns.saturating_add(timer_ns));
            }
            Answer::HalfOpen { retransmits } => {
                record.found = POLLED_HALF_OPEN;
                record.retransmits = retransmits.into();
                due_ns = None;
            }
            Answer::Nothing | Answer::Another => {
                record.header.mono_ns = seen_ns;
                record.found = fate.gone_by(answer);
                self.news.push(record.as_bytes());
                self.remove(netns, ends);
                return true;
            }
        }
        let again_ns = match answer {
            Answer::Mini { state, .. } if state != TIME_WAIT => TELL_FIN_WAIT_2_AGAIN_NS,
            Answer::Mini { .. } | Answer::HalfOpen { .. } | Answer::Nothing | Answer::Another => {
                TELL_AGAIN_NS
            }
        };
        if fate.differs(answer, due_ns) || asked_ns.saturating_sub(fate.told_ns) >= again_ns {
            fate.told_ns = asked_ns;
            // One whose timer is late has none left, and is due since then.
            fate.due_ns = due_ns;
            self.news.push(record.as_bytes());
        }
        fate.known = Some((answer, asked_ns));
        fate.interface = interface;
        fate.next_ns = seen_ns.saturating_add(fate.pause_ns(seen_ns));
        let is_over = matches!(answer, Answer::Mini { state, .. } if state == TIME_WAIT)
            && self.time_wait == TimeWait::Expect;
        if is_over {
            self.remove(netns, ends);
        }
        true
    }

    /// There was no answer: it is asked for again later.
    pub(super) fn postpone(&mut self, netns: u32, ends: &Ends, now_ns: u64) {
        if let Some(fate) = self
            .by_netns
            .get_mut(&netns)
            .and_then(|fates| fates.get_mut(ends))
        {
            fate.next_ns = now_ns.saturating_add(AGAIN_NS);
        }
    }

    /// There is no way to ask in a namespace, any more or at all: nothing will be known of what is in it.
    pub(super) fn give_up_all(&mut self, netns: u32, now_ns: u64) {
        let fates = self.by_netns.get(&netns).into_iter().flatten();
        let ends: Vec<Ends> = fates.map(|(ends, _)| *ends).collect();
        for ends in ends {
            self.give_up(netns, &ends, POLLED_NO_NAMESPACE, now_ns);
        }
    }

    fn give_up(&mut self, netns: u32, ends: &Ends, why: u16, now_ns: u64) {
        let Some(fate) = self.remove(netns, ends) else {
            return;
        };
        let record = fate.record(netns, ends, why, now_ns);
        self.news.push(record.as_bytes());
    }

    fn remove(&mut self, netns: u32, ends: &Ends) -> Option<Fate> {
        let fates = self.by_netns.get_mut(&netns)?;
        let fate = fates.remove(ends)?;
        if fates.is_empty() {
            self.by_netns.remove(&netns);
        }
        self.count -= 1;
        Some(fate)
    }

    /// What is to be told, as records.
    pub(super) fn take_news(&mut self) -> Option<Batch> {
        (!self.news.is_empty()).then(|| std::mem::take(&mut self.news))
    }
}

impl Fate {
    /// What was found at `mono_ns` of the connection with these ends, without the details.
    fn record(&self, netns: u32, ends: &Ends, found: u16, mono_ns: u64) -> PolledRecord {
        PolledRecord {
            header: Header {
                kind: KIND_POLLED,
                flags: FLAG_NETNS,
                cpu: 0,
                mono_ns,
                sk: 0,
            },
            netns,
            family: self.family,
            local_port: ends.local_port,
            remote_port: ends.remote_port,
            found,
            state: 0,
            retransmits: 0,
            took_ns: 0,
            timer_ns: 0,
            seen_ns: self.known.map_or(0, |(_, known_ns)| known_ns),
            local_addr: ends.local_addr,
            remote_addr: ends.remote_addr,
        }
    }

    /// An answer is another than the last.
    fn differs(&self, answer: Answer, due_ns: Option<u64>) -> bool {
        let timer_moved = match (self.due_ns, due_ns) {
            // Once it is due, what is left of it is nothing, again and again.
            (Some(before), Some(now)) => before.abs_diff(now) > TIMER_SLACK_NS && !is_late(answer),
            (before, now) => before.is_some() != now.is_some(),
        };
        let changed = match (self.known, answer) {
            (None, _) => true,
            (Some((Answer::Mini { state: before, .. }, _)), Answer::Mini { state, .. }) => {
                before != state
            }
            (Some((before, _)), _) => before != answer,
        };
        changed || timer_moved
    }
}

fn is_late(answer: Answer) -> bool {
    matches!(answer, Answer::Mini { timer_ns: 0, .. })
}

#[cfg(test)]
mod tests;
