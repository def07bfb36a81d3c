//! Sockets by address, in the order of last touch.
//!
//! Made for a million of them, of which each record concerns another: what costs then is waiting for
//! memory. Values lie in one slab, which grows without being copied; order is kept beside it in eight bytes
//! each, so that a touch, which concerns three sockets, reads no more of the other two; and [`Sockets::warm`]
//! reads ahead for a whole group of records, so that their waits overlap.

use std::hash::BuildHasher as _;
use std::hint::black_box;

use hashbrown::DefaultHashBuilder;
use hashbrown::hash_table::{Entry as Slot, HashTable};

/// Stands for no place.
const NONE: u32 = u32::MAX;
/// Sockets whose memory is read ahead at a time: as many waits as processors overlap, and few enough that what was
/// read is still there when its turn comes.
pub const GROUP: usize = 32;
/// As many as fit.
pub(super) const MAX: usize = NONE as usize;

/// Where a socket is kept, until it is taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(u32);

/// Values by the address of a socket.
pub(super) struct Sockets<T> {
    index: HashTable<Key>,
    hasher: DefaultHashBuilder,
    slab: Vec<Kept<T>>,
    links: Vec<Link>,
    /// First of the places that nothing is in.
    free: u32,
    oldest: u32,
    newest: u32,
}

/// What the index holds: half of the hash, which is enough to grow it without looking at the slab.
#[derive(Clone, Copy)]
struct Key {
    hash: u32,
    place: u32,
}

struct Kept<T> {
    sk: u64,
    value: Option<T>,
}

/// Neighbours in the order of last touch; of a free place `newer` is the next free one.
#[derive(Clone, Copy)]
struct Link {
    older: u32,
    newer: u32,
}

/// What a value reads to be at hand.
pub(super) trait Warm {
    /// Reads a little of each cache line; the answer means nothing.
    fn warm(&self) -> u64;
}

impl<T> Default for Sockets<T> {
    fn default() -> Self {
        Self {
            index: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            slab: Vec::new(),
            links: Vec::new(),
            free: NONE,
            oldest: NONE,
            newest: NONE,
        }
    }
}

impl<T> Sockets<T> {
    /// Memory for each value, where the index has just grown: it is then filled by 7/16.
    #[cfg(test)]
    pub(super) const BYTES_EACH: usize =
        size_of::<Kept<T>>() + size_of::<Link>() + (16 * (size_of::<Key>() + 1)).div_ceil(7);

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// Where a socket is kept.
    pub(super) fn find(&self, sk: u64) -> Option<Place> {
        let hash = self.hash(sk);
        let key = self.index.find(spread(hash), |key| {
            key.hash == hash && is_at(&self.slab, key.place, sk)
        })?;
        Some(Place(key.place))
    }

    pub(super) fn at(&self, place: Place) -> Option<&T> {
        self.slab.get(index(place.0))?.value.as_ref()
    }

    pub(super) fn at_mut(&mut self, place: Place) -> Option<&mut T> {
        self.slab.get_mut(index(place.0))?.value.as_mut()
    }

    pub(super) fn get(&self, sk: u64) -> Option<&T> {
        self.at(self.find(sk)?)
    }

    pub(super) fn get_mut(&mut self, sk: u64) -> Option<&mut T> {
        self.at_mut(self.find(sk)?)
    }

    /// Makes it the one touched last.
    pub(super) fn touch(&mut self, place: Place) {
        if self.newest != place.0 {
            self.unlink(place.0);
            self.link(place.0);
        }
    }

    /// Keeps a value under an address, touched last. Returns the one that was there.
    pub(super) fn insert(&mut self, sk: u64, value: T) -> Option<T> {
        let hash = self.hash(sk);
        let is_it = |key: &Key| key.hash == hash && is_at(&self.slab, key.place, sk);
        let slot = match self
            .index
            .entry(spread(hash), is_it, |key| spread(key.hash))
        {
            Slot::Vacant(slot) => slot,
            Slot::Occupied(slot) => {
                let place = Place(slot.get().place);
                self.touch(place);
                return self.at_mut(place).map(|old| std::mem::replace(old, value));
            }
        };
        let kept = Kept {
            sk,
            value: Some(value),
        };
        let place = self.free;
        let place = if let Some(free) = self.slab.get_mut(index(place)) {
            *free = kept;
            self.free = self.links.get(index(place)).map_or(NONE, |link| link.newer);
            place
        } else {
            let place = u32::try_from(self.slab.len()).unwrap_or(NONE);
            self.slab.push(kept);
            self.links.push(Link {
                older: NONE,
                newer: NONE,
            });
            place
        };
        slot.insert(Key { hash, place });
        self.link(place);
        None
    }

    pub(super) fn remove(&mut self, sk: u64) -> Option<T> {
        self.take(self.find(sk)?).map(|(_, value)| value)
    }

    /// Takes out what is kept there, with its address.
    pub(super) fn take(&mut self, Place(place): Place) -> Option<(u64, T)> {
        let kept = self.slab.get_mut(index(place))?;
        let (sk, value) = (kept.sk, kept.value.take()?);
        let hash = self.hash(sk);
        let is_it = |key: &Key| key.place == place;
        if let Slot::Occupied(slot) = self
            .index
            .entry(spread(hash), is_it, |key| spread(key.hash))
        {
            slot.remove();
        }
        self.unlink(place);
        if let Some(link) = self.links.get_mut(index(place)) {
            link.newer = self.free;
        }
        self.free = place;
        Some((sk, value))
    }

    /// The one not touched for longest.
    pub(super) fn oldest(&self) -> Option<Place> {
        (self.oldest != NONE).then_some(Place(self.oldest))
    }

    /// In no order that means anything, but the same for the same calls.
    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.slab.iter().filter_map(|kept| kept.value.as_ref())
    }

    /// As [`Self::values`].
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slab.iter_mut().filter_map(|kept| kept.value.as_mut())
    }

    /// Takes out all, with their addresses.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = (u64, T)> + use<T> {
        std::mem::take(self)
            .slab
            .into_iter()
            .filter_map(|kept| Some((kept.sk, kept.value?)))
    }

    fn hash(&self, sk: u64) -> u32 {
        (self.hasher.hash_one(sk) >> 32) as u32
    }

    fn link(&mut self, place: u32) {
        let older = std::mem::replace(&mut self.newest, place);
        if let Some(link) = self.links.get_mut(index(older)) {
            link.newer = place;
        } else {
            self.oldest = place;
        }
        if let Some(link) = self.links.get_mut(index(place)) {
            *link = Link { older, newer: NONE };
        }
    }

    fn unlink(&mut self, place: u32) {
        let Some(&Link { older, newer }) = self.links.get(index(place)) else {
            return;
        };
        match self.links.get_mut(index(older)) {
            Some(link) => link.newer = newer,
            None => self.oldest = newer,
        }
        match self.links.get_mut(index(newer)) {
            Some(link) => link.older = older,
            None => self.newest = older,
        }
    }
}

impl<T: Warm> Sockets<T> {
    /// Reads what the handling of these sockets will read, [`GROUP`] at a time. Changes nothing: the processor
    /// waits for several places of memory at once if none decides what is done next. Hence the steps.
    pub(super) fn warm(&self, mut sks: impl Iterator<Item = u64>) {
        loop {
            let mut places = [NONE; GROUP];
            let mut count = 0;
            for (place, sk) in places.iter_mut().zip(&mut sks) {
                let hash = self.hash(sk);
                let found = self.index.find(spread(hash), |key| key.hash == hash);
                *place = found.map_or(NONE, |key| key.place);
                count += 1;
            }
            if count == 0 {
                return;
            }
            let kept = places
                .iter()
                .filter_map(|place| self.slab.get(index(*place)));
            let read = kept.fold(0, |sum, kept| {
                sum ^ kept.sk ^ kept.value.as_ref().map_or(0, Warm::warm)
            });
            let links = places
                .iter()
                .filter_map(|place| self.links.get(index(*place)));
            let around = links
                .flat_map(|link| [link.older, link.newer])
                .filter_map(|place| self.links.get(index(place)))
                .fold(0, |sum, link| sum ^ link.older);
            black_box((read, around));
            if count < GROUP {
                return;
            }
        }
    }
}

fn is_at<T>(slab: &[Kept<T>], place: u32, sk: u64) -> bool {
    slab.get(index(place)).is_some_and(|kept| kept.sk == sk)
}

/// The hash that the index works with: it looks at both ends of it.
fn spread(half: u32) -> u64 {
    u64::from(half) << 32 | u64::from(half)
}

fn index(place: u32) -> usize {
    place as usize
}

#[cfg(test)]
mod tests {
    use hashlink::LinkedHashMap;
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Do {
        Insert(u64, u32),
        Remove(u64),
        Touch(u64),
        TakeOldest,
    }

    fn anything() -> impl Strategy<Value = Do> {
        let sk = || (0..24_u64).prop_map(|number| number << 6);
        prop_oneof![
            4 => (sk(), any::<u32>()).prop_map(|(sk, value)| Do::Insert(sk, value)),
            2 => sk().prop_map(Do::Remove),
            2 => sk().prop_map(Do::Touch),
            1 => Just(Do::TakeOldest),
        ]
    }

    fn in_order(sockets: &Sockets<u32>) -> Vec<(u64, u32)> {
        let mut all = Vec::new();
        let mut place = sockets.oldest;
        while let Some(kept) = sockets.slab.get(index(place)) {
            all.extend(kept.value.map(|value| (kept.sk, value)));
            place = sockets.links[index(place)].newer;
        }
        all
    }

    proptest! {
        #[test]
        fn it_does_what_a_linked_map_does(script in prop::collection::vec(anything(), 0..200)) {
            let mut sockets = Sockets::default();
            let mut model = LinkedHashMap::new();
            for step in script {
                match step {
                    Do::Insert(sk, value) => {
                        prop_assert_eq!(sockets.insert(sk, value), model.insert(sk, value));
                    }
                    Do::Remove(sk) => prop_assert_eq!(sockets.remove(sk), model.remove(&sk)),
                    Do::Touch(sk) => {
                        let place = sockets.find(sk);
                        prop_assert_eq!(place.is_some(), model.to_back(&sk).is_some());
                        if let Some(place) = place {
                            sockets.touch(place);
                        }
                    }
                    Do::TakeOldest => {
                        let oldest = sockets.oldest().and_then(|place| sockets.take(place));
                        prop_assert_eq!(oldest, model.pop_front());
                    }
                }
                let expected: Vec<_> = model.iter().map(|(sk, value)| (*sk, *value)).collect();
                prop_assert_eq!(in_order(&sockets), expected);
                prop_assert_eq!(sockets.len(), model.len());
                prop_assert!(sockets.slab.len() <= 24);
                for sk in (0..24).map(|number| number << 6) {
                    prop_assert_eq!(sockets.get(sk), model.get(&sk));
                }
            }
            let mut left: Vec<_> = sockets.drain().collect();
            left.sort_unstable();
            let mut expected: Vec<_> = model.into_iter().collect();
            expected.sort_unstable();
            prop_assert_eq!(left, expected);
        }
    }
}
