//! What the filter lets through, and when.

use super::*;

fn by_ports(ports: &str) -> Filter {
    Filter {
        ports: ports.parse().unwrap(),
        ..Filter::default()
    }
}

fn by_pid(pid: u32) -> Filter {
    Filter {
        pids: vec![pid],
        ..Filter::default()
    }
}

fn told(filter: Filter, events: &[&str]) -> Vec<String> {
    Story::with(filter, 100).tell(events)
}

#[test]
fn the_birth_is_held_until_the_port_is_known() {
    let mut story = Story::with(by_ports("40000"), 100);
    assert!(story.tell(&["A CL>SS task=7 p0"]).is_empty());
    assert_eq!(
        story.tell(&["A SS>ES", "A ES>CL"]),
        [
            "1 CL>SS - Client Connect:7",
            "1 SS>ES 10 Client Connect:7",
            "1 ES>CL 10 Client Connect:7",
            "1 Closed"
        ]
    );
    let (conn, transition) = &story.log.told[0];
    assert_eq!(conn.local.port, 40000);
    assert_eq!(transition.event.local.port, 0);
    assert_eq!(conn.steps.len(), 1);
    assert_eq!(conn.as_of_ns, 1010);

    assert!(told(by_ports("22"), &["A CL>SS task=7 p0", "A SS>ES", "A ES>CL"]).is_empty());
    // One that nobody answers tells it with its first retransmission.
    assert_eq!(
        told(by_ports("40000"), &["A CL>SS p0", "A rtx=40000"]).len(),
        1
    );
    assert!(told(by_ports("40000"), &["A CL>SS p0", "A rtx=40001"]).is_empty());
    assert_eq!(told(by_ports("443"), &["A CL>SS p0"]).len(), 1);
}

#[test]
fn a_remote_side_that_comes_late_is_waited_for() {
    let child = ["A LI>SR l=10.0.0.1/80 r=10.0.0.9/1234 r0", "A SR>ES"];
    let remote_port = Filter {
        remote_ports: "1234".parse().unwrap(),
        ..Filter::default()
    };
    let remote_addr = Filter {
        prefixes: vec![parse_prefix("10.0.0.9").unwrap()],
        ..Filter::default()
    };
    for filter in [remote_port, remote_addr] {
        assert!(told(filter.clone(), &child[..1]).is_empty());
        assert_eq!(
            told(filter, &child),
            ["1 LI>SR - Server ?", "1 SR>ES 10 Server ?"]
        );
    }
}

#[test]
fn a_passive_connection_is_held_until_it_is_accepted() {
    let open = [
        "L CL>LI task=5 l=0.0.0.0/80 r=0.0.0.0/0",
        "A LI>SR l=10.0.0.1/80 r=10.0.0.9/1234",
        "A SR>ES",
    ];
    let mut story = Story::with(by_pid(6), 100);
    assert!(story.tell(&open).is_empty());
    assert_eq!(
        story.tell(&["A accept=6"]),
        ["2 LI>SR - Server Accept:6", "2 SR>ES 10 Server Accept:6"]
    );
    assert_eq!(
        story.tell(&["A ES>F1 task=9", "A F1>CL"]),
        [
            "2 ES>F1 20 Server Accept:6",
            "2 F1>CL 10 Server Accept:6",
            "2 Closed"
        ]
    );
    assert!(story.finish().is_empty());

    // The listener's owner matches at once, and whoever accepts does not change that.
    let mut story = Story::with(by_pid(5), 100);
    assert_eq!(story.tell(&open).len(), 3);
    assert_eq!(
        story.tell(&["A accept=6", "A ES>CW"]),
        ["2 ES>CW 20 Server Accept:6"]
    );
}

#[test]
fn the_owner_known_at_the_end_decides_over_what_nobody_accepted() {
    let open = ["A LI>SR l=10.0.0.1/80 r=10.0.0.9/1234", "A SR>ES"];
    let closed_by = |pid: u32| {
        let mut story = Story::with(by_pid(6), 100);
        story.tell(&open);
        let lines = story.tell(&[&format!("A ES>F1 task={pid}"), "A F1>F2", "A F2>CL"]);
        (lines.len(), story.tracker.stats().undecided)
    };
    assert_eq!(closed_by(6), (6, 0));
    assert_eq!(closed_by(7), (0, 0));

    let mut story = Story::with(by_pid(6), 100);
    story.tell(&open);
    assert!(story.tell(&["A ES>CL"]).is_empty());
    story.tell(&["B LI>SR"]);
    assert!(story.finish().is_empty());
    assert_eq!(story.tracker.stats().undecided, 2);
}

#[test]
fn a_certain_owner_decides_for_good() {
    for events in [
        ["A CL>SS task=7 p0", "A SS>ES", "A ES>F1 task=6"].as_slice(),
        &["L CL>LI task=7 r=0.0.0.0/0", "L LI>CL task=6"],
        &["A LI>SR", "A SR>ES", "A accept=7", "A ES>F1 task=6"],
    ] {
        assert!(told(by_pid(6), events).is_empty(), "{events:?}");
        let once = told(by_pid(7), events);
        assert_eq!(
            once.iter().filter(|line| line.contains('>')).count(),
            events.iter().filter(|event| event.contains('>')).count(),
            "{events:?}"
        );
    }
}

#[test]
fn one_owner_must_match_both_pid_and_command() {
    let filter = Filter {
        pids: vec![6],
        comms: vec![Comm::from("nginx")],
        ..Filter::default()
    };
    let open = [
        "L CL>LI task=5/nginx l=0.0.0.0/80 r=0.0.0.0/0",
        "A LI>SR l=10.0.0.1/80 r=10.0.0.9/1234",
        "A SR>ES",
    ];
    for (accept, lines) in [("A accept=6/sh", 0), ("A accept=6/nginx", 2)] {
        let mut story = Story::with(filter.clone(), 100);
        assert!(story.tell(&open).is_empty());
        assert_eq!(story.tell(&[accept]).len(), lines, "{accept}");
    }
}

#[test]
fn owner_and_ports_may_become_known_in_either_order() {
    let filter = Filter {
        remote_ports: "1234".parse().unwrap(),
        ..by_pid(6)
    };
    let birth = "A LI>SR l=10.0.0.1/80 r=10.0.0.9/1234 r0";
    let mut story = Story::with(filter.clone(), 100);
    assert!(story.tell(&[birth, "A accept=6"]).is_empty());
    assert_eq!(story.tell(&["A SR>ES"]).len(), 2);
    let mut story = Story::with(filter, 100);
    assert!(story.tell(&[birth, "A SR>ES"]).is_empty());
    assert_eq!(story.tell(&["A accept=6"]).len(), 2);
}

#[test]
fn a_match_is_remembered_while_other_options_wait() {
    let filter = Filter {
        remote_ports: "1234".parse().unwrap(),
        ..by_pid(5)
    };
    let mut story = Story::with(filter, 100);
    let birth = "A LI>SR l=10.0.0.1/80 r=10.0.0.9/1234 r0";
    let listen = "L CL>LI task=5 l=0.0.0.0/80 r=0.0.0.0/0";
    assert!(story.tell(&[listen, birth, "A accept=6"]).is_empty());
    assert_eq!(story.tell(&["A SR>ES"]).len(), 2);
}

#[test]
fn a_new_life_is_decided_anew() {
    let lines = told(
        by_ports("443"),
        &[
            "A CL>SS p0",
            "A SS>CL",
            "A CL>SS r=10.0.0.2/80 p0",
            "A SS>CL",
            "A CL>SS r=10.0.0.2/443 p0",
        ],
    );
    assert_eq!(
        lines,
        [
            "1 CL>SS - Client ?",
            "1 SS>CL 10 Client ?",
            "1 Closed",
            "3 CL>SS - Client ?"
        ]
    );
}

#[test]
fn undecided_connections_end_in_silence_and_are_counted() {
    let mut story = Story::with(by_ports("22"), 1);
    story.tell(&["A CL>SS p0", "A CL>SS p0", "B CL>SS p0"]);
    story.finish();
    assert!(story.log.lines.is_empty());
    let stats = story.tracker.stats();
    assert_eq!((stats.undecided, stats.aged_out), (3, 1));
    assert_eq!((stats.connections, stats.events), (3, 3));
}

#[test]
fn what_was_held_too_long_leaves_a_marked_hole() {
    let mut story = Story::with(by_pid(6), 100);
    story.tell(&["A LI>SR mptcp"]);
    for _ in 0..5 {
        story.tell(&["A SR>ES", "A ES>SR"]);
    }
    let lines = story.tell(&["A accept=6"]);
    assert_eq!(lines.len(), 8);
    assert_eq!(lines[0], "1 SR>ES 10 Server Accept:6 gap");
    assert!(lines[1..].iter().all(|line| !line.ends_with("gap")));
    assert_eq!(story.tracker.stats().held_dropped, 3);
    assert!(story.conn(1).gap == Gap::Certain);
    let counts: Vec<_> = story.log.told.iter().map(|(c, _)| c.steps.len()).collect();
    assert_eq!(counts, [4, 5, 6, 7, 8, 9, 10, 11]);
}

#[test]
fn a_held_transition_ends_the_steps_even_where_a_step_had_to_go() {
    let mut story = Story::with(by_pid(6), 100);
    story.tell(&["A LI>SR mptcp"]);
    for _ in 0..20 {
        story.tell(&["A SR>ES", "A ES>SR"]);
    }
    // The log checks the last step of each.
    assert_eq!(story.tell(&["A accept=6"]).len(), 8);
    let counts: Vec<_> = story.log.told.iter().map(|(c, _)| c.steps.len()).collect();
    assert_eq!(counts, [25, 26, 27, 28, 29, 30, 31, 32]);
}
