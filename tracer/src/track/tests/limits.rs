//! Loss, ageing and the end of the trace.

use super::*;

#[test]
fn after_a_loss_no_duration_is_claimed_that_another_life_could_have_begun() {
    let mut story = Story::new();
    story.tell(&["A CL>SS p0", "A SS>ES", "B CL>SS p0"]);
    story.tracker.handle_loss(2, 0);
    let lines = story.tell(&["A ES>F1", "A F1>F2", "B F1>F2", "C CL>SS p0", "C SS>ES"]);
    assert_eq!(
        lines,
        [
            "1 ES>F1 - Client ?",
            "1 F1>F2 10 Client ?",
            "2 F1>F2 - Client ? gap",
            "3 CL>SS - Client ?",
            "3 SS>ES 10 Client ?",
        ]
    );
    assert_eq!(
        story.steps(1),
        steps(&[
            ("SS", Some(1010)),
            ("ES", None),
            ("F1", Some(1040)),
            ("F2", Some(1050)),
        ])
    );
}

#[test]
fn one_lost_event_cannot_bring_a_socket_back_to_its_state() {
    let mut story = Story::new();
    story.tell(&["A CL>SS p0", "A SS>ES"]);
    story.tracker.handle_loss(0, 0);
    story.tracker.handle_loss(1, 0);
    assert_eq!(story.tell(&["A ES>F1"]), ["1 ES>F1 10 Client ?"]);
    story.tracker.handle_loss(1, 0);
    assert_eq!(story.tell(&["A F1>F2"]), ["1 F1>F2 10 Client ?"]);
    story.tracker.handle_loss(1, 0);
    story.tracker.handle_loss(1, 0);
    assert_eq!(story.tell(&["A F2>CL"])[0], "1 F2>CL - Client ?");
}

#[test]
fn after_a_loss_listeners_known_before_are_not_trusted() {
    let mut story = Story::new();
    story.tell(&["L CL>LI task=5 l=0.0.0.0/80 r=0.0.0.0/0"]);
    story.tracker.handle_loss(1, 0);
    let child = "A LI>SR l=10.0.0.1/80 r=10.0.0.9/1234";
    assert_eq!(story.tell(&[child]), ["2 LI>SR - Server ?"]);
    story.tell(&["M CL>LI task=6 l=0.0.0.0/80 r=0.0.0.0/0"]);
    assert_eq!(
        story.tell(&[&child.replace('A', "B")]),
        ["4 LI>SR - Server Listener:6"]
    );
}

#[test]
fn the_longest_silent_is_forgotten_first() {
    let mut story = Story::with(Filter::default(), 3);
    let lines = story.tell(&[
        "A LI>SR",
        "B LI>SR",
        "C LI>SR",
        "A SR>ES",
        "B accept=7",
        "D LI>SR",
        "E ES>CL",
        "E LI>SR",
    ]);
    assert_eq!(
        lines[4..],
        [
            "3 AgedOut",
            "4 LI>SR - Server ?",
            "5 ES>CL - Unknown ?",
            "5 Closed",
            "1 AgedOut",
            "6 LI>SR - Server ?",
        ]
    );
    assert_eq!(story.log.ended[&ConnId(3)].0.as_of_ns, 1060);
    let stats = story.tracker.stats();
    assert_eq!((stats.open, stats.aged_out), (3, 2));
    // What was forgotten comes back as seen in mid-life.
    assert_eq!(story.tell(&["C SR>ES"])[1], "7 SR>ES - Unknown ?");
}

#[test]
fn listeners_are_forgotten_last() {
    let mut story = Story::with(Filter::default(), 3);
    let lines = story.tell(&[
        "L CL>LI r=0.0.0.0/0",
        "M CL>LI r=0.0.0.0/0",
        "A LI>SR",
        "B LI>SR",
        "C LI>SR",
        "N CL>LI r=0.0.0.0/0",
        "O CL>LI r=0.0.0.0/0",
        "D LI>SR",
    ]);
    let aged: Vec<_> = lines
        .iter()
        .filter(|line| line.ends_with("AgedOut"))
        .collect();
    // All connections, then, with nothing but listeners left, the oldest of them.
    assert_eq!(
        aged,
        [
            "3 AgedOut",
            "4 AgedOut",
            "5 AgedOut",
            "1 AgedOut",
            "2 AgedOut"
        ]
    );
}

#[test]
fn a_bound_of_zero_tracks_one() {
    let mut story = Story::with(Filter::default(), 0);
    let lines = story.tell(&["A CL>SS p0", "A SS>ES"]);
    assert_eq!(lines[1], "1 SS>ES 10 Client ?");
}

#[test]
fn finish_ends_what_is_open_in_the_order_of_identity() {
    let mut story = Story::new();
    story.tell(&[
        "C LI>SR",
        "A LI>SR",
        "B LI>SR",
        "A SR>CL",
        "C SR>ES",
        "L CL>LI r=0.0.0.0/0",
    ]);
    assert_eq!(
        story.finish(),
        ["1 StillOpen", "3 StillOpen", "4 StillOpen"]
    );
    assert_eq!(story.conn(1).as_of_ns, 1070);
    assert_eq!(
        story.steps(1),
        steps(&[("SR", Some(1010)), ("ES", Some(1050))])
    );
    assert_eq!(story.tracker.stats().open, 0);
    assert_eq!(story.finish(), Vec::<String>::new());
    assert_eq!(story.tell(&["A LI>SR"]), ["5 LI>SR - Server ?"]);
}

#[test]
fn a_life_with_too_many_states_keeps_its_first_and_last_and_says_so() {
    let mut story = Story::new();
    story.tell(&["A CL>SS mptcp"]);
    for _ in 0..20 {
        story.tell(&["A SS>SR", "A SR>SS"]);
    }
    let conn = story.conn(1);
    assert_eq!(conn.gap, Gap::Certain);
    assert_eq!(conn.steps.len(), 32);
    assert_eq!(story.steps(1)[0], ("SS".to_owned(), Some(1010)));
    assert_eq!(story.log.told.len(), 41);
}

#[test]
fn an_open_connection_takes_little_memory() {
    let bytes = sockets::Sockets::<entry::Entry>::BYTES_EACH;
    assert!(bytes <= 256, "{bytes}");
}

#[test]
fn strangers_are_forgotten_before_what_is_told() {
    let filter = Filter {
        local_ports: "40000".parse().unwrap(),
        ..Filter::default()
    };
    let mut story = Story::with(filter, 3);
    story.tell(&["W CL>SS p0 l=10.0.0.1/0", "W SS>ES l=10.0.0.1/40000"]);
    // The kernel leaves out what follows of these.
    for stranger in ["A", "B", "C", "D", "E", "F"] {
        let birth = format!("{stranger} CL>SS p0 l=10.0.0.1/0");
        assert!(story.tell(&[&birth]).is_empty());
    }
    let lines = story.tell(&["W ES>F1 l=10.0.0.1/40000"]);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with("1 ES>F1"), "{lines:?}");
}
