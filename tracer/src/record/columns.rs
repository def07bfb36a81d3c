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

mod decode;
mod encode;

use tracer_common::wire::Header;

use super::bytes::Corrupt;

pub(super) use decode::decode;
pub(super) use encode::Encoder;

/// Rows of a block at most: their numbers and those of groups fit in 16 bits.
pub(super) const MAX_ROWS: usize = 65_535;
/// Bytes of the rows of a block at most, however small they were when compressed.
pub(super) const MAX_ROW_BYTES: usize = 4 << 20;

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

/// The nearest earlier row of the same socket and kind, [`HOPS`] back along its rows at most, of which
/// `before` is the last. `look` tells a row's kind and the row before it.
fn earlier_of_kind(
    wanted: [u8; 2],
    before: Option<u32>,
    look: impl Fn(u32) -> Option<([u8; 2], Option<u32>)>,
) -> Option<u32> {
    let mut next = before;
    for _ in 0..HOPS {
        let at = next?;
        let (kind, before) = look(at)?;
        if kind == wanted {
            return Some(at);
        }
        next = before;
    }
    None
}

#[cfg(test)]
mod tests;
