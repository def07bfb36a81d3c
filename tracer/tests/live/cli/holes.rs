//! Where losses are told, and what is told of connections across them.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::RangeInclusive;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Signal, kill_process};

use super::SCOPE;
use crate::compare::Inconclusive;
use crate::harness::Verdict;
use crate::netns::Namespace;
use crate::oracle::Record;
use crate::recorder::Scratch;
use crate::stage;
use crate::tracer::{Connection, Output, Tracer};

/// Told transitions of a CPU on either side of a hole that may have changed places with what is missing: a softirq
/// interrupts a program, and its transition is then recorded by the kernel after the one it interrupted, and delivered
/// before it.
const NEIGHBOURS: usize = 2;

/// A `lost` line.
struct Told {
    /// Lines of transitions before it.
    position: usize,
    total: u64,
    /// What the kernel's record has more there.
    missing: u64,
    /// No CPU has told anything between this and the one before, so they are taken together.
    is_joined: bool,
}

/// Fails unless each loss is told exactly where the kernel's record has as many transitions more than tracer, each
/// CPU for itself.
pub(super) fn ensure_in_place(records: &[Record], output: &Output) -> Result<()> {
    let reentry = output.lost("reentry")?;
    if reentry > 0 {
        let why = format!("the kernel refused {reentry} transitions, and does not tell where");
        return Err(Inconclusive(why).into());
    }
    let losses = output.losses.iter().filter(|loss| loss.total > 0);
    let mut losses: Vec<Told> = losses
        .map(|loss| Told {
            position: loss.position,
            total: loss.total,
            missing: 0,
            is_joined: false,
        })
        .collect();
    let mut cpus = BTreeMap::<u32, Vec<Option<usize>>>::new();
    for (record, line) in records.iter().zip(lines_of(records, output)?) {
        cpus.entry(record.cpu).or_default().push(line);
    }
    for lines in cpus.values() {
        for (count, within) in holes(lines) {
            let mut here = losses
                .iter_mut()
                .filter(|loss| within.contains(&loss.position));
            let first = here.next().with_context(|| {
                format!("{count} transitions are missing in lines {within:?}, and no loss is told")
            })?;
            first.missing += count;
            here.for_each(|loss| loss.is_joined = true);
        }
    }
    let mut groups: Vec<(u64, u64)> = Vec::new();
    for loss in &losses {
        match groups.last_mut().filter(|_| loss.is_joined) {
            Some((told, missing)) => {
                *told += loss.total;
                *missing += loss.missing;
            }
            None => groups.push((loss.total, loss.missing)),
        }
    }
    ensure!(
        groups.iter().all(|(told, missing)| told == missing),
        "losses as told, and what is missing there: {groups:?}"
    );
    Ok(())
}

/// Of each record the line that tells it.
fn lines_of(records: &[Record], output: &Output) -> Result<Vec<Option<usize>>> {
    let mut lines = vec![None; records.len()];
    let mut alike = BTreeMap::<_, Vec<(u64, &mut Option<usize>)>>::new();
    for (record, line) in records.iter().zip(&mut lines) {
        let key = (record.skaddr, record.old.as_str(), record.new.as_str());
        alike.entry(key).or_default().push((record.mono_ns, line));
    }
    for (position, line) in output.transitions.iter().enumerate() {
        let states = (line.kernel_from.as_str(), line.kernel_to.as_str());
        let (_, nearest) = alike
            .get_mut(&(line.skaddr()?, states.0, states.1))
            .into_iter()
            .flatten()
            .filter(|(_, taken)| taken.is_none())
            .min_by_key(|(mono_ns, _)| mono_ns.abs_diff(line.mono_ns))
            .with_context(|| format!("not in the kernel's record: {line:?}"))?;
        **nearest = Some(position);
    }
    Ok(lines)
}

/// How many are missing in a row, and between which lines of the same CPU.
fn holes(lines: &[Option<usize>]) -> Vec<(u64, RangeInclusive<usize>)> {
    let told: Vec<usize> = lines.iter().copied().flatten().collect();
    let mut holes: Vec<(u64, RangeInclusive<usize>)> = Vec::new();
    let mut before = 0_usize;
    let mut is_open = false;
    for line in lines {
        if line.is_some() {
            before += 1;
            is_open = false;
        } else if let Some((count, _)) = holes.last_mut().filter(|_| is_open) {
            *count += 1;
        } else {
            let behind = before.checked_sub(NEIGHBOURS);
            let behind = behind.and_then(|from| told.get(from..before)?.iter().min());
            let ahead = told.get(before..before + NEIGHBOURS);
            let ahead = ahead.and_then(|lines| lines.iter().max());
            let start = behind.map_or(0, |line| line + 1);
            holes.push((1, start..=ahead.copied().unwrap_or(usize::MAX)));
            is_open = true;
        }
    }
    holes
}

/// Both ends of it.
struct Pair {
    client: TcpStream,
    server: TcpStream,
}

impl Pair {
    fn open(listener: &TcpListener) -> Result<Self> {
        let client = stage::connect(listener.local_addr()?)?;
        let server = stage::accept(listener)?;
        Ok(Self { client, server })
    }

    fn port(&self) -> Result<u16> {
        Ok(self.client.local_addr()?.port())
    }
}

/// Of connections that were open when the buffer overflowed, those that ended meanwhile look like those that did not:
/// of neither it is said that they are open. Of those that began later it is.
pub(super) fn open_across_a_hole() -> Result<Verdict> {
    const PAIRS: usize = 5;
    const BURST: usize = 400;
    let namespace = Namespace::new()?;
    let scratch = Scratch::new()?;
    let file = scratch.path("s.tracer");
    let inode = namespace.inode().to_string();
    let arguments = ["--netns", &inode, "--ring-size", "64K", "--no-snapshot"];
    let mut tracer = Tracer::record(&file, &arguments)?;
    let place = SocketAddr::from((SCOPE.loopback(2), SCOPE.port(1)));
    let listener = namespace.run(|| stage::listen(place))?;
    let open = || {
        namespace.run(|| {
            (0..PAIRS)
                .map(|_| Pair::open(&listener))
                .collect::<Result<Vec<_>>>()
        })
    };
    let ports = |pairs: &[Pair]| pairs.iter().map(Pair::port).collect::<Result<Vec<_>>>();
    let (ended, kept) = (open()?, open()?);
    let across = [ports(&ended)?, ports(&kept)?].concat();
    kill_process(tracer.pid(), Signal::STOP)?;
    namespace.run(|| {
        (0..BURST).try_for_each(|_| {
            let Pair { client, server } = Pair::open(&listener)?;
            stage::close_in_order(client, server)
        })
    })?;
    for Pair { client, server } in ended {
        stage::close_in_order(client, server)?;
    }
    kill_process(tracer.pid(), Signal::CONT)?;
    tracer.await_line("\"type\":\"lost\"")?;
    let later = open()?;
    let after = ports(&later)?;
    let live = tracer.stop()?;
    drop((kept, later));
    let replayed = Tracer::replay(&[file], &[""; 0])?.wait()?;
    for output in [&live, &replayed] {
        ensure!(output.status.success(), "{}", output.stderr);
        let of = |port: &u16| {
            let is_end = |conn: &&Connection| [conn.local.port, conn.remote.port].contains(port);
            output.connections.iter().filter(is_end).collect::<Vec<_>>()
        };
        for port in &across {
            let found = of(port);
            ensure!(found.len() == 2, "{found:?}");
            for conn in found {
                let last = conn.states.last().context("no state")?;
                ensure!(
                    conn.verdict == "unknown" && conn.has_gap && last.duration_ns.is_none(),
                    "what was open across the hole is said to be known: {conn:?}"
                );
                ensure!(
                    matches!(conn.ending.as_str(), "may_be_over" | "end_unseen"),
                    "{conn:?}"
                );
            }
        }
        for port in &after {
            let found = of(port);
            ensure!(found.len() == 2, "{found:?}");
            for conn in found {
                ensure!(
                    (conn.verdict.as_str(), conn.ending.as_str()) == ("open", "still_open")
                        && conn.from_birth
                        && !conn.has_gap,
                    "what began after the hole is not affected: {conn:?}"
                );
            }
        }
    }
    Ok(Verdict::Passed)
}
