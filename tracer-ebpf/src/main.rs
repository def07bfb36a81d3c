//! Kernel programs of tracer: entries only.
//!
//! A socket's state change is seen by a guarded pair of raw tracepoint programs ([`probes::state`]);
//! where the kernel's types are not known, by one classic tracepoint program instead.

#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![expect(
    internal_features,
    reason = "the target has an atomic addition, but not all that the types of `core` take for it"
)]
#![expect(
    missing_docs,
    unreachable_pub,
    reason = "the attribute macros make entry points that are public and undocumented"
)]

mod config;
mod emit;
mod maps;
mod probes;
mod read;
mod select;
mod sock;
mod task;

use core::ffi::c_void;

use aya_ebpf::macros::{fentry, fexit, kprobe, kretprobe, raw_tracepoint};
use aya_ebpf::programs::{
    FEntryContext, FExitContext, ProbeContext, RawTracePointContext, RetProbeContext,
    TracePointContext,
};

/// Answer of a classic tracepoint program: 0 would hide the event from perf, for all of its users. The
/// attribute macro of aya answers 0 always, which is why these programs do without.
const PASS: u32 = 1;

/// First of the guarded pair.
#[raw_tracepoint]
pub fn state_raw(ctx: RawTracePointContext) -> i32 {
    probes::state::first(&ctx)
}

/// Second of the guarded pair, to be attached after the first.
#[raw_tracepoint]
pub fn state_raw_twin(ctx: RawTracePointContext) -> i32 {
    probes::state::twin(&ctx)
}

/// `sock:inet_sock_set_state` by its record.
// SAFETY: section and name are those by which the loader finds the program.
#[unsafe(link_section = "tracepoint")]
#[unsafe(no_mangle)]
pub extern "C" fn state_classic(ctx: *mut c_void) -> u32 {
    probes::state::classic(&TracePointContext::new(ctx));
    PASS
}

/// `syscalls:sys_exit_accept` and `syscalls:sys_exit_accept4`.
// SAFETY: as above.
#[unsafe(link_section = "tracepoint")]
#[unsafe(no_mangle)]
pub extern "C" fn accept_exit(ctx: *mut c_void) -> u32 {
    probes::accept::exit(&TracePointContext::new(ctx));
    PASS
}

/// `io_uring:io_uring_complete`
#[raw_tracepoint]
pub fn accept_io_uring(ctx: RawTracePointContext) -> i32 {
    probes::accept::io_uring(&ctx)
}

/// `tcp:tcp_retransmit_skb`
#[raw_tracepoint]
pub fn retransmit(ctx: RawTracePointContext) -> i32 {
    probes::evidence::retransmit(&ctx)
}

/// `tcp:tcp_receive_reset`
#[raw_tracepoint]
pub fn reset_received(ctx: RawTracePointContext) -> i32 {
    probes::evidence::reset_received(&ctx)
}

/// `tcp:tcp_send_reset`
#[raw_tracepoint]
pub fn reset_sent(ctx: RawTracePointContext) -> i32 {
    probes::evidence::reset_sent(&ctx)
}

/// `sock:inet_sk_error_report`
#[raw_tracepoint]
pub fn socket_error(ctx: RawTracePointContext) -> i32 {
    probes::evidence::socket_error(&ctx)
}

/// `tcp:tcp_retransmit_synack`
#[raw_tracepoint]
pub fn synack(ctx: RawTracePointContext) -> i32 {
    probes::evidence::synack(&ctx)
}

/// `tcp:tcp_destroy_sock`
#[raw_tracepoint]
pub fn destroyed(ctx: RawTracePointContext) -> i32 {
    probes::evidence::destroyed(&ctx)
}

/// `tcp_time_wait`
#[fentry]
pub fn time_wait(ctx: FEntryContext) -> i32 {
    probes::function::time_wait(&ctx)
}

/// `tcp_time_wait`
#[kprobe]
pub fn time_wait_kprobe(ctx: ProbeContext) -> u32 {
    probes::function::time_wait(&ctx).cast_unsigned()
}

/// `inet_twsk_hashdance*`
#[fentry]
pub fn mini_born(ctx: FEntryContext) -> i32 {
    probes::function::mini_born(&ctx)
}

/// `inet_twsk_hashdance*`
#[kprobe]
pub fn mini_born_kprobe(ctx: ProbeContext) -> u32 {
    probes::function::mini_born(&ctx).cast_unsigned()
}

/// `__inet_twsk_schedule`
#[fentry]
pub fn mini_timer(ctx: FEntryContext) -> i32 {
    probes::function::mini_timer(&ctx)
}

/// `__inet_twsk_schedule`
#[kprobe]
pub fn mini_timer_kprobe(ctx: ProbeContext) -> u32 {
    probes::function::mini_timer(&ctx).cast_unsigned()
}

/// `inet_twsk_kill`
#[fentry]
pub fn mini_end(ctx: FEntryContext) -> i32 {
    probes::function::mini_end(&ctx)
}

/// `inet_twsk_kill`
#[kprobe]
pub fn mini_end_kprobe(ctx: ProbeContext) -> u32 {
    probes::function::mini_end(&ctx).cast_unsigned()
}

/// `inet_csk_reqsk_queue_hash_add`
#[fentry]
pub fn request(ctx: FEntryContext) -> i32 {
    probes::function::request(&ctx)
}

/// `inet_csk_reqsk_queue_hash_add`
#[kprobe]
pub fn request_kprobe(ctx: ProbeContext) -> u32 {
    probes::function::request(&ctx).cast_unsigned()
}

/// Return from `inet_csk_accept`
#[fexit]
pub fn accepted(ctx: FExitContext) -> i32 {
    probes::function::accepted(&ctx)
}

/// Return from `inet_csk_accept`
#[kretprobe]
pub fn accepted_kretprobe(ctx: RetProbeContext) -> u32 {
    probes::function::accepted(&ctx).cast_unsigned()
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    // Never reached: the verifier would refuse the endless loop if any path led here.
    loop {}
}

// SAFETY: a constant in a section of its own, which nothing else writes to; the kernel reads it.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
