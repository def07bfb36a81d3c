//! Each story of the kernel as it is told on the tracepoint.

use super::*;

#[test]
fn active_open_and_close() {
    let mut story = Story::new();
    let lines = story.tell(&[
        "A CL>SS task=7 p0",
        "A SS>ES",
        "A ES>F1 task=7",
        "A F1>F2",
        "A F2>CL",
    ]);
    assert_eq!(
        lines,
        [
            "1 CL>SS - Client Connect:7",
            "1 SS>ES 10 Client Connect:7",
            "1 ES>F1 10 Client Connect:7",
            "1 F1>F2 10 Client Connect:7",
            "1 F2>CL 10 Client Connect:7",
            "1 Closed",
        ]
    );
    let conn = story.conn(1);
    assert!(conn.from_birth && conn.gap == Gap::None);
    assert_eq!(conn.local, endpoint("10.0.0.1/40000"));
    assert_eq!(conn.remote, endpoint("10.0.0.2/443"));
    assert_eq!(conn.owner.comm, Some(Comm::from("app")));
    assert_eq!(
        story.steps(1),
        steps(&[
            ("SS", Some(1010)),
            ("ES", Some(1020)),
            ("F1", Some(1030)),
            ("F2", Some(1040)),
            ("CL", Some(1050)),
        ])
    );
    assert_eq!(story.log.told[0].0.local.port, 0);
    assert_eq!(story.log.told[1].0.local.port, 40000);
    assert_eq!(story.tracker.stats().open, 0);
}

#[test]
fn passive_open_closed_by_the_client() {
    let mut story = Story::new();
    let lines = story.tell(&[
        "L CL>LI task=5/nginx l=0.0.0.0/80 r=0.0.0.0/0",
        "A LI>SR l=10.0.0.1/80 r=10.0.0.9/1234",
        "A SR>ES",
        "A accept=6/nginx",
        "A ES>CW",
        "A CW>LA task=6/nginx",
        "A LA>CL",
        "L LI>CL task=5/nginx",
    ]);
    assert_eq!(
        lines,
        [
            "1 CL>LI - Listener Listen:5",
            "2 LI>SR - Server Listener:5",
            "2 SR>ES 10 Server Listener:5",
            "2 ES>CW 20 Server Accept:6",
            "2 CW>LA 10 Server Accept:6",
            "2 LA>CL 10 Server Accept:6",
            "2 Closed",
            "1 LI>CL 70 Listener Listen:5",
            "1 Closed",
        ]
    );
    assert_eq!(story.tracker.stats().connections, 2);
    assert_eq!(story.tracker.stats().accepts, 1);
    assert_eq!(story.tracker.stats().accepts_unmatched, 0);
}

#[test]
fn reset_by_linger_0_or_unread_data() {
    let mut story = Story::new();
    let lines = story.tell(&["A CL>SS task=7 p0", "A SS>ES", "A ES>CL"]);
    assert_eq!(lines[2..], ["1 ES>CL 10 Client Connect:7", "1 Closed"]);
}

#[test]
fn reset_of_a_half_closed_connection() {
    let mut story = Story::new();
    let lines = story.tell(&["A CL>SS task=7 p0", "A SS>ES", "A ES>CW", "A CW>CL"]);
    assert_eq!(lines[3..], ["1 CW>CL 10 Client Connect:7", "1 Closed"]);
}

#[test]
fn refused_or_timed_out_or_cancelled() {
    let mut story = Story::new();
    let lines = story.tell(&["A CL>SS task=7 p0", "A SS>CL"]);
    assert_eq!(
        lines,
        [
            "1 CL>SS - Client Connect:7",
            "1 SS>CL 10 Client Connect:7",
            "1 Closed"
        ]
    );
}

#[test]
fn listener_closed_with_an_unaccepted_child() {
    let mut story = Story::new();
    let lines = story.tell(&[
        "L CL>LI task=5 l=0.0.0.0/80 r=0.0.0.0/0",
        "A LI>SR l=10.0.0.1/80 r=10.0.0.9/1234",
        "A SR>ES",
        "L LI>CL task=5",
        "A ES>CL",
    ]);
    assert_eq!(
        lines[3..],
        [
            "1 LI>CL 30 Listener Listen:5",
            "1 Closed",
            "2 ES>CL 20 Server Listener:5",
            "2 Closed",
        ]
    );
}

#[test]
fn simultaneous_open_makes_both_sides_of_one_socket() {
    let mut story = Story::new();
    let lines = story.tell(&["A CL>SS task=7", "A SS>SR", "A SR>ES"]);
    assert_eq!(
        lines,
        [
            "1 CL>SS - Client Connect:7",
            "1 SS>SR 10 Both Connect:7",
            "1 SR>ES 10 Both Connect:7",
        ]
    );
}

#[test]
fn simultaneous_close() {
    let mut story = Story::new();
    let lines = story.tell(&[
        "A CL>SS task=7 p0",
        "A SS>ES",
        "A ES>F1 task=7",
        "A F1>CG",
        "A CG>CL",
    ]);
    assert_eq!(
        lines[3..],
        [
            "1 F1>CG 10 Client Connect:7",
            "1 CG>CL 10 Client Connect:7",
            "1 Closed"
        ]
    );
}

#[test]
fn mptcp_child_starts_established_and_may_close_twice() {
    let mut story = Story::new();
    let lines = story.tell(&[
        "L CL>LI task=5 mptcp l=0.0.0.0/80 r=0.0.0.0/0",
        "A LI>ES mptcp l=10.0.0.1/80 r=10.0.0.9/1234",
        "A ES>CL",
        "A CL>CL",
    ]);
    assert_eq!(
        lines[1..],
        [
            "2 LI>ES - Server Listener:5",
            "2 ES>CL 10 Server Listener:5",
            "2 Closed",
            "3 CL>CL - Unknown ?",
            "3 Closed",
        ]
    );
}

#[test]
fn states_of_other_kernels_pass_through() {
    let mut story = Story::new();
    let mut event = StateEvent {
        mono_ns: 5,
        sk: 64,
        netns: None,
        family: Family::Other(77),
        protocol: Protocol::Other(132),
        local: endpoint("0.0.0.0/0"),
        remote: endpoint("0.0.0.0/0"),
        from: State::Closed,
        to: State::Unknown(99),
        local_port_known: false,
        task: None,
        counts: None,
        at_close: None,
        from_twin: false,
    };
    story.tracker.handle(&Event::State(event), &mut story.log);
    (event.mono_ns, event.from, event.to) = (9, State::Unknown(99), State::Unknown(-1));
    story.tracker.handle(&Event::State(event), &mut story.log);
    assert_eq!(
        story.log.lines,
        [
            "1 CL>Unknown(99) - Unknown ?",
            "1 Unknown(99)>Unknown(-1) 4 Unknown ?"
        ]
    );
}
