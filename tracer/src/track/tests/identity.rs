//! Which life of a socket an event belongs to.

use super::*;

#[test]
fn a_socket_address_is_reused_at_once() {
    let mut story = Story::new();
    let lines = story.tell(&[
        "A LI>SR l=10.0.0.1/80 r=10.0.0.9/1234",
        "A SR>ES",
        "A ES>CL",
        "A CL>SS task=7 l=10.0.0.1/40000 r=10.0.0.2/443 p0",
        "A SS>ES",
    ]);
    assert_eq!(
        lines,
        [
            "1 LI>SR - Server ?",
            "1 SR>ES 10 Server ?",
            "1 ES>CL 10 Server ?",
            "1 Closed",
            "2 CL>SS - Client Connect:7",
            "2 SS>ES 10 Client Connect:7",
        ]
    );
    assert_eq!(story.conn(1).remote, endpoint("10.0.0.9/1234"));
    assert_eq!(story.conn(2).remote, endpoint("10.0.0.2/443"));
}

#[test]
fn one_socket_connects_again_and_keeps_no_port_of_before() {
    let mut story = Story::new();
    story.tell(&["A CL>SS task=7 p0", "A SS>CL"]);
    // The port of the first attempt is still in the socket.
    story.now_ns += 10;
    let event = StateEvent {
        mono_ns: story.now_ns,
        sk: sk("A"),
        netns: Some(1),
        family: Family::Inet,
        protocol: Protocol::Tcp,
        local: endpoint("10.0.0.1/40000"),
        remote: endpoint("10.0.0.2/443"),
        from: State::Closed,
        to: State::SynSent,
        local_port_known: false,
        task: Some(task("8")),
        counts: None,
        at_close: None,
        from_twin: false,
    };
    story.tracker.handle(&Event::State(event), &mut story.log);
    assert_eq!(
        story.log.lines.last().unwrap(),
        "2 CL>SS - Client Connect:8"
    );
    assert_eq!(story.conn(2).local, endpoint("10.0.0.1/0"));
    assert_eq!(
        story.log.told.last().unwrap().1.event,
        event,
        "the event stays what the kernel said"
    );
    story.tell(&["A SS>ES l=10.0.0.1/40002"]);
    assert_eq!(story.conn(2).local, endpoint("10.0.0.1/40002"));
}

#[test]
fn a_listener_listens_again() {
    let mut story = Story::new();
    let lines = story.tell(&[
        "L CL>LI task=5 l=0.0.0.0/80 r=0.0.0.0/0",
        "L LI>CL",
        "L CL>LI task=5",
        "A LI>SR l=10.0.0.1/80 r=10.0.0.9/1234",
    ]);
    assert_eq!(
        lines,
        [
            "1 CL>LI - Listener Listen:5",
            "1 LI>CL 10 Listener Listen:5",
            "1 Closed",
            "2 CL>LI - Listener Listen:5",
            "3 LI>SR - Server Listener:5",
        ]
    );
}

#[test]
fn a_birth_ends_what_was_there() {
    for (first, birth) in [
        ("A CL>SS p0", "A CL>SS p0"),
        ("A ES>CW", "A LI>SR"),
        ("A CL>LI r=0.0.0.0/0", "A LI>SR"),
        ("A CL>LI r=0.0.0.0/0", "A CL>LI"),
        ("A LI>SR", "A CL>SS p0"),
    ] {
        let mut story = Story::new();
        story.tell(&[first]);
        let lines = story.tell(&[birth]);
        assert_eq!(lines.len(), 2, "{first} {birth}");
        assert_eq!(lines[0], "1 EndUnseen", "{first} {birth}");
        assert!(lines[1].starts_with("2 "), "{first} {birth}");
        assert_eq!(story.log.ended[&ConnId(1)].0.as_of_ns, 1020);
        assert!(story.conn(2).from_birth);
    }
}

#[test]
fn an_event_that_cannot_follow_is_of_another_life() {
    for (before, after) in [
        (["A CL>SS p0", "A SS>ES"], "A ES>CW r=10.0.0.2/444"),
        (["A CL>SS p0", "A SS>ES"], "A ES>CW r=10.0.0.3/443"),
        (["A CL>SS p0", "A SS>ES"], "A ES>CW l=10.0.0.1/40001"),
        (["A CL>SS p0", "A SS>ES"], "A ES>CW ns=2"),
        (["A CL>SS p0", "A SS>ES"], "A ES>CW mptcp"),
        (["A CL>SS p0", "A SS>ES"], "A LI>CL"),
        (["A CL>SS p0", "A SS>ES"], "A SS>ES"),
        (["A CL>SS p0", "A SS>SR"], "A SS>ES"),
        (["A SS>ES", "A ES>CW"], "A ES>F1"),
        (["A SS>ES", "A ES>CW"], "A F1>F2"),
        (["A ES>F1", "A F1>F2"], "A LA>CL"),
        (["A ES>F1", "A F1>F2"], "A F1>F2 l=10.0.0.1/40000"),
        (["B CL>SS", "A CL>LI r=0.0.0.0/0"], "A ES>CW r=10.0.0.2/443"),
    ] {
        let mut story = Story::new();
        story.tell(&before);
        let id = story.conn(story.tracker.stats().connections).id;
        let lines = story.tell(&[after]);
        assert_eq!(lines[0], format!("{} EndUnseen", id.0), "{after}");
        let (conn, transition) = story.log.told.last().unwrap();
        assert_eq!(conn.id.0, id.0 + 1, "{after}");
        assert!(!conn.from_birth && conn.gap == Gap::None, "{after}");
        assert!(!transition.after_gap && transition.in_state_ns.is_none());
    }
}

#[test]
fn what_only_completes_or_respells_an_endpoint_is_of_the_same_life() {
    for (before, after) in [
        (["A LI>SR r0 l0", "A SR>ES"], "A ES>CW"),
        (["A CL>SS p0", "A SS>ES"], "A ES>CW l=10.0.0.5/40000"),
        (["A CL>SS p0", "A SS>ES"], "A ES>CW r=::ffff:10.0.0.2/443"),
        (["A CL>SS p0", "A SS>ES"], "A ES>CL r0 l0 p0"),
        (["A CL>SS ns=?", "A SS>ES"], "A ES>CW ns=2"),
        (["A CL>SS mptcp", "A SS>ES"], "A SS>ES"),
    ] {
        let mut story = Story::new();
        story.tell(&before);
        let lines = story.tell(&[after]);
        assert!(lines[0].starts_with("1 "), "{lines:?}");
        assert_eq!(story.tracker.stats().connections, 1, "{after}");
    }
}

#[test]
fn endpoints_are_completed_and_not_unlearnt() {
    let mut story = Story::new();
    story.tell(&["A LI>SR v6 l=::ffff:10.0.0.1/80 r=::ffff:10.0.0.9/1234 l0 r0"]);
    assert_eq!(story.conn(1).local, endpoint("::/80"));
    assert_eq!(story.conn(1).remote, endpoint("::/0"));
    story.tell(&["A SR>ES"]);
    let complete = (
        endpoint("::ffff:10.0.0.1/80"),
        endpoint("::ffff:10.0.0.9/1234"),
    );
    assert_eq!((story.conn(1).local, story.conn(1).remote), complete);
    story.tell(&["A ES>CL l0 r0 p0"]);
    assert_eq!((story.conn(1).local, story.conn(1).remote), complete);
}

#[test]
fn a_namespace_may_become_known_late() {
    let mut story = Story::new();
    story.tell(&["A CL>SS ns=?", "A SS>ES ns=2", "A ES>CW ns=?"]);
    let netns: Vec<_> = story.log.told.iter().map(|(conn, _)| conn.netns).collect();
    assert_eq!(netns, [None, Some(2), Some(2)]);
}

#[test]
fn a_connection_seen_in_mid_life_has_no_earlier_duration() {
    let mut story = Story::new();
    let lines = story.tell(&["A ES>F1 task=7", "A F1>F2"]);
    assert_eq!(
        lines,
        ["1 ES>F1 - Unknown Close:7", "1 F1>F2 10 Unknown Close:7"]
    );
    let conn = story.conn(1);
    assert!(!conn.from_birth && conn.gap == Gap::None);
    assert_eq!(
        story.steps(1),
        steps(&[("ES", None), ("F1", Some(1010)), ("F2", Some(1020))])
    );
}

#[test]
fn what_is_seen_in_mid_life_shows_its_role_where_only_one_is_possible() {
    for (event, role) in [
        ("A LI>CL r=0.0.0.0/0", Role::Listener),
        ("A SS>ES", Role::Client),
        ("A SS>CL", Role::Client),
        ("A SS>SR", Role::Both),
        ("A SR>ES", Role::Unknown),
        ("A ES>CL", Role::Unknown),
    ] {
        let mut story = Story::new();
        story.tell(&[event]);
        assert_eq!(story.conn(1).role, role, "{event}");
        assert!(!story.conn(1).from_birth);
    }
}

#[test]
fn a_gap_is_marked_and_no_duration_spans_it() {
    let mut story = Story::new();
    let lines = story.tell(&["A CL>SS p0", "A SS>ES", "A F1>F2", "A F2>CL"]);
    assert_eq!(
        lines[2..],
        ["1 F1>F2 - Client ? gap", "1 F2>CL 10 Client ?", "1 Closed"]
    );
    assert!(story.conn(1).gap == Gap::Certain && story.conn(1).from_birth);
    assert_eq!(
        story.steps(1),
        steps(&[
            ("SS", Some(1010)),
            ("ES", Some(1020)),
            ("F1", None),
            ("F2", Some(1030)),
            ("CL", Some(1040)),
        ])
    );
    assert!(story.log.told[1].0.gap == Gap::None);
}

#[test]
fn time_that_runs_backwards_makes_no_duration() {
    let mut story = Story::new();
    let lines = story.tell(&["A CL>SS p0", "A SS>ES at=1009", "A ES>F1"]);
    assert_eq!(lines[1..], ["1 SS>ES - Client ?", "1 ES>F1 21 Client ?"]);
    assert_eq!(
        story.steps(1),
        steps(&[("SS", None), ("ES", Some(1009)), ("F1", Some(1030))])
    );
}

#[test]
fn two_events_of_one_moment_are_zero_apart() {
    let mut story = Story::new();
    let lines = story.tell(&["A CL>SS p0", "A SS>ES at=1010"]);
    assert_eq!(lines[1], "1 SS>ES 0 Client ?");
}

#[test]
fn the_twins_repetitions_are_dropped() {
    let mut story = Story::new();
    let lines = story.tell(&[
        "A CL>SS p0",
        "A CL>SS p0 twin",
        "B CL>SS p0",
        "A SS>ES",
        "B SS>ES",
        "A SS>ES twin",
        "A ES>CL",
        "B ES>CW",
        "A ES>CL twin",
        "B ES>CW twin",
    ]);
    assert_eq!(
        lines,
        [
            "1 CL>SS - Client ?",
            "2 CL>SS - Client ?",
            "1 SS>ES 30 Client ?",
            "2 SS>ES 20 Client ?",
            "1 ES>CL 30 Client ?",
            "1 Closed",
            "2 ES>CW 30 Client ?",
        ]
    );
    let stats = story.tracker.stats();
    assert_eq!((stats.events, stats.duplicates, stats.recovered), (6, 4, 0));
    assert_eq!((stats.connections, stats.open), (2, 1));
}

#[test]
fn what_the_twin_alone_saw_counts() {
    let mut story = Story::new();
    let lines = story.tell(&[
        "A CL>SS p0 twin",
        "A SS>CL twin",
        "A CL>SS p0 twin",
        "A SS>CL twin",
        "B SS>CL twin",
        "C ES>CW",
        "C CW>CL twin",
    ]);
    assert_eq!(lines.len(), 2 * 3 + 2 + 3);
    let stats = story.tracker.stats();
    assert_eq!((stats.events, stats.duplicates, stats.recovered), (7, 0, 6));
}

#[test]
fn an_old_closing_does_not_hide_a_new_one() {
    let mut story = Story::new();
    story.tell(&["A ES>CL", "A ES>CL twin at=200000000"]);
    assert_eq!(story.tracker.stats().duplicates, 0);
    assert_eq!(story.tracker.stats().connections, 2);
}

#[test]
fn without_a_change_of_state_the_twin_may_mean_a_second_event() {
    let mut story = Story::new();
    let lines = story.tell(&["A CL>CL", "A CL>CL twin", "B ES>ES", "B ES>ES twin"]);
    assert_eq!(lines.iter().filter(|line| line.contains('>')).count(), 4);
    let stats = story.tracker.stats();
    assert_eq!((stats.duplicates, stats.recovered), (0, 2));
}
