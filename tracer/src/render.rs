//! Connections and their transitions as text, one file per output format.
//!
//! A renderer is told what the tracker found and appends bytes to a buffer; when those are written,
//! and where to, is the caller's business. It escapes whatever a process could have chosen: output is
//! safe on a terminal in every format.
//!
//! `text` is a line per transition for people, `timeline` a block per connection, `jsonl` and `csv`
//! are for programs and documented in `docs/schema.md`.

use std::fmt;
use std::str::FromStr;

use bytes::BytesMut;
use jiff::tz::TimeZone;

use crate::diagnose::Diagnosis;
use crate::event::EvidenceEvent;
use crate::hints::Told;
use crate::session::{ClockMap, Lost, Session, Totals};
use crate::state::Names;
use crate::track::{Connection, Continued, Ending, TimeWait, Transition};

mod closing;
mod csv;
mod digits;
mod fields;
mod first;
mod fold;
mod headed;
mod json;
mod jsonl;
mod perfetto;
mod plain;
mod remark;
mod report;
pub(crate) mod span;
pub mod states;
mod summary;
mod text;
pub(crate) mod time;
mod timeline;
pub(crate) mod unseen;
mod vocab;

pub use closing::{closing_words, losses};
pub use csv::Csv;
pub use jsonl::{Jsonl, SCHEMA_VERSION};
pub use perfetto::Perfetto;
pub(crate) use plain::{is_plain, plain, push_plain};
pub use report::{LISTED_MAX, Report};
pub use summary::{Summary, SummaryFormat};
pub use text::Text;
pub use timeline::Timeline;

/// An output format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// One aligned line per transition, for people.
    #[default]
    Text,
    /// One JSON object per line, by the documented schema.
    Jsonl,
    /// Comma-separated values with a header line.
    Csv,
    /// One block per connection when it ends.
    Timeline,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 4] = [Self::Text, Self::Jsonl, Self::Csv, Self::Timeline];

    /// When the end of a connection is told that is followed by `TIME_WAIT`, unless somebody asks otherwise:
    /// programs want it when it is over, people when nothing more is to be learnt of it.
    pub fn time_wait(self) -> TimeWait {
        match self {
            Self::Text | Self::Timeline => TimeWait::Expect,
            Self::Jsonl | Self::Csv => TimeWait::Wait,
        }
    }

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
            Self::Timeline => "timeline",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|format| format.name() == name)
            .ok_or_else(|| UnknownFormat(name.to_owned()))
    }
}

/// Not the name of a [`Format`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown output format '{0}': one of text, jsonl, csv, timeline")]
pub struct UnknownFormat(String);

/// How `text` and `timeline` show things; `jsonl` and `csv` have one form only.
#[derive(Clone, Debug)]
pub struct RenderOptions {
    /// Vocabulary for states.
    pub names: Names,
    /// Whether to colour (ANSI SGR codes).
    pub color: bool,
    /// Zone of the times shown.
    pub time_zone: TimeZone,
    /// Columns of the terminal that is written to, if it is one: lines are made to fit.
    pub width: Option<usize>,
}

/// What one piece of an output is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A transition, or a connection at its end: each stands for itself.
    Records,
    /// A transition; the end of a connection is a remark on its last one.
    Lines,
    /// A connection.
    Blocks,
}

/// Appends what happened to a buffer, in one format.
///
/// `clock` is the mapping to wall-clock time in force.
pub trait Render {
    /// What it makes a piece of output of.
    fn shape(&self) -> Shape {
        Shape::Records
    }

    /// The run begins: headers.
    fn start(&mut self, out: &mut BytesMut, session: &Session);

    /// A transition; `conn` is as it is after it.
    fn transition(
        &mut self,
        out: &mut BytesMut,
        clock: &ClockMap,
        conn: &Connection,
        transition: &Transition,
    );

    /// A connection changed its state after its socket was closed. Formats that show connections as a whole
    /// have nothing to say to it.
    fn continued(&mut self, _: &mut BytesMut, _: &ClockMap, _: &Connection, _: &Continued) {}

    /// Nothing more will come of a connection; `now_ns` is when that was found.
    fn ended(
        &mut self,
        out: &mut BytesMut,
        clock: &ClockMap,
        conn: &Connection,
        diagnosis: &Diagnosis,
        ending: Ending,
        now_ns: u64,
    );

    /// Whether [`Render::evidence`] is to be called.
    fn wants_evidence(&self) -> bool {
        false
    }

    /// Something happened to an open connection beside its states.
    fn evidence(&mut self, _conn: &Connection, _event: &EvidenceEvent) {}

    /// A hint while the run goes on. Of no concern to an output that only counts.
    fn hint(&mut self, _out: &mut BytesMut, _clock: &ClockMap, _told: &Told) {}

    /// The clocks were read again and wall-clock time has moved against `CLOCK_MONOTONIC`.
    fn clock_changed(&mut self, out: &mut BytesMut, clock: &ClockMap);

    /// Events were lost between the last such call (or the start) and `now_ns`.
    fn lost(&mut self, out: &mut BytesMut, clock: &ClockMap, now_ns: u64, since_last: &Lost);

    /// So much time has passed that the output is to tell how things stand; the totals are those up to now,
    /// without what is still open. Of concern to an output that tells nothing else before its end.
    fn interim(&mut self, _: &mut BytesMut, _: &ClockMap, _now_ns: u64, _totals: &Totals) {}

    /// The run is over.
    fn end(&mut self, out: &mut BytesMut, clock: &ClockMap, now_ns: u64, totals: &Totals);
}

/// The renderer of one format, dispatched without a virtual call.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one per run")]
pub enum Renderer {
    /// [`Format::Text`]
    Text(Text),
    /// [`Format::Jsonl`]
    Jsonl(Jsonl),
    /// [`Format::Csv`]
    Csv(Csv),
    /// [`Format::Timeline`]
    Timeline(Timeline),
}

impl Renderer {
    /// The renderer of a format.
    pub fn new(format: Format, options: RenderOptions) -> Self {
        match format {
            Format::Text => Self::Text(Text::new(options)),
            Format::Jsonl => Self::Jsonl(Jsonl::default()),
            Format::Csv => Self::Csv(Csv::default()),
            Format::Timeline => Self::Timeline(Timeline::new(options)),
        }
    }
}

macro_rules! dispatch {
    ($self:ident, $inner:ident => $call:expr) => {
        match $self {
            Self::Text($inner) => $call,
            Self::Jsonl($inner) => $call,
            Self::Csv($inner) => $call,
            Self::Timeline($inner) => $call,
        }
    };
}

impl Render for Renderer {
    fn shape(&self) -> Shape {
        dispatch!(self, inner => inner.shape())
    }

    fn start(&mut self, out: &mut BytesMut, session: &Session) {
        dispatch!(self, inner => inner.start(out, session));
    }

    fn transition(
        &mut self,
        out: &mut BytesMut,
        clock: &ClockMap,
        conn: &Connection,
        transition: &Transition,
    ) {
        dispatch!(self, inner => inner.transition(out, clock, conn, transition));
    }

    fn continued(
        &mut self,
        out: &mut BytesMut,
        clock: &ClockMap,
        conn: &Connection,
        change: &Continued,
    ) {
        dispatch!(self, inner => inner.continued(out, clock, conn, change));
    }

    fn ended(
        &mut self,
        out: &mut BytesMut,
        clock: &ClockMap,
        conn: &Connection,
        diagnosis: &Diagnosis,
        ending: Ending,
        now_ns: u64,
    ) {
        dispatch!(self, inner => inner.ended(out, clock, conn, diagnosis, ending, now_ns));
    }

    fn hint(&mut self, out: &mut BytesMut, clock: &ClockMap, told: &Told) {
        dispatch!(self, inner => inner.hint(out, clock, told));
    }

    fn clock_changed(&mut self, out: &mut BytesMut, clock: &ClockMap) {
        dispatch!(self, inner => inner.clock_changed(out, clock));
    }

    fn lost(&mut self, out: &mut BytesMut, clock: &ClockMap, now_ns: u64, since_last: &Lost) {
        dispatch!(self, inner => inner.lost(out, clock, now_ns, since_last));
    }

    fn end(&mut self, out: &mut BytesMut, clock: &ClockMap, now_ns: u64, totals: &Totals) {
        dispatch!(self, inner => inner.end(out, clock, now_ns, totals));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_found_by_name() {
        for format in Format::ALL {
            assert_eq!(format.name().parse(), Ok(format));
        }
        let error = "json".parse::<Format>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown output format 'json': one of text, jsonl, csv, timeline"
        );
    }
}
