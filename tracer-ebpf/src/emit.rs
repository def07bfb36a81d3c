//! Records into the ring buffer: no byte more than is used, and what finds no room is counted.
//!
//! Userspace polls the ring: a wake-up would cost more than all the rest of the program.

use core::mem::size_of;

use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::helpers::generated::bpf_get_smp_processor_id;
use tracer_common::config::Counter;
use tracer_common::select::Facts;
use tracer_common::wire::{
    AcceptRecord, FLAG_BOUND_PORT, FLAG_NETNS, FLAG_TASK, Header, KIND_ACCEPT, KIND_STATE,
    StateRecord, Task,
};

use crate::maps::{EVENTS, Scratch, StateWithTask, count};

/// What differs between the programs that deliver transitions.
pub(crate) struct Probe {
    /// `FLAG_*` that mark its records.
    pub(crate) flags: u16,
    pub(crate) ring_full: Counter,
    pub(crate) unreadable: Counter,
}

/// Completes the record in `scratch` and delivers it, with the task already there if `with_task`.
#[inline(always)]
pub(crate) fn state(scratch: &mut Scratch, facts: &Facts, with_task: bool, probe: &Probe) {
    let mut flags = probe.flags;
    if with_task {
        flags |= FLAG_TASK;
    }
    if facts.bound_port.is_some() {
        flags |= FLAG_BOUND_PORT;
    }
    if facts.netns.is_some() {
        flags |= FLAG_NETNS;
    }
    let record = &mut scratch.out.state;
    record.header = header(KIND_STATE, flags, record.header.sk);
    record.old_state = facts.old_state;
    record.new_state = facts.new_state;
    record.netns = facts.netns.unwrap_or(0);
    record.local_port = facts.local_port;
    record.remote_port = facts.remote_port;
    record.bound_port = facts.bound_port.unwrap_or(0);
    record.reserved = 0;
    let delivered = if with_task {
        output::<StateWithTask>(&scratch.out)
    } else {
        output::<StateRecord>(&scratch.out.state)
    };
    if !delivered {
        count(probe.ring_full);
    }
}

/// Delivers one accept.
#[inline(always)]
pub(crate) fn accept(sk: u64, task: Task) {
    let header = header(KIND_ACCEPT, FLAG_TASK, sk);
    if !output(&AcceptRecord { header, task }) {
        count(Counter::AcceptRingFull);
    }
}

#[inline(always)]
fn header(kind: u16, flags: u16, sk: u64) -> Header {
    Header {
        kind,
        flags,
        // SAFETY: no argument, returns a number.
        cpu: unsafe { bpf_get_smp_processor_id() },
        // SAFETY: no argument, returns a number.
        mono_ns: unsafe { bpf_ktime_get_ns() },
        sk,
    }
}

#[inline(always)]
fn output<T>(record: &T) -> bool {
    const { assert!(size_of::<T>() % 8 == 0) };
    EVENTS
        .output::<T>(record, u64::from(BPF_RB_NO_WAKEUP))
        .is_ok()
}
