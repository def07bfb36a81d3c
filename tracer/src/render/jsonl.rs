//! One JSON object per line, by the schema in `docs/schema.md` and `docs/tracer.schema.json`.
//!
//! States carry their documented names, whatever vocabulary the formats for people use.

use bytes::{BufMut, BytesMut};

use super::fields::{self, Fields};
use super::json::{Object, put_hint};
use super::time::UtcStamp;
use super::{Render, vocab};
use crate::diagnose::Diagnosis;
use crate::hints::Told;
use crate::session::{
    ClockMap, HookStatus, Lost, Missing, Session, SnapshotReport, Totals, Verdicts,
};
use crate::state::Names;
use crate::track::{Connection, Continued, Ending, Transition};

/// Version of the schema: raised when a field is removed, renamed or changes its meaning.
pub const SCHEMA_VERSION: u32 = 1;

/// Renders [`super::Format::Jsonl`].
#[derive(Debug, Default)]
pub struct Jsonl {
    stamp: UtcStamp,
    clock: Option<ClockMap>,
}

impl Jsonl {
    /// A line of a type, begun with what every line has.
    pub(super) fn line(
        &mut self,
        out: &mut BytesMut,
        kind: &str,
        clock: &ClockMap,
        mono_ns: u64,
        fill: impl FnOnce(&mut Object<'_>),
    ) {
        Object::write(out, |line| {
            line.word("type", kind);
            line.word("ts", self.stamp.format(clock.wall_ns(mono_ns)));
            line.number("mono_ns", Some(mono_ns));
            fill(line);
        });
        out.put_u8(b'\n');
    }
}

impl Render for Jsonl {
    fn start(&mut self, out: &mut BytesMut, session: &Session) {
        let clock = session.clock;
        self.clock = Some(clock);
        self.line(out, "session", &clock, clock.mono_ns, |line| {
            line.number("schema", Some(u64::from(SCHEMA_VERSION)));
            line.text("tracer_version", Some(&session.tracer_version));
            line.text("host", Some(&session.host));
            line.text("kernel", Some(&session.kernel));
            line.text("arch", Some(&session.arch));
            line.text("boot_id", session.boot_id.as_deref());
            line.objects("filters", &session.filters, |filter, (name, value)| {
                filter.text("name", Some(name));
                filter.text("value", Some(value));
            });
            line.objects("hooks", &session.hooks, |hook, report| {
                let (status, reason) = match &report.status {
                    HookStatus::Attached => ("attached", None),
                    HookStatus::NotNeeded => ("not_needed", None),
                    HookStatus::Unavailable(why) => ("unavailable", Some(why.as_str())),
                };
                hook.text("name", Some(&report.name));
                hook.text("purpose", Some(&report.purpose));
                hook.word("status", status);
                hook.text("reason", reason);
            });
            line.objects(
                "missing_fields",
                &session.missing_fields,
                |field, (name, reason)| {
                    field.text("name", Some(name));
                    field.text("reason", Some(reason));
                },
            );
            line.object("snapshot", |object| put_snapshot(object, &session.snapshot));
        });
    }

    fn transition(
        &mut self,
        out: &mut BytesMut,
        clock: &ClockMap,
        conn: &Connection,
        transition: &Transition,
    ) {
        Object::write(out, |line| {
            fields::transition(line, &mut self.stamp, clock, conn, transition);
        });
        out.put_u8(b'\n');
    }

    fn continued(
        &mut self,
        out: &mut BytesMut,
        clock: &ClockMap,
        conn: &Connection,
        change: &Continued,
    ) {
        Object::write(out, |line| {
            fields::continued(line, &mut self.stamp, clock, conn, change);
        });
        out.put_u8(b'\n');
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
        let stamp = &mut self.stamp;
        Object::write(out, |line| {
            fields::connection(line, stamp, clock, conn, diagnosis, ending, now_ns);
        });
        out.put_u8(b'\n');
    }

    fn hint(&mut self, out: &mut BytesMut, clock: &ClockMap, told: &Told) {
        self.line(out, "hint", clock, told.mono_ns, |line| {
            put_hint(line, &told.hint);
            let (conn, sk) = told.conn.unzip();
            line.shown_or_null("conn", conn.map(|id| id.0));
            line.shown_or_null("sk", sk.map(vocab::socket));
            line.number("netns", told.netns.map(u64::from));
            line.shown_or_null("family", told.family.map(vocab::family));
            line.shown("protocol", vocab::protocol(told.protocol));
            line.word("role", vocab::role(told.role));
            line.endpoint_or_null("local", told.local);
            line.endpoint_or_null("remote", told.remote);
            line.number("pid", told.owner.pid.map(u64::from));
            line.comm("comm", told.owner.comm);
            line.word("owner_source", vocab::owner_source(told.owner.source));
            let stay = told.stay;
            let state = stay.map(|stay| vocab::state(stay.state, Names::Documented));
            line.shown_or_null("state", state);
            line.number("in_state_ns", stay.map(|stay| stay.lasted_ns));
            let is_minimum = stay.is_some_and(|stay| stay.is_minimum);
            line.flag("in_state_is_minimum", is_minimum);
            line.number("count", told.count);
            line.number("limit", told.limit);
        });
    }

    fn clock_changed(&mut self, out: &mut BytesMut, clock: &ClockMap) {
        let before = self.clock.replace(*clock);
        let expected_ns = before.map_or(clock.wall_ns, |before| before.wall_ns(clock.mono_ns));
        self.line(out, "clock", clock, clock.mono_ns, |line| {
            line.signed("wall_step_ns", clock.wall_ns.saturating_sub(expected_ns));
        });
    }

    fn lost(&mut self, out: &mut BytesMut, clock: &ClockMap, now_ns: u64, since_last: &Lost) {
        self.line(out, "lost", clock, now_ns, |line| {
            put_lost(line, since_last);
        });
    }

    fn end(&mut self, out: &mut BytesMut, clock: &ClockMap, now_ns: u64, totals: &Totals) {
        self.line(out, "end", clock, now_ns, |line| {
            line.number("duration_ns", Some(totals.duration_ns));
            line.number("events", Some(totals.events));
            line.number("shown", Some(totals.shown));
            line.number("connections", Some(totals.connections));
            line.number("unchanged", Some(totals.unchanged));
            line.number("aged_out", Some(totals.aged_out));
            line.number("recovered", Some(totals.recovered));
            line.number("hints", Some(totals.hints));
            line.number("unwatched", Some(totals.unwatched));
            put_verdicts(line, &totals.verdicts);
            put_lost(line, &totals.lost);
            put_missing(line, &totals.missing);
        });
    }
}

fn put_snapshot(object: &mut Object<'_>, snapshot: &SnapshotReport) {
    object.word("status", vocab::snapshot_status(snapshot.status));
    object.number("sockets", Some(snapshot.sockets));
    object.number("namespaces", Some(snapshot.namespaces));
    object.number("duration_ns", Some(snapshot.duration_ns));
    object.objects("missing", &snapshot.missing, |missing, (what, reason)| {
        missing.text("what", Some(what));
        missing.text("reason", Some(reason));
    });
}

pub(super) fn put_verdicts(line: &mut Object<'_>, verdicts: &Verdicts) {
    line.object("verdicts", |counts| {
        for (verdict, count) in verdicts.all() {
            counts.number(vocab::verdict(verdict), Some(count));
        }
    });
}

pub(super) fn put_lost(line: &mut Object<'_>, lost: &Lost) {
    line.object("lost", |counts| {
        counts.number("ring_full", Some(lost.ring_full));
        counts.number("reentry", Some(lost.reentry));
        counts.number("unreadable", Some(lost.unreadable));
        counts.number("undecodable", Some(lost.undecodable));
        counts.number("damaged", Some(lost.damaged));
        counts.number("total", Some(lost.total()));
        counts.number("evidence", Some(lost.evidence));
    });
}

pub(super) fn put_missing(line: &mut Object<'_>, missing: &Missing) {
    line.object("missing", |object| {
        object.number("files_before", Some(u64::from(missing.files_before)));
        object.number("transitions_before", Some(missing.transitions_before));
        object.text("after", missing.after.map(vocab::missing_end));
        object.number("damages", Some(missing.damages));
        object.number("damaged_bytes", Some(missing.damaged_bytes));
        object.number("damages_uncounted", Some(missing.damages_uncounted));
        object.number("misplaced_records", Some(missing.misplaced_records));
        object.number("doubled_records", Some(missing.doubled_records));
    });
}
