//! Connections at their end, one for each verdict.

use std::sync::Arc;

use tracer::diagnose::{ClosedBy, Diagnosis, SpanEvidence, StateSpan, Verdict};
use tracer::event::Congestion;
use tracer::hints::Hint;
use tracer::place::Place;
use tracer::state::State;
use tracer::track::{ConnId, Connection, Ending, Gap, OwnerProcess, Role, Step};

use super::{CLOCK, MS, NOBODY, SECOND, at_close, connected, endpoint, older, server, step};

/// What a renderer is told at the end of a connection.
pub(crate) type Outcome = (Connection, Diagnosis, Ending);

/// Nothing known but the states the socket went through.
pub(crate) fn diagnosis(conn: &Connection, verdict: Verdict, because: &str) -> Diagnosis {
    let begun = usize::from(conn.from_birth);
    let steps = conn.steps.get(begun..).unwrap_or_default();
    let nexts = steps.iter().skip(1).map(Some).chain([None]);
    let states = steps.iter().zip(nexts).map(|(step, next)| {
        let until_ns = next.and_then(|next| next.since_ns);
        StateSpan {
            duration_ns: until_ns
                .zip(step.since_ns)
                .map(|(until, since)| until - since),
            ..observed(step)
        }
    });
    Diagnosis {
        verdict,
        closed_by: None,
        reset_reason: None,
        because: because.to_owned(),
        states: states.collect(),
        syn_retransmits: None,
        synack_retransmits: None,
        retransmits: None,
        bytes_sent: None,
        bytes_received: None,
        rtt_us: None,
        hints: Vec::new(),
    }
}

fn observed(step: &Step) -> StateSpan {
    StateSpan {
        state: step.state,
        since_ns: step.since_ns,
        duration_ns: None,
        is_minimum: false,
        evidence: SpanEvidence::Observed,
        expected_ns: None,
        within_ns: None,
    }
}

pub(crate) fn inferred(state: State, expected_ns: Option<u64>) -> StateSpan {
    StateSpan {
        state,
        since_ns: None,
        duration_ns: None,
        is_minimum: false,
        evidence: SpanEvidence::Inferred,
        expected_ns,
        within_ns: None,
    }
}

/// What is known of [`super::client_life`] at its end.
pub(crate) fn client_closed(conn: &Connection) -> Diagnosis {
    let because = "both sides sent FIN, this side first";
    let mut diagnosis = Diagnosis {
        closed_by: Some(ClosedBy::Local),
        syn_retransmits: Some(0),
        synack_retransmits: Some(0),
        retransmits: Some(1),
        bytes_sent: Some(78),
        bytes_received: Some(5_432),
        rtt_us: Some(11_987),
        ..diagnosis(conn, Verdict::Closed, because)
    };
    // The socket closed, not the connection.
    diagnosis.states.pop();
    diagnosis
        .states
        .push(inferred(State::TimeWait, Some(60 * SECOND)));
    diagnosis.states.push(inferred(State::Closed, None));
    diagnosis
}

/// What is known of [`super::server_life`] at its end, with the half-open time from the request.
pub(crate) fn server_closed(conn: &Connection) -> Diagnosis {
    let because = "both sides sent FIN, the peer first";
    let mut diagnosis = Diagnosis {
        closed_by: Some(ClosedBy::Remote),
        ..diagnosis(conn, Verdict::Closed, because)
    };
    if let Some(half_open) = diagnosis.states.first_mut() {
        half_open.since_ns = half_open.since_ns.map(|ns| ns - MS);
        half_open.duration_ns = half_open.duration_ns.map(|ns| ns + MS);
    }
    diagnosis
}

/// One connection for each verdict, most ended at 10 s.
pub(crate) fn outcomes() -> Vec<Outcome> {
    let mut list = Vec::from(never_established());
    list.extend(broken());
    list.extend(in_order());
    list
}

fn walk(mut conn: Connection, id: u64, path: &[(u64, State)]) -> Connection {
    conn.id = ConnId(id);
    for &(at_ns, to) in path {
        step(&mut conn, at_ns, to);
    }
    conn.as_of_ns = CLOCK.mono_ns + 10 * SECOND;
    conn
}

fn never_established() -> [Outcome; 4] {
    let attempt = |id| {
        let path = [(SECOND, State::SynSent), (10 * SECOND, State::Closed)];
        walk(connected(), id, &path)
    };
    let refused = attempt(51);
    let timed_out = attempt(52);
    let unreachable = attempt(53);
    let cancelled = attempt(54);
    [
        (
            Diagnosis {
                syn_retransmits: Some(0),
                ..diagnosis(
                    &refused,
                    Verdict::Refused,
                    "the peer answered the SYN with a reset",
                )
            },
            refused,
        ),
        (
            Diagnosis {
                syn_retransmits: Some(3),
                retransmits: Some(0),
                ..diagnosis(
                    &timed_out,
                    Verdict::TimedOut,
                    "SYN sent 4 times, never answered",
                )
            },
            timed_out,
        ),
        (
            diagnosis(
                &unreachable,
                Verdict::Unreachable,
                "no route to host (EHOSTUNREACH)",
            ),
            unreachable,
        ),
        (
            diagnosis(
                &cancelled,
                Verdict::Cancelled,
                "SYN sent 2 times, given up by the application",
            ),
            cancelled,
        ),
    ]
    .map(|(diagnosis, conn)| (conn, diagnosis, Ending::Closed))
}

fn broken() -> [Outcome; 4] {
    let opened = [(MS, State::SynSent), (13 * MS, State::Established)];
    let ended = |id, before: State| {
        let path = [(9 * SECOND, before), (10 * SECOND, State::Closed)];
        let path = if before == State::Established {
            &path[1..]
        } else {
            &path[..]
        };
        walk(walk(connected(), id, &opened), id, path)
    };
    let by_peer = ended(55, State::CloseWait);
    let by_us = ended(56, State::Established);
    let mut aborted = ended(57, State::FinWait1);
    // Made by another than the one who connected it.
    aborted.evidence.at_close = Some(at_close(0, Congestion::Loss));
    aborted.socket_place = Some(Arc::new(Place::from_path("/system.slice/inetd.service")));
    let path = [
        (9 * SECOND, State::SynReceived),
        (9 * SECOND + 5_000, State::Established),
        (10 * SECOND, State::Closed),
    ];
    let lost = walk(server(), 58, &path);
    [
        (
            Diagnosis {
                closed_by: Some(ClosedBy::Remote),
                ..diagnosis(
                    &by_peer,
                    Verdict::ResetByPeer,
                    "a reset arrived in CLOSE_WAIT",
                )
            },
            by_peer,
        ),
        (
            Diagnosis {
                closed_by: Some(ClosedBy::Local),
                reset_reason: Some("TCP_ABORT_ON_CLOSE".to_owned()),
                ..diagnosis(&by_us, Verdict::ResetByUs, "closed with unread data")
            },
            by_us,
        ),
        (
            diagnosis(
                &aborted,
                Verdict::Aborted,
                "FIN sent 9 times, never acknowledged",
            ),
            aborted,
        ),
        (
            diagnosis(
                &lost,
                Verdict::AcceptQueueLost,
                "the listener closed before anybody accepted it",
            ),
            lost,
        ),
    ]
    .map(|(diagnosis, conn)| (conn, diagnosis, Ending::Closed))
}

fn in_order() -> [Outcome; 6] {
    let path = [
        (SECOND, State::SynSent),
        (SECOND + 12 * MS, State::Established),
        (9 * SECOND, State::FinWait1),
        (10 * SECOND, State::Closing),
        (10 * SECOND, State::Closed),
    ];
    let closed = walk(connected(), 59, &path);
    let open = walk(connected(), 60, &path[..2]);
    let listener = Connection {
        role: Role::Listener,
        remote: endpoint("::", 0),
        steps: vec![
            Step {
                state: State::Closed,
                since_ns: None,
            },
            Step {
                state: State::Listen,
                since_ns: Some(CLOCK.mono_ns + SECOND),
            },
        ],
        ..walk(server(), 61, &[])
    };
    let unknown = Connection {
        from_birth: false,
        gap: Gap::Certain,
        role: Role::Unknown,
        owner: NOBODY,
        owner_process: OwnerProcess::default(),
        steps: vec![Step {
            state: State::Established,
            since_ns: None,
        }],
        ..connected()
    };
    let unknown = walk(unknown, 62, &[(10 * SECOND, State::CloseWait)]);
    let both = Diagnosis {
        closed_by: Some(ClosedBy::Both),
        ..diagnosis(&closed, Verdict::Closed, "both sides sent FIN at once")
    };
    let of_open = diagnosis(&open, Verdict::Open, "");
    let older = walk(older(), 64, &[]);
    let of_older = Diagnosis {
        states: vec![StateSpan {
            state: State::Established,
            since_ns: None,
            duration_ns: Some(10 * SECOND - 3 * MS),
            is_minimum: true,
            evidence: SpanEvidence::Polled,
            expected_ns: None,
            within_ns: None,
        }],
        ..diagnosis(&older, Verdict::Open, "in ESTABLISHED")
    };
    let polled = with_polled_time_wait(&closed);
    [
        (closed.clone(), both, Ending::Closed),
        (open, of_open, Ending::StillOpen),
        (older, of_older, Ending::StillOpen),
        (
            listener.clone(),
            diagnosis(&listener, Verdict::Listener, ""),
            Ending::StillOpen,
        ),
        (
            unknown.clone(),
            diagnosis(&unknown, Verdict::Unknown, "its end was not seen"),
            Ending::EndUnseen,
        ),
        (
            Connection {
                id: ConnId(63),
                ..closed
            },
            polled,
            Ending::Closed,
        ),
    ]
}

/// The same closing with its `TIME_WAIT` seen by polling.
fn with_polled_time_wait(closed: &Connection) -> Diagnosis {
    let mut diagnosis = diagnosis(closed, Verdict::Closed, "both sides sent FIN at once");
    let socket_closed = diagnosis.states.pop();
    diagnosis.states.extend(socket_closed.map(|at| StateSpan {
        state: State::TimeWait,
        duration_ns: Some(60 * SECOND),
        is_minimum: false,
        evidence: SpanEvidence::Polled,
        ..at
    }));
    diagnosis.states.push(inferred(State::Closed, None));
    diagnosis
}

/// What is known of `refused_life` at its end.
pub(crate) fn refused(conn: &Connection) -> Diagnosis {
    Diagnosis {
        syn_retransmits: Some(0),
        bytes_sent: Some(0),
        bytes_received: Some(0),
        hints: vec![Hint {
            name: "refused",
            text: "the peer answered the SYN with a reset: likely nothing listens there".to_owned(),
            advice: "on the peer: does anything listen there",
            check: Some("ss -ltnp".to_owned()),
        }],
        ..diagnosis(
            conn,
            Verdict::Refused,
            "the peer answered the SYN with a reset",
        )
    }
}
