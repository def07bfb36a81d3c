//! The filter, with its sets in maps.

use aya_ebpf::maps::lpm_trie::Key;
use tracer_common::config::{FILTER_COMM, FILTER_PID, FILTER_PLACE};
use tracer_common::select::{CLOSE, ESTABLISHED, Facts, SYN_SENT, Sets, is_birth, may_be_wanted};
use tracer_common::wire::{TASK_CGROUP, Task};

use crate::config::setting;
use crate::maps::{self, Out, Scratch};
use crate::sock::{self, Skip};

struct Maps;

impl Sets for Maps {
    #[inline(always)]
    fn port(&self, port: u16) -> u8 {
        // To older verifiers the result of a byte swap can be any number; what is loaded from memory as
        // 16 bits cannot.
        // SAFETY: a local variable.
        let index = unsafe { core::ptr::read_volatile(&raw const port) };
        maps::PORTS
            .get(0)
            .and_then(|flags| flags.get(usize::from(index)).copied())
            .unwrap_or(0)
    }

    #[inline(always)]
    fn prefix(&self, addr: &[u8; 16]) -> bool {
        maps::PREFIXES.get(&Key::new(128, *addr)).is_some()
    }

    #[inline(always)]
    fn netns(&self, inode: u32) -> bool {
        // SAFETY: only the presence of the entry is used, not the memory it points to.
        unsafe { maps::NETNS.get(&inode) }.is_some()
    }
}

/// False only if this transition cannot belong to a selected connection.
#[inline(always)]
pub(crate) fn transition(facts: &Facts, out: &Out, task: Option<&Task>) -> bool {
    ends(facts, out) && owner(facts, out, task)
}

/// False only if what has these ends cannot be a selected connection: for what is no whole socket as well.
#[inline(always)]
pub(crate) fn ends(facts: &Facts, out: &Out) -> bool {
    let filters = setting!(filters);
    filters == 0
        || may_be_wanted(
            filters,
            facts,
            &out.state.local_addr,
            &out.state.remote_addr,
            &Maps,
        )
}

/// False only if this cannot belong to a selected connection, whoever it belongs to: see [`ends`].
#[inline(always)]
pub(crate) fn owner(facts: &Facts, out: &Out, task: Option<&Task>) -> bool {
    let filters = setting!(filters);
    filters & (FILTER_PID | FILTER_COMM | FILTER_PLACE) == 0
        || may_be_owned(filters, facts, out, task)
}

/// Whether a socket of any protocol, not at the beginning or the end of its life, may belong to a selected
/// connection.
#[inline(always)]
pub(crate) fn in_mid_life(scratch: &mut Scratch, sk: u64) -> Result<bool, Skip> {
    sock::protocol(scratch, sk)?;
    let facts = sock::ends(scratch, sk, ESTABLISHED, ESTABLISHED)?;
    Ok(transition(&facts, &scratch.out, None))
}

/// A socket connected by another process is out for good; who will accept a passive one is not known
/// yet, so those are left to userspace.
#[inline(always)]
fn may_be_owned(filters: u32, facts: &Facts, out: &Out, task: Option<&Task>) -> bool {
    let sk = out.state.header.sk;
    if is_birth(facts.old_state, facts.new_state) {
        let connects = (facts.old_state, facts.new_state) == (CLOSE, SYN_SENT);
        if let Some(task) = task
            && connects
            && !task_selected(filters, task)
        {
            // Without room to remember it the socket stays undecided: more work, nothing lost.
            return maps::FOREIGN.insert(&sk, &1, 0).is_err();
        }
        // The address may be remembered from an earlier socket whose end was not seen.
        let _ = maps::FOREIGN.remove(&sk);
        return true;
    }
    // SAFETY: only the presence of the entry is used, not the memory it points to.
    if unsafe { maps::FOREIGN.get(&sk) }.is_none() {
        return true;
    }
    if facts.new_state == CLOSE {
        let _ = maps::FOREIGN.remove(&sk);
    }
    false
}

#[inline(always)]
fn task_selected(filters: u32, task: &Task) -> bool {
    // SAFETY: only the presence of the entry is used, not the memory it points to.
    let pid = filters & FILTER_PID == 0 || unsafe { maps::PIDS.get(&task.pid) }.is_some();
    // SAFETY: as above.
    let comm = filters & FILTER_COMM == 0 || unsafe { maps::COMMS.get(&task.comm) }.is_some();
    // SAFETY: as above.
    let place = filters & FILTER_PLACE == 0
        || task.flags & TASK_CGROUP == 0
        || unsafe { maps::FOREIGN_CGROUPS.get(&task.cgroup_id) }.is_none();
    pid && comm && place
}
