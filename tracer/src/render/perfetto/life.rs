//! What is drawn on the track of one connection.

use super::marks::Mark;
use super::names::{self, Arguments};
use super::proto::{self, TrackEvent};
use crate::diagnose::{Diagnosis, SpanEvidence};
use crate::event::Congestion;
use crate::render::span::{Lasted, Span, spans};
use crate::render::vocab::{self, endpoint};
use crate::track::{Connection, Ending, Gap};

/// A connection and when it was there, as far as that is known.
pub(super) struct Life<'a> {
    conn: &'a Connection,
    diagnosis: &'a Diagnosis,
    ending: Ending,
    spans: Vec<Span>,
    /// The first moment known.
    pub(super) begin_ns: u64,
    /// The last moment known, not before the first.
    pub(super) end_ns: u64,
}

/// An event and its time.
type Timed = (u64, TrackEvent);

impl<'a> Life<'a> {
    pub(super) fn new(
        conn: &'a Connection,
        diagnosis: &'a Diagnosis,
        ending: Ending,
        now_ns: u64,
    ) -> Self {
        let spans = spans(conn, diagnosis, ending, now_ns);
        let of_spans = spans.iter().filter_map(|span| span.known.since_ns);
        let of_steps = conn.steps.iter().filter_map(|step| step.since_ns);
        let begin_ns = of_spans
            .clone()
            .chain(of_steps.clone())
            .min()
            .unwrap_or(now_ns);
        let last_seen_ns = of_spans
            .chain(of_steps)
            .chain(spans.iter().filter_map(Span::until_ns))
            .max();
        let end_ns = if conn.is_cut_off(ending) {
            now_ns
        } else {
            last_seen_ns.unwrap_or(now_ns)
        };
        Self {
            conn,
            diagnosis,
            ending,
            spans,
            begin_ns,
            end_ns: end_ns.max(begin_ns),
        }
    }

    /// All in the order of time: slices that begin and end, the states within the connection, and instants.
    pub(super) fn events(
        &self,
        title: String,
        flow: Option<u64>,
        marks: &[Mark],
        left_out: u64,
    ) -> Vec<Timed> {
        let mut events = vec![(
            self.begin_ns,
            TrackEvent {
                debug_annotations: self.arguments(left_out).0,
                name: Some(title),
                ..event(proto::SLICE_BEGIN)
            },
        )];
        self.push_states(&mut events);
        // The arrow goes from the client's first state to the server's.
        if let Some(flow) = flow {
            let at = usize::from(events.len() > 1);
            if let Some((_, first)) = events.get_mut(at) {
                first.flow_ids.push(flow);
            }
        }
        events.extend(marks.iter().map(|mark| {
            let mut arguments = Arguments::default();
            let name = mark.describe(&mut arguments);
            let instant = TrackEvent {
                debug_annotations: arguments.0,
                name: Some(name.to_owned()),
                ..event(proto::INSTANT)
            };
            (mark.mono_ns, instant)
        }));
        events.push((self.end_ns, event(proto::SLICE_END)));
        // Stable: of what happens at once, the order is that above.
        events.sort_by_key(|(mono_ns, _)| *mono_ns);
        events
    }

    fn push_states(&self, events: &mut Vec<Timed>) {
        let mut free_from_ns = self.begin_ns;
        for span in &self.spans {
            let Some(since_ns) = span.known.since_ns else {
                continue;
            };
            let since_ns = since_ns.max(free_from_ns);
            if span.lasted == Lasted::Over {
                continue;
            }
            let (name_iid, name) = names::state(span.known.state);
            let begin = TrackEvent {
                debug_annotations: of_span(span).0,
                name_iid,
                name,
                ..event(proto::SLICE_BEGIN)
            };
            if let Some(until_ns) = span.until_ns() {
                let until_ns = until_ns.clamp(since_ns, self.end_ns.max(since_ns));
                events.push((since_ns, begin));
                events.push((until_ns, event(proto::SLICE_END)));
                free_from_ns = until_ns;
            } else {
                // How long it lasted is not known.
                let r#type = proto::INSTANT;
                events.push((since_ns, TrackEvent { r#type, ..begin }));
                free_from_ns = since_ns;
            }
        }
    }

    fn arguments(&self, left_out: u64) -> Arguments {
        let (conn, diagnosis) = (self.conn, self.diagnosis);
        let mut all = Arguments::default();
        all.number("conn", Some(conn.id.0));
        all.text("local", Some(endpoint(conn.local, true).to_string()));
        all.text("remote", Some(endpoint(conn.remote, true).to_string()));
        all.text("role", Some(vocab::role(conn.role)));
        all.text("protocol", Some(vocab::protocol(conn.protocol).to_string()));
        all.text("family", Some(vocab::family(conn.family).to_string()));
        all.number("netns", conn.netns);
        all.text("owner_source", Some(vocab::owner_source(conn.owner.source)));
        let place = conn.owner_process.place.as_deref();
        let container = place.and_then(|place| place.container.as_ref());
        all.text("container", container.map(|container| container.id.clone()));
        all.text("unit", place.and_then(|place| place.unit.clone()));
        all.text("verdict", Some(vocab::verdict(diagnosis.verdict)));
        let because = Some(&diagnosis.because).filter(|because| !because.is_empty());
        all.text("because", because.cloned());
        all.text("closed_by", diagnosis.closed_by.map(vocab::closed_by));
        all.text("reset_reason", diagnosis.reset_reason.clone());
        for hint in &diagnosis.hints {
            all.text("hint", Some(hint.text.clone()));
        }
        all.number("bytes_sent", diagnosis.bytes_sent);
        all.number("bytes_received", diagnosis.bytes_received);
        all.number("rtt_us", diagnosis.rtt_us);
        all.number("syn_retransmits", diagnosis.syn_retransmits);
        all.number("synack_retransmits", diagnosis.synack_retransmits);
        all.number("retransmits", diagnosis.retransmits);
        let at_close = conn.evidence.at_close.unwrap_or_default();
        if let Some(segments) = at_close.segments {
            all.number("segments_sent", Some(segments.sent));
            all.number("segments_received", Some(segments.received));
            all.number("data_segments_sent", Some(segments.data_sent));
            all.number("data_segments_received", Some(segments.data_received));
        }
        all.text(
            "congestion_state",
            at_close.congestion.map(Congestion::name),
        );
        all.number("socket_uid", at_close.uid);
        let socket_place = conn.socket_place.as_ref();
        all.text(
            "socket_cgroup",
            socket_place.map(|place| place.path.clone()),
        );
        all.text("ending", Some(vocab::ending(self.ending)));
        all.flag("from_birth", conn.from_birth);
        all.flag("has_gap", conn.gap != Gap::None);
        let unseen: Vec<_> = self
            .spans
            .iter()
            .filter(|span| span.known.since_ns.is_none() && span.lasted != Lasted::Over)
            .map(|span| vocab::state(span.known.state, crate::state::Names::Documented).to_string())
            .collect();
        let unseen = (!unseen.is_empty()).then(|| unseen.join(", "));
        all.text("states_of_unknown_time", unseen);
        all.number("marks_left_out", (left_out > 0).then_some(left_out));
        all
    }
}

fn event(r#type: u32) -> TrackEvent {
    let category_iids = if r#type == proto::SLICE_END {
        Vec::new()
    } else {
        vec![names::CATEGORY]
    };
    TrackEvent {
        category_iids,
        r#type,
        ..TrackEvent::default()
    }
}

/// What there is to say of a state beside its time: nothing where all of it was observed.
fn of_span(span: &Span) -> Arguments {
    let mut arguments = Arguments::default();
    let evidence = span.known.evidence;
    let inferred = (evidence != SpanEvidence::Observed).then(|| vocab::evidence(evidence));
    arguments.text("evidence", inferred);
    if matches!(span.lasted, Lasted::AtLeast(_)) {
        arguments.flag("duration_is_minimum", true);
    }
    arguments.number("expected_ns", span.known.expected_ns);
    arguments.number("within_ns", span.known.within_ns);
    arguments
}
