//! What each system calls each state: one table.
//!
//! Sources: `include/net/tcp_states.h`, iproute2 `misc/ss.c`, net-tools `netstat.c`, RFC 9293
//! section 3.3.2, BSD and macOS `netinet/tcp_fsm.h`, Windows `netstat` (whose documentation spells
//! two states differently: see the aliases), PowerShell `Get-NetTCPConnection -State` (the names of
//! .NET's `TcpState` and `Bound`), OpenTelemetry `network.connection.state`.

use super::State;

/// A system, or a document, with its own names for TCP states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum System {
    /// Constants of the Linux kernel.
    Kernel,
    /// `ss` of iproute2.
    Ss,
    /// `netstat` of net-tools, on Linux.
    Netstat,
    /// RFC 9293.
    Rfc,
    /// `netstat` of macOS and the BSDs.
    Bsd,
    /// `netstat` of Windows.
    Windows,
    /// `Get-NetTCPConnection` of `PowerShell`.
    PowerShell,
    /// `OpenTelemetry` semantic conventions.
    OpenTelemetry,
}

impl System {
    /// All of them, Linux first.
    pub const ALL: [Self; 8] = [
        Self::Kernel,
        Self::Ss,
        Self::Netstat,
        Self::Rfc,
        Self::Bsd,
        Self::Windows,
        Self::PowerShell,
        Self::OpenTelemetry,
    ];

    /// Key in JSON.
    pub fn key(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Ss => "ss",
            Self::Netstat => "netstat",
            Self::Rfc => "rfc",
            Self::Bsd => "bsd",
            Self::Windows => "windows",
            Self::PowerShell => "powershell",
            Self::OpenTelemetry => "opentelemetry",
        }
    }

    /// For people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Kernel => "Linux kernel",
            Self::Ss => "Linux ss",
            Self::Netstat => "Linux netstat",
            Self::Rfc => "RFC 9293",
            Self::Bsd => "macOS, BSD netstat",
            Self::Windows => "Windows netstat",
            Self::PowerShell => "Windows PowerShell",
            Self::OpenTelemetry => "OpenTelemetry",
        }
    }
}

/// How a system speaks of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Term {
    /// By a name of its own.
    Name(&'static str),
    /// By the name of another state: it does not tell the two apart.
    ShownAs(&'static str),
    /// Not at all.
    Absent,
}

impl Term {
    /// What the system prints for a socket in this state.
    pub fn shown(self) -> Option<&'static str> {
        match self {
            Self::Name(name) | Self::ShownAs(name) => Some(name),
            Self::Absent => None,
        }
    }

    /// The name, if it means this state and no other.
    pub fn own_name(self) -> Option<&'static str> {
        match self {
            Self::Name(name) => Some(name),
            Self::ShownAs(_) | Self::Absent => None,
        }
    }
}

pub(super) struct Row {
    pub(super) documented: &'static str,
    kernel: Term,
    ss: Term,
    netstat: Term,
    rfc: Term,
    bsd: Term,
    windows: Term,
    powershell: Term,
    opentelemetry: Term,
}

const fn row(names: [&'static str; 9]) -> Row {
    Row {
        documented: names[0],
        kernel: Term::Name(names[1]),
        ss: Term::Name(names[2]),
        netstat: Term::Name(names[3]),
        rfc: Term::Name(names[4]),
        bsd: Term::Name(names[5]),
        windows: Term::Name(names[6]),
        powershell: Term::Name(names[7]),
        opentelemetry: Term::Name(names[8]),
    }
}

/// In the order of the kernel's numbers.
#[rustfmt::skip]
static ROWS: [Row; 13] = [
    //   documented       kernel             ss            netstat        RFC 9293        macOS, BSD     Windows         PowerShell     OpenTelemetry
    row(["ESTABLISHED",  "TCP_ESTABLISHED", "ESTAB",      "ESTABLISHED", "ESTABLISHED",  "ESTABLISHED", "ESTABLISHED",  "Established", "established"]),
    row(["SYN_SENT",     "TCP_SYN_SENT",    "SYN-SENT",   "SYN_SENT",    "SYN-SENT",     "SYN_SENT",    "SYN_SENT",     "SynSent",     "syn_sent"]),
    row(["SYN_RECEIVED", "TCP_SYN_RECV",    "SYN-RECV",   "SYN_RECV",    "SYN-RECEIVED", "SYN_RCVD",    "SYN_RECEIVED", "SynReceived", "syn_received"]),
    row(["FIN_WAIT_1",   "TCP_FIN_WAIT1",   "FIN-WAIT-1", "FIN_WAIT1",   "FIN-WAIT-1",   "FIN_WAIT_1",  "FIN_WAIT_1",   "FinWait1",    "fin_wait_1"]),
    row(["FIN_WAIT_2",   "TCP_FIN_WAIT2",   "FIN-WAIT-2", "FIN_WAIT2",   "FIN-WAIT-2",   "FIN_WAIT_2",  "FIN_WAIT_2",   "FinWait2",    "fin_wait_2"]),
    row(["TIME_WAIT",    "TCP_TIME_WAIT",   "TIME-WAIT",  "TIME_WAIT",   "TIME-WAIT",    "TIME_WAIT",   "TIME_WAIT",    "TimeWait",    "time_wait"]),
    row(["CLOSED",       "TCP_CLOSE",       "UNCONN",     "CLOSE",       "CLOSED",       "CLOSED",      "CLOSED",       "Closed",      "closed"]),
    row(["CLOSE_WAIT",   "TCP_CLOSE_WAIT",  "CLOSE-WAIT", "CLOSE_WAIT",  "CLOSE-WAIT",   "CLOSE_WAIT",  "CLOSE_WAIT",   "CloseWait",   "close_wait"]),
    row(["LAST_ACK",     "TCP_LAST_ACK",    "LAST-ACK",   "LAST_ACK",    "LAST-ACK",     "LAST_ACK",    "LAST_ACK",     "LastAck",     "last_ack"]),
    row(["LISTEN",       "TCP_LISTEN",      "LISTEN",     "LISTEN",      "LISTEN",       "LISTEN",      "LISTENING",    "Listen",      "listen"]),
    row(["CLOSING",      "TCP_CLOSING",     "CLOSING",    "CLOSING",     "CLOSING",      "CLOSING",     "CLOSING",      "Closing",     "closing"]),
    Row {
        documented: "NEW_SYN_RECEIVED",
        kernel: Term::Name("TCP_NEW_SYN_RECV"),
        // inet_diag and /proc/net/tcp report request sockets as TCP_SYN_RECV.
        ss: Term::ShownAs("SYN-RECV"),
        netstat: Term::ShownAs("SYN_RECV"),
        rfc: Term::ShownAs("SYN-RECEIVED"),
        bsd: Term::Absent,
        windows: Term::Absent,
        powershell: Term::Absent,
        opentelemetry: Term::Absent,
    },
    Row {
        documented: "BOUND_INACTIVE",
        kernel: Term::Name("TCP_BOUND_INACTIVE"),
        // A filter of sock_diag: the sockets it finds are reported as TCP_CLOSE.
        ss: Term::ShownAs("UNCONN"),
        netstat: Term::Absent,
        rfc: Term::ShownAs("CLOSED"),
        bsd: Term::ShownAs("CLOSED"),
        windows: Term::Name("BOUND"),
        powershell: Term::Name("Bound"),
        opentelemetry: Term::Absent,
    },
];

/// Names of no column above that mean one state as well.
pub(super) const ALIASES: [(&str, State); 6] = [
    // Accepted by `ss` in a filter.
    ("unconnected", State::Closed),
    ("syn-rcv", State::SynReceived),
    // Microsoft's article 137984 on netstat.
    ("SYN_SEND", State::SynSent),
    ("TIMED_WAIT", State::TimeWait),
    // Windows only: the control block is about to be freed.
    ("DeleteTCB", State::Closed),
    // Without its prefix. Other constants (BSD TCPS_SYN_RECEIVED, MIB_TCP_STATE_ESTAB of Windows)
    // need no entry: less their prefix they are in the table.
    ("NEW_SYN_RECV", State::NewSynReceived),
];

impl State {
    pub(super) fn row(self) -> Option<&'static Row> {
        let number = usize::try_from(self.to_kernel()).ok()?;
        ROWS.get(number.checked_sub(1)?)
    }

    /// What `system` calls this state.
    pub fn term(self, system: System) -> Term {
        self.row().map_or(Term::Absent, |row| match system {
            System::Kernel => row.kernel,
            System::Ss => row.ss,
            System::Netstat => row.netstat,
            System::Rfc => row.rfc,
            System::Bsd => row.bsd,
            System::Windows => row.windows,
            System::PowerShell => row.powershell,
            System::OpenTelemetry => row.opentelemetry,
        })
    }
}
