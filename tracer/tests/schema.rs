//! The JSON Schema and its documentation against what is really written.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::sync::LazyLock;

use jsonschema::Validator;
use proptest::prelude::*;
use serde_json::{Value, json};
use tracer::event::{Comm, Family, Protocol};
use tracer::render::{Format, SCHEMA_VERSION};
use tracer::state::State;
use tracer::track::{ConnId, Connection, Legality, OwnerSource, Role};

mod samples;

const SCHEMA: &str = include_str!("../../docs/tracer.schema.json");
const DOCUMENT: &str = include_str!("../../docs/schema.md");
const KINDS: [&str; 5] = ["session", "transition", "clock", "lost", "end"];

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
        }
    }
}

#[test]
fn wrong_lines_are_refused() {
    let published = published();
    let good = transition();
    assert!(published.is_valid(&good));
    for (field, wrong) in [
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
    ] {
        let mut line = good.clone();
        line[field] = wrong;
        assert!(
            !published.is_valid(&line),
            "{field} = {} passes",
            line[field]
        );
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
    line["rtt_us"] = json!(35);
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
    let real: Vec<&str> = csv.lines().take(3).collect();
    assert_eq!(
        example(section("\n## CSV\n"), "csv"),
        real,
        "the csv example is not real"
    );
}

#[test]
fn the_document_explains_every_field() {
    let schema = schema();
    for kind in KINDS {
        let mut fields = BTreeSet::new();
        for (name, definition) in schema["$defs"][kind]["properties"].as_object().unwrap() {
            fields.insert(name.clone());
            let inner = definition["$ref"]
                .as_str()
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
