//! Who is there: the processes, the network namespaces they are in, and the sockets they hold. One walk
//! through /proc.

use std::collections::{BTreeMap, HashMap};
use std::ffi::CStr;
use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::linux::fs::MetadataExt as _;
use std::path::PathBuf;

use rustix::fs::{CWD, Mode, OFlags, RawDir, openat, readlinkat_raw};
use rustix::io::Errno;
use tracer_common::wire::Process;

/// Inode number of the initial pid namespace (`PROC_PID_INIT_INO`).
const INITIAL_PID_NAMESPACE: u64 = 0xEFFF_FFFC;
/// Ways into one namespace that are kept: a process can end at any time.
const WAYS: usize = 4;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Processes {
    /// Ways into each network namespace, by inode number.
    pub(super) namespaces: BTreeMap<u32, Vec<PathBuf>>,
    /// Holders of each socket by its inode number, in the order of process ids.
    holders: HashMap<u32, Vec<u32>>,
    /// Processes that did not let it be seen where they are, or what they hold.
    pub(super) hidden: u64,
    /// The first of these.
    pub(super) first_hidden: Option<u32>,
    /// Not all were looked at.
    pub(super) late: bool,
}

/// Whether /proc counts processes as the kernel does.
pub(super) fn sees_kernels_pids() -> bool {
    fs::metadata("/proc/self/ns/pid").is_ok_and(|is| is.st_ino() == INITIAL_PID_NAMESPACE)
}

impl Processes {
    /// Looks at all of them, until `is_over`.
    pub(super) fn look(is_over: impl Fn() -> bool) -> Self {
        let mut found = Self::default();
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let mut pids: Vec<u32> = entries
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect();
        pids.sort_unstable();
        for pid in pids {
            if found.late {
                break;
            }
            // Any other error: it has ended.
            if let Err(Errno::ACCESS | Errno::PERM) = found.look_at(pid, &is_over) {
                found.hidden += 1;
                found.first_hidden.get_or_insert(pid);
            }
        }
        found
    }

    /// Adds a way into a namespace.
    pub(super) fn add_namespace(&mut self, inode: u32, path: PathBuf) {
        let ways = self.namespaces.entry(inode).or_default();
        if ways.len() < WAYS {
            ways.push(path);
        }
    }

    /// Process ids of those that hold a socket.
    pub(super) fn holders(&self, inode: u32) -> &[u32] {
        self.holders.get(&inode).map_or(&[], Vec::as_slice)
    }

    fn look_at(&mut self, pid: u32, is_over: impl Fn() -> bool) -> Result<(), Errno> {
        if is_over() {
            self.late = true;
            return Ok(());
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let process = openat(CWD, format!("/proc/{pid}"), flags, Mode::empty())?;
        let mut target = [MaybeUninit::uninit(); 32];
        let (target, _) = readlinkat_raw(&process, c"ns/net", &mut target)?;
        if let Some(inode) = inode_of(b"net:[", target) {
            self.add_namespace(inode, format!("/proc/{pid}/ns/net").into());
        }
        let descriptors = openat(&process, c"fd", flags, Mode::empty())?;
        let mut entries = [MaybeUninit::uninit(); 8192];
        let mut entries = RawDir::new(&descriptors, &mut entries);
        while let Some(entry) = entries.next() {
            if is_over() {
                self.late = true;
                break;
            }
            self.look_at_descriptor(pid, &descriptors, entry?.file_name())?;
        }
        Ok(())
    }

    fn look_at_descriptor(
        &mut self,
        pid: u32,
        descriptors: &OwnedFd,
        name: &CStr,
    ) -> Result<(), Errno> {
        let mut target = [MaybeUninit::uninit(); 32];
        let target = match readlinkat_raw(descriptors, name, &mut target) {
            Ok((target, _)) => &*target,
            // Closed meanwhile, or none (`.` and `..`).
            Err(Errno::NOENT | Errno::INVAL) => return Ok(()),
            Err(errno) => return Err(errno),
        };
        if let Some(inode) = inode_of(b"socket:[", target) {
            let holders = self.holders.entry(inode).or_default();
            if holders.last() != Some(&pid) {
                holders.push(pid);
            }
        } else if let Some(inode) = inode_of(b"net:[", target) {
            let number = name.to_string_lossy();
            self.add_namespace(inode, format!("/proc/{pid}/fd/{number}").into());
        }
        Ok(())
    }
}

/// `socket:[4711]`, `net:[4026531840]`
fn inode_of(prefix: &[u8], link: &[u8]) -> Option<u32> {
    let digits = link.strip_prefix(prefix)?.strip_suffix(b"]")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Names of processes, each read once.
#[derive(Debug, Default)]
pub(super) struct Names(HashMap<u32, [u8; 16]>);

impl Names {
    /// A process with its name; an empty one if it has ended.
    pub(super) fn of(&mut self, pid: u32) -> Process {
        let comm = *self.0.entry(pid).or_insert_with(|| comm(pid));
        Process { pid, comm }
    }
}

/// As the kernel keeps it.
fn comm(pid: u32) -> [u8; 16] {
    let name = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    let name = name.strip_suffix(b"\n").unwrap_or(&name);
    let mut comm = [0; 16];
    for (to, from) in comm.iter_mut().take(15).zip(name) {
        *to = *from;
    }
    comm
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_inodes() {
        assert_eq!(inode_of(b"socket:[", b"socket:[4711]"), Some(4711));
        for other in [
            &b"pipe:[4711]"[..],
            b"socket:[x]",
            b"socket:[4711",
            b"/dev/null",
        ] {
            assert_eq!(inode_of(b"socket:[", other), None);
        }
    }

    #[test]
    fn this_process_its_socket_and_its_namespace_are_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let inode = u32::try_from(rustix::fs::fstat(&listener).unwrap().st_ino).unwrap();
        let found = Processes::look(|| false);
        let me = std::process::id();
        assert_eq!(found.holders(inode), [me]);
        assert!(found.holders(0).is_empty());
        let own = super::super::netns::own().unwrap();
        assert!(found.namespaces.contains_key(&own));
        assert_eq!(Names::default().of(me).comm, comm(me));
        assert_ne!(comm(me), [0; 16]);
    }

    #[test]
    fn without_time_nobody_is_looked_at() {
        let found = Processes::look(|| true);
        assert!(found.late && found.namespaces.is_empty());
    }
}
