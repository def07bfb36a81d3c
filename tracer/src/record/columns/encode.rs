//! Rows to columns.

use std::collections::HashMap;

use super::{Form, KIND_AND_FLAGS, earlier_of_kind, header, kind, lane};
use crate::batch::Batch;
use crate::record::bytes::{put_varint, put_zigzag};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    form: Form,
    /// Kind and flags as they are in the row; zero for [`Form::Bare`].
    kind_and_flags: [u8; KIND_AND_FLAGS],
    length: usize,
}

/// Turns rows into columns. Keeps its memory between blocks.
#[derive(Debug)]
pub(in crate::record) struct Encoder {
    seen: Seen,
    numbers: HashMap<Key, u16>,
    last: Option<(Key, u16)>,
    groups: Vec<Group>,
    group_of: Vec<u16>,
    /// Row to the row before of the same socket.
    links: Vec<Option<u32>>,
    times: Vec<u8>,
    distances: Vec<u8>,
    sockets: Vec<u8>,
    modes: Vec<u8>,
    constants: Vec<u8>,
    lanes: Vec<u8>,
    plain: Vec<u8>,
    differences: Vec<u8>,
}

#[derive(Debug)]
struct Group {
    key: Key,
    /// Each with the row it is compared with.
    rows: Vec<(u32, u32)>,
}

impl Default for Encoder {
    fn default() -> Self {
        Self {
            seen: Seen::new(),
            numbers: HashMap::new(),
            last: None,
            groups: Vec::new(),
            group_of: Vec::new(),
            links: Vec::new(),
            times: Vec::new(),
            distances: Vec::new(),
            sockets: Vec::new(),
            modes: Vec::new(),
            constants: Vec::new(),
            lanes: Vec::new(),
            plain: Vec::new(),
            differences: Vec::new(),
        }
    }
}

impl Encoder {
    /// Appends the columns of `rows`, at most [`MAX_ROWS`], to `out`.
    pub(in crate::record) fn encode(&mut self, rows: &Batch, out: &mut Vec<u8>) {
        self.clear();
        self.sort(rows);
        put_varint(out, self.groups.len() as u64);
        for Group { key, rows } in &self.groups {
            out.push(key.form.code());
            out.extend_from_slice(&key.kind_and_flags);
            put_varint(out, key.length as u64);
            put_varint(out, rows.len() as u64);
        }
        let groups = std::mem::take(&mut self.groups);
        for group in &groups {
            self.code_lanes(group, rows);
        }
        self.groups = groups;
        let (low, high): (Vec<u8>, Vec<u8>) = self
            .group_of
            .iter()
            .map(|group| {
                let [low, high] = group.to_le_bytes();
                (low, high)
            })
            .unzip();
        out.extend_from_slice(&low);
        if self.groups.len() > 256 {
            out.extend_from_slice(&high);
        }
        for stream in [
            &self.times,
            &self.distances,
            &self.sockets,
            &self.modes,
            &self.constants,
            &self.lanes,
        ] {
            put_varint(out, stream.len() as u64);
            out.extend_from_slice(stream);
        }
    }

    fn clear(&mut self) {
        self.seen.clear();
        self.numbers.clear();
        self.last = None;
        self.groups.clear();
        self.group_of.clear();
        self.links.clear();
        for stream in [
            &mut self.times,
            &mut self.distances,
            &mut self.sockets,
            &mut self.modes,
            &mut self.constants,
            &mut self.lanes,
        ] {
            stream.clear();
        }
    }

    /// Puts each row into its group, and codes times and sockets.
    fn sort(&mut self, rows: &Batch) {
        let (mut time_before, mut socket_before) = (0, 0);
        for (row, number) in rows.iter().zip(0u32..) {
            let Some((kind_and_flags, mono_ns, sk)) = header(row) else {
                self.links.push(None);
                let key = Key {
                    form: Form::Bare,
                    kind_and_flags: [0; KIND_AND_FLAGS],
                    length: row.len(),
                };
                self.put(key, number, 0);
                continue;
            };
            put_zigzag(&mut self.times, mono_ns, time_before);
            time_before = mono_ns;
            let link = self.seen.replace(sk, number);
            if let Some(earlier) = link {
                put_varint(&mut self.distances, u64::from(number - earlier));
            } else {
                self.distances.push(0);
                put_zigzag(&mut self.sockets, sk, socket_before);
                socket_before = sk;
            }
            self.links.push(link);
            let earlier = kind(row).and_then(|wanted| {
                earlier_of_kind(wanted, link, |at| {
                    let before = self.links.get(at as usize)?;
                    Some((kind(rows.get(at as usize)?)?, *before))
                })
            });
            let key = Key {
                form: if earlier.is_some() {
                    Form::Next
                } else {
                    Form::First
                },
                kind_and_flags,
                length: row.len(),
            };
            self.put(key, number, earlier.unwrap_or(0));
        }
    }

    fn put(&mut self, key: Key, row: u32, earlier: u32) {
        let number = match self.last {
            Some((last, number)) if last == key => number,
            _ => {
                let next = u16::try_from(self.groups.len()).unwrap_or(u16::MAX);
                let number = *self.numbers.entry(key).or_insert(next);
                if usize::from(number) == self.groups.len() {
                    let rows = Vec::new();
                    self.groups.push(Group { key, rows });
                }
                self.last = Some((key, number));
                number
            }
        };
        self.group_of.push(number);
        if let Some(group) = self.groups.get_mut(usize::from(number)) {
            group.rows.push((row, earlier));
        }
    }

    fn code_lanes(&mut self, group: &Group, rows: &Batch) {
        let Key { form, length, .. } = group.key;
        if length == 0 {
            return;
        }
        self.plain.clear();
        self.differences.clear();
        for (row, earlier) in &group.rows {
            let row = rows.get(*row as usize).unwrap_or_default();
            self.plain.extend_from_slice(row);
            if form == Form::Next {
                let earlier = rows.get(*earlier as usize).unwrap_or_default();
                let common = row.len().min(earlier.len());
                let (both, rest) = row.split_at(common);
                let compared = both.iter().zip(earlier).map(|(this, that)| this ^ that);
                self.differences.extend(compared);
                self.differences.extend_from_slice(rest);
            }
        }
        let values = varying(&self.plain, length);
        let differences = varying(&self.differences, length);
        for position in (0..length).filter(|position| form.has_lane(*position)) {
            let lane = |from: &[u8]| -> Vec<u8> {
                from.iter()
                    .skip(position)
                    .step_by(length)
                    .copied()
                    .collect()
            };
            let first = |from: &[u8]| from.get(position).copied().unwrap_or(0);
            let varies = |varying: &[u8]| varying.get(position).is_none_or(|bits| *bits != 0);
            if form == Form::Next && !varies(&differences) {
                self.modes.push(lane::CONSTANT_DIFFERENCE);
                self.constants.push(first(&self.differences));
            } else if !varies(&values) {
                self.modes.push(lane::CONSTANT);
                self.constants.push(first(&self.plain));
            } else {
                let plain = lane(&self.plain);
                let compared = lane(&self.differences);
                if form == Form::Next && changes(&compared) < changes(&plain) {
                    self.modes.push(lane::DIFFERENCES);
                    self.lanes.extend_from_slice(&compared);
                } else {
                    self.modes.push(lane::VALUES);
                    self.lanes.extend_from_slice(&plain);
                }
            }
        }
    }
}

/// Which bits of each position differ among the rows.
fn varying(rows: &[u8], length: usize) -> Vec<u8> {
    let mut varying = vec![0; length];
    let (first, rest) = rows.split_at(length.min(rows.len()));
    for row in rest.chunks_exact(length) {
        for ((bits, byte), first) in varying.iter_mut().zip(row).zip(first) {
            *bits |= byte ^ first;
        }
    }
    varying
}

/// How often neighbours differ: the fewer, the better it compresses.
fn changes(lane: &[u8]) -> usize {
    let pairs = lane.iter().zip(lane.iter().skip(1));
    pairs.filter(|(one, next)| one != next).count()
}

/// In which row a socket was seen last. One that another has displaced counts as new, which costs some
/// bytes.
#[derive(Debug)]
struct Seen {
    slots: Vec<(u64, u32)>,
    /// Rows below are of an earlier block.
    base: u32,
    next: u32,
}

impl Seen {
    const BITS: u32 = 13;

    fn new() -> Self {
        Self {
            slots: vec![(0, 0); 1 << Self::BITS],
            base: 1,
            next: 1,
        }
    }

    fn clear(&mut self) {
        self.base = self.next;
        if self.base > u32::MAX / 2 {
            *self = Self::new();
        }
    }

    /// Remembers the row; yields the one before.
    fn replace(&mut self, sk: u64, row: u32) -> Option<u32> {
        // Fibonacci hashing: the low bits of an address are equal.
        let hash = sk.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - Self::BITS);
        let slot = self.slots.get_mut(usize::try_from(hash).ok()?)?;
        let (known, at) = *slot;
        *slot = (sk, self.base + row);
        self.next = self.base + row + 1;
        (known == sk && at >= self.base).then(|| at - self.base)
    }
}
