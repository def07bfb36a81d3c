//! Records into the ring buffer: no byte more than is used, and what finds no room is counted.
//!
//! Userspace polls the ring: a wake-up would cost more than all the rest of the program.

use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::helpers::generated::bpf_get_smp_processor_id;
use tracer_common::config::Counter;
use tracer_common::select::Facts;
use tracer_common::wire::{
    AcceptRecord, Counts, EvidenceRecord, FLAG_AT_CLOSE, FLAG_BOUND_PORT, FLAG_COUNTS, FLAG_DETAIL,
    FLAG_NETNS, FLAG_TASK, Header, KIND_ACCEPT, KIND_STATE, MiniRecord, RequestRecord, StateRecord,
    Task,
};

use crate::maps::{Counted, EVENTS, Scratch, count, note_loss};

/// What differs between the programs that deliver transitions.
pub(crate) struct Probe {
    /// `FLAG_*` that mark its records.
    pub(crate) flags: u16,
    pub(crate) ring_full: Counter,
    pub(crate) unreadable: Counter,
}

/// What follows a state record, and how long both are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Following {
    Nothing,
    Task,
    Counts,
    CountsAtClose,
}

/// Completes the record in `scratch` and delivers it, with what is already there to follow it.
#[inline(always)]
pub(crate) fn state(scratch: &mut Scratch, facts: &Facts, following: Following, probe: &Probe) {
    const STATE: usize = size_of::<StateRecord>();
    let mut flags = probe.flags;
    flags |= match following {
        Following::Nothing => 0,
        Following::Task => FLAG_TASK,
        Following::Counts => FLAG_COUNTS,
        Following::CountsAtClose => FLAG_COUNTS | FLAG_AT_CLOSE,
    };
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
    let out = &raw const scratch.out;
    // SAFETY: the lengths are those of the parts of `Out` that were written, which has no padding
    // between them.
    let delivered = unsafe {
        match following {
            Following::Nothing => output_bytes::<STATE>(out.cast()),
            Following::Task => output_bytes::<{ STATE + size_of::<Task>() }>(out.cast()),
            Following::Counts => output_bytes::<{ STATE + size_of::<Counts>() }>(out.cast()),
            Following::CountsAtClose => {
                output_bytes::<{ STATE + size_of::<Counted>() }>(out.cast())
            }
        }
    };
    if !delivered {
        note_loss();
        count(probe.ring_full);
    }
}

/// Delivers evidence of one kind.
#[inline(always)]
pub(crate) fn evidence(kind: u16, sk: u64, detail: Option<(u32, u32)>, full: Counter) {
    let flags = if detail.is_some() { FLAG_DETAIL } else { 0 };
    let (detail, detail2) = detail.unwrap_or((0, 0));
    let record = EvidenceRecord {
        header: header(kind, flags, sk),
        detail,
        detail2,
    };
    if !output(&record) {
        count(full);
    }
}

/// Delivers what happened to the half-open connection whose ends are in `state`.
#[inline(always)]
pub(crate) fn request(kind: u16, state: &StateRecord, facts: &Facts, full: Counter) {
    let flags = if facts.netns.is_some() { FLAG_NETNS } else { 0 };
    let record = RequestRecord {
        header: header(kind, flags, state.header.sk),
        netns: facts.netns.unwrap_or(0),
        family: state.family,
        local_port: facts.local_port,
        remote_port: facts.remote_port,
        reserved: [0; 3],
        local_addr: state.local_addr,
        remote_addr: state.remote_addr,
    };
    if !output(&record) {
        count(full);
    }
}

/// Delivers news of a mini-socket; `full_sk` is the socket that it follows, at its birth.
#[inline(always)]
pub(crate) fn mini(kind: u16, mini: u64, full_sk: u64, state: u8, full: Counter) {
    let record = MiniRecord {
        header: header(kind, 0, mini),
        full_sk,
        state: u32::from(state),
        reserved: 0,
    };
    if !output(&record) {
        count(full);
    }
}

/// Delivers one accept.
#[inline(always)]
pub(crate) fn accept(sk: u64, task: Task, flags: u16) {
    let header = header(KIND_ACCEPT, FLAG_TASK | flags, sk);
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
    EVENTS
        .output::<T>(record, u64::from(BPF_RB_NO_WAKEUP))
        .is_ok()
}

/// # Safety
/// `BYTES` initialised bytes at `record`, which is aligned to 8.
#[inline(always)]
unsafe fn output_bytes<const BYTES: usize>(record: *const [u8; BYTES]) -> bool {
    // SAFETY: as the caller promises; any bytes are an array of bytes.
    output(unsafe { &*record })
}
