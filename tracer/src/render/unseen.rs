//! What the tracepoint does not show, so that no line claims more than was seen.
//!
//! The kernel swaps a socket that nobody holds any more for a small one (`tcp_time_wait`), which goes
//! on in `FIN_WAIT_2` or `TIME_WAIT` and reports nothing; the full socket reports CLOSED at that moment.
//! Likewise a half-open connection of a listener is a request until the last ACK of the handshake:
//! only then does a socket appear, in `SYN_RECEIVED`, for microseconds.
//!
//! Where functions of the kernel tell, it is known what follows. Else a socket that was reset, or whose
//! small one the kernel had no room for, makes the same transition: hence "usually".

use crate::event::Protocol;
use crate::state::State;
use crate::track::{After, Role};

/// States in which a connection goes on, or usually goes on, after its socket reported `from -> to`.
pub(crate) fn next(after: After, protocol: Protocol, from: State, to: State) -> &'static [State] {
    // MPTCP and SCTP use the numbers of the states as labels; they have no such small sockets.
    if protocol != Protocol::Tcp || to != State::Closed {
        return &[];
    }
    match (after, from) {
        (After::Nothing, _) => &[],
        (After::Mini(mini), State::FinWait2) if mini.first == State::FinWait2 && !mini.polled => {
            &[State::FinWait2]
        }
        (After::Mini(mini), State::FinWait2) if mini.first == State::TimeWait => &[State::TimeWait],
        // From no other state does the kernel call tcp_time_wait: FIN_WAIT_1 -> CLOSED is an abort.
        (_, State::FinWait2) => &[State::FinWait2, State::TimeWait],
        (_, State::Closing) => &[State::TimeWait],
        _ => &[],
    }
}

/// Whether the socket was in `from` for only a part of the time the connection was.
pub(crate) fn is_minimum(
    after: After,
    role: Role,
    protocol: Protocol,
    from: State,
    to: State,
) -> bool {
    // With simultaneous open it is the socket itself that waits in SYN_RECEIVED. With TCP fast open as
    // well, which shows where it is closed before the final ACK.
    (from == State::SynReceived && role != Role::Both && to != State::FinWait1)
        || next(after, protocol, from, to).contains(&from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tcp_leaves_a_small_socket() {
        let fin_wait_2 = (State::FinWait2, State::Closed);
        assert_eq!(
            next(After::NotKnown, Protocol::Tcp, fin_wait_2.0, fin_wait_2.1),
            [State::FinWait2, State::TimeWait]
        );
        assert_eq!(
            next(
                After::NotKnown,
                Protocol::Tcp,
                State::Closing,
                State::Closed
            ),
            [State::TimeWait]
        );
        assert!(next(After::NotKnown, Protocol::Mptcp, fin_wait_2.0, fin_wait_2.1).is_empty());
        assert!(
            next(
                After::NotKnown,
                Protocol::Tcp,
                State::FinWait1,
                State::Closed
            )
            .is_empty()
        );
        assert!(
            next(
                After::NotKnown,
                Protocol::Tcp,
                State::FinWait1,
                State::FinWait2
            )
            .is_empty()
        );
    }

    #[test]
    fn a_time_is_a_minimum_where_a_part_is_unseen() {
        let tcp = Protocol::Tcp;
        let (syn_received, established) = (State::SynReceived, State::Established);
        assert!(!is_minimum(
            After::NotKnown,
            Role::Server,
            tcp,
            syn_received,
            State::FinWait1
        ));
        assert!(is_minimum(
            After::NotKnown,
            Role::Server,
            tcp,
            syn_received,
            established
        ));
        assert!(!is_minimum(
            After::NotKnown,
            Role::Both,
            tcp,
            syn_received,
            established
        ));
        assert!(is_minimum(
            After::NotKnown,
            Role::Client,
            tcp,
            State::FinWait2,
            State::Closed
        ));
        assert!(!is_minimum(
            After::NotKnown,
            Role::Client,
            tcp,
            State::Closing,
            State::Closed
        ));
        assert!(!is_minimum(
            After::NotKnown,
            Role::Client,
            tcp,
            State::FinWait1,
            State::FinWait2
        ));
    }
}
