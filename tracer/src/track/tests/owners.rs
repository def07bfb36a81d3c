//! Whom a connection belongs to.

use super::*;

const LISTEN_80: &str = "L CL>LI task=5 l=0.0.0.0/80 r=0.0.0.0/0";
const CHILD: &str = "A LI>SR l=10.0.0.1/80 r=10.0.0.9/1234";

fn owner_after(events: &[&str]) -> String {
    let mut story = Story::new();
    story.tell(events);
    let (conn, _) = story.log.told.last().unwrap();
    owner(conn)
}

#[test]
fn a_better_source_replaces_a_worse_one_and_never_the_reverse() {
    for (events, expected) in [
        (
            vec!["A CL>SS task=7", "A SS>ES", "A ES>F1 task=8"],
            "Connect:7",
        ),
        (vec!["A CL>SS", "A SS>ES", "A ES>F1 task=8"], "Close:8"),
        (vec!["A SR>F1 task=8"], "Close:8"),
        (vec!["A CW>LA task=8"], "Close:8"),
        (vec!["A LI>CL task=8 r=0.0.0.0/0"], "Close:8"),
        (
            vec!["A CL>LI task=7 r=0.0.0.0/0", "A LI>CL task=8"],
            "Listen:7",
        ),
        (
            vec![LISTEN_80, CHILD, "A SR>ES", "A ES>F1 task=8"],
            "Close:8",
        ),
        (
            vec![LISTEN_80, CHILD, "A SR>ES", "A accept=6", "A ES>F1 task=8"],
            "Accept:6",
        ),
        (vec![LISTEN_80, CHILD, "A accept=6", "A SR>ES"], "Accept:6"),
        (vec![CHILD, "A SR>ES", "A ES>CW"], "?"),
        (vec!["A LI>SR task=7"], "?"),
        (vec!["A CL>CL task=7"], "?"),
    ] {
        assert_eq!(owner_after(&events), expected, "{events:?}");
    }
}

#[test]
fn a_kernel_thread_can_own_but_its_closing_says_nothing() {
    for (events, expected) in [
        (vec!["A CL>SS task=7/nfs/k"], "Connect:7"),
        (vec!["A CL>LI task=7/nfsd/k r=0.0.0.0/0"], "Listen:7"),
        (vec!["A ES>F1 task=7/kworker/k"], "?"),
        (vec!["A LI>CL task=7/kworker/k r=0.0.0.0/0"], "?"),
        (
            vec![LISTEN_80, CHILD, "A SR>ES", "A ES>F1 task=7/kworker/k"],
            "Listener:5",
        ),
    ] {
        assert_eq!(owner_after(&events), expected, "{events:?}");
    }
}

#[test]
fn a_child_belongs_to_the_one_listener_it_can_have_come_from() {
    for (events, expected) in [
        (vec![LISTEN_80, CHILD], "Listener:5"),
        (vec![CHILD], "?"),
        // Elsewhere.
        (vec![LISTEN_80, "A LI>SR l=10.0.0.1/81"], "?"),
        (vec![LISTEN_80, "A LI>SR l=10.0.0.1/80 ns=2"], "?"),
        (
            vec![
                "L CL>LI task=5 ns=? l=0.0.0.0/80 r=0.0.0.0/0",
                "A LI>SR ns=? l=10.0.0.1/80",
            ],
            "?",
        ),
        (vec!["L CL>LI task=5 l=10.0.0.2/80 r=0.0.0.0/0", CHILD], "?"),
        (vec![LISTEN_80, "L LI>CL", CHILD], "?"),
        // The specific one first, whatever the wildcard is.
        (
            vec![LISTEN_80, "M CL>LI task=6 l=10.0.0.1/80 r=0.0.0.0/0", CHILD],
            "Listener:6",
        ),
        (
            vec!["M CL>LI l=10.0.0.1/80 r=0.0.0.0/0", LISTEN_80, CHILD],
            "?",
        ),
        // Several that share the port.
        (
            vec![LISTEN_80, "M CL>LI task=5 l=0.0.0.0/80 r=0.0.0.0/0", CHILD],
            "Listener:5",
        ),
        (
            vec![LISTEN_80, "M CL>LI task=6 l=0.0.0.0/80 r=0.0.0.0/0", CHILD],
            "?",
        ),
        (
            vec![LISTEN_80, "M CL>LI l=0.0.0.0/80 r=0.0.0.0/0", CHILD],
            "?",
        ),
        (
            vec![
                LISTEN_80,
                "M CL>LI task=6 l=0.0.0.0/80 r=0.0.0.0/0",
                "M LI>CL",
                CHILD,
            ],
            "Listener:5",
        ),
        // IPv6 sockets, and IPv4 connections on them.
        (
            vec![
                "L CL>LI task=5 v6 l=::/80 r=::/0",
                "A LI>SR v6 l=2001:db8::1/80",
            ],
            "Listener:5",
        ),
        (
            vec![
                "L CL>LI task=5 v6 l=::/80 r=::/0",
                "A LI>SR v6 l=::ffff:10.0.0.1/80",
            ],
            "Listener:5",
        ),
        (
            vec![
                "L CL>LI task=5 v6 l=::/80 r=::/0",
                "M CL>LI task=6 l=0.0.0.0/80 r=0.0.0.0/0",
                CHILD,
            ],
            "Listener:6",
        ),
        (
            vec!["L CL>LI task=5 mptcp l=0.0.0.0/80 r=0.0.0.0/0", CHILD],
            "?",
        ),
    ] {
        assert_eq!(owner_after(&events), expected, "{events:?}");
    }
}

#[test]
fn a_child_with_the_wildcard_address_is_that_of_the_wildcard_listener() {
    let listen = "L CL>LI task=5 v6 l=::/80 r=::/0";
    let rival = "M CL>LI task=6 v6 l=2001:db8::1/80 r=::/0";
    let child = "A LI>SR v6 l=2001:db8::1/80 r=2001:db8::9/1234 l0 r0";
    assert_eq!(owner_after(&[listen, child]), "Listener:5");
    assert_eq!(owner_after(&[rival, listen, child]), "Listener:5");
    assert_eq!(owner_after(&[rival, child]), "?");
    // Later, another may listen there.
    assert_eq!(owner_after(&[child, "A SR>ES", listen, "A ES>CW"]), "?");
}

#[test]
fn a_listener_that_aged_out_leaves_no_owner_behind() {
    let mut story = Story::with(Filter::default(), 1);
    let lines = story.tell(&[LISTEN_80, "M CL>LI task=6 l=0.0.0.0/80 r=0.0.0.0/0", CHILD]);
    assert_eq!(
        lines,
        [
            "1 CL>LI - Listener Listen:5",
            "1 AgedOut",
            "2 CL>LI - Listener Listen:6",
            "2 AgedOut",
            "3 LI>SR - Server ?",
        ]
    );
}

#[test]
fn the_rival_of_a_listener_that_aged_out_does_not_inherit_its_port() {
    let mut story = Story::with(Filter::default(), 3);
    story.tell(&[
        LISTEN_80,
        "N CL>LI task=7 l=0.0.0.0/81 r=0.0.0.0/0",
        "M CL>LI task=6 l=0.0.0.0/80 r=0.0.0.0/0",
    ]);
    assert_eq!(
        story.tell(&["O CL>LI task=8 l=0.0.0.0/82 r=0.0.0.0/0"])[0],
        "1 AgedOut"
    );
    assert_eq!(story.tell(&[CHILD])[1], "5 LI>SR - Server ?");
}

#[test]
fn accept_makes_a_server_and_comes_once() {
    let mut story = Story::new();
    story.tell(&["A ES>CW", "A accept=6"]);
    let lines = story.tell(&["A accept=7", "A CW>LA"]);
    assert_eq!(lines, ["1 CW>LA 30 Server Accept:6"]);
    let stats = story.tracker.stats();
    assert_eq!((stats.accepts, stats.accepts_unmatched), (2, 1));
}

#[test]
fn an_accept_of_what_cannot_be_accepted_is_counted_and_ignored() {
    let mut story = Story::new();
    story.tell(&[
        "Z accept=6",
        "A CL>SS task=7",
        "A accept=6",
        "L CL>LI r=0.0.0.0/0",
        "L accept=6",
    ]);
    let lines = story.tell(&["A SS>ES", "L LI>CL"]);
    assert_eq!(lines[0], "1 SS>ES 40 Client Connect:7");
    assert_eq!(lines[1], "2 LI>CL 30 Listener ?");
    let stats = story.tracker.stats();
    assert_eq!((stats.accepts, stats.accepts_unmatched), (3, 3));
}

#[test]
fn a_presumed_accept_counts_only_where_one_is_due() {
    for (events, expected) in [
        (
            vec![LISTEN_80, CHILD, "A SR>ES", "A perhaps-accept=6", "A ES>CW"],
            "Accept:6",
        ),
        (
            vec![CHILD, "A SR>ES", "A perhaps-accept=6", "A ES>CW"],
            "Accept:6",
        ),
        (
            vec![
                CHILD,
                "A SR>ES",
                "A accept=7",
                "A perhaps-accept=6",
                "A ES>CW",
            ],
            "Accept:7",
        ),
        // Accepted before the trace, perhaps; or a client.
        (vec!["A ES>CW", "A perhaps-accept=6", "A CW>LA"], "?"),
        (
            vec!["A CL>SS task=7", "A SS>ES", "A perhaps-accept=6", "A ES>CW"],
            "Connect:7",
        ),
    ] {
        assert_eq!(owner_after(&events), expected, "{events:?}");
    }
}
