//! One block per connection when it ends: what became of it, its states, when each began and how long
//! it lasted, and what its socket counted.
//!
//! The states are those of the diagnosis, which knows of more than the socket went through. The bars
//! put them on one axis from the first to the last moment seen of the connection: `=` fills each
//! twenty-fourth a state lasted all through, `|` marks one it lasted for a part of. There are none where
//! a beginning or the end is not known.

use std::fmt::{self, Write};

use bytes::{BufMut, BytesMut};

use super::first::first_to_end;
use super::fold::fold;
use super::plain::{push_name, push_plain};
use super::span::{Lasted, Span, spans};
use super::time::{LocalClock, human};
use super::vocab::{
    self, endpoint, push_note, push_owner, push_owners, push_transition_notes, put_hint, put_state,
    put_verdict,
};
use super::{Render, RenderOptions, Shape, remark};
use crate::diagnose::{Diagnosis, SpanEvidence, Verdict};
use crate::event::{Congestion, Endpoint, Protocol};
use crate::hints::Told;
use crate::session::{ClockMap, Lost, Session, Totals};
use crate::state::{Names, State, legality};
use crate::track::{After, Connection, Ending, Gap, MiniEnd, OwnerSource, Role, Transition};

const LEGEND: &str = "# each state: when it began, how long it lasted (>: at least; ~: not measured; \
                      ?: not known)\n\n";

const BAR_CELLS: u64 = 24;
const OFFSET_COLUMNS: usize = "+999.9ms".len();
const DURATION_COLUMNS: usize = ">999.9ms".len();

/// Renders [`super::Format::Timeline`].
#[derive(Debug)]
pub struct Timeline {
    names: Names,
    color: bool,
    width: Option<usize>,
    local_clock: LocalClock,
    clock: Option<ClockMap>,
    /// Something was lost, so what is new may have begun unseen.
    lost: bool,
}

/// A life to be shown.
struct Life<'a> {
    conn: &'a Connection,
    spans: Vec<Span>,
    /// When the first state with a known beginning began.
    zero_ns: Option<u64>,
    /// When the socket was closed, or the trace ended.
    end_ns: Option<u64>,
    /// The axis of the bars.
    axis: Option<Axis>,
    ending: Ending,
}

#[derive(Clone, Copy)]
struct Axis {
    begin_ns: u64,
    end_ns: u64,
}

impl<'a> Life<'a> {
    fn new(conn: &'a Connection, diagnosis: &Diagnosis, ending: Ending, now_ns: u64) -> Self {
        let spans = spans(conn, diagnosis, ending, now_ns);
        let end_ns = if ending == Ending::Closed {
            conn.steps.last().and_then(|last| last.since_ns)
        } else {
            conn.is_cut_off(ending).then_some(now_ns)
        };
        Self {
            conn,
            zero_ns: spans.iter().find_map(|span| span.known.since_ns),
            axis: axis(&spans, end_ns),
            end_ns,
            spans,
            ending,
        }
    }

    fn before(&self, index: usize) -> Option<&Span> {
        self.spans.get(index.checked_sub(1)?)
    }

    /// How far the time that a state lasted may be off, where its beginning or its end is known by asking.
    fn within_ns(&self, index: usize, span: &Span) -> Option<u64> {
        let Lasted::Exactly(_) = span.lasted else {
            return None;
        };
        let next = self.spans.get(index.checked_add(1)?)?;
        let bounds = [span.known.within_ns, next.known.within_ns];
        bounds.into_iter().flatten().reduce(u64::saturating_add)
    }

    fn bar(&self, span: &Span) -> Option<String> {
        let Axis { begin_ns, end_ns } = self.axis?;
        let whole = u128::from(end_ns.saturating_sub(begin_ns));
        // Everything times BAR_CELLS, so that the bounds of the cells are whole numbers.
        let scaled = |ns: u64| u128::from(ns.saturating_sub(begin_ns)) * u128::from(BAR_CELLS);
        let (begin, end) = (scaled(span.known.since_ns?), scaled(span.until_ns()?));
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

/// From the first moment seen to the last, if both are known and no state between has an unknown
/// beginning. A single state needs no axis.
fn axis(spans: &[Span], end_ns: Option<u64>) -> Option<Axis> {
    let seen = || spans.iter().filter(|span| !span.is_inferred());
    let begin_ns = spans.first()?.known.since_ns?;
    let known = seen().all(|span| span.known.since_ns.is_some());
    let end_ns = seen().filter_map(Span::until_ns).fold(end_ns?, u64::max);
    (known && spans.len() > 1 && end_ns > begin_ns).then_some(Axis { begin_ns, end_ns })
}

impl Timeline {
    /// With nothing shown yet.
    pub fn new(options: RenderOptions) -> Self {
        Self {
            names: options.names,
            color: options.color,
            width: options.width,
            local_clock: LocalClock::new(options.time_zone),
            clock: None,
            lost: false,
        }
    }

    fn put_title(&self, out: &mut BytesMut, conn: &Connection, diagnosis: &Diagnosis) {
        let mut title = match (conn.role, diagnosis.verdict) {
            // It has said so.
            (Role::Listener, Verdict::Listener) => "  ".to_owned(),
            (Role::Unknown, _) => "  role unknown  ".to_owned(),
            (role, _) => format!("  {}  ", vocab::role(role)),
        };
        push_owners(&mut title, conn);
        if conn.owner.source != OwnerSource::Unknown {
            let _ = write!(title, " by {}", vocab::owner_source(conn.owner.source));
        }
        let _ = write!(title, "  {}", endpoint(conn.local, true));
        let arrow = vocab::arrow(conn.role);
        if conn.role != Role::Listener {
            let _ = write!(title, " {arrow} {}", endpoint(conn.remote, true));
        }
        if conn.protocol != Protocol::Tcp {
            let _ = write!(title, "  protocol {}", vocab::protocol(conn.protocol));
        }
        if let Some(netns) = conn.netns {
            let _ = write!(title, "  netns {netns}");
        }
        push_place(&mut title, conn);
        let style = if self.color {
            anstyle::Style::new().bold()
        } else {
            anstyle::Style::new()
        };
        let _ = write!(out, "{style}#{}{style:#} ", conn.id.0);
        put_verdict(out, diagnosis, self.color);
        let _ = writeln!(out, "{style}{title}{style:#}");
        if !diagnosis.because.is_empty() {
            let mut because = String::new();
            push_plain(&mut because, diagnosis.because.as_bytes());
            let _ = writeln!(out, "  {because}");
        }
        for hint in &diagnosis.hints {
            let _ = writeln!(out, "  check: {}", hint.advice);
            if let Some(command) = &hint.check {
                let _ = writeln!(out, "         {command}");
            }
        }
    }

    fn put_span(&self, out: &mut BytesMut, life: &Life<'_>, index: usize, name_columns: usize) {
        let Some(span) = life.spans.get(index) else {
            return;
        };
        let began = match (span.known.since_ns, life.zero_ns) {
            (Some(since_ns), Some(zero_ns)) if since_ns == zero_ns => "+0".to_owned(),
            (Some(since_ns), Some(zero_ns)) => {
                format!("+{}", human(since_ns.saturating_sub(zero_ns)))
            }
            _ => "?".to_owned(),
        };
        let name = vocab::state(span.known.state, self.names).to_string();
        let padding = name_columns.saturating_sub(name.len());
        let within_ns = life.within_ns(index, span);
        let lasted = lasted(span, within_ns);
        let mut row = format!("{:padding$}  {lasted:>DURATION_COLUMNS$}", "");
        if let Some(bar) = life.bar(span) {
            let _ = write!(row, "  [{bar}]");
        }
        let notes = self.notes(life, index, span);
        if !notes.is_empty() {
            let _ = write!(row, "  {notes}");
        }
        let _ = write!(out, "  {began:>OFFSET_COLUMNS$}  ");
        put_state(out, &name, span.known.state, self.color);
        let _ = writeln!(out, "{}", row.trim_end());
    }

    fn notes(&self, life: &Life<'_>, index: usize, span: &Span) -> String {
        let mut notes = String::new();
        match span.known.evidence {
            SpanEvidence::Inferred => {
                push_note(&mut notes, "inferred, not seen");
                return notes;
            }
            SpanEvidence::Polled => {
                push_note(&mut notes, "seen by polling");
                if let Some(ns) = life.within_ns(index, span) {
                    let _ = write!(notes, " to within {}", human(ns));
                }
            }
            SpanEvidence::Observed => {}
        }
        if span.lasted == Lasted::NotKnown && span.known.expected_ns.is_some() {
            push_note(&mut notes, "end not seen");
        }
        if let (Lasted::AtLeast(_), Some(ns)) = (span.lasted, span.known.expected_ns) {
            push_note(&mut notes, "expected to last ");
            let _ = write!(notes, "{}", human(ns));
        }
        match life.before(index) {
            None if span.known.since_ns.is_none() => {
                let is_new = life.conn.listed_ns.is_none();
                push_note(
                    &mut notes,
                    if self.lost && is_new {
                        "since before the trace or in a gap"
                    } else {
                        "since before the trace"
                    },
                );
            }
            Some(before) if span.known.since_ns.is_none() && !before.is_inferred() => {
                push_note(&mut notes, "entered in a gap");
            }
            Some(before) if !before.is_inferred() => {
                self.push_transition_notes(&mut notes, life, before.known.state, span.known.state);
            }
            None | Some(_) => {}
        }
        notes
    }

    fn push_transition_notes(&self, notes: &mut String, life: &Life<'_>, from: State, to: State) {
        let is_time_wait = |span: &Span| span.known.state == State::TimeWait;
        // What follows unseen has a row of its own.
        if to == State::Closed && life.spans.iter().any(is_time_wait) {
            return;
        }
        if let After::Mini(mini) = life.conn.evidence.after
            && mini.end != MiniEnd::NotSeen
        {
            // This is the end of the mini-socket, not the socket's.
            return;
        }
        let protocol = life.conn.protocol;
        let legality = legality(protocol, from, to);
        push_transition_notes(
            notes,
            life.conn.evidence.after,
            protocol,
            from,
            to,
            legality,
            self.names,
        );
    }

    fn put_ending(out: &mut BytesMut, life: &Life<'_>, diagnosis: &Diagnosis) {
        let text = match life.ending {
            Ending::Closed => "socket closed",
            Ending::EndUnseen => "end not seen: the kernel has freed its socket",
            Ending::AgedOut => "forgotten to stay within --max-connections; end not seen",
            Ending::StillOpen => "still open when the trace ended",
            Ending::MayBeOver => "whether it was open when the trace ended is not known",
            Ending::NeverCompleted => "the handshake was never completed; last sign of it",
        };
        let _ = write!(out, "  {text}");
        if let (Some(zero_ns), Some(end_ns)) = (life.zero_ns, life.end_ns)
            // Where the end is the only transition seen, there is nothing between.
            && (life.conn.from_birth || zero_ns != end_ns)
        {
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
        if let Some(first) = first_to_end(life.conn, diagnosis) {
            let _ = write!(out, "; {first}");
        }
        match life.conn.gap {
            Gap::Certain => out.put_slice(b"; at least one transition was not seen"),
            Gap::Possible => out.put_slice(b"; transitions of it may not have been seen"),
            Gap::None => {}
        }
        out.put_u8(b'\n');
    }
}

/// The container of the owner, with its pid in there, or else its unit.
fn push_place(title: &mut String, conn: &Connection) {
    let process = &conn.owner_process;
    let Some(place) = &process.place else { return };
    if let Some(container) = &place.container {
        title.push_str("  container ");
        push_plain(title, container.short_id().as_bytes());
        if let Some(runtime) = container.runtime {
            let _ = write!(title, " ({})", runtime.name());
        }
        if let Some(ns_pid) = process.ns_pid {
            let _ = write!(title, ", pid {ns_pid} inside");
        }
        if let Some(pod) = &container.pod {
            title.push_str("  pod ");
            push_name(title, pod.as_bytes());
        }
    } else if let Some(unit) = &place.unit {
        title.push_str("  unit ");
        push_name(title, unit.as_bytes());
    }
}

/// How long a state lasted; `~` where that was not seen from its beginning to its end.
/// `within_ns`: how far that may be off.
fn lasted(span: &Span, within_ns: Option<u64>) -> String {
    let expected_ns = span.known.expected_ns;
    match (span.lasted, expected_ns) {
        (Lasted::Exactly(ns), _) if within_ns.is_some_and(|within_ns| ns < within_ns) => {
            format!("<{}", human(ns.saturating_add(within_ns.unwrap_or(0))))
        }
        (Lasted::Exactly(ns), _) if span.known.evidence == SpanEvidence::Observed => {
            human(ns).to_string()
        }
        (Lasted::Exactly(ns), _) | (Lasted::NotKnown, Some(ns)) => format!("~{}", human(ns)),
        (Lasted::AtLeast(ns), _) => format!(">{}", human(ns)),
        (Lasted::NotKnown, None) => "?".to_owned(),
        (Lasted::Over, _) => String::new(),
    }
}

/// What the socket counted. Nothing for a listener, which counts nothing.
fn put_counts(out: &mut BytesMut, role: Role, diagnosis: &Diagnosis) {
    fn or_unknown<T: fmt::Display>(value: Option<T>) -> impl fmt::Display {
        fmt::from_fn(move |f| match &value {
            Some(value) => value.fmt(f),
            None => f.write_str("?"),
        })
    }
    let Diagnosis {
        syn_retransmits,
        synack_retransmits,
        retransmits,
        bytes_sent,
        bytes_received,
        rtt_us,
        ..
    } = *diagnosis;
    if role == Role::Listener {
        return;
    }
    let any_known = [syn_retransmits, synack_retransmits, retransmits, rtt_us]
        .iter()
        .any(Option::is_some)
        || bytes_sent.is_some()
        || bytes_received.is_some();
    if !any_known {
        out.put_slice(b"  bytes, round trip, retransmits: not known\n");
        return;
    }
    let rtt = rtt_us.map(|us| human(u64::from(us) * 1000));
    let _ = write!(
        out,
        "  bytes: {} sent, {} received; round trip: {}; retransmits: ",
        or_unknown(bytes_sent),
        or_unknown(bytes_received),
        or_unknown(rtt),
    );
    if role != Role::Server {
        let _ = write!(out, "{} SYN, ", or_unknown(syn_retransmits));
    }
    if role != Role::Client {
        let _ = write!(out, "{} SYN-ACK, ", or_unknown(synack_retransmits));
    }
    let _ = writeln!(out, "{} data or FIN", or_unknown(retransmits));
}

/// How many segments there were, where some were lost: it takes the whole to judge the part.
fn put_segments(out: &mut BytesMut, conn: &Connection, diagnosis: &Diagnosis) {
    let at_close = conn.evidence.at_close.unwrap_or_default();
    let again = [diagnosis.syn_retransmits, diagnosis.retransmits];
    let congestion = at_close
        .congestion
        .filter(|state| *state != Congestion::Open);
    if congestion.is_none()
        && again
            .iter()
            .all(|count| count.is_none_or(|count| count == 0))
    {
        return;
    }
    if let Some(segments) = at_close.segments {
        let _ = write!(
            out,
            "  segments: {} sent, {} of them with data; {} received, {} of them with data",
            segments.sent, segments.data_sent, segments.received, segments.data_received
        );
        if let Some(state) = congestion {
            let _ = write!(out, "; congestion control at the end: {}", state.name());
        }
        out.put_u8(b'\n');
    }
}

/// What the socket itself tells of whose it is, where that is not what its owner tells.
fn put_socket(out: &mut BytesMut, conn: &Connection) {
    let owner = &conn.owner_process;
    let uid = conn
        .evidence
        .at_close
        .and_then(|at_close| at_close.uid)
        .filter(|uid| owner.uid != Some(*uid));
    let path = conn
        .socket_place
        .as_ref()
        .map(|place| &place.path)
        .filter(|path| owner.place.as_ref().map(|place| &place.path) != Some(path));
    if uid.is_none() && path.is_none() {
        return;
    }
    let mut line = "  its socket itself: ".to_owned();
    if let Some(uid) = uid {
        let _ = write!(line, "uid {uid}");
        if let Some(of_owner) = owner.uid {
            let _ = write!(line, " (the process's: {of_owner})");
        }
    }
    if let Some(path) = path {
        line.push_str(if uid.is_some() {
            ", cgroup "
        } else {
            "cgroup "
        });
        push_name(&mut line, path.as_bytes());
    }
    line.push('\n');
    out.put_slice(line.as_bytes());
}

impl Render for Timeline {
    fn shape(&self) -> Shape {
        Shape::Blocks
    }

    fn start(&mut self, out: &mut BytesMut, session: &Session) {
        self.clock = Some(session.clock);
        let start = out.len();
        out.put_slice(LEGEND.as_bytes());
        fold(out, start, self.width);
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
        diagnosis: &Diagnosis,
        ending: Ending,
        now_ns: u64,
    ) {
        let start = out.len();
        let life = Life::new(conn, diagnosis, ending, now_ns);
        self.put_title(out, conn, diagnosis);
        if let Some(zero_ns) = life.zero_ns {
            let (day, time) = self.local_clock.format(clock.wall_ns(zero_ns));
            let _ = writeln!(out, "  {:>OFFSET_COLUMNS$}  {time}  {day}", "+0 =");
        }
        let name_columns = life
            .spans
            .iter()
            .map(|span| vocab::state(span.known.state, self.names).to_string().len())
            .max()
            .unwrap_or_default();
        for index in 0..life.spans.len() {
            self.put_span(out, &life, index, name_columns);
        }
        Self::put_ending(out, &life, diagnosis);
        put_counts(out, conn.role, diagnosis);
        put_segments(out, conn, diagnosis);
        put_socket(out, conn);
        out.put_u8(b'\n');
        fold(out, start, self.width);
    }

    fn hint(&mut self, out: &mut BytesMut, clock: &ClockMap, told: &Told) {
        let start = out.len();
        let (_, time) = self.local_clock.format(clock.wall_ns(told.mono_ns));
        let _ = write!(out, "# {time}  ");
        if let Some((id, _)) = told.conn {
            let _ = write!(out, "#{}  ", id.0);
        }
        let mut owner = String::new();
        push_owner(&mut owner, &told.owner, 0);
        let _ = write!(out, "{owner}  ");
        let arrow = vocab::arrow(told.role);
        let end = |end: Option<Endpoint>| {
            end.map_or_else(|| "*".to_owned(), |end| endpoint(end, true).to_string())
        };
        let _ = write!(out, "{} {arrow} {}  ", end(told.local), end(told.remote));
        put_hint(out, &told.hint, self.color);
        out.put_slice(b"\n\n");
        fold(out, start, self.width);
    }

    fn clock_changed(&mut self, out: &mut BytesMut, clock: &ClockMap) {
        remark::clock_step(out, self.clock.replace(*clock), clock);
    }

    fn lost(&mut self, out: &mut BytesMut, clock: &ClockMap, now_ns: u64, since_last: &Lost) {
        self.lost = true;
        let (day, time) = self.local_clock.format(clock.wall_ns(now_ns));
        let start = out.len();
        remark::lost(out, &format!("{time}  {day}"), since_last);
        fold(out, start, self.width);
    }

    fn end(&mut self, _out: &mut BytesMut, _clock: &ClockMap, _now_ns: u64, _totals: &Totals) {}
}
