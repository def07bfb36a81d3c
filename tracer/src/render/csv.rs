//! Comma-separated values (RFC 4180, lines ended by LF): a header line, then a line per transition and
//! one per connection when it ends. The first column tells them apart; a cell that is of no meaning to
//! one of them is empty.
//!
//! The columns are the fields of `jsonl`, flattened. In a cell that others can choose, as the command
//! name, what is not plain is escaped as in `text`, and where it begins like a formula an apostrophe
//! goes before it, since spreadsheets run formulas. What is about neither a transition nor a
//! connection has no place here.

use std::fmt::{Display, Write};

use bytes::{BufMut, BytesMut};

use super::Render;
use super::digits::{write_addr, write_number};
use super::fields::{self, Fields};
use super::plain::push_plain;
use super::span::Span;
use super::time::UtcStamp;
use super::vocab;
use crate::diagnose::{Diagnosis, SpanEvidence};
use crate::event::{Comm, Endpoint, Process};
use crate::hints::{Hint, Told};
use crate::place::{Container, Runtime};
use crate::session::{ClockMap, Lost, Session, Totals};
use crate::state::Names;
use crate::track::{Connection, Ending, Transition};

/// Renders [`super::Format::Csv`].
#[derive(Debug, Default)]
pub struct Csv {
    stamp: UtcStamp,
}

/// The columns of the processes that own a connection and of its socket, after all others.
const OF_OWNER_PROCESS: usize = 15;

/// Columns in order; new ones only ever come after the last.
const HEADER: &str = "type,ts,mono_ns,conn,sk,netns,family,protocol,role,\
                      local_addr,local_port,local_port_known,remote_addr,remote_port,\
                      from,to,kernel_from,kernel_to,in_state_ns,in_state_is_minimum,unseen_next,\
                      legality,after_gap,recovered,pid,comm,owner_source,\
                      verdict,closed_by,reset_reason,because,\
                      syn_retransmits,synack_retransmits,retransmits,\
                      bytes_sent,bytes_received,rtt_us,states,ending,from_birth,has_gap,hints,\
                      uid,ns_pid,cgroup,container,runtime,pod,unit,owners,\
                      segments_sent,segments_received,data_segments_sent,data_segments_received,\
                      congestion_state,socket_uid,socket_cgroup\n";

impl Render for Csv {
    fn start(&mut self, out: &mut BytesMut, _session: &Session) {
        out.put_slice(HEADER.as_bytes());
    }

    fn transition(
        &mut self,
        out: &mut BytesMut,
        clock: &ClockMap,
        conn: &Connection,
        transition: &Transition,
    ) {
        let mut row = Row::new(out);
        fields::transition(&mut row, &mut self.stamp, clock, conn, transition);
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
        let (row, stamp) = (&mut Row::new(out), &mut self.stamp);
        fields::connection(row, stamp, clock, conn, diagnosis, ending, now_ns);
        out.put_u8(b'\n');
    }

    fn hint(&mut self, out: &mut BytesMut, clock: &ClockMap, told: &Told) {
        let row = &mut Row::new(out);
        let known = |row: &mut Row<'_>, value: Option<&dyn Display>| match value {
            Some(value) => row.shown("", value),
            None => row.absent(1),
        };
        let end = |row: &mut Row<'_>, value: Option<Endpoint>| match value {
            Some(value) => row.endpoint("", value),
            None => row.absent(2),
        };
        row.word("type", "hint");
        row.word("ts", self.stamp.format(clock.wall_ns(told.mono_ns)));
        row.number("mono_ns", Some(told.mono_ns));
        row.number("conn", told.conn.map(|(id, _)| id.0));
        known(
            row,
            told.conn
                .map(|(_, sk)| vocab::socket(sk))
                .as_ref()
                .map(|sk| sk as _),
        );
        row.number("netns", told.netns.map(u64::from));
        known(
            row,
            told.family
                .map(vocab::family)
                .as_ref()
                .map(|family| family as _),
        );
        row.shown("protocol", vocab::protocol(told.protocol));
        row.word("role", vocab::role(told.role));
        end(row, told.local);
        row.absent(1);
        end(row, told.remote);
        row.absent(4);
        row.number("in_state_ns", told.stay.map(|stay| stay.lasted_ns));
        row.flag(
            "in_state_is_minimum",
            told.stay.is_some_and(|stay| stay.is_minimum),
        );
        row.absent(4);
        row.number("pid", told.owner.pid.map(u64::from));
        row.comm("comm", told.owner.comm);
        row.word("owner_source", vocab::owner_source(told.owner.source));
        row.absent(3);
        row.text("because", Some(&told.hint.text));
        row.absent(6);
        let state = told
            .stay
            .map(|stay| vocab::state(stay.state, Names::Documented));
        known(row, state.as_ref().map(|state| state as _));
        row.absent(3);
        row.word("hints", told.hint.name);
        row.absent(OF_OWNER_PROCESS);
        out.put_u8(b'\n');
    }

    fn clock_changed(&mut self, _out: &mut BytesMut, _clock: &ClockMap) {}

    fn lost(&mut self, _out: &mut BytesMut, _clock: &ClockMap, _now_ns: u64, _since_last: &Lost) {}

    fn end(&mut self, _out: &mut BytesMut, _clock: &ClockMap, _now_ns: u64, _totals: &Totals) {}
}

struct Row<'a> {
    out: &'a mut BytesMut,
    separator: &'static str,
}

impl<'a> Row<'a> {
    fn new(out: &'a mut BytesMut) -> Self {
        Self { out, separator: "" }
    }

    fn cell(&mut self) -> &mut BytesMut {
        self.out.put_slice(self.separator.as_bytes());
        self.separator = ",";
        self.out
    }
}

impl Fields for Row<'_> {
    fn number(&mut self, _name: &'static str, value: Option<u64>) {
        let cell = self.cell();
        if let Some(number) = value {
            let _ = write_number(cell, number);
        }
    }

    fn flag(&mut self, name: &'static str, value: bool) {
        self.word(name, if value { "true" } else { "false" });
    }

    fn word(&mut self, _name: &'static str, value: &str) {
        self.cell().put_slice(value.as_bytes());
    }

    fn shown(&mut self, _name: &'static str, value: impl Display) {
        let _ = write!(self.cell(), "{value}");
    }

    fn words(&mut self, _name: &'static str, values: impl Iterator<Item = &'static str>) {
        let cell = self.cell();
        for (index, word) in values.enumerate() {
            let space = if index > 0 { " " } else { "" };
            let _ = write!(cell, "{space}{word}");
        }
    }

    fn text(&mut self, _name: &'static str, value: Option<&str>) {
        put_cell(self.cell(), value.unwrap_or_default().as_bytes());
    }

    fn comm(&mut self, _name: &'static str, value: Option<Comm>) {
        let cell = self.cell();
        if let Some(comm) = value {
            put_cell(cell, comm.as_bytes());
        }
    }

    fn container(&mut self, name: &'static str, value: Option<&Container>) {
        let runtime = value.and_then(|container| container.runtime);
        self.text(name, value.map(|container| container.id.as_str()));
        self.text(name, runtime.map(Runtime::name));
        self.text(name, value.and_then(|container| container.pod.as_deref()));
    }

    fn endpoint(&mut self, name: &'static str, value: Endpoint) {
        let _ = write_addr(self.cell(), value.addr);
        self.number(name, Some(u64::from(value.port)));
    }

    fn spans(
        &mut self,
        _name: &'static str,
        values: &[Span],
        _clock: &ClockMap,
        _stamp: &mut UtcStamp,
    ) {
        let cell = self.cell();
        let mut space = "";
        for span in values {
            let name = vocab::state(span.known.state, Names::Documented);
            let _ = write!(cell, "{space}{name}");
            if span.known.evidence != SpanEvidence::Observed {
                let _ = write!(cell, "({})", vocab::evidence(span.known.evidence));
            }
            space = " ";
        }
    }

    fn hints(&mut self, name: &'static str, values: &[Hint]) {
        self.words(name, values.iter().map(|hint| hint.name));
    }

    fn owners(&mut self, _name: &'static str, values: &[Process]) {
        let cell = self.cell();
        let mut space = "";
        for process in values {
            let _ = write!(cell, "{space}{}", process.pid);
            space = " ";
        }
    }

    fn absent(&mut self, fields: usize) {
        for _ in 0..fields {
            self.cell();
        }
    }
}

/// A cell of any bytes, made plain, quoted where it must be and disarmed where it would be run.
fn put_cell(out: &mut BytesMut, bytes: &[u8]) {
    let mut text = String::new();
    push_plain(&mut text, bytes);
    let formula = if text.starts_with(['=', '+', '-', '@']) {
        "'"
    } else {
        ""
    };
    // Some readers drop spaces at the ends of a cell that is not quoted.
    let _ = if text.contains([',', '"']) || text.starts_with(' ') || text.ends_with(' ') {
        write!(out, "\"{formula}{}\"", text.replace('"', "\"\""))
    } else {
        write!(out, "{formula}{text}")
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(text: &str) -> String {
        let mut out = BytesMut::new();
        put_cell(&mut out, text.as_bytes());
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn cells_are_quoted_and_disarmed() {
        assert_eq!(cell("nginx"), "nginx");
        assert_eq!(cell("a,b"), "\"a,b\"");
        assert_eq!(cell("a\"b"), "\"a\"\"b\"");
        assert_eq!(cell(" "), "\" \"");
        assert_eq!(cell(" a"), "\" a\"");
        assert_eq!(cell("a "), "\"a \"");
        assert_eq!(cell("a b"), "a b");
        assert_eq!(cell("=1+1"), "'=1+1");
        assert_eq!(cell("@SUM(A1,A2)"), "\"'@SUM(A1,A2)\"");
        assert_eq!(cell("-cmd"), "'-cmd");
        assert_eq!(cell("+1"), "'+1");
    }
}
