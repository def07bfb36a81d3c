//! Losses: what may be told of connections across them.

use proptest::prelude::*;

use super::*;
use crate::diagnose::tests::all;
use crate::diagnose::{Verdict, diagnose};

/// A life of socket A, with `lost` transitions lost after its first `before` events; others have come and gone.
fn across(events: &[&str], before: usize, lost: u64) -> (Connection, Ending) {
    let mut story = Story::patient();
    story.tell(&events[..before]);
    story.tracker.handle_loss(lost, 0);
    story.tell(&events[before..]);
    story.finish();
    story.conn_of("A")
}

#[test]
fn before_within_and_after_a_life() {
    const OPEN: [&str; 2] = ["A CL>SS p0", "A SS>ES"];
    const CLOSED: [&str; 5] = ["A CL>SS p0", "A SS>ES", "A ES>CW", "A CW>LA", "A LA>CL"];
    for (events, before, lost, gap, ending) in [
        // Before it.
        (&OPEN[..], 0, 9, Gap::None, Ending::StillOpen),
        (&CLOSED[..], 0, 9, Gap::None, Ending::Closed),
        // Within: one alone cannot bring it back to its state.
        (&OPEN[..], 1, 1, Gap::None, Ending::StillOpen),
        (&OPEN[..], 1, 2, Gap::Possible, Ending::StillOpen),
        (&CLOSED[..], 3, 1, Gap::None, Ending::Closed),
        (&CLOSED[..], 3, 2, Gap::Possible, Ending::Closed),
        // After all that was seen of it.
        (&OPEN[..], 2, 0, Gap::None, Ending::StillOpen),
        (&OPEN[..], 2, 1, Gap::Possible, Ending::MayBeOver),
        (&CLOSED[..], 5, 9, Gap::None, Ending::Closed),
    ] {
        let (conn, ended) = across(events, before, lost);
        let case = format!("{} events, {lost} lost after {before}", events.len());
        assert_eq!((conn.gap, ended), (gap, ending), "{case}");
        assert_eq!(conn.in_doubt, ending == Ending::MayBeOver, "{case}");
    }
}

#[test]
fn a_gap_that_shows_is_certain() {
    let events = ["A CL>SS p0", "A SS>ES", "A CW>LA", "A LA>CL"];
    assert_eq!(across(&events, 2, 1).0.gap, Gap::Certain);
}

#[test]
fn a_listener_and_one_that_was_there_before_are_in_doubt_as_well() {
    let mut story = Story::new();
    story.tell(&["list ES by=7", "L CL>LI task=5 l=0.0.0.0/80 r=0.0.0.0/0"]);
    story.tracker.handle_loss(1, 0);
    story.finish();
    let mut endings: Vec<_> = story
        .ended()
        .map(|(conn, ending)| (conn.id, *ending))
        .collect();
    endings.sort_unstable_by_key(|(id, _)| *id);
    assert_eq!(endings, [1, 2].map(|id| (ConnId(id), Ending::MayBeOver)));
    assert!(!story.conn(1).is_unchanged());
}

#[test]
fn what_is_in_doubt_is_neither_open_nor_given_a_time() {
    let (conn, ending) = across(&["A CL>SS p0", "A SS>ES"], 2, 1);
    let found = diagnose(&conn, ending, &all());
    assert_eq!(found.verdict, Verdict::Unknown);
    assert_eq!(
        found.because,
        "transitions were lost since it was last seen, in ESTABLISHED: it may be over"
    );
    assert_eq!(found.states.last().unwrap().duration_ns, None);
    // The time before is known.
    assert_eq!(found.states.first().unwrap().duration_ns, Some(10));
}

#[test]
fn what_is_forgotten_after_a_loss_is_given_no_time() {
    let mut story = Story::with(Filter::default(), 1);
    story.tell(&["A CL>SS p0", "A SS>ES"]);
    story.tracker.handle_loss(1, 0);
    story.tell(&["B CL>SS p0"]);
    story.finish();
    let (conn, ending) = story.first_ended();
    assert_eq!((ending, conn.in_doubt), (Ending::AgedOut, true));
    let found = diagnose(&conn, ending, &all());
    assert_eq!(found.states.last().unwrap().duration_ns, None);
}

const LIVES: [&[&str]; 6] = [
    &["CL>SS", "SS>ES", "ES>F1", "F1>F2", "F2>CL"],
    &["CL>SS", "SS>ES", "ES>CW", "CW>LA", "LA>CL"],
    &["LI>SR", "SR>ES", "ES>CW", "CW>LA", "LA>CL"],
    &["LI>SR", "SR>ES", "ES>CL"],
    &["CL>SS", "SS>CL"],
    &["CL>SS", "SS>SR", "SR>ES", "ES>F1", "F1>CG", "CG>CL"],
];

/// What really happened to a socket, one life after the other: when each state was entered.
#[derive(Default)]
struct Truth(Vec<Vec<(State, u64)>>);

impl Truth {
    /// The life with a transition at this time, and which of its transitions that is.
    fn at(&self, mono_ns: u64) -> (&[(State, u64)], usize) {
        self.0
            .iter()
            .find_map(|life| {
                let index = life.iter().position(|(_, at_ns)| *at_ns == mono_ns)?;
                Some((life.as_slice(), index))
            })
            .unwrap()
    }
}

proptest! {
    /// Of what goes on at three sockets, with the same ends again and again, stretches are lost.
    #[test]
    fn what_is_told_without_a_caveat_is_true(
        turns in proptest::collection::vec((0..3_usize, 0..LIVES.len()), 1..80),
        holes in proptest::collection::vec((0..80_usize, 1..9_usize), 0..4),
    ) {
        let sockets = ["A", "B", "C"];
        let mut story = Story::new();
        let mut truth: [Truth; 3] = std::array::from_fn(|_| Truth::default());
        let mut present: [(&[&str], usize); 3] = [(&[], 0); 3];
        let mut lost = 0;
        for (index, (turn, life)) in turns.into_iter().enumerate() {
            let (events, next) = &mut present[turn];
            if *next == events.len() {
                (*events, *next) = (LIVES[life], 0);
                truth[turn].0.push(Vec::new());
            }
            let event = events[*next];
            *next += 1;
            let to = state(event.split_once('>').unwrap().1);
            truth[turn].0.last_mut().unwrap().push((to, story.now_ns + 10));
            if holes.iter().any(|(start, length)| (*start..start + length).contains(&index)) {
                story.now_ns += 10;
                lost += 1;
            } else {
                story.tracker.handle_loss(std::mem::take(&mut lost), 0);
                story.tell(&[&format!("{} {event}", sockets[turn])]);
            }
        }
        story.tracker.handle_loss(lost, 0);
        story.finish();

        let truth_of = |conn: &Connection| {
            let socket = sockets.iter().position(|socket| sk(socket) == conn.sk);
            &truth[socket.unwrap()]
        };
        for (conn, transition) in story.told() {
            let (life, index) = truth_of(conn).at(transition.event.mono_ns);
            if let Some(in_state_ns) = transition.in_state_ns {
                prop_assert_eq!(in_state_ns, life[index].1 - life[index - 1].1);
            }
        }
        for (conn, ending) in story.ended() {
            let found = diagnose(conn, *ending, &all());
            if found.verdict == Verdict::Open {
                let (life, _) = truth_of(conn).at(conn.steps.last().unwrap().since_ns.unwrap());
                prop_assert_ne!(life.last().unwrap().0, State::Closed);
            }
            if conn.gap != Gap::None {
                continue;
            }
            let told: Vec<_> = conn
                .steps
                .iter()
                .filter_map(|step| Some((step.state, step.since_ns?)))
                .collect();
            let (life, first) = truth_of(conn).at(told[0].1);
            let after = &life[first..];
            prop_assert!(after.starts_with(&told), "{:?} is not in {:?}", told, life);
            prop_assert_eq!(conn.from_birth, first == 0);
            match ending {
                Ending::Closed | Ending::StillOpen => prop_assert_eq!(&told, after),
                Ending::EndUnseen => prop_assert!(told.len() < after.len()),
                Ending::AgedOut | Ending::MayBeOver | Ending::NeverCompleted => {
                    prop_assert!(false, "{ending:?}");
                }
            }
            let is_open = life.last().unwrap().0 != State::Closed;
            prop_assert_eq!(*ending == Ending::StillOpen, is_open);
        }
    }
}
