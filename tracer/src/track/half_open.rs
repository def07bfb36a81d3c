//! Half-open connections whose SYN-ACK was sent again.
//!
//! A half-open connection has no socket that the tracepoint sees, so it is known by its addresses until
//! the final ACK makes it one. What nobody takes over is forgotten and counted.

use std::net::Ipv6Addr;

use hashlink::LinkedHashMap;

use crate::event::Endpoint;

/// Half-open connections kept at once.
const MAX: usize = 4096;
/// Longer than any SYN-ACK of Linux is waited for after it was sent again (`TCP_RTO_MAX` is 120 s).
const LIFE_NS: u64 = 130_000_000_000;

#[derive(Default)]
pub(super) struct HalfOpen {
    /// The one whose SYN-ACK was sent last at the end.
    waiting: LinkedHashMap<Ends, Waiting>,
    /// Since when no retransmission was missed.
    counting_since_ns: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Ends {
    netns: Option<u32>,
    local: (Ipv6Addr, u16),
    remote: (Ipv6Addr, u16),
}

struct Waiting {
    retransmits: u32,
    first_ns: u64,
    last_ns: u64,
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

    /// A SYN-ACK was sent again. Returns how many half-open connections had to go for it.
    pub(super) fn retransmitted(
        &mut self,
        netns: Option<u32>,
        local: &Endpoint,
        remote: &Endpoint,
        now_ns: u64,
    ) -> u64 {
        let ends = ends(netns, local, remote);
        let before = self.waiting.remove(&ends);
        let (retransmits, first_ns) = before
            .filter(|waiting| !waiting.is_over(now_ns))
            .map_or((0, now_ns), |waiting| {
                (waiting.retransmits, waiting.first_ns)
            });
        self.waiting.insert(
            ends,
            Waiting {
                retransmits: retransmits.saturating_add(1),
                first_ns,
                last_ns: now_ns,
            },
        );
        if self.waiting.len() <= MAX {
            return 0;
        }
        self.waiting.pop_front();
        1
    }

    /// How often the SYN-ACK was sent again, and when first and last.
    pub(super) fn get(
        &self,
        netns: Option<u32>,
        local: &Endpoint,
        remote: &Endpoint,
    ) -> Option<(u32, u64, u64)> {
        let waiting = self.waiting.get(&ends(netns, local, remote))?;
        Some((waiting.retransmits, waiting.first_ns, waiting.last_ns))
    }

    /// The connection got a socket: its count, if there is one.
    pub(super) fn take(
        &mut self,
        netns: Option<u32>,
        local: &Endpoint,
        remote: &Endpoint,
        now_ns: u64,
    ) -> Option<u32> {
        if self.waiting.is_empty() {
            return None;
        }
        let waiting = self.waiting.remove(&ends(netns, local, remote))?;
        (!waiting.is_over(now_ns)).then_some(waiting.retransmits)
    }

    /// Whether a connection that got its socket now cannot have been half-open before all
    /// retransmissions were counted.
    pub(super) fn covers(&self, now_ns: u64) -> bool {
        self.counting_since_ns
            .is_some_and(|since_ns| now_ns.saturating_sub(since_ns) > LIFE_NS)
    }

    /// Drops those that cannot become a connection any more. Returns how many.
    pub(super) fn expire(&mut self, now_ns: u64) -> u64 {
        let mut expired = 0;
        while self
            .waiting
            .front()
            .is_some_and(|(_, waiting)| waiting.is_over(now_ns))
        {
            self.waiting.pop_front();
            expired += 1;
        }
        expired
    }
}

impl Waiting {
    fn is_over(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.last_ns) > LIFE_NS
    }
}

fn ends(netns: Option<u32>, local: &Endpoint, remote: &Endpoint) -> Ends {
    Ends {
        netns,
        local: (local.mapped_addr(), local.port),
        remote: (remote.mapped_addr(), remote.port),
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
        let mapped = end("::ffff:10.0.0.1", 80);
        let (mapped_remote, now_ns) = (end("::ffff:10.0.0.9", 1234), 4 * SECOND);
        assert_eq!(
            half_open.take(Some(1), &mapped, &mapped_remote, now_ns),
            Some(2)
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
        assert_eq!(half_open.expire(200 * SECOND), 0);
        assert_eq!(half_open.take(None, &local, &remote, 133 * SECOND), Some(1));
        half_open.retransmitted(None, &local, &remote, SECOND);
        assert_eq!(half_open.expire(132 * SECOND), 1);
    }

    #[test]
    fn the_number_is_bounded() {
        let mut half_open = HalfOpen::default();
        let local = end("10.0.0.1", 80);
        let remote = |index: usize| end("10.0.0.9", u16::try_from(index).unwrap());
        for index in 0..MAX {
            assert_eq!(half_open.retransmitted(None, &local, &remote(index), 1), 0);
        }
        assert_eq!(half_open.retransmitted(None, &local, &remote(MAX), 1), 1);
        assert_eq!(half_open.take(None, &local, &remote(0), 1), None);
        assert_eq!(half_open.take(None, &local, &remote(1), 1), Some(1));
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
