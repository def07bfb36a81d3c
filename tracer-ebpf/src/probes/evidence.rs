//! What tells why a state changes, each hook on its own and optional:
//!
//! - `tcp:tcp_retransmit_skb`: `void (const struct sock *sk, const struct sk_buff *skb)`, and since 6.17
//!   `int err`, which is not 0 where nothing was sent
//! - `tcp:tcp_receive_reset`: `void (struct sock *sk)`
//! - `tcp:tcp_send_reset`: `void (const struct sock *sk, const struct sk_buff *skb)`, and since 6.10
//!   `const enum sk_rst_reason reason`; `sk` is null where no socket had what the reset answers
//! - `sock:inet_sk_error_report` (5.14): `void (const struct sock *sk)`
//! - `tcp:tcp_retransmit_synack`: `void (const struct sock *sk, const struct request_sock *req)`
//! - `tcp:tcp_destroy_sock`: `void (struct sock *sk)`
//!
//! Known gap: evidence in a softirq that interrupts the same program is lost, and counted: by the kernel,
//! which refuses that run, and before Linux 6.1 by the program.

use aya_ebpf::programs::RawTracePointContext;
use tracer_common::config::{ARGUMENT_RESET_REASON, ARGUMENT_RETRANSMIT_ERROR};
use tracer_common::wire::{
    KIND_DESTROYED, KIND_RESET_RECEIVED, KIND_RESET_SENT, KIND_RETRANSMIT, KIND_SOCKET_ERROR,
    KIND_SYNACK_RETRANSMIT,
};

use crate::config::setting;
use crate::maps::{self, AT_WORK, Cpu, Lost, Scratch, lose, this_cpu};
use crate::sock::{self, Skip};
use crate::{emit, select};

const TIME_WAIT: u8 = 6;
const NEW_SYN_RECV: u8 = 12;

/// Where in a CPU's working memory a program has its part.
macro_rules! part {
    ($part:ident) => {
        // SAFETY: the address of a field of the memory that the map holds for this CPU.
        |cpu: *mut crate::maps::Cpu| unsafe { &raw mut (*cpu).$part }
    };
}
pub(super) use part;

/// Does a program's work with its part of the working memory, unless it is inside itself.
#[inline(always)]
pub(super) fn alone(
    part: impl FnOnce(*mut Cpu) -> *mut Scratch,
    work: impl FnOnce(&mut Scratch),
) -> i32 {
    let Some(cpu) = this_cpu() else { return 0 };
    let scratch = part(cpu);
    // SAFETY: this CPU's memory; what interrupts in between gives the lock back before it ends, so the
    // part is this run's alone.
    unsafe {
        let lock = &raw mut (*scratch).lock;
        if lock.read_volatile() == AT_WORK {
            lose(Lost::Evidence);
            return 0;
        }
        lock.write_volatile(AT_WORK);
        work(&mut *scratch);
        lock.write_volatile(0);
    }
    0
}

/// `tcp:tcp_retransmit_skb`
#[inline(always)]
pub(crate) fn retransmit(ctx: &RawTracePointContext) -> i32 {
    if setting!(hook_arguments) & ARGUMENT_RETRANSMIT_ERROR != 0 && ctx.arg::<i32>(2) != 0 {
        return 0;
    }
    let sk = ctx.arg::<u64>(0);
    alone(part!(retransmit), |scratch| {
        if wanted(scratch, sk) {
            // A transition to SYN_SENT comes before the kernel has chosen it.
            let port = sock::bound_port(scratch).map(|port| (u32::from(port), 0));
            emit::evidence(KIND_RETRANSMIT, sk, port);
        }
    })
}

/// `tcp:tcp_receive_reset`
#[inline(always)]
pub(crate) fn reset_received(ctx: &RawTracePointContext) -> i32 {
    let sk = ctx.arg::<u64>(0);
    alone(part!(reset_received), |scratch| {
        if wanted(scratch, sk) {
            emit::evidence(KIND_RESET_RECEIVED, sk, None);
        }
    })
}

/// `tcp:tcp_send_reset`
#[inline(always)]
pub(crate) fn reset_sent(ctx: &RawTracePointContext) -> i32 {
    let sk = ctx.arg::<u64>(0);
    if sk == 0 {
        return 0;
    }
    alone(part!(reset_sent), |scratch| {
        if wanted(scratch, sk) {
            let reason = if setting!(hook_arguments) & ARGUMENT_RESET_REASON == 0 {
                None
            } else {
                Some((ctx.arg::<u32>(2), 0))
            };
            emit::evidence(KIND_RESET_SENT, sk, reason);
        }
    })
}

/// `sock:inet_sk_error_report`
#[inline(always)]
pub(crate) fn socket_error(ctx: &RawTracePointContext) -> i32 {
    let sk = ctx.arg::<u64>(0);
    alone(part!(socket_error), |scratch| {
        if wanted(scratch, sk)
            && let Some(errors) = sock::errors(sk)
        {
            emit::evidence(KIND_SOCKET_ERROR, sk, Some(errors));
        }
    })
}

/// `tcp:tcp_retransmit_synack`
#[inline(always)]
pub(crate) fn synack(ctx: &RawTracePointContext) -> i32 {
    let (sk, request) = (ctx.arg::<u64>(0), ctx.arg::<u64>(1));
    alone(part!(synack), |scratch| {
        match sock::from_common(scratch, sk, request) {
            Some(facts) => {
                if select::transition(&facts, &scratch.out, None) {
                    let state = &scratch.out.state;
                    emit::request(KIND_SYNACK_RETRANSMIT, state, &facts);
                }
            }
            None => lose(Lost::Evidence),
        }
    })
}

/// `tcp:tcp_destroy_sock`: of interest only where the socket's last transition may have been lost, so that
/// every socket costs a look, and nothing else.
#[inline(always)]
pub(crate) fn destroyed(ctx: &RawTracePointContext) -> i32 {
    if !maps::has_lost() {
        return 0;
    }
    let sk = ctx.arg::<u64>(0);
    alone(part!(destroyed), |scratch| {
        if wanted(scratch, sk) {
            emit::evidence(KIND_DESTROYED, sk, None);
        }
    })
}

/// Whether a TCP socket may belong to a selected connection.
#[inline(always)]
pub(super) fn wanted(scratch: &mut Scratch, sk: u64) -> bool {
    // These are smaller structures, without the fields of a whole socket.
    if matches!(sock::state(sk), Some(TIME_WAIT | NEW_SYN_RECV)) {
        return false;
    }
    let is_wanted = select::in_mid_life(scratch, sk);
    if let Err(Skip::Unreadable) = is_wanted {
        lose(Lost::Evidence);
    }
    matches!(is_wanted, Ok(true))
}
