//! One block per connection when it ends: its states, when each began and how long it lasted.
//!
//! The bars put the states on one axis from the first to the last moment of the connection: `=` fills
//! each twenty-fourth a state lasted all through, `|` marks one it lasted for a part of. There are
//! none where a beginning or the end is not known.

use std::fmt::Write;

use bytes::{BufMut, BytesMut};

use super::time::{LocalClock, human};
use super::vocab::{self, endpoint, push_note, push_owner, push_transition_notes, put_state};
use super::{Render, RenderOptions, remark, unseen};
use crate::event::Protocol;
use crate::session::{ClockMap, Lost, Session, Totals};
use crate::state::{Names, legality};
use crate::track::{Connection, Ending, OwnerSource, Role, Step, Transition};

const LEGEND: &str =
    "# each state: when it began, how long it lasted (>: at least; ?: not known)\n\n";

const BAR_CELLS: u64 = 24;
const OFFSET_COLUMNS: usize = "+999.9ms".len();
const DURATION_COLUMNS: usize = ">999.9ms".len();

/// Renders [`super::Format::Timeline`].
#[derive(Debug)]
pub struct Timeline {
    names: Names,
    color: bool,
    local_clock: LocalClock,
    clock: Option<ClockMap>,
}

/// A life to be shown: the steps from the birth on, where that was seen.
struct Life<'a> {
    conn: &'a Connection,
    steps: &'a [Step],
    /// When the first step with a known beginning began.
    zero_ns: Option<u64>,
    /// When the last step ended, or the trace.
    end_ns: Option<u64>,
    ending: Ending,
}

/// How long a state lasted, as far as it is known.
#[derive(Clone, Copy)]
enum Lasted {
    Exactly(u64),
    AtLeast(u64),
    NotKnown,
    /// The connection is over: there is nothing to measure.
    Over,
}

impl<'a> Life<'a> {
    fn new(conn: &'a Connection, ending: Ending, now_ns: u64) -> Self {
        let steps = match conn.steps.as_slice() {
            // What a socket was before its first transition is no part of the connection.
            [before, rest @ ..] if conn.from_birth && before.since_ns.is_none() => rest,
            all => all,
        };
        let end_ns = match ending {
            Ending::Closed => steps.last().and_then(|last| last.since_ns),
            Ending::EndUnseen => None,
            Ending::AgedOut | Ending::StillOpen => Some(now_ns),
        };
        let zero_ns = steps.iter().find_map(|step| step.since_ns);
        Self {
            conn,
            steps,
            zero_ns,
            end_ns,
            ending,
        }
    }

    fn lasted(&self, index: usize) -> Lasted {
        let Some(step) = self.steps.get(index) else {
            return Lasted::NotKnown;
        };
        let next = self.steps.get(index + 1);
        let until_ns = match (next, self.ending) {
            (Some(next), _) => next.since_ns,
            (None, Ending::Closed) => return Lasted::Over,
            (None, _) => self.end_ns,
        };
        let (Some(since_ns), Some(until_ns)) = (step.since_ns, until_ns) else {
            return Lasted::NotKnown;
        };
        let ns = until_ns.saturating_sub(since_ns);
        let Connection { role, protocol, .. } = *self.conn;
        match next {
            Some(next) if !unseen::is_minimum(role, protocol, step.state, next.state) => {
                Lasted::Exactly(ns)
            }
            _ => Lasted::AtLeast(ns),
        }
    }

    /// From the first moment to the last, if both are known and all steps between.
    fn whole_ns(&self) -> Option<u64> {
        let begin_ns = self.steps.first()?.since_ns?;
        let known = self.steps.iter().all(|step| step.since_ns.is_some());
        known.then_some(self.end_ns?.saturating_sub(begin_ns))
    }

    fn bar(&self, index: usize) -> Option<String> {
        let whole = u128::from(self.whole_ns()?);
        let (zero_ns, step) = (self.zero_ns?, self.steps.get(index)?);
        let next = self.steps.get(index + 1);
        if matches!(self.lasted(index), Lasted::Over) || self.steps.len() < 2 {
            return None;
        }
        let until_ns = next.map_or(self.end_ns, |next| next.since_ns)?;
        // Everything times BAR_CELLS, so that the bounds of the cells are whole numbers.
        let scaled = |ns: u64| u128::from(ns.saturating_sub(zero_ns)) * u128::from(BAR_CELLS);
        let (begin, end) = (scaled(step.since_ns?), scaled(until_ns));
        let cells = (0..u128::from(BAR_CELLS)).map(|cell| {
            let (left, right) = (cell * whole, (cell + 1) * whole);
            if begin <= left && right <= end {
                '='
            } else if begin < right && left < end {
                '|'
            } else {
                ' '
            }
        });
        Some(cells.collect())
    }
}

impl Timeline {
    /// With nothing shown yet.
    pub fn new(options: RenderOptions) -> Self {
        Self {
            names: options.names,
            color: options.color,
            local_clock: LocalClock::new(options.time_zone),
            clock: None,
        }
    }

    fn put_title(&self, out: &mut BytesMut, conn: &Connection) {
        let mut title = format!("#{} {}  ", conn.id.0, vocab::role(conn.role));
        push_owner(&mut title, &conn.owner);
        if conn.owner.source != OwnerSource::Unknown {
            let _ = write!(title, " by {}", vocab::owner_source(conn.owner.source));
        }
        let _ = write!(title, "  {}", endpoint(conn.local, true));
        let arrow = match conn.role {
            Role::Client => "->",
            Role::Server => "<-",
            Role::Both => "<->",
            Role::Listener | Role::Unknown => "--",
        };
        if conn.role != Role::Listener {
            let _ = write!(title, " {arrow} {}", endpoint(conn.remote, true));
        }
        if conn.protocol != Protocol::Tcp {
            let _ = write!(title, "  protocol {}", vocab::protocol(conn.protocol));
        }
        if let Some(netns) = conn.netns {
            let _ = write!(title, "  netns {netns}");
        }
        let style = if self.color {
            anstyle::Style::new().bold()
        } else {
            anstyle::Style::new()
        };
        let _ = writeln!(out, "{style}{title}{style:#}");
    }

    fn put_step(&self, out: &mut BytesMut, life: &Life<'_>, index: usize, name_columns: usize) {
        let Some(step) = life.steps.get(index) else {
            return;
        };
        let began = match (step.since_ns, life.zero_ns) {
            (Some(since_ns), Some(zero_ns)) if since_ns == zero_ns => "+0".to_owned(),
            (Some(since_ns), Some(zero_ns)) => {
                format!("+{}", human(since_ns.saturating_sub(zero_ns)))
            }
            _ => "?".to_owned(),
        };
        let lasted = match life.lasted(index) {
            Lasted::Exactly(ns) => human(ns).to_string(),
            Lasted::AtLeast(ns) => format!(">{}", human(ns)),
            Lasted::NotKnown => "?".to_owned(),
            Lasted::Over => String::new(),
        };
        let name = vocab::state(step.state, self.names).to_string();
        let padding = name_columns.saturating_sub(name.len());
        let mut row = format!("{:padding$}  {lasted:>DURATION_COLUMNS$}", "");
        if let Some(bar) = life.bar(index) {
            let _ = write!(row, "  [{bar}]");
        }
        let notes = self.notes(life, index, step);
        if !notes.is_empty() {
            let _ = write!(row, "  {notes}");
        }
        let _ = write!(out, "  {began:>OFFSET_COLUMNS$}  ");
        put_state(out, &name, step.state, self.color);
        let _ = writeln!(out, "{}", row.trim_end());
    }

    fn notes(&self, life: &Life<'_>, index: usize, step: &Step) -> String {
        let mut notes = String::new();
        let before = index
            .checked_sub(1)
            .and_then(|before| life.steps.get(before));
        match before {
            None if step.since_ns.is_none() => push_note(&mut notes, "since before the trace"),
            None => {}
            Some(_) if step.since_ns.is_none() => push_note(&mut notes, "entered in a gap"),
            Some(before) => {
                let protocol = life.conn.protocol;
                let (from, to) = (before.state, step.state);
                let legality = legality(protocol, from, to);
                push_transition_notes(&mut notes, protocol, from, to, legality, self.names);
            }
        }
        notes
    }

    fn put_ending(out: &mut BytesMut, life: &Life<'_>) {
        let text = match life.ending {
            Ending::Closed => "socket closed",
            Ending::EndUnseen => "end not seen: the kernel used the socket for another connection",
            Ending::AgedOut => "forgotten to stay within --max-connections; end not seen",
            Ending::StillOpen => "still open when the trace ended",
        };
        let _ = write!(out, "  {text}");
        if let (Some(zero_ns), Some(end_ns)) = (life.zero_ns, life.end_ns) {
            let from = if life.conn.from_birth {
                "the beginning"
            } else {
                "the first transition seen"
            };
            let _ = write!(
                out,
                ", {} after {from}",
                human(end_ns.saturating_sub(zero_ns))
            );
        }
        if life.conn.has_gap {
            out.put_slice(b"; at least one transition was not seen");
        }
        out.put_slice(b"\n\n");
    }
}

impl Render for Timeline {
    fn start(&mut self, out: &mut BytesMut, session: &Session) {
        self.clock = Some(session.clock);
        out.put_slice(LEGEND.as_bytes());
    }

    fn transition(
        &mut self,
        _out: &mut BytesMut,
        _clock: &ClockMap,
        _conn: &Connection,
        _transition: &Transition,
    ) {
    }

    fn ended(
        &mut self,
        out: &mut BytesMut,
        clock: &ClockMap,
        conn: &Connection,
        ending: Ending,
        now_ns: u64,
    ) {
        let life = Life::new(conn, ending, now_ns);
        self.put_title(out, conn);
        if let Some(zero_ns) = life.zero_ns {
            let (day, time) = self.local_clock.format(clock.wall_ns(zero_ns));
            let _ = writeln!(out, "  {:>OFFSET_COLUMNS$}  {time}  {day}", "+0 =");
        }
        let name_columns = life
            .steps
            .iter()
            .map(|step| vocab::state(step.state, self.names).to_string().len())
            .max()
            .unwrap_or_default();
        for index in 0..life.steps.len() {
            self.put_step(out, &life, index, name_columns);
        }
        Self::put_ending(out, &life);
    }

    fn clock_changed(&mut self, out: &mut BytesMut, clock: &ClockMap) {
        remark::clock_step(out, self.clock.replace(*clock), clock);
    }

    fn lost(&mut self, out: &mut BytesMut, clock: &ClockMap, now_ns: u64, since_last: &Lost) {
        let (day, time) = self.local_clock.format(clock.wall_ns(now_ns));
        remark::lost(out, &format!("{time}  {day}"), since_last);
    }

    fn end(&mut self, _out: &mut BytesMut, _clock: &ClockMap, _now_ns: u64, _totals: &Totals) {}
}
