//! TCP states: the kernel's numbers, and the names the world has for them.

/// A vocabulary for states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Names {
    /// `SYN_RECEIVED`, `FIN_WAIT_1`, `CLOSED`.
    #[default]
    Documented,
    /// RFC 9293: `SYN-RECEIVED`, `FIN-WAIT-1`, `CLOSED`.
    Rfc,
    /// `include/net/tcp_states.h`: `TCP_SYN_RECV`, `TCP_FIN_WAIT1`, `TCP_CLOSE`.
    Kernel,
    /// `ss`: `SYN-RECV`, `FIN-WAIT-1`, `UNCONN`.
    Ss,
}

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
    /// 13: bound, neither listening nor connected; since Linux 6.8, in `sock_diag` only.
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

    /// From the kernel's number.
    pub fn from_kernel(number: i32) -> Self {
        usize::try_from(number)
            .ok()
            .and_then(|n| n.checked_sub(1))
            .and_then(|index| Self::ALL.get(index).copied())
            .unwrap_or(Self::Unknown(number))
    }

    /// The kernel's number.
    pub fn to_kernel(self) -> i32 {
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

    /// Its name in a vocabulary; `None` for a number this version of tracer does not know.
    pub fn known_name(self, names: Names) -> Option<&'static str> {
        let [documented, rfc, kernel, ss] = match self {
            Self::Established => ["ESTABLISHED", "ESTABLISHED", "TCP_ESTABLISHED", "ESTAB"],
            Self::SynSent => ["SYN_SENT", "SYN-SENT", "TCP_SYN_SENT", "SYN-SENT"],
            Self::SynReceived => ["SYN_RECEIVED", "SYN-RECEIVED", "TCP_SYN_RECV", "SYN-RECV"],
            Self::FinWait1 => ["FIN_WAIT_1", "FIN-WAIT-1", "TCP_FIN_WAIT1", "FIN-WAIT-1"],
            Self::FinWait2 => ["FIN_WAIT_2", "FIN-WAIT-2", "TCP_FIN_WAIT2", "FIN-WAIT-2"],
            Self::TimeWait => ["TIME_WAIT", "TIME-WAIT", "TCP_TIME_WAIT", "TIME-WAIT"],
            Self::Closed => ["CLOSED", "CLOSED", "TCP_CLOSE", "UNCONN"],
            Self::CloseWait => ["CLOSE_WAIT", "CLOSE-WAIT", "TCP_CLOSE_WAIT", "CLOSE-WAIT"],
            Self::LastAck => ["LAST_ACK", "LAST-ACK", "TCP_LAST_ACK", "LAST-ACK"],
            Self::Listen => ["LISTEN", "LISTEN", "TCP_LISTEN", "LISTEN"],
            Self::Closing => ["CLOSING", "CLOSING", "TCP_CLOSING", "CLOSING"],
            Self::NewSynReceived => [
                "NEW_SYN_RECEIVED",
                "SYN-RECEIVED",
                "TCP_NEW_SYN_RECV",
                "SYN-RECV",
            ],
            Self::BoundInactive => ["BOUND_INACTIVE", "CLOSED", "TCP_BOUND_INACTIVE", "UNCONN"],
            Self::Unknown(_) => return None,
        };
        Some(match names {
            Names::Documented => documented,
            Names::Rfc => rfc,
            Names::Kernel => kernel,
            Names::Ss => ss,
        })
    }
}
