//! Names by which the loader finds programs, maps and globals in the BPF object.

/// Raw tracepoint program on `sock:inet_sock_set_state` that records every transition.
pub const STATE_RAW: &str = "state_raw";
/// Its twin, attached after it: records the transitions the kernel refused to run [`STATE_RAW`] for.
pub const STATE_RAW_TWIN: &str = "state_raw_twin";
/// Classic tracepoint program on the same tracepoint, for kernels whose BTF cannot be used.
pub const STATE_CLASSIC: &str = "state_classic";
/// Classic tracepoint program on `syscalls:sys_exit_accept` and `syscalls:sys_exit_accept4`.
pub const ACCEPT_EXIT: &str = "accept_exit";
/// Raw tracepoint program on `io_uring:io_uring_complete`.
pub const ACCEPT_IO_URING: &str = "accept_io_uring";
/// Raw tracepoint program on `tcp:tcp_retransmit_skb`.
pub const RETRANSMIT: &str = "retransmit";
/// Raw tracepoint program on `tcp:tcp_receive_reset`.
pub const RESET_RECEIVED: &str = "reset_received";
/// Raw tracepoint program on `tcp:tcp_send_reset`.
pub const RESET_SENT: &str = "reset_sent";
/// Raw tracepoint program on `sock:inet_sk_error_report`.
pub const SOCKET_ERROR: &str = "socket_error";
/// Raw tracepoint program on `tcp:tcp_retransmit_synack`.
pub const SYNACK: &str = "synack";

/// Raw tracepoint program on `tcp:tcp_destroy_sock`.
pub const DESTROYED: &str = "destroyed";
/// fentry program on `tcp_time_wait`.
pub const TIME_WAIT: &str = "time_wait";
/// kprobe program on the same.
pub const TIME_WAIT_KPROBE: &str = "time_wait_kprobe";
/// fentry program on `inet_twsk_hashdance` or `inet_twsk_hashdance_schedule`.
pub const MINI_BORN: &str = "mini_born";
/// kprobe program on the same.
pub const MINI_BORN_KPROBE: &str = "mini_born_kprobe";
/// fentry program on `__inet_twsk_schedule`.
pub const MINI_TIMER: &str = "mini_timer";
/// kprobe program on the same.
pub const MINI_TIMER_KPROBE: &str = "mini_timer_kprobe";
/// fentry program on `inet_twsk_kill`.
pub const MINI_END: &str = "mini_end";
/// kprobe program on the same.
pub const MINI_END_KPROBE: &str = "mini_end_kprobe";
/// fentry program on `inet_csk_reqsk_queue_hash_add`.
pub const REQUEST: &str = "request";
/// kprobe program on the same.
pub const REQUEST_KPROBE: &str = "request_kprobe";
/// fexit program on `inet_csk_accept`; the other one is [`ACCEPTED_KRETPROBE`].
pub const ACCEPTED: &str = "accepted";
/// kretprobe program on `inet_csk_accept`.
pub const ACCEPTED_KRETPROBE: &str = "accepted_kretprobe";

/// Ring buffer of [`crate::wire`] records.
pub const EVENTS: &str = "EVENTS";
/// Array with one element: [`crate::wire::Losses`], and more that only the programs need.
pub const LOSSES: &str = "LOSSES";
/// Per-CPU array with one `u64`: transitions that the first state program had not handled when its twin saw them,
/// filtered out or not.
pub const RECOVERED: &str = "RECOVERED";
/// Array with one element: a byte of `config::PORT_*` flags for each of the 65536 ports.
pub const PORTS: &str = "PORTS";
/// LPM trie of IPv6 (or v4-mapped) prefixes selected by `--addr`.
pub const PREFIXES: &str = "PREFIXES";
/// Hash set of network namespace inode numbers selected by `--netns`.
pub const NETNS: &str = "NETNS";
/// Hash set of process ids selected by `--pid`.
pub const PIDS: &str = "PIDS";
/// Hash set of command names, NUL padded to 16 bytes, selected by `--comm`.
pub const COMMS: &str = "COMMS";
/// Hash of socket address to 1: sockets connected by a process that `--pid` or `--comm` leaves out.
pub const FOREIGN: &str = "FOREIGN";

/// Hash of the ids of cgroups that `--cgroup` and `--container` leave out. An id is never given to another
/// cgroup, and a cgroup of version 2 keeps its path, so what is in here stays left out.
pub const FOREIGN_CGROUPS: &str = "FOREIGN_CGROUPS";

/// Read-only global of type [`crate::config::Config`].
pub const CONFIG: &str = "CONFIG";
