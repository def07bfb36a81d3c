//! Values of options: text to types, each error one clear sentence.

use std::os::linux::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use crate::event::Comm;
use crate::filter::{TransitionPattern, parse_transition};
use crate::state::{State, UnknownState};

pub(super) fn pid(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("not a process id".to_owned()),
        // As the kernel counts them: PID_MAX_LIMIT is 2^22.
        Ok(pid) if pid > 1 << 22 => Err("no process id is larger than 4194304".to_owned()),
        Ok(pid) => Ok(pid),
    }
}

pub(super) fn comm(text: &str) -> Result<Comm, String> {
    if text.is_empty() {
        return Err("an empty command name".to_owned());
    }
    if text.len() > 15 {
        return Err(format!(
            "the kernel keeps only the first 15 bytes of a command name: try `{}`",
            Comm::from(text).to_string_lossy()
        ));
    }
    Ok(Comm::from(text))
}

/// File system of namespaces (`include/uapi/linux/magic.h`).
const NSFS_MAGIC: rustix::fs::FsWord = 0x6e73_6673;

/// A number, a name under /run/netns, or a path.
pub(super) fn netns(text: &str) -> Result<u32, String> {
    if let Ok(inode) = text.parse::<u32>() {
        return match inode {
            0 => Err("0 is no inode number of a namespace".to_owned()),
            inode => Ok(inode),
        };
    }
    let path = if text.contains('/') {
        Path::new(text).to_owned()
    } else if text.is_empty() {
        return Err("an empty name".to_owned());
    } else {
        Path::new("/run/netns").join(text)
    };
    let inode = std::fs::metadata(&path)
        .map_err(|error| format!("cannot find the namespace at {}: {error}", path.display()))?
        .st_ino();
    // The link in /proc names the type; elsewhere the file system is all there is to see.
    let named = std::fs::read_link(&path).ok();
    let other_type = named.is_some_and(|name| {
        let name = name.to_string_lossy();
        name.ends_with(']') && !name.starts_with("net:")
    });
    let of_namespaces = rustix::fs::statfs(&path).is_ok_and(|fs| fs.f_type == NSFS_MAGIC);
    match u32::try_from(inode) {
        Ok(inode) if of_namespaces && !other_type => Ok(inode),
        _ => Err(format!("{} is no network namespace", path.display())),
    }
}

/// A path as in /proc/PID/cgroup, or as in the file system.
pub(super) fn cgroup(text: &str) -> Result<String, String> {
    const MOUNTS: [&str; 2] = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
    let below = |mount| text.strip_prefix(mount);
    let path = MOUNTS
        .into_iter()
        .find_map(below)
        .filter(|rest| rest.is_empty() || rest.starts_with('/'))
        .unwrap_or(text);
    if text.is_empty() {
        return Err("an empty path".to_owned());
    }
    if path.split('/').any(|name| name == "." || name == "..") {
        return Err(
            "write the path from the root of the hierarchy, as in /proc/PID/cgroup".to_owned(),
        );
    }
    let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
    Ok(format!("/{}", names.join("/")))
}

/// The beginning of an id.
pub(super) fn container(text: &str) -> Result<String, String> {
    const SHORTEST: usize = 4;
    if text.len() < SHORTEST {
        return Err(format!("write {SHORTEST} characters of its id or more"));
    }
    if text.contains(['/', ':']) || text.contains(char::is_whitespace) {
        return Err(
            "that is no id of a container; `docker ps` and `crictl ps` show the ids".to_owned(),
        );
    }
    Ok(text.to_owned())
}

pub(super) fn states(text: &str) -> Result<Vec<State>, String> {
    let mut states = Vec::new();
    for name in text.split(',') {
        states.extend(State::parse_group(name).map_err(|error| with_hint(&error))?);
    }
    Ok(states)
}

pub(super) fn transitions(text: &str) -> Result<Vec<TransitionPattern>, String> {
    let mut patterns = Vec::new();
    for pattern in text.split(',') {
        let parsed = parse_transition(pattern, |name| State::parse_group(name).map_err(WithHint));
        patterns.extend(parsed.map_err(|error| error.to_string())?);
    }
    Ok(patterns)
}

#[derive(Debug, thiserror::Error)]
#[error("{}", with_hint(.0))]
struct WithHint(UnknownState);

fn with_hint(error: &UnknownState) -> String {
    format!("{error}\nhint: {}", error.hint())
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let parsed: jiff::SignedDuration = text.parse().map_err(|_| {
        "write a number and a unit (ns, us, ms, s, m or h), such as 500ms or 1h".to_owned()
    })?;
    let duration =
        Duration::try_from(parsed).map_err(|_| "a time cannot be negative".to_owned())?;
    if duration.is_zero() {
        return Err("a time of zero would show nothing".to_owned());
    }
    Ok(duration)
}

/// No more often is it looked at how things stand.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(20);

/// Between two sums.
pub(super) fn interval(text: &str) -> Result<Duration, String> {
    let interval = duration(text)?;
    if interval < SHORTEST_INTERVAL {
        return Err("20ms is the shortest interval".to_owned());
    }
    Ok(interval)
}

pub(super) fn count(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("write a whole number, 1 or more".to_owned()),
        Ok(count) => Ok(count),
    }
}

pub(super) fn connections(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("write a number of connections, 1 or more".to_owned()),
        Ok(count) => Ok(count),
    }
}

/// Rows of a table.
pub(super) fn rows(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(rows @ 1..=1000) => Ok(rows),
        Ok(_) | Err(_) => Err("write a number of rows, 1 to 1000".to_owned()),
    }
}

/// Bytes with an optional K, M, G or T (powers of 1024).
pub(super) fn file_bytes(text: &str) -> Result<u64, String> {
    const LEAST: u64 = 64 << 10;
    let bytes = size(text).ok_or_else(|| "write a size such as 512K, 100M or 2G".to_owned())?;
    if bytes < LEAST {
        return Err("64K is the least".to_owned());
    }
    Ok(bytes)
}

pub(super) fn files(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err(format!("write a number of files, 1 to {}", u32::MAX)),
        Ok(count) => Ok(count),
    }
}

fn size(text: &str) -> Option<u64> {
    let upper = text.to_ascii_uppercase();
    let (digits, shift) = match upper.strip_suffix(['K', 'M', 'G', 'T']) {
        None => (upper.as_str(), 0),
        Some(digits) => (
            digits,
            match upper.as_bytes().last()? {
                b'K' => 10,
                b'M' => 20,
                b'G' => 30,
                _ => 40,
            },
        ),
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

const RING_MIN: u64 = 64 << 10;
const RING_MAX: u64 = 1 << 30;

/// Bytes with an optional K, M or G (powers of 1024), made a power of two.
pub(super) fn ring_bytes(text: &str) -> Result<u32, String> {
    let wrong = || "write a size such as 512K, 16M or 1G".to_owned();
    let bytes = size(text).ok_or_else(wrong)?;
    if !(RING_MIN..=RING_MAX).contains(&bytes) {
        return Err("the buffer can be 64K to 1G".to_owned());
    }
    u32::try_from(bytes.next_power_of_two()).map_err(|_| wrong())
}

const BACKLOG_MIN: u64 = 1 << 20;
const BACKLOG_MAX: u64 = 64 << 30;

/// Bytes with an optional K, M or G (powers of 1024).
pub(super) fn backlog_bytes(text: &str) -> Result<usize, String> {
    let bytes = size(text).ok_or("write a size such as 64M or 1G")?;
    if !(BACKLOG_MIN..=BACKLOG_MAX).contains(&bytes) {
        return Err("it can be 1M to 64G".to_owned());
    }
    usize::try_from(bytes).map_err(|_| "more than this machine can address".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(ring_bytes("16M"), Ok(16 << 20));
        assert_eq!(ring_bytes("100k"), Ok(128 << 10));
        assert_eq!(ring_bytes("65536"), Ok(65_536));
        assert_eq!(ring_bytes("1G"), Ok(1 << 30));
        for bad in [
            "",
            "M",
            "4K",
            "2G",
            "-1",
            "1.5M",
            "99999999999999999999",
            "16MB",
        ] {
            assert!(ring_bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_of_files() {
        assert_eq!(file_bytes("64k"), Ok(64 << 10));
        assert_eq!(file_bytes("2T"), Ok(2 << 40));
        for bad in ["", "1K", "-1", "0", "99999999T", "1.5G", "100MB"] {
            assert!(file_bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("1m 30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        let error = duration("10").unwrap_err();
        let (_, units) = error.split_once('(').unwrap();
        let (units, _) = units.split_once(')').unwrap();
        for unit in units
            .split([',', ' '])
            .filter(|word| !matches!(*word, "" | "or"))
        {
            assert!(duration(&format!("1{unit}")).is_ok(), "{unit}");
        }
        for bad in ["", "10", "-5s", "0s", "soon", "10s10"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn intervals() {
        assert_eq!(interval("20ms"), Ok(SHORTEST_INTERVAL));
        assert!(interval("1h").is_ok());
        for short in ["1ns", "19ms"] {
            let error = interval(short).unwrap_err();
            assert!(error.contains("20ms"), "{short}: {error}");
        }
    }

    #[test]
    fn command_names_are_cut_by_the_kernel_not_by_us() {
        assert!(comm("nginx").is_ok());
        assert!(comm("exactly-fifteen").is_ok());
        assert!(
            comm("sixteen-letters!")
                .unwrap_err()
                .contains("sixteen-letters`")
        );
    }

    #[test]
    fn cgroups() {
        for (text, path) in [
            ("/system.slice/nginx.service", "/system.slice/nginx.service"),
            ("system.slice/", "/system.slice"),
            ("/sys/fs/cgroup/system.slice", "/system.slice"),
            ("/sys/fs/cgroup/unified/a", "/a"),
            ("/sys/fs/cgroup", "/"),
            ("/sys/fs/cgroups", "/sys/fs/cgroups"),
            ("/", "/"),
        ] {
            assert_eq!(cgroup(text).as_deref(), Ok(path), "{text}");
        }
        assert!(cgroup("").is_err() && cgroup("../a").is_err());
    }

    #[test]
    fn containers() {
        assert_eq!(container("3f2a").as_deref(), Ok("3f2a"));
        assert!(container("web").unwrap_err().contains("4 characters"));
        assert!(container("docker/web").unwrap_err().contains("docker ps"));
    }

    #[test]
    fn namespaces() {
        assert_eq!(netns("4026531840"), Ok(4_026_531_840));
        assert!(netns("/proc/self/ns/net").is_ok());
        for other in [
            "0",
            "/etc/passwd",
            "/",
            "/proc/self/ns/mnt",
            "/proc/self/ns/pid",
        ] {
            assert!(netns(other).is_err(), "{other}");
        }
        assert!(
            netns("no-such-namespace")
                .unwrap_err()
                .contains("/run/netns/no-such-namespace")
        );
    }
}
