//! Recordings that earlier versions made of real connections: `tracer/tests/recordings`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::tz::TimeZone;
use serde_json::Value;

use super::Scratch;
use crate::filter::{Filter, PortSet, Show};
use crate::flow::Flow;
use crate::record::frame::{HEAD, Head};
use crate::record::{Close, Damage, End, Step, open};
use crate::render::{Format, RenderOptions, Renderer};
use crate::session::Totals;
use crate::state::Names;
use crate::track::{Tracker, TrackerConfig};

/// All but the port whose connections overflowed the ring.
const PORTS: &str = "8001-8004,8009-8010";

fn sample(name: &str) -> PathBuf {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recordings/format-1");
    PathBuf::from(directory).join(name)
}

fn rotated() -> [PathBuf; 3] {
    // Not in their order.
    [3, 1, 2].map(|part| sample(&format!("rotated.00000{part}.tracer")))
}

/// What a replay gives.
struct Replay {
    text: String,
    damage: Vec<Damage>,
    end: End,
    totals: Totals,
}

/// As `tracer replay` does it.
fn replay(paths: &[PathBuf], format: Format, ports: Option<&str>) -> Replay {
    let mut recordings = open(paths).unwrap();
    let [recording] = recordings.as_mut_slice() else {
        panic!("{} sessions", recordings.len());
    };
    let header = recording.header().clone();
    let wanted = Filter {
        ports: ports.map_or_else(PortSet::default, |ports| ports.parse().unwrap()),
        ..Filter::default()
    };
    let tracker = Tracker::new(TrackerConfig {
        filter: wanted.and_within(header.filter.to_filter().unwrap()),
        time_wait: format.time_wait(),
        minis: header.minis,
        ..TrackerConfig::default()
    });
    let options = RenderOptions {
        names: Names::Documented,
        color: false,
        width: None,
        time_zone: TimeZone::UTC,
    };
    let mut flow = Flow::start(
        tracker,
        Renderer::new(format, options),
        Show::default(),
        None,
        &header.session,
        header.sources.clone(),
    );
    let mut damage = Vec::new();
    let end = loop {
        match recording.step().unwrap() {
            Step::Inputs(mut inputs) => {
                while let Some(input) = inputs.input() {
                    flow.input(input);
                }
            }
            Step::Damage {
                damage: found,
                loss,
                ..
            } => {
                damage.push(found);
                flow.input(loss);
            }
            Step::Passed => {}
            Step::Wait => panic!("it waits"),
            Step::End(end) => break end,
        }
    };
    let totals = flow.finish(end.at_ns);
    let text = String::from_utf8(flow.buffer().to_vec()).unwrap();
    Replay {
        text,
        damage,
        end,
        totals,
    }
}

/// What became of each connection, as one line: who had it, on which side, how it ended, and the states
/// it was seen in.
fn fates(jsonl: &str) -> BTreeMap<String, u32> {
    let mut fates = BTreeMap::new();
    for line in jsonl.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        if line["type"] != "connection" {
            continue;
        }
        let text = |field: &str| line[field].as_str().unwrap_or("?").to_owned();
        let states = line["states"].as_array().unwrap();
        let seen = states
            .iter()
            .filter(|state| state["evidence"] != "inferred")
            .map(|state| state["state"].as_str().unwrap());
        let fate = format!(
            "{} {}: {}, {} first: {}",
            text("comm"),
            text("role"),
            text("verdict"),
            text("closed_by"),
            seen.collect::<Vec<_>>().join(" ")
        );
        *fates.entry(fate).or_default() += 1;
    }
    fates
}

#[track_caller]
fn assert_fates(replay: &Replay, expected: &[(u32, &str)]) {
    let expected = expected
        .iter()
        .map(|(count, fate)| ((*fate).to_owned(), *count));
    assert_eq!(fates(&replay.text), expected.collect());
}

/// What `make.py` did while both tracers ran.
const CLIENTS: [(u32, &str); 13] = [
    (
        1,
        "client-closes client: closed, local first: SYN_SENT ESTABLISHED FIN_WAIT_1 FIN_WAIT_2",
    ),
    (
        1,
        "server server: closed, local first: ESTABLISHED FIN_WAIT_1 FIN_WAIT_2",
    ),
    (
        1,
        "server-closes client: closed, remote first: SYN_SENT ESTABLISHED CLOSE_WAIT LAST_ACK CLOSED",
    ),
    (
        1,
        "ipv6 client: closed, local first: SYN_SENT ESTABLISHED FIN_WAIT_1 FIN_WAIT_2",
    ),
    (1, "refused client: refused, remote first: SYN_SENT CLOSED"),
    (
        1,
        "reset-by-peer client: reset_by_peer, remote first: SYN_SENT ESTABLISHED CLOSED",
    ),
    (
        1,
        "server server: reset_by_us, local first: ESTABLISHED CLOSED",
    ),
    (
        1,
        "reset-by-us client: reset_by_us, local first: SYN_SENT ESTABLISHED CLOSED",
    ),
    (
        1,
        "server server: reset_by_peer, remote first: ESTABLISHED CLOSED",
    ),
    (
        1,
        "gives-up client: cancelled, local first: SYN_SENT CLOSED",
    ),
    (1, "times-out client: timed_out, ? first: SYN_SENT CLOSED"),
    (
        1,
        "last client: closed, local first: SYN_SENT ESTABLISHED FIN_WAIT_1 FIN_WAIT_2",
    ),
    (
        1,
        "make unknown: closed, local first: ESTABLISHED FIN_WAIT_1 FIN_WAIT_2",
    ),
];
const CLOSED_BY_CLIENT: &str =
    "server server: closed, remote first: ESTABLISHED CLOSE_WAIT LAST_ACK CLOSED";
const LEFT_HALF_OPEN: &str = "server server: open, remote first: ESTABLISHED CLOSE_WAIT";
/// The same, where transitions were lost since.
const IN_DOUBT: &str = "server server: unknown, remote first: ESTABLISHED CLOSE_WAIT";
const LISTENER: &str = "server listener: listener, ? first: LISTEN";

fn assert_whole(replay: &Replay) {
    assert_eq!((&replay.damage, replay.end.unknown), (&Vec::new(), 0));
    assert_eq!(replay.end.how, Close::Whole);
}

#[test]
fn a_rotated_set_tells_what_happened() {
    let replay = replay(&rotated(), Format::Jsonl, None);
    assert_whole(&replay);
    assert_eq!((replay.totals.events, replay.totals.lost.total()), (62, 0));
    let others = [(3, CLOSED_BY_CLIENT), (1, LEFT_HALF_OPEN), (6, LISTENER)];
    assert_fates(&replay, &[&CLIENTS[..], &others].concat());
}

#[test]
fn an_overflow_hides_nothing_of_what_was_before_and_after() {
    let replay = replay(&[sample("outcomes.tracer")], Format::Jsonl, Some(PORTS));
    assert_whole(&replay);
    let lost = replay.totals.lost;
    assert_eq!(
        (replay.totals.events, lost.ring_full, lost.evidence),
        (594, 232, 23)
    );
    let others = [
        (4, CLOSED_BY_CLIENT),
        (1, IN_DOUBT),
        (5, LISTENER),
        (
            1,
            "after-loss client: closed, local first: SYN_SENT ESTABLISHED FIN_WAIT_1 FIN_WAIT_2",
        ),
        (1, "stays-open client: open, ? first: SYN_SENT ESTABLISHED"),
        (1, "server server: open, ? first: ESTABLISHED"),
    ];
    assert_fates(&replay, &[&CLIENTS[..], &others].concat());
}

#[test]
fn what_an_overflow_has_torn_is_not_called_closed() {
    let replay = replay(&[sample("outcomes.tracer")], Format::Jsonl, Some("8005"));
    let fates = fates(&replay.text);
    let torn = fates.keys().filter(|fate| fate.contains(": unknown"));
    assert!(torn.count() > 0, "{fates:?}");
    for closed in fates.keys().filter(|fate| fate.contains(": closed")) {
        assert!(
            closed.ends_with(" CLOSED") || closed.ends_with(" FIN_WAIT_1 FIN_WAIT_2"),
            "{closed}"
        );
    }
}

fn assert_output(name: &str, replay: &Replay) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../../../tests/recordings/format-1");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, replay.text));
}

#[test]
fn the_output_is_as_it_was() {
    let outcomes = [sample("outcomes.tracer")];
    assert_output("rotated.jsonl", &replay(&rotated(), Format::Jsonl, None));
    let timeline = replay(&outcomes, Format::Timeline, Some(PORTS));
    assert_output("outcomes.timeline", &timeline);
}

/// The sample with a bit of the first transitions turned, and its last block torn.
fn damaged(scratch: &Scratch) -> PathBuf {
    let mut bytes = std::fs::read(sample("outcomes.tracer")).unwrap();
    let first_transitions = (0..bytes.len()).find(|at| {
        let head = bytes[*at..].first_chunk().and_then(Head::parse);
        head.is_some_and(|head| head.counts.transitions > 0)
    });
    bytes[first_transitions.unwrap() + HEAD + 5] ^= 0x10;
    bytes.truncate(bytes.len() - 20);
    let path = scratch.path("damaged.tracer");
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn damage_costs_a_block_and_is_told() {
    let scratch = Scratch::new();
    let replay = replay(&[damaged(&scratch)], Format::Timeline, Some(PORTS));
    let [damage] = replay.damage.as_slice() else {
        panic!("{:?}", replay.damage);
    };
    let missing = damage.missing.unwrap();
    assert!(missing.transitions > 0, "{damage:?}");
    assert_eq!(replay.totals.events + missing.transitions, 594);
    assert_eq!(replay.totals.lost.damaged, missing.transitions);
    assert!(matches!(replay.end.how, Close::Cut { torn } if torn > 0));
    assert_output("damaged.timeline", &replay);
}

#[test]
fn a_part_that_is_missing_is_told() {
    let [third, first, _] = rotated();
    let replay = replay(&[third, first], Format::Jsonl, None);
    let missing = replay.damage[0].missing.unwrap();
    assert!(missing.records > 0);
    assert_eq!(replay.totals.events + missing.transitions, 62);
    assert_eq!(replay.totals.lost.total(), missing.transitions);
    assert_eq!(replay.end.how, Close::Whole);
}
