//! Stories told to a tracker in a small language, and what it makes of them.
//!
//! `A CL>SS task=7 p0` is an event of socket A, from `CLOSED` to `SYN_SENT`, by process 7, whose local
//! port is not chosen yet. `A rtx`, `A rst-in`, `A rst-out=14`, `A error=110/113` and `A synack` are
//! evidence, `A mini=TW a` is the birth of the mini-socket a, `a timer=TW` and `a gone=TW` are news of it,
//! `poll=TW/59000ms` and `poll=-` the kernel's answer for the usual ends, `+20ms` lets time pass. Each event comes 10 ns after the one before.
//!
//! `list ES by=7/nginx,8 asked=900 seen=950 l=.. r=..` is a socket of the snapshot, `queued` one that nobody
//! has accepted.

mod around;
mod evidence;
mod follow;
mod held;
mod holes;
mod identity;
mod limits;
mod oracle;
mod owners;
mod random;
mod snapshot;
mod stories;

use std::collections::HashMap;
use std::net::IpAddr;

use super::*;
use crate::event::{
    AcceptEvent, AtClose, Counts, Event, Evidence, EvidenceEvent, HolderEvent, Polled, PolledEvent,
    SocketEvent, Task,
};
use crate::filter::{Filter, parse_prefix};
use crate::place::Place;
use crate::state::legality;

const NAMES: [(&str, State); 11] = [
    ("CL", State::Closed),
    ("LI", State::Listen),
    ("SS", State::SynSent),
    ("SR", State::SynReceived),
    ("ES", State::Established),
    ("F1", State::FinWait1),
    ("F2", State::FinWait2),
    ("CG", State::Closing),
    ("TW", State::TimeWait),
    ("CW", State::CloseWait),
    ("LA", State::LastAck),
];

/// Keeps all it is told, and checks what holds for every telling.
#[derive(Default)]
struct Log {
    lines: Vec<String>,
    told: Vec<(Connection, Transition)>,
    ended: HashMap<ConnId, (Connection, Ending)>,
}

impl Sink for Log {
    fn transition(&mut self, conn: &Connection, transition: &Transition) {
        assert!(!self.ended.contains_key(&conn.id), "told after its end");
        let event = &transition.event;
        assert_eq!(conn.sk, event.sk);
        assert_eq!(conn.as_of_ns, event.mono_ns);
        let last = conn.steps.last().unwrap();
        assert_eq!(last.state, event.to);
        // Of one that was held, it may have turned out since that its time tells nothing.
        assert!(
            last.since_ns
                .is_none_or(|since_ns| since_ns == event.mono_ns)
        );
        assert_eq!(
            transition.legality,
            legality(event.protocol, event.from, event.to)
        );
        self.lines.push(format!(
            "{} {}>{} {} {:?} {}{}",
            conn.id.0,
            name(event.from),
            name(event.to),
            transition
                .in_state_ns
                .map_or("-".to_owned(), |ns| ns.to_string()),
            conn.role,
            owner(conn),
            if transition.after_gap { " gap" } else { "" },
        ));
        self.told.push((conn.clone(), *transition));
    }

    fn continued(&mut self, conn: &Connection, change: &Continued) {
        assert!(!self.ended.contains_key(&conn.id), "told after its end");
        assert_eq!(conn.as_of_ns, change.mono_ns);
        self.lines.push(format!(
            "{} {}>{} {} after{}",
            conn.id.0,
            name(change.from),
            name(change.to),
            change
                .in_state_ns
                .map_or("-".to_owned(), |ns| ns.to_string()),
            change
                .polled_within_ns
                .map_or(String::new(), |ns| format!(" polled {ns}")),
        ));
    }

    fn ended(&mut self, conn: &Connection, ending: Ending) {
        self.lines.push(format!("{} {ending:?}", conn.id.0));
        let before = self.ended.insert(conn.id, (conn.clone(), ending));
        assert!(before.is_none(), "ended twice");
    }
}

fn name(state: State) -> String {
    NAMES
        .iter()
        .find(|(_, named)| *named == state)
        .map_or(format!("{state:?}"), |(name, _)| (*name).to_owned())
}

fn state(name: &str) -> State {
    NAMES
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, state)| *state)
        .unwrap()
}

fn owner(conn: &Connection) -> String {
    if let Some(pid) = conn.owner.pid {
        return format!("{:?}:{pid}", conn.owner.source);
    }
    assert_eq!(conn.owner.source, OwnerSource::Unknown);
    assert_eq!(conn.owner.comm, None);
    "?".to_owned()
}

fn endpoint(text: &str) -> Endpoint {
    let (addr, port) = text.rsplit_once(' ').or(text.rsplit_once('/')).unwrap();
    Endpoint {
        addr: addr.parse().unwrap(),
        port: port.parse().unwrap(),
    }
}

/// `7`, `7/curl`, `7/kworker/k` for a kernel thread.
fn task(text: &str) -> Task {
    let mut parts = text.split('/');
    Task {
        pid: parts.next().unwrap().parse().unwrap(),
        comm: Comm::from(parts.next().unwrap_or("app")),
        kernel_thread: Some(parts.next() == Some("k")),
        ns_pid: None,
        uid: 0,
        start_ns: None,
        cgroup_id: None,
    }
}

fn sk(letter: &str) -> u64 {
    0xffff_8880_0000_0000 + u64::from(letter.as_bytes()[0]) * 2496
}

/// What an event line says of its socket holds for later ones as well.
#[derive(Clone, Copy)]
struct Socket {
    local: Endpoint,
    remote: Endpoint,
    netns: Option<u32>,
    family: Family,
    protocol: Protocol,
}

pub(crate) struct Story {
    pub(crate) tracker: Tracker,
    log: Log,
    sockets: HashMap<u64, Socket>,
    now_ns: u64,
    /// Does not wait for late evidence.
    hasty: bool,
}

impl Story {
    fn new() -> Self {
        Self::with(Filter::default(), 100)
    }

    /// One in which the ends are told when their time has come.
    pub(crate) fn patient() -> Self {
        Self {
            hasty: false,
            ..Self::new()
        }
    }

    /// One that hears of mini-sockets.
    pub(crate) fn following(time_wait: TimeWait, minis: MiniSight) -> Self {
        let mut story = Self::patient();
        story.tracker = Tracker::new(TrackerConfig {
            max_connections: 100,
            filter: Filter::default(),
            time_wait,
            minis,
        });
        story
    }

    /// One that hears of them by functions, and waits for their end if there is room.
    fn following_few(max_connections: usize) -> Self {
        let mut story = Self::patient();
        story.tracker = Tracker::new(TrackerConfig {
            max_connections,
            filter: Filter::default(),
            time_wait: TimeWait::Wait,
            minis: MiniSight {
                births: true,
                ends: true,
                polled: false,
            },
        });
        story
    }

    fn with(filter: Filter, max_connections: usize) -> Self {
        Self {
            tracker: Tracker::new(TrackerConfig {
                max_connections,
                filter,
                time_wait: TimeWait::default(),
                minis: MiniSight::default(),
            }),
            log: Log::default(),
            sockets: HashMap::new(),
            now_ns: 1000,
            hasty: true,
        }
    }

    /// Tells the events, and returns the lines that the sink was told for them.
    pub(crate) fn tell(&mut self, events: &[&str]) -> Vec<String> {
        let before = self.log.lines.len();
        for event in events {
            self.now_ns += 10;
            if let Some(ms) = event.strip_prefix('+') {
                self.now_ns += ms.strip_suffix("ms").unwrap().parse::<u64>().unwrap() * 1_000_000;
                self.tracker.handle_timeout(self.now_ns, &mut self.log);
                continue;
            }
            self.event(event);
            if self.hasty {
                self.tracker.handle_timeout(u64::MAX, &mut self.log);
            }
        }
        self.log.lines[before..].to_vec()
    }

    pub(crate) fn finish(&mut self) -> Vec<String> {
        let before = self.log.lines.len();
        self.tracker.finish(self.now_ns + 10, &mut self.log);
        self.log.lines[before..].to_vec()
    }

    fn list<'a>(&mut self, mut words: impl Iterator<Item = &'a str>) {
        let mut socket = SocketEvent {
            asked_ns: 900,
            seen_ns: 950,
            netns: Some(1),
            family: Family::Inet,
            protocol: Protocol::Tcp,
            local: endpoint("10.0.0.1/40000"),
            remote: endpoint("10.0.0.2/443"),
            state: state(words.next().unwrap()),
            has_file: true,
            owners: Vec::new(),
        };
        for word in words {
            match word.split_once('=').unwrap_or((word, "")) {
                ("l", end) => socket.local = endpoint(end),
                ("r", end) => socket.remote = endpoint(end),
                ("asked", ns) => socket.asked_ns = ns.parse().unwrap(),
                ("seen", ns) => socket.seen_ns = ns.parse().unwrap(),
                ("ns", inode) => socket.netns = Some(inode.parse().unwrap()),
                ("v6", _) => socket.family = Family::Inet6,
                ("mptcp", _) => socket.protocol = Protocol::Mptcp,
                ("queued", _) => socket.has_file = false,
                ("by", list) => {
                    socket.owners = list
                        .split(',')
                        .map(|by| Process {
                            pid: task(by).pid,
                            comm: task(by).comm,
                        })
                        .collect();
                }
                _ => panic!("{word}"),
            }
        }
        if socket.state == State::Listen {
            socket.remote = endpoint("0.0.0.0/0");
        }
        let event = Event::Socket(Box::new(socket));
        self.tracker.handle(&event, &mut self.log);
    }

    fn hold(&mut self, text: &str) {
        let (pid, path) = text.split_once(' ').unwrap();
        let event = HolderEvent {
            mono_ns: 900,
            pid: pid.parse().unwrap(),
            ns_pid: Some(1),
            uid: Some(33),
            place: Some(Place::from_path(path).into()),
        };
        self.tracker.handle(&Event::Holder(event), &mut self.log);
    }

    fn event(&mut self, line: &str) {
        if let Some(answer) = line.strip_prefix("poll=") {
            self.poll(answer);
            return;
        }
        if let Some(holder) = line.strip_prefix("holder ") {
            return self.hold(holder);
        }
        let mut words = line.split_whitespace();
        if let Some(socket) = line.strip_prefix("list ") {
            return self.list(socket.split_whitespace());
        }
        let sk = sk(words.next().unwrap());
        let what = words.next().unwrap();
        if let Some((how, by)) = what.split_once("accept=") {
            let event = AcceptEvent {
                mono_ns: self.now_ns,
                sk,
                task: task(by),
                presumed: how == "perhaps-",
            };
            self.tracker.handle(&Event::Accept(event), &mut self.log);
            return;
        }
        if !what.contains('>') {
            let event = EvidenceEvent {
                mono_ns: self.now_ns,
                sk,
                what: evidence(what, words),
            };
            self.tracker.handle(&Event::Evidence(event), &mut self.log);
            return;
        }
        let (from, to) = what.split_once('>').unwrap();
        let socket = self.sockets.entry(sk).or_insert_with(|| Socket {
            local: endpoint("10.0.0.1/40000"),
            remote: endpoint("10.0.0.2/443"),
            netns: Some(1),
            family: Family::Inet,
            protocol: Protocol::Tcp,
        });
        let mut event = StateEvent {
            mono_ns: self.now_ns,
            sk,
            netns: None,
            family: Family::Inet,
            protocol: Protocol::Tcp,
            local: socket.local,
            remote: socket.remote,
            from: state(from),
            to: state(to),
            local_port_known: true,
            task: None,
            counts: None,
            at_close: None,
            from_twin: false,
        };
        let mut without = (false, false, false);
        for word in words {
            match word.split_once('=').unwrap_or((word, "")) {
                ("l", end) => socket.local = endpoint(end),
                ("r", end) => socket.remote = endpoint(end),
                ("ns", "?") => socket.netns = None,
                ("ns", inode) => socket.netns = Some(inode.parse().unwrap()),
                ("v6", _) => socket.family = Family::Inet6,
                ("mptcp", _) => socket.protocol = Protocol::Mptcp,
                ("tcp", _) => socket.protocol = Protocol::Tcp,
                ("task", by) => event.task = Some(task(by)),
                ("twin", _) => event.from_twin = true,
                ("at", ns) => event.mono_ns = ns.parse().unwrap(),
                ("counts", list) => event.counts = Some(counts(list)),
                ("fin", received) => event.at_close = Some(at_close(received)),
                // This event alone lacks the local port, the local address, the remote side.
                ("p0", _) => without.0 = true,
                ("l0", _) => without.1 = true,
                ("r0", _) => without.2 = true,
                _ => panic!("{word} in {line}"),
            }
        }
        let unspecified: IpAddr = match socket.family {
            Family::Inet6 => std::net::Ipv6Addr::UNSPECIFIED.into(),
            Family::Inet | Family::Other(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        };
        event.netns = socket.netns;
        event.family = socket.family;
        event.protocol = socket.protocol;
        event.local = socket.local;
        event.remote = socket.remote;
        if without.0 {
            event.local.port = 0;
            event.local_port_known = false;
        }
        if without.1 {
            event.local.addr = unspecified;
        }
        if without.2 {
            event.remote = Endpoint {
                addr: unspecified,
                port: 0,
            };
        }
        self.tracker.handle(&Event::State(event), &mut self.log);
    }

    /// `-`, `F2/3000ms`, `half=2`.
    fn poll(&mut self, answer: &str) {
        let event = self.answer(answer);
        self.tracker.handle(&Event::Polled(event), &mut self.log);
    }

    /// The answer of a `poll=` now.
    pub(crate) fn polled(&self, event: &str) -> PolledEvent {
        self.answer(event.strip_prefix("poll=").unwrap())
    }

    fn answer(&self, answer: &str) -> PolledEvent {
        // `-@100ms`: it was there the last time before.
        let (answer, ago) = answer.split_once('@').unwrap_or((answer, ""));
        let ago_ms: Option<u64> = ago.strip_suffix("ms").map(|ms| ms.parse().unwrap());
        let found = if answer == "-" {
            Polled::Nothing
        } else if answer == "unknown" {
            Polled::NotKnown
        } else if answer == "another" {
            Polled::Another
        } else if answer == "nowhere" {
            Polled::NoNamespace
        } else if let Some(retransmits) = answer.strip_prefix("half=") {
            Polled::HalfOpen {
                retransmits: retransmits.parse().unwrap(),
            }
        } else {
            let (named, timer) = answer.split_once('/').unwrap();
            let timer_ms: u64 = timer.strip_suffix("ms").unwrap().parse().unwrap();
            Polled::Mini {
                state: state(named),
                timer_ns: Some(timer_ms * 1_000_000),
            }
        };
        PolledEvent {
            mono_ns: self.now_ns,
            took_ns: 0,
            seen_ns: ago_ms.map(|ms| self.now_ns - ms * 1_000_000),
            netns: Some(1),
            local: endpoint("10.0.0.1/40000"),
            remote: endpoint("10.0.0.2/443"),
            found,
        }
    }

    /// The last life of a socket, and how it ended.
    pub(crate) fn conn_of(&self, socket: &str) -> (Connection, Ending) {
        let sk = sk(socket);
        let lives = self.log.ended.values().filter(|(conn, _)| conn.sk == sk);
        lives.max_by_key(|(conn, _)| conn.id).unwrap().clone()
    }

    /// The transitions told.
    pub(crate) fn told(&self) -> &[(Connection, Transition)] {
        &self.log.told
    }

    /// The connections that have ended.
    pub(crate) fn ended(&self) -> impl Iterator<Item = &(Connection, Ending)> {
        self.log.ended.values()
    }

    /// The time of the last event.
    pub(crate) fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// The connection that never had a socket.
    pub(crate) fn half_open(&self) -> (Connection, Ending) {
        let mut lives = self.log.ended.values();
        lives.find(|(conn, _)| conn.sk == 0).unwrap().clone()
    }

    /// The first connection, which has ended.
    pub(crate) fn first_ended(&self) -> (Connection, Ending) {
        self.log.ended[&ConnId(1)].clone()
    }

    /// Any connection.
    pub(crate) fn any_conn() -> Connection {
        let mut story = Self::patient();
        story.tell(&["A CL>SS"]);
        story.finish();
        story.conn_of("A").0
    }

    /// As last told.
    fn conn(&self, id: u64) -> &Connection {
        self.log
            .ended
            .get(&ConnId(id))
            .map(|(conn, _)| conn)
            .or_else(|| {
                let last = self.log.told.iter().rfind(|(conn, _)| conn.id.0 == id);
                last.map(|(conn, _)| conn)
            })
            .unwrap()
    }

    fn steps(&self, id: u64) -> Vec<(String, Option<u64>)> {
        let steps = &self.conn(id).steps;
        steps.iter().map(|s| (name(s.state), s.since_ns)).collect()
    }
}

/// `rtx`, `rtx=40000`, `rst-out=14`, `error=110/113`, `synack ns=1 l=.. r=..`.
fn evidence<'a>(what: &str, mut words: impl Iterator<Item = &'a str>) -> Evidence {
    match what.split_once('=').unwrap_or((what, "")) {
        ("rtx", port) => Evidence::Retransmit {
            local_port: port.parse().ok(),
        },
        ("rst-in", _) => Evidence::ResetReceived,
        ("rst-out", reason) => Evidence::ResetSent {
            reason: reason.parse().ok(),
        },
        ("error", errors) => {
            let (error, soft_error) = errors.split_once('/').unwrap_or((errors, "0"));
            Evidence::SocketError {
                error: error.parse().unwrap(),
                soft_error: soft_error.parse().unwrap(),
            }
        }
        ("synack" | "syn", _) => {
            let mut ends = words.map(|word| endpoint(word.split_once('=').unwrap().1));
            let (netns, local) = (Some(1), ends.next().unwrap());
            let remote = ends.next().unwrap();
            match what {
                "syn" => Evidence::RequestBorn {
                    netns,
                    local,
                    remote,
                },
                _ => Evidence::SynAckRetransmit {
                    netns,
                    local,
                    remote,
                },
            }
        }
        ("freed", _) => Evidence::Destroyed,
        ("over", to) => Evidence::HandedOver { state: state(to) },
        ("mini", to) => Evidence::MiniBorn {
            mini: sk(words.next().unwrap()),
            state: state(to),
        },
        ("timer", to) => Evidence::MiniTimer { state: state(to) },
        ("gone", from) => Evidence::MiniEnd { state: state(from) },
        _ => panic!("{what}"),
    }
}

/// `err:110,re:3`; what is not named is 0, or not measured.
/// `1` if the peer's FIN was received.
fn at_close(fin_received: &str) -> AtClose {
    AtClose {
        fin_received: Some(fin_received == "1"),
        ..AtClose::default()
    }
}

fn counts(list: &str) -> Counts {
    let mut counts = Counts {
        bytes_sent: 0,
        bytes_acked: 0,
        bytes_received: 0,
        rtt_us: None,
        retransmits: 0,
        error: 0,
        soft_error: 0,
    };
    for (name, value) in list.split(',').filter_map(|item| item.split_once(':')) {
        let value: u32 = value.parse().unwrap();
        match name {
            "sent" => counts.bytes_sent = value.into(),
            "acked" => counts.bytes_acked = value.into(),
            "received" => counts.bytes_received = value.into(),
            "rtt" => counts.rtt_us = Some(value),
            "re" => counts.retransmits = value,
            "err" => counts.error = value,
            "soft" => counts.soft_error = value,
            _ => panic!("{list}"),
        }
    }
    counts
}

fn steps(expected: &[(&str, Option<u64>)]) -> Vec<(String, Option<u64>)> {
    expected
        .iter()
        .map(|(name, since_ns)| ((*name).to_owned(), *since_ns))
        .collect()
}
