//! Which connections are two ends of one: both sockets were traced, on the same machine.

use hashlink::LruCache;

use crate::event::Endpoint;
use crate::track::{Connection, Role};

/// Ends kept that wait for their other end. Both are told of within moments of each other, so that more
/// are needed only where very many connections have their other end elsewhere.
const WAITING: usize = 65_536;

/// Ends kept of one pair of addresses and ports. An end in `TIME_WAIT` is told of up to a minute after the
/// other, and meanwhile the port can be used again; the oldest goes where that is too often.
const GENERATIONS: usize = 16;

/// Ends that have not met their other end yet.
pub(super) struct Pairs {
    /// Oldest first.
    waiting: LruCache<Key, Vec<Waiting>>,
}

/// Both ends of a connection have this in common.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    client: Endpoint,
    server: Endpoint,
    /// Addresses of the loopback network mean something else in each namespace.
    netns: Option<u32>,
}

struct Waiting {
    role: Role,
    flow: u64,
    begin_ns: u64,
    end_ns: u64,
}

impl Waiting {
    /// Where its other end is: of those of the other side that were there at the same time, the one that began
    /// nearest to it, as both begin within moments.
    fn other_in(&self, ends: &[Self]) -> Option<usize> {
        ends.iter()
            .enumerate()
            .filter(|(_, other)| {
                other.role != self.role
                    && other.begin_ns <= self.end_ns
                    && self.begin_ns <= other.end_ns
            })
            .min_by_key(|(_, other)| other.begin_ns.abs_diff(self.begin_ns))
            .map(|(place, _)| place)
    }
}

impl Pairs {
    pub(super) fn new() -> Self {
        Self {
            waiting: LruCache::new(WAITING),
        }
    }

    /// The number that an end shares with its other end, and with no other connection; `None` for what
    /// has no two ends.
    pub(super) fn flow(&mut self, conn: &Connection, begin_ns: u64, end_ns: u64) -> Option<u64> {
        let end = |endpoint: Endpoint| Endpoint {
            addr: endpoint.wire_addr(),
            ..endpoint
        };
        let (client, server) = match conn.role {
            Role::Client => (end(conn.local), end(conn.remote)),
            Role::Server => (end(conn.remote), end(conn.local)),
            Role::Both | Role::Listener | Role::Unknown => return None,
        };
        if client.port == 0 || server.port == 0 {
            return None;
        }
        let loopback = client.addr.is_loopback() || server.addr.is_loopback();
        let key = Key {
            client,
            server,
            netns: conn.netns.filter(|_| loopback),
        };
        let end = Waiting {
            role: conn.role,
            flow: conn.id.0,
            begin_ns,
            end_ns,
        };
        let Some(waiting) = self.waiting.get_mut(&key) else {
            let flow = end.flow;
            self.waiting.insert(key, vec![end]);
            return Some(flow);
        };
        if let Some(place) = end.other_in(waiting) {
            let other = waiting.remove(place);
            if waiting.is_empty() {
                self.waiting.remove(&key);
            }
            return Some(other.flow);
        }
        if waiting.len() >= GENERATIONS {
            waiting.remove(0);
        }
        let flow = end.flow;
        waiting.push(end);
        Some(flow)
    }
}

impl std::fmt::Debug for Pairs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pairs({} waiting)", self.waiting.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::track::ConnId;
    use crate::track::tests::Story;

    fn end(id: u64, role: Role, netns: u32) -> Connection {
        let client: Endpoint = Endpoint {
            addr: "127.0.0.1".parse().unwrap(),
            port: 40_000,
        };
        let server = Endpoint {
            addr: "::ffff:127.0.0.1".parse().unwrap(),
            port: 80,
        };
        let (local, remote) = if role == Role::Client {
            (client, server)
        } else {
            (server, client)
        };
        Connection {
            id: ConnId(id),
            role,
            local,
            remote,
            netns: Some(netns),
            ..Story::any_conn()
        }
    }

    #[test]
    fn two_ends_share_a_number_and_others_do_not() {
        let mut pairs = Pairs::new();
        assert_eq!(pairs.flow(&end(1, Role::Client, 7), 10, 20), Some(1));
        assert_eq!(
            pairs.flow(&end(2, Role::Server, 8), 11, 19),
            Some(2),
            "another namespace"
        );
        assert_eq!(pairs.flow(&end(3, Role::Server, 7), 11, 19), Some(1));
        // The same ports again: a pair of its own.
        assert_eq!(pairs.flow(&end(4, Role::Server, 7), 30, 40), Some(4));
        assert_eq!(pairs.flow(&end(5, Role::Client, 7), 29, 41), Some(4));
    }

    #[test]
    fn ends_find_each_other_though_the_port_was_used_again_meanwhile() {
        let mut pairs = Pairs::new();
        // The servers' ends are told of at once, the clients' when TIME_WAIT is over.
        assert_eq!(pairs.flow(&end(2, Role::Server, 7), 11, 20), Some(2));
        assert_eq!(pairs.flow(&end(4, Role::Server, 7), 31, 40), Some(4));
        assert_eq!(pairs.flow(&end(6, Role::Server, 7), 51, 60), Some(6));
        assert_eq!(pairs.flow(&end(1, Role::Client, 7), 10, 35), Some(2));
        assert_eq!(pairs.flow(&end(3, Role::Client, 7), 30, 55), Some(4));
        assert_eq!(pairs.flow(&end(5, Role::Client, 7), 50, 90), Some(6));
        assert_eq!(pairs.waiting.len(), 0);
    }

    #[test]
    fn the_ends_kept_of_one_pair_of_ports_are_few() {
        let mut pairs = Pairs::new();
        for id in 0..100 {
            pairs.flow(&end(id, Role::Server, 7), id, id);
        }
        let kept: usize = pairs.waiting.iter().map(|(_, ends)| ends.len()).sum();
        assert_eq!(kept, GENERATIONS);
        assert_eq!(pairs.flow(&end(200, Role::Client, 7), 99, 99), Some(99));
    }

    #[test]
    fn ends_of_other_times_do_not_belong_together() {
        let mut pairs = Pairs::new();
        assert_eq!(pairs.flow(&end(1, Role::Client, 7), 10, 20), Some(1));
        assert_eq!(pairs.flow(&end(2, Role::Server, 7), 21, 30), Some(2));
        assert_eq!(pairs.flow(&end(3, Role::Unknown, 7), 21, 30), None);
    }
}
