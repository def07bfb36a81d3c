//! Connections of every shape, as the tracker would report them.

use std::sync::Arc;

use bytes::BytesMut;
use jiff::tz::{Offset, TimeZone};
use tracer::event::{
    AtClose, Comm, Congestion, Endpoint, Family, Process, Protocol, Segments, StateEvent,
};
use tracer::hints::{Hint, Stay, Told};
use tracer::place::Place;
use tracer::render::{Format, Render, RenderOptions, Renderer};
use tracer::session::{
    ClockMap, HookReport, HookStatus, Lost, Missing, Session, SnapshotReport, SnapshotStatus,
    Totals, Verdicts,
};
use tracer::state::{Names, State};
use tracer::track::{
    ConnId, Connection, Continued, Ending, Gap, Gathered, Legality, Owner, OwnerProcess,
    OwnerSource, Role, Step, Transition,
};

pub(crate) mod outcomes;
use outcomes::Outcome;

pub(crate) const MS: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1_000 * MS;

/// 2026-03-01 12:00:00 UTC at 1000 s of uptime.
pub(crate) const CLOCK: ClockMap = ClockMap {
    mono_ns: 1_000 * SECOND,
    wall_ns: 1_772_366_400_000_000_000,
};

pub(crate) fn session() -> Session {
    Session {
        tracer_version: "0.1.0".to_owned(),
        host: "web-1".to_owned(),
        kernel: "6.18.5".to_owned(),
        arch: "x86_64".to_owned(),
        boot_id: Some("3e0bd1d4-5c2f-4a55-9c3e-0a0f6a1f9a11".to_owned()),
        clock: CLOCK,
        filters: vec![("port".to_owned(), "80,443".to_owned())],
        hooks: vec![
            HookReport {
                name: "raw_tracepoint:inet_sock_set_state".to_owned(),
                purpose: "state transitions".to_owned(),
                status: HookStatus::Attached,
            },
            HookReport {
                name: "tracepoint:sock:inet_sock_set_state".to_owned(),
                purpose: "state transitions".to_owned(),
                status: HookStatus::NotNeeded,
            },
            HookReport {
                name: "tracepoint:syscalls:sys_exit_accept4".to_owned(),
                purpose: "owner of accepted sockets".to_owned(),
                status: HookStatus::Unavailable("no syscall tracepoints in this kernel".to_owned()),
            },
        ],
        missing_fields: vec![("netns".to_owned(), "no kernel BTF".to_owned())],
        snapshot: SnapshotReport {
            status: SnapshotStatus::Partial,
            sockets: 41,
            namespaces: 2,
            duration_ns: 3_100_000,
            missing: vec![(
                "owners".to_owned(),
                "3 processes cannot be looked at".to_owned(),
            )],
        },
    }
}

pub(crate) fn endpoint(addr: &str, port: u16) -> Endpoint {
    Endpoint {
        addr: addr.parse().unwrap(),
        port,
    }
}

pub(crate) fn owner(comm: &str, pid: u32, source: OwnerSource) -> Owner {
    Owner {
        pid: Some(pid),
        comm: Some(Comm::from(comm)),
        source,
    }
}

/// A container of Docker.
const CONTAINER: &str = "/system.slice/docker-\
    3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope";

pub(crate) fn process(uid: u32, ns_pid: u32, cgroup: &str) -> OwnerProcess {
    OwnerProcess {
        ns_pid: Some(ns_pid),
        uid: Some(uid),
        place: Some(Arc::new(Place::from_path(cgroup))),
    }
}

pub(crate) const NOBODY: Owner = Owner {
    pid: None,
    comm: None,
    source: OwnerSource::Unknown,
};

/// A client's connection before its first transition.
pub(crate) fn client() -> Connection {
    Connection {
        id: ConnId(1),
        sk: 0xffff_8881_0a3c_c000,
        netns: Some(4_026_531_840),
        family: Family::Inet,
        protocol: Protocol::Tcp,
        local: endpoint("192.168.1.17", 0),
        remote: endpoint("93.184.215.14", 443),
        role: Role::Client,
        owner: owner("curl", 1234, OwnerSource::Connect),
        owner_process: process(1000, 7, CONTAINER),
        steps: vec![Step {
            state: State::Closed,
            since_ns: None,
        }],
        from_birth: true,
        gap: Gap::None,
        in_doubt: false,
        holders: None,
        socket_place: None,
        listed_ns: None,
        as_of_ns: CLOCK.mono_ns,
        evidence: Gathered::default(),
    }
}

/// A connection out of a listener, before its first transition.
pub(crate) fn server() -> Connection {
    Connection {
        id: ConnId(2),
        sk: 0xffff_8881_0a3c_d000,
        family: Family::Inet6,
        local: endpoint("2001:db8::80", 443),
        remote: endpoint("2001:db8:1:2:3:4:5:6", 51_034),
        role: Role::Server,
        owner: owner("nginx", 77, OwnerSource::Listener),
        owner_process: process(33, 77, "/system.slice/nginx.service"),
        steps: vec![Step {
            state: State::Listen,
            since_ns: None,
        }],
        ..client()
    }
}

/// Moves a connection on, as the tracker does.
pub(crate) fn step(conn: &mut Connection, at_ns: u64, to: State) -> Transition {
    step_as(conn, at_ns, to, Legality::Rfc)
}

/// The same for a transition that is not the RFC's.
pub(crate) fn step_as(
    conn: &mut Connection,
    at_ns: u64,
    to: State,
    legality: Legality,
) -> Transition {
    let last = *conn.steps.last().unwrap();
    let listed_ns = conn.listed_ns.filter(|_| conn.steps.len() == 1);
    let mono_ns = CLOCK.mono_ns + at_ns;
    conn.steps.push(Step {
        state: to,
        since_ns: Some(mono_ns),
    });
    Transition {
        event: StateEvent {
            mono_ns,
            sk: conn.sk,
            netns: conn.netns,
            family: conn.family,
            protocol: conn.protocol,
            local: conn.local,
            remote: conn.remote,
            from: last.state,
            to,
            local_port_known: conn.local.port != 0,
            task: None,
            counts: None,
            at_close: None,
            from_twin: false,
        },
        in_state_ns: last.since_ns.or(listed_ns).map(|ns| mono_ns - ns),
        since_listed: listed_ns.is_some(),
        legality,
        after_gap: false,
    }
}

/// A client that closes first, transition by transition.
pub(crate) fn client_life() -> Vec<(Connection, Transition)> {
    let mut conn = client();
    let mut life = Vec::new();
    let path = [
        (123_456, State::SynSent),
        (12_163_456, State::Established),
        (1_215_200_000, State::FinWait1),
        (1_227_300_000, State::FinWait2),
        (1_227_306_789, State::Closed),
    ];
    for (at_ns, to) in path {
        let transition = step(&mut conn, at_ns, to);
        conn.local.port = 43_210;
        life.push((conn.clone(), transition));
    }
    if let Some((closed, _)) = life.last_mut() {
        closed.evidence.at_close = Some(at_close(1000, Congestion::Open));
        closed.socket_place = closed.owner_process.place.clone();
    }
    life
}

/// A socket at its end.
pub(crate) fn at_close(uid: u32, congestion: Congestion) -> AtClose {
    AtClose {
        fin_received: None,
        uid: Some(uid),
        cgroup_id: Some(4242),
        segments: Some(Segments {
            sent: 8,
            received: 7,
            data_sent: 2,
            data_received: 4,
        }),
        congestion: Some(congestion),
    }
}

/// A server whose client closes first: accepted after the handshake.
pub(crate) fn server_life() -> Vec<(Connection, Transition)> {
    let mut conn = server();
    let mut life = Vec::new();
    let path = [
        (2_000_000, State::SynReceived),
        (2_005_100, State::Established),
        (3 * SECOND, State::CloseWait),
        (3 * SECOND + 40 * MS, State::LastAck),
        (3 * SECOND + 40 * MS + 35_000, State::Closed),
    ];
    for (at_ns, to) in path {
        let transition = step(&mut conn, at_ns, to);
        if to == State::CloseWait {
            conn.owner.source = OwnerSource::Accept;
        }
        life.push((conn.clone(), transition));
    }
    life
}

/// A client that nobody listens for.
fn refused_life() -> Vec<(Connection, Transition)> {
    let mut conn = Connection {
        id: ConnId(3),
        remote: endpoint("10.0.0.1", 8080),
        ..client()
    };
    let mut life = Vec::new();
    for (at_ns, to) in [
        (3 * SECOND + 500 * MS, State::SynSent),
        (3 * SECOND + 500 * MS + 210_000, State::Closed),
    ] {
        let transition = step(&mut conn, at_ns, to);
        conn.local.port = 43_212;
        life.push((conn.clone(), transition));
    }
    life
}

/// A server that does not close, told of while the trace goes on.
pub(crate) fn stuck() -> Told {
    let conn = Connection {
        id: ConnId(4),
        owner: owner("nginx", 77, OwnerSource::Accept),
        ..server()
    };
    let text = "CLOSE_WAIT for 2.000s: peer closed, pid 77 has not; likely a leak or a hang";
    Told {
        hint: Hint {
            name: "close_wait",
            text: text.to_owned(),
            advice: "why the application here does not close",
            check: Some("ls /proc/77/fd | wc -l".to_owned()),
        },
        mono_ns: CLOCK.mono_ns + 3 * SECOND + 700 * MS,
        conn: Some((conn.id, conn.sk)),
        netns: conn.netns,
        family: Some(conn.family),
        protocol: conn.protocol,
        role: conn.role,
        owner: conn.owner,
        local: Some(conn.local),
        remote: Some(conn.remote),
        stay: Some(Stay {
            state: State::CloseWait,
            since_ns: CLOCK.mono_ns + SECOND + 700 * MS,
            lasted_ns: 2 * SECOND,
            is_minimum: true,
            began_before: false,
            is_over: false,
        }),
        count: None,
        limit: None,
    }
}

/// A client's connection whose port is chosen.
fn connected() -> Connection {
    Connection {
        local: endpoint("192.168.1.17", 43_210),
        ..client()
    }
}

/// One transition each of the shapes that are easily got wrong.
pub(crate) fn oddities() -> Vec<(Connection, Transition)> {
    let mut list = Vec::from(odd_sockets());
    list.extend(odd_states());
    list.extend(odd_names());
    list.extend(odd_pasts());
    list
}

fn odd(mut conn: Connection, to: State, legality: Legality) -> (Connection, Transition) {
    let transition = step_as(&mut conn, 5 * SECOND, to, legality);
    (conn, transition)
}

fn in_state(state: State) -> Vec<Step> {
    let since_ns = Some(CLOCK.mono_ns + SECOND);
    vec![Step { state, since_ns }]
}

fn unseen(state: State) -> Vec<Step> {
    vec![Step {
        state,
        since_ns: None,
    }]
}

fn odd_sockets() -> [(Connection, Transition); 4] {
    let mapped = Connection {
        id: ConnId(10),
        family: Family::Inet6,
        local: endpoint("::ffff:192.168.1.17", 80),
        remote: endpoint("::ffff:1.2.3.4", 40_000),
        steps: in_state(State::Established),
        owner: Owner {
            comm: None,
            ..owner("", 4_194_304, OwnerSource::Close)
        },
        ..server()
    };
    let listener = Connection {
        id: ConnId(11),
        local: endpoint("::", 443),
        remote: endpoint("::", 0),
        role: Role::Listener,
        steps: unseen(State::Closed),
        owner: owner("nginx", 77, OwnerSource::Listen),
        ..server()
    };
    let mptcp = Connection {
        id: ConnId(13),
        protocol: Protocol::Mptcp,
        steps: in_state(State::FinWait2),
        ..connected()
    };
    let sctp = Connection {
        id: ConnId(14),
        family: Family::Other(1),
        protocol: Protocol::Other(132),
        steps: in_state(State::from_kernel(17)),
        netns: None,
        ..connected()
    };
    [
        odd(mapped, State::CloseWait, Legality::Rfc),
        odd(listener, State::Listen, Legality::Rfc),
        odd(mptcp, State::Closed, Legality::Rfc),
        odd(sctp, State::from_kernel(i32::MIN), Legality::Unexpected),
    ]
}

/// One that was there before, held by several processes, and of which no event has come.
pub(crate) fn older() -> Connection {
    let holder = |pid| Process {
        pid,
        comm: Comm::from("nginx"),
    };
    Connection {
        sk: 0,
        owner: owner("nginx", 812, OwnerSource::Snapshot),
        holders: Some(Arc::new(vec![holder(812), holder(813), holder(814)])),
        steps: unseen(State::Established),
        from_birth: false,
        listed_ns: Some(CLOCK.mono_ns + 3 * MS),
        ..server()
    }
}

fn odd_states() -> [(Connection, Transition); 3] {
    let both = Connection {
        id: ConnId(15),
        role: Role::Both,
        steps: in_state(State::SynReceived),
        ..connected()
    };
    let closing = Connection {
        id: ConnId(16),
        steps: in_state(State::Closing),
        ..connected()
    };
    let why = Legality::Linux("not shown beside the other note");
    let older = Connection {
        id: ConnId(17),
        sk: server().sk,
        ..older()
    };
    [
        odd(both, State::Established, Legality::Rfc),
        odd(closing, State::Closed, why),
        odd(older, State::CloseWait, Legality::Rfc),
    ]
}

fn odd_names() -> [(Connection, Transition); 5] {
    let names: [(u64, &[u8]); 5] = [
        (20, b"\x1b[2J\x1b]0;x\x07"),
        (21, b"a\nb\r\tc,\"d\""),
        (22, b"=cmd|'/C calc'!"),
        (23, b"\xff\xfe\xe2\x80\xaegnp"),
        (24, "日本語".as_bytes()),
    ];
    names.map(|(id, name)| {
        let mut comm = [0; 16];
        comm.iter_mut().zip(name).for_each(|(to, from)| *to = *from);
        let mut conn = Connection {
            id: ConnId(id),
            steps: in_state(State::Established),
            ..connected()
        };
        conn.owner.comm = Some(Comm(comm));
        odd(conn, State::FinWait1, Legality::Rfc)
    })
}

fn odd_pasts() -> [(Connection, Transition); 3] {
    let mid_life = Connection {
        id: ConnId(12),
        role: Role::Unknown,
        owner: NOBODY,
        owner_process: OwnerProcess::default(),
        steps: unseen(State::Established),
        from_birth: false,
        ..connected()
    };
    // Connects again on a socket that still holds the port of an earlier connection.
    let again = Connection {
        id: ConnId(29),
        steps: unseen(State::Closed),
        ..connected()
    };
    let gap = Connection {
        id: ConnId(30),
        steps: in_state(State::CloseWait),
        gap: Gap::Certain,
        ..connected()
    };
    let mut again = odd(again, State::SynSent, Legality::Rfc);
    again.1.event.local_port_known = false;
    let mut gap = odd(gap, State::LastAck, Legality::Linux("the text says why"));
    gap.1.after_gap = true;
    gap.1.in_state_ns = None;
    gap.1.event.from_twin = true;
    [odd(mid_life, State::CloseWait, Legality::Rfc), again, gap]
}

pub(crate) const LOST: Lost = Lost {
    ring_full: 10,
    reentry: 2,
    unreadable: 0,
    undecodable: 0,
    damaged: 0,
    evidence: 0,
};

fn totals() -> Totals {
    Totals {
        events: 12,
        shown: 12,
        connections: 3,
        unchanged: 0,
        aged_out: 0,
        recovered: 0,
        hints: 1,
        unwatched: 0,
        verdicts: Verdicts {
            closed: 2,
            refused: 1,
            ..Verdicts::default()
        },
        lost: LOST,
        missing: Missing::default(),
        duration_ns: 4 * SECOND,
    }
}

pub(crate) fn options(color: bool) -> RenderOptions {
    RenderOptions {
        names: Names::Documented,
        color,
        time_zone: TimeZone::fixed(Offset::from_hours(2).unwrap()),
        width: None,
    }
}

/// What a renderer writes of transitions alone.
pub(crate) fn transitions(
    format: Format,
    color: bool,
    list: &[(Connection, Transition)],
) -> String {
    let mut renderer = Renderer::new(format, options(color));
    let mut out = BytesMut::new();
    for (conn, transition) in list {
        renderer.transition(&mut out, &CLOCK, conn, transition);
    }
    String::from_utf8(out.to_vec()).unwrap()
}

/// What a renderer writes of the ends of connections alone.
pub(crate) fn ended(format: Format, color: bool, list: &[Outcome]) -> String {
    let mut renderer = Renderer::new(format, options(color));
    let mut out = BytesMut::new();
    for (conn, diagnosis, ending) in list {
        let now_ns = CLOCK.mono_ns + 10 * SECOND;
        renderer.ended(&mut out, &CLOCK, conn, diagnosis, *ending, now_ns);
    }
    String::from_utf8(out.to_vec()).unwrap()
}

/// What follows the last transition of a client that closes first.
pub(crate) fn time_wait(last: &Transition) -> Continued {
    let later_ns = 250_000_000;
    Continued {
        mono_ns: last.event.mono_ns + later_ns,
        from: State::FinWait2,
        to: State::TimeWait,
        in_state_ns: last.in_state_ns.map(|ns| ns + later_ns),
        polled_within_ns: None,
    }
}

/// What a renderer writes of a run with everything that can happen in one.
pub(crate) fn whole_run(format: Format, color: bool) -> String {
    whole_run_by(Renderer::new(format, options(color)), &[])
}

/// The same by any renderer, with some more connections at their end.
pub(crate) fn whole_run_by(renderer: impl Render, more: &[Outcome]) -> String {
    String::from_utf8(whole_run_bytes(renderer, more)).unwrap()
}

/// The same in any format.
pub(crate) fn whole_run_bytes(mut renderer: impl Render, more: &[Outcome]) -> Vec<u8> {
    let mut out = BytesMut::new();
    renderer.start(&mut out, &session());
    for (diagnose, life) in [
        (outcomes::client_closed as fn(&_) -> _, client_life()),
        (outcomes::server_closed, server_life()),
        (outcomes::refused, refused_life()),
    ] {
        for (conn, transition) in &life {
            renderer.transition(&mut out, &CLOCK, conn, transition);
        }
        if let Some((conn, last)) = life.last()
            && last.event.from == State::FinWait2
        {
            renderer.continued(&mut out, &CLOCK, conn, &time_wait(last));
        }
        if let Some((conn, last)) = life.last() {
            let ended_ns = last.event.mono_ns;
            let diagnosis = diagnose(conn);
            renderer.ended(&mut out, &CLOCK, conn, &diagnosis, Ending::Closed, ended_ns);
        }
    }
    renderer.hint(&mut out, &CLOCK, &stuck());
    for (conn, diagnosis, ending) in more {
        renderer.ended(&mut out, &CLOCK, conn, diagnosis, *ending, conn.as_of_ns);
    }
    let now_ns = CLOCK.mono_ns + 4 * SECOND;
    let stepped = ClockMap {
        mono_ns: now_ns,
        wall_ns: CLOCK.wall_ns(now_ns) + 1_500_000_000,
    };
    renderer.clock_changed(&mut out, &stepped);
    renderer.lost(&mut out, &stepped, now_ns, &LOST);
    renderer.end(&mut out, &stepped, now_ns, &totals());
    out.to_vec()
}
