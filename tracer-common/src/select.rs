//! The kernel's half of the connection filter.
//!
//! A filter chooses connections, yet the program sees single transitions, and the first of a
//! connection may lack what the filter asks for: the local port of `CLOSE -> SYN_SENT` is still to be
//! chosen, and before Linux 6.15 `LISTEN -> SYN_RECV` has no remote side. So this drops only what
//! cannot be wanted; userspace, which sees the whole connection, decides.
//!
//! Pure and generic over the look-ups, so that the same code runs under the verifier and in tests.

#![expect(
    clippy::inline_always,
    reason = "older verifiers check each BPF function apart, without what its caller knows"
)]

use crate::config::{
    FILTER_ADDR, FILTER_IPV4, FILTER_IPV6, FILTER_LOCAL_PORT, FILTER_NETNS, FILTER_PORT,
    FILTER_REMOTE_PORT, PORT_EITHER, PORT_LOCAL, PORT_REMOTE,
};

/// Kernel number of `TCP_ESTABLISHED`.
pub const ESTABLISHED: i32 = 1;
/// Kernel number of `TCP_SYN_SENT`.
pub const SYN_SENT: i32 = 2;
/// Kernel number of `TCP_SYN_RECV`.
pub const SYN_RECV: i32 = 3;
/// Kernel number of `TCP_FIN_WAIT1`.
pub const FIN_WAIT1: i32 = 4;
/// Kernel number of `TCP_CLOSE`.
pub const CLOSE: i32 = 7;
/// Kernel number of `TCP_CLOSE_WAIT`.
pub const CLOSE_WAIT: i32 = 8;
/// Kernel number of `TCP_LAST_ACK`.
pub const LAST_ACK: i32 = 9;
/// Kernel number of `TCP_LISTEN`.
pub const LISTEN: i32 = 10;

/// What the program knows of a socket at one transition.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// State before, kernel number.
    pub old_state: i32,
    /// State after, kernel number.
    pub new_state: i32,
    /// Local port, host order.
    pub local_port: u16,
    /// Remote port, host order.
    pub remote_port: u16,
    /// Port the socket is bound to now; `None` where the kernel's layout does not tell.
    pub bound_port: Option<u16>,
    /// Network namespace; `None` where the kernel's layout does not tell.
    pub netns: Option<u32>,
}

/// The sets that a filter names.
pub trait Sets {
    /// `PORT_*` flags of a port.
    fn port(&self, port: u16) -> u8;
    /// Whether an IPv6 or v4-mapped address lies in a selected prefix.
    fn prefix(&self, addr: &[u8; 16]) -> bool;
    /// Whether a network namespace is selected.
    fn netns(&self, inode: u32) -> bool;
}

/// Whether this transition can only happen inside a system call on this socket, so that the current
/// task is the caller. All others may run in a softirq on top of any task, or in `ss --kill`.
#[inline(always)]
pub fn runs_in_caller(old_state: i32, new_state: i32) -> bool {
    matches!(
        (old_state, new_state),
        (CLOSE, SYN_SENT | LISTEN) | (ESTABLISHED | SYN_RECV, FIN_WAIT1) | (CLOSE_WAIT, LAST_ACK)
    )
}

/// Whether a socket's counters are worth reading here: when a connection is established, and when it ends.
#[inline(always)]
pub fn wants_counts(old_state: i32, new_state: i32) -> bool {
    (new_state == ESTABLISHED || new_state == CLOSE) && old_state != LISTEN
}

/// Whether a socket comes out of a listener here. It copies the listener's state first, which is CLOSE
/// if the listener is closed while the handshake completes (`inet_csk_clone_lock`).
#[inline(always)]
pub fn is_child_birth(old_state: i32, new_state: i32) -> bool {
    matches!((old_state, new_state), (LISTEN | CLOSE, SYN_RECV))
}

/// Whether a socket's life as a connection or listener begins here.
#[inline(always)]
pub fn is_birth(old_state: i32, new_state: i32) -> bool {
    matches!((old_state, new_state), (CLOSE, SYN_SENT | LISTEN))
        || is_child_birth(old_state, new_state)
}

/// Whether the local port is final: see [`Facts::bound_port`].
#[inline(always)]
pub fn local_port_known(facts: &Facts) -> bool {
    if (facts.old_state, facts.new_state) == (CLOSE, SYN_SENT) {
        matches!(facts.bound_port, Some(port) if port != 0)
    } else {
        true
    }
}

/// False only if no connection with this transition can pass the port, address, family and
/// namespace filters. Transitions of listeners pass the port and address filters always: the owner
/// of a listener is the first owner of what it accepts.
#[inline(always)]
pub fn may_be_wanted(
    filters: u32,
    facts: &Facts,
    local_addr: &[u8; 16],
    remote_addr: &[u8; 16],
    sets: &impl Sets,
) -> bool {
    if filters & FILTER_NETNS != 0 && !matches!(facts.netns, Some(inode) if sets.netns(inode)) {
        return false;
    }
    if filters & (FILTER_IPV4 | FILTER_IPV6) != 0 {
        let v4 = is_v4(local_addr) || is_v4(remote_addr);
        let unknown = is_unspecified(local_addr) && is_unspecified(remote_addr) && !v4;
        let wanted = if v4 { FILTER_IPV4 } else { FILTER_IPV6 };
        if !unknown && filters & wanted == 0 {
            return false;
        }
    }

    let child = is_child_birth(facts.old_state, facts.new_state);
    let listener = (facts.old_state == LISTEN && !child) || facts.new_state == LISTEN;
    if listener {
        return true;
    }
    let birth = child || (facts.old_state, facts.new_state) == (CLOSE, SYN_SENT);
    if filters & (FILTER_PORT | FILTER_LOCAL_PORT | FILTER_REMOTE_PORT) != 0 {
        let local_open = !local_port_known(facts);
        let remote_open = birth && facts.remote_port == 0;
        let local = sets.port(facts.local_port);
        let remote = sets.port(facts.remote_port);
        if filters & FILTER_PORT != 0
            && (local | remote) & PORT_EITHER == 0
            && !(local_open || remote_open)
        {
            return false;
        }
        if filters & FILTER_LOCAL_PORT != 0 && local & PORT_LOCAL == 0 && !local_open {
            return false;
        }
        if filters & FILTER_REMOTE_PORT != 0 && remote & PORT_REMOTE == 0 && !remote_open {
            return false;
        }
    }
    if filters & FILTER_ADDR != 0 {
        let open = birth && (is_unspecified(local_addr) || is_unspecified(remote_addr));
        if !open && !sets.prefix(local_addr) && !sets.prefix(remote_addr) {
            return false;
        }
    }
    true
}

/// The address as two numbers.
#[inline(always)]
fn halves(addr: &[u8; 16]) -> (u64, u64) {
    let [high, low]: [u64; 2] = zerocopy::transmute!(*addr);
    (u64::from_be(high), u64::from_be(low))
}

/// `::ffff:0:0/96`: an IPv4 address, `0.0.0.0` included.
#[inline(always)]
fn is_v4(addr: &[u8; 16]) -> bool {
    let (high, low) = halves(addr);
    high == 0 && low >> 32 == 0xffff
}

/// `::` or `::ffff:0.0.0.0`.
#[inline(always)]
fn is_unspecified(addr: &[u8; 16]) -> bool {
    let (high, low) = halves(addr);
    high == 0 && (low == 0 || low == 0xffff_0000_0000)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct OnePort;

    impl Sets for OnePort {
        fn port(&self, port: u16) -> u8 {
            if port == 443 {
                PORT_EITHER | PORT_LOCAL | PORT_REMOTE
            } else {
                0
            }
        }
        fn prefix(&self, addr: &[u8; 16]) -> bool {
            is_v4(addr) && addr[12] == 10
        }
        fn netns(&self, inode: u32) -> bool {
            inode == 7
        }
    }

    const V4_10: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 1];
    const V4_11: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 11, 0, 0, 1];
    const V4_ANY: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 0, 0, 0, 0];
    const V6: [u8; 16] = [0x20, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    const V6_ANY: [u8; 16] = [0; 16];

    fn facts(states: (i32, i32), local_port: u16, remote_port: u16, bound: Option<u16>) -> Facts {
        Facts {
            old_state: states.0,
            new_state: states.1,
            local_port,
            remote_port,
            bound_port: bound,
            netns: Some(7),
        }
    }

    #[test]
    fn port_filter_keeps_what_is_still_undecided() {
        let wanted =
            |filters, facts: Facts| may_be_wanted(filters, &facts, &V4_10, &V4_11, &OnePort);
        // An unbound client: its local port, even a stale one, says nothing yet.
        for stale in [0, 50_000] {
            let birth = facts((CLOSE, SYN_SENT), stale, 80, Some(0));
            assert!(wanted(FILTER_PORT, birth));
            assert!(wanted(FILTER_LOCAL_PORT, birth));
            assert!(!wanted(FILTER_REMOTE_PORT, birth));
            let blind = facts((CLOSE, SYN_SENT), stale, 80, None);
            assert!(wanted(FILTER_LOCAL_PORT, blind));
        }
        // A bound one is decided at once.
        let bound = facts((CLOSE, SYN_SENT), 50_000, 80, Some(50_000));
        assert!(!wanted(FILTER_PORT, bound));
        // A child of an older kernel has no remote side yet.
        let child = facts((LISTEN, SYN_RECV), 80, 0, Some(80));
        assert!(wanted(FILTER_PORT, child));
        assert!(wanted(FILTER_REMOTE_PORT, child));
        let orphan = facts((CLOSE, SYN_RECV), 80, 0, Some(80));
        assert!(wanted(FILTER_REMOTE_PORT, orphan));
        assert!(!wanted(FILTER_LOCAL_PORT, child));
        // Later transitions are decided.
        let later = facts((SYN_SENT, ESTABLISHED), 50_000, 80, Some(50_000));
        assert!(!wanted(FILTER_PORT, later));
        let match_ = facts((SYN_SENT, ESTABLISHED), 50_000, 443, Some(50_000));
        assert!(wanted(FILTER_PORT, match_));
        assert!(wanted(FILTER_REMOTE_PORT, match_));
        assert!(!wanted(FILTER_LOCAL_PORT, match_));
        // Listeners are always told.
        assert!(wanted(FILTER_PORT, facts((CLOSE, LISTEN), 80, 0, Some(80))));
        assert!(wanted(FILTER_PORT, facts((LISTEN, CLOSE), 80, 0, Some(0))));
    }

    #[test]
    fn address_family_and_namespace() {
        let established = facts((SYN_SENT, ESTABLISHED), 1, 2, Some(1));
        let child = facts((LISTEN, SYN_RECV), 1, 2, Some(1));
        let wanted = |filters, facts: &Facts, local, remote| {
            may_be_wanted(filters, facts, local, remote, &OnePort)
        };
        assert!(wanted(FILTER_ADDR, &established, &V4_11, &V4_10));
        assert!(!wanted(FILTER_ADDR, &established, &V4_11, &V6));
        assert!(wanted(FILTER_ADDR, &child, &V4_ANY, &V4_11));
        assert!(!wanted(FILTER_ADDR, &established, &V4_ANY, &V4_11));

        assert!(wanted(FILTER_IPV4, &established, &V4_11, &V4_10));
        assert!(!wanted(FILTER_IPV6, &established, &V4_11, &V4_10));
        assert!(wanted(FILTER_IPV6, &established, &V6, &V6));
        assert!(!wanted(FILTER_IPV4, &established, &V6, &V6));
        // A child of a dual-stack listener: not told apart before its addresses are set.
        assert!(wanted(FILTER_IPV4, &child, &V6_ANY, &V6_ANY));
        assert!(wanted(FILTER_IPV6, &child, &V6_ANY, &V6_ANY));
        assert!(!wanted(FILTER_IPV6, &child, &V6_ANY, &V4_10));
        // A listener on 0.0.0.0 is IPv4.
        let listen = facts((CLOSE, LISTEN), 1, 0, Some(1));
        assert!(wanted(FILTER_IPV4, &listen, &V4_ANY, &V4_ANY));
        assert!(!wanted(FILTER_IPV6, &listen, &V4_ANY, &V4_ANY));

        assert!(wanted(FILTER_NETNS, &established, &V6, &V6));
        let elsewhere = Facts {
            netns: Some(8),
            ..established
        };
        let unknown = Facts {
            netns: None,
            ..established
        };
        assert!(!wanted(FILTER_NETNS, &elsewhere, &V6, &V6));
        assert!(!wanted(FILTER_NETNS, &unknown, &V6, &V6));
    }
}
