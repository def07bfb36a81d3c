//! The JSON Schema and its documentation against what is really written.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use jsonschema::Validator;
use proptest::prelude::*;
use serde_json::{Value, json};
use tracer::diagnose::{Diagnosis, SpanEvidence, StateSpan, Verdict};
use tracer::event::{Comm, Family, Protocol};
use tracer::place::Place;
use tracer::render::{Format, SCHEMA_VERSION};
use tracer::state::State;
use tracer::track::{ConnId, Connection, Ending, Legality, OwnerProcess, OwnerSource, Role};

mod samples;

const SCHEMA: &str = include_str!("../../docs/tracer.schema.json");
const DOCUMENT: &str = include_str!("../../docs/schema.md");
const KINDS: [&str; 8] = [
    "session",
    "transition",
    "continued",
    "connection",
    "hint",
    "clock",
    "lost",
    "end",
];

fn schema() -> Value {
    serde_json::from_str(SCHEMA).unwrap()
}

fn published() -> Validator {
    let schema = schema();
    jsonschema::meta::validate(&schema).unwrap();
    jsonschema::validator_for(&schema).unwrap()
}

static STRICT: LazyLock<Validator> = LazyLock::new(strict);

/// The published schema lets fields pass that it does not know; this one finds those that are
/// written but not documented.
fn strict() -> Validator {
    fn close(value: &mut Value) {
        if let Value::Object(object) = value {
            if object.get("type") == Some(&json!("object")) && !object.contains_key("allOf") {
                object.insert("additionalProperties".to_owned(), json!(false));
            }
            object.values_mut().for_each(close);
        }
    }
    let mut schema = schema();
    close(&mut schema);
    jsonschema::validator_for(&schema).unwrap()
}

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn assert_valid(line: &Value) {
    let errors: Vec<String> = STRICT
        .iter_errors(line)
        .map(|error| format!("{} at {}", error, error.instance_path))
        .collect();
    assert!(errors.is_empty(), "{line}: {}", errors.join("; "));
}

fn transition() -> Value {
    let life = samples::client_life();
    lines(&samples::transitions(Format::Jsonl, false, &life)).swap_remove(1)
}

fn connection() -> Value {
    let outcomes = samples::outcomes::outcomes();
    lines(&samples::ended(Format::Jsonl, false, &outcomes)).swap_remove(5)
}

#[test]
fn every_line_of_a_run_is_valid() {
    let run = lines(&samples::whole_run(Format::Jsonl, false));
    for line in &run {
        assert_valid(line);
    }
    let kinds: BTreeSet<&str> = run
        .iter()
        .filter_map(|line| line["type"].as_str())
        .collect();
    assert_eq!(
        kinds,
        BTreeSet::from(KINDS),
        "the sample run lacks a type of line"
    );
}

#[test]
fn every_oddity_is_valid() {
    let oddities = samples::oddities();
    for line in lines(&samples::transitions(Format::Jsonl, false, &oddities)) {
        assert_valid(&line);
    }
}

#[test]
fn every_outcome_is_valid_and_says_what_is_known() {
    let outcomes = samples::outcomes::outcomes();
    let ended = lines(&samples::ended(Format::Jsonl, false, &outcomes));
    assert_eq!(ended.len(), outcomes.len());
    let mut seen = BTreeSet::new();
    for (line, (conn, diagnosis, _)) in ended.iter().zip(&outcomes) {
        assert_valid(line);
        assert_eq!(line["conn"], json!(conn.id.0.to_string()));
        assert_eq!(line["bytes_sent"], json!(diagnosis.bytes_sent));
        assert_eq!(line["syn_retransmits"], json!(diagnosis.syn_retransmits));
        assert_eq!(line["reset_reason"], json!(diagnosis.reset_reason));
        seen.insert(line["verdict"].as_str().unwrap());
    }
    let all = schema()["$defs"]["verdict"]["enum"].clone();
    let all: Vec<&str> = all
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert_eq!(seen, BTreeSet::from_iter(all));
}

/// The states of the connection line of a client that closes first.
fn states_of_the_client() -> Vec<Value> {
    let run = lines(&samples::whole_run(Format::Jsonl, false));
    let line = run
        .iter()
        .find(|line| line["type"] == "connection")
        .unwrap();
    line["states"].as_array().unwrap().clone()
}

#[test]
fn a_state_that_goes_on_without_its_socket_is_not_said_to_be_over() {
    let states = states_of_the_client();
    let fin_wait_2 = &states[3];
    assert_eq!(fin_wait_2["state"], "FIN_WAIT_2");
    assert_eq!(fin_wait_2["duration_ns"], 6_789);
    assert_eq!(fin_wait_2["duration_is_minimum"], true);
    let time_wait = &states[4];
    assert_eq!(time_wait["state"], "TIME_WAIT");
    assert_eq!(time_wait["evidence"], "inferred");
    assert_eq!(time_wait["start"], Value::Null);
    assert_eq!(time_wait["duration_ns"], Value::Null);
    assert_eq!(time_wait["expected_ns"], 60 * samples::SECOND);
}

#[test]
fn the_last_state_of_an_open_connection_has_lasted_until_now() {
    let outcomes = samples::outcomes::outcomes();
    let ended = lines(&samples::ended(Format::Jsonl, false, &outcomes));
    let open = ended.iter().find(|line| line["verdict"] == "open").unwrap();
    let last = open["states"].as_array().unwrap().last().unwrap();
    assert_eq!(last["state"], "ESTABLISHED");
    assert_eq!(last["duration_ns"], 9 * samples::SECOND - 12 * samples::MS);
    assert_eq!(last["duration_is_minimum"], true);
}

#[test]
fn every_state_has_a_valid_name() {
    for number in -1..=300 {
        let mut conn = samples::client();
        let first = samples::step(&mut conn, 1, State::from_kernel(number));
        let second = samples::step(&mut conn, 2, State::Closed);
        let list = [(conn.clone(), first), (conn, second)];
        for line in lines(&samples::transitions(Format::Jsonl, false, &list)) {
            assert_valid(&line);
        }
    }
}

fn any_role() -> impl Strategy<Value = Role> {
    let roles = [
        Role::Client,
        Role::Server,
        Role::Listener,
        Role::Both,
        Role::Unknown,
    ];
    proptest::sample::select(roles.to_vec())
}

fn any_source() -> impl Strategy<Value = OwnerSource> {
    use OwnerSource as S;
    let sources = [
        S::Accept,
        S::Connect,
        S::Listen,
        S::Snapshot,
        S::Close,
        S::Listener,
        S::Unknown,
    ];
    proptest::sample::select(sources.to_vec())
}

proptest! {
    #[test]
    fn any_transition_is_valid(
        role in any_role(),
        source in any_source(),
        (pid, comm, netns) in any::<(Option<u32>, Option<[u8; 16]>, Option<u32>)>(),
        (family, protocol, local, remote, port) in any::<(u16, u16, u128, u32, u16)>(),
        (id, sk, from, to, after) in any::<(u64, u64, i32, i32, u64)>(),
        (uid, ns_pid, cgroup) in any::<(Option<u32>, Option<u32>, Option<String>)>(),
    ) {
            let mut conn = Connection {
            id: ConnId(id),
            sk,
            role,
            netns,
            family: Family::from_number(family),
            protocol: Protocol::from_number(protocol),
            ..samples::client()
        };
        conn.owner.pid = pid;
        conn.owner.comm = comm.map(Comm);
        conn.owner.source = source;
        conn.owner_process = OwnerProcess {
            ns_pid,
            uid,
            place: cgroup.as_deref().map(|path| Arc::new(Place::from_path(path))),
        };
        conn.local.addr = std::net::Ipv6Addr::from(local).into();
        conn.local.port = port;
        conn.remote.addr = std::net::Ipv4Addr::from(remote).into();
        let after = after >> 1;
        let first = samples::step_as(&mut conn, after, State::from_kernel(from), Legality::Rfc);
        let second = samples::step_as(&mut conn, after, State::from_kernel(to), Legality::Rfc);
        let text = samples::transitions(
            Format::Jsonl,
            false,
            &[(conn.clone(), first), (conn.clone(), second)],
        );
        prop_assert_eq!(text.lines().count(), 2);
        for line in lines(&text) {
            assert_valid(&line);
            let comm = conn.owner.comm.as_ref().map(Comm::to_string_lossy);
            prop_assert_eq!(line["comm"].as_str(), comm.as_deref());
            prop_assert_eq!(line["cgroup"].as_str(), cgroup.as_deref());
            prop_assert_eq!(line["ns_pid"].as_u64(), ns_pid.map(u64::from));
        }
    }
}

fn any_states() -> impl Strategy<Value = Vec<StateSpan>> {
    use SpanEvidence as E;
    let evidence = proptest::sample::select(vec![E::Observed, E::Polled, E::Inferred]);
    let times = any::<[Option<u64>; 4]>();
    let span = (any::<i32>(), times, evidence).prop_map(|(state, times, evidence)| {
        let [since_ns, duration_ns, expected_ns, within_ns] = times;
        StateSpan {
            state: State::from_kernel(state),
            since_ns,
            duration_ns,
            is_minimum: false,
            evidence,
            expected_ns,
            within_ns,
        }
    });
    proptest::collection::vec(span, 0..6)
}

fn any_ending() -> impl Strategy<Value = Ending> {
    let endings = [
        Ending::Closed,
        Ending::EndUnseen,
        Ending::AgedOut,
        Ending::StillOpen,
        Ending::NeverCompleted,
    ];
    proptest::sample::select(endings.to_vec())
}

proptest! {
    #[test]
    fn any_ending_is_valid_and_breaks_no_format(
        states in any_states(),
        ending in any_ending(),
        (because, reset_reason) in any::<(String, Option<String>)>(),
        (retransmits, bytes_sent, rtt_us) in any::<(Option<u32>, Option<u64>, Option<u32>)>(),
        (color, role) in (any::<bool>(), any_role()),
    ) {
        let conn = Connection { role, ..samples::client() };
        let known = Diagnosis {
            states,
            reset_reason,
            retransmits,
            bytes_sent,
            rtt_us,
            ..samples::outcomes::diagnosis(&conn, Verdict::ResetByUs, &because)
        };
        let list = [(conn, known, ending)];
        let text = samples::ended(Format::Jsonl, false, &list);
        let line: Value = serde_json::from_str(&text).unwrap();
        assert_valid(&line);
        prop_assert_eq!(line["because"].as_str().unwrap_or_default(), because);
        prop_assert_eq!(line["rtt_us"].as_u64(), rtt_us.map(u64::from));
        let csv = samples::ended(Format::Csv, color, &list);
        prop_assert_eq!(csv.matches('\n').count(), 1);
        let timeline = samples::ended(Format::Timeline, color, &list);
        prop_assert!(timeline.ends_with("\n\n"), "{}", timeline);
        prop_assert_eq!(timeline.matches("\n\n").count(), 1);
    }
}

#[test]
fn wrong_lines_are_refused() {
    let of_transition = [
        ("type", json!("transistion")),
        ("ts", json!("2026-03-01T12:00:00.123Z")),
        ("ts", json!("2026-03-01T12:00:00.123456789+00:00")),
        ("mono_ns", json!("1000")),
        ("mono_ns", json!(-1)),
        ("conn", json!(1)),
        ("sk", json!("0xFFFF88810A3CC000")),
        ("netns", json!("host")),
        ("family", json!("ipv4")),
        ("protocol", json!(6)),
        ("role", json!(null)),
        ("local", json!("192.168.1.17:443")),
        ("remote", json!({"addr": "10.0.0.1", "port": 65536})),
        ("from", json!("SYN_RECV")),
        ("to", json!("UNKNOWN")),
        ("kernel_from", json!("CLOSED")),
        ("kernel_to", json!(7)),
        ("in_state_ns", json!(0.5)),
        ("unseen_next", json!(null)),
        ("legality", json!("illegal")),
        ("pid", json!(-1)),
        ("owner_source", json!("softirq")),
        ("uid", json!(-1)),
        ("ns_pid", json!("7")),
        ("cgroup", json!(7)),
        ("container", json!("3f2a9c1b7d4e")),
        ("container", json!({"id": "", "runtime": null, "pod": null})),
        (
            "container",
            json!({"id": "3f", "runtime": "rkt", "pod": null}),
        ),
        ("unit", json!(0)),
    ];
    let of_connection = [
        ("verdict", json!("failed")),
        ("verdict", json!(null)),
        ("closed_by", json!("peer")),
        ("reset_reason", json!(24)),
        ("because", json!(0)),
        ("syn_retransmits", json!(-1)),
        ("bytes_sent", json!("78")),
        ("rtt_us", json!(0.5)),
        ("states", json!(null)),
        ("states", json!([{"state": "TIME_WAIT"}])),
        ("ending", json!("aborted")),
        ("from_birth", json!(null)),
        ("uid", json!("root")),
        ("container", json!({})),
    ];
    refuses(&transition(), &of_transition);
    refuses(&connection(), &of_connection);
}

fn refuses(good: &Value, wrong: &[(&str, Value)]) {
    let published = published();
    assert!(published.is_valid(good));
    for (field, wrong) in wrong {
        let mut line = good.clone();
        let fields = line.as_object_mut().unwrap();
        fields.insert((*field).to_owned(), wrong.clone());
        assert!(!published.is_valid(&line), "{field} = {wrong} passes");
    }
}

#[test]
fn a_line_without_one_of_its_fields_is_refused() {
    let published = published();
    for line in lines(&samples::whole_run(Format::Jsonl, false)) {
        for field in line.as_object().unwrap().keys() {
            let mut short = line.clone();
            short.as_object_mut().unwrap().remove(field);
            assert!(
                !published.is_valid(&short),
                "a line without {field} passes: {short}"
            );
        }
    }
}

#[test]
fn lines_with_fields_of_a_later_release_pass() {
    let mut line = transition();
    line["of_a_later_release"] = json!(35);
    assert!(published().is_valid(&line));
    assert!(!STRICT.is_valid(&line));
}

#[test]
fn the_version_is_the_one_in_the_schema() {
    let schema = schema();
    let documented = &schema["$defs"]["session"]["properties"]["schema"]["const"];
    assert_eq!(documented, &json!(SCHEMA_VERSION));
}

/// The part of the document below a heading, down to the next one.
fn section(heading: &str) -> &'static str {
    let start = DOCUMENT
        .find(heading)
        .unwrap_or_else(|| panic!("docs/schema.md has no heading {heading:?}"));
    let body = &DOCUMENT[start + heading.len()..];
    body.find("\n## ").map_or(body, |end| &body[..end])
}

/// Lines of the first fenced block of a language.
fn example(section: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let start = section.find(&fence).expect("an example") + fence.len();
    let block = &section[start..];
    block[..block.find("```").unwrap()]
        .lines()
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_examples_in_the_document_are_real() {
    let run = samples::whole_run(Format::Jsonl, false);
    for kind in KINDS {
        let begin = format!("{{\"type\":\"{kind}\"");
        // The last of each type: for a transition of the samples it is the most telling one.
        let real: Vec<&str> = run
            .lines()
            .filter(|line| line.starts_with(&begin))
            .collect();
        let shown = example(section(&format!("\n## `{kind}`\n")), "json");
        assert_eq!(shown.len(), 1, "one line as the example of {kind}");
        assert!(
            real.contains(&shown[0].as_str()),
            "docs/schema.md shows for {kind}\n{}\nbut real lines are\n{}",
            shown[0],
            real.join("\n"),
        );
    }
    let csv = samples::whole_run(Format::Csv, false);
    let connection = csv.lines().find(|line| line.starts_with("connection"));
    let real: Vec<&str> = csv.lines().take(3).chain(connection).collect();
    assert_eq!(
        example(section("\n## CSV\n"), "csv"),
        real,
        "the csv example is not real"
    );
}

#[test]
fn the_document_explains_every_verdict() {
    let explained: BTreeSet<&str> = section("\n## Verdicts\n")
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .filter(|&word| word != "verdict")
        .collect();
    let schema = schema();
    let words = schema["$defs"]["verdict"]["enum"].as_array().unwrap();
    assert_eq!(explained, words.iter().filter_map(Value::as_str).collect());
}

#[test]
fn the_document_explains_every_hint() {
    let explained: BTreeSet<&str> = section("\n## Hints\n")
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .filter(|&word| word != "name")
        .collect();
    let rules = tracer::hints::RULES.iter().map(|rule| rule.name);
    assert_eq!(explained, rules.collect());
}

#[test]
fn the_document_explains_every_field() {
    let schema = schema();
    for kind in KINDS {
        let mut fields = BTreeSet::new();
        for (name, definition) in schema["$defs"][kind]["properties"].as_object().unwrap() {
            fields.insert(name.clone());
            let reference = definition["$ref"].as_str();
            let inner = reference
                .or(definition["anyOf"][0]["$ref"].as_str())
                .and_then(|path| schema.pointer(path.trim_start_matches('#')))
                .or(definition.get("items"))
                .and_then(|inner| inner["properties"].as_object());
            for inner in inner.into_iter().flat_map(|inner| inner.keys()) {
                fields.insert(format!("{name}.{inner}"));
            }
        }
        let explained: BTreeSet<String> = section(&format!("\n## `{kind}`\n"))
            .lines()
            .filter_map(|line| line.strip_prefix("| `"))
            .flat_map(|row| row.split(" |").next().unwrap().split(", "))
            .map(|name| name.trim_matches('`').to_owned())
            .chain(["type", "ts", "mono_ns"].map(str::to_owned))
            .collect();
        assert_eq!(
            explained, fields,
            "fields of {kind} in docs/schema.md and in the schema"
        );
    }
}
