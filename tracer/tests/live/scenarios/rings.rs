//! Sockets that are accepted by `io_uring(7)`.

#![expect(
    unsafe_code,
    reason = "requests of a ring and the descriptors it makes are known to be sound only to who makes them"
)]

use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result, ensure};
use io_uring::{IoUring, cqueue, opcode, squeue, types::Fd};

use super::processes::{CLIENT_ASKED, SERVER_ASKED};
use super::{Impossible, LISTENER, Scenario};
use crate::stage::{self, Stage};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "accepted_by_ring",
        play: accepted_by_ring,
        sockets: &[LISTENER, CLIENT_ASKED.times(2), SERVER_ASKED.times(2)],
    },
    Scenario {
        name: "accepted_by_kernel_thread_of_ring",
        play: accepted_by_kernel_thread_of_ring,
        sockets: &[LISTENER, CLIENT_ASKED.times(2), SERVER_ASKED.times(2)],
    },
    Scenario {
        name: "accepted_by_multishot_of_ring",
        play: accepted_by_multishot_of_ring,
        sockets: &[LISTENER, CLIENT_ASKED.times(3), SERVER_ASKED.times(3)],
    },
];

/// Since Linux 5.18 the tracepoint tells which request completed; without that, or functions, nothing tells.
fn ensure_told() -> Result<()> {
    let format = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"]
        .iter()
        .find_map(|root| {
            std::fs::read_to_string(format!("{root}/events/io_uring/io_uring_complete/format")).ok()
        });
    if format.is_some_and(|format| format.contains("void * req;")) {
        return Ok(());
    }
    Err(
        Impossible("this kernel does not tell which request of io_uring completed".to_owned())
            .into(),
    )
}

fn ring() -> Result<IoUring> {
    IoUring::new(8).map_err(|error| Impossible(format!("no io_uring: {error}")).into())
}

fn submit(ring: &mut IoUring, request: &squeue::Entry) -> Result<()> {
    // SAFETY: the request has no pointers, and its descriptor is open until the ring is dropped.
    unsafe { ring.submission().push(request)? };
    ring.submit()?;
    Ok(())
}

/// Waits for a connection that the ring has accepted.
fn accepted(ring: &mut IoUring) -> Result<TcpStream> {
    ring.submit_and_wait(1)?;
    let done: cqueue::Entry = ring.completion().next().context("nothing completed")?;
    ensure!(done.result() >= 0, "accept failed: {}", done.result());
    // SAFETY: the kernel has just made the descriptor, and nobody else has it.
    let socket = unsafe { OwnedFd::from_raw_fd(done.result()) };
    stage::patient(TcpStream::from(socket))
}

fn accept_of(listener: &TcpListener) -> squeue::Entry {
    let listener = Fd(listener.as_raw_fd());
    opcode::Accept::new(listener, std::ptr::null_mut(), std::ptr::null_mut()).build()
}

fn serve(mut client: TcpStream, server: TcpStream) -> Result<()> {
    std::thread::scope(|scope| {
        let served = scope.spawn(|| stage::answer(server));
        stage::ask(&mut client)?;
        served
            .join()
            .map_err(|_| anyhow::anyhow!("a thread panicked"))?
    })
}

/// One that waits in the queue, accepted at once; and one that is waited for.
fn accepted_by_ring(stage: &Stage) -> Result<()> {
    ensure_told()?;
    let mut ring = ring()?;
    let listener = stage::listen(stage.place())?;
    let client = stage::connect(stage.place())?;
    submit(&mut ring, &accept_of(&listener))?;
    serve(client, accepted(&mut ring)?)?;
    submit(&mut ring, &accept_of(&listener))?;
    let client = stage::connect(stage.place())?;
    serve(client, accepted(&mut ring)?)
}

/// The same where a kernel thread of the process does the work.
fn accepted_by_kernel_thread_of_ring(stage: &Stage) -> Result<()> {
    ensure_told()?;
    let mut ring = ring()?;
    let listener = stage::listen(stage.place())?;
    let request = accept_of(&listener).flags(squeue::Flags::ASYNC);
    let client = stage::connect(stage.place())?;
    submit(&mut ring, &request)?;
    serve(client, accepted(&mut ring)?)?;

    let polling = IoUring::builder().setup_sqpoll(100).build(8);
    let mut ring = polling.map_err(|error| Impossible(format!("no polling: {error}")))?;
    submit(&mut ring, &accept_of(&listener))?;
    let client = stage::connect(stage.place())?;
    serve(client, accepted(&mut ring)?)
}

/// One request that accepts whatever comes.
fn accepted_by_multishot_of_ring(stage: &Stage) -> Result<()> {
    ensure_told()?;
    let mut ring = ring()?;
    let listener = stage::listen(stage.place())?;
    submit(
        &mut ring,
        &opcode::AcceptMulti::new(Fd(listener.as_raw_fd())).build(),
    )?;
    for _ in 0..3 {
        let client = stage::connect(stage.place())?;
        serve(client, accepted(&mut ring)?)?;
    }
    Ok(())
}
