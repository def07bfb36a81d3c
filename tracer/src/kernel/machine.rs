//! Facts about the machine and its clocks, for the head of a recording.

use rustix::system::uname;
use rustix::time::{ClockId, clock_gettime};

use crate::session::ClockMap;

/// Host name, kernel release, architecture and boot id.
pub fn machine_facts() -> (String, String, String, Option<String>) {
    let names = uname();
    let text = |name: &std::ffi::CStr| name.to_string_lossy().into_owned();
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .ok()
        .map(|id| id.trim().to_owned());
    (
        text(names.nodename()),
        text(names.release()),
        text(names.machine()),
        boot_id,
    )
}

/// Reads both clocks. The monotonic one is read before and after, so that the pair belongs together
/// to within half of that time, usually well below a microsecond.
pub fn clock_map() -> ClockMap {
    let before = nanoseconds(ClockId::Monotonic);
    let wall_ns = nanoseconds(ClockId::Realtime);
    let after = nanoseconds(ClockId::Monotonic);
    ClockMap {
        mono_ns: u64::try_from(before.midpoint(after)).unwrap_or(0),
        wall_ns,
    }
}

fn nanoseconds(clock: ClockId) -> i64 {
    let time = clock_gettime(clock);
    time.tv_sec
        .saturating_mul(1_000_000_000)
        .saturating_add(time.tv_nsec)
}
