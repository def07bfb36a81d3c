//! One aligned line per transition, for people.
//!
//! Columns start wide enough for IPv4 and only grow: when one has to, the header is printed again. A
//! line that begins with `#` is a remark: the day, a loss, a step of the clock, and what became of a
//! connection that failed. The latter keeps to the columns as far as they concern a connection.
//!
//! Where a terminal has no room for the columns, [`super::headed`] takes over: from the start, or from the
//! first connection whose addresses are too long.

use std::fmt::Write;

use bytes::{BufMut, BytesMut};

use super::fold::fold;
use super::headed::Headed;
use super::plain::{columns, push_plain};
use super::time::{LocalClock, LocalDay, write_human};
use super::vocab::{
    others, push_note, push_owner, push_owners, push_state, push_transition_notes, put_hint,
    put_state, put_verdict, write_endpoint,
};
use super::{Render, RenderOptions, Shape, remark, unseen};
use crate::diagnose::Diagnosis;
use crate::event::{Endpoint, Protocol};
use crate::hints::Told;
use crate::session::{ClockMap, Lost, Session, Totals};
use crate::state::{Names, State};
use crate::track::{Connection, Continued, Ending, Owner, Transition};

pub(super) const LEGEND: &str = "# owner (name/pid): the listener's, not accepted yet; *: none known; >5us: at \
                      least 5us; -, ?: not known\n";

/// Before the first hint.
pub(super) const HINT_LEGEND: &str =
    "# hint: a connection to look at; `tracer states STATE` says what to check\n";

/// Renders [`super::Format::Text`].
#[derive(Debug)]
pub struct Text {
    options: RenderOptions,
    names: Names,
    color: bool,
    width: Option<usize>,
    /// Where the columns have no room.
    headed: Option<Headed>,
    local_clock: LocalClock,
    day: Option<LocalDay>,
    clock: Option<ClockMap>,
    netns: NetnsColumn,
    header_due: bool,
    hinted: bool,
    widths: Widths,
    cells: Cells,
}

/// The namespace is shown from the moment it tells connections apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NetnsColumn {
    Empty,
    AllOf(Option<u32>),
    Shown,
}

/// The columns whose width depends on the data.
#[derive(Debug)]
struct Widths {
    owner: usize,
    local: usize,
    remote: usize,
    from: usize,
    to: usize,
}

/// Their content in the present line; kept to be reused.
#[derive(Debug, Default)]
struct Cells {
    owner: String,
    local: String,
    remote: String,
    from: String,
    to: String,
    duration: String,
    notes: String,
}

const TIME_COLUMNS: usize = "03:04:05.123456".len();
const NETNS_COLUMNS: usize = "4026531840".len();
const DURATION_COLUMNS: usize = ">999.9ms".len();
const IPV4_COLUMNS: usize = "255.255.255.255:65535".len();
/// Of a terminal that has room for the columns of IPv4.
const FULL_COLUMNS: usize = 120;
const NO_ROOM: &str =
    "# the terminal has no room for the columns: whose lines follow is said above them\n";

impl Text {
    /// With nothing shown yet.
    pub fn new(options: RenderOptions) -> Self {
        let RenderOptions {
            names,
            color,
            time_zone,
            width,
        } = options.clone();
        let state_columns = state_columns(names);
        let has_room = width.is_none_or(|width| width >= FULL_COLUMNS);
        Self {
            headed: (!has_room).then(|| Headed::new(options.clone())),
            options,
            names,
            color,
            width,
            local_clock: LocalClock::new(time_zone),
            day: None,
            clock: None,
            netns: NetnsColumn::Empty,
            header_due: false,
            hinted: false,
            widths: Widths {
                owner: 16,
                local: IPV4_COLUMNS,
                remote: IPV4_COLUMNS,
                from: state_columns,
                to: state_columns,
            },
            cells: Cells::default(),
        }
    }

    fn fill_cells(&mut self, conn: &Connection, transition: &Transition) {
        let event = &transition.event;
        let names = self.names;
        let cells = &mut self.cells;
        let Cells {
            owner,
            local,
            remote,
            from,
            to,
            duration,
            notes,
        } = cells;
        for cell in [&mut *owner, local, remote, from, to, duration, notes] {
            cell.clear();
        }
        push_owners(owner, conn);
        let _ = write_endpoint(local, event.local, event.local_port_known);
        let _ = write_endpoint(remote, event.remote, true);
        push_state(from, event.from, names);
        push_state(to, event.to, names);
        push_duration(duration, conn, transition);
        push_notes(notes, conn, transition, names);
        self.widen();
    }

    /// Fills in whose connection it is, and between whom; no endpoint stands for several.
    fn fill_ends(
        &mut self,
        (whose, others): (&Owner, usize),
        here: Option<Endpoint>,
        there: Option<Endpoint>,
    ) {
        let Cells {
            owner,
            local,
            remote,
            ..
        } = &mut self.cells;
        for cell in [&mut *owner, local, remote] {
            cell.clear();
        }
        push_owner(owner, whose, others);
        for (cell, end) in [(local, here), (remote, there)] {
            match end {
                Some(end) => {
                    let _ = write_endpoint(cell, end, true);
                }
                None => cell.push('*'),
            }
        }
        self.widen();
    }

    /// Begins a remark in the columns of the lines around it; its cells are filled in.
    fn remark(&mut self, out: &mut BytesMut, wall_ns: i64, netns: Option<u32>) {
        self.day(out, wall_ns);
        self.header(out);
        let (_, time) = self.local_clock.format(wall_ns);
        // One space less than elsewhere, for the mark.
        let _ = write!(out, "#{time} ");
        self.put_ends(out, netns);
    }

    /// Fills in what changed after the socket was closed.
    fn fill_change(&mut self, change: &Continued) {
        let names = self.names;
        let Cells {
            from,
            to,
            duration,
            notes,
            ..
        } = &mut self.cells;
        for cell in [&mut *from, to, duration, notes] {
            cell.clear();
        }
        push_state(from, change.from, names);
        push_state(to, change.to, names);
        push_change(duration, notes, change);
        self.widen();
    }

    /// Writes the line of the cells.
    fn put_change(
        &mut self,
        out: &mut BytesMut,
        wall_ns: i64,
        netns: Option<u32>,
        from: State,
        to: State,
    ) {
        out.put_slice(self.local_clock.format(wall_ns).1.as_bytes());
        out.put_slice(b"  ");
        self.put_ends(out, netns);
        let Self {
            widths,
            cells,
            color,
            ..
        } = self;
        put_state(out, &cells.from, from, *color);
        put_padding(out, &cells.from, widths.from);
        out.put_slice(b" -> ");
        put_state(out, &cells.to, to, *color);
        put_padding(out, &cells.to, widths.to);
        out.put_slice(b"  ");
        put_padding(out, &cells.duration, DURATION_COLUMNS);
        out.put_slice(cells.duration.as_bytes());
        if !cells.notes.is_empty() {
            out.put_slice(b"  ");
            out.put_slice(cells.notes.as_bytes());
        }
        out.put_u8(b'\n');
    }

    fn put_ends(&self, out: &mut BytesMut, netns: Option<u32>) {
        let Self { widths, cells, .. } = self;
        put_padded(out, &cells.owner, widths.owner);
        if self.netns == NetnsColumn::Shown {
            let _ = match netns {
                Some(netns) => write!(out, "  {netns:<NETNS_COLUMNS$}"),
                None => write!(out, "  {:<NETNS_COLUMNS$}", "?"),
            };
        }
        out.put_slice(b"  ");
        put_padded(out, &cells.local, widths.local);
        out.put_slice(b"  ");
        put_padded(out, &cells.remote, widths.remote);
        out.put_slice(b"  ");
    }

    /// Columns of a row without its note, if it is of this network namespace.
    fn row_columns(&self, netns: Option<u32>) -> usize {
        let Widths {
            owner,
            local,
            remote,
            from,
            to,
        } = self.widths;
        let netns = match self.netns {
            NetnsColumn::Empty => 0,
            NetnsColumn::AllOf(first) if first == netns => 0,
            NetnsColumn::AllOf(_) | NetnsColumn::Shown => NETNS_COLUMNS + 2,
        };
        let gaps = 5 * "  ".len() + " -> ".len();
        TIME_COLUMNS + owner + netns + local + remote + from + to + DURATION_COLUMNS + gaps
    }

    /// Gives up the columns if the row at hand is wider than the terminal.
    fn make_room(&mut self, out: &mut BytesMut, netns: Option<u32>) {
        if self
            .width
            .is_none_or(|width| self.row_columns(netns) <= width)
        {
            return;
        }
        out.put_slice(NO_ROOM.as_bytes());
        let mut headed = Headed::new(self.options.clone());
        headed.take_over(out, self.day, self.clock, self.hinted);
        self.headed = Some(headed);
    }

    fn widen(&mut self) {
        let Self {
            widths,
            cells,
            header_due,
            ..
        } = self;
        for (width, cell, step) in [
            (&mut widths.owner, &cells.owner, 4),
            (&mut widths.local, &cells.local, 8),
            (&mut widths.remote, &cells.remote, 8),
            (&mut widths.from, &cells.from, 1),
            (&mut widths.to, &cells.to, 1),
        ] {
            let needed = columns(cell);
            if needed > *width {
                // In steps, so that a series of ever longer addresses repeats the header seldom.
                *width = needed.next_multiple_of(step);
                *header_due = true;
            }
        }
    }

    /// Prints the header if one is due.
    fn header(&mut self, out: &mut BytesMut) {
        if !std::mem::take(&mut self.header_due) {
            return;
        }
        let Widths {
            owner,
            local,
            remote,
            from,
            to,
        } = self.widths;
        let style = if self.color {
            anstyle::Style::new().bold()
        } else {
            anstyle::Style::new()
        };
        let _ = write!(out, "{style}{:TIME_COLUMNS$}  {:owner$}  ", "TIME", "OWNER");
        if self.netns == NetnsColumn::Shown {
            let _ = write!(out, "{:NETNS_COLUMNS$}  ", "NETNS");
        }
        let wide = self.row_columns(None) + "  NOTE".len();
        let note = if self.width.is_none_or(|width| wide <= width) {
            "  NOTE"
        } else {
            ""
        };
        let _ = writeln!(
            out,
            "{:local$}  {:remote$}  {:from$} -> {:to$}  {:>DURATION_COLUMNS$}{note}{style:#}",
            "LOCAL", "REMOTE", "OLD", "NEW", "IN OLD",
        );
    }

    /// Prints the day and the zone's offset when they are not those of the line before.
    fn day(&mut self, out: &mut BytesMut, wall_ns: i64) {
        let day = self.local_clock.day(wall_ns);
        if self.day != Some(day) {
            self.day = Some(day);
            let _ = writeln!(out, "# {day}");
        }
    }

    /// The network namespace that counts for the columns: of connections of several, one that needs none.
    fn column_of(&self, told: &Told) -> Option<u32> {
        match self.netns {
            NetnsColumn::AllOf(first) if is_of_several(told) => first,
            NetnsColumn::AllOf(_) | NetnsColumn::Empty | NetnsColumn::Shown => told.netns,
        }
    }

    fn notice_netns(&mut self, out: &mut BytesMut, netns: Option<u32>) {
        let _ = match self.netns {
            NetnsColumn::Empty => {
                self.netns = NetnsColumn::AllOf(netns);
                return;
            }
            NetnsColumn::Shown => return,
            NetnsColumn::AllOf(first) if first == netns => return,
            NetnsColumn::AllOf(Some(first)) => {
                writeln!(out, "# all lines above are of network namespace {first}")
            }
            NetnsColumn::AllOf(None) => {
                writeln!(
                    out,
                    "# the network namespaces of the lines above are not known"
                )
            }
        };
        self.netns = NetnsColumn::Shown;
        self.header_due = true;
    }
}

/// Whether a hint is about connections of several network namespaces, or of unknown ones.
fn is_of_several(told: &Told) -> bool {
    told.count.is_some() && told.netns.is_none()
}

impl Render for Text {
    fn shape(&self) -> Shape {
        Shape::Lines
    }

    fn start(&mut self, out: &mut BytesMut, session: &Session) {
        if let Some(headed) = &mut self.headed {
            return headed.start(out, session);
        }
        self.clock = Some(session.clock);
        self.day(out, session.clock.wall_ns);
        out.put_slice(LEGEND.as_bytes());
        self.header_due = true;
        self.header(out);
    }

    fn transition(
        &mut self,
        out: &mut BytesMut,
        clock: &ClockMap,
        conn: &Connection,
        transition: &Transition,
    ) {
        let event = &transition.event;
        if self.headed.is_none() {
            self.fill_cells(conn, transition);
            self.make_room(out, event.netns);
        }
        if let Some(headed) = &mut self.headed {
            return headed.transition(out, clock, conn, transition);
        }
        let start = out.len();
        let wall_ns = clock.wall_ns(event.mono_ns);
        self.day(out, wall_ns);
        self.notice_netns(out, event.netns);
        self.header(out);

        self.put_change(out, wall_ns, event.netns, event.from, event.to);
        fold(out, start, self.width);
    }

    fn continued(
        &mut self,
        out: &mut BytesMut,
        clock: &ClockMap,
        conn: &Connection,
        change: &Continued,
    ) {
        if self.headed.is_none() {
            self.fill_ends(
                (&conn.owner, others(conn)),
                Some(conn.local),
                Some(conn.remote),
            );
            self.fill_change(change);
            self.make_room(out, conn.netns);
        }
        if let Some(headed) = &mut self.headed {
            return headed.continued(out, clock, conn, change);
        }
        let start = out.len();
        let wall_ns = clock.wall_ns(change.mono_ns);
        self.day(out, wall_ns);
        self.notice_netns(out, conn.netns);
        self.header(out);
        self.put_change(out, wall_ns, conn.netns, change.from, change.to);
        fold(out, start, self.width);
    }

    fn ended(
        &mut self,
        out: &mut BytesMut,
        clock: &ClockMap,
        conn: &Connection,
        diagnosis: &Diagnosis,
        _ending: Ending,
        now_ns: u64,
    ) {
        // Where the verdict is unknown, the last transition says all there is.
        if !diagnosis.verdict.is_failure() {
            return;
        }
        if self.headed.is_none() {
            self.fill_ends(
                (&conn.owner, others(conn)),
                Some(conn.local),
                Some(conn.remote),
            );
            self.make_room(out, conn.netns);
        }
        if let Some(headed) = &mut self.headed {
            return headed.failed(out, clock, conn, diagnosis, now_ns);
        }
        let start = out.len();
        self.notice_netns(out, conn.netns);
        self.remark(out, clock.wall_ns(now_ns), conn.netns);
        put_verdict(out, diagnosis, self.color);
        if !diagnosis.because.is_empty() {
            self.cells.notes.clear();
            push_plain(&mut self.cells.notes, diagnosis.because.as_bytes());
            let _ = write!(out, ": {}", self.cells.notes);
        }
        out.put_u8(b'\n');
        fold(out, start, self.width);
    }

    fn hint(&mut self, out: &mut BytesMut, clock: &ClockMap, told: &Told) {
        if self.headed.is_none() {
            self.fill_ends((&told.owner, 0), told.local, told.remote);
            self.make_room(out, self.column_of(told));
        }
        if let Some(headed) = &mut self.headed {
            return headed.hint(out, clock, told);
        }
        let start = out.len();
        if !std::mem::replace(&mut self.hinted, true) {
            out.put_slice(HINT_LEGEND.as_bytes());
        }
        if !is_of_several(told) {
            self.notice_netns(out, told.netns);
        }
        self.remark(out, clock.wall_ns(told.mono_ns), told.netns);
        put_hint(out, &told.hint, self.color);
        out.put_u8(b'\n');
        fold(out, start, self.width);
    }

    fn clock_changed(&mut self, out: &mut BytesMut, clock: &ClockMap) {
        if let Some(headed) = &mut self.headed {
            return headed.clock_changed(out, clock);
        }
        remark::clock_step(out, self.clock.replace(*clock), clock);
    }

    fn lost(&mut self, out: &mut BytesMut, clock: &ClockMap, now_ns: u64, since_last: &Lost) {
        let wall_ns = clock.wall_ns(now_ns);
        if let Some(headed) = &mut self.headed {
            return headed.lost(out, wall_ns, since_last);
        }
        let start = out.len();
        self.day(out, wall_ns);
        remark::lost(out, self.local_clock.format(wall_ns).1, since_last);
        fold(out, start, self.width);
    }

    fn end(&mut self, _out: &mut BytesMut, _clock: &ClockMap, _now_ns: u64, _totals: &Totals) {}
}

/// Room for the longest name of a state.
pub(super) fn state_columns(names: Names) -> usize {
    State::ALL
        .into_iter()
        // The tracepoint never reports these two, and their names are long.
        .filter(|state| !matches!(state, State::NewSynReceived | State::BoundInactive))
        .filter_map(|state| state.known_name(names))
        .map(str::len)
        .max()
        .unwrap_or_default()
}

/// Appends the time spent in the state left.
pub(super) fn push_duration(cell: &mut String, conn: &Connection, transition: &Transition) {
    let event = &transition.event;
    match transition.in_state_ns {
        Some(ns) => {
            let after = conn.evidence.after;
            if transition.since_listed
                || unseen::is_minimum(after, conn.role, event.protocol, event.from, event.to)
            {
                cell.push('>');
            }
            let _ = write_human(cell, ns);
        }
        None => cell.push('?'),
    }
}

/// Appends what there is to say of a transition.
pub(super) fn push_notes(
    notes: &mut String,
    conn: &Connection,
    transition: &Transition,
    names: Names,
) {
    let event = &transition.event;
    match event.protocol {
        Protocol::Tcp => {}
        Protocol::Mptcp => notes.push_str("mptcp"),
        Protocol::Other(number) => {
            let _ = write!(notes, "protocol {number}");
        }
    }
    if transition.after_gap {
        push_note(notes, "after a gap");
    }
    let legality = transition.legality;
    push_transition_notes(
        notes,
        conn.evidence.after,
        event.protocol,
        event.from,
        event.to,
        legality,
        names,
    );
}

/// The same of a change after the socket was closed: how long it took, and what there is to say.
pub(super) fn push_change(duration: &mut String, notes: &mut String, change: &Continued) {
    match change.in_state_ns {
        Some(ns) => {
            let _ = write_human(duration, ns);
        }
        None => duration.push('?'),
    }
    notes.push_str("after the socket was closed");
    if let Some(within_ns) = change.polled_within_ns {
        push_note(notes, "found by asking the kernel, to within ");
        let _ = write_human(notes, within_ns);
    }
}

fn put_padded(out: &mut BytesMut, cell: &str, width: usize) {
    out.put_slice(cell.as_bytes());
    put_padding(out, cell, width);
}

fn put_padding(out: &mut BytesMut, cell: &str, width: usize) {
    out.put_bytes(b' ', width.saturating_sub(columns(cell)));
}
