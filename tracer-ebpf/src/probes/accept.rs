//! `syscalls:sys_exit_accept` and `sys_exit_accept4`: `long ret` in the record.
//!
//! The return value is a file descriptor of the calling process; the socket is found through its
//! table of open files. Known gaps: accepts by io_uring and by 32-bit `socketcall` do not pass here,
//! and a descriptor that another thread closes in the same microsecond leads nowhere.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::generated::bpf_get_current_task;
use aya_ebpf::programs::TracePointContext;
use tracer_common::config::Counter;
use tracer_common::select::ESTABLISHED;

use crate::config::setting;
use crate::maps::{count, this_cpu};
use crate::read::field;
use crate::sock::{self, Skip};
use crate::{emit, select, task};

/// Return from accept.
#[inline(always)]
pub(crate) fn exit(ctx: &TracePointContext) {
    let (Some(sk), Some(cpu)) = (accepted(ctx), this_cpu()) else {
        return;
    };
    // SAFETY: this program's own part, and the kernel does not re-enter the program.
    let scratch = unsafe { &mut (*cpu).accept };
    // The states only stand for "in mid-life": the filter asks for ends and namespace.
    match sock::from_sock(scratch, sk, ESTABLISHED, ESTABLISHED) {
        Ok(facts) => {
            if select::transition(&facts, &scratch.out, None) {
                emit::accept(sk, task::current());
            }
        }
        Err(Skip::OtherProtocol) => {}
        Err(Skip::Unreadable) => count(Counter::AcceptUnreadable),
    }
}

#[inline(always)]
fn accepted(ctx: &TracePointContext) -> Option<u64> {
    let fd = field::<i64>(ctx.as_ptr() as u64, setting!(rec_accept_ret))?;
    if fd < 0 {
        return None;
    }
    // SAFETY: no argument; returns the address of the current task_struct.
    let task = unsafe { bpf_get_current_task() };
    let files = field::<u64>(task, setting!(task_files))?;
    let table = field::<u64>(files, setting!(files_fdt))?;
    let array = field::<u64>(table, setting!(fdt_fd))?;
    let file = field::<u64>(array.wrapping_add(fd.cast_unsigned() * 8), 0)?;
    let socket = field::<u64>(file, setting!(file_private))?;
    field::<u64>(socket, setting!(socket_sk)).filter(|sk| *sk != 0)
}
