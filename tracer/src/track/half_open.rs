//! Half-open connections.
//!
//! One has no socket that the tracepoint sees, so it is known by its ends from its SYN, or from the first
//! repetition of its SYN-ACK, until the final ACK makes it a socket. What nobody takes over becomes a
//! connection of its own, that never completed.

use hashlink::LinkedHashMap;

use super::Ending;
use super::waiting::Ends;
use crate::event::{Endpoint, Family};

/// Half-open connections kept at once; the kernel keeps no more than the backlog of the listener, 4096 by
/// default.
const MAX: usize = 4096;
/// Longer than any SYN-ACK of Linux is waited for after it was sent again (`TCP_RTO_MAX` is 120 s).
const LIFE_NS: u64 = 130_000_000_000;
/// A first SYN-ACK is waited for so long (`TCP_TIMEOUT_INIT`); each one later for twice as long.
const FIRST_WAIT_NS: u64 = 1_000_000_000;
/// That of the first can be late by so much: where a half-open connection is known since then, its SYN may have come
/// earlier.
pub const HALF_OPEN_WITHIN_NS: u64 = FIRST_WAIT_NS / 8;
/// The kernel's timers are late by an eighth at most, and so may we be.
const SLACK_NS: u64 = 2_000_000_000;
/// How long after an answer of the kernel what happened before it may come.
const LATE_NS: u64 = 500_000_000;
/// What was heard of so long before the trace stopped counts as there when it did.
const JUST_NOW_NS: u64 = 500_000_000;
/// Between two looks for those that are over.
const LOOK_NS: u64 = 100_000_000;

#[derive(Default)]
pub(super) struct HalfOpen {
    /// The one with the latest news at the end.
    waiting: LinkedHashMap<Ends, Pending>,
    /// Since when no retransmission was missed.
    counting_since_ns: Option<u64>,
    /// When to look again for those that are over.
    next_look_ns: u64,
}

/// What is known of one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    pub(super) netns: Option<u32>,
    pub(super) local: Endpoint,
    pub(super) remote: Endpoint,
    /// When its SYN arrived, if that was seen, or follows from the kernel's answers.
    pub(super) born_ns: Option<u64>,
    /// The kernel was asked, and had it.
    pub(super) polled: bool,
    /// SYN-ACKs sent again.
    pub(super) retransmits: u32,
    /// A listener that it can belong to was closed.
    pub(super) listener_closed: bool,
    /// When there was news of it first and last.
    pub(super) first_ns: u64,
    pub(super) last_ns: u64,
    /// When its SYN-ACK was seen to be sent again last.
    sent_ns: u64,
    /// By when the next SYN-ACK must be sent if it is to live on.
    deadline_ns: u64,
}

/// What a connection that got its socket takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) born_ns: Option<u64>,
    pub(super) polled: bool,
    pub(super) retransmits: u32,
}

impl HalfOpen {
    /// An event was seen: whatever happens from now on is seen as well.
    pub(super) fn watching(&mut self, now_ns: u64) {
        self.counting_since_ns.get_or_insert(now_ns);
    }

    /// Events were lost.
    pub(super) fn forget_all(&mut self) {
        self.waiting.clear();
        self.counting_since_ns = None;
    }

    /// A SYN arrived. Returns one that had to go for it.
    pub(super) fn born(
        &mut self,
        netns: Option<u32>,
        local: &Endpoint,
        remote: &Endpoint,
        now_ns: u64,
    ) -> Option<Pending> {
        let ends = Ends::new(netns, local, remote);
        let before = self.waiting.remove(&ends);
        let mut pending = Pending::new(netns, local, remote, now_ns);
        pending.born_ns = Some(now_ns);
        self.waiting.insert(ends, pending);
        before.or_else(|| self.crowded_out())
    }

    /// A SYN-ACK was sent again. Returns one that had to go for it.
    pub(super) fn retransmitted(
        &mut self,
        netns: Option<u32>,
        local: &Endpoint,
        remote: &Endpoint,
        now_ns: u64,
    ) -> Option<Pending> {
        let ends = Ends::new(netns, local, remote);
        let mut pending = self
            .waiting
            .remove(&ends)
            .filter(|pending| !pending.is_over(now_ns))
            .unwrap_or_else(|| Pending::new(netns, local, remote, now_ns));
        pending.retransmitted(now_ns);
        self.waiting.insert(ends, pending);
        self.crowded_out()
    }

    /// The kernel says that it is there. Returns whether it was known.
    pub(super) fn answered(&mut self, ends: &Ends, retransmits: u32, now_ns: u64) -> bool {
        let Some(pending) = self.waiting.to_back(ends) else {
            return false;
        };
        pending.polled = true;
        // Where none was missed, the first that was seen was the first.
        if pending.born_ns.is_none()
            && now_ns > pending.sent_ns
            && retransmits == pending.retransmits
        {
            pending.born_ns = pending.first_ns.checked_sub(FIRST_WAIT_NS);
        }
        pending.retransmits = pending.retransmits.max(retransmits);
        pending.last_ns = pending.last_ns.max(now_ns);
        pending.deadline_ns = now_ns.saturating_add(LIFE_NS);
        true
    }

    /// The kernel says that it is gone: it may have got its socket just before. It was last there at
    /// `seen_ns`.
    pub(super) fn is_gone(&mut self, ends: &Ends, seen_ns: Option<u64>, now_ns: u64) {
        if let Some(pending) = self.waiting.get_mut(ends)
            && now_ns > pending.last_ns
        {
            pending.last_ns = pending.last_ns.max(seen_ns.unwrap_or(0)).min(now_ns);
            pending.deadline_ns = now_ns.saturating_add(LATE_NS);
        }
    }

    /// What is known of one.
    pub(super) fn get(
        &self,
        netns: Option<u32>,
        local: &Endpoint,
        remote: &Endpoint,
    ) -> Option<&Pending> {
        self.waiting.get(&Ends::new(netns, local, remote))
    }

    /// The connection got a socket.
    pub(super) fn take(
        &mut self,
        netns: Option<u32>,
        local: &Endpoint,
        remote: &Endpoint,
        now_ns: u64,
    ) -> Option<Taken> {
        if self.waiting.is_empty() {
            return None;
        }
        let pending = self.waiting.remove(&Ends::new(netns, local, remote))?;
        (!pending.is_over(now_ns)).then_some(Taken {
            born_ns: pending.born_ns,
            polled: pending.polled,
            retransmits: pending.retransmits,
        })
    }

    /// A listener was closed: what it had half-open will not complete.
    pub(super) fn listener_closed(&mut self, netns: Option<u32>, local: &Endpoint) {
        let addr = local.wire_addr();
        for pending in self.waiting.values_mut() {
            pending.listener_closed |= pending.netns == netns
                && pending.local.port == local.port
                && (addr.is_unspecified() || addr == pending.local.wire_addr());
        }
    }

    /// Whether a connection that got its socket now cannot have been half-open before all
    /// retransmissions were counted.
    pub(super) fn covers(&self, now_ns: u64) -> bool {
        self.counting_since_ns
            .is_some_and(|since_ns| now_ns.saturating_sub(since_ns) > LIFE_NS)
    }

    /// Those that cannot become a connection any more.
    pub(super) fn expire(&mut self, now_ns: u64) -> Vec<Pending> {
        if self.waiting.is_empty() || now_ns < self.next_look_ns {
            return Vec::new();
        }
        self.next_look_ns = now_ns.saturating_add(LOOK_NS);
        // The deadlines are not in the order of the news.
        let mut over = Vec::new();
        self.waiting.retain(|_, pending| {
            let is_over = pending.is_over(now_ns);
            if is_over {
                over.push(*pending);
            }
            !is_over
        });
        over.sort_by_key(|pending| pending.last_ns);
        over
    }

    /// Any one.
    pub(super) fn pop(&mut self) -> Option<Pending> {
        self.waiting.pop_front().map(|(_, pending)| pending)
    }

    fn crowded_out(&mut self) -> Option<Pending> {
        (self.waiting.len() > MAX).then(|| self.pop())?
    }
}

impl Pending {
    fn new(netns: Option<u32>, local: &Endpoint, remote: &Endpoint, now_ns: u64) -> Self {
        Self {
            netns,
            local: *local,
            remote: *remote,
            born_ns: None,
            polled: false,
            retransmits: 0,
            listener_closed: false,
            first_ns: now_ns,
            last_ns: now_ns,
            sent_ns: now_ns,
            deadline_ns: now_ns.saturating_add(LIFE_NS),
        }
    }

    fn retransmitted(&mut self, now_ns: u64) {
        let waited_ns = if self.retransmits == 0 && self.born_ns.is_none() {
            // Of the first one seen it is not known which it was.
            LIFE_NS / 2
        } else {
            now_ns.saturating_sub(self.last_ns).max(FIRST_WAIT_NS)
        };
        let next_ns = waited_ns.saturating_mul(2);
        let latest_ns = next_ns.saturating_add(next_ns / 8).saturating_add(SLACK_NS);
        self.retransmits = self.retransmits.saturating_add(1);
        self.last_ns = now_ns;
        self.sent_ns = now_ns;
        self.deadline_ns = now_ns.saturating_add(latest_ns.min(LIFE_NS));
    }

    fn is_over(&self, now_ns: u64) -> bool {
        now_ns > self.deadline_ns
    }

    /// How it is told of when the trace stops. Nothing tells when a reset ends it, or its listener drops it.
    pub(super) fn ending_at(&self, now_ns: u64) -> Ending {
        if now_ns.saturating_sub(self.last_ns) < JUST_NOW_NS {
            Ending::StillOpen
        } else {
            Ending::MayBeOver
        }
    }

    /// The family of the socket that it would have become.
    pub(super) fn family(&self) -> Family {
        if self.local.addr.is_ipv4() {
            Family::Inet
        } else {
            Family::Inet6
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn end(addr: &str, port: u16) -> Endpoint {
        Endpoint {
            addr: addr.parse().unwrap(),
            port,
        }
    }

    #[test]
    fn counts_are_taken_once_and_however_the_address_is_spelt() {
        let (local, remote) = (end("10.0.0.1", 80), end("10.0.0.9", 1234));
        let mut half_open = HalfOpen::default();
        half_open.retransmitted(Some(1), &local, &remote, SECOND);
        half_open.retransmitted(Some(1), &local, &remote, 3 * SECOND);
        assert_eq!(half_open.take(Some(2), &local, &remote, 4 * SECOND), None);
        let taken = |retransmits| {
            Some(Taken {
                born_ns: None,
                polled: false,
                retransmits,
            })
        };
        let mapped = end("::ffff:10.0.0.1", 80);
        let (mapped_remote, now_ns) = (end("::ffff:10.0.0.9", 1234), 4 * SECOND);
        assert_eq!(
            half_open.take(Some(1), &mapped, &mapped_remote, now_ns),
            taken(2)
        );
        assert_eq!(half_open.take(Some(1), &local, &remote, 4 * SECOND), None);
    }

    #[test]
    fn an_old_one_is_of_an_earlier_handshake() {
        let (local, remote) = (end("10.0.0.1", 80), end("10.0.0.9", 1234));
        let mut half_open = HalfOpen::default();
        half_open.retransmitted(None, &local, &remote, SECOND);
        assert_eq!(half_open.take(None, &local, &remote, 132 * SECOND), None);
        half_open.retransmitted(None, &local, &remote, SECOND);
        half_open.retransmitted(None, &local, &remote, 132 * SECOND);
        assert!(half_open.expire(200 * SECOND).is_empty());
        let taken = half_open.take(None, &local, &remote, 133 * SECOND);
        assert_eq!(taken.unwrap().retransmits, 1);
        half_open.retransmitted(None, &local, &remote, SECOND);
        assert_eq!(half_open.expire(201 * SECOND).len(), 1);
    }

    #[test]
    fn one_whose_next_syn_ack_does_not_come_is_over() {
        let (local, remote) = (end("10.0.0.1", 80), end("10.0.0.9", 1234));
        let mut half_open = HalfOpen::default();
        half_open.born(None, &local, &remote, SECOND);
        for at in [2, 4, 8] {
            half_open.retransmitted(None, &local, &remote, at * SECOND);
        }
        // The next is due at 16 s, and may be late.
        assert!(half_open.expire(18 * SECOND).is_empty());
        let over = half_open.expire(20 * SECOND);
        assert_eq!(over.len(), 1);
        assert_eq!(over[0].born_ns, Some(SECOND));
        assert_eq!(over[0].retransmits, 3);
    }

    #[test]
    fn one_that_waits_for_data_is_waited_for() {
        let (local, remote) = (end("10.0.0.1", 80), end("10.0.0.9", 1234));
        let mut half_open = HalfOpen::default();
        half_open.born(None, &local, &remote, SECOND);
        assert!(half_open.expire(120 * SECOND).is_empty());
        let taken = half_open.take(None, &local, &remote, 121 * SECOND).unwrap();
        assert_eq!((taken.born_ns, taken.retransmits), (Some(SECOND), 0));
    }

    #[test]
    fn the_number_is_bounded() {
        let mut half_open = HalfOpen::default();
        let local = end("10.0.0.1", 80);
        let remote = |index: usize| end("10.0.0.9", u16::try_from(index).unwrap());
        for index in 0..MAX {
            assert!(half_open.born(None, &local, &remote(index), 1).is_none());
        }
        let lost = half_open
            .retransmitted(None, &local, &remote(MAX), 1)
            .unwrap();
        assert_eq!(lost.remote, remote(0));
        assert_eq!(half_open.take(None, &local, &remote(0), 1), None);
        assert!(half_open.take(None, &local, &remote(1), 1).is_some());
    }

    #[test]
    fn a_closed_listener_is_known_to_what_it_had_half_open() {
        let mut half_open = HalfOpen::default();
        for (addr, netns, at) in [("10.0.0.1", 1, 1), ("10.0.0.2", 1, 2), ("10.0.0.1", 2, 3)] {
            half_open.born(Some(netns), &end(addr, 80), &end("10.0.0.9", 1234), at);
        }
        half_open.listener_closed(Some(1), &end("10.0.0.1", 80));
        half_open.listener_closed(Some(1), &end("0.0.0.0", 81));
        let closed: Vec<_> = half_open
            .expire(200 * SECOND)
            .iter()
            .map(|pending| pending.listener_closed)
            .collect();
        assert_eq!(closed, [true, false, false]);
    }

    #[test]
    fn a_handshake_may_have_begun_before_the_trace_or_a_loss() {
        let mut half_open = HalfOpen::default();
        assert!(!half_open.covers(500 * SECOND));
        half_open.watching(SECOND);
        half_open.watching(2 * SECOND);
        assert!(!half_open.covers(131 * SECOND));
        assert!(half_open.covers(132 * SECOND));
        half_open.forget_all();
        assert!(!half_open.covers(132 * SECOND));
    }
}
