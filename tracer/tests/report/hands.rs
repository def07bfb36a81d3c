//! The page in use: by keyboard, by mouse, and by those who want it to run their code.

use serde_json::{Value, json};
use tracer::diagnose::{SpanEvidence, StateSpan, Verdict};
use tracer::render::Report;
use tracer::state::State;
use tracer::track::{Ending, OwnerSource, Step};

use crate::browser::{DESK, Page};
use crate::content::{data, hostile_page};
use crate::samples::outcomes::{diagnosis, outcomes};
use crate::samples::{self, session};
use crate::story;

/// Visible text of the rows in sight.
const ROWS: &str = "[...document.querySelectorAll('.row:not([hidden])')]
    .sort((a, b) => a.ariaRowIndex - b.ariaRowIndex).map((row) => row.textContent)";

fn rows(page: &mut Page) -> Vec<String> {
    serde_json::from_value(page.eval(ROWS)).unwrap()
}

fn shown(page: &mut Page) -> String {
    page.text("#shown")
}

#[test]
fn a_hostile_name_stays_a_name() {
    let Some(mut page) = Page::open(&hostile_page(), DESK) else {
        return;
    };
    // Everything that shows such a text is opened.
    page.eval("document.getElementById('list').focus()");
    for _ in 0..6 {
        page.press("ArrowDown");
        page.press("Enter");
        page.press("Escape");
    }
    page.press("Enter");
    page.eval("dispatchEvent(new Event('beforeprint'))");
    page.eval("for (const one of document.querySelectorAll('details')) one.open = true");
    page.next_frame();
    let text = page.text("body");
    assert!(
        text.contains("</script><img>") && text.contains("\"><svg onload=a"),
        "{text}"
    );
    assert!(
        page.text("#details")
            .contains("</script><img src=x onerror=alert(1)>.")
    );
    assert!(page.text("#host").ends_with("<script>alert(1)</script>"));
    let markup = page.eval(
        "document.querySelectorAll('img, iframe, object, embed, body script:not(#data)').length",
    );
    assert_eq!(markup, 1, "one script, and nothing that a text asked for");
    page.assert_clean();
}

/// What keeps code out even if a text became markup; and that these tests would see it.
#[test]
fn the_policy_holds() {
    let html = story::page_of(&outcomes()).replace(
        "<main",
        "<script>alert(1)</script><img src=x onerror=alert(2)><img src=https://192.0.2.1/x><main",
    );
    let Some(mut page) = Page::open(&html, DESK) else {
        return;
    };
    page.wait_for("window.breaches.length >= 4");
    let breaches = page.eval("window.breaches").to_string();
    assert!(!breaches.contains("alert\""), "nothing may run: {breaches}");
    for directive in [
        "script-src-elem: inline",
        "script-src-attr: inline",
        "img-src: https",
    ] {
        assert!(breaches.contains(directive), "{directive} in {breaches}");
    }
    let markup = page.eval(
        "(() => { try { document.body.innerHTML = 'x'; return 'made'; } catch (error) { return error.name; } })()",
    );
    assert_eq!(markup, "TypeError", "no markup out of strings");
}

#[test]
fn nothing_to_complain_of() {
    for outcomes in [Vec::new(), outcomes(), story::connections_of(300).collect()] {
        let Some(mut page) = Page::open(&story::page_of(&outcomes), DESK) else {
            return;
        };
        page.assert_clean();
    }
}

#[test]
fn an_empty_trace_says_so() {
    let Some(mut page) = Page::open(&story::page_of(&[]), DESK) else {
        return;
    };
    assert_eq!(
        page.text("#empty"),
        "There was no connection while the trace ran."
    );
    assert!(page.text("#losses").contains("Nothing was lost."));
}

#[test]
fn what_only_many_connections_tell_is_told_once() {
    let Some(mut page) = Page::open(&story::page_of(&[]), DESK) else {
        return;
    };
    let text = page.text("#attention");
    assert_eq!(text.matches("CLOSE_WAIT for 2.000s").count(), 1, "{text}");
    assert!(text.contains("Told at 12:00:03.700"), "{text}");
}

#[test]
fn losses_stand_at_the_top() {
    let Some(mut page) = Page::open(&story::page(50), DESK) else {
        return;
    };
    assert!(
        page.text("#losses .bad")
            .starts_with("\u{2715}48 transitions were lost.")
    );
    let top = page.eval("document.querySelector('#losses .bad').getBoundingClientRect().top");
    assert!(top.as_f64().unwrap() < 200.0, "{top}");
    assert_eq!(
        page.eval("document.querySelectorAll('.overview .loss-told').length"),
        2
    );
}

#[test]
fn search_finds_addresses_ports_processes_states_and_verdicts() {
    let Some(mut page) = Page::open(&story::page(2_000), DESK) else {
        return;
    };
    page.press("/");
    for (words, in_every_row) in [
        ("refused", "refused"),
        ("10.1.0.18", "10.1.0.18:6379"),
        ("22", ":22"),
        ("sshd", "sshd/733"),
        ("java refused", "java/1290"),
    ] {
        page.eval("document.activeElement.select()");
        page.write(words);
        let rows = rows(&mut page);
        assert!(!rows.is_empty(), "{words}");
        assert!(
            rows.iter().all(|row| row.contains(in_every_row)),
            "{words}: {rows:?}"
        );
    }
    page.press("Escape");
    assert_eq!(shown(&mut page), "2,003 shown, 3 of them listeners");
    page.write("state:close_wait open");
    page.press("Enter");
    page.press("ArrowDown");
    page.press("Enter");
    assert!(
        page.text("#details")
            .contains("it waited for the application here to close")
    );
    page.assert_clean();
}

#[test]
fn orders() {
    let Some(mut page) = Page::open(&story::page(500), DESK) else {
        return;
    };
    let first = rows(&mut page).swap_remove(0);
    assert!(
        ["refused", "timed out", "cancelled"]
            .iter()
            .any(|failure| first.contains(failure)),
        "{first}"
    );
    let mut sorted_by = |head: &str| {
        page.eval(&format!(
            "document.querySelector('[data-sort={head}]').click()"
        ));
        page.next_frame();
        rows(&mut page)
    };
    let by_process = sorted_by("process");
    assert!(
        by_process[0].contains('-') && by_process[12].contains("backup-agent"),
        "{by_process:?}"
    );
    let reversed = sorted_by("process");
    assert!(reversed[0].contains("sshd/733"), "{reversed:?}");
    let longest = sorted_by("lasted");
    assert!(
        longest[0].contains("listener") && longest[0].contains(">1m59s"),
        "{longest:?}"
    );
}

#[test]
fn chips_filter_and_say_that_they_do() {
    let Some(mut page) = Page::open(&story::page(500), DESK) else {
        return;
    };
    page.eval("document.querySelector('[data-verdict=closed]').click()");
    page.eval("document.querySelector('[data-verdict=open]').click()");
    page.next_frame();
    assert!(
        rows(&mut page)
            .iter()
            .all(|row| row.contains("closed") || row.contains("open"))
    );
    let pressed = page.eval("document.querySelectorAll('.chip[aria-pressed=true]').length");
    assert_eq!(pressed, 2);
    assert!(shown(&mut page).contains(" of 503 shown"));
}

const WINDOW: &str = "parseFloat(document.querySelector('.overview-window').style.width)";

#[test]
fn zoom_by_keys_buttons_and_wheel() {
    let Some(mut page) = Page::open(&story::page(500), DESK) else {
        return;
    };
    assert_eq!(page.eval(WINDOW), 100);
    page.press("+");
    assert_eq!(page.eval(WINDOW), 50);
    page.press("-");
    assert_eq!(page.eval(WINDOW), 100);
    page.eval("document.getElementById('zoom-in').click()");
    page.next_frame();
    assert_eq!(page.eval(WINDOW), 50);
    page.eval("document.getElementById('connections').scrollIntoView()");
    page.wheel(".overview-strip", -100);
    page.wait_for(&format!("{WINDOW} === 40"));
    page.wheel(".overview-strip", 100);
    page.wait_for(&format!("{WINDOW} === 50"));
    page.press("0");
    assert_eq!(page.eval(WINDOW), 100);
    page.assert_clean();
}

#[test]
fn the_keyboard_is_enough() {
    let Some(mut page) = Page::open(&story::page(500), DESK) else {
        return;
    };
    // The list is reached with Tab alone.
    for _ in 0..60 {
        if page.eval("document.activeElement.id") == "list" {
            break;
        }
        page.press("Tab");
    }
    assert_eq!(page.eval("document.activeElement.id"), "list");
    page.press("ArrowDown");
    page.press("ArrowDown");
    let active = "document.getElementById(document.getElementById('list').getAttribute('aria-activedescendant'))";
    assert_eq!(page.eval(&format!("{active}.ariaRowIndex")), "2");
    assert_eq!(page.eval(&format!("{active}.ariaSelected")), "true");
    // Its states, one by one, each with what it means.
    page.press("ArrowRight");
    assert!(
        page.text("#tip").contains("This side wants to connect"),
        "{}",
        page.text("#tip")
    );
    assert!(page.text("#said").starts_with("SYN_SENT"));
    page.press("Enter");
    assert_eq!(page.eval("document.activeElement.id"), "details");
    assert_eq!(
        page.eval("document.getElementById('details').hidden"),
        false
    );
    page.press("Escape");
    assert_eq!(page.eval("document.getElementById('details').hidden"), true);
    assert_eq!(page.eval("document.activeElement.id"), "list");
    page.press("End");
    assert_eq!(page.eval(&format!("{active}.ariaRowIndex")), "503");
    page.press("Home");
    assert_eq!(page.eval(&format!("{active}.ariaRowIndex")), "1");
    page.press("?");
    assert_eq!(page.eval("document.getElementById('keys').open"), true);
    page.press("Escape");
    assert_eq!(page.eval("document.getElementById('keys').open"), false);
    page.assert_clean();
}

#[test]
fn sockets_held_in_close_wait_are_listed_as_in_the_summary() {
    for (held_s, is_told) in [(9, false), (11, true)] {
        let mut conn = samples::server();
        conn.owner.source = OwnerSource::Accept;
        for (at_s, state) in [(1, "SYN_RECEIVED"), (2, "ESTABLISHED"), (3, "CLOSE_WAIT")] {
            let state = State::parse(state).unwrap();
            samples::step(&mut conn, at_s * samples::SECOND, state);
        }
        conn.as_of_ns = samples::CLOCK.mono_ns + (3 + held_s) * samples::SECOND;
        let judged = diagnosis(&conn, Verdict::Open, "");
        let html = story::page_of(&[(conn, judged, Ending::StillOpen)]);
        let Some(mut page) = Page::open(&html, DESK) else {
            return;
        };
        let text = page.text("#attention");
        assert_eq!(
            text.contains("it leaks sockets"),
            is_told,
            "{held_s}: {text}"
        );
        page.assert_clean();
    }
}

/// Of one that was found in the state only a part was seen: whether it is stuck is known only if that is long.
/// Of one that may have ended among lost transitions nothing is said.
#[test]
fn what_began_unseen_in_close_wait_is_not_said_to_be_well() {
    for (seen_s, ending, told) in [
        (9, Ending::StillOpen, "it is not known for how long"),
        (
            11,
            Ending::StillOpen,
            "CLOSE_WAIT for at least 11.00s so far",
        ),
        (
            11,
            Ending::MayBeOver,
            "No connection failed, and none was seen to be stuck.",
        ),
    ] {
        let mut conn = samples::older();
        conn.steps = vec![Step {
            state: State::CloseWait,
            since_ns: None,
        }];
        conn.as_of_ns = samples::CLOCK.mono_ns + seen_s * samples::SECOND;
        conn.in_doubt = ending == Ending::MayBeOver;
        let mut judged = diagnosis(&conn, Verdict::Open, "");
        judged.states = vec![StateSpan {
            state: State::CloseWait,
            since_ns: None,
            duration_ns: (!conn.in_doubt).then_some(seen_s * samples::SECOND),
            is_minimum: true,
            evidence: SpanEvidence::Polled,
            expected_ns: None,
            within_ns: None,
        }];
        let html = story::page_of(&[(conn, judged, ending)]);
        let Some(mut page) = Page::open(&html, DESK) else {
            return;
        };
        let text = page.text("#attention");
        assert!(text.contains(told), "{seen_s}: {text}");
        page.assert_clean();
    }
}

/// Its socket is closed, and the kernel still has it in `FIN_WAIT_2`.
#[test]
fn what_is_not_over_lasted_longer() {
    let mut conn = samples::server();
    for (at_s, state) in [
        (1, State::SynReceived),
        (2, State::Established),
        (3, State::FinWait1),
        (4, State::FinWait2),
        (5, State::Closed),
    ] {
        samples::step(&mut conn, at_s * samples::SECOND, state);
    }
    conn.as_of_ns = samples::CLOCK.mono_ns + 9 * samples::SECOND;
    let mut judged = diagnosis(&conn, Verdict::Closed, "");
    judged.states.pop();
    let last = judged.states.last_mut().unwrap();
    (last.duration_ns, last.is_minimum) = (Some(4 * samples::SECOND), true);
    last.evidence = SpanEvidence::Polled;
    let Some(mut page) = Page::open(&story::page_of(&[(conn, judged, Ending::Closed)]), DESK)
    else {
        return;
    };
    let row = rows(&mut page).concat();
    assert!(row.contains(">7.000s"), "{row}");
}

#[test]
fn what_was_cancelled_has_failed_as_in_the_summary() {
    let outcomes: Vec<_> = story::connections_of(300).collect();
    let failed = outcomes
        .iter()
        .filter(|(_, diagnosis, _)| diagnosis.verdict.is_failure())
        .count();
    let Some(mut page) = Page::open(&story::page_of(&outcomes), DESK) else {
        return;
    };
    let told = page.text("#verdicts");
    assert!(told.contains(&format!("{failed}failed")), "{told}");
}

#[test]
fn escape_in_the_list_clears_the_search_once_the_details_are_closed() {
    let Some(mut page) = Page::open(&story::page(500), DESK) else {
        return;
    };
    page.press("/");
    page.write("state:time_wait");
    page.press("Enter");
    page.press("ArrowDown");
    page.press("Enter");
    page.press("Escape");
    let search = "document.getElementById('search').value";
    assert_eq!(page.eval("document.getElementById('details').hidden"), true);
    assert_eq!(page.eval(search), "state:time_wait");
    page.press("Escape");
    assert_eq!(page.eval(search), "");
    page.assert_clean();
}

#[test]
fn what_a_tip_is_about_is_where_it_points() {
    let Some(mut page) = Page::open(&story::page(500), DESK) else {
        return;
    };
    page.eval("document.getElementById('list').focus()");
    let hidden = "document.getElementById('tip').hidden";
    for key in ["+", "-", "z", "0"] {
        page.press("ArrowDown");
        page.press("ArrowRight");
        assert_eq!(page.eval(hidden), false, "before {key}");
        page.press(key);
        assert_eq!(page.eval(hidden), true, "after {key}");
        page.press("0");
    }
    page.assert_clean();
}

#[test]
fn the_state_diagram_fits_a_narrow_window() {
    let Some(mut page) = Page::open(&story::page(50), DESK) else {
        return;
    };
    page.eval("document.getElementById('diagram').style.width = '360px'");
    page.next_frame();
    let width = page.eval("document.querySelector('.diagram').getBoundingClientRect().width");
    assert!(width.as_f64().unwrap() <= 360.0, "{width}");
}

#[test]
fn one_reason_for_many_is_said_once() {
    let mut session = session();
    let reason = "the kernel has no such thing";
    session.missing_fields = ["one", "two", "three"]
        .map(|name| (name.to_owned(), reason.to_owned()))
        .to_vec();
    let html = story::write(Report::default(), &session, &[], &[]);
    let Some(mut page) = Page::open(&html, DESK) else {
        return;
    };
    assert_eq!(
        page.eval("document.querySelector('#session details').open"),
        false
    );
    page.eval("document.querySelector('#session details').open = true");
    let text = page.text("#session .lacking");
    assert_eq!(text.matches(reason).count(), 1, "{text}");
    assert!(text.contains("one, two, three: "), "{text}");
}

#[test]
fn a_state_explains_itself_to_pointer_and_keyboard() {
    let Some(mut page) = Page::open(&story::page(500), DESK) else {
        return;
    };
    page.eval("document.getElementById('states').scrollIntoView()");
    page.hover(".node[data-state=CLOSE_WAIT]");
    assert!(
        page.text("#tip")
            .contains("peer closed, application has not")
    );
    page.eval("document.querySelector('.node[data-state=TIME_WAIT]').focus()");
    page.next_frame();
    assert!(page.text("#tip").contains("closed, late packets awaited"));
    assert_eq!(
        page.eval("document.activeElement.getAttribute('aria-describedby')"),
        "tip"
    );
    // A node of the diagram leads to its connections.
    page.eval("document.querySelector('.node[data-state=LAST_ACK]').focus()");
    page.press("Enter");
    assert_eq!(
        page.eval("document.getElementById('search').value"),
        "state:last_ack"
    );
    page.assert_clean();
}

#[test]
fn times_are_of_the_viewers_zone_or_utc() {
    let Some(mut page) = Page::open(&story::page(10), DESK) else {
        return;
    };
    page.live_in("Asia/Kolkata");
    for (choice, begin) in [
        (1, "2026-03-01 12:00:00.000 to 12:02:01.500 UTC2m00s"),
        (0, "2026-03-01 17:30:00.000 to 17:32:01.500 UTC+05:302m00s"),
    ] {
        page.eval(&format!(
            "document.querySelectorAll('#zone button')[{choice}].click()"
        ));
        let facts = page.text("#facts");
        assert!(facts.starts_with(begin), "{facts}");
    }
}

#[test]
fn what_is_not_listed_is_said() {
    let outcomes: Vec<_> = story::connections_of(2_000).collect();
    let html = story::write(Report::listing(100), &session(), &outcomes, &[]);
    let Some(mut page) = Page::open(&html, DESK) else {
        return;
    };
    let shown = shown(&mut page);
    assert!(
        shown.starts_with("100 shown; 100 of 2,000 are listed"),
        "{shown}"
    );
    let text = page.text("#attention");
    assert!(
        text.contains("more failed than are listed here one by one."),
        "{text}"
    );
    assert!(page.text("#verdicts").contains("at least 0stuck"));
    page.assert_clean();
}

#[test]
fn what_was_not_observed_is_marked() {
    let Some(mut page) = Page::open(&story::page_of(&outcomes()), DESK) else {
        return;
    };
    let stays = |page: &mut Page, id: &str| {
        page.eval("document.getElementById('search').focus()");
        page.eval("document.activeElement.select()");
        page.write(id);
        page.press("Enter");
        page.press("ArrowDown");
        page.press("Enter");
        page.eval("[...document.querySelectorAll('.stay')].map((one) => one.lastChild.textContent + ' ' + one.dataset.state)")
    };
    assert_eq!(
        stays(&mut page, "63"),
        json!([
            "observed SYN_SENT",
            "observed ESTABLISHED",
            "observed FIN_WAIT_1",
            "observed CLOSING",
            "polled TIME_WAIT",
            "inferred CLOSED"
        ])
    );
}

#[test]
fn what_nobody_saw_end_has_not_ended_in_the_diagram() {
    let html = story::page_of(&outcomes());
    let edges = data(&html)["edges"].as_array().unwrap().clone();
    let [unseen, over] = [true, false].map(|is_unseen| {
        let into_closed = edges.iter().filter(|edge| edge["to"] == "CLOSED");
        let count = |edge: &Value| {
            let unseen = edge["unseen"].as_u64().unwrap();
            if is_unseen {
                unseen
            } else {
                edge["count"].as_u64().unwrap() - unseen
            }
        };
        into_closed.map(count).sum::<u64>()
    });
    assert!(unseen > 0);
    let Some(mut page) = Page::open(&html, DESK) else {
        return;
    };
    let diagram = page.text("#diagram");
    assert!(diagram.contains(&format!("{over} ended here")), "{diagram}");
    // What is estimated looks and reads so.
    let estimates = "document.querySelectorAll('.histogram.estimate').length";
    assert!(page.eval(estimates).as_u64().unwrap() > 0);
    assert!(page.text("#times").contains("seen by asking now and then"));
}
