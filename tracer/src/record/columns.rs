//! Rows to columns and back: what makes a recording small, and knows nothing of what it holds.
//!
//! All that is taken for granted of a row is the wire [`Header`] at its beginning, of which kind, flags,
//! time and socket are coded apart. The rest is bytes. Rows of equal kind, flags and length form a
//! group, and a group is written byte position by byte position (a *lane*): a lane that holds one value
//! throughout takes one byte. Most of what a socket's rows say is what the one before said (addresses,
//! ports, namespace), so a row that has an earlier one of its socket and kind in the block is coded as the
//! difference to it, wherever that makes a lane plainer. A new kind, or one that has grown, needs no
//! change here and loses no byte; a row too short for a header is carried whole.
//!
//! The layout is documented in `docs/format.md`.

use std::collections::HashMap;

use tracer_common::wire::Header;

use super::bytes::{Corrupt, Cursor, put_varint, put_zigzag};
use crate::batch::{Batch, Rows};

/// Rows of a block at most: their numbers and those of groups fit in 16 bits.
pub(super) const MAX_ROWS: usize = 65_535;
/// Bytes of the rows of a block at most, however small they were when compressed.
pub(super) const MAX_ROW_BYTES: usize = 16 << 20;

const HEADER: usize = size_of::<Header>();
/// Kind and flags; time and socket.
const KIND_AND_FLAGS: usize = 4;
const TIME_AND_SOCKET: std::ops::Range<usize> = 8..HEADER;
/// How far back along the rows of a socket one of the same kind is looked for.
const HOPS: usize = 4;

/// How the rows of a group are coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Form {
    /// Too short for a header: all bytes are lanes.
    Bare,
    /// By themselves.
    First,
    /// As what differs from an earlier row of the same socket and kind.
    Next,
}

impl Form {
    fn code(self) -> u8 {
        match self {
            Self::Bare => 0,
            Self::First => 1,
            Self::Next => 2,
        }
    }

    fn from_code(code: u8) -> Result<Self, Corrupt> {
        match code {
            0 => Ok(Self::Bare),
            1 => Ok(Self::First),
            2 => Ok(Self::Next),
            _ => Err(Corrupt("a group of an unknown form")),
        }
    }

    /// Whether the byte at this position of a row is one of the lanes.
    fn has_lane(self, position: usize) -> bool {
        self == Self::Bare || (position >= KIND_AND_FLAGS && !TIME_AND_SOCKET.contains(&position))
    }
}

/// How a lane is coded.
mod lane {
    pub(super) const VALUES: u8 = 0;
    pub(super) const CONSTANT: u8 = 1;
    pub(super) const DIFFERENCES: u8 = 2;
    pub(super) const CONSTANT_DIFFERENCE: u8 = 3;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    form: Form,
    /// Kind and flags as they are in the row; zero for [`Form::Bare`].
    kind_and_flags: [u8; KIND_AND_FLAGS],
    length: usize,
}

/// Turns rows into columns. Keeps its memory between blocks.
#[derive(Debug)]
pub(super) struct Encoder {
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
    pub(super) fn encode(&mut self, rows: &Batch, out: &mut Vec<u8>) {
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
            let earlier = earlier_of_kind(&self.links, number, |number| {
                kind(rows.get(number as usize)?)
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

/// Kind and flags, time and socket.
fn header(row: &[u8]) -> Option<([u8; KIND_AND_FLAGS], u64, u64)> {
    let (kind_and_flags, rest) = row.split_first_chunk()?;
    let (_cpu, rest) = rest.split_first_chunk::<4>()?;
    let (mono_ns, rest) = rest.split_first_chunk()?;
    let (sk, _) = rest.split_first_chunk()?;
    Some((
        *kind_and_flags,
        u64::from_le_bytes(*mono_ns),
        u64::from_le_bytes(*sk),
    ))
}

fn kind(row: &[u8]) -> Option<[u8; 2]> {
    row.first_chunk().copied()
}

/// The nearest earlier row of the same socket and kind, [`HOPS`] back along its rows at most.
fn earlier_of_kind(
    links: &[Option<u32>],
    number: u32,
    kind: impl Fn(u32) -> Option<[u8; 2]>,
) -> Option<u32> {
    let wanted = kind(number);
    let mut at = number;
    for _ in 0..HOPS {
        at = links.get(at as usize).copied().flatten()?;
        if kind(at) == wanted {
            return Some(at);
        }
    }
    None
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

/// A group on its way back.
struct Lanes<'a> {
    form: Form,
    length: usize,
    left: usize,
    /// A row with all that is constant.
    base: Vec<u8>,
    /// Where it is a difference to the earlier row.
    mask: Vec<u8>,
    /// Position of each lane that varies, and its bytes not taken yet.
    varying: Vec<(usize, std::slice::Iter<'a, u8>)>,
}

/// Appends the `count` rows that `columns` stand for to `out`.
pub(super) fn decode(columns: &[u8], count: usize, out: &mut Batch) -> Result<(), Corrupt> {
    let mut cursor = Cursor(columns);
    let mut groups = read_groups(&mut cursor, count)?;
    let low = cursor.take(count)?;
    let high = if groups.len() > 256 {
        cursor.take(count)?
    } else {
        &[]
    };
    let mut times = Cursor(cursor.stream()?);
    let mut distances = Cursor(cursor.stream()?);
    let mut sockets = Cursor(cursor.stream()?);
    let mut modes = Cursor(cursor.stream()?);
    let mut constants = Cursor(cursor.stream()?);
    let mut lanes = Cursor(cursor.stream()?);
    for group in &mut groups {
        read_lanes(group, &mut modes, &mut constants, &mut lanes)?;
    }

    let base = out.len();
    let mut links: Vec<Option<u32>> = Vec::with_capacity(count);
    let (mut time_before, mut socket_before) = (0, 0);
    let highs = high.iter().copied().chain(std::iter::repeat(0));
    for ((low, high), number) in low.iter().zip(highs).zip(0u32..) {
        let group = groups
            .get_mut(usize::from(u16::from_le_bytes([*low, high])))
            .ok_or(Corrupt("a row of no group"))?;
        group.left = group
            .left
            .checked_sub(1)
            .ok_or(Corrupt("more rows in a group than announced"))?;
        let (before, row) = out.grow(group.length);
        row.copy_from_slice(&group.base);
        if group.form == Form::Bare {
            links.push(None);
        } else {
            time_before = times.zigzag(time_before)?;
            let distance = distances.varint()?;
            let sk = if distance == 0 {
                links.push(None);
                socket_before = sockets.zigzag(socket_before)?;
                socket_before
            } else {
                let earlier = u32::try_from(distance)
                    .ok()
                    .and_then(|distance| number.checked_sub(distance))
                    .ok_or(Corrupt("a socket's row before the first"))?;
                links.push(Some(earlier));
                before
                    .get(base + earlier as usize)
                    .and_then(header)
                    .ok_or(Corrupt("a socket's row without a socket"))?
                    .2
            };
            put_header(row, time_before, sk);
        }
        if group.form == Form::Next {
            let earlier = earlier_row(&links, number, row, before, base)
                .ok_or(Corrupt("no earlier row to compare with"))?;
            for ((byte, that), mask) in row.iter_mut().zip(earlier).zip(&group.mask) {
                *byte ^= that & mask;
            }
        }
        for (position, lane) in &mut group.varying {
            if let (Some(byte), Some(value)) = (row.get_mut(*position), lane.next()) {
                *byte ^= value;
            }
        }
    }
    Ok(())
}

fn earlier_row<'a>(
    links: &[Option<u32>],
    number: u32,
    row: &[u8],
    before: Rows<'a>,
    base: usize,
) -> Option<&'a [u8]> {
    let wanted = kind(row)?;
    let earlier = earlier_of_kind(links, number, |at| {
        if at == number {
            Some(wanted)
        } else {
            kind(before.get(base + at as usize)?)
        }
    })?;
    before.get(base + earlier as usize)
}

fn put_header(row: &mut [u8], mono_ns: u64, sk: u64) {
    if let Some(place) = row.get_mut(TIME_AND_SOCKET) {
        let values = mono_ns.to_le_bytes().into_iter().chain(sk.to_le_bytes());
        for (byte, value) in place.iter_mut().zip(values) {
            *byte = value;
        }
    }
}

fn read_groups<'a>(cursor: &mut Cursor<'_>, count: usize) -> Result<Vec<Lanes<'a>>, Corrupt> {
    let number = cursor.size()?;
    if count > MAX_ROWS || number > count {
        return Err(Corrupt("too many rows or groups"));
    }
    let mut groups = Vec::with_capacity(number);
    let (mut rows, mut bytes) = (0usize, 0usize);
    for _ in 0..number {
        let form = Form::from_code(cursor.byte()?)?;
        let kind_and_flags = cursor.take(KIND_AND_FLAGS)?;
        let length = cursor.size()?;
        let left = cursor.size()?;
        rows = rows.saturating_add(left);
        bytes = bytes.saturating_add(left.saturating_mul(length));
        if rows > count || bytes > MAX_ROW_BYTES || left == 0 {
            return Err(Corrupt("groups larger than the block"));
        }
        if (form == Form::Bare) != (length < HEADER) {
            return Err(Corrupt("a row of the wrong length"));
        }
        let mut base = vec![0; length];
        if form != Form::Bare {
            for (byte, value) in base.iter_mut().zip(kind_and_flags) {
                *byte = *value;
            }
        }
        groups.push(Lanes {
            form,
            length,
            left,
            base,
            mask: vec![0; length],
            varying: Vec::new(),
        });
    }
    if rows != count {
        return Err(Corrupt("groups smaller than the block"));
    }
    Ok(groups)
}

fn read_lanes<'a>(
    group: &mut Lanes<'a>,
    modes: &mut Cursor<'a>,
    constants: &mut Cursor<'a>,
    lanes: &mut Cursor<'a>,
) -> Result<(), Corrupt> {
    let bytes = group.base.iter_mut().zip(&mut group.mask).enumerate();
    for (position, (base, mask)) in bytes {
        if !group.form.has_lane(position) {
            continue;
        }
        let mode = modes.byte()?;
        match mode {
            lane::CONSTANT | lane::CONSTANT_DIFFERENCE => *base = constants.byte()?,
            lane::VALUES | lane::DIFFERENCES => {
                let bytes = lanes.take(group.left)?;
                group.varying.push((position, bytes.iter()));
            }
            _ => return Err(Corrupt("a lane of an unknown mode")),
        }
        if matches!(mode, lane::DIFFERENCES | lane::CONSTANT_DIFFERENCE) {
            if group.form != Form::Next {
                return Err(Corrupt("a difference to nothing"));
            }
            *mask = 0xff;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
