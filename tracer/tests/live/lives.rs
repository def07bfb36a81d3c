//! Sockets' lives, taken from the stream of transitions: by the kernel's record or by tracer's lines.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::IpAddr;

use anyhow::{Context, Result, ensure};

use crate::oracle::Record;
use crate::scope::Scope;
use crate::tracer::Transition;

/// The kernel's names of the states and the documented ones.
const STATES: [(&str, &str); 11] = [
    ("TCP_ESTABLISHED", "ESTABLISHED"),
    ("TCP_SYN_SENT", "SYN_SENT"),
    ("TCP_SYN_RECV", "SYN_RECEIVED"),
    ("TCP_FIN_WAIT1", "FIN_WAIT_1"),
    ("TCP_FIN_WAIT2", "FIN_WAIT_2"),
    ("TCP_TIME_WAIT", "TIME_WAIT"),
    ("TCP_CLOSE", "CLOSED"),
    ("TCP_CLOSE_WAIT", "CLOSE_WAIT"),
    ("TCP_LAST_ACK", "LAST_ACK"),
    ("TCP_LISTEN", "LISTEN"),
    ("TCP_CLOSING", "CLOSING"),
];

/// The documented name of a state that the kernel's record shows.
pub(crate) fn documented(kernel: &str) -> Result<&'static str> {
    STATES
        .iter()
        .find_map(|(name, documented)| (*name == kernel).then_some(*documented))
        .with_context(|| format!("the kernel's record has a state {kernel}"))
}

/// A socket from its first transition to its last.
pub(crate) struct Life<T> {
    pub(crate) steps: Vec<T>,
}

/// A step of a life, by whichever side it was seen.
pub(crate) trait Step {
    fn socket(&self) -> Result<u64>;
    fn mono_ns(&self) -> u64;
    fn kernel_states(&self) -> (&str, &str);
    fn endpoints(&self) -> ((IpAddr, u16), (IpAddr, u16));
}

impl Step for Record {
    fn socket(&self) -> Result<u64> {
        Ok(self.skaddr)
    }

    fn kernel_states(&self) -> (&str, &str) {
        (&self.old, &self.new)
    }

    fn mono_ns(&self) -> u64 {
        self.mono_ns
    }

    fn endpoints(&self) -> ((IpAddr, u16), (IpAddr, u16)) {
        (self.local, self.remote)
    }
}

impl Step for Transition {
    fn socket(&self) -> Result<u64> {
        self.skaddr()
    }

    fn kernel_states(&self) -> (&str, &str) {
        (&self.kernel_from, &self.kernel_to)
    }

    fn mono_ns(&self) -> u64 {
        self.mono_ns
    }

    fn endpoints(&self) -> ((IpAddr, u16), (IpAddr, u16)) {
        (
            (self.local.addr, self.local.port),
            (self.remote.addr, self.remote.port),
        )
    }
}

impl<T: Step> Life<T> {
    /// The states in order, by their documented names. Fails if one does not follow from another.
    /// A state left for itself (MPTCP reports that, as often as it happens to look) counts once.
    pub(crate) fn path(&self) -> Result<String> {
        let mut path = String::new();
        let mut last = "";
        for step in &self.steps {
            let (old, new) = step.kernel_states();
            if path.is_empty() {
                path.push_str(documented(old)?);
            } else {
                ensure!(old == last, "after {path} comes {old} -> {new}");
            }
            if new != old {
                write!(path, " {}", documented(new)?)?;
            }
            last = new;
        }
        Ok(path)
    }

    /// Whether this is but a word of a socket that had closed before.
    pub(crate) fn is_epilogue(&self) -> Result<bool> {
        Ok(self.path()? == "CLOSED")
    }

    /// The part the socket played.
    pub(crate) fn role(&self) -> Result<&'static str> {
        let path = self.path()?;
        Ok(if path.starts_with("CLOSED SYN_SENT SYN_RECEIVED") {
            "both"
        } else if path.starts_with("CLOSED SYN_SENT") {
            "client"
        } else if path.starts_with("LISTEN SYN_RECEIVED") || path.starts_with("LISTEN ESTABLISHED")
        {
            "server"
        } else if path.starts_with("CLOSED LISTEN") {
            "listener"
        } else {
            "unknown"
        })
    }
}

/// Takes sockets' lives apart: the kernel uses the memory of a socket again, and a socket can connect
/// again.
pub(crate) fn lives<T: Step + Clone>(steps: &[T]) -> Result<Vec<Life<T>>> {
    let mut all: Vec<Life<T>> = Vec::new();
    let mut current: BTreeMap<u64, usize> = BTreeMap::new();
    for step in steps {
        let (old, new) = step.kernel_states();
        let copied_from_listener =
            old == "TCP_LISTEN" && !matches!(new, "TCP_LISTEN" | "TCP_CLOSE");
        // MPTCP says several times that a socket is closed; nothing is left then to say it of.
        let opened = old == "TCP_CLOSE";
        let socket = step.socket()?;
        let follows = |index: &usize| {
            let last = all.get(*index).and_then(|life| life.steps.last());
            last.is_some_and(|last| last.kernel_states().1 == old)
        };
        let known = current
            .get(&socket)
            .copied()
            .filter(|index| !copied_from_listener && !opened && follows(index));
        let index = known.unwrap_or(all.len());
        if index == all.len() {
            current.insert(socket, index);
            all.push(Life { steps: Vec::new() });
        }
        let life = all.get_mut(index).context("a life that is not there")?;
        life.steps.push(step.clone());
    }
    Ok(all)
}

/// What was seen of the sockets of one scenario. A life is one of it if any of its steps shows that:
/// an MPTCP socket begins to connect without an address or a port.
pub(crate) fn part_of<T: Step + Clone>(scope: Scope, steps: &[T]) -> Result<Vec<T>> {
    let mut part = Vec::new();
    for life in lives(steps)? {
        let ours = |step: &T| {
            let (local, remote) = step.endpoints();
            scope.owns(local, remote)
        };
        if life.steps.iter().any(ours) {
            part.extend(life.steps);
        }
    }
    part.sort_by_key(Step::mono_ns);
    Ok(part)
}
