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

/// [`Header::flags`]: a [`Task`] follows the state record.
pub const FLAG_TASK: u16 = 1;
/// [`Header::flags`]: written by the twin program, because the kernel refused to re-enter the first.
/// Such a record may repeat the one before it of the same socket.
pub const FLAG_TWIN: u16 = 1 << 1;
/// [`Header::flags`]: [`StateRecord::bound_port`] was read from the socket.
pub const FLAG_BOUND_PORT: u16 = 1 << 2;
/// [`Header::flags`]: [`StateRecord::netns`] was read from the socket.
pub const FLAG_NETNS: u16 = 1 << 3;

/// [`Task::flags`]: [`TASK_KERNEL_THREAD`] was read, so its absence means a user process.
pub const TASK_KIND_KNOWN: u32 = 1;
/// [`Task::flags`]: a kernel thread (`PF_KTHREAD`).
pub const TASK_KERNEL_THREAD: u32 = 1 << 1;

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

/// The task that was running the kernel code.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Task {
    /// Process id (thread group) in the initial pid namespace.
    pub pid: u32,
    /// `TASK_*`.
    pub flags: u32,
    /// Command name, NUL padded. Chosen by the process: never trusted.
    pub comm: [u8; 16],
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

const _: () = {
    assert!(size_of::<Header>() == 24 && align_of::<Header>() == 8);
    assert!(size_of::<StateRecord>() == 80 && align_of::<StateRecord>() == 8);
    assert!(size_of::<Task>() == 24);
    assert!(size_of::<AcceptRecord>() == 48);
    assert!(offset_of!(StateRecord, old_state) == 24);
    assert!(offset_of!(StateRecord, local_addr) == 48);
};
