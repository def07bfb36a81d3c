//! What the page is told: one JSON object. `page.html` and its scripts are its only reader, so it has no
//! version; its form is described here and in `report/model.js`.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::rows::{Rows, Table};
use super::sample::Kept;
use super::stats::{Edge, Stats, Times, class_begin_ns};
use super::{Loss, Report};
use crate::diagnose::{RESET_REASONS, Verdict};
use crate::event::Protocol;
use crate::hints::Told;
use crate::render::closing::{MissingPlace, doubled, missing_parts};
use crate::render::plain::plain;
use crate::render::time::UtcStamp;
use crate::render::{fields, states, vocab};
use crate::session::{ClockMap, HookStatus, Lost, Session, Totals};
use crate::state::{State, legality};
use crate::stats::LONG_HELD_NS;

/// All of it. Times are nanoseconds since the start of the run, unless they say `wall`.
#[derive(Serialize)]
struct Data<'a> {
    session: Value,
    end_ns: i128,
    /// Wall-clock time by moments, in order.
    clocks: Vec<Value>,
    clocks_untold: u64,
    losses: Vec<Value>,
    hints: Vec<Value>,
    totals: Value,
    verdicts: Vec<Value>,
    states: Value,
    /// What the kernel's reasons for a reset mean.
    reset_reasons: BTreeMap<&'a str, &'a str>,
    edges: Vec<Value>,
    times: Vec<Value>,
    columns: Vec<&'a str>,
    /// Places in `columns` whose numbers stand for texts.
    text_columns: Vec<usize>,
    texts: &'a [String],
    /// From here on a connection in `CLOSE_WAIT` counts as forgotten.
    long_held_ns: u64,
    rows: &'a RawValue,
}

/// The data as JSON that can stand in an HTML document: without a `<` anywhere.
pub(super) fn json(report: Report, session: &Session, now_ns: u64, totals: &Totals) -> String {
    let start_ns = session.clock.mono_ns;
    let since_start = |mono_ns: u64| i128::from(mono_ns) - i128::from(start_ns);
    let table = table(report.kept.into_list(), session.clock);
    let columns = table.columns.iter().enumerate();
    let rows = RawValue::from_string(table.rows);
    let data = Data {
        session: facts(session),
        end_ns: since_start(now_ns),
        clocks: clocks(&report.clocks, since_start),
        clocks_untold: report.clocks_untold,
        losses: report
            .losses
            .iter()
            .map(|loss| told(loss, since_start))
            .collect(),
        hints: report
            .hints
            .iter()
            .map(|told| hint(told, since_start))
            .collect(),
        totals: sums(session, totals),
        verdicts: totals.verdicts.all().into_iter().map(verdict).collect(),
        states: states::json(&State::BY_LIFE),
        reset_reasons: RESET_REASONS.into(),
        edges: edges(&report.stats),
        times: times(&report.stats),
        columns: table
            .columns
            .iter()
            .map(|column| column.name.as_str())
            .collect(),
        text_columns: columns
            .filter_map(|(place, column)| column.is_text.then_some(place))
            .collect(),
        texts: &table.texts,
        long_held_ns: LONG_HELD_NS,
        rows: rows.as_deref().unwrap_or(RawValue::NULL),
    };
    // In JSON a `<` stands in texts only, where this means the same.
    serde_json::to_string(&data)
        .unwrap_or_default()
        .replace('<', "\\u003c")
}

fn table(kept: Vec<Kept>, clock: ClockMap) -> Table {
    let mut rows = Rows::new(clock.mono_ns);
    let mut stamp = UtcStamp::default();
    for Kept {
        conn,
        diagnosis,
        ending,
        now_ns,
    } in kept
    {
        rows.row(|row| {
            fields::connection(row, &mut stamp, &clock, &conn, &diagnosis, ending, now_ns);
        });
    }
    rows.finish()
}

fn facts(session: &Session) -> Value {
    let hooks = session.hooks.iter().map(|hook| {
        let (status, reason) = match &hook.status {
            HookStatus::Attached => ("attached", None),
            HookStatus::NotNeeded => ("not_needed", None),
            HookStatus::Unavailable(why) => ("unavailable", Some(plain(why))),
        };
        json!({
            "name": plain(&hook.name),
            "purpose": plain(&hook.purpose),
            "status": status,
            "reason": reason,
        })
    });
    let filters = session.filters.iter();
    let missing = session.missing_fields.iter();
    json!({
        "tracer_version": plain(&session.tracer_version),
        "host": plain(&session.host),
        "kernel": plain(&session.kernel),
        "arch": plain(&session.arch),
        "boot_id": session.boot_id.as_deref().map(plain),
        "filters": filters
            .map(|(name, value)| [plain(name), plain(value)])
            .collect::<Vec<_>>(),
        "hooks": hooks.collect::<Vec<_>>(),
        "missing_fields": missing
            .map(|(name, reason)| json!({"name": plain(name), "reason": plain(reason)}))
            .collect::<Vec<_>>(),
    })
}

/// Seconds and nanoseconds apart: together they are more than a JavaScript number holds.
fn clocks(clocks: &[ClockMap], since_start: impl Fn(u64) -> i128) -> Vec<Value> {
    const NS_PER_SECOND: i64 = 1_000_000_000;
    let mut before: Option<ClockMap> = None;
    clocks
        .iter()
        .map(|clock| {
            let expected_ns = before
                .replace(*clock)
                .map_or(clock.wall_ns, |before| before.wall_ns(clock.mono_ns));
            json!({
                "at_ns": i64::try_from(since_start(clock.mono_ns)).ok(),
                "wall_s": clock.wall_ns.div_euclid(NS_PER_SECOND),
                "wall_subsec_ns": clock.wall_ns.rem_euclid(NS_PER_SECOND),
                "step_ns": clock.wall_ns.saturating_sub(expected_ns),
            })
        })
        .collect()
}

fn told(loss: &Loss, since_start: impl Fn(u64) -> i128) -> Value {
    json!({
        "from_ns": i64::try_from(since_start(loss.from_ns)).ok(),
        "until_ns": i64::try_from(since_start(loss.until_ns)).ok(),
        "transitions": loss.lost.total(),
        "evidence": loss.lost.evidence,
        "reasons": reasons(&loss.lost),
    })
}

fn hint(told: &Told, since_start: impl Fn(u64) -> i128) -> Value {
    json!({
        "at_ns": i64::try_from(since_start(told.mono_ns)).ok(),
        "name": told.hint.name,
        "text": told.hint.text,
        "advice": told.hint.advice,
        "check": told.hint.check,
    })
}

fn reasons(lost: &Lost) -> Vec<Value> {
    vocab::loss_reasons(lost)
        .iter()
        .filter(|reason| reason.count > 0)
        .map(|reason| json!({"count": reason.count, "what": reason.what, "hint": reason.hint}))
        .collect()
}

fn sums(session: &Session, totals: &Totals) -> Value {
    json!({
        "events": totals.events,
        "shown": totals.shown,
        "connections": totals.connections,
        "aged_out": totals.aged_out,
        "recovered": totals.recovered,
        "lost": totals.lost.total(),
        "lost_evidence": totals.lost.evidence,
        "lost_reasons": reasons(&totals.lost),
        "missing": missing_parts(&totals.missing)
            .into_iter()
            .map(|part| json!({
                "place": match part.place {
                    MissingPlace::Before => "before",
                    MissingPlace::Within => "within",
                    MissingPlace::After => "after",
                },
                "words": part.words,
            }))
            .collect::<Vec<_>>(),
        "doubled": doubled(&totals.missing),
        "uncounted": session.uncounted_losses().map(plain),
    })
}

fn verdict((verdict, count): (Verdict, u64)) -> Value {
    let kind = match verdict {
        Verdict::Refused
        | Verdict::TimedOut
        | Verdict::Unreachable
        | Verdict::Cancelled
        | Verdict::ResetByPeer
        | Verdict::ResetByUs
        | Verdict::Aborted
        | Verdict::AcceptQueueLost => "failed",
        Verdict::Unknown => "doubtful",
        Verdict::Open | Verdict::Closed => "fine",
        Verdict::Listener => "listener",
    };
    json!({
        "verdict": vocab::verdict(verdict),
        "kind": kind,
        "meaning": vocab::verdict_meaning(verdict),
        "count": count,
    })
}

/// The documented transitions, and others that were seen.
fn edges(stats: &Stats) -> Vec<Value> {
    let none = Edge::default();
    let mut list = Vec::new();
    for from in State::BY_LIFE {
        for to in State::BY_LIFE {
            let seen = stats.edges.get(&(from, to));
            let documented = legality::edge(Protocol::Tcp, from, to);
            if seen.is_none() && documented.is_none() {
                continue;
            }
            let edge = seen.unwrap_or(&none);
            list.push(json!({
                "from": from.to_string(),
                "to": to.to_string(),
                "why": documented.map(|edge| edge.why),
                "rfc": documented.and_then(|edge| edge.rfc),
                "kernel": documented.and_then(|edge| edge.kernel),
                "count": edge.count,
                "inferred": edge.inferred,
                "unseen": edge.unseen,
                "timed": edge.before.all.count(),
                "median_ns": edge.before.all.quantile_ns(0.5),
            }));
        }
    }
    list
}

/// How long handshakes and the stays in each state took.
fn times(stats: &Stats) -> Vec<Value> {
    let handshakes = json!({"state": null, "spread": spread(&stats.handshakes)});
    let states = State::BY_LIFE.into_iter().filter_map(|state| {
        let stays = stats.states.get(&state)?;
        Some(json!({
            "state": state.to_string(),
            "count": stays.count,
            "inferred": stays.inferred,
            "polled": stays.polled,
            "still_in": stays.still_in,
            "at_least": stays.at_least,
            "spread": spread(&stays.exact),
        }))
    });
    std::iter::once(handshakes).chain(states).collect()
}

fn spread(times: &Times) -> Value {
    let classes = times
        .classes
        .iter()
        .map(|(&class, &count)| json!([class_begin_ns(class), class_begin_ns(class + 1), count]));
    json!({
        "count": times.all.count(),
        "median_ns": times.all.quantile_ns(0.5),
        "p95_ns": times.all.quantile_ns(0.95),
        "p99_ns": times.all.quantile_ns(0.99),
        "max_ns": times.all.max_ns(),
        "classes": classes.collect::<Vec<_>>(),
    })
}
