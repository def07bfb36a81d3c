//! Comma-separated values (RFC 4180, lines ended by LF): a header line, then a line per transition.
//!
//! The columns are the fields of `jsonl`, flattened. The only cell that others can choose is the
//! command name: what is not plain in it is escaped as in `text`, and where it begins like a formula
//! an apostrophe goes before it, since spreadsheets run formulas. What is not about one transition
//! has no place here.

use std::fmt::{Display, Write};

use bytes::{BufMut, BytesMut};

use super::Render;
use super::fields::{self, Fields};
use super::plain::push_plain;
use super::time::UtcStamp;
use crate::event::{Comm, Endpoint};
use crate::session::{ClockMap, Lost, Session, Totals};
use crate::track::{Connection, Ending, Transition};

/// Renders [`super::Format::Csv`].
#[derive(Debug, Default)]
pub struct Csv {
    stamp: UtcStamp,
}

/// Columns in order; new ones only ever come after the last.
const HEADER: &str = "ts,mono_ns,conn,sk,netns,family,protocol,role,\
                      local_addr,local_port,local_port_known,remote_addr,remote_port,\
                      from,to,kernel_from,kernel_to,in_state_ns,in_state_is_minimum,unseen_next,\
                      legality,after_gap,recovered,pid,comm,owner_source\n";

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
        let mut row = Row {
            out: &mut *out,
            separator: "",
        };
        fields::transition(&mut row, &mut self.stamp, clock, conn, transition);
        out.put_u8(b'\n');
    }

    fn ended(
        &mut self,
        _out: &mut BytesMut,
        _clock: &ClockMap,
        _conn: &Connection,
        _ending: Ending,
        _now_ns: u64,
    ) {
    }

    fn clock_changed(&mut self, _out: &mut BytesMut, _clock: &ClockMap) {}

    fn lost(&mut self, _out: &mut BytesMut, _clock: &ClockMap, _now_ns: u64, _since_last: &Lost) {}

    fn end(&mut self, _out: &mut BytesMut, _clock: &ClockMap, _now_ns: u64, _totals: &Totals) {}
}

struct Row<'a> {
    out: &'a mut BytesMut,
    separator: &'static str,
}

impl Row<'_> {
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
            let _ = write!(cell, "{number}");
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

    fn comm(&mut self, _name: &'static str, value: Option<Comm>) {
        let cell = self.cell();
        if let Some(comm) = value {
            let mut text = String::new();
            push_plain(&mut text, comm.as_bytes());
            put_cell(cell, &text);
        }
    }

    fn endpoint(&mut self, name: &'static str, value: Endpoint) {
        self.shown(name, value.addr);
        self.number(name, Some(u64::from(value.port)));
    }
}

/// A cell of plain text, quoted where it must be and disarmed where it would be run.
fn put_cell(out: &mut BytesMut, text: &str) {
    let formula = if text.starts_with(['=', '+', '-', '@']) {
        "'"
    } else {
        ""
    };
    let _ = if text.contains([',', '"']) {
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
        put_cell(&mut out, text);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn cells_are_quoted_and_disarmed() {
        assert_eq!(cell("nginx"), "nginx");
        assert_eq!(cell("a,b"), "\"a,b\"");
        assert_eq!(cell("a\"b"), "\"a\"\"b\"");
        assert_eq!(cell("=1+1"), "'=1+1");
        assert_eq!(cell("@SUM(A1,A2)"), "\"'@SUM(A1,A2)\"");
        assert_eq!(cell("-cmd"), "'-cmd");
        assert_eq!(cell("+1"), "'+1");
    }
}
