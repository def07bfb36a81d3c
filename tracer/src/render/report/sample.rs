//! Which connections are listed one by one, where there are too many.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::diagnose::{Diagnosis, Verdict};
use crate::state::State;
use crate::stats::LONG_HELD_NS;
use crate::track::{Connection, Ending};

/// A connection at its end, as it was told.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) conn: Connection,
    pub(super) diagnosis: Diagnosis,
    pub(super) ending: Ending,
    pub(super) now_ns: u64,
}

/// The connections worth most, at most so many: the failed first, and among equals an even sample.
#[derive(Debug)]
pub(super) struct Sample {
    max: usize,
    /// The one to give up first on top.
    heap: BinaryHeap<Ranked>,
}

#[derive(Debug)]
struct Ranked {
    rank: Rank,
    kept: Kept,
}

/// Less is worth more.
type Rank = (u8, u64);

impl Sample {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            heap: BinaryHeap::new(),
        }
    }

    /// Keeps it, if it is worth more than one that was kept so far.
    pub(super) fn offer(
        &mut self,
        conn: &Connection,
        diagnosis: &Diagnosis,
        ending: Ending,
        now_ns: u64,
    ) {
        let rank = (worth(diagnosis, ending), scattered(conn.id.0));
        if self.heap.len() >= self.max {
            match self.heap.peek() {
                Some(least) if rank < least.rank => self.heap.pop(),
                Some(_) | None => return,
            };
        }
        let kept = Kept {
            conn: conn.clone(),
            diagnosis: diagnosis.clone(),
            ending,
            now_ns,
        };
        self.heap.push(Ranked { rank, kept });
    }

    /// In the order in which they were first seen.
    pub(super) fn into_list(self) -> Vec<Kept> {
        let mut list: Vec<_> = self.heap.into_iter().map(|ranked| ranked.kept).collect();
        list.sort_unstable_by_key(|kept| kept.conn.id);
        list
    }
}

fn worth(diagnosis: &Diagnosis, ending: Ending) -> u8 {
    let verdict = diagnosis.verdict;
    if verdict.is_failure() {
        0
    } else if !diagnosis.hints.is_empty() || is_forgotten(diagnosis, ending) {
        1
    } else if verdict == Verdict::Unknown {
        2
    } else if verdict == Verdict::Closed {
        4
    } else {
        3
    }
}

/// Held in `CLOSE_WAIT` for so long that it looks like a leak: the rule of the summary, which the page has too.
fn is_forgotten(diagnosis: &Diagnosis, ending: Ending) -> bool {
    ending == Ending::StillOpen
        && diagnosis.states.last().is_some_and(|last| {
            last.state == State::CloseWait && last.duration_ns >= Some(LONG_HELD_NS)
        })
}

/// Numbers in a row, scattered evenly: those below a bound are a sample of them (`SplitMix64`).
fn scattered(id: u64) -> u64 {
    let mut x = id.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.rank == other.rank
    }
}

impl Eq for Ranked {}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank.cmp(&other.rank)
    }
}
