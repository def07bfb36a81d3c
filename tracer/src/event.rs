//! What happened, in rich types: one [`Event`] for each record of the kernel programs.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use crate::place::Place;
use crate::state::State;

/// One thing the kernel reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A socket changed its state.
    State(StateEvent),
    /// A process accepted a socket.
    Accept(AcceptEvent),
    /// Something else happened to a socket, which tells why its state changes.
    Evidence(EvidenceEvent),
    /// Userspace found out where processes belong.
    Place(PlaceEvent),
    /// Userspace looked at a process that holds sockets.
    Holder(HolderEvent),
    /// The kernel was asked what became of a connection.
    Polled(PolledEvent),
    /// A socket was there when the kernel was asked.
    Socket(Box<SocketEvent>),
}

impl Event {
    /// When it happened: `CLOCK_MONOTONIC`, nanoseconds.
    pub fn mono_ns(&self) -> u64 {
        match self {
            Self::State(event) => event.mono_ns,
            Self::Accept(event) => event.mono_ns,
            Self::Evidence(event) => event.mono_ns,
            Self::Place(event) => event.mono_ns,
            Self::Holder(event) => event.mono_ns,
            Self::Polled(event) => event.mono_ns,
            Self::Socket(event) => event.seen_ns,
        }
    }
}

/// One run of `sock:inet_sock_set_state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateEvent {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub mono_ns: u64,
    /// Kernel address of the socket; reused by the kernel as soon as the socket is freed.
    pub sk: u64,
    /// Inode number of the network namespace, where the kernel's layout is known.
    pub netns: Option<u32>,
    /// Address family of the socket. An IPv6 socket can talk IPv4 (v4-mapped addresses).
    pub family: Family,
    /// Transport protocol.
    pub protocol: Protocol,
    /// This side. The port is 0 until the kernel has chosen one: in `CLOSED -> SYN_SENT` of an
    /// unbound socket it has not.
    pub local: Endpoint,
    /// The other side; address unspecified and port 0 where there is none (yet).
    pub remote: Endpoint,
    /// State left.
    pub from: State,
    /// State entered.
    pub to: State,
    /// The local port is final: not one that the kernel has still to choose, nor one left over from
    /// an earlier connection of the same socket.
    pub local_port_known: bool,
    /// The calling process, only where this transition can happen in no other context than that of a
    /// system call on this very socket. Never the task a softirq happened to interrupt.
    pub task: Option<Task>,
    /// What the socket has counted, on the way to ESTABLISHED and to CLOSED, where the kernel's layout is
    /// known.
    pub counts: Option<Counts>,
    /// More of the socket, on the way to CLOSED alone.
    pub at_close: Option<AtClose>,
    /// Recorded by the twin program: the kernel had refused to re-enter the first. May repeat the
    /// socket's last transition.
    pub from_twin: bool,
}

/// A process took a socket off a listener's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptEvent {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub mono_ns: u64,
    /// Kernel address of the accepted socket.
    pub sk: u64,
    /// The accepting process.
    pub task: Task,
    /// It may have been something else that yielded the socket's descriptor: see `wire::FLAG_PRESUMED`.
    pub presumed: bool,
}

/// Something that happened to a socket beside its state changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvidenceEvent {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub mono_ns: u64,
    /// Kernel address of the socket; of the listener for [`Evidence::SynAckRetransmit`] (with TCP fast open
    /// of the connection) and [`Evidence::RequestBorn`], of the mini-socket for [`Evidence::MiniTimer`] and
    /// [`Evidence::MiniEnd`].
    pub sk: u64,
    /// What happened.
    pub what: Evidence,
}

/// What an [`EvidenceEvent`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// A segment was sent again (`tcp:tcp_retransmit_skb`): a SYN while the socket is in `SYN_SENT`.
    Retransmit {
        /// The port of this side, which no transition before tells of a client that let the kernel choose it;
        /// `None` in recordings of versions that did not read it.
        local_port: Option<u16>,
    },
    /// The peer's reset arrived (`tcp:tcp_receive_reset`). The state change follows.
    ResetReceived,
    /// A reset was sent (`tcp:tcp_send_reset`). Comes before or just after the state change.
    ResetSent {
        /// The kernel's reason by its number, which means something else on another kernel; `None`
        /// before Linux 6.10.
        reason: Option<u32>,
    },
    /// The application was told of an error (`sock:inet_sk_error_report`). Comes after the state change,
    /// or before it.
    SocketError {
        /// `errno`, 0 for none.
        error: u32,
        /// `errno` of an ICMP message that did not end the connection, 0 for none.
        soft_error: u32,
    },
    /// The SYN-ACK of a half-open connection was sent again (`tcp:tcp_retransmit_synack`).
    SynAckRetransmit {
        /// Inode number of the network namespace.
        netns: Option<u32>,
        /// This side.
        local: Endpoint,
        /// The other side.
        remote: Endpoint,
    },
    /// A SYN made a half-open connection (`inet_csk_reqsk_queue_hash_add`).
    RequestBorn {
        /// Inode number of the network namespace.
        netns: Option<u32>,
        /// This side.
        local: Endpoint,
        /// The other side.
        remote: Endpoint,
    },
    /// The socket was freed (`tcp:tcp_destroy_sock`): nothing more comes of it.
    Destroyed,
    /// A mini-socket is to go on with the connection (`tcp_time_wait`). The socket's `-> CLOSED` follows,
    /// and before it [`Evidence::MiniBorn`] unless there was no room for a mini-socket.
    HandedOver {
        /// `FIN_WAIT_2` or `TIME_WAIT`.
        state: State,
    },
    /// A mini-socket goes on with the connection (`inet_twsk_hashdance`).
    MiniBorn {
        /// Its kernel address; reused by the kernel as soon as it is gone.
        mini: u64,
        /// `FIN_WAIT_2` or `TIME_WAIT`.
        state: State,
    },
    /// The timer of a mini-socket was set again (`__inet_twsk_schedule`): the peer's FIN has taken it to
    /// `TIME_WAIT`, or a later segment of the peer has prolonged that.
    MiniTimer {
        /// `FIN_WAIT_2` or `TIME_WAIT`.
        state: State,
    },
    /// A mini-socket is gone (`inet_twsk_kill`).
    MiniEnd {
        /// The state it was in: `TIME_WAIT`, or `FIN_WAIT_2` where the peer never closed.
        state: State,
    },
}

/// What the kernel answered when it was asked for a connection that has no socket of its own any more, or
/// not yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolledEvent {
    /// When it was asked, or of [`Polled::Nothing`] and [`Polled::Another`] when it had answered: `CLOCK_MONOTONIC`,
    /// nanoseconds.
    pub mono_ns: u64,
    /// How long the answer took; 0 where that was not written down.
    pub took_ns: u64,
    /// When there was something the last time before that it was asked, if there was.
    pub seen_ns: Option<u64>,
    /// Inode number of the network namespace, as it was asked for.
    pub netns: Option<u32>,
    /// This side.
    pub local: Endpoint,
    /// The other side.
    pub remote: Endpoint,
    /// The answer.
    pub found: Polled,
}

/// What there was of a connection; see [`PolledEvent`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polled {
    /// Nothing any more.
    Nothing,
    /// A mini-socket.
    Mini {
        /// `FIN_WAIT_2` or `TIME_WAIT`.
        state: State,
        /// Nanoseconds until its timer is due, to the grain of the kernel's clock tick.
        timer_ns: Option<u64>,
    },
    /// A half-open connection.
    HalfOpen {
        /// SYN-ACKs sent again.
        retransmits: u32,
    },
    /// Another connection has its ends.
    Another,
    /// Its network namespace is gone, or no way leads into it, or another one may have its number.
    NoNamespace,
    /// It cannot be asked for, or no more.
    NotKnown,
}

/// Where processes belong; comes before the events of those processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceEvent {
    /// `CLOCK_MONOTONIC`, nanoseconds: of the first event that was read together with those it goes before.
    pub mono_ns: u64,
    /// Which processes.
    pub of: PlaceOf,
    /// Where they belong.
    pub place: Arc<Place>,
}

/// The processes that a [`PlaceEvent`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaceOf {
    /// All in the cgroup of this id: [`Task::cgroup_id`].
    Cgroup(u64),
    /// One: [`Task::pid`] and [`Task::start_ns`]. Goes before what is known of its cgroup.
    Process(u32, u64),
}

/// A process that held sockets when they were listed; comes before those sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HolderEvent {
    /// `CLOCK_MONOTONIC`, nanoseconds: of the first event that was read together with those it goes before.
    pub mono_ns: u64,
    /// [`Process::pid`]
    pub pid: u32,
    /// Its id in its own pid namespace.
    pub ns_pid: Option<u32>,
    /// Real user id in the initial user namespace.
    pub uid: Option<u32>,
    /// Where it belonged.
    pub place: Option<Arc<Place>>,
}

/// A socket that was there when the kernel was asked for all of them.
///
/// The kernel's answer names no address of the socket: it is known by its namespace and its ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketEvent {
    /// `CLOCK_MONOTONIC`, nanoseconds: before the kernel looked at it.
    pub asked_ns: u64,
    /// `CLOCK_MONOTONIC`, nanoseconds: when the kernel had looked at it.
    pub seen_ns: u64,
    /// Inode number of the network namespace.
    pub netns: Option<u32>,
    /// Address family of the socket.
    pub family: Family,
    /// Transport protocol.
    pub protocol: Protocol,
    /// This side.
    pub local: Endpoint,
    /// The other side; address unspecified and port 0 where there is none.
    pub remote: Endpoint,
    /// The state it was in.
    pub state: State,
    /// It has a file: somebody called `socket` or `accept` for it, and has not closed it yet.
    pub has_file: bool,
    /// The processes that hold it, as far as they were found, by process id.
    pub owners: Vec<Process>,
}

/// What a socket has counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Payload bytes sent, retransmissions included (`tcp_sock.bytes_sent`).
    pub bytes_sent: u64,
    /// Bytes acknowledged by the peer, 1 each for SYN and FIN included (`tcp_sock.bytes_acked`).
    pub bytes_acked: u64,
    /// Payload bytes received in order, 1 for a FIN included (`tcp_sock.bytes_received`).
    pub bytes_received: u64,
    /// Smoothed round trip time in microseconds; `None` while none was measured.
    pub rtt_us: Option<u32>,
    /// Segments sent again, SYNs and a server's SYN-ACKs included (`tcp_sock.total_retrans`).
    pub retransmits: u32,
    /// `errno` for the application, 0 for none (`sk_err`).
    pub error: u32,
    /// `errno` that did not end the connection, 0 for none (`sk_err_soft`).
    pub soft_error: u32,
}

/// What a socket was at its end; `None` where the kernel's layout is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AtClose {
    /// Who made the socket, or accepted it: file system user id, in the initial user namespace
    /// (`sock.sk_uid`).
    pub uid: Option<u32>,
    /// Id of the cgroup of version 2 in which the socket was made, or its listener if it was accepted
    /// (`sock.sk_cgrp_data`).
    pub cgroup_id: Option<u64>,
    /// Segments that it had sent and received.
    pub segments: Option<Segments>,
    /// Where congestion control stood.
    pub congestion: Option<Congestion>,
    /// The peer's FIN was received (`SOCK_DONE`).
    pub fin_received: Option<bool>,
}

/// Segments of one connection: those of its socket, so without a server's SYN-ACK, and without what a
/// mini-socket sends and receives after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segments {
    /// Sent, bare acknowledgments and retransmissions included (`tcp_sock.segs_out`).
    pub sent: u32,
    /// Received, bare acknowledgments included (`tcp_sock.segs_in`).
    pub received: u32,
    /// Sent with payload (`tcp_sock.data_segs_out`).
    pub data_sent: u32,
    /// Received with payload (`tcp_sock.data_segs_in`).
    pub data_received: u32,
}

/// State of congestion control (`enum tcp_ca_state`, `include/uapi/linux/tcp.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Congestion {
    /// Nothing dubious was seen.
    Open,
    /// Duplicate or selective acknowledgments came: segments may be lost or reordered.
    Disorder,
    /// The window is being reduced, by ECN or a full local queue.
    Cwr,
    /// Lost segments are sent again after selective or duplicate acknowledgments.
    Recovery,
    /// The retransmission timer has run out, and nothing that was sent before has been acknowledged since.
    Loss,
}

impl Congestion {
    /// By the kernel's number.
    pub fn from_kernel(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::Open),
            1 => Some(Self::Disorder),
            2 => Some(Self::Cwr),
            3 => Some(Self::Recovery),
            4 => Some(Self::Loss),
            _ => None,
        }
    }

    /// Its name in all outputs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Disorder => "disorder",
            Self::Cwr => "cwr",
            Self::Recovery => "recovery",
            Self::Loss => "loss",
        }
    }
}

/// An address and a port (host order).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// As the socket holds it: a v4-mapped address stays IPv6.
    pub addr: IpAddr,
    /// 0 where there is none (yet).
    pub port: u16,
}

impl Endpoint {
    /// The address with a v4-mapped one as IPv4: what is on the wire.
    pub fn wire_addr(&self) -> IpAddr {
        self.addr.to_canonical()
    }

    /// The address as IPv6, an IPv4 one v4-mapped.
    pub fn mapped_addr(&self) -> Ipv6Addr {
        match self.addr {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        }
    }
}

/// Address family of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// `AF_INET`
    Inet,
    /// `AF_INET6`
    Inet6,
    /// Anything else, by number.
    Other(u16),
}

impl Family {
    /// From an `AF_*` number.
    pub fn from_number(number: u16) -> Self {
        match number {
            2 => Self::Inet,
            10 => Self::Inet6,
            other => Self::Other(other),
        }
    }
}

/// Transport protocol of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// `IPPROTO_TCP`, 6
    Tcp,
    /// `IPPROTO_MPTCP`, 262
    Mptcp,
    /// Anything else, by number.
    Other(u16),
}

impl Protocol {
    /// From an `IPPROTO_*` number.
    pub fn from_number(number: u16) -> Self {
        match number {
            6 => Self::Tcp,
            262 => Self::Mptcp,
            other => Self::Other(other),
        }
    }
}

/// A process, as the kernel saw it when the event happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    /// Process id (thread group) in the initial pid namespace.
    pub pid: u32,
    /// Command name: of the process, where the kernel's layout is known, else of the thread.
    pub comm: Comm,
    /// Whether it is a kernel thread; `None` where the kernel's layout is not known.
    pub kernel_thread: Option<bool>,
    /// Process id in its own pid namespace, where the kernel's layout is known.
    pub ns_pid: Option<u32>,
    /// Real user id in the initial user namespace.
    pub uid: u32,
    /// When the process started (`CLOCK_BOOTTIME`, ns), where the kernel's layout is known.
    pub start_ns: Option<u64>,
    /// Id of its cgroup in the hierarchy of version 2, where the kernel has cgroups.
    pub cgroup_id: Option<u64>,
}

/// A process that holds a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Process id (thread group) in the initial pid namespace.
    pub pid: u32,
    /// Command name.
    pub comm: Comm,
}

/// A command name as the kernel keeps it: at most 15 bytes, any bytes, chosen by the process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Comm(pub [u8; 16]);

impl Comm {
    /// The bytes before the first NUL.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.split(|b| *b == 0).next().unwrap_or_default()
    }

    /// As text; bytes that are not UTF-8 become U+FFFD. Control characters stay: whoever writes to a
    /// terminal must escape them.
    pub fn to_string_lossy(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(self.as_bytes())
    }
}

impl fmt::Debug for Comm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string_lossy())
    }
}

impl From<&str> for Comm {
    /// Cut to 15 bytes, as the kernel does.
    fn from(text: &str) -> Self {
        let mut bytes = [0; 16];
        for (to, from) in bytes.iter_mut().take(15).zip(text.bytes()) {
            *to = from;
        }
        Self(bytes)
    }
}
