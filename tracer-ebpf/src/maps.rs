//! Maps. Sizes of those that a filter fills are set at load; unused ones shrink to one entry.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::macros::map;
use aya_ebpf::maps::lpm_trie::LpmTrie;
use aya_ebpf::maps::{Array, HashMap, PerCpuArray, RingBuf};
use tracer_common::config::{INET_WINDOW, SOCK_COMMON_WINDOW};
use tracer_common::wire::{AtClose, Counts, Losses, StateRecord, Task};

use crate::read::Window;

/// Records on their way to userspace; the size is set at load.
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(8 << 20, 0);

/// What could not be delivered, on any CPU. Read with every record, but written only when something is lost.
#[map]
static LOSSES: Array<Ledger> = Array::with_max_entries(1, 0);

/// Transitions that the first program of the pair had not handled when the twin saw them.
#[map]
static RECOVERED: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Working memory of this CPU: more than fits the 512 bytes of a program's stack.
#[map]
static WORK: PerCpuArray<Cpu> = PerCpuArray::with_max_entries(1, 0);

/// `PORT_*` flags of every port.
#[map]
pub(crate) static PORTS: Array<[u8; 65536]> = Array::with_max_entries(1, 0);

/// Selected prefixes.
#[map]
pub(crate) static PREFIXES: LpmTrie<[u8; 16], u8> =
    LpmTrie::with_max_entries(1024, BPF_F_NO_PREALLOC);

/// Selected network namespaces.
#[map]
pub(crate) static NETNS: HashMap<u32, u8> = HashMap::with_max_entries(1, 0);

/// Selected processes.
#[map]
pub(crate) static PIDS: HashMap<u32, u8> = HashMap::with_max_entries(1, 0);

/// Selected command names.
#[map]
pub(crate) static COMMS: HashMap<[u8; 16], u8> = HashMap::with_max_entries(1, 0);

/// Sockets connected by a process that is not selected.
#[map]
pub(crate) static FOREIGN: HashMap<u64, u8> = HashMap::with_max_entries(1, 0);

/// Cgroups that are not selected, as far as userspace has found out.
#[map]
pub(crate) static FOREIGN_CGROUPS: HashMap<u64, u8> = HashMap::with_max_entries(1, 0);

/// Value of [`LOSSES`].
#[repr(C)]
struct Ledger {
    lost: Losses,
    /// All of that together, as the last record said that tells of it.
    told: u64,
}

/// What an event was that is lost.
#[derive(Clone, Copy)]
pub(crate) enum Lost {
    /// A transition that found no room.
    RingFull,
    /// A transition whose socket could not be read.
    Unreadable,
    /// An accept or evidence, for whatever reason.
    Evidence,
}

/// Value of [`WORK`].
#[repr(C)]
pub(crate) struct Cpu {
    pub(crate) handled: Handled,
    pub(crate) state: Scratch,
    pub(crate) twin: Scratch,
    pub(crate) accept: Scratch,
    pub(crate) accept_io_uring: Scratch,
    pub(crate) retransmit: Scratch,
    pub(crate) reset_received: Scratch,
    pub(crate) reset_sent: Scratch,
    pub(crate) socket_error: Scratch,
    pub(crate) synack: Scratch,
    pub(crate) destroyed: Scratch,
    pub(crate) time_wait: Scratch,
    pub(crate) mini_born: Scratch,
    pub(crate) mini_timer: Scratch,
    pub(crate) mini_end: Scratch,
    pub(crate) request: Scratch,
}

/// The transitions that the first program of the pair has handled on this CPU and the twin has not seen yet:
/// the latest, and the one that it interrupted. The only part of [`Cpu`] that two programs share.
#[repr(C)]
pub(crate) struct Handled {
    /// [`AT_WORK`] while the first program is.
    pub(crate) lock: u64,
    pub(crate) latest: Transition,
    pub(crate) interrupted: Transition,
}

/// A transition, as far as it takes to know it again.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Transition {
    pub(crate) sk: u64,
    /// Both states.
    pub(crate) states: u64,
}

impl Transition {
    pub(crate) const NONE: Self = Self { sk: 0, states: 0 };
}

/// Marks what a program works with.
pub(crate) const AT_WORK: u64 = u64::MAX;

/// What one program needs while it runs. A program does not run inside itself, so it is that program's
/// alone: the kernel sees to that for classic tracepoints always, for raw ones since Linux 6.1, and
/// before the programs themselves do.
#[repr(C)]
pub(crate) struct Scratch {
    /// [`AT_WORK`] while the program is, for those that do not use the one of [`Handled`].
    pub(crate) lock: u64,
    /// An argument on its way from the context.
    pub(crate) argument: u64,
    pub(crate) out: Out,
    pub(crate) common: Window<{ SOCK_COMMON_WINDOW as usize }>,
    pub(crate) inet: Window<{ INET_WINDOW as usize }>,
    pub(crate) tcp: TcpWindow,
}

/// The part of a `struct tcp_sock` from `bytes_sent` on: holds most of what is read of it, on most kernels.
pub(crate) type TcpWindow = Window<320>;

/// A [`StateRecord`] with room for what may follow it. A transition that runs in the caller's context
/// is never one whose counters are read, so one thing at most follows.
#[repr(C)]
pub(crate) struct Out {
    pub(crate) state: StateRecord,
    pub(crate) trailer: Trailer,
}

/// See [`Out`]; the record's flags say which it is.
#[repr(C)]
pub(crate) union Trailer {
    pub(crate) task: Task,
    pub(crate) counted: Counted,
}

/// What follows the end of a connection; of others the first part at most.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Counted {
    pub(crate) counts: Counts,
    pub(crate) at_close: AtClose,
}

/// Working memory of the CPU this runs on.
#[inline(always)]
pub(crate) fn this_cpu() -> Option<*mut Cpu> {
    WORK.get_ptr_mut(0)
}

/// Counts an event that is not delivered.
#[inline(always)]
pub(crate) fn lose(what: Lost) {
    if let Some(ledger) = LOSSES.get_ptr_mut(0) {
        // SAFETY: aligned words of a map's value, which all CPUs change by atomic additions alone.
        unsafe {
            let lost = &raw mut (*ledger).lost;
            let word = match what {
                Lost::RingFull => &raw mut (*lost).ring_full,
                Lost::Unreadable => &raw mut (*lost).unreadable,
                Lost::Evidence => &raw mut (*lost).evidence,
            };
            atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(word, 1);
        }
    }
}

/// What was lost up to now and no record has told of yet.
#[inline(always)]
pub(crate) fn untold() -> Option<Losses> {
    let ledger = LOSSES.get_ptr(0)?;
    // SAFETY: aligned words, each of which is read at once.
    let (lost, told) = unsafe {
        let lost = &raw const (*ledger).lost;
        let lost = Losses {
            ring_full: (&raw const (*lost).ring_full).read_volatile(),
            unreadable: (&raw const (*lost).unreadable).read_volatile(),
            evidence: (&raw const (*lost).evidence).read_volatile(),
        };
        (lost, (&raw const (*ledger).told).read_volatile())
    };
    (sum(&lost) != told).then_some(lost)
}

/// A record tells of these. Two CPUs can do so at once; should the lesser sum remain, it is told again.
#[inline(always)]
pub(crate) fn told(lost: &Losses) {
    if let Some(ledger) = LOSSES.get_ptr_mut(0) {
        // SAFETY: one aligned word.
        unsafe { (&raw mut (*ledger).told).write_volatile(sum(lost)) };
    }
}

/// Whether a transition ever found no room.
#[inline(always)]
pub(crate) fn has_lost() -> bool {
    // SAFETY: one aligned word.
    LOSSES
        .get_ptr(0)
        .is_some_and(|ledger| unsafe { (&raw const (*ledger).lost.ring_full).read_volatile() } != 0)
}

#[inline(always)]
fn sum(lost: &Losses) -> u64 {
    lost.ring_full + lost.unreadable + lost.evidence
}

/// Counts a transition that the first program of the pair has not handled.
#[inline(always)]
pub(crate) fn count_recovered() {
    if let Some(count) = RECOVERED.get_ptr_mut(0) {
        // SAFETY: the word belongs to this CPU and to the twin, which does not run inside itself.
        unsafe { *count += 1 };
    }
}
