//! What did not arrive: the programs' own count, and the kernel's of runs that it refused.
//!
//! The programs count in memory that all CPUs share. The first record that is delivered after a loss has one before
//! it that says what was lost by then, so the place of a loss among the records is known. What no record has told
//! of when the ring has been emptied was lost after all that was in it. Where among the records a refused run
//! would have been is not known.

use std::os::fd::{AsRawFd as _, BorrowedFd};

use tracer_common::wire::{KIND_LOSS, LossRecord, Losses};
use zerocopy::FromBytes as _;

use crate::session::Lost;

/// Runs that the kernel refused, and nothing made up for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// Of the program that records transitions.
    pub transitions: u64,
    /// Of all that have no twin.
    pub evidence: u64,
}

/// What was lost up to one place among the records. No count ever goes back: what two sources tell of is
/// counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    programs: Losses,
    refused: Refused,
    /// Delivered and not taken: of no other source.
    left: Left,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Left {
    transitions: u64,
    evidence: u64,
}

impl Ledger {
    /// Takes in what the programs have counted; yields all that is lost if that is news.
    pub fn count(&mut self, counted: &Losses) -> Option<Lost> {
        let before = *self;
        let programs = &mut self.programs;
        programs.ring_full = programs.ring_full.max(counted.ring_full);
        programs.unreadable = programs.unreadable.max(counted.unreadable);
        programs.evidence = programs.evidence.max(counted.evidence);
        self.news(&before)
    }

    /// Likewise, of refused runs.
    pub fn refuse(&mut self, counted: Refused) -> Option<Lost> {
        let before = *self;
        let refused = &mut self.refused;
        refused.transitions = refused.transitions.max(counted.transitions);
        refused.evidence = refused.evidence.max(counted.evidence);
        self.news(&before)
    }

    /// Takes note that so many more were delivered, and left out because nobody takes them.
    pub fn leave(&mut self, transitions: u64, evidence: u64) -> Option<Lost> {
        let before = *self;
        self.left.transitions += transitions;
        self.left.evidence += evidence;
        self.news(&before)
    }

    fn news(&self, before: &Self) -> Option<Lost> {
        (self != before).then(|| Lost {
            ring_full: self.programs.ring_full + self.left.transitions,
            reentry: self.refused.transitions,
            unreadable: self.programs.unreadable,
            undecodable: 0,
            damaged: 0,
            evidence: self.programs.evidence + self.refused.evidence + self.left.evidence,
        })
    }
}

/// What the programs have counted by this record, and its time, if it is one that tells.
pub fn told_by(record: &[u8]) -> Option<(Losses, u64)> {
    let (kind, _) = u16::read_from_prefix(record).ok()?;
    if kind != KIND_LOSS {
        return None;
    }
    let (record, _) = LossRecord::read_from_prefix(record).ok()?;
    Some((record.lost, record.header.mono_ns))
}

/// How often the kernel refused to run a program because it was running on that CPU already.
/// `None` before Linux 5.12, which does not tell.
pub(super) fn refused_runs(program: BorrowedFd<'_>) -> Option<u64> {
    let path = format!("/proc/self/fdinfo/{}", program.as_raw_fd());
    parse_refused_runs(&std::fs::read_to_string(path).ok()?)
}

fn parse_refused_runs(fdinfo: &str) -> Option<u64> {
    fdinfo
        .lines()
        .find_map(|line| line.strip_prefix("recursion_misses:"))?
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use tracer_common::wire::Header;
    use zerocopy::IntoBytes as _;

    use super::*;

    fn losses(ring_full: u64, evidence: u64) -> Losses {
        Losses {
            ring_full,
            unreadable: 0,
            evidence,
        }
    }

    #[test]
    fn fdinfo() {
        let text =
            "pos:\t0\nprog_type:\t17\nrun_cnt:\t0\nrecursion_misses:\t42\nverified_insns:\t9\n";
        assert_eq!(parse_refused_runs(text), Some(42));
        assert_eq!(parse_refused_runs("prog_type:\t17\n"), None);
    }

    #[test]
    fn what_is_told_twice_is_lost_once() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.count(&losses(0, 0)), None);
        let lost = ledger.count(&losses(5, 1)).expect("news");
        assert_eq!((lost.ring_full, lost.evidence, lost.total()), (5, 1, 5));
        // Two CPUs told of it, the one that had seen less came later.
        assert_eq!(ledger.count(&losses(5, 1)), None);
        assert_eq!(ledger.count(&losses(3, 1)), None);
        let lost = ledger.count(&losses(4, 2)).expect("news");
        assert_eq!((lost.ring_full, lost.evidence), (5, 2));
    }

    #[test]
    fn refused_runs_are_losses_beside_those_of_the_programs() {
        let mut ledger = Ledger::default();
        ledger.count(&losses(5, 1));
        let refused = Refused {
            transitions: 2,
            evidence: 3,
        };
        let lost = ledger.refuse(refused).expect("news");
        assert_eq!((lost.ring_full, lost.reentry, lost.evidence), (5, 2, 4));
        assert_eq!(lost.total(), 7);
        assert_eq!(ledger.refuse(refused), None);
        // The twin has made up for one that was counted before it had run.
        let fewer = Refused {
            transitions: 1,
            ..refused
        };
        assert_eq!(ledger.refuse(fewer), None);
    }

    #[test]
    fn what_nobody_takes_is_lost_beside_what_never_came() {
        let mut ledger = Ledger::default();
        ledger.count(&losses(5, 1));
        let lost = ledger.leave(3, 2).expect("news");
        assert_eq!((lost.ring_full, lost.evidence), (8, 3));
        assert_eq!(ledger.leave(0, 0), None);
        let lost = ledger.count(&losses(6, 1)).expect("news");
        assert_eq!(lost.ring_full, 9);
    }

    #[test]
    fn a_record_tells_what_was_lost_before_it() {
        let record = LossRecord {
            header: Header {
                kind: KIND_LOSS,
                flags: 0,
                cpu: 1,
                mono_ns: 7,
                sk: 0,
            },
            lost: losses(5, 1),
        };
        assert_eq!(told_by(record.as_bytes()), Some((losses(5, 1), 7)));
        assert_eq!(told_by(record.header.as_bytes()), None);
        let other = Header {
            kind: 1,
            ..record.header
        };
        assert_eq!(told_by(other.as_bytes()), None);
    }
}
