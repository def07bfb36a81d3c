//! tracer's lines against the kernel's record: every transition of every socket, nothing between.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};
use std::net::IpAddr;

use anyhow::{Context, Result, bail, ensure};

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

/// The time stamps are taken by two programs of the same tracepoint; an interrupt may come between.
const CLOCK_TOLERANCE_NS: u64 = 20_000_000;

/// The documented name of a state that the kernel's record shows.
pub(crate) fn documented(kernel: &str) -> Result<&'static str> {
    STATES
        .iter()
        .find_map(|(name, documented)| (*name == kernel).then_some(*documented))
        .with_context(|| format!("the kernel's record has a state {kernel}"))
}

/// A transition as both sides see it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    old: String,
    new: String,
    local: (IpAddr, u16),
    remote: (IpAddr, u16),
    family: &'static str,
    protocol: &'static str,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            old,
            new,
            local,
            remote,
            family,
            protocol,
        } = self;
        write!(
            f,
            "{old} -> {new} {} {} -> {} {} {family} {protocol}",
            local.0, local.1, remote.0, remote.1
        )
    }
}

impl Seen {
    /// Nothing for a protocol that tracer leaves out by design.
    fn by_kernel(record: &Record) -> Result<Option<Self>> {
        let protocol = match record.protocol {
            6 => "tcp",
            262 => "mptcp",
            _ => return Ok(None),
        };
        Ok(Some(Self {
            old: record.old.clone(),
            new: record.new.clone(),
            local: record.local,
            remote: record.remote,
            family: family_name(record.family)?,
            protocol,
        }))
    }

    fn by_tracer(line: &Transition) -> Result<Self> {
        let family = match line.family.as_str() {
            "inet" => "inet",
            "inet6" => "inet6",
            other => bail!("family {other}"),
        };
        let protocol = match line.protocol.as_str() {
            "tcp" => "tcp",
            "mptcp" => "mptcp",
            other => bail!("protocol {other}"),
        };
        Ok(Self {
            old: line.kernel_from.clone(),
            new: line.kernel_to.clone(),
            local: (line.local.addr, line.local.port),
            remote: (line.remote.addr, line.remote.port),
            family,
            protocol,
        })
    }
}

pub(crate) fn family_name(number: u16) -> Result<&'static str> {
    match number {
        2 => Ok("inet"),
        10 => Ok("inet6"),
        other => bail!("address family {other}"),
    }
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

/// Fails, with the difference, unless both tell the same of every socket, in the same order.
pub(crate) fn ensure_equal(kernel: &[Record], tracer: &[Transition]) -> Result<()> {
    let mut sockets: BTreeMap<u64, [Vec<(u64, Seen)>; 2]> = BTreeMap::new();
    for record in kernel {
        if let Some(seen) = Seen::by_kernel(record)? {
            let [by_kernel, _] = sockets.entry(record.skaddr).or_default();
            by_kernel.push((record.mono_ns, seen));
        }
    }
    for line in tracer {
        let [_, by_tracer] = sockets.entry(line.skaddr()?).or_default();
        by_tracer.push((line.mono_ns, Seen::by_tracer(line)?));
    }

    let mut report = String::new();
    for (skaddr, [by_kernel, by_tracer]) in &sockets {
        let difference = difference(by_kernel, by_tracer)?;
        if !difference.is_empty() {
            writeln!(report, "socket {skaddr:#018x}:\n{difference}")?;
        }
    }
    ensure!(
        report.is_empty(),
        "tracer and the kernel differ (- only the kernel's record, + only tracer):\n{report}"
    );
    Ok(())
}

/// A line for each transition of a socket if they are not the same.
fn difference(by_kernel: &[(u64, Seen)], by_tracer: &[(u64, Seen)]) -> Result<String> {
    let far = by_kernel
        .iter()
        .zip(by_tracer)
        .find(|((a_ns, _), (b_ns, _))| a_ns.abs_diff(*b_ns) > CLOCK_TOLERANCE_NS);
    let same = by_kernel.len() == by_tracer.len()
        && by_kernel
            .iter()
            .zip(by_tracer)
            .all(|((_, a), (_, b))| a == b);
    let mut text = String::new();
    if same {
        if let Some(((kernel_ns, seen), (tracer_ns, _))) = far {
            writeln!(
                text,
                "  {seen} at {kernel_ns} ns, by tracer at {tracer_ns} ns"
            )?;
        }
        return Ok(text);
    }
    // What agrees at both ends is context; between, all of each side is shown.
    let agree = |(a, b): &(&(u64, Seen), &(u64, Seen))| a.1 == b.1;
    let shorter = by_kernel.len().min(by_tracer.len());
    let head = by_kernel.iter().zip(by_tracer).take_while(agree).count();
    let tail = by_kernel
        .iter()
        .rev()
        .zip(by_tracer.iter().rev())
        .take(shorter - head)
        .take_while(agree)
        .count();
    for (sign, side) in [("-", by_kernel), ("+", by_tracer)] {
        for (index, (ns, seen)) in side.iter().enumerate() {
            let common = index < head || index >= side.len() - tail;
            if !common {
                writeln!(text, "  {sign} {ns} {seen}")?;
            } else if sign == "-" {
                writeln!(text, "    {ns} {seen}")?;
            }
        }
    }
    Ok(text)
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

/// Checks what tracer says beyond the kernel's record, for connections seen from birth to death.
pub(crate) fn ensure_consistent(lines: &[Transition]) -> Result<()> {
    let lives = lives(lines)?;
    let mut identities = BTreeSet::new();
    for life in &lives {
        life_is_consistent(life)?;
        let first = life.steps.first().context("a life without a step")?;
        ensure!(
            identities.insert(first.conn.to_string()),
            "connection {} is two connections to the kernel",
            first.conn
        );
    }
    Ok(())
}

fn life_is_consistent(life: &Life<Transition>) -> Result<()> {
    let mut before: Option<&Transition> = None;
    for line in &life.steps {
        let names = (line.from.as_str(), line.to.as_str());
        ensure!(
            names == (documented(&line.kernel_from)?, documented(&line.kernel_to)?),
            "documented names do not fit: {line:?}"
        );
        ensure!(!line.after_gap, "a gap where there is none: {line:?}");
        ensure!(
            line.legality.as_str() != Some("unexpected"),
            "an unexpected transition: {line:?}"
        );
        let in_state_ns = before.and_then(|before| line.mono_ns.checked_sub(before.mono_ns));
        ensure!(
            line.in_state_ns == in_state_ns,
            "time in state is not {in_state_ns:?}: {line:?}"
        );
        if let Some(before) = before {
            ensure!(
                line.conn == before.conn,
                "one connection to the kernel, two to tracer: {before:?} and {line:?}"
            );
        }
        before = Some(line);
    }
    let role = life.steps.last().map(|line| line.role.as_str());
    ensure!(
        role == Some(life.role()?),
        "the role is {}, not {role:?}: {}",
        life.role()?,
        life.path()?
    );
    Ok(())
}
