//! The loop: drain the ring buffer, hand on what it becomes, look after clocks and losses.
//!
//! The ring buffer is polled: a wake-up costs the traced machine more than the whole program that
//! would ask for it. A busy ring is looked at every 5 ms, an idle one less and less often, but never
//! so rarely that a line would be 100 ms late.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep, sleep_until};

use crate::flow::Flow;
use crate::kernel::{self, Kernel, clock_map};
use crate::output::{self, Output};
use crate::session::Totals;

/// Records taken before the output is handed on.
const BATCH: usize = 16_384;
const BUSY_POLL: Duration = Duration::from_millis(5);
const IDLE_POLL: Duration = Duration::from_millis(40);
/// Between two looks at clocks and losses. The end of a connection is told after one of them.
const HOUSEKEEPING: Duration = Duration::from_millis(50);
/// For a reader that has stopped reading.
const PATIENCE: Duration = Duration::from_secs(2);

/// Runs until a signal, the time limit, the count, or the end of the reader.
pub async fn run(
    kernel: &mut Kernel,
    flow: &mut Flow,
    output: Output,
    duration: Option<Duration>,
) -> Result<(Totals, output::Ending), kernel::Error> {
    let mut stop = Stop::new(duration);
    let mut poll = BUSY_POLL;
    let mut housekeeping = Instant::now();
    loop {
        let drained_ns = clock_map().mono_ns;
        let count = kernel.drain(BATCH, |record| flow.record(record));
        kernel.flush_log();
        if housekeeping.elapsed() >= HOUSEKEEPING {
            housekeeping = Instant::now();
            look_after(kernel, flow)?;
            if count < BATCH {
                flow.handle_timeout(drained_ns);
            }
        }
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
    while kernel.drain(BATCH, |record| flow.record(record)) > 0 {}
    kernel.flush_log();
    look_after(kernel, flow)?;
    let totals = flow.finish(clock_map().mono_ns);
    let ending = output.finish(flow.buffer(), PATIENCE).await;
    Ok((totals, ending))
}

fn look_after(kernel: &Kernel, flow: &mut Flow) -> Result<(), kernel::Error> {
    let clock = clock_map();
    flow.set_clock(clock);
    flow.set_losses(kernel.losses()?, clock.mono_ns);
    Ok(())
}

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
        Self {
            signals: kinds
                .into_iter()
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
