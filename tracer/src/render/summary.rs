//! A run in numbers, written at its end, and if asked for of each interval of it: tables for people, or one
//! JSON object per line.

mod jsonl;
mod table;
mod text;
mod times;
mod traffic;
mod words;

use std::fmt;
use std::str::FromStr;

use bytes::{BufMut as _, BytesMut};

use super::{Jsonl, Render, RenderOptions};
use crate::diagnose::Diagnosis;
use crate::session::{ClockMap, Lost, Session, Totals};
use crate::stats::Stats;
use crate::track::{Connection, Ending, Transition};

/// A form of summary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SummaryFormat {
    /// Tables of at most 80 columns.
    #[default]
    Text,
    /// One JSON object per line, by `docs/summary.md`.
    Jsonl,
}

impl fmt::Display for SummaryFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Jsonl => "jsonl",
        })
    }
}

impl FromStr for SummaryFormat {
    type Err = UnknownSummaryFormat;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        [Self::Text, Self::Jsonl]
            .into_iter()
            .find(|format| format.to_string() == name)
            .ok_or_else(|| UnknownSummaryFormat(name.to_owned()))
    }
}

/// Not the name of a [`SummaryFormat`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown form of summary '{0}': text or jsonl")]
pub struct UnknownSummaryFormat(String);

/// Counts while the run goes on, and writes when it ends.
#[derive(Debug)]
pub struct Summary {
    format: SummaryFormat,
    options: RenderOptions,
    rows: usize,
    lead: &'static str,
    stats: Stats,
    session: Option<Session>,
    /// With [`Summary::of_intervals`].
    interval: Option<Interval>,
}

/// What has come since an interval began.
#[derive(Debug)]
struct Interval {
    stats: Stats,
    /// As they were then.
    before: Totals,
}

/// What is written: all that was counted, or a part.
struct Sheet<'a> {
    /// Of an interval, else of the whole session.
    is_interval: bool,
    options: &'a RenderOptions,
    rows: usize,
    stats: &'a Stats,
    session: Option<&'a Session>,
    /// Of what is counted here.
    totals: &'a Totals,
    clock: &'a ClockMap,
    /// When it ended.
    now_ns: u64,
}

impl Sheet<'_> {
    fn write(&self, out: &mut BytesMut, format: SummaryFormat) {
        match format {
            SummaryFormat::Text => text::write(out, self),
            SummaryFormat::Jsonl => jsonl::write(out, self),
        }
    }
}

impl Summary {
    /// With nothing counted yet. `rows` is the most that a table has, `lead` what is written before all.
    pub fn new(
        format: SummaryFormat,
        options: RenderOptions,
        rows: usize,
        lead: &'static str,
    ) -> Self {
        Self {
            format,
            options,
            rows,
            lead,
            stats: Stats::new(rows),
            session: None,
            interval: None,
        }
    }

    /// Writes a summary of each interval as well: see [`Render::interim`].
    #[must_use]
    pub fn of_intervals(mut self) -> Self {
        self.interval = Some(Interval {
            stats: Stats::new(self.rows),
            before: Totals::default(),
        });
        self
    }
}

impl Render for Summary {
    fn start(&mut self, out: &mut BytesMut, session: &Session) {
        self.session = Some(session.clone());
        if self.format == SummaryFormat::Jsonl {
            Jsonl::default().start(out, session);
        }
    }

    fn transition(
        &mut self,
        _out: &mut BytesMut,
        _clock: &ClockMap,
        conn: &Connection,
        transition: &Transition,
    ) {
        self.stats.transition(conn, transition);
        if let Some(interval) = &mut self.interval {
            interval.stats.transition(conn, transition);
        }
    }

    fn ended(
        &mut self,
        _out: &mut BytesMut,
        _clock: &ClockMap,
        conn: &Connection,
        diagnosis: &Diagnosis,
        ending: Ending,
        now_ns: u64,
    ) {
        self.stats.ended(conn, diagnosis, ending, now_ns);
        if let Some(interval) = &mut self.interval {
            interval.stats.ended(conn, diagnosis, ending, now_ns);
        }
    }

    fn clock_changed(&mut self, _out: &mut BytesMut, _clock: &ClockMap) {}

    // The totals tell.
    fn lost(&mut self, _out: &mut BytesMut, _clock: &ClockMap, _now_ns: u64, _since_last: &Lost) {}

    fn interim(&mut self, out: &mut BytesMut, clock: &ClockMap, now_ns: u64, totals: &Totals) {
        let Some(interval) = &mut self.interval else {
            return;
        };
        let sheet = Sheet {
            is_interval: true,
            options: &self.options,
            rows: self.rows,
            stats: &interval.stats,
            session: self.session.as_ref(),
            totals: &totals.since(&interval.before),
            clock,
            now_ns,
        };
        sheet.write(out, self.format);
        *interval = Interval {
            stats: Stats::new(self.rows),
            before: *totals,
        };
    }

    fn end(&mut self, out: &mut BytesMut, clock: &ClockMap, now_ns: u64, totals: &Totals) {
        out.put_slice(self.lead.as_bytes());
        let sheet = Sheet {
            is_interval: false,
            options: &self.options,
            rows: self.rows,
            stats: &self.stats,
            session: self.session.as_ref(),
            totals,
            clock,
            now_ns,
        };
        sheet.write(out, self.format);
        if self.format == SummaryFormat::Jsonl {
            Jsonl::default().end(out, clock, now_ns, totals);
        }
    }
}
