//! Which state may follow which: one table, of RFC 9293 and of Linux.
//!
//! An edge is lawful when the RFC has it, in Figure 5 (section 3.3.2), its notes, or the text. Edges
//! that only Linux has carry the reason. The kernel's part was read in `net/ipv4` and `net/mptcp` of
//! Linux 6.12 and compared with traces of 6.18.
//!
//! `FIN_WAIT_2 -> CLOSED` and `CLOSING -> CLOSED` stand as Linux's own although the RFC has them for
//! a reset and a timeout: on Linux they almost always mean something else, which has to be said.
//!
//! Known gaps: SCTP and DCCP use the same tracepoint and are not judged. Kernels that offload TCP to
//! a network card (chelsio) set states on their own.

use super::State;
use crate::event::Protocol;
use crate::track::Legality;

/// For which kind of socket an edge is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    Any,
    Tcp,
    Mptcp,
}

/// A lawful transition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// State left.
    pub from: State,
    /// State entered.
    pub to: State,
    scope: Scope,
    /// What happened.
    pub why: &'static str,
    /// Section of RFC 9293; `None` for what only Linux does.
    pub rfc: Option<&'static str>,
    /// Functions of the kernel that do it on a socket the tracepoint sees; `None` if Linux never does.
    pub kernel: Option<&'static str>,
}

use Scope::{Any, Mptcp, Tcp};
use State::{
    CloseWait, Closed, Closing, Established, FinWait1, FinWait2, LastAck, Listen, SynReceived,
    SynSent, TimeWait,
};

#[rustfmt::skip]
static EDGES: [Edge; 46] = [
    // Opening.
    both(Closed, Listen, "listen()", "3.10.1", "inet_csk_listen_start, mptcp_listen"),
    both(Closed, SynSent, "connect()", "3.10.1", "tcp_v4_connect, tcp_v6_connect, mptcp_connect"),
    both(Listen, SynReceived, "a handshake completed; a new socket begins", "3.10.7.2", "inet_csk_clone_lock"),
    rfc_only(Listen, SynSent, "connect() on a listener; Linux refuses it", "3.10.1"),
    both(Listen, Closed, "closed by the application, or the port was taken", "3.10.4", "__tcp_close, tcp_disconnect, inet_csk_listen_start"),
    both(SynSent, Established, "the SYN-ACK came", "3.10.7.3", "tcp_finish_connect, __mptcp_sync_state"),
    both(SynSent, SynReceived, "both sides connect at once", "3.10.7.3", "tcp_rcv_synsent_state_process"),
    both(SynSent, Closed, "refused, timed out, unreachable or given up", "3.10.7.3, 3.10.4, 3.10.8", "tcp_reset, tcp_write_err, tcp_v4_err, tcp_disconnect, tcp_close_state"),
    both(SynReceived, Established, "the final ACK came", "3.10.7.4", "tcp_rcv_state_process"),
    both(SynReceived, FinWait1, "closed before the handshake completed", "3.10.4", "tcp_close_state"),
    both(SynReceived, CloseWait, "the peer's FIN came before the handshake completed", "3.10.7.4", "tcp_fin"),
    both(SynReceived, Closed, "reset, timed out or dropped by the kernel", "3.10.7.4, 3.10.5, 3.10.8", "tcp_done, inet_ehash_nolisten"),
    rfc_only(SynReceived, Listen, "reset after a passive open; on Linux the listener is another socket", "3.3.2 Figure 5"),

    // Open, and closing in order.
    both(Established, FinWait1, "closed by the application", "3.10.4", "tcp_close_state, mptcp_close_state"),
    both(Established, CloseWait, "the peer's FIN came", "3.10.7.4", "tcp_fin, mptcp_check_data_fin"),
    both(FinWait1, FinWait2, "our FIN was acknowledged", "3.10.7.4", "tcp_rcv_state_process, mptcp_check_data_fin_ack"),
    both(FinWait1, Closing, "the peer's FIN came before the ACK of ours", "3.10.7.4", "tcp_fin, mptcp_check_data_fin"),
    both(CloseWait, LastAck, "closed by the application", "3.10.4", "tcp_close_state, mptcp_close_state"),
    both(LastAck, Closed, "our FIN was acknowledged, or reset or timeout", "3.10.7.4, 3.10.8", "tcp_rcv_state_process, mptcp_check_data_fin_ack"),

    // Cut short: reset, abort, timeout.
    both(Established, Closed, "reset by either side, or timed out", "3.10.7.4, 3.10.5, 3.10.8", "tcp_reset, __tcp_close, tcp_disconnect, tcp_write_err, mptcp_do_fastclose"),
    both(FinWait1, Closed, "reset, data after close(), or timed out", "3.10.7.4, 3.10.5, 3.10.8", "tcp_reset, tcp_write_err, tcp_out_of_resources"),
    both(CloseWait, Closed, "reset by either side, or timed out", "3.10.7.4, 3.10.5, 3.10.8", "tcp_reset, __tcp_close, tcp_disconnect, tcp_write_err"),

    // TIME_WAIT. Linux enters and leaves it in mini-sockets only.
    rfc_only(FinWait1, TimeWait, "the peer's FIN came with the ACK of ours", "3.3.2 note 2"),
    rfc_only(FinWait2, TimeWait, "the peer's FIN came", "3.10.7.4"),
    rfc_only(Closing, TimeWait, "our FIN was acknowledged", "3.10.7.4"),
    rfc_only(SynSent, TimeWait, "reset sent", "3.3.2 note 3"),
    rfc_only(SynReceived, TimeWait, "reset sent", "3.3.2 note 3"),
    rfc_only(Established, TimeWait, "reset sent", "3.3.2 note 3"),
    rfc_only(CloseWait, TimeWait, "reset sent", "3.3.2 note 3"),
    rfc_only(LastAck, TimeWait, "reset sent", "3.3.2 note 3"),
    rfc_only(TimeWait, Closed, "the time is over, or reset", "3.10.8, 3.10.7.4"),
    rfc_only(TimeWait, SynReceived, "a new SYN reopened the connection", "3.6.1 MAY-2"),

    // What only Linux does.
    linux(Tcp, FinWait2, Closed, "a mini-socket takes over: still FIN_WAIT_2 or TIME_WAIT, unless reset", "tcp_time_wait, tcp_reset, tcp_done"),
    linux(Mptcp, FinWait2, Closed, "the peer has closed too: TIME_WAIT is left to the subflows", "mptcp_check_data_fin"),
    linux(Tcp, Closing, Closed, "a mini-socket takes over: now TIME_WAIT, unless reset", "tcp_time_wait, tcp_reset"),
    linux(Mptcp, Closing, Closed, "both have closed: TIME_WAIT is left to the subflows", "mptcp_check_data_fin_ack"),
    linux(Any, FinWait1, FinWait1, "close() after shutdown(): the FIN is out already", "tcp_close_state, mptcp_close_state"),
    linux(Any, FinWait2, FinWait2, "close() after shutdown(): the FIN is out already", "tcp_close_state, mptcp_close_state"),
    linux(Any, Closing, Closing, "close() after shutdown(): the FIN is out already", "tcp_close_state, mptcp_close_state"),
    linux(Any, LastAck, LastAck, "close() after shutdown(): the FIN is out already", "tcp_close_state, mptcp_close_state"),
    // Measured on TCP; for MPTCP it follows from the same lack of a lock.
    linux(Tcp, Closed, SynReceived, "the listener was closed while a handshake completed: the new socket is its copy", "inet_csk_clone_lock"),
    linux(Mptcp, Closed, Established, "the listener was closed while a handshake completed: the new socket is its copy", "mptcp_sk_clone_init"),
    linux(Tcp, Closed, Closed, "a listener destroyed by an administrator (ss -K) is closed twice", "tcp_abort"),
    linux(Mptcp, Closed, Closed, "MPTCP closes a socket again that is closed", "__mptcp_close, mptcp_disconnect, mptcp_do_fastclose"),
    linux(Mptcp, Listen, Listen, "MPTCP takes over the state of its subflow", "mptcp_listen"),
    linux(Mptcp, Listen, Established, "a handshake completed; a new MPTCP socket begins, a copy of the listener", "mptcp_sk_clone_init"),
];

const fn both(
    from: State,
    to: State,
    why: &'static str,
    rfc: &'static str,
    kernel: &'static str,
) -> Edge {
    Edge {
        from,
        to,
        scope: Any,
        why,
        rfc: Some(rfc),
        kernel: Some(kernel),
    }
}

const fn rfc_only(from: State, to: State, why: &'static str, rfc: &'static str) -> Edge {
    Edge {
        from,
        to,
        scope: Any,
        why,
        rfc: Some(rfc),
        kernel: None,
    }
}

const fn linux(
    scope: Scope,
    from: State,
    to: State,
    why: &'static str,
    kernel: &'static str,
) -> Edge {
    Edge {
        from,
        to,
        scope,
        why,
        rfc: None,
        kernel: Some(kernel),
    }
}

/// Row and column of a state in an [`Index`]; 0 for a number without a name.
const fn slot(state: State) -> usize {
    if let State::Unknown(_) = state {
        0
    } else {
        state.to_kernel().unsigned_abs() as usize
    }
}

const SLOTS: usize = State::ALL.len() + 1;

type Index = [[Option<&'static Edge>; SLOTS]; SLOTS];

static TCP: Index = index(Tcp);
static MPTCP: Index = index(Mptcp);

#[expect(
    clippy::indexing_slicing,
    reason = "evaluated by the compiler, which refuses an index out of bounds"
)]
const fn index(scope: Scope) -> Index {
    let mut index: Index = [[None; SLOTS]; SLOTS];
    let mut i = 0;
    while i < EDGES.len() {
        let edge = &EDGES[i];
        let applies = matches!((edge.scope, scope), (Any, _) | (Tcp, Tcp) | (Mptcp, Mptcp));
        if applies {
            let cell = &mut index[slot(edge.from)][slot(edge.to)];
            assert!(cell.is_none(), "an edge stands twice in the table");
            *cell = Some(edge);
        }
        i += 1;
    }
    index
}

/// The lawful transition between two states; `None` if there is none, or for another protocol.
pub fn edge(protocol: Protocol, from: State, to: State) -> Option<&'static Edge> {
    let index = match protocol {
        Protocol::Tcp => &TCP,
        Protocol::Mptcp => &MPTCP,
        Protocol::Other(_) => return None,
    };
    index.get(slot(from))?.get(slot(to)).copied().flatten()
}

/// What the RFC and Linux say to a transition.
pub fn legality(protocol: Protocol, from: State, to: State) -> Legality {
    if let Protocol::Other(_) = protocol {
        return Legality::Linux("not TCP: not judged");
    }
    match edge(protocol, from, to) {
        Some(Edge { rfc: Some(_), .. }) => Legality::Rfc,
        Some(Edge { why, .. }) => Legality::Linux(why),
        None => Legality::Unexpected,
    }
}

impl State {
    /// What may follow this state on a TCP socket of Linux, as the tracepoint reports it.
    pub fn next_on_linux(self) -> impl Iterator<Item = &'static Edge> {
        EDGES
            .iter()
            .filter(move |edge| edge.from == self && edge.kernel.is_some() && edge.scope != Mptcp)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use proptest::prelude::*;

    use super::*;

    /// `.` the RFC, `L` Linux only, blank: unexpected.
    fn matrix(protocol: Protocol) -> String {
        let mut text = String::new();
        for from in State::BY_LIFE {
            let _ = write!(text, "{from:>16} |");
            for to in State::BY_LIFE {
                text.push_str(match legality(protocol, from, to) {
                    Legality::Rfc => " .",
                    Legality::Linux(_) => " L",
                    Legality::Unexpected => "  ",
                });
            }
            text.push_str(" |\n");
        }
        text
    }

    #[test]
    fn tcp() {
        insta::assert_snapshot!(matrix(Protocol::Tcp), @r"
                  LISTEN |   . .               .     |
                SYN_SENT |     . .           . .     |
            SYN_RECEIVED | .     . .   .     . .     |
             ESTABLISHED |         .   .     . .     |
              FIN_WAIT_1 |         L .   .   . .     |
              FIN_WAIT_2 |           L       . L     |
              CLOSE_WAIT |                 . . .     |
                 CLOSING |               L   . L     |
                LAST_ACK |                 L . .     |
               TIME_WAIT |     .               .     |
                  CLOSED | . . L               L     |
        NEW_SYN_RECEIVED |                           |
          BOUND_INACTIVE |                           |
        ");
    }

    #[test]
    fn mptcp() {
        insta::assert_snapshot!(matrix(Protocol::Mptcp), @r"
                  LISTEN | L . . L             .     |
                SYN_SENT |     . .           . .     |
            SYN_RECEIVED | .     . .   .     . .     |
             ESTABLISHED |         .   .     . .     |
              FIN_WAIT_1 |         L .   .   . .     |
              FIN_WAIT_2 |           L       . L     |
              CLOSE_WAIT |                 . . .     |
                 CLOSING |               L   . L     |
                LAST_ACK |                 L . .     |
               TIME_WAIT |     .               .     |
                  CLOSED | . .   L             L     |
        NEW_SYN_RECEIVED |                           |
          BOUND_INACTIVE |                           |
        ");
    }

    /// What Linux 6.18 reported on loopback, for each path by which a connection can end.
    #[test]
    fn paths_seen_on_a_kernel_are_lawful() {
        let tcp: [&[State]; 9] = [
            &[Closed, SynSent, Established, FinWait1, FinWait2, Closed],
            &[Listen, SynReceived, Established, CloseWait, LastAck, Closed],
            &[Closed, Listen, Closed, Closed],
            &[
                Closed,
                SynSent,
                SynReceived,
                Established,
                FinWait1,
                Closing,
                Closed,
            ],
            &[Established, FinWait1, FinWait2, FinWait2, Closed],
            &[Closed, SynSent, Closed, SynSent, Established, Closed],
            &[Listen, SynReceived, Closed],
            &[Closed, SynReceived, Established, Closed],
            &[Established, CloseWait, Closed],
        ];
        let mptcp: [&[State]; 6] = [
            &[
                Closed,
                SynSent,
                Established,
                FinWait1,
                FinWait2,
                FinWait2,
                Closed,
                Closed,
            ],
            &[Listen, Established, CloseWait, LastAck, Closed, Closed],
            &[Closed, Listen, Listen, Closed, Closed],
            &[Established, FinWait1, Closing, Closed],
            &[Closed, SynSent, Closed, Closed],
            &[Established, FinWait1, Closed],
        ];
        for (protocol, paths) in [(Protocol::Tcp, &tcp[..]), (Protocol::Mptcp, &mptcp[..])] {
            for path in paths {
                for step in path.windows(2) {
                    let found = edge(protocol, step[0], step[1]);
                    assert!(
                        found.is_some_and(|edge| edge.kernel.is_some()),
                        "{protocol:?} {} -> {}",
                        step[0],
                        step[1]
                    );
                }
            }
        }
    }

    #[test]
    fn what_no_kernel_does() {
        for (from, to) in [
            (Established, SynSent),
            (Established, LastAck),
            (CloseWait, FinWait1),
            (TimeWait, Established),
            (SynSent, SynSent),
            (Established, Established),
            (State::Unknown(17), Closed),
            (Closed, State::Unknown(0)),
            (State::NewSynReceived, Established),
        ] {
            for protocol in [Protocol::Tcp, Protocol::Mptcp] {
                assert_eq!(
                    legality(protocol, from, to),
                    Legality::Unexpected,
                    "{from} -> {to}"
                );
            }
        }
        for (from, to) in [
            (Listen, Listen),
            (Listen, Established),
            (Closed, Established),
        ] {
            assert_eq!(
                legality(Protocol::Tcp, from, to),
                Legality::Unexpected,
                "{from} -> {to}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_number_without_a_name_is_never_expected(number in any::<i32>(), known in 1..=13) {
            let (number, known) = (State::from_kernel(number), State::from_kernel(known));
            for (from, to) in [(number, known), (known, number), (number, number)] {
                let unexpected = legality(Protocol::Tcp, from, to) == Legality::Unexpected;
                prop_assert!(unexpected || number.row().is_some());
            }
        }
    }

    #[test]
    fn linux_gives_its_reason() {
        let reason = |protocol| legality(protocol, FinWait2, Closed);
        let Legality::Linux(tcp) = reason(Protocol::Tcp) else {
            panic!("{:?}", reason(Protocol::Tcp))
        };
        let Legality::Linux(mptcp) = reason(Protocol::Mptcp) else {
            panic!("{:?}", reason(Protocol::Mptcp))
        };
        assert!(tcp.contains("TIME_WAIT") && tcp != mptcp);
    }

    #[test]
    fn other_protocols_are_not_judged() {
        let sctp = legality(Protocol::Other(132), Closed, Established);
        assert_eq!(sctp, Legality::Linux("not TCP: not judged"));
    }
}
