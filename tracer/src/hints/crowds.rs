//! What is wrong with many connections though with none of them.
//!
//! Connections are counted by what they have in common: the port they go to, the port they come to, the
//! process. Constant work for each, by counters and a window that begins anew when it is over. Bounded:
//! the [`MAX_GROUPS`] touched last are kept; one that has to go while its window is open is counted.

use std::net::{IpAddr, Ipv6Addr};

use hashlink::LinkedHashMap;

use super::rules::{self, Many};
use super::{Limits, Told};
use crate::diagnose::{ClosedBy, Diagnosis, Verdict};
use crate::event::{Endpoint, Protocol};
use crate::state::State;
use crate::track::{Connection, Ending, HalfOpenConnection, Owner, Role};

const SECOND_NS: u64 = 1_000_000_000;
/// Groups kept at once, of some 400 bytes each.
pub(super) const MAX_GROUPS: usize = 4096;

/// As many connections have to end within [`CHURN_WITHIN_NS`], and half of the last [`LIVES`] have to have
/// lived shorter than [`SHORT_LIFE_NS`].
pub(super) const CHURN: u64 = 1000;
const CHURN_WITHIN_NS: u64 = 10 * SECOND_NS;
const SHORT_LIFE_NS: u64 = SECOND_NS;
const LIVES: usize = 64;

/// As many have to be refused within [`REFUSED_WITHIN_NS`].
pub(super) const REFUSED: u64 = 10;
const REFUSED_WITHIN_NS: u64 = 60 * SECOND_NS;

/// As many have to be in `TIME_WAIT` where the number of local ports is not known; where it is, half of
/// them.
pub(super) const TIME_WAITS: u64 = 10_000;
/// `TIME_WAIT` lasts 60 s (`TCP_TIMEWAIT_LEN`); counted in parts of 5 s.
const TIME_WAIT_PART_NS: u64 = 5 * SECOND_NS;
const TIME_WAIT_PARTS: usize = 12;

/// As many have to be half-open within [`HALF_OPEN_WITHIN_NS`], each with its SYN-ACK sent again.
pub(super) const HALF_OPEN: u64 = 16;
const HALF_OPEN_WITHIN_NS: u64 = 60 * SECOND_NS;

/// As many of one process have to be stuck in `CLOSE_WAIT`; told again at ten times as many.
pub(super) const LEAKS: u64 = 10;

/// What connections have in common.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    /// They go to the same place, from the same address.
    To {
        netns: Option<u32>,
        from: Ipv6Addr,
        to: (Ipv6Addr, u16),
    },
    /// They come to the same port.
    At { netns: Option<u32>, port: u16 },
    /// They belong to the same process.
    Of { pid: u32 },
}

#[derive(Default)]
struct Group {
    ended: Window,
    lives: Lives,
    refused: Window,
    time_waits: TimeWaits,
    half_open: Window,
    /// Of a process, now.
    leaks: u64,
    /// The network namespace of all of these; `None` where they are of several, or not known.
    leaks_netns: Option<u32>,
    /// Since when the first of them is there.
    leaks_since_ns: u64,
    /// How many leaks are worth a line; 0 for the first.
    leaks_told: u64,
    /// The rules that were told of it: one bit each.
    told: u32,
    touched_ns: u64,
}

/// Counts what happens within a time.
#[derive(Default)]
struct Window {
    begun_ns: u64,
    count: u64,
}

impl Window {
    /// Takes in one more; how many there are in the window and how long it has been open.
    fn add(&mut self, now_ns: u64, within_ns: u64) -> (u64, u64) {
        if self.count == 0 || now_ns.saturating_sub(self.begun_ns) > within_ns {
            self.begun_ns = now_ns;
            self.count = 0;
        }
        self.count += 1;
        (self.count, now_ns.saturating_sub(self.begun_ns))
    }
}

/// How long the last connections lived, in microseconds.
struct Lives {
    us: [u32; LIVES],
    next: usize,
}

impl Default for Lives {
    fn default() -> Self {
        Self {
            us: [u32::MAX; LIVES],
            next: 0,
        }
    }
}

impl Lives {
    fn add(&mut self, life_ns: u64) {
        if let Some(place) = self.us.get_mut(self.next) {
            *place = u32::try_from(life_ns / 1000).unwrap_or(u32::MAX);
        }
        self.next = (self.next + 1) % LIVES;
    }

    fn median_ns(&self) -> u64 {
        let mut us = self.us;
        let (_, median, _) = us.select_nth_unstable(LIVES / 2);
        u64::from(*median) * 1000
    }
}

/// Connections that went to `TIME_WAIT`, by when.
#[derive(Default)]
struct TimeWaits {
    parts: [u32; TIME_WAIT_PARTS],
    /// Number of the part that the last one fell into, counted from time 0.
    last: u64,
}

impl TimeWaits {
    /// Takes in one more; how many are in it for less than 60 s.
    fn add(&mut self, now_ns: u64) -> u64 {
        let now = now_ns / TIME_WAIT_PART_NS;
        let parts = TIME_WAIT_PARTS as u64;
        for passed in self.last + 1..=now.min(self.last.saturating_add(parts)) {
            if let Some(part) = self.part(passed) {
                *part = 0;
            }
        }
        self.last = self.last.max(now);
        if let Some(part) = self.part(now) {
            *part = part.saturating_add(1);
        }
        self.parts.iter().map(|part| u64::from(*part)).sum()
    }

    fn part(&mut self, number: u64) -> Option<&mut u32> {
        let index = usize::try_from(number % TIME_WAIT_PARTS as u64).ok()?;
        self.parts.get_mut(index)
    }
}

/// Counts connections in groups.
#[derive(Default)]
pub(super) struct Crowds {
    limits: Limits,
    /// The one touched last at the end.
    groups: LinkedHashMap<Key, Group>,
    pub(super) forgotten: u64,
}

impl Crowds {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// Takes in the end of a connection.
    pub(super) fn ended(
        &mut self,
        conn: &Connection,
        ending: Ending,
        diagnosis: &Diagnosis,
    ) -> Vec<Told> {
        let mut told = Vec::new();
        if ending != Ending::Closed || conn.protocol != Protocol::Tcp {
            return told;
        }
        let Some(key) = Key::of(conn) else {
            return told;
        };
        let now_ns = conn.as_of_ns;
        let limits = self.limits;
        let group = self.group(key, now_ns);

        if let Some(life_ns) = life(conn) {
            group.lives.add(life_ns);
            let (count, within_ns) = group.ended.add(now_ns, CHURN_WITHIN_NS);
            let median_ns = (count >= CHURN).then(|| group.lives.median_ns());
            if let Some(median_ns) = median_ns.filter(|ns| *ns < SHORT_LIFE_NS) {
                let mut many = Many::new(count, within_ns);
                many.median_ns = Some(median_ns);
                told.extend(group.tell("churn", &many, conn, key));
            }
        }
        if conn.role != Role::Client {
            return told;
        }
        if diagnosis.verdict == Verdict::Refused {
            let (count, within_ns) = group.refused.add(now_ns, REFUSED_WITHIN_NS);
            if count >= REFUSED {
                told.extend(group.tell("refused_often", &Many::new(count, within_ns), conn, key));
            }
        }
        let first = matches!(diagnosis.closed_by, Some(ClosedBy::Local | ClosedBy::Both));
        if diagnosis.verdict == Verdict::Closed && first && !limits.reuses_ports(conn) {
            let count = group.time_waits.add(now_ns);
            let ports = limits.local_ports(conn);
            if count >= ports.map_or(TIME_WAITS, |ports| (ports / 2).max(1)) {
                let mut many = Many::new(count, TIME_WAIT_PART_NS * TIME_WAIT_PARTS as u64);
                many.limit = ports;
                told.extend(group.tell("time_wait_many", &many, conn, key));
            }
        }
        told
    }

    /// A connection of `owner` turned out to be stuck in `CLOSE_WAIT`; `conn` is one of them, since `since_ns`.
    /// With what is told, since when the first of all is there.
    pub(super) fn leaks(
        &mut self,
        conn: &Connection,
        since_ns: u64,
        after_ns: u64,
        now_ns: u64,
    ) -> Option<(Told, u64)> {
        let pid = conn.owner.pid?;
        let key = Key::Of { pid };
        let group = self.group(key, now_ns);
        if group.leaks == 0 {
            group.leaks_netns = conn.netns;
        } else if group.leaks_netns != conn.netns {
            group.leaks_netns = None;
        }
        group.leaks_since_ns = match group.leaks {
            0 => since_ns,
            _ => group.leaks_since_ns.min(since_ns),
        };
        group.leaks += 1;
        let all_since_ns = group.leaks_since_ns;
        if group.leaks < LEAKS || group.leaks < group.leaks_told.saturating_mul(10) {
            return None;
        }
        group.leaks_told = group.leaks;
        let many = Many::new(group.leaks, after_ns);
        let netns = group.leaks_netns;
        let told = many_told("close_wait_many", &many, conn.role, conn.owner, now_ns)?;
        Some((Told { netns, ..told }, all_since_ns))
    }

    /// It has left `CLOSE_WAIT`.
    pub(super) fn leaks_no_more(&mut self, pid: u32) {
        if let Some(group) = self.groups.get_mut(&Key::Of { pid }) {
            group.leaks = group.leaks.saturating_sub(1);
        }
    }

    /// A half-open connection counts as stuck. Whether it is to be told of by itself, and what is to be
    /// told of all.
    pub(super) fn half_open(&mut self, half_open: &HalfOpenConnection) -> (bool, Option<Told>) {
        let now_ns = half_open.last_ns;
        let port = half_open.local.port;
        let netns = half_open.netns;
        let group = self.group(Key::At { netns, port }, now_ns);
        let (count, within_ns) = group.half_open.add(now_ns, HALF_OPEN_WITHIN_NS);
        if count < HALF_OPEN {
            return (true, None);
        }
        let many = Many::new(count, within_ns);
        let is_new = group.note("half_open_many");
        let told = is_new
            .then(|| {
                many_told(
                    "half_open_many",
                    &many,
                    Role::Server,
                    half_open.owner,
                    now_ns,
                )
            })
            .flatten()
            .map(|told| Told {
                netns,
                local: Some(Endpoint {
                    addr: unspecified(half_open.local.addr),
                    port,
                }),
                ..told
            });
        (false, told)
    }

    fn group(&mut self, key: Key, now_ns: u64) -> &mut Group {
        if self.groups.len() >= MAX_GROUPS && !self.groups.contains_key(&key) {
            let oldest = self.groups.pop_front();
            let is_open = |group: &Group| {
                now_ns.saturating_sub(group.touched_ns) < CHURN_WITHIN_NS || group.leaks > 0
            };
            self.forgotten += u64::from(oldest.is_some_and(|(_, group)| is_open(&group)));
        }
        // What is asked for goes to the end of the list.
        let group = self.groups.remove(&key).unwrap_or_default();
        let group = self.groups.entry(key).or_insert(group);
        group.touched_ns = now_ns;
        group
    }
}

impl Group {
    /// True the first time.
    fn note(&mut self, name: &str) -> bool {
        let bit = rules::bit(name);
        let is_new = self.told & bit == 0;
        self.told |= bit;
        is_new
    }

    /// Tells of the group that `conn` is one of, once.
    fn tell(&mut self, name: &str, many: &Many, conn: &Connection, key: Key) -> Option<Told> {
        if !self.note(name) {
            return None;
        }
        let told = many_told(name, many, conn.role, conn.owner, conn.as_of_ns)?;
        let without_port = |end: Endpoint| Endpoint { port: 0, ..end };
        let (local, remote) = match key {
            Key::To { .. } => (Some(without_port(conn.local)), Some(conn.remote)),
            Key::At { .. } => {
                let addr = unspecified(conn.local.addr);
                (Some(Endpoint { addr, ..conn.local }), None)
            }
            Key::Of { .. } => (None, None),
        };
        Some(Told {
            netns: conn.netns,
            local,
            remote,
            ..told
        })
    }
}

fn many_told(name: &str, many: &Many, role: Role, owner: Owner, mono_ns: u64) -> Option<Told> {
    let hint = rules::named(name)?.hint_of_many(many, owner.pid)?;
    Some(Told {
        hint,
        mono_ns,
        conn: None,
        netns: None,
        family: None,
        protocol: Protocol::Tcp,
        role,
        owner,
        local: None,
        remote: None,
        stay: None,
        count: Some(many.count),
        limit: many.limit,
    })
}

impl Key {
    fn of(conn: &Connection) -> Option<Self> {
        let netns = conn.netns;
        match conn.role {
            Role::Client => Some(Self::To {
                netns,
                from: conn.local.mapped_addr(),
                to: (conn.remote.mapped_addr(), conn.remote.port),
            }),
            Role::Server => Some(Self::At {
                netns,
                port: conn.local.port,
            }),
            Role::Both | Role::Listener | Role::Unknown => None,
        }
    }
}

/// How long an established connection lived, if all of it was seen.
fn life(conn: &Connection) -> Option<u64> {
    let established = |state: State| state == State::Established;
    if !conn.from_birth || !conn.steps.iter().any(|step| established(step.state)) {
        return None;
    }
    let born_ns = conn.steps.iter().find_map(|step| step.since_ns)?;
    conn.steps.last()?.since_ns?.checked_sub(born_ns)
}

fn unspecified(addr: IpAddr) -> IpAddr {
    match addr {
        IpAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}
