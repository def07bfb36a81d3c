//! Numbers of runs, and what they come to.

use super::storm::{Load, Storm};

/// A storm without a tracer, and one with.
pub(super) struct Round {
    pub(super) without: Storm,
    pub(super) with: Traced,
}

/// A storm under a tracer.
pub(super) struct Traced {
    pub(super) storm: Storm,
    /// Transitions of the storm that the tracer recorded; `None` for one that records something else.
    pub(super) events: Option<u64>,
    /// Processor time of the tracer's own process, until the storm began.
    pub(super) start_cpu_ns: f64,
    /// Likewise, from then on to its end.
    pub(super) cpu_ns: f64,
    pub(super) output_bytes: u64,
    /// Peak of its resident memory.
    pub(super) peak_bytes: u64,
    /// What it says itself; ours only.
    pub(super) said: Said,
}

/// What a tracer says of its own work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// Transitions for which the kernel refused to run the first program, and which the second recorded.
    pub(super) recovered: Option<u64>,
    /// Transitions lost.
    pub(super) lost: Option<u64>,
}

/// All rounds of one tracer under one load.
pub(super) struct Series {
    pub(super) tracer: &'static str,
    pub(super) load: Load,
    pub(super) rounds: Vec<Round>,
    /// Time in its kernel programs for each transition, where the kernel was asked.
    pub(super) program_ns: Option<f64>,
}

/// A median with its range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub(super) low: f64,
    pub(super) median: f64,
    pub(super) high: f64,
}

impl Series {
    pub(super) fn new(tracer: &'static str, load: &Load) -> Self {
        Self {
            tracer,
            load: load.clone(),
            rounds: Vec::new(),
            program_ns: None,
        }
    }

    /// Processor time that the tracer adds to each connection of the storm, in microseconds.
    pub(super) fn added_us(&self) -> Option<Spread> {
        self.spread(|round| {
            let with = round.with.storm.cpu_ns_per_connection;
            Some((with - round.without.cpu_ns_per_connection) / 1000.0)
        })
    }

    /// Speed of the storm with the tracer, as a part of that without.
    pub(super) fn speed_kept(&self) -> Option<Spread> {
        self.spread(|round| {
            let with = round.with.storm.connections_per_second;
            Some(with / round.without.connections_per_second)
        })
    }

    /// The tracer's own processor time, in seconds for each million transitions.
    pub(super) fn own_seconds(&self) -> Option<Spread> {
        self.spread(|round| {
            let events = ratio(round.with.storm.transitions)?;
            Some(round.with.cpu_ns / 1e9 / events * 1e6)
        })
    }

    /// Processor time that starting the tracer takes, in milliseconds.
    pub(super) fn start_ms(&self) -> Option<Spread> {
        self.spread(|round| Some(round.with.start_cpu_ns / 1e6))
    }

    pub(super) fn peak_mebibytes(&self) -> Option<Spread> {
        self.spread(|round| ratio(round.with.peak_bytes).map(|bytes| bytes / f64::from(1 << 20)))
    }

    /// Bytes written for each transition of the storm.
    pub(super) fn bytes_per_event(&self) -> Option<Spread> {
        self.spread(|round| {
            let bytes = ratio(round.with.output_bytes)?;
            Some(bytes / ratio(round.with.storm.transitions)?)
        })
    }

    /// Transitions of the storm that are not in the output, in parts per million.
    pub(super) fn missed_ppm(&self) -> Option<Spread> {
        self.spread(|round| {
            let all = ratio(round.with.storm.transitions)?;
            Some((all - ratio(round.with.events?)?) / all * 1e6)
        })
    }

    /// Transitions that were refused and recovered all the same, in parts per million.
    pub(super) fn recovered_ppm(&self) -> Option<Spread> {
        self.spread(|round| {
            let all = ratio(round.with.storm.transitions)?;
            Some(ratio(round.with.said.recovered?)? / all * 1e6)
        })
    }

    /// Transitions that the tracer itself says it has lost, in all rounds.
    pub(super) fn lost(&self) -> Option<u64> {
        self.rounds.iter().map(|round| round.with.said.lost).sum()
    }

    fn spread(&self, figure: impl Fn(&Round) -> Option<f64>) -> Option<Spread> {
        Spread::of(self.rounds.iter().map(figure).collect::<Option<Vec<_>>>()?)
    }
}

impl Spread {
    /// `None` of nothing.
    pub(super) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_unstable_by(f64::total_cmp);
        let middle = values.len() / 2;
        let upper = *values.get(middle)?;
        let median = if values.len().is_multiple_of(2) {
            f64::midpoint(*values.get(middle.checked_sub(1)?)?, upper)
        } else {
            upper
        };
        Some(Self {
            low: *values.first()?,
            median,
            high: *values.last()?,
        })
    }
}

/// A count as a number to calculate with; none of these comes near 2^53.
#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn ratio(count: u64) -> Option<f64> {
    (count < 1 << 53).then_some(count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_lies_in_the_middle() {
        let spread = |low, median, high| Some(Spread { low, median, high });
        assert_eq!(Spread::of(vec![3.0, 1.0, 2.0]), spread(1.0, 2.0, 3.0));
        assert_eq!(Spread::of(vec![1.0, 2.0]), spread(1.0, 1.5, 2.0));
        assert_eq!(Spread::of(Vec::new()), None);
    }
}
