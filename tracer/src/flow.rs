//! From records to output: decode, track, select what is shown, render. Knows no kernel and no clock.

use bytes::BytesMut;

use crate::decode::{decode, socket_of};
use crate::diagnose::{Sources, diagnose};
use crate::event::{Event, Evidence, EvidenceEvent, PolledEvent};
use crate::filter::Show;
use crate::hints::{self, At, Limits, STUCK_AFTER_NS, Told, Watch};
use crate::input::Input;
use crate::render::{Render, Shape};
use crate::session::{ClockMap, Lost, Missing, Session, Totals, Verdicts};
use crate::state::State;
use crate::track::{Connection, Continued, Ending, Mini, MiniEnd, Sink, Tracker, Transition};

/// All between a source of records and the bytes of an output format.
pub struct Flow<R> {
    tracker: Tracker,
    shown: Shown<R>,
    undecodable: u64,
    /// Losses as the kernel counts them.
    kernel_lost: Lost,
    /// Losses already told.
    lost: Lost,
    missing: Missing,
    started_ns: u64,
    /// With `--every`.
    interim: Option<Interim>,
}

/// When the output is to tell how things stand.
struct Interim {
    every_ns: u64,
    next_ns: u64,
}

impl Interim {
    /// Whether it is time to at `now_ns`; if so, the next is one of the times that are whole multiples of the
    /// pause after the start.
    fn is_due(&mut self, started_ns: u64, now_ns: u64) -> bool {
        let is_due = now_ns >= self.next_ns;
        if is_due {
            let pauses = now_ns.saturating_sub(started_ns) / self.every_ns.max(1) + 1;
            self.next_ns = started_ns.saturating_add(pauses.saturating_mul(self.every_ns));
        }
        is_due
    }
}

/// The tracker's sink: what passes is rendered.
struct Shown<R> {
    renderer: R,
    buffer: BytesMut,
    clock: ClockMap,
    show: Show,
    limit: Option<u64>,
    count: u64,
    /// When the transition happened that reached the limit.
    full_ns: Option<u64>,
    transitions: u64,
    /// Connections and listeners told of, or of which a transition was.
    connections: u64,
    unchanged: u64,
    aged_out: u64,
    verdicts: Verdicts,
    sources: Sources,
    /// With `--stuck`.
    watch: Option<Watch>,
    stuck_after_ns: u64,
    hints: u64,
}

/// How much later than the time of a record an earlier one of another CPU may still come.
const REORDERED_NS: u64 = 250_000_000;

impl<R: Render> Flow<R> {
    /// Writes the head of the output. `limit`: see [`Flow::is_done`].
    pub fn start(
        tracker: Tracker,
        renderer: R,
        show: Show,
        limit: Option<u64>,
        session: &Session,
        sources: Sources,
    ) -> Self {
        let mut shown = Shown {
            renderer,
            buffer: BytesMut::new(),
            clock: session.clock,
            show,
            limit,
            count: 0,
            full_ns: None,
            transitions: 0,
            connections: 0,
            unchanged: 0,
            aged_out: 0,
            verdicts: Verdicts::default(),
            sources,
            watch: None,
            stuck_after_ns: STUCK_AFTER_NS,
            hints: 0,
        };
        shown.renderer.start(&mut shown.buffer, session);
        Self {
            tracker,
            shown,
            undecodable: 0,
            kernel_lost: Lost::default(),
            lost: Lost::default(),
            missing: Missing::default(),
            started_ns: session.clock.mono_ns,
            interim: None,
        }
    }

    /// Has the output tell how things stand whenever so much time has passed: see [`Render::interim`].
    pub fn every(&mut self, every_ns: u64) {
        self.interim = Some(Interim {
            every_ns,
            next_ns: self.started_ns.saturating_add(every_ns),
        });
    }

    /// Tells of connections while they are stuck: those that are in a state for `after_ns`.
    /// `limits`: those of the machine, as far as they are known.
    pub fn watch(&mut self, after_ns: u64, limits: Limits) {
        self.shown.stuck_after_ns = after_ns;
        self.shown.watch = Some(Watch::new(after_ns, limits));
    }

    /// Takes note of what the recording does not hold, all of it that is known by now: the totals tell.
    pub fn set_missing(&mut self, missing: Missing) {
        self.missing = missing;
    }

    /// Takes in the next thing that happened.
    pub fn input(&mut self, input: Input<'_>) {
        match input {
            Input::Record(record) => self.record(record),
            Input::Clock(clock) => self.set_clock(clock),
            Input::Losses { lost, now_ns } => self.set_losses(lost, now_ns),
            Input::Tick(now_ns) => self.handle_timeout(now_ns),
        }
    }

    /// Reads what the records to come will need: see [`Tracker::warm`].
    pub fn warm<'a>(&self, records: impl Iterator<Item = &'a [u8]>) {
        self.tracker.warm(records.filter_map(socket_of));
    }

    fn record(&mut self, bytes: &[u8]) {
        match decode(bytes) {
            Ok(event) => {
                if self.shown.watch.is_some() {
                    self.tell_stuck(event.mono_ns().saturating_sub(REORDERED_NS));
                }
                self.tracker.handle(&event, &mut self.shown);
                match &event {
                    Event::Evidence(event) => self.tell_evidence(event),
                    Event::Polled(event) => self.tell_answered(event),
                    Event::State(_)
                    | Event::Accept(_)
                    | Event::Place(_)
                    | Event::Holder(_)
                    | Event::Socket(_) => {}
                }
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

    /// As many transitions (of [`Shape::Blocks`]: connections) were shown as asked for.
    pub fn is_done(&self) -> bool {
        self.shown.is_full()
    }

    /// Takes note of wall-clock time: a step against the monotonic clock is followed and told.
    fn set_clock(&mut self, clock: ClockMap) {
        if !self.shown.clock.agrees_with(&clock) {
            self.shown.clock = clock;
            self.shown
                .renderer
                .clock_changed(&mut self.shown.buffer, &clock);
        }
    }

    /// Takes the kernel's losses since the start, and tells what is new.
    fn set_losses(&mut self, kernel: Lost, now_ns: u64) {
        self.kernel_lost = kernel;
        let total = Lost {
            undecodable: self.undecodable,
            ..kernel
        };
        let new = total.since(&self.lost);
        if new == Lost::default() {
            return;
        }
        self.lost = total;
        self.tracker.handle_loss(new.total(), new.evidence);
        let shown = &mut self.shown;
        if let Some(watch) = &mut shown.watch
            && new.total() > 0
        {
            watch.lost(now_ns);
        }
        if let Some(watch) = &mut shown.watch
            && new.evidence > 0
        {
            watch.lost_evidence(now_ns);
        }
        shown
            .renderer
            .lost(&mut shown.buffer, &shown.clock, now_ns, &new);
    }

    /// Tells of the connections whose end is old enough to be explained. `now_ns` is a time up to which
    /// all records were taken in and all losses told.
    fn handle_timeout(&mut self, now_ns: u64) {
        self.set_losses(self.kernel_lost, now_ns);
        self.tracker.handle_timeout(now_ns, &mut self.shown);
        self.tell_stuck(now_ns);
        let started_ns = self.started_ns;
        if let Some(interim) = &mut self.interim
            && interim.is_due(started_ns, now_ns)
        {
            let totals = self.totals(now_ns);
            let shown = &mut self.shown;
            shown
                .renderer
                .interim(&mut shown.buffer, &shown.clock, now_ns, &totals);
        }
    }

    /// Shows what happened beside the states to an output that wants it, and tells what it hints at.
    fn tell_evidence(&mut self, event: &EvidenceEvent) {
        let shown = &mut self.shown;
        if shown.renderer.wants_evidence()
            && let Some(conn) = self.tracker.look(event.sk, event.mono_ns)
        {
            shown.renderer.evidence(conn, event);
        }
        let Some(watch) = &mut shown.watch else {
            return;
        };
        match event.what {
            Evidence::Retransmit { .. } => {
                if let Some(conn) = self.tracker.look(event.sk, event.mono_ns)
                    && let Some(told) = watch.retransmitted(conn, &shown.sources)
                {
                    shown.tell_of(conn, &told);
                }
            }
            Evidence::SynAckRetransmit { .. } => {
                let half_open = self.tracker.half_open(event);
                let told = half_open.map(|half_open| watch.half_open(&half_open));
                if shown.show == Show::default() {
                    for told in told.iter().flatten() {
                        shown.tell(told);
                    }
                }
            }
            Evidence::ResetReceived
            | Evidence::ResetSent { .. }
            | Evidence::SocketError { .. }
            | Evidence::RequestBorn { .. }
            | Evidence::Destroyed
            | Evidence::HandedOver { .. }
            | Evidence::MiniBorn { .. }
            | Evidence::MiniTimer { .. }
            | Evidence::MiniEnd { .. } => {}
        }
    }

    /// Tells what the kernel's answer hints at.
    fn tell_answered(&mut self, event: &PolledEvent) {
        let shown = &mut self.shown;
        if let Some(watch) = &mut shown.watch
            && let Some(conn) = self.tracker.look_polled(event)
        {
            for told in watch.answered(conn, &shown.sources, event.mono_ns) {
                shown.tell_of(conn, &told);
            }
        }
    }

    /// Tells of the connections that are in a state for too long at `now_ns`.
    fn tell_stuck(&mut self, now_ns: u64) {
        let shown = &mut self.shown;
        while let Some(due) = shown.watch.as_mut().and_then(|watch| watch.due(now_ns)) {
            let found = match &due.at {
                At::Socket(sk) => self.tracker.look(*sk, now_ns),
                At::Listed(ends) => {
                    let (netns, local, remote) = &**ends;
                    self.tracker.look_listed(*netns, local, remote, now_ns)
                }
                At::Mini(address) => self.tracker.look_mini(*address, now_ns),
            };
            let Some(conn) = found else { continue };
            let Some(watch) = &mut shown.watch else {
                return;
            };
            for told in watch.stuck(&due, conn, &shown.sources, now_ns) {
                shown.tell_of(conn, &told);
            }
        }
    }

    /// Tells of the connections that are still open, and writes the end.
    pub fn finish(&mut self, now_ns: u64) -> Totals {
        // What could not be decoded since the last tick was not told yet.
        self.set_losses(self.kernel_lost, now_ns);
        self.tracker.finish(now_ns, &mut self.shown);
        let totals = self.totals(now_ns);
        let shown = &mut self.shown;
        shown
            .renderer
            .end(&mut shown.buffer, &shown.clock, now_ns, &totals);
        totals
    }

    fn totals(&self, now_ns: u64) -> Totals {
        let stats = self.tracker.stats();
        Totals {
            events: stats.events,
            shown: self.shown.transitions,
            connections: self.shown.connections,
            unchanged: self.shown.unchanged,
            aged_out: self.shown.aged_out,
            recovered: stats.recovered,
            hints: self.shown.hints,
            unwatched: self.shown.watch.as_ref().map_or(0, Watch::unwatched),
            verdicts: self.shown.verdicts,
            lost: self.lost,
            missing: self.missing,
            duration_ns: now_ns.saturating_sub(self.started_ns),
        }
    }
}

impl<R: Render> Sink for Shown<R> {
    fn transition(&mut self, conn: &Connection, transition: &Transition) {
        let event = &transition.event;
        if let Some(watch) = &mut self.watch {
            watch.transition(conn, transition);
        }
        if !self.show.shows(event.from, event.to) || self.is_full() {
            return;
        }
        if self.renderer.shape() == Shape::Blocks {
            self.transitions += u64::from(self.limit.is_none());
        } else {
            self.transitions += 1;
            self.count += 1;
            if self.is_full() {
                self.full_ns = Some(event.mono_ns);
            }
        }
        self.renderer
            .transition(&mut self.buffer, &self.clock, conn, transition);
    }

    fn found(&mut self, conn: &Connection) {
        if let Some(watch) = &mut self.watch {
            watch.found(conn, conn.as_of_ns);
        }
    }

    fn continued(&mut self, conn: &Connection, change: &Continued) {
        if !self.is_after_the_limit(change.mono_ns) && self.show.shows(change.from, change.to) {
            self.renderer
                .continued(&mut self.buffer, &self.clock, conn, change);
        }
    }

    fn ended(&mut self, conn: &Connection, ending: Ending) {
        if let Some(watch) = &mut self.watch {
            watch.ended(conn);
        }
        if self.is_beyond_the_limit(conn) {
            return;
        }
        self.aged_out += u64::from(ending == Ending::AgedOut);
        if !self.shows_any_of(conn) {
            return;
        }
        self.connections += 1;
        self.unchanged += u64::from(conn.is_unchanged());
        match self.renderer.shape() {
            Shape::Blocks => {
                self.count += 1;
                if self.limit.is_some() {
                    // Those of the blocks alone: what else is read is not shown.
                    self.transitions += conn.steps.len().saturating_sub(1) as u64;
                }
            }
            // A remark on a transition, which is not shown.
            Shape::Lines if self.ended_after_the_last_line(conn) => return,
            Shape::Lines | Shape::Records => {}
        }
        let mut diagnosis = diagnose(conn, ending, &self.sources);
        diagnosis.hints = hints::at_end(conn, ending, &diagnosis, self.stuck_after_ns);
        self.verdicts.add(diagnosis.verdict);
        let (buffer, clock) = (&mut self.buffer, &self.clock);
        self.renderer
            .ended(buffer, clock, conn, &diagnosis, ending, conn.as_of_ns);
        if let Some(watch) = &mut self.watch {
            for told in watch.count_end(conn, ending, &diagnosis) {
                self.tell(&told);
            }
        }
    }
}

impl<R: Render> Shown<R> {
    /// Whether it was not looked at: another one was the last that was asked for, or all that happened to it
    /// happened after the last transition that was.
    fn is_beyond_the_limit(&self, conn: &Connection) -> bool {
        match self.renderer.shape() {
            Shape::Blocks => self.is_full(),
            Shape::Lines | Shape::Records => {
                let mut changes = conn.steps.iter().skip(1);
                let first = changes
                    .next()
                    .or(conn.steps.first().filter(|_| !conn.is_unchanged()));
                first
                    .and_then(|step| step.since_ns)
                    .is_some_and(|first_ns| self.is_after_the_limit(first_ns))
            }
        }
    }

    /// Tells a hint about a connection, unless it is not shown.
    fn tell_of(&mut self, conn: &Connection, told: &Told) {
        if self.shows_any_of(conn) {
            self.tell(told);
        }
    }

    fn tell(&mut self, told: &Told) {
        if !self.is_full() {
            self.hints += 1;
            self.renderer.hint(&mut self.buffer, &self.clock, told);
        }
    }
}

impl<R> Shown<R> {
    /// As many were shown as asked for.
    fn is_full(&self) -> bool {
        self.limit.is_some_and(|limit| self.count >= limit)
    }

    /// Whether what happened then happened after the last transition that was asked for.
    fn is_after_the_limit(&self, mono_ns: u64) -> bool {
        self.full_ns.is_some_and(|full_ns| mono_ns > full_ns)
    }

    fn ended_after_the_last_line(&self, conn: &Connection) -> bool {
        let ended_ns = conn.steps.last().and_then(|last| last.since_ns);
        self.full_ns
            .is_some_and(|full_ns| ended_ns.is_none_or(|ended_ns| ended_ns > full_ns))
    }

    fn shows_any_of(&self, conn: &Connection) -> bool {
        let mut changes = conn.steps.iter().zip(conn.steps.iter().skip(1));
        self.show == Show::default()
            || changes.any(|(from, to)| {
                let is_late = to
                    .since_ns
                    .is_some_and(|since_ns| self.is_after_the_limit(since_ns));
                !is_late && self.show.shows(from.state, to.state)
            })
            || (conn.evidence.after.mini()).is_some_and(|mini| self.shows_any_after(&mini))
            || (conn.sk == 0 && self.show.shows(State::Listen, State::SynReceived))
    }

    fn shows_any_after(&self, mini: &Mini) -> bool {
        let is_early = |mono_ns| !self.is_after_the_limit(mono_ns);
        let time_wait = mini.state == State::TimeWait && mini.time_wait_ns.is_none_or(is_early);
        let end = matches!(mini.end, MiniEnd::At(end_ns) if is_early(end_ns));
        (time_wait && self.show.shows(State::FinWait2, State::TimeWait))
            || (end && self.show.shows(mini.state, State::Closed))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use jiff::tz::TimeZone;

    use super::*;
    use crate::event::{Endpoint, Family, Protocol};
    use crate::render::{Format, RenderOptions, Renderer};
    use crate::state::Names;
    use crate::track::{ConnId, Owner, OwnerSource, Role, Step};

    fn shown(format: Format, show: Show, limit: Option<u64>) -> Shown<Renderer> {
        let options = RenderOptions {
            names: Names::Documented,
            color: false,
            time_zone: TimeZone::UTC,
            width: None,
        };
        Shown {
            renderer: Renderer::new(format, options),
            buffer: BytesMut::new(),
            clock: ClockMap {
                mono_ns: 0,
                wall_ns: 0,
            },
            show,
            limit,
            count: 0,
            full_ns: None,
            transitions: 0,
            connections: 0,
            unchanged: 0,
            aged_out: 0,
            verdicts: Verdicts::default(),
            sources: Sources {
                counts: true,
                ..Sources::default()
            },
            watch: None,
            stuck_after_ns: STUCK_AFTER_NS,
            hints: 0,
        }
    }

    fn refused() -> Connection {
        let nowhere = Endpoint {
            addr: Ipv4Addr::UNSPECIFIED.into(),
            port: 0,
        };
        let step = |state, since_ns| Step { state, since_ns };
        Connection {
            id: ConnId(1),
            sk: 1,
            netns: None,
            family: Family::Inet,
            protocol: Protocol::Tcp,
            local: nowhere,
            remote: nowhere,
            role: Role::Client,
            owner: Owner {
                pid: None,
                comm: None,
                source: OwnerSource::Unknown,
            },
            owner_process: crate::track::OwnerProcess::default(),
            steps: vec![
                step(State::Closed, None),
                step(State::SynSent, Some(1)),
                step(State::Closed, Some(3)),
            ],
            from_birth: true,
            gap: crate::track::Gap::None,
            in_doubt: false,
            holders: None,
            socket_place: None,
            listed_ns: None,
            evidence: crate::track::Gathered::default(),
            as_of_ns: 3,
        }
    }

    #[test]
    fn an_end_is_shown_where_one_of_the_transitions_is() {
        for (from, lines) in [(State::SynSent, 1), (State::Established, 0)] {
            let show = Show {
                states: Vec::new(),
                transitions: vec![(Some(from), None)],
            };
            let mut shown = shown(Format::Jsonl, show, None);
            shown.ended(&refused(), Ending::Closed);
            assert_eq!(shown.verdicts.unknown, lines, "from {from}");
            assert_eq!(shown.buffer.is_empty(), lines == 0, "from {from}");
        }
    }

    #[test]
    fn a_limit_counts_connections_only_in_a_timeline() {
        for (format, told) in [(Format::Timeline, 1), (Format::Csv, 3)] {
            let mut shown = shown(format, Show::default(), Some(1));
            for _ in 0..3 {
                shown.ended(&refused(), Ending::Closed);
            }
            assert_eq!(shown.verdicts.unknown, told, "{format}");
        }
    }

    #[test]
    fn what_comes_after_the_limit_is_not_counted() {
        let mut blocks = shown(Format::Timeline, Show::default(), Some(2));
        for _ in 0..5 {
            blocks.ended(&refused(), Ending::Closed);
        }
        assert_eq!((blocks.connections, blocks.transitions), (2, 4));
        for (format, full_ns, counted) in [
            (Format::Text, None, 1),
            (Format::Jsonl, Some(1), 1),
            (Format::Jsonl, Some(0), 0),
            (Format::Text, Some(0), 0),
        ] {
            let mut shown = shown(format, Show::default(), Some(1));
            shown.full_ns = full_ns;
            shown.ended(&refused(), Ending::Closed);
            assert_eq!(shown.connections, counted, "{format} {full_ns:?}");
        }
    }

    #[test]
    fn only_connections_that_are_told_of_are_counted() {
        let from = |state| Show {
            states: Vec::new(),
            transitions: vec![(Some(state), None)],
        };
        let all = Show::default;
        let mut changed = refused();
        changed.listed_ns = Some(0);
        let mut unchanged = changed.clone();
        unchanged.steps.truncate(1);
        let formats = [Format::Text, Format::Jsonl, Format::Csv];
        for (conn, show, full_ns, counted) in [
            (&refused(), from(State::SynSent), None, (1, 0)),
            (&refused(), from(State::Established), None, (0, 0)),
            // The second transition is the one that is asked for.
            (&refused(), from(State::SynSent), Some(2), (0, 0)),
            (&refused(), from(State::SynSent), Some(3), (1, 0)),
            (&refused(), all(), Some(1), (1, 0)),
            (&changed, all(), Some(1), (1, 0)),
            (&changed, all(), Some(0), (0, 0)),
            (&unchanged, all(), Some(0), (1, 1)),
            (&unchanged, from(State::Closed), None, (0, 0)),
        ] {
            for format in formats {
                let mut shown = shown(format, show.clone(), Some(1));
                shown.full_ns = full_ns;
                shown.ended(conn, Ending::StillOpen);
                let found = (shown.connections, shown.unchanged);
                assert_eq!(
                    found, counted,
                    "{format} {full_ns:?} {conn:?} {:?}",
                    shown.show
                );
                let is_written = format != Format::Text && counted.0 > 0;
                assert!(format == Format::Text || is_written != shown.buffer.is_empty());
            }
        }
    }

    #[test]
    fn a_remark_belongs_to_the_lines_before_the_limit() {
        let conn = refused();
        for (full_ns, told) in [(None, 1), (Some(2), 0), (Some(3), 1)] {
            let mut shown = shown(Format::Text, Show::default(), Some(1));
            shown.full_ns = full_ns;
            shown.ended(&conn, Ending::Closed);
            assert_eq!(shown.verdicts.unknown, told, "full at {full_ns:?}");
        }
    }

    #[test]
    fn interim_outputs_keep_to_the_multiples_of_their_pause() {
        let mut interim = Interim {
            every_ns: 10,
            next_ns: 110,
        };
        let mut is_due = |now_ns| interim.is_due(100, now_ns);
        assert!(!is_due(109));
        assert!(is_due(113));
        assert!(!is_due(119));
        assert!(is_due(120));
        // After a standstill there is one, not one for each that was missed.
        assert!(is_due(177));
        assert!(!is_due(179));
        assert!(is_due(180));
    }
}
