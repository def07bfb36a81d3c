//! A Perfetto trace, asked by SQL through Perfetto's own trace processor.

use serde_json::{Value, json};
use tracer::event::{Evidence, EvidenceEvent};
use tracer::render::{Perfetto, Render};
use tracer::track::{ConnId, Connection, Ending};

use crate::samples::{self, CLOCK, MS, SECOND, outcomes};
use crate::{ask, file, python};

/// A client and the server within the machine that it talks to.
fn pair() -> [outcomes::Outcome; 2] {
    let (client, _) = samples::client_life().pop().unwrap();
    let (server, _) = samples::server_life().pop().unwrap();
    let near = samples::endpoint("127.0.0.1", 43_210);
    let far = samples::endpoint("127.0.0.1", 443);
    let client = Connection {
        id: ConnId(101),
        local: near,
        remote: far,
        ..client
    };
    let server = Connection {
        id: ConnId(102),
        local: far,
        remote: near,
        ..server
    };
    [
        (
            server.clone(),
            outcomes::server_closed(&server),
            Ending::Closed,
        ),
        (
            client.clone(),
            outcomes::client_closed(&client),
            Ending::Closed,
        ),
    ]
}

fn trace() -> Vec<u8> {
    let mut perfetto = Perfetto::default();
    let conn = Connection {
        id: ConnId(101),
        ..samples::client()
    };
    perfetto.evidence(
        &conn,
        &EvidenceEvent {
            mono_ns: CLOCK.mono_ns + 5 * MS,
            sk: conn.sk,
            what: Evidence::Retransmit { local_port: None },
        },
    );
    let mut more = outcomes::outcomes();
    more.extend(pair());
    samples::whole_run_bytes(perfetto, &more)
}

fn query<const N: usize>(sql: [&str; N]) -> Option<[Value; N]> {
    let python = python()?;
    let path = file(&format!("{:016x}.pftrace", hash(sql)), &trace());
    let answer = ask(&python, "perfetto_sql.py", &path, &sql);
    let answers: Vec<Value> = serde_json::from_value(answer).unwrap();
    Some(answers.try_into().unwrap())
}

/// Tests run at the same time: each has its own file.
fn hash(of: impl std::hash::Hash) -> u64 {
    use std::hash::Hasher as _;
    let mut hasher = std::hash::DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

#[test]
fn it_is_read_without_complaint() {
    let Some([complaints, clock, machine]) = query([
        "select name, value from stats where severity in ('error', 'data_loss') and value > 0",
        "select min(ts) as first, to_realtime(min(ts)) as wall from slice",
        "select name, str_value as value from metadata where name like 'system_%' order by name",
    ]) else {
        return;
    };
    assert_eq!(complaints, json!([]));
    let first = CLOCK.mono_ns + 123_456;
    assert_eq!(
        clock,
        json!([{"first": first, "wall": CLOCK.wall_ns(first)}])
    );
    let value = |name: &str| {
        let rows = machine.as_array().unwrap();
        let row = rows.iter().find(|row| row["name"] == name);
        row.map(|row| row["value"].clone()).unwrap_or_default()
    };
    assert_eq!(value("system_release"), "6.18.5");
    assert_eq!(value("system_machine"), "x86_64");
}

#[test]
fn a_connection_is_a_track_of_its_process() {
    let Some([tracks, states, arguments]) = query([
        // Many connections have one name: each has a track of its own.
        "select process.name as process, pid, parent.name as grouped, count(distinct track.id) as tracks
         from slice join track on track.id = track_id join track parent on parent.id = track.parent_id
         join process_track on process_track.id = track.id join process using (upid)
         where depth = 0 and dur > 0 and slice.name = '-> 93.184.215.14:443' group by 1, 2, 3",
        "select slice.name, slice.dur from slice join slice conn on conn.id = slice.parent_id
         where extract_arg(conn.arg_set_id, 'debug.conn') = 1 order by slice.ts",
        "select key, display_value as value from slice join args using (arg_set_id)
         where depth = 0 and extract_arg(arg_set_id, 'debug.conn') = 1 order by key",
    ]) else {
        return;
    };
    assert_eq!(
        tracks,
        json!([{"process": "curl", "pid": 1234, "grouped": "TCP connections", "tracks": 11}])
    );
    assert_eq!(
        states,
        json!([
            {"name": "SYN_SENT", "dur": 12_040_000},
            {"name": "ESTABLISHED", "dur": 1_203_036_544},
            {"name": "FIN_WAIT_1", "dur": 12_100_000},
            {"name": "FIN_WAIT_2", "dur": 6_789},
        ])
    );
    for (key, value) in [
        ("local", "192.168.1.17:43210"),
        ("remote", "93.184.215.14:443"),
        ("verdict", "closed"),
        ("because", "both sides sent FIN, this side first"),
        ("bytes_received", "5432"),
        ("rtt_us", "11987"),
        ("states_of_unknown_time", "TIME_WAIT"),
        ("ending", "closed"),
    ] {
        let row = json!({"key": format!("debug.{key}"), "value": value});
        assert!(
            arguments.as_array().unwrap().contains(&row),
            "no {row}: {arguments}"
        );
    }
}

#[test]
fn what_is_not_known_is_not_drawn() {
    let Some([open, unknown, unfinished]) = query([
        "select dur from slice where depth = 0 and extract_arg(arg_set_id, 'debug.conn') = 60",
        // Seen from CLOSE_WAIT on, its end not seen.
        "select slice.name, slice.dur from slice join slice conn on conn.id = slice.parent_id
         where extract_arg(conn.arg_set_id, 'debug.conn') = 62",
        "select count(*) as n from slice where dur < 0",
    ]) else {
        return;
    };
    let since = SECOND;
    assert_eq!(open, json!([{"dur": 10 * SECOND - since}]));
    assert_eq!(unknown, json!([{"name": "CLOSE_WAIT", "dur": 0}]));
    assert_eq!(unfinished, json!([{"n": 0}]));
}

#[test]
fn both_ends_of_a_connection_are_joined_and_moments_marked() {
    let Some([flows, marks, lost]) = query([
        "select a.name as client, b.name as server, extract_arg(ca.arg_set_id, 'debug.conn') as of,
         extract_arg(cb.arg_set_id, 'debug.conn') as with_
         from flow join slice a on a.id = slice_out join slice b on b.id = slice_in
         join slice ca on ca.id = a.parent_id join slice cb on cb.id = b.parent_id",
        "select name, ts from slice where dur = 0 and name = 'retransmit'",
        "select slice.name, track.name as track, extract_arg(arg_set_id, 'debug.ring_full') as ring_full
         from slice join track on track.id = track_id where track.name = 'events lost'",
    ]) else {
        return;
    };
    assert_eq!(
        flows,
        json!([{"client": "SYN_SENT", "server": "SYN_RECEIVED", "of": 101, "with_": 102}])
    );
    assert_eq!(
        marks,
        json!([{"name": "retransmit", "ts": CLOCK.mono_ns + 5 * MS}])
    );
    let name = "lost since the last mark or the start";
    assert_eq!(
        lost,
        json!([{"name": name, "track": "events lost", "ring_full": 10}])
    );
}

#[test]
fn the_documented_question_is_answered() {
    let document = include_str!("../../../docs/export.md");
    let start = document.find("```sql\n").unwrap() + "```sql\n".len();
    let sql = &document[start..];
    let Some([rows]) = query([&sql[..sql.find("```").unwrap()]]) else {
        return;
    };
    let verdicts: Vec<&Value> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row["verdict"])
        .collect();
    assert!(verdicts.contains(&&json!("refused")), "{rows}");
}
