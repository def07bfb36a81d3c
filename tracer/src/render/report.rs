//! A run as one HTML page to look at: self-contained, without network, `docs/architecture.md` says why so.
//!
//! The page is written when the run ends; until then connections are kept in memory, at most
//! [`LISTED_MAX`] of them. Beyond that the failed go before the others, and among equals an even sample is
//! kept, not the first or the last. Counts, the diagram and the histograms are of all.
//!
//! Whatever a process or a peer can choose reaches the page only as JSON in a block that is not executed,
//! and from there the document only as text. The page's policy lets nothing run but its own script, by
//! its hash, and forbids the script itself to make markup of strings.

use bytes::BytesMut;

use super::Render;
use crate::diagnose::Diagnosis;
use crate::hints::Told;
use crate::session::{ClockMap, Lost, Session, Totals};
use crate::track::{Connection, Ending, Transition};

mod data;
mod page;
mod rows;
mod sample;
mod stats;

use sample::Sample;
use stats::Stats;

/// Connections and listeners that a report lists one by one.
pub const LISTED_MAX: usize = 20_000;

/// Losses, changes of the clock and hints about many connections that are told one by one.
const REMARKS_MAX: usize = 1_000;

/// Renders a run as one HTML page, written by [`Render::end`].
#[derive(Debug)]
pub struct Report {
    session: Option<Session>,
    kept: Sample,
    stats: Stats,
    losses: Vec<Loss>,
    /// Hints about many connections at once; those about one stand with it.
    hints: Vec<Told>,
    clocks: Vec<ClockMap>,
    /// Changes of the clock beyond those kept.
    clocks_untold: u64,
}

/// Events lost in a stretch of time.
#[derive(Clone, Copy, Debug)]
struct Loss {
    /// Since when: the start of the run, or the end of the stretch before.
    from_ns: u64,
    until_ns: u64,
    lost: Lost,
}

impl Default for Report {
    fn default() -> Self {
        Self::listing(LISTED_MAX)
    }
}

impl Report {
    /// A report that lists at most so many connections one by one.
    pub fn listing(connections_max: usize) -> Self {
        Self {
            session: None,
            kept: Sample::new(connections_max),
            stats: Stats::default(),
            losses: Vec::new(),
            hints: Vec::new(),
            clocks: Vec::new(),
            clocks_untold: 0,
        }
    }
}

impl Render for Report {
    fn start(&mut self, _out: &mut BytesMut, session: &Session) {
        self.clocks.push(session.clock);
        self.session = Some(session.clone());
    }

    fn transition(
        &mut self,
        _out: &mut BytesMut,
        _clock: &ClockMap,
        conn: &Connection,
        transition: &Transition,
    ) {
        self.stats.begin(conn, transition);
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
        self.stats.add(conn, diagnosis, ending, now_ns);
        self.kept.offer(conn, diagnosis, ending, now_ns);
    }

    fn hint(&mut self, _out: &mut BytesMut, _clock: &ClockMap, told: &Told) {
        if told.conn.is_none() && self.hints.len() < REMARKS_MAX {
            self.hints.push(told.clone());
        }
    }

    fn clock_changed(&mut self, _out: &mut BytesMut, clock: &ClockMap) {
        if self.clocks.len() < REMARKS_MAX {
            self.clocks.push(*clock);
        } else {
            self.clocks_untold += 1;
        }
    }

    fn lost(&mut self, _out: &mut BytesMut, _clock: &ClockMap, now_ns: u64, since_last: &Lost) {
        let started_ns = self
            .session
            .as_ref()
            .map_or(0, |session| session.clock.mono_ns);
        let from_ns = self.losses.last().map_or(started_ns, |last| last.until_ns);
        self.losses.push(Loss {
            from_ns,
            until_ns: now_ns,
            lost: *since_last,
        });
        if self.losses.len() > REMARKS_MAX {
            self.losses = coarser(&self.losses);
        }
    }

    fn end(&mut self, out: &mut BytesMut, _clock: &ClockMap, now_ns: u64, totals: &Totals) {
        let mut report = std::mem::take(self);
        if let Some(session) = report.session.take() {
            let data = data::json(report, &session, now_ns, totals);
            page::write(out, &session, totals, &data);
        }
    }
}

/// Neighbours together: half as many stretches, the same losses.
fn coarser(losses: &[Loss]) -> Vec<Loss> {
    losses
        .chunks(2)
        .filter_map(|pair| {
            let (first, last) = (pair.first()?, pair.last()?);
            let rest = pair.iter().skip(1);
            let lost = rest.fold(first.lost, |sum, loss| sum.plus(&loss.lost));
            Some(Loss {
                from_ns: first.from_ns,
                until_ns: last.until_ns,
                lost,
            })
        })
        .collect()
}
