//! Settings written into the object's read-only data before it is loaded.
//!
//! The kernel freezes that map, so the verifier knows each value and drops the code of every filter
//! and hook that is off.

use core::mem::{align_of, size_of};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An offset that is not there on the running kernel.
pub const ABSENT: u32 = u32::MAX;

/// Bytes of `struct sock_common` copied in one read; every `skc_*` offset must end within it.
pub const SOCK_COMMON_WINDOW: u32 = 128;
/// Bytes of `struct inet_sock` copied in one read, from [`Config::inet_window`].
pub const INET_WINDOW: u32 = 32;
/// Bytes of a classic tracepoint record copied in one read; every `rec_*` field must end within it.
pub const RECORD_WINDOW: u32 = 128;

/// [`crate::names::PORTS`]: selected as the port of either side.
pub const PORT_EITHER: u8 = 1;
/// [`crate::names::PORTS`]: selected as local port.
pub const PORT_LOCAL: u8 = 1 << 1;
/// [`crate::names::PORTS`]: selected as remote port.
pub const PORT_REMOTE: u8 = 1 << 2;

/// [`Config::filters`]: `--port`.
pub const FILTER_PORT: u32 = 1;
/// [`Config::filters`]: `--local-port`.
pub const FILTER_LOCAL_PORT: u32 = 1 << 1;
/// [`Config::filters`]: `--remote-port`.
pub const FILTER_REMOTE_PORT: u32 = 1 << 2;
/// [`Config::filters`]: `--addr`.
pub const FILTER_ADDR: u32 = 1 << 3;
/// [`Config::filters`]: `-4`.
pub const FILTER_IPV4: u32 = 1 << 4;
/// [`Config::filters`]: `-6`.
pub const FILTER_IPV6: u32 = 1 << 5;
/// [`Config::filters`]: `--netns`.
pub const FILTER_NETNS: u32 = 1 << 6;
/// [`Config::filters`]: `--pid`.
pub const FILTER_PID: u32 = 1 << 7;
/// [`Config::filters`]: `--comm`.
pub const FILTER_COMM: u32 = 1 << 8;
/// [`Config::filters`]: `--cgroup` or `--container`.
pub const FILTER_PLACE: u32 = 1 << 9;

/// [`Config::hook_arguments`]: `tcp:tcp_send_reset` passes a reason (Linux 6.10).
pub const ARGUMENT_RESET_REASON: u32 = 1;
/// [`Config::hook_arguments`]: `tcp:tcp_retransmit_skb` passes whether sending worked.
pub const ARGUMENT_RETRANSMIT_ERROR: u32 = 1 << 1;
/// [`Config::hook_arguments`]: `io_uring:io_uring_complete` passes the completion (Linux 6.10), not its
/// numbers.
pub const ARGUMENT_COMPLETION: u32 = 1 << 2;

/// All load-time settings. Offsets are in bytes; [`ABSENT`] where the kernel has no such field.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Config {
    /// `FILTER_*`.
    pub filters: u32,

    /// `sock_common.skc_num`
    pub skc_num: u32,
    /// `sock_common.skc_family`
    pub skc_family: u32,
    /// `sock_common.skc_state`
    pub skc_state: u32,
    /// `sock_common.skc_flags`
    pub skc_flags: u32,
    /// `sock_common.skc_net`
    pub skc_net: u32,
    /// `sock_common.skc_v6_daddr`
    pub skc_v6_daddr: u32,
    /// `sock_common.skc_v6_rcv_saddr`
    pub skc_v6_rcv_saddr: u32,
    /// `sock_common.skc_daddr`
    pub skc_daddr: u32,
    /// `sock_common.skc_rcv_saddr`
    pub skc_rcv_saddr: u32,
    /// `sock_common.skc_dport`
    pub skc_dport: u32,
    /// `sock.sk_protocol`, 16 bits
    pub sk_protocol: u32,
    /// Start, in `struct inet_sock`, of the bytes that hold the next two.
    pub inet_window: u32,
    /// `inet_sock.inet_saddr`, from [`Config::inet_window`]
    pub inet_saddr: u32,
    /// `inet_sock.inet_sport`, from [`Config::inet_window`]
    pub inet_sport: u32,
    /// `net.ns.inum`
    pub net_inum: u32,
    /// `net.net_cookie`, 64 bits; Linux 5.12 or later
    pub net_cookie: u32,

    /// `sock.sk_err`
    pub sk_err: u32,
    /// `sock.sk_err_soft`
    pub sk_err_soft: u32,
    /// `sock.sk_error_queue.prev`
    pub sk_error_queue_prev: u32,
    /// `sk_buff.cb` and in it `sock_exterr_skb.ee.ee_errno`
    pub skb_ee_errno: u32,
    /// `tcp_sock.bytes_sent`; the other counters follow. All of them are known, or none.
    pub tcp_bytes_sent: u32,
    /// `tcp_sock.bytes_acked`
    pub tcp_bytes_acked: u32,
    /// `tcp_sock.bytes_received`
    pub tcp_bytes_received: u32,
    /// `tcp_sock.srtt_us`
    pub tcp_srtt_us: u32,
    /// `tcp_sock.total_retrans`
    pub tcp_total_retrans: u32,

    /// `sock.sk_uid`
    pub sk_uid: u32,
    /// `sock.sk_cgrp_data.cgroup`
    pub sk_cgroup: u32,
    /// `cgroup.kn`
    pub cgroup_node: u32,
    /// `kernfs_node.id`
    pub node_id: u32,
    /// `tcp_sock.segs_in`; the other counters of segments follow. All of them are known, or none.
    pub tcp_segments_in: u32,
    /// `tcp_sock.data_segs_in`
    pub tcp_data_segments_in: u32,
    /// `tcp_sock.segs_out`
    pub tcp_segments_out: u32,
    /// `tcp_sock.data_segs_out`
    pub tcp_data_segments_out: u32,
    /// The byte of which the low bits are `inet_connection_sock.icsk_ca_state`
    pub congestion_state: u32,
    /// `ARGUMENT_*`
    pub hook_arguments: u32,

    /// `task_struct.flags`
    pub task_flags: u32,
    /// `task_struct.group_leader`
    pub task_leader: u32,
    /// `task_struct.comm`
    pub task_comm: u32,
    /// `task_struct.start_boottime`
    pub task_start: u32,
    /// `task_struct.thread_pid`
    pub task_thread_pid: u32,
    /// `pid.level`
    pub pid_level: u32,
    /// `pid.numbers`
    pub pid_numbers: u32,
    /// Bytes of a `struct upid`
    pub upid_bytes: u32,
    /// `upid.nr`
    pub upid_nr: u32,
    /// 1 if the kernel has cgroups, else 0.
    pub has_cgroups: u32,
    /// `task_struct.files`
    pub task_files: u32,
    /// `files_struct.fdt`
    pub files_fdt: u32,
    /// `fdtable.fd`
    pub fdt_fd: u32,
    /// `file.private_data`
    pub file_private: u32,
    /// `socket.sk`
    pub socket_sk: u32,

    /// `sock.sk_socket`
    pub sk_socket: u32,
    /// `io_kiocb.opcode`
    pub kiocb_opcode: u32,
    /// `io_accept.file_slot`, in what a `struct io_kiocb` begins with
    pub accept_slot: u32,
    /// `inet_timewait_sock.tw_substate`
    pub tw_substate: u32,
    /// Number of arguments of `inet_csk_accept`; 0 where it is not known.
    pub accept_arguments: u32,
    /// `tcp_sock.is_mptcp`
    pub tcp_is_mptcp: u32,
    /// `inet_connection_sock.icsk_ulp_data`
    pub icsk_ulp_data: u32,
    /// `mptcp_subflow_context.conn`
    pub subflow_conn: u32,
    /// The register of `struct pt_regs` that holds the first argument of a function.
    pub regs_first: u32,
    /// The second.
    pub regs_second: u32,
    /// The third.
    pub regs_third: u32,
    /// The one that holds what it returns.
    pub regs_returned: u32,

    /// `skaddr` in the tracepoint's record; the others of the record follow.
    pub rec_skaddr: u32,
    /// `oldstate`
    pub rec_oldstate: u32,
    /// `newstate`
    pub rec_newstate: u32,
    /// `sport`
    pub rec_sport: u32,
    /// `dport`
    pub rec_dport: u32,
    /// `family`
    pub rec_family: u32,
    /// `protocol`
    pub rec_protocol: u32,
    /// Width of `protocol` in bytes: 1 before Linux 5.6, then 2.
    pub rec_protocol_bytes: u32,
    /// `saddr`
    pub rec_saddr: u32,
    /// `daddr`
    pub rec_daddr: u32,
    /// `saddr_v6`
    pub rec_saddr_v6: u32,
    /// `daddr_v6`
    pub rec_daddr_v6: u32,
    /// `ret` in the record of `sys_exit_accept*`
    pub rec_accept_ret: u32,
}

impl Config {
    /// No filter, and no field of the kernel known.
    pub const UNSET: Self = Self {
        filters: 0,
        skc_num: ABSENT,
        skc_family: ABSENT,
        skc_state: ABSENT,
        skc_flags: ABSENT,
        skc_net: ABSENT,
        skc_v6_daddr: ABSENT,
        skc_v6_rcv_saddr: ABSENT,
        skc_daddr: ABSENT,
        skc_rcv_saddr: ABSENT,
        skc_dport: ABSENT,
        sk_protocol: ABSENT,
        inet_window: ABSENT,
        inet_saddr: ABSENT,
        inet_sport: ABSENT,
        net_inum: ABSENT,
        net_cookie: ABSENT,
        sk_err: ABSENT,
        sk_err_soft: ABSENT,
        sk_error_queue_prev: ABSENT,
        skb_ee_errno: ABSENT,
        tcp_bytes_sent: ABSENT,
        tcp_bytes_acked: ABSENT,
        tcp_bytes_received: ABSENT,
        tcp_srtt_us: ABSENT,
        tcp_total_retrans: ABSENT,
        sk_uid: ABSENT,
        sk_cgroup: ABSENT,
        cgroup_node: ABSENT,
        node_id: ABSENT,
        tcp_segments_in: ABSENT,
        tcp_data_segments_in: ABSENT,
        tcp_segments_out: ABSENT,
        tcp_data_segments_out: ABSENT,
        congestion_state: ABSENT,
        hook_arguments: 0,
        task_flags: ABSENT,
        task_leader: ABSENT,
        task_comm: ABSENT,
        task_start: ABSENT,
        task_thread_pid: ABSENT,
        pid_level: ABSENT,
        pid_numbers: ABSENT,
        upid_bytes: ABSENT,
        upid_nr: ABSENT,
        has_cgroups: 0,
        task_files: ABSENT,
        files_fdt: ABSENT,
        fdt_fd: ABSENT,
        file_private: ABSENT,
        socket_sk: ABSENT,
        sk_socket: ABSENT,
        kiocb_opcode: ABSENT,
        accept_slot: ABSENT,
        tw_substate: ABSENT,
        accept_arguments: 0,
        tcp_is_mptcp: ABSENT,
        icsk_ulp_data: ABSENT,
        subflow_conn: ABSENT,
        regs_first: ABSENT,
        regs_second: ABSENT,
        regs_third: ABSENT,
        regs_returned: ABSENT,
        rec_skaddr: ABSENT,
        rec_oldstate: ABSENT,
        rec_newstate: ABSENT,
        rec_sport: ABSENT,
        rec_dport: ABSENT,
        rec_family: ABSENT,
        rec_protocol: ABSENT,
        rec_protocol_bytes: ABSENT,
        rec_saddr: ABSENT,
        rec_daddr: ABSENT,
        rec_saddr_v6: ABSENT,
        rec_daddr_v6: ABSENT,
        rec_accept_ret: ABSENT,
    };
}

const _: () = {
    assert!(align_of::<Config>() == 4);
    assert!(size_of::<Config>() == 4 * 76);
};
