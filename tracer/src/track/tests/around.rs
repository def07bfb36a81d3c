//! Random machines, of which the list of sockets is read while they are at work: each connection is told
//! once, with its own owner, and nothing is open at the end that is not.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::event::{Process, SocketEvent};

/// When the programs are attached, and the end of the run.
const ATTACHED_NS: u64 = 1_000;
const END_NS: u64 = 400_000_000;

/// One connection's life at an end that others use after it.
#[derive(Clone, Debug)]
struct Life {
    client: bool,
    way: usize,
    /// Before each of its transitions.
    pauses: Vec<u64>,
}

/// All lives at one pair of ends, and when the kernel looks there.
#[derive(Clone, Debug)]
struct Place {
    lives: Vec<Life>,
    asked_after: u64,
    looked_after: u64,
    seen_after: u64,
}

const WAYS: [&[&str]; 5] = [
    &["ES", "F1", "F2", "CL"],
    &["ES", "CW", "LA", "CL"],
    &["ES", "CL"],
    &["CL"],
    &["ES"],
];

fn life() -> impl Strategy<Value = Life> {
    let pauses = proptest::collection::vec(1u64..400, 6);
    (any::<bool>(), 0..WAYS.len(), pauses).prop_map(|(client, way, pauses)| Life {
        client,
        way,
        pauses,
    })
}

fn place() -> impl Strategy<Value = Place> {
    let lives = proptest::collection::vec(life(), 1..5);
    (lives, 0u64..600, 0u64..100, 0u64..100).prop_map(
        |(lives, asked_after, looked_after, seen_after)| Place {
            lives,
            asked_after,
            looked_after,
            seen_after,
        },
    )
}

#[derive(Debug)]
struct Real {
    port: u16,
    pid: u32,
    sk: u64,
    events: Vec<StateEvent>,
    born_ns: u64,
    closed_ns: Option<u64>,
}

impl Real {
    fn state_at(&self, at_ns: u64) -> Option<State> {
        let before = self
            .events
            .iter()
            .take_while(|event| event.mono_ns <= at_ns);
        before
            .last()
            .map(|event| event.to)
            .filter(|state| *state != State::Closed)
    }
}

fn ends(port: u16) -> (Endpoint, Endpoint) {
    (
        endpoint(&format!("10.0.0.1/{port}")),
        endpoint("10.0.0.2/443"),
    )
}

/// The lives one after the other; the next begins when the one before is over.
fn live(place: &Place, index: u16) -> Vec<Real> {
    let port = 100 + index;
    let mut now_ns = 500;
    let mut all = Vec::new();
    for (nth, life) in (0u32..).zip(&place.lives) {
        let pid = u32::from(index) * 10 + nth + 1;
        let sk = 0xffff_8880_0000_0000 + u64::from(pid) * 64;
        let first = if life.client {
            ["CL", "SS"]
        } else {
            ["LI", "SR"]
        };
        let mut way = first.to_vec();
        // A child never closes before it was established.
        way.extend(WAYS[if life.client { life.way } else { life.way % 3 }]);
        let (local, remote) = ends(port);
        let mut events = Vec::new();
        for (pair, pause) in way.windows(2).zip(&life.pauses) {
            now_ns += pause;
            let unbound = pair == ["CL", "SS"];
            events.push(StateEvent {
                mono_ns: now_ns,
                sk,
                netns: Some(1),
                family: Family::Inet,
                protocol: Protocol::Tcp,
                local: Endpoint {
                    port: if unbound { 0 } else { port },
                    ..local
                },
                remote,
                from: state(pair[0]),
                to: state(pair[1]),
                local_port_known: !unbound,
                task: unbound.then(|| task(&pid.to_string())),
                counts: None,
                at_close: None,
                from_twin: false,
            });
        }
        let closed = way.last() == Some(&"CL");
        all.push(Real {
            port,
            pid,
            sk,
            born_ns: events[0].mono_ns,
            closed_ns: closed.then_some(now_ns),
            events,
        });
        if !closed {
            break;
        }
    }
    all
}

fn list(places: &[Place], real: &[Real]) -> Vec<SocketEvent> {
    let mut listed = Vec::new();
    for (index, place) in (0u16..).zip(places) {
        let asked_ns = ATTACHED_NS + place.asked_after;
        let looked_ns = asked_ns + place.looked_after;
        let here = real.iter().filter(|life| life.port == 100 + index);
        for (life, state) in here.filter_map(|life| Some((life, life.state_at(looked_ns)?))) {
            let (local, remote) = ends(life.port);
            listed.push(SocketEvent {
                asked_ns,
                seen_ns: looked_ns + place.seen_after,
                netns: Some(1),
                family: Family::Inet,
                protocol: Protocol::Tcp,
                local,
                remote,
                state,
                has_file: true,
                owners: vec![Process {
                    pid: life.pid,
                    comm: Comm::from("app"),
                }],
            });
        }
    }
    listed
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn each_connection_is_told_once(places in proptest::collection::vec(place(), 1..5)) {
        let real: Vec<Real> = (0u16..)
            .zip(&places)
            .flat_map(|(index, place)| live(place, index))
            .collect();
        let mut events: Vec<&StateEvent> = real
            .iter()
            .flat_map(|life| &life.events)
            .filter(|event| event.mono_ns >= ATTACHED_NS)
            .collect();
        events.sort_by_key(|event| event.mono_ns);

        let mut log = Log::default();
        let mut tracker = Tracker::new(TrackerConfig {
            max_connections: 100,
            filter: Filter::default(),
            time_wait: TimeWait::Expect,
            minis: MiniSight::default(),
        });
        let listed = list(&places, &real);
        for socket in &listed {
            tracker.handle(&Event::Socket(Box::new(socket.clone())), &mut log);
        }
        for event in events {
            tracker.handle(&Event::State(*event), &mut log);
            tracker.handle_timeout(event.mono_ns, &mut log);
        }
        tracker.handle_timeout(END_NS / 2, &mut log);
        tracker.finish(END_NS, &mut log);

        let mut expected: BTreeMap<(u16, bool), usize> = BTreeMap::new();
        for life in &real {
            if life.closed_ns.is_none_or(|closed_ns| closed_ns >= ATTACHED_NS) {
                *expected.entry((life.port, life.closed_ns.is_none())).or_default() += 1;
            }
        }
        let mut told: BTreeMap<(u16, bool), usize> = BTreeMap::new();
        for (conn, ending) in log.ended.values() {
            let life = real.iter().find(|life| {
                if conn.sk == 0 {
                    life.port == conn.local.port && Some(life.pid) == conn.owner.pid
                } else {
                    life.sk == conn.sk
                }
            });
            let Some(life) = life else {
                return Err(TestCaseError::fail(format!("of nobody: {conn:?}")));
            };
            prop_assert!(conn.owner.pid.is_none_or(|pid| pid == life.pid), "{conn:?}");
            if conn.from_birth {
                prop_assert!(life.born_ns >= ATTACHED_NS);
            }
            prop_assert!(conn.gap == Gap::None, "{conn:?}");
            let open = match ending {
                Ending::StillOpen => true,
                Ending::Closed => false,
                Ending::EndUnseen
                | Ending::AgedOut
                | Ending::MayBeOver
                | Ending::NeverCompleted => {
                    return Err(TestCaseError::fail(format!("{ending:?}: {conn:?}")));
                }
            };
            // In SYN_SENT the port may be known to the list alone.
            *told.entry((life.port, open)).or_default() += 1;
        }
        prop_assert_eq!(told, expected);
        prop_assert_eq!(tracker.stats().connections, log.ended.len() as u64);

        // What the list saw of an open one is a minimum that holds.
        for (conn, transition) in log.told.iter().filter(|(_, transition)| transition.since_listed) {
            let life = real.iter().find(|life| life.sk == conn.sk).unwrap();
            let entered_ns = life.events.iter().rev()
                .find(|event| event.mono_ns < transition.event.mono_ns)
                .map_or(0, |event| event.mono_ns);
            prop_assert!(transition.in_state_ns.unwrap() <= transition.event.mono_ns - entered_ns);
        }
    }
}
