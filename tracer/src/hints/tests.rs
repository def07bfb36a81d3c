//! Each rule with what it says, and what holds for any sequence of events.

mod many;
mod random;

use std::collections::HashSet;

use super::*;
use crate::diagnose::tests::all;
use crate::diagnose::{Sources, diagnose};
use crate::track::tests::Story;
use crate::track::{MiniSight, TimeWait};

const SECOND: u64 = 1_000_000_000;

/// A tracker and who watches it.
struct Desk {
    story: Story,
    watch: Watch,
    sources: Sources,
    transitions: usize,
    ended: HashSet<ConnId>,
    told: Vec<Told>,
}

impl Desk {
    fn new(after_ns: u64) -> Self {
        Self {
            story: Story::patient(),
            watch: Watch::new(after_ns, Limits::default()),
            sources: all(),
            transitions: 0,
            ended: HashSet::new(),
            told: Vec::new(),
        }
    }

    /// One that hears of mini-sockets.
    fn following(after_ns: u64, minis: MiniSight) -> Self {
        Self {
            story: Story::following(TimeWait::Expect, minis),
            ..Self::new(after_ns)
        }
    }

    fn tell(&mut self, event: &str) {
        self.story.tell(&[event]);
        let new = &self.story.told()[self.transitions..];
        for (conn, transition) in new {
            self.watch.transition(conn, transition);
        }
        self.transitions += new.len();
        for (conn, ending) in self.story.ended() {
            if self.ended.insert(conn.id) {
                self.watch.ended(conn);
                let diagnosis = diagnose(conn, *ending, &self.sources);
                self.told
                    .extend(self.watch.count_end(conn, *ending, &diagnosis));
            }
        }
        let now_ns = self.story.now_ns();
        if event.starts_with('+') {
            while let Some(due) = self.watch.due(now_ns) {
                let tracker = &mut self.story.tracker;
                let conn = match due.at {
                    At::Socket(sk) => tracker.look(sk, now_ns),
                    At::Mini(address) => tracker.look_mini(address, now_ns),
                    At::Listed(_) => None,
                };
                if let Some(conn) = conn {
                    let told = self.watch.stuck(&due, conn, &self.sources, now_ns);
                    self.told.extend(told);
                }
            }
        } else if event.starts_with("poll=") {
            let answer = self.story.polled(event);
            if let Some(conn) = self.story.tracker.look_polled(&answer) {
                let told = self.watch.answered(conn, &self.sources, now_ns);
                self.told.extend(told);
            }
        } else if event.ends_with(" rtx") {
            let sk = self.story.told().last().unwrap().0.sk;
            let conn = self.story.tracker.look(sk, now_ns).unwrap();
            self.told
                .extend(self.watch.retransmitted(conn, &self.sources));
        }
    }

    fn tell_all(&mut self, events: &[&str]) -> Vec<String> {
        let before = self.told.len();
        for event in events {
            self.tell(event);
        }
        let new = self.told[before..].iter();
        new.map(|told| format!("{}: {}", told.hint.name, told.hint.text))
            .collect()
    }
}

/// What is told while the events happen, with a threshold of 30 s.
fn live(events: &[&str]) -> Vec<String> {
    Desk::new(30 * SECOND).tell_all(events)
}

/// What is told of socket A's last life when all is over.
fn last(events: &[&str]) -> Vec<String> {
    let mut story = Story::patient();
    story.tell(events);
    story.finish();
    let (conn, ending) = story.conn_of("A");
    let diagnosis = diagnose(&conn, ending, &all());
    at_end(&conn, ending, &diagnosis, STUCK_AFTER_NS)
        .into_iter()
        .map(|hint| format!("{}: {}", hint.name, hint.text))
        .collect()
}

const OPEN: [&str; 2] = ["A CL>SS task=7/curl p0", "A SS>ES"];
const SERVED: [&str; 3] = ["A LI>SR", "A SR>ES", "A accept=9/nginx"];

fn after(begin: &[&'static str], then: &[&'static str]) -> Vec<&'static str> {
    [begin, then].concat()
}

#[test]
fn stuck_connections_are_told_of_once() {
    for (events, expected) in [
        (
            vec![
                "A CL>SS task=7 p0",
                "A rtx",
                "A rtx",
                "A rtx",
                "+29999ms",
                "+1ms",
                "+60000ms",
            ],
            "syn_unanswered: no answer to 4 SYNs in 30.00s: likely a firewall, wrong host or route, or a server too busy to accept",
        ),
        (
            vec!["A CL>SS task=7 p0", "A error=0/113", "+30000ms"],
            "unreachable: SYN_SENT for 30.00s, EHOSTUNREACH: no route to the host, no answer on its \
             link, or a firewall: likely no route, the host is down, or a firewall rejects it",
        ),
        (
            vec!["A CL>SS task=7 p0", "A error=0/0", "A rtx", "+30000ms"],
            "unreachable: SYN_SENT for 30.00s, an ICMP error came: likely no route, the host is down, \
             or a firewall rejects it",
        ),
        (
            vec!["A CL>SS task=7 p0", "A rst-out=5", "A rtx", "+30000ms"],
            "syn_unanswered: 2 SYNs in 30.00s answered only with segments of another connection",
        ),
        (
            vec!["A CL>SS task=7 p0", "A SS>SR", "A rtx", "A rtx", "+30000ms"],
            "handshake_incomplete: SYN_RECEIVED for 30.00s, SYN-ACK sent again twice: likely the way \
             back is broken, or a SYN flood",
        ),
        (
            after(&SERVED, &["A ES>CW", "+31234ms", "+31234ms"]),
            "close_wait: CLOSE_WAIT for 31.23s: peer closed, pid 9 has not; likely a leak or a hang",
        ),
        (
            vec!["A LI>SR", "A SR>ES", "A ES>CW", "+30000ms"],
            "close_wait: CLOSE_WAIT for 30.00s: peer closed, the application here has not; likely a \
             leak or a hang",
        ),
        (
            vec![
                "B CL>LI task=5 r0",
                "A LI>SR",
                "A SR>ES",
                "A ES>CW",
                "+30000ms",
            ],
            "close_wait: CLOSE_WAIT for 30.00s: peer closed, and nobody was seen to accept it",
        ),
        (
            after(
                &OPEN,
                &["A ES>F1", "+200ms", "A rtx", "+400ms", "A rtx", "+30000ms"],
            ),
            "fin_unacknowledged: FIN_WAIT_1 for 30.60s, sent again twice: likely the peer or the path \
             is gone",
        ),
        (
            after(&OPEN, &["A rtx", "A ES>F1", "+30000ms"]),
            "fin_unsent: FIN_WAIT_1 for 30.00s, nothing sent again: likely the peer does not read",
        ),
        (
            after(
                &OPEN,
                &[
                    "A ES>F1", "A F1>F2", "A F2>F2", "+30000ms", "A F2>F2", "+30000ms",
                ],
            ),
            "fin_wait_2: FIN_WAIT_2 for 30.00s: closed here, the peer's application has not closed",
        ),
        (
            // It was there before: for how long, nobody knows.
            vec!["A F2>F2", "+30000ms"],
            "fin_wait_2: FIN_WAIT_2 for at least 30.00s: closed here, the peer's application has not \
             closed",
        ),
    ] {
        assert_eq!(live(&events), [expected], "{events:?}");
    }
}

#[test]
fn what_works_or_has_moved_on_is_not_told_of() {
    for events in [
        after(&OPEN, &["+3600000ms"]),
        after(&OPEN, &["A rtx", "+3600000ms", "A rtx", "+60000ms"]),
        after(
            &SERVED,
            &[
                "A ES>CW", "+29999ms", "A CW>LA", "+29999ms", "A LA>CL", "+60000ms",
            ],
        ),
        vec![
            "A CL>SS task=7 p0",
            "A SS>CL",
            "+30000ms",
            "A CL>SS task=7 p0",
            "+29999ms",
        ],
        vec!["A CL>LI task=7", "+60000ms"],
        vec!["A ES>CW mptcp", "+60000ms"],
        // Its socket became another connection's.
        vec!["A ES>CW", "+1ms", "A LI>SR", "A SR>ES", "+60000ms"],
    ] {
        assert_eq!(live(&events), Vec::<String>::new(), "{events:?}");
    }
}

#[test]
fn one_reason_is_told_once_though_the_state_changes() {
    let events = after(
        &OPEN,
        &[
            "A ES>F1", "A rtx", "+30000ms", "A F1>CG", "A rtx", "+30000ms",
        ],
    );
    assert_eq!(live(&events).len(), 1);
}

#[test]
fn data_counts_as_unacknowledged_when_the_intervals_double() {
    let doubling = [
        "A rtx", "+200ms", "A rtx", "+400ms", "A rtx", "+800ms", "A rtx", "+1600ms", "A rtx",
        "+3200ms", "A rtx", "+6400ms", "A rtx", "+12800ms", "A rtx", "+25600ms", "A rtx",
    ];
    let told = live(&after(&OPEN, &doubling));
    let expected = "data_unacknowledged: data sent again 9 times in 51.00s without an ACK: likely \
                    the peer or the path is gone";
    assert_eq!(told, [expected]);

    // An acknowledgment in between begins the intervals anew.
    let acknowledged = [
        "A rtx", "+200ms", "A rtx", "+400ms", "A rtx", "+800ms", "A rtx", "+1600ms", "A rtx",
        "+10000ms", "A rtx", "+200ms", "A rtx", "+400ms", "A rtx", "+20000ms", "A rtx",
    ];
    assert_eq!(live(&after(&OPEN, &acknowledged)), Vec::<String>::new());
}

#[test]
fn after_a_loss_it_may_have_moved_on() {
    let mut desk = Desk::new(30 * SECOND);
    desk.tell_all(&after(&SERVED, &["A ES>CW"]));
    desk.watch.lost(desk.story.now_ns());
    let told = desk.tell_all(&["+30000ms"]);
    assert!(
        told[0].ends_with("; events were lost, it may have moved on"),
        "{told:?}"
    );
}

#[test]
fn what_does_not_fit_is_counted() {
    let mut desk = Desk::new(30 * SECOND);
    desk.tell_all(&["A LI>SR", "A SR>ES", "A ES>CW"]);
    let (conn, transition) = desk.story.told().last().cloned().unwrap();
    for sk in 0..watch::MAX_WAITING as u64 + 2 {
        let id = ConnId(conn.id.0 + 1 + sk);
        let other = Connection {
            id,
            sk,
            ..conn.clone()
        };
        desk.watch.transition(&other, &transition);
    }
    assert_eq!(desk.watch.unwatched(), 3);
}

#[test]
fn ends_are_explained() {
    let failed = "A CL>SS task=7 p0";
    for (events, expected) in [
        (
            vec![
                failed,
                "A rtx",
                "A rtx",
                "+40000ms",
                "A SS>CL counts=err:110,re:2",
                "A error=110",
            ],
            "syn_unanswered: no answer to 3 SYNs in 40.00s: likely a firewall, wrong host or route, or a server too busy to accept",
        ),
        (
            vec![failed, "A rtx", "+5000ms", "A SS>CL counts=re:1"],
            "syn_unanswered: no answer to 2 SYNs in 5.000s: likely a firewall, wrong host or route, or a server too busy to accept",
        ),
        (
            vec![
                "A CL>SS l=127.0.0.1/0 r=127.0.0.1/80 task=7 p0",
                "A rtx",
                "+5000ms",
                "A SS>CL l=127.0.0.1/40000 r=127.0.0.1/80 counts=re:1",
            ],
            "syn_unanswered: no answer to 2 SYNs in 5.000s: likely a full accept queue (the server too \
             busy to accept) or a firewall",
        ),
        (
            vec![failed, "A error=0/0", "A SS>CL counts=re:0"],
            "unreachable: SYN sent once, given up on this side after an ICMP error, of which kind is \
             not known: likely nothing listens there, no route, or a firewall rejects it",
        ),
        (
            vec![failed, "A rst-in", "A SS>CL counts=err:111", "A error=111"],
            "refused: SYN sent once, the peer answered with a reset: likely nothing listens there, or a \
             firewall rejects it",
        ),
        (
            vec!["A CL>SS l=10.0.0.1/0 task=7 p0", "A SS>CL p0"],
            "no_local_port: connect failed before it had a local port: likely none was free",
        ),
        (
            after(&SERVED, &["A ES>CL", "A rst-out=11"]),
            "closed_unread: closed while received data was unread: the peer got a reset and may have \
             lost what it had not read",
        ),
        (
            after(
                &SERVED,
                &["A rst-out=15", "A ES>CL counts=err:110", "A error=110"],
            ),
            "peer_silent: the peer answered no keepalive probe: likely the peer or the path is gone",
        ),
        (
            after(
                &OPEN,
                &[
                    "A rtx",
                    "A rtx",
                    "A ES>CL counts=err:110,re:2",
                    "A error=110",
                ],
            ),
            "data_unacknowledged: no acknowledgement came, 2 segments sent again: likely the peer or \
             the path is gone",
        ),
        (
            after(
                &SERVED,
                &[
                    "A ES>CW",
                    "A CW>LA",
                    "A rtx",
                    "+31000ms",
                    "A LA>CL counts=err:110",
                ],
            ),
            "fin_unacknowledged: no acknowledgement came, 1 segment sent again: likely the peer or \
             the path is gone",
        ),
        (
            after(
                &SERVED,
                &["A ES>CW", "+31000ms", "A CW>LA", "A LA>CL counts=re:0"],
            ),
            "close_wait: CLOSE_WAIT for 31.00s: peer closed, pid 9 was slow to close",
        ),
        (
            after(&SERVED, &["A ES>CW", "+31000ms"]),
            "close_wait: CLOSE_WAIT for 31.00s: peer closed, pid 9 has not; likely a leak or a hang",
        ),
    ] {
        assert_eq!(last(&events), [expected], "{events:?}");
    }
}

const ORPHANED: [&str; 7] = [
    "A CL>SS task=7/curl p0",
    "A SS>ES",
    "A ES>F1",
    "A F1>F2",
    "+500ms",
    "A mini=F2 a",
    "A F2>CL",
];

#[test]
fn a_stay_in_fin_wait_2_goes_on_in_the_mini_socket() {
    const STUCK: &str =
        "fin_wait_2: FIN_WAIT_2 for 2.000s: closed here, the peer's application has not closed";
    let functions = MiniSight {
        births: true,
        ends: true,
        polled: false,
    };
    for (then, expected) in [
        (vec!["+1000ms", "+500ms", "+9000ms"], vec![STUCK]),
        // Due in the moment in which the socket's evidence is waited for.
        (vec!["+1000ms", "a timer=TW", "+9000ms"], vec![]),
        (vec!["+1000ms", "a gone=F2", "+9000ms"], vec![]),
    ] {
        let mut desk = Desk::following(2 * SECOND, functions);
        let told = desk.tell_all(&[&ORPHANED[..], &then].concat());
        assert_eq!(told, expected, "{then:?}");
    }
    // Due before all evidence of its socket is complete.
    let mut desk = Desk::following(SECOND / 2 + 10_000_000, functions);
    assert_eq!(
        desk.tell_all(&[&ORPHANED[..], &["+10ms"]].concat()).len(),
        1
    );
}

#[test]
fn a_stay_in_fin_wait_2_is_told_of_when_the_kernel_says_that_it_goes_on() {
    let polled = MiniSight {
        polled: true,
        ..MiniSight::default()
    };
    let begin: Vec<&str> = ORPHANED
        .into_iter()
        .filter(|event| *event != "A mini=F2 a")
        .collect();
    for (then, expected) in [
        (
            vec![
                "+100ms",
                "poll=F2/59000ms",
                "+5000ms",
                "poll=F2/54000ms",
                "poll=F2/54000ms",
            ],
            vec![
                "fin_wait_2: FIN_WAIT_2 for 5.600s: closed here, the peer's application has not closed",
            ],
        ),
        // Nobody knows.
        (vec!["+100ms", "poll=F2/59000ms", "+5000ms"], vec![]),
        (
            vec!["+100ms", "poll=F2/59000ms", "+5000ms", "poll=TW/54000ms"],
            vec![],
        ),
        (
            vec!["+100ms", "poll=F2/59000ms", "+5000ms", "poll=-"],
            vec![],
        ),
    ] {
        let mut desk = Desk::following(2 * SECOND, polled);
        let told = desk.tell_all(&[&begin[..], &then].concat());
        assert_eq!(told, expected, "{then:?}");
    }
}

#[test]
fn an_end_in_order_needs_no_explanation() {
    for events in [
        after(&OPEN, &["A ES>F1", "A F1>F2", "A F2>CL counts=re:0"]),
        after(
            &SERVED,
            &["A ES>CW", "+29999ms", "A CW>LA", "A LA>CL counts=re:0"],
        ),
        after(&OPEN, &["+90000ms"]),
        // Given up at once: nobody waited for an answer.
        vec!["A CL>SS task=7 p0", "A SS>CL counts=re:0"],
        vec!["A CL>LI task=7", "+90000ms"],
    ] {
        assert_eq!(last(&events), Vec::<String>::new(), "{events:?}");
    }
}

#[test]
fn commands_name_the_connection() {
    let mut desk = Desk::new(30 * SECOND);
    desk.tell_all(&["A CL>SS task=7 p0", "+30000ms"]);
    desk.tell_all(&["B LI>SR", "B SR>ES", "B accept=9", "B ES>CW", "+30000ms"]);
    let checks: Vec<_> = desk
        .told
        .iter()
        .map(|told| told.hint.check.as_deref())
        .collect();
    assert_eq!(
        checks,
        [
            Some("tcpdump -ni any host 10.0.0.2 and port 443"),
            Some("ss -tnpo state close-wait"),
        ]
    );
}

#[test]
fn the_table_is_in_order() {
    let mut names = HashSet::new();
    for rule in &RULES {
        let name = rule.name;
        assert!(names.insert(name), "{name} twice");
        assert!(
            name.bytes()
                .all(|b| b.is_ascii_lowercase() || b"_2".contains(&b))
        );
        assert!(!rule.source.is_empty() && !rule.advice.is_empty(), "{name}");
        let (state, begins) = rule.check;
        let check = state.facts().and_then(|facts| facts.check(begins));
        assert!(check.is_some(), "{name}: no such check");
        assert_eq!(rules::bit(name).count_ones(), 1, "{name}");
    }
}
