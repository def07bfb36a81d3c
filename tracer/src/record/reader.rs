//! Frames out of a stream of bytes, whatever has become of it: what is damaged is passed over and told.

use std::io::{self, Read};

use memchr::memmem::Finder;

use super::frame::{Counts, HEAD, Head, Kind, MAGIC, MAX_PAYLOAD, Opener};
use crate::batch::Batch;

/// Read at a time.
const CHUNK: usize = 256 << 10;
/// Searched or passed over at a time: whoever reads may want to stop in between.
const STRETCH: u64 = 4 << 20;
/// Frames in a row that are searched for another one in them: no file is to make work of each of its bytes.
const MAX_CUT_SHORT: u32 = 64;

/// Reads the frames of one file, in the order of the file.
///
/// It never holds more than one frame, and it can be asked again after [`Found::Nothing`]: a file that is
/// still being written goes on where it had ended.
pub struct Reader<R> {
    source: R,
    buffer: Vec<u8>,
    /// Bytes of the buffer that are done with.
    used: usize,
    /// Where in the file the first byte is that is not.
    offset: u64,
    /// Bytes to be passed over before the next frame.
    skip: u64,
    /// A stretch that is no frame: where it began.
    lost_at: Option<u64>,
    /// Of [`MAGIC`].
    finder: Finder<'static>,
    opener: Opener,
    rows: Batch,
    payload: Vec<u8>,
    tag: Option<u32>,
    /// What the next block should say was before it.
    expected: Option<Counts>,
    last_ns: Option<u64>,
    /// Frames in a row that were cut short.
    cut_short: u32,
}

/// What comes next in a file.
#[derive(Debug)]
pub enum Found {
    /// A file's header: see [`Reader::payload`].
    Header(Head),
    /// A block: see [`Reader::rows`].
    Block(Head),
    /// Something is missing here.
    Damage(Damage),
    /// A frame of a kind unknown to this version, passed over.
    Unknown(Head),
    /// A frame that belongs before what was expected, passed over: it stands here a second time, or too late.
    Late(Head),
    /// Nothing in a long stretch; there may be something behind it.
    Searching,
    /// The file ends here, for now.
    Nothing {
        /// Bytes at the end that are no whole frame.
        torn: u64,
        /// Whether they are the beginning of one.
        is_cut: bool,
    },
}

/// A part of a recording that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where in the file it begins, in bytes.
    pub offset: u64,
    /// How many bytes are unreadable; none where blocks are simply not there.
    pub bytes: u64,
    /// What was recorded there; `None` if that cannot be known.
    pub missing: Option<Counts>,
    /// The last time known before it (`CLOCK_MONOTONIC`, ns).
    pub after_ns: Option<u64>,
    /// The first time known behind it.
    pub before_ns: Option<u64>,
    /// What is wrong, in words.
    pub what: String,
}

impl<R: Read> Reader<R> {
    /// Begins at the beginning.
    pub fn new(source: R) -> io::Result<Self> {
        Ok(Self {
            source,
            buffer: Vec::new(),
            used: 0,
            offset: 0,
            skip: 0,
            lost_at: None,
            finder: Finder::new(&MAGIC),
            opener: Opener::new()?,
            rows: Batch::default(),
            payload: Vec::new(),
            tag: None,
            expected: None,
            last_ns: None,
            cut_short: 0,
        })
    }

    /// From now on only frames of this session count, and what comes next should have this before it.
    pub fn expect(&mut self, tag: u32, before: Counts) {
        self.tag = Some(tag);
        self.expected = Some(before);
    }

    /// What should have been recorded before the next block.
    pub fn expected(&self) -> Option<Counts> {
        self.expected
    }

    /// The rows of the block found last.
    pub fn rows(&self) -> &Batch {
        &self.rows
    }

    /// The plain bytes of the header found last.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The first frame, without a search for it: what does not begin with one is no recording.
    pub fn first(&mut self) -> io::Result<Found> {
        let at_hand = self.fill(HEAD)?;
        let head = self.unread().first_chunk().and_then(Head::parse);
        if at_hand > 0 && head.is_none() {
            let missing = None;
            return Ok(
                if at_hand < HEAD && MAGIC.starts_with(self.magic_at_hand()) {
                    let (torn, is_cut) = (at_hand as u64, true);
                    Found::Nothing { torn, is_cut }
                } else {
                    let what = "no frame at the beginning".to_owned();
                    Found::Damage(Damage {
                        offset: 0,
                        bytes: 0,
                        missing,
                        after_ns: None,
                        before_ns: None,
                        what,
                    })
                },
            );
        }
        self.read()
    }

    fn magic_at_hand(&self) -> &[u8] {
        let unread = self.unread();
        unread.get(..MAGIC.len()).unwrap_or(unread)
    }

    /// Where the stretch begins that is no frame so far, and is searched for one.
    pub fn searches_from(&self) -> Option<u64> {
        self.lost_at
    }

    /// Goes to the next frame, as far as it is near.
    pub fn read(&mut self) -> io::Result<Found> {
        let far = self.offset.saturating_add(STRETCH);
        loop {
            if !self.pass_over(far)? {
                let (torn, is_cut) = (0, false);
                return Ok(Found::Nothing { torn, is_cut });
            }
            if self.offset >= far {
                return Ok(Found::Searching);
            }
            let at_hand = self.fill(HEAD)?;
            let head = self.unread().first_chunk().and_then(Head::parse);
            match head {
                Some(head) if self.tag.is_none_or(|tag| tag == head.session) => {
                    if let Some(damage) = self.gap_before(&head) {
                        return Ok(Found::Damage(damage));
                    }
                    if self.is_late(&head) {
                        self.skip = HEAD as u64 + u64::from(head.stored);
                        return Ok(Found::Late(head));
                    }
                    let is_whole = self.holds_whole(&head)?;
                    if !is_whole && let Some(bytes) = self.cut_short(&head)? {
                        self.lost_at.get_or_insert(self.offset);
                        self.consume(bytes);
                        continue;
                    }
                    if let Some(found) = self.open(&head, is_whole)? {
                        return Ok(found);
                    }
                    let (torn, is_cut) = (self.unread().len() as u64, true);
                    return Ok(Found::Nothing { torn, is_cut });
                }
                None if at_hand < HEAD => {
                    // What was lost before it counts as torn until a frame follows.
                    let begin = self.lost_at.unwrap_or(self.offset);
                    let torn = self.offset + at_hand as u64 - begin;
                    let is_cut = begin == self.offset && MAGIC.starts_with(self.magic_at_hand());
                    return Ok(Found::Nothing { torn, is_cut });
                }
                Some(_) | None => self.search(),
            }
        }
    }

    /// Goes on to where the next frame could begin.
    fn search(&mut self) {
        self.lost_at.get_or_insert(self.offset);
        let behind_this = self.unread().get(1..).unwrap_or_default();
        let next = (self.finder.find(behind_this))
            // What is left may be the beginning of one.
            .unwrap_or((behind_this.len() + 1).saturating_sub(MAGIC.len()));
        self.consume(1 + next);
    }

    /// Whether something is missing before a frame that is here; to be asked once.
    fn gap_before(&mut self, head: &Head) -> Option<Damage> {
        let lost_at = self.lost_at.take();
        let expected = self.expected;
        // What comes late does not take back what was read: it is still what comes next that is expected.
        let is_late = self.is_late(head);
        if !is_late {
            self.expected = Some(head.before);
        }
        let missing = expected.map(|expected| {
            if is_late {
                Counts::default()
            } else {
                expected.until(head.before)
            }
        });
        let is_missing = missing.is_some_and(|missing| missing != Counts::default());
        if lost_at.is_none() && !is_missing {
            return None;
        }
        let offset = lost_at.unwrap_or(self.offset);
        Some(Damage {
            offset,
            bytes: self.offset - offset,
            missing,
            after_ns: self.last_ns,
            before_ns: (!is_late).then_some(head.first_ns),
            what: if lost_at.is_some() {
                "these bytes are no part of a recording".to_owned()
            } else {
                "blocks are missing".to_owned()
            },
        })
    }

    fn is_late(&self, head: &Head) -> bool {
        self.expected
            .is_some_and(|expected| head.before.records < expected.records)
    }

    /// Whether the payload of a frame is all there, and as it was written.
    fn holds_whole(&mut self, head: &Head) -> io::Result<bool> {
        let stored = usize::try_from(head.stored).unwrap_or(usize::MAX);
        if stored > MAX_PAYLOAD {
            return Ok(false);
        }
        let length = HEAD + stored;
        self.fill(length)?;
        let payload = self.unread().get(HEAD..length);
        let is_whole = payload.is_some_and(|payload| head.is_whole(payload));
        if is_whole {
            self.cut_short = 0;
        }
        Ok(is_whole)
    }

    /// Takes a frame whose head is at hand. `None` while its payload is not.
    fn open(&mut self, head: &Head, is_whole: bool) -> io::Result<Option<Found>> {
        let stored = usize::try_from(head.stored).unwrap_or(usize::MAX);
        let known = matches!(head.kind, Kind::Header | Kind::Block);
        if stored > MAX_PAYLOAD {
            let length = HEAD as u64 + u64::from(head.stored);
            let what = format!("a block claims to take {stored} bytes");
            let found = self.damaged(head, what);
            self.skip = length;
            return Ok(Some(found));
        }
        let length = HEAD + stored;
        if self.fill(length)? < length {
            return Ok(None);
        }
        let found = if known {
            let frame = self.buffer.get(self.used..).unwrap_or_default();
            let payload = frame.get(HEAD..length).unwrap_or_default();
            // More of it may have come since.
            let opened = if !is_whole && !head.is_whole(payload) {
                Err("its checksum is wrong".to_owned())
            } else if head.kind == Kind::Block {
                self.opener.rows(head, payload, &mut self.rows)
            } else {
                self.opener.plain(head, payload).map(|plain| {
                    self.payload.clear();
                    self.payload.extend_from_slice(plain);
                })
            };
            match opened {
                Ok(()) if head.kind == Kind::Block => {
                    self.expected = Some(head.before.plus(head.counts));
                    self.last_ns = Some(head.last_ns);
                    Found::Block(*head)
                }
                Ok(()) => Found::Header(*head),
                Err(what) => self.damaged(head, format!("a block cannot be read: {what}")),
            }
        } else {
            self.expected = Some(head.before.plus(head.counts));
            Found::Unknown(*head)
        };
        self.consume(length);
        Ok(Some(found))
    }

    /// After how many bytes of a frame that is not whole another one follows, though it should be longer: what
    /// follows is not to be lost with it.
    fn cut_short(&mut self, head: &Head) -> io::Result<Option<usize>> {
        let stored = usize::try_from(head.stored).unwrap_or(usize::MAX);
        if stored > MAX_PAYLOAD || self.cut_short >= MAX_CUT_SHORT {
            return Ok(None);
        }
        let length = HEAD + stored;
        self.fill(length + HEAD)?;
        let frame = self.unread();
        let tag = self.tag.unwrap_or(head.session);
        let is_head = |at: &usize| {
            let bytes = frame.get(*at..).and_then(|bytes| bytes.first_chunk());
            let next = bytes.and_then(Head::parse);
            next.is_some_and(|next| next.session == tag)
        };
        let payload = frame.get(HEAD..).unwrap_or_default();
        let next = (self.finder.find_iter(payload))
            .map(|at| HEAD + at)
            .take_while(|at| *at < length)
            .find(is_head);
        self.cut_short += u32::from(next.is_some());
        Ok(next)
    }

    fn damaged(&mut self, head: &Head, what: String) -> Found {
        self.expected = Some(head.before.plus(head.counts));
        let block = head.kind == Kind::Block;
        if block {
            self.last_ns = Some(head.last_ns);
        }
        Found::Damage(Damage {
            offset: self.offset,
            bytes: HEAD as u64 + u64::from(head.stored),
            missing: Some(head.counts),
            after_ns: Some(head.first_ns),
            before_ns: Some(head.last_ns),
            what,
        })
    }

    fn unread(&self) -> &[u8] {
        self.buffer.get(self.used..).unwrap_or_default()
    }

    fn consume(&mut self, count: usize) {
        self.used += count;
        self.offset += count as u64;
    }

    /// Passes over what is to be skipped, up to `far` in the file. False if the file ends before.
    fn pass_over(&mut self, far: u64) -> io::Result<bool> {
        while self.skip > 0 && self.offset < far {
            let at_hand = self.fill(1)?;
            if at_hand == 0 {
                return Ok(false);
            }
            let step = usize::try_from(self.skip).map_or(at_hand, |skip| skip.min(at_hand));
            self.consume(step);
            self.skip -= step as u64;
        }
        Ok(true)
    }

    /// Reads until `wanted` bytes are at hand, or the file ends; yields how many are.
    fn fill(&mut self, wanted: usize) -> io::Result<usize> {
        while self.buffer.len() - self.used < wanted {
            if self.used > 0 {
                self.buffer.drain(..self.used);
                self.used = 0;
            }
            let held = self.buffer.len();
            self.buffer.resize(held + CHUNK.max(wanted - held), 0);
            let space = self.buffer.get_mut(held..).unwrap_or_default();
            let read = loop {
                match self.source.read(space) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    other => break other,
                }
            };
            self.buffer
                .truncate(held + read.as_ref().map_or(0, |count| *count));
            if read? == 0 {
                break;
            }
        }
        Ok(self.buffer.len() - self.used)
    }
}

#[cfg(test)]
mod tests;
