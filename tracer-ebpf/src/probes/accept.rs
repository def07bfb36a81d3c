//! Which process accepts a connection.
//!
//! - `syscalls:sys_exit_accept` and `sys_exit_accept4`: `long ret` in the record
//! - `io_uring:io_uring_complete` (5.18): `void (struct io_ring_ctx *ctx, void *req, u64 user_data, int res,
//!   unsigned cflags, u64 extra1, u64 extra2)`, since 6.10 `(struct io_ring_ctx *ctx, struct io_kiocb *req,
//!   struct io_uring_cqe *cqe)`
//!
//! What both have is a file descriptor of the current process (io_uring completes requests in the threads of
//! the process that made the ring); the socket is found through its table of open files.
//!
//! Of the completions of a multishot request only the last one comes with the request. The others are told
//! by their flags, which those of a poll have as well; so they are marked, and userspace takes them for an
//! accept only where one is due.
//!
//! Known gaps: accepts by 32-bit programs do not pass here; those into a table of a ring's own have no
//! descriptor; and a descriptor that another thread closes in the same microsecond leads nowhere.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::generated::bpf_get_current_task;
use aya_ebpf::programs::{RawTracePointContext, TracePointContext};
use tracer_common::config::ARGUMENT_COMPLETION;
use tracer_common::wire::FLAG_PRESUMED;

use crate::config::setting;
use crate::maps::{Lost, Scratch, lose, this_cpu};
use crate::read::field;
use crate::sock::Skip;
use crate::{emit, select, task};

// `include/uapi/linux/io_uring.h`, the same on all kernels.
const IORING_OP_ACCEPT: u8 = 13;
const IORING_CQE_F_BUFFER: u32 = 1;
const IORING_CQE_F_MORE: u32 = 1 << 1;
const IORING_CQE_F_NOTIF: u32 = 1 << 3;
/// `io_uring_cqe.res`
const CQE_RESULT: u32 = 8;
/// `io_uring_cqe.flags`
const CQE_FLAGS: u32 = 12;

/// Return from accept.
#[inline(always)]
pub(crate) fn exit(ctx: &TracePointContext) {
    let fd = field::<i64>(ctx.as_ptr() as u64, setting!(rec_accept_ret)).unwrap_or(-1);
    let (Some((_, sk)), Some(cpu)) = (socket_at(fd), this_cpu()) else {
        return;
    };
    // SAFETY: this program's own part, and the kernel does not re-enter the program.
    deliver(unsafe { &mut (*cpu).accept }, sk, 0);
}

/// Completion of a request, most often of another kind.
#[inline(always)]
pub(crate) fn io_uring(ctx: &RawTracePointContext) -> i32 {
    let Some((fd, flags)) = completed_accept(ctx) else {
        return 0;
    };
    let (Some((socket, sk)), Some(cpu)) = (socket_at(fd), this_cpu()) else {
        return 0;
    };
    // What is only presumed to be a descriptor can be that of any file.
    if field::<u64>(sk, setting!(sk_socket)) != Some(socket) {
        return 0;
    }
    // SAFETY: this program's own part; it runs in process context and without preemption, so it is not
    // inside itself.
    deliver(unsafe { &mut (*cpu).accept_io_uring }, sk, flags);
    0
}

/// The result, where it is or may be that of an accept, and `FLAG_*`.
#[inline(always)]
fn completed_accept(ctx: &RawTracePointContext) -> Option<(i64, u16)> {
    let request = ctx.arg::<u64>(1);
    if request != 0 {
        let is_accept = field::<u8>(request, setting!(kiocb_opcode))? == IORING_OP_ACCEPT;
        if !is_accept || field::<u32>(request, setting!(accept_slot))? != 0 {
            return None;
        }
        return Some((i64::from(completion(ctx)?.0), 0));
    }
    let (result, flags) = completion(ctx)?;
    let kind = flags & (IORING_CQE_F_MORE | IORING_CQE_F_BUFFER | IORING_CQE_F_NOTIF);
    (kind == IORING_CQE_F_MORE).then_some((i64::from(result), FLAG_PRESUMED))
}

/// Result and flags.
#[inline(always)]
fn completion(ctx: &RawTracePointContext) -> Option<(i32, u32)> {
    if setting!(hook_arguments) & ARGUMENT_COMPLETION != 0 {
        let entry = ctx.arg::<u64>(2);
        Some((field(entry, CQE_RESULT)?, field(entry, CQE_FLAGS)?))
    } else {
        Some((ctx.arg::<i32>(3), ctx.arg::<u32>(4)))
    }
}

#[inline(always)]
fn deliver(scratch: &mut Scratch, sk: u64, flags: u16) {
    match select::in_mid_life(scratch, sk) {
        Ok(true) => emit::accept(sk, task::current(), flags),
        Ok(false) | Err(Skip::OtherProtocol) => {}
        Err(Skip::Unreadable) => lose(Lost::Evidence),
    }
}

/// The `struct socket` and `struct sock` behind a descriptor of the current process, if it is a socket's.
#[inline(always)]
fn socket_at(fd: i64) -> Option<(u64, u64)> {
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
    let sk = field::<u64>(socket, setting!(socket_sk)).filter(|sk| *sk != 0)?;
    Some((socket, sk))
}
