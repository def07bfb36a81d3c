//! The loop: drain the ring buffer, hand on what it becomes, look after clocks and losses.
//!
//! The ring buffer is polled: a wake-up costs the traced machine more than the whole program that
//! would ask for it. A busy ring is looked at every 5 ms, an idle one less and less often, but never
//! so rarely that a line would be 100 ms late.

mod feed;
mod stop;
mod view;

use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::batch::Batch;
use crate::input::Input;
use crate::kernel::{self, Kernel, Snapshot, Taking, clock_map};
use crate::output::Handed;
use crate::session::SnapshotReport;
pub use feed::Feed;
pub use stop::Stop;
pub use view::View;

const BUSY_POLL: Duration = Duration::from_millis(5);
const IDLE_POLL: Duration = Duration::from_millis(40);
/// While sockets are listed.
const LISTING_POLL: Duration = Duration::from_millis(1);
/// Between two looks after the consumer.
const LOOK_AFTER: Duration = Duration::from_millis(250);

/// Who takes in what comes from the kernel.
pub trait Consumer {
    /// Records that will be taken in next, [`WARM_GROUP`](crate::track::WARM_GROUP) at a time: to read ahead what they need.
    fn warm<'a>(&self, _records: impl Iterator<Item = &'a [u8]>) {}

    /// Takes in one thing more.
    fn input(&mut self, input: Input<'_>);

    /// Hands on what became of the inputs, and waits while whoever gets it is far behind. False: nothing
    /// more is wanted.
    fn hand_on(&mut self) -> impl Future<Output = bool>;

    /// Likewise when it is time to stop: waits only as long as whoever gets it gets on.
    fn hand_on_at_last(&mut self) -> impl Future<Output = Handed>;

    /// Resolves when nothing more is wanted, though nothing happens.
    fn closed(&self) -> impl Future<Output = ()>;

    /// Called now and then. False: nothing more is wanted.
    fn look_after(&mut self) -> bool;
}

/// Lists the sockets that are there, in these network namespaces or in all, while what happens is drained into
/// memory: it comes after them. Time to stop ends it with what was found.
pub async fn list_sockets(
    kernel: &mut Kernel,
    stop: &mut Stop,
    namespaces: &[u32],
) -> (Batch, SnapshotReport) {
    let taking = match Taking::start(namespaces) {
        Ok(taking) => taking,
        Err(error) => {
            let none = Snapshot::unavailable(error.to_string());
            return (none.records, none.report);
        }
    };
    let mut events = Batch::default();
    while !taking.is_finished() {
        // Bounded: events may come as fast as they are taken.
        let limit = events.len() + feed::BATCH;
        kernel.fill(&mut events, limit);
        tokio::select! {
            biased;
            () = stop.wait() => {
                taking.give_up();
                break;
            }
            () = sleep(LISTING_POLL) => {}
        }
    }
    let Snapshot {
        mut records,
        report,
    } = taking.finish();
    records.append(&events);
    (records, report)
}

/// Feeds the consumer until it is time to stop, or until it wants no more. Yields when the run ended
/// (`CLOCK_MONOTONIC`, ns).
pub async fn run(
    kernel: &mut Kernel,
    mut feed: Feed,
    consumer: &mut impl Consumer,
    mut stop: Stop,
) -> Result<u64, kernel::Error> {
    let is_wanted = until_stopped(kernel, &mut feed, consumer, &mut stop).await?;
    kernel.detach();
    if is_wanted {
        hand_on_the_rest(kernel, &mut feed, consumer, &mut stop).await?;
    }
    feed.ask_at_last(consumer).await;
    Ok(clock_map().mono_ns)
}

/// Whether more is wanted when it is time to stop.
async fn until_stopped(
    kernel: &mut Kernel,
    feed: &mut Feed,
    consumer: &mut impl Consumer,
    stop: &mut Stop,
) -> Result<bool, kernel::Error> {
    let mut poll = BUSY_POLL;
    let mut looked_after = Instant::now();
    loop {
        if looked_after.elapsed() >= LOOK_AFTER {
            looked_after = Instant::now();
            if !consumer.look_after() {
                return Ok(false);
            }
        }
        let count = feed.take(kernel)?;
        feed.pass_on(consumer);
        let handed_on = hand_on(kernel, feed, consumer);
        tokio::select! {
            biased;
            () = stop.wait() => return Ok(true),
            goes_on = handed_on => if !goes_on? { return Ok(false) },
        }
        poll = if feed.is_behind() {
            Duration::ZERO
        } else if count > 0 {
            BUSY_POLL
        } else {
            (poll * 2).clamp(BUSY_POLL, IDLE_POLL)
        };
        tokio::select! {
            biased;
            () = stop.wait() => return Ok(true),
            () = consumer.closed() => return Ok(false),
            () = sleep(poll) => {}
        }
    }
}

/// See [`Consumer::hand_on`]; the ring is emptied meanwhile.
async fn hand_on(
    kernel: &mut Kernel,
    feed: &mut Feed,
    consumer: &mut impl Consumer,
) -> Result<bool, kernel::Error> {
    let mut handed_on = pin!(consumer.hand_on());
    loop {
        tokio::select! {
            biased;
            goes_on = &mut handed_on => return Ok(goes_on),
            () = sleep(BUSY_POLL) => {
                feed.take(kernel)?;
            }
        }
    }
}

/// With all detached, until there is no more. What was taken is dropped if nobody takes it in turn, or at the
/// next signal.
async fn hand_on_the_rest(
    kernel: &mut Kernel,
    feed: &mut Feed,
    consumer: &mut impl Consumer,
    stop: &mut Stop,
) -> Result<(), kernel::Error> {
    feed.look_after_at_once();
    loop {
        while feed.is_behind() {
            feed.pass_on(consumer);
            let handed = tokio::select! {
                biased;
                () = stop.insisted() => Handed::Stuck,
                handed = consumer.hand_on_at_last() => handed,
            };
            match handed {
                Handed::On => {}
                Handed::Enough => return Ok(()),
                Handed::Stuck => feed.drop_waiting(consumer),
            }
        }
        if feed.take(kernel)? == 0 {
            break;
        }
    }
    feed.pass_on(consumer);
    Ok(())
}
