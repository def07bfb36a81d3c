//! What did not arrive: the programs' own counters, and the kernel's count of refused runs.

use std::os::fd::{AsRawFd as _, BorrowedFd};

use aya::maps::{MapData, MapError, PerCpuArray};
use tracer_common::config::Counter;

use crate::session::Lost;

/// Counters of all programs, summed over the CPUs.
pub(super) fn read(
    counters: &PerCpuArray<MapData, u64>,
    refused: u64,
    has_twin: bool,
) -> Result<Lost, MapError> {
    let sum = |counter: Counter| -> Result<u64, MapError> {
        Ok(counters.get(&(counter as u32), 0)?.iter().sum())
    };
    let seen_by_twin = if has_twin { sum(Counter::TwinSaw)? } else { 0 };
    Ok(Lost {
        ring_full: sum(Counter::StateRingFull)?
            + sum(Counter::TwinRingFull)?
            + sum(Counter::AcceptRingFull)?,
        reentry: refused.saturating_sub(seen_by_twin),
        unreadable: sum(Counter::StateUnreadable)?
            + sum(Counter::TwinUnreadable)?
            + sum(Counter::AcceptUnreadable)?,
        undecodable: 0,
    })
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
}
