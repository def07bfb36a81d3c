//! The task that runs the kernel code at this moment.

use aya_ebpf::helpers::generated::bpf_get_current_task;
use aya_ebpf::helpers::{bpf_get_current_comm, bpf_get_current_pid_tgid};
use tracer_common::wire::{TASK_KERNEL_THREAD, TASK_KIND_KNOWN, Task};

use crate::config::setting;
use crate::read::field;

/// `PF_KTHREAD` (`include/linux/sched.h`), the same since Linux 2.6.
const PF_KTHREAD: u32 = 0x0020_0000;

/// Process id and command name, and whether it is a kernel thread where that can be read.
#[inline(always)]
pub(crate) fn current() -> Task {
    // SAFETY: no argument; returns the address of the current task_struct.
    let task = unsafe { bpf_get_current_task() };
    let flags = match field::<u32>(task, setting!(task_flags)) {
        None => 0,
        Some(flags) if flags & PF_KTHREAD != 0 => TASK_KIND_KNOWN | TASK_KERNEL_THREAD,
        Some(_) => TASK_KIND_KNOWN,
    };
    Task {
        pid: (bpf_get_current_pid_tgid() >> 32) as u32,
        flags,
        comm: bpf_get_current_comm().unwrap_or_default(),
    }
}
