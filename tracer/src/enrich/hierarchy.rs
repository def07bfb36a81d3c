//! The hierarchy of cgroups of version 2 (`cgroups(7)`): directories, whose inode numbers are the ids.

use std::collections::HashSet;
use std::os::linux::fs::MetadataExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirEntryExt as _;
use std::path::{Path, PathBuf};

use super::own_namespace;

/// Directories read at most in one search.
const MAX_DIRECTORIES: usize = 100_000;
/// `PROC_CGROUP_INIT_INO` (`include/linux/proc_ns.h`).
const INITIAL_NAMESPACE: u64 = 0xEFFF_FFFB;

/// Where the hierarchy is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hierarchy {
    mount: PathBuf,
    root_id: u64,
}

/// Finds the hierarchy, or says why there is none to be had.
pub(super) fn find() -> Result<Hierarchy, String> {
    if own_namespace("cgroup").is_some_and(|inode| inode != INITIAL_NAMESPACE) {
        return Err(
            "tracer runs in a cgroup namespace of its own and does not see the others: run it outside \
             the container, or with the host's"
                .to_owned(),
        );
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")
        .map_err(|error| format!("cannot read /proc/self/mountinfo: {error}"))?;
    let mount = mount_point(&mounts).ok_or("no hierarchy of cgroups of version 2 is mounted")?;
    let root_id = std::fs::metadata(&mount)
        .map_err(|error| format!("cannot look into {}: {error}", mount.display()))?
        .st_ino();
    Ok(Hierarchy { mount, root_id })
}

/// All hierarchies of version 1 that are mounted as a whole; `None` where the others cannot be seen.
pub(super) fn of_version_1() -> Option<Vec<Hierarchy>> {
    if own_namespace("cgroup").is_some_and(|inode| inode != INITIAL_NAMESPACE) {
        return None;
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    let hierarchy = |mount: PathBuf| {
        let root_id = std::fs::metadata(&mount).ok()?.st_ino();
        Some(Hierarchy { mount, root_id })
    };
    mount_points(&mounts, "cgroup ").map(hierarchy).collect()
}

/// Where the whole of the hierarchy is mounted, by the text of `mountinfo` (`proc_pid_mountinfo(5)`).
fn mount_point(mounts: &str) -> Option<PathBuf> {
    mount_points(mounts, "cgroup2 ").next()
}

/// Likewise of all file systems of a type, which a space follows.
fn mount_points(mounts: &str, kind: &str) -> impl Iterator<Item = PathBuf> {
    mounts.lines().filter_map(move |line| {
        let (mount, file_system) = line.split_once(" - ")?;
        let [_, _, _, root, point, ..] = *mount.split(' ').collect::<Vec<_>>() else {
            return None;
        };
        let is_whole = file_system.starts_with(kind) && root == "/";
        is_whole.then(|| point.replace("\\040", " ").into())
    })
}

impl Hierarchy {
    pub(super) fn mount(&self) -> &Path {
        &self.mount
    }

    /// Id of the cgroup that all others are in.
    pub(super) fn root_id(&self) -> u64 {
        self.root_id
    }

    /// Id of the cgroup at a path from the root; `None` if there is none.
    pub(super) fn id_of(&self, path: &str) -> Option<u64> {
        let place = self.mount.join(path.trim_start_matches('/'));
        Some(std::fs::metadata(place).ok()?.st_ino())
    }

    /// The paths of cgroups, as far as they are there.
    pub(super) fn search(&self, ids: &HashSet<u64>) -> Vec<(u64, String)> {
        let mut found = Vec::new();
        if ids.contains(&self.root_id) {
            found.push((self.root_id, "/".to_owned()));
        }
        let _ = self.walk(|id, path| {
            if ids.contains(&id) {
                found.push((id, path.to_owned()));
            }
            found.len() < ids.len()
        });
        found
    }

    /// Visits each cgroup below the root until `visit` says no. Fails if there are too many.
    pub(super) fn walk(&self, mut visit: impl FnMut(u64, &str) -> bool) -> Result<(), String> {
        let mut waiting = vec![PathBuf::new()];
        let mut read = 0;
        while let Some(relative) = waiting.pop() {
            read += 1;
            if read > MAX_DIRECTORIES {
                return Err(format!("there are more than {MAX_DIRECTORIES} cgroups"));
            }
            // One that is gone by now holds nothing.
            let Ok(entries) = std::fs::read_dir(self.mount.join(&relative)) else {
                continue;
            };
            for entry in entries.flatten() {
                if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    continue;
                }
                let below = relative.join(entry.file_name());
                let path = String::from_utf8_lossy(below.as_os_str().as_bytes());
                if !visit(entry.ino(), &format!("/{path}")) {
                    return Ok(());
                }
                waiting.push(below);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_hierarchy_is_found_among_the_mounts() {
        let unified =
            "25 1 0:23 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        let part = "9 1 0:23 /a /mnt/a rw - cgroup2 cgroup2 rw\n";
        let hybrid = "30 1 0:25 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      31 1 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_point(unified), Some("/sys/fs/cgroup".into()));
        assert_eq!(
            mount_point(&format!("{part}{unified}")),
            Some("/sys/fs/cgroup".into())
        );
        assert_eq!(mount_point(hybrid), Some("/sys/fs/cgroup/unified".into()));
        let of_version_1: Vec<_> = mount_points(hybrid, "cgroup ").collect();
        assert_eq!(of_version_1, [PathBuf::from("/sys/fs/cgroup/cpu")]);
        let spaced = "1 1 0:1 / /mnt/a\\040b rw - cgroup2 none rw\n";
        assert_eq!(mount_point(spaced), Some("/mnt/a b".into()));
        for other in [
            "",
            "garbage",
            " - cgroup2 ",
            part,
            "1 1 0:1 / /x rw - tmpfs tmpfs rw\n",
        ] {
            assert_eq!(mount_point(other), None, "{other}");
        }
    }

    #[test]
    fn directories_are_found_by_their_inode_numbers() {
        let root = std::env::temp_dir().join(format!("tracer-hierarchy-{}", std::process::id()));
        let deep = root.join("a.slice/b.service");
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(root.join("cgroup.procs"), "").unwrap();
        let inode = |path: &Path| std::fs::metadata(path).unwrap().st_ino();
        let hierarchy = Hierarchy {
            mount: root.clone(),
            root_id: inode(&root),
        };
        let wanted = [inode(&deep), inode(&root), 1].into();
        let mut found = hierarchy.search(&wanted);
        found.sort_by(|(_, one), (_, other)| one.cmp(other));
        assert_eq!(
            found,
            [
                (inode(&root), "/".to_owned()),
                (inode(&deep), "/a.slice/b.service".to_owned())
            ]
        );
        assert_eq!(hierarchy.id_of("/a.slice/b.service"), Some(inode(&deep)));
        assert_eq!(hierarchy.id_of("/"), Some(inode(&root)));
        assert_eq!(hierarchy.id_of("/c"), None);
        std::fs::remove_dir_all(&root).unwrap();
    }
}
