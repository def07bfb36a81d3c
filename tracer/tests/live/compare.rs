//! tracer's lines against the kernel's record: every transition of every socket, nothing between.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::{self, Write};
use std::net::IpAddr;

use anyhow::{Context, Result, bail, ensure};

use crate::lives::{Life, documented, lives};
use crate::oracle::{Record, Resent};
use crate::tracer::Transition;

/// The time stamps are taken by two programs of the same tracepoint; an interrupt may come between.
fn clock_tolerance_ns() -> u64 {
    if is_emulated() {
        500_000_000
    } else {
        20_000_000
    }
}

/// `LIVE_EMULATED` says that this is an emulated machine: it stands still at any place, and a program
/// takes so long that others come across it.
pub(crate) fn is_emulated() -> bool {
    std::env::var_os("LIVE_EMULATED").is_some()
}

/// Of the sockets that differ.
const SOCKETS_SHOWN: usize = 10;

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

/// The test has shown nothing, for a reason that is not tracer's: it is to be repeated.
#[derive(Debug)]
pub(crate) struct Inconclusive(pub(crate) String);

impl fmt::Display for Inconclusive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Inconclusive {}

/// Fails, with the difference, unless both tell the same of every socket, in the same order.
///
/// Some sandboxes run no BPF program, and count that nowhere, while a thread of their own agent,
/// process 1, is the current task: a softirq that interrupts it goes untold. Where this alone is the
/// difference, the failure is [`Inconclusive`].
pub(crate) fn ensure_equal(kernel: &[Record], tracer: &[Transition]) -> Result<()> {
    let Err(error) = ensure_same(kernel, tracer) else {
        return Ok(());
    };
    let agent = threads_of_init();
    let mut rest = kernel.to_vec();
    rest.retain(|record| !agent.contains(&record.task));
    if rest.len() < kernel.len() && ensure_same(&rest, tracer).is_ok() {
        let withheld = kernel.len() - rest.len();
        let why = format!("{withheld} events withheld: process 1 was the current task");
        return Err(Inconclusive(why).into());
    }
    Err(error)
}

/// Likewise where something that was sent again may have gone untold.
pub(crate) fn ensure_not_withheld(resent: &[Resent]) -> Result<()> {
    let agent = threads_of_init();
    if resent.iter().any(|one| agent.contains(&one.task)) {
        let why = "something was sent again while process 1 was the current task";
        return Err(Inconclusive(why.to_owned()).into());
    }
    Ok(())
}

/// None if that is this program: in a virtual machine of its own, nothing is withheld.
pub(crate) fn threads_of_init() -> BTreeSet<u32> {
    if std::process::id() == 1 {
        return BTreeSet::new();
    }
    let threads = std::fs::read_dir("/proc/1/task").into_iter().flatten();
    threads
        .filter_map(|thread| thread.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}

fn ensure_same(kernel: &[Record], tracer: &[Transition]) -> Result<()> {
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
    let mut different = 0_usize;
    for (skaddr, [by_kernel, by_tracer]) in &sockets {
        let difference = difference(by_kernel, by_tracer)?;
        if difference.is_empty() {
            continue;
        }
        different += 1;
        if different <= SOCKETS_SHOWN {
            writeln!(report, "socket {skaddr:#018x}:\n{difference}")?;
        }
    }
    ensure!(
        different == 0,
        "tracer and the kernel differ on {different} of {} sockets \
         (- only the kernel's record, + only tracer):\n{report}",
        sockets.len()
    );
    Ok(())
}

/// Fails unless all that tracer tells is in the kernel's record too, in the same order for each socket.
pub(crate) fn ensure_part(kernel: &[Record], tracer: &[Transition]) -> Result<()> {
    let mut sockets: BTreeMap<u64, VecDeque<Seen>> = BTreeMap::new();
    for record in kernel {
        if let Some(seen) = Seen::by_kernel(record)? {
            sockets.entry(record.skaddr).or_default().push_back(seen);
        }
    }
    for line in tracer {
        let told = Seen::by_tracer(line)?;
        let rest = sockets.entry(line.skaddr()?).or_default();
        while rest
            .pop_front()
            .with_context(|| format!("not in the kernel's record: {told}"))?
            != told
        {}
    }
    Ok(())
}

/// A line for each transition of a socket if they are not the same.
fn difference(by_kernel: &[(u64, Seen)], by_tracer: &[(u64, Seen)]) -> Result<String> {
    let tolerance_ns = clock_tolerance_ns();
    let far = by_kernel
        .iter()
        .zip(by_tracer)
        .find(|((a_ns, _), (b_ns, _))| a_ns.abs_diff(*b_ns) > tolerance_ns);
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
    let (kernel_end, tracer_end) = (by_kernel.len() - tail, by_tracer.len() - tail);
    for (sign, side, range) in [
        (' ', by_kernel, 0..head),
        ('-', by_kernel, head..kernel_end),
        ('+', by_tracer, head..tracer_end),
        (' ', by_kernel, kernel_end..by_kernel.len()),
    ] {
        for (ns, seen) in side.get(range).unwrap_or_default() {
            writeln!(text, "  {sign} {ns} {seen}")?;
        }
    }
    Ok(text)
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
                before.local_port_known == (before.local.port == line.local.port),
                "the port is not known, or known wrongly: {before:?}, then {line:?}"
            );
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
