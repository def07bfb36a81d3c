//! Where processes belong, as userspace found out.
//!
//! It is told before the first event that needs it, and again where it may have been forgotten here.
//! A process mostly owns many connections, which share what is known of it.

use std::sync::Arc;

use hashlink::LruCache;

use super::OwnerProcess;
use crate::event::{HolderEvent, PlaceEvent, PlaceOf, Task};
use crate::place::Place;

/// Cgroups, and processes apart from them, kept at once. What tells of them remembers fewer.
const MAX: usize = 4096;
/// All holders are told of before the first socket that they hold.
const MAX_HOLDERS: usize = 1 << 16;

pub(super) struct Places {
    cgroups: LruCache<u64, Arc<Place>>,
    processes: LruCache<(u32, u64), Arc<Place>>,
    /// By pid, as last asked for.
    owners: LruCache<u32, Arc<OwnerProcess>>,
    /// Of the sockets that were listed, by pid at that time.
    holders: LruCache<u32, Arc<OwnerProcess>>,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            cgroups: LruCache::new(MAX),
            processes: LruCache::new(MAX),
            owners: LruCache::new(MAX),
            holders: LruCache::new(MAX_HOLDERS),
        }
    }
}

impl Places {
    /// Keeps what was found.
    pub(super) fn learn(&mut self, event: &PlaceEvent) {
        let place = Arc::clone(&event.place);
        match event.of {
            PlaceOf::Cgroup(id) => {
                self.cgroups.insert(id, place);
            }
            PlaceOf::Process(pid, start_ns) => {
                self.processes.insert((pid, start_ns), place);
            }
        }
    }

    /// Keeps what was found of a process that holds sockets.
    pub(super) fn learn_holder(&mut self, event: &HolderEvent) {
        let process = OwnerProcess {
            ns_pid: event.ns_pid,
            uid: event.uid,
            place: event.place.clone(),
        };
        self.holders.insert(event.pid, Arc::new(process));
    }

    /// What is known of one of those that held sockets when they were listed.
    pub(super) fn holder(&mut self, pid: u32) -> Option<Arc<OwnerProcess>> {
        self.holders.get(&pid).cloned()
    }

    /// What is known of a process, as it was when `task` was taken down.
    pub(super) fn process(&mut self, task: &Task) -> Arc<OwnerProcess> {
        let process = OwnerProcess {
            ns_pid: task.ns_pid,
            uid: Some(task.uid),
            place: self.of(task),
        };
        match self.owners.get(&task.pid) {
            Some(known) if **known == process => Arc::clone(known),
            _ => {
                let process = Arc::new(process);
                self.owners.insert(task.pid, Arc::clone(&process));
                process
            }
        }
    }

    /// A cgroup by its id; `None` where that was not found out.
    pub(super) fn of_cgroup(&mut self, id: u64) -> Option<Arc<Place>> {
        self.cgroups.get(&id).cloned()
    }

    /// Where a process belonged; `None` where that was not found out.
    fn of(&mut self, task: &Task) -> Option<Arc<Place>> {
        let own = match task.start_ns {
            Some(start_ns) if !self.processes.is_empty() => {
                self.processes.get(&(task.pid, start_ns))
            }
            _ => None,
        };
        own.or_else(|| self.cgroups.get(&task.cgroup_id?)).cloned()
    }
}
