//! Connections that were there before the trace.

use super::*;
use crate::track::Gathered;

/// One that does not settle before it is told to.
fn early() -> Story {
    Story::patient()
}

#[test]
fn a_listed_connection_goes_on_with_its_first_event() {
    let mut story = Story::new();
    story.tell(&[
        "list LI l=0.0.0.0/443 by=3/nginx",
        "list ES l=10.0.0.1/443 r=10.0.0.2/5000 by=7/web,8",
    ]);
    let lines = story.tell(&["A ES>CW l=10.0.0.1/443 r=10.0.0.2/5000"]);
    // From 950, when it was found, to 1030.
    assert_eq!(lines, ["2 ES>CW 80 Server Snapshot:7"]);
    let (conn, transition) = story.log.told.last().unwrap();
    assert!(transition.since_listed && !transition.after_gap);
    assert_eq!(conn.listed_ns, Some(950));
    let holders: Vec<u32> = conn
        .holders
        .iter()
        .flat_map(|all| all.iter())
        .map(|one| one.pid)
        .collect();
    assert_eq!(holders, [7, 8]);
    assert!(!conn.from_birth);
    assert_eq!(
        story.tell(&["A CW>LA", "A LA>CL"]),
        [
            "2 CW>LA 10 Server Snapshot:7",
            "2 LA>CL 10 Server Snapshot:7",
            "2 Closed"
        ]
    );
    assert_eq!(
        story.steps(2),
        steps(&[
            ("ES", None),
            ("CW", Some(1030)),
            ("LA", Some(1040)),
            ("CL", Some(1050))
        ])
    );
    assert_eq!(story.finish(), ["1 StillOpen"]);
    assert_eq!(story.conn(1).sk, 0);
}

#[test]
fn silent_ones_are_told_as_open_in_order_and_keep_their_owner() {
    let mut story = Story::new();
    story.tell(&[
        "list ES by=7/curl",
        "list SS l=10.0.0.1/1 by=8",
        "A CL>SS l=10.0.0.9/2 task=9",
    ]);
    assert_eq!(
        story.finish(),
        ["1 StillOpen", "2 StillOpen", "3 StillOpen"]
    );
    assert_eq!(story.conn(1).owner.pid, Some(7));
    assert_eq!(story.conn(1).role, Role::Unknown);
    assert_eq!(story.conn(2).role, Role::Client);
    assert!(story.conn(1).is_unchanged() && !story.conn(3).is_unchanged());
    assert_eq!(story.conn(1).evidence, Gathered::default());
}

#[test]
fn roles_are_given_only_where_they_are_certain() {
    for (listeners, ends, role) in [
        (
            &["list LI l=0.0.0.0/80"][..],
            "l=10.0.0.1/80 r=10.0.0.2/5000",
            Role::Server,
        ),
        (
            &["list LI l=10.0.0.1/80"],
            "l=10.0.0.1/80 r=10.0.0.2/5000",
            Role::Server,
        ),
        // Another address, protocol, namespace, or family of socket.
        (
            &["list LI l=10.0.0.3/80"],
            "l=10.0.0.1/80 r=10.0.0.2/5000",
            Role::Unknown,
        ),
        (
            &["list LI l=0.0.0.0/80 mptcp"],
            "l=10.0.0.1/80 r=10.0.0.2/5000",
            Role::Unknown,
        ),
        (
            &["list LI l=0.0.0.0/80 ns=2"],
            "l=10.0.0.1/80 r=10.0.0.2/5000",
            Role::Unknown,
        ),
        (
            &["list LI v6 l=::/80"],
            "l=10.0.0.1/80 r=10.0.0.2/5000",
            Role::Unknown,
        ),
        (
            &["list LI v6 l=::/80"],
            "v6 l=::ffff:10.0.0.1/80 r=::ffff:10.0.0.2/5000",
            Role::Server,
        ),
        // The other end of the same.
        (
            &["list LI l=0.0.0.0/80"],
            "l=10.0.0.2/5000 r=10.0.0.1/80",
            Role::Unknown,
        ),
        // Either may have connected.
        (
            &["list LI l=0.0.0.0/80", "list LI l=0.0.0.0/81"],
            "l=10.0.0.1/80 r=10.0.0.1/81",
            Role::Unknown,
        ),
        (&[], "l=10.0.0.1/80 r=10.0.0.2/5000", Role::Unknown),
    ] {
        let mut story = Story::new();
        story.tell(listeners);
        story.tell(&[&format!("list ES {ends}")]);
        story.finish();
        let id = listeners.len() as u64 + 1;
        assert_eq!(story.conn(id).role, role, "{listeners:?} {ends}");
    }
}

/// Event and list at every distance: before, within and after the time in which the kernel looked.
#[test]
fn a_change_around_the_list_is_told_once() {
    for (at, listed, line, path) in [
        // The list was read after the event, and says what it led to.
        (
            800,
            "CW",
            "1 ES>CW - Unknown ?",
            &[("ES", None), ("CW", Some(800))][..],
        ),
        // Read while it happened, before or after.
        (
            920,
            "CW",
            "1 ES>CW - Unknown ?",
            &[("ES", None), ("CW", Some(920))],
        ),
        (
            920,
            "ES",
            "1 ES>CW - Unknown ?",
            &[("ES", None), ("CW", Some(920))],
        ),
        // Read before it.
        (
            970,
            "ES",
            "1 ES>CW 20 Unknown Snapshot:7",
            &[("ES", None), ("CW", Some(970))],
        ),
        // Read before it, and what came between was missed.
        (
            970,
            "SS",
            "1 ES>CW - Client Snapshot:7 gap",
            &[("SS", None), ("ES", None), ("CW", Some(970))],
        ),
    ] {
        let mut story = early();
        let mut lines = story.tell(&[&format!("list {listed} by=7"), &format!("A ES>CW at={at}")]);
        // An id that nobody took is not used again.
        for line in &mut lines {
            line.replace_range(..1, "1");
        }
        assert_eq!(lines, [line], "{listed} at {at}");
        let told: Vec<_> = story.log.told[0]
            .0
            .steps
            .iter()
            .map(|s| (name(s.state), s.since_ns))
            .collect();
        assert_eq!(told, steps(path), "{listed} at {at}");
        let lines = story.tell(&["+50ms", "A CW>LA task=7"]);
        assert!(lines[0].ends_with(" Snapshot:7"), "{lines:?}");
        assert_eq!(story.finish().len(), 1, "{listed} at {at}");
        assert_eq!(story.tracker.stats().connections, 1);
    }
}

#[test]
fn one_that_closes_around_the_list_leaves_no_ghost() {
    for (at, ends) in [
        // The list has another one with the same ends, whose birth was missed.
        (800, &["2 Closed", "1 StillOpen"][..]),
        (920, &["2 Closed"]),
        (970, &["1 Closed"]),
    ] {
        let mut story = early();
        story.tell(&["list ES by=7", &format!("A ES>CL at={at}")]);
        let lines: Vec<_> = story.finish();
        assert_eq!(lines, ends, "{at}");
        let closed: u64 = ends[0][..1].parse().unwrap();
        // Which of two sockets the list had is not known at 920, so neither is the owner.
        let owner = (at == 970).then_some(7);
        assert_eq!(story.conn(closed).owner.pid, owner, "{at}");
    }
}

#[test]
fn one_that_is_born_around_the_list_is_told_once() {
    for (at, ends) in [
        (800, &["2 StillOpen"][..]),
        (920, &["2 StillOpen"]),
        // The listed one is gone: its ends are in use again.
        (970, &["2 StillOpen"]),
    ] {
        let mut story = early();
        let lines = story.tell(&[
            "list ES by=7",
            &format!("A LI>SR at={at}"),
            &format!("A SR>ES at={}", at + 1),
        ]);
        assert_eq!(
            lines.contains(&"1 EndUnseen".to_owned()),
            at == 970,
            "{lines:?}"
        );
        assert_eq!(story.finish(), ends, "{at}");
        let owner = (at != 970).then_some(7);
        let id = ends[0][..1].parse().unwrap();
        assert_eq!(story.conn(id).owner.pid, owner, "{at}");
        assert_eq!(story.conn(id).role, Role::Server);
        assert!(story.conn(id).from_birth);
    }
}

#[test]
fn ends_used_again_before_the_list_was_read_are_two_connections() {
    let mut story = early();
    story.tell(&[
        "list ES by=7",
        "A ES>F1 at=700",
        "A F1>CL at=710",
        "B CL>SS at=720 p0 task=7",
        "B SS>ES at=730",
    ]);
    assert_eq!(story.finish(), ["2 Closed", "3 StillOpen"]);
    assert_eq!(story.conn(2).owner.pid, None);
    assert_eq!(story.conn(3).owner.source, OwnerSource::Connect);
}

#[test]
fn a_connect_without_a_port_takes_the_place_of_one_listed() {
    // Two are listed, one of them was born just before; which one, its port will tell, or nothing.
    for (event, left) in [
        (None, &["2 StillOpen", "3 StillOpen"][..]),
        (
            Some("A SS>ES l=10.0.0.1/5"),
            &["2 StillOpen", "3 StillOpen"],
        ),
        (
            Some("A SS>ES l=10.0.0.1/6"),
            &["1 StillOpen", "3 StillOpen"],
        ),
        (Some("A rtx=5"), &["2 StillOpen", "3 StillOpen"]),
        (Some("A rtx=6"), &["1 StillOpen", "3 StillOpen"]),
    ] {
        let mut story = early();
        story.tell(&[
            "list SS l=10.0.0.1/5 by=7",
            "list SS l=10.0.0.1/6 by=7",
            "A CL>SS at=890 l=10.0.0.1/5 p0 task=7",
            "+50ms",
        ]);
        story.tell(event.as_slice());
        assert_eq!(story.finish(), left, "{event:?}");
    }
    // Born after the list: all three are connections.
    let mut story = early();
    story.tell(&[
        "list SS l=10.0.0.1/5",
        "list SS l=10.0.0.1/6",
        "A CL>SS at=990 l=10.0.0.1/5 p0",
    ]);
    assert_eq!(story.finish().len(), 3);
    // With the port of one of them, which has ended unseen.
    let mut story = early();
    let lines = story.tell(&[
        "list SS l=10.0.0.1/5",
        "list SS l=10.0.0.1/6",
        "A CL>SS at=990 l=10.0.0.1/5 p0",
        "A rtx=5",
    ]);
    assert_eq!(lines, ["3 CL>SS - Client ?", "1 EndUnseen"]);
    assert_eq!(story.finish(), ["2 StillOpen", "3 StillOpen"]);
}

#[test]
fn without_an_event_the_end_of_the_list_decides() {
    let mut story = early();
    story.tell(&["list CW by=7", "A ES>CW at=800", "+50ms"]);
    assert_eq!(story.finish(), ["2 StillOpen"]);
    assert_eq!(story.conn(2).owner.pid, Some(7));
    assert_eq!(story.tracker.stats().connections, 1);
}

#[test]
fn other_namespaces_protocols_and_sockets_do_not_match() {
    for other in ["ns=2", "mptcp", "r=10.0.0.2/444", "l=10.0.0.1/40001"] {
        let mut story = Story::new();
        story.tell(&["list ES by=7", &format!("A ES>CW {other}")]);
        assert_eq!(story.finish(), ["1 StillOpen", "2 StillOpen"], "{other}");
    }
    // Where events do not tell the namespace, the one there is.
    let mut story = Story::new();
    assert_eq!(
        story.tell(&["list ES by=7", "A ES>CW ns=?"]),
        ["1 ES>CW 70 Unknown Snapshot:7"]
    );
    let mut story = Story::new();
    story.tell(&["list ES by=7", "list ES ns=2 by=8"]);
    assert_eq!(story.tell(&["A ES>CW ns=?"]), ["3 ES>CW - Unknown ?"]);
    // A v4-mapped socket of the list is the IPv6 socket of the event.
    let mut story = Story::new();
    story.tell(&["list ES v6 l=::ffff:10.0.0.1/80 r=::ffff:10.0.0.2/9 by=7"]);
    let lines = story.tell(&["A ES>CW v6 l=::ffff:10.0.0.1/80 r=::ffff:10.0.0.2/9"]);
    assert_eq!(lines, ["1 ES>CW 70 Unknown Snapshot:7"]);
}

#[test]
fn the_owner_of_a_listed_listener_owns_what_is_not_accepted() {
    let mut story = Story::new();
    let lines = story.tell(&[
        "list LI l=0.0.0.0/443 by=3/nginx,4/nginx",
        "list ES l=10.0.0.1/443 r=10.0.0.2/8 queued",
        "A LI>SR l=10.0.0.1/443 r=10.0.0.2/7",
        "A accept=4/nginx",
        "A SR>ES",
        "B ES>CW l=10.0.0.1/443 r=10.0.0.2/8",
    ]);
    assert_eq!(
        lines,
        [
            "3 LI>SR - Server Listener:3",
            "3 SR>ES 20 Server Accept:4",
            "2 ES>CW 110 Server Listener:3"
        ]
    );
    let holders = |id| story.conn(id).holders.as_ref().map(|all| all.len());
    assert_eq!((holders(2), holders(3)), (Some(2), None));
    story.finish();
    assert_eq!(story.conn(1).role, Role::Listener);
}

#[test]
fn who_accepted_a_listed_one_is_found_with_its_next_event() {
    let mut story = Story::new();
    story.tell(&[
        "list LI l=0.0.0.0/443 by=3/nginx",
        "list ES l=10.0.0.1/443 r=10.0.0.2/8 queued",
        "list ES l=10.0.0.1/443 r=10.0.0.2/9 queued",
        "A accept=4/nginx",
    ]);
    let lines = story.tell(&["A ES>CW l=10.0.0.1/443 r=10.0.0.2/8"]);
    assert_eq!(lines, ["2 ES>CW 100 Server Accept:4"]);
    // Whether anybody has accepted the other is not known any more.
    story.finish();
    assert_eq!(story.conn(3).owner, Owner::UNKNOWN);
    assert!(!story.conn(3).evidence.queued_when_listed);
}

#[test]
fn with_accepts_forgotten_nobody_is_known_to_wait() {
    let mut story = Story::new();
    story.tell(&[
        "list LI l=0.0.0.0/443 by=3/nginx",
        "list ES l=10.0.0.1/443 r=10.0.0.2/8 queued",
        "list ES l=10.0.0.1/443 r=10.0.0.2/9 queued",
        "A ES>CW l=10.0.0.1/443 r=10.0.0.2/8",
    ]);
    for sk in 0..4097 {
        story
            .tracker
            .snapshot
            .remember_accept(1 << 20 | sk, task("4"));
    }
    story.tell(&["B ES>CW l=10.0.0.1/443 r=10.0.0.2/9"]);
    assert!(story.conn(2).evidence.queued_when_listed);
    assert!(!story.conn(3).evidence.queued_when_listed);
}

#[test]
fn filters_by_process_know_the_owners_of_the_list() {
    let pids = |pids: &[u32]| Filter {
        pids: pids.to_vec(),
        ..Filter::default()
    };
    let list = [
        "list LI l=0.0.0.0/443 by=3/nginx,4/nginx",
        "list ES l=10.0.0.1/443 r=10.0.0.2/8 by=4/nginx,5",
        "list ES l=10.0.0.1/443 r=10.0.0.2/9 by=5",
    ];
    let mut story = Story::with(pids(&[4]), 100);
    story.tell(&list);
    // The listener is 3's as well: only an accept tells.
    let lines = story.tell(&["A LI>SR l=10.0.0.1/443 r=10.0.0.2/7", "A accept=4/nginx"]);
    assert_eq!(lines, ["3 LI>SR - Server Accept:4"]);
    let lines = story.tell(&[
        "B LI>SR l=10.0.0.1/443 r=10.0.0.2/6",
        "B accept=3/nginx",
        "B SR>CL",
    ]);
    assert_eq!(lines, Vec::<String>::new());
    assert_eq!(
        story.finish(),
        ["1 StillOpen", "2 StillOpen", "3 StillOpen"]
    );

    let comms = Filter {
        comms: vec![Comm::from("nginx")],
        ..Filter::default()
    };
    let mut story = Story::with(comms, 100);
    story.tell(&list);
    assert_eq!(
        story.tell(&["A LI>SR l=10.0.0.1/443 r=10.0.0.2/7"]),
        ["3 LI>SR - Server Listener:3"]
    );
}

#[test]
fn one_of_several_listeners_at_a_port_closes() {
    // All of the same processes: whichever it was.
    let mut story = Story::new();
    story.tell(&["list LI l=0.0.0.0/443 by=3", "list LI l=0.0.0.0/443 by=3"]);
    assert_eq!(
        story.tell(&["A LI>CL l=0.0.0.0/443 r0"]),
        ["1 LI>CL 80 Listener Snapshot:3", "1 Closed"]
    );
    assert_eq!(
        story.tell(&["B LI>SR l=10.0.0.1/443 r=10.0.0.2/7"]),
        ["3 LI>SR - Server Listener:3"]
    );
    // Of different ones: nobody's that is known, and neither is the other.
    let mut story = Story::new();
    story.tell(&["list LI l=0.0.0.0/443 by=3", "list LI l=0.0.0.0/443 by=4"]);
    assert_eq!(
        story.tell(&["A LI>CL l=0.0.0.0/443 r0"]),
        ["1 LI>CL 80 Listener ?", "1 Closed"]
    );
    assert_eq!(
        story.tell(&["B LI>SR l=10.0.0.1/443 r=10.0.0.2/7"]),
        ["3 LI>SR - Server ?"]
    );
    assert_eq!(story.finish(), ["2 StillOpen", "3 StillOpen"]);
    // One that was born around the list is its owner's.
    let mut story = early();
    story.tell(&[
        "list LI l=0.0.0.0/443 by=3",
        "list LI l=0.0.0.0/443 by=4",
        "A CL>LI at=800 l=0.0.0.0/443 r0 task=4",
        "+50ms",
    ]);
    assert_eq!(story.finish(), ["1 StillOpen", "3 StillOpen"]);
    assert_eq!(story.conn(1).owner.pid, Some(3));
}

#[test]
fn the_list_keeps_within_the_bound() {
    let mut story = Story::with(Filter::default(), 3);
    let lines = story.tell(&[
        "list LI l=0.0.0.0/443",
        "list ES l=10.0.0.1/1",
        "list ES l=10.0.0.1/2",
        "list ES l=10.0.0.1/3",
        "A CL>SS l=10.0.0.1/4",
    ]);
    assert_eq!(lines, ["2 AgedOut", "3 AgedOut", "5 CL>SS - Client ?"]);
    assert_eq!(story.tracker.stats().open, 3);
    assert_eq!(
        story.finish(),
        ["1 StillOpen", "4 StillOpen", "5 StillOpen"]
    );
}

#[test]
fn a_loss_leaves_no_time_that_spans_it() {
    let mut story = Story::new();
    story.tell(&["list ES by=7"]);
    story.tracker.handle_loss(5, 0);
    let lines = story.tell(&["A ES>CW"]);
    assert_eq!(lines, ["1 ES>CW - Unknown Snapshot:7"]);
    assert_eq!(story.conn(1).listed_ns, None);
    assert!(story.conn(1).evidence.incomplete);
}

#[test]
fn holders_belong_where_they_did_when_the_list_was_read() {
    let list = [
        "holder 7 /web.slice/a.service",
        "holder 8 /web.slice/b.service",
        "holder 9 /db.slice/c.service",
        "list LI l=0.0.0.0/80 by=7,9",
        "list ES l=10.0.0.1/1 by=7",
        "list ES l=10.0.0.1/2 by=8",
        "list ES l=10.0.0.1/3 by=9",
        // It has ended before it was looked at.
        "list ES l=10.0.0.1/4 by=10",
        "list ES l=10.0.0.1/80 r=10.0.0.2/5 queued",
    ];
    let mut story = Story::new();
    story.tell(&list);
    story.tell(&["A ES>CW l=10.0.0.1/2"]);
    story.finish();
    let unit = |id: u64| {
        let process = &story.conn(id).owner_process;
        let unit = process.place.as_ref().and_then(|place| place.unit.clone());
        (unit, process.uid, process.ns_pid)
    };
    let of = |name: &str| (Some(name.to_owned()), Some(33), Some(1));
    assert_eq!(
        [2, 3, 4, 5, 6].map(unit),
        [
            of("a.service"),
            of("b.service"),
            of("c.service"),
            (None, None, None),
            of("a.service")
        ]
    );

    let mut story = Story::with(
        Filter {
            cgroups: vec!["/web.slice".to_owned()],
            ..Filter::default()
        },
        100,
    );
    story.tell(&list);
    // Of several holders of a socket one that is wanted is enough; any of a listener's may accept.
    assert_eq!(
        story.finish(),
        ["1 StillOpen", "2 StillOpen", "3 StillOpen"]
    );
    assert_eq!(story.tracker.stats().undecided, 2);
}
