//! Records into the ring buffer: no byte more than is used, and what finds no room is counted.
//!
//! The first record that finds room again has one before it that tells what was lost ([`LossRecord`]), or stays
//! out itself. So a loss stands where it happened, among the records of all CPUs. Programs that run at the same
//! moment on different CPUs have no order; but the events of one socket follow each other under its lock, so what
//! was lost of a socket is told before anything later of it.
//!
//! Userspace polls the ring: a wake-up would cost more than all the rest of the program.

use aya_ebpf::bindings::{BPF_RB_AVAIL_DATA, BPF_RB_NO_WAKEUP, BPF_RB_RING_SIZE};
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::helpers::generated::bpf_get_smp_processor_id;
use tracer_common::select::Facts;
use tracer_common::wire::{
    AcceptRecord, Counts, EvidenceRecord, FLAG_AT_CLOSE, FLAG_BOUND_PORT, FLAG_COUNTS, FLAG_DETAIL,
    FLAG_NETNS, FLAG_TASK, Header, KIND_ACCEPT, KIND_LOSS, KIND_STATE, LossRecord, MiniRecord,
    RequestRecord, StateRecord, Task,
};

use crate::maps::{Counted, EVENTS, Lost, Out, Scratch, lose, told, untold};

const RING_SIZE: u64 = BPF_RB_RING_SIZE as u64;
const AVAILABLE: u64 = BPF_RB_AVAIL_DATA as u64;
/// Bytes of a loss and the longest record, each behind a head of 8.
const ROOM_FOR_BOTH: u64 = (8 + size_of::<LossRecord>() + 8 + size_of::<Out>()) as u64;

/// What follows a state record, and how long both are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Following {
    Nothing,
    Task,
    Counts,
    CountsAtClose,
}

/// Completes the record in `scratch` and delivers it, with what is already there to follow it. `flags` mark the
/// program.
#[inline(always)]
pub(crate) fn state(scratch: &mut Scratch, facts: &Facts, following: Following, mut flags: u16) {
    const STATE: usize = size_of::<StateRecord>();
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
    let header = &raw const record.header;
    let out = &raw const scratch.out;
    // SAFETY: the header was written above; the lengths are those of the parts of `Out` that were written,
    // which has no padding between them.
    let delivered = unsafe {
        tell_losses(&*header)
            && match following {
                Following::Nothing => output_bytes::<STATE>(out.cast()),
                Following::Task => output_bytes::<{ STATE + size_of::<Task>() }>(out.cast()),
                Following::Counts => output_bytes::<{ STATE + size_of::<Counts>() }>(out.cast()),
                Following::CountsAtClose => {
                    output_bytes::<{ STATE + size_of::<Counted>() }>(out.cast())
                }
            }
    };
    if !delivered {
        lose(Lost::RingFull);
    }
}

/// Delivers evidence of one kind.
#[inline(always)]
pub(crate) fn evidence(kind: u16, sk: u64, detail: Option<(u32, u32)>) {
    let flags = if detail.is_some() { FLAG_DETAIL } else { 0 };
    let (detail, detail2) = detail.unwrap_or((0, 0));
    let record = EvidenceRecord {
        header: header(kind, flags, sk),
        detail,
        detail2,
    };
    deliver(&record.header, &record);
}

/// Delivers what happened to the half-open connection whose ends are in `state`.
#[inline(always)]
pub(crate) fn request(kind: u16, state: &StateRecord, facts: &Facts) {
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
    deliver(&record.header, &record);
}

/// Delivers news of a mini-socket; `full_sk` is the socket that it follows, at its birth.
#[inline(always)]
pub(crate) fn mini(kind: u16, mini: u64, full_sk: u64, state: u8) {
    let record = MiniRecord {
        header: header(kind, 0, mini),
        full_sk,
        state: u32::from(state),
        reserved: 0,
    };
    deliver(&record.header, &record);
}

/// Delivers one accept.
#[inline(always)]
pub(crate) fn accept(sk: u64, task: Task, flags: u16) {
    let header = header(KIND_ACCEPT, FLAG_TASK | flags, sk);
    deliver(&header, &AcceptRecord { header, task });
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

/// Delivers what is not a transition.
#[inline(always)]
fn deliver<T>(header: &Header, record: &T) {
    if !(tell_losses(header) && output(record)) {
        lose(Lost::Evidence);
    }
}

/// Delivers what was lost and not told yet, before the record that has this header. False if there is no room for
/// both: a ring that is all but full would otherwise take in nothing but losses.
#[inline(always)]
fn tell_losses(next: &Header) -> bool {
    let Some(lost) = untold() else {
        return true;
    };
    let (size, used) = (EVENTS.query(RING_SIZE), EVENTS.query(AVAILABLE));
    if size.wrapping_sub(used) < ROOM_FOR_BOTH {
        return false;
    }
    let header = Header {
        kind: KIND_LOSS,
        flags: 0,
        sk: 0,
        ..*next
    };
    let delivered = output(&LossRecord { header, lost });
    if delivered {
        told(&lost);
    }
    delivered
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
