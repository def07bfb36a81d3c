//! What is gathered beside the states, and when an end is told.

use super::*;

fn gathered(events: &[&str]) -> Gathered {
    let mut story = Story::patient();
    story.tell(events);
    story.finish();
    story.conn(1).evidence
}

#[test]
fn an_end_waits_for_late_evidence() {
    let mut story = Story::patient();
    let lines = story.tell(&["A CL>SS p0", "A rst-in", "A SS>CL", "+19ms", "A error=111"]);
    assert_eq!(lines, ["1 CL>SS - Client ?", "1 SS>CL 20 Client ?"]);
    assert_eq!(story.tracker.stats().open, 0);
    assert_eq!(story.tell(&["+1ms"]), ["1 Closed"]);
    let conn = story.conn(1);
    assert_eq!(conn.as_of_ns, 1030);
    assert!(conn.evidence.reset_received);
    assert_eq!(
        conn.evidence.error,
        Some(SocketError {
            mono_ns: 19_001_050,
            errno: 111
        })
    );
    assert!(!story.log.told[0].0.evidence.reset_received);
    assert!(story.log.told[1].0.evidence.reset_received);
}

#[test]
fn a_new_life_of_the_socket_or_the_end_of_the_trace_waits_for_nothing() {
    let mut story = Story::patient();
    story.tell(&["A ES>CL", "A rst-out=11"]);
    let lines = story.tell(&["A CL>SS p0", "A rst-in", "B ES>CL"]);
    assert_eq!(lines[..2], ["1 Closed", "2 CL>SS - Client ?"]);
    assert_eq!(story.finish(), ["3 Closed", "2 StillOpen"]);
    assert_eq!(story.conn(1).evidence.reset_sent.unwrap().reason, Some(11));
    assert!(!story.conn(1).evidence.reset_received);
    assert!(story.conn(2).evidence.reset_received);
    assert!(!story.conn(1).evidence.incomplete);
}

#[test]
fn what_is_closed_gives_way_before_what_is_open() {
    let mut story = Story {
        hasty: false,
        ..Story::with(Filter::default(), 2)
    };
    let lines = story.tell(&["A LI>SR", "B ES>CL", "C LI>SR"]);
    assert_eq!(lines[2..], ["2 Closed", "3 LI>SR - Server ?"]);
    assert!(story.conn(2).evidence.incomplete);
    // No room to wait at all.
    let lines = story.tell(&["D ES>CL"]);
    assert_eq!(lines[1..], ["4 Closed"]);
    assert!(story.conn(4).evidence.incomplete);
    // Had waited long enough.
    story.tell(&["A SR>CL", "+10ms"]);
    story.now_ns += 10_000_000;
    story.tell(&["E LI>SR"]);
    assert!(!story.conn(1).evidence.incomplete);
    assert_eq!(story.tracker.stats().aged_out, 0);
}

#[test]
fn retransmissions_are_counted_by_what_was_sent() {
    let found = gathered(&[
        "A CL>SS p0",
        "A rtx",
        "A rtx",
        "A SS>SR",
        "A rtx",
        "A SR>ES",
        "A rtx",
        "A ES>F1",
        "A rtx",
    ]);
    assert_eq!(
        (
            found.syn_retransmits,
            found.synack_retransmits,
            found.retransmits
        ),
        (2, 1, 2)
    );
}

#[test]
fn what_the_socket_had_counted_is_kept_of_tcp_alone() {
    let events = [
        "A CL>SS p0",
        "A SS>ES counts=rtt:35,re:2",
        "A ES>CW counts=rtt:77",
        "A CW>CL counts=err:32,re:3",
    ];
    let found = gathered(&events);
    let opened = Opened {
        rtt_us: Some(35),
        retransmits: 2,
    };
    assert_eq!(found.opened, Some(opened));
    assert_eq!(found.closed, Some(counts("err:32,re:3")));
    let mptcp = events.map(|event| format!("{event} mptcp"));
    let found = gathered(&mptcp.each_ref().map(String::as_str));
    assert_eq!((found.opened, found.closed), (None, None));
}

#[test]
fn evidence_before_the_first_transition_seen_belongs_to_it() {
    let mut story = Story::patient();
    story.tell(&[
        "A rst-in", "A ES>CL", "B rst-in", "+21ms", "B ES>CL", "C rst-in", "C CL>SS",
    ]);
    story.finish();
    assert!(story.conn(1).evidence.reset_received);
    assert!(!story.conn(2).evidence.reset_received);
    assert!(!story.conn(3).evidence.reset_received);
    assert_eq!(story.tracker.stats().evidence_unmatched, 3);
    assert_eq!(story.tracker.stats().evidence, 3);
}

#[test]
fn a_reset_after_the_close_ended_nothing_and_a_listeners_reset_is_for_strangers() {
    assert!(!gathered(&["A ES>CL", "A rst-in"]).reset_received);
    let listener = ["A CL>LI r=0.0.0.0/0", "A rst-out=1", "A LI>CL"];
    assert_eq!(gathered(&listener).reset_sent, None);
}

#[test]
fn a_loss_makes_what_was_open_incomplete() {
    let mut story = Story::patient();
    story.tell(&["A CL>SS p0", "B CL>SS p0", "B SS>CL", "+20ms", "C ES>CL"]);
    story.tracker.handle_loss(1, 0);
    story.tell(&["D CL>SS p0", "E ES>CW"]);
    story.finish();
    let incomplete: Vec<_> = (1..=5)
        .filter(|id| story.conn(*id).evidence.incomplete)
        .collect();
    // One in mid-life may have met with the loss before it was seen.
    assert_eq!(incomplete, [1, 3, 5]);
}

#[test]
fn lost_evidence_alone_takes_no_duration() {
    let mut story = Story::patient();
    story.tell(&["A CL>SS p0"]);
    story.tracker.handle_loss(0, 1000);
    story.tell(&["A SS>ES"]);
    story.finish();
    let conn = story.conn(1);
    assert!(conn.evidence.incomplete);
    assert!(
        conn.steps
            .iter()
            .skip(1)
            .all(|step| step.since_ns.is_some())
    );
}

#[test]
fn a_child_takes_over_the_syn_acks_that_were_sent_again() {
    let ends = "l=10.0.0.1/80 r=10.0.0.9/1234";
    let synack = format!("L synack {ends}");
    for birth in ["A LI>SR", "A LI>SR r0 l0"] {
        let mut story = Story::patient();
        story.tell(&[
            &synack,
            &synack,
            &format!("{birth} {ends}"),
            "A SR>ES",
            "A rtx",
            "A ES>CL",
        ]);
        story.finish();
        let evidence = &story.conn(1).evidence;
        assert_eq!(evidence.synack_retransmits, 2, "{birth}");
        assert_eq!(evidence.retransmits, 1);
        // It may have been half-open before the trace began.
        assert!(!evidence.synacks_counted);
        assert_eq!(story.tracker.stats().evidence_unmatched, 0);
    }
}

#[test]
fn half_open_connections_that_never_complete_are_told() {
    let mut story = Story::patient();
    let synack = "L synack l=10.0.0.1/80 r=10.0.0.9/1234";
    let lines = story.tell(&[synack, "+131000ms", "A LI>SR"]);
    assert_eq!(lines[0], "1 NeverCompleted");
    story.finish();
    assert_eq!(story.conn(1).evidence.synack_retransmits, 1);
    assert!(!story.conn(1).evidence.synacks_counted);
    assert_eq!(story.conn(2).evidence.synack_retransmits, 0);
    assert!(story.conn(2).evidence.synacks_counted);
}

#[test]
fn a_child_closed_with_its_listener_knows_it() {
    let listen = "L CL>LI l=0.0.0.0/80 r=0.0.0.0/0";
    let child = "A LI>SR l=10.0.0.1/80 r=10.0.0.9/1234";
    for (events, expected) in [
        (vec![listen, child, "A SR>ES", "L LI>CL", "A ES>CL"], true),
        (vec![listen, child, "A SR>ES", "A ES>CL", "L LI>CL"], false),
        (
            vec![listen, child, "A SR>ES", "A accept=6", "L LI>CL", "A ES>CL"],
            false,
        ),
        (
            vec![listen, child, "A SR>ES", "L LI>CL", "+1001ms", "A ES>CL"],
            false,
        ),
        (
            vec![
                "L CL>LI l=10.0.0.3/80 r=0.0.0.0/0",
                child,
                "L LI>CL",
                "A SR>CL",
            ],
            false,
        ),
        // A listener from before the trace.
        (
            vec!["L LI>CL l=0.0.0.0/80 r=0.0.0.0/0", child, "A SR>CL"],
            true,
        ),
    ] {
        let mut story = Story::patient();
        story.tell(&events);
        story.finish();
        let conns = story.log.ended.values();
        let child = conns.map(|(conn, _)| conn).find(|conn| conn.sk == sk("A"));
        assert_eq!(
            child.unwrap().evidence.listener_closed,
            expected,
            "{events:?}"
        );
    }
}

#[test]
fn one_reset_in_the_queue_can_still_be_accepted() {
    let filter = Filter {
        pids: vec![6],
        ..Filter::default()
    };
    let mut story = Story {
        hasty: false,
        ..Story::with(filter, 100)
    };
    let lines = story.tell(&[
        "A LI>SR",
        "A SR>ES",
        "A rst-in",
        "A ES>CL",
        "A accept=6",
        "+20ms",
    ]);
    assert_eq!(
        lines,
        [
            "1 LI>SR - Server Accept:6",
            "1 SR>ES 10 Server Accept:6",
            "1 ES>CL 20 Server Accept:6",
            "1 Closed"
        ]
    );
}

#[test]
fn a_retransmission_tells_the_port_that_the_kernel_chose() {
    let mut story = Story::patient();
    story.tell(&["A CL>SS p0", "B CL>SS p0", "C CL>SS p0", "D ES>CW"]);
    story.tell(&["A rtx=40001", "B rtx=40002", "C rtx", "D rtx=7"]);
    story.finish();
    let ports = [1, 2, 3, 4].map(|id| story.conn(id).local.port);
    assert_eq!(ports, [40001, 40002, 0, 40000]);
    let counted = [1, 2, 3].map(|id| story.conn(id).evidence.syn_retransmits);
    assert_eq!(counted, [1; 3]);
}
