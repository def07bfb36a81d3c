//! What becomes of a connection before it has a socket, and after.

use super::*;

const ENDS: &str = "l=10.0.0.1/80 r=10.0.0.9/1234";
const CLIENT: [&str; 3] = ["A SS>ES", "A ES>F1", "A F1>F2"];

fn functions(time_wait: TimeWait) -> Story {
    let minis = MiniSight {
        births: true,
        ends: true,
        polled: false,
    };
    Story::following(time_wait, minis)
}

fn polling(time_wait: TimeWait) -> Story {
    let minis = MiniSight {
        polled: true,
        ..MiniSight::default()
    };
    Story::following(time_wait, minis)
}

fn mini(story: &Story) -> Mini {
    story.conn(1).evidence.after.mini().unwrap()
}

#[test]
fn the_end_of_time_wait_is_waited_for() {
    let mut story = functions(TimeWait::Wait);
    story.tell(&CLIENT);
    let lines = story.tell(&["A mini=F2 a", "A F2>CL", "+20ms", "+3000ms"]);
    assert_eq!(lines, ["1 F2>CL 20 Client ?"]);
    let lines = story.tell(&["a timer=TW", "a timer=TW", "+60000ms", "a gone=TW"]);
    assert_eq!(
        lines,
        [
            "1 F2>TW 3020000050 after",
            "1 TW>CL 60000000030 after",
            "1 Closed"
        ]
    );
    let conn = story.conn(1);
    assert_eq!(conn.as_of_ns, 63_020_001_110);
    assert_eq!(mini(&story).time_wait_ns, Some(3_020_001_080));
    assert_eq!(mini(&story).end, MiniEnd::At(63_020_001_110));
    assert!(story.finish().is_empty());
}

#[test]
fn a_time_wait_that_has_begun_can_be_expected_to_end() {
    let mut story = functions(TimeWait::Expect);
    story.tell(&CLIENT);
    let lines = story.tell(&["A mini=F2 a", "A F2>CL", "+20ms", "a timer=TW", "a gone=TW"]);
    assert_eq!(lines[1..], ["1 F2>TW 20000040 after", "1 Closed"]);
    assert_eq!(mini(&story).end, MiniEnd::NotSeen);
    let mut story = functions(TimeWait::Expect);
    story.tell(&CLIENT);
    let lines = story.tell(&["A mini=TW a", "A F2>CL", "+20ms"]);
    assert_eq!(lines[1..], ["1 Closed"]);
}

#[test]
fn news_can_come_before_the_last_transition_and_before_the_evidence_is_complete() {
    let mut story = functions(TimeWait::Wait);
    story.tell(&CLIENT);
    let lines = story.tell(&["A mini=F2 a", "a timer=TW", "A F2>CL", "a gone=TW", "+20ms"]);
    // It went to TIME_WAIT before its socket said so: the line of that says enough.
    assert_eq!(
        lines,
        ["1 F2>CL 30 Client ?", "1 TW>CL 20 after", "1 Closed"]
    );
    assert_eq!(mini(&story).first, State::FinWait2);
}

#[test]
fn an_address_used_again_ends_what_it_was_used_for() {
    let mut story = functions(TimeWait::Wait);
    story.tell(&CLIENT);
    story.tell(&["A mini=TW a", "A F2>CL", "+20ms"]);
    let lines = story.tell(&["B F1>F2", "B mini=TW a"]);
    assert_eq!(lines[1..], ["1 Closed"]);
    assert_eq!(mini(&story).end, MiniEnd::NotSeen);
    let lines = story.tell(&["B F2>CL", "+20ms", "a gone=TW"]);
    assert_eq!(lines[1..], ["2 TW>CL 20000030 after", "2 Closed"]);
}

#[test]
fn where_births_are_seen_none_means_that_it_is_over() {
    let mut story = functions(TimeWait::Wait);
    story.tell(&CLIENT);
    let lines = story.tell(&["A F2>CL", "+20ms"]);
    assert_eq!(lines[1..], ["1 Closed"]);
    assert_eq!(story.conn(1).evidence.after, After::Nothing);
    let mut story = functions(TimeWait::Wait);
    story.tell(&CLIENT);
    story.tracker.handle_loss(0, 1);
    story.tell(&["A F2>CL", "+20ms"]);
    assert_eq!(story.conn(1).evidence.after, After::NotKnown);
}

#[test]
fn without_news_it_is_given_up_and_at_the_end_it_lasted_until_then() {
    let mut story = functions(TimeWait::Wait);
    story.tell(&CLIENT);
    story.tell(&["A mini=TW a", "A F2>CL", "+20ms", "+74000ms"]);
    assert_eq!(story.tell(&["+1000ms"]), ["1 Closed"]);
    let mut story = functions(TimeWait::Wait);
    story.tell(&CLIENT);
    story.tell(&["A mini=TW a", "A F2>CL", "+20ms", "+10000ms"]);
    assert_eq!(story.finish(), ["1 Closed"]);
    assert_eq!(mini(&story).seen_ns, 10_020_001_080);
}

#[test]
fn what_waits_gives_way_first() {
    let mut story = Story::following_few(3);
    story.tell(&CLIENT);
    story.tell(&["A mini=TW a", "A F2>CL", "+20ms"]);
    let lines = story.tell(&["B LI>SR", "C LI>SR", "D LI>SR"]);
    assert_eq!(lines[2..], ["1 Closed", "4 LI>SR - Server ?"]);
    assert_eq!(story.tracker.stats().aged_out, 0);
}

#[test]
fn the_kernels_timer_tells_when_time_wait_began() {
    let mut story = polling(TimeWait::Wait);
    story.tell(&CLIENT);
    story.tell(&["A F2>CL", "+20ms"]);
    let lines = story.tell(&["+5000ms", "poll=F2/55000ms", "+5000ms", "poll=TW/57000ms"]);
    assert_eq!(lines, ["1 F2>TW 7020000060 after polled 10000000"]);
    // The timer is late.
    let lines = story.tell(&["+56000ms", "poll=TW/1000ms", "+2000ms", "poll=TW/0ms"]);
    assert!(lines.is_empty(), "{lines:?}");
    let lines = story.tell(&["+250ms", "poll=-@200ms"]);
    let end = "1 TW>CL 61250000060 after polled 200000000";
    assert_eq!(lines, [end, "1 Closed"]);
    assert!(mini(&story).polled);
}

#[test]
fn a_new_connection_with_its_ends_shows_that_time_wait_is_over() {
    let mut story = polling(TimeWait::Wait);
    story.tell(&CLIENT);
    story.tell(&["A F2>CL", "+20ms", "poll=TW/59980ms", "+1500ms"]);
    story.tell(&["B CL>SS p0"]);
    let lines = story.tell(&["B SS>ES"]);
    assert_eq!(
        lines[..2],
        ["1 TW>CL 1520000030 after polled 1500000030", "1 Closed"]
    );
    // The answer to what was asked meanwhile is about nobody.
    let lines = story.tell(&["+1000ms", "poll=-@2000ms"]);
    assert!(lines.is_empty(), "{lines:?}");
}

#[test]
fn what_was_in_fin_wait_2_when_its_ends_were_used_again_may_have_been_in_time_wait_before() {
    let mut story = polling(TimeWait::Wait);
    story.tell(&CLIENT);
    story.tell(&[
        "A F2>CL",
        "+20ms",
        "poll=F2/59980ms",
        "+500ms",
        "B CL>SS p0",
    ]);
    let lines = story.tell(&["B SS>ES"]);
    assert_eq!(lines[0], "1 Closed");
    assert_eq!(mini(&story).end, MiniEnd::Replaced(story.now_ns));
    let mut story = polling(TimeWait::Wait);
    story.tell(&CLIENT);
    story.tell(&["A F2>CL", "+20ms", "poll=F2/59980ms", "+1000ms"]);
    assert_eq!(story.tell(&["poll=another"]), ["1 Closed"]);
    assert_eq!(mini(&story).end, MiniEnd::Replaced(story.now_ns));
}

#[test]
fn ends_can_be_used_again_before_the_kernel_was_asked_or_the_evidence_is_complete() {
    let polled = MiniSight {
        polled: true,
        ..MiniSight::default()
    };
    // Its socket may have the same address.
    for (minis, next) in [(MiniSight::default(), "B"), (polled, "B"), (polled, "A")] {
        let mut story = Story::following(TimeWait::Expect, minis);
        story.tell(&CLIENT);
        let again = [format!("{next} CL>SS p0"), format!("{next} SS>ES")];
        story.tell(&["A F2>CL", &again[0], &again[1]]);
        let used_ns = story.now_ns;
        story.tell(&["+20ms"]);
        let conn = story.conn(1);
        assert_eq!(conn.evidence.after, After::Replaced(used_ns), "{minis:?}");
        assert_eq!(conn.as_of_ns, used_ns);
        // Nobody has the ends of the next one.
        let close = ["ES>F1", "F1>F2", "F2>CL"].map(|step| format!("{next} {step}"));
        story.tell(&close.each_ref().map(String::as_str));
        story.tell(&["+20ms", "+76000ms"]);
        assert_eq!(story.conn(2).evidence.after, After::NotKnown);
    }
    let mut story = polling(TimeWait::Expect);
    story.tell(&CLIENT);
    story.tell(&["A F2>CL", "+50ms", "B CL>SS p0", "B SS>ES"]);
    let used = After::Replaced(story.now_ns);
    assert_eq!(story.conn(1).evidence.after, used);
    // Of one that is not answered only the kernel tells.
    let mut story = polling(TimeWait::Expect);
    story.tell(&CLIENT);
    story.tell(&["A F2>CL", "+100ms", "poll=another"]);
    let used = After::Replaced(story.now_ns);
    assert_eq!(story.conn(1).evidence.after, used);
}

#[test]
fn what_is_gone_was_there_the_last_time_before() {
    let mut story = polling(TimeWait::Wait);
    story.tell(&CLIENT);
    story.tell(&["A F2>CL", "+20ms", "poll=TW/59980ms", "+10000ms"]);
    let lines = story.tell(&["poll=-@1000ms"]);
    let end = "1 TW>CL 10020000020 after polled 1000000000";
    assert_eq!(lines, [end, "1 Closed"]);
    // Never there when it was asked for.
    let mut story = polling(TimeWait::Wait);
    story.tell(&CLIENT);
    let lines = story.tell(&["A F2>CL", "poll=-", "+20ms", "poll=-"]);
    assert_eq!(lines[1..], ["1 Closed"]);
    let asked_ns = story.now_ns;
    assert!(matches!(story.conn(1).evidence.after, After::Missing(at_ns) if at_ns <= asked_ns));
    // Asked for too late to tell.
    let mut story = polling(TimeWait::Wait);
    story.tell(&CLIENT);
    story.tell(&["A F2>CL", "+20ms", "+61000ms", "poll=-"]);
    assert_eq!(story.conn(1).evidence.after, After::NotKnown);
}

#[test]
fn what_cannot_be_asked_for_any_more_has_no_end() {
    let mut story = polling(TimeWait::Wait);
    story.tell(&CLIENT);
    story.tell(&["A F2>CL", "+20ms", "poll=TW/59980ms", "+1000ms"]);
    assert_eq!(story.tell(&["poll=unknown"]), ["1 Closed"]);
    assert_eq!(mini(&story).end, MiniEnd::NotSeen);
    let mut story = polling(TimeWait::Wait);
    story.tell(&CLIENT);
    story.tell(&["A F2>CL", "+20ms", "poll=TW/59980ms", "+1000ms"]);
    assert_eq!(story.tell(&["poll=nowhere"]), ["1 Closed"]);
    assert_eq!(mini(&story).end, MiniEnd::NoNamespace);
    let mut story = polling(TimeWait::Wait);
    story.tell(&CLIENT);
    story.tell(&["A F2>CL", "+20ms", "poll=nowhere"]);
    assert_eq!(story.conn(1).evidence.after, After::NoNamespace);
    let mut story = polling(TimeWait::Expect);
    story.tell(&CLIENT);
    let lines = story.tell(&["A F2>CL", "+20ms", "poll=unknown"]);
    assert_eq!(lines[1..], ["1 Closed"]);
    assert_eq!(story.conn(1).evidence.after, After::NotKnown);
}

#[test]
fn one_answer_is_enough_where_the_end_is_expected() {
    let mut story = polling(TimeWait::Expect);
    story.tell(&CLIENT);
    let lines = story.tell(&["A F2>CL", "+20ms", "+1000ms", "poll=TW/59500ms"]);
    assert_eq!(
        lines[1..],
        ["1 F2>TW 520000040 after polled 10000000", "1 Closed"]
    );
}

#[test]
fn after_closing_time_wait_began_when_the_socket_was_closed() {
    let mut story = polling(TimeWait::Expect);
    story.tell(&["A SS>ES", "A ES>F1", "A F1>CG"]);
    let closed_ns = story.now_ns + 10;
    let lines = story.tell(&["A CG>CL", "+20ms", "+100ms", "poll=TW/59000ms"]);
    assert_eq!(lines[1..], ["1 Closed"]);
    assert_eq!(mini(&story).time_wait_ns, Some(closed_ns));
}

#[test]
fn what_was_reset_is_not_waited_for() {
    let mut story = polling(TimeWait::Wait);
    story.tell(&CLIENT);
    let lines = story.tell(&["A rst-in", "A F2>CL", "+20ms"]);
    assert_eq!(lines[1..], ["1 Closed"]);
}

#[test]
fn a_child_is_half_open_since_its_syn() {
    for birth in ["A LI>SR", "A LI>SR r0 l0"] {
        let mut story = functions(TimeWait::Wait);
        story.tell(&[
            &format!("L syn {ENDS}"),
            &format!("L synack {ENDS}"),
            "+50ms",
        ]);
        story.tell(&[&format!("{birth} {ENDS}"), "A SR>ES", "A ES>CL"]);
        story.finish();
        let conn = story.conn(1);
        assert_eq!(conn.evidence.half_open_ns, Some(1010));
        assert_eq!(conn.evidence.synack_retransmits, 1);
        assert!(conn.evidence.synacks_counted);
        assert_eq!(conn.steps[0].since_ns, Some(50_001_040));
    }
}

#[test]
fn a_handshake_that_is_not_completed_is_a_connection_of_its_own() {
    let mut story = functions(TimeWait::Wait);
    let (syn, synack) = (format!("L syn {ENDS}"), format!("L synack {ENDS}"));
    let lines = story.tell(&[
        "L CL>LI task=5 l=0.0.0.0/80 r=0.0.0.0/0",
        &syn,
        "+1000ms",
        &synack,
        "+2000ms",
        &synack,
        "+6000ms",
    ]);
    assert_eq!(lines.len(), 1);
    assert_eq!(story.tell(&["+1000ms"]), ["2 NeverCompleted"]);
    let conn = story.conn(2);
    assert_eq!((conn.role, conn.sk), (Role::Server, 0));
    assert_eq!(owner(conn), "Listener:5");
    assert_eq!(conn.evidence.synack_retransmits, 2);
    assert_eq!(story.steps(2), steps(&[("SR", Some(1020))]));
    assert_eq!(conn.as_of_ns, 3_000_001_060);
}

#[test]
fn a_half_open_connection_is_told_of_at_the_end_and_filtered() {
    let filter = Filter {
        ports: "81".parse().unwrap(),
        ..Filter::default()
    };
    for (filter, expected) in [(Filter::default(), 1), (filter, 0)] {
        let mut story = Story::with(filter, 100);
        story.event(&format!("L syn {ENDS}"));
        assert_eq!(story.finish().len(), expected);
    }
}

#[test]
fn one_that_the_kernel_no_longer_has_may_have_got_its_socket_just_before() {
    let ends = "l=10.0.0.1/40000 r=10.0.0.2/443";
    let mut story = polling(TimeWait::Wait);
    story.tell(&[&format!("L synack {ends}"), "+1000ms"]);
    story.tell(&["poll=half=2", "+1000ms", "poll=-", "+100ms"]);
    assert_eq!(story.tell(&["A LI>SR"]), ["1 LI>SR - Server ?"]);
    story.finish();
    assert_eq!(story.conn(1).evidence.synack_retransmits, 2);
    let mut story = polling(TimeWait::Wait);
    story.tell(&[&format!("L synack {ends}"), "+1000ms"]);
    let lines = story.tell(&["poll=-", "+100ms", "+600ms"]);
    assert_eq!(lines, ["1 NeverCompleted"]);
}

#[test]
fn a_half_open_connection_lasted_until_the_last_sign_of_it_when_the_trace_ends() {
    let ends = "l=10.0.0.1/40000 r=10.0.0.2/443";
    let mut story = functions(TimeWait::Wait);
    story.tell(&[&format!("L syn {ends}"), "+1000ms"]);
    story.tell(&[&format!("L synack {ends}")]);
    let last_ns = story.now_ns;
    story.tell(&["+1700ms"]);
    assert_eq!(story.finish(), ["1 MayBeOver"]);
    assert_eq!(story.conn(1).as_of_ns, last_ns);
    // The kernel has it.
    let mut story = polling(TimeWait::Wait);
    story.tell(&[&format!("L synack {ends}"), "+1700ms", "poll=half=1"]);
    assert_eq!(story.finish(), ["1 StillOpen"]);
}

#[test]
fn where_no_syn_ack_was_missed_the_first_tells_when_the_syn_came() {
    let ends = "l=10.0.0.1/40000 r=10.0.0.2/443";
    for (kernels_count, since) in [(1, Some(1000)), (2, None)] {
        let mut story = polling(TimeWait::Wait);
        story.tell(&["+2000ms", &format!("L synack {ends}"), "+100ms"]);
        let first_ms = (story.now_ns - 100_000_000) / 1_000_000;
        let half = format!("poll=half={kernels_count}");
        let lines = story.tell(&[&half, "+800ms", "poll=-@500ms", "+600ms"]);
        assert_eq!(lines, ["1 NeverCompleted"]);
        let conn = story.conn(1);
        assert!(conn.evidence.half_open_polled);
        let since_ms = since.map(|before_ms| first_ms - before_ms);
        let half_open_ms = conn.evidence.half_open_ns.map(|ns| ns / 1_000_000);
        assert_eq!(half_open_ms, since_ms);
        // There for the last time half a second before it was found to be gone.
        assert_eq!(conn.as_of_ns / 1_000_000, first_ms + 400);
    }
}

#[test]
fn a_socket_that_is_freed_has_ended() {
    let mut story = Story::patient();
    let lines = story.tell(&["A CL>SS p0", "A freed", "B ES>CL", "B freed", "+20ms"]);
    assert_eq!(
        lines[1..],
        ["1 EndUnseen", "2 ES>CL - Unknown ?", "2 Closed"]
    );
}
