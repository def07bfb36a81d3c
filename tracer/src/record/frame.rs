//! Frames: what a file is cut into. Each says by itself what it holds and whether it is whole.

use serde::{Deserialize, Serialize};

use super::columns::{self, Encoder, MAX_ROWS};
use super::row;
use crate::batch::Batch;
use crate::session::Lost;

/// First bytes of every frame. No text has them, and no part of a compressed block has them by chance.
pub const MAGIC: [u8; 8] = *b"\x89tcpREC\n";
/// Bytes before the payload.
pub const HEAD: usize = 112;
/// Bytes of a payload at most, compressed or not.
pub const MAX_PAYLOAD: usize = 4 << 20;
/// Bytes of a header at most, as JSON: what is made of it takes far more.
pub const MAX_HEADER: usize = 1 << 20;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The file's header, in JSON.
    Header,
    /// Rows.
    Block,
    /// Something that a newer version writes.
    Other(u8),
}

impl Kind {
    fn code(self) -> u8 {
        match self {
            Self::Header => 1,
            Self::Block => 2,
            Self::Other(code) => code,
        }
    }

    fn from_code(code: u8) -> Self {
        match code {
            1 => Self::Header,
            2 => Self::Block,
            other => Self::Other(other),
        }
    }
}

const CODEC_NONE: u8 = 0;
const CODEC_ZSTD: u8 = 1;
/// How rows are laid out in a block, see [`columns`].
const LAYOUT_COLUMNS: u8 = 1;
/// A header's.
const LAYOUT_JSON: u8 = 0;
/// The fastest of zstd's usual levels; higher ones gain little on what the columns leave.
const LEVEL: i32 = 1;

/// The first [`HEAD`] bytes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// What it holds.
    pub kind: Kind,
    codec: u8,
    layout: u8,
    /// Bytes of the payload that follows.
    pub stored: u32,
    /// Bytes of it when decompressed.
    pub size: u32,
    /// Rows of the block.
    pub rows: u32,
    /// Records and, of these, transitions in the block.
    pub counts: Counts,
    /// Those of all blocks of the session before it.
    pub before: Counts,
    /// Lowest and highest time in the block (`CLOCK_MONOTONIC`, ns).
    pub first_ns: u64,
    /// See `first_ns`.
    pub last_ns: u64,
    /// What the kernel lost since the session began, up to the end of the block.
    pub lost: Lost,
    /// Tells the frames of one session from what else may lie in a damaged file.
    pub session: u32,
    payload_crc: u32,
}

/// How many records (rows that came from the kernel or were found out by tracer), and how many of them
/// are transitions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// All.
    pub records: u64,
    /// State transitions.
    pub transitions: u64,
}

impl Counts {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            records: self.records.saturating_add(other.records),
            transitions: self.transitions.saturating_add(other.transitions),
        }
    }

    /// What is missing from here to `next`.
    #[must_use]
    pub fn until(self, next: Self) -> Self {
        Self {
            records: next.records.saturating_sub(self.records),
            transitions: next.transitions.saturating_sub(self.transitions),
        }
    }
}

impl Head {
    /// Its bytes, with the checksum.
    pub fn to_bytes(&self) -> [u8; HEAD] {
        let narrow = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        let mut bytes = Vec::with_capacity(HEAD);
        bytes.extend(MAGIC);
        bytes.extend([self.kind.code(), self.codec, self.layout, 0]);
        for value in [self.stored, self.size, self.rows, self.session] {
            bytes.extend(value.to_le_bytes());
        }
        bytes.extend(narrow(self.counts.records).to_le_bytes());
        bytes.extend(narrow(self.counts.transitions).to_le_bytes());
        bytes.extend([0; 4]);
        for value in [
            self.before.records,
            self.before.transitions,
            self.first_ns,
            self.last_ns,
            self.lost.ring_full,
            self.lost.reentry,
            self.lost.unreadable,
            self.lost.evidence,
        ] {
            bytes.extend(value.to_le_bytes());
        }
        bytes.extend(self.payload_crc.to_le_bytes());
        let crc = crc32c::crc32c(&bytes);
        bytes.extend(crc.to_le_bytes());
        let mut head = [0; HEAD];
        head.copy_from_slice(&bytes);
        head
    }

    /// `None` unless these bytes are the head of a frame, undamaged.
    pub fn parse(bytes: &[u8; HEAD]) -> Option<Self> {
        let (covered, crc) = bytes.split_last_chunk::<4>()?;
        if !bytes.starts_with(&MAGIC) || crc32c::crc32c(covered) != u32::from_le_bytes(*crc) {
            return None;
        }
        let u32_at = |at: usize| {
            let field = bytes.get(at..)?.first_chunk()?;
            Some(u32::from_le_bytes(*field))
        };
        let u64_at = |at: usize| {
            let field = bytes.get(at..)?.first_chunk()?;
            Some(u64::from_le_bytes(*field))
        };
        let [kind, codec, layout, _] = u32_at(8)?.to_le_bytes();
        Some(Self {
            kind: Kind::from_code(kind),
            codec,
            layout,
            stored: u32_at(12)?,
            size: u32_at(16)?,
            rows: u32_at(20)?,
            session: u32_at(24)?,
            counts: Counts {
                records: u32_at(28)?.into(),
                transitions: u32_at(32)?.into(),
            },
            before: Counts {
                records: u64_at(40)?,
                transitions: u64_at(48)?,
            },
            first_ns: u64_at(56)?,
            last_ns: u64_at(64)?,
            lost: Lost {
                ring_full: u64_at(72)?,
                reentry: u64_at(80)?,
                unreadable: u64_at(88)?,
                evidence: u64_at(96)?,
                ..Lost::default()
            },
            payload_crc: u32_at(104)?,
        })
    }

    /// Whether these are the bytes that were written.
    pub fn is_whole(&self, payload: &[u8]) -> bool {
        usize::try_from(self.stored) == Ok(payload.len())
            && crc32c::crc32c(payload) == self.payload_crc
    }
}

/// What [`Maker`] has to be told of a block beside its rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// See [`Head::session`].
    pub session: u32,
    /// See [`Head::before`].
    pub before: Counts,
    /// See [`Head::lost`].
    pub lost: Lost,
}

/// Makes frames. Keeps its memory between them.
pub struct Maker {
    encoder: Encoder,
    zstd: zstd::bulk::Compressor<'static>,
    columns: Vec<u8>,
}

impl Maker {
    /// Fails if there is no memory.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            encoder: Encoder::default(),
            zstd: zstd::bulk::Compressor::new(LEVEL)?,
            columns: Vec::new(),
        })
    }

    /// Appends a block of these rows, `MAX_ROWS` at most, to `out`.
    pub fn block(
        &mut self,
        rows: &Batch,
        context: &Context,
        out: &mut Vec<u8>,
    ) -> std::io::Result<Counts> {
        debug_assert!(rows.len() <= MAX_ROWS, "a block of {} rows", rows.len());
        let mut columns = std::mem::take(&mut self.columns);
        columns.clear();
        self.encoder.encode(rows, &mut columns);
        let summary = row::summary(rows);
        let head = Head {
            rows: u32::try_from(rows.len()).unwrap_or(u32::MAX),
            counts: summary.counts,
            first_ns: summary.first_ns,
            last_ns: summary.last_ns,
            ..Self::head(Kind::Block, LAYOUT_COLUMNS, context)
        };
        let made = self.frame(head, &columns, out);
        self.columns = columns;
        made.map(|()| summary.counts)
    }

    /// Appends a file's header, at the time `now_ns`.
    pub fn header(
        &mut self,
        json: &[u8],
        now_ns: u64,
        context: &Context,
        out: &mut Vec<u8>,
    ) -> std::io::Result<()> {
        if json.len() > MAX_HEADER {
            let what = "the filters are too long to be recorded";
            return Err(std::io::Error::other(what));
        }
        let head = Head {
            first_ns: now_ns,
            last_ns: now_ns,
            ..Self::head(Kind::Header, LAYOUT_JSON, context)
        };
        self.frame(head, json, out)
    }

    fn head(kind: Kind, layout: u8, context: &Context) -> Head {
        Head {
            kind,
            codec: CODEC_ZSTD,
            layout,
            stored: 0,
            size: 0,
            rows: 0,
            counts: Counts::default(),
            before: context.before,
            first_ns: 0,
            last_ns: 0,
            lost: context.lost,
            session: context.session,
            payload_crc: 0,
        }
    }

    fn frame(&mut self, head: Head, plain: &[u8], out: &mut Vec<u8>) -> std::io::Result<()> {
        let compressed = self.zstd.compress(plain)?;
        let (codec, payload) = if compressed.len() < plain.len() {
            (CODEC_ZSTD, compressed.as_slice())
        } else {
            (CODEC_NONE, plain)
        };
        let too_large = |_| std::io::Error::other("a block of more than 4 GiB");
        let head = Head {
            codec,
            stored: u32::try_from(payload.len()).map_err(too_large)?,
            size: u32::try_from(plain.len()).map_err(too_large)?,
            payload_crc: crc32c::crc32c(payload),
            ..head
        };
        out.extend_from_slice(&head.to_bytes());
        out.extend_from_slice(payload);
        Ok(())
    }
}

/// Takes frames apart. Keeps its memory between them.
pub struct Opener {
    zstd: zstd::bulk::Decompressor<'static>,
    plain: Vec<u8>,
}

impl Opener {
    /// Fails if there is no memory.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            zstd: zstd::bulk::Decompressor::new()?,
            plain: Vec::new(),
        })
    }

    /// The plain bytes of a payload, never more than [`MAX_PAYLOAD`].
    pub fn plain<'a>(&'a mut self, head: &Head, payload: &'a [u8]) -> Result<&'a [u8], String> {
        let size = usize::try_from(head.size).unwrap_or(usize::MAX);
        let most = if head.kind == Kind::Header {
            MAX_HEADER
        } else {
            MAX_PAYLOAD
        };
        if size > most {
            return Err(format!("it claims to hold {size} bytes"));
        }
        match head.codec {
            CODEC_NONE if payload.len() == size => Ok(payload),
            CODEC_NONE => Err("it has another size than announced".to_owned()),
            CODEC_ZSTD => {
                self.plain.clear();
                self.plain.reserve(size);
                self.zstd
                    .decompress_to_buffer(payload, &mut self.plain)
                    .map_err(|error| format!("it cannot be decompressed: {error}"))?;
                // The buffer may have had room for more than was announced.
                if self.plain.len() == size {
                    Ok(&self.plain)
                } else {
                    Err("it decompresses to another size than announced".to_owned())
                }
            }
            codec => Err(format!(
                "it is compressed in a way ({codec}) unknown to this version"
            )),
        }
    }

    /// Puts a block's rows into `out`, in place of what was there.
    pub fn rows(&mut self, head: &Head, payload: &[u8], out: &mut Batch) -> Result<(), String> {
        out.clear();
        if head.layout != LAYOUT_COLUMNS {
            return Err(format!(
                "it is laid out in a way ({}) unknown to this version",
                head.layout
            ));
        }
        let rows = usize::try_from(head.rows).unwrap_or(usize::MAX);
        let plain = self.plain(head, payload)?;
        columns::decode(plain, rows, out).map_err(|corrupt| {
            out.clear();
            format!("it is not as a block should be: {corrupt}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOST: Lost = Lost {
        ring_full: 1,
        reentry: 2,
        unreadable: 3,
        undecodable: 0,
        damaged: 0,
        evidence: 4,
    };

    fn frame() -> Vec<u8> {
        let mut rows = Batch::default();
        rows.push(&[1; 80]);
        rows.push(&[1; 80]);
        let mut out = Vec::new();
        let context = Context {
            session: 7,
            before: Counts {
                records: 1 << 40,
                transitions: 5,
            },
            lost: LOST,
        };
        let counts = Maker::new()
            .unwrap()
            .block(&rows, &context, &mut out)
            .unwrap();
        assert_eq!(counts.records, 2);
        out
    }

    fn open(frame: &[u8]) -> Option<(Head, Result<Batch, String>)> {
        let head = Head::parse(frame.first_chunk()?)?;
        let payload = frame.get(HEAD..)?;
        if !head.is_whole(payload) {
            return None;
        }
        let mut rows = Batch::default();
        let opened = Opener::new().unwrap().rows(&head, payload, &mut rows);
        Some((head, opened.map(|()| rows)))
    }

    #[test]
    fn a_frame_comes_back() {
        let frame = frame();
        let (head, rows) = open(&frame).unwrap();
        assert_eq!(head.to_bytes(), frame[..HEAD]);
        assert_eq!((head.kind, head.rows, head.session), (Kind::Block, 2, 7));
        assert_eq!(head.before.records, 1 << 40);
        assert_eq!(head.lost, LOST);
        assert_eq!(head.first_ns, u64::from_le_bytes([1; 8]));
        assert_eq!(rows.unwrap().get(1), Some(&[1; 80][..]));
    }

    #[test]
    fn every_flipped_bit_shows() {
        let whole = frame();
        for bit in 0..whole.len() * 8 {
            let mut frame = whole.clone();
            frame[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&frame).is_none(), "bit {bit}");
        }
        for length in 0..whole.len() {
            assert!(open(&whole[..length]).is_none(), "{length} bytes");
        }
    }

    #[test]
    fn a_bomb_is_refused_before_it_takes_memory() {
        for (kind, most) in [(Kind::Header, MAX_HEADER), (Kind::Block, MAX_PAYLOAD)] {
            let payload = zstd::bulk::compress(&vec![0; most + 1], LEVEL).unwrap();
            let size = u32::try_from(most + 1).unwrap();
            let honest = Head {
                size,
                ..Maker::head(kind, LAYOUT_JSON, &Context::default())
            };
            let mut opener = Opener::new().unwrap();
            assert!(opener.plain(&honest, &payload).is_err());
            // One that lies about its size.
            let lie = Head { size: 10, ..honest };
            assert!(opener.plain(&lie, &payload).is_err());
            assert!(opener.plain.capacity() < 4096);
        }
        let json = vec![b' '; MAX_HEADER + 1];
        let made = Maker::new()
            .unwrap()
            .header(&json, 0, &Context::default(), &mut Vec::new());
        assert!(made.is_err());
    }
}
