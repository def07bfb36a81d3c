//! A session out of its files: the inputs of the core in their order.

use std::collections::VecDeque;
use std::fs::File;
use std::io::ErrorKind;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};

use super::compat::Translation;
use super::files;
use super::frame::{Counts, Head};
use super::header::Header;
use super::open::{OpenError, Part, Source, name, open_file, reader_of};
use super::reader::{Damage, Found, Reader};
use super::row::{self, Row};
use crate::batch::Batch;
use crate::input::Input;
use crate::session::Lost;

/// Stretches that were not read, remembered one by one.
const MAX_UNREAD: usize = 1 << 16;

/// One session, from one or several files. Yields [`Step`]s; holds one block at a time.
pub struct Recording {
    header: Header,
    parts: VecDeque<Part>,
    reader: Option<Reader<Source>>,
    /// The file that is being read, or was last.
    path: PathBuf,
    /// Likewise, until its header is read.
    begun: Option<File>,
    /// Likewise, if the header says that it is locked for as long as it is being written.
    locked: Option<File>,
    translation: Option<Translation>,
    follow: bool,
    part: u32,
    /// What the next block should have before it.
    expected: Counts,
    /// As the rows tell it.
    lost: Lost,
    /// What was lost in the recording itself.
    damaged: Lost,
    last_ns: u64,
    ended: Option<u64>,
    continued: bool,
    torn: u64,
    beyond: u64,
    cut_behind: u64,
    unknown: u64,
    /// Which records were not read, by their numbers in the session: up to the latest that was.
    unread: Vec<Range<u64>>,
    twice: Counts,
    too_late: Counts,
    /// Whether what came last was late.
    is_late: bool,
    /// Parts between the file that was begun last and the one before.
    skipped: Option<RangeInclusive<u32>>,
}

/// What comes next in a session.
pub enum Step<'a> {
    /// Inputs for the core.
    Inputs(Inputs<'a>),
    /// Something is missing. The core has to be told: this loss is to be its next input.
    Damage {
        /// What, for people.
        damage: Damage,
        /// In which file.
        path: PathBuf,
        /// For the core.
        loss: Input<'static>,
    },
    /// Nothing that concerns the core, be it a stretch that is no part of a recording, or that nothing has come from
    /// standard input for a moment.
    Passed,
    /// Nothing more for now: the file is still being written. Ask again later.
    Wait,
    /// The session is over.
    End(End),
}

/// How a recording ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// When: the end of the session, or the last time that is known (`CLOCK_MONOTONIC`, ns).
    pub at_ns: u64,
    /// What stands at the end.
    pub how: Close,
    /// Bytes behind the end of a file's part of the session: they belong to nothing.
    pub beyond: u64,
    /// Likewise, of a frame that was cut off there, as the last copy of the header.
    pub cut_behind: u64,
    /// Rows and frames of kinds that this version does not know: passed over.
    pub unknown: u64,
    /// What stands in the files once more: it was read once.
    pub twice: Counts,
    /// What stands behind later blocks, and was not read.
    pub too_late: Counts,
}

/// Whether somebody still writes to a file that has no end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Author {
    /// Whoever records it has it open.
    AtWork,
    /// Nobody has it open who records it.
    Gone,
    /// It does not say, or was made on another machine.
    Unknown,
}

/// What stands at the end of the last file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// The end of the session.
    Whole,
    /// It goes on in a file that was not given.
    ContinuedElsewhere,
    /// Nothing: it was cut off, and so many bytes at the end are no whole block.
    Cut {
        /// How many.
        torn: u64,
    },
}

impl Recording {
    pub(super) fn new(header: Header, mut parts: Vec<Part>) -> Self {
        parts.sort_by_key(|part| part.number);
        let unread =
            Vec::from_iter((header.before.records > 0).then_some(0..header.before.records));
        Self {
            translation: Translation::from(&header.wire),
            expected: header.before,
            lost: header.lost_before,
            last_ns: header.session.clock.mono_ns,
            part: header.part,
            header,
            parts: parts.into(),
            reader: None,
            path: PathBuf::new(),
            begun: None,
            locked: None,
            follow: false,
            damaged: Lost::default(),
            ended: None,
            continued: false,
            torn: 0,
            beyond: 0,
            cut_behind: 0,
            unknown: 0,
            unread,
            twice: Counts::default(),
            too_late: Counts::default(),
            is_late: false,
            skipped: None,
        }
    }

    /// The header of its first file.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Whether to wait for more where the last file ends without the end of the session.
    pub fn set_follow(&mut self, follow: bool) {
        self.follow = follow;
    }

    /// The file that is being read.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file that is being read is still being written. `boot_id`: that of this machine.
    pub fn author(&self, boot_id: Option<&str>) -> Author {
        let Some(file) = &self.locked else {
            return Author::Unknown;
        };
        // What other machines have locked need not show here; nor does this file tell of the next one.
        let session = &self.header.session;
        let would_show = boot_id.is_some() && session.boot_id.as_deref() == boot_id;
        match files::is_locked(file) {
            Some(true) => Author::AtWork,
            Some(false) if would_show && !self.continued => Author::Gone,
            Some(false) | None => Author::Unknown,
        }
    }

    /// Ends it where it stands, whether more is waited for or not.
    pub fn leave(&self) -> End {
        let how = if self.ended.is_some() {
            Close::Whole
        } else if self.continued {
            Close::ContinuedElsewhere
        } else {
            Close::Cut { torn: self.torn }
        };
        End {
            at_ns: self.ended.unwrap_or(self.last_ns),
            how,
            beyond: self.beyond,
            cut_behind: self.cut_behind,
            unknown: self.unknown,
            twice: self.twice,
            too_late: self.too_late,
        }
    }

    /// Where the stretch of the file begins that is no part of a recording so far, and is being searched.
    pub fn searches_from(&self) -> Option<u64> {
        self.reader.as_ref().and_then(Reader::searches_from)
    }

    /// Goes on to the next block, as far as it is near.
    pub fn step(&mut self) -> Result<Step<'_>, OpenError> {
        if self.reader.is_none() && !self.open_next()? {
            return Ok(self.pause());
        }
        let Some(reader) = &mut self.reader else {
            return Ok(self.pause());
        };
        let found = match reader.read() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Step::Passed),
            found => found.map_err(|source| OpenError::Io {
                path: name(&self.path),
                source,
            })?,
        };
        let expected = reader.expected().unwrap_or(self.expected);
        let before = std::mem::replace(&mut self.expected, expected);
        match found {
            // Of a later part, where files were joined.
            Found::Header(_) => {
                if let Ok(header) = Header::parse(reader.payload()) {
                    self.part = self.part.max(header.part);
                    let begun = self.begun.take().filter(|_| header.locked);
                    self.locked = self.locked.take().or(begun);
                }
            }
            Found::Unknown(_) => self.unknown += 1,
            Found::Damage(damage) => {
                self.note_unread(before.records..expected.records);
                return Ok(self.damaged(damage));
            }
            Found::Late(head) => self.note_late(&head),
            // What tells of time alone has no number by which it would be late.
            Found::Block(head)
                if self.is_late
                    && head.counts == Counts::default()
                    && head.last_ns < self.last_ns => {}
            Found::Block(head) => {
                self.is_late = false;
                self.skipped = None;
                let lead = self.take_block(&head);
                return Ok(self.inputs(lead));
            }
            Found::Searching => {}
            Found::Nothing { torn, is_cut } => {
                if self.ended.is_some() || self.continued {
                    let behind = if is_cut {
                        &mut self.cut_behind
                    } else {
                        &mut self.beyond
                    };
                    *behind = behind.saturating_add(torn);
                } else {
                    self.torn = torn;
                    if self.parts.is_empty() {
                        return Ok(self.pause());
                    }
                }
                // What is missing at its end is told by what the next has before it.
                self.reader = None;
            }
        }
        Ok(Step::Passed)
    }

    fn note_unread(&mut self, records: Range<u64>) {
        if records.is_empty() {
            return;
        }
        let is_full = self.unread.len() >= MAX_UNREAD;
        match self.unread.last_mut() {
            Some(last) if last.end == records.start || is_full => last.end = records.end,
            Some(_) | None => self.unread.push(records),
        }
    }

    fn note_late(&mut self, head: &Head) {
        self.is_late = true;
        let number = head.before.records;
        let at = self.unread.partition_point(|range| range.end <= number);
        let unread = self
            .unread
            .get(at)
            .is_some_and(|range| range.start <= number);
        let total = if unread {
            &mut self.too_late
        } else {
            &mut self.twice
        };
        *total = total.plus(head.counts);
    }

    fn damaged(&mut self, mut damage: Damage) -> Step<'_> {
        if let Some(parts) = self.skipped.take().filter(|_| damage.bytes == 0) {
            let are = match (*parts.start(), *parts.end()) {
                (one, other) if one == other => format!("part {one} of the session was"),
                (first, last) => format!("parts {first} to {last} of the session were"),
            };
            damage.what = format!("{are} not given, or removed before being read");
        } else if damage.offset == 0 && damage.missing == Some(Counts::default()) {
            "the header is damaged, its copy was used".clone_into(&mut damage.what);
        }
        if let Some(missing) = damage.missing {
            let evidence = missing.records.saturating_sub(missing.transitions);
            self.damaged.damaged = self.damaged.damaged.saturating_add(missing.transitions);
            self.damaged.evidence = self.damaged.evidence.saturating_add(evidence);
        }
        let now_ns = damage.before_ns.unwrap_or(self.last_ns);
        Step::Damage {
            damage,
            path: self.path.clone(),
            loss: Input::Losses {
                lost: self.total(self.lost),
                now_ns,
            },
        }
    }

    /// Takes note of what a block tells of the recording itself. Yields the losses that it does not tell,
    /// because what did is damaged.
    fn take_block(&mut self, head: &Head) -> Option<Input<'static>> {
        self.last_ns = self.last_ns.max(head.last_ns);
        self.continued = false;
        let rows = self.reader.as_ref().map(Reader::rows)?;
        let mut told = self.lost;
        for row in rows.iter().filter_map(row::parse_own_row) {
            match row {
                Row::Input(Input::Losses { lost, .. }) => told = lost,
                Row::Input(Input::Record(_) | Input::Tick(_) | Input::Clock(_)) => {}
                Row::End(at_ns) => self.ended = Some(at_ns),
                Row::Continued(_) => self.continued = true,
                Row::Unknown => self.unknown += 1,
            }
        }
        let untold = told == self.lost && head.lost != told;
        self.lost = head.lost;
        untold.then(|| Input::Losses {
            lost: self.total(head.lost),
            now_ns: head.first_ns,
        })
    }

    fn inputs(&mut self, lead: Option<Input<'static>>) -> Step<'_> {
        let Some(reader) = &self.reader else {
            return Step::Wait;
        };
        Step::Inputs(Inputs {
            lead,
            rows: reader.rows(),
            next: 0,
            translation: self.translation.as_mut(),
            base: self.header.lost_before,
            damaged: self.damaged,
        })
    }

    fn total(&self, lost: Lost) -> Lost {
        total(lost, &self.header.lost_before, &self.damaged)
    }

    /// Where there is nothing more at present.
    fn pause(&mut self) -> Step<'_> {
        if self.follow && self.ended.is_none() {
            Step::Wait
        } else {
            Step::End(self.leave())
        }
    }

    /// Opens the next file, if there is one.
    fn open_next(&mut self) -> Result<bool, OpenError> {
        let part = match self.parts.pop_front() {
            Some(part) => part,
            None if self.ended.is_none() && self.follow && self.continued => {
                match files::successor(&self.path, self.part) {
                    Some((path, number)) => Part {
                        path,
                        number,
                        opened: None,
                    },
                    None => return Ok(false),
                }
            }
            None => return Ok(false),
        };
        let mut reader = if let Some(reader) = part.opened {
            self.begun = None;
            reader
        } else {
            let file = open_file(&part.path)?;
            self.begun = file.try_clone().ok();
            reader_of(Box::new(file), &part.path)?
        };
        self.locked = None;
        reader.expect(self.header.tag(), self.expected);
        self.skipped = (part.number > self.part.saturating_add(1))
            .then(|| self.part.saturating_add(1)..=part.number.saturating_sub(1));
        self.part = part.number;
        self.path = part.path;
        self.continued = false;
        self.reader = Some(reader);
        Ok(true)
    }
}

/// The inputs of one block.
pub struct Inputs<'a> {
    lead: Option<Input<'static>>,
    rows: &'a Batch,
    next: usize,
    translation: Option<&'a mut Translation>,
    /// Lost before the first file.
    base: Lost,
    damaged: Lost,
}

impl Inputs<'_> {
    /// The rows to come, as far as they are records; not yet in this run's terms.
    pub fn ahead(&self) -> impl Iterator<Item = &[u8]> {
        (self.next..self.rows.len()).filter_map(|index| self.rows.get(index))
    }

    /// The next one.
    pub fn input(&mut self) -> Option<Input<'_>> {
        if let Some(lead) = self.lead.take() {
            return Some(lead);
        }
        loop {
            let row = self.rows.get(self.next)?;
            self.next += 1;
            match row::parse_own_row(row) {
                None => {
                    let row = match &mut self.translation {
                        Some(translation) => translation.row(row),
                        None => row,
                    };
                    return Some(Input::Record(row));
                }
                Some(Row::Input(Input::Losses { lost, now_ns })) => {
                    let lost = total(lost, &self.base, &self.damaged);
                    return Some(Input::Losses { lost, now_ns });
                }
                Some(Row::Input(input)) => return Some(input),
                Some(Row::End(_) | Row::Continued(_) | Row::Unknown) => {}
            }
        }
    }
}

/// Kernel's losses since the first file, and what the recording itself has lost.
fn total(lost: Lost, base: &Lost, damaged: &Lost) -> Lost {
    Lost {
        ring_full: lost.ring_full.saturating_sub(base.ring_full),
        reentry: lost.reentry.saturating_sub(base.reentry),
        unreadable: lost.unreadable.saturating_sub(base.unreadable),
        undecodable: 0,
        damaged: damaged.damaged,
        evidence: lost
            .evidence
            .saturating_sub(base.evidence)
            .saturating_add(damaged.evidence),
    }
}
