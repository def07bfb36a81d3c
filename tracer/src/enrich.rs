//! The edge to /proc and the cgroup file system: where the processes belong that records tell of.
//!
//! A record names a cgroup by its id, which is never used twice. What the id stands for is looked up once,
//! and goes to the core as a record of its own, before the first that needs it. Of a cgroup that was gone
//! before it could be looked up nothing is told.
//!
//! The way that costs least comes first: where a process of the cgroup still is, /proc names the path,
//! and the inode number there proves that it is that very cgroup. Else the hierarchy is searched, within a
//! twentieth of the time.
//!
//! Kernel programs know of hierarchies of version 2 only. Where controllers are in hierarchies of version
//! 1, a process can be in the root of version 2 and in a cgroup of version 1 all the same; it is then
//! looked up by itself, as long as it is there.

mod hierarchy;
mod process;

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use hashlink::LruCache;
use tracer_common::wire;
use zerocopy::IntoBytes as _;

use crate::batch::Batch;
use crate::decode::{holders_of, socket_cgroup_of, task_of, time_of};
use crate::event::Comm;
use crate::place::Place;
use hierarchy::Hierarchy;
use process::Holder;

/// Cgroups and processes remembered as looked up. The tracker remembers more, so that it forgets none
/// that it will not be told of again.
const MAX: usize = 1024;
/// Of the time, at most one part in so many goes into searches.
const SEARCH_SHARE: u32 = 20;
/// `PROC_USER_INIT_INO` (`include/linux/proc_ns.h`).
const INITIAL_USER_NAMESPACE: u64 = 0xEFFF_FFFD;

/// Looks up where processes belong.
pub struct Enricher {
    /// Of version 2, or why it is not to be had.
    unified: Result<Hierarchy, String>,
    /// Some controllers are in hierarchies of version 1.
    has_v1: bool,
    /// /proc speaks of the processes that the kernel programs do, or why not.
    proc: Result<(), String>,
    /// User ids in /proc are those of the initial user namespace.
    sees_initial_uids: bool,
    /// Looked up, and told if there was something to tell.
    cgroups: LruCache<u64, ()>,
    processes: LruCache<(u32, u64), ()>,
    /// When the last search ended, and what it took.
    searched: Option<(Instant, Duration)>,
}

impl Default for Enricher {
    fn default() -> Self {
        Self {
            unified: hierarchy::find(),
            has_v1: process::v1_hierarchies() > 0,
            proc: process::is_proc_of_all(),
            sees_initial_uids: own_namespace("user") == Some(INITIAL_USER_NAMESPACE),
            cgroups: LruCache::new(MAX),
            processes: LruCache::new(MAX),
            searched: None,
        }
    }
}

impl Enricher {
    /// What cannot be looked up here: the field and the reason.
    pub fn missing(&self) -> Option<(String, String)> {
        let reason = match (&self.unified, &self.proc) {
            (Ok(_), Ok(())) => return None,
            (Ok(_), Err(_)) if !self.has_v1 => return None,
            (Err(reason), Ok(())) if self.has_v1 => format!(
                "{reason}; cgroups of version 1 are looked up in /proc, too late for a process that ends at once"
            ),
            (Err(reason), _) | (Ok(_), Err(reason)) => reason.clone(),
        };
        Some(("cgroup".to_owned(), reason))
    }

    /// Whether any process can be told to be in a cgroup; else why not.
    pub fn usable(&self) -> Result<(), String> {
        match (&self.unified, &self.proc) {
            (Ok(_), _) => Ok(()),
            (Err(_), Ok(())) if self.has_v1 => Ok(()),
            (Err(reason), _) => Err(reason.clone()),
        }
    }

    /// All cgroups that there are now, of version 1 as well; `None` where they cannot all be seen.
    pub fn all(&self) -> Option<Vec<Place>> {
        let mut hierarchies: Vec<Hierarchy> = self.unified.iter().cloned().collect();
        if self.has_v1 {
            let mounted = hierarchy::of_version_1()?;
            // A hierarchy that is not mounted can hold more.
            if mounted.len() < process::v1_hierarchies() {
                return None;
            }
            hierarchies.extend(mounted);
        }
        let mut all = vec![Place::from_path("/")];
        for hierarchy in &hierarchies {
            let walked = hierarchy.walk(|_, path| {
                all.push(Place::from_path(path));
                true
            });
            walked.ok()?;
        }
        (!hierarchies.is_empty()).then_some(all)
    }

    /// What is there, for people.
    pub fn describe(&self) -> String {
        match (&self.unified, self.has_v1) {
            (Ok(unified), false) => format!("version 2 at {}", unified.mount().display()),
            (Ok(unified), true) => format!(
                "version 2 at {}, beside hierarchies of version 1",
                unified.mount().display()
            ),
            (Err(_), true) => "version 1".to_owned(),
            (Err(reason), false) => reason.clone(),
        }
    }

    /// Looks up what the records of `batch` need, and puts what it finds into `found`, to be handled before
    /// them.
    pub fn look_up(&mut self, batch: &Batch, found: &mut Batch) {
        let mono_ns = first_time(batch);
        let mut unknown = HashSet::new();
        for task in batch.iter().filter_map(task_of) {
            if self.is_by_process(&task) {
                self.look_up_process(&task, found, mono_ns);
            } else if task.flags & wire::TASK_CGROUP != 0
                && self.cgroups.get(&task.cgroup_id).is_none()
                && !self.look_up_cgroup(&task, found, mono_ns)
            {
                unknown.insert(task.cgroup_id);
            }
        }
        for id in batch.iter().filter_map(socket_cgroup_of) {
            // Where the id says nothing of a process, it says nothing of a socket.
            let is_telling = self
                .unified
                .as_ref()
                .is_ok_and(|unified| !self.has_v1 || id != unified.root_id());
            if is_telling && self.cgroups.get(&id).is_none() {
                unknown.insert(id);
            }
        }
        if !unknown.is_empty() {
            self.search(&unknown, found, mono_ns);
        }
    }

    /// Tells of the processes that hold the sockets of a list, each once, to be handled before it.
    pub fn look_up_holders(&self, listed: &Batch, found: &mut Batch) {
        if self.proc.is_err() {
            return;
        }
        let mono_ns = first_time(listed);
        let mut seen = HashSet::new();
        for process in listed.iter().flat_map(holders_of) {
            if seen.insert(process.pid)
                && let Some(holder) = process::holder(process.pid, Comm(process.comm).as_bytes())
            {
                self.tell_holder(process.pid, &holder, found, mono_ns);
            }
        }
    }

    fn tell_holder(&self, pid: u32, holder: &Holder, found: &mut Batch, mono_ns: u64) {
        let unified = self.unified.as_ref().ok();
        let is_there = |path: &&String| unified.is_some_and(|all| all.id_of(path).is_some());
        let v2_path = holder.v2_path.as_ref().filter(is_there);
        let path = match v2_path {
            Some(path) if !self.has_v1 || path != "/" => Some(path),
            Some(_) | None if self.has_v1 => Some(&holder.v1_path),
            Some(_) | None => None,
        };
        let uid = holder.uid.filter(|_| self.sees_initial_uids);
        let known = |flag, is_known| if is_known { flag } else { 0 };
        let record = wire::HolderRecord {
            header: header(wire::KIND_HOLDER, mono_ns),
            pid,
            known: known(wire::HOLDER_NS_PID, holder.ns_pid.is_some())
                | known(wire::HOLDER_UID, uid.is_some())
                | known(wire::HOLDER_CGROUP, path.is_some()),
            ns_pid: holder.ns_pid.unwrap_or_default(),
            uid: uid.unwrap_or_default(),
        };
        let path = path.map_or("", String::as_str);
        found.push(&[record.as_bytes(), path.as_bytes()].concat());
    }

    /// Whether the id of its cgroup says nothing of a process.
    fn is_by_process(&self, task: &wire::Task) -> bool {
        let in_root = |unified: &Hierarchy| {
            task.flags & wire::TASK_CGROUP == 0 || task.cgroup_id == unified.root_id()
        };
        self.has_v1 && self.unified.as_ref().map_or(true, in_root)
    }

    fn look_up_process(&mut self, task: &wire::Task, found: &mut Batch, mono_ns: u64) {
        let key = (task.pid, task.start_ns);
        if self.proc.is_err()
            || task.flags & wire::TASK_START == 0
            || self.processes.get(&key).is_some()
        {
            return;
        }
        self.processes.insert(key, ());
        if let Some(path) = process::v1_path(task.pid, task.start_ns) {
            let record = wire::ProcessRecord {
                header: header(wire::KIND_PROCESS, mono_ns),
                start_ns: task.start_ns,
                pid: task.pid,
                reserved: 0,
            };
            found.push(&[record.as_bytes(), path.as_bytes()].concat());
        }
    }

    /// By the process, if it is still there. True if nothing more is to be done.
    fn look_up_cgroup(&mut self, task: &wire::Task, found: &mut Batch, mono_ns: u64) -> bool {
        let Ok(unified) = &self.unified else {
            return true;
        };
        let path = process::v2_path(task.pid)
            .filter(|path| self.proc.is_ok() && unified.id_of(path) == Some(task.cgroup_id));
        let Some(path) = path else { return false };
        self.tell(task.cgroup_id, &path, found, mono_ns);
        true
    }

    fn tell(&mut self, cgroup_id: u64, path: &str, found: &mut Batch, mono_ns: u64) {
        self.cgroups.insert(cgroup_id, ());
        let record = wire::CgroupRecord {
            header: header(wire::KIND_CGROUP, mono_ns),
            cgroup_id,
        };
        found.push(&[record.as_bytes(), path.as_bytes()].concat());
    }

    /// Searches for cgroups whose processes are gone. What is not there is gone as well.
    fn search(&mut self, unknown: &HashSet<u64>, found: &mut Batch, mono_ns: u64) {
        let Ok(unified) = &self.unified else { return };
        let start = Instant::now();
        if let Some((end, took)) = self.searched
            && start.duration_since(end) < took * SEARCH_SHARE
        {
            return;
        }
        let paths = unified.search(unknown);
        let end = Instant::now();
        self.searched = Some((end, end.duration_since(start)));
        for id in unknown {
            self.cgroups.insert(*id, ());
        }
        for (id, path) in paths {
            self.tell(id, &path, found, mono_ns);
        }
    }
}

fn first_time(batch: &Batch) -> u64 {
    batch.iter().find_map(time_of).unwrap_or(0)
}

fn header(kind: u16, mono_ns: u64) -> wire::Header {
    wire::Header {
        kind,
        flags: 0,
        cpu: 0,
        mono_ns,
        sk: 0,
    }
}

/// Inode number of a namespace of this process.
fn own_namespace(kind: &str) -> Option<u64> {
    use std::os::linux::fs::MetadataExt as _;
    let path = Path::new("/proc/self/ns").join(kind);
    Some(std::fs::metadata(path).ok()?.st_ino())
}
