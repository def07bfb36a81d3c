//! The fields of a transition and of a connection, listed once for `jsonl` and `csv`.

use std::fmt::Display;

use super::span::{Lasted, Span, spans};
use super::time::UtcStamp;
use super::{unseen, vocab};
use crate::diagnose::{Diagnosis, SpanEvidence};
use crate::event::{AtClose, Comm, Congestion, Endpoint, Process, Segments};
use crate::hints::Hint;
use crate::place::Container;
use crate::session::ClockMap;
use crate::state::{Names, State};
use crate::track::{Connection, Continued, Ending, Gap, OwnerProcess, Transition};

/// Takes the fields of a line one by one, in their order.
pub(crate) trait Fields {
    /// A number; `None` where it is not known.
    fn number(&mut self, name: &'static str, value: Option<u64>);
    /// Yes or no.
    fn flag(&mut self, name: &'static str, value: bool);
    /// A word of ours: printable ASCII without quotes, commas and backslashes.
    fn word(&mut self, name: &'static str, value: &str);
    /// The same, still to be formatted.
    fn shown(&mut self, name: &'static str, value: impl Display);
    /// A list of such words.
    fn words(&mut self, name: &'static str, values: impl Iterator<Item = &'static str>);
    /// Text of any content; `None` where it is not known.
    fn text(&mut self, name: &'static str, value: Option<&str>);
    /// The container that a process belonged to.
    fn container(&mut self, name: &'static str, value: Option<&Container>);
    /// A command name: any bytes; `None` where it is not known.
    fn comm(&mut self, name: &'static str, value: Option<Comm>);
    /// An address and a port.
    fn endpoint(&mut self, name: &'static str, value: Endpoint);

    /// The states of a connection; `clock` and `stamp` are for when they began.
    fn spans(
        &mut self,
        name: &'static str,
        values: &[Span],
        clock: &ClockMap,
        stamp: &mut UtcStamp,
    );
    /// What a person should look at.
    fn hints(&mut self, name: &'static str, values: &[Hint]);
    /// Processes.
    fn owners(&mut self, name: &'static str, values: &[Process]);
    /// As many fields that other lines have and this one has not: a table leaves cells empty.
    fn absent(&mut self, fields: usize);

    /// The name of a state.
    fn state(&mut self, name: &'static str, state: State, names: Names) {
        match state.known_name(names) {
            Some(known) => self.word(name, known),
            None => self.shown(name, vocab::state(state, names)),
        }
    }
}

/// All fields of a transition.
pub(crate) fn transition(
    fields: &mut impl Fields,
    stamp: &mut UtcStamp,
    clock: &ClockMap,
    conn: &Connection,
    transition: &Transition,
) {
    let event = &transition.event;
    let after = conn.evidence.after;
    let unseen = unseen::next(after, event.protocol, event.from, event.to);
    let is_minimum = transition.since_listed
        || transition.in_state_ns.is_some()
            && unseen::is_minimum(after, conn.role, event.protocol, event.from, event.to);

    fields.word("type", "transition");
    fields.word("ts", stamp.format(clock.wall_ns(event.mono_ns)));
    fields.number("mono_ns", Some(event.mono_ns));
    fields.word("conn", itoa::Buffer::new().format(conn.id.0));
    fields.shown("sk", vocab::socket(event.sk));
    fields.number("netns", event.netns.map(u64::from));
    fields.shown("family", vocab::family(event.family));
    fields.shown("protocol", vocab::protocol(event.protocol));
    fields.word("role", vocab::role(conn.role));
    fields.endpoint("local", event.local);
    fields.flag("local_port_known", event.local_port_known);
    fields.endpoint("remote", event.remote);
    fields.state("from", event.from, Names::Documented);
    fields.state("to", event.to, Names::Documented);
    fields.state("kernel_from", event.from, Names::Kernel);
    fields.state("kernel_to", event.to, Names::Kernel);
    fields.number("in_state_ns", transition.in_state_ns);
    fields.flag("in_state_is_minimum", is_minimum);
    fields.words(
        "unseen_next",
        unseen
            .iter()
            .filter_map(|state| state.known_name(Names::Documented)),
    );
    fields.word("legality", vocab::legality(transition.legality));
    fields.flag("after_gap", transition.after_gap);
    fields.flag("recovered", event.from_twin);
    fields.number("pid", conn.owner.pid.map(u64::from));
    fields.comm("comm", conn.owner.comm);
    fields.word("owner_source", vocab::owner_source(conn.owner.source));
    fields.absent(OF_CONNECTIONS);
    owner_process(fields, &conn.owner_process);
    fields.absent(AFTER_UNIT);
}

/// Fields of a connection alone: between `owner_source` and `uid`.
const OF_CONNECTIONS: usize = 15;
/// And after `unit`.
const AFTER_UNIT: usize = 8;

fn owner_process(fields: &mut impl Fields, process: &OwnerProcess) {
    let place = process.place.as_deref();
    fields.number("uid", process.uid.map(u64::from));
    fields.number("ns_pid", process.ns_pid.map(u64::from));
    fields.text("cgroup", place.map(|place| place.path.as_str()));
    fields.container(
        "container",
        place.and_then(|place| place.container.as_ref()),
    );
    fields.text("unit", place.and_then(|place| place.unit.as_deref()));
}

/// All fields of a change of state after the socket was closed.
pub(crate) fn continued(
    fields: &mut impl Fields,
    stamp: &mut UtcStamp,
    clock: &ClockMap,
    conn: &Connection,
    change: &Continued,
) {
    let evidence = if change.polled_within_ns.is_some() {
        SpanEvidence::Polled
    } else {
        SpanEvidence::Observed
    };
    fields.word("type", "continued");
    fields.word("ts", stamp.format(clock.wall_ns(change.mono_ns)));
    fields.number("mono_ns", Some(change.mono_ns));
    fields.word("conn", itoa::Buffer::new().format(conn.id.0));
    fields.number("netns", conn.netns.map(u64::from));
    fields.shown("family", vocab::family(conn.family));
    fields.word("role", vocab::role(conn.role));
    fields.endpoint("local", conn.local);
    fields.endpoint("remote", conn.remote);
    fields.state("from", change.from, Names::Documented);
    fields.state("to", change.to, Names::Documented);
    fields.number("in_state_ns", change.in_state_ns);
    fields.word("evidence", vocab::evidence(evidence));
    fields.number("within_ns", change.polled_within_ns);
    fields.number("pid", conn.owner.pid.map(u64::from));
    fields.comm("comm", conn.owner.comm);
    fields.word("owner_source", vocab::owner_source(conn.owner.source));
}

/// Fields of a transition alone: between `local` and `remote`, and between `remote` and `pid`.
const BETWEEN_ENDPOINTS: usize = 1;
const BEFORE_OWNER: usize = 10;

/// All fields of a connection that has ended.
pub(crate) fn connection(
    fields: &mut impl Fields,
    stamp: &mut UtcStamp,
    clock: &ClockMap,
    conn: &Connection,
    diagnosis: &Diagnosis,
    ending: Ending,
    now_ns: u64,
) {
    fields.word("type", "connection");
    fields.word("ts", stamp.format(clock.wall_ns(now_ns)));
    fields.number("mono_ns", Some(now_ns));
    fields.word("conn", itoa::Buffer::new().format(conn.id.0));
    if conn.sk == 0 {
        fields.text("sk", None);
    } else {
        fields.shown("sk", vocab::socket(conn.sk));
    }
    fields.number("netns", conn.netns.map(u64::from));
    fields.shown("family", vocab::family(conn.family));
    fields.shown("protocol", vocab::protocol(conn.protocol));
    fields.word("role", vocab::role(conn.role));
    fields.endpoint("local", conn.local);
    fields.absent(BETWEEN_ENDPOINTS);
    fields.endpoint("remote", conn.remote);
    fields.absent(BEFORE_OWNER);
    fields.number("pid", conn.owner.pid.map(u64::from));
    fields.comm("comm", conn.owner.comm);
    fields.word("owner_source", vocab::owner_source(conn.owner.source));

    let because = Some(diagnosis.because.as_str()).filter(|because| !because.is_empty());
    fields.word("verdict", vocab::verdict(diagnosis.verdict));
    fields.text("closed_by", diagnosis.closed_by.map(vocab::closed_by));
    fields.text("reset_reason", diagnosis.reset_reason.as_deref());
    fields.text("because", because);
    fields.number("syn_retransmits", diagnosis.syn_retransmits.map(u64::from));
    fields.number(
        "synack_retransmits",
        diagnosis.synack_retransmits.map(u64::from),
    );
    fields.number("retransmits", diagnosis.retransmits.map(u64::from));
    fields.number("bytes_sent", diagnosis.bytes_sent);
    fields.number("bytes_received", diagnosis.bytes_received);
    fields.number("rtt_us", diagnosis.rtt_us.map(u64::from));
    fields.spans(
        "states",
        &spans(conn, diagnosis, ending, now_ns),
        clock,
        stamp,
    );
    fields.word("ending", vocab::ending(ending));
    fields.flag("from_birth", conn.from_birth);
    fields.flag("has_gap", conn.gap != Gap::None);
    fields.hints("hints", &diagnosis.hints);
    owner_process(fields, &conn.owner_process);
    fields.owners("owners", &owners(conn));
    at_close(fields, conn);
}

/// What its socket was when it was closed.
fn at_close(fields: &mut impl Fields, conn: &Connection) {
    let AtClose {
        uid,
        segments,
        congestion,
        ..
    } = conn.evidence.at_close.unwrap_or_default();
    let segments = |of: fn(Segments) -> u32| segments.map(|segments| u64::from(of(segments)));
    fields.number("segments_sent", segments(|all| all.sent));
    fields.number("segments_received", segments(|all| all.received));
    fields.number("data_segments_sent", segments(|all| all.data_sent));
    fields.number("data_segments_received", segments(|all| all.data_received));
    fields.text("congestion_state", congestion.map(Congestion::name));
    fields.number("socket_uid", uid.map(u64::from));
    let place = conn.socket_place.as_deref();
    fields.text("socket_cgroup", place.map(|place| place.path.as_str()));
}

/// All processes that are known to own it.
fn owners(conn: &Connection) -> Vec<Process> {
    match (&conn.holders, conn.owner.pid, conn.owner.comm) {
        (Some(holders), ..) => holders.to_vec(),
        (None, Some(pid), Some(comm)) => vec![Process { pid, comm }],
        (None, ..) => Vec::new(),
    }
}

/// The fields of one state of a connection.
pub(crate) fn span(fields: &mut impl Fields, span: &Span, clock: &ClockMap, stamp: &mut UtcStamp) {
    let start = span
        .known
        .since_ns
        .map(|ns| stamp.format(clock.wall_ns(ns)));
    fields.state("state", span.known.state, Names::Documented);
    fields.text("start", start);
    fields.number("duration_ns", span.lasted.ns());
    fields.flag(
        "duration_is_minimum",
        matches!(span.lasted, Lasted::AtLeast(_)),
    );
    fields.word("evidence", vocab::evidence(span.known.evidence));
    fields.number("expected_ns", span.known.expected_ns);
    fields.number("within_ns", span.known.within_ns);
}
