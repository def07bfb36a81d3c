//! The latest transitions into `CLOSED`, to know a twin's repetition of one when it comes.
//!
//! A table of fixed size in which a socket has one place: a later one that falls on it takes it. The
//! repetition follows its original closely and is rare, so a place lost too early is rarer still; the
//! transition would then be seen twice.

use crate::event::StateEvent;
use crate::state::State;

const PLACES: usize = 1024;
/// The twin runs right after the first program, or after the interrupts that came between.
const WINDOW_NS: u64 = 100_000_000;

#[derive(Debug)]
pub(super) struct RecentlyClosed {
    places: Box<[Place]>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    sk: u64,
    mono_ns: u64,
    from: State,
}

impl RecentlyClosed {
    pub(super) fn new() -> Self {
        let empty = Place {
            sk: 0,
            mono_ns: 0,
            from: State::Closed,
        };
        Self {
            places: vec![empty; PLACES].into_boxed_slice(),
        }
    }

    /// Remembers a transition into `CLOSED`.
    pub(super) fn remember(&mut self, event: &StateEvent) {
        if let Some(place) = self.places.get_mut(index(event.sk)) {
            *place = Place {
                sk: event.sk,
                mono_ns: event.mono_ns,
                from: event.from,
            };
        }
    }

    /// Whether `event` repeats a transition remembered.
    pub(super) fn repeated_by(&self, event: &StateEvent) -> bool {
        event.to == State::Closed
            && self.places.get(index(event.sk)).is_some_and(|place| {
                place.sk == event.sk
                    && place.from == event.from
                    && event.mono_ns.abs_diff(place.mono_ns) <= WINDOW_NS
            })
    }
}

/// Sockets lie on cache lines at least, so their addresses differ in the bits above these.
fn index(sk: u64) -> usize {
    let spread = (sk >> 6).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    usize::try_from(spread >> 54).unwrap_or_default()
}
