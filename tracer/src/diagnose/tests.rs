//! Each story in the kernel's order of events, and what is made of it.

mod random;
mod unknown;

use super::*;
use crate::track::tests::Story;
use crate::track::{MiniSight, TimeWait};

const NAMES: [(u32, &str); 9] = [
    (0, "NOT_SPECIFIED"),
    (8, "TCP_ABORT_ON_DATA"),
    (11, "TCP_ABORT_ON_CLOSE"),
    (12, "TCP_ABORT_ON_LINGER"),
    (13, "TCP_ABORT_ON_MEMORY"),
    (14, "TCP_STATE"),
    (15, "TCP_KEEPALIVE_TIMEOUT"),
    (16, "TCP_DISCONNECT_WITH_DATA"),
    (24, "ERROR"),
];

/// All hooks, as on Linux 6.18.
pub(crate) fn all() -> Sources {
    Sources {
        retransmit: true,
        synack_retransmit: true,
        reset_received: true,
        reset_sent: true,
        socket_error: true,
        counts: true,
        accept: true,
        reset_reasons: NAMES.map(|(n, name)| (n, name.to_owned())).to_vec(),
    }
}

/// A kernel that gives no reasons for resets.
fn without_reasons() -> Sources {
    Sources {
        reset_reasons: Vec::new(),
        ..all()
    }
}

/// What is made of socket A's last life.
fn diagnosed_by(sources: &Sources, events: &[&str]) -> Diagnosis {
    let mut story = Story::patient();
    story.tell(events);
    story.finish();
    let a = story.conn_of("A");
    diagnose(&a.0, a.1, sources)
}

fn diagnosed(events: &[&str]) -> Diagnosis {
    diagnosed_by(&all(), events)
}

/// `SS 10 SR? ES -`: states with their durations; `>` at least, `~` since when is unknown, `?` inferred, `-` unknown, `(60s)` expected.
fn spans(diagnosis: &Diagnosis) -> String {
    let span = |span: &StateSpan| {
        let mark = match span.evidence {
            SpanEvidence::Observed => "",
            SpanEvidence::Polled => "!",
            SpanEvidence::Inferred => "?",
        };
        let since = match (span.since_ns, span.is_minimum) {
            (None, _) => "~",
            (Some(_), true) => ">",
            (Some(_), false) => "",
        };
        let lasted = span.duration_ns.map_or("-".to_owned(), |ns| ns.to_string());
        let expected = span
            .expected_ns
            .map_or(String::new(), |ns| format!(" ({}s)", ns / 1_000_000_000));
        format!("{since}{}{mark} {lasted}{expected}", span.state)
    };
    diagnosis
        .states
        .iter()
        .map(span)
        .collect::<Vec<_>>()
        .join(", ")
}

#[track_caller]
fn check(events: &[&str], verdict: Verdict, closed_by: Option<ClosedBy>, because: &str) {
    let found = diagnosed(events);
    assert_eq!(
        (found.verdict, found.closed_by, found.because.as_str()),
        (verdict, closed_by, because),
        "{events:?}"
    );
}

const LOCAL: Option<ClosedBy> = Some(ClosedBy::Local);
const REMOTE: Option<ClosedBy> = Some(ClosedBy::Remote);
const BOTH: Option<ClosedBy> = Some(ClosedBy::Both);

#[test]
fn connects_that_fail() {
    let open = "A CL>SS task=7 p0";
    for (events, verdict, closed_by, because) in [
        (
            vec![open, "A rst-in", "A SS>CL counts=err:111", "A error=111"],
            Verdict::Refused,
            REMOTE,
            "SYN sent once, the peer answered with a reset",
        ),
        (
            vec![open, "A rtx", "A SS>CL counts=err:111,re:1", "A error=111"],
            Verdict::Refused,
            None,
            "SYN sent twice, an ICMP message said that the port is unreachable",
        ),
        (
            vec![open, "A error=0/111", "A SS>CL counts=soft:111"],
            Verdict::Refused,
            None,
            "SYN sent once, an ICMP message said that the port is unreachable",
        ),
        (
            vec![
                open,
                "A rtx",
                "A rtx",
                "A rtx",
                "A SS>CL counts=err:110,re:3",
                "A error=110",
            ],
            Verdict::TimedOut,
            None,
            "SYN sent 4 times, never answered",
        ),
        (
            vec![open, "A rst-out=5", "A rtx", "A SS>CL counts=err:110,re:1"],
            Verdict::TimedOut,
            None,
            "SYN sent twice, answered only with segments of another connection",
        ),
        (
            vec![open, "A SS>CL counts=err:113", "A error=113"],
            Verdict::Unreachable,
            None,
            "SYN sent once, EHOSTUNREACH: no route to the host, no answer on its link, or a firewall",
        ),
        // The application gave up, and only the soft error tells why.
        (
            vec![
                open,
                "A error=0/113",
                "A rtx",
                "A SS>CL counts=soft:113,re:1",
            ],
            Verdict::Unreachable,
            None,
            "SYN sent twice, EHOSTUNREACH: no route to the host, no answer on its link, or a firewall",
        ),
        (
            vec![open, "A SS>CL counts=err:13 v6"],
            Verdict::Unreachable,
            None,
            "SYN sent once, EACCES: prohibited by an administrator or a route",
        ),
        (
            vec![open, "A SS>CL p0 l=0.0.0.0/0 counts=re:0"],
            Verdict::Unknown,
            None,
            "no SYN was sent: connect failed before it had a local port, most likely because none was free",
        ),
        (
            vec![open, "A SS>SR", "A rtx", "A SR>CL counts=err:110,re:1"],
            Verdict::TimedOut,
            None,
            "the handshake was not completed in time",
        ),
    ] {
        check(&events, verdict, closed_by, because);
        let found = diagnosed(&events);
        assert_eq!((found.bytes_sent, found.bytes_received), (Some(0), Some(0)));
        assert_eq!(found.reset_reason, None);
    }
}

#[test]
fn connects_that_are_given_up() {
    let open = "A CL>SS task=7 p0";
    for (events, because) in [
        (
            vec![open, "A rtx", "A SS>CL counts=re:1"],
            "SYN sent twice, given up on this side without an answer",
        ),
        // With SO_LINGER 0 the application is told of ECONNRESET, which nobody sent.
        (
            vec![open, "A SS>CL counts=re:0", "A error=104"],
            "SYN sent once, given up on this side; whether an ICMP error came is not known",
        ),
        // ICMP came while connect() held the socket, and the application has read the soft error.
        (
            vec![open, "A error=0/0", "A SS>CL counts=re:0"],
            "SYN sent once, given up on this side after an ICMP error, of which kind is not known",
        ),
        (
            vec![open, "A rst-out=5", "A SS>CL counts=re:0"],
            "SYN sent once, given up on this side, answered only with segments of another connection",
        ),
        (
            vec![open, "A SS>CL counts=err:103", "A error=103"],
            "SYN sent once, destroyed from outside, as `ss -K` does",
        ),
    ] {
        check(&events, Verdict::Cancelled, LOCAL, because);
        let found = diagnosed(&events);
        assert_eq!((found.bytes_sent, found.bytes_received), (Some(0), Some(0)));
        assert_eq!(found.reset_reason, None);
    }
}

#[test]
fn the_client_closes_first() {
    let found = diagnosed(&[
        "A CL>SS task=7 p0",
        "A SS>ES counts=rtt:40,acked:1",
        "A ES>F1 task=7",
        "A F1>F2",
        "A F2>CL counts=sent:100,acked:102,received:51,rtt:55",
    ]);
    assert_eq!((found.verdict, found.closed_by), (Verdict::Closed, LOCAL));
    assert_eq!(
        found.because,
        "this side closed first and the peer acknowledged it"
    );
    assert_eq!(
        spans(&found),
        "SYN_SENT 10, ESTABLISHED 10, FIN_WAIT_1 10, FIN_WAIT_2 -, ~TIME_WAIT? - (60s), ~CLOSED? -"
    );
    assert_eq!(found.bytes_sent, Some(100));
    // 51 with or without the FIN.
    assert_eq!(found.bytes_received, None);
    assert_eq!(found.rtt_us, Some(55));
    assert_eq!(found.syn_retransmits, Some(0));
    assert_eq!(found.synack_retransmits, Some(0));
    assert_eq!(found.retransmits, Some(0));
}

#[test]
fn a_fin_wait_2_that_the_peers_fin_ended_and_one_that_it_cannot_have() {
    let open = ["A CL>SS p0", "A SS>ES", "A ES>F1", "A F1>F2"];
    let waited = [&open[..], &["+6ms", "A F2>CL counts=acked:2,received:51"]].concat();
    let found = diagnosed(&waited);
    assert_eq!(found.verdict, Verdict::Closed);
    assert_eq!(found.because, "this side closed first, then the peer");
    assert_eq!(
        spans(&found),
        "SYN_SENT 10, ESTABLISHED 10, FIN_WAIT_1 10, FIN_WAIT_2 6000020, TIME_WAIT? - (60s), \
         ~CLOSED? -"
    );
    assert_eq!(found.bytes_received, Some(50));

    let nothing_came = [&open[..], &["+6ms", "A F2>CL counts=acked:2"]].concat();
    let found = diagnosed(&nothing_came);
    assert_eq!(found.bytes_received, Some(0));
    assert!(spans(&found).contains("FIN_WAIT_2 -, ~TIME_WAIT?"));

    // The application closes after shutdown(): now a mini-socket takes over.
    let shut_down = [
        &open[..],
        &["+9ms", "A F2>F2", "A F2>CL counts=acked:2,received:5"],
    ];
    let found = diagnosed(&shut_down.concat());
    assert!(spans(&found).contains("FIN_WAIT_1 10, FIN_WAIT_2 -, ~TIME_WAIT?"));
    assert_eq!(found.bytes_received, None);
}

/// What is made of socket A's life where functions of the kernel are seen.
fn followed(time_wait: TimeWait, events: &[&str]) -> Diagnosis {
    let minis = MiniSight {
        births: true,
        ends: true,
        polled: false,
    };
    let mut story = Story::following(time_wait, minis);
    story.tell(events);
    story.finish();
    let a = story.conn_of("A");
    diagnose(&a.0, a.1, &all())
}

/// What is made of socket A's life where the kernel is asked for mini-sockets.
fn asked(events: &[&str]) -> Diagnosis {
    let mut story = Story::following(
        TimeWait::Wait,
        MiniSight {
            polled: true,
            ..MiniSight::default()
        },
    );
    story.tell(&[
        "A CL>SS p0 l=10.0.0.1/40000 r=10.0.0.2/443",
        "A SS>ES",
        "A ES>F1",
        "A F1>F2",
    ]);
    story.tell(events);
    story.finish();
    let a = story.conn_of("A");
    diagnose(&a.0, a.1, &all())
}

#[test]
fn what_ended_a_fin_wait_2_too_early_is_not_known() {
    // Killed by late data of the peer long before its timer was due.
    let killed = asked(&[
        "A F2>CL",
        "+100ms",
        "poll=F2/59900ms",
        "+1000ms",
        "poll=-@1000ms",
    ]);
    assert_eq!(killed.verdict, Verdict::Unknown);
    assert_eq!(
        killed.because,
        "ended in FIN_WAIT_2 before its timer did: by late data of the peer, or by its reset, which is not known"
    );
    assert!(!spans(&killed).contains("TIME_WAIT "), "{}", spans(&killed));

    // Still there when its timer was due.
    let due = [
        "A F2>CL",
        "+100ms",
        "poll=F2/900ms",
        "+1000ms",
        "poll=F2/0ms",
        "+250ms",
        "poll=-@250ms",
    ];
    let given_up = asked(&due);
    assert_eq!(given_up.verdict, Verdict::Closed);
    assert_eq!(
        given_up.because,
        "this side closed first, and the peer did not before the kernel gave it up"
    );

    // Gone at some time around that.
    let either = asked(&[
        "A F2>CL",
        "+100ms",
        "poll=F2/900ms",
        "+1000ms",
        "poll=-@1000ms",
    ]);
    assert_eq!(either.verdict, Verdict::Closed);
    assert!(
        either
            .because
            .ends_with("before its timer, late data or a reset ended it")
    );
}

#[test]
fn no_time_is_expected_of_what_was_replaced_or_is_gone_with_its_namespace() {
    let again = ["B CL>SS p0 l=10.0.0.1/40000 r=10.0.0.2/443", "B SS>ES"];
    let close = ["A F2>CL counts=acked:2", "+3ms"];
    let since = "SYN_SENT 10, ESTABLISHED 10, FIN_WAIT_1 10, ";
    for (events, states, because) in [
        (
            [&close[..], &again].concat(),
            "FIN_WAIT_2 -, ~TIME_WAIT? -, CLOSED? -",
            "another connection had its addresses and ports 3.000ms after the close",
        ),
        (
            [&close[..], &["+100ms", "poll=F2/59000ms", "+50ms"], &again].concat(),
            ">FIN_WAIT_2! 103000040, CLOSED? -",
            "another connection had its addresses and ports 153.0ms after the close",
        ),
        (
            [&close[..], &["+100ms", "poll=nowhere"]].concat(),
            "FIN_WAIT_2 -, ~TIME_WAIT? -, ~CLOSED? -",
            "its network namespace was gone, or not to be found, when the kernel was to be asked",
        ),
        (
            [
                &close[..],
                &["+100ms", "poll=TW/59900ms", "+2000ms", "poll=nowhere"],
            ]
            .concat(),
            "FIN_WAIT_2! 3000040, >TIME_WAIT! 100000000, ~CLOSED? -",
            "its network namespace was gone, or not to be found, when the kernel was to be asked",
        ),
    ] {
        let found = asked(&events);
        assert_eq!(spans(&found).strip_prefix(since), Some(states));
        assert_eq!(found.verdict, Verdict::Closed);
        let (_, then) = found.because.split_once("; ").unwrap();
        assert_eq!(then, because);
    }
}

#[test]
fn a_polled_beginning_says_how_far_it_may_be_off() {
    let life = ["A F2>CL", "+1000ms", "poll=TW/59500ms", "+2000ms"];
    let found = asked(&[&life[..], &["poll=-@1500ms"]].concat());
    let within_ms = |found: &Diagnosis| -> Vec<_> {
        let polled = found.states.iter();
        polled
            .filter_map(|span| Some((span.state, span.within_ns? / 1_000_000)))
            .collect()
    };
    // The clock tick of the timer; and since the kernel was asked the time before.
    let expected = [(State::TimeWait, 10), (State::Closed, 1500)];
    assert_eq!(within_ms(&found), expected);
    // A new connection has its ends.
    let again = ["B CL>SS p0 l=10.0.0.1/40000 r=10.0.0.2/443", "B SS>ES"];
    let found = asked(&[&life[..], &again].concat());
    let expected = [(State::TimeWait, 10), (State::Closed, 2000)];
    assert_eq!(within_ms(&found), expected);
    // In CLOSING it began when the socket was closed, which was seen.
    let mut story = Story::following(
        TimeWait::Expect,
        MiniSight {
            polled: true,
            ..MiniSight::default()
        },
    );
    story.tell(&["A SS>ES", "A ES>F1", "A F1>CG", "A CG>CL", "+1000ms"]);
    story.tell(&["poll=TW/59000ms"]);
    let (conn, ending) = story.conn_of("A");
    assert_eq!(within_ms(&diagnose(&conn, ending, &all())), []);
}

#[test]
fn a_time_wait_that_the_kernel_does_not_have_is_not_inferred() {
    let gone = asked(&["A F2>CL counts=acked:2", "+100ms", "poll=-"]);
    assert_eq!(gone.verdict, Verdict::Unknown);
    assert!(
        gone.because.starts_with(
            "neither FIN_WAIT_2 nor TIME_WAIT was found when the kernel was asked 100.0ms after the close"
        ),
        "{}",
        gone.because
    );
    assert!(!spans(&gone).contains("TIME_WAIT?"), "{}", spans(&gone));

    // The peer's FIN came, and the kernel had no room for a TIME_WAIT.
    let refused = asked(&[
        "+6ms",
        "A F2>CL counts=acked:2,received:51",
        "+100ms",
        "poll=-",
    ]);
    assert_eq!(refused.verdict, Verdict::Closed);
    assert!(
        refused
            .because
            .starts_with("this side closed first, then the peer; neither FIN_WAIT_2 nor"),
        "{}",
        refused.because
    );
    assert!(
        !spans(&refused).contains("TIME_WAIT?"),
        "{}",
        spans(&refused)
    );
}

#[test]
fn a_fin_wait_2_that_is_found_afterwards_tells_that_no_fin_was_received() {
    let polled = MiniSight {
        polled: true,
        ..MiniSight::default()
    };
    let received = |answers: &[&'static str]| {
        let mut story = Story::following(TimeWait::Expect, polled);
        story.tell(&["A CL>SS p0", "A SS>ES", "A ES>F1", "A F1>F2"]);
        story.tell(&["A F2>CL counts=acked:2,received:51", "+20ms", "+200ms"]);
        story.tell(answers);
        story.finish();
        let a = story.conn_of("A");
        diagnose(&a.0, a.1, &all()).bytes_received
    };
    assert_eq!(received(&["poll=F2/55000ms"]), Some(51));
    let both = ["poll=F2/55000ms", "+1000ms", "poll=TW/59500ms"];
    assert_eq!(received(&both), Some(51));
    // The FIN may have come before the socket was closed, or after.
    assert_eq!(received(&["poll=TW/59500ms"]), None);
    assert_eq!(received(&[]), None);
}

#[test]
fn the_socket_tells_at_its_end_whether_the_fin_was_received() {
    for (close, received, how, last) in [
        (
            "A F2>CL counts=acked:2,received:51 fin=1",
            Some(50),
            "this side closed first, then the peer",
            "FIN_WAIT_2 10, TIME_WAIT? - (60s), ~CLOSED? -",
        ),
        (
            "A F2>CL counts=acked:2,received:51 fin=0",
            Some(51),
            "this side closed first and the peer acknowledged it",
            "FIN_WAIT_2 -, ~TIME_WAIT? - (60s), ~CLOSED? -",
        ),
    ] {
        let open = ["A CL>SS p0", "A SS>ES", "A ES>F1", "A F1>F2"];
        let found = diagnosed(&[&open[..], &[close]].concat());
        assert_eq!(found.bytes_received, received, "{close}");
        assert_eq!(found.because, how);
        assert!(spans(&found).ends_with(last), "{}", spans(&found));
    }
    // After a gap no state tells of it.
    let found = diagnosed(&[
        "A CL>SS p0",
        "A SS>ES",
        "A F1>CL counts=received:5,err:104 fin=0",
    ]);
    assert_eq!(found.bytes_received, Some(5));
}

#[test]
fn the_states_after_the_socket_are_observed() {
    let begin = ["A CL>SS p0", "A SS>ES", "A ES>F1", "A F1>F2"];
    let life = |rest: &[&'static str]| [&begin[..], rest].concat();
    let slow_peer = [
        "A mini=F2 a",
        "A F2>CL",
        "+3000ms",
        "a timer=TW",
        "+61000ms",
        "a gone=TW",
    ];
    let found = followed(TimeWait::Wait, &life(&slow_peer));
    assert_eq!(
        spans(&found),
        "SYN_SENT 10, ESTABLISHED 10, FIN_WAIT_1 10, FIN_WAIT_2 3000000040, TIME_WAIT 61000000020, CLOSED -"
    );
    assert_eq!((found.verdict, found.closed_by), (Verdict::Closed, LOCAL));
    assert_eq!(found.because, "this side closed first, then the peer");

    let expected = followed(TimeWait::Expect, &life(&slow_peer));
    assert_eq!(
        spans(&expected),
        "SYN_SENT 10, ESTABLISHED 10, FIN_WAIT_1 10, FIN_WAIT_2 3000000040, >TIME_WAIT 0 (60s), ~CLOSED? -"
    );

    let found = followed(
        TimeWait::Wait,
        &life(&["A mini=TW a", "A F2>CL", "+60000ms", "a gone=TW"]),
    );
    assert_eq!(
        spans(&found),
        "SYN_SENT 10, ESTABLISHED 10, FIN_WAIT_1 10, FIN_WAIT_2 10, TIME_WAIT 60000000030, CLOSED -"
    );

    let silent = followed(
        TimeWait::Wait,
        &life(&["A mini=F2 a", "A F2>CL", "+60000ms", "a gone=F2"]),
    );
    assert_eq!(
        spans(&silent),
        "SYN_SENT 10, ESTABLISHED 10, FIN_WAIT_1 10, FIN_WAIT_2 60000000040, CLOSED -"
    );
    assert_eq!(
        silent.because,
        "this side closed first, and the peer did not before its timer, late data or a reset ended it"
    );

    let at_exit = followed(
        TimeWait::Wait,
        &life(&["A mini=F2 a", "A F2>CL", "+3000ms"]),
    );
    assert_eq!(
        spans(&at_exit),
        "SYN_SENT 10, ESTABLISHED 10, FIN_WAIT_1 10, >FIN_WAIT_2 3000000040"
    );

    // Nothing went on: no memory for it.
    let found = followed(TimeWait::Wait, &life(&["A F2>CL counts=err:0"]));
    assert_eq!(
        spans(&found),
        "SYN_SENT 10, ESTABLISHED 10, FIN_WAIT_1 10, FIN_WAIT_2 10, CLOSED -"
    );
}

#[test]
fn both_close_at_once_and_go_on_in_time_wait() {
    let events = [
        "A CL>SS p0",
        "A SS>ES",
        "A ES>F1",
        "A F1>CG",
        "A mini=TW a",
        "A CG>CL",
        "+60000ms",
        "a gone=TW",
    ];
    assert_eq!(
        spans(&followed(TimeWait::Wait, &events)),
        "SYN_SENT 10, ESTABLISHED 10, FIN_WAIT_1 10, CLOSING 10, TIME_WAIT 60000000030, CLOSED -"
    );
}

#[test]
fn a_server_is_half_open_since_its_syn() {
    let ends = "l=10.0.0.1/80 r=10.0.0.9/1234";
    let (syn, birth) = (format!("L syn {ends}"), format!("A LI>SR {ends}"));
    let found = followed(TimeWait::Wait, &[&syn, "+40ms", &birth, "A SR>ES"]);
    assert_eq!(spans(&found), "SYN_RECEIVED 40000030, ESTABLISHED 10");
}

#[test]
fn handshakes_that_are_never_completed() {
    let ends = "l=10.0.0.1/80 r=10.0.0.9/1234";
    let (syn, synack) = (format!("L syn {ends}"), format!("L synack {ends}"));
    let never = "never completed";
    for (events, verdict, because) in [
        (
            vec![&*syn, "+1000ms", &synack, "+2000ms", &synack, "+10000ms"],
            Verdict::TimedOut,
            "SYN-ACK sent 3 times, and the handshake was not completed",
        ),
        (
            vec![&*synack, "+131000ms"],
            Verdict::TimedOut,
            "SYN-ACK sent at least 2 times, and the handshake was not completed",
        ),
        (
            vec![&*syn, "+131000ms"],
            Verdict::Unknown,
            "the handshake was not completed: a reset of the peer, or no room at the listener",
        ),
        (
            vec![
                "L CL>LI l=0.0.0.0/80 r=0.0.0.0/0",
                &syn,
                "+1000ms",
                &synack,
                "L LI>CL",
                "+10000ms",
            ],
            Verdict::Unknown,
            "its listener was closed before the handshake was complete",
        ),
    ] {
        let mut story = Story::patient();
        story.tell(&events);
        let (conn, ending) = story.half_open();
        let found = diagnose(&conn, ending, &all());
        assert_eq!(
            (found.verdict, &*found.because),
            (verdict, because),
            "{never}"
        );
        assert_eq!(found.states.len(), 1);
    }
}

#[test]
fn closing_is_observed_to_its_end_where_what_follows_is_known_by_asking() {
    let polled = MiniSight {
        polled: true,
        ..MiniSight::default()
    };
    let mut story = Story::following(TimeWait::Expect, polled);
    story.tell(&["A CL>SS p0", "A SS>ES", "A ES>F1", "A F1>CG"]);
    story.tell(&["A CG>CL", "+20ms", "+100ms", "poll=TW/59000ms"]);
    let (conn, ending) = story.conn_of("A");
    let found = diagnose(&conn, ending, &all());
    assert_eq!(
        spans(&found),
        "SYN_SENT 10, ESTABLISHED 10, FIN_WAIT_1 10, CLOSING 10, >TIME_WAIT! 120000030 (60s), ~CLOSED? -"
    );
    let closing = found.states[3];
    assert_eq!(closing.evidence, SpanEvidence::Observed);
}

#[test]
fn the_peer_closes_first() {
    let found = diagnosed(&[
        "L CL>LI l=0.0.0.0/80 r=0.0.0.0/0",
        "A LI>SR l=10.0.0.1/80 r=10.0.0.9/1234",
        "+1ms",
        "A SR>ES counts=rtt:35",
        "A accept=6",
        "A ES>CW",
        "A CW>LA",
        "A LA>CL counts=sent:200,acked:201,received:11",
    ]);
    assert_eq!((found.verdict, found.closed_by), (Verdict::Closed, REMOTE));
    assert_eq!(found.because, "the peer closed first, then this side");
    assert_eq!(
        spans(&found),
        "SYN_RECEIVED? 35000, ESTABLISHED 20, CLOSE_WAIT 10, LAST_ACK 10, CLOSED -"
    );
    assert_eq!(
        found.states[0].since_ns,
        found.states[1].since_ns.map(|ns| ns - 35_000)
    );
    assert_eq!(
        (found.bytes_sent, found.bytes_received),
        (Some(200), Some(10))
    );
    assert_eq!(found.synack_retransmits, Some(0));
    assert_eq!(found.syn_retransmits, Some(0));
}

#[test]
fn a_handshake_with_retransmissions_has_no_known_beginning() {
    for opened in ["A SR>ES counts=rtt:35,re:1", "A SR>ES"] {
        let found = diagnosed(&["A LI>SR", opened, "A ES>CW"]);
        assert_eq!(
            spans(&found),
            "~SYN_RECEIVED -, ESTABLISHED 10, CLOSE_WAIT 10"
        );
        let counted = opened.contains("re:1").then_some(1);
        assert_eq!(found.synack_retransmits, counted);
    }
}

#[test]
fn a_fast_open_closed_before_the_final_ack() {
    let found = diagnosed(&[
        "A LI>SR l=10.0.0.1/80 r=10.0.0.9/1234",
        "A accept=6",
        "A SR>F1",
        "A synack l=10.0.0.1/80 r=10.0.0.9/1234",
        "A rtx",
        "A F1>F2",
        "A F2>CL counts=acked:1,received:9,re:2",
    ]);
    assert_eq!((found.verdict, found.closed_by), (Verdict::Closed, LOCAL));
    assert!(spans(&found).starts_with("SYN_RECEIVED 20, FIN_WAIT_1 30, FIN_WAIT_2 -"));
    assert_eq!(
        (found.synack_retransmits, found.retransmits),
        (Some(1), Some(1))
    );
}

#[test]
fn both_close_at_once() {
    let found = diagnosed(&[
        "A CL>SS p0",
        "A SS>ES",
        "A ES>F1",
        "A F1>CG",
        "A CG>CL counts=acked:12,received:1",
    ]);
    assert_eq!((found.verdict, found.closed_by), (Verdict::Closed, BOTH));
    assert_eq!(
        spans(&found),
        "SYN_SENT 10, ESTABLISHED 10, FIN_WAIT_1 10, CLOSING 10, TIME_WAIT? - (60s), ~CLOSED? -"
    );
    assert_eq!(
        (found.bytes_sent, found.bytes_received),
        (Some(10), Some(0))
    );
}

#[test]
fn resets_of_the_peer() {
    let closed_wait = ["A CL>SS p0", "A SS>ES", "A ES>CW"];
    for (events, closed_by, because) in [
        (
            vec![
                "A CL>SS p0",
                "A SS>ES",
                "A rst-in",
                "A ES>CL counts=err:104",
                "A error=104",
            ],
            REMOTE,
            "reset received in ESTABLISHED",
        ),
        (
            [
                &closed_wait[..],
                &["A rst-in", "A CW>CL counts=err:32", "A error=32"],
            ]
            .concat(),
            REMOTE,
            "reset received in CLOSE_WAIT",
        ),
        (
            vec![
                "A CL>SS p0",
                "A SS>ES",
                "A ES>F1",
                "A rst-in",
                "A F1>CL counts=err:104",
            ],
            LOCAL,
            "reset received in FIN_WAIT_1",
        ),
        // Older than the trace.
        (
            vec!["A rst-in", "A ES>CL"],
            REMOTE,
            "reset received in ESTABLISHED",
        ),
        // The socket alone tells.
        (
            vec!["A ES>CW", "A CW>CL counts=err:32"],
            REMOTE,
            "reset received in CLOSE_WAIT",
        ),
        (
            vec!["A ES>CL", "A error=104"],
            REMOTE,
            "reset received in ESTABLISHED",
        ),
    ] {
        check(&events, Verdict::ResetByPeer, closed_by, because);
        assert!(!spans(&diagnosed(&events)).contains("TIME_WAIT"));
    }
}

#[test]
fn resets_of_this_side() {
    let open = ["A CL>SS p0", "A SS>ES counts=rtt:9"];
    let reset = |events: &[&'static str]| [&open[..], events].concat();
    for (events, reason, closed_by, because) in [
        (
            reset(&["A ES>CL counts=received:5", "A rst-out=11"]),
            "TCP_ABORT_ON_CLOSE",
            LOCAL,
            "closed while received data was unread",
        ),
        (
            reset(&["A ES>CW", "A CW>CL counts=received:5", "A rst-out=11"]),
            "TCP_ABORT_ON_CLOSE",
            REMOTE,
            "closed while received data was unread",
        ),
        (
            reset(&["A ES>CL counts=re:0", "A rst-out=14", "A error=104"]),
            "TCP_STATE",
            LOCAL,
            "closed with SO_LINGER 0, or disconnected",
        ),
        (
            reset(&["A rst-out=15", "A ES>CL counts=err:110", "A error=110"]),
            "TCP_KEEPALIVE_TIMEOUT",
            LOCAL,
            "the peer answered no keepalive probe",
        ),
        // For data after close() the kernel acts as if the peer had sent a reset.
        (
            reset(&[
                "A ES>F1",
                "A rst-in",
                "A F1>CL counts=err:104",
                "A rst-out=8",
            ]),
            "TCP_ABORT_ON_DATA",
            LOCAL,
            "data came after close, or after a shutdown of reading; or closed, and TCP_LINGER2 is negative",
        ),
        (
            reset(&["A ES>F1", "A F1>F2", "A F2>CL counts=re:0", "A rst-out=12"]),
            "TCP_ABORT_ON_LINGER",
            LOCAL,
            "closed with a negative TCP_LINGER2",
        ),
        (
            reset(&["A ES>F1", "A rst-out=13", "A F1>CL counts=re:0"]),
            "TCP_ABORT_ON_MEMORY",
            LOCAL,
            "memory for TCP ran short, or there were too many orphaned sockets",
        ),
        (
            reset(&["A ES>CW", "A CW>LA", "A LA>CL counts=re:0", "A rst-out=16"]),
            "TCP_DISCONNECT_WITH_DATA",
            REMOTE,
            "disconnected before its last data was sent",
        ),
        (
            reset(&["A rst-out=14", "A ES>CL counts=err:103", "A error=103"]),
            "TCP_STATE",
            LOCAL,
            "destroyed from outside, as `ss -K` does",
        ),
        (
            reset(&[
                "A ES>F1",
                "A F1>F2",
                "+60000ms",
                "A rst-out=14",
                "A F2>CL counts=re:0",
            ]),
            "TCP_STATE",
            LOCAL,
            "closed here, and the peer did not close within tcp_fin_timeout",
        ),
        (
            reset(&["A rst-out=24", "A ES>CL counts=re:0"]),
            "ERROR",
            LOCAL,
            "reset sent in ESTABLISHED: the kernel met an error it does not name",
        ),
        (
            reset(&["A ES>CL counts=re:0", "A rst-out=77"]),
            "77",
            LOCAL,
            "reset sent in ESTABLISHED",
        ),
    ] {
        check(&events, Verdict::ResetByUs, closed_by, because);
        let found = diagnosed(&events);
        assert_eq!(found.reset_reason.as_deref(), Some(reason));
        assert!(!spans(&found).contains("TIME_WAIT"), "{events:?}");
    }
}

#[test]
fn resets_of_this_side_that_an_older_kernel_does_not_explain() {
    let open = ["A CL>SS p0", "A SS>ES"];
    for (events, because) in [
        (
            ["A ES>CL counts=re:0", "A rst-out", "A error=104"].as_slice(),
            "closed with SO_LINGER 0, or disconnected",
        ),
        (
            &["A ES>CL counts=re:0", "A rst-out"],
            "reset sent in ESTABLISHED",
        ),
        (
            &["A rst-out", "A error=110", "A ES>CL counts=err:110"],
            "the peer answered no keepalive probe",
        ),
        (
            &[
                "A ES>F1",
                "A F1>F2",
                "A rst-in",
                "A F2>CL counts=err:104",
                "A rst-out",
            ],
            "data came after close, or after a shutdown of reading",
        ),
    ] {
        let found = diagnosed_by(&without_reasons(), &[&open[..], events].concat());
        assert_eq!(
            (found.verdict, found.closed_by),
            (Verdict::ResetByUs, LOCAL)
        );
        assert_eq!(found.because, because);
        assert_eq!(found.reset_reason, None);
    }
}

#[test]
fn a_reset_long_before_the_end_is_not_its_cause() {
    let found = diagnosed(&[
        "A LI>SR",
        "A rst-out=5",
        "A SR>ES counts=rtt:9",
        "A ES>CW",
        "+6ms",
        "A CW>LA",
        "A LA>CL counts=acked:1,received:1",
    ]);
    assert_eq!((found.verdict, found.reset_reason), (Verdict::Closed, None));
}

#[test]
fn timeouts() {
    let open = ["A CL>SS p0", "A SS>ES counts=re:1"];
    for (events, closed_by, because) in [
        (
            [
                "A rtx",
                "A rtx",
                "A ES>CL counts=sent:30,acked:1,err:110,re:3",
                "A error=110",
            ]
            .as_slice(),
            None,
            "no acknowledgement came, 2 segments sent again",
        ),
        (
            &["A rtx", "A ES>CL counts=err:113,soft:113,re:2"],
            None,
            "no acknowledgement came, 1 segment sent again; \
             EHOSTUNREACH: no route to the host, no answer on its link, or a firewall",
        ),
        (
            &["A ES>F1", "A F1>CL counts=err:110,re:1"],
            LOCAL,
            "no acknowledgement came in time",
        ),
        (
            &["A ES>CW", "A CW>LA", "A LA>CL counts=err:110,re:9"],
            REMOTE,
            "no acknowledgement came, 8 segments sent again",
        ),
    ] {
        check(
            &[&open[..], events].concat(),
            Verdict::Aborted,
            closed_by,
            because,
        );
    }
    let found = diagnosed(&[&open[..], &["A ES>CL counts=sent:30,acked:1,err:110,re:3"]].concat());
    assert_eq!(
        (found.syn_retransmits, found.retransmits),
        (Some(1), Some(2))
    );
    // 30 with what was sent again.
    assert_eq!(found.bytes_sent, None);
}

#[test]
fn the_accept_queue() {
    let open = [
        "L CL>LI l=0.0.0.0/80 r=0.0.0.0/0",
        "A LI>SR l=10.0.0.1/80 r=10.0.0.9/1234",
        "A SR>ES counts=rtt:35",
    ];
    let closing = [
        "L LI>CL",
        "A ES>CL counts=re:0",
        "A rst-out=14",
        "A error=104",
    ];
    let lost = [&open[..], &closing].concat();
    check(
        &lost,
        Verdict::AcceptQueueLost,
        LOCAL,
        "the listener was closed before anybody accepted it",
    );
    assert_eq!(
        diagnosed_by(&without_reasons(), &lost).verdict,
        Verdict::AcceptQueueLost
    );
    let unseen = Sources {
        accept: false,
        ..all()
    };
    assert_eq!(diagnosed_by(&unseen, &lost).verdict, Verdict::ResetByUs);
    let accepted = [&open[..], &["A accept=6"], &closing].concat();
    assert_eq!(diagnosed(&accepted).verdict, Verdict::ResetByUs);
    // Its process went down with data unread: it may have been accepted by io_uring.
    let unread = [
        &open[..],
        &["L LI>CL", "A ES>CL counts=received:1", "A rst-out=11"],
    ]
    .concat();
    assert_eq!(diagnosed(&unread).verdict, Verdict::ResetByUs);
}

#[test]
fn the_accept_queue_of_a_listener_that_is_older_than_the_trace() {
    let listed = [
        "list LI l=0.0.0.0/80 by=3/nginx",
        "list ES l=10.0.0.1/80 r=10.0.0.9/1234 queued",
        "L LI>CL l=0.0.0.0/80 r=0.0.0.0/0",
        "A ES>CL l=10.0.0.1/80 r=10.0.0.9/1234 counts=re:0",
        "A rst-out=14",
    ];
    check(
        &listed,
        Verdict::AcceptQueueLost,
        LOCAL,
        "the listener was closed before anybody accepted it",
    );
    let mut accepted = listed.to_vec();
    accepted.insert(2, "A accept=6");
    assert_eq!(diagnosed(&accepted).verdict, Verdict::ResetByUs);
    let held = listed.map(|event| event.trim_end_matches(" queued"));
    assert_eq!(diagnosed(&held).verdict, Verdict::ResetByUs);
    let unseen = Sources {
        accept: false,
        ..all()
    };
    assert_eq!(diagnosed_by(&unseen, &listed).verdict, Verdict::ResetByUs);
}

#[test]
fn not_over_or_not_a_connection() {
    for (events, verdict, closed_by, because) in [
        (
            ["A CL>SS p0", "A rtx"].as_slice(),
            Verdict::Open,
            None,
            "in SYN_SENT: SYN sent twice, no answer yet",
        ),
        (
            &["A CL>SS p0", "A SS>ES"],
            Verdict::Open,
            None,
            "in ESTABLISHED",
        ),
        (
            &["A LI>SR", "A SR>ES"],
            Verdict::Open,
            None,
            "in ESTABLISHED: nobody was seen to accept it",
        ),
        (
            &["A LI>SR", "A SR>ES", "A accept=6"],
            Verdict::Open,
            None,
            "in ESTABLISHED",
        ),
        (
            &["A LI>SR", "A SR>ES", "A ES>CW"],
            Verdict::Open,
            REMOTE,
            "in CLOSE_WAIT: the peer has closed, and nobody was seen to accept it",
        ),
        (
            &["A CL>SS p0", "A SS>ES", "A ES>CW"],
            Verdict::Open,
            REMOTE,
            "in CLOSE_WAIT: the peer has closed, the application here has not",
        ),
        (
            &["A F1>F2"],
            Verdict::Open,
            LOCAL,
            "in FIN_WAIT_2: waits for the peer to close",
        ),
        (
            &["A CL>LI r=0.0.0.0/0"],
            Verdict::Listener,
            None,
            "a listener",
        ),
        (
            &["A CL>LI r=0.0.0.0/0", "A LI>CL counts=re:0"],
            Verdict::Listener,
            None,
            "a listener, closed",
        ),
        (
            &["A CL>SS mptcp", "A SS>CL mptcp"],
            Verdict::Unknown,
            None,
            "the evidence of an MPTCP connection is at its subflows",
        ),
    ] {
        check(events, verdict, closed_by, because);
    }
    let stuck = diagnosed(&["A CL>SS p0", "A rtx", "+30000ms"]);
    assert_eq!(spans(&stuck), "SYN_SENT 30000000030");
    assert_eq!(stuck.bytes_sent, None);
    let listener = diagnosed(&["A CL>LI r=0.0.0.0/0"]);
    assert_eq!(
        (listener.syn_retransmits, listener.retransmits),
        (None, None)
    );
}
