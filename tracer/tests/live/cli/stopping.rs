//! A tracer that does not get to run: what its buffer cannot hold is counted to the last transition, and
//! nothing is made up from what is missing.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Signal, kill_process};
use socket2::{Domain, Socket, Type};

use super::SCOPE;
use super::holes::ensure_in_place;
use crate::compare::{self, Inconclusive, threads_of_init};
use crate::harness::Verdict;
use crate::netns::Namespace;
use crate::oracle::{Oracle, Record};
use crate::recorder::{Recorder, Scratch};
use crate::stage;
use crate::tracer::{Output, Tracer};

const STOPPED: Duration = Duration::from_secs(5);
/// Before and after.
const RUNNING: Duration = Duration::from_millis(700);
/// Some thousand connections a second are enough to overflow a small buffer many times.
const PAUSE: Duration = Duration::from_micros(300);
const BUFFER_KIB: u32 = 96 * 1024;
/// Interrupts come between the two programs that take the time.
const TOLERANCE_NS: u64 = 20_000_000;

/// A live view and a recorder, stopped for five seconds while connections come and go.
pub(super) fn stopped_for_5_s() -> Result<Verdict> {
    let namespace = Namespace::new()?;
    let oracle = Oracle::start(&SCOPE.ports(), BUFFER_KIB)?;
    let scratch = Scratch::new()?;
    let file = scratch.path("s.tracer");
    // Nothing of others passes this filter, so that what is lost is this test's to the last transition.
    let inode = namespace.inode().to_string();
    let arguments = ["--netns", &inode, "--ring-size", "1M", "--no-snapshot"];
    let tracer = Tracer::start(&arguments)?;
    let recorder = Recorder::start(&file, &arguments)?;
    let signal = |signal| -> Result<()> {
        kill_process(tracer.pid(), signal)?;
        recorder.signal(signal)
    };
    thread::scope(|scope| {
        let storm = scope.spawn(|| namespace.run(|| blow(STOPPED + 2 * RUNNING)));
        thread::sleep(RUNNING);
        let stopped = signal(Signal::STOP);
        thread::sleep(STOPPED);
        let goes_on = signal(Signal::CONT);
        let blown = storm.join();
        stopped.and(goes_on)?;
        blown.map_err(|_| anyhow::anyhow!("the storm panicked"))?
    })?;
    stage::await_open_sockets(&namespace, 0)?;
    let live = tracer.stop()?;
    recorder.stop()?;
    let records = oracle.finish()?;
    judge(&records, &live).context("live")?;
    let no_arguments: [&str; 0] = [];
    let replayed = Tracer::replay(&[file], &no_arguments)?.wait()?;
    judge(&records, &replayed).context("recorded and replayed")?;
    Ok(Verdict::Passed)
}

/// Connections, one after the other, each closed in order by its client first.
pub(super) fn blow(time: Duration) -> Result<()> {
    let place = SocketAddr::from((SCOPE.loopback(1), SCOPE.port(0)));
    let listener = TcpListener::bind(place)?;
    let start = Instant::now();
    for host in (1..=250).cycle() {
        if start.elapsed() > time {
            break;
        }
        // Ports in TIME_WAIT are not to run out.
        let source = Ipv4Addr::new(127, 78, 0, host);
        let client = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        client.bind(&SocketAddr::from((source, 0)).into())?;
        client.connect(&place.into())?;
        let (server, _) = listener.accept()?;
        drop(client);
        stage::read_to_end(&server)?;
        drop(server);
        thread::sleep(PAUSE);
    }
    Ok(())
}

fn judge(records: &[Record], output: &Output) -> Result<()> {
    ensure!(output.status.success(), "{}", output.status);
    compare::ensure_part(records, &output.transitions)?;
    let told = output.transitions.len();
    let lost = usize::try_from(output.lost("total")?)?;
    let all = records.len();
    ensure!(lost > all / 4, "{lost} lost of {all}: it was not stopped");
    if told + lost != all {
        let agent = threads_of_init();
        let withheld = records.iter().filter(|record| agent.contains(&record.task));
        let withheld = withheld.count();
        if all
            .checked_sub(told + lost)
            .is_some_and(|missing| missing <= withheld)
        {
            let why = format!("{withheld} events withheld: process 1 was the current task");
            return Err(Inconclusive(why).into());
        }
        anyhow::bail!(
            "{told} told, {lost} lost, but there were {all}: {}",
            output.end
        );
    }
    ensure_marked(records, output)?;
    ensure_no_time_is_made_up(records, output)?;
    // All were closed in order before the end, and nobody was refused or reset.
    for connection in &output.connections {
        ensure!(
            matches!(
                connection.verdict.as_str(),
                "closed" | "unknown" | "listener"
            ),
            "a verdict made up: {connection:?}"
        );
        ensure!(
            connection.ending == "closed" || connection.has_gap,
            "an end that is missing without a gap: {connection:?}"
        );
    }
    Ok(())
}

/// The losses are told where they happened, and in all as many as at the end.
fn ensure_marked(records: &[Record], output: &Output) -> Result<()> {
    let told: u64 = output.losses.iter().map(|loss| loss.total).sum();
    ensure!(told == output.lost("total")?, "{:?}", output.losses);
    ensure_in_place(records, output)
}

/// A time in a state is that between two records of the kernel, or is not told.
fn ensure_no_time_is_made_up(records: &[Record], output: &Output) -> Result<()> {
    let mut sockets = BTreeMap::<u64, Vec<&Record>>::new();
    for record in records {
        sockets.entry(record.skaddr).or_default().push(record);
    }
    let mut told = 0_usize;
    for line in &output.transitions {
        let Some(in_state_ns) = line.in_state_ns else {
            continue;
        };
        told += 1;
        let ends = |record: &Record| {
            record.old == line.kernel_from
                && record.new == line.kernel_to
                && record.mono_ns.abs_diff(line.mono_ns) < TOLERANCE_NS
                && (record.remote.0.to_canonical(), record.remote.1) == end(line)
        };
        let of_socket = sockets.get(&line.skaddr()?).map(Vec::as_slice);
        let is_so = of_socket.unwrap_or_default().windows(2).any(|pair| {
            let [before, after] = pair else { return false };
            ends(after)
                && before.new == after.old
                && (after.mono_ns - before.mono_ns).abs_diff(in_state_ns) < TOLERANCE_NS
        });
        ensure!(is_so, "a time made up: {line:?}");
    }
    ensure!(told > 1000, "only {told} times told");
    Ok(())
}

fn end(line: &crate::tracer::Transition) -> (IpAddr, u16) {
    (line.remote.addr.to_canonical(), line.remote.port)
}
