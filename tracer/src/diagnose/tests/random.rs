//! What holds whatever the evidence is.

use proptest::prelude::*;

use super::*;
use crate::event::{Counts, Protocol};
use crate::track::{After, Gap, Gathered, Opened, ResetSent, Role, SocketError, Step};

fn errno() -> impl Strategy<Value = u32> {
    proptest::sample::select(vec![0, 0, 13, 32, 99, 103, 104, 110, 111, 113])
}

fn counts() -> impl Strategy<Value = Counts> {
    (
        (0..3_u64, 0..3_u64, 0..3_u64),
        (proptest::option::of(0..9_u32), 0..3_u32),
        (errno(), errno()),
    )
        .prop_map(
            |((bytes_sent, bytes_acked, bytes_received), (rtt_us, retransmits), errors)| Counts {
                bytes_sent,
                bytes_acked,
                bytes_received,
                rtt_us,
                retransmits,
                error: errors.0,
                soft_error: errors.1,
            },
        )
}

fn gathered() -> impl Strategy<Value = Gathered> {
    let reset = (0..99_u64, proptest::option::of(0..30_u32))
        .prop_map(|(mono_ns, reason)| ResetSent { mono_ns, reason });
    let error = (0..99_u64, errno()).prop_filter_map("no error", |(mono_ns, errno)| {
        (errno != 0).then_some(SocketError { mono_ns, errno })
    });
    (
        proptest::option::of(counts()),
        proptest::option::of(counts()),
        (0..3_u32, 0..3_u32, 0..3_u32, errno()),
        proptest::array::uniform6(any::<bool>()),
        proptest::option::of(reset),
        proptest::option::of(error),
    )
        .prop_map(
            |(opened, closed, numbers, flags, reset_sent, error)| Gathered {
                opened: opened.map(|counts| Opened {
                    rtt_us: counts.rtt_us,
                    retransmits: counts.retransmits,
                }),
                closed,
                at_close: None,
                syn_retransmits: numbers.0,
                synack_retransmits: numbers.1,
                retransmits: numbers.2,
                soft_error: numbers.3,
                reset_received: flags[0],
                listener_closed: flags[1],
                incomplete: flags[2],
                synacks_counted: flags[3],
                syn_error_told: flags[4],
                queued_when_listed: flags[5],
                half_open_ns: None,
                half_open_polled: false,
                after: After::NotKnown,
                reset_sent,
                error,
                backoff: None,
            },
        )
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let state = prop_oneof![
        1 => Just(State::Unknown(77)),
        9 => proptest::sample::select(State::ALL.to_vec()),
    ];
    let step = (state, proptest::option::of(0..99_u64))
        .prop_map(|(state, since_ns)| Step { state, since_ns });
    let end = proptest::option::of((0..99_u64).prop_map(|since_ns| Step {
        state: State::Closed,
        since_ns: Some(since_ns),
    }));
    (proptest::collection::vec(step, 0..6), end).prop_map(|(mut steps, end)| {
        steps.extend(end);
        steps
    })
}

fn connection() -> impl Strategy<Value = (Connection, Ending)> {
    let some = Story::any_conn();
    (
        proptest::sample::select(vec![
            Role::Client,
            Role::Server,
            Role::Both,
            Role::Unknown,
            Role::Listener,
        ]),
        proptest::sample::select(vec![Protocol::Tcp, Protocol::Tcp, Protocol::Mptcp]),
        (steps(), gathered()),
        (any::<bool>(), any::<bool>(), 0..99_u64),
        proptest::sample::select(vec![
            Ending::Closed,
            Ending::Closed,
            Ending::StillOpen,
            Ending::NeverCompleted,
            Ending::AgedOut,
            Ending::EndUnseen,
            Ending::MayBeOver,
        ]),
    )
        .prop_map(move |(role, protocol, (steps, evidence), rest, ending)| {
            let conn = Connection {
                role,
                protocol,
                steps,
                evidence,
                from_birth: rest.0,
                gap: if rest.1 { Gap::Certain } else { Gap::None },
                as_of_ns: rest.2,
                ..some.clone()
            };
            (conn, ending)
        })
}

fn sources() -> impl Strategy<Value = Sources> {
    proptest::array::uniform8(any::<bool>()).prop_map(|flags| Sources {
        retransmit: flags[0],
        synack_retransmit: flags[1],
        reset_received: flags[2],
        reset_sent: flags[3],
        socket_error: flags[4],
        counts: flags[5],
        accept: flags[6],
        reset_reasons: if flags[7] {
            all().reset_reasons
        } else {
            Vec::new()
        },
    })
}

/// The same kernel without any hook.
fn bare(sources: &Sources) -> Sources {
    Sources {
        reset_reasons: sources.reset_reasons.clone(),
        ..Sources::default()
    }
}

proptest! {
    #[test]
    fn every_diagnosis_is_consistent((conn, ending) in connection(), sources in sources()) {
        let found = diagnose(&conn, ending, &sources);
        prop_assert!(!found.because.is_empty() && !found.because.ends_with('.'));
        prop_assert_eq!(found.verdict == Verdict::Listener, conn.role == Role::Listener);
        if conn.role != Role::Listener {
            prop_assert_eq!(found.verdict == Verdict::Open, ending == Ending::StillOpen);
        }
        let waits = found.states.iter().filter(|span| span.expected_ns.is_some());
        match waits.count() {
            0 => {}
            1 => prop_assert_eq!(found.verdict, Verdict::Closed),
            more => prop_assert!(false, "{} expected", more),
        }
        if found.verdict == Verdict::ResetByUs {
            prop_assert!(conn.evidence.reset_sent.is_some());
        }
        for span in &found.states {
            prop_assert!(span.duration_ns.is_none() || span.since_ns.is_some());
        }
    }

    /// After a loss, hooks that have told nothing weigh nothing: all is as if they were not there.
    #[test]
    fn a_loss_takes_the_weight_from_what_was_not_seen(
        (mut conn, ending) in connection(),
        sources in sources(),
    ) {
        conn.evidence.incomplete = true;
        let found = diagnose(&conn, ending, &sources);
        let expected = diagnose(&conn, ending, &bare(&sources));
        prop_assert_eq!(found.verdict, expected.verdict);
        prop_assert_eq!(found.states, expected.states);
        prop_assert_eq!(found.retransmits, expected.retransmits);
        prop_assert_eq!(found.bytes_received, expected.bytes_received);
    }

    /// What is certain by what was seen does not change with what was not.
    #[test]
    fn more_hooks_only_make_more_certain((mut conn, ending) in connection(), sources in sources()) {
        conn.evidence.incomplete = false;
        let certain = diagnose(&conn, ending, &bare(&sources)).verdict;
        let found = diagnose(&conn, ending, &sources).verdict;
        let refined = (certain, found) == (Verdict::ResetByUs, Verdict::AcceptQueueLost);
        prop_assert!(
            certain == found || certain == Verdict::Unknown || refined,
            "{:?} {:?}", certain, found
        );
    }
}
