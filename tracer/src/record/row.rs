//! Rows: what a recording is a sequence of. Records as they are, and the other inputs of the core made
//! to look like records, with kinds of their own.

use tracer_common::wire::{Header, KIND_STATE};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::frame::Counts;
use crate::batch::Batch;
use crate::input::Input;
use crate::session::{ClockMap, Lost};

/// Kinds from here on are a recording's own; those below are records.
pub const FIRST_OWN_KIND: u16 = 0xff00;
/// Time has passed: a bare [`Header`].
pub const KIND_TICK: u16 = 0xff01;
/// A `Clock`.
pub const KIND_CLOCK: u16 = 0xff02;
/// `Losses`.
pub const KIND_LOSSES: u16 = 0xff03;
/// The session is over: a bare [`Header`].
pub const KIND_END: u16 = 0xff04;
/// The session goes on in the next file: a bare [`Header`].
pub const KIND_CONTINUED: u16 = 0xff05;

/// Both clocks, the monotonic one in the header.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
struct Clock {
    header: Header,
    /// `CLOCK_REALTIME`, nanoseconds since the Unix epoch.
    wall_ns: i64,
}

/// What the kernel lost since the session began, as of the time in the header.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
struct Losses {
    header: Header,
    ring_full: u64,
    reentry: u64,
    unreadable: u64,
    evidence: u64,
}

/// What a row stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row<'a> {
    /// An input of the core.
    Input(Input<'a>),
    /// The session is over, at this time.
    End(u64),
    /// The session goes on in the next file, from this time on.
    Continued(u64),
    /// Something of a newer version's own, or cut short.
    Unknown,
}

fn own(kind: u16, mono_ns: u64) -> Header {
    Header {
        kind,
        flags: 0,
        cpu: 0,
        mono_ns,
        sk: 0,
    }
}

/// Appends a row to a batch.
pub fn push(batch: &mut Batch, row: Row<'_>) {
    match row {
        Row::Input(Input::Record(record)) => batch.push(record),
        Row::Input(Input::Tick(now_ns)) => batch.push(own(KIND_TICK, now_ns).as_bytes()),
        Row::Input(Input::Clock(clock)) => batch.push(
            Clock {
                header: own(KIND_CLOCK, clock.mono_ns),
                wall_ns: clock.wall_ns,
            }
            .as_bytes(),
        ),
        Row::Input(Input::Losses { lost, now_ns }) => batch.push(
            Losses {
                header: own(KIND_LOSSES, now_ns),
                ring_full: lost.ring_full,
                reentry: lost.reentry,
                unreadable: lost.unreadable,
                evidence: lost.evidence,
            }
            .as_bytes(),
        ),
        Row::End(now_ns) => batch.push(own(KIND_END, now_ns).as_bytes()),
        Row::Continued(now_ns) => batch.push(own(KIND_CONTINUED, now_ns).as_bytes()),
        Row::Unknown => {}
    }
}

/// What a row stands for.
pub fn parse(row: &[u8]) -> Row<'_> {
    parse_own_row(row).unwrap_or(Row::Input(Input::Record(row)))
}

/// What a row stands for that is no record. One too short for a kind is, for the decoder to judge.
pub fn parse_own_row(row: &[u8]) -> Option<Row<'static>> {
    let (kind, _) = u16::read_from_prefix(row).ok()?;
    (kind >= FIRST_OWN_KIND).then(|| parse_own(kind, row).unwrap_or(Row::Unknown))
}

fn parse_own(kind: u16, row: &[u8]) -> Option<Row<'static>> {
    let (header, _) = Header::read_from_prefix(row).ok()?;
    let now_ns = header.mono_ns;
    Some(match kind {
        KIND_TICK => Row::Input(Input::Tick(now_ns)),
        KIND_CLOCK => {
            let (clock, _) = Clock::read_from_prefix(row).ok()?;
            Row::Input(Input::Clock(ClockMap {
                mono_ns: now_ns,
                wall_ns: clock.wall_ns,
            }))
        }
        KIND_LOSSES => {
            let (losses, _) = Losses::read_from_prefix(row).ok()?;
            let lost = Lost {
                ring_full: losses.ring_full,
                reentry: losses.reentry,
                unreadable: losses.unreadable,
                evidence: losses.evidence,
                ..Lost::default()
            };
            Row::Input(Input::Losses { lost, now_ns })
        }
        KIND_END => Row::End(now_ns),
        KIND_CONTINUED => Row::Continued(now_ns),
        _ => return None,
    })
}

/// Whether a record is of a state transition.
pub fn is_transition(record: &[u8]) -> bool {
    u16::read_from_prefix(record).is_ok_and(|(kind, _)| kind == KIND_STATE)
}

/// What a block's head says of its rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Records and transitions.
    pub counts: Counts,
    /// Lowest time.
    pub first_ns: u64,
    /// Highest time.
    pub last_ns: u64,
}

/// Looks through rows for what a block's head says of them.
pub fn summary(rows: &Batch) -> Summary {
    let mut summary = Summary {
        first_ns: u64::MAX,
        ..Summary::default()
    };
    for row in rows.iter() {
        let kind = u16::read_from_prefix(row).map_or(0, |(kind, _)| kind);
        summary.counts.records += u64::from(kind < FIRST_OWN_KIND);
        summary.counts.transitions += u64::from(kind == KIND_STATE);
        if let Ok((header, _)) = Header::read_from_prefix(row) {
            summary.first_ns = summary.first_ns.min(header.mono_ns);
            summary.last_ns = summary.last_ns.max(header.mono_ns);
        }
    }
    if summary.first_ns > summary.last_ns {
        summary.first_ns = summary.last_ns;
    }
    summary
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back() {
        let lost = Lost {
            ring_full: 1,
            reentry: 2,
            unreadable: 3,
            undecodable: 0,
            damaged: 0,
            evidence: 5,
        };
        let clock = ClockMap {
            mono_ns: 5,
            wall_ns: -5,
        };
        let rows = [
            Row::Input(Input::Tick(7)),
            Row::Input(Input::Clock(clock)),
            Row::Input(Input::Losses { lost, now_ns: 6 }),
            Row::Input(Input::Record(b"\x01")),
            Row::End(9),
            Row::Continued(8),
        ];
        let mut batch = Batch::default();
        for row in rows {
            push(&mut batch, row);
        }
        let parsed: Vec<_> = batch.iter().map(parse).collect();
        assert_eq!(parsed, rows);
        let summary = summary(&batch);
        assert_eq!((summary.first_ns, summary.last_ns), (5, 9));
        assert_eq!(summary.counts.records, 1);
        for row in batch.iter().filter(|row| row.len() > 1) {
            for length in 2..row.len() {
                assert_eq!(parse(&row[..length]), Row::Unknown, "{length} bytes");
            }
        }
    }

    #[test]
    fn kinds_of_a_newer_version_are_skipped() {
        let header = own(0xff99, 1);
        assert_eq!(parse(header.as_bytes()), Row::Unknown);
    }
}
