use tracer_common::wire::{
    AT_CLOSE_NETNS_COOKIE, AtClose, Counts, FLAG_AT_CLOSE, FLAG_COUNTS, KIND_ACCEPT,
};
use zerocopy::FromZeros as _;

use super::*;
use crate::decode::decode;
use crate::event::{Event, Polled, PolledEvent};
use crate::state::State;

const NETNS: u32 = 7;
const START: u64 = 1000 * SECOND;
const ALL: Wish = Wish {
    minis: true,
    half_open: true,
};

fn state_record(from: i32, to: i32, port: u16) -> StateRecord {
    let mut addr = [0; 16];
    addr[10..].copy_from_slice(&[0xff, 0xff, 10, 0, 0, 1]);
    StateRecord {
        header: Header {
            kind: KIND_STATE,
            flags: FLAG_NETNS | FLAG_COUNTS,
            cpu: 0,
            mono_ns: START,
            sk: 1,
        },
        old_state: from,
        new_state: to,
        netns: NETNS,
        family: 2,
        protocol: TCP,
        local_port: port,
        remote_port: 443,
        bound_port: 0,
        reserved: 0,
        local_addr: addr,
        remote_addr: addr,
    }
}

fn closed(port: u16) -> Wanted {
    ALL.of(state_record(FIN_WAIT_2, CLOSE, port).as_bytes())
        .unwrap()
}

fn with(time_wait: TimeWait, ports: std::ops::Range<u16>) -> Fates {
    let mut fates = Fates::new(time_wait);
    for port in ports {
        fates.add(&closed(port), START);
    }
    fates
}

/// Answers for the one with this port, at a time in milliseconds.
fn answer(fates: &mut Fates, port: u16, at_ms: u64, answer: Answer) {
    let now_ns = START + at_ms * MILLISECOND;
    let known = fates.answered(NETNS, &closed(port).ends, answer, 0, (now_ns, now_ns));
    assert!(known);
    fates.plan();
}

fn news(fates: &mut Fates) -> Vec<PolledEvent> {
    let news = fates.take_news().unwrap_or_default();
    news.iter()
        .map(|record| {
            let Event::Polled(event) = decode(record).unwrap() else {
                panic!("another kind of record");
            };
            event
        })
        .collect()
}

fn next_ms(fates: &Fates) -> Option<u64> {
    Some((fates.next_ns()? - START) / MILLISECOND)
}

fn mini(state: i32, timer_ms: u64) -> Answer {
    Answer::Mini {
        state,
        timer_ns: timer_ms * MILLISECOND,
    }
}

#[test]
fn only_what_can_go_on_unseen_is_asked_for() {
    let of = |record: &StateRecord| ALL.of(record.as_bytes());
    for from in 1..=12 {
        let goes_on = [FIN_WAIT_2, CLOSING].contains(&from);
        assert_eq!(
            of(&state_record(from, CLOSE, 1)).is_some(),
            goes_on,
            "{from}"
        );
        assert!(of(&state_record(FIN_WAIT_2, from, 1)).is_none() || from == CLOSE);
    }
    let mut mptcp = state_record(FIN_WAIT_2, CLOSE, 1);
    mptcp.protocol = 262;
    let mut nowhere = state_record(FIN_WAIT_2, CLOSE, 1);
    nowhere.header.flags = 0;
    let mut accept = state_record(FIN_WAIT_2, CLOSE, 1);
    accept.header.kind = KIND_ACCEPT;
    for record in [mptcp, nowhere, accept] {
        assert_eq!(of(&record), None);
    }
    let none = Wish {
        minis: false,
        ..ALL
    };
    assert_eq!(none.of(state_record(FIN_WAIT_2, CLOSE, 1).as_bytes()), None);
    assert_eq!(
        ALL.of(&state_record(FIN_WAIT_2, CLOSE, 1).as_bytes()[..50]),
        None
    );
}

#[test]
fn only_news_is_told() {
    let mut fates = with(TimeWait::Wait, 1..2);
    assert_eq!(next_ms(&fates), Some(100));
    answer(&mut fates, 1, 100, mini(FIN_WAIT_2, 59_900));
    answer(&mut fates, 1, 1100, mini(FIN_WAIT_2, 58_900));
    assert_eq!(next_ms(&fates), Some(2100));
    let told = news(&mut fates);
    let [first] = told.as_slice() else {
        panic!("{told:?}")
    };
    let found = Polled::Mini {
        state: State::FinWait2,
        timer_ns: Some(59_900 * MILLISECOND),
    };
    assert_eq!(
        (first.found, first.seen_ns, first.netns),
        (found, None, Some(NETNS))
    );
    answer(&mut fates, 1, 2100, mini(TIME_WAIT, 59_500));
    answer(&mut fates, 1, 4100, mini(TIME_WAIT, 57_500));
    assert_eq!(news(&mut fates).len(), 1);
    // The peer sent its FIN again.
    answer(&mut fates, 1, 6100, mini(TIME_WAIT, 59_000));
    assert_eq!(news(&mut fates).len(), 1);
    // For a sign of life.
    answer(&mut fates, 1, 36_100, mini(TIME_WAIT, 29_000));
    assert_eq!(news(&mut fates).len(), 1);
    // The timer is late.
    answer(&mut fates, 1, 65_200, mini(TIME_WAIT, 0));
    assert_eq!(next_ms(&fates), Some(65_450));
    answer(&mut fates, 1, 65_450, mini(TIME_WAIT, 0));
    assert!(news(&mut fates).is_empty());
    answer(&mut fates, 1, 65_700, Answer::Nothing);
    let told = news(&mut fates);
    assert_eq!(told[0].found, Polled::Nothing);
    assert_eq!(told[0].seen_ns, Some(START + 65_450 * MILLISECOND));
    assert_eq!(fates.next_ns(), None);
}

#[test]
fn the_end_is_looked_for_when_the_timer_is_due() {
    let mut fates = with(TimeWait::Wait, 1..2);
    answer(&mut fates, 1, 100, mini(TIME_WAIT, 59_900));
    assert_eq!(next_ms(&fates), Some(2100));
    answer(&mut fates, 1, 59_000, mini(TIME_WAIT, 1000));
    assert_eq!(next_ms(&fates), Some(60_000));
}

/// One that was closed in the namespace with this cookie.
fn closed_in(cookie: u32, port: u16) -> Wanted {
    let mut record = state_record(FIN_WAIT_2, CLOSE, port);
    record.header.flags |= FLAG_AT_CLOSE;
    let at_close = AtClose {
        known: AT_CLOSE_NETNS_COOKIE,
        netns_cookie: cookie,
        ..AtClose::new_zeroed()
    };
    let counts = Counts::new_zeroed();
    let bytes = [record.as_bytes(), counts.as_bytes(), at_close.as_bytes()].concat();
    ALL.of(&bytes).unwrap()
}

#[test]
fn of_what_was_in_a_namespace_that_is_gone_the_next_one_of_its_number_tells_nothing() {
    let cookie = |cookie| Identity::Cookie(Some(cookie));
    for (identity, wanted, expected) in [
        (cookie(5), closed_in(5, 1), Polled::Nothing),
        (Identity::Own, closed(1), Polled::Nothing),
        // Nobody can tell which one it is.
        (cookie(5), closed(1), Polled::NoNamespace),
        (Identity::Cookie(None), closed_in(5, 1), Polled::NoNamespace),
    ] {
        let mut fates = with(TimeWait::Wait, 0..0);
        fates.add(&wanted, START);
        fates.entered(NETNS, identity, START + SECOND);
        answer(&mut fates, 1, 1000, Answer::Nothing);
        let told = news(&mut fates);
        assert_eq!(told[0].found, expected, "{identity:?} {wanted:?}");
    }
    let mut fates = with(TimeWait::Wait, 0..0);
    fates.add(&closed_in(5, 1), START);
    fates.add(&closed_in(6, 2), START);
    fates.entered(NETNS, cookie(6), START + SECOND);
    let told = news(&mut fates);
    assert_eq!((told.len(), told[0].local.port), (1, 1));
    assert_eq!(told[0].found, Polled::NoNamespace);
    // Another connection has its ends, of whatever state.
    let mut fates = with(TimeWait::Wait, 0..0);
    fates.add(&closed_in(5, 1), START);
    fates.entered(NETNS, cookie(5), START + SECOND);
    fates.add(&closed_in(5, 2), START);
    fates.entered(NETNS, cookie(5), START + SECOND);
    answer(&mut fates, 1, 1000, Answer::Another);
    answer(&mut fates, 2, 1000, Answer::HalfOpen { retransmits: 0 });
    for told in news(&mut fates) {
        assert_eq!(told.found, Polled::Another);
    }
    assert_eq!(fates.next_ns(), None);
    // There, or in the next namespace of its number.
    fates.add(&closed(1), START);
    fates.entered(NETNS, cookie(5), START + SECOND);
    answer(&mut fates, 1, 1000, Answer::Another);
    assert_eq!(news(&mut fates)[0].found, Polled::NoNamespace);
    // What was seen there is gone with it.
    let mut fates = with(TimeWait::Wait, 0..0);
    fates.add(&closed_in(6, 2), START);
    answer(&mut fates, 2, 1000, mini(TIME_WAIT, 59_000));
    assert_eq!(news(&mut fates).len(), 1);
    fates.entered(NETNS, Identity::Cookie(None), START + SECOND);
    answer(&mut fates, 2, 3000, Answer::Nothing);
    assert_eq!(news(&mut fates)[0].found, Polled::Nothing);
}

#[test]
fn one_answer_is_enough_where_the_end_is_not_waited_for() {
    let mut fates = with(TimeWait::Expect, 1..2);
    answer(&mut fates, 1, 100, mini(FIN_WAIT_2, 5000));
    assert!(fates.next_ns().is_some());
    answer(&mut fates, 1, 1100, mini(TIME_WAIT, 59_000));
    assert_eq!(news(&mut fates).len(), 2);
    assert_eq!(fates.next_ns(), None);
}

#[test]
fn what_cannot_be_asked_for_is_told_to_be_unknown() {
    let mut fates = with(TimeWait::Wait, 1..4);
    answer(&mut fates, 2, 100, mini(TIME_WAIT, 59_900));
    assert_eq!(fates.due(START + SECOND), [NETNS]);
    fates.give_up_all(NETNS, START + SECOND);
    fates.plan();
    let told = news(&mut fates);
    let unknown = (told.iter()).filter(|event| event.found == Polled::NoNamespace);
    assert_eq!((unknown.count(), told.len()), (3, 4));
    assert_eq!(fates.next_ns(), None);
    assert!(fates.due(u64::MAX).is_empty());
}

#[test]
fn the_number_is_bounded() {
    let mut fates = with(TimeWait::Wait, 0..1);
    for number in 0..=MAX {
        let mut wanted = closed(1);
        let bytes = u32::try_from(number).unwrap().to_ne_bytes();
        wanted.ends.remote_addr[..4].copy_from_slice(&bytes);
        fates.add(&wanted, START);
    }
    assert_eq!(fates.due_in(NETNS, u64::MAX).len(), MAX);
    let told = news(&mut fates);
    assert!(told.iter().all(|event| event.found == Polled::NotKnown));
    assert_eq!(told.len(), 2);
}

#[test]
fn a_new_connection_with_the_same_ends_takes_over() {
    let mut fates = with(TimeWait::Wait, 1..2);
    answer(&mut fates, 1, 100, mini(TIME_WAIT, 59_900));
    let mut again = closed(1);
    again.since_ns += 10 * SECOND;
    fates.add(&again, again.since_ns);
    let (_, fate) = fates.due_in(NETNS, u64::MAX)[0];
    assert!(!fate.is_known());
    assert_eq!(fate.next_ns, again.since_ns + FIRST_NS);
}

#[test]
fn a_half_open_connection_is_asked_for_once_a_second() {
    let request = RequestRecord {
        header: Header {
            kind: KIND_SYNACK_RETRANSMIT,
            ..state_record(1, 1, 1).header
        },
        netns: NETNS,
        family: 10,
        local_port: 443,
        remote_port: 1,
        reserved: [0; 3],
        local_addr: closed(1).ends.local_addr,
        remote_addr: closed(1).ends.local_addr,
    };
    let wanted = ALL.of(request.as_bytes()).unwrap();
    let mut fates = with(TimeWait::Expect, 0..0);
    fates.add(&wanted, START);
    let (ends, fate) = fates.due_in(NETNS, u64::MAX)[0];
    // It has the family of its listener.
    assert!(fate.can_be(2, &ends) && fate.can_be(10, &ends));
    let times = (START + 100 * MILLISECOND, START + 100 * MILLISECOND);
    let half = |retransmits| Answer::HalfOpen { retransmits };
    assert!(fates.answered(NETNS, &ends, half(1), 0, times));
    // The SYN-ACK was sent once more.
    fates.add(&wanted, START + SECOND);
    fates.plan();
    assert_eq!(next_ms(&fates), Some(1100));
    assert!(fates.answered(NETNS, &ends, half(1), 0, times));
    assert!(fates.answered(NETNS, &ends, half(2), 0, times));
    let told = news(&mut fates);
    let found = told.iter().map(|event| event.found).collect::<Vec<_>>();
    let expected = [1, 2].map(|retransmits| Polled::HalfOpen { retransmits });
    assert_eq!(found, expected);
    // In the end it is told of once more.
    assert!(fates.answered(NETNS, &ends, half(2), 0, times));
    assert!(news(&mut fates).is_empty());
    fates.hurry();
    assert_eq!(fates.due(0), [NETNS]);
    assert!(fates.answered(NETNS, &ends, half(2), 0, times));
    assert_eq!(news(&mut fates).len(), 1);
}
