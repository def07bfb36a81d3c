//! Where the evidence is missing.

use super::*;

const CLEAN: [&str; 5] = ["A CL>SS p0", "A SS>ES", "A ES>CW", "A CW>LA", "A LA>CL"];

fn without(change: fn(&mut Sources)) -> Sources {
    let mut sources = all();
    change(&mut sources);
    sources
}

#[test]
fn a_clean_close_without_a_look_into_the_socket() {
    let found = diagnosed(&CLEAN);
    assert_eq!((found.verdict, found.closed_by), (Verdict::Closed, REMOTE));
    assert_eq!((found.bytes_sent, found.bytes_received), (None, None));
    // A FIN sent again may have been given up.
    let again = [&CLEAN[..4], &["A rtx", "A LA>CL"]].concat();
    assert_eq!(diagnosed(&again).verdict, Verdict::Unknown);
    // In mid-life it may have been sent again before.
    assert_eq!(diagnosed(&CLEAN[3..]).verdict, Verdict::Unknown);
}

#[test]
fn a_hook_that_is_not_there_proves_nothing() {
    let counted = [&CLEAN[..4], &["A LA>CL counts=acked:2,received:1"]].concat();
    for (sources, events, because) in [
        (
            without(|sources| sources.reset_sent = false),
            &counted[..],
            "closed in order, by a reset or by a timeout: without tcp_send_reset, which could not be attached",
        ),
        (
            without(|sources| sources.reset_received = false),
            &CLEAN,
            "closed in order, by a reset or by a timeout: without tcp_receive_reset, which could not be attached",
        ),
        (
            Sources::default(),
            &["A CL>SS p0", "A SS>ES", "A ES>CL"],
            "ended in ESTABLISHED by a reset, a timeout or force: without tcp_receive_reset, \
             tcp_send_reset, inet_sk_error_report, which could not be attached",
        ),
        (
            Sources::default(),
            &["A CL>SS p0", "A SS>CL"],
            "refused, timed out, unreachable or given up: without tcp_receive_reset, \
             tcp_send_reset, inet_sk_error_report, which could not be attached",
        ),
    ] {
        let found = diagnosed_by(&sources, events);
        assert_eq!(found.verdict, Verdict::Unknown, "{events:?}");
        assert_eq!(found.because, because);
    }
    // What the socket itself says needs no hook.
    let sources = without(|sources| {
        sources.reset_received = false;
        sources.socket_error = false;
    });
    assert_eq!(diagnosed_by(&sources, &counted).verdict, Verdict::Closed);
    let cancelled = ["A CL>SS p0", "A SS>CL counts=re:0"];
    assert_eq!(
        diagnosed_by(&Sources::default(), &cancelled).verdict,
        Verdict::Cancelled
    );
}

#[test]
fn without_a_look_into_the_socket_a_cancelled_connect_may_have_been_unreachable() {
    let found = diagnosed(&["A CL>SS p0", "A rtx", "A SS>CL"]);
    assert_eq!(found.verdict, Verdict::Unknown);
    assert_eq!(
        found.because,
        "refused, timed out, unreachable or given up: nothing that was reported explains it"
    );
    assert_eq!(found.syn_retransmits, Some(1));
}

#[test]
fn a_reset_in_fin_wait_may_be_the_kernels_own() {
    let events = [
        "A CL>SS p0",
        "A SS>ES",
        "A ES>F1",
        "A rst-in",
        "A F1>CL counts=err:104",
    ];
    let sources = without(|sources| sources.reset_sent = false);
    let found = diagnosed_by(&sources, &events);
    assert_eq!((found.verdict, found.closed_by), (Verdict::Unknown, LOCAL));
}

#[test]
fn no_time_wait_is_claimed_where_a_reset_may_have_been() {
    let events = ["A CL>SS p0", "A SS>ES", "A ES>F1", "A F1>F2", "A F2>CL"];
    let found = diagnosed_by(&Sources::default(), &events);
    assert_eq!(
        spans(&found),
        "SYN_SENT 10, ESTABLISHED 10, FIN_WAIT_1 10, FIN_WAIT_2 -, ~CLOSED? -"
    );
    assert_eq!(found.verdict, Verdict::Unknown);
}

#[test]
fn after_a_loss_only_what_was_seen_counts() {
    let lossy = |events: &[&str]| {
        let mut story = Story::patient();
        story.tell(&events[..1]);
        story.tracker.handle_loss(1, 0);
        story.tell(&events[1..]);
        story.finish();
        let (conn, ending) = story.conn_of("A");
        diagnose(&conn, ending, &all())
    };
    let found = lossy(&CLEAN);
    assert_eq!((found.verdict, found.closed_by), (Verdict::Unknown, REMOTE));
    assert_eq!(
        found.because,
        "closed in order, by a reset or by a timeout: \
         some of what happened to it may have been missed"
    );
    assert_eq!(found.retransmits, None);
    let reset = lossy(&["A CL>SS p0", "A SS>ES", "A rst-in", "A ES>CL"]);
    assert_eq!(reset.verdict, Verdict::ResetByPeer);
    let cancelled = lossy(&["A CL>SS p0", "A SS>CL counts=re:2"]);
    assert_eq!(cancelled.verdict, Verdict::Cancelled);
    assert_eq!(cancelled.syn_retransmits, Some(2));
    let timed_out = lossy(&["A CL>SS p0", "A SS>ES", "A ES>CL counts=err:110"]);
    assert_eq!(timed_out.verdict, Verdict::Aborted);
}

#[test]
fn an_end_that_was_not_seen() {
    let mut story = Story::patient();
    story.tell(&["A CL>SS p0", "A SS>ES", "A ES>F1", "A CL>SS p0"]);
    let (conn, ending) = story.first_ended();
    let found = diagnose(&conn, ending, &all());
    assert_eq!((found.verdict, found.closed_by), (Verdict::Unknown, LOCAL));
    assert_eq!(
        found.because,
        "its end was not seen: the kernel has freed its socket; \
         last seen in FIN_WAIT_1"
    );
    assert_eq!(spans(&found), "SYN_SENT 10, ESTABLISHED 10, FIN_WAIT_1 -");
}

#[test]
fn mid_life_numbers_are_not_known() {
    let found = diagnosed(&[
        "A rtx",
        "A ES>F1",
        "A F1>F2",
        "A F2>CL counts=sent:9,acked:10",
    ]);
    assert_eq!(found.verdict, Verdict::Closed);
    assert_eq!((found.syn_retransmits, found.retransmits), (None, None));
    // Sent but once, whoever opened it.
    assert_eq!(found.bytes_sent, Some(9));
    let again = diagnosed(&["A ES>F1", "A F1>F2", "A F2>CL counts=sent:9,acked:10,re:1"]);
    assert_eq!(again.bytes_sent, None);
}

#[test]
fn nothing_tells_whether_a_half_open_connection_is_still_there() {
    let ends = "l=10.0.0.1/80 r=10.0.0.9/1234";
    let mut story = Story::patient();
    story.tell(&[&format!("L syn {ends}"), "+1000ms"]);
    story.tell(&[&format!("L synack {ends}"), "+1700ms"]);
    story.finish();
    let (conn, ending) = story.first_ended();
    let found = diagnose(&conn, ending, &all());
    assert_eq!(found.verdict, Verdict::Unknown);
    assert_eq!(
        found.because,
        "half-open when it was last heard of: nothing tells of a reset that ended it since"
    );
    assert_eq!(spans(&found), ">SYN_RECEIVED 1000000020");
}
