//! Which connections are two ends of one: both sockets were traced, on the same machine.

use hashlink::LruCache;

use crate::event::Endpoint;
use crate::track::{Connection, Role};

/// Ends kept that wait for their other end. Both are told of within moments of each other, so that more
/// are needed only where very many connections have their other end elsewhere.
const WAITING: usize = 65_536;

/// Ends that have not met their other end yet.
pub(super) struct Pairs {
    waiting: LruCache<Key, Waiting>,
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
        if let Some(other) = self.waiting.remove(&key)
            && other.role != conn.role
            && other.begin_ns <= end_ns
            && begin_ns <= other.end_ns
        {
            return Some(other.flow);
        }
        let flow = conn.id.0;
        self.waiting.insert(
            key,
            Waiting {
                role: conn.role,
                flow,
                begin_ns,
                end_ns,
            },
        );
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
    fn ends_of_other_times_do_not_belong_together() {
        let mut pairs = Pairs::new();
        assert_eq!(pairs.flow(&end(1, Role::Client, 7), 10, 20), Some(1));
        assert_eq!(pairs.flow(&end(2, Role::Server, 7), 21, 30), Some(2));
        assert_eq!(pairs.flow(&end(3, Role::Unknown, 7), 21, 30), None);
    }
}
