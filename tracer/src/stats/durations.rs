//! Durations by their quantiles, in bounded memory.

use hdrhistogram::Histogram;

/// Any number of durations, each kept to two significant decimal digits and at most 60 KiB in all.
#[derive(Clone, Debug)]
pub struct Durations {
    histogram: Histogram<u64>,
    min_ns: u64,
    max_ns: u64,
}

/// Decimal digits kept: a quantile is at most 1 % below the duration it stands for.
const DIGITS: u8 = 2;

impl Default for Durations {
    fn default() -> Self {
        Self {
            histogram: Histogram::new(DIGITS).expect("0 to 5 digits can be had"),
            min_ns: u64::MAX,
            max_ns: 0,
        }
    }
}

impl Durations {
    /// Takes one in.
    pub fn add(&mut self, ns: u64) {
        // It resizes itself for any value, which is the only way to fail.
        let _ = self.histogram.record(ns);
        self.min_ns = self.min_ns.min(ns);
        self.max_ns = self.max_ns.max(ns);
    }

    /// Takes all of another in.
    pub fn add_all(&mut self, other: &Self) {
        // It resizes itself, which is the only way to fail.
        let _ = self.histogram.add(&other.histogram);
        self.min_ns = self.min_ns.min(other.min_ns);
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    /// How many were taken in.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// The longest, exactly; `None` if there is none.
    pub fn max_ns(&self) -> Option<u64> {
        (self.count() > 0).then_some(self.max_ns)
    }

    /// The shortest of the durations that at least `quantile` (0 to 1) of all do not exceed, or up to 1 %
    /// less, so that it never says more than was measured. `None` if there is none.
    pub fn quantile_ns(&self, quantile: f64) -> Option<u64> {
        // 0.28 as a binary fraction is a little more than 28 of 100, which must not count as one more.
        let value = self
            .histogram
            .value_at_quantile(quantile * (1.0 - 4.0 * f64::EPSILON));
        let lowest = self.histogram.lowest_equivalent(value);
        (self.count() > 0).then(|| lowest.clamp(self.min_ns, self.max_ns))
    }

    /// How many durations lie in each power of two that has any: its lower bound in nanoseconds (0 for
    /// below 1) and the count, in ascending order.
    pub fn powers_of_two(&self) -> Vec<(u64, u64)> {
        let mut powers: Vec<(u64, u64)> = Vec::new();
        for recorded in self.histogram.iter_recorded() {
            let value = self
                .histogram
                .lowest_equivalent(recorded.value_iterated_to());
            let floor = value.checked_ilog2().map_or(0, |power| 1 << power);
            let count = recorded.count_since_last_iteration();
            match powers.last_mut() {
                Some((last, sum)) if *last == floor => *sum = sum.saturating_add(count),
                _ => powers.push((floor, count)),
            }
        }
        powers
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn of_none_nothing_is_said() {
        let none = Durations::default();
        assert_eq!((none.count(), none.max_ns()), (0, None));
        assert_eq!(none.quantile_ns(0.5), None);
        assert!(none.powers_of_two().is_empty());
    }

    #[test]
    fn the_extremes_of_a_clock_fit() {
        let mut durations = Durations::default();
        for ns in [0, 1, u64::MAX] {
            durations.add(ns);
        }
        assert_eq!(durations.count(), 3);
        assert_eq!(durations.max_ns(), Some(u64::MAX));
        assert_eq!(durations.quantile_ns(0.0), Some(0));
        assert_eq!(durations.powers_of_two(), [(0, 1), (1, 1), (1 << 63, 1)]);
    }

    #[test]
    fn a_quantile_is_not_one_duration_further() {
        let mut durations = Durations::default();
        for ns in 1..=100 {
            durations.add(ns);
        }
        for (percent, ns) in [(0.28, 28), (0.29, 29), (0.57, 57), (0.99, 99), (1.0, 100)] {
            assert_eq!(durations.quantile_ns(percent), Some(ns));
        }
    }

    proptest! {
        /// Against sorting them all: the nearest-rank quantile, at most 1 % low and never high.
        #[test]
        fn quantiles_are_those_of_the_sorted(
            mut all in proptest::collection::vec(0_u64..=1 << 50, 1..200),
            percent in 1_u32..=100,
        ) {
            let mut durations = Durations::default();
            for ns in &all {
                durations.add(*ns);
            }
            all.sort_unstable();
            let rank = (all.len() * percent as usize).div_ceil(100);
            let exact = all[rank - 1];
            let told = durations.quantile_ns(f64::from(percent) / 100.0).unwrap();
            prop_assert!(told <= exact, "{told} > {exact}");
            prop_assert!(exact - told <= exact / 100 + 1, "{told} << {exact}");
            prop_assert_eq!(durations.max_ns(), all.last().copied());
            let sum: u64 = durations.powers_of_two().iter().map(|(_, count)| count).sum();
            prop_assert_eq!(sum, durations.count());
        }
    }
}
