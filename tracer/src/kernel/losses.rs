//! What did not arrive: the programs' own counters, and the kernel's count of refused runs.

use std::os::fd::{AsRawFd as _, BorrowedFd};

use aya::maps::{MapData, MapError, PerCpuArray};
use tracer_common::config::{COUNTERS, Counter};

use crate::session::Lost;

/// Counters of all programs, by [`Counter`].
pub(super) type Counters = [u64; COUNTERS];

const RING_FULL: [Counter; 2] = [Counter::StateRingFull, Counter::TwinRingFull];
const UNREADABLE: [Counter; 2] = [Counter::StateUnreadable, Counter::TwinUnreadable];
/// Of the programs that deliver no transitions.
const EVIDENCE: [Counter; 25] = [
    Counter::AcceptRingFull,
    Counter::RetransmitRingFull,
    Counter::ResetReceivedRingFull,
    Counter::ResetSentRingFull,
    Counter::SocketErrorRingFull,
    Counter::SynAckRingFull,
    Counter::AcceptUnreadable,
    Counter::RetransmitUnreadable,
    Counter::ResetReceivedUnreadable,
    Counter::ResetSentUnreadable,
    Counter::SocketErrorUnreadable,
    Counter::SynAckUnreadable,
    Counter::EvidenceRefused,
    Counter::DestroyedRingFull,
    Counter::DestroyedUnreadable,
    Counter::TimeWaitRingFull,
    Counter::TimeWaitUnreadable,
    Counter::MiniBornRingFull,
    Counter::MiniBornUnreadable,
    Counter::MiniTimerRingFull,
    Counter::MiniTimerUnreadable,
    Counter::MiniEndRingFull,
    Counter::MiniEndUnreadable,
    Counter::RequestRingFull,
    Counter::RequestUnreadable,
];

/// How often the kernel refused to run programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Refused {
    /// The program that records transitions.
    pub(super) state: u64,
    /// All that have no twin.
    pub(super) others: u64,
}

/// Sums over the CPUs.
pub(super) fn read(map: &PerCpuArray<MapData, Counters>) -> Result<Counters, MapError> {
    let mut sums = [0; COUNTERS];
    for cpu in map.get(&0, 0)?.iter() {
        for (sum, count) in sums.iter_mut().zip(cpu) {
            *sum += count;
        }
    }
    Ok(sums)
}

/// What counters and refusals mean.
pub(super) fn lost(counters: &Counters, refused: Refused, has_twin: bool) -> Lost {
    let count = |counter: Counter| counters.get(counter as usize).copied().unwrap_or(0);
    let sum = |list: &[Counter]| list.iter().map(|counter| count(*counter)).sum();
    let recovered = if has_twin { count(Counter::TwinSaw) } else { 0 };
    Lost {
        ring_full: sum(&RING_FULL),
        reentry: refused.state.saturating_sub(recovered),
        unreadable: sum(&UNREADABLE),
        undecodable: 0,
        damaged: 0,
        evidence: sum(&EVIDENCE) + refused.others,
    }
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
    use super::*;

    #[test]
    fn fdinfo() {
        let text =
            "pos:\t0\nprog_type:\t17\nrun_cnt:\t0\nrecursion_misses:\t42\nverified_insns:\t9\n";
        assert_eq!(parse_refused_runs(text), Some(42));
        assert_eq!(parse_refused_runs("prog_type:\t17\n"), None);
    }

    #[test]
    fn every_counter_is_a_loss_or_the_twins() {
        let mut counted = [0u32; COUNTERS];
        for counter in RING_FULL
            .iter()
            .chain(&UNREADABLE)
            .chain(&EVIDENCE)
            .chain(&[Counter::TwinSaw])
        {
            counted[*counter as usize] += 1;
        }
        assert_eq!(counted, [1; COUNTERS]);
    }

    #[test]
    fn the_twin_makes_up_for_refusals_of_the_first_program_only() {
        let mut counters = [0; COUNTERS];
        counters[Counter::TwinSaw as usize] = 7;
        counters[Counter::SynAckRingFull as usize] = 3;
        let refused = Refused {
            state: 9,
            others: 5,
        };
        let with = lost(&counters, refused, true);
        assert_eq!((with.reentry, with.ring_full), (2, 0));
        assert_eq!(with.evidence, 3 + 5);
        assert_eq!(lost(&counters, refused, false).reentry, 9);
        // A repetition by the twin is seen without a refusal.
        assert_eq!(lost(&counters, Refused::default(), true).reentry, 0);
    }
}
