//! `tracer record` and what is made of recordings: the live view again, and never less than the kernel's own
//! record without a word.

mod bounds;
mod ends;
mod places;
mod views;

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use socket2::SockRef;

use crate::harness::{RunOne, Suite};
use crate::netns::Namespace;
use crate::oracle::{Oracle, Record};
use crate::scope::Scope;
use crate::stage;
use crate::tracer::Transition;

const SCOPE: Scope = Scope(220);
const BUFFER_KIB: u32 = 32 * 1024;

pub(crate) fn suites() -> impl Iterator<Item = Suite> {
    let all: [(&str, RunOne); 23] = [
        (
            "recording::replay_is_the_live_view",
            views::replay_is_the_live_view,
        ),
        ("recording::losses_stand_where_they_happened", views::losses),
        ("recording::exports_are_those_of_a_live_run", views::exports),
        (
            "recording::summary_agrees_with_a_live_one",
            views::summaries,
        ),
        ("recording::report_of_a_file", views::report),
        ("recording::follow_across_files", views::follow),
        ("recording::killed_loses_a_second_at_most", ends::killed),
        ("recording::ended_while_it_starts", ends::ended_at_the_start),
        (
            "recording::killed_between_files",
            ends::killed_between_files,
        ),
        ("recording::silence_while_followed", ends::silence),
        ("recording::full_disk", ends::full_disk),
        ("recording::into_a_pipe", ends::pipe),
        ("recording::closed_pipe", ends::closed_pipe),
        ("recording::view_gone", ends::view_gone),
        (
            "recording::killed_report_leaves_no_page",
            ends::killed_report,
        ),
        ("recording::belongs_to_the_caller_of_sudo", places::sudo),
        ("recording::through_no_link", places::links),
        ("recording::over_no_file_unasked", places::existing),
        ("recording::rotated_by_size", bounds::by_size),
        ("recording::rotated_by_time", bounds::by_time),
        ("recording::keep", bounds::keep),
        ("recording::max_size", bounds::max_size),
        (
            "recording::max_size_of_many_files",
            bounds::max_size_of_many,
        ),
    ];
    all.into_iter().map(|(name, run)| Suite::One(name, run))
}

fn place() -> SocketAddr {
    (SCOPE.loopback(1), SCOPE.port(0)).into()
}

/// The filter for all that is done here.
fn ports() -> [String; 2] {
    let ports = SCOPE.ports();
    let range = format!("{}-{}", ports.start, ports.end - 1);
    ["--port".to_owned(), range]
}

/// The filter, and more.
fn with(arguments: &[&str]) -> Vec<String> {
    let arguments = arguments.iter().map(|&argument| argument.to_owned());
    ports().into_iter().chain(arguments).collect()
}

fn oracle() -> Result<Oracle> {
    Oracle::start(&SCOPE.ports(), BUFFER_KIB)
}

/// A connection that is closed in order, and its listener.
fn talk(namespace: &Namespace) -> Result<()> {
    namespace.run(|| {
        let (_listener, client, server) = stage::pair_at(place())?;
        stage::close_in_order(client, server)
    })
}

/// Transitions of one [`talk`], and sockets.
const TRANSITIONS: usize = 12;
const SOCKETS: usize = 3;

/// One connection of each kind: closed in order, refused, reset.
fn happenings(namespace: &Namespace) -> Result<()> {
    talk(namespace)?;
    namespace.run(|| {
        ensure!(TcpStream::connect(place()).is_err(), "somebody listens");
        let (_listener, client, server) = stage::pair_at(place())?;
        SockRef::from(&client).set_linger(Some(Duration::ZERO))?;
        drop(client);
        stage::read_to_reset(&server)
    })
}

const LATELY_NS: u64 = 500_000_000;

/// The midst of the longest pause within [`LATELY_NS`] before a time.
///
/// Both the kernel's record and tracer take the time of a transition, one after the other: a cut at any other
/// time may lie between the two.
fn pause_before(records: &[Record], mono_ns: u64) -> Result<u64> {
    let lately = mono_ns.saturating_sub(LATELY_NS)..mono_ns;
    let mut times: Vec<u64> = records.iter().map(|record| record.mono_ns).collect();
    times.retain(|time| lately.contains(time));
    times.sort_unstable();
    let nexts = times.iter().skip(1);
    let pauses = times.iter().zip(nexts);
    let pauses = pauses.map(|(before, after)| (after - before, *before));
    let (pause_ns, since_ns) = pauses.max().context("nothing happened then")?;
    Ok(since_ns + pause_ns / 2)
}

/// What the kernel recorded before a time.
fn before(records: &[Record], mono_ns: u64) -> Vec<Record> {
    let early = records.iter().filter(|record| record.mono_ns < mono_ns);
    early.cloned().collect()
}

/// Likewise, of what tracer told.
fn told_before(lines: &[Transition], mono_ns: u64) -> Vec<Transition> {
    let early = lines.iter().filter(|line| line.mono_ns < mono_ns);
    early.cloned().collect()
}

/// `CLOCK_MONOTONIC`, nanoseconds.
fn now_ns() -> u64 {
    crate::tracer::mono_ns()
}
