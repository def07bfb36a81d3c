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
//! which transition it has just handled on this CPU; the twin runs next, takes that away, and delivers only
//! what was not left. If the first is interrupted, the inner transition meets the twin while the first is
//! at work. If the twin is interrupted, the first sees the inner one. If both are between, what is left of
//! the inner transition lies on top of what is left of the outer one. Softirqs do not nest, so there is no
//! third level, and what the twin delivers is what the first was refused: none too many, or the count of
//! refused runs that were made up for would hide a loss. (Since Linux 7.0 a task can be preempted between
//! the two, or moved to another CPU. The outer transition may then be delivered twice, the second time
//! flagged, and userspace drops the repetition.)
//!
//! What is left of an inner transition whose twin is refused stays until two others have been left on it. It
//! harms nothing: whatever the first is refused, it is at work, and the twin does not look.
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
use tracer_common::select::{CLOSE, Facts, runs_in_caller, wants_counts};
use tracer_common::wire::FLAG_TWIN;

use crate::emit::Following;
use crate::maps::{AT_WORK, Handled, Lost, Scratch, Transition, count_recovered, lose, this_cpu};
use crate::sock::{self, IPPROTO_TCP, Skip};
use crate::{emit, select, task};

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
        let lock = &raw mut (*cpu).handled.lock;
        if lock.read_volatile() == AT_WORK {
            return 0;
        }
        lock.write_volatile(AT_WORK);
    }
    // SAFETY: this program's own part, and it does not run inside itself.
    raw(
        ctx,
        unsafe { &mut (*cpu).state },
        (sk, old_state, new_state),
        0,
    );
    // SAFETY: as above. The lock comes last: while it is there, an interrupting twin looks at nothing else.
    unsafe {
        let handled = &raw mut (*cpu).handled;
        let latest = (&raw const (*handled).latest).read_volatile();
        (&raw mut (*handled).interrupted).write_volatile(latest);
        (&raw mut (*handled).latest).write_volatile(transition(sk, old_state, new_state));
        (&raw mut (*handled).lock).write_volatile(0);
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
    // SAFETY: the address of a field of this CPU's memory.
    let handled = unsafe { &raw mut (*cpu).handled };
    if !take(handled, transition(sk, old_state, new_state)) {
        count_recovered();
        // SAFETY: this program's own part, and it does not run inside itself up to here.
        raw(
            ctx,
            unsafe { &mut (*cpu).twin },
            (sk, old_state, new_state),
            FLAG_TWIN,
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
        Ok(facts) => {
            if select::ends(&facts, &scratch.out) {
                deliver(scratch, &facts, 0);
            }
        }
        Err(Skip::OtherProtocol) => {}
        Err(Skip::Unreadable) => {
            lose(Lost::Unreadable);
            warn!(ctx, "the tracepoint's record could not be read");
        }
    }
}

#[inline(always)]
fn arguments(ctx: &RawTracePointContext) -> (u64, i32, i32) {
    (ctx.arg::<u64>(0), ctx.arg::<i32>(1), ctx.arg::<i32>(2))
}

#[inline(always)]
fn transition(sk: u64, old_state: i32, new_state: i32) -> Transition {
    let states = u64::from(old_state.cast_unsigned()) << 32 | u64::from(new_state.cast_unsigned());
    Transition { sk, states }
}

/// Takes away what the first program has left of a transition. False if it was refused, or is at work.
#[inline(always)]
fn take(handled: *mut Handled, transition: Transition) -> bool {
    // SAFETY: this CPU's memory; what interrupts leaves the lock as it was. Between the reads and the writes
    // a transition can be left here only by one whose own twin is refused, since this one runs.
    unsafe {
        if (&raw const (*handled).lock).read_volatile() == AT_WORK {
            return false;
        }
        let latest = &raw mut (*handled).latest;
        let interrupted = &raw mut (*handled).interrupted;
        let below = interrupted.read_volatile();
        if latest.read_volatile() == transition {
            latest.write_volatile(below);
        } else if below == transition {
            latest.write_volatile(Transition::NONE);
        } else {
            return false;
        }
        interrupted.write_volatile(Transition::NONE);
    }
    true
}

#[inline(always)]
fn raw(
    ctx: &RawTracePointContext,
    scratch: &mut Scratch,
    (sk, old_state, new_state): (u64, i32, i32),
    flags: u16,
) {
    match wanted(scratch, sk, old_state, new_state) {
        Ok(Some(facts)) => {
            debug!(ctx, "sk {:x}: {} -> {}", sk, old_state, new_state);
            deliver(scratch, &facts, flags);
        }
        Ok(None) | Err(Skip::OtherProtocol) => {}
        Err(Skip::Unreadable) => {
            lose(Lost::Unreadable);
            warn!(ctx, "socket {:x} could not be read", sk);
        }
    }
}

/// What is known of the socket, unless its ends already rule it out.
#[inline(always)]
fn wanted(
    scratch: &mut Scratch,
    sk: u64,
    old_state: i32,
    new_state: i32,
) -> Result<Option<Facts>, Skip> {
    let mut facts = sock::ends(scratch, sk, old_state, new_state)?;
    if !select::ends(&facts, &scratch.out) {
        return Ok(None);
    }
    sock::protocol(scratch, sk)?;
    if facts.netns.is_none() {
        facts.netns = sock::netns(scratch);
    }
    Ok(Some(facts))
}

#[inline(always)]
fn deliver(scratch: &mut Scratch, facts: &Facts, flags: u16) {
    let (old_state, new_state) = (facts.old_state, facts.new_state);
    let task = runs_in_caller(old_state, new_state).then(task::current);
    if !select::owner(facts, &scratch.out, task.as_ref()) {
        return;
    }
    let sk = scratch.out.state.header.sk;
    let mut following = Following::Nothing;
    if let Some(task) = task {
        scratch.out.trailer.task = task;
        following = Following::Task;
    } else if wants_counts(old_state, new_state)
        && scratch.out.state.protocol == IPPROTO_TCP
        && let Some(counts) = sock::counts(&mut scratch.tcp, sk)
    {
        // SAFETY: any bytes are counts, so writing one part of the union in place is sound.
        let counted = unsafe { &mut scratch.out.trailer.counted };
        counted.counts = counts;
        following = Following::Counts;
        if new_state == CLOSE {
            counted.at_close = sock::at_close(&scratch.tcp, sk);
            following = Following::CountsAtClose;
        }
    }
    emit::state(scratch, facts, following, flags);
}
