//! What a million open connections take, in a process that does nothing else.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::net::Ipv4Addr;

use tracer::event::{Endpoint, Event, Family, Protocol, StateEvent};
use tracer::state::State;
use tracer::track::{Connection, Ending, Sink, Tracker, TrackerConfig, Transition};

const OPEN: u64 = 1_000_000;
const LIMIT_MEBIBYTES: u64 = 512;
/// As slabs of the kernel lay them out: the size of a `tcp_sock`.
const BETWEEN_SOCKETS: u64 = 2304;

#[test]
fn a_million_open_connections_fit_in_half_a_gigabyte() {
    let mut tracker = Tracker::new(TrackerConfig::default());
    let mut counts = Counts::default();
    for (from, to) in [
        (State::Closed, State::SynSent),
        (State::SynSent, State::Established),
    ] {
        for number in 0..OPEN {
            tracker.handle(&Event::State(event(number, from, to)), &mut counts);
        }
    }
    assert_eq!((counts.transitions, tracker.stats().open), (2 * OPEN, OPEN));
    let peak = peak_mebibytes();
    println!("{OPEN} open connections: {peak} MiB at most");
    assert!(peak < LIMIT_MEBIBYTES, "{peak} MiB");
}

#[derive(Default)]
struct Counts {
    transitions: u64,
}

impl Sink for Counts {
    fn transition(&mut self, _: &Connection, _: &Transition) {
        self.transitions += 1;
    }

    fn ended(&mut self, conn: &Connection, ending: Ending) {
        panic!("{:?} has ended: {ending:?}", conn.id);
    }
}

fn event(number: u64, from: State, to: State) -> StateEvent {
    let [_, a, b, c] = u32::try_from(number).unwrap().to_be_bytes();
    StateEvent {
        mono_ns: 1_000_000_000 + number,
        sk: 0xffff_8880_0000_0000 + number * BETWEEN_SOCKETS,
        netns: Some(4_026_531_840),
        family: Family::Inet,
        protocol: Protocol::Tcp,
        local: Endpoint {
            addr: Ipv4Addr::new(10, 0, 0, 1).into(),
            port: 40_000,
        },
        remote: Endpoint {
            addr: Ipv4Addr::new(10, a, b, c).into(),
            port: 443,
        },
        from,
        to,
        local_port_known: true,
        task: None,
        counts: None,
        at_close: None,
        from_twin: false,
    }
}

/// Peak of this process's resident memory.
fn peak_mebibytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.unwrap().trim().trim_end_matches(" kB");
    kibibytes.parse::<u64>().unwrap() / 1024
}
