//! Runs of any size, the same each time, with all that a report has to show.

use bytes::BytesMut;
use tracer::diagnose::{ClosedBy, Diagnosis, SpanEvidence, StateSpan, Verdict};
use tracer::event::Comm;
use tracer::hints::{self, STUCK_AFTER_NS, Told};
use tracer::render::{Render, Report};
use tracer::session::{ClockMap, Lost, Session, Totals, Verdicts};
use tracer::state::State;
use tracer::track::{ConnId, Connection, Ending, Gap, OwnerSource};

use crate::samples::outcomes::{diagnosis, inferred};
use crate::samples::{
    CLOCK, MS, NOBODY, SECOND, client, endpoint, owner, server, session, step, stuck,
};

/// What a renderer is told at the end of a connection.
pub(crate) type Outcome = (Connection, Diagnosis, Ending);

/// How long the runs of this module take.
const DURATION_NS: u64 = 120 * SECOND;

/// `SplitMix64`: numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % below
    }

    /// Durations over three powers of ten, the short ones oftener.
    fn duration(&mut self, least_ns: u64) -> u64 {
        let power = 10_u64.pow(u32::try_from(self.roll(3)).unwrap());
        least_ns * power + self.roll(9 * least_ns * power)
    }

    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[usize::try_from(self.roll(list.len() as u64)).unwrap()]
    }
}

const CLIENTS: [(&str, u32); 6] = [
    ("curl", 4711),
    ("python3", 812),
    ("java", 1290),
    ("node", 3321),
    ("prometheus", 977),
    ("backup-agent", 20_114),
];
const SERVERS: [(&str, u32, u16); 3] = [
    ("nginx", 24_858, 443),
    ("haproxy", 511, 8080),
    ("sshd", 733, 22),
];
const PEERS: [(&str, u16); 6] = [
    ("10.1.0.17", 5432),
    ("10.1.0.18", 6379),
    ("93.184.215.14", 443),
    ("2001:db8:0:12::80", 443),
    ("10.1.4.2", 9200),
    ("192.0.2.44", 8443),
];

/// A run of so many connections, told to a report; the page.
pub(crate) fn page(connections: u64) -> String {
    let outcomes: Vec<_> = listeners().chain(connections_of(connections)).collect();
    let losses = [(60 * SECOND, 41), (61 * SECOND, 7)];
    write(Report::default(), &session(), &outcomes, &losses)
}

/// A run without a loss of these connections.
pub(crate) fn page_of(outcomes: &[Outcome]) -> String {
    write(Report::default(), &session(), outcomes, &[])
}

/// A run by a given report. `losses`: when, and how many transitions.
pub(crate) fn write(
    mut report: Report,
    session: &Session,
    outcomes: &[Outcome],
    losses: &[(u64, u64)],
) -> String {
    let mut out = BytesMut::new();
    report.start(&mut out, session);
    let mut totals = Totals {
        verdicts: Verdicts::default(),
        duration_ns: DURATION_NS,
        connections: outcomes.len() as u64,
        ..Totals::default()
    };
    for (conn, diagnosis, ending) in outcomes {
        totals.verdicts.add(diagnosis.verdict);
        totals.events += conn.steps.len() as u64 - 1;
        let conn = &begin(&mut report, &mut out, conn);
        let judged = Diagnosis {
            hints: hints::at_end(conn, *ending, diagnosis, STUCK_AFTER_NS),
            ..diagnosis.clone()
        };
        report.ended(&mut out, &CLOCK, conn, &judged, *ending, conn.as_of_ns);
    }
    totals.shown = totals.events;
    for &(at_ns, ring_full) in losses {
        let lost = Lost {
            ring_full,
            ..Lost::default()
        };
        report.lost(&mut out, &CLOCK, CLOCK.mono_ns + at_ns, &lost);
        totals.lost = totals.lost.plus(&lost);
    }
    let end_ns = CLOCK.mono_ns + DURATION_NS;
    let stepped = ClockMap {
        mono_ns: end_ns,
        wall_ns: CLOCK.wall_ns(end_ns) + 1_500_000_000,
    };
    let about_one = stuck();
    let about_many = Told {
        conn: None,
        ..about_one.clone()
    };
    for told in [about_one, about_many] {
        report.hint(&mut out, &CLOCK, &told);
    }
    assert!(out.is_empty(), "the page is written at the end");
    report.clock_changed(&mut out, &stepped);
    report.end(&mut out, &stepped, end_ns, &totals);
    String::from_utf8(out.to_vec()).unwrap()
}

/// Tells the first transition. In the tracker's steps there is no state before it, as in the samples'.
fn begin(report: &mut Report, out: &mut BytesMut, conn: &Connection) -> Connection {
    let mut conn = conn.clone();
    if !conn.from_birth || conn.steps.len() < 2 {
        return conn;
    }
    let since_ns = conn.steps[1].since_ns.unwrap();
    let mut newborn = Connection {
        steps: vec![conn.steps.remove(0)],
        ..conn.clone()
    };
    let first = step(&mut newborn, since_ns - CLOCK.mono_ns, conn.steps[0].state);
    newborn.steps.remove(0);
    report.transition(out, &CLOCK, &newborn, &first);
    conn
}

fn listeners() -> impl Iterator<Item = Outcome> {
    SERVERS.iter().zip(1..).map(|(&(comm, pid, port), id)| {
        let mut conn = Connection {
            id: ConnId(id),
            local: endpoint("::", port),
            remote: endpoint("::", 0),
            role: tracer::track::Role::Listener,
            owner: owner(comm, pid, OwnerSource::Listen),
            ..client()
        };
        step(&mut conn, id * SECOND, State::Listen);
        conn.as_of_ns = CLOCK.mono_ns + DURATION_NS;
        let judged = diagnosis(&conn, Verdict::Listener, "");
        (conn, judged, Ending::StillOpen)
    })
}

pub(crate) fn connections_of(count: u64) -> impl Iterator<Item = Outcome> {
    let mut dice = Dice(42);
    (0..count).map(move |index| {
        let id = ConnId(10 + index);
        // A database is away for ten seconds.
        let at_ns = if dice.roll(12) == 0 {
            60 * SECOND + dice.roll(10 * SECOND)
        } else {
            dice.roll(DURATION_NS - 2 * SECOND)
        };
        let away = (60 * SECOND..70 * SECOND).contains(&at_ns) && dice.roll(2) == 0;
        let kind = if away { 0 } else { dice.roll(1000) };
        match kind {
            0..25 => refused(&mut dice, id, at_ns),
            25..40 => timed_out(&mut dice, id, at_ns),
            40..52 => reset_by_peer(&mut dice, id, at_ns),
            52..60 => reset_by_us(&mut dice, id, at_ns),
            60..66 => cancelled(&mut dice, id, at_ns),
            66..70 => unreachable(&mut dice, id, at_ns),
            70..75 => unknown(&mut dice, id, at_ns),
            75..80 => leaked(&mut dice, id, at_ns),
            80..95 => open(&mut dice, id, at_ns),
            95..350 => served(&mut dice, id, at_ns),
            _ => closed(&mut dice, id, at_ns),
        }
    })
}

fn from(dice: &mut Dice, id: ConnId) -> Connection {
    let (comm, pid) = dice.of(&CLIENTS);
    let (addr, port) = dice.of(&PEERS);
    let local = if addr.contains(':') {
        "2001:db8::17"
    } else {
        "192.168.1.17"
    };
    Connection {
        id,
        sk: 0xffff_8881_0000_0000 + id.0 * 0x1000,
        local: endpoint(local, u16::try_from(32_768 + dice.roll(28_000)).unwrap()),
        remote: endpoint(addr, port),
        owner: owner(comm, pid, OwnerSource::Connect),
        ..client()
    }
}

/// Moves a connection along a path of pauses and states; yields when the last began.
fn walk(conn: &mut Connection, mut at_ns: u64, path: &[(u64, State)]) -> u64 {
    for &(pause_ns, state) in path {
        at_ns += pause_ns;
        step(conn, at_ns, state);
    }
    conn.as_of_ns = CLOCK.mono_ns + at_ns;
    at_ns
}

fn still_open(conn: Connection, verdict: Verdict, because: &str) -> Outcome {
    let conn = Connection {
        as_of_ns: CLOCK.mono_ns + DURATION_NS,
        ..conn
    };
    let judged = diagnosis(&conn, verdict, because);
    (conn, judged, Ending::StillOpen)
}

fn refused(dice: &mut Dice, id: ConnId, at_ns: u64) -> Outcome {
    let mut conn = from(dice, id);
    conn.remote = endpoint("10.1.0.17", 5432);
    walk(
        &mut conn,
        at_ns,
        &[(0, State::SynSent), (dice.duration(50_000), State::Closed)],
    );
    let judged = Diagnosis {
        syn_retransmits: Some(0),
        ..diagnosis(
            &conn,
            Verdict::Refused,
            "the peer answered the SYN with a reset",
        )
    };
    (conn, judged, Ending::Closed)
}

fn timed_out(dice: &mut Dice, id: ConnId, at_ns: u64) -> Outcome {
    let mut conn = from(dice, id);
    conn.remote = endpoint("192.0.2.44", 8443);
    let syns = 3;
    let because = "SYN sent 4 times, never answered";
    if at_ns + 8 * SECOND > DURATION_NS {
        walk(&mut conn, at_ns, &[(0, State::SynSent)]);
        return still_open(conn, Verdict::Open, "");
    }
    walk(
        &mut conn,
        at_ns,
        &[(0, State::SynSent), (7 * SECOND, State::Closed)],
    );
    let judged = Diagnosis {
        syn_retransmits: Some(syns),
        ..diagnosis(&conn, Verdict::TimedOut, because)
    };
    (conn, judged, Ending::Closed)
}

fn unreachable(dice: &mut Dice, id: ConnId, at_ns: u64) -> Outcome {
    let mut conn = from(dice, id);
    walk(
        &mut conn,
        at_ns,
        &[(0, State::SynSent), (3 * MS, State::Closed)],
    );
    let judged = diagnosis(
        &conn,
        Verdict::Unreachable,
        "no route to host (EHOSTUNREACH)",
    );
    (conn, judged, Ending::Closed)
}

fn cancelled(dice: &mut Dice, id: ConnId, at_ns: u64) -> Outcome {
    let mut conn = from(dice, id);
    walk(
        &mut conn,
        at_ns,
        &[(0, State::SynSent), (SECOND, State::Closed)],
    );
    let because = "SYN sent 2 times, given up by the application";
    let judged = diagnosis(&conn, Verdict::Cancelled, because);
    (conn, judged, Ending::Closed)
}

fn established(dice: &mut Dice, conn: &mut Connection, at_ns: u64) -> u64 {
    walk(
        conn,
        at_ns,
        &[
            (0, State::SynSent),
            (dice.duration(80_000), State::Established),
        ],
    )
}

fn reset_by_peer(dice: &mut Dice, id: ConnId, at_ns: u64) -> Outcome {
    let mut conn = from(dice, id);
    let at_ns = established(dice, &mut conn, at_ns);
    walk(&mut conn, at_ns, &[(dice.duration(4 * MS), State::Closed)]);
    let judged = Diagnosis {
        closed_by: Some(ClosedBy::Remote),
        ..diagnosis(
            &conn,
            Verdict::ResetByPeer,
            "a reset arrived in ESTABLISHED",
        )
    };
    (conn, judged, Ending::Closed)
}

fn reset_by_us(dice: &mut Dice, id: ConnId, at_ns: u64) -> Outcome {
    let mut conn = from(dice, id);
    let at_ns = established(dice, &mut conn, at_ns);
    walk(&mut conn, at_ns, &[(dice.duration(9 * MS), State::Closed)]);
    let judged = Diagnosis {
        closed_by: Some(ClosedBy::Local),
        reset_reason: Some("TCP_ABORT_ON_CLOSE".to_owned()),
        ..diagnosis(&conn, Verdict::ResetByUs, "closed with unread data")
    };
    (conn, judged, Ending::Closed)
}

fn unknown(dice: &mut Dice, id: ConnId, at_ns: u64) -> Outcome {
    let mut conn = Connection {
        owner: NOBODY,
        from_birth: false,
        gap: Gap::Certain,
        role: tracer::track::Role::Unknown,
        ..from(dice, id)
    };
    conn.steps[0].state = State::Established;
    walk(&mut conn, at_ns, &[(0, State::CloseWait)]);
    let judged = diagnosis(&conn, Verdict::Unknown, "its end was not seen");
    (conn, judged, Ending::EndUnseen)
}

fn leaked(dice: &mut Dice, id: ConnId, at_ns: u64) -> Outcome {
    let mut conn = from(dice, id);
    conn.owner.comm = Some(Comm::from("java"));
    conn.remote = endpoint("10.1.4.2", 9200);
    let at_ns = established(dice, &mut conn, at_ns);
    walk(
        &mut conn,
        at_ns,
        &[(dice.duration(2 * MS), State::CloseWait)],
    );
    still_open(conn, Verdict::Open, "")
}

fn open(dice: &mut Dice, id: ConnId, at_ns: u64) -> Outcome {
    let mut conn = from(dice, id);
    established(dice, &mut conn, at_ns);
    still_open(conn, Verdict::Open, "")
}

/// Out of a listener; the client closes first.
fn served(dice: &mut Dice, id: ConnId, at_ns: u64) -> Outcome {
    let (comm, pid, port) = dice.of(&SERVERS);
    let client = format!("2001:db8:1::{:x}", dice.roll(4000) + 1);
    let mut conn = Connection {
        id,
        local: endpoint("2001:db8::80", port),
        remote: endpoint(&client, u16::try_from(32_768 + dice.roll(28_000)).unwrap()),
        owner: owner(comm, pid, OwnerSource::Accept),
        ..server()
    };
    let half_open_ns = dice.duration(60_000);
    let path = [
        (half_open_ns, State::SynReceived),
        (5_000, State::Established),
        (dice.duration(3 * MS), State::CloseWait),
        (dice.duration(20_000), State::LastAck),
        (dice.duration(60_000), State::Closed),
    ];
    walk(&mut conn, at_ns, &path);
    let mut judged = Diagnosis {
        closed_by: Some(ClosedBy::Remote),
        bytes_sent: Some(dice.duration(900)),
        bytes_received: Some(dice.duration(90)),
        ..diagnosis(
            &conn,
            Verdict::Closed,
            "both sides sent FIN, the peer first",
        )
    };
    if let Some(half_open) = judged.states.first_mut() {
        half_open.since_ns = half_open.since_ns.map(|ns| ns - half_open_ns);
        half_open.duration_ns = half_open.duration_ns.map(|ns| ns + half_open_ns);
        half_open.evidence = SpanEvidence::Inferred;
    }
    (conn, judged, Ending::Closed)
}

/// A client that closes first; its `TIME_WAIT` is seen by polling at times.
fn closed(dice: &mut Dice, id: ConnId, at_ns: u64) -> Outcome {
    let mut conn = from(dice, id);
    let at_ns = established(dice, &mut conn, at_ns);
    let path = [
        (dice.duration(3 * MS), State::FinWait1),
        (dice.duration(60_000), State::FinWait2),
        (4_000, State::Closed),
    ];
    walk(&mut conn, at_ns, &path);
    let mut judged = Diagnosis {
        closed_by: Some(ClosedBy::Local),
        retransmits: Some(u32::from(dice.roll(9) == 0)),
        bytes_sent: Some(dice.duration(90)),
        bytes_received: Some(dice.duration(900)),
        rtt_us: Some(u32::try_from(dice.duration(80)).unwrap()),
        ..diagnosis(
            &conn,
            Verdict::Closed,
            "both sides sent FIN, this side first",
        )
    };
    let socket_closed = judged.states.pop().unwrap();
    judged.states.push(
        if dice.roll(3) == 0 && conn.as_of_ns + 60 * SECOND < CLOCK.mono_ns + DURATION_NS {
            StateSpan {
                state: State::TimeWait,
                duration_ns: Some(60 * SECOND),
                evidence: SpanEvidence::Polled,
                ..socket_closed
            }
        } else {
            inferred(State::TimeWait, Some(60 * SECOND))
        },
    );
    judged.states.push(inferred(State::Closed, None));
    (conn, judged, Ending::Closed)
}
