//! Facts about the machine and its clocks, for the head of a recording.

use std::os::linux::fs::MetadataExt as _;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::system::{sysinfo, uname};
use rustix::time::{ClockId, clock_gettime};

use crate::hints::Limits;
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

/// What outgoing connections of this process's network namespace can run into.
pub fn port_limits() -> Limits {
    let setting = |name: &str| std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).ok();
    let ports = setting("ip_local_port_range").and_then(|range| {
        let mut ends = range.split_whitespace().map(str::parse::<u64>);
        let (low, high) = (ends.next()?.ok()?, ends.next()?.ok()?);
        high.checked_sub(low)?.checked_add(1)
    });
    let netns = std::fs::metadata("/proc/self/ns/net").map(|file| file.st_ino());
    Limits {
        netns: netns.ok().and_then(|inode| u32::try_from(inode).ok()),
        local_ports: ports,
        tw_reuse: setting("tcp_tw_reuse").and_then(|reuse| reuse.trim().parse().ok()),
    }
}

/// Mask of the signals this process was started with as ignored; none where /proc does not tell.
pub fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

/// Memory for records that wait: a sixteenth of the machine's, at most 256 MiB.
pub fn default_backlog_bytes() -> usize {
    const MOST: u64 = 256 << 20;
    let info = sysinfo();
    let memory = info.totalram.saturating_mul(info.mem_unit.into());
    usize::try_from((memory / 16).min(MOST)).unwrap_or(usize::MAX)
}

/// Raises the soft limit on open files to the hard one: every map and program is a file.
pub fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        log::debug!("cannot raise the limit on open files: {error}");
    }
}

/// Whether runs that are refused to a program of a classic tracepoint are counted. Raw ones are refused
/// no run before they are counted.
pub(super) fn counts_refused_classic_runs() -> bool {
    let names = uname();
    version(&names.release().to_string_lossy()).is_some_and(|version| version >= (6, 7))
}

/// Whether `sock_diag` can be asked for MPTCP; before, it would answer with TCP.
pub(super) fn lists_mptcp() -> bool {
    let is_there = std::path::Path::new("/proc/sys/net/mptcp/enabled").exists();
    let release = uname();
    is_there
        && version(&release.release().to_string_lossy()).is_some_and(|version| version >= (5, 9))
}

/// `6.12.48+deb13` is 6.12.
fn version(release: &str) -> Option<(u32, u32)> {
    let (major, rest) = release.split_once('.')?;
    let digits = rest.split(|letter: char| !letter.is_ascii_digit()).next()?;
    Some((major.parse().ok()?, digits.parse().ok()?))
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

/// `CLOCK_MONOTONIC`, nanoseconds.
pub(super) fn mono_ns() -> u64 {
    u64::try_from(nanoseconds(ClockId::Monotonic)).unwrap_or(0)
}

fn nanoseconds(clock: ClockId) -> i64 {
    let time = clock_gettime(clock);
    time.tv_sec
        .saturating_mul(1_000_000_000)
        .saturating_add(time.tv_nsec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_of_a_release() {
        assert_eq!(version("6.12.48+deb13-cloud-amd64"), Some((6, 12)));
        assert_eq!(version("7.0-rc1"), Some((7, 0)));
        assert_eq!(version("5.14"), Some((5, 14)));
        assert_eq!(version("next"), None);
    }
}
