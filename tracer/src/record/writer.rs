//! The thread's end of recording: rows to frames, frames to files, one file after another.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use thiserror::Error;

use super::files::{FileError, Place};
use super::frame::{Context, Counts, Maker};
use super::header::Header;
use super::row::{self, Row};
use crate::batch::Batch;
use crate::input::Input;
use crate::session::{ClockMap, Lost};

/// Between two times that what was written is brought to the disk.
const SYNC: Duration = Duration::from_secs(1);
/// Between two copies of the header in a file, in bytes.
const HEADER_EVERY: u64 = 16 << 20;
/// What the last row of a file takes at most, in a block of its own.
const END_BYTES: u64 = 512;

/// Where a recording goes.
#[derive(Debug)]
pub enum Target {
    /// A stream, such as a pipe.
    Stream(File),
    /// Files.
    Files(Place),
}

/// How much is written, and to how many files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Begin a new file at this size in bytes.
    pub rotate_size: Option<u64>,
    /// Begin a new file after this time.
    pub rotate_time: Option<Duration>,
    /// Keep so many files at most, the latest.
    pub keep: Option<u32>,
    /// Bytes of all files together: with rotation the oldest give way, else recording ends.
    pub max_size: Option<u64>,
}

impl Limits {
    fn rotates(&self) -> bool {
        self.rotate_size.is_some() || self.rotate_time.is_some()
    }

    /// Bytes after which a new file is begun. Where only time would begin one, but all together are limited,
    /// there are to be some that can give way.
    fn file_bytes(&self) -> Option<u64> {
        let part_of_all = self.max_size.filter(|_| self.rotates());
        self.rotate_size.or(part_of_all.map(|all| all / 4))
    }
}

/// Why recording ended early.
#[derive(Debug, Error)]
pub enum WriteError {
    /// Nobody reads the stream any more.
    #[error("the reader of the recording is gone")]
    ReaderGone,
    /// A file cannot be written.
    #[error("cannot write to {path}: {source}")]
    Io {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// Something else has taken the file away.
    #[error(
        "{path} {what} while it was being recorded\nhint: nothing but tracer is to touch a recording before it ends; record again"
    )]
    Gone {
        /// Which.
        path: String,
        /// What became of it.
        what: &'static str,
    },
    /// A file cannot be made.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is no memory, or no thread.
    #[error("cannot start to record: {0}")]
    Start(io::Error),
    /// The disk does not take the rest.
    #[error("the disk takes too long to take the rest of the recording")]
    Stuck,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Files, those removed again included.
    pub files: u32,
    /// Bytes, likewise.
    pub bytes: u64,
    /// Bytes of the files that are left.
    pub bytes_left: u64,
    /// Records, likewise.
    pub counts: Counts,
    /// The files that are left, for people.
    pub paths: Vec<String>,
    /// Recording ended because [`Limits::max_size`] was reached.
    pub full: bool,
}

/// How far the writer is, to be looked at from another thread.
#[derive(Debug, Default)]
pub struct Progress {
    bytes: AtomicU64,
    files: AtomicU32,
    records: AtomicU64,
    transitions: AtomicU64,
    last_ns: AtomicU64,
}

impl Progress {
    /// Bytes written.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// What is in the files.
    pub fn counts(&self) -> Counts {
        Counts {
            records: self.records.load(Ordering::Relaxed),
            transitions: self.transitions.load(Ordering::Relaxed),
        }
    }

    /// The latest time of that (`CLOCK_MONOTONIC`, ns); 0 before there is any.
    pub fn last_ns(&self) -> u64 {
        self.last_ns.load(Ordering::Relaxed)
    }

    /// Files begun.
    pub fn files(&self) -> u32 {
        self.files.load(Ordering::Relaxed)
    }
}

/// What the writer gets.
pub(super) enum Message {
    Rows(Chunk),
    /// Time has passed.
    LookAfter,
}

pub(super) struct Chunk {
    pub(super) rows: Batch,
    /// As of the end of the rows.
    pub(super) lost: Lost,
    pub(super) clock: ClockMap,
}

pub(super) struct Writer {
    target: Target,
    limits: Limits,
    header: Header,
    maker: Maker,
    frame: Vec<u8>,
    file: File,
    /// Files that are there, with their sizes; the present one at the end.
    files: VecDeque<(OsString, u64)>,
    context: Context,
    clock: ClockMap,
    last_ns: u64,
    /// Of the present file.
    header_at: u64,
    header_bytes: u64,
    began: Instant,
    synced: Instant,
    dirty: bool,
    full: bool,
    progress: Arc<Progress>,
}

impl Writer {
    /// Begins the first file.
    pub(super) fn new(
        target: Target,
        limits: Limits,
        mut header: Header,
        progress: Arc<Progress>,
    ) -> Result<Self, WriteError> {
        let mut maker = Maker::new().map_err(WriteError::Start)?;
        let context = Context {
            session: header.tag(),
            ..Context::default()
        };
        let clock = header.session.clock;
        let mut begin = |file: &mut File, is_locked| {
            header.locked = is_locked;
            write_header(file, &mut maker, &header, clock.mono_ns, &context)
        };
        let (file, name, size) = match &target {
            Target::Stream(stream) => {
                let mut stream = stream.try_clone().map_err(WriteError::Start)?;
                let size = begin(&mut stream, false)
                    .map_err(|source| write_error("standard output".to_owned(), source))?;
                (stream, OsString::new(), size)
            }
            Target::Files(place) => {
                if limits.rotates() {
                    place.check_parts()?;
                }
                let name = place.name(limits.rotates().then_some(1));
                let (file, size) = place.create(&name, begin)?;
                if limits.rotates() {
                    place.remove_earlier_parts(&name)?;
                }
                (file, name, size)
            }
        };
        progress.bytes.store(size, Ordering::Relaxed);
        progress.files.store(1, Ordering::Relaxed);
        Ok(Self {
            target,
            limits,
            header,
            maker,
            frame: Vec::new(),
            file,
            files: [(name, size)].into(),
            context,
            clock,
            last_ns: clock.mono_ns,
            header_at: 0,
            header_bytes: size,
            began: Instant::now(),
            synced: Instant::now(),
            dirty: true,
            full: false,
            progress,
        })
    }

    /// Takes the next message. False once nothing more is taken, because a limit was reached.
    pub(super) fn take(&mut self, message: &Message) -> Result<bool, WriteError> {
        if let Message::Rows(chunk) = message
            && !self.full
        {
            self.write_chunk(chunk)?;
        }
        let time_is_up = self
            .limits
            .rotate_time
            .is_some_and(|time| self.began.elapsed() >= time);
        let size_is_up = self
            .limits
            .file_bytes()
            .is_some_and(|size| self.size() >= size);
        if !self.full && (time_is_up || size_is_up) {
            self.rotate()?;
        }
        if self.dirty && self.synced.elapsed() >= SYNC {
            self.sync()?;
        }
        Ok(!self.full)
    }

    /// Leaves a copy of the header, and brings all to the disk.
    pub(super) fn finish(mut self) -> Result<Written, WriteError> {
        if !self.full {
            self.copy_header()?;
        }
        self.sync()?;
        let paths = match &self.target {
            Target::Stream(_) => vec!["standard output".to_owned()],
            Target::Files(place) => {
                let names = self.files.iter().map(|(name, _)| place.path(name));
                names.collect()
            }
        };
        Ok(Written {
            files: self.progress.files(),
            bytes: self.progress.bytes(),
            bytes_left: self.total(),
            counts: self.context.before,
            paths,
            full: self.full,
        })
    }

    fn write_chunk(&mut self, chunk: &Chunk) -> Result<(), WriteError> {
        self.clock = chunk.clock;
        if self.write_rows(&chunk.rows, chunk.lost)? {
            return Ok(());
        }
        self.full = true;
        self.fill_up(&chunk.rows)?;
        self.write_last(Row::End(self.last_ns))
    }

    /// Makes a block of rows, `lost` being the losses at their end. False, and nothing is written, if there is
    /// no room for it.
    fn write_rows(&mut self, rows: &Batch, lost: Lost) -> Result<bool, WriteError> {
        let lost_before = std::mem::replace(&mut self.context.lost, lost);
        let mut frame = std::mem::take(&mut self.frame);
        frame.clear();
        let made = self.maker.block(rows, &self.context, &mut frame);
        let counts = self.io(made)?;
        let fits = self.make_room(frame.len() as u64);
        if fits {
            self.write_block(&frame, counts, row::summary(rows).last_ns)?;
        } else {
            self.context.lost = lost_before;
        }
        self.frame = frame;
        Ok(fits)
    }

    /// Writes as many of the rows, but not all, as there is room for: each block half as long as the one that
    /// did not fit, or the one before.
    fn fill_up(&mut self, rows: &Batch) -> Result<(), WriteError> {
        let (mut next, mut count) = (0, rows.len() / 2);
        while count > 0 {
            let mut part = Batch::default();
            let mut lost = self.context.lost;
            for row in rows.iter().skip(next).take(count) {
                part.push(row);
                if let Some(Row::Input(Input::Losses { lost: told, .. })) = row::parse_own_row(row)
                {
                    lost = told;
                }
            }
            if self.write_rows(&part, lost)? {
                next += count;
            }
            count /= 2;
        }
        Ok(())
    }

    /// Whether there is room for a block and the end of the file; with rotation the oldest files give way.
    fn make_room(&mut self, block_bytes: u64) -> bool {
        let Some(max_size) = self.limits.max_size else {
            return true;
        };
        // Behind the block a copy of the header may be due.
        let wanted = block_bytes + 2 * self.header_bytes + END_BYTES;
        let rotates = self.limits.rotates();
        while rotates && self.files.len() > 1 && self.total() + wanted > max_size {
            self.remove_oldest();
        }
        rotates || self.total() + wanted <= max_size
    }

    fn write_block(
        &mut self,
        frame: &[u8],
        counts: Counts,
        last_ns: u64,
    ) -> Result<(), WriteError> {
        self.write(frame)?;
        self.context.before = self.context.before.plus(counts);
        self.last_ns = self.last_ns.max(last_ns);
        let Counts {
            records,
            transitions,
        } = self.context.before;
        self.progress.records.store(records, Ordering::Relaxed);
        self.progress
            .transitions
            .store(transitions, Ordering::Relaxed);
        self.progress.last_ns.store(self.last_ns, Ordering::Relaxed);
        if self.size() - self.header_at >= HEADER_EVERY {
            self.copy_header()?;
        }
        Ok(())
    }

    /// Writes the last row of a file, alone in its block, behind one more copy of the header.
    fn write_last(&mut self, row: Row<'_>) -> Result<(), WriteError> {
        self.copy_header()?;
        let mut rows = Batch::default();
        row::push(&mut rows, row);
        let mut frame = Vec::new();
        let made = self.maker.block(&rows, &self.context, &mut frame);
        self.io(made)?;
        self.write(&frame)
    }

    fn copy_header(&mut self) -> Result<(), WriteError> {
        let made = header_frame(&mut self.maker, &self.header, self.last_ns, &self.context);
        let frame = self.io(made)?;
        self.header_at = self.size();
        self.header_bytes = frame.len() as u64;
        self.write(&frame)
    }

    /// Goes on in a new file.
    fn rotate(&mut self) -> Result<(), WriteError> {
        let Target::Files(place) = &self.target else {
            return Ok(());
        };
        let mut next = self.header.clone();
        next.part += 1;
        next.before = self.context.before;
        next.lost_before = self.context.lost;
        next.session.clock = ClockMap {
            mono_ns: self.last_ns,
            wall_ns: self.clock.wall_ns(self.last_ns),
        };
        let name = place.name(Some(next.part));
        // First the new file, then the end of the old one: that promises it.
        let (file, size) = place.create(&name, |file, is_locked| {
            next.locked = is_locked;
            write_header(file, &mut self.maker, &next, self.last_ns, &self.context)
        })?;
        self.write_last(Row::Continued(self.last_ns))?;
        self.sync()?;
        self.header = next;
        self.file = file;
        self.files.push_back((name, 0));
        self.count(size);
        self.progress.files.fetch_add(1, Ordering::Relaxed);
        self.header_at = 0;
        self.header_bytes = size;
        self.began = Instant::now();
        self.dirty = true;
        let keep = self.limits.keep.map_or(usize::MAX, |keep| keep as usize);
        while self.files.len() > keep.max(1) {
            self.remove_oldest();
        }
        Ok(())
    }

    fn remove_oldest(&mut self) {
        if let (Target::Files(place), Some((name, _))) = (&self.target, self.files.pop_front())
            && let Err(error) = place.remove(&name)
        {
            log::warn!("cannot remove {}: {error}", place.path(&name));
        }
    }

    /// Size of the present file.
    fn size(&self) -> u64 {
        self.files.back().map_or(0, |(_, size)| *size)
    }

    fn total(&self) -> u64 {
        self.files.iter().map(|(_, size)| *size).sum()
    }

    fn count(&mut self, bytes: u64) {
        if let Some((_, size)) = self.files.back_mut() {
            *size += bytes;
        }
        self.progress.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        // What is written behind a cut would hide it.
        self.ensure_it_is_there()?;
        if let Err(error) = self.file.write_all(bytes) {
            // Half a block is of no use. That it cannot be taken back does no harm either.
            if matches!(self.target, Target::Files(_)) {
                let _ = self.file.set_len(self.size());
            }
            return self.io(Err(error));
        }
        self.count(bytes.len() as u64);
        self.dirty = true;
        Ok(())
    }

    fn sync(&mut self) -> Result<(), WriteError> {
        self.synced = Instant::now();
        self.dirty = false;
        match self.target {
            Target::Stream(_) => Ok(()),
            Target::Files(_) => {
                let synced = self.file.sync_data();
                self.io(synced)?;
                self.ensure_it_is_there()
            }
        }
    }

    /// That a file is written to does not say that it can be found, and that nobody else changed it.
    fn ensure_it_is_there(&self) -> Result<(), WriteError> {
        let (Target::Files(place), Some((name, size))) = (&self.target, self.files.back()) else {
            return Ok(());
        };
        let changed = place.what_became_of(name, &self.file, *size);
        match self.io(changed)? {
            None => Ok(()),
            Some(what) => Err(WriteError::Gone {
                path: place.path(name),
                what,
            }),
        }
    }

    /// Names the file in an error.
    fn io<T>(&self, result: io::Result<T>) -> Result<T, WriteError> {
        result.map_err(|source| {
            let path = match (&self.target, self.files.back()) {
                (Target::Files(place), Some((name, _))) => place.path(name),
                _ => "standard output".to_owned(),
            };
            write_error(path, source)
        })
    }
}

fn header_frame(
    maker: &mut Maker,
    header: &Header,
    now_ns: u64,
    context: &Context,
) -> io::Result<Vec<u8>> {
    let mut frame = Vec::new();
    maker.header(&header.to_json()?, now_ns, context, &mut frame)?;
    Ok(frame)
}

/// Writes what a file begins with; yields how many bytes that are.
fn write_header(
    file: &mut File,
    maker: &mut Maker,
    header: &Header,
    now_ns: u64,
    context: &Context,
) -> io::Result<u64> {
    let frame = header_frame(maker, header, now_ns, context)?;
    file.write_all(&frame)?;
    Ok(frame.len() as u64)
}

fn write_error(path: String, source: io::Error) -> WriteError {
    if source.kind() == io::ErrorKind::BrokenPipe {
        WriteError::ReaderGone
    } else {
        WriteError::Io { path, source }
    }
}
