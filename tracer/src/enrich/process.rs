//! What /proc says of the cgroups of a process (`cgroups(7)`, `proc_pid_stat(5)`).

use super::own_namespace;
use crate::place::Place;

/// `PROC_PID_INIT_INO` (`include/linux/proc_ns.h`).
const INITIAL_PID_NAMESPACE: u64 = 0xEFFF_FFFC;
/// Nanoseconds in a tick of /proc (`USER_HZ`, 100 on all architectures but Alpha and ia64).
const TICK_NS: u64 = 10_000_000;

/// Whether /proc shows all processes by the ids that the kernel programs use; else why not.
pub(super) fn is_proc_of_all() -> Result<(), String> {
    match own_namespace("pid") {
        Some(INITIAL_PID_NAMESPACE) => Ok(()),
        Some(_) => Err(
            "tracer runs in a pid namespace of its own and does not see all processes: run it \
                        outside the container, or with the host's"
                .to_owned(),
        ),
        None => Err("/proc is not mounted".to_owned()),
    }
}

/// How many hierarchies of version 1 there are.
pub(super) fn v1_hierarchies() -> usize {
    std::fs::read_to_string("/proc/self/cgroup").map_or(0, |text| {
        entries(&text)
            .filter(|(hierarchy, _, _)| *hierarchy != "0")
            .count()
    })
}

/// Path of the cgroup of version 2 that a process is in now.
pub(super) fn v2_path(pid: u32) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    v2_path_in(&text).map(str::to_owned)
}

fn v2_path_in(text: &str) -> Option<&str> {
    entries(text).find_map(|(hierarchy, _, path)| (hierarchy == "0").then_some(path))
}

/// What /proc says of a process that holds sockets.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) ns_pid: Option<u32>,
    /// In the user namespace of this process.
    pub(super) uid: Option<u32>,
    /// Its cgroup of version 2.
    pub(super) v2_path: Option<String>,
    /// The one that tells most of it among those of version 1.
    pub(super) v1_path: String,
}

/// A process that was found by this name; `None` if it has ended, or bears another one now.
pub(super) fn holder(pid: u32, comm: &[u8]) -> Option<Holder> {
    let read = |file| std::fs::read_to_string(format!("/proc/{pid}/{file}")).ok();
    let name = std::fs::read(format!("/proc/{pid}/comm")).ok()?;
    if name.strip_suffix(b"\n").unwrap_or(&name) != comm {
        return None;
    }
    let (status, cgroups) = (read("status")?, read("cgroup")?);
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.map(str::split_whitespace)
    };
    let number = |text: &str| text.parse().ok();
    Some(Holder {
        ns_pid: field("NSpid:").and_then(|pids| number(pids.last()?)),
        uid: field("Uid:").and_then(|mut uids| number(uids.next()?)),
        v2_path: v2_path_in(&cgroups).map(str::to_owned),
        v1_path: most_telling(&cgroups),
    })
}

/// Path of the cgroup that tells most of a process, if it is still the one that started then.
pub(super) fn v1_path(pid: u32, start_ns: u64) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    // Afterwards: the number may have been given to another process meanwhile.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    (start_ticks(&stat)? == start_ns / TICK_NS).then(|| most_telling(&text))
}

/// Hierarchies of version 1 need not agree. That of systemd is the one it and container runtimes go by;
/// where they do without, any that tells of a container will do.
fn most_telling(text: &str) -> String {
    let find = |wanted: &dyn Fn(&str, &str) -> bool| {
        entries(text)
            .find(|(_, controllers, path)| *path != "/" && wanted(controllers, path))
            .map(|(_, _, path)| path.to_owned())
    };
    find(&|controllers, _| controllers == "name=systemd")
        .or_else(|| find(&|_, path| Place::from_path(path).container.is_some()))
        .unwrap_or_else(|| "/".to_owned())
}

/// Lines `HIERARCHY:CONTROLLERS:PATH`.
fn entries(text: &str) -> impl Iterator<Item = (&str, &str, &str)> {
    text.lines().filter_map(|line| {
        let (hierarchy, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        Some((hierarchy, controllers, path))
    })
}

/// When a process started, in ticks since the machine did: field 22. The name before may hold anything.
fn start_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8";

    #[test]
    fn the_most_telling_of_several_hierarchies() {
        let docker = format!("5:memory:/docker/{ID}\n1:name=systemd:/docker/{ID}\n0::/\n");
        assert_eq!(most_telling(&docker), format!("/docker/{ID}"));
        let without_systemd = format!("6:cpuset:/\n5:cpu,cpuacct:/docker/{ID}\n0::/\n");
        assert_eq!(most_telling(&without_systemd), format!("/docker/{ID}"));
        let service = "5:memory:/other\n1:name=systemd:/system.slice/ssh.service\n0::/\n";
        assert_eq!(most_telling(service), "/system.slice/ssh.service");
        // Of a controller's own group alone nothing follows.
        assert_eq!(
            most_telling("5:memory:/batch\n1:name=systemd:/\n0::/\n"),
            "/"
        );
        assert_eq!(most_telling("garbage"), "/");
        assert_eq!(most_telling("1:name=systemd:/a:b\n"), "/a:b");
    }

    #[test]
    fn the_start_is_found_behind_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 123456 9 9\n";
        assert_eq!(start_ticks(stat), Some(123_456));
        assert_eq!(start_ticks("7 (a) S 1"), None);
        assert_eq!(start_ticks(""), None);
    }

    #[test]
    fn this_process_is_found_as_a_holder_by_its_name() {
        let pid = std::process::id();
        let name = std::fs::read("/proc/self/comm").unwrap();
        let name = name.strip_suffix(b"\n").unwrap();
        let found = holder(pid, name).unwrap();
        assert!(found.ns_pid.is_some() && found.uid.is_some());
        assert_eq!(found.v2_path, v2_path(pid));
        assert_eq!(holder(pid, b"another"), None);
    }

    #[test]
    fn this_process_is_found_as_the_one_it_is() {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let start_ns = start_ticks(&stat).unwrap() * TICK_NS;
        let pid = std::process::id();
        assert!(v1_path(pid, start_ns + TICK_NS / 2).is_some());
        assert_eq!(v1_path(pid, start_ns + TICK_NS), None);
    }
}
