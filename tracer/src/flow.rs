//! From records to output: decode, track, select what is shown, render. Knows no kernel and no clock.

use bytes::BytesMut;

use crate::decode::decode;
use crate::filter::Show;
use crate::render::{Format, Render as _, Renderer};
use crate::session::{ClockMap, Lost, Session, Totals};
use crate::track::{Connection, Ending, Sink, Tracker, Transition};

/// All between a source of records and the bytes of an output format.
pub struct Flow {
    tracker: Tracker,
    shown: Shown,
    undecodable: u64,
    /// Losses already told.
    lost: Lost,
    started_ns: u64,
}

/// The tracker's sink: what passes is rendered.
struct Shown {
    renderer: Renderer,
    buffer: BytesMut,
    clock: ClockMap,
    show: Show,
    /// Units are connections, not transitions.
    by_connection: bool,
    limit: u64,
    count: u64,
    transitions: u64,
}

impl Flow {
    /// Writes the head of the output. `limit`: see [`Flow::is_done`].
    pub fn start(
        tracker: Tracker,
        renderer: Renderer,
        format: Format,
        show: Show,
        limit: Option<u64>,
        session: &Session,
    ) -> Self {
        let mut shown = Shown {
            renderer,
            buffer: BytesMut::new(),
            clock: session.clock,
            show,
            by_connection: format == Format::Timeline,
            limit: limit.unwrap_or(u64::MAX),
            count: 0,
            transitions: 0,
        };
        shown.renderer.start(&mut shown.buffer, session);
        Self {
            tracker,
            shown,
            undecodable: 0,
            lost: Lost::default(),
            started_ns: session.clock.mono_ns,
        }
    }

    /// Takes one record of the ring buffer.
    pub fn record(&mut self, bytes: &[u8]) {
        match decode(bytes) {
            Ok(event) => {
                self.tracker.handle(&event, &mut self.shown);
            }
            Err(error) => {
                log::debug!("{error}");
                self.undecodable += 1;
            }
        }
    }

    /// What is to be written; the caller takes it out.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.shown.buffer
    }

    /// As many transitions (in a timeline: connections) were shown as asked for.
    pub fn is_done(&self) -> bool {
        self.shown.count >= self.shown.limit
    }

    /// Takes note of wall-clock time: a step against the monotonic clock of more than a millisecond is
    /// followed and told.
    pub fn set_clock(&mut self, clock: ClockMap) {
        const STEP_NS: u64 = 1_000_000;
        let expected = self.shown.clock.wall_ns(clock.mono_ns);
        if expected.abs_diff(clock.wall_ns) > STEP_NS {
            self.shown.clock = clock;
            self.shown
                .renderer
                .clock_changed(&mut self.shown.buffer, &clock);
        }
    }

    /// Takes the kernel's losses since the start, and tells what is new.
    pub fn set_losses(&mut self, kernel: Lost, now_ns: u64) {
        let total = Lost {
            undecodable: self.undecodable,
            ..kernel
        };
        let new = Lost {
            ring_full: total.ring_full.saturating_sub(self.lost.ring_full),
            reentry: total.reentry.saturating_sub(self.lost.reentry),
            unreadable: total.unreadable.saturating_sub(self.lost.unreadable),
            undecodable: total.undecodable.saturating_sub(self.lost.undecodable),
        };
        if new.total() == 0 {
            return;
        }
        self.lost = total;
        self.tracker.handle_loss(new.total());
        let shown = &mut self.shown;
        shown
            .renderer
            .lost(&mut shown.buffer, &shown.clock, now_ns, &new);
    }

    /// Tells of the connections whose end is old enough to be explained. `now_ns` is a time up to which
    /// all records were taken in and all losses told.
    pub fn handle_timeout(&mut self, now_ns: u64) {
        self.tracker.handle_timeout(now_ns, &mut self.shown);
    }

    /// Tells of the connections that are still open, and writes the end.
    pub fn finish(&mut self, now_ns: u64) -> Totals {
        self.tracker.finish(now_ns, &mut self.shown);
        let stats = self.tracker.stats();
        let totals = Totals {
            events: stats.events,
            shown: self.shown.transitions,
            connections: stats.connections,
            aged_out: stats.aged_out,
            recovered: stats.recovered,
            lost: self.lost,
            duration_ns: now_ns.saturating_sub(self.started_ns),
        };
        let shown = &mut self.shown;
        shown
            .renderer
            .end(&mut shown.buffer, &shown.clock, now_ns, &totals);
        totals
    }
}

impl Sink for Shown {
    fn transition(&mut self, conn: &Connection, transition: &Transition) {
        let event = &transition.event;
        if !self.show.shows(event.from, event.to) || self.count >= self.limit {
            return;
        }
        self.transitions += 1;
        if !self.by_connection {
            self.count += 1;
        }
        self.renderer
            .transition(&mut self.buffer, &self.clock, conn, transition);
    }

    fn ended(&mut self, conn: &Connection, ending: Ending) {
        if self.by_connection {
            if self.count >= self.limit || !self.shows_any_of(conn) {
                return;
            }
            self.count += 1;
        }
        self.renderer
            .ended(&mut self.buffer, &self.clock, conn, ending, conn.as_of_ns);
    }
}

impl Shown {
    fn shows_any_of(&self, conn: &Connection) -> bool {
        self.show == Show::default()
            || conn
                .steps
                .iter()
                .zip(conn.steps.iter().skip(1))
                .any(|(from, to)| self.show.shows(from.state, to.state))
    }
}
