//! What `tracer summary` writes: for people within 80 columns, for programs as documented.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};

use bytes::BytesMut;
use proptest::prelude::*;
use serde_json::{Value, json};
use tracer::diagnose::{Diagnosis, Verdict};
use tracer::event::Comm;
use tracer::render::{Render as _, Summary, SummaryFormat};
use tracer::session::Totals;
use tracer::track::{ConnId, Connection, Ending, OwnerSource, Role};

#[expect(dead_code, reason = "shared with other tests")]
mod samples;
use samples::outcomes::{Outcome, outcomes};

const DOCUMENT: &str = include_str!("../../docs/summary.md");

fn summary(format: SummaryFormat, rows: usize, more: &[Outcome]) -> String {
    samples::whole_run_by(
        Summary::new(format, samples::options(false), rows, ""),
        more,
    )
}

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn of_type<'a>(lines: &'a [Value], kind: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["type"] == kind).collect()
}

/// Two connections that the peer has closed and the process has not.
fn leaks() -> [Outcome; 2] {
    [(71, 11), (72, 2)].map(|(id, held_s)| {
        let mut conn = samples::server();
        conn.id = ConnId(id);
        conn.owner.source = OwnerSource::Accept;
        for (at_s, state) in [(1, "SYN_RECEIVED"), (2, "ESTABLISHED"), (3, "CLOSE_WAIT")] {
            let state = tracer::state::State::parse(state).unwrap();
            samples::step(&mut conn, at_s * samples::SECOND, state);
        }
        conn.as_of_ns = samples::CLOCK.mono_ns + (3 + held_s) * samples::SECOND;
        let diagnosis = samples::outcomes::diagnosis(&conn, Verdict::Open, "");
        (conn, diagnosis, Ending::StillOpen)
    })
}

/// Each direction says of how many connections its bytes are known: they need not be the same.
#[test]
fn bytes_are_those_of_the_connections_they_are_known_of() {
    let [mut both, mut sent_only] = leaks();
    (both.1.bytes_sent, both.1.bytes_received) = (Some(1), Some(20));
    (sent_only.1.bytes_sent, sent_only.1.bytes_received) = (Some(300), None);
    let outcomes = [both, sent_only];
    let text = summary(SummaryFormat::Text, 3, &outcomes);
    let row: Vec<&str> = text
        .lines()
        .skip_while(|line| !line.starts_with("MOST BYTES, BY PROCESS"))
        .find(|line| line.starts_with("nginx"))
        .unwrap()
        .split_whitespace()
        .collect();
    assert_eq!(row, ["nginx", "301", "B", "2", "20", "B", "1", "3"]);
    let lines = lines(&summary(SummaryFormat::Jsonl, 3, &outcomes));
    let nginx = of_type(&lines, "process")
        .into_iter()
        .find(|line| line["comm"] == "nginx")
        .unwrap();
    let told = ["", "_sent", "_received"].map(|of| &nginx[format!("without_bytes{of}")]);
    assert_eq!(told, [2, 1, 2]);
}

/// What was found in `CLOSE_WAIT` may have been held for longer than it was seen.
#[test]
fn what_began_before_the_run_may_have_been_held_for_long() {
    let [mut long, mut short] = leaks();
    for (outcome, seen_s) in [(&mut long, 12), (&mut short, 9)] {
        let (conn, diagnosis, _) = outcome;
        let last = diagnosis.states.last_mut().unwrap();
        last.since_ns = None;
        last.duration_ns = Some(seen_s * samples::SECOND);
        last.is_minimum = true;
        conn.listed_ns = Some(conn.as_of_ns - seen_s * samples::SECOND);
    }
    let text = summary(SummaryFormat::Text, 3, &[long.clone(), short.clone()]);
    let (_, held) = text.split_once("HELD IN CLOSE_WAIT BY").unwrap();
    let row: Vec<&str> = held.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row, ["nginx/77", "2", "1", "to", "2", ">12.00s"]);
    let lines = lines(&summary(SummaryFormat::Jsonl, 3, &[long, short]));
    let held = of_type(&lines, "close_wait")[0];
    assert_eq!(
        [&held["long"], &held["long_unknown"], &held["since_unknown"]],
        [1, 1, 2]
    );
}

/// What may have ended among lost transitions is held by nobody for all that is known.
#[test]
fn nobody_is_said_to_hold_what_may_be_over() {
    let [mut over, mut forgotten] = leaks();
    over.2 = Ending::MayBeOver;
    forgotten.2 = Ending::AgedOut;
    for (conn, diagnosis, _) in [&mut over, &mut forgotten] {
        conn.in_doubt = true;
        diagnosis.verdict = Verdict::Unknown;
        diagnosis.states.last_mut().unwrap().duration_ns = None;
    }
    let text = summary(SummaryFormat::Text, 3, &[over, forgotten]);
    assert!(!text.contains("HELD IN CLOSE_WAIT"), "{text}");
    assert!(text.contains("what was seen does not tell"), "{text}");
}

fn everything() -> Vec<Outcome> {
    outcomes().into_iter().chain(leaks()).collect()
}

#[test]
fn for_people() {
    insta::assert_snapshot!(summary(SummaryFormat::Text, 3, &everything()), @r"
    # web-1, Linux 6.18.5: 4.000s from 14:00:00 on 2026-03-01 +02:00
    # only port=80,443
    12 transitions of 3 connections or listeners shown in 4.000s
    12 transitions were lost:
          10  tracer could not keep up
              hint: raise --ring-size and --backlog, or trace less: --port, --addr
           2  the kernel refused to run the program inside itself
              hint: nothing to set; where the loss shows, lines say 'after a gap'

    VERDICT            COUNT
    refused                2  the peer answered the SYN with a reset
    timed_out              1  nothing answered the SYN
    unreachable            1  an ICMP error, or a route that went
    cancelled              1  given up by the application while connecting
    reset_by_peer          1  ended by the peer's reset
    reset_by_us            1  ended by a reset from this side
    aborted                1  data, FIN or keepalive not acknowledged
    accept_queue_lost      1  lost before anybody accepted it
    unknown                1  what was seen does not tell
    closed                 4  closed in order
    open                   4  still open when the trace ended
    listener               1  no connection

    FAILED, BY REMOTE ADDRESS  FAILED  OF  HOW
    93.184.215.14                   7  12  1 refused, 1 timed_out, 1 unreachable,...
    10.0.0.1                        1   1  1 refused
    2001:db8:1:2:3:4:5:6            1   5  1 accept_queue_lost

    FAILED, BY PORT  FAILED  OF  HOW
    443                   8  16  1 refused, 1 timed_out, 1 unreachable, 1 cancell...
    8080                  1   1  1 refused

    FAILED, BY PROCESS  FAILED  OF  HOW
    curl                     8  12  2 refused, 1 timed_out, 1 unreachable, 1 canc...
    nginx                    1   5  1 accept_queue_lost

    RESETS                    COUNT
    received in SYN_SENT          2
    sent: TCP_ABORT_ON_CLOSE      1
    received in CLOSE_WAIT        1
    # TCP_ABORT_ON_CLOSE: closed while received data was unread

    HELD IN CLOSE_WAIT BY  SOCKETS  10s OR LONGER  LONGEST
    nginx/77                     2              1  >11.00s
    # the peer has closed, the process has not: if it does not soon, it leaks
      sockets; (name/pid): not accepted yet

    SLOWEST HANDSHAKE        TIME  RESENT  OWNER
    -> 93.184.215.14:443  12.04ms       0  curl/1234
    -> 93.184.215.14:443  12.00ms       ?  curl/1234
    -> 93.184.215.14:443  12.00ms       ?  curl/1234
    # the first 3 of 8 handshakes

    MOST RESENT           SYN  SYN-ACK  DATA  OWNER
    -> 93.184.215.14:443    3        ?     0  curl/1234
    -> 93.184.215.14:443    0        0     1  curl/1234

    MOST BYTES, BY REMOTE ADDRESS  SENT  KNOWN OF  RECEIVED  KNOWN OF  CONNS
    93.184.215.14                  78 B         1    5432 B         1     12

    MOST BYTES, BY PROCESS  SENT  KNOWN OF  RECEIVED  KNOWN OF  CONNS
    curl                    78 B         2    5432 B         2     12
    # KNOWN OF: of how many connections the bytes before it are the sum; they are
      not known of open ones

    MOST CONNECTIONS, BY REMOTE ADDRESS  CONNS  VERDICTS
    93.184.215.14                           12  3 closed, 1 refused, 1 timed_out,...
    2001:db8:1:2:3:4:5:6                     5  3 open, 1 accept_queue_lost, 1 cl...
    10.0.0.1                                 1  1 refused

    MOST CONNECTIONS, BY PORT    CONNS  VERDICTS
    443                             16  4 closed, 4 open, 1 refused, 1 timed_out,...
    ? (who serves is not known)      1  1 unknown
    8080                             1  1 refused

    MOST CONNECTIONS, BY PROCESS  CONNS  VERDICTS
    curl                             12  3 closed, 2 refused, 1 timed_out, 1 unre...
    nginx                             5  3 open, 1 accept_queue_lost, 1 closed
    -                                 1  1 unknown

    TIME IN STATE             COUNT       P50       P90       P99      MAX
    SYN_SENT       measured      12   11.99ms    8.992s    8.992s   9.000s
    SYN_RECEIVED   measured       1   1.005ms   1.005ms   1.005ms  1.005ms
    SYN_RECEIVED   at least       3  >998.2ms  >998.2ms  >998.2ms  >1.000s
    ESTABLISHED    measured      10    2.986s    8.925s    9.932s   9.987s
    ESTABLISHED    at least       2   >8.988s   >9.932s   >9.932s  >9.997s
    FIN_WAIT_1     measured       4   998.2ms   998.2ms   998.2ms   1.000s
    FIN_WAIT_2     at least       1      >6us      >6us      >6us     >6us
    CLOSE_WAIT     measured       2   40.00ms   998.2ms   998.2ms   1.000s
    CLOSE_WAIT     at least       2   >2.000s   >10.93s   >10.93s  >11.00s
    CLOSING        measured       2       0ns       0ns       0ns      0ns
    LAST_ACK       measured       1      35us      35us      35us     35us
    TIME_WAIT      estimated      1    ~1m00s    ~1m00s    ~1m00s   ~1m00s
    # estimated: from round trips or by polling; at least: a part was not seen; P50,
      P90 and P99 are up to 1% low
    # time not known: 1 ESTABLISHED, 1 CLOSE_WAIT, 1 TIME_WAIT

    TRANSITIONS FROM  TO            COUNT
    LISTEN            SYN_RECEIVED      1
    SYN_SENT          ESTABLISHED       1
    SYN_SENT          CLOSED            1
    SYN_RECEIVED      ESTABLISHED       1
    ESTABLISHED       FIN_WAIT_1        1
    ESTABLISHED       CLOSE_WAIT        1
    FIN_WAIT_1        FIN_WAIT_2        1
    FIN_WAIT_2        CLOSED            1
    CLOSE_WAIT        LAST_ACK          1
    LAST_ACK          CLOSED            1
    CLOSED            SYN_SENT          2

    ");
}

#[test]
fn every_line_says_what_the_document_says() {
    let lines = lines(&summary(SummaryFormat::Jsonl, 2, &everything()));
    let mut kinds = BTreeSet::new();
    for line in &lines {
        let kind = line["type"].as_str().unwrap();
        kinds.insert(kind);
        if ["session", "end"].contains(&kind) {
            continue;
        }
        assert_eq!(fields(line), documented(kind), "fields of {kind}");
    }
    let headings: BTreeSet<&str> = DOCUMENT
        .lines()
        .filter_map(|line| line.strip_prefix("## `")?.strip_suffix('`'))
        .chain(["session", "end"])
        .collect();
    assert_eq!(kinds, headings, "types of line");
}

/// Its own and those of the objects in it, but for counts by verdict.
fn fields(line: &Value) -> BTreeSet<String> {
    let mut fields = BTreeSet::new();
    for (name, value) in line.as_object().unwrap() {
        match value.as_object().filter(|_| name != "verdicts") {
            Some(inner) => fields.extend(inner.keys().map(|inner| format!("{name}.{inner}"))),
            None if name == "type" => {}
            None => {
                fields.insert(name.clone());
            }
        }
    }
    fields
}

fn section(kind: &str) -> &'static str {
    let heading = format!("\n## `{kind}`\n");
    let start = DOCUMENT
        .find(&heading)
        .unwrap_or_else(|| panic!("docs/summary.md does not explain {kind}"));
    let body = &DOCUMENT[start + heading.len()..];
    body.find("\n## ").map_or(body, |end| &body[..end])
}

fn documented(kind: &str) -> BTreeSet<String> {
    section(kind)
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .flat_map(|row| row.split(" |").next().unwrap().split(", "))
        .map(|name| name.trim_matches('`').to_owned())
        .collect()
}

#[test]
fn the_examples_in_the_document_are_real() {
    let real = summary(SummaryFormat::Jsonl, 2, &everything());
    for heading in DOCUMENT
        .lines()
        .filter_map(|line| line.strip_prefix("## `"))
    {
        let kind = heading.trim_end_matches('`');
        let example = section(kind)
            .lines()
            .find(|line| line.starts_with('{'))
            .unwrap_or_else(|| panic!("no example of {kind}"));
        let of_kind: Vec<&str> = real
            .lines()
            .filter(|line| line.starts_with(&format!("{{\"type\":\"{kind}\"")))
            .collect();
        assert!(
            of_kind.contains(&example),
            "docs/summary.md shows for {kind}\n{example}\nbut real lines are\n{}",
            of_kind.join("\n"),
        );
    }
}

/// Each interval holds what came in it, and all of them come to what the session does.
#[test]
fn intervals_come_to_the_whole() {
    let run = |format| {
        let (options, rows) = (samples::options(false), 3);
        let mut summary = Summary::new(format, options, rows, "").of_intervals();
        let mut out = BytesMut::new();
        let clock = samples::CLOCK;
        let mut totals = Totals::default();
        summary.start(&mut out, &samples::session());
        for (number, part) in everything().chunks(4).enumerate() {
            for (conn, diagnosis, ending) in part {
                totals.connections += 1;
                totals.verdicts.add(diagnosis.verdict);
                summary.ended(&mut out, &clock, conn, diagnosis, *ending, conn.as_of_ns);
            }
            totals.lost.ring_full += number as u64;
            totals.duration_ns += 10 * samples::SECOND;
            let now_ns = clock.mono_ns + totals.duration_ns;
            summary.interim(&mut out, &clock, now_ns, &totals);
        }
        summary.end(
            &mut out,
            &clock,
            clock.mono_ns + totals.duration_ns,
            &totals,
        );
        (String::from_utf8(out.to_vec()).unwrap(), totals)
    };
    let (text, totals) = run(SummaryFormat::Text);
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    assert!(
        text.contains("# 10.00s until 14:00:20: 0 transitions, 4 connections"),
        "{text}"
    );

    let (json, _) = run(SummaryFormat::Jsonl);
    let lines = lines(&json);
    assert_eq!(of_type(&lines, "session").len(), 1);
    let mut sums: BTreeMap<(bool, String), u64> = BTreeMap::new();
    let mut is_interval = false;
    for line in &lines {
        let mut count = |key: String, value: &Value| {
            *sums.entry((is_interval, key)).or_default() += value.as_u64().unwrap();
        };
        match line["type"].as_str().unwrap() {
            "summary" => {
                is_interval = line["of"] == "interval";
                let mut count = |key: String, value: &Value| {
                    *sums.entry((is_interval, key)).or_default() += value.as_u64().unwrap();
                };
                count("ended".to_owned(), &line["ended"]);
                count("lost".to_owned(), &line["lost"]["total"]);
                count("duration".to_owned(), &line["duration_ns"]);
                for (verdict, number) in line["verdicts"].as_object().unwrap() {
                    count(verdict.clone(), number);
                }
            }
            "port" | "remote" | "process" => {
                count(format!("by {}", line["type"]), &line["connections"]);
            }
            "reset" => count("resets".to_owned(), &line["count"]),
            _ => {}
        }
    }
    let of = |interval: bool| -> BTreeMap<&str, u64> {
        let of_it = sums.iter().filter(|((is, _), _)| *is == interval);
        of_it.map(|((_, key), sum)| (key.as_str(), *sum)).collect()
    };
    assert_eq!(of(true), of(false));
    assert_eq!(of(false)["ended"], totals.connections);
    assert!(of(false)["lost"] > 0 && of(false)["resets"] > 0);
}

#[test]
fn what_a_table_leaves_out_is_in_its_sums() {
    let everything = everything();
    let connections = |rows| {
        let lines = lines(&summary(SummaryFormat::Jsonl, rows, &everything));
        let mut sums = BTreeMap::new();
        for kind in ["remote", "port", "process"] {
            let of_kind = of_type(&lines, kind);
            for field in ["connections", "failed", "bytes_sent", "retransmits"] {
                let sum: u64 = of_kind
                    .iter()
                    .map(|line| line[field].as_u64().unwrap())
                    .sum();
                sums.insert((kind, field), sum);
            }
            let others = of_kind
                .iter()
                .filter(|line| !line["others"].is_null())
                .count();
            assert_eq!(others > 0, rows == 1, "{kind}");
        }
        sums
    };
    let all = connections(1000);
    assert_eq!(connections(1), all);
    // Three lives of the sample run and the others, without the one listener.
    let expected = 3 + everything.len() as u64 - 1;
    for kind in ["remote", "port", "process"] {
        assert_eq!(all[&(kind, "connections")], expected);
    }
}

fn one<'a>(lines: &'a [Value], kind: &str, field: &str, value: &Value) -> &'a Value {
    let mut found = of_type(lines, kind)
        .into_iter()
        .filter(|line| line[field] == *value);
    let first = found
        .next()
        .unwrap_or_else(|| panic!("no {kind} with {field} {value}"));
    assert_eq!(
        found.next(),
        None,
        "more than one {kind} with {field} {value}"
    );
    first
}

#[test]
fn each_number_is_what_happened() {
    let lines = lines(&summary(SummaryFormat::Jsonl, 100, &everything()));

    let held = one(&lines, "close_wait", "comm", &json!("nginx"));
    assert_eq!(
        [&held["connections"], &held["long"], &held["since_unknown"]],
        [2, 1, 0]
    );
    assert_eq!(held["longest_ns"], 11 * samples::SECOND);

    let sent = one(&lines, "reset", "direction", &json!("sent"));
    assert_eq!(
        (&sent["reason"], &sent["count"]),
        (&json!("TCP_ABORT_ON_CLOSE"), &json!(1))
    );
    let refused = one(&lines, "reset", "state", &json!("SYN_SENT"));
    assert_eq!(
        (&refused["direction"], &refused["count"]),
        (&json!("received"), &json!(2))
    );

    // Those that were refused, timed out or given up took longer, but are no handshakes.
    let handshakes = of_type(&lines, "handshake");
    let longest = handshakes.first().unwrap();
    assert_eq!(longest["duration_ns"], 12_040_000);
    assert_eq!(longest["is_estimate"], false);
    let kinds: BTreeSet<&str> = handshakes
        .iter()
        .filter_map(|line| line["role"].as_str())
        .collect();
    assert_eq!(kinds, BTreeSet::from(["client", "server"]));
    assert_eq!(
        of_type(&lines, "summary")[0]["handshakes"],
        handshakes.len()
    );

    let resent: Vec<_> = of_type(&lines, "retransmits");
    assert_eq!(resent.len(), 2);
    assert_eq!(
        (&resent[0]["conn"], &resent[0]["syn_retransmits"]),
        (&json!("52"), &json!(3))
    );

    let close_wait = one(&lines, "state", "state", &json!("CLOSE_WAIT"));
    assert_eq!(close_wait["measured"]["count"], 2);
    assert_eq!(close_wait["minimum"]["max_ns"], 11 * samples::SECOND);
    assert_eq!(close_wait["unknown"], 1);

    let https = one(&lines, "port", "port", &json!(443));
    let verdicts = https["verdicts"].as_object().unwrap();
    let sum: u64 = verdicts.values().filter_map(Value::as_u64).sum();
    assert_eq!(https["connections"], sum);
    assert_eq!(verdicts["listener"], 0);
    let nobody = one(&lines, "port", "port", &Value::Null);
    assert_eq!(nobody["verdicts"]["unknown"], 1);
}

fn any_outcome() -> impl Strategy<Value = Outcome> {
    let verdicts = vec![
        Verdict::Refused,
        Verdict::ResetByUs,
        Verdict::Closed,
        Verdict::Open,
        Verdict::Unknown,
    ];
    let roles = vec![Role::Client, Role::Server, Role::Both, Role::Unknown];
    (
        (
            any::<[u8; 16]>(),
            any::<Option<u32>>(),
            any::<u128>(),
            any::<u16>(),
        ),
        proptest::sample::select(verdicts),
        proptest::sample::select(roles),
        (
            any::<Option<u64>>(),
            any::<Option<u32>>(),
            any::<Option<String>>(),
        ),
        proptest::sample::select(vec![0_usize, 1, 2, 3]),
    )
        .prop_map(|((comm, pid, addr, port), verdict, role, numbers, like)| {
            let like = outcomes().swap_remove(like * 3);
            let mut conn = Connection { role, ..like.0 };
            conn.remote.addr = std::net::Ipv6Addr::from(addr).into();
            conn.remote.port = port;
            conn.owner.pid = pid;
            conn.owner.comm = Some(Comm(comm));
            let (bytes, count, reset_reason) = numbers;
            let diagnosis = Diagnosis {
                verdict,
                bytes_sent: bytes,
                bytes_received: bytes,
                syn_retransmits: count,
                synack_retransmits: count,
                retransmits: count,
                reset_reason,
                ..like.1
            };
            (conn, diagnosis, like.2)
        })
}

proptest! {
    #[test]
    fn nothing_breaks_the_page(
        list in proptest::collection::vec(any_outcome(), 0..40),
        rows in 1_usize..20,
    ) {
        let text = summary(SummaryFormat::Text, rows, &list);
        for line in text.lines() {
            let columns = line.chars().count();
            prop_assert!(columns <= 80, "{} columns: {}", columns, line);
            prop_assert!(!line.contains(|c: char| c.is_control()), "{:?}", line);
            prop_assert!(!line.ends_with(' '), "{:?}", line);
        }
        for line in lines(&summary(SummaryFormat::Jsonl, rows, &list)) {
            prop_assert!(line["type"].is_string());
        }
    }
}
