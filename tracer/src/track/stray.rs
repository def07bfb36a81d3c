//! Evidence on sockets that are not tracked yet.
//!
//! Of a connection older than the trace, the peer's reset is seen before its first state change. The
//! latest few are kept for as long as such a change can take to follow.

use std::collections::VecDeque;

use super::linger::LINGER_NS;
use crate::event::EvidenceEvent;

const MAX: usize = 256;

#[derive(Default)]
pub(super) struct Stray {
    /// In the order in which they came.
    latest: VecDeque<EvidenceEvent>,
}

impl Stray {
    /// Keeps one.
    pub(super) fn remember(&mut self, event: &EvidenceEvent) {
        if self.latest.len() >= MAX {
            self.latest.pop_front();
        }
        self.latest.push_back(*event);
    }

    /// Those of a socket just before `now_ns`, in order.
    pub(super) fn of(&self, sk: u64, now_ns: u64) -> impl Iterator<Item = &EvidenceEvent> {
        self.latest
            .iter()
            .filter(move |event| event.sk == sk && now_ns.abs_diff(event.mono_ns) <= LINGER_NS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Evidence;

    #[test]
    fn the_latest_of_the_socket_are_found() {
        let event = |sk, mono_ns| EvidenceEvent {
            mono_ns,
            sk,
            what: Evidence::ResetReceived,
        };
        let mut stray = Stray::default();
        for (sk, mono_ns) in [(64, 5), (128, 6), (64, 30_000_000)] {
            stray.remember(&event(sk, mono_ns));
        }
        let found: Vec<_> = stray.of(64, 31_000_000).map(|e| e.mono_ns).collect();
        assert_eq!(found, [30_000_000]);
        for mono_ns in 0..MAX as u64 {
            stray.remember(&event(192, 31_000_000 + mono_ns));
        }
        assert_eq!(stray.of(64, 31_000_000).count(), 0);
        assert_eq!(stray.of(192, 31_000_000).count(), MAX);
    }
}
