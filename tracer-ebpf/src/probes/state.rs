//! `sock:inet_sock_set_state`:
//! `void (const struct sock *sk, const int oldstate, const int newstate)`, the same since Linux 4.16.
//!
//! # Why there are two programs
//!
//! A transition in process context can be interrupted by a softirq that makes one of its own on the
//! same CPU. The kernel refuses to run a BPF program inside itself and drops the inner run; under a
//! storm of loopback connections that is up to 2 % of all transitions, mostly the end of connections.
//!
//! A second program on the same hook is a program of its own to that guard. The first leaves behind
//! which transition it has just handled on this CPU; the twin runs next and delivers only what is not
//! that one. If the first is interrupted, the inner transition meets the twin with the slot empty. If
//! the twin is interrupted, the first sees the inner one. An interruption between the two overwrites
//! the slot: the outer transition is then delivered twice, the second time flagged, and userspace
//! drops the repetition. Softirqs do not nest, so there is no third level.
//!
//! Since Linux 7.0 there can be: a program on a tracepoint can be preempted by another task, which keeps its
//! CPU's programs refused until it goes on. A transition that finds both of them preempted is lost. It is
//! counted, unless a repetition by the twin, which counts as recovered, makes up for it.
//!
//! Before Linux 6.1 the kernel does run a raw tracepoint program inside itself. The first then refuses
//! on its own, and leaves the inner transition to the twin as well. The twin needs no such care: it
//! delivers either in a softirq or after the first, where the first is free to take what interrupts.

use aya_ebpf::programs::{RawTracePointContext, TracePointContext};
use aya_log_ebpf::{debug, warn};
use tracer_common::config::Counter;
use tracer_common::select::{CLOSE, Facts, runs_in_caller, wants_counts};
use tracer_common::wire::FLAG_TWIN;

use crate::emit::{Following, Probe};
use crate::maps::{AT_WORK, Scratch, count, this_cpu};
use crate::sock::{self, IPPROTO_TCP, Skip};
use crate::{emit, select, task};

const FIRST: Probe = Probe {
    flags: 0,
    ring_full: Counter::StateRingFull,
    unreadable: Counter::StateUnreadable,
};

const TWIN: Probe = Probe {
    flags: FLAG_TWIN,
    ring_full: Counter::TwinRingFull,
    unreadable: Counter::TwinUnreadable,
};

/// First of the pair.
#[inline(always)]
pub(crate) fn first(ctx: &RawTracePointContext) -> i32 {
    let (sk, old_state, new_state) = arguments(ctx);
    let Some(cpu) = this_cpu() else {
        return 0;
    };
    // SAFETY: this CPU's memory, of which only `handled` is shared with the twin; volatile keeps the
    // order that an interrupting run relies on.
    unsafe {
        let states = &raw mut (*cpu).handled.states;
        if states.read_volatile() == AT_WORK {
            return 0;
        }
        states.write_volatile(AT_WORK);
    }
    // SAFETY: this program's own part, and it does not run inside itself.
    raw(
        ctx,
        unsafe { &mut (*cpu).state },
        (sk, old_state, new_state),
        &FIRST,
    );
    // SAFETY: as above. The states come last: until then an interrupting run finds no pair that fits.
    unsafe {
        (&raw mut (*cpu).handled.sk).write_volatile(sk);
        (&raw mut (*cpu).handled.states).write_volatile(pack(old_state, new_state));
    }
    0
}

/// Second of the pair.
#[inline(always)]
pub(crate) fn twin(ctx: &RawTracePointContext) -> i32 {
    let (sk, old_state, new_state) = arguments(ctx);
    let Some(cpu) = this_cpu() else {
        return 0;
    };
    // SAFETY: this CPU's memory; plain integers, read while the first program does not run.
    let (handled_sk, handled_states) = unsafe {
        (
            (&raw const (*cpu).handled.sk).read_volatile(),
            (&raw const (*cpu).handled.states).read_volatile(),
        )
    };
    if handled_sk != sk || handled_states != pack(old_state, new_state) {
        count(Counter::TwinSaw);
        // SAFETY: this program's own part, and it does not run inside itself up to here.
        raw(
            ctx,
            unsafe { &mut (*cpu).twin },
            (sk, old_state, new_state),
            &TWIN,
        );
    }
    0
}

/// For kernels whose types are not known: no twin is possible, since all classic tracepoint programs
/// of a CPU share one guard.
#[inline(always)]
pub(crate) fn classic(ctx: &TracePointContext) {
    let Some(cpu) = this_cpu() else {
        return;
    };
    // SAFETY: this program's own part (the pair is not attached beside it), and the kernel does not
    // re-enter the program.
    let scratch = unsafe { &mut (*cpu).state };
    match sock::from_record(scratch, ctx) {
        Ok(facts) => deliver(scratch, &facts, &FIRST),
        Err(Skip::OtherProtocol) => {}
        Err(Skip::Unreadable) => {
            count(FIRST.unreadable);
            warn!(ctx, "the tracepoint's record could not be read");
        }
    }
}

#[inline(always)]
fn arguments(ctx: &RawTracePointContext) -> (u64, i32, i32) {
    (ctx.arg::<u64>(0), ctx.arg::<i32>(1), ctx.arg::<i32>(2))
}

#[inline(always)]
fn pack(old_state: i32, new_state: i32) -> u64 {
    u64::from(old_state.cast_unsigned()) << 32 | u64::from(new_state.cast_unsigned())
}

#[inline(always)]
fn raw(
    ctx: &RawTracePointContext,
    scratch: &mut Scratch,
    (sk, old_state, new_state): (u64, i32, i32),
    probe: &Probe,
) {
    match sock::from_sock(scratch, sk, old_state, new_state) {
        Ok(facts) => {
            debug!(ctx, "sk {:x}: {} -> {}", sk, old_state, new_state);
            deliver(scratch, &facts, probe);
        }
        Err(Skip::OtherProtocol) => {}
        Err(Skip::Unreadable) => {
            count(probe.unreadable);
            warn!(ctx, "socket {:x} could not be read", sk);
        }
    }
}

#[inline(always)]
fn deliver(scratch: &mut Scratch, facts: &Facts, probe: &Probe) {
    let (old_state, new_state) = (facts.old_state, facts.new_state);
    let task = runs_in_caller(old_state, new_state).then(task::current);
    if !select::transition(facts, &scratch.out, task.as_ref()) {
        return;
    }
    let sk = scratch.out.state.header.sk;
    let mut following = Following::Nothing;
    if let Some(task) = task {
        scratch.out.trailer.task = task;
        following = Following::Task;
    } else if wants_counts(old_state, new_state)
        && scratch.out.state.protocol == IPPROTO_TCP
        && let Some(counts) = sock::counts(sk)
    {
        // SAFETY: any bytes are counts, so writing one part of the union in place is sound.
        let counted = unsafe { &mut scratch.out.trailer.counted };
        counted.counts = counts;
        following = Following::Counts;
        if new_state == CLOSE {
            counted.at_close = sock::at_close(sk);
            following = Following::CountsAtClose;
        }
    }
    emit::state(scratch, facts, following, probe);
}
