//! The states: how long they lasted, and which followed which.

use bytes::BytesMut;

use super::table::{Align, Table};
use super::text::Page;
use super::words;
use crate::render::time::human;
use crate::render::vocab;
use crate::state::State;
use crate::stats::Durations;
use Align::{Left, Right};

/// How long the states lasted.
pub(super) fn states(out: &mut BytesMut, page: &Page<'_>) {
    let names = page.names();
    let mut table = Table::new(&[
        ("TIME IN STATE", Left),
        ("", Left),
        ("COUNT", Right),
        ("P50", Right),
        ("P90", Right),
        ("P99", Right),
        ("MAX", Right),
    ]);
    let (mut states, others) = page.sheet.stats.states.top(0, State::BY_LIFE.len());
    states.sort_by_key(|ranked| words::by_life(*ranked.key));
    let mut row = |state: String, known: &str, times: &Durations, mark: &str| {
        let time =
            |ns: Option<u64>| ns.map_or_else(String::new, |ns| format!("{mark}{}", human(ns)));
        if times.count() > 0 {
            table.push([
                state,
                known.to_owned(),
                times.count().to_string(),
                time(times.quantile_ns(0.5)),
                time(times.quantile_ns(0.9)),
                time(times.quantile_ns(0.99)),
                time(times.max_ns()),
            ]);
        }
    };
    let mut unknown = Vec::new();
    for ranked in states {
        let state = vocab::state(*ranked.key, names).to_string();
        let times = ranked.sum;
        row(state.clone(), "measured", &times.measured, "");
        row(state.clone(), "estimated", &times.estimated, "~");
        row(state.clone(), "at least", &times.minimum, ">");
        if times.unknown > 0 {
            unknown.push(format!("{} {state}", times.unknown));
        }
    }
    let mut notes = Vec::new();
    if !table.is_empty() {
        notes.push(
            "estimated: from round trips or by polling; at least: a part was not seen; \
             P50, P90 and P99 are up to 1% low"
                .to_owned(),
        );
    }
    if !unknown.is_empty() {
        notes.push(format!("time not known: {}", unknown.join(", ")));
    }
    if let Some(others) = others {
        notes.push(format!("{} other states", others.keys));
    }
    table.write(out, page.color, &notes);
}

/// The transition matrix, a line for each pair of states that has any.
pub(super) fn edges(out: &mut BytesMut, page: &Page<'_>) {
    const ROWS: usize = 60;
    let names = page.names();
    let mut table = Table::new(&[
        ("TRANSITIONS FROM", Left),
        ("TO", Left),
        ("COUNT", Right),
        ("", Left),
    ]);
    let (mut edges, others) = page.sheet.stats.edges.top(0, ROWS);
    edges.sort_by_key(|ranked| {
        let (from, to) = *ranked.key;
        (words::by_life(from), words::by_life(to))
    });
    for ranked in edges {
        let (from, to) = *ranked.key;
        table.push([
            vocab::state(from, names).to_string(),
            vocab::state(to, names).to_string(),
            ranked.sum.count.to_string(),
            if ranked.sum.unexpected > 0 {
                "unexpected".to_owned()
            } else {
                String::new()
            },
        ]);
    }
    let note = others.map(|others| format!("{} others of {} kinds", others.sum.count, others.keys));
    table.write(out, page.color, note.as_slice());
}
