//! The loop: drain the ring buffer, hand on what it becomes, look after clocks and losses.
//!
//! The ring buffer is polled: a wake-up costs the traced machine more than the whole program that
//! would ask for it. A busy ring is looked at every 5 ms, an idle one less and less often, but never
//! so rarely that a line would be 100 ms late.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep, sleep_until};

use crate::batch::Batch;
use crate::enrich::Enricher;
use crate::flow::Flow;
use crate::input::Input;
use crate::kernel::{self, Kernel, Ledger, Poller, Snapshot, Taking, clock_map, told_by};
use crate::output::{self, Output};
use crate::render::Render;
use crate::session::{ClockMap, Missing, SnapshotReport, Totals};
use crate::track::WARM_GROUP;

/// Records taken before the output is handed on.
const BATCH: usize = 16_384;
const BUSY_POLL: Duration = Duration::from_millis(5);
const IDLE_POLL: Duration = Duration::from_millis(40);
/// While sockets are listed.
const LISTING_POLL: Duration = Duration::from_millis(1);
/// Between two looks at clocks and losses.
const HOUSEKEEPING: Duration = Duration::from_millis(250);
/// Between two ticks while records come. Every tick is recorded, so they are no more than needed.
const BUSY_TICK_NS: u64 = 20_000_000;
/// Between two ticks when none came for as long.
const IDLE_TICK_NS: u64 = 250_000_000;
/// Before the last questions of a run, and for their answers.
const LAST_WAIT: Duration = Duration::from_millis(25);
const LAST_PATIENCE: Duration = Duration::from_millis(100);

/// Who takes in what comes from the kernel.
pub trait Consumer {
    /// Records that will be taken in next, [`WARM_GROUP`] at a time: to read ahead what they need.
    fn warm<'a>(&self, _records: impl Iterator<Item = &'a [u8]>) {}

    /// Takes in one thing more.
    fn input(&mut self, input: Input<'_>);

    /// Hands on what became of the inputs, and waits while whoever gets it is far behind. False: nothing
    /// more is wanted.
    fn hand_on(&mut self) -> impl Future<Output = bool>;

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
        let limit = events.len() + BATCH;
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
    let mut poll = BUSY_POLL;
    let mut housekeeping = Instant::now();
    feed.take_batch(kernel, consumer)?;
    loop {
        if housekeeping.elapsed() >= HOUSEKEEPING {
            housekeeping = Instant::now();
            feed.count_refused(kernel, consumer)?;
            feed.look_at_the_clock(consumer);
            if !consumer.look_after() {
                break;
            }
        }
        let count = feed.take_batch(kernel, consumer)?;
        tokio::select! {
            biased;
            () = stop.wait() => break,
            goes_on = consumer.hand_on() => if !goes_on { break },
        }
        poll = match count {
            BATCH => Duration::ZERO,
            0 => (poll * 2).clamp(BUSY_POLL, IDLE_POLL),
            _ => BUSY_POLL,
        };
        tokio::select! {
            biased;
            () = stop.wait() => break,
            () = consumer.closed() => break,
            () = sleep(poll) => {}
        }
    }

    kernel.detach();
    feed.count_refused(kernel, consumer)?;
    feed.look_at_the_clock(consumer);
    while feed.take_batch(kernel, consumer)? > 0 {}
    feed.ask_at_last(consumer).await;
    Ok(clock_map().mono_ns)
}

/// Makes inputs of what the kernel has, and of what is found out to go with it. What would tell nothing new is left out, so that a recording
/// holds exactly what a live view was made from.
pub struct Feed {
    /// From the kernel programs.
    events: Batch,
    /// What was found out to go with them.
    found: Batch,
    /// What the kernel answered, to be taken in after all events before.
    answers: Batch,
    enricher: Enricher,
    poller: Option<Poller>,
    clock: ClockMap,
    lost: Ledger,
    last_tick_ns: u64,
    last_record_ns: u64,
}

impl Feed {
    /// That begins with what was recorded before, `early`. `clock` is what the consumer was started with;
    /// `poller` asks for what the kernel does not tell by itself.
    pub fn new(early: Batch, enricher: Enricher, clock: ClockMap, poller: Option<Poller>) -> Self {
        let mut found = Batch::default();
        enricher.look_up_holders(&early, &mut found);
        Self {
            events: early,
            found,
            answers: Batch::default(),
            enricher,
            poller,
            clock,
            lost: Ledger::default(),
            last_tick_ns: 0,
            last_record_ns: 0,
        }
    }

    fn look_at_the_clock(&mut self, consumer: &mut impl Consumer) {
        let clock = clock_map();
        if !self.clock.agrees_with(&clock) {
            self.clock = clock;
            consumer.input(Input::Clock(clock));
        }
    }

    /// Tells of refused runs. When that happened is not known, so it comes before the records at hand.
    fn count_refused(
        &mut self,
        kernel: &Kernel,
        consumer: &mut impl Consumer,
    ) -> Result<(), kernel::Error> {
        if let Some(lost) = self.lost.refuse(kernel.refused()?) {
            let now_ns = clock_map().mono_ns;
            consumer.input(Input::Losses { lost, now_ns });
        }
        Ok(())
    }

    /// Moves records on, those in the batch first, and empties it; yields how many. Losses are counted before the
    /// records are taken: of those that no record tells of, though the ring was emptied, nothing in it came after.
    fn take_batch(
        &mut self,
        kernel: &mut Kernel,
        consumer: &mut impl Consumer,
    ) -> Result<usize, kernel::Error> {
        // Before the events: they are then all known up to when the answers were given.
        if let Some(poller) = &self.poller {
            poller.collect(&mut self.answers);
        }
        let now_ns = clock_map().mono_ns;
        let counted = kernel.losses()?;
        kernel.fill(&mut self.events, BATCH);
        self.enricher.look_up(&self.events, &mut self.found);
        kernel.note_cgroups(&self.found)?;
        for record in self.found.iter() {
            consumer.input(Input::Record(record));
        }
        self.found.clear();
        pass_on(&self.events, &mut self.lost, consumer);
        let is_empty = self.events.len() < BATCH;
        if is_empty && let Some(lost) = self.lost.count(&counted) {
            let now_ns = clock_map().mono_ns;
            consumer.input(Input::Losses { lost, now_ns });
        }
        if let Some(poller) = &mut self.poller {
            poller.note(&self.events);
        }
        if is_empty {
            for record in self.answers.iter() {
                consumer.input(Input::Record(record));
            }
            self.answers.clear();
        }
        if !self.events.is_empty() {
            self.last_record_ns = now_ns;
        }
        if is_empty && self.is_tick_due(now_ns) {
            self.last_tick_ns = now_ns;
            consumer.input(Input::Tick(now_ns));
        }
        kernel.flush_log();
        let count = self.events.len();
        self.events.clear();
        Ok(count)
    }

    /// All records are taken in: asks what became of the connections that were closed just before.
    async fn ask_at_last(&mut self, consumer: &mut impl Consumer) {
        let Some(poller) = self.poller.take().filter(Poller::is_used) else {
            return;
        };
        // The core takes answers once it has waited for what explains the close.
        sleep(LAST_WAIT).await;
        consumer.input(Input::Tick(clock_map().mono_ns));
        for record in poller.finish(LAST_PATIENCE).iter() {
            consumer.input(Input::Record(record));
        }
    }

    fn is_tick_due(&self, now_ns: u64) -> bool {
        let idle = now_ns.saturating_sub(self.last_record_ns) > IDLE_TICK_NS;
        let pause_ns = if idle { IDLE_TICK_NS } else { BUSY_TICK_NS };
        now_ns.saturating_sub(self.last_tick_ns) >= pause_ns
    }
}

/// Makes inputs of records; what tells of a loss becomes one.
fn pass_on(records: &Batch, lost: &mut Ledger, consumer: &mut impl Consumer) {
    let mut ahead = records.iter();
    for (index, record) in records.iter().enumerate() {
        if index % WARM_GROUP == 0 {
            consumer.warm(ahead.by_ref().take(WARM_GROUP));
        }
        match told_by(record) {
            None => consumer.input(Input::Record(record)),
            Some((counted, now_ns)) => {
                if let Some(lost) = lost.count(&counted) {
                    consumer.input(Input::Losses { lost, now_ns });
                }
            }
        }
    }
}

/// Renders to an output.
pub struct View<R> {
    flow: Flow<R>,
    output: Output,
}

impl<R: Render> View<R> {
    /// Of a flow that was just started.
    pub fn new(flow: Flow<R>, output: Output) -> Self {
        Self { flow, output }
    }

    /// Hands on what was rendered without waiting for a slow reader: see [`Output::offer`].
    pub fn offer(&mut self) -> bool {
        self.output.offer(self.flow.buffer())
    }

    /// As many lines were shown as asked for.
    pub fn is_done(&self) -> bool {
        self.flow.is_done()
    }

    /// See [`Flow::set_missing`].
    pub fn set_missing(&mut self, missing: Missing) {
        self.flow.set_missing(missing);
    }

    /// Writes the end of the output.
    pub async fn finish(mut self, now_ns: u64) -> (Totals, output::Ending) {
        let totals = self.flow.finish(now_ns);
        let ending = self.output.finish(self.flow.buffer()).await;
        (totals, ending)
    }
}

impl<R: Render> Consumer for View<R> {
    fn warm<'a>(&self, records: impl Iterator<Item = &'a [u8]>) {
        self.flow.warm(records);
    }

    fn input(&mut self, input: Input<'_>) {
        self.flow.input(input);
    }

    async fn hand_on(&mut self) -> bool {
        self.output.send(self.flow.buffer()).await && !self.flow.is_done()
    }

    async fn closed(&self) {
        self.output.closed().await;
    }

    fn look_after(&mut self) -> bool {
        !self.output.is_reader_gone()
    }
}

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
        self.is_due = true;
    }
}

#[cfg(test)]
mod tests {
    use tracer_common::wire::{Header, KIND_LOSS, KIND_STATE, LossRecord, Losses};
    use zerocopy::IntoBytes as _;

    use super::*;

    /// Writes down what it is given: times of records, and counts of transitions lost.
    #[derive(Default)]
    struct Log(Vec<String>);

    impl Consumer for Log {
        fn input(&mut self, input: Input<'_>) {
            self.0.push(match input {
                Input::Record(record) => {
                    format!("record {}", crate::decode::time_of(record).unwrap_or(0))
                }
                Input::Losses { lost, now_ns } => format!("lost {} by {now_ns}", lost.total()),
                Input::Clock(_) | Input::Tick(_) => "other".to_owned(),
            });
        }

        async fn hand_on(&mut self) -> bool {
            true
        }

        async fn closed(&self) {}

        fn look_after(&mut self) -> bool {
            true
        }
    }

    #[test]
    fn a_loss_is_put_where_the_ring_had_it_and_once() {
        let header = |kind, mono_ns| Header {
            kind,
            flags: 0,
            cpu: 0,
            mono_ns,
            sk: 1,
        };
        let loss = |mono_ns, ring_full| LossRecord {
            header: header(KIND_LOSS, mono_ns),
            lost: Losses {
                ring_full,
                unreadable: 0,
                evidence: 0,
            },
        };
        let mut batch = Batch::default();
        batch.push(header(KIND_STATE, 1).as_bytes());
        batch.push(loss(5, 3).as_bytes());
        batch.push(loss(6, 3).as_bytes());
        batch.push(header(KIND_STATE, 6).as_bytes());
        batch.push(loss(9, 4).as_bytes());
        batch.push(header(KIND_STATE, 9).as_bytes());
        let mut log = Log::default();
        pass_on(&batch, &mut Ledger::default(), &mut log);
        assert_eq!(
            log.0,
            [
                "record 1",
                "lost 3 by 5",
                "record 6",
                "lost 4 by 9",
                "record 9"
            ]
        );
    }
}
