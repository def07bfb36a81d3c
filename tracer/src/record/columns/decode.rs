//! Columns to rows.
//!
//! What comes in may be of somebody who means harm: sizes are added up before memory is taken for them.

use super::{
    Form, HEADER, KIND_AND_FLAGS, MAX_ROW_BYTES, MAX_ROWS, TIME_AND_SOCKET, earlier_of_kind, kind,
    lane,
};
use crate::batch::Batch;
use crate::record::bytes::{Corrupt, Cursor};

/// Rows that are coded alike, on their way back.
struct Group<'a> {
    form: Form,
    /// How many there are, and how many of them were taken.
    count: usize,
    taken: usize,
    /// A row with all that is constant.
    base: Vec<u8>,
    /// Where it is a difference to the earlier row; empty if nowhere.
    mask: Vec<u8>,
    /// Positions of the lanes that vary.
    varying: Vec<u32>,
    /// The bytes of those, one lane behind the other.
    lanes: &'a [u8],
}

/// What later rows ask of a row.
#[derive(Clone, Copy)]
struct Known {
    /// None of a row too short for one.
    sk: Option<u64>,
    kind: [u8; 2],
    /// The row before of the same socket.
    before: Option<u32>,
}

/// The streams of which each row takes its share.
struct Streams<'a> {
    times: Cursor<'a>,
    distances: Cursor<'a>,
    sockets: Cursor<'a>,
    time_before: u64,
    socket_before: u64,
    rows: Vec<Known>,
}

/// Appends the `count` rows that `columns` stand for to `out`.
pub(in crate::record) fn decode(
    columns: &[u8],
    count: usize,
    out: &mut Batch,
) -> Result<(), Corrupt> {
    let mut cursor = Cursor(columns);
    let mut groups = read_groups(&mut cursor, count)?;
    let low = cursor.take(count)?;
    let high = if groups.len() > 256 {
        cursor.take(count)?
    } else {
        &[]
    };
    let mut streams = Streams {
        times: Cursor(cursor.stream()?),
        distances: Cursor(cursor.stream()?),
        sockets: Cursor(cursor.stream()?),
        time_before: 0,
        socket_before: 0,
        rows: Vec::with_capacity(count),
    };
    let mut modes = Cursor(cursor.stream()?);
    let mut constants = Cursor(cursor.stream()?);
    let mut lanes = Cursor(cursor.stream()?);
    let mut bytes = 0;
    for group in &mut groups {
        group.read_lanes(&mut modes, &mut constants, &mut lanes)?;
        bytes += group.count * group.base.len();
    }
    let first = out.len();
    out.reserve(count, bytes);
    let highs = high.iter().copied().chain(std::iter::repeat(0));
    for (low, high) in low.iter().zip(highs) {
        let group = groups
            .get_mut(usize::from(u16::from_le_bytes([*low, high])))
            .ok_or(Corrupt("a row of no group"))?;
        let earlier = streams.next(group)?;
        group.put_row(first, earlier, &streams, out)?;
    }
    Ok(())
}

impl Streams<'_> {
    /// Takes the share of the next row. Yields which row it is compared with.
    fn next(&mut self, group: &Group<'_>) -> Result<Option<u32>, Corrupt> {
        if group.form == Form::Bare {
            self.rows.push(Known {
                sk: None,
                kind: [0; 2],
                before: None,
            });
            return Ok(None);
        }
        self.time_before = self.times.zigzag(self.time_before)?;
        let distance = self.distances.varint()?;
        let (before, sk) = if distance == 0 {
            self.socket_before = self.sockets.zigzag(self.socket_before)?;
            (None, self.socket_before)
        } else {
            let before = usize::try_from(distance)
                .ok()
                .and_then(|distance| self.rows.len().checked_sub(distance))
                .ok_or(Corrupt("a socket's row before the first"))?;
            let sk = self.rows.get(before).and_then(|row| row.sk);
            let sk = sk.ok_or(Corrupt("a socket's row without a socket"))?;
            (u32::try_from(before).ok(), sk)
        };
        let kind = kind(&group.base).unwrap_or_default();
        self.rows.push(Known {
            sk: Some(sk),
            kind,
            before,
        });
        if group.form == Form::First {
            return Ok(None);
        }
        let earlier = earlier_of_kind(kind, before, |at| {
            let row = self.rows.get(at as usize)?;
            Some((row.kind, row.before))
        });
        earlier
            .map(Some)
            .ok_or(Corrupt("no earlier row to compare with"))
    }
}

impl<'a> Group<'a> {
    /// Appends the next row of the group. `first` is the number of the first row of the block in `out`.
    fn put_row(
        &mut self,
        first: usize,
        earlier: Option<u32>,
        streams: &Streams<'_>,
        out: &mut Batch,
    ) -> Result<(), Corrupt> {
        if self.taken == self.count {
            return Err(Corrupt("more rows in a group than announced"));
        }
        let (before, row) = out.push_copy(&self.base);
        if let Some(sk) = streams.rows.last().and_then(|row| row.sk) {
            put_header(row, streams.time_before, sk);
        }
        if let Some(earlier) = earlier.and_then(|earlier| before.get(first + earlier as usize)) {
            for ((byte, that), mask) in row.iter_mut().zip(earlier).zip(&self.mask) {
                *byte ^= that & mask;
            }
        }
        for (position, lane) in self.varying.iter().zip(self.lanes.chunks_exact(self.count)) {
            if let (Some(byte), Some(value)) =
                (row.get_mut(*position as usize), lane.get(self.taken))
            {
                *byte ^= value;
            }
        }
        self.taken += 1;
        Ok(())
    }

    fn read_lanes(
        &mut self,
        modes: &mut Cursor<'a>,
        constants: &mut Cursor<'a>,
        lanes: &mut Cursor<'a>,
    ) -> Result<(), Corrupt> {
        let all_lanes = lanes.0;
        for (base, position) in self.base.iter_mut().zip(0u32..) {
            if !self.form.has_lane(position as usize) {
                continue;
            }
            let mode = modes.byte()?;
            match mode {
                lane::CONSTANT | lane::CONSTANT_DIFFERENCE => *base = constants.byte()?,
                lane::VALUES | lane::DIFFERENCES => {
                    lanes.take(self.count)?;
                    self.varying.push(position);
                }
                _ => return Err(Corrupt("a lane of an unknown mode")),
            }
            if matches!(mode, lane::DIFFERENCES | lane::CONSTANT_DIFFERENCE) {
                if self.form != Form::Next {
                    return Err(Corrupt("a difference to nothing"));
                }
                self.mask.resize(position as usize, 0);
                self.mask.push(0xff);
            }
        }
        self.lanes = all_lanes
            .get(..self.varying.len() * self.count)
            .unwrap_or_default();
        Ok(())
    }
}

fn put_header(row: &mut [u8], mono_ns: u64, sk: u64) {
    if let Some((time, rest)) = row
        .get_mut(TIME_AND_SOCKET)
        .and_then(<[u8]>::split_first_chunk_mut)
    {
        *time = mono_ns.to_le_bytes();
        if let Some(socket) = rest.first_chunk_mut() {
            *socket = sk.to_le_bytes();
        }
    }
}

fn read_groups<'a>(cursor: &mut Cursor<'_>, count: usize) -> Result<Vec<Group<'a>>, Corrupt> {
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
        let count_of_group = cursor.size()?;
        rows = rows.saturating_add(count_of_group);
        bytes = bytes.saturating_add(count_of_group.saturating_mul(length));
        if rows > count || bytes > MAX_ROW_BYTES || count_of_group == 0 {
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
        groups.push(Group {
            form,
            count: count_of_group,
            taken: 0,
            base,
            mask: Vec::new(),
            varying: Vec::new(),
            lanes: &[],
        });
    }
    if rows != count {
        return Err(Corrupt("groups smaller than the block"));
    }
    Ok(groups)
}
