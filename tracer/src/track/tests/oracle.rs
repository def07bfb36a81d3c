//! The filter's answers against those of somebody who sees each connection as a whole.

use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::filter::FamilyFilter;

/// Which side opened it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Client,
    Server,
    Both,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wire {
    V4,
    Mapped,
    V6,
}

/// A connection as it will have been.
#[derive(Clone, Debug)]
struct Life {
    kind: Kind,
    wire: Wire,
    netns: u32,
    local_port: u16,
    remote_port: u16,
    /// Index of the remote address.
    peer: u8,
    closing: usize,
    /// The first event lacks what the kernel may lack then: a port not chosen yet, the remote side.
    bare_birth: bool,
    /// And a child's own address.
    bare_local: bool,
    connect: Option<u32>,
    /// By whom, and after how many transitions.
    accept: Option<(u32, usize)>,
    close: Option<u32>,
}

const CLOSINGS: [&[&str]; 5] = [
    &["ES>F1", "F1>F2", "F2>CL"],
    &["ES>CW", "CW>LA", "LA>CL"],
    &["ES>F1", "F1>CG", "CG>CL"],
    &["ES>CL"],
    &["ES>CW", "CW>CL"],
];

/// Who listens in namespace 1 on ports 1 (IPv4) and 2 (IPv6 and IPv4).
const LISTENERS: [(&str, u32); 2] = [
    ("L CL>LI task=1 l=0.0.0.0/1 r=0.0.0.0/0", 1),
    ("M CL>LI task=2 v6 l=::/2 r=::/0", 2),
];

impl Life {
    /// Its events in the language of the stories, without the socket.
    fn events(&self) -> Vec<String> {
        let bare = |flags: &'static str| if self.bare_birth { flags } else { "" };
        let by = |pid: Option<u32>| pid.map_or(String::new(), |pid| format!(" task={pid}"));
        let connect = by(self.connect);
        let mut events = match self.kind {
            Kind::Client => vec![format!("CL>SS{connect}{}", bare(" p0")), "SS>ES".to_owned()],
            Kind::Server => vec![
                format!(
                    "LI>SR{}",
                    bare(if self.bare_local { " r0 l0" } else { " r0" })
                ),
                "SR>ES".to_owned(),
            ],
            Kind::Both => vec![
                format!("CL>SS{connect}{}", bare(" p0")),
                "SS>SR".to_owned(),
                "SR>ES".to_owned(),
            ],
        };
        for event in CLOSINGS[self.closing] {
            let closes = matches!(*event, "ES>F1" | "CW>LA");
            let task = if closes {
                by(self.close)
            } else {
                String::new()
            };
            events.push(format!("{event}{task}"));
        }
        let (local, remote) = self.addresses();
        let v6 = if self.wire == Wire::V4 { "" } else { " v6" };
        events[0] = format!(
            "{} ns={} l={}/{} r={}/{}{v6}",
            events[0],
            self.netns,
            self.spelt(local),
            self.local_port,
            self.spelt(remote),
            self.remote_port
        );
        if let (Kind::Server, Some((pid, after))) = (self.kind, self.accept) {
            events.insert(after, format!("accept={pid}"));
        }
        events
    }

    /// On the wire.
    fn addresses(&self) -> (IpAddr, IpAddr) {
        let of = |host: u8| match self.wire {
            Wire::V4 | Wire::Mapped => IpAddr::from([10, 0, 0, host]),
            Wire::V6 => IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(host)]),
        };
        (of(1), of(2 + self.peer))
    }

    fn spelt(&self, addr: IpAddr) -> IpAddr {
        match (self.wire, addr) {
            (Wire::Mapped, IpAddr::V4(v4)) => v4.to_ipv6_mapped().into(),
            _ => addr,
        }
    }

    /// Whether the first `told` events make it one to select.
    fn selected(&self, told: usize, question: &Question) -> bool {
        let transitions: Vec<_> = self.events()[..told]
            .iter()
            .filter(|event| !event.starts_with("accept"))
            .cloned()
            .collect();
        let complete = transitions.len() > 1 || !self.bare_birth;
        let (local, remote) = self.addresses();
        let is_server = self.kind == Kind::Server;
        let local_port = (complete || is_server).then_some(self.local_port);
        let remote_port = (complete || !is_server).then_some(self.remote_port);
        let has_remote = complete || !is_server;
        let has_local = has_remote || !self.bare_local;
        let has_address = has_remote || has_local;
        let has = |wanted: u16, port: Option<u16>| port == Some(wanted);

        question
            .port
            .is_none_or(|port| has(port, local_port) || has(port, remote_port))
            && question.local_port.is_none_or(|port| has(port, local_port))
            && question
                .remote_port
                .is_none_or(|port| has(port, remote_port))
            && question.peer.is_none_or(|peer| {
                has_remote && remote == IpAddr::from(peer)
                    || has_local && local == IpAddr::from(peer)
            })
            && match question.family {
                FamilyFilter::Any => true,
                FamilyFilter::V4 => match self.wire {
                    Wire::V4 => true,
                    Wire::Mapped => has_address,
                    Wire::V6 => false,
                },
                FamilyFilter::V6 => self.wire == Wire::V6 && has_address,
            }
            && question.netns.is_none_or(|netns| netns == self.netns)
            && question.pid.is_none_or(|pid| self.owned_by(pid, told))
    }

    /// Whether `pid` is the owner, or owns the listener it came from.
    fn owned_by(&self, pid: u32, told: usize) -> bool {
        if self.kind != Kind::Server {
            return match self.connect {
                Some(by) => by == pid,
                None => self.closed_by(told) == Some(pid),
            };
        }
        let listener = match (self.netns, self.local_port, self.wire) {
            (1, 1, Wire::V4) => Some(LISTENERS[0].1),
            (1, 2, Wire::V6 | Wire::Mapped) => Some(LISTENERS[1].1),
            _ => None,
        };
        if listener == Some(pid) {
            return true;
        }
        match self.accept {
            Some((by, after)) if after < told => by == pid,
            _ => self.closed_by(told) == Some(pid),
        }
    }

    fn closed_by(&self, told: usize) -> Option<u32> {
        self.events()[..told]
            .iter()
            .any(|event| event.starts_with("ES>F1") || event.starts_with("CW>LA"))
            .then_some(self.close)
            .flatten()
    }
}

#[derive(Clone, Debug)]
struct Question {
    port: Option<u16>,
    local_port: Option<u16>,
    remote_port: Option<u16>,
    peer: Option<Ipv4Addr>,
    family: FamilyFilter,
    netns: Option<u32>,
    pid: Option<u32>,
}

impl Question {
    fn filter(&self) -> Filter {
        let ports = |port: Option<u16>| {
            port.map(|port| port.to_string().parse().unwrap())
                .unwrap_or_default()
        };
        Filter {
            ports: ports(self.port),
            local_ports: ports(self.local_port),
            remote_ports: ports(self.remote_port),
            prefixes: self
                .peer
                .map(|peer| IpAddr::from(peer).into())
                .into_iter()
                .collect(),
            families: self.family,
            netns: self.netns.into_iter().collect(),
            pids: self.pid.into_iter().collect(),
            ..Filter::default()
        }
    }
}

fn life() -> impl Strategy<Value = Life> {
    let pid = || proptest::option::of(1..4_u32);
    (
        proptest::sample::select(vec![Kind::Client, Kind::Server, Kind::Server, Kind::Both]),
        proptest::sample::select(vec![Wire::V4, Wire::Mapped, Wire::V6]),
        (1..3_u32, 1..4_u16, 1..4_u16, 0..2_u8),
        (0..CLOSINGS.len(), any::<bool>(), any::<bool>()),
        (pid(), proptest::option::of((1..4_u32, 1..3_usize)), pid()),
    )
        .prop_map(
            |(
                kind,
                wire,
                (netns, local_port, remote_port, peer),
                (closing, bare_birth, bare_local),
                (connect, accept, close),
            )| Life {
                kind,
                wire,
                netns,
                local_port,
                remote_port,
                peer,
                closing,
                bare_birth,
                bare_local,
                connect,
                accept,
                close,
            },
        )
}

fn question() -> impl Strategy<Value = Question> {
    let port = || proptest::option::weighted(0.3, 1..4_u16);
    (
        (port(), port(), port()),
        proptest::option::weighted(0.3, (1..4_u8).prop_map(|host| [10, 0, 0, host].into())),
        proptest::sample::select(vec![
            FamilyFilter::Any,
            FamilyFilter::Any,
            FamilyFilter::V4,
            FamilyFilter::V6,
        ]),
        proptest::option::weighted(0.3, 1..3_u32),
        proptest::option::weighted(0.5, 1..4_u32),
    )
        .prop_map(
            |((port, local_port, remote_port), peer, family, netns, pid)| Question {
                port,
                local_port,
                remote_port,
                peer,
                family,
                netns,
                pid,
            },
        )
}

proptest! {
    /// Each socket lives one life after the other, interleaved with those of the other sockets; some
    /// are still open at the end.
    #[test]
    fn the_filter_selects_what_the_whole_connection_matches(
        lives in proptest::collection::vec(life(), 1..12),
        turns in proptest::collection::vec(0..3_usize, 0..80),
        question in question(),
    ) {
        let mut story = Story::with(question.filter(), 100);
        for (listen, _) in LISTENERS {
            story.tell(&[listen]);
        }
        let sockets = ["A", "B", "C"];
        let mut waiting = lives.iter();
        // By socket: the life, its events, how many of them are told.
        let mut present: [Option<(&Life, Vec<String>, usize)>; 3] = [None, None, None];
        let mut expected: Vec<(String, bool)> = Vec::new();
        let judge = |socket: &str, life: &Life, told: usize| {
            let first = format!("{socket}:{}", life.events()[0]);
            (first, life.selected(told, &question))
        };
        for turn in turns {
            let socket = sockets[turn];
            if present[turn].is_none() {
                present[turn] = waiting.next().map(|life| (life, life.events(), 0));
            }
            let Some((life, events, told)) = &mut present[turn] else { continue };
            if *told == 0 {
                // A socket keeps nothing of its life before.
                story.sockets.remove(&sk(socket));
            }
            story.tell(&[&format!("{socket} {}", events[*told])]);
            *told += 1;
            if *told == events.len() {
                expected.push(judge(socket, life, *told));
                present[turn] = None;
            }
        }
        for (socket, life) in sockets.iter().zip(&present) {
            if let Some((life, _, told)) = life {
                expected.push(judge(socket, life, *told));
            }
        }
        story.finish();

        let wanted = expected.iter().filter(|(_, selected)| *selected).count();
        let connections = story.log.ended.values().filter(|(conn, _)| conn.role != Role::Listener);
        prop_assert_eq!(connections.count(), wanted, "{:?}\n{:#?}", expected, story.log.lines);
    }
}
