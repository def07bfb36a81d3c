//! Live tests: tracer's output against the kernel's own record, event by event.
//!
//! They need root. As a plain user they are skipped and say so; with `CI` set in the environment a
//! test that cannot be run fails. `cargo test --test live -- --list` names them, and any part of a name
//! after the `--` selects tests.
//!
//! - [`oracle`]: the kernel's own record, by ftrace
//! - [`tracer`]: the command, run as its users run it
//! - [`compare`], [`lives`]: the one against the other; [`outcome`]: each connection as a whole
//! - [`scenarios`]: what sockets live through, and the states that must show; [`stage`] and [`roles`]
//!   are what they are made of, [`netns`] builds the networks
//! - [`runner`], [`filters`], [`server`], [`mixed`], [`belonging`], [`sockets`], [`packets`], [`hints`], [`unseen`], [`start`], [`cli`],
//!   [`recordings`], [`expiry`]: the tests; [`servers`]
//!   and [`crowd`] are real servers and their clients, [`capture`] captures packets
//!
//! Scenarios need no program but this one (and `nft`, for one of them). `TRACER_BIN` names another
//! `tracer` than the one built along with the tests; `LIVE_EMULATED` says that the machine is an emulated one.
//! With `--without-functions` tracer does not listen to functions of the kernel where it could.

mod belonging;
mod capture;
mod cli;
mod compare;
mod crowd;
mod expiry;
mod filters;
mod harness;
mod hints;
mod lives;
mod mixed;
mod netns;
mod older;
mod oracle;
mod outcome;
mod packets;
mod recorder;
mod recordings;
mod roles;
mod runner;
mod scenarios;
mod scope;
mod server;
mod servers;
mod sockets;
mod stage;
mod start;
mod tools;
mod tracer;
mod unseen;

use std::env;
use std::fs::File;
use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result};
use rustix::fs::FlockOperation;

use harness::Suite;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.as_slice() {
        [flag, name] if flag == "--scenario" => return Ok(runner::play(name)?.into()),
        [flag, role, rest @ ..] if flag == "--role" => {
            roles::play(role, rest)?;
            return Ok(ExitCode::SUCCESS);
        }
        _ => {}
    }
    let suites: Vec<Suite> = runner::suites()
        .chain([
            Suite::Group(filters::names(), Box::new(filters::run)),
            Suite::Group(packets::names(), Box::new(packets::run)),
            Suite::One(server::NAME, server::run),
            Suite::One(mixed::NAME, mixed::run),
        ])
        .chain(belonging::suites())
        .chain(sockets::suites())
        .chain(cli::suites())
        .chain(hints::suites())
        .chain(older::suites())
        .chain(start::suites())
        .chain(recordings::suites())
        // It takes a minute, and functions of the kernel.
        .chain(compare::is_emulated().then_some(Suite::One(expiry::NAME, expiry::run)))
        .chain(unseen::suites())
        .collect();
    let mut turn = None;
    let unable = || match take_turn() {
        Ok(file) => {
            turn = Some(file);
            None
        }
        Err(why) => Some(why),
    };
    let good = harness::run(&suites, arguments.into_iter(), unable)?;
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Waits until no other run of these tests is under way. Fails with the reason if they cannot be run
/// here at all.
fn take_turn() -> Result<File, String> {
    if !rustix::process::geteuid().is_root() {
        return Err("needs root: run `sudo -E cargo test`".to_owned());
    }
    let lock = || -> Result<File> {
        netns::Namespace::new()?;
        drop(oracle::Oracle::start(&scope::ALL_PORTS, 64)?);
        let path = env::temp_dir().join("tracer-live-tests.lock");
        let file = File::create(&path).context("cannot make a lock file")?;
        rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
        Ok(file)
    };
    lock().map_err(|error| format!("{error:#}"))
}
