//! What tells why a state changes, each hook on its own and optional:
//!
//! - `tcp:tcp_retransmit_skb`: `void (const struct sock *sk, const struct sk_buff *skb)`, and since 6.17
//!   `int err`, which is not 0 where nothing was sent
//! - `tcp:tcp_receive_reset`: `void (struct sock *sk)`
//! - `tcp:tcp_send_reset`: `void (const struct sock *sk, const struct sk_buff *skb)`, and since 6.10
//!   `const enum sk_rst_reason reason`; `sk` is null where no socket had what the reset answers
//! - `sock:inet_sk_error_report` (5.14): `void (const struct sock *sk)`
//! - `tcp:tcp_retransmit_synack`: `void (const struct sock *sk, const struct request_sock *req)`
//!
//! Known gap: evidence in a softirq that interrupts the same program is refused by the kernel and counted
//! as lost.

use aya_ebpf::programs::RawTracePointContext;
use tracer_common::config::{ARGUMENT_RESET_REASON, ARGUMENT_RETRANSMIT_ERROR, Counter};
use tracer_common::select::ESTABLISHED;
use tracer_common::wire::{
    KIND_RESET_RECEIVED, KIND_RESET_SENT, KIND_RETRANSMIT, KIND_SOCKET_ERROR,
};

use crate::config::setting;
use crate::maps::{Cpu, Scratch, count, this_cpu};
use crate::sock::{self, Skip};
use crate::{emit, select};

const TIME_WAIT: u8 = 6;
const NEW_SYN_RECV: u8 = 12;

/// Lends a program its part of this CPU's working memory.
macro_rules! scratch {
    ($cpu:ident, $part:ident) => {{
        let cpu: *mut Cpu = $cpu;
        // SAFETY: this CPU's memory, of which the part is this program's own, and the kernel does not
        // re-enter the program.
        unsafe { &mut (*cpu).$part }
    }};
}

/// `tcp:tcp_retransmit_skb`
#[inline(always)]
pub(crate) fn retransmit(ctx: &RawTracePointContext) -> i32 {
    let Some(cpu) = this_cpu() else { return 0 };
    let not_sent =
        setting!(hook_arguments) & ARGUMENT_RETRANSMIT_ERROR != 0 && ctx.arg::<i32>(2) != 0;
    let sk = ctx.arg::<u64>(0);
    if !not_sent && wanted(scratch!(cpu, retransmit), sk, Counter::RetransmitUnreadable) {
        emit::evidence(KIND_RETRANSMIT, sk, None, Counter::RetransmitRingFull);
    }
    0
}

/// `tcp:tcp_receive_reset`
#[inline(always)]
pub(crate) fn reset_received(ctx: &RawTracePointContext) -> i32 {
    let Some(cpu) = this_cpu() else { return 0 };
    let sk = ctx.arg::<u64>(0);
    if wanted(
        scratch!(cpu, reset_received),
        sk,
        Counter::ResetReceivedUnreadable,
    ) {
        emit::evidence(
            KIND_RESET_RECEIVED,
            sk,
            None,
            Counter::ResetReceivedRingFull,
        );
    }
    0
}

/// `tcp:tcp_send_reset`
#[inline(always)]
pub(crate) fn reset_sent(ctx: &RawTracePointContext) -> i32 {
    let Some(cpu) = this_cpu() else { return 0 };
    let sk = ctx.arg::<u64>(0);
    if sk != 0 && wanted(scratch!(cpu, reset_sent), sk, Counter::ResetSentUnreadable) {
        let reason = if setting!(hook_arguments) & ARGUMENT_RESET_REASON == 0 {
            None
        } else {
            Some((ctx.arg::<u32>(2), 0))
        };
        emit::evidence(KIND_RESET_SENT, sk, reason, Counter::ResetSentRingFull);
    }
    0
}

/// `sock:inet_sk_error_report`
#[inline(always)]
pub(crate) fn socket_error(ctx: &RawTracePointContext) -> i32 {
    let Some(cpu) = this_cpu() else { return 0 };
    let sk = ctx.arg::<u64>(0);
    if wanted(
        scratch!(cpu, socket_error),
        sk,
        Counter::SocketErrorUnreadable,
    ) && let Some(errors) = sock::errors(sk)
    {
        emit::evidence(
            KIND_SOCKET_ERROR,
            sk,
            Some(errors),
            Counter::SocketErrorRingFull,
        );
    }
    0
}

/// `tcp:tcp_retransmit_synack`
#[inline(always)]
pub(crate) fn synack(ctx: &RawTracePointContext) -> i32 {
    let Some(cpu) = this_cpu() else { return 0 };
    let scratch = scratch!(cpu, synack);
    match sock::from_request(scratch, ctx.arg::<u64>(0), ctx.arg::<u64>(1)) {
        Some(facts) => {
            if select::transition(&facts, &scratch.out, None) {
                emit::synack(&scratch.out.state, &facts);
            }
        }
        None => count(Counter::SynAckUnreadable),
    }
    0
}

/// Whether a TCP socket may belong to a selected connection. The states only stand for "in mid-life": the
/// filter asks for ends and namespace.
#[inline(always)]
fn wanted(scratch: &mut Scratch, sk: u64, unreadable: Counter) -> bool {
    // These are smaller structures, without the fields of a whole socket.
    if matches!(sock::state(sk), Some(TIME_WAIT | NEW_SYN_RECV)) {
        return false;
    }
    match sock::from_sock(scratch, sk, ESTABLISHED, ESTABLISHED) {
        Ok(facts) => select::transition(&facts, &scratch.out, None),
        Err(Skip::OtherProtocol) => false,
        Err(Skip::Unreadable) => {
            count(unreadable);
            false
        }
    }
}
