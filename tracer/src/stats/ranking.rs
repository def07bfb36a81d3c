//! Sums by key, for any number of keys in bounded memory.
//!
//! Up to a capacity every key is kept. When one more comes, those that lead by no measure are put
//! together as the others, and there is room again: a key that matters later is kept from then on, though
//! it may have been among the others before. Nothing is lost from the sum, and every entry says whether
//! it is all there was.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

/// A sum that can be ranked.
pub trait Sum: Default {
    /// Numbers of measures by which an entry can lead.
    const MEASURES: usize;
    /// How much it weighs by one of them.
    fn weight(&self, measure: usize) -> u64;
    /// Takes another one in.
    fn add(&mut self, other: &Self);
}

/// Sums by key.
#[derive(Clone, Debug)]
pub struct Ranking<K, S> {
    capacity: usize,
    entries: HashMap<K, Entry<S>>,
    others: S,
    /// Entries that were put to the others; a key can have been put there more than once.
    folded: u64,
}

#[derive(Clone, Debug)]
struct Entry<S> {
    sum: S,
    /// A part of it may be among the others.
    is_part: bool,
}

/// One key of a [`Ranking`].
#[derive(Debug, PartialEq, Eq)]
pub struct Ranked<'a, K, S> {
    /// The key.
    pub key: &'a K,
    /// Its sum.
    pub sum: &'a S,
    /// True where the sum may be too small: a part of it is among the others.
    pub is_minimum: bool,
}

/// What a [`Ranking`] does not name one by one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Others<S> {
    /// How many keys; where `keys_is_maximum`, at most.
    pub keys: u64,
    /// Some keys can be counted more than once.
    pub keys_is_maximum: bool,
    /// Their sum.
    pub sum: S,
}

impl<K: Eq + Hash + Ord + Clone, S: Sum> Ranking<K, S> {
    /// With room for a number of keys, at least 8 for each measure.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(8 * S::MEASURES),
            entries: HashMap::new(),
            others: S::default(),
            folded: 0,
        }
    }

    /// The sum of a key, to be added to.
    pub fn entry(&mut self, key: K) -> &mut S {
        if self.entries.len() >= self.capacity && !self.entries.contains_key(&key) {
            self.fold();
        }
        let is_part = self.folded > 0;
        let entry = self.entries.entry(key).or_insert_with(|| Entry {
            sum: S::default(),
            is_part,
        });
        &mut entry.sum
    }

    /// Puts all but the leaders together: at most half of the entries stay.
    fn fold(&mut self) {
        let leaders = (self.capacity / (2 * S::MEASURES)).max(1);
        let mut kept = HashSet::new();
        for measure in 0..S::MEASURES {
            for leader in self.sorted(measure).into_iter().take(leaders) {
                kept.insert(leader.key.clone());
            }
        }
        for (key, entry) in std::mem::take(&mut self.entries) {
            if kept.contains(&key) {
                self.entries.insert(key, entry);
            } else {
                self.others.add(&entry.sum);
                self.folded += 1;
            }
        }
    }

    fn sorted(&self, measure: usize) -> Vec<Ranked<'_, K, S>> {
        let mut all: Vec<_> = self
            .all()
            .filter(|ranked| ranked.sum.weight(measure) > 0)
            .collect();
        let weight = |ranked: &Ranked<'_, K, S>| std::cmp::Reverse(ranked.sum.weight(measure));
        all.sort_unstable_by(|a, b| (weight(a), a.key).cmp(&(weight(b), b.key)));
        all
    }

    /// The first `rows` keys by one measure, the heaviest first and none without weight; and what is
    /// left, if there is anything left that has weight.
    pub fn top(&self, measure: usize, rows: usize) -> (Vec<Ranked<'_, K, S>>, Option<Others<S>>) {
        let mut all = self.sorted(measure);
        let rest = all.split_off(rows.min(all.len()));
        let others = self.others(rest.iter());
        let left = others.sum.weight(measure) > 0;
        (all, left.then_some(others))
    }

    /// The keys that are among the first `rows` by any measure; and what is left, if there is anything.
    pub fn leaders(&self, rows: usize) -> (Vec<Ranked<'_, K, S>>, Option<Others<S>>) {
        let mut leaders = Vec::new();
        let mut seen = HashSet::new();
        for measure in 0..S::MEASURES {
            for ranked in self.sorted(measure).into_iter().take(rows) {
                if seen.insert(ranked.key) {
                    leaders.push(ranked);
                }
            }
        }
        let rest: Vec<_> = self
            .all()
            .filter(|ranked| !seen.contains(ranked.key))
            .collect();
        let others = self.others(rest.iter());
        (leaders, (others.keys > 0).then_some(others))
    }

    fn all(&self) -> impl Iterator<Item = Ranked<'_, K, S>> {
        self.entries.iter().map(|(key, entry)| Ranked {
            key,
            sum: &entry.sum,
            is_minimum: entry.is_part,
        })
    }

    /// The others, with some more.
    fn others<'a>(&self, rest: impl Iterator<Item = &'a Ranked<'a, K, S>>) -> Others<S>
    where
        K: 'a,
        S: 'a,
    {
        let mut others = Others {
            keys: self.folded,
            keys_is_maximum: self.folded > 0,
            sum: S::default(),
        };
        others.sum.add(&self.others);
        for ranked in rest {
            others.keys += 1;
            others.sum.add(ranked.sum);
        }
        others
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    struct Pair(u64, u64);

    impl Sum for Pair {
        const MEASURES: usize = 2;
        fn weight(&self, measure: usize) -> u64 {
            if measure == 0 { self.0 } else { self.1 }
        }
        fn add(&mut self, other: &Self) {
            self.0 += other.0;
            self.1 += other.1;
        }
    }

    #[test]
    fn the_heaviest_come_first_and_the_rest_is_told() {
        let mut ranking: Ranking<u64, Pair> = Ranking::new(100);
        for (key, weight) in [(1, 5), (2, 9), (3, 5), (4, 1)] {
            ranking.entry(key).0 += weight;
        }
        ranking.entry(5).1 += 1;
        let (top, others) = ranking.top(0, 2);
        let keys: Vec<_> = top.iter().map(|ranked| *ranked.key).collect();
        assert_eq!(keys, [2, 1], "of equals the lower key");
        assert!(top.iter().all(|ranked| !ranked.is_minimum));
        let others = others.unwrap();
        assert_eq!((others.keys, others.sum), (2, Pair(6, 0)));
        assert!(!others.keys_is_maximum);
        assert_eq!(ranking.top(0, 4).1, None);
    }

    #[test]
    fn one_that_comes_late_is_still_found_and_said_to_be_a_minimum() {
        let mut ranking: Ranking<u64, Pair> = Ranking::new(100);
        for key in 0..10_000_u64 {
            ranking.entry(key).0 += 1;
        }
        for _ in 0..50 {
            ranking.entry(77_777).0 += 1;
        }
        for key in 20_000..30_000_u64 {
            ranking.entry(key).0 += 1;
        }
        let (top, others) = ranking.top(0, 1);
        assert_eq!((*top[0].key, *top[0].sum), (77_777, Pair(50, 0)));
        assert!(top[0].is_minimum);
        let others = others.unwrap();
        assert!(others.keys_is_maximum);
        assert_eq!(others.sum, Pair(20_000, 0));
    }

    proptest! {
        #[test]
        fn no_weight_is_lost_and_no_room_is_overdrawn(
            added in proptest::collection::vec((0_u16..300, 0_u64..5, 0_u64..5), 0..2_000),
            rows in 0_usize..40,
        ) {
            let mut ranking: Ranking<u16, Pair> = Ranking::new(32);
            let mut exact: HashMap<u16, Pair> = HashMap::new();
            for (key, a, b) in added {
                ranking.entry(key).add(&Pair(a, b));
                exact.entry(key).or_default().add(&Pair(a, b));
                prop_assert!(ranking.entries.len() <= 32);
            }
            let (leaders, others) = ranking.leaders(rows);
            prop_assert!(leaders.len() <= 2 * rows);
            let mut sum = others.map_or(Pair::default(), |others| others.sum);
            for leader in &leaders {
                sum.add(leader.sum);
            }
            for measure in 0..2 {
                let all: u64 = exact.values().map(|sum| sum.weight(measure)).sum();
                prop_assert_eq!(sum.weight(measure), all);
                let (top, others) = ranking.top(measure, rows);
                prop_assert!(top.len() <= rows);
                let named: u64 = top.iter().map(|ranked| ranked.sum.weight(measure)).sum();
                let rest = others.map_or(0, |others| others.sum.weight(measure));
                prop_assert_eq!(named + rest, all);
                for ranked in top {
                    let exact = exact[ranked.key].weight(measure);
                    let told = ranked.sum.weight(measure);
                    prop_assert!(told == exact || ranked.is_minimum && told < exact);
                }
            }
        }
    }
}
