//! What goes into the core, from a kernel or from a recording: the same sequence gives the same output.

use crate::session::{ClockMap, Lost};

/// One of the things that [`crate::flow::Flow`] takes in. A recording is the sequence of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input<'a> {
    /// A record, as [`crate::decode`] takes it.
    Record(&'a [u8]),
    /// The clocks were read again.
    Clock(ClockMap),
    /// What was lost since the session began. Stands where it is missing: before any record of something that
    /// happened after the loss, and, where the programs have counted it, after all from before.
    Losses {
        /// Totals, without those that could not be decoded.
        lost: Lost,
        /// When the hole was over, or the counters were read (`CLOCK_MONOTONIC`, ns).
        now_ns: u64,
    },
    /// Time has passed: all records before this time (`CLOCK_MONOTONIC`, ns) were taken in.
    Tick(u64),
}
