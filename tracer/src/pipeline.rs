//! The loop: drain the ring buffer, hand on what it becomes, look after clocks and losses.
//!
//! The ring buffer is polled: a wake-up costs the traced machine more than the whole program that
//! would ask for it. A busy ring is looked at every 5 ms, an idle one less and less often, but never
//! so rarely that a line would be 100 ms late.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep, sleep_until};

use crate::enrich::Enricher;
use crate::flow::Flow;
use crate::kernel::{self, Batch, Kernel, clock_map};
use crate::output::{self, Output};
use crate::render::Render;
use crate::session::Totals;

/// Records taken before the output is handed on.
const BATCH: usize = 16_384;
const BUSY_POLL: Duration = Duration::from_millis(5);
const IDLE_POLL: Duration = Duration::from_millis(40);
/// Between two looks at clocks and losses.
const HOUSEKEEPING: Duration = Duration::from_millis(250);
/// For a reader that has stopped reading.
const PATIENCE: Duration = Duration::from_secs(2);

/// Runs until a signal, the time limit, the count, or the end of the reader.
///
/// `early` is what was recorded before.
pub async fn run<R: Render>(
    kernel: &mut Kernel,
    early: Batch,
    flow: &mut Flow<R>,
    output: Output,
    duration: Option<Duration>,
) -> Result<(Totals, output::Ending), kernel::Error> {
    let mut stop = Stop::new(duration);
    let mut poll = BUSY_POLL;
    let mut housekeeping = Instant::now();
    let mut enricher = Enricher::default();
    let mut first = Batches {
        events: early,
        found: Batch::default(),
    };
    take_batch(kernel, &mut enricher, flow, &mut first)?;
    drop(first);
    let mut batches = Batches::default();
    loop {
        if housekeeping.elapsed() >= HOUSEKEEPING {
            housekeeping = Instant::now();
            kernel.count_refused();
            flow.set_clock(clock_map());
            if output.is_reader_gone() {
                break;
            }
        }
        let count = take_batch(kernel, &mut enricher, flow, &mut batches)?;
        tokio::select! {
            biased;
            () = stop.wait() => break,
            open = output.send(flow.buffer()) => if !open { break },
        }
        if flow.is_done() {
            break;
        }
        poll = match count {
            BATCH => Duration::ZERO,
            0 => (poll * 2).clamp(BUSY_POLL, IDLE_POLL),
            _ => BUSY_POLL,
        };
        tokio::select! {
            biased;
            () = stop.wait() => break,
            () = output.closed() => break,
            () = sleep(poll) => {}
        }
    }

    kernel.detach();
    kernel.count_refused();
    flow.set_clock(clock_map());
    while take_batch(kernel, &mut enricher, flow, &mut batches)? > 0 {}
    let totals = flow.finish(clock_map().mono_ns);
    let ending = output.finish(flow.buffer(), PATIENCE).await;
    Ok((totals, ending))
}

/// Kept to be filled again.
#[derive(Default)]
struct Batches {
    /// From the kernel programs.
    events: Batch,
    /// What was found out to go with them.
    found: Batch,
}

/// Moves records on, those in the batch first, and empties it; yields how many. Losses are asked for after the
/// records were taken and told before they are handled, so that whatever comes after a loss is known to.
fn take_batch<R: Render>(
    kernel: &mut Kernel,
    enricher: &mut Enricher,
    flow: &mut Flow<R>,
    batches: &mut Batches,
) -> Result<usize, kernel::Error> {
    let Batches { events, found } = batches;
    found.clear();
    let now_ns = clock_map().mono_ns;
    kernel.fill(events, BATCH);
    flow.set_losses(kernel.losses()?, clock_map().mono_ns);
    enricher.look_up(events, found);
    kernel.note_cgroups(found)?;
    for record in found.iter().chain(events.iter()) {
        flow.record(record);
    }
    if events.len() < BATCH {
        flow.handle_timeout(now_ns);
    }
    kernel.flush_log();
    let count = events.len();
    events.clear();
    Ok(count)
}

/// SIGHUP, number 1, in a mask of signals.
const HANGUP_BIT: u64 = 1;

/// Whatever ends a run from outside.
struct Stop {
    signals: Vec<Signal>,
    deadline: Option<Instant>,
}

impl Stop {
    fn new(duration: Option<Duration>) -> Self {
        let kinds = [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
        ];
        let ignored = kernel::ignored_signals();
        Self {
            signals: kinds
                .into_iter()
                // What the caller had ignored stays so (`nohup`).
                .filter(|kind| *kind != SignalKind::hangup() || ignored & HANGUP_BIT == 0)
                .filter_map(|kind| {
                    signal(kind)
                        .inspect_err(|error| log::warn!("cannot handle a signal: {error}"))
                        .ok()
                })
                .collect(),
            // A time beyond what the clock can hold is no limit.
            deadline: duration.and_then(|duration| Instant::now().checked_add(duration)),
        }
    }

    async fn wait(&mut self) {
        let signals = &mut self.signals;
        let signal = std::future::poll_fn(|context| {
            for signal in signals.iter_mut() {
                if signal.poll_recv(context).is_ready() {
                    return std::task::Poll::Ready(());
                }
            }
            std::task::Poll::Pending
        });
        let deadline = async {
            match self.deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = signal => {}
            () = deadline => {}
        }
    }
}
