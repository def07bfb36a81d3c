//! Records that cross the ring buffer, in host byte order unless a field says otherwise.
//!
//! No record has implicit padding and no field is an enum or a `bool`: whatever the bytes are, they
//! decode to a value or to an error. The kernel's numbers are carried as they are; giving them a
//! meaning is the business of userspace.

use core::mem::{align_of, offset_of, size_of};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// [`Header::kind`] of a [`StateRecord`].
pub const KIND_STATE: u16 = 1;
/// [`Header::kind`] of an [`AcceptRecord`].
pub const KIND_ACCEPT: u16 = 2;
/// [`Header::kind`] of an [`EvidenceRecord`]: `tcp:tcp_retransmit_skb`; the detail is the local port, host order.
pub const KIND_RETRANSMIT: u16 = 3;
/// [`Header::kind`] of an [`EvidenceRecord`]: `tcp:tcp_receive_reset`.
pub const KIND_RESET_RECEIVED: u16 = 4;
/// [`Header::kind`] of an [`EvidenceRecord`]: `tcp:tcp_send_reset`; the detail is the kernel's reason.
pub const KIND_RESET_SENT: u16 = 5;
/// [`Header::kind`] of an [`EvidenceRecord`]: `sock:inet_sk_error_report`; the details are `sk_err` and
/// `sk_err_soft`.
pub const KIND_SOCKET_ERROR: u16 = 6;
/// [`Header::kind`] of a [`RequestRecord`]: `tcp:tcp_retransmit_synack`.
pub const KIND_SYNACK_RETRANSMIT: u16 = 7;

/// [`Header::kind`] of a [`CgroupRecord`], written by userspace.
pub const KIND_CGROUP: u16 = 96;
/// [`Header::kind`] of a [`ProcessRecord`], written by userspace.
pub const KIND_PROCESS: u16 = 97;
/// [`Header::kind`] of a [`HolderRecord`], written by userspace.
pub const KIND_HOLDER: u16 = 98;
/// [`Header::kind`] of an [`EvidenceRecord`] without details: `tcp:tcp_destroy_sock`.
pub const KIND_DESTROYED: u16 = 8;
/// [`Header::kind`] of an [`EvidenceRecord`]: `tcp_time_wait` was called; the detail is the state that a
/// mini-socket is to go on with, kernel number.
pub const KIND_HANDED_OVER: u16 = 9;
/// [`Header::kind`] of a [`MiniRecord`]: `inet_twsk_hashdance*`, the mini-socket is there.
pub const KIND_MINI_BORN: u16 = 10;
/// [`Header::kind`] of a [`MiniRecord`]: `__inet_twsk_schedule`, its timer was set again.
pub const KIND_MINI_TIMER: u16 = 11;
/// [`Header::kind`] of a [`MiniRecord`]: `inet_twsk_kill`, the mini-socket is gone.
pub const KIND_MINI_END: u16 = 12;
/// [`Header::kind`] of a [`RequestRecord`]: `inet_csk_reqsk_queue_hash_add`, a SYN made a half-open
/// connection.
pub const KIND_REQUEST_BORN: u16 = 13;
/// [`Header::kind`] of a [`LossRecord`].
pub const KIND_LOSS: u16 = 14;

// Kinds from 64 on are not written by the kernel programs: userspace puts them among the records of the
// kernel, with the time at which it found out.

/// [`Header::kind`] of a [`SocketRecord`]: a socket that was there when tracer asked the kernel.
pub const KIND_SOCKET: u16 = 64;
/// [`Header::kind`] of a [`PolledRecord`]: what the kernel answered when it was asked for a connection.
pub const KIND_POLLED: u16 = 80;

/// [`PolledRecord::found`]: neither a mini-socket nor a half-open connection with these ends.
pub const POLLED_NOTHING: u16 = 0;
/// [`PolledRecord::found`]: a mini-socket.
pub const POLLED_MINI: u16 = 1;
/// [`PolledRecord::found`]: a half-open connection.
pub const POLLED_HALF_OPEN: u16 = 2;
/// [`PolledRecord::found`]: the kernel can not be asked for it, or no more.
pub const POLLED_NOT_KNOWN: u16 = 3;
/// [`PolledRecord::found`]: another connection with these ends.
pub const POLLED_ANOTHER: u16 = 4;
/// [`PolledRecord::found`]: its namespace is gone, or no way leads into it, or another one may have its number.
pub const POLLED_NO_NAMESPACE: u16 = 5;

/// [`Header::flags`]: a [`Task`] follows the state record.
pub const FLAG_TASK: u16 = 1;
/// [`Header::flags`]: written by the twin program, because the kernel refused to re-enter the first.
/// Such a record may repeat the one before it of the same socket.
pub const FLAG_TWIN: u16 = 1 << 1;
/// [`Header::flags`]: [`StateRecord::bound_port`] was read from the socket.
pub const FLAG_BOUND_PORT: u16 = 1 << 2;
/// [`Header::flags`]: [`StateRecord::netns`] was read from the socket.
pub const FLAG_NETNS: u16 = 1 << 3;
/// [`Header::flags`]: [`Counts`] follow the state record, after the task if there is one.
pub const FLAG_COUNTS: u16 = 1 << 4;
/// [`Header::flags`]: [`EvidenceRecord::detail`] was given by the kernel; of a [`PolledRecord`],
/// [`PolledRecord::timer_ns`] was.
pub const FLAG_DETAIL: u16 = 1 << 5;

/// [`Header::flags`]: [`AtClose`] follows the [`Counts`] of a state record.
pub const FLAG_AT_CLOSE: u16 = 1 << 9;

/// [`Header::flags`]: an [`AcceptRecord`] by a completion of `io_uring` that tells its result, but not of what
/// request. What completed can have been another one, whose result happens to be the number of a socket's
/// descriptor.
pub const FLAG_PRESUMED: u16 = 1 << 8;

/// [`Task::flags`]: [`TASK_KERNEL_THREAD`] was read, so its absence means a user process.
pub const TASK_KIND_KNOWN: u32 = 1;
/// [`Task::flags`]: a kernel thread (`PF_KTHREAD`).
pub const TASK_KERNEL_THREAD: u32 = 1 << 1;
/// [`Task::flags`]: [`Task::ns_pid`] was read.
pub const TASK_NS_PID: u32 = 1 << 2;
/// [`Task::flags`]: [`Task::start_ns`] was read.
pub const TASK_START: u32 = 1 << 3;
/// [`Task::flags`]: [`Task::cgroup_id`] was read.
pub const TASK_CGROUP: u32 = 1 << 4;
/// [`Task::flags`]: [`Task::comm`] is the name of the process, not that of the one thread.
pub const TASK_PROCESS_COMM: u32 = 1 << 5;

/// First bytes of every record.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Header {
    /// `KIND_*`.
    pub kind: u16,
    /// `FLAG_*`.
    pub flags: u16,
    /// CPU the program ran on.
    pub cpu: u32,
    /// `CLOCK_MONOTONIC` in nanoseconds (`bpf_ktime_get_ns`).
    pub mono_ns: u64,
    /// Kernel address of the `struct sock`. Reused quickly: not an identity on its own.
    pub sk: u64,
}

/// One run of `sock:inet_sock_set_state`. A [`Task`] follows when [`FLAG_TASK`] is set.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct StateRecord {
    /// Kind, flags, time and socket.
    pub header: Header,
    /// State before, kernel number.
    pub old_state: i32,
    /// State after, kernel number.
    pub new_state: i32,
    /// Inode number of the network namespace; meaningful with [`FLAG_NETNS`].
    pub netns: u32,
    /// Address family (`AF_*`).
    pub family: u16,
    /// IP protocol number (6 TCP, 262 MPTCP).
    pub protocol: u16,
    /// `inet_sport` in host order; 0, or left over from an earlier connection, while unbound.
    pub local_port: u16,
    /// `inet_dport` in host order; 0 where there is no peer yet.
    pub remote_port: u16,
    /// `skc_num`: the port the socket is bound to now, 0 for none; meaningful with [`FLAG_BOUND_PORT`].
    pub bound_port: u16,
    /// Zero.
    pub reserved: u16,
    /// Local address: IPv6, or v4-mapped for `AF_INET`.
    pub local_addr: [u8; 16],
    /// Remote address: IPv6, or v4-mapped for `AF_INET`.
    pub remote_addr: [u8; 16],
}

/// The process of the task that was running the kernel code.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Task {
    /// Process id (thread group) in the initial pid namespace.
    pub pid: u32,
    /// `TASK_*`.
    pub flags: u32,
    /// Command name, NUL padded: of the process (its first thread), or with no [`TASK_PROCESS_COMM`] of
    /// the thread. Chosen by the process: never trusted.
    pub comm: [u8; 16],
    /// Id of its cgroup in the hierarchy of version 2; meaningful with [`TASK_CGROUP`].
    pub cgroup_id: u64,
    /// When the process started, nanoseconds of `CLOCK_BOOTTIME`: tells apart processes that used the same
    /// pid. Meaningful with [`TASK_START`].
    pub start_ns: u64,
    /// Process id in its own pid namespace; meaningful with [`TASK_NS_PID`].
    pub ns_pid: u32,
    /// Real user id, in the initial user namespace.
    pub uid: u32,
}

/// A process took the socket off a listener's queue with `accept` or `accept4`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct AcceptRecord {
    /// Kind, flags, time and the accepted socket.
    pub header: Header,
    /// The accepting process.
    pub task: Task,
}

/// What the socket has counted, read when it is established and when it is closed.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Counts {
    /// `tcp_sock.bytes_sent`: payload sent, retransmissions included.
    pub bytes_sent: u64,
    /// `tcp_sock.bytes_acked`: payload that the peer has acknowledged, and 1 each for SYN and FIN.
    pub bytes_acked: u64,
    /// `tcp_sock.bytes_received`: payload received in order, and 1 for a FIN.
    pub bytes_received: u64,
    /// `tcp_sock.srtt_us`: eight times the smoothed round trip time in microseconds; 0 unmeasured.
    pub srtt_us_times_8: u32,
    /// `tcp_sock.total_retrans`: segments retransmitted, SYNs and a server's SYN-ACKs included.
    pub total_retransmits: u32,
    /// `sock.sk_err`: error number to be reported to the application, 0 for none.
    pub error: u32,
    /// `sock.sk_err_soft`: error number that did not end the connection (ICMP), 0 for none.
    pub soft_error: u32,
}

/// [`AtClose::known`]: [`AtClose::uid`] was read.
pub const AT_CLOSE_UID: u32 = 1;
/// [`AtClose::known`]: [`AtClose::cgroup_id`] was read.
pub const AT_CLOSE_CGROUP: u32 = 1 << 1;
/// [`AtClose::known`]: the segments were read.
pub const AT_CLOSE_SEGMENTS: u32 = 1 << 2;
/// [`AtClose::known`]: [`AtClose::congestion_state`] was read.
pub const AT_CLOSE_CONGESTION: u32 = 1 << 3;
/// [`AtClose::known`]: [`AtClose::netns_cookie`] was read.
pub const AT_CLOSE_NETNS_COOKIE: u32 = 1 << 4;
/// [`AtClose::known`]: whether the peer's FIN was received was read; it was with [`AT_CLOSE_FIN_RECEIVED`].
pub const AT_CLOSE_FIN: u32 = 1 << 5;
/// [`AtClose::known`]: `SOCK_DONE` of `sock_common.skc_flags` was set.
pub const AT_CLOSE_FIN_RECEIVED: u32 = 1 << 6;

/// More of the socket, read when it is closed alone.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct AtClose {
    /// `AT_CLOSE_*`: which of these were read; the others are 0.
    pub known: u32,
    /// `sock.sk_uid`: who made the socket, or accepted it, by the file system user id of that process in the
    /// initial user namespace.
    pub uid: u32,
    /// `sock.sk_cgrp_data`: id of the cgroup, in the hierarchy of version 2, in which the socket was made; of
    /// an accepted one that of its listener.
    pub cgroup_id: u64,
    /// `tcp_sock.segs_in`: segments received, bare acknowledgments included.
    pub segments_in: u32,
    /// `tcp_sock.data_segs_in`: those with payload.
    pub data_segments_in: u32,
    /// `tcp_sock.segs_out`: segments sent, bare acknowledgments and retransmissions included.
    pub segments_out: u32,
    /// `tcp_sock.data_segs_out`: those with payload.
    pub data_segments_out: u32,
    /// `inet_connection_sock.icsk_ca_state`: `enum tcp_ca_state` (`include/uapi/linux/tcp.h`).
    pub congestion_state: u32,
    /// `net.net_cookie`, its lower half: tells apart network namespaces that had the same inode number, which
    /// the kernel gives to the next one as soon as one is gone.
    pub netns_cookie: u32,
}

/// Something that happened to a socket beside its state changes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct EvidenceRecord {
    /// Kind, flags, time and socket.
    pub header: Header,
    /// See the kind; meaningful with [`FLAG_DETAIL`].
    pub detail: u32,
    /// See the kind; meaningful with [`FLAG_DETAIL`].
    pub detail2: u32,
}

/// Something happened to a half-open connection. It has no socket yet: `header.sk` is the listener's, and
/// the connection is known by its addresses.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct RequestRecord {
    /// Kind, flags, time and the listener's socket.
    pub header: Header,
    /// Inode number of the network namespace; meaningful with [`FLAG_NETNS`].
    pub netns: u32,
    /// Address family (`AF_*`).
    pub family: u16,
    /// Local port, host order.
    pub local_port: u16,
    /// Remote port, host order.
    pub remote_port: u16,
    /// Zero.
    pub reserved: [u16; 3],
    /// Local address: IPv6, or v4-mapped for `AF_INET`.
    pub local_addr: [u8; 16],
    /// Remote address: IPv6, or v4-mapped for `AF_INET`.
    pub remote_addr: [u8; 16],
}

/// The path of a cgroup in the hierarchy of version 2: the bytes that follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct CgroupRecord {
    /// Kind and time; no socket.
    pub header: Header,
    /// As in [`Task::cgroup_id`].
    pub cgroup_id: u64,
}

/// The path of the cgroup of a process in a hierarchy of version 1, which the kernel programs know nothing
/// of: the bytes that follow. It goes before that of its cgroup of version 2.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct ProcessRecord {
    /// Kind and time; no socket.
    pub header: Header,
    /// As in [`Task::start_ns`].
    pub start_ns: u64,
    /// As in [`Task::pid`].
    pub pid: u32,
    /// Zero.
    pub reserved: u32,
}

/// [`HolderRecord::known`]: [`HolderRecord::ns_pid`] was read.
pub const HOLDER_NS_PID: u32 = 1;
/// [`HolderRecord::known`]: [`HolderRecord::uid`] was read.
pub const HOLDER_UID: u32 = 1 << 1;
/// [`HolderRecord::known`]: the path of its cgroup was, of either version: the bytes that follow.
pub const HOLDER_CGROUP: u32 = 1 << 2;

/// A process that held sockets when they were listed, as /proc tells of it. It goes before each
/// [`SocketRecord`] that names it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct HolderRecord {
    /// Kind and time; no socket.
    pub header: Header,
    /// As in [`Process::pid`].
    pub pid: u32,
    /// `HOLDER_*`: which of these were read; the others are 0.
    pub known: u32,
    /// As in [`Task::ns_pid`].
    pub ns_pid: u32,
    /// As in [`Task::uid`].
    pub uid: u32,
}

/// Something happened to the mini-socket (`struct inet_timewait_sock`) in which the kernel keeps the rest of
/// a connection that was closed here; `header.sk` is its address.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct MiniRecord {
    /// Kind, flags, time and the mini-socket.
    pub header: Header,
    /// The socket that it follows, for [`KIND_MINI_BORN`]; else 0.
    pub full_sk: u64,
    /// `tw_substate`: `FIN_WAIT2` or `TIME_WAIT`, kernel number.
    pub state: u32,
    /// Zero.
    pub reserved: u32,
}

/// What became of a connection whose socket is closed or not there yet, as far as the kernel tells when it
/// is asked (`sock_diag`). `header.mono_ns` is when it was asked, for [`POLLED_NOTHING`] and [`POLLED_ANOTHER`] when it had answered;
/// `header.sk` is 0: the connection is known by its ends.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct PolledRecord {
    /// Kind, flags and time.
    pub header: Header,
    /// Inode number of the network namespace; meaningful with [`FLAG_NETNS`]. As it was asked for.
    pub netns: u32,
    /// Address family (`AF_*`).
    pub family: u16,
    /// Local port, host order.
    pub local_port: u16,
    /// Remote port, host order.
    pub remote_port: u16,
    /// `POLLED_*`.
    pub found: u16,
    /// Of a mini-socket `FIN_WAIT2` or `TIME_WAIT`, kernel number; else 0.
    pub state: u32,
    /// SYN-ACKs sent again of a half-open connection; else 0.
    pub retransmits: u32,
    /// Nanoseconds that the answer took: by so much later than asked the kernel looked, at most.
    pub took_ns: u32,
    /// Nanoseconds until its timer is due; meaningful with [`FLAG_DETAIL`].
    pub timer_ns: u64,
    /// When it was last asked for before, and there (`CLOCK_MONOTONIC`, ns); 0 for never.
    pub seen_ns: u64,
    /// Local address: IPv6, or v4-mapped for `AF_INET`.
    pub local_addr: [u8; 16],
    /// Remote address: IPv6, or v4-mapped for `AF_INET`.
    pub remote_addr: [u8; 16],
}

/// A socket as the kernel described it on request (`sock_diag(7)`, `struct inet_diag_msg`). As many
/// [`Process`]es as [`owners`](Self::owners) says follow: those that hold a descriptor of it.
///
/// The kernel looked at it between [`asked_ns`](Self::asked_ns) and [`Header::mono_ns`]. [`Header::sk`] is
/// 0: the answer holds no address.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct SocketRecord {
    /// Kind, flags, and the time by which the kernel had looked at it.
    pub header: Header,
    /// `CLOCK_MONOTONIC` in nanoseconds, before the kernel looked at it.
    pub asked_ns: u64,
    /// `idiag_cookie`: the kernel's own identity of the connection, kept when a mini-socket follows the
    /// socket.
    pub cookie: u64,
    /// Inode number of the network namespace; meaningful with [`FLAG_NETNS`].
    pub netns: u32,
    /// `idiag_inode`: inode number of the socket, 0 where no file belongs to it (yet, or any more).
    pub inode: u32,
    /// `idiag_uid`: user who made it.
    pub uid: u32,
    /// `idiag_expires`: milliseconds until its timer runs out; meaningful with a timer.
    pub expires_ms: u32,
    /// `idiag_rqueue`: bytes to be read; of a listener, connections waiting to be accepted.
    pub receive_queue: u32,
    /// `idiag_wqueue`: bytes not acknowledged; of a listener, how many may wait.
    pub send_queue: u32,
    /// Address family (`AF_*`).
    pub family: u16,
    /// IP protocol number (6 TCP, 262 MPTCP).
    pub protocol: u16,
    /// Local port, host order.
    pub local_port: u16,
    /// Remote port, host order; 0 of a listener.
    pub remote_port: u16,
    /// State, kernel number.
    pub state: u8,
    /// `idiag_timer`: 0 none, 1 retransmission, 2 keepalive, 3 a mini-socket's, 4 zero window probe.
    pub timer: u8,
    /// `idiag_retrans`: retransmissions or probes of that timer.
    pub retransmits: u8,
    /// Zero.
    pub reserved: u8,
    /// Number of processes that follow.
    pub owners: u32,
    /// Local address: IPv6, or v4-mapped for `AF_INET`.
    pub local_addr: [u8; 16],
    /// Remote address: IPv6, or v4-mapped for `AF_INET`.
    pub remote_addr: [u8; 16],
}

/// Events that programs ran for and did not deliver.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct Losses {
    /// Transitions: the ring buffer was full.
    pub ring_full: u64,
    /// Transitions: the kernel refused to read the socket.
    pub unreadable: u64,
    /// Accepts and evidence, for either reason, or because a program would have run inside itself.
    pub evidence: u64,
}

/// Something was lost before this place in the ring buffer. Goes before the first record that was delivered
/// after it, by whatever CPU, with the time of that record; now and then there are two of the same. Userspace
/// makes of it what it puts among the records where it counts losses itself.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct LossRecord {
    /// Kind, CPU and time; no socket.
    pub header: Header,
    /// Since the programs were loaded.
    pub lost: Losses,
}

/// A process as /proc names it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Process {
    /// Process id (thread group) in the initial pid namespace.
    pub pid: u32,
    /// Command name, NUL padded. Chosen by the process: never trusted.
    pub comm: [u8; 16],
}

const _: () = {
    assert!(size_of::<Header>() == 24 && align_of::<Header>() == 8);
    assert!(size_of::<StateRecord>() == 80 && align_of::<StateRecord>() == 8);
    assert!(size_of::<Task>() == 48);
    assert!(size_of::<AcceptRecord>() == 72);
    assert!(size_of::<Counts>() == 40);
    assert!(size_of::<AtClose>() == 40 && align_of::<AtClose>() == 8);
    assert!(size_of::<EvidenceRecord>() == 32);
    assert!(size_of::<RequestRecord>() == 72);
    assert!(size_of::<MiniRecord>() == 40);
    assert!(size_of::<PolledRecord>() == 96);
    assert!(size_of::<LossRecord>() == 48);
    assert!(size_of::<CgroupRecord>() == 32);
    assert!(size_of::<ProcessRecord>() == 40);
    assert!(size_of::<HolderRecord>() == 40);
    assert!(size_of::<SocketRecord>() == 112 && align_of::<SocketRecord>() == 8);
    assert!(size_of::<Process>() == 20);
    assert!(offset_of!(StateRecord, old_state) == 24);
    assert!(offset_of!(StateRecord, local_addr) == 48);
};
