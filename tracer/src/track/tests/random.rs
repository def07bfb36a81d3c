//! What holds for any sequence of events, sensible or not.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

const SOCKETS: u64 = 4;

#[derive(Clone, Debug)]
enum Input {
    State(Draft),
    Accept { socket: u64, pid: u32 },
    Evidence { socket: u64, what: Evidence },
    Polled { port: u16, found: Polled },
    Loss(u64),
    Timeout,
}

#[expect(clippy::large_enum_variant, reason = "most of them are events")]
enum Told {
    Event(Event),
    Loss(u64),
    Timeout(u64),
}

/// A transition, mostly out of the state that its socket is in.
#[derive(Clone, Debug)]
struct Draft {
    socket: u64,
    from: Option<State>,
    to: State,
    local_port: u16,
    remote_port: u16,
    bare: bool,
    local_port_known: bool,
    task: Option<Task>,
    twin: bool,
    netns: Option<u32>,
    protocol: Protocol,
    family: Family,
    jitter_ns: u64,
}

fn state() -> impl Strategy<Value = State> {
    prop_oneof![
        4 => Just(State::Closed),
        2 => Just(State::Established),
        1 => Just(State::Unknown(77)),
        8 => proptest::sample::select(State::ALL.to_vec()),
    ]
}

fn draft() -> impl Strategy<Value = Draft> {
    let family = prop_oneof![
        6 => Just(Family::Inet),
        3 => Just(Family::Inet6),
        1 => Just(Family::Other(3)),
    ];
    (
        (
            0..SOCKETS,
            proptest::option::weighted(0.2, state()),
            state(),
        ),
        (0..3_u16, 0..3_u16, any::<bool>(), any::<bool>()),
        proptest::option::of((1..4_u32, any::<bool>())),
        (
            proptest::bool::weighted(0.2),
            proptest::option::of(1..3_u32),
        ),
        (proptest::bool::weighted(0.2), family, 0..3_u64),
    )
        .prop_map(
            |(
                (socket, from, to),
                (local_port, remote_port, bare, local_port_known),
                by,
                (twin, netns),
                (mptcp, family, jitter),
            )| Draft {
                socket,
                from,
                to,
                local_port,
                remote_port,
                bare,
                local_port_known,
                task: by.map(|(pid, kernel_thread)| Task {
                    kernel_thread: Some(kernel_thread),
                    ..task(&pid.to_string())
                }),
                twin,
                netns,
                protocol: if mptcp {
                    Protocol::Mptcp
                } else {
                    Protocol::Tcp
                },
                family,
                jitter_ns: jitter * 1_000_000,
            },
        )
}

fn evidence() -> impl Strategy<Value = Evidence> {
    prop_oneof![
        proptest::option::of(0..3_u16).prop_map(|local_port| Evidence::Retransmit { local_port }),
        Just(Evidence::ResetReceived),
        proptest::option::of(0..30_u32).prop_map(|reason| Evidence::ResetSent { reason }),
        (0..120_u32, 0..120_u32)
            .prop_map(|(error, soft_error)| Evidence::SocketError { error, soft_error }),
        (0..3_u16).prop_map(|port| Evidence::SynAckRetransmit {
            netns: Some(1),
            local: endpoint("10.0.0.1/1"),
            remote: endpoint(&format!("10.0.0.2/{port}")),
        }),
        (0..3_u16).prop_map(|port| Evidence::RequestBorn {
            netns: Some(1),
            local: endpoint("10.0.0.1/1"),
            remote: endpoint(&format!("10.0.0.2/{port}")),
        }),
        Just(Evidence::Destroyed),
        mini_state().prop_map(|state| Evidence::HandedOver { state }),
        (0..SOCKETS, mini_state()).prop_map(|(mini, state)| Evidence::MiniBorn {
            mini: mini * 64,
            state,
        }),
        mini_state().prop_map(|state| Evidence::MiniTimer { state }),
        mini_state().prop_map(|state| Evidence::MiniEnd { state }),
    ]
}

fn mini_state() -> impl Strategy<Value = State> {
    proptest::sample::select(vec![State::FinWait2, State::TimeWait])
}

fn polled() -> impl Strategy<Value = (u16, Polled)> {
    let mini = (mini_state(), proptest::option::of(0..70_000_000_000_u64));
    let found = prop_oneof![
        Just(Polled::Nothing),
        Just(Polled::Another),
        Just(Polled::NoNamespace),
        Just(Polled::NotKnown),
        mini.prop_map(|(state, timer_ns)| Polled::Mini { state, timer_ns }),
        (0..3_u32).prop_map(|retransmits| Polled::HalfOpen { retransmits }),
    ];
    (0..3_u16, found)
}

fn inputs() -> impl Strategy<Value = Vec<Input>> {
    let input = prop_oneof![
        12 => draft().prop_map(Input::State),
        2 => (0..SOCKETS, 1..4_u32).prop_map(|(socket, pid)| Input::Accept { socket, pid }),
        3 => (0..SOCKETS, evidence()).prop_map(|(socket, what)| Input::Evidence { socket, what }),
        1 => polled().prop_map(|(port, found)| Input::Polled { port, found }),
        1 => (0..3_u64).prop_map(Input::Loss),
        1 => Just(Input::Timeout),
    ];
    proptest::collection::vec(input, 0..120)
}

fn filter() -> impl Strategy<Value = Filter> {
    (
        proptest::sample::select(vec!["", "1", "2", "1-2"]),
        proptest::sample::select(vec!["", "1", "2"]),
        proptest::sample::select(vec!["", "", "1"]),
        proptest::sample::select(vec!["", "10.0.0.1", "10.0.0.0/8", "::/0"]),
        proptest::option::of(1..4_u32),
        proptest::option::of(1..3_u32),
    )
        .prop_map(|(ports, local, remote, prefix, pid, netns)| Filter {
            ports: ports.parse().unwrap_or_default(),
            local_ports: local.parse().unwrap_or_default(),
            remote_ports: remote.parse().unwrap_or_default(),
            prefixes: parse_prefix(prefix).into_iter().collect(),
            pids: pid.into_iter().collect(),
            netns: netns.into_iter().collect(),
            ..Filter::default()
        })
}

/// The events of the inputs, each with a time of its own that need not ascend.
fn events(inputs: &[Input]) -> Vec<Told> {
    let mut states = HashMap::new();
    let place = |addr: &str, port: u16, family: Family, bare: bool| Endpoint {
        addr: match (family, bare) {
            (Family::Inet6, true) => "::".to_owned(),
            (Family::Inet6, false) => format!("::ffff:{addr}"),
            (_, true) => "0.0.0.0".to_owned(),
            (_, false) => addr.to_owned(),
        }
        .parse()
        .unwrap(),
        port,
    };
    inputs
        .iter()
        .zip(1..)
        .map(|(input, index)| match input {
            Input::Loss(lost) => Told::Loss(*lost),
            Input::Timeout => Told::Timeout(index + 21_000_000),
            Input::Accept { socket, pid } => Told::Event(Event::Accept(AcceptEvent {
                mono_ns: index,
                sk: (socket + 1) * 64,
                task: task(&pid.to_string()),
                presumed: pid % 2 == 0,
            })),
            Input::Evidence { socket, what } => Told::Event(Event::Evidence(EvidenceEvent {
                mono_ns: index,
                sk: (socket + 1) * 64,
                what: *what,
            })),
            Input::Polled { port, found } => Told::Event(Event::Polled(PolledEvent {
                took_ns: 0,
                mono_ns: index + 22_000_000,
                seen_ns: index.checked_sub(1000),
                netns: Some(1),
                local: endpoint("10.0.0.1/1"),
                remote: endpoint(&format!("10.0.0.2/{port}")),
                found: *found,
            })),
            Input::State(draft) => {
                let state = states.entry(draft.socket).or_insert(State::Closed);
                let from = draft.from.unwrap_or(*state);
                *state = draft.to;
                Told::Event(Event::State(StateEvent {
                    mono_ns: draft.jitter_ns + index,
                    sk: (draft.socket + 1) * 64,
                    netns: draft.netns,
                    family: draft.family,
                    protocol: draft.protocol,
                    local: place("10.0.0.1", draft.local_port, draft.family, draft.bare),
                    remote: place("10.0.0.2", draft.remote_port, draft.family, draft.bare),
                    from,
                    to: draft.to,
                    local_port_known: draft.local_port_known,
                    task: draft.task,
                    counts: (draft.remote_port == 1).then(|| counts("err:104,re:1,rtt:5")),
                    at_close: None,
                    from_twin: draft.twin,
                }))
            }
        })
        .collect()
}

/// Tells all events to a tracker, and checks its bound at each.
fn run(inputs: &[Input], filter: Filter, max_connections: usize) -> (Log, Stats) {
    let mut story = Story::with(filter.clone(), max_connections);
    story.tracker = Tracker::new(TrackerConfig {
        max_connections,
        filter,
        time_wait: TimeWait::Wait,
        minis: MiniSight {
            births: true,
            ends: true,
            polled: true,
        },
    });
    let mut listened = 0;
    for event in events(inputs) {
        match event {
            Told::Loss(lost) => story.tracker.handle_loss(lost, 0),
            Told::Timeout(now_ns) => story.tracker.handle_timeout(now_ns, &mut story.log),
            Told::Event(event) => {
                story.tracker.handle(&event, &mut story.log);
                listened += u64::from(matches!(event, Event::State(_)));
            }
        }
        assert!(story.tracker.stats().open <= max_connections as u64);
    }
    story.finish();
    let stats = story.tracker.stats();
    assert_eq!(stats.events + stats.duplicates, listened);
    assert!(stats.accepts_unmatched <= stats.accepts);
    assert_eq!(stats.open, 0);
    (story.log, stats)
}

/// Address of what never had a socket; no other socket has it.
const NO_SOCKET: u64 = 0;

/// How many never had a socket.
fn half_open(log: &Log) -> usize {
    let conns = log.ended.values().map(|(conn, _)| conn);
    conns.filter(|conn| conn.sk == NO_SOCKET).count()
}

/// By connection, the times of its transitions, which name the events.
fn by_connection(log: &Log) -> HashMap<ConnId, Vec<u64>> {
    let mut times: HashMap<ConnId, Vec<u64>> = HashMap::new();
    for (conn, transition) in &log.told {
        times
            .entry(conn.id)
            .or_default()
            .push(transition.event.mono_ns);
    }
    times
}

proptest! {
    #[test]
    fn without_a_filter_each_event_is_told_at_once(inputs in inputs(), max in 1..6_usize) {
        let (log, stats) = run(&inputs, Filter::default(), max);
        prop_assert_eq!(log.told.len() as u64, stats.events);
        prop_assert_eq!((stats.held_dropped, stats.undecided), (0, 0));

        let mut order = events(&inputs).into_iter().filter_map(|event| match event {
            Told::Event(Event::State(event)) => Some(event),
            Told::Event(_) | Told::Loss(_) | Told::Timeout(_) => None,
        });
        for (conn, transition) in &log.told {
            prop_assert!(order.any(|event| event == transition.event));
            let entered_ns = conn.steps.last().and_then(|step| step.since_ns);
            prop_assert_eq!(entered_ns, Some(transition.event.mono_ns));
        }

        let mut seen = HashSet::new();
        let first: Vec<u64> = log
            .told
            .iter()
            .filter_map(|(conn, _)| seen.insert(conn.id).then_some(conn.id.0))
            .collect();
        prop_assert!(first.is_sorted());
        prop_assert_eq!(first.len() + half_open(&log), log.ended.len());
        prop_assert_eq!(log.ended.len() as u64, stats.connections);
        let aged = log.ended.values().filter(|(_, ending)| *ending == Ending::AgedOut);
        prop_assert_eq!(aged.count() as u64, stats.aged_out);
    }

    #[test]
    fn durations_are_those_between_the_steps(inputs in inputs()) {
        let (log, _) = run(&inputs, Filter::default(), 3);
        for (conn, transition) in &log.told {
            let before = conn.steps.iter().rev().nth(1);
            let since_ns = before.and_then(|step| step.since_ns);
            prop_assert_eq!(
                transition.in_state_ns,
                since_ns.map(|since_ns| transition.event.mono_ns - since_ns)
            );
            if transition.after_gap {
                prop_assert!(conn.gap == Gap::Certain && since_ns.is_none());
            }
        }
        for (conn, _) in log.ended.values() {
            for pair in conn.steps.windows(2) {
                if let (Some(start_ns), Some(end_ns)) = (pair[0].since_ns, pair[1].since_ns) {
                    prop_assert!(start_ns <= end_ns);
                }
            }
        }
    }

    #[test]
    fn a_filter_selects_whole_connections(inputs in inputs(), filter in filter()) {
        // Room for all: who is forgotten first depends on the filter.
        let max = inputs.len().max(1);
        let (all, all_stats) = run(&inputs, Filter::default(), max);
        let (some, stats) = run(&inputs, filter.clone(), max);
        prop_assert_eq!(stats.connections, all_stats.connections);
        prop_assert_eq!(stats.events, all_stats.events);

        let whole = by_connection(&all);
        let selected = by_connection(&some);
        let mut dropped = 0;
        for (id, times) in &selected {
            dropped += whole[id].len() - times.len();
            prop_assert!(whole[id].ends_with(times), "{:?} of {:?}", times, whole[id]);
        }
        prop_assert!(dropped as u64 <= stats.held_dropped);

        let told: HashSet<_> = selected.keys().copied().collect();
        let ended = some.ended.iter().filter(|(_, (conn, _))| conn.sk != NO_SOCKET);
        prop_assert_eq!(told, ended.map(|(id, _)| *id).collect::<HashSet<_>>());
        for (id, (conn, ending)) in &some.ended {
            prop_assert_eq!(*ending, all.ended[id].1);
            prop_assert_eq!(&conn.steps, &all.ended[id].0.steps);
        }
    }
}
