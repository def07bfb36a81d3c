//! What ends a run from outside.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use crate::kernel;

/// SIGHUP, number 1, in a mask of signals.
const HANGUP_BIT: u64 = 1;

/// Whatever ends a run from outside.
pub struct Stop {
    signals: Vec<Signal>,
    deadline: Option<Instant>,
    /// A signal tells it once.
    is_due: bool,
}

impl Stop {
    /// Listens for signals from now on. To be made in a runtime, and before anything else is, so that
    /// nothing is left without its end.
    #[expect(clippy::new_without_default, reason = "it takes over the signals")]
    pub fn new() -> Self {
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
            deadline: None,
            is_due: false,
        }
    }

    /// Likewise once so much time has passed from now on.
    pub fn after(&mut self, duration: Duration) {
        // A time beyond what the clock can hold is no limit.
        self.deadline = Instant::now().checked_add(duration);
    }

    /// Whether it was found to be time to stop.
    pub(crate) fn is_due(&self) -> bool {
        self.is_due
    }

    /// Resolves when it is time to stop, from then on at once.
    pub(crate) async fn wait(&mut self) {
        if self.is_due {
            return;
        }
        let deadline = self.deadline;
        let deadline = async {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.insisted() => {}
            () = deadline => {}
        }
        self.is_due = true;
    }

    /// Resolves at the next signal, whether it was time to stop before or not.
    pub(super) async fn insisted(&mut self) {
        poll_fn(|context| {
            let mut signals = self.signals.iter_mut();
            if signals.any(|signal| signal.poll_recv(context).is_ready()) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }
}
