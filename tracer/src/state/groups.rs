//! Names for several states at once, for filters.

use super::State;

/// A name for several states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// As the user writes it.
    pub name: &'static str,
    /// Its members, in the order of a connection's life.
    pub states: &'static [State],
}

/// All groups. `fin_wait` is conntrack's state, the others are as in ss(8): the kernel's request
/// sockets count as SYN-RECV there, and sockets that are only bound as closed.
pub const GROUPS: [Group; 6] = [
    Group {
        name: "fin_wait",
        states: &[State::FinWait1, State::FinWait2],
    },
    Group {
        name: "all",
        states: &State::BY_LIFE,
    },
    Group {
        name: "connected",
        states: &[
            State::SynSent,
            State::SynReceived,
            State::Established,
            State::FinWait1,
            State::FinWait2,
            State::CloseWait,
            State::Closing,
            State::LastAck,
            State::TimeWait,
            State::NewSynReceived,
        ],
    },
    Group {
        name: "synchronized",
        states: &[
            State::SynReceived,
            State::Established,
            State::FinWait1,
            State::FinWait2,
            State::CloseWait,
            State::Closing,
            State::LastAck,
            State::TimeWait,
            State::NewSynReceived,
        ],
    },
    Group {
        name: "bucket",
        states: &[State::SynReceived, State::TimeWait, State::NewSynReceived],
    },
    Group {
        name: "big",
        states: &[
            State::Listen,
            State::SynSent,
            State::Established,
            State::FinWait1,
            State::FinWait2,
            State::CloseWait,
            State::Closing,
            State::LastAck,
            State::Closed,
            State::BoundInactive,
        ],
    },
];
