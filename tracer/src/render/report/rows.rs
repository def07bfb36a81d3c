//! Connections as rows of numbers: a page of 10,000 has to be small, and quick to read in.
//!
//! The columns are the fields of a `connection` in `docs/schema.md`, whichever there are: [`Rows`] takes
//! them as `csv` does. A text is a number too, its place in one list of all texts.

use std::collections::HashMap;
use std::fmt::{Display, Write};

use crate::diagnose::SpanEvidence;
use crate::event::{Comm, Endpoint, Process};
use crate::hints::Hint;
use crate::place::{Container, Runtime};
use crate::render::fields::Fields;
use crate::render::plain::push_name;
use crate::render::span::{Lasted, Span};
use crate::render::time::UtcStamp;
use crate::session::ClockMap;

/// Bits of the fourth number of a state.
const POLLED: u32 = 1;
const INFERRED: u32 = 2;
const AT_LEAST: u32 = 4;
const OVER: u32 = 8;

/// A table being filled.
#[derive(Debug)]
pub(super) struct Rows {
    /// Times are told as nanoseconds since this one.
    start_ns: u64,
    /// JSON: rows of cells, without the outermost brackets.
    json: String,
    columns: Vec<Column>,
    column: usize,
    texts: Texts,
}

/// A column's name, and whether its numbers stand for texts.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) is_text: bool,
}

#[derive(Debug, Default)]
struct Texts {
    index: HashMap<String, usize>,
    list: Vec<String>,
}

/// A table that is complete.
pub(super) struct Table {
    pub(super) columns: Vec<Column>,
    pub(super) texts: Vec<String>,
    /// A JSON list of rows.
    pub(super) rows: String,
}

impl Rows {
    pub(super) fn new(start_ns: u64) -> Self {
        Self {
            start_ns,
            json: "[".to_owned(),
            columns: Vec::new(),
            column: 0,
            texts: Texts::default(),
        }
    }

    /// Adds a row; `fill` calls for its cells.
    pub(super) fn row(&mut self, fill: impl FnOnce(&mut Self)) {
        self.json
            .push_str(if self.json.len() > 1 { ",\n[" } else { "[" });
        self.column = 0;
        fill(self);
        self.json.push(']');
    }

    pub(super) fn finish(mut self) -> Table {
        self.json.push(']');
        Table {
            columns: self.columns,
            texts: self.texts.list,
            rows: self.json,
        }
    }

    /// A moment, as nanoseconds since the start.
    pub(super) fn since_start(&self, mono_ns: u64) -> i128 {
        i128::from(mono_ns) - i128::from(self.start_ns)
    }

    fn cell(&mut self, name: &str, is_text: bool, value: Option<impl Display>) {
        if self.column == self.columns.len() {
            let name = name.to_owned();
            self.columns.push(Column { name, is_text });
        }
        if self.column > 0 {
            self.json.push(',');
        }
        self.column += 1;
        push_or_null(&mut self.json, value);
    }
}

impl Texts {
    fn place(&mut self, text: &str) -> usize {
        if let Some(&place) = self.index.get(text) {
            return place;
        }
        let place = self.list.len();
        self.list.push(text.to_owned());
        self.index.insert(text.to_owned(), place);
        place
    }
}

fn push_or_null(json: &mut String, value: Option<impl Display>) {
    let _ = match value {
        Some(value) => write!(json, "{value}"),
        None => json.write_str("null"),
    };
}

impl Fields for Rows {
    fn number(&mut self, name: &'static str, value: Option<u64>) {
        if name == "mono_ns" {
            let since_start = value.map(|mono_ns| self.since_start(mono_ns));
            self.cell("end_ns", false, since_start);
        } else {
            self.cell(name, false, value);
        }
    }

    fn flag(&mut self, name: &'static str, value: bool) {
        self.cell(name, false, Some(value));
    }

    fn word(&mut self, name: &'static str, value: &str) {
        self.text(name, Some(value));
    }

    fn shown(&mut self, name: &'static str, value: impl Display) {
        self.text(name, Some(&value.to_string()));
    }

    fn words(&mut self, name: &'static str, values: impl Iterator<Item = &'static str>) {
        let words: Vec<_> = values.collect();
        self.text(name, Some(&words.join(" ")));
    }

    fn text(&mut self, name: &'static str, value: Option<&str>) {
        // The page works these out from `end_ns`, or has no use for them.
        if matches!(name, "type" | "ts") {
            return;
        }
        let place = value.map(|text| self.texts.place(text));
        self.cell(name, true, place);
    }

    fn comm(&mut self, name: &'static str, value: Option<Comm>) {
        let plain = value.map(|comm| {
            let mut plain = String::new();
            push_name(&mut plain, comm.as_bytes());
            plain
        });
        self.text(name, plain.as_deref());
    }

    fn container(&mut self, name: &'static str, value: Option<&Container>) {
        let runtime = value.and_then(|container| container.runtime);
        self.text(name, value.map(|container| container.id.as_str()));
        self.text("runtime", runtime.map(Runtime::name));
        self.text("pod", value.and_then(|container| container.pod.as_deref()));
    }

    fn owners(&mut self, name: &'static str, values: &[Process]) {
        let pids: Vec<_> = values.iter().map(|one| one.pid.to_string()).collect();
        self.text(name, Some(&pids.join(" ")));
    }

    fn endpoint(&mut self, name: &'static str, value: Endpoint) {
        let addr = self.texts.place(&value.addr.to_string());
        self.cell(&format!("{name}_addr"), true, Some(addr));
        self.cell(&format!("{name}_port"), false, Some(value.port));
    }

    /// Five numbers for each: name, beginning, duration, what is to be known of it, expected duration.
    fn spans(
        &mut self,
        name: &'static str,
        values: &[Span],
        _clock: &ClockMap,
        _stamp: &mut UtcStamp,
    ) {
        let mut list = String::from("[");
        for span in values {
            if list.len() > 1 {
                list.push(',');
            }
            let state = self.texts.place(&span.known.state.to_string());
            let _ = write!(list, "{state},");
            push_or_null(
                &mut list,
                span.known.since_ns.map(|ns| self.since_start(ns)),
            );
            list.push(',');
            push_or_null(&mut list, span.lasted.ns());
            let _ = write!(list, ",{},", marks(span));
            push_or_null(&mut list, span.known.expected_ns);
        }
        list.push(']');
        self.cell(name, false, Some(list));
    }

    /// Four texts for each: name, sentence, advice, command.
    fn hints(&mut self, name: &'static str, values: &[Hint]) {
        let mut list = String::from("[");
        for hint in values {
            for text in [
                Some(hint.name),
                Some(&hint.text),
                Some(hint.advice),
                hint.check.as_deref(),
            ] {
                if list.len() > 1 {
                    list.push(',');
                }
                let place = text.map(|text| self.texts.place(text));
                push_or_null(&mut list, place);
            }
        }
        list.push(']');
        self.cell(name, false, Some(list));
    }

    fn absent(&mut self, _fields: usize) {}
}

fn marks(span: &Span) -> u32 {
    let evidence = match span.known.evidence {
        SpanEvidence::Observed => 0,
        SpanEvidence::Polled => POLLED,
        SpanEvidence::Inferred => INFERRED,
    };
    let lasted = match span.lasted {
        Lasted::AtLeast(_) => AT_LEAST,
        Lasted::Over => OVER,
        Lasted::Exactly(_) | Lasted::NotKnown => 0,
    };
    evidence | lasted
}
