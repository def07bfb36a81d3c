//! One line per transition for terminals in which the columns of [`super::text`] have no room: whose
//! connection it is and between whom stands in a line above, once for all lines that follow each other.

use std::fmt::Write;

use bytes::{BufMut, BytesMut};

use super::fold::fold;
use super::plain::{columns, push_plain};
use super::text::{HINT_LEGEND, LEGEND, push_change, push_duration, push_notes};
use super::time::{LocalClock, LocalDay};
use super::vocab::{arrow, endpoint, others, push_owner, put_hint, put_state, put_verdict, state};
use super::{RenderOptions, remark};
use crate::diagnose::Diagnosis;
use crate::event::Endpoint;
use crate::hints::Told;
use crate::session::{ClockMap, Lost, Session};
use crate::state::{Names, State};
use crate::track::{ConnId, Connection, Continued, Owner, Role, Transition};

const TIME_COLUMNS: usize = "03:04:05.123456".len();
const DURATION_COLUMNS: usize = ">999.9ms".len();

/// See [`super::Text`], which hands on to this.
#[derive(Debug)]
pub(super) struct Headed {
    names: Names,
    color: bool,
    width: Option<usize>,
    local_clock: LocalClock,
    day: Option<LocalDay>,
    clock: Option<ClockMap>,
    /// Of the first line; shown in those of others.
    first_netns: Option<Netns>,
    /// The last line that says whose the lines below are.
    heading: String,
    state_columns: usize,
    hinted: bool,
}

/// Inode number of a network namespace, where it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Netns(Option<u32>);

/// What a heading says.
struct About<'a> {
    conn: Option<ConnId>,
    owner: &'a Owner,
    /// Processes that hold it beside the owner.
    others: usize,
    role: Role,
    netns: Option<u32>,
    local: Option<Endpoint>,
    local_port_known: bool,
    remote: Option<Endpoint>,
}

impl<'a> About<'a> {
    fn connection(conn: &'a Connection) -> Self {
        Self {
            conn: Some(conn.id),
            owner: &conn.owner,
            others: others(conn),
            role: conn.role,
            netns: conn.netns,
            local: Some(conn.local),
            local_port_known: true,
            remote: Some(conn.remote),
        }
    }
}

impl Headed {
    pub(super) fn new(options: RenderOptions) -> Self {
        let RenderOptions {
            names,
            color,
            time_zone,
            width,
        } = options;
        Self {
            names,
            color,
            width,
            local_clock: LocalClock::new(time_zone),
            day: None,
            clock: None,
            first_netns: None,
            heading: String::new(),
            state_columns: super::text::state_columns(names),
            hinted: false,
        }
    }

    pub(super) fn start(&mut self, out: &mut BytesMut, session: &Session) {
        let start = out.len();
        self.clock = Some(session.clock);
        self.day(out, session.clock.wall_ns);
        out.put_slice(LEGEND.as_bytes());
        self.columns(out);
        fold(out, start, self.width);
    }

    /// Goes on where columns gave way.
    pub(super) fn take_over(
        &mut self,
        out: &mut BytesMut,
        day: Option<LocalDay>,
        clock: Option<ClockMap>,
        hinted: bool,
    ) {
        self.day = day;
        self.clock = clock;
        self.hinted = hinted;
        self.columns(out);
    }

    /// The names of the columns.
    fn columns(&self, out: &mut BytesMut) {
        let (style, states) = (self.bold(), self.state_columns);
        let _ = writeln!(
            out,
            "{style}{:TIME_COLUMNS$}  {:states$} -> {:states$}  {:>DURATION_COLUMNS$}{style:#}",
            "TIME", "OLD", "NEW", "IN OLD",
        );
    }

    pub(super) fn transition(
        &mut self,
        out: &mut BytesMut,
        clock: &ClockMap,
        conn: &Connection,
        transition: &Transition,
    ) {
        let start = out.len();
        let event = &transition.event;
        let wall_ns = clock.wall_ns(event.mono_ns);
        self.day(out, wall_ns);
        self.heading(
            out,
            &About {
                conn: Some(conn.id),
                owner: &conn.owner,
                others: others(conn),
                role: conn.role,
                netns: event.netns,
                local: Some(event.local),
                local_port_known: event.local_port_known,
                remote: Some(event.remote),
            },
        );
        let (mut duration, mut notes) = (String::new(), String::new());
        push_duration(&mut duration, conn, transition);
        push_notes(&mut notes, conn, transition, self.names);
        self.row(out, wall_ns, (event.from, event.to), &duration, &notes);
        fold(out, start, self.width);
    }

    pub(super) fn continued(
        &mut self,
        out: &mut BytesMut,
        clock: &ClockMap,
        conn: &Connection,
        change: &Continued,
    ) {
        let start = out.len();
        let wall_ns = clock.wall_ns(change.mono_ns);
        self.day(out, wall_ns);
        self.heading(out, &About::connection(conn));
        let (mut duration, mut notes) = (String::new(), String::new());
        push_change(&mut duration, &mut notes, change);
        self.row(out, wall_ns, (change.from, change.to), &duration, &notes);
        fold(out, start, self.width);
    }

    fn row(
        &mut self,
        out: &mut BytesMut,
        wall_ns: i64,
        (from, to): (State, State),
        duration: &str,
        notes: &str,
    ) {
        out.put_slice(self.local_clock.format(wall_ns).1.as_bytes());
        out.put_slice(b"  ");
        self.put_state(out, from);
        out.put_slice(b" -> ");
        self.put_state(out, to);
        let _ = write!(out, "  {duration:>DURATION_COLUMNS$}");
        if !notes.is_empty() {
            let _ = write!(out, "  {notes}");
        }
        out.put_u8(b'\n');
    }

    pub(super) fn failed(
        &mut self,
        out: &mut BytesMut,
        clock: &ClockMap,
        conn: &Connection,
        diagnosis: &Diagnosis,
        now_ns: u64,
    ) {
        let start = out.len();
        self.remark(out, clock.wall_ns(now_ns), &About::connection(conn));
        put_verdict(out, diagnosis, self.color);
        if !diagnosis.because.is_empty() {
            let mut because = String::new();
            push_plain(&mut because, diagnosis.because.as_bytes());
            let _ = write!(out, ": {because}");
        }
        out.put_u8(b'\n');
        fold(out, start, self.width);
    }

    pub(super) fn hint(&mut self, out: &mut BytesMut, clock: &ClockMap, told: &Told) {
        let start = out.len();
        if !std::mem::replace(&mut self.hinted, true) {
            out.put_slice(HINT_LEGEND.as_bytes());
        }
        let about = About {
            conn: told.conn.map(|(id, _)| id),
            owner: &told.owner,
            others: 0,
            role: told.role,
            netns: told.netns,
            local: told.local,
            local_port_known: true,
            remote: told.remote,
        };
        self.remark(out, clock.wall_ns(told.mono_ns), &about);
        put_hint(out, &told.hint, self.color);
        out.put_u8(b'\n');
        fold(out, start, self.width);
    }

    pub(super) fn clock_changed(&mut self, out: &mut BytesMut, clock: &ClockMap) {
        let start = out.len();
        remark::clock_step(out, self.clock.replace(*clock), clock);
        fold(out, start, self.width);
    }

    pub(super) fn lost(&mut self, out: &mut BytesMut, wall_ns: i64, lost: &Lost) {
        let start = out.len();
        self.day(out, wall_ns);
        remark::lost(out, self.local_clock.format(wall_ns).1, lost);
        fold(out, start, self.width);
    }

    fn day(&mut self, out: &mut BytesMut, wall_ns: i64) {
        let day = self.local_clock.day(wall_ns);
        if self.day != Some(day) {
            self.day = Some(day);
            let _ = writeln!(out, "# {day}");
        }
    }

    /// Begins a remark on a connection.
    fn remark(&mut self, out: &mut BytesMut, wall_ns: i64, about: &About<'_>) {
        self.day(out, wall_ns);
        self.heading(out, about);
        let _ = write!(out, "#{} ", self.local_clock.format(wall_ns).1);
    }

    /// Says whose the lines below are, if that is not what the lines above are.
    fn heading(&mut self, out: &mut BytesMut, about: &About<'_>) {
        let mut heading = String::from("#");
        if let Some(id) = about.conn {
            let _ = write!(heading, "{}", id.0);
        }
        heading.push(' ');
        push_owner(&mut heading, about.owner, about.others);
        let end = |end: Option<Endpoint>, port_known| {
            end.map_or_else(
                || "*".to_owned(),
                |end| endpoint(end, port_known).to_string(),
            )
        };
        let _ = write!(heading, "  {}", end(about.local, about.local_port_known));
        if about.role != Role::Listener {
            let _ = write!(
                heading,
                " {} {}",
                arrow(about.role),
                end(about.remote, true)
            );
        }
        if *self.first_netns.get_or_insert(Netns(about.netns)) != Netns(about.netns) {
            let _ = match about.netns {
                Some(netns) => write!(heading, "  netns {netns}"),
                None => write!(heading, "  netns ?"),
            };
        }
        if self.heading != heading {
            let style = self.bold();
            let _ = writeln!(out, "{style}{heading}{style:#}");
            self.heading = heading;
        }
    }

    fn put_state(&self, out: &mut BytesMut, which: State) {
        let name = state(which, self.names).to_string();
        put_state(out, &name, which, self.color);
        out.put_bytes(b' ', self.state_columns.saturating_sub(columns(&name)));
    }

    fn bold(&self) -> anstyle::Style {
        if self.color {
            anstyle::Style::new().bold()
        } else {
            anstyle::Style::new()
        }
    }
}
