//! Inputs out of what the kernel delivers.
//!
//! Records are taken out of the ring as soon as it is looked at, and wait in memory while the consumer is behind:
//! taking one costs a small part of what showing it does, and a storm fills the ring in a fraction of a second.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracer_common::wire::Losses;

use super::Consumer;
use crate::batch::Batch;
use crate::enrich::Enricher;
use crate::input::Input;
use crate::kernel::{self, Kernel, Ledger, Poller, Refused, clock_map, told_by};
use crate::record::row::is_transition;
use crate::session::{ClockMap, Lost};
use crate::track::WARM_GROUP;

/// Records taken, and passed on, at a time.
pub(super) const BATCH: usize = 4096;
/// Batches taken before one is passed on: records may come as fast as they are taken.
const BATCHES: usize = 16;
/// Batches whose memory is kept for the next.
const SPARE: usize = 4;
/// Between two looks at the clocks and at what the kernel refused to run.
const LOOK_AFTER: Duration = Duration::from_millis(250);
/// Between two ticks while records come. Every tick is recorded, so they are no more than needed.
const BUSY_TICK_NS: u64 = 20_000_000;
/// Between two ticks when none came for as long.
const IDLE_TICK_NS: u64 = 250_000_000;
/// Before the last questions of a run, and for their answers.
const LAST_WAIT: Duration = Duration::from_millis(25);
const LAST_PATIENCE: Duration = Duration::from_millis(100);

/// Makes inputs of what the kernel has, and of what is found out to go with it. What would tell nothing new is
/// left out, so that a recording holds exactly what a live view was made from.
pub struct Feed {
    /// Taken and not passed on, the oldest first.
    waiting: VecDeque<Taken>,
    waiting_bytes: usize,
    /// With so many bytes waiting, records stay in the ring.
    backlog_bytes: usize,
    spare: Vec<Taken>,
    /// Recorded before; comes first.
    early: Batch,
    /// What the kernel answered, for the next batch after which the ring is empty.
    answers: Batch,
    enricher: Enricher,
    poller: Option<Poller>,
    clock: ClockMap,
    lost: Ledger,
    looked_after: Instant,
    last_tick_ns: u64,
    last_record_ns: u64,
}

/// What was taken at one time.
#[derive(Default)]
struct Taken {
    /// What was found out to go with the events, and comes before them.
    found: Batch,
    /// From the kernel programs.
    events: Batch,
    /// What the kernel answered, and comes after them.
    answers: Batch,
    /// If nothing was left in the ring.
    emptied: Option<Emptied>,
}

/// What was known before the ring was emptied; all of it comes after the records.
struct Emptied {
    now_ns: u64,
    counted: Losses,
    looked_after: Option<LookedAfter>,
}

/// What is looked at now and then.
struct LookedAfter {
    clock: ClockMap,
    refused: Refused,
}

impl Taken {
    fn bytes(&self) -> usize {
        self.found.size() + self.events.size() + self.answers.size()
    }

    fn clear(&mut self) {
        self.found.clear();
        self.events.clear();
        self.answers.clear();
        self.emptied = None;
    }
}

impl Feed {
    /// That begins with what was recorded before, `early`. `clock` is what the consumer was started with;
    /// `poller` asks for what the kernel does not tell by itself; `backlog_bytes` of records may wait.
    pub fn new(
        early: Batch,
        enricher: Enricher,
        clock: ClockMap,
        poller: Option<Poller>,
        backlog_bytes: usize,
    ) -> Self {
        Self {
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            backlog_bytes,
            spare: Vec::new(),
            early,
            answers: Batch::default(),
            enricher,
            poller,
            clock,
            lost: Ledger::default(),
            looked_after: Instant::now(),
            last_tick_ns: 0,
            last_record_ns: 0,
        }
    }

    /// Whether something waits to be passed on.
    pub(super) fn is_behind(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Takes what is in the ring, as far as there is room for it; yields how many records.
    pub(super) fn take(&mut self, kernel: &mut Kernel) -> Result<usize, kernel::Error> {
        let mut count = 0;
        for _ in 0..BATCHES {
            if self.waiting_bytes >= self.backlog_bytes {
                break;
            }
            let taken = self.take_batch(kernel)?;
            let is_last = taken.emptied.is_some();
            count += taken.events.len();
            self.waiting_bytes += taken.bytes();
            self.waiting.push_back(taken);
            if is_last {
                break;
            }
        }
        kernel.flush_log();
        Ok(count)
    }

    /// Losses are counted before the records are taken: of those that no record tells of, though the ring was
    /// emptied, nothing in it came after.
    fn take_batch(&mut self, kernel: &mut Kernel) -> Result<Taken, kernel::Error> {
        let mut taken = self.spare.pop().unwrap_or_default();
        if !self.early.is_empty() {
            taken.events = std::mem::take(&mut self.early);
            self.enricher
                .look_up_holders(&taken.events, &mut taken.found);
        }
        // Before the events: they are then all known up to when the answers were given.
        if let Some(poller) = &self.poller {
            poller.collect(&mut self.answers);
        }
        let clock = clock_map();
        let counted = kernel.losses()?;
        kernel.fill(&mut taken.events, BATCH);
        self.enricher.look_up(&taken.events, &mut taken.found);
        kernel.note_cgroups(&taken.found)?;
        if let Some(poller) = &mut self.poller {
            poller.note(&taken.events);
        }
        if taken.events.len() < BATCH {
            std::mem::swap(&mut taken.answers, &mut self.answers);
            taken.emptied = Some(Emptied {
                now_ns: clock.mono_ns,
                counted,
                looked_after: self.look_after(kernel, clock)?,
            });
        }
        Ok(taken)
    }

    /// Where among the records the kernel refused to run a program is not known: what is open when they are taken in
    /// may lack a transition.
    fn look_after(
        &mut self,
        kernel: &Kernel,
        clock: ClockMap,
    ) -> Result<Option<LookedAfter>, kernel::Error> {
        if self.looked_after.elapsed() < LOOK_AFTER {
            return Ok(None);
        }
        self.looked_after = Instant::now();
        let refused = kernel.refused()?;
        Ok(Some(LookedAfter { clock, refused }))
    }

    /// Has the clocks and the refused runs looked at when the ring is emptied next.
    pub(super) fn look_after_at_once(&mut self) {
        if let Some(due) = Instant::now().checked_sub(LOOK_AFTER) {
            self.looked_after = due;
        }
    }

    /// Passes on what waits for longest.
    pub(super) fn pass_on(&mut self, consumer: &mut impl Consumer) {
        let Some(mut taken) = self.waiting.pop_front() else {
            return;
        };
        self.waiting_bytes -= taken.bytes();
        for record in taken.found.iter() {
            consumer.input(Input::Record(record));
        }
        pass_on(&taken.events, &mut self.lost, consumer);
        if let Some(emptied) = taken.emptied.take() {
            let is_idle = taken.events.is_empty();
            self.pass_on_emptied(&emptied, &taken.answers, is_idle, consumer);
        }
        if self.spare.len() < SPARE {
            taken.clear();
            self.spare.push(taken);
        }
    }

    fn pass_on_emptied(
        &mut self,
        emptied: &Emptied,
        answers: &Batch,
        is_idle: bool,
        consumer: &mut impl Consumer,
    ) {
        let now_ns = emptied.now_ns;
        let mut tell = |lost: Option<Lost>| {
            if let Some(lost) = lost {
                consumer.input(Input::Losses { lost, now_ns });
            }
        };
        tell(self.lost.count(&emptied.counted));
        if let Some(LookedAfter { clock, refused }) = &emptied.looked_after {
            tell(self.lost.refuse(*refused));
            if !self.clock.agrees_with(clock) {
                self.clock = *clock;
                consumer.input(Input::Clock(*clock));
            }
        }
        for record in answers.iter() {
            consumer.input(Input::Record(record));
        }
        if !is_idle {
            self.last_record_ns = now_ns;
        }
        if self.is_tick_due(now_ns) {
            self.last_tick_ns = now_ns;
            consumer.input(Input::Tick(now_ns));
        }
    }

    /// Leaves what waits out; it counts as lost.
    pub(super) fn drop_waiting(&mut self, consumer: &mut impl Consumer) {
        let (mut transitions, mut others) = (0, 0);
        for taken in self.waiting.drain(..) {
            for record in taken.events.iter() {
                match told_by(record) {
                    Some((counted, _)) => {
                        self.lost.count(&counted);
                    }
                    None if is_transition(record) => transitions += 1,
                    None => others += 1,
                }
            }
        }
        self.waiting_bytes = 0;
        if let Some(lost) = self.lost.leave(transitions, others) {
            let now_ns = clock_map().mono_ns;
            consumer.input(Input::Losses { lost, now_ns });
        }
    }

    /// All records are taken in: asks what became of the connections that were closed just before.
    pub(super) async fn ask_at_last(&mut self, consumer: &mut impl Consumer) {
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

#[cfg(test)]
mod tests {
    use tracer_common::wire::{Header, KIND_LOSS, KIND_STATE, LossRecord, Losses};
    use zerocopy::IntoBytes as _;

    use super::*;
    use crate::output::Handed;

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

        async fn hand_on_at_last(&mut self) -> Handed {
            Handed::On
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
