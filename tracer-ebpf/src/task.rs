//! The process that runs the kernel code at this moment.

use aya_ebpf::helpers::generated::{bpf_get_current_cgroup_id, bpf_get_current_task};
use aya_ebpf::helpers::{bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_current_uid_gid};
use tracer_common::wire::{
    TASK_CGROUP, TASK_KERNEL_THREAD, TASK_KIND_KNOWN, TASK_NS_PID, TASK_PROCESS_COMM, TASK_START,
    Task,
};

use crate::config::setting;
use crate::read::field;

/// `PF_KTHREAD` (`include/linux/sched.h`), the same since Linux 2.6.
const PF_KTHREAD: u32 = 0x0020_0000;

/// The process as a whole, whichever of its threads runs; what cannot be read is left out.
#[inline(always)]
pub(crate) fn current() -> Task {
    // SAFETY: no argument; returns the address of the current task_struct.
    let thread = unsafe { bpf_get_current_task() };
    let mut flags = match field::<u32>(thread, setting!(task_flags)) {
        None => 0,
        Some(flags) if flags & PF_KTHREAD != 0 => TASK_KIND_KNOWN | TASK_KERNEL_THREAD,
        Some(_) => TASK_KIND_KNOWN,
    };
    let leader = field::<u64>(thread, setting!(task_leader)).unwrap_or(0);
    let comm = match field::<[u8; 16]>(leader, setting!(task_comm)) {
        Some(comm) => {
            flags |= TASK_PROCESS_COMM;
            comm
        }
        None => bpf_get_current_comm().unwrap_or_default(),
    };
    let mut start_ns = 0;
    if let Some(start) = field::<u64>(leader, setting!(task_start)) {
        start_ns = start;
        flags |= TASK_START;
    }
    let pid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let mut ns_pid = 0;
    if let Some(number) = pid_in_namespace(leader, pid) {
        ns_pid = number;
        flags |= TASK_NS_PID;
    }
    let mut cgroup_id = 0;
    if setting!(has_cgroups) != 0 {
        // SAFETY: no argument, returns a number.
        cgroup_id = unsafe { bpf_get_current_cgroup_id() };
        flags |= TASK_CGROUP;
    }
    Task {
        pid,
        flags,
        comm,
        cgroup_id,
        start_ns,
        ns_pid,
        uid: bpf_get_current_uid_gid() as u32,
    }
}

/// The number that a process has in its own pid namespace: the last of those in its `struct pid`, which
/// has one for each namespace from the initial one down to that.
#[inline(always)]
fn pid_in_namespace(leader: u64, pid: u32) -> Option<u32> {
    let numbers = field::<u64>(leader, setting!(task_thread_pid))?;
    let level = field::<u32>(numbers, setting!(pid_level))?;
    if level == 0 {
        return Some(pid);
    }
    let last = u64::from(level) * u64::from(setting!(upid_bytes));
    let at = last + u64::from(setting!(pid_numbers));
    field(numbers.wrapping_add(at), setting!(upid_nr))
}
