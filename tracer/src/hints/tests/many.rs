//! What only many connections tell.

use super::*;
use crate::event::{Event, Evidence, EvidenceEvent};
use crate::track::{Sink, Transition};

fn names(desk: &Desk) -> Vec<&str> {
    desk.told.iter().map(|told| told.hint.name).collect()
}

fn refuse(desk: &mut Desk, pause: &str) {
    desk.tell_all(&[
        "A CL>SS task=7/app p0",
        "A rst-in",
        "A SS>CL counts=err:111",
        "A error=111",
        pause,
    ]);
}

#[test]
fn repeated_refusals_are_told_of_once() {
    let mut desk = Desk::new(30 * SECOND);
    for _ in 0..25 {
        refuse(&mut desk, "+100ms");
    }
    let told = &desk.told[0];
    assert_eq!(names(&desk), ["refused_often"]);
    assert_eq!(told.count, Some(10));
    assert_eq!(
        told.hint.text,
        "refused 10 times in 900.0ms: likely the service is down"
    );
    assert_eq!(told.remote.unwrap().port, 443);
    assert_eq!(told.local.unwrap().port, 0);
    assert_eq!(told.owner.pid, Some(7));
}

#[test]
fn refusals_now_and_then_are_not() {
    let mut desk = Desk::new(30 * SECOND);
    for _ in 0..25 {
        refuse(&mut desk, "+7000ms");
    }
    assert_eq!(names(&desk), [""; 0]);
}

fn serve(desk: &mut Desk, times: u64, pause: &str) {
    for _ in 0..times {
        desk.tell_all(&[
            "A LI>SR",
            "A SR>ES",
            "A ES>CW",
            "A CW>LA",
            "A LA>CL counts=re:0",
            pause,
        ]);
    }
}

#[test]
fn many_short_lives_are_told_of_once() {
    let mut desk = Desk::new(30 * SECOND);
    serve(&mut desk, 1200, "+9ms");
    assert_eq!(names(&desk), ["churn"]);
    let told = &desk.told[0];
    assert_eq!(
        told.local.map(|end| (end.addr.to_string(), end.port)),
        Some(("0.0.0.0".to_owned(), 40_000))
    );
    assert_eq!(told.remote, None);
    assert!(
        told.hint.text.starts_with("1000 connections ended in 8.99"),
        "{}",
        told.hint.text
    );

    let mut slow = Desk::new(30 * SECOND);
    serve(&mut slow, 1200, "+11ms");
    assert_eq!(names(&slow), [""; 0]);
}

#[test]
fn after_a_loss_some_of_those_that_leak_may_have_moved_on() {
    const CAVEAT: &str = "; events were lost, some may have moved on";
    for (is_lost_before, is_certain) in [(true, true), (false, false)] {
        let mut desk = Desk::new(30 * SECOND);
        if is_lost_before {
            desk.watch.lost(desk.story.now_ns());
            desk.tell("+1000ms");
        }
        for socket in ["A", "B", "C", "D", "E", "F", "G", "H", "I", "J"] {
            for event in ["LI>SR", "SR>ES", "accept=9/app", "ES>CW"] {
                desk.tell(&format!("{socket} {event}"));
            }
        }
        if !is_lost_before {
            desk.watch.lost(desk.story.now_ns());
        }
        desk.tell("+30000ms");
        let mut told = desk.told.iter();
        let many = told
            .find(|told| told.hint.name == "close_wait_many")
            .unwrap();
        assert_eq!(
            !many.hint.text.ends_with(CAVEAT),
            is_certain,
            "{}",
            many.hint.text
        );
    }
}

#[test]
fn a_process_that_leaks_is_told_of_at_each_power_of_ten() {
    let mut desk = Desk::new(30 * SECOND);
    let sockets = ["A", "B", "C", "D", "E", "F", "G", "H", "I", "J", "K"];
    for socket in sockets {
        for event in ["LI>SR", "SR>ES", "accept=9/app", "ES>CW"] {
            desk.tell(&format!("{socket} {event}"));
        }
    }
    desk.tell("+30000ms");
    let many: Vec<_> = desk
        .told
        .iter()
        .filter(|told| told.hint.name == "close_wait_many")
        .collect();
    assert_eq!(desk.told.len(), sockets.len() + 1);
    assert_eq!(many[0].count, Some(10));
    assert_eq!(many[0].netns, Some(1));
    assert_eq!(
        many[0].hint.check.as_deref(),
        Some("ls /proc/9/fd | wc -l; grep 'open files' /proc/9/limits")
    );
    // Eleven less two, and two that come anew: still of the same size.
    for socket in ["A", "B"] {
        desk.tell(&format!("{socket} CW>LA"));
        for event in ["LA>CL", "LI>SR", "SR>ES", "accept=9/app", "ES>CW"] {
            desk.tell(&format!("{socket} {event}"));
        }
    }
    desk.tell("+30000ms");
    assert_eq!(desk.told.len(), sockets.len() + 3);
}

#[test]
fn a_crowd_of_several_network_namespaces_names_none() {
    let mut desk = Desk::new(30 * SECOND);
    for (index, socket) in ["A", "B", "C", "D", "E", "F", "G", "H", "I", "J"]
        .iter()
        .enumerate()
    {
        desk.tell(&format!("{socket} LI>SR ns={}", 1 + index / 9));
        for event in ["SR>ES", "accept=9/app", "ES>CW"] {
            desk.tell(&format!("{socket} {event}"));
        }
    }
    desk.tell("+30000ms");
    let many = desk.told.iter().find(|told| told.count.is_some());
    assert_eq!(many.unwrap().netns, None);
}

#[test]
fn of_a_half_open_connection_whose_syn_was_seen_the_age_is_told() {
    let mut desk = Desk::new(30 * SECOND);
    desk.tell("L CL>LI task=5/app l=0.0.0.0/80 r=0.0.0.0/0");
    desk.tell("L syn l=10.0.0.1/80 r=10.0.0.9/1234");
    for second in [1, 3, 7] {
        synack(&mut desk, 1234, second * SECOND + 1020);
    }
    let told = &desk.told[0];
    assert_eq!(told.stay.unwrap().lasted_ns, 7 * SECOND);
    assert!(
        told.hint
            .text
            .starts_with("half-open for 7.000s, SYN-ACK sent again 3 times: likely")
    );
}

#[test]
fn a_half_open_connection_has_the_owner_of_a_listener_older_than_the_trace() {
    let mut desk = Desk::new(30 * SECOND);
    desk.tell("list LI by=7/app,8/app l=0.0.0.0/80");
    for second in [1, 3, 7] {
        synack(&mut desk, 1234, second * SECOND);
    }
    assert_eq!(desk.told[0].owner.pid, Some(7));
}

fn close_first(desk: &mut Desk, first: &str, times: usize) {
    for _ in 0..times {
        desk.tell_all(&[
            first,
            "A SS>ES",
            "A ES>F1",
            "A F1>F2",
            "A F2>CL counts=re:0",
            "+30ms",
        ]);
    }
}

#[test]
fn ports_in_time_wait_are_counted_against_the_ports_there_are() {
    let limits = Limits {
        netns: Some(1),
        local_ports: Some(20),
        tw_reuse: Some(2),
    };
    let far = "A CL>SS task=7 p0";
    let loopback = "A CL>SS l=127.0.0.1/40000 r=127.0.0.1/443 task=7 p0";
    for (limits, first, expected) in [
        (limits, far, Some((10, Some(20)))),
        (limits, loopback, None),
        (
            Limits {
                tw_reuse: Some(1),
                ..limits
            },
            far,
            None,
        ),
        (
            Limits {
                tw_reuse: Some(0),
                ..limits
            },
            loopback,
            Some((10, Some(20))),
        ),
        // Of another network namespace nothing is known.
        (
            Limits {
                netns: Some(2),
                ..limits
            },
            far,
            None,
        ),
    ] {
        let mut desk = Desk::new(30 * SECOND);
        desk.watch = Watch::new(30 * SECOND, limits);
        // The first line sets the ends for those that follow.
        close_first(&mut desk, first, 1);
        close_first(&mut desk, first, 15);
        let told: Vec<_> = desk
            .told
            .iter()
            .map(|told| (told.count.unwrap(), told.limit))
            .collect();
        assert_eq!(
            told,
            expected.into_iter().collect::<Vec<_>>(),
            "{limits:?} {first}"
        );
    }
}

#[test]
fn a_port_is_free_again_after_a_minute() {
    let mut desk = Desk::new(30 * SECOND);
    let limits = Limits {
        netns: Some(1),
        local_ports: Some(20),
        tw_reuse: None,
    };
    desk.watch = Watch::new(30 * SECOND, limits);
    for _ in 0..10 {
        close_first(&mut desk, "A CL>SS task=7 p0", 9);
        desk.tell("+65000ms");
    }
    assert_eq!(names(&desk), [""; 0]);
}

struct Nobody;

impl Sink for Nobody {
    fn transition(&mut self, _: &Connection, _: &Transition) {}
    fn ended(&mut self, _: &Connection, _: Ending) {}
}

/// The SYN-ACK to a client's port is sent again.
fn synack(desk: &mut Desk, client: u16, mono_ns: u64) {
    let end = |addr: &str, port| Endpoint {
        addr: addr.parse().unwrap(),
        port,
    };
    let event = EvidenceEvent {
        mono_ns,
        sk: 1,
        what: Evidence::SynAckRetransmit {
            netns: Some(1),
            local: end("10.0.0.1", 80),
            remote: end("10.0.0.9", client),
        },
    };
    desk.story
        .tracker
        .handle(&Event::Evidence(event), &mut Nobody);
    let half_open = desk.story.tracker.half_open(&event).unwrap();
    desk.told.extend(desk.watch.half_open(&half_open));
}

#[test]
fn a_half_open_connection_is_told_of_after_three_syn_acks() {
    let mut desk = Desk::new(30 * SECOND);
    for second in [1, 3, 7, 15, 31] {
        synack(&mut desk, 1234, second * SECOND);
    }
    assert_eq!(names(&desk), ["handshake_incomplete"]);
    let told = &desk.told[0];
    assert_eq!(told.mono_ns, 7 * SECOND);
    assert_eq!(told.stay.unwrap().lasted_ns, 6 * SECOND);
    assert_eq!(
        told.hint.text,
        "half-open, SYN-ACK seen sent again 3 times, the last 6.000s after the first of these: likely no way \
         back, or the accept queue is full"
    );
    // Another one of the same client, later.
    for second in [201, 203, 207] {
        synack(&mut desk, 1234, second * SECOND);
    }
    assert_eq!(desk.told.len(), 2);
}

#[test]
fn a_flood_of_half_open_connections_is_told_of_as_one() {
    let mut desk = Desk::new(SECOND);
    for client in 1..500 {
        synack(&mut desk, client, SECOND);
        synack(&mut desk, client, 3 * SECOND);
    }
    let many = desk.told.iter().filter(|told| told.count.is_some());
    assert_eq!(many.count(), 1);
    assert_eq!(desk.told.len(), 16);
}
