//! The few largest of many.

/// The `rows` items that weigh most, and how many there were.
#[derive(Clone, Debug)]
pub struct Longest<T> {
    rows: usize,
    /// The heaviest first; of equals the earlier.
    items: Vec<(u64, T)>,
    count: u64,
}

impl<T> Longest<T> {
    /// With room for a number of items.
    pub fn new(rows: usize) -> Self {
        Self {
            rows,
            items: Vec::new(),
            count: 0,
        }
    }

    /// Takes one in; `item` is made only if it is kept.
    pub fn offer(&mut self, weight: u64, item: impl FnOnce() -> T) {
        self.count += 1;
        let at = self.items.partition_point(|(kept, _)| *kept >= weight);
        if at < self.rows {
            self.items.truncate(self.rows - 1);
            self.items.insert(at, (weight, item()));
        }
    }

    /// Those kept with their weights, the heaviest first.
    pub fn items(&self) -> &[(u64, T)] {
        &self.items
    }

    /// How many were offered.
    pub fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn they_are_the_first_of_all_when_sorted(
            weights in proptest::collection::vec(0_u64..20, 0..60),
            rows in 0_usize..10,
        ) {
            let mut longest = Longest::new(rows);
            for (index, weight) in weights.iter().enumerate() {
                longest.offer(*weight, || index);
            }
            let mut all: Vec<_> = weights.iter().copied().zip(0..).collect();
            all.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
            all.truncate(rows);
            prop_assert_eq!(longest.items(), all);
            prop_assert_eq!(longest.count(), weights.len() as u64);
        }
    }
}
