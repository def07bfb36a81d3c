//! TCP states: the kernel's numbers, the names the world has for them, and what is known about them.
//!
//! A [`State`] is a kernel number with a meaning. [`names`] prints it, [`State::parse`] reads it back
//! from whatever system the name came from, [`vocabulary`] holds the names, [`facts`] tells a person
//! what the state means and what to look at, [`legality()`] says which state may follow which.

pub mod facts;
mod groups;
pub mod legality;
pub mod names;
mod parse;
mod unknown;
pub mod vocabulary;

pub use groups::{GROUPS, Group};
pub use legality::legality;
pub use names::{Names, StateName};
pub use unknown::UnknownState;

/// A state of a socket as the Linux kernel numbers them (`include/net/tcp_states.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// 1
    Established,
    /// 2
    SynSent,
    /// 3
    SynReceived,
    /// 4
    FinWait1,
    /// 5
    FinWait2,
    /// 6
    TimeWait,
    /// 7
    Closed,
    /// 8
    CloseWait,
    /// 9
    LastAck,
    /// 10
    Listen,
    /// 11
    Closing,
    /// 12: a request socket, the kernel's half-open connection.
    NewSynReceived,
    /// 13: bound, neither listening nor connected; since Linux 6.8, in `sock_diag` queries only.
    BoundInactive,
    /// A number this version of tracer does not know.
    Unknown(i32),
}

impl State {
    /// All states with a number of their own, in the kernel's order.
    pub const ALL: [Self; 13] = [
        Self::Established,
        Self::SynSent,
        Self::SynReceived,
        Self::FinWait1,
        Self::FinWait2,
        Self::TimeWait,
        Self::Closed,
        Self::CloseWait,
        Self::LastAck,
        Self::Listen,
        Self::Closing,
        Self::NewSynReceived,
        Self::BoundInactive,
    ];

    /// The same in the order of RFC 9293, the order of a connection's life, then the kernel's own two.
    pub const BY_LIFE: [Self; 13] = [
        Self::Listen,
        Self::SynSent,
        Self::SynReceived,
        Self::Established,
        Self::FinWait1,
        Self::FinWait2,
        Self::CloseWait,
        Self::Closing,
        Self::LastAck,
        Self::TimeWait,
        Self::Closed,
        Self::NewSynReceived,
        Self::BoundInactive,
    ];

    /// From the kernel's number.
    pub fn from_kernel(number: i32) -> Self {
        usize::try_from(number)
            .ok()
            .and_then(|n| n.checked_sub(1))
            .and_then(|index| Self::ALL.get(index).copied())
            .unwrap_or(Self::Unknown(number))
    }

    /// The kernel's number.
    pub const fn to_kernel(self) -> i32 {
        match self {
            Self::Established => 1,
            Self::SynSent => 2,
            Self::SynReceived => 3,
            Self::FinWait1 => 4,
            Self::FinWait2 => 5,
            Self::TimeWait => 6,
            Self::Closed => 7,
            Self::CloseWait => 8,
            Self::LastAck => 9,
            Self::Listen => 10,
            Self::Closing => 11,
            Self::NewSynReceived => 12,
            Self::BoundInactive => 13,
            Self::Unknown(number) => number,
        }
    }
}
