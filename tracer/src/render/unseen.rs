//! What the tracepoint does not show, so that no line claims more than was seen.
//!
//! The kernel swaps a socket that nobody holds any more for a small one (`tcp_time_wait`), which goes
//! on in `FIN_WAIT_2` or `TIME_WAIT` and reports nothing; the full socket reports CLOSED at that moment.
//! Likewise a half-open connection of a listener is a request until the last ACK of the handshake:
//! only then does a socket appear, in `SYN_RECEIVED`, for microseconds.
//!
//! Known gap: a socket that was reset, or whose small one the kernel had no room for, makes the same
//! transition. Hence "usually".

use crate::event::Protocol;
use crate::state::State;
use crate::track::Role;

/// States in which a connection usually goes on after its socket reported `from -> to`.
pub(crate) fn next(protocol: Protocol, from: State, to: State) -> &'static [State] {
    // MPTCP and SCTP use the numbers of the states as labels; they have no such small sockets.
    if protocol != Protocol::Tcp || to != State::Closed {
        return &[];
    }
    // From no other state does the kernel call tcp_time_wait: FIN_WAIT_1 -> CLOSED is an abort.
    if from == State::FinWait2 {
        &[State::FinWait2, State::TimeWait]
    } else if from == State::Closing {
        &[State::TimeWait]
    } else {
        &[]
    }
}

/// Whether the socket was in `from` for only a part of the time the connection was.
pub(crate) fn is_minimum(role: Role, protocol: Protocol, from: State, to: State) -> bool {
    // With simultaneous open it is the socket itself that waits in SYN_RECEIVED. With TCP fast open as
    // well, which shows where it is closed before the final ACK.
    (from == State::SynReceived && role != Role::Both && to != State::FinWait1)
        || next(protocol, from, to).contains(&from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tcp_leaves_a_small_socket() {
        let fin_wait_2 = (State::FinWait2, State::Closed);
        assert_eq!(
            next(Protocol::Tcp, fin_wait_2.0, fin_wait_2.1),
            [State::FinWait2, State::TimeWait]
        );
        assert_eq!(
            next(Protocol::Tcp, State::Closing, State::Closed),
            [State::TimeWait]
        );
        assert!(next(Protocol::Mptcp, fin_wait_2.0, fin_wait_2.1).is_empty());
        assert!(next(Protocol::Tcp, State::FinWait1, State::Closed).is_empty());
        assert!(next(Protocol::Tcp, State::FinWait1, State::FinWait2).is_empty());
    }

    #[test]
    fn a_time_is_a_minimum_where_a_part_is_unseen() {
        let tcp = Protocol::Tcp;
        let (syn_received, established) = (State::SynReceived, State::Established);
        assert!(is_minimum(Role::Server, tcp, syn_received, established));
        assert!(!is_minimum(Role::Both, tcp, syn_received, established));
        assert!(!is_minimum(
            Role::Server,
            tcp,
            syn_received,
            State::FinWait1
        ));
        assert!(is_minimum(
            Role::Client,
            tcp,
            State::FinWait2,
            State::Closed
        ));
        assert!(!is_minimum(
            Role::Client,
            tcp,
            State::Closing,
            State::Closed
        ));
        assert!(!is_minimum(
            Role::Client,
            tcp,
            State::FinWait1,
            State::FinWait2
        ));
    }
}
