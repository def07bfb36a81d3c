//! Functions of the kernel that no tracepoint stands in for, each on its own and optional. Where the kernel
//! has it and lets us, the program is an fentry (or fexit) program, else a kprobe.
//!
//! The end of a connection that was closed here (`net/ipv4/inet_timewait_sock.c`, `tcp_minisocks.c`):
//!
//! - `void tcp_time_wait(struct sock *sk, int state, int timeo)`: a mini-socket is to go on with it. Needed
//!   only where its birth cannot be seen.
//! - `void inet_twsk_hashdance(struct inet_timewait_sock *tw, struct sock *sk, struct inet_hashinfo *)`, since
//!   Linux 6.11 `inet_twsk_hashdance_schedule` with `int timeo` as well: the mini-socket is born.
//! - `void __inet_twsk_schedule(struct inet_timewait_sock *tw, int timeo, bool rearm)`: its timer is set; again
//!   when it goes from `FIN_WAIT_2` to `TIME_WAIT`, and when a segment prolongs that.
//! - `static void inet_twsk_kill(struct inet_timewait_sock *tw)`: it is gone, whatever the reason.
//!
//! The beginning of one that was opened by the other side (`inet_connection_sock.c`):
//!
//! - `void inet_csk_reqsk_queue_hash_add(struct sock *sk, struct request_sock *req, unsigned long timeout)`,
//!   since Linux 6.13 `bool`, later without the timeout: a SYN made a half-open connection.
//! - `struct sock *inet_csk_accept(struct sock *sk, int flags, int *err, bool kern)`, since Linux 6.10 `(struct
//!   sock *sk, struct proto_accept_arg *arg)`: the socket that is returned was accepted by the current task,
//!   by whatever system call.
//!
//! Known gap: what interrupts the same program in a softirq is lost, as in [`super::evidence`]; a kprobe is
//! also passed over while another one runs, which the kernel does not tell before Linux 6.7.

use aya_ebpf::EbpfContext;
use aya_ebpf::programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext};
use tracer_common::wire::{
    KIND_HANDED_OVER, KIND_MINI_BORN, KIND_MINI_END, KIND_MINI_TIMER, KIND_REQUEST_BORN,
};

use super::evidence::{alone, part, wanted};
use crate::config::setting;
use crate::maps::{Lost, Scratch, lose};
use crate::read::field;
use crate::sock::{self, IPPROTO_TCP, Skip};
use crate::{emit, select, task};

/// Arguments of a function, as they were passed.
pub(crate) trait Arguments {
    fn first(&self) -> u64;
    fn second(&self) -> u64;
    fn third(&self) -> u64;
}

impl Arguments for FEntryContext {
    #[inline(always)]
    fn first(&self) -> u64 {
        self.arg(0)
    }
    #[inline(always)]
    fn second(&self) -> u64 {
        self.arg(1)
    }
    #[inline(always)]
    fn third(&self) -> u64 {
        self.arg(2)
    }
}

impl Arguments for ProbeContext {
    #[inline(always)]
    fn first(&self) -> u64 {
        word(self, setting!(regs_first))
    }
    #[inline(always)]
    fn second(&self) -> u64 {
        word(self, setting!(regs_second))
    }
    #[inline(always)]
    fn third(&self) -> u64 {
        word(self, setting!(regs_third))
    }
}

/// What a function returned.
pub(crate) trait Returned {
    fn value(&self) -> u64;
}

impl Returned for FExitContext {
    /// Behind the arguments.
    #[inline(always)]
    fn value(&self) -> u64 {
        match setting!(accept_arguments) {
            0 => 0,
            arguments => word(self, 8 * arguments),
        }
    }
}

impl Returned for RetProbeContext {
    #[inline(always)]
    fn value(&self) -> u64 {
        word(self, setting!(regs_returned))
    }
}

/// A word of the context, at an offset that is known when the program is loaded: the compiler would make one
/// read of several with an offset that varies, which the verifier refuses.
#[inline(always)]
fn word(ctx: &impl EbpfContext, offset: u32) -> u64 {
    field(ctx.as_ptr() as u64, offset).unwrap_or(0)
}

/// By way of memory: the verifier then takes it for a number, not for a pointer with rules of its own.
#[inline(always)]
fn number(scratch: &mut Scratch, value: u64) -> u64 {
    let memory = &raw mut scratch.argument;
    // SAFETY: a field of memory that is this run's alone.
    unsafe {
        memory.write_volatile(value);
        memory.read_volatile()
    }
}

/// `tcp_time_wait`
#[inline(always)]
pub(crate) fn time_wait(ctx: &impl Arguments) -> i32 {
    alone(part!(time_wait), |scratch| {
        let sk = number(scratch, ctx.first());
        let state = number(scratch, ctx.second()) as u32;
        if wanted(scratch, sk) {
            let detail = Some((state, 0));
            emit::evidence(KIND_HANDED_OVER, sk, detail);
        }
    })
}

/// `inet_twsk_hashdance*`
#[inline(always)]
pub(crate) fn mini_born(ctx: &impl Arguments) -> i32 {
    alone(part!(mini_born), |scratch| {
        let mini = number(scratch, ctx.first());
        let sk = number(scratch, ctx.second());
        match sock::from_common(scratch, sk, mini).zip(sock::mini_state(mini)) {
            Some((facts, state)) => {
                if select::transition(&facts, &scratch.out, None) {
                    emit::mini(KIND_MINI_BORN, mini, sk, state);
                }
            }
            None => lose(Lost::Evidence),
        }
    })
}

/// `__inet_twsk_schedule`
#[inline(always)]
pub(crate) fn mini_timer(ctx: &impl Arguments) -> i32 {
    // A `bool` is the lowest byte of its register.
    if ctx.third() & 0xff == 0 {
        return 0;
    }
    alone(part!(mini_timer), |scratch| {
        let mini = number(scratch, ctx.first());
        news(scratch, mini, KIND_MINI_TIMER);
    })
}

/// `inet_twsk_kill`
#[inline(always)]
pub(crate) fn mini_end(ctx: &impl Arguments) -> i32 {
    alone(part!(mini_end), |scratch| {
        let mini = number(scratch, ctx.first());
        news(scratch, mini, KIND_MINI_END);
    })
}

/// Of which process it was, a mini-socket does not tell: userspace knows.
#[inline(always)]
fn news(scratch: &mut Scratch, mini: u64, kind: u16) {
    match sock::from_common(scratch, mini, mini).zip(sock::mini_state(mini)) {
        Some((facts, state)) => {
            if select::ends(&facts, &scratch.out) {
                emit::mini(kind, mini, 0, state);
            }
        }
        None => lose(Lost::Evidence),
    }
}

/// `inet_csk_reqsk_queue_hash_add`
#[inline(always)]
pub(crate) fn request(ctx: &impl Arguments) -> i32 {
    alone(part!(request), |scratch| {
        let listener = number(scratch, ctx.first());
        let request = number(scratch, ctx.second());
        // DCCP has had its half-open connections here as well.
        let protocol = field::<u16>(listener, setting!(sk_protocol));
        match sock::from_common(scratch, listener, request).zip(protocol) {
            Some((facts, IPPROTO_TCP)) => {
                if select::transition(&facts, &scratch.out, None) {
                    let state = &scratch.out.state;
                    emit::request(KIND_REQUEST_BORN, state, &facts);
                }
            }
            Some(_) => {}
            None => lose(Lost::Evidence),
        }
    })
}

/// Return from `inet_csk_accept`
#[inline(always)]
pub(crate) fn accepted(ctx: &impl Returned) -> i32 {
    alone(part!(accept), |scratch| {
        let sk = number(scratch, ctx.value());
        if sk == 0 {
            return;
        }
        accept(scratch, sk);
        // What the application gets of MPTCP is the socket above the one that was accepted.
        if let Some(above) = sock::mptcp_of(sk) {
            accept(scratch, above);
        }
    })
}

#[inline(always)]
fn accept(scratch: &mut Scratch, sk: u64) {
    match select::in_mid_life(scratch, sk) {
        Ok(true) => emit::accept(sk, task::current(), 0),
        Ok(false) | Err(Skip::OtherProtocol) => {}
        Err(Skip::Unreadable) => lose(Lost::Evidence),
    }
}
